//! From a configuration to the parts of a run: pipeline, log, sources.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use yagura_collect::names::NameTable;
use yagura_collect::{LiveSource, Opened, Plant, Source, SourceError, dictionary};
use yagura_detect::baseline::Trust;
use yagura_detect::shelf::Texts;
use yagura_detect::worker::{ALERTS, EVENTS, LATE};
use yagura_detect::{Pipeline, Shelf, snapshot};
use yagura_dissect::Settings;
use yagura_event::AssetTable;
use yagura_kafka::{KafkaLog, KafkaOptions};
use yagura_log::embedded::{Embedded, Options};
use yagura_log::{Eventual, Log, LogError};
use yagura_respond::cases::DECISIONS;
use yagura_sql::SqlCompiler;

use crate::Failure;
use crate::config::{Config, EmbeddedConfig, LogConfig};
use crate::pack::PACK;

/// Reads and checks pipelines: the given files and folders, or the pack that ships.
pub fn pipeline(paths: &[PathBuf], trust: &Trust) -> Result<Arc<Pipeline>, Failure> {
    let shelf = Shelf::new(SqlCompiler::default());
    let loaded = match paths.is_empty() {
        true => shelf.read(Texts {
            files: PACK.iter().map(|(name, text)| (PathBuf::from(name), (*text).to_string())).collect(),
            trust: trust.clone(),
        }),
        false => shelf.load_trusting(paths, trust.clone()),
    };
    loaded.map_err(|errors| {
        let lines: Vec<String> = errors.iter().map(ToString::to_string).collect();
        Failure::Input(lines.join("\n"))
    })
}

/// Opens the log to look at it, beside whoever writes it: an embedded one as it grows, Kafka's
/// outside any group.
pub fn following(config: &Config) -> Result<Arc<dyn Log>, Failure> {
    match &config.log {
        LogConfig::Embedded(embedded) => Ok(Arc::new(Embedded::open_following(existing(config, embedded)?)?)),
        LogConfig::Kafka(_) => log(config, true),
    }
}

/// The folder of an embedded log that is there.
fn existing(config: &Config, embedded: &EmbeddedConfig) -> Result<PathBuf, Failure> {
    let folder = embedded.folder.clone().unwrap_or_else(|| config.data.join("log"));
    if !folder.exists() {
        let folder = folder.display();
        return Err(Failure::Input(format!("{folder}: there is no log yet; `yagura run` writes it")));
    }
    Ok(folder)
}

/// Opens the log. `read_only` looks at an embedded log without owning it.
pub fn log(config: &Config, read_only: bool) -> Result<Arc<dyn Log>, Failure> {
    match &config.log {
        LogConfig::Kafka(options) => Ok(Arc::new(KafkaLog::connect(options.as_ref().clone())?)),
        LogConfig::Embedded(embedded) => {
            if read_only {
                return Ok(Arc::new(Embedded::open_read_only(existing(config, embedded)?)?));
            }
            let folder = embedded.folder.clone().unwrap_or_else(|| config.data.join("log"));
            let options = Options {
                retain_bytes: embedded.retain_bytes,
                retain_age: embedded.retain_hours.map(|h| Duration::from_secs(h * 3600)),
                // What people decided holds however long ago it was.
                keep: vec![DECISIONS.into()],
                ..Options::default()
            };
            Ok(Arc::new(Embedded::open(folder, options)?))
        }
    }
}

/// How often, and how far apart, a process that stays asks for a log that another one writes to.
const ASKED: (u32, Duration) = (30, Duration::from_millis(100));

/// As [`log`] to write to, for a process that stays: a short command that writes something down does not keep it from
/// starting, another instance does.
pub fn own_log(config: &Config) -> Result<Arc<dyn Log>, Failure> {
    for _ in 1..ASKED.0 {
        match log(config, false) {
            Err(failure) if failure.is_locked() => std::thread::park_timeout(ASKED.1),
            other => return other,
        }
    }
    log(config, false)
}

/// The log of a process that only collects: connected to when it is first needed, since the spool keeps what comes
/// before.
pub fn eventual_log(config: &Config) -> Result<Arc<dyn Log>, Failure> {
    match &config.log {
        LogConfig::Kafka(options) => {
            let (options, partitions) = (options.as_ref().clone(), config.partitions);
            let described = format!("Kafka at {}", options.brokers);
            Ok(Arc::new(Eventual::new(described, move || {
                let log = KafkaLog::connect(options.clone())?;
                ensure_topics(&log, partitions)?;
                Ok(Box::new(log))
            })))
        }
        LogConfig::Embedded(_) => own_log(config),
    }
}

/// Creates the topics that are missing. Snapshots are found by partition, so theirs are as many
/// as the events'.
pub fn ensure_topics(log: &dyn Log, partitions: u32) -> Result<(), LogError> {
    let partitions = log.ensure_topic(EVENTS, partitions)?;
    log.ensure_topic(ALERTS, partitions)?;
    log.ensure_topic(DECISIONS, partitions)?;
    log.ensure_topic(LATE, partitions)?;
    log.ensure_topic(snapshot::TOPIC, partitions)?;
    Ok(())
}

/// The tables of names of a configuration.
pub fn names(config: &Config) -> Result<NameTable, Failure> {
    NameTable::read(&config.names).map_err(|e| Failure::Input(e.to_string()))
}

/// The asset table of a configuration, with the tools that its tables of names place beside it.
fn assets(config: &Config, names: &NameTable) -> Arc<AssetTable> {
    let mut assets = config.assets.clone();
    let known = |name: &str| config.assets.iter().any(|asset| asset.name == name);
    assets.extend(names.assets().into_iter().filter(|asset| !known(&asset.name)));
    Arc::new(AssetTable::new(assets, &config.default_cell))
}

/// What a configuration reads.
#[derive(Default)]
pub struct Sources {
    /// Read to their ends, merged by their own time; with each the only cells that it may write.
    pub recorded: Vec<(Box<dyn Source>, Vec<String>)>,
    /// Read as they come, likewise.
    pub live: Vec<(Box<dyn LiveSource>, Vec<String>)>,
}

impl Sources {
    /// How many there are.
    pub fn count(&self) -> usize {
        self.recorded.len() + self.live.len()
    }
}

/// What all sources of a configuration share; their connections are served by `runtime`.
pub fn plant(config: &Config, runtime: &tokio::runtime::Handle) -> Result<Plant, Failure> {
    let input = |e: SourceError| Failure::Input(e.to_string());
    let dictionary = dictionary::read(&config.dictionaries).map_err(input)?;
    let names = names(config)?;
    for covered in names.covered() {
        tracing::warn!(line = ?covered, "a line of a table of names can never match: an earlier one covers it");
    }
    let mut settings = Settings { dictionary, ..Settings::default() };
    if let Some(file) = &config.plant_key_file {
        settings.plant_key = std::fs::read(file).map_err(|e| {
            Failure::Input(format!("{}: the plant's key cannot be read: {e}", file.display()))
        })?;
    }
    Ok(Plant {
        assets: assets(config, &names),
        dissect: Arc::new(settings),
        names: Arc::new(names),
        runtime: runtime.clone(),
        open_log: Arc::new(foreign),
    })
}

/// Connects to a Kafka that is only read.
fn foreign(settings: &serde_json::Value, folder: &Path) -> Result<Arc<dyn Log>, LogError> {
    let mut options: KafkaOptions = serde_json::from_value(settings.clone()).map_err(|e| {
        LogError::Client { what: "reading the settings of Kafka".into(), cause: e.to_string(), retry: false }
    })?;
    for path in options.files() {
        *path = folder.join(&*path);
    }
    Ok(Arc::new(KafkaLog::connect(options)?))
}

/// Opens every source.
pub fn sources(config: &Config, plant: &Plant) -> Result<Sources, Failure> {
    let mut out = Sources::default();
    for collector in &config.collectors {
        let name = &collector.name;
        let opened = collector.open(&config.folder, plant).map_err(|e| match e {
            SourceError::Open { .. } => Failure::Input(format!(
                "collector {name}: {e}; correct its `path` (relative to the configuration's folder) or put the file there",
            )),
            SourceError::Setting { .. } => Failure::Input(e.to_string()),
            e => Failure::Input(format!("collector {name}: {e}")),
        })?;
        match opened {
            Opened::Recorded(source) => out.recorded.push((source, collector.cells.clone())),
            Opened::Live(source) => out.live.push((source, collector.cells.clone())),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_stays_waits_for_who_only_writes_something_down() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = Config { data: folder.path().into(), ..Config::default() };
        let held = log(&config, false).ok();
        assert!(held.is_some() && log(&config, false).err().is_some_and(|failure| failure.is_locked()));
        std::thread::scope(|scope| {
            let starting = scope.spawn(|| own_log(&config).is_ok());
            std::thread::park_timeout(Duration::from_millis(300));
            drop(held);
            assert!(starting.join().expect("no panic"));
        });
        let _instance = own_log(&config).ok().expect("the log is free");
        assert!(own_log(&config).err().is_some_and(|failure| failure.is_locked()), "it stays");
    }
}
