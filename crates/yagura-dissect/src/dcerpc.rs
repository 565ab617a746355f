//! DCE-RPC (C706, MS-RPCE): connection-oriented over TCP, connectionless over UDP, and in SMB's
//! pipes. Who binds to which interface and calls which operation, with what credentials, and what
//! becomes of it. DCOM's and OPC's interfaces are among them. Parameters are shown only where they
//! name what the call is about ([`stubs`]); PROFINET's interfaces are a protocol of their own.

use yagura_event::clock::{Micros, SECOND};

use crate::cursor::{Cursor, Cut};
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Probe, Protocol, Side, Transport};

mod calls;
mod datagrams;
mod interfaces;
mod names;
mod opc;
mod stubs;
#[cfg(test)]
mod tests;

pub(crate) use calls::Rpc;
pub(crate) use datagrams::Header as DatagramHeader;
pub(crate) use interfaces::{Uuid, is_profinet};
pub(crate) use names::fault;

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::tcp(&[135]), Carrier::udp(&[135])],
    probe,
    start,
    buffer_bytes_max: FRAGMENT_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "dcerpc";
/// The common header of connection-oriented PDUs (C706, 12.6.3.1).
const HEADER: usize = 16;
/// The header of connectionless PDUs (C706, 12.5.1).
pub(crate) const DATAGRAM_HEADER: usize = 80;
/// The largest fragment that its length can say.
const FRAGMENT_MAX: usize = 0xffff;
/// A call without a response for that long gets a row of its own.
const REPLY_TIMEOUT: Micros = 60 * SECOND;

/// Types of PDUs (C706, 12.6.4).
pub(crate) mod kind {
    pub const REQUEST: u8 = 0;
    pub const RESPONSE: u8 = 2;
    pub const FAULT: u8 = 3;
    pub const REJECT: u8 = 6;
    pub const BIND: u8 = 11;
    pub const BIND_ACK: u8 = 12;
    pub const BIND_NAK: u8 = 13;
    pub const ALTER: u8 = 14;
    pub const ALTER_ACK: u8 = 15;
    pub const AUTH3: u8 = 16;
    pub const SHUTDOWN: u8 = 17;
    pub const CANCEL: u8 = 18;
    pub const ORPHANED: u8 = 19;
    /// Of RPC over HTTP.
    pub const RTS: u8 = 20;
}

/// What the bytes of a stream, or of a pipe, begin with.
fn frame_of(bytes: &[u8]) -> Frame {
    for (at, byte) in bytes.iter().take(8).enumerate() {
        let fits = match at {
            0 => *byte == 5,
            1 => *byte <= 1,
            2 => matches!(*byte, kind::REQUEST | kind::RESPONSE | kind::FAULT | kind::BIND..=kind::RTS),
            4 => matches!(*byte, 0 | 1 | 0x10 | 0x11),
            5 => *byte <= 3,
            6 | 7 => *byte == 0,
            _ => true,
        };
        if !fits {
            return Frame::Bad("header");
        }
    }
    let Some(&[kind, _, order, _, _, _, a, b, c, d]) = bytes.get(2..12).and_then(|b| b.first_chunk()) else {
        return Frame::More;
    };
    let little = order & 0x10 != 0;
    let number = |pair: [u8; 2]| if little { u16::from_le_bytes(pair) } else { u16::from_be_bytes(pair) };
    let (length, credentials) = (usize::from(number([a, b])), usize::from(number([c, d])));
    let least = match kind {
        kind::REQUEST | kind::RESPONSE => 24,
        kind::FAULT => 28,
        kind::BIND | kind::ALTER => 28,
        kind::BIND_ACK | kind::ALTER_ACK => 26,
        kind::BIND_NAK => 18,
        _ => HEADER,
    };
    if length < least {
        return Frame::Bad("fragment_length");
    }
    if credentials > 0 && credentials + 8 > length - HEADER {
        return Frame::Bad("auth_length");
    }
    Frame::Of(length)
}

/// Whether bytes are whole PDUs: what is written to or read from a pipe that is not known as one.
pub(crate) fn is_pdu(bytes: &[u8]) -> bool {
    matches!(frame_of(bytes), Frame::Of(length) if length == bytes.len())
}

/// Whether a datagram is a connectionless PDU: its interface and activity are identifiers, and its
/// length fits.
fn datagram(bytes: &[u8]) -> Option<datagrams::Header> {
    let header = datagrams::Header::read(&mut Cursor::new(bytes)).ok()?;
    let identifier = |uuid: Uuid| matches!(uuid >> 62 & 3, 2 | 3);
    let fits = header.kind <= 10
        && matches!(bytes[4], 0 | 1 | 0x10 | 0x11)
        && bytes[5] <= 3
        && bytes[6] == 0
        && header.flags & 0x80 == 0
        && bytes[3] & !2 == 0
        && bytes.len() >= DATAGRAM_HEADER + header.length
        && (header.authentication != 0 || bytes.len() == DATAGRAM_HEADER + header.length)
        && (identifier(header.interface) || interfaces::known(header.interface).is_some())
        && identifier(header.activity);
    (fits && !is_profinet(header.interface) && !is_profinet(header.object)).then_some(header)
}

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    if glimpse.transport == Transport::Udp {
        return if datagram(glimpse.bytes).is_some() { Probe::Yes } else { Probe::No };
    }
    match frame_of(glimpse.bytes) {
        Frame::Bad(_) => Probe::No,
        _ if glimpse.bytes.len() < HEADER => Probe::More,
        _ => Probe::Yes,
    }
}

fn start(flow: &FlowInfo) -> Box<dyn Dissector> {
    let datagrams = flow.transport == Transport::Udp;
    Box::new(Framing::new(DceRpc { rpc: Rpc::new(), datagrams }))
}

/// The state of a connection or of a conversation in datagrams.
struct DceRpc {
    rpc: Rpc,
    datagrams: bool,
}

impl Framed for DceRpc {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        match self.datagrams {
            true if datagram(bytes).is_some() => Frame::Of(bytes.len()),
            true => Frame::Bad("header"),
            false => frame_of(bytes),
        }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        if self.datagrams { self.rpc.datagram(cx, side, frame) } else { self.rpc.pdu(cx, side, frame) }
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, _side: Side) {
        self.rpc.lost();
    }

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.rpc.expire(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.rpc.close(cx);
    }
}

/// Numbers in the order of bytes that a PDU says (C706, 14.1).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Order {
    little: bool,
}

impl Order {
    pub fn u16(self, c: &mut Cursor<'_>, what: &'static str) -> Result<u16, Cut> {
        if self.little { c.u16_le(what) } else { c.u16_be(what) }
    }

    pub fn u32(self, c: &mut Cursor<'_>, what: &'static str) -> Result<u32, Cut> {
        if self.little { c.u32_le(what) } else { c.u32_be(what) }
    }

    pub fn uuid(self, c: &mut Cursor<'_>, what: &'static str) -> Result<Uuid, Cut> {
        let mut part = *c;
        let first = self.u32(&mut part, what)?;
        let (second, third) = (self.u16(&mut part, what)?, self.u16(&mut part, what)?);
        let last = part.u64_be(what)?;
        *c = part;
        Ok(Uuid::from(first) << 96 | Uuid::from(second) << 80 | Uuid::from(third) << 64 | Uuid::from(last))
    }
}

/// Appends a UUID as text.
pub(crate) fn push_uuid(out: &mut String, uuid: Uuid) {
    for (at, byte) in uuid.to_be_bytes().iter().enumerate() {
        if matches!(at, 4 | 6 | 8 | 10) {
            out.push('-');
        }
        crate::json::push_hex_digits(out, &[*byte]);
    }
}
