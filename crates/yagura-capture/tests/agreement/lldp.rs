//! LLDP and CDP beside tshark: what every device says of itself, each announcement once.

use std::collections::BTreeSet;

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const LLDP: Protocol = Protocol {
    name: "lldp",
    folders: &["lldp_cdp", "iec104", "attack_s7_labelled"],
    tshark: &["lldp"],
    decisions: include_str!("lldp.yaml"),
    tools: &[Tool { name: "tshark", from: From::TsharkWhereSeen(LLDP_FIELDS), compare: lldp }],
};

pub const CDP: Protocol = Protocol {
    name: "cdp",
    folders: &["lldp_cdp", "l2l4_robustness"],
    tshark: &["cdp"],
    decisions: include_str!("cdp.yaml"),
    tools: &[Tool { name: "tshark", from: From::TsharkWhereSeen(CDP_FIELDS), compare: cdp }],
};

#[rustfmt::skip]
const LLDP_FIELDS: &[&str] = &[
    "-Y", "lldp", "-T", "fields", "-E", "occurrence=f", "-e", "eth.src", "-e", "lldp.chassis.id.mac", "-e", "lldp.chassis.id",
    "-e", "lldp.port.id.mac", "-e", "lldp.port.id", "-e", "lldp.tlv.system.name", "-e", "lldp.tlv.system.desc",
    "-e", "lldp.port.desc", "-e", "lldp.time_to_live",
];

#[rustfmt::skip]
const CDP_FIELDS: &[&str] = &[
    "-Y", "cdp", "-T", "fields", "-E", "occurrence=l", "-e", "eth.src", "-e", "cdp.deviceid", "-e", "cdp.portid",
    "-e", "cdp.ttl", "-e", "cdp.version",
];

fn once(facts: impl Iterator<Item = String>) -> Vec<String> {
    facts.collect::<BTreeSet<_>>().into_iter().collect()
}

/// tshark writes line ends within a text as two characters.
fn plain(text: &str) -> String {
    text.replace("\\r", "\r").replace("\\n", "\n").replace("\\t", "\t").trim().to_string()
}

/// A chassis that is a text comes as bytes.
fn from_hex(text: &str) -> String {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| std::str::from_utf8(pair).ok().and_then(|p| u8::from_str_radix(p, 16).ok());
    let bytes: Option<Vec<u8>> = digits.chunks(2).map(byte).collect();
    bytes.and_then(|b| String::from_utf8(b).ok()).unwrap_or_else(|| text.to_string())
}

fn lldp(capture: &Capture, reference: &Reference) -> Facts {
    let ours = capture.messages("lldp").map(|row| {
        let detail = row.detail();
        let text = |name: &str| detail[name].as_str().unwrap_or_default().trim().to_string();
        let station = if row.text("client").is_empty() { "00:00:00:00:00:00" } else { row.text("client") };
        format!(
            "{station} device={} port={} name={} description={} port_description={} {}",
            text("device"),
            text("port"),
            text("name"),
            text("description"),
            text("port_description"),
            detail["lifetime"]
        )
    });
    let text = reference.text();
    let theirs = text.lines().map(|line| {
        let c: Vec<&str> = line.split('\t').collect();
        let device = if c[1].is_empty() { from_hex(c[2]) } else { c[1].to_string() };
        let port = if c[3].is_empty() { c[4] } else { c[3] };
        format!(
            "{} device={device} port={port} name={} description={} port_description={} {}",
            c[0],
            plain(c[5]),
            plain(c[6]),
            plain(c[7]),
            c[8]
        )
    });
    Facts { ours: once(ours), theirs: once(theirs) }
}

fn cdp(capture: &Capture, reference: &Reference) -> Facts {
    let ours = capture.messages("cdp").map(|row| {
        let detail = row.detail();
        let text = |name: &str| detail[name].as_str().unwrap_or_default().to_string();
        format!(
            "{} device={} port={} {} {}",
            row.text("client"),
            text("device"),
            text("port"),
            detail["lifetime"],
            detail["version"]
        )
    });
    let text = reference.text();
    let theirs = text.lines().map(|line| {
        let c: Vec<&str> = line.split('\t').collect();
        format!("{} device={} port={} {} {}", c[0], plain(c[1]), plain(c[2]), c[3], c[4])
    });
    Facts { ours: once(ours), theirs: once(theirs) }
}
