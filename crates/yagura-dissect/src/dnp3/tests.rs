use yagura_event::schema::Kind;

use super::*;
use crate::Transport;
use crate::testing::{OTHERS, Run, Sample};

const MASTER: u16 = 1;
const OUTSTATION: u16 = 10;

fn link(control: u8, destination: u16, source: u16, user: &[u8]) -> Vec<u8> {
    let mut out = vec![0x05, 0x64, user.len() as u8 + 5, control];
    out.extend(destination.to_le_bytes());
    out.extend(source.to_le_bytes());
    out.extend(crc(&out));
    for block in user.chunks(BLOCK) {
        out.extend_from_slice(block);
        out.extend(crc(block));
    }
    out
}

/// A whole fragment from the master.
fn ask(sequence: u8, rest: &[u8]) -> Vec<u8> {
    link(0xc4, OUTSTATION, MASTER, &[&[0xc0, 0xc0 | sequence], rest].concat())
}

/// A whole fragment from the outstation.
fn reply(control: u8, rest: &[u8]) -> Vec<u8> {
    link(0x44, MASTER, OUTSTATION, &[&[0xc0, control], rest].concat())
}

fn crob(status: u8) -> Vec<u8> {
    let mut out = vec![12, 1, 0x17, 1, 7, 0x41, 1];
    out.extend(100u32.to_le_bytes());
    out.extend(200u32.to_le_bytes());
    out.push(status);
    out
}

pub(crate) fn sample() -> Sample {
    Sample::tcp(vec![
        (Side::Client, link(0xc9, OUTSTATION, MASTER, &[])),
        (Side::Server, link(0x0b, MASTER, OUTSTATION, &[])),
        (Side::Client, ask(1, &[1, 60, 1, 6])),
        (Side::Server, reply(0xc1, &[129, 0, 0, 30, 2, 0, 4, 5, 1, 7, 0, 5, 9, 0])),
        (Side::Client, ask(2, &[&[5][..], &crob(0)].concat())),
        (Side::Server, reply(0xc2, &[&[129, 0, 0][..], &crob(0)].concat())),
        (Side::Server, reply(0xf3, &[130, 0x80, 0, 2, 1, 0x17, 1, 4, 0x81])),
        (Side::Client, ask(0x13, &[0])),
    ])
}

fn exchange(request: &[u8], response: &[u8]) -> Run {
    let mut run = Run::new(&PROTOCOL);
    run.send(Side::Client, &ask(5, request));
    run.time += 700;
    run.send(Side::Server, &reply(0xc5, response));
    run
}

#[test]
fn the_crc_is_that_of_the_standard() {
    // The check value of CRC-16/DNP.
    assert_eq!(crc(b"123456789"), 0xea82u16.to_le_bytes());
}

#[test]
fn points_without_a_byte_are_only_counted() {
    let mut run = Run::new(&PROTOCOL);
    let header = [112, 0, 1, 0, 0, 0xff, 0xff];
    run.send(Side::Client, &ask(5, &[&[2][..], &header.repeat(30)].concat()));
    run.close();
    assert_eq!(run.messages()[0].number("count"), Some(30.0 * 65_536.0));
}

#[test]
fn objects_are_named_as_far_as_they_go() {
    let mut run = Run::new(&PROTOCOL);
    run.send(Side::Client, &ask(5, &[112, 60, 1, 6]));
    run.send(Side::Client, &ask(6, b"\x15\x3c\x02\x06\x3c\x03\x06\x3c\x04\xed"));
    run.close();
    assert_eq!(
        run.table(&["function", "target", "status", "status_code"]),
        ["function_112|g60v1|no_reply|", "disable_unsolicited|g60v2, g60v3, g60v4|malformed|qualifier"]
    );
}

#[test]
fn an_authentication_response_says_so() {
    let run = exchange(&[32, 120, 6, 0x5b, 1, 0, 0], &[131, 0x90, 0]);
    assert!(run.messages()[0].text("detail").contains("\"response_function\":131"));
}

#[test]
fn reserved_link_functions_are_named() {
    let mut run = Run::new(&PROTOCOL);
    run.send(Side::Client, b"\x05\x64\x0b\xc5\x00\x04\x01\x00\xcc\xa9\xc0\xc0\x01\x3c\x01\x06\xff\x50");
    assert_eq!(run.table(&["function", "session", "status"]), ["link_function_5|1024|one_way"]);
}

#[test]
fn a_read_has_values_samples_and_indications() {
    let run = exchange(
        &[1, 30, 2, 0, 4, 5],
        &[129, 0x92, 0, 30, 2, 0, 4, 5, 1, 7, 0, 0x05, 0xfe, 0xff, 1, 1, 0, 0, 2, 0b101],
    );
    let row = run.messages()[0];
    for (column, expected) in [
        ("function", "read"),
        ("operation", "read"),
        ("session", "10"),
        ("target", "g30v2 4..5"),
        ("values", "[7,-2,1,0,1]"),
        ("status", "ok"),
        ("exchange", "pair"),
        (
            "detail",
            r#"{"source":1,"destination":10,"function":1,"sequence":5,"iin":["class_1_events","need_time","device_restart"]}"#,
        ),
    ] {
        assert_eq!(row.text(column), expected, "{column}");
    }
    assert_eq!(row.number("latency_us"), Some(700.0));
    let samples: Vec<_> = run
        .of(Kind::Sample)
        .iter()
        .map(|s| (s.text("signal").to_string(), s.number("value").unwrap(), s.number("quality").unwrap()))
        .collect();
    assert_eq!(samples[0], ("analog_input 4".into(), 7.0, 0.0));
    assert_eq!(samples[1], ("analog_input 5".into(), -2.0, 2.0));
    assert_eq!(run.of(Kind::Sample)[0].text("source"), "dnp3 10.0.0.2:5000/10");
}

#[test]
fn controls_say_what_they_do_and_how_it_ended() {
    let request = [&[4][..], &crob(0)].concat();
    let run = exchange(&request, &[&[129, 0, 0][..], &crob(2)].concat());
    let expected = "control|operate|g12v1 7|[{\"op\":\"pulse_on\",\"tcc\":\"close\",\"code\":65,\"count\":1,\"on_ms\":100,\"off_ms\":200}]|denied|no_select";
    let columns = ["operation", "function", "target", "values", "status", "status_code"];
    assert_eq!(run.table(&columns), [expected]);
    let run = exchange(&[3, 41, 2, 0x28, 1, 0, 3, 0, 0x10, 0x27, 0], &[129, 0, 0]);
    assert_eq!(run.table(&columns), ["control|select|g41v2 3|[10000]|ok|"]);
    let run = exchange(&[13], &[129, 0, 0x01]);
    assert_eq!(run.table(&columns), ["diagnose|cold_restart|||denied|no_func_code_support"]);
    let run = exchange(&[2, 80, 1, 0, 7, 7, 0], &[129, 0, 4]);
    assert_eq!(run.table(&columns), ["configure|write|g80v1 7|[0]|denied|parameter_error"]);
    let run = exchange(&[2, 50, 1, 7, 1, 1, 0, 0, 0, 0, 0], &[129, 0, 0]);
    assert_eq!(run.table(&columns), ["configure|write|g50v1|[1]|ok|"]);
    let run = exchange(&[20, 60, 2, 6, 60, 3, 6], &[129, 0, 0]);
    assert_eq!(run.table(&columns), ["configure|enable_unsolicited|g60v2, g60v3||ok|"]);
}

#[test]
fn unsolicited_responses_pair_with_their_confirmation() {
    let mut run = Run::new(&PROTOCOL);
    run.send(Side::Server, &reply(0xf3, &[130, 0, 0, 2, 1, 0x17, 1, 4, 0x81]));
    run.send(Side::Client, &ask(0x13, &[0]));
    let columns = ["operation", "function", "target", "values", "exchange", "client", "tool"];
    let expected = "report|unsolicited_response|g2v1 4|[1]|pair|10.0.0.2|10.0.0.2";
    assert_eq!(run.table(&columns), [expected]);
    assert_eq!(run.of(Kind::Sample)[0].text("signal"), "binary_input 4");
}

#[test]
fn segments_and_fragments_become_one_row() {
    let mut run = Run::new(&PROTOCOL);
    run.send(Side::Client, &ask(0, &[1, 60, 1, 6]));
    // One fragment in two segments, then a second one in one.
    let first = [0x80, 129, 0, 0, 30, 4, 0, 0, 1, 1, 0, 2, 0];
    run.send(Side::Server, &link(0x44, MASTER, OUTSTATION, &[&[0x47][..], &first[..8]].concat()));
    run.send(Side::Server, &link(0x44, MASTER, OUTSTATION, &[&[0x88][..], &first[8..]].concat()));
    assert!(run.messages().is_empty());
    run.send(Side::Server, &reply(0x41, &[129, 0, 0, 30, 4, 0, 2, 2, 3, 0]));
    assert_eq!(run.table(&["values", "exchange"]), ["[1,2,3]|pair"]);
    assert!(run.messages()[0].text("detail").contains("\"fragmented\":true"));
    // A segment is missing.
    run.send(Side::Server, &link(0x44, MASTER, OUTSTATION, &[0x41, 0xc1, 129, 0, 0]));
    run.send(Side::Server, &link(0x44, MASTER, OUTSTATION, &[0x83, 1, 2, 3]));
    assert_eq!(run.messages()[1].text("status_code"), "transport_sequence");
}

#[test]
fn a_response_that_is_broken_off_does_not_take_the_next() {
    let mut run = Run::new(&PROTOCOL);
    for (sequence, value) in [(0, 1), (1, 2)] {
        run.send(Side::Client, &ask(sequence, &[1, 60, 1, 6]));
        run.send(Side::Server, &reply(0x80 | sequence, &[129, 0, 0, 30, 4, 0, 0, 0, value, 0]));
    }
    run.send(Side::Server, &reply(0x42, &[129, 0, 0, 30, 4, 0, 1, 1, 3, 0]));
    assert_eq!(run.table(&["values", "exchange", "status"]), ["[1]|pair|ok", "[2,3]|pair|ok"]);
}

#[test]
fn files_are_hashed_and_not_kept() {
    let mut run = Run::new(&PROTOCOL);
    let mut open = vec![25, 70, 3, 0x5b, 1, 31, 0, 26, 0, 5, 0];
    open.extend([0; 6]);
    open.extend([0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 4, 1, 0]);
    open.extend_from_slice(b"a.cfg");
    run.send(Side::Client, &ask(0, &open));
    let handle = [9, 0, 0, 0];
    let opened = [&[129, 0, 0, 70, 4, 0x5b, 1, 13, 0][..], &handle, &[0, 0, 0, 0, 0, 4, 1, 0, 0]].concat();
    run.send(Side::Server, &reply(0xc0, &opened));
    let block = [&[2, 70, 5, 0x5b, 1, 14, 0][..], &handle, &[0, 0, 0, 0x80], b"SECRET"].concat();
    run.send(Side::Client, &ask(1, &block));
    let taken = [&[129, 0, 0, 70, 6, 0x5b, 1, 9, 0][..], &handle, &[0, 0, 0, 0x80, 0]].concat();
    run.send(Side::Server, &reply(0xc1, &taken));
    let close = [&[26, 70, 4, 0x5b, 1, 13, 0][..], &handle, &[0, 0, 0, 0, 0, 0, 2, 0, 0]].concat();
    run.send(Side::Client, &ask(2, &close));
    run.send(Side::Server, &reply(0xc2, &opened));
    assert_eq!(
        run.table(&["operation", "function", "target", "status"]),
        [
            "program.write|open_file|a.cfg|ok",
            "program.write|write|a.cfg|ok",
            "session.close|close_file|a.cfg|ok"
        ]
    );
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"key").unwrap();
    mac.update(b"SECRET");
    let mut expected = String::new();
    json::push_hex_digits(&mut expected, &mac.finalize().into_bytes());
    assert_eq!(run.messages()[2].text("body_hmac"), expected);
    assert_eq!(run.messages()[2].number("body_bytes"), Some(6.0));
    assert!(!format!("{:?}", run.rows).contains("SECRET"));
}

#[test]
fn device_attributes_are_an_identity() {
    let run = exchange(
        &[1, 0, 254, 0, 0, 0],
        b"\x81\x00\x00\x00\xfc\x00\x00\x00\x01\x04Acme\x00\xf2\x00\x00\x00\x01\x031.2",
    );
    let row = run.of(Kind::Identity)[0];
    assert_eq!((row.text("vendor"), row.text("firmware")), ("Acme", "1.2"));
    assert_eq!(run.messages()[0].text("operation"), "discover");
}

#[test]
fn what_breaks_the_protocol_is_malformed() {
    let mut damaged = ask(1, &[1, 60, 1, 6]);
    damaged[12] ^= 1;
    let mut short = ask(1, &[1, 60, 1, 6]);
    short[2] = 4;
    let cases: [(Vec<u8>, &str); 5] = [
        (damaged, "data_crc"),
        (short, "link_length"),
        (ask(1, &[1, 60, 1, 0x86]), "qualifier"),
        (ask(1, &[2, 30, 2, 0, 5, 4]), "range"),
        (link(0xc4, OUTSTATION, MASTER, &[]), "transport_header"),
    ];
    for (bytes, code) in cases {
        let mut run = Run::new(&PROTOCOL);
        run.send(Side::Client, &bytes);
        run.close();
        assert_eq!(run.messages()[0].text("status"), "malformed", "{code}");
        assert_eq!(run.messages()[0].text("status_code"), code);
    }
}

#[test]
fn datagrams_are_read_too_and_others_are_not_taken() {
    let mut run = Run::over(&PROTOCOL, Transport::Udp);
    run.send(Side::Client, &ask(1, &[23]));
    run.send(Side::Server, &reply(0xc1, &[129, 0, 0, 52, 2, 7, 1, 5, 0]));
    assert_eq!(run.table(&["function", "values", "exchange"]), ["delay_measure|[5]|pair"]);
    for (name, bytes) in OTHERS.iter().filter(|(name, _)| *name != "DNP3") {
        let glimpse = Glimpse { transport: Transport::Tcp, side: Side::Client, customary: true, bytes };
        assert_eq!(probe(&glimpse), Probe::No, "{name}");
    }
}
