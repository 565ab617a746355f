//! Decisions on their way into a log that a running instance holds.
//!
//! An embedded log has one writer. While `yagura run` is that, a decision is a file in `DATA/decisions`, one
//! record a line, which the running instance appends and removes. A crash between the two appends it twice;
//! its rows have their numbers, so a shard judges it once.

use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};
use yagura_detect::worker::{ALERTS, EVENTS};
use yagura_log::{Log, LogError, Record};
use yagura_respond::cases::DECISIONS;
use yagura_respond::undelivered::UNDELIVERED;

use crate::config::Config;
use crate::{Failure, plant};

/// The most bytes of a file that is read.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// Where decisions may go: about baselines, about alerts, with what sinks hear of these, and about what was refused.
const TOPICS: [&str; 4] = [EVENTS, ALERTS, DECISIONS, UNDELIVERED];

/// Records, by topic.
pub type ByTopic = [(&'static str, Vec<Record>)];

#[derive(Serialize, Deserialize)]
struct Line {
    topic: String,
    key: String,
    header: String,
    value: String,
}

fn folder(data: &Path) -> PathBuf {
    data.join("decisions")
}

/// Appends records to the log, or hands them to the instance that holds it; answers whether that is so.
pub fn write(config: &Config, by_topic: &ByTopic) -> Result<bool, Failure> {
    let log = match plant::log(config, false) {
        Ok(log) => log,
        Err(failure) if failure.is_locked() => {
            hand(&folder(&config.data), by_topic)?;
            return Ok(true);
        }
        Err(other) => return Err(other),
    };
    plant::ensure_topics(log.as_ref(), config.partitions)?;
    for (topic, records) in by_topic {
        append(log.as_ref(), topic, records)?;
    }
    Ok(false)
}

fn append(log: &dyn Log, topic: &str, records: &[Record]) -> Result<(), LogError> {
    let mut appender = log.appender(topic)?;
    for record in records {
        appender.append(record.clone())?;
    }
    appender.flush()
}

fn hand(folder: &Path, by_topic: &ByTopic) -> anyhow::Result<()> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut lines = String::new();
    for (topic, record) in by_topic.iter().flat_map(|(topic, all)| all.iter().map(move |one| (topic, one))) {
        let line = Line {
            topic: (*topic).into(),
            key: text(&record.key),
            header: text(&record.header),
            value: text(&record.value),
        };
        lines.push_str(&serde_json::to_string(&line)?);
        lines.push('\n');
    }
    let name = format!("{:020}-{}", yagura_event::clock::now(), std::process::id());
    let (unfinished, whole) = (folder.join(format!("{name}.part")), folder.join(format!("{name}.json")));
    let cause = || format!("{}: cannot be written", whole.display());
    std::fs::create_dir_all(folder).with_context(cause)?;
    std::fs::write(&unfinished, lines).with_context(cause)?;
    std::fs::File::open(&unfinished).and_then(|file| file.sync_all()).with_context(cause)?;
    std::fs::rename(&unfinished, &whole).with_context(cause)
}

/// Appends what was handed over, in its order; answers how many decisions there were.
pub fn take(data: &Path, log: &dyn Log) -> anyhow::Result<usize> {
    let folder = folder(data);
    let Ok(entries) = std::fs::read_dir(&folder) else { return Ok(0) };
    let mut files: Vec<PathBuf> = entries.filter_map(|entry| entry.ok().map(|entry| entry.path())).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "json"));
    files.sort();
    for file in &files {
        let name = file.display().to_string();
        match read(file) {
            Ok(records) => {
                for (topic, records) in records {
                    append(log, &topic, &records)?;
                }
            }
            Err(cause) => {
                tracing::warn!(file = name, %cause, "a decision cannot be read and is put aside");
                std::fs::rename(file, file.with_extension("refused")).with_context(|| name.clone())?;
                continue;
            }
        }
        std::fs::remove_file(file).with_context(|| format!("{name}: cannot be removed"))?;
    }
    Ok(files.len())
}

/// By topic, in the file's order.
fn read(file: &Path) -> anyhow::Result<Vec<(String, Vec<Record>)>> {
    anyhow::ensure!(
        std::fs::metadata(file)?.len() <= FILE_BYTES_MAX,
        "it has more than {FILE_BYTES_MAX} bytes"
    );
    let text = std::fs::read_to_string(file)?;
    let mut all: Vec<(String, Vec<Record>)> = Vec::new();
    for line in text.lines() {
        let Line { topic, key, header, value } = serde_json::from_str(line)?;
        anyhow::ensure!(TOPICS.contains(&topic.as_str()), "decisions do not go to `{topic}`");
        let record = Record { key: key.into(), header: header.into(), value: value.into() };
        match all.last_mut() {
            Some((last, records)) if *last == topic => records.push(record),
            _ => all.push((topic, vec![record])),
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_handed_over_is_appended_once_and_what_cannot_be_read_is_put_aside() {
        let data = tempfile::tempdir().unwrap();
        let log = yagura_log::memory::open(yagura_log::embedded::Options::default()).unwrap();
        log.ensure_topic(EVENTS, 1).unwrap();
        assert_eq!(take(data.path(), &log).unwrap(), 0, "no folder");
        let record = Record { key: "bay".into(), header: "{}".into(), value: "é\n".into() };
        hand(&folder(data.path()), &[(EVENTS, vec![record.clone(), record.clone()])]).unwrap();
        std::fs::write(folder(data.path()).join("0.json"), "no line").unwrap();
        assert_eq!(take(data.path(), &log).unwrap(), 2);
        assert_eq!(take(data.path(), &log).unwrap(), 0);
        let mut reader = log.reader(EVENTS, 0, 0).unwrap();
        let held = reader.read(1 << 20, std::time::Duration::ZERO).unwrap();
        assert!(held.len() == 2 && held.iter().all(|stored| stored.record == record));
        assert!(folder(data.path()).join("0.refused").exists());
    }
}
