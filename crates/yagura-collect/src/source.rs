//! What a source is: something that is read to its end, or as it happens.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use yagura_capture::EngineOptions;
use yagura_door::{Fresh, Unusable};
use yagura_event::AssetTable;
use yagura_event::clock::Micros;
use yagura_event::rows::{OwnedRow, RowSink};
use yagura_log::{Log, LogError};

use crate::names::NameTable;
use crate::places::{PlacedSink, Places};

/// Something that is read to its end.
pub trait Source: Send {
    /// Name of its collector.
    fn collector(&self) -> &str;

    /// A fingerprint of what is read: the same content has the same, so that reading it again
    /// gives rows the same numbers.
    fn epoch(&self) -> u64;

    /// The time of what comes next; `None` at the end.
    fn next_time(&mut self) -> Option<Micros>;

    /// Reads what comes next.
    fn advance(&mut self, out: &mut dyn RowSink);

    /// The end was reached: whatever still waits becomes rows.
    fn finish(&mut self, out: &mut dyn RowSink);

    /// Bytes read so far, and in all.
    fn progress(&self) -> (u64, u64);
}

/// Something that is read as it happens, by one thread.
///
/// A source that can be read again from somewhere (a file, a topic) says where each row stands
/// ([`PlacedSink::at`]): the log then knows how far it was read, and a restart goes on exactly there.
/// One that acknowledges to its sender what it took does so when it is told that it is durable.
pub trait LiveSource: Send {
    /// Name of its collector.
    fn collector(&self) -> &str;

    /// Rows are handed to the log after this much of the collector's clock.
    fn batch(&self) -> Micros;

    /// Whether its rows have places ([`PlacedSink::at`]), so that the log is asked for them at the start.
    fn placed(&self) -> bool {
        false
    }

    /// Called once before anything is read: where its streams were read to, and the folder where it may keep what it
    /// wants to know after a restart, in files whose names begin with its own. Listens, where it listens.
    fn begin(&mut self, _places: &Places, _notes: &Path) -> Result<(), SourceError> {
        Ok(())
    }

    /// Reads what came, or waits for something, at most for `wait`. Answers the collector's clock:
    /// no row observed before will follow. Takes a bounded amount: rows are closed, and times looked
    /// at, only between two calls.
    fn advance(&mut self, wait: Duration, out: &mut dyn PlacedSink) -> Micros;

    /// Whether somebody can send no more until what was put out is durable: it is made so now, before the batch is
    /// due.
    fn urgent(&self) -> bool {
        false
    }

    /// Everything that was put out before is durable, in the log or in the spool before it: what was
    /// taken may be acknowledged to whoever sent it.
    fn durable(&mut self) {}

    /// Stops, and reads what came before.
    fn finish(&mut self, out: &mut dyn PlacedSink);

    /// What it has read and lost so far.
    fn seen(&self) -> Seen;
}

/// What a live source has read and lost.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    /// What its packets were, if it reads packets.
    pub stats: yagura_capture::Stats,
    /// What was lost, wherever: packets, messages, lines.
    pub dropped: u64,
}

/// The settings of one kind of source, as users write them beside `name` and `kind`. Derive
/// `Deserialize` with `deny_unknown_fields`.
pub trait Settings: DeserializeOwned {
    /// What users write after `kind:`.
    const KIND: &'static str;

    /// What it reads, in half a line.
    const READS: &'static str;

    /// Checks what the types cannot, reads the files it names, and makes the source. Neither listens nor connects.
    fn open(self, at: &Opening<'_>) -> Result<Opened, SourceError>;

    /// Connects as the source would, read-only, and answers in a line what it found; an error says what is
    /// wrong (name, certificate, policy, credentials) and what to do. Opens it, where nothing else is to be tried.
    fn probe(self, at: &Opening<'_>) -> Result<String, SourceError> {
        self.open(at).map(|_| "can be read".into())
    }
}

/// What settings become.
pub enum Opened {
    /// Read to its end.
    Recorded(Box<dyn Source>),
    /// Read as it happens.
    Live(Box<dyn LiveSource>),
}

/// Where and for whom a source is opened.
pub struct Opening<'a> {
    /// Name of the collector.
    pub collector: &'a str,
    /// Where relative paths begin.
    pub folder: &'a Path,
    /// What all sources share.
    pub plant: &'a Plant,
}

impl Opening<'_> {
    /// A path of the settings.
    pub fn path(&self, path: &Path) -> PathBuf {
        self.folder.join(path)
    }

    /// An error in the settings of this collector.
    pub fn wrong(&self, problem: impl Into<String>) -> SourceError {
        SourceError::Setting { collector: self.collector.into(), problem: problem.into() }
    }

    /// A file that cannot be used.
    pub fn unreadable(&self, file: &Path, cause: impl std::fmt::Display) -> SourceError {
        SourceError::Open { file: file.display().to_string(), cause: format!("cannot be read: {cause}") }
    }

    /// What cannot be used of a port that listens.
    pub fn unusable(&self, problem: Unusable) -> SourceError {
        match problem {
            Unusable::File { file, cause } => self.unreadable(&file, cause),
            Unusable::Setting(problem) => self.wrong(problem),
        }
    }

    /// A secret out of a file, without the line's end.
    pub fn secret(&self, file: &Path) -> Result<String, SourceError> {
        yagura_door::secret(&self.path(file)).map_err(|problem| self.unusable(problem))
    }

    /// Something that is made of files of the settings, and made anew when they change.
    pub fn fresh<T>(
        &self,
        files: &[&Path],
        make: impl Fn(&Opening<'_>) -> Result<T, SourceError> + Send + Sync + 'static,
    ) -> Result<Fresh<T>, SourceError> {
        let paths = files.iter().map(|file| self.path(file)).collect();
        let (collector, folder, plant) =
            (self.collector.to_string(), self.folder.to_owned(), self.plant.clone());
        Fresh::new(paths, move || make(&Opening { collector: &collector, folder: &folder, plant: &plant }))
    }
}

/// What all sources of a plant share.
#[derive(Clone)]
pub struct Plant {
    /// The asset table.
    pub assets: Arc<AssetTable>,
    /// Dictionaries and keys that dissectors use.
    pub dissect: Arc<yagura_dissect::Settings>,
    /// How the plant calls what sources name.
    pub names: Arc<NameTable>,
    /// Where connections are served: a runtime of at least one thread, with I/O and time.
    pub runtime: tokio::runtime::Handle,
    /// How the logs of others are opened.
    pub open_log: OpenLog,
}

/// Connects to the log of somebody else, by its settings (as those of a Kafka log) and the folder in which relative
/// paths begin. It is only read.
pub type OpenLog = Arc<dyn Fn(&serde_json::Value, &Path) -> Result<Arc<dyn Log>, LogError> + Send + Sync>;

/// An [`OpenLog`] for programs that know none.
pub fn no_log() -> OpenLog {
    Arc::new(|_, _| {
        let cause = "this program reads no logs of others".into();
        Err(LogError::Client { what: "opening a log".into(), cause, retry: false })
    })
}

impl Plant {
    /// A plant of which nothing is known, whose connections are served there.
    pub fn unknown(runtime: &tokio::runtime::Handle) -> Plant {
        Plant {
            assets: Arc::default(),
            dissect: Arc::default(),
            names: Arc::default(),
            runtime: runtime.clone(),
            open_log: no_log(),
        }
    }

    /// Settings for reading packets.
    pub fn engine(&self, limits: Option<yagura_capture::Limits>) -> EngineOptions {
        EngineOptions {
            assets: Arc::clone(&self.assets),
            settings: Arc::clone(&self.dissect),
            limits: limits.unwrap_or_default(),
        }
    }
}

/// Why a source cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file cannot be opened.
    #[error("{file}: {cause}")]
    Open {
        /// The file.
        file: String,
        /// Why not, and what to do.
        cause: String,
    },
    /// Packets cannot be captured.
    #[error(transparent)]
    Live(#[from] yagura_capture::live::LiveError),
    /// A setting names something that does not exist, or contradicts another.
    #[error("collector {collector}: {problem}")]
    Setting {
        /// Name of the collector.
        collector: String,
        /// What is wrong, and what to write instead.
        problem: String,
    },
    /// The other side cannot be reached or refuses.
    #[error("{peer}: {cause}; {remedy}")]
    Peer {
        /// Who: an address or URL.
        peer: String,
        /// What happened.
        cause: String,
        /// What to do.
        remedy: String,
    },
    /// A file of names or of a dictionary is wrong.
    #[error("{0}")]
    Table(String),
}

impl PlacedSink for Vec<OwnedRow> {}

/// Listens for connections.
pub(crate) fn bind(address: SocketAddr) -> Result<TcpListener, SourceError> {
    let bound =
        TcpListener::bind(address).and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    bound.map_err(|e| cannot_listen(address, &e))
}

/// Why nothing can be received at an address of this machine.
pub(crate) fn cannot_listen(address: SocketAddr, cause: &std::io::Error) -> SourceError {
    SourceError::Peer {
        peer: address.to_string(),
        cause: format!("cannot listen: {cause}"),
        remedy: "stop what listens there, give another address of this machine, or, for a port below 1024, the capability cap_net_bind_service".into(),
    }
}
