//! How fast values of an OPC UA server are read: `rate_opcua [SECONDS [VARIABLES [TICK_MS]]]`. The server is node-opcua in
//! a process of its own, which changes all variables every so often; the real source reads it into an embedded log in a
//! temporary folder. What either used of a processor stands beside the rate: it shows who is the limit.
#![allow(clippy::print_stdout, reason = "the figures are the output")]

#[allow(unused, reason = "shared with the other example")]
#[path = "opcua_server/mod.rs"]
mod opcua_server;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use yagura_collect::live::{Destination, collect};
use yagura_collect::run::Progress;
use yagura_collect::sources::CollectorConfig;
use yagura_collect::{Opened, Plant};
use yagura_event::{Envelope, Kind, clock};
use yagura_log::Log;
use yagura_log::embedded::{Embedded, Options};

fn main() {
    let mut numbers =
        std::env::args().skip(1).map(|a| a.parse::<u64>().unwrap_or_else(|e| panic!("{a}: {e}")));
    let mut next = |otherwise| numbers.next().unwrap_or(otherwise);
    let (seconds, variables, tick) = (next(10), next(5000), next(50));
    let folder = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let path = folder.path().to_path_buf();
    let mut server = opcua_server::Server::start(variables, tick, 10, &path);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.unwrap_or_else(|e| panic!("{e}"));
    let plant = Plant::unknown(runtime.handle());
    let log =
        Arc::new(Embedded::open(path.join("log"), Options::default()).unwrap_or_else(|e| panic!("{e}")));
    log.ensure_topic("events", 1).unwrap_or_else(|e| panic!("{e}"));
    let settings = json!({
        "name": "load", "kind": "opcua", "endpoint": server.endpoint, "security": "None", "sampling": "0s",
        "publishing": "50ms", "queue_size": 100,
        "browse": {"include": ["**/V*"], "max_nodes": variables, "rate": 1_000_000},
    });
    let config = CollectorConfig::new(settings).unwrap_or_else(|e| panic!("{e}"));
    let Ok(Opened::Live(source)) = config.open(&path, &plant) else { panic!("it opens") };
    let stop = Arc::new(AtomicBool::new(false));
    let (to, stopped) = (Arc::clone(&log), Arc::clone(&stop));
    let collector = std::thread::spawn(move || {
        let to = Destination {
            log: to.as_ref(),
            topic: "events",
            assets: &plant.assets,
            cells: &[],
            notes: &path,
        };
        collect(source, to, &stopped, &Progress::default()).unwrap_or_else(|e| panic!("{e}"));
    });
    // Until everything is subscribed to.
    wait(Duration::from_secs(5));
    let (began, ours, theirs, before) =
        (clock::steady(), opcua_server::used(), server.used(), rows(log.as_ref()));
    wait(Duration::from_secs(seconds));
    let (after, ours, theirs) = (rows(log.as_ref()), opcua_server::used() - ours, server.used() - theirs);
    let took = (clock::steady() - began) as f64 / 1e6;
    stop.store(true, Ordering::Release);
    collector.join().unwrap_or_else(|_| panic!("the collector failed"));
    let rate = (after.0 - before.0) as f64 / took;
    println!("{rate:.0} values/s of {variables} variables that change every {tick} ms");
    println!("processor: collector {:.0} %, server {:.0} %", ours / took * 100.0, theirs / took * 100.0);
    println!("values a second of one processor: {:.0}", (after.0 - before.0) as f64 / ours.max(0.01));
    println!("coverage rows: {}", after.1);
    // For `cargo xtask bench collect`.
    println!("figure\tvalues\t{rate:.0}\tvalues/s");
    println!("figure\tcollector\t{:.2}\tcores", ours / took);
    println!("figure\tserver\t{:.2}\tcores", theirs / took);
}

fn wait(time: Duration) {
    let end = clock::steady() + time.as_micros() as i64;
    while clock::steady() < end {
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

/// Samples and coverage rows in the log.
fn rows(log: &dyn Log) -> (u64, u64) {
    let held = log.held("events", 0).unwrap_or_else(|e| panic!("{e}"));
    let mut reader = log.reader("events", 0, held.start).unwrap_or_else(|e| panic!("{e}"));
    let (mut samples, mut coverage) = (0, 0);
    while reader.position() < held.end {
        for stored in reader.read(1 << 20, Duration::from_secs(10)).unwrap_or_else(|e| panic!("{e}")) {
            let envelope = Envelope::from_header(&stored.record.header).unwrap_or_else(|e| panic!("{e}"));
            match envelope.kind {
                Kind::Sample => samples += u64::from(envelope.rows),
                Kind::Coverage => coverage += u64::from(envelope.rows),
                _ => {}
            }
        }
    }
    (samples, coverage)
}
