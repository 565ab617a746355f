//! What Windows presents as credentials: NTLMSSP messages (MS-NLMP 2.2), alone or in SPNEGO
//! (RFC 4178), and Kerberos tickets (RFC 4121, 4.1), which [`crate::kerberos`] reads.
//!
//! Not a protocol of its own: SMB, DCE-RPC and others carry these tokens. Responses to challenges
//! and keys are never shown.

use crate::asn1;
use crate::cursor::{Cursor, Cut};
use crate::{json, kerberos, wide};

/// Longest name that is shown, in characters.
const NAME_MAX: usize = 128;
/// Most attributes of a challenge that are looked at.
const ATTRIBUTES_MAX: usize = 16;
const SIGNATURE: &[u8] = b"NTLMSSP\0";

/// Negotiate flags (2.2.2.5).
mod flag {
    pub const UNICODE: u32 = 1;
    pub const ANONYMOUS: u32 = 1 << 11;
    pub const VERSION: u32 = 1 << 25;
}

/// Object identifiers of mechanisms.
mod oid {
    pub const SPNEGO: &[u8] = &[0x2b, 6, 1, 5, 5, 2];
    pub const NTLM: &[u8] = &[0x2b, 6, 1, 4, 1, 0x82, 0x37, 2, 2, 10];
    pub const NEGOEX: &[u8] = &[0x2b, 6, 1, 4, 1, 0x82, 0x37, 2, 2, 30];
    pub const KERBEROS: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 1, 2, 2];
    pub const KERBEROS_OLD: &[u8] = &[0x2a, 0x86, 0x48, 0x82, 0xf7, 0x12, 1, 2, 2];
    pub const USER_TO_USER: &[u8] = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x12, 1, 2, 2, 3];
}

/// Who presented a token, as far as it says so.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Presented {
    /// `DOMAIN\user`; empty where no account is presented.
    pub account: String,
    /// The challenger's own name.
    pub computer: String,
    /// The challenger's operating system: `10.0.17763`.
    pub version: String,
}

/// Describes a token in `detail`. What is in no known form, or broken, is told as far as it goes.
pub(crate) fn describe(detail: &mut String, token: &[u8]) -> Presented {
    let mut presented = Presented::default();
    let read = read(detail, &mut presented, token);
    if let Err(cut) = read {
        json::member_text(detail, "token_wrong", cut.what);
    }
    presented
}

/// The same of what answers a request whose token `detail` has: a member of its own.
pub(crate) fn describe_answer(detail: &mut String, token: &[u8]) -> Presented {
    let mut inside = String::new();
    let presented = describe(&mut inside, token);
    if !inside.is_empty() {
        json::end(&mut inside);
        json::key(detail, "answer_token");
        detail.push_str(&inside);
    }
    presented
}

fn read(detail: &mut String, presented: &mut Presented, token: &[u8]) -> Result<(), Cut> {
    match *token {
        [] => Ok(()),
        _ if token.starts_with(SIGNATURE) => ntlm(detail, presented, token),
        [0x60, ..] => initial(detail, presented, token),
        [0xa0 | 0xa1, ..] => negotiation(detail, presented, token),
        [0x6e | 0x6f | 0x7e, ..] => kerberos::describe(detail, token),
        _ => Ok(()),
    }
}

/// A token with its mechanism before it (RFC 2743, 3.1).
fn initial(detail: &mut String, presented: &mut Presented, token: &[u8]) -> Result<(), Cut> {
    let mut inside = asn1::expect(&mut Cursor::new(token), 0x60, "gss_token")?.inside();
    let mechanism = asn1::expect(&mut inside, asn1::OBJECT_IDENTIFIER, "gss_mechanism")?.body;
    if mechanism == oid::SPNEGO {
        return negotiation(detail, presented, inside.rest());
    }
    if matches!(mechanism, oid::KERBEROS | oid::KERBEROS_OLD) {
        // A request, its answer or an error; others protect messages.
        return match inside.u16_be("kerberos_token")? {
            0x0100 | 0x0200 | 0x0300 => kerberos::describe(detail, inside.rest()),
            _ => named(detail, mechanism),
        };
    }
    named(detail, mechanism)
}

fn named(detail: &mut String, mechanism: &[u8]) -> Result<(), Cut> {
    json::member_text(detail, "mechanism", &name(mechanism));
    Ok(())
}

fn name(mechanism: &[u8]) -> String {
    match mechanism {
        oid::SPNEGO => "spnego".into(),
        oid::NTLM => "ntlm".into(),
        oid::NEGOEX => "negoex".into(),
        oid::KERBEROS | oid::KERBEROS_OLD => "kerberos".into(),
        oid::USER_TO_USER => "kerberos_user_to_user".into(),
        other => {
            let mut out = String::new();
            asn1::push_oid(&mut out, other);
            out
        }
    }
}

/// NegTokenInit or NegTokenResp (RFC 4178, 4.2).
fn negotiation(detail: &mut String, presented: &mut Presented, token: &[u8]) -> Result<(), Cut> {
    let outer = asn1::element(&mut Cursor::new(token), "spnego")?;
    let mut fields = asn1::expect(&mut outer.inside(), asn1::SEQUENCE, "spnego")?.inside();
    let mut inner: &[u8] = &[];
    let mut offered = String::new();
    while !fields.is_empty() {
        let field = asn1::element(&mut fields, "spnego_field")?;
        let mut inside = field.inside();
        match (outer.tag, field.tag) {
            (0xa0, 0xa0) => {
                let mut list = asn1::expect(&mut inside, asn1::SEQUENCE, "spnego_mechanisms")?.inside();
                for _ in 0..8 {
                    let found = asn1::optional(&mut list, asn1::OBJECT_IDENTIFIER, "spnego_mechanisms")?;
                    let Some(found) = found else { break };
                    offered.push(if offered.is_empty() { '[' } else { ',' });
                    json::push_text(&mut offered, &name(found.body));
                }
            }
            (0xa1, 0xa0) => {
                let state = asn1::element(&mut inside, "spnego_state")?.body;
                let state = match *state {
                    [0] => "accept_completed",
                    [1] => "accept_incomplete",
                    [2] => "reject",
                    [3] => "request_mic",
                    _ => "unknown",
                };
                json::member_text(detail, "negotiation", state);
            }
            (0xa1, 0xa1) => {
                let chosen = asn1::expect(&mut inside, asn1::OBJECT_IDENTIFIER, "spnego_mechanism")?;
                json::member_text(detail, "chosen", &name(chosen.body));
            }
            (_, 0xa2) => {
                inner = asn1::expect(&mut inside, asn1::OCTET_STRING, "spnego_token")?.body;
            }
            _ => {}
        }
    }
    if !offered.is_empty() {
        offered.push(']');
        json::key(detail, "offered");
        detail.push_str(&offered);
    }
    match *inner {
        // One level only: what is negotiated is no negotiation.
        [0x60, ..] => {
            let mut inside = asn1::expect(&mut Cursor::new(inner), 0x60, "gss_token")?.inside();
            let mechanism = asn1::expect(&mut inside, asn1::OBJECT_IDENTIFIER, "gss_mechanism")?.body;
            match inside.u16_be("kerberos_token")? {
                0x0100 | 0x0200 | 0x0300 => kerberos::describe(detail, inside.rest()),
                _ => named(detail, mechanism),
            }
        }
        [0x6e | 0x6f | 0x7e, ..] => kerberos::describe(detail, inner),
        _ if inner.starts_with(SIGNATURE) => ntlm(detail, presented, inner),
        _ => Ok(()),
    }
}

fn plain(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(NAME_MAX)]).into_owned()
}

fn ntlm(detail: &mut String, presented: &mut Presented, message: &[u8]) -> Result<(), Cut> {
    json::member_text(detail, "mechanism", "ntlm");
    let mut cursor = Cursor::new(message);
    cursor.skip(SIGNATURE.len(), "ntlm_signature")?;
    match cursor.u32_le("ntlm_type")? {
        1 => {
            json::member_text(detail, "ntlm", "negotiate");
            let flags = cursor.u32_le("ntlm_flags")?;
            // Domain and host are optional here, and rarely there.
            let version = message.get(32..40).filter(|_| flags & flag::VERSION != 0);
            if let Some(version) = version.and_then(version_of) {
                json::member_text(detail, "client_version", &version);
            }
            Ok(())
        }
        2 => challenge(detail, presented, message, cursor),
        3 => authenticate(detail, presented, message, cursor),
        _ => Err(Cut { what: "ntlm_type", at: 8 }),
    }
}

fn challenge(
    detail: &mut String,
    presented: &mut Presented,
    message: &[u8],
    mut cursor: Cursor<'_>,
) -> Result<(), Cut> {
    json::member_text(detail, "ntlm", "challenge");
    let target = field(&mut cursor, message)?;
    let flags = cursor.u32_le("ntlm_flags")?;
    member(detail, "server_target", target, flags & flag::UNICODE != 0);
    cursor.skip(16, "ntlm_challenge")?;
    // Oldest servers end here.
    if cursor.remaining() < 8 {
        return Ok(());
    }
    let mut attributes = Cursor::new(field(&mut cursor, message)?);
    for _ in 0..ATTRIBUTES_MAX {
        if attributes.is_empty() {
            break;
        }
        let kind = attributes.u16_le("ntlm_attribute")?;
        let length = usize::from(attributes.u16_le("ntlm_attribute")?);
        let value = attributes.take(length, "ntlm_attribute")?;
        let name = match kind {
            0 => break,
            1 => "server_host",
            2 => "server_domain",
            3 => "server_dns_host",
            4 => "server_dns_domain",
            5 => "server_forest",
            _ => continue,
        };
        let text = wide::text(value, NAME_MAX);
        json::member_text(detail, name, &text);
        if kind == 1 {
            presented.computer = text;
        }
    }
    if flags & flag::VERSION != 0
        && let Some(version) = cursor.rest().get(..8).and_then(version_of)
    {
        json::member_text(detail, "server_version", &version);
        presented.version = version;
    }
    Ok(())
}

fn authenticate(
    detail: &mut String,
    presented: &mut Presented,
    message: &[u8],
    mut cursor: Cursor<'_>,
) -> Result<(), Cut> {
    json::member_text(detail, "ntlm", "authenticate");
    let lm = field(&mut cursor, message)?;
    let nt = field(&mut cursor, message)?;
    let (domain, user) = (field(&mut cursor, message)?, field(&mut cursor, message)?);
    let host = field(&mut cursor, message)?;
    // Old clients leave the session key and the flags out, and speak Unicode.
    let flags = match (field(&mut cursor, message), cursor.u32_le("ntlm_flags")) {
        (Ok(_), Ok(flags)) => flags,
        _ => flag::UNICODE,
    };
    let unicode = flags & flag::UNICODE != 0;
    member(detail, "user", user, unicode);
    member(detail, "domain", domain, unicode);
    member(detail, "host", host, unicode);
    if user.is_empty() && nt.is_empty() || flags & flag::ANONYMOUS != 0 {
        json::member_bool(detail, "anonymous", true);
    } else {
        // Answers of fixed length are those of the old, weak versions.
        let version = match (nt.len(), lm.len()) {
            (25.., _) => "2",
            (24, _) => "1",
            (0, 24) => "lm",
            _ => "none",
        };
        json::member_text(detail, "ntlm_version", version);
    }
    if flags & flag::VERSION != 0
        && let Some(version) = cursor.rest().get(..8).and_then(version_of)
    {
        json::member_text(detail, "client_version", &version);
    }
    if !user.is_empty() {
        if !domain.is_empty() {
            push(&mut presented.account, domain, unicode);
            presented.account.push('\\');
        }
        push(&mut presented.account, user, unicode);
    }
    Ok(())
}

/// Length, allocated length and place of a stretch of the message.
fn field<'a>(cursor: &mut Cursor<'_>, message: &'a [u8]) -> Result<&'a [u8], Cut> {
    let length = usize::from(cursor.u16_le("ntlm_field")?);
    cursor.skip(2, "ntlm_field")?;
    let offset = cursor.u32_le("ntlm_field")? as usize;
    if length == 0 {
        return Ok(&[]);
    }
    let end = offset.checked_add(length);
    end.and_then(|end| message.get(offset..end)).ok_or(cursor.cut("ntlm_field"))
}

fn member(detail: &mut String, name: &str, text: &[u8], unicode: bool) {
    if !text.is_empty() {
        let mut shown = String::new();
        push(&mut shown, text, unicode);
        json::member_text(detail, name, &shown);
    }
}

fn push(out: &mut String, text: &[u8], unicode: bool) {
    if unicode { wide::push(out, text, NAME_MAX) } else { out.push_str(&plain(text)) }
}

/// Major, minor and build of the operating system (2.2.2.10); servers that are no Windows leave it
/// empty.
fn version_of(bytes: &[u8]) -> Option<String> {
    let [major, minor, low, high, ..] = *bytes else { return None };
    let build = u16::from_le_bytes([low, high]);
    (major != 0).then(|| format!("{major}.{minor}.{build}"))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn utf16(text: &str) -> Vec<u8> {
        text.encode_utf16().flat_map(u16::to_le_bytes).collect()
    }

    fn fields(message: &mut Vec<u8>, at: usize, values: &[Vec<u8>]) {
        for (index, value) in values.iter().enumerate() {
            let (length, offset) = (value.len() as u16, message.len() as u32);
            let place = at + 8 * index;
            message[place..place + 2].copy_from_slice(&length.to_le_bytes());
            message[place + 2..place + 4].copy_from_slice(&length.to_le_bytes());
            message[place + 4..place + 8].copy_from_slice(&offset.to_le_bytes());
            message.extend_from_slice(value);
        }
    }

    pub(crate) fn negotiate_message() -> Vec<u8> {
        [SIGNATURE, &[1, 0, 0, 0, 1, 0, 0, 0], &[0; 16]].concat()
    }

    pub(crate) fn challenge_message() -> Vec<u8> {
        let mut message = [SIGNATURE, &[2, 0, 0, 0], &[0; 44]].concat();
        message[20..24].copy_from_slice(&(flag::UNICODE | flag::VERSION).to_le_bytes());
        message[48..56].copy_from_slice(&[10, 0, 0x63, 0x45, 0, 0, 0, 15]);
        let mut attributes = Vec::new();
        for (kind, value) in [(2u16, "FAB"), (1, "TOOL7"), (3, "tool7.fab.test"), (0, "")] {
            attributes.extend(kind.to_le_bytes());
            attributes.extend((2 * value.len() as u16).to_le_bytes());
            attributes.extend(utf16(value));
        }
        fields(&mut message, 12, &[utf16("FAB")]);
        fields(&mut message, 40, &[attributes]);
        message
    }

    pub(crate) fn authenticate_message(nt: usize) -> Vec<u8> {
        let mut message = [SIGNATURE, &[3, 0, 0, 0], &[0; 60]].concat();
        message[60..64].copy_from_slice(&flag::UNICODE.to_le_bytes());
        let texts = [utf16("FAB"), utf16("ope"), utf16("HOST1")];
        fields(&mut message, 12, &[vec![0xaa; 24], vec![0xbb; nt]]);
        fields(&mut message, 28, &texts);
        message
    }

    fn element(tag: u8, body: &[u8]) -> Vec<u8> {
        let mut out = vec![tag, 0x82];
        out.extend((body.len() as u16).to_be_bytes());
        out.extend_from_slice(body);
        out
    }

    pub(crate) fn spnego_init(mechanism: &[u8], token: &[u8]) -> Vec<u8> {
        let list = element(0xa0, &element(0x30, &element(6, mechanism)));
        let token = element(0xa2, &element(4, token));
        let init = element(0xa0, &element(0x30, &[list, token].concat()));
        element(0x60, &[element(6, oid::SPNEGO), init].concat())
    }

    fn said(token: &[u8]) -> (serde_json::Value, Presented) {
        let mut detail = String::new();
        let presented = describe(&mut detail, token);
        json::end(&mut detail);
        (serde_json::from_str(&detail).unwrap_or_default(), presented)
    }

    #[test]
    fn an_account_is_named_and_its_answers_are_not_shown() {
        for (nt, version) in [(24, "1"), (60, "2")] {
            let (detail, presented) = said(&authenticate_message(nt));
            assert_eq!(
                detail,
                serde_json::json!({"mechanism": "ntlm", "ntlm": "authenticate", "user": "ope", "domain": "FAB",
                    "host": "HOST1", "ntlm_version": version})
            );
            assert_eq!(presented.account, "FAB\\ope");
        }
    }

    #[test]
    fn a_challenger_names_itself() {
        let (detail, presented) = said(&challenge_message());
        assert_eq!(detail["server_dns_host"], "tool7.fab.test");
        assert_eq!(detail["server_target"], "FAB");
        assert_eq!((&*presented.computer, &*presented.version), ("TOOL7", "10.0.17763"));
    }

    #[test]
    fn a_negotiation_says_what_it_offers_and_carries_a_token() {
        let (detail, _) = said(&spnego_init(oid::NTLM, &negotiate_message()));
        assert_eq!(
            detail,
            serde_json::json!({"offered": ["ntlm"], "mechanism": "ntlm", "ntlm": "negotiate"})
        );
        let response = element(
            0xa1,
            &element(
                0x30,
                &[
                    element(0xa0, &[10, 1, 1]),
                    element(0xa1, &element(6, oid::NTLM)),
                    element(0xa2, &element(4, &challenge_message())),
                ]
                .concat(),
            ),
        );
        let (detail, _) = said(&response);
        assert_eq!(
            (&detail["negotiation"], &detail["chosen"]),
            (&"accept_incomplete".into(), &"ntlm".into())
        );
        assert_eq!(detail["server_host"], "TOOL7");
    }

    #[test]
    fn an_answer_is_a_member_of_its_own() {
        let mut detail = String::new();
        describe(&mut detail, &negotiate_message());
        describe_answer(&mut detail, &challenge_message());
        json::end(&mut detail);
        let read: serde_json::Value = serde_json::from_str(&detail).unwrap_or_default();
        assert_eq!(
            (&read["ntlm"], &read["answer_token"]["ntlm"]),
            (&"negotiate".into(), &"challenge".into())
        );
    }

    #[test]
    fn a_ticket_names_its_service_and_realm() {
        let names = element(0x30, &[element(0x1b, b"cifs"), element(0x1b, b"tool7")].concat());
        let service = element(0x30, &[element(0xa0, &[2, 1, 2]), element(0xa1, &names)].concat());
        let ticket = element(
            0x61,
            &element(0x30, &[element(0xa1, &element(0x1b, b"FAB.TEST")), element(0xa2, &service)].concat()),
        );
        let request = element(0x6e, &element(0x30, &element(0xa3, &ticket)));
        let token = element(0x60, &[element(6, oid::KERBEROS), vec![1, 0], request].concat());
        let (detail, _) = said(&spnego_init(oid::KERBEROS, &token));
        assert_eq!(
            detail,
            serde_json::json!({"offered": ["kerberos"], "mechanism": "kerberos", "realm": "FAB.TEST",
                "service": "cifs/tool7"})
        );
    }

    #[test]
    fn what_is_cut_off_says_where() {
        let whole = authenticate_message(30);
        for length in 8..whole.len() {
            let (detail, _) = said(&whole[..length]);
            assert!(detail["token_wrong"].is_string(), "{length}: {detail}");
        }
        let whole = spnego_init(oid::NTLM, &negotiate_message());
        for length in 1..whole.len() {
            assert!(said(&whole[..length]).0["token_wrong"].is_string(), "{length}");
        }
    }
}
