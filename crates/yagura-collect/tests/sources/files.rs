//! Files that others write: rotation under load, kills and restarts, and the logs of Zeek and Suricata for real
//! captures.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, Int32Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use parquet::arrow::ArrowWriter;
use parquet::file::properties::WriterProperties;
use serde_json::{Map, Value, json};
use yagura_event::Kind;

use crate::rig::{Rig, records, within};

/// Runs a collector until `until` answers true. With `life`, it is killed after so many records; answers whether it
/// came to an end of its own.
fn run(rig: &Rig, settings: &Value, life: Option<u64>, mut until: impl FnMut() -> bool) -> bool {
    if let Some(records) = life {
        rig.mood.die_after(records);
    }
    let collector = rig.collect(settings);
    let went = within(Duration::from_secs(20), || collector.is_ended() || until());
    assert!(went, "it takes too long: {:?}", count(rig));
    collector.ask_to_stop();
    let whole = collector.ended().is_ok();
    rig.mood.recover();
    whole
}

/// Reads once to the end.
fn once(rig: &Rig, mut settings: Value) {
    settings["once"] = json!(true);
    assert!(run(rig, &settings, None, || stopped(rig)));
}

fn rows_of(rig: &Rig, kind: Kind) -> Vec<Map<String, Value>> {
    rig.rows().kind(kind).map(|row| row.columns.clone()).collect()
}

/// Rows by kind.
fn count(rig: &Rig) -> BTreeMap<&'static str, u64> {
    let mut out = BTreeMap::new();
    for (envelope, _) in records(rig.log.as_ref()) {
        *out.entry(envelope.kind.name()).or_default() += u64::from(envelope.rows);
    }
    out
}

fn told_of(rig: &Rig, event: &str) -> Vec<String> {
    let rows = rig.rows();
    let told = rows.told(event, "", "");
    told.map(|row| format!("{}: {}", row.text("subject"), row.text("detail"))).collect()
}

fn malformed(rig: &Rig) -> u64 {
    rig.rows().counted("malformed")
}

/// Whether a collector says that it read everything.
fn stopped(rig: &Rig) -> bool {
    std::thread::park_timeout(Duration::from_millis(50));
    rig.told("stop", "", "") > 0
}

fn numbers(rig: &Rig) -> Vec<u64> {
    let rows = rig.rows();
    let mut out: Vec<u64> = rows.kind(Kind::Log).filter_map(|row| row.text("event").parse().ok()).collect();
    out.sort_unstable();
    out
}

fn shared(folder: &str) -> PathBuf {
    let shared =
        std::env::var_os("YAGURA_SHARED").map_or_else(|| PathBuf::from("../../../shared"), PathBuf::from);
    let folder = shared.join(folder);
    assert!(folder.is_dir(), "{} is absent; YAGURA_SHARED says where the captures are", folder.display());
    folder
}

/// Ways of rotating `app.log`.
#[derive(Clone, Copy)]
enum Rotation {
    Rename,
    CopyAndTruncate,
    NewName,
}

/// Writes numbered lines, some in two pieces, and rotates the file now and then.
fn write_and_rotate(folder: &Path, ways: &[Rotation], lines: u64, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut name = folder.join("app.log");
    let open = |path: &Path| fs::OpenOptions::new().append(true).create(true).open(path).expect("a file");
    let mut file = open(&name);
    for number in 0..lines {
        let pad = "x".repeat(random.usize(0..200));
        let line = format!(
            "{{\"time\":\"2026-11-02T22:00:01Z\",\"event\":\"{number}\",\"description\":\"{pad}\"}}\n"
        );
        let cut = random.usize(0..line.len());
        file.write_all(&line.as_bytes()[..cut]).expect("written");
        file.write_all(&line.as_bytes()[cut..]).expect("written");
        if random.u32(0..40) == 0 {
            std::thread::park_timeout(Duration::from_millis(random.u64(0..12)));
        }
        if random.u32(0..400) == 0 {
            let old = folder.join(format!("app.log.{number}"));
            match ways[random.usize(0..ways.len())] {
                Rotation::Rename => {
                    fs::rename(&name, old).expect("renamed");
                    file = open(&name);
                }
                Rotation::CopyAndTruncate => {
                    fs::copy(&name, old).expect("copied");
                    file.set_len(0).expect("cut short");
                }
                Rotation::NewName => {
                    name = folder.join(format!("app.log-{number:08}"));
                    file = open(&name);
                }
            }
        }
    }
}

/// Follows such a file, killed at random; nothing is missing, and nothing is there twice.
fn survives(ways: &[Rotation], seed: u64) {
    let rig = Rig::new();
    let settings = json!({
        "name": "app", "kind": "files", "path": "app.log*", "format": "jsonl", "poll": "5ms", "batch": "10ms",
        "mapping": { "as": "log", "columns": { "category": "app" } },
    });
    let lines = 20_000;
    let mut random = fastrand::Rng::with_seed(seed ^ 99);
    let mut kills = 0;
    std::thread::scope(|threads| {
        let folder = rig.folder.path();
        let writing = threads.spawn(move || write_and_rotate(folder, ways, lines, seed));
        while !writing.is_finished() {
            let whole = run(&rig, &settings, Some(random.u64(1..12)), || writing.is_finished());
            kills += u32::from(!whole);
            std::thread::park_timeout(Duration::from_millis(random.u64(0..30)));
        }
    });
    run(&rig, &settings, None, || count(&rig).get("log").is_some_and(|rows| *rows >= lines));
    let numbers = numbers(&rig);
    let missing: Vec<u64> = (0..lines).filter(|n| numbers.binary_search(n).is_err()).collect();
    let twice: Vec<u64> = numbers.windows(2).filter(|two| two[0] == two[1]).map(|two| two[0]).collect();
    assert!(missing.is_empty(), "seed {seed}, {kills} kills: {} are missing: {missing:?}", missing.len());
    assert!(twice.is_empty(), "seed {seed}, {kills} kills: {} are there twice: {twice:?}", twice.len());
    assert!(kills > 3, "only {kills} kills");
    assert_eq!(malformed(&rig), 0, "{:?}", told_of(&rig, "malformed"));
}

#[test]
fn rotation_by_rename_loses_and_repeats_nothing() {
    survives(&[Rotation::Rename], 1);
}

#[test]
fn rotation_by_copy_and_truncate_loses_and_repeats_nothing() {
    survives(&[Rotation::CopyAndTruncate], 2);
}

#[test]
fn rotation_by_new_names_and_all_ways_together_loses_and_repeats_nothing() {
    survives(&[Rotation::NewName], 3);
    survives(&[Rotation::Rename, Rotation::CopyAndTruncate, Rotation::NewName], 4);
}

#[test]
fn every_line_of_zeeks_logs_becomes_a_row_or_is_counted() {
    let rig = Rig::new();
    let (mut counts, mut nth) = (BTreeMap::new(), 0);
    let mut folders = vec![shared("captures/expected")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let made_by = folder.file_name().and_then(|name| name.to_str());
            let is_log = path.extension().is_some_and(|ending| ending == "log");
            if !is_log || !matches!(made_by, Some("zeek" | "icsnpp")) {
                continue;
            }
            // The references have their times blanked out.
            let text = String::from_utf8(fs::read(&path).expect("a file")).expect("a text");
            let text = text.replace("XXXXXXXXXX.XXXXXX", "1700000000.000000");
            let data = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).count();
            // One has nothing but ids of connections.
            let is_conn = text.contains("#path\tconn\n") && text.contains("\tid.resp_h\t");
            // Some references lack their headers.
            let headless = !text.contains("\n#fields\t") && !text.contains("\n{");
            nth += 1;
            counts.insert(format!("{nth}.log"), (data as u64, is_conn, headless));
            rig.write(&format!("{nth}.log"), text);
        }
    }
    once(&rig, json!({ "name": "zeek", "kind": "zeek", "path": "*.log", "batch": "100ms" }));
    // Some references are the same: copies are told, and not read.
    for told in told_of(&rig, "start").iter().filter(|told| told.contains("is not read: it is a copy of")) {
        let (path, _) = told.split_once(':').expect("a path");
        let name = Path::new(path).file_name().and_then(|name| name.to_str()).expect("a name");
        assert!(counts.remove(name).is_some());
    }
    let lines_of = |is: fn(bool, bool) -> bool| -> u64 {
        counts.values().filter(|(_, conn, headless)| is(*conn, *headless)).map(|(lines, ..)| lines).sum()
    };
    let (lines, connections) = (lines_of(|_, _| true), lines_of(|conn, _| conn));
    assert!(counts.len() > 300, "only {} logs", counts.len());
    let count = count(&rig);
    let (logs, flows, malformed) = (count["log"], count["flow"], malformed(&rig));
    assert_eq!(logs + flows + malformed, lines, "{count:?}");
    assert_eq!(flows, connections, "{:?}", told_of(&rig, "malformed"));
    assert_eq!(malformed, lines_of(|_, headless| headless), "{:?}", told_of(&rig, "malformed"));
}

#[test]
fn every_record_of_suricata_becomes_a_row_or_is_counted() {
    let rig = Rig::new();
    let (mut lines, mut nth) = (0, 0);
    let mut folders = vec![shared("captures/expected")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.ends_with("suricata/eve.json.gz") {
                let mut text = String::new();
                let packed = fs::File::open(&path).expect("a file");
                flate2::read::MultiGzDecoder::new(packed).read_to_string(&mut text).expect("a text");
                lines +=
                    text.lines().filter(|line| !line.contains("\"event_type\":\"stats\"")).count() as u64;
                nth += 1;
                rig.write(&format!("eve-{nth}.json"), text);
            }
        }
    }
    assert!(lines > 80_000, "only {lines} records");
    once(&rig, json!({ "name": "eve", "kind": "suricata", "path": "eve-*.json" }));
    let count = count(&rig);
    assert_eq!(count["log"] + count.get("flow").unwrap_or(&0) + malformed(&rig), lines, "{count:?}");
    assert_eq!(malformed(&rig), 0, "{:?}", told_of(&rig, "malformed"));
}

#[test]
fn wrong_files_are_told_and_the_others_go_on() {
    let rig = Rig::new();
    rig.write("a.csv", "when,tool,value\n2026-11-02T22:00:01Z,T1,1.5\n");
    rig.write(
        "b.csv",
        "time,tool,signal,value\n2026-11-02T22:00:01Z,T1,p,1.5\n2026-11-02T22:00:02Z,T1\nnever,T1,p,1\n",
    );
    rig.write("c.csv", [0, 159, 146, 150, b'\n', 1, 2, b'\n']);
    rig.write("d.csv", "");
    rig.write(
        "e.csv",
        [&b"time,tool,signal,value\n"[..], &vec![b'z'; 64 << 20], b"\n2026-11-02T22:00:03Z,T1,p,2.5\n"]
            .concat(),
    );
    let columns = json!({ "time": "${time}", "tool": "${tool}", "signal": "${signal}", "value": "${value}" });
    once(
        &rig,
        json!({ "name": "csv", "kind": "files", "path": "*.csv", "mapping": { "as": "sample", "columns": columns } }),
    );
    let mut told = told_of(&rig, "malformed");
    told.sort();
    let ends = [
        "a.csv: has no column `signal`, which the settings name; its columns are: when, tool, value",
        "b.csv: byte 53: has 2 columns, and its header 4",
        "b.csv: byte 77: has no readable time: `never`",
        "c.csv: has a first line that is no text: invalid utf-8 sequence of 1 bytes from index 1",
        "e.csv: byte 23: the line has 67108864 bytes and is passed over; `line_max` is 1048576",
    ];
    assert_eq!(told.len(), ends.len(), "{told:#?}");
    for (told, end) in told.iter().zip(ends) {
        assert!(told.ends_with(end), "{told} is not {end}");
    }
    assert_eq!(rows_of(&rig, Kind::Sample).len(), 2);
}

#[test]
fn badges_and_maintenance_are_mappings() {
    let rig = Rig::new();
    rig.write("badge.csv", "at;door;holder;what\n2026-11-02T22:00:01Z;BAY-3-NORTH;E4711;entered\n\"2026-11-02T22:09:00Z\";BAY-3-NORTH;E4711;left\n");
    let columns = json!({ "time": "${at}", "tool": "${door}", "category": "badge", "event": "${what}", "user": "${holder}",
        "description": "${holder} ${what} at ${door}" });
    once(
        &rig,
        json!({ "name": "badge", "kind": "files", "path": "badge.csv", "delimiter": ";",
        "mapping": { "as": "log", "columns": columns } }),
    );
    let rows = rows_of(&rig, Kind::Log);
    assert_eq!((rows.len(), &rows[1]["description"]), (2, &json!("E4711 left at BAY-3-NORTH")));

    // Work orders: what is under way on a tool, and, when it is done, that levels are learned anew.
    let rig = Rig::new();
    rig.write(
        "orders.jsonl",
        "{\"time\":\"2026-11-02T22:00:01Z\",\"tool\":\"ETCH-07\",\"order\":\"PM-1\"}\n",
    );
    let columns = json!({ "name": "maintenance", "value": "${order}", "source": "work orders" });
    once(
        &rig,
        json!({ "name": "orders", "kind": "files", "path": "orders.jsonl",
        "mapping": { "as": "context", "columns": columns } }),
    );
    let rows = rows_of(&rig, Kind::Context);
    assert_eq!(
        (&rows[0]["tool"], &rows[0]["name"], &rows[0]["value"]),
        (&json!("ETCH-07"), &json!("maintenance"), &json!("PM-1"))
    );

    let rig = Rig::new();
    rig.write("done.csv", "time,tool,who\n2026-11-02T23:00:01Z,ETCH-07,E12\n");
    let columns = json!({ "action": "maintenance", "subject": "*", "payload": "{\"tool\":\"${tool}\"}", "author": "${who}" });
    once(
        &rig,
        json!({ "name": "done", "kind": "files", "path": "done.csv", "mapping": { "as": "control", "columns": columns } }),
    );
    let rows = rows_of(&rig, Kind::Control);
    assert_eq!(
        (&rows[0]["action"], &rows[0]["payload"]),
        (&json!("maintenance"), &json!("{\"tool\":\"ETCH-07\"}"))
    );
}

#[test]
fn a_wide_csv_has_a_signal_in_each_column() {
    let rig = Rig::new();
    rig.write(
        "CVD-01.csv",
        "time,step,Chamber.Pressure,Chamber.Temp,Comment\n1793689201,1,2.5,300,ok\n1793689202.5,2,,301,\"a, b\"\n1793689203,2,x,302,\n",
    );
    once(
        &rig,
        json!({ "name": "fdc", "kind": "files", "path": "*.csv",
        "wide": { "time": "time", "tool": "${file}", "signals": ["Chamber.*"] } }),
    );
    let rows = rows_of(&rig, Kind::Sample);
    let values: Vec<f64> = rows.iter().filter_map(|row| row["value"].as_f64()).collect();
    assert_eq!(values, [2.5, 300.0, 301.0, 302.0]);
    assert_eq!(rows_of(&rig, Kind::Series)[0]["tool"], json!("CVD-01"));
    assert!(told_of(&rig, "malformed")[0].ends_with("has no number in column `Chamber.Pressure`: `x`"));
}

/// A trace export: `rows` lines of a tool, and `columns` signals whose values are all distinct.
fn trace(path: &Path, rows: usize, columns: usize) {
    let time =
        TimestampMicrosecondArray::from_iter_values((0..rows).map(|n| 1_793_689_201_000_000 + n as i64));
    let mut named: Vec<(String, ArrayRef, bool)> = vec![("at".into(), Arc::new(time), false)];
    named.push((
        "chamber".into(),
        Arc::new(StringArray::from_iter_values((0..rows).map(|n| if n % 1000 < 500 { "A" } else { "B" }))),
        false,
    ));
    for column in 0..columns {
        // Some have no value.
        let value =
            |row: usize| (column != 1 || !row.is_multiple_of(3)).then_some((row * columns + column) as f64);
        named.push((format!("S{column}"), Arc::new(Float64Array::from_iter((0..rows).map(value))), true));
    }
    named.push((
        "count".into(),
        Arc::new(Int32Array::from_iter_values((0..rows).map(|n| -1 - n as i32))),
        false,
    ));
    let batch = RecordBatch::try_from_iter_with_nullable(named).expect("a batch");
    let file = fs::File::create(path).expect("a file");
    let properties = WriterProperties::builder().set_max_row_group_row_count(Some(3000)).build();
    let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties)).expect("a writer");
    writer.write(&batch).expect("written");
    writer.close().expect("closed");
}

#[test]
fn wide_parquet_survives_kills_and_a_broken_file_is_told() {
    let rig = Rig::new();
    let (rows, columns) = (30_000, 20);
    trace(&rig.path("a.parquet"), rows, columns);
    trace(&rig.path("b.parquet"), 100, columns);
    let whole = fs::read(rig.path("b.parquet")).expect("a file");
    // Damaged in its data, cut short, and no Parquet at all.
    let mut damaged = whole.clone();
    damaged[4..600].fill(0xff);
    rig.write("c.parquet", damaged);
    rig.write("d.parquet", &whole[..whole.len() - 10]);
    rig.write("e.parquet", "PAR1 is only said to be PAR1");
    fs::remove_file(rig.path("b.parquet")).expect("removed");
    let settings = json!({ "name": "fdc", "kind": "files", "path": "*.parquet", "batch": "10ms", "once": true,
        "wide": { "time": "at", "tool": "CVD-01", "chamber": "${chamber}" } });
    let mut random = fastrand::Rng::with_seed(7);
    let mut kills = 0;
    while kills < 12 && !run(&rig, &settings, Some(random.u64(1..30)), || stopped(&rig)) {
        kills += 1;
    }
    run(&rig, &settings, None, || stopped(&rig));
    let mut values: Vec<i64> =
        rows_of(&rig, Kind::Sample).iter().filter_map(|row| Some(row["value"].as_f64()? as i64)).collect();
    values.sort_unstable();
    let mut expected: Vec<i64> =
        (0..rows * columns).filter(|n| n % columns != 1 || (n / columns) % 3 > 0).map(|n| n as i64).collect();
    expected.extend((0..rows).map(|n| -1 - n as i64));
    expected.sort_unstable();
    assert_eq!(values.len(), expected.len());
    assert!(values == expected);
    let told = [told_of(&rig, "malformed"), told_of(&rig, "corrupt")].concat();
    for name in ["c.parquet", "d.parquet", "e.parquet"] {
        assert!(
            told.iter().any(|told| told.contains(name)),
            "{name} is not told: {told:?} {:?}",
            told_of(&rig, "start")
        );
    }
    assert!(kills > 3, "only {kills} kills");
}

#[test]
fn long_parquet_is_mapped_row_by_row() {
    let rig = Rig::new();
    trace(&rig.path("a.parquet"), 10, 2);
    let columns = json!({ "time": "${at}", "tool": "CVD-01", "chamber": "${chamber}", "signal": "S0", "value": "${S0}" });
    once(
        &rig,
        json!({ "name": "fdc", "kind": "files", "path": "*.parquet", "mapping": { "as": "sample", "columns": columns } }),
    );
    let rows = rows_of(&rig, Kind::Sample);
    let values: Vec<f64> = rows.iter().filter_map(|row| row["value"].as_f64()).collect();
    assert_eq!(values, (0..10).map(|n| f64::from(n * 2)).collect::<Vec<_>>());
    assert_eq!(rows[9]["time"], json!(1_793_689_201_000_009_i64));
}

#[test]
fn settings_that_cannot_be_say_what_to_write() {
    let rig = Rig::new();
    let problem = |settings: Value| rig.probe(&settings).expect_err("it is wrong");
    let base = json!({ "name": "x", "kind": "files", "path": "*.csv" });
    assert!(problem(base.clone()).contains("give either a `mapping`"), "{}", problem(base));
    let unknown =
        json!({ "name": "x", "kind": "files", "path": "*.dat", "wide": { "time": "t", "tool": "T" } });
    assert!(problem(unknown).contains("give `format: csv`"));
    let none = json!({ "name": "x", "kind": "zeek", "path": "*.log" });
    assert!(problem(none).contains("no file matches"));
    let line = json!({ "name": "x", "kind": "suricata", "path": "*.json", "line_max": "1GiB" });
    assert!(problem(line).contains("`line_max` must be"));
}
