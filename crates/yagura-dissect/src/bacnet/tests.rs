use yagura_event::schema::Kind as RowKind;

use super::*;
use crate::testing::{OTHERS, Run, Sample};

fn ip(function: u8, npdu: &[u8]) -> Vec<u8> {
    let mut out = vec![BVLC, function];
    out.extend((npdu.len() as u16 + 4).to_be_bytes());
    out.extend(npdu);
    out
}

fn unicast(apdu: &[u8]) -> Vec<u8> {
    ip(10, &[&[1, 4][..], apdu].concat())
}

fn broadcast(apdu: &[u8]) -> Vec<u8> {
    ip(11, &[&[1, 0x20, 0xff, 0xff, 0, 255][..], apdu].concat())
}

/// analog-input:3 as an object identifier in context tag 0.
const INPUT: [u8; 5] = [0x0c, 0, 0, 0, 3];

pub(crate) fn sample() -> Sample {
    let read = [&[0, 5, 1, 12][..], &INPUT, &[0x19, 85]].concat();
    let value = [&[0x30, 1, 12][..], &INPUT, &[0x19, 85, 0x3e, 0x44, 0x41, 0xac, 0, 0, 0x3f]].concat();
    let write = [&[0, 5, 2, 15][..], &INPUT, &[0x19, 85, 0x3e, 0x44, 0, 0, 0, 0, 0x3f, 0x49, 8]].concat();
    Sample::udp(vec![
        (Side::Client, unicast(&read)),
        (Side::Server, unicast(&value)),
        (Side::Client, unicast(&write)),
        (Side::Server, unicast(&[0x50, 2, 15, 0x91, 2, 0x91, 40])),
        (Side::Client, unicast(&[0, 5, 3, 20, 0x09, 0, 0x1d, 5, 0, b'k', b'e', b'y', b's'])),
        (Side::Server, unicast(&[0x20, 3, 20])),
        (Side::Client, broadcast(&[0x10, 8])),
        (Side::Server, broadcast(&[0x10, 0, 0xc4, 2, 0, 0, 108, 0x22, 5, 0xc4, 0x91, 0, 0x21, 42])),
        (Side::Client, ip(5, &[0, 60])),
        (Side::Server, ip(0, &[0, 0])),
    ])
}

fn run(said: &[(Side, Vec<u8>)]) -> Run {
    let mut run = Run::over(&PROTOCOL, Transport::Udp);
    for (side, bytes) in said {
        run.time += 1_000;
        run.send(*side, bytes);
    }
    run
}

#[test]
fn requests_and_their_answers_are_rows() {
    let run = run(&sample().said);
    assert_eq!(
        run.table(&["operation", "function", "target", "values", "status", "status_code"]),
        [
            "read|read_property|analog-input:3 present-value|[21.5]|ok|",
            "write|write_property|analog-input:3 present-value|[0]|denied|write-access-denied",
            "control|reinitialize_device|coldstart||ok|",
            "discover|who_is|*||one_way|",
            "report|i_am|device:108||one_way|",
            "configure|register_foreign_device|||ok|",
        ]
    );
    let details: Vec<_> = run.messages().iter().map(|r| r.text("detail")).collect();
    assert_eq!(details[1], r#"{"invoke_id":2,"write_priority":8,"error_class":"property"}"#);
    assert_eq!(details[2], r#"{"invoke_id":3,"password":"presented"}"#);
    assert!(run.rows.iter().all(|r| !format!("{r:?}").contains("keys")), "a password is in a row");
    let samples = run.of(RowKind::Sample);
    assert_eq!(samples.len(), 1);
    assert_eq!(
        (samples[0].text("signal"), samples[0].text("source"), samples[0].number("value")),
        ("analog-input:3 present-value", "bacnet 10.0.0.2:5000", Some(21.5))
    );
    let device = run.of(RowKind::Identity)[0];
    assert_eq!((device.text("name"), device.text("vendor")), ("device:108", "Acuity Brands Lighting"));
}

#[test]
fn a_length_field_that_is_not_the_datagrams_is_only_noted() {
    // A request with a password behind the length's end; the refusal is shorter than its length.
    let asked = b"\x81\x0a\x00\x11\x01\x04\x00\x05\x09\x14\x09\x06\x1d\x0a\x00Breloom20";
    let refused = b"\x81\x0a\x00\x11\x01\x04\x50\x09\x14\x91\x05\x91\x1a";
    let glimpse =
        |customary, bytes| Glimpse { transport: Transport::Udp, side: Side::Client, customary, bytes };
    assert_eq!(probe(&glimpse(true, asked)), Probe::Yes);
    assert_eq!(probe(&glimpse(false, asked)), Probe::No);
    let run = run(&[(Side::Client, asked.to_vec()), (Side::Server, refused.to_vec())]);
    assert_eq!(
        run.table(&["function", "target", "status", "status_code"]),
        ["reinitialize_device|abortrestore|denied|password-failure"]
    );
    let detail = run.messages()[0].text("detail");
    assert!(
        detail.contains("\"bvlc_length\":17") && detail.contains("\"password\":\"presented\""),
        "{detail}"
    );
}

#[test]
fn stations_behind_a_router_keep_their_exchanges_apart() {
    let asked = |station: u8, invoke: u8| {
        let head = [1, 0x24, 0, 20, 1, station, 255, 0, 5, invoke, 12];
        ip(10, &[&head[..], &INPUT, &[0x19, 85]].concat())
    };
    let answer = |station: u8, invoke: u8, value: u8| {
        let head = [1, 8, 0, 20, 1, station, 0x30, invoke, 12];
        ip(10, &[&head[..], &INPUT, &[0x19, 85, 0x3e, 0x21, value, 0x3f]].concat())
    };
    let run = run(&[
        (Side::Client, asked(10, 7)),
        (Side::Client, asked(11, 7)),
        (Side::Server, answer(11, 7, 1)),
        (Side::Server, answer(10, 7, 2)),
    ]);
    assert_eq!(run.table(&["session", "values", "status"]), ["20:0b|[1]|ok", "20:0a|[2]|ok"]);
    assert_eq!(run.of(RowKind::Sample)[1].text("source"), "bacnet 10.0.0.2:5000/20:0a");
}

#[test]
fn properties_are_read_together_with_their_errors() {
    let request =
        [&[0, 5, 9, 14][..], &INPUT, &[0x1e, 0x09, 85, 0x09, 111, 0x09, 87, 0x19, 2, 0x1f]].concat();
    let first = [0x1e, 0x29, 85, 0x4e, 0x44, 0x40, 0, 0, 0, 0x4f];
    let second = [0x29, 111, 0x4e, 0x82, 4, 0x40, 0x4f];
    let third = [0x29, 87, 0x39, 2, 0x5e, 0x91, 2, 0x91, 32, 0x5f, 0x1f];
    let answer = [&[0x30, 9, 14][..], &INPUT, &first, &second, &third].concat();
    let run = run(&[(Side::Client, unicast(&request)), (Side::Server, unicast(&answer))]);
    let row = run.messages()[0];
    assert_eq!(
        row.text("target"),
        "analog-input:3 present-value, analog-input:3 status-flags, analog-input:3 priority-array[2]"
    );
    assert_eq!(row.text("values"), r#"[2,"0100",{"error":"unknown-property","class":"property"}]"#);
    assert_eq!(row.text("detail"), r#"{"invoke_id":9,"errors":1}"#);
    let sample = run.of(RowKind::Sample)[0];
    assert_eq!((sample.number("value"), sample.number("quality")), (Some(2.0), Some(2.0)));
}

#[test]
fn segments_are_put_together_once() {
    let request = [&[2, 0x75, 4, 12][..], &[0x0c, 2, 0, 0, 1], &[0x19, 76]].concat();
    let begin = [&[0x0c, 2, 0, 0, 1][..], &[0x19, 76, 0x3e, 0xc4, 2, 0]].concat();
    let said = [
        (Side::Client, unicast(&request)),
        (Side::Server, unicast(&[&[0x3c, 4, 0, 4, 12][..], &begin].concat())),
        (Side::Server, unicast(&[&[0x3c, 4, 1, 4, 12][..], &[0, 1, 0xc4]].concat())),
        (Side::Server, unicast(&[&[0x3c, 4, 1, 4, 12][..], &[0, 1, 0xc4]].concat())),
        (Side::Client, unicast(&[0x40, 4, 1, 4])),
        (Side::Server, unicast(&[&[0x38, 4, 2, 4, 12][..], &[0, 0, 0, 3, 0x3f]].concat())),
    ];
    let whole = run(&said);
    assert_eq!(
        whole.table(&["target", "values", "status", "detail"]),
        [r#"device:1 object-list|["device:1","analog-input:3"]|ok|{"invoke_id":4,"segments":3}"#]
    );
    // The first segment is missing: nothing is made of the others.
    let mut broken = run(&[said[0].clone(), said[2].clone(), said[5].clone()]);
    broken.close();
    assert_eq!(broken.table(&["status"]), ["no_reply"]);
    assert_eq!(broken.of(RowKind::Coverage).len(), 2);
}

#[test]
fn changes_alarms_files_and_messages_say_what_they_are_about() {
    let object = [0x1c, 2, 0, 0, 1, 0x2c, 0, 0, 0, 3];
    let cov = [
        &[0x10, 2, 0x09, 1][..],
        &object,
        &[0x39, 60, 0x4e, 0x09, 85, 0x2e, 0x44, 0x41, 0x20, 0, 0, 0x2f, 0x4f],
    ]
    .concat();
    let alarm = [
        &[0x10, 3, 0x09, 1][..],
        &object,
        &[0x3e, 0x19, 7, 0x3f, 0x49, 2, 0x59, 9, 0x69, 5, 0x89, 0, 0x99, 1, 0xa9, 0, 0xb9, 3],
    ]
    .concat();
    let file =
        [&[0, 5, 5, 7, 0xc4, 2, 0x80, 0, 9][..], &[0x0e, 0x31, 0, 0x63, b'a', b'b', b'c', 0x0f]].concat();
    let mut run = run(&[
        (Side::Server, unicast(&cov)),
        (Side::Server, unicast(&alarm)),
        (Side::Client, unicast(&file)),
        (Side::Server, unicast(&[0x30, 5, 7, 0x09, 0])),
        (Side::Client, unicast(&[0, 5, 6, 17, 0x09, 5, 0x19, 1])),
        (Side::Server, unicast(&[0x60, 6, 9])),
        (Side::Client, unicast(&[0x10, 6, 0xa4, 105, 5, 20, 5, 0xb4, 8, 27, 14, 0])),
        (Side::Client, unicast(&[0, 5, 8, 5, 0x09, 1, 0x1c, 0, 0, 0, 3])),
        (Side::Server, unicast(&[0x71, 8, 4])),
        (Side::Client, ip(11, &[1, 0x80, 0, 0, 20])),
        (Side::Server, ip(4, &[10, 0, 0, 9, 0xba, 0xc0, 1, 0x80, 1, 0, 20, 0, 30])),
    ]);
    run.close();
    let rows = run.table(&["operation", "function", "target", "values", "status", "status_code"]);
    assert_eq!(
        rows,
        [
            "report|unconfirmed_cov_notification|analog-input:3 present-value|[10]|one_way|",
            "report.alarm|unconfirmed_event_notification|analog-input:3||one_way|",
            "program.write|atomic_write_file|file:9||ok|",
            "control|device_communication_control|disable||denied|unrecognized-service",
            "configure|time_synchronization||[\"2005-05-20 08:27:14.00\"]|one_way|",
            "configure|subscribe_cov|analog-input:3||denied|segmentation-not-supported",
            "discover|who_is_router_to_network|20|[20]|one_way|",
            "report|i_am_router_to_network|20|[20,30]|one_way|",
        ]
    );
    let write = run.messages()[2];
    assert_eq!((write.number("body_bytes"), write.text("body_hmac").len()), (Some(3.0), 64));
    assert!(run.messages()[1].text("detail").contains(r#""to":"high-limit""#));
    assert!(run.messages()[7].text("detail").contains(r#""origin":"10.0.0.9:47808""#));
}

#[test]
fn what_breaks_the_standard_is_malformed() {
    for (bytes, code) in [
        (unicast(&[0x90, 1]), "apdu_type"),
        (ip(10, &[2, 0, 0x10, 8]), "npdu_version"),
        (unicast(&[0, 5, 1, 12, 0x0c, 0, 0]), "tag_content"),
        (vec![BVLC, 10, 0, 9, 1], "npdu_control"),
        (vec![BVLC, 10, 0, 2], "bvlc_length"),
        (vec![0x82, 10, 0, 4], "bvlc_type"),
    ] {
        let mut run = run(&[(Side::Client, bytes)]);
        run.close();
        assert_eq!(run.table(&["status", "status_code"]), [format!("malformed|{code}")]);
    }
}

#[test]
fn other_bytes_are_not_taken_for_it() {
    for (name, bytes) in OTHERS {
        let glimpse = Glimpse { transport: Transport::Udp, side: Side::Client, customary: true, bytes };
        assert_eq!(probe(&glimpse), Probe::No, "{name}");
    }
}
