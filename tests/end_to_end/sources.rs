//! Sources as their users meet them: commands that ask them, settings that do not fit, topics of somebody else.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use yagura_kafka::{KafkaLog, KafkaOptions};
use yagura_log::Log;
use yagura_testkit::kafka::Broker;

use crate::measure::{Random, kill, said, sleep, times};
use crate::placement::{configuration, seen};
use crate::{command, folder, run_to_the_end, start, text, wait_for, yagura};

#[test]
fn every_source_is_tried_and_what_is_wrong_is_said() {
    let folder = folder();
    std::fs::write(folder.path().join("lines.jsonl"), "").expect("a file");
    let closed = yagura_testkit::free_port().expect("a port");
    let config = configuration(
        folder.path(),
        &json!({ "version": 1, "collectors": [
            { "name": "lines", "kind": "files", "path": "*.jsonl", "mapping": { "as": "log" } },
            { "name": "line-1", "kind": "mqtt", "format": "sparkplug",
              "brokers": [{ "address": format!("127.0.0.1:{closed}") }] },
            { "name": "mes", "kind": "kafka", "kafka": { "brokers": format!("127.0.0.1:{closed}") },
              "topics": [{ "topic": "mes", "format": { "json": { "as": "log" } } }] },
        ] }),
    );
    let config = config.display().to_string();
    let connected = yagura(&["validate", "--connect", "--format", "json", "--config", &config]);
    let answers: Vec<Value> =
        text(&connected.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let found: Vec<_> = answers.iter().map(|a| (a["collector"].as_str(), a["connected"].as_bool())).collect();
    let expected = [(Some("lines"), Some(true)), (Some("line-1"), Some(false)), (Some("mes"), Some(false))];
    assert_eq!(found, expected, "{answers:#?}");
    assert_eq!(connected.status.code(), Some(2));
    assert!(text(&connected.stderr).contains("2 of 3 collectors"), "{}", text(&connected.stderr));
    for answer in &answers[1..] {
        let said = answer["said"].as_str().unwrap_or_default();
        assert!(said.contains(&closed.to_string()), "{said}");
    }
    // Without `--connect` nothing is tried.
    assert!(yagura(&["validate", "--config", &config]).status.success());
    let asked = yagura(&["discover", "--config", &config, "line-1", "--seconds", "1"]);
    assert_eq!(asked.status.code(), Some(2));
    assert!(text(&asked.stderr).contains(&closed.to_string()), "{}", text(&asked.stderr));
    let asked = yagura(&["discover", "--config", &config, "lines"]);
    let message = text(&asked.stderr);
    assert!(message.contains("`files`") && message.contains("opcua"), "{message}");
    assert!(!folder.path().join("yagura-data").exists(), "nothing was started");
}

#[test]
fn names_become_the_plants_by_its_tables() {
    let folder = folder();
    let table =
        "name,cell,tool,chamber,signal,unit\nEtch/E{nn}/PM{n}/Pressure,bay-3,ETCH-{nn},PM{n},pressure,Pa\n";
    std::fs::write(folder.path().join("names.csv"), table).expect("a table");
    std::fs::write(folder.path().join("names.txt"), "Etch/E07/PM2/Pressure\tTorr\nEtch/E07/Door\n")
        .expect("names");
    let config = configuration(folder.path(), &json!({ "version": 1, "names": ["names.csv"] }));
    let out = yagura(&[
        "names",
        "opc",
        &folder.path().join("names.txt").display().to_string(),
        "--format",
        "json",
        "--config",
        &config.display().to_string(),
    ]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let report: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    let mapped = &report["mapped"][0];
    assert_eq!(
        [&mapped["tool"], &mapped["chamber"], &mapped["signal"], &mapped["cell"], &mapped["problem"]],
        ["ETCH-07", "PM2", "pressure", "bay-3", ""]
    );
    assert_eq!(report["unmapped"], json!(["Etch/E07/Door"]));
}

#[test]
fn a_collector_writes_no_cell_that_it_was_not_given_and_roles_need_a_shared_log() {
    let folder = folder();
    let line = "{\"time\":\"2026-11-26T10:00:00Z\",\"tool\":\"ETCH-07\",\"event\":\"line\",\"description\":\"line 1\"}\n";
    std::fs::write(folder.path().join("lines.jsonl"), line).expect("a file");
    let settings = |cells: Value| {
        json!({
            "version": 1, "data": "data", "console": "127.0.0.1:0",
            "assets": [{ "name": "ETCH-07", "addresses": [], "cell": "bay-3", "area": "process" }],
            "collectors": [{ "name": "lines", "kind": "jsonl", "path": "lines.jsonl",
                             "mapping": { "as": "log" }, "cells": cells }],
        })
    };
    for (cells, rows, refused) in [(json!(["bay-4"]), 0, true), (json!(["bay-3"]), 1, false)] {
        let config = configuration(folder.path(), &settings(cells));
        let _ = std::fs::remove_dir_all(folder.path().join("data"));
        run_to_the_end(&config);
        assert_eq!(seen(command(&[]), &config).len(), rows);
        let arguments = ["tap", "events", "--kind", "coverage", "--format", "json", "--config"];
        let coverage = text(&command(&arguments).arg(&config).output().expect("yagura starts").stdout);
        assert_eq!(coverage.contains("rows of cells that it may not write, as bay-3"), refused, "{coverage}");
    }
    let config = configuration(folder.path(), &settings(json!([]))).display().to_string();
    let out = yagura(&["run", "--roles", "collect", "--config", &config]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("a log on Kafka"), "{}", text(&out.stderr));
}

/// Numbered records of somebody else's program.
fn produce(broker: &Broker, numbers: std::ops::Range<u64>) {
    let arguments = ["--bootstrap-server", &broker.address(), "--topic", "mes"];
    let mut producer = broker
        .java("org.apache.kafka.tools.ConsoleProducer", &arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("java starts");
    let mut lines = producer.stdin.take().expect("a pipe");
    for number in numbers {
        match number % 500 {
            499 => writeln!(lines, "no JSON {number}"),
            _ => writeln!(lines, "{{\"event\":\"moved\",\"description\":\"line {number}\"}}"),
        }
        .expect("a line");
    }
    drop(lines);
    assert!(producer.wait().expect("it ends").success());
}

#[test]
fn topics_of_somebody_else_are_read_exactly_once_through_kills() {
    let folder = folder();
    let mut broker = Broker::start().expect("a broker");
    let kafka = KafkaLog::connect(KafkaOptions::new(broker.address())).expect("the broker answers");
    kafka.ensure_topic("mes", 3).expect("a topic");
    let config = configuration(
        folder.path(),
        &json!({
            "version": 1, "data": "data", "console": "127.0.0.1:0",
            "collectors": [{
                "name": "mes", "kind": "kafka", "from": "start", "batch": "50ms",
                "kafka": { "brokers": broker.address() },
                "topics": [{ "topic": "mes", "format": { "json": { "as": "log" } } }],
            }],
        }),
    );
    let stderr = folder.path().join("stderr");
    let mut random = Random::new(0x2026_1127);
    let mut written = 0;
    for round in 0..times(4, 40) {
        let mut program = start(&config, &stderr);
        produce(&broker, written..written + 5000);
        written += 5000;
        if round == 2 {
            broker.restart().expect("it is back");
        }
        sleep(random.wait(50, 1500));
        kill(&mut program, &stderr);
    }
    let mut program = start(&config, &stderr);
    let good = written - written / 500;
    let mut found = std::collections::BTreeMap::new();
    wait_for("every record", || {
        found = seen(command(&[]), &config);
        found.len() as u64 >= good
    });
    assert_eq!(found.len() as u64, good, "{}", said(&stderr));
    // What cannot be read stands nowhere: after a kill it may be told again, and never not at all.
    wait_for("what is no JSON", || malformed(&config) >= written / 500);
    let twice: Vec<_> = found.iter().filter(|(_, rows)| rows.len() > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    crate::measure::signal(&program, "TERM");
    assert!(program.wait().expect("it ended").success(), "{}", said(&stderr));
    // Nothing was committed and no group was joined: the plant's cluster knows nothing of it.
    let groups = broker
        .java(
            "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
            &["--bootstrap-server", &broker.address(), "--list"],
        )
        .output()
        .expect("java starts");
    let listed = text(&groups.stdout);
    // Among lines of its log, groups are single words.
    let group = listed.lines().find(|line| !line.is_empty() && !line.contains([' ', '\t']));
    assert_eq!((group, groups.status.success()), (None, true), "{listed}");
}

/// Records that could not be read, as coverage counts them.
fn malformed(config: &Path) -> u64 {
    let mut tap: Command = command(&["tap", "events", "--kind", "coverage", "--format", "json", "--config"]);
    let output = tap.arg(config).output().expect("yagura starts");
    let rows = text(&output.stdout);
    let rows = rows.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    rows.filter(|row| row["row"]["event"] == "malformed").filter_map(|row| row["row"]["count"].as_u64()).sum()
}
