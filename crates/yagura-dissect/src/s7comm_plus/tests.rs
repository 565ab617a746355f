use yagura_event::schema::Kind;
use yagura_event::vocabulary::coverage;

use super::*;
use crate::testing::{Run, Sample};
use crate::tpkt::tests::{cc, cr, dt};

fn pdu(version: u8, data: &[u8]) -> Vec<u8> {
    let mut out = vec![PROTOCOL_ID, version];
    out.extend_from_slice(&(data.len() as u16).to_be_bytes());
    out.extend_from_slice(data);
    out.extend_from_slice(&[PROTOCOL_ID, version, 0, 0]);
    dt(&out)
}

fn request(function: u16, sequence: u8, flags: u8, data: &[u8]) -> Vec<u8> {
    let [high, low] = function.to_be_bytes();
    let mut out = vec![opcode::REQUEST, 0, 0, high, low, 0, 0, 0, sequence, 0, 0, 3, 0xd6, flags];
    out.extend_from_slice(data);
    pdu(2, &out)
}

fn response(function: u16, sequence: u8, data: &[u8]) -> Vec<u8> {
    let [high, low] = function.to_be_bytes();
    let mut out = vec![opcode::RESPONSE, 0, 0, high, low, 0, 0, 0, sequence, 0x34];
    out.extend_from_slice(data);
    pdu(2, &out)
}

const CREATE: &[u8] =
    b"\0\0\x01\x1d\0\x04\0\0\0\0\0\xa1\0\0\0\xd3\x82\x1f\0\0\xa3\x81\x69\0\x15\x03PC1\xa2\0\0\0\0";
const CREATED: &[u8] = b"\0\x01\x87\x56\xa1\0\0\x01\x20\x82\x1f\0\0\xa3\x82\x32\0\x17\0\0\x01\x3a\x82\x3f\0\x15\x1b1;6ES7 214-1HE30-0XB0 ;V2.2\0\xa2\0\0\0\0";

pub(crate) fn sample() -> Sample {
    Sample::tcp(vec![
        (Side::Client, cr(&[6, 0], b"SIMATIC-ROOT-HMI")),
        (Side::Server, cc(&[6, 0], b"SIMATIC-ROOT-HMI")),
        (Side::Client, request(0x04ca, 1, 0x36, CREATE)),
        (Side::Server, response(0x04ca, 1, CREATED)),
        // DB3, its value as it is, local id 10.
        (
            Side::Client,
            request(
                0x054c,
                2,
                0x34,
                &[0, 0, 0, 0, 1, 5, 0, 0x88, 0xd0, 0xb8, 0x80, 3, 2, 0x93, 0x76, 0x0a, 0, 0, 0, 0],
            ),
        ),
        (Side::Server, response(0x054c, 2, &[0, 1, 0, 8, 0x81, 0x25, 0, 0, 0, 0, 0, 0])),
        (Side::Client, request(0x04f2, 3, 0x34, &[0, 0, 0, 52, 1, 0x90, 0x77, 0, 8, 1, 0, 0, 0, 0])),
        (Side::Server, response(0x04f2, 3, &[0, 0, 0, 0, 0])),
        (Side::Client, request(0x04d4, 4, 0x34, &[0, 0, 3, 0xd6, 0, 0, 0, 0])),
    ])
}

fn talk(said: &[(Side, Vec<u8>)]) -> Run {
    let mut run = Run::new(&PROTOCOL);
    for (side, bytes) in said {
        run.send(*side, bytes);
    }
    run.close();
    run
}

#[test]
fn a_session_reads_stops_the_cpu_and_ends() {
    let run = talk(&sample().said);
    assert_eq!(
        run.table(&["operation", "function", "target", "values", "status"]),
        [
            "session.open|cotp_connect|SIMATIC-ROOT-HMI||ok",
            "session.open|create_object|PC1||ok",
            "read|get_multi_variables|DB3.10|[165]|ok",
            "control|set_variable|cpu_execution_unit.operating_state_request|[1]|ok",
            "session.close|delete_object|0x3d6||no_reply",
        ]
    );
    let identity = run.of(Kind::Identity);
    assert_eq!((identity[0].text("model"), identity[0].text("firmware")), ("6ES7 214-1HE30-0XB0", "V2.2"));
    let samples = run.of(Kind::Sample);
    assert_eq!((samples[0].text("signal"), samples[0].number("value")), ("DB3.10", Some(165.0)));
    assert!(run.messages()[3].text("detail").contains("\"control\":\"cpu_stop\""));
}

#[test]
fn notifications_carry_values() {
    let data = [0x33, 0x10, 0, 0, 0x6a, 4, 0, 0, 0, 0, 0, 1, 1, 0x92, 0xff, 0xff, 0xff, 0xff, 0, 7, 8, 0x17];
    let tail = [0x13, 0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 0, 0];
    let run = talk(&[(Side::Server, pdu(2, &[&data[..], &tail].concat()))]);
    assert_eq!(run.table(&["function", "target", "values"]), ["notification|0x1000006a|[2071]"]);
}

#[test]
fn fragments_are_put_together_and_digests_are_passed() {
    let mut data = vec![0x33, 0x10, 0, 0, 0x6a, 4, 0, 0, 0, 0, 0, 1, 1, 0x92, 0, 0, 0, 1, 0, 7, 8, 0x17, 0];
    let rest = data.split_off(9);
    let digest = [&[0x20][..], &[7; 32]].concat();
    let fragment = |data: &[u8], trailer: &[u8]| {
        let length = (DIGEST + data.len()) as u16;
        let mut out = vec![PROTOCOL_ID, 3];
        out.extend_from_slice(&length.to_be_bytes());
        dt(&[&out[..], &digest, data, trailer].concat())
    };
    let run = talk(&[
        (Side::Server, fragment(&data, &[])),
        (Side::Server, fragment(&rest, &[PROTOCOL_ID, 3, 0, 0])),
    ]);
    assert_eq!(run.table(&["function", "target", "values"]), ["notification|0x1000006a|[2071]"]);
}

#[test]
fn tls_inside_is_opaque() {
    let run = talk(&[
        (Side::Client, request(0x05b3, 1, 0x30, &[0, 0, 0, 0])),
        (Side::Server, response(0x05b3, 1, &[0, 0, 0, 0, 0])),
        (Side::Client, dt(&[0x16, 3, 1, 0, 2, 1, 0])),
        (Side::Client, dt(&[0x17, 3, 3, 0, 2, 1, 0])),
    ]);
    assert_eq!(run.table(&["function", "status"]), ["init_ssl|ok"]);
    let opaque = run.of(Kind::Coverage);
    assert_eq!((opaque.len(), opaque[0].text("event")), (1, coverage::OPAQUE));
}
