//! POWERLINK beside tshark: every frame's type, nodes and services, and the commands.

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "powerlink",
    folders: &["powerlink"],
    tshark: &["epl"],
    decisions: "",
    tools: &[Tool { name: "tshark", from: From::Tshark(TSHARK), compare: tshark }],
};

const TSHARK: &[&str] = &[
    "-Y",
    "epl",
    "-T",
    "fields",
    "-e",
    "epl.mtyp",
    "-e",
    "epl.src",
    "-e",
    "epl.dest",
    "-e",
    "epl.soa.svid",
    "-e",
    "epl.soa.svtg",
    "-e",
    "epl.asnd.svid",
    "-e",
    "epl.asnd.nmtcommand.cid",
];

fn tshark(capture: &Capture, reference: &Reference) -> Facts {
    let number = |text: &str| match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).unwrap_or(0),
        None => text.parse().unwrap_or(0),
    };
    let text = reference.text();
    let theirs = text.lines().map(|line| {
        let [kind, from, to, asked, target, sent, command] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        // An invitation is told with the node that is asked.
        let to = if number(asked) == 0 { to } else { target };
        let service = number(asked).max(number(sent));
        format!("{kind} {}>{} {service} {}", number(from), number(to), number(command))
    });
    let ours =
        capture.messages("powerlink").filter(|row| row.text("function") != "nmt_state").flat_map(|row| {
            let detail = row.detail();
            let member = |name: &str| detail[name].as_u64().unwrap_or(0);
            let to = row.text("target").split(' ').nth(1).unwrap_or_default();
            let fact = format!(
                "{} {}>{to} {} {}",
                member("message_type"),
                row.text("session"),
                member("service"),
                member("command")
            );
            let times = if member("service") == 0 { row.number("count").unwrap_or(1.0) as usize } else { 1 };
            vec![fact; times]
        });
    Facts { ours: ours.collect(), theirs: theirs.collect() }
}
