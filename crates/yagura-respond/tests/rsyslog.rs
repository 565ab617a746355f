//! Alerts from a log to a real rsyslog, through kills and refusals.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use yagura_log::altered::{Altered, AlteredMember};
use yagura_log::embedded::Embedded;
use yagura_log::{Log, Record};
use yagura_respond::formats::Format;
use yagura_respond::message::Message;
use yagura_testkit::certificates::Certificates;
use yagura_testkit::rsyslog::{Rsyslog, event, lines};

#[expect(dead_code, reason = "tests of other receivers use the rest")]
mod common;

use common::{Running, fixtures, metric, mutual, wait_for};

/// A log that checks each commit against what the receiver has written by then.
struct Watched {
    log: Arc<Embedded>,
    /// The same as a forwarder sees it.
    seen: Arc<dyn Log>,
    committed: Arc<AtomicU64>,
    violations: Arc<Mutex<Vec<String>>>,
}

impl Watched {
    fn new(received: PathBuf) -> Self {
        let log = common::log();
        let (committed, violations) = (Arc::<AtomicU64>::default(), Arc::<Mutex<Vec<String>>>::default());
        let told = (Arc::clone(&committed), Arc::clone(&violations));
        let seen = Altered::of(Arc::clone(&log) as Arc<dyn Log>).joining(move |group, member| {
            assert_eq!(group, "sink-siem");
            let (received, (committed, violations)) = (received.clone(), told.clone());
            let mut watched = AlteredMember::of(member);
            watched.commits = Box::new(move |_, next| {
                // One alert a record, with the record's offset as its sequence, in these tests' streams.
                let written = sequences(&lines(&received));
                if let Some(missing) = (0..next).find(|sequence| !written.contains(sequence)) {
                    let what = format!("{next} was committed and {missing} is not written");
                    violations.lock().expect("no panic").push(what);
                }
                committed.store(next, Ordering::SeqCst);
            });
            Ok(Box::new(watched))
        });
        Self { log, seen: Arc::new(seen), committed, violations }
    }

    fn append(&self, records: impl IntoIterator<Item = Record>) {
        common::append(self.log.as_ref(), records);
    }

    fn append_alerts(&self, sequences: std::ops::Range<u64>) {
        common::append_alerts(self.log.as_ref(), sequences);
    }

    fn committed(&self) -> u64 {
        self.committed.load(Ordering::SeqCst)
    }

    fn check(&self) {
        assert_eq!(self.violations.lock().expect("no panic").as_slice(), [] as [String; 0]);
    }
}

/// The event as it is sent.
fn sent(message: &Message<'_>) -> Value {
    serde_json::from_str(&Format::OCSF.line(message, 1 << 20)).expect("JSON")
}

fn sequences(lines: &[String]) -> BTreeSet<u64> {
    lines.iter().filter_map(|line| event(line).expect("an event")["unmapped"]["sequence"].as_u64()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_arrive_complete_over_mutual_tls_and_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = Certificates::make(&folder.path().join("tls")).expect("certificates");
    let rsyslog = Rsyslog::start(folder.path(), Some(&certificates)).expect("rsyslog starts");
    let log = Watched::new(rsyslog.file());
    let mut large = fixtures::alert(50);
    large.summary = "レシピ本体 \"OX]\\MAIN\"\nwith all that may break a frame\u{7f}".into();
    large.evidence["values"] = json!("9".repeat(40_000));
    log.append_alerts(0..50);
    log.append([fixtures::record(&[large.clone()])]);

    let mut config = rsyslog.sink(mutual(&certificates), 16);
    config["redact"] = json!("off");
    let running = Running::start(&log.seen, config);
    wait_for("the commit of all", || log.committed() == 51).await;
    wait_for("no lag", || running.metric("yagura_sink_lag_records", None) == 0.0).await;
    let written = lines(&rsyslog.file());
    assert_eq!(written.len(), 51);
    for (number, line) in written.iter().take(50).enumerate() {
        assert_eq!(event(line).expect("an event"), sent(&Message::of(&fixtures::alert(number as u64))));
    }
    assert_eq!(event(&written[50]).expect("an event"), sent(&Message::of(&large)));
    let registry = running.stop().await;
    assert_eq!(metric(&registry, "yagura_sink_sent_total", None), 51.0);
    assert_eq!(metric(&registry, "yagura_sink_acknowledged_total", None), 51.0);
    assert_eq!(metric(&registry, "yagura_sink_errors_total", None), 0.0);
    assert!(metric(&registry, "yagura_sink_last_acknowledgement_timestamp_seconds", None) > 1.7e9);

    log.append_alerts(51..52);
    let running = Running::start(&log.seen, rsyslog.sink(mutual(&certificates), 16));
    wait_for("the commit of the last", || log.committed() == 52).await;
    let registry = running.stop().await;
    assert_eq!(
        metric(&registry, "yagura_sink_sent_total", None),
        1.0,
        "a second start goes on where the first ended"
    );
    assert_eq!(lines(&rsyslog.file()).len(), 52);
    log.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_cannot_be_trusted_gets_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = Certificates::make(&folder.path().join("tls")).expect("certificates");
    let others = Certificates::make(&folder.path().join("others")).expect("certificates");
    let rsyslog = Rsyslog::start(folder.path(), Some(&certificates)).expect("rsyslog starts");
    let log = Watched::new(rsyslog.file());
    log.append_alerts(0..3);

    let mut wrong_ca = mutual(&certificates);
    wrong_ca["ca"] = json!(others.file("ca.pem"));
    let mut wrong_name = mutual(&certificates);
    wrong_name["server_name"] = json!("siem.example");
    for (case, tls) in [("wrong authority", wrong_ca), ("wrong name", wrong_name)] {
        let running = Running::start(&log.seen, rsyslog.sink(tls, 16));
        wait_for(case, || running.metric("yagura_sink_errors_total", Some("tls")) >= 2.0).await;
        assert_eq!(running.metric("yagura_sink_sent_total", None), 0.0, "{case}");
        running.stop().await;
    }

    // And the receiver does not take alerts from somebody without a certificate.
    let stranger = json!({ "ca": certificates.file("ca.pem"), "server_name": "localhost" });
    let running = Running::start(&log.seen, rsyslog.sink(stranger, 16));
    wait_for("no certificate", || running.metric("yagura_sink_errors_total", None) >= 2.0).await;
    assert_eq!(running.metric("yagura_sink_acknowledged_total", None), 0.0);
    running.stop().await;
    assert_eq!((lines(&rsyslog.file()).len(), log.committed()), (0, 0));

    let running = Running::start(&log.seen, rsyslog.sink(mutual(&certificates), 16));
    wait_for("the commit of all", || log.committed() == 3).await;
    running.stop().await;
    log.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_killed_midway_loses_nothing() {
    const ALERTS: u64 = 5000;
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = Certificates::make(&folder.path().join("tls")).expect("certificates");
    let mut rsyslog = Rsyslog::start(folder.path(), Some(&certificates)).expect("rsyslog starts");
    let log = Watched::new(rsyslog.file());
    log.append_alerts(0..ALERTS);
    let running = Running::start(&log.seen, rsyslog.sink(mutual(&certificates), 32));
    let file = rsyslog.file();
    for part in [200_000, 2_000_000] {
        wait_for("some bytes", || std::fs::metadata(&file).is_ok_and(|file| file.len() > part)).await;
        rsyslog.kill().expect("it is killed");
        let written = sequences(&lines(&file)).len() as u64;
        assert!(written < ALERTS, "it was killed too late to prove anything");
        assert!(log.committed() <= written, "{} committed, {written} written", log.committed());
        rsyslog.restart().expect("it starts again");
    }
    wait_for("the commit of all", || log.committed() == ALERTS).await;
    let registry = running.stop().await;
    assert_eq!(sequences(&lines(&file)), (0..ALERTS).collect());
    assert!(metric(&registry, "yagura_sink_retries_total", None) >= 2.0);
    let twice = lines(&file).len() as u64 - ALERTS;
    assert!(twice <= 2 * 32, "{twice} alerts arrived twice: more than two windows");
    log.check();
}

#[tokio::test(flavor = "multi_thread")]
async fn repeats_are_dropped_and_unreadable_records_are_counted_and_skipped() {
    let folder = tempfile::tempdir().expect("a folder");
    let rsyslog = Rsyslog::start(folder.path(), None).expect("rsyslog starts");
    let log = Watched::new(rsyslog.file());
    log.append([fixtures::record(&[fixtures::alert(0), fixtures::alert(1)])]);
    log.append([Record { value: "no alert".into(), ..fixtures::record(&[fixtures::alert(2)]) }]);
    log.append([Record::default()]);
    log.append([fixtures::record(&[fixtures::alert(1), fixtures::alert(2)])]);
    let running = Running::start(&log.seen, rsyslog.sink(json!(false), 1));
    wait_for("the commit of all", || log.committed() == 4).await;
    assert_eq!(running.metric("yagura_sink_errors_total", Some("record")), 2.0);
    assert_eq!(running.metric("yagura_sink_repeats_total", None), 1.0);
    running.stop().await;
    let written: Vec<Value> = lines(&rsyslog.file())
        .iter()
        .map(|line| event(line).expect("an event")["unmapped"]["sequence"].clone())
        .collect();
    assert_eq!(written, [json!(0), json!(1), json!(2)]);
}
