//! Kerberos 5 (RFC 4120) over UDP and TCP: who asks for tickets, of which service, with which
//! encryption, and what the key distribution centre answers. What is encrypted stays so, and is the
//! point of the protocol: no more can be seen of it.
//!
//! [`message`] reads the bytes, on this crate's own ASN.1, for this module and for the tokens that
//! SMB, LDAP and DCE-RPC carry. The parser `kerberos-parser` (version 0.9) was looked at: it reads no
//! answers to services' requests, refuses names that are no UTF-8, which old realms have, and does
//! not say where a message is cut off.

use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::{operation, status};

use crate::cursor::Cut;
use crate::exchange::{Draft, Exchanges};
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Probe, Protocol, Side, Transport, json};

mod message;
mod names;
#[cfg(test)]
mod tests;

use message::{Message, kind};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::udp(&[88, 750]), Carrier::tcp(&[88, 750])],
    probe,
    start,
    buffer_bytes_max: PREFIX + MESSAGE_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "kerberos";
/// Length before each message of a stream (RFC 4120, 7.2.2).
const PREFIX: usize = 4;
/// The longest message that is read: tickets of users with many groups are long.
const MESSAGE_MAX: usize = 1 << 17;
/// A request without an answer for that long gets a row of its own.
const REPLY_TIMEOUT: Micros = 30 * SECOND;
/// Longest name that is shown, in bytes.
const NAME_MAX: usize = 128;
/// Most encryption types, kinds of pre-authentication or addresses that are shown.
const LIST_MAX: usize = 16;
/// An address that is a NetBIOS name (7.5.3).
const NETBIOS: i64 = 20;

/// Describes what a security token carries: a ticket that is presented, the answer, or an error.
pub(crate) fn describe(detail: &mut String, token: &[u8]) -> Result<(), Cut> {
    json::member_text(detail, "mechanism", NAME);
    let message = message::read(token)?;
    match message.kind {
        kind::AP_REQ => {}
        kind::AP_REP => json::member_text(detail, "kerberos", "ap_rep"),
        kind::ERROR => {
            json::member_text(detail, "kerberos", "error");
            json::member_text(detail, "error", &names::error(message.error.unwrap_or(60)));
        }
        _ => return Err(Cut { what: "kerberos_token", at: 0 }),
    }
    let ticket = message.ticket.unwrap_or_default();
    if !ticket.realm.is_empty() {
        json::member_text(detail, "realm", &plain(ticket.realm));
    }
    if !ticket.service.is_empty() {
        member_name(detail, "service", &ticket.service);
    }
    if let Some(number) = ticket.cipher {
        json::member_text(detail, "ticket_cipher", &names::cipher(number));
    }
    Ok(())
}

fn start(flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(Kerberos {
        stream: flow.transport == Transport::Tcp,
        exchanges: Exchanges::new(NAME, REPLY_TIMEOUT),
        host: String::new(),
    }))
}

/// What a stream begins with.
fn frame_of(bytes: &[u8]) -> Frame {
    let Some((prefix, message)) = bytes.split_first_chunk::<PREFIX>() else {
        return if bytes.first().is_none_or(|first| *first == 0) {
            Frame::More
        } else {
            Frame::Bad("length")
        };
    };
    let length = u32::from_be_bytes(*prefix) as usize;
    if !(14..=MESSAGE_MAX).contains(&length) {
        return Frame::Bad("length");
    }
    match message::begins(message) {
        Some(true) => Frame::Of(PREFIX + length),
        Some(false) => Frame::Bad("message"),
        None => Frame::More,
    }
}

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    if glimpse.transport == Transport::Udp {
        return if message::begins(glimpse.bytes) == Some(true) { Probe::Yes } else { Probe::No };
    }
    match frame_of(glimpse.bytes) {
        Frame::Of(_) => Probe::Yes,
        Frame::More => Probe::More,
        _ => Probe::No,
    }
}

struct Kerberos {
    stream: bool,
    /// By the type of the request.
    exchanges: Exchanges<u8>,
    /// The client's name of itself that was said last.
    host: String,
}

impl Framed for Kerberos {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        if self.stream {
            return frame_of(bytes);
        }
        match message::begins(bytes) {
            Some(false) => Frame::Bad("message"),
            _ => Frame::Of(bytes.len().max(1)),
        }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let bytes = if self.stream { &frame[PREFIX..] } else { frame };
        let message = message::read(bytes)?;
        match message.kind {
            kind::AS_REQ | kind::TGS_REQ | kind::AP_REQ => self.request(cx, side, &message),
            kind::AS_REP | kind::TGS_REP | kind::AP_REP | kind::ERROR => self.answer(cx, side, &message),
            other => {
                let function = match other {
                    kind::SAFE => "safe",
                    kind::PRIV => "priv",
                    _ => "cred",
                };
                let mut draft = self.exchanges.draft(cx, side, operation::OTHER, function);
                member_cipher(&mut draft.detail, "cipher", message.cipher);
                self.exchanges.one_way(cx, draft);
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

impl Kerberos {
    fn request(&mut self, cx: &mut Cx<'_>, side: Side, message: &Message<'_>) {
        let function = match message.kind {
            kind::AS_REQ => "as_req",
            kind::TGS_REQ => "tgs_req",
            _ => "ap_req",
        };
        let mut draft = self.exchanges.draft(cx, side, operation::AUTHENTICATE, function);
        let detail = &mut draft.detail;
        if let Some(ticket) = message.ticket {
            ticket.service.show(&mut draft.target, NAME_MAX);
            json::member_text(detail, "realm", &plain(ticket.realm));
            member_cipher(detail, "ticket_cipher", ticket.cipher);
            member_cipher(detail, "cipher", message.cipher);
            self.exchanges.ask(cx, message.kind, draft);
            return;
        }
        message.service.show(&mut draft.target, NAME_MAX);
        if !message.client.is_empty() {
            member_name(detail, "client", &message.client);
        }
        json::member_text(detail, "realm", &plain(message.realm));
        let options = names::OPTIONS.iter().filter(|(bit, _)| message.options & (1 << (31 - bit)) != 0);
        member_list(detail, "options", options.map(|(_, name)| (*name).into()));
        for (name, time) in [("from", message.from), ("till", message.till), ("renew_till", message.renew)] {
            if !time.is_empty() {
                json::member_text(detail, name, &moment(time));
            }
        }
        let ciphers = message::numbers(message.ciphers, LIST_MAX).map(names::cipher);
        member_list(detail, "ciphers", ciphers);
        let kinds = message::pairs(message.preauthentication, LIST_MAX);
        member_list(detail, "preauthentication", kinds.map(|(kind, _)| names::preauthentication(kind)));
        let hosts = message::pairs(message.addresses, LIST_MAX).filter(|(kind, _)| *kind == NETBIOS);
        if let Some((_, host)) = hosts.into_iter().next() {
            let host = plain(host);
            let host = host.trim_end();
            json::member_text(detail, "host", host);
            if self.host != host {
                host.clone_into(&mut self.host);
                cx.identity(NAME, side, IdentityRow { name: host, ..IdentityRow::default() });
            }
        }
        self.exchanges.ask(cx, message.kind, draft);
    }

    fn answer(&mut self, cx: &mut Cx<'_>, side: Side, message: &Message<'_>) {
        let (asked, function) = match message.kind {
            kind::AS_REP => (kind::AS_REQ, "as_req"),
            kind::TGS_REP => (kind::TGS_REQ, "tgs_req"),
            kind::AP_REP => (kind::AP_REQ, "ap_req"),
            _ => (0, "krb_error"),
        };
        let found = self.exchanges.answered_if(side, |kind, _| asked == 0 || *kind == asked);
        let was_asked = found.is_some();
        let mut draft = found.unwrap_or_else(|| {
            let operation = if asked == 0 { operation::ERROR } else { operation::AUTHENTICATE };
            self.exchanges.draft(cx, side.other(), operation, function)
        });
        if !was_asked {
            unasked(&mut draft, message);
        } else if draft.target.is_empty() {
            // A request may leave its service out; errors name theirs.
            message.service.show(&mut draft.target, NAME_MAX);
        }
        if was_asked && !message.client.is_empty() && !draft.detail.contains("\"client\":") {
            // Who asks for a service is encrypted in the request, and named in the answer.
            member_name(&mut draft.detail, "client", &message.client);
        }
        let detail = &mut draft.detail;
        if let Some(ticket) = message.ticket {
            member_cipher(detail, "ticket_cipher", ticket.cipher);
        }
        member_cipher(detail, "cipher", message.cipher);
        if !message.server_time.is_empty() {
            json::member_text(detail, "server_time", &moment(message.server_time));
        }
        if !message.text.is_empty() {
            json::member_text(detail, "text", &plain(message.text));
        }
        if let Some(code) = message.error {
            json::member_number(detail, "error", code.unsigned_abs());
            if names::is_step(code) {
                draft.status_code = names::error(code);
            } else {
                draft.deny(names::error(code));
            }
        } else if message.kind == kind::ERROR {
            draft.wrong(Cut { what: "error_code", at: 0 });
        }
        if was_asked {
            self.exchanges.pair(cx, draft);
        } else {
            if draft.status == status::OK {
                draft.status = status::UNASKED;
            }
            self.exchanges.unasked(cx, draft);
        }
    }
}

/// What an answer repeats of its request, where that was not seen.
fn unasked(draft: &mut Draft, message: &Message<'_>) {
    let ticket = message.ticket.unwrap_or_default();
    let service = if message.service.is_empty() { &ticket.service } else { &message.service };
    service.show(&mut draft.target, NAME_MAX);
    if !message.client.is_empty() {
        member_name(&mut draft.detail, "client", &message.client);
    }
    let realms = [message.client_realm, message.realm, ticket.realm];
    if let Some(realm) = realms.into_iter().find(|realm| !realm.is_empty()) {
        json::member_text(&mut draft.detail, "realm", &plain(realm));
    }
}

/// A text as it is shown; what is no UTF-8 is replaced.
fn plain(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(NAME_MAX)]).into_owned()
}

/// `20150119225459Z` as `2015-01-19T22:54:59Z`; what has another form as it is.
fn moment(bytes: &[u8]) -> String {
    let text = plain(bytes);
    let digits = text.strip_suffix('Z').unwrap_or("");
    if digits.len() != 14 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return text;
    }
    let part = |from: usize, to: usize| &digits[from..to];
    format!("{}-{}-{}T{}:{}:{}Z", part(0, 4), part(4, 6), part(6, 8), part(8, 10), part(10, 12), part(12, 14))
}

fn member_name(detail: &mut String, key: &str, name: &message::Name<'_>) {
    let mut text = String::new();
    name.show(&mut text, NAME_MAX);
    json::member_text(detail, key, &text);
}

fn member_cipher(detail: &mut String, key: &str, number: Option<i64>) {
    if let Some(number) = number {
        json::member_text(detail, key, &names::cipher(number));
    }
}

/// A member with a list of texts; nothing where the list is empty.
fn member_list(detail: &mut String, key: &str, texts: impl Iterator<Item = std::borrow::Cow<'static, str>>) {
    let mut begun = false;
    for text in texts {
        if begun {
            detail.push(',');
        } else {
            json::key(detail, key);
            detail.push('[');
            begun = true;
        }
        json::push_text(detail, &text);
    }
    if begun {
        detail.push(']');
    }
}
