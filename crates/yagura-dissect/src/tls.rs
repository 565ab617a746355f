//! TLS (RFC 5246, RFC 8446) over TCP: the handshake is read, what follows is encrypted.
//!
//! A handshake is one row: who was asked for (SNI), what was offered and chosen, the certificates,
//! fingerprints of the client (JA3, JA4). It is written when both sides encrypt, when an alert ends
//! it, or when the connection does. Alerts outside a handshake are rows of their own.

use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::{operation, status};

use crate::cursor::{Cursor, Cut};
use crate::exchange::{Draft, Exchanges};
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Probe, Protocol, Side, json};

mod hello;
mod names;
mod v2;
mod x509;

use hello::Hello;
use x509::Certificate;

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::tcp(&[443, 636, 853, 989, 990, 992, 993, 995, 3269, 4843, 5061, 8443, 8883, 19999])],
    probe,
    start,
    buffer_bytes_max: HEADER + RECORD_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "tls";
const HEADER: usize = 5;
/// The largest record with its expansion (RFC 5246, 6.2.3).
const RECORD_MAX: usize = 16384 + 2048;
/// Most bytes of one handshake message: certificate lists are the longest.
const HANDSHAKE_BYTES_MAX: usize = 1 << 19;
/// Most certificates of a list that are fingerprinted.
const CHAIN_MAX: usize = 10;
/// A handshake that takes longer is written as it is.
const TIMEOUT: Micros = 60 * SECOND;

/// Starts a connection; protocols that go over to TLS hand the rest of theirs to it.
pub(crate) fn start(_flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(Tls {
        exchanges: Exchanges::new(NAME, TIMEOUT),
        handshake: None,
        directions: Default::default(),
        said_opaque: false,
    }))
}

/// A header that a record may have.
fn record(bytes: &[u8]) -> Frame {
    match *bytes {
        [kind, ..] if !(20..=24).contains(&kind) => Frame::Bad("record_type"),
        [_, major, ..] if major != 3 => Frame::Bad("record_version"),
        [_, _, minor, ..] if minor > 4 => Frame::Bad("record_version"),
        [_, _, _, high, low, ..] => match usize::from(high) << 8 | usize::from(low) {
            length if length > RECORD_MAX => Frame::Bad("record_length"),
            length => Frame::Of(HEADER + length),
        },
        _ => Frame::More,
    }
}

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let bytes = glimpse.bytes;
    if glimpse.side == Side::Client && bytes.first().is_some_and(|first| *first >= 0x80) {
        return match v2::is_client_hello(bytes) {
            Some(true) => Probe::Yes,
            Some(false) => Probe::No,
            None => Probe::More,
        };
    }
    let Frame::Of(length) = record(bytes) else {
        return if bytes.is_empty() || record(bytes) == Frame::More { Probe::More } else { Probe::No };
    };
    match *bytes {
        [22, _, _, _, _, kind @ (1 | 2), high, middle, low, major, _, ..] => {
            let stated = u32::from_be_bytes([0, high, middle, low]) as usize;
            let client = kind == 1;
            let fits =
                (38..HANDSHAKE_BYTES_MAX).contains(&stated) && (client || stated + 4 <= length - HEADER);
            if fits && (major == 3 || (!client && major == 0x7f)) { Probe::Yes } else { Probe::No }
        }
        [22, _, _, _, _, kind, ..] if !matches!(kind, 1 | 2) => Probe::No,
        [22, ..] if length >= HEADER + 11 => Probe::More,
        // Under way: two records in a row.
        [23, _, 1..=3, ..] if length > HEADER + 16 => match bytes.get(length..) {
            Some(next)
                if matches!(next, [23, 3, minor, ..] if *minor == bytes[2])
                    && matches!(record(next), Frame::Of(_)) =>
            {
                Probe::Yes
            }
            Some([_, ..]) => Probe::No,
            _ if glimpse.customary => Probe::Yes,
            _ => Probe::More,
        },
        _ => Probe::No,
    }
}

#[derive(Default)]
struct Direction {
    /// What this side sends is encrypted.
    opaque: bool,
    /// Something of it was read.
    begun: bool,
    /// Records are missing: a handshake message may begin in the middle.
    broken: bool,
    /// The handshake message that is not whole yet.
    unread: Vec<u8>,
}

/// A handshake under way.
struct Handshake {
    draft: Draft,
    client: Hello,
    version: u16,
    server_hello: bool,
    server_done: bool,
    cipher: String,
}

impl Handshake {
    fn new(draft: Draft, client: Hello) -> Handshake {
        Handshake {
            draft,
            client,
            version: 0,
            server_hello: false,
            server_done: false,
            cipher: String::new(),
        }
    }
}

struct Tls {
    exchanges: Exchanges<()>,
    handshake: Option<Box<Handshake>>,
    directions: [Direction; 2],
    said_opaque: bool,
}

impl Framed for Tls {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, side: Side, bytes: &[u8]) -> Frame {
        match self.form(side, bytes) {
            Form::Opaque | Form::Text => Frame::Of(bytes.len().max(1)),
            Form::V2 => v2::record(bytes),
            Form::Record => record(bytes),
        }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let form = self.form(side, frame);
        self.directions[side as usize].begun = true;
        match form {
            Form::Opaque => return Ok(()),
            Form::Text => {
                self.refused(cx, side);
                return Ok(());
            }
            Form::V2 => return self.old(cx, side, frame),
            Form::Record => {}
        }
        let (kind, body) = (frame[0], &frame[HEADER..]);
        match kind {
            20 => self.change_cipher_spec(cx, side),
            21 => self.alert(cx, side, body),
            22 => return self.records(cx, side, body),
            23 => self.application_data(cx, side),
            _ => self.heartbeat(cx, side, body),
        }
        Ok(())
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, side: Side) {
        let direction = &mut self.directions[side as usize];
        direction.unread = Vec::new();
        direction.broken = true;
        direction.begun = true;
    }

    fn expire(&mut self, cx: &mut Cx<'_>) {
        if self.handshake.as_ref().is_some_and(|h| cx.time - h.draft.time > TIMEOUT) {
            self.unfinished(cx);
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.unfinished(cx);
    }
}

/// What unread bytes are.
enum Form {
    Record,
    /// A record of SSL 2.0.
    V2,
    /// Text instead of an answer.
    Text,
    Opaque,
}

impl Tls {
    fn form(&self, side: Side, bytes: &[u8]) -> Form {
        let direction = &self.directions[side as usize];
        let asked = self.handshake.as_ref().filter(|h| h.draft.asker != side && !h.server_hello);
        match bytes.first() {
            _ if direction.opaque => Form::Opaque,
            _ if self.handshake.as_ref().is_some_and(|h| h.version == v2::VERSION) => Form::V2,
            Some(0x80..) if !direction.begun && side == Side::Client && self.handshake.is_none() => {
                if v2::is_client_hello(bytes) == Some(false) {
                    Form::Record
                } else {
                    Form::V2
                }
            }
            Some(b' '..=b'~' | b'\r' | b'\n') if !direction.begun && asked.is_some() => Form::Text,
            _ => Form::Record,
        }
    }

    /// The other end does not speak TLS: it greets or complains in words.
    fn refused(&mut self, cx: &mut Cx<'_>, side: Side) {
        self.directions[side as usize].opaque = true;
        let Some(mut handshake) = self.handshake.take() else { return };
        handshake.draft.deny("answered_without_tls");
        json::member_bool(&mut handshake.draft.detail, "established", false);
        self.exchanges.pair(cx, handshake.draft);
    }

    /// A message of SSL 2.0.
    fn old(&mut self, cx: &mut Cx<'_>, side: Side, record: &[u8]) -> Result<(), Cut> {
        match (v2::read(record)?, self.handshake.as_deref_mut()) {
            (v2::Message::ClientHello { version, ciphers }, None) => {
                let mut draft = self.exchanges.draft(cx, side, operation::SESSION_OPEN, "handshake");
                for kind in ciphers {
                    draft.push_text(&v2::cipher(kind));
                }
                json::key(&mut draft.detail, "offered_versions");
                push_list(&mut draft.detail, [names::version(version).as_str()].into_iter());
                let mut handshake = Handshake::new(draft, Hello::default());
                // With any other version the answer is a TLS record.
                if version == v2::VERSION {
                    handshake.version = version;
                }
                self.handshake = Some(Box::new(handshake));
            }
            (v2::Message::ServerHello { certificate, resumed: again }, Some(handshake)) => {
                handshake.server_hello = true;
                json::member_text(&mut handshake.draft.detail, "version", &names::version(v2::VERSION));
                if !certificate.is_empty() {
                    own_certificate(cx, handshake, side, certificate);
                }
                self.directions[side as usize].opaque = true;
                if again {
                    resumed(handshake);
                    self.encrypted(cx, side.other());
                }
            }
            (v2::Message::MasterKey { cipher }, Some(handshake)) => {
                handshake.cipher = v2::cipher(cipher);
                json::member_text(&mut handshake.draft.detail, "cipher", &handshake.cipher);
                self.encrypted(cx, side);
            }
            _ => {}
        }
        Ok(())
    }

    /// Handshake messages in records, as they are cut.
    fn records(&mut self, cx: &mut Cx<'_>, side: Side, body: &[u8]) -> Result<(), Cut> {
        let direction = &mut self.directions[side as usize];
        if direction.broken && direction.unread.is_empty() {
            let begins = matches!(*body, [1 | 2 | 11, a, b, c, ..] if u32::from_be_bytes([0, a, b, c]) as usize + 4 <= body.len());
            if !begins {
                return Ok(());
            }
            direction.broken = false;
        }
        let mut unread = std::mem::take(&mut direction.unread);
        unread.extend_from_slice(body);
        let mut at = 0;
        let mut result = Ok(());
        while let [kind, a, b, c, ..] = unread[at..] {
            let length = u32::from_be_bytes([0, a, b, c]) as usize;
            if length > HANDSHAKE_BYTES_MAX {
                at = unread.len();
                // What follows is its rest.
                self.directions[side as usize].broken = true;
                result = Err(Cut { what: "handshake_length", at: 1 });
                break;
            }
            let Some(message) = unread.get(at + 4..at + 4 + length) else { break };
            let read = self.message(cx, side, kind, message);
            result = result.and(read);
            at += 4 + length;
        }
        if at == unread.len() {
            unread = Vec::new();
        } else {
            unread.drain(..at);
        }
        self.directions[side as usize].unread = unread;
        result
    }

    fn message(&mut self, cx: &mut Cx<'_>, side: Side, kind: u8, body: &[u8]) -> Result<(), Cut> {
        match (kind, self.handshake.as_deref_mut()) {
            (1, _) => self.client_hello(cx, side, body),
            (2, _) => self.server_hello(cx, side, body),
            (11, Some(handshake)) => certificates(cx, handshake, side, body),
            (12, Some(handshake)) => {
                if let [3, high, low, ..] = *body
                    && handshake.cipher.contains("ECDH")
                {
                    group(&mut handshake.draft, u16::from_be_bytes([high, low]));
                }
                Ok(())
            }
            (13, Some(handshake)) => {
                json::member_bool(&mut handshake.draft.detail, "client_certificate_asked", true);
                Ok(())
            }
            (14, Some(handshake)) => {
                handshake.server_done = true;
                Ok(())
            }
            (22, Some(handshake)) => {
                json::member_bool(&mut handshake.draft.detail, "ocsp_stapled", true);
                Ok(())
            }
            (0 | 4 | 12..=16 | 20..=24, _) | (11, None) => Ok(()),
            _ => Err(Cut { what: "handshake_type", at: 0 }),
        }
    }

    fn client_hello(&mut self, cx: &mut Cx<'_>, side: Side, body: &[u8]) -> Result<(), Cut> {
        let hello = Hello::client(body)?;
        if self.handshake.as_ref().is_some_and(|h| !h.server_hello && h.version != 0) {
            // The second one, which a HelloRetryRequest asked for.
            return Ok(());
        }
        self.unfinished(cx);
        let mut draft = self.exchanges.draft(cx, side, operation::SESSION_OPEN, "handshake");
        draft.target.push_str(&hello.server_name);
        for cipher in hello.real_ciphers() {
            match names::cipher(cipher) {
                Some(name) => draft.push_text(name),
                None => draft.push_text(&format!("0x{cipher:04x}")),
            }
        }
        let detail = &mut draft.detail;
        json::key(detail, "offered_versions");
        let offered: Vec<String> = if hello.versions.is_empty() {
            vec![names::version(hello.legacy_version)]
        } else {
            hello.versions.iter().filter(|v| *v & 0x0f0f != 0x0a0a).map(|v| names::version(*v)).collect()
        };
        push_list(detail, offered.iter().map(String::as_str));
        if !hello.server_name.is_empty() {
            json::member_text(detail, "server_name", &hello.server_name);
        }
        if !hello.alpn.is_empty() {
            json::key(detail, "offered_alpn");
            push_list(detail, hello.alpn.iter().map(String::as_str));
        }
        json::member_text(detail, "ja3", &hello.ja3());
        json::member_text(detail, "ja4", &hello.ja4());
        for (name, set) in [
            ("encrypted_client_hello", hello.encrypted_client_hello),
            ("early_data", hello.early_data),
            ("offers_ticket", hello.ticket),
            ("offers_pre_shared_key", hello.pre_shared_key),
        ] {
            if set {
                json::member_bool(detail, name, true);
            }
        }
        self.handshake = Some(Box::new(Handshake::new(draft, hello)));
        Ok(())
    }

    fn server_hello(&mut self, cx: &mut Cx<'_>, side: Side, body: &[u8]) -> Result<(), Cut> {
        let hello = Hello::server(body)?;
        if self.handshake.is_none() {
            let draft = self.exchanges.draft(cx, side.other(), operation::SESSION_OPEN, "handshake");
            self.handshake = Some(Box::new(Handshake::new(draft, Hello::default())));
        }
        let Some(handshake) = self.handshake.as_deref_mut() else { return Ok(()) };
        if handshake.server_hello || handshake.draft.asker == side {
            return Err(Cut { what: "handshake_type", at: 0 });
        }
        handshake.version = hello.version();
        let tls13 = is_13(hello.version());
        let detail = &mut handshake.draft.detail;
        if hello.retry {
            json::member_bool(detail, "hello_retry", true);
            return Ok(());
        }
        handshake.server_hello = true;
        let cipher = hello.ciphers.first().copied().unwrap_or(0);
        handshake.cipher = names::cipher(cipher).map_or_else(|| format!("0x{cipher:04x}"), str::to_string);
        json::member_text(detail, "version", &names::version(hello.version()));
        json::member_text(detail, "cipher", &handshake.cipher);
        json::member_text(detail, "ja3s", &hello.ja3s());
        if let Some(alpn) = hello.alpn.first() {
            json::member_text(detail, "alpn", alpn);
        }
        if let Some(share) = hello.key_share.filter(|_| tls13) {
            group(&mut handshake.draft, share);
        }
        let same_session = !hello.session_id.is_empty() && hello.session_id == handshake.client.session_id;
        if (tls13 && hello.pre_shared_key) || (!tls13 && same_session) {
            resumed(handshake);
        }
        if tls13 {
            self.directions[side as usize].opaque = true;
        }
        Ok(())
    }

    fn change_cipher_spec(&mut self, cx: &mut Cx<'_>, side: Side) {
        if let Some(handshake) = self.handshake.as_deref_mut() {
            // A ServerHello that was lost leaves open which version this is: what follows is encrypted
            // in all of them.
            let unseen = self.directions[handshake.draft.asker.other() as usize].broken;
            if is_13(handshake.version) || (!handshake.server_hello && !unseen) {
                // Only there for old middleboxes (RFC 8446, appendix D.4).
                return;
            }
            if side != handshake.draft.asker && !handshake.server_done && !unseen {
                resumed(handshake);
            }
        }
        self.encrypted(cx, side);
    }

    fn application_data(&mut self, cx: &mut Cx<'_>, side: Side) {
        let early = self.handshake.as_ref().is_some_and(|h| !h.server_hello);
        if !early {
            self.encrypted(cx, side);
        }
    }

    /// From here on this side's content is hidden.
    fn encrypted(&mut self, cx: &mut Cx<'_>, side: Side) {
        self.directions[side as usize].opaque = true;
        self.directions[side as usize].unread = Vec::new();
        if self.handshake.is_some() && !self.directions[side.other() as usize].opaque {
            return;
        }
        let mut said = String::from("the handshake was not seen");
        if let Some(mut handshake) = self.handshake.take() {
            json::member_bool(&mut handshake.draft.detail, "established", true);
            if handshake.server_hello {
                said = format!("{} {}", names::version(handshake.version), handshake.cipher);
            }
            self.exchanges.pair(cx, handshake.draft);
        }
        if !std::mem::replace(&mut self.said_opaque, true) {
            cx.opaque(NAME, &said);
        }
    }

    fn alert(&mut self, cx: &mut Cx<'_>, side: Side, body: &[u8]) {
        // Any other length is an encrypted one.
        let &[level @ (1 | 2), number] = body else { return };
        let name = names::alert(number);
        let Some(mut handshake) = self.handshake.take() else {
            let mut draft = self.exchanges.draft(cx, side, operation::ERROR, "alert");
            draft.status_code = name.into();
            json::member_text(&mut draft.detail, "level", if level == 2 { "fatal" } else { "warning" });
            self.exchanges.one_way(cx, draft);
            return;
        };
        if level == 1 && number != 0 {
            handshake.draft.status_code = name.into();
            self.handshake = Some(handshake);
            return;
        }
        handshake.draft.deny(name);
        json::member_text(
            &mut handshake.draft.detail,
            "alert_by",
            if side == handshake.draft.asker { "client" } else { "server" },
        );
        json::member_bool(&mut handshake.draft.detail, "established", false);
        self.exchanges.pair(cx, handshake.draft);
    }

    /// RFC 6520. A request that claims more than its record holds asks for foreign memory.
    fn heartbeat(&mut self, cx: &mut Cx<'_>, side: Side, body: &[u8]) {
        let &[kind @ (1 | 2), high, low, ..] = body else { return };
        let stated = u16::from_be_bytes([high, low]);
        let function = if kind == 1 { "heartbeat_request" } else { "heartbeat_response" };
        let mut draft = self.exchanges.draft(cx, side, operation::DIAGNOSE, function);
        json::member_number(&mut draft.detail, "payload_length", u64::from(stated));
        json::member_number(&mut draft.detail, "record_length", body.len() as u64);
        if usize::from(stated) + 19 > body.len() && kind == 1 {
            draft.wrong(Cut { what: "heartbeat_payload_length", at: 1 });
        }
        self.exchanges.one_way(cx, draft);
    }

    fn unfinished(&mut self, cx: &mut Cx<'_>) {
        let Some(mut handshake) = self.handshake.take() else { return };
        handshake.draft.status = status::NO_REPLY;
        if handshake.server_hello {
            handshake.draft.status_code = "not_finished".into();
        }
        json::member_bool(&mut handshake.draft.detail, "established", false);
        self.exchanges.one_way(cx, handshake.draft);
    }
}

fn is_13(version: u16) -> bool {
    version == 0x0304 || matches!(version >> 8, 0x7e | 0x7f)
}

fn resumed(handshake: &mut Handshake) {
    if !handshake.draft.detail.contains("\"resumed\":") {
        json::member_bool(&mut handshake.draft.detail, "resumed", true);
    }
}

fn group(draft: &mut Draft, number: u16) {
    match names::group(number) {
        Some(name) => json::member_text(&mut draft.detail, "group", name),
        None => json::member_text(&mut draft.detail, "group", &format!("0x{number:04x}")),
    }
}

/// A Certificate message before TLS 1.3: the first of the list is its sender's own.
fn certificates(cx: &mut Cx<'_>, handshake: &mut Handshake, side: Side, body: &[u8]) -> Result<(), Cut> {
    let by_client = side == handshake.draft.asker;
    let mut cursor = Cursor::new(body);
    let length = cursor.u24_be("certificates")?;
    let mut list = cursor.part(length as usize, "certificates")?;
    let mut prints = Vec::new();
    while !list.is_empty() && prints.len() < CHAIN_MAX {
        let length = list.u24_be("certificate")?;
        let der = list.take(length as usize, "certificate")?;
        let print = x509::fingerprint(der);
        if prints.is_empty() {
            own_certificate(cx, handshake, side, der);
        }
        prints.push(print);
    }
    let detail = &mut handshake.draft.detail;
    json::key(detail, if by_client { "client_chain" } else { "server_chain" });
    push_list(detail, prints.iter().map(String::as_str));
    Ok(())
}

/// Its sender's own certificate.
fn own_certificate(cx: &mut Cx<'_>, handshake: &mut Handshake, side: Side, der: &[u8]) {
    let by_client = side == handshake.draft.asker;
    let detail = &mut handshake.draft.detail;
    json::key(detail, if by_client { "client_certificate" } else { "server_certificate" });
    match Certificate::read(der) {
        Ok(certificate) => {
            certificate.push_json(detail);
            let mut facts = String::new();
            certificate.push_json(&mut facts);
            let row = IdentityRow {
                name: &certificate.common_name,
                serial: &certificate.serial,
                detail: &facts,
                ..IdentityRow::default()
            };
            cx.identity(NAME, side, row);
        }
        Err(cut) => {
            let mut object = String::new();
            json::member_text(&mut object, "unreadable", cut.what);
            json::end(&mut object);
            detail.push_str(&object);
        }
    }
}

/// A JSON array of texts.
fn push_list<'a>(out: &mut String, texts: impl Iterator<Item = &'a str>) {
    out.push('[');
    for (at, text) in texts.enumerate() {
        if at > 0 {
            out.push(',');
        }
        json::push_text(out, text);
    }
    out.push(']');
}

#[cfg(test)]
pub(crate) mod tests;
