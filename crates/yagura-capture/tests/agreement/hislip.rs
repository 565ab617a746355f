//! HiSLIP beside tshark: which messages there are.

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "hislip",
    folders: &["hislip"],
    tshark: &["hislip"],
    decisions: "",
    tools: &[Tool { name: "tshark", from: From::Tshark(TSHARK), compare: tshark }],
};

const TSHARK: &[&str] = &[
    "-Y",
    "hislip and not tcp.analysis.retransmission",
    "-T",
    "fields",
    "-e",
    "hislip.messagetype",
    "-e",
    "hislip.data",
    "-e",
    "tcp.srcport",
];

fn tshark(capture: &Capture, reference: &Reference) -> Facts {
    let ours = capture.messages("hislip").flat_map(|row| {
        let detail = row.detail();
        let kind = |name: &str| detail[name].as_u64().map(|kind| format!("type {kind}"));
        let request = kind("message_type").map(|kind| {
            let data = matches!(row.text("function"), "Data" | "DataEnd");
            if data { format!("{kind} {}", row.text("target")) } else { kind }
        });
        [request, kind("reply")].into_iter().flatten().collect::<Vec<_>>()
    });
    let ours = ours.collect();
    let text = reference.text();
    let theirs = text.lines().flat_map(|line| {
        let [kinds, data, port] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}");
        };
        let header = data.split([' ', '\\']).next().unwrap_or_default();
        kinds.split(',').map(move |kind| {
            let kind = u8::from_str_radix(kind.trim_start_matches("0x"), 16).unwrap_or(0xff);
            // What was asked, not what was answered.
            let asks = matches!(kind, 6 | 7) && port != "4880";
            if asks { format!("type {kind} {header}") } else { format!("type {kind}") }
        })
    });
    Facts { ours, theirs: theirs.collect() }
}
