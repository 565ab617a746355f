use yagura_event::schema::Kind;

use super::*;
use crate::testing::{OTHERS, Run, Sample};

const DEVICE: [u8; 5] = [0xa6, 0x12, 1, 2, 3];

fn message(kind: u8, id: u8, status: u8, sequence: u16, body: &[u8]) -> Vec<u8> {
    let mut out = vec![1, kind, id, status];
    out.extend(sequence.to_be_bytes());
    out.extend((body.len() as u16 + 8).to_be_bytes());
    out.extend_from_slice(body);
    out
}

fn pdu(delimiter: u8, command: u8, data: &[u8]) -> Vec<u8> {
    let mut out = vec![delimiter];
    out.extend(DEVICE);
    out.extend([command, data.len() as u8]);
    out.extend_from_slice(data);
    let sum = out.iter().fold(0, |sum, byte| sum ^ byte);
    out.push(sum);
    out
}

fn ask(sequence: u16, command: u8, data: &[u8]) -> (Side, Vec<u8>) {
    (Side::Client, message(0, 3, 0, sequence, &pdu(0x82, command, data)))
}

fn answer(sequence: u16, command: u8, data: &[u8]) -> (Side, Vec<u8>) {
    (Side::Server, message(1, 3, 0, sequence, &pdu(0x86, command, data)))
}

fn variables(values: &[(u8, f32)]) -> Vec<u8> {
    values.iter().flat_map(|(unit, value)| [vec![*unit], value.to_be_bytes().to_vec()].concat()).collect()
}

/// What a device of revision 7 says of itself.
fn identity() -> Vec<u8> {
    let mut out = vec![0, 0, 254, 0x26, 0x12, 5, 7, 3, 9, 0x10, 0, 1, 2, 3];
    out.extend([5, 8, 0, 1, 0, 0, 0x26, 0, 0x26, 1]);
    out
}

/// A session, an identity, the variables, a write that is refused, a burst.
pub(crate) fn sample() -> Sample {
    let dynamic = [&[0, 0][..], &4.5f32.to_be_bytes(), &variables(&[(32, 21.5), (12, 101.25)])].concat();
    let slot = [&[0, 0x10, 0, 246, 65, 32][..], &21.5f32.to_be_bytes(), &[0xc0], &[0, 0, 0, 1]].concat();
    Sample::udp(vec![
        (Side::Client, message(0, 0, 0, 1, &[1, 0, 0, 0x75, 0x30])),
        (Side::Server, message(1, 0, 0, 1, &[1, 0, 0, 0x75, 0x30])),
        ask(2, 0, &[]),
        answer(2, 0, &identity()),
        ask(3, 3, &[]),
        answer(3, 3, &dynamic),
        ask(4, 6, &[7, 1]),
        answer(4, 6, &[7, 0]),
        (Side::Server, message(2, 3, 0, 9, &pdu(0x81, 9, &slot))),
        (Side::Client, message(0, 2, 0, 5, &[])),
        (Side::Server, message(1, 2, 0, 5, &[])),
    ])
}

fn said(said: &[(Side, Vec<u8>)]) -> Run {
    let mut run = Run::over(&PROTOCOL, Transport::Udp);
    for (side, bytes) in said {
        run.send(*side, bytes);
    }
    run.close();
    run
}

fn samples(run: &Run) -> Vec<(String, f64, String, f64)> {
    let mut out = Vec::new();
    for row in run.of(Kind::Sample) {
        let (value, quality) = (row.number("value").unwrap(), row.number("quality").unwrap());
        out.push((row.text("signal").to_string(), value, row.text("unit").to_string(), quality));
    }
    out
}

#[test]
fn a_conversation_over_udp() {
    let run = said(&sample().said);
    assert_eq!(
        run.table(&["operation", "function", "session", "values", "status", "status_code", "tool"]),
        [
            "session.open|session_initiate|||ok||10.0.0.2",
            "discover|read_unique_identifier|2612010203||ok||10.0.0.2",
            "read|read_dynamic_variables_and_loop_current|2612010203|[4.5,21.5,101.25]|ok||10.0.0.2",
            "configure|write_polling_address|2612010203|[7]|denied|in_write_protect_mode|10.0.0.2",
            "report|read_device_variables_with_status|2612010203|[21.5]|one_way||10.0.0.2",
            "session.keep|keep_alive|||ok||10.0.0.2",
        ]
    );
    let expected = [
        ("2612010203 loop current", 4.5, "mA", 0.0),
        ("2612010203 PV", 21.5, "°C", 0.0),
        ("2612010203 SV", 101.25, "kPa", 0.0),
        ("2612010203 PV", 21.5, "°C", 0.0),
    ];
    let expected =
        expected.map(|(name, value, unit, quality)| (name.to_string(), value, unit.to_string(), quality));
    assert_eq!(samples(&run), expected);
    let identity = &run.of(Kind::Identity)[0];
    assert_eq!((identity.text("vendor"), identity.text("model")), ("Rosemount", "0x2612"));
    assert_eq!((identity.text("firmware"), identity.text("serial")), ("3.9", "66051"));
    assert!(
        run.messages()[0]
            .text("detail")
            .contains("\"master\":\"primary\",\"inactivity_close_timer_ms\":30000")
    );
}

#[test]
fn tags_messages_and_extended_commands() {
    // "PUMP-101" and two texts of spaces, six bits a character.
    let packed = |text: &str| {
        let mut bits: Vec<u8> = Vec::new();
        for c in text.bytes() {
            bits.extend((0..6).rev().map(|at| c >> at & 1));
        }
        bits.chunks(8).map(|b| b.iter().fold(0u8, |sum, bit| sum << 1 | bit)).collect::<Vec<u8>>()
    };
    let tag = [&[0, 0][..], &packed("PUMP-101"), &packed("FEED WATER      "), &[24, 11, 126]].concat();
    let long = [&[0, 0][..], format!("{:\0<32}", "feed pump 101").as_bytes()].concat();
    let run = said(&[
        ask(1, 13, &[]),
        answer(1, 13, &tag),
        ask(2, 20, &[]),
        answer(2, 20, &long),
        ask(3, 20, &[]),
        answer(3, 20, &long),
        ask(4, 12, &[]),
        answer(4, 12, &[&[0, 0][..], &packed("CHECKED                         ")].concat()),
        ask(5, 31, &[2, 0x16, 1, 2]),
        answer(5, 31, &[0, 0, 2, 0x16]),
        ask(6, 48, &[]),
        answer(6, 48, &[0, 0, 1, 2, 3]),
        ask(7, 42, &[]),
        answer(7, 42, &[8, 0]),
        ask(8, 35, &[&[32u8][..], &100f32.to_be_bytes(), &0f32.to_be_bytes()].concat()),
        answer(8, 35, &[0x88, 0]),
    ]);
    assert_eq!(
        run.table(&["operation", "function", "values", "status", "status_code"]),
        [
            "discover|read_tag_descriptor_date|[\"PUMP-101\",\"FEED WATER\"]|ok|",
            "discover|read_long_tag|[\"feed pump 101\"]|ok|",
            "discover|read_long_tag|[\"feed pump 101\"]|ok|",
            "discover|read_message|[\"CHECKED\"]|ok|",
            "other|extended_command||ok|",
            "diagnose|read_additional_device_status|[\"0x010203\"]|ok|",
            "control|perform_device_reset||ok|",
            "configure|write_primary_variable_range_values|[100,0]|denied|communication_error",
        ]
    );
    assert!(run.messages()[0].text("detail").contains("\"date\":\"2026-11-24\""));
    assert!(run.messages()[4].text("detail").contains("\"command\":534,\"data\":\"0x0102\""));
    let names: Vec<_> = run.of(Kind::Identity).iter().map(|r| r.text("name").to_string()).collect();
    assert_eq!(names, ["PUMP-101", "feed pump 101"]);
}

#[test]
fn variables_have_their_quality_and_may_be_absent() {
    let slots = [(0u8, 21.5f32, 0xc0u8), (1, 5.0, 0x40), (2, f32::NAN, 0)];
    let mut data = vec![0, 0, 0];
    for (code, value, status) in slots {
        data.extend([code, 0, 39]);
        data.extend(value.to_be_bytes());
        data.push(status);
    }
    data.extend([0; 4]);
    let run = said(&[
        ask(1, 9, &[0, 1, 2]),
        answer(1, 9, &data),
        ask(2, 1, &[]),
        answer(2, 1, &[&[0, 0][..], &variables(&[(7, 1.25)])].concat()),
        ask(3, 2, &[]),
        answer(3, 2, &[&[0, 0][..], &8f32.to_be_bytes(), &25f32.to_be_bytes()].concat()),
        ask(4, 33, &[1]),
        answer(4, 33, &[&[0, 0, 1][..], &variables(&[(45, 2.0)])].concat()),
    ]);
    let samples: Vec<_> = samples(&run)
        .into_iter()
        .map(|(name, value, unit, q)| (name[11..].to_string(), value, unit, q))
        .collect();
    let expected = [
        ("variable 0", 21.5, "mA", 0.0),
        ("variable 1", 5.0, "mA", 1.0),
        ("PV", 1.25, "bar", 0.0),
        ("loop current", 8.0, "mA", 0.0),
        ("percent of range", 25.0, "%", 0.0),
        ("variable 1", 2.0, "m", 0.0),
    ];
    assert_eq!(samples, expected.map(|(n, v, u, q)| (n.to_string(), v, u.to_string(), q)));
    assert_eq!(run.messages()[0].text("values"), "[21.5,5,null]");
}

#[test]
fn sessions_are_refused_and_commands_come_together_over_tcp() {
    let mut run = Run::new(&PROTOCOL);
    let all = [
        message(0, 0, 0, 1, &[0, 0, 0, 0, 9]),
        message(0, 4, 0, 2, &[0, 0, 0, 1, 0, 0, 9, 1, 0]),
        message(0, 1, 0, 3, &[]),
        message(0, 5, 0, 4, &[0, 1]),
    ];
    run.send(Side::Client, &all.concat());
    run.send(Side::Server, &message(1, 0, 15, 1, &[]));
    run.send(Side::Server, &message(1, 4, 0, 2, &[0, 0, 0, 1, 1, 0, 0, 9, 1, 32]));
    run.send(Side::Server, &message(15, 1, 0, 3, &[]));
    run.close();
    assert_eq!(
        run.table(&["operation", "function", "target", "status", "status_code"]),
        [
            "session.open|session_initiate||denied|all_available_sessions_in_use",
            "read|direct_pdu|read_primary_variable,read_device_variables_with_status|denied|busy",
            "session.close|session_close||denied|not_acknowledged",
            "diagnose|read_audit_log||no_reply|",
        ]
    );
    assert_eq!(run.messages()[1].number("count"), Some(2.0));
}

#[test]
fn what_breaks_the_protocol_is_malformed() {
    for (bytes, code) in [
        (message(0, 3, 0, 1, &pdu(0x83, 0, &[])), "delimiter"),
        (message(0, 3, 0, 1, &pdu(0x86, 0, &[0, 0])), "delimiter"),
        (message(0, 3, 0, 1, &[0x82, 1, 2]), "address"),
        (message(0, 0, 0, 1, &[1, 0]), "inactivity_close_timer"),
        (message(0, 4, 0, 1, &[0, 0, 0, 1, 9]), "byte_count"),
        (vec![3, 0], "version"),
        (vec![1, 7], "message_type"),
        (vec![1, 0, 6], "message_id"),
        (vec![1, 0, 0, 0, 0, 0, 0, 7], "length"),
    ] {
        let run = said(&[(Side::Client, bytes)]);
        let row = run.messages()[0];
        assert_eq!((row.text("status"), row.text("status_code")), ("malformed", code));
    }
    let run = said(&[ask(1, 1, &[]), answer(1, 1, &[0, 0, 32, 1])]);
    assert_eq!(run.table(&["status", "status_code"]), ["malformed|value"]);
}

#[test]
fn a_wrong_checksum_is_said_and_not_believed_in_probing() {
    let mut damaged = answer(1, 1, &[&[0, 0][..], &variables(&[(32, 1.5)])].concat()).1;
    *damaged.last_mut().unwrap() ^= 1;
    let glimpse =
        Glimpse { transport: Transport::Udp, side: Side::Server, customary: false, bytes: &damaged };
    assert_eq!(probe(&glimpse), Probe::No);
    let run = said(&[ask(1, 1, &[]), (Side::Server, damaged)]);
    assert_eq!(run.table(&["values", "status"]), ["[1.5]|ok"]);
    assert!(run.messages()[0].text("detail").contains("\"checksum_wrong\":true"));
}

#[test]
fn the_probe_takes_nothing_else() {
    let judge = |transport, customary, bytes: &[u8]| {
        probe(&Glimpse { transport, side: Side::Client, customary, bytes })
    };
    for (name, bytes) in OTHERS {
        for transport in [Transport::Tcp, Transport::Udp] {
            assert_eq!(judge(transport, false, bytes), Probe::No, "{name}");
        }
    }
    let keep = message(0, 2, 0, 1, &[]);
    assert_eq!(judge(Transport::Udp, false, &keep), Probe::No);
    assert_eq!(judge(Transport::Udp, true, &keep), Probe::Yes);
    assert_eq!(judge(Transport::Udp, false, &ask(1, 0, &[]).1), Probe::Yes);
    assert_eq!(judge(Transport::Tcp, false, &ask(1, 0, &[]).1[..10]), Probe::More);
    assert_eq!(judge(Transport::Udp, true, &ask(1, 0, &[]).1[..10]), Probe::No);
}
