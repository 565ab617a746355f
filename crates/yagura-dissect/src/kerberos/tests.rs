use yagura_event::schema::Kind;

use super::*;
use crate::testing::{Run, Sample};

fn element(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match body.len() {
        length @ ..128 => out.push(length as u8),
        length => {
            out.push(0x82);
            out.extend((length as u16).to_be_bytes());
        }
    }
    out.extend_from_slice(body);
    out
}

fn integer(n: u8) -> Vec<u8> {
    if n < 0x80 { vec![2, 1, n] } else { vec![2, 2, 0, n] }
}

fn text(t: &str) -> Vec<u8> {
    element(0x1b, t.as_bytes())
}

fn sequence(fields: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let fields: Vec<u8> = fields.iter().flat_map(|(at, body)| element(0xa0 + at, body)).collect();
    element(0x30, &fields)
}

fn name(parts: &[&str]) -> Vec<u8> {
    let parts: Vec<u8> = parts.iter().flat_map(|part| text(part)).collect();
    sequence(&[(0, integer(1)), (1, element(0x30, &parts))])
}

fn encrypted(cipher: u8) -> Vec<u8> {
    sequence(&[(0, integer(cipher)), (2, element(4, &[7; 40]))])
}

fn ticket(service: &[&str], cipher: u8) -> Vec<u8> {
    let fields = [(0, integer(5)), (1, text("FAB.TEST")), (2, name(service)), (3, encrypted(cipher))];
    element(0x61, &sequence(&fields))
}

fn request(kind: u8, client: Option<&str>, service: &[&str], preauthentication: &[u8]) -> Vec<u8> {
    let kinds: Vec<u8> = preauthentication
        .iter()
        .flat_map(|kind| sequence(&[(1, integer(*kind)), (2, element(4, &[1, 2, 3]))]))
        .collect();
    let mut body = vec![(0, vec![3, 5, 0, 0x40, 0x81, 0, 0x10])];
    body.extend(client.map(|client| (1, name(&[client]))));
    body.extend([
        (2, text("FAB.TEST")),
        (3, name(service)),
        (5, element(0x18, b"20370913024805Z")),
        (7, integer(9)),
        (8, element(0x30, &[integer(18), integer(23)].concat())),
        (9, element(0x30, &sequence(&[(0, integer(20)), (1, element(4, b"HOST1           "))]))),
    ]);
    let fields = [(1, integer(5)), (2, integer(kind)), (3, element(0x30, &kinds)), (4, sequence(&body))];
    element(0x60 + kind, &sequence(&fields))
}

fn answer(kind: u8, service: &[&str]) -> Vec<u8> {
    let fields = [
        (0, integer(5)),
        (1, integer(kind)),
        (3, text("FAB.TEST")),
        (4, name(&["ope"])),
        (5, ticket(service, 18)),
        (6, encrypted(23)),
    ];
    element(0x60 + kind, &sequence(&fields))
}

fn error(code: u8) -> Vec<u8> {
    let fields = [
        (0, integer(5)),
        (1, integer(30)),
        (4, element(0x18, b"20260101120000Z")),
        (5, integer(0)),
        (6, integer(code)),
        (9, text("FAB.TEST")),
        (10, name(&["krbtgt", "FAB.TEST"])),
    ];
    element(0x7e, &sequence(&fields))
}

const KRBTGT: [&str; 2] = ["krbtgt", "FAB.TEST"];

fn conversation() -> Vec<(Side, Vec<u8>)> {
    let (client, server) = (Side::Client, Side::Server);
    vec![
        (client, request(10, Some("ope"), &KRBTGT, &[149])),
        (server, error(25)),
        (client, request(10, Some("ope"), &KRBTGT, &[2])),
        (server, answer(11, &KRBTGT)),
        (client, request(12, None, &["cifs", "tool7"], &[1])),
        (server, answer(13, &["cifs", "tool7"])),
    ]
}

fn framed(message: Vec<u8>) -> Vec<u8> {
    [&(message.len() as u32).to_be_bytes()[..], &message].concat()
}

pub fn sample() -> Sample {
    Sample::tcp(conversation().into_iter().map(|(side, bytes)| (side, framed(bytes))).collect())
}

const COLUMNS: [&str; 6] = ["operation", "function", "target", "status", "status_code", "detail"];

#[test]
fn tickets_are_asked_for_and_given() {
    let expected = [
        r#"authenticate|as_req|krbtgt/FAB.TEST|ok|KDC_ERR_PREAUTH_REQUIRED|{"client":"ope","realm":"FAB.TEST","options":["forwardable","renewable","canonicalize","renewable_ok"],"till":"2037-09-13T02:48:05Z","ciphers":["aes256-cts-hmac-sha1-96","rc4-hmac"],"preauthentication":["req_enc_pa_rep"],"host":"HOST1","server_time":"2026-01-01T12:00:00Z","error":25}"#,
        r#"authenticate|as_req|krbtgt/FAB.TEST|ok||{"client":"ope","realm":"FAB.TEST","options":["forwardable","renewable","canonicalize","renewable_ok"],"till":"2037-09-13T02:48:05Z","ciphers":["aes256-cts-hmac-sha1-96","rc4-hmac"],"preauthentication":["enc_timestamp"],"host":"HOST1","ticket_cipher":"aes256-cts-hmac-sha1-96","cipher":"rc4-hmac"}"#,
        r#"authenticate|tgs_req|cifs/tool7|ok||{"realm":"FAB.TEST","options":["forwardable","renewable","canonicalize","renewable_ok"],"till":"2037-09-13T02:48:05Z","ciphers":["aes256-cts-hmac-sha1-96","rc4-hmac"],"preauthentication":["tgs_req"],"host":"HOST1","client":"ope","ticket_cipher":"aes256-cts-hmac-sha1-96","cipher":"rc4-hmac"}"#,
    ];
    for transport in [Transport::Udp, Transport::Tcp] {
        let mut run = Run::over(&PROTOCOL, transport);
        for (side, bytes) in conversation() {
            run.send(side, &if transport == Transport::Tcp { framed(bytes) } else { bytes });
        }
        run.close();
        assert_eq!(run.table(&COLUMNS), expected);
        let said = run.of(Kind::Identity);
        assert_eq!((said.len(), said[0].text("name"), said[0].text("address")), (1, "HOST1", "10.0.0.1"));
    }
}

#[test]
fn a_wrong_password_is_a_denied_authentication() {
    let mut run = Run::over(&PROTOCOL, Transport::Udp);
    run.send(Side::Client, &request(10, Some("ope"), &KRBTGT, &[2]));
    run.send(Side::Server, &error(24));
    run.send(Side::Server, &error(6));
    run.close();
    assert_eq!(
        run.table(&COLUMNS[..5]),
        [
            "authenticate|as_req|krbtgt/FAB.TEST|denied|KDC_ERR_PREAUTH_FAILED",
            "error|krb_error|krbtgt/FAB.TEST|denied|KDC_ERR_C_PRINCIPAL_UNKNOWN",
        ]
    );
}

#[test]
fn an_answer_alone_says_what_it_repeats() {
    let mut run = Run::over(&PROTOCOL, Transport::Udp);
    run.send(Side::Server, &answer(13, &["http", "mes"]));
    assert_eq!(
        run.table(&COLUMNS),
        [
            r#"authenticate|tgs_req|http/mes|unasked||{"client":"ope","realm":"FAB.TEST","ticket_cipher":"aes256-cts-hmac-sha1-96","cipher":"rc4-hmac"}"#
        ]
    );
}

#[test]
fn a_token_says_which_ticket_it_presents() {
    let fields = [
        (0, integer(5)),
        (1, integer(14)),
        (2, vec![3, 5, 0, 0, 0, 0, 0]),
        (3, ticket(&["ldap", "dc1"], 23)),
        (4, encrypted(18)),
    ];
    let request = element(0x6e, &sequence(&fields));
    let mut detail = String::new();
    assert_eq!(describe(&mut detail, &request), Ok(()));
    assert_eq!(
        detail,
        r#"{"mechanism":"kerberos","realm":"FAB.TEST","service":"ldap/dc1","ticket_cipher":"rc4-hmac""#
    );
    for length in 0..request.len() {
        assert!(describe(&mut String::new(), &request[..length]).is_err());
    }
    let mut detail = String::new();
    assert_eq!(describe(&mut detail, &error(37)), Ok(()));
    assert_eq!(detail, r#"{"mechanism":"kerberos","kerberos":"error","error":"KRB_AP_ERR_SKEW""#);
}

#[test]
fn other_structures_are_not_taken_for_it() {
    let request = framed(request(10, Some("ope"), &KRBTGT, &[]));
    fn glimpse(bytes: &[u8]) -> Glimpse<'_> {
        Glimpse { transport: Transport::Tcp, side: Side::Client, customary: true, bytes }
    }
    assert_eq!(probe(&glimpse(&request[..20])), Probe::More);
    assert_eq!(probe(&glimpse(&request)), Probe::Yes);
    for (at, bytes) in [(4, 0x60), (8, 0x31), (16, 4)] {
        let mut other = request.clone();
        other[at] = bytes;
        assert_eq!(probe(&glimpse(&other)), Probe::No, "{at}");
    }
}

#[test]
fn an_error_that_has_only_its_code_is_one() {
    let bytes = b"\x7e\x14\x30\x12\xa6\x03\x02\x01\x19\xac\x0b\x30\x09\x30\x07\xa1\x03\x02\x01\x02\xa2\0";
    assert_eq!(message::begins(bytes), Some(true));
    assert_eq!(message::begins(b"\x7e\x14\x30\x12\xa7\x03\x02\x01\x19"), Some(false));
    assert_eq!(message::read(bytes).unwrap().error, Some(25));
}

#[test]
fn an_error_names_the_service_that_its_request_left_out() {
    let mut run = Run::over(&PROTOCOL, Transport::Udp);
    let body = sequence(&[(0, vec![3, 5, 0, 0x40, 0, 0, 0x10]), (2, text("nobody")), (7, integer(9))]);
    let fields = [(1, integer(5)), (2, integer(10)), (4, body)];
    run.send(Side::Client, &element(0x6a, &sequence(&fields)));
    run.send(Side::Server, &error(60));
    run.close();
    assert_eq!(run.table(&COLUMNS[..5]), ["authenticate|as_req|krbtgt/FAB.TEST|denied|KRB_ERR_GENERIC"]);
}
