//! Kafka beside tshark: the headers of requests, and the numbers of responses.

use super::capture::{Capture, MessageRow};
use super::harness::{Facts, From, Protocol, Tool};
use super::reference::Reference;

pub const PROTOCOL: Protocol = Protocol {
    name: "kafka",
    folders: &["kafka"],
    tshark: &["kafka"],
    decisions: include_str!("kafka.yaml"),
    tools: &[Tool { name: "tshark", from: From::Tshark(&["-Y", "kafka", "-T", "ek"]), compare }],
};

fn compare(capture: &Capture, reference: &Reference) -> Facts {
    let mut ours = Vec::new();
    for row in capture.messages("kafka") {
        let detail = row.detail();
        if let Some(key) = detail["api_key"].as_u64() {
            let (version, number) = (&detail["api_version"], &detail["correlation"]);
            ours.push(format!("{} request {key}/{version} {number} {}", row.client(), row.text("session")));
        }
        if detail["response_bytes"].is_u64() {
            ours.push(format!(
                "{} response {} {}",
                row.server(),
                detail["correlation"],
                detail["response_bytes"]
            ));
        }
    }
    let theirs = reference.ek("kafka").into_iter().map(|layer| {
        let frame =
            |part: &str, field: &str| layer.frame[part][field].as_str().unwrap_or_default().to_string();
        let sender = format!("{}:{}", frame("ip", "ip_ip_src"), frame("tcp", "tcp_tcp_srcport"));
        let number = layer.first("kafka_kafka_correlation_id");
        let (key, version) = (layer.first("kafka_kafka_api_key"), layer.first("kafka_kafka_api_version"));
        if frame("tcp", "tcp_tcp_srcport") == "9092" {
            format!("{sender} response {number} {}", layer.first("kafka_kafka_len"))
        } else {
            format!("{sender} request {key}/{version} {number} {}", layer.first("kafka_kafka_client_id"))
        }
    });
    Facts { ours, theirs: theirs.collect() }
}
