use yagura_event::schema::Kind;

use super::*;
use crate::testing::{OTHERS, Run, Sample};

fn frame(response: bool, service: u8, body: &[u8]) -> Vec<u8> {
    let addresses: [u8; 6] = if response { [0, 9, 0, 0, 200, 0] } else { [0, 200, 0, 0, 9, 0] };
    let mut out = vec![if response { 0xc0 } else { 0x80 }, 0, 2];
    out.extend(addresses);
    out.push(service);
    out.extend_from_slice(body);
    out
}

fn over_tcp(command: u32, error: u32, body: &[u8]) -> Vec<u8> {
    let mut out = b"FINS".to_vec();
    out.extend((body.len() as u32 + 8).to_be_bytes());
    out.extend(command.to_be_bytes());
    out.extend(error.to_be_bytes());
    out.extend_from_slice(body);
    out
}

fn controller_data() -> Vec<u8> {
    let mut body = vec![5, 1, 0, 0];
    body.extend(format!("{:<20}", "CP1L-EL20DR-D").bytes());
    body.extend(b"01.00\0\0\0\0\0\0\0\0\0\x0001.06".iter().copied());
    body.resize(44, 0);
    body.extend([0; 40]);
    body.extend([0, 10, 23, 0x80, 0, 8, 0, 0, 0, 0, 0, 0]);
    body
}

/// Who asks for a node address, reads, writes and starts.
pub(crate) fn sample() -> Sample {
    let said = [
        (Side::Client, 0, vec![0, 0, 0, 0]),
        (Side::Server, 1, vec![0, 0, 0, 9, 0, 0, 0, 200]),
        (Side::Client, 2, frame(false, 1, &[5, 1, 0])),
        (Side::Server, 2, frame(true, 1, &controller_data())),
        (Side::Client, 2, frame(false, 2, &[1, 1, 0x82, 0, 100, 0, 0, 2])),
        (Side::Server, 2, frame(true, 2, &[1, 1, 0, 0, 0x12, 0x34, 0, 7])),
        (Side::Client, 2, frame(false, 3, &[1, 2, 0x30, 0, 3, 15, 0, 2, 1, 0])),
        (Side::Server, 2, frame(true, 3, &[1, 2, 0, 0])),
        (Side::Client, 2, frame(false, 4, &[4, 1, 0, 0, 4])),
        (Side::Server, 2, frame(true, 4, &[4, 1, 0x30, 0x01])),
    ];
    Sample::tcp(said.into_iter().map(|(side, command, body)| (side, over_tcp(command, 0, &body))).collect())
}

fn udp(said: &[(Side, &[u8])]) -> Run {
    let mut run = Run::over(&PROTOCOL, Transport::Udp);
    for (index, (side, body)) in said.iter().enumerate() {
        run.send(*side, &frame(*side == Side::Server, index as u8 / 2, body));
    }
    run.close();
    run
}

#[test]
fn a_conversation_over_tcp() {
    let mut run = Run::new(&PROTOCOL);
    for (side, bytes) in sample().said {
        run.send(side, &bytes);
    }
    run.close();
    assert_eq!(
        run.table(&["operation", "function", "session", "target", "values", "status", "status_code"]),
        [
            "session.open|node_address_data_send||||ok|",
            "discover|controller_data_read|0.200.0|controller|[\"CP1L-EL20DR-D\"]|ok|",
            "read|memory_area_read|0.200.0|D100..D101|[4660,7]|ok|",
            "write|memory_area_write|0.200.0|CIO3.15..CIO4.00|[1,0]|ok|",
            "control|run|0.200.0|program 0|[\"run\"]|denied|no_access_right",
        ]
    );
    let samples: Vec<_> =
        run.of(Kind::Sample).iter().map(|r| (r.text("signal").to_string(), r.number("value"))).collect();
    assert_eq!(samples, [("D100".to_string(), Some(4660.0)), ("D101".to_string(), Some(7.0))]);
    let identity = &run.of(Kind::Identity)[0];
    assert_eq!((identity.text("model"), identity.text("firmware")), ("CP1L-EL20DR-D", "01.00"));
    assert_eq!(identity.text("detail"), "{\"program_kilowords\":10,\"dm_words\":32768}");
    assert!(run.messages()[2].text("detail").contains("\"command\":257,\"service\":2,\"asker\":\"0.9.0\""));
}

#[test]
fn several_places_are_read_with_their_names() {
    let run = udp(&[
        (Side::Client, &[1, 4, 0x89, 0, 5, 0, 0x31, 0, 1, 2, 0xb3, 1, 0, 0]),
        (Side::Server, &[1, 4, 0, 0x40, 0x89, 0, 50, 0x31, 1, 0xb3, 0, 9]),
    ]);
    assert_eq!(run.table(&["target", "values", "status"]), ["T5,W1.02,A256|[50,1,9]|ok"]);
    let names: Vec<_> = run.of(Kind::Sample).iter().map(|r| r.text("signal").to_string()).collect();
    assert_eq!(names, ["T5", "W1.02", "A256"]);
    assert!(run.messages()[0].text("detail").contains("\"controller_error\":\"non_fatal\""));
}

#[test]
fn programs_leave_only_their_hmac_and_passwords_nothing() {
    let run = udp(&[
        (Side::Client, &[3, 7, 0, 0, 0, 0, 0, 16, 0x80, 4, 0xde, 0xad, 0xbe, 0xef]),
        (Side::Server, &[3, 7, 0, 0, 0, 0, 0, 0, 0, 16, 0, 4]),
        (Side::Client, &[3, 5, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, b'P', b'A', b'S', b'S']),
        (Side::Server, &[3, 5, 0x26, 2]),
        (Side::Client, &[3, 6, 0, 0, 0, 0, 0, 0, 0, 2]),
        (Side::Server, &[3, 6, 0, 0, 0, 0, 0, 0, 0, 0, 0x80, 2, 0xca, 0xfe]),
    ]);
    assert_eq!(
        run.table(&["operation", "function", "target", "status", "status_code"]),
        [
            "program.write|program_area_write|program 0|ok|",
            "authenticate|program_area_protect_clear|program 0|denied|incorrect_password",
            "program.read|program_area_read|program 0|ok|",
        ]
    );
    let rows = run.messages();
    assert_eq!((rows[0].number("body_bytes"), rows[0].text("body_hmac").len()), (Some(4.0), 64));
    assert_eq!((rows[2].number("body_bytes"), rows[2].text("body_hmac").len()), (Some(2.0), 64));
    assert!(rows[0].text("detail").contains("\"first\":16,\"bytes\":4,\"last\":true"));
    let said = format!("{:?}", run.rows);
    assert!(!said.contains("deadbeef") && !said.contains("cafe") && !said.contains("PASS"));
    assert!(said.contains("password_empty"));
}

#[test]
fn forces_files_clock_and_transfers() {
    let run = udp(&[
        (Side::Client, &[0x23, 1, 0, 2, 0, 1, 0, 0, 1, 2, 0x80, 0, 0, 0, 7, 0]),
        (Side::Server, &[0x23, 1, 0, 0]),
        (Side::Client, b"\x22\x07\x00\x00main.obj\0\0\0\0\x00\x01copy.obj\0\0\0\0"),
        (Side::Server, &[0x22, 7, 0x21, 7]),
        (Side::Client, &[7, 2, 0x26, 0x11, 0x24, 0x12, 0x30, 0x59, 2]),
        (Side::Server, &[7, 2, 0, 0]),
        (Side::Client, &[1, 5, 0x82, 0, 1, 0, 0xb2, 0, 10, 0, 0, 3]),
        (Side::Server, &[1, 5, 0, 0]),
        (Side::Client, &[0x99, 0x99, 1]),
    ]);
    assert_eq!(
        run.table(&["operation", "function", "target", "values", "status", "status_code"]),
        [
            "control|forced_set_reset|CIO1.02,CIO7.00|[\"force_set\",\"release_off\"]|ok|",
            "program.write|file_copy|main.obj,copy.obj||denied|file_name_exists",
            "configure|clock_write||[\"26-11-24 12:30:59\"]|ok|",
            "write|memory_area_transfer|H10..H12||ok|",
            "other|command|||no_reply|",
        ]
    );
    assert!(run.messages()[3].text("detail").contains("\"from\":\"D1..D3\""));
    assert!(run.messages()[1].text("detail").contains("\"disk\":0,\"to_disk\":1"));
}

#[test]
fn responses_without_requests_and_requests_without_responses() {
    let mut run = Run::over(&PROTOCOL, Transport::Udp);
    run.send(Side::Server, &frame(true, 9, &[1, 1, 0, 0, 1, 2]));
    let mut request = frame(false, 8, &[4, 2]);
    request[0] |= 1;
    run.send(Side::Client, &request);
    run.send(Side::Client, &frame(false, 8, &[6, 1]));
    run.pass(11 * SECOND);
    assert_eq!(
        run.table(&["function", "session", "values", "status", "exchange"]),
        [
            "memory_area_read|0.200.0|[\"0x0102\"]|unasked|reply",
            "stop|0.200.0||one_way|request",
            "controller_status_read|0.200.0||no_reply|request",
        ]
    );
}

#[test]
fn what_breaks_the_protocol_is_malformed() {
    for (body, code) in [
        (&[1u8, 2, 0x82, 0, 100, 0, 0, 2, 1, 0][..], "element_count"),
        (&[1, 1, 0x82, 0], "address"),
        (&[2, 2, 0x80, 0x10, 0], "beginning_word"),
        (&[0x22, 2, 0, 0, b'a'], "file_name"),
    ] {
        let run = udp(&[(Side::Client, body)]);
        assert_eq!(run.table(&["status", "status_code"]), [format!("malformed|{code}")]);
    }
    let mut run = Run::new(&PROTOCOL);
    run.send(Side::Server, &over_tcp(3, 0x20, &[]));
    run.send(Side::Client, &over_tcp(2, 0, &[0x80, 0, 2]));
    run.send(Side::Client, b"FINT");
    assert_eq!(
        run.table(&["operation", "function", "status", "status_code"]),
        [
            "error|frame_send_error_notification|denied|all_connections_in_use",
            "other|unreadable|malformed|cut_off",
            "other|unreadable|malformed|magic",
        ]
    );
}

#[test]
fn the_probe_takes_nothing_else() {
    for (name, bytes) in OTHERS {
        for transport in [Transport::Tcp, Transport::Udp] {
            let glimpse = Glimpse { transport, side: Side::Client, customary: true, bytes };
            assert_eq!(probe(&glimpse), Probe::No, "{name}");
        }
    }
    let judge = |customary, bytes: &[u8]| {
        probe(&Glimpse { transport: Transport::Udp, side: Side::Client, customary, bytes })
    };
    assert_eq!(judge(false, &frame(false, 1, &[1, 1, 0x82, 0, 0, 0, 0, 1])), Probe::Yes);
    // A command that no manual names is believed on the customary port alone.
    assert_eq!(judge(false, &frame(false, 1, &[0x77, 1])), Probe::No);
    assert_eq!(judge(true, &frame(false, 1, &[0x77, 1])), Probe::Yes);
    let mut routed = frame(false, 1, &[1, 1]);
    routed[3] = 128;
    assert_eq!(judge(true, &routed), Probe::No);
}
