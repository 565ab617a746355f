//! FINS beside tshark: every request with its addresses, every response with its end code.

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "fins",
    folders: &["omron_fins"],
    tshark: &["omron"],
    decisions: include_str!("fins.yaml"),
    tools: &[Tool { name: "tshark", from: From::Tshark(TSHARK), compare: tshark }],
};

#[rustfmt::skip]
const TSHARK: &[&str] = &[
    "-Y", "omron.command", "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=;",
    "-e", "omron.command", "-e", "omron.icf", "-e", "omron.sid", "-e", "omron.response.code",
    "-e", "omron.memory.area.read", "-e", "omron.memory.address", "-e", "omron.memory.numitems",
    "-e", "omron.file_data.filename", "-e", "omron.dna", "-e", "omron.da1", "-e", "omron.da2",
];

fn tshark(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for row in capture.messages("fins") {
        let detail = row.detail();
        let number = |name: &str| detail[name].as_u64().unwrap_or_default();
        let (command, service) = (number("command"), number("service"));
        if row.text("function") == "node_address_data_send" {
            continue;
        }
        if row.text("exchange") != "reply" {
            let memory = match command {
                0x0101..=0x0103 => {
                    let words = words(row.text("target"));
                    format!("0x{:02x} {} {}", number("area"), words.0, words.1)
                }
                _ => String::new(),
            };
            let files = if command >> 8 == 0x22 && command != 0x2206 && row.text("target").contains('.') {
                row.text("target").to_string()
            } else {
                String::new()
            };
            let session = row.text("session");
            facts.ours.push(format!("request {command:04x} {service} {session} {memory} {files}"));
        }
        if row.text("exchange") != "request" {
            facts.ours.push(format!("response {command:04x} {service} 0x{:04x}", number("end_code")));
        }
    }
    for line in reference.text().lines() {
        let field: Vec<&str> = line.split('\t').collect();
        let number = |at: usize| hexadecimal(field.get(at).copied().unwrap_or_default());
        let (command, flags, service) = (number(0), number(1), number(2));
        if flags & 0x40 != 0 {
            facts.theirs.push(format!("response {command:04x} {service} {}", field[3]));
            continue;
        }
        let memory = match command {
            0x0101..=0x0103 => {
                let (address, count) = (number(5), number(6));
                let area = number(4);
                format!("0x{area:02x} {} {count}", shown(area, address))
            }
            _ => String::new(),
        };
        let session = format!("{}.{}.{}", number(8), number(9), number(10));
        let files = field[7].replace(';', ",");
        facts.theirs.push(format!("request {command:04x} {service} {session} {memory} {files}"));
    }
    facts
}

/// The first word of a target and the number of its elements: `D100..D101` is 100 and 2.
fn words(target: &str) -> (u64, u64) {
    let (first, last) = target.split_once("..").unwrap_or((target, target));
    let place = |text: &str| -> (u64, u64) {
        let text = text.trim_end_matches(" flag");
        let (text, text_bit) = text.split_once('.').unwrap_or((text, ""));
        let text = text.rsplit(['_', ':']).next().unwrap_or_default();
        let text = text.trim_start_matches(|c: char| !c.is_ascii_digit());
        let word = text.parse().unwrap_or_default();
        (word, text_bit.parse().unwrap_or(99))
    };
    let ((first, first_bit), (last, last_bit)) = (place(first), place(last));
    let count = if first_bit == 99 { last - first } else { (last - first) * 16 + last_bit - first_bit };
    (first, count + 1)
}

/// The older series' timers and counters are numbered within their half of the area.
fn shown(area: u64, address: u64) -> u64 {
    if matches!(area, 0x01 | 0x81) && address >= 0x0800 { address & 0x07ff } else { address }
}

fn hexadecimal(text: &str) -> u64 {
    let first = text.split(';').next().unwrap_or_default();
    match first.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).unwrap_or_default(),
        None => first.parse().unwrap_or_default(),
    }
}
