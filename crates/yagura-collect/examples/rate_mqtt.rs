//! How many Sparkplug B metrics a second go from publishers through mosquitto and the source `mqtt` into a log.
//!
//! `rate_mqtt [SECONDS] [METRICS_PER_SECOND] [PUBLISHERS]`: publishers are processes of this program, which send
//! messages of 100 metrics with QoS 0, as edge nodes do. It prints what was sent and taken, the holes that were told,
//! and the CPU share of each process, in per cent of one core.
#![allow(clippy::print_stdout, reason = "it is a program for people")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use yagura_collect::live::{self, Destination};
use yagura_collect::run::Progress;
use yagura_collect::sources::CollectorConfig;
use yagura_collect::{Opened, Plant};
use yagura_event::clock::{self, SECOND};
use yagura_event::{AssetTable, Envelope, Kind, codec};
use yagura_log::Log;
use yagura_log::embedded::{Embedded, Options};

type Failure = Box<dyn std::error::Error>;

const TOPIC: &str = "events";
const METRICS: u64 = 100;

fn main() -> Result<(), Failure> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [what, port, name, rate, seconds] = arguments.as_slice()
        && what == "publish"
    {
        return publish(port.parse()?, name, rate.parse()?, seconds.parse()?);
    }
    let number = |nth: usize, default: u64| arguments.get(nth).map_or(Ok(default), |text| text.parse());
    run(number(0, 10)?, number(1, 600_000)?, number(2, 4)?)
}

/// A child process that ends with its handle.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn run(seconds: u64, rate: u64, publishers: u64) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let settings = folder.path().join("mosquitto.conf");
    let text = format!("listener {port} 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n");
    std::fs::write(&settings, text)?;
    let broker =
        Command::new("/usr/sbin/mosquitto").arg("-c").arg(&settings).stderr(Stdio::null()).spawn()?;
    let broker = Process(broker);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        std::thread::park_timeout(Duration::from_millis(10));
    }

    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let assets = Arc::new(AssetTable::new(vec![], "bay"));
    let plant = Plant { assets: Arc::clone(&assets), ..Plant::unknown(runtime.handle()) };
    let config = CollectorConfig::new(json!({
        "name": "line", "kind": "mqtt", "format": "sparkplug", "brokers": [{"address": format!("127.0.0.1:{port}")}],
    }))?;
    let Opened::Live(source) = config.open(folder.path(), &plant)? else {
        return Err("MQTT has no end".into());
    };
    let log = Arc::new(Embedded::open(folder.path().join("log"), Options::default())?);
    log.ensure_topic(TOPIC, 1)?;
    let stop = Arc::new(AtomicBool::new(false));
    let collector = {
        let (log, stop, notes) = (Arc::clone(&log), Arc::clone(&stop), folder.path().join("notes"));
        std::fs::create_dir_all(&notes)?;
        std::thread::spawn(move || {
            let to =
                Destination { log: log.as_ref(), topic: TOPIC, assets: &assets, cells: &[], notes: &notes };
            live::collect(source, to, &stop, &Progress::default())
        })
    };
    let mut begun = Counts::default();
    while begun.coverage == 0 {
        begun.follow(log.as_ref())?;
        std::thread::park_timeout(Duration::from_millis(10));
    }

    let itself = std::env::current_exe()?;
    let mut children = Vec::new();
    for nth in 0..publishers {
        let child = Command::new(&itself)
            .args(["publish", &port.to_string(), &format!("edge-{nth}")])
            .args([(rate / publishers).to_string(), seconds.to_string()])
            .stdout(Stdio::piped())
            .spawn()?;
        children.push(Process(child));
    }
    let (began, ours, brokers) = (clock::steady(), cpu("self")?, cpu(&broker.0.id().to_string())?);
    let mut sent = 0;
    let mut publishing = 0.0;
    for child in &mut children {
        let mut text = String::new();
        child.0.stdout.take().ok_or("no output")?.read_to_string(&mut text)?;
        let mut parts = text.split_whitespace();
        sent += parts.next().ok_or("no count")?.parse::<u64>()?;
        publishing += parts.next().ok_or("no share")?.parse::<f64>()?;
    }
    // What is on its way is waited for, and counts.
    let mut taken = Counts::default();
    for _ in 0..3000 {
        taken.follow(log.as_ref())?;
        if taken.samples >= sent {
            break;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    let elapsed = (clock::steady() - began) as f64 / SECOND as f64;
    let share = |after: f64, before: f64| (after - before) / elapsed * 100.0;
    let (ours, brokers) = (share(cpu("self")?, ours), share(cpu(&broker.0.id().to_string())?, brokers));
    stop.store(true, Ordering::Release);
    collector.join().map_err(|_| "the collector panicked")??;
    taken.follow(log.as_ref())?;
    println!(
        "{:.0} metrics/s: {sent} were sent, {} rows are in the log after {elapsed:.1} s, {} messages missing",
        taken.samples as f64 / elapsed,
        taken.samples,
        taken.missing
    );
    println!(
        "CPU: collector and log {ours:.0} %, mosquitto {brokers:.0} %, {publishers} publishers {:.0} %",
        publishing / elapsed * 100.0
    );
    // For `cargo xtask bench collect`.
    println!("figure\tmetrics\t{:.0}\tmetrics/s", taken.samples as f64 / elapsed);
    println!("figure\tmessages missing\t{}\tmessages", taken.missing);
    println!("figure\tcollector and log\t{:.2}\tcores", ours / 100.0);
    println!("figure\tmosquitto\t{:.2}\tcores", brokers / 100.0);
    Ok(())
}

#[derive(Default)]
struct Counts {
    /// Up to where the log was read.
    read: u64,
    samples: u64,
    coverage: u64,
    missing: u64,
}

impl Counts {
    fn follow(&mut self, log: &dyn Log) -> Result<(), Failure> {
        let end = log.held(TOPIC, 0)?.end;
        let mut reader = log.reader(TOPIC, 0, self.read)?;
        while reader.position() < end {
            for stored in reader.read(1 << 20, Duration::from_secs(10))? {
                let envelope = Envelope::from_header(&stored.record.header)?;
                match envelope.kind {
                    Kind::Sample => self.samples += u64::from(envelope.rows),
                    Kind::Coverage if envelope.rows > 0 => {
                        self.coverage += u64::from(envelope.rows);
                        for row in codec::to_json_rows(&codec::decode(&envelope, &stored.record.value)?) {
                            if row["event"] == "gap" {
                                self.missing += row["count"].as_u64().unwrap_or_default();
                            }
                        }
                    }
                    _ => {}
                }
            }
        }
        self.read = reader.position();
        Ok(())
    }
}

/// Seconds of CPU that a process has used.
fn cpu(process: &str) -> Result<f64, Failure> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat"))?;
    let after = text.rsplit_once(')').ok_or("no stat")?.1;
    let ticks: Vec<&str> = after.split_whitespace().collect();
    Ok((ticks[11].parse::<f64>()? + ticks[12].parse::<f64>()?) / 100.0)
}

/// Sends so many metrics a second; prints how many it sent, and the seconds of CPU that took.
fn publish(port: u16, name: &str, rate: u64, seconds: u64) -> Result<(), Failure> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    let mut hello = vec![0, 4];
    hello.extend_from_slice(b"MQTT\x04\x02\0\x3c");
    hello.extend_from_slice(&(name.len() as u16).to_be_bytes());
    hello.extend_from_slice(name.as_bytes());
    packet(&mut stream, 0x10, &hello)?;
    stream.read_exact(&mut [0; 4])?;
    let births: Vec<Vec<u8>> = (0..METRICS)
        .map(|alias| {
            let mut out = Vec::new();
            bytes(&mut out, 1, format!("chamber/sensor {alias}").as_bytes());
            metric(&mut out, alias, 10, 0.0);
            out
        })
        .collect();
    message(&mut stream, &format!("spBv1.0/rate/NBIRTH/{name}"), &payload(0, &[]))?;
    message(&mut stream, &format!("spBv1.0/rate/DBIRTH/{name}/tool"), &payload(1, &births))?;
    let topic = format!("spBv1.0/rate/DDATA/{name}/tool");
    let began = clock::steady();
    let (mut seq, mut sent) = (1, 0);
    loop {
        let elapsed = clock::steady() - began;
        if elapsed >= seconds as i64 * SECOND {
            break;
        }
        if sent > rate as i64 * elapsed / SECOND {
            std::thread::park_timeout(Duration::from_millis(1));
            continue;
        }
        let values: Vec<Vec<u8>> = (0..METRICS)
            .map(|alias| {
                let mut out = Vec::new();
                metric(&mut out, alias, 0, (sent + alias as i64) as f64 * 0.5);
                out
            })
            .collect();
        seq = (seq + 1) % 256;
        message(&mut stream, &topic, &payload(seq, &values))?;
        sent += METRICS as i64;
    }
    stream.write_all(&[0xe0, 0])?;
    println!("{sent} {}", cpu("self")?);
    Ok(())
}

fn message(to: &mut TcpStream, topic: &str, payload: &[u8]) -> std::io::Result<()> {
    let mut body = (topic.len() as u16).to_be_bytes().to_vec();
    body.extend_from_slice(topic.as_bytes());
    body.extend_from_slice(payload);
    packet(to, 0x30, &body)
}

fn packet(to: &mut TcpStream, first: u8, body: &[u8]) -> std::io::Result<()> {
    let mut out = vec![first];
    varint(&mut out, body.len() as u64);
    out.extend_from_slice(body);
    to.write_all(&out)
}

fn payload(seq: u64, metrics: &[Vec<u8>]) -> Vec<u8> {
    let mut out = vec![1 << 3];
    varint(&mut out, (clock::now() / 1000) as u64);
    for metric in metrics {
        bytes(&mut out, 2, metric);
    }
    out.push(3 << 3);
    varint(&mut out, seq);
    out
}

/// Alias, time, type and value.
fn metric(out: &mut Vec<u8>, alias: u64, datatype: u8, value: f64) {
    out.push(2 << 3);
    varint(out, alias);
    out.push(3 << 3);
    varint(out, (clock::now() / 1000) as u64);
    if datatype > 0 {
        out.extend_from_slice(&[4 << 3, datatype]);
    }
    out.push(13 << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

fn bytes(out: &mut Vec<u8>, field: u8, value: &[u8]) {
    out.push(field << 3 | 2);
    varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}
