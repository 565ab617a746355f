//! The spool: what live sources bring is on this machine's disk before it is in a log elsewhere.
//!
//! A collector writes into the spool as into the log, and what is durable there may be acknowledged to whoever
//! sent it. One thread moves records on, in their order, and gives their room back once the log has acknowledged
//! them. While the log is away the spool grows up to its limit; then it refuses, which pushes the sources back:
//! nothing in it is ever given up. After a crash some records are moved twice, under the same numbers, and shards
//! drop them.

use std::collections::VecDeque;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use yagura_event::Envelope;
use yagura_log::embedded::{Embedded, Options};
use yagura_log::{Appender, Log, LogError, Member, Pauses, Reader, Record, Stored};

/// The limit of a spool without another.
pub const BYTES: u64 = 4 << 30;
/// The least limit: several segments.
const BYTES_MIN: u64 = 4 << 20;
/// What is moved with one acknowledgement of the log, about.
const STEP_BYTES: usize = 1 << 20;
/// How long one look for records waits.
const LOOK: Duration = Duration::from_millis(200);
/// The longest pause while the log takes nothing.
const PAUSE_MAX: Duration = Duration::from_secs(10);
/// Room is given back this long after the log has acknowledged: the notes of how far sources were read must have
/// been written since.
const KEPT: Duration = Duration::from_secs(10);

/// A spool before a log's topic.
pub struct Spool {
    folder: PathBuf,
    topic: String,
    bytes_max: u64,
    held: Arc<Embedded>,
    /// What others may see.
    pub progress: SpoolProgress,
}

/// What a spool has done.
#[derive(Default)]
pub struct SpoolProgress {
    /// The record that is moved next.
    next: AtomicU64,
    /// Records that the log has acknowledged since the start.
    pub moved: AtomicU64,
    /// Times that the log refused.
    pub refused: AtomicU64,
    /// When the oldest record that waits was observed, in microseconds of UTC; 0 when none waits.
    pub oldest: AtomicU64,
}

/// How far records were moved on.
#[derive(Default, Serialize, Deserialize)]
struct Note {
    next: u64,
}

impl Spool {
    /// Opens the spool in a folder; `bytes_max` is the most that it takes on disk.
    pub fn open(folder: &Path, topic: &str, bytes_max: u64) -> Result<Self, LogError> {
        let bytes_max = bytes_max.max(BYTES_MIN);
        let options =
            Options { segment_bytes: (bytes_max / 16).clamp(1 << 18, 64 << 20), ..Options::default() };
        let held = Embedded::open(folder, options)?;
        held.ensure_topic(topic, 1)?;
        let note: Note = std::fs::read(folder.join("moved"))
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let range = held.held(topic, 0)?;
        let progress = SpoolProgress::default();
        progress.next.store(note.next.clamp(range.start, range.end), Ordering::Release);
        Ok(Spool {
            folder: folder.to_path_buf(),
            topic: topic.into(),
            bytes_max,
            held: Arc::new(held),
            progress,
        })
    }

    /// Bytes that it takes on disk.
    pub fn bytes(&self) -> u64 {
        self.held.size(&self.topic).unwrap_or(0)
    }

    /// The most that it takes.
    pub fn bytes_max(&self) -> u64 {
        self.bytes_max
    }

    /// Records that wait to be moved.
    pub fn waiting(&self) -> u64 {
        let end = self.held.held(&self.topic, 0).map_or(0, |held| held.end);
        end.saturating_sub(self.progress.next.load(Ordering::Acquire))
    }

    /// Moves records into `log` until `stop` is set and none waits, or the log takes none.
    pub fn forward(&self, log: &dyn Log, stop: &AtomicBool) -> Result<(), LogError> {
        let mut reader = self.held.reader(&self.topic, 0, self.progress.next.load(Ordering::Acquire))?;
        let mut moving = Moving { spool: self, log, appender: None };
        let mut acknowledged: VecDeque<(Instant, u64)> = VecDeque::new();
        loop {
            // Before the look: whatever came before the stop is found by it.
            let last = stop.load(Ordering::Acquire);
            let records = reader.read(STEP_BYTES, if last { Duration::ZERO } else { LOOK })?;
            self.note_oldest(&records);
            if records.is_empty() && last {
                return Ok(());
            }
            if !records.is_empty() {
                if !moving.through(&records, stop)? {
                    return Ok(());
                }
                self.moved(reader.position(), records.len());
                acknowledged.push_back((now(), reader.position()));
            }
            while let Some(&(since, before)) = acknowledged.front()
                && now().duration_since(since) >= KEPT
            {
                self.held.release(&self.topic, 0, before)?;
                acknowledged.pop_front();
            }
        }
    }

    fn note_oldest(&self, records: &[Stored]) {
        let observed =
            |stored: &Stored| Envelope::from_header(&stored.record.header).ok().map(|e| e.observed.0);
        let oldest = records.first().and_then(observed).unwrap_or(0);
        self.progress.oldest.store(oldest.max(0) as u64, Ordering::Release);
    }

    /// Everything before `next` is in the log.
    fn moved(&self, next: u64, records: usize) {
        self.progress.next.store(next, Ordering::Release);
        self.progress.moved.fetch_add(records as u64, Ordering::Relaxed);
        let (fresh, file) = (self.folder.join("moved.new"), self.folder.join("moved"));
        let written = serde_json::to_vec(&Note { next })
            .map_err(std::io::Error::other)
            .and_then(|bytes| std::fs::write(&fresh, bytes))
            .and_then(|()| std::fs::rename(&fresh, &file));
        if let Err(cause) = written {
            tracing::warn!(file = %file.display(), %cause, "how far the spool was moved cannot be noted; a restart moves more of it again");
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "how long room is kept changes no result")]
fn now() -> Instant {
    Instant::now()
}

/// The log's end of moving.
struct Moving<'a> {
    spool: &'a Spool,
    log: &'a dyn Log,
    /// None after it refused.
    appender: Option<Box<dyn Appender>>,
}

impl Moving<'_> {
    /// Returns when all are durable in the log; `false` when it does not take them and everything is to stop.
    fn through(&mut self, records: &[Stored], stop: &AtomicBool) -> Result<bool, LogError> {
        let mut pauses = Pauses::up_to(PAUSE_MAX);
        loop {
            match self.attempt(records) {
                Ok(()) => return Ok(true),
                Err(cause) if cause.retriable() => {
                    self.spool.progress.refused.fetch_add(1, Ordering::Relaxed);
                    self.appender = None;
                    if stop.load(Ordering::Acquire) {
                        tracing::warn!(%cause, waiting = self.spool.waiting(), "the log takes no records; the spool keeps them for the next start");
                        return Ok(false);
                    }
                    tracing::warn!(%cause, "the log takes no records; the spool keeps them");
                    pauses.wait(stop);
                }
                Err(cause) => return Err(cause),
            }
        }
    }

    fn attempt(&mut self, records: &[Stored]) -> Result<(), LogError> {
        let appender = match &mut self.appender {
            Some(appender) => appender,
            none => none.insert(self.log.appender(&self.spool.topic)?),
        };
        for stored in records {
            appender.append(stored.record.clone())?;
        }
        appender.flush()
    }
}

/// A collector sees the spool as its log.
impl Log for Spool {
    fn describe(&self) -> String {
        format!("the spool in {}", self.folder.display())
    }

    fn ensure_topic(&self, topic: &str, partitions: u32) -> Result<u32, LogError> {
        self.held.ensure_topic(topic, partitions)
    }

    fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.held.partitions(topic)
    }

    fn held(&self, topic: &str, partition: u32) -> Result<Range<u64>, LogError> {
        self.held.held(topic, partition)
    }

    fn appender(&self, topic: &str) -> Result<Box<dyn Appender>, LogError> {
        Ok(Box::new(Limited {
            to: self.held.appender(topic)?,
            held: Arc::clone(&self.held),
            topic: topic.into(),
            folder: self.folder.display().to_string(),
            limit: self.bytes_max,
            begun: false,
        }))
    }

    fn reader(&self, topic: &str, partition: u32, from: u64) -> Result<Box<dyn Reader>, LogError> {
        self.held.reader(topic, partition, from)
    }

    fn join(&self, group: &str, topic: &str) -> Result<Box<dyn Member>, LogError> {
        self.held.join(group, topic)
    }
}

/// Appends within the spool's limit, which is looked at before the first record of what is flushed together: all
/// of it is taken or nothing, so that trying again repeats nothing.
struct Limited {
    to: Box<dyn Appender>,
    held: Arc<Embedded>,
    topic: String,
    folder: String,
    limit: u64,
    /// Records were handed over since the last flush.
    begun: bool,
}

impl Appender for Limited {
    fn append(&mut self, record: Record) -> Result<(), LogError> {
        if !self.begun && self.held.size(&self.topic)? >= self.limit {
            return Err(LogError::SpoolFull { folder: self.folder.clone(), limit: self.limit });
        }
        self.begun = true;
        self.to.append(record)
    }

    fn flush(&mut self) -> Result<(), LogError> {
        self.begun = false;
        self.to.flush()
    }
}

#[cfg(test)]
mod tests;
