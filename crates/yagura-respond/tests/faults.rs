//! Receivers die, ways are cut and the forwarder crashes, at random and all at once: nothing is missing where a
//! receiver acknowledges, and nothing is out of its order.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use yagura_event::Alert;
use yagura_log::Log;
use yagura_respond::cases::Verdict;
use yagura_testkit::certificates::Certificates;
use yagura_testkit::hook::Hook;
use yagura_testkit::rsyslog::{Rsyslog, event, lines};
use yagura_testkit::way::Way;

#[expect(dead_code, reason = "tests of other receivers use the rest")]
mod common;

use common::{Running, fixtures, mutual, wait_for};

const ALERTS: u64 = 3000;

/// A decision about the alert before it comes after so many of them.
const DECIDED_EVERY: u64 = 50;

const FAULTS: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_missing_and_nothing_out_of_order_whatever_breaks() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = Certificates::make(&folder.path().join("tls")).expect("certificates");
    let mut rsyslog = Rsyslog::start(folder.path(), Some(&certificates)).expect("rsyslog starts");
    let hook = Hook::start().expect("a receiver");
    let ways = [rsyslog.address(), hook.address.to_string()].map(|to| Way::to(&to).expect("a way"));
    let file = folder.path().join("alerts");
    let secret = common::server::secret(folder.path(), "0123456789abcdef");
    let sinks = [
        json!({ "name": "siem", "kind": "relp", "address": ways[0].address.to_string(), "tls": mutual(&certificates) }),
        json!({
            "name": "hook", "kind": "webhook", "url": format!("http://{}", ways[1].address), "tls": false,
            "secret_file": secret,
        }),
        json!({ "name": "local", "kind": "file", "path": file }),
    ];
    let log: Arc<dyn Log> = common::log();
    let mut running: Vec<Running> = sinks.iter().map(|sink| Running::start(&log, sink.clone())).collect();

    let mut random = fastrand::Rng::with_seed(0x2026_1126);
    let mut next = 0;
    for fault in 0..FAULTS {
        let until = ALERTS * (fault as u64 + 1) / FAULTS as u64;
        next = append(log.as_ref(), next, until);
        tokio::time::sleep(Duration::from_millis(random.u64(5..60))).await;
        match random.u8(0..4) {
            0 => {
                rsyslog.kill().expect("it is killed");
                tokio::time::sleep(Duration::from_millis(random.u64(0..50))).await;
                rsyslog.restart().expect("it starts again");
            }
            1 => {
                let one = random.usize(0..sinks.len());
                running.swap_remove(one).crash().await;
                running.push(Running::start(&log, sinks[one].clone()));
                let last = running.len() - 1;
                running.swap(one, last);
            }
            _ => {
                let way = &ways[random.usize(0..ways.len())];
                way.cut();
                tokio::time::sleep(Duration::from_millis(random.u64(0..50))).await;
                way.mend();
            }
        }
    }
    let records = ALERTS + ALERTS / DECIDED_EVERY;
    wait_for("the commits", || running.iter().all(|running| running.committed() == records)).await;
    for running in running {
        running.stop().await;
    }

    let of_event = |event: Value| event["metadata"]["uid"].as_str().expect("an id").to_string();
    let relp = lines(&rsyslog.file()).iter().map(|line| of_event(event(line).expect("an event"))).collect();
    let local = std::fs::read_to_string(&file).expect("lines");
    let local = local.lines().map(|line| of_event(serde_json::from_str(line).expect("JSON"))).collect();
    let expected = expected();
    for (name, received) in [("siem", relp), ("hook", hook.keys()), ("local", local)] {
        let received: Vec<String> = received;
        let once: BTreeSet<&str> = received.iter().map(String::as_str).collect();
        let missing: Vec<&String> = expected.iter().filter(|id| !once.contains(id.as_str())).collect();
        assert!(missing.is_empty(), "{name}: {} are missing: {:?}", missing.len(), missing[0]);
        assert_eq!(once.len(), expected.len(), "{name}: something that was never sent");
        // What came last about an alert is how it stands.
        let last: BTreeMap<&str, &str> = received.iter().map(|id| (&id[..36], id.as_str())).collect();
        for decided in expected.iter().filter(|id| id[36..].starts_with("-d")) {
            assert_eq!(last[&decided[..36]], decided, "{name}");
        }
    }
}

/// Appends alerts up to a number, with decisions about some; answers the number.
fn append(log: &dyn Log, from: u64, until: u64) -> u64 {
    for number in from..until {
        let alert: Alert = fixtures::alert(number);
        common::append_these(log, std::slice::from_ref(&alert));
        if (number + 1).is_multiple_of(DECIDED_EVERY) {
            common::decide(log, &[alert], Verdict::Resolved, number as i64);
        }
    }
    until
}

/// The ids of everything that [`append`] appends.
fn expected() -> Vec<String> {
    let ids = (0..ALERTS).flat_map(|number| {
        let uid = fixtures::alert(number).uid;
        let decided = (number + 1).is_multiple_of(DECIDED_EVERY).then(|| format!("{uid}-d{number}"));
        [Some(format!("{uid}-r1")), decided]
    });
    ids.flatten().collect()
}
