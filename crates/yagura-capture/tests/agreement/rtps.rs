//! RTPS beside tshark: every submessage, and the writer where it has one.

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "rtps",
    folders: &["rtps_dds"],
    tshark: &["rtps"],
    decisions: include_str!("rtps.yaml"),
    tools: &[Tool { name: "tshark", from: From::Tshark(TSHARK), compare: tshark }],
};

/// Notices of unreachable ports repeat what could not be delivered.
const TSHARK: &[&str] =
    &["-Y", "rtps and not icmp", "-T", "fields", "-e", "rtps.sm.id", "-e", "rtps.sm.wrEntityId"];

fn tshark(capture: &Capture, reference: &Reference) -> Facts {
    let number = |text: &str| u32::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or(0);
    let text = reference.text();
    let theirs = text.lines().flat_map(|line| {
        let (kinds, writers) = line.split_once('\t').unwrap_or((line, ""));
        let mut writers = writers.split(',').map(number);
        let told = kinds.split(',').map(number).filter(|kind| !matches!(kind, 1 | 9 | 12..=15));
        told.map(move |kind| {
            let writer =
                if matches!(kind, 2 | 3 | 6..=8 | 0x12 | 0x13 | 0x15 | 0x16) { writers.next() } else { None };
            format!("{kind} {:08x}", writer.unwrap_or(0))
        })
    });
    let counted = capture.messages("rtps").filter(|row| row.detail()["new"].is_null());
    let ours = counted.flat_map(|row| {
        let writer = number(row.text("target").trim_start_matches("writer "));
        let times = row.number("count").unwrap_or(0.0) as usize;
        vec![format!("{} {writer:08x}", row.detail()["submessage"]); times]
    });
    Facts { ours: ours.collect(), theirs: theirs.collect() }
}
