//! Sinks over HTTP against a small server of this test's own, which is strict: it judges each request by what the
//! receiver's manual says. It is no Splunk and no product; a real one of these cannot be installed from a registry.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use ring::hmac;
use serde_json::{Value, json};
use yagura_log::Log;
use yagura_respond::cases::Verdict;
use yagura_respond::formats::Format;
use yagura_respond::message::Message;
use yagura_respond::undelivered::{Letter, Letters, UNDELIVERED};
use yagura_respond::{SinkConfig, Verdict as Answered, resend, to_resend};
use yagura_testkit::certificates::Certificates;

#[expect(dead_code, reason = "tests of other receivers use the rest")]
mod common;

use common::server::{Seen, secret, serve};
use common::{Running, fixtures, metric, mutual, wait_for};

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_is_signed_and_goes_on_until_each_has_its_2xx() {
    const SECRET: &str = "a secret of the plant";
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = Certificates::make(&folder.path().join("tls")).expect("certificates");
    let seen = Arc::<Mutex<Vec<(String, String)>>>::default();
    let told = Arc::clone(&seen);
    let address = serve(Some(&certificates), move |request| {
        assert_eq!(request.path, "/hooks/yagura?plant=1");
        assert_eq!(request.header("authorization"), format!("Bearer {SECRET}"));
        assert_eq!(request.header("content-type"), "application/json");
        let signed = format!("{}.{}", request.header("yagura-timestamp"), request.body);
        let signature =
            request.header("yagura-signature").strip_prefix("v1=").expect("a version").to_string();
        let bytes: Vec<u8> = (0..signature.len() / 2)
            .map(|at| u8::from_str_radix(&signature[2 * at..2 * at + 2], 16).expect("hexadecimal"))
            .collect();
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        hmac::verify(&key, signed.as_bytes(), &bytes).expect("the signature of this body");
        let mut told = told.lock().expect("no panic");
        let id = request.header("idempotency-key").to_string();
        told.push((id, request.body.clone()));
        // Every third is put off; one alert is never taken.
        let refused = request.body.contains("\"unmapped\":") && request.body.contains("ETCH-BAD");
        match told.len() % 3 {
            _ if refused => (422, "no such tool".into()),
            0 => (503, "later".into()),
            _ => (202, String::new()),
        }
    })
    .await;
    let log: Arc<dyn Log> = common::log();
    let mut alerts: Vec<_> = (0..7).map(fixtures::alert).collect();
    alerts[4].tool = "ETCH-BAD".into();
    common::append_these(log.as_ref(), &alerts);
    let file = secret(folder.path(), SECRET);
    let config = json!({
        "name": "hook", "kind": "webhook", "url": format!("https://{address}/hooks/yagura?plant=1"),
        "tls": mutual(&certificates), "secret_file": file, "token_file": file,
    });
    let running = Running::start(&log, config);
    wait_for("the commit", || running.committed() == 7).await;
    let registry = running.stop().await;
    let seen = seen.lock().expect("no panic");
    for alert in &alerts {
        let message = Message::of(alert);
        let sent = (message.revision_uid(), Format::OCSF.line(&message, 60_000));
        assert!(seen.contains(&sent), "{}", alert.sequence);
    }
    assert!(metric(&registry, "yagura_sink_errors_total", Some("busy")) >= 1.0);
    assert_eq!(metric(&registry, "yagura_sink_acknowledged_total", None), 6.0);
    assert_eq!(metric(&registry, "yagura_sink_refused_total", None), 1.0);
    let mut reader = log.reader(UNDELIVERED, 0, 0).expect("the topic");
    let records = reader.read(1 << 20, std::time::Duration::from_secs(5)).expect("records");
    let letter = Letter::of(&records[0].record).expect("a letter");
    assert_eq!((records.len(), letter.reason.as_str(), &letter.alert), (1, "422 no such tool", &alerts[4]));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_refused_is_taken_after_a_mend_and_ends_where_the_log_does() {
    let folder = tempfile::tempdir().expect("a folder");
    let log: Arc<dyn Log> = common::log();
    let alerts: Vec<_> = (0..5).map(fixtures::alert).collect();
    common::append_these(log.as_ref(), &alerts);
    common::decide(log.as_ref(), &alerts[..2], Verdict::Resolved, 1_795_403_300_000_000);
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let (told, mended) = (Arc::clone(&seen), Arc::<AtomicBool>::default());
    let is_mended = Arc::clone(&mended);
    let address = serve(None, move |request| {
        // It refuses alerts with even numbers until it is mended, and one even then.
        let number = |n: u64| request.body.contains(&format!("\"sequence\":{n},"));
        if number(4) || !is_mended.load(Ordering::SeqCst) && (number(0) || number(2)) {
            return (422, "not this one".into());
        }
        told.lock().expect("no panic").push(request.header("idempotency-key").to_string());
        (200, String::new())
    })
    .await;
    let config = json!({
        "name": "hook", "kind": "webhook", "url": format!("http://{address}"), "tls": false,
        "secret_file": secret(folder.path(), "0123456789abcdef"),
    });
    let running = Running::start(&log, config.clone());
    wait_for("the commit", || running.committed() == 6).await;
    running.stop().await;
    let id = |number: usize| Message::of(&alerts[number]).revision_uid();
    let decided = |number: usize| format!("{}-d1795403300000000", alerts[number].uid);
    assert_eq!(std::mem::take(&mut *seen.lock().expect("no panic")), [id(1), id(3), decided(0), decided(1)]);

    let letters: Vec<Letter> = Letters::of(log.as_ref()).expect("letters").standing().cloned().collect();
    let refused: Vec<String> = letters.iter().map(|letter| letter.message().revision_uid()).collect();
    assert_eq!(refused, [id(0), id(2), id(4)]);
    mended.store(true, Ordering::SeqCst);
    let config: SinkConfig = serde_json::from_value(config).expect("settings");
    let sink = config.build(folder.path()).expect("a sink");
    let news = to_resend(log.as_ref(), common::TOPIC, &config.delivery, &letters).expect("news");
    let mut answers = Vec::new();
    resend(sink.as_ref(), &news, |number, verdict| answers.push((number, verdict))).await.expect("answers");
    answers.sort_by_key(|(number, _)| *number);
    let no = Answered::Refused("422 not this one".into());
    assert_eq!(answers, [(0, Answered::Taken), (1, Answered::Taken), (2, no), (3, Answered::Taken)]);
    // The first is resolved: its receiver has it open for no longer than it takes to say so again.
    assert_eq!(seen.lock().expect("no panic").as_slice(), [id(0), id(2), decided(0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_with_the_way_there_gives_no_alert_up() {
    let folder = tempfile::tempdir().expect("a folder");
    let log: Arc<dyn Log> = common::log();
    common::append_alerts(log.as_ref(), 0..2);
    for (status, reason) in [(404, "refused"), (401, "denied"), (302, "refused"), (500, "busy")] {
        let address = serve(None, move |_| (status, "x".repeat(2000))).await;
        let config = json!({
            "name": "hook", "kind": "webhook", "url": format!("http://{address}"), "tls": false,
            "secret_file": secret(folder.path(), "0123456789abcdef"), "format": "cef",
        });
        let running = Running::start(&log, config);
        wait_for("refusals", || running.metric("yagura_sink_errors_total", Some(reason)) >= 2.0).await;
        assert_eq!(running.metric("yagura_sink_refused_total", None), 0.0, "{status}");
        assert_eq!(running.committed(), 0);
        running.stop().await;
    }
}

/// What Splunk's manual says of its collector: tokens, channels, acknowledgements, codes of errors.
#[derive(Default)]
struct Collector {
    /// Events in the order in which they were indexed.
    indexed: Vec<Value>,
    /// By channel, numbers of requests and how often they were asked for.
    acks: BTreeMap<String, BTreeMap<u64, u32>>,
    requests: u64,
}

impl Collector {
    fn answer(&mut self, request: &Seen, ack: bool) -> (u16, String) {
        let say =
            |status: u16, code: u32, text: &str| (status, json!({ "text": text, "code": code }).to_string());
        if request.header("authorization") != "Splunk 0123-token" {
            return say(403, 4, "Invalid token");
        }
        let channel = request.header("x-splunk-request-channel").to_string();
        if ack && channel.len() != 36 {
            return say(400, 10, "Data channel is missing");
        }
        if let Some(asked) = request.path.strip_prefix("/services/collector/ack?channel=") {
            assert_eq!(asked, channel);
            let body: Value = serde_json::from_str(&request.body).expect("JSON");
            let known = self.acks.entry(channel).or_default();
            let mut answer = serde_json::Map::new();
            for id in body["acks"].as_array().expect("a list").iter().filter_map(Value::as_u64) {
                let asked = known.get_mut(&id).map(|asked| {
                    *asked += 1;
                    *asked
                });
                // The indexer needs a while, and a status that was told is forgotten.
                let done = asked.is_some_and(|asked| asked > 1);
                if done {
                    known.remove(&id);
                }
                answer.insert(id.to_string(), json!(done));
            }
            return (200, json!({ "acks": answer }).to_string());
        }
        assert_eq!(request.path, "/services/collector/event");
        self.requests += 1;
        if self.requests.is_multiple_of(10) {
            return say(503, 9, "Server is busy");
        }
        let events: Result<Vec<Value>, _> =
            serde_json::Deserializer::from_str(&request.body).into_iter().collect();
        let Ok(events) = events else { return say(400, 6, "Invalid data format") };
        for (number, event) in events.iter().enumerate() {
            let fields = event["fields"].as_object().expect("fields");
            assert!(fields.values().all(Value::is_string), "fields are flat: {fields:?}");
            assert!(event["time"].as_str().is_some_and(|time| time.parse::<f64>().is_ok()), "{event}");
            if event["event"].is_null() || event["host"] == "BAD" {
                let answer = json!({ "text": "Event field cannot be blank", "code": 13, "invalid-event-number": number });
                return (400, answer.to_string());
            }
        }
        self.indexed.extend(events);
        if !ack {
            return say(200, 0, "Success");
        }
        let id = self.requests;
        self.acks.entry(channel).or_default().insert(id, 0);
        (200, json!({ "text": "Success", "code": 0, "ackId": id }).to_string())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn splunk_has_each_alert_when_its_indexer_says_so() {
    const ALERTS: usize = 300;
    let folder = tempfile::tempdir().expect("a folder");
    let log: Arc<dyn Log> = common::log();
    let mut alerts: Vec<_> = (0..ALERTS as u64).map(fixtures::alert).collect();
    alerts[77].tool = "BAD".into();
    common::append_these(log.as_ref(), &alerts);
    for (ack, format) in [(true, "ocsf"), (false, "cef")] {
        let collector = Arc::<Mutex<Collector>>::default();
        let state = Arc::clone(&collector);
        let address = serve(None, move |request| state.lock().expect("no panic").answer(request, ack)).await;
        let config = json!({
            "name": format, "kind": "splunk-hec", "url": format!("http://{address}"), "tls": false, "ack": ack,
            "token_file": secret(folder.path(), "0123-token\n"), "index": "fab", "format": format, "window": 64,
        });
        let running = Running::start(&log, config);
        wait_for("the commit", || running.committed() == ALERTS as u64).await;
        let registry = running.stop().await;
        let collector = collector.lock().expect("no panic");
        let revisions: std::collections::BTreeSet<&str> =
            collector.indexed.iter().filter_map(|event| event["fields"]["revision_uid"].as_str()).collect();
        for (number, alert) in alerts.iter().enumerate() {
            let revision = Message::of(alert).revision_uid();
            assert_eq!(revisions.contains(revision.as_str()), number != 77, "{number}");
        }
        assert_eq!(collector.indexed[0]["sourcetype"], format!("yagura:{format}"));
        assert_eq!(metric(&registry, "yagura_sink_acknowledged_total", None), ALERTS as f64 - 1.0);
        assert_eq!(metric(&registry, "yagura_sink_refused_total", None), 1.0);
        assert_eq!(metric(&registry, "yagura_sink_guaranteed", None), f64::from(u8::from(ack)));
        assert!(collector.acks.values().all(BTreeMap::is_empty), "every acknowledgement was waited for");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_without_acknowledgement_is_told_and_acknowledges_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let collector = Arc::<Mutex<Collector>>::default();
    let address =
        serve(None, move |request| collector.lock().expect("no panic").answer(request, false)).await;
    let log: Arc<dyn Log> = common::log();
    common::append_alerts(log.as_ref(), 0..1);
    let config = json!({
        "name": "splunk", "kind": "splunk-hec", "url": format!("http://{address}"), "tls": false,
        "token_file": secret(folder.path(), "0123-token"),
    });
    let running = Running::start(&log, config);
    wait_for("the complaint", || running.metric("yagura_sink_errors_total", Some("protocol")) >= 1.0).await;
    assert_eq!(running.metric("yagura_sink_acknowledged_total", None), 0.0);
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_without_an_end_is_cut_off() {
    let address = serve(None, |_| (200, "x".repeat(9 * 1024 * 1024))).await;
    let log: Arc<dyn Log> = common::log();
    common::append_alerts(log.as_ref(), 0..1);
    let config = json!({
        "name": "es", "kind": "elasticsearch", "url": format!("http://{address}"), "tls": false, "index": "a",
    });
    let running = Running::start(&log, config);
    wait_for("the complaint", || running.metric("yagura_sink_errors_total", Some("protocol")) >= 1.0).await;
    assert_eq!(running.metric("yagura_sink_acknowledged_total", None), 0.0);
    running.stop().await;
}
