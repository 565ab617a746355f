//! Appending: one idempotent producer, whose delivery reports are counted.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{DeliveryResult, Header, OwnedHeaders};
use rdkafka::producer::{BaseRecord, NoCustomPartitioner, ProducerContext, ThreadedProducer};
use yagura_log::{Appender, Lease, LogError, Record, partition_of};

use crate::{HEADER, KafkaOptions, Notes, client};

/// How long to wait for room in the client's queue before looking again.
const ROOM: Duration = Duration::from_millis(100);

/// Appends to a topic.
pub(crate) struct KafkaAppender {
    producer: ThreadedProducer<Reports>,
    reports: Reports,
    topic: String,
    brokers: String,
    partitions: u32,
    record_bytes_max: usize,
    patience: Duration,
    lease: Lease,
}

/// Shared with the client's thread.
#[derive(Clone, Default)]
struct Reports {
    count: Arc<(Mutex<Count>, Condvar)>,
    notes: Notes,
}

#[derive(Default)]
struct Count {
    /// Handed over and not reported yet.
    open: usize,
    /// The first error since the last flush.
    error: Option<KafkaError>,
}

impl KafkaAppender {
    pub fn new(
        options: &KafkaOptions,
        config: &ClientConfig,
        topic: &str,
        partitions: u32,
        lease: &Lease,
    ) -> Result<Self, LogError> {
        let mut config = config.clone();
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("message.timeout.ms", "0")
            .set("compression.type", &options.compression)
            // Every flush waits for this long; records are batches already.
            .set("linger.ms", "1")
            .set("batch.size", "1048576")
            .set("queue.buffering.max.kbytes", (options.buffer_bytes >> 10).max(1).to_string())
            .set("queue.buffering.max.messages", "1000000");
        options.apply_settings(&mut config);
        if let Some(length) = lease.length() {
            // The client looks for what waited too long before it sends anything, also after the
            // whole process stood still.
            config.set("message.timeout.ms", length.as_millis().max(1).to_string());
        }
        let reports = Reports::default();
        let producer = config
            .create_with_context(reports.clone())
            .map_err(|error| client("configuring the Kafka producer", error))?;
        Ok(KafkaAppender {
            producer,
            reports,
            topic: topic.to_owned(),
            brokers: options.brokers.clone(),
            partitions,
            record_bytes_max: options.record_bytes_max,
            patience: Duration::from_secs(options.flush_seconds),
            lease: lease.clone(),
        })
    }

    fn away(&self, open: usize) -> LogError {
        let cause = self.reports.notes.last().unwrap_or_else(|| "no answer".to_owned());
        LogError::Unreachable {
            brokers: self.brokers.clone(),
            cause: format!("{cause} ({open} records wait)"),
        }
    }
}

impl Appender for KafkaAppender {
    fn append(&mut self, record: Record) -> Result<(), LogError> {
        let (size, limit) = (record.size(), self.record_bytes_max);
        if size > limit {
            return Err(LogError::TooLarge { size, limit });
        }
        self.lease.check(&format_args!("appending to {}", self.topic))?;
        let mut message = BaseRecord::<[u8], [u8]>::to(&self.topic)
            .key(&record.key)
            .payload(&record.value)
            .partition(partition_of(&record.key, self.partitions) as i32);
        if !record.header.is_empty() {
            let header = Header { key: HEADER, value: Some(&record.header[..]) };
            message = message.headers(OwnedHeaders::new_with_capacity(1).insert(header));
        }
        let deadline = crate::Deadline::after(self.patience);
        self.reports.count().open += 1;
        loop {
            let (error, back) = match self.producer.send(message) {
                Ok(()) => return Ok(()),
                Err(refused) => refused,
            };
            let mut count = self.reports.count();
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                count.open -= 1;
                return Err(client(format!("appending to {}", self.topic), error));
            }
            if deadline.left().is_zero() {
                count.open -= 1;
                let open = count.open;
                drop(count);
                return Err(self.away(open));
            }
            message = back;
            drop(self.reports.count.1.wait_timeout(count, ROOM));
        }
    }

    fn flush(&mut self) -> Result<(), LogError> {
        let count = self.reports.count();
        let waited = self.reports.count.1.wait_timeout_while(count, self.patience, |count| count.open > 0);
        let mut count = waited.unwrap_or_else(PoisonError::into_inner).0;
        let (open, error) = (count.open, count.error.take());
        drop(count);
        match error {
            Some(error) => Err(client(format!("appending to {}", self.topic), error)),
            None if open > 0 => Err(self.away(open)),
            None => Ok(()),
        }
    }
}

impl Reports {
    fn count(&self) -> MutexGuard<'_, Count> {
        self.count.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl ClientContext for Reports {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.notes.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.notes.error(error, reason);
    }
}

impl ProducerContext<NoCustomPartitioner> for Reports {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut count = self.count();
        count.open -= 1;
        if let Err((error, _)) = result {
            count.error.get_or_insert_with(|| error.clone());
        }
        self.count.1.notify_all();
    }
}
