//! What runs in a connection: found by content on any port, then dissected.

use std::sync::Arc;

use yagura_dissect::{
    Cx, Dissector, Endpoint, FlowInfo, Glimpse, Outcome, Probe, Protocol, Settings, Side, Transport,
};
use yagura_event::AssetTable;
use yagura_event::clock::Micros;
use yagura_event::rows::{CoverageRow, Row, RowSink};
use yagura_event::vocabulary::coverage;

use crate::engine::Stats;
use crate::headers::{Address, address_text, ip_address};
use crate::limits::Limits;
use crate::notices::{Notice, Notices};
use crate::stream::Piece;

/// A connection seen from its first byte is judged by its first bytes, each side's once.
const ATTEMPTS: u8 = 2;
/// One found under way may be found in the middle of a message: several segments are tried.
const ATTEMPTS_MIDWAY: u8 = 16;
/// Lines of text that are passed over: mail, chat and directory protocols greet in text before one
/// side asks to go over to TLS.
const LINES_MAX: u8 = 24;
/// Unread bytes beyond this give their memory back once they are read.
const UNREAD_KEPT: usize = 64 << 10;

/// What the engine's parts share.
pub(crate) struct Shared {
    pub(crate) assets: Arc<AssetTable>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) limits: Limits,
    pub(crate) protocols: &'static [Protocol],
    pub(crate) stats: Stats,
    pub(crate) notices: Notices,
    /// Messages by position in `protocols`.
    pub(crate) messages: Vec<u64>,
    /// Bytes that wait in all connections for the rest of their message.
    pub(crate) unread: usize,
    /// Memory of what waits in all connections behind a hole, in bytes.
    pub(crate) held: usize,
}

impl Shared {
    /// Whether a protocol is customary under that number.
    pub(crate) fn reads(&self, transport: Transport, number: u16) -> bool {
        self.protocols.iter().any(|p| p.runs_on(transport, number).1)
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
        attempts: u8,
        /// Lines of text that may still be passed over.
        lines: u8,
    },
    /// A protocol recognised itself.
    Known(Box<Known>),
    /// None did, or it is over.
    Ignored,
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
}

impl Application {
    pub(crate) fn new(midway: bool) -> Application {
        Application::Undecided {
            unread: [Vec::new(), Vec::new()],
            first: None,
            attempts: if midway { ATTEMPTS_MIDWAY } else { ATTEMPTS },
            lines: LINES_MAX,
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
            Application::Ignored => false,
        }
    }

    /// The protocol's name; empty when unknown.
    pub(crate) fn protocol(&self, shared: &Shared) -> &'static str {
        match self {
            Application::Known(known) => shared.protocols[known.protocol].name,
            _ => "",
        }
    }

    /// The next piece of one direction of a TCP connection.
    pub(crate) fn piece(&mut self, shared: &mut Shared, cause: &mut Cause<'_>, side: Side, piece: Piece<'_>) {
        match (&mut *self, piece) {
            (Application::Known(known), Piece::Bytes(bytes)) => {
                known.bytes(shared, cause, side, bytes);
            }
            (Application::Known(known), Piece::Gap(missing)) => {
                known.gap(shared, cause, side, missing);
            }
            (Application::Undecided { .. }, Piece::Bytes(bytes)) => {
                self.identify(shared, cause, side, bytes);
            }
            (Application::Undecided { unread, attempts, .. }, Piece::Gap(_)) => {
                shared.unread -= unread[side as usize].len();
                unread[side as usize] = Vec::new();
                *attempts = (*attempts).max(ATTEMPTS_MIDWAY);
            }
            (Application::Ignored, _) => {}
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
        if let Application::Undecided { attempts, .. } = self {
            match probe(shared.protocols, &cause.identity, side, data) {
                Verdict::Yes(protocol) => {
                    *self = Application::Known(Box::new(Known::new(shared, cause, protocol)));
                }
                Verdict::More | Verdict::No => {
                    *attempts -= 1;
                    if *attempts == 0 {
                        *self = Application::Ignored;
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
            Application::Undecided { unread, .. } => {
                shared.unread -= unread[0].len() + unread[1].len();
                *self = Application::Ignored;
            }
            Application::Ignored => {}
        }
    }

    fn identify(&mut self, shared: &mut Shared, cause: &mut Cause<'_>, side: Side, bytes: &[u8]) {
        let Application::Undecided { unread, first, attempts, lines } = self else {
            return;
        };
        let place = side as usize;
        let verdict = if unread[place].is_empty() {
            probe(shared.protocols, &cause.identity, side, bytes)
        } else {
            unread[place].extend_from_slice(bytes);
            shared.unread += bytes.len();
            probe(shared.protocols, &cause.identity, side, &unread[place])
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
                let mut known = Box::new(Known::new(shared, cause, protocol));
                for side in [first, first.other()] {
                    known.bytes(shared, cause, side, &waiting[side as usize]);
                }
                *self = Application::Known(known);
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
                if *lines > 0 && is_text(bytes) {
                    *lines -= 1;
                    return;
                }
                *attempts -= 1;
                if *attempts == 0 {
                    shared.unread -= unread[1 - place].len();
                    *self = Application::Ignored;
                }
            }
        }
    }
}

impl Known {
    fn new(shared: &Shared, cause: &Cause<'_>, protocol: usize) -> Known {
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
                asset: asset.map(|a| a.name.clone()).unwrap_or_default(),
                area: asset.map(|a| a.area.clone()).unwrap_or_default(),
                equipment: asset.is_some_and(|a| a.equipment),
            }
        };
        let info = FlowInfo {
            flow: cause.identity.flow,
            transport: cause.identity.transport,
            client: endpoint(cause.identity.client),
            server: endpoint(cause.identity.server),
        };
        let dissector = (shared.protocols[protocol].start)(&info);
        Known { protocol, info, dissector, unread: [Vec::new(), Vec::new()], done: [false; 2], closed: false }
    }

    fn bytes(&mut self, shared: &mut Shared, cause: &mut Cause<'_>, side: Side, bytes: &[u8]) {
        let place = side as usize;
        if self.done[place] || bytes.is_empty() {
            return;
        }
        if self.unread[place].is_empty() {
            // The common case: whole messages, read where the packet lies.
            if let Some(used) = self.read(shared, cause, side, bytes) {
                self.unread[place].extend_from_slice(&bytes[used..]);
                shared.unread += bytes.len() - used;
            }
        } else {
            let mut unread = std::mem::take(&mut self.unread[place]);
            unread.extend_from_slice(bytes);
            shared.unread += bytes.len();
            match self.read(shared, cause, side, &unread) {
                Some(used) => {
                    shared.unread -= used;
                    if used == unread.len() && unread.capacity() > UNREAD_KEPT {
                        unread = Vec::new();
                    } else {
                        unread.drain(..used);
                    }
                    self.unread[place] = unread;
                }
                None => shared.unread -= unread.len(),
            }
        }
        let held = self.unread[place].len();
        if held > shared.protocols[self.protocol].buffer_bytes_max {
            self.stop(shared, cause, side, "a message is longer than the protocol's largest");
        } else if held > 0 && shared.unread > shared.limits.unread_bytes_max {
            self.give_up(shared, cause, side);
        }
    }

    /// Lets the dissector read until it wants more; how many bytes it used, `None` when it stopped.
    fn read(
        &mut self,
        shared: &mut Shared,
        cause: &mut Cause<'_>,
        side: Side,
        bytes: &[u8],
    ) -> Option<usize> {
        let mut used = 0;
        while used < bytes.len() {
            match self.parse(shared, cause, side, &bytes[used..]) {
                Outcome::Consumed(0) => break,
                Outcome::Consumed(n) => used = bytes.len().min(used + n),
                Outcome::Unrecoverable => {
                    self.stop(shared, cause, side, "the bytes are not the protocol's any more");
                    return None;
                }
            }
        }
        Some(used)
    }

    fn parse(&mut self, shared: &mut Shared, cause: &mut Cause<'_>, side: Side, bytes: &[u8]) -> Outcome {
        self.call(shared, cause, |dissector, cx| dissector.parse(cx, side, bytes))
    }

    /// Bytes are missing. The dissector counts from the last byte it was done with, so the unread
    /// bytes before the gap, which nothing can complete any more, are missing for it too.
    fn gap(&mut self, shared: &mut Shared, cause: &mut Cause<'_>, side: Side, missing: u64) {
        shared.stats.gaps += 1;
        shared.stats.gap_bytes += missing;
        let name = shared.protocols[self.protocol].name;
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
        let name = shared.protocols[self.protocol].name;
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

/// Whether a segment is one or more lines of plain text, or a piece of XML.
fn is_text(bytes: &[u8]) -> bool {
    let plain = |b: &u8| matches!(b, b'\t' | b'\r' | b'\n' | b' '..=b'~');
    matches!(bytes.last(), Some(b'\n' | b'>')) && bytes.iter().all(plain)
}

enum Verdict {
    Yes(usize),
    More,
    No,
}

/// Asks the protocols, those first that are customary there: one of them that cannot say yet is
/// waited for. Below TCP and UDP, the number decides who is asked.
fn probe(protocols: &[Protocol], identity: &Identity, side: Side, bytes: &[u8]) -> Verdict {
    let transport = identity.transport;
    let numbered = matches!(transport, Transport::Ip | Transport::Link);
    let mut more = false;
    for customary in [true, false] {
        for (index, protocol) in protocols.iter().enumerate() {
            let (on, server) = protocol.runs_on(transport, identity.server.1);
            let by_custom = server || (on && protocol.runs_on(transport, identity.client.1).1);
            if !on || by_custom != customary {
                continue;
            }
            match (protocol.probe)(&Glimpse { transport, side, customary, bytes }) {
                Probe::Yes => return Verdict::Yes(index),
                Probe::More => more = true,
                Probe::No => {}
            }
        }
        if more {
            return Verdict::More;
        }
        if numbered {
            break;
        }
    }
    Verdict::No
}

/// The protocol that is customary on the server's port: `own` where it is one of several; empty
/// for none.
pub(crate) fn customary(protocols: &[Protocol], identity: &Identity, own: &'static str) -> &'static str {
    let mut all =
        protocols.iter().filter(|p| p.runs_on(identity.transport, identity.server.1).1).map(|p| p.name);
    let Some(first) = all.next() else { return "" };
    if all.any(|name| name == own) { own } else { first }
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
