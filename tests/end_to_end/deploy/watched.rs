//! A real run with known faults, scraped by a real Prometheus: rules and dashboards use what the program exposes, and
//! every panel shows what happened.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::{Value, json};
use yagura_event::rows::{CoverageBuilder, CoverageRow};
use yagura_event::vocabulary::coverage;
use yagura_event::{Encoding, Envelope, Kind, clock, codec};
use yagura_kafka::{KafkaLog, KafkaOptions};
use yagura_log::{Log, Record};
use yagura_testkit::certificates::Certificates;
use yagura_testkit::kafka::Broker;
use yagura_testkit::prometheus::{Prometheus, get};
use yagura_testkit::rsyslog::Rsyslog;

use super::rules::rules;
use super::{each, shipped, word};
use crate::measure::{said, sleep};
use crate::outputs::{announced, metrics_of};
use crate::placement::configuration;
use crate::serve::psql;
use crate::{command, folder, start, wait_for};

const PIPELINE: &str = "version: 1
detections:
  - { id: attack, title: A line says attack, queue: security, severity: high, on: log, by: [description],
      techniques: [T0836], outcomes: [DE.CM-01, CPS.AE-1],
      where: \"description LIKE '%attack%'\", summary: '{description}', then: Look. }
  - { id: new-event, title: An event that is new, queue: security, severity: low, on: log, by: [tool],
      known: { of: [tool, event], from: learning }, summary: '{event}', then: Look. }
  - { id: levels, title: A level, queue: equipment, severity: low, on: sample, by: [tool], quiet: 0s,
      model: { name: guard, budget: 200, parameters: { limit_sigma: 25 } }, summary: '{finding} {score}', then: Look. }
";

/// Of who asks the history.
const PASSWORD: &str = "horse-battery-staple";
/// Lines that say attack, of all that are written.
const ATTACKS: usize = 5;
const LINES: usize = 200;
/// Seconds that the told gap lasts.
const GAP: i64 = 90;
/// Row numbers that are skipped.
const MISSING: u64 = 7;

/// The two processes of a plant, and those that they talk to.
struct Plant {
    folder: tempfile::TempDir,
    log: KafkaLog,
    address: SocketAddr,
    postgres: SocketAddr,
    prometheus: Prometheus,
    children: Vec<Child>,
    _rsyslog: Rsyslog,
    _broker: Broker,
}

impl Drop for Plant {
    fn drop(&mut self) {
        for child in &mut self.children {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

impl Plant {
    fn start() -> Plant {
        let folder = folder();
        let broker = Broker::start().expect("a broker");
        let log = json!({ "kafka": { "brokers": broker.address() } });
        let certificates = Certificates::make(&folder.path().join("tls")).expect("certificates");
        std::fs::create_dir(folder.path().join("siem")).expect("a folder");
        let rsyslog = Rsyslog::start(&folder.path().join("siem"), Some(&certificates)).expect("rsyslog");
        let tls = json!({ "ca": certificates.file("ca.pem"), "certificate": certificates.file("yagura.pem"),
                          "key": certificates.file("yagura.key"), "server_name": "localhost" });
        let closed = yagura_testkit::free_port().expect("a port");
        let away =
            json!({ "name": "away", "kind": "relp", "address": format!("127.0.0.1:{closed}"), "tls": false });
        let dmz = configuration(
            &folder.path().join("dmz"),
            &json!({
                "version": 1, "data": "data", "roles": ["detect", "respond", "archive", "serve"], "log": log,
                "postgres": { "listen": "127.0.0.1:0", "users_file": "users" },
                "console": "127.0.0.1:0", "pipelines": ["pipeline.yaml"], "snapshot_every": "1s",
                "sinks": [rsyslog.sink(tls, 8), away], "archive": { "store": "history", "flush_every": "1s" },
            }),
        );
        std::fs::write(folder.path().join("dmz/pipeline.yaml"), PIPELINE).expect("a pipeline");
        std::fs::write(folder.path().join("dmz/users"), format!("grafana:{PASSWORD}\n")).expect("users");
        let mut detector = command(&["run", "--format", "json", "--config", &dmz.display().to_string()]);
        let stderr = std::fs::File::create(folder.path().join("dmz/stderr")).expect("a file");
        let mut detector = detector.stdout(Stdio::piped()).stderr(stderr).spawn().expect("yagura starts");
        let told = announced(&mut detector);
        let address = metrics_of(&told);
        let postgres: SocketAddr = word(&told["postgres"]).parse().expect("an address");
        let prometheus = Prometheus::start_with(
            &address.to_string(),
            &[shipped("prometheus/rules.yaml").canonicalize().expect("rules")],
        )
        .expect("prometheus starts");
        prometheus.sample("up").expect("it scrapes");
        let fab = configuration(&folder.path().join("fab"), &collectors(&log));
        recordings(&folder.path().join("fab"));
        let collector = start(&fab, &folder.path().join("fab/stderr"));
        Plant {
            log: KafkaLog::connect(KafkaOptions::new(broker.address())).expect("the log"),
            folder,
            address,
            postgres,
            prometheus,
            children: vec![detector, collector],
            _rsyslog: rsyslog,
            _broker: broker,
        }
    }

    fn exposed(&self) -> Exposed {
        let text = get(self.address, "/metrics")
            .unwrap_or_else(|e| panic!("{e:#}: {}", said(&self.folder.path().join("dmz/stderr"))));
        Exposed::read(&text)
    }

    /// Writes lines of a log, some of which say attack.
    fn lines(&self, numbers: std::ops::Range<usize>, attacks: usize) {
        let file = self.folder.path().join("fab/logs/gateway.jsonl");
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).expect("a file");
        for number in numbers.clone() {
            let what = if number - numbers.start < attacks { "attack" } else { "line" };
            let line = json!({ "time": now(), "tool": "ETCH-07", "event": "line", "description": format!("{what} {number}") });
            writeln!(file, "{line}").expect("a line");
        }
    }

    /// Writes that something was not seen for some seconds until now.
    fn gap(&self, seconds: i64) {
        let file = self.folder.path().join("fab/told/gaps.jsonl");
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).expect("a file");
        let from = clock::rfc3339(clock::now() - seconds * clock::SECOND);
        let line = json!({ "time": from, "until": now(), "event": "gap", "subject": "LINK-9", "count": 1, "detail": "cut" });
        writeln!(file, "{line}").expect("a line");
    }

    fn append(&self, first_row: u64, poison: bool) {
        let mut appender = self.log.appender("yagura.events").expect("an appender");
        appender.append(strange(first_row, poison)).expect("appends");
        appender.flush().expect("durable");
    }
}

fn now() -> String {
    clock::rfc3339(clock::now())
}

/// What the process on the fab side reads.
fn collectors(log: &Value) -> Value {
    let files = |name: &str, path: &str, mapping: Value| json!({ "name": name, "kind": "files", "path": path, "format": "jsonl", "mapping": mapping });
    let recorded = |name: &str, as_kind: &str| json!({ "name": name, "kind": "jsonl", "path": format!("{name}.jsonl"), "mapping": { "as": as_kind } });
    json!({
        "version": 1, "data": "data", "roles": ["collect"], "node": "fab-side", "console": "none", "log": log,
        "assets": [{ "name": "ETCH-07", "addresses": [], "cell": "bay-3", "area": "process", "equipment": true },
                   { "name": "LINK-9", "addresses": [], "cell": "bay-3", "area": "process" },
                   { "name": "ETCH-09", "addresses": [], "cell": "bay-4", "area": "process", "equipment": true }],
        "collectors": [
            files("gateway", "logs/*.jsonl", json!({ "as": "log" })),
            files("told", "told/*.jsonl", json!({ "as": "coverage" })),
            files("missing", "nowhere/*.jsonl", json!({ "as": "log" })),
            recorded("signals", "sample"), recorded("approval", "control"),
        ],
    })
}

/// Thirty hours of a signal that is far up for an hour, and the approval of what was learned before.
fn recordings(fab: &Path) {
    for folder in ["logs", "told"] {
        std::fs::create_dir_all(fab.join(folder)).expect("a folder");
    }
    let begin = clock::parse_rfc3339("2026-11-02T00:00:00Z").expect("a time");
    let at = |minute: i64| clock::rfc3339(begin + minute * 60 * clock::SECOND);
    let samples: String = (0..1800)
        .map(|minute: i64| {
            let noise = ((minute * 7919) % 11 - 5) as f64 / 5.0;
            let value = if (300..360).contains(&minute) { 60.0 } else { 50.0 + noise };
            json!({ "time": at(minute), "tool": "ETCH-09", "chamber": "A", "signal": "flow", "unit": "sccm",
                    "class": "flow", "value": value })
            .to_string()
                + "\n"
        })
        .collect();
    std::fs::write(fab.join("signals.jsonl"), samples).expect("samples");
    let approval =
        json!({ "time": at(100), "action": "approve", "subject": "levels", "payload": "", "author": "Ann" });
    std::fs::write(fab.join("approval.jsonl"), format!("{approval}\n")).expect("an approval");
}

/// A record of a collector that nobody knows, one row long.
fn strange(first_row: u64, poison: bool) -> Record {
    let time = clock::now();
    let mut builder = CoverageBuilder::default();
    builder.push(&CoverageRow {
        time,
        until: time,
        observed: time,
        event: coverage::START,
        subject: "odd",
        ..Default::default()
    });
    let envelope = Envelope {
        kind: Kind::Coverage,
        version: Kind::Coverage.version(),
        cell: "odd-bay".into(),
        collector: "odd".into(),
        epoch: 1,
        first_row,
        rows: 1,
        observed: (time, time),
        promise: time,
        encoding: Encoding::Arrow,
        origin: None,
        places: Vec::new(),
    };
    let value = codec::encode_arrow(&builder.finish()).expect("encodes");
    Record {
        key: "odd-bay".into(),
        header: envelope.to_header().into(),
        value: if poison { "poison".into() } else { value.into() },
    }
}

/// What the program says of itself.
struct Exposed {
    samples: Vec<(String, BTreeMap<String, String>, f64)>,
    described: BTreeSet<String>,
}

impl Exposed {
    fn read(text: &str) -> Exposed {
        let mut exposed = Exposed { samples: Vec::new(), described: BTreeSet::new() };
        for line in text.lines() {
            if let Some(rest) = line.strip_prefix("# TYPE ") {
                exposed.described.insert(rest.split(' ').next().unwrap_or_default().to_string());
            } else if !line.starts_with('#') {
                let (series, value) = line.rsplit_once(' ').expect("a sample");
                let (name, labels) = series.split_once('{').unwrap_or((series, "}"));
                let labels = labels.trim_end_matches('}').split("\",").filter_map(|label| {
                    let (name, value) = label.split_once("=\"")?;
                    Some((name.to_string(), value.trim_end_matches('"').to_string()))
                });
                exposed.samples.push((name.into(), labels.collect(), value.parse().expect("a number")));
            }
        }
        exposed
    }

    /// Values of a metric (`NAME`, or `NAME{LABEL=VALUE}` of some series) by a label; the largest of those that have
    /// the same.
    fn by(&self, metric: &str, label: &str) -> BTreeMap<String, f64> {
        let mut out: BTreeMap<String, f64> = BTreeMap::new();
        let (metric, wanted) = metric.trim_end_matches('}').split_once('{').unwrap_or((metric, ""));
        let wanted = wanted.split_once('=');
        let fits = |labels: &BTreeMap<String, String>| {
            wanted.is_none_or(|(label, value)| labels.get(label).is_some_and(|found| found == value))
        };
        let some = self.samples.iter().filter(|(name, labels, _)| name == metric && fits(labels));
        for (_, labels, value) in some {
            let largest = out.entry(labels.get(label).cloned().unwrap_or_default()).or_insert(f64::MIN);
            *largest = largest.max(*value);
        }
        out
    }

    fn value(&self, metric: &str, label: &str, of: &str) -> f64 {
        self.by(metric, label).get(of).copied().unwrap_or(f64::NAN)
    }
}

/// What a panel must show, by the names of its lines.
enum Expect {
    /// These values and no others.
    Is(Vec<(&'static str, f64)>),
    /// Each about so large: what Prometheus makes of a counter's course, which it draws out a little at both ends.
    About(Vec<(&'static str, f64)>),
    /// What the program exposes by this label, the values of lines that stand still.
    Exposed(&'static str, &'static str),
    /// How far a counter came since the faults began, by this label, a second over so many.
    Grown(&'static str, &'static str, f64),
    /// Each within these.
    Within(Vec<&'static str>, f64, f64),
    /// Rows of the history, in this order, each with this in it.
    Rows(Vec<&'static str>),
}

use Expect::{About, Exposed as Shown, Grown, Is, Rows, Within};

/// Every panel of every dashboard.
fn expected() -> BTreeMap<(&'static str, &'static str), Expect> {
    let attacks = ATTACKS as f64;
    let gap = GAP as f64;
    let none = || Is(vec![("gateway", 0.0), ("told", 0.0), ("missing", 0.0), ("recordings", 0.0)]);
    let blind = || About(vec![("gateway", 0.0), ("told", gap), ("missing", 0.0), ("recordings", 0.0)]);
    BTreeMap::from([
        (("operation", "Processes that answer"), Is(vec![("", 1.0)])),
        (("operation", "Longest standstill"), Within(vec![""], 0.0, 15.0)),
        (("operation", "Restarts of detecting in a day"), Is(vec![("", 0.0)])),
        (
            ("operation", "Next certificate ends in"),
            Shown("yagura_certificate_expires_timestamp_seconds", ""),
        ),
        (("operation", "Nodes last heard"), Within(vec!["fab-side"], 0.0, 30.0)),
        (("operation", "Records collected"), Grown("yagura_collect_records_total", "collector", 120.0)),
        (("operation", "Rows judged"), Grown("yagura_detect_rows_total", "cell", 120.0)),
        (("operation", "Alerts written"), Grown("yagura_detect_alerts_total", "", 120.0)),
        (("operation", "From seeing to judging"), Shown("yagura_detect_latency_seconds", "")),
        (("operation", "Records that wait to be judged"), Within(vec!["0", "1", "2", "3"], 0.0, 20.0)),
        (("operation", "Standstill for a snapshot"), Shown("yagura_detect_snapshot_pause_seconds", "")),
        (("operation", "Age of what waits in a spool"), Within(vec!["fab-side"], 0.0, 15.0)),
        (("operation", "Spool filled"), Within(vec!["fab-side"], 0.0, 0.1)),
        (
            ("operation", "Records moved into the log"),
            Grown("yagura_spool_moved_records_total", "node", 120.0),
        ),
        (("operation", "Blind time in an hour"), blind()),
        (
            ("operation", "Cannot be read now"),
            Is(vec![("gateway", 0.0), ("told", 0.0), ("missing", 1.0), ("recordings", 0.0)]),
        ),
        (("operation", "Dropped in an hour"), none()),
        (("operation", "Rows missing in a day"), Grown("yagura_detect_missing_rows_total", "cell", 1.0)),
        (("operation", "Dead letters in a day"), About(vec![("dead letters", 1.0)])),
        (
            ("operation", "Time that detections take"),
            Grown("yagura_detection_seconds_total", "detection", 120.0),
        ),
        (("operation", "Hits in an hour"), Grown("yagura_detection_rows_total{stage=hit}", "detection", 1.0)),
        (("operation", "Alerts in an hour"), Grown("yagura_detection_alerts_total", "queue", 1.0)),
        (("operation", "Keys known"), Is(vec![("approved", 1.0), ("learning", 1.0)])),
        (("operation", "Keys that could be approved"), Shown("yagura_detect_ready_keys", "detection")),
        (("operation", "State"), Shown("yagura_detect_state_bytes", "cell")),
        (("operation", "Alarms a day allowed"), Is(vec![("levels", 200.0)])),
        (("operation", "Alarms today"), Is(vec![("levels", 0.0)])),
        (("operation", "Alarms a day realised"), Is(vec![("levels", 1.0)])),
        (("operation", "Alerts that wait for their receiver"), Shown("yagura_sink_lag_records", "sink")),
        (
            ("operation", "Alerts acknowledged in an hour"),
            Grown("yagura_sink_acknowledged_total", "sink", 1.0),
        ),
        (("operation", "Failures of sinks in an hour"), Grown("yagura_sink_errors_total", "sink", 1.0)),
        (
            ("operation", "Records that are not in the history"),
            Within(vec!["yagura.events", "yagura.alerts"], 0.0, 50.0),
        ),
        (("shift", "Security alerts in eight hours"), About(vec![("", attacks)])),
        (("shift", "Sources that cannot be read"), Is(vec![("", 1.0)])),
        (("shift", "Receivers that have not all alerts"), Is(vec![("", 1.0)])),
        (
            ("shift", "Yagura's own alarms"),
            Is(vec![("YaguraBlindTime", 1.0), ("YaguraRowsMissing", 1.0), ("YaguraDeadLetters", 1.0)]),
        ),
        (("shift", "Alerts in ten minutes"), Grown("yagura_detection_alerts_total", "queue", 1.0)),
        (("shift", "By detection in eight hours"), Grown("yagura_detection_alerts_total", "detection", 1.0)),
        (
            ("shift", "What is wrong, and where"),
            Rows(vec!["high|ETCH-07|bay-3|A line says attack|", "low|ETCH-09|bay-4|A level|"]),
        ),
        (
            ("analyst", "Security alerts"),
            Rows(vec!["|high|ETCH-07|bay-3|A line says attack|attack"; ATTACKS]),
        ),
        (("analyst", "Techniques"), Rows(vec!["T0836|5|1"])),
        (("analyst", "Who did what"), Rows(vec!["attack|ETCH-07|5|5|"])),
        (("analyst", "Keys by state"), Is(vec![("approved", 1.0), ("learning", 1.0)])),
        (("analyst", "Keys ready for approval"), Is(vec![("levels", 1.0), ("new-event", 1.0)])),
        (("analyst", "What people decided about baselines"), Rows(vec!["|Ann|approve|levels"])),
        (
            ("management", "Outcomes that alerts supported"),
            Rows(vec!["CPS.AE-1|CPSF|5|1|1", "DE.CM-01|NIST CSF 2.0|5|1|1"]),
        ),
        (
            ("management", "The six practices"),
            Rows(vec![
                "1|know your assets: devices that said what they are|0",
                "2|know their weaknesses: devices whose firmware is known|0",
                "3|limit the damage: alerts about what crosses between areas|5",
                "4|watch continuously: cells that were seen|",
                "5|be ready to respond and recover: alerts with evidence|5",
                "6|guard the doors: entries and log-ins that were recorded|0",
            ]),
        ),
        (("management", "Yagura ran"), Is(vec![("", 1.0)])),
        (("management", "Blind time in thirty days"), About(vec![("", gap)])),
        (("management", "What was learned and approved"), Is(vec![("", 0.5)])),
        (("management", "Cells watched"), Is(vec![("", 5.0)])),
        (("management", "Alerts a day"), Grown("yagura_detection_alerts_total", "queue", 1.0)),
        (("management", "Alarms beside their budget"), Is(vec![("levels", 1.0 / 200.0)])),
        (("management", "Alerts that receivers have"), Grown("yagura_sink_acknowledged_total", "sink", 1.0)),
    ])
}

#[test]
fn a_real_run_exposes_what_rules_and_panels_ask_for_and_they_tell_what_happened() {
    let plant = Plant::start();
    plant.lines(0..1, 0);
    plant.gap(0);
    plant.append(0, false);
    // A counter's course begins with the second sample.
    let seen = |query: &str| plant.prometheus.ask(query).is_ok_and(|samples| !samples.is_empty());
    for query in [
        r#"yagura_detect_rows_total{cell="bay-3"} and yagura_detect_rows_total offset 2s"#,
        r#"yagura_detect_rows_total{cell="odd-bay"} and yagura_detect_rows_total offset 2s"#,
        r#"yagura_collect_blind_seconds_total{collector="told"} and yagura_collect_blind_seconds_total offset 2s"#,
        r#"yagura_detection_alerts_total{detection="levels"} == 1 and yagura_detection_alerts_total offset 2s == 1"#,
        "yagura_budget_alarms_realised == 1",
        r#"yagura_sink_acknowledged_total{sink="siem"} == 1 and yagura_sink_acknowledged_total offset 2s == 1"#,
        r#"yagura_sink_errors_total{sink="away"}"#,
    ] {
        wait_for(query, || seen(query));
    }
    let before = plant.exposed();
    plant.lines(1..1 + LINES, ATTACKS);
    plant.gap(GAP);
    plant.append(1 + MISSING, false);
    plant.append(2 + MISSING, true);
    wait_for("what the faults do", || {
        let now = plant.exposed();
        now.value("yagura_detection_alerts_total", "detection", "attack") == ATTACKS as f64
            && now.value("yagura_detect_missing_rows_total", "cell", "odd-bay") == MISSING as f64
            && now.value("yagura_detect_dead_letters_total", "", "") == 1.0
            && (now.value("yagura_collect_blind_seconds_total", "collector", "told") - GAP as f64).abs() < 1.0
            && now.value("yagura_sink_lag_records", "sink", "siem") == 0.0
            && now.value("yagura_detect_keys", "state", "learning") == 1.0
    });
    // Prometheus looks once a second.
    sleep(std::time::Duration::from_secs(4));
    let after = plant.exposed();
    names_exist(&after);
    let mut expected = expected();
    for dashboard in ["operation", "shift", "analyst", "management"] {
        let file = shipped("grafana").join(format!("{dashboard}.json"));
        let file = std::fs::read_to_string(file).expect("a dashboard");
        let file: Value = serde_json::from_str(&file).expect("JSON");
        for panel in each(&file["panels"]).filter(|panel| panel["type"] != "row") {
            let title = word(&panel["title"]);
            let place = expected.keys().find(|place| **place == (dashboard, title)).copied();
            let place =
                place.unwrap_or_else(|| panic!("nobody says what `{title}` of {dashboard} must show"));
            let expect = expected.remove(&place).expect("an entry");
            match &expect {
                Rows(rows) => check_rows(&plant, panel, rows),
                _ => check(&plant.prometheus, panel, &expect, &before, &after),
            }
        }
    }
    assert!(expected.is_empty(), "no such panels: {:?}", expected.keys());
}

/// Every metric in a rule or a panel is one that the program exposes.
fn names_exist(exposed: &Exposed) {
    let mut queries: Vec<String> = rules().iter().map(|rule| word(&rule["expr"]).to_string()).collect();
    for dashboard in std::fs::read_dir(shipped("grafana")).expect("dashboards").flatten() {
        let file: Value =
            serde_json::from_str(&std::fs::read_to_string(dashboard.path()).expect("a file")).expect("JSON");
        let targets = each(&file["panels"]).flat_map(|panel| each(&panel["targets"]));
        queries.extend(targets.map(|target| word(&target["expr"]).to_string()));
    }
    let mut asked = BTreeSet::new();
    for query in &queries {
        let words = query.split(|c: char| !c.is_ascii_alphanumeric() && c != '_' && c != ':');
        // What a recording rule makes has colons.
        asked.extend(words.filter(|word| word.starts_with("yagura_") && !word.contains(':')));
    }
    assert!(asked.len() > 20, "{asked:?}");
    let unknown: Vec<_> = asked.iter().filter(|name| !exposed.described.contains(**name)).collect();
    assert!(unknown.is_empty(), "the program exposes no {unknown:?}");
}

/// What a panel shows, by the names of its lines.
fn shows(prometheus: &Prometheus, panel: &Value) -> BTreeMap<String, f64> {
    let mut out = BTreeMap::new();
    for target in each(&panel["targets"]) {
        let query = word(&target["expr"]).replace("$__rate_interval", "2m");
        let samples = prometheus.ask(&query).unwrap_or_else(|e| panic!("{}: {e:#}", panel["title"]));
        for (labels, value) in samples {
            let mut name = word(&target["legendFormat"]).to_string();
            for (label, value) in labels {
                name = name.replace(&format!("{{{{{label}}}}}"), &value);
            }
            assert!(out.insert(name.clone(), value).is_none(), "{}: {name} comes twice", panel["title"]);
        }
    }
    out
}

/// A table shows these rows, as Grafana would ask for them.
fn check_rows(plant: &Plant, panel: &Value, rows: &[&str]) {
    let title = word(&panel["title"]);
    let sql = word(&panel["targets"][0]["rawSql"]);
    let times = "BETWEEN '2000-01-01T00:00:00Z' AND '2100-01-01T00:00:00Z'";
    let sql = sql.replace("$__timeFilter(observed)", &format!("observed {times}"));
    assert!(!sql.contains("$__"), "{title}: {sql}");
    let place = format!("port={} user=grafana sslmode=disable", plant.postgres.port());
    let ask = || psql(&place, PASSWORD, &sql).unwrap_or_else(|e| panic!("{title}: {e}"));
    // The history is written a little later.
    let fits = |shown: &str| {
        shown.lines().count() == rows.len() && shown.lines().zip(rows).all(|(line, row)| line.contains(row))
    };
    let mut shown = ask();
    for _ in 0..100 {
        if fits(&shown) {
            return;
        }
        sleep(std::time::Duration::from_millis(100));
        shown = ask();
    }
    panic!("{title}: these were expected: {rows:#?}, and not\n{shown}");
}

fn check(prometheus: &Prometheus, panel: &Value, expect: &Expect, before: &Exposed, after: &Exposed) {
    let (title, shown) = (word(&panel["title"]), shows(prometheus, panel));
    let named = |lines: &[(&str, f64)]| -> BTreeMap<String, f64> {
        lines.iter().map(|(name, value)| ((*name).to_string(), *value)).collect()
    };
    let close = |expected: &BTreeMap<String, f64>, factor: f64, slack: f64| {
        let names: Vec<&String> = shown.keys().collect();
        assert_eq!(names, expected.keys().collect::<Vec<_>>(), "{title}: {shown:?}");
        for (name, value) in expected {
            let (low, high) = (value / factor - slack, value * factor + slack);
            assert!(
                (low..=high).contains(&shown[name]),
                "{title}: {name} is {} and not {value}",
                shown[name]
            );
        }
    };
    match expect {
        Rows(_) => unreachable!("asked of the history"),
        Is(lines) => close(&named(lines), 1.0, 1e-9),
        About(lines) => close(&named(lines), 1.4, 1e-9),
        Within(names, low, high) => {
            assert_eq!(
                shown.keys().collect::<Vec<_>>(),
                names.iter().collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>(),
                "{title}"
            );
            assert!(shown.values().all(|value| (low..=high).contains(&value)), "{title}: {shown:?}");
        }
        Shown(metric, label) => {
            let mut values = after.by(metric, label);
            if title.contains("certificate") {
                values.values_mut().for_each(|end| *end -= clock::now() as f64 * 1e-6);
                return close(&values, 1.0, 60.0);
            }
            if label.is_empty() {
                // Named by the instance, of which there is one.
                let (found, exposed): (Vec<f64>, Vec<f64>) =
                    (shown.into_values().collect(), values.into_values().collect());
                assert_eq!(found.len(), 1, "{title}");
                assert!((found[0] - exposed[0]).abs() < 5.0, "{title}: {found:?} and not {exposed:?}");
                return;
            }
            close(&values, 1.1, 1e-9);
        }
        Grown(metric, label, seconds) => {
            let (was, is) = (before.by(metric, label), after.by(metric, label));
            let grown = |(name, value): (String, f64)| {
                let grown = value - was.get(&name).copied().unwrap_or(value);
                (name, grown / seconds)
            };
            let grown: BTreeMap<String, f64> = is.into_iter().map(grown).collect();
            let shown: BTreeMap<String, f64> = shown
                .into_iter()
                .map(|(name, value)| (name.split(' ').next().unwrap_or_default().to_string(), value))
                .map(|(name, value)| (if label.is_empty() { String::new() } else { name }, value))
                .collect();
            assert!(shown.keys().all(|name| grown.contains_key(name)), "{title}: {shown:?}, {grown:?}");
            for (name, value) in &grown {
                // What came before the faults, since Prometheus first looked, is in it, too.
                let most = after.value(metric, label, name) / seconds;
                // A panel may leave out what stands still.
                let seen = shown.get(name).copied().unwrap_or(0.0);
                assert!(
                    seen >= value / 1.4 - 1e-9 && seen <= most * 1.4 + 1e-9,
                    "{title}: {name} is {seen}, not {value} to {most}"
                );
            }
        }
    }
}
