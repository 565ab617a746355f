//! ICMP and ICMPv6 beside tshark: type, code, identifier and sequence of every message.

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "icmp",
    folders: &["l2l4_robustness", "iec104", "dns"],
    tshark: &["icmp", "icmpv6"],
    decisions: include_str!("icmp.yaml"),
    tools: &[Tool { name: "tshark", from: From::TsharkWhereSeen(TSHARK), compare: tshark }],
};

#[rustfmt::skip]
const TSHARK: &[&str] = &[
    "-Y", "icmp or icmpv6", "-T", "fields", "-E", "occurrence=f",
    "-e", "icmp.type", "-e", "icmp.code", "-e", "icmp.ident", "-e", "icmp.seq",
    "-e", "icmpv6.type", "-e", "icmpv6.code", "-e", "icmpv6.echo.identifier", "-e", "icmpv6.echo.sequence_number",
    "-e", "icmpv6.nd.ns.target_address", "-e", "icmpv6.nd.na.target_address", "-e", "icmp.redir_gw",
];

/// Types that ask and are asked, by their function.
fn asked(function: &str, six: bool) -> Option<(u8, u8)> {
    Some(match (function, six) {
        ("echo", false) => (8, 0),
        ("echo_reply", false) => (8, 0),
        ("timestamp" | "timestamp_reply", _) => (13, 14),
        ("information_request" | "information_reply", _) => (15, 16),
        ("address_mask_request" | "address_mask_reply", _) => (17, 18),
        ("echo" | "echo_reply", true) => (128, 129),
        _ => return None,
    })
}

fn tshark(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for row in capture.messages("icmp") {
        let six = row.text("client").contains(':');
        let version = if six { 6 } else { 4 };
        let detail = row.detail();
        match asked(row.text("function"), six) {
            Some((request, reply)) => {
                let ids = format!("{} {}", detail["id"], detail["sequence"]);
                if row.text("exchange") != "reply" {
                    facts.ours.push(format!("v{version} {request} {ids}"));
                }
                if row.text("exchange") != "request" {
                    facts.ours.push(format!("v{version} {reply} {ids}"));
                }
            }
            None => {
                let gateway = detail["gateway"].as_str().unwrap_or_default();
                let target =
                    if matches!(detail["type"].as_u64(), Some(135 | 136)) { row.text("target") } else { "" };
                facts
                    .ours
                    .push(format!("v{version} {} {} {gateway}{target}", detail["type"], detail["code"]));
            }
        }
    }
    for line in reference.text().lines() {
        let column: Vec<&str> = line.split('\t').collect();
        let (version, at) = if column[4].is_empty() { (4, 0) } else { (6, 4) };
        let kind = column[at];
        let number = |at: usize| match column[at].strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).unwrap_or_default(),
            None => column[at].parse().unwrap_or_default(),
        };
        let echoes = if version == 4 { "0 8 13 14 15 16 17 18" } else { "128 129" };
        facts.theirs.push(if echoes.split(' ').any(|echo| echo == kind) {
            format!("v{version} {kind} {} {}", number(at + 2), number(at + 3))
        } else {
            let address = match (version, kind) {
                (6, "135") => column[8],
                (6, "136") => column[9],
                (4, "5") => column[10],
                _ => "",
            };
            format!("v{version} {kind} {} {address}", column[at + 1])
        });
    }
    facts
}
