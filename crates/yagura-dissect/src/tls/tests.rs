use yagura_event::schema::Kind;
use yagura_event::vocabulary::status;

use super::*;
use crate::testing::{Run, Sample};

fn record_of(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind, 3, 3];
    out.extend((body.len() as u16).to_be_bytes());
    out.extend(body);
    out
}

fn handshake_of(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![kind];
    out.extend(&(body.len() as u32).to_be_bytes()[1..]);
    out.extend(body);
    out
}

fn extension(number: u16, body: &[u8]) -> Vec<u8> {
    let mut out = number.to_be_bytes().to_vec();
    out.extend((body.len() as u16).to_be_bytes());
    out.extend(body);
    out
}

fn counted(body: &[u8]) -> Vec<u8> {
    let mut out = (body.len() as u16).to_be_bytes().to_vec();
    out.extend(body);
    out
}

fn client_hello(extra: &[u8]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([7; 32]);
    body.push(0);
    body.extend(counted(&[0x1a, 0x1a, 0x13, 0x01, 0xc0, 0x2f]));
    body.extend([1, 0]);
    let mut extensions = extension(0, &[0, 9, 0, 0, 6, b'm', b'e', b's', b'.', b'i', b't']);
    extensions.extend(extension(16, &[0, 3, 2, b'h', b'2']));
    extensions.extend(extra);
    body.extend(counted(&extensions));
    record_of(22, &handshake_of(1, &body))
}

fn server_hello(cipher: u16, extensions: &[u8]) -> Vec<u8> {
    let mut body = vec![3, 3];
    body.extend([9; 32]);
    body.push(0);
    body.extend(cipher.to_be_bytes());
    body.push(0);
    body.extend(counted(extensions));
    record_of(22, &handshake_of(2, &body))
}

fn der(tag: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![tag];
    match body.len() {
        n @ 0..0x80 => out.push(n as u8),
        n => out.extend([0x82, (n >> 8) as u8, n as u8]),
    }
    out.extend(body);
    out
}

pub(crate) fn certificate() -> Vec<u8> {
    let algorithm = der(0x30, &der(6, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 0x0b]));
    let part = der(0x30, &[der(6, &[0x55, 4, 3]), der(0x0c, b"mes, one")].concat());
    let name = der(0x30, &der(0x31, &part));
    let validity = der(0x30, &[der(0x17, b"260101000000Z"), der(0x18, b"20510101000000Z")].concat());
    let key_kind = der(0x30, &der(6, &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1]));
    let key = der(0x30, &[key_kind, der(3, &[0; 66])].concat());
    let body = [der(2, &[0, 0xab, 1]), algorithm.clone(), name.clone(), validity, name, key].concat();
    der(0x30, &[der(0x30, &body), algorithm, der(3, &[0, 1])].concat())
}

fn certificate_message() -> Vec<u8> {
    let one = certificate();
    let mut list = (one.len() as u32).to_be_bytes()[1..].to_vec();
    list.extend(&one);
    let mut body = (list.len() as u32).to_be_bytes()[1..].to_vec();
    body.extend(list);
    handshake_of(11, &body)
}

pub fn sample() -> Sample {
    let rest = [handshake_of(12, &[3, 0, 29, 1, 5]), handshake_of(14, &[])].concat();
    Sample::tcp(vec![
        (Side::Client, client_hello(&[])),
        (Side::Server, server_hello(0xc02f, &extension(16, &[0, 3, 2, b'h', b'2']))),
        (Side::Server, record_of(22, &certificate_message())),
        (Side::Server, record_of(22, &rest)),
        (Side::Client, record_of(22, &handshake_of(16, &[1; 33]))),
        (Side::Client, record_of(20, &[1])),
        (Side::Server, record_of(20, &[1])),
    ])
}

fn run(said: &[(Side, Vec<u8>)]) -> Run {
    let mut run = Run::new(&PROTOCOL);
    for (side, bytes) in said {
        run.send(*side, bytes);
    }
    run
}

#[test]
fn a_whole_handshake_is_one_row_and_an_identity() {
    let run = run(&sample().said);
    assert_eq!(
        run.table(&["function", "target", "status", "exchange", "values"]),
        ["handshake|mes.it|ok|pair|[\"TLS_AES_128_GCM_SHA256\",\"TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256\"]"]
    );
    let detail: serde_json::Value = serde_json::from_str(run.messages()[0].text("detail")).unwrap();
    assert_eq!(detail["version"], "TLSv1.2");
    assert_eq!(detail["cipher"], "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256");
    assert_eq!((&detail["alpn"], &detail["group"]), (&"h2".into(), &"x25519".into()));
    let certificate = &detail["server_certificate"];
    assert_eq!(certificate["subject"], "CN=mes\\, one");
    assert_eq!(certificate["self_signed"], true);
    assert_eq!(certificate["serial"], "ab01");
    assert_eq!(certificate["not_before"], "2026-01-01T00:00:00Z");
    assert_eq!(certificate["not_after"], "2051-01-01T00:00:00Z");
    assert_eq!(certificate["key_bits"], 256);
    assert_eq!(run.of(Kind::Identity)[0].text("name"), "mes, one");
    assert_eq!(run.of(Kind::Coverage)[0].text("event"), "opaque");
}

#[test]
fn tls_1_3_is_established_with_the_clients_first_encrypted_record() {
    let chosen = [extension(43, &[3, 4]), extension(51, &[0, 29, 0, 1, 9])].concat();
    let run = run(&[
        (Side::Client, client_hello(&extension(43, &[4, 3, 4, 3, 3]))),
        (Side::Server, server_hello(0x1301, &chosen)),
        (Side::Server, record_of(20, &[1])),
        (Side::Server, record_of(23, &[5; 40])),
        (Side::Client, record_of(20, &[1])),
        (Side::Client, record_of(23, &[5; 40])),
    ]);
    let detail: serde_json::Value = serde_json::from_str(run.messages()[0].text("detail")).unwrap();
    assert_eq!(detail["version"], "TLSv1.3");
    assert_eq!(detail["established"], true);
    assert_eq!(detail["group"], "x25519");
    assert!(detail["ja4"].as_str().unwrap().starts_with("t13d0203h2_"));
}

#[test]
fn an_alert_refuses_and_a_silence_is_no_reply() {
    let refused = run(&[(Side::Client, client_hello(&[])), (Side::Server, record_of(21, &[2, 40]))]);
    assert_eq!(refused.table(&["status", "status_code"]), ["denied|handshake_failure"]);
    let mut silent = run(&[(Side::Client, client_hello(&[]))]);
    silent.close();
    assert_eq!(silent.table(&["status", "exchange"]), ["no_reply|request"]);
}

#[test]
fn a_heartbeat_that_claims_more_than_it_holds_is_malformed() {
    let run = run(&[(Side::Client, record_of(24, &[1, 0x40, 0]))]);
    assert_eq!(run.table(&["function", "status"]), [format!("heartbeat_request|{}", status::MALFORMED)]);
}

#[test]
fn handshake_messages_may_be_cut_anywhere_into_records() {
    let hello = client_hello(&[]);
    let body = &hello[HEADER..];
    let mut run =
        run(&[(Side::Client, record_of(22, &body[..3])), (Side::Client, record_of(22, &body[3..]))]);
    run.close();
    assert_eq!(run.table(&["target"]), ["mes.it"]);
}

/// The beginning of a real connection, and the certificate of these tests.
#[test]
fn ssl_2_is_read_up_to_the_clients_key() {
    let mut hello = vec![0x80, 0x1c, 1, 0, 2, 0, 3, 0, 0, 0, 16, 7, 0, 0xc0];
    hello.extend([9; 16]);
    let one = certificate();
    let mut answer = vec![4, 0, 1, 0, 2, 0, one.len() as u8, 0, 3, 0, 16];
    answer[5] = (one.len() >> 8) as u8;
    answer.extend(one);
    answer.extend([7, 0, 0xc0]);
    answer.extend([5; 16]);
    let mut record = vec![0x80 | (answer.len() >> 8) as u8, answer.len() as u8];
    record.extend(answer);
    let said = [
        (Side::Client, hello),
        (Side::Server, record),
        (Side::Client, vec![0x80, 14, 2, 7, 0, 0xc0, 0, 0, 0, 2, 0, 2, 1, 1, 2, 2]),
        (Side::Server, vec![0x80, 41, 0x77, 0x12, 3]),
        (Side::Client, vec![0x80, 41, 0x16, 3, 1]),
    ];
    let mut whole = run(&said);
    whole.close();
    assert_eq!(whole.table(&["function", "status", "exchange"]), ["handshake|ok|pair"]);
    let detail: serde_json::Value = serde_json::from_str(whole.messages()[0].text("detail")).unwrap();
    assert_eq!((&detail["version"], &detail["established"]), (&"SSLv2".into(), &true.into()));
    assert_eq!(detail["cipher"], "SSL_CK_DES_192_EDE3_CBC_WITH_MD5");
    assert_eq!(detail["server_certificate"]["subject"], "CN=mes\\, one");
    let mut split = Run::new(&PROTOCOL);
    for (side, bytes) in &said {
        bytes.iter().for_each(|byte| split.send(*side, &[*byte]));
    }
    split.close();
    assert_eq!(split.table(&["detail"]), whole.table(&["detail"]));
}

#[test]
fn the_hello_of_ssl_2_may_open_tls() {
    let mut hello = vec![0x80, 0x1c, 1, 3, 1, 0, 3, 0, 0, 0, 16, 0, 0, 0x2f];
    hello.extend([9; 16]);
    let run = run(&[
        (Side::Client, hello),
        (Side::Server, server_hello(0x002f, &[])),
        (Side::Server, record_of(22, &handshake_of(14, &[]))),
        (Side::Client, record_of(22, &handshake_of(16, &[1; 33]))),
        (Side::Client, record_of(20, &[1])),
        (Side::Server, record_of(20, &[1])),
    ]);
    assert_eq!(
        run.table(&["function", "status", "values"]),
        ["handshake|ok|[\"TLS_RSA_WITH_AES_128_CBC_SHA\"]"]
    );
    assert!(run.messages()[0].text("detail").contains("\"offered_versions\":[\"TLSv1.0\"]"));
}

#[test]
fn a_hello_that_is_answered_in_words_is_refused() {
    for words in ["<!DOCTYPE HTML>\n<html lang=\"en\">", "220 poczta.home-whs.pl ESMTP\r\n"] {
        let mut run = run(&[(Side::Client, client_hello(&[])), (Side::Server, words.into())]);
        run.close();
        assert_eq!(
            run.table(&["function", "status", "status_code"]),
            ["handshake|denied|answered_without_tls"]
        );
        assert!(run.of(Kind::Coverage).is_empty());
    }
}

#[test]
fn words_behind_a_gap_are_no_answer() {
    let mut run = run(&[(Side::Client, client_hello(&[]))]);
    run.lose(Side::Server, 9);
    run.send(Side::Server, b"Redmond1");
    run.close();
    assert_eq!(run.table(&["function", "status"]), ["handshake|no_reply"]);
}

/// The server's part is cut by a snap length; the client's Finished, encrypted, looks like a
/// handshake message of any length.
#[test]
fn a_handshake_whose_server_hello_was_lost() {
    let mut run = run(&[(Side::Client, client_hello(&[]))]);
    run.lose(Side::Server, 900);
    run.send(Side::Client, &record_of(22, &handshake_of(16, &[1; 33])));
    run.send(Side::Client, &record_of(20, &[1]));
    run.send(Side::Client, &record_of(22, &[0x9f, 0xd2, 0x4f, 0x4e, 0xe8, 0xfa, 0xab, 0x59]));
    run.send(Side::Server, &record_of(20, &[1]));
    run.send(Side::Server, &record_of(22, &[0x1b, 0x1b, 0x17, 0xd0, 0x5f, 0xdf]));
    run.close();
    assert_eq!(run.table(&["function", "status", "exchange"]), ["handshake|ok|pair"]);
    let detail = run.messages()[0].text("detail").to_string();
    assert!(detail.contains("\"established\":true") && !detail.contains("resumed"), "{detail}");
}
