//! SNMP beside tshark: every message with its version, type, ids, status, the names of its
//! variables and their values.

use serde_json::Value;

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "snmp",
    folders: &["snmp"],
    tshark: &["snmp"],
    decisions: "",
    tools: &[
        Tool { name: "tshark", from: From::Tshark(MESSAGES), compare: messages },
        Tool { name: "tshark-v3", from: From::Tshark(SECURED), compare: secured },
        Tool { name: "zeek-values", from: From::File("zeek/stdout"), compare: addresses },
    ],
};

/// One line a message; lists are divided by `|`.
#[rustfmt::skip]
const MESSAGES: &[&str] = &[
    "-Y", "snmp", "-E", "aggregator=|", "-T", "fields",
    "-e", "ip.src", "-e", "ipv6.src", "-e", "udp.srcport", "-e", "tcp.srcport",
    "-e", "snmp.version", "-e", "snmp.msgID", "-e", "snmp.data", "-e", "snmp.request_id",
    "-e", "snmp.error_status", "-e", "snmp.error_index", "-e", "snmp.name",
    "-e", "snmp.value.int", "-e", "snmp.value.octets", "-e", "snmp.value.oid", "-e", "snmp.value.ipv4",
    "-e", "snmp.value.counter", "-e", "snmp.value.g32", "-e", "snmp.value.u32",
    "-e", "snmp.value.timeticks", "-e", "snmp.value.opaque", "-e", "snmp.value.nsap",
];

#[rustfmt::skip]
const SECURED: &[&str] = &[
    "-Y", "snmp.msgID", "-T", "fields",
    "-e", "ip.src", "-e", "ipv6.src", "-e", "udp.srcport",
    "-e", "snmp.msgID", "-e", "snmp.msgUserName", "-e", "snmp.encryptedPDU",
];

/// The number of a function's data unit.
fn unit(function: &str, version: &str) -> u64 {
    match (function, version) {
        ("get_request", _) => 0,
        ("get_next_request", _) => 1,
        ("set_request", _) => 3,
        ("trap", "1") => 4,
        ("get_bulk_request", _) => 5,
        ("inform_request", _) => 6,
        ("trap", _) => 7,
        _ => 99,
    }
}

fn texts(value: &Value) -> Vec<String> {
    value.as_array().into_iter().flatten().filter_map(|name| name.as_str().map(String::from)).collect()
}

/// A value as both say it: numbers in decimals, octets as hexadecimal digits.
fn plain(value: &Value) -> String {
    let Some(text) = value.as_str() else {
        // Whole numbers are written without a fraction.
        return match value.as_f64() {
            Some(n) if n.fract() == 0.0 && !value.is_u64() && !value.is_i64() => format!("{n:.0}"),
            _ => value.to_string(),
        };
    };
    if let Some(digits) = text.strip_prefix("0x") {
        return digits.to_string();
    }
    let dotted = text.contains('.') && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if dotted { text.to_string() } else { hex(text.as_bytes()) }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|b| format!("{b:02x}")).collect()
}

fn sorted(mut values: Vec<String>) -> String {
    values.sort();
    values.join(" ")
}

fn messages(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for row in capture.messages("snmp") {
        let (detail, function) = (row.detail(), row.text("function"));
        let version = detail["version"].as_str().unwrap_or("");
        let (exchange, code) = (row.text("exchange"), row.text("status_code"));
        if function == "encrypted_pdu" {
            continue;
        }
        let begin = format!("v{version} {} {}", detail["message"], detail["request"]);
        let target = if detail["notification"].is_string() || function == "trap" {
            Vec::new()
        } else {
            Vec::from([row.text("target").to_string()])
        };
        let asked = texts(&detail["asked"]);
        let asked = if asked.is_empty() { target } else { asked };
        let told = texts(&detail["names"]);
        let told = if told.is_empty() { asked.clone() } else { told };
        let listed: Value = serde_json::from_str(row.text("values")).unwrap_or_default();
        let values = listed.as_array().into_iter().flatten();
        let values = sorted(values.filter(|v| !v.is_null() && *v != "").map(plain).collect());
        let carries = matches!(function, "set_request" | "inform_request" | "trap");
        if exchange != "reply" {
            let names = if carries { &told } else { &asked };
            let values = if carries { &*values } else { "" };
            facts.ours.push(format!(
                "{} {begin} {} 0 [{}] {values}",
                row.client(),
                unit(function, version),
                names.join(" ")
            ));
        }
        if exchange != "request" {
            let report = detail["report"].as_str();
            let (kind, names) = match report {
                Some(name) => (8, name.to_string()),
                None if carries => (2, "same".to_string()),
                None => (2, told.join(" ")),
            };
            let values = if carries || report.is_some() { "" } else { &*values };
            // Of what is too much nothing comes back (RFC 3416, 4.2.1).
            let names = if code == "tooBig" && version != "1" { String::new() } else { names };
            let index = detail["error_index"].as_i64().unwrap_or(0);
            // A refusal of version 1 is one of what was asked.
            let refused = index > 0 || (detail["error_index"].is_i64() && !code.is_empty());
            facts.ours.push(format!(
                "{} {begin} {kind} {} [{names}] {values}",
                row.server(),
                if refused { code } else { "0" }
            ));
        }
    }
    for line in reference.text().lines() {
        theirs(line, &mut facts.theirs);
    }
    facts
}

/// Names of error statuses, by number.
const ERRORS: [&str; 20] = [
    "0",
    "tooBig",
    "noSuchName",
    "badValue",
    "readOnly",
    "genErr",
    "noAccess",
    "wrongType",
    "wrongLength",
    "wrongEncoding",
    "wrongValue",
    "noCreation",
    "inconsistentValue",
    "resourceUnavailable",
    "commitFailed",
    "undoFailed",
    "authorizationError",
    "notWritable",
    "inconsistentName",
    "error_19",
];

fn theirs(line: &str, out: &mut Vec<String>) {
    let columns: Vec<&str> = line.split('\t').collect();
    let column = |at: usize| columns.get(at).copied().unwrap_or_default();
    let either = |a: usize, b: usize| if column(a).is_empty() { column(b) } else { column(a) };
    let source = format!("{}:{}", either(0, 1), either(2, 3));
    if column(6).is_empty() {
        return;
    }
    let version = match column(4) {
        "0" => "1",
        "1" => "2c",
        _ => "3",
    };
    let or_null = |text: &str| if text.is_empty() { "null".to_string() } else { text.to_string() };
    let begin = format!("v{version} {} {}", or_null(column(5)), or_null(column(7)));
    let kind: u64 = column(6).parse().unwrap_or(99);
    // A bulk request has other numbers there.
    let code: usize = if kind == 5 { 0 } else { column(8).parse().unwrap_or(0) };
    let names = column(10).replace('|', " ");
    let lists =
        (11..21).flat_map(|at| column(at).split('|')).filter(|one| !one.is_empty() && *one != "<MISSING>");
    let values = sorted(lists.map(|one| one.replace(':', "")).collect());
    let error = ERRORS.get(code).copied().unwrap_or("?");
    let shown = match kind {
        3 | 4 | 6 | 7 => format!("[{names}] {values}"),
        2 => format!("[{names}] {values}"),
        _ => format!("[{names}] "),
    };
    out.push(format!("{source} {begin} {kind} {error} {shown}"));
}

/// Messages of version 3: id, user, and whether what they carry is encrypted.
fn secured(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for row in capture.messages("snmp") {
        let detail = row.detail();
        if !detail["message"].is_i64() || row.text("exchange") == "reply" {
            continue;
        }
        let encrypted = row.text("function") == "encrypted_pdu";
        let user = detail["user"].as_str().unwrap_or("");
        facts.ours.push(format!("{} {} {user} {encrypted}", row.client(), detail["message"]));
    }
    for line in reference.text().lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let column = |at: usize| columns.get(at).copied().unwrap_or_default();
        if matches!(column(2), "161") {
            continue;
        }
        let address = if column(0).is_empty() { column(1) } else { column(0) };
        let encrypted = !column(5).is_empty();
        facts.theirs.push(format!("{address}:{} {} {} {encrypted}", column(2), column(3), column(4)));
    }
    facts
}

/// The script of Zeek's test prints every value that is an address.
fn addresses(capture: &Capture, reference: &Reference) -> Facts {
    let is_address = |text: &&str| text.parse::<std::net::Ipv4Addr>().is_ok();
    let ours = capture.messages("snmp").filter_map(|row| {
        let values: Value = serde_json::from_str(row.text("values")).unwrap_or_default();
        values[0].as_str().filter(is_address).map(String::from)
    });
    let text = reference.text();
    let theirs = text.lines().filter(is_address).map(String::from);
    Facts { ours: ours.collect(), theirs: theirs.collect() }
}
