//! Alerts over plain syslog to a real rsyslog: what arrives, and what nobody can promise.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use yagura_log::Log;
use yagura_respond::formats::Format;
use yagura_respond::message::Message;
use yagura_testkit::certificates::Certificates;
use yagura_testkit::rsyslog::{Rsyslog, event, lines};

#[expect(dead_code, reason = "tests of other receivers use the rest")]
mod common;

use common::{Running, fixtures, metric, mutual, wait_for};

fn sink(rsyslog: &Rsyslog, tls: Value, more: Value) -> Value {
    let mut config = json!({ "name": "siem", "kind": "syslog", "address": rsyslog.address(), "tls": tls });
    for (name, value) in more.as_object().into_iter().flatten() {
        config[name] = value.clone();
    }
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn every_format_arrives_whole_over_tcp_and_over_tls() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = Certificates::make(&folder.path().join("tls")).expect("certificates");
    let mut hostile = fixtures::alert(2);
    hostile.summary = "レシピ |本体| \"OX]\\MAIN\" = x\nwith all that may break a frame".into();
    let alerts = [fixtures::alert(1), hostile];
    for (name, certificates) in [("over-tcp", None), ("over-tls", Some(&certificates))] {
        let folder = folder.path().join(name);
        std::fs::create_dir(&folder).expect("a folder");
        let rsyslog = Rsyslog::start_syslog(&folder, certificates).expect("rsyslog starts");
        let log: Arc<dyn Log> = common::log();
        common::append_these(log.as_ref(), &alerts);
        let mut expected = 0;
        for (number, format) in Format::all().enumerate() {
            let mut config = sink(
                &rsyslog,
                certificates.map_or(json!(false), mutual),
                json!({ "name": format.name(), "format": format.name() }),
            );
            if number == 1 && certificates.is_none() {
                config["framing"] = json!("lines");
            }
            let running = Running::start(&log, config);
            expected += alerts.len();
            wait_for("all lines", || lines(&rsyslog.file()).len() == expected).await;
            let written = lines(&rsyslog.file());
            for (line, alert) in written[expected - alerts.len()..].iter().zip(&alerts) {
                let sent = format.line(&Message::of(alert), 60_000);
                assert!(line.ends_with(&sent), "{name} {}: {line}\n{sent}", format.name());
            }
            wait_for("the commit", || running.committed() == 2).await;
            let registry = running.stop().await;
            assert_eq!(metric(&registry, "yagura_sink_guaranteed", None), 0.0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_does_not_know_this_side_gets_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = Certificates::make(&folder.path().join("tls")).expect("certificates");
    let others = Certificates::make(&folder.path().join("others")).expect("certificates");
    let rsyslog = Rsyslog::start_syslog(folder.path(), Some(&certificates)).expect("rsyslog starts");
    let mut wrong = mutual(&certificates);
    wrong["ca"] = json!(others.file("ca.pem"));
    let log: Arc<dyn Log> = common::log();
    common::append_alerts(log.as_ref(), 0..3);
    let running = Running::start(&log, sink(&rsyslog, wrong, json!({})));
    wait_for("refusals", || running.metric("yagura_sink_errors_total", Some("tls")) >= 2.0).await;
    assert_eq!(running.metric("yagura_sink_sent_total", None), 0.0);
    running.stop().await;
    assert!(lines(&rsyslog.file()).is_empty());
}

/// How many are lost is printed: it is what the kernels of both sides had taken.
#[tokio::test(flavor = "multi_thread")]
#[expect(clippy::print_stderr, reason = "the figure is for people")]
async fn a_receiver_that_dies_takes_with_it_what_the_kernel_had_and_a_replay_mends_it() {
    const ALERTS: u64 = 5000;
    for replay in [0, 4096] {
        let folder = tempfile::tempdir().expect("a folder");
        let mut rsyslog = Rsyslog::start_syslog(folder.path(), None).expect("rsyslog starts");
        let log: Arc<dyn Log> = common::log();
        common::append_alerts(log.as_ref(), 0..ALERTS);
        let running = Running::start(&log, sink(&rsyslog, json!(false), json!({ "replay": replay })));
        let file = rsyslog.file();
        wait_for("some bytes", || std::fs::metadata(&file).is_ok_and(|file| file.len() > 100_000)).await;
        // It hangs, as under a full disk, and then it dies.
        rsyslog.pause().expect("it hangs");
        let acknowledged = until_it_stands_still(&running).await;
        rsyslog.kill().expect("it is killed");
        let written = lines(&file).len();
        rsyslog.restart().expect("it starts again");
        wait_for("the commit of all", || running.committed() == ALERTS).await;
        let sequence = |line: &String| event(line).ok()?["unmapped"]["sequence"].as_u64();
        let arrived = || lines(&file).iter().filter_map(sequence).collect::<BTreeSet<u64>>();
        wait_for("the last", || arrived().contains(&(ALERTS - 1))).await;
        running.stop().await;
        let lost = ALERTS - arrived().len() as u64;
        eprintln!(
            "plain syslog, replay {replay}: {acknowledged} counted as sent when the receiver died with {written} written; {lost} of {ALERTS} lost"
        );
        assert_eq!(lost > 0, replay == 0, "{lost} lost with a replay of {replay}");
    }
}

/// How many alerts count as acknowledged when no more of them do.
async fn until_it_stands_still(running: &Running) -> f64 {
    let mut before = -1.0;
    loop {
        let now = running.metric("yagura_sink_acknowledged_total", None);
        if now == before {
            return now;
        }
        before = now;
        tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    }
}
