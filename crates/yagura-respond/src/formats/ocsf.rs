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

use yagura_event::alert::{Alert, Severity};
use yagura_event::clock::rfc3339;

use super::object::{Object, object};
use super::{Encoding, IdsAsText, endpoints, millis, signed};
use crate::cases::Verdict;
use crate::message::{Activity, Kind, Message};
use crate::techniques;

/// The OCSF version of what [`line`] makes.
pub const VERSION: &str = "1.8.0";

/// The format `ocsf`.
pub const ENCODING: Encoding = Encoding { name: "ocsf", json: true, bytes_max: 1 << 20, encode: line };

/// The message as one OCSF event: an alert as a Detection Finding, a heartbeat as a Base Event (class
/// 0), which is no finding. The severity is `severity_id`, whose numbers an alert's severity has.
pub fn line(message: &Message<'_>) -> String {
    let alert = message.alert;
    object(|event| {
        event.put("severity_id", alert.severity as u8);
        event.put("severity", severity_caption(alert.severity));
        event.put("time", millis(message.time()));
        event.put("count", signed(alert.count));
        event.put("message", &alert.summary);
        event.object("metadata", |metadata| put_metadata(message, metadata));
        match message.decided {
            Some(decided) => event.put("comment", &decided.why),
            None => {
                event.put("start_time", millis(alert.time));
                event.put("end_time", millis(alert.last_time));
            }
        }
        event.object("unmapped", |unmapped| put_unmapped(message, unmapped));
        match message.kind {
            Kind::Alert => put_finding(message, event),
            Kind::Heartbeat => put_heartbeat(alert, event),
        }
    })
}

fn put_unmapped(message: &Message<'_>, unmapped: &mut Object<'_>) {
    let alert = message.alert;
    unmapped.put("queue", alert.queue.name());
    unmapped.put("protects", &alert.protects);
    unmapped.put("outcomes", &alert.outcomes);
    unmapped.put("cell", &alert.cell);
    unmapped.put("revision", alert.revision);
    unmapped.put("count", alert.count);
    unmapped.put("key", &alert.key);
    if let Some(decided) = message.decided {
        unmapped.object("decision", |decision| {
            decision.put("to", decided.to.name());
            decision.put("by", &decided.by);
            decision.put("time", rfc3339(decided.time));
        });
    } else {
        unmapped.put("sequence", alert.sequence);
        unmapped.put("late", alert.late);
        unmapped.object("cause", |cause| {
            cause.put("collector", &alert.cause.collector);
            cause.put("epoch", alert.cause.epoch.to_string());
            cause.put("row", signed(alert.cause.row));
        });
    }
}

fn put_finding(message: &Message<'_>, event: &mut Object<'_>) {
    let alert = message.alert;
    let (activity, activity_name) = match message.activity() {
        Activity::Create => (1, "Create"),
        Activity::Update => (2, "Update"),
        Activity::Close => (3, "Close"),
    };
    let (status, status_name) = match message.verdict() {
        None | Some(Verdict::Reopened) => (1, "New"),
        Some(Verdict::Acknowledged) => (2, "In Progress"),
        Some(Verdict::FalsePositive) => (3, "Suppressed"),
        Some(Verdict::Resolved) => (4, "Resolved"),
    };
    event.put("category_uid", 2);
    event.put("category_name", "Findings");
    event.put("class_uid", 2004);
    event.put("class_name", "Detection Finding");
    event.put("activity_id", activity);
    event.put("activity_name", activity_name);
    event.put("type_uid", 2004 * 100 + activity);
    event.put("type_name", format!("Detection Finding: {activity_name}"));
    event.put("status_id", status);
    event.put("status", status_name);
    event.put("is_alert", true);
    event.object("finding_info", |info| put_finding_info(message, info));
    let ends = endpoints(&alert.evidence);
    if message.decided.is_none() {
        // The causing row, with its two ends where it has addresses.
        event.objects("evidences", [&alert.evidence], |evidence, data| {
            evidence.put("data", IdsAsText(data));
            for (name, end) in ["src_endpoint", "dst_endpoint"].into_iter().zip(&ends) {
                if let Some(end) = end {
                    evidence.object(name, |endpoint| end.put_into(endpoint));
                }
            }
        });
    }
    let tool = (!alert.tool.is_empty()).then_some(alert.tool.as_str());
    let resource = tool.map(|tool| (10, "Resource UID", "resources[].uid", tool.to_string()));
    let names = ["evidences[].src_endpoint.ip", "evidences[].dst_endpoint.ip"];
    let addresses = names.into_iter().zip(&ends).filter_map(|(name, end)| Some((name, end.as_ref()?)));
    let addresses = addresses.map(|(name, end)| (2, "IP Address", name, end.ip.to_string()));
    event.objects(
        "observables",
        resource.into_iter().chain(addresses),
        |observable, (id, kind, name, value)| {
            observable.put("type_id", id);
            observable.put("type", kind);
            observable.put("name", name);
            observable.put("value", value);
        },
    );
    if let Some(tool) = tool {
        let put = |equipment: &mut Object<'_>, tool: &str| {
            equipment.put("type", "Equipment");
            equipment.put("name", tool);
            equipment.put("uid", tool);
        };
        event.object("device", |device| {
            device.put("type_id", 99);
            put(device, tool);
        });
        event.objects("resources", [tool], put);
    }
    if !alert.then.is_empty() {
        event.object("remediation", |remediation| remediation.put("desc", &alert.then));
    }
}

fn put_heartbeat(alert: &Alert, event: &mut Object<'_>) {
    event.put("category_uid", 0);
    event.put("category_name", "Uncategorized");
    event.put("class_uid", 0);
    event.put("class_name", "Base Event");
    event.put("activity_id", 99);
    event.put("activity_name", "Heartbeat");
    event.put("type_uid", 99);
    event.put("type_name", "Base Event: Other");
    event.put("raw_data", alert.evidence.to_string());
}

fn put_metadata(message: &Message<'_>, metadata: &mut Object<'_>) {
    let alert = message.alert;
    metadata.put("version", VERSION);
    metadata.put("uid", message.revision_uid());
    metadata.put("correlation_uid", alert.uid);
    metadata.put("event_code", &alert.detection);
    metadata.put("log_name", "alerts");
    metadata.put("log_source", &alert.cause.collector);
    metadata.object("product", |product| {
        product.put("name", "Yagura");
        product.put("vendor_name", "Yagura");
        product.put("version", env!("CARGO_PKG_VERSION"));
    });
    if message.decided.is_none() {
        metadata.put("original_time", rfc3339(alert.time));
        metadata.put("sequence", signed(alert.sequence));
    }
    if let Some(whole) = message.untruncated {
        metadata.put("is_truncated", true);
        metadata.put("untruncated_size", whole);
    }
}

fn put_finding_info(message: &Message<'_>, info: &mut Object<'_>) {
    let alert = message.alert;
    info.put("uid", alert.uid);
    info.put("title", &alert.title);
    info.put("desc", &alert.summary);
    info.object("analytic", |analytic| {
        analytic.put("type_id", 1);
        analytic.put("type", "Rule");
        analytic.put("uid", &alert.detection);
        analytic.put("name", &alert.title);
    });
    info.put("created_time", millis(alert.observed));
    info.put("data_sources", [&alert.cause.collector]);
    match message.decided {
        Some(decided) => info.put("modified_time", millis(decided.time)),
        None => {
            info.put("first_seen_time", millis(alert.time));
            info.put("last_seen_time", millis(alert.last_time));
        }
    }
    info.objects("attacks", &alert.techniques, |attack, id| {
        attack.object("technique", |technique| {
            technique.put("uid", id);
            if let Some(name) = techniques::name_of(id) {
                technique.put("name", name);
            }
        });
        attack.put("version", &alert.matrix);
    });
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
    use serde_json::{Value, json};

    use super::*;
    use crate::fixtures;
    use crate::message::Beat;
    use crate::told::tests::decided;

    fn event(message: &Message<'_>) -> Value {
        serde_json::from_str(&line(message)).expect("JSON")
    }

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
        assert_eq!((&event["status"], event.get("comment")), (&json!("New"), None));
        let stands = Some(Verdict::Acknowledged);
        let event = self::event(&Message { stands, ..Message::of(&alert) });
        assert_eq!((&event["status"], &event["activity_id"]), (&json!("In Progress"), &json!(2)));
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
