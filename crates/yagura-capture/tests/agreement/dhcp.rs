//! DHCP beside tshark: every message with its transaction, station, addresses and names.

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "dhcp",
    folders: &["dhcp", "l2l4_robustness"],
    tshark: &["dhcp"],
    decisions: include_str!("dhcp.yaml"),
    tools: &[Tool { name: "tshark", from: From::TsharkWhereSeen(TSHARK), compare: tshark }],
};

#[rustfmt::skip]
const TSHARK: &[&str] = &[
    "-Y", "dhcp", "-T", "fields", "-e", "dhcp.type", "-e", "dhcp.id", "-e", "dhcp.option.dhcp", "-e", "dhcp.hw.mac_addr",
    "-e", "dhcp.option.hostname", "-e", "dhcp.option.vendor_class_id", "-e", "dhcp.option.requested_ip_address",
    "-e", "dhcp.ip.your", "-e", "dhcp.ip.client", "-e", "dhcp.option.ip_address_lease_time",
];

const KINDS: [&str; 9] = [
    "",
    "DHCPDISCOVER",
    "DHCPOFFER",
    "DHCPREQUEST",
    "DHCPDECLINE",
    "DHCPACK",
    "DHCPNAK",
    "DHCPRELEASE",
    "DHCPINFORM",
];

fn tshark(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for row in capture.messages("dhcp") {
        let detail = row.detail();
        let text = |name: &str| detail[name].as_str().unwrap_or_default().to_string();
        let (xid, exchange) = (detail["xid"].as_u64().unwrap_or(0), row.text("exchange"));
        if exchange != "reply" {
            facts.ours.push(format!(
                "{xid:08x} {} {} {} {}",
                row.text("function"),
                text("client_mac"),
                text("host_name"),
                text("vendor_class")
            ));
        }
        if exchange != "request" {
            let kind = if exchange == "pair" { text("reply") } else { row.text("function").to_string() };
            let target = if kind == "DHCPNAK" { "" } else { row.text("target") };
            facts.ours.push(format!("{xid:08x} {kind} {target} {}", detail["lease_seconds"]));
        }
    }
    for line in reference.text().lines() {
        let column: Vec<&str> = line.split('\t').collect();
        let first = |at: usize| column[at].split(',').next().unwrap_or_default();
        let xid = u32::from_str_radix(first(1).trim_start_matches("0x"), 16).unwrap_or(0);
        let kind = KINDS.get(first(2).parse::<usize>().unwrap_or(0)).copied().unwrap_or("other");
        let kind = match (kind, first(0)) {
            ("", "1") => "BOOTREQUEST",
            ("", _) => "BOOTREPLY",
            (kind, _) => kind,
        };
        if first(0) == "1" {
            facts.theirs.push(format!("{xid:08x} {kind} {} {} {}", first(3), column[4], column[5]));
        } else {
            let yours = Some(first(7)).filter(|y| *y != "0.0.0.0").unwrap_or("");
            let lease = if first(9).is_empty() { "null" } else { first(9) };
            facts.theirs.push(format!("{xid:08x} {kind} {yours} {lease}"));
        }
    }
    facts
}
