//! GOOSE beside tshark: every state with its numbers and how many values it has, and how often each
//! publisher repeats.

use std::collections::HashMap;

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "goose",
    folders: &["goose_sv", "mms", "mixed"],
    tshark: &["goose"],
    decisions: include_str!("goose.yaml"),
    tools: &[Tool { name: "tshark", from: From::Tshark(TSHARK), compare: tshark }],
};

#[rustfmt::skip]
const TSHARK: &[&str] = &[
    "-Y", "goose", "-T", "fields", "-e", "eth.src", "-e", "eth.dst", "-e", "goose.appid",
    "-e", "goose.gocbRef", "-e", "goose.stNum", "-e", "goose.sqNum", "-e", "goose.confRev",
    "-e", "goose.numDatSetEntries", "-e", "goose.datSet", "-e", "goose.goID", "-e", "goose.simulation",
    "-e", "goose.ndsCom",
];

fn tshark(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for row in capture.messages("goose") {
        let detail = row.detail();
        let way = format!(
            "{}>{} {} {}",
            row.text("client"),
            row.text("server"),
            row.text("session"),
            row.text("target")
        );
        let text = |name: &str| detail[name].as_str().unwrap_or_default().to_string();
        match row.text("function") {
            "goose_repetition" => {
                let times = detail["repeated"].as_u64().unwrap_or(0) as usize;
                facts.ours.extend(std::iter::repeat_n(format!("{way} repeated"), times));
            }
            "goose_state" => {
                facts.ours.push(format!(
                    "{way} {}/{} {} {} {} {}",
                    detail["state_number"],
                    detail["sequence_number"],
                    detail["configuration_revision"],
                    row.number("count").unwrap_or(0.0),
                    text("data_set"),
                    text("go_id"),
                ));
            }
            _ => facts.ours.push(format!("{way} {}", row.text("function"))),
        }
    }
    let mut last = HashMap::new();
    for line in reference.text().lines() {
        let fields: Vec<&str> = line.split('\t').collect();
        let way = format!("{}>{} {} {}", fields[0], fields[1], fields[2], fields[3]);
        let state = [fields[4], fields[6], fields[10], fields[11]].join(" ");
        if last.insert(way.clone(), state.clone()) == Some(state) {
            facts.theirs.push(format!("{way} repeated"));
        } else {
            facts.theirs.push(format!(
                "{way} {}/{} {} {} {} {}",
                fields[4], fields[5], fields[6], fields[7], fields[8], fields[9]
            ));
        }
    }
    facts
}
