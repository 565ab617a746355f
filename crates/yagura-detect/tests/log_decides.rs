//! What changes a result is a record in the log: pipeline versions, and what cells pass on to the plant.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde_json::{Value, json};
use yagura_detect::passing;
use yagura_detect::resume::resume;
use yagura_detect::shelf::Texts;
use yagura_detect::snapshot::{self, Wanted};
use yagura_detect::worker::{self, ALERTS, EVENTS, LATE, Progress};
use yagura_detect::{Pipeline, Shelf};
use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::{ControlBuilder, ControlRow};
use yagura_event::{Alert, Encoding, Envelope, Kind, codec};
use yagura_log::embedded::{Embedded, Options};
use yagura_log::{Log, Record, memory};
use yagura_sql::SqlCompiler;

const HEAD: &str = "version: 1\ndetections:\n";

/// A detection of `client`s by a window of counts.
fn counts(id: &str, more: &str, at_least: u32) -> String {
    format!(
        "  - {{ id: {id}, title: T, queue: security, severity: low, on: message, {more} by: [client], quiet: 0s,\n      window: {{ within: 1h, at_least: {at_least} }}, summary: '{{seen}}', then: Look. }}\n"
    )
}

fn pipeline(detections: &[String]) -> Arc<Pipeline> {
    let text = format!("{HEAD}{}", detections.concat());
    let read = Shelf::new(SqlCompiler::default()).read(Texts::one("p.yaml", text));
    read.unwrap_or_else(|errors| panic!("{}", errors[0]))
}

fn record(cell: &str, kind: Kind, row: u64, promise: Micros, rows: &[Value]) -> Record {
    let envelope = Envelope {
        kind,
        version: kind.version(),
        cell: cell.into(),
        collector: "tap".into(),
        epoch: 7,
        first_row: row,
        rows: rows.len() as u32,
        observed: (promise, promise),
        promise,
        encoding: Encoding::Json,
        origin: None,
        places: Vec::new(),
    };
    let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
    let value = Bytes::from(lines.join("\n"));
    Record { key: Bytes::copy_from_slice(cell.as_bytes()), header: envelope.to_header().into(), value }
}

/// Messages of a cell from the number `row` on, a second each: `(client, tool)`.
fn messages(cell: &str, row: u64, of: &[(&str, &str)]) -> Record {
    let at = |n: usize| (row as i64 + n as i64) * SECOND;
    let line = |(n, (client, tool)): (usize, &(&str, &str))| json!({"time": at(n), "observed": at(n), "client": client, "tool": tool});
    let rows: Vec<Value> = of.iter().enumerate().map(line).collect();
    record(cell, Kind::Message, row, at(rows.len()), &rows)
}

fn log(partitions: u32) -> Embedded {
    let log = memory::open(Options::default()).expect("a log");
    for topic in [EVENTS, ALERTS, LATE, snapshot::TOPIC] {
        log.ensure_topic(topic, partitions).expect("a topic");
    }
    log
}

fn append(log: &dyn Log, records: &[Record]) {
    let mut appender = log.appender(EVENTS).expect("an appender");
    records.iter().for_each(|record| appender.append(record.clone()).expect("appends"));
    appender.flush().expect("durable");
}

/// Runs a worker until nothing more comes.
fn judge_all(log: &dyn Log, pipeline: &Arc<Pipeline>) {
    let (stop, progress) = (AtomicBool::new(false), Progress::default());
    let options = worker::Options { silence: None, ..worker::Options::default() };
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| worker::run(log, pipeline, &options, &stop, &progress));
        let mut level = 0;
        for _ in 0..1500 {
            std::thread::park_timeout(Duration::from_millis(20));
            let partitions = log.partitions(EVENTS).expect("partitions");
            let ends: Vec<u64> = (0..partitions).map(|p| log.held(EVENTS, p).expect("held").end).collect();
            let done = progress.done();
            let all = (0..partitions).all(|p| done.get(&p) == Some(&ends[p as usize]));
            // A version is told within two seconds of being level.
            level = if all { level + 1 } else { 0 };
            if worker.is_finished() || level > 120 {
                break;
            }
        }
        stop.store(true, Ordering::Release);
        worker.join().expect("no panic").expect("no error");
    });
}

fn held(log: &dyn Log, topic: &str) -> Vec<Record> {
    let mut out = Vec::new();
    for partition in 0..log.partitions(topic).expect("partitions") {
        let end = log.held(topic, partition).expect("held").end;
        let mut reader = log.reader(topic, partition, 0).expect("a reader");
        while reader.position() < end {
            out.extend(reader.read(1 << 20, Duration::ZERO).expect("reads").into_iter().map(|s| s.record));
        }
    }
    out
}

fn alerts(log: &dyn Log) -> Vec<Alert> {
    let read = |record: &Record| serde_json::from_slice(&record.value).expect("an alert");
    held(log, ALERTS).iter().map(read).collect()
}

/// The alerts of a fold over what the log holds, begun with its first snapshots.
fn replayed(log: &dyn Log, today: &Arc<Pipeline>) -> Vec<Alert> {
    let mut out = Vec::new();
    for partition in 0..log.partitions(EVENTS).expect("partitions") {
        let all = log.held(EVENTS, partition).expect("held");
        let mut resumed = resume(log, today, partition, &all, Wanted::Before(0)).expect("resumes");
        let mut reader = log.reader(EVENTS, partition, 0).expect("a reader");
        while reader.position() < all.end {
            // One record a fetch: the sizes of fetches change nothing.
            for stored in reader.read(1, Duration::ZERO).expect("reads") {
                out.extend(resumed.step(today, stored.offset, &stored.record).alerts);
            }
        }
    }
    out
}

/// What is told of an alert: detection, key, count.
fn told(alerts: &[Alert]) -> Vec<(String, String, f64)> {
    let of = |a: &Alert| {
        (a.detection.clone(), a.key["client"].clone(), a.evidence["seen"].as_f64().unwrap_or(0.0))
    };
    alerts.iter().map(of).collect()
}

#[test]
fn a_changed_pipeline_is_a_record_and_what_did_not_change_keeps_its_state() {
    let (kept, old, new) = (counts("kept", "", 4), counts("old", "", 2), counts("new", "", 2));
    let before = pipeline(&[kept.clone(), old.clone()]);
    let after = pipeline(&[kept, new]);
    let log = log(1);
    append(&log, &[messages("bay", 0, &[("A", "T"), ("A", "T"), ("B", "T")])]);
    judge_all(&log, &before);
    // There already when the new version starts: judged by what was in force.
    append(&log, &[messages("bay", 3, &[("B", "T")])]);
    judge_all(&log, &after);
    append(&log, &[messages("bay", 4, &[("A", "T"), ("A", "T"), ("B", "T")])]);
    judge_all(&log, &after);
    let seen = alerts(&log);
    let expected = [("old", "A", 2.0), ("old", "B", 2.0), ("kept", "A", 4.0), ("new", "A", 2.0)];
    let expected: Vec<_> = expected.iter().map(|(d, c, n)| (d.to_string(), c.to_string(), *n)).collect();
    assert_eq!(told(&seen), expected);
    assert_eq!(replayed(&log, &after), seen, "whatever the files say today");
    assert_eq!(replayed(&log, &before), seen);
    let versions: BTreeSet<String> = held(&log, EVENTS)
        .iter()
        .filter_map(|record| {
            let envelope = Envelope::from_header(&record.header).ok()?;
            let rows = codec::decode(&envelope, &record.value).ok()?;
            (envelope.kind == Kind::Control).then(|| codec::to_json_rows(&rows)[0]["subject"].to_string())
        })
        .collect();
    assert_eq!(versions, BTreeSet::from([format!("\"{}\"", after.version)]), "told once");
}

#[test]
fn snapshots_of_another_log_are_passed_over() {
    let pipeline = pipeline(&[counts("pair", "", 2)]);
    let elsewhere = log(1);
    append(&elsewhere, &(0..9).map(|n| messages("bay", n, &[("Z", "T")])).collect::<Vec<_>>());
    judge_all(&elsewhere, &pipeline);
    // What was restored has fewer records, and the snapshots beside it go on behind them.
    let restored = log(1);
    append(&restored, &[messages("bay", 0, &[("A", "T")]), messages("bay", 1, &[("A", "T")])]);
    let mut appender = restored.appender(snapshot::TOPIC).expect("an appender");
    let state = held(&elsewhere, snapshot::TOPIC).pop().expect("a snapshot");
    appender.append(state).and_then(|()| appender.flush()).expect("durable");
    judge_all(&restored, &pipeline);
    assert_eq!(told(&alerts(&restored)), [("pair".to_string(), "A".to_string(), 2.0)]);
    // From then on the log's own snapshots count, though they go on before the other's.
    append(&restored, &[messages("bay", 2, &[("B", "T")])]);
    judge_all(&restored, &pipeline);
    append(&restored, &[messages("bay", 3, &[("B", "T")])]);
    judge_all(&restored, &pipeline);
    let found: Vec<String> = told(&alerts(&restored)).into_iter().map(|(_, client, _)| client).collect();
    assert_eq!(found, ["A", "B"]);
}

#[test]
fn a_version_that_cannot_be_read_changes_nothing() {
    let now = pipeline(&[counts("now", "", 2)]);
    let mut builder = ControlBuilder::default();
    let payload = r#"{"files":[["p.yaml","version: 9"]]}"#;
    builder.push(&ControlRow { action: "pipeline", subject: "x", payload, ..Default::default() });
    let value = codec::encode_arrow(&builder.finish()).expect("encodes").into();
    let control = record("bay", Kind::Control, 0, 0, &[json!({})]);
    let mut envelope = Envelope::from_header(&control.header).expect("an envelope");
    envelope.encoding = Encoding::Arrow;
    let mut shard = yagura_detect::Shard::new("bay", Arc::clone(&now));
    shard.step(0, &Record { header: envelope.to_header().into(), value, ..control });
    assert_eq!(shard.stats().refused_pipelines, 1);
    assert!(Arc::ptr_eq(shard.pipeline(), &now));
    let stepped = shard.step(1, &messages("bay", 1, &[("A", "T"), ("A", "T")]));
    assert_eq!(stepped.alerts.len(), 1);
}

fn fan_out() -> Arc<Pipeline> {
    let wide = "  - { id: fan-out, title: F, queue: security, severity: low, on: message, scope: plant,\n      where: \"tool <> ''\", by: [client], quiet: 0s,\n      window: { within: 1h, distinct: [tool], at_least: 4 }, summary: '{seen}', then: Look. }\n";
    pipeline(&[wide.to_string(), counts("many", "", 3)])
}

/// Three cells in which B reaches one tool again and again, and A four different ones in all.
fn three_cells() -> Vec<Record> {
    let mut out = Vec::new();
    for (n, cell) in ["bay-1", "bay-2", "bay-3"].into_iter().enumerate() {
        let own = format!("T{n}");
        out.push(messages(cell, 0, &[("B", "T9"), ("A", &own), ("B", "")]));
        out.push(messages(cell, 3, &[("A", &own), ("B", "T9"), ("C", &own)]));
    }
    out.push(messages("bay-1", 6, &[("C", "T0"), ("A", "T7")]));
    out
}

#[test]
fn what_spans_cells_is_judged_once() {
    let pipeline = fan_out();
    let log = log(2);
    append(&log, &three_cells());
    judge_all(&log, &pipeline);
    let of = |detection: &str, log: &Embedded| -> Vec<Alert> {
        alerts(log).into_iter().filter(|a| a.detection == detection).collect()
    };
    let found = of("fan-out", &log);
    assert_eq!(told(&found), [("fan-out".to_string(), "A".to_string(), 4.0)]);
    assert_eq!(found[0].cell, passing::cell_of("fan-out"));
    // Of which cell is a matter of the order in which partitions came; that order is in the log.
    assert!(found[0].cause.collector.ends_with("/tap") && found[0].cause.epoch == 7, "{:?}", found[0].cause);
    assert_eq!(of("many", &log).len(), 4, "cells judge their own, and not the plant's: B thrice, A in bay-1");
    // Killed before any snapshot: everything is judged and passed on again, and counts once.
    let again = log_with(&held(&log, EVENTS), &held(&log, ALERTS));
    judge_all(&again, &pipeline);
    let ids = |alerts: &[Alert]| alerts.iter().map(|a| (a.uid, a.revision)).collect::<Vec<_>>();
    assert_eq!(ids(&of("fan-out", &again)), ids(&found));
    // The same rows in another order of cells name the same row.
    let other = self::log(2);
    let mut records = three_cells();
    records.rotate_left(2);
    append(&other, &records);
    judge_all(&other, &pipeline);
    assert_eq!(of("fan-out", &other).len(), 1);
}

fn log_with(events: &[Record], alerts: &[Record]) -> Embedded {
    let log = log(2);
    append(&log, events);
    let mut appender = log.appender(ALERTS).expect("an appender");
    alerts.iter().for_each(|record| appender.append(record.clone()).expect("appends"));
    appender.flush().expect("durable");
    log
}

#[test]
fn records_that_are_passed_on_carry_their_rows_and_the_watermark() {
    let pipeline = fan_out();
    let mut shard = yagura_detect::Shard::new("bay", Arc::clone(&pipeline));
    let passed = shard.step(5, &messages("bay", 0, &[("A", "T"), ("A", ""), ("B", "U")])).passed;
    let [passed] = &passed[..] else { panic!("{} records", passed.len()) };
    let envelope = Envelope::from_header(&passed.record.header).expect("an envelope");
    let origin = envelope.origin.clone().expect("an origin");
    assert_eq!((&*envelope.collector, envelope.epoch, envelope.first_row, envelope.rows), ("bay", 5, 0, 2));
    assert_eq!((&*origin.collector, origin.epoch, origin.places), ("tap", 7, vec![0, 2]));
    assert_eq!(envelope.promise, 3 * SECOND);
    let rows = codec::to_json_rows(&codec::decode(&envelope, &passed.record.value).expect("rows"));
    let tools: Vec<&Value> = rows.iter().map(|row| &row["tool"]).collect();
    assert_eq!(tools, ["T", "U"]);
    // Nothing to pass on: the watermark alone, when it got far.
    let heartbeat = |row: u64, promise: i64| record("bay", Kind::Message, row, promise * SECOND, &[]);
    assert_eq!(shard.step(6, &heartbeat(3, 7)).passed.len(), 0);
    let passed = shard.step(7, &heartbeat(3, 8)).passed;
    let envelope = Envelope::from_header(&passed[0].record.header).expect("an envelope");
    assert_eq!((envelope.first_row, envelope.rows, envelope.promise), (2, 0, 8 * SECOND));
    // Numbers go on after a restart, and where the detection was away for a while.
    let mut shard = yagura_detect::Shard::restore(&shard.save()(), Arc::clone(&pipeline)).expect("restores");
    shard.adopt(self::pipeline(&[counts("many", "", 3)]));
    assert!(shard.step(8, &messages("bay", 3, &[("A", "T")])).passed.is_empty());
    shard.adopt(pipeline);
    let passed = shard.step(9, &messages("bay", 4, &[("A", "T")])).passed;
    assert_eq!(Envelope::from_header(&passed[0].record.header).expect("an envelope").first_row, 2);
}

#[test]
fn a_scope_is_explained() {
    let wrong = |more: &str, on: &str| {
        let text = format!(
            "{HEAD}  - id: x\n    title: T\n    queue: security\n    severity: low\n    on: {on}\n    {more}\n    summary: s\n    then: Look.\n"
        );
        let read = Shelf::new(SqlCompiler::default()).read(Texts::one("p.yaml", text));
        read.err().map_or_else(String::new, |errors| errors[0].to_string())
    };
    assert_eq!(wrong("scope: site", "message"), "p.yaml:8:12: `site` is no scope; there are: cell, plant");
    assert!(wrong("scope: plant", "sample").contains("sample rows are judged within their cell"));
    assert!(wrong("scope: plant\n    join: [lot]", "message").contains("contexts hold within a cell"));
    assert_eq!(wrong("scope: plant", "message"), "");
}

#[test]
fn approvals_reach_the_plant() {
    let known = "  - { id: pairs, title: P, queue: security, severity: low, on: message, scope: plant, by: [client], quiet: 0s,\n      known: { of: [client, tool], from: learning }, summary: s, then: Look. }\n";
    let pipeline = pipeline(&[known.to_string()]);
    let control = |cell: &str, row: u64| {
        let rows = [json!({"time": 0, "observed": 0, "action": "approve", "subject": "pairs"})];
        record(cell, Kind::Control, row, row as i64 * SECOND, &rows)
    };
    let log = log(1);
    append(&log, &[messages("bay-1", 0, &[("A", "T")]), messages("bay-2", 0, &[("B", "T")])]);
    judge_all(&log, &pipeline);
    append(&log, &[control("bay-2", 1)]);
    judge_all(&log, &pipeline);
    // Known from another cell; new in the plant.
    append(&log, &[messages("bay-2", 2, &[("A", "T"), ("C", "T")]), messages("bay-1", 1, &[("B", "T")])]);
    judge_all(&log, &pipeline);
    let keys: Vec<BTreeMap<String, String>> = alerts(&log).into_iter().map(|a| a.key).collect();
    assert_eq!(keys, [BTreeMap::from([("client".to_string(), "C".to_string())])]);
}

const BUDGETED: &str = "  - { id: levels, title: L, queue: equipment, severity: low, on: sample, by: [tool], quiet: 0s,
      model: { name: guard, budget: 200, parameters: { limit_sigma: 25 } }, summary: '{finding} {score}', then: Look. }
";

/// A signal of a cell, a sample a minute from one minute to another; in some of them it is far up.
fn minutes(cell: &str, row: u64, of: std::ops::Range<i64>, up: &std::ops::Range<i64>) -> Record {
    let end = of.end * 60 * SECOND;
    let line = |minute: i64| {
        let noise = ((minute * 7919) % 11 - 5) as f64 / 5.0;
        let value = if up.contains(&minute) { 60.0 } else { 50.0 + noise };
        json!({"series": 0, "time": minute * 60 * SECOND, "value": value, "quality": 0})
    };
    record(cell, Kind::Sample, row, end, &of.map(line).collect::<Vec<_>>())
}

fn learned(cell: &str) -> Vec<Record> {
    let series = json!({"series": 0, "tool": cell, "chamber": "A", "signal": "flow", "unit": "", "class": "flow", "source": "s"});
    let approve = json!({"time": 0, "observed": 0, "action": "approve", "subject": "levels", "payload": "", "author": "A"});
    let at = 100 * 60 * SECOND;
    vec![
        record(cell, Kind::Series, 0, 0, &[series]),
        minutes(cell, 1, 0..100, &(0..0)),
        record(cell, Kind::Control, 101, at, &[approve]),
    ]
}

#[test]
fn a_budget_of_all_cells_sets_their_limits() {
    let pipeline = pipeline(&[BUDGETED.to_string()]);
    let (log, cells) = (log(2), ["bay-1", "bay-2", "bay-3"]);
    let hours = |from: i64, up: std::ops::Range<i64>| -> Vec<Record> {
        let of = |cell| {
            (0..5).map(move |n| {
                let from = from + n * 60;
                (cell, from)
            })
        };
        let all = cells.into_iter().flat_map(of);
        all.map(|(cell, from)| minutes(cell, 2 + from as u64, from..from + 60, &up)).collect()
    };
    append(&log, &cells.into_iter().flat_map(learned).collect::<Vec<_>>());
    append(&log, &hours(100, 200..209));
    judge_all(&log, &pipeline);
    assert_eq!(alerts(&log), [], "just over the calibrated limit, and little is known of the fleet");
    append(&log, &hours(400, 500..509));
    judge_all(&log, &pipeline);
    let found = alerts(&log);
    let told: BTreeSet<&str> = found.iter().map(|alert| &*alert.cell).collect();
    assert_eq!((found.len(), told), (3, cells.into_iter().collect()), "the fleet is calm: there is room");
    let evidence = &found[0].evidence;
    assert_eq!((evidence["finding"].as_str(), evidence["factor"].as_f64()), (Some("range"), Some(0.5)));
    assert!(evidence["score"].as_f64().is_some_and(|score| (1.0..4.0).contains(&score)), "{evidence:?}");
    assert_eq!(replayed(&log, &pipeline), found, "limits are what the log says");
    // Killed before any snapshot: nothing is told twice, to nobody.
    let again = log_with(&held(&log, EVENTS), &held(&log, ALERTS));
    judge_all(&again, &pipeline);
    assert_eq!(alerts(&again), found);
}

#[test]
fn what_was_spent_of_a_budget_is_known_where_it_is_held() {
    let pipeline = pipeline(&[BUDGETED.to_string()]);
    let mut cell = yagura_detect::Shard::new("bay-1", Arc::clone(&pipeline));
    let mut plant = yagura_detect::Shard::new(&passing::cell_of("levels"), Arc::clone(&pipeline));
    let mut offset = 0;
    let (mut told, mut forgeries) = (0, 0);
    let mut records = learned("bay-1");
    records.extend((0..30).map(|n| {
        let from = 100 + n * 60;
        minutes("bay-1", 2 + from as u64, from..from + 60, &(200..260))
    }));
    let mut step = |cell: &mut yagura_detect::Shard, record: &Record| {
        offset += 1;
        cell.step(offset, record)
    };
    for record in &records {
        let stepped = step(&mut cell, record);
        told += stepped.alerts.len();
        for passed in stepped.passed {
            let answers = step(&mut plant, &passed.record).passed;
            for answer in answers {
                assert_eq!(answer.record.key, Bytes::from_static(b"bay-1"));
                // Once more changes nothing: it has a number.
                step(&mut cell, &answer.record);
                let others = Envelope::from_header(&answer.record.header).expect("an envelope");
                let others = Envelope { collector: "tap".into(), epoch: 9, ..others };
                let forged = Record { header: others.to_header().into(), ..answer.record.clone() };
                step(&mut cell, &forged);
                forgeries += 1;
                assert_eq!(cell.stats().unreadable_records, forgeries, "others set no limits");
                let repeated = cell.stats().repeated_rows;
                step(&mut cell, &answer.record);
                assert_eq!(cell.stats().repeated_rows, repeated + 1);
            }
        }
    }
    let spent = plant.spent().expect("a budget");
    assert_eq!((spent.budget, spent.keys, told), (200.0, 1, 1));
    assert_eq!(spent.alarms.iter().sum::<u32>(), 1, "{:?}", spent.alarms);
    assert_eq!(cell.spent(), None);
    assert!(plant.watermark() == Micros::MIN, "who holds a budget waits for nobody");
    assert!(forgeries > 0);
    assert_eq!(plant.stats().unreadable_records, 0);
    let wrong = |more: &str| {
        let text = format!("{HEAD}{}", BUDGETED.replace("budget: 200", more));
        let read = Shelf::new(SqlCompiler::default()).read(Texts::one("p.yaml", text));
        read.err().map(|errors| errors[0].to_string()).unwrap_or_default()
    };
    assert!(
        wrong("budget: 0").contains("p.yaml:4:37: `alarms_per_day` is more than 0"),
        "{}",
        wrong("budget: 0")
    );
    assert!(wrong("budget: { alarms: 2 }").contains("a budget is a number of alarms a day"));
    assert_eq!(wrong("budget: { alarms_per_day: 0.5, floor: 1.0 }"), "");
}
