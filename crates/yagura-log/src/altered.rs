//! A log that behaves otherwise where a test wants it to: what is not altered is the log's own.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::{Appender, Lease, Log, LogError, Member, Polled, Reader, Record};

/// What becomes of an appender to a topic.
pub type Appending = dyn Fn(&str, Box<dyn Appender>) -> Result<Box<dyn Appender>, LogError> + Send + Sync;
/// What becomes of a member of a group.
pub type Joining = dyn Fn(&str, Box<dyn Member>) -> Result<Box<dyn Member>, LogError> + Send + Sync;
/// What an append or a flush does first.
pub type Before = dyn FnMut() -> Result<(), LogError> + Send;

/// A log with alterations.
pub struct Altered {
    log: Arc<dyn Log>,
    appending: Box<Appending>,
    joining: Box<Joining>,
}

impl Altered {
    /// None yet.
    pub fn of(log: Arc<dyn Log>) -> Altered {
        Altered {
            log,
            appending: Box::new(|_, appender| Ok(appender)),
            joining: Box::new(|_, member| Ok(member)),
        }
    }

    /// Alters appenders.
    pub fn appending(
        self,
        by: impl Fn(&str, Box<dyn Appender>) -> Result<Box<dyn Appender>, LogError> + Send + Sync + 'static,
    ) -> Altered {
        Altered { appending: Box::new(by), ..self }
    }

    /// Alters members.
    pub fn joining(
        self,
        by: impl Fn(&str, Box<dyn Member>) -> Result<Box<dyn Member>, LogError> + Send + Sync + 'static,
    ) -> Altered {
        Altered { joining: Box::new(by), ..self }
    }
}

impl Log for Altered {
    fn describe(&self) -> String {
        self.log.describe()
    }
    fn ensure_topic(&self, topic: &str, partitions: u32) -> Result<u32, LogError> {
        self.log.ensure_topic(topic, partitions)
    }
    fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.log.partitions(topic)
    }
    fn held(&self, topic: &str, partition: u32) -> Result<Range<u64>, LogError> {
        self.log.held(topic, partition)
    }
    fn appender(&self, topic: &str) -> Result<Box<dyn Appender>, LogError> {
        (self.appending)(topic, self.log.appender(topic)?)
    }
    fn reader(&self, topic: &str, partition: u32, from: u64) -> Result<Box<dyn Reader>, LogError> {
        self.log.reader(topic, partition, from)
    }
    fn join(&self, group: &str, topic: &str) -> Result<Box<dyn Member>, LogError> {
        (self.joining)(group, self.log.join(group, topic)?)
    }
}

/// An appender that does something before it flushes.
pub struct AlteredAppender {
    /// The log's own.
    pub appender: Box<dyn Appender>,
    /// It.
    pub before_flush: Box<Before>,
}

impl Appender for AlteredAppender {
    fn append(&mut self, record: Record) -> Result<(), LogError> {
        self.appender.append(record)
    }
    fn flush(&mut self) -> Result<(), LogError> {
        (self.before_flush)()?;
        self.appender.flush()
    }
}

/// A member that is looked at.
pub struct AlteredMember {
    /// The log's own.
    pub member: Box<dyn Member>,
    /// Sees what it is told.
    pub polled: Box<dyn FnMut(&Polled) + Send>,
    /// Sees what it commits, before it does.
    pub commits: Box<dyn FnMut(u32, u64) + Send>,
    /// Its lease; the log's own without one.
    pub lease: Option<Lease>,
}

impl AlteredMember {
    /// One like the log's own.
    pub fn of(member: Box<dyn Member>) -> AlteredMember {
        AlteredMember { member, polled: Box::new(|_| ()), commits: Box::new(|_, _| ()), lease: None }
    }
}

impl Member for AlteredMember {
    fn poll(&mut self, wait: Duration) -> Result<Polled, LogError> {
        let polled = self.member.poll(wait)?;
        (self.polled)(&polled);
        Ok(polled)
    }
    fn seek(&mut self, partition: u32, offset: u64) -> Result<(), LogError> {
        self.member.seek(partition, offset)
    }
    fn commit(&mut self, partition: u32, next: u64) -> Result<(), LogError> {
        (self.commits)(partition, next);
        self.member.commit(partition, next)
    }
    fn committed(&self, partition: u32) -> Result<Option<u64>, LogError> {
        self.member.committed(partition)
    }
    fn pause(&mut self, partition: u32) -> Result<(), LogError> {
        self.member.pause(partition)
    }
    fn resume(&mut self, partition: u32) -> Result<(), LogError> {
        self.member.resume(partition)
    }
    fn lease(&self) -> Lease {
        self.lease.clone().unwrap_or_else(|| self.member.lease())
    }
}

/// What becomes of records that are handed to a [`moody`] log; they are taken unless it is told otherwise.
#[derive(Default)]
pub struct Mood(Mutex<State>);

#[derive(Default)]
struct State {
    refusing: Refusing,
    /// Records that are still taken before it fails for good.
    left: Option<u64>,
}

#[derive(Clone, Copy, Default, PartialEq)]
enum Refusing {
    #[default]
    No,
    Yes,
    /// So many flushes.
    Times(u32),
}

impl Mood {
    /// Refuses records as a full disk does, or takes them again.
    pub fn refuse(&self, refuse: bool) {
        self.state().refusing = if refuse { Refusing::Yes } else { Refusing::No };
    }

    /// Refuses so many flushes.
    pub fn refuse_times(&self, flushes: u32) {
        self.state().refusing = Refusing::Times(flushes);
    }

    /// Fails for good after so many records, as for a process that is killed: what was handed over before is durable.
    pub fn die_after(&self, records: u64) {
        self.state().left = Some(records);
    }

    /// Takes records again, whatever it did.
    pub fn recover(&self) {
        *self.state() = State::default();
    }

    /// Whether it has failed for good.
    pub fn is_dead(&self) -> bool {
        self.state().left == Some(0)
    }

    /// How the next record, or what was handed over, is refused.
    fn refusal(&self, flush: bool) -> Result<(), LogError> {
        let mut state = self.state();
        match (&mut state.refusing, flush) {
            (Refusing::Yes, _) => {}
            (Refusing::Times(left), true) if *left > 0 => *left -= 1,
            _ => return Ok(()),
        }
        Err(LogError::Full { folder: "memory".into() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A log that does with records what its mood says.
pub fn moody(log: Arc<dyn Log>, mood: &Arc<Mood>) -> Altered {
    let mood = Arc::clone(mood);
    Altered::of(log).appending(move |_, appender| Ok(Box::new(Moody { appender, mood: Arc::clone(&mood) })))
}

struct Moody {
    appender: Box<dyn Appender>,
    mood: Arc<Mood>,
}

fn dead() -> LogError {
    LogError::Io { what: "writing".into(), cause: std::io::ErrorKind::BrokenPipe.into() }
}

impl Appender for Moody {
    fn append(&mut self, record: Record) -> Result<(), LogError> {
        self.mood.refusal(false)?;
        if self.mood.is_dead() {
            self.appender.flush()?;
            return Err(dead());
        }
        if let Some(left) = &mut self.mood.state().left {
            *left -= 1;
        }
        self.appender.append(record)
    }

    fn flush(&mut self) -> Result<(), LogError> {
        self.mood.refusal(true)?;
        self.appender.flush()?;
        if self.mood.is_dead() { Err(dead()) } else { Ok(()) }
    }
}
