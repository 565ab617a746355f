//! PROFINET beside ICSNPP's log of the context manager's calls, and tshark's reading of their blocks
//! and of frames on Ethernet.

use std::collections::HashMap;

use yagura_event::rows::OwnedRow;

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "profinet",
    folders: &["profinet"],
    tshark: &[
        "pn_io_device",
        "pn_io_controller",
        "pn_io_supervisor",
        "pn_io_parameterserver",
        "pn_dcp",
        "pn_rt",
    ],
    decisions: include_str!("profinet.yaml"),
    tools: &[
        Tool { name: "icsnpp", from: From::File("icsnpp/profinet_io_cm.log"), compare: calls },
        Tool { name: "tshark calls", from: From::Tshark(CALLS), compare: blocks },
        Tool { name: "tshark frames", from: From::Tshark(FRAMES), compare: frames },
    ],
};

#[rustfmt::skip]
const CALLS: &[&str] = &[
    "-Y", "dcerpc.ver == 4 and (pn_io or pn_io_device or pn_io_controller)", "-T", "fields", "-E", "separator=/t", "-E", "occurrence=f",
    "-e", "dcerpc.dg_act_id", "-e", "dcerpc.dg_seqnum", "-e", "dcerpc.pkt_type", "-e", "dcerpc.opnum",
    "-e", "pn_io.ar_uuid", "-e", "pn_io.cminitiator_station_name", "-e", "pn_io.slot_nr", "-e", "pn_io.index",
    "-e", "pn_io.error_code", "-e", "pn_io.error_decode", "-e", "pn_io.error_code1", "-e", "pn_io.error_code2",
];

#[rustfmt::skip]
const FRAMES: &[&str] = &[
    "-Y", "pn_rt", "-T", "fields", "-E", "separator=/t", "-E", "occurrence=f",
    "-e", "eth.src", "-e", "pn_rt.frame_id", "-e", "pn_dcp.service_id", "-e", "pn_dcp.xid",
];

/// A call's name in the log.
fn named(function: &str) -> &str {
    match function {
        "connect" => "Connect",
        "release" => "Release",
        "read" => "Read",
        "write" => "Write",
        "control" => "Control",
        "read_implicit" => "Read Implicit",
        other => other,
    }
}

fn about(row: &OwnedRow) -> String {
    let detail = row.detail();
    format!("{} {}", detail["activity"].as_str().unwrap_or_default(), detail["call"])
}

fn calls(capture: &Capture, reference: &Reference) -> Facts {
    let mut ours = Vec::new();
    for row in capture.messages("profinet") {
        let (detail, about) = (row.detail(), about(row));
        match row.text("function") {
            "ping" => ours.push(format!("{about} Ping")),
            "no_call" => ours.push(format!("{about} No call Response to Ping")),
            function => {
                for (kind, bytes) in [("Request", "request_bytes"), ("Response", "response_bytes")] {
                    if let Some(bytes) = detail[bytes].as_u64() {
                        ours.push(format!("{about} {kind} {} {bytes}", named(function)));
                    }
                }
            }
        }
    }
    let mut theirs = Vec::new();
    let mut begun = HashMap::<String, usize>::new();
    let text = reference.text();
    for line in text.lines().filter(|l| !l.starts_with('#')) {
        let columns: Vec<&str> = line.split('\t').collect();
        let [kind, order, activity, sequence, operation, length] =
            [10, 20, 26, 30, 31, 34].map(|at| columns[at]);
        let (last, fragment) = (columns[12] == "T", columns[13] == "T");
        let about = format!("{} {sequence}", uuid(activity, order == "Little Endian"));
        let bytes: usize = length.parse().unwrap_or(0);
        match kind {
            "Ping" | "No call Response to Ping" => theirs.push(format!("{about} {kind}")),
            // What only acknowledges says nothing of its own.
            "Fragment Acknowledge" => {}
            _ if fragment && columns[35] == "0" => {
                begun.insert(format!("{about} {kind}"), bytes);
            }
            _ if fragment => {
                let sum = begun.get_mut(&format!("{about} {kind}"));
                if let Some(sum) = sum {
                    *sum += bytes;
                    if last {
                        theirs.push(format!("{about} {kind} {operation} {sum}"));
                    }
                }
            }
            _ => theirs.push(format!("{about} {kind} {operation} {bytes}")),
        }
    }
    Facts { ours, theirs }
}

/// The log shows identifiers without regard to the order of their bytes.
fn uuid(text: &str, little: bool) -> String {
    let text = text.to_lowercase();
    let parts: Vec<&str> = text.split('-').collect();
    let turned = |part: &str| -> String {
        let pairs: Vec<&str> = (0..part.len() / 2).map(|at| &part[2 * at..2 * at + 2]).collect();
        if little { pairs.into_iter().rev().collect() } else { pairs.concat() }
    };
    let [a, b, c, rest @ ..] = &parts[..] else { return text };
    [turned(a), turned(b), turned(c), rest.join("-")].join("-")
}

fn blocks(capture: &Capture, reference: &Reference) -> Facts {
    let mut ours = Vec::new();
    for row in capture.messages("profinet") {
        let (detail, about) = (row.detail(), about(row));
        if detail["request_bytes"].is_u64() {
            let station = detail["initiator"].as_str().unwrap_or_default();
            let index = detail["index"].as_u64().map(|index| index.to_string()).unwrap_or_default();
            let place =
                row.text("target").split('/').next().filter(|_| !index.is_empty()).unwrap_or_default();
            ours.push(format!(
                "{about} {} {} {station} {place} {index}",
                row.text("function"),
                row.text("session")
            ));
        }
        if detail["response_bytes"].is_u64() {
            let status = detail["pnio_status"].as_str().unwrap_or("0x00000000");
            ours.push(format!("{about} {} {status}", row.text("function")));
        }
    }
    let functions = ["connect", "release", "read", "write", "control", "read_implicit"];
    let mut theirs = Vec::new();
    for line in reference.text().lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let [activity, sequence, kind, operation, relation, station, slot, index, status @ ..] = &columns[..]
        else {
            continue;
        };
        let about = format!("{activity} {}", number(sequence));
        let function = functions.get(number(operation) as usize).copied().unwrap_or_default();
        match *kind {
            "0" if !relation.is_empty() || function == "read_implicit" => {
                let relation = if relation.starts_with("00000000-0000-0000") { "" } else { relation };
                let of_record = !index.is_empty() && matches!(function, "read" | "write" | "read_implicit");
                let (slot, index) = if of_record {
                    (number(slot).to_string(), number(index).to_string())
                } else {
                    Default::default()
                };
                theirs.push(format!("{about} {function} {relation} {station} {slot} {index}"));
            }
            "2" if status.iter().any(|s| !s.is_empty()) => {
                let code: String = status.iter().map(|s| format!("{:02x}", number(s))).collect();
                theirs.push(format!("{about} {function} 0x{code}"));
            }
            _ => {}
        }
    }
    Facts { ours, theirs }
}

/// A number as tshark writes it.
fn number(text: &str) -> u64 {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).unwrap_or_default(),
        None => text.parse().unwrap_or_default(),
    }
}

/// How many frames of each station carry an identifier; fragments are counted together.
fn frames(capture: &Capture, reference: &Reference) -> Facts {
    let mut ours = Vec::new();
    for row in capture.messages("profinet").filter(|row| row.text("client").contains(':')) {
        let counted = row.text("target").starts_with("0x") && row.number("count").unwrap_or(0.0) > 0.0;
        if counted && row.text("function") != "data_status" {
            let fact = format!("{} {}", row.text("client"), row.text("target"));
            ours.extend(vec![fact; row.number("count").unwrap_or(0.0) as usize]);
        }
        if let Some(xid) = row.detail()["xid"].as_u64() {
            let (client, server) = (row.text("client"), row.text("server"));
            match row.text("exchange") {
                "pair" => ours.extend([format!("{client} dcp {xid}"), format!("{server} dcp {xid}")]),
                "reply" => ours.push(format!("{server} dcp {xid}")),
                _ => ours.push(format!("{client} dcp {xid}")),
            }
        }
    }
    let mut theirs = Vec::new();
    for line in reference.text().lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let [source, frame, _, xid] = columns[..] else { continue };
        let frame = number(frame);
        match frame {
            0xfefc..=0xfeff => theirs.push(format!("{source} dcp {}", number(xid))),
            0xfc01 | 0xfe01 => {}
            0xff80..=0xff8f => theirs.push(format!("{source} 0xff80")),
            _ => theirs.push(format!("{source} 0x{frame:04x}")),
        }
    }
    Facts { ours, theirs }
}
