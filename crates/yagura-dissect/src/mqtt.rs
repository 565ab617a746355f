//! MQTT 3.1, 3.1.1 and 5.0 (OASIS standards; packet formats of section 2 and 3) over TCP, with
//! Sparkplug B payloads (Eclipse Sparkplug 3.0) inside.
//!
//! A packet and its acknowledgement are one row: CONNECT with CONNACK, PUBLISH of QoS 1 with PUBACK
//! and of QoS 2 with PUBCOMP, SUBSCRIBE with SUBACK. The version and the client's id come from
//! CONNECT; a connection that is met under way is read as 3.1.1.

use std::collections::BTreeMap;

use yagura_event::clock::SECOND;
use yagura_event::vocabulary::operation;

use crate::cursor::{Cursor, Cut};
use crate::exchange::{Draft, Exchanges};
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Probe, Protocol, Side, json};

mod sparkplug;

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::tcp(&[1883])],
    probe,
    start,
    buffer_bytes_max: PACKET_MAX + 5,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "mqtt";

/// Longest packet that is read whole; of a longer PUBLISH the payload is passed over.
const PACKET_MAX: usize = 256 << 10;
/// Bytes of a long PUBLISH that are read: its topic has at most 65,535.
const HEAD_MAX: usize = 66 << 10;
/// Longest payload that is shown as text.
const TEXT_MAX: usize = 512;
/// Most topic aliases of one direction (MQTT 5.0, 3.3.2.3.4).
const ALIASES_MAX: usize = 1024;

const CONNECT: u8 = 1;
const CONNACK: u8 = 2;
const PUBLISH: u8 = 3;
const PUBACK: u8 = 4;
const PUBREC: u8 = 5;
const PUBREL: u8 = 6;
const PUBCOMP: u8 = 7;
const SUBSCRIBE: u8 = 8;
const SUBACK: u8 = 9;
const UNSUBSCRIBE: u8 = 10;
const UNSUBACK: u8 = 11;
const PINGREQ: u8 = 12;
const PINGRESP: u8 = 13;
const DISCONNECT: u8 = 14;
const AUTH: u8 = 15;

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let bytes = glimpse.bytes;
    let Some((length, header)) = remaining_length(bytes) else {
        return if bytes.len() < 5 && frame(bytes) == Frame::More { Probe::More } else { Probe::No };
    };
    if bytes[0] == CONNECT << 4 {
        let body = &bytes[header..];
        return match body {
            [0, 4, b'M', b'Q', b'T', b'T', 3..=5, ..]
            | [0, 6, b'M', b'Q', b'I', b's', b'd', b'p', 3 | 0x83, ..]
                if length >= 12 || (length >= 10 && body[1] == 4) =>
            {
                Probe::Yes
            }
            _ if b"\0\x04MQTT".starts_with(&body[..body.len().min(6)])
                || b"\0\x06MQIsdp".starts_with(&body[..body.len().min(8)]) =>
            {
                Probe::More
            }
            _ => Probe::No,
        };
    }
    // Met under way: believed on its own port when packets fill the bytes.
    if !glimpse.customary {
        return Probe::No;
    }
    if bytes[0] >> 4 == PUBLISH && !matches!(frame(bytes), Frame::Bad(_)) {
        // A long payload would be waited for in vain: its topic is enough.
        let mut cursor = Cursor::new(&bytes[header..]);
        return match string(&mut cursor, "topic").map(std::str::from_utf8) {
            Ok(Ok(topic)) if !topic.is_empty() && !topic.contains(['#', '+', '\0']) => Probe::Yes,
            Err(_) if bytes.len() < 1024 => Probe::More,
            _ => Probe::No,
        };
    }
    let mut at = 0;
    while at < bytes.len() {
        match frame(&bytes[at..]) {
            Frame::Of(length) => at += length,
            Frame::Head(head, after) => at += head + after as usize,
            Frame::More => return Probe::More,
            Frame::Bad(_) => return Probe::No,
        }
    }
    if at == bytes.len() { Probe::Yes } else { Probe::More }
}

fn start(_flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(Mqtt::default()))
}

/// The remaining length of a packet, and where what it counts begins.
fn remaining_length(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut length = 0;
    for (index, &byte) in bytes.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Some((length, index + 2));
        }
    }
    None
}

fn frame(bytes: &[u8]) -> Frame {
    let Some(&first) = bytes.first() else { return Frame::More };
    let (kind, flags) = (first >> 4, first & 15);
    let allowed = match kind {
        0 => false,
        PUBLISH => flags & 6 != 6,
        // MQTT 3.1 sets the duplicate flag of repeated ones.
        PUBREL | SUBSCRIBE | UNSUBSCRIBE => flags & !8 == 2,
        _ => flags == 0,
    };
    if !allowed {
        return Frame::Bad("fixed_header_flags");
    }
    let Some((length, header)) = remaining_length(bytes) else {
        return if bytes.len() < 5 { Frame::More } else { Frame::Bad("remaining_length") };
    };
    let fits = match kind {
        PINGREQ | PINGRESP => length == 0,
        DISCONNECT | AUTH => true,
        CONNECT => length >= 10,
        PUBLISH => length >= 3,
        SUBSCRIBE | UNSUBSCRIBE => length >= 5,
        _ => length >= 2,
    };
    match (fits, kind) {
        (false, _) => Frame::Bad("remaining_length"),
        (true, _) if length <= PACKET_MAX => Frame::Of(header + length),
        (true, PUBLISH) => Frame::Head(header + HEAD_MAX, (length - HEAD_MAX) as u64),
        (true, _) => Frame::Bad("remaining_length"),
    }
}

struct Mqtt {
    /// Protocol level: 3, 4 or 5.
    level: u8,
    client_id: String,
    /// Topics by alias, of each direction.
    aliases: [BTreeMap<u16, String>; 2],
    sparkplug: sparkplug::Nodes,
    exchanges: Exchanges<(u8, u16)>,
}

impl Default for Mqtt {
    fn default() -> Self {
        Mqtt {
            level: 4,
            client_id: String::new(),
            aliases: Default::default(),
            sparkplug: sparkplug::Nodes::default(),
            exchanges: Exchanges::new(NAME, 30 * SECOND),
        }
    }
}

impl Framed for Mqtt {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        frame(bytes)
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let mut cursor = Cursor::new(frame);
        let first = cursor.u8("fixed_header")?;
        let (length, header) = remaining_length(frame).ok_or(cursor.cut("remaining_length"))?;
        cursor.skip(header - 1, "remaining_length")?;
        match first >> 4 {
            CONNECT => self.connect(cx, side, cursor),
            PUBLISH => self.publish(cx, side, first, cursor, length + header - frame.len()),
            SUBSCRIBE => self.subscribe(cx, side, cursor, true),
            UNSUBSCRIBE => self.subscribe(cx, side, cursor, false),
            PINGREQ => {
                let draft = self.draft(cx, side, operation::SESSION_KEEP, "pingreq");
                self.exchanges.ask(cx, (PINGREQ, 0), draft);
                Ok(())
            }
            DISCONNECT => self.lonely(cx, side, cursor, operation::SESSION_CLOSE, "disconnect"),
            AUTH => self.lonely(cx, side, cursor, operation::AUTHENTICATE, "auth"),
            PUBREL => Ok(()),
            kind => self.acknowledged(cx, side, kind, cursor),
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

impl Mqtt {
    fn draft(&mut self, cx: &Cx<'_>, side: Side, operation: &'static str, function: &'static str) -> Draft {
        let mut draft = self.exchanges.draft(cx, side, operation, function);
        draft.session.push_str(&self.client_id);
        draft
    }

    fn connect(&mut self, cx: &mut Cx<'_>, side: Side, mut cursor: Cursor<'_>) -> Result<(), Cut> {
        let name = string(&mut cursor, "protocol_name")?;
        // The highest bit marks a bridge.
        self.level = cursor.u8("protocol_level")? & 0x7f;
        let flags = cursor.u8("connect_flags")?;
        let keep_alive = cursor.u16_be("keep_alive")?;
        let properties = self.properties(&mut cursor)?;
        self.client_id.clear();
        self.client_id.push_str(&String::from_utf8_lossy(string(&mut cursor, "client_id")?));
        let mut draft = self.draft(cx, side, operation::SESSION_OPEN, "connect");
        if flags & 0x04 != 0 {
            self.properties(&mut cursor)?;
            let topic = string(&mut cursor, "will_topic")?;
            let will = string(&mut cursor, "will_message")?;
            json::member_text(&mut draft.detail, "will_topic", &String::from_utf8_lossy(topic));
            json::member_number(&mut draft.detail, "will_bytes", will.len() as u64);
        }
        if flags & 0x80 != 0 {
            let user = string(&mut cursor, "user_name")?;
            draft.operation = operation::AUTHENTICATE;
            draft.target.push_str(&String::from_utf8_lossy(user));
        }
        if flags & 0x40 != 0 {
            let password = string(&mut cursor, "password")?;
            draft.operation = operation::AUTHENTICATE;
            json::member_text(
                &mut draft.detail,
                "password",
                if password.is_empty() { "empty" } else { "given" },
            );
        }
        json::member_text(&mut draft.detail, "protocol", &String::from_utf8_lossy(name));
        json::member_number(&mut draft.detail, "level", u64::from(self.level));
        json::member_number(&mut draft.detail, "keep_alive_s", u64::from(keep_alive));
        json::member_bool(&mut draft.detail, "clean", flags & 2 != 0);
        properties.note(&mut draft.detail);
        self.exchanges.ask(cx, (CONNECT, 0), draft);
        Ok(())
    }

    fn publish(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        first: u8,
        mut cursor: Cursor<'_>,
        not_read: usize,
    ) -> Result<(), Cut> {
        let qos = first >> 1 & 3;
        let topic = string(&mut cursor, "topic")?;
        let id = if qos > 0 { cursor.u16_be("packet_id")? } else { 0 };
        let properties = self.properties(&mut cursor)?;
        let payload = cursor.take_rest();
        let mut draft = self.draft(cx, side, operation::REPORT, "publish");
        draft.target.push_str(&String::from_utf8_lossy(topic));
        if let Some(alias) = properties.topic_alias {
            let aliases = &mut self.aliases[side as usize];
            if topic.is_empty() {
                draft.target.push_str(aliases.get(&alias).map_or("", String::as_str));
            } else if aliases.len() < ALIASES_MAX || aliases.contains_key(&alias) {
                aliases.insert(alias, draft.target.clone());
            }
        }
        // Who publishes is the device, unless a broker hands on.
        draft.equipment = Side::Client;
        json::member_number(&mut draft.detail, "qos", u64::from(qos));
        if first & 1 != 0 {
            json::member_bool(&mut draft.detail, "retain", true);
        }
        if first & 8 != 0 {
            json::member_bool(&mut draft.detail, "dup", true);
        }
        if qos > 0 {
            json::member_number(&mut draft.detail, "packet_id", u64::from(id));
        }
        json::member_number(&mut draft.detail, "bytes", (payload.len() + not_read) as u64);
        properties.note(&mut draft.detail);
        if !self.sparkplug.read(cx, side, payload, &mut draft) {
            show(cx, side, payload, &mut draft);
        }
        if qos == 0 {
            self.exchanges.one_way(cx, draft);
        } else {
            self.exchanges.ask(cx, (PUBLISH, id), draft);
        }
        Ok(())
    }

    fn subscribe(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        mut cursor: Cursor<'_>,
        subscribe: bool,
    ) -> Result<(), Cut> {
        let id = cursor.u16_be("packet_id")?;
        self.properties(&mut cursor)?;
        let mut draft = match subscribe {
            true => self.draft(cx, side, operation::READ, "subscribe"),
            false => self.draft(cx, side, operation::OTHER, "unsubscribe"),
        };
        json::member_number(&mut draft.detail, "packet_id", u64::from(id));
        let mut filters = 0;
        while !cursor.is_empty() {
            let filter = string(&mut cursor, "topic_filter")?;
            if subscribe {
                cursor.u8("subscription_options")?;
            }
            if filters == 0 {
                draft.target.push_str(&String::from_utf8_lossy(filter));
            }
            filters += 1;
            draft.push_text(&String::from_utf8_lossy(filter));
        }
        let kind = if subscribe { SUBSCRIBE } else { UNSUBSCRIBE };
        self.exchanges.ask(cx, (kind, id), draft);
        Ok(())
    }

    /// A packet that needs no answer.
    fn lonely(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        mut cursor: Cursor<'_>,
        operation: &'static str,
        function: &'static str,
    ) -> Result<(), Cut> {
        let mut draft = self.draft(cx, side, operation, function);
        if !cursor.is_empty() {
            let code = cursor.u8("reason_code")?;
            if !cursor.is_empty() {
                self.properties(&mut cursor)?.note(&mut draft.detail);
            }
            if code >= 0x80 {
                draft.deny(reason(code));
            }
        }
        self.exchanges.one_way(cx, draft);
        Ok(())
    }

    fn acknowledged(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        kind: u8,
        mut cursor: Cursor<'_>,
    ) -> Result<(), Cut> {
        let (asked, name) = match kind {
            CONNACK => (CONNECT, "connack"),
            PUBACK => (PUBLISH, "puback"),
            PUBREC => (PUBLISH, "pubrec"),
            PUBCOMP => (PUBLISH, "pubcomp"),
            SUBACK => (SUBSCRIBE, "suback"),
            UNSUBACK => (UNSUBSCRIBE, "unsuback"),
            _ => (PINGREQ, "pingresp"),
        };
        let mut code = 0;
        let mut id = 0;
        match kind {
            CONNACK => {
                cursor.u8("connack_flags")?;
                code = cursor.u8("reason_code")?;
            }
            PINGRESP => {}
            _ => {
                id = cursor.u16_be("packet_id")?;
                if matches!(kind, SUBACK | UNSUBACK) {
                    self.properties(&mut cursor)?;
                    // The worst of the filters' codes.
                    code = cursor.take_rest().iter().copied().max().unwrap_or(0);
                } else if !cursor.is_empty() {
                    code = cursor.u8("reason_code")?;
                }
            }
        }
        let refused = code >= 0x80 || (kind == CONNACK && code > 0);
        if kind == PUBREC && !refused {
            return Ok(());
        }
        let answer = match kind {
            CONNACK if self.level < 5 => connect_return(code),
            _ => reason(code),
        };
        match self.exchanges.answered(side, &(asked, id)) {
            Some(mut draft) => {
                if refused {
                    draft.deny(answer);
                }
                self.exchanges.pair(cx, draft);
            }
            None => {
                let mut draft = self.draft(cx, side.other(), operation::OTHER, name);
                if refused {
                    draft.deny(answer);
                }
                if id > 0 {
                    json::member_number(&mut draft.detail, "packet_id", u64::from(id));
                }
                self.exchanges.unasked(cx, draft);
            }
        }
        Ok(())
    }

    /// Reads the properties of a packet of MQTT 5 (2.2.2); there are none before.
    fn properties<'a>(&self, cursor: &mut Cursor<'a>) -> Result<Properties<'a>, Cut> {
        let mut out = Properties::default();
        if self.level < 5 {
            return Ok(out);
        }
        let length = variable_number(cursor, "property_length")?;
        let mut part = cursor.part(length, "properties")?;
        while !part.is_empty() {
            match variable_number(&mut part, "property_id")? {
                0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2a => part.skip(1, "property")?,
                0x13 | 0x21 | 0x22 => part.skip(2, "property")?,
                0x23 => out.topic_alias = Some(part.u16_be("topic_alias")?),
                0x02 | 0x11 | 0x18 | 0x27 => part.skip(4, "property")?,
                0x0b => {
                    variable_number(&mut part, "subscription_id")?;
                }
                0x03 => out.content_type = string(&mut part, "content_type")?,
                0x08 => out.response_topic = string(&mut part, "response_topic")?,
                0x15 => out.authentication = string(&mut part, "authentication_method")?,
                0x1f => out.reason = string(&mut part, "reason_string")?,
                0x26 => {
                    string(&mut part, "user_property")?;
                    string(&mut part, "user_property")?;
                    out.user_properties += 1;
                }
                0x09 | 0x12 | 0x16 | 0x1a | 0x1c => {
                    string(&mut part, "property")?;
                }
                _ => return Err(part.cut("property_id")),
            }
        }
        Ok(out)
    }
}

/// What of a packet's properties is worth keeping.
#[derive(Default)]
struct Properties<'a> {
    topic_alias: Option<u16>,
    content_type: &'a [u8],
    response_topic: &'a [u8],
    authentication: &'a [u8],
    reason: &'a [u8],
    user_properties: u64,
}

impl Properties<'_> {
    fn note(&self, detail: &mut String) {
        for (name, text) in [
            ("content_type", self.content_type),
            ("response_topic", self.response_topic),
            ("authentication_method", self.authentication),
            ("reason", self.reason),
        ] {
            if !text.is_empty() {
                json::member_text(detail, name, &String::from_utf8_lossy(text));
            }
        }
        if self.user_properties > 0 {
            json::member_number(detail, "user_properties", self.user_properties);
        }
    }
}

/// Shows a payload that is a number or a short text, and measures the number.
fn show(cx: &mut Cx<'_>, side: Side, payload: &[u8], draft: &mut Draft) {
    let Ok(text) = std::str::from_utf8(payload) else { return };
    match text.trim().parse::<f64>() {
        Ok(value) if value.is_finite() => {
            draft.push_value(value);
            if side == Side::Client {
                cx.measured(side, &draft.target, "mqtt", value, 0);
            }
        }
        _ if !text.is_empty() && text.len() <= TEXT_MAX => draft.push_text(text),
        _ => {}
    }
}

fn string<'a>(cursor: &mut Cursor<'a>, what: &'static str) -> Result<&'a [u8], Cut> {
    let length = cursor.u16_be(what)?;
    cursor.take(usize::from(length), what)
}

fn variable_number(cursor: &mut Cursor<'_>, what: &'static str) -> Result<usize, Cut> {
    let mut value = 0;
    for index in 0..4 {
        let byte = cursor.u8(what)?;
        value |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(cursor.cut(what))
}

/// Return codes of CONNACK before MQTT 5 (3.1.1, table 3.1).
fn connect_return(code: u8) -> &'static str {
    match code {
        0 => "accepted",
        1 => "unacceptable_protocol_version",
        2 => "identifier_rejected",
        3 => "server_unavailable",
        4 => "bad_user_name_or_password",
        5 => "not_authorized",
        _ => "reserved",
    }
}

/// Reason codes (5.0, 2.4), and the failure of SUBACK in 3.1.1.
fn reason(code: u8) -> &'static str {
    match code {
        0x80 => "unspecified_error",
        0x81 => "malformed_packet",
        0x82 => "protocol_error",
        0x83 => "implementation_specific_error",
        0x84 => "unsupported_protocol_version",
        0x85 => "client_identifier_not_valid",
        0x86 => "bad_user_name_or_password",
        0x87 => "not_authorized",
        0x88 => "server_unavailable",
        0x89 => "server_busy",
        0x8a => "banned",
        0x8b => "server_shutting_down",
        0x8c => "bad_authentication_method",
        0x8d => "keep_alive_timeout",
        0x8e => "session_taken_over",
        0x8f => "topic_filter_invalid",
        0x90 => "topic_name_invalid",
        0x91 => "packet_identifier_in_use",
        0x92 => "packet_identifier_not_found",
        0x93 => "receive_maximum_exceeded",
        0x94 => "topic_alias_invalid",
        0x95 => "packet_too_large",
        0x96 => "message_rate_too_high",
        0x97 => "quota_exceeded",
        0x98 => "administrative_action",
        0x99 => "payload_format_invalid",
        0x9a => "retain_not_supported",
        0x9b => "qos_not_supported",
        0x9c => "use_another_server",
        0x9d => "server_moved",
        0x9e => "shared_subscriptions_not_supported",
        0x9f => "connection_rate_exceeded",
        0xa0 => "maximum_connect_time",
        0xa1 => "subscription_identifiers_not_supported",
        0xa2 => "wildcard_subscriptions_not_supported",
        0..=0x7f => "success",
        _ => "reserved",
    }
}

#[cfg(test)]
mod tests;
