//! `dead`: the records that nobody could read, and what becomes of them after a mend.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, IsTerminal};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde_json::json;
use yagura_detect::dead::{DEAD, Kept, Place, each_letter, receipt};
use yagura_detect::resume::resume;
use yagura_detect::snapshot::Wanted;
use yagura_detect::{Pipeline, shard};
use yagura_event::{Alert, clock};
use yagura_log::{Log, LogError, Record};
use yagura_respond::text::{Style, render};

use crate::config::Config;
use crate::say::say;
use crate::tap::plain;
use crate::{Failure, Format, plant};

/// Arguments of `dead`.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Arguments {
    /// The configuration file of the run whose log it is.
    #[arg(long, short)]
    config: PathBuf,
    /// Only these, as PARTITION/OFFSET of the events.
    #[arg(value_parser = place_of)]
    only: Vec<(u32, u64)>,
    /// Offer those that can be read now to the pipeline, and print the alerts they would raise;
    /// nothing is written.
    #[arg(long, conflicts_with = "resend")]
    judge: bool,
    /// Put those that can be read now back into the events; a running instance judges them.
    #[arg(long)]
    resend: bool,
    /// Do not ask.
    #[arg(long, requires = "resend")]
    yes: bool,
}

const HELP: &str = help!(
    "  yagura dead --config yagura.yaml                  what there is, and whether it can be read now
  yagura dead --config yagura.yaml --judge          the alerts that it would raise
  yagura dead --config yagura.yaml --resend --yes   put it back into the events, once
  yagura dead --config yagura.yaml 3/1207 --resend  one of them, after a question"
);

fn place_of(text: &str) -> Result<(u32, u64), String> {
    let wrong = || format!("`{text}` is no place; write PARTITION/OFFSET, such as 3/1207");
    let (partition, offset) = text.split_once('/').ok_or_else(wrong)?;
    Ok((partition.parse().map_err(|_| wrong())?, offset.parse().map_err(|_| wrong())?))
}

/// Lists, judges or sends again.
pub fn run(arguments: &Arguments, format: Format) -> Result<(), Failure> {
    let config = Config::load(&arguments.config)?;
    let pipeline = plant::pipeline(&config.pipelines, &config.baselines)?;
    let log = if arguments.resend { plant::log(&config, false)? } else { plant::following(&config)? };
    let chosen = Chosen { log: log.as_ref(), only: &arguments.only };
    if arguments.judge {
        return show_alerts(&judge(log.as_ref(), &pipeline, &chosen.in_memory()?)?, format);
    }
    if arguments.resend {
        return resend(&chosen, arguments.yes, format);
    }
    let (mut all, mut waiting) = (0, 0);
    chosen.each(|kept| {
        all += 1;
        waiting += u64::from(is_ready(&kept));
        say!("{}", line(&kept, format));
        Ok(())
    })?;
    if format == Format::Text {
        say!("{all} dead letters, {waiting} of them can be read now and were not sent again");
    }
    Ok(())
}

/// The letters that are asked for.
struct Chosen<'a> {
    log: &'a dyn Log,
    only: &'a [(u32, u64)],
}

/// The most bytes of records that are judged in one go.
const JUDGED_BYTES_MAX: usize = 256 << 20;
/// Bytes of records that are sent again before their receipts are written.
const SENT_BYTES: usize = 8 << 20;

impl Chosen<'_> {
    fn each(&self, mut with: impl FnMut(Kept) -> Result<(), Failure>) -> Result<(), Failure> {
        let mut missing: BTreeSet<(u32, u64)> = self.only.iter().copied().collect();
        each_letter(self.log, |kept| {
            let place = (kept.letter.place.partition, kept.letter.place.offset);
            missing.remove(&place);
            if self.only.is_empty() || self.only.contains(&place) { with(kept) } else { Ok(()) }
        })?;
        match missing.first() {
            Some((partition, offset)) => {
                Err(Failure::Input(format!("{partition}/{offset} is no dead letter of this log")))
            }
            None => Ok(()),
        }
    }

    /// Those that can be read now and were not sent again, by their place.
    fn in_memory(&self) -> Result<BTreeMap<Place, Record>, Failure> {
        let (mut out, mut bytes) = (BTreeMap::new(), 0);
        self.each(|kept| {
            if is_ready(&kept) {
                bytes += kept.letter.record.size();
                out.insert(kept.letter.place, kept.letter.record);
            }
            if bytes > JUDGED_BYTES_MAX {
                let mib = JUDGED_BYTES_MAX >> 20;
                return Err(Failure::Input(format!(
                    "there are more than {mib} MiB of letters; choose some, as PARTITION/OFFSET"
                )));
            }
            Ok(())
        })?;
        Ok(out)
    }
}

/// Whether a letter can be read now and was not sent again.
fn is_ready(kept: &Kept) -> bool {
    kept.sent.is_none() && why_not(kept).is_none()
}

/// Why a letter cannot be read now.
fn why_not(kept: &Kept) -> Option<String> {
    if !kept.letter.whole {
        return Some("its bytes are not in the letter: they were too many beside the reason".into());
    }
    shard::read(&kept.letter.record).err().map(|cause| cause.to_string())
}

fn line(kept: &Kept, format: Format) -> String {
    let letter = &kept.letter;
    let (cell, bytes) = (String::from_utf8_lossy(&letter.record.key), letter.record.value.len());
    let now = why_not(kept);
    if format == Format::Json {
        return json!({
            "topic": letter.place.topic, "partition": letter.place.partition, "offset": letter.place.offset,
            "found": clock::rfc3339(letter.found), "cell": cell, "bytes": bytes, "reason": letter.reason,
            "header": String::from_utf8_lossy(&letter.record.header), "whole": letter.whole,
            "readable": now.is_none(), "why_not": now, "sent": kept.sent.map(clock::rfc3339),
        })
        .to_string();
    }
    let state = match (kept.sent, now) {
        (Some(sent), _) => format!("sent again {}", clock::rfc3339(sent)),
        (None, None) => "can be read now".to_string(),
        (None, Some(cause)) if cause == letter.reason => "still so".to_string(),
        (None, Some(cause)) => format!("now: {cause}"),
    };
    let (place, reason) = (&letter.place, &letter.reason);
    let found = clock::rfc3339(letter.found);
    plain(&format!("{found}  {place}  cell {cell}, {bytes} bytes: {reason} ({state})"))
}

/// The alerts that these records would raise: each shard goes on from its snapshot over all that
/// the log holds, and takes them last, as it would if they were sent again now.
fn judge(
    log: &dyn Log,
    pipeline: &Arc<Pipeline>,
    ready: &BTreeMap<Place, Record>,
) -> anyhow::Result<Vec<Alert>> {
    let mut alerts = Vec::new();
    let topics: BTreeSet<(&str, u32)> = ready.keys().map(|p| (p.topic.as_str(), p.partition)).collect();
    for (topic, partition) in topics {
        let held = log.held(topic, partition)?;
        let mut resumed = resume(log, pipeline, partition, &held, Wanted::Newest)?;
        let from = resumed.next.max(held.start);
        let mut step = |offset: u64, record: &Record| resumed.step(pipeline, offset, record).alerts;
        let mut reader = log.reader(topic, partition, from)?;
        while reader.position() < held.end {
            let records = reader.read(8 << 20, Duration::from_secs(30))?;
            anyhow::ensure!(!records.is_empty(), "{topic}/{partition} ends before {}", held.end);
            for stored in records {
                let place = Place { topic: topic.to_string(), partition, offset: stored.offset };
                let raised = step(stored.offset, &stored.record);
                // Mended by a newer program, it is read where it stands.
                if ready.contains_key(&place) {
                    alerts.extend(raised);
                }
            }
        }
        let last = ready.iter().filter(|(place, _)| place.topic == topic && place.partition == partition);
        for (number, (_, record)) in last.enumerate() {
            alerts.extend(step(held.end + number as u64, record));
        }
    }
    Ok(alerts)
}

fn show_alerts(alerts: &[Alert], format: Format) -> Result<(), Failure> {
    for alert in alerts {
        match format {
            Format::Json => say!("{}", serde_json::to_string(alert)?),
            Format::Text => say!("{}", render(alert, Style::default())),
        }
    }
    if format == Format::Text {
        say!("{} alerts; nothing was written", alerts.len());
    }
    Ok(())
}

/// Sends what can be read now again, after a question.
fn resend(chosen: &Chosen<'_>, yes: bool, format: Format) -> Result<(), Failure> {
    let mut count = 0;
    chosen.each(|kept| {
        count += u64::from(is_ready(&kept));
        Ok(())
    })?;
    let question = format!("Put {count} records back into the events of {}?", chosen.log.describe());
    if count > 0 && !yes && !confirmed(&question)? {
        return Err(Failure::Input("nothing was sent".into()));
    }
    let mut sent = Vec::new();
    let (mut batch, mut bytes) = (Vec::new(), 0);
    chosen.each(|kept| {
        if is_ready(&kept) {
            bytes += kept.letter.record.size();
            sent.push(kept.letter.place.to_string());
            batch.push((kept.letter.place, kept.letter.record));
        }
        if bytes >= SENT_BYTES {
            send(chosen.log, &std::mem::take(&mut batch))?;
            bytes = 0;
        }
        Ok(())
    })?;
    send(chosen.log, &batch)?;
    match format {
        Format::Json => say!("{}", json!({ "sent": sent })),
        Format::Text => {
            for place in &sent {
                say!("{place} sent again");
            }
            say!("{} records sent; `yagura run` judges them", sent.len());
        }
    }
    Ok(())
}

/// Appends the records to their topics, then the receipts. A crash between the two sends them
/// twice: the shard's row numbers tell.
fn send(log: &dyn Log, ready: &[(Place, Record)]) -> Result<(), LogError> {
    if ready.is_empty() {
        return Ok(());
    }
    let topics: BTreeSet<&str> = ready.iter().map(|(place, _)| place.topic.as_str()).collect();
    for topic in topics {
        let mut events = log.appender(topic)?;
        for (_, record) in ready.iter().filter(|(place, _)| place.topic == topic) {
            events.append(record.clone())?;
        }
        events.flush()?;
    }
    let mut dead = log.appender(DEAD)?;
    for (place, _) in ready {
        dead.append(receipt(place, clock::now()))?;
    }
    dead.flush()
}

/// Asks on the terminal; without one there is nobody to ask.
#[expect(clippy::print_stderr, reason = "a question to the person at the terminal")]
fn confirmed(question: &str) -> Result<bool, Failure> {
    if !std::io::stdin().is_terminal() {
        return Err(Failure::Input("--resend writes into the log; confirm it with --yes".into()));
    }
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    std::io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}
