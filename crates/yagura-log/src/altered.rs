//! A log that behaves otherwise where a test wants it to: what is not altered is the log's own.

use std::ops::Range;
use std::sync::Arc;
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
