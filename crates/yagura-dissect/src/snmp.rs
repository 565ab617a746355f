//! SNMP versions 1 (RFC 1157), 2c (RFC 1901, RFC 3416) and 3 (RFC 3412, RFC 3414) over UDP and TCP
//! (RFC 3430): variables that are read and set, notifications, why messages of version 3 are refused,
//! and what devices say of themselves (SNMPv2-MIB, ENTITY-MIB, UPS-MIB, Printer-MIB).
//!
//! [`message`] reads the bytes, on this crate's own ASN.1. The parser `snmp-parser` was measured
//! first (version 0.11): it refuses whole messages that are within the standard or that other tools
//! read, namely those with a negative request id (RFC 3416, 3 allows it), a community or a user name
//! that is no UTF-8, a counter written without its leading zero, or one bad variable among good ones,
//! and it does not say where.
//!
//! Communities are secrets and are not shown, except that a default one is named: it is none.

use yagura_event::clock::{Micros, SECOND};
use yagura_event::vocabulary::{operation, status};

use crate::cursor::{Cursor, Cut};
use crate::exchange::{Draft, Exchanges};
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Probe, Protocol, Side, Transport, asn1, json};

mod facts;
mod message;
mod names;
#[cfg(test)]
mod tests;

use facts::Facts;
use message::{Message, Secured, Value, pdu};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::udp(&[PORT, 162]), Carrier::tcp(&[PORT, 162])],
    probe,
    start,
    buffer_bytes_max: MESSAGE_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "snmp";
/// Where agents are asked, by custom.
const PORT: u16 = 161;
/// The longest message that is read, as long as the longest datagram.
const MESSAGE_MAX: usize = 65536;
/// A request without a response for that long gets a row of its own.
const REPLY_TIMEOUT: Micros = 30 * SECOND;
/// Longest list of variables' names in a row, in bytes.
const NAMES_BYTES_MAX: usize = 4096;
/// Longest text that is shown of a user's or context's name, in bytes.
const TEXT_BYTES_MAX: usize = 128;
/// `snmpTrapOID.0`: which notification it is.
const TRAP_OID: &str = "1.3.6.1.6.3.1.1.4.1.0";

fn start(flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(Snmp {
        stream: flow.transport == Transport::Tcp,
        exchanges: Exchanges::new(NAME, REPLY_TIMEOUT),
        facts: [Facts::default(), Facts::default()],
        said_opaque: false,
    }))
}

/// What a stream begins with: a sequence, a version, a community or a header.
fn frame_of(bytes: &[u8]) -> Frame {
    let (head, length) = match asn1::header(bytes) {
        asn1::Header::Of(asn1::SEQUENCE, head, length) => (head, length),
        asn1::Header::More if bytes.first().is_none_or(|tag| *tag == asn1::SEQUENCE) => return Frame::More,
        _ => return Frame::Bad("message"),
    };
    if !(12..=MESSAGE_MAX).contains(&length) {
        return Frame::Bad("message_length");
    }
    match bytes[head..] {
        [2, 1, 0 | 1, 4, ..] | [2, 1, 3, 0x30, ..] => Frame::Of(length),
        [_, _, _, _, ..] => Frame::Bad("version"),
        _ => Frame::More,
    }
}

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let bytes = glimpse.bytes;
    match frame_of(bytes) {
        Frame::Of(length) if length <= bytes.len() => {
            let message = Message::read(&bytes[..length]);
            let read = message.is_ok_and(|message| message.pdu.is_none_or(|pdu| begins(&pdu)));
            if read { Probe::Yes } else { Probe::No }
        }
        Frame::Of(_) | Frame::More if glimpse.transport == Transport::Tcp => Probe::More,
        _ => Probe::No,
    }
}

/// Whether a data unit's numbers are there.
fn begins(unit: &asn1::Element<'_>) -> bool {
    let mut fields = unit.inside();
    match unit.tag {
        pdu::TRAP_1 => message::trap(&mut fields).is_ok(),
        _ => message::numbers(&mut fields).is_ok() && message::variables(&mut fields).is_ok(),
    }
}

/// What a response has in common with its request: the request id, in version 3 the message's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    secured: bool,
    id: i64,
}

struct Snmp {
    stream: bool,
    exchanges: Exchanges<Key>,
    /// What each end said of itself.
    facts: [Facts; 2],
    said_opaque: bool,
}

impl Framed for Snmp {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        // A datagram is one message; what some agents add behind is no second one.
        if self.stream { frame_of(bytes) } else { Frame::Of(bytes.len().max(1)) }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let message = Message::read(frame)?;
        let Some(unit) = message.pdu else {
            self.encrypted(cx, side, &message);
            return Ok(());
        };
        let mut fields = unit.inside();
        if unit.tag == pdu::TRAP_1 {
            return self.trap(cx, side, &message, fields);
        }
        let numbers = message::numbers(&mut fields)?;
        let key = match message.secured {
            Some(secured) => Key { secured: true, id: secured.message },
            None => Key { secured: false, id: numbers.request },
        };
        if matches!(unit.tag, pdu::RESPONSE | pdu::REPORT) {
            self.answer(cx, side, &message, (unit.tag, key), numbers, fields);
        } else {
            self.request(cx, side, &message, (unit.tag, key), numbers, fields);
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

impl Snmp {
    /// A draft with what every message says.
    fn draft(
        &mut self,
        cx: &Cx<'_>,
        asker: Side,
        message: &Message<'_>,
        operation: &'static str,
        function: &'static str,
    ) -> Draft {
        let mut draft = self.exchanges.draft(cx, asker, operation, function);
        let detail = &mut draft.detail;
        let version = match message.version {
            0 => "1",
            1 => "2c",
            _ => "3",
        };
        json::member_text(detail, "version", version);
        match &message.secured {
            Some(secured) => {
                json::key(detail, "message");
                push_signed(detail, secured.message);
                describe(detail, secured);
                json::push_hex_digits(&mut draft.session, secured.engine.get(..32).unwrap_or(secured.engine));
            }
            // That the one in use is everybody's is worth knowing.
            None => match message.community {
                b"public" => json::member_text(detail, "default_community", "public"),
                b"private" => json::member_text(detail, "default_community", "private"),
                _ => {}
            },
        }
        if message.after > 0 {
            json::member_number(detail, "bytes_after", message.after as u64);
        }
        draft
    }

    fn request(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        message: &Message<'_>,
        (tag, key): (u8, Key),
        numbers: message::Numbers,
        fields: Cursor<'_>,
    ) {
        // The first message to an engine that is not known yet asks who it is (RFC 3414, 4).
        let discovers = message.secured.is_some_and(|s| s.engine.is_empty() && !s.authenticated);
        let (operation, function) = match tag {
            pdu::GET if discovers => (operation::DISCOVER, "get_request"),
            pdu::GET => (operation::READ, "get_request"),
            pdu::GET_NEXT => (operation::READ, "get_next_request"),
            pdu::GET_BULK => (operation::READ, "get_bulk_request"),
            pdu::SET => (operation::WRITE, "set_request"),
            pdu::INFORM => (operation::REPORT, "inform_request"),
            _ => (operation::REPORT, "trap"),
        };
        let mut draft = self.draft(cx, side, message, operation, function);
        request_id(&mut draft, numbers.request);
        let notifies = matches!(tag, pdu::INFORM | pdu::TRAP_2);
        if notifies {
            draft.equipment = side;
        }
        if tag == pdu::GET_BULK {
            json::key(&mut draft.detail, "non_repeaters");
            push_signed(&mut draft.detail, numbers.first);
            json::key(&mut draft.detail, "max_repetitions");
            push_signed(&mut draft.detail, numbers.second);
        }
        let (values, list) = match tag {
            pdu::SET => (true, "names"),
            _ if notifies => (true, "names"),
            _ => (false, "asked"),
        };
        self.variables(cx, side, &mut draft, fields, (values, notifies, list));
        if let (pdu::TRAP_2, Some(secured)) = (tag, message.secured) {
            // Who reports on its own names its own engine.
            self.facts[side as usize].engine(secured.engine);
        }
        if notifies {
            self.facts[side as usize].say(cx, side);
        }
        if tag == pdu::TRAP_2 {
            self.exchanges.one_way(cx, draft);
        } else {
            self.exchanges.ask(cx, key, draft);
        }
    }

    fn answer(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        message: &Message<'_>,
        (tag, key): (u8, Key),
        numbers: message::Numbers,
        fields: Cursor<'_>,
    ) {
        let reports = tag == pdu::REPORT;
        let asked = self.exchanges.answered(side, &key);
        let was_asked = asked.is_some();
        let mut draft = match asked {
            Some(mut draft) => {
                if let Some(secured) = message.secured.filter(|_| draft.session.is_empty()) {
                    json::push_hex_digits(
                        &mut draft.session,
                        secured.engine.get(..32).unwrap_or(secured.engine),
                    );
                }
                draft
            }
            None => {
                let (operation, function) =
                    if reports { (operation::ERROR, "report") } else { (operation::READ, "response") };
                let mut draft = self.draft(cx, side.other(), message, operation, function);
                request_id(&mut draft, numbers.request);
                draft
            }
        };
        if let Some(secured) = message.secured {
            self.facts[side as usize].engine(secured.engine);
        }
        if reports {
            report(&mut draft, fields);
        } else if draft.operation == operation::WRITE || draft.function == "inform_request" {
            // The same variables come back.
            self.variables(cx, side, &mut draft, fields, (false, false, ""));
        } else {
            self.variables(cx, side, &mut draft, fields, (true, true, "names"));
        }
        if !reports && numbers.first != 0 {
            if draft.status == status::MALFORMED {
                json::member_text(&mut draft.detail, "answer", &names::error(numbers.first));
            } else {
                draft.deny(names::error(numbers.first));
            }
            json::key(&mut draft.detail, "error_index");
            push_signed(&mut draft.detail, numbers.second);
        }
        self.facts[side as usize].say(cx, side);
        if was_asked {
            self.exchanges.pair(cx, draft);
        } else {
            self.exchanges.unasked(cx, draft);
        }
    }

    /// Version 1 has traps of another form.
    fn trap(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        message: &Message<'_>,
        mut fields: Cursor<'_>,
    ) -> Result<(), Cut> {
        let trap = message::trap(&mut fields)?;
        let mut draft = self.draft(cx, side, message, operation::REPORT, "trap");
        draft.equipment = side;
        let mut enterprise = String::new();
        asn1::push_oid(&mut enterprise, trap.enterprise);
        // As a notification of today it has this name (RFC 3584, 3.1).
        match names::generic_trap(trap.generic) {
            Some(name) => {
                draft.target = format!("1.3.6.1.6.3.1.1.5.{}", trap.generic + 1);
                json::member_text(&mut draft.detail, "notification", name);
            }
            None => draft.target = format!("{enterprise}.0.{}", trap.specific),
        }
        json::member_text(&mut draft.detail, "enterprise", &enterprise);
        if let Ok([a, b, c, d]) = <[u8; 4]>::try_from(trap.agent) {
            json::member_text(&mut draft.detail, "agent", &format!("{a}.{b}.{c}.{d}"));
        }
        json::key(&mut draft.detail, "generic");
        push_signed(&mut draft.detail, trap.generic);
        json::key(&mut draft.detail, "specific");
        push_signed(&mut draft.detail, trap.specific);
        json::member_number(&mut draft.detail, "uptime_ticks", trap.ticks);
        self.variables(cx, side, &mut draft, fields, (true, true, "names"));
        self.facts[side as usize].say(cx, side);
        self.exchanges.one_way(cx, draft);
        Ok(())
    }

    /// What is encrypted tells only whether an answer is due.
    fn encrypted(&mut self, cx: &mut Cx<'_>, side: Side, message: &Message<'_>) {
        let secured = message.secured.unwrap_or_default();
        if !std::mem::replace(&mut self.said_opaque, true) {
            cx.opaque(NAME, "SNMP version 3: data units are encrypted");
        }
        let key = Key { secured: true, id: secured.message };
        if secured.reportable {
            let draft = self.draft(cx, side, message, operation::OTHER, "encrypted_pdu");
            self.exchanges.ask(cx, key, draft);
        } else if let Some(mut draft) = self.exchanges.answered(side, &key) {
            json::member_number(&mut draft.detail, "answer_bytes", secured.encrypted_bytes as u64);
            self.exchanges.pair(cx, draft);
        } else if cx.flow.end(side).port == PORT {
            let draft = self.draft(cx, side.other(), message, operation::OTHER, "encrypted_pdu");
            self.exchanges.unasked(cx, draft);
        } else {
            let mut draft = self.draft(cx, side, message, operation::OTHER, "encrypted_pdu");
            draft.equipment = side;
            self.exchanges.one_way(cx, draft);
        }
    }

    /// Reads variables into the draft: their values if wanted, and their names under `list`, unless
    /// the only one is the target. What cannot be read ends the list and is noted.
    fn variables(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        draft: &mut Draft,
        mut fields: Cursor<'_>,
        (values, says, list): (bool, bool, &'static str),
    ) {
        let read = message::variables(&mut fields).and_then(|mut variables| {
            let mut shown = Shown::default();
            let mut name = String::new();
            if values {
                // What was asked for is counted no longer.
                draft.set_count(0);
            }
            let mut result = Ok(());
            while !variables.is_empty() {
                let (identifier, value) = match message::variable(&mut variables) {
                    Ok(variable) => variable,
                    Err(cut) => {
                        result = Err(cut);
                        break;
                    }
                };
                name.clear();
                asn1::push_oid(&mut name, identifier);
                shown.add(&name, &value);
                if name == TRAP_OID
                    && says
                    && let Value::Name(which) = value
                {
                    draft.target.clear();
                    asn1::push_oid(&mut draft.target, which);
                    if let Some(known) = names::notification(&draft.target) {
                        json::member_text(&mut draft.detail, "notification", known);
                    }
                } else if draft.target.is_empty() {
                    draft.target.push_str(&name);
                }
                if values {
                    push(draft, &value);
                }
                if says {
                    self.facts[side as usize].variable(&name, &value);
                    if let Some(number) = value.number() {
                        cx.measured(side, &name, NAME, number, 0);
                    }
                }
            }
            if !values && list == "asked" {
                draft.set_count(shown.count);
            }
            shown.write(draft, list);
            result
        });
        if let Err(cut) = read
            && draft.status != status::MALFORMED
        {
            draft.wrong(cut);
        }
    }
}

/// The names of a message's variables, as a list.
#[derive(Default)]
struct Shown {
    list: String,
    first: String,
    count: u32,
    cut: bool,
    exception: Option<&'static str>,
    values: bool,
}

impl Shown {
    fn add(&mut self, name: &str, value: &Value<'_>) {
        if self.count == 0 {
            self.first.push_str(name);
        }
        self.count += 1;
        match value {
            Value::Exception(why) => self.exception = self.exception.or(Some(why)),
            _ => self.values = true,
        }
        if self.list.len() + name.len() >= NAMES_BYTES_MAX {
            self.cut = true;
        }
        if !self.cut {
            self.list.push(if self.list.is_empty() { '[' } else { ',' });
            json::push_text(&mut self.list, name);
        }
    }

    fn write(mut self, draft: &mut Draft, list: &'static str) {
        // Nothing but reasons why there is no value: the first of them.
        if let (Some(why), false, "names") = (self.exception, self.values, list) {
            draft.status_code = why.into();
        }
        if list.is_empty() || self.count == 0 || (self.count == 1 && self.first == draft.target) {
            return;
        }
        self.list.push(']');
        // Most answers have the names that were asked for.
        if !draft.detail.contains(&self.list) {
            json::key(&mut draft.detail, list);
            draft.detail.push_str(&self.list);
        }
        if self.cut {
            json::member_bool(
                &mut draft.detail,
                if list == "asked" { "asked_cut" } else { "names_cut" },
                true,
            );
        }
    }
}

/// A report says by one counter why a message was not taken.
fn report(draft: &mut Draft, mut fields: Cursor<'_>) {
    let read = message::variables(&mut fields).and_then(|mut list| message::variable(&mut list));
    let (identifier, _) = match read {
        Ok(variable) => variable,
        Err(cut) => return draft.wrong(cut),
    };
    let mut variable = String::new();
    asn1::push_oid(&mut variable, identifier);
    json::member_text(&mut draft.detail, "report", &variable);
    match names::report(&variable) {
        // Who one is and what time it is there is asked so: no refusal.
        Some((name @ ("usmStatsUnknownEngineIDs" | "usmStatsNotInTimeWindows"), _)) => {
            draft.status_code = name.into();
            if draft.function != "report" {
                draft.operation = operation::DISCOVER;
            }
        }
        Some((name, credentials)) => {
            draft.deny(name);
            if credentials {
                draft.operation = operation::AUTHENTICATE;
            }
        }
        None => draft.deny(variable),
    }
}

/// How a message of version 3 is secured, and for whom.
fn describe(detail: &mut String, secured: &Secured<'_>) {
    let level = match (secured.authenticated, secured.encrypted) {
        (_, true) => "authPriv",
        (true, false) => "authNoPriv",
        (false, false) => "noAuthNoPriv",
    };
    json::member_text(detail, "level", level);
    if secured.model != 3 {
        json::key(detail, "security_model");
        push_signed(detail, secured.model);
    }
    for (name, text) in [("user", secured.user), ("context", secured.context)] {
        if !text.is_empty() {
            let text = &text[..text.len().min(TEXT_BYTES_MAX)];
            json::member_text(detail, name, &String::from_utf8_lossy(text));
        }
    }
    if secured.boots > 0 {
        json::key(detail, "engine_boots");
        push_signed(detail, secured.boots);
    }
}

fn request_id(draft: &mut Draft, id: i64) {
    json::key(&mut draft.detail, "request");
    push_signed(&mut draft.detail, id);
}

fn push_signed(out: &mut String, n: i64) {
    if n < 0 {
        out.push('-');
    }
    json::push_number(out, n.unsigned_abs());
}

fn push(draft: &mut Draft, value: &Value<'_>) {
    /// Up to here every whole number is one of `f64`.
    const EXACT: u64 = 1 << 53;
    let mut text = String::new();
    match *value {
        Value::Signed(n) if n.unsigned_abs() <= EXACT => draft.push_value(n as f64),
        Value::Unsigned(n) | Value::Ticks(n) if n <= EXACT => draft.push_value(n as f64),
        Value::Float(n) => draft.push_value(n),
        Value::Signed(n) => {
            push_signed(&mut text, n);
            draft.push_json(&text);
        }
        Value::Unsigned(n) | Value::Ticks(n) => {
            json::push_number(&mut text, n);
            draft.push_json(&text);
        }
        Value::None | Value::Exception(_) => draft.push_json("null"),
        Value::Octets(bytes) => match facts::text(bytes) {
            Some(text) => draft.push_text(text),
            None => draft.push_bytes(bytes),
        },
        Value::Name(bytes) => {
            asn1::push_oid(&mut text, bytes);
            draft.push_text(&text);
        }
        Value::Address([a, b, c, d]) => draft.push_text(&format!("{a}.{b}.{c}.{d}")),
    }
}
