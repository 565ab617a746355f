//! HART-IP beside tshark: every message with its status, every HART frame with its address and
//! response code, and the variables in them.

use yagura_event::rows::OwnedRow;

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "hart_ip",
    folders: &["hart_ip"],
    tshark: &["hart_ip"],
    decisions: include_str!("hart_ip.yaml"),
    tools: &[
        Tool { name: "tshark", from: From::Tshark(TSHARK), compare: tshark },
        Tool { name: "tshark-values", from: From::Tshark(VALUES), compare: values },
    ],
};

#[rustfmt::skip]
const TSHARK: &[&str] = &[
    "-Y", "hart_ip", "-T", "fields", "-E", "occurrence=f",
    "-e", "hart_ip.message_type", "-e", "hart_ip.message_id", "-e", "hart_ip.status",
    "-e", "hart_ip.transaction_id", "-e", "hart_ip.pt.command", "-e", "hart_ip.pt.long_address",
    "-e", "hart_ip.pt.response_code", "-e", "hart_ip.pt.device_status",
];

#[rustfmt::skip]
const VALUES: &[&str] = &[
    "-Y", "hart_ip.pt.rsp.slot0_device_var_value", "-T", "fields", "-E", "occurrence=f",
    "-e", "hart_ip.pt.rsp.slot0_device_var_value", "-e", "hart_ip.pt.rsp.slot1_device_var_value",
    "-e", "hart_ip.pt.rsp.slot2_device_var_value", "-e", "hart_ip.pt.rsp.slot3_device_var_value",
    "-e", "hart_ip.pt.rsp.slot4_device_var_value", "-e", "hart_ip.pt.rsp.slot5_device_var_value",
    "-e", "hart_ip.pt.rsp.slot6_device_var_value", "-e", "hart_ip.pt.rsp.slot7_device_var_value",
];

fn tshark(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for row in capture.messages("hart_ip") {
        let detail = row.detail();
        let number = |name: &str| detail[name].as_u64().unwrap_or_default();
        let head = format!("{} {}", number("message"), number("sequence"));
        // tshark has another field for the addresses of one byte.
        let session = Some(row.text("session")).filter(|s| s.len() > 2).unwrap_or_default();
        let publishes = row.text("operation") == "report";
        if row.text("exchange") != "reply" && !publishes {
            facts.ours.push(format!("request {head} {session}"));
        }
        if row.text("exchange") != "request" || publishes {
            let kind = if publishes { "publish" } else { "response" };
            let said = match detail["response_code"].as_u64() {
                Some(code) => format!("{code} {}", number("device_status")),
                None => String::new(),
            };
            facts.ours.push(format!("{kind} {head} {} {session} {said}", number("status")));
        }
    }
    for line in reference.text().lines() {
        let field: Vec<&str> = line.split('\t').collect();
        let number = |at: usize| field.get(at).map_or(0, |text| plain(text));
        let head = format!("{} {}", number(1), number(3));
        // The two highest bits say which master asks, and whether the device is in burst mode.
        let digits = field[5].replace(':', "");
        let session = match u8::from_str_radix(digits.get(..2).unwrap_or_default(), 16) {
            Ok(first) => format!("{:02x}{}", first & 0x3f, &digits[2..]),
            Err(_) => String::new(),
        };
        let kind = number(0);
        if kind == 0 {
            facts.theirs.push(format!("request {head} {session}"));
            continue;
        }
        let said = if field[6].is_empty() { String::new() } else { format!("{} {}", number(6), number(7)) };
        let kind = if kind == 2 { "publish" } else { "response" };
        facts.theirs.push(format!("{kind} {head} {} {session} {said}", number(2)));
    }
    facts
}

/// The variables of command 9, which bursts bring.
fn values(capture: &Capture, reference: &Reference) -> Facts {
    let ours = |row: &OwnedRow| -> String {
        let values: Vec<f64> = serde_json::from_str(row.text("values")).unwrap_or_default();
        values.iter().map(|value| rounded(*value)).collect::<Vec<_>>().join(" ")
    };
    let of = |row: &&OwnedRow| row.text("function") == "read_device_variables_with_status";
    let theirs = |line: &str| -> String {
        let values = line.split('\t').filter_map(|text| text.parse().ok());
        values.map(rounded).collect::<Vec<_>>().join(" ")
    };
    Facts {
        ours: capture.messages("hart_ip").filter(of).map(ours).collect(),
        theirs: reference.text().lines().map(theirs).collect(),
    }
}

/// tshark prints as many digits as it sees fit.
fn rounded(value: f64) -> String {
    format!("{value:.4e}")
}

fn plain(text: &str) -> u64 {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).unwrap_or_default(),
        None => text.parse().unwrap_or_default(),
    }
}
