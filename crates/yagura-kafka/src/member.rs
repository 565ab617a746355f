//! A member of a consumer group.
//!
//! librdkafka says what is to be assigned or given up and waits until it is told that this has
//! happened. So a revocation is handed to the caller, and confirmed only by the next poll; until
//! then commits are accepted. Likewise what is assigned begins with the next poll, at the
//! committed offset or where the caller sought.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer as _, ConsumerContext};
use rdkafka::error::KafkaError;
use rdkafka::message::Message as _;
use rdkafka::types::RDKafkaRespErr;
use rdkafka::{Offset, TopicPartitionList};
use yagura_log::{Lease, LogError, Member, Polled, Stored};

use crate::{ANSWER, Deadline, Notes, Seat, Trouble, client, held, stored, trouble};

/// One consumer of a group; dropping it is leaving.
pub(crate) struct KafkaMember {
    consumer: BaseConsumer<Changes>,
    changes: Changes,
    topic: String,
    fetch_bytes: usize,
    /// For each partition of this member: the offset that it reads next.
    next: BTreeMap<u32, u64>,
    /// Told to the caller, and to be confirmed with the next poll.
    assigning: Option<Vec<u32>>,
    revoking: Option<Vec<u32>>,
    paused: BTreeSet<u32>,
    /// Records that were fetched and not handed out yet, by partition; who came first goes first.
    ready: VecDeque<(u32, Vec<Stored>)>,
    pulse: Pulse,
    /// Given back once the consumer has left.
    _seat: Option<Seat>,
}

/// What the group wants of this member, as the client reports it.
#[derive(Clone, Default)]
struct Changes {
    queue: Arc<Mutex<VecDeque<Change>>>,
    /// Nobody polls any more: give up what is asked for at once.
    closing: Arc<AtomicBool>,
    notes: Notes,
}

enum Change {
    Assign(Vec<u32>),
    Revoke(Vec<u32>),
}

impl KafkaMember {
    pub fn new(
        config: &ClientConfig,
        topic: &str,
        fetch_bytes: usize,
        seat: Option<Seat>,
    ) -> Result<Self, LogError> {
        let pulse = Pulse::start(lease_length(config))?;
        let changes = Changes::default();
        let consumer: BaseConsumer<Changes> = config
            .create_with_context(changes.clone())
            .map_err(|error| client("configuring the Kafka consumer", error))?;
        consumer.subscribe(&[topic]).map_err(|error| client(format!("subscribing to {topic}"), error))?;
        Ok(KafkaMember {
            consumer,
            changes,
            topic: topic.to_owned(),
            fetch_bytes,
            next: BTreeMap::new(),
            assigning: None,
            revoking: None,
            paused: BTreeSet::new(),
            ready: VecDeque::new(),
            pulse,
            _seat: seat,
        })
    }

    fn poll_until(&mut self, deadline: Deadline) -> Result<Polled, LogError> {
        self.confirm()?;
        loop {
            if let Some(change) = self.change()? {
                return Ok(change);
            }
            if let Some(records) = self.hand_out() {
                return Ok(records);
            }
            let left = deadline.left();
            self.gather(left)?;
            if let Some(records) = self.hand_out() {
                return Ok(records);
            }
            if left.is_zero() && self.changes.queue.lock().unwrap_or_else(PoisonError::into_inner).is_empty()
            {
                return Ok(Polled::Idle);
            }
        }
    }

    /// Confirms what the caller was told last.
    fn confirm(&mut self) -> Result<(), LogError> {
        if let Some(partitions) = self.revoking.take() {
            let list = self.list(&partitions, |_| Offset::Invalid)?;
            self.consumer
                .incremental_unassign(&list)
                .map_err(|error| self.error("giving up partitions of", error))?;
            for partition in partitions {
                self.next.remove(&partition);
                self.paused.remove(&partition);
            }
            let next = &self.next;
            self.ready.retain(|(partition, _)| next.contains_key(partition));
        }
        if let Some(partitions) = self.assigning.take() {
            let list = self.list(&partitions, |partition| Offset::Offset(self.next[&partition] as i64))?;
            self.consumer
                .incremental_assign(&list)
                .map_err(|error| self.error("taking partitions of", error))?;
            let paused: Vec<u32> =
                partitions.into_iter().filter(|partition| self.paused.contains(partition)).collect();
            let list = self.list(&paused, |_| Offset::Invalid)?;
            self.consumer.pause(&list).map_err(|error| self.error("pausing partitions of", error))?;
        }
        Ok(())
    }

    /// Tells the caller the next change, if there is one for it.
    fn change(&mut self) -> Result<Option<Polled>, LogError> {
        loop {
            let change = self.changes.queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
            match change {
                None => return Ok(None),
                Some(Change::Assign(partitions)) => {
                    let list = self.list(&partitions, |_| Offset::Invalid)?;
                    let committed = match self.consumer.committed_offsets(list, ANSWER) {
                        Ok(committed) => committed,
                        Err(error) => {
                            // It stays to be told: the client waits for the answer.
                            let mut queue = self.changes.queue.lock().unwrap_or_else(PoisonError::into_inner);
                            queue.push_front(Change::Assign(partitions));
                            drop(queue);
                            return Err(self.error("asking for the committed offsets of", error));
                        }
                    };
                    for &partition in &partitions {
                        let known = committed
                            .find_partition(&self.topic, partition as i32)
                            .map(|found| found.offset());
                        let from =
                            if let Some(Offset::Offset(offset)) = known { offset.max(0) as u64 } else { 0 };
                        self.next.insert(partition, from);
                    }
                    self.assigning = Some(partitions.clone());
                    if !partitions.is_empty() {
                        return Ok(Some(Polled::Assigned(partitions)));
                    }
                    self.confirm()?;
                }
                Some(Change::Revoke(partitions)) => {
                    self.revoking = Some(partitions.clone());
                    if !partitions.is_empty() {
                        return Ok(Some(Polled::Revoked(partitions)));
                    }
                    self.confirm()?;
                }
            }
        }
    }

    /// One message; `Ok(None)` when there is none in time, or something else happened.
    fn message(&mut self, wait: Duration) -> Result<Option<(u32, Stored)>, LogError> {
        let error = match self.consumer.poll(wait) {
            None => return Ok(None),
            Some(Ok(message)) => return Ok(Some((message.partition() as u32, stored(&message)))),
            Some(Err(error)) => error,
        };
        match trouble(format!("reading {}", self.topic), error) {
            Trouble::Passing => Ok(None),
            Trouble::Lasting(error) => Err(error),
            Trouble::Gone => {
                // The event does not say of which partition.
                for (&partition, &next) in &self.next {
                    let ready = self.ready.iter().find(|(of, _)| *of == partition);
                    let wanted = ready.and_then(|(_, r)| r.last()).map_or(next, |last| last.offset + 1);
                    let held = held(&self.consumer, &self.topic, partition)?;
                    if wanted < held.start || wanted > held.end {
                        return Err(LogError::OffsetGone {
                            topic: self.topic.clone(),
                            partition,
                            wanted,
                            held,
                        });
                    }
                }
                Ok(None)
            }
        }
    }

    /// Waits for a record and takes those that are there already with it: a fetch brings a few of each
    /// partition in turn, and whoever has to do something for each batch wants all of them at once.
    fn gather(&mut self, wait: Duration) -> Result<(), LogError> {
        let mut bytes = 0;
        let mut left = wait;
        while bytes < self.fetch_bytes {
            match self.message(left) {
                Ok(Some((partition, record))) if self.next.contains_key(&partition) => {
                    bytes += record.record.size();
                    match self.ready.iter_mut().find(|(of, _)| *of == partition) {
                        Some((_, records)) => records.push(record),
                        None => self.ready.push_back((partition, vec![record])),
                    }
                }
                Ok(Some(_)) => {}
                Ok(None) => break,
                Err(error) if bytes > 0 => {
                    // What has been read is handed out first.
                    tracing::warn!(%error, topic = self.topic, "Kafka");
                    break;
                }
                Err(error) => return Err(error),
            }
            left = Duration::ZERO;
        }
        Ok(())
    }

    /// Records of the partition whose turn it is.
    fn hand_out(&mut self) -> Option<Polled> {
        let at = self.ready.iter().position(|(partition, _)| !self.paused.contains(partition))?;
        let (partition, records) = self.ready.remove(at)?;
        if let Some(last) = records.last() {
            self.next.insert(partition, last.offset + 1);
        }
        Some(Polled::Records(partition, records))
    }

    fn list(
        &self,
        partitions: &[u32],
        offset: impl Fn(u32) -> Offset,
    ) -> Result<TopicPartitionList, LogError> {
        let mut list = TopicPartitionList::new();
        for &partition in partitions {
            list.add_partition_offset(&self.topic, partition as i32, offset(partition))
                .map_err(|error| self.error("naming partitions of", error))?;
        }
        Ok(list)
    }

    fn owned(&self, partition: u32) -> Result<(), LogError> {
        if self.next.contains_key(&partition) {
            return Ok(());
        }
        Err(LogError::Client {
            what: format!("partition {partition} of {}", self.topic),
            cause: "it is not assigned to this member".to_owned(),
            retry: false,
        })
    }

    fn begun(&self, partition: u32) -> bool {
        !self.assigning.as_ref().is_some_and(|partitions| partitions.contains(&partition))
    }

    fn error(&self, what: &str, error: KafkaError) -> LogError {
        client(format!("{what} {}", self.topic), error)
    }
}

impl Member for KafkaMember {
    fn poll(&mut self, wait: Duration) -> Result<Polled, LogError> {
        let deadline = Deadline::after(wait);
        let lease = self.pulse.lease.clone();
        let in_time = Deadline::after(wait + lease.length().unwrap_or_default());
        let polled = self.poll_until(deadline);
        if in_time.left().is_zero() {
            // The client itself hung, as when the wall clock is set back: so did its heartbeats.
            lease.end();
        }
        polled
    }

    fn seek(&mut self, partition: u32, offset: u64) -> Result<(), LogError> {
        self.owned(partition)?;
        self.ready.retain(|(of, _)| *of != partition);
        self.next.insert(partition, offset);
        if self.begun(partition) {
            self.consumer
                .seek(&self.topic, partition as i32, Offset::Offset(offset as i64), ANSWER)
                .map_err(|error| self.error("seeking in", error))?;
        }
        Ok(())
    }

    fn commit(&mut self, partition: u32, next: u64) -> Result<(), LogError> {
        self.owned(partition)?;
        let list = self.list(&[partition], |_| Offset::Offset(next as i64))?;
        self.consumer
            .commit(&list, CommitMode::Sync)
            .map_err(|error| self.error("committing offsets of", error))
    }

    fn committed(&self, partition: u32) -> Result<Option<u64>, LogError> {
        let list = self.list(&[partition], |_| Offset::Invalid)?;
        let found = self
            .consumer
            .committed_offsets(list, ANSWER)
            .map_err(|error| self.error("asking for the committed offsets of", error))?;
        Ok(match found.find_partition(&self.topic, partition as i32).map(|found| found.offset()) {
            Some(Offset::Offset(offset)) => Some(offset.max(0) as u64),
            _ => None,
        })
    }

    fn pause(&mut self, partition: u32) -> Result<(), LogError> {
        self.owned(partition)?;
        if self.begun(partition) {
            let list = self.list(&[partition], |_| Offset::Invalid)?;
            self.consumer.pause(&list).map_err(|error| self.error("pausing partitions of", error))?;
        }
        self.paused.insert(partition);
        Ok(())
    }

    fn resume(&mut self, partition: u32) -> Result<(), LogError> {
        self.owned(partition)?;
        if self.begun(partition) {
            let list = self.list(&[partition], |_| Offset::Invalid)?;
            self.consumer.resume(&list).map_err(|error| self.error("resuming partitions of", error))?;
        }
        self.paused.remove(&partition);
        Ok(())
    }

    fn lease(&self) -> Lease {
        self.pulse.lease.clone()
    }
}

/// How long a member keeps its partitions for sure after its process stood still: the brokers give
/// them away a session after the last heartbeat, which may be an interval old by then; and a
/// quarter of it to spare.
fn lease_length(config: &ClientConfig) -> Duration {
    let setting = |name, default| {
        Duration::from_millis(config.get(name).and_then(|text| text.parse().ok()).unwrap_or(default))
    };
    let session = setting("session.timeout.ms", 45_000);
    let heartbeat = setting("heartbeat.interval.ms", 3_000);
    session.saturating_sub(heartbeat).mul_f64(0.75)
}

/// Renews a member's lease for as long as its process runs, however busy its caller is: so does
/// the client's own thread with the heartbeats.
struct Pulse {
    lease: Lease,
    thread: Option<JoinHandle<()>>,
    stop: Arc<AtomicBool>,
}

impl Pulse {
    fn start(length: Duration) -> Result<Self, LogError> {
        let lease = Lease::of(length);
        let stop = Arc::new(AtomicBool::new(false));
        let (renewed, stopped) = (lease.clone(), stop.clone());
        let beat = move || {
            while !stopped.load(Ordering::Acquire) && renewed.renew() {
                std::thread::park_timeout(length / 10);
            }
        };
        let thread = std::thread::Builder::new().name("kafka-pulse".to_owned()).spawn(beat);
        let thread = thread.map_err(|cause| LogError::Io { what: "starting a thread".to_owned(), cause })?;
        Ok(Pulse { lease, thread: Some(thread), stop })
    }
}

impl Drop for Pulse {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // It returns nothing and cannot panic.
            let _ = thread.join();
        }
    }
}

impl Drop for KafkaMember {
    fn drop(&mut self) {
        self.changes.closing.store(true, Ordering::Release);
        // A revocation that waits would keep the client from closing.
        let waiting = std::mem::take(&mut *self.changes.queue.lock().unwrap_or_else(PoisonError::into_inner));
        let told = self.revoking.take().into_iter().map(Change::Revoke);
        for change in waiting.into_iter().chain(told) {
            if let Change::Revoke(partitions) = change {
                let confirmed = self
                    .list(&partitions, |_| Offset::Invalid)
                    .map(|list| self.consumer.incremental_unassign(&list));
                tracing::debug!(?confirmed, topic = self.topic, "left while partitions were being revoked");
            }
        }
    }
}

impl ClientContext for Changes {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, message: &str) {
        self.notes.log(level, facility, message);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.notes.error(error, reason);
    }
}

impl ConsumerContext for Changes {
    fn rebalance(&self, consumer: &BaseConsumer<Self>, event: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let assign = event == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            let answer =
                if assign { consumer.incremental_assign(list) } else { consumer.incremental_unassign(list) };
            if let Err(error) = answer {
                tracing::debug!(%error, "while leaving");
            }
            return;
        }
        let partitions = list.elements().iter().map(|element| element.partition().max(0) as u32).collect();
        let change = if assign { Change::Assign(partitions) } else { Change::Revoke(partitions) };
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).push_back(change);
    }
}
