//! The collect role: recorded sources into the log, live ones through the spool, each on a thread of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use anyhow::Context;
use yagura_collect::cursor::Cursor;
use yagura_collect::live;
use yagura_collect::run::{self, Destination, Progress};
use yagura_collect::spool::Spool;
use yagura_detect::worker::EVENTS;
use yagura_event::AssetTable;
use yagura_log::Log;

use crate::config::{Config, LogConfig};
use crate::plant::Sources;
use crate::run::{join, thread};

/// What the recorded sources are called together.
pub const RECORDINGS: &str = "recordings";

/// The collect role under way.
pub struct Collectors {
    /// What they have done.
    pub progress: Progresses,
    stop: Arc<AtomicBool>,
    /// Reads the recorded sources.
    recorded: JoinHandle<anyhow::Result<()>>,
    /// Each reads a live source.
    live: Vec<JoinHandle<anyhow::Result<()>>>,
    /// Moves what is in the spool, until nobody writes it any more.
    moving: Option<(Arc<AtomicBool>, JoinHandle<anyhow::Result<()>>)>,
}

/// What collectors have done: of the recorded sources together, of each live one, of the spool.
#[derive(Clone)]
pub struct Progresses {
    /// By name of the collector; the recorded ones come first, under [`RECORDINGS`].
    pub collectors: Vec<(String, Arc<Progress>)>,
    /// The spool, if there is one.
    pub spool: Option<Arc<Spool>>,
}

impl Progresses {
    /// Whether the recorded sources are read to their ends.
    pub fn recorded(&self) -> bool {
        self.collectors.first().is_none_or(|(_, recorded)| recorded.done.load(Ordering::Acquire))
    }

    /// Whether what was collected is in the log.
    pub fn is_moved(&self) -> bool {
        self.spool.as_ref().is_none_or(|spool| spool.waiting() == 0)
    }

    /// A sum over all collectors.
    pub fn sum(&self, of: impl Fn(&Progress) -> u64) -> u64 {
        self.collectors.iter().map(|(_, progress)| of(progress)).sum()
    }
}

impl Collectors {
    /// Opens the spool, if there is to be one, and starts reading.
    pub fn start(
        config: &Config,
        sources: Sources,
        assets: &Arc<AssetTable>,
        log: &Arc<dyn Log>,
    ) -> anyhow::Result<Self> {
        let Sources { recorded, live } = sources;
        let folder = config.data.join("spool");
        let spool = match &config.log {
            // What an earlier configuration left there is moved on, too.
            LogConfig::Kafka(_) if !live.is_empty() || folder.exists() => {
                Some(Arc::new(Spool::open(&folder, EVENTS, config.spool.bytes.0)?))
            }
            // The log is on this machine's disk itself.
            _ => None,
        };
        let stop = Arc::new(AtomicBool::new(false));
        let mut progress = Progresses { collectors: Vec::new(), spool: spool.clone() };
        let mut shared = |name: &str| {
            let fresh = Arc::new(Progress::default());
            progress.collectors.push((name.to_string(), Arc::clone(&fresh)));
            fresh
        };
        let recorded = {
            let (log, stop, assets) = (Arc::clone(log), Arc::clone(&stop), Arc::clone(assets));
            let (progress, pace) = (shared(RECORDINGS), config.pace);
            let cursor = match recorded.is_empty() {
                // Nobody asks it, and the log may be away.
                true => Cursor::default(),
                false => Cursor::load(log.as_ref(), EVENTS, Some(&config.data.join("collect.cursor")))?,
            };
            thread("collect", move || {
                if recorded.is_empty() {
                    progress.done.store(true, Ordering::Release);
                    return Ok(());
                }
                let destination = Destination { log: log.as_ref(), topic: EVENTS, cursor };
                run::collect(recorded, &assets, destination, pace, &stop, &progress)?;
                Ok(())
            })?
        };
        let mut lasting = Vec::new();
        for (source, cells) in live {
            let (log, spool, assets) = (Arc::clone(log), spool.clone(), Arc::clone(assets));
            let (stop, progress) = (Arc::clone(&stop), shared(source.collector()));
            let notes = config.data.clone();
            lasting.push(thread(&format!("collect-{}", source.collector()), move || {
                let log: &dyn Log = match &spool {
                    Some(spool) => spool.as_ref(),
                    None => log.as_ref(),
                };
                let to =
                    live::Destination { log, topic: EVENTS, assets: &assets, cells: &cells, notes: &notes };
                let name = source.collector().to_string();
                live::collect(source, to, &stop, &progress).with_context(|| format!("collector {name}"))
            })?);
        }
        let moving = spool.map(|spool| {
            let (log, stop) = (Arc::clone(log), Arc::new(AtomicBool::new(false)));
            let told = Arc::clone(&stop);
            let mover = thread("spool", move || Ok(spool.forward(log.as_ref(), &told)?))?;
            anyhow::Ok((stop, mover))
        });
        Ok(Collectors { progress, stop, recorded, live: lasting, moving: moving.transpose()? })
    }

    /// Whether a part of it ended on its own, which only a failure does.
    pub fn failed(&self) -> bool {
        (self.recorded.is_finished() && !self.progress.recorded())
            || self.live.iter().any(JoinHandle::is_finished)
            || self.moving.iter().any(|(_, mover)| mover.is_finished())
    }

    /// How far it is, for a person.
    pub fn line(&self) -> String {
        let read = self.progress.sum(|p| p.read.load(Ordering::Relaxed));
        let total = self.progress.sum(|p| p.total.load(Ordering::Relaxed));
        let dropped = self.progress.sum(|p| p.dropped.load(Ordering::Relaxed));
        let mut line = match (self.live.len(), dropped) {
            (0, _) => format!("{:3} %", read * 100 / total.max(1)),
            (_, 0) => "live".to_string(),
            (_, dropped) => format!("live, {dropped} packets or messages dropped"),
        };
        if let Some(spool) = self.progress.spool.as_ref().filter(|spool| spool.waiting() > 1000) {
            line += &format!(", {} records wait in the spool", spool.waiting());
        }
        line
    }

    /// Stops reading; what was read is in the log, or stays in the spool for the next start.
    pub fn stop(self) -> anyhow::Result<()> {
        self.stop.store(true, Ordering::Release);
        let mut outcome = join(self.recorded, "collect");
        for live in self.live {
            outcome = outcome.and(join(live, "collect"));
        }
        if let Some((stop, mover)) = self.moving {
            stop.store(true, Ordering::Release);
            outcome = outcome.and(join(mover, "the spool"));
        }
        outcome
    }
}
