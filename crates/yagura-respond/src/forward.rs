//! From the topic `alerts` to one receiver.
//!
//! ```text
//! log ── reader thread ──[2 batches]── window (alerts awaiting their answer) ── connection ── receiver
//!            ▲                              │
//!            └── commits: the offset before which everything is acknowledged
//! ```

use std::collections::VecDeque;
use std::future::{Future, pending};
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep_until, timeout};
use yagura_event::clock::{self, Micros};
use yagura_log::{Log, LogError, Stored};

use crate::cases::Cases;
use crate::delivery::{Chosen, Delivery};
use crate::message::{Beat, Kind, News};
use crate::metrics::{Metrics, SinkMetrics};
use crate::reader::{Fetched, LogReader, Orders, Progress, Revoked};
use crate::sink::{Answer, Boxed, Connection, Sink, SinkError, Verdict};
use crate::undelivered::{Letter, UNDELIVERED};
use crate::window::Window;

/// The first pause after a failure; each further one is twice as long, up to [`PAUSE_MAX`].
const PAUSE_MIN: Duration = Duration::from_millis(200);

/// The longest pause between two attempts.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// How long a stop waits for the answers to what has been sent.
const DRAIN: Duration = Duration::from_secs(5);

/// How long a stop waits for the receiver's farewell.
const FAREWELL: Duration = Duration::from_secs(2);

/// Batches between the reader and the window.
const BATCHES: usize = 2;

/// What ends a forwarder before it is told to stop.
#[derive(Debug, thiserror::Error)]
pub enum ForwardError {
    /// The log failed for good.
    #[error("the alerts of sink `{sink}` cannot be read: {cause}")]
    Log {
        /// The sink's name.
        sink: String,
        /// Why.
        cause: LogError,
    },
    /// The thread that reads the log could not be started, or ended without a result.
    #[error("the thread that reads the alerts of sink `{sink}` {what}")]
    Thread {
        /// The sink's name.
        sink: String,
        /// What happened to it.
        what: String,
    },
}

/// Forwards the alerts of a log to one sink.
///
/// Delivers every alert, and what people decided about it, at least once and in the order of the log. Within a run, a repeated (cell, sequence) of the
/// same alert revision is dropped; after a crash, what was acknowledged since the last commit (some hundred
/// milliseconds' worth) is sent again under the same `metadata.uid`. Memory is bounded by the
/// sink's window and a few batches. An alert that the receiver refuses for good goes to the topic
/// [`crate::undelivered::UNDELIVERED`] before its offset is committed; any other failure is tried again and holds
/// the others back, because to skip it would be to lose it: `yagura_sink_lag_records` shows it.
pub struct Forwarder {
    name: String,
    sink: Box<dyn Sink>,
    delivery: Delivery,
    log: Arc<dyn Log>,
    topic: String,
    progress: Arc<Progress>,
    metrics: SinkMetrics,
}

impl Forwarder {
    /// A forwarder for the sink of that name, which reads `topic` as the group `sink-<name>`.
    pub fn new(
        name: &str,
        mut sink: Box<dyn Sink>,
        log: Arc<dyn Log>,
        topic: &str,
        metrics: &Metrics,
    ) -> Self {
        sink.attach(&log);
        Self {
            name: name.to_string(),
            sink,
            delivery: Delivery::default(),
            log,
            topic: topic.to_string(),
            progress: Arc::default(),
            metrics: metrics.sink(name),
        }
    }

    /// What goes to the sink, and how often a heartbeat.
    pub fn delivering(mut self, delivery: Delivery) -> Self {
        self.delivery = delivery;
        self
    }

    /// How far it is, for others to see while it runs.
    pub fn progress(&self) -> Arc<Progress> {
        Arc::clone(&self.progress)
    }

    /// Runs until `stop` is ready: then nothing more is sent, answers to what has been sent are awaited for
    /// some seconds, and the offset is committed. Needs tokio's multi-threaded runtime.
    pub async fn run(self, stop: impl Future<Output = ()> + Send) -> Result<(), ForwardError> {
        let Forwarder { name, sink, delivery, log, topic, progress, metrics } = self;
        metrics.guaranteed.set(i64::from(sink.meaning().guaranteed));
        let orders = Arc::new(Orders::default());
        // Whatever ends this future, a panic or a drop included, ends the thread too.
        let guard = StopOnDrop(Arc::clone(&orders));
        let (fetched_in, mut fetched) = mpsc::channel(BATCHES);
        let (revoked_in, mut revoked) = mpsc::channel(1);
        let reader = LogReader {
            log,
            topic,
            group: format!("sink-{name}"),
            orders: Arc::clone(&orders),
            progress,
            fetched: fetched_in,
            revoked: revoked_in,
            metrics: metrics.clone(),
            handle: Handle::current(),
        };
        let thread_failed = |what: String| ForwardError::Thread { sink: name.clone(), what };
        let (ended_in, ended) = tokio::sync::oneshot::channel();
        std::thread::Builder::new()
            .name(format!("sink/{name}"))
            .spawn(move || {
                // Nobody listens only when the forwarder was dropped.
                let _ = ended_in.send(reader.run());
            })
            .map_err(|cause| thread_failed(format!("cannot be started: {cause}")))?;

        let mut flow = Flow::new(&name, sink.as_ref(), &delivery, &metrics, &orders);
        flow.run(stop, &mut fetched, &mut revoked).await;
        drop(flow);
        drop(fetched);
        drop(revoked);
        drop(guard);
        match ended.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(cause)) => Err(ForwardError::Log { sink: name.clone(), cause }),
            Err(_) => Err(thread_failed("ended with a panic".into())),
        }
    }
}

struct StopOnDrop(Arc<Orders>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.stop();
    }
}

/// The link to the receiver.
enum Link<'a> {
    /// Until then, leave it alone.
    Down(Instant),
    Connecting(Boxed<'a, Result<Box<dyn Connection>, SinkError>>),
    Up(Box<dyn Connection>),
}

/// What the loop waits for.
enum Happened {
    Stop,
    Revoked(Option<Revoked>),
    Fetched(Option<Fetched>),
    Link(Result<Step, SinkError>),
    Answered(Result<Answer, SinkError>),
    Silence,
    Beat,
}

/// A step of the link: time to connect, or connected.
enum Step {
    Connect,
    Up(Box<dyn Connection>),
}

struct Flow<'a> {
    name: &'a str,
    sink: &'a dyn Sink,
    delivery: &'a Delivery,
    metrics: &'a SinkMetrics,
    orders: &'a Orders,
    window: Window,
    backlog: VecDeque<(u32, Stored)>,
    decided: Arc<Cases>,
    link: Link<'a>,
    /// Failures since the last acknowledgement.
    failures: u32,
    /// When the receiver last did what it should.
    answered: Instant,
    poisoned: bool,
    beats: Beats,
}

/// Signs of life.
struct Beats {
    /// When the flow began.
    start: Micros,
    number: u64,
    /// Alerts acknowledged and refused since then.
    acknowledged: u64,
    refused: u64,
    /// When the next is due.
    due: Option<Instant>,
}

impl<'a> Flow<'a> {
    fn new(
        name: &'a str,
        sink: &'a dyn Sink,
        delivery: &'a Delivery,
        metrics: &'a SinkMetrics,
        orders: &'a Orders,
    ) -> Self {
        Self {
            name,
            sink,
            delivery,
            metrics,
            orders,
            window: Window::default(),
            backlog: VecDeque::new(),
            decided: Arc::default(),
            link: Link::Down(Instant::now()),
            failures: 0,
            answered: Instant::now(),
            poisoned: false,
            beats: Beats {
                start: clock::now(),
                number: 0,
                acknowledged: 0,
                refused: 0,
                due: delivery.heartbeat.map(|every| Instant::now() + every),
            },
        }
    }

    async fn run(
        &mut self,
        stop: impl Future<Output = ()> + Send,
        fetched: &mut mpsc::Receiver<Fetched>,
        revoked: &mut mpsc::Receiver<Revoked>,
    ) {
        let mut stop = std::pin::pin!(stop);
        loop {
            self.admit();
            if let Err(error) = self.send().await {
                self.link_failed(&error);
            }
            let hungry = self.backlog.is_empty();
            let silence = (self.window.on_their_way() > 0).then(|| self.answered + self.sink.patience());
            let is_up = matches!(self.link, Link::Up(_));
            let beat = self.beats.due.filter(|_| is_up && !self.window.has_notice());
            let happened = tokio::select! {
                () = &mut stop => Happened::Stop,
                let_go = revoked.recv() => Happened::Revoked(let_go),
                batch = fetched.recv(), if hungry => Happened::Fetched(batch),
                event = link_event(&mut self.link) => event,
                () = at(silence) => Happened::Silence,
                () = at(beat) => Happened::Beat,
            };
            match happened {
                Happened::Stop => return self.drain().await,
                // The reader has ended; the caller asks it why.
                Happened::Revoked(None) | Happened::Fetched(None) => return self.drain().await,
                Happened::Revoked(Some(revoked)) => self.let_go(revoked, fetched),
                Happened::Fetched(Some(batch)) => {
                    let partition = batch.partition;
                    self.decided = batch.decided;
                    self.backlog.extend(batch.records.into_iter().map(|record| (partition, record)));
                }
                Happened::Link(Ok(Step::Connect)) => self.link = Link::Connecting(self.sink.connect()),
                Happened::Link(Ok(Step::Up(connection))) => {
                    tracing::info!(sink = self.name, receiver = self.sink.describe(), "connected");
                    self.link = Link::Up(connection);
                }
                Happened::Answered(Ok(answer)) => self.answered(answer),
                Happened::Link(Err(error)) | Happened::Answered(Err(error)) => self.link_failed(&error),
                Happened::Silence => self.link_failed(&SinkError::Timeout {
                    address: self.sink.describe(),
                    seconds: self.sink.patience().as_secs(),
                    what: "acknowledging alerts",
                }),
                Happened::Beat => self.beat(),
            }
        }
    }

    /// Fills the window from the backlog.
    fn admit(&mut self) {
        while self.window.len() < self.sink.window()
            && let Some((partition, stored)) = self.backlog.pop_front()
        {
            let chosen = self.delivery.choose(&stored.record, &self.decided).unwrap_or_else(|error| {
                self.metrics.error("record");
                if !std::mem::replace(&mut self.poisoned, true) {
                    tracing::error!(
                        sink = self.name, partition, offset = stored.offset, %error,
                        "a record of the alerts' topic holds no alerts and is skipped; further ones are only counted"
                    );
                }
                Chosen::default()
            });
            self.metrics.passed_over.inc_by(chosen.passed_over);
            self.metrics.muted.inc_by(chosen.muted);
            let repeats = self.window.admit(partition, stored.offset + 1, chosen.news);
            self.metrics.repeats.inc_by(repeats);
        }
        self.commit();
    }

    async fn send(&mut self) -> Result<(), SinkError> {
        let Link::Up(connection) = &mut self.link else { return Ok(()) };
        while let Some((token, news)) = self.window.next_to_send(self.sink.window()) {
            let message = news.message();
            connection.send(token, &message).await?;
            let counter = match message.kind {
                Kind::Alert => &self.metrics.sent,
                Kind::Heartbeat => &self.metrics.heartbeats,
            };
            if self.window.on_their_way() == 0 {
                self.answered = Instant::now();
            }
            self.window.mark_sent();
            counter.inc();
        }
        Ok(())
    }

    fn answered(&mut self, answer: Answer) {
        self.answered = Instant::now();
        self.failures = 0;
        let Answer { token, verdict } = answer;
        match (verdict, self.window.open(token)) {
            (Verdict::Taken, Some(_)) => {
                self.metrics.acknowledged.inc();
                self.beats.acknowledged += 1;
            }
            (Verdict::Refused(reason), Some(news)) => {
                self.metrics.refused.inc();
                if self.beats.refused == 0 {
                    tracing::error!(
                        sink = self.name, alert = %news.alert.uid, reason,
                        "the receiver refused an alert for good; it and further ones are in the topic `{UNDELIVERED}`"
                    );
                }
                self.beats.refused += 1;
                let News { alert, decided, stands: _ } = news.clone();
                let (sink, decided) = (self.name.to_string(), decided.map(Arc::unwrap_or_clone));
                self.orders.keep(Letter { sink, reason, time: clock::now(), alert, decided });
            }
            (Verdict::Refused(reason), None) => {
                tracing::warn!(sink = self.name, reason, "the receiver refused a heartbeat");
            }
            (Verdict::Taken, None) => {}
        }
        if self.window.acknowledge(token) {
            self.metrics.acknowledged_at.set(clock::now() as f64 / clock::SECOND as f64);
        }
        self.commit();
    }

    fn beat(&mut self) {
        let beat = Beat {
            sink: self.name,
            start: self.beats.start,
            number: self.beats.number,
            acknowledged: self.beats.acknowledged,
            refused: self.beats.refused,
            lag: self.metrics.lag.get().unsigned_abs(),
        };
        self.window.admit_notice(beat.alert(clock::now()));
        self.beats.number += 1;
        self.beats.due = self.delivery.heartbeat.map(|every| Instant::now() + every);
    }

    fn commit(&mut self) {
        for (partition, next) in self.window.take_commits() {
            self.orders.commit(partition, next);
        }
    }

    fn let_go(&mut self, revoked: Revoked, fetched: &mut mpsc::Receiver<Fetched>) {
        while let Ok(batch) = fetched.try_recv() {
            let partition = batch.partition;
            self.backlog.extend(batch.records.into_iter().map(|record| (partition, record)));
        }
        self.backlog.retain(|(partition, _)| !revoked.partitions.contains(partition));
        for partition in &revoked.partitions {
            self.window.forget(*partition);
        }
        // A reader that no longer waits has given the partition up already.
        let _ = revoked.done.send(());
    }

    /// Notes a failure and when to try again: at least half of a pause that doubles, so that many
    /// senders do not come back at once.
    fn link_failed(&mut self, error: &SinkError) {
        let again = self.window.reset_sent();
        let pause = PAUSE_MIN.saturating_mul(1 << self.failures.min(16)).min(PAUSE_MAX);
        let pause = pause.mul_f64(0.5 + fastrand::f64() / 2.0);
        self.metrics.error(error.reason());
        self.metrics.retries.inc();
        if self.failures == 0 {
            tracing::warn!(sink = self.name, %error, again, "the receiver is away; alerts wait in the log");
        } else {
            tracing::debug!(sink = self.name, %error, again, ?pause, "still away");
        }
        self.failures = self.failures.saturating_add(1);
        self.link = Link::Down(Instant::now() + pause);
    }

    /// Waits a little for the answers to what has been sent, and takes leave.
    async fn drain(&mut self) {
        let until = Instant::now() + DRAIN;
        while self.window.on_their_way() > 0 {
            let Link::Up(connection) = &mut self.link else { return };
            let answer = tokio::select! {
                answer = connection.acknowledged() => answer,
                () = sleep_until(until) => break,
            };
            let Ok(answer) = answer else { break };
            self.answered(answer);
        }
        let Link::Up(connection) = &mut self.link else { return };
        if !matches!(timeout(FAREWELL, connection.close()).await, Ok(Ok(()))) {
            tracing::debug!(sink = self.name, "the receiver did not answer the farewell");
        }
    }
}

/// What the link does next. Safe to drop: a connection under way stays in `link`.
async fn link_event(link: &mut Link<'_>) -> Happened {
    match link {
        Link::Down(until) => {
            sleep_until(*until).await;
            Happened::Link(Ok(Step::Connect))
        }
        Link::Connecting(connecting) => Happened::Link(connecting.await.map(Step::Up)),
        Link::Up(connection) => Happened::Answered(connection.acknowledged().await),
    }
}

async fn at(time: Option<Instant>) {
    match time {
        Some(time) => sleep_until(time).await,
        None => pending().await,
    }
}
