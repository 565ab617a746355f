//! How fast a log of SML is read: `rate_secslog [SECONDS]`. The log is written before, and read by the real source into an
//! embedded log in a temporary folder.
#![allow(clippy::print_stdout, reason = "the figures are the output")]

use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::json;
use yagura_collect::live::{Destination, collect};
use yagura_collect::run::Progress;
use yagura_collect::sources::CollectorConfig;
use yagura_collect::{Opened, Plant};
use yagura_event::{AssetTable, Envelope, clock};
use yagura_log::Log;
use yagura_log::embedded::{Embedded, Options};

fn main() {
    let seconds: i64 =
        std::env::args().nth(1).map_or(10, |a| a.parse().unwrap_or_else(|e| panic!("{a}: {e}")));
    let folder = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let path = folder.path().to_path_buf();
    let mut text = String::new();
    for n in 0..200_000_u64 {
        let (minute, second, milli) = (n / 60_000 % 60, n / 1000 % 60, n % 1000);
        let head = format!("2026-11-26 10:{minute:02}:{second:02},{milli:03} INFO  [7] ETCH-{:02}", n % 20);
        let _ = writeln!(
            text,
            "{head} - RECV S6F11: 'S6F11' W /* Header=[{n:08X}] */\n<L [3]\n  <U4 [1] {n} >\n  <U4 [1] 50 >\n  <L [1]\n    \
             <L [2]\n      <U4 [1] 100 >\n      <L [4]\n        <F4 [1] 1.5 >\n        <F4 [1] 2.5 >\n        <A [5] \
             'LOT-1' >\n        <U4 [1] 7 >\n      >\n    >\n  >\n>\n.\n{head} - SEND S6F12: 'S6F12' /* Header=[{n:08X}] \
             */\n<B [1] 0x00>\n."
        );
    }
    let bytes = text.len();
    std::fs::write(path.join("eap.log"), text).unwrap_or_else(|e| panic!("{e}"));
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.unwrap_or_else(|e| panic!("{e}"));
    let plant =
        Plant { assets: Arc::new(AssetTable::new(vec![], "bay")), ..Plant::unknown(runtime.handle()) };
    let log = Embedded::open(path.join("log"), Options::default()).unwrap_or_else(|e| panic!("{e}"));
    log.ensure_topic("events", 1).unwrap_or_else(|e| panic!("{e}"));
    let log = Arc::new(log);
    let stop = Arc::new(AtomicBool::new(false));
    let (to, stopped, began) = (Arc::clone(&log), Arc::clone(&stop), clock::steady());
    let collector = std::thread::spawn(move || {
        let settings = json!({"name": "eap", "kind": "secslog", "path": "eap.log", "preset": "log4net"});
        let config = CollectorConfig::new(settings).unwrap_or_else(|e| panic!("{e}"));
        let Ok(Opened::Live(source)) = config.open(&path, &plant) else { panic!("it opens") };
        let to = Destination {
            log: to.as_ref(),
            topic: "events",
            assets: &plant.assets,
            cells: &[],
            notes: &path,
        };
        collect(source, to, &stopped, &Progress::default()).unwrap_or_else(|e| panic!("{e}"));
    });
    let (mut rows, mut from, mut took) = (0, 0, 1);
    while rows < 200_000 && clock::steady() < began + seconds * clock::SECOND {
        std::thread::park_timeout(Duration::from_millis(20));
        let held = log.held("events", 0).unwrap_or_else(|e| panic!("{e}"));
        let mut reader = log.reader("events", 0, from).unwrap_or_else(|e| panic!("{e}"));
        while reader.position() < held.end {
            let records = reader.read(1 << 20, Duration::from_secs(1)).unwrap_or_else(|e| panic!("{e}"));
            for stored in &records {
                let envelope = Envelope::from_header(&stored.record.header).unwrap_or_else(|e| panic!("{e}"));
                if envelope.kind == yagura_event::Kind::Message {
                    rows += u64::from(envelope.rows);
                    took = clock::steady() - began;
                }
            }
        }
        from = reader.position();
    }
    let rate = |n: f64| n * 1e6 / took as f64;
    println!(
        "{rows} exchanges (two messages each): {:.0} messages/s, {:.1} MB of text a second",
        rate(2.0 * rows as f64),
        rate(bytes as f64 * rows as f64 / 200_000.0) / 1e6
    );
    // For `cargo xtask bench collect`.
    println!("figure\tmessages\t{:.0}\tmessages/s", rate(2.0 * rows as f64));
    stop.store(true, Ordering::Release);
    if collector.join().is_err() {
        println!("the collector failed");
    }
}
