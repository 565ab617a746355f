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

use yagura_event::alert::{Alert, Queue, Severity};
use yagura_event::clock::rfc3339;

use super::object::{Object, object};
use super::{Encoding, endpoints, signed};
use crate::cases::Verdict;
use crate::message::{Activity, Kind, Message};
use crate::techniques;

/// The ECS version of what [`line`] makes.
pub const VERSION: &str = "8.17.0";

/// A date of RFC 3339, which has years of four digits.
const DATE_BYTES: usize = "2026-11-23T03:04:14.290000Z".len();

/// The format `ecs`.
pub const ENCODING: Encoding = Encoding { name: "ecs", json: true, bytes_max: 1 << 20, encode: line };

/// The message as one document: `event.kind` is `alert`, `event` for a decision, and `state` for a heartbeat.
pub fn line(message: &Message<'_>) -> String {
    let alert = message.alert;
    let tool = (!alert.tool.is_empty()).then_some(&alert.tool);
    object(|document| {
        document.put("@timestamp", rfc3339(message.time()));
        document.object("ecs", |ecs| ecs.put("version", VERSION));
        document.put("message", &alert.summary);
        document.put("tags", &alert.protects);
        document.object("event", |event| put_event(message, event));
        document.object("log", |log| log.put("level", alert.severity.name()));
        document.object("observer", |observer| {
            observer.put("vendor", "Yagura");
            observer.put("product", "Yagura");
            observer.put("version", env!("CARGO_PKG_VERSION"));
            observer.put("type", "ids");
            observer.put("name", &alert.cause.collector);
        });
        document.object("rule", |rule| {
            rule.put("id", &alert.detection);
            rule.put("name", &alert.title);
            rule.put("category", alert.queue.name());
            rule.put("ruleset", "yagura");
            rule.put("description", &alert.then);
        });
        if !alert.techniques.is_empty() {
            document.object("threat", |threat| put_threat(alert, threat));
        }
        if let Some(tool) = tool {
            document.object("host", |host| {
                host.put("name", tool);
                host.put("id", tool);
                host.put("type", "equipment");
            });
        }
        let ends = endpoints(&alert.evidence);
        for (name, end) in ["source", "destination"].into_iter().zip(&ends) {
            if let Some(end) = end {
                document.object(name, |fields| {
                    fields.put("address", end.ip);
                    end.put_into(fields);
                });
            }
        }
        if let Some(protocol) = alert.evidence["protocol"].as_str() {
            document.object("network", |network| network.put("protocol", protocol));
        }
        if let Some(decided) = message.decided {
            document.object("user", |user| user.put("name", &decided.by));
        }
        let addresses: Vec<_> = ends.iter().flatten().map(|end| end.ip).collect();
        if !addresses.is_empty() || tool.is_some() || message.decided.is_some() {
            document.object("related", |related| {
                if !addresses.is_empty() {
                    related.put("ip", &addresses);
                }
                if let Some(tool) = tool {
                    related.put("hosts", [tool]);
                }
                if let Some(decided) = message.decided {
                    related.put("user", [&decided.by]);
                }
            });
        }
        document.object("yagura", |own| put_own(message, own));
    })
}

fn put_event(message: &Message<'_>, event: &mut Object<'_>) {
    let alert = message.alert;
    let (kind, action) = match (message.kind, message.decided.map(|decided| decided.to)) {
        (Kind::Heartbeat, _) => ("state", "heartbeat"),
        (Kind::Alert, Some(Verdict::Acknowledged)) => ("event", "alert-acknowledged"),
        (Kind::Alert, Some(Verdict::Resolved)) => ("event", "alert-resolved"),
        (Kind::Alert, Some(Verdict::FalsePositive)) => ("event", "alert-false-positive"),
        (Kind::Alert, Some(Verdict::Reopened)) => ("event", "alert-reopened"),
        (Kind::Alert, None) if message.activity() == Activity::Create => ("alert", "alert-created"),
        (Kind::Alert, None) => ("alert", "alert-updated"),
    };
    // ECS has no category for equipment; `host` is the machine that something happened on.
    let category = if alert.queue == Queue::Security { "intrusion_detection" } else { "host" };
    event.put("kind", kind);
    event.put("category", [category]);
    event.put("type", ["info"]);
    event.put("action", action);
    event.put("module", "yagura");
    event.put("dataset", "yagura.alerts");
    event.put("provider", &alert.cause.collector);
    event.put("id", message.revision_uid());
    event.put("code", &alert.detection);
    event.put("severity", severity(alert.severity));
    event.put("reason", message.decided.map_or(&alert.summary, |decided| &decided.why));
    event.put("created", rfc3339(message.time()));
    if message.decided.is_some() {
        return;
    }
    event.put("sequence", signed(alert.sequence));
    for (name, time) in [("start", alert.time), ("end", alert.last_time)] {
        let text = rfc3339(time);
        // An index refuses a document whose device says a year that no date has.
        if text.len() == DATE_BYTES {
            event.put(name, text);
        }
    }
}

/// Ids and names stand in the same order; an id that the matrix of 18.1 does not have is its own name.
fn put_threat(alert: &Alert, threat: &mut Object<'_>) {
    let names: Vec<&str> =
        alert.techniques.iter().map(|id| techniques::name_of(id).unwrap_or(id.as_str())).collect();
    threat.put("framework", "MITRE ATT&CK");
    threat.object("technique", |technique| {
        technique.put("id", &alert.techniques);
        technique.put("name", names);
    });
}

fn put_own(message: &Message<'_>, own: &mut Object<'_>) {
    let alert = message.alert;
    let key: Vec<String> = alert.key.iter().map(|(name, value)| format!("{name}={value}")).collect();
    own.object("alert", |fields| {
        fields.put("uid", alert.uid);
        fields.put("revision", alert.revision);
        fields.put("activity", message.activity().name());
        fields.put("count", signed(alert.count));
        fields.put("outcomes", &alert.outcomes);
        fields.put("matrix", &alert.matrix);
        fields.put("key", key);
        if message.decided.is_none() {
            fields.put("late", alert.late);
        }
    });
    own.put("queue", alert.queue.name());
    own.put("cell", &alert.cell);
    if let Some(decided) = message.decided {
        own.object("decision", |decision| {
            decision.put("to", decided.to.name());
            decision.put("by", &decided.by);
            decision.put("comment", &decided.why);
            decision.put("time", rfc3339(decided.time));
        });
    } else {
        own.object("cause", |cause| {
            cause.put("collector", &alert.cause.collector);
            cause.put("epoch", alert.cause.epoch.to_string());
            cause.put("row", signed(alert.cause.row));
        });
        own.put("evidence", alert.evidence.to_string());
    }
    if let Some(whole) = message.untruncated {
        own.put("truncated_from_bytes", whole);
    }
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
    use serde_json::{Value, json};

    use super::*;
    use crate::fixtures;
    use crate::message::Beat;
    use crate::told::tests::decided;

    fn document(message: &Message<'_>) -> Value {
        serde_json::from_str(&line(message)).expect("JSON")
    }

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
