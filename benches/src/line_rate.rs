//! Line rate: the industrial mix, replayed from one end of a veth pair into live capture with the
//! embedded log behind it, each end in a network namespace and a process of its own.
//!
//! Short probes find the highest rate without loss, which is then held for `YAGURA_LINE_RATE_SECONDS`
//! (600 without it); then packets are sent as fast as they can be, at last into a receiver with small
//! buffers that is stopped every other second, which is above any limit. Every step checks that packets
//! sent = packets parsed + drops counted. Sender, kernel and receiver share the machine's cores: their
//! processor time stands beside the rates.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use pcap::Capture;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use yagura_capture::live::{LiveOptions, Tuning};
use yagura_capture::{EngineOptions, Limits, PacketFile};
use yagura_collect::run::Progress;
use yagura_collect::sources::interface;
use yagura_collect::{LiveSource, PlacedSink, Seen, live};
use yagura_dissect::Settings;
use yagura_event::AssetTable;
use yagura_event::clock::Micros;
use yagura_log::Log;
use yagura_log::embedded::{Embedded, Options};

use crate::common::processor_of;
use crate::packets::write_mix;
use crate::report::{Figure, Report};

/// How long a probe sends.
const PROBE_SECONDS: u64 = 5;
/// How long packets are sent as fast as they can be.
const ABOVE_SECONDS: u64 = 20;
/// Probes between no packets and as many as can be sent.
const PROBES: usize = 7;
/// A rate that probes found is held a little below, then lower and lower.
const HOLD: [f64; 4] = [0.95, 0.85, 0.75, 0.6];
/// What the log keeps of each partition: ten minutes would fill a disk.
const RETAIN: u64 = 512 << 20;
/// The interfaces' names.
pub(crate) const ENDS: [&str; 2] = ["yagura-send", "yagura-read"];
/// Packets that are sent before the sender looks at the time.
const BURST: u64 = 32;

/// What a sender tells at its end.
#[derive(Serialize, Deserialize)]
pub(crate) struct Sent {
    pub packets: u64,
    bytes: u64,
    pub seconds: f64,
    pub processor: f64,
    /// Rounds that were begun.
    pub rounds: u16,
}

/// What a receiver tells at its end.
#[derive(Debug, Serialize, Deserialize)]
struct Received {
    parsed: u64,
    /// By `coverage` rows: of the kernel, the interface and the queue.
    dropped: u64,
    messages: u64,
    records: u64,
    processor: f64,
}

/// One step: a sender and a receiver at work.
struct Step {
    sent: Sent,
    received: Received,
    wall: f64,
}

/// Runs the part that `arguments` ask for: this program starts itself in the namespaces.
pub fn part(arguments: &[String]) -> Option<Result<()>> {
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["line-rate", "send", file, rate, seconds, round] => {
            Some(parsed(rate, seconds).and_then(|(rate, seconds)| {
                tell(&send(Path::new(file), rate, Duration::from_secs(seconds), round.parse()?)?)
            }))
        }
        ["line-rate", "receive", folder, buffers] => {
            Some(receive(Path::new(folder), *buffers == "small").and_then(|r| tell(&r)))
        }
        _ => None,
    }
}

/// Measures.
pub fn line_rate() -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("mix.pcap");
    write_mix(&file)?;
    let network = Network::new()?;
    let step = |rate: f64, seconds: u64| network.step(&file, folder.path(), rate, seconds, false);
    let seconds = std::env::var("YAGURA_LINE_RATE_SECONDS").ok().map_or(Ok(600), |text| text.parse())?;

    let top = step(0.0, PROBE_SECONDS)?;
    let (mut below, mut above) = (0.0, top.rate());
    let lossless = |step: &Step| step.received.dropped == 0;
    if lossless(&top) {
        below = above;
    }
    for _ in 0..PROBES {
        if above - below < 0.04 * above {
            break;
        }
        let probe = step((below + above) / 2.0, PROBE_SECONDS)?;
        let bound = if lossless(&probe) { &mut below } else { &mut above };
        *bound = probe.rate();
    }
    ensure!(below > 0.0, "no rate is without loss");
    let mut held = None;
    for part in HOLD {
        let step = step(below * part, seconds)?;
        let done = lossless(&step);
        held = Some(step);
        if done {
            break;
        }
    }
    let held = held.context("nothing was held")?;
    let over = step(0.0, ABOVE_SECONDS)?;
    // Where the sender is the slower of the two, its fastest is not above the limit.
    let starved = network.step(&file, folder.path(), 0.0, ABOVE_SECONDS, true)?;
    ensure!(starved.received.dropped > 0, "a receiver that stands still drops nothing");
    let mut figures = vec![
        Figure::new(format!("packets a second without loss, {PROBE_SECONDS} s probes"), below, "1/s"),
        Figure::new(format!("packets a second held for {seconds} s"), held.rate(), "1/s"),
    ];
    figures.extend(held.figures("held"));
    figures.push(Figure::new("as fast as can be sent: packets a second", over.rate(), "1/s"));
    figures.extend(over.figures("as fast as can be sent"));
    figures.extend(starved.figures("into a receiver that stands still"));
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Report {
        input: format!("veth pair, {cores} cores for sender, kernel and receiver, embedded log"),
        figures,
    })
}

impl Step {
    fn rate(&self) -> f64 {
        self.sent.packets as f64 / self.sent.seconds
    }

    fn figures(&self, name: &str) -> Vec<Figure> {
        let Step { sent, received, wall } = self;
        vec![
            Figure::new(format!("{name}: packets sent"), sent.packets as f64, ""),
            Figure::new(format!("{name}: packets parsed"), received.parsed as f64, ""),
            Figure::new(format!("{name}: drops counted"), received.dropped as f64, ""),
            Figure::new(format!("{name}: neither"), self.missing() as f64, ""),
            Figure::new(format!("{name}: bytes a second"), sent.bytes as f64 / sent.seconds, "B/s"),
            Figure::new(format!("{name}: messages read"), received.messages as f64, ""),
            Figure::new(format!("{name}: records in the log"), received.records as f64, ""),
            Figure::new(format!("{name}: cores of sender and kernel"), sent.processor / sent.seconds, ""),
            Figure::new(format!("{name}: cores of the receiver"), received.processor / wall, ""),
        ]
    }

    /// Packets of which nobody knows what became of them.
    fn missing(&self) -> i64 {
        self.sent.packets as i64 - self.received.parsed as i64 - self.received.dropped as i64
    }
}

/// Two namespaces with a veth pair between them, gone at the end.
pub(crate) struct Network(pub [String; 2]);

impl Network {
    pub fn new() -> Result<Network> {
        let names = ["send", "read"].map(|end| format!("yagura-{end}-{}", std::process::id()));
        let network = Network(names);
        let [send, read] = &network.0;
        for name in [send, read] {
            ip(&["netns", "add", name])?;
            // Otherwise each end announces itself.
            let quiet = "echo 1 | tee /proc/sys/net/ipv6/conf/all/disable_ipv6 > /proc/sys/net/ipv6/conf/default/disable_ipv6";
            ip(&["netns", "exec", name, "sh", "-c", quiet])?;
        }
        ip(&["-n", send, "link", "add", ENDS[0], "type", "veth", "peer", "name", ENDS[1], "netns", read])?;
        for (name, end) in network.0.iter().zip(ENDS) {
            ip(&["-n", name, "link", "set", end, "mtu", "65535", "up"])?;
        }
        Ok(network)
    }

    /// Sends at `rate` packets a second (0: as fast as can be) for `seconds` into live capture, which
    /// is stopped every other second when `starved`.
    fn step(&self, file: &Path, folder: &Path, rate: f64, seconds: u64, starved: bool) -> Result<Step> {
        let log = folder.join("log");
        let (mut receiver, input, mut output) =
            self.start(1, &["receive", &log.display().to_string(), if starved { "small" } else { "large" }])?;
        let mut ready = String::new();
        output.read_line(&mut ready)?;
        ensure!(ready == "ready\n", "the receiver did not start");
        #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
        let began = Instant::now();
        let (rate, seconds_text) = (rate.to_string(), seconds.to_string());
        let (mut sender, _input, output_sent) =
            self.start(0, &["send", &file.display().to_string(), &rate, &seconds_text, "0"])?;
        for _ in 0..if starved { ABOVE_SECONDS / 2 } else { 0 } {
            signal(&receiver, "STOP")?;
            std::thread::park_timeout(Duration::from_secs(1));
            signal(&receiver, "CONT")?;
            std::thread::park_timeout(Duration::from_secs(1));
        }
        let sent: Sent = told(output_sent)?;
        ensure!(sender.wait()?.success(), "the sender failed");
        // Its end of input tells the receiver to stop.
        drop(input);
        let received: Received = told(output)?;
        ensure!(receiver.wait()?.success(), "the receiver failed");
        let step = Step { sent, received, wall: began.elapsed().as_secs_f64() };
        std::fs::remove_dir_all(&log)?;
        say(&format!(
            "{:>10.0} packets/s for {:.0} s: {} sent, {} parsed, {} dropped",
            step.rate(),
            step.sent.seconds,
            step.sent.packets,
            step.received.parsed,
            step.received.dropped
        ));
        ensure!(step.missing() == 0, "{} packets are neither parsed nor counted", step.missing());
        Ok(step)
    }

    /// Starts this program's part in a namespace.
    fn start(&self, end: usize, part: &[&str]) -> Result<(Child, ChildStdin, BufReader<ChildStdout>)> {
        let mut command = Command::new("ip");
        command
            .args(["netns", "exec", &self.0[end]])
            .arg(std::env::current_exe()?)
            .arg("line-rate")
            .args(part);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let (input, output) = (child.stdin.take(), child.stdout.take());
        Ok((child, input.context("no input")?, BufReader::new(output.context("no output")?)))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in &self.0 {
            // One that was never made cannot be removed.
            let _ = Command::new("ip").args(["netns", "del", name]).stderr(Stdio::null()).status();
        }
    }
}

fn signal(child: &Child, name: &str) -> Result<()> {
    let status = Command::new("kill").args(["-s", name, &child.id().to_string()]).status()?;
    ensure!(status.success(), "the receiver cannot be signalled");
    Ok(())
}

pub(crate) fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("`ip` (iproute2) cannot be started")?;
    if !output.status.success() {
        bail!(
            "ip {}: {}; this takes root",
            arguments.join(" "),
            String::from_utf8_lossy(&output.stderr).trim()
        );
    }
    Ok(())
}

/// Sends the file's packets round after round, in each from other addresses: a connection that was
/// there already would be no work. The first round's number is `round`.
fn send(file: &Path, rate: f64, time: Duration, mut round: u16) -> Result<Sent> {
    let mut frames = Vec::new();
    let mut packets = PacketFile::open(file)?;
    while let Some(packet) = packets.next_packet()? {
        if packet.data.len() >= 14 {
            frames.push(packet.data.to_vec());
        }
    }
    let mut capture = Capture::from_device(ENDS[0])?.snaplen(64).buffer_size(1 << 20).open()?;
    // It receives nothing.
    capture.filter("less 1", true)?;
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    let began = Instant::now();
    let processor = processor()?;
    let (mut sent, mut bytes) = (0_u64, 0);
    let first = round;
    frames.iter_mut().for_each(|frame| readdress(frame, round));
    'rounds: loop {
        for frame in &mut frames {
            capture.sendpacket(frame.as_slice())?;
            (sent, bytes) = (sent + 1, bytes + frame.len() as u64);
            if !sent.is_multiple_of(BURST) {
                continue;
            }
            let elapsed = began.elapsed();
            if elapsed >= time {
                break 'rounds;
            }
            if rate > 0.0 {
                let due = Duration::from_secs_f64(sent as f64 / rate);
                std::thread::park_timeout(due.saturating_sub(elapsed));
            }
        }
        let next = round.wrapping_add(1);
        for frame in &mut frames {
            readdress(frame, round ^ next);
        }
        round = next;
    }
    let seconds = began.elapsed().as_secs_f64();
    let processor = self::processor()? - processor;
    Ok(Sent { packets: sent, bytes, seconds, processor, rounds: round.wrapping_sub(first).wrapping_add(1) })
}

/// Changes the two middle bytes of both IPv4 addresses, in the same way in both directions.
fn readdress(frame: &mut [u8], change: u16) {
    if frame.len() >= 34 && frame[12..14] == [8, 0] {
        for (at, change) in [(27, change >> 8), (28, change), (31, change >> 8), (32, change)] {
            frame[at] ^= change as u8;
        }
    }
}

/// Captures into a log until the standard input ends.
fn receive(folder: &Path, small: bool) -> Result<Received> {
    let [kernel_bytes, queue_bytes] = if small { [4 << 20, 1 << 20] } else { [256 << 20, 128 << 20] };
    let assets = Arc::new(AssetTable::new(vec![], "bay"));
    let options = LiveOptions {
        interfaces: vec![ENDS[1].into()],
        tuning: Tuning { kernel_bytes, queue_bytes, ..Tuning::default() },
        ..LiveOptions::default()
    };
    let engine = EngineOptions {
        assets: assets.clone(),
        settings: Arc::new(Settings::default()),
        limits: Limits::default(),
    };
    let log = Embedded::open(folder, Options { retain_bytes: Some(RETAIN), ..Options::default() })?;
    log.ensure_topic("events", 1)?;
    let (stop, progress, last) = (Arc::new(AtomicBool::new(false)), Progress::default(), Arc::default());
    let source = Watched { source: interface::open("line", options, engine)?, seen: Arc::clone(&last) };
    say_to_parent("ready")?;
    let ended = Arc::clone(&stop);
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        ended.store(true, Ordering::Release);
    });
    let to = live::Destination { log: &log, topic: "events", assets: &assets, cells: &[], notes: folder };
    live::collect(Box::new(source), to, &stop, &progress)?;
    let seen: Seen = last.lock().map_err(|_| anyhow::anyhow!("a panic"))?.clone();
    Ok(Received {
        parsed: seen.stats.packets,
        dropped: seen.dropped,
        messages: seen.stats.messages.values().sum(),
        records: progress.records.load(Ordering::Relaxed),
        processor: processor()?,
    })
}

/// A live source whose last word is kept.
struct Watched {
    source: Box<dyn LiveSource>,
    seen: Arc<std::sync::Mutex<Seen>>,
}

impl LiveSource for Watched {
    fn collector(&self) -> &str {
        self.source.collector()
    }

    fn batch(&self) -> Micros {
        self.source.batch()
    }

    fn advance(&mut self, wait: Duration, out: &mut dyn PlacedSink) -> Micros {
        self.source.advance(wait, out)
    }

    fn finish(&mut self, out: &mut dyn PlacedSink) {
        self.source.finish(out);
        if let Ok(mut seen) = self.seen.lock() {
            *seen = self.source.seen();
        }
    }

    fn seen(&self) -> Seen {
        self.source.seen()
    }
}

/// Seconds of processor time of this process so far: fields 14 and 15 of proc_pid_stat(5).
fn processor() -> Result<f64> {
    processor_of(Path::new("/proc/self"))
}

fn parsed(rate: &str, seconds: &str) -> Result<(f64, u64)> {
    Ok((rate.parse()?, seconds.parse()?))
}

/// The last word of a part: a line of JSON.
pub(crate) fn told<T: DeserializeOwned>(output: BufReader<ChildStdout>) -> Result<T> {
    let last = output.lines().last().context("a part of the benchmark said nothing")??;
    serde_json::from_str(&last).with_context(|| last)
}

pub(crate) fn tell(what: &impl Serialize) -> Result<()> {
    say_to_parent(&serde_json::to_string(what)?)
}

fn say_to_parent(line: &str) -> Result<()> {
    let mut out = std::io::stdout();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

#[expect(clippy::print_stderr, reason = "progress of long work")]
fn say(line: &str) {
    eprintln!("{line}");
}
