use bytes::Bytes;
use yagura_log::altered::{Mood, moody};
use yagura_log::memory;

use super::*;

const TOPIC: &str = "events";

fn record(number: u64) -> Record {
    Record {
        key: Bytes::from_static(b"bay"),
        value: Bytes::from(number.to_string().repeat(100)),
        ..Record::default()
    }
}

fn log() -> Arc<Embedded> {
    let log = memory::open(Options::default()).expect("a log");
    log.ensure_topic(TOPIC, 1).expect("a topic");
    Arc::new(log)
}

fn held(log: &dyn Log) -> Vec<Record> {
    let held = log.held(TOPIC, 0).expect("held");
    let mut reader = log.reader(TOPIC, 0, held.start).expect("a reader");
    let mut out = Vec::new();
    while reader.position() < held.end {
        let read = reader.read(1 << 20, Duration::from_secs(10)).expect("records");
        out.extend(read.into_iter().map(|stored| stored.record));
    }
    out
}

fn append(spool: &Spool, numbers: Range<u64>) -> Result<(), LogError> {
    let mut appender = spool.appender(TOPIC)?;
    for number in numbers {
        appender.append(record(number))?;
    }
    appender.flush()
}

#[test]
fn what_came_while_the_log_was_away_is_moved_in_order_when_it_is_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let (log, mood, stop) = (log(), Arc::new(Mood::default()), AtomicBool::new(false));
    mood.refuse(true);
    let spool = Spool::open(folder.path(), TOPIC, 64 << 20).expect("a spool");
    let cut = moody(Arc::clone(&log) as Arc<dyn Log>, &mood);
    std::thread::scope(|scope| {
        let moving = scope.spawn(|| spool.forward(&cut, &stop));
        append(&spool, 0..500).expect("the spool takes them");
        while spool.progress.refused.load(Ordering::Acquire) == 0 {
            std::thread::yield_now();
        }
        assert!(spool.waiting() > 0);
        mood.refuse(false);
        append(&spool, 500..1000).expect("the spool takes them");
        stop.store(true, Ordering::Release);
        moving.join().expect("no panic").expect("it ends in order");
    });
    assert_eq!(spool.waiting(), 0);
    let found = held(log.as_ref());
    // What the log refused to acknowledge may be there twice.
    let last = found.len() - 1000;
    assert_eq!(found[last..], (0..1000).map(record).collect::<Vec<_>>());
}

#[test]
fn a_full_spool_refuses_whole_batches_and_gives_room_back_when_they_are_moved() {
    let folder = tempfile::tempdir().expect("a folder");
    let spool = Spool::open(folder.path(), TOPIC, 0).expect("a spool");
    let mut taken = 0;
    let refusal = loop {
        match append(&spool, taken..taken + 1000) {
            Ok(()) => taken += 1000,
            Err(cause) => break cause,
        }
    };
    assert!(refusal.retriable() && matches!(refusal, LogError::SpoolFull { .. }), "{refusal}");
    assert!(taken > 1000 && spool.bytes() >= BYTES_MIN && spool.bytes() < 2 * BYTES_MIN, "{}", spool.bytes());
    let log = log();
    spool.forward(log.as_ref(), &AtomicBool::new(true)).expect("it moves");
    assert_eq!(held(log.as_ref()), (0..taken).map(record).collect::<Vec<_>>());
    // Room is given back once the notes of readers must have been written.
    spool.held.release(TOPIC, 0, taken).expect("room");
    append(&spool, taken..taken + 1000).expect("there is room again");
}

#[test]
fn whatever_a_crash_leaves_nothing_that_was_acknowledged_is_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let log = log();
    let mut acknowledged = 0;
    for round in 0..20u64 {
        let spool = Spool::open(folder.path(), TOPIC, 64 << 20).expect("a spool");
        append(&spool, acknowledged..acknowledged + 50).expect("the spool takes them");
        acknowledged += 50;
        let before = std::fs::read(folder.path().join("moved")).ok();
        if round % 3 > 0 {
            spool.forward(log.as_ref(), &AtomicBool::new(true)).expect("it moves");
        }
        drop(spool);
        if round % 2 == 0 {
            // The note of how far it was moved was not written any more, or is torn.
            let _ = match before {
                Some(note) => std::fs::write(folder.path().join("moved"), note),
                None => std::fs::write(folder.path().join("moved"), b"{\"ne"),
            };
        }
        if round % 5 == 4 {
            // A frame that was being written.
            let partition = folder.path().join("topics").join(TOPIC).join("0");
            let newest =
                std::fs::read_dir(partition).expect("a folder").filter_map(Result::ok).map(|e| e.path());
            let newest =
                newest.filter(|p| p.extension().is_some_and(|e| e == "log")).max().expect("a segment");
            let mut torn = std::fs::read(&newest).expect("a file");
            torn.extend_from_slice(&[7; 60]);
            std::fs::write(newest, torn).expect("a file");
        }
    }
    let spool = Spool::open(folder.path(), TOPIC, 64 << 20).expect("a spool");
    spool.forward(log.as_ref(), &AtomicBool::new(true)).expect("it moves");
    let mut seen = std::collections::BTreeSet::new();
    let firsts: Vec<Record> =
        held(log.as_ref()).into_iter().filter(|record| seen.insert(record.value.clone())).collect();
    assert_eq!(firsts, (0..acknowledged).map(record).collect::<Vec<_>>());
}
