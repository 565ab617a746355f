//! ROC Plus (Emerson, ROC Plus Protocol Specifications Manual): remote operations controllers and
//! flow computers. A message has destination, source, opcode, length, data and a CRC, which is what
//! the protocol is known by; a host has one request at a time under way for each opcode.

use yagura_event::clock::{Micros, SECOND};
use yagura_event::vocabulary::operation;

use crate::cursor::{Cursor, Cut};
use crate::exchange::{Draft, Exchanges};
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Probe, Protocol, Side, Transport, json};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::tcp(&[4000]), Carrier::udp(&[4000])],
    probe,
    start,
    buffer_bytes_max: HEADER + 255 + CRC,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "roc_plus";
const TIMEOUT: Micros = 10 * SECOND;
/// Destination unit and group, source unit and group, opcode, length.
const HEADER: usize = 6;
const CRC: usize = 2;

fn start(_flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(Roc { exchanges: Exchanges::new(NAME, TIMEOUT) }))
}

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let bytes = glimpse.bytes;
    if bytes.get(4).is_some_and(|opcode| name(*opcode).is_none()) {
        return Probe::No;
    }
    match frame(bytes) {
        Frame::Of(length) if length == bytes.len() => Probe::Yes,
        Frame::Of(length) if length < bytes.len() && glimpse.transport == Transport::Tcp => Probe::Yes,
        Frame::Of(_) | Frame::More if glimpse.transport == Transport::Tcp => Probe::More,
        _ => Probe::No,
    }
}

fn frame(bytes: &[u8]) -> Frame {
    let Some(length) = bytes.get(5) else {
        return Frame::More;
    };
    let length = HEADER + usize::from(*length) + CRC;
    let Some((body, [low, high])) = bytes.get(..length).and_then(|frame| frame.split_last_chunk::<CRC>())
    else {
        return Frame::Of(length);
    };
    let crc = body.iter().fold(0xffff, |crc, byte| checked(crc, *byte));
    if crc == u16::from_le_bytes([*low, *high]) { Frame::Of(length) } else { Frame::Bad("crc") }
}

/// CRC-16, low bit first.
fn checked(crc: u16, byte: u8) -> u16 {
    (0..8).fold(crc ^ u16::from(byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xa001 } else { crc >> 1 })
}

fn name(opcode: u8) -> Option<(&'static str, &'static str)> {
    Some(match opcode {
        6 => ("system_configuration", operation::DISCOVER),
        7 => ("read_realtime_clock", operation::READ),
        8 => ("set_realtime_clock", operation::CONFIGURE),
        10 => ("read_configurable_opcode_point_data", operation::READ),
        11 => ("write_configurable_opcode_point_data", operation::WRITE),
        17 => ("login_request", operation::AUTHENTICATE),
        24 => ("store_and_forward", operation::OTHER),
        50 => ("request_io_point_position", operation::READ),
        100 => ("access_user_defined_information", operation::READ),
        105 => ("request_today_yesterday_min_max_values", operation::READ),
        108 => ("request_history_tag_and_periodic_index", operation::READ),
        118 => ("request_alarm_data", operation::READ),
        119 => ("request_event_data", operation::READ),
        135 => ("request_single_history_point_data", operation::READ),
        136 => ("request_multiple_history_point_data", operation::READ),
        137 => ("request_history_index", operation::READ),
        138 => ("request_daily_and_periodic_history", operation::READ),
        139 => ("history_information_data", operation::READ),
        166 => ("set_single_point_parameters", operation::WRITE),
        167 => ("request_single_point_parameters", operation::READ),
        180 => ("request_parameters", operation::READ),
        181 => ("write_parameters", operation::WRITE),
        203 => ("general_file_transfer", operation::OTHER),
        205 => ("peer_to_peer_network_messages", operation::OTHER),
        206 => ("read_transaction_history_data", operation::READ),
        224 => ("srbx_signal", operation::ALARM),
        225 => ("acknowledge_srbx", operation::ALARM),
        255 => ("error_indicator", operation::ERROR),
        _ => return None,
    })
}

/// Whether a message asks: by its length where request and response differ, else the end that
/// opened the connection does.
fn asks(opcode: u8, data: &[u8], side: Side) -> bool {
    let length = data.len();
    match opcode {
        6 | 7 => length == 0,
        8 | 11 | 24 | 166 | 181 => length > 0,
        10 | 100 | 118 | 119 | 137 => length == 3,
        17 => !matches!(length, 0 | 24),
        50 => length == 1,
        105 => length == 2,
        135 => length == 6,
        136 => length == 7,
        138 | 167 => length == 4,
        203 => match data {
            [1, ..] => length == 127,
            [2, ..] => length == 9,
            [3, ..] => length != 9,
            [4, ..] => length == 5,
            [6 | 64, ..] => matches!(length, 102 | 103 | 126),
            _ => false,
        },
        255 => false,
        _ => side == Side::Client,
    }
}

struct Roc {
    /// By opcode.
    exchanges: Exchanges<u8>,
}

impl Framed for Roc {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        frame(bytes)
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let mut cursor = Cursor::new(frame);
        let addresses = cursor.array::<4>("addresses")?;
        let opcode = cursor.u8("opcode")?;
        let length = usize::from(cursor.u8("data_length")?);
        let data = cursor.take(length, "data")?;
        let (function, does) = name(opcode).unwrap_or(("unknown_opcode", operation::OTHER));
        let [unit, group, from_unit, from_group] = addresses;
        if opcode != 255 && asks(opcode, data, side) {
            let mut draft = self.exchanges.draft(cx, side, does, function);
            draft.session = format!("{unit}/{group}");
            json::member_number(&mut draft.detail, "opcode", u64::from(opcode));
            json::member_text(&mut draft.detail, "source", &format!("{from_unit}/{from_group}"));
            if let Err(cut) = request(cx, opcode, Cursor::new(data), &mut draft) {
                draft.wrong(cut);
            }
            if opcode == 224 {
                // The controller calls: what it reports is about itself.
                draft.equipment = side;
            }
            self.exchanges.ask(cx, opcode, draft);
            return Ok(());
        }
        let found = match opcode {
            255 => self.exchanges.answered_if(side, |_, _| true),
            _ => self.exchanges.answered(side, &opcode),
        };
        let paired = found.is_some();
        let mut draft = found.unwrap_or_else(|| {
            let mut draft = self.exchanges.draft(cx, side.other(), does, function);
            draft.session = format!("{from_unit}/{from_group}");
            json::member_number(&mut draft.detail, "opcode", u64::from(opcode));
            draft
        });
        if opcode == 255 {
            match data {
                [code, offset, ..] => {
                    draft.deny(error(*code));
                    json::member_number(&mut draft.detail, "error_code", u64::from(*code));
                    json::member_number(&mut draft.detail, "error_offset", u64::from(*offset));
                }
                _ => draft.deny("error_indicator"),
            }
        } else if let Err(cut) = response(cx, opcode, Cursor::new(data), &mut draft) {
            draft.wrong(cut);
        }
        if paired {
            self.exchanges.pair(cx, draft);
        } else {
            self.exchanges.unasked(cx, draft);
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

/// Point type, logical number and parameter, as the manual writes them.
fn tlp(cursor: &mut Cursor<'_>) -> Result<String, Cut> {
    let [point, logical, parameter] = cursor.array("tlp")?;
    Ok(format!("{point},{logical},{parameter}"))
}

fn request(cx: &Cx<'_>, opcode: u8, mut data: Cursor<'_>, draft: &mut Draft) -> Result<(), Cut> {
    match opcode {
        8 => draft.push_bytes(data.take_rest()),
        10 | 11 => {
            let [table, first, count] = data.array("table")?;
            draft.target = format!("table {table} from {first}");
            draft.set_count(u32::from(count));
            if opcode == 11 {
                draft.push_bytes(data.take_rest());
            }
        }
        17 => login(data, draft)?,
        50 => draft.target = format!("io type {}", data.u8("type")?),
        118 | 119 => {
            let count = data.u8("count")?;
            draft.target = format!("from {}", data.u16_le("index")?);
            draft.set_count(u32::from(count));
        }
        135 | 136 => draft.target = format!("segment {}", data.u8("segment")?),
        166 | 167 => {
            let [point, logical, count, first] = data.array("point")?;
            draft.target = format!("{point},{logical},{first}");
            if opcode == 166 {
                draft.push_bytes(data.take_rest());
            }
            draft.set_count(u32::from(count));
        }
        180 => {
            let count = data.u8("count")?;
            for at in 0..count.min(64) {
                let tlp = tlp(&mut data)?;
                draft.target.push_str(if at == 0 { "" } else { " " });
                draft.target.push_str(&tlp);
            }
            draft.set_count(u32::from(count));
        }
        181 => {
            // Where the second parameter begins only the first one's type tells.
            let count = data.u8("count")?;
            draft.target = tlp(&mut data)?;
            draft.push_bytes(data.take_rest());
            draft.set_count(u32::from(count));
        }
        203 => file(cx, data, draft)?,
        _ => {}
    }
    Ok(())
}

fn response(cx: &Cx<'_>, opcode: u8, mut data: Cursor<'_>, draft: &mut Draft) -> Result<(), Cut> {
    match opcode {
        167 if data.remaining() > 4 => {
            data.skip(4, "point")?;
            draft.push_bytes(data.take_rest());
        }
        180 if data.remaining() > 1 => draft.push_bytes(data.take_rest()),
        203 if data.peek() == Some(2) && data.remaining() > 14 => {
            data.skip(14, "file")?;
            draft.operation = operation::PROGRAM_READ;
            draft.seal(&cx.settings.plant_key, data.rest());
        }
        _ => {}
    }
    Ok(())
}

/// Who logs in or out, and that a password came with it. Three letters and a number, or the enhanced
/// form with thirty letters and forty of password.
fn login(mut data: Cursor<'_>, draft: &mut Draft) -> Result<(), Cut> {
    let length = data.remaining();
    let (letters, secret, name) = match length {
        6 => (3, 2, "login"),
        11 => (3, 2, "logout"),
        71 => (30, 40, "login"),
        76 => (30, 40, "logout"),
        13 => {
            draft.function = "session_key_request".into();
            return Ok(());
        }
        _ => return Ok(()),
    };
    draft.function = name.into();
    if name == "logout" {
        draft.operation = operation::SESSION_CLOSE;
    }
    let operator = String::from_utf8_lossy(data.take(letters, "operator")?);
    let operator = operator.trim_end_matches([' ', '\0']);
    draft.target.push_str(operator);
    let password = data.take(secret, "password")?;
    let detail = &mut draft.detail;
    json::member_bool(detail, "password_presented", password.iter().any(|b| !matches!(b, 0 | b' ')));
    // As delivered: LOI with 1000.
    let default = operator == "LOI" && password == 1000_u16.to_le_bytes();
    json::member_bool(detail, "default_password", default);
    if name == "login" {
        json::member_number(detail, "access_level", u64::from(data.u8("access_level")?));
    }
    Ok(())
}

fn file(cx: &Cx<'_>, mut data: Cursor<'_>, draft: &mut Draft) -> Result<(), Cut> {
    let length = data.remaining();
    let (name, does) = match (data.u8("command")?, length) {
        (1, _) => ("file_open", operation::OTHER),
        (2, _) => ("file_read", operation::PROGRAM_READ),
        (3, _) => ("file_write", operation::PROGRAM_WRITE),
        (4, _) => ("file_close", operation::OTHER),
        (6, 126) => ("file_delete", operation::PROGRAM_WRITE),
        (6 | 64, _) => ("read_directory", operation::DISCOVER),
        _ => ("file_command", operation::OTHER),
    };
    draft.function = name.into();
    draft.operation = does;
    let text =
        |bytes: &[u8]| -> String { bytes.iter().take_while(|b| **b != 0).map(|b| char::from(*b)).collect() };
    match name {
        "file_open" => {
            let options = data.u8("options")?;
            json::member_number(&mut draft.detail, "options", u64::from(options));
            draft.target = text(data.take(100, "path")?) + &text(data.take(25, "file_name")?);
        }
        "file_delete" => draft.target = text(data.take(100, "path")?) + &text(data.take(25, "file_name")?),
        "read_directory" => draft.target = text(data.take(100, "path")?),
        "file_write" => {
            draft.target = format!("file {}", data.u32_le("file_descriptor")?);
            let size = data.u32_le("file_size")?;
            let offset = data.u32_le("offset")?;
            json::member_number(&mut draft.detail, "file_size", u64::from(size));
            json::member_number(&mut draft.detail, "offset", u64::from(offset));
            let length = usize::from(data.u8("count")?);
            draft.seal(&cx.settings.plant_key, data.take(length, "data")?);
        }
        "file_read" => {
            draft.target = format!("file {}", data.u32_le("file_descriptor")?);
            let offset = data.u32_le("offset")?;
            json::member_number(&mut draft.detail, "offset", u64::from(offset));
        }
        "file_close" => draft.target = format!("file {}", data.u32_le("file_descriptor")?),
        _ => {}
    }
    Ok(())
}

fn error(code: u8) -> &'static str {
    match code {
        1 => "invalid_opcode",
        2 => "invalid_parameter_number",
        3 => "invalid_logical_number",
        4 => "invalid_point_type",
        5 => "too_many_data_bytes",
        6 => "too_few_data_bytes",
        13 => "outside_valid_address_range",
        14 => "invalid_history_request",
        15 => "invalid_fst_request",
        16 => "invalid_event_entry",
        17 => "too_many_alarms",
        18 => "too_many_events",
        19 => "write_to_read_only_parameter",
        20 => "security_error",
        21 => "invalid_security_logon",
        22 => "invalid_store_and_forward_path",
        24 => "history_configuration_in_progress",
        63 => "requested_access_level_too_high",
        _ => "error_indicator",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Run, Sample};

    fn message(to: [u8; 2], from: [u8; 2], opcode: u8, data: &[u8]) -> Vec<u8> {
        let mut out = [to, from].concat();
        out.extend([opcode, data.len() as u8]);
        out.extend(data);
        let crc = out.iter().fold(0xffff, |crc, byte| checked(crc, *byte));
        out.extend(crc.to_le_bytes());
        out
    }

    fn ask(opcode: u8, data: &[u8]) -> Vec<u8> {
        message([1, 2], [3, 1], opcode, data)
    }

    fn answer(opcode: u8, data: &[u8]) -> Vec<u8> {
        message([3, 1], [1, 2], opcode, data)
    }

    pub fn sample() -> Sample {
        Sample::tcp(vec![
            (Side::Client, ask(7, &[])),
            (Side::Server, answer(7, &[30, 45, 12, 15, 3, 0xe8, 7, 3])),
            (Side::Client, ask(17, &[b'L', b'O', b'I', 0xe8, 3, 5])),
            (Side::Server, answer(17, &[])),
            (Side::Client, ask(167, &[10, 1, 2, 3])),
            (Side::Server, answer(167, &[10, 1, 2, 3, 0, 0, 0x80, 0x3f])),
            (Side::Client, ask(166, &[10, 1, 1, 3, 9])),
            (Side::Server, answer(255, &[20, 6])),
        ])
    }

    #[test]
    fn logins_reads_and_a_refused_write() {
        let mut run = Run::new(&PROTOCOL);
        for (side, bytes) in sample().said {
            run.send(side, &bytes);
        }
        let mut write = vec![3];
        write.extend(7_u32.to_le_bytes());
        write.extend([4, 0, 0, 0, 0, 0, 0, 0, 4, 1, 2, 3, 4]);
        run.send(Side::Client, &ask(203, &write));
        run.send(Side::Server, &answer(203, &[3, 7, 0, 0, 0, 4, 0, 0, 0]));
        run.close();
        assert_eq!(
            run.table(&["operation", "function", "target", "session", "values", "status", "status_code"]),
            [
                "read|read_realtime_clock||1/2||ok|",
                "authenticate|login|LOI|1/2||ok|",
                "read|request_single_point_parameters|10,1,3|1/2|[\"0x0000803f\"]|ok|",
                "write|set_single_point_parameters|10,1,3|1/2|[\"0x09\"]|denied|security_error",
                "program.write|file_write|file 7|1/2||ok|",
            ]
        );
        assert!(run.messages()[1].text("detail").contains("\"default_password\":true"));
        assert_eq!(run.messages()[4].number("body_bytes"), Some(4.0));
    }

    #[test]
    fn a_wrong_check_is_no_message() {
        let mut bytes = ask(7, &[]);
        bytes[0] ^= 1;
        assert_eq!(frame(&bytes), Frame::Bad("crc"));
        assert_eq!(frame(&ask(7, &[])[..5]), Frame::More);
    }
}
