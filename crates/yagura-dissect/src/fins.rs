//! Omron FINS over UDP and FINS/TCP (Omron manuals W342, communications commands, and W421,
//! Ethernet units).
//!
//! A frame is known by its header, whose flags, reserved byte and gateway count leave few values,
//! and by a command of the manuals. Either end may ask: a flag tells responses. Requests and
//! responses are paired by service number and command; what they say is read in [`body`].

use yagura_event::clock::{Micros, SECOND};
use yagura_event::vocabulary::operation;

use crate::cursor::{Cursor, Cut};
use crate::exchange::Exchanges;
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Probe, Protocol, Side, Transport, json};

mod body;
mod names;

use names::Place;

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: "fins",
    carriers: &[Carrier::udp(&[9600]), Carrier::tcp(&[9600])],
    probe,
    start,
    buffer_bytes_max: TCP_HEADER + FRAME_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

/// A request without a response for that long gets a row of its own.
const REPLY_TIMEOUT: Micros = 10 * SECOND;
/// `FINS`, length, command, error code.
const TCP_HEADER: usize = 16;
/// From the flags to the service number.
const HEADER: usize = 10;
/// The header and a command.
const FRAME_MIN: usize = HEADER + 2;
/// More than any unit sends: 2,012 bytes is the largest that the manuals name.
const FRAME_MAX: usize = 4096;

/// Flags of the header's first byte.
mod icf {
    /// This frame may pass gateways: always set by what sends.
    pub const GATEWAY: u8 = 0x80;
    /// This frame is a response.
    pub const RESPONSE: u8 = 0x40;
    /// No response is wanted.
    pub const NO_RESPONSE: u8 = 0x01;
}

/// Commands of the TCP header.
mod tcp {
    pub const CLIENT_NODE: u32 = 0;
    pub const SERVER_NODE: u32 = 1;
    pub const FRAME: u32 = 2;
    pub const ERROR: u32 = 3;
    pub const CONFIRMATION: u32 = 6;
}

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let bytes = glimpse.bytes;
    if glimpse.transport == Transport::Tcp {
        return match frame_of_stream(bytes) {
            Frame::Of(_) => Probe::Yes,
            Frame::More => Probe::More,
            Frame::Bad(_) | Frame::Head(..) => Probe::No,
        };
    }
    let (Ok(()), Some(&[high, low])) = (header(bytes), bytes.get(HEADER..FRAME_MIN)) else {
        return Probe::No;
    };
    let known = names::command(u16::from_be_bytes([high, low])).is_some();
    let shape = bytes[0] & icf::RESPONSE == 0 || bytes.len() >= FRAME_MIN + 2;
    if (known && shape) || glimpse.customary { Probe::Yes } else { Probe::No }
}

/// Whether bytes begin with the header of a FINS frame.
fn header(bytes: &[u8]) -> Result<(), &'static str> {
    match bytes {
        &[flags, reserved, gateways, ..] if bytes.len() >= FRAME_MIN => {
            if flags & !(icf::RESPONSE | icf::NO_RESPONSE) != icf::GATEWAY || reserved != 0 {
                Err("flags")
            } else if gateways > 7 {
                Err("gateway_count")
            } else if bytes[3] > 127 || bytes[6] > 127 {
                Err("network_address")
            } else if bytes.len() > FRAME_MAX {
                Err("length")
            } else {
                Ok(())
            }
        }
        _ => Err("cut_off"),
    }
}

fn frame_of_stream(bytes: &[u8]) -> Frame {
    let begins = bytes.len().min(4);
    if bytes[..begins] != b"FINS"[..begins] {
        return Frame::Bad("magic");
    }
    let (Some(length), Some(command)) = (bytes.get(4..8), bytes.get(8..12)) else { return Frame::More };
    let number = |part: &[u8]| part.iter().fold(0usize, |sum, &byte| sum << 8 | usize::from(byte));
    let (length, command) = (number(length), number(command));
    // The length counts command and error code too.
    if !(8..=8 + FRAME_MAX).contains(&length) {
        Frame::Bad("length")
    } else if command > 0xff {
        Frame::Bad("tcp_command")
    } else {
        Frame::Of(8 + length)
    }
}

fn start(flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(Fins {
        stream: flow.transport == Transport::Tcp,
        exchanges: Exchanges::new(PROTOCOL.name, REPLY_TIMEOUT),
        identity: String::new(),
    }))
}

/// What tells requests apart, and what their responses need to be read.
#[derive(Default)]
struct Asked {
    service: u8,
    command: u16,
    /// The elements that are read.
    place: Place,
    /// The elements of a read of several places; empty for all others.
    places: Vec<Place>,
}

/// Asked for with the TCP header alone: a node address.
const NODE_ADDRESS: u16 = 0;

/// The addresses of a frame: network, node and unit.
struct Header {
    flags: u8,
    destination: [u8; 3],
    source: [u8; 3],
    service: u8,
}

/// The state of a connection.
struct Fins {
    stream: bool,
    exchanges: Exchanges<Asked>,
    /// What the controller last said it is, to say it once.
    identity: String,
}

impl Fins {
    /// A whole FINS frame.
    fn message(&mut self, cx: &mut Cx<'_>, side: Side, bytes: &[u8]) -> Result<(), Cut> {
        header(bytes).map_err(|what| Cut { what, at: 0 })?;
        let mut cursor = Cursor::new(bytes);
        let [flags, _, _, dna, da1, da2, sna, sa1, sa2, service] = cursor.array::<HEADER>("header")?;
        let header = Header { flags, destination: [dna, da1, da2], source: [sna, sa1, sa2], service };
        let command = cursor.u16_be("command")?;
        if flags & icf::RESPONSE == 0 {
            self.request(cx, side, &header, command, cursor);
            Ok(())
        } else {
            self.response(cx, side, &header, command, cursor)
        }
    }

    fn request(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        header: &Header,
        command: u16,
        mut cursor: Cursor<'_>,
    ) {
        let (operation, name) = names::command(command).unwrap_or((operation::OTHER, "command"));
        let mut draft = self.exchanges.draft(cx, side, operation, name);
        address(&mut draft.session, header.destination);
        describe(&mut draft.detail, header, header.source, command);
        let mut asked = Asked { service: header.service, command, ..Asked::default() };
        if let Err(cut) = body::request(cx, &mut draft, command, &mut cursor, &mut asked) {
            draft.wrong(cut);
        }
        if header.flags & icf::NO_RESPONSE == 0 {
            self.exchanges.ask(cx, asked, draft);
        } else {
            self.exchanges.one_way(cx, draft);
        }
    }

    fn response(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        header: &Header,
        command: u16,
        mut cursor: Cursor<'_>,
    ) -> Result<(), Cut> {
        let code = cursor.u16_be("end_code")?;
        let same = |a: &Asked| a.service == header.service && a.command == command && !a.is_node_address();
        let found = self.exchanges.take_if(side, |asked, _| same(asked));
        let paired = found.is_some();
        let (asked, mut draft) = found.unwrap_or_else(|| {
            let (operation, name) = names::command(command).unwrap_or((operation::OTHER, "command"));
            let mut draft = self.exchanges.draft(cx, side.other(), operation, name);
            address(&mut draft.session, header.source);
            describe(&mut draft.detail, header, header.destination, command);
            (Asked { command, ..Asked::default() }, draft)
        });
        json::member_number(&mut draft.detail, "end_code", u64::from(code));
        // Flags within the code: an error on the way, and errors that the controller has anyway.
        if code & 0x8000 != 0 {
            json::member_bool(&mut draft.detail, "relay_error", true);
        }
        if code & 0x00c0 != 0 {
            let kind = if code & 0x80 != 0 { "fatal" } else { "non_fatal" };
            json::member_text(&mut draft.detail, "controller_error", kind);
        }
        let code = code & 0x7f3f;
        let read = match code {
            0 => body::response(cx, side, &mut draft, &mut cursor, &asked, &mut self.identity),
            _ => {
                match names::end_code(code) {
                    Some(name) => draft.deny(name),
                    None => draft.deny(format!("0x{code:04x}")),
                }
                Ok(())
            }
        };
        if let Err(cut) = read {
            draft.wrong(cut);
        }
        if paired {
            self.exchanges.pair(cx, draft);
        } else {
            self.exchanges.unasked(cx, draft);
        }
        Ok(())
    }

    /// What the TCP header says by itself: node addresses and errors.
    fn tcp(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        command: u32,
        error: u32,
        mut body: Cursor<'_>,
    ) -> Result<(), Cut> {
        let fail = |draft: &mut crate::exchange::Draft| match names::tcp_error(error) {
            _ if error == 0 => {}
            Some(name) => draft.deny(name),
            None => draft.deny(format!("0x{error:08x}")),
        };
        match command {
            tcp::CLIENT_NODE => {
                let node = body.u32_be("client_node")?;
                let mut draft =
                    self.exchanges.draft(cx, side, operation::SESSION_OPEN, "node_address_data_send");
                json::member_number(&mut draft.detail, "tcp_command", u64::from(command));
                json::member_number(&mut draft.detail, "wanted_node", u64::from(node));
                let asked = Asked { service: 0, command: NODE_ADDRESS, ..Asked::default() };
                self.exchanges.ask(cx, asked, draft);
            }
            tcp::SERVER_NODE => {
                let found = self.exchanges.take_if(side, |asked, _| asked.is_node_address());
                let paired = found.is_some();
                let mut draft = match found {
                    Some((_, draft)) => draft,
                    None => {
                        let function = "node_address_data_send";
                        self.exchanges.draft(cx, side.other(), operation::SESSION_OPEN, function)
                    }
                };
                fail(&mut draft);
                if error == 0 {
                    let (client, server) = (body.u32_be("client_node")?, body.u32_be("server_node")?);
                    json::member_number(&mut draft.detail, "client_node", u64::from(client));
                    json::member_number(&mut draft.detail, "server_node", u64::from(server));
                }
                if paired {
                    self.exchanges.pair(cx, draft);
                } else {
                    self.exchanges.unasked(cx, draft);
                }
            }
            _ => {
                let (operation, name) = match command {
                    tcp::ERROR => (operation::ERROR, "frame_send_error_notification"),
                    tcp::CONFIRMATION => (operation::SESSION_KEEP, "connection_confirmation"),
                    _ => (operation::OTHER, "tcp_command"),
                };
                let mut draft = self.exchanges.draft(cx, side, operation, name);
                json::member_number(&mut draft.detail, "tcp_command", u64::from(command));
                fail(&mut draft);
                self.exchanges.one_way(cx, draft);
            }
        }
        Ok(())
    }
}

impl Asked {
    /// No FINS command is 0, so it stands for what the TCP header asks.
    fn is_node_address(&self) -> bool {
        self.command == NODE_ADDRESS
    }
}

impl Framed for Fins {
    const PROTOCOL: &'static str = PROTOCOL.name;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        if self.stream {
            return frame_of_stream(bytes);
        }
        // A datagram is one frame.
        match header(bytes) {
            Ok(()) => Frame::Of(bytes.len()),
            Err(what) => Frame::Bad(what),
        }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        if !self.stream {
            return self.message(cx, side, frame);
        }
        let mut cursor = Cursor::new(frame);
        cursor.skip(8, "magic")?;
        let (command, error) = (cursor.u32_be("tcp_command")?, cursor.u32_be("tcp_error")?);
        if command == tcp::FRAME && error == 0 {
            return self.message(cx, side, cursor.rest());
        }
        self.tcp(cx, side, command, error, cursor)
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, _side: Side) {}

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.expire(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.close(cx);
    }
}

/// Network, node and unit with dots.
fn address(out: &mut String, parts: [u8; 3]) {
    for (index, part) in parts.into_iter().enumerate() {
        if index > 0 {
            out.push('.');
        }
        json::push_number(out, u64::from(part));
    }
}

fn describe(detail: &mut String, header: &Header, asker: [u8; 3], command: u16) {
    json::member_number(detail, "command", u64::from(command));
    json::member_number(detail, "service", u64::from(header.service));
    json::key(detail, "asker");
    detail.push('"');
    address(detail, asker);
    detail.push('"');
}

#[cfg(test)]
mod tests;
