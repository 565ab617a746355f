//! Findings against the JSON schema that PyPI's `ocsf-json-schema` makes of OCSF 1.8.0.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use yagura_event::Severity;
use yagura_respond::cases::Verdict;
use yagura_respond::formats::Format;
use yagura_respond::message::{Beat, Message, test_alert};
use yagura_respond::told::Decided;

#[path = "../src/fixtures.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod fixtures;

const CHECK: &str = r#"
import json, sys
from jsonschema import Draft202012Validator
from ocsf_json_schema import OcsfJsonSchemaEmbedded, get_ocsf_schema
schemas = OcsfJsonSchemaEmbedded(get_ocsf_schema("1.8.0"))
classes = {2004: "detection_finding", 0: "base_event"}
validators = {n: Draft202012Validator(schemas.get_class_schema(c)) for n, c in classes.items()}
print(json.dumps([["/".join(map(str, e.absolute_path)) + ": " + e.message for e in validators[x["class_uid"]].iter_errors(x)] for x in json.load(sys.stdin)]))
"#;

/// The event as it is sent.
fn sent(message: &Message<'_>) -> Value {
    serde_json::from_str(&Format::OCSF.line(message, 1 << 20)).expect("JSON")
}

#[test]
fn findings_are_valid_ocsf_1_8() {
    let mut events = Vec::new();
    for severity in
        [Severity::Informational, Severity::Low, Severity::Medium, Severity::High, Severity::Critical]
    {
        for revision in [1, 2] {
            let mut alert = fixtures::alert(7);
            (alert.severity, alert.revision) = (severity, revision);
            events.push(sent(&Message::of(&alert)));
        }
    }
    let verdicts = [Verdict::Acknowledged, Verdict::Resolved, Verdict::FalsePositive, Verdict::Reopened];
    for (to, why) in verdicts.into_iter().flat_map(|to| [(to, "the cable is replaced"), (to, "")]) {
        let decided = Decided { to, time: 1_795_403_107_250_000, by: "mori".into(), why: why.into() };
        let mut alert = fixtures::alert(7);
        alert.evidence = Value::Null;
        events.push(sent(&Message { decided: Some(&decided), ..Message::of(&alert) }));
    }
    let mut bare = fixtures::alert(8);
    bare.tool.clear();
    bare.then.clear();
    bare.techniques.clear();
    bare.evidence = Value::Null;
    events.push(sent(&Message::of(&bare)));
    bare.evidence = json!({ "client": "fe80::1", "server": "2001:db8::7", "server_port": 502 });
    bare.time = i64::MIN;
    (bare.sequence, bare.count) = (u64::MAX, u64::MAX);
    events.push(sent(&Message::of(&bare)));
    let mut long = fixtures::alert(9);
    long.evidence = json!({ "values": "x".repeat(100_000) });
    events.push(serde_json::from_str(&Format::OCSF.line(&Message::of(&long), 60_000)).expect("JSON"));
    let beat = Beat { sink: "siem", start: 1, number: 4, acknowledged: 2, refused: 0, lag: 0 };
    events.push(sent(&Message::of(&beat.alert(5_000_000))));
    events.push(sent(&Message::of(&test_alert("siem", 5_000_000))));
    let good = events.len();
    // The check itself must be able to fail.
    let mut wrong = events[0].clone();
    wrong["severity_id"] = json!(77);
    events.push(wrong);
    let mut misspelt = events[0].clone();
    misspelt["finding_info"]["titel"] = json!("x");
    events.push(misspelt);

    let problems = check(&Value::Array(events));
    assert_eq!(problems.len(), good + 2);
    for (number, problems) in problems.iter().enumerate() {
        assert_eq!(problems.is_empty(), number < good, "event {number}: {problems:?}");
    }
}

fn check(events: &Value) -> Vec<Vec<String>> {
    let mut python = Command::new(python())
        .args(["-c", CHECK])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python runs");
    let mut input = python.stdin.take().expect("a pipe");
    input.write_all(events.to_string().as_bytes()).expect("the events are written");
    drop(input);
    let output = python.wait_with_output().expect("python ends");
    assert!(output.status.success(), "the check failed");
    serde_json::from_slice(&output.stdout).expect("lists of problems")
}

/// A Python with the packages, made on the first run.
fn python() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/testkit/ocsf");
    let python = folder.join("bin/python");
    let complete = folder.join("complete");
    if !complete.exists() {
        let run = |command: &mut Command| {
            let status = command.status();
            assert!(
                status.is_ok_and(|status| status.success()),
                "{command:?} failed: install python3 and python3-venv, and let pip reach a package index"
            );
        };
        std::fs::create_dir_all(&folder).expect("a folder");
        run(Command::new("python3").args(["-m", "venv"]).arg(&folder));
        run(Command::new(&python).args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "ocsf-json-schema==1.2.0",
            "jsonschema==4.26.0",
        ]));
        std::fs::write(&complete, "").expect("a mark");
    }
    python
}
