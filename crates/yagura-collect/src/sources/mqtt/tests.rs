use std::path::Path;

use serde_json::json;
use yagura_event::rows::OwnedRow;

use super::*;
use crate::source::Plant;
use crate::sources::CollectorConfig;

fn plant() -> (tokio::runtime::Runtime, Plant) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
    let plant = Plant::unknown(runtime.handle());
    (runtime, plant)
}

fn settings(more: serde_json::Value) -> serde_json::Value {
    let mut all = json!({
        "name": "line", "kind": "mqtt", "brokers": [{"address": "localhost:1883"}], "format": "sparkplug",
    });
    if let (Some(all), serde_json::Value::Object(more)) = (all.as_object_mut(), more) {
        all.extend(more);
    }
    all
}

#[test]
fn wrong_settings_say_what_to_write() {
    let (_runtime, plant) = plant();
    let open = |more| {
        let config = CollectorConfig::new(settings(more)).expect("a collector");
        config.open(Path::new("."), &plant).map(drop).map_err(|error| error.to_string())
    };
    assert_eq!(open(json!({})), Ok(()));
    for (more, problem) in [
        (json!({"brokers": []}), "HOST:PORT"),
        (json!({"brokers": [{"address": "localhost"}]}), "HOST:PORT"),
        (json!({"protocol": "4"}), "3.1.1"),
        (json!({"format": "json", "topics": [{"topic": "a"}]}), "needs a `mapping`"),
        (json!({"format": "value"}), "`topics` names none"),
        (json!({"topics": [{"topic": "a/#/b"}]}), "is no filter"),
        (json!({"topics": [{"topic": "a+"}]}), "is no filter"),
        (json!({"topics": [{"topic": "a", "qos": 3}]}), "0, 1 or 2"),
        (json!({"topics": [{"topic": "a"}, {"topic": "a"}]}), "twice"),
        (json!({"password_file": "nowhere"}), "nowhere"),
        (json!({"keep_alive": "0s"}), "keep_alive"),
        (json!({"surprise": 1}), "surprise"),
    ] {
        let error = open(more.clone()).expect_err("it is wrong");
        assert!(
            error.contains(problem) && error.contains("line") || error.contains("nowhere"),
            "{more}: {error}"
        );
    }
}

#[test]
fn payloads_that_are_values_are_read_or_told() {
    let (mut signals, told) = (Signals::new("line", &Arc::default()), Complaints::default());
    let (mut topics, mut rows) = (Topics::default(), Vec::<OwnedRow>::new());
    let mut send = |topic: &str, payload: &[u8]| {
        let (signals, told) = (&mut signals, &told);
        let mut out = Out { signals, told, rows: &mut rows, now: 5 * SECOND };
        topics.message(&Message::new(topic, payload), 2, &mut out);
        told.finish("line", 5 * SECOND, &mut rows);
    };
    send("a/b", b" 4.5 ");
    send("a/b", b"true");
    send("a/c", b"lot 7");
    send("a/b", b"\xff\xfe");
    send("a/d", b"1");
    let seen: Vec<_> = rows.iter().map(|row| (row.kind.name(), row.text("event").to_string())).collect();
    let events = ["", "", "", "malformed", "drop"];
    assert_eq!(seen.iter().map(|(_, event)| event.as_str()).collect::<Vec<_>>(), events);
    let values: Vec<_> = rows[..2].iter().map(|row| row.number("value")).collect();
    assert_eq!((values, rows[2].text("value")), (vec![Some(4.5), Some(1.0)], "lot 7"));
}
