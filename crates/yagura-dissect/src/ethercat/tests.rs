use yagura_event::schema::Kind;

use hmac::KeyInit;

use super::*;
use crate::testing::{OTHERS, Run, Sample};

/// A datagram's command, index, slave, offset, data and working counter.
type Said<'a> = (u8, u8, u16, u16, &'a [u8], u16);

fn frame(datagrams: &[Said<'_>]) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, &(command, index, slave, offset, data, counter)) in datagrams.iter().enumerate() {
        out.extend([command, index]);
        out.extend(slave.to_le_bytes());
        out.extend(offset.to_le_bytes());
        let more = if at + 1 < datagrams.len() { 0x8000 } else { 0 };
        out.extend((data.len() as u16 | more).to_le_bytes());
        out.extend([0, 0]);
        out.extend_from_slice(data);
        out.extend(counter.to_le_bytes());
    }
    let mut whole = (out.len() as u16 | DATAGRAMS << 12).to_le_bytes().to_vec();
    whole.extend(out);
    whole.resize(whole.len().max(46), 0);
    whole
}

/// A mailbox of 64 bytes.
fn mailbox(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut out = (body.len() as u16).to_le_bytes().to_vec();
    out.extend([0, 0, 0, kind | 0x10]);
    out.extend_from_slice(body);
    out.resize(64, 0);
    out
}

fn sdo(service: u16, body: &[u8]) -> Vec<u8> {
    let mut out = (service << 12).to_le_bytes().to_vec();
    out.extend_from_slice(body);
    mailbox(3, &out)
}

/// Frames with what they hold before and after the slaves.
fn through(run: &mut Run, before: &[Said<'_>], after: &[Said<'_>]) {
    run.time += 100;
    run.send(Side::Client, &frame(before));
    run.time += 20;
    run.send(Side::Server, &frame(after));
}

/// Slaves are counted, one is started, an object read.
pub(crate) fn sample() -> Sample {
    let upload = sdo(2, &[0x40, 0x41, 0x60, 0, 0, 0, 0, 0]);
    let answer = sdo(3, &[0x4b, 0x41, 0x60, 0, 0x37, 2, 0, 0]);
    let empty = [0; 64];
    let said = [
        [(7, 1, 0, 0x130, &[0, 0][..], 0), (1, 2, 0xffff, 0x130, &[0, 0], 0)],
        [(7, 1, 5, 0x130, &[8, 0], 5), (1, 2, 4, 0x130, &[8, 0], 1)],
        [(5, 3, 0x1001, 0x120, &[8, 0], 0), (5, 4, 0x1001, 0x1000, &upload, 0)],
        [(5, 3, 0x1001, 0x120, &[8, 0], 1), (5, 4, 0x1001, 0x1000, &upload, 1)],
        [(4, 5, 0x1001, 0x1080, &empty, 0), (12, 6, 0, 1, &[1, 2, 3], 0)],
        [(4, 5, 0x1001, 0x1080, &answer, 1), (12, 6, 0, 1, &[1, 7, 7], 3)],
    ];
    let sides = [Side::Client, Side::Server].into_iter().cycle();
    Sample {
        transport: Transport::Link,
        said: sides.zip(said).map(|(side, said)| (side, frame(&said))).collect(),
        customary_only: true,
    }
}

#[test]
fn frames_that_return_are_rows_and_repetitions_are_counted() {
    let mut run = Run::over(&PROTOCOL, Transport::Link);
    for (side, bytes) in sample().said {
        run.time += 10;
        run.send(side, &bytes);
    }
    assert_eq!(
        run.table(&["operation", "function", "session", "target", "values", "status"]),
        [
            "diagnose|broadcast_read|all|al_status (0x0130)|[\"operational\"]|ok",
            "diagnose|auto_increment_read|position 1|al_status (0x0130)|[\"operational\"]|ok",
            "control|configured_address_write|0x1001|al_control (0x0120)|[\"operational\"]|ok",
            "read|sdo_upload|0x1001|0x6041:00|[567]|ok",
            "write|logical_memory_read_write|logical|0x00010000|[\"0x010707\"]|ok",
        ]
    );
    assert_eq!(run.messages()[0].number("latency_us"), Some(10.0));
    let sample = run.of(Kind::Sample)[0];
    assert_eq!((sample.text("signal"), sample.number("value")), ("0x1001 0x6041:00", Some(567.0)));
    let before = run.messages().len();
    for value in 0..9 {
        through(&mut run, &[(12, value, 0, 1, &[value, 2, 3], 0)], &[(12, value, 0, 1, &[value, 7, 7], 3)]);
    }
    assert_eq!(run.messages().len(), before);
    // A slave drops out.
    through(&mut run, &[(12, 99, 0, 1, &[1, 2, 3], 0)], &[(12, 99, 0, 1, &[1, 2, 3], 0)]);
    let rows = run.messages();
    assert_eq!(rows[before].number("count"), Some(9.0));
    assert!(rows[before].text("detail").contains("\"repeated\":9"));
    assert_eq!(rows[before + 1].text("status_code"), "no_slave_answered");
    assert!(rows[before + 1].text("detail").contains("\"working_counter\":0,\"working_counter_was\":3"));
}

#[test]
fn frames_without_a_mark_are_told_by_what_they_hold() {
    let mut run = Run::over(&PROTOCOL, Transport::Udp);
    run.send(Side::Client, &frame(&[(2, 1, 0xfffe, 0x10, &[1, 0x10], 0)]));
    run.send(Side::Client, &frame(&[(2, 1, 1, 0x10, &[1, 0x10], 1)]));
    run.send(Side::Client, &frame(&[(4, 2, 0x1009, 0x110, &[0, 0], 0)]));
    run.send(Side::Client, &frame(&[(4, 2, 0x1009, 0x110, &[0, 0], 0)]));
    run.send(Side::Client, &frame(&[(8, 3, 0, 0x300, &[0], 0)]));
    run.pass(2 * SECOND);
    assert_eq!(
        run.table(&["operation", "session", "target", "values", "status", "exchange"]),
        [
            "configure|position 2|station_address (0x0010)|[\"0x0110\"]|ok|pair",
            "diagnose|0x1009|dl_status (0x0110)|[\"0x0000\"]|denied|pair",
            "configure|all|error_counters (0x0300)||no_reply|request",
        ]
    );
}

#[test]
fn slaves_say_what_they_are() {
    let mut run = Run::over(&PROTOCOL, Transport::Link);
    let words: [(u16, [u32; 2]); 2] = [(8, [2, 0x044c_2c52]), (12, [0x0012_0000, 77])];
    for (at, (word, [low, high])) in (0u8..).zip(words) {
        let ask = [0, 1, word as u8, 0];
        through(&mut run, &[(5, at * 2, 0x1001, 0x502, &ask, 0)], &[(5, at * 2, 0x1001, 0x502, &ask, 1)]);
        let mut data = vec![0xc0, 0, word as u8, 0, 0, 0];
        data.extend(low.to_le_bytes());
        data.extend(high.to_le_bytes());
        let index = at * 2 + 1;
        through(&mut run, &[(4, index, 0x1001, 0x502, &[0; 14], 0)], &[(4, index, 0x1001, 0x502, &data, 1)]);
    }
    let identity = run.of(Kind::Identity)[0];
    assert_eq!((identity.text("vendor"), identity.text("model")), ("Beckhoff", "0x044c2c52"));
    assert_eq!((identity.text("firmware"), identity.text("serial")), ("0x00120000", "77"));
    assert_eq!(run.messages()[0].text("operation"), "discover");
    assert_eq!(run.of(Kind::Identity).len(), 1);
}

/// The mailbox of station 0x1001: what the master writes, or what it reads.
fn exchange(run: &mut Run, index: u8, write: bool, mailbox: &[u8]) {
    if write {
        let said = |counter| [(5, index, 0x1001, 0x1000, mailbox, counter)];
        through(run, &said(0), &said(1));
    } else {
        let empty = [0; 64];
        through(run, &[(4, index, 0x1001, 0x1080, &empty, 0)], &[(4, index, 0x1001, 0x1080, mailbox, 1)]);
    }
}

#[test]
fn objects_are_written_refused_and_transferred_in_pieces() {
    let mut run = Run::over(&PROTOCOL, Transport::Link);
    let said = [
        (true, sdo(2, &[0x2f, 0x60, 0x60, 0, 8, 0, 0, 0])),
        (false, sdo(3, &[0x60, 0x60, 0x60, 0, 0, 0, 0, 0])),
        (true, sdo(2, &[0x23, 0x12, 0x1c, 1, 1, 2, 3, 4])),
        (false, sdo(3, &[0x80, 0x12, 0x1c, 1, 0, 0, 2, 6])),
        (true, sdo(2, &[0x40, 0x08, 0x10, 0, 0, 0, 0, 0])),
        (false, sdo(3, b"\x41\x08\x10\x00\x06\x00\x00\x00EL7041")),
        (true, sdo(2, &[0x21, 0x00, 0x80, 0, 5, 0, 0, 0])),
        (false, sdo(3, &[0x60, 0x00, 0x80, 0, 0, 0, 0, 0])),
        (true, sdo(2, &[0x05, 0xca, 0xfe, 0xca, 0xfe, 0xca, 0, 0])),
        (false, sdo(3, &[0x20, 0, 0, 0, 0, 0, 0, 0])),
        (true, sdo(8, &[3, 0, 0, 0, 0x60, 0x60])),
        (false, sdo(8, b"\x04\x00\x00\x00\x60\x60\x05\x00\x00\x07mode")),
        (false, sdo(1, &[0x10, 0x43, 1, 0, 0, 0, 0, 0])),
    ];
    for (at, (write, bytes)) in (0u8..).zip(&said) {
        exchange(&mut run, at, *write, bytes);
    }
    assert_eq!(
        run.table(&["operation", "function", "target", "values", "status", "status_code"]),
        [
            "write|sdo_download|0x6060:00|[8]|ok|",
            "configure|sdo_download|0x1c12:01|[67305985]|denied|object_does_not_exist",
            "read|sdo_upload|0x1008:00|[\"EL7041\"]|ok|",
            "write|sdo_download|0x8000:00||ok|",
            "write|sdo_download_segment|0x8000:00||ok|",
            "discover|get_object_description|0x6060|[\"mode\"]|ok|",
            "report.alarm|emergency|0x4310||one_way|",
        ]
    );
    let row = run.messages()[4];
    assert_eq!((row.number("body_bytes"), row.text("body_hmac").len()), (Some(5.0), 64));
}

#[test]
fn files_are_known_by_their_hmac_only() {
    let mut run = Run::over(&PROTOCOL, Transport::Link);
    let foe = |code: u8, number: u32, data: &[u8]| {
        mailbox(4, &[&[code, 0][..], &number.to_le_bytes(), data].concat())
    };
    let said = [
        (true, foe(2, 0xbeef, b"drive.efw")),
        (false, foe(4, 0, &[])),
        (true, foe(3, 1, &[0xca; 52])),
        (false, foe(4, 1, &[])),
        (true, foe(3, 2, &[0xca; 10])),
        (false, foe(4, 2, &[])),
        (true, foe(1, 0, b"log.txt")),
        (false, foe(5, 0x8001, b"none")),
        (true, foe(1, 0, b"left.txt")),
        (false, foe(3, 1, &[0xca; 52])),
    ];
    for (at, (write, bytes)) in (0u8..).zip(&said) {
        exchange(&mut run, at, *write, bytes);
    }
    run.close();
    assert_eq!(
        run.table(&["operation", "function", "session", "target", "status", "status_code"]),
        [
            "program.write|foe_write|0x1001|drive.efw|ok|",
            "program.read|foe_read|0x1001|log.txt|denied|not_found",
            "program.read|foe_read|0x1001|left.txt|no_reply|",
        ]
    );
    let rows = run.messages();
    let mut mac = hmac::Hmac::<sha2::Sha256>::new_from_slice(b"key").unwrap();
    hmac::Mac::update(&mut mac, &[0xca; 62]);
    let mut expected = String::new();
    json::push_hex_digits(&mut expected, &hmac::Mac::finalize(mac).into_bytes());
    assert_eq!((rows[0].number("body_bytes"), rows[0].text("body_hmac")), (Some(62.0), &*expected));
    assert!(rows[0].text("detail").contains("\"password\":true"));
    assert!(!format!("{:?}", run.rows).contains("cacaca"));
}

#[test]
fn a_gateway_passes_mailboxes_on() {
    let mut run = Run::over(&PROTOCOL, Transport::Udp);
    let through = |run: &mut Run, side: Side, kind: u8, body: &[u8]| {
        let mut mailbox = (body.len() as u16).to_le_bytes().to_vec();
        mailbox.extend([0x01, 0x10, 0, kind | 0x10]);
        mailbox.extend_from_slice(body);
        let mut frame = (mailbox.len() as u16 | MAILBOX << 12).to_le_bytes().to_vec();
        frame.extend(mailbox);
        let glimpse = Glimpse { transport: Transport::Udp, side, customary: true, bytes: &frame };
        assert_eq!(probe(&glimpse), Probe::Yes);
        run.send(side, &frame);
    };
    let piece = |number: u8, data: &[u8]| [&[3, 0, number, 0, 0, 0][..], data].concat();
    through(&mut run, Side::Client, 3, &[0, 0x20, 0x40, 0x41, 0x60, 0, 0, 0, 0, 0]);
    through(&mut run, Side::Server, 3, &[0, 0x30, 0x4b, 0x41, 0x60, 0, 0x37, 2, 0, 0]);
    through(&mut run, Side::Client, 4, b"\x02\x00\x00\x00\x00\x00drive.efw");
    through(&mut run, Side::Client, 4, &piece(1, &[0xca; 40]));
    through(&mut run, Side::Client, 4, &piece(2, &[0xca; 7]));
    through(&mut run, Side::Client, 9, &[0, 0]);
    assert_eq!(
        run.table(&["function", "session", "target", "values", "status", "status_code"]),
        [
            "sdo_upload|0x1001|0x6041:00|[567]|ok|",
            "foe_write|0x1001|drive.efw||ok|",
            "unreadable||||malformed|mailbox_type",
        ]
    );
    assert_eq!(run.messages()[1].number("body_bytes"), Some(47.0));
}

#[test]
fn what_breaks_the_protocol_is_malformed() {
    let whole = frame(&[(4, 1, 0x1001, 0x130, &[0, 0], 1)]);
    let changed = |at: usize, byte: u8| {
        let mut bytes = whole.clone();
        bytes[at] = byte;
        bytes
    };
    for (bytes, code) in [
        (whole[..10].to_vec(), "frame_length"),
        (changed(1, 0x40), "frame_type"),
        (changed(0, 3), "frame_length"),
        (changed(0, 20), "frame_length"),
        (changed(2, 15), "command"),
        (changed(8, 99), "datagram_length"),
    ] {
        let mut run = Run::over(&PROTOCOL, Transport::Link);
        run.send(Side::Client, &bytes);
        let row = run.messages()[0];
        assert_eq!((row.text("status"), row.text("status_code")), ("malformed", code));
    }
    let mut run = Run::over(&PROTOCOL, Transport::Link);
    exchange(&mut run, 1, true, &sdo(2, &[0xe0, 0, 0, 0]));
    assert_eq!(run.table(&["function", "status_code"]), ["mailbox|sdo_command"]);
}

#[test]
fn the_probe_takes_nothing_else() {
    for (name, bytes) in OTHERS {
        for transport in [Transport::Link, Transport::Udp] {
            let glimpse = Glimpse { transport, side: Side::Client, customary: true, bytes };
            assert_eq!(probe(&glimpse), Probe::No, "{name}");
        }
    }
    let bytes = &frame(&[(4, 1, 0x1001, 0x130, &[0; 40], 1)])[..];
    let glimpse = Glimpse { transport: Transport::Udp, side: Side::Client, customary: false, bytes };
    assert_eq!(probe(&glimpse), Probe::Yes);
}
