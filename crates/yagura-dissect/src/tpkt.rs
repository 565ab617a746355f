//! TPKT (RFC 1006) and the connection-oriented transport protocol of class 0 (ITU-T X.224, ISO 8073):
//! what S7comm, MMS and RDP run on.
//!
//! Not a protocol of its own: [`Over`] makes a [`Framed`] of an [`Upper`] protocol. It pairs the
//! connection request with its confirmation, puts data units together again, and hands over
//! what they carry. An upper protocol is told by its first data unit, so that probes look through
//! the connection's opening with [`first_data`].

use std::fmt::Write;

use yagura_event::clock::{Micros, SECOND};
use yagura_event::vocabulary::operation;

use crate::cursor::{Cursor, Cut};
use crate::exchange::{Draft, Exchanges};
use crate::framing::{Frame, Framed};
use crate::{Cx, Side, json};

/// TPKT's header and the shortest TPDU.
const FRAME_MIN: usize = 7;
/// The largest frame: the length field's.
pub(crate) const FRAME_MAX: usize = 0xffff;
/// The largest unit that is put together from several data TPDUs.
const UNIT_BYTES_MAX: usize = 256 << 10;
/// A connection request waits that long for its confirmation.
const REPLY_TIMEOUT: Micros = 10 * SECOND;
/// Most bytes of a TSAP that are shown.
const TSAP_SHOWN: usize = 32;

/// TPDU codes (X.224, 13).
mod code {
    pub const ED: u8 = 0x10;
    pub const EA: u8 = 0x20;
    pub const RJ: u8 = 0x50;
    pub const AK: u8 = 0x60;
    pub const ER: u8 = 0x70;
    pub const DR: u8 = 0x80;
    pub const DC: u8 = 0xc0;
    pub const CC: u8 = 0xd0;
    pub const CR: u8 = 0xe0;
    pub const DT: u8 = 0xf0;
}

/// What unread bytes begin with: a TPKT frame whose TPDU has the header that its code asks for.
pub(crate) fn frame(bytes: &[u8]) -> Frame {
    for (at, (expected, what)) in [(3, "tpkt_version"), (0, "tpkt_reserved")].into_iter().enumerate() {
        match bytes.get(at) {
            Some(&byte) if byte == expected => {}
            Some(_) => return Frame::Bad(what),
            None => return Frame::More,
        }
    }
    let Some(&[high, low]) = bytes.get(2..4).and_then(|b| b.first_chunk()) else { return Frame::More };
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length < FRAME_MIN {
        return Frame::Bad("tpkt_length");
    }
    let Some(&indicator) = bytes.get(4) else { return Frame::More };
    let indicator = usize::from(indicator);
    if indicator == 255 || indicator + 5 > length {
        return Frame::Bad("cotp_length_indicator");
    }
    let Some(&tpdu) = bytes.get(5) else { return Frame::More };
    let fits = match tpdu & 0xf0 {
        code::DT => tpdu & 0x0e == 0 && indicator == 2,
        code::CR | code::CC => indicator >= 6,
        code::DR => indicator >= 6,
        code::DC => indicator >= 5,
        code::ER => indicator >= 4,
        code::ED | code::EA | code::AK | code::RJ => indicator >= 2,
        _ => false,
    };
    if fits { Frame::Of(length) } else { Frame::Bad("cotp_code") }
}

/// The length of a frame of a server that fills in neither the length indicator nor the whole length:
/// `03 00 <length> 00`, then a confirmation (`d0 80`) or data (`0f 80`), and two bytes more than it says.
fn unindicated(bytes: &[u8]) -> Option<usize> {
    match *bytes {
        [3, 0, high, low, 0, 0xd0 | 0x0f, 0x80, ..] => {
            Some(usize::from(u16::from_be_bytes([high, low])) + 2).filter(|length| *length >= FRAME_MIN)
        }
        _ => None,
    }
}

/// What a side's first bytes carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum First<'a> {
    /// Too few bytes, or only the opening of the connection.
    More,
    /// No TPKT.
    No,
    /// What the first data TPDU carries, as far as it is there.
    Data(&'a [u8]),
}

/// Looks through the opening of a connection for the first data TPDU.
pub(crate) fn first_data(mut bytes: &[u8]) -> First<'_> {
    loop {
        match frame(bytes) {
            Frame::Bad(_) | Frame::Head(..) => return First::No,
            Frame::More => return First::More,
            Frame::Of(length) if bytes.get(5).is_some_and(|tpdu| tpdu & 0xf0 == code::DT) => {
                return match bytes.get(7..length.min(bytes.len())) {
                    // An empty data TPDU keeps a connection alive and tells nothing.
                    Some([]) | None if bytes.len() < length || bytes.len() == length => First::More,
                    Some([]) | None => {
                        bytes = &bytes[length..];
                        continue;
                    }
                    Some(data) => First::Data(data),
                };
            }
            Frame::Of(length) => match bytes.get(length..) {
                Some(rest) if !rest.is_empty() => bytes = rest,
                _ => return First::More,
            },
        }
    }
}

/// The opening of a connection, or its confirmation.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Connect<'a> {
    /// Whether it confirms.
    pub confirms: bool,
    /// The calling end's selector (`0xc1`).
    pub source: &'a [u8],
    /// The called end's selector (`0xc2`).
    pub destination: &'a [u8],
    /// The largest TPDU, as a power of two; 0 when it says nothing.
    pub size: u8,
    /// The variable part as it is, for a protocol that has no parameters there.
    pub variable: &'a [u8],
}

/// A protocol above. See [`Framed`] for what the calls mean.
pub(crate) trait Upper: Send {
    /// Its name.
    const PROTOCOL: &'static str;
    /// Whether a connection's variable part has the parameters of X.224.
    const PARAMETERS: bool = true;

    /// A connection opens, or is confirmed: adds what the protocol says to the row.
    fn connect(&mut self, _cx: &mut Cx<'_>, _draft: &mut Draft, _connect: &Connect<'_>) -> Result<(), Cut> {
        Ok(())
    }

    /// Reads one whole unit of data.
    fn data(&mut self, cx: &mut Cx<'_>, side: Side, data: &[u8]) -> Result<(), Cut>;

    /// Data of that side is missing.
    fn lost(&mut self, cx: &mut Cx<'_>, side: Side);

    /// Time passed.
    fn expire(&mut self, cx: &mut Cx<'_>);

    /// The connection ended.
    fn close(&mut self, cx: &mut Cx<'_>);
}

/// One direction's unit in the making.
#[derive(Default)]
struct Unit {
    bytes: Vec<u8>,
    /// The unit's beginning is missing, or it is too long: passed up to its end.
    skip: bool,
}

/// An upper protocol over TPKT and X.224.
pub(crate) struct Over<U> {
    upper: U,
    connects: Exchanges<()>,
    units: [Unit; 2],
}

impl<U: Upper> Over<U> {
    /// At the beginning of a connection.
    pub fn new(upper: U) -> Self {
        let connects = Exchanges::new(U::PROTOCOL, REPLY_TIMEOUT);
        Over { upper, connects, units: Default::default() }
    }

    /// The protocol above.
    pub fn upper(&self) -> &U {
        &self.upper
    }

    fn connect(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        cursor: &mut Cursor<'_>,
        confirms: bool,
    ) -> Result<(), Cut> {
        cursor.skip(4, "cotp_references")?;
        let class = cursor.u8("cotp_class")?;
        let mut connect = Connect { confirms, variable: cursor.rest(), ..Connect::default() };
        while U::PARAMETERS && !cursor.is_empty() {
            let parameter = cursor.u8("cotp_parameter")?;
            let length = usize::from(cursor.u8("cotp_parameter_length")?);
            let value = cursor.take(length, "cotp_parameter_length")?;
            match parameter {
                0xc0 => connect.size = value.first().copied().unwrap_or(0),
                0xc1 => connect.source = value,
                0xc2 => connect.destination = value,
                _ => {}
            }
        }
        let asked = if confirms { self.connects.answered(side, &()) } else { None };
        let unasked = confirms && asked.is_none();
        let mut draft = match asked {
            Some(draft) => draft,
            None => {
                let asker = if confirms { side.other() } else { side };
                self.connects.draft(cx, asker, operation::SESSION_OPEN, "cotp_connect")
            }
        };
        if draft.target.is_empty() {
            push_selector(&mut draft.target, connect.destination);
        }
        let (source, destination, size) = if confirms {
            ("confirmed_source_tsap", "confirmed_destination_tsap", "confirmed_tpdu_size")
        } else {
            ("source_tsap", "destination_tsap", "tpdu_size")
        };
        for (name, selector) in [(source, connect.source), (destination, connect.destination)] {
            if !selector.is_empty() {
                json::key(&mut draft.detail, name);
                json::push_hex(&mut draft.detail, &selector[..selector.len().min(TSAP_SHOWN)]);
            }
        }
        if (7..=16).contains(&connect.size) {
            json::member_number(&mut draft.detail, size, 1 << connect.size);
        }
        if class >> 4 != 0 {
            json::member_number(&mut draft.detail, "class", u64::from(class >> 4));
        }
        let read = self.upper.connect(cx, &mut draft, &connect);
        if let Err(cut) = read {
            draft.wrong(cut);
        }
        match (confirms, unasked) {
            (false, _) => self.connects.ask(cx, (), draft),
            (true, false) => self.connects.pair(cx, draft),
            (true, true) => self.connects.unasked(cx, draft),
        }
        Ok(())
    }

    /// See [`unindicated`].
    fn unindicated(&mut self, cx: &mut Cx<'_>, side: Side, bytes: &[u8]) -> Result<(), Cut> {
        if bytes[5] == 0x0f {
            return self.data(cx, side, 0x80, &bytes[FRAME_MIN..]);
        }
        if let Some(draft) = self.connects.answered(side, &()) {
            self.connects.pair(cx, draft);
        }
        Ok(())
    }

    fn disconnect(&mut self, cx: &mut Cx<'_>, side: Side, cursor: &mut Cursor<'_>) -> Result<(), Cut> {
        cursor.skip(4, "cotp_references")?;
        let reason = cursor.u8("cotp_reason")?;
        if let Some(mut draft) = self.connects.answered(side, &()) {
            draft.deny(disconnect_reason(reason));
            self.connects.pair(cx, draft);
            return Ok(());
        }
        let mut draft = self.connects.draft(cx, side, operation::SESSION_CLOSE, "cotp_disconnect");
        draft.equipment = Side::Server;
        draft.status_code = disconnect_reason(reason).into();
        self.connects.one_way(cx, draft);
        Ok(())
    }

    fn data(&mut self, cx: &mut Cx<'_>, side: Side, number: u8, data: &[u8]) -> Result<(), Cut> {
        let end = number & 0x80 != 0;
        let unit = &mut self.units[side as usize];
        if unit.skip {
            unit.skip = !end;
            return Ok(());
        }
        if end && unit.bytes.is_empty() {
            return if data.is_empty() { Ok(()) } else { self.upper.data(cx, side, data) };
        }
        if unit.bytes.len() + data.len() > UNIT_BYTES_MAX {
            unit.bytes = Vec::new();
            unit.skip = !end;
            return Err(Cut { what: "cotp_unit_too_long", at: UNIT_BYTES_MAX });
        }
        unit.bytes.extend_from_slice(data);
        if !end {
            return Ok(());
        }
        let mut bytes = std::mem::take(&mut unit.bytes);
        let read = self.upper.data(cx, side, &bytes);
        bytes.clear();
        self.units[side as usize].bytes = bytes;
        read
    }
}

impl<U: Upper> Framed for Over<U> {
    const PROTOCOL: &'static str = U::PROTOCOL;

    fn frame(&self, side: Side, bytes: &[u8]) -> Frame {
        match unindicated(bytes) {
            Some(length) if side == Side::Server => Frame::Of(length),
            _ => frame(bytes),
        }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, bytes: &[u8]) -> Result<(), Cut> {
        if unindicated(bytes).is_some() {
            return self.unindicated(cx, side, bytes);
        }
        let mut cursor = Cursor::new(bytes);
        cursor.skip(4, "tpkt")?;
        let indicator = usize::from(cursor.u8("cotp_length_indicator")?);
        let mut header = cursor.part(indicator, "cotp_length_indicator")?;
        let user = cursor.take_rest();
        match header.u8("cotp_code")? & 0xf0 {
            code::DT => {
                let number = header.u8("cotp_number")?;
                self.data(cx, side, number, user)
            }
            code::CR => self.connect(cx, side, &mut header, false),
            code::CC => self.connect(cx, side, &mut header, true),
            code::DR => self.disconnect(cx, side, &mut header),
            // Confirmations, acknowledgements and expedited data have no place in class 0 and say nothing.
            _ => Ok(()),
        }
    }

    fn lost(&mut self, cx: &mut Cx<'_>, side: Side) {
        let unit = &mut self.units[side as usize];
        unit.skip = !unit.bytes.is_empty();
        unit.bytes = Vec::new();
        self.upper.lost(cx, side);
    }

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.connects.expire(cx);
        self.upper.expire(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.connects.close(cx);
        self.upper.close(cx);
    }
}

/// Appends a selector: as text when it is one, else in hexadecimal digits.
fn push_selector(out: &mut String, selector: &[u8]) {
    let selector = &selector[..selector.len().min(TSAP_SHOWN)];
    if !selector.is_empty() && selector.iter().all(|b| b.is_ascii_graphic() || *b == b' ') {
        out.push_str(std::str::from_utf8(selector).unwrap_or_default());
    } else {
        for byte in selector {
            let _ = write!(out, "{byte:02x}");
        }
    }
}

/// Reasons of a disconnect request (X.224, 13.5.3).
fn disconnect_reason(reason: u8) -> &'static str {
    match reason {
        0 => "reason_not_specified",
        1 => "congestion_at_tsap",
        2 => "session_entity_not_attached",
        3 => "address_unknown",
        128 => "normal_disconnect",
        129 => "remote_congestion",
        130 => "connection_negotiation_failed",
        131 => "duplicate_source_reference",
        132 => "mismatched_references",
        133 => "protocol_error",
        135 => "reference_overflow",
        136 => "connection_refused",
        138 => "header_or_parameter_length_invalid",
        _ => "reason_unknown",
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A data TPDU that ends its unit.
    pub(crate) fn dt(data: &[u8]) -> Vec<u8> {
        tpdu(&[2, 0xf0, 0x80], data)
    }

    /// A connection request between two selectors.
    pub(crate) fn cr(source: &[u8], destination: &[u8]) -> Vec<u8> {
        open(0xe0, source, destination, &[])
    }

    /// Its confirmation.
    pub(crate) fn cc(source: &[u8], destination: &[u8]) -> Vec<u8> {
        open(0xd0, source, destination, &[])
    }

    pub(crate) fn open(code: u8, source: &[u8], destination: &[u8], user: &[u8]) -> Vec<u8> {
        let mut header = vec![0, code, 0, 0, 0, 1, 0];
        if !source.is_empty() {
            header.extend_from_slice(&[0xc0, 1, 10]);
            for (parameter, selector) in [(0xc1, source), (0xc2, destination)] {
                header.extend_from_slice(&[parameter, selector.len() as u8]);
                header.extend_from_slice(selector);
            }
        }
        header[0] = header.len() as u8 - 1;
        tpdu(&header, user)
    }

    pub(crate) fn tpdu(header: &[u8], data: &[u8]) -> Vec<u8> {
        let mut out = vec![3, 0];
        out.extend_from_slice(&((4 + header.len() + data.len()) as u16).to_be_bytes());
        out.extend_from_slice(header);
        out.extend_from_slice(data);
        out
    }

    #[test]
    fn the_first_data_is_found_behind_the_opening() {
        let mut bytes = cr(&[1, 0], &[1, 2]);
        assert_eq!(first_data(&bytes), First::More);
        bytes.extend_from_slice(&dt(&[]));
        assert_eq!(first_data(&bytes), First::More);
        bytes.extend_from_slice(&dt(b"2abc"));
        assert_eq!(first_data(&bytes), First::Data(b"2abc"));
        assert_eq!(first_data(&bytes[..bytes.len() - 2]), First::Data(b"2a"));
        assert_eq!(first_data(b"\x16\x03\x01"), First::No);
        assert_eq!(frame(b"\x03\x00\x00\x08\x02\xf2\x80x"), Frame::Bad("cotp_code"));
        assert_eq!(frame(b"\x03\x00\x00\x06"), Frame::Bad("tpkt_length"));
        assert_eq!(frame(b"\x03\x00\x00\x07\x03"), Frame::Bad("cotp_length_indicator"));
    }
}
