//! What the dissectors read out of recorded captures, beside what other programs read out of them.
//!
//! The captures are no part of the repository: the tests read them in the folder that
//! `YAGURA_SHARED` names, and say so when there is none.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use yagura_capture::{Engine, EngineOptions, Limits, read_file};
use yagura_dissect::Settings;
use yagura_event::AssetTable;
use yagura_event::rows::OwnedRow;
use yagura_event::schema::Kind;

/// A capture's path; `None`, said on the screen, where the captures are not at hand.
fn capture(name: &str) -> Option<PathBuf> {
    let shared = std::env::var_os("YAGURA_SHARED").map_or_else(
        || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"),
        PathBuf::from,
    );
    let path = shared.join("captures").join(name);
    if path.exists() {
        return Some(path);
    }
    #[expect(clippy::print_stderr, reason = "a test that is skipped says so")]
    {
        eprintln!(
            "skipped: there is no {} (set YAGURA_SHARED)",
            path.display()
        );
    }
    None
}

fn read(name: &str) -> Option<Vec<OwnedRow>> {
    let path = capture(name)?;
    let mut engine = Engine::new(EngineOptions {
        assets: Arc::new(AssetTable::default()),
        settings: Arc::new(Settings {
            plant_key: b"key".to_vec(),
            ..Settings::default()
        }),
        limits: Limits::default(),
    });
    let mut rows = Vec::new();
    let summary = read_file(&path, &mut engine, &mut rows, |_, _| {});
    assert!(summary.error.is_none(), "{:?}", summary.error);
    engine.finish(&mut rows);
    Some(rows)
}

/// How often each text occurs.
fn tally(texts: impl Iterator<Item = String>) -> BTreeMap<String, usize> {
    let mut out = BTreeMap::new();
    for text in texts {
        *out.entry(text).or_default() += 1;
    }
    out
}

fn messages<'a>(rows: &'a [OwnedRow], protocol: &str) -> Vec<&'a OwnedRow> {
    rows.iter()
        .filter(|r| r.kind == Kind::Message && r.text("protocol") == protocol)
        .collect()
}

/// A reference's lines; `None` where there is none, or no gzip to unpack it.
fn reference(name: &str) -> Option<String> {
    let path = capture(&format!("expected/{name}"))?;
    let out = std::process::Command::new("gzip")
        .arg("-dc")
        .arg(path)
        .output()
        .ok()?;
    out.status
        .success()
        .then(|| String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Every HSMS message that a row stands for, as tshark names them: `S01F13`, `Select.req`.
fn hsms_names(rows: &[OwnedRow]) -> BTreeMap<String, usize> {
    let padded = |stream: &str, function: u32| format!("S{stream:0>2}F{function:02}");
    let mut names = Vec::new();
    for row in messages(rows, "hsms") {
        let name = row.text("function");
        let data = name
            .strip_prefix('S')
            .and_then(|n| n.split_once('F'))
            .and_then(|(s, f)| Some((s, f.parse::<u32>().ok()?)));
        let paired = row.text("exchange") == "pair";
        match data {
            Some((stream, function)) => {
                names.push(padded(stream, function));
                if paired && row.text("detail").contains("Reject.req") {
                    names.push("Reject.req".into());
                } else if paired {
                    names.push(padded(stream, function + 1));
                }
            }
            None => {
                names.push(name.to_string());
                if paired {
                    names.push(name.replace(".req", ".rsp"));
                }
            }
        }
    }
    tally(names.into_iter())
}

#[test]
fn every_hsms_message_that_tshark_sees_is_in_a_row() {
    for (name, port) in [
        ("secsgem_eqPassive_hostActive", 15000),
        ("secs4java8_example2_gem", 5000),
        ("secsgem_eqActive_700kBrecipe_reject_deselect", 15001),
    ] {
        let Some(rows) = read(&format!("hsms/{name}.pcap")) else {
            return;
        };
        let Some(expected) = reference(&format!(
            "hsms/{name}.pcap/tshark/{name}_port{port}.ek.json.gz"
        )) else {
            return;
        };
        let seen = expected
            .split("\"Header (")
            .skip(1)
            .filter_map(|rest| Some(rest.split_once(')')?.0.to_string()));
        assert_eq!(hsms_names(&rows), tally(seen), "{name}");
    }
}

#[test]
fn recipes_in_the_hsms_captures_have_a_direction_a_length_and_a_hash() {
    let Some(rows) = read("hsms/secsgem_eqActive_700kBrecipe_reject_deselect.pcap") else {
        return;
    };
    let bodies: Vec<_> = messages(&rows, "hsms")
        .into_iter()
        // A start command carries its recipe's hash as well; only a body has a length.
        .filter(|r| r.number("body_bytes").is_some())
        .collect();
    assert_eq!(bodies.len(), 3, "two S7F3 and one S7F6");
    for row in &bodies {
        let expected = if row.text("function") == "S7F3" {
            "recipe.write"
        } else {
            "recipe.read"
        };
        assert_eq!(row.text("operation"), expected);
    }
    assert!(
        bodies
            .iter()
            .any(|r| r.number("body_bytes").unwrap_or(0.0) > 600_000.0)
    );
}

/// Requests and responses as Suricata writes them: transaction, unit and function. It pairs by the
/// transaction alone and writes a pair as two events when the response's data surprises it, so
/// messages are compared and not pairs.
fn suricata(lines: &str) -> BTreeMap<String, usize> {
    let number = |text: &str, key: &str| -> String {
        let at = text
            .find(&format!("\"{key}\":"))
            .map(|at| at + key.len() + 3);
        at.map(|at| {
            text[at..]
                .chars()
                .take_while(char::is_ascii_digit)
                .collect()
        })
        .unwrap_or_default()
    };
    tally(
        lines
            .lines()
            .filter(|l| l.contains("\"event_type\":\"modbus\""))
            .flat_map(|line| {
                let (request, response) =
                    match (line.find("\"request\":"), line.find("\"response\":")) {
                        (Some(q), Some(p)) => (&line[q..p], &line[p..]),
                        (Some(q), None) => (&line[q..], ""),
                        (None, Some(p)) => ("", &line[p..]),
                        (None, None) => ("", ""),
                    };
                [("request", request), ("response", response)]
                    .into_iter()
                    .filter(|(_, text)| !text.is_empty())
                    .map(|(kind, text)| {
                        format!(
                            "{kind} {}",
                            ["transaction_id", "unit_id", "function_raw"]
                                .map(|k| number(text, k))
                                .join("/")
                        )
                    })
                    .collect::<Vec<_>>()
            }),
    )
}

fn modbus(rows: &[OwnedRow]) -> BTreeMap<String, usize> {
    let detail = |row: &OwnedRow, key: &str| -> u64 {
        let text = row.text("detail");
        let at = text
            .find(&format!("\"{key}\":"))
            .map(|at| at + key.len() + 3);
        at.and_then(|at| text[at..].split([',', '}']).next()?.parse().ok())
            .unwrap_or(0)
    };
    tally(
        messages(rows, "modbus")
            .into_iter()
            .filter(|r| r.text("function") != "unreadable")
            .flat_map(|row| {
                let function = detail(row, "function");
                let answered = if detail(row, "exception") > 0 {
                    function + 128
                } else {
                    function
                };
                let kinds: &[_] = match row.text("exchange") {
                    "pair" => &[("request", function), ("response", answered)],
                    "request" => &[("request", function)],
                    _ => &[("response", answered)],
                };
                kinds
                    .iter()
                    .map(|(kind, f)| {
                        format!(
                            "{kind} {}/{}/{f}",
                            detail(row, "transaction"),
                            row.text("session")
                        )
                    })
                    .collect::<Vec<_>>()
            }),
    )
}

/// Whole connections: the same messages, each on the same side.
#[test]
fn modbus_messages_are_those_of_suricata() {
    for name in [
        "ITI__ModbusTCP_modbus_test_data_part1",
        "OISF__modbus_modbus",
        "antoine-lemay__characterization_modbus_6RTU_with_operate",
        "antoine-lemay__moving_two_files_modbus_6RTU",
        "arkime__modbus",
        "zeek__modbus_modbus-and-non-modbus-p502",
    ] {
        let Some(rows) = read(&format!("modbus/{name}.pcap")) else {
            return;
        };
        let Some(expected) = reference(&format!("modbus/{name}.pcap/suricata/eve.json.gz")) else {
            return;
        };
        assert_eq!(modbus(&rows), suricata(&expected), "{name}");
    }
}

/// Captures that begin midway. Suricata takes the first packet's sender for the client, so that it
/// calls responses requests (transaction 49738 of `modbusBig` comes from port 502 and has a byte
/// count) and requests responses (transaction 17054 of `modbus_test` asks for 14 registers), and
/// it leaves connections early. Here every message that it names must be in a row, on either side.
#[test]
fn modbus_messages_of_captures_that_begin_midway_are_found() {
    for name in [
        "ITI__ModbusTCP_ModbusTCP",
        "ITI__ModbusTCP_Modbus_modbus_test",
        "ITI__ModbusTCP_Modbus_modbus_test_2",
        "idaholab__pcap_other_Digital_Bond_S4_Modicon",
        "zeek__modbus_modbusBig",
    ] {
        let Some(rows) = read(&format!("modbus/{name}.pcap")) else {
            return;
        };
        let Some(expected) = reference(&format!("modbus/{name}.pcap/suricata/eve.json.gz")) else {
            return;
        };
        let sideless = |messages: BTreeMap<String, usize>| {
            let mut out = BTreeMap::<String, usize>::new();
            for (message, count) in messages {
                *out.entry(message.split(' ').nth(1).unwrap_or_default().to_string())
                    .or_default() += count;
            }
            out
        };
        let (found, expected) = (sideless(modbus(&rows)), sideless(suricata(&expected)));
        let missing: Vec<_> = expected
            .iter()
            .filter(|(k, n)| found.get(*k).unwrap_or(&0) < n)
            .take(12)
            .collect();
        assert!(missing.is_empty(), "{name}: {missing:?}");
    }
}
