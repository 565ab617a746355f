//! Modbus/TCP (Modbus Messaging on TCP/IP Implementation Guide V1.0b): framing and pairing.
//!
//! The protocol is known by its structure, on any port: protocol identifier 0, a length that a
//! PDU can have, and a length that fits the function. On the customary port whole frames are
//! enough, whatever their function: scans of all functions begin with 0, and what breaks the
//! protocol must be seen. Requests and responses are paired by
//! transaction, unit and function; what the PDUs say is read in [`pdu`].

use std::cell::RefCell;
use std::collections::VecDeque;

use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::{CoverageRow, Row};
use yagura_event::vocabulary::{coverage, operation, status};

use crate::{Carrier, Cx, Dissector, FlowInfo, Outcome, Probe, Protocol, Side, json};

mod pdu;

use pdu::Texts;

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: "modbus",
    carriers: &[Carrier::tcp(&[502])],
    probe: |glimpse| probe(glimpse.customary, glimpse.side, glimpse.bytes),
    start,
    buffer_bytes_max: HEADER + BODY_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

/// A request without a response for that long gets a row of its own.
const REPLY_TIMEOUT: Micros = 5 * SECOND;

/// Most requests of one connection that wait for a response.
const WAITING_MAX: usize = 256;

/// Transaction, protocol and length: what precedes the bytes that the length counts.
const HEADER: usize = 6;

/// The length field's largest value: unit and PDU. The standard ends at 254 (the ADU has at most
/// 260 bytes), but Schneider's programming tools probe with a byte more, and controllers answer.
const BODY_MAX: usize = 255;

/// Longest PDU that is kept without memory of its own.
const PDU_SHORT: usize = 14;

/// Bad frames in a row that are believed to be frames before the place is searched anew.
const BAD_MAX: u8 = 2;

/// Most bytes that are searched for a frame before the direction is given up.
const SCAN_BYTES_MAX: u64 = 1 << 20;

fn probe(customary: bool, side: Side, bytes: &[u8]) -> Probe {
    // A first frame without a body is odd but happens; the one after it decides then.
    let bytes = match bytes {
        [_, _, 0, 0, 0, 0 | 1, rest @ ..] => rest,
        all => all,
    };
    if customary { probe_customary(side, bytes) } else { probe_elsewhere(bytes) }
}

/// On any port, whole frames fill the bytes: data that is mostly zeros has the beginning of one
/// here and there.
fn probe_elsewhere(mut bytes: &[u8]) -> Probe {
    loop {
        match plausible(bytes) {
            Plausible::Short => return Probe::More,
            Plausible::No | Plausible::Odd => return Probe::No,
            Plausible::Shape | Plausible::Frame => {}
        }
        bytes = match bytes.get(HEADER + body_length(bytes)..) {
            None => return Probe::More,
            Some([]) => return Probe::Yes,
            Some(rest) => rest,
        };
    }
}

fn probe_customary(side: Side, bytes: &[u8]) -> Probe {
    match plausible(bytes) {
        Plausible::Short => Probe::More,
        Plausible::No => Probe::No,
        Plausible::Shape => Probe::Yes,
        Plausible::Frame | Plausible::Odd => match (bytes.len() - HEADER).cmp(&body_length(bytes)) {
            std::cmp::Ordering::Less => Probe::More,
            // Not of the standard: believed when whole frames fill the bytes.
            std::cmp::Ordering::Equal => Probe::Yes,
            std::cmp::Ordering::Greater => match plausible(&bytes[HEADER + body_length(bytes)..]) {
                Plausible::No => Probe::No,
                Plausible::Short if side == Side::Client => Probe::More,
                _ => Probe::Yes,
            },
        },
    }
}

fn start(_flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Modbus::default())
}

enum Plausible {
    /// Too few bytes to say.
    Short,
    /// Not a frame.
    No,
    /// A frame by its header, with a function that nobody uses or a length that does not fit it.
    Odd,
    /// A frame of a function without a known shape.
    Frame,
    /// A frame whose length fits its function.
    Shape,
}

fn body_length(bytes: &[u8]) -> usize {
    usize::from(bytes[4]) << 8 | usize::from(bytes[5])
}

fn plausible(bytes: &[u8]) -> Plausible {
    // Every byte that is there must fit, so that others are let go early.
    if bytes.iter().skip(2).take(3).any(|&b| b != 0) {
        return Plausible::No;
    }
    let Some((&[_, _, _, _, _, length, _, function], rest)) = bytes.split_first_chunk::<8>() else {
        return match bytes.get(5) {
            Some(&length) if !(2..=BODY_MAX).contains(&usize::from(length)) => Plausible::No,
            _ => Plausible::Short,
        };
    };
    let length = usize::from(length);
    if !(2..=BODY_MAX).contains(&length) {
        return Plausible::No;
    }
    if function & 0x7f == 0 {
        return Plausible::Odd;
    }
    if function >= 0x80 {
        return if length == 3 { Plausible::Shape } else { Plausible::Odd };
    }
    match pdu::shape(function, length - 1, rest.first().copied()) {
        pdu::Shape { known: false, .. } => Plausible::Frame,
        pdu::Shape { request: false, response: false, .. } if rest.is_empty() && length > 2 => {
            Plausible::Short
        }
        pdu::Shape { request: false, response: false, .. } => Plausible::Odd,
        _ => Plausible::Shape,
    }
}

/// A request that waits for its response.
struct Waiting {
    transaction: u16,
    unit: u8,
    time: Micros,
    asker: Side,
    pdu: Pdu,
}

/// A PDU that is kept. Most requests fit where they stand; few write many registers.
enum Pdu {
    Short(u8, [u8; PDU_SHORT]),
    Long(Box<[u8]>),
}

impl Pdu {
    fn new(pdu: &[u8]) -> Pdu {
        let mut short = [0; PDU_SHORT];
        match short.get_mut(..pdu.len()) {
            Some(place) => {
                place.copy_from_slice(pdu);
                Pdu::Short(pdu.len() as u8, short)
            }
            None => Pdu::Long(pdu.into()),
        }
    }

    fn bytes(&self) -> &[u8] {
        match self {
            Pdu::Short(length, short) => &short[..usize::from(*length)],
            Pdu::Long(long) => long,
        }
    }
}

thread_local! {
    /// Where rows are put together, for all connections of a thread: one of a million that are idle
    /// keeps no strings.
    static TEXTS: RefCell<Texts> = RefCell::default();
}

/// One direction's framing.
#[derive(Default)]
struct Framing {
    /// Bytes of a bad frame still to be thrown away.
    skip: u64,
    /// Bad frames in a row.
    bad: u8,
    /// Why the next frame's place is unknown, where it is: what is passed over until one is found
    /// is reported as that, see [`coverage`].
    lost: Option<&'static str>,
    /// Whether that is because bytes are missing, and none was thrown away since.
    after_gap: bool,
    /// Bytes thrown away since it is.
    scanned: u64,
    /// Bytes done with, from the beginning of what was seen.
    place: u64,
}

/// The state of a connection.
#[derive(Default)]
struct Modbus {
    waiting: VecDeque<Waiting>,
    client: Framing,
    server: Framing,
    /// The end that asks, once a frame has told; the opener until then.
    master: Option<Side>,
    evicted: u64,
}

impl Dissector for Modbus {
    fn parse(&mut self, cx: &mut Cx<'_>, side: Side, bytes: &[u8]) -> Outcome {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            let framing = self.framing(side);
            if framing.skip > 0 {
                let n = framing.skip.min(rest.len() as u64);
                framing.skip -= n;
                framing.place += n;
                at += n as usize;
                if framing.skip > 0 {
                    return Outcome::Consumed(at);
                }
                continue;
            }
            if framing.lost.is_some() {
                let (skipped, found) = scan(rest, framing.after_gap);
                framing.after_gap &= skipped == 0;
                framing.scanned += skipped as u64;
                framing.place += skipped as u64;
                at += skipped;
                if framing.scanned > SCAN_BYTES_MAX {
                    self.found_again(cx, side, "no frame was found again");
                    return Outcome::Unrecoverable;
                }
                if !found {
                    return Outcome::Consumed(at);
                }
                self.found_again(cx, side, "skipped up to the next frame");
                continue;
            }
            if rest.len() < HEADER {
                return Outcome::Consumed(at);
            }
            let protocol = u16::from_be_bytes([rest[2], rest[3]]);
            let length = body_length(rest);
            if protocol != 0 || !(2..=BODY_MAX).contains(&length) {
                self.bad_header(cx, side, rest, protocol, length);
                at += HEADER;
                continue;
            }
            let Some(frame) = rest.get(..HEADER + length) else {
                return Outcome::Consumed(at);
            };
            let framing = self.framing(side);
            framing.bad = 0;
            framing.place += frame.len() as u64;
            self.frame(cx, side, frame);
            at += frame.len();
        }
    }

    fn gap(&mut self, _cx: &mut Cx<'_>, side: Side, missing: u64) {
        let framing = self.framing(side);
        framing.place += missing;
        if framing.skip >= missing && framing.skip > 0 {
            framing.skip -= missing;
        } else {
            framing.skip = 0;
            framing.lost = Some(coverage::GAP);
            framing.after_gap = true;
        }
    }

    fn expire(&mut self, cx: &mut Cx<'_>) {
        // In order of arrival, which is nearly the order of time: a clock that steps back only delays.
        while self.waiting.front().is_some_and(|w| cx.time - w.time > REPLY_TIMEOUT) {
            self.give_up_oldest(cx);
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        while !self.waiting.is_empty() {
            self.give_up_oldest(cx);
        }
        for side in [Side::Client, Side::Server] {
            if self.framing(side).scanned > 0 {
                self.found_again(cx, side, "no frame was found again");
            }
        }
    }
}

impl Modbus {
    fn framing(&mut self, side: Side) -> &mut Framing {
        match side {
            Side::Client => &mut self.client,
            Side::Server => &mut self.server,
        }
    }

    /// One frame with a good header.
    fn frame(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) {
        let transaction = u16::from_be_bytes([frame[0], frame[1]]);
        let unit = frame[6];
        let pdu = &frame[7..];
        if self.master.is_none() {
            // Only what can be one of the two and not the other tells who asks; an exception does,
            // even one of a wrong length.
            let shape = pdu::shape(pdu[0], pdu.len(), pdu.get(1).copied());
            if pdu[0] >= 0x80 || shape.request != shape.response {
                self.master = Some(if shape.request { side } else { side.other() });
            }
        }
        if side == self.master.unwrap_or(Side::Client) && pdu[0] < 0x80 {
            self.request(cx, side, transaction, unit, pdu);
        } else {
            self.response(cx, side, transaction, unit, pdu);
        }
    }

    fn request(&mut self, cx: &mut Cx<'_>, side: Side, transaction: u16, unit: u8, pdu: &[u8]) {
        if self.waiting.len() == WAITING_MAX {
            self.evicted += 1;
            self.give_up_oldest(cx);
            if self.evicted.is_power_of_two() {
                let detail = format!("more than {WAITING_MAX} requests wait: the oldest is given up");
                cover(cx, coverage::DROP, self.evicted, &detail);
            }
        }
        let waiting = Waiting { transaction, unit, time: cx.time, asker: side, pdu: Pdu::new(pdu) };
        if self.waiting.capacity() == 0 {
            // Most masters ask one thing at a time.
            self.waiting.reserve_exact(1);
        }
        self.waiting.push_back(waiting);
    }

    fn response(&mut self, cx: &mut Cx<'_>, side: Side, transaction: u16, unit: u8, pdu: &[u8]) {
        let same = |w: &Waiting| w.transaction == transaction && w.unit == unit && w.asker != side;
        let asked = self.waiting.iter().position(|w| same(w) && w.pdu.bytes()[0] == pdu[0] & 0x7f);
        match asked.and_then(|index| self.waiting.remove(index)) {
            Some(w) => write(cx, &w, Some(pdu)),
            None => {
                // A response to the right transaction with the wrong function is worth saying.
                let other = self.waiting.iter().find(|w| same(w)).map(|w| w.pdu.bytes()[0]);
                TEXTS.with_borrow_mut(|t| t.unasked(cx, side.other(), (transaction, unit), pdu, other));
            }
        }
    }

    fn give_up_oldest(&mut self, cx: &mut Cx<'_>) {
        if let Some(w) = self.waiting.pop_front() {
            write(cx, &w, None);
        }
    }

    /// A header that no frame may have: one row, then past the frame that it claims, or searching.
    fn bad_header(&mut self, cx: &mut Cx<'_>, side: Side, bytes: &[u8], protocol: u16, length: usize) {
        let asker = self.master.unwrap_or(Side::Client);
        let framing = self.framing(side);
        let place = framing.place;
        framing.bad += 1;
        framing.place += HEADER as u64;
        if framing.bad > BAD_MAX || (protocol != 0 && !(2..=BODY_MAX).contains(&length)) {
            framing.lost = Some(coverage::MALFORMED);
            framing.bad = 0;
        } else {
            framing.skip = length as u64;
        }
        let mut detail = String::new();
        json::member_number(&mut detail, "transaction", u64::from(u16::from_be_bytes([bytes[0], bytes[1]])));
        let problem = if protocol != 0 {
            format!("the protocol identifier is {protocol} and not 0")
        } else {
            format!("the length is {length}; a frame has 2 to {BODY_MAX} bytes after it")
        };
        json::member_text(&mut detail, "problem", &problem);
        json::member_number(&mut detail, "at", place);
        json::end(&mut detail);
        let mut row = cx.flow.message(PROTOCOL.name, asker, asker.other());
        row.time = cx.time;
        row.observed = cx.observed;
        row.operation = operation::OTHER;
        row.function = "unreadable";
        row.status = status::MALFORMED;
        row.status_code = if protocol != 0 { "protocol_identifier" } else { "length" };
        row.exchange = if side == asker { "request" } else { "reply" };
        row.detail = &detail;
        cx.out.push(Row::Message(&row));
    }

    /// Says how much was thrown away until a frame was found again.
    fn found_again(&mut self, cx: &mut Cx<'_>, side: Side, what: &str) {
        let framing = self.framing(side);
        let (skipped, place) = (std::mem::take(&mut framing.scanned), framing.place);
        let event = framing.lost.take().unwrap_or(coverage::MALFORMED);
        framing.after_gap = false;
        if skipped > 0 {
            let detail =
                format!("{what}: {skipped} bytes passed over, before byte {place} of the {side:?} side");
            cover(cx, event, skipped, &detail);
        }
    }
}

/// Writes a request's row.
fn write(cx: &mut Cx<'_>, w: &Waiting, response: Option<&[u8]>) {
    let request = Some((w.pdu.bytes(), w.time));
    TEXTS.with_borrow_mut(|t| t.exchange(cx, w.asker, (w.transaction, w.unit), request, response));
}

fn cover(cx: &mut Cx<'_>, event: &str, count: u64, detail: &str) {
    let flow = cx.flow;
    let subject = format!(
        "modbus {}:{} {}:{}",
        flow.client.address, flow.client.port, flow.server.address, flow.server.port
    );
    cx.out.push(Row::Coverage(&CoverageRow {
        time: cx.time,
        until: cx.time,
        observed: cx.observed,
        event,
        subject: &subject,
        count,
        detail,
        ..CoverageRow::default()
    }));
}

/// Finds the next header whose length fits its function: how many bytes lie before it, and
/// whether it is there. Bytes that may begin one stay. Right after a gap a header of whatever
/// function is enough: what is lost are packets, and most begin with a frame.
fn scan(bytes: &[u8], after_gap: bool) -> (usize, bool) {
    for at in 0..bytes.len() {
        match plausible(&bytes[at..]) {
            Plausible::Shape => return (at, true),
            Plausible::Short => return (at, false),
            Plausible::Frame if after_gap && at == 0 => return (at, true),
            Plausible::Frame | Plausible::Odd | Plausible::No => {}
        }
    }
    (bytes.len(), false)
}

#[cfg(test)]
mod tests;
