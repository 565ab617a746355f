//! Alerts as OCSF 1.8 Detection Findings (class 2004), what a SIEM stores.
//!
//! `finding_info.uid` is the alert's id and stays over all its revisions; `metadata.uid` names
//! one revision (`<uid>-r<revision>`), so that a receiver that keys by it stores each once, even
//! when it was delivered twice.
//!
//! What people decide about an alert updates or closes the finding: acknowledged is In Progress (2), resolved is
//! Resolved (4), reopened is New (1), and a false positive is Suppressed (3), which OCSF keeps for what "was reviewed,
//! determined to be benign or a false positive". `comment` says why, `unmapped.decision` who and when. A later
//! revision is New again: the cause is back, or still there.
//!
//! Times: `time` is when the collector received the causing row, because searches go by it and
//! a device's clock may be years off; the device's own times are `start_time`, `end_time` and
//! those of `finding_info`. Of a decision `time` is when it was made. What OCSF has no attribute for stands under `unmapped`.

use serde_json::{Map, Value, json};
use yagura_event::alert::{Alert, Severity};
use yagura_event::clock::rfc3339;

use super::{Encoding, endpoints, ids_as_text, millis, signed};
use crate::cases::Verdict;
use crate::message::{Activity, Kind, Message};
use crate::techniques;

/// The OCSF version of what [`event`] makes.
pub const VERSION: &str = "1.8.0";

/// The format `ocsf`.
pub const ENCODING: Encoding =
    Encoding { name: "ocsf", json: true, bytes_max: 1 << 20, encode: |message| event(message).to_string() };

/// The message as one OCSF event: an alert as a Detection Finding, a heartbeat as a Base Event (class
/// 0), which is no finding. The severity is `severity_id`, whose numbers an alert's severity has.
pub fn event(message: &Message<'_>) -> Value {
    let alert = message.alert;
    let mut event = Map::new();
    let mut put = |name: &str, value: Value| event.insert(name.to_string(), value);
    put("severity_id", json!(alert.severity as u8));
    put("severity", json!(severity_caption(alert.severity)));
    put("time", json!(millis(message.time())));
    put("count", json!(signed(alert.count)));
    put("message", json!(alert.summary));
    put("metadata", metadata(message));
    let mut unmapped = json!({
        "queue": alert.queue.name(),
        "protects": alert.protects,
        "outcomes": alert.outcomes,
        "cell": alert.cell,
        "revision": alert.revision,
        "count": alert.count,
        "key": alert.key,
    });
    match message.decided {
        Some(decided) => {
            put("comment", json!(decided.why));
            unmapped["decision"] =
                json!({ "to": decided.to.name(), "by": decided.by, "time": rfc3339(decided.time) });
        }
        None => {
            put("start_time", json!(millis(alert.time)));
            put("end_time", json!(millis(alert.last_time)));
            unmapped["sequence"] = json!(alert.sequence);
            unmapped["late"] = json!(alert.late);
            unmapped["cause"] = json!({
                "collector": alert.cause.collector, "epoch": alert.cause.epoch.to_string(),
                "row": signed(alert.cause.row),
            });
        }
    }
    put("unmapped", unmapped);
    match message.kind {
        Kind::Alert => add_finding(message, &mut event),
        Kind::Heartbeat => add_heartbeat(alert, &mut event),
    }
    Value::Object(event)
}

fn add_finding(message: &Message<'_>, event: &mut Map<String, Value>) {
    let alert = message.alert;
    let mut put = |name: &str, value: Value| event.insert(name.to_string(), value);
    let (activity, activity_name) = match message.activity() {
        Activity::Create => (1, "Create"),
        Activity::Update => (2, "Update"),
        Activity::Close => (3, "Close"),
    };
    let (status, status_name) = match message.decided.map(|decided| decided.to) {
        None | Some(Verdict::Reopened) => (1, "New"),
        Some(Verdict::Acknowledged) => (2, "In Progress"),
        Some(Verdict::FalsePositive) => (3, "Suppressed"),
        Some(Verdict::Resolved) => (4, "Resolved"),
    };
    put("category_uid", json!(2));
    put("category_name", json!("Findings"));
    put("class_uid", json!(2004));
    put("class_name", json!("Detection Finding"));
    put("activity_id", json!(activity));
    put("activity_name", json!(activity_name));
    put("type_uid", json!(2004 * 100 + activity));
    put("type_name", json!(format!("Detection Finding: {activity_name}")));
    put("status_id", json!(status));
    put("status", json!(status_name));
    put("is_alert", json!(true));
    put("finding_info", finding_info(message));
    if message.decided.is_none() {
        put("evidences", json!([evidence(alert)]));
    }
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
}

fn add_heartbeat(alert: &Alert, event: &mut Map<String, Value>) {
    let mut put = |name: &str, value: Value| event.insert(name.to_string(), value);
    put("category_uid", json!(0));
    put("category_name", json!("Uncategorized"));
    put("class_uid", json!(0));
    put("class_name", json!("Base Event"));
    put("activity_id", json!(99));
    put("activity_name", json!("Heartbeat"));
    put("type_uid", json!(99));
    put("type_name", json!("Base Event: Other"));
    put("raw_data", json!(alert.evidence.to_string()));
}

fn metadata(message: &Message<'_>) -> Value {
    let alert = message.alert;
    let mut metadata = json!({
        "version": VERSION,
        "uid": message.revision_uid(),
        "correlation_uid": alert.uid,
        "event_code": alert.detection,
        "log_name": "alerts",
        "log_source": alert.cause.collector,
        "product": { "name": "Yagura", "vendor_name": "Yagura", "version": env!("CARGO_PKG_VERSION") },
    });
    if message.decided.is_none() {
        metadata["original_time"] = json!(rfc3339(alert.time));
        metadata["sequence"] = json!(signed(alert.sequence));
    }
    if let Some(whole) = message.untruncated {
        metadata["is_truncated"] = json!(true);
        metadata["untruncated_size"] = json!(whole);
    }
    metadata
}

fn finding_info(message: &Message<'_>) -> Value {
    let alert = message.alert;
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
        "created_time": millis(alert.observed),
        "data_sources": [alert.cause.collector],
    });
    match message.decided {
        Some(decided) => info["modified_time"] = json!(millis(decided.time)),
        None => {
            info["first_seen_time"] = json!(millis(alert.time));
            info["last_seen_time"] = json!(millis(alert.last_time));
        }
    }
    if !attacks.is_empty() {
        info["attacks"] = Value::Array(attacks);
    }
    info
}

/// The causing row, with its two ends where it has addresses.
fn evidence(alert: &Alert) -> Value {
    let mut evidence = json!({ "data": ids_as_text(alert.evidence.clone()) });
    for (name, end) in ["src_endpoint", "dst_endpoint"].into_iter().zip(endpoints(&alert.evidence)) {
        if let Some(end) = end {
            evidence[name] = json!({ "ip": end.ip.to_string() });
            if let Some(port) = end.port {
                evidence[name]["port"] = json!(port);
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
    let names = ["evidences[].src_endpoint.ip", "evidences[].dst_endpoint.ip"];
    for (name, end) in names.into_iter().zip(endpoints(&alert.evidence)) {
        if let Some(end) = end {
            let ip = end.ip.to_string();
            found.push(json!({ "type_id": 2, "type": "IP Address", "name": name, "value": ip }));
        }
    }
    found
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;
    use crate::message::Beat;
    use crate::told::tests::decided;

    #[test]
    fn a_new_alert_is_a_created_finding_with_its_ids() {
        let alert = fixtures::alert(7);
        let event = event(&Message::of(&alert));
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
        let first = event(&Message::of(&alert));
        alert.revision = 3;
        let event = event(&Message::of(&alert));
        assert_eq!(event["activity_id"], 2);
        assert_eq!(event["type_uid"], 200_402);
        assert_eq!(event["finding_info"]["uid"], first["finding_info"]["uid"]);
        assert_ne!(event["metadata"]["uid"], first["metadata"]["uid"]);
    }

    #[test]
    fn what_people_decide_updates_or_closes_the_finding() {
        let alert = fixtures::alert(7);
        for (to, activity, status) in [
            (Verdict::Acknowledged, 2, "In Progress"),
            (Verdict::Resolved, 3, "Resolved"),
            (Verdict::FalsePositive, 3, "Suppressed"),
            (Verdict::Reopened, 2, "New"),
        ] {
            let decided = decided(to);
            let event = event(&Message { decided: Some(&decided), ..Message::of(&alert) });
            assert_eq!((&event["activity_id"], &event["status"]), (&json!(activity), &json!(status)));
            assert_eq!(event["type_uid"], 200_400 + activity);
            assert_eq!(event["finding_info"]["uid"], alert.uid.to_string());
            assert_eq!(event["metadata"]["uid"], format!("{}-d{}", alert.uid, decided.time));
            assert_eq!(
                (&event["comment"], &event["time"]),
                (&json!(decided.why), &json!(decided.time / 1000))
            );
            let by = &event["unmapped"]["decision"];
            assert_eq!((&by["by"], &by["to"]), (&json!("mori"), &json!(to.name())));
            for absent in ["evidences", "start_time", "end_time"] {
                assert!(event.get(absent).is_none(), "{absent}");
            }
            assert!(
                event["metadata"].get("sequence").is_none(),
                "a repeated number would look like a repeat"
            );
        }
    }

    #[test]
    fn what_is_not_known_is_left_out_instead_of_empty() {
        let mut alert = fixtures::alert(1);
        alert.tool.clear();
        alert.then.clear();
        alert.techniques = vec!["T9999".into()];
        alert.evidence = json!({ "client": "not an address" });
        let event = event(&Message::of(&alert));
        for absent in ["device", "resources", "remediation", "observables"] {
            assert!(event.get(absent).is_none(), "{absent}");
        }
        assert_eq!(event["finding_info"]["attacks"][0]["technique"], json!({ "uid": "T9999" }));
        assert!(event["evidences"][0].get("src_endpoint").is_none());
    }

    #[test]
    fn a_heartbeat_is_no_finding() {
        let beat =
            Beat { sink: "siem", start: 1, number: 4, acknowledged: 2, refused: 0, lag: 0 }.alert(5_000_000);
        let event = event(&Message::of(&beat));
        assert_eq!((event["class_uid"].clone(), event["type_uid"].clone()), (json!(0), json!(99)));
        assert_eq!(event["metadata"]["event_code"], "yagura.heartbeat");
        assert_eq!(event["metadata"]["sequence"], 4);
        assert!(event.get("finding_info").is_none());
    }
}
