//! What every log has to do, as one suite that all implementations run.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::{Log, LogError, Member, Polled, Record, Stored, partition_of};

/// A log under test.
pub trait Subject {
    /// The log.
    fn log(&self) -> Arc<dyn Log>;
    /// Closes the log and opens it again.
    fn reopen(&mut self);
    /// Makes retention delete some of the oldest records of a partition, not all.
    fn forget(&mut self, topic: &str, partition: u32);
    /// The largest record, in bytes of key, header and value.
    fn record_bytes_max(&self) -> usize;
}

/// A check of the suite: takes the subject and a name for its topic that was not used before.
pub type Check = fn(&mut dyn Subject, &str);

/// The suite. Run each on its own, or all with [`run`].
pub const CHECKS: &[(&str, Check)] = &[
    ("order-and-content", order_and_content),
    ("resume", resume),
    ("blocking-read", blocking_read),
    ("retention", retention),
    ("bounds", bounds),
    ("groups-are-independent", groups_are_independent),
    ("rebalance", rebalance),
    ("pause-and-seek", pause_and_seek),
    ("commit-survives", commit_survives),
    ("unknown-topic", unknown_topic),
];

/// Runs all checks; panics, naming the check, where one fails.
pub fn run(subject: &mut dyn Subject) {
    for (name, check) in CHECKS {
        tracing::info!(name, "contract");
        check(subject, &format!("contract-{name}"));
    }
}

/// How long something that must happen may take.
const PATIENCE: u32 = 300;
/// One wait within it.
const TICK: Duration = Duration::from_millis(100);

fn record(key: &str, number: u64, size: usize) -> Record {
    let mut value = number.to_le_bytes().to_vec();
    value.resize(size.max(8), b'.');
    Record {
        key: Bytes::copy_from_slice(key.as_bytes()),
        header: Bytes::from_static(b"envelope"),
        value: value.into(),
    }
}

fn number(stored: &Stored) -> u64 {
    stored.record.value[..8].try_into().map_or(u64::MAX, u64::from_le_bytes)
}

fn append(log: &dyn Log, topic: &str, records: impl IntoIterator<Item = Record>) {
    let mut appender = log.appender(topic).expect("appender");
    for record in records {
        appender.append(record).expect("append");
    }
    appender.flush().expect("flush");
}

fn read(log: &dyn Log, topic: &str, partition: u32, from: u64, count: usize) -> Vec<Stored> {
    let mut reader = log.reader(topic, partition, from).expect("reader");
    let mut found = Vec::new();
    for _ in 0..PATIENCE {
        found.extend(reader.read(1 << 20, TICK).expect("read"));
        if found.len() >= count {
            break;
        }
    }
    assert_eq!(found.len(), count, "records of {topic}/{partition} from {from}");
    assert_eq!(reader.position(), from + count as u64);
    found
}

fn order_and_content(subject: &mut dyn Subject, topic: &str) {
    let log = subject.log();
    assert_eq!(log.ensure_topic(topic, 3).expect("topic"), 3);
    assert_eq!(log.ensure_topic(topic, 5).expect("topic"), 3, "an existing topic keeps its partitions");
    assert_eq!(log.partitions(topic).expect("partitions"), 3);
    let keys = ["etch", "litho", "cmp", "implant", "metro", ""];
    let records: Vec<Record> =
        (0..600).map(|n| record(keys[n as usize % keys.len()], n, n as usize % 700)).collect();
    append(&*log, topic, records.clone());
    let empty = Record { key: Bytes::from_static(b"etch"), ..Record::default() };
    append(&*log, topic, [empty.clone()]);
    for partition in 0..3 {
        let mut expected: Vec<&Record> =
            records.iter().filter(|r| partition_of(&r.key, 3) == partition).collect();
        expected.extend((partition_of(b"etch", 3) == partition).then_some(&empty));
        let found = read(&*log, topic, partition, 0, expected.len());
        assert!(found.iter().map(|stored| &stored.record).eq(expected), "order and content of a partition");
        assert!(found.iter().map(|stored| stored.offset).eq(0..found.len() as u64), "offsets without a gap");
        assert_eq!(log.held(topic, partition).expect("held"), 0..found.len() as u64);
    }
}

fn resume(subject: &mut dyn Subject, topic: &str) {
    let log = subject.log();
    log.ensure_topic(topic, 1).expect("topic");
    append(&*log, topic, (0..100).map(|n| record("k", n, 100)));
    drop(log);
    subject.reopen();
    let log = subject.log();
    append(&*log, topic, (100..150).map(|n| record("k", n, 100)));
    for from in [0, 1, 57, 99, 100, 149] {
        let found = read(&*log, topic, 0, from, 150 - from as usize);
        assert!(found.iter().map(number).eq(from..150));
    }
    assert!(log.reader(topic, 0, 150).expect("reader").read(100, Duration::ZERO).expect("read").is_empty());
}

fn blocking_read(subject: &mut dyn Subject, topic: &str) {
    let log = subject.log();
    log.ensure_topic(topic, 1).expect("topic");
    let mut reader = log.reader(topic, 0, 0).expect("reader");
    assert!(reader.read(100, TICK).expect("read").is_empty());
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| reader.read(100, TICK * PATIENCE).expect("read"));
        append(&*log, topic, [record("k", 7, 8)]);
        let found = waiting.join().expect("thread");
        assert!(found.iter().map(number).eq([7]), "an append wakes a waiting reader");
    });
}

fn retention(subject: &mut dyn Subject, topic: &str) {
    let log = subject.log();
    log.ensure_topic(topic, 1).expect("topic");
    append(&*log, topic, (0..200).map(|n| record("k", n, 1000)));
    drop(log);
    subject.forget(topic, 0);
    let log = subject.log();
    let held = log.held(topic, 0).expect("held");
    assert!(held.start > 0 && held.start < held.end && held.end == 200, "{held:?}");
    let mut reader = log.reader(topic, 0, 0).expect("reader");
    let gone =
        (0..PATIENCE).find_map(|_| reader.read(1000, TICK).map(|found| assert!(found.is_empty())).err());
    match gone {
        Some(LogError::OffsetGone { wanted: 0, held: said, partition: 0, .. }) => assert_eq!(said, held),
        other => panic!("{other:?}"),
    }
    let found = read(&*log, topic, 0, held.start, (held.end - held.start) as usize);
    assert!(found.iter().map(number).eq(held));
}

fn bounds(subject: &mut dyn Subject, topic: &str) {
    let log = subject.log();
    log.ensure_topic(topic, 1).expect("topic");
    let limit = subject.record_bytes_max();
    let mut appender = log.appender(topic).expect("appender");
    match appender.append(record("", 0, limit + 1)) {
        Err(LogError::TooLarge { size, limit: said }) => assert!(size > said && said == limit),
        other => panic!("{other:?}"),
    }
    // Far more than any buffer, with nobody reading; then in portions.
    let (count, size) = (1500, 40_000);
    for n in 0..count {
        appender.append(record("k", n, size)).expect("append");
    }
    appender.flush().expect("flush");
    let mut reader = log.reader(topic, 0, 0).expect("reader");
    let mut next = 0;
    for _ in 0..count * 2 {
        let found = reader.read(100_000, TICK).expect("read");
        let bytes: usize = found.iter().map(|stored| stored.record.size()).sum();
        assert!(bytes <= 100_000 + size, "{bytes} bytes where about 100,000 were asked for");
        assert!(found.iter().map(number).eq(next..next + found.len() as u64));
        next += found.len() as u64;
        if next == count {
            break;
        }
    }
    assert_eq!(next, count);
    let large = record("", 1, limit - b"envelope".len());
    append(&*log, topic, [large.clone()]);
    let found = (0..PATIENCE).map(|_| reader.read(1, TICK).expect("read")).find(|found| !found.is_empty());
    assert!(
        found.is_some_and(|found| found.len() == 1 && found[0].record == large),
        "the largest record, although more than asked for"
    );
}

/// What a member has been given, by its own account.
#[derive(Default)]
struct Seen {
    owned: Vec<u32>,
    /// For each partition: numbers in the order of arrival.
    numbers: BTreeMap<u32, Vec<u64>>,
    revoked: Vec<u32>,
}

/// Polls once; commits what it got, and when partitions are revoked.
fn poll(member: &mut dyn Member, seen: &mut Seen) -> bool {
    match member.poll(TICK).expect("poll") {
        Polled::Assigned(partitions) => seen.owned.extend(partitions),
        Polled::Revoked(partitions) => {
            for partition in partitions {
                assert!(seen.owned.contains(&partition), "revoked what was not assigned");
                seen.owned.retain(|owned| *owned != partition);
                seen.revoked.push(partition);
                if let Some(next) = member.committed(partition).expect("committed") {
                    member.commit(partition, next).expect("a commit is accepted until the next poll");
                }
            }
        }
        Polled::Records(partition, records) => {
            assert!(seen.owned.contains(&partition), "records of a partition that is not assigned");
            let next = records.last().map_or(0, |stored| stored.offset + 1);
            seen.numbers.entry(partition).or_default().extend(records.iter().map(number));
            member.commit(partition, next).expect("commit");
        }
        Polled::Idle => return false,
    }
    true
}

fn poll_until(
    members: &mut [(&mut Box<dyn Member>, &mut Seen)],
    done: impl Fn(&[&Seen]) -> bool,
    what: &str,
) {
    for _ in 0..PATIENCE {
        for (member, seen) in members.iter_mut() {
            poll(&mut ***member, seen);
        }
        let seen: Vec<&Seen> = members.iter().map(|(_, seen)| &**seen).collect();
        if done(&seen) {
            return;
        }
    }
    panic!("it never came to this: {what}");
}

fn total(seen: &[&Seen]) -> usize {
    seen.iter().flat_map(|seen| seen.numbers.values()).map(Vec::len).sum()
}

fn groups_are_independent(subject: &mut dyn Subject, topic: &str) {
    let log = subject.log();
    log.ensure_topic(topic, 2).expect("topic");
    append(&*log, topic, (0..100).map(|n| record(["a", "b", "c"][n as usize % 3], n, 50)));
    for group in ["first", "second"] {
        let mut seen = Seen::default();
        let mut member = log.join(&format!("{topic}-{group}"), topic).expect("join");
        poll_until(&mut [(&mut member, &mut seen)], |seen| total(seen) >= 100, "each group gets everything");
        assert_eq!(total(&[&seen]), 100);
    }
}

fn rebalance(subject: &mut dyn Subject, topic: &str) {
    let log = subject.log();
    log.ensure_topic(topic, 4).expect("topic");
    let keys: Vec<String> = (0..16).map(|n| format!("cell-{n}")).collect();
    let batch =
        |from: u64| (from..from + 200).map(|n| record(&keys[n as usize % 16], n, 50)).collect::<Vec<_>>();
    let group = format!("{topic}-group");
    append(&*log, topic, batch(0));
    let (mut a, mut b, mut c) = (Seen::default(), Seen::default(), Seen::default());
    let mut first = log.join(&group, topic).expect("join");
    poll_until(&mut [(&mut first, &mut a)], |seen| total(seen) == 200, "one member gets everything");
    let mut second = log.join(&group, topic).expect("join");
    poll_until(
        &mut [(&mut first, &mut a), (&mut second, &mut b)],
        |seen| seen.iter().all(|seen| seen.owned.len() == 2),
        "two members share",
    );
    assert_eq!(a.revoked.len(), 2, "only what has to move moves");
    append(&*log, topic, batch(200));
    poll_until(
        &mut [(&mut first, &mut a), (&mut second, &mut b)],
        |seen| total(seen) >= 400,
        "both get records",
    );
    assert_eq!(total(&[&a, &b]), 400, "what was committed before the change of hands is not given again");
    // The first goes without a word, a third one comes.
    drop(first);
    let before = total(&[&a]);
    let mut third = log.join(&group, topic).expect("join");
    append(&*log, topic, batch(400));
    poll_until(
        &mut [(&mut second, &mut b), (&mut third, &mut c)],
        |seen| before + total(seen) >= 600,
        "the others take over",
    );
    let mut all: Vec<u64> =
        [&a, &b, &c].iter().flat_map(|seen| seen.numbers.values().flatten().copied()).collect();
    all.sort_unstable();
    assert!(all.iter().copied().eq(0..600), "every record was given to the group once");
    for seen in [&a, &b, &c] {
        assert!(seen.numbers.values().all(|numbers| numbers.is_sorted()), "in order");
    }
    assert!(second.commit(99, 1).is_err(), "a commit for a partition of somebody else is refused");
}

fn pause_and_seek(subject: &mut dyn Subject, topic: &str) {
    let log = subject.log();
    log.ensure_topic(topic, 1).expect("topic");
    append(&*log, topic, (0..10).map(|n| record("k", n, 50)));
    let mut member = log.join(&format!("{topic}-group"), topic).expect("join");
    let assigned = (0..PATIENCE).find_map(|_| match member.poll(TICK).expect("poll") {
        Polled::Assigned(partitions) => Some(partitions),
        _ => None,
    });
    assert_eq!(assigned, Some(vec![0]));
    member.seek(0, 4).expect("seek");
    let mut seen = Seen { owned: vec![0], ..Seen::default() };
    poll_until(
        &mut [(&mut member, &mut seen)],
        |seen| total(seen) >= 6,
        "reading begins where it was sought",
    );
    assert_eq!(seen.numbers[&0], [4, 5, 6, 7, 8, 9]);
    member.pause(0).expect("pause");
    append(&*log, topic, (10..20).map(|n| record("k", n, 50)));
    for _ in 0..5 {
        assert!(!poll(&mut *member, &mut seen), "nothing comes from a paused partition");
    }
    member.resume(0).expect("resume");
    poll_until(&mut [(&mut member, &mut seen)], |seen| total(seen) >= 16, "it goes on after resume");
    assert!(seen.numbers[&0].iter().copied().eq(4..20));
}

fn commit_survives(subject: &mut dyn Subject, topic: &str) {
    let log = subject.log();
    log.ensure_topic(topic, 1).expect("topic");
    append(&*log, topic, (0..30).map(|n| record("k", n, 50)));
    let group = format!("{topic}-group");
    let mut seen = Seen::default();
    let mut member = log.join(&group, topic).expect("join");
    poll_until(&mut [(&mut member, &mut seen)], |seen| total(seen) == 30, "all records");
    member.commit(0, 12).expect("commit");
    assert_eq!(member.committed(0).expect("committed"), Some(12));
    drop(member);
    drop(log);
    subject.reopen();
    let log = subject.log();
    let mut seen = Seen::default();
    let mut member = log.join(&group, topic).expect("join");
    poll_until(&mut [(&mut member, &mut seen)], |seen| total(seen) >= 18, "the rest");
    assert!(seen.numbers[&0].iter().copied().eq(12..30));
}

fn unknown_topic(subject: &mut dyn Subject, topic: &str) {
    let log = subject.log();
    assert!(matches!(log.partitions(topic), Err(LogError::NoTopic(_))));
    assert!(matches!(log.appender(topic).map(drop), Err(LogError::NoTopic(_))));
    assert!(matches!(log.reader(topic, 0, 0).map(drop), Err(LogError::NoTopic(_))));
    assert!(matches!(log.join("g", topic).map(drop), Err(LogError::NoTopic(_))));
}
