//! The life of alerts: seen, acknowledged, resolved, come back, muted; with who and why, whoever holds the log.

use std::path::Path;

use serde_json::{Value, json};
use yagura_event::clock::{self, Micros, SECOND};

use crate::{command, each_record, embedded, folder, run_to_the_end, start, text, wait_for, yagura};

const PIPELINE: &str = "version: 1
detections:
  - { id: trouble, title: Trouble at a door, queue: security, severity: high, on: log, where: event = 'trouble',
      by: [tool], quiet: 10s, summary: 'trouble at {tool}', then: Look. }
  - { id: noise, title: Noise, queue: equipment, severity: low, on: log, where: event = 'noise',
      by: [tool], quiet: 10s, summary: 'noise at {tool}', then: Listen. }
";

struct Fab {
    home: tempfile::TempDir,
    config: String,
    days: Vec<String>,
}

impl Fab {
    fn new() -> Self {
        let home = folder();
        std::fs::write(home.path().join("p.yaml"), PIPELINE).expect("a pipeline");
        let config = home.path().join("yagura.yaml").display().to_string();
        Fab { home, config, days: Vec::new() }
    }

    /// Something happens: tools, and what, a second after the other.
    fn happens(&mut self, from: Micros, what: &[(&str, &str)]) {
        let line = |(n, (tool, event)): (usize, &(&str, &str))| {
            let time = clock::rfc3339(from + n as Micros * SECOND);
            format!("{}\n", json!({"time": time, "tool": tool, "category": "door", "event": event}))
        };
        let name = format!("day{}", self.days.len());
        let lines: String = what.iter().enumerate().map(line).collect();
        std::fs::write(self.home.path().join(format!("{name}.jsonl")), lines).expect("a file");
        self.days.push(name);
        let collectors = self.days.iter().map(|name| {
            json!({"name": name, "kind": "jsonl", "path": format!("{name}.jsonl"), "mapping": {"as": "log"}})
        });
        let all = json!({
            "version": 1, "data": "data", "console": "127.0.0.1:0", "default_cell": "bay", "pipelines": ["p.yaml"],
            "collectors": collectors.collect::<Vec<_>>(),
            "sinks": [{"name": "local", "kind": "file", "path": "told.jsonl"}],
        });
        std::fs::write(&self.config, all.to_string()).expect("a configuration");
    }

    fn arguments<'a>(&'a self, command: &'a str, more: &[&'a str]) -> Vec<&'a str> {
        [&["alerts", command, "-c", &self.config], more].concat()
    }

    fn told(&self, command: &str, more: &[&str]) -> Vec<Value> {
        let out = yagura(&[&self.arguments(command, more)[..], &["--format", "json"]].concat());
        assert!(out.status.success(), "{command} {more:?}: {}", text(&out.stderr));
        text(&out.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
    }

    fn refused(&self, command: &str, more: &[&str]) -> String {
        let out = yagura(&self.arguments(command, more));
        assert_eq!(out.status.code(), Some(2), "{}", text(&out.stdout));
        text(&out.stderr)
    }

    /// Detection, tool and status of each finding that the sink was told, without heartbeats.
    fn sunk(&self) -> Vec<String> {
        let written = std::fs::read_to_string(self.home.path().join("told.jsonl")).unwrap_or_default();
        let events = written.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        events
            .filter(|event| event["class_uid"] == 2004)
            .map(|event| {
                let (detection, tool) = (&event["metadata"]["event_code"], &event["device"]["name"]);
                format!("{} {} {}", text_of(detection), text_of(tool), text_of(&event["status"]))
            })
            .collect()
    }

    /// Tool, state and count of each case that a list has.
    fn list(&self, more: &[&str]) -> Vec<String> {
        let told = self.told("list", more);
        told.iter()
            .map(|c| format!("{} {} {}", text_of(&c["alert"]["tool"]), text_of(&c["state"]), c["count"]))
            .collect()
    }
}

fn text_of(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

#[test]
fn a_case_is_acknowledged_resolved_and_returns() {
    let mut fab = Fab::new();
    // 2026-11-23T00:00:00Z.
    let midnight = 1_795_392_000 * SECOND;
    fab.happens(
        midnight,
        &[("GATE", "trouble"), ("DOOR", "noise"), ("GATE", "trouble"), ("DOCK", "trouble")],
    );
    run_to_the_end(Path::new(&fab.config));
    assert_eq!(fab.list(&[]), ["DOCK new 1", "GATE new 2", "DOOR new 1"], "the worst first, then the latest");
    assert_eq!(fab.list(&["--queue", "equipment"]), ["DOOR new 1"]);
    assert_eq!(fab.list(&["--severity", "medium", "--tool", "GATE"]), ["GATE new 2"]);
    let id = |tool: &str| fab.told("list", &["--tool", tool])[0]["id"].as_str().expect("an id").to_string();
    let (gate, dock, door) = (id("GATE"), id("DOCK"), id("DOOR"));

    fab.told("acknowledge", &[&gate[..8], "--why", "on my way", "--by", "mori"]);
    fab.told("resolve", &[&dock, "--why", "closed", "--by", "sato"]);
    fab.told("false-positive", &[&door, "--why", "it is always loud"]);
    assert_eq!(fab.list(&[]), ["GATE acknowledged 2"]);
    assert_eq!(
        fab.list(&["--state", "resolved,false-positive"]),
        ["DOCK resolved 1", "DOOR false-positive 1"]
    );
    // The detection hears of what was false, in the cell's own log.
    let mut told = Vec::new();
    each_record(&embedded(fab.home.path()), "yagura.events", |stored| {
        let row = serde_json::from_slice(&stored.record.value).unwrap_or_else(|_| json!({}));
        told.extend((row["action"] == "false-alarm").then_some(row));
    });
    assert_eq!(
        (told.len(), &told[0]["subject"], &told[0]["payload"]),
        (1, &json!("noise"), &json!(r#"{"tool":"DOOR"}"#))
    );

    let shown = command(&fab.arguments("show", &[&gate[..8]])).output().expect("yagura starts");
    let shown = text(&shown.stdout);
    for said in ["trouble at GATE", "acknowledged by mori: on my way", "Look.", &gate] {
        assert!(shown.contains(said), "{said}: {shown}");
    }

    let before = fab.sunk();
    assert_eq!(before.len(), 4, "three, and that the gate had two: {before:?}");

    // It happens again: what was resolved is open, what was called false stays so.
    fab.happens(midnight + 3600 * SECOND, &[("DOCK", "trouble"), ("DOOR", "noise"), ("GATE", "trouble")]);
    run_to_the_end(Path::new(&fab.config));
    assert_eq!(fab.list(&[]), ["DOCK reopened 2", "GATE acknowledged 3"]);
    assert_eq!(fab.list(&["--state", "false-positive"]), ["DOOR false-positive 2"]);
    // The sink has heard what was decided before it hears of what came then.
    let decided = ["trouble GATE In Progress", "trouble DOCK Resolved", "noise DOOR Suppressed"];
    let after = ["trouble DOCK New", "noise DOOR New", "trouble GATE New"];
    let sunk = fab.sunk();
    assert_eq!(&sunk[4..7], decided);
    let mut rest = sunk[7..].to_vec();
    rest.sort();
    let mut expected = after.to_vec();
    expected.sort_unstable();
    assert_eq!(rest, expected);
    let whole = fab.told("export", &[]);
    let of_dock = whole.iter().find(|case| case["id"] == json!(dock)).expect("exported");
    assert_eq!((&of_dock["alerts"], &of_dock["decisions"][0]["by"]), (&json!(2), &json!("sato")));

    // What somebody looks after stays so at its receiver while it counts further rows.
    fab.told("acknowledge", &[&gate[..8], "--why", "again", "--by", "mori"]);
    fab.happens(midnight + 3607 * SECOND, &[("GATE", "trouble")]);
    run_to_the_end(Path::new(&fab.config));
    assert_eq!(fab.sunk()[sunk.len()..], ["trouble GATE In Progress", "trouble GATE In Progress"]);
    assert_eq!(fab.list(&["--tool", "GATE"]), ["GATE acknowledged 4"]);

    assert!(fab.refused("resolve", &["ffff-none", "--why", "x"]).contains("no case"));
    assert!(fab.refused("resolve", &["", "--why", "x"]).contains("several cases"));
    assert!(fab.refused("resolve", &[&gate, "--why", " "]).contains("--why is empty"));
}

#[test]
fn mutes_end_and_a_running_instance_takes_decisions() {
    let mut fab = Fab::new();
    let now = clock::now();
    fab.happens(now, &[("GATE", "noise")]);
    run_to_the_end(Path::new(&fab.config));
    assert!(fab.refused("mute", &["all", "--for", "8h", "--why", "x"]).contains("every alert of the plant"));
    fab.told(
        "mute",
        &["pm", "--tool", "GATE", "--for", "8h", "--why", "the pump is replaced", "--by", "ito"],
    );
    assert_eq!(fab.list(&[]), ["GATE new 1"], "what came before is not muted");
    fab.happens(clock::now() + 20 * SECOND, &[("GATE", "trouble"), ("DOCK", "trouble")]);
    run_to_the_end(Path::new(&fab.config));
    assert_eq!(fab.list(&[]), ["DOCK new 1", "GATE new 1"], "one of the gate's two is muted");
    assert_eq!(fab.list(&["--muted"]).len(), 3);
    let mut sunk = fab.sunk();
    sunk.sort();
    assert_eq!(sunk, ["noise GATE New", "trouble DOCK New"], "the muted one reaches no sink");
    let muted = fab.told("list", &["--muted", "--tool", "GATE", "--queue", "security"]);
    assert_eq!(muted[0]["muted"]["why"], json!("the pump is replaced"));
    let mutes = fab.told("mutes", &[]);
    assert_eq!((&mutes[0]["mute"]["id"], &mutes[0]["holds"]), (&json!("pm"), &json!(true)));

    // Somebody else holds the log now.
    let mut running = start(Path::new(&fab.config), &fab.home.path().join("errors"));
    let id = fab.told("list", &["--tool", "DOCK"])[0]["id"].as_str().expect("an id").to_string();
    wait_for("the instance holds the log", || {
        fab.told("acknowledge", &[&id, "--why", "I see it"])[0]["handed"] == json!(true)
    });
    wait_for("it takes the decision", || fab.list(&["--tool", "DOCK"]) == ["DOCK acknowledged 1"]);
    wait_for("its sink hears of it", || fab.sunk().contains(&"trouble DOCK In Progress".into()));
    fab.told("unmute", &["pm", "--why", "done"]);
    wait_for("the mute ends", || fab.told("mutes", &[])[0]["holds"] == json!(false));
    let stop = std::process::Command::new("kill").args(["-TERM", &running.id().to_string()]).status();
    assert!(stop.expect("kill runs").success());
    assert!(running.wait().expect("it ends").success());
}

#[test]
fn mutes_of_files_hold_before_the_first_alert_and_end_with_their_lines() {
    let mut fab = Fab::new();
    let file = fab.home.path().join("mutes.yaml");
    let mutes = "version: 1
mutes:
  - { id: pump, why: the pump is replaced, by: sato, until: 2999-01-01T00:00:00Z, tool: GATE,
      tests: [ { alert: { tool: GATE, queue: security }, muted: true }, { alert: { tool: DOCK, queue: security }, muted: false } ] }
";
    let place = file.display().to_string();
    std::fs::write(&file, mutes.replacen("muted: true", "muted: false", 1)).expect("mutes");
    let out = yagura(&["test", &place]);
    assert!(
        out.status.code() == Some(1) && text(&out.stderr).contains("test 1 fails"),
        "{}",
        text(&out.stderr)
    );
    std::fs::write(&file, mutes).expect("mutes");
    let out = yagura(&["test", &place]);
    assert!(out.status.success() && text(&out.stdout).contains("1 mutes"), "{}", text(&out.stdout));

    let happens = |fab: &mut Fab| {
        fab.happens(
            clock::now() + 3600 * fab.days.len() as Micros * SECOND,
            &[("GATE", "trouble"), ("DOCK", "trouble")],
        );
        let mut config: Value =
            serde_json::from_str(&std::fs::read_to_string(&fab.config).expect("a configuration"))
                .expect("JSON");
        config["mutes"] = json!(["mutes.yaml"]);
        std::fs::write(&fab.config, config.to_string()).expect("a configuration");
        run_to_the_end(Path::new(&fab.config));
    };
    happens(&mut fab);
    assert_eq!(fab.list(&[]), ["DOCK new 1"]);
    assert_eq!(fab.sunk(), ["trouble DOCK New"]);
    let muted = &fab.told("list", &["--muted", "--tool", "GATE"])[0]["muted"];
    assert_eq!((&muted["by"], &muted["mute"]["id"]), (&json!("sato"), &json!("pump")));

    std::fs::write(&file, "version: 1\nmutes: []\n").expect("no mutes");
    happens(&mut fab);
    let mutes = fab.told("mutes", &[]);
    assert_eq!((mutes.len(), &mutes[0]["holds"]), (1, &json!(false)));
}
