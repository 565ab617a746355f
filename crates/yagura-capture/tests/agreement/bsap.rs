//! BSAP beside ICSNPP (over IP: which request by which sequence, for which signals, how many values
//! came back) and beside the bytes of the serial frames, for which there is no log.

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "bsap",
    folders: &["bsap"],
    tshark: &[],
    decisions: include_str!("bsap.yaml"),
    tools: &[
        Tool { name: "icsnpp-header", from: From::File("icsnpp/bsap_ip_header.log"), compare: headers },
        Tool { name: "icsnpp", from: From::File("icsnpp/bsap_ip_rdb.log"), compare: rdb },
        Tool { name: "payload", from: From::Tshark(PAYLOAD), compare: serial },
    ],
};

const PAYLOAD: &[&str] = &["-Y", "udp.port==1235", "-T", "fields", "-e", "udp.payload"];

/// Polls; the other lines count datagrams, which may have several messages.
fn headers(capture: &Capture, reference: &Reference) -> Facts {
    let polls = capture.messages("bsap").filter(|r| r.text("function") == "poll");
    Facts {
        ours: polls.map(|r| format!("poll from {}", r.client())).collect(),
        theirs: reference
            .zeek()
            .iter()
            .filter(|r| r.get("type_name") == "POLL")
            .map(|r| format!("poll from {}:{}", r.get("source_h"), r.get("source_p")))
            .collect(),
    }
}

fn rdb(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for row in capture.messages("bsap").filter(|r| r.text("function") != "poll") {
        let detail = row.detail();
        let sequence = &detail["sequence"];
        let names = if row.text("function").ends_with("by_name") { row.text("target") } else { "" };
        if row.text("exchange") != "reply" {
            facts.ours.push(format!("{sequence} {} {} {names}", row.text("function"), detail["count"]));
        }
        if row.text("exchange") != "request" {
            facts.ours.push(format!("{sequence} response {}", detail["elements"].as_u64().unwrap_or(0)));
        }
    }
    for record in reference.zeek() {
        let (function, count) = (record.get("func_code"), record.get("variable_count"));
        let sequence = record.get("mes_seq");
        facts.theirs.push(if record.get("is_orig") == "T" {
            let names = if function.ends_with("BY_NAME") { record.get("variables") } else { "" };
            format!("{sequence} {} {count} {names}", function.to_lowercase())
        } else {
            format!("{sequence} response {count}")
        });
    }
    facts
}

fn serial(capture: &Capture, reference: &Reference) -> Facts {
    let text = reference.text();
    let theirs = text.lines().map(|line| {
        let digit = |at: usize| u8::from_str_radix(line.get(2 * at..2 * at + 2)?, 16).ok();
        let bytes: Vec<u8> = (0..line.len() / 2).filter_map(digit).collect();
        let mut plain = Vec::new();
        let mut rest = &bytes[2..];
        while let [first, after @ ..] = rest {
            plain.push(*first);
            rest = if after.first() == Some(&0x10) && *first == 0x10 { &after[1..] } else { after };
        }
        let what = if plain[5] == 0xa0 { "response" } else { "request" };
        format!("{} {what}", u16::from_le_bytes([plain[3], plain[4]]))
    });
    let theirs: Vec<_> = theirs.collect();
    let mut ours = Vec::new();
    for row in capture.messages("bsap").filter(|_| !theirs.is_empty()) {
        let sequence = row.detail()["sequence"].clone();
        if row.text("exchange") != "reply" {
            ours.push(format!("{sequence} request"));
        }
        if row.text("exchange") != "request" {
            ours.push(format!("{sequence} response"));
        }
    }
    Facts { ours, theirs }
}
