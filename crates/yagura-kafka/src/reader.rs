//! Reading one partition outside any group.

use std::time::Duration;

use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::{Offset, TopicPartitionList};
use yagura_log::{LogError, Reader, Stored};

use crate::{Deadline, Notes, Trouble, client, held, stored, trouble};

/// Reads one partition.
pub(crate) struct KafkaReader {
    consumer: BaseConsumer<Notes>,
    topic: String,
    partition: u32,
    position: u64,
}

impl KafkaReader {
    pub fn new(config: &ClientConfig, topic: &str, partition: u32, from: u64) -> Result<Self, LogError> {
        let what = || format!("reading {topic}/{partition}");
        let consumer: BaseConsumer<Notes> =
            config.create_with_context(Notes::default()).map_err(|error| client(what(), error))?;
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, partition as i32, Offset::Offset(from as i64))
            .map_err(|error| client(what(), error))?;
        consumer.assign(&list).map_err(|error| client(what(), error))?;
        Ok(KafkaReader { consumer, topic: topic.to_owned(), partition, position: from })
    }
}

impl Reader for KafkaReader {
    fn read(&mut self, bytes_max: usize, wait: Duration) -> Result<Vec<Stored>, LogError> {
        let deadline = Deadline::after(wait);
        let mut records: Vec<Stored> = Vec::new();
        let mut bytes = 0;
        while records.is_empty() || bytes < bytes_max {
            let left = if records.is_empty() { deadline.left() } else { Duration::ZERO };
            match self.consumer.poll(left) {
                Some(Ok(message)) => {
                    let record = stored(&message);
                    bytes += record.record.size();
                    self.position = record.offset + 1;
                    records.push(record);
                }
                // What has been read is handed out first; the error comes again.
                Some(Err(error)) => {
                    match trouble(format!("reading {}/{}", self.topic, self.partition), error) {
                        Trouble::Gone => {
                            return Err(LogError::OffsetGone {
                                topic: self.topic.clone(),
                                partition: self.partition,
                                wanted: self.position,
                                held: held(&self.consumer, &self.topic, self.partition)?,
                            });
                        }
                        Trouble::Passing => {}
                        Trouble::Lasting(error) => return Err(error),
                    }
                }
                None if !records.is_empty() || deadline.left().is_zero() => break,
                None => {}
            }
        }
        Ok(records)
    }

    fn position(&self) -> u64 {
        self.position
    }
}
