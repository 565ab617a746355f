//! `replay`: the fold over a log again, from nothing.

use std::collections::BTreeMap;
use std::io::{BufWriter, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use clap::Args;
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
}

const HELP: &str = help!(
    "  yagura replay --config yagura.yaml                        the alerts of the whole log
  yagura replay --config yagura.yaml --check --format json  and whether the log holds the same"
);

/// Alerts by (cell, sequence).
pub type Alerts = BTreeMap<(String, u64), Alert>;

/// The same as the log holds them, each with its line of JSON: a number that is read back may differ
/// in its last bit from the one that was written.
pub type Written = BTreeMap<(String, u64), (Alert, Vec<u8>)>;

/// Judges the log again, prints its alerts, compares them if asked.
#[expect(clippy::print_stderr, reason = "the comparison's outcome stays out of the alerts")]
pub fn run(arguments: &Arguments, format: Format) -> Result<(), Failure> {
    let config = Config::load(&arguments.config)?;
    let pipeline = plant::pipeline(&config.pipelines)?;
    let log = plant::log(&config, true)?;
    let judged = judge(log.as_ref(), &pipeline)?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    for alert in judged.values() {
        match format {
            Format::Json => writeln!(out, "{}", serde_json::to_string(alert)?)?,
            Format::Text => writeln!(out, "{}", render(alert, Style::default()))?,
        }
    }
    out.flush()?;
    if arguments.check {
        let differences = compare(&judged, &stored(log.as_ref())?)?;
        if !differences.is_empty() {
            return Err(anyhow::anyhow!(
                "the log's alerts are not those of its events:\n{}",
                differences.join("\n")
            )
            .into());
        }
        eprintln!("{} alerts and revisions: exactly those in the log", judged.len());
    }
    Ok(())
}

/// All alerts of the events that the log holds, by a fresh fold.
pub fn judge(log: &dyn Log, pipeline: &Arc<Pipeline>) -> anyhow::Result<Alerts> {
    let mut alerts = Alerts::new();
    let mut shards: BTreeMap<Bytes, Shard> = BTreeMap::new();
    each_record(log, EVENTS, |stored| {
        let key = &stored.record.key;
        let fresh = || Shard::new(&String::from_utf8_lossy(key), Arc::clone(pipeline));
        let shard = shards.entry(key.clone()).or_insert_with(fresh);
        for alert in shard.step(stored.offset, &stored.record).alerts {
            alerts.insert((alert.cell.clone(), alert.sequence), alert);
        }
        Ok(())
    })?;
    Ok(alerts)
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
        let held = log.held(topic, partition)?;
        let mut reader = log.reader(topic, partition, held.start)?;
        while reader.position() < held.end {
            let records = reader.read(8 << 20, Duration::from_secs(30))?;
            anyhow::ensure!(
                !records.is_empty(),
                "{topic}/{partition} ends at {} and not at {}",
                reader.position(),
                held.end
            );
            for stored in &records {
                with(stored)?;
            }
        }
    }
    Ok(())
}

fn compare(judged: &Alerts, stored: &Written) -> anyhow::Result<Vec<String>> {
    let mut out = Vec::new();
    for (key, alert) in judged {
        match stored.get(key) {
            None => out.push(format!("- {} {}: {} is not in the log", key.0, key.1, alert.uid)),
            Some((_, other)) if *other != serde_json::to_vec(alert)? => {
                out.push(format!("- {} {}: {} differs", key.0, key.1, alert.uid))
            }
            Some(_) => {}
        }
    }
    for key in stored.keys().filter(|key| !judged.contains_key(*key)) {
        out.push(format!("- {} {}: is in the log and not in the replay", key.0, key.1));
    }
    Ok(out)
}
