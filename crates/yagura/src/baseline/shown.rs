//! How baselines are shown.

use serde_json::{Value, json};
use yagura_detect::baseline::{Difference, Document, Entry};
use yagura_detect::operators::Learning;
use yagura_detect::shard::baselines::{History, Version, Why};
use yagura_event::clock;

use super::cells::Cell;
use crate::say::say;
use crate::tap::plain;
use crate::{Failure, Format};

/// The most changes that are shown to people; programs get all.
const SHOWN_MAX: usize = 40;

/// Of each cell and detection, how far learning has got, and the versions.
pub(super) fn list(cells: &[&Cell], detection: Option<&str>, format: Format) -> Result<(), Failure> {
    let mut any = false;
    for cell in cells {
        for (found, history) in cell.shard.baselines() {
            if detection.is_some_and(|detection| detection != found.id) {
                continue;
            }
            any = true;
            let learning = cell.shard.learning().find(|(d, _)| d.id == found.id).map(|(_, l)| l);
            let learning = learning.unwrap_or_default();
            match format {
                Format::Json => say!("{}", in_json(cell.shard.cell(), &found.id, learning, &history)),
                Format::Text => in_text(cell.shard.cell(), &found.id, learning, &history),
            }
        }
    }
    if !any && format == Format::Text {
        say!("nothing has been learned yet: no cell has rows of a detection that learns");
    }
    Ok(())
}

/// `learning`, `proposed` or `approved`.
fn state(learning: Learning, history: &History) -> &'static str {
    match () {
        () if learning.approved > 0 || history.in_force().is_some() => "approved",
        () if learning.ready > 0 => "proposed",
        () => "learning",
    }
}

fn state_of(version: &Version) -> &'static str {
    if version.in_force { "approved" } else { "retired" }
}

fn in_json(cell: &str, detection: &str, learning: Learning, history: &History) -> Value {
    let Learning { keys, ready, approved, refused, nearest } = learning;
    let nearest = nearest.map(|rows| json!({ "rows": rows.seen, "needed": rows.needed }));
    let versions: Vec<Value> = history.versions.iter().map(version_json).collect();
    let refusal = history.refusal.as_ref();
    let refusal = refusal.map(|(at, reason)| json!({"at": clock::rfc3339(*at), "reason": reason}));
    json!({
        "cell": cell, "detection": detection, "state": state(learning, history), "keys": keys, "ready": ready,
        "approved": approved, "nearest": nearest, "turned_away": refused, "versions": versions, "refusal": refusal,
    })
}

fn version_json(version: &Version) -> Value {
    let why = match &version.why {
        Why::Document => json!("document"),
        Why::Approval => json!("approval"),
        Why::Maintenance(keys) => json!({ "maintenance": keys }),
    };
    json!({
        "version": version.number, "state": state_of(version), "at": clock::rfc3339(version.at),
        "author": version.author, "signer": version.signer, "why": why, "keys": version.entries,
        "hash": version.hash, "kept": version.document.is_some(),
    })
}

fn in_text(cell: &str, detection: &str, learning: Learning, history: &History) {
    let Learning { keys, ready, approved, nearest, .. } = learning;
    let state = state(learning, history);
    let nearest = match nearest {
        Some(rows) => format!("; of the others the nearest has {} of {} rows", rows.seen, rows.needed),
        None => String::new(),
    };
    say!(
        "{}",
        plain(&format!(
            "{cell}  {detection}  {state}: {approved} of {keys} keys approved, {ready} ready{nearest}"
        ))
    );
    for version in history.versions.iter().rev() {
        let (number, state, at) = (version.number, state_of(version), clock::rfc3339(version.at));
        let what = match &version.why {
            Why::Maintenance(of) => format!("maintenance of {of}, {}", keys_text(version.entries)),
            _ => keys_text(version.entries),
        };
        let signer = match &version.signer {
            Some(signer) => format!(", signed by {signer}"),
            None => String::new(),
        };
        let kept = if version.document.is_some() { "" } else { "; no document to go back to" };
        let author = &version.author;
        say!("{}", plain(&format!("  {number:>3}  {state:8}  {at}  {what}, by {author}{signer}{kept}")));
    }
    if let Some((at, reason)) = &history.refusal {
        say!("{}", plain(&format!("  refused {}: {reason}", clock::rfc3339(*at))));
    }
}

/// What a document says.
pub(super) fn document(document: &Document, format: Format) -> Result<(), Failure> {
    let header = &document.header;
    if format == Format::Json {
        let signers: Vec<String> = document.signers().map(ToString::to_string).collect();
        say!(
            "{}",
            json!({"header": header, "entries": document.entries, "signers": signers, "hash": document.hash()})
        );
        return Ok(());
    }
    let (cell, detection, model) = (&header.cell, &header.detection, &header.model);
    let (rows, from, until) = (header.rows, &header.from, &header.until);
    say!(
        "{}",
        plain(&format!(
            "{cell}  {detection}  {model}: {} from {rows} rows, {from} to {until}",
            keys_text(header.entries)
        ))
    );
    for entry in &document.entries {
        say!("  {}", plain(&entry_text(entry)));
    }
    Ok(())
}

fn entry_text(entry: &Entry) -> String {
    let number = |name: &str| entry.values.get(name).and_then(Value::as_f64);
    let key = key_text(entry);
    match (number("level"), number("deviation")) {
        (Some(level), Some(deviation)) => {
            format!("{key}  {} ± {} {}", short(level), short(deviation), unit(entry)).trim_end().to_string()
        }
        _ if entry.values.is_empty() => key,
        _ => format!("{key}  {}", Value::Object(entry.values.clone())),
    }
}

fn keys_text(count: u64) -> String {
    if count == 1 { "1 key".into() } else { format!("{count} keys") }
}

fn key_text(entry: &Entry) -> String {
    let parts: Vec<&str> = entry.key.iter().map(String::as_str).filter(|part| !part.is_empty()).collect();
    parts.join("  ")
}

fn unit(entry: &Entry) -> &str {
    entry.values.get("unit").and_then(Value::as_str).unwrap_or_default()
}

/// Five digits.
fn short(value: f64) -> String {
    let rounded: f64 = format!("{value:.4e}").parse().unwrap_or(value);
    rounded.to_string()
}

/// What differs between two documents, the farthest moves first.
pub(super) fn difference(from: &Document, to: &Document, least: f64, format: Format) {
    let difference = Difference::between(&from.entries, &to.entries);
    let mut changed: Vec<(f64, &Entry, &Entry)> =
        difference.changed.iter().map(|(one, other)| (moved(one, other), *one, *other)).collect();
    let all = changed.len();
    changed.retain(|(moved, ..)| *moved >= least);
    changed.sort_by(|one, other| other.0.total_cmp(&one.0).then_with(|| one.1.key.cmp(&other.1.key)));
    let hidden = all - changed.len();
    let header = &to.header;
    if format == Format::Json {
        let change = |(moved, one, other): &(f64, &Entry, &Entry)| {
            let moved = moved.is_finite().then_some(*moved);
            json!({"key": one.key, "deviations": moved, "before": one.values, "after": other.values})
        };
        say!(
            "{}",
            json!({
                "cell": header.cell, "detection": header.detection, "of": header.of,
                "added": difference.added, "removed": difference.removed,
                "changed": changed.iter().map(change).collect::<Vec<_>>(), "changed_less": hidden,
            })
        );
        return;
    }
    let (added, removed) = (difference.added.len(), difference.removed.len());
    say!(
        "{}",
        plain(&format!(
            "{}  {}: {added} added, {removed} removed, {} changed, {hidden} changed by less than {least} deviations",
            header.cell,
            header.detection,
            changed.len()
        ))
    );
    let lines = (difference.added.iter().map(|entry| format!("+ {}", entry_text(entry))))
        .chain(difference.removed.iter().map(|entry| format!("- {}", entry_text(entry))))
        .chain(changed.iter().map(|(moved, one, other)| {
            let key = key_text(one);
            let (one, other) = (entry_text(one), entry_text(other));
            let (before, after) =
                (one.trim_start_matches(&key).trim(), other.trim_start_matches(&key).trim());
            let moved = if moved.is_finite() { format!("  ({moved:.1} deviations)") } else { String::new() };
            format!("~ {key}  {before} → {after}{moved}")
        }));
    let mut lines = lines.map(|line| plain(&line));
    for line in lines.by_ref().take(SHOWN_MAX) {
        say!("  {line}");
    }
    let more = lines.count();
    if more > 0 {
        say!("  and {more} more; `--format json` shows all");
    }
}

/// By how many deviations an entry moved; infinitely many where it has none.
fn moved(one: &Entry, other: &Entry) -> f64 {
    let number = |entry: &Entry, name: &str| entry.values.get(name).and_then(Value::as_f64);
    let before = (number(one, "level"), number(one, "deviation"));
    match (before, number(other, "level"), number(other, "deviation")) {
        ((Some(level), Some(deviation)), Some(now), Some(wider)) if deviation > 0.0 => {
            if one.values.get("unit") != other.values.get("unit") {
                return f64::INFINITY;
            }
            ((now - level).abs() / deviation).max((wider / deviation).ln().abs() * 2.0)
        }
        _ => f64::INFINITY,
    }
}

/// What was decided; `waits` when a running instance still has to take it.
pub(super) fn decided(changes: &[(&Cell, String)], waits: bool, format: Format) {
    for (cell, detection) in changes {
        let history = cell.history(detection);
        let Some(version) = history.in_force() else { continue };
        let name = cell.shard.cell();
        match format {
            Format::Json => {
                let mut line = version_json(version);
                line["cell"] = name.into();
                line["detection"] = detection.as_str().into();
                line["waits"] = waits.into();
                say!("{line}");
            }
            Format::Text => {
                let how = match (&version.why, &version.signer) {
                    (Why::Maintenance(_), _) => ", levels are learned anew".to_string(),
                    (_, Some(signer)) => format!(", signed by {signer}"),
                    (_, None) => ", without a signature".to_string(),
                };
                let (number, entries) = (version.number, keys_text(version.entries));
                say!(
                    "{}",
                    plain(&format!("{name}  {detection}: version {number} is in force, {entries}{how}"))
                );
            }
        }
    }
    if format == Format::Text {
        match waits {
            true => say!("handed to the running instance, which writes it into the log within a second"),
            false => say!("written into the log; `yagura run` judges by it from there on"),
        }
    }
}
