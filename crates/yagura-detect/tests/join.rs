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
    Shelf::new(SqlCompiler::default())
        .read(Texts::one("j.yaml", text))
        .map_err(|errors| errors[0].to_string())
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
    let envelope = Envelope {
        kind,
        version: 1,
        cell: "bay".into(),
        collector: "span".into(),
        epoch: 1,
        first_row: row,
        rows: 1,
        observed: (0, 0),
        promise: 0,
        encoding: Encoding::Json,
        origin: None,
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

#[test]
fn a_sequence_takes_no_joins() {
    let text = "version: 1
detections:
  - id: s
    title: S
    queue: security
    severity: low
    on: message
    join: [maintenance]
    by: [tool]
    sequence:
      within: 5m
      steps:
        - where: operation = 'program.write'
        - where: operation = 'control'
    summary: '{tool}'
    then: Look.
";
    let Err(errors) = Pipeline::read("p.yaml".as_ref(), text, &SqlCompiler::default()) else {
        panic!("it was taken");
    };
    let said: Vec<String> = errors.iter().map(|e| e.to_string()).collect();
    assert_eq!(
        said,
        ["p.yaml:8:12: `join` does not reach the steps of a `sequence`; write it without one of the two"]
    );
}
