//! MQTT brokers as a source: Sparkplug B, JSON with a mapping, or topics that are values.
//!
//! A message with QoS 1 or 2 is acknowledged when its rows are durable: what the collector had not taken when it
//! stopped comes again, to the same client id. Such a message is marked by the broker: Sparkplug B's numbers tell
//! whether it was taken before, then it is left out; of others a `repeated` row says that rows may stand twice.
//!
//! A broker has so many messages in flight at a time (mosquitto: `max_inflight_messages`, 20 unless set) and sends no
//! more until some are acknowledged. So what came is made durable early, when ten wait and no more come.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use serde::Deserialize;
use tokio::runtime::Handle;
use tokio::sync::watch;
use yagura_door::Fresh;
use yagura_event::amounts::{Bytes, Time};
use yagura_event::clock::{self, Micros, SECOND};
use yagura_event::rows::{Row, RowSink};
use yagura_event::vocabulary::coverage;

use crate::complaints::Complaints;
use crate::feed::{Feed, Outlet, feed};
use crate::mapping::{Mapper, Mapping};
use crate::names::Signals;
use crate::places::{PlacedSink, Places};
use crate::reports::Reports;
use crate::source::{LiveSource, Opened, Opening, Seen, Settings, SourceError};
use crate::tls::ClientTls;

mod births;
pub(crate) mod payload;
mod plain;
pub(crate) mod session;
mod sparkplug;
pub(crate) mod wire;

use births::Births;
use plain::Topics;
use session::{Answers, Item, Link, Options, Phase, Session};
use sparkplug::{Limits, Out, Sparkplug};
use wire::{Message, Protocol};

/// How much is taken from the queue at once.
const TAKE_BYTES: usize = 1 << 20;

/// Messages that wait for their acknowledgement before it is hurried, when no more come.
const HURRY_AT: usize = 10;

/// How long no message must come for that.
const QUIET: Duration = Duration::from_millis(2);

/// How long connections are waited for at the end.
const PARTING: Duration = Duration::from_secs(2);

/// Settings of `kind: mqtt`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MqttSettings {
    /// The brokers; all of them are read.
    brokers: Vec<Broker>,
    /// `3.1.1` or `5`.
    #[serde(default = "defaults::protocol")]
    protocol: Protocol,
    /// Under which name brokers know the collector and keep its messages; `yagura-` and its name unless given.
    #[serde(default)]
    client_id: Option<String>,
    /// How long brokers keep messages with QoS 1 and 2 while the collector is away; `0s` for not at all. With 3.1.1
    /// the broker decides how long.
    #[serde(default = "defaults::session")]
    session: Time,
    /// How often a connection shows that it lives.
    #[serde(default = "defaults::keep_alive")]
    keep_alive: Time,
    /// The user.
    #[serde(default)]
    user: Option<String>,
    /// A file with the user's password.
    #[serde(default)]
    password_file: Option<PathBuf>,
    /// What is read; all of Sparkplug B unless given.
    #[serde(default)]
    topics: Vec<Topic>,
    /// What messages are.
    format: Format,
    /// For `format: json`: what objects are. `${topic}` stands for the topic, `${topic.0}` for its first level.
    #[serde(default)]
    mapping: Option<Mapping>,
    /// How long nothing may come before that is told.
    #[serde(default)]
    silence: Option<Time>,
    /// Rows are handed to the log after this much time.
    #[serde(default = "defaults::batch")]
    batch: Time,
    /// Memory for messages that were read and not taken yet; a broker is not read on when it is full.
    #[serde(default = "defaults::queue")]
    queue: Bytes,
    /// The largest payload; larger ones are left out and told.
    #[serde(default = "defaults::payload_max")]
    payload_max: Bytes,
    /// Messages that a broker may send before the first is acknowledged (MQTT 5; with 3.1.1 the broker decides).
    #[serde(default = "defaults::inflight")]
    inflight: u16,
    /// For `format: sparkplug`: edge nodes.
    #[serde(default = "defaults::nodes_max")]
    nodes_max: usize,
    /// For `format: sparkplug`: devices of all nodes.
    #[serde(default = "defaults::devices_max")]
    devices_max: usize,
    /// For `format: sparkplug`: metrics of all nodes and devices.
    #[serde(default = "defaults::metrics_max")]
    metrics_max: usize,
    /// For `format: value`: topics.
    #[serde(default = "defaults::topics_max")]
    topics_max: usize,
}

/// A broker.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Broker {
    /// `HOST:PORT`.
    address: String,
    /// How it is spoken to in TLS; in plain text without.
    #[serde(default)]
    tls: Option<ClientTls>,
}

/// Topics that are read.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Topic {
    /// A filter, with `+` for one level and `#` for all further ones.
    topic: String,
    /// 0, 1 or 2.
    #[serde(default = "defaults::qos")]
    qos: u8,
}

/// What messages are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    /// Sparkplug B.
    Sparkplug,
    /// A JSON object, or an array of some.
    Json,
    /// A number or a text; the topic is its name.
    Value,
}

mod defaults {
    use super::*;

    pub fn protocol() -> Protocol {
        Protocol::V3
    }
    pub fn session() -> Time {
        Time(3600 * SECOND)
    }
    pub fn keep_alive() -> Time {
        Time(30 * SECOND)
    }
    pub fn batch() -> Time {
        Time(SECOND / 5)
    }
    pub fn queue() -> Bytes {
        Bytes(64 << 20)
    }
    pub fn payload_max() -> Bytes {
        Bytes(16 << 20)
    }
    pub fn inflight() -> u16 {
        4096
    }
    pub fn nodes_max() -> usize {
        10_000
    }
    pub fn devices_max() -> usize {
        100_000
    }
    pub fn metrics_max() -> usize {
        1_000_000
    }
    pub fn topics_max() -> usize {
        100_000
    }
    pub fn qos() -> u8 {
        1
    }
}

impl Settings for MqttSettings {
    const KIND: &'static str = "mqtt";
    const READS: &'static str =
        "MQTT 3.1.1 and 5: Sparkplug B, JSON with a mapping, or topics that are values";

    fn open(self, at: &Opening<'_>) -> Result<Opened, SourceError> {
        Ok(Opened::Live(Box::new(MqttSource::new(&self, at)?)))
    }

    fn probe(self, at: &Opening<'_>) -> Result<String, SourceError> {
        MqttSource::new(&self, at)?;
        let mut answers = Vec::new();
        for options in self.visitors("probe", at)? {
            let address = options.address.clone();
            let opened = wait_for(&at.plant.runtime, async move {
                let session = Session::open(&options).await?;
                let found = session.describe(&options);
                let refused = session.refused.clone();
                session.close().await;
                Ok((found, refused))
            });
            let peer = |failure: session::Failure| SourceError::Peer {
                peer: format!("MQTT broker {address}"),
                cause: failure.cause,
                remedy: failure.remedy,
            };
            let (found, refused) = opened.map_err(peer)?;
            if let Some((topic, code)) = refused.first() {
                return Err(peer(session::Failure {
                    cause: format!("it refuses the subscription to {topic} (code {code})"),
                    remedy: "let the broker permit the user to read the topic".into(),
                }));
            }
            answers.push(format!("{address}: {found}, every topic is subscribed"));
        }
        Ok(answers.join("; "))
    }
}

/// The longest text of MQTT (section 1.5.4).
const TEXT_MAX: usize = u16::MAX as usize;

fn password(file: &Path, at: &Opening<'_>) -> Result<Fresh<String>, SourceError> {
    let own = file.to_owned();
    at.fresh(&[file], move |at| match at.secret(&own)? {
        password if password.len() > TEXT_MAX => Err(at.wrong("a password has at most 65535 bytes")),
        password => Ok(password),
    })
}

impl MqttSettings {
    /// How each broker is spoken to.
    fn options(&self, at: &Opening<'_>) -> Result<Vec<Options>, SourceError> {
        if self.brokers.is_empty() {
            return Err(at.wrong("`brokers` names none: write `- address: HOST:PORT`"));
        }
        let topics = self.filters(at)?;
        let password = self.password_file.as_ref().map(|file| password(file, at)).transpose()?;
        if password.is_some() && self.user.is_none() {
            return Err(at.wrong("`password_file` needs a `user`"));
        }
        let client_id = self.client_id.clone().unwrap_or_else(|| format!("yagura-{}", at.collector));
        for text in [Some(&client_id), self.user.as_ref()].into_iter().flatten() {
            if text.len() > TEXT_MAX {
                return Err(at.wrong("client id and user have at most 65535 bytes"));
            }
        }
        let seconds = |time: Time| u64::try_from(time.0 / SECOND).unwrap_or_default();
        let keep_alive = u16::try_from(seconds(self.keep_alive)).ok().filter(|seconds| *seconds > 0);
        let Some(keep_alive) = keep_alive else {
            return Err(at.wrong("`keep_alive` is from 1s to 65535s"));
        };
        let payload_max = self.payload_max.len();
        if payload_max > 256 << 20 {
            return Err(at.wrong("`payload_max` is at most 256MiB: MQTT has no larger payloads"));
        }
        let one = |broker: &Broker| {
            let Some((host, port)) = broker.address.rsplit_once(':') else {
                return Err(at.wrong(format!("`{}` is no address: write HOST:PORT", broker.address)));
            };
            if port.parse::<u16>().is_err() || host.is_empty() {
                return Err(at.wrong(format!("`{}` is no address: write HOST:PORT", broker.address)));
            }
            let host = host.trim_start_matches('[').trim_end_matches(']');
            let tls = match &broker.tls {
                None => None,
                Some(tls) => Some((tls.config(at)?, tls.name(host, at)?)),
            };
            Ok(Options {
                address: broker.address.clone(),
                tls,
                protocol: self.protocol,
                client_id: client_id.clone(),
                session: u32::try_from(seconds(self.session)).unwrap_or(u32::MAX),
                keep_alive,
                user: self.user.clone(),
                password: password.clone(),
                inflight: self.inflight,
                payload_max,
                topics: topics.clone(),
            })
        };
        self.brokers.iter().map(one).collect()
    }

    /// Whether messages are JSON with a mapping.
    pub(crate) fn is_json(&self) -> bool {
        self.format == Format::Json
    }

    /// Whether messages are Sparkplug B.
    pub(crate) fn is_sparkplug(&self) -> bool {
        self.format == Format::Sparkplug
    }

    /// How each broker is spoken to beside a collector that runs: without touching its session.
    pub(crate) fn visitors(&self, who: &str, at: &Opening<'_>) -> Result<Vec<Options>, SourceError> {
        let mut options = self.options(at)?;
        for options in &mut options {
            options.session = 0;
            options.client_id.push('-');
            options.client_id.push_str(who);
        }
        Ok(options)
    }

    fn filters(&self, at: &Opening<'_>) -> Result<Vec<(String, u8)>, SourceError> {
        if self.topics.is_empty() {
            if self.format != Format::Sparkplug {
                return Err(at.wrong("`topics` names none: write `- topic: FILTER`"));
            }
            return Ok(vec![("spBv1.0/#".into(), 1)]);
        }
        let mut seen = BTreeSet::new();
        for Topic { topic, qos } in &self.topics {
            if *qos > 2 {
                return Err(at.wrong(format!("`qos` of {topic} is 0, 1 or 2")));
            }
            let levels: Vec<&str> = topic.split('/').collect();
            let last = levels.len() - 1;
            let is_filter = levels.iter().enumerate().all(|(nth, level)| {
                *level == "+" || (*level == "#" && nth == last) || !level.contains(['+', '#', '\0'])
            });
            if topic.is_empty() || topic.len() > usize::from(u16::MAX) || !is_filter {
                return Err(at.wrong(format!(
                    "`{topic}` is no filter of topics: `+` stands for a whole level, `#` for all that follow"
                )));
            }
            if !seen.insert(topic) {
                return Err(at.wrong(format!("`topics` names {topic} twice")));
            }
        }
        Ok(self.topics.iter().map(|topic| (topic.topic.clone(), topic.qos)).collect())
    }
}

/// Runs what needs a runtime, from a thread that has none.
pub(crate) fn wait_for<T: Send + 'static>(
    runtime: &Handle,
    what: impl Future<Output = Result<T, session::Failure>> + Send + 'static,
) -> Result<T, session::Failure> {
    let (done, result) = mpsc::sync_channel(1);
    runtime.spawn(async move {
        // Nobody else waits.
        let _ = done.try_send(what.await);
    });
    result.recv().unwrap_or_else(|_| {
        Err(session::Failure { cause: "it was interrupted".into(), remedy: "try again".into() })
    })
}

enum Decoder {
    Sparkplug(Sparkplug),
    Json(Mapper),
    Value(Topics),
}

/// Brokers being read.
struct MqttSource {
    collector: String,
    batch: Micros,
    topics_max: usize,
    decoder: Decoder,
    /// Where births are kept, so that it is known after a restart what aliases mean.
    store: Option<Births>,
    /// Births since the last time that everything was durable.
    born: Vec<(usize, Message)>,
    signals: Signals,
    told: Complaints,
    brokers: Vec<Peer>,
    runtime: Handle,
    feed: Feed<Item>,
    outlet: Outlet<Item>,
    taken: Vec<Item>,
    /// Nothing came the last time.
    quiet: bool,
    /// Messages that wait for their acknowledgement.
    unacknowledged: usize,
    /// No row observed before will follow.
    promised: Micros,
    looked: Micros,
    dropped: u64,
    phase: watch::Sender<Phase>,
    /// Answers when a connection is closed.
    parted: (mpsc::SyncSender<()>, mpsc::Receiver<()>),
}

struct Peer {
    options: Arc<Options>,
    reports: Reports,
    answers: Arc<Answers>,
    connection: u64,
    unacknowledged: Vec<(u16, u8)>,
}

impl MqttSource {
    fn new(settings: &MqttSettings, at: &Opening<'_>) -> Result<Self, SourceError> {
        let options = settings.options(at)?;
        let limits = Limits {
            nodes: settings.nodes_max,
            devices: settings.devices_max,
            metrics: settings.metrics_max,
        };
        let decoder = match (settings.format, &settings.mapping) {
            (Format::Json, None) => {
                return Err(at.wrong("`format: json` needs a `mapping`: what its objects are"));
            }
            (Format::Json, Some(mapping)) => {
                Decoder::Json(Mapper::new(mapping).map_err(|problem| at.wrong(problem))?)
            }
            (_, Some(_)) => return Err(at.wrong("`mapping` goes with `format: json` alone")),
            (Format::Sparkplug, None) => Decoder::Sparkplug(Sparkplug::new(limits, options.len())),
            (Format::Value, None) => Decoder::Value(Topics::default()),
        };
        let silence = settings.silence.map(|time| time.0);
        let brokers: Vec<Peer> = options
            .into_iter()
            .map(|options| Peer {
                reports: Reports::new(&format!("mqtt {}", options.address), silence),
                options: Arc::new(options),
                answers: Arc::default(),
                connection: 0,
                unacknowledged: Vec::new(),
            })
            .collect();
        let (feed, outlet) = feed(settings.queue.len());
        Ok(MqttSource {
            collector: at.collector.into(),
            batch: settings.batch.0,
            topics_max: settings.topics_max,
            decoder,
            store: None,
            born: Vec::new(),
            signals: Signals::new(at.collector, &at.plant.names),
            told: Complaints::default(),
            runtime: at.plant.runtime.clone(),
            feed,
            outlet,
            taken: Vec::new(),
            quiet: false,
            unacknowledged: 0,
            promised: 0,
            looked: 0,
            dropped: 0,
            phase: watch::Sender::new(Phase::Reading),
            parted: mpsc::sync_channel(brokers.len()),
            brokers,
        })
    }

    fn restore(&mut self, notes: &Path) -> Result<(), SourceError> {
        let Decoder::Sparkplug(sparkplug) = &mut self.decoder else { return Ok(()) };
        let file = notes.join(format!("{}.births", self.collector));
        let (store, births) = Births::open(&file).map_err(|cause| SourceError::Open {
            file: file.display().to_string(),
            cause: format!("births cannot be kept there: {cause}"),
        })?;
        self.store = Some(store);
        let now = clock::now();
        for (address, message) in births {
            let Some(broker) = self.brokers.iter().position(|b| b.options.address == address) else {
                continue;
            };
            let mut out = Out { signals: &mut self.signals, told: &self.told, rows: &mut Nowhere, now };
            sparkplug.restore(broker, &message, &mut out);
        }
        // Nothing of this was said to anybody.
        self.told = Complaints::default();
        Ok(())
    }

    fn item(&mut self, item: Item, rows: &mut dyn PlacedSink) {
        match item {
            Item::Up { broker, connection, at, detail, resumed } => {
                let at = self.promised.max(at);
                let peer = &mut self.brokers[broker];
                peer.connection = connection;
                // Their identifiers are free again: what was not acknowledged comes once more.
                self.unacknowledged -= peer.unacknowledged.len();
                peer.unacknowledged.clear();
                peer.reports.up(at, &detail, rows);
                if let Decoder::Sparkplug(sparkplug) = &mut self.decoder {
                    sparkplug.interrupted(broker, resumed);
                }
            }
            Item::Down { broker, at, detail } => {
                self.brokers[broker].reports.down(self.promised.max(at), &detail, rows);
            }
            Item::Refused { broker, at, detail } => {
                let at = self.promised.max(at);
                let subject = self.brokers[broker].reports.subject();
                self.told.say(coverage::DOWN, subject, Some(at), 1, || detail);
            }
            Item::Messages { broker, connection, at, messages } => {
                let at = self.promised.max(at);
                self.brokers[broker].reports.heard(at);
                for message in messages {
                    self.message(broker, connection, message, at, rows);
                }
            }
        }
    }

    fn message(
        &mut self,
        broker: usize,
        connection: u64,
        message: Message,
        now: Micros,
        rows: &mut dyn PlacedSink,
    ) {
        let peer = &mut self.brokers[broker];
        if message.qos > 0 && connection == peer.connection {
            peer.unacknowledged.push((message.id, message.qos));
            self.unacknowledged += 1;
        }
        let mut out = Out { signals: &mut self.signals, told: &self.told, rows, now };
        if let Some(bytes) = message.oversize {
            self.dropped += 1;
            let detail = || {
                let topic = plain::clip(message.topic());
                format!("{topic}: a message of {bytes} bytes; `payload_max` says how large they may be")
            };
            return out.tell(coverage::DROP, peer.reports.subject(), 1, detail);
        }
        if message.again && !matches!(self.decoder, Decoder::Sparkplug(_)) {
            let detail = || {
                let topic = plain::clip(message.topic());
                format!("{topic}: delivered again: its rows may stand twice")
            };
            out.tell(coverage::REPEATED, peer.reports.subject(), 1, detail);
        }
        match &mut self.decoder {
            Decoder::Json(mapper) => plain::json(mapper, &message, &mut out),
            Decoder::Value(topics) => topics.message(&message, self.topics_max, &mut out),
            Decoder::Sparkplug(sparkplug) => {
                if sparkplug.message(broker, &message, &mut out) && self.store.is_some() {
                    self.born.push((broker, message));
                }
            }
        }
    }

    fn keep_births(&mut self) {
        let Some(store) = &mut self.store else { return };
        if self.born.is_empty() {
            return;
        }
        let brokers = &self.brokers;
        let births =
            self.born.iter().map(|(broker, message)| (brokers[*broker].options.address.as_str(), message));
        if let Err(cause) = store.append(births) {
            let collector = &self.collector;
            tracing::warn!(%collector, %cause, "births were not kept; a restart does not know their aliases");
        }
        self.born.clear();
    }
}

impl LiveSource for MqttSource {
    fn collector(&self) -> &str {
        &self.collector
    }

    fn batch(&self) -> Micros {
        self.batch
    }

    fn begin(&mut self, _: &Places, notes: &Path) -> Result<(), SourceError> {
        self.restore(notes)?;
        for (broker, peer) in self.brokers.iter().enumerate() {
            let link = Link {
                broker,
                options: Arc::clone(&peer.options),
                feed: self.feed.clone(),
                answers: Arc::clone(&peer.answers),
                phase: self.phase.subscribe(),
            };
            let parted = self.parted.0.clone();
            self.runtime.spawn(async move {
                link.run().await;
                // There is room for all.
                let _ = parted.try_send(());
            });
        }
        Ok(())
    }

    fn advance(&mut self, wait: Duration, out: &mut dyn PlacedSink) -> Micros {
        let wait = if self.unacknowledged >= HURRY_AT { wait.min(QUIET) } else { wait };
        let mut taken = std::mem::take(&mut self.taken);
        self.outlet.take(wait, TAKE_BYTES, &mut taken);
        self.quiet = taken.is_empty();
        let mut last = self.promised;
        for item in taken.drain(..) {
            last = last.max(item.at());
            self.item(item, out);
        }
        self.taken = taken;
        // What waits was read before now.
        let now = if self.feed.bytes() > 0 { last } else { clock::now() };
        self.promised = self.promised.max(now);
        self.told.tell(&self.collector, self.promised, out);
        if self.promised - self.looked >= SECOND {
            self.looked = self.promised;
            self.signals.report(self.promised, out);
            for peer in &mut self.brokers {
                peer.reports.look(self.promised, out);
            }
        }
        self.promised
    }

    fn urgent(&self) -> bool {
        self.quiet && self.unacknowledged >= HURRY_AT
    }

    fn durable(&mut self) {
        self.keep_births();
        for peer in &mut self.brokers {
            if !peer.unacknowledged.is_empty() {
                peer.answers.acknowledge(peer.connection, peer.unacknowledged.drain(..));
            }
        }
        self.unacknowledged = 0;
        if *self.phase.borrow() == Phase::Acknowledging {
            self.phase.send_replace(Phase::Ended);
            for _ in &self.brokers {
                if self.parted.1.recv_timeout(PARTING).is_err() {
                    break;
                }
            }
        }
    }

    fn finish(&mut self, out: &mut dyn PlacedSink) {
        self.phase.send_replace(Phase::Acknowledging);
        self.outlet.close();
        let mut taken = Vec::new();
        self.outlet.take(Duration::ZERO, usize::MAX, &mut taken);
        for item in taken {
            self.item(item, out);
        }
        let now = self.promised.max(clock::now());
        self.told.finish(&self.collector, now, out);
        for peer in &mut self.brokers {
            peer.reports.stop(now, "the collector stopped", out);
        }
    }

    fn seen(&self) -> Seen {
        Seen { dropped: self.dropped, ..Seen::default() }
    }
}

impl Drop for MqttSource {
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Ended);
    }
}

/// Rows that were in the log before.
struct Nowhere;

impl RowSink for Nowhere {
    fn push(&mut self, _: Row<'_>) {}
}

impl PlacedSink for Nowhere {}

#[cfg(test)]
mod tests;
