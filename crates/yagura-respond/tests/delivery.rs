//! What goes to a sink whatever its kind: only what its condition lets through, and signs of life.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use yagura_event::alert::{Queue, Severity};
use yagura_log::Log;
use yagura_respond::cases::Verdict;
use yagura_respond::{SinkConfig, Verdict as Answered, probe};

#[expect(dead_code, reason = "tests of other receivers use the rest")]
mod common;

use common::{Running, fixtures, wait_for};

fn events(file: &std::path::Path) -> Vec<Value> {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_condition_lets_through_what_it_says_and_the_rest_counts_as_handled() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("alerts");
    let log: Arc<dyn Log> = common::log();
    let mut alerts: Vec<_> = (0..6).map(fixtures::alert).collect();
    alerts[1].queue = Queue::Equipment;
    alerts[2].severity = Severity::Low;
    alerts[3].cell = "litho-1".into();
    alerts[4].detection = "other".into();
    common::append_these(log.as_ref(), &alerts);
    let when = json!({ "queues": ["security"], "severity": "medium", "cells": ["bay-*"], "detections": ["recipe-*"] });
    let running = Running::start(&log, json!({ "name": "it", "kind": "file", "path": file, "when": when }));
    wait_for("the commit", || running.committed() == 6).await;
    assert_eq!(running.metric("yagura_sink_passed_over_total", None), 4.0);
    assert_eq!(running.metric("yagura_sink_acknowledged_total", None), 2.0);
    running.stop().await;
    let sequences: Vec<Value> = events(&file).iter().map(|e| e["metadata"]["sequence"].clone()).collect();
    assert_eq!(sequences, [json!(0), json!(5)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_decided_arrives_between_what_was_before_and_what_came_later() {
    let folder = tempfile::tempdir().expect("a folder");
    let log: Arc<dyn Log> = common::log();
    // The receiver is away all the while: nothing of it may depend on when it is there.
    let alerts: Vec<_> = (0..3).map(fixtures::alert).collect();
    common::append_these(log.as_ref(), &alerts);
    common::decide(log.as_ref(), &alerts, Verdict::Acknowledged, 1_795_403_200_000_000);
    let closed = common::decide(log.as_ref(), &alerts, Verdict::Resolved, 1_795_403_300_000_000);
    let mut back = fixtures::alert(1);
    (back.revision, back.sequence, back.count) = (2, 3, 9);
    common::append_these(log.as_ref(), &[back.clone()]);
    // Somebody who has not seen that it is back closes it again: it stays open.
    common::decide(log.as_ref(), &alerts, Verdict::FalsePositive, 1_795_403_400_000_000);

    for (format, name) in [("ocsf", "all"), ("ecs", "keeping")] {
        let file = folder.path().join(name);
        let mut config = json!({ "name": name, "kind": "file", "path": file, "format": format });
        if name == "keeping" {
            config["redact"] = json!({ "keep": ["decided_by", "comment"] });
        }
        let running = Running::start(&log, config);
        wait_for("the commit", || running.committed() == 7).await;
        assert_eq!(running.metric("yagura_sink_acknowledged_total", None), 12.0);
        assert_eq!(running.metric("yagura_sink_repeats_total", None), 1.0);
        running.stop().await;
    }
    let written = events(&folder.path().join("all"));
    let status = |event: &Value| event["status"].as_str().expect("a status").to_string();
    let expected =
        [["New"; 3].as_slice(), &["In Progress"; 3], &["Resolved"; 3], &["New"], &["Suppressed"; 2]];
    assert_eq!(written.iter().map(status).collect::<Vec<_>>(), expected.concat());
    for (event, alert) in written[6..9].iter().zip(&alerts) {
        assert_eq!((&event["activity_id"], &event["time"]), (&json!(3), &json!(closed.time / 1000)));
        assert_eq!(event["finding_info"]["uid"], json!(alert.uid));
        assert_eq!(event["metadata"]["uid"], format!("{}-d{}", alert.uid, closed.time));
        assert_eq!(
            (&event["comment"], &event["unmapped"]["decision"]["by"]),
            (&json!("[secret]"), &json!("[personal]"))
        );
    }
    let written = events(&folder.path().join("keeping"));
    let event = &written[7];
    assert_eq!(
        (&event["event"]["action"], &event["event"]["reason"]),
        (&json!("alert-resolved"), &json!(closed.why))
    );
    assert_eq!(event["user"]["name"], "mori");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_plant_still_has_a_beat_and_the_beats_are_numbered() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("alerts");
    let log: Arc<dyn Log> = common::log();
    common::append_alerts(log.as_ref(), 0..3);
    let running =
        Running::start(&log, json!({ "name": "it", "kind": "file", "path": file, "heartbeat": "5s" }));
    wait_for("two beats", || events(&file).len() == 5).await;
    assert_eq!(running.metric("yagura_sink_heartbeats_total", None), 2.0);
    assert_eq!(running.metric("yagura_sink_acknowledged_total", None), 3.0, "a beat is no alert");
    assert_eq!(running.committed(), 3);
    running.stop().await;
    let beats: Vec<Value> = events(&file).split_off(3);
    for (number, beat) in beats.iter().enumerate() {
        assert_eq!(beat["class_uid"], 0);
        assert_eq!(beat["metadata"]["event_code"], "yagura.heartbeat");
        assert_eq!(beat["metadata"]["sequence"], number);
        assert_eq!(beat["unmapped"]["cell"], "it");
        let said: Value = serde_json::from_str(beat["raw_data"].as_str().expect("text")).expect("JSON");
        assert_eq!((&said["acknowledged"], &said["beat"]), (&json!(3), &json!(number)));
    }
    assert_eq!(beats[0]["unmapped"]["cause"]["epoch"], beats[1]["unmapped"]["cause"]["epoch"], "one start");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_test_alert_arrives_and_is_marked_and_a_dead_receiver_is_told() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("alerts");
    let sink = |config: Value| {
        let config: SinkConfig = serde_json::from_value(config).expect("settings");
        config.build(folder.path()).expect("a sink")
    };
    let built = sink(json!({ "name": "it", "kind": "file", "path": "alerts" }));
    let probed = probe("it", built.as_ref()).await.expect("an answer");
    assert_eq!(probed.verdict, Answered::Taken);
    assert!(probed.took < Duration::from_secs(10));
    let event = &events(&file)[0];
    assert_eq!(event["metadata"]["uid"], json!(probed.revision_uid));
    assert_eq!(event["metadata"]["event_code"], "yagura.test");
    assert!(event["finding_info"]["title"].as_str().expect("a title").starts_with("TEST"));

    let port = yagura_testkit::free_port().expect("a port");
    let address = format!("127.0.0.1:{port}");
    let dead = sink(json!({ "name": "it", "kind": "syslog", "address": address, "tls": false }));
    let failed = probe("it", dead.as_ref()).await.expect_err("nobody listens");
    assert_eq!(failed.reason(), "connect");
}
