//! Alerts as OCSF 1.8 Detection Findings (class 2004), what a SIEM stores.
//!
//! `finding_info.uid` is the alert's id and stays over all its revisions; `metadata.uid` names
//! one revision (`<uid>-r<revision>`), so that a receiver that keys by it stores each once, even
//! when it was delivered twice.
//!
//! Times: `time` is when the collector received the causing row, because searches go by it and
//! a device's clock may be years off; the device's own times are `start_time`, `end_time` and
//! those of `finding_info`. What OCSF has no attribute for stands under `unmapped`.

use std::net::IpAddr;

use serde_json::{Map, Value, json};
use yagura_event::alert::{Alert, Severity};
use yagura_event::clock::{Micros, rfc3339};

use crate::techniques;

/// The OCSF version of what [`finding`] makes.
pub const VERSION: &str = "1.8.0";

/// The identifier of one revision of an alert: OCSF's `metadata.uid`.
pub fn revision_uid(alert: &Alert) -> String {
    format!("{}-r{}", alert.uid, alert.revision)
}

/// The alert as one OCSF event.
pub fn finding(alert: &Alert) -> Value {
    let mut event = Map::new();
    let mut put = |name: &str, value: Value| event.insert(name.to_string(), value);
    let (activity, activity_name) = if alert.revision <= 1 { (1, "Create") } else { (2, "Update") };
    put("category_uid", json!(2));
    put("category_name", json!("Findings"));
    put("class_uid", json!(2004));
    put("class_name", json!("Detection Finding"));
    put("activity_id", json!(activity));
    put("activity_name", json!(activity_name));
    put("type_uid", json!(2004 * 100 + activity));
    put("type_name", json!(format!("Detection Finding: {activity_name}")));
    put("severity_id", json!(alert.severity as u8));
    put("severity", json!(severity_caption(alert.severity)));
    put("status_id", json!(1));
    put("status", json!("New"));
    put("is_alert", json!(true));
    put("time", json!(millis(alert.observed)));
    put("start_time", json!(millis(alert.time)));
    put("end_time", json!(millis(alert.last_time)));
    put("count", json!(i64::try_from(alert.count).unwrap_or(i64::MAX)));
    put("message", json!(alert.summary));
    put("metadata", metadata(alert));
    put("finding_info", finding_info(alert));
    put("evidences", json!([evidence(alert)]));
    let observables = observables(alert);
    if !observables.is_empty() {
        put("observables", Value::Array(observables));
    }
    if !alert.tool.is_empty() {
        put("device", json!({ "type_id": 99, "type": "Equipment", "name": alert.tool, "uid": alert.tool }));
        put("resources", json!([{ "type": "Equipment", "name": alert.tool, "uid": alert.tool }]));
    }
    if !alert.then.is_empty() {
        put("remediation", json!({ "desc": alert.then }));
    }
    put(
        "unmapped",
        json!({
            "queue": alert.queue.name(),
            "protects": alert.protects,
            "outcomes": alert.outcomes,
            "cell": alert.cell,
            "sequence": alert.sequence,
            "revision": alert.revision,
            "count": alert.count,
            "key": alert.key,
            "late": alert.late,
            "cause": { "collector": alert.cause.collector, "epoch": alert.cause.epoch, "row": alert.cause.row },
        }),
    );
    Value::Object(event)
}

/// The alert as one line of OCSF JSON of at most about `bytes_max` bytes.
///
/// Receivers cut or refuse what is over their limit, and half a JSON object is none. So
/// an event that is too long loses its evidence first, then its keys and names, and says so
/// (`metadata.is_truncated`, `metadata.untruncated_size`); its ids always stay.
pub fn line(alert: &Alert, bytes_max: usize) -> String {
    let whole = finding(alert).to_string();
    if whole.len() <= bytes_max {
        return whole;
    }
    let mut short = alert.clone();
    short.evidence = json!({ "left_out": "larger than the receiver takes; see the alert in Yagura" });
    let cut = marked(&short, whole.len());
    if cut.len() <= bytes_max {
        return cut;
    }
    // Eight texts, written some twenty times in all, at up to six bytes of JSON for each of theirs.
    let each = bytes_max / 256;
    short.key.clear();
    for list in [&mut short.protects, &mut short.outcomes, &mut short.techniques] {
        list.truncate(4);
        list.iter_mut().for_each(|text| cut_text(text, 32));
    }
    for text in [
        &mut short.cell,
        &mut short.detection,
        &mut short.title,
        &mut short.matrix,
        &mut short.tool,
        &mut short.summary,
        &mut short.then,
        &mut short.cause.collector,
    ] {
        cut_text(text, each);
    }
    marked(&short, whole.len())
}

fn marked(alert: &Alert, whole: usize) -> String {
    let mut event = finding(alert);
    event["metadata"]["is_truncated"] = json!(true);
    event["metadata"]["untruncated_size"] = json!(whole);
    event.to_string()
}

fn cut_text(text: &mut String, bytes_max: usize) {
    text.truncate(text.floor_char_boundary(bytes_max));
}

fn metadata(alert: &Alert) -> Value {
    json!({
        "version": VERSION,
        "uid": revision_uid(alert),
        "correlation_uid": alert.uid,
        "event_code": alert.detection,
        "log_name": "alerts",
        "log_source": alert.cause.collector,
        "original_time": rfc3339(alert.time),
        "sequence": i64::try_from(alert.sequence).unwrap_or(i64::MAX),
        "product": { "name": "Yagura", "vendor_name": "Yagura", "version": env!("CARGO_PKG_VERSION") },
    })
}

fn finding_info(alert: &Alert) -> Value {
    let attacks: Vec<Value> = alert
        .techniques
        .iter()
        .map(|id| {
            let mut technique = json!({ "uid": id });
            if let Some(name) = techniques::name_of(id) {
                technique["name"] = json!(name);
            }
            json!({ "technique": technique, "version": alert.matrix })
        })
        .collect();
    let mut info = json!({
        "uid": alert.uid,
        "title": alert.title,
        "desc": alert.summary,
        "analytic": { "type_id": 1, "type": "Rule", "uid": alert.detection, "name": alert.title },
        "first_seen_time": millis(alert.time),
        "last_seen_time": millis(alert.last_time),
        "created_time": millis(alert.observed),
        "data_sources": [alert.cause.collector],
    });
    if !attacks.is_empty() {
        info["attacks"] = Value::Array(attacks);
    }
    info
}

/// The causing row, with its two ends where it has addresses.
fn evidence(alert: &Alert) -> Value {
    let mut evidence = json!({ "data": alert.evidence });
    for (endpoint, address, port) in
        [("src_endpoint", "client", "client_port"), ("dst_endpoint", "server", "server_port")]
    {
        if let Some(ip) = address_in(&alert.evidence, address) {
            evidence[endpoint] = json!({ "ip": ip.to_string() });
            if let Some(number) = alert.evidence[port].as_u64().filter(|n| (1..=65_535).contains(n)) {
                evidence[endpoint]["port"] = json!(number);
            }
        }
    }
    evidence
}

fn observables(alert: &Alert) -> Vec<Value> {
    let mut found = Vec::new();
    if !alert.tool.is_empty() {
        found.push(
            json!({ "type_id": 10, "type": "Resource UID", "name": "resources[].uid", "value": alert.tool }),
        );
    }
    for (name, column) in
        [("evidences[].src_endpoint.ip", "client"), ("evidences[].dst_endpoint.ip", "server")]
    {
        if let Some(ip) = address_in(&alert.evidence, column) {
            found.push(json!({ "type_id": 2, "type": "IP Address", "name": name, "value": ip.to_string() }));
        }
    }
    found
}

fn address_in(evidence: &Value, column: &str) -> Option<IpAddr> {
    evidence.get(column)?.as_str()?.parse().ok()
}

fn severity_caption(severity: Severity) -> &'static str {
    match severity {
        Severity::Informational => "Informational",
        Severity::Low => "Low",
        Severity::Medium => "Medium",
        Severity::High => "High",
        Severity::Critical => "Critical",
    }
}

fn millis(time: Micros) -> i64 {
    time.div_euclid(1000)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn a_new_alert_is_a_created_finding_with_its_ids() {
        let alert = fixtures::alert(7);
        let event = finding(&alert);
        assert_eq!(event["class_uid"], 2004);
        assert_eq!(event["activity_id"], 1);
        assert_eq!(event["type_uid"], 200_401);
        assert_eq!(event["severity_id"], 4);
        assert_eq!(event["finding_info"]["uid"], alert.uid.to_string());
        assert_eq!(event["metadata"]["uid"], format!("{}-r1", alert.uid));
        assert_eq!(event["metadata"]["version"], "1.8.0");
        assert_eq!(event["time"], alert.observed / 1000);
        assert_eq!(event["finding_info"]["attacks"][0]["technique"]["name"], "Modify Parameter");
        assert_eq!(event["finding_info"]["attacks"][0]["version"], alert.matrix);
        assert_eq!(event["evidences"][0]["src_endpoint"], json!({ "ip": "10.20.0.9", "port": 51_000 }));
        assert_eq!(event["remediation"]["desc"], alert.then);
        assert_eq!(event["unmapped"]["queue"], "security");
    }

    #[test]
    fn a_later_revision_updates_the_same_finding() {
        let mut alert = fixtures::alert(7);
        let first = finding(&alert);
        alert.revision = 3;
        let event = finding(&alert);
        assert_eq!(event["activity_id"], 2);
        assert_eq!(event["type_uid"], 200_402);
        assert_eq!(event["finding_info"]["uid"], first["finding_info"]["uid"]);
        assert_ne!(event["metadata"]["uid"], first["metadata"]["uid"]);
    }

    #[test]
    fn what_is_not_known_is_left_out_instead_of_empty() {
        let mut alert = fixtures::alert(1);
        alert.tool.clear();
        alert.then.clear();
        alert.techniques = vec!["T9999".into()];
        alert.evidence = json!({ "client": "not an address" });
        let event = finding(&alert);
        for absent in ["device", "resources", "remediation", "observables"] {
            assert!(event.get(absent).is_none(), "{absent}");
        }
        assert_eq!(event["finding_info"]["attacks"][0]["technique"], json!({ "uid": "T9999" }));
        assert!(event["evidences"][0].get("src_endpoint").is_none());
    }

    #[test]
    fn too_long_an_event_stays_json_keeps_its_ids_and_says_so() {
        let mut alert = fixtures::alert(1);
        assert!(!line(&alert, 65_536).contains("is_truncated"));
        alert.evidence = json!({ "values": "x".repeat(100_000) });
        let cut = line(&alert, 65_536);
        assert!(cut.len() <= 65_536);
        let event: Value = serde_json::from_str(&cut).expect("still JSON");
        assert_eq!(event["metadata"]["uid"], revision_uid(&alert));
        assert_eq!(event["metadata"]["is_truncated"], true);
        assert_eq!(event["message"], alert.summary);

        alert.summary = "櫓\u{1}".repeat(60_000);
        alert.techniques = vec!["T".repeat(90_000)];
        alert.key.insert("k".into(), "v".repeat(90_000));
        let cut = line(&alert, 65_536);
        assert!(cut.len() <= 65_536, "{}", cut.len());
        let event: Value = serde_json::from_str(&cut).expect("still JSON");
        assert_eq!(event["finding_info"]["uid"], alert.uid.to_string());
    }
}
