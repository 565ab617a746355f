//! A log that need not be there yet.

use std::ops::Range;
use std::sync::{Mutex, OnceLock, PoisonError};

use crate::{Appender, Lease, Log, LogError, Member, Reader};

type Connect = dyn Fn() -> Result<Box<dyn Log>, LogError> + Send + Sync;

/// A log that is connected to when it is first needed: whoever can wait for it starts without it.
///
/// Until then everything answers as the attempt to connect did, which is worth trying again.
pub struct Eventual {
    described: String,
    connect: Box<Connect>,
    log: OnceLock<Box<dyn Log>>,
    connecting: Mutex<()>,
}

impl Eventual {
    /// `connect` is tried whenever something is asked, until it succeeds.
    pub fn new(
        described: impl Into<String>,
        connect: impl Fn() -> Result<Box<dyn Log>, LogError> + Send + Sync + 'static,
    ) -> Self {
        let connect = Box::new(connect);
        Eventual { described: described.into(), connect, log: OnceLock::new(), connecting: Mutex::new(()) }
    }

    fn log(&self) -> Result<&dyn Log, LogError> {
        if let Some(log) = self.log.get() {
            return Ok(log.as_ref());
        }
        let _one = self.connecting.lock().unwrap_or_else(PoisonError::into_inner);
        match self.log.get() {
            Some(log) => Ok(log.as_ref()),
            None => {
                let log = (self.connect)()?;
                Ok(self.log.get_or_init(|| log).as_ref())
            }
        }
    }
}

impl Log for Eventual {
    fn describe(&self) -> String {
        self.log.get().map_or_else(|| self.described.clone(), |log| log.describe())
    }
    fn ensure_topic(&self, topic: &str, partitions: u32) -> Result<u32, LogError> {
        self.log()?.ensure_topic(topic, partitions)
    }
    fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        self.log()?.partitions(topic)
    }
    fn held(&self, topic: &str, partition: u32) -> Result<Range<u64>, LogError> {
        self.log()?.held(topic, partition)
    }
    fn appender(&self, topic: &str) -> Result<Box<dyn Appender>, LogError> {
        self.log()?.appender(topic)
    }
    fn appender_under(&self, topic: &str, lease: &Lease) -> Result<Box<dyn Appender>, LogError> {
        self.log()?.appender_under(topic, lease)
    }
    fn reader(&self, topic: &str, partition: u32, from: u64) -> Result<Box<dyn Reader>, LogError> {
        self.log()?.reader(topic, partition, from)
    }
    fn join(&self, group: &str, topic: &str) -> Result<Box<dyn Member>, LogError> {
        self.log()?.join(group, topic)
    }
}
