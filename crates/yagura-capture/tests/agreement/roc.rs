//! ROC Plus beside the bytes: neither tshark nor a log says anything of it, so the frames are cut out
//! of the payload again, and opcodes and addresses compared.

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "roc_plus",
    folders: &["roc_plus"],
    tshark: &[],
    decisions: include_str!("roc.yaml"),
    tools: &[Tool { name: "payload", from: From::Tshark(PAYLOAD), compare: payload }],
};

const PAYLOAD: &[&str] = &["-Y", "tcp.payload", "-T", "fields", "-e", "tcp.payload"];

fn payload(capture: &Capture, reference: &Reference) -> Facts {
    let text = reference.text();
    let theirs =
        text.lines().map(|line| format!("opcode {}", u8::from_str_radix(&line[8..10], 16).unwrap_or(0)));
    let ours = capture.messages("roc_plus").flat_map(|row| {
        let opcode = row.detail()["opcode"].as_u64().unwrap_or(0);
        let times = if row.text("exchange") == "pair" { 2 } else { 1 };
        let refused = row.detail()["error_code"].is_u64() && times == 2;
        let answer = if refused { 255 } else { opcode };
        [format!("opcode {opcode}"), format!("opcode {answer}")].into_iter().take(times)
    });
    Facts { ours: ours.collect(), theirs: theirs.collect() }
}
