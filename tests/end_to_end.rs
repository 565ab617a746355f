//! The program as its users run it: one test binary, because linking it is dear.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use yagura_event::{Envelope, Kind, codec};
use yagura_log::Log;
use yagura_log::embedded::{Embedded, Options};
use yagura_scene::{Scene, SceneOptions};

fn yagura(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_yagura")).args(arguments).stdin(Stdio::null()).output().expect("yagura starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

/// A configuration of the scene, as a user would write it.
fn configure(folder: &Path, scene: &Scene, more: &str) -> PathBuf {
    std::fs::write(folder.join("plant.key"), &scene.plant_key).expect("a key");
    let assets: Vec<Value> =
        scene.assets.iter().map(|a| serde_json::to_value(a).expect("an asset")).collect();
    let release = |subject: &str| {
        serde_json::json!({"as": "control", "columns": {
            "action": "release", "subject": subject,
            "payload": "{\"target\":\"${recipe}\",\"body_hmac\":\"${body_hmac}\"}"}})
    };
    let lines = |name: &str, path: &Path, mapping: Value| {
        serde_json::json!({"name": name, "kind": "jsonl", "path": path, "mapping": mapping})
    };
    let collectors = serde_json::json!([
        lines("recipe-master", &scene.releases, release("recipe-body-not-released")),
        lines("recipe-starts", &scene.releases, release("unreleased-recipe-started")),
        {"name": "mirror-port", "kind": "packets", "path": scene.packets},
        lines("fdc-collector", &scene.telemetry, serde_json::json!({"as": "sample"})),
        lines("fdc-coverage", &scene.coverage, serde_json::json!({"as": "coverage"})),
        lines("shift", &scene.control, serde_json::json!({"as": "control"})),
    ]);
    // JSON is YAML.
    let config = format!(
        "version: 1\ndata: data\nconsole: 127.0.0.1:0\ndefault_cell: {}\nplant_key_file: plant.key\ndictionary: {}\nassets: {}\ncollectors: {collectors}\n{more}\n",
        scene.cell,
        scene.dictionary.display(),
        serde_json::to_string(&assets).expect("assets"),
    );
    let file = folder.join("yagura.yaml");
    std::fs::write(&file, config).expect("a configuration");
    file
}

/// Every row that a log holds, by (cell, collector, epoch, number); one written twice must be the same.
fn rows_of(folder: &Path) -> BTreeMap<(String, String, u64, u64), (Kind, Value)> {
    let log = Embedded::open(folder, Options::default()).expect("the log opens");
    let mut out = BTreeMap::new();
    for partition in 0..log.partitions("yagura.events").expect("events") {
        let held = log.held("yagura.events", partition).expect("held");
        let mut reader = log.reader("yagura.events", partition, held.start).expect("a reader");
        while reader.position() < held.end {
            for stored in reader.read(8 << 20, Duration::from_secs(10)).expect("records") {
                let envelope = Envelope::from_header(&stored.record.header).expect("an envelope");
                let rows = codec::decode(&envelope, &stored.record.value).expect("rows");
                for (index, row) in codec::to_json_rows(&rows).into_iter().enumerate() {
                    let number = envelope.first_row + index as u64;
                    let key = (envelope.cell.clone(), envelope.collector.clone(), envelope.epoch, number);
                    let row = (envelope.kind, Value::Object(row));
                    if let Some(other) = out.insert(key, row.clone()) {
                        assert_eq!(other, row, "a row was written twice and differs");
                    }
                }
            }
        }
    }
    out
}

#[test]
fn the_demonstration_alerts_once_for_each_incident() {
    let folder = folder();
    let data = folder.path().join("demo");
    let out = yagura(&["demo", "--format", "json", "--console", "127.0.0.1:0", "--data", &data.display().to_string()]);
    assert!(out.status.success(), "{}{}", text(&out.stdout), text(&out.stderr));
    let alerts: Vec<Value> =
        text(&out.stdout).lines().map(|line| serde_json::from_str(line).expect("an alert a line")).collect();
    let new: Vec<&Value> = alerts.iter().filter(|a| a["revision"] == 1).collect();
    assert_eq!(new.len(), 7, "{}", text(&out.stdout));
    // What the fab keeps secret is in no output and not in the history.
    let scene = yagura_scene::write(&folder.path().join("again"), &SceneOptions::default()).expect("a scene");
    let rows = rows_of(&data.join("log"));
    for secret in &scene.secrets {
        assert!(!text(&out.stdout).contains(secret.as_str()));
        assert!(rows.values().all(|(_, row)| !row.to_string().contains(secret.as_str())));
    }
}

#[test]
fn ordinary_production_is_silent() {
    let folder = folder();
    for seed in ["1", "2", "3"] {
        let data = folder.path().join(seed).display().to_string();
        let out = yagura(&["demo", "--ordinary", "--seed", seed, "--format", "json", "--console", "127.0.0.1:0", "--data", &data]);
        assert!(out.status.success(), "seed {seed}: {}{}", text(&out.stdout), text(&out.stderr));
        assert_eq!(text(&out.stdout), "", "seed {seed}");
    }
}

#[test]
fn killed_at_twenty_points_nothing_is_lost_and_nothing_is_alerted_twice() {
    let folder = folder();
    let scene = yagura_scene::write(&folder.path().join("scene"), &SceneOptions::default()).expect("a scene");
    let whole = folder.path().join("whole");
    std::fs::create_dir_all(&whole).expect("a folder");
    let config = configure(&whole, &scene, "");
    let out = yagura(&["run", "--until-done", "--config", &config.display().to_string()]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let sent = rows_of(&whole.join("data/log"));

    let killed = folder.path().join("killed");
    std::fs::create_dir_all(&killed).expect("a folder");
    let config = configure(&killed, &scene, "pace: 1600").display().to_string();
    let mut random = 0x2026_1123_u64;
    for _ in 0..20 {
        random = random.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let wait = Duration::from_millis(40 + (random >> 33) % 1500);
        let mut child = Command::new(env!("CARGO_BIN_EXE_yagura"))
            .args(["run", "--config", &config])
            .stdout(Stdio::null())
            .spawn()
            .expect("yagura starts");
        std::thread::park_timeout(wait);
        child.kill().expect("it still ran");
        child.wait().expect("it ended");
    }
    let out = yagura(&["run", "--until-done", "--config", &config]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let out = yagura(&["replay", "--check", "--format", "json", "--config", &config]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let alerts = text(&out.stdout).lines().filter(|line| line.contains("\"revision\":1,")).count();
    assert_eq!(alerts, 7, "{}", text(&out.stdout));
    let held = rows_of(&killed.join("data/log"));
    assert_eq!(held.len(), sent.len());
    assert!(held == sent, "the log does not hold what the sources sent");
}

#[test]
fn a_second_run_on_the_same_log_is_refused_with_the_reason() {
    let folder = folder();
    let scene = yagura_scene::write(&folder.path().join("scene"), &SceneOptions::default()).expect("a scene");
    let config = configure(folder.path(), &scene, "");
    let owner = Embedded::open(folder.path().join("data/log"), Options::default()).expect("the log opens");
    let out = yagura(&["run", "--until-done", "--config", &config.display().to_string()]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("in use by another process"), "{}", text(&out.stderr));
    drop(owner);
}

#[test]
fn a_cut_capture_is_read_as_far_as_it_goes_and_said() {
    let folder = folder();
    let scene = yagura_scene::write(&folder.path().join("scene"), &SceneOptions::default()).expect("a scene");
    let bytes = std::fs::read(&scene.packets).expect("the packets");
    std::fs::write(&scene.packets, &bytes[..bytes.len() / 2 + 7]).expect("half of them");
    let config = configure(folder.path(), &scene, "");
    let out = yagura(&["run", "--until-done", "--config", &config.display().to_string()]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert!(text(&out.stderr).contains("cell.pcap"), "{}", text(&out.stderr));
    let rows = rows_of(&folder.path().join("data/log"));
    let corrupt: Vec<&Value> =
        rows.values().filter(|(kind, row)| *kind == Kind::Coverage && row["event"] == "corrupt").map(|(_, r)| r).collect();
    assert_eq!(corrupt.len(), 1);
    assert!(corrupt[0]["detail"].as_str().is_some_and(|d| d.contains("byte")), "{corrupt:?}");
    assert!(rows.values().filter(|(kind, _)| *kind == Kind::Message).count() > 1_000);
}

/// A pipeline with one mistake: exit code 2 and a message with file, line, column and choices.
fn refused(pipeline: &str, line_and_column: &str, parts: &[&str]) {
    let folder = folder();
    let file = folder.path().join("broken.yaml");
    std::fs::write(&file, pipeline).expect("a file");
    let out = yagura(&["validate", &file.display().to_string()]);
    let message = text(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{message}");
    assert!(message.contains(&format!("broken.yaml:{line_and_column}:")), "{message}");
    for part in parts {
        assert!(message.contains(part), "{part} is missing in: {message}");
    }
}

const GOOD: &str = "version: 1
detections:
  - id: x
    title: X
    queue: security
    severity: low
    on: message
    where: operation = 'write'
    by: [tool]
    summary: '{tool}'
    then: Look.
";

#[test]
fn mistakes_in_pipelines_name_their_place_and_the_choices() {
    refused(&GOOD.replace("severity", "severty"), "6:5", &["severty", "severity"]);
    refused(&GOOD.replace("operation = ", "opperation = "), "8:12", &["opperation", "operation", "function"]);
    refused(&GOOD.replace("on: message", "on: mesage"), "7:9", &["mesage", "message, flow"]);
    refused(&GOOD.replace("[tool]", "[tol]"), "9:10", &["tol", "tool"]);
    refused(&GOOD.replace("    by:", "    model: { name: garud }\n    by:").replace("message\n    where: operation = 'write'", "sample"), "8:20", &["garud", "guard"]);
    refused(&GOOD.replace("    by:", "    knwon: { of: [tool] }\n    by:"), "9:5", &["knwon", "known", "model"]);
    refused(&GOOD.replace("queue: security", "queue: safety"), "5:12", &["safety", "security"]);
}

#[test]
fn mistakes_in_the_configuration_name_their_place() {
    let folder = folder();
    let file = folder.path().join("yagura.yaml");
    std::fs::write(&file, "version: 1\ncolectors: []\n").expect("a file");
    let out = yagura(&["run", "--config", &file.display().to_string()]);
    let message = text(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{message}");
    assert!(message.contains("yagura.yaml:2:1:") && message.contains("collectors"), "{message}");
    std::fs::write(&file, "version: 1\ncollectors: [{name: a, kind: opcua, path: x}]\n").expect("a file");
    let message = text(&yagura(&["run", "--config", &file.display().to_string()]).stderr);
    assert!(message.contains("opcua") && message.contains("packets, jsonl"), "{message}");
    assert!(!folder.path().join("yagura-data").exists(), "nothing was started");
}

#[test]
fn an_unreachable_broker_is_said_within_seconds() {
    let folder = folder();
    let file = folder.path().join("yagura.yaml");
    std::fs::write(&file, "version: 1\nlog: { kafka: { brokers: '127.0.0.1:1' } }\n").expect("a file");
    let out = yagura(&["run", "--config", &file.display().to_string()]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains("no Kafka broker answers at 127.0.0.1:1"), "{}", text(&out.stderr));
}
