//! What a storm costs: rows through the whole program; alerts of one cause, on the side of the cases; of very many, on
//! that of the sinks.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use prometheus::Registry;
use serde_json::{Value, json};
use yagura_event::Alert;
use yagura_log::Log;
use yagura_log::embedded::{Embedded, Options};
use yagura_respond::cases::{Case, Cases};
use yagura_respond::{Forwarder, Metrics, SinkConfig, alerts_of};

use super::fixtures;
use crate::memory::resident;
use crate::report::Figure;

/// Alerts of one cause: half are revisions of one, half are alerts of their own.
pub const OF_ONE_CAUSE: u64 = 1_000_000;

/// Distinct causes.
pub const CAUSES: u64 = 50_000;

/// So many are appended before the sink has to have them; memory is looked at then.
const TOGETHER: u64 = CAUSES / 5;

/// Cells that they are in.
const CELLS: u64 = 200;

const TOPIC: &str = "alerts";

/// Each in a process of its own, whose memory is looked at.
pub fn storm() -> Result<Vec<Figure>> {
    let this = std::env::current_exe().context("this program's place")?;
    let mut figures = Vec::new();
    for (what, rows, tools) in [("one cause", OF_ONE_CAUSE, 1), ("many causes", CAUSES, CAUSES)] {
        let (seconds, memory) = program(&this.with_file_name("yagura"), rows, tools)?;
        figures.push(Figure::new(
            format!("{what}, {rows} rows from a file to alerts in a file"),
            seconds,
            "s",
        ));
        figures.push(Figure::new(format!("{what}, most memory of that"), memory, "MiB"));
    }
    for (part, names) in [
        ("cases", &[("one cause, alerts read as a case", "1/s"), ("one cause, memory of an alert", "B")][..]),
        (
            "causes",
            &[
                ("many causes, alerts through the log into a file", "1/s"),
                ("many causes, memory after one fifth", "MiB"),
                ("many causes, memory after two fifths", "MiB"),
                ("many causes, memory after three fifths", "MiB"),
                ("many causes, memory after four fifths", "MiB"),
                ("many causes, memory after all", "MiB"),
                ("many causes, until a further alert is in the file", "ms"),
            ],
        ),
    ] {
        let out = Command::new(&this).args(["respond", part]).output()?;
        ensure!(out.status.success(), "{part}: {}", String::from_utf8_lossy(&out.stderr));
        let text = String::from_utf8_lossy(&out.stdout);
        let numbers: Vec<f64> = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
        ensure!(numbers.len() == names.len(), "{part}: {text}");
        figures
            .extend(names.iter().zip(numbers).map(|((name, unit), value)| Figure::new(*name, value, unit)));
    }
    Ok(figures)
}

/// Rows of a minute through the program, from one file into another: seconds, and the most memory in MiB. Each tool
/// has one alert with the right count at the end.
fn program(yagura: &Path, rows: u64, tools: u64) -> Result<(f64, f64)> {
    let folder = tempfile::tempdir()?;
    let (config, began) = (yagura_scene::storm::write(folder.path(), rows, tools)?, now());
    let mut run = Command::new(yagura).args(["run", "--until-done", "--config"]).arg(&config).spawn()?;
    let status = format!("/proc/{}/status", run.id());
    let mut memory = 0.0;
    let ended = loop {
        if let Some(ended) = run.try_wait()? {
            break ended;
        }
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let peak = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB"));
        memory = peak.and_then(|kib| kib.parse::<f64>().ok()).map_or(memory, |kib| kib / 1024.0);
        std::thread::park_timeout(Duration::from_millis(5));
    };
    let seconds = began.elapsed().as_secs_f64();
    ensure!(ended.success(), "the program ended with {ended}");
    let list = Command::new(yagura)
        .args(["alerts", "list", "--format", "json", "--config"])
        .arg(&config)
        .output()?;
    let cases: Vec<Value> =
        String::from_utf8(list.stdout)?.lines().map(serde_json::from_str).collect::<Result<_, _>>()?;
    let right = cases.iter().all(|case| case["count"] == json!(rows / tools));
    ensure!(cases.len() as u64 == tools && right, "{} cases, counts right: {right}", cases.len());
    Ok((seconds, memory))
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn now() -> Instant {
    Instant::now()
}

/// One cause: what the log has is read as people's lists read it.
#[expect(clippy::print_stdout, reason = "told to the parent process")]
pub fn cases() -> Result<()> {
    let mut cases = Cases::default();
    let before = resident()?;
    let mut reading = Duration::ZERO;
    for number in 0..OF_ONE_CAUSE {
        let counting = number.is_multiple_of(2);
        let alert = match counting {
            true => {
                let revision = number as u32 / 2 + 1;
                Alert { revision, count: u64::from(revision), sequence: number, ..fixtures::alert(0) }
            }
            false => fixtures::alert(number),
        };
        let record = fixtures::record(&[alert]);
        let began = now();
        alerts_of(&record)?.into_iter().for_each(|alert| cases.alert(alert));
        reading += began.elapsed();
    }
    let after = resident()?;
    let (case, _) = cases.iter().next().context("a case")?;
    ensure!(cases.iter().count() == 1, "it is one case");
    let half = OF_ONE_CAUSE / 2;
    let found = (Case::alerts(case) as u64, case.count());
    ensure!(found == (half + 1, OF_ONE_CAUSE), "{found:?}");
    let each = after.saturating_sub(before) as f64 / (half + 1) as f64;
    println!("{} {each}", OF_ONE_CAUSE as f64 / reading.as_secs_f64());
    Ok(())
}

/// An alert of a cause of its own.
fn cause(number: u64) -> Alert {
    let mut alert = fixtures::alert(number);
    alert.cell = format!("bay-{}", number % CELLS);
    alert.sequence = number / CELLS;
    alert.key.insert("target".into(), format!("RECIPE-{number}"));
    alert
}

/// Many causes: a forwarder with a file behind it.
#[expect(clippy::print_stdout, reason = "told to the parent process")]
pub fn causes() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let log: Arc<dyn Log> = Arc::new(Embedded::open(folder.path().join("log"), Options::default())?);
    log.ensure_topic(TOPIC, 4)?;
    let file = folder.path().join("told");
    let config =
        json!({ "name": "local", "kind": "file", "path": file, "heartbeat": "off", "rotate": "1GiB" });
    let config: SinkConfig = serde_json::from_value(config)?;
    let sink = config.build(folder.path()).map_err(|e| anyhow!("{e}"))?;
    let metrics = Metrics::register(&Registry::new())?;
    let forwarder =
        Forwarder::new("local", sink, Arc::clone(&log), TOPIC, &metrics).delivering(config.delivery);
    let progress = forwarder.progress();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let running = runtime.spawn(forwarder.run(async { drop(stopped.await) }));
    let until = |wanted: u64| -> Result<()> {
        while progress.committed().values().sum::<u64>() < wanted {
            ensure!(!running.is_finished(), "the forwarder ended");
            std::thread::park_timeout(Duration::from_millis(5));
        }
        Ok(())
    };
    let began = now();
    let mut looks = Vec::new();
    for from in (0..CAUSES).step_by(TOGETHER as usize) {
        append(log.as_ref(), from..from + TOGETHER)?;
        until(from + TOGETHER)?;
        looks.push((resident()? as f64 / f64::from(1 << 20)).to_string());
    }
    let rate = CAUSES as f64 / began.elapsed().as_secs_f64();
    let written = std::fs::metadata(&file)?.len();
    let began = now();
    append(log.as_ref(), CAUSES..CAUSES + 1)?;
    while std::fs::metadata(&file)?.len() == written {
        ensure!(began.elapsed() < Duration::from_secs(30), "it does not come");
        std::thread::park_timeout(Duration::from_millis(1));
    }
    let took = began.elapsed().as_secs_f64() * 1e3;
    drop(stop);
    runtime.block_on(running)??;
    println!("{rate} {} {took}", looks.join(" "));
    Ok(())
}

fn append(log: &dyn Log, numbers: std::ops::Range<u64>) -> Result<()> {
    let mut appender = log.appender(TOPIC)?;
    for number in numbers {
        appender.append(fixtures::record(&[cause(number)]))?;
    }
    Ok(appender.flush()?)
}
