//! Bristol Standard Asynchronous Protocol, over IP (BSAP/IP, UDP 1234) and its serial frames carried
//! in UDP (DLE STX … DLE ETX and a CRC): remote data base access to controllers' signals by name and
//! by address (Network 3000 Communications, Application Programmer's Reference).

use yagura_event::clock::{Micros, SECOND};
use yagura_event::vocabulary::operation;

use crate::cursor::{Cursor, Cut};
use crate::exchange::{Draft, Exchanges};
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Probe, Protocol, Side, json};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::udp(&[1234, 1235])],
    probe,
    start,
    buffer_bytes_max: 65_535,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "bsap";
const TIMEOUT: Micros = 10 * SECOND;
/// Identifier, number of messages, type, sequence, acknowledged sequence.
const HEADER: usize = 14;
/// Most messages of a datagram.
const MESSAGES_MAX: u16 = 64;
/// Most names of a request that are kept for its response.
const NAMES_MAX: usize = 64;

const DLE: u8 = 0x10;
const STX: u8 = 0x02;
const ETX: u8 = 0x03;

/// Remote data base access.
const RDB: u8 = 0xa0;

fn start(_flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(Bsap { exchanges: Exchanges::new(NAME, TIMEOUT), plain: Vec::new() }))
}

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let mut plain = Vec::new();
    let fits = match glimpse.bytes {
        [DLE, STX, ..] => unstuffed(glimpse.bytes, &mut plain),
        _ => whole(glimpse.bytes),
    };
    if fits { Probe::Yes } else { Probe::No }
}

/// Whether a datagram is BSAP/IP to its last byte.
fn whole(bytes: &[u8]) -> bool {
    let Some((&[0x0e, 0, low, high, kind, 0, ..], mut rest)) = bytes.split_first_chunk::<HEADER>() else {
        return false;
    };
    let messages = u16::from_le_bytes([low, high]);
    let known = match kind {
        0 => messages == 0,
        1 | 5 | 6 | 0x84 | 0x86 => messages > 0,
        _ => false,
    };
    if !known || messages > MESSAGES_MAX {
        return false;
    }
    for _ in 0..messages {
        let Some(length) = rest.first_chunk::<4>().map(|l| u32::from_le_bytes(*l) as usize) else {
            return false;
        };
        if length < 9 || length > rest.len() {
            return false;
        }
        rest = &rest[length..];
    }
    rest.is_empty()
}

/// Takes the serial frame apart; whether its CRC is right.
fn unstuffed(bytes: &[u8], plain: &mut Vec<u8>) -> bool {
    plain.clear();
    let mut rest = bytes.get(2..).unwrap_or_default();
    loop {
        match rest {
            [DLE, ETX, low, high] => {
                let crc = plain.iter().chain(&[ETX]).fold(0xffff, |crc, byte| checked(crc, *byte));
                return crc == u16::from_le_bytes([*low, *high]) && plain.len() >= 4;
            }
            [DLE, DLE, after @ ..] => {
                plain.push(DLE);
                rest = after;
            }
            [byte, after @ ..] if *byte != DLE => {
                plain.push(*byte);
                rest = after;
            }
            _ => return false,
        }
    }
}

/// CCITT, low bit first.
fn checked(crc: u16, byte: u8) -> u16 {
    (0..8).fold(crc ^ u16::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0x8408 } else { crc >> 1 })
}

/// What a response can be read with.
#[derive(PartialEq)]
struct Asked {
    sequence: u16,
    /// Field selects.
    fields: [u8; 2],
    reads: bool,
    names: Vec<String>,
}

struct Bsap {
    exchanges: Exchanges<Asked>,
    /// A serial frame without its stuffing.
    plain: Vec<u8>,
}

impl Framed for Bsap {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        if whole(bytes) || bytes.starts_with(&[DLE, STX]) {
            Frame::Of(bytes.len())
        } else {
            Frame::Bad("header")
        }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        if !frame.starts_with(&[DLE, STX]) {
            return self.datagram(cx, side, Cursor::new(frame));
        }
        let mut plain = std::mem::take(&mut self.plain);
        let read = if unstuffed(frame, &mut plain) {
            self.serial(cx, side, Cursor::new(&plain))
        } else {
            Err(Cut { what: "crc", at: frame.len() })
        };
        self.plain = plain;
        read
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, _side: Side) {}

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.expire(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.close(cx);
    }
}

impl Bsap {
    /// BSAP/IP: messages behind a header that counts and acknowledges datagrams.
    fn datagram(&mut self, cx: &mut Cx<'_>, side: Side, mut cursor: Cursor<'_>) -> Result<(), Cut> {
        cursor.skip(2, "identifier")?;
        let messages = cursor.u16_le("messages")?;
        let kind = cursor.u16_le("type")?;
        let sequence = cursor.u32_le("sequence")?;
        let acknowledged = cursor.u32_le("acknowledged")?;
        if messages == 0 {
            let mut draft = self.exchanges.draft(cx, side, operation::SESSION_KEEP, "poll");
            json::member_number(&mut draft.detail, "acknowledged", u64::from(acknowledged));
            self.exchanges.one_way(cx, draft);
            return Ok(());
        }
        for _ in 0..messages {
            let length = cursor.u32_le("length")? as usize;
            let mut message = cursor.part(length.saturating_sub(4), "length")?;
            message.skip(1, "exchange")?;
            let number = message.u16_le("message_sequence")?;
            message.skip(2, "global_address")?;
            if matches!(kind, 1 | 5) {
                self.response(cx, side, number, message)?;
            } else {
                let function = message.u8("application_function")?;
                let status = message.u8("node_status")?;
                self.request(cx, side, (function, number, status), message, |draft| {
                    json::member_number(&mut draft.detail, "datagram", u64::from(sequence));
                })?;
            }
        }
        Ok(())
    }

    /// A serial frame: between a node and its master, or through the network (global).
    fn serial(&mut self, cx: &mut Cx<'_>, side: Side, mut cursor: Cursor<'_>) -> Result<(), Cut> {
        let address = cursor.u8("address")?;
        cursor.skip(1, "serial_number")?;
        let global = address & 0x80 != 0;
        let mut node = address & 0x7f;
        let mut route = None;
        if global && cursor.remaining() > 2 {
            route = Some((cursor.u16_le("destination")?, cursor.u16_le("source")?));
            cursor.skip(1, "control")?;
        }
        let function = cursor.u8("destination_function")?;
        let link = match function {
            0x81 => Some("dial_up_ack"),
            0x83 => Some("ack_message_discarded"),
            0x85 => Some("poll"),
            0x86 => Some("down_transmit_ack"),
            0x87 => Some("ack_no_data"),
            0x8a => Some("up_ack_with_poll"),
            0x8b => Some("up_ack"),
            0x95 => Some("nak_no_buffer"),
            _ => None,
        };
        if let Some(name) = link {
            let mut draft = self.exchanges.draft(cx, side, operation::SESSION_KEEP, name);
            json::push_number(&mut draft.session, u64::from(node));
            if function == 0x95 {
                draft.deny(name);
            }
            self.exchanges.one_way(cx, draft);
            return Ok(());
        }
        let number = cursor.u16_le("sequence")?;
        let source = cursor.u8("source_function")?;
        let status = cursor.u8("node_status")?;
        if source == RDB {
            return self.response(cx, side, number, cursor);
        }
        if let Some((destination, _)) = route {
            node = destination.to_le_bytes()[0];
        }
        self.request(cx, side, (function, number, status), cursor, |draft| {
            json::push_number(&mut draft.session, u64::from(node));
            if let Some((destination, source)) = route {
                json::member_number(&mut draft.detail, "destination", u64::from(destination));
                json::member_number(&mut draft.detail, "source", u64::from(source));
            }
        })
    }

    fn request(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        (function, sequence, status): (u8, u16, u8),
        mut cursor: Cursor<'_>,
        tell: impl FnOnce(&mut Draft),
    ) -> Result<(), Cut> {
        let mut asked = Asked { sequence, fields: [0; 2], reads: false, names: Vec::new() };
        let (name, does) = match function {
            RDB => rdb(cursor.u8("function")?),
            0xa1 => extension(cursor.u16_be("function")?),
            0x48 => ("diagnostic", operation::DIAGNOSE),
            0x68 => ("flash_download", operation::PROGRAM_WRITE),
            0x6a => ("flash_configuration", operation::CONFIGURE),
            0x78 => ("download_request", operation::PROGRAM_WRITE),
            0xa2 | 0xa3 => ("report_by_exception", operation::REPORT),
            0xa8 => ("alarm_ack", operation::ALARM),
            0xa9 => ("alarm_init", operation::ALARM),
            0xaa => ("alarm_report", operation::ALARM),
            0xb0 | 0xb1 => ("peer_to_peer", operation::OTHER),
            _ => ("application_message", operation::OTHER),
        };
        let mut draft = self.exchanges.draft(cx, side, does, name);
        tell(&mut draft);
        let detail = &mut draft.detail;
        json::member_number(detail, "sequence", u64::from(sequence));
        json::member_number(detail, "application_function", u64::from(function));
        if status != 0 {
            json::member_number(detail, "node_status", u64::from(status));
        }
        if function == RDB
            && let Err(cut) = access(name, cursor, &mut asked, &mut draft)
        {
            draft.wrong(cut);
        } else if does == operation::PROGRAM_WRITE {
            draft.seal(&cx.settings.plant_key, cursor.rest());
        }
        for (at, name) in asked.names.iter().enumerate() {
            if draft.target.len() < 512 {
                draft.target.push_str(if at == 0 { "" } else { "," });
                draft.target.push_str(name);
            }
        }
        self.exchanges.ask(cx, asked, draft);
        Ok(())
    }

    fn response(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        sequence: u16,
        mut cursor: Cursor<'_>,
    ) -> Result<(), Cut> {
        let errors = cursor.u8("request_error")?;
        let found = self.exchanges.take_if(side, |asked, _| asked.sequence == sequence);
        let Some((asked, mut draft)) = found else {
            let mut draft = self.exchanges.draft(cx, side.other(), operation::OTHER, "response");
            json::member_number(&mut draft.detail, "sequence", u64::from(sequence));
            if errors != 0 {
                draft.deny(format!("RER=0x{errors:02x}"));
            } else if let Some(count) = cursor.peek() {
                json::member_number(&mut draft.detail, "elements", u64::from(count));
            }
            self.exchanges.unasked(cx, draft);
            return Ok(());
        };
        if errors != 0 {
            draft.deny(format!("RER=0x{errors:02x}"));
        } else if asked.reads {
            let count = cursor.u8("count")?;
            json::member_number(&mut draft.detail, "elements", u64::from(count));
            if values(cx, side, &asked, count, cursor, &mut draft).is_err() {
                json::member_bool(&mut draft.detail, "values_cut", true);
            }
        }
        self.exchanges.pair(cx, draft);
        Ok(())
    }
}

fn rdb(function: u8) -> (&'static str, &'static str) {
    match function {
        0x00 => ("read_signal_by_address", operation::READ),
        0x02 => ("read_logical_by_address", operation::READ),
        0x04 => ("read_signal_by_name", operation::READ),
        0x06 => ("read_logical_by_name", operation::READ),
        0x0c => ("read_signal_by_list_start", operation::READ),
        0x0d => ("read_signal_by_list_continue", operation::READ),
        0x0e => ("read_logical_by_list_start", operation::READ),
        0x0f => ("read_logical_by_list_continue", operation::READ),
        0x80 => ("write_signal_by_address", operation::WRITE),
        0x84 => ("write_signal_by_name", operation::WRITE),
        0x8c => ("write_signal_by_list_start", operation::WRITE),
        0x8d => ("write_signal_by_list_continue", operation::WRITE),
        0x81.. => ("write_data_base", operation::WRITE),
        _ => ("read_data_base", operation::READ),
    }
}

fn extension(function: u16) -> (&'static str, &'static str) {
    match function {
        0x0101 => ("reset_system", operation::CONTROL),
        0x0102 => ("diagnostics_reset", operation::DIAGNOSE),
        0x0201 => ("read_date_and_time", operation::READ),
        0x0202 => ("read_date", operation::READ),
        0x0203 => ("read_time", operation::READ),
        0x0281 => ("write_date_and_time", operation::CONFIGURE),
        0x0400 => ("change_local_node_address", operation::CONFIGURE),
        _ => ("data_base_extension", operation::OTHER),
    }
}

/// A request of the data base: which signals, which of their fields, what to write.
fn access(name: &str, mut cursor: Cursor<'_>, asked: &mut Asked, draft: &mut Draft) -> Result<(), Cut> {
    let (by_name, by_address) = (name.ends_with("by_name"), name.ends_with("by_address"));
    let writes = draft.operation == operation::WRITE;
    if !by_name && !by_address {
        return Ok(());
    }
    if !writes {
        // The first byte says which of four select bytes follow.
        let present = cursor.u8("field_select")?;
        for bit in 0..4 {
            if present >> bit & 1 == 1 {
                let select = cursor.u8("field_select")?;
                if let Some(kept) = asked.fields.get_mut(bit) {
                    *kept = select;
                } else if select != 0 {
                    asked.fields[0] |= 1;
                }
            }
        }
        asked.reads = true;
    }
    if by_address {
        let version = cursor.u16_le("data_base_version")?;
        json::member_number(&mut draft.detail, "data_base_version", u64::from(version));
    }
    let security = cursor.u8("security_level")?;
    json::member_number(&mut draft.detail, "security_level", u64::from(security));
    let count = cursor.u8("count")?;
    json::member_number(&mut draft.detail, "count", u64::from(count));
    for _ in 0..count {
        let signal = if by_name {
            String::from_utf8_lossy(cursor.until(0, "name")?).into_owned()
        } else {
            format!("0x{:04x}", cursor.u16_le("address")?)
        };
        if asked.names.len() < NAMES_MAX {
            asked.names.push(signal);
        }
        if writes {
            match cursor.u8("write_field")? {
                0x09 => draft.push_value(0.0),
                0x0a => draft.push_value(1.0),
                0x0b => draft.push_value(f64::from(cursor.f32_le("value")?)),
                other => {
                    // Inhibits and others: whether a value follows is not known.
                    json::member_number(&mut draft.detail, "write_field", u64::from(other));
                    return Ok(());
                }
            }
        }
    }
    Ok(())
}

/// The values of a response, where the selected fields have known lengths: type and inhibits, value,
/// address and version.
fn values(
    cx: &mut Cx<'_>,
    side: Side,
    asked: &Asked,
    count: u8,
    mut cursor: Cursor<'_>,
    draft: &mut Draft,
) -> Result<(), Cut> {
    let [first, second] = asked.fields;
    let known = first & !0xd0 == 0 && second & !1 == 0 && first & 0x40 != 0;
    let extra = if first & 0x10 != 0 { 2 } else { 0 } + if second & 1 != 0 { 2 } else { 0 };
    let typed = first & 0x80 != 0;
    // Without types the length tells whether all are logical or all analog.
    let each = usize::from(count) * extra;
    let all = |bytes: usize| cursor.remaining() == each + usize::from(count) * bytes;
    let analog = all(4);
    if !known || !typed && !analog && !all(1) {
        draft.push_bytes(cursor.rest());
        return Ok(());
    }
    for at in 0..usize::from(count) {
        let kind = if typed { cursor.u8("type")? & 3 } else { 2 * u8::from(analog) };
        let value = match kind {
            0 | 1 => f64::from(cursor.u8("value")?),
            2 => f64::from(cursor.f32_le("value")?),
            _ => return Err(cursor.cut("type")),
        };
        cursor.skip(extra, "address")?;
        draft.push_value(value);
        if let Some(name) = asked.names.get(at) {
            cx.measured(side, name, "bsap rdb", value, 0);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Transport;
    use crate::testing::{Run, Sample};
    use yagura_event::schema::Kind;

    fn datagram(kind: u8, sequence: u8, messages: &[&[u8]]) -> Vec<u8> {
        let mut out = vec![0x0e, 0, messages.len() as u8, 0, kind, 0, sequence, 0, 0, 0, 1, 0, 0, 0];
        for message in messages {
            out.extend((message.len() as u32 + 4).to_le_bytes());
            out.extend(*message);
        }
        out
    }

    fn read(sequence: u8) -> Vec<u8> {
        let mut out = vec![0x0c, sequence, 0, 0, 0, RDB, 0, 4, 3, 0xd0, 1, 0x0f, 2];
        out.extend(b"@GV.DS1\0@GV.AS4\0");
        out
    }

    fn serial(body: &[u8]) -> Vec<u8> {
        let mut out = vec![DLE, STX];
        for byte in body {
            out.extend(if *byte == DLE { vec![DLE, DLE] } else { vec![*byte] });
        }
        let crc = body.iter().chain(&[ETX]).fold(0xffff, |crc, byte| checked(crc, *byte));
        out.extend([DLE, ETX]);
        out.extend(crc.to_le_bytes());
        out
    }

    fn answer(sequence: u8) -> Vec<u8> {
        let mut out = vec![0x0c, sequence, 0, 0, 0, 0, 2, 0, 1, 4, 0, 0x24, 0x77, 2];
        out.extend(70_f32.to_le_bytes());
        out.extend([6, 0, 0x24, 0x77]);
        out
    }

    pub fn sample() -> Sample {
        let write = [0x0c, 0x12, 0, 0, 0, RDB, 0, 0x80, 0x24, 0x77, 0x0f, 1, 0x11, 0, 0x0a];
        Sample::udp(vec![
            (Side::Client, datagram(6, 1, &[&read(0x10)])),
            (Side::Client, datagram(6, 2, &[&read(0x11)])),
            (Side::Server, datagram(5, 3, &[&answer(0x10), &answer(0x11)])),
            (Side::Client, datagram(0, 0, &[])),
            (Side::Client, datagram(6, 3, &[&write])),
            (Side::Server, datagram(5, 4, &[&[0x0c, 0x12, 0, 0, 0, 0, 0]])),
        ])
    }

    #[test]
    fn signals_are_read_by_name_and_written_by_address() {
        let mut run = Run::over(&PROTOCOL, Transport::Udp);
        for (side, bytes) in sample().said {
            run.send(side, &bytes);
        }
        run.close();
        assert_eq!(
            run.table(&["operation", "function", "target", "values", "status"]),
            [
                "read|read_signal_by_name|@GV.DS1,@GV.AS4|[1,70]|ok",
                "read|read_signal_by_name|@GV.DS1,@GV.AS4|[1,70]|ok",
                "session.keep|poll|||one_way",
                "write|write_signal_by_address|0x0011|[1]|ok",
            ]
        );
        assert_eq!(run.of(Kind::Sample).len(), 4);
    }

    #[test]
    fn serial_frames_are_checked_and_stuffed() {
        let mut ask = vec![1, 0xeb, RDB, 0x10, 8, 3, 0, 4, 1, 0x40, 0x0f, 1];
        ask.extend(b"@GV.AS3.\0");
        let mut answer = vec![0, 0xeb, 3, 0x10, 8, RDB, 0, 0, 1];
        answer.extend((-0.5_f32).to_le_bytes());
        let mut run = Run::over(&PROTOCOL, Transport::Udp);
        run.send(Side::Client, &serial(&ask));
        run.send(Side::Server, &serial(&answer));
        run.send(Side::Client, &serial(&[1, 3, 0x85, 0]));
        let mut broken = serial(&ask);
        broken[5] ^= 1;
        run.send(Side::Client, &broken);
        assert_eq!(
            run.table(&["function", "session", "values", "status", "status_code"]),
            ["read_signal_by_name|1|[-0.5]|ok|", "poll|1||one_way|", "unreadable|||malformed|crc"]
        );
        for (bytes, expected) in [(serial(&ask), Probe::Yes), (broken, Probe::No)] {
            let transport = Transport::Udp;
            let glimpse = Glimpse { transport, side: Side::Client, customary: false, bytes: &bytes };
            assert_eq!(probe(&glimpse), expected);
        }
    }
}
