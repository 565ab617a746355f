//! To see it work: dead letters, taps beside a run, tests that are blessed.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::Value;
use yagura_detect::dead::{DEAD, Letter, Place, letters};
use yagura_event::rows::{CoverageBuilder, CoverageRow};
use yagura_event::vocabulary::coverage;
use yagura_event::{Encoding, Envelope, Kind, clock, codec};
use yagura_kafka::{KafkaLog, KafkaOptions};
use yagura_log::{Log, Record};
use yagura_testkit::kafka::Broker;

use crate::outputs::metrics_address;
use crate::{
    alerts_of, command, configure, embedded, folder, run_to_the_end, scene, start, text, wait_for, yagura,
};

/// One gap, as a collector of its own reports it.
fn gap(row: u64) -> Record {
    let time = clock::parse_rfc3339("2026-11-23T00:00:00Z").expect("a time") + row as i64;
    let mut builder = CoverageBuilder::default();
    builder.push(&CoverageRow {
        time,
        until: time,
        observed: time,
        event: coverage::GAP,
        subject: "LINK-9",
        count: 7,
        detail: "a cut link",
        ..Default::default()
    });
    let envelope = Envelope {
        kind: Kind::Coverage,
        version: 1,
        cell: "far-bay".into(),
        collector: "far".into(),
        epoch: 1,
        first_row: row,
        rows: 1,
        observed: (time, time),
        promise: time,
        encoding: Encoding::Arrow,
        origin: None,
        places: Vec::new(),
    };
    Record {
        key: "far-bay".into(),
        header: envelope.to_header().into(),
        value: codec::encode_arrow(&builder.finish()).expect("encodes").into(),
    }
}

fn append(log: &dyn Log, topic: &str, record: Record) {
    let mut appender = log.appender(topic).expect("an appender");
    appender.append(record).expect("appends");
    appender.flush().expect("durable");
}

fn json_lines(bytes: &[u8]) -> Vec<Value> {
    text(bytes).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn a_poisoned_record_becomes_a_letter_and_is_sent_again_once() {
    let folder = folder();
    let scene = scene(folder.path());
    let config = configure(folder.path(), &scene, "collectors: []").display().to_string();
    // Without the scene's collectors: what is tested is what stands in the log.
    let written = std::fs::read_to_string(&config).expect("a file");
    let kept: Vec<&str> = written.lines().filter(|line| !line.starts_with("collectors: [{")).collect();
    std::fs::write(&config, kept.join("\n")).expect("a file");
    run_to_the_end(Path::new(&config));
    let log = embedded(folder.path());
    append(&log, "yagura.events", Record { value: "poison".into(), ..gap(0) });
    drop(log);
    run_to_the_end(Path::new(&config));

    let dead = |more: &[&str]| {
        let out = yagura(&[&["dead", "--config", &config], more].concat());
        assert!(out.status.success(), "{}", text(&out.stderr));
        json_lines(&out.stdout)
    };
    let listed = dead(&["--format", "json"]);
    assert_eq!(listed.len(), 1);
    assert_eq!((&listed[0]["cell"], &listed[0]["readable"]), (&"far-bay".into(), &false.into()));
    assert!(listed[0]["reason"].as_str().is_some_and(|r| r.contains("cannot be read")), "{listed:?}");
    let out = yagura(&["tap", "dead", "--config", &config]);
    assert!(text(&out.stdout).contains("far-bay  6 bytes: the record's rows cannot be read"), "{out:?}");
    assert_eq!(dead(&["--resend", "--yes", "--format", "json"])[0]["sent"], serde_json::json!([]));

    // The mend: what the record should have been.
    let place = |offset: u64| Place {
        topic: "yagura.events".into(),
        partition: listed[0]["partition"].as_u64().expect("a number") as u32,
        offset,
    };
    let log = embedded(folder.path());
    let (reason, found) = ("a test".to_string(), 1);
    let mended = Letter { place: place(1_000), reason, found, record: gap(0), whole: true };
    append(&log, DEAD, mended.to_record());
    drop(log);
    let judged = dead(&["--judge", "--format", "json"]);
    assert_eq!(judged.len(), 1);
    assert_eq!(judged[0]["detection"], "collector-gap");
    let out = yagura(&["dead", "--config", &config, "--resend"]);
    assert_eq!(out.status.code(), Some(2), "nobody there to ask");
    assert!(text(&out.stderr).contains("--yes"), "{}", text(&out.stderr));
    assert_eq!(alerts_of(&embedded(folder.path())).len(), 0);
    let sent = dead(&["--resend", "--yes", "--format", "json"]);
    assert_eq!(sent[0]["sent"], serde_json::json!([place(1_000).to_string()]));
    assert_eq!(dead(&["--resend", "--yes", "--format", "json"])[0]["sent"], serde_json::json!([]));
    run_to_the_end(Path::new(&config));
    let alerts = alerts_of(&embedded(folder.path()));
    let uids: Vec<&str> = alerts.keys().map(|(uid, _)| uid.as_str()).collect();
    assert_eq!(uids, [judged[0]["uid"].as_str().expect("a uid")]);
    let out = yagura(&["replay", "--check", "--config", &config]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let out = yagura(&["dead", "--config", &config, "0/77"]);
    assert_eq!(out.status.code(), Some(2), "{}", text(&out.stderr));
}

#[test]
fn a_kill_repeats_no_dead_letter() {
    let folder = folder();
    let config = folder.path().join("yagura.yaml");
    std::fs::write(&config, "version: 1\ndata: data\nconsole: 127.0.0.1:0\n").expect("a file");
    run_to_the_end(&config);
    for kill in 0..12 {
        let log = embedded(folder.path());
        append(&log, "yagura.events", Record { value: format!("poison {kill}").into(), ..gap(2 * kill) });
        append(&log, "yagura.events", gap(2 * kill + 1));
        drop(log);
        let mut child = start(&config, &folder.path().join("stderr"));
        std::thread::park_timeout(Duration::from_millis(20 + kill * 37));
        child.kill().expect("it is killed");
        child.wait().expect("it ended");
    }
    run_to_the_end(&config);
    let log = embedded(folder.path());
    let found = letters(&log).expect("letters");
    let values: Vec<String> = found.values().map(|kept| text(&kept.letter.record.value)).collect();
    assert_eq!(values, (0..12).map(|kill| format!("poison {kill}")).collect::<Vec<_>>());
    assert_eq!(log.held(DEAD, 0).expect("held").end, 12, "each was written once");
}

#[test]
fn dead_letters_go_through_kafka() {
    let folder = folder();
    let broker = Broker::start().expect("a broker");
    let config = folder.path().join("yagura.yaml");
    let address = broker.address();
    let written = format!("version: 1\nconsole: 127.0.0.1:0\nlog: {{ kafka: {{ brokers: '{address}' }} }}\n");
    std::fs::write(&config, written).expect("a file");
    run_to_the_end(&config);
    let log = KafkaLog::connect(KafkaOptions::new(&address)).expect("the broker answers");
    append(&log, "yagura.events", Record { value: "poison".into(), ..gap(0) });
    run_to_the_end(&config);
    run_to_the_end(&config);
    let config = config.display().to_string();
    let out = yagura(&["tap", "dead", "--config", &config, "--format", "json"]);
    let told = json_lines(&out.stdout);
    assert_eq!(told.len(), 1, "{}", text(&out.stderr));
    assert_eq!((&told[0]["cell"], &told[0]["of"]["offset"]), (&"far-bay".into(), &0.into()));
    append(&log, "yagura.events", gap(0));
    run_to_the_end(Path::new(&config));
    assert_eq!(alerts_of(&log).len(), 1, "the hole that it left is filled");
    let out = yagura(&["tap", "events", "--config", &config, "--cell", "far-bay", "--from", "1"]);
    assert!(text(&out.stdout).contains("subject=LINK-9"), "{out:?}");
}

#[test]
fn top_shows_what_a_run_does() {
    let folder = folder();
    let scene = scene(folder.path());
    let config = configure(folder.path(), &scene, "pace: 400").display().to_string();
    let mut child = command(&["run", "--format", "json", "--config", &config])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("yagura starts");
    let url = format!("http://{}", metrics_address(&mut child));
    let top = |more: &[&str]| {
        let out = yagura(&[&["top", "--url", &url, "--once", "--interval", "0.5"], more].concat());
        assert!(out.status.success(), "{}", text(&out.stderr));
        text(&out.stdout)
    };
    let look = || -> Value { serde_json::from_str(&top(&["--format", "json"])).expect("JSON") };
    // Rows come in batches: an interval may be without any.
    let above = |value: &Value| value.as_f64().is_some_and(|value| value > 0.0);
    wait_for("rows that pass", || {
        let seen = look();
        above(&seen["rows"]["per_second"]) && above(&seen["detections"][0]["busy"])
    });
    wait_for("an alert", || above(&look()["alerts_by_queue"]["security"]));
    let seen = look();
    assert_eq!((&seen["live"], &seen["ready"]), (&"yes".into(), &"yes".into()), "{seen}");
    assert_eq!(seen["cells"][0]["cell"], scene.cell);
    assert_eq!(seen["lag"].as_object().map(|lag| lag.len()), Some(4), "{seen}");
    let page = top(&[]);
    assert!(page.contains("DETECTION") && page.contains(scene.cell) && !page.contains('\x1b'), "{page}");
    let page = top(&["--config", &config]);
    assert!(page.contains("BUSIEST KEYS") && page.contains("tool ETCH-"), "{page}");
    child.kill().expect("it is killed");
    child.wait().expect("it ended");
    let out = yagura(&["top", "--url", &url, "--once"]);
    assert_eq!(out.status.code(), Some(1));
    assert!(text(&out.stderr).contains(&url), "{}", text(&out.stderr));
    assert_eq!(yagura(&["top", "--url", "https://x"]).status.code(), Some(2));
}

#[test]
fn taps_read_beside_a_run() {
    let folder = folder();
    let scene = scene(folder.path());
    let config = configure(folder.path(), &scene, "pace: 400").display().to_string();
    let mut child = start(Path::new(&config), &folder.path().join("stderr"));
    let tap = |more: &[&str]| {
        let out = yagura(&[&["tap", "--config", &config], more].concat());
        assert!(out.status.success(), "{}", text(&out.stderr));
        text(&out.stdout)
    };
    wait_for("the log", || folder.path().join("data/log/topics/yagura.events").exists());
    let lines = tap(&["events", "--follow", "--limit", "20", "--format", "json"]);
    assert_eq!(json_lines(lines.as_bytes()).len(), 20);
    let writes = "operation = 'recipe.write'";
    let lines = tap(&[
        "events", "--follow", "--from", "start", "--kind", "message", "--where", writes, "--limit", "1",
    ]);
    assert!(lines.contains("operation=recipe.write") && lines.contains("message"), "{lines}");
    let lines = tap(&["alerts", "--follow", "--from", "start", "--limit", "1"]);
    assert!(lines.contains("security") || lines.contains("equipment"), "{lines}");
    let lines = tap(&["events", "--kind", "sample", "--limit", "5"]);
    assert!(lines.lines().all(|line| line.contains("sample") && line.contains("value=")), "{lines}");
    assert_eq!(tap(&["events", "--cell", "nowhere"]), "");
    assert_eq!(tap(&["late"]), "");
    let out = yagura(&["tap", "events", "--config", &config, "--kind", "message", "--where", "opration = 1"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("operation"), "{}", text(&out.stderr));
    assert!(child.try_wait().expect("a process").is_none(), "the run goes on");
    child.kill().expect("it is killed");
    child.wait().expect("it ended");
    assert!(!tap(&["events", "--limit", "3"]).is_empty(), "and the log of a killed run is read");
}

#[test]
fn expectations_are_shown_and_blessed() {
    let folder = folder();
    let scenes = folder.path().join("scenes");
    std::fs::create_dir_all(&scenes).expect("a folder");
    let row = |at: &str, tool: &str| {
        format!(
            "{{\"kind\":\"message\",\"time\":\"2026-11-23T00:{at}Z\",\"operation\":\"write\",\"tool\":\"{tool}\"}}\n"
        )
    };
    std::fs::write(scenes.join("a.jsonl"), row("00:00", "A") + &row("00:07", "B")).expect("a file");
    let pipeline = "# People's words stay.
version: 1
detections:
  - id: written # an id
    title: W
    queue: security
    severity: low
    on: message
    where: operation = 'write'
    by: [tool]
    summary: '{tool} was written'
    then: Look.
    tests:
      - name: writes are reported
        input: scenes/a.jsonl
        expect: # both of them
          - { at: \"00:00:00\", tool: A } # right
          - { at: \"00:00:09\", tool: B }
  - { id: bare, title: B, queue: security, severity: low, on: flow, summary: b, then: Look. }
";
    let file = folder.path().join("p.yaml");
    std::fs::write(&file, pipeline).expect("a file");
    let test = |more: &[&str]| yagura(&[&["test", &file.display().to_string()], more].concat());
    let out = test(&[]);
    assert_eq!(out.status.code(), Some(1));
    let said = text(&out.stdout);
    assert!(said.contains("≠ at    00:00:09  00:00:07"), "{said}");
    assert!(said.contains("without a test: bare"), "{said}");
    let out = test(&["--bless"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    assert_eq!(std::fs::read_to_string(&file).expect("a file"), pipeline.replace("00:00:09", "00:00:07"));
    assert!(test(&[]).status.success());
    assert_eq!(test(&["--strict"]).status.code(), Some(1));
    assert!(test(&["--strict", "--only", "written"]).status.success());
    let out = test(&["--only", "writen"]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("written, bare"), "{}", text(&out.stderr));
    let out = test(&["--format", "json"]);
    let said: Value = serde_json::from_slice(&out.stdout).expect("JSON");
    assert_eq!((&said["failed"], &said["untested"]), (&0.into(), &serde_json::json!(["bare"])));
}
