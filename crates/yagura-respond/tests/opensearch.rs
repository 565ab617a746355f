//! Alerts to a real OpenSearch 2.19, which speaks Elasticsearch's `_bulk`.

use std::sync::Arc;

use serde_json::{Value, json};
use yagura_event::Alert;
use yagura_log::Log;
use yagura_respond::cases::Verdict;
use yagura_respond::undelivered::{Letter, UNDELIVERED};
use yagura_testkit::http::ask;
use yagura_testkit::opensearch::OpenSearch;

#[expect(dead_code, reason = "tests of other receivers use the rest")]
mod common;

use common::{Running, fixtures, metric, wait_for};

fn sink(opensearch: &OpenSearch, index: &str, format: &str) -> Value {
    json!({
        "name": index, "kind": "elasticsearch", "url": format!("http://{}", opensearch.web), "tls": false,
        "index": index, "format": format, "window": 64,
    })
}

fn count(opensearch: &OpenSearch, index: &str) -> u64 {
    ask(opensearch.web, "POST", &format!("/{index}/_refresh"), "").expect("refreshed");
    let answer = ask(opensearch.web, "GET", &format!("/{index}/_count"), "").expect("a count");
    serde_json::from_str::<Value>(&answer).expect("JSON")["count"].as_u64().expect("a number")
}

/// What the topic of refused alerts holds.
fn letters(log: &dyn Log) -> Vec<Letter> {
    let mut reader = log.reader(UNDELIVERED, 0, 0).expect("the topic");
    let records = reader.read(1 << 20, std::time::Duration::from_secs(5)).expect("records");
    records.iter().map(|stored| Letter::of(&stored.record).expect("a letter")).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_revision_is_stored_once_whatever_happens_to_the_server() {
    const ALERTS: u64 = 1000;
    let folder = tempfile::tempdir().expect("a folder");
    let mut opensearch = OpenSearch::start(folder.path()).expect("OpenSearch starts");
    let log: Arc<dyn Log> = common::log();
    common::append_alerts(log.as_ref(), 0..ALERTS);
    let running = Running::start(&log, sink(&opensearch, "alerts-ecs", "ecs"));
    wait_for("a part", || running.metric("yagura_sink_acknowledged_total", None) >= 100.0).await;
    opensearch.kill().expect("it is killed");
    wait_for("the failure", || running.metric("yagura_sink_retries_total", None) >= 1.0).await;
    opensearch.restart().expect("it starts again");
    let mut revised = fixtures::alert(3);
    (revised.revision, revised.sequence) = (2, ALERTS);
    common::append_these(log.as_ref(), &[revised]);
    wait_for("the commit", || running.committed() == ALERTS + 1).await;
    running.stop().await;
    assert_eq!(count(&opensearch, "alerts-ecs"), ALERTS + 1);

    // A decision is a document of its own, and one that is written twice is stored once.
    let alerts: Vec<Alert> = (0..3).map(fixtures::alert).collect();
    let running = Running::start(&log, sink(&opensearch, "alerts-ecs", "ecs"));
    for _ in 0..2 {
        common::decide(log.as_ref(), &alerts[..2], Verdict::Resolved, 1_795_403_300_000_000);
    }
    wait_for("the commit", || running.committed() == ALERTS + 3).await;
    running.stop().await;
    assert_eq!(count(&opensearch, "alerts-ecs"), ALERTS + 3);
    let query = json!({ "query": { "bool": { "filter": [
        { "term": { "event.action.keyword": "alert-resolved" } },
        { "term": { "yagura.alert.uid.keyword": alerts[1].uid } },
    ] } } });
    let answer = ask(opensearch.web, "POST", "/alerts-ecs/_search", &query.to_string()).expect("an answer");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!(answer["hits"]["total"]["value"], 1);

    // Another group reads all again: the server knows each by its id.
    let mut config = sink(&opensearch, "alerts-ecs", "ecs");
    config["name"] = json!("again");
    let running = Running::start(&log, config);
    wait_for("the commit", || running.committed() == ALERTS + 3).await;
    let registry = running.stop().await;
    assert_eq!(metric(&registry, "yagura_sink_acknowledged_total", None), ALERTS as f64 + 5.0);
    assert_eq!(metric(&registry, "yagura_sink_refused_total", None), 0.0);
    assert_eq!(count(&opensearch, "alerts-ecs"), ALERTS + 3);

    // Ids beyond a signed integer are refused by no index that guesses its types, whatever came first.
    let ids: Arc<dyn Log> = common::log();
    for (number, id) in [(0, 7), (1, u64::MAX), (2, 9)] {
        let mut alert = fixtures::alert(number);
        alert.cause.epoch = id;
        alert.evidence["flow"] = json!(id);
        common::append_these(ids.as_ref(), &[alert]);
    }
    for format in ["ocsf", "ecs"] {
        let mut config = sink(&opensearch, &format!("ids-{format}"), format);
        config["redact"] = json!("off");
        let running = Running::start(&ids, config);
        wait_for("the commit", || running.committed() == 3).await;
        let registry = running.stop().await;
        assert_eq!(metric(&registry, "yagura_sink_refused_total", None), 0.0, "{format}");
        assert_eq!(count(&opensearch, &format!("ids-{format}")), 3);
    }

    // What a person looks for is found under ECS's names.
    let query = json!({ "query": { "bool": { "filter": [
        { "term": { "threat.technique.id.keyword": "T0836" } },
        { "term": { "source.ip.keyword": "10.20.0.9" } },
        { "range": { "event.severity": { "gte": 73 } } },
    ] } }, "size": 0, "track_total_hits": true });
    let answer = ask(opensearch.web, "POST", "/alerts-ecs/_search", &query.to_string()).expect("an answer");
    let answer: Value = serde_json::from_str(&answer).expect("JSON");
    assert_eq!(answer["hits"]["total"]["value"], ALERTS + 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_index_cannot_take_is_kept_and_holds_nobody_back() {
    let folder = tempfile::tempdir().expect("a folder");
    let opensearch = OpenSearch::start(folder.path()).expect("OpenSearch starts");
    let log: Arc<dyn Log> = common::log();
    // An index that knows the tool's name as a number.
    let mapping =
        json!({ "mappings": { "properties": { "host": { "properties": { "name": { "type": "long" } } } } } });
    ask(opensearch.web, "PUT", "/strict", &mapping.to_string()).expect("an index");
    let mut alerts: Vec<Alert> = (0..20).map(fixtures::alert).collect();
    for alert in &mut alerts {
        alert.tool = "7".into();
    }
    alerts[13].tool = "ETCH-07".into();
    common::append_these(log.as_ref(), &alerts);
    let running = Running::start(&log, sink(&opensearch, "strict", "ecs"));
    wait_for("the commit", || running.committed() == 20).await;
    assert_eq!(running.metric("yagura_sink_refused_total", None), 1.0);
    assert_eq!(running.metric("yagura_sink_acknowledged_total", None), 19.0);
    running.stop().await;
    let letters = letters(log.as_ref());
    assert_eq!(letters.len(), 1);
    assert_eq!((letters[0].sink.as_str(), &letters[0].alert), ("strict", &alerts[13]));
    assert!(
        letters[0].reason.starts_with("400 ") && letters[0].reason.contains("mapper_parsing"),
        "{}",
        letters[0].reason
    );
    assert_eq!(count(&opensearch, "strict"), 19);

    // OCSF goes in as it is.
    let running = Running::start(&log, sink(&opensearch, "alerts-ocsf", "ocsf"));
    wait_for("the commit", || running.committed() == 20).await;
    running.stop().await;
    assert_eq!(count(&opensearch, "alerts-ocsf"), 20);
}
