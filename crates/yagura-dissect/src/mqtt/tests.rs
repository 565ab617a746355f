use yagura_event::clock::SECOND;
use yagura_event::schema::Kind;

use super::*;
use crate::testing::{Run, Sample};

const CLIENT: Side = Side::Client;
const BROKER: Side = Side::Server;

fn text(text: &str) -> Vec<u8> {
    let mut out = (text.len() as u16).to_be_bytes().to_vec();
    out.extend_from_slice(text.as_bytes());
    out
}

fn packet(first: u8, body: &[&[u8]]) -> Vec<u8> {
    let body = body.concat();
    let mut out = vec![first];
    let mut length = body.len();
    loop {
        let byte = (length & 0x7f) as u8;
        length >>= 7;
        out.push(byte | if length > 0 { 0x80 } else { 0 });
        if length == 0 {
            break;
        }
    }
    out.extend_from_slice(&body);
    out
}

fn connect(level: u8) -> Vec<u8> {
    let properties: &[u8] = if level == 5 { &[5, 0x11, 0, 0, 0, 60] } else { &[] };
    packet(
        0x10,
        &[&text("MQTT"), &[level, 0xc2, 0, 60], properties, &text("gw-1"), &text("etch"), &text("hidden")],
    )
}

fn metric(name: &str, alias: u8, datatype: u8, value: &[u8]) -> Vec<u8> {
    let mut inner = Vec::new();
    if !name.is_empty() {
        inner.extend_from_slice(&[0x0a, name.len() as u8]);
        inner.extend_from_slice(name.as_bytes());
    }
    inner.extend_from_slice(&[0x10, alias]);
    if datatype > 0 {
        inner.extend_from_slice(&[0x20, datatype]);
    }
    inner.extend_from_slice(value);
    let mut out = vec![0x12, inner.len() as u8];
    out.extend_from_slice(&inner);
    out
}

fn sparkplug(kind: &str, sequence: u8, metrics: &[Vec<u8>]) -> Vec<u8> {
    let topic = text(&format!("spBv1.0/fab/{kind}/edge-1"));
    packet(0x30, &[&topic, &metrics.concat(), &[0x18, sequence]])
}

pub(crate) fn sample() -> Sample {
    Sample::tcp(vec![
        (CLIENT, connect(4)),
        (BROKER, packet(0x20, &[&[0, 0]])),
        (CLIENT, packet(0x82, &[&[0, 7], &text("fab/etch/#"), &[1]])),
        (BROKER, packet(0x90, &[&[0, 7, 1]])),
        (CLIENT, packet(0x32, &[&text("fab/etch/pressure"), &[0, 8], b"12.5"])),
        (BROKER, packet(0x40, &[&[0, 8]])),
        (CLIENT, sparkplug("NBIRTH", 0, &[metric("Flow", 1, 3, &[0x50, 5])])),
        (CLIENT, sparkplug("NDATA", 1, &[metric("", 1, 0, &[0x50, 6])])),
        (CLIENT, packet(0xc0, &[])),
        (BROKER, packet(0xd0, &[])),
        (CLIENT, packet(0xe0, &[])),
    ])
}

fn run(sample: Sample) -> Run {
    let mut run = Run::new(&PROTOCOL);
    for (side, bytes) in &sample.said {
        run.time += 100;
        run.send(*side, bytes);
    }
    run.close();
    run
}

#[test]
fn packets_and_their_acknowledgements_are_rows() {
    let run = run(sample());
    assert_eq!(
        run.table(&["operation", "function", "session", "target", "values", "status", "exchange"]),
        [
            "authenticate|connect|gw-1|etch||ok|pair",
            "read|subscribe|gw-1|fab/etch/#|[\"fab/etch/#\"]|ok|pair",
            "report|publish|gw-1|fab/etch/pressure|[12.5]|ok|pair",
            "report|nbirth|gw-1|spBv1.0/fab/NBIRTH/edge-1|[{\"Flow\":5}]|one_way|request",
            "report|ndata|gw-1|spBv1.0/fab/NDATA/edge-1|[{\"Flow\":6}]|one_way|request",
            "session.keep|pingreq|gw-1|||ok|pair",
            "session.close|disconnect|gw-1|||one_way|request",
        ]
    );
    let all = format!("{:?}", run.rows);
    assert!(!all.contains("hidden"), "a password is in a row");
    let samples: Vec<String> = run
        .of(Kind::Sample)
        .iter()
        .map(|r| format!("{}={:?}", r.text("signal"), r.number("value")))
        .collect();
    assert_eq!(
        samples,
        ["fab/etch/pressure=Some(12.5)", "fab/edge-1/Flow=Some(5.0)", "fab/edge-1/Flow=Some(6.0)"]
    );
}

#[test]
fn refusals_have_their_names() {
    let run = run(Sample::tcp(vec![(CLIENT, connect(4)), (BROKER, packet(0x20, &[&[0, 5]]))]));
    assert_eq!(run.table(&["operation", "status", "status_code"]), ["authenticate|denied|not_authorized"]);
    let mut five = Run::new(&PROTOCOL);
    five.send(CLIENT, &connect(5));
    five.send(BROKER, &packet(0x20, &[&[0, 0x8a, 0]]));
    assert_eq!(five.table(&["status", "status_code"]), ["denied|banned"]);
}

#[test]
fn aliases_of_mqtt_5_are_followed_and_sequences_of_sparkplug_counted() {
    let mut run = Run::new(&PROTOCOL);
    run.send(CLIENT, &connect(5));
    run.send(BROKER, &packet(0x20, &[&[0, 0, 0]]));
    run.send(CLIENT, &packet(0x30, &[&text("fab/t"), &[3, 0x23, 0, 9], b"1"]));
    run.send(CLIENT, &packet(0x30, &[&text(""), &[3, 0x23, 0, 9], b"2"]));
    assert_eq!(run.table(&["target", "values"])[1..], ["fab/t|[1]", "fab/t|[2]"]);
    let mut run = Run::new(&PROTOCOL);
    run.send(CLIENT, &connect(4));
    for (kind, sequence) in [("NBIRTH", 0), ("NDATA", 1), ("NDATA", 4)] {
        run.send(CLIENT, &sparkplug(kind, sequence, &[]));
    }
    let last = run.messages().last().map(|r| r.text("detail").to_string()).unwrap_or_default();
    assert!(last.contains("\"sequence_gap\":2"), "{last}");
}

#[test]
fn a_long_payload_is_passed_over_and_the_next_packet_read() {
    let mut run = Run::new(&PROTOCOL);
    run.send(CLIENT, &connect(4));
    let long = packet(0x30, &[&text("fab/camera"), &vec![0xff; PACKET_MAX + 5_000]]);
    for piece in long.chunks(1400) {
        run.send(CLIENT, piece);
        assert!(run.held(CLIENT) <= PROTOCOL.buffer_bytes_max);
    }
    run.send(CLIENT, &packet(0x30, &[&text("fab/next"), b"on"]));
    run.pass(60 * SECOND);
    let table = run.table(&["function", "target", "status"]);
    assert_eq!(table, ["publish|fab/camera|one_way", "publish|fab/next|one_way", "connect|etch|no_reply"]);
    let detail = run.messages()[0].text("detail").to_string();
    assert!(detail.contains(&format!("\"bytes\":{}", PACKET_MAX + 5_000)), "{detail}");
}
