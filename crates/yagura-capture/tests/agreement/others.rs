//! Protocols that are only identified and counted, beside tshark: how many messages of each of them
//! every sender sends. One run of tshark for all; QUIC stands for them in the table. That none is
//! taken for another is looked at in `covered`.

use std::collections::BTreeMap;

use super::capture::Capture;
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "quic",
    folders: &["bsap", "l2l4_robustness", "lldp_cdp", "mixed", "mqtt", "synchrophasor", "tls"],
    tshark: &["quic"],
    decisions: include_str!("others.yaml"),
    tools: &[Tool { name: "tshark", from: From::Tshark(ARGUMENTS), compare }],
};

#[rustfmt::skip]
const ARGUMENTS: &[&str] = &[
    "-Y", "coap or dhcpv6 or dtls or dtp or igmp or loop or clnp or pppoed or quic or rip or sap or sctp or sflow or vrrp or zep",
    "-T", "fields", "-E", "separator=/t", "-E", "occurrence=a", "-E", "aggregator=,",
    "-e", "ip.src", "-e", "ipv6.src", "-e", "eth.src", "-e", "frame.protocols",
];

/// Ours by tshark's name.
const NAMES: &[(&str, &str)] = &[
    ("coap", "coap"),
    ("dhcpv6", "dhcpv6"),
    ("dtls", "dtls"),
    ("dtp", "dtp"),
    ("igmp", "igmp"),
    ("loop", "loop"),
    ("clnp", "iso_network"),
    ("pppoed", "pppoe_discovery"),
    ("quic", "quic"),
    ("rip", "rip"),
    ("sap", "sap"),
    ("sctp", "sctp"),
    ("sflow", "sflow"),
    ("vrrp", "vrrp"),
    ("zep", "zep"),
];

fn compare(capture: &Capture, reference: &Reference) -> Facts {
    let mut ours = Vec::new();
    for (_, name) in NAMES {
        for row in capture.messages(name) {
            let count = row.number("count").unwrap_or(1.0).max(1.0) as usize;
            ours.extend(vec![format!("{name} {}", row.text("client")); count]);
        }
    }
    let names: BTreeMap<&str, &str> = NAMES.iter().copied().collect();
    let theirs = |line: &str| -> Option<String> {
        let columns: Vec<&str> = line.split('\t').collect();
        let [four, six, mac, layers] = columns[..] else { return None };
        let layers: Vec<&str> = layers.split(':').collect();
        let at = layers.iter().position(|layer| names.contains_key(layer))?;
        // What an error of ICMP repeats is no message.
        if layers[..at].iter().any(|layer| layer.starts_with("icmp")) {
            return None;
        }
        // The sender is that of the layer below: a station, or the address of the last header of IP
        // before it; further ones are the message's own.
        let nth = |name: &str, column: &str| {
            let before = layers[..at].iter().filter(|layer| **layer == name).count();
            column.split(',').nth(before.max(1) - 1).unwrap_or_default().to_string()
        };
        let below =
            layers[..at].iter().rev().find(|layer| matches!(**layer, "ip" | "ipv6" | "llc" | "ethertype"));
        let sender = match below {
            Some(&"ip") => nth("ip", four),
            Some(&"ipv6") => nth("ipv6", six),
            _ => nth("eth", mac),
        };
        Some(format!("{} {sender}", names[layers[at]]))
    };
    Facts { ours, theirs: reference.text().lines().filter_map(theirs).collect() }
}
