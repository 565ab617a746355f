//! MQTT beside Suricata: which packets there are, their topics, clients and packet ids.

use serde_json::Value;

use super::capture::Capture;
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "mqtt",
    folders: &["mqtt"],
    tshark: &["mqtt"],
    decisions: include_str!("mqtt.yaml"),
    tools: &[Tool { name: "suricata", from: From::File("suricata/eve.json.gz"), compare: suricata }],
};

/// The steps of a QoS 2 delivery between PUBLISH and PUBCOMP are in no row.
const BETWEEN: [&str; 2] = ["pubrec", "pubrel"];

fn suricata(capture: &Capture, reference: &Reference) -> Facts {
    let theirs = reference.eve("mqtt").into_iter().flat_map(|event| {
        let packets = event["mqtt"].as_object().cloned().unwrap_or_default();
        packets
            .into_iter()
            .filter(|(kind, _)| !BETWEEN.contains(&kind.as_str()))
            .map(|(kind, body)| {
                let text = |name: &str| body[name].as_str().unwrap_or_default().to_string();
                let id = body["message_id"].as_u64().map_or(String::new(), |id| id.to_string());
                match kind.as_str() {
                    "connect" => format!("connect {} {}", text("client_id"), text("username")),
                    "publish" => format!("publish {} {id}", text("topic")),
                    _ => format!("{kind} {id}"),
                }
            })
            .collect::<Vec<_>>()
    });
    let ours = capture.messages("mqtt").filter(|row| row.text("status") != "malformed").flat_map(|row| {
        let detail: Value = serde_json::from_str(row.text("detail")).unwrap_or_default();
        let id = detail["packet_id"].as_u64().map_or(String::new(), |id| id.to_string());
        let function = row.text("function");
        let (first, second) = match function {
            "connect" => (format!("connect {} {}", row.text("session"), row.text("target")), "connack"),
            "subscribe" => (format!("subscribe {id}"), "suback"),
            "unsubscribe" => (format!("unsubscribe {id}"), "unsuback"),
            "pingreq" => ("pingreq ".to_string(), "pingresp"),
            "disconnect" | "auth" | "connack" | "pingresp" | "puback" | "pubcomp" | "suback" | "unsuback" => {
                (format!("{function} {id}"), "")
            }
            _ => {
                let acknowledged = if detail["qos"] == 2 { "pubcomp" } else { "puback" };
                (format!("publish {} {id}", row.text("target")), acknowledged)
            }
        };
        let answer = (row.text("exchange") == "pair").then(|| format!("{second} {id}"));
        [Some(first), answer].into_iter().flatten()
    });
    Facts { ours: ours.collect(), theirs: theirs.collect() }
}
