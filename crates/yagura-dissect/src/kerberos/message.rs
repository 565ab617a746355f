//! The parts of a message that are in clear (RFC 4120, 5.4 to 5.9).

use crate::asn1::{self, Element};
use crate::cursor::{Cursor, Cut};

/// Message types (RFC 4120, 7.5.7); a message's application tag is 0x60 more.
pub mod kind {
    pub const AS_REQ: u8 = 10;
    pub const AS_REP: u8 = 11;
    pub const TGS_REQ: u8 = 12;
    pub const TGS_REP: u8 = 13;
    pub const AP_REQ: u8 = 14;
    pub const AP_REP: u8 = 15;
    pub const SAFE: u8 = 20;
    pub const PRIV: u8 = 21;
    pub const CRED: u8 = 22;
    pub const ERROR: u8 = 30;
}

/// A ticket's clear part (5.3).
#[derive(Clone, Copy, Debug, Default)]
pub struct Ticket<'a> {
    pub realm: &'a [u8],
    pub service: Name<'a>,
    pub cipher: Option<i64>,
}

/// A principal's name: its components as they lie in the message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Name<'a>(&'a [u8]);

/// What a message says in clear. Lists are kept as they lie in the message.
#[derive(Clone, Copy, Debug, Default)]
pub struct Message<'a> {
    pub kind: u8,
    pub options: u32,
    pub client: Name<'a>,
    pub client_realm: &'a [u8],
    /// The service's realm.
    pub realm: &'a [u8],
    pub service: Name<'a>,
    pub from: &'a [u8],
    pub till: &'a [u8],
    pub renew: &'a [u8],
    pub ciphers: &'a [u8],
    pub preauthentication: &'a [u8],
    pub addresses: &'a [u8],
    pub ticket: Option<Ticket<'a>>,
    /// How the encrypted part is encrypted.
    pub cipher: Option<i64>,
    pub server_time: &'a [u8],
    pub error: Option<i64>,
    pub text: &'a [u8],
}

/// Whether bytes begin like a message: its tag, version 5 and the type again. `None` when too few
/// bytes are there to say.
pub fn begins(bytes: &[u8]) -> Option<bool> {
    let &tag = bytes.first()?;
    let kind = tag.wrapping_sub(0x60);
    if !matches!(kind, 10..=15 | 20..=22 | 30) {
        return Some(false);
    }
    let mut rest = bytes;
    let mut outer = usize::MAX;
    for expected in [tag, asn1::SEQUENCE] {
        match asn1::header(rest) {
            asn1::Header::Of(tag, head, length) if tag == expected && length <= outer => {
                outer = length - head;
                rest = &rest[head..];
            }
            asn1::Header::More if rest.first().is_none_or(|tag| *tag == expected) => return None,
            _ => return Some(false),
        }
    }
    // Requests count their fields from 1.
    let first = if matches!(kind, kind::AS_REQ | kind::TGS_REQ) { 0xa1 } else { 0xa0 };
    let fixed = [first, 3, 2, 1, 5, first + 1, 3, 2, 1, kind];
    // Errors of which only the code is there are answers of some servers all the same.
    if kind == kind::ERROR && rest.starts_with(&[0xa6, 3, 2, 1]) {
        return Some(true);
    }
    let here = rest.len().min(fixed.len());
    match rest[..here] == fixed[..here] {
        false => Some(false),
        true if here < fixed.len() => None,
        true => Some(true),
    }
}

/// The only element within a field.
fn within<'a>(field: &Element<'a>, what: &'static str) -> Result<Element<'a>, Cut> {
    asn1::element(&mut field.inside(), what)
}

fn number(field: &Element<'_>, what: &'static str) -> Result<Option<i64>, Cut> {
    Ok(asn1::integer(asn1::expect(&mut field.inside(), asn1::INTEGER, what)?.body))
}

fn list<'a>(field: &Element<'a>, what: &'static str) -> Result<&'a [u8], Cut> {
    Ok(asn1::expect(&mut field.inside(), asn1::SEQUENCE, what)?.body)
}

/// Reads a message of any kind.
pub fn read(bytes: &[u8]) -> Result<Message<'_>, Cut> {
    let mut cursor = Cursor::new(bytes);
    let outer = asn1::element(&mut cursor, "message")?;
    let kind = outer.tag.wrapping_sub(0x60);
    let mut fields = asn1::expect(&mut outer.inside(), asn1::SEQUENCE, "message")?.inside();
    let mut message = Message { kind, ..Message::default() };
    while !fields.is_empty() {
        let field = asn1::element(&mut fields, "field")?;
        let number = field.tag.wrapping_sub(0xa0);
        match kind {
            kind::AS_REQ | kind::TGS_REQ => match number {
                3 => message.preauthentication = list(&field, "preauthentication")?,
                4 => request(&mut message, &field)?,
                _ => {}
            },
            kind::AS_REP | kind::TGS_REP => match number {
                3 => message.client_realm = within(&field, "client_realm")?.body,
                4 => message.client = name(&field, "client_name")?,
                5 => message.ticket = Some(ticket(field.body)?),
                6 => message.cipher = cipher(&field, "encrypted_part")?,
                _ => {}
            },
            kind::AP_REQ => match number {
                2 => message.options = flags(&field, "ap_options")?,
                3 => message.ticket = Some(ticket(field.body)?),
                4 => message.cipher = cipher(&field, "authenticator")?,
                _ => {}
            },
            kind::AP_REP if number == 2 => message.cipher = cipher(&field, "encrypted_part")?,
            kind::PRIV | kind::CRED if number == 3 => message.cipher = cipher(&field, "encrypted_part")?,
            kind::ERROR => error(&mut message, number, &field)?,
            _ => {}
        }
    }
    Ok(message)
}

/// A request's body (5.4.1).
fn request<'a>(message: &mut Message<'a>, field: &Element<'a>) -> Result<(), Cut> {
    let mut body = asn1::expect(&mut field.inside(), asn1::SEQUENCE, "request_body")?.inside();
    while !body.is_empty() {
        let field = asn1::element(&mut body, "request_body")?;
        match field.tag.wrapping_sub(0xa0) {
            0 => message.options = flags(&field, "kdc_options")?,
            1 => message.client = name(&field, "client_name")?,
            2 => message.realm = within(&field, "realm")?.body,
            3 => message.service = name(&field, "service_name")?,
            4 => message.from = within(&field, "from")?.body,
            5 => message.till = within(&field, "till")?.body,
            6 => message.renew = within(&field, "renew_time")?.body,
            8 => message.ciphers = list(&field, "encryption_types")?,
            9 => message.addresses = list(&field, "addresses")?,
            _ => {}
        }
    }
    Ok(())
}

/// An error's fields (5.9.1).
fn error<'a>(message: &mut Message<'a>, at: u8, field: &Element<'a>) -> Result<(), Cut> {
    match at {
        4 => message.server_time = within(field, "server_time")?.body,
        6 => message.error = number(field, "error_code")?,
        7 => message.client_realm = within(field, "client_realm")?.body,
        8 => message.client = name(field, "client_name")?,
        9 => message.realm = within(field, "realm")?.body,
        10 => message.service = name(field, "service_name")?,
        11 => message.text = within(field, "error_text")?.body,
        _ => {}
    }
    Ok(())
}

fn ticket(bytes: &[u8]) -> Result<Ticket<'_>, Cut> {
    let outer = asn1::expect(&mut Cursor::new(bytes), 0x61, "ticket")?;
    let mut fields = asn1::expect(&mut outer.inside(), asn1::SEQUENCE, "ticket")?.inside();
    let mut ticket = Ticket::default();
    while !fields.is_empty() {
        let field = asn1::element(&mut fields, "ticket")?;
        match field.tag.wrapping_sub(0xa0) {
            1 => ticket.realm = within(&field, "ticket_realm")?.body,
            2 => ticket.service = name(&field, "ticket_service")?,
            3 => ticket.cipher = cipher(&field, "ticket_encrypted_part")?,
            _ => {}
        }
    }
    Ok(ticket)
}

/// The encryption type of encrypted data (5.2.9).
fn cipher(field: &Element<'_>, what: &'static str) -> Result<Option<i64>, Cut> {
    let mut fields = asn1::expect(&mut field.inside(), asn1::SEQUENCE, what)?.inside();
    number(&asn1::expect(&mut fields, 0xa0, what)?, what)
}

fn name<'a>(field: &Element<'a>, what: &'static str) -> Result<Name<'a>, Cut> {
    let mut parts = asn1::expect(&mut field.inside(), asn1::SEQUENCE, what)?.inside();
    asn1::optional(&mut parts, 0xa0, what)?;
    let field = asn1::expect(&mut parts, 0xa1, what)?;
    list(&field, what).map(Name)
}

/// The first 32 flags of a bit string; the first is the highest.
fn flags(field: &Element<'_>, what: &'static str) -> Result<u32, Cut> {
    let bits = asn1::expect(&mut field.inside(), 0x03, what)?.body;
    let octets = bits.get(1..).unwrap_or_default();
    Ok((0..4).fold(0, |sum, at| sum << 8 | u32::from(octets.get(at).copied().unwrap_or(0))))
}

impl Name<'_> {
    /// Appends the components with `/` between them, until there are `max` bytes.
    pub fn show(&self, out: &mut String, max: usize) {
        let mut parts = Cursor::new(self.0);
        let begin = out.len();
        while let Ok(part) = asn1::element(&mut parts, "name") {
            if out.len() - begin >= max {
                break;
            }
            if out.len() > begin {
                out.push('/');
            }
            out.push_str(&super::plain(part.body));
        }
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// The numbers in a list of integers, at most `max`.
pub fn numbers(list: &[u8], max: usize) -> impl Iterator<Item = i64> {
    let mut cursor = Cursor::new(list);
    std::iter::from_fn(move || {
        let element = asn1::expect(&mut cursor, asn1::INTEGER, "number").ok()?;
        asn1::integer(element.body)
    })
    .take(max)
}

/// Pairs of a number and octets in a list: kinds of pre-authentication, addresses.
pub fn pairs(list: &[u8], max: usize) -> impl Iterator<Item = (i64, &[u8])> {
    let mut cursor = Cursor::new(list);
    std::iter::from_fn(move || {
        let mut fields = asn1::expect(&mut cursor, asn1::SEQUENCE, "pair").ok()?.inside();
        let kind = asn1::element(&mut fields, "pair").ok()?;
        let octets = asn1::element(&mut fields, "pair").ok()?;
        let octets = asn1::element(&mut octets.inside(), "pair").ok()?;
        Some((number(&kind, "pair").ok()??, octets.body))
    })
    .take(max)
}
