//! Flows beside Zeek: the ends, packets and bytes of every connection, how it ended where both
//! define that, and the kinds of tunnels that were opened.

use std::collections::{BTreeMap, BTreeSet};

use yagura_event::rows::OwnedRow;
use yagura_event::schema::Kind;

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::{Record, Reference};

pub const PROTOCOL: Protocol = Protocol {
    name: "flow",
    folders: &[
        "l2l4_robustness",
        "bacnet",
        "bsap",
        "dnp3",
        "dns",
        "enip_cip",
        "genisys",
        "ldap",
        "modbus",
        "opcua",
        "profinet",
        "s7comm",
        "ssh",
        "synchrophasor",
        "tls",
    ],
    // No protocol of its own: nothing to look for in other captures.
    tshark: &[],
    decisions: include_str!("flow.yaml"),
    tools: &[
        Tool { name: "zeek", from: From::File("zeek/conn.log"), compare: connections },
        Tool { name: "zeek-1", from: From::File("zeek/conn-1.log"), compare: connections },
        Tool { name: "icsnpp", from: From::File("icsnpp/conn.log"), compare: connections },
        Tool { name: "zeek-tunnels", from: From::File("zeek/tunnel.log"), compare: tunnels },
    ],
};

/// What Zeek calls the datagrams that carry tunnels; here only what is in them is a flow.
const CARRIERS: [&str; 5] = ["vxlan", "geneve", "gtpv1", "teredo", "ayiya"];
/// Ports of tunnels that Zeek opens without naming the carrier's service.
const CARRIER_PORTS: [&str; 4] = ["3544", "4754", "4789", "6081"];

fn connections(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    // Some logs keep a few columns only.
    let all: Vec<Record> = reference.zeek().into_iter().filter(|r| !r.get("id.resp_p").is_empty()).collect();
    let carrier = |r: &Record| {
        let service = r.get("service");
        CARRIERS.iter().any(|c| service.split(',').any(|s| s == *c))
            || (service.is_empty() && r.get("proto") == "udp" && CARRIER_PORTS.contains(&r.get("id.resp_p")))
    };
    let carriers: BTreeSet<String> = all
        .iter()
        .filter(|r| carrier(r))
        .flat_map(|r| [format!("{} {}", r.client(), r.server()), format!("{} {}", r.server(), r.client())])
        .collect();
    let mut said = BTreeMap::<String, Vec<&Record>>::new();
    for record in
        all.iter().filter(|r| !carrier(r) && r.get("proto") != "icmp" && !r.get("orig_pkts").is_empty())
    {
        let key = format!("{} {} {}", record.get("proto"), record.client(), record.server());
        said.entry(key).or_default().push(record);
        facts.theirs.push(theirs(record));
    }
    if all.is_empty() || all.iter().all(|r| r.get("orig_pkts").is_empty()) {
        return Facts::default();
    }
    let flows = || capture.rows.iter().filter(|r| r.kind == Kind::Flow && r.text("state") != "open");
    let is_here =
        |r: &Record| flows().any(|f| [f.text("client"), f.text("server")].contains(&r.get("id.orig_h")));
    if !all.iter().any(is_here) {
        // The log is about another capture.
        return Facts::default();
    }
    for row in flows() {
        let transport = row.text("transport");
        // What of a tunnel carries no packet stays a flow here.
        let carries = carriers.contains(&format!("{} {}", row.client(), row.server()));
        if matches!(transport, "tcp" | "udp") && !carries {
            let key = format!("{transport} {} {}", row.client(), row.server());
            let record = said.get_mut(&key).filter(|list| !list.is_empty()).map(|list| list.remove(0));
            facts.ours.push(ours(row, record));
        }
    }
    facts.ours.extend(echoes(capture.rows.iter().filter_map(icmp)));
    facts.theirs.extend(echoes(all.iter().filter(|r| r.get("proto") == "icmp").map(|r| {
        let number = |name: &str| r.get(name).parse().unwrap_or(0);
        (
            [r.get("id.orig_h").to_string(), r.get("id.resp_h").to_string()],
            number("orig_pkts") + number("resp_pkts"),
        )
    })));
    facts
}

fn bytes_of(record: &Record, which: &str) -> Option<u64> {
    let stated = |name: &str| record.get(&format!("{which}_{name}")).parse::<u64>().ok();
    if record.get("proto") == "udp" {
        // Of one packet alone only the IP length is said.
        let headers = if record.get("id.orig_h").contains(':') { 48 } else { 28 };
        return Some(stated("ip_bytes")?.saturating_sub(stated("pkts")? * headers));
    }
    stated("bytes")
}

/// How a connection ended, where both say so.
fn ended(record: &Record) -> &'static str {
    match record.get("conn_state") {
        "SF" if record.get("proto") == "tcp" => "closed",
        "RSTO" | "RSTR" => "reset",
        _ => "-",
    }
}

fn theirs(record: &Record) -> String {
    let bytes = |which: &str| bytes_of(record, which).map_or("-".into(), |b| b.to_string());
    // Zeek counts missing bytes with their side's, we count them together.
    let bytes = match record.get("missed_bytes") {
        "0" | "" => format!("{}/{}", bytes("orig"), bytes("resp")),
        _ => (bytes_of(record, "orig").unwrap_or(0) + bytes_of(record, "resp").unwrap_or(0)).to_string(),
    };
    format!(
        "{} {} > {} {}/{} packets {bytes} bytes {}",
        record.get("proto"),
        record.client(),
        record.server(),
        record.get("orig_pkts"),
        record.get("resp_pkts"),
        ended(record)
    )
}

/// A flow, told as far as the record of the same ends tells.
fn ours(row: &OwnedRow, record: Option<&Record>) -> String {
    let bytes = |column: &str, which: &str| match record {
        Some(record) if bytes_of(record, which).is_none() => "-".to_string(),
        _ => row.number(column).unwrap_or_default().to_string(),
    };
    let state = match record.map_or("-", ended) {
        "-" => "-",
        _ => row.text("state"),
    };
    let number = |column: &str| row.number(column).unwrap_or_default();
    let bytes = match record.map_or("0", |r| r.get("missed_bytes")) {
        "0" | "" => format!("{}/{}", bytes("client_bytes", "orig"), bytes("server_bytes", "resp")),
        _ => (number("client_bytes") + number("server_bytes") + number("missing_bytes")).to_string(),
    };
    format!(
        "{} {} > {} {}/{} packets {bytes} bytes {state}",
        row.text("transport"),
        row.client(),
        row.server(),
        number("client_packets"),
        number("server_packets")
    )
}

fn icmp(row: &OwnedRow) -> Option<([String; 2], u64)> {
    let packets = ["client_packets", "server_packets"].map(|c| row.number(c).unwrap_or_default() as u64);
    let is = row.kind == Kind::Flow && row.text("transport") == "ip" && row.text("state") != "open";
    let ends = [row.text("client").to_string(), row.text("server").to_string()];
    (is && row.text("protocol") == "icmp").then(|| (ends, packets.iter().sum()))
}

/// Zeek keeps each type of ICMP between two stations apart: compared is their sum.
fn echoes(all: impl Iterator<Item = ([String; 2], u64)>) -> Vec<String> {
    let mut sums = BTreeMap::<[String; 2], u64>::new();
    for (mut ends, packets) in all {
        ends.sort();
        *sums.entry(ends).or_default() += packets;
    }
    sums.into_iter().map(|([a, b], packets)| format!("icmp {a} {b} {packets} packets")).collect()
}

fn tunnels(capture: &Capture, reference: &Reference) -> Facts {
    let ours: BTreeSet<&str> = capture
        .tunnels()
        .into_iter()
        .filter_map(|kind| match kind {
            "gre" | "erspan" | "pptp" => Some("Tunnel::GRE"),
            "ip" => Some("Tunnel::IP"),
            "vxlan" => Some("Tunnel::VXLAN"),
            "geneve" => Some("Tunnel::GENEVE"),
            "gtp" => Some("Tunnel::GTPv1"),
            "teredo" => Some("Tunnel::TEREDO"),
            "ayiya" => Some("Tunnel::AYIYA"),
            _ => None,
        })
        .collect();
    let theirs: BTreeSet<String> =
        reference.zeek().iter().map(|r| r.get("tunnel_type").to_string()).filter(|t| !t.is_empty()).collect();
    Facts { ours: ours.into_iter().map(str::to_string).collect(), theirs: theirs.into_iter().collect() }
}
