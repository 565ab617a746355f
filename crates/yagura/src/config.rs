//! The configuration file: one YAML document, checked as a whole.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use yagura_collect::sources::CollectorConfig;
use yagura_collect::spool;
use yagura_detect::baseline::Trust;
use yagura_detect::passing;
use yagura_event::Asset;
use yagura_event::amounts::{Bytes, Period};
use yagura_respond::SinkConfig;

use crate::Failure;
use crate::archive::ArchiveConfig;
use crate::certificates;
use crate::serve::{ApiConfig, PostgresConfig};

/// All settings of a run. Paths are relative to the file's folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Version of this form: 1.
    pub version: u32,
    /// The file's own folder, in which relative paths begin.
    #[serde(skip)]
    pub folder: PathBuf,
    /// Files of certificates that the settings name, as they name them.
    #[serde(skip)]
    pub certificates: Vec<PathBuf>,
    /// Where the program keeps its own files.
    #[serde(default = "crate::default_data")]
    pub data: PathBuf,
    /// What this process does; everything without an entry. Parts of a plant that share a log on Kafka may be
    /// processes of their own.
    #[serde(default = "Role::all")]
    pub roles: Vec<Role>,
    /// What this process is called among others; the machine's name without an entry.
    #[serde(default)]
    pub node: Option<String>,
    /// Where live sources' rows wait while the log is away.
    #[serde(default)]
    pub spool: SpoolConfig,
    /// The log; embedded in `data` without an entry.
    #[serde(default)]
    pub log: LogConfig,
    /// Partitions of topics that are created.
    #[serde(default = "default_partitions")]
    pub partitions: u32,
    /// Pipeline files and folders; the pack that ships with the program without any.
    #[serde(default)]
    pub pipelines: Vec<PathBuf>,
    /// The asset table.
    #[serde(default)]
    pub assets: Vec<Asset>,
    /// The cell of what no asset places.
    #[serde(default = "default_cell")]
    pub default_cell: String,
    /// File with the plant's key for recipe hashes.
    #[serde(default)]
    pub plant_key_file: Option<PathBuf>,
    /// Files with the names of variables, events and alarms (SEDD or CSV); a later one wins.
    #[serde(default)]
    pub dictionaries: Vec<PathBuf>,
    /// Tables of how the plant calls what sources name (CSV); the first line that matches a name holds.
    #[serde(default)]
    pub names: Vec<PathBuf>,
    /// What is read.
    #[serde(default)]
    pub collectors: Vec<CollectorConfig>,
    /// Seconds of the recordings' time that pass in one second; as fast as possible without.
    #[serde(default)]
    pub pace: Option<f64>,
    /// Where alerts go.
    #[serde(default)]
    pub sinks: Vec<SinkConfig>,
    /// Files of mutes.
    #[serde(default)]
    pub mutes: Vec<PathBuf>,
    /// Where the history is kept; none without it.
    #[serde(default)]
    pub archive: Option<ArchiveConfig>,
    /// Where other programs see alerts and decide about them; nowhere without it.
    #[serde(default)]
    pub api: Option<ApiConfig>,
    /// Where PostgreSQL's clients ask the history; nowhere without it.
    #[serde(default)]
    pub postgres: Option<PostgresConfig>,
    /// Address of metrics and health; `none` listens nowhere.
    #[serde(default = "default_console")]
    pub console: String,
    /// Threads that detect.
    #[serde(default = "default_threads")]
    pub detect_threads: usize,
    /// How often what was judged is kept, at least: what came since is judged again after a crash.
    /// Half a minute without.
    #[serde(default)]
    pub snapshot_every: Option<Period>,
    /// Whose signatures count for what detections learn; anybody may approve it without an entry.
    #[serde(default)]
    pub baselines: Trust,
}

impl Default for Config {
    /// What a file with nothing but its version says.
    fn default() -> Self {
        Config {
            version: 1,
            folder: PathBuf::new(),
            certificates: Vec::new(),
            data: crate::default_data(),
            roles: Role::all(),
            node: None,
            spool: SpoolConfig::default(),
            log: LogConfig::default(),
            partitions: default_partitions(),
            pipelines: Vec::new(),
            assets: Vec::new(),
            default_cell: default_cell(),
            plant_key_file: None,
            dictionaries: Vec::new(),
            names: Vec::new(),
            collectors: Vec::new(),
            pace: None,
            sinks: Vec::new(),
            mutes: Vec::new(),
            archive: None,
            api: None,
            postgres: None,
            console: default_console(),
            detect_threads: default_threads(),
            snapshot_every: None,
            baselines: Trust::default(),
        }
    }
}

/// A part of the work.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Read sources into the log.
    Collect,
    /// Judge what the log holds.
    Detect,
    /// Send alerts to the sinks.
    Respond,
    /// Keep the history.
    Archive,
    /// Answer other programs: alerts over HTTP, the history over PostgreSQL's protocol.
    Serve,
}

impl Role {
    /// Every role.
    pub fn all() -> Vec<Role> {
        vec![Role::Collect, Role::Detect, Role::Respond, Role::Archive, Role::Serve]
    }
}

/// The spool before a log on Kafka, in `spool` under the data folder.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpoolConfig {
    /// The most that it takes on disk; then sources are pushed back. 4 GiB without an entry.
    pub bytes: Bytes,
}

impl Default for SpoolConfig {
    fn default() -> Self {
        SpoolConfig { bytes: Bytes(spool::BYTES) }
    }
}

/// Which log.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "lowercase")]
pub enum LogConfig {
    /// In a folder of this machine.
    Embedded(EmbeddedConfig),
    /// On Apache Kafka.
    Kafka(Box<yagura_kafka::KafkaOptions>),
}

impl Default for LogConfig {
    fn default() -> Self {
        LogConfig::Embedded(EmbeddedConfig::default())
    }
}

/// The embedded log.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmbeddedConfig {
    /// Its folder; `log` under the data folder without one.
    pub folder: Option<PathBuf>,
    /// The oldest records of a partition go when it holds more bytes.
    pub retain_bytes: Option<u64>,
    /// Records go when they are older than this many hours.
    pub retain_hours: Option<u64>,
}

fn default_partitions() -> u32 {
    4
}

fn default_cell() -> String {
    "plant".into()
}

fn default_console() -> String {
    "127.0.0.1:9600".into()
}

fn default_threads() -> usize {
    1
}

impl Config {
    /// Whether this process has a role.
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Whether this process only collects, so that it starts without the log.
    pub fn only_collects(&self) -> bool {
        self.roles.iter().all(|role| *role == Role::Collect)
    }

    /// What this process is called.
    pub fn node(&self) -> String {
        let machine = || std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        let name = self.node.clone().unwrap_or_else(machine);
        let name = name.trim();
        if name.is_empty() { "yagura".into() } else { name.into() }
    }

    /// Whether its roles are possible.
    pub fn check_roles(&self) -> Result<(), String> {
        if self.roles.is_empty() {
            return Err("`roles` is empty: nothing would be done".into());
        }
        let whole = Role::all().iter().all(|role| self.has(*role) || *role == Role::Serve);
        if matches!(self.log, LogConfig::Embedded(_)) && !whole {
            return Err(
                "`roles` goes with a log on Kafka: an embedded log belongs to one process that does everything".into(),
            );
        }
        Ok(())
    }

    /// Whether the console has an address, as far as that can be told without listening.
    fn check_console(&self) -> Result<(), String> {
        let is_port = |port: &str| port.parse::<u16>().is_ok();
        match self.console.rsplit_once(':') {
            Some((host, port)) if !host.is_empty() && is_port(port) => Ok(()),
            None if self.console == "none" => Ok(()),
            _ => Err(format!(
                "`console: {}` is no address; write such as {}, or `none`",
                self.console,
                default_console()
            )),
        }
    }

    /// Reads a file; every path in it becomes relative to its folder.
    pub fn load(file: &Path) -> Result<Self, Failure> {
        let text = std::fs::read_to_string(file).map_err(|e| {
            let file = file.display();
            Failure::Input(format!("{file}: cannot be read: {e}; `--config` names the configuration file"))
        })?;
        let mut config: Config = serde_saphyr::from_str(&text).map_err(|e| {
            let (line, column) = e.location().map_or((0, 0), |l| (l.line(), l.column()));
            Failure::Input(format!("{}:{line}:{column}: {}", file.display(), e.without_snippet()))
        })?;
        let wrong = |what: String| Failure::Input(format!("{}: {what}", file.display()));
        if config.version != 1 {
            return Err(wrong(format!(
                "version {} is not known; this program reads version 1",
                config.version
            )));
        }
        if config.baselines.signed_only && config.baselines.trusted.is_empty() {
            return Err(wrong(
                "`baselines.signed_only` without anybody in `trusted`: nothing could ever be approved; `yagura baseline keygen` makes a key to name there".into(),
            ));
        }
        config.check_roles().map_err(wrong)?;
        config.check_console().map_err(wrong)?;
        let own = |cell: &&String| passing::detection_of(cell).is_some();
        let cells = || config.assets.iter().map(|asset| &asset.cell).chain([&config.default_cell]);
        if let Some(cell) = cells().find(own) {
            let own = passing::PLANT;
            return Err(wrong(format!("cell `{cell}`: names that begin with `{own}` are Yagura's own")));
        }
        for collector in &config.collectors {
            collector.check().map_err(|what| wrong(format!("collector {}: {what}", collector.name)))?;
        }
        if config.partitions == 0 || config.detect_threads == 0 {
            return Err(wrong("`partitions` and `detect_threads` are at least 1".into()));
        }
        if config.postgres.is_some() && config.archive.is_none() {
            return Err(wrong(
                "`postgres` asks the history, and there is none: add `archive: { store: data/history }`"
                    .into(),
            ));
        }
        if config.pace.is_some_and(|pace| pace <= 0.0 || !pace.is_finite()) {
            return Err(wrong("`pace` is more than 0".into()));
        }
        let folder = file.parent().unwrap_or(Path::new("")).to_path_buf();
        let place = |path: &mut PathBuf| *path = folder.join(&*path);
        place(&mut config.data);
        config.pipelines.iter_mut().for_each(place);
        config.archive.iter_mut().for_each(|archive| archive.place(&folder));
        config.plant_key_file.iter_mut().for_each(place);
        config.dictionaries.iter_mut().for_each(place);
        config.names.iter_mut().for_each(place);
        config.mutes.iter_mut().for_each(place);
        match &mut config.log {
            LogConfig::Embedded(embedded) => embedded.folder.iter_mut().for_each(place),
            LogConfig::Kafka(options) => {
                for path in options.files() {
                    place(path);
                    std::fs::File::open(&*path).map_err(|e| {
                        let path = path.display();
                        wrong(format!(
                            "{path}: cannot be read: {e}; put it there or correct the log's `security`"
                        ))
                    })?;
                }
            }
        }
        config.folder.clone_from(&folder);
        // Sinks and collectors keep their settings to themselves.
        config.certificates =
            serde_saphyr::from_str(&text).map(|all| certificates::named(&all)).unwrap_or_default();
        Ok(config)
    }
}
