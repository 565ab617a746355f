//! IEC 60870-5-104 beside tshark: every ASDU with type, cause, addresses and values, every frame
//! that starts, stops or tests.

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::{Layer, Reference};

pub const PROTOCOL: Protocol = Protocol {
    name: "iec104",
    folders: &["iec104", "mixed", "mixed_plant"],
    tshark: &["iec60870_104"],
    decisions: include_str!("iec104.yaml"),
    tools: &[
        Tool { name: "tshark", from: From::TsharkWhereSeen(ASDUS), compare: asdus },
        Tool { name: "tshark-frames", from: From::TsharkWhereSeen(FRAMES), compare: frames },
    ],
};

const ASDUS: &[&str] = &["-Y", "iec60870_asdu", "-T", "ek", "-J", "iec60870_asdu"];

const FRAMES: &[&str] = &["-Y", "iec60870_104.utype", "-T", "fields", "-e", "iec60870_104.utype"];

#[rustfmt::skip]
const CAUSES: &[(&str, u64)] = &[
    ("per/cyc", 1), ("back", 2), ("spont", 3), ("init", 4), ("req", 5), ("act", 6), ("actcon", 7), ("deact", 8),
    ("deactcon", 9), ("actterm", 10), ("retrem", 11), ("retloc", 12), ("file", 13), ("inrogen", 20), ("reqcogen", 37),
    ("unknown_type", 44), ("unknown_cause", 45), ("unknown_common_address", 46), ("unknown_object_address", 47),
];

/// A cause's number; those of one group of stations count as the first.
fn cause(name: &serde_json::Value) -> u64 {
    let Some(text) = name.as_str() else { return name.as_u64().unwrap_or(0) };
    match text {
        "inro" => 21,
        "reqco" => 38,
        _ => CAUSES.iter().find(|(known, _)| *known == text).map_or(0, |(_, number)| *number),
    }
}

fn group(cause: u64) -> u64 {
    match cause {
        21..=36 => 21,
        38..=41 => 38,
        other => other,
    }
}

fn asdus(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for row in capture.messages("iec104") {
        let detail = row.detail();
        let Some(kind) = detail["type"].as_u64() else { continue };
        let (session, function) = (row.text("session"), kind);
        let denied = row.text("status") == "denied";
        let first = row.text("target").split(['.', ',', ' ']).next().unwrap_or_default();
        let own = cause(&detail["cause"]);
        if row.text("exchange") != "reply" {
            let values: Vec<serde_json::Value> = serde_json::from_str(row.text("values")).unwrap_or_default();
            let numbers: Vec<String> =
                values.iter().filter_map(|v| v.as_f64()).map(|v| format!("{v:.4}")).collect();
            let values = if answers(kind, own) { String::new() } else { numbers.join(" ") };
            facts.ours.push(format!("{function} {own} {session} {first} {values}"));
        }
        if row.text("exchange") != "request" {
            let reply = detail.get("reply_cause").map_or(own, cause);
            let station = detail["station"].as_u64().map_or_else(|| session.to_string(), |s| s.to_string());
            facts.ours.push(format!(
                "{function} {reply} {station} {first} {}",
                if denied { "negative" } else { "" }
            ));
        }
    }
    for layer in reference.ek("iec60870_asdu") {
        facts.theirs.push(theirs(&layer));
    }
    facts
}

/// What answers a command repeats its value: that is compared once.
fn answers(kind: u64, cause: u64) -> bool {
    matches!(kind, 45..=69 | 100..=119) && !matches!(cause, 5 | 6 | 8 | 10)
}

fn theirs(layer: &Layer) -> String {
    let first = |name: &str| layer.first(&format!("iec60870_asdu_iec60870_asdu_{name}"));
    let (kind, cause) = (first("typeid").parse().unwrap_or(0), group(first("causetx").parse().unwrap_or(0)));
    let head = format!("{kind} {cause} {} {}", first("addr"), first("ioa"));
    if answers(kind, cause) {
        let negative = if first("nega") == "true" || cause >= 44 { "negative" } else { "" };
        return format!("{head} {negative}");
    }
    let mut values = Vec::new();
    for name in VALUES {
        for value in layer.all(&format!("iec60870_asdu_iec60870_asdu_{name}")) {
            let number = match value.as_str() {
                "true" => 1.0,
                "false" => 0.0,
                text => match text.strip_prefix("0x") {
                    // A bit string's octets are shown in the order of the wire.
                    Some(digits) => {
                        u32::from_str_radix(digits, 16).map_or(f64::NAN, |n| f64::from(n.swap_bytes()))
                    }
                    None => text.parse().unwrap_or(f64::NAN),
                },
            };
            values.push(format!("{number:.4}"));
        }
    }
    format!("{head} {}", values.join(" "))
}

/// tshark's fields of values.
const VALUES: [&str; 15] = [
    "siq_spi",
    "diq_dpi",
    "vti_v",
    "bitstring",
    "normval",
    "scalval",
    "float",
    "bcr_count",
    "sco_on",
    "dco_on",
    "rco_up",
    "qoi",
    "coi_r",
    "qrp",
    "rqt",
];

fn frames(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for row in capture.messages("iec104") {
        let (activation, confirmation) = match row.text("function") {
            "STARTDT" => (0x04, 0x08),
            "STOPDT" => (0x10, 0x20),
            "TESTFR" => (0x40, 0x80),
            _ => continue,
        };
        if row.text("exchange") != "reply" {
            facts.ours.push(format!("{:#x}", activation / 4));
        }
        if row.text("exchange") != "request" {
            facts.ours.push(format!("{:#x}", confirmation / 4));
        }
    }
    let text = reference.text();
    let numbers = text.lines().flat_map(|line| line.split(','));
    facts.theirs = numbers
        .map(|n| format!("{:#x}", u8::from_str_radix(n.trim_start_matches("0x"), 16).unwrap_or(0)))
        .collect();
    facts
}
