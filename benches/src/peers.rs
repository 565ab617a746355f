//! One keyed job on other stream engines and here, each on one core: is a sample far from what is usual
//! for its series?
//!
//! The others keep a running mean and variance of each series and tell a sample that lies more than some
//! standard deviations away; here the guard does, whose baseline is approved half-way, and which also looks
//! for shift, drift, stuck values and gaps. Every anomaly was planted, and all must find exactly these. The
//! others read packed numbers out of a mapped file, here they are read and unpacked from the log. What is
//! measured is the second half, when compilers that learn have learned.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};
use yagura_detect::Shard;
use yagura_event::Kind;
use yagura_log::Log;
use yagura_log::embedded::{Embedded, Options};
use yagura_scene::load::{LoadBatch, LoadOptions, load, series_names};
use yagura_testkit::{build_folder, peers as engines};

use crate::report::{Figure, Report};
use crate::{common, one_core};

const SERIES: u32 = 10_000;
const SAMPLES: u64 = 10_000_000;
const BATCH_ROWS: usize = 1_000;
/// Samples of a series before it is judged.
const WARM_UP: u16 = 30;
/// Standard deviations that are too far.
const THRESHOLD: f64 = 8.0;
/// What is planted lies so many standard deviations away, once in every tenth series.
const PLANTED_SIGMA: f64 = 100.0;
const PLANTED_EVERY: u32 = 10;
const TOPIC: &str = "bench.events";

/// What a peer tells at its end.
#[derive(Serialize, Deserialize)]
struct Outcome {
    /// For the second half.
    seconds: f64,
    alerts: u64,
}

/// Runs the part that `arguments` ask for: this program starts itself on one core.
pub fn part(arguments: &[String]) -> Option<Result<()>> {
    match arguments {
        [name, part, folder] if name == "peers" && part == "judge" => Some(judge(Path::new(folder))),
        _ => None,
    }
}

/// Measures.
pub fn peers() -> Result<Report> {
    let folder = tempfile::tempdir()?;
    let (file, log) = (folder.path().join("samples"), folder.path().join("log"));
    let planted = write(&file, &log)?;
    let own = std::env::current_exe()?;
    let mut times = Vec::new();
    for _ in 0..3 {
        let mut command = one_core::command(&own);
        command.args(["peers", "judge"]).arg(&log);
        times.push(told("Yagura", &mut command, planted)?);
    }
    times.sort_by(f64::total_cmp);
    let rate = |seconds: f64| (SAMPLES / 2) as f64 / seconds;
    let ours = rate(times[1]);
    let mut figures = vec![Figure::new("Yagura: samples a second, median of 3", ours, "1/s")];
    for (name, mut command) in others(folder.path())? {
        command.arg(&file).args([SAMPLES.to_string(), WARM_UP.to_string(), THRESHOLD.to_string()]);
        let theirs = rate(told(&name, &mut command, planted)?);
        figures.push(Figure::new(format!("Yagura beside {name}"), ours, "1/s").beside(theirs));
    }
    figures.push(Figure::new("alerts of each, which are those planted", planted as f64, ""));
    Ok(Report {
        input: format!(
            "{SAMPLES} samples of {SERIES} series in random order, the second half, one core each; the others: running \
             mean and variance, {THRESHOLD} sigma, numbers from a mapped file; Yagura: guard (range, and shift, drift, \
             stuck, gap beside it), LZ4 Arrow batches of {BATCH_ROWS} rows from the log"
        ),
        figures,
    })
}

/// The other engines, ready but for their arguments.
fn others(folder: &Path) -> Result<Vec<(String, Command)>> {
    let sources = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("peers");
    let jars = engines::flink(&build_folder())?.join("*").display().to_string();
    let classes = folder.join("classes");
    let compiled = Command::new("javac")
        .args(["-cp", &jars, "-d"])
        .arg(&classes)
        .arg(sources.join("FlinkPeer.java"))
        .status()
        .context("javac cannot be started; install a JDK of Java 17")?;
    ensure!(compiled.success(), "FlinkPeer.java does not compile");
    let mut flink = one_core::command("java".as_ref());
    flink.args(["-Xmx1g", "-cp", &format!("{}:{jars}", classes.display()), "FlinkPeer"]);
    let python = |script: &str| {
        let mut command = one_core::command(&engines::python(&build_folder()).join("bin/python"));
        command.arg(sources.join(script));
        command
    };
    Ok(vec![
        (format!("Apache Flink {}", engines::FLINK), flink),
        (format!("Bytewax {}", engines::BYTEWAX), python("bytewax_peer.py")),
        (format!("river {}", engines::RIVER), python("river_peer.py")),
    ])
}

/// Seconds that a peer took for the second half; it must have found what was planted.
#[expect(clippy::print_stderr, reason = "progress of long work")]
fn told(name: &str, command: &mut Command, planted: u64) -> Result<f64> {
    let Outcome { seconds, alerts } = one_core::told(name, command)?;
    ensure!(alerts == planted, "{name} found {alerts} of {planted}");
    eprintln!("{name}: {seconds:.2} s, {alerts} alerts");
    Ok(seconds)
}

/// Writes the same samples for the others into a file and for Yagura into a log; answers how many of them
/// are anomalies.
fn write(file: &Path, folder: &Path) -> Result<u64> {
    let log = Embedded::open(folder, Options::default())?;
    log.ensure_topic(TOPIC, 1)?;
    let mut appender = log.appender(TOPIC)?;
    let mut row = 0;
    let names = common::definitions(0, &series_names(SERIES));
    appender.append(common::record(Kind::Series, &mut row, &names, (0, 0))?)?;
    let mut packed = BufWriter::new(File::create(file)?);
    let mut planted = vec![false; SERIES as usize];
    let options = LoadOptions {
        samples: SAMPLES,
        series: SERIES,
        batch_rows: BATCH_ROWS,
        hertz: 10.0,
        start: 0,
        seed: 1,
    };
    let mut written = 0;
    for mut batch in load(options) {
        // In the last third, when all know what is usual.
        if written > SAMPLES / 3 * 2 {
            plant(&mut batch, &mut planted);
        }
        for ((&series, &time), &value) in batch.series.iter().zip(&batch.time).zip(&batch.value) {
            packed.write_all(&series.to_le_bytes())?;
            packed.write_all(&time.to_le_bytes())?;
            packed.write_all(&value.to_le_bytes())?;
        }
        appender.append(common::record(Kind::Sample, &mut row, &common::samples(&batch), (0, 0))?)?;
        written += BATCH_ROWS as u64;
        if written == SAMPLES / 2 {
            appender.append(common::record(Kind::Control, &mut row, &common::approval(), (0, 0))?)?;
        }
    }
    packed.flush()?;
    appender.flush()?;
    Ok(planted.iter().filter(|planted| **planted).count() as u64)
}

/// One anomaly for every tenth series, at most one a batch.
fn plant(batch: &mut LoadBatch, planted: &mut [bool]) {
    let fresh = |series: u32| series.is_multiple_of(PLANTED_EVERY) && !planted[series as usize];
    if let Some(at) = batch.series.iter().position(|&series| fresh(series)) {
        planted[batch.series[at] as usize] = true;
        batch.value[at] += PLANTED_SIGMA;
    }
}

/// Judges what is in the log and tells how long the second half took.
#[expect(clippy::print_stdout, reason = "what this part tells")]
fn judge(folder: &Path) -> Result<()> {
    let text = format!(
        "version: 1
detections:
  - id: far
    title: Far from what is usual
    queue: equipment
    severity: low
    on: sample
    by: [tool, chamber, signal]
    model:
      name: guard
      findings: [range]
      parameters: {{ warm_up_samples: {WARM_UP}, range_sigma: {THRESHOLD}, range_samples: 1 }}
    summary: '{{signal}} {{seen}}'
    then: Look.
"
    );
    let log = Embedded::open_read_only(folder)?;
    let mut shard = Shard::new("bench", common::pipeline(&text)?);
    let held = log.held(TOPIC, 0)?;
    let mut reader = log.reader(TOPIC, 0, held.start)?;
    let (mut alerts, mut began) = (0, None);
    while reader.position() < held.end {
        for stored in reader.read(1 << 20, Duration::from_secs(10))? {
            if began.is_none() && shard.stats().rows >= SAMPLES / 2 {
                #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
                let half = Instant::now();
                began = Some(half);
            }
            alerts += shard.step(stored.offset, &stored.record).alerts.len() as u64;
        }
    }
    let seconds = began.context("there is no second half")?.elapsed().as_secs_f64();
    println!("{}", serde_json::to_string(&Outcome { seconds, alerts })?);
    Ok(())
}
