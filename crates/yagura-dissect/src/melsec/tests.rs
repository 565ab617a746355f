use yagura_event::schema::Kind;

use super::*;
use crate::testing::{OTHERS, Run, Sample};

const ROUTE: [u8; 5] = [0, 0xff, 0xff, 3, 0];

fn request(command: u16, subcommand: u16, data: &[u8]) -> Vec<u8> {
    let mut out = vec![0x50, 0];
    out.extend(ROUTE);
    out.extend((data.len() as u16 + 6).to_le_bytes());
    out.extend([0x10, 0]);
    out.extend(command.to_le_bytes());
    out.extend(subcommand.to_le_bytes());
    out.extend_from_slice(data);
    out
}

fn response(code: u16, data: &[u8]) -> Vec<u8> {
    let mut out = vec![0xd0, 0];
    out.extend(ROUTE);
    out.extend((data.len() as u16 + 2).to_le_bytes());
    out.extend(code.to_le_bytes());
    out.extend_from_slice(data);
    out
}

/// The same in a frame with a serial number.
fn numbered(serial: u8, frame: Vec<u8>) -> Vec<u8> {
    let mut out = vec![frame[0] | 4, 0, serial, 0, 0, 0];
    out.extend_from_slice(&frame[2..]);
    out
}

fn refusal(code: u16, command: u16) -> Vec<u8> {
    let mut data = ROUTE.to_vec();
    data.extend(command.to_le_bytes());
    data.extend([0, 0]);
    response(code, &data)
}

fn model() -> Vec<u8> {
    [&b"Q03UDVCPU       "[..], &[0x66, 3]].concat()
}

/// Who is there, two words read, bits written, and a stop that is refused.
pub(crate) fn sample() -> Sample {
    Sample::tcp(vec![
        (Side::Client, request(0x0101, 0, &[])),
        (Side::Server, response(0, &model())),
        (Side::Client, request(0x0401, 0, &[100, 0, 0, 0xa8, 2, 0])),
        (Side::Server, response(0, &[0x34, 0x12, 7, 0])),
        (Side::Client, request(0x1401, 1, &[0x1e, 0, 0, 0x9d, 3, 0, 0x10, 0x10])),
        (Side::Server, response(0, &[])),
        (Side::Client, request(0x1002, 0, &[1, 0])),
        (Side::Server, refusal(0xc201, 0x1002)),
    ])
}

fn said(said: &[(Side, Vec<u8>)]) -> Run {
    let mut run = Run::new(&PROTOCOL);
    for (side, bytes) in said {
        run.send(*side, bytes);
    }
    run.close();
    run
}

fn samples(run: &Run) -> Vec<(String, f64)> {
    let of = |r: &&yagura_event::rows::OwnedRow| (r.text("signal").to_string(), r.number("value").unwrap());
    run.of(Kind::Sample).iter().map(of).collect()
}

#[test]
fn a_conversation_in_binary() {
    let run = said(&sample().said);
    assert_eq!(
        run.table(&["operation", "function", "session", "target", "values", "status", "status_code"]),
        [
            "discover|read_type_name|0.255.3ff.0||[\"Q03UDVCPU\"]|ok|",
            "read|device_read|0.255.3ff.0|D100..D101|[4660,7]|ok|",
            "write|device_write|0.255.3ff.0|Y1E..Y20|[1,0,1]|ok|",
            "control|remote_stop|0.255.3ff.0|||denied|remote_password_locked",
        ]
    );
    assert_eq!(samples(&run), [("D100".to_string(), 4660.0), ("D101".to_string(), 7.0)]);
    assert_eq!(run.of(Kind::Identity)[0].text("model"), "Q03UDVCPU");
    assert_eq!(run.of(Kind::Identity)[0].text("vendor"), "Mitsubishi Electric");
}

#[test]
fn the_same_in_ascii() {
    let frame = |text: &str| text.as_bytes().to_vec();
    let run = said(&[
        (Side::Client, frame("500000FF03FF00001800100401000")),
        (Side::Client, frame("0D*0001000002")),
        (Side::Server, frame("D00000FF03FF00000C000012340007")),
        (Side::Client, frame("540012340000")),
        (Side::Client, frame("00FF03FF00001B001014010001Y*00001E0003101")),
        (Side::Server, frame("D4001234000000FF03FF0000040000")),
        (Side::Client, frame("500000FF03FF000010001010030000000")),
    ]);
    // The last one lacks a character and stays a beginning.
    assert_eq!(run.held(Side::Client), 33);
    assert_eq!(
        run.table(&["function", "target", "values", "status"]),
        ["device_read|D100..D101|[4660,7]|ok", "device_write|Y1E..Y20|[1,0,1]|ok"]
    );
    assert!(run.messages()[1].text("detail").contains("\"serial\":4660,\"ascii\":true"));
}

#[test]
fn several_points_and_blocks_have_their_names() {
    let devices = [&[1, 1][..], &[5, 0, 0, 0xa8], &[0x10, 0, 0, 0xb4]].concat();
    let blocks = [&[1, 1][..], &[0, 0, 0, 0xa8, 2, 0], &[0, 0, 0, 0x90, 1, 0]].concat();
    let run = said(&[
        (Side::Client, request(0x0801, 0, &devices)),
        (Side::Server, response(0, &[])),
        (Side::Client, request(0x0802, 0, &[])),
        (Side::Server, response(0, &[1, 0, 0, 0, 1, 0])),
        (Side::Client, request(0x0802, 0, &[])),
        (Side::Server, response(0, &[2, 0, 0, 0, 2, 0])),
        (Side::Client, request(0x0406, 0, &blocks)),
        (Side::Server, response(0, &[1, 0, 2, 0, 3, 0])),
        (Side::Client, request(0x1402, 1, &[2, 1, 0, 0, 0x90, 1, 2, 0, 0, 0x90, 0])),
        (Side::Server, response(0, &[])),
        (Side::Client, request(0x0401, 2, &[7, 0, 0, 0, 0x62, 0, 1, 0])),
        (Side::Server, response(0, &[9, 0])),
        (Side::Client, request(0x0401, 0x80, &[0; 13])),
    ]);
    assert_eq!(
        run.table(&["function", "target", "values", "status"]),
        [
            "entry_monitor_device|D5,W10||ok",
            "execute_monitor||[1,65536]|ok",
            "execute_monitor||[2,131072]|ok",
            "device_read_block|D0..D1,M0|[1,2,3]|ok",
            "device_write_random|M1,M2|[1,0]|ok",
            "device_read|LZ7|[9]|ok",
            "device_read|extended device||no_reply",
        ]
    );
    let names: Vec<_> = samples(&run).into_iter().map(|(name, _)| name).collect();
    assert_eq!(names, ["D5", "W10", "D5", "W10", "D0", "D1", "M0", "LZ7"]);
}

#[test]
fn passwords_and_files_leave_no_content() {
    let open = [&b"\0\0\0\0"[..], &[0, 1, 4, 0, 8, 0], b"MAIN.QPG"].concat();
    let run = said(&[
        (Side::Client, request(0x1630, 0, b"\x04\x00pass")),
        (Side::Server, refusal(0xc200, 0x1630)),
        (Side::Client, request(0x1827, 0, &open)),
        (Side::Server, response(0, &[3, 0])),
        (Side::Client, request(0x1829, 0, &[3, 0, 16, 0, 0, 0, 2, 0, 0xca, 0xfe])),
        (Side::Server, response(0, &[2, 0])),
        (Side::Client, request(0x182a, 0, &[3, 0, 0, 0])),
        (Side::Server, response(0, &[])),
        (Side::Client, request(0x1001, 0, &[3, 0, 2, 0])),
        (Side::Server, response(0, &[])),
    ]);
    assert_eq!(
        run.table(&["operation", "function", "target", "values", "status", "status_code"]),
        [
            "authenticate|remote_password_unlock|||denied|remote_password_wrong",
            "program.write|open_file|MAIN.QPG||ok|",
            "program.write|write_file|MAIN.QPG||ok|",
            "other|close_file|MAIN.QPG||ok|",
            "control|remote_run||[\"forced\"]|ok|",
        ]
    );
    let rows = run.messages();
    assert_eq!((rows[2].number("body_bytes"), rows[2].text("body_hmac").len()), (Some(2.0), 64));
    assert!(rows[4].text("detail").contains("\"clears\":\"all\""));
    let all = format!("{:?}", run.rows);
    assert!(!all.contains("pass\\\"") && !all.contains("cafe") && all.contains("password_empty"));
}

#[test]
fn frames_with_serial_numbers_are_paired_by_them() {
    let read = |number: u8| request(0x0401, 0, &[number, 0, 0, 0xa8, 1, 0]);
    let mut run = Run::over(&PROTOCOL, Transport::Udp);
    run.send(Side::Client, &numbered(1, read(1)));
    run.send(Side::Client, &numbered(2, read(2)));
    run.send(Side::Server, &numbered(2, response(0, &[22, 0])));
    run.send(Side::Server, &numbered(9, response(0, &[9, 0])));
    run.pass(11 * SECOND);
    assert_eq!(
        run.table(&["function", "target", "values", "status"]),
        ["device_read|D2|[22]|ok", "response|||unasked", "device_read|D1||no_reply"]
    );
    run.send(Side::Server, &request(0x2101, 0, &[1, 0]));
    assert_eq!(run.messages()[3].text("operation"), "report");
    assert_eq!(run.messages()[3].text("tool"), "10.0.0.2");
}

#[test]
fn programming_tools_are_read_as_far_as_they_are_known() {
    let frame = |response: bool, command: &[u8], sequence: u8, data: &[u8]| {
        let before = if response { 26 } else { 24 };
        let mut out = vec![if response { 0xd7 } else { 0x57 }, 0, 0, 0, 0, 0x11, 0x11];
        out.resize(19, 0);
        out.extend((before as u16 + 4 + data.len() as u16).to_le_bytes());
        out.resize(21 + before, 0);
        out.extend_from_slice(command);
        out.extend([sequence, 0]);
        out.extend_from_slice(data);
        out
    };
    let device = [0x20, 0, 200, 0, 0, 0, 0, 0, 0, 0];
    let write = [&[0; 12][..], &device, &[2, 0, 0, 0, 0x7a, 0x44]].concat();
    let random = [&[0; 12][..], &[2, 0, 0, 0, 0, 0, 2, 0, 0, 0], &device, &device].concat();
    let run = said(&[
        (Side::Client, frame(false, &[0x14, 0x10], 1, &write)),
        (Side::Server, frame(true, &[0x14, 0x10], 1, &[0, 0])),
        (Side::Client, frame(false, &[4, 0x11], 2, &random)),
        (Side::Server, frame(true, &[4, 0x11], 2, &[0, 0, 0, 0, 5, 0, 6, 0])),
        (Side::Client, frame(false, &[4, 0x13], 3, &[])),
        (Side::Server, frame(true, &[4, 0x13], 3, &[0x11, 0x40])),
    ]);
    assert_eq!(
        run.table(&["operation", "function", "target", "values", "status", "status_code"]),
        [
            "write|melsoft_device_write|0x20:200+2|[0,17530]|ok|",
            "read|melsoft_device_read_random|0x20:200,0x20:200|[5,6]|ok|",
            "other|melsoft_command|||denied|0x4011",
        ]
    );
}

#[test]
fn what_breaks_the_protocol_is_malformed() {
    for (bytes, code) in [
        (request(0x0401, 0, &[100, 0, 0, 0xa8]), "device_points"),
        (request(0x0401, 0, &[100, 0, 0, 0x01, 1, 0]), "device_code"),
        (request(0x1401, 0, &[100, 0, 0, 0xa8, 1, 0, 1, 0, 1]), "device_points"),
        (request(0x1401, 0, &[100, 0, 0, 0xa8, 1, 0]), "device_data"),
        (request(0x1630, 0, &[9, 0, 1]), "password"),
        (vec![0x50, 0, 0, 0xff, 0xff, 4, 0, 12, 0], "route"),
        (vec![0x50, 0, 0, 0xff, 0xff, 3, 0, 5, 0], "frame_length"),
        (b"500000FF03FF00001G".to_vec(), "header"),
        (vec![0x54, 0, 0, 0, 1, 0], "reserve"),
        (vec![0x57, 1], "subheader"),
    ] {
        let run = said(&[(Side::Client, bytes)]);
        let row = run.messages()[0];
        assert_eq!((row.text("status"), row.text("status_code")), ("malformed", code));
    }
    let run = said(&[
        (Side::Client, request(0x0401, 0, &[100, 0, 0, 0xa8, 2, 0])),
        (Side::Server, response(0, &[1, 0])),
    ]);
    assert_eq!(run.table(&["status", "status_code"]), ["malformed|device_data"]);
}

#[test]
fn the_probe_takes_nothing_else() {
    let judge = |customary, bytes: &[u8]| {
        probe(&Glimpse { transport: Transport::Tcp, side: Side::Client, customary, bytes })
    };
    for (name, bytes) in OTHERS {
        assert_eq!(judge(true, bytes), Probe::No, "{name}");
    }
    assert_eq!(judge(false, &request(0x9999, 0, &[])), Probe::No);
    assert_eq!(judge(true, &request(0x9999, 0, &[])), Probe::Yes);
    assert_eq!(judge(false, &response(0, &[])), Probe::Yes);
    let mut routed = response(0, &[]);
    routed[2] = 1;
    assert_eq!((judge(false, &routed), judge(true, &routed)), (Probe::No, Probe::Yes));
    assert_eq!(judge(false, b"5000 bytes of text and more"), Probe::No);
    let exact = request(0x0101, 0, &[]);
    let datagram = |bytes: &[u8]| {
        probe(&Glimpse { transport: Transport::Udp, side: Side::Client, customary: true, bytes })
    };
    assert_eq!((datagram(&exact), datagram(&exact[..12])), (Probe::Yes, Probe::No));
}
