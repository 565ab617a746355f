use proptest::prelude::*;
use yagura_event::clock::SECOND;
use yagura_event::schema::Kind;

use super::*;
use crate::testing::{OTHERS, Run};

fn frame(transaction: u16, unit: u8, pdu: &[u8]) -> Vec<u8> {
    let mut out = transaction.to_be_bytes().to_vec();
    out.extend_from_slice(&[0, 0]);
    out.extend_from_slice(&(pdu.len() as u16 + 1).to_be_bytes());
    out.push(unit);
    out.extend_from_slice(pdu);
    out
}

pub(crate) fn sample() -> crate::testing::Sample {
    let said = |side, transaction, pdu: &[u8]| (side, frame(transaction, 1, pdu));
    crate::testing::Sample::tcp(vec![
        said(Side::Client, 1, &[3, 0, 100, 0, 2]),
        said(Side::Server, 1, &[3, 4, 0, 9, 1, 0]),
        said(Side::Client, 2, &[16, 0, 1, 0, 1, 2, 0, 5]),
        said(Side::Server, 2, &[16, 0, 1, 0, 1]),
        said(Side::Client, 3, &[6, 0, 1, 0, 9]),
        said(Side::Server, 3, &[0x86, 2]),
        said(Side::Client, 4, &[43, 14, 1, 0]),
        said(Side::Server, 4, &[43, 14, 1, 1, 0, 0, 1, 0, 4, b'A', b'c', b'm', b'e']),
    ])
}

fn ask(request: &[u8], response: &[u8]) -> Run {
    let mut run = Run::new(&PROTOCOL);
    run.send(Side::Client, &frame(9, 3, request));
    run.time += 250;
    run.send(Side::Server, &frame(9, 3, response));
    run
}

#[test]
fn reading_registers_gives_one_row_and_a_sample_each() {
    let run = ask(&[3, 0, 100, 0, 2], &[3, 4, 0, 9, 1, 0]);
    let row = run.messages()[0];
    for (column, expected) in [
        ("operation", "read"),
        ("function", "read_holding_registers"),
        ("target", "holding_register 100..101"),
        ("values", "[9,256]"),
        ("status", "ok"),
        ("exchange", "pair"),
        ("session", "3"),
        ("client", "10.0.0.1"),
        ("tool", "10.0.0.2"),
        ("initiator", "client"),
        ("detail", "{\"transaction\":9,\"function\":3}"),
    ] {
        assert_eq!(row.text(column), expected, "{column}");
    }
    assert_eq!((row.number("latency_us"), row.number("count")), (Some(250.0), Some(2.0)));
    let samples = run.of(Kind::Sample);
    assert_eq!(samples.len(), 2);
    assert_eq!(samples[1].text("signal"), "holding_register 101");
    assert_eq!(samples[1].text("source"), "modbus 10.0.0.2:5000/3");
    assert_eq!(samples[1].number("value"), Some(256.0));
}

#[test]
fn every_function_has_its_name_operation_target_and_values() {
    let cases: &[(&[u8], &[u8], &str)] = &[
        (&[1, 0, 0, 0, 3], &[1, 1, 5], "read|read_coils|coil 0..2|[1,0,1]|ok|"),
        (&[2, 0, 4, 0, 1], &[2, 1, 1], "read|read_discrete_inputs|discrete_input 4|[1]|ok|"),
        (&[4, 0, 4, 0, 1], &[4, 2, 1, 2], "read|read_input_registers|input_register 4|[258]|ok|"),
        (&[5, 0, 1, 255, 0], &[5, 0, 1, 255, 0], "write|write_single_coil|coil 1|[1]|ok|"),
        (&[6, 0, 1, 1, 1], &[6, 0, 1, 1, 1], "write|write_single_register|holding_register 1|[257]|ok|"),
        (&[7], &[7, 9], "diagnose|read_exception_status||[9]|ok|"),
        (&[8, 0, 1, 0, 0], &[8, 0, 1, 0, 0], "diagnose|diagnostics|restart_communications||ok|"),
        (
            &[8, 0, 4, 0, 0],
            &[0x88, 11],
            "diagnose|diagnostics|force_listen_only_mode||denied|gateway_target_device_failed_to_respond",
        ),
        (&[8, 0, 14, 0, 0], &[8, 0, 14, 1, 2], "diagnose|diagnostics|return_server_message_count|[258]|ok|"),
        (&[11], &[11, 255, 255, 0, 7], "diagnose|get_comm_event_counter||[7]|ok|"),
        (
            &[15, 0, 0, 0, 9, 2, 255, 1],
            &[15, 0, 0, 0, 9],
            "write|write_multiple_coils|coil 0..8|[1,1,1,1,1,1,1,1,1]|ok|",
        ),
        (
            &[16, 0, 1, 0, 2, 4, 0, 1, 0, 2],
            &[16, 0, 1, 0, 2],
            "write|write_multiple_registers|holding_register 1..2|[1,2]|ok|",
        ),
        (
            &[20, 7, 6, 0, 4, 0, 1, 0, 2],
            &[20, 6, 5, 6, 1, 2, 3, 4],
            "program.read|read_file_record|file 4/1||ok|",
        ),
        (
            &[21, 9, 6, 0, 4, 0, 7, 0, 1, 9, 9],
            &[21, 9, 6, 0, 4, 0, 7, 0, 1, 9, 9],
            "program.write|write_file_record|file 4/7||ok|",
        ),
        (
            &[22, 0, 4, 0, 242, 0, 37],
            &[22, 0, 4, 0, 242, 0, 37],
            "write|mask_write_register|holding_register 4||ok|",
        ),
        (
            &[23, 0, 3, 0, 1, 0, 14, 0, 1, 2, 0, 255],
            &[23, 2, 0, 254],
            "write|read_write_multiple_registers|holding_register 14|[254]|ok|",
        ),
        (&[24, 4, 222], &[24, 0, 4, 0, 1, 1, 184], "read|read_fifo_queue|fifo 1246|[440]|ok|"),
        (&[43, 13, 0, 1], &[43, 13, 0, 1], "other|canopen_general_reference|||ok|"),
        (&[90, 0, 0x30, 0, 1], &[90, 0, 0xfe], "program.write|vendor_program_transfer|||ok|"),
        (&[90, 0, 0x34, 0, 1], &[90, 0, 0xfe], "program.read|vendor_program_transfer|||ok|"),
        (&[90, 0, 0x41, 0], &[90, 0, 0xfe], "control|vendor_program_transfer|||ok|"),
        (&[66, 1, 2], &[66, 3], "other|function_66|||ok|"),
        (
            &[3, 0, 9, 0, 1],
            &[0x83, 2],
            "read|read_holding_registers|holding_register 9||denied|illegal_data_address",
        ),
        (
            &[16, 0, 1, 0, 1, 2, 0, 1],
            &[0x90, 5],
            "write|write_multiple_registers|holding_register 1|[1]|ok|acknowledge",
        ),
    ];
    for (request, response, expected) in cases {
        let run = ask(request, response);
        let table = run.table(&["operation", "function", "target", "values", "status", "status_code"]);
        assert_eq!(table, [*expected], "{request:?} {:?}", run.rows);
        serde_json::from_str::<serde_json::Value>(run.messages()[0].text("detail")).unwrap();
    }
}

#[test]
fn devices_name_themselves() {
    let run = ask(&[43, 14, 1, 0], b"\x2b\x0e\x01\x01\x00\x00\x03\x00\x04Acme\x01\x02PX\x02\x031.2");
    let row = run.of(Kind::Identity)[0];
    assert_eq!((row.text("vendor"), row.text("model"), row.text("firmware")), ("Acme", "PX", "1.2"));
    assert_eq!(run.messages()[0].text("operation"), "discover");
    let run = ask(&[17], b"\x11\x08\x12\x00\xffAcme");
    assert_eq!(run.messages()[0].text("status"), "malformed");
    let run = ask(&[17], b"\x11\x07\x12\x00\xffAcm1");
    assert_eq!(run.of(Kind::Identity)[0].text("model"), "Acm1");
}

#[test]
fn what_breaks_the_protocol_is_malformed_and_says_why() {
    for (request, response, problem) in [
        (&[3, 0, 0, 0, 0][..], &[0x83, 3][..], "quantity"),
        (&[3, 255, 255, 0, 2], &[0x83, 3], "65535"),
        (&[1, 0, 0, 0, 9], &[1, 1, 5], "byte count"),
        (&[16, 0, 1, 0, 2, 3, 0, 1, 0], &[16, 0, 1, 0, 2], "byte count"),
        (&[5, 0, 1, 18, 52], &[5, 0, 1, 18, 52], "FF00"),
        (&[6, 0, 1, 1, 1], &[6, 0, 1, 1, 2], "repeat"),
        (&[3, 0, 1, 1], &[0x83, 3], "length"),
    ] {
        let run = ask(request, response);
        let row = run.messages()[0];
        assert_eq!(row.text("status"), "malformed", "{request:?}");
        assert!(row.text("detail").contains(problem), "{}", row.text("detail"));
    }
}

#[test]
fn a_bad_header_is_one_row_and_the_next_frame_is_read() {
    for (header, code) in [
        (&[0, 1, 2, 0, 0, 3, 1, 3, 0][..], "protocol_identifier"),
        (&[0, 1, 0, 0, 0, 0], "length"),
        (&[0, 1, 0, 0, 1, 0], "length"),
    ] {
        let mut run = Run::new(&PROTOCOL);
        let mut bytes = frame(1, 1, &[3, 0, 0, 0, 1]);
        bytes.extend_from_slice(header);
        if header == [0, 1, 0, 0, 1, 0] {
            bytes.extend_from_slice(&[7; 256]);
        }
        bytes.extend(frame(2, 1, &[3, 0, 0, 0, 1]));
        run.send(Side::Client, &bytes);
        run.close();
        assert_eq!(
            run.table(&["function", "status", "status_code"]),
            [
                format!("unreadable|malformed|{code}"),
                "read_holding_registers|no_reply|".into(),
                "read_holding_registers|no_reply|".into()
            ],
        );
    }
}

#[test]
fn a_lost_place_is_found_again() {
    let mut run = Run::new(&PROTOCOL);
    run.send(Side::Client, &frame(1, 1, &[3, 0, 0, 0, 1]));
    run.lose(Side::Client, 5);
    run.send(Side::Client, &[9, 9, 9]);
    run.send(Side::Client, &frame(2, 1, &[3, 0, 5, 0, 1]));
    run.close();
    assert_eq!(run.table(&["target"]), ["holding_register 0", "holding_register 5"]);
    assert_eq!(run.of(Kind::Coverage)[0].number("count"), Some(3.0));
}

#[test]
fn pipelined_requests_find_their_responses_and_the_rest_times_out() {
    let mut run = Run::new(&PROTOCOL);
    for (t, unit, register) in [(1, 1, 10), (1, 1, 11), (2, 1, 12), (1, 2, 13)] {
        run.send(Side::Client, &frame(t, unit, &[3, 0, register, 0, 1]));
    }
    for (t, unit, value) in [(2, 1, 1), (1, 1, 2), (1, 2, 3)] {
        run.send(Side::Server, &frame(t, unit, &[3, 2, 0, value]));
    }
    run.pass(REPLY_TIMEOUT + 1);
    run.send(Side::Server, &frame(1, 1, &[3, 2, 0, 4]));
    assert_eq!(
        run.table(&["target", "values", "status", "exchange"]),
        [
            "holding_register 12|[1]|ok|pair",
            "holding_register 10|[2]|ok|pair",
            "holding_register 13|[3]|ok|pair",
            "holding_register 11||no_reply|request",
            "|[4]|unasked|reply",
        ]
    );
}

#[test]
fn a_response_of_another_function_is_malformed_and_answers_nothing() {
    let run = ask(&[3, 0, 9, 0, 1], &[4, 2, 0, 1]);
    assert_eq!(run.table(&["function", "status"]), ["read_input_registers|malformed"]);
    assert!(run.messages()[0].text("detail").contains("function 3"));
}

#[test]
fn waiting_requests_are_bounded() {
    let mut run = Run::new(&PROTOCOL);
    for t in 0..WAITING_MAX as u16 + 2 {
        run.send(Side::Client, &frame(t, 1, &[3, 0, 0, 0, 1]));
    }
    assert_eq!(run.messages().len(), 2);
    assert_eq!(run.of(Kind::Coverage)[0].text("event"), "drop");
}

#[test]
fn a_connection_seen_the_wrong_way_round_is_turned() {
    let mut run = Run::new(&PROTOCOL);
    run.send(Side::Server, &frame(1, 1, &[3, 0, 0, 0, 1]));
    run.send(Side::Client, &frame(1, 1, &[3, 2, 0, 1]));
    let row = run.messages()[0];
    assert_eq!(
        (row.text("client"), row.text("tool"), row.text("initiator")),
        ("10.0.0.2", "10.0.0.1", "server")
    );
    assert_eq!(row.text("exchange"), "pair");
}

#[test]
fn files_and_programs_stay_out_of_the_rows() {
    let run = ask(b"\x15\x0b\x06\x00\x04\x00\x07\x00\x02SECR", b"\x15\x0b\x06\x00\x04\x00\x07\x00\x02SECR");
    assert!(!format!("{:?}", run.rows).contains("SECR") && !format!("{:?}", run.rows).contains("53454352"));
}

#[test]
fn the_probe_takes_modbus_and_nothing_else() {
    for pdu in [&[3, 0, 0, 0, 1][..], &[16, 0, 1, 0, 1, 2, 0, 1], &[43, 14, 1, 0], &[66, 1, 2], &[90, 0, 2]] {
        let bytes = frame(0x1234, 1, pdu);
        assert_eq!(probe(false, Side::Client, &bytes), Probe::Yes, "{pdu:?}");
        assert_eq!(probe(false, Side::Client, &bytes[..7]), Probe::More);
    }
    assert_eq!(probe(false, Side::Server, &frame(1, 1, &[3, 2, 0, 1])), Probe::Yes);
    assert_eq!(probe(false, Side::Server, &frame(1, 1, &[0x83, 1])), Probe::Yes);
    assert_eq!(probe(false, Side::Server, b"\0\0\0\0\0\0\0\0\0\0\0\x03\x01\x9c\x01"), Probe::Yes);
    for (name, bytes) in OTHERS {
        assert_eq!(probe(false, Side::Client, bytes), Probe::No, "{name}");
    }
    assert_eq!(probe(false, Side::Client, &[0; 64]), Probe::No);
    // The middle of a list of addresses: on another port, frames fill the bytes.
    let peers = b"\0\0\0\0\0\x06\0\x03\0\0\0\x01\xff\xff\x18\x6d\x3f\x07\x20\x8d\xf6\x9a\x90\x4d";
    assert_eq!(probe(false, Side::Server, peers), Probe::No);
    assert_eq!(probe(false, Side::Server, &peers[..12]), Probe::Yes);
    assert_eq!(probe(false, Side::Client, b"\0\0\0\x0a\xff\xff\0\0\0\x01\0\0\0\x01"), Probe::No);
}

#[test]
fn on_the_customary_port_whole_frames_are_enough() {
    // A scan of all functions begins with 0; an exception with a byte too many; a read of no address.
    for (side, pdu) in [
        (Side::Client, &[0, 0, 0, 0, 0][..]),
        (Side::Server, &[0x80, 1]),
        (Side::Server, &[0x81, 6, 0]),
        (Side::Client, &[3, 9]),
    ] {
        let bytes = frame(0, 1, pdu);
        assert_eq!(probe(true, side, &bytes), Probe::Yes, "{pdu:?}");
        assert_eq!(probe(true, side, &bytes[..bytes.len() - 1]), Probe::More, "{pdu:?}");
        assert_eq!(probe(false, side, &bytes), Probe::No, "{pdu:?}");
        let followed = [&bytes[..], b"\x16\x03\x01\x02"].concat();
        assert_eq!(probe(true, side, &followed), Probe::No, "{pdu:?}");
    }
    for (name, bytes) in OTHERS {
        assert_eq!(probe(true, Side::Client, bytes), Probe::No, "{name}");
    }
}

#[test]
fn a_scan_of_functions_is_read_from_function_0_on() {
    let mut run = Run::new(&PROTOCOL);
    for function in [0, 1, 9, 127] {
        run.send(Side::Client, &frame(0, 1, &[function, 0, 0, 0, 0]));
        run.send(Side::Server, &frame(0, 1, &[function | 0x80, 1]));
    }
    let expected = ["function_0", "read_coils", "function_9", "function_127"];
    assert_eq!(
        run.table(&["function", "status_code", "exchange"]),
        expected.map(|f| format!("{f}|illegal_function|pair"))
    );
}

#[test]
fn an_exception_of_a_wrong_length_still_tells_who_answers() {
    let mut run = Run::new(&PROTOCOL);
    run.send(Side::Client, &frame(1, 10, &[0x81, 6, 0]));
    run.send(Side::Client, &frame(1, 10, &[0x2a, 14, 4, 1]));
    assert_eq!(
        run.table(&["function", "exchange", "status", "status_code", "initiator"]),
        ["read_coils|reply|malformed|server_device_busy|server", "function_42|reply|unasked||server"]
    );
}

#[test]
fn right_after_a_gap_a_frame_of_whatever_function_is_read() {
    let mut run = Run::new(&PROTOCOL);
    run.send(Side::Client, &frame(1, 1, &[3, 0, 0, 0, 1]));
    run.lose(Side::Client, 12);
    let two = [frame(3, 1, &[33, 0, 0]), frame(4, 1, &[54, 9])].concat();
    run.send(Side::Client, &two[..5]);
    run.send(Side::Client, &two[5..]);
    run.lose(Side::Client, 12);
    // Not at the beginning: only a length that fits the function is believed.
    run.send(Side::Client, &[b"\x09", &frame(6, 1, &[33, 0, 0])[..]].concat());
    run.send(Side::Client, &frame(7, 1, &[1, 0, 0, 0, 1]));
    run.close();
    assert_eq!(
        run.table(&["function"]),
        ["read_holding_registers", "function_33", "function_54", "read_coils"]
    );
}

#[test]
fn the_count_of_a_read_and_write_is_that_of_the_registers_written() {
    let run = ask(&[23, 0, 20, 0, 4, 0, 30, 0, 1, 2, 0, 7], &[23, 8, 0, 1, 0, 2, 0, 3, 0, 4]);
    let row = run.messages()[0];
    assert_eq!((row.text("target"), row.text("values")), ("holding_register 30", "[1,2,3,4]"));
    assert_eq!(row.number("count"), Some(1.0));
}

#[test]
fn a_frame_of_one_byte_more_than_the_standard_allows_is_read() {
    let mut run = Run::new(&PROTOCOL);
    let longest = vec![90; BODY_MAX - 1];
    run.send(Side::Client, &frame(7, 0, &longest));
    run.send(Side::Server, &frame(7, 0, &longest));
    assert_eq!(run.table(&["function", "exchange"]), ["vendor_program_transfer|pair"]);
    assert_eq!(run.messages()[0].number("count"), Some(254.0));
}

fn pdu() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        (1u8..=4, any::<u16>(), 1u16..20).prop_map(|(f, a, n)| [
            vec![f],
            a.to_be_bytes().to_vec(),
            n.to_be_bytes().to_vec()
        ]
        .concat()),
        prop::collection::vec(any::<u8>(), 1..40),
        (1u8..4, any::<u16>()).prop_map(|(f, v)| vec![f, 2, (v >> 8) as u8, v as u8]),
    ]
}

fn play(pieces: &[(bool, Vec<u8>)]) -> Run {
    let mut run = Run::new(&PROTOCOL);
    for (client, bytes) in pieces {
        run.send(if *client { Side::Client } else { Side::Server }, bytes);
    }
    run.pass(10 * SECOND);
    run.close();
    run
}

proptest! {
    #[test]
    fn splitting_changes_nothing(pdus in prop::collection::vec((0u16..4, pdu()), 1..20), garbage in prop::collection::vec(any::<u8>(), 0..12), at in 0usize..20, size in 1usize..40) {
        for client in [true, false] {
            let mut stream = Vec::new();
            for (index, (t, pdu)) in pdus.iter().enumerate() {
                if index == at {
                    stream.extend_from_slice(&garbage);
                }
                stream.extend(frame(*t, 1, pdu));
            }
            let whole = play(&[(client, stream.clone())]);
            let pieces: Vec<_> = stream.chunks(size).map(|c| (client, c.to_vec())).collect();
            prop_assert_eq!(whole.rows, play(&pieces).rows);
        }
    }

    #[test]
    fn any_bytes_are_taken_without_panic_and_without_hoarding(pieces in prop::collection::vec((any::<bool>(), prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..80)), 0..20), lose in 0usize..300) {
        let mut run = play(&pieces);
        run.lose(Side::Client, lose);
        run.send(Side::Client, &[0; 300]);
        run.close();
        prop_assert!(run.held(Side::Client) <= PROTOCOL.buffer_bytes_max && run.held(Side::Server) <= PROTOCOL.buffer_bytes_max);
        for row in run.messages() {
            prop_assert!(serde_json::from_str::<serde_json::Value>(row.text("detail")).is_ok(), "{}", row.text("detail"));
        }
        for (client, bytes) in &pieces {
            probe(true, if *client { Side::Client } else { Side::Server }, bytes);
        }
    }
}

/// Run with `cargo test --release -p yagura-dissect -- --ignored --nocapture speed`.
#[test]
#[ignore = "a measurement"]
#[expect(clippy::print_stdout, clippy::disallowed_methods, reason = "it measures time and says how much")]
fn speed() {
    struct Nothing(usize);
    impl yagura_event::rows::RowSink for Nothing {
        fn push(&mut self, _: Row<'_>) {
            self.0 += 1;
        }
    }
    let run = Run::new(&PROTOCOL);
    let (settings, mut sink) = (run.settings.clone(), Nothing(0));
    let mut dissector = start(&run.flow);
    let (request, response) = (frame(1, 1, &[3, 0, 0, 0, 1]), frame(1, 1, &[3, 2, 0, 1]));
    let rounds = 1_000_000;
    let begun = std::time::Instant::now();
    for time in 0..rounds {
        let mut cx = Cx { flow: &run.flow, time, observed: time, settings: &settings, out: &mut sink };
        dissector.parse(&mut cx, Side::Client, &request);
        dissector.parse(&mut cx, Side::Server, &response);
    }
    let seconds = begun.elapsed().as_secs_f64();
    assert_eq!(sink.0, 2 * rounds as usize);
    println!("{:.2} million messages a second", 2.0 * rounds as f64 / seconds / 1e6);
}
