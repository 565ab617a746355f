//! LonTalk over IP beside tshark: every packet by its sequence number, with ends, transaction, and
//! network variable or code.

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "lontalk",
    folders: &["lontalk"],
    tshark: &["cnip"],
    decisions: include_str!("lontalk.yaml"),
    tools: &[Tool { name: "tshark", from: From::Tshark(TSHARK), compare: tshark }],
};

const TSHARK: &[&str] = &[
    "-Y",
    "cnip",
    "-T",
    "fields",
    "-e",
    "cnip.seqno",
    "-e",
    "lon.srcnet",
    "-e",
    "lon.srcnode",
    "-e",
    "lon.dstnet",
    "-e",
    "lon.dstnode",
    "-e",
    "lon.trans_no",
    "-e",
    "lon.nv.selector",
    "-e",
    "lon.code",
    "-e",
    "lon.tpdu_type",
    "-e",
    "lon.spdu_type",
];

fn tshark(capture: &Capture, reference: &Reference) -> Facts {
    let number = |text: &str| u64::from_str_radix(text.trim_start_matches("0x"), 16).unwrap_or(0);
    let text = reference.text();
    let theirs = text.lines().map(|line| {
        let [seq, subnet, node, to_subnet, to_node, transaction, nv, code, transport, session] =
            line.split('\t').collect::<Vec<_>>()[..]
        else {
            panic!("{line}");
        };
        let (transaction, from) = (number(transaction), format!("{}/{}", number(subnet), number(node)));
        let to = format!("{}/{}", number(to_subnet), number(to_node));
        if transport == "0x02" || session == "0x02" {
            let code = if code.is_empty() { "null".to_string() } else { number(code).to_string() };
            return format!("{seq} answer {from}>{to} {transaction} {code}");
        }
        let what =
            if nv.is_empty() { format!("code {}", number(code)) } else { format!("nv {}", number(nv)) };
        format!("{seq} {from}>{to} {transaction} {what}")
    });
    let ours = capture.messages("lontalk").flat_map(|row| {
        let detail = row.detail();
        let from = row.text("session").rsplit(':').next().unwrap_or_default().to_string();
        let to = row.text("target").split(' ').next().unwrap_or_default().to_string();
        let (transaction, target) = (&detail["transaction"], row.text("target"));
        let variable = target.split_once(" nv ").map(|(_, nv)| nv).filter(|nv| nv.parse::<u16>().is_ok());
        let what = variable.map_or_else(|| format!("code {}", detail["code"]), |nv| format!("nv {nv}"));
        let request =
            detail["sequence"].as_u64().map(|seq| format!("{seq} {from}>{to} {transaction} {what}"));
        let (back, to) = if request.is_some() { (&to, &from) } else { (&from, &to) };
        let answer = detail["reply_sequence"]
            .as_u64()
            .map(|seq| format!("{seq} answer {back}>{to} {transaction} {}", detail["reply_code"]));
        [request, answer].into_iter().flatten().collect::<Vec<_>>()
    });
    Facts { ours: ours.collect(), theirs: theirs.collect() }
}
