//! DNP3 beside Suricata.
//!
//! Suricata writes one event a fragment. Compared are link addresses, function, sequence, the
//! objects that a request names, internal indications, and the values of what is read or written.
//! A response of several fragments is one row here: Suricata's are put together before.

use std::fmt::Write;

use serde_json::Value;
use yagura_event::rows::OwnedRow;

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "dnp3",
    folders: &["dnp3"],
    tshark: &["dnp3"],
    decisions: include_str!("dnp3.yaml"),
    tools: &[Tool { name: "suricata", from: From::File("suricata/eve.json.gz"), compare: suricata }],
};

/// Values of more than that many bytes are cut in rows.
const VALUES_MAX: usize = 4000;
/// Targets of more than that many bytes are cut in rows.
const TARGET_MAX: usize = 240;

fn suricata(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for row in capture.messages("dnp3") {
        // Suricata leaves the link layer's own services and confirmations out.
        let link = [
            "reset_link_states",
            "request_link_status",
            "test_link_states",
            "link_status",
            "unreadable",
            "confirm",
        ];
        if !link.contains(&row.text("function")) {
            ours(row, &mut facts.ours);
        }
    }
    let mut open: Vec<(u64, u64, usize)> = Vec::new();
    let mut events: Vec<Value> = Vec::new();
    for mut event in reference.eve("dnp3") {
        let mut event = event["dnp3"].take();
        if event["application"]["function_code"] == 0 {
            continue;
        }
        let key = (number(&event["src"]), number(&event["dst"]));
        let control = event["application"]["control"].clone();
        let before = open.iter().position(|(src, dst, _)| (*src, *dst) == key);
        let response = event["application"]["function_code"] == 129;
        match before {
            Some(at) if response && control["fir"] == false => {
                let (_, _, first) = open[at];
                let more = event["application"]["objects"].take();
                let objects = &mut events[first]["application"]["objects"];
                match (objects.as_array_mut(), more) {
                    (Some(objects), Value::Array(more)) => objects.extend(more),
                    (None, more) => *objects = more,
                    _ => {}
                }
                if control["fin"] == true {
                    open.remove(at);
                }
            }
            _ => {
                open.retain(|(src, dst, _)| (*src, *dst) != key);
                if response && control["fin"] == false {
                    open.push((key.0, key.1, events.len()));
                }
                events.push(event);
            }
        }
    }
    facts.theirs = events.iter().map(theirs).collect();
    facts
}

/// The one or two messages of a row.
fn ours(row: &OwnedRow, out: &mut Vec<String>) {
    let detail = row.detail();
    let (source, destination) = (number(&detail["source"]), number(&detail["destination"]));
    let (function, sequence) = (number(&detail["function"]), number(&detail["sequence"]));
    let values = normal(row.text("values"));
    let indications = indications(&detail["iin"]);
    let said = |source, destination, function, values: &str| {
        format!("{source}>{destination} {function} #{sequence} {indications} {values}")
    };
    let carries = matches!(function, 2..=6);
    if function < 129 {
        let (target, shown) = (row.text("target"), if carries { &values[..] } else { "" });
        let target = if target.len() > TARGET_MAX { "cut" } else { target };
        // Files are named by their names.
        let target = if target.starts_with('g') { target } else { "" };
        out.push(format!("{source}>{destination} {function} #{sequence} {target} {shown}"));
        // A response whose last fragment is not in the capture is there all the same.
        if row.text("exchange") == "pair" || detail["fragmented"] == true {
            let answer = detail["response_function"].as_u64().unwrap_or(129);
            out.push(said(destination, source, answer, if carries { "" } else { &values }));
        }
    } else {
        out.push(said(source, destination, function, &values));
    }
}

fn theirs(event: &Value) -> String {
    let application = &event["application"];
    let (source, destination) = (number(&event["src"]), number(&event["dst"]));
    let function = number(&application["function_code"]);
    let sequence = number(&application["control"]["sequence"]);
    let none = Vec::new();
    let objects = application["objects"].as_array().unwrap_or(&none);
    let mut values = String::new();
    let mut target = String::new();
    let mut echo = false;
    for object in objects {
        name(&mut target, object);
        let group = number(&object["group"]);
        echo |= matches!(group, 12 | 41) && function == 129;
        for point in object["points"].as_array().into_iter().flatten() {
            if let Some(value) = value(group, number(&object["variation"]), point) {
                values.push(if values.is_empty() { '[' } else { ',' });
                values.push_str(&value);
            }
        }
    }
    if !values.is_empty() {
        values.push(']');
    }
    let values = normal(&values);
    if function < 129 {
        let values = if matches!(function, 2..=6) { &values[..] } else { "" };
        let target = if target.len() > TARGET_MAX { "cut" } else { &target };
        return format!("{source}>{destination} {function} #{sequence} {target} {values}");
    }
    let values = if echo { "" } else { &values };
    let indications = indications(&event["iin"]["indicators"]);
    format!("{source}>{destination} {function} #{sequence} {indications} {values}")
}

fn name(target: &mut String, object: &Value) {
    if object["group"] == 70 {
        return;
    }
    if !target.is_empty() {
        target.push_str(", ");
    }
    let _ = write!(target, "g{}v{}", object["group"], object["variation"]);
    let (start, stop) = (number(&object["start"]), number(&object["stop"]));
    if number(&object["range_code"]) <= 5 {
        let _ = write!(target, " {start}");
        if stop > start {
            let _ = write!(target, "..{stop}");
        }
    }
    if matches!(number(&object["prefix_code"]), 1..=3) {
        for (at, point) in object["points"].as_array().into_iter().flatten().enumerate() {
            let _ = write!(target, "{}{}", if at == 0 { ' ' } else { '+' }, point["index"]);
        }
    }
}

/// A point's value as rows have it.
fn value(group: u64, variation: u64, point: &Value) -> Option<String> {
    match group {
        12 => {
            let (kind, queue, clear, code) = (
                number(&point["op_type"]),
                number(&point["qu"]),
                number(&point["cr"]),
                number(&point["tcc"]),
            );
            let byte = kind | queue << 4 | clear << 5 | code << 6;
            let name = ["nul", "pulse_on", "pulse_off", "latch_on", "latch_off"];
            let mut out = format!("{{\"op\":\"{}\"", name.get(kind as usize).unwrap_or(&"undefined"));
            if let Some(code) = ["", "close", "trip", "reserved"].get(code as usize).filter(|c| !c.is_empty())
            {
                let _ = write!(out, ",\"tcc\":\"{code}\"");
            }
            let _ = write!(
                out,
                ",\"code\":{byte},\"count\":{},\"on_ms\":{},\"off_ms\":{}}}",
                point["count"], point["ontime"], point["offtime"]
            );
            Some(out)
        }
        // Attributes, files, octet strings and security: not both have them.
        0 | 70 | 110..=113 | 120 => None,
        50 | 51 => Some(point["timestamp"].to_string()),
        52 if variation == 1 => Some(point["delay_secs"].to_string()),
        52 => Some(point["delay_ms"].to_string()),
        // The whole byte of the flags.
        2 | 11 if variation == 1 => Some((number(&point["state"]) >> 7).to_string()),
        80 | 1 | 10 if variation == 1 => Some(number(&point["state"]).to_string()),
        _ => ["state", "value", "count"].iter().find_map(|n| point[*n].as_f64()).map(|v| v.to_string()),
    }
}

/// Values without texts, with numbers as single precision tells them apart.
fn normal(values: &str) -> String {
    if values.len() > VALUES_MAX {
        return "cut".into();
    }
    let list: Vec<Value> = serde_json::from_str(values).unwrap_or_default();
    let one = |value: &Value| match value {
        Value::String(_) => None,
        Value::Number(n) => {
            n.as_f64().map(|v| if v.fract() == 0.0 { v.to_string() } else { (v as f32).to_string() })
        }
        other => Some(other.to_string()),
    };
    list.iter().filter_map(one).collect::<Vec<_>>().join(",")
}

/// The names of internal indications, sorted; Suricata calls the first one otherwise.
fn indications(list: &Value) -> String {
    let names = list.as_array().into_iter().flatten().filter_map(Value::as_str);
    let mut names: Vec<&str> = names.map(|n| if n == "all_stations" { "broadcast" } else { n }).collect();
    names.sort_unstable();
    names.join(",")
}

fn number(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}
