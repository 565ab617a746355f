//! A connection to one broker: it subscribes, hands up what comes, and acknowledges what became durable.
//!
//! While the collector takes nothing more, nothing is read: the broker keeps what comes, or drops what nobody is to
//! acknowledge. Pings and acknowledgements go out all the same.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::BytesMut;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};
use yagura_door::Fresh;
use yagura_event::clock::{self, Micros};

use super::wire::{self, Message, Packet, Protocol, Reader};
use crate::backoff::Backoff;
use crate::feed::Feed;
use crate::tls;

/// How long a broker may take for an answer, or for taking what is written.
const PATIENCE: Duration = Duration::from_secs(10);

/// The first pause before a broker is tried again, and the longest.
const PAUSES: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(30));

/// Room that is made for reads when less than a part of it is left: messages keep it until they are taken.
const READ_BYTES: usize = 256 << 10;
const ROOM_MIN: usize = 16 << 10;

/// Messages that are kept until a broker answers the subscription.
const EARLY_BYTES_MAX: usize = 1 << 20;

/// A broker, and how to speak with it.
pub(crate) struct Options {
    pub address: String,
    pub tls: Option<(Fresh<ClientConfig>, ServerName<'static>)>,
    pub protocol: Protocol,
    pub client_id: String,
    pub session: u32,
    pub keep_alive: u16,
    pub user: Option<String>,
    pub password: Option<Fresh<String>>,
    pub inflight: u16,
    pub payload_max: usize,
    /// Topics, each with its QoS.
    pub topics: Vec<(String, u8)>,
}

/// What a connection hands up.
pub(crate) enum Item {
    /// A broker is connected; in words, how.
    Up { broker: usize, connection: u64, at: Micros, resumed: bool, detail: String },
    /// It is not, and why.
    Down { broker: usize, at: Micros, detail: String },
    /// It refuses a subscription.
    Refused { broker: usize, at: Micros, detail: String },
    /// Messages that were read at once.
    Messages { broker: usize, connection: u64, at: Micros, messages: Vec<Message> },
}

impl Item {
    /// The collector's clock when it came.
    pub fn at(&self) -> Micros {
        match self {
            Item::Up { at, .. }
            | Item::Down { at, .. }
            | Item::Refused { at, .. }
            | Item::Messages { at, .. } => *at,
        }
    }
}

/// Why there is no connection, and what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub cause: String,
    pub remedy: String,
}

impl Failure {
    fn new(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Failure { cause: cause.into(), remedy: remedy.into() }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; {}", self.cause, self.remedy)
    }
}

/// What is to happen with connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// They are read.
    Reading,
    /// They are only written.
    Acknowledging,
    /// They are closed.
    Ended,
}

/// The way back: acknowledgements that a broker is to get.
#[derive(Default)]
pub(crate) struct Answers {
    waiting: Mutex<Waiting>,
    some: Notify,
}

#[derive(Default)]
struct Waiting {
    /// The connection that takes them: an identifier of another means another message.
    connection: u64,
    bytes: Vec<u8>,
}

impl Answers {
    /// Acknowledges messages of a connection; those of one that is gone come again.
    pub fn acknowledge(&self, connection: u64, messages: impl Iterator<Item = (u16, u8)>) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.connection == connection {
            for (id, qos) in messages {
                let first = if qos == 1 { wire::PUBACK } else { wire::PUBREC };
                wire::answer(&mut waiting.bytes, first, id);
            }
            self.some.notify_one();
        }
    }

    fn begin(&self, connection: u64) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        *waiting = Waiting { connection, bytes: Vec::new() };
    }

    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.waiting.lock().unwrap_or_else(PoisonError::into_inner).bytes)
    }
}

/// Serves one broker until the phase is [`Phase::Ended`].
pub(crate) struct Link {
    pub broker: usize,
    pub options: Arc<Options>,
    pub feed: Feed<Item>,
    pub answers: Arc<Answers>,
    pub phase: watch::Receiver<Phase>,
}

impl Link {
    pub async fn run(mut self) {
        let mut backoff = Backoff::new(PAUSES.0, PAUSES.1);
        let mut connection = 0;
        while *self.phase.borrow() == Phase::Reading {
            connection += 1;
            let opened = tokio::select! {
                opened = Session::open(&self.options) => opened,
                _ = self.phase.changed() => return,
            };
            let failure = match opened {
                Ok(session) => {
                    let began = Instant::now();
                    self.answers.begin(connection);
                    let detail = session.describe(&self.options);
                    let (broker, at, resumed) = (self.broker, clock::now(), session.resumed);
                    let up = Item::Up { broker, connection, at, resumed, detail };
                    if self.put(up).await.is_err() {
                        return;
                    }
                    let ended = session.serve(&mut self, connection).await;
                    if began.elapsed() > PAUSES.1 {
                        backoff.reset();
                    }
                    ended
                }
                Err(failure) => Err(failure),
            };
            let Err(failure) = failure else { return };
            let item = Item::Down { broker: self.broker, at: clock::now(), detail: failure.to_string() };
            if self.put(item).await.is_err() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(backoff.pause()) => {}
                _ = self.phase.changed() => return,
            }
        }
    }

    async fn put(&self, item: Item) -> Result<(), Item> {
        self.feed.send(item, wire::MESSAGE_BYTES).await
    }
}

/// Messages that wait for room.
type Sending = Pin<Box<dyn Future<Output = Result<(), Item>> + Send>>;

trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// A connection that a broker has accepted.
pub(crate) struct Session {
    stream: Box<dyn Stream>,
    reader: Reader,
    buffer: BytesMut,
    keep_alive: u16,
    /// The broker kept the session.
    pub resumed: bool,
    /// Messages that came before the broker answered the subscription.
    early: VecDeque<Packet>,
    /// What the broker answered: topics with the code of their refusal.
    pub refused: Vec<(String, u8)>,
}

impl Session {
    /// Connects and subscribes.
    pub async fn open(options: &Options) -> Result<Session, Failure> {
        match timeout(2 * PATIENCE, Session::connect(options)).await {
            Ok(opened) => opened,
            Err(_) => Err(Failure::new(
                "it took longer than 20 s to connect",
                "look whether the broker is there and speaks MQTT at this port",
            )),
        }
    }

    async fn connect(options: &Options) -> Result<Session, Failure> {
        let tls = options.tls.is_some();
        let broken = |cause: io::Error| broken(&cause, tls);
        let stream = timeout(PATIENCE, TcpStream::connect(&options.address)).await.map_err(|_| {
            Failure::new("nobody answers", "look whether the address is right and a firewall lets it through")
        })?;
        let stream = stream.map_err(|cause| unreachable(&cause))?;
        stream.set_nodelay(true).map_err(broken)?;
        let stream: Box<dyn Stream> = match &options.tls {
            None => Box::new(stream),
            Some((config, name)) => {
                let connector = tokio_rustls::TlsConnector::from(config.get());
                let secured = connector.connect(name.clone(), stream).await;
                Box::new(secured.map_err(|cause| handshake(&cause))?)
            }
        };
        let packet_max = options.payload_max + (1 << 16) + 64;
        let mut session = Session {
            stream,
            reader: Reader::new(options.protocol, packet_max),
            buffer: BytesMut::new(),
            keep_alive: options.keep_alive,
            resumed: false,
            early: VecDeque::new(),
            refused: Vec::new(),
        };
        let mut out = Vec::new();
        let password = options.password.as_ref().map(Fresh::get);
        wire::connect(
            &mut out,
            &wire::Connect {
                protocol: options.protocol,
                client_id: &options.client_id,
                session: options.session,
                keep_alive: options.keep_alive,
                user: options.user.as_deref(),
                password: password.as_ref().map(|password| password.as_str()),
                inflight: options.inflight,
                packet_max: u32::try_from(packet_max).unwrap_or(u32::MAX),
            },
        );
        session.stream.write_all(&out).await.map_err(broken)?;
        match session.packet(tls).await? {
            Packet::Connected { code: 0, resumed, keep_alive, .. } => {
                session.resumed = resumed;
                session.keep_alive = keep_alive.unwrap_or(options.keep_alive);
            }
            Packet::Connected { code, reason, .. } => {
                let (cause, remedy) = wire::refusal(options.protocol, code);
                return Err(Failure::new(said(cause, &reason), remedy));
            }
            Packet::Disconnected(code, reason) => {
                let (cause, remedy) = wire::refusal(options.protocol, code);
                return Err(Failure::new(said(cause, &reason), remedy));
            }
            _ => return Err(Failure::new("it does not speak MQTT", "name the port of the MQTT broker")),
        }
        session.subscribe(options).await?;
        Ok(session)
    }

    async fn subscribe(&mut self, options: &Options) -> Result<(), Failure> {
        let tls = options.tls.is_some();
        let mut out = Vec::new();
        wire::subscribe(
            &mut out,
            options.protocol,
            options.topics.iter().map(|(topic, qos)| (topic.as_str(), *qos)),
        );
        self.stream.write_all(&out).await.map_err(|cause| broken(&cause, tls))?;
        let mut early = 0;
        loop {
            match self.packet(tls).await? {
                Packet::Subscribed(codes) => {
                    let pairs = options.topics.iter().zip(codes);
                    self.refused = pairs
                        .filter(|(_, code)| *code >= 0x80)
                        .map(|((topic, _), code)| (topic.clone(), code))
                        .collect();
                    if self.refused.len() < options.topics.len() {
                        return Ok(());
                    }
                    let (topic, code) = &self.refused[0];
                    return Err(Failure::new(
                        format!("it refuses the subscription to {topic} (code {code})"),
                        "let the broker permit the user to read the topic",
                    ));
                }
                Packet::Disconnected(code, reason) => {
                    let cause = said(format!("it ended the connection (code {code})"), &reason);
                    return Err(Failure::new(cause, "look at the broker's log"));
                }
                // A session that was kept: its messages come before the answer.
                packet @ (Packet::Message(_) | Packet::Release(_)) => {
                    if let Packet::Message(message) = &packet {
                        early += message.size();
                    }
                    self.early.push_back(packet);
                    // There is much: the answer is looked at when it comes.
                    if early > EARLY_BYTES_MAX {
                        return Ok(());
                    }
                }
                _ => {}
            }
        }
    }

    /// The next packet.
    async fn packet(&mut self, tls: bool) -> Result<Packet, Failure> {
        loop {
            if let Some(packet) = self.reader.next(&mut self.buffer).map_err(no_mqtt)? {
                return Ok(packet);
            }
            make_room(&mut self.buffer);
            match self.stream.read_buf(&mut self.buffer).await {
                Ok(0) => return Err(closed(tls)),
                Ok(_) => {}
                Err(cause) => return Err(broken(&cause, tls)),
            }
        }
    }

    /// What the broker answered, in words.
    pub fn describe(&self, options: &Options) -> String {
        let version = if options.protocol == Protocol::V3 { "3.1.1" } else { "5" };
        let session = match (options.session, self.resumed) {
            (0, _) => "a session that ends with the connection",
            (_, true) => "a session that the broker kept",
            (_, false) => "a new session: what came before was not kept",
        };
        format!("MQTT {version}, {session}")
    }

    /// The next message, if one comes within `wait`.
    pub async fn listen(&mut self, wait: Duration) -> Result<Option<Message>, Failure> {
        let until = Instant::now() + wait;
        loop {
            let packet = match self.early.pop_front() {
                Some(packet) => packet,
                None => match tokio::time::timeout_at(until, self.packet(false)).await {
                    Ok(packet) => packet?,
                    Err(_) => return Ok(None),
                },
            };
            if let Packet::Message(message) = packet {
                return Ok(Some(message));
            }
        }
    }

    /// Says that nothing more is wanted.
    pub async fn close(mut self) {
        let _ = timeout(PATIENCE, async {
            self.stream.write_all(&wire::DISCONNECT).await?;
            self.stream.shutdown().await
        })
        .await;
    }

    /// Hands up what comes until the phase is [`Phase::Ended`], which is in order.
    async fn serve(self, link: &mut Link, connection: u64) -> Result<(), Failure> {
        let tls = link.options.tls.is_some();
        for (topic, code) in &self.refused {
            let detail = format!(
                "the broker refuses the subscription to {topic} (code {code}); let it permit the user to read it"
            );
            let _ = link.put(Item::Refused { broker: link.broker, at: clock::now(), detail }).await;
        }
        let Session { stream, mut reader, mut buffer, keep_alive, mut early, .. } = self;
        let (mut input, mut output) = tokio::io::split(stream);
        let period = Duration::from_secs(u64::from(keep_alive.max(1))).mul_f64(0.75);
        let mut ping = interval_at(Instant::now() + period, period);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let mut sending: Option<Sending> = None;
        let mut out = Vec::new();
        loop {
            if sending.is_none() {
                let messages = packets(&mut reader, &mut buffer, &mut early, &mut out)?;
                if !messages.is_empty() {
                    let bytes = messages.iter().map(Message::size).sum();
                    let item = Item::Messages { broker: link.broker, connection, at: clock::now(), messages };
                    if let Err(item) = link.feed.try_send(item, bytes) {
                        let feed = link.feed.clone();
                        sending = Some(Box::pin(async move { feed.send(item, bytes).await }));
                    }
                }
            }
            if !out.is_empty() {
                let written = timeout(PATIENCE, async {
                    output.write_all(&out).await?;
                    output.flush().await
                });
                match written.await {
                    Ok(written) => written.map_err(|cause| broken(&cause, tls))?,
                    Err(_) => return Err(Failure::new("it takes nothing any more", "look at the broker")),
                }
                out.clear();
            }
            let phase = *link.phase.borrow_and_update();
            if phase == Phase::Ended {
                let _ = timeout(PATIENCE, async {
                    output.write_all(&link.answers.take()).await?;
                    output.write_all(&wire::DISCONNECT).await?;
                    output.shutdown().await
                })
                .await;
                return Ok(());
            }
            make_room(&mut buffer);
            let reading = sending.is_none() && phase == Phase::Reading;
            tokio::select! {
                read = input.read_buf(&mut buffer), if reading => {
                    if read.map_err(|cause| broken(&cause, tls))? == 0 {
                        return Err(closed(tls));
                    }
                    heard = Instant::now();
                }
                sent = async { match &mut sending {
                    Some(sending) => sending.await,
                    None => std::future::pending().await,
                } } => {
                    sending = None;
                    heard = Instant::now();
                    // The collector has stopped: what was not taken is not acknowledged.
                    if sent.is_err() && phase == Phase::Reading {
                        return Ok(());
                    }
                }
                () = link.answers.some.notified() => out.append(&mut link.answers.take()),
                _ = link.phase.changed() => {}
                _ = ping.tick() => {
                    if reading && heard.elapsed() > 2 * period {
                        return Err(Failure::new("it does not answer any more", "look at the broker and the network"));
                    }
                    out.extend_from_slice(&wire::PING);
                }
            }
        }
    }
}

fn make_room(buffer: &mut BytesMut) {
    if buffer.capacity() - buffer.len() < ROOM_MIN {
        buffer.reserve(READ_BYTES);
    }
}

/// The messages that were read whole; answers that wait for nothing are written to `out`.
fn packets(
    reader: &mut Reader,
    buffer: &mut BytesMut,
    early: &mut VecDeque<Packet>,
    out: &mut Vec<u8>,
) -> Result<Vec<Message>, Failure> {
    let mut messages = Vec::new();
    loop {
        let packet = match early.pop_front() {
            Some(packet) => packet,
            None => match reader.next(buffer).map_err(no_mqtt)? {
                Some(packet) => packet,
                None => return Ok(messages),
            },
        };
        match packet {
            Packet::Message(message) => messages.push(message),
            // The message is durable since its PUBREC went out, in this session or in the one before.
            Packet::Release(id) => wire::answer(out, wire::PUBCOMP, id),
            Packet::Subscribed(codes) if codes.iter().any(|code| *code >= 0x80) => {
                let cause = format!("it refuses subscriptions (codes {codes:?})");
                return Err(Failure::new(cause, "let the broker permit the user to read the topics"));
            }
            Packet::Disconnected(code, reason) => {
                let cause = said(format!("it ended the connection (code {code})"), &reason);
                return Err(Failure::new(cause, "look at the broker's log"));
            }
            _ => {}
        }
    }
}

fn said(cause: impl Into<String>, reason: &str) -> String {
    let cause = cause.into();
    if reason.is_empty() { cause } else { format!("{cause}: {reason}") }
}

fn no_mqtt(malformed: wire::Malformed) -> Failure {
    Failure::new(format!("it does not speak MQTT: {}", malformed.0), "name the port of the MQTT broker")
}

fn closed(tls: bool) -> Failure {
    let remedy = match tls {
        true => "look at the broker's log",
        false => "look at the broker's log; if this port speaks TLS, give `tls`",
    };
    Failure::new("it closed the connection", remedy)
}

fn broken(cause: &io::Error, tls: bool) -> Failure {
    match tls::explain(cause) {
        Some((cause, remedy)) => Failure::new(format!("TLS: {cause}"), remedy),
        None if cause.kind() == io::ErrorKind::UnexpectedEof => closed(tls),
        None => Failure::new(format!("the connection broke: {cause}"), closed(tls).remedy),
    }
}

fn handshake(cause: &io::Error) -> Failure {
    match tls::explain(cause) {
        Some(_) => broken(cause, true),
        None => Failure::new(
            format!("TLS: it broke off the handshake: {cause}"),
            "this port may not speak TLS: leave `tls` out, or name the port",
        ),
    }
}

fn unreachable(cause: &io::Error) -> Failure {
    match cause.kind() {
        io::ErrorKind::ConnectionRefused => Failure::new(
            "the port is closed",
            "look whether the broker runs and the port of its `address` is right",
        ),
        _ => Failure::new(
            format!("cannot be reached: {cause}"),
            "look whether the name and the port of its `address` are right",
        ),
    }
}
