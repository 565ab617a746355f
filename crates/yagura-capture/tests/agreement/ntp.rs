//! NTP beside Zeek (times, control and private messages) and tshark (every packet).

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "ntp",
    folders: &["ntp_ptp", "l2l4_robustness", "iec104"],
    tshark: &["ntp"],
    decisions: include_str!("ntp.yaml"),
    tools: &[
        Tool { name: "zeek", from: From::File("zeek/ntp.log"), compare: zeek },
        Tool { name: "zeek-control", from: From::File("zeek/ntp_control.log"), compare: control },
        Tool { name: "zeek-private", from: From::File("zeek/ntp_private.log"), compare: private },
        Tool { name: "tshark", from: From::TsharkWhereSeen(TSHARK), compare: tshark },
    ],
};

#[rustfmt::skip]
const TSHARK: &[&str] = &[
    "-Y", "ntp", "-T", "fields", "-e", "ntp.flags.mode", "-e", "ntp.flags.vn", "-e", "ntp.stratum",
    "-e", "ntp.ctrl.flags2.r", "-e", "ntp.ctrl.flags2.opcode", "-e", "ntp.ctrl.sequence",
    "-e", "ntp.priv.flags.r", "-e", "ntp.priv.reqcode", "-e", "ntp.priv.seq",
];

/// Mode of a message that carries a time, and of the reply to it.
fn mode(function: &str) -> Option<u8> {
    Some(match function {
        "symmetric_active" => 1,
        "symmetric_passive" => 2,
        "client" => 3,
        "server" => 4,
        "broadcast" => 5,
        _ => return None,
    })
}

fn zeek(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for row in capture.messages("ntp") {
        let Some(mode) = mode(row.text("function")) else { continue };
        let detail = row.detail();
        let (client, version, exchange) = (row.client(), &detail["version"], row.text("exchange"));
        let interval = |name: &str| format!("{:.6}", detail[name].as_f64().unwrap_or_default());
        let whole = || {
            let id = detail["reference_id"].as_str().unwrap_or_default();
            format!("{} {} {} {id}", detail["stratum"], interval("root_delay"), interval("root_dispersion"))
        };
        if exchange != "reply" {
            let rest = if mode == 3 || exchange == "pair" { String::new() } else { whole() };
            facts.ours.push(format!("{client} {version} {mode} {rest}"));
        }
        if exchange != "request" {
            let mode = match mode {
                1 => 2,
                3 => 4,
                other => other,
            };
            facts.ours.push(format!("{client} {version} {mode} {}", whole()));
        }
    }
    let all = reference.zeek();
    let asked = |client: &str, server: &str, answer: &str| {
        all.iter()
            .any(|r| (r.client(), r.server()) == (client.into(), server.into()) && r.get("mode") == answer)
    };
    facts.theirs = all
        .iter()
        .map(|record| {
            let (client, server) = (record.client(), record.server());
            let mode = record.get("mode");
            let rest = match mode {
                "3" => String::new(),
                // A pair's reply speaks for both.
                "1" if asked(&client, &server, "2") => String::new(),
                _ => {
                    let id = record.get("ref_id").trim_end_matches('\0').to_string();
                    let id = if id.is_empty() && record.get("stratum") != "1" { String::new() } else { id };
                    format!(
                        "{} {} {} {id}",
                        record.get("stratum"),
                        record.get("root_delay"),
                        record.get("root_disp")
                    )
                }
            };
            format!("{client} {} {mode} {rest}", record.get("version"))
        })
        .collect();
    facts
}

fn control(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for row in capture.messages("ntp") {
        let detail = row.detail();
        let Some(sequence) = detail["association"].as_u64().and(detail["sequence"].as_u64()) else {
            continue;
        };
        let fact = |reply: bool| {
            format!(
                "{} {} {sequence} {reply} {}",
                row.client(),
                operation(row.text("function")),
                detail["association"]
            )
        };
        if row.text("exchange") != "reply" {
            facts.ours.push(fact(false));
        }
        if row.text("exchange") != "request" {
            facts.ours.push(fact(true));
        }
    }
    facts.theirs = reference
        .zeek()
        .iter()
        .map(|record| {
            format!(
                "{} {} {} {} {}",
                record.client(),
                record.get("op_code"),
                record.get("sequence"),
                record.get("resp_bit") == "T",
                record.get("association_id")
            )
        })
        .collect();
    facts
}

fn operation(function: &str) -> u8 {
    match function {
        "read_status" => 1,
        "read_variables" => 2,
        "write_variables" => 3,
        "read_clock_variables" => 4,
        "read_most_recently_used" => 10,
        "request_nonce" => 12,
        _ => 0,
    }
}

fn private(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for row in capture.messages("ntp") {
        let detail = row.detail();
        let Some(code) = detail["request_code"].as_u64() else { continue };
        let fact = format!(
            "{} {} {code} {} {}",
            row.client(),
            detail["version"],
            detail["sequence"],
            detail["implementation"]
        );
        if row.text("exchange") == "pair" {
            facts.ours.push(fact.clone());
        }
        facts.ours.push(fact);
    }
    facts.theirs = reference
        .zeek()
        .iter()
        .map(|record| {
            format!(
                "{} {} {} {} {}",
                record.client(),
                record.get("version"),
                record.get("req_code"),
                record.get("sequence"),
                record.get("implementation")
            )
        })
        .collect();
    facts
}

fn tshark(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for row in capture.messages("ntp") {
        let detail = row.detail();
        let (version, exchange) = (&detail["version"], row.text("exchange"));
        let (asked, replied) = (exchange != "reply", exchange != "request");
        if let Some(mode) = mode(row.text("function")) {
            if asked {
                let stratum =
                    if mode == 3 || mode == 1 { String::new() } else { detail["stratum"].to_string() };
                facts.ours.push(format!("{mode} {version} {stratum}"));
            }
            if replied {
                let mode = if mode == 3 || mode == 1 { mode + 1 } else { mode };
                facts.ours.push(format!("{mode} {version} {}", detail["stratum"]));
            }
            continue;
        }
        let (mode, code) = match detail["request_code"].as_u64() {
            Some(code) => (7, code),
            None => (6, u64::from(operation(row.text("function")))),
        };
        for reply in [asked.then_some(0), replied.then_some(1)].into_iter().flatten() {
            facts.ours.push(format!("{mode} {version} {reply} {code} {}", detail["sequence"]));
        }
    }
    let lines: Vec<Vec<String>> =
        reference.text().lines().map(|l| l.split('\t').map(str::to_string).collect()).collect();
    for column in &lines {
        let number = |at: usize| match column[at].strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).unwrap_or_default(),
            None => column[at].parse().unwrap_or_default(),
        };
        let (mode, version) = (number(0), number(1));
        facts.theirs.push(match mode {
            6 => format!("6 {version} {} {} {}", number(3), number(4), number(5)),
            7 => format!("7 {version} {} {} {}", number(6), number(7), number(8)),
            // What the asker says of itself is in a row only where nobody answers.
            1 | 3 => format!("{mode} {version} "),
            _ => format!("{mode} {version} {}", number(2)),
        });
    }
    facts
}
