use yagura_event::schema::Kind;

use super::*;
use crate::testing::{OTHERS, Run, Sample};

const DEVICE: Address = [5, 13, 117, 96, 1, 1, 0x21, 3];
const PROGRAM: Address = [192, 168, 1, 99, 1, 1, 0x80, 0x80];

fn frame(response: bool, command: u16, invoke: u32, data: &[u8]) -> Vec<u8> {
    let (target, source) = if response { (PROGRAM, DEVICE) } else { (DEVICE, PROGRAM) };
    let mut out = vec![0, 0];
    out.extend((data.len() as u32 + 32).to_le_bytes());
    out.extend(target);
    out.extend(source);
    out.extend(command.to_le_bytes());
    out.extend(if response { [5, 0] } else { [4, 0] });
    out.extend((data.len() as u32).to_le_bytes());
    out.extend([0; 4]);
    out.extend(invoke.to_le_bytes());
    out.extend_from_slice(data);
    out
}

fn words(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|n| n.to_le_bytes()).collect()
}

fn ask(command: u16, invoke: u32, numbers: &[u32], data: &[u8]) -> (Side, Vec<u8>) {
    (Side::Client, frame(false, command, invoke, &[&words(numbers), data].concat()))
}

fn answer(command: u16, invoke: u32, numbers: &[u32], data: &[u8]) -> (Side, Vec<u8>) {
    (Side::Server, frame(true, command, invoke, &[&words(numbers), data].concat()))
}

fn entry(group: u32, offset: u32, size: u32, kind: u32, name: &str) -> Vec<u8> {
    let mut out = words(&[30 + name.len() as u32 + 3, group, offset, size, kind, 0]);
    out.extend((name.len() as u16).to_le_bytes());
    out.extend([0; 4]);
    out.extend(name.bytes());
    out.extend([0; 3]);
    out
}

/// Device, state, a variable's handle, its value, and a write that is refused.
pub(crate) fn sample() -> Sample {
    Sample::tcp(vec![
        ask(1, 1, &[], &[]),
        answer(1, 1, &[0], &[&[2, 11][..], &2228u16.to_le_bytes(), b"TCatPlcCtrl\0\0\0\0\0"].concat()),
        ask(4, 2, &[], &[]),
        answer(4, 2, &[0], &[5, 0, 2, 0]),
        ask(9, 3, &[0xf003, 0, 4, 11], b"MAIN.speed\0"),
        answer(9, 3, &[0, 4, 77], &[]),
        ask(2, 4, &[0xf005, 77, 2], &[]),
        answer(2, 4, &[0, 2], &[0x34, 0x12]),
        ask(3, 5, &[0xf005, 77, 2], &[1, 0]),
        answer(3, 5, &[0x723], &[]),
        ask(5, 6, &[0x6, 0], &[]),
        answer(5, 6, &[0], &[]),
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
fn a_conversation_over_tcp() {
    let run = said(&sample().said);
    assert_eq!(
        run.table(&["operation", "function", "target", "values", "status", "status_code"]),
        [
            "discover|read_device_info||[\"TCatPlcCtrl\"]|ok|",
            "diagnose|read_state||[\"run\"]|ok|",
            "discover|read_write|MAIN.speed||ok|",
            "read|read|MAIN.speed|[4660]|ok|",
            "write|write|MAIN.speed|[1]|denied|access_denied",
            "control|write_control||[\"stop\"]|ok|",
        ]
    );
    assert_eq!(samples(&run), [("MAIN.speed".to_string(), 4660.0)]);
    let row = run.messages()[3];
    assert_eq!(row.text("session"), "5.13.117.96.1.1:801");
    assert!(
        row.text("detail").starts_with("{\"asker\":\"192.168.1.99.1.1:32896\",\"command\":2,\"invoke_id\":4")
    );
    let identity = &run.of(Kind::Identity)[0];
    assert_eq!((identity.text("model"), identity.text("firmware")), ("TCatPlcCtrl", "2.11.2228"));
}

#[test]
fn uploaded_symbols_name_and_type_what_is_read() {
    let upload = [entry(0x4020, 8, 4, 4, "MAIN.flow"), entry(0x4020, 12, 2, 2, "MAIN.level")].concat();
    let run = said(&[
        ask(2, 1, &[0xf00b, 0, 1000], &[]),
        answer(2, 1, &[0, upload.len() as u32], &upload),
        ask(2, 2, &[0x4020, 8, 4], &[]),
        answer(2, 2, &[0, 4], &2.5f32.to_le_bytes()),
        ask(2, 3, &[0x4020, 100, 4], &[]),
        answer(2, 3, &[0, 4], &[1, 2, 3, 4]),
        ask(9, 4, &[0xf080, 2, 14, 24, 0x4020, 8, 4, 0x4020, 12, 2], &[]),
        answer(9, 4, &[0, 14, 0, 0x703], &[0, 0, 0x20, 0x41, 0, 0]),
        ask(9, 5, &[0xf004, 0, 2, 11], b"MAIN.level\0"),
        answer(9, 5, &[0, 2], &[0xff, 0xff]),
    ]);
    assert_eq!(
        run.table(&["operation", "target", "values", "count", "status", "status_code"]),
        [
            "discover|SYM_UPLOAD:0|||ok|",
            "read|MAIN.flow|[2.5]||ok|",
            "read|PLC_RW_M:100|[\"0x01020304\"]||ok|",
            "read|MAIN.flow,MAIN.level|[10,null]||denied|invalid_index_offset",
            "read|MAIN.level|[-1]||ok|",
        ]
    );
    assert_eq!(run.messages()[0].number("count"), Some(2.0));
    let expected = [("MAIN.flow", 2.5), ("MAIN.flow", 10.0), ("MAIN.level", -1.0)];
    assert_eq!(samples(&run), expected.map(|(name, value)| (name.to_string(), value)));
}

#[test]
fn handles_are_given_out_for_several_names_at_once() {
    let names = b"MAIN.a[1,2]\0MAIN.b\0";
    let mut asked = words(&[0xf003, 0, 4, 12, 0xf003, 0, 4, 7]);
    asked.extend_from_slice(names);
    let run = said(&[
        ask(9, 1, &[0xf082, 2, 24, asked.len() as u32], &asked),
        answer(9, 1, &[0, 20, 0, 4, 0x710, 0, 5], &[]),
        ask(9, 2, &[0xf082, 1, 10, 16, 0xf005, 5, 2, 0], &[]),
        answer(9, 2, &[0, 10, 0, 2], &[3, 0]),
    ]);
    assert_eq!(
        run.table(&["function", "target", "values", "status", "status_code"]),
        ["read_write|MAIN.a[1,2],MAIN.b|[5,null]|denied|symbol_not_found", "read_write|MAIN.a[1,2]|[3]|ok|",]
    );
    assert_eq!(samples(&run), [("MAIN.a[1,2]".to_string(), 3.0)]);
}

#[test]
fn notifications_are_samples_of_what_was_asked_for() {
    let notification = [words(&[36, 1]), vec![0; 8], words(&[2, 9, 2]), vec![5, 0], words(&[10, 1]), vec![1]];
    let from_device = |data: &[u8]| {
        let mut bytes = frame(true, 8, 0, data);
        // A request of the device.
        bytes[24] = 4;
        (Side::Server, bytes)
    };
    let run = said(&[
        ask(6, 1, &[0x4020, 16, 2, 4, 0, 1_000_000, 0, 0, 0, 0], &[]),
        answer(6, 1, &[0, 9], &[]),
        from_device(&notification.concat()),
        ask(7, 2, &[9], &[]),
        answer(7, 2, &[0], &[]),
    ]);
    assert_eq!(
        run.table(&["operation", "function", "target", "values", "status", "tool"]),
        [
            "read|add_device_notification|PLC_RW_M:16||ok|10.0.0.2",
            "report|device_notification|PLC_RW_M:16,notification 10|[5,1]|one_way|10.0.0.2",
            "other|delete_device_notification|PLC_RW_M:16||ok|10.0.0.2",
        ]
    );
    assert!(
        run.messages()[0]
            .text("detail")
            .contains("\"mode\":\"on_change\",\"maximum_delay_us\":0,\"cycle_time_us\":100000")
    );
    assert_eq!(samples(&run), [("PLC_RW_M:16".to_string(), 5.0)]);
}

#[test]
fn responses_find_their_requests_among_several() {
    let run = said(&[
        ask(2, 1, &[0x4020, 1, 1], &[]),
        ask(2, 2, &[0x4020, 2, 1], &[]),
        answer(2, 2, &[0, 1], &[22]),
        answer(2, 1, &[0, 1], &[11]),
        answer(2, 9, &[0, 1], &[9]),
        ask(4, 10, &[], &[]),
    ]);
    assert_eq!(
        run.table(&["target", "values", "status", "session"]),
        [
            "PLC_RW_M:2|[22]|ok|5.13.117.96.1.1:801",
            "PLC_RW_M:1|[11]|ok|5.13.117.96.1.1:801",
            "||unasked|5.13.117.96.1.1:801",
            "||no_reply|5.13.117.96.1.1:801",
        ]
    );
}

#[test]
fn files_and_long_frames_leave_no_content() {
    let mut run = said(&[
        ask(9, 1, &[120, 0x12, 4, 9], b"boot.tpy\0"),
        answer(9, 1, &[0, 4, 3], &[]),
        ask(9, 2, &[123, 3, 4, 4], &[0xca, 0xfe, 0xca, 0xfe]),
        answer(9, 2, &[0, 4, 4], &[]),
        ask(2, 3, &[0xf00b, 0, 100_000], &[]),
    ]);
    let (_, long) = answer(2, 3, &[0, 100_000], &entry(0x4020, 0, 1, 33, "MAIN.on").repeat(2500)[..100_000]);
    run.send(Side::Server, &long[..50_000]);
    run.send(Side::Server, &long[50_000..]);
    run.send(Side::Client, &ask(4, 4, &[], &[]).1);
    run.send(Side::Server, &answer(4, 4, &[0], &[15, 0, 0, 0]).1);
    assert_eq!(
        run.table(&["operation", "function", "target", "values", "status"]),
        [
            "program.write|read_write|boot.tpy||ok",
            "program.write|read_write|FWRITE:3||ok",
            "discover|read|SYM_UPLOAD:0||no_reply",
            "read|read|||unasked",
            "diagnose|read_state||[\"config\"]|ok",
        ]
    );
    let row = run.messages()[1];
    assert_eq!((row.number("body_bytes"), row.text("body_hmac").len()), (Some(4.0), 64));
    assert!(!format!("{:?}", run.rows).contains("cafe"));
}

#[test]
fn the_router_is_discovered_and_routes_are_added() {
    let datagram = |service: u32, from: Address, tags: &[(u16, &[u8])]| {
        let mut out = discovery::COOKIE.to_vec();
        out.extend(words(&[7, service]));
        out.extend(from);
        out.extend((tags.len() as u32).to_le_bytes());
        for (tag, data) in tags {
            out.extend(tag.to_le_bytes());
            out.extend((data.len() as u16).to_le_bytes());
            out.extend_from_slice(data);
        }
        out
    };
    let system = [words(&[276, 6, 0, 0, 3]), vec![0; 256]].concat();
    let mut run = Run::over(&PROTOCOL, Transport::Udp);
    run.send(Side::Client, &datagram(1, PROGRAM, &[]));
    let facts = [(5, &b"CX_0D7560\0"[..]), (4, &system), (3, &[2, 11, 0xb4, 8])];
    run.send(Side::Server, &datagram(0x8000_0001, DEVICE, &facts));
    let route: [(u16, &[u8]); 5] = [
        (12, b"station\0"),
        (7, &[192, 168, 1, 99, 1, 1]),
        (13, b"Administrator\0"),
        (2, b"secret\0"),
        (5, b"192.168.1.99\0"),
    ];
    run.send(Side::Client, &datagram(6, PROGRAM, &route));
    run.send(Side::Server, &datagram(0x8000_0006, DEVICE, &[(1, &[4, 7, 0, 0])]));
    run.send(Side::Client, &datagram(6, PROGRAM, &route)[..40]);
    run.close();
    assert_eq!(
        run.table(&["operation", "function", "target", "values", "status", "status_code"]),
        [
            "discover|server_info||[\"CX_0D7560\"]|ok|",
            "configure|add_route|station||denied|invalid_access",
            "configure|add_route|station||malformed|tag_length",
        ]
    );
    let detail = run.messages()[1].text("detail").to_string();
    assert!(detail.contains("\"user\":\"Administrator\",\"password\":true,\"password_empty\":false"));
    assert!(detail.contains("\"net_id\":\"192.168.1.99.1.1\""));
    assert!(!format!("{:?}", run.rows).contains("secret"));
    let identity = &run.of(Kind::Identity)[0];
    assert_eq!((identity.text("name"), identity.text("firmware")), ("CX_0D7560", "2.11.2228"));
    assert!(identity.text("detail").contains("Windows CE 6.0.0"));
}

#[test]
fn what_breaks_the_protocol_is_malformed() {
    for (bytes, code) in [
        (ask(2, 1, &[0x4020], &[]).1, "index_offset"),
        (ask(3, 1, &[0x4020, 1, 9], &[1]).1, "data"),
        (ask(9, 1, &[0xf080, 2, 8, 12, 1, 2, 3], &[]).1, "index_group"),
        (vec![0, 1], "reserved"),
        (words(&[0, 0]), "length"),
    ] {
        let run = said(&[(Side::Client, bytes)]);
        let row = run.messages()[0];
        assert_eq!((row.text("status"), row.text("status_code")), ("malformed", code));
    }
    let mut wrong = frame(false, 4, 1, &[]);
    wrong[26] = 1;
    assert_eq!(said(&[(Side::Client, wrong)]).messages()[0].text("status_code"), "data_length");
}

#[test]
fn the_probe_takes_nothing_else() {
    for (name, bytes) in OTHERS {
        for transport in [Transport::Tcp, Transport::Udp] {
            let glimpse = Glimpse { transport, side: Side::Client, customary: true, bytes };
            assert_eq!(probe(&glimpse), Probe::No, "{name}");
        }
    }
    for change in [22, 25, 26] {
        let mut bytes = frame(false, 4, 1, &[]);
        bytes[change] ^= 0x20;
        let glimpse =
            Glimpse { transport: Transport::Tcp, side: Side::Client, customary: true, bytes: &bytes };
        assert_eq!(probe(&glimpse), Probe::No, "{change}");
    }
}
