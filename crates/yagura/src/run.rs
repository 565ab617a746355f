//! `run`: all roles in one process.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use prometheus::Registry;
use yagura_console::Health;
use yagura_detect::Pipeline;
use yagura_detect::worker::{self, ALERTS, EVENTS, Progress as Detecting};
use yagura_event::clock;
use yagura_log::{Log, LogError};
use yagura_respond::{Forwarder, Metrics as SinkMetrics, Progress as Forwarding};

use crate::archive::{ArchiveMetrics, Archiving};
use crate::certificates::Expiries;
use crate::collectors::Collectors;
use crate::config::{Config, LogConfig, Role};
use crate::handed;
use crate::metrics::RunMetrics;
use crate::mutes::Keeping;
use crate::nodes::{self, Nodes};
use crate::say::say;
use crate::serve::Serving;
use crate::watch::{SinksWatch, Watch};
use crate::{Failure, Format, plant};

/// Arguments of `run`.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Arguments {
    /// The configuration file.
    #[arg(long, short)]
    config: PathBuf,
    /// End when every recorded source is read, judged and forwarded.
    #[arg(long)]
    until_done: bool,
    /// What this process does, instead of what the configuration says.
    #[arg(long, value_delimiter = ',')]
    roles: Vec<Role>,
}

const HELP: &str = help!(
    "  yagura run --config yagura.yaml                until SIGINT or SIGTERM; goes on there when started again
  yagura run --config yagura.yaml --until-done   read the recordings to their ends, then end
  yagura run --config yagura.yaml --roles collect   only read sources; what is read waits in the spool for the log
  YAGURA_LOG=info yagura run -c yagura.yaml      with more log lines"
);

/// Runs until a signal, or until everything is done.
pub fn run(arguments: &Arguments, format: Format) -> Result<(), Failure> {
    let mut config = Config::load(&arguments.config)?;
    if !arguments.roles.is_empty() {
        config.roles.clone_from(&arguments.roles);
        config.check_roles().map_err(|what| Failure::Input(format!("--roles: {what}")))?;
    }
    let pipeline = plant::pipeline(&config.pipelines, &config.baselines)?;
    let mut running = Running::start(&config, &pipeline)?;
    running.announce(format);
    let progress = std::io::stderr().is_terminal();
    running.wait(arguments.until_done, |line| {
        if progress {
            show_progress(line);
        }
    })?;
    Ok(running.stop()?)
}

#[expect(clippy::print_stderr, reason = "progress for people")]
fn show_progress(line: &str) {
    eprint!("\r\x1b[K{line}");
}

/// A run under way.
pub struct Running {
    /// The log, for others to read along.
    pub log: Arc<dyn Log>,
    /// Where metrics are served, if they are.
    pub console: Option<std::net::SocketAddr>,
    collectors: Collectors,
    /// What detecting has done.
    pub detecting: Arc<Detecting>,
    forwarding: Vec<Arc<Forwarding>>,
    runtime: tokio::runtime::Runtime,
    signal: Arc<AtomicBool>,
    /// Ends what reports, or follows, figures of nodes.
    stop_nodes: Arc<AtomicBool>,
    nodes: Option<JoinHandle<anyhow::Result<()>>>,
    stop_detecting: Arc<AtomicBool>,
    stop_responding: tokio::sync::watch::Sender<bool>,
    detectors: Vec<JoinHandle<anyhow::Result<()>>>,
    /// Keeps the history, if that is wanted.
    archiving: Option<Archiving>,
    responders: Vec<tokio::task::JoinHandle<anyhow::Result<()>>>,
    /// Answers other programs.
    serving: Serving,
    /// Mutes that stand in files.
    mutes: Option<Keeping>,
    /// Where decisions are handed over, if nobody else can write the log.
    decisions: Option<PathBuf>,
}

impl Running {
    /// Opens everything, then starts every role of the configuration; nothing is started when anything is wrong.
    pub fn start(config: &Config, pipeline: &Arc<Pipeline>) -> Result<Running, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("the I/O threads cannot be started")?;
        let plant = plant::plant(config, runtime.handle())?;
        let sources = match config.has(Role::Collect) {
            true => plant::sources(config, &plant)?,
            false => plant::Sources::default(),
        };
        let mut sinks = Vec::new();
        for sink in config.sinks.iter().filter(|_| config.has(Role::Respond)) {
            let built = sink.build(&config.folder).map_err(|e| Failure::Input(e.to_string()))?;
            sinks.push((sink.name.clone(), built, sink.delivery.clone()));
        }
        std::fs::create_dir_all(&config.data)
            .with_context(|| format!("{}: the data folder cannot be made", config.data.display()))?;
        let log = match config.only_collects() {
            true => plant::eventual_log(config)?,
            false => {
                let log = plant::own_log(config)?;
                plant::ensure_topics(log.as_ref(), config.partitions)?;
                log
            }
        };

        let registry = Registry::new();
        let detecting = Arc::new(Detecting::default());
        let sink_metrics = SinkMetrics::register(&registry)?;
        let archive = config.archive.as_ref().filter(|_| config.has(Role::Archive));
        let archiving = archive.map(|archive| Archiving::start(archive, &log)).transpose()?;
        if let Some(archiving) = &archiving {
            registry.register(Box::new(ArchiveMetrics::new(Arc::clone(&archiving.progress))))?;
        }
        let collectors = Collectors::start(config, sources, &plant.assets, &log)?;
        registry.register(Box::new(RunMetrics::new(
            collectors.progress.clone(),
            Arc::clone(&detecting),
            Arc::clone(pipeline),
        )))?;
        registry.register(Box::new(Expiries::of(&config.certificates, &config.folder)?))?;
        let stop_nodes = Arc::new(AtomicBool::new(false));
        let nodes = nodes(config, &registry, &log, &stop_nodes)?;
        let (stop_responding, stopped) = tokio::sync::watch::channel(false);
        let forwarders: Vec<(String, Forwarder)> = sinks
            .into_iter()
            .map(|(name, sink, delivery)| {
                let forwarder = Forwarder::new(&name, sink, Arc::clone(&log), ALERTS, &sink_metrics);
                (name, forwarder.delivering(delivery))
            })
            .collect();
        let forwarding: Vec<(String, Arc<Forwarding>)> =
            forwarders.iter().map(|(name, forwarder)| (name.clone(), forwarder.progress())).collect();
        let console = match config.console.as_str() {
            "none" => None,
            address => Some(runtime.block_on(console(
                address,
                registry.clone(),
                Arc::clone(&log),
                config.has(Role::Detect).then(|| Arc::clone(&detecting)),
                forwarding.clone(),
                stopped.clone(),
            ))?),
        };

        let mut mutes = if config.has(Role::Respond) { Keeping::of(&config.mutes, &log)? } else { None };
        // Before the first alert goes anywhere.
        mutes.as_mut().map(Keeping::look).transpose()?;
        let serving = Serving::start(config, &log, runtime.handle(), &stopped, &registry)?;

        let signal = Arc::new(AtomicBool::new(false));
        listen_for_signals(&runtime, Arc::clone(&signal));
        let stop_detecting = Arc::new(AtomicBool::new(false));
        let mut detectors = Vec::new();
        let mut options = worker::Options::default();
        if let Some(every) = config.snapshot_every {
            options.snapshot_every = every.duration();
        }
        let threads = if config.has(Role::Detect) { config.detect_threads } else { 0 };
        for number in 0..threads {
            let (log, pipeline) = (Arc::clone(&log), Arc::clone(pipeline));
            let (stop, progress) = (Arc::clone(&stop_detecting), Arc::clone(&detecting));
            let options = options.clone();
            detectors.push(thread(&format!("detect-{number}"), move || {
                Ok(worker::run(log.as_ref(), &pipeline, &options, &stop, &progress)?)
            })?);
        }
        let responders = forwarders
            .into_iter()
            .map(|(_, forwarder)| {
                let mut stopped = stopped.clone();
                runtime.spawn(async move {
                    let stop = async move {
                        // The sender lives as long as the run.
                        let _ = stopped.wait_for(|stop| *stop).await;
                    };
                    Ok(forwarder.run(stop).await?)
                })
            })
            .collect();
        Ok(Running {
            log,
            console,
            collectors,
            detecting,
            forwarding: forwarding.into_iter().map(|(_, progress)| progress).collect(),
            runtime,
            signal,
            stop_nodes,
            nodes,
            stop_detecting,
            stop_responding,
            detectors,
            archiving,
            responders,
            serving,
            mutes,
            decisions: matches!(config.log, LogConfig::Embedded(_)).then(|| config.data.clone()),
        })
    }

    fn announce(&self, format: Format) {
        let log = self.log.describe();
        let metrics = self.console.map(|console| format!("http://{console}/metrics"));
        let history = self.archiving.as_ref().map(|archiving| &archiving.place);
        let (api, postgres) = (self.serving.api, self.serving.postgres);
        match format {
            Format::Text => {
                say!("log      {log}");
                if let Some(metrics) = &metrics {
                    say!("metrics  {metrics}");
                }
                if let Some(place) = history {
                    say!("history  {place}");
                }
                if let Some(api) = api {
                    say!("alerts   {api}/v1/openapi.json");
                }
                if let Some(postgres) = postgres {
                    say!("postgres {postgres}");
                }
            }
            Format::Json => {
                say!(
                    "{}",
                    serde_json::json!({"log": log, "metrics": metrics, "history": history, "api": api, "postgres": postgres})
                );
            }
        }
    }

    /// Waits for a signal, or until everything is done; says how far it is twice a second.
    pub fn wait(&mut self, until_done: bool, mut say: impl FnMut(&str)) -> anyhow::Result<()> {
        loop {
            std::thread::park_timeout(Duration::from_millis(if until_done { 50 } else { 500 }));
            say(&self.line());
            self.take_decisions();
            self.keep_mutes();
            if self.signal.load(Ordering::Acquire) {
                return Ok(());
            }
            // Whatever ended on its own has failed or is done; what failed is told by `stop`.
            if self.collectors.failed()
                || self.detectors.iter().any(JoinHandle::is_finished)
                || self.archiving.iter().flat_map(|a| &a.threads).any(JoinHandle::is_finished)
                || self.responders.iter().any(tokio::task::JoinHandle::is_finished)
            {
                return Ok(());
            }
            match until_done.then(|| self.is_done()) {
                Some(Ok(true)) => return Ok(()),
                // Who waits for the log keeps what it has; it is asked again.
                Some(Err(cause)) if !cause.retriable() => return Err(cause.into()),
                _ => {}
            }
        }
    }

    /// Appends what people decided while this instance holds the log.
    fn take_decisions(&self) {
        if let Some(data) = &self.decisions
            && let Err(cause) = handed::take(data, self.log.as_ref())
        {
            tracing::warn!(cause = format!("{cause:#}"), "a decision waits");
        }
    }

    /// Makes the log's mutes those of the files.
    fn keep_mutes(&mut self) {
        if let Some(Err(cause)) = self.mutes.as_mut().map(Keeping::look) {
            tracing::warn!(%cause, "mutes of files wait for the log");
        }
    }

    /// Whether a signal asked to stop.
    pub fn signalled(&self) -> bool {
        self.signal.load(Ordering::Acquire)
    }

    /// Whether everything collected is judged, its alerts are with every sink, and both are gathered
    /// for the history.
    fn is_done(&self) -> Result<bool, LogError> {
        if !self.collectors.progress.recorded() || !self.collectors.progress.is_moved() {
            return Ok(false);
        }
        if self.detectors.is_empty() {
            return Ok(true);
        }
        let done = self.detecting.done();
        for partition in 0..self.log.partitions(EVENTS)? {
            let held = self.log.held(EVENTS, partition)?;
            if !held.is_empty() && done.get(&partition).copied().unwrap_or(0) < held.end {
                return Ok(false);
            }
        }
        for partition in 0..self.log.partitions(ALERTS)? {
            let end = self.log.held(ALERTS, partition)?.end;
            let level =
                |sink: &Arc<Forwarding>| sink.committed().get(&partition).is_some_and(|&next| next >= end);
            if !self.forwarding.iter().all(level) {
                return Ok(false);
            }
        }
        self.archiving.as_ref().map_or(Ok(true), |a| a.has_all(self.log.as_ref()))
    }

    fn line(&self) -> String {
        let time =
            self.collectors.progress.collectors.iter().map(|(_, p)| p.time.load(Ordering::Relaxed)).max();
        let time = clock::time_of_day(time.unwrap_or(0) as i64);
        let rows: u64 = self.detecting.stats().values().map(|s| s.rows).sum();
        let alerts = self.detecting.alerts.load(Ordering::Relaxed);
        let far = self.collectors.line();
        format!("{far}  {time}  {rows} rows judged, {alerts} alerts")
    }

    /// Stops in the order of the data's way, so that what was collected is judged or will be.
    pub fn stop(self) -> anyhow::Result<()> {
        let collected = self.collectors.stop();
        self.stop_detecting.store(true, Ordering::Release);
        let mut outcome = collected;
        for detector in self.detectors {
            outcome = outcome.and(join(detector, "detect"));
        }
        if let Some(archiving) = self.archiving {
            archiving.stop();
            for archiver in archiving.threads {
                outcome = outcome.and(join(archiver, "archive"));
            }
        }
        self.stop_nodes.store(true, Ordering::Release);
        if let Some(nodes) = self.nodes {
            nodes.thread().unpark();
            outcome = outcome.and(join(nodes, "figures of nodes"));
        }
        self.stop_responding.send_replace(true);
        for responder in self.responders {
            let ended = self.runtime.block_on(responder).context("a sink ended with a panic");
            outcome = outcome.and(ended.and_then(|ended| ended));
        }
        self.runtime.shutdown_timeout(Duration::from_secs(2));
        outcome
    }
}

/// What takes figures from process to process: one that only collects reports its own, one that detects shows those
/// of others. Nothing where one process does everything in a log of its own.
fn nodes(
    config: &Config,
    registry: &Registry,
    log: &Arc<dyn Log>,
    stop: &Arc<AtomicBool>,
) -> anyhow::Result<Option<JoinHandle<anyhow::Result<()>>>> {
    if matches!(config.log, LogConfig::Embedded(_)) {
        return Ok(None);
    }
    let (log, stop) = (Arc::clone(log), Arc::clone(stop));
    if config.has(Role::Detect) {
        let nodes = Nodes::new()?;
        registry.register(Box::new(nodes.clone()))?;
        return thread("nodes", move || {
            nodes.follow(log.as_ref(), &stop);
            Ok(())
        })
        .map(Some);
    }
    let (node, registry) = (config.node(), registry.clone());
    thread("nodes", move || {
        nodes::report(&node, &registry, log.as_ref(), &stop);
        Ok(())
    })
    .map(Some)
}

/// Serves metrics and health until `stopped` turns true; answers the address.
async fn console(
    address: &str,
    registry: Registry,
    log: Arc<dyn Log>,
    detecting: Option<Arc<Detecting>>,
    forwarding: Vec<(String, Arc<Forwarding>)>,
    stopped: tokio::sync::watch::Receiver<bool>,
) -> anyhow::Result<std::net::SocketAddr> {
    let health = Health::new(Duration::from_secs(60));
    let watching = detecting.map(|detecting| {
        let ready = health.gate("detect", "no partition is assigned yet");
        (detecting, ready, Watch::new(health.clone()))
    });
    let mut sinks = SinksWatch::new(&health, forwarding.iter().map(|(name, _)| name));
    let bound = yagura_console::bind(address, registry, health).await?;
    let address = bound.address();
    let mut watched = stopped.clone();
    tokio::spawn(async move {
        let mut watching = watching;
        while !*watched.borrow() {
            sinks.look(forwarding.iter().map(|(_, progress)| progress.turns()));
            if let Some((detecting, ready, watch)) = &mut watching {
                let (log, progress) = (Arc::clone(&log), Arc::clone(detecting));
                // The log may take its time to answer.
                let ends = tokio::task::spawn_blocking(move || progress.look_at_ends(log.as_ref())).await;
                watch.look(&detecting.turns(), &detecting.done(), &ends.unwrap_or_default());
                if detecting.done().is_empty() {
                    ready.shut("no partition is assigned");
                } else {
                    ready.open();
                }
            }
            // Ends with the run, or after a second.
            let _ = tokio::time::timeout(Duration::from_secs(1), watched.changed()).await;
        }
    });
    let mut stopped = stopped;
    tokio::spawn(async move {
        let stop = async move {
            // The sender lives as long as the run.
            let _ = stopped.wait_for(|stop| *stop).await;
        };
        if let Err(cause) = bound.serve(stop).await {
            tracing::error!(%cause, "metrics and health are not served any more");
        }
    });
    Ok(address)
}

/// Starts a thread of the run.
pub fn thread(
    name: &str,
    work: impl FnOnce() -> anyhow::Result<()> + Send + 'static,
) -> anyhow::Result<JoinHandle<anyhow::Result<()>>> {
    std::thread::Builder::new().name(name.into()).spawn(work).context("a thread cannot be started")
}

/// Waits for a thread of the run.
pub fn join(handle: JoinHandle<anyhow::Result<()>>, name: &str) -> anyhow::Result<()> {
    match handle.join() {
        Ok(outcome) => outcome.with_context(|| format!("{name} ended")),
        Err(_) => Err(anyhow::anyhow!("{name} ended with a panic")),
    }
}

/// Sets `signal` when the process is asked to end.
pub fn listen_for_signals(runtime: &tokio::runtime::Runtime, signal: Arc<AtomicBool>) {
    runtime.spawn(async move {
        use tokio::signal::unix::{SignalKind, signal as listen};
        let (Ok(mut interrupt), Ok(mut terminate)) =
            (listen(SignalKind::interrupt()), listen(SignalKind::terminate()))
        else {
            return;
        };
        tokio::select! {
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        signal.store(true, Ordering::Release);
    });
}
