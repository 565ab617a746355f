//! PTP beside tshark: how many messages of each type each station sends, and which grandmasters are
//! announced.

use std::collections::BTreeSet;

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "ptp",
    folders: &["ntp_ptp"],
    tshark: &["ptp"],
    decisions: include_str!("ptp.yaml"),
    tools: &[Tool { name: "tshark", from: From::Tshark(ARGUMENTS), compare }],
};

#[rustfmt::skip]
const ARGUMENTS: &[&str] = &[
    "-Y", "ptp", "-T", "fields", "-E", "separator=/t", "-E", "occurrence=f",
    "-e", "eth.src", "-e", "ip.src", "-e", "ipv6.src", "-e", "ptp.v2.messagetype", "-e", "ptp.v2.an.grandmasterclockidentity",
    "-e", "ptp.v2.sequenceid",
];

const NAMES: [&str; 14] = [
    "sync",
    "delay_request",
    "peer_delay_request",
    "peer_delay_response",
    "",
    "",
    "",
    "",
    "follow_up",
    "delay_response",
    "peer_delay_response_follow_up",
    "announce",
    "signaling",
    "management",
];

fn compare(capture: &Capture, reference: &Reference) -> Facts {
    let (mut ours, mut announced) = (Vec::new(), BTreeSet::new());
    for row in capture.messages("ptp") {
        let (client, function) = (row.text("client"), row.text("function"));
        if function == "grandmaster" {
            announced.insert(format!("{client} announces {}", row.text("target")));
        } else if NAMES.contains(&function) {
            let fact = format!("{client} {function}");
            ours.extend(vec![fact; row.number("count").unwrap_or(0.0) as usize]);
        } else {
            let sequence = row.detail()["sequence"].to_string();
            let senders = match row.text("exchange") {
                "pair" => vec![client, row.text("server")],
                "reply" => vec![row.text("server")],
                _ => vec![client],
            };
            ours.extend(senders.into_iter().map(|sender| format!("{sender} management {sequence}")));
        }
    }
    ours.extend(announced);
    let (mut theirs, mut announced) = (Vec::new(), BTreeSet::new());
    for line in reference.text().lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let [mac, four, six, kind, grandmaster, sequence] = columns[..] else { continue };
        let sender = [four, six, mac].into_iter().find(|address| !address.is_empty()).unwrap_or_default();
        let number = |text: &str| match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).unwrap_or_default(),
            None => text.parse().unwrap_or_default(),
        };
        match NAMES.get(number(kind) as usize) {
            Some(&"management") => theirs.push(format!("{sender} management {}", number(sequence))),
            Some(name) => theirs.push(format!("{sender} {name}")),
            None => {}
        }
        if !grandmaster.is_empty() {
            let digits = grandmaster.trim_start_matches("0x").to_string();
            let pairs: Vec<String> =
                (0..digits.len() / 2).map(|at| digits[2 * at..2 * at + 2].to_string()).collect();
            announced.insert(format!("{sender} announces {}", pairs.join(":")));
        }
    }
    theirs.extend(announced);
    Facts { ours, theirs }
}
