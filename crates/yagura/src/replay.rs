//! `replay`: the fold over a log, or a stretch of it, again.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use yagura_detect::resume::resume;
use yagura_detect::snapshot::Wanted;
use yagura_detect::worker::{ALERTS, EVENTS};
use yagura_detect::{Pipeline, Shard};
use yagura_event::Alert;
use yagura_log::{Log, Stored};
use yagura_respond::text::{Style, render};

use crate::config::Config;
use crate::{Failure, Format, plant};

/// Arguments of `replay`.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Arguments {
    /// The configuration file of the run whose log it is.
    #[arg(long, short)]
    config: PathBuf,
    /// Compare with the alerts in the log: exit code 1 if they differ.
    #[arg(long)]
    check: bool,
    /// Only the alerts of events from this offset of each partition on: the fold begins with the snapshot
    /// before it.
    #[arg(long, value_name = "OFFSET", default_value_t = 0)]
    from: u64,
    /// Only up to this offset, itself left out.
    #[arg(long, value_name = "OFFSET", default_value_t = u64::MAX, hide_default_value = true)]
    to: u64,
    /// Judge all of it by the pipelines that the configuration names now, not by those in force at the time.
    #[arg(long, conflicts_with = "check")]
    as_configured: bool,
}

const HELP: &str = help!(
    "  yagura replay --config yagura.yaml                        the alerts of the whole log
  yagura replay --config yagura.yaml --check --format json  and whether the log holds the same
  yagura replay -c yagura.yaml --from 5000 --to 6000        those of a stretch
  yagura replay -c yagura.yaml --as-configured              what today's pipelines would have said"
);

/// Alerts by (cell, sequence).
pub type Alerts = BTreeMap<(String, u64), Alert>;

/// The same as the log holds them, each with its line of JSON: a number that is read back may differ
/// in its last bit from the one that was written.
pub type Written = BTreeMap<(String, u64), (Alert, Vec<u8>)>;

/// Judges the log again, prints its alerts, compares them if asked.
#[expect(clippy::print_stderr, reason = "the comparison's outcome stays out of the alerts")]
pub fn run(arguments: &Arguments, format: Format) -> Result<(), Failure> {
    if arguments.from > arguments.to {
        let (from, to) = (arguments.from, arguments.to);
        return Err(Failure::Input(format!("--from {from} lies behind --to {to}")));
    }
    let config = Config::load(&arguments.config)?;
    let pipeline = plant::pipeline(&config.pipelines, &config.baselines)?;
    let log = plant::log(&config, true)?;
    let stretch = arguments.from..arguments.to;
    let judged = judge(log.as_ref(), &pipeline, &stretch, arguments.as_configured)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    for alert in judged.alerts.values() {
        match format {
            Format::Json => writeln!(out, "{}", serde_json::to_string(alert)?)?,
            Format::Text => writeln!(out, "{}", render(alert, Style::default()))?,
        }
    }
    out.flush()?;
    if arguments.check {
        let differences = judged.compare(&stored(log.as_ref())?)?;
        if !differences.is_empty() {
            return Err(anyhow::anyhow!(
                "the log's alerts are not those of its events:\n{}",
                differences.join("\n")
            )
            .into());
        }
        eprintln!("{} alerts and revisions: exactly those in the log", judged.alerts.len());
    }
    Ok(())
}

/// What a fold over a stretch of the log brought.
pub struct Judged {
    /// Its alerts.
    pub alerts: Alerts,
    /// By cell that has events in the stretch, the numbers of alerts that fall into it.
    sequences: BTreeMap<String, Range<u64>>,
    /// Whether the stretch ends with the log.
    to_the_end: bool,
}

/// The alerts of the events within a stretch of each partition, by a fold from the snapshots before it,
/// each cell under the pipeline in force then; under `pipeline` throughout when it is `pinned`.
pub fn judge(
    log: &dyn Log,
    pipeline: &Arc<Pipeline>,
    stretch: &Range<u64>,
    pinned: bool,
) -> anyhow::Result<Judged> {
    let to_the_end = stretch.end == u64::MAX;
    let mut judged = Judged { alerts: Alerts::new(), sequences: BTreeMap::new(), to_the_end };
    for partition in 0..log.partitions(EVENTS)? {
        let held = log.held(EVENTS, partition)?;
        let first = stretch.start.max(held.start);
        let mut resumed = resume(log, pipeline, partition, &held, Wanted::Before(first))?;
        if pinned {
            resumed.shards.values_mut().for_each(|shard| shard.pin(Arc::clone(pipeline)));
        }
        let range = resumed.next.max(held.start)..stretch.end.min(held.end);
        each_in(log, EVENTS, partition, range, |stored| {
            let before = resumed.shards.get(&stored.record.key).map_or(0, Shard::issued);
            let alerts = resumed.step(pipeline, stored.offset, &stored.record).alerts;
            if stored.offset < first {
                return Ok(());
            }
            let cell = String::from_utf8_lossy(&stored.record.key).into_owned();
            let sequences = judged.sequences.entry(cell).or_insert(before..before);
            sequences.end = before + alerts.len() as u64;
            judged.alerts.extend(alerts.into_iter().map(|a| ((a.cell.clone(), a.sequence), a)));
            Ok(())
        })?;
    }
    Ok(judged)
}

impl Judged {
    /// What tells these alerts from those of the log that fall into the same stretch.
    fn compare(&self, stored: &Written) -> anyhow::Result<Vec<String>> {
        let mut out = Vec::new();
        for (key, alert) in &self.alerts {
            match stored.get(key) {
                None => out.push(format!("- {} {}: {} is not in the log", key.0, key.1, alert.uid)),
                Some((_, other)) if *other != serde_json::to_vec(alert)? => {
                    out.push(format!("- {} {}: {} differs", key.0, key.1, alert.uid))
                }
                Some(_) => {}
            }
        }
        let falls = |(cell, sequence): &&(String, u64)| {
            self.sequences.get(cell).map_or(self.to_the_end, |within| {
                within.contains(sequence) || (self.to_the_end && *sequence >= within.end)
            })
        };
        for key in stored.keys().filter(falls).filter(|key| !self.alerts.contains_key(*key)) {
            out.push(format!("- {} {}: is in the log and not in the replay", key.0, key.1));
        }
        Ok(out)
    }
}

/// The alerts that the log holds. A run that was killed may have written one twice: then both
/// must be the same.
pub fn stored(log: &dyn Log) -> anyhow::Result<Written> {
    let mut alerts = Written::new();
    each_record(log, ALERTS, |stored| {
        let lines = stored.record.value.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        for (alert, line) in yagura_respond::alerts_of(&stored.record)?.into_iter().zip(lines) {
            let key = (alert.cell.clone(), alert.sequence);
            if let Some((_, other)) = alerts.get(&key) {
                anyhow::ensure!(
                    other == line,
                    "two alerts of {} have the number {} and differ",
                    key.0,
                    key.1
                );
            }
            alerts.insert(key, (alert, line.to_vec()));
        }
        Ok(())
    })?;
    Ok(alerts)
}

/// Calls `with` for every record that a topic holds, partition by partition.
pub fn each_record(
    log: &dyn Log,
    topic: &str,
    mut with: impl FnMut(&Stored) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    for partition in 0..log.partitions(topic)? {
        each_in(log, topic, partition, log.held(topic, partition)?, &mut with)?;
    }
    Ok(())
}

/// Calls `with` for every record of a partition within these offsets.
fn each_in(
    log: &dyn Log,
    topic: &str,
    partition: u32,
    offsets: Range<u64>,
    mut with: impl FnMut(&Stored) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    if offsets.is_empty() {
        return Ok(());
    }
    let mut reader = log.reader(topic, partition, offsets.start)?;
    while reader.position() < offsets.end {
        let records = reader.read(8 << 20, Duration::from_secs(30))?;
        let at = reader.position();
        anyhow::ensure!(!records.is_empty(), "{topic}/{partition} ends at {at} and not at {}", offsets.end);
        records.iter().filter(|stored| stored.offset < offsets.end).try_for_each(&mut with)?;
    }
    Ok(())
}
