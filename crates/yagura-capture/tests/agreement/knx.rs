//! KNXnet/IP beside tshark: which services there are, on which channel.

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "knx",
    folders: &["knx"],
    tshark: &["kip"],
    decisions: "",
    tools: &[Tool { name: "tshark", from: From::Tshark(TSHARK), compare: tshark }],
};

/// The service's number stands in the folded line of the header, the channel in a field.
const TSHARK: &[&str] = &["-Y", "kip", "-T", "ek"];

fn tshark(capture: &Capture, reference: &Reference) -> Facts {
    let theirs = reference.ek("kip").into_iter().map(|layer| {
        let number = layer.first("kip_knxip_service_type");
        let channel = layer.first("kip_knxip_channel");
        format!("{} {}", hexadecimal(&number), hexadecimal(&channel))
    });
    let ours = capture.messages("knx").flat_map(|row| {
        let number = row.detail()["service_type"].as_u64().unwrap_or(0);
        let reply = if number == 0x424 { 0x423 } else { number + 1 };
        let channel: u64 = row.text("session").parse().unwrap_or(0);
        let answer = (row.text("exchange") == "pair").then(|| format!("{reply} {channel}"));
        [Some(format!("{number} {channel}")), answer].into_iter().flatten()
    });
    Facts { ours: ours.collect(), theirs: theirs.collect() }
}

fn hexadecimal(text: &str) -> u64 {
    u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or(0)
}
