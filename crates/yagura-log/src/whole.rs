//! All of a topic: what it holds, and then what has come since.

use std::time::Duration;

use crate::{Log, LogError, Reader, Stored};

/// How long records that a partition is said to hold may take to come.
const PATIENCE: Duration = Duration::from_secs(10);

/// The most bytes that are read at a time.
const BYTES: usize = 1 << 20;

/// A topic that is read from its beginning, as far as it goes each time.
pub struct Whole {
    topic: String,
    readers: Vec<Box<dyn Reader>>,
}

impl Whole {
    /// Of the topic of that name; it need not be there yet.
    pub fn of(topic: &str) -> Self {
        Whole { topic: topic.to_string(), readers: Vec::new() }
    }

    /// Hands over all that the topic holds and that was not handed over before, partition by partition; nothing of a
    /// topic that is not there.
    pub fn read(&mut self, log: &dyn Log, mut with: impl FnMut(u32, Stored)) -> Result<(), LogError> {
        if self.readers.is_empty() {
            let partitions = match log.partitions(&self.topic) {
                Err(LogError::NoTopic(_)) => 0,
                known => known?,
            };
            let begin =
                |partition| log.reader(&self.topic, partition, log.held(&self.topic, partition)?.start);
            self.readers = (0..partitions).map(begin).collect::<Result<_, LogError>>()?;
        }
        for (partition, reader) in (0..).zip(&mut self.readers) {
            let end = log.held(&self.topic, partition)?.end;
            while reader.position() < end {
                let records = reader.read(BYTES, PATIENCE)?;
                if records.is_empty() {
                    return Err(LogError::silent(&self.topic, partition));
                }
                records.into_iter().for_each(|stored| with(partition, stored));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::Options;
    use crate::{Record, memory};

    #[test]
    fn what_has_come_since_is_handed_over_once() {
        let log = memory::open(Options::default()).expect("a log");
        let mut whole = Whole::of("t");
        let read = |whole: &mut Whole| {
            let mut values = Vec::new();
            whole.read(&log, |_, stored| values.push(stored.record.value[0])).expect("read");
            values.sort();
            values
        };
        assert_eq!(read(&mut whole).len(), 0, "there is no topic yet");
        log.ensure_topic("t", 3).expect("a topic");
        let append = |values: std::ops::Range<u8>| {
            let mut appender = log.appender("t").expect("an appender");
            for value in values {
                let (key, value) = (vec![value].into(), vec![value].into());
                appender.append(Record { key, value, ..Record::default() }).expect("room");
            }
            appender.flush().expect("durable");
        };
        append(0..9);
        assert_eq!(read(&mut whole), (0..9).collect::<Vec<u8>>());
        append(9..11);
        assert_eq!(read(&mut whole), [9, 10]);
        assert_eq!(read(&mut whole).len(), 0);
    }
}
