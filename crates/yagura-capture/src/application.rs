//! What runs in a connection: found by content on any port, then dissected.

use std::sync::Arc;

use yagura_dissect::{Cx, Dissector, Endpoint, FlowInfo, Glimpse, Outcome, Probe, Settings, Side, Transport};
use yagura_event::AssetTable;
use yagura_event::clock::Micros;
use yagura_event::rows::{CoverageRow, Row, RowSink};
use yagura_event::vocabulary::coverage;

use crate::engine::Stats;
use crate::headers::{Address, address_text, ip_address};
use crate::limits::Limits;
use crate::notices::{Notice, Notices};
use crate::registry::Registry;
use crate::stream::Piece;

/// A connection seen from its first byte is judged by its first bytes, each side's once. After them
/// only protocols that are customary on its ports are asked, and those that others turn to.
const ATTEMPTS: u8 = 2;
/// One found under way may be found in the middle of a message: all are asked at several segments.
const ATTEMPTS_MAX: u8 = 16;
/// So many of them while one side goes on sending: what it sends is one long message, and the next
/// begins after the other side has spoken.
const ATTEMPTS_IN_A_ROW: u8 = 4;
/// Most times that a connection goes over to another protocol.
const HAND_OVERS_MAX: u8 = 4;
/// Spare capacity for unread bytes that a connection keeps: there may be a million.
const SPARE_BYTES_MAX: usize = 1024;

/// What the engine's parts share.
pub(crate) struct Shared {
    pub(crate) assets: Arc<AssetTable>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) limits: Limits,
    pub(crate) registry: Registry,
    pub(crate) stats: Stats,
    pub(crate) notices: Notices,
    /// Messages by the protocol's position in `registry`.
    pub(crate) messages: Vec<u64>,
    /// Bytes that wait in all connections for the rest of their message.
    pub(crate) unread: usize,
    /// Memory of what waits in all connections behind a hole, in bytes.
    pub(crate) held: usize,
}

impl Shared {
    /// Whether a protocol is customary under that number.
    pub(crate) fn reads(&self, transport: Transport, number: u16) -> bool {
        !self.registry.customary(transport, number).is_empty()
    }

    /// The most memory for what waits in a direction that has `own` bytes of it now.
    pub(crate) fn held_bytes_max(&self, own: usize) -> usize {
        let others = self.held - own;
        self.limits.held_bytes_flow_max.min(self.limits.held_bytes_max.saturating_sub(others))
    }
}

/// A connection as its rows name it.
#[derive(Clone, Copy)]
pub(crate) struct Identity {
    pub(crate) flow: u64,
    pub(crate) transport: Transport,
    pub(crate) client: (Address, u16),
    pub(crate) server: (Address, u16),
}

/// The packet that causes something, and where rows go.
pub(crate) struct Cause<'a> {
    pub(crate) identity: Identity,
    pub(crate) time: Micros,
    pub(crate) observed: Micros,
    /// The packet's number since the engine's start, from 1.
    pub(crate) number: u64,
    pub(crate) out: &'a mut dyn RowSink,
}

/// What is known of a connection's content.
pub(crate) enum Application {
    /// Nothing yet.
    Undecided {
        unread: [Vec<u8>; 2],
        /// Whose bytes came first.
        first: Option<Side>,
        /// Pieces that told nothing.
        tried: u8,
        /// How many of them all protocols are asked at.
        everyone: u8,
        /// Who sent last, and how many pieces that told nothing in a row.
        turn: (Side, u8),
        past: Past,
    },
    /// A protocol recognised itself.
    Known(Box<Known>),
    /// None did, or it is over.
    Ignored(Past),
}

/// What a connection was before it went over to another protocol.
#[derive(Clone, Copy, Default)]
pub(crate) struct Past {
    /// The protocol that it began with.
    began: Option<u16>,
    /// How often it went over.
    times: u8,
}

/// A connection that is dissected.
pub(crate) struct Known {
    protocol: usize,
    info: FlowInfo,
    dissector: Box<dyn Dissector>,
    unread: [Vec<u8>; 2],
    /// Sides that cannot be read any further.
    done: [bool; 2],
    /// The dissector was told that the connection ended.
    closed: bool,
    past: Past,
}

/// What became of bytes that a dissector was to read.
enum Reading {
    /// It is done with that many of them.
    Used(usize),
    /// With that many, and the rest is another protocol's.
    HandedOver(usize),
    /// It reads no more of that side.
    Stopped,
}

/// What both sides have unread when a connection goes over to another protocol.
type Rest = [Vec<u8>; 2];

impl Application {
    pub(crate) fn new(midway: bool) -> Application {
        Application::Undecided {
            unread: [Vec::new(), Vec::new()],
            first: None,
            tried: 0,
            everyone: if midway { ATTEMPTS_MAX } else { ATTEMPTS },
            turn: (Side::Client, 0),
            past: Past::default(),
        }
    }

    pub(crate) fn is_known(&self) -> bool {
        matches!(self, Application::Known(_))
    }

    /// Whether anybody wants the bytes.
    pub(crate) fn wants(&self, side: Side) -> bool {
        match self {
            Application::Undecided { .. } => true,
            Application::Known(known) => !known.done[side as usize],
            Application::Ignored(_) => false,
        }
    }

    /// Whether nobody ever will.
    pub(crate) fn is_ignored(&self) -> bool {
        matches!(self, Application::Ignored(_))
    }

    /// The protocol's name, the first one's where it went over to another; empty when unknown.
    pub(crate) fn protocol(&self, shared: &Shared) -> &'static str {
        let index = match self {
            Application::Known(known) => Some(known.past.began.map_or(known.protocol, usize::from)),
            Application::Undecided { past, .. } | Application::Ignored(past) => past.began.map(usize::from),
        };
        index.map_or("", |index| shared.registry.get(index).name)
    }

    /// The next piece of one direction of a TCP connection.
    pub(crate) fn piece(&mut self, shared: &mut Shared, cause: &mut Cause<'_>, side: Side, piece: Piece<'_>) {
        match (&mut *self, piece) {
            (Application::Known(known), Piece::Bytes(bytes)) => {
                if let Some(rest) = known.bytes(shared, cause, side, bytes) {
                    self.hand_over(shared, cause, side, rest);
                }
            }
            (Application::Known(known), Piece::Gap(missing)) => {
                known.gap(shared, cause, side, missing);
            }
            (Application::Undecided { .. }, Piece::Bytes(bytes)) => {
                self.identify(shared, cause, side, bytes);
            }
            (Application::Undecided { unread, everyone, .. }, Piece::Gap(_)) => {
                shared.unread -= unread[side as usize].len();
                unread[side as usize] = Vec::new();
                *everyone = ATTEMPTS_MAX;
            }
            (Application::Ignored(_), _) => {}
        }
    }

    /// One UDP datagram of `length` bytes, of which `data` was captured.
    pub(crate) fn datagram(
        &mut self,
        shared: &mut Shared,
        cause: &mut Cause<'_>,
        side: Side,
        data: &[u8],
        length: u32,
    ) {
        if let Application::Undecided { tried, everyone, past, .. } = self {
            let past = *past;
            match probe(&shared.registry, &cause.identity, side, data, *tried < *everyone) {
                Verdict::Yes(protocol) => {
                    *self = Application::Known(Box::new(Known::new(shared, cause, protocol, past)));
                }
                Verdict::More | Verdict::No => {
                    *tried += 1;
                    let expected = !customary(&shared.registry, &cause.identity, "").is_empty();
                    if *tried == ATTEMPTS_MAX || (*tried >= *everyone && !expected) {
                        *self = Application::Ignored(past);
                    }
                    return;
                }
            }
        }
        let Application::Known(known) = self else {
            return;
        };
        if known.done[side as usize] {
            return;
        }
        let missing = u64::from(length) - data.len() as u64;
        if missing > 0 {
            known.gap(shared, cause, side, missing);
        } else if known.parse(shared, cause, side, data) == Outcome::Unrecoverable {
            known.stop(shared, cause, side, "a datagram cannot be read");
        }
    }

    /// Time passed.
    pub(crate) fn expire(&mut self, shared: &mut Shared, cause: &mut Cause<'_>) {
        if let Application::Known(known) = self
            && !known.closed
        {
            known.call(shared, cause, |dissector, cx| dissector.expire(cx));
        }
    }

    /// The connection ended.
    pub(crate) fn close(&mut self, shared: &mut Shared, cause: &mut Cause<'_>) {
        match self {
            Application::Known(known) if known.closed => {}
            Application::Known(known) => {
                known.closed = true;
                known.call(shared, cause, |dissector, cx| dissector.close(cx));
                for side in [Side::Client, Side::Server] {
                    known.release(shared, side);
                    known.done[side as usize] = true;
                }
            }
            Application::Undecided { unread, past, .. } => {
                shared.unread -= unread[0].len() + unread[1].len();
                *self = Application::Ignored(*past);
            }
            Application::Ignored(_) => {}
        }
    }

    /// The dissector read up to where another protocol begins: it ends, and `rest` and what follows
    /// is told by its content, `side`'s after the other's.
    fn hand_over(&mut self, shared: &mut Shared, cause: &mut Cause<'_>, side: Side, rest: Rest) {
        let Application::Known(known) = self else {
            return;
        };
        known.call(shared, cause, |dissector, cx| dissector.close(cx));
        let began = known.past.began.or(u16::try_from(known.protocol).ok());
        let past = Past { began, times: known.past.times + 1 };
        if past.times > HAND_OVERS_MAX {
            *self = Application::Ignored(past);
            return;
        }
        let unread = [Vec::new(), Vec::new()];
        *self = Application::Undecided { unread, first: None, tried: 0, everyone: ATTEMPTS_MAX, turn: (side, 0), past };
        for side in [side.other(), side] {
            let bytes = &rest[side as usize];
            if !bytes.is_empty() {
                self.piece(shared, cause, side, Piece::Bytes(bytes));
            }
        }
    }

    fn identify(&mut self, shared: &mut Shared, cause: &mut Cause<'_>, side: Side, bytes: &[u8]) {
        let Application::Undecided { unread, first, tried, everyone, turn, past } = self else {
            return;
        };
        let place = side as usize;
        if turn.0 != side {
            *turn = (side, 0);
        }
        let all = *tried < *everyone;
        let turned = turned(&shared.registry, cause.identity.transport, side, bytes);
        if turned.is_none() && turn.1 == ATTEMPTS_IN_A_ROW && unread[place].is_empty() {
            return;
        }
        let verdict = if let Some(protocol) = turned {
            // What waits belongs to the beginning, which is another protocol's.
            shared.unread -= unread[0].len() + unread[1].len();
            *unread = [Vec::new(), Vec::new()];
            *first = None;
            Verdict::Yes(protocol)
        } else if unread[place].is_empty() {
            probe(&shared.registry, &cause.identity, side, bytes, all)
        } else {
            unread[place].extend_from_slice(bytes);
            shared.unread += bytes.len();
            probe(&shared.registry, &cause.identity, side, &unread[place], all)
        };
        let held = unread[place].len();
        match verdict {
            Verdict::Yes(protocol) => {
                let mut waiting = std::mem::take(unread);
                let first = first.unwrap_or(side);
                shared.unread -= waiting[0].len() + waiting[1].len();
                if held == 0 {
                    waiting[place] = bytes.to_vec();
                }
                let known = Known::new(shared, cause, protocol, *past);
                *self = Application::Known(Box::new(known));
                for side in [first, first.other()] {
                    self.piece(shared, cause, side, Piece::Bytes(&waiting[side as usize]));
                }
            }
            Verdict::More
                if held.max(bytes.len()) <= shared.limits.probe_bytes_max
                    && shared.unread < shared.limits.unread_bytes_max =>
            {
                if held == 0 {
                    unread[place] = bytes.to_vec();
                    shared.unread += bytes.len();
                    first.get_or_insert(side);
                }
            }
            Verdict::More | Verdict::No => {
                if matches!(verdict, Verdict::More) && shared.unread >= shared.limits.unread_bytes_max {
                    let dropped = held.max(bytes.len()) as u64;
                    shared.notices.add(Notice::Unread, dropped, cause.time, cause.number);
                }
                shared.unread -= held;
                unread[place] = Vec::new();
                turn.1 += 1;
                *tried += 1;
                if *tried == ATTEMPTS_MAX {
                    shared.unread -= unread[1 - place].len();
                    *self = Application::Ignored(*past);
                }
            }
        }
    }
}

impl Known {
    fn new(shared: &Shared, cause: &Cause<'_>, protocol: usize, past: Past) -> Known {
        let transport = cause.identity.transport;
        let endpoint = |(address, port): (Address, u16)| {
            let text = address_text(transport, address);
            let asset = match transport {
                Transport::Link => shared.assets.find_mac(&text),
                _ => shared.assets.find(&ip_address(address)),
            };
            Endpoint {
                address: text,
                port: if matches!(transport, Transport::Tcp | Transport::Udp) { port } else { 0 },
                asset: asset.map(|a| a.name.as_str().into()).unwrap_or_default(),
                area: asset.map(|a| a.area.as_str().into()).unwrap_or_default(),
                equipment: asset.is_some_and(|a| a.equipment),
            }
        };
        let info = FlowInfo {
            flow: cause.identity.flow,
            transport: cause.identity.transport,
            client: endpoint(cause.identity.client),
            server: endpoint(cause.identity.server),
        };
        let dissector = (shared.registry.get(protocol).start)(&info);
        Known {
            protocol,
            info,
            dissector,
            unread: [Vec::new(), Vec::new()],
            done: [false; 2],
            closed: false,
            past,
        }
    }

    /// The next bytes of one side; what is unread where another protocol begins.
    fn bytes(
        &mut self,
        shared: &mut Shared,
        cause: &mut Cause<'_>,
        side: Side,
        bytes: &[u8],
    ) -> Option<Rest> {
        let place = side as usize;
        if self.done[place] || bytes.is_empty() {
            return None;
        }
        if self.unread[place].is_empty() {
            // The common case: whole messages, read where the packet lies.
            match self.read(shared, cause, side, bytes) {
                Reading::Used(used) => {
                    self.unread[place].extend_from_slice(&bytes[used..]);
                    shared.unread += bytes.len() - used;
                }
                Reading::HandedOver(used) => return Some(self.rest(shared, side, bytes[used..].to_vec())),
                Reading::Stopped => {}
            }
        } else {
            let mut unread = std::mem::take(&mut self.unread[place]);
            shared.unread -= unread.len();
            unread.extend_from_slice(bytes);
            match self.read(shared, cause, side, &unread) {
                Reading::Used(used) => {
                    if used < unread.len() {
                        unread.drain(..used);
                        if unread.capacity() > 2 * unread.len() + SPARE_BYTES_MAX {
                            unread.shrink_to(unread.len() + SPARE_BYTES_MAX / 2);
                        }
                        shared.unread += unread.len();
                        self.unread[place] = unread;
                    }
                }
                Reading::HandedOver(used) => {
                    unread.drain(..used);
                    return Some(self.rest(shared, side, unread));
                }
                Reading::Stopped => {}
            }
        }
        let held = self.unread[place].len();
        if held > shared.registry.get(self.protocol).buffer_bytes_max {
            self.stop(shared, cause, side, "a message is longer than the protocol's largest");
        } else if held > 0 && shared.unread > shared.limits.unread_bytes_max {
            self.give_up(shared, cause, side);
        }
        None
    }

    /// Lets the dissector read until it wants more.
    fn read(&mut self, shared: &mut Shared, cause: &mut Cause<'_>, side: Side, bytes: &[u8]) -> Reading {
        let mut used = 0;
        while used < bytes.len() {
            match self.parse(shared, cause, side, &bytes[used..]) {
                Outcome::Consumed(0) => break,
                Outcome::Consumed(n) => used = bytes.len().min(used + n),
                Outcome::HandOver(n) => return Reading::HandedOver(bytes.len().min(used + n)),
                Outcome::Unrecoverable => {
                    self.stop(shared, cause, side, "the bytes are not the protocol's any more");
                    return Reading::Stopped;
                }
            }
        }
        Reading::Used(used)
    }

    /// What both sides have unread: `own` is that of `side`.
    fn rest(&mut self, shared: &mut Shared, side: Side, own: Vec<u8>) -> Rest {
        let mut rest = Rest::default();
        rest[side as usize] = own;
        let other = side.other() as usize;
        shared.unread -= self.unread[other].len();
        rest[other] = std::mem::take(&mut self.unread[other]);
        rest
    }

    fn parse(&mut self, shared: &mut Shared, cause: &mut Cause<'_>, side: Side, bytes: &[u8]) -> Outcome {
        self.call(shared, cause, |dissector, cx| dissector.parse(cx, side, bytes))
    }

    /// Bytes are missing. The dissector counts from the last byte it was done with, so the unread
    /// bytes before the gap, which nothing can complete any more, are missing for it too.
    fn gap(&mut self, shared: &mut Shared, cause: &mut Cause<'_>, side: Side, missing: u64) {
        shared.stats.gaps += 1;
        shared.stats.gap_bytes += missing;
        let name = shared.registry.get(self.protocol).name;
        let detail = format!(
            "{missing} bytes of the {name} {} are missing before packet {}",
            words(side),
            cause.number,
        );
        report(cause, coverage::GAP, missing, &detail);
        if self.done[side as usize] {
            return;
        }
        let unread = self.release(shared, side) as u64;
        self.call(shared, cause, |dissector, cx| dissector.gap(cx, side, unread + missing));
    }

    /// All memory for unread bytes is in use: this message is given up.
    fn give_up(&mut self, shared: &mut Shared, cause: &mut Cause<'_>, side: Side) {
        let dropped = self.release(shared, side) as u64;
        shared.stats.dropped_bytes += dropped;
        shared.notices.add(Notice::Unread, dropped, cause.time, cause.number);
        self.call(shared, cause, |dissector, cx| dissector.gap(cx, side, dropped));
    }

    /// One side cannot be read any further.
    fn stop(&mut self, shared: &mut Shared, cause: &mut Cause<'_>, side: Side, why: &str) {
        self.release(shared, side);
        self.done[side as usize] = true;
        shared.stats.malformed_streams += 1;
        let name = shared.registry.get(self.protocol).name;
        let detail =
            format!("{name} {} at packet {}: {why}; not read any further", words(side), cause.number);
        report(cause, coverage::MALFORMED, 1, &detail);
    }

    fn release(&mut self, shared: &mut Shared, side: Side) -> usize {
        let unread = std::mem::take(&mut self.unread[side as usize]).len();
        shared.unread -= unread;
        unread
    }

    fn call<T>(
        &mut self,
        shared: &mut Shared,
        cause: &mut Cause<'_>,
        f: impl FnOnce(&mut dyn Dissector, &mut Cx<'_>) -> T,
    ) -> T {
        let mut out = Counting { out: &mut *cause.out, messages: &mut shared.messages[self.protocol] };
        let mut cx = Cx {
            flow: &self.info,
            time: cause.time,
            observed: cause.observed,
            settings: &shared.settings,
            out: &mut out,
        };
        f(self.dissector.as_mut(), &mut cx)
    }
}

/// A coverage row about a connection.
fn report(cause: &mut Cause<'_>, event: &str, count: u64, detail: &str) {
    let Identity { transport, client, server, .. } = cause.identity;
    let end = |(address, port): (Address, u16)| match transport {
        Transport::Tcp | Transport::Udp => std::net::SocketAddr::new(ip_address(address), port).to_string(),
        Transport::Ip | Transport::Link => address_text(transport, address),
    };
    let subject = format!("{} {} > {}", transport_name(transport), end(client), end(server));
    cause.out.push(Row::Coverage(&CoverageRow {
        time: cause.time,
        until: cause.time,
        observed: cause.observed,
        event,
        subject: &subject,
        count,
        detail,
        ..CoverageRow::default()
    }));
}

/// The name in the `transport` column.
pub(crate) fn transport_name(transport: Transport) -> &'static str {
    match transport {
        Transport::Tcp => "tcp",
        Transport::Udp => "udp",
        Transport::Ip => "ip",
        Transport::Link => "link",
    }
}

fn words(side: Side) -> &'static str {
    match side {
        Side::Client => "client's stream",
        Side::Server => "server's stream",
    }
}

enum Verdict {
    Yes(usize),
    More,
    No,
}

/// Asks the protocols, those first that are customary there: one of them that cannot say yet is
/// waited for. Of the others `all` are asked, or those that connections turn to. Below TCP and UDP,
/// the number decides who is asked.
fn probe(registry: &Registry, identity: &Identity, side: Side, bytes: &[u8], all: bool) -> Verdict {
    let transport = identity.transport;
    let [server, client] =
        [identity.server.1, identity.client.1].map(|number| registry.customary(transport, number));
    let by_custom = || server.iter().chain(client.iter().filter(|index| !server.contains(index)));
    match ask(registry, by_custom(), &Glimpse { transport, side, customary: true, bytes }) {
        Verdict::No if matches!(transport, Transport::Tcp | Transport::Udp) => {
            if !all {
                return turned(registry, transport, side, bytes).map_or(Verdict::No, Verdict::Yes);
            }
            let others = registry.on(transport).iter().filter(|i| !server.contains(i) && !client.contains(i));
            ask(registry, others, &Glimpse { transport, side, customary: false, bytes })
        }
        verdict => verdict,
    }
}

/// Asks protocols one after the other.
fn ask<'a>(registry: &Registry, whom: impl Iterator<Item = &'a usize>, glimpse: &Glimpse<'_>) -> Verdict {
    let mut verdict = Verdict::No;
    for &index in whom {
        match (registry.get(index).probe)(glimpse) {
            Probe::Yes => return Verdict::Yes(index),
            Probe::More => verdict = Verdict::More,
            Probe::No => {}
        }
    }
    verdict
}

/// The protocol that a piece begins which connections turn to.
fn turned(registry: &Registry, transport: Transport, side: Side, bytes: &[u8]) -> Option<usize> {
    let glimpse = Glimpse { transport, side, customary: false, bytes };
    registry.turned_to(transport).find(|&index| (registry.get(index).probe)(&glimpse) == Probe::Yes)
}

/// The protocol that is customary on the server's port: `own` where it is one of several; empty
/// for none.
pub(crate) fn customary(registry: &Registry, identity: &Identity, own: &'static str) -> &'static str {
    let all = registry.customary(identity.transport, identity.server.1);
    let mut names = all.iter().map(|&index| registry.get(index).name);
    let Some(first) = names.next() else { return "" };
    if names.any(|name| name == own) { own } else { first }
}

/// Counts messages on their way out.
struct Counting<'a> {
    out: &'a mut dyn RowSink,
    messages: &'a mut u64,
}

impl RowSink for Counting<'_> {
    fn push(&mut self, row: Row<'_>) {
        if matches!(row, Row::Message(_)) {
            *self.messages += 1;
        }
        self.out.push(row);
    }
}
