//! S7comm-plus beside ICSNPP's log, and beside the bytes where there is none: tshark has no dissector
//! of it, so units are cut out of its payload again, by their lengths alone.

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "s7comm_plus",
    folders: &["s7comm_plus"],
    tshark: &[],
    decisions: include_str!("s7comm_plus.yaml"),
    tools: &[
        Tool { name: "icsnpp", from: From::Tshark(NOTHING), compare: icsnpp },
        Tool { name: "payload", from: From::Tshark(PAYLOAD), compare: payload },
    ],
};

#[rustfmt::skip]
const PAYLOAD: &[&str] = &[
    "-Y", "tcp.payload and not tcp.analysis.retransmission", "-T", "fields",
    "-e", "ip.src", "-e", "tcp.srcport", "-e", "ip.dst", "-e", "tcp.dstport", "-e", "tcp.payload",
];

/// The log lies beneath another folder than its capture: nothing is asked of tshark.
const NOTHING: &[&str] = &["-c", "1", "-Y", "frame.number == 0"];

/// The PDUs of all rows: sender and receiver, version, operation code, function.
fn pdus(capture: &Capture) -> Vec<String> {
    let mut out = Vec::new();
    for row in capture.messages("s7comm_plus") {
        let detail = row.detail();
        let Some(version) = detail["version"].as_u64() else { continue };
        let (client, server) = (row.client(), row.server());
        if row.text("function") == "notification" {
            out.push(format!("{client}>{server} {version} 51 0"));
            continue;
        }
        let function = detail["function"].as_u64().unwrap_or(0);
        if row.text("exchange") != "reply" {
            out.push(format!("{client}>{server} {version} 49 {function}"));
        }
        if row.text("exchange") != "request" {
            let opcode = if detail["short_response"] == true { 2 } else { 50 };
            out.push(format!("{server}>{client} {version} {opcode} {function}"));
        }
    }
    out
}

fn number(text: &str) -> u64 {
    text.strip_prefix("0x").and_then(|digits| u64::from_str_radix(digits, 16).ok()).unwrap_or(0)
}

fn icsnpp(capture: &Capture, reference: &Reference) -> Facts {
    let theirs = |r: super::reference::Record| {
        format!(
            "{}:{}>{}:{} {} {} {}",
            r.get("source_h"),
            r.get("source_p"),
            r.get("destination_h"),
            r.get("destination_p"),
            r.get("version"),
            number(r.get("opcode")),
            number(r.get("function_code"))
        )
    };
    let name = reference.path.file_name().unwrap_or_default();
    let captures = reference.path.ancestors().nth(2).unwrap_or(&reference.path);
    let log = captures.join("expected/s7comm").join(name).join("icsnpp/s7comm_plus.log");
    if !log.is_file() {
        return Facts::default();
    }
    let log = Reference::file(log);
    Facts { ours: pdus(capture), theirs: log.zeek().into_iter().map(theirs).collect() }
}

fn payload(capture: &Capture, reference: &Reference) -> Facts {
    let mut theirs = Vec::new();
    for line in reference.text().lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let [source, source_port, destination, destination_port, payload] = fields[..] else { continue };
        let digit = |at: usize| u8::from_str_radix(payload.get(2 * at..2 * at + 2)?, 16).ok();
        let bytes: Vec<u8> = (0..payload.len() / 2).filter_map(digit).collect();
        let mut rest = &bytes[..];
        while let [3, 0, high, low, ..] = *rest {
            let length = usize::from(u16::from_be_bytes([high, low]));
            let Some(frame) = rest.get(..length) else { break };
            rest = &rest[length..];
            let [_, _, _, _, 2, 0xf0, _, 0x72, version @ 1..=3, _, _, ref data @ ..] = *frame else {
                continue;
            };
            let data = if version == 3 && data.first() == Some(&0x20) { &data[33..] } else { data };
            let way = format!("{source}:{source_port}>{destination}:{destination_port}");
            match *data {
                [0x33, ..] => theirs.push(format!("{way} {version} 51 0")),
                [opcode, _, _, high, low, ..] => {
                    let function = u16::from_be_bytes([high, low]);
                    theirs.push(format!("{way} {version} {opcode} {function}"));
                }
                _ => {}
            }
        }
    }
    Facts { ours: pdus(capture), theirs }
}
