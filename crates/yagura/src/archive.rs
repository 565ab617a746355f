//! The archive role: its configuration, its threads, what it counts.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntGaugeVec, Opts};
use serde::Deserialize;
use yagura_archive::archiver::Options;
use yagura_archive::{Keep, Progress, Store, store};
use yagura_detect::pipeline::duration;
use yagura_detect::worker::{ALERTS, EVENTS};
use yagura_event::Kind;
use yagura_event::amounts::Period;
use yagura_event::redact::Redaction;
use yagura_log::{Log, LogError};

use crate::Failure;
use crate::metrics::described;
use crate::run::thread;

/// Where the history goes, and what becomes of it.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArchiveConfig {
    /// A folder, or `s3://BUCKET/PREFIX`.
    pub store: String,
    /// How long a row may wait for others before it is written to a file.
    pub flush_every: Option<Period>,
    /// For how many days rows are kept: `90d`, or by kind `{ all: 90d, sample: 30d }`; for good
    /// without it.
    #[serde(default)]
    pub keep: KeepFor,
    /// Whether small files become large ones.
    #[serde(default = "yes")]
    pub compact: bool,
    /// Classes that are left out: `{ classes: [personal, secret] }`; nothing without it.
    #[serde(default = "Redaction::off")]
    pub redact: Redaction,
}

fn yes() -> bool {
    true
}

impl ArchiveConfig {
    /// Into a store, with everything else as it is by default.
    pub fn into_store(store: impl Into<String>) -> Self {
        ArchiveConfig {
            store: store.into(),
            flush_every: None,
            keep: KeepFor::default(),
            compact: true,
            redact: Redaction::off(),
        }
    }

    /// A folder becomes relative to that of the configuration.
    pub fn place(&mut self, folder: &Path) {
        if !store::is_remote(&self.store) {
            self.store = folder.join(&self.store).display().to_string();
        }
    }

    /// Opens the store; nothing is written.
    pub fn open(&self) -> Result<Arc<dyn Store>, Failure> {
        store::open(&self.store).map_err(|e| Failure::Input(format!("archive: {e}")))
    }

    fn options(&self) -> Options {
        let usual = Options::default();
        Options {
            flush_every: self.flush_every.map_or(usual.flush_every, Period::duration),
            keep: self.keep.0.clone(),
            compact: self.compact,
            redact: self.redact.clone(),
            ..usual
        }
    }
}

/// See [`ArchiveConfig::keep`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(try_from = "KeepText")]
pub struct KeepFor(Keep);

#[derive(Deserialize)]
#[serde(untagged)]
enum KeepText {
    All(String),
    Kinds(BTreeMap<String, String>),
}

impl TryFrom<KeepText> for KeepFor {
    type Error = String;

    fn try_from(text: KeepText) -> Result<Self, String> {
        const DAY: i64 = 86_400_000_000;
        let days = |text: &str| match duration(text) {
            Some(time) if time >= DAY && time % DAY == 0 => Ok((time / DAY) as u32),
            _ => Err(format!("`{text}` is no number of days; whole days are deleted: write `90d`")),
        };
        let mut keep = Keep::default();
        match text {
            KeepText::All(all) => keep.all = Some(days(&all)?),
            KeepText::Kinds(kinds) => {
                for (name, text) in kinds {
                    if name == "all" {
                        keep.all = Some(days(&text)?);
                        continue;
                    }
                    let kinds: Vec<&str> = Kind::ALL.into_iter().map(Kind::name).collect();
                    let kind = Kind::from_name(&name).ok_or_else(|| {
                        format!("`{name}` is no kind of record; there are: all, {}", kinds.join(", "))
                    })?;
                    keep.kinds.insert(kind, days(&text)?);
                }
            }
        }
        Ok(KeepFor(keep))
    }
}

/// The archivers of a run: one for each topic.
pub struct Archiving {
    /// Where the history is, for people.
    pub place: String,
    stop: Arc<AtomicBool>,
    /// What they have done.
    pub progress: Arc<Progress>,
    /// Their threads.
    pub threads: Vec<JoinHandle<anyhow::Result<()>>>,
}

impl Archiving {
    /// Starts them; refuses a store that cannot be written to.
    pub fn start(config: &ArchiveConfig, log: &Arc<dyn Log>) -> Result<Self, Failure> {
        let store = config.open()?;
        yagura_archive::check(&*store).map_err(|e| {
            Failure::Input(format!("archive: {e}; correct `store`, or let this user write there"))
        })?;
        let (stop, progress) = (Arc::new(AtomicBool::new(false)), Arc::new(Progress::default()));
        let mut threads = Vec::new();
        for topic in [EVENTS, ALERTS] {
            let (log, store, options) = (Arc::clone(log), Arc::clone(&store), config.options());
            let (stop, progress) = (Arc::clone(&stop), Arc::clone(&progress));
            let name = format!("archive-{}", topic.trim_start_matches("yagura."));
            threads.push(thread(&name, move || {
                Ok(yagura_archive::run(log.as_ref(), &store, topic, &options, &stop, &progress)?)
            })?);
        }
        Ok(Archiving { place: store.describe(), stop, progress, threads })
    }

    /// Whether everything that the log holds is gathered; [`Archiving::stop`] writes it.
    pub fn has_all(&self, log: &dyn Log) -> Result<bool, LogError> {
        let reached = self.progress.reached();
        for topic in [EVENTS, ALERTS] {
            for partition in 0..log.partitions(topic)? {
                let held = log.held(topic, partition)?;
                let gathered = reached.get(&(topic.to_string(), partition)).map_or(0, |r| r.gathered);
                if !held.is_empty() && gathered < held.end {
                    return Ok(false);
                }
            }
        }
        Ok(true)
    }

    /// Asks them to write what there is and to end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// Metrics of archiving.
pub struct ArchiveMetrics {
    progress: Arc<Progress>,
    descriptions: Vec<Desc>,
}

impl ArchiveMetrics {
    /// Metrics over the archivers' progress.
    pub fn new(progress: Arc<Progress>) -> Self {
        let mut metrics = ArchiveMetrics { progress, descriptions: Vec::new() };
        metrics.descriptions = described(&metrics.gather());
        metrics
    }

    fn gather(&self) -> Vec<MetricFamily> {
        let mut out = Vec::new();
        let p = &self.progress;
        for (name, help, value) in [
            ("yagura_archive_rows_total", "Rows written to files of the history.", &p.rows),
            ("yagura_archive_files_total", "Files of the history written.", &p.files),
            ("yagura_archive_bytes_total", "Bytes of these files.", &p.bytes),
            (
                "yagura_archive_repeated_rows_total",
                "Rows left out because they had been archived before.",
                &p.repeated_rows,
            ),
            (
                "yagura_archive_unnamed_samples_total",
                "Samples archived without names: nobody defined their series.",
                &p.unnamed_samples,
            ),
            (
                "yagura_archive_unreadable_records_total",
                "Records that could not be read.",
                &p.unreadable_records,
            ),
            (
                "yagura_archive_lost_records_total",
                "Records that the log had deleted before they were archived.",
                &p.lost_records,
            ),
            (
                "yagura_archive_compacted_files_total",
                "Small files that became part of larger ones.",
                &p.compacted_files,
            ),
            ("yagura_archive_expired_files_total", "Files that retention deleted.", &p.expired_files),
            (
                "yagura_archive_restarts_total",
                "Times that archiving began again because the log or the store refused.",
                &p.restarts,
            ),
        ] {
            if let Ok(counter) = IntCounter::with_opts(Opts::new(name, help)) {
                counter.inc_by(value.load(Ordering::Relaxed));
                out.extend(counter.collect());
            }
        }
        if let Ok(gauge) = IntGaugeVec::new(
            Opts::new(
                "yagura_archive_lag_records",
                "Records in the log that are in no file yet; about as many as come in a `flush_every`.",
            ),
            &["topic"],
        ) {
            for topic in [EVENTS, ALERTS] {
                let mine = p.reached();
                let lag = mine.iter().filter(|((of, _), _)| of == topic);
                let lag: u64 = lag.map(|(_, r)| r.end.saturating_sub(r.archived)).sum();
                gauge.with_label_values(&[topic]).set(lag as i64);
            }
            out.extend(gauge.collect());
        }
        out
    }
}

impl Collector for ArchiveMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gather()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn read(text: &str) -> Result<ArchiveConfig, String> {
        serde_saphyr::from_str(text).map_err(|e| e.without_snippet().to_string())
    }

    #[test]
    fn times_are_written_as_people_do() {
        let config = read("store: h\nflush_every: 90s\nkeep: 90d\ncompact: false").unwrap();
        assert_eq!(config.options().flush_every, Duration::from_secs(90));
        assert_eq!((config.keep.0.days(Kind::Flow), config.keep.0.days(Kind::Series)), (Some(90), None));
        let config = read("store: h\nkeep: { all: 90d, sample: 30d, series: 400d }").unwrap();
        let days = [Kind::Flow, Kind::Sample, Kind::Series].map(|kind| config.keep.0.days(kind));
        assert_eq!(days, [Some(90), Some(30), Some(400)]);
        assert!(config.compact);
    }

    #[test]
    fn mistakes_say_what_would_be_right() {
        for (text, told) in [
            ("store: h\nkeep: 90h", "write `90d`"),
            ("store: h\nkeep: { samples: 3d }", "there are: all, message"),
            ("store: h\nflush_every: often", "such as `90s`"),
            ("keep: 3d", "store"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains(told), "{text}: {error}");
        }
    }
}
