use yagura_event::schema::Kind;

use super::*;
use crate::testing::{OTHERS, Run, Sample};

const SESSION: u32 = 0x0102_0304;

fn encapsulated(command: u16, session: u32, status: u32, context: u8, data: &[u8]) -> Vec<u8> {
    let mut out = command.to_le_bytes().to_vec();
    out.extend((data.len() as u16).to_le_bytes());
    out.extend(session.to_le_bytes());
    out.extend(status.to_le_bytes());
    out.extend([context; 8]);
    out.extend([0; 4]);
    out.extend_from_slice(data);
    out
}

/// SendRRData with one unconnected message.
fn unconnected(context: u8, message: &[u8]) -> Vec<u8> {
    let mut data = vec![0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0xb2, 0];
    data.extend((message.len() as u16).to_le_bytes());
    data.extend_from_slice(message);
    encapsulated(command::SEND_RR_DATA, SESSION, 0, context, &data)
}

/// SendUnitData with one connected message.
fn connected(sequence: u16, message: &[u8]) -> Vec<u8> {
    let mut data = vec![0, 0, 0, 0, 0, 0, 2, 0, 0xa1, 0, 4, 0, 9, 0, 0, 0, 0xb1, 0];
    data.extend((message.len() as u16 + 2).to_le_bytes());
    data.extend(sequence.to_le_bytes());
    data.extend_from_slice(message);
    encapsulated(command::SEND_UNIT_DATA, SESSION, 0, 0, &data)
}

fn identity_item() -> Vec<u8> {
    let mut item = vec![1, 0];
    item.extend([0; 16]);
    item.extend([1, 0, 14, 0, 54, 0, 20, 11, 0x60, 0, 0x78, 0x56, 0x34, 0x12, 4]);
    item.extend_from_slice(b"1756\x03");
    let mut out = vec![1, 0, 0x0c, 0, item.len() as u8, 0];
    out.extend(item);
    out
}

/// Reads the tag `Speed`.
const READ_TAG: &[u8] = b"\x4c\x04\x91\x05Speed\0\x01\0";

pub(crate) fn sample() -> Sample {
    Sample::tcp(vec![
        (Side::Client, encapsulated(command::REGISTER_SESSION, 0, 0, 1, &[1, 0, 0, 0])),
        (Side::Server, encapsulated(command::REGISTER_SESSION, SESSION, 0, 1, &[1, 0, 0, 0])),
        (Side::Client, encapsulated(command::LEGACY, 0, 0, 1, &[])),
        (Side::Server, encapsulated(command::LEGACY, 0, 0, 1, &[1, 0, 1, 0, 1, 0, 0])),
        (Side::Client, encapsulated(command::LIST_IDENTITY, 0, 0, 1, &[])),
        (Side::Server, encapsulated(command::LIST_IDENTITY, 0, 0, 1, &identity_item())),
        (Side::Client, unconnected(2, READ_TAG)),
        (Side::Server, unconnected(2, &[0xcc, 0, 0, 0, 0xc4, 0, 7, 0, 0, 0])),
        (Side::Client, connected(1, b"\x0a\x02\x20\x02\x24\x01\x02\0\x06\0\x0c\0\x01\x02\x20\x01\x24\x01\x05\x02\x20\x01\x24\x01\0")),
        (Side::Server, connected(1, b"\x8a\0\x1e\0\x02\0\x06\0\x0a\0\x81\0\x08\0\x85\0\x00\0")),
        (Side::Client, encapsulated(command::UNREGISTER_SESSION, SESSION, 0, 1, &[])),
    ])
}

fn exchange(request: &[u8], reply: &[u8]) -> Run {
    let mut run = Run::new(&PROTOCOL);
    run.send(Side::Client, &unconnected(5, request));
    run.time += 400;
    run.send(Side::Server, &unconnected(5, reply));
    run
}

const COLUMNS: [&str; 6] = ["operation", "function", "target", "values", "status", "status_code"];

#[test]
fn the_sample_becomes_one_row_an_exchange() {
    let mut run = Run::new(&PROTOCOL);
    for (side, bytes) in sample().said {
        run.send(side, &bytes);
    }
    assert_eq!(
        run.table(&COLUMNS),
        [
            "session.open|register_session|||ok|",
            "discover|legacy_0x01|||ok|",
            "discover|list_identity||[\"1756\"]|ok|",
            "read|read_tag|Speed|[7]|ok|",
            "discover|get_attributes_all|identity/1||denied|service_not_supported",
            "diagnose|reset|identity/1||ok|",
            "session.close|unregister_session|||one_way|",
        ]
    );
    assert_eq!(run.messages()[3].text("session"), "0x01020304");
    let samples = run.of(Kind::Sample);
    assert_eq!((samples[0].text("signal"), samples[0].number("value")), ("Speed", Some(7.0)));
    let identity = run.of(Kind::Identity)[0];
    assert_eq!(identity.text("vendor"), "Rockwell Automation");
    assert_eq!((identity.text("model"), identity.text("firmware")), ("1756", "20.11"));
    assert_eq!(identity.text("serial"), "12345678");
}

#[test]
fn services_have_their_names_targets_and_values() {
    let cases: &[(&[u8], &[u8], &str)] = &[
        (
            b"\x4d\x04\x91\x05Speed\0\xca\0\x01\0\0\0\x20\x41",
            &[0xcd, 0, 0, 0],
            "write|write_tag|Speed|[10]|ok|",
        ),
        (
            b"\x4c\x06\x91\x04Belt\x91\x03Run\0\x01\0",
            &[0xcc, 0, 5, 1, 0, 0],
            "read|read_tag|Belt.Run||denied|path_destination_unknown",
        ),
        (&[0x07, 2, 0x20, 0x8e, 0x24, 1], &[0x87, 0, 0, 0], "control|stop|controller_mode/1||ok|"),
        (
            &[0x4d, 2, 0x20, 0xa1, 0x24, 1, 7, 8],
            &[0xcd, 0, 0, 0],
            "program.write|transfer|nonvolatile_storage/1||ok|",
        ),
        (
            &[0x0e, 3, 0x20, 4, 0x24, 100, 0x30, 3],
            &[0x8e, 0, 0, 0, 1, 2],
            "read|get_attribute_single|assembly/100/3|[\"0x0102\"]|ok|",
        ),
        (
            &[0x10, 3, 0x20, 0xf5, 0x24, 1, 0x30, 5, 9],
            &[0x90, 0, 0x0f, 0],
            "configure|set_attribute_single|tcp_ip_interface/1/5|[\"0x09\"]|denied|privilege_violation",
        ),
        (&[0x63, 2, 0x20, 0xac, 0x24, 1], &[0xe3, 0, 0, 0], "other|service_0x63|class 0xac/1||ok|"),
        (
            // An unconnected send to slot 3 of the backplane.
            &[0x52, 2, 0x20, 6, 0x24, 1, 5, 100, 6, 0, 0x01, 2, 0x20, 1, 0x24, 1, 1, 0, 1, 3],
            &[0x81, 0, 0, 0, 1, 0, 14, 0, 54, 0, 20, 11, 0, 0, 1, 0, 0, 0, 1, b'X'],
            "discover|get_attributes_all|identity/1|[\"X\"]|ok|",
        ),
        (
            &[0x52, 2, 0x20, 6, 0x24, 1, 5, 100, 6, 0, 0x01, 2, 0x20, 1, 0x24, 1, 1, 0, 1, 3],
            &[0xd2, 0, 1, 1, 4, 2],
            "discover|get_attributes_all|identity/1||denied|connection_failure",
        ),
        (
            // PCCC: a protected typed logical read of two words of N7:3, and a change of mode.
            &[0x4b, 2, 0x20, 0x67, 0x24, 1, 7, 1, 0, 2, 0, 0, 0, 0x0f, 0, 9, 0, 0xa2, 4, 7, 0x89, 3, 0],
            &[0xcb, 0, 0, 0, 7, 1, 0, 2, 0, 0, 0, 0x4f, 0, 9, 0, 1, 0, 0xff, 0xff],
            "read|pccc_protected_typed_logical_read_3|N7:3|[1,-1]|ok|",
        ),
        (
            &[0x4b, 2, 0x20, 0x67, 0x24, 1, 7, 1, 0, 2, 0, 0, 0, 0x0f, 0, 9, 0, 0x80, 6],
            &[0xcb, 0, 0, 0, 7, 1, 0, 2, 0, 0, 0, 0x4f, 0x10, 9, 0],
            "control|pccc_change_mode|pccc/1||denied|pccc_status=0x10",
        ),
    ];
    for (request, reply, expected) in cases {
        let run = exchange(request, reply);
        assert_eq!(run.table(&COLUMNS), [*expected], "{:?}", run.rows);
        assert_eq!(run.messages()[0].text("exchange"), "pair");
    }
}

#[test]
fn connections_are_opened_and_closed_with_their_numbers() {
    let mut open =
        vec![0x54, 2, 0x20, 6, 0x24, 1, 10, 14, 0, 0, 0, 0, 1, 0, 0, 0, 7, 0, 1, 0, 9, 0, 0, 0, 3, 0, 0, 0];
    open.extend([0, 0x10, 0, 0, 0xf4, 0x43, 0, 0x20, 0, 0, 0xf4, 0x43, 0xa3, 2, 0x20, 2, 0x24, 1]);
    let reply = [0xd4, 0, 0, 0, 5, 0, 0, 0, 6, 0, 0, 0, 7, 0, 1, 0, 9, 0, 0, 0];
    let run = exchange(&open, &reply);
    assert_eq!(run.table(&COLUMNS), ["session.open|forward_open|message_router/1||ok|"]);
    let detail = run.messages()[0].text("detail");
    for part in [
        "\"connection_serial\":7",
        "\"o_t_rpi\":4096",
        "\"transport_class\":3",
        "\"t_o_connection\":\"0x00000006\"",
    ] {
        assert!(detail.contains(part), "{part}: {detail}");
    }
    let close = [0x4e, 2, 0x20, 6, 0x24, 1, 10, 14, 7, 0, 1, 0, 9, 0, 0, 0, 2, 0, 0x20, 2, 0x24, 1];
    let run = exchange(&close, &[0xce, 0, 0, 0]);
    assert_eq!(run.table(&COLUMNS), ["session.close|forward_close|message_router/1||ok|"]);
}

#[test]
fn firmware_is_hashed_and_not_kept() {
    let run = exchange(b"\x4d\x02\x20\xa1\x24\x01SECRET", &[0xcd, 0, 0, 0]);
    let row = run.messages()[0];
    assert_eq!((row.number("body_bytes"), row.text("body_hmac").len()), (Some(6.0), 64));
    assert!(!format!("{:?}", run.rows).contains("SECRET"));
}

#[test]
fn implicit_messages_are_counted() {
    let mut run = Run::over(&PROTOCOL, Transport::Udp);
    let implicit = |sequence: u8| {
        [&[2, 0, 2, 0x80, 8, 0, 4, 3, 2, 1][..], &[sequence, 0, 0, 0, 0xb1, 0, 3, 0, 1, 2, 3]].concat()
    };
    for sequence in [1, 2, 3, 9] {
        run.time += SECOND;
        run.send(Side::Client, &implicit(sequence));
    }
    run.pass(IO_PERIOD);
    let row = run.messages()[0];
    assert_eq!((row.text("function"), row.text("target")), ("implicit_message", "0x01020304"));
    assert_eq!(row.number("count"), Some(4.0));
    assert_eq!(row.text("detail"), "{\"bytes\":12,\"first\":1,\"last\":9,\"jumps\":1}");
    let bytes = implicit(1);
    let glimpse = |bytes| Glimpse { transport: Transport::Udp, side: Side::Client, customary: false, bytes };
    assert_eq!(probe(&glimpse(&bytes)), Probe::Yes);
    assert_eq!(probe(&glimpse(&bytes[..15])), Probe::No);
}

#[test]
fn what_breaks_the_protocol_is_malformed() {
    let cases: [(Vec<u8>, &str); 6] = [
        (encapsulated(0x99, 0, 0, 0, &[]), "encapsulation_command"),
        (encapsulated(command::NOP, 0, 0x77, 0, &[]), "encapsulation_status"),
        (
            encapsulated(command::SEND_RR_DATA, SESSION, 0, 0, &[0, 0, 0, 0, 0, 0, 1, 0, 0xb2, 0, 9, 0]),
            "item_length",
        ),
        (unconnected(1, &[0x4c, 9, 0x20, 1]), "cip_path_size"),
        (unconnected(1, &[0x4c, 1, 0xe0, 1]), "path_segment"),
        (unconnected(1, &[0x0a, 2, 0x20, 2, 0x24, 1, 1, 0, 99, 0]), "multiple_offsets"),
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
fn the_encapsulation_refuses_what_waits() {
    let mut run = Run::new(&PROTOCOL);
    run.send(Side::Client, &unconnected(5, READ_TAG));
    run.send(Side::Server, &encapsulated(command::SEND_RR_DATA, SESSION, 0x64, 5, &[]));
    assert_eq!(run.table(&["function", "status_code", "exchange"]), ["read_tag|invalid_session_handle|pair"]);
}

#[test]
fn the_probe_takes_nothing_else() {
    // The middle of another protocol's stream.
    let bytes =
        b"\x63\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x2c\x0e\x00\x00\x00\x00";
    let glimpse = Glimpse { transport: Transport::Tcp, side: Side::Server, customary: false, bytes };
    assert_eq!(probe(&glimpse), Probe::No);
    assert_eq!(probe(&Glimpse { customary: true, ..glimpse }), Probe::Yes);
    for (name, bytes) in OTHERS.iter().filter(|(name, _)| *name != "EtherNet/IP") {
        for customary in [true, false] {
            let glimpse = Glimpse { transport: Transport::Tcp, side: Side::Client, customary, bytes };
            assert_ne!(probe(&glimpse), Probe::Yes, "{name}");
        }
    }
}
