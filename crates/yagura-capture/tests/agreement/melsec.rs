//! MELSEC beside the bytes themselves: tshark does not read this protocol, so each frame of the
//! programming tool is found in its segments' payloads.

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "melsec",
    folders: &["melsec"],
    tshark: &["melsec"],
    decisions: include_str!("melsec.yaml"),
    tools: &[Tool { name: "payloads", from: From::Tshark(TSHARK), compare: payloads }],
};

#[rustfmt::skip]
const TSHARK: &[&str] = &[
    "-Y", "tcp.len > 0 && !tcp.analysis.retransmission && !tcp.analysis.out_of_order",
    "-T", "fields", "-e", "tcp.payload",
];

fn payloads(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for row in capture.messages("melsec") {
        let detail = row.detail();
        let number = |name: &str| detail[name].as_u64().unwrap_or_default();
        let head = format!("{:04x} {}", number("command"), number("serial"));
        if row.text("exchange") != "reply" {
            facts.ours.push(format!("request {head} {}", row.text("target")));
        }
        if row.text("exchange") != "request" {
            let values: Vec<u16> = match row.text("operation") {
                "read" => serde_json::from_str(row.text("values")).unwrap_or_default(),
                _ => Vec::new(),
            };
            facts.ours.push(format!("response {head} {values:?}"));
        }
    }
    for line in reference.text().lines() {
        let bytes: Vec<u8> = (0..line.len() / 2)
            .filter_map(|at| u8::from_str_radix(&line[at * 2..at * 2 + 2], 16).ok())
            .collect();
        let word = |at: usize| match bytes.get(at..at + 2) {
            Some(&[low, high]) => u16::from_le_bytes([low, high]),
            _ => 0,
        };
        let response = bytes[0] == 0xd7;
        let at = if response { 47 } else { 45 };
        let command = word(at).swap_bytes();
        let head = format!("{command:04x} {}", word(at + 2));
        if response {
            let first = if command == 0x0411 { at + 8 } else { at + 6 };
            let reads = matches!(command, 0x0410 | 0x0411);
            let values: Vec<u16> = match bytes.get(first..) {
                Some(rest) if reads => {
                    rest.chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]])).collect()
                }
                _ => Vec::new(),
            };
            facts.theirs.push(format!("response {head} {values:?}"));
        } else {
            let device = |at: usize| format!("0x{:02x}:{}", word(at), word(at + 2));
            let target = match (command, word(at + 26)) {
                (0x0411, _) => {
                    let count = usize::from(word(at + 16));
                    (0..count).map(|index| device(at + 26 + index * 10)).collect::<Vec<_>>().join(",")
                }
                (0x0410 | 0x1410, 0 | 1) => device(at + 16),
                (0x0410 | 0x1410, points) => format!("{}+{points}", device(at + 16)),
                _ => String::new(),
            };
            facts.theirs.push(format!("request {head} {target}"));
        }
    }
    facts
}
