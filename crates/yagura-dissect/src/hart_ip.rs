//! HART-IP over UDP and TCP (FieldComm Group FCG TS20085, HART-IP; HART application layer,
//! revision 7): sessions, and the HART commands that pass through them.
//!
//! The first message opens a session and has one form; HART frames end in a checksum. Both are
//! known on any port, everything else on the customary one. Requests and responses are paired by
//! message and sequence number.

use yagura_event::clock::{Micros, SECOND};
use yagura_event::vocabulary::{coverage, operation};

use crate::cursor::{Cursor, Cut};
use crate::exchange::{Draft, Exchanges};
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Glimpse, Probe, Protocol, Side, Transport, json};

mod names;
mod pdu;

use pdu::{Devices, Pdu};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: "hart_ip",
    carriers: &[Carrier::udp(&[5094]), Carrier::tcp(&[5094])],
    probe,
    start: |_| {
        Box::new(Framing::new(HartIp {
            exchanges: Exchanges::new(PROTOCOL.name, REPLY_TIMEOUT),
            devices: Devices::default(),
            unknown: false,
        }))
    },
    buffer_bytes_max: FRAME_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

/// A request without a response for that long gets a row of its own. Commands to slow devices
/// behind a gateway take their time.
const REPLY_TIMEOUT: Micros = 30 * SECOND;
/// Version, type, message, status, sequence number, length.
const HEADER: usize = 8;
/// More than any message has; logs of audits are the longest.
const FRAME_MAX: usize = 4096;
/// A session's opening: header, master, timer.
const INITIATE: usize = 13;

/// Types of messages that are told apart; the others are responses.
mod message_type {
    pub const REQUEST: u8 = 0;
    pub const PUBLISH: u8 = 2;
    pub const NAK: u8 = 15;
}

/// Messages.
mod message {
    pub const INITIATE: u8 = 0;
    pub const CLOSE: u8 = 1;
    pub const KEEP_ALIVE: u8 = 2;
    pub const TOKEN_PASSING_PDU: u8 = 3;
    pub const DIRECT_PDU: u8 = 4;
    pub const READ_AUDIT_LOG: u8 = 5;
}

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let bytes = glimpse.bytes;
    let length = match frame_of(bytes) {
        Frame::Of(length) => length,
        Frame::More if glimpse.transport == Transport::Tcp => return Probe::More,
        _ => return Probe::No,
    };
    let Some(frame) = bytes.get(..length) else {
        return if glimpse.transport == Transport::Tcp { Probe::More } else { Probe::No };
    };
    let known = match (frame[2], frame.get(HEADER..)) {
        (message::INITIATE, Some([master, ..])) => length == INITIATE && *master <= 1,
        (message::TOKEN_PASSING_PDU, Some(body)) => Pdu::read(body).is_ok_and(|pdu| pdu.checked),
        _ => false,
    };
    if known || glimpse.customary { Probe::Yes } else { Probe::No }
}

fn frame_of(bytes: &[u8]) -> Frame {
    let wrong = |at: usize, fits: fn(u8) -> bool| bytes.get(at).is_some_and(|&byte| !fits(byte));
    if wrong(0, |b| matches!(b, 1 | 2)) {
        return Frame::Bad("version");
    }
    if wrong(1, |b| matches!(b, message_type::REQUEST..=message_type::PUBLISH | message_type::NAK)) {
        return Frame::Bad("message_type");
    }
    if wrong(2, |b| b <= message::READ_AUDIT_LOG) {
        return Frame::Bad("message_id");
    }
    let Some(&[high, low]) = bytes.get(6..HEADER) else { return Frame::More };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if (HEADER..=FRAME_MAX).contains(&length) { Frame::Of(length) } else { Frame::Bad("length") }
}

/// What tells requests apart: message and sequence number.
type Key = (u8, u16);

/// The state of a connection.
struct HartIp {
    exchanges: Exchanges<Key>,
    devices: Devices,
    /// Whether it was said that publications are not read.
    unknown: bool,
}

impl HartIp {
    fn request(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let (id, sequence) = (frame[2], u16::from_be_bytes([frame[4], frame[5]]));
        let mut c = Cursor::new(frame);
        c.skip(HEADER, "header")?;
        let (operation, name) = named(id);
        let mut draft = self.exchanges.draft(cx, side, operation, name);
        describe(&mut draft, frame);
        if let Err(cut) = self.ask(&mut draft, id, &mut c) {
            draft.wrong(cut);
        }
        self.exchanges.ask(cx, (id, sequence), draft);
        Ok(())
    }

    fn ask(&mut self, draft: &mut Draft, id: u8, c: &mut Cursor<'_>) -> Result<(), Cut> {
        match id {
            message::INITIATE => session(draft, c)?,
            message::TOKEN_PASSING_PDU => {
                let pdu = Pdu::read(c.rest())?;
                c.check(pdu.status.is_none(), "delimiter")?;
                command(draft, &pdu);
                pdu::request(draft, &pdu)?;
            }
            message::DIRECT_PDU => direct(draft, c, false)?,
            _ => {}
        }
        Ok(())
    }

    fn response(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let (id, status, sequence) = (frame[2], frame[3], u16::from_be_bytes([frame[4], frame[5]]));
        let mut c = Cursor::new(frame);
        c.skip(HEADER, "header")?;
        let found = self.exchanges.answered(side, &(id, sequence));
        let paired = found.is_some();
        let mut draft = found.unwrap_or_else(|| {
            let (operation, name) = named(id);
            let mut draft = self.exchanges.draft(cx, side.other(), operation, name);
            describe(&mut draft, frame);
            draft
        });
        json::member_number(&mut draft.detail, "status", u64::from(status));
        if let Err(cut) = self.answer(cx, side, &mut draft, id, &mut c, paired) {
            draft.wrong(cut);
        }
        if frame[1] == message_type::NAK {
            draft.deny("not_acknowledged");
        } else if let Some(error) = names::session_error(status) {
            draft.deny(error);
        }
        if paired {
            self.exchanges.pair(cx, draft);
        } else {
            self.exchanges.unasked(cx, draft);
        }
        Ok(())
    }

    fn answer(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        draft: &mut Draft,
        id: u8,
        c: &mut Cursor<'_>,
        paired: bool,
    ) -> Result<(), Cut> {
        match id {
            message::INITIATE if !paired && !c.is_empty() => session(draft, c)?,
            message::TOKEN_PASSING_PDU if !c.is_empty() => {
                let pdu = Pdu::read(c.rest())?;
                if !paired {
                    command(draft, &pdu);
                }
                self.heard(cx, side, draft, &pdu)?;
            }
            message::DIRECT_PDU => {
                draft.target.clear();
                direct(draft, c, true)?;
            }
            message::READ_AUDIT_LOG => {
                json::member_number(&mut draft.detail, "bytes", c.remaining() as u64);
            }
            _ => {}
        }
        Ok(())
    }

    /// What a device said, on request or on its own.
    fn heard(&mut self, cx: &mut Cx<'_>, side: Side, draft: &mut Draft, pdu: &Pdu<'_>) -> Result<(), Cut> {
        let Some((code, device_status)) = pdu.status else {
            return Err(Cut { what: "delimiter", at: 0 });
        };
        json::member_number(&mut draft.detail, "response_code", u64::from(code));
        json::member_number(&mut draft.detail, "device_status", u64::from(device_status));
        if !pdu.checked {
            json::member_bool(&mut draft.detail, "checksum_wrong", true);
        }
        if let Some(refusal) = names::refusal(code) {
            draft.deny(refusal);
            return Ok(());
        }
        draft.set_count(0);
        self.devices.response(cx, side, draft, pdu)
    }

    /// What a device sends again and again without being asked.
    fn publication(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        if frame[2] != message::TOKEN_PASSING_PDU {
            if !std::mem::replace(&mut self.unknown, true) {
                cx.cover(PROTOCOL.name, coverage::UNKNOWN, 1, "publications that are no HART frames");
            }
            return Ok(());
        }
        let pdu = Pdu::read(&frame[HEADER..])?;
        let mut draft = self.exchanges.draft(cx, side, operation::REPORT, "");
        draft.equipment = side;
        describe(&mut draft, frame);
        command(&mut draft, &pdu);
        draft.operation = operation::REPORT;
        if let Err(cut) = self.heard(cx, side, &mut draft, &pdu) {
            draft.wrong(cut);
        }
        self.exchanges.one_way(cx, draft);
        Ok(())
    }
}

fn named(id: u8) -> (&'static str, &'static str) {
    match id {
        message::INITIATE => (operation::SESSION_OPEN, "session_initiate"),
        message::CLOSE => (operation::SESSION_CLOSE, "session_close"),
        message::KEEP_ALIVE => (operation::SESSION_KEEP, "keep_alive"),
        message::TOKEN_PASSING_PDU => (operation::OTHER, "token_passing_pdu"),
        message::DIRECT_PDU => (operation::OTHER, "direct_pdu"),
        _ => (operation::DIAGNOSE, "read_audit_log"),
    }
}

fn describe(draft: &mut Draft, frame: &[u8]) {
    json::member_number(&mut draft.detail, "version", u64::from(frame[0]));
    json::member_number(&mut draft.detail, "message", u64::from(frame[2]));
    let sequence = u16::from_be_bytes([frame[4], frame[5]]);
    json::member_number(&mut draft.detail, "sequence", u64::from(sequence));
}

fn session(draft: &mut Draft, c: &mut Cursor<'_>) -> Result<(), Cut> {
    let master = c.u8("master_type")?;
    let timer = c.u32_be("inactivity_close_timer")?;
    json::member_text(&mut draft.detail, "master", if master == 1 { "primary" } else { "secondary" });
    json::member_number(&mut draft.detail, "inactivity_close_timer_ms", u64::from(timer));
    Ok(())
}

/// The command of a HART frame: it is what the row is about.
fn command(draft: &mut Draft, pdu: &Pdu<'_>) {
    let (operation, name) = names::command(pdu.command);
    draft.operation = operation;
    draft.function = name.into();
    pdu.device(&mut draft.session);
    json::member_number(&mut draft.detail, "command", u64::from(pdu.command));
}

/// Several commands at once, without the frame of the two-wire line.
fn direct(draft: &mut Draft, c: &mut Cursor<'_>, response: bool) -> Result<(), Cut> {
    // Device status and extended device status.
    c.skip(2, "device_status")?;
    let mut count = 0;
    while !c.is_empty() {
        let number = c.u16_be("command")?;
        let length = usize::from(c.u8("byte_count")?);
        let mut data = c.part(length, "byte_count")?;
        let (operation, name) = names::command(number);
        if count == 0 {
            draft.operation = operation;
        } else {
            draft.target.push(',');
        }
        draft.target.push_str(name);
        count += 1;
        if response && let Some(refusal) = names::refusal(data.u8("response_code")?) {
            draft.deny(refusal);
        }
    }
    draft.set_count(count);
    Ok(())
}

impl Framed for HartIp {
    const PROTOCOL: &'static str = PROTOCOL.name;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        frame_of(bytes)
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        match frame[1] {
            message_type::REQUEST => self.request(cx, side, frame),
            message_type::PUBLISH => self.publication(cx, side, frame),
            _ => self.response(cx, side, frame),
        }
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, _side: Side) {}

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.expire(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.close(cx);
    }
}

#[cfg(test)]
mod tests;
