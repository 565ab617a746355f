use yagura_event::schema::Kind;

use super::*;
use crate::Transport;
use crate::testing::{OTHERS, Run, Sample};

fn u(control: u8) -> Vec<u8> {
    vec![0x68, 4, control, 0, 0, 0]
}

/// An I frame with type, qualifier, cause and objects; common address 3.
fn i(kind: u8, qualifier: u8, cause: u8, objects: &[u8]) -> Vec<u8> {
    let mut out = vec![0x68, 10 + objects.len() as u8, 2, 0, 4, 0, kind, qualifier, cause, 0, 3, 0];
    out.extend_from_slice(objects);
    out
}

pub(crate) fn sample() -> Sample {
    Sample::tcp(vec![
        (Side::Client, u(0x07)),
        (Side::Server, u(0x0b)),
        (Side::Client, i(100, 1, 6, &[0, 0, 0, 20])),
        (Side::Server, i(100, 1, 7, &[0, 0, 0, 20])),
        (Side::Server, i(11, 0x82, 20, &[7, 0, 0, 1, 0, 0, 0xff, 0xff, 0x80])),
        (Side::Server, i(100, 1, 10, &[0, 0, 0, 20])),
        (Side::Client, vec![0x68, 4, 1, 0, 6, 0]),
    ])
}

#[test]
fn values_are_rows_and_samples() {
    let mut run = Run::new(&PROTOCOL);
    run.send(Side::Server, &i(11, 0x82, 20, &[7, 0, 0, 1, 0, 0, 0xff, 0xff, 0x80]));
    run.send(
        Side::Server,
        &i(36, 1, 3, &[9, 1, 0, 0, 0, 0x20, 0x41, 0x10, 0x10, 0x27, 5, 0x8d, 0x62, 7, 26]),
    );
    let columns = ["operation", "function", "session", "target", "values", "status", "tool"];
    assert_eq!(
        run.table(&columns),
        ["report|M_ME_NB_1|3|7..8|[1,-1]|one_way|10.0.0.2", "report|M_ME_TF_1|3|265|[10]|one_way|10.0.0.2"]
    );
    assert!(run.messages()[1].text("detail").contains("\"time_tag\":\"2026-07-02T13:05:10.000 summer\""));
    let samples: Vec<_> = run
        .of(Kind::Sample)
        .iter()
        .map(|s| (s.text("signal"), s.number("value"), s.number("quality")))
        .collect();
    let expected = [("M_ME 7", 1.0, 0.0), ("M_ME 8", -1.0, 2.0), ("M_ME 265", 10.0, 1.0)];
    assert_eq!(samples, expected.map(|(n, v, q)| (n, Some(v), Some(q))));
}

#[test]
fn commands_pair_with_their_confirmation() {
    let ask = |kind, objects: &[u8], cause| {
        let mut run = Run::new(&PROTOCOL);
        run.send(Side::Client, &i(kind, 1, 6, objects));
        run.time += 90;
        run.send(Side::Server, &i(kind, 1, cause, objects));
        run.send(Side::Server, &i(kind, 1, 10, objects));
        run.table(&["operation", "function", "target", "values", "status", "status_code", "exchange"])
    };
    assert_eq!(
        ask(45, &[0x10, 0x27, 0, 0x81], 7),
        ["control|C_SC_NA_1|10000|[1]|ok||pair", "control|C_SC_NA_1|10000|[1]|one_way||request"]
    );
    assert_eq!(
        ask(50, &[1, 0, 0, 0, 0, 0x20, 0x41, 0], 0x47)[0],
        "write|C_SE_NC_1|1|[10]|denied|negative_confirm|pair"
    );
    assert_eq!(ask(105, &[0, 0, 0, 1], 44)[0], "diagnose|C_RP_NA_1|0|[1]|denied|unknown_type|pair");
    assert_eq!(
        ask(103, &[0, 0, 0, 1, 0, 0, 0, 1, 1, 24], 7)[0],
        "configure|C_CS_NA_1|0|[\"2024-01-01T00:00:00.001\"]|ok||pair"
    );
}

#[test]
fn a_station_answers_what_is_for_all() {
    let mut run = Run::new(&PROTOCOL);
    let mut global = i(100, 1, 6, &[0, 0, 0, 20]);
    global[10..12].copy_from_slice(&[0xff, 0xff]);
    run.send(Side::Client, &global);
    run.send(Side::Server, &i(100, 1, 7, &[0, 0, 0, 20]));
    assert_eq!(run.table(&["function", "session", "exchange"]), ["C_IC_NA_1|65535|pair"]);
    assert!(run.messages()[0].text("detail").contains("\"station\":3"));
}

#[test]
fn unnumbered_frames_pair() {
    let mut run = Run::new(&PROTOCOL);
    for (ask, answer) in [(0x07, 0x0b), (0x43, 0x83), (0x13, 0x23)] {
        run.send(Side::Client, &u(ask));
        run.send(Side::Server, &u(answer));
    }
    run.send(Side::Client, &u(0x43));
    run.pass(REPLY_TIMEOUT + 1);
    let expected = [
        "session.open|STARTDT|ok",
        "session.keep|TESTFR|ok",
        "session.close|STOPDT|ok",
        "session.keep|TESTFR|no_reply",
    ];
    assert_eq!(run.table(&["operation", "function", "status"]), expected);
}

#[test]
fn files_are_named_and_not_kept() {
    let mut run = Run::new(&PROTOCOL);
    run.send(Side::Client, &i(122, 1, 13, &[1, 0, 0, 2, 0, 0, 1]));
    run.send(Side::Server, &i(120, 1, 13, &[1, 0, 0, 2, 0, 9, 0, 0, 0x80]));
    run.send(Side::Server, &i(125, 1, 13, b"\x01\0\0\x02\0\x01\x06SECRET"));
    assert_eq!(
        run.table(&["operation", "function", "target", "status"]),
        [
            "program.read|F_SC_NA_1|1 file 2|one_way",
            "program.write|F_FR_NA_1|1 file 2|denied",
            "program.read|F_SG_NA_1|1 file 2|one_way"
        ]
    );
    assert_eq!(run.messages()[2].number("body_bytes"), Some(6.0));
    assert!(!format!("{:?}", run.rows).contains("SECRET"));
}

#[test]
fn what_breaks_the_protocol_is_malformed() {
    for (bytes, code) in [
        (i(11, 2, 3, &[7, 0, 0, 1, 0, 0]), "asdu_length"),
        (i(99, 1, 3, &[7, 0, 0]), "asdu_type"),
        (i(125, 1, 13, &[1, 0, 0, 2, 0, 1, 9, 1]), "segment"),
        (u(0x0f), "control_field"),
        (vec![0x68, 3, 1, 0, 0, 0], "apdu_length"),
        (vec![0x69, 4, 1, 0, 0, 0], "start_octet"),
    ] {
        let mut run = Run::new(&PROTOCOL);
        run.send(Side::Client, &bytes);
        assert_eq!(run.messages()[0].text("status"), "malformed", "{code}");
        assert_eq!(run.messages()[0].text("status_code"), code);
    }
}

#[test]
fn the_probe_takes_nothing_else() {
    let probed = |bytes: &[u8], customary| {
        probe(&Glimpse { transport: Transport::Tcp, side: Side::Client, customary, bytes })
    };
    for (name, bytes) in OTHERS.iter().filter(|(name, _)| *name != "IEC 104") {
        assert_eq!(probed(bytes, true), Probe::No, "{name}");
    }
    assert_eq!(probed(&u(0x07), false), Probe::Yes);
    assert_eq!(probed(&i(11, 2, 3, &[7, 0, 0, 1, 0, 0]), true), Probe::No);
    assert_eq!(probed(&[0x68, 4, 1, 0, 2, 0], true), Probe::Yes);
    assert_eq!(probed(&[0x68, 4, 1, 0, 2, 0], false), Probe::More);
    // The middle of a recipe, which by its length and its control field could be a file transfer.
    let mut recipe =
        b"\x68\xa4\x1a\xb5\x14\xfd\x7c\x60\x5a\x69\x0c\xe6\xbc\xbf\x6f\xbf\x8b\x99\xef\x4f".to_vec();
    recipe.resize(2000, 0x5a);
    assert_eq!(probed(&recipe, false), Probe::No);
    assert_eq!(probed(&i(124, 1, 13, &[1, 0, 0, 2, 0, 0, 1]), false), Probe::Yes);
}
