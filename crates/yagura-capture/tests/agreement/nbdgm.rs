//! NetBIOS datagrams beside tshark: every datagram with its type, number and browser's command.

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "nbdgm",
    folders: &["iec104"],
    tshark: &["nbdgm"],
    decisions: include_str!("nbdgm.yaml"),
    tools: &[Tool { name: "tshark", from: From::Tshark(TSHARK), compare: tshark }],
};

const TSHARK: &[&str] = &[
    "-Y",
    "nbdgm && !icmp",
    "-T",
    "fields",
    "-e",
    "nbdgm.type",
    "-e",
    "nbdgm.dgram_id",
    "-e",
    "nbdgm.destination_name",
    "-e",
    "browser.command",
    "-e",
    "browser.server",
    "-e",
    "browser.browser_to_promote",
];

fn tshark(capture: &Capture, reference: &Reference) -> Facts {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).unwrap_or(0),
        None => text.parse().unwrap_or(0),
    };
    let text = reference.text();
    let theirs = text.lines().map(|line| {
        let mut columns = line.split('\t');
        let mut next = || columns.next().unwrap_or_default();
        let (kind, id, target) = (number(next()), number(next()), next());
        let (command, server, promoted) = (next(), next(), next());
        // What follows the service is its meaning in words.
        let target = target.split(" (").next().unwrap_or_default();
        format!("{kind} {id} {target} {} {server}{promoted}", number(command))
    });
    let ours = capture.messages("nbdgm").map(|row| {
        let detail = row.detail();
        let browser = detail["mailslot"].as_str().is_some_and(|slot| slot.ends_with("BROWSE"));
        let command = if browser { detail["command"].as_u64().unwrap_or(0) } else { 0 };
        let server = detail["server"].as_str().or(detail["domain"].as_str()).unwrap_or_default();
        format!("{} {} {} {command} {server}", detail["type"], detail["datagram_id"], row.text("target"))
    });
    Facts { ours: ours.collect(), theirs: theirs.collect() }
}
