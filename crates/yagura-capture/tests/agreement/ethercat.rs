//! EtherCAT beside tshark: every datagram of the frames that return, with its command, address,
//! length and working counter.

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "ethercat",
    folders: &["ethercat"],
    tshark: &["ecat"],
    decisions: include_str!("ethercat.yaml"),
    tools: &[Tool { name: "tshark", from: From::Tshark(TSHARK), compare: tshark }],
};

#[rustfmt::skip]
const TSHARK: &[&str] = &[
    "-Y", "ecat && eth.src[0:1] == 02", "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=;",
    "-e", "ecat.cmd", "-e", "ecat.adp", "-e", "ecat.ado", "-e", "ecat.subframe.length", "-e", "ecat.cnt",
];

fn tshark(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for row in capture.messages("ethercat") {
        let detail = row.detail();
        let number = |name: &str| detail[name].as_u64();
        let (Some(command), Some(bytes)) = (number("command"), number("bytes")) else { continue };
        let counter = number("working_counter").unwrap_or_default();
        let target = row.text("target");
        let address = target.rsplit('(').next().unwrap_or_default().trim_end_matches(')');
        let slave = if row.text("session").starts_with("0x") { row.text("session") } else { "" };
        let fact = format!("{command} {slave} {address} {bytes} {counter}");
        let times = number("repeated").unwrap_or(1);
        facts.ours.extend(std::iter::repeat_n(fact, times as usize));
    }
    for line in reference.text().lines() {
        let columns: Vec<Vec<&str>> = line.split('\t').map(|field| field.split(';').collect()).collect();
        for (at, code) in columns[0].iter().enumerate() {
            let of = |column: usize| columns[column][at];
            let command = u64::from_str_radix(&code[2..], 16).unwrap_or_default();
            let slave = if matches!(command, 4..=6) { of(1) } else { "" };
            facts.theirs.push(format!("{command} {slave} {} {} {}", of(2), of(3), of(4)));
        }
    }
    facts
}
