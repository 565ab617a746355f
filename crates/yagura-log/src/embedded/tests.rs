use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use proptest::prelude::*;

use super::sim::SimDisk;
use super::*;
use crate::Stored;

fn small() -> Options {
    Options { segment_bytes: 4096, buffer_bytes: 1500, fetch_bytes: 4096, ..Options::default() }
}

fn record(value: impl Into<Bytes>) -> Record {
    Record { key: Bytes::from_static(b"cell"), header: Bytes::from_static(b"h"), value: value.into() }
}

/// A value that carries its number, of any size.
fn numbered(number: u64, size: usize) -> Record {
    let mut value = number.to_le_bytes().to_vec();
    value.resize(8 + size, number as u8);
    record(value)
}

fn number(stored: &Stored) -> u64 {
    let value = &stored.record.value;
    assert!(value[8..].iter().all(|byte| *byte == value[0]));
    u64::from_le_bytes(value[..8].try_into().unwrap())
}

fn read_all(log: &dyn Log) -> Result<Vec<Stored>, LogError> {
    let held = log.held("t", 0)?;
    let mut reader = log.reader("t", 0, held.start)?;
    let mut all = Vec::new();
    while reader.position() < held.end {
        all.extend(reader.read(3000, Duration::ZERO)?);
    }
    Ok(all)
}

fn fill(log: &dyn Log, numbers: Range<u64>, size: usize) {
    let mut appender = log.appender("t").unwrap();
    for n in numbers {
        appender.append(numbered(n, size)).unwrap();
        appender.flush().unwrap();
    }
}

fn on(disk: &SimDisk) -> Result<Embedded, LogError> {
    let log = Embedded::open_on(Arc::new(disk.clone()), "log", small())?;
    log.ensure_topic("t", 1)?;
    Ok(log)
}

#[derive(Clone, Debug)]
enum Step {
    Append(usize),
    Flush,
    /// Only so many bytes fit from now on.
    FillUp(usize),
    MakeRoom,
    SyncsFail,
    Close,
    Kill,
    PowerCut(u64),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => (0usize..1800).prop_map(Step::Append),
        6 => Just(Step::Flush),
        1 => (0usize..5000).prop_map(Step::FillUp),
        1 => Just(Step::MakeRoom),
        1 => Just(Step::SyncsFail),
        1 => Just(Step::Close),
        1 => Just(Step::Kill),
        2 => any::<u64>().prop_map(Step::PowerCut),
    ];
    prop::collection::vec(step, 1..80)
}

/// What must, may and cannot be in the log.
#[derive(Default)]
struct Model {
    /// Acknowledged, or seen by a reader: there for ever.
    sure: Vec<u64>,
    /// Handed over since. Of each group, which an error ended, any prefix may be there.
    open: Vec<Vec<u64>>,
}

impl Model {
    fn handed(&mut self, number: u64) {
        if self.open.is_empty() {
            self.open.push(Vec::new());
        }
        self.open.last_mut().unwrap().push(number);
    }

    fn error(&mut self) {
        self.open.push(Vec::new());
    }

    /// Compares, and takes what is there for sure from now on. `acknowledged`: all of the last
    /// group must be there.
    fn check(&mut self, log: &Embedded, acknowledged: bool) {
        let all = read_all(log).unwrap();
        assert!(all.iter().map(|stored| stored.offset).eq(0..all.len() as u64));
        let found: Vec<u64> = all.iter().map(number).collect();
        assert!(found.starts_with(&self.sure), "lost: {:?} of {:?}", found, self.sure);
        let mut rest = &found[self.sure.len()..];
        let last = self.open.len().saturating_sub(1);
        // Something that is acknowledged settles what came before it.
        let settled = acknowledged && self.open.last().is_some_and(|group| !group.is_empty());
        let mut reached = if settled { last } else { 0 };
        for (index, group) in self.open.iter_mut().enumerate() {
            let kept = group.iter().zip(rest).take_while(|(a, b)| a == b).count();
            rest = &rest[kept..];
            assert!(!acknowledged || index < last || kept == group.len(), "acknowledged and lost: {group:?}");
            group.drain(..kept);
            reached = if kept > 0 { index } else { reached };
        }
        assert!(rest.is_empty(), "invented: {rest:?}");
        self.sure = found;
        self.open.drain(..reached);
    }
}

fn run(steps: &[Step]) {
    let disk = SimDisk::default();
    let mut log = on(&disk).unwrap();
    let mut appender = log.appender("t").unwrap();
    let mut model = Model::default();
    let mut next = 1;
    for step in steps {
        match step {
            Step::Append(size) => {
                model.handed(next);
                match appender.append(numbered(next, *size)) {
                    Ok(()) => {}
                    Err(_) => model.error(),
                }
                next += 1;
            }
            Step::Flush => match appender.flush() {
                Ok(()) => model.check(&log, true),
                Err(_) => model.error(),
            },
            Step::FillUp(room) => disk.fill_up(Some(*room)),
            Step::MakeRoom => disk.fill_up(None),
            Step::SyncsFail => disk.fail_syncs(true),
            Step::Close | Step::Kill | Step::PowerCut(_) => {
                if !matches!(step, Step::Close) {
                    disk.kill();
                }
                drop(appender);
                drop(log);
                disk.restart(if let Step::PowerCut(seed) = step { Some(*seed) } else { None });
                log = on(&disk).unwrap();
                appender = log.appender("t").unwrap();
                model.check(&log, false);
                model.open.clear();
            }
        }
        // Readers may look at any time; what they saw must never vanish.
        model.check(&log, false);
    }
    // Once the disk is well again, opening is all it takes.
    drop(appender);
    drop(log);
    disk.restart(None);
    let log = on(&disk).unwrap();
    model.check(&log, false);
    let mut appender = log.appender("t").unwrap();
    appender.append(numbered(next, 10)).unwrap();
    appender.flush().unwrap();
    assert_eq!(number(read_all(&log).unwrap().last().unwrap()), next);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn whatever_the_disk_does_acknowledged_records_stay(steps in steps()) {
        run(&steps);
    }
}

#[test]
fn retention_survives_power_cuts_at_every_moment() {
    for seed in 0..200 {
        let disk = SimDisk::default();
        let options = Options { retain_bytes: Some(12_000), ..small() };
        let open = || {
            let log = Embedded::open_on(Arc::new(disk.clone()), "log", options.clone()).unwrap();
            log.ensure_topic("t", 1).unwrap();
            log
        };
        let log = open();
        fill(&log, 0..20 + seed, 700);
        let end = log.held("t", 0).unwrap().end;
        assert_eq!(end, 20 + seed);
        disk.kill();
        drop(log);
        disk.restart(Some(seed * 7919 + 1));
        let log = open();
        let numbers: Vec<u64> = read_all(&log).unwrap().iter().map(number).collect();
        let first = log.held("t", 0).unwrap().start;
        assert!(numbers.iter().copied().eq(first..end), "{numbers:?}");
    }
}

#[test]
fn old_records_go_even_when_nothing_new_comes() {
    let disk = SimDisk::default();
    let keep = vec!["kept".to_string()];
    let options = Options { retain_age: Some(Duration::from_secs(60)), keep, ..small() };
    let log = Embedded::open_on(Arc::new(disk.clone()), "log", options).unwrap();
    log.ensure_topic("t", 1).unwrap();
    log.ensure_topic("kept", 1).unwrap();
    let mut kept = log.appender("kept").unwrap();
    kept.append(numbered(0, 700)).and_then(|()| kept.flush()).unwrap();
    fill(&log, 0..12, 700);
    log.retain().unwrap();
    assert_eq!(log.held("t", 0).unwrap(), 0..12);
    disk.pass(61_000_000);
    log.retain().unwrap();
    assert_eq!(log.held("t", 0).unwrap(), 12..12);
    assert_eq!(log.held("kept", 0).unwrap(), 0..1);
    fill(&log, 12..13, 10);
    assert_eq!(read_all(&log).unwrap()[0].offset, 12);
}

#[test]
fn a_full_disk_is_said_and_appending_goes_on_once_there_is_room() {
    let disk = SimDisk::default();
    let log = on(&disk).unwrap();
    fill(&log, 0..3, 100);
    disk.fill_up(Some(130));
    let mut appender = log.appender("t").unwrap();
    appender.append(numbered(3, 400)).unwrap();
    assert!(matches!(appender.flush(), Err(LogError::Full { .. })));
    disk.fill_up(None);
    appender.append(numbered(4, 400)).unwrap();
    appender.flush().unwrap();
    assert_eq!(read_all(&log).unwrap().iter().map(number).collect::<Vec<_>>(), [0, 1, 2, 4]);
}

#[test]
fn after_a_failed_sync_nothing_is_acknowledged_until_the_log_is_opened_again() {
    let disk = SimDisk::default();
    let log = on(&disk).unwrap();
    fill(&log, 0..2, 100);
    let mut appender = log.appender("t").unwrap();
    disk.fail_syncs(true);
    appender.append(numbered(2, 100)).unwrap();
    assert!(appender.flush().is_err());
    disk.fail_syncs(false);
    assert!(
        appender.append(numbered(3, 100)).and_then(|()| appender.flush()).is_err(),
        "the second sync proves nothing"
    );
    assert_eq!(read_all(&log).unwrap().len(), 2, "readers see only what is durable");
    drop((appender, log));
    let log = on(&disk).unwrap();
    fill(&log, 4..5, 100);
    disk.kill();
    drop(log);
    disk.restart(Some(3));
    let found: Vec<u64> = read_all(&on(&disk).unwrap()).unwrap().iter().map(number).collect();
    assert_eq!(found, [0, 1, 2, 4], "what a reopened log shows is durable");
}

#[test]
fn damage_before_the_last_durable_point_is_named_and_nothing_is_cut() {
    let segment = |base: u64| PathBuf::from(format!("log/topics/t/0/{base:020}.log"));
    let frame = 40 + 5 + 108;
    let build = |close: bool| {
        let disk = SimDisk::default();
        let log = on(&disk).unwrap();
        fill(&log, 0..40, 100);
        if !close {
            disk.kill();
        }
        drop(log);
        disk.restart(None);
        disk
    };
    let damaged = |answer: Result<Vec<Stored>, LogError>| match answer {
        Err(LogError::Damaged { file, at, .. }) => (PathBuf::from(file), at),
        other => panic!("{other:?}"),
    };
    // In the last segment, before other synced records: refused at opening.
    let disk = build(false);
    disk.flip(&segment(26), 40 + 3 * frame + 60);
    assert_eq!(damaged(on(&disk).map(|_| Vec::new())), (segment(26), 40 + 3 * frame as u64));
    // The very last record after an orderly close.
    let disk = build(true);
    disk.flip(&segment(26), 40 + 13 * frame + 60);
    assert_eq!(damaged(on(&disk).map(|_| Vec::new())), (segment(26), 40 + 13 * frame as u64));
    // The same after a crash cannot be told from a torn tail.
    let disk = build(false);
    disk.flip(&segment(26), 40 + 13 * frame + 60);
    assert_eq!(read_all(&on(&disk).unwrap()).unwrap().len(), 39);
    // In an earlier segment: found by reading, after what comes before it.
    let disk = build(true);
    disk.flip(&segment(0), 40 + 2 * frame + 60);
    let log = on(&disk).unwrap();
    assert_eq!(damaged(read_all(&log)), (segment(0), 40 + 2 * frame as u64));
    assert!(log.verify("t", 0).is_err());
    assert_eq!(log.reader("t", 0, 0).unwrap().read(1 << 20, Duration::ZERO).unwrap().len(), 2);
    // A header, a shortened and a missing segment.
    let disk = build(true);
    disk.flip(&segment(0), 20);
    assert_eq!(damaged(on(&disk).map(|_| Vec::new())).0, segment(0));
    let disk = build(true);
    disk.open(&segment(0), true).unwrap().truncate(3000).unwrap();
    assert_eq!(damaged(on(&disk).map(|_| Vec::new())), (segment(0), 3000));
    let disk = build(true);
    disk.remove(&segment(26)).unwrap();
    assert_eq!(damaged(on(&disk).map(|_| Vec::new())).0, segment(26));
}

#[test]
fn a_second_process_is_refused_with_the_first_ones_number() {
    let folder = tempfile::tempdir().unwrap();
    let log = Embedded::open(folder.path(), small()).unwrap();
    match Embedded::open(folder.path(), small()) {
        Err(LogError::Locked { pid, .. }) => assert_eq!(pid, std::process::id().to_string()),
        other => panic!("{:?}", other.map(|log| log.describe())),
    }
    drop(log);
    Embedded::open(folder.path(), small()).unwrap();
}

#[test]
fn reading_only_changes_nothing_and_shows_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    let log = Embedded::open(folder.path(), small()).unwrap();
    log.ensure_topic("t", 1).unwrap();
    fill(&log, 0..40, 100);
    let other = Embedded::open_read_only(folder.path()).unwrap();
    assert_eq!(read_all(&other).unwrap(), read_all(&log).unwrap());
    assert!(other.ensure_topic("u", 1).is_err());
    assert!(other.join("g", "t").is_err());
    let mut appender = other.appender("t").unwrap();
    assert!(appender.append(record("x")).is_err());
}

#[test]
fn a_follower_sees_what_is_appended_and_what_goes() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { retain_bytes: Some(20_000), ..small() };
    let log = Embedded::open(folder.path(), options).unwrap();
    log.ensure_topic("t", 1).unwrap();
    let follower = Embedded::open_following(folder.path()).unwrap();
    assert!(matches!(follower.partitions("u"), Err(LogError::NoTopic(_))));
    log.ensure_topic("u", 2).unwrap();
    assert_eq!(follower.partitions("u").unwrap(), 2);
    assert!(follower.ensure_topic("v", 1).is_err() && follower.join("g", "t").is_err());
    let mut reader = follower.reader("t", 0, 0).unwrap();
    assert!(reader.read(1000, Duration::ZERO).unwrap().is_empty());
    // Over many segments, so that the oldest are deleted under the reader's hands.
    for round in 0..30 {
        fill(&log, round * 20..(round + 1) * 20, 100);
        let held = log.held("t", 0).unwrap();
        assert_eq!(follower.held("t", 0).unwrap(), held);
        let mut seen = Vec::new();
        while reader.position() < held.end {
            seen.extend(reader.read(3000, Duration::ZERO).unwrap().iter().map(number));
        }
        assert!(seen.iter().copied().eq(round * 20..(round + 1) * 20));
    }
    assert!(log.held("t", 0).unwrap().start > 0);
    let mut late = follower.reader("t", 0, 0).unwrap();
    assert!(matches!(late.read(1000, Duration::ZERO), Err(LogError::OffsetGone { wanted: 0, .. })));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| reader.read(1000, Duration::from_secs(30)).unwrap());
        fill(&log, 600..601, 100);
        assert_eq!(waiting.join().unwrap().iter().map(number).collect::<Vec<_>>(), [600]);
    });
    drop(log);
    assert_eq!(follower.held("t", 0).unwrap().end, 601);
}

#[test]
fn a_log_can_be_opened_for_reading_at_any_moment_of_writing() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 64 << 10, retain_bytes: Some(256 << 10), ..Options::default() };
    let log = Embedded::open(folder.path(), options).unwrap();
    log.ensure_topic("t", 1).unwrap();
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut appender = log.appender("t").unwrap();
            let mut n = 0;
            while !done.load(Ordering::Relaxed) {
                for _ in 0..20 {
                    appender.append(numbered(n, n as usize * 37 % 900)).unwrap();
                    n += 1;
                }
                appender.flush().unwrap();
            }
        });
        let mut last = 0;
        for _ in 0..150 {
            let follower = Embedded::open_following(folder.path()).unwrap();
            let held = follower.held("t", 0).unwrap();
            assert!(held.end >= last, "{held:?} after {last}");
            last = held.end;
            let from = held.end.saturating_sub(10).max(held.start);
            let read = follower.reader("t", 0, from).unwrap().read(1 << 20, Duration::ZERO);
            match read {
                Ok(records) => records.iter().for_each(|stored| assert_eq!(number(stored), stored.offset)),
                Err(error) => assert!(matches!(error, LogError::OffsetGone { .. }), "{error}"),
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

#[test]
fn a_follower_shows_whole_records_only() {
    let folder = tempfile::tempdir().unwrap();
    let log = Embedded::open(folder.path(), Options::default()).unwrap();
    log.ensure_topic("t", 1).unwrap();
    fill(&log, 0..3, 100);
    drop(log);
    let path = folder.path().join("topics/t/0").join(partition::segment_name(0));
    let whole = std::fs::read(&path).unwrap();
    let frame = (whole.len() - frame::SEGMENT) / 3;
    std::fs::write(&path, &whole[..frame::SEGMENT + frame]).unwrap();
    std::fs::remove_file(folder.path().join("topics/t/0/mark")).unwrap();
    let follower = Embedded::open_following(folder.path()).unwrap();
    assert_eq!(follower.held("t", 0).unwrap(), 0..1);
    for cut in frame::SEGMENT + frame..=whole.len() {
        std::fs::write(&path, &whole[..cut]).unwrap();
        let records = (cut - frame::SEGMENT) / frame;
        assert_eq!(follower.held("t", 0).unwrap(), 0..records as u64, "{cut} bytes");
    }
    // A batch that could not be written as a whole is taken back; another takes its place.
    std::fs::write(&path, &whole[..frame::SEGMENT + frame + 5]).unwrap();
    assert_eq!(follower.held("t", 0).unwrap(), 0..1);
    std::fs::write(&path, &whole).unwrap();
    assert_eq!(read_all(&follower).unwrap().iter().map(number).collect::<Vec<_>>(), [0, 1, 2]);
}

#[test]
fn any_offset_can_be_sought_in_a_reopened_log() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options { segment_bytes: 3 << 20, ..Options::default() };
    let log = Embedded::open(folder.path(), options.clone()).unwrap();
    log.ensure_topic("t", 1).unwrap();
    let mut appender = log.appender("t").unwrap();
    for n in 0..4000 {
        appender.append(numbered(n, 2500)).unwrap();
    }
    appender.flush().unwrap();
    drop((appender, log));
    let log = Embedded::open(folder.path(), options).unwrap();
    for step in 0..200u64 {
        let wanted = step * 2377 % 4000;
        let records = log.reader("t", 0, wanted).unwrap().read(10_000, Duration::ZERO).unwrap();
        assert_eq!((records[0].offset, number(&records[0])), (wanted, wanted));
        let bytes: usize = records.iter().map(|stored| stored.record.size()).sum();
        assert!(bytes <= 12_600, "{bytes}");
    }
}

#[test]
fn many_appenders_share_fdatasyncs() {
    struct Counting(memory::RamDisk, Arc<AtomicUsize>);
    struct CountingFile(Arc<dyn disk::DiskFile>, Arc<AtomicUsize>);
    use crate::memory;
    impl Disk for Counting {
        fn create_dir(&self, path: &Path) -> io::Result<()> {
            self.0.create_dir(path)
        }
        fn list(&self, path: &Path) -> io::Result<Vec<String>> {
            self.0.list(path)
        }
        fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn disk::DiskFile>> {
            Ok(Arc::new(CountingFile(self.0.open(path, write)?, self.1.clone())))
        }
        fn remove(&self, path: &Path) -> io::Result<()> {
            self.0.remove(path)
        }
        fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
            self.0.rename(from, to)
        }
        fn sync_dir(&self, path: &Path) -> io::Result<()> {
            self.0.sync_dir(path)
        }
        fn lock(&self, path: &Path) -> Result<Box<dyn Send + Sync>, Held> {
            self.0.lock(path)
        }
        fn now(&self) -> i64 {
            self.0.now()
        }
    }
    impl disk::DiskFile for CountingFile {
        fn size(&self) -> io::Result<u64> {
            self.0.size()
        }
        fn read(&self, at: u64, size: usize, into: &mut Vec<u8>) -> io::Result<()> {
            self.0.read(at, size, into)
        }
        fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
            self.0.write(at, bytes)
        }
        fn truncate(&self, size: u64) -> io::Result<()> {
            self.0.truncate(size)
        }
        fn sync(&self) -> io::Result<()> {
            self.1.fetch_add(1, Ordering::SeqCst);
            // As long as a disk takes.
            let (_keep, never) = sync_channel::<()>(0);
            let _ = never.recv_timeout(Duration::from_millis(2));
            self.0.sync()
        }
    }
    let syncs = Arc::new(AtomicUsize::new(0));
    let disk = Counting(memory::RamDisk::default(), syncs.clone());
    let log = Embedded::open_on(Arc::new(disk), "log", Options::default()).unwrap();
    log.ensure_topic("t", 1).unwrap();
    let before = syncs.load(Ordering::SeqCst);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| fill(&log, 0..25, 100));
        }
    });
    assert_eq!(log.held("t", 0).unwrap(), 0..200);
    let used = syncs.load(Ordering::SeqCst) - before;
    assert!(used < 100, "{used} fdatasyncs for 200 acknowledged appends");
}
