//! HiSLIP (IVI-6.1, High-Speed LAN Instrument Protocol): commands and queries of test instruments on
//! a synchronous connection, locks, status and clearing on an asynchronous one beside it.

use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::operation;

use crate::cursor::{Cursor, Cut};
use crate::exchange::{Draft, Exchanges};
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Probe, Protocol, Side, json};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::tcp(&[4880])],
    probe,
    start,
    buffer_bytes_max: HEADER + READ_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "hislip";
/// Measurements take their time.
const TIMEOUT: Micros = 60 * SECOND;
/// `HS`, type, control code, parameter, length of the payload.
const HEADER: usize = 16;
/// How much of a payload is read: what is longer is a waveform or a file.
const READ_MAX: usize = 4096;
/// The longest payload that is believed.
const PAYLOAD_MAX: u64 = 1 << 40;
/// The longest response or parameter that is kept.
const TEXT_MAX: usize = 512;

const DATA: u8 = 6;
const DATA_END: u8 = 7;

fn start(_flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(Hislip {
        exchanges: Exchanges::new(NAME, TIMEOUT),
        session: None,
        began: Default::default(),
        opaque: false,
    }))
}

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    match frame(glimpse.bytes) {
        Frame::More => Probe::More,
        Frame::Bad(_) => Probe::No,
        _ => Probe::Yes,
    }
}

fn frame(bytes: &[u8]) -> Frame {
    let common = bytes.len().min(2);
    if bytes[..common] != b"HS"[..common] {
        return Frame::Bad("prologue");
    }
    if bytes.get(2).is_some_and(|kind| message(*kind).is_none()) {
        return Frame::Bad("message_type");
    }
    let Some(header) = bytes.first_chunk::<HEADER>() else {
        return Frame::More;
    };
    let length = header[8..].iter().fold(0_u64, |sum, byte| sum << 8 | u64::from(*byte));
    match length {
        ..=4096 => Frame::Of(HEADER + length as usize),
        4097..=PAYLOAD_MAX => Frame::Head(HEADER + READ_MAX, length - READ_MAX as u64),
        _ => Frame::Bad("payload_length"),
    }
}

/// Name, operation, and the type that answers.
fn message(kind: u8) -> Option<(&'static str, &'static str, Option<u8>)> {
    Some(match kind {
        0 => ("Initialize", operation::SESSION_OPEN, Some(1)),
        1 => ("InitializeResponse", operation::SESSION_OPEN, None),
        2 => ("FatalError", operation::ERROR, None),
        3 => ("Error", operation::ERROR, None),
        4 => ("AsyncLock", operation::CONTROL, Some(5)),
        5 => ("AsyncLockResponse", operation::CONTROL, None),
        DATA => ("Data", operation::WRITE, None),
        DATA_END => ("DataEnd", operation::WRITE, None),
        8 => ("DeviceClearComplete", operation::CONTROL, Some(9)),
        9 => ("DeviceClearAcknowledge", operation::CONTROL, None),
        10 => ("AsyncRemoteLocalControl", operation::CONTROL, Some(11)),
        11 => ("AsyncRemoteLocalResponse", operation::CONTROL, None),
        12 => ("Trigger", operation::CONTROL, None),
        13 => ("Interrupted", operation::ERROR, None),
        14 => ("AsyncInterrupted", operation::ERROR, None),
        15 => ("AsyncMaximumMessageSize", operation::SESSION_OPEN, Some(16)),
        16 => ("AsyncMaximumMessageSizeResponse", operation::SESSION_OPEN, None),
        17 => ("AsyncInitialize", operation::SESSION_OPEN, Some(18)),
        18 => ("AsyncInitializeResponse", operation::SESSION_OPEN, None),
        19 => ("AsyncDeviceClear", operation::CONTROL, Some(23)),
        20 => ("AsyncServiceRequest", operation::REPORT, None),
        21 => ("AsyncStatusQuery", operation::READ, Some(22)),
        22 => ("AsyncStatusResponse", operation::READ, None),
        23 => ("AsyncDeviceClearAcknowledge", operation::CONTROL, None),
        24 => ("AsyncLockInfo", operation::READ, Some(25)),
        25 => ("AsyncLockInfoResponse", operation::READ, None),
        26 => ("GetDescriptors", operation::DISCOVER, Some(27)),
        27 => ("GetDescriptorsResponse", operation::DISCOVER, None),
        28 => ("StartTLS", operation::SESSION_OPEN, None),
        29 => ("AsyncStartTLS", operation::SESSION_OPEN, Some(30)),
        30 => ("AsyncStartTLSResponse", operation::SESSION_OPEN, None),
        31 => ("EndTLS", operation::SESSION_CLOSE, None),
        32 => ("AsyncEndTLS", operation::SESSION_CLOSE, Some(33)),
        33 => ("AsyncEndTLSResponse", operation::SESSION_CLOSE, None),
        34 => ("GetSaslMechanismList", operation::DISCOVER, Some(35)),
        35 => ("GetSaslMechanismListResponse", operation::DISCOVER, None),
        36 => ("AuthenticationStart", operation::AUTHENTICATE, Some(38)),
        37 => ("AuthenticationExchange", operation::AUTHENTICATE, None),
        38 => ("AuthenticationResult", operation::AUTHENTICATE, None),
        // The makers' own.
        0x80.. => ("VendorSpecific", operation::OTHER, None),
        _ => return None,
    })
}

/// Whether a type is a server's answer.
fn answers(kind: u8) -> bool {
    matches!(kind, 1 | 5 | 9 | 11 | 16 | 18 | 22 | 23 | 25 | 27 | 30 | 33 | 35 | 38)
}

struct Hislip {
    /// By the type that answers, and a query's message number.
    exchanges: Exchanges<(u8, u32)>,
    session: Option<u16>,
    /// Bytes of a message that came in parts before its end, by side.
    began: [u64; 2],
    opaque: bool,
}

impl Framed for Hislip {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        frame(bytes)
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let mut cursor = Cursor::new(frame);
        cursor.skip(2, "prologue")?;
        let kind = cursor.u8("message_type")?;
        let control = cursor.u8("control_code")?;
        let parameter = cursor.u32_be("message_parameter")?;
        let length = cursor.u64_be("payload_length")?;
        let payload = cursor.take_rest();
        let Some((name, does, reply)) = message(kind) else {
            return Err(cursor.cut("message_type"));
        };
        if matches!(kind, DATA | DATA_END) {
            self.data(cx, side, (kind, parameter, length), payload);
            return Ok(());
        }
        if matches!(kind, 28 | 30) && !std::mem::replace(&mut self.opaque, true) {
            cx.opaque(NAME, "HiSLIP: encrypted from here on");
        }
        let low = parameter as u16;
        match kind {
            1 | 17 => self.session = Some(low),
            _ => {}
        }
        if answers(kind) {
            let found = self.exchanges.answered(side, &(kind, 0));
            let paired = found.is_some();
            let mut draft = found.unwrap_or_else(|| self.exchanges.draft(cx, side.other(), does, name));
            json::member_number(&mut draft.detail, "reply", u64::from(kind));
            self.answer(kind, control, parameter, payload, &mut draft);
            if paired {
                self.exchanges.pair(cx, draft);
            } else {
                self.exchanges.unasked(cx, draft);
            }
            return Ok(());
        }
        let mut draft = self.exchanges.draft(cx, side, does, name);
        self.name_session(&mut draft);
        json::member_number(&mut draft.detail, "message_type", u64::from(kind));
        let text = || String::from_utf8_lossy(&payload[..payload.len().min(TEXT_MAX)]);
        match kind {
            0 => {
                let [high, low, maker @ ..] = parameter.to_be_bytes();
                json::member_text(&mut draft.detail, "client_version", &format!("{high}.{low}"));
                json::member_text(&mut draft.detail, "vendor", &String::from_utf8_lossy(&maker));
                draft.target.push_str(&text());
            }
            2 | 3 => {
                draft.deny(error(kind, control));
                if !payload.is_empty() {
                    draft.push_text(&text());
                }
                draft.equipment = side;
            }
            4 => {
                let what = if control == 1 { "request" } else { "release" };
                draft.target.push_str(what);
                json::member_bool(&mut draft.detail, "shared", !payload.is_empty());
            }
            10 => draft.target.push_str(match control {
                0 => "disable_remote",
                1 => "enable_remote",
                2 => "disable_remote_and_go_to_local",
                3 => "enable_remote_and_go_to_remote",
                4 => "enable_remote_and_lock_out_local",
                5 => "enable_remote_go_to_remote_and_lock_out_local",
                _ => "go_to_local",
            }),
            20 => {
                draft.push_value(f64::from(control));
                draft.equipment = side;
            }
            36 => draft.target.push_str(&text()),
            _ => {}
        }
        match reply {
            Some(reply) => self.exchanges.ask(cx, (reply, 0), draft),
            None => self.exchanges.one_way(cx, draft),
        }
        Ok(())
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, side: Side) {
        self.began[side as usize] = 0;
    }

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.expire(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.close(cx);
    }
}

impl Hislip {
    fn name_session(&self, draft: &mut Draft) {
        if let Some(session) = self.session {
            json::push_number(&mut draft.session, u64::from(session));
        }
    }

    fn answer(&self, kind: u8, control: u8, parameter: u32, payload: &[u8], draft: &mut Draft) {
        if draft.session.is_empty() {
            self.name_session(draft);
        }
        let detail = &mut draft.detail;
        match kind {
            1 => {
                let [high, low, ..] = parameter.to_be_bytes();
                json::member_text(detail, "server_version", &format!("{high}.{low}"));
                json::member_bool(detail, "overlap_preferred", control & 1 == 1);
                json::member_bool(detail, "encryption_mandatory", control & 2 == 2);
            }
            5 => match control {
                0 => draft.deny("failure"),
                3 => draft.deny("error"),
                _ => {}
            },
            16 => {
                if let Some(size) = payload.first_chunk::<8>() {
                    draft.push_value(u64::from_be_bytes(*size) as f64);
                }
            }
            18 => {
                let maker = (parameter as u16).to_be_bytes();
                json::member_text(detail, "server_vendor", &String::from_utf8_lossy(&maker));
            }
            // The status byte.
            22 => draft.push_value(f64::from(control)),
            25 => {
                json::member_bool(detail, "exclusive_lock", control == 1);
                json::member_number(detail, "lock_holders", u64::from(parameter));
            }
            38 if control != 0 => draft.deny("authentication_failed"),
            _ => {}
        }
    }

    /// A part of a command, a query or an answer, or its end.
    fn data(&mut self, cx: &mut Cx<'_>, side: Side, (kind, number, length): (u8, u32, u64), payload: &[u8]) {
        let began = &mut self.began[side as usize];
        if kind == DATA {
            // Parts are counted; the first of them says what it is about.
            let first = *began == 0;
            *began = began.saturating_add(length);
            if !first || side == Side::Server {
                return;
            }
        }
        let whole = if kind == DATA_END { std::mem::take(began).saturating_add(length) } else { length };
        let continued = kind == DATA_END && whole > length;
        let text = String::from_utf8_lossy(&payload[..payload.len().min(TEXT_MAX)]);
        let text = text.trim_end();
        if side == Side::Server {
            let found = self.exchanges.answered(side, &(DATA_END, number));
            let paired = found.is_some();
            let mut draft = found.unwrap_or_else(|| {
                let mut draft = self.exchanges.draft(cx, side.other(), operation::READ, "DataEnd");
                self.name_session(&mut draft);
                draft
            });
            json::member_number(&mut draft.detail, "reply", u64::from(DATA_END));
            json::member_number(&mut draft.detail, "reply_bytes", whole);
            if !continued && payload.len() <= TEXT_MAX {
                answered(cx, side, text, &mut draft);
            }
            if paired {
                self.exchanges.pair(cx, draft);
            } else {
                self.exchanges.unasked(cx, draft);
            }
            return;
        }
        let (header, parameters) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let query = text.contains('?');
        let does = operation_of(header, query);
        let name = if kind == DATA { "Data" } else { "DataEnd" };
        let mut draft = self.exchanges.draft(cx, side, does, name);
        self.name_session(&mut draft);
        json::member_number(&mut draft.detail, "message_type", u64::from(kind));
        json::member_number(&mut draft.detail, "message_id", u64::from(number));
        if continued {
            json::member_number(&mut draft.detail, "whole_bytes", whole);
        } else {
            draft.target.extend(header.chars().take(TEXT_MAX));
        }
        if header.to_ascii_uppercase().contains("PASS") {
            json::member_bool(&mut draft.detail, "password_presented", !parameters.is_empty());
        } else if does == operation::PROGRAM_WRITE {
            draft.seal(&cx.settings.plant_key, payload);
        } else if !parameters.is_empty() && !continued {
            match parameters.trim().parse::<f64>() {
                Ok(value) => draft.push_value(value),
                Err(_) => draft.push_text(parameters),
            }
        }
        if query && kind == DATA_END {
            draft.set_count(0);
            self.exchanges.ask(cx, (DATA_END, number), draft);
        } else {
            self.exchanges.one_way(cx, draft);
        }
    }
}

/// What an instrument answers: who it is, numbers that are samples, or text.
fn answered(cx: &mut Cx<'_>, side: Side, text: &str, draft: &mut Draft) {
    if draft.target.eq_ignore_ascii_case("*IDN?") {
        let mut parts = text.splitn(4, ',').map(str::trim);
        let mut part = || parts.next().unwrap_or("");
        let (vendor, model, serial, firmware) = (part(), part(), part(), part());
        cx.identity(NAME, side, IdentityRow { vendor, model, serial, firmware, ..IdentityRow::default() });
    }
    let alone = !draft.target.contains(';');
    match text.parse::<f64>() {
        Ok(value) if value.is_finite() => {
            draft.push_value(value);
            if alone && !draft.target.is_empty() {
                cx.measured(side, draft.target.trim_end_matches('?'), "hislip query", value, 0);
            }
        }
        _ => draft.push_text(text),
    }
}

fn operation_of(header: &str, query: bool) -> &'static str {
    let upper = header.to_ascii_uppercase();
    let begins = |list: &[&str]| list.iter().any(|word| upper.trim_start_matches(':').starts_with(word));
    match query {
        true if begins(&["*IDN", "*OPT", "SYST:OPT", "SYSTEM:OPTION"]) => operation::DISCOVER,
        true if begins(&["SYST:ERR", "SYSTEM:ERROR", "*ESR", "*STB", "*TST"]) => operation::DIAGNOSE,
        true => operation::READ,
        false if begins(&["*RST", "*TRG", "*CLS", "*WAI", "INIT", "ABOR", "SYST:PRES", "SYST:REB"]) => {
            operation::CONTROL
        }
        false if begins(&["MMEM:DATA", "MMEMORY:DATA", "DIAG:UPD", "SYST:FIRM"]) => operation::PROGRAM_WRITE,
        false if upper.contains("PASS") => operation::AUTHENTICATE,
        false if begins(&["SYST", "CAL", "*SAV", "*RCL", "MMEM"]) => operation::CONFIGURE,
        false => operation::WRITE,
    }
}

fn error(kind: u8, control: u8) -> &'static str {
    match (kind, control) {
        (2, 1) => "poorly_formed_message_header",
        (2, 2) => "connection_without_both_channels",
        (2, 3) => "invalid_initialization_sequence",
        (2, 4) => "maximum_number_of_clients",
        (2, 5) => "secure_connection_failed",
        (3, 1) => "unrecognized_message_type",
        (3, 2) => "unrecognized_control_code",
        (3, 3) => "unrecognized_vendor_message",
        (3, 4) => "message_too_large",
        (3, 5) => "authentication_failed",
        _ => "unidentified_error",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Run, Sample};
    use yagura_event::schema::Kind;

    fn hs(kind: u8, control: u8, parameter: u32, payload: &[u8]) -> Vec<u8> {
        let mut out = vec![b'H', b'S', kind, control];
        out.extend(parameter.to_be_bytes());
        out.extend((payload.len() as u64).to_be_bytes());
        out.extend(payload);
        out
    }

    pub fn sample() -> Sample {
        Sample::tcp(vec![
            (Side::Client, hs(0, 0, 0x0100_5253, b"hislip0")),
            (Side::Server, hs(1, 0, 0x0100_0007, b"")),
            (Side::Client, hs(7, 0, 0xffff_ff00, b"*IDN?\n")),
            (Side::Server, hs(7, 0, 0xffff_ff00, b"Maker,M-1,42,1.0\n")),
            (Side::Client, hs(7, 0, 0xffff_ff02, b"SOUR:VOLT 3.5\n")),
            (Side::Client, hs(7, 0, 0xffff_ff04, b"MEAS:CURR?\n")),
            (Side::Server, hs(7, 0, 0xffff_ff04, b"1.25E-3\n")),
        ])
    }

    const COLUMNS: [&str; 6] = ["operation", "function", "session", "target", "values", "status"];

    #[test]
    fn queries_commands_and_who_the_instrument_is() {
        let mut run = Run::new(&PROTOCOL);
        for (side, bytes) in sample().said {
            run.send(side, &bytes);
        }
        run.close();
        assert_eq!(
            run.table(&COLUMNS),
            [
                "session.open|Initialize|7|hislip0||ok",
                "discover|DataEnd|7|*IDN?|[\"Maker,M-1,42,1.0\"]|ok",
                "write|DataEnd|7|SOUR:VOLT|[3.5]|one_way",
                "read|DataEnd|7|MEAS:CURR?|[0.00125]|ok",
            ]
        );
        let identity = run.of(Kind::Identity);
        assert_eq!((identity[0].text("model"), identity[0].text("serial")), ("M-1", "42"));
        assert_eq!(run.of(Kind::Sample)[0].text("signal"), "MEAS:CURR");
    }

    #[test]
    fn locks_errors_passwords_and_long_payloads() {
        let mut run = Run::new(&PROTOCOL);
        run.send(Side::Client, &hs(17, 0, 9, b""));
        run.send(Side::Server, &hs(18, 0, 0x5253, b""));
        run.send(Side::Client, &hs(4, 1, 1000, b""));
        run.send(Side::Server, &hs(5, 0, 0, b""));
        run.send(Side::Client, &hs(7, 0, 2, b"SYST:PASS:NEW \"hidden\"\n"));
        run.send(Side::Client, &hs(7, 0, 4, &[b"TRACE:DATA "[..].to_vec(), vec![b'1'; 10_000]].concat()));
        run.send(Side::Server, &hs(2, 4, 0, b"full"));
        run.close();
        assert_eq!(
            run.table(&["operation", "function", "target", "status", "status_code"]),
            [
                "session.open|AsyncInitialize||ok|",
                "control|AsyncLock|request|denied|failure",
                "authenticate|DataEnd|SYST:PASS:NEW|one_way|",
                "write|DataEnd|TRACE:DATA|one_way|",
                "error|FatalError||denied|maximum_number_of_clients",
            ]
        );
        assert!(run.rows.iter().all(|row| !format!("{row:?}").contains("hidden")));
    }
}
