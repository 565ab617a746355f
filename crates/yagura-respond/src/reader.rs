//! The thread that reads the log for one sink: the log's traits block, and its member must be
//! polled whether the receiver answers or not.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, timeout};
use yagura_log::{Appender, Log, LogError, Member, Polled, Stored};

use crate::cases::Cases;
use crate::decisions::Decisions;
use crate::metrics::SinkMetrics;
use crate::undelivered::{Letter, UNDELIVERED};

/// How long a poll waits, and so how old a commit may grow.
const POLL_WAIT: Duration = Duration::from_millis(100);

/// How long to leave a failing log alone.
const LOG_PAUSE: Duration = Duration::from_secs(1);

/// How long the forwarder may take to let go of a partition.
const REVOKE_WAIT: Duration = Duration::from_secs(30);

/// How often what people decide is looked for at most, while there are alerts.
const DECISIONS_INTERVAL: Duration = Duration::from_secs(1);

/// How often the lag is measured.
const LAG_INTERVAL: Duration = Duration::from_secs(2);

/// Records of one partition.
pub(crate) struct Fetched {
    pub partition: u32,
    pub records: Vec<Stored>,
    /// What people had decided when they were handed over.
    pub decided: Arc<Cases>,
}

/// Partitions that go to somebody else, and whom to tell when they have been let go.
pub(crate) struct Revoked {
    pub partitions: Vec<u32>,
    pub done: oneshot::Sender<()>,
}

/// What the forwarder tells the reader: alerts to keep that were refused, offsets to commit, and when to stop.
#[derive(Default)]
pub(crate) struct Orders {
    inner: Mutex<OrdersInner>,
    changed: Condvar,
}

#[derive(Default)]
struct OrdersInner {
    /// Bounded by what the window and the batches before it hold: while they cannot be written, nothing is read.
    letters: Vec<Letter>,
    commits: BTreeMap<u32, u64>,
    stop: bool,
}

impl Orders {
    pub fn commit(&self, partition: u32, next: u64) {
        self.lock().commits.insert(partition, next);
    }

    pub fn stop(&self) {
        self.lock().stop = true;
        self.changed.notify_all();
    }

    fn stopped(&self) -> bool {
        self.lock().stop
    }

    /// To be durable before any offset that is committed from now on.
    pub fn keep(&self, letter: Letter) {
        self.lock().letters.push(letter);
    }

    /// Letters and commits of one moment: the letters go first.
    fn take(&self) -> (Vec<Letter>, BTreeMap<u32, u64>) {
        let mut inner = self.lock();
        (std::mem::take(&mut inner.letters), std::mem::take(&mut inner.commits))
    }

    /// Hands letters back that could not be written.
    fn restore_letters(&self, mut letters: Vec<Letter>) {
        let mut inner = self.lock();
        letters.append(&mut inner.letters);
        inner.letters = letters;
    }

    /// Hands commits back that did not succeed, unless newer ones have come.
    fn restore_commit(&self, partition: u32, next: u64) {
        self.lock().commits.entry(partition).or_insert(next);
    }

    fn wait(&self, time: Duration) {
        let inner = self.lock();
        // Woken early or not, the caller looks again.
        drop(self.changed.wait_timeout_while(inner, time, |inner| !inner.stop));
    }

    fn lock(&self) -> MutexGuard<'_, OrdersInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What others may see of a forwarder while it runs.
#[derive(Debug, Default)]
pub struct Progress {
    committed: Mutex<BTreeMap<u32, u64>>,
    turns: AtomicU64,
}

impl Progress {
    /// By partition of the topic that is this forwarder's, the offset before which the receiver has
    /// acknowledged everything, as committed.
    pub fn committed(&self) -> BTreeMap<u32, u64> {
        self.lock().clone()
    }

    /// How often it has asked the log since it joined: several times a second, whatever the receiver does.
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<u32, u64>> {
        self.committed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads one topic for one group until it is told to stop.
pub(crate) struct LogReader {
    pub log: Arc<dyn Log>,
    pub topic: String,
    pub group: String,
    pub orders: Arc<Orders>,
    pub progress: Arc<Progress>,
    pub fetched: mpsc::Sender<Fetched>,
    pub revoked: mpsc::Sender<Revoked>,
    pub metrics: SinkMetrics,
    pub handle: Handle,
}

impl LogReader {
    /// Runs until told to stop, or until the log fails for good.
    pub fn run(self) -> Result<(), LogError> {
        let mut member = loop {
            match self.log.join(&self.group, &self.topic) {
                Ok(member) => break member,
                Err(error) if error.retriable() => self.pause(&error),
                Err(error) => return Err(error),
            }
            if self.orders.stopped() {
                return Ok(());
            }
        };
        let mut held = Held::default();
        let (mut lag_due, mut decisions_due) = (Instant::now(), Instant::now());
        let mut decisions = Decisions::default();
        while !self.orders.stopped() && !self.fetched.is_closed() {
            self.progress.turns.fetch_add(1, Ordering::Relaxed);
            self.commit(member.as_mut(), &mut held);
            if Instant::now() >= lag_due {
                self.measure_lag(member.as_ref(), &held);
                lag_due = Instant::now() + LAG_INTERVAL;
            }
            if held.waiting.is_some() && Instant::now() >= decisions_due {
                held.decided = self.patiently(|| decisions.read(self.log.as_ref()).map(Arc::clone))?;
                decisions_due = Instant::now() + DECISIONS_INTERVAL;
            }
            self.hand_over(member.as_mut(), &mut held)?;
            let wait = if held.waiting.is_some() { Duration::ZERO } else { POLL_WAIT };
            match member.poll(wait) {
                Ok(polled) => self.polled(polled, member.as_mut(), &mut held)?,
                Err(LogError::OffsetGone { partition, wanted, held: there, .. }) => {
                    self.metrics.error("gone");
                    tracing::error!(
                        group = self.group,
                        partition,
                        wanted,
                        first = there.start,
                        "alerts were deleted by the log's retention before this sink's receiver took them; lengthen `retention` or mend the receiver sooner"
                    );
                    member.seek(partition, there.start)?;
                }
                Err(error) if error.retriable() => self.pause(&error),
                Err(error) => return Err(error),
            }
        }
        self.commit(member.as_mut(), &mut held);
        self.measure_lag(member.as_ref(), &held);
        Ok(())
    }

    fn polled(&self, polled: Polled, member: &mut dyn Member, held: &mut Held) -> Result<(), LogError> {
        match polled {
            Polled::Assigned(partitions) => {
                if held.paused {
                    partitions.iter().try_for_each(|partition| member.pause(*partition))?;
                }
                for partition in partitions {
                    let first = self.patiently(|| self.log.held(&self.topic, partition))?.start;
                    let next = self.patiently(|| member.committed(partition))?.unwrap_or(0).max(first);
                    self.progress.lock().insert(partition, next);
                    held.partitions.insert(partition);
                }
            }
            Polled::Revoked(partitions) => {
                held.waiting = held.waiting.take().filter(|f| !partitions.contains(&f.partition));
                let (done, let_go) = oneshot::channel();
                let told = self.revoked.blocking_send(Revoked { partitions: partitions.clone(), done });
                if told.is_ok() && self.handle.block_on(async { timeout(REVOKE_WAIT, let_go).await }).is_err()
                {
                    tracing::warn!(
                        group = self.group,
                        "a partition was given up before its last commit: alerts will be repeated"
                    );
                }
                // The last moment at which these commits are accepted.
                self.commit(member, held);
                for partition in partitions {
                    self.progress.lock().remove(&partition);
                    held.partitions.remove(&partition);
                    held.committed.remove(&partition);
                }
            }
            Polled::Records(partition, records) => {
                let Some(first) = records.first() else { return Ok(()) };
                if held.waiting.is_some() {
                    // Fetched before the pause took hold: they are read again.
                    member.seek(partition, first.offset)?;
                    member.pause(partition)?;
                } else {
                    held.waiting = Some(Fetched { partition, records, decided: Arc::default() });
                }
            }
            Polled::Idle => {}
        }
        Ok(())
    }

    /// Hands records over when there is room within [`POLL_WAIT`]; pauses the log while there is none.
    fn hand_over(&self, member: &mut dyn Member, held: &mut Held) -> Result<(), LogError> {
        if held.waiting.is_none() {
            return Ok(());
        }
        // Timers are made inside the runtime, hence the blocks.
        match self.handle.block_on(async { timeout(POLL_WAIT, self.fetched.reserve()).await }) {
            Ok(Ok(room)) => {
                if let Some(fetched) = held.waiting.take() {
                    room.send(Fetched { decided: Arc::clone(&held.decided), ..fetched });
                }
                held.resume(member)
            }
            Ok(Err(_)) => Ok(()),
            Err(_) => held.pause(member),
        }
    }

    fn commit(&self, member: &mut dyn Member, held: &mut Held) {
        let (letters, commits) = self.orders.take();
        if !letters.is_empty()
            && let Err(error) = self.write(&letters, held)
        {
            held.letters = None;
            self.orders.restore_letters(letters);
            commits.into_iter().for_each(|(partition, next)| self.orders.restore_commit(partition, next));
            return self.pause(&error);
        }
        for (partition, next) in commits {
            match member.commit(partition, next) {
                Ok(()) => {
                    self.progress.lock().insert(partition, next);
                    held.committed.insert(partition, next);
                    held.commit_failing = false;
                }
                Err(error) => {
                    self.metrics.error("log");
                    if !std::mem::replace(&mut held.commit_failing, true) {
                        tracing::warn!(group = self.group, partition, %error, "an offset could not be committed, and will be tried again");
                    }
                    self.orders.restore_commit(partition, next);
                }
            }
        }
    }

    /// Makes letters durable.
    fn write(&self, letters: &[Letter], held: &mut Held) -> Result<(), LogError> {
        let appender = match &mut held.letters {
            Some(appender) => appender,
            none => {
                self.log.ensure_topic(UNDELIVERED, 1)?;
                none.insert(self.log.appender(UNDELIVERED)?)
            }
        };
        for letter in letters {
            let written = appender.append(letter.to_record());
            if matches!(written, Err(LogError::TooLarge { .. })) {
                // With the reason beside it, it is more than the log takes: the ids are what counts.
                let mut short = letter.clone();
                short.alert.evidence = serde_json::Value::Null;
                appender.append(short.to_record())?;
            } else {
                written?;
            }
        }
        appender.flush()
    }

    fn measure_lag(&self, member: &dyn Member, held: &Held) {
        let mut lag = 0;
        for partition in &held.partitions {
            let Ok(there) = self.log.held(&self.topic, *partition) else { return };
            let committed = match held.committed.get(partition) {
                Some(next) => *next,
                None => member.committed(*partition).ok().flatten().unwrap_or(there.start),
            };
            lag += there.end.saturating_sub(committed.max(there.start));
        }
        self.metrics.lag.set(i64::try_from(lag).unwrap_or(i64::MAX));
    }

    /// Asks until the log answers; the last error when it is to stop.
    fn patiently<T>(&self, mut ask: impl FnMut() -> Result<T, LogError>) -> Result<T, LogError> {
        loop {
            match ask() {
                Err(error) if error.retriable() && !self.orders.stopped() => self.pause(&error),
                answer => return answer,
            }
        }
    }

    fn pause(&self, error: &LogError) {
        self.metrics.error("log");
        tracing::warn!(group = self.group, %error, "the log does not answer; trying again");
        self.orders.wait(LOG_PAUSE);
    }
}

/// The reader's state.
#[derive(Default)]
struct Held {
    partitions: BTreeSet<u32>,
    decided: Arc<Cases>,
    /// What was committed in this run.
    committed: BTreeMap<u32, u64>,
    /// Records for which the forwarder has no room yet.
    waiting: Option<Fetched>,
    paused: bool,
    /// Writes letters, from the first on.
    letters: Option<Box<dyn Appender>>,
    /// Whether the last commit failed, so that only the first of many is logged.
    commit_failing: bool,
}

impl Held {
    fn pause(&mut self, member: &mut dyn Member) -> Result<(), LogError> {
        if !self.paused {
            self.paused = true;
            self.partitions.iter().try_for_each(|partition| member.pause(*partition))?;
        }
        Ok(())
    }

    fn resume(&mut self, member: &mut dyn Member) -> Result<(), LogError> {
        if self.paused {
            self.paused = false;
            self.partitions.iter().try_for_each(|partition| member.resume(*partition))?;
        }
        Ok(())
    }
}
