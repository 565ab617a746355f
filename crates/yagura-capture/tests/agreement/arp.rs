//! ARP beside tshark: who asks for which address, who answers with which station.

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "arp",
    folders: &["l2l4_robustness", "iec104", "lldp_cdp", "ssh"],
    tshark: &["arp"],
    decisions: include_str!("arp.yaml"),
    tools: &[Tool { name: "tshark", from: From::TsharkWhereSeen(TSHARK), compare: tshark }],
};

#[rustfmt::skip]
const TSHARK: &[&str] = &[
    "-Y", "arp", "-T", "fields", "-e", "arp.opcode", "-e", "arp.src.proto_ipv4", "-e", "arp.src.hw_mac",
    "-e", "arp.dst.proto_ipv4",
];

fn tshark(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for row in capture.messages("arp") {
        let detail = row.detail();
        let text = |name: &str| detail[name].as_str().unwrap_or_default();
        let (target, function) = (row.text("target"), row.text("function"));
        if function == "gratuitous" {
            facts.ours.push(format!("gratuitous {target} {}", text("sender_mac")));
            continue;
        }
        if row.text("exchange") != "reply" {
            facts.ours.push(format!("request {} {} {target}", text("sender"), text("sender_mac")));
        }
        if row.text("exchange") != "request" {
            facts.ours.push(format!("reply {target} {}", text("is_at")));
        }
    }
    for line in reference.text().lines() {
        let column: Vec<&str> = line.split('\t').map(|c| c.split(',').next().unwrap_or_default()).collect();
        let (sender, station, target) = (column[1], column[2], column[3]);
        facts.theirs.push(match column[0] {
            _ if sender == target => format!("gratuitous {target} {station}"),
            "2" => format!("reply {sender} {station}"),
            _ => format!("request {sender} {station} {target}"),
        });
    }
    facts
}
