//! Where a collector stands: on the fab side, outside the cluster, with one connection out and none in.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::{Value, json};
use yagura_testkit::kafka::Broker;
use yagura_testkit::namespace::Pair;

use crate::measure::{Random, kill, said, sleep, times};
use crate::{folder, text, wait_for};

/// The hosts of the pair.
const FAB: usize = 0;
const DMZ: usize = 1;

#[test]
fn a_collector_on_the_fab_side_dials_out_and_nothing_dials_in() {
    let pair = match Pair::new() {
        Ok(pair) => pair,
        Err(cause) => {
            #[expect(clippy::print_stderr, reason = "a test that is not run says so")]
            {
                eprintln!("SKIPPED: no network namespaces: {cause:#}");
            }
            return;
        }
    };
    let folder = folder();
    let lines = Lines::new(&folder.path().join("fab/logs"));
    let mut broker = Broker::start_in(pair.name(DMZ), Pair::ADDRESSES[DMZ]).expect("a broker");
    let log = json!({ "kafka": { "brokers": broker.address() } });
    let fab = configuration(
        &folder.path().join("fab"),
        &json!({
            "version": 1, "data": "data", "roles": ["collect"], "node": "fab-side", "console": "none", "log": log,
            "assets": [{ "name": "ETCH-07", "addresses": [], "cell": "bay-3", "area": "process", "equipment": true }],
            "collectors": [{
                "name": "gateway", "kind": "files", "path": "logs/*.jsonl", "format": "jsonl",
                "mapping": { "as": "log", "columns": { "description": "${line}" } },
            }],
        }),
    );
    let dmz = configuration(
        &folder.path().join("dmz"),
        &json!({
            "version": 1, "data": "data", "roles": ["detect", "respond", "archive"], "log": log,
        }),
    );
    // The log is not there when the collector starts for the first time.
    broker.kill().expect("it is killed");
    let stderr = folder.path().join("stderr");
    let start = || run(&pair, FAB, &fab, &stderr);
    let mut collector = start();
    lines.append(100);
    sleep(std::time::Duration::from_secs(2));
    kill(&mut collector, &stderr);
    let mut collector = start();
    broker.restart().expect("it is back");
    let mut detector = run(&pair, DMZ, &dmz, &stderr);
    let mut random = Random::new(0x2026_1126);
    for round in 0..times(6, 60) {
        lines.append(random.below(300));
        sleep(random.wait(50, 1500));
        match round % 3 {
            0 => pair.cable(false).expect("the cable is out"),
            1 => pair.cable(true).expect("the cable is in"),
            _ => {}
        }
        kill(&mut collector, &stderr);
        lines.append(random.below(300));
        collector = start();
        if round == 2 {
            broker.restart().expect("it is back");
        }
    }
    pair.cable(true).expect("the cable is in");
    lines.append(50);
    let tapped = || seen(pair.command(DMZ, env!("CARGO_BIN_EXE_yagura")), &dmz);
    let mut seen = BTreeMap::new();
    wait_for("every line", || {
        seen = tapped();
        seen.len() as u64 >= lines.written()
    });
    assert!(seen.keys().copied().eq(0..lines.written()), "{}", said(&stderr));
    // What was moved twice after a crash has one number, so that shards drop it; nothing is there under two.
    let twice: Vec<_> = seen.iter().filter(|(_, ids)| ids.len() > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");

    // Its only connections are those that it opened to the log, and nobody could open one to it.
    let sockets = sockets(&collector);
    assert!(sockets.iter().all(|(_, state)| *state != LISTEN), "{sockets:?}");
    let port = broker.address().rsplit_once(':').and_then(|(_, port)| port.parse().ok()).unwrap_or(0u16);
    assert!(sockets.iter().any(|(remote, _)| *remote == port), "{sockets:?}");
    assert!(sockets.iter().all(|(remote, _)| *remote == port), "{sockets:?}");

    // What it counts is seen where it is detected.
    let mut metrics = String::new();
    wait_for("the collector's figures", || {
        let output = pair.command(DMZ, "curl").args(["-s", "http://127.0.0.1:9600/metrics"]).output();
        metrics = text(&output.expect("curl").stdout);
        metrics.contains("yagura_spool_moved_records_total{node=\"fab-side\"}")
    });
    assert!(metrics.contains("yagura_node_reported_timestamp_seconds{node=\"fab-side\"}"), "{metrics}");

    for child in [&mut collector, &mut detector] {
        crate::measure::signal(child, "TERM");
        assert!(child.wait().expect("it ended").success(), "{}", said(&stderr));
    }
}

/// Numbered lines of a file that is written while it is read, and rotated now and then.
struct Lines {
    folder: PathBuf,
    written: std::cell::Cell<u64>,
}

impl Lines {
    fn new(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("a folder");
        Lines { folder: folder.to_path_buf(), written: std::cell::Cell::new(0) }
    }

    fn written(&self) -> u64 {
        self.written.get()
    }

    fn append(&self, count: u64) {
        let file = self.folder.join(format!("gateway-{}.jsonl", self.written() / 500));
        let mut file = std::fs::OpenOptions::new().create(true).append(true).open(file).expect("a file");
        for _ in 0..count {
            let number = self.written();
            writeln!(
                file,
                "{{\"time\":\"2026-11-26T10:00:00Z\",\"tool\":\"ETCH-07\",\"event\":\"line\",\"line\":\"line {number}\"}}"
            )
            .expect("a line");
            self.written.set(number + 1);
        }
    }
}

/// The numbers of lines that the log of a configuration holds, each with the rows that it has there.
pub fn seen(mut program: Command, config: &Path) -> BTreeMap<u64, BTreeSet<String>> {
    program.args(["tap", "events", "--kind", "log", "--format", "json", "--config"]).arg(config);
    let output = program.output().expect("yagura starts");
    let mut seen: BTreeMap<u64, BTreeSet<String>> = BTreeMap::new();
    for line in text(&output.stdout).lines() {
        let row: Value = serde_json::from_str(line).expect("a JSON line");
        if let Some(number) = number(&row["row"]) {
            let id = json!([row["collector"], row["epoch"], row["number"]]).to_string();
            seen.entry(number).or_default().insert(id);
        }
    }
    seen
}

fn number(row: &Value) -> Option<u64> {
    let text = row.to_string();
    let (_, rest) = text.split_once("line ")?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Writes settings as a configuration; answers its file.
pub fn configuration(folder: &Path, settings: &Value) -> PathBuf {
    std::fs::create_dir_all(folder).expect("a folder");
    let file = folder.join("yagura.yaml");
    // JSON is YAML.
    std::fs::write(&file, settings.to_string()).expect("a configuration");
    file
}

fn run(pair: &Pair, host: usize, config: &Path, stderr: &Path) -> Child {
    let log = std::fs::OpenOptions::new().create(true).append(true).open(stderr).expect("a file");
    let mut command: Command = pair.command(host, env!("CARGO_BIN_EXE_yagura"));
    command.args(["run", "--config"]).arg(config).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    command.spawn().expect("yagura starts")
}

/// TCP's state of a socket that waits for connections.
const LISTEN: u8 = 0x0a;

/// Remote port and state of every TCP socket in a process's network namespace.
fn sockets(child: &Child) -> Vec<(u16, u8)> {
    let mut out = Vec::new();
    for table in ["tcp", "tcp6"] {
        let table = std::fs::read_to_string(format!("/proc/{}/net/{table}", child.id())).unwrap_or_default();
        for line in table.lines().skip(1) {
            let mut words = line.split_whitespace().skip(2);
            let (Some(remote), Some(state)) = (words.next(), words.next()) else { continue };
            let port = remote.rsplit_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
            out.push((port.unwrap_or(0), u8::from_str_radix(state, 16).unwrap_or(0)));
        }
    }
    out
}
