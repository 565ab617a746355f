//! Planted secrets: recipe text leaves the collector nowhere; names of people and lots leave where nobody said that they
//! may. Everything that a run writes is searched for them.

use std::path::Path;

use serde_json::json;

use crate::{configure, folder, scene, start_until_done, text, yagura};

/// At the head of each recipe body of the scene.
const RECIPE: &str = "KEEP-IN-FAB-";
const HOLDER: &str = "Tanaka-Hanako";
const LOT: &str = "LOT-Q7741";

const PIPELINE: &str = "version: 1
detections:
  - { id: door, title: A door, queue: security, severity: low, on: log, where: category = 'badge', by: [tool, user],
      quiet: 0s, summary: '{user} at {tool}', then: Look. }
";

/// The files below a folder that hold a text, as it is or in Parquet's pages.
fn holding(folder: &Path, words: &str) -> Vec<String> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        if path.is_dir() {
            out.extend(holding(&path, words));
        } else if std::fs::read(&path)
            .expect("a file")
            .windows(words.len())
            .any(|part| part == words.as_bytes())
        {
            out.push(path.display().to_string());
        }
    }
    out
}

#[test]
fn what_is_the_fabs_own_is_in_no_output_that_nobody_allowed() {
    let home = folder();
    let scene = scene(home.path());
    assert!(!holding(scene.packets.parent().expect("a folder"), RECIPE).is_empty(), "it is planted");
    let run = home.path().join("run");
    let more = "archive: { store: history, redact: { classes: [personal, secret, process] } }\n\
        sinks: [ { name: out, kind: file, path: alerts.jsonl, heartbeat: off } ]\n\
        pipelines: [ p.yaml ]";
    let config = configure(&run, &scene, more);
    // What people did, beside the scene.
    let mut document: serde_json::Value =
        serde_saphyr::from_str(&std::fs::read_to_string(&config).expect("a configuration")).expect("YAML");
    let begin = "2026-11-23T03:00:00Z";
    let door = json!({ "time": begin, "tool": "GATE-1", "holder": HOLDER });
    let lot = json!({ "time": begin, "tool": "GATE-1", "name": "lot", "value": LOT });
    for (name, line) in [("door.jsonl", door), ("lot.jsonl", lot)] {
        std::fs::write(run.join(name), format!("{line}\n")).expect("a file");
    }
    std::fs::write(run.join("p.yaml"), PIPELINE).expect("a pipeline");
    let collectors = document["collectors"].as_array_mut().expect("collectors");
    let mapped = |name: &str, mapping: serde_json::Value| json!({ "name": name, "kind": "jsonl", "path": format!("{name}.jsonl"), "mapping": mapping });
    collectors.push(mapped("lot", json!({ "as": "context" })));
    collectors.push(mapped(
        "door",
        json!({ "as": "log", "columns": { "tool": "${tool}", "category": "badge", "user": "${holder}" } }),
    ));
    std::fs::write(&config, document.to_string()).expect("a configuration");
    let errors = run.join("errors");
    let mut child = start_until_done(&config, &errors);
    assert!(
        child.wait().expect("it ends").success(),
        "{}",
        std::fs::read_to_string(&errors).unwrap_or_default()
    );

    // Recipe text: nowhere at all, the log and the raw rows in it with the rest.
    assert_eq!(holding(&run, RECIPE), [""; 0]);
    // People and lots: in the log and in what was read, and in nothing that goes out.
    let sources = [run.join("door.jsonl"), run.join("lot.jsonl")].map(|path| path.display().to_string());
    for secret in [HOLDER, LOT] {
        let found = holding(&run, secret);
        let allowed = |path: &String| path.contains("/data/log/") || sources.contains(path);
        assert!(found.iter().all(allowed) && found.len() > 1, "{secret}: {found:?}");
    }
    let ask = |sql: &str| {
        let out = yagura(&["query", "-c", &config.display().to_string(), sql, "--format", "json"]);
        assert!(out.status.success(), "{}", text(&out.stderr));
        text(&out.stdout)
    };
    // Pages are packed: what a query shows, too.
    for sql in ["SELECT * FROM log", "SELECT * FROM context", "SELECT * FROM alert", "SELECT * FROM message"]
    {
        let shown = ask(sql);
        assert!(!shown.is_empty(), "{sql}");
        for secret in [RECIPE, HOLDER, LOT] {
            assert!(!shown.contains(secret), "{sql}: {secret}");
        }
    }
    assert!(ask("SELECT \"user\" FROM log WHERE category = 'badge'").contains("[personal]"));
    assert!(ask("SELECT value FROM context WHERE name = 'lot' AND tool = 'GATE-1'").contains("[process]"));
    let told = std::fs::read_to_string(run.join("alerts.jsonl")).expect("alerts");
    assert!(told.contains("A door") && told.contains("[personal]"), "{told}");
}
