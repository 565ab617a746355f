//! Ether-S-I/O beside tshark: how many data transfers and states there are, by source.

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "ether_sio",
    folders: &["ether_sbus"],
    tshark: &["esio"],
    decisions: "",
    tools: &[Tool { name: "tshark", from: From::Tshark(TSHARK), compare: tshark }],
};

const TSHARK: &[&str] = &[
    "-Y",
    "esio",
    "-T",
    "fields",
    "-e",
    "esio.type",
    "-e",
    "esio.src_stn_id",
    "-e",
    "esio.transfer.tlg_id",
    "-e",
    "esio.sts.rio_lost_tlg",
];

fn tshark(capture: &Capture, reference: &Reference) -> Facts {
    let ours = capture.messages("ether_sio").flat_map(|row| {
        let (detail, source) = (row.detail(), row.text("session"));
        if row.text("function") == "status" {
            return vec![format!("0x0002 {source}  {}", detail["lost_telegrams"])];
        }
        let times = row.number("count").unwrap_or(0.0) as usize;
        vec![format!("0x0001 {source} {} ", detail["telegram"]); times]
    });
    let theirs = reference.text().lines().map(|line| line.replace('\t', " ")).collect::<Vec<_>>();
    Facts { ours: ours.collect(), theirs }
}
