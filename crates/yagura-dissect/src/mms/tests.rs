use yagura_event::schema::Kind;

use super::*;
use crate::testing::{Run, Sample};
use crate::tpkt::tests::{cc, cr, dt};

/// An element with a short or long length.
fn tlv(tag: &[u8], parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let mut out = tag.to_vec();
    match body.len() {
        short @ ..0x80 => out.push(short as u8),
        long => out.extend_from_slice(&[0x82, (long >> 8) as u8, long as u8]),
    }
    out.extend_from_slice(&body);
    out
}

fn pdv(context: u8, apdu: &[u8]) -> Vec<u8> {
    tlv(&[0x61], &[&tlv(&[0x30], &[&[2, 1, context], &tlv(&[0xa0], &[apdu])])])
}

/// A data unit with an MMS PDU.
fn mms(apdu: &[u8]) -> Vec<u8> {
    dt(&[&[1, 0, 1, 0][..], &pdv(3, apdu)].concat())
}

fn request(id: u8, service: &[u8]) -> Vec<u8> {
    mms(&tlv(&[0xa0], &[&[2, 1, id], service]))
}

fn response(id: u8, service: &[u8]) -> Vec<u8> {
    mms(&tlv(&[0xa1], &[&[2, 1, id], service]))
}

/// Opens or accepts a session with an association that carries an `Initiate`.
fn opens(kind: u8, acse: u8, result: &[u8], apdu: &[u8]) -> Vec<u8> {
    let external = tlv(&[0x28], &[&[2, 1, 3], &tlv(&[0xa0], &[apdu])]);
    let context = tlv(&[0xa1], &[&[6, 5], ISO_9506_2, &[3]]);
    let association = tlv(&[acse], &[&context, result, &tlv(&[0xbe], &[&external])]);
    let contexts = tlv(
        &[0xa4],
        &[&tlv(&[0x30], &[&[2, 1, 3, 6, 5], ISO_9506_2, &[1], &tlv(&[0x30], &[&[6, 2, 0x51, 1]])])],
    );
    let normal = tlv(&[0xa2], &[&contexts, &pdv(1, &association)]);
    let unit = tlv(&[0x31], &[&[0xa0, 3, 0x80, 1, 1], &normal]);
    let user = [&[193, unit.len() as u8][..], &unit].concat();
    dt(&[&[kind, user.len() as u8][..], &user].concat())
}

fn name(domain: &str, item: &str) -> Vec<u8> {
    tlv(&[0xa1], &[&tlv(&[0x1a], &[domain.as_bytes()]), &tlv(&[0x1a], &[item.as_bytes()])])
}

fn variable(domain: &str, item: &str) -> Vec<u8> {
    tlv(&[0xa0], &[&tlv(&[0x30], &[&tlv(&[0xa0], &[&name(domain, item)])])])
}

fn read(domain: &str, item: &str) -> Vec<u8> {
    tlv(&[0xa4], &[&tlv(&[0xa1], &[&variable(domain, item)])])
}

const INITIATE: &[u8] = &[0xa8, 9, 0x80, 1, 100, 0x81, 1, 5, 0x82, 1, 5];
const INITIATED: &[u8] = &[0xa9, 9, 0x80, 1, 100, 0x81, 1, 5, 0x82, 1, 5];
const IDENTIFIED: &[u8] = b"\xa2\x0d\x80\x04ACME\x81\x01M\x82\x021.";

pub(crate) fn sample() -> Sample {
    let float = [0x87, 5, 8, 0x42, 0xf0, 0, 0];
    Sample::tcp(vec![
        (Side::Client, cr(&[0, 1], &[0, 1])),
        (Side::Server, cc(&[0, 1], &[0, 1])),
        (Side::Client, opens(13, 0x60, &[], INITIATE)),
        (Side::Server, opens(14, 0x61, &[0xa2, 3, 2, 1, 0], INITIATED)),
        (Side::Client, request(1, &read("LD0", "MMXU1$MX$TotW$mag$f"))),
        (Side::Server, response(1, &tlv(&[0xa4], &[&tlv(&[0xa1], &[&float])]))),
        (Side::Client, request(2, &[0x82, 0])),
        (Side::Server, response(2, IDENTIFIED)),
        (Side::Client, mms(&[0x8b, 0])),
        (Side::Server, mms(&[0x8c, 0])),
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
fn an_association_reads_values_and_says_what_it_is() {
    let run = talk(&sample().said);
    assert_eq!(
        run.table(&["operation", "function", "target", "values", "status"]),
        [
            "session.open|cotp_connect|0001||ok",
            "session.open|initiate|||ok",
            "read|read|LD0/MMXU1$MX$TotW$mag$f|[120]|ok",
            "discover|identify||[\"ACME\",\"M\",\"1.\"]|ok",
            "session.close|conclude|||ok",
        ]
    );
    let identity = run.of(Kind::Identity);
    assert_eq!((identity[0].text("vendor"), identity[0].text("firmware")), ("ACME", "1."));
    let samples = run.of(Kind::Sample);
    assert_eq!(
        (samples[0].text("signal"), samples[0].number("value")),
        ("LD0/MMXU1$MX$TotW$mag$f", Some(120.0))
    );
}

#[test]
fn a_control_is_told_by_its_name_and_its_refusal_by_the_result() {
    let origin = tlv(&[0xa2], &[&[0x85, 1, 3, 0x89, 2], b"op"]);
    let value = tlv(&[0xa2], &[&[0x83, 1, 1], &origin, &[0x86, 1, 7]]);
    let write = tlv(&[0xa5], &[&variable("LD0", "XCBR1$CO$Pos$Oper"), &tlv(&[0xa0], &[&value])]);
    let run = talk(&[
        (Side::Client, request(9, &write)),
        (Side::Server, response(9, &[0xa5, 3, 0x80, 1, 3])),
        (Side::Client, request(10, &tlv(&[0xbf, 76], &[b"\x19\x05a.icd"]))),
        (Side::Server, mms(&[0xa2, 10, 0x80, 1, 10, 0xa2, 5, 0xa0, 3, 0x8b, 1, 7])),
        (Side::Client, request(11, &tlv(&[0xbf, 40], &[b"\x80\x02pi"]))),
        (Side::Server, mms(&[0xa4, 6, 0x80, 1, 11, 0x81, 1, 1])),
    ]);
    assert_eq!(
        run.table(&["operation", "function", "target", "values", "status", "status_code"]),
        [
            "control|write|LD0/XCBR1$CO$Pos$Oper|[[true,[3,\"0x6f70\"],7]]|denied|object_access_denied",
            "program.write|file_delete|a.icd||denied|file_non_existent",
            "control|start|pi||denied|unrecognized_service",
        ]
    );
    let detail = run.messages()[0].text("detail").to_string();
    assert!(detail.contains("\"control\":\"operate\",\"origin_category\":3,\"origin\":\"op\""), "{detail}");
}

#[test]
fn a_report_has_its_fields_and_values() {
    let list = tlv(&[0xa1], &[b"\x80\x03RPT"]);
    // Sequence number, data set, references and reasons are there; of two members the second.
    let values = tlv(
        &[0xa0],
        &[
            b"\x8a\x02R1",
            &[0x84, 3, 6, 0b0101_1100, 0],
            &[0x86, 1, 7],
            b"\x8a\x02ds",
            &[0x84, 2, 6, 0x40],
            b"\x8a\x04LD/x",
            &[0x87, 5, 8, 0x42, 0xf0, 0, 0],
            &[0x84, 2, 2, 0x40],
        ],
    );
    let run = talk(&[(Side::Server, mms(&tlv(&[0xa3], &[&tlv(&[0xa0], &[&list, &values])])))]);
    assert_eq!(
        run.table(&["operation", "function", "target", "values", "status"]),
        ["report|information_report|R1|[120]|one_way"]
    );
    let samples = run.of(Kind::Sample);
    assert_eq!((samples[0].text("signal"), samples[0].number("value")), ("LD/x", Some(120.0)));
}

#[test]
fn a_file_is_kept_as_its_length_and_hmac() {
    let open = tlv(&[0xbf, 72], &[&tlv(&[0xa0], &[b"\x19\x05f.txt"]), &[0x81, 1, 0]]);
    let opened = tlv(&[0xbf, 72], &[&[0x80, 1, 5], &tlv(&[0xa1], &[&[0x80, 1, 3]])]);
    let run = talk(&[
        (Side::Client, request(1, &open)),
        (Side::Server, response(1, &opened)),
        (Side::Client, request(2, &[0x9f, 73, 1, 5])),
        (Side::Server, response(2, &tlv(&[0xbf, 73], &[b"\x80\x03abc\x81\x01\x00"]))),
        (Side::Client, request(3, &[0x9f, 74, 1, 5])),
        (Side::Server, response(3, &[0x9f, 74, 0])),
    ]);
    assert_eq!(
        run.table(&["operation", "function", "target", "status"]),
        [
            "program.read|file_open|f.txt|ok",
            "program.read|file_read|f.txt|ok",
            "program.read|file_close|f.txt|ok",
        ]
    );
    assert_eq!(run.messages()[2].number("body_bytes"), Some(3.0));
    assert_eq!(run.messages()[2].text("body_hmac").len(), 64);
}

/// What a test tool for servers says, and a server that fills in neither TPKT's length nor X.224's.
#[test]
fn mms_is_read_where_session_and_presentation_are_left_out() {
    let initiate = b"\xa8\x26\x80\x02\x00\x1f\x81\x01\x03\x82\x01\x03\x83\x02\x08\x08\
        \xa4\x16\x80\x01\x01\x81\x03\x05\xe8\x00\x82\x0c\x03\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff";
    let glimpse = |bytes: &[u8]| {
        let transport = crate::Transport::Tcp;
        probe(&Glimpse { transport, side: Side::Client, customary: false, bytes })
    };
    assert_eq!(glimpse(&dt(initiate)), Probe::Yes);
    // Without what both ends must say it may be anyone's.
    assert_eq!(glimpse(&dt(INITIATE)), Probe::No);
    assert_eq!(glimpse(&dt(&tlv(&[0xa0], &[&[2, 1, 1], &[0x82, 0]]))), Probe::No);
    let run = talk(&[
        (Side::Client, cr(&[0, 1], &[2, 0])),
        (Side::Server, b"\x03\0\0\x05\0\xd0\x80".to_vec()),
        (Side::Client, dt(initiate)),
        (Side::Server, b"\x03\0\0\x07\0\x0f\x80\xa9\0".to_vec()),
        (Side::Client, dt(b"\xa0\x08\x02\x01\0\x9f\x27\x02A1")),
        (Side::Server, b"\x03\0\0\x0d\0\x0f\x80\xa1\x06\x02\x01\0\x9f\x27\0".to_vec()),
        (Side::Client, dt(b"\x8b\0")),
        (Side::Server, b"\x03\0\0\x05\0\x0f\x80".to_vec()),
    ]);
    assert_eq!(
        run.table(&["function", "target", "status"]),
        ["cotp_connect|0200|ok", "initiate||ok", "delete_program_invocation|A1|ok", "conclude||no_reply",]
    );
}
