//! How many Modbus devices one process polls: `rate_modbus [SECONDS [DEVICES [REGISTERS]]]`. The devices are in this
//! process, behind one port, and answer at once; the real source reads them into an embedded log in a temporary
//! folder. Each has `REGISTERS` signals in one range, and is asked as fast as it answers.
#![allow(clippy::print_stdout, reason = "the figures are the output")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use yagura_collect::live::{Destination, collect};
use yagura_collect::run::Progress;
use yagura_collect::sources::CollectorConfig;
use yagura_collect::{Opened, Plant};
use yagura_event::{AssetTable, Envelope, Kind, clock};
use yagura_log::Log;
use yagura_log::embedded::{Embedded, Options};

type Failed = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failed> {
    let argument = |at: usize, usual: u64| {
        std::env::args().nth(at).map_or(Ok(usual), |a| a.parse().map_err(|e| format!("{a}: {e}")))
    };
    let (seconds, devices, registers) = (argument(1, 10)?, argument(2, 1000)?, argument(3, 100)?);
    let folder = tempfile::tempdir()?;
    let path = folder.path().to_path_buf();
    let polls = Arc::new(AtomicU64::new(0));
    let device = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let listener = device.block_on(TcpListener::bind("127.0.0.1:0"))?;
    let port = listener.local_addr()?.port();
    let counted = Arc::clone(&polls);
    device.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer(stream, Arc::clone(&counted)));
        }
    });

    let map: Vec<Value> = (0..registers)
        .map(|register| json!({"name": format!("s{register}"), "register": register, "kind": "holding"}))
        .collect();
    let list: Vec<Value> = (0..devices)
        .map(|n| json!({"name": format!("plc-{n}"), "address": format!("127.0.0.1:{port}"), "every": "10ms", "base": "zero", "map": map}))
        .collect();
    let config = CollectorConfig::new(json!({
        "name": "plcs", "kind": "modbus", "devices": list, "identify": false, "max_requests_per_second": 10_000_000,
        "timeout": "10s",
    }))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let plant =
        Plant { assets: Arc::new(AssetTable::new(vec![], "bay")), ..Plant::unknown(runtime.handle()) };
    let log = Arc::new(Embedded::open(path.join("log"), Options::default())?);
    log.ensure_topic("events", 1)?;
    let stop = Arc::new(AtomicBool::new(false));
    let (to, stopped) = (Arc::clone(&log), Arc::clone(&stop));
    let collector = std::thread::spawn(move || -> Result<(), Failed> {
        let Opened::Live(source) = config.open(&path, &plant)? else { return Err("no live source".into()) };
        let destination = Destination {
            log: to.as_ref(),
            topic: "events",
            assets: &plant.assets,
            cells: &[],
            notes: &path,
        };
        collect(source, destination, &stopped, &Progress::default())?;
        Ok(())
    });
    // Until all are connected.
    std::thread::park_timeout(Duration::from_secs(2));
    let (began, used, asked) = (clock::steady(), cpu(), polls.load(Ordering::Relaxed));
    let from = log.held("events", 0)?.end;
    while clock::steady() < began + seconds as i64 * clock::SECOND {
        std::thread::park_timeout(Duration::from_millis(100));
    }
    let took = (clock::steady() - began) as f64 / 1e6;
    let (asked, used) = (polls.load(Ordering::Relaxed) - asked, cpu() - used);
    let held = log.held("events", 0)?;
    let mut reader = log.reader("events", 0, from)?;
    let mut rows = 0;
    while reader.position() < held.end {
        for stored in reader.read(1 << 20, Duration::from_secs(1))? {
            let envelope = Envelope::from_header(&stored.record.header)?;
            rows += if envelope.kind == Kind::Sample { u64::from(envelope.rows) } else { 0 };
        }
    }
    println!(
        "{devices} devices of {registers} registers: {:.0} polls/s, {:.0} rows/s in the log; {:.2} cores, those of the devices among them",
        asked as f64 / took,
        rows as f64 / took,
        used / took
    );
    // For `cargo xtask bench collect`.
    println!("figure\tpolls\t{:.0}\tpolls/s", asked as f64 / took);
    println!("figure\trows\t{:.0}\trows/s", rows as f64 / took);
    println!("figure\tcollector and devices\t{:.2}\tcores", used / took);
    stop.store(true, Ordering::Release);
    collector.join().map_err(|_| "the collector failed")?
}

/// A device: holding registers that count.
async fn answer(mut stream: TcpStream, polls: Arc<AtomicU64>) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    let (mut request, mut answer, mut number) = ([0_u8; 12], Vec::new(), 0_u16);
    loop {
        stream.read_exact(&mut request).await?;
        let count = u16::from_be_bytes([request[10], request[11]]);
        answer.clear();
        answer.extend_from_slice(&request[..4]);
        answer.extend_from_slice(&(3 + 2 * count).to_be_bytes());
        answer.extend_from_slice(&[request[6], request[7], (2 * count) as u8]);
        for _ in 0..count {
            number = number.wrapping_add(1);
            answer.extend_from_slice(&number.to_be_bytes());
        }
        stream.write_all(&answer).await?;
        polls.fetch_add(1, Ordering::Relaxed);
    }
}

/// Seconds of processor time that this process used, by `/proc`.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
