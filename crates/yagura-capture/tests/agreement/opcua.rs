//! OPC UA beside ICSNPP and tshark: which service each message is, by request id.
//!
//! A row that is a pair stands for a request and its response; a refusal as a whole is a response
//! of its own, which the row says. Secured OpenSecureChannel messages have no service that a tool
//! could read.

use yagura_event::rows::OwnedRow;

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "opcua",
    folders: &["opcua"],
    tshark: &["opcua"],
    decisions: include_str!("opcua.yaml"),
    tools: &[
        Tool { name: "icsnpp", from: From::File("icsnpp/opcua_binary.log"), compare: icsnpp },
        Tool { name: "tshark", from: From::Tshark(TSHARK), compare: tshark },
    ],
};

/// Ports 4841 and 48010 are those of captures off the customary one.
const TSHARK: &[&str] = &[
    "-d",
    "tcp.port==4841,opcua",
    "-d",
    "tcp.port==48010,opcua",
    "-Y",
    "opcua.servicenodeid.numeric",
    "-T",
    "fields",
    "-e",
    "opcua.security.rqid",
    "-e",
    "opcua.servicenodeid.numeric",
];

/// Services by the numbers of their requests' encodings, as OPC 10000-6 lists them.
const SERVICES: [(&str, u32); 39] = [
    ("find_servers", 422),
    ("get_endpoints", 428),
    ("register_server", 437),
    ("open_secure_channel", 446),
    ("close_secure_channel", 452),
    ("create_session", 461),
    ("activate_session", 467),
    ("close_session", 473),
    ("cancel", 479),
    ("add_nodes", 488),
    ("add_references", 494),
    ("delete_nodes", 500),
    ("delete_references", 506),
    ("browse", 527),
    ("browse_next", 533),
    ("translate_browse_paths_to_node_ids", 554),
    ("register_nodes", 560),
    ("unregister_nodes", 566),
    ("query_first", 615),
    ("query_next", 621),
    ("read", 631),
    ("history_read", 664),
    ("write", 673),
    ("history_update", 700),
    ("call", 712),
    ("create_monitored_items", 751),
    ("modify_monitored_items", 763),
    ("set_monitoring_mode", 769),
    ("set_triggering", 775),
    ("delete_monitored_items", 781),
    ("create_subscription", 787),
    ("modify_subscription", 793),
    ("set_publishing_mode", 799),
    ("publish", 826),
    ("republish", 832),
    ("transfer_subscriptions", 841),
    ("delete_subscriptions", 847),
    ("find_servers_on_network", 12208),
    ("register_server2", 12211),
];

/// The number that a refusal as a whole has.
const FAULT: u32 = 397;

/// The messages that rows stand for: `request id service`.
fn messages(capture: &Capture) -> Vec<String> {
    capture.messages("opcua").flat_map(row_messages).collect()
}

fn row_messages(row: &OwnedRow) -> Vec<String> {
    let detail = row.detail();
    let Some(id) = detail["request_id"].as_u64() else {
        return Vec::new();
    };
    let (exchange, function) = (row.text("exchange"), row.text("function"));
    let known = SERVICES.iter().find(|(name, _)| *name == function);
    let request = known.map_or(FAULT, |(_, number)| *number);
    let response = match (&detail["reply"], request) {
        (serde_json::Value::String(_), _) => FAULT,
        (_, 12208.. | FAULT) => request + u32::from(request != FAULT),
        _ => request + 3,
    };
    let mut out = Vec::new();
    if exchange != "reply" {
        out.push(format!("{id} {request}"));
    }
    if exchange != "request" {
        out.push(format!("{id} {response}"));
    }
    out
}

/// The log has a line for a request with its response: a service's number and name, four columns
/// before the name the request id. Before a response's name the sequence number stands there.
fn icsnpp(capture: &Capture, reference: &Reference) -> Facts {
    let mut theirs = Vec::new();
    for line in reference.text().lines().filter(|line| !line.starts_with('#')) {
        let columns: Vec<_> = line.split('\t').collect();
        let mut request = None;
        for window in columns.windows(5) {
            let [id, _, _, number, name] = window else {
                continue;
            };
            if ["Request", "Response", "Fault"].iter().any(|end| name.ends_with(end)) {
                let id = request.get_or_insert(*id);
                theirs.push(format!("{id} {number}"));
            }
        }
    }
    Facts { ours: messages(capture), theirs }
}

/// A line for a frame, with its messages' ids and services. Chunks that continue a message repeat
/// its id.
fn tshark(capture: &Capture, reference: &Reference) -> Facts {
    let mut theirs = Vec::new();
    for line in reference.text().lines() {
        let Some((ids, services)) = line.split_once('\t') else {
            continue;
        };
        let mut ids: Vec<_> = ids.split(',').collect();
        let services: Vec<_> = services.split(',').collect();
        if ids.len() != services.len() {
            ids.dedup();
        }
        theirs.extend(ids.iter().zip(&services).map(|(id, service)| format!("{id} {service}")));
    }
    Facts { ours: messages(capture), theirs }
}
