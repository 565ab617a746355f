//! Storms: one cause that never ends is one alert with the right count, and many causes are as many alerts.

use std::fmt::Write as _;

use serde_json::json;
use yagura_event::clock::{self, SECOND};

use crate::{folder, run_to_the_end, text, yagura};

const PIPELINE: &str = "version: 1
detections:
  - { id: trouble, title: Trouble at a door, queue: security, severity: high, on: log, where: event = 'trouble',
      by: [tool], quiet: 10m, summary: 'trouble at {tool}', then: Look. }
";

/// Rows of a minute, each of one of so many tools.
fn rows(count: u64, tools: u64) -> String {
    // 2026-11-23T00:00:00Z.
    let begin = 1_795_392_000 * SECOND;
    let mut out = String::new();
    for number in 0..count {
        let time = clock::rfc3339(begin + (number * 60 * SECOND as u64 / count) as i64);
        let tool = number % tools;
        let _ = writeln!(out, r#"{{"time":"{time}","tool":"T-{tool}","category":"door","event":"trouble"}}"#);
    }
    out
}

#[test]
fn one_cause_is_one_alert_with_the_right_count_and_many_are_many() {
    for (count, tools) in [(123_456, 1), (20_000, 20_000), (18_000, 6_000)] {
        let home = folder();
        std::fs::write(home.path().join("p.yaml"), PIPELINE).expect("a pipeline");
        std::fs::write(home.path().join("rows.jsonl"), rows(count, tools)).expect("rows");
        let config = home.path().join("yagura.yaml");
        let all = json!({
            "version": 1, "data": "data", "console": "127.0.0.1:0", "default_cell": "bay", "pipelines": ["p.yaml"],
            "collectors": [{ "name": "doors", "kind": "jsonl", "path": "rows.jsonl", "mapping": { "as": "log" } }],
            "sinks": [{ "name": "out", "kind": "file", "path": "alerts.jsonl", "heartbeat": "off" }],
        });
        std::fs::write(&config, all.to_string()).expect("a configuration");
        run_to_the_end(&config);
        let out = yagura(&["alerts", "list", "-c", &config.display().to_string(), "--format", "json"]);
        let cases: Vec<serde_json::Value> =
            text(&out.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
        assert_eq!(cases.len() as u64, tools);
        assert!(cases.iter().all(|case| case["count"] == json!(count / tools) && case["alerts"] == json!(1)));
        let told = std::fs::read_to_string(home.path().join("alerts.jsonl")).expect("alerts");
        let told = told.lines().count() as u64;
        // At powers of ten, and at the end what was counted since.
        let most = if count == tools { tools } else { 2 * tools + 5 };
        assert!(told >= tools && told <= most, "{told} revisions of {tools} alerts");
    }
}
