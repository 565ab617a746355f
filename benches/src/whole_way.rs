//! The whole way in one run: packets on a wire, live capture, Apache Kafka over TLS with `acks=all`, all
//! detections that ship, alerts over RELP with TLS into rsyslog's file; at rising load until something breaks.
//!
//! The program is the one that ships, `yagura run`, with its defaults. Sender and program stand in network
//! namespaces of their own with a veth pair between them; the broker and rsyslog stand beside the program. Each
//! step sends the industrial mix at a pace, in every round from other addresses. A step breaks when packets are
//! dropped, or when more waits before the detector or the sink at its end than a few seconds bring. An alert's
//! latency is from its row's `observed` to its line in rsyslog's file.

use std::collections::BTreeSet;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::json;
use yagura_event::Kind;
use yagura_event::clock::{self, Micros};
use yagura_testkit::certificates::Certificates;
use yagura_testkit::kafka::Broker;
use yagura_testkit::prometheus;
use yagura_testkit::rsyslog::{Rsyslog, event};

use crate::common::processor_of;
use crate::fab;
use crate::line_rate::{ENDS, Network, Sent, ip, tell, told};
use crate::packets::write_mix;
use crate::report::{Figure, Report};

/// Packets a second of the steps.
const RATES: [f64; 9] = [10e3, 20e3, 40e3, 80e3, 120e3, 160e3, 240e3, 320e3, 480e3];
/// What one sender can send of them.
const RATE_OF_ONE: f64 = 100e3;
/// How long a step sends, unless `YAGURA_WHOLE_WAY_SECONDS` says another.
const SECONDS: u64 = 20;
/// So many seconds' worth may wait somewhere at the end of a step.
const WAITING_SECONDS: f64 = 3.0;
/// How long what waits has after a step.
const SETTLE: Duration = Duration::from_secs(15);
const CONSOLE: &str = "127.0.0.1:9600";
/// Detections that wait for a time to pass: their alerts are late by design.
const WAITING: [&str; 4] =
    ["slow-answers", "controller-left-stopped", "alarms-left-disabled", "tool-reports-nothing"];

/// One step, as the part inside tells it.
#[derive(Serialize, Deserialize)]
struct Step {
    wanted: f64,
    sent: f64,
    dropped: f64,
    messages: f64,
    alerts: usize,
    /// In milliseconds: p50, p99, most.
    latency: [f64; 3],
    /// Alerts on connections, whose rows come when they are over, and their p99.
    connections: (usize, f64),
    /// Seconds' worth that wait for the detector, and alerts that wait for the sink, at the end.
    waiting: [f64; 2],
    /// Cores of the sender, the collector's threads, the detector's, the program's others, the broker.
    cores: [f64; 5],
    broke: Option<String>,
}

/// Runs the part that `arguments` ask for: this program starts itself in a namespace.
pub fn part(arguments: &[String]) -> Option<Result<()>> {
    match arguments {
        [name, part, sender, folder, seconds] if name == "whole-way" && part == "inside" => {
            let seconds = seconds.parse().context("seconds");
            Some(seconds.and_then(|seconds| tell(&inside(sender, Path::new(folder), seconds)?)))
        }
        _ => None,
    }
}

/// Measures.
pub fn whole_way() -> Result<Report> {
    let folder = tempfile::tempdir()?;
    write_mix(&folder.path().join("mix.pcap"))?;
    let seconds = std::env::var("YAGURA_WHOLE_WAY_SECONDS").unwrap_or_else(|_| SECONDS.to_string());
    let network = Network::new()?;
    let [sender, reader] = &network.0;
    ip(&["-n", reader, "link", "set", "lo", "up"])?;
    let mut child = Command::new("ip")
        .args(["netns", "exec", reader])
        .arg(std::env::current_exe()?)
        .args(["whole-way", "inside", sender])
        .arg(folder.path())
        .arg(&seconds)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().context("no output")?;
    let steps: Vec<Step> = told(BufReader::new(output))?;
    ensure!(child.wait()?.success(), "the part inside the namespace failed");
    let mut figures = Vec::new();
    let mut broke = "nothing broke".to_string();
    for step in &steps {
        let name = |what: &str| format!("{:.0}/s: {what}", step.sent);
        figures.extend([
            Figure::new(name("packets dropped"), step.dropped, ""),
            Figure::new(name("rows judged a second"), step.messages, "1/s"),
            Figure::new(name("alerts in rsyslog's file, on messages"), step.alerts as f64, ""),
            Figure::new(name("observed to rsyslog's file, p50"), step.latency[0], "ms"),
            Figure::new(name("observed to rsyslog's file, p99"), step.latency[1], "ms"),
            Figure::new(name("observed to rsyslog's file, max"), step.latency[2], "ms"),
            Figure::new(name("alerts on connections, once they are over"), step.connections.0 as f64, ""),
            Figure::new(name("last packet to rsyslog's file, p99"), step.connections.1, "ms"),
            Figure::new(name("waits for the detector at the end"), step.waiting[0], "s"),
            Figure::new(name("alerts that wait for the sink"), step.waiting[1], ""),
        ]);
        let whose = ["sender", "collector", "detector", "program's other threads", "broker"];
        for (whose, cores) in whose.iter().zip(step.cores) {
            figures.push(Figure::new(name(&format!("cores of the {whose}")), cores, ""));
        }
        if step.sent < 0.9 * step.wanted {
            broke = format!("nothing broke; the sender came to its end at {:.0} packets a second", step.sent);
        }
        if let Some(what) = &step.broke {
            broke = format!("at {:.0} packets a second broke first: {what}", step.sent);
        }
    }
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Report {
        input: format!(
            "industrial mix on a veth pair, live capture, Kafka (TLS, acks=all), the shipped detections, RELP over TLS \
             into rsyslog, {seconds} s a step, {cores} cores for all with the sender; {broke}"
        ),
        figures,
    })
}

/// Everything but the sender, in the reader's namespace.
fn inside(sender: &str, folder: &Path, seconds: u64) -> Result<Vec<Step>> {
    let broker = Broker::start()?;
    let certificates = Certificates::make(&folder.join("tls"))?;
    let receiver = folder.join("rsyslog");
    std::fs::create_dir_all(&receiver)?;
    let rsyslog = Rsyslog::start(&receiver, Some(&certificates))?;
    let program = Program::start(folder, &broker, &rsyslog, &certificates)?;
    let pack = fab::pack()?;
    let on_flows: BTreeSet<&str> =
        pack.detections.iter().filter(|d| d.on == Kind::Flow).map(|d| d.id.as_str()).collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _ends = Ends(&stop);
        let (tell, lines) = std::sync::mpsc::sync_channel(1 << 20);
        let file = rsyslog.file();
        scope.spawn(|| follow(file, &stop, tell));
        let mut steps: Vec<Step> = Vec::new();
        let (mix, mut round) = (folder.join("mix.pcap"), 1);
        for rate in RATES {
            let load = Load { sender, mix: &mix, rate, seconds, round };
            let (rounds, step) = step(&load, &program, &broker, &lines, &on_flows)?;
            round += rounds;
            let (broke, behind) = (step.broke.is_some(), step.sent < 0.9 * rate);
            steps.push(step);
            if broke || behind {
                break;
            }
        }
        Ok(steps)
    })
}

/// Ends a thread when it goes.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Release);
    }
}

/// `yagura run`.
struct Program {
    child: Child,
}

impl Program {
    fn start(
        folder: &Path,
        broker: &Broker,
        rsyslog: &Rsyslog,
        certificates: &Certificates,
    ) -> Result<Program> {
        let tls = json!({
            "ca": certificates.file("ca.pem"), "certificate": certificates.file("yagura.pem"),
            "key": certificates.file("yagura.key"), "server_name": "localhost",
        });
        // YAML takes JSON.
        let config = json!({
            "version": 1,
            "data": "data",
            "console": CONSOLE,
            "log": { "kafka": {
                "brokers": broker.tls_address(),
                "security": { "tls": { "ca": broker.authority() } },
            } },
            "collectors": [{ "name": "mirror", "kind": "interface", "interfaces": [ENDS[1]] }],
            "sinks": [rsyslog.sink(tls, 128)],
        });
        let file = folder.join("yagura.yaml");
        std::fs::write(&file, config.to_string())?;
        let own = std::env::current_exe()?.with_file_name("yagura");
        let mut child = Command::new(&own)
            .arg("run")
            .arg("--config")
            .arg(&file)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(folder.join("yagura.log"))?)
            .spawn()
            .with_context(|| format!("{} cannot be started; build it with --features pcap", own.display()))?;
        for _ in 0..600 {
            if let Some(status) = child.try_wait()? {
                let said = std::fs::read_to_string(folder.join("yagura.log")).unwrap_or_default();
                anyhow::bail!("yagura run ended with {status}: {said}");
            }
            if prometheus::get(CONSOLE.parse()?, "/metrics")
                .is_ok_and(|m| value(&m, "yagura_sink_lag_records") == 0.0)
            {
                return Ok(Program { child });
            }
            std::thread::park_timeout(Duration::from_millis(100));
        }
        anyhow::bail!("yagura run does not serve metrics")
    }

    /// Its metrics, and the processor time of its threads by what they do.
    fn look(&self, broker: &Broker) -> Result<Look> {
        let metrics = prometheus::get(CONSOLE.parse()?, "/metrics")?;
        let mut cores = [0.0; 4];
        for thread in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            let thread = thread?.path();
            let Ok(name) = std::fs::read_to_string(thread.join("comm")) else { continue };
            let whose = match name.trim() {
                name if name.starts_with("collect") || name.starts_with("capture") => 0,
                name if name.starts_with("detect") => 1,
                _ => 2,
            };
            cores[whose] += processor_of(&thread).unwrap_or_default();
        }
        let process = broker.process_id().context("the broker is gone")?;
        cores[3] = processor_of(Path::new(&format!("/proc/{process}")))?;
        Ok(Look { metrics, cores })
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

struct Look {
    metrics: String,
    /// Seconds of the collector's threads, the detector's, the others, the broker.
    cores: [f64; 4],
}

impl Look {
    fn value(&self, name: &str) -> f64 {
        value(&self.metrics, name)
    }

    /// Records that wait for the detector, and alerts that wait for the sink.
    fn waiting(&self) -> [f64; 2] {
        [self.value("yagura_detect_lag_records"), self.value("yagura_sink_lag_records")]
    }
}

/// The sum of a metric's samples.
fn value(metrics: &str, name: &str) -> f64 {
    let samples = metrics.lines().filter_map(|line| line.strip_prefix(name));
    let own = samples.filter(|rest| rest.starts_with(['{', ' ']));
    own.filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

/// What is sent in a step.
struct Load<'a> {
    sender: &'a str,
    mix: &'a Path,
    rate: f64,
    seconds: u64,
    round: u16,
}

impl Load<'_> {
    /// Starts the senders: one, or two that share a high rate.
    fn start(&self) -> Result<Vec<Child>> {
        let senders = if self.rate > RATE_OF_ONE { 2 } else { 1 };
        let start = |number: u16| {
            let round = self.round.wrapping_add(number << 15);
            Command::new("ip")
                .args(["netns", "exec", self.sender])
                .arg(std::env::current_exe()?)
                .args(["line-rate", "send"])
                .arg(self.mix)
                .args([
                    (self.rate / f64::from(senders)).to_string(),
                    self.seconds.to_string(),
                    round.to_string(),
                ])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
        };
        Ok((0..senders).map(start).collect::<std::io::Result<_>>()?)
    }
}

/// Sends and measures; answers the rounds that were begun, too.
fn step(
    load: &Load<'_>,
    program: &Program,
    broker: &Broker,
    lines: &std::sync::mpsc::Receiver<(Micros, String)>,
    on_flows: &BTreeSet<&str>,
) -> Result<(u16, Step)> {
    let (before, began) = (program.look(broker)?, clock::now());
    let mut senders = load.start()?;
    // What breaks is told in the order in which it does.
    let mut broke = None;
    while senders.iter_mut().any(|sender| matches!(sender.try_wait(), Ok(None))) {
        std::thread::park_timeout(Duration::from_secs(1));
        broke = broke.or(broken(&before, &program.look(broker)?, began));
    }
    let (mut packets, mut sending, mut rounds) = (0.0, 0.0, 0);
    for sender in senders {
        let sent: Sent = told(BufReader::new(sender.stdout.context("no output")?))?;
        packets += sent.packets as f64 / sent.seconds;
        sending += sent.processor / sent.seconds;
        rounds = rounds.max(sent.rounds);
    }
    let (after, ended) = (program.look(broker)?, clock::now());
    let [lag, sink_lag] = after.waiting();
    let passed = (ended - began) as f64 / 1e6;
    let a_second = |name: &str| (after.value(name) - before.value(name)) / passed;
    let mut settled = Duration::ZERO;
    while program.look(broker)?.waiting() != [0.0; 2] && settled < SETTLE {
        std::thread::park_timeout(Duration::from_millis(500));
        settled += Duration::from_millis(500);
    }
    // The collector hands over once a second, the sink some time later.
    std::thread::park_timeout(Duration::from_secs(2));
    let (mut latencies, mut of_flows) = (Vec::new(), Vec::new());
    for (at, line) in lines.try_iter() {
        let event = event(&line)?;
        let observed = event["time"].as_i64().context("an event without a time")? * 1000;
        let detection = event["metadata"]["event_code"].as_str().unwrap_or_default();
        let first = event["metadata"]["uid"].as_str().is_some_and(|uid| uid.ends_with("-r1"));
        if first && observed >= began && !WAITING.contains(&detection) {
            let list = if on_flows.contains(detection) { &mut of_flows } else { &mut latencies };
            list.push((at - observed) as f64 / 1e3);
        }
    }
    latencies.sort_by(f64::total_cmp);
    of_flows.sort_by(f64::total_cmp);
    let cores = |of: usize| (after.cores[of] - before.cores[of]) / passed;
    let records = a_second("yagura_collect_records_total");
    let step = Step {
        wanted: load.rate,
        sent: packets,
        dropped: after.value("yagura_collect_dropped_packets_total")
            - before.value("yagura_collect_dropped_packets_total"),
        messages: a_second("yagura_detect_rows_total"),
        alerts: latencies.len(),
        latency: [0.5, 0.99, 1.0].map(|part| quantile(&latencies, part)),
        connections: (of_flows.len(), quantile(&of_flows, 0.99)),
        waiting: [if lag > 0.0 { lag / records.max(1.0) } else { 0.0 }, sink_lag],
        cores: [sending, cores(0), cores(1), cores(2), cores(3)],
        broke,
    };
    say(&step);
    Ok((rounds, step))
}

/// Of sorted numbers, the one that so many do not exceed; 0 of none.
fn quantile(sorted: &[f64], part: f64) -> f64 {
    let at = (sorted.len() as f64 * part).ceil() as usize;
    sorted.get(at.max(1) - 1).copied().unwrap_or_default()
}

/// What is over its limit, if anything is.
fn broken(before: &Look, now: &Look, began: Micros) -> Option<String> {
    let passed = (clock::now() - began) as f64 / 1e6;
    let grown = |name: &str| now.value(name) - before.value(name);
    let dropped = grown("yagura_collect_dropped_packets_total");
    if dropped > 0.0 {
        let busy = |of: usize| (now.cores[of] - before.cores[of]) / passed;
        return Some(format!(
            "capture (packets dropped; the collector's threads had {:.2} cores, the detector's {:.2}, the broker {:.2})",
            busy(0),
            busy(1),
            busy(3)
        ));
    }
    if grown("yagura_collect_retries_total") > 0.0 {
        return Some("the log (it refused the collector)".into());
    }
    let [lag, sink_lag] = now.waiting();
    let records = grown("yagura_collect_records_total") / passed;
    if passed > WAITING_SECONDS && lag > WAITING_SECONDS * records.max(1.0) {
        return Some(format!("the detector ({lag:.0} records wait, {records:.0} come a second)"));
    }
    let alerts = grown("yagura_detect_alerts_total") / passed;
    if passed > WAITING_SECONDS && sink_lag > WAITING_SECONDS * alerts.max(1.0) {
        return Some(format!("the sink ({sink_lag:.0} alerts wait, {alerts:.0} come a second)"));
    }
    None
}

/// Tells the lines of a file with the time at which they stood there.
fn follow(file: PathBuf, stop: &AtomicBool, tell: std::sync::mpsc::SyncSender<(Micros, String)>) {
    let mut opened = None;
    let mut rest = Vec::new();
    while !stop.load(Ordering::Acquire) {
        if opened.is_none() {
            opened = std::fs::File::open(&file).ok();
        }
        let read = opened.as_mut().and_then(|file| file.read_to_end(&mut rest).ok()).unwrap_or(0);
        let at = clock::now();
        if read == 0 {
            std::thread::park_timeout(Duration::from_millis(1));
            continue;
        }
        let whole = rest.iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        for line in String::from_utf8_lossy(&rest[..whole]).lines() {
            if tell.try_send((at, line.to_string())).is_err() {
                return;
            }
        }
        rest.drain(..whole);
    }
}

#[expect(clippy::print_stderr, reason = "progress of long work")]
fn say(step: &Step) {
    eprintln!(
        "{:>8.0} packets/s: {:.0} dropped, {} alerts, p99 {:.0} ms{}",
        step.sent,
        step.dropped,
        step.alerts,
        step.latency[1],
        step.broke.as_ref().map_or(String::new(), |what| format!("; broke: {what}"))
    );
}
