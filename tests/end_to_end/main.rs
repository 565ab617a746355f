//! The program as its users run it: one test binary, because linking it is dear.

mod baseline;
mod brokers;
mod cases;
mod cells;
mod clock;
mod demo;
mod deploy;
mod faults;
mod group;
mod history;
mod kills;
mod measure;
mod mistakes;
mod outputs;
mod placement;
mod read;
mod secrets;
mod serve;
mod sinks;
mod sources;
mod storm;
mod study;
mod torn;
mod watching;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use yagura_event::{Alert, Envelope, Kind, codec};
use yagura_log::embedded::{Embedded, Options};
use yagura_log::{Log, Stored};
use yagura_scene::{Scene, SceneOptions};

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_yagura"));
    command.args(arguments).stdin(Stdio::null());
    command
}

fn yagura(arguments: &[&str]) -> Output {
    command(arguments).output().expect("yagura starts")
}

/// A run under way; its standard error goes into a file.
fn start(config: &Path, log: &Path) -> Child {
    start_with(&["run", "--config", &config.display().to_string()], log)
}

/// The same of one that ends by itself.
fn start_until_done(config: &Path, log: &Path) -> Child {
    start_with(&["run", "--until-done", "--config", &config.display().to_string()], log)
}

fn start_with(arguments: &[&str], log: &Path) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(log).expect("a file");
    command(arguments).stdout(Stdio::null()).stderr(log).spawn().expect("yagura starts")
}

/// Runs a configuration until everything is done.
fn run_to_the_end(config: &Path) {
    let out = yagura(&["run", "--until-done", "--config", &config.display().to_string()]);
    assert!(out.status.success(), "{}", text(&out.stderr));
}

/// Waits until `done` says so; fails after a minute.
fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..6_000 {
        if done() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    panic!("{what} did not happen within a minute");
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn folder() -> tempfile::TempDir {
    tempfile::tempdir().expect("a folder")
}

fn scene(folder: &Path) -> Scene {
    yagura_scene::write(&folder.join("scene"), &SceneOptions::default()).expect("a scene")
}

/// A configuration of the scene, as a user would write it.
fn configure(folder: &Path, scene: &Scene, more: &str) -> PathBuf {
    std::fs::create_dir_all(folder).expect("a folder");
    std::fs::write(folder.join("plant.key"), &scene.plant_key).expect("a key");
    let assets: Vec<Value> =
        scene.assets.iter().map(|a| serde_json::to_value(a).expect("an asset")).collect();
    let release = |subject: &str| {
        serde_json::json!({"as": "control", "columns": {
            "action": "release", "subject": subject,
            "payload": "{\"target\":\"${recipe}\",\"body_hmac\":\"${body_hmac}\"}"}})
    };
    let lines = |name: &str, path: &Path, mapping: Value| serde_json::json!({"name": name, "kind": "jsonl", "path": path, "mapping": mapping});
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
        "version: 1\ndata: data\nconsole: 127.0.0.1:0\ndefault_cell: {}\nplant_key_file: plant.key\ndictionaries: [{}]\nassets: {}\ncollectors: {collectors}\n{more}\n",
        scene.cell,
        scene.dictionary.display(),
        serde_json::to_string(&assets).expect("assets"),
    );
    let file = folder.join("yagura.yaml");
    std::fs::write(&file, config).expect("a configuration");
    file
}

/// The log of a configuration without a `log:`, looked at while nobody owns it.
fn embedded(folder: &Path) -> Embedded {
    Embedded::open(folder.join("data/log"), Options::default()).expect("the log opens")
}

fn each_record(log: &dyn Log, topic: &str, mut with: impl FnMut(Stored)) {
    for partition in 0..log.partitions(topic).expect("partitions") {
        let held = log.held(topic, partition).expect("held");
        let mut reader = log.reader(topic, partition, held.start).expect("a reader");
        while reader.position() < held.end {
            reader.read(8 << 20, Duration::from_secs(10)).expect("records").into_iter().for_each(&mut with);
        }
    }
}

/// What makes a row the same row: cell, collector, epoch and number.
type RowId = (String, String, u64, u64);

/// Every row that a log holds; one written twice must be the same. The times at which a detector
/// missed a collector are the run's own and left out.
fn rows_of(log: &dyn Log) -> BTreeMap<RowId, (Kind, Value)> {
    let mut out = BTreeMap::new();
    each_record(log, "yagura.events", |stored| {
        let envelope = Envelope::from_header(&stored.record.header).expect("an envelope");
        // What the detector itself writes, or passes on, is the run's own.
        if envelope.collector == yagura_detect::worker::OWNER || envelope.origin.is_some() {
            return;
        }
        let rows = codec::decode(&envelope, &stored.record.value).expect("rows");
        for (index, row) in codec::to_json_rows(&rows).into_iter().enumerate() {
            let number = envelope.first_row + index as u64;
            let key = (envelope.cell.clone(), envelope.collector.clone(), envelope.epoch, number);
            let row = (envelope.kind, Value::Object(row));
            if let Some(other) = out.insert(key, row.clone()) {
                assert_eq!(other, row, "a row was written twice and differs");
            }
        }
    });
    out
}

/// Every alert that a log holds by (uid, revision); none may stand there twice.
fn alerts_of(log: &dyn Log) -> BTreeMap<(String, u32), Alert> {
    let mut out = BTreeMap::new();
    each_record(log, "yagura.alerts", |stored| {
        let alert: Alert = serde_json::from_slice(&stored.record.value).expect("an alert");
        let id = (alert.uid.to_string(), alert.revision);
        assert_eq!(out.insert(id.clone(), alert), None, "{id:?} stands in the log twice");
    });
    out
}
