//! Contexts joined to rows: what a pipeline file may say of them, and what it is told when it errs.

use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};
use yagura_detect::shelf::Texts;
use yagura_detect::{Pipeline, Shard, Shelf};
use yagura_event::{Encoding, Envelope, Kind};
use yagura_log::Record;
use yagura_sql::SqlCompiler;

fn read(on: &str, join: &str, condition: &str, by: &str) -> Result<Arc<Pipeline>, String> {
    let text = format!(
        "version: 1\ndetections:\n  - id: j\n    title: J\n    queue: security\n    severity: low\n    \
         on: {on}\n    join: {join}\n    where: {condition}\n    by: {by}\n    summary: '{{maintenance}}'\n    then: Look.\n"
    );
    of(text).map_err(|errors| errors[0].clone())
}

fn of(text: impl Into<String>) -> Result<Arc<Pipeline>, Vec<String>> {
    let read = Shelf::new(SqlCompiler::default()).read(Texts::one("j.yaml", text.into()));
    read.map_err(|errors| errors.iter().map(ToString::to_string).collect())
}

#[test]
fn joined_contexts_are_columns() {
    let read_one =
        read("message", "[maintenance, badge]", "maintenance = '' AND badge <> tool", "[tool, badge]");
    let read_one = read_one.expect("a detection");
    let detection = &read_one.detections[0];
    assert_eq!(detection.join, ["maintenance", "badge"]);
    let names: Vec<String> = detection.schema.fields().iter().map(|f| f.name().clone()).collect();
    assert_eq!(names[names.len() - 2..], ["maintenance", "badge"]);
    let other =
        read("message", "[maintenance]", "maintenance = '' AND tool = 'x'", "[tool]").expect("another");
    assert_ne!(detection.fingerprint, other.detections[0].fingerprint);
}

#[test]
fn mistakes_are_explained() {
    let wrong = |on: &str, join: &str, condition: &str, by: &str| {
        read(on, join, condition, by).err().unwrap_or_default()
    };
    let typo = wrong("message", "[maintenence]", "tool = 'x'", "[tool]");
    assert_eq!(
        typo,
        "j.yaml:8:12: `maintenence` is no context; there are: lot, recipe, step, badge, maintenance"
    );
    let sample = wrong("sample", "[maintenance]", "tool = 'x'", "[tool]");
    assert!(sample.contains("j.yaml:8:12: samples take their context"), "{sample}");
    assert!(wrong("coverage", "[maintenance]", "count > 1", "[subject]").contains("name no tool"));
    let column = wrong("message", "[maintenance]", "badge = 'x'", "[tool]");
    assert!(
        column.starts_with("j.yaml:9:12: where: `badge` is no column of message; there are: time"),
        "{column}"
    );
    assert!(column.ends_with("detail, maintenance"), "{column}");
    assert!(
        wrong("message", "[maintenance]", "tool = 'x'", "[badge]")
            .contains("`badge` is no column of message")
    );
}

fn record(row: u64, kind: Kind, columns: Value) -> Record {
    promising(row, kind, 0, columns)
}

fn promising(row: u64, kind: Kind, promise: i64, columns: Value) -> Record {
    let envelope = Envelope {
        kind,
        version: 1,
        cell: "bay".into(),
        collector: "span".into(),
        epoch: 1,
        first_row: row,
        rows: 1,
        observed: (0, 0),
        promise,
        encoding: Encoding::Json,
        origin: None,
        places: Vec::new(),
    };
    let value = columns.to_string().into_bytes().into();
    Record { key: Bytes::from_static(b"bay"), header: envelope.to_header().into(), value }
}

#[test]
fn what_held_is_part_of_the_saved_state() {
    let pipeline = || read("message", "[maintenance]", "maintenance = ''", "[tool]").expect("a detection");
    let context = |row, time: i64, value: &str| {
        let columns =
            json!({"time": time, "observed": 0, "tool": "T", "name": "maintenance", "value": value});
        record(row, Kind::Context, columns)
    };
    let message =
        |row, time: i64| record(row, Kind::Message, json!({"time": time, "observed": 0, "tool": "T"}));
    let mut shard = Shard::new("bay", pipeline());
    assert!(shard.step(0, &context(0, 100, "WO-1")).alerts.is_empty());
    assert!(shard.step(1, &context(1, 200, "")).alerts.is_empty());
    let mut again = Shard::restore(&shard.save()(), pipeline()).expect("its own state");
    for shard in [&mut shard, &mut again] {
        assert!(shard.step(2, &message(2, 150)).alerts.is_empty(), "while it was under way");
        let alerts = shard.step(3, &message(3, 250)).alerts;
        assert_eq!(alerts.iter().map(|a| a.cause.row).collect::<Vec<_>>(), [3]);
    }
    assert_eq!(shard.save()(), again.save()());
}

const SEQUENCE: &str = "version: 1
detections:
  - id: s
    title: S
    queue: security
    severity: low
    on: message
    join: [maintenance, badge]
    by: [tool]
    sequence:
      within: 5m
      steps:
        - where: operation = 'program.write' AND maintenance = ''
        - where: operation = 'control'
          same: [badge]
        - not: badge = 'mori'
          within: 10s
    summary: '{first.badge} wrote, {badge} started'
    then: Look.
";

#[test]
fn contexts_reach_the_steps_of_a_sequence() {
    let pipeline = of(SEQUENCE).expect("a detection");
    let context = |row, at: i64, name: &str, value: &str| {
        let columns =
            json!({"time": at * 1_000_000, "observed": 0, "tool": "T", "name": name, "value": value});
        record(row, Kind::Context, columns)
    };
    let message = |row, at: i64, operation: &str| {
        let at = at * 1_000_000;
        let columns = json!({"time": at, "observed": at, "tool": "T", "operation": operation});
        promising(row, Kind::Message, at, columns)
    };
    let mut shard = Shard::new("bay", pipeline);
    let records = [
        context(0, 0, "badge", "kato"),
        context(1, 0, "maintenance", "WO-1"),
        message(2, 1, "program.write"),
        message(3, 2, "control"),
        context(4, 10, "maintenance", ""),
        message(5, 11, "program.write"),
        context(6, 12, "badge", "abe"),
        message(7, 12, "control"),
        message(8, 13, "program.write"),
        message(9, 14, "control"),
        message(10, 40, "read"),
        message(11, 41, "program.write"),
        message(12, 42, "control"),
        context(13, 43, "badge", "mori"),
        message(14, 44, "read"),
        message(15, 90, "read"),
    ];
    let alerts = records.iter().zip(0..).flat_map(|(record, offset)| shard.step(offset, record).alerts);
    let said: Vec<_> = alerts.map(|alert| (alert.cause.row, alert.summary)).collect();
    assert_eq!(
        said,
        [(9, "abe wrote, abe started".to_string())],
        "not what was announced, nor what another began, nor what mori looked after"
    );
}

#[test]
fn a_step_whose_kind_names_no_tool_has_no_contexts() {
    let text =
        SEQUENCE.replace("- not: badge", "- on: coverage\n          by: [subject]\n          not: badge");
    let said = of(text).err().expect("it is refused");
    assert!(said.len() == 1 && said[0].starts_with("j.yaml:18:16: not: "), "{said:?}");
    assert!(said[0].contains("badge") && said[0].contains("subject"), "{said:?}");
}

const COMPUTED: &str = "version: 1
detections:
  - id: c
    title: C
    queue: security
    severity: low
    on: message
    join: [maintenance]
    compute:
      network: regexp_replace(client, '[.][0-9]+$', '')
      seconds: latency_us / 1000000.0
      working: maintenance <> ''
    where: network = '10.1.2' AND seconds > 0.5
    by: [network, working]
    quiet: 0s
    summary: '{client} of {network} waited {seconds} s'
    then: Look.
";

#[test]
fn computed_columns_are_columns() {
    let message = |row: u64, client: &str, latency_us: u64| {
        let columns =
            json!({"time": row, "observed": row, "tool": "T", "client": client, "latency_us": latency_us});
        record(row, Kind::Message, columns)
    };
    let mut shard = Shard::new("bay", of(COMPUTED).expect("a detection"));
    let work = json!({"time": 0, "observed": 0, "tool": "T", "name": "maintenance", "value": "WO-1"});
    assert!(shard.step(0, &record(0, Kind::Context, work)).alerts.is_empty());
    assert!(shard.step(1, &message(1, "10.1.3.7", 900_000)).alerts.is_empty(), "another network");
    assert!(shard.step(2, &message(2, "10.1.2.7", 100_000)).alerts.is_empty(), "quick");
    let alerts = shard.step(3, &message(3, "10.1.2.7", 900_000)).alerts;
    assert_eq!(alerts[0].summary, "10.1.2.7 of 10.1.2 waited 0.9 s");
    assert_eq!((&*alerts[0].key["network"], &*alerts[0].key["working"]), ("10.1.2", "true"));
    assert_eq!(alerts[0].evidence["seconds"], 0.9);
    // A window measures what is computed, and a list knows it.
    let windows = COMPUTED.replace("    summary: '{client} of {network} waited {seconds} s'", "    window: { every: 10s, of: seconds, measure: max, at_least: 0.8 }\n    summary: '{network} {max}'");
    assert_eq!(of(windows).err(), None);
    let known =
        COMPUTED.replace("    summary", "    known: { of: [network, tool], from: learning }\n    summary");
    assert_eq!(of(known).err(), None);
}

#[test]
fn a_computed_column_that_makes_no_sense_is_explained() {
    let wrong = |from: &str, to: &str| of(COMPUTED.replace(from, to)).err().unwrap_or_default().join("; ");
    assert!(
        wrong("latency_us / 1000000.0", "latency / 2")
            .starts_with("j.yaml:11:16: compute: seconds: `latency` is no column of message")
    );
    assert_eq!(
        wrong(
            "      seconds: latency_us / 1000000.0",
            "      tool: latency_us / 1000000.0\n      seconds: 1.0"
        ),
        "j.yaml:11:13: a column `tool` is there already; give what is computed another name"
    );
    assert!(
        wrong("seconds: latency_us / 1000000.0", "seconds: now()").contains("gives another answer each time")
    );
    assert!(
        wrong("seconds: latency_us / 1000000.0", "seconds: time")
            .contains("computed columns are texts or numbers")
    );
    assert!(
        wrong("on: message\n    join: [maintenance]", "on: sample")
            .contains("samples are numbers without names")
    );
    let sequence =
        SEQUENCE.replace("    by: [tool]\n", "    compute: { x: latency_us + 1 }\n    by: [tool]\n");
    assert!(of(sequence).err().is_some_and(|said| said[0].contains("does not reach the steps")));
}

#[test]
fn the_plant_judges_what_is_computed() {
    let text = COMPUTED
        .replace("    join: [maintenance]\n", "    scope: plant\n")
        .replace("maintenance <> ''", "latency_us > 800000");
    let pipeline = of(text).expect("a detection");
    let mut cell = Shard::new("bay", Arc::clone(&pipeline));
    let mut plant = Shard::new(&yagura_detect::passing::cell_of("c"), pipeline);
    let columns = json!({"time": 0, "observed": 0, "tool": "T", "client": "10.1.2.7", "latency_us": 900_000});
    let passed = cell.step(0, &record(0, Kind::Message, columns)).passed;
    let [passed] = &passed[..] else { panic!("{} records", passed.len()) };
    assert_eq!(plant.step(0, &passed.record).alerts.len(), 1);
    assert_eq!(plant.stats().failed_conditions, 0);
}
