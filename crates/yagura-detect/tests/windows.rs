//! Windows over records: boundaries, lateness, sessions, measures; the same hits however the rows
//! are cut into records and wherever the state was saved and taken back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Value, json};
use yagura_detect::shelf::Texts;
use yagura_detect::worker::{self, ALERTS, EVENTS, LATE, Progress};
use yagura_detect::{LateRow, Pipeline, Shard, Shelf, snapshot};
use yagura_event::clock::{Micros, SECOND};
use yagura_event::{Alert, Encoding, Envelope, Kind, codec};
use yagura_log::{Log, Record};
use yagura_sql::SqlCompiler;

/// A message: when it was observed, in seconds, and its columns.
type Row = (i64, Value);

fn row(at: i64, client: &str, function: &str, latency: i64) -> Row {
    (at, json!({"client": client, "function": function, "latency_us": latency}))
}

fn calls(client: &str, at: impl IntoIterator<Item = i64>) -> Vec<Row> {
    at.into_iter().map(|at| row(at, client, "read", 1000)).collect()
}

/// Records of one collector: each some rows, and what is promised after them, in seconds.
fn records(parts: &[(Vec<Row>, i64)]) -> Vec<Record> {
    records_of("span", 1, parts)
}

fn records_of(collector: &str, epoch: u64, parts: &[(Vec<Row>, i64)]) -> Vec<Record> {
    let mut next = 0;
    let of = |(rows, promise): &(Vec<Row>, i64)| {
        let bounds = |d: Option<i64>| d.map_or(0, |s| s * SECOND);
        let lines: Vec<String> = rows
            .iter()
            .map(|(at, columns)| {
                let mut columns = columns.clone();
                columns["observed"] = (at * SECOND).into();
                columns["time"] = (at * SECOND).into();
                columns.to_string()
            })
            .collect();
        let envelope = Envelope {
            kind: Kind::Message,
            version: 1,
            cell: "bay".into(),
            collector: collector.into(),
            epoch,
            first_row: next,
            rows: rows.len() as u32,
            observed: (bounds(rows.iter().map(|r| r.0).min()), bounds(rows.iter().map(|r| r.0).max())),
            promise: promise.saturating_mul(SECOND),
            encoding: Encoding::Json,
            origin: None,
            places: Vec::new(),
        };
        next += rows.len() as u64;
        let value = Bytes::from(lines.join("\n"));
        Record { key: Bytes::from_static(b"bay"), header: envelope.to_header().into(), value }
    };
    parts.iter().map(of).collect()
}

fn read(window: &str, summary: &str) -> Result<Arc<Pipeline>, String> {
    let text = format!(
        "version: 1\ndetections:\n  - id: w\n    title: W\n    queue: security\n    severity: low\n    \
         on: message\n    by: [client]\n    window: {window}\n    quiet: 0s\n    summary: '{summary}'\n    then: Look.\n"
    );
    Shelf::new(SqlCompiler::default())
        .read(Texts::one("w.yaml", text))
        .map_err(|errors| errors[0].to_string())
}

fn pipeline(window: &str) -> Arc<Pipeline> {
    read(window, "{client}").expect(window)
}

fn steps(shard: &mut Shard, records: &[Record]) -> (Vec<Alert>, Vec<LateRow>) {
    let (mut alerts, mut late) = (Vec::new(), Vec::new());
    let first = shard.next_offset();
    for (offset, record) in records.iter().enumerate().skip(first as usize) {
        let stepped = shard.step(offset as u64, record);
        assert_eq!(stepped.unreadable.map(|e| e.to_string()), None);
        alerts.extend(stepped.alerts);
        late.extend(stepped.late);
    }
    (alerts, late)
}

fn judge(window: &str, parts: &[(Vec<Row>, i64)]) -> (Vec<Alert>, Vec<LateRow>) {
    steps(&mut Shard::new("bay", pipeline(window)), &records(parts))
}

/// Client and what was seen.
fn seen(alerts: &[Alert]) -> Vec<(String, f64)> {
    let of = |a: &Alert| (a.key["client"].clone(), a.evidence["seen"].as_f64().unwrap_or(f64::NAN));
    alerts.iter().map(of).collect()
}

fn told(window: &str, parts: &[(Vec<Row>, i64)]) -> Vec<(String, f64)> {
    seen(&judge(window, parts).0)
}

const END: i64 = i64::MAX;

#[test]
fn a_step_takes_its_begin_and_leaves_its_end_to_the_next() {
    let window = "{ every: 1m, at_least: 2 }";
    let rows = calls("a", [0, 59, 60, 119, 120]);
    assert_eq!(told(window, &[(rows.clone(), 59)]), [], "nothing is over");
    assert_eq!(told(window, &[(rows.clone(), 60)]), [("a".into(), 2.0)]);
    assert_eq!(told(window, &[(rows.clone(), 119)]), [("a".into(), 2.0)]);
    let (alerts, late) = judge(window, &[(rows, 120)]);
    assert_eq!(seen(&alerts), [("a".into(), 2.0), ("a".into(), 2.0)]);
    assert_eq!((alerts[0].cause.row, alerts[1].cause.row), (1, 3), "the last row that counted");
    assert_eq!(alerts[1].evidence["from"], "1970-01-01T00:01:00.000000Z");
    assert_eq!(alerts[1].evidence["to"], "1970-01-01T00:02:00.000000Z");
    assert!(late.is_empty());
}

#[test]
fn heartbeats_close_and_so_does_the_end() {
    let window = "{ every: 1m, at_least: 1 }";
    let one = |at, promise| (calls("a", [at]), promise);
    assert_eq!(told(window, &[one(10, 10), (vec![], 60)]).len(), 1);
    let (alerts, late) = judge(window, &[one(10, END), one(20, END), one(70, END)]);
    assert_eq!(alerts.len(), 1);
    assert_eq!(late.len(), 1, "the window that ended with the source took no more");
}

#[test]
fn late_rows_are_counted_within_the_lateness_and_told_aside_beyond() {
    let parts = [
        (calls("a", [10]), 75),
        (calls("a", [20]), 75),
        (calls("b", [30]), 75),
        (calls("a", [70, 80]), 80),
        (calls("a", [50]), 80),
        (calls("a", [65]), 200),
    ];
    let (alerts, late) = judge("{ every: 1m, at_least: 2 }", &parts);
    assert_eq!(seen(&alerts), [("a".into(), 3.0)], "only the second minute");
    let rows: Vec<(u64, &str, u64)> =
        late.iter().map(|l| (l.sequence, l.row.key["client"].as_str(), l.row.cause.row)).collect();
    assert_eq!(rows, [(0, "a", 1), (1, "b", 2), (2, "a", 5)]);
    assert_eq!((late[0].row.observed, late[0].row.closed_to), (20 * SECOND, 75 * SECOND));
    let text = String::from_utf8(late[0].to_record().value.to_vec()).unwrap();
    assert!(text.starts_with(r#"{"cell":"bay","sequence":0,"detection":"w","key":{"client":"a"}"#), "{text}");
    assert_eq!(LateRow::from_record(&late[0].to_record()).as_ref(), Some(&late[0]));

    let (alerts, late) = judge("{ every: 1m, at_least: 2, lateness: 15s }", &parts);
    assert_eq!(seen(&alerts), [("a".into(), 3.0)], "the first minute ended at 75 with one row");
    assert_eq!(late.len(), 3);
    let (alerts, late) = judge("{ every: 1m, at_least: 2, lateness: 21s }", &parts);
    assert_eq!(seen(&alerts), [("a".into(), 3.0), ("a".into(), 3.0)]);
    assert_eq!(alerts[0].cause.row, 5, "the row that is last by its time, not by its place");
    assert_eq!(late.len(), 0);
}

#[test]
fn a_sliding_window_tells_what_it_leaves_out() {
    let (alerts, late) = judge("{ within: 1m, at_least: 3 }", &[(calls("a", [100, 30, 90, 45]), 0)]);
    assert_eq!(seen(&alerts), [("a".into(), 3.0)]);
    assert_eq!(late.iter().map(|l| l.row.cause.row).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_session_ends_after_its_pause() {
    let window = "{ gap: 30s, at_least: 3 }";
    let rows = calls("a", [0, 29, 58, 88, 117]);
    assert_eq!(told(window, &[(rows.clone(), 87)]), []);
    let (alerts, _) = judge(window, &[(rows.clone(), 200)]);
    assert_eq!(seen(&alerts), [("a".into(), 3.0)], "a pause of 30 s ends it, one of 29 s does not");
    assert_eq!(alerts[0].evidence["to"], "1970-01-01T00:00:58.000000Z");
    // A row in between joins what was apart.
    let (alerts, late) = judge(window, &[(calls("a", [0, 50, 25]), 200)]);
    assert_eq!((seen(&alerts), late.len()), (vec![("a".into(), 3.0)], 0));
    let (alerts, late) = judge(window, &[(calls("a", [0, 50]), 40), (calls("a", [5, 25]), 200)]);
    assert_eq!((seen(&alerts), late.len()), (vec![], 1), "the first was over, 25 belongs to the second");
    // One that does not pause is judged all the same.
    let (alerts, _) =
        judge("{ gap: 30s, longest: 1m, at_least: 3 }", &[(calls("a", (0..200).step_by(10)), END)]);
    assert_eq!(alerts.len(), 3);
    let counts: Vec<(f64, f64)> = alerts
        .iter()
        .filter_map(|a| Some((a.evidence["seconds"].as_f64()?, a.evidence["count"].as_f64()?)))
        .collect();
    assert_eq!(counts, [(60.0, 7.0), (60.0, 7.0), (50.0, 6.0)]);
}

#[test]
fn overlapping_windows_tell_once_in_their_length() {
    let window = "{ within: 5m, every: 1m, at_least: 10 }";
    let rows = calls("a", (0..1200).step_by(20));
    let (alerts, _) = judge(window, &[(rows, END)]);
    let ends: Vec<&str> = alerts.iter().filter_map(|a| a.evidence["to"].as_str()).collect();
    assert_eq!(
        ends,
        [
            "1970-01-01T00:04:00.000000Z",
            "1970-01-01T00:09:00.000000Z",
            "1970-01-01T00:14:00.000000Z",
            "1970-01-01T00:19:00.000000Z"
        ]
    );
    assert_eq!(seen(&alerts)[1..], vec![("a".to_string(), 15.0); 3]);
}

#[test]
fn measures_limits_and_conditions() {
    let mut rows: Vec<Row> = (1..=100).map(|i| row(i % 60, "a", "read", i * 1000)).collect();
    rows.extend((0..50).map(|i| row(i, "a", "write", 1000)));
    rows.extend((0..30).map(|i| row(i, "b", &format!("f{i}"), 5)));
    let parts = [(rows, END)];
    let is = |window: &str, wanted: f64| {
        let found: Vec<f64> = told(window, &parts).into_iter().filter(|t| t.0 == "a").map(|t| t.1).collect();
        assert_eq!(found.len(), 1, "{window}");
        assert!((found[0] - wanted).abs() <= wanted * 0.016, "{window}: {}, not {wanted}", found[0]);
    };
    is("{ every: 1m, at_least: 100 }", 150.0);
    is("{ every: 1m, measure: rate, above: 2 }", 2.5);
    is("{ every: 1m, of: latency_us, measure: sum, above: 0 }", 5_100_000.0);
    is("{ every: 1m, of: latency_us, measure: mean, above: 20000, below: 50000 }", 34_000.0);
    is("{ every: 1m, of: latency_us, measure: max, at_least: 100000 }", 100_000.0);
    is("{ every: 1m, of: latency_us, measure: min, above: 999 }", 1_000.0);
    is("{ every: 1m, of: latency_us, measure: p90, above: 1000 }", 85_000.0);
    is("{ every: 1m, distinct: [function], at_most: 2 }", 2.0);
    is("{ every: 1m, top: function, measure: top_count, above: 1 }", 100.0);
    is("{ every: 1m, of: latency_us, having: p99 > 3 * mean - 10000 AND count > 20 }", 150.0);
    is("{ every: 1m, distinct: [function], top: function, having: distinct < 5 AND top_share > 0.6 }", 2.0);
    is("{ every: 1m, top: function, having: top = 'read' AND rate > 1 }", 150.0);
    assert_eq!(told("{ every: 1m, having: count > 150 }", &parts), []);
    assert_eq!(
        told("{ every: 1m, of: value, measure: mean, below: 100 }", &parts),
        [],
        "no numbers, no mean"
    );

    let pipeline = read(
        "{ every: 1m, top: function, of: latency_us, measure: p50, above: 6 }",
        "{client} {count} {p50} {top_values} {seen}",
    )
    .unwrap();
    let (alerts, _) = steps(&mut Shard::new("bay", pipeline), &records(&parts));
    assert!(alerts[0].summary.starts_with("a 150 "), "{}", alerts[0].summary);
    assert!(alerts[0].summary.contains(" read (100), write (50) "), "{}", alerts[0].summary);
}

#[test]
fn mistakes_are_explained() {
    let wrong = |window: &str| read(window, "{client}").err().unwrap_or_default();
    let has = |window: &str, part: &str| {
        let message = wrong(window);
        assert!(message.contains(part), "{window}: {message}");
        assert!(message.starts_with("w.yaml:9:"), "{message}");
    };
    has("{ at_least: 3 }", "`every: 5m` (one after the other)");
    has("{ every: 5x, at_least: 3 }", "`5x` is no duration");
    has("{ every: 400d, at_least: 3 }", "up to 366 days");
    has("{ every: 5m }", "`at_least`, `at_most`, `above`, `below` or `having`");
    has("{ every: 5m, gap: 1m, at_least: 3 }", "stands without");
    has("{ every: 2m, within: 5m, at_least: 3 }", "multiple");
    has("{ within: 5m, at_least: 1 }", "between 2 and 10000");
    has("{ within: 5m, at_least: 2.5 }", "between 2 and 10000");
    has("{ within: 5m }", "`at_least` is missing");
    has("{ within: 5m, at_least: 3, of: value }", "`of` is for windows that close");
    has("{ within: 5m, at_least: 3, below: 7 }", "`below` is for windows that close");
    has(
        "{ every: 5m, of: client, measure: mean, above: 3 }",
        "no column of numbers of message; there are: flow",
    );
    has("{ every: 5m, measure: p99, above: 3 }", "there are: count, rate, seconds; more come with");
    has("{ every: 5m, at_least: 3, longest: 1h }", "`longest` bounds a session");
    has("{ every: 5m, having: p99 > 3 }", "having: `p99` is no column of the window; there are: count");
    has("{ every: 5m, having: count + 3 }", "not a condition");
    has("{ every: 5m, having: now() > 3 }", "replay");
    has("{ every: 5m, at_least: many }", "");
    let place = wrong("{ every: 5m, having: count > 3 AND coutn > 4 }");
    assert!(place.starts_with("w.yaml:9:48: "), "{place}");
    let message = read("{ every: 5m, at_least: 3 }", "{client} {server}").err().unwrap_or_default();
    assert!(
        message.contains("`server` is nothing that a window that closes knows; there are: client, seen"),
        "{message}"
    );
    assert!(read("{ within: 5m, at_least: 3 }", "{client} {server} {seen}").is_ok());
}

const WINDOWS: [&str; 6] = [
    "{ every: 10s, at_least: 3 }",
    "{ every: 10s, lateness: 7s, of: latency_us, measure: p90, above: 500 }",
    "{ within: 30s, every: 10s, distinct: [function], top: function, at_least: 3 }",
    "{ gap: 4s, at_least: 3, lateness: 5s }",
    "{ gap: 4s, longest: 12s, of: latency_us, having: count > 2 AND mean < 700 }",
    "{ within: 10s, at_least: 4 }",
];

/// Rows that come up to four seconds out of order, with what can be promised after each.
fn traffic() -> impl Strategy<Value = Vec<(Row, i64)>> {
    let one = (0..3_i64, 0..5_i64, 0..3_usize, 0..4_usize, 0..1000_i64);
    prop::collection::vec(one, 1..120).prop_map(|steps| {
        let mut now = 5;
        let mut out: Vec<(Row, i64)> = Vec::new();
        for (pause, back, client, function, latency) in steps {
            now += pause;
            out.push((
                row(now - back, ["a", "b", "c"][client], ["r", "w", "x", "y"][function], latency),
                now - 4,
            ));
        }
        out
    })
}

/// Cuts rows into records; the promise of each is that of its last row.
fn cut(rows: &[(Row, i64)], cuts: &[usize]) -> Vec<Record> {
    let mut parts: Vec<(Vec<Row>, i64)> = Vec::new();
    for (index, (row, promise)) in rows.iter().enumerate() {
        if index == 0 || cuts.contains(&index) {
            parts.push((Vec::new(), 0));
        }
        let part = parts.last_mut().unwrap();
        part.0.push(row.clone());
        part.1 = *promise;
    }
    parts.push((Vec::new(), 10_000));
    records(&parts)
}

fn comparable(alerts: &[Alert]) -> Vec<(uuid::Uuid, Micros, Value)> {
    alerts.iter().map(|a| (a.uid, a.time, a.evidence.clone())).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn records_may_be_cut_anywhere(rows in traffic(), cuts in prop::collection::vec(0..120_usize, 0..40)) {
        for window in WINDOWS {
            let whole = steps(&mut Shard::new("bay", pipeline(window)), &cut(&rows, &[]));
            let parts = steps(&mut Shard::new("bay", pipeline(window)), &cut(&rows, &cuts));
            prop_assert_eq!(comparable(&whole.0), comparable(&parts.0), "{}", window);
            prop_assert_eq!(&whole.1, &parts.1);
        }
    }

    #[test]
    fn a_state_that_was_saved_goes_on(rows in traffic(), cuts in prop::collection::vec(0..120_usize, 0..40), at in 0..40_usize) {
        for window in WINDOWS {
            let all = cut(&rows, &cuts);
            let at = at.min(all.len());
            let mut straight = Shard::new("bay", pipeline(window));
            let wanted = steps(&mut straight, &all);
            let mut first = Shard::new("bay", pipeline(window));
            let (mut alerts, mut late) = steps(&mut first, &all[..at]);
            let mut second = Shard::restore(&first.save()(), pipeline(window)).unwrap();
            let more = steps(&mut second, &all);
            alerts.extend(more.0);
            late.extend(more.1);
            prop_assert_eq!(&wanted.0, &alerts, "{}", window);
            prop_assert_eq!(&wanted.1, &late);
            prop_assert_eq!(straight.save()(), second.save()());
        }
    }
}

#[test]
fn the_worker_writes_late_rows_once() {
    let log = yagura_log::memory::open(yagura_log::embedded::Options::default()).unwrap();
    for topic in [EVENTS, ALERTS, LATE, snapshot::TOPIC] {
        log.ensure_topic(topic, 1).unwrap();
    }
    let parts = [(calls("a", [10]), 75), (calls("a", [20, 30]), 75), (calls("b", [40]), 75)];
    let all = records(&parts);
    let (_, late) = steps(&mut Shard::new("bay", pipeline("{ every: 1m, at_least: 2 }")), &all);
    assert_eq!(late.len(), 3);
    let mut events = log.appender(EVENTS).unwrap();
    all.into_iter().for_each(|record| events.append(record).unwrap());
    events.flush().unwrap();
    // An earlier owner wrote one of them and died before its snapshot.
    let mut written = log.appender(LATE).unwrap();
    written.append(late[1].to_record()).unwrap();
    written.flush().unwrap();

    let progress = Progress::default();
    let stop = AtomicBool::new(false);
    let options = worker::Options { silence: None, ..worker::Options::default() };
    std::thread::scope(|scope| {
        let running = scope
            .spawn(|| worker::run(&log, &pipeline("{ every: 1m, at_least: 2 }"), &options, &stop, &progress));
        while progress.done().get(&0) != Some(&3) && !running.is_finished() {
            std::thread::park_timeout(Duration::from_millis(5));
        }
        stop.store(true, Ordering::Release);
        running.join().unwrap().unwrap();
    });
    let held = log.held(LATE, 0).unwrap();
    let mut reader = log.reader(LATE, 0, held.start).unwrap();
    let mut found = Vec::new();
    while reader.position() < held.end {
        let records = reader.read(1 << 20, Duration::from_secs(10)).unwrap();
        found.extend(records.iter().map(|stored| LateRow::from_record(&stored.record).unwrap()));
    }
    assert_eq!(found, [late[1].clone(), late[0].clone(), late[2].clone()]);
    assert_eq!(progress.aside()["bay"]["w"], 3);
    assert_eq!(progress.stats()["bay"].aside_rows, 3);
}

#[test]
fn a_collector_that_began_anew_holds_nothing_up() {
    let part = |at, promise| [(calls("a", [at]), promise)];
    let parts = [
        records_of("span", 1, &part(10, 10)),
        records_of("other", 7, &part(15, 500)),
        records_of("span", 2, &part(70, 70)),
        records_of("span", 2, &part(130, END)),
        // What the first start still had comes out of a spool, and holds nothing back.
        records_of("span", 1, &part(12, 12)),
    ];
    let mut shard = Shard::new("bay", pipeline("{ every: 1m, at_least: 1 }"));
    let mut watermarks = Vec::new();
    for (offset, record) in parts.iter().flatten().enumerate() {
        shard.step(offset as u64, record);
        watermarks.push(shard.watermark() / SECOND);
    }
    assert_eq!(watermarks[..4], [10, 10, 70, 500]);
    assert!(!shard.has_ended("other"));
    let dead = [records_of("span", 1, &part(10, 10)), records_of("span", 2, &part(70, END))];
    let mut shard = Shard::new("bay", pipeline("{ every: 1m, at_least: 1 }"));
    dead.iter().flatten().enumerate().for_each(|(offset, record)| {
        shard.step(offset as u64, record);
    });
    assert_eq!((shard.watermark(), shard.has_ended("span")), (Micros::MAX, true));
}

#[test]
fn a_silent_collector_is_told_though_another_goes_on() {
    let log = yagura_log::memory::open(yagura_log::embedded::Options::default()).unwrap();
    for topic in [EVENTS, ALERTS, LATE, snapshot::TOPIC] {
        log.ensure_topic(topic, 1).unwrap();
    }
    let mut events = log.appender(EVENTS).unwrap();
    let mut put = |record: Record| {
        events.append(record).unwrap();
        events.flush().unwrap();
    };
    put(records_of("quiet", 1, &[(calls("a", [10]), 10)]).remove(0));
    let (progress, stop) = (Progress::default(), AtomicBool::new(false));
    let silence = Some(Duration::from_millis(700));
    let options = worker::Options { silence, ..worker::Options::default() };
    let pipeline = pipeline("{ every: 1m, at_least: 1 }");
    std::thread::scope(|scope| {
        let running = scope.spawn(|| worker::run(&log, &pipeline, &options, &stop, &progress));
        let busy: Vec<(Vec<Row>, i64)> = (0..80).map(|n| (calls("b", [20 + n]), 20 + n)).collect();
        for record in records_of("busy", 1, &busy) {
            put(record);
            std::thread::park_timeout(Duration::from_millis(50));
        }
        stop.store(true, Ordering::Release);
        running.join().unwrap().unwrap();
    });
    let held = log.held(EVENTS, 0).unwrap();
    let mut reader = log.reader(EVENTS, 0, held.start).unwrap();
    let mut told = Vec::new();
    while reader.position() < held.end {
        for stored in reader.read(1 << 20, Duration::from_secs(10)).unwrap() {
            let envelope = Envelope::from_header(&stored.record.header).unwrap();
            if envelope.kind == Kind::Control {
                let rows = codec::decode(&envelope, &stored.record.value).unwrap();
                told.extend(codec::to_json_rows(&rows).into_iter().map(|row| row["subject"].clone()));
            }
        }
    }
    assert_eq!(told, ["quiet"], "once, and not the one that goes on");
}

#[test]
fn a_having_that_fails_is_counted() {
    let parts = [(calls("A", [1, 2]), 60), (calls("A", [61]), 120)];
    let mut shard =
        Shard::new("bay", pipeline("{ every: 1m, top: function, having: 'CAST(top AS BIGINT) > 0' }"));
    assert!(steps(&mut shard, &records(&parts)).0.is_empty());
    assert_eq!(shard.stats().failed_conditions, 2);
}

#[test]
fn samples_are_measured_by_their_series() {
    let text = "version: 1\ndetections:\n  - id: w\n    title: W\n    queue: equipment\n    severity: low\n    \
        on: sample\n    where: unit = 'Pa'\n    by: [tool]\n    window: { every: 1m, of: value, measure: mean, above: 10 }\n    \
        summary: '{tool} {mean} {count}'\n    then: Look.\n";
    let read = Shelf::new(SqlCompiler::default()).read(Texts::one("w.yaml", text));
    let pipeline = read.map_err(|e| e[0].to_string()).unwrap();
    let record = |row: u64, kind: Kind, promise: i64, lines: &[Value]| {
        let envelope = Envelope {
            kind,
            version: 1,
            cell: "bay".into(),
            collector: "span".into(),
            epoch: 1,
            first_row: row,
            rows: lines.len() as u32,
            observed: ((promise - 60) * SECOND, promise * SECOND),
            promise: promise * SECOND,
            encoding: Encoding::Json,
            origin: None,
            places: Vec::new(),
        };
        let lines: Vec<String> = lines.iter().map(Value::to_string).collect();
        let value = Bytes::from(lines.join("\n"));
        Record { key: Bytes::from_static(b"bay"), header: envelope.to_header().into(), value }
    };
    let series = |n: u32, tool: &str, signal: &str, unit: &str| json!({"series": n, "tool": tool, "signal": signal, "unit": unit});
    let sample = |n: u32, time: i64, value: f64, quality: u8| json!({"series": n, "time": time * SECOND, "value": value, "quality": quality});
    let names = [
        series(0, "A", "p1", "Pa"),
        series(1, "A", "p2", "Pa"),
        series(2, "B", "p1", "Pa"),
        series(3, "A", "t", "K"),
    ];
    let samples = [
        sample(0, 1, 8.0, 0),
        sample(1, 59, 14.0, 0),
        sample(2, 30, 9.0, 0),
        sample(3, 30, 900.0, 0),
        sample(1, 30, 5000.0, 2),
        // A clock a year ahead counts at the end of its record, one far behind at its beginning.
        sample(0, 31_536_000, 100.0, 0),
        sample(1, -5_000, 14.0, 0),
    ];
    let all = [
        record(0, Kind::Series, 0, &names),
        record(4, Kind::Sample, 60, &samples),
        record(11, Kind::Sample, 120, &[sample(2, 61, 1.0, 0)]),
    ];
    let mut shard = Shard::new("bay", Arc::clone(&pipeline));
    let (first, _) = steps(&mut shard, &all[..2]);
    assert_eq!(first.iter().map(|a| a.summary.as_str()).collect::<Vec<_>>(), ["A 12 3"]);
    let mut again = Shard::restore(&shard.save()(), pipeline).unwrap();
    for shard in [&mut shard, &mut again] {
        let (second, late) = steps(shard, &all);
        assert_eq!(second.iter().map(|a| a.summary.as_str()).collect::<Vec<_>>(), ["A 100 1"]);
        assert!(late.is_empty());
        let (_, late) =
            steps(shard, &[&all[..], &[record(12, Kind::Sample, 110, &[sample(0, 55, 1.0, 0)])]].concat());
        assert_eq!(
            late.iter().map(|l| (&*l.row.key["tool"], l.row.cause.row)).collect::<Vec<_>>(),
            [("A", 12)]
        );
    }
}
