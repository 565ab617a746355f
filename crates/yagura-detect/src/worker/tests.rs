use std::sync::atomic::AtomicU64;

use arrow::datatypes::SchemaRef;
use yagura_event::rows::{MessageBuilder, MessageRow};
use yagura_log::altered::{Altered, AlteredAppender, AlteredMember};
use yagura_log::embedded::{Embedded, Options as LogOptions};
use yagura_log::memory;

use super::*;
use crate::condition::{Compiler, Condition, ConditionError};
use crate::dead::letters;
use crate::meter::Totals;
use crate::shelf::{Shelf, Texts};

const PIPELINE: &str = "version: 1
detections:
  - { id: every, title: E, queue: security, severity: low, on: message, by: [tool], quiet: 1s, summary: '{tool}', then: Look. }
  - { id: never, title: N, queue: equipment, severity: low, on: flow, summary: n, then: Look. }
";

struct NoSql;

impl Compiler for NoSql {
    fn compile_over(&self, _: &str, _: &SchemaRef, _: &str) -> Result<Arc<dyn Condition>, ConditionError> {
        Err(ConditionError { at: None, message: "no condition in these tests".into() })
    }
}

fn pipeline() -> Arc<Pipeline> {
    Shelf::new(NoSql).read(Texts::one("t.yaml", PIPELINE)).unwrap_or_else(|errors| panic!("{errors:?}"))
}

/// One message row of the number `row`.
fn message(row: u64) -> Record {
    let time = row as Micros * 10 * clock::SECOND;
    let tool = format!("ETCH-{row}");
    let mut builder = MessageBuilder::default();
    builder.push(&MessageRow { time, observed: time, tool: &tool, ..Default::default() });
    let envelope = Envelope {
        kind: Kind::Message,
        version: 1,
        cell: "bay".into(),
        collector: "tap".into(),
        epoch: 1,
        first_row: row,
        rows: 1,
        observed: (time, time),
        promise: time,
        encoding: Encoding::Arrow,
        origin: None,
        places: Vec::new(),
    };
    let value = codec::encode_arrow(&builder.finish()).expect("encodes").into();
    Record { key: Bytes::from_static(b"bay"), header: envelope.to_header().into(), value }
}

fn poisoned(row: u64) -> Record {
    Record { value: Bytes::from_static(b"no Arrow stream"), ..message(row) }
}

fn log_of(topics: &[(&str, &[Record])]) -> Embedded {
    let log = memory::open(LogOptions::default()).expect("a log");
    for topic in [EVENTS, ALERTS, LATE, snapshot::TOPIC] {
        log.ensure_topic(topic, 1).expect("a topic");
    }
    for (topic, records) in topics {
        log.ensure_topic(topic, 1).expect("a topic");
        append(&log, topic, records);
    }
    log
}

fn append(log: &Embedded, topic: &str, records: &[Record]) {
    let mut appender = log.appender(topic).expect("an appender");
    records.iter().for_each(|record| appender.append(record.clone()).expect("appends"));
    appender.flush().expect("durable");
}

fn held(log: &Embedded, topic: &str) -> Vec<Record> {
    let end = log.held(topic, 0).expect("held").end;
    let mut reader = log.reader(topic, 0, 0).expect("a reader");
    let mut out = Vec::new();
    while reader.position() < end {
        out.extend(reader.read(1 << 20, Duration::ZERO).expect("reads").into_iter().map(|s| s.record));
    }
    out
}

/// Runs a worker until everything is judged.
fn judge_all(log: &dyn Log) -> Arc<Progress> {
    let (pipeline, stop, progress) = (pipeline(), AtomicBool::new(false), Arc::new(Progress::default()));
    let end = log.held(EVENTS, 0).expect("held").end;
    let options = Options { silence: None, ..Options::default() };
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| run(log, &pipeline, &options, &stop, &progress));
        for _ in 0..3000 {
            if worker.is_finished() || progress.done().get(&0) == Some(&end) {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        stop.store(true, Ordering::Release);
        worker.join().expect("no panic").expect("no error");
    });
    progress
}

#[test]
fn what_cannot_be_read_becomes_a_dead_letter_once() {
    let garbage = Record {
        key: Bytes::from_static(b"bay"),
        header: Bytes::from_static(b"\xff{"),
        value: Bytes::from_static(b"?"),
    };
    let events = [message(0), poisoned(1), message(2), garbage.clone()];
    let log = log_of(&[(EVENTS, &events)]);
    let progress = judge_all(&log);
    assert_eq!(progress.dead_letters.load(Ordering::Relaxed), 2);
    assert_eq!(progress.alerts.load(Ordering::Relaxed), 2);
    let found = letters(&log).expect("letters");
    let places: Vec<(u64, &Record)> = found.iter().map(|(p, kept)| (p.offset, &kept.letter.record)).collect();
    assert_eq!(places, [(1, &events[1]), (3, &garbage)]);
    let reasons: Vec<&str> = found.values().map(|kept| kept.letter.reason.as_str()).collect();
    assert!(reasons[0].contains("rows cannot be read"), "{reasons:?}");
    assert!(reasons[1].contains("not an envelope"), "{reasons:?}");
    judge_all(&log);
    assert_eq!(held(&log, DEAD).len(), 2, "a restart goes on behind them");
    // A crash before the snapshot: letters and alerts are there, and everything is judged again.
    let crashed = log_of(&[(EVENTS, &events), (ALERTS, &held(&log, ALERTS)), (DEAD, &held(&log, DEAD))]);
    let progress = judge_all(&crashed);
    assert_eq!(progress.dead_letters.load(Ordering::Relaxed), 0);
    assert_eq!((held(&crashed, DEAD).len(), held(&crashed, ALERTS).len()), (2, 2));
}

#[test]
fn a_letter_sent_again_fills_its_hole_once() {
    let log = log_of(&[(EVENTS, &[message(0), poisoned(1), message(2)])]);
    judge_all(&log);
    // Mended, and sent twice; the snapshot between knows the hole.
    append(&log, EVENTS, &[message(1), message(1), message(2)]);
    let progress = judge_all(&log);
    let rows: Vec<u64> = held(&log, ALERTS)
        .iter()
        .map(|record| serde_json::from_slice::<Alert>(&record.value).expect("an alert").cause.row)
        .collect();
    assert_eq!(rows, [0, 2, 1]);
    let stats = progress.stats()["bay"];
    assert_eq!((stats.rows, stats.repeated_rows, stats.missing_rows), (3, 2, 1));
}

#[test]
fn no_flipped_bit_ends_a_worker() {
    let good = message(0);
    let mut events = Vec::new();
    for at in 0..good.value.len() {
        let mut value = good.value.to_vec();
        value[at] ^= 1 << (at % 8);
        events.push(Record { value: value.into(), ..good.clone() });
    }
    let log = log_of(&[(EVENTS, &events)]);
    let progress = judge_all(&log);
    let died = progress.dead_letters.load(Ordering::Relaxed);
    assert!(died > 0 && died < events.len() as u64, "{died} of {}", events.len());
    assert_eq!(letters(&log).expect("letters").len() as u64, died);
}

#[test]
fn what_each_detection_does_is_counted() {
    let log = log_of(&[(EVENTS, &[message(0), message(1), message(1)])]);
    let progress = judge_all(&log);
    let [every, never] = progress.detections()[..] else { panic!("two detections") };
    assert_eq!((every.batches, every.offered, every.selected, every.hits, every.alerts), (2, 2, 2, 2, 2));
    assert!(every.nanos > 0);
    assert_eq!(never, Totals::default());
    assert!(progress.state_bytes()["bay"] > 100);
    assert!(progress.turns()[0].done > 0 && !progress.turns()[0].waiting);
}

#[test]
fn a_worker_that_waits_for_its_log_says_so() {
    let away = Altered::of(Arc::new(log_of(&[])))
        .joining(|_, _| Err(LogError::Unreachable { brokers: "b".into(), cause: "gone".into() }));
    let (pipeline, stop, progress) = (pipeline(), AtomicBool::new(false), Progress::default());
    let options = Options::default();
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| run(&away, &pipeline, &options, &stop, &progress));
        for _ in 0..1000 {
            if progress.turns().first().is_some_and(|turns| turns.waiting) {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        assert_eq!(progress.turns(), [Turns { done: 0, waiting: true }]);
        stop.store(true, Ordering::Release);
        assert!(worker.join().expect("no panic").is_err());
    });
}

#[test]
fn judging_goes_on_while_a_snapshot_is_written() {
    let log = Arc::new(log_of(&[(EVENTS, &[message(0)])]));
    // What a cell begins with is waited for, so it begins before the log is slow.
    judge_all(&*log);
    append(&log, EVENTS, &[message(1)]);
    // Snapshots do not become durable before they may.
    let (begun, may_end) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false)));
    let slow = {
        let (begun, may_end) = (Arc::clone(&begun), Arc::clone(&may_end));
        Altered::of(Arc::clone(&log) as Arc<dyn Log>).appending(move |topic, appender| {
            if topic != snapshot::TOPIC {
                return Ok(appender);
            }
            let (begun, may_end) = (Arc::clone(&begun), Arc::clone(&may_end));
            let before_flush = Box::new(move || {
                begun.store(true, Ordering::Release);
                while !may_end.load(Ordering::Acquire) {
                    std::thread::park_timeout(Duration::from_millis(1));
                }
                Ok(())
            });
            Ok(Box::new(AlteredAppender { appender, before_flush }))
        })
    };
    let (pipeline, stop, progress) = (pipeline(), AtomicBool::new(false), Progress::default());
    let options = Options { silence: None, snapshot_every: Duration::ZERO, ..Options::default() };
    let within_a_while = |holds: &dyn Fn() -> bool| {
        (0..3000).any(|_| {
            std::thread::park_timeout(Duration::from_millis(5));
            holds()
        })
    };
    std::thread::scope(|scope| {
        let worker = scope.spawn(|| run(&slow, &pipeline, &options, &stop, &progress));
        let has_begun = within_a_while(&|| begun.load(Ordering::Acquire));
        append(&log, EVENTS, &[message(2)]);
        let judged = within_a_while(&|| progress.done().get(&0) == Some(&3));
        let (snapshots, alerts) = (&progress.snapshots, progress.alerts.load(Ordering::Relaxed));
        let before = snapshots.load(Ordering::Relaxed);
        may_end.store(true, Ordering::Release);
        let written = within_a_while(&|| snapshots.load(Ordering::Relaxed) > 0);
        stop.store(true, Ordering::Release);
        worker.join().expect("no panic").expect("no error");
        assert_eq!((has_begun, judged, before, alerts, written), (true, true, 0, 2, true));
    });
}

#[test]
fn a_worker_that_stood_still_writes_nothing_and_joins_again() {
    let log = Arc::new(log_of(&[(EVENTS, &[message(0), message(1)])]));
    let joined = Arc::new(AtomicU64::new(0));
    let stood = {
        let joined = Arc::clone(&joined);
        Altered::of(Arc::clone(&log) as Arc<dyn Log>).joining(move |_, member| {
            if joined.fetch_add(1, Ordering::Relaxed) > 0 {
                return Ok(member);
            }
            // The first member finds that it stood still when it has read something.
            let lease = Lease::of(Duration::from_secs(3600));
            let mut first = AlteredMember { lease: Some(lease.clone()), ..AlteredMember::of(member) };
            first.polled = Box::new(move |polled| {
                if matches!(polled, Polled::Records(..)) {
                    lease.end();
                }
            });
            Ok(Box::new(first))
        })
    };
    let progress = judge_all(&stood);
    assert_eq!(joined.load(Ordering::Relaxed), 2);
    assert_eq!(progress.restarts.load(Ordering::Relaxed), 1);
    assert_eq!(
        progress.alerts.load(Ordering::Relaxed),
        2,
        "what the first member read, the second one judged"
    );
    assert_eq!(held(&log, ALERTS).len(), 2);
}

#[test]
fn a_log_that_refuses_is_waited_for_within_the_group() {
    let log = Arc::new(log_of(&[(EVENTS, &[message(0), message(1)])]));
    let (joined, refused) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let refusing = {
        let (joined, refused) = (Arc::clone(&joined), Arc::clone(&refused));
        Altered::of(Arc::clone(&log) as Arc<dyn Log>)
            .joining(move |_, member| {
                joined.fetch_add(1, Ordering::Relaxed);
                Ok(member)
            })
            .appending(move |topic, appender| {
                let (alerts, refused) = (topic == ALERTS, Arc::clone(&refused));
                // It refuses once; what it was handed is in the log all the same in the end.
                let before_flush = Box::new(move || match alerts {
                    true if refused.fetch_add(1, Ordering::Relaxed) == 0 => {
                        Err(LogError::Unreachable { brokers: "b".into(), cause: "gone".into() })
                    }
                    _ => Ok(()),
                });
                Ok(Box::new(AlteredAppender { appender, before_flush }))
            })
    };
    let progress = judge_all(&refusing);
    assert_eq!(progress.restarts.load(Ordering::Relaxed), 1, "what it refused is found and passed over");
    assert_eq!(joined.load(Ordering::Relaxed), 1, "it neither left nor joined again");
    assert_eq!(held(&log, ALERTS).len(), 2, "none is missing and none is there twice");
}
