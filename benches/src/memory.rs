//! What a key costs: each operator is given so many keys in a process of its own, whose memory is looked
//! at before and after; and the soak, which looks at it for an hour at full rate.

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use arrow::array::RecordBatch;
use yagura_detect::worker::{self, ALERTS, EVENTS, LATE, Progress};
use yagura_detect::{Pipeline, Shard, Shelf, snapshot};
use yagura_event::Kind;
use yagura_event::clock::{self, SECOND};
use yagura_event::rows::{MessageBuilder, MessageRow};
use yagura_log::Log;
use yagura_log::embedded::{Embedded, Options};
use yagura_scene::load::{LoadOptions, load, series_names};
use yagura_sql::SqlCompiler;

use crate::common::{self, pipeline, record};
use crate::report::{Figure, Report};

/// Rows of a record.
const BATCH_ROWS: u32 = 1_000;
/// Keys of each operator on messages.
const KEYS: u32 = 50_000;

/// Keys of those whose key may take kilobytes: there is room for so many without any that leaves.
const FEW: u32 = 4_000;

/// Operators on messages: what stands in the detection, keys, and rows of each.
const ON_MESSAGES: &[(&str, &str, u32, u32)] = &[
    ("known, 2 columns", "known: { of: [client, target], from: learning }", KEYS, 1),
    ("window, sliding count, 10 rows", "window: { within: 1h, at_least: 20 }", KEYS, 10),
    ("window, tumbling count", "window: { every: 1h, at_least: 1000 }", KEYS, 1),
    (
        "window, tumbling distinct, 10 values",
        "window: { every: 1h, distinct: [tool], at_least: 1000 }",
        FEW,
        10,
    ),
    (
        "window, tumbling p99, 10 values",
        "window: { every: 1h, of: latency_us, measure: p99, above: 1e9 }",
        FEW,
        10,
    ),
    ("window, session count", "window: { gap: 1h, at_least: 1000 }", KEYS, 1),
    (
        "sequence, one step come of two",
        "sequence: { within: 1h, steps: [{ where: \"operation = 'write'\" }, { where: \"operation = 'control'\" }] }",
        KEYS,
        1,
    ),
    ("absence", "absence: { every: 1h }", KEYS, 1),
];

/// Memory of each operator.
pub fn memory() -> Result<Report> {
    let this = std::env::current_exe().context("this program's place")?;
    let mut figures = Vec::new();
    let mut part = |name: &str, number: usize, unit_of: u32| -> Result<()> {
        let out = Command::new(&this).args(["memory", "part", &number.to_string()]).output()?;
        ensure!(out.status.success(), "{name}: {}", String::from_utf8_lossy(&out.stderr));
        let text = String::from_utf8_lossy(&out.stdout);
        let mut numbers = text.split_whitespace().map(str::parse::<f64>);
        let mut next = || numbers.next().transpose().ok().flatten().ok_or_else(|| anyhow!("{name}: {text}"));
        let (live, saved) = (next()?, next()?);
        figures.push(Figure::new(format!("{name}: memory"), live / f64::from(unit_of), "B"));
        figures.push(Figure::new(format!("{name}: snapshot"), saved / f64::from(unit_of), "B"));
        Ok(())
    };
    part("model guard, with its series' names", ON_MESSAGES.len(), 10 * KEYS)?;
    for (number, (name, _, keys, _)) in ON_MESSAGES.iter().enumerate() {
        part(name, number, *keys)?;
    }
    Ok(Report {
        input: format!(
            "bytes a key, of {FEW} to {KEYS} keys on messages and {} series; resident memory",
            10 * KEYS
        ),
        figures,
    })
}

/// A part of [`memory`] in a process of its own; `None` when the arguments are not for it.
pub fn part(arguments: &[String]) -> Option<Result<()>> {
    match arguments {
        [memory, part, number] if memory == "memory" && part == "part" => Some(one(number)),
        _ => None,
    }
}

#[expect(clippy::print_stdout, reason = "told to the parent process")]
fn one(number: &str) -> Result<()> {
    let number: usize = number.parse()?;
    let (before, shard) = match ON_MESSAGES.get(number) {
        Some((_, body, keys, rows)) => {
            let text = format!(
                "version: 1\ndetections:\n  - {{ id: it, title: T, queue: security, severity: low, on: message, by: [client], quiet: 0s,\n      {body}, summary: '{{client}}', then: Look. }}\n"
            );
            of_messages(&pipeline(&text)?, *keys, *rows)?
        }
        None => of_samples(&pipeline(&common::guard(4))?)?,
    };
    let after = resident()?;
    println!("{} {}", after.saturating_sub(before), shard.save()().len());
    Ok(())
}

/// A shard that has seen so many rows of each of so many keys, and the memory before.
fn of_messages(pipeline: &Arc<Pipeline>, keys_max: u32, rows: u32) -> Result<(u64, Shard)> {
    let mut shard = Shard::new("bench", Arc::clone(pipeline));
    let (mut row, mut before) = (0, 0);
    // The first batch is of one key, and pays for what is there once.
    for (offset, batch) in (0..=keys_max * rows / BATCH_ROWS).enumerate() {
        let keys: Vec<u32> = (0..BATCH_ROWS)
            .map(|n| batch.checked_sub(1).map_or(0, |b| (b * BATCH_ROWS + n) % keys_max))
            .collect();
        let at = (offset as i64 * SECOND, offset as i64 * SECOND);
        let of = record(Kind::Message, &mut row, &messages(&keys, batch, at.0), at)?;
        drop(shard.step(offset as u64, &of));
        if batch == 0 {
            before = resident()?;
        }
    }
    Ok((before, shard))
}

fn messages(keys: &[u32], turn: u32, time: i64) -> RecordBatch {
    let mut builder = MessageBuilder::default();
    for &key in keys {
        let (client, tool) =
            (format!("10.{}.{}.{}", key >> 16, key >> 8 & 255, key & 255), format!("TOOL-{}", turn % 97));
        builder.push(&MessageRow {
            time,
            observed: time,
            protocol: "modbus",
            operation: "write",
            function: "write_multiple_registers",
            tool: &tool,
            client: &client,
            server: "10.0.1.1",
            target: "holding 40001",
            status: "ok",
            latency_us: Some(i64::from(key % 977 + turn)),
            ..MessageRow::default()
        });
    }
    builder.finish()
}

fn of_samples(pipeline: &Arc<Pipeline>) -> Result<(u64, Shard)> {
    let series = 10 * KEYS;
    let mut shard = Shard::new("bench", Arc::clone(pipeline));
    let (mut row, mut offset) = (0, 0);
    let mut step = |shard: &mut Shard, kind: Kind, rows: &RecordBatch| -> Result<()> {
        drop(shard.step(offset, &record(kind, &mut row, rows, (0, 0))?));
        offset += 1;
        Ok(())
    };
    let names = series_names(series);
    // The first record is of one series, and pays for what is there once.
    step(&mut shard, Kind::Series, &common::definitions(0, &names[..1]))?;
    let before = resident()?;
    for (first, names) in (1..).step_by(65_536).zip(names[1..].chunks(65_536)) {
        step(&mut shard, Kind::Series, &common::definitions(first, names))?;
    }
    for batch in load(LoadOptions {
        samples: 4 * u64::from(series),
        series,
        batch_rows: 8_192,
        hertz: 10.0,
        start: 0,
        seed: 1,
    }) {
        step(&mut shard, Kind::Sample, &common::samples(&batch))?;
    }
    Ok((before, shard))
}

/// Bytes of this process in memory.
pub(crate) fn resident() -> Result<u64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()).context("VmRSS in /proc/self/status")?;
    Ok(kib.parse::<u64>()? << 10)
}

/// As fast as the log takes them, for `YAGURA_SOAK_SECONDS` (an hour without it): samples and messages of
/// ever new clients, judged by all detections that ship. Memory is to stay where it is.
pub fn soak() -> Result<Report> {
    let seconds: u64 = std::env::var("YAGURA_SOAK_SECONDS").ok().map_or(Ok(3600), |text| text.parse())?;
    let shipped = Shelf::new(SqlCompiler::default()).load(&["pipelines".into()]);
    let pipeline = shipped.map_err(|errors| anyhow!("{}", errors[0]))?;
    let folder = tempfile::tempdir()?;
    let options = Options { retain_bytes: Some(256 << 20), ..Options::default() };
    let log = Embedded::open(folder.path(), options)?;
    for topic in [EVENTS, ALERTS, LATE, snapshot::TOPIC] {
        log.ensure_topic(topic, 1)?;
    }
    let (stop, progress) = (AtomicBool::new(false), Progress::default());
    let mut looks: Vec<u64> = Vec::new();
    let rows = std::thread::scope(|scope| -> Result<u64> {
        let judging =
            scope.spawn(|| worker::run(&log, &pipeline, &worker::Options::default(), &stop, &progress));
        let sending = scope.spawn(|| send(&log, &stop, &progress));
        #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
        let began = Instant::now();
        while began.elapsed().as_secs() < seconds && !judging.is_finished() && !sending.is_finished() {
            std::thread::park_timeout(Duration::from_secs(1));
            looks.push(resident()?);
        }
        stop.store(true, Ordering::Release);
        sending.join().map_err(|_| anyhow!("sending ended with a panic"))??;
        judging.join().map_err(|_| anyhow!("judging ended with a panic"))??;
        Ok(progress.stats().values().map(|stats| stats.rows).sum())
    })?;
    ensure!(looks.len() > 10, "only {} looks at memory", looks.len());
    let mean = |looks: &[u64]| looks.iter().sum::<u64>() as f64 / looks.len() as f64 / f64::from(1 << 20);
    let tenth = looks.len() / 10;
    let mut figures = vec![
        Figure::new("rows a second, judged", rows as f64 / looks.len() as f64, "1/s"),
        Figure::new("rows judged", rows as f64, ""),
    ];
    for part in [1, 2, 4, 6, 8, 9] {
        let at = part * tenth..(part + 1) * tenth;
        figures.push(Figure::new(format!("memory, tenth {}", part + 1), mean(&looks[at]), "MiB"));
    }
    let most = looks.iter().max().copied().unwrap_or_default();
    figures.push(Figure::new("memory, most", most as f64 / f64::from(1 << 20), "MiB"));
    figures.push(Figure::new(
        "log on disk at the end",
        size(folder.path())? as f64 / f64::from(1 << 20),
        "MiB",
    ));
    let input = format!("{seconds} s, embedded log of at most 256 MiB a topic, all shipped detections");
    Ok(Report { input, figures })
}

/// Sends until it is told to stop; what is not judged yet is never more than some records.
fn send(log: &dyn Log, stop: &AtomicBool, progress: &Progress) -> Result<()> {
    let mut appender = log.appender(EVENTS)?;
    let (mut row, mut turn) = (0, 0_u32);
    let series = common::definitions(0, &series_names(100_000));
    let now = || (clock::now(), clock::now());
    appender.append(record(Kind::Series, &mut row, &series, now())?)?;
    let start = clock::now();
    let options = LoadOptions {
        samples: u64::MAX / 2,
        series: 100_000,
        batch_rows: 1_000,
        hertz: 10.0,
        start,
        seed: 1,
    };
    for batch in load(options) {
        if stop.load(Ordering::Acquire) {
            break;
        }
        appender.append(record(Kind::Sample, &mut row, &common::samples(&batch), now())?)?;
        turn += 1;
        if turn.is_multiple_of(10) {
            // Clients that were never seen, until the numbers begin again after sixteen million.
            let keys: Vec<u32> = (0..BATCH_ROWS).map(|n| (turn * 100 + n) & 0xff_ffff).collect();
            appender.append(record(Kind::Message, &mut row, &messages(&keys, turn, clock::now()), now())?)?;
        }
        if turn.is_multiple_of(50) {
            appender.flush()?;
            let end = log.held(EVENTS, 0)?.end;
            while progress.done().get(&0).is_none_or(|&done| done + 200 < end)
                && !stop.load(Ordering::Acquire)
            {
                std::thread::park_timeout(Duration::from_millis(1));
            }
        }
    }
    Ok(appender.flush()?)
}

fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        bytes += if kind.is_dir() { size(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}
