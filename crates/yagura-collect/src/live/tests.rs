use std::ops::Range;
use std::sync::Mutex;

use yagura_event::Envelope;
use yagura_event::clock::SECOND;
use yagura_event::rows::{LogRow, Row};
use yagura_log::altered::{Mood, moody};
use yagura_log::embedded::{Embedded, Options};
use yagura_log::memory;

use super::*;
use crate::places::PlacedSink;

const TOPIC: &str = "events";
const START: Micros = 1_760_000_000_000_000;

/// Brings a row every 300 ms of its clock; stops the collector after so many steps.
struct Clockwork {
    batch: Micros,
    now: Micros,
    steps: u32,
    stop: Arc<AtomicBool>,
    /// Told at each step which one it is.
    told: Box<dyn FnMut(u32) + Send>,
}

impl Clockwork {
    fn row(&self, what: &str, out: &mut dyn PlacedSink) {
        out.push(Row::Log(&LogRow { time: self.now, observed: self.now, event: what, ..Default::default() }));
    }
}

impl LiveSource for Clockwork {
    fn collector(&self) -> &str {
        "clockwork"
    }

    fn batch(&self) -> Micros {
        self.batch
    }

    fn advance(&mut self, _: Duration, out: &mut dyn PlacedSink) -> Micros {
        self.now += 3 * SECOND / 10;
        self.row("tick", out);
        self.steps -= 1;
        (self.told)(self.steps);
        self.stop.store(self.steps == 0, Ordering::Release);
        self.now
    }

    fn finish(&mut self, out: &mut dyn PlacedSink) {
        self.row("last", out);
    }

    fn seen(&self) -> Seen {
        Seen { dropped: 7, ..Seen::default() }
    }
}

fn run(log: &dyn Log, steps: u32, told: impl FnMut(u32) + Send + 'static) -> Progress {
    run_in_batches(log, SECOND, steps, told)
}

fn run_in_batches(
    log: &dyn Log,
    batch: Micros,
    steps: u32,
    told: impl FnMut(u32) + Send + 'static,
) -> Progress {
    let (stop, progress) = (Arc::new(AtomicBool::new(false)), Progress::default());
    let source = Clockwork { batch, now: START, steps, stop: Arc::clone(&stop), told: Box::new(told) };
    let assets = Arc::new(AssetTable::new(vec![], "bay"));
    let notes = tempfile::tempdir().expect("a folder");
    let to = Destination { log, topic: TOPIC, assets: &assets, cells: &[], notes: notes.path() };
    collect(Box::new(source), to, &stop, &progress).expect("it ends in order");
    progress
}

fn envelopes(log: &dyn Log) -> Vec<Envelope> {
    let held: Range<u64> = log.held(TOPIC, 0).expect("held");
    let mut reader = log.reader(TOPIC, 0, held.start).expect("a reader");
    let mut out = Vec::new();
    while reader.position() < held.end {
        let records = reader.read(1 << 20, Duration::from_secs(10)).expect("records");
        out.extend(records.iter().map(|s| Envelope::from_header(&s.record.header).expect("an envelope")));
    }
    out
}

fn log() -> Embedded {
    let log = memory::open(Options::default()).expect("a log");
    log.ensure_topic(TOPIC, 1).expect("a topic");
    log
}

#[test]
fn rows_are_in_the_log_within_a_second_and_a_restart_numbers_them_anew() {
    let log = Arc::new(log());
    let ends = Arc::new(Mutex::new(Vec::new()));
    let (noted, seen) = (Arc::clone(&ends), Arc::clone(&log));
    let progress = run(log.as_ref(), 20, move |_| {
        let rows: u32 = envelopes(seen.as_ref()).iter().map(|e| e.rows).sum();
        noted.lock().expect("a lock").push(rows);
    });
    assert_eq!(progress.dropped.load(Ordering::Relaxed), 7);
    // At each step the log lacks less than what two seconds bring.
    for (step, rows) in ends.lock().expect("a lock").iter().enumerate() {
        assert!(*rows as usize + 7 > step, "{rows} rows are in the log at step {step}");
    }
    run(log.as_ref(), 5, |_| {});
    let envelopes = envelopes(log.as_ref());
    let starts = envelopes.chunk_by(|a, b| a.epoch == b.epoch);
    for (start, rows) in starts.zip([21, 6]) {
        let mut next = 0;
        let mut promised = Micros::MIN;
        for envelope in start {
            assert_eq!((envelope.collector.as_str(), envelope.first_row), ("clockwork", next));
            assert!(envelope.rows == 0 || envelope.observed.0 >= promised, "{envelope:?}");
            (next, promised) = (envelope.end_row(), envelope.promise);
        }
        assert_eq!((next, promised), (rows, Micros::MAX));
    }
}

#[test]
fn rows_are_handed_over_as_often_as_is_asked() {
    let records = |batch: Micros| {
        let log = log();
        run_in_batches(&log, batch, 20, |_| {});
        let all = envelopes(&log);
        assert_eq!(all.iter().map(|envelope| envelope.rows).sum::<u32>(), 21, "in batches of {batch}");
        all.iter().filter(|envelope| envelope.rows > 0).count()
    };
    // The clock goes on by 300 ms a row, and a batch begins with the first one.
    assert_eq!((records(SECOND / 10), records(SECOND), records(60 * SECOND)), (20, 5, 1));
}

#[test]
fn a_log_that_refuses_is_waited_for_and_no_row_is_missing() {
    let mood = Arc::new(Mood::default());
    mood.refuse_times(3);
    let log = moody(Arc::new(log()), &mood);
    let progress = run(&log, 20, |_| {});
    assert_eq!(progress.retries.load(Ordering::Relaxed), 3);
    let rows = envelopes(&log).iter().map(Envelope::end_row).max();
    assert_eq!(rows, Some(21));
}
