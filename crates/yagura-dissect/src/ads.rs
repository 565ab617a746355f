//! Beckhoff AMS/ADS over TCP, and the router's discovery over UDP (Beckhoff Information System:
//! ADS specification, AMS/TCP packet, AMS header, ADS commands).
//!
//! A frame is known by its two lengths, which must agree, its command and its flags, on any port.
//! One connection carries the requests of many programs to many devices, from either end: they
//! are paired by invoke id, command and AMS addresses. What they say is read in [`body`].

use std::fmt::Write;

use yagura_event::clock::{Micros, SECOND};

use crate::cursor::{Cursor, Cut};
use crate::exchange::Exchanges;
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Probe, Protocol, Side, Transport, json};

mod body;
mod discovery;
mod names;
mod symbols;

use names::command;
use symbols::Symbols;

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: "ads",
    carriers: &[Carrier::tcp(&[48898]), Carrier::udp(&[48899])],
    probe,
    start,
    buffer_bytes_max: WHOLE_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

/// A request without a response for that long gets a row of its own.
const REPLY_TIMEOUT: Micros = 10 * SECOND;
/// Reserved, length.
const TCP_HEADER: usize = 6;
/// Target, source, command, flags, length, error, invoke id.
const AMS_HEADER: usize = 32;
/// Longest frame that is read whole; of longer ones (uploads of symbols) the beginning is.
const WHOLE_MAX: usize = 1 << 16;
/// How much of those is read.
const BEGINNING: usize = 4096;
/// The longest frame that is believed.
const LENGTH_MAX: u32 = 64 << 20;

/// State flags.
mod flag {
    pub const RESPONSE: u16 = 1;
    pub const NO_RETURN: u16 = 2;
    /// All that the specification names.
    pub const KNOWN: u16 = 0x81ff;
}

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let bytes = glimpse.bytes;
    if glimpse.transport == Transport::Udp {
        let found = bytes.len() >= discovery::COOKIE.len() + 8 && bytes.starts_with(&discovery::COOKIE);
        return if found { Probe::Yes } else { Probe::No };
    }
    match frame_of_stream(bytes) {
        Frame::Of(_) | Frame::Head(..) => Probe::Yes,
        Frame::More => Probe::More,
        Frame::Bad(_) => Probe::No,
    }
}

fn frame_of_stream(bytes: &[u8]) -> Frame {
    if bytes.iter().take(2).any(|&b| b != 0) {
        return Frame::Bad("reserved");
    }
    let number = |at: usize| bytes.get(at..at + 4).map(|b| u32::from_le_bytes([b[0], b[1], b[2], b[3]]));
    let Some(length) = number(2) else { return Frame::More };
    if !(AMS_HEADER as u32..=LENGTH_MAX).contains(&length) {
        return Frame::Bad("length");
    }
    let (Some(words), Some(data)) = (bytes.get(22..26), number(26)) else { return Frame::More };
    let (command, flags) =
        (u16::from_le_bytes([words[0], words[1]]), u16::from_le_bytes([words[2], words[3]]));
    if data != length - AMS_HEADER as u32 {
        Frame::Bad("data_length")
    } else if !(command::READ_DEVICE_INFO..=command::READ_WRITE).contains(&command) {
        Frame::Bad("command")
    } else if flags & !flag::KNOWN != 0 {
        Frame::Bad("state_flags")
    } else if length as usize + TCP_HEADER <= WHOLE_MAX {
        Frame::Of(length as usize + TCP_HEADER)
    } else {
        Frame::Head(BEGINNING, u64::from(length) + TCP_HEADER as u64 - BEGINNING as u64)
    }
}

fn start(flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(Ads {
        stream: flow.transport == Transport::Tcp,
        exchanges: Exchanges::new(PROTOCOL.name, REPLY_TIMEOUT),
        symbols: Symbols::default(),
        identity: String::new(),
    }))
}

/// An AMS address: NetId, and port with the low byte first.
type Address = [u8; 8];

/// One place of a sum command.
struct Item {
    group: u32,
    offset: u32,
    length: u32,
    /// How many bytes are written to be answered.
    written: u32,
    /// The name that they are, where they are one.
    name: String,
}

/// What tells requests apart, and what their responses need to be read.
#[derive(Default)]
struct Key {
    /// A datagram of the router: its service is the group.
    router: bool,
    command: u16,
    invoke: u32,
    asker: Address,
    asked: Address,
    group: u32,
    offset: u32,
    /// The places of a sum command; empty for all others.
    items: Vec<Item>,
}

/// The header of a frame.
struct Header {
    target: Address,
    source: Address,
    command: u16,
    flags: u16,
    error: u32,
    invoke: u32,
    /// Whether the rest of the frame is not here.
    partial: bool,
}

/// The state of a connection.
struct Ads {
    stream: bool,
    exchanges: Exchanges<Key>,
    symbols: Symbols,
    /// What the device last said it is, to say it once.
    identity: String,
}

impl Framed for Ads {
    const PROTOCOL: &'static str = PROTOCOL.name;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        // A datagram is one frame.
        if self.stream { frame_of_stream(bytes) } else { Frame::Of(bytes.len()) }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        if !self.stream {
            return self.datagram(cx, side, frame);
        }
        let mut c = Cursor::new(frame);
        c.skip(2, "reserved")?;
        let length = c.u32_le("length")?;
        let (target, source) = (c.array("target")?, c.array("source")?);
        let (command, flags) = (c.u16_le("command")?, c.u16_le("state_flags")?);
        c.skip(4, "data_length")?;
        let (error, invoke) = (c.u32_le("error_code")?, c.u32_le("invoke_id")?);
        let partial = frame.len() < length as usize + TCP_HEADER;
        let header = Header { target, source, command, flags, error, invoke, partial };
        if flags & flag::RESPONSE == 0 {
            self.request(cx, side, &header, c);
        } else {
            self.response(cx, side, &header, c);
        }
        Ok(())
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, _side: Side) {}

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.expire(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.close(cx);
    }
}

/// NetId and port as Beckhoff writes them: `5.13.117.96.1.1:10000`.
fn address(out: &mut String, [a, b, c, d, e, f, low, high]: Address) {
    net_id(out, [a, b, c, d, e, f]);
    let _ = write!(out, ":{}", u16::from_le_bytes([low, high]));
}

fn net_id(out: &mut String, parts: [u8; 6]) {
    for (index, part) in parts.into_iter().enumerate() {
        if index > 0 {
            out.push('.');
        }
        json::push_number(out, u64::from(part));
    }
}

#[cfg(test)]
mod tests;
