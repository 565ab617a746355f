//! What the measurements of sources that listen share: the collector over an embedded log in a temporary folder,
//! senders in a child process, and how much processor each took.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use serde_json::Value;
use yagura_collect::live::{self, Destination};
use yagura_collect::run::Progress;
use yagura_collect::sources::CollectorConfig;
use yagura_collect::{Opened, Plant};
use yagura_event::{AssetTable, Envelope, Kind};
use yagura_log::Log;
use yagura_log::embedded::{Embedded, Options};

type Failed = Box<dyn std::error::Error + Send + Sync>;

const TOPIC: &str = "events";

/// Collects from `settings` while this program runs as a child with `arguments`; prints rows of `kind` a second
/// and what both processes took of one core.
pub fn measure(settings: Value, kind: Kind, arguments: &[String]) -> Result<(), Failed> {
    let folder = tempfile::tempdir()?;
    let log = Embedded::open(folder.path().join("log"), Options::default())?;
    log.ensure_topic(TOPIC, 1)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let assets = Arc::new(AssetTable::new(vec![], "bay"));
    let plant = Plant { assets: Arc::clone(&assets), ..Plant::unknown(runtime.handle()) };
    let Opened::Live(source) = CollectorConfig::new(settings)?.open(folder.path(), &plant)? else {
        return Err("a source that listens is live".into());
    };
    let stop = AtomicBool::new(false);
    let (before, began) = (ticks(Path::new("/proc/self/stat")), now());
    let program = std::env::current_exe()?;
    let (senders, took) = std::thread::scope(|scope| -> Result<(f64, Duration), Failed> {
        let to = Destination { log: &log, topic: TOPIC, assets: &assets, cells: &[], notes: folder.path() };
        let until = &stop;
        let collector = scope.spawn(move || live::collect(source, to, until, &Progress::default()));
        let child = Command::new(program).args(arguments).stdout(Stdio::piped()).spawn();
        let output = child.and_then(|child| child.wait_with_output());
        stop.store(true, Ordering::Release);
        collector.join().map_err(|_| "the collector panicked")??;
        let took = began.elapsed();
        let text = String::from_utf8(output?.stdout)?;
        print(text.trim_end());
        let spent = text.lines().rev().find_map(|line| line.strip_prefix("senders took ")?.split(' ').next());
        Ok((spent.unwrap_or("0").parse()?, took))
    })?;
    let spent = (ticks(Path::new("/proc/self/stat")) - before) as f64 / 100.0;
    let (mut rows, mut at) = (0_u64, log.held(TOPIC, 0)?.start);
    let end = log.held(TOPIC, 0)?.end;
    let mut reader = log.reader(TOPIC, 0, at)?;
    while at < end {
        for stored in reader.read(8 << 20, Duration::from_secs(10))? {
            let envelope = Envelope::from_header(&stored.record.header)?;
            rows += if envelope.kind == kind { u64::from(envelope.rows) } else { 0 };
        }
        at = reader.position();
    }
    let seconds = took.as_secs_f64();
    print(&format!("rows {rows} in {seconds:.1} s: {:.0} rows/s in the log", rows as f64 / seconds));
    print(&format!(
        "collector {:.2} cores, senders {:.2} cores; {:.0} rows for each second of both",
        spent / seconds,
        senders / seconds,
        rows as f64 / (spent + senders)
    ));
    // For `cargo xtask bench collect`.
    print(&format!("figure\trows\t{:.0}\trows/s", rows as f64 / seconds));
    print(&format!("figure\tcollector and log\t{:.2}\tcores", spent / seconds));
    print(&format!("figure\tsenders\t{:.2}\tcores", senders / seconds));
    Ok(())
}

/// What a child says at its end.
pub fn told(sent: u64) {
    print(&format!("sent {sent}"));
    print(&format!("senders took {:.2} s of processor", ticks(Path::new("/proc/self/stat")) as f64 / 100.0));
}

/// Processor time of a process, in hundredths of a second.
fn ticks(stat: &Path) -> u64 {
    let text = std::fs::read_to_string(stat).unwrap_or_default();
    let after = text.rsplit(')').next().unwrap_or("");
    after.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum()
}

#[expect(clippy::disallowed_methods, reason = "this measures time")]
pub fn now() -> Instant {
    Instant::now()
}

#[expect(clippy::print_stdout, reason = "this is what it is for")]
fn print(text: &str) {
    println!("{text}");
}

/// A port that is free now.
pub fn free_port() -> Result<u16, Failed> {
    Ok(std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}
