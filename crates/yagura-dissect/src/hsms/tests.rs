use proptest::prelude::*;
use yagura_event::clock::SECOND;
use yagura_event::schema::Kind;

use super::*;
use crate::secs2::Value;
use crate::testing::{OTHERS, Run};
use crate::{ToolNames, Variable};

const HOST: Side = Side::Client;
const TOOL: Side = Side::Server;

fn raw(header: [u8; 10], text: &[u8]) -> Vec<u8> {
    let mut out = (10 + text.len() as u32).to_be_bytes().to_vec();
    out.extend_from_slice(&header);
    out.extend_from_slice(text);
    out
}

fn control(stype: u8, byte3: u8, system: u8) -> Vec<u8> {
    raw([255, 255, 0, byte3, 0, stype, 0, 0, 0, system], &[])
}

fn message(stream: u8, function: u8, wait: bool, system: u8, text: &[u8]) -> Vec<u8> {
    raw([0, 3, stream | u8::from(wait) << 7, function, 0, 0, 0, 0, 0, system], text)
}

pub(crate) fn sample() -> crate::testing::Sample {
    let list = l(&[u(1), u(2)]).to_bytes();
    let values = l(&[u(7), a("IDLE")]).to_bytes();
    crate::testing::Sample::tcp(vec![
        (HOST, control(1, 0, 1)),
        (TOOL, control(2, 0, 1)),
        (HOST, message(1, 13, true, 2, &l(&[]).to_bytes())),
        (TOOL, message(1, 14, false, 2, &l(&[b(0), l(&[a("ETCH"), a("1.0")])]).to_bytes())),
        (HOST, message(1, 3, true, 3, &list)),
        (TOOL, message(1, 4, false, 3, &values)),
        (HOST, message(7, 3, true, 4, &l(&[a("R1"), a("SECRET")]).to_bytes())),
        (TOOL, message(7, 4, false, 4, &b(0).to_bytes())),
        (HOST, control(9, 0, 5)),
    ])
}

fn l(items: &[Value]) -> Value {
    Value::List(items.to_vec())
}

fn a(text: &str) -> Value {
    Value::text(text)
}

fn u(n: u16) -> Value {
    Value::U2(vec![n])
}

fn b(n: u8) -> Value {
    Value::Binary(vec![n])
}

/// A primary message of one end and its reply.
fn ask(run: &mut Run, side: Side, stream: u8, function: u8, text: Option<Value>, reply: Option<Value>) {
    let bytes = |v: Option<Value>| v.map(|v| v.to_bytes()).unwrap_or_default();
    let system = (run.rows.len() % 250) as u8;
    run.send(side, &message(stream, function, true, system, &bytes(text)));
    run.time += 100;
    run.send(side.other(), &message(stream, function + 1, false, system, &bytes(reply)));
}

fn asked(side: Side, stream: u8, function: u8, text: Option<Value>, reply: Option<Value>) -> Run {
    let mut run = Run::new(&PROTOCOL);
    ask(&mut run, side, stream, function, text, reply);
    run
}

const MEANING: [&str; 5] = ["function", "operation", "target", "status", "status_code"];

#[test]
fn a_session_is_opened_kept_and_closed() {
    let mut run = Run::new(&PROTOCOL);
    run.send(HOST, &control(1, 0, 1));
    run.send(HOST, &message(1, 1, false, 9, &[]));
    run.send(TOOL, &control(2, 0, 1));
    run.send(HOST, &control(5, 0, 2));
    run.send(TOOL, &control(6, 0, 2));
    run.send(HOST, &message(1, 1, true, 3, &[]));
    run.send(TOOL, &raw([0, 3, 0, 4, 0, 7, 0, 0, 0, 3], &[]));
    run.send(HOST, &control(3, 0, 4));
    run.send(TOOL, &control(4, 2, 4));
    run.send(TOOL, &raw([0, 3, 0, 3, 0, 7, 0, 0, 0, 77], &[]));
    run.send(HOST, &control(9, 0, 5));
    assert_eq!(
        run.table(&["function", "operation", "exchange", "status", "status_code"]),
        [
            "S1F1|discover|request|one_way|",
            "Select.req|session.open|pair|ok|",
            "Linktest.req|session.keep|pair|ok|",
            "S1F1|discover|pair|denied|Reject=4",
            "Deselect.req|session.close|pair|denied|DeselectStatus=2",
            "Reject.req|error|request|one_way|Reject=3",
            "Separate.req|session.close|request|one_way|",
        ]
    );
    let coverage = run.of(Kind::Coverage);
    assert_eq!(coverage.len(), 1);
    assert!(coverage[0].text("detail").starts_with("S1F1 before the session is selected, at byte 14"));
    assert!(run.messages()[1].text("detail").contains("\"system\":1"));
}

#[test]
fn security_relevant_messages_have_operation_target_and_status() {
    let start = |ack: u8| (Some(l(&[a("START"), l(&[l(&[a("X"), u(1)])])])), Some(l(&[b(ack), l(&[])])));
    let body = || Some(l(&[a("OX"), Value::Binary(vec![1, 2])]));
    let (s2f41, ok) = start(0);
    let job =
        l(&[u(1), a("PJ1"), b(13), l(&[]), l(&[b(1), a("OX"), l(&[])]), Value::Boolean(vec![true]), l(&[])]);
    for (side, stream, function, text, reply, expected) in [
        (HOST, 2, 41, s2f41.clone(), ok, "control|START|ok|"),
        (HOST, 2, 41, s2f41.clone(), start(4).1, "control|START|ok|HCACK=4"),
        (HOST, 2, 41, s2f41.clone(), start(5).1, "control|START|ok|HCACK=5"),
        (HOST, 2, 41, s2f41.clone(), start(0x40).1, "control|START|denied|HCACK=64"),
        (
            HOST,
            2,
            49,
            Some(l(&[u(0), a("OBJ"), a("STOP"), l(&[])])),
            start(2).1,
            "control|STOP|denied|HCACK=2",
        ),
        (HOST, 2, 21, Some(a("ABORT")), Some(b(1)), "control|ABORT|denied|CMDA=1"),
        (HOST, 1, 15, None, Some(b(0)), "control||ok|"),
        (HOST, 1, 17, None, Some(b(1)), "control||denied|ONLACK=1"),
        (HOST, 2, 15, Some(l(&[l(&[u(7), u(8)])])), Some(b(3)), "configure|7|denied|EAC=3"),
        (HOST, 2, 33, Some(l(&[u(0), l(&[])])), Some(b(0)), "configure|all|ok|"),
        (
            HOST,
            2,
            35,
            Some(l(&[u(0), l(&[l(&[u(50), l(&[u(1)])])])])),
            Some(b(5)),
            "configure|50|denied|LRACK=5",
        ),
        (HOST, 2, 37, Some(l(&[Value::Boolean(vec![false]), l(&[])])), Some(b(0)), "configure|all|ok|"),
        (HOST, 5, 3, Some(l(&[b(0), u(12)])), Some(b(0)), "configure|12|ok|"),
        (HOST, 7, 3, body(), Some(b(0)), "recipe.write|OX|ok|"),
        (TOOL, 7, 3, body(), Some(b(0)), "recipe.read|OX|ok|"),
        (HOST, 7, 5, Some(a("OX")), body(), "recipe.read|OX|ok|"),
        (TOOL, 7, 5, Some(a("OX")), body(), "recipe.write|OX|ok|"),
        (HOST, 7, 5, Some(a("NO")), Some(l(&[])), "recipe.read|NO|denied|no such recipe"),
        (HOST, 7, 17, Some(l(&[a("A"), a("B")])), Some(b(4)), "recipe.delete|A,B|denied|ACKC7=4"),
        (HOST, 7, 19, None, Some(l(&[a("A")])), "recipe.list||ok|"),
        (HOST, 7, 1, Some(l(&[a("A"), u(9)])), Some(b(2)), "other|A|denied|PPGNT=2"),
        (
            HOST,
            16,
            11,
            Some(job.clone()),
            Some(l(&[a("PJ1"), l(&[Value::Boolean(vec![true]), l(&[])])])),
            "control|OX|ok|",
        ),
        (
            HOST,
            16,
            11,
            Some(job),
            Some(l(&[a("PJ1"), l(&[Value::Boolean(vec![false]), l(&[])])])),
            "control|OX|denied|ACKA=0",
        ),
        (
            HOST,
            14,
            9,
            Some(l(&[a("EQ"), a("ControlJob"), l(&[])])),
            Some(l(&[a("CJ1"), l(&[]), l(&[Value::U1(vec![1]), l(&[])])])),
            "control|ControlJob|denied|OBJACK=1",
        ),
        (HOST, 10, 3, Some(l(&[b(1), a("hello")])), Some(b(0)), "other|1|ok|"),
    ] {
        let run = asked(side, stream, function, text, reply);
        assert_eq!(run.table(&MEANING), [format!("S{stream}F{function}|{expected}")]);
        let row = run.messages()[0];
        assert_eq!(row.text("tool"), "10.0.0.2", "S{stream}F{function}");
        assert_eq!(row.number("latency_us"), Some(100.0));
        for column in ["detail", "values"] {
            if !row.text(column).is_empty() {
                serde_json::from_str::<serde_json::Value>(row.text(column)).unwrap();
            }
        }
    }
}

#[test]
fn recipe_bodies_leave_as_a_keyed_hash_only() {
    let marker = "SECRETSTEP";
    let hex = "53454352455453544550";
    let list = l(&[l(&[u(1), l(&[a(marker)])])]);
    for (side, stream, function, text, reply, body) in [
        (HOST, 7, 3, Some(l(&[a("OX"), a(marker)])), None, marker.as_bytes().to_vec()),
        (HOST, 7, 3, Some(l(&[a("OX"), Value::Binary(marker.as_bytes().to_vec()), u(1)])), None, Vec::new()),
        (HOST, 7, 3, Some(a(marker)), None, marker.as_bytes().to_vec()),
        (HOST, 7, 5, Some(a("OX")), Some(l(&[a("OX"), a(marker)])), marker.as_bytes().to_vec()),
        (HOST, 7, 23, Some(l(&[a("OX"), a("M"), a("R"), list.clone()])), None, list.to_bytes()[2..].to_vec()),
        (
            HOST,
            7,
            25,
            Some(a("OX")),
            Some(l(&[a("OX"), a("M"), a("R"), list.clone()])),
            list.to_bytes()[2..].to_vec(),
        ),
        (
            TOOL,
            13,
            5,
            Some(l(&[u(1), u(9)])),
            Some(l(&[u(1), b(0), u(1), l(&[a(marker)])])),
            a(marker).to_bytes(),
        ),
        (HOST, 15, 27, Some(l(&[u(1), b(0), a("OX"), l(&[]), a(marker)])), None, marker.as_bytes().to_vec()),
    ] {
        let mut run = asked(side, stream, function, text, reply);
        // Unasked replies and lost pieces must not show it either.
        let late = l(&[a("OX"), a(marker)]).to_bytes();
        run.send(TOOL, &message(7, 6, false, 200, &late));
        run.send(HOST, &message(7, 3, false, 201, &late)[..24]);
        run.lose(HOST, 3);
        run.close();
        let all = run.rows.iter().map(|r| serde_json::to_string(&r.columns).unwrap()).collect::<String>();
        assert!(!all.contains(marker) && !all.contains(hex) && !all.contains("ECRETST"), "{all}");
        let row = run.messages()[0];
        assert_eq!(row.text("body_hmac").len(), 64);
        if !body.is_empty() {
            use hmac::{Hmac, KeyInit, Mac};
            let mut mac = Hmac::<sha2::Sha256>::new_from_slice(b"key").unwrap();
            mac.update(&body);
            let mut expected = String::new();
            json::push_hex_digits(&mut expected, &mac.finalize().into_bytes());
            assert_eq!(row.text("body_hmac"), expected, "S{stream}F{function}");
            assert_eq!(row.number("body_bytes"), Some(body.len() as f64));
        }
    }
}

#[test]
fn a_recipe_of_megabytes_comes_in_many_pieces() {
    let text = l(&[a("BIG"), Value::Binary(vec![7; 5 << 20])]).to_bytes();
    let mut run = Run::new(&PROTOCOL);
    for piece in message(7, 3, true, 1, &text).chunks(1 << 18) {
        run.send(HOST, piece);
    }
    run.send(TOOL, &message(7, 4, false, 1, &b(0).to_bytes()));
    let row = run.messages()[0];
    assert_eq!(row.number("body_bytes"), Some(f64::from(5 << 20)));
    assert_eq!((row.text("status"), row.text("target")), ("ok", "BIG"));
}

#[test]
fn values_of_defined_reports_and_traces_are_named() {
    let mut run = Run::new(&PROTOCOL);
    ask(&mut run, HOST, 1, 13, Some(l(&[])), Some(l(&[b(0), l(&[a("ETCH"), a("1.0")])])));
    let names =
        l(&[l(&[u(1), a("Pressure"), a("Pa")]), l(&[u(2), a("PPID"), a("")]), l(&[u(4), a("LotID"), a("")])]);
    ask(&mut run, HOST, 1, 11, None, Some(names));
    run.settings.dictionary.tools.insert(
        "ETCH".into(),
        ToolNames {
            variables: [(
                "3".into(),
                Variable {
                    name: "Flow".into(),
                    unit: "SCCM".into(),
                    class: "flow".into(),
                    ..Variable::default()
                },
            )]
            .into(),
            events: [("50".into(), "StepEnd".into())].into(),
            alarms: [("9".into(), "Door".into())].into(),
        },
    );
    let reports = l(&[u(0), l(&[l(&[u(501), l(&[u(1), u(2), u(3), u(9)])])])]);
    ask(&mut run, HOST, 2, 33, Some(reports), Some(b(0)));
    let event = |report, values: &[Value]| l(&[u(0), u(50), l(&[l(&[u(report), l(values)])])]).to_bytes();
    for _ in 0..2 {
        run.send(
            TOOL,
            &message(6, 11, false, 90, &event(501, &[u(12), a("OX"), Value::F4(vec![1.5]), u(4)])),
        );
        run.send(TOOL, &message(6, 11, false, 91, &event(777, &[u(12)])));
    }
    ask(&mut run, HOST, 2, 23, Some(l(&[u(5), a("01"), u(1), u(1), l(&[u(1), u(8)])])), Some(b(0)));
    run.send(TOOL, &message(6, 1, false, 92, &l(&[u(5), u(1), a("t"), l(&[u(6), u(7)])]).to_bytes()));
    run.send(TOOL, &message(6, 1, false, 92, &l(&[u(6), u(1), a("t"), l(&[u(6)])]).to_bytes()));
    ask(&mut run, HOST, 1, 3, Some(l(&[u(1), u(8)])), Some(l(&[u(2), u(3)])));
    run.send(TOOL, &message(5, 1, false, 93, &l(&[b(0x82), u(9), a("open")]).to_bytes()));
    let samples: Vec<_> = run
        .of(Kind::Sample)
        .iter()
        .map(|r| {
            format!(
                "{} {} {} {}",
                r.text("signal"),
                r.text("unit"),
                r.text("class"),
                r.number("value").unwrap()
            )
        })
        .collect();
    assert_eq!(
        samples,
        [
            "Pressure Pa  12",
            "Flow sccm flow 1.5",
            "VID 9   4",
            "Pressure Pa  12",
            "Flow sccm flow 1.5",
            "VID 9   4",
            "Pressure Pa  6",
            "SVID 8   7",
            "TRID 6/1   6",
            "Pressure Pa  2",
            "SVID 8   3",
        ]
    );
    let context = run.of(Kind::Context);
    assert_eq!(context.len(), 1, "said once while it stays the same");
    assert_eq!((context[0].text("name"), context[0].text("value")), ("recipe", "OX"));
    assert_eq!(context[0].text("source"), "S6F11 CEID=50 RPTID=501");
    let unknown = run.of(Kind::Coverage);
    assert_eq!(unknown.len(), 1, "an unknown report is said once");
    assert!(unknown[0].text("event") == "unknown" && unknown[0].text("detail").contains("report 777"));
    assert_eq!(run.of(Kind::Identity)[0].text("model"), "ETCH");
    let event = run.messages().into_iter().find(|r| r.text("function") == "S6F11").unwrap();
    assert!(event.text("detail").contains("\"name\":\"StepEnd\""));
    let alarm = *run.messages().last().unwrap();
    assert_eq!((alarm.text("operation"), alarm.text("target")), ("report.alarm", "9"));
    for part in
        ["\"set\":true", "\"category_name\":\"equipment safety\"", "\"name\":\"Door\"", "\"text\":\"open\""]
    {
        assert!(alarm.text("detail").contains(part), "{}", alarm.text("detail"));
    }
}

#[test]
fn an_accepted_start_tells_recipe_and_lot() {
    let start = l(&[a("PP-SELECT"), l(&[l(&[a("ppid"), a("OX")]), l(&[a("LOTID"), a("L1")])])]);
    let run = asked(HOST, 2, 41, Some(start.clone()), Some(l(&[b(0), l(&[])])));
    let context: Vec<_> =
        run.of(Kind::Context).iter().map(|r| format!("{}={}", r.text("name"), r.text("value"))).collect();
    assert_eq!(context, ["recipe=OX", "lot=L1"]);
    assert!(asked(HOST, 2, 41, Some(start), Some(l(&[b(2), l(&[])]))).of(Kind::Context).is_empty());
}

#[test]
fn the_equipment_is_the_end_that_reports_or_that_the_asset_table_names() {
    let mut run = Run::new(&PROTOCOL);
    run.send(Side::Client, &message(5, 1, false, 1, &l(&[b(1), u(9), a("x")]).to_bytes()));
    assert_eq!(run.messages()[0].text("tool"), "10.0.0.1");
    let mut run = Run::new(&PROTOCOL);
    run.flow.client.equipment = true;
    run.flow.client.asset = "ETCH-07".into();
    ask(&mut run, Side::Server, 7, 3, Some(l(&[a("OX"), b(1)])), Some(b(0)));
    let row = run.messages()[0];
    assert_eq!(
        (row.text("tool"), row.text("operation"), row.text("initiator")),
        ("ETCH-07", "recipe.write", "server")
    );
    assert_eq!((row.text("client"), row.text("server")), ("10.0.0.2", "10.0.0.1"));
}

#[test]
fn silence_becomes_a_row_after_the_timer_and_s9_ends_a_wait() {
    let mut run = Run::new(&PROTOCOL);
    run.send(HOST, &control(5, 0, 1));
    run.send(HOST, &message(1, 3, true, 2, &l(&[]).to_bytes()));
    run.pass(T6 + 1);
    assert_eq!(run.table(&["function", "status"]), ["Linktest.req|no_reply"]);
    run.pass(T3);
    assert_eq!(run.messages().len(), 2);
    run.send(HOST, &message(2, 99, true, 8, &[]));
    run.send(
        TOOL,
        &message(9, 5, false, 50, &Value::Binary(vec![0, 3, 0x82, 99, 0, 0, 0, 0, 0, 8]).to_bytes()),
    );
    run.close();
    assert_eq!(run.table(&MEANING)[2..], ["S2F99|other||denied|S9F5", "S9F5|error|S2F99|one_way|"]);
}

#[test]
fn repeated_system_bytes_wrong_replies_and_aborts_are_told() {
    let mut run = Run::new(&PROTOCOL);
    run.send(HOST, &message(1, 3, true, 2, &[]));
    run.send(HOST, &message(1, 1, true, 2, &[]));
    run.send(TOOL, &message(7, 20, false, 2, &[]));
    run.send(TOOL, &message(1, 0, false, 2, &[]));
    assert_eq!(
        run.table(&["function", "status", "status_code", "exchange"]),
        ["S1F3|no_reply||request", "S7F20|malformed||reply", "S1F1|denied|aborted|pair"]
    );
    assert!(run.of(Kind::Coverage)[0].text("detail").contains("system bytes of S1F3"));
    assert!(run.messages()[2].text("detail").contains("duplicate_system"));
}

#[test]
fn waiting_messages_are_bounded() {
    let mut run = Run::new(&PROTOCOL);
    for n in 0..WAITING_MAX as u32 + 3 {
        let s = n.to_be_bytes();
        run.send(HOST, &raw([0, 3, 0x81, 1, 0, 0, s[0], s[1], s[2], s[3]], &[]));
    }
    assert_eq!(run.messages().len(), 3);
    assert!(run.of(Kind::Coverage).iter().all(|r| r.text("event") == "drop"));
}

#[test]
fn bad_frames_are_rows_and_the_next_frame_is_read() {
    let odd = [
        (raw([0, 3, 1, 1, 5, 0, 0, 0, 0, 1], b"xx"), "ptype"),
        (raw([0, 3, 1, 1, 0, 8, 0, 0, 0, 1], b"xx"), "stype"),
        (vec![0, 0, 0, 9, 1, 2, 3], "length"),
        (vec![255; 30], "length"),
    ];
    for (bad, code) in odd {
        let mut run = Run::new(&PROTOCOL);
        run.send(HOST, &control(5, 0, 1));
        run.send(HOST, &bad);
        run.send(HOST, &message(1, 1, false, 2, &[]));
        run.close();
        assert_eq!(
            run.table(&["function", "status", "status_code"]),
            [format!("unreadable|malformed|{code}"), "S1F1|one_way|".into(), "Linktest.req|no_reply|".into()]
        );
    }
    let mut run = Run::new(&PROTOCOL);
    run.send(HOST, &message(1, 3, false, 2, &[0x40, 1]));
    assert!(run.messages()[0].text("detail").contains("no length bytes, at byte 0 of the text"));
    assert_eq!(run.messages()[0].text("status"), "malformed");
}

#[test]
fn a_stream_that_begins_inside_a_message_is_picked_up() {
    let text = l(&[a("OX"), a("some steps of a recipe")]).to_bytes();
    let tail = message(7, 3, true, 1, &text)[20..].to_vec();
    let mut run = Run::new(&PROTOCOL);
    let stream = [tail.clone(), message(1, 1, false, 2, &[]), control(9, 0, 3)].concat();
    assert_eq!(probe(HOST, &stream), Probe::Yes);
    assert_eq!(probe(HOST, &stream[tail.len()..]), Probe::Yes);
    run.send(HOST, &stream);
    run.close();
    assert_eq!(run.table(&["function"]), ["S1F1", "Separate.req"]);
    assert_eq!(run.of(Kind::Coverage)[0].number("count"), Some(tail.len() as f64));
}

#[test]
fn the_rest_of_a_message_that_looks_like_a_beginning_swallows_nothing() {
    // Joined within system bytes and text: a length and a header that could be, also of an odd SType.
    let rests: [&[u8]; 2] =
        [b"\x00\x00\x8d\x05\x4d\xa4", b"\x00\x00\x0d\x00\x03\x06\x0c\x00\x00\x08\x2a\x0e\x90\x21\x01\x00"];
    for rest in rests {
        let mut run = Run::new(&PROTOCOL);
        run.send(HOST, rest);
        for system in 1..4 {
            run.send(HOST, &message(1, 3, true, system, &u(7).to_bytes()));
            run.send(TOOL, &message(1, 4, false, system, &a("IDLE").to_bytes()));
        }
        run.close();
        let pairs = run.messages().iter().filter(|m| m.text("status") == "ok").count();
        assert!(pairs >= 2, "{:?}", run.table(&["function", "status", "values"]));
    }
}

#[test]
fn a_gap_inside_a_message_costs_that_message_only() {
    let text = l(&[a("OX"), a("some steps of a recipe")]).to_bytes();
    let frame = message(7, 3, true, 1, &text);
    let mut run = Run::new(&PROTOCOL);
    run.send(HOST, &frame[..20]);
    run.lose(HOST, 10);
    run.send(HOST, &frame[30..]);
    run.send(HOST, &message(1, 1, false, 2, &[]));
    assert_eq!(
        run.table(&["function", "operation", "status"]),
        ["S7F3|recipe.write|malformed", "S1F1|discover|one_way"]
    );
}

#[test]
fn the_probe_takes_hsms_and_nothing_else() {
    for frame in [
        control(1, 0, 1),
        message(1, 13, true, 9, &l(&[]).to_bytes()),
        message(6, 12, false, 9, &b(0).to_bytes()),
    ] {
        assert_eq!(probe(HOST, &frame), Probe::Yes);
        assert_eq!(probe(HOST, &frame[..9]), Probe::More);
    }
    for (name, bytes) in OTHERS {
        assert_eq!(probe(HOST, bytes), Probe::No, "{name}");
    }
    let modbus = [0u8, 1, 0, 0, 0, 6, 1, 3, 0, 0, 0, 1];
    assert_ne!(probe(HOST, &modbus), Probe::Yes);
    assert_eq!(probe(HOST, &[modbus, modbus].concat()), Probe::No);
    assert_eq!(probe(HOST, &[0; 64]), Probe::No);
}

fn frame() -> impl Strategy<Value = Vec<u8>> {
    let text = prop_oneof![
        Just(Vec::new()),
        Just(l(&[u(1), u(50), l(&[l(&[u(501), l(&[u(5)])])])]).to_bytes()),
        Just(l(&[a("START"), l(&[])]).to_bytes()),
        prop::collection::vec(any::<u8>(), 0..30),
    ];
    prop_oneof![
        (0u8..20, 0u8..45, any::<bool>(), 0u8..4, text).prop_map(|(s, f, w, n, t)| message(s, f, w, n, &t)),
        (0u8..12, 0u8..3, 0u8..4).prop_map(|(t, c, n)| control(t, c, n)),
        prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..20),
    ]
}

fn play(pieces: &[(bool, Vec<u8>)]) -> Run {
    let mut run = Run::new(&PROTOCOL);
    for (client, bytes) in pieces {
        run.send(if *client { HOST } else { TOOL }, bytes);
    }
    run.pass(60 * SECOND);
    run.close();
    run
}

proptest! {
    #[test]
    fn splitting_changes_nothing(frames in prop::collection::vec(frame(), 1..12), size in 1usize..60) {
        let stream = frames.concat();
        let whole = play(&[(true, stream.clone())]);
        let pieces: Vec<_> = stream.chunks(size).map(|c| (true, c.to_vec())).collect();
        prop_assert_eq!(whole.rows, play(&pieces).rows);
    }

    #[test]
    fn any_bytes_are_taken_without_panic(pieces in prop::collection::vec((any::<bool>(), frame()), 0..30), lose in 0usize..300) {
        let mut run = play(&pieces);
        run.lose(HOST, lose);
        run.send(HOST, &[0; 300]);
        run.close();
        for row in run.messages() {
            for column in ["detail", "values"] {
                let text = row.text(column);
                prop_assert!(text.len() <= 4096 || column == "detail");
                prop_assert!(text.is_empty() || serde_json::from_str::<serde_json::Value>(text).is_ok(), "{}", text);
            }
        }
        for (_, bytes) in &pieces {
            probe(HOST, bytes);
        }
    }
}
