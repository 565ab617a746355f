//! One server: a session, a subscription on it, and what becomes of both when something breaks.
//!
//! The subscription is kept for as long as the server keeps it: a connection that comes back goes on with it, and asks
//! for every message that was missed; a new session takes it over, where the server permits that. Only then is a new
//! one made, and the time between is a gap.

use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use opcua_client::services::{
    CreateMonitoredItems, CreateSubscription, Publish, Republish, TransferSubscriptions,
};
use opcua_client::{Session, SessionConnectMode, SessionPollResult, UARequest};
use opcua_types::{
    BuildInfo, DataChangeFilter, DataChangeNotification, DataChangeTrigger, DataValue, DeadbandType, Error,
    ExtensionObject, MonitoredItemCreateRequest, MonitoringMode, MonitoringParameters, NotificationMessage,
    PublishResponse, ReadValueId, StatusChangeNotification, StatusCode, SubscriptionAcknowledgement,
    TimestampsToReturn, VariableId, Variant,
};
use tokio::sync::{Semaphore, watch};
use yagura_event::clock::{self, Micros, SECOND};
use yagura_event::vocabulary::coverage;

use super::link::{Link, Profile, SESSION_KEPT};
use super::nodes::{self, Few, Node};
use super::trust::Trouble;
use super::values::{self, Content, Number, Text};
use super::{Deadband, PATIENCE};
use crate::backoff::Backoff;
use crate::feed::Feed;

/// Requests for notifications that wait at the server, so that it never waits for one.
const AHEAD: usize = 3;
/// Values in a notification.
const VALUES_MAX: u32 = 10_000;
/// How often the server says that it lives, at least.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// Missed messages that are asked for.
const MISSED_MAX: u32 = 1000;
/// Clocks farther apart than this are said.
const SKEW_MAX: Micros = 5 * SECOND;

/// What a server's task says.
pub(super) struct Message {
    pub server: usize,
    pub observed: Micros,
    pub event: Event,
}

pub(super) enum Event {
    /// Values come from now on.
    Up(Up),
    /// Nothing comes from now on, and why.
    Down(String),
    /// Something to be said in `coverage`: which event, since when, how many, and the words.
    Said { event: &'static str, from: Micros, count: u64, detail: String },
    /// What the server says it is.
    Identity(Box<BuildInfo>),
    /// A message of the subscription.
    Values { subscription: u32, sequence: u32, numbers: Vec<Number>, texts: Vec<Text> },
}

/// Values come from now on.
pub(super) struct Up {
    /// The variables, if they are others than before.
    pub nodes: Option<Arc<[Node]>>,
    /// The subscription went on meanwhile: nothing is missing.
    pub continued: bool,
    pub detail: String,
}

/// Messages whose rows are durable, to be acknowledged to the server with the next request.
#[derive(Default)]
pub(super) struct Durable(Mutex<Vec<(u32, u32)>>);

impl Durable {
    pub fn add(&self, messages: impl IntoIterator<Item = (u32, u32)>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(messages);
    }

    fn take(&self) -> Vec<(u32, u32)> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What a server's task needs.
pub(super) struct Task {
    pub server: usize,
    pub profile: Arc<Profile>,
    pub feed: Feed<Message>,
    pub durable: Arc<Durable>,
    pub stop: watch::Receiver<bool>,
    /// Limits how many connect at once.
    pub connecting: Arc<Semaphore>,
}

/// A subscription that the server may still keep.
struct Kept {
    id: u32,
    keep_alive: Duration,
    /// The number of the message that comes next; none before the first.
    expected: Option<u32>,
    nodes: Arc<[Node]>,
    /// By variable, whether it was said that it lies about its type, or has what cannot be read.
    told: Vec<bool>,
    /// Values that the server dropped and nobody was told of yet, and since when.
    overflowed: (u64, Micros),
}

/// How the session's connection is.
#[derive(Clone, PartialEq)]
enum State {
    Connected,
    Lost(StatusCode),
    /// It came back: how often, and whether in a new session.
    Back(u32, bool),
}

/// Why a subscription is not read any more.
enum End {
    Stopped,
    /// The server keeps it no longer.
    Gone(String),
    Failed(Trouble),
}

impl Task {
    /// Reads the server until it is stopped.
    pub async fn run(mut self) {
        let mut backoff = Backoff::new(Duration::from_millis(500), Duration::from_secs(60));
        let mut kept = None;
        let mut stop = self.stop.clone();
        while !*stop.borrow() {
            let served = AssertUnwindSafe(self.serve(&mut kept, &mut backoff)).catch_unwind().await;
            let trouble = match served {
                Ok(Ok(())) => return,
                Ok(Err(trouble)) => trouble,
                Err(_) => {
                    kept = None;
                    Trouble::new(
                        "what the server sent could not be read",
                        "report it with a recording of the packets",
                    )
                }
            };
            self.send(Event::Down(format!("{}; {}", trouble.cause, trouble.remedy)), 0).await;
            tokio::select! {
                () = tokio::time::sleep(backoff.pause()) => {}
                () = stopped(&mut stop) => {}
            }
        }
    }

    async fn serve(&mut self, kept: &mut Option<Kept>, backoff: &mut Backoff) -> Result<(), Trouble> {
        let mut stop = self.stop.clone();
        let connecting = Arc::clone(&self.connecting);
        let profile = Arc::clone(&self.profile);
        let connect = async {
            let _permit = connecting.acquire().await;
            self.profile.connect().await
        };
        let Link { session, mut events, detail } = tokio::select! {
            link = connect => link?,
            () = stopped(&mut stop) => return Ok(()),
        };
        let (states, mut state) = watch::channel(State::Connected);
        let drive = async {
            let mut back = 0;
            while let Some(event) = events.next().await {
                match event {
                    Ok(SessionPollResult::ConnectionLost(status)) => {
                        states.send_replace(State::Lost(status));
                    }
                    Ok(SessionPollResult::Reconnected(mode)) => {
                        back += 1;
                        let anew = matches!(mode, SessionConnectMode::NewSession(_));
                        states.send_replace(State::Back(back, anew));
                    }
                    Ok(_) => {}
                    Err(status) => return status,
                }
            }
            StatusCode::BadConnectionClosed
        };
        let work = async {
            let outcome = self.work(&session, &mut state, kept, backoff, &detail).await;
            // Without an answer the server ends the session by itself.
            let close = session.disconnect_inner(outcome.is_ok(), true);
            let _ = tokio::time::timeout(Duration::from_secs(2), close).await;
            outcome
        };
        tokio::pin!(drive, work);
        tokio::select! {
            outcome = &mut work => outcome,
            status = &mut drive => match tokio::time::timeout(Duration::from_millis(100), &mut work).await {
                Ok(outcome) => outcome,
                Err(_) if *stop.borrow() => Ok(()),
                Err(_) => Err(profile.refused(status, "")),
            },
        }
    }

    async fn work(
        &mut self,
        session: &Arc<Session>,
        state: &mut watch::Receiver<State>,
        kept: &mut Option<Kept>,
        backoff: &mut Backoff,
        detail: &str,
    ) -> Result<(), Trouble> {
        let failed = |error: &Error| {
            Trouble::new(format!("does not answer as it should: {error}"), "look at the server")
        };
        self.introduce(session).await.map_err(|error| failed(&error))?;
        let mut continued = match kept.as_mut() {
            Some(kept) => self.take_over(session, kept).await.is_ok(),
            None => false,
        };
        loop {
            let nodes = match kept.as_mut() {
                Some(_) if continued => None,
                _ => {
                    let made = self.subscribe(session).await?;
                    Some(Arc::clone(&kept.insert(made).nodes))
                }
            };
            let Some(subscription) = kept.as_mut() else { return Ok(()) };
            let count = subscription.nodes.len();
            let detail = format!("{count} variables; {detail}");
            self.send(Event::Up(Up { nodes, continued, detail }), count * 64).await;
            backoff.reset();
            match self.read(session, state, subscription).await {
                End::Stopped => return Ok(()),
                End::Failed(trouble) => return Err(trouble),
                End::Gone(why) => {
                    self.send(Event::Down(why), 0).await;
                    continued = false;
                }
            }
        }
    }

    /// Reads what the server says it is, and its clock.
    async fn introduce(&self, session: &Session) -> Result<(), Error> {
        let wanted = [VariableId::Server_ServerStatus_BuildInfo, VariableId::Server_ServerStatus_CurrentTime];
        let wanted = wanted.map(|id| ReadValueId::new_value(id.into()));
        let values = session.read(&wanted, TimestampsToReturn::Neither, 0.0).await?;
        let now = clock::now();
        let mut values = values.into_iter().map(|value| value.value);
        if let Some(Some(Variant::ExtensionObject(object))) = values.next()
            && let Some(info) = object.into_inner_as::<BuildInfo>()
        {
            self.send(Event::Identity(info), 512).await;
        }
        if let Some(Some(Variant::DateTime(time))) = values.next()
            && let Some(time) = values::micros(&time)
            && (time - now).abs() > SKEW_MAX
        {
            let detail = format!("the server's clock says {}", clock::rfc3339(time));
            self.say(coverage::SKEW, now, 1, detail).await;
        }
        Ok(())
    }

    /// Finds the variables and subscribes to them.
    async fn subscribe(&self, session: &Session) -> Result<Kept, Trouble> {
        let unanswered = |error: Error| {
            Trouble::new(
                format!("cannot be subscribed to: {error}"),
                "look at the server and at what the user may do there",
            )
        };
        let found = nodes::find(session, &self.profile).await.map_err(unanswered)?;
        if found.nodes.is_empty() {
            return Err(Trouble::new(
                format!("none of the variables is there{}", missing(&found.missing)),
                "look at `nodes` and `browse`; `yagura discover opcua` lists what the server has",
            ));
        }
        let server = &self.profile.server;
        let interval = server.publishing.duration();
        let count =
            |time: Duration| (time.as_secs_f64() / interval.as_secs_f64()).ceil().clamp(1.0, 1e6) as u32;
        let keep_alive = count(KEEP_ALIVE);
        let made = CreateSubscription::new(session)
            .publishing_interval(interval)
            .max_keep_alive_count(keep_alive)
            .max_lifetime_count(count(SESSION_KEPT).max(keep_alive.saturating_mul(3)))
            .max_notifications_per_publish(VALUES_MAX)
            .publishing_enabled(true)
            .send(session.channel())
            .await
            .map_err(unanswered)?;
        let interval =
            Duration::try_from_secs_f64(made.revised_publishing_interval / 1000.0).unwrap_or(interval);
        let nodes: Arc<[Node]> = found.nodes.into();
        let mut refused = Few::default();
        let mut refused_with = StatusCode::Good;
        for (index, chunk) in nodes.chunks(found.operations).enumerate() {
            let first = index * found.operations;
            let created = self.monitor(session, made.subscription_id, chunk.iter().zip(first as u32..)).await;
            for (node, status) in created.map_err(unanswered)? {
                refused.add(|| nodes[node as usize].name.clone());
                refused_with = status;
            }
        }
        if refused.count as usize == nodes.len() {
            return Err(Trouble::new(
                format!("the server lets nothing be subscribed to ({refused_with})"),
                "look at what the user may read there",
            ));
        }
        let now = clock::now();
        let few = [
            (found.missing, "the server has no such node".to_string()),
            (refused, format!("the server does not let it be subscribed to ({refused_with})")),
            (found.passed_over, "arrays and structures are not read".to_string()),
        ];
        for (few, why) in few {
            if few.count > 0 {
                self.say(coverage::UNKNOWN, now, few.count, format!("{why}: {}", few.list())).await;
            }
        }
        if found.more {
            let detail = "there are more variables than `max_nodes`; raise it, or narrow `include`";
            self.say(coverage::UNKNOWN, now, 1, detail.into()).await;
        }
        let keep_alive =
            interval.saturating_mul(made.revised_max_keep_alive_count).max(Duration::from_secs(1));
        let told = vec![false; nodes.len()];
        Ok(Kept { id: made.subscription_id, keep_alive, expected: None, nodes, told, overflowed: (0, now) })
    }

    /// Subscribes to some variables, and answers which the server refuses. One that cannot have a deadband gets none.
    async fn monitor<'a>(
        &self,
        session: &Session,
        subscription: u32,
        nodes: impl Iterator<Item = (&'a Node, u32)>,
    ) -> Result<Vec<(u32, StatusCode)>, Error> {
        let server = &self.profile.server;
        let item = |node: &Node, place: u32| MonitoredItemCreateRequest {
            item_to_monitor: ReadValueId::new_value(node.id.clone()),
            monitoring_mode: MonitoringMode::Reporting,
            requested_parameters: MonitoringParameters {
                // The library gives numbers of its own to handles of nought.
                client_handle: place + 1,
                sampling_interval: server.sampling.duration().as_secs_f64() * 1000.0,
                filter: filter(server.deadband.filter(|_| values::are_numbers(node.types))),
                queue_size: server.queue_size,
                discard_oldest: true,
            },
        };
        let mut items: Vec<_> = nodes.map(|(node, place)| item(node, place)).collect();
        let mut refused = Vec::new();
        while !items.is_empty() {
            let created = CreateMonitoredItems::new(subscription, session)
                .timestamps_to_return(TimestampsToReturn::Both)
                .items_to_create(std::mem::take(&mut items))
                .send(session.channel())
                .await?;
            for created in created.results {
                let status = created.result.status_code;
                let mut parameters = created.requested_parameters;
                if status.is_good() {
                    continue;
                }
                if parameters.filter.is_null() {
                    refused.push((parameters.client_handle - 1, status));
                    continue;
                }
                parameters.filter = ExtensionObject::null();
                items.push(MonitoredItemCreateRequest {
                    item_to_monitor: created.item_to_monitor,
                    monitoring_mode: created.monitoring_mode,
                    requested_parameters: parameters,
                });
            }
        }
        Ok(refused)
    }

    /// Has a new session go on with a subscription of an old one.
    async fn take_over(&mut self, session: &Session, kept: &mut Kept) -> Result<(), End> {
        let transfer =
            TransferSubscriptions::new(session).subscription(kept.id).send(session.channel()).await;
        let gone = |why: String| End::Gone(format!("the server keeps the subscription no longer ({why})"));
        let results = transfer.map_err(|error| gone(error.status().to_string()))?.results.unwrap_or_default();
        match results.first() {
            Some(result) if result.status_code.is_good() => self.catch_up(session, kept).await,
            Some(result) => Err(gone(result.status_code.to_string())),
            None => Err(gone("no answer".into())),
        }
    }

    /// Asks for every message after the last one that came, until there is none.
    async fn catch_up(&mut self, session: &Session, kept: &mut Kept) -> Result<(), End> {
        for _ in 0..MISSED_MAX {
            let expected = kept.expected.unwrap_or(1);
            match Republish::new(kept.id, expected, session).send(session.channel()).await {
                Ok(message) => self.deliver(kept, message.notification_message).await?,
                Err(error) if error.status() == StatusCode::BadSubscriptionIdInvalid => {
                    return Err(End::Gone("the server keeps the subscription no longer".into()));
                }
                // There is none, or the server does not do this: then the numbers of what comes tell.
                Err(_) => return Ok(()),
            }
        }
        Ok(())
    }

    /// Asks for notifications and hands them on, until something ends it.
    async fn read(
        &mut self,
        session: &Arc<Session>,
        state: &mut watch::Receiver<State>,
        kept: &mut Kept,
    ) -> End {
        let mut stop = self.stop.clone();
        let mut ahead = AHEAD;
        let mut asked = FuturesUnordered::new();
        // How often the connection came back: what was asked before is not answered any more.
        let mut era = 0;
        let mut lost = matches!(*state.borrow_and_update(), State::Lost(_));
        let silence = kept.keep_alive.mul_f64(2.5).max(Duration::from_secs(5));
        let patience = kept.keep_alive * (AHEAD as u32 + 1) + PATIENCE;
        let mut heard = clock::steady();
        loop {
            while !lost && asked.len() < ahead {
                asked.push(ask(Arc::clone(session), self.durable.take(), patience, era));
            }
            let left = silence.saturating_sub(Duration::from_micros((clock::steady() - heard).max(0) as u64));
            tokio::select! {
                biased;
                () = stopped(&mut stop) => return End::Stopped,
                changed = state.changed() => {
                    if changed.is_err() {
                        return End::Failed(self.profile.refused(StatusCode::BadConnectionClosed, ""));
                    }
                    let now = state.borrow_and_update().clone();
                    match now {
                        State::Connected => {}
                        State::Lost(status) => {
                            lost = true;
                            self.send(Event::Down(format!("the connection broke ({status})")), 0).await;
                        }
                        State::Back(_, anew) => {
                            let back = match anew {
                                true => self.take_over(session, kept).await,
                                false => self.catch_up(session, kept).await,
                            };
                            if let Err(end) = back {
                                return end;
                            }
                            lost = false;
                            era += 1;
                            let detail = "the connection is back, and the subscription went on meanwhile".into();
                            self.send(Event::Up(Up { nodes: None, continued: true, detail }), 0).await;
                        }
                    }
                    heard = clock::steady();
                }
                Some((answer, acknowledged, asked_in)) = asked.next() => match answer {
                    Ok(answer) => {
                        heard = clock::steady();
                        if let Err(end) = self.take(session, kept, answer).await {
                            return end;
                        }
                        // However long the log let it wait.
                        heard = heard.max(clock::steady() - SECOND);
                    }
                    Err(error) => {
                        self.durable.add(acknowledged);
                        let status = error.status();
                        if lost || asked_in != era {
                            continue;
                        }
                        if status == StatusCode::BadTooManyPublishRequests {
                            ahead = asked.len().max(1);
                        } else if status == StatusCode::BadNoSubscription
                            || status == StatusCode::BadSubscriptionIdInvalid
                        {
                            return End::Gone(format!("the server keeps the subscription no longer ({status})"));
                        } else {
                            // The connection's own state may say more in a moment.
                            match tokio::time::timeout(Duration::from_secs(1), state.changed()).await {
                                Ok(Ok(())) => state.mark_changed(),
                                _ => return End::Failed(self.profile.refused(status, &error.to_string())),
                            }
                        }
                    }
                },
                () = tokio::time::sleep(left), if !lost => {
                    let since = clock::now() - silence.as_micros() as Micros;
                    self.say(coverage::SILENT, since, 1, "not even a sign of life came".into()).await;
                    return End::Failed(Trouble::new("nothing comes any more", "look at the server and the way to it"));
                }
            }
        }
    }

    async fn take(&mut self, session: &Session, kept: &mut Kept, answer: PublishResponse) -> Result<(), End> {
        if answer.subscription_id != kept.id {
            return Ok(());
        }
        let message = answer.notification_message;
        let sequence = message.sequence_number;
        let keep_alive = message.notification_data.as_ref().is_none_or(Vec::is_empty);
        let expected = kept.expected.unwrap_or(sequence);
        // Numbers wrap around and leave nought out, which this counts as missing once in four thousand million.
        let ahead = sequence.wrapping_sub(expected).cast_signed();
        if ahead < 0 {
            return Ok(());
        }
        if ahead > 0 {
            self.recover(session, kept, expected, sequence).await?;
        }
        if keep_alive {
            kept.expected = Some(sequence);
            return Ok(());
        }
        self.deliver(kept, message).await
    }

    /// Asks for the messages of some numbers, and says which the server has no more.
    async fn recover(
        &mut self,
        session: &Session,
        kept: &mut Kept,
        from: u32,
        until: u32,
    ) -> Result<(), End> {
        let mut missing = until.wrapping_sub(from);
        let mut number = from;
        for _ in 0..missing.min(MISSED_MAX) {
            match Republish::new(kept.id, number, session).send(session.channel()).await {
                Ok(message) => {
                    missing -= 1;
                    self.deliver(kept, message.notification_message).await?;
                }
                Err(error) if error.status() == StatusCode::BadMessageNotAvailable => {}
                Err(_) => break,
            }
            number = after(number);
        }
        if missing > 0 {
            let detail =
                format!("messages between {from} and {until} did not come, and the server has them no more");
            self.say(coverage::GAP, clock::now(), u64::from(missing), detail).await;
        }
        Ok(())
    }

    /// Hands a message's values on, waiting while the log takes none.
    async fn deliver(&mut self, kept: &mut Kept, message: NotificationMessage) -> Result<(), End> {
        let observed = clock::now();
        let mut read = Read::default();
        for part in message.notification_data.unwrap_or_default() {
            if let Some(status) = part.inner_as::<StatusChangeNotification>().map(|change| change.status) {
                if status.is_bad() || status == StatusCode::GoodSubscriptionTransferred {
                    return Err(End::Gone(format!("the server ended the subscription ({status})")));
                }
            } else if let Some(changes) = part.into_inner_as::<DataChangeNotification>() {
                for item in changes.monitored_items.unwrap_or_default() {
                    read.value(kept, item.client_handle, &item.value);
                }
            }
        }
        let Read { numbers, texts, lies, unreadable, overflows } = read;
        let bytes = numbers.len() * size_of::<Number>()
            + texts.iter().map(|text| text.value.len() + 64).sum::<usize>();
        let (subscription, sequence) = (kept.id, message.sequence_number);
        self.send(Event::Values { subscription, sequence, numbers, texts }, bytes + 128).await;
        // Not before: what was broken off here is asked for again.
        kept.expected = Some(after(sequence));
        for (few, why) in
            [(lies, "of another type than declared"), (unreadable, "that can be no number and no text")]
        {
            if few.count > 0 {
                self.say(coverage::MALFORMED, observed, few.count, format!("values {why}: {}", few.list()))
                    .await;
            }
        }
        kept.overflowed.0 += overflows;
        if kept.overflowed.0 > 0 && (overflows == 0 || observed - kept.overflowed.1 >= SECOND) {
            let (count, since) = std::mem::replace(&mut kept.overflowed, (0, observed));
            let detail = "queues in the server overflowed, and it dropped values; raise `queue_size`".into();
            self.say(coverage::GAP, since.max(observed - 10 * SECOND), count, detail).await;
        } else if kept.overflowed.0 == 0 {
            kept.overflowed.1 = observed;
        }
        Ok(())
    }

    async fn say(&self, event: &'static str, from: Micros, count: u64, detail: String) {
        let bytes = detail.len();
        self.send(Event::Said { event, from, count, detail }, bytes).await;
    }

    async fn send(&self, event: Event, bytes: usize) {
        let message = Message { server: self.server, observed: clock::now(), event };
        // It comes back when the collector stops; so does the task, soon.
        let _ = self.feed.send(message, bytes + size_of::<Message>()).await;
    }
}

/// A message's values.
#[derive(Default)]
struct Read {
    numbers: Vec<Number>,
    texts: Vec<Text>,
    lies: Few,
    unreadable: Few,
    overflows: u64,
}

impl Read {
    fn value(&mut self, kept: &mut Kept, handle: u32, value: &DataValue) {
        let place = handle.wrapping_sub(1);
        let Some(node) = kept.nodes.get(place as usize) else { return };
        let quality = values::quality(value);
        let time = values::time(value);
        self.overflows += u64::from(value.status.is_some_and(|status| status.overflow()));
        let (number, content) = value.value.as_ref().map_or((0, Content::Nothing), values::content);
        let mut untold = || !std::mem::replace(&mut kept.told[place as usize], true);
        match content {
            Content::Nothing => {
                self.numbers.push(Number { time, value: f64::NAN, node: place, quality });
                return;
            }
            Content::Number(value) => self.numbers.push(Number { time, value, node: place, quality }),
            Content::Text(text) => {
                self.texts.push(Text { time, value: text.into_owned(), node: place, quality })
            }
            Content::Other => {
                if untold() {
                    self.unreadable.add(|| format!("{} is {}", node.name, values::type_name(number)));
                }
                return;
            }
        }
        if node.types & (1 << number) == 0 && untold() {
            self.lies.add(|| format!("{} is {}", node.name, values::type_name(number)));
        }
    }
}

/// Asks for a notification, and acknowledges those whose rows are durable. Gives back what it acknowledged, and when it
/// was asked.
async fn ask(
    session: Arc<Session>,
    acknowledged: Vec<(u32, u32)>,
    patience: Duration,
    era: u32,
) -> (Result<PublishResponse, Error>, Vec<(u32, u32)>, u32) {
    let acknowledgements = acknowledged
        .iter()
        .map(|&(subscription_id, sequence_number)| SubscriptionAcknowledgement {
            subscription_id,
            sequence_number,
        })
        .collect();
    let asked = Publish::new(&session).acks(acknowledgements).timeout(patience).send(session.channel()).await;
    (asked, acknowledged, era)
}

/// Returns when the collector stops.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// The number of the message after one.
fn after(sequence: u32) -> u32 {
    sequence.checked_add(1).unwrap_or(1)
}

fn filter(deadband: Option<Deadband>) -> ExtensionObject {
    let (kind, value) = match deadband {
        None => return ExtensionObject::null(),
        Some(Deadband::Absolute(value)) => (DeadbandType::Absolute, value),
        Some(Deadband::Percent(value)) => (DeadbandType::Percent, value),
    };
    ExtensionObject::from_message(DataChangeFilter {
        trigger: DataChangeTrigger::StatusValue,
        deadband_type: kind as u32,
        deadband_value: value,
    })
}

/// Names what is missing, if anything is.
fn missing(few: &Few) -> String {
    match few.count {
        0 => String::new(),
        _ => format!("; it has no {}", few.list()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_messages_leave_nought_out() {
        assert_eq!((after(1), after(u32::MAX)), (2, 1));
    }
}
