//! Logs with what happens to real ones: deleted offsets, compaction, brokers that are away, a death in between.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use yagura_log::embedded::Options;
use yagura_log::{Appender, Log, LogError, Member, Reader, Record, Stored, memory};

/// A Kafka of somebody else: the log in memory, with what else happens to topics.
pub struct Foreign {
    pub inner: Mutex<Arc<dyn Log>>,
    /// What came before was deleted.
    pub floor: AtomicU64,
    /// Offsets that a compaction left out: those that this divides, if it is not 0.
    holes: u64,
    pub away: AtomicBool,
}

impl Foreign {
    pub fn new(holes: u64) -> Arc<Foreign> {
        let inner = Mutex::new(Self::empty());
        Arc::new(Foreign { inner, floor: AtomicU64::new(0), holes, away: AtomicBool::new(false) })
    }

    pub fn empty() -> Arc<dyn Log> {
        Arc::new(memory::open(Options::default()).expect("a log"))
    }

    pub fn inner(&self) -> Arc<dyn Log> {
        Arc::clone(&self.inner.lock().expect("a lock"))
    }

    pub fn there(&self) -> Result<Arc<dyn Log>, LogError> {
        match self.away.load(Ordering::Relaxed) {
            true => Err(LogError::Unreachable { brokers: "k:9092".into(), cause: "it is away".into() }),
            false => Ok(self.inner()),
        }
    }

    pub fn produce(&self, topic: &str, key: &str, value: impl Into<Vec<u8>>) {
        let mut appender = self.inner().appender(topic).expect("an appender");
        let (key, value) = (key.to_string().into_bytes().into(), value.into().into());
        appender.append(Record { key, value, ..Record::default() }).expect("room");
        appender.flush().expect("durable");
    }
}

/// What a plant opens as the log of somebody else.
pub struct Elsewhere(pub Arc<Foreign>);

impl Log for Elsewhere {
    fn describe(&self) -> String {
        "Kafka at k:9092".into()
    }
    fn ensure_topic(&self, _: &str, _: u32) -> Result<u32, LogError> {
        panic!("a bridge writes nothing")
    }
    fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.0.there()?.partitions(topic)
    }
    fn held(&self, topic: &str, partition: u32) -> Result<Range<u64>, LogError> {
        let held = self.0.there()?.held(topic, partition)?;
        Ok(held.start.max(self.0.floor.load(Ordering::Relaxed)).min(held.end)..held.end)
    }
    fn appender(&self, _: &str) -> Result<Box<dyn Appender>, LogError> {
        panic!("a bridge writes nothing")
    }
    fn reader(&self, topic: &str, partition: u32, from: u64) -> Result<Box<dyn Reader>, LogError> {
        let inner = self.0.there()?.reader(topic, partition, from)?;
        Ok(Box::new(ForeignReader { inner, foreign: Arc::clone(&self.0), topic: topic.into(), partition }))
    }
    fn join(&self, _: &str, _: &str) -> Result<Box<dyn Member>, LogError> {
        panic!("a bridge joins no group")
    }
}

struct ForeignReader {
    inner: Box<dyn Reader>,
    foreign: Arc<Foreign>,
    topic: String,
    partition: u32,
}

impl Reader for ForeignReader {
    fn read(&mut self, bytes_max: usize, wait: Duration) -> Result<Vec<Stored>, LogError> {
        self.foreign.there()?;
        let held = Elsewhere(Arc::clone(&self.foreign)).held(&self.topic, self.partition)?;
        let wanted = self.inner.position();
        if !(held.start..=held.end).contains(&wanted) {
            return Err(LogError::OffsetGone {
                topic: self.topic.clone(),
                partition: self.partition,
                wanted,
                held,
            });
        }
        let mut records = self.inner.read(bytes_max, wait)?;
        let holes = self.foreign.holes;
        records.retain(|stored| holes == 0 || stored.offset % holes != 0);
        Ok(records)
    }

    fn position(&self) -> u64 {
        self.inner.position()
    }
}
