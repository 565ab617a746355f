//! MMS beside tshark: who, kind of PDU, invoke id and service of every PDU; names and values of what
//! is read, written and reported.

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::{Layer, Reference};

pub const PROTOCOL: Protocol = Protocol {
    name: "mms",
    folders: &["mms", "goose_sv", "mixed_plant", "mixed"],
    tshark: &["mms"],
    decisions: include_str!("mms.yaml"),
    tools: &[
        Tool { name: "tshark", from: From::Tshark(TSHARK), compare: pdus },
        Tool { name: "tshark-names", from: From::Tshark(TSHARK), compare: names },
    ],
};

/// The presentation's context is told to tshark, for captures that begin within an association.
#[rustfmt::skip]
const TSHARK: &[&str] = &[
    "-o", "uat:pres_context_list:\"3\",\"1.0.9506.2.1\"",
    "-Y", "mms && !tcp.analysis.retransmission", "-T", "ek", "-J", "mms ip tcp",
];

/// How many names of a message are compared: a row keeps no more than fit into its target.
const NAMES: usize = 8;

/// The PDUs of a row, or of tshark's layer: sender and receiver, kind, invoke id, service.
fn pdus(capture: &Capture, reference: &Reference) -> Facts {
    let mut ours = Vec::new();
    for row in capture.messages("mms") {
        let detail = row.detail();
        let (client, server) = (row.client(), row.server());
        let (there, back) = (format!("{client}>{server}"), format!("{server}>{client}"));
        let asked = row.text("exchange") != "reply";
        let answered = row.text("exchange") != "request";
        let denied = row.text("status") == "denied";
        let id = &detail["invoke_id"];
        let function = row.text("function");
        if let Some(service) = detail["service"].as_u64() {
            if asked {
                ours.push(format!("{there} request {id} {service}"));
            }
            if answered {
                ours.push(match detail["answer"].as_str() {
                    Some("reject") => format!("{back} reject {id}"),
                    Some(_) => format!("{back} error {id}"),
                    None => format!("{back} response {id} {service}"),
                });
            }
        } else if let Some(service) = detail["unconfirmed_service"].as_u64() {
            ours.push(format!("{there} unconfirmed {service}"));
        } else if matches!(function, "initiate" | "conclude" | "cancel") {
            if asked {
                ours.push(format!("{there} {function}"));
            }
            if answered {
                ours.push(format!("{back} {function}{}", if denied { " error" } else { "" }));
            }
        } else if function == "response" {
            ours.push(format!("{back} response {id} "));
        } else if function == "request" {
            ours.push(format!("{there} request {id} "));
        } else if matches!(function, "reject" | "confirmed_error") {
            let kind = if function == "reject" { "reject" } else { "error" };
            ours.push(format!("{back} {kind} {id}"));
        }
    }
    Facts { ours, theirs: reference.ek("mms").iter().map(pdu).collect() }
}

fn field(layer: &Layer, name: &str) -> String {
    layer.first(&format!("mms_mms_{name}"))
}

fn pdu(layer: &Layer) -> String {
    let (ip, tcp) = (layer.beside("ip"), layer.beside("tcp"));
    let end = |which: &str| {
        format!("{}:{}", ip.first(&format!("ip_ip_{which}")), tcp.first(&format!("tcp_tcp_{which}port")))
    };
    let (way, id) = (format!("{}>{}", end("src"), end("dst")), field(layer, "invokeID"));
    let has = |name: &str| {
        !layer.fields[format!("mms_mms_{name}")].is_null()
            || layer.fields.get(format!("mms_mms_{name}")).is_some()
    };
    if has("confirmed_RequestPDU_element") {
        format!("{way} request {id} {}", field(layer, "confirmedServiceRequest"))
    } else if has("confirmed_ResponsePDU_element") {
        format!("{way} response {id} {}", field(layer, "confirmedServiceResponse"))
    } else if has("confirmed_ErrorPDU_element") {
        format!("{way} error {id}")
    } else if has("unconfirmed_PDU_element") {
        format!("{way} unconfirmed {}", field(layer, "unconfirmedService"))
    } else if has("rejectPDU_element") {
        format!("{way} reject {}", field(layer, "originalInvokeID"))
    } else if has("initiate_ErrorPDU_element") {
        format!("{way} initiate error")
    } else if has("initiate_RequestPDU_element") || has("initiate_ResponsePDU_element") {
        format!("{way} initiate")
    } else if has("conclude_RequestPDU_element") || has("conclude_ResponsePDU_element") {
        format!("{way} conclude")
    } else {
        format!("{way} other {}", layer.fields)
    }
}

/// What requests name: the items of variables read and written, the domains whose names are asked for.
fn names(capture: &Capture, reference: &Reference) -> Facts {
    let mut facts = Facts::default();
    for row in capture.messages("mms") {
        let detail = row.detail();
        let target = row.text("target");
        match (row.text("exchange"), detail["service"].as_u64()) {
            ("reply", _) => {}
            (_, Some(service @ (4 | 5))) => {
                for name in target.split(", ").take(NAMES) {
                    let item = name.split_once('/').map_or(name, |(_, item)| item);
                    facts.ours.push(format!("{service} {item}"));
                }
            }
            (_, Some(service @ 1)) if detail["scope"] == "domain" => {
                facts.ours.push(format!("{service} {target}"));
            }
            _ => {}
        }
    }
    for layer in reference.ek("mms") {
        let service = field(&layer, "confirmedServiceRequest");
        match service.as_str() {
            "4" | "5" => {
                let items = layer.all("mms_mms_itemId").into_iter().chain(layer.all("mms_mms_vmd_specific"));
                facts.theirs.extend(items.take(NAMES).map(|item| format!("{service} {item}")));
            }
            "1" => {
                let domain = field(&layer, "domainSpecific");
                if !domain.is_empty() {
                    facts.theirs.push(format!("1 {domain}"));
                }
            }
            _ => {}
        }
    }
    facts
}
