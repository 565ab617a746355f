//! Many equipments in one collector: `connections_hsms [SECONDS [CONNECTIONS [WINDOW]]]`, 10 seconds of a thousand equipments
//! that send one event after the other, each when the one before is acknowledged, unless told otherwise. Both ends are in this
//! process; the log is an embedded one in a temporary folder.
#![allow(clippy::print_stdout, reason = "the figures are the output")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use yagura_collect::live::{Destination, collect};
use yagura_collect::run::Progress;
use yagura_collect::sources::CollectorConfig;
use yagura_collect::sources::hsms::replies::{control_header, data_header, push_frame};
use yagura_collect::{Opened, Plant};
use yagura_dissect::hsms::Header;
use yagura_dissect::secs2::Value;
use yagura_event::{AssetTable, clock};
use yagura_log::Log;
use yagura_log::embedded::{Embedded, Options};

/// Values of an event.
const VALUES: u32 = 10;

fn main() {
    let mut numbers =
        std::env::args().skip(1).map(|a| a.parse::<u64>().unwrap_or_else(|e| panic!("{a}: {e}")));
    let (seconds, connections, window) =
        (numbers.next().unwrap_or(10), numbers.next().unwrap_or(1000), numbers.next().unwrap_or(1));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.unwrap_or_else(|e| panic!("{e}"));
    let (acked, selected) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let equipment = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap_or_else(|e| panic!("{e}"));
    let address = equipment.local_addr().unwrap_or_else(|e| panic!("{e}")).to_string();
    let (counts, begun) = (Arc::clone(&acked), Arc::clone(&selected));
    runtime.spawn(async move {
        while let Ok((stream, _)) = equipment.accept().await {
            tokio::spawn(tool(stream, window, Arc::clone(&counts), Arc::clone(&begun)));
        }
    });
    let before = memory();
    let reports: Vec<u32> = (1..=VALUES).collect();
    let tools: Vec<_> = (0..connections)
        .map(|n| json!({"name": format!("TOOL-{n:04}"), "address": address, "reports": {"1": reports}}))
        .collect();
    let settings = json!({"name": "spare", "kind": "hsms", "exclusive_session": true, "equipment": tools});
    let folder = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let stop = Arc::new(AtomicBool::new(false));
    let plant =
        Plant { assets: Arc::new(AssetTable::new(vec![], "bay")), ..Plant::unknown(runtime.handle()) };
    let (path, stopped) = (folder.path().to_path_buf(), Arc::clone(&stop));
    let collector = std::thread::spawn(move || {
        let log = Embedded::open(path.join("log"), Options::default()).unwrap_or_else(|e| panic!("{e}"));
        log.ensure_topic("events", 1).unwrap_or_else(|e| panic!("{e}"));
        let config = CollectorConfig::new(settings).unwrap_or_else(|e| panic!("{e}"));
        let Ok(Opened::Live(source)) = config.open(&path, &plant) else { panic!("it opens") };
        let to = Destination { log: &log, topic: "events", assets: &plant.assets, cells: &[], notes: &path };
        collect(source, to, &stopped, &Progress::default()).unwrap_or_else(|e| panic!("{e}"));
    });
    let until = clock::steady() + 60 * clock::SECOND;
    while selected.load(Ordering::Relaxed) < connections && clock::steady() < until {
        std::thread::park_timeout(Duration::from_millis(20));
    }
    println!("{} of {connections} connections are selected", selected.load(Ordering::Relaxed));
    let (first, began, used) = (acked.load(Ordering::Relaxed), clock::steady(), cpu());
    let mut most = 0;
    while clock::steady() < began + seconds as i64 * clock::SECOND {
        std::thread::park_timeout(Duration::from_millis(100));
        most = most.max(memory());
    }
    let took = (clock::steady() - began) as f64 / clock::SECOND as f64;
    let messages = (acked.load(Ordering::Relaxed) - first) as f64 / took;
    println!(
        "{messages:.0} events/s acknowledged, {:.0} values/s, {:.2} processors of both ends; memory {} MiB of both ends, \
         {} MiB before the collector",
        messages * f64::from(VALUES),
        (cpu() - used) / took,
        most >> 20,
        before >> 20,
    );
    // For `cargo xtask bench collect`.
    println!("figure\tconnections\t{}\tconnections", selected.load(Ordering::Relaxed));
    println!("figure\tevents acknowledged\t{messages:.0}\tevents/s");
    println!("figure\tmemory of both ends\t{}\tMiB", most >> 20);
    stop.store(true, Ordering::Release);
    if collector.join().is_err() {
        println!("the collector failed");
    }
}

/// An equipment: selected, then `window` events are always under way.
async fn tool(mut stream: TcpStream, window: u64, acked: Arc<AtomicU64>, selected: Arc<AtomicU64>) {
    let values = Value::List((0..VALUES).map(|n| Value::F4(vec![n as f32])).collect());
    let report = Value::List(vec![Value::List(vec![Value::U4(vec![1]), values])]);
    let event = Value::List(vec![Value::U4(vec![0]), Value::U4(vec![7]), report]).to_bytes();
    let mut system = 0;
    let mut out = Vec::new();
    let mut prefix = [0; 4];
    let mut frame = Vec::new();
    while stream.read_exact(&mut prefix).await.is_ok() {
        frame.resize(u32::from_be_bytes(prefix) as usize, 0);
        if stream.read_exact(&mut frame).await.is_err() {
            return;
        }
        let Some(header) = frame.first_chunk().map(Header::of) else { return };
        let events = match (header.stype, header.stream(), header.function()) {
            (1, ..) => {
                push_frame(&mut out, control_header(2, 0, header.system), &[]);
                selected.fetch_add(1, Ordering::Relaxed);
                0
            }
            (5, ..) => {
                push_frame(&mut out, control_header(6, 0, header.system), &[]);
                0
            }
            (0, 1, 13) => {
                let text = Value::List(vec![
                    Value::Binary(vec![0]),
                    Value::List(vec![Value::text("SIM"), Value::text("1")]),
                ]);
                push_frame(&mut out, data_header(0, 1, 14, false, header.system), &text.to_bytes());
                window
            }
            (0, 6, 12) => {
                acked.fetch_add(1, Ordering::Relaxed);
                1
            }
            _ => 0,
        };
        for _ in 0..events {
            system += 1;
            push_frame(&mut out, data_header(0, 6, 11, true, system), &event);
        }
        if stream.write_all(&out).await.is_err() {
            return;
        }
        out.clear();
    }
}

/// Bytes of memory in use; 0 where the kernel does not say.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Seconds of processor time that were used.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
    let ticks = |n: usize| fields.get(n).and_then(|f| f.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
