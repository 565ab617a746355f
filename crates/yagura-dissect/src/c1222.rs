//! ANSI C12.22 / IEEE 1703: tables of meters over IP (port 1153). A message is an ACSE element in BER
//! whose user information carries EPSEM: one or several C12.19 table services, in the clear, with an
//! authentication code, or encrypted.

use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::operation;

use crate::asn1::{self, Header};
use crate::cursor::{Cursor, Cut};
use crate::exchange::{Draft, Exchanges};
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Probe, Protocol, Side, Transport, json};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::tcp(&[1153]), Carrier::udp(&[1153])],
    probe,
    start,
    buffer_bytes_max: LENGTH_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "c1222";
/// Meters answer through networks of radios.
const TIMEOUT: Micros = 60 * SECOND;
const LENGTH_MAX: usize = 16 * 1024;
/// The message, in BER: application 0, constructed.
const MESSAGE: u8 = 0x60;
/// Most services of one message that are read.
const SERVICES_MAX: usize = 64;
/// C12.19: the tables of passwords and of keys.
const SECRETS: [u16; 2] = [42, 45];
/// Bytes of the code that authenticates a message.
const MAC: usize = 4;

fn start(_flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(C1222 { exchanges: Exchanges::new(NAME, TIMEOUT), opaque: false }))
}

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let bytes = glimpse.bytes;
    let stream = glimpse.transport == Transport::Tcp;
    match asn1::header(bytes) {
        Header::Of(MESSAGE, head, length) if (8..=LENGTH_MAX).contains(&length) => match bytes.get(head) {
            Some(0xa1..=0xa8) | None if length > bytes.len() && stream => Probe::More,
            Some(_) if length == bytes.len() || length < bytes.len() && stream => {
                if Message::read(&bytes[..length]).is_ok() { Probe::Yes } else { Probe::No }
            }
            _ => Probe::No,
        },
        Header::More if stream && matches!(bytes, [] | [MESSAGE, ..]) => Probe::More,
        _ => Probe::No,
    }
}

/// The elements of a message that are read.
#[derive(Default)]
struct Message<'a> {
    called: &'a [u8],
    calling: &'a [u8],
    called_invocation: Option<u64>,
    calling_invocation: Option<u64>,
    /// Whether a calling authentication value is there.
    authenticated: bool,
    epsem: &'a [u8],
}

fn number(bytes: &[u8]) -> Result<u64, Cut> {
    let mut cursor = Cursor::new(bytes);
    let integer = asn1::expect(&mut cursor, asn1::INTEGER, "invocation_id")?;
    cursor.check(integer.body.len() <= 8, "invocation_id")?;
    Ok(integer.body.iter().fold(0, |sum, octet| sum << 8 | u64::from(*octet)))
}

impl<'a> Message<'a> {
    fn read(frame: &'a [u8]) -> Result<Message<'a>, Cut> {
        let mut outer = Cursor::new(frame);
        let mut cursor = asn1::expect(&mut outer, MESSAGE, "message")?.inside();
        let mut message = Message::default();
        while !cursor.is_empty() {
            let element = asn1::element(&mut cursor, "element")?;
            match element.tag {
                0xa2 => message.called = element.body,
                0xa4 => message.called_invocation = Some(number(element.body)?),
                0xa6 => message.calling = element.body,
                0xa8 => message.calling_invocation = Some(number(element.body)?),
                0xac => message.authenticated = true,
                0xbe => {
                    // EXTERNAL, octet aligned.
                    let mut external =
                        asn1::expect(&mut element.inside(), 0x28, "user_information")?.inside();
                    message.epsem = asn1::expect(&mut external, 0x81, "user_information")?.body;
                }
                // Context, qualifiers, mechanism.
                0xa0 | 0xa1 | 0xa3 | 0xa5 | 0xa7 | 0xa9 | 0x8a | 0x8b => {}
                _ => return Err(cursor.cut("element")),
            }
        }
        cursor.check(!message.epsem.is_empty(), "user_information")?;
        cursor.check(message.calling_invocation.is_some(), "invocation_id")?;
        Ok(message)
    }
}

/// An application process title: absolute, or relative to the network's root.
fn title(out: &mut String, bytes: &[u8]) {
    let mut cursor = Cursor::new(bytes);
    match asn1::element(&mut cursor, "title") {
        Ok(element) if element.tag == asn1::OBJECT_IDENTIFIER => asn1::push_oid(out, element.body),
        Ok(element) => {
            // Relative: every number is an arc.
            let mut value = 0_u64;
            for octet in element.body.iter().take(64) {
                value = value << 7 | u64::from(octet & 0x7f);
                if octet & 0x80 == 0 {
                    out.push('.');
                    json::push_number(out, value);
                    value = 0;
                }
            }
        }
        Err(_) => {}
    }
}

struct C1222 {
    /// By the calling invocation identifier and the place among a message's services.
    exchanges: Exchanges<(u64, usize)>,
    opaque: bool,
}

impl Framed for C1222 {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        match asn1::header(bytes) {
            Header::Of(MESSAGE, _, length) if length <= LENGTH_MAX => Frame::Of(length),
            Header::Of(..) | Header::Bad => Frame::Bad("message"),
            Header::More if bytes.first().is_none_or(|tag| *tag == MESSAGE) => Frame::More,
            Header::More => Frame::Bad("message"),
        }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let message = Message::read(frame)?;
        let mut cursor = Cursor::new(message.epsem);
        let control = cursor.u8("epsem_control")?;
        let class = if control & 0x10 != 0 { Some(cursor.array::<4>("ed_class")?) } else { None };
        let mode = control >> 2 & 3;
        let mut services: Vec<&[u8]> = Vec::new();
        if mode < 2 {
            let end = if mode == 1 { MAC } else { 0 };
            while cursor.remaining() > end && services.len() < SERVICES_MAX {
                let length = match cursor.u8("service_length")? {
                    0x81 => usize::from(cursor.u8("service_length")?),
                    0x82 => usize::from(cursor.u16_be("service_length")?),
                    short => usize::from(short),
                };
                if length > 0 {
                    services.push(cursor.take(length, "service")?);
                }
            }
        } else if !std::mem::replace(&mut self.opaque, true) {
            cx.opaque(NAME, "C12.22: messages are encrypted");
        }
        let code = services.first().and_then(|service| service.first()).copied();
        // What a response answers is named, by devices that keep to the letter; codes below 0x20 are
        // those of responses.
        let reply = code.map_or(message.called_invocation.is_some(), |code| code < 0x20);
        let id = match message.called_invocation {
            Some(called) if reply => called,
            _ => message.calling_invocation.unwrap_or_default(),
        };
        let facts = Facts { message: &message, mode, class, id };
        if services.is_empty() {
            services.push(&[]);
        }
        for (index, service) in services.into_iter().enumerate() {
            if reply {
                self.answer(cx, side, &facts, index, Cursor::new(service));
            } else {
                self.ask(cx, side, &facts, index, (control & 3, Cursor::new(service)));
            }
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

/// What all services of a message share.
struct Facts<'a> {
    message: &'a Message<'a>,
    mode: u8,
    class: Option<[u8; 4]>,
    id: u64,
}

impl Facts<'_> {
    fn tell(&self, draft: &mut Draft, meter: &[u8], other: &[u8]) {
        title(&mut draft.session, meter);
        let mut from = String::new();
        title(&mut from, other);
        let detail = &mut draft.detail;
        json::member_number(detail, "invocation_id", self.id);
        if !from.is_empty() {
            json::member_text(detail, "calling", &from);
        }
        let mode = ["cleartext", "cleartext_authenticated", "ciphertext_authenticated", "reserved"];
        json::member_text(detail, "security_mode", mode[usize::from(self.mode)]);
        if let Some(class) = self.class {
            json::key(detail, "device_class");
            json::push_hex(detail, &class);
        }
        if self.message.authenticated {
            json::member_bool(detail, "authentication_value", true);
        }
    }
}

impl C1222 {
    fn ask(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        facts: &Facts<'_>,
        index: usize,
        (control, mut service): (u8, Cursor<'_>),
    ) {
        let code = service.u8("service").ok();
        let (name, does) = code.map_or(("encrypted", operation::OTHER), known);
        let mut draft = self.exchanges.draft(cx, side, does, name);
        facts.tell(&mut draft, facts.message.called, facts.message.calling);
        if let Some(code) = code {
            json::member_number(&mut draft.detail, "service", u64::from(code));
            if let Err(cut) = request(code, service, &mut draft) {
                draft.wrong(cut);
            }
        }
        if control == 2 {
            self.exchanges.one_way(cx, draft);
        } else {
            self.exchanges.ask(cx, (facts.id, index), draft);
        }
    }

    fn answer(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        facts: &Facts<'_>,
        index: usize,
        mut service: Cursor<'_>,
    ) {
        // Relays carry both ends of a conversation one way: titles tell them apart, addresses do not.
        let key = (facts.id, index);
        let found = self.exchanges.answered(side, &key);
        let found = found.or_else(|| self.exchanges.answered(side.other(), &key));
        let paired = found.is_some();
        let mut draft = found.unwrap_or_else(|| {
            let mut draft = self.exchanges.draft(cx, side.other(), operation::OTHER, "response");
            facts.tell(&mut draft, facts.message.calling, facts.message.called);
            draft
        });
        if let Ok(code) = service.u8("response") {
            json::member_number(&mut draft.detail, "response", u64::from(code));
            if code == 0 {
                if let Err(cut) = response(cx, side, service, &mut draft) {
                    draft.wrong(cut);
                }
            } else {
                draft.deny(refusal(code));
            }
        }
        if paired {
            self.exchanges.pair(cx, draft);
        } else {
            self.exchanges.unasked(cx, draft);
        }
    }
}

fn known(code: u8) -> (&'static str, &'static str) {
    match code {
        0x20 => ("identify", operation::DISCOVER),
        0x21 => ("terminate", operation::SESSION_CLOSE),
        0x22 => ("disconnect", operation::SESSION_CLOSE),
        0x24 => ("deregister", operation::SESSION_CLOSE),
        0x25 => ("resolve", operation::DISCOVER),
        0x26 => ("trace", operation::DISCOVER),
        0x27 => ("register", operation::SESSION_OPEN),
        0x30 => ("full_read", operation::READ),
        0x31..=0x39 => ("partial_read_index", operation::READ),
        0x3e => ("default_read", operation::READ),
        0x3f => ("partial_read_offset", operation::READ),
        0x40 => ("full_write", operation::WRITE),
        0x41..=0x49 => ("partial_write_index", operation::WRITE),
        0x4f => ("partial_write_offset", operation::WRITE),
        0x50 => ("logon", operation::AUTHENTICATE),
        0x51 => ("security", operation::AUTHENTICATE),
        0x52 => ("logoff", operation::SESSION_CLOSE),
        0x53 => ("authenticate", operation::AUTHENTICATE),
        0x60..=0x6b => ("negotiate", operation::SESSION_OPEN),
        0x70 => ("wait", operation::SESSION_KEEP),
        0x71 => ("timing_setup", operation::SESSION_OPEN),
        _ => ("unknown_service", operation::OTHER),
    }
}

fn request(code: u8, mut service: Cursor<'_>, draft: &mut Draft) -> Result<(), Cut> {
    let mut table = |service: &mut Cursor<'_>| -> Result<u16, Cut> {
        let table = service.u16_be("table")?;
        draft.target = format!("table {table}");
        Ok(table)
    };
    match code {
        0x30 | 0x3e => {
            table(&mut service)?;
        }
        0x31..=0x39 => {
            table(&mut service)?;
            for _ in 0..code - 0x30 {
                if service.remaining() > 2 {
                    draft.target.push_str(&format!(".{}", service.u16_be("index")?));
                }
            }
        }
        0x3f => {
            table(&mut service)?;
            let offset = service.u24_be("offset")?;
            draft.set_count(u32::from(service.u16_be("count")?));
            draft.target.push_str(&format!("+{offset}"));
        }
        0x40..=0x49 | 0x4f => {
            let table = table(&mut service)?;
            match code {
                0x40 => {}
                0x4f => draft.target.push_str(&format!("+{}", service.u24_be("offset")?)),
                _ => {
                    for _ in 0..code - 0x40 {
                        draft.target.push_str(&format!(".{}", service.u16_be("index")?));
                    }
                }
            }
            let count = usize::from(service.u16_be("count")?);
            let data = service.take(count, "data")?;
            // C12.19: table 7 starts a procedure.
            if let (7, [low, high, ..]) = (table, data) {
                let number = u16::from_le_bytes([*low, *high]);
                draft.operation = operation::CONTROL;
                let maker = if number & 0x800 != 0 { "manufacturer procedure" } else { "procedure" };
                draft.target = format!("{maker} {}", number & 0x7ff);
            }
            if !SECRETS.contains(&table) {
                draft.push_bytes(data);
            }
        }
        0x50 => {
            let user = service.u16_be("user_id")?;
            let name = String::from_utf8_lossy(service.take(10, "user")?);
            draft.target.push_str(name.trim_end_matches([' ', '\0']));
            json::member_number(&mut draft.detail, "user_id", u64::from(user));
        }
        0x51 => {
            let password = service.take(20, "password")?;
            let empty = password.iter().all(|b| matches!(b, 0 | b' '));
            json::member_bool(&mut draft.detail, "password_presented", true);
            json::member_bool(&mut draft.detail, "password_empty", empty);
        }
        0x25..=0x27 if service.peek() == Some(asn1::OBJECT_IDENTIFIER) => {
            title(&mut draft.target, service.rest());
        }
        _ => {}
    }
    Ok(())
}

fn response(cx: &mut Cx<'_>, side: Side, mut service: Cursor<'_>, draft: &mut Draft) -> Result<(), Cut> {
    match &*draft.function {
        "identify" => {
            let [standard, version, revision] = service.array("standard")?;
            let mut class = String::new();
            while let Some(feature) = service.peek().filter(|feature| *feature != 0) {
                service.skip(1, "feature")?;
                if !matches!(feature, 4 | 5) || service.peek() != Some(asn1::OBJECT_IDENTIFIER) {
                    break;
                }
                let element = asn1::element(&mut service, "device_class")?;
                if feature == 4 {
                    asn1::push_oid(&mut class, element.body);
                }
            }
            let standard = match standard {
                0 => "C12.18",
                2 => "C12.21",
                3 => "C12.22",
                _ => "reserved",
            };
            let detail = format!("{{\"standard\":\"{standard}\",\"version\":\"{version}.{revision}\"}}");
            let serial = draft.session.clone();
            let row =
                IdentityRow { model: &class, serial: &serial, detail: &detail, ..IdentityRow::default() };
            cx.identity(NAME, side, row);
        }
        "full_read" | "partial_read_index" | "partial_read_offset" | "default_read" => {
            let count = usize::from(service.u16_be("count")?);
            let data = service.take(count, "data")?;
            let number = draft.target.strip_prefix("table ").and_then(|t| t.split(['.', '+']).next());
            if number.is_none_or(|t| t.parse().is_ok_and(|t| !SECRETS.contains(&t))) {
                draft.push_bytes(data);
            }
        }
        _ => {}
    }
    Ok(())
}

fn refusal(code: u8) -> &'static str {
    match code {
        0x01 => "error",
        0x02 => "service_not_supported",
        0x03 => "insufficient_security_clearance",
        0x04 => "operation_not_possible",
        0x05 => "inappropriate_action_requested",
        0x06 => "device_busy",
        0x07 => "data_not_ready",
        0x08 => "data_locked",
        0x09 => "renegotiate_request",
        0x0a => "invalid_service_sequence_state",
        0x0b => "security_mechanism_error",
        0x0c => "unknown_application_title",
        0x0d => "network_time_out",
        0x0e => "network_not_reachable",
        0x0f => "request_too_large",
        0x10 => "response_too_large",
        0x11 => "segmentation_not_possible",
        0x12 => "segmentation_error",
        _ => "unknown_response",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Run, Sample};
    use yagura_event::schema::Kind;

    const METER: &[u8] = &[6, 6, 0x60, 0x7c, 0x86, 0xf7, 0x54, 1];
    const HOST: &[u8] = &[0x80, 2, 0x7b, 0x04];

    fn wrapped(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![tag, body.len() as u8];
        out.extend(body);
        out
    }

    fn message(called: &[u8], calling: &[u8], id: u8, answers: Option<u8>, epsem: &[u8]) -> Vec<u8> {
        let mut body = wrapped(0xa2, called);
        if let Some(id) = answers {
            body.extend(wrapped(0xa4, &[2, 1, id]));
        }
        body.extend(wrapped(0xa6, calling));
        body.extend(wrapped(0xa8, &[2, 1, id]));
        body.extend(wrapped(0xbe, &wrapped(0x28, &wrapped(0x81, epsem))));
        wrapped(MESSAGE, &body)
    }

    pub fn sample() -> Sample {
        let identity = [0x80, 12, 0, 3, 1, 0, 4, 6, 4, 0x60, 0x7c, 1, 2, 0];
        // A read of table 1 and a write of a procedure in one message.
        let two = [0x80, 3, 0x30, 0, 1, 9, 0x40, 0, 7, 0, 3, 0x09, 0, 5, 0xf2];
        let answers = [0x80, 6, 0, 0, 2, 0x41, 0x42, 0x7d, 1, 3];
        Sample::tcp(vec![
            (Side::Client, message(METER, HOST, 1, None, &[0x80, 1, 0x20])),
            (Side::Server, message(HOST, METER, 9, Some(1), &identity)),
            (Side::Client, message(METER, HOST, 2, None, &two)),
            (Side::Server, message(HOST, METER, 10, Some(2), &answers)),
            (Side::Client, message(METER, HOST, 3, None, &[0x88, 1, 2, 3, 4, 5, 6, 7])),
            (Side::Server, message(HOST, METER, 11, Some(3), &[0x88, 8, 9, 10, 11, 12, 13])),
        ])
    }

    #[test]
    fn every_service_of_a_message_is_a_row() {
        let mut run = Run::new(&PROTOCOL);
        for (side, bytes) in sample().said {
            run.send(side, &bytes);
        }
        run.close();
        assert_eq!(
            run.table(&["operation", "function", "target", "values", "status", "status_code"]),
            [
                "discover|identify|||ok|",
                "read|full_read|table 1|[\"0x4142\"]|ok|",
                "control|full_write|procedure 9|[\"0x090005\"]|denied|insufficient_security_clearance",
                "other|encrypted|||ok|",
            ]
        );
        assert_eq!(run.messages()[0].text("session"), "2.16.124.113620.1");
        assert_eq!(run.of(Kind::Identity)[0].text("model"), "2.16.124.1.2");
        assert_eq!(run.of(Kind::Coverage).len(), 1);
    }

    #[test]
    fn passwords_are_not_kept() {
        let mut run = Run::new(&PROTOCOL);
        let write = [0x80, 15, 0x40, 0, 42, 0, 9, b's', b'e', b'c', b'r', b'e', b't', 0, 0, 0, 0];
        run.send(Side::Client, &message(METER, HOST, 1, None, &write));
        let logon =
            [&[0x80, 13, 0x50, 0, 2][..], b"operator  ", &[21, 0x51], b"secretsecretsecretse"].concat();
        run.send(Side::Client, &message(METER, HOST, 1, None, &logon));
        run.close();
        assert_eq!(
            run.table(&["operation", "function", "target"]),
            ["write|full_write|table 42", "authenticate|logon|operator", "authenticate|security|"]
        );
        assert!(run.rows.iter().all(|row| !format!("{row:?}").contains("secret")));
        assert_eq!(run.messages()[0].text("values"), "");
    }
}
