use yagura_event::schema::Kind;

use super::*;
use crate::testing::{Run, Sample};
use crate::tpkt::tests::{cc, cr, dt};

fn pdu(kind: u8, reference: u16, error: Option<u16>, parameter: &[u8], data: &[u8]) -> Vec<u8> {
    let mut out = vec![PROTOCOL_ID, kind, 0, 0];
    for number in [reference, parameter.len() as u16, data.len() as u16].into_iter().chain(error) {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(parameter);
    out.extend_from_slice(data);
    dt(&out)
}

fn job(reference: u16, parameter: &[u8], data: &[u8]) -> Vec<u8> {
    pdu(rosctr::JOB, reference, None, parameter, data)
}

fn ack(reference: u16, parameter: &[u8], data: &[u8]) -> Vec<u8> {
    pdu(rosctr::ACK_DATA, reference, Some(0), parameter, data)
}

pub(crate) fn sample() -> Sample {
    Sample::tcp(vec![
        (Side::Client, cr(&[1, 0], &[1, 2])),
        (Side::Server, cc(&[1, 0], &[1, 2])),
        (Side::Client, job(1, &[0xf0, 0, 0, 1, 0, 1, 1, 0xe0], &[])),
        (Side::Server, ack(1, &[0xf0, 0, 0, 1, 0, 1, 0, 240], &[])),
        (Side::Client, job(2, &[4, 1, 0x12, 10, 0x10, 4, 0, 1, 0, 1, 0x84, 0, 0, 16], &[])),
        (Side::Server, ack(2, &[4, 1], &[0xff, 4, 0, 16, 0, 7])),
        (Side::Client, pdu(7, 3, None, &[0, 1, 0x12, 4, 0x11, 0x44, 1, 0], &[0xff, 9, 0, 4, 0, 0x11, 0, 0])),
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
fn connecting_and_reading_gives_targets_values_and_samples() {
    let run = talk(&sample().said);
    assert_eq!(
        run.table(&["operation", "function", "target", "values", "status"]),
        [
            "session.open|cotp_connect|rack 0 slot 2||ok",
            "session.open|setup_communication|||ok",
            "read|read_var|DB1.DBW2|[7]|ok",
            "discover|read_szl|SZL 0x0011/0x0000||no_reply",
        ]
    );
    let samples = run.of(Kind::Sample);
    assert_eq!((samples[0].text("signal"), samples[0].number("value")), ("DB1.DBW2", Some(7.0)));
}

#[test]
fn a_change_of_mode_is_told() {
    let told = pdu(7, 0, None, b"\x01\x00\x10\x10\x00\x00\x00\x00", &[]);
    let run = talk(&[sample().said[0].clone(), sample().said[1].clone(), (Side::Server, told)]);
    assert_eq!(run.table(&["operation", "function", "status"])[1], "report|mode_transition|one_way");
    let detail = run.messages()[1].text("detail");
    assert_eq!(detail, r#"{"pdu_reference":0,"group":0,"mode":"stop"}"#);
}

#[test]
fn a_refused_item_without_a_type_has_no_data() {
    let item = [0x12, 10, 0x10, 2, 0, 16, 0, 0, 0x83, 0, 0, 0];
    let run = talk(&[
        (Side::Client, job(10, &[&[4, 2][..], &item, &item].concat(), &[])),
        (Side::Server, ack(10, &[4, 2], &[0x0a, 0, 0, 4, 0xff, 4, 0, 8, 7])),
    ]);
    assert_eq!(run.table(&["values", "status"]), [r#"[null,"0x07"]|denied"#]);
}

#[test]
fn addresses_are_written_as_usual() {
    let cases: [(&[u8], &str); 6] = [
        (&[0x10, 1, 0, 1, 0, 1, 0x84, 0, 0, 3], "DB1.DBX0.3"),
        (&[0x10, 8, 0, 1, 0, 9, 0x84, 0, 0, 32], "DB9.DBD4"),
        (&[0x10, 2, 0, 10, 0, 1, 0x84, 0, 0, 16], "DB1.DBX2.0 BYTE 10"),
        (&[0x10, 1, 0, 1, 0, 0, 0x83, 0, 0, 13], "M1.5"),
        (&[0x10, 4, 0, 1, 0, 0, 0x82, 0, 0, 16], "QW2"),
        (&[0x10, 0x1d, 0, 1, 0, 0, 0x1d, 0, 0, 5], "T5"),
    ];
    for (item, expected) in cases {
        let mut bytes = vec![0x12, item.len() as u8];
        bytes.extend_from_slice(item);
        let mut out = String::new();
        Item::read(&mut Cursor::new(&bytes)).unwrap().push_target(&mut out);
        assert_eq!(out, expected);
    }
}

#[test]
fn a_write_shows_what_was_wanted_and_how_it_was_refused() {
    let run = talk(&[
        (Side::Client, job(5, &[5, 1, 0x12, 10, 0x10, 1, 0, 1, 0, 0, 0x82, 0, 0, 1], &[0, 3, 0, 1, 1])),
        (Side::Server, ack(5, &[5, 1], &[5])),
    ]);
    assert_eq!(
        run.table(&["operation", "target", "values", "status", "status_code"]),
        ["write|Q0.1|[1]|denied|invalid_address"]
    );
    assert!(run.of(Kind::Sample).is_empty());
}

#[test]
fn a_downloaded_block_is_known_by_its_hmac_only() {
    let name = |function| {
        let mut out = vec![function, 0, 1, 0, 0, 0, 0, 0, 9];
        out.extend_from_slice(b"_0800001P");
        out
    };
    let mut request = name(0x1a);
    request.extend_from_slice(b"\x0d1000132000038");
    let run = talk(&[
        (Side::Client, job(1, &request, &[])),
        (Side::Server, ack(1, &[0x1a], &[])),
        (Side::Server, job(2, &name(0x1b), &[])),
        (Side::Client, ack(2, &[0x1b, 0], &[0, 3, 0, 0xfb, b'a', b'b', b'c'])),
        (Side::Server, job(3, &name(0x1c), &[])),
        (Side::Client, ack(3, &[0x1c], &[])),
    ]);
    assert_eq!(
        run.table(&["operation", "function", "target", "initiator", "tool"]),
        [
            "program.write|request_download|OB1|client|10.0.0.2",
            "program.write|download_block|OB1|server|10.0.0.2",
            "program.write|download_ended|OB1|server|10.0.0.2",
        ]
    );
    let mut mac = Hmac::<Sha256>::new_from_slice(b"key").unwrap();
    mac.update(b"abc");
    let mut expected = String::new();
    json::push_hex_digits(&mut expected, &mac.finalize().into_bytes());
    assert_eq!(run.messages()[2].text("body_hmac"), expected);
    assert!(run.messages()[0].text("detail").contains("\"load_bytes\":132"), "{:?}", run.messages()[0]);
}

#[test]
fn starting_stopping_and_deleting_are_told_apart() {
    let pi = |argument: &[u8], name: &[u8]| {
        let mut out = vec![0x28, 0, 0, 0, 0, 0, 0, 0xfd, 0, argument.len() as u8];
        out.extend_from_slice(argument);
        out.push(name.len() as u8);
        out.extend_from_slice(name);
        out
    };
    let run = talk(&[
        (Side::Client, job(1, b"\x29\0\0\0\0\0\x09P_PROGRAM", &[])),
        (Side::Server, pdu(rosctr::ACK_DATA, 1, Some(0x8104), &[0x29], &[])),
        (Side::Client, job(2, &pi(b"", b"P_PROGRAM"), &[])),
        (Side::Server, ack(2, &[0x28], &[])),
        (Side::Client, job(3, &pi(b"\x01\x000A00007B", b"_DELE"), &[])),
        (Side::Server, ack(3, &[0x28], &[])),
    ]);
    assert_eq!(
        run.table(&["operation", "function", "target", "status", "status_code"]),
        [
            "control|plc_stop|P_PROGRAM|denied|function_not_available",
            "control|plc_start|P_PROGRAM|ok|",
            "program.write|delete_block|DB7|ok|",
        ]
    );
}

#[test]
fn identification_comes_in_pieces_and_passwords_never_appear() {
    let mut list = vec![0, 0x11, 0, 0, 0, 28, 0, 2];
    for (index, version) in [(1u8, [0, 0, 0, 0]), (7, [b'V', 3, 2, 6])] {
        list.extend_from_slice(&[0, index]);
        list.extend_from_slice(b"6ES7 315-2EH14-0AB0 ");
        list.extend_from_slice(&[0, 0]);
        list.extend_from_slice(&version);
    }
    let answer = |reference, last: u8, part: &[u8]| {
        let mut data = vec![0xff, 9, 0, part.len() as u8];
        data.extend_from_slice(part);
        pdu(7, reference, None, &[0, 1, 0x12, 8, 0x12, 0x84, 1, 1, 0, last, 0, 0], &data)
    };
    let run = talk(&[
        (Side::Server, answer(1, 1, &list[..30])),
        (Side::Server, answer(2, 0, &list[30..])),
        (Side::Client, pdu(7, 3, None, &[0, 1, 0x12, 4, 0x11, 0x45, 1, 0], b"\xff\x09\x00\x08secret!!")),
    ]);
    let identity = run.of(Kind::Identity);
    assert_eq!(identity.len(), 1);
    assert_eq!(
        ["vendor", "model", "firmware"].map(|c| identity[0].text(c)),
        ["Siemens", "6ES7 315-2EH14-0AB0", "V3.2.6"]
    );
    assert_eq!(run.messages()[2].text("operation"), "authenticate");
    assert!(!format!("{:?}", run.rows).contains("secret"));
}
