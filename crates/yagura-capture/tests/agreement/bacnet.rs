//! BACnet beside ICSNPP and tshark: every request and every answer with its ends, service, invoke
//! id and error.

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "bacnet",
    folders: &["bacnet"],
    tshark: &["bacnet", "bvlc"],
    decisions: include_str!("bacnet.yaml"),
    tools: &[
        Tool { name: "icsnpp", from: From::File("icsnpp/bacnet.log"), compare: icsnpp },
        Tool { name: "tshark", from: From::Tshark(FIELDS), compare: tshark },
    ],
};

const FIELDS: &[&str] = &[
    "-Y",
    "bacapp && !icmp",
    "-T",
    "fields",
    "-E",
    "occurrence=f",
    "-e",
    "ip.src",
    "-e",
    "udp.srcport",
    "-e",
    "ip.dst",
    "-e",
    "udp.dstport",
    "-e",
    "eth.src",
    "-e",
    "eth.dst",
    "-e",
    "bacapp.type",
    "-e",
    "bacapp.invoke_id",
    "-e",
    "bacapp.confirmed_service",
    "-e",
    "bacapp.unconfirmed_service",
];

/// Confirmed services by their number.
const CONFIRMED: [&str; 33] = [
    "acknowledge_alarm",
    "confirmed_cov_notification",
    "confirmed_event_notification",
    "get_alarm_summary",
    "get_enrollment_summary",
    "subscribe_cov",
    "atomic_read_file",
    "atomic_write_file",
    "add_list_element",
    "remove_list_element",
    "create_object",
    "delete_object",
    "read_property",
    "read_property_conditional",
    "read_property_multiple",
    "write_property",
    "write_property_multiple",
    "device_communication_control",
    "confirmed_private_transfer",
    "confirmed_text_message",
    "reinitialize_device",
    "vt_open",
    "vt_close",
    "vt_data",
    "authenticate",
    "request_key",
    "read_range",
    "life_safety_operation",
    "subscribe_cov_property",
    "get_event_information",
    "subscribe_cov_property_multiple",
    "confirmed_cov_notification_multiple",
    "confirmed_audit_notification",
];

/// Unconfirmed services by their number.
const UNCONFIRMED: [&str; 15] = [
    "i_am",
    "i_have",
    "unconfirmed_cov_notification",
    "unconfirmed_event_notification",
    "unconfirmed_private_transfer",
    "unconfirmed_text_message",
    "time_synchronization",
    "who_has",
    "who_is",
    "utc_time_synchronization",
    "write_group",
    "unconfirmed_cov_notification_multiple",
    "unconfirmed_audit_notification",
    "who_am_i",
    "you_are",
];

/// Our messages as facts: network layer messages only where `routing`, errors named where `errors`.
fn ours(capture: &Capture, link: bool, routing: bool, errors: bool) -> Vec<String> {
    let mut facts = Vec::new();
    for row in capture.messages("bacnet") {
        let (function, detail) = (row.text("function"), row.detail());
        let (client, server) = (row.client(), row.server());
        if !link && client.ends_with(":0") {
            continue;
        }
        if UNCONFIRMED.contains(&function) || (routing && function.contains("_to_network")) {
            facts.push(format!("{client}>{server} {function}"));
            continue;
        }
        let known = CONFIRMED.contains(&function);
        if !known && function != "unknown_service" {
            continue;
        }
        let invoke = &detail["invoke_id"];
        let exchange = row.text("exchange");
        if exchange != "reply" {
            let segments = detail["request_segments"].as_u64().unwrap_or(1);
            facts.extend((0..segments).map(|_| format!("{client}>{server} request {function}/{invoke}")));
        }
        if exchange == "request" {
            continue;
        }
        let ends = if detail["aborted_by"] == "client" {
            format!("{client}>{server}")
        } else {
            format!("{server}>{client}")
        };
        let segments = detail["segments"].as_u64().unwrap_or(1);
        facts.extend((0..segments).map(|_| match detail["pdu"].as_str() {
            Some(pdu) => format!("{ends} {pdu} {invoke}"),
            None if row.text("status") != "denied" => format!("{ends} ack {function}/{invoke}"),
            None if errors => format!("{ends} error {function}/{invoke} {}", row.text("status_code")),
            None => format!("{ends} error {function}/{invoke}"),
        }));
    }
    facts
}

fn icsnpp(capture: &Capture, reference: &Reference) -> Facts {
    let fact = |r: &super::reference::Record| {
        let ends = format!(
            "{}:{}>{}:{}",
            r.get("source_h"),
            r.get("source_p"),
            r.get("destination_h"),
            r.get("destination_p")
        );
        let (service, invoke) = (r.get("pdu_service"), r.get("invoke_id"));
        match r.get("pdu_type") {
            "SEGMENT_ACK" => None,
            "CONFIRMED_REQUEST" => Some(format!("{ends} request {service}/{invoke}")),
            "SIMPLE_ACK" | "COMPLEX_ACK" => Some(format!("{ends} ack {service}/{invoke}")),
            "REJECT_PDU" | "ABORT_PDU" => Some(format!("{ends} {service} {invoke}")),
            "ERROR_PDU" => Some(format!("{ends} error {service}/{invoke} {}", r.get("result_code"))),
            _ => Some(format!("{ends} {service}")),
        }
    };
    Facts {
        ours: ours(capture, false, true, true),
        theirs: reference.zeek().iter().filter_map(fact).collect(),
    }
}

fn tshark(capture: &Capture, reference: &Reference) -> Facts {
    let text = reference.text();
    let fact = |line: &str| {
        let mut columns = line.split('\t');
        let mut next = || columns.next().unwrap_or_default();
        let (source, from, target, to) = (next(), next(), next(), next());
        let macs = (next(), next());
        let ends = if source.is_empty() {
            format!("{}:0>{}:0", macs.0, macs.1)
        } else {
            format!("{source}:{from}>{target}:{to}")
        };
        let (kind, invoke, confirmed, unconfirmed) = (next(), next(), next(), next());
        let name = |names: &[&'static str], number: &str| {
            number.parse().ok().and_then(|n: usize| names.get(n).copied()).unwrap_or_default()
        };
        let service = name(&CONFIRMED, confirmed);
        match kind {
            "0" => Some(format!("{ends} request {service}/{invoke}")),
            "1" => Some(format!("{ends} {}", name(&UNCONFIRMED, unconfirmed))),
            "2" | "3" => Some(format!("{ends} ack {service}/{invoke}")),
            "5" => Some(format!("{ends} error {service}/{invoke}")),
            "6" => Some(format!("{ends} reject {invoke}")),
            "7" => Some(format!("{ends} abort {invoke}")),
            _ => None,
        }
    };
    Facts { ours: ours(capture, true, false, false), theirs: text.lines().filter_map(fact).collect() }
}
