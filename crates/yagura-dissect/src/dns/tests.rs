use yagura_event::vocabulary::status;

use super::*;
use crate::testing::{Run, Sample};

fn message(id: u16, flags: u16, counts: [u16; 4], body: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    for number in [id, flags, counts[0], counts[1], counts[2], counts[3]] {
        out.extend(number.to_be_bytes());
    }
    out.extend(body);
    out
}

const QUESTION: &[u8] = b"\x03mes\x03fab\x00\x00\x01\x00\x01";

fn query(id: u16) -> Vec<u8> {
    let mut body = QUESTION.to_vec();
    body.extend(b"\x00\x00\x29\x04\xd0\x00\x00\x80\x00\x00\x00");
    message(id, 0x0100, [1, 0, 0, 1], &body)
}

fn response(id: u16) -> Vec<u8> {
    let mut body = QUESTION.to_vec();
    body.extend(b"\xc0\x0c\x00\x05\x00\x01\x00\x00\x00\x3c\x00\x04\x01a\xc0\x10");
    body.extend(b"\xc0\x25\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x01\x02\x03");
    message(id, 0x8580, [1, 2, 0, 0], &body)
}

pub fn sample() -> Sample {
    Sample::udp(vec![
        (Side::Client, query(1)),
        (Side::Server, response(1)),
        (Side::Client, query(2)),
        (Side::Server, message(2, 0x8183, [1, 0, 0, 0], QUESTION)),
    ])
}

#[test]
fn a_query_and_its_response_are_one_row() {
    let mut run = Run::over(&PROTOCOL, Transport::Udp);
    for (side, bytes) in sample().said {
        run.send(side, &bytes);
    }
    assert_eq!(
        run.table(&["function", "target", "values", "status", "status_code"]),
        ["query|mes.fab|[\"a.fab\",\"10.1.2.3\"]|ok|", "query|mes.fab||denied|NXDOMAIN"]
    );
    let detail: serde_json::Value = serde_json::from_str(run.messages()[0].text("detail")).unwrap();
    assert_eq!(detail["answer_types"], serde_json::json!(["CNAME", "A"]));
    assert_eq!(detail["edns"]["do"], true);
    assert_eq!(detail["aa"], true);
}

#[test]
fn the_same_over_a_stream() {
    let mut run = Run::new(&PROTOCOL);
    for (side, bytes) in sample().said {
        let mut framed = (bytes.len() as u16).to_be_bytes().to_vec();
        framed.extend(bytes);
        let (a, b) = framed.split_at(9);
        run.send(side, a);
        run.send(side, b);
    }
    assert_eq!(run.table(&["status"]), ["ok", "denied"]);
}

#[test]
fn pointers_that_lead_in_a_circle_are_malformed() {
    let mut run = Run::over(&PROTOCOL, Transport::Udp);
    run.send(Side::Client, &message(3, 0, [1, 0, 0, 0], b"\xc0\x0c\x00\x01\x00\x01"));
    run.send(Side::Client, &message(4, 0, [1, 0, 0, 0], b"\x01a\xc0\x0c\x00\x01\x00\x01"));
    run.close();
    assert_eq!(run.table(&["status", "status_code"]), vec![format!("{}|name_pointer", status::MALFORMED); 2]);
}

#[test]
fn a_response_nobody_asked_for_is_said_to_be_one() {
    let mut run = Run::over(&PROTOCOL, Transport::Udp);
    run.send(Side::Server, &response(9));
    assert_eq!(run.table(&["status", "exchange"]), ["unasked|reply"]);
}

#[test]
fn netbios_names_are_decoded() {
    let mut flow = Run::over(&PROTOCOL, Transport::Udp).flow;
    flow.server.port = NBNS;
    let mut label = b"\x20".to_vec();
    for byte in *b"TOOL7          \x20" {
        label.extend([b'A' + (byte >> 4), b'A' + (byte & 15)]);
    }
    label.push(0);
    let mut out = String::new();
    record::name(&mut Cursor::new(&label), &label, true, &mut out).unwrap();
    assert_eq!(out, "TOOL7<20>");
}

#[test]
fn an_operation_outside_the_standard_is_believed_of_a_whole_message() {
    let whole = message(0x3039, 0x7900, [1, 0, 0, 0], QUESTION);
    let probe = |customary: bool, bytes: &[u8]| {
        probe(&Glimpse { transport: Transport::Udp, side: Side::Client, customary, bytes })
    };
    assert_eq!(probe(true, &whole), Probe::Yes);
    assert_eq!(probe(false, &whole), Probe::No);
    assert_eq!(probe(true, &whole[..whole.len() - 1]), Probe::No);
    assert_eq!(probe(true, &[&whole[..], &[0]].concat()), Probe::No);
    let mut run = Run::over(&PROTOCOL, Transport::Udp);
    run.send(Side::Client, &whole);
    run.close();
    assert_eq!(run.table(&["function", "target"]), ["opcode_outside_the_standard|mes.fab"]);
}
