//! Tests of DLMS/COSEM.

use super::*;
use crate::testing::{Run, Sample};
use yagura_event::schema::Kind;

fn wrapped(client: bool, apdu: &[u8]) -> Vec<u8> {
    let (source, destination) = if client { (16, 1) } else { (1, 16) };
    let mut out = vec![0, 1, 0, source, 0, destination];
    out.extend((apdu.len() as u16).to_be_bytes());
    out.extend(apdu);
    out
}

fn hdlc(client: bool, control: u8, segmented: bool, information: &[u8]) -> Vec<u8> {
    let (destination, source) = if client { (3, 0x21) } else { (0x21, 3) };
    let check = |bytes: &[u8]| (checksum(bytes) ^ 0xffff).to_le_bytes();
    let length = 7 + if information.is_empty() { 0 } else { information.len() + 2 };
    let mut out = vec![0xa0 | u8::from(segmented) << 3, length as u8, destination, source, control];
    if !information.is_empty() {
        let header = check(&out);
        out.extend(header);
        out.extend(information);
    }
    let end = check(&out);
    out.extend(end);
    out.insert(0, FLAG);
    out.push(FLAG);
    out
}

const AARQ: &[u8] = &[
    0x60, 33, 0xa1, 9, 6, 7, 0x60, 0x85, 0x74, 5, 8, 1, 1, 0x8b, 7, 0x60, 0x85, 0x74, 5, 8, 2, 1, 0xac, 9,
    0x80, 7, b'h', b'i', b'd', b'd', b'e', b'n', b'!', 0xbe, 0,
];
const AARE: &[u8] = &[0x61, 12, 0xa2, 3, 2, 1, 0, 0xa3, 5, 0xa1, 3, 2, 1, 0];
const REGISTER: [u8; 9] = [0, 3, 1, 0, 1, 8, 0, 255, 2];

fn get(invoke: u8) -> Vec<u8> {
    [&[0xc0, 1, invoke][..], &REGISTER, &[0]].concat()
}

pub fn sample() -> Sample {
    let set = [&[0xc1, 1, 0x42, 0, 8, 0, 0, 1, 0, 0, 255, 2, 0][..], &[0x09, 2, 7, 0xe2]].concat();
    Sample::tcp(vec![
        (Side::Client, wrapped(true, AARQ)),
        (Side::Server, wrapped(false, AARE)),
        (Side::Client, wrapped(true, &get(0x41))),
        (Side::Server, wrapped(false, &[0xc4, 1, 0x41, 0, 0x06, 0, 1, 0x63, 0xd9])),
        (Side::Client, wrapped(true, &set)),
        (Side::Server, wrapped(false, &[0xc5, 1, 0x42, 3])),
    ])
}

const COLUMNS: [&str; 6] = ["operation", "function", "target", "session", "values", "status_code"];

#[test]
fn an_association_a_read_and_a_refused_write() {
    let mut run = Run::new(&PROTOCOL);
    for (side, bytes) in sample().said {
        run.send(side, &bytes);
    }
    let open = [&[0xc3, 1, 0x43, 0, 70, 0, 0, 96, 3, 10, 255, 1, 1][..], &[0x0f, 0]].concat();
    run.send(Side::Client, &wrapped(true, &open));
    run.send(Side::Server, &wrapped(false, &[0xd8, 1, 2]));
    run.close();
    assert_eq!(
        run.table(&COLUMNS),
        [
            "authenticate|aarq||16/1||",
            "read|get_request|1-0:1.8.0*255 attribute 2|16/1|[91097]|",
            "configure|set_request|0-0:1.0.0*255 attribute 2|16/1|[\"0x07e2\"]|read_write_denied",
            "control|action_request|0-0:96.3.10*255 method 1|16/1|[0]|service_not_allowed",
        ]
    );
    let association = run.messages()[0].text("detail");
    assert!(
        association.contains("\"mechanism\":\"low\"") && association.contains("\"password_presented\":true")
    );
    assert!(run.rows.iter().all(|row| !format!("{row:?}").contains("hidden")));
    assert_eq!(run.of(Kind::Sample)[0].number("value"), Some(91097.0));
}

#[test]
fn hdlc_segments_are_one_apdu() {
    let mut run = Run::new(&PROTOCOL);
    let ask = [&[0xe6, 0xe6, 0][..], &[0xc0, 1, 0xc1, 0, 1, 0, 0, 42, 0, 0, 255, 2, 0]].concat();
    let answer = [&[0xe6, 0xe7, 0, 0xc4, 1, 0xc1, 0, 9, 8][..], b"ABC12345"].concat();
    run.send(Side::Client, &hdlc(true, 0x93, false, &[]));
    run.send(Side::Server, &hdlc(false, 0x73, false, &[0x81, 0x80, 0]));
    run.send(Side::Client, &hdlc(true, 0x10, false, &ask));
    run.send(Side::Server, &hdlc(false, 0x30, true, &answer[..10]));
    run.send(Side::Client, &hdlc(true, 0x31, false, &[]));
    run.send(Side::Server, &hdlc(false, 0x32, false, &answer[10..]));
    run.close();
    assert_eq!(
        run.table(&COLUMNS),
        ["session.open|snrm||16/1||", "read|get_request|0-0:42.0.0*255 attribute 2|16/1|[\"ABC12345\"]|",]
    );
    let identity = run.of(Kind::Identity);
    assert_eq!((identity[0].text("vendor"), identity[0].text("name")), ("ABC", "ABC12345"));
}

#[test]
fn ciphered_services_are_said_once_and_firmware_is_sealed() {
    let mut run = Run::new(&PROTOCOL);
    for _ in 0..2 {
        run.send(Side::Client, &wrapped(true, &[0xc8, 4, 0x30, 1, 2, 3]));
        run.send(Side::Server, &wrapped(false, &[0xcc, 4, 0x30, 1, 2, 3]));
    }
    let image =
        [&[0xc3, 1, 0x44, 0, 18, 0, 0, 44, 0, 0, 255, 2, 1][..], &[2, 2, 6, 0, 0, 0, 0, 9, 1, 5]].concat();
    run.send(Side::Client, &wrapped(true, &image));
    run.send(Side::Server, &wrapped(false, &[0xc7, 1, 0x44, 0]));
    run.close();
    assert_eq!(run.of(Kind::Coverage).len(), 1);
    let row = run.messages()[2];
    assert_eq!((row.text("operation"), row.text("values")), ("program.write", ""));
    assert_eq!(row.number("body_bytes"), Some(10.0));
}
