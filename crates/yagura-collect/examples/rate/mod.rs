//! Runs a collector for a while and says what came into the log.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use yagura_collect::live::{Destination, collect};
use yagura_collect::run::Progress;
use yagura_collect::sources::CollectorConfig;
use yagura_collect::{Opened, Plant};
use yagura_event::clock::steady;
use yagura_event::{AssetTable, Envelope, Kind};
use yagura_log::Log;
use yagura_log::embedded::{Embedded, Options};

/// How long to measure, from the command line.
pub fn seconds() -> Result<u64, String> {
    match std::env::args().nth(1) {
        None => Ok(10),
        Some(text) => text.parse().map_err(|_| format!("{text} is no number of seconds")),
    }
}

/// Follows what the settings say for so many seconds or until nothing more comes, and prints rows a second and the
/// processor's share.
pub fn measure(
    settings: &serde_json::Value,
    folder: &Path,
    seconds: u64,
) -> Result<(), Box<dyn std::error::Error>> {
    let place = tempfile::tempdir()?;
    let log = Embedded::open(place.path().join("log"), Options::default())?;
    log.ensure_topic("events", 1)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let assets = Arc::new(AssetTable::new(vec![], "bay"));
    let plant = Plant { assets: Arc::clone(&assets), ..Plant::unknown(runtime.handle()) };
    let config = CollectorConfig::new(settings.clone())?;
    let Opened::Live(source) = config.open(folder, &plant)? else { return Err("it is not followed".into()) };
    let (stop, progress) = (AtomicBool::new(false), Progress::default());
    let (began, used) = (steady(), processor());
    let mut idle = (0, steady());
    let result = std::thread::scope(|threads| {
        let to = Destination { log: &log, topic: "events", assets: &assets, cells: &[], notes: place.path() };
        let (stop, progress) = (&stop, &progress);
        let collecting = threads.spawn(move || collect(source, to, stop, progress));
        while steady() - began < seconds as i64 * 1_000_000 && !collecting.is_finished() {
            std::thread::park_timeout(Duration::from_millis(20));
            let records = progress.records.load(Ordering::Relaxed);
            if records != idle.0 {
                idle = (records, steady());
            } else if records > 0 && steady() - idle.1 > 1_500_000 {
                break;
            }
        }
        stop.store(true, Ordering::Release);
        collecting.join()
    });
    // Until the last records, not until it was clear that they were the last.
    let elapsed = (if steady() - idle.1 > 1_500_000 { idle.1 } else { steady() } - began) as f64 / 1e6;
    let processor = processor() - used;
    result.map_err(|_| "it panicked")??;
    let (rows, bytes) = count(&log)?;
    let rate = rows as f64 / elapsed;
    #[expect(clippy::print_stdout, reason = "its result")]
    {
        println!(
            "{rows} rows in {elapsed:.2} s: {rate:.0} rows/s, {:.1} MB/s into the log, {:.0} % of a processor",
            bytes as f64 / elapsed / 1e6,
            100.0 * processor / elapsed
        );
        // For `cargo xtask bench collect`.
        println!("figure\trows\t{rate:.0}\trows/s");
        println!("figure\tcollector and log\t{:.2}\tcores", processor / elapsed);
    }
    Ok(())
}

/// Rows of the source, and bytes of all records.
fn count(log: &dyn Log) -> Result<(u64, u64), Box<dyn std::error::Error>> {
    let held = log.held("events", 0)?;
    let mut reader = log.reader("events", 0, held.start)?;
    let (mut rows, mut bytes) = (0, 0);
    while reader.position() < held.end {
        for stored in reader.read(8 << 20, Duration::from_secs(10))? {
            let envelope = Envelope::from_header(&stored.record.header).map_err(|e| e.to_string())?;
            bytes += stored.record.size() as u64;
            if !matches!(envelope.kind, Kind::Coverage | Kind::Series) {
                rows += u64::from(envelope.rows);
            }
        }
    }
    Ok((rows, bytes))
}

/// Seconds of processor time that this process has used; 0 where the system does not say.
fn processor() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
    // Fields 14 and 15 of proc(5), in hundredths of a second.
    (ticks(11) + ticks(12)) / 100.0
}
