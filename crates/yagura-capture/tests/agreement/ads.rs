//! ADS beside tshark: every request with its place, every response with its result.

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "ads",
    folders: &["beckhoff_ads"],
    tshark: &["ams"],
    decisions: include_str!("ads.yaml"),
    tools: &[Tool { name: "tshark", from: From::Tshark(TSHARK), compare: tshark }],
};

#[rustfmt::skip]
const TSHARK: &[&str] = &[
    "-Y", "ams", "-T", "fields", "-E", "occurrence=a", "-E", "aggregator=;",
    "-e", "ams.cmdid", "-e", "ams.stateflags", "-e", "ams.invokeid",
    "-e", "ams.targetnetid", "-e", "ams.targetport", "-e", "ams.sendernetid", "-e", "ams.senderport",
    "-e", "ams.ads_indexgroup", "-e", "ams.ads_indexoffset", "-e", "ams.adsresult", "-e", "ams.errorcode",
    "-e", "ams.ads_state", "-e", "ams.ads_devicestate",
];

fn tshark(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    // The router's datagrams are none that tshark reads.
    for row in capture.messages("ads").filter(|row| row.detail()["service"].is_null()) {
        let detail = row.detail();
        let number = |name: &str| detail[name].as_u64();
        let text = |name: &str| number(name).map_or(String::new(), |n| n.to_string());
        let asker = detail["asker"].as_str().unwrap_or_default().to_string();
        let asked = row.text("session");
        let command = number("command").unwrap_or_default();
        let head = format!("{command} {}", text("invoke_id"));
        if row.text("exchange") != "reply" {
            let place = format!("{} {}", text("index_group"), text("index_offset"));
            facts.ours.push(format!("request {head} {asker} > {asked} {place}"));
        }
        if row.text("exchange") != "request" {
            let states = match command {
                4 => format!("{} {}", text("ads_state"), text("device_state")),
                _ => String::new(),
            };
            // tshark shows no result of a read and write.
            let by_device = command == 9 && detail["result"].is_u64();
            let status = if by_device { "" } else { row.text("status_code") };
            facts.ours.push(format!("response {head} {asked} > {asker} {status} {states}"));
        }
    }
    for line in reference.text().lines() {
        let field: Vec<&str> = line.split('\t').collect();
        let number = |at: usize| field.get(at).map_or(0, |text| plain(text));
        let text = |at: usize| if field[at].is_empty() { String::new() } else { number(at).to_string() };
        let (target, source) = (format!("{}:{}", field[3], number(4)), format!("{}:{}", field[5], number(6)));
        let command = number(0);
        let head = format!("{command} {}", number(2));
        facts.theirs.push(if number(1) & 1 == 0 {
            format!("request {head} {source} > {target} {} {}", text(7), text(8))
        } else {
            let status = match (number(10), number(9)) {
                (0, 0) => "",
                (6, _) => "target_port_not_found",
                _ => "other",
            };
            let states = if command == 4 { format!("{} {}", text(11), text(12)) } else { String::new() };
            format!("response {head} {source} > {target} {status} {states}")
        });
    }
    facts
}

fn plain(text: &str) -> u64 {
    match text.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16).unwrap_or_default(),
        None => text.parse().unwrap_or_default(),
    }
}
