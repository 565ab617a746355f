//! EtherNet/IP (CIP volume 2, chapters 2 and 3) over TCP and UDP: encapsulation, sessions, the
//! common packet format, and implicit messages of the transport classes 0 and 1.
//!
//! The protocol is known by its structure, on any port: a command of the standard with a length
//! and a status that go with it. The messages of the Common Industrial Protocol inside are read
//! in [`cip`].

use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::operation;

use crate::cursor::{Cursor, Cut};
use crate::exchange::{Draft, Exchanges};
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Probe, Protocol, Side, Transport, json};

mod cip;
mod names;
mod path;
mod values;

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: "enip",
    carriers: &[Carrier::tcp(&[44818]), Carrier::udp(&[44818, 2222])],
    probe,
    start,
    buffer_bytes_max: HEADER + DATA_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

/// A request without a reply for that long gets a row of its own.
const REPLY_TIMEOUT: Micros = 15 * SECOND;
/// Command, length, session, status, sender context, options.
const HEADER: usize = 24;
/// Most data of one encapsulation message.
const DATA_MAX: usize = 65_511;
/// Implicit messages of one connection are counted over that time.
const IO_PERIOD: Micros = 10 * SECOND;
/// Most connections of implicit messages that are counted at a time.
const IO_MAX: usize = 64;

/// Encapsulation commands (chapter 2-4).
mod command {
    pub const NOP: u16 = 0x00;
    /// Reserved for legacy devices; answered like the lists.
    pub const LEGACY: u16 = 0x01;
    pub const LIST_SERVICES: u16 = 0x04;
    pub const LIST_IDENTITY: u16 = 0x63;
    pub const LIST_INTERFACES: u16 = 0x64;
    pub const REGISTER_SESSION: u16 = 0x65;
    pub const UNREGISTER_SESSION: u16 = 0x66;
    pub const SEND_RR_DATA: u16 = 0x6f;
    pub const SEND_UNIT_DATA: u16 = 0x70;
    pub const INDICATE_STATUS: u16 = 0x72;
    pub const CANCEL: u16 = 0x73;
}

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let bytes = glimpse.bytes;
    let length = match Enip::frame_of(bytes) {
        Frame::Of(length) => length,
        Frame::More => return Probe::More,
        Frame::Bad(_) | Frame::Head(..) => return Probe::No,
    };
    if glimpse.transport == Transport::Udp && length > bytes.len() {
        return Probe::No;
    }
    if is_implicit(bytes) {
        return Probe::Yes;
    }
    let header = Header::of(bytes);
    let data = length - HEADER;
    let fits = match header.command {
        command::NOP => glimpse.customary,
        command::REGISTER_SESSION => data == 4 || (data == 0 && header.status != 0),
        command::UNREGISTER_SESSION => data == 0 && (glimpse.customary || header.session != 0),
        // Without data they ask, and nothing but the number of the command is not zero or free:
        // elsewhere the answer tells.
        command::LIST_SERVICES | command::LIST_IDENTITY | command::LIST_INTERFACES => {
            data >= 2 || (data == 0 && glimpse.customary)
        }
        command::LEGACY => glimpse.customary,
        // Interface handle 0, a time-out and at least one item.
        command::SEND_RR_DATA | command::SEND_UNIT_DATA => match bytes.get(HEADER..HEADER + 8) {
            Some(begin) => begin[..4] == [0; 4] && begin[6] > 0 && begin[7] == 0 && data >= 8,
            None if data >= 8 && bytes.len() < HEADER + 8 => return Probe::More,
            None => header.status != 0 && data == 0,
        },
        _ => glimpse.customary,
    };
    if fits { Probe::Yes } else { Probe::No }
}

fn start(_flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(Enip {
        exchanges: Exchanges::new(PROTOCOL.name, REPLY_TIMEOUT),
        implicit: Vec::new(),
    }))
}

/// The encapsulation header.
#[derive(Clone, Copy)]
struct Header {
    command: u16,
    session: u32,
    status: u32,
    context: [u8; 8],
}

impl Header {
    /// Of bytes that [`Enip::frame_of`] has checked.
    fn of(bytes: &[u8]) -> Header {
        let four = |at: usize| [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
        let mut context = [0; 8];
        context.copy_from_slice(&bytes[12..20]);
        Header {
            command: u16::from_le_bytes([bytes[0], bytes[1]]),
            session: u32::from_le_bytes(four(4)),
            status: u32::from_le_bytes(four(8)),
            context,
        }
    }
}

/// What ties a reply to its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// An encapsulation command of its own.
    Command(u16),
    /// Unconnected: the sender's context.
    Context([u8; 8]),
    /// Connected: the sequence count.
    Sequence(u16),
}

/// A request that waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    way: Way,
    /// Place in a multiple service packet, from 1 on; 0 outside of one.
    part: u16,
    service: u8,
    class: Option<u32>,
}

/// Implicit messages of one connection, counted.
struct Implicit {
    side: Side,
    connection: u32,
    since: Micros,
    count: u32,
    bytes: u64,
    first: u32,
    sequence: u32,
    jumps: u32,
}

/// The state of a connection.
struct Enip {
    exchanges: Exchanges<Key>,
    implicit: Vec<Implicit>,
}

/// Whether a datagram is an implicit message: a sequenced address and connected data.
fn is_implicit(bytes: &[u8]) -> bool {
    matches!(bytes, [2, 0, 0x02, 0x80, 8, 0, ..]) && bytes.get(14..16) == Some(&[0xb1, 0])
}

impl Enip {
    fn frame_of(bytes: &[u8]) -> Frame {
        if is_implicit(bytes) && bytes.len() >= 18 {
            return Frame::Of(18 + usize::from(u16::from_le_bytes([bytes[16], bytes[17]])));
        }
        let (Some(code), true) = (bytes.first_chunk::<2>(), bytes.len() >= 4) else {
            return if matches!(bytes, [] | [0..=2 | 4 | 0x63..=0x73] | [0..=2 | 4 | 0x63..=0x73, 0, ..]) {
                Frame::More
            } else {
                Frame::Bad("encapsulation_command")
            };
        };
        let known = matches!(u16::from_le_bytes(*code), 0 | 1 | 4 | 0x63..=0x66 | 0x6f | 0x70 | 0x72 | 0x73);
        if !known {
            return Frame::Bad("encapsulation_command");
        }
        let length = usize::from(u16::from_le_bytes([bytes[2], bytes[3]]));
        if length > DATA_MAX {
            return Frame::Bad("encapsulation_length");
        }
        if bytes.len() < HEADER {
            return Frame::More;
        }
        if names::encapsulation_status(Header::of(bytes).status).is_none() {
            return Frame::Bad("encapsulation_status");
        }
        if bytes[20..24] != [0; 4] {
            return Frame::Bad("encapsulation_options");
        }
        Frame::Of(HEADER + length)
    }

    /// A command without CIP in it.
    fn encapsulation(&mut self, cx: &mut Cx<'_>, side: Side, header: Header, data: &[u8]) -> Result<(), Cut> {
        let (operation, function, answers) = match header.command {
            command::NOP => (operation::SESSION_KEEP, "nop", false),
            command::LEGACY => (operation::DISCOVER, "legacy_0x01", !data.is_empty()),
            command::LIST_SERVICES => (operation::DISCOVER, "list_services", !data.is_empty()),
            command::LIST_IDENTITY => (operation::DISCOVER, "list_identity", !data.is_empty()),
            command::LIST_INTERFACES => (operation::DISCOVER, "list_interfaces", !data.is_empty()),
            command::REGISTER_SESSION => {
                let answers = header.session != 0 || header.status != 0;
                (operation::SESSION_OPEN, "register_session", answers)
            }
            command::UNREGISTER_SESSION => (operation::SESSION_CLOSE, "unregister_session", false),
            command::INDICATE_STATUS => (operation::DIAGNOSE, "indicate_status", header.status != 0),
            _ => (operation::OTHER, "cancel", false),
        };
        let way = Way::Command(header.command);
        let key = Key { way, part: 0, service: 0, class: None };
        if !answers {
            let mut draft = self.exchanges.draft(cx, side, operation, function);
            session(&mut draft, header.session);
            let silent =
                matches!(header.command, command::NOP | command::UNREGISTER_SESSION | command::CANCEL);
            if silent {
                self.exchanges.one_way(cx, draft);
            } else {
                self.exchanges.ask(cx, key, draft);
            }
            return Ok(());
        }
        let asked = self.exchanges.answered(side, &key);
        let paired = asked.is_some();
        let mut draft = match asked {
            Some(draft) => draft,
            None => self.exchanges.draft(cx, side.other(), operation, function),
        };
        draft.session.clear();
        session(&mut draft, header.session);
        refuse(&mut draft, header.status);
        let read = match header.command {
            command::LIST_IDENTITY => list_identity(cx, side, &mut draft, data),
            command::LIST_SERVICES => list_services(&mut draft, data),
            _ => Ok(()),
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

    /// SendRRData and SendUnitData.
    fn data(&mut self, cx: &mut Cx<'_>, side: Side, header: Header, data: &[u8]) -> Result<(), Cut> {
        if header.status != 0 {
            let way = Way::Context(header.context);
            self.refuse_all(cx, side, way, header.status);
            return Ok(());
        }
        let mut cursor = Cursor::new(data);
        cursor.skip(6, "interface_handle")?;
        let mut connection = None;
        for _ in 0..cursor.u16_le("item_count")? {
            let kind = cursor.u16_le("item_type")?;
            let length = cursor.u16_le("item_length")?;
            let mut item = cursor.part(usize::from(length), "item_length")?;
            match kind {
                0xa1 => connection = Some(item.u32_le("connection_id")?),
                0xb1 => {
                    let sequence = item.u16_le("sequence_count")?;
                    let via = cip::Via { way: Way::Sequence(sequence), session: header.session, connection };
                    self.message(cx, side, via, item)?;
                }
                0xb2 => {
                    let via =
                        cip::Via { way: Way::Context(header.context), session: header.session, connection };
                    self.message(cx, side, via, item)?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The encapsulation itself refused what waits.
    fn refuse_all(&mut self, cx: &mut Cx<'_>, side: Side, way: Way, status: u32) {
        let mut any = false;
        while let Some(mut draft) = self.exchanges.answered_if(side, |key, _| key.way == way) {
            refuse(&mut draft, status);
            self.exchanges.pair(cx, draft);
            any = true;
        }
        if !any {
            let mut draft = self.exchanges.draft(cx, side.other(), operation::ERROR, "encapsulation_error");
            refuse(&mut draft, status);
            self.exchanges.unasked(cx, draft);
        }
    }

    /// An implicit message.
    fn implicit(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let mut cursor = Cursor::new(&frame[6..]);
        let connection = cursor.u32_le("connection_id")?;
        let sequence = cursor.u32_le("sequence_number")?;
        let bytes = (frame.len() - 18) as u64;
        let known = self.implicit.iter().position(|i| i.side == side && i.connection == connection);
        let at = match known {
            Some(at) if cx.time - self.implicit[at].since < IO_PERIOD => at,
            other => {
                if let Some(at) = other {
                    self.counted(cx, at);
                } else if self.implicit.len() == IO_MAX {
                    self.counted(cx, 0);
                }
                self.implicit.push(Implicit {
                    side,
                    connection,
                    since: cx.time,
                    count: 0,
                    bytes: 0,
                    first: sequence,
                    sequence: sequence.wrapping_sub(1),
                    jumps: 0,
                });
                self.implicit.len() - 1
            }
        };
        let Some(io) = self.implicit.get_mut(at) else { return Ok(()) };
        io.count += 1;
        io.bytes += bytes;
        io.jumps += u32::from(sequence != io.sequence.wrapping_add(1));
        io.sequence = sequence;
        Ok(())
    }

    /// Writes what was counted of one connection.
    fn counted(&mut self, cx: &mut Cx<'_>, at: usize) {
        let io = self.implicit.remove(at);
        let mut draft = self.exchanges.draft(cx, io.side, operation::REPORT, "implicit_message");
        draft.time = io.since;
        json::push_hex_number(&mut draft.target, io.connection);
        draft.set_count(io.count);
        json::member_number(&mut draft.detail, "bytes", io.bytes);
        json::member_number(&mut draft.detail, "first", u64::from(io.first));
        json::member_number(&mut draft.detail, "last", u64::from(io.sequence));
        json::member_number(&mut draft.detail, "jumps", u64::from(io.jumps));
        self.exchanges.one_way(cx, draft);
    }
}

impl Framed for Enip {
    const PROTOCOL: &'static str = PROTOCOL.name;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        Enip::frame_of(bytes)
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        if is_implicit(frame) {
            return self.implicit(cx, side, frame);
        }
        let header = Header::of(frame);
        let data = &frame[HEADER..];
        match header.command {
            command::SEND_RR_DATA | command::SEND_UNIT_DATA => self.data(cx, side, header, data),
            _ => self.encapsulation(cx, side, header, data),
        }
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, _side: Side) {}

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.expire(cx);
        while let Some(at) = self.implicit.iter().position(|io| cx.time - io.since >= IO_PERIOD) {
            self.counted(cx, at);
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.close(cx);
        while !self.implicit.is_empty() {
            self.counted(cx, 0);
        }
    }
}

fn session(draft: &mut Draft, session: u32) {
    if session != 0 {
        json::push_hex_number(&mut draft.session, session);
    }
}

fn refuse(draft: &mut Draft, status: u32) {
    if status != 0 {
        match names::encapsulation_status(status) {
            Some(name) => draft.deny(name),
            None => draft.deny(format!("encapsulation_status={status:#x}")),
        }
    }
}

/// The items of a ListIdentity reply.
fn list_identity(cx: &mut Cx<'_>, side: Side, draft: &mut Draft, data: &[u8]) -> Result<(), Cut> {
    let mut cursor = Cursor::new(data);
    for _ in 0..cursor.u16_le("item_count")? {
        let kind = cursor.u16_le("item_type")?;
        let length = cursor.u16_le("item_length")?;
        let mut item = cursor.part(usize::from(length), "item_length")?;
        if kind == 0x0c {
            item.skip(18, "identity")?;
            identity(cx, side, draft, &mut item)?;
        }
    }
    Ok(())
}

/// The attributes 1 to 7 of the identity object.
fn identity(cx: &mut Cx<'_>, side: Side, draft: &mut Draft, cursor: &mut Cursor<'_>) -> Result<(), Cut> {
    const WHAT: &str = "identity";
    let vendor = cursor.u16_le(WHAT)?;
    let kind = cursor.u16_le(WHAT)?;
    let product = cursor.u16_le(WHAT)?;
    let (major, minor) = (cursor.u8(WHAT)?, cursor.u8(WHAT)?);
    let state = cursor.u16_le(WHAT)?;
    let serial = cursor.u32_le(WHAT)?;
    let length = cursor.u8(WHAT)?;
    let name = String::from_utf8_lossy(cursor.take(usize::from(length), WHAT)?);
    let maker = match vendor {
        1 => "Rockwell Automation".to_string(),
        number => format!("ODVA vendor {number}"),
    };
    let mut detail = String::new();
    for (member, value) in
        [("vendor_id", vendor), ("device_type", kind), ("product_code", product), ("status", state)]
    {
        json::member_number(&mut detail, member, u64::from(value));
    }
    json::end(&mut detail);
    draft.push_text(&name);
    cx.identity(
        PROTOCOL.name,
        side,
        IdentityRow {
            vendor: &maker,
            model: &name,
            firmware: &format!("{major}.{minor}"),
            serial: &format!("{serial:08x}"),
            detail: &detail,
            ..IdentityRow::default()
        },
    );
    Ok(())
}

fn list_services(draft: &mut Draft, data: &[u8]) -> Result<(), Cut> {
    let mut cursor = Cursor::new(data);
    for _ in 0..cursor.u16_le("item_count")? {
        cursor.skip(2, "item_type")?;
        let length = cursor.u16_le("item_length")?;
        let mut item = cursor.part(usize::from(length), "item_length")?;
        item.skip(4, "service")?;
        let name = item.take_rest();
        let end = name.iter().position(|b| *b == 0).unwrap_or(name.len());
        draft.push_text(&String::from_utf8_lossy(&name[..end]));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
