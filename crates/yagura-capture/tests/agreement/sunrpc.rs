//! ONC RPC beside tshark: the numbers of calls and replies, programs and procedures.

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "sunrpc",
    folders: &["bacnet"],
    tshark: &["rpc", "nfs", "portmap", "mount"],
    decisions: include_str!("sunrpc.yaml"),
    tools: &[Tool { name: "tshark", from: From::Tshark(ARGUMENTS), compare }],
};

#[rustfmt::skip]
const ARGUMENTS: &[&str] = &[
    "-Y", "rpc", "-T", "fields", "-E", "separator=/t", "-E", "occurrence=a", "-E", "aggregator=,",
    "-e", "ip.src", "-e", "rpc.xid", "-e", "rpc.msgtyp", "-e", "rpc.program",
];

fn compare(capture: &Capture, reference: &Reference) -> Facts {
    let mut ours = Vec::new();
    for row in capture.messages("sunrpc") {
        let detail = row.detail();
        let xid = &detail["xid"];
        if let Some(program) = detail["program"].as_u64() {
            ours.push(format!("{} calls {xid} {program}", row.text("client")));
        }
        if row.text("exchange") != "request" {
            ours.push(format!("{} replies {xid}", row.text("server")));
        }
    }
    let mut theirs = Vec::new();
    for line in reference.text().lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let [source, xids, kinds, programs] = columns[..] else { continue };
        let number = |text: &str| match text.strip_prefix("0x") {
            Some(digits) => u64::from_str_radix(digits, 16).unwrap_or_default(),
            None => text.parse().unwrap_or_default(),
        };
        // BACnet on ports of a call is taken for a call without a number.
        for ((xid, kind), program) in xids.split(',').zip(kinds.split(',')).zip(programs.split(',')) {
            if xid.is_empty() {
                continue;
            }
            let xid = number(xid);
            theirs.push(match number(kind) {
                0 => format!("{source} calls {xid} {}", number(program)),
                _ => format!("{source} replies {xid}"),
            });
        }
    }
    Facts { ours, theirs }
}
