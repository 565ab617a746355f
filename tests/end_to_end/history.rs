//! The archive role and `query`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Output;

use serde_json::Value;
use yagura_event::Kind;
use yagura_kafka::{KafkaLog, KafkaOptions};
use yagura_log::Log;
use yagura_testkit::kafka::Broker;

use crate::{
    alerts_of, configure, embedded, folder, rows_of, run_to_the_end, scene, start, text, wait_for, yagura,
};

/// The answer to a query, a row an object.
fn query(config: &Path, sql: &str) -> Vec<Value> {
    let out = ask(config, &["--format", "json", sql]);
    assert!(out.status.success(), "{sql}: {}", text(&out.stderr));
    text(&out.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn ask(config: &Path, more: &[&str]) -> Output {
    let config = config.display().to_string();
    yagura(&[&["query", "--config", &config], more].concat())
}

fn number(row: &Value, column: &str) -> u64 {
    row[column].as_u64().unwrap_or_else(|| panic!("{column} of {row}"))
}

/// The identity of every row of a kind in the history: cell, collector, epoch, number.
fn identities(config: &Path, kind: Kind) -> Vec<(String, String, u64, u64)> {
    let rows = query(config, &format!("SELECT cell, collector, epoch, row FROM {}", kind.name()));
    let word = |row: &Value, column: &str| row[column].as_str().unwrap_or_default().to_string();
    let id =
        |row: &Value| (word(row, "cell"), word(row, "collector"), number(row, "epoch"), number(row, "row"));
    let mut out: Vec<_> = rows.iter().map(id).collect();
    out.sort();
    out
}

/// Every row of the log is in the history once, apart from the owner's own.
fn check_against_the_log(config: &Path, log: &dyn Log) {
    let mut expected: BTreeMap<Kind, Vec<(String, String, u64, u64)>> = BTreeMap::new();
    for (id, (kind, _)) in rows_of(log) {
        expected.entry(kind).or_default().push(id);
    }
    for kind in Kind::ALL.into_iter().filter(|kind| *kind != Kind::Alert) {
        let mut found = identities(config, kind);
        found.retain(|(_, collector, ..)| collector != yagura_detect::worker::OWNER);
        assert_eq!(found, expected.remove(&kind).unwrap_or_default(), "{kind:?}");
    }
    let alerts = query(config, "SELECT uid, revision FROM alert");
    let mut found: Vec<_> = alerts
        .iter()
        .map(|row| (row["uid"].as_str().unwrap_or_default().to_string(), number(row, "revision") as u32))
        .collect();
    found.sort();
    assert_eq!(found, alerts_of(log).into_keys().collect::<Vec<_>>());
}

#[test]
fn everything_of_a_run_is_in_its_history_and_answers() {
    let folder = folder();
    let scene = scene(folder.path());
    let run = folder.path().join("run");
    let config = configure(&run, &scene, "archive: { store: history, keep: 90d }");
    run_to_the_end(&config);
    check_against_the_log(&config, &embedded(&run));
    // A second run reads it all again, judges nothing and writes nothing.
    let count = |files: &Path| walk(files).iter().filter(|path| path.ends_with(".parquet")).count();
    let before = count(&run.join("history"));
    run_to_the_end(&config);
    assert_eq!(count(&run.join("history")), before);

    // An alert leads to the row that caused it, also one that samples raised.
    let causes = query(
        &config,
        "SELECT a.detection, m.operation, m.target FROM alert a JOIN message m ON m.cell = a.cell
         AND m.collector = a.cause_collector AND m.epoch = a.cause_epoch AND m.row = a.cause_row
         WHERE a.revision = 1",
    );
    assert!(!causes.is_empty());
    let values = query(
        &config,
        "SELECT a.tool AS said, s.tool, s.signal, s.unit FROM alert a JOIN sample s ON s.cell = a.cell
         AND s.collector = a.cause_collector AND s.epoch = a.cause_epoch AND s.row = a.cause_row",
    );
    assert!(!values.is_empty() && values.iter().all(|row| row["said"] == row["tool"]), "{values:?}");
    // Every sample of the scene has a name.
    assert_eq!(query(&config, "SELECT count(*) AS n FROM sample WHERE signal IS NULL")[0]["n"], 0);
    // Folders and row groups that are left out change no answer.
    let all = query(&config, "SELECT date, cell, count(*) AS n FROM message GROUP BY date, cell ORDER BY n");
    for day in &all {
        let (date, cell) = (day["date"].as_str().expect("a date"), day["cell"].as_str().expect("a cell"));
        let sql = format!(
            "SELECT count(*) AS n, min(observed) AS first, max(observed) AS last FROM message WHERE date = '{date}' AND cell = '{cell}'"
        );
        let bounds = &query(&config, &sql)[0];
        assert_eq!(bounds["n"], day["n"]);
        let between = format!(
            "SELECT count(*) AS n FROM message WHERE cell = '{cell}' AND observed BETWEEN '{}' AND '{}'",
            bounds["first"].as_str().expect("a time"),
            bounds["last"].as_str().expect("a time"),
        );
        assert_eq!(query(&config, &between)[0]["n"], day["n"]);
    }
    let none =
        query(&config, "SELECT count(*) AS n FROM message WHERE date < '2001-01-01' OR cell = 'nowhere'");
    assert_eq!(none[0]["n"], 0);
    // What the fab keeps secret is not in the history.
    for kind in Kind::ALL {
        let out = ask(&config, &["--format", "json", &format!("SELECT * FROM {}", kind.name())]);
        assert!(out.status.success(), "{}", text(&out.stderr));
        assert!(scene.secrets.iter().all(|secret| !text(&out.stdout).contains(secret.as_str())), "{kind:?}");
    }
}

#[test]
fn answers_come_as_tables_and_files() {
    let folder = folder();
    let scene = scene(folder.path());
    let config = configure(folder.path(), &scene, "archive: { store: history }");
    run_to_the_end(&config);
    let sql = "SELECT time, protocol, count FROM message ORDER BY collector, row LIMIT 7";
    let table = ask(&config, &[sql]);
    let lines: Vec<String> = text(&table.stdout).lines().map(str::to_string).collect();
    assert!(lines.len() == 8 && lines[0].starts_with("time"), "{lines:?}");
    assert_eq!(text(&table.stderr), "7 rows\n");
    let cut = ask(&config, &["--limit", "3", sql]);
    assert_eq!(text(&cut.stdout).lines().count(), 4);
    assert_eq!(text(&cut.stderr), "3 rows; there are more\n");

    let file = |name: &str| folder.path().join(name);
    for name in ["a.csv", "a.json", "a.parquet"] {
        let out = ask(&config, &["--output", &file(name).display().to_string(), sql]);
        assert!(out.status.success(), "{}", text(&out.stderr));
    }
    let csv = std::fs::read_to_string(file("a.csv")).expect("a file");
    assert!(csv.starts_with("time,protocol,count\n") && csv.lines().count() == 8, "{csv}");
    let objects = std::fs::read_to_string(file("a.json")).expect("a file");
    let first: Value = serde_json::from_str(objects.lines().next().expect("a line")).expect("JSON");
    assert_eq!(first["time"].as_str(), csv.lines().nth(1).and_then(|line| line.split(',').next()));
    assert!(std::fs::read(file("a.parquet")).expect("a file").starts_with(b"PAR1"));
    // A folder that somebody else keeps is asked in the same way.
    let there = folder.path().join("history").display().to_string();
    let out = yagura(&["query", "--history", &there, "--format", "json", "SHOW TABLES"]);
    let tables = text(&out.stdout);
    assert!(Kind::ALL.iter().all(|kind| tables.contains(&format!("\"{}\"", kind.name()))), "{tables}");
}

#[test]
fn wrong_queries_say_what_would_be_right() {
    let folder = folder();
    let scene = scene(folder.path());
    let config = configure(folder.path(), &scene, "archive: { store: history }");
    // Nothing has run: every table is there and empty.
    assert_eq!(query(&config, "SELECT count(*) AS n FROM sample")[0]["n"], 0);
    for (sql, told) in [
        ("SELECT signall FROM sample", "column 8: there is no column `signall`; there are: "),
        ("SELECT * FROM samples", "there is no table `samples`; there are: message, flow"),
        ("SELECT = FROM flow", "Line: 1"),
        ("DROP TABLE message", "read only"),
        ("INSERT INTO flow SELECT * FROM flow", "read only"),
        ("COPY message TO '/tmp/x.csv'", "read only"),
        ("CREATE EXTERNAL TABLE x STORED AS CSV LOCATION '/etc/passwd'", "read only"),
        ("SET datafusion.execution.batch_size = 1", "read only"),
        ("SELECT nosuch(value) FROM sample", "nosuch"),
    ] {
        let out = ask(&config, &[sql]);
        assert_eq!(out.status.code(), Some(2), "{sql}: {}", text(&out.stderr));
        assert!(text(&out.stderr).contains(told), "{sql}: {}", text(&out.stderr));
    }
    let out = ask(&config, &["SELECT 1", "--output", "answer.xlsx"]);
    assert!(text(&out.stderr).contains(".parquet"), "{}", text(&out.stderr));
    let out = yagura(&["query", "--history", "nowhere", "SELECT 1"]);
    assert_eq!(out.status.code(), Some(2));
    let without = configure(&folder.path().join("without"), &scene, "");
    let out = ask(&without, &["SELECT 1"]);
    assert!(
        out.status.code() == Some(2) && text(&out.stderr).contains("archive: {"),
        "{}",
        text(&out.stderr)
    );
}

#[test]
fn a_killed_run_leaves_no_row_out_and_none_twice() {
    let folder = folder();
    let scene = scene(folder.path());
    let run = folder.path().join("run");
    let config = configure(&run, &scene, "pace: 600\narchive: { store: history, flush_every: 1s }");
    kill(4, &config, &run);
    let config = configure(&run, &scene, "archive: { store: history }");
    run_to_the_end(&config);
    check_against_the_log(&config, &embedded(&run));
}

#[test]
fn a_killed_run_on_kafka_leaves_no_row_out_and_none_twice() {
    let folder = folder();
    let scene = scene(folder.path());
    let broker = Broker::start().expect("a broker");
    let log = format!("log: {{ kafka: {{ brokers: '{}', instance_id: yagura-1 }} }}", broker.address());
    let run = folder.path().join("run");
    let more = format!("pace: 100\narchive: {{ store: history, flush_every: 1s }}\n{log}");
    kill(2, &configure(&run, &scene, &more), &run);
    let config = configure(&run, &scene, &format!("archive: {{ store: history }}\n{log}"));
    run_to_the_end(&config);
    let log = KafkaLog::connect(KafkaOptions::new(broker.address())).expect("the broker answers");
    check_against_the_log(&config, &log);
}

/// Kills a run each time that it has written something more, a little later every time.
fn kill(times: u64, config: &Path, run: &Path) {
    for kill in 1..=times {
        let mut child = start(config, &run.join("stderr"));
        let files = || walk(&run.join("history")).len();
        let before = files();
        wait_for("a file", || files() > before || child.try_wait().expect("a process").is_some());
        std::thread::park_timeout(std::time::Duration::from_millis(37 * kill));
        child.kill().expect("it is killed");
        child.wait().expect("it ended");
    }
}

fn walk(folder: &Path) -> Vec<String> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        match entry.path().is_dir() {
            true => out.extend(walk(&entry.path())),
            false => out.push(entry.path().display().to_string()),
        }
    }
    out
}
