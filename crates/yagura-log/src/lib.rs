//! The log trait, and the logs that need nothing else: [`embedded`] and [`memory`].
//!
//! A topic has partitions; a partition is a totally ordered sequence of records with contiguous
//! offsets from 0; a key always goes to the same partition of a given number of partitions. The
//! traits block: they are called from detection's own threads, and from tokio through
//! `spawn_blocking`.

#[cfg(any(test, feature = "contract"))]
pub mod altered;
#[cfg(any(test, feature = "contract"))]
pub mod contract;
pub mod embedded;
mod eventual;
mod lease;
pub mod memory;
mod pauses;
mod whole;

pub use eventual::Eventual;
pub use lease::Lease;
pub use pauses::Pauses;
pub use whole::Whole;

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;

/// One record as it is appended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// The cell. Records of one key keep their order.
    pub key: Bytes,
    /// The envelope: in Kafka the header named `yagura`.
    pub header: Bytes,
    /// The rows.
    pub value: Bytes,
}

impl Record {
    /// Bytes that it takes, without the log's own framing.
    pub fn size(&self) -> usize {
        self.key.len() + self.header.len() + self.value.len()
    }
}

/// One record as it is read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its place in the partition.
    pub offset: u64,
    /// The record.
    pub record: Record,
}

/// What can go wrong with a log.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// Another process has the log open for writing.
    #[error(
        "the log in {folder} is in use by another process (process {pid}); stop it, or give this one another folder with --data"
    )]
    Locked {
        /// The log's folder.
        folder: String,
        /// Who holds it, if known.
        pid: String,
    },
    /// No room left. Nothing that was acknowledged is lost.
    #[error(
        "no space left in {folder}: nothing acknowledged is lost; free some space or lower `retention`, and appending goes on"
    )]
    Full {
        /// Where.
        folder: String,
    },
    /// A spool holds as much as it may.
    #[error(
        "the spool in {folder} holds its {limit} bytes: nothing acknowledged is lost; sources are pushed back until the log takes records again"
    )]
    SpoolFull {
        /// Where.
        folder: String,
        /// How much it may hold.
        limit: u64,
    },
    /// The broker does not answer.
    #[error(
        "no Kafka broker answers at {brokers}: {cause}; check the address, the network policy and that the broker runs"
    )]
    Unreachable {
        /// The bootstrap list.
        brokers: String,
        /// What the client said.
        cause: String,
    },
    /// The wanted offset is no longer there: what lies between is blind time.
    #[error("offset {wanted} of {topic}/{partition} is gone: the log now holds {held:?}")]
    OffsetGone {
        /// Topic.
        topic: String,
        /// Partition.
        partition: u32,
        /// What was asked for.
        wanted: u64,
        /// What there is.
        held: Range<u64>,
    },
    /// A topic that does not exist.
    #[error("there is no topic {0}")]
    NoTopic(String),
    /// A record larger than the log takes.
    #[error("a record of {size} bytes is over the log's limit of {limit}")]
    TooLarge {
        /// Its size.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// Stored bytes that are not what was written, before the log's end.
    #[error("{file} is damaged at byte {at}: {what}")]
    Damaged {
        /// File.
        file: String,
        /// Where.
        at: u64,
        /// How.
        what: String,
    },
    /// The operating system refused.
    #[error("{what}: {cause}")]
    Io {
        /// What was tried, with the path.
        what: String,
        /// Why not.
        cause: std::io::Error,
    },
    /// The Kafka client refused.
    #[error("{what}: {cause}")]
    Client {
        /// What was tried.
        what: String,
        /// Why not.
        cause: String,
        /// Whether trying again may help.
        retry: bool,
    },
}

impl LogError {
    /// A partition holds records that did not come in time.
    pub fn silent(topic: &str, partition: u32) -> Self {
        let what = format!("reading {topic}/{partition}");
        LogError::Client { what, cause: "what it holds does not come".to_owned(), retry: true }
    }

    /// Whether trying again later may help.
    pub fn retriable(&self) -> bool {
        match self {
            LogError::Full { .. } | LogError::SpoolFull { .. } | LogError::Unreachable { .. } => true,
            LogError::Client { retry, .. } => *retry,
            _ => false,
        }
    }
}

/// A log: topics, partitions, records.
pub trait Log: Send + Sync {
    /// Where it is, for people.
    fn describe(&self) -> String;

    /// Creates the topic unless it exists; answers its number of partitions, which an existing
    /// topic keeps.
    fn ensure_topic(&self, topic: &str, partitions: u32) -> Result<u32, LogError>;

    /// How many partitions the topic has.
    fn partitions(&self, topic: &str) -> Result<u32, LogError>;

    /// The offsets that the partition holds: first retained, and the one that comes next.
    fn held(&self, topic: &str, partition: u32) -> Result<Range<u64>, LogError>;

    /// Appends to a topic.
    fn appender(&self, topic: &str) -> Result<Box<dyn Appender>, LogError>;

    /// Appends for as long as a member's lease lasts: after that `append` refuses, and what waits to
    /// be sent is not sent any more.
    fn appender_under(&self, topic: &str, _lease: &Lease) -> Result<Box<dyn Appender>, LogError> {
        self.appender(topic)
    }

    /// Reads one partition from an offset on, outside any group.
    fn reader(&self, topic: &str, partition: u32, from: u64) -> Result<Box<dyn Reader>, LogError>;

    /// Joins a group of consumers among which a topic's partitions are shared.
    fn join(&self, group: &str, topic: &str) -> Result<Box<dyn Member>, LogError>;
}

/// Appends records. Bounded: `append` blocks while too much is on its way.
pub trait Appender: Send {
    /// Hands a record over. It is acknowledged only when a later [`Appender::flush`] returns `Ok`.
    fn append(&mut self, record: Record) -> Result<(), LogError>;

    /// Returns when everything handed over is durable. After an error, what was handed over
    /// since the last success may or may not be in the log: hand it over again (rows carry
    /// numbers, so that repeats fall out).
    fn flush(&mut self) -> Result<(), LogError>;
}

/// Reads one partition.
pub trait Reader: Send {
    /// The next records, at least one and about `bytes_max` in all, waiting up to `wait` for the
    /// first; empty when there was none in time.
    fn read(&mut self, bytes_max: usize, wait: Duration) -> Result<Vec<Stored>, LogError>;

    /// The offset that the next read begins at.
    fn position(&self) -> u64;
}

/// What a group member is told.
#[derive(Debug)]
pub enum Polled {
    /// These partitions are now this member's. Reading begins at the group's committed offset
    /// (0 without one) unless [`Member::seek`] is called before the next poll.
    Assigned(Vec<u32>),
    /// These partitions go to somebody else as soon as the next poll is called: until then, and
    /// only until then, commits for them are accepted.
    Revoked(Vec<u32>),
    /// Records of one partition, in order.
    Records(u32, Vec<Stored>),
    /// Nothing in time.
    Idle,
}

/// One consumer of a group.
pub trait Member: Send {
    /// The next thing that happens, waiting up to `wait`.
    fn poll(&mut self, wait: Duration) -> Result<Polled, LogError>;

    /// Goes on reading an assigned partition from another offset.
    fn seek(&mut self, partition: u32, offset: u64) -> Result<(), LogError>;

    /// Notes that everything before `next` is done with. Advice for the next owner.
    fn commit(&mut self, partition: u32, next: u64) -> Result<(), LogError>;

    /// The group's committed offset.
    fn committed(&self, partition: u32) -> Result<Option<u64>, LogError>;

    /// Stops fetching a partition (back-pressure).
    fn pause(&mut self, partition: u32) -> Result<(), LogError>;

    /// Goes on fetching it.
    fn resume(&mut self, partition: u32) -> Result<(), LogError>;

    /// Its right to act for its partitions; see [`Log::appender_under`].
    fn lease(&self) -> Lease {
        Lease::default()
    }
}

/// The partition of a key: Kafka's murmur2, so that every producer agrees.
pub fn partition_of(key: &[u8], partitions: u32) -> u32 {
    (murmur2(key) & 0x7fff_ffff) % partitions.max(1)
}

/// MurmurHash2 with Kafka's seed (`org.apache.kafka.common.utils.Utils.murmur2`).
fn murmur2(data: &[u8]) -> u32 {
    const M: u32 = 0x5bd1_e995;
    let mut hash = 0x9747_b28c ^ data.len() as u32;
    let mut chunks = data.chunks_exact(4);
    for chunk in &mut chunks {
        let mut k = u32::from_le_bytes([chunk[0], chunk[1], chunk[2], chunk[3]]);
        k = k.wrapping_mul(M);
        k ^= k >> 24;
        k = k.wrapping_mul(M);
        hash = hash.wrapping_mul(M) ^ k;
    }
    let rest = chunks.remainder();
    if !rest.is_empty() {
        for (index, byte) in rest.iter().enumerate() {
            hash ^= u32::from(*byte) << (8 * index);
        }
        hash = hash.wrapping_mul(M);
    }
    hash ^= hash >> 13;
    hash = hash.wrapping_mul(M);
    hash ^ (hash >> 15)
}

#[cfg(test)]
mod tests {
    use super::murmur2;

    #[test]
    fn murmur2_agrees_with_kafkas_own_test_vectors() {
        // org.apache.kafka.common.utils.UtilsTest.testMurmur2
        for (text, hash) in [
            ("21", -973932308_i32),
            ("foobar", -790332482),
            ("a-little-bit-long-string", -985981536),
            ("a-little-bit-longer-string", -1486304829),
            ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
            ("abc", 479470107),
        ] {
            assert_eq!(murmur2(text.as_bytes()) as i32, hash, "{text}");
        }
    }
}
