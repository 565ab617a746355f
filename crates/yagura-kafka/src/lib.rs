//! The log on Apache Kafka: the same trait as the embedded log's, for fabs that outgrow one
//! machine.
//!
//! A record's key and value are the message's, its header is the message header
//! [`HEADER`]. The partition is chosen by [`yagura_log::partition_of`], which agrees with Java's
//! default partitioner. Committed offsets are advice for lag monitors and for the next owner.
//!
//! librdkafka's own threads do the network, heartbeats and retries; a member's events are handled
//! in the call of [`yagura_log::Member::poll`], which has to come back within
//! `max.poll.interval.ms` (five minutes unless set otherwise).

mod appender;
mod member;
mod options;
mod reader;
#[cfg(all(target_os = "linux", target_env = "gnu", target_pointer_width = "64"))]
mod waits;

use std::collections::BTreeSet;
use std::future::Future;
use std::ops::Range;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;
use std::time::Duration;

use bytes::Bytes;
use rdkafka::ClientContext;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message as _};
use yagura_log::{Appender, Lease, Log, LogError, Member, Reader, Record, Stored};

pub use options::{KafkaOptions, Mechanism, Sasl, Security, Tls};

/// The message header that carries [`Record::header`].
pub const HEADER: &str = "yagura";

/// How long a broker may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// Topics on a Kafka cluster.
pub struct KafkaLog {
    options: Arc<KafkaOptions>,
    config: ClientConfig,
    /// Answers questions about topics and offsets.
    asking: Arc<BaseConsumer<Notes>>,
    admin: AdminClient<DefaultClientContext>,
    /// The names of the static members that there are.
    seats: Seats,
}

/// Groups and the names of their static members that are in use.
type Seats = Arc<Mutex<BTreeSet<(String, String)>>>;

impl KafkaLog {
    /// Connects; [`LogError::Unreachable`] after five seconds without a broker that answers.
    pub fn connect(options: KafkaOptions) -> Result<Self, LogError> {
        let config = options.client_config()?;
        let notes = Notes::default();
        let asking: BaseConsumer<Notes> = consumer_config(&options, &config, "yagura-asking")
            .create_with_context(notes.clone())
            .map_err(|error| client("configuring the Kafka client", error))?;
        if let Err(error) = asking.fetch_metadata(None, ANSWER) {
            while let Some(event) = asking.poll(Duration::ZERO) {
                if let Err(error) = event {
                    tracing::debug!(%error, "while connecting");
                }
            }
            let cause = notes.last().unwrap_or_else(|| error.to_string());
            return Err(LogError::Unreachable { brokers: options.brokers.clone(), cause });
        }
        let admin = config.create().map_err(|error| client("configuring the Kafka client", error))?;
        Ok(KafkaLog {
            options: Arc::new(options),
            config,
            asking: Arc::new(asking),
            admin,
            seats: Seats::default(),
        })
    }
}

impl Log for KafkaLog {
    fn describe(&self) -> String {
        format!("Kafka at {}", self.options.brokers)
    }

    fn ensure_topic(&self, topic: &str, partitions: u32) -> Result<u32, LogError> {
        match self.partitions(topic) {
            Err(LogError::NoTopic(_)) => {}
            known => return known,
        }
        let limit = (self.options.record_bytes_max + options::FRAMING).to_string();
        let mut fresh =
            NewTopic::new(topic, partitions as i32, TopicReplication::Fixed(self.options.replication));
        fresh = fresh.set("max.message.bytes", &limit);
        // The brokers' clock dates records for retention: they refuse what comes from a machine whose
        // clock is an hour ahead of theirs otherwise.
        fresh = fresh.set("message.timestamp.type", "LogAppendTime");
        for (name, value) in &self.options.topic_settings {
            fresh = fresh.set(name, value);
        }
        let what = || format!("creating topic {topic}");
        let wait = AdminOptions::new().operation_timeout(Some(ANSWER)).request_timeout(Some(ANSWER));
        let answers =
            block_on(self.admin.create_topics([&fresh], &wait)).map_err(|error| client(what(), error))?;
        for answer in answers {
            match answer {
                // Somebody else was faster.
                Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
                Err((_, code)) => return Err(client(what(), KafkaError::AdminOp(code))),
            }
        }
        // Brokers learn of it a little later; each question takes its time.
        for _ in 0..100 {
            match self.partitions(topic) {
                Err(LogError::NoTopic(_)) => {
                    self.asking.poll(Duration::from_millis(50));
                }
                known => return known,
            }
        }
        Err(LogError::NoTopic(topic.to_owned()))
    }

    fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        let metadata = self
            .asking
            .fetch_metadata(Some(topic), ANSWER)
            .map_err(|error| client(format!("asking for topic {topic}"), error))?;
        let found = metadata.topics().iter().find(|found| found.name() == topic);
        match found.filter(|found| found.error().is_none()).map(|found| found.partitions().len()) {
            Some(count) if count > 0 => Ok(count as u32),
            _ => Err(LogError::NoTopic(topic.to_owned())),
        }
    }

    fn held(&self, topic: &str, partition: u32) -> Result<Range<u64>, LogError> {
        held(&self.asking, topic, partition)
    }

    fn appender(&self, topic: &str) -> Result<Box<dyn Appender>, LogError> {
        self.appender_under(topic, &Lease::default())
    }

    fn appender_under(&self, topic: &str, lease: &Lease) -> Result<Box<dyn Appender>, LogError> {
        let partitions = self.partitions(topic)?;
        let (options, config) = (&self.options, &self.config);
        Ok(Box::new(appender::KafkaAppender::new(options, config, topic, partitions, lease)?))
    }

    fn reader(&self, topic: &str, partition: u32, from: u64) -> Result<Box<dyn Reader>, LogError> {
        if partition >= self.partitions(topic)? {
            return Err(LogError::NoTopic(format!("{topic}/{partition}")));
        }
        let config = consumer_config(&self.options, &self.config, "yagura-reader");
        Ok(Box::new(reader::KafkaReader::new(&config, topic, partition, from)?))
    }

    fn join(&self, group: &str, topic: &str) -> Result<Box<dyn Member>, LogError> {
        self.partitions(topic)?;
        let mut config = consumer_config(&self.options, &self.config, group);
        let seat = self.options.instance_id.as_ref().map(|id| Seat::take(&self.seats, group, id, topic));
        if let Some(seat) = &seat {
            config.set("group.instance.id", &seat.taken.1);
        }
        Ok(Box::new(member::KafkaMember::new(&config, topic, self.options.fetch_bytes, seat)?))
    }
}

/// The name of a static member: the lowest number that is free, so that it is the same at every
/// start and for whoever joins again.
struct Seat {
    seats: Seats,
    taken: (String, String),
}

impl Seat {
    fn take(seats: &Seats, group: &str, instance: &str, topic: &str) -> Seat {
        let mut taken = seats.lock().unwrap_or_else(PoisonError::into_inner);
        let mut number = 0_u32;
        loop {
            let name = (group.to_owned(), format!("{instance}-{topic}-{number}"));
            if taken.insert(name.clone()) {
                return Seat { seats: Arc::clone(seats), taken: name };
            }
            number += 1;
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.seats.lock().unwrap_or_else(PoisonError::into_inner).remove(&self.taken);
    }
}

/// What the client said last, for errors that say no more than "no answer".
#[derive(Clone, Default)]
pub(crate) struct Notes(Arc<Mutex<Option<String>>>);

impl Notes {
    fn note(&self, text: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(text.to_owned());
    }

    pub(crate) fn last(&self) -> Option<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl ClientContext for Notes {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        if facility == "FAIL" {
            complain(message);
        } else {
            log_line(level, facility, message);
        }
        if matches!(
            level,
            RDKafkaLogLevel::Error
                | RDKafkaLogLevel::Critical
                | RDKafkaLogLevel::Alert
                | RDKafkaLogLevel::Emerg
        ) {
            self.note(message);
        }
    }

    fn error(&self, error: KafkaError, reason: &str) {
        tracing::debug!(%error, reason, "Kafka");
        complain(reason);
        self.note(reason);
    }
}

impl ConsumerContext for Notes {}

/// How long nothing is said about connections after something was.
const SILENCE: Duration = Duration::from_secs(10);

/// Says that a connection is troubled, once for all clients of the process and rarely: while a
/// broker is away, each of them hears of it many times a second.
fn complain(cause: &str) {
    static QUIET: Mutex<Option<Deadline>> = Mutex::new(None);
    let mut quiet = QUIET.lock().unwrap_or_else(PoisonError::into_inner);
    if quiet.is_some_and(|until| !until.left().is_zero()) {
        tracing::debug!(cause, "a connection to Kafka is troubled");
        return;
    }
    *quiet = Some(Deadline::after(SILENCE));
    tracing::warn!(cause, "a connection to Kafka is troubled; what waits is kept, and it is tried again");
}

pub(crate) fn log_line(level: RDKafkaLogLevel, facility: &str, message: &str) {
    match level {
        RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            tracing::debug!(facility, message, "Kafka")
        }
        _ => tracing::warn!(facility, message, "Kafka"),
    }
}

/// Settings of everything that reads.
fn consumer_config(options: &KafkaOptions, config: &ClientConfig, group: &str) -> ClientConfig {
    let mut config = config.clone();
    let kib = (options.fetch_bytes >> 10).max(1) * 4;
    config
        .set("group.id", group)
        .set("enable.auto.commit", "false")
        .set("enable.auto.offset.store", "false")
        .set("auto.offset.reset", "error")
        .set("partition.assignment.strategy", "cooperative-sticky")
        .set("fetch.message.max.bytes", options.fetch_bytes.to_string())
        .set(
            "fetch.max.bytes",
            (options.fetch_bytes * 4).max(options.record_bytes_max + options::FRAMING).to_string(),
        )
        .set("queued.max.messages.kbytes", kib.to_string())
        // A full queue is looked at again after a second by default: with a bounded queue that
        // would be its size a second, however fast it is emptied.
        .set("fetch.queue.backoff.ms", "2")
        .set("fetch.wait.max.ms", "100");
    options.apply_settings(&mut config);
    config
}

pub(crate) fn held<C: ConsumerContext>(
    consumer: &BaseConsumer<C>,
    topic: &str,
    partition: u32,
) -> Result<Range<u64>, LogError> {
    match consumer.fetch_watermarks(topic, partition as i32, ANSWER) {
        Ok((low, high)) => Ok(low.max(0) as u64..high.max(0) as u64),
        Err(KafkaError::MetadataFetch(
            RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownPartition,
        )) => Err(LogError::NoTopic(format!("{topic}/{partition}"))),
        Err(error) => Err(client(format!("asking for the offsets of {topic}/{partition}"), error)),
    }
}

pub(crate) fn stored(message: &BorrowedMessage<'_>) -> Stored {
    let bytes = |part: Option<&[u8]>| part.map_or_else(Bytes::new, Bytes::copy_from_slice);
    let header =
        message.headers().and_then(|headers| headers.iter().find(|header| header.key == HEADER)?.value);
    Stored {
        offset: message.offset().max(0) as u64,
        record: Record { key: bytes(message.key()), header: bytes(header), value: bytes(message.payload()) },
    }
}

/// What a consumer's error event means.
pub(crate) enum Trouble {
    /// The wanted offset is not there.
    Gone,
    /// The client tries again by itself.
    Passing,
    /// Somebody has to do something.
    Lasting(LogError),
}

pub(crate) fn trouble(what: impl Into<String>, error: KafkaError) -> Trouble {
    use RDKafkaErrorCode as Code;
    match error.rdkafka_error_code() {
        Some(Code::AutoOffsetReset | Code::OffsetOutOfRange) => Trouble::Gone,
        Some(
            Code::BrokerTransportFailure
            | Code::AllBrokersDown
            | Code::DestroyBroker
            | Code::Resolve
            | Code::KafkaStorageError
            | Code::OperationTimedOut
            | Code::RequestTimedOut
            | Code::NotLeaderForPartition
            | Code::LeaderNotAvailable
            | Code::CoordinatorNotAvailable
            | Code::NotCoordinator
            | Code::CoordinatorLoadInProgress
            | Code::ReplicaNotAvailable
            | Code::OffsetNotAvailable
            | Code::FencedLeaderEpoch
            | Code::UnknownLeaderEpoch
            | Code::NetworkException
            | Code::PollExceeded,
        ) => {
            complain(&error.to_string());
            Trouble::Passing
        }
        _ => Trouble::Lasting(client(what, error)),
    }
}

pub(crate) fn client(what: impl Into<String>, error: KafkaError) -> LogError {
    use RDKafkaErrorCode as Code;
    let retry = matches!(
        error.rdkafka_error_code(),
        Some(
            Code::BrokerTransportFailure
                | Code::AllBrokersDown
                | Code::DestroyBroker
                | Code::Resolve
                | Code::WaitCache
                | Code::WaitingForCoordinator
                | Code::OperationTimedOut
                | Code::TimedOutQueue
                | Code::RequestTimedOut
                | Code::QueueFull
                | Code::ISRInsufficient
                | Code::KafkaStorageError
                | Code::NotLeaderForPartition
                | Code::LeaderNotAvailable
                | Code::CoordinatorNotAvailable
                | Code::NotCoordinator
                | Code::RebalanceInProgress
                | Code::IllegalGeneration
                | Code::UnknownMemberId
                | Code::AssignmentLost
                | Code::CoordinatorLoadInProgress
                | Code::NotEnoughReplicas
                | Code::NotEnoughReplicasAfterAppend
                | Code::ReplicaNotAvailable
                | Code::OffsetNotAvailable
                | Code::FencedLeaderEpoch
                | Code::UnknownLeaderEpoch
                | Code::NetworkException
                | Code::InvalidTimestamp
                | Code::MessageTimedOut
                | Code::PurgeQueue
                | Code::PurgeInflight
        )
    );
    LogError::Client { what: what.into(), cause: error.to_string(), retry }
}

/// Runs a future of the client's, whose own threads complete it.
fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut context = Context::from_waker(&waker);
    let mut future = pin!(future);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(answer) => return answer,
            Poll::Pending => std::thread::park(),
        }
    }
}

/// A point in time until which something is waited for.
#[derive(Clone, Copy)]
pub(crate) struct Deadline(std::time::Instant);

impl Deadline {
    pub fn after(wait: Duration) -> Self {
        #[expect(clippy::disallowed_methods, reason = "how long to wait, not what to answer")]
        let now = std::time::Instant::now();
        // So long that nobody tells the difference, and it does not overflow.
        Deadline(now + wait.min(Duration::from_secs(86_400)))
    }

    pub fn left(&self) -> Duration {
        #[expect(clippy::disallowed_methods, reason = "how long to wait, not what to answer")]
        let now = std::time::Instant::now();
        self.0.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_static_member_that_joins_again_is_the_same_one() {
        let seats = Seats::default();
        let take = |group: &str| Seat::take(&seats, group, "yagura-1", "t");
        let (first, second) = (take("detect"), take("detect"));
        assert_eq!((&*first.taken.1, &*second.taken.1), ("yagura-1-t-0", "yagura-1-t-1"));
        assert_eq!(take("sink-siem").taken.1, "yagura-1-t-0", "another group");
        drop(first);
        assert_eq!(take("detect").taken.1, "yagura-1-t-0");
    }
}
