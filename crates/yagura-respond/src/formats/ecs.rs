//! The Elastic Common Schema, version 8.17 (its fields are in 9 as well): what Elastic and
//! OpenSearch dashboards look for. <https://www.elastic.co/docs/reference/ecs>
//!
//! `event.id` names one revision, `yagura.alert.uid` the alert; what ECS has no field for stands
//! under `yagura`. Evidence is there as one text: detections have different columns, and an index
//! that maps each by its first value would refuse what comes later with another type.
//!
//! A decision of people is a document of its own: `event.action` is `alert-acknowledged`, `alert-resolved`,
//! `alert-false-positive` or `alert-reopened`, `event.reason` why, `user.name` who; `yagura.alert.activity` is `close`
//! where nobody needs to look any more. The newest document of a `yagura.alert.uid` says how it stands.
//!
//! `event.severity` has the numbers that Elastic's own detections use: informational 1, low 21,
//! medium 47, high 73, critical 99. `@timestamp` is when the collector received the causing
//! row, or when something was decided; `event.start` and `event.end` are the device's own times.

use serde_json::{Map, Value, json};
use yagura_event::alert::{Alert, Queue, Severity};
use yagura_event::clock::rfc3339;

use super::{Encoding, endpoints, signed};
use crate::message::{Activity, Kind, Message};
use crate::techniques;

/// The ECS version of what [`document`] makes.
pub const VERSION: &str = "8.17.0";

/// A date of RFC 3339, which has years of four digits.
const DATE_BYTES: usize = "2026-11-23T03:04:14.290000Z".len();

/// The format `ecs`.
pub const ENCODING: Encoding =
    Encoding { name: "ecs", json: true, bytes_max: 1 << 20, encode: |message| document(message).to_string() };

/// The message as one document: `event.kind` is `alert`, `event` for a decision, and `state` for a heartbeat.
pub fn document(message: &Message<'_>) -> Value {
    let alert = message.alert;
    let mut document = Map::new();
    let mut put = |name: &str, value: Value| document.insert(name.to_string(), value);
    put("@timestamp", json!(rfc3339(message.time())));
    put("ecs", json!({ "version": VERSION }));
    put("message", json!(alert.summary));
    put("tags", json!(alert.protects));
    put("event", event(message));
    put("log", json!({ "level": alert.severity.name() }));
    put(
        "observer",
        json!({
            "vendor": "Yagura", "product": "Yagura", "version": env!("CARGO_PKG_VERSION"), "type": "ids",
            "name": alert.cause.collector,
        }),
    );
    put(
        "rule",
        json!({
            "id": alert.detection, "name": alert.title, "category": alert.queue.name(), "ruleset": "yagura",
            "description": alert.then,
        }),
    );
    if !alert.techniques.is_empty() {
        put("threat", threat(alert));
    }
    if !alert.tool.is_empty() {
        put("host", json!({ "name": alert.tool, "id": alert.tool, "type": "equipment" }));
    }
    let mut addresses = Vec::new();
    for (name, end) in ["source", "destination"].into_iter().zip(endpoints(&alert.evidence)) {
        if let Some(end) = end {
            let ip = end.ip.to_string();
            addresses.push(ip.clone());
            let mut fields = json!({ "ip": ip, "address": ip });
            if let Some(port) = end.port {
                fields["port"] = json!(port);
            }
            put(name, fields);
        }
    }
    if let Some(protocol) = alert.evidence["protocol"].as_str() {
        put("network", json!({ "protocol": protocol }));
    }
    let mut related = Map::new();
    if !addresses.is_empty() {
        related.insert("ip".into(), json!(addresses));
    }
    if !alert.tool.is_empty() {
        related.insert("hosts".into(), json!([alert.tool]));
    }
    if let Some(decided) = message.decided {
        put("user", json!({ "name": decided.by }));
        related.insert("user".into(), json!([decided.by]));
    }
    if !related.is_empty() {
        put("related", Value::Object(related));
    }
    put("yagura", own(message));
    Value::Object(document)
}

fn event(message: &Message<'_>) -> Value {
    let alert = message.alert;
    let (kind, action) = match (message.kind, message.decided) {
        (Kind::Heartbeat, _) => ("state", "heartbeat".to_string()),
        (Kind::Alert, Some(decided)) => ("event", format!("alert-{}", decided.to.name())),
        (Kind::Alert, None) if message.activity() == Activity::Create => ("alert", "alert-created".into()),
        (Kind::Alert, None) => ("alert", "alert-updated".into()),
    };
    // ECS has no category for equipment; `host` is the machine that something happened on.
    let category = if alert.queue == Queue::Security { "intrusion_detection" } else { "host" };
    let mut event = json!({
        "kind": kind,
        "category": [category],
        "type": ["info"],
        "action": action,
        "module": "yagura",
        "dataset": "yagura.alerts",
        "provider": alert.cause.collector,
        "id": message.revision_uid(),
        "code": alert.detection,
        "severity": severity(alert.severity),
        "reason": message.decided.map_or(&alert.summary, |decided| &decided.why),
        "created": rfc3339(message.time()),
    });
    if message.decided.is_some() {
        return event;
    }
    event["sequence"] = json!(signed(alert.sequence));
    for (name, time) in [("start", alert.time), ("end", alert.last_time)] {
        let text = rfc3339(time);
        // An index refuses a document whose device says a year that no date has.
        if text.len() == DATE_BYTES {
            event[name] = json!(text);
        }
    }
    event
}

/// Ids and names stand in the same order; an id that the matrix of 18.1 does not have is its own name.
fn threat(alert: &Alert) -> Value {
    let names: Vec<&str> =
        alert.techniques.iter().map(|id| techniques::name_of(id).unwrap_or(id.as_str())).collect();
    json!({ "framework": "MITRE ATT&CK", "technique": { "id": alert.techniques, "name": names } })
}

fn own(message: &Message<'_>) -> Value {
    let alert = message.alert;
    let key: Vec<String> = alert.key.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut own = json!({
        "alert": {
            "uid": alert.uid, "revision": alert.revision, "activity": message.activity().name(),
            "count": signed(alert.count), "outcomes": alert.outcomes, "matrix": alert.matrix, "key": key,
        },
        "queue": alert.queue.name(),
        "cell": alert.cell,
    });
    match message.decided {
        Some(decided) => {
            own["decision"] = json!({
                "to": decided.to.name(), "by": decided.by, "comment": decided.why, "time": rfc3339(decided.time),
            });
        }
        None => {
            own["alert"]["late"] = json!(alert.late);
            own["cause"] = json!({
                "collector": alert.cause.collector, "epoch": alert.cause.epoch.to_string(),
                "row": signed(alert.cause.row),
            });
            own["evidence"] = json!(alert.evidence.to_string());
        }
    }
    if let Some(whole) = message.untruncated {
        own["truncated_from_bytes"] = json!(whole);
    }
    own
}

fn severity(severity: Severity) -> u8 {
    match severity {
        Severity::Informational => 1,
        Severity::Low => 21,
        Severity::Medium => 47,
        Severity::High => 73,
        Severity::Critical => 99,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cases::Verdict;
    use crate::fixtures;
    use crate::message::Beat;
    use crate::told::tests::decided;

    #[test]
    fn an_alert_stands_in_the_fields_that_dashboards_look_for() {
        let mut alert = fixtures::alert(7);
        alert.techniques.push("T9999".into());
        let document = document(&Message::of(&alert));
        assert_eq!(document["@timestamp"], "2026-11-23T03:04:14.290000Z");
        assert_eq!(document["event"]["kind"], "alert");
        assert_eq!(document["event"]["id"], format!("{}-r1", alert.uid));
        assert_eq!(document["event"]["action"], "alert-created");
        assert_eq!(document["event"]["severity"], 73);
        assert_eq!(document["event"]["sequence"], 7);
        assert_eq!(document["rule"]["id"], alert.detection);
        assert_eq!(document["threat"]["technique"]["id"], json!(["T0836", "T0831", "T9999"]));
        assert_eq!(document["threat"]["technique"]["name"][2], "T9999");
        assert_eq!(document["host"]["name"], "ETCH-07");
        assert_eq!(document["source"], json!({ "ip": "10.20.0.9", "address": "10.20.0.9", "port": 51_000 }));
        assert_eq!(document["related"]["ip"], json!(["10.20.0.9", "10.20.3.7"]));
        assert_eq!(document["yagura"]["alert"]["uid"], alert.uid.to_string());
        let evidence = document["yagura"]["evidence"].as_str().expect("a text");
        assert_eq!(serde_json::from_str::<Value>(evidence).expect("JSON"), alert.evidence);
    }

    #[test]
    fn activities_and_heartbeats_are_told_apart() {
        let mut alert = fixtures::alert(7);
        alert.revision = 2;
        let message = Message::of(&alert);
        assert_eq!(document(&message)["event"]["action"], "alert-updated");
        let decided = decided(Verdict::FalsePositive);
        let closed = document(&Message { decided: Some(&decided), ..message });
        assert_eq!(
            (&closed["event"]["action"], &closed["event"]["kind"]),
            (&json!("alert-false-positive"), &json!("event"))
        );
        assert_eq!(
            (&closed["event"]["reason"], &closed["user"]["name"]),
            (&json!(decided.why), &json!("mori"))
        );
        assert_eq!(closed["yagura"]["alert"]["activity"], "close");
        assert_eq!(closed["yagura"]["decision"]["to"], "false-positive");
        assert_eq!(closed["@timestamp"], rfc3339(decided.time));
        for absent in ["sequence", "start", "end"] {
            assert!(closed["event"].get(absent).is_none(), "{absent}");
        }
        let beat = Beat { sink: "siem", start: 1, number: 4, acknowledged: 2, refused: 0, lag: 0 }.alert(5);
        let document = document(&Message::of(&beat));
        assert_eq!(
            (&document["event"]["kind"], &document["event"]["sequence"]),
            (&json!("state"), &json!(4))
        );
        for absent in ["threat", "host", "source", "network", "related"] {
            assert!(document.get(absent).is_none(), "{absent}");
        }
    }
}
