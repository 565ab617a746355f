//! Saia PCD controllers: Ether-S-Bus (UDP 5050), requests to a station and their answers, with a CRC;
//! and Ether-S-I/O (UDP 6060), the cyclic exchange with remote inputs and outputs.

use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::operation;

use crate::cursor::{Cursor, Cut};
use crate::cyclic::{Cyclic, Tally};
use crate::exchange::{Draft, Exchanges};
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Probe, Protocol, Side, json};

/// The registry's entry of Ether-S-Bus.
pub const SBUS: Protocol = Protocol {
    name: "ether_sbus",
    carriers: &[Carrier::udp(&[5050])],
    probe: |glimpse| claimed(sbus(glimpse.bytes)),
    start: |_| Box::new(Framing::new(Sbus { exchanges: Exchanges::new(SBUS.name, TIMEOUT) })),
    buffer_bytes_max: 65_535,
    #[cfg(test)]
    sample: tests::sbus_sample,
};

/// The registry's entry of Ether-S-I/O.
pub const ESIO: Protocol = Protocol {
    name: "ether_sio",
    carriers: &[Carrier::udp(&[6060])],
    probe: |glimpse: &Glimpse<'_>| claimed(esio(glimpse.bytes)),
    start: start_esio,
    buffer_bytes_max: 65_535,
    #[cfg(test)]
    sample: tests::esio_sample,
};

const TIMEOUT: Micros = 5 * SECOND;
const CRC: usize = 2;

fn start_esio(_flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(Esio { exchanges: Exchanges::new(ESIO.name, TIMEOUT), cyclic: Cyclic::new() }))
}

fn claimed(is: bool) -> Probe {
    if is { Probe::Yes } else { Probe::No }
}

/// Whether a datagram is Ether-S-Bus: its length, small numbers, and the CRC.
fn sbus(bytes: &[u8]) -> bool {
    let Some((body, crc)) = bytes.split_last_chunk::<CRC>() else {
        return false;
    };
    matches!(body, [0, 0, high, low, 0 | 1, 0 | 1, _, _, 0..=2, _, ..]
        if usize::from(u16::from_be_bytes([*high, *low])) == bytes.len())
        && body.iter().fold(0, |crc, byte| checked(crc, *byte)) == u16::from_be_bytes(*crc)
}

/// CCITT, high bit first.
fn checked(crc: u16, byte: u8) -> u16 {
    (0..8)
        .fold(crc ^ u16::from(byte) << 8, |crc, _| if crc >> 15 == 1 { crc << 1 ^ 0x1021 } else { crc << 1 })
}

fn esio(bytes: &[u8]) -> bool {
    matches!(bytes, [b'E', b'S', b'I', b'O', 0, 1 | 2, _, _, high, low, ..]
        if usize::from(u16::from_be_bytes([*high, *low])) == bytes.len())
}

struct Sbus {
    /// By sequence.
    exchanges: Exchanges<u16>,
}

impl Framed for Sbus {
    const PROTOCOL: &'static str = SBUS.name;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        if sbus(bytes) { Frame::Of(bytes.len()) } else { Frame::Bad("crc") }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let mut cursor = Cursor::new(&frame[..frame.len() - CRC]);
        cursor.skip(6, "header")?;
        let sequence = cursor.u16_be("sequence")?;
        let attribute = cursor.u8("attribute")?;
        if attribute == 0 {
            let station = cursor.u8("station")?;
            let command = cursor.u8("command")?;
            let (function, does) = command_name(command);
            let mut draft = self.exchanges.draft(cx, side, does, function);
            json::push_number(&mut draft.session, u64::from(station));
            json::member_number(&mut draft.detail, "sequence", u64::from(sequence));
            json::member_number(&mut draft.detail, "command", u64::from(command));
            if let Err(cut) = request(cx, command, cursor, &mut draft) {
                draft.wrong(cut);
            }
            self.exchanges.ask(cx, sequence, draft);
            return Ok(());
        }
        let found = self.exchanges.answered(side, &sequence);
        let paired = found.is_some();
        let mut draft = found.unwrap_or_else(|| {
            let mut draft = self.exchanges.draft(cx, side.other(), operation::OTHER, "response");
            json::member_number(&mut draft.detail, "sequence", u64::from(sequence));
            draft
        });
        if attribute == 2 {
            match cursor.u16_be("acknowledge")? {
                0 => {}
                2 => draft.deny("nak_password"),
                3 => draft.deny("nak_port_in_reduced_protocol"),
                4 => draft.deny("nak_port_in_use"),
                _ => draft.deny("nak"),
            }
        } else {
            response(cx, side, cursor, &mut draft);
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

fn command_name(command: u8) -> (&'static str, &'static str) {
    match command {
        0 => ("read_counters", operation::READ),
        1 => ("read_display_register", operation::READ),
        2 => ("read_flags", operation::READ),
        3 => ("read_inputs", operation::READ),
        4 => ("read_real_time_clock", operation::READ),
        5 => ("read_outputs", operation::READ),
        6 => ("read_registers", operation::READ),
        7 => ("read_timers", operation::READ),
        10 => ("write_counters", operation::WRITE),
        11 => ("write_flags", operation::WRITE),
        12 => ("write_real_time_clock", operation::CONFIGURE),
        13 => ("write_outputs", operation::WRITE),
        14 => ("write_registers", operation::WRITE),
        15 => ("write_timers", operation::WRITE),
        19 => ("read_write_multi_medias", operation::WRITE),
        20..=27 => ("read_pcd_status", operation::DIAGNOSE),
        29 => ("read_station_number", operation::DISCOVER),
        30 => ("read_user_memory", operation::PROGRAM_READ),
        31 => ("read_program_line", operation::PROGRAM_READ),
        32 => ("read_firmware_version", operation::DISCOVER),
        33 => ("read_text", operation::PROGRAM_READ),
        34 => ("read_active_transition", operation::DIAGNOSE),
        35 => ("write_user_memory", operation::PROGRAM_WRITE),
        36 => ("write_program_line", operation::PROGRAM_WRITE),
        37 => ("write_text", operation::PROGRAM_WRITE),
        40..=48 => ("run_procedure", operation::CONTROL),
        50..=57 => ("restart_cold", operation::CONTROL),
        60..=68 => ("stop_procedure", operation::CONTROL),
        70..=75 => ("read_cpu_state", operation::DIAGNOSE),
        80..=83 => ("write_cpu_state", operation::WRITE),
        90 => ("clear_all", operation::CONTROL),
        91..=94 => ("clear_media", operation::CONTROL),
        100..=107 => ("restart_warm", operation::CONTROL),
        110..=111 | 113 | 115..=116 | 118..=119 => ("debug_program", operation::CONTROL),
        112 => ("delete_program_line", operation::PROGRAM_WRITE),
        114 => ("insert_program_line", operation::PROGRAM_WRITE),
        117 => ("make_text", operation::PROGRAM_WRITE),
        130..=132 => ("interrupt", operation::CONTROL),
        145 => ("read_hangup_timeout", operation::READ),
        150 => ("read_data_block", operation::READ),
        151 => ("write_data_block", operation::WRITE),
        152 => ("make_data_block", operation::PROGRAM_WRITE),
        153 => ("clear_data_block", operation::PROGRAM_WRITE),
        154 => ("clear_text", operation::PROGRAM_WRITE),
        155..=159 => ("read_blocks", operation::DIAGNOSE),
        161 => ("read_user_eeprom_register", operation::READ),
        163 => ("write_user_eeprom_register", operation::CONFIGURE),
        165 => ("erase_flash", operation::PROGRAM_WRITE),
        166 => ("restart_cold_flag", operation::CONTROL),
        167 => ("write_system_buffer", operation::CONFIGURE),
        168 => ("read_system_buffer", operation::READ),
        169 => ("read_write_block", operation::PROGRAM_READ),
        170 => ("get_diagnostic", operation::DIAGNOSE),
        171 => ("read_system_information", operation::DISCOVER),
        172 => ("change_blocks_on_run", operation::PROGRAM_WRITE),
        173 => ("flash_card", operation::PROGRAM_WRITE),
        174 => ("download_firmware", operation::PROGRAM_WRITE),
        175 => ("web_server", operation::OTHER),
        _ => ("unknown_command", operation::OTHER),
    }
}

/// The letter of a medium, and whether it is one bit.
fn medium(command: u8) -> Option<(char, bool)> {
    Some(match command {
        0 | 10 => ('C', false),
        2 | 11 => ('F', true),
        3 => ('I', true),
        5 | 13 => ('O', true),
        6 | 14 => ('R', false),
        7 | 15 => ('T', false),
        _ => return None,
    })
}

fn request(cx: &Cx<'_>, command: u8, mut body: Cursor<'_>, draft: &mut Draft) -> Result<(), Cut> {
    if let Some((letter, bits)) = medium(command) {
        // How many, less one: values when reading, bytes when writing.
        let count = body.u8("count")?;
        let address = body.u16_be("address")?;
        draft.target = format!("{letter}{address}");
        match (command, bits) {
            (..10, _) => draft.set_count(u32::from(count) + 1),
            (_, true) => {
                let count = body.u8("fio_count")?;
                for at in 0..=usize::from(count) {
                    let byte = body.rest().get(at / 8).copied().ok_or_else(|| body.cut("data"))?;
                    draft.push_value(f64::from(byte >> (at % 8) & 1));
                }
            }
            (_, false) => {
                while !body.is_empty() {
                    draft.push_value(f64::from(body.i32_be("data")?));
                }
            }
        }
        return Ok(());
    }
    match command {
        169 => {
            body.skip(1, "length")?;
            let kind = body.u8("telegram_type")?;
            (draft.function, draft.operation) = match kind {
                0..=8 => ("write_block".into(), operation::PROGRAM_WRITE),
                16..=24 => ("read_block".into(), operation::PROGRAM_READ),
                32 => ("delete_block".into(), operation::PROGRAM_WRITE),
                33 => ("get_block_size".into(), operation::DISCOVER),
                _ => ("get_program_block_list".into(), operation::DISCOVER),
            };
            json::member_number(&mut draft.detail, "telegram_type", u64::from(kind));
            if draft.operation == operation::PROGRAM_WRITE && body.remaining() > 3 {
                draft.seal(&cx.settings.plant_key, body.rest());
            }
        }
        _ if draft.operation == operation::PROGRAM_WRITE && !body.is_empty() => {
            draft.seal(&cx.settings.plant_key, body.rest());
        }
        _ if draft.operation == operation::WRITE && !body.is_empty() => draft.push_bytes(body.rest()),
        _ => {}
    }
    Ok(())
}

/// The data of a response, by what was asked.
fn response(cx: &mut Cx<'_>, side: Side, mut body: Cursor<'_>, draft: &mut Draft) {
    let (asked, first) = (draft.count(), draft.target.clone());
    let reads = draft.operation == operation::READ;
    let number: Option<u32> = first.get(1..).and_then(|digits| digits.parse().ok());
    let Some((letter, number)) = first.chars().next().zip(number).filter(|_| reads) else {
        match &*draft.function {
            "read_firmware_version" => {
                let text: String =
                    body.rest().iter().filter(|b| b.is_ascii_graphic()).map(|b| char::from(*b)).collect();
                cx.identity(SBUS.name, side, IdentityRow { firmware: &text, ..IdentityRow::default() });
                draft.push_text(&text);
            }
            _ if draft.operation == operation::PROGRAM_READ => {
                draft.seal(&cx.settings.plant_key, body.rest());
            }
            _ if !body.is_empty() => draft.push_bytes(body.rest()),
            _ => {}
        }
        return;
    };
    draft.set_count(0);
    for at in 0..asked {
        let value = if matches!(letter, 'F' | 'I' | 'O') {
            match body.rest().get(at as usize / 8) {
                Some(byte) => f64::from(byte >> (at % 8) & 1),
                None => break,
            }
        } else {
            match body.i32_be("data") {
                Ok(value) => f64::from(value),
                Err(_) => break,
            }
        };
        draft.push_value(value);
        let signal = format!("{letter}{}", number + at);
        cx.measured(side, &signal, "ether_sbus", value, 0);
    }
}

struct Esio {
    exchanges: Exchanges<()>,
    /// By telegram, source and first destination.
    cyclic: Cyclic<(u32, u32, u32)>,
}

impl Esio {
    fn write(&mut self, cx: &mut Cx<'_>, (telegram, source, destination): (u32, u32, u32), tally: Tally) {
        let mut draft = self.exchanges.draft(cx, tally.side, operation::WRITE, "data_transfer");
        draft.time = tally.since;
        json::push_number(&mut draft.session, u64::from(source));
        draft.target = format!("station {destination}");
        draft.set_count(tally.count);
        json::member_number(&mut draft.detail, "telegram", u64::from(telegram));
        json::member_number(&mut draft.detail, "bytes", tally.bytes);
        self.exchanges.one_way(cx, draft);
    }
}

impl Framed for Esio {
    const PROTOCOL: &'static str = ESIO.name;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        if esio(bytes) { Frame::Of(bytes.len()) } else { Frame::Bad("header") }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let mut cursor = Cursor::new(frame);
        cursor.skip(4, "header")?;
        let kind = cursor.u16_be("type")?;
        cursor.skip(6, "header")?;
        if kind == 1 {
            let telegram = cursor.u32_be("telegram")?;
            let source = cursor.u32_be("source")?;
            let transfers = cursor.u8("transfers")?;
            cursor.skip(1, "flags")?;
            let mut first = None;
            for _ in 0..transfers {
                cursor.skip(4, "transfer")?;
                let destination = cursor.u32_be("destination")?;
                first.get_or_insert(destination);
                let length = usize::from(cursor.u16_be("length")?);
                cursor.skip(length, "data")?;
            }
            let key = (telegram, source, first.unwrap_or(0));
            if let Some((key, tally)) = self.cyclic.count(cx, key, side, frame.len()) {
                self.write(cx, key, tally);
            }
            return Ok(());
        }
        let mut draft = self.exchanges.draft(cx, side, operation::DIAGNOSE, "status");
        draft.equipment = side;
        cursor.skip(2, "status_type")?;
        cursor.skip(2, "status_length")?;
        json::push_number(&mut draft.session, u64::from(cursor.u32_be("source")?));
        for name in ["rio_status", "lost_telegrams", "diagnostics", "flags"] {
            if let Ok(value) = cursor.u8(name) {
                json::member_number(&mut draft.detail, name, u64::from(value));
            }
        }
        self.exchanges.one_way(cx, draft);
        Ok(())
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, _side: Side) {}

    fn expire(&mut self, cx: &mut Cx<'_>) {
        while let Some((key, tally)) = self.cyclic.over(cx) {
            self.write(cx, key, tally);
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        while let Some((key, tally)) = self.cyclic.any() {
            self.write(cx, key, tally);
        }
        self.exchanges.close(cx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Transport;
    use crate::testing::{Run, Sample};
    use yagura_event::schema::Kind;

    /// Length, version, type, sequence, attribute.
    const HEADER: usize = 9;

    fn telegram(attribute: u8, sequence: u8, body: &[u8]) -> Vec<u8> {
        let length = (HEADER + body.len() + CRC) as u8;
        let mut out = vec![0, 0, 0, length, 1, 0, 0, sequence, attribute];
        out.extend(body);
        let crc = out.iter().fold(0, |crc, byte| checked(crc, *byte));
        out.extend(crc.to_be_bytes());
        out
    }

    pub fn sbus_sample() -> Sample {
        Sample::udp(vec![
            (Side::Client, telegram(0, 1, &[10, 6, 1, 0, 100])),
            (Side::Server, telegram(1, 1, &[0, 0, 0, 7, 0xff, 0xff, 0xff, 0xfe])),
            (Side::Client, telegram(0, 2, &[10, 11, 2, 0, 5, 2, 0b101])),
            (Side::Server, telegram(2, 2, &[0, 0])),
            (Side::Client, telegram(0, 3, &[10, 67])),
            (Side::Server, telegram(2, 3, &[0, 2])),
        ])
    }

    fn transfer(data: u8) -> Vec<u8> {
        let mut out = b"ESIO\0\x01\0\0\0\x21\x76\x16".to_vec();
        out.extend([0, 0, 0, 24, 0, 0, 0, 13, 1, 0, 0, 0, 0, 92, 0, 0, 0, 1, 0, 1, data]);
        out
    }

    pub fn esio_sample() -> Sample {
        let status = b"ESIO\0\x02\0\0\0\x18\0\0\0\x01\0\x0c\0\0\0\x0d\0\x01\x01\0".to_vec();
        Sample::udp(vec![
            (Side::Client, transfer(1)),
            (Side::Client, transfer(2)),
            (Side::Client, status),
            (Side::Client, transfer(3)),
        ])
    }

    #[test]
    fn registers_flags_and_a_refused_stop() {
        let mut run = Run::over(&SBUS, Transport::Udp);
        for (side, bytes) in sbus_sample().said {
            run.send(side, &bytes);
        }
        run.close();
        assert_eq!(
            run.table(&["operation", "function", "session", "target", "values", "status", "status_code"]),
            [
                "read|read_registers|10|R100|[7,-2]|ok|",
                "write|write_flags|10|F5|[1,0,1]|ok|",
                "control|stop_procedure|10|||denied|nak_password",
            ]
        );
        let samples = run.of(Kind::Sample);
        assert_eq!((samples[1].text("signal"), samples[1].number("value")), ("R101", Some(-2.0)));
    }

    #[test]
    fn programs_are_sealed() {
        let mut run = Run::over(&SBUS, Transport::Udp);
        run.send(Side::Client, &telegram(0, 1, &[10, 35, 3, 0, 0, 1, 1, 2, 3, 4]));
        run.close();
        let row = run.messages()[0];
        assert_eq!((row.text("operation"), row.text("values")), ("program.write", ""));
        assert_eq!(row.number("body_bytes"), Some(8.0));
    }

    #[test]
    fn cyclic_transfers_are_counted() {
        let mut run = Run::over(&ESIO, Transport::Udp);
        for (side, bytes) in esio_sample().said {
            run.send(side, &bytes);
        }
        run.pass(11 * SECOND);
        run.send(Side::Client, &transfer(4));
        run.close();
        assert_eq!(
            run.table(&["function", "session", "target"]),
            ["status|13|", "data_transfer|13|station 1", "data_transfer|13|station 1"]
        );
        let counts: Vec<_> = run.messages().iter().map(|row| row.number("count")).collect();
        assert_eq!(counts[1..], [Some(3.0), Some(1.0)]);
    }
}
