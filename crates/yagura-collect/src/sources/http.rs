//! Rows over HTTP: JSON lines or arrays, plain or gzip, with a token, TLS, and 429 while the log does not take them.
//!
//! A body is checked where it arrives and is taken as a whole or not at all. Its sender is answered when its rows are
//! durable. Senders that number their bodies (`Yagura-Stream`, `Yagura-Position`) may send again what they are not sure
//! of: rows that the log holds are left out.

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyper::StatusCode;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::sync::{oneshot, watch};
use tokio_rustls::TlsAcceptor;
use yagura_door::{Fresh, ServerTls};
use yagura_event::Kind;
use yagura_event::amounts::{Bytes, Time};
use yagura_event::clock::{self, Micros};

use self::body::Budget;
use self::serve::{Arrived, Content, Outcome, Refusal, Server};
use crate::complaints::Complaints;
use crate::feed::{Feed, Outlet, feed};
use crate::mapping::{Mapper, Mapping};
use crate::names::Signals;
use crate::places::{PlacedSink, Places};
use crate::reports::Reports;
use crate::source::{LiveSource, Opened, Opening, Seen, Settings, SourceError};
use crate::source::{bind, cannot_listen};

mod body;
mod openapi;
mod serve;

/// Settings of `kind: http`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpSettings {
    /// Where it listens: `0.0.0.0:8080`.
    listen: SocketAddr,
    /// Certificates; without them connections are not encrypted.
    #[serde(default)]
    tls: Option<ServerTls>,
    /// A file of tokens, one a line, of which a sender must present one.
    #[serde(default)]
    token_file: Option<PathBuf>,
    /// Says that anybody may send who reaches an address of the network: without tokens and client certificates.
    #[serde(default)]
    anonymous: bool,
    /// What streams with a declared mapping are: `POST /v1/rows/NAME` or `?stream=NAME`.
    #[serde(default)]
    streams: BTreeMap<String, Mapping>,
    /// The largest body, unpacked.
    #[serde(default = "body_default")]
    body: Bytes,
    /// The longest row.
    #[serde(default = "row_default")]
    row: Bytes,
    /// What all bodies that are read or wait may hold together; beyond it senders are answered 429.
    #[serde(default = "queue_default")]
    queue: Bytes,
    /// How many connections at a time; further ones wait to be taken.
    #[serde(default = "connections_default")]
    connections: usize,
    /// How long the head of a request, or the next request of a connection, may take.
    #[serde(default = "header_timeout_default")]
    header_timeout: Time,
    /// How long a body may take.
    #[serde(default = "body_timeout_default")]
    body_timeout: Time,
    /// How long an answer waits for the rows to be durable; then it is 503.
    #[serde(default = "answer_timeout_default")]
    answer_timeout: Time,
    /// Rows are handed to the log after this time. Answers wait for it.
    #[serde(default = "batch_default")]
    batch: Time,
    /// After how long without a body the source is called silent.
    #[serde(default)]
    silence: Option<Time>,
}

fn body_default() -> Bytes {
    Bytes(16 << 20)
}

fn row_default() -> Bytes {
    Bytes(1 << 20)
}

fn queue_default() -> Bytes {
    Bytes(128 << 20)
}

fn connections_default() -> usize {
    1024
}

fn header_timeout_default() -> Time {
    Time(30_000_000)
}

fn body_timeout_default() -> Time {
    Time(60_000_000)
}

fn answer_timeout_default() -> Time {
    Time(60_000_000)
}

fn batch_default() -> Time {
    Time(100_000)
}

/// The largest body that settings may allow, in bytes.
const BODY_MAX: u64 = 1 << 30;

/// What a body takes of the queue at most, in bodies: packed, unpacked and its rows.
const BODY_COSTS: u64 = 4;

/// Taken from the queue in one step, in bytes.
const STEP_BYTES: usize = 8 << 20;

/// Numbered streams that are followed at a time; their names come from outside.
const STREAMS_MAX: usize = 1 << 16;

/// Positions of a stream that are remembered: those that a sender may still send again.
const POSITIONS_MAX: usize = 16;

impl Settings for HttpSettings {
    const KIND: &'static str = "http";
    const READS: &'static str =
        "rows as JSON over HTTP, with tokens, TLS and 429 while the log does not take them";

    fn open(self, at: &Opening<'_>) -> Result<Opened, SourceError> {
        Ok(Opened::Live(Box::new(Http::open(self, at)?)))
    }

    fn probe(self, at: &Opening<'_>) -> Result<String, SourceError> {
        let source = Http::open(self, at)?;
        bind(source.address)?;
        Ok(format!("can listen on {}", source.address))
    }
}

struct Http {
    collector: String,
    address: SocketAddr,
    batch: Micros,
    runtime: tokio::runtime::Handle,
    server: Arc<Server>,
    tls: Option<Fresh<TlsAcceptor>>,
    feed: Feed<Arrived>,
    outlet: Outlet<Arrived>,
    stop: watch::Sender<bool>,
    taken: Vec<Arrived>,
    /// Whose rows are put out and not durable yet.
    waiting: Vec<(oneshot::Sender<Outcome>, Outcome)>,
    places: Places,
    streams: BTreeMap<String, Stream>,
    signals: Signals,
    reports: Reports,
    begun: bool,
    /// What `advance` answered last.
    now: Micros,
}

/// A numbered stream of a sender.
#[derive(Default)]
struct Stream {
    /// The last positions that were taken since the start, growing.
    taken: VecDeque<u64>,
}

impl Http {
    fn open(settings: HttpSettings, at: &Opening<'_>) -> Result<Self, SourceError> {
        let needs_no_token = settings.tls.as_ref().is_some_and(|tls| tls.client_ca.is_some());
        let tokens = match &settings.token_file {
            Some(file) => Some(at.fresh(&[file], {
                let file = file.clone();
                move |at| yagura_door::lines(&at.path(&file), "token").map_err(|problem| at.unusable(problem))
            })?),
            None if settings.anonymous || needs_no_token || settings.listen.ip().is_loopback() => None,
            None => {
                return Err(at.wrong(format!(
                    "anybody who reaches {} could write rows; give a `token_file` or `tls.client_ca`, or say `anonymous: true`",
                    settings.listen
                )));
            }
        };
        if settings.body.0 > BODY_MAX || settings.queue.0 < BODY_COSTS * settings.body.0 {
            return Err(at.wrong(format!(
                "`queue` must hold {BODY_COSTS} times `body`, and `body` be at most 1GiB; here they are {} and {} bytes",
                settings.queue.0, settings.body.0
            )));
        }
        let mut streams = BTreeMap::new();
        for (name, mapping) in &settings.streams {
            let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
            if name.is_empty() || !name.chars().all(plain) {
                return Err(
                    at.wrong(format!("`streams`: `{name}` is to be letters, digits, `-`, `_` and `.`"))
                );
            }
            if mapping.kind == Kind::Control {
                return Err(at.wrong(format!("`streams.{name}`: control records are not taken over HTTP")));
            }
            let mapper = Mapper::new(mapping).map_err(|e| at.wrong(format!("`streams.{name}`: {e}")))?;
            streams.insert(name.clone(), Arc::new(mapper));
        }
        let names: Vec<&str> = streams.keys().map(String::as_str).collect();
        let description = openapi::description(settings.body.len(), &names, tokens.is_some());
        let server = Server {
            body_max: settings.body.len(),
            row_max: settings.row.len(),
            connections: settings.connections.clamp(1, 1 << 20),
            header_timeout: settings.header_timeout.duration(),
            body_timeout: settings.body_timeout.duration(),
            answer_timeout: settings.answer_timeout.duration(),
            tokens,
            streams,
            budget: Budget::new(settings.queue.len()),
            complaints: Arc::new(Complaints::default()),
            description,
        };
        let (feed, outlet) = feed(settings.queue.len());
        Ok(Http {
            collector: at.collector.into(),
            address: settings.listen,
            batch: settings.batch.0,
            runtime: at.plant.runtime.clone(),
            server: Arc::new(server),
            tls: settings
                .tls
                .map(|tls| tls.acceptor(at.folder))
                .transpose()
                .map_err(|problem| at.unusable(problem))?,
            feed,
            outlet,
            stop: watch::Sender::new(false),
            taken: Vec::new(),
            waiting: Vec::new(),
            places: Places::default(),
            streams: BTreeMap::new(),
            signals: Signals::new(at.collector, &at.plant.names),
            reports: Reports::new(&settings.listen.to_string(), settings.silence.map(|silence| silence.0)),
            begun: false,
            now: 0,
        })
    }

    /// Puts out what a body brought.
    fn put_out(&mut self, arrived: Arrived, out: &mut dyn PlacedSink) {
        let Arrived { content, received, place, reply, charge } = arrived;
        let rows = content.rows();
        let mut repeated = false;
        if let Some((stream, position)) = &place {
            match self.look_at(stream, *position) {
                Turn::New => {}
                Turn::Known => repeated = true,
                Turn::Held => {
                    self.waiting.push((reply, Outcome::Durable { rows, repeated: true }));
                    return;
                }
                Turn::Wrong(refusal) => {
                    let _ = reply.send(Outcome::Refused(refusal));
                    return;
                }
            }
            out.at(stream, *position);
        }
        let observed = received.max(self.now);
        match content {
            Content::Samples(samples) => samples.put_out(observed, &mut self.signals.naming(out)),
            Content::Mapped { mapper, text, form, .. } => {
                // It was checked when it arrived.
                let _ = body::each_row(&text, form, usize::MAX, |row| {
                    let object: Map<String, Value> = serde_json::from_str(row).map_err(|e| e.to_string())?;
                    let time = mapper.time(&object)?.unwrap_or(observed);
                    mapper.emit(&object, time, Some(observed), &mut self.signals.naming(out));
                    Ok(())
                });
            }
        }
        out.nowhere();
        drop(charge);
        self.waiting.push((reply, Outcome::Durable { rows, repeated }));
    }

    /// What a position of a numbered stream is, and notes it where it is to be put out.
    fn look_at(&mut self, name: &str, position: u64) -> Turn {
        if self.streams.len() >= STREAMS_MAX && !self.streams.contains_key(name) {
            return Turn::Wrong(Refusal::new(
                StatusCode::BAD_REQUEST,
                format!("there are {STREAMS_MAX} streams already; use one for many bodies"),
            ));
        }
        let stream = self.streams.entry(name.to_string()).or_default();
        if stream.taken.contains(&position) || self.places.of(name).is_some_and(|from| position < from) {
            return Turn::Held;
        }
        if let Some(last) = stream.taken.back()
            && position < *last
        {
            return Turn::Wrong(Refusal::new(
                StatusCode::CONFLICT,
                format!(
                    "position {position} of `{name}` comes after {last}; positions grow, and a body is sent when the one before was answered"
                ),
            ));
        }
        if stream.taken.len() >= POSITIONS_MAX {
            stream.taken.pop_front();
        }
        stream.taken.push_back(position);
        match self.places.reached(name).is_some_and(|reached| position <= reached) {
            true => Turn::Known,
            false => Turn::New,
        }
    }

    fn read(&mut self, wait: Duration, out: &mut dyn PlacedSink) {
        self.outlet.take(wait, STEP_BYTES, &mut self.taken);
        if !self.taken.is_empty() {
            self.reports.heard(clock::now());
        }
        for arrived in std::mem::take(&mut self.taken) {
            self.put_out(arrived, out);
        }
    }
}

/// What a body's position says.
enum Turn {
    /// It is the first time.
    New,
    /// The log has rows of it, maybe not all.
    Known,
    /// All its rows are in the log, or on their way.
    Held,
    Wrong(Refusal),
}

impl LiveSource for Http {
    fn collector(&self) -> &str {
        &self.collector
    }

    fn batch(&self) -> Micros {
        self.batch
    }

    fn placed(&self) -> bool {
        true
    }

    fn begin(&mut self, places: &Places, _notes: &Path) -> Result<(), SourceError> {
        self.places = places.clone();
        let listener = bind(self.address)?;
        let _runtime = self.runtime.enter();
        let listener =
            tokio::net::TcpListener::from_std(listener).map_err(|e| cannot_listen(self.address, &e))?;
        let (server, feed, tls) = (Arc::clone(&self.server), self.feed.clone(), self.tls.clone());
        self.runtime.spawn(serve::listen(server, feed, listener, tls, self.stop.subscribe()));
        Ok(())
    }

    fn advance(&mut self, wait: Duration, out: &mut dyn PlacedSink) -> Micros {
        if !self.begun {
            self.begun = true;
            self.now = clock::now();
            self.reports.up(self.now, "listens", out);
        }
        self.read(wait, out);
        let now = clock::now().max(self.now);
        self.server.complaints.tell(self.reports.subject(), now, out);
        self.signals.report(now, out);
        self.reports.look(now, out);
        self.now = now;
        now
    }

    fn durable(&mut self) {
        for (reply, outcome) in self.waiting.drain(..) {
            // A sender that has gone sends again.
            let _ = reply.send(outcome);
        }
    }

    fn finish(&mut self, out: &mut dyn PlacedSink) {
        self.stop.send_replace(true);
        self.outlet.close();
        loop {
            let before = self.waiting.len();
            self.read(Duration::ZERO, out);
            if self.waiting.len() == before {
                break;
            }
        }
        let now = clock::now().max(self.now);
        self.server.complaints.finish(self.reports.subject(), now, out);
        self.reports.stop(now, "stopped", out);
    }

    fn seen(&self) -> Seen {
        Seen::default()
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}
