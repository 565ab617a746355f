//! LDAP (RFC 4511) over TCP, and without a connection over UDP (MS-ADTS 6.3.3): who binds and how,
//! what is searched and found, what is changed.
//!
//! A request with its result is one row; what a search finds is counted and named in it. After
//! StartTLS the connection is handed over to TLS. Of a security layer that signs, the messages
//! within are read ([`sasl`]); one that encrypts is said once a connection. Passwords are not shown,
//! nor the values of attributes that hold secrets.
//!
//! The bytes are read with this crate's own ASN.1. The parser `ldap-parser` (version 0.5) was looked
//! at: it refuses names that are no UTF-8, which old clients send, builds a tree of every entry only
//! to be counted, and does not say where a message is cut off.

use yagura_event::clock::{Micros, SECOND};
use yagura_event::vocabulary::{operation, status};

use crate::cursor::{Cursor, Cut};
use crate::exchange::{Draft, Exchanges};
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Probe, Protocol, Side, Transport, asn1, json, tls};

mod bind;
mod filter;
mod names;
mod results;
mod sasl;
#[cfg(test)]
mod tests;
mod updates;

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::tcp(&[389, 3268]), Carrier::udp(&[389])],
    probe,
    start,
    buffer_bytes_max: WHOLE_MAX + 64,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "ldap";
/// The longest message that is read whole: a directory's schema comes in one of some 300 KiB;
/// entries with pictures are longer.
const WHOLE_MAX: usize = 1 << 20;
/// That much is read of longer ones.
const HEAD: usize = 4096;
/// The longest message that is believed.
const MESSAGE_MAX: usize = 1 << 26;
/// A request without a result for that long gets a row of its own: searches may take minutes.
const REPLY_TIMEOUT: Micros = 300 * SECOND;
/// Longest name or text that is shown, in bytes.
const TEXT_BYTES_MAX: usize = 512;
/// Longest list of attributes that is shown, in bytes.
const LIST_BYTES_MAX: usize = 2048;
/// Longest value of an attribute that is shown, in bytes.
const VALUE_BYTES_MAX: usize = 128;

/// Operations by their tag (RFC 4511, 4.2 to 4.14).
mod op {
    pub const BIND: u8 = 0x60;
    pub const BIND_RESULT: u8 = 0x61;
    pub const UNBIND: u8 = 0x42;
    pub const SEARCH: u8 = 0x63;
    pub const ENTRY: u8 = 0x64;
    pub const SEARCH_RESULT: u8 = 0x65;
    pub const REFERENCE: u8 = 0x73;
    pub const MODIFY: u8 = 0x66;
    pub const MODIFY_RESULT: u8 = 0x67;
    pub const ADD: u8 = 0x68;
    pub const ADD_RESULT: u8 = 0x69;
    pub const DELETE: u8 = 0x4a;
    pub const DELETE_RESULT: u8 = 0x6b;
    pub const MODIFY_DN: u8 = 0x6c;
    pub const MODIFY_DN_RESULT: u8 = 0x6d;
    pub const COMPARE: u8 = 0x6e;
    pub const COMPARE_RESULT: u8 = 0x6f;
    pub const ABANDON: u8 = 0x50;
    pub const EXTENDED: u8 = 0x77;
    pub const EXTENDED_RESULT: u8 = 0x78;
    pub const INTERMEDIATE: u8 = 0x79;

    /// Whether a tag is one of them.
    pub fn is_known(tag: u8) -> bool {
        matches!(tag, BIND..=BIND_RESULT | UNBIND | SEARCH..=MODIFY_DN | MODIFY_DN_RESULT..=COMPARE_RESULT)
            && tag != 0x6a
            || matches!(tag, DELETE | ABANDON | REFERENCE | EXTENDED..=INTERMEDIATE)
    }
}

/// One message's parts.
struct Parts<'a> {
    id: u32,
    op: asn1::Element<'a>,
    controls: Option<asn1::Element<'a>>,
    /// Whether all of it is there.
    whole: bool,
}

/// Reads a message's envelope. Of a message that is not whole, what is there of its operation.
fn parts(bytes: &[u8]) -> Result<Parts<'_>, Cut> {
    let fail = |what| Cut { what, at: 0 };
    let asn1::Header::Of(asn1::SEQUENCE, head, length) = asn1::header(bytes) else {
        return Err(fail("message"));
    };
    let whole = length <= bytes.len();
    let mut fields = Cursor::new(&bytes[head.min(bytes.len())..length.min(bytes.len())]);
    let id = asn1::expect(&mut fields, asn1::INTEGER, "message_id")?;
    let id = asn1::integer(id.body).and_then(|id| u32::try_from(id).ok()).ok_or(fail("message_id"))?;
    fields.check(fields.peek().is_some_and(op::is_known), "operation")?;
    let asn1::Header::Of(tag, head, length) = asn1::header(fields.rest()) else {
        return Err(fields.cut("operation"));
    };
    let rest = fields.rest();
    if !whole && length > rest.len() {
        let op = asn1::Element { tag, body: rest.get(head..).unwrap_or_default() };
        return Ok(Parts { id, op, controls: None, whole });
    }
    let op = asn1::element(&mut fields, "operation")?;
    let controls = asn1::optional(&mut fields, 0xa0, "controls")?;
    Ok(Parts { id, op, controls, whole })
}

/// What bytes begin with, where they are a message.
fn message_frame(bytes: &[u8]) -> Frame {
    let (head, length) = match asn1::header(bytes) {
        asn1::Header::Of(asn1::SEQUENCE, head, length) => (head, length),
        asn1::Header::More if bytes.first().is_none_or(|tag| *tag == asn1::SEQUENCE) => return Frame::More,
        _ => return Frame::Bad("message"),
    };
    if !(5..=MESSAGE_MAX).contains(&length) {
        return Frame::Bad("message_length");
    }
    let Some(fields) = bytes.get(head..) else { return Frame::More };
    match *fields {
        [2, count @ 1..=5, ref rest @ ..] => match rest.get(usize::from(count)) {
            Some(tag) if !op::is_known(*tag) => Frame::Bad("operation"),
            Some(_) if length <= WHOLE_MAX => Frame::Of(length),
            Some(_) => Frame::Head(HEAD, (length - HEAD) as u64),
            None => Frame::More,
        },
        [] | [2] => Frame::More,
        _ => Frame::Bad("message_id"),
    }
}

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let bytes = glimpse.bytes;
    let stream = glimpse.transport == Transport::Tcp;
    if bytes.first() == Some(&0) && stream && glimpse.customary {
        // Joined in the middle of a security layer.
        return match sasl::frame(bytes, false, WHOLE_MAX) {
            Frame::Of(_) | Frame::Head(..) => Probe::Yes,
            Frame::More => Probe::More,
            Frame::Bad(_) => Probe::No,
        };
    }
    match message_frame(bytes) {
        Frame::Of(length) if length <= bytes.len() => {
            if parts(bytes).is_ok_and(|parts| begins(&parts.op)) {
                Probe::Yes
            } else {
                Probe::No
            }
        }
        // The beginning of a long one tells as much.
        Frame::Of(_) | Frame::Head(..) if stream && bytes.len() >= 64 => {
            let read = parts(bytes).is_ok_and(|parts| begins(&parts.op));
            if read { Probe::Yes } else { Probe::No }
        }
        Frame::Of(_) | Frame::Head(..) | Frame::More if stream => Probe::More,
        _ => Probe::No,
    }
}

/// Whether an operation begins with what its grammar has there.
fn begins(op: &asn1::Element<'_>) -> bool {
    let body = op.body;
    match op.tag {
        op::UNBIND => body.is_empty(),
        op::DELETE => body.first().is_none_or(|c| *c >= b' '),
        op::ABANDON => (1..=5).contains(&body.len()),
        op::BIND => matches!(*body, [2, 1, 1..=127, 4, ..]),
        op::SEARCH => {
            let mut fields = op.inside();
            asn1::expect(&mut fields, asn1::OCTET_STRING, "base").is_ok()
                && matches!(*fields.rest(), [10, 1, 0..=3, 10, 1, 0..=3, ..])
        }
        op::ENTRY | op::MODIFY | op::ADD | op::MODIFY_DN | op::COMPARE => {
            let mut fields = op.inside();
            let next = match op.tag {
                op::MODIFY_DN => asn1::OCTET_STRING,
                _ => asn1::SEQUENCE,
            };
            match asn1::header(body) {
                asn1::Header::Of(asn1::OCTET_STRING, _, length) if length < body.len() => {
                    asn1::element(&mut fields, "name").is_ok() && fields.peek() == Some(next)
                }
                _ => false,
            }
        }
        op::REFERENCE => body.first() == Some(&asn1::OCTET_STRING),
        op::EXTENDED => matches!(*body, [0x80, length, first, ..] if length > 2 && first.is_ascii_digit()),
        op::INTERMEDIATE => matches!(*body, [0x80 | 0x81, ..]),
        _ => matches!(*body, [10, 1 | 2, ref rest @ ..] if rest.get(1..3).is_some_and(|r| r.contains(&4))),
    }
}

fn start(flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(Ldap {
        stream: flow.transport == Transport::Tcp,
        exchanges: Exchanges::new(NAME, REPLY_TIMEOUT),
        tls: None,
        tls_asked: false,
        layer: false,
        said_opaque: false,
        said: String::new(),
    }))
}

/// A request that waits: its id, and what came of it so far.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Key {
    id: u32,
    references: u32,
    /// The search asks the server what it is.
    root: bool,
}

struct Ldap {
    stream: bool,
    exchanges: Exchanges<Key>,
    /// After StartTLS.
    tls: Option<Box<dyn Dissector>>,
    tls_asked: bool,
    /// A security layer may be in use.
    layer: bool,
    said_opaque: bool,
    /// What the server said of itself last.
    said: String,
}

impl Framed for Ldap {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        if !self.stream {
            return message_frame(bytes);
        }
        match bytes.first() {
            Some(20..=24) if self.tls.is_some() || self.tls_asked => match *bytes {
                [_, 3, 0..=4, high, low, ..] => Frame::Of(5 + usize::from(u16::from_be_bytes([high, low]))),
                [_] | [_, 3] | [_, 3, 0..=4] | [_, 3, 0..=4, _] => Frame::More,
                _ => Frame::Bad("tls_record"),
            },
            Some(_) if self.tls.is_some() => Frame::Bad("tls_record"),
            Some(&asn1::SEQUENCE) | None => message_frame(bytes),
            Some(_) => sasl::frame(bytes, self.layer, WHOLE_MAX),
        }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        match frame.first() {
            Some(&asn1::SEQUENCE) => self.message(cx, side, frame),
            Some(20..=24) if self.tls.is_some() || self.tls_asked => {
                let flow = cx.flow;
                self.tls.get_or_insert_with(|| tls::start(flow)).parse(cx, side, frame);
                Ok(())
            }
            _ => {
                let mut rest = frame.get(sasl::PREFIX..).and_then(sasl::inside).unwrap_or_default();
                if rest.is_empty() && !std::mem::replace(&mut self.said_opaque, true) {
                    cx.opaque(NAME, "LDAP: a security layer encrypts the messages");
                }
                let mut result = Ok(());
                while let asn1::Header::Of(_, _, length) = asn1::header(rest) {
                    let (message, after) = rest.split_at(length.min(rest.len()));
                    result = result.and(self.message(cx, side, message));
                    rest = after;
                }
                result
            }
        }
    }

    fn lost(&mut self, cx: &mut Cx<'_>, side: Side) {
        if let Some(tls) = &mut self.tls {
            tls.gap(cx, side, 1);
        }
    }

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.expire(cx);
        if let Some(tls) = &mut self.tls {
            tls.expire(cx);
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.close(cx);
        if let Some(tls) = &mut self.tls {
            tls.close(cx);
        }
    }
}

impl Ldap {
    fn message(&mut self, cx: &mut Cx<'_>, side: Side, bytes: &[u8]) -> Result<(), Cut> {
        let parts = parts(bytes)?;
        match parts.op.tag {
            op::ENTRY => self.entry(cx, side, &parts),
            op::REFERENCE => self.reference(cx, side, &parts),
            op::BIND_RESULT
            | op::SEARCH_RESULT
            | op::MODIFY_RESULT
            | op::ADD_RESULT
            | op::DELETE_RESULT
            | op::MODIFY_DN_RESULT
            | op::COMPARE_RESULT
            | op::EXTENDED_RESULT => self.result(cx, side, &parts),
            op::INTERMEDIATE => {
                let mut draft =
                    self.exchanges.draft(cx, side.other(), operation::OTHER, "intermediate_response");
                json::member_number(&mut draft.detail, "message", u64::from(parts.id));
                draft.status = status::ONE_WAY;
                self.exchanges.unasked(cx, draft);
            }
            _ => self.request(cx, side, &parts),
        }
        Ok(())
    }

    fn request(&mut self, cx: &mut Cx<'_>, side: Side, parts: &Parts<'_>) {
        let (operation, function) = match parts.op.tag {
            op::BIND => (operation::AUTHENTICATE, "bind"),
            op::UNBIND => (operation::SESSION_CLOSE, "unbind"),
            op::SEARCH => (operation::READ, "search"),
            op::MODIFY => (operation::CONFIGURE, "modify"),
            op::ADD => (operation::CONFIGURE, "add"),
            op::DELETE => (operation::CONFIGURE, "delete"),
            op::MODIFY_DN => (operation::CONFIGURE, "modify_dn"),
            op::COMPARE => (operation::READ, "compare"),
            op::ABANDON => (operation::OTHER, "abandon"),
            _ => (operation::OTHER, "extended"),
        };
        let mut draft = self.exchanges.draft(cx, side, operation, function);
        json::member_number(&mut draft.detail, "message", u64::from(parts.id));
        let mut key = Key { id: parts.id, ..Key::default() };
        let body = parts.op.body;
        let mut fields = parts.op.inside();
        let read = match parts.op.tag {
            op::BIND => self.bind(cx, side, &mut draft, &mut fields),
            op::SEARCH => search(&mut draft, &mut fields),
            op::MODIFY => updates::modify(&mut draft, &mut fields),
            op::ADD => updates::add(&mut draft, &mut fields),
            op::DELETE => {
                draft.target = plain(body);
                Ok(())
            }
            op::MODIFY_DN => updates::modify_dn(&mut draft, &mut fields),
            op::COMPARE => updates::compare(&mut draft, &mut fields),
            op::ABANDON => {
                let which = asn1::integer(body).unwrap_or_default();
                json::member_number(&mut draft.detail, "abandoned", which.unsigned_abs());
                Ok(())
            }
            op::EXTENDED => extended(&mut draft, &mut fields),
            _ => Ok(()),
        };
        if let Err(cut) = read
            && parts.whole
        {
            draft.wrong(cut);
        }
        if !parts.whole {
            json::member_bool(&mut draft.detail, "cut", true);
        }
        if let Some(list) = parts.controls {
            controls(&mut draft, list.inside());
        }
        match parts.op.tag {
            op::UNBIND | op::ABANDON => self.exchanges.one_way(cx, draft),
            tag => {
                key.root = tag == op::SEARCH && draft.operation == operation::DISCOVER;
                self.tls_asked |= draft.function == "start_tls";
                self.exchanges.ask(cx, key, draft);
            }
        }
    }
}

/// A search (4.5.1).
fn search(draft: &mut Draft, fields: &mut Cursor<'_>) -> Result<(), Cut> {
    draft.target = plain(octets(fields, "base_object")?);
    let scope = enumerated(fields, "scope")?;
    let dereference = enumerated(fields, "dereference_aliases")?;
    if draft.target.is_empty() && scope == 0 {
        // The root says what the server is.
        draft.operation = operation::DISCOVER;
    }
    json::member_text(&mut draft.detail, "scope", names::scope(scope));
    json::member_text(&mut draft.detail, "dereference", names::dereference(dereference));
    for (name, what) in [("size_limit", "size_limit"), ("time_limit", "time_limit")] {
        let limit = asn1::integer(asn1::expect(fields, asn1::INTEGER, what)?.body).unwrap_or_default();
        if limit > 0 {
            json::member_number(&mut draft.detail, name, limit.unsigned_abs());
        }
    }
    let types_only = asn1::expect(fields, 0x01, "types_only")?.body;
    if types_only.iter().any(|octet| *octet != 0) {
        json::member_bool(&mut draft.detail, "types_only", true);
    }
    let mut text = String::new();
    let read = filter::push(&mut text, fields);
    json::member_text(&mut draft.detail, "filter", &text);
    read?;
    // Some clients leave an empty list out.
    let Some(list) = asn1::optional(fields, asn1::SEQUENCE, "attributes")? else { return Ok(()) };
    let mut list = list.inside();
    let mut shown = String::new();
    while !list.is_empty() && shown.len() < LIST_BYTES_MAX {
        shown.push(if shown.is_empty() { '[' } else { ',' });
        json::push_text(&mut shown, &plain(octets(&mut list, "attribute")?));
    }
    if !shown.is_empty() {
        shown.push(']');
        json::key(&mut draft.detail, "attributes");
        draft.detail.push_str(&shown);
    }
    Ok(())
}

/// An extended operation (4.12). What it carries is as a rule a new password, and is not shown.
fn extended(draft: &mut Draft, fields: &mut Cursor<'_>) -> Result<(), Cut> {
    let identifier = plain(asn1::expect(fields, 0x80, "request_name")?.body);
    name_extended(draft, &identifier);
    draft.target = identifier;
    Ok(())
}

fn name_extended(draft: &mut Draft, identifier: &str) {
    let Some(name) = names::extended(identifier) else { return };
    draft.function = name.into();
    draft.operation = match name {
        "start_tls" => operation::SESSION_OPEN,
        "notice_of_disconnection" => operation::SESSION_CLOSE,
        "password_modify" => operation::CONFIGURE,
        "who_am_i" => operation::DISCOVER,
        "fast_bind" => operation::AUTHENTICATE,
        _ => operation::OTHER,
    };
}

/// The identifiers of what a request is extended by.
fn controls(draft: &mut Draft, mut list: Cursor<'_>) {
    let mut shown = String::new();
    while shown.len() < LIST_BYTES_MAX
        && let Ok(control) = asn1::expect(&mut list, asn1::SEQUENCE, "control")
        && let Ok(identifier) = octets(&mut control.inside(), "control")
    {
        shown.push(if shown.is_empty() { '[' } else { ',' });
        json::push_text(&mut shown, &plain(identifier));
    }
    if !shown.is_empty() {
        shown.push(']');
        json::key(&mut draft.detail, "controls");
        draft.detail.push_str(&shown);
    }
}

fn octets<'a>(fields: &mut Cursor<'a>, what: &'static str) -> Result<&'a [u8], Cut> {
    asn1::expect(fields, asn1::OCTET_STRING, what).map(|element| element.body)
}

fn enumerated(fields: &mut Cursor<'_>, what: &'static str) -> Result<i64, Cut> {
    let at = fields.cut(what);
    asn1::integer(asn1::expect(fields, 0x0a, what)?.body).ok_or(at)
}

/// A text as it is shown; what is no UTF-8 is replaced.
fn plain(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(TEXT_BYTES_MAX)]).into_owned()
}

/// Appends a value as a JSON text, or as hexadecimal digits where it is none.
fn push_shown(out: &mut String, value: &[u8]) {
    match std::str::from_utf8(value) {
        Ok(text) if !text.chars().any(|c| c.is_control() && !matches!(c, '\r' | '\n' | '\t')) => {
            json::push_text(out, &text[..text.floor_char_boundary(VALUE_BYTES_MAX)]);
        }
        _ => json::push_hex(out, &value[..value.len().min(VALUE_BYTES_MAX / 2)]),
    }
}
