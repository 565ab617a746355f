//! SSH beside Zeek (versions, the algorithms that were agreed, the host key) and tshark (what
//! either side named itself, its fingerprint).

use std::collections::BTreeSet;

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "ssh",
    folders: &["ssh", "l2l4_robustness", "tls"],
    tshark: &["ssh"],
    decisions: include_str!("ssh.yaml"),
    tools: &[
        Tool { name: "zeek", from: From::File("zeek/ssh.log"), compare: zeek },
        Tool { name: "tshark", from: From::TsharkWhereSeen(TSHARK), compare: tshark },
    ],
};

#[rustfmt::skip]
const TSHARK: &[&str] = &[
    "-d", "tcp.port==80,ssh", "-Y", "ssh.protocol or ssh.kex.hassh or ssh.kex.hasshserver", "-T", "fields", "-E", "aggregator=|",
    "-e", "tcp.stream", "-e", "ssh.protocol", "-e", "ssh.kex.hassh", "-e", "ssh.kex.hasshserver",
];

fn zeek(capture: &Capture, reference: &Reference) -> Facts {
    let ours = capture.messages("ssh").map(|row| {
        let detail = row.detail();
        let text = |name: &str| detail[name].as_str().unwrap_or_default().to_string();
        format!(
            "{} {} {} {} {} {} {} {} {} {}",
            row.client(),
            detail["version"],
            text("client_version"),
            text("server_version"),
            text("cipher"),
            text("mac"),
            text("compression"),
            text("kex"),
            text("host_key"),
            print(&text("host_key_fingerprint"))
        )
    });
    let theirs = reference.zeek().into_iter().map(|record| {
        format!(
            "{} {} {} {} {} {} {} {} {} {}",
            record.client(),
            record.get("version"),
            record.get("client"),
            record.get("server"),
            record.get("cipher_alg"),
            record.get("mac_alg"),
            record.get("compression_alg"),
            record.get("kex_alg"),
            record.get("host_key_alg"),
            print(record.get("host_key_fingerprint"))
        )
    });
    Facts { ours: ours.collect(), theirs: theirs.collect() }
}

/// The beginning of a fingerprint, as far as all of Zeek's versions write it.
fn print(text: &str) -> &str {
    text.get(..39).unwrap_or(text)
}

fn tshark(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for row in capture.messages("ssh") {
        let detail = row.detail();
        for name in ["client_version", "server_version", "hassh", "hassh_server"] {
            if let Some(text) = detail[name].as_str() {
                facts.ours.push(format!("{} {text}", &name[..5]));
            }
        }
    }
    let mut streams = BTreeSet::new();
    let mut said = BTreeSet::new();
    for line in reference.text().lines() {
        let column: Vec<&str> = line.split('\t').collect();
        let stream = column[0];
        for text in column[1].split('|').filter(|t| !t.is_empty()) {
            let side = if said.insert(stream.to_string()) { 0 } else { 1 };
            streams.insert((stream.to_string(), side, text.to_string()));
        }
        if !column[2].is_empty() {
            facts.theirs.push(format!("hassh {}", column[2]));
        }
        if !column[3].is_empty() {
            facts.theirs.push(format!("hassh {}", column[3]));
        }
    }
    facts.ours =
        facts.ours.into_iter().map(|f| f.replace("clien ", "name ").replace("serve ", "name ")).collect();
    facts.theirs.extend(streams.into_iter().map(|(_, _, text)| format!("name {text}")));
    facts
}
