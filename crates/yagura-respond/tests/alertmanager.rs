//! Alerts to a real Alertmanager.

use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use yagura_event::clock;
use yagura_log::Log;
use yagura_respond::cases::Verdict;
use yagura_testkit::alertmanager::Alertmanager;

#[expect(dead_code, reason = "tests of other receivers use the rest")]
mod common;

use common::{Running, fixtures, metric, wait_for};

fn sink(alertmanager: &Alertmanager) -> Value {
    json!({
        "name": "call", "kind": "alertmanager", "url": format!("http://{}", alertmanager.web), "tls": false,
        "hold": "1h",
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn alerts_fire_there_stay_and_survive_its_restart() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut alertmanager = Alertmanager::start(folder.path()).expect("Alertmanager starts");
    let log: Arc<dyn Log> = common::log();
    let mut other = fixtures::alert(2);
    other.tool = "ETCH-08".into();
    other.summary = "a \"hostile\" <b>text</b>\n{{ template }} 櫓\u{0}".into();
    let mut unplaced = fixtures::alert(3);
    (unplaced.tool, unplaced.observed) = (String::new(), i64::MIN);
    common::append_these(log.as_ref(), &[fixtures::alert(1), other.clone(), unplaced]);
    let running = Running::start(&log, sink(&alertmanager));
    wait_for("the commit", || running.committed() == 3).await;

    let alerts = alertmanager.alerts().expect("alerts");
    assert_eq!(alerts.len(), 3);
    let of_tool = |alerts: &[Value], tool: &str| {
        alerts.iter().find(|alert| alert["labels"]["tool"] == tool).cloned().expect("an alert of the tool")
    };
    let alert = of_tool(&alerts, "ETCH-08");
    assert_eq!(alert["status"]["state"], "active");
    assert_eq!(alert["labels"]["alertname"], "recipe-body-not-released");
    assert_eq!(alert["labels"]["severity"], "high");
    assert_eq!(alert["annotations"]["summary"], json!(other.summary));
    assert_eq!(alert["annotations"]["revision_uid"], format!("{}-r1", other.uid));
    let ends = alert["endsAt"].as_str().and_then(clock::parse_rfc3339).expect("a time");
    assert!(ends > clock::now() + 3000 * clock::SECOND, "it does not resolve by itself: {alert}");

    // A later revision prolongs the same one.
    let mut revised = fixtures::alert(4);
    (revised.revision, revised.count) = (2, 7);
    common::append_these(log.as_ref(), &[revised]);
    wait_for("the commit", || running.committed() == 4).await;
    let alerts = alertmanager.alerts().expect("alerts");
    assert_eq!(alerts.len(), 3);
    assert_eq!(of_tool(&alerts, "ETCH-07")["annotations"]["count"], "7");

    // What is resolved is over there.
    common::decide(log.as_ref(), &[other.clone()], Verdict::Resolved, clock::now());
    wait_for("the commit", || running.committed() == 5).await;
    let alerts = alertmanager.alerts().expect("alerts");
    assert_eq!(alerts.len(), 2, "{alerts:?}");
    assert!(alerts.iter().all(|alert| alert["labels"]["tool"] != "ETCH-08"));
    common::decide(log.as_ref(), &[other], Verdict::Reopened, clock::now());
    wait_for("the commit", || running.committed() == 6).await;
    let reopened = of_tool(&alertmanager.alerts().expect("alerts"), "ETCH-08");
    assert_eq!(reopened["annotations"]["decision"], "reopened");

    // It forgets all when it is killed; over the next connection it is told again.
    alertmanager.restart().expect("it starts again");
    assert!(alertmanager.alerts().expect("alerts").is_empty(), "in memory");
    common::append_alerts(log.as_ref(), 5..6);
    wait_for("the commit", || running.committed() == 7).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(alertmanager.alerts().expect("alerts").len(), 3);
    let registry = running.stop().await;
    assert_eq!(metric(&registry, "yagura_sink_refused_total", None), 0.0);
    assert_eq!(metric(&registry, "yagura_sink_guaranteed", None), 1.0);
}
