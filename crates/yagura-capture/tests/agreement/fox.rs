//! Fox beside the bytes: tshark has no dissector, so its reassembled payload is searched for first
//! lines.

use super::capture::Capture;
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "fox",
    folders: &["fox"],
    tshark: &[],
    decisions: include_str!("fox.yaml"),
    tools: &[Tool { name: "payload", from: From::Tshark(PAYLOAD), compare: payload }],
};

const PAYLOAD: &[&str] = &["-Y", "tcp.payload", "-T", "fields", "-e", "tcp.payload"];

fn payload(capture: &Capture, reference: &Reference) -> Facts {
    let mut theirs = Vec::new();
    for line in reference.text().lines() {
        let bytes: Vec<u8> = (0..line.len() / 2)
            .filter_map(|at| u8::from_str_radix(line.get(2 * at..2 * at + 2)?, 16).ok())
            .collect();
        let text = String::from_utf8_lossy(&bytes);
        for first in text.lines().filter(|line| line.starts_with("fox ")) {
            let words: Vec<_> = first.split(' ').skip(4).collect();
            theirs.push(words.join(" "));
        }
    }
    let ours = capture.messages("fox").flat_map(|row| {
        let times = if row.text("exchange") == "pair" { 2 } else { 1 };
        vec![format!("{} {}", row.text("target"), row.text("function")); times]
    });
    Facts { ours: ours.collect(), theirs }
}
