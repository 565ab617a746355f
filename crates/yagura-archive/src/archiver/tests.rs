use std::ops::Range;
use std::sync::atomic::AtomicI64;

use bytes::Bytes;
use proptest::prelude::*;
use serde_json::{Map, Value};
use yagura_log::memory;

use super::*;
use crate::history;
use crate::store::{Entry, Folder};
use crate::testing::{self, Memory, Written};

const TOPIC: &str = "yagura.events";

/// A store that refuses everything after so many changes, before or after making the last one: what
/// a process that is killed leaves behind.
struct Mortal {
    inner: Arc<dyn Store>,
    left: AtomicI64,
    last_is_made: bool,
}

impl Mortal {
    fn over(inner: &Arc<dyn Store>, left: i64, last_is_made: bool) -> Arc<dyn Store> {
        Arc::new(Mortal { inner: Arc::clone(inner), left: AtomicI64::new(left), last_is_made })
    }

    fn change<T>(&self, make: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
        let dead = || StoreError { what: "killed".into(), cause: String::new(), missing: false };
        match self.left.fetch_sub(1, Ordering::Relaxed) {
            1.. => make(),
            0 if self.last_is_made => make().and_then(|_| Err(dead())),
            _ => Err(dead()),
        }
    }
}

impl Store for Mortal {
    fn describe(&self) -> String {
        self.inner.describe()
    }
    fn list(&self, folder: &str) -> Result<Vec<Entry>, StoreError> {
        self.inner.list(folder)
    }
    fn read(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        self.inner.read(path, range)
    }
    fn put(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.change(|| self.inner.put(path, bytes))
    }
    fn create(&self, path: &str, bytes: Bytes) -> Result<bool, StoreError> {
        self.change(|| self.inner.create(path, bytes))
    }
    fn remove(&self, path: &str) -> Result<(), StoreError> {
        self.change(|| self.inner.remove(path))
    }
}

fn log(partitions: u32) -> impl Log {
    let log = memory::open(yagura_log::embedded::Options::default()).unwrap();
    log.ensure_topic(TOPIC, partitions).unwrap();
    log
}

fn append(log: &dyn Log, records: &[Written]) {
    let mut appender = log.appender(TOPIC).unwrap();
    for record in records {
        appender.append(testing::record(record)).unwrap();
    }
    appender.flush().unwrap();
}

fn options() -> Options {
    Options { flush_every: Duration::from_secs(3600), grace: Duration::ZERO, ..Options::default() }
}

/// Turns until everything is gathered, cutting after every so many turns.
fn archive(log: &dyn Log, store: &Arc<dyn Store>, options: &Options) -> Result<Arc<Progress>, ArchiveError> {
    let progress = Arc::new(Progress::default());
    let mut archiver = Archiver::join(log, store, TOPIC, options, &progress)?;
    archiver.turn(Duration::ZERO)?;
    archiver.finish()?;
    Ok(progress)
}

/// Every row that a reader finds.
fn rows(store: &Arc<dyn Store>, kind: Kind) -> Vec<Map<String, Value>> {
    let mut out = Vec::new();
    for file in history::files(&**store, kind).unwrap() {
        let opened = Opened::open(store, &file.name.path(), file.size).unwrap();
        for rows in opened.rows() {
            out.extend(codec::to_json_rows(&rows.unwrap()));
        }
    }
    out
}

fn numbers(store: &Arc<dyn Store>, kind: Kind) -> Vec<(String, u64, u64)> {
    let id = |row: &Map<String, Value>| {
        (
            row["cell"].as_str().unwrap().to_string(),
            row["epoch"].as_u64().unwrap(),
            row["row"].as_u64().unwrap(),
        )
    };
    let mut out: Vec<_> = rows(store, kind).iter().map(id).collect();
    out.sort();
    out
}

#[test]
fn rows_are_found_again_and_a_restart_writes_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(Folder::new(folder.path()));
    let log = log(2);
    append(
        &log,
        &[
            testing::messages("a", 1, 0, &["x", "y"]),
            testing::messages("b", 1, 0, &["z"]),
            // The same rows again: the source was read again after a crash.
            testing::messages("a", 1, 0, &["x", "y"]),
            testing::messages("a", 1, 1, &["y", "w"]),
        ],
    );
    let done = archive(&log, &store, &options()).unwrap();
    assert_eq!((done.rows.load(Ordering::Relaxed), done.repeated_rows.load(Ordering::Relaxed)), (4, 3));
    let again = archive(&log, &store, &options()).unwrap();
    assert_eq!(again.files.load(Ordering::Relaxed), 0, "a restart writes nothing twice");
    let id = |cell: &str, row| (cell.to_string(), 1, row);
    assert_eq!(numbers(&store, Kind::Message), [id("a", 0), id("a", 1), id("a", 2), id("b", 0)]);
    // Marks outlive the restart.
    append(&log, &[testing::messages("a", 1, 2, &["w", "v"])]);
    assert_eq!(archive(&log, &store, &options()).unwrap().rows.load(Ordering::Relaxed), 1);
    assert_eq!(numbers(&store, Kind::Message).len(), 5);
}

#[test]
fn samples_keep_the_names_that_were_told_before_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(Folder::new(folder.path()));
    let log = log(1);
    append(
        &log,
        &[
            testing::series("a", 7, 0, &["pressure", "flow"]),
            testing::samples("a", 7, 2, &[1, 0, 1]),
            // Another start of the collector, whose names were never told.
            testing::samples("a", 8, 20, &[1]),
        ],
    );
    let done = archive(&log, &store, &options()).unwrap();
    assert_eq!(done.unnamed_samples.load(Ordering::Relaxed), 1);
    append(&log, &[testing::samples("a", 7, 5, &[0])]);
    // Its first cut is read again and written no more; the second one knows the names.
    archive(&log, &store, &options()).unwrap();
    append(&log, &[testing::samples("a", 7, 6, &[1])]);
    archive(&log, &store, &options()).unwrap();
    let signals: Vec<_> = rows(&store, Kind::Sample).iter().map(|row| row.get("signal").cloned()).collect();
    let said = |text: &str| Some(Value::from(text));
    assert_eq!(signals, [said("flow"), said("pressure"), said("flow"), None, said("pressure"), said("flow")]);
    assert!(rows(&store, Kind::Sample).iter().all(|row| row["epoch"] == 8 || row["unit"] == "Pa"));
}

#[test]
fn what_cannot_be_read_is_counted_and_passed_over() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(Folder::new(folder.path()));
    let log = log(1);
    let mut broken = testing::messages("a", 1, 1, &["x"]);
    broken.1.truncate(40);
    append(&log, &[testing::messages("a", 1, 0, &["x"]), broken, testing::messages("a", 1, 2, &["y"])]);
    let done = archive(&log, &store, &options()).unwrap();
    assert_eq!(done.unreadable_records.load(Ordering::Relaxed), 1);
    assert_eq!(numbers(&store, Kind::Message).len(), 2);
}

#[test]
fn what_the_log_deleted_before_it_was_archived_is_counted() {
    let store: Arc<dyn Store> = Arc::new(Memory::default());
    // Every record is a segment, and the last one stays.
    let small = yagura_log::embedded::Options {
        segment_bytes: 1,
        retain_bytes: Some(1),
        ..yagura_log::embedded::Options::default()
    };
    let log = memory::open(small).unwrap();
    log.ensure_topic(TOPIC, 1).unwrap();
    append(&log, &[testing::messages("a", 1, 0, &["x"])]);
    assert_eq!(archive(&log, &store, &options()).unwrap().lost_records.load(Ordering::Relaxed), 0);
    for row in 1..6 {
        append(&log, &[testing::messages("a", 1, row, &["x"])]);
    }
    log.retain().unwrap();
    assert_eq!(log.held(TOPIC, 0).unwrap(), 5..6);
    let done = archive(&log, &store, &options()).unwrap();
    assert_eq!(done.lost_records.load(Ordering::Relaxed), 4);
    let rows: Vec<u64> = numbers(&store, Kind::Message).into_iter().map(|(.., row)| row).collect();
    assert_eq!(rows, [0, 5]);
    assert_eq!(archive(&log, &store, &options()).unwrap().lost_records.load(Ordering::Relaxed), 0);
}

#[test]
fn another_logs_history_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(Folder::new(folder.path()));
    let (one, other) = (log(1), log(1));
    append(&one, &[testing::messages("a", 1, 0, &["x"]), testing::messages("a", 1, 1, &["x"])]);
    append(&other, &[testing::messages("a", 1, 0, &["x"])]);
    archive(&one, &store, &options()).unwrap();
    let refused = archive(&other, &store, &options()).err().unwrap();
    assert!(!refused.retriable() && refused.to_string().contains("another `store`"), "{refused}");
}

/// As in a folder; see `s3::tests` for the variables.
#[cfg(feature = "s3")]
#[test]
fn a_bucket_has_every_row_once() {
    let Ok(place) = std::env::var("YAGURA_TEST_S3") else { return };
    let store = crate::store::open(&format!("{place}/rows")).unwrap();
    for entry in store.list("").unwrap() {
        store.remove(&entry.path).unwrap();
    }
    crate::check(&*store).unwrap();
    let log = log(1);
    for first in 0..9 {
        append(&log, &[testing::messages("bay 2", 1, first * 2, &["x", "y"])]);
        assert_eq!(archive(&log, &store, &options()).unwrap().files.load(Ordering::Relaxed), 1);
    }
    let (options, progress) = (options(), Progress::default());
    let mut archiver = Archiver::join(&log, &store, TOPIC, &options, &progress).unwrap();
    archiver.turn(Duration::ZERO).unwrap();
    archiver.turn(Duration::ZERO).unwrap();
    archiver.tidy().unwrap();
    archiver.tidy().unwrap();
    assert_eq!(numbers(&store, Kind::Message).len(), 18);
    assert!(store.list("message").unwrap().len() <= 2);
}

/// Two processes that both believe that the partition is theirs.
#[test]
fn a_process_that_stood_still_adds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let store: Arc<dyn Store> = Arc::new(Folder::new(folder.path()));
    let log = log(1);
    append(&log, &[testing::messages("a", 1, 0, &["x"])]);
    let (options, progress) = (options(), Progress::default());
    let mut still = Archiver::join(&log, &store, TOPIC, &options, &progress).unwrap();
    still.turn(Duration::ZERO).unwrap();
    still.turn(Duration::ZERO).unwrap();
    let cut = |first, last| {
        let cut = Cut::new(first, last, Vec::new());
        assert_eq!(cuts::claim(&*store, TOPIC, 0, &cut).unwrap(), Claimed::New);
    };
    // Meanwhile another one went on.
    append(&log, &(1..8).map(|row| testing::messages("a", 1, row, &["x"])).collect::<Vec<_>>());
    cut(0, 2);
    for first in 3..7 {
        cut(first, first);
    }
    still.flush().unwrap();
    assert_eq!(numbers(&store, Kind::Message), [], "its stretch is not one that was claimed");
    assert_eq!(still.partitions[&0].first, 6);
}

/// Cell, kind, rows, whether it is there twice.
type Part = (usize, u8, usize, bool);

fn parts() -> impl Strategy<Value = Vec<Part>> {
    proptest::collection::vec((0..2_usize, 0..3_u8, 1..5_usize, any::<bool>()), 1..24)
}

/// Records of two cells with series, samples and messages, split at will.
fn records(parts: &[Part]) -> Vec<Written> {
    let mut next = [0_u64; 2];
    let mut out: Vec<Written> = Vec::new();
    for &(cell, kind, count, twice) in parts {
        let (name, first) = (["a", "b"][cell], next[cell]);
        let record = match kind {
            0 => testing::messages(name, 1, first, &vec!["t"; count]),
            1 => testing::series(name, 1, first, &["p", "q", "r", "s", "t"][..count]),
            _ => testing::samples(name, 1, first, &(0..count as u32).collect::<Vec<_>>()),
        };
        next[cell] += count as u64;
        out.push(record.clone());
        if twice {
            out.push(record);
        }
    }
    out
}

/// A log whose every member has every partition: what processes believe that stood still while their
/// partitions went to others.
struct Stale<'a>(&'a dyn Log);

struct Believer<'a> {
    log: &'a dyn Log,
    next: Vec<u64>,
    told: bool,
}

impl Stale<'_> {
    fn join(&self) -> Box<dyn Member + '_> {
        let partitions = self.0.partitions(TOPIC).unwrap() as usize;
        Box::new(Believer { log: self.0, next: vec![0; partitions], told: false })
    }
}

impl Member for Believer<'_> {
    fn poll(&mut self, _: Duration) -> Result<Polled, LogError> {
        if !std::mem::replace(&mut self.told, true) {
            return Ok(Polled::Assigned((0..self.next.len() as u32).collect()));
        }
        for (partition, next) in (0..).zip(&mut self.next) {
            if *next < self.log.held(TOPIC, partition)?.end {
                let mut records = self.log.reader(TOPIC, partition, *next)?.read(1, Duration::ZERO)?;
                records.truncate(1);
                *next += 1;
                return Ok(Polled::Records(partition, records));
            }
        }
        Ok(Polled::Idle)
    }
    fn seek(&mut self, partition: u32, offset: u64) -> Result<(), LogError> {
        self.next[partition as usize] = offset;
        Ok(())
    }
    fn commit(&mut self, _: u32, _: u64) -> Result<(), LogError> {
        Ok(())
    }
    fn committed(&self, _: u32) -> Result<Option<u64>, LogError> {
        Ok(None)
    }
    fn pause(&mut self, _: u32) -> Result<(), LogError> {
        Ok(())
    }
    fn resume(&mut self, _: u32) -> Result<(), LogError> {
        Ok(())
    }
}

fn expected(records: &[Written], kind: Kind) -> Vec<(String, u64, u64)> {
    let mut out: Vec<_> = records
        .iter()
        .filter(|(envelope, _)| envelope.kind == kind)
        .flat_map(|(e, _)| (e.first_row..e.end_row()).map(|row| (e.cell.clone(), e.epoch, row)))
        .collect();
    out.sort();
    out.dedup();
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 100, ..ProptestConfig::default() })]

    /// Any split into batches and any kill between steps: the same rows, each once.
    #[test]
    fn history_has_every_row_once(
        parts in parts(),
        kills in proptest::collection::vec((0..14_i64, any::<bool>(), 1..20_usize), 0..6),
        rows_a_cut in 1..20_u64,
    ) {
        let records = records(&parts);
        let memory: Arc<dyn Store> = Arc::new(Memory::default());
        let log = log(2);
        let options = Options { rows: rows_a_cut, ..options() };
        let mut rest = &records[..];
        for (left, last_is_made, more) in kills {
            let (now, later) = rest.split_at(more.min(rest.len()));
            append(&log, now);
            rest = later;
            let mortal = Mortal::over(&memory, left, last_is_made);
            let progress = Progress::default();
            // It is killed, or comes to the end and is asked to tidy.
            let _ = Archiver::join(&log, &mortal, TOPIC, &options, &progress).and_then(|mut archiver| {
                for _ in 0..6 {
                    archiver.turn(Duration::ZERO)?;
                }
                archiver.flush()?;
                archiver.tidy()
            });
        }
        append(&log, rest);
        let store = memory;
        archive(&log, &store, &options).unwrap();
        for kind in [Kind::Message, Kind::Series, Kind::Sample] {
            prop_assert_eq!(numbers(&store, kind), expected(&records, kind));
        }
        // Names are those that were told by then.
        let mut told = std::collections::BTreeMap::new();
        for (envelope, _) in &records {
            let known: &mut usize = told.entry(envelope.cell.clone()).or_default();
            if envelope.kind == Kind::Series {
                *known = (*known).max(envelope.rows as usize);
            }
            if envelope.kind == Kind::Sample {
                let of = |row: &Map<String, Value>| row["cell"] == envelope.cell.as_str();
                let mine = |row: &Map<String, Value>| {
                    (envelope.first_row..envelope.end_row()).contains(&row["row"].as_u64().unwrap())
                };
                for row in rows(&store, Kind::Sample).iter().filter(|row| of(row) && mine(row)) {
                    let named = row["series"].as_u64().unwrap() < *known as u64;
                    prop_assert_eq!(row.contains_key("signal"), named);
                }
            }
        }
    }

    /// Three processes that each believe to be the only one, in any order of steps: at no time does
    /// a reader find a row twice, and at the end every row.
    #[test]
    fn processes_that_do_not_know_of_each_other_write_one_history(
        parts in parts(),
        steps in proptest::collection::vec((0..3_usize, 0..8_u8), 1..80),
    ) {
        let records = records(&parts);
        let store: Arc<dyn Store> = Arc::new(Memory::default());
        let log = log(1);
        append(&log, &records);
        let (options, progress) = (options(), Progress::default());
        let stale = Stale(&log);
        let fresh = || Archiver::among(stale.join(), &log, &store, TOPIC, &options, &progress);
        let mut processes = [fresh(), fresh(), fresh()];
        for (who, what) in steps {
            match what {
                0..5 => processes[who].turn(Duration::ZERO).unwrap(),
                5 => processes[who].flush().unwrap(),
                6 => processes[who].tidy().unwrap(),
                _ => processes[who] = fresh(),
            }
            for kind in [Kind::Message, Kind::Series, Kind::Sample] {
                let mut found = numbers(&store, kind);
                let count = found.len();
                found.dedup();
                prop_assert_eq!(found.len(), count);
            }
        }
        archive(&log, &store, &options).unwrap();
        for kind in [Kind::Message, Kind::Series, Kind::Sample] {
            prop_assert_eq!(numbers(&store, kind), expected(&records, kind));
        }
    }
}
