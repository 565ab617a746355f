//! A SECS host over HSMS (SEMI E37.1), for spare ports: it listens to what the equipment reports.
//!
//! It asks a few questions of stream 1 and gives the replies that the standards demand, nothing else; everything
//! that it may say stands in [`replies`]. What both sides say goes through the dissector of the wire, so that rows
//! are the same as those of a mirror port. Replies that acknowledge data are sent when the rows are durable: while
//! the log takes nothing, the equipment waits, and spools or repeats as it does with any host.
//! The row of such a message has the time until it was read as its latency, because it is written before the reply is.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use serde::Deserialize;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc, watch};
use yagura_dissect::hsms as wire;
use yagura_dissect::secs2::Value;
use yagura_dissect::{Cx, Dissector, Endpoint, FlowInfo, Side, Transport};
use yagura_event::amounts::{Bytes as Size, Time};
use yagura_event::clock::{self, Micros, SECOND};
use yagura_event::rows::{LogRow, Row, RowSink};
use yagura_event::vocabulary::coverage;

use crate::feed::{Outlet, feed};
use crate::places::{PlacedSink, Places};
use crate::reports::Reports;
use crate::source::{LiveSource, Opened, Opening, Plant, Seen, Settings, SourceError};

pub mod client;
mod connection;
pub mod replies;
mod said;
mod session;

use client::Target;
use connection::{Connection, Piece, Shared, What};
use said::Said;
pub use session::Timers;
use session::{Asks, Note, Terms};

/// Most equipments of one collector.
const EQUIPMENT_MAX: usize = 4096;

/// Bytes that are turned into rows between two looks at the time.
const ADVANCE_BYTES: usize = 1 << 20;

/// Notes of one equipment that are told in a second; further ones are counted.
const NOTES_A_SECOND: u32 = 5;

/// Values are asked for no more often.
const STATUS_EVERY_MIN: Micros = SECOND / 10;

/// Equipments that are probed at a time, and failures that are told one by one.
const PROBES: usize = 32;
const TOLD_MAX: usize = 10;

/// How long the end of connections is waited for.
const END_WAIT: Micros = 2 * SECOND;

/// What whoever did not say `exclusive_session: true` must know.
pub const NOT_EXCLUSIVE: &str = "HSMS-SS admits one host for each port, and a second one displaces it or is \
    refused: connecting to a port that an EAP uses may stop production. Use a spare port, one that no other host uses, \
    and say so with `exclusive_session: true`; for ports in use there are `kind: interface` (a mirror port) and \
    `kind: secslog` (the EAP's log)";

/// Settings of `kind: hsms`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HsmsHost {
    /// Must be `true`: you know that these ports admit one host, and that it is this collector.
    #[serde(default)]
    exclusive_session: bool,
    /// The equipment.
    equipment: Vec<Equipment>,
    /// Timers of SEMI E37: `t3` to `t8`, `linktest`, `communication_delay`.
    #[serde(default)]
    timers: Timers,
    /// Values that are asked for, where an equipment says nothing else.
    #[serde(default)]
    status: Option<Status>,
    /// The largest message that is read.
    #[serde(default = "message_size")]
    message_size: Size,
    /// Bytes that wait for the log, of all equipment; connections are read no further beyond it.
    #[serde(default = "queue")]
    queue: Size,
    /// Bytes of large messages that are being read at a time, of all equipment.
    #[serde(default = "queue")]
    large_messages: Size,
    /// How often rows are handed to the log and replies are sent.
    #[serde(default = "batch")]
    batch: Time,
    /// An equipment from which nothing came for this long is called silent.
    #[serde(default)]
    silence: Option<Time>,
    /// Whether an equipment that asks for the time (S2F17) is told the collector's local time. It sets its clock by it.
    #[serde(default)]
    tell_time: bool,
}

/// One equipment.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Equipment {
    /// Its name in the asset table.
    name: String,
    /// Where it listens, `host:port`.
    #[serde(default)]
    address: Option<String>,
    /// Where the collector listens for it, `address:port`.
    #[serde(default)]
    listen: Option<SocketAddr>,
    /// Its device id (session id).
    #[serde(default)]
    device_id: u16,
    /// Values that it is asked for.
    #[serde(default)]
    status: Option<Status>,
    /// Reports that are defined in it, by RPTID the ids of its variables: the host that defines them is another one.
    #[serde(default)]
    reports: BTreeMap<String, Vec<Id>>,
    /// Traces that are defined in it, by TRID the ids of its status variables.
    #[serde(default)]
    traces: BTreeMap<String, Vec<Id>>,
}

impl Equipment {
    fn target(&self, timers: &Timers) -> Target {
        Target {
            address: self.address.clone(),
            listen: self.listen,
            device: self.device_id,
            timers: timers.clone(),
        }
    }
}

/// Status variables that are asked for.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Status {
    /// Their ids; none for all that there are.
    #[serde(default)]
    ids: Vec<Id>,
    /// How often.
    every: Time,
}

/// An id of a variable: a number (U4) or a text.
#[derive(Clone, Deserialize)]
#[serde(untagged)]
enum Id {
    Number(u32),
    Text(String),
}

impl Id {
    fn value(&self) -> Value {
        match self {
            Id::Number(number) => Value::U4(vec![*number]),
            Id::Text(text) => Value::text(text),
        }
    }
}

fn message_size() -> Size {
    Size(wire::LENGTH_MAX as u64)
}

fn queue() -> Size {
    Size(64 << 20)
}

fn batch() -> Time {
    Time(SECOND / 20)
}

/// `YYYYMMDDhhmmsscc`, the collector's local time (E5: TIME).
fn local_time() -> String {
    chrono::DateTime::from_timestamp_micros(clock::now())
        .map(|now| now.with_timezone(&chrono::Local).format("%Y%m%d%H%M%S%.2f").to_string().replace('.', ""))
        .unwrap_or_default()
}

impl Settings for HsmsHost {
    const KIND: &'static str = "hsms";
    const READS: &'static str = "SECS/GEM of equipment with a spare HSMS port, as its host";

    fn open(self, at: &Opening<'_>) -> Result<Opened, SourceError> {
        self.check(at)?;
        Ok(Opened::Live(Box::new(Host::new(self, at))))
    }

    fn probe(self, at: &Opening<'_>) -> Result<String, SourceError> {
        self.check(at)?;
        let (mut found, mut failed) = (Vec::new(), Vec::new());
        for some in self.equipment.chunks(PROBES) {
            let told: Vec<_> = std::thread::scope(|scope| {
                let probe = |one: &Equipment| client::probe(&one.target(&self.timers));
                let probes: Vec<_> = some.iter().map(|one| scope.spawn(move || probe(one))).collect();
                probes.into_iter().map(std::thread::ScopedJoinHandle::join).collect()
            });
            for (one, told) in some.iter().zip(told) {
                match told {
                    Ok(Ok(told)) => found.push(format!("{}: {told}", one.name)),
                    Ok(Err(cause)) => failed.push((&one.name, cause)),
                    Err(_) => return Err(at.wrong(format!("equipment {}: the attempt failed", one.name))),
                }
            }
        }
        match failed.len() {
            0 => Ok(found.join("; ")),
            1 => Err(failed.remove(0).1),
            n => {
                let told = failed.iter().take(TOLD_MAX).map(|(name, cause)| format!("{name}: {cause}"));
                let told = told.collect::<Vec<_>>().join("; ");
                Err(at.wrong(format!("{n} of {} equipments cannot be used: {told}", self.equipment.len())))
            }
        }
    }
}

impl HsmsHost {
    /// Its equipment: names, and how to connect.
    pub(crate) fn targets(&self, at: &Opening<'_>) -> Result<Vec<(String, Target)>, SourceError> {
        self.check(at)?;
        Ok(self.equipment.iter().map(|one| (one.name.clone(), one.target(&self.timers))).collect())
    }

    fn check(&self, at: &Opening<'_>) -> Result<(), SourceError> {
        if !self.exclusive_session {
            return Err(at.wrong(NOT_EXCLUSIVE));
        }
        if self.equipment.is_empty() || self.equipment.len() > EQUIPMENT_MAX {
            return Err(at.wrong(format!("`equipment` must name 1 to {EQUIPMENT_MAX} equipments")));
        }
        for (index, one) in self.equipment.iter().enumerate() {
            let name = &one.name;
            let before = &self.equipment[..index];
            if name.is_empty() || before.iter().any(|other| other.name == *name) {
                return Err(at.wrong(format!("equipment `{name}`: each needs a name of its own")));
            }
            if one.address.is_some() == one.listen.is_some() {
                return Err(at.wrong(format!(
                    "equipment {name}: say either `address`, where it listens, or `listen`, where it connects to"
                )));
            }
            if one
                .listen
                .is_some_and(|own| own.port() != 0 && before.iter().any(|other| other.listen == Some(own)))
            {
                return Err(at.wrong(format!("equipment {name}: another one connects to the same `listen`")));
            }
            let status = one.status.as_ref().or(self.status.as_ref());
            if status.is_some_and(|status| status.every.0 < STATUS_EVERY_MIN) {
                return Err(at.wrong(format!("equipment {name}: `status.every` must be 100ms or more")));
            }
            if one.device_id > 0x7fff {
                return Err(at.wrong(format!("equipment {name}: a `device_id` is 0 to 32767")));
            }
        }
        let all = [self.timers.t3, self.timers.t5, self.timers.t6, self.timers.t7, self.timers.t8];
        if all.iter().any(|time| time.0 <= 0) || self.batch.0 <= 0 {
            return Err(at.wrong("timers and `batch` must be longer than nothing"));
        }
        if self.message_size.0 < 1 << 10 || self.message_size.0 > wire::LENGTH_MAX as u64 {
            return Err(at.wrong("`message_size` must be 1KiB to 16MiB"));
        }
        if self.large_messages.0 < self.message_size.0 {
            return Err(at.wrong("`large_messages` must have room for one message of `message_size`"));
        }
        Ok(())
    }
}

/// The running source.
struct Host {
    collector: String,
    batch: Micros,
    plant: Plant,
    outlet: Outlet<Piece>,
    shared: Arc<Shared>,
    stop: watch::Sender<bool>,
    tools: Vec<Tool>,
    said: Said,
    taken: Vec<Piece>,
    /// Tools whose replies wait for the log.
    replying: Vec<usize>,
    /// No row observed before will follow.
    promised: Micros,
    looked: Micros,
    stopping: bool,
}

/// One equipment as the collector's thread knows it.
struct Tool {
    terms: Arc<Terms>,
    address: String,
    listen: Option<SocketAddr>,
    flow: FlowInfo,
    dissector: Option<Box<dyn Dissector>>,
    reports: Reports,
    outbox: Option<mpsc::Sender<Vec<u8>>>,
    /// Replies that are sent when their rows are durable.
    replies: Vec<u8>,
    notes: Brief,
    defined: Vec<u8>,
}

impl Host {
    fn new(settings: HsmsHost, at: &Opening<'_>) -> Self {
        let (feed, outlet) = feed(settings.queue.len());
        let (stop, stopped) = watch::channel(false);
        let shared = Arc::new(Shared {
            feed,
            stop: stopped,
            large: Semaphore::new(settings.large_messages.len() >> 10),
            message_bytes_max: settings.message_size.len(),
            alive: AtomicUsize::new(0),
        });
        let tools = settings.equipment.iter().map(|one| Tool::new(one, &settings)).collect();
        let said = Said::of(settings.equipment.iter().map(|one| one.name.as_str()));
        Host {
            collector: at.collector.to_string(),
            batch: settings.batch.0,
            plant: at.plant.clone(),
            outlet,
            shared,
            stop,
            tools,
            said,
            taken: Vec::new(),
            replying: Vec::new(),
            promised: Micros::MIN,
            looked: Micros::MIN,
            stopping: false,
        }
    }

    fn take(&mut self, piece: Piece, out: &mut dyn PlacedSink) {
        let observed = piece.time.max(self.promised);
        let Some(tool) = self.tools.get_mut(piece.tool) else { return };
        match piece.what {
            What::Connected { client, server, outbox } => {
                self.said.connected(piece.tool);
                tool.connected(&self.plant, client, server, outbox);
            }
            What::Selected => {
                let detail = format!("selected, device id {}", tool.terms.device);
                tool.reports.up(observed, &detail, out);
            }
            What::Frames { from_tool, bytes, replies } => {
                tool.read(&self.plant, (piece.time, observed), from_tool, &bytes, out);
                // Answers to the link's test say nothing of the equipment.
                if from_tool && replies::frames(&bytes).any(|(header, _)| header.is_data()) {
                    tool.reports.heard(observed);
                }
                if replies.is_empty() {
                    return;
                }
                for (header, text) in replies::frames(&bytes) {
                    let wants = replies.iter().any(|(wanting, _)| *wanting == header);
                    if wants && self.said.again(piece.tool, &header, text) {
                        let detail = format!(
                            "S{}F{} came before the connection began, and its reply may not have arrived",
                            header.stream(),
                            header.function()
                        );
                        tool.reports.say(coverage::REPEATED, (observed, observed), observed, 1, &detail, out);
                    }
                }
                let begun = tool.replies.len();
                for (header, reply) in &replies {
                    replies::push_reply(&mut tool.replies, header, reply);
                }
                if begun == 0 {
                    self.replying.push(piece.tool);
                }
                let said = Bytes::copy_from_slice(&tool.replies[begun..]);
                tool.read(&self.plant, (piece.time, observed), false, &said, out);
            }
            What::Note(note) => tool.note(&note, observed, out),
            What::Malformed(detail) => tool.reports.malformed(observed, 1, &detail, out),
            What::Down(cause) => {
                tool.outbox = None;
                tool.replies.clear();
                tool.closed(&self.plant, observed, out);
                tool.reports.down(observed, &cause, out);
            }
        }
    }

    /// What passes with time.
    fn look(&mut self, now: Micros, out: &mut dyn PlacedSink) {
        if now < self.looked.saturating_add(SECOND) {
            return;
        }
        self.looked = now;
        for tool in &mut self.tools {
            tool.reports.look(now, out);
            tool.tell_more(now, false, out);
            if let Some(mut dissector) = tool.dissector.take() {
                dissector.expire(&mut tool.cx(&self.plant, (now, now), out));
                tool.dissector = Some(dissector);
            }
        }
    }
}

impl LiveSource for Host {
    fn collector(&self) -> &str {
        &self.collector
    }

    fn batch(&self) -> Micros {
        self.batch
    }

    fn begin(&mut self, _places: &Places, notes: &Path) -> Result<(), SourceError> {
        let file = notes.join(format!("{}.said", self.collector));
        self.said.keep(&file).map_err(|cause| SourceError::Open {
            file: file.display().to_string(),
            cause: format!("what equipment said last cannot be kept there: {cause}"),
        })?;
        for (index, tool) in self.tools.iter().enumerate() {
            let listener = tool.listen.map(|address| self.listen(address)).transpose()?;
            let connection = Connection {
                tool: index,
                terms: Arc::clone(&tool.terms),
                address: tool.address.clone(),
                shared: Arc::clone(&self.shared),
            };
            self.plant.runtime.spawn(connection.keep(listener));
        }
        Ok(())
    }

    fn advance(&mut self, wait: Duration, out: &mut dyn PlacedSink) -> Micros {
        let before = clock::now();
        let mut taken = std::mem::take(&mut self.taken);
        self.outlet.take(wait, ADVANCE_BYTES, &mut taken);
        // More may wait that came before now.
        let until = taken.last().map_or(before, |piece| piece.time);
        for piece in taken.drain(..) {
            self.take(piece, out);
        }
        self.taken = taken;
        if let Err(cause) = self.said.write() {
            let collector = &self.collector;
            tracing::warn!(%collector, %cause, "what equipment said last was not kept; after a restart repeats are not told");
        }
        self.promised = self.promised.max(until);
        self.look(self.promised, out);
        self.promised
    }

    fn durable(&mut self) {
        for index in self.replying.drain(..) {
            let Some(tool) = self.tools.get_mut(index) else { continue };
            let bytes = std::mem::take(&mut tool.replies);
            // A connection that takes no replies is closed, so that the equipment says everything again.
            if let Some(outbox) = &tool.outbox
                && !bytes.is_empty()
                && outbox.try_send(bytes).is_err()
            {
                tracing::warn!(tool = %tool.terms.name, "replies could not be sent");
                tool.outbox = None;
            }
        }
        if self.stopping {
            let _ = self.stop.send(true);
            let until = clock::steady() + END_WAIT;
            while self.shared.alive.load(Ordering::Relaxed) > 0 && clock::steady() < until {
                std::thread::park_timeout(Duration::from_millis(5));
            }
        }
    }

    fn finish(&mut self, out: &mut dyn PlacedSink) {
        self.stopping = true;
        self.outlet.close();
        let mut taken = Vec::new();
        self.outlet.take(Duration::ZERO, usize::MAX, &mut taken);
        for piece in taken {
            self.take(piece, out);
        }
        let now = clock::now().max(self.promised);
        for tool in &mut self.tools {
            tool.closed(&self.plant, now, out);
            tool.tell_more(now, true, out);
            tool.reports.stop(now, "the collector stops", out);
        }
    }

    fn seen(&self) -> Seen {
        Seen { dropped: self.outlet.dropped(), ..Seen::default() }
    }
}

impl Host {
    fn listen(&self, address: SocketAddr) -> Result<TcpListener, SourceError> {
        let fail = |cause: std::io::Error| SourceError::Peer {
            peer: address.to_string(),
            cause: format!("cannot be listened at: {cause}"),
            remedy: "look who uses it (`ss -ltnp`), or change `listen`".into(),
        };
        let listener = std::net::TcpListener::bind(address).map_err(fail)?;
        listener.set_nonblocking(true).map_err(fail)?;
        let _inside = self.plant.runtime.enter();
        TcpListener::from_std(listener).map_err(fail)
    }
}

impl Tool {
    fn new(one: &Equipment, settings: &HsmsHost) -> Self {
        let asks = match one.status.as_ref().or(settings.status.as_ref()) {
            Some(status) => {
                Asks { ids: status.ids.iter().map(Id::value).collect(), every: Some(status.every.0) }
            }
            None => Asks::default(),
        };
        let terms = Terms {
            name: one.name.clone(),
            device: one.device_id,
            passive: one.listen.is_some(),
            timers: settings.timers.clone(),
            asks,
            tell_time: settings.tell_time,
        };
        let nowhere = Endpoint::default();
        Tool {
            terms: Arc::new(terms),
            address: one.address.clone().unwrap_or_default(),
            listen: one.listen,
            flow: FlowInfo { flow: 0, transport: Transport::Tcp, client: nowhere.clone(), server: nowhere },
            dissector: None,
            reports: Reports::new(&one.name, settings.silence.map(|time| time.0)),
            outbox: None,
            replies: Vec::new(),
            notes: Brief::default(),
            defined: definitions(one),
        }
    }

    /// The side of a connection on which the equipment is.
    fn side(&self) -> Side {
        if self.terms.passive { Side::Client } else { Side::Server }
    }

    fn cx<'a>(
        &'a self,
        plant: &'a Plant,
        (time, observed): (Micros, Micros),
        out: &'a mut dyn PlacedSink,
    ) -> Cx<'a> {
        Cx { flow: &self.flow, time, observed, settings: &plant.dissect, out: as_rows(out) }
    }

    fn connected(
        &mut self,
        plant: &Plant,
        client: SocketAddr,
        server: SocketAddr,
        outbox: mpsc::Sender<Vec<u8>>,
    ) {
        self.outbox = Some(outbox);
        let end = |address: SocketAddr| {
            let known = plant.assets.find(&address.ip());
            Endpoint {
                address: address.ip().to_string(),
                port: address.port(),
                asset: known.map(|a| a.name.as_str().into()).unwrap_or_default(),
                area: known.map(|a| a.area.as_str().into()).unwrap_or_default(),
                equipment: false,
            }
        };
        self.flow.client = end(client);
        self.flow.server = end(server);
        self.flow.flow = flow_id(client, server, clock::now());
        let known = plant.assets.named(&self.terms.name);
        let own = if self.terms.passive { &mut self.flow.client } else { &mut self.flow.server };
        own.asset = self.terms.name.as_str().into();
        own.equipment = true;
        if let Some(known) = known {
            own.area = known.area.as_str().into();
        }
        if self.dissector.is_none() {
            let mut dissector = (wire::PROTOCOL.start)(&self.flow);
            let mut nothing = Nowhere;
            let mut cx = self.cx(plant, (0, 0), &mut nothing);
            let host = self.side().other();
            for (header, text) in replies::frames(&self.defined) {
                let mut frame = Vec::new();
                replies::push_frame(&mut frame, header, text);
                let side = if header.is_reply() { host.other() } else { host };
                dissector.parse(&mut cx, side, &frame);
            }
            self.dissector = Some(dissector);
        }
    }

    fn read(
        &mut self,
        plant: &Plant,
        times: (Micros, Micros),
        from_tool: bool,
        bytes: &[u8],
        out: &mut dyn PlacedSink,
    ) {
        let side = if from_tool { self.side() } else { self.side().other() };
        if let Some(mut dissector) = self.dissector.take() {
            dissector.parse(&mut self.cx(plant, times, out), side, bytes);
            self.dissector = Some(dissector);
        }
    }

    /// Questions that wait become rows. What the equipment's reports are called stays known.
    fn closed(&mut self, plant: &Plant, now: Micros, out: &mut dyn PlacedSink) {
        if let Some(mut dissector) = self.dissector.take() {
            dissector.close(&mut self.cx(plant, (now, now), out));
            self.dissector = Some(dissector);
        }
    }

    fn note(&mut self, note: &Note, now: Micros, out: &mut dyn PlacedSink) {
        self.tell_more(now, false, out);
        if self.notes.admits(now) {
            self.log(note.event, &note.text, now, out);
        }
    }

    /// Says how many notes were not told in a second that is over.
    fn tell_more(&mut self, now: Micros, at_once: bool, out: &mut dyn PlacedSink) {
        let more = self.notes.rest(now, at_once);
        if more > 0 {
            self.log("more", &format!("{more} more notes in one second"), now, out);
        }
    }

    fn log(&self, event: &str, text: &str, now: Micros, out: &mut dyn PlacedSink) {
        out.push(Row::Log(&LogRow {
            time: now,
            observed: now,
            tool: &self.terms.name,
            category: "secs",
            event,
            description: text,
            ..Default::default()
        }));
    }
}

/// Lets a few things of each second pass, and counts the others.
#[derive(Default)]
struct Brief {
    second: Micros,
    count: u32,
}

impl Brief {
    fn admits(&mut self, now: Micros) -> bool {
        if now >= self.second + SECOND {
            (self.second, self.count) = (now, 0);
        }
        self.count += 1;
        self.count <= NOTES_A_SECOND
    }

    fn rest(&mut self, now: Micros, at_once: bool) -> u32 {
        let more = self.count.saturating_sub(NOTES_A_SECOND);
        if more == 0 || (!at_once && now < self.second + SECOND) {
            return 0;
        }
        self.count = 0;
        more
    }
}

/// Reports and traces that others defined, as the messages that would have defined them (S2F33, S2F23).
fn definitions(one: &Equipment) -> Vec<u8> {
    let mut out = Vec::new();
    let ids = |ids: &[Id]| Value::List(ids.iter().map(Id::value).collect());
    let mut define = |function: u8, text: Value| {
        let system = u32::MAX;
        let ask = replies::data_header(one.device_id, 2, function, true, system);
        replies::push_frame(&mut out, ask, &text.to_bytes());
        let answer = replies::data_header(one.device_id, 2, function + 1, false, system);
        replies::push_frame(&mut out, answer, &Value::Binary(vec![0]).to_bytes());
    };
    if !one.reports.is_empty() {
        let reports = one.reports.iter().map(|(id, vids)| Value::List(vec![Value::text(id), ids(vids)]));
        define(33, Value::List(vec![Value::U4(vec![0]), Value::List(reports.collect())]));
    }
    for (id, svids) in &one.traces {
        let (period, none) = (Value::text("000001"), Value::U4(vec![1]));
        define(23, Value::List(vec![Value::text(id), period, none.clone(), none, ids(svids)]));
    }
    out
}

/// A number for a connection that another one does not have.
fn flow_id(client: SocketAddr, server: SocketAddr, now: Micros) -> u64 {
    use std::hash::{Hash, Hasher};
    let mut hasher = rustc_hash::FxHasher::default();
    (client, server, now).hash(&mut hasher);
    hasher.finish()
}

/// Takes rows and forgets them.
struct Nowhere;

impl RowSink for Nowhere {
    fn push(&mut self, _row: Row<'_>) {}
}

impl PlacedSink for Nowhere {}

fn as_rows(out: &mut dyn PlacedSink) -> &mut dyn RowSink {
    out
}
