//! EtherNet/IP beside Suricata and ICSNPP.
//!
//! Both write the messages of a multiple service packet one by one, as rows are; the packet itself
//! is left out. Compared are the service, the class and instance that a request is for, and
//! whether a reply says success.

use serde_json::Value;

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "enip",
    folders: &["enip_cip"],
    tshark: &["enip", "cip", "cipio"],
    decisions: include_str!("enip.yaml"),
    tools: &[
        Tool { name: "suricata", from: From::File("suricata/eve.json.gz"), compare: suricata },
        Tool { name: "icsnpp", from: From::File("icsnpp/cip.log"), compare: icsnpp },
        Tool { name: "icsnpp-io", from: From::File("icsnpp/cip_io.log"), compare: icsnpp_io },
    ],
};

/// Suricata's names of services.
const SERVICES: &[(&str, u64)] = &[
    ("Get Attributes All", 0x01),
    ("Set Attributes All", 0x02),
    ("Get Attribute List", 0x03),
    ("Set Attribute List", 0x04),
    ("Reset", 0x05),
    ("Start", 0x06),
    ("Stop", 0x07),
    ("Create", 0x08),
    ("Delete", 0x09),
    ("Apply Attributes", 0x0d),
    ("Get Attributes Single", 0x0e),
    ("Set Attributes Single", 0x10),
    ("Execute PCCC Service", 0x4b),
    ("Read Data", 0x4c),
    ("Write Data", 0x4d),
    ("Read Write Modify Data", 0x4e),
    ("Read Data Fragmented", 0x52),
    ("Write Data Fragmented", 0x53),
    ("Forward Open", 0x54),
];

/// A row's messages: the request, the reply.
struct Messages {
    request: Option<String>,
    reply: Option<String>,
}

fn messages(capture: &Capture, envelope: bool) -> impl Iterator<Item = Messages> {
    capture.messages("enip").filter_map(move |row| {
        let detail = row.detail();
        let exchange = row.text("exchange");
        let (service, class, instance) =
            (detail["service"].as_u64()?, detail["class"].as_u64(), detail["instance"].as_u64());
        // Before a route, both tools show the connection manager's service.
        let sent_on = envelope && !detail["route"].is_null();
        let (asked, class, instance) =
            if sent_on { (0x52, Some(6), Some(1)) } else { (service, class, instance) };
        let place = |n: Option<u64>| n.map_or(String::new(), |n| n.to_string());
        let good = row.text("status_code").is_empty() || row.text("status_code").starts_with("pccc");
        let replied = detail["reply_service"].as_u64().unwrap_or(service);
        let reply = format!("reply {replied:#04x} {}", if good { "success" } else { "error" });
        Some(Messages {
            request: (exchange != "reply" && (class.is_some() || !envelope))
                .then(|| format!("request {asked:#04x} {}/{}", place(class), place(instance))),
            reply: (exchange != "request").then_some(reply),
        })
    })
}

fn both(messages: impl Iterator<Item = Messages>) -> Vec<String> {
    messages.flat_map(|m| m.request.into_iter().chain(m.reply)).collect()
}

fn suricata(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts { ours: both(messages(capture, true)), theirs: Vec::new() };
    for event in reference.eve("enip") {
        for side in ["request", "response"] {
            let cip = &event["enip"][side]["cip"];
            match cip["multiple"].as_array() {
                Some(parts) => facts.theirs.extend(parts.iter().filter_map(suricata_message)),
                None => facts.theirs.extend(suricata_message(cip)),
            }
        }
    }
    facts
}

fn suricata_message(cip: &Value) -> Option<String> {
    let name = cip["service"].as_str()?;
    let code = match name.strip_prefix("unknown-") {
        Some(code) => code.parse().ok()?,
        None => SERVICES.iter().find(|(n, _)| *n == name).map_or(0xff, |(_, code)| *code),
    };
    if let Some(status) = cip["status"].as_str() {
        return Some(format!("reply {code:#04x} {}", if status == "Success" { "success" } else { "error" }));
    }
    // Of a request to a symbol it writes no path, and often nothing.
    cip["path"].as_array()?.iter().find(|s| s["segment_type"] == "class")?;
    let segment = |kind: &str| {
        let path = cip["path"].as_array().into_iter().flatten();
        let mut found = path.filter(|s| s["segment_type"] == kind);
        found.next().map_or(String::new(), |s| s["value"].to_string())
    };
    Some(format!("request {code:#04x} {}/{}", segment("class"), segment("instance")))
}

/// The log has lost its header: columns are taken by their places.
fn icsnpp(capture: &Capture, reference: &Reference) -> Facts {
    let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).ok();
    let theirs = |line: &str| -> Option<String> {
        let columns: Vec<&str> = line.split('\t').collect();
        let code = number(columns.get(13)?)?;
        if code & 0x7f == 0x0a {
            return None;
        }
        let place =
            |at: usize| columns.get(at).and_then(|c| number(c)).map_or(String::new(), |n| n.to_string());
        Some(if columns[12] == "request" {
            format!("request {code:#04x} {}/{}", place(19), place(21))
        } else {
            let good = number(columns[15]) == Some(0);
            format!("reply {:#04x} {}", code & 0x7f, if good { "success" } else { "error" })
        })
    };
    Facts {
        ours: both(messages(capture, false)),
        theirs: reference.text().lines().filter(|l| !l.starts_with('#')).filter_map(theirs).collect(),
    }
}

/// Implicit messages, which rows count.
fn icsnpp_io(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for row in capture.messages("enip").filter(|r| r.text("function") == "implicit_message") {
        let fact = format!("{}>{} {}", row.client(), row.server(), row.text("target"));
        let count = row.number("count").unwrap_or(0.0) as usize;
        facts.ours.extend(std::iter::repeat_n(fact, count));
    }
    for line in reference.text().lines().filter(|l| !l.starts_with('#')) {
        let columns: Vec<&str> = line.split('\t').collect();
        if let [_, _, _, _, _, _, _, source, from, destination, to, connection, ..] = columns[..] {
            facts.theirs.push(format!("{source}:{from}>{destination}:{to} {connection}"));
        }
    }
    facts
}
