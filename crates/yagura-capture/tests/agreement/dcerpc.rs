//! DCE-RPC beside tshark and Zeek: every PDU with its call and operation, over TCP, UDP and in
//! SMB's pipes; the interfaces that are bound; users.

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "dcerpc",
    folders: &["smb_dcerpc_ntlm", "kerberos"],
    tshark: &["dcerpc"],
    decisions: include_str!("dcerpc.yaml"),
    tools: &[
        Tool { name: "tshark", from: From::Tshark(TSHARK), compare: tshark },
        Tool { name: "zeek", from: From::File("zeek/dce_rpc.log"), compare: zeek },
    ],
};

/// One line a frame; the members of a list are those of the frame's PDUs in turn.
#[rustfmt::skip]
const TSHARK: &[&str] = &[
    "-Y", "dcerpc", "-d", "tcp.port==4445,nbss", "-T", "fields",
    "-e", "ip.src", "-e", "tcp.srcport", "-e", "udp.srcport",
    "-e", "dcerpc.pkt_type", "-e", "dcerpc.cn_call_id", "-e", "dcerpc.dg_seqnum", "-e", "dcerpc.opnum",
    "-e", "dcerpc.cn_flags.first_frag", "-e", "dcerpc.cn_flags.last_frag",
    "-e", "dcerpc.cn_bind_to_uuid", "-e", "ntlmssp.auth.username",
];

/// Most interfaces of a bind that a row shows.
const SHOWN_MAX: usize = 8;

fn tshark(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for row in capture.messages("dcerpc") {
        let detail = row.detail();
        let Some(call) = detail["call"].as_u64() else { continue };
        let (client, server) = (row.client(), row.server());
        let (exchange, function) = (row.text("exchange"), row.text("function"));
        let (asks, answers) = match function {
            "bind" => (11, if detail["accepted"].is_number() { 12 } else { 13 }),
            "alter_context" => (14, 15),
            "auth3" => (16, 0),
            "shutdown" => (17, 0),
            "co_cancel" => (18, 0),
            "orphaned" => (19, 0),
            _ => (0, if detail["fault"] == true { 3 } else { 2 }),
        };
        if exchange != "reply" {
            let operation = detail["opnum"].as_u64().map_or(String::new(), |number| number.to_string());
            facts.ours.push(format!("{client} {asks} {call} {operation}"));
            for interface in detail["interfaces"].as_array().into_iter().flatten() {
                facts
                    .ours
                    .push(format!("{client} {call} binds {}", interface["uuid"].as_str().unwrap_or("")));
            }
            if detail["ntlm"] == "authenticate" {
                facts.ours.push(format!("{client} user {}", detail["user"].as_str().unwrap_or("")));
            }
        }
        if exchange != "request" {
            facts.ours.push(format!("{server} {answers} {call} "));
        }
    }
    for line in reference.text().lines() {
        frame(line, &mut facts.theirs);
    }
    facts
}

fn frame(line: &str, out: &mut Vec<String>) {
    let columns: Vec<&str> = line.split('\t').collect();
    let column = |at: usize| columns.get(at).copied().unwrap_or_default();
    let list = |at: usize| column(at).split(',').filter(|one| !one.is_empty()).collect::<Vec<_>>();
    let source = format!("{}:{}{}", column(0), column(1), column(2));
    let kinds = list(3);
    let calls = if column(4).is_empty() { list(5) } else { list(4) };
    let (firsts, lasts) = (list(7), list(8));
    let operations = list(6);
    let requests = kinds.iter().filter(|kind| **kind == "0").count();
    let of_responses = operations.len() > requests;
    let mut operations = operations.into_iter();
    for (at, (kind, call)) in kinds.iter().zip(&calls).enumerate() {
        let mut operation = "";
        match *kind {
            "0" => operation = operations.next().unwrap_or(""),
            "2" | "3" if of_responses => {
                operations.next();
            }
            _ => {}
        }
        // A call of several fragments is one: its first request, its last response.
        let begins = firsts.get(at).is_none_or(|first| *first == "1");
        let ends = lasts.get(at).is_none_or(|last| *last == "1");
        match *kind {
            "0" if !begins => {}
            "2" if !ends => {}
            _ => out.push(format!("{source} {kind} {call} {operation}")),
        }
    }
    let call = calls.first().copied().unwrap_or("");
    for uuid in list(9).into_iter().take(SHOWN_MAX) {
        out.push(format!("{source} {call} binds {uuid}"));
    }
    if !column(10).is_empty() && kinds.iter().any(|kind| ["11", "14", "16"].contains(kind)) {
        out.push(format!("{source} user {}", column(10).replace("NULL", "")));
    }
}

fn zeek(capture: &Capture, reference: &Reference) -> Facts {
    let rows = capture.messages("dcerpc").filter(|row| row.detail()["opnum"].is_number());
    let ours = rows.map(|row| {
        let interface = row.text("target").split(':').next().unwrap_or("").to_string();
        format!("{} {interface} {}", row.client(), row.text("function"))
    });
    let theirs = reference
        .zeek()
        .into_iter()
        .map(|record| format!("{} {} {}", record.client(), record.get("endpoint"), record.get("operation")));
    Facts { ours: ours.collect(), theirs: theirs.collect() }
}
