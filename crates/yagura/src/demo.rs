//! `demo`: a recorded fab cell through the very pipeline that `run` uses.

use std::collections::BTreeMap;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use serde_json::json;
use yagura_collect::sources::CollectorConfig;
use yagura_detect::worker::{ALERTS, EVENTS};
use yagura_event::clock;
use yagura_event::{Alert, Kind};
use yagura_log::{Log, Reader};
use yagura_respond::text::{Style, render};
use yagura_scene::{Scene, SceneOptions};

use crate::archive::ArchiveConfig;
use crate::config::Config;
use crate::run::Running;
use crate::say::{over, say};
use crate::{Failure, Format, plant};

/// Arguments of `demo`.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Arguments {
    /// Where the scene and its history are kept; what an earlier demo left there is replaced.
    #[arg(long, default_value = "yagura-data/demo")]
    data: PathBuf,
    /// The same production without attacks and faults: nothing may alert.
    #[arg(long)]
    ordinary: bool,
    /// Seed of the scene's random numbers.
    #[arg(long, default_value_t = SceneOptions::default().seed)]
    seed: u64,
    /// Address of /metrics; port 0 takes a free one.
    #[arg(long, default_value = "127.0.0.1:9600")]
    console: String,
    /// Seconds of the scene that pass in one second; as fast as possible without.
    #[arg(long)]
    pace: Option<f64>,
    /// Go on serving /metrics at the end until interrupted. On a terminal that is the default.
    #[arg(long)]
    stay: bool,
}

const HELP: &str = help!(
    "  yagura demo                          attacks and faults in a made-up etch bay, and their alerts
  yagura demo --ordinary --seed 2      ordinary production: no alert
  yagura demo --pace 60 --stay         a minute each second; /metrics stays until interrupted"
);

/// Plays the scene; exit code 1 if its alerts are not those that its script foresees.
pub fn run(arguments: &Arguments, format: Format) -> Result<(), Failure> {
    let scene = record(arguments)?;
    let config = configure(arguments, &scene)?;
    let pipeline = plant::pipeline(&config.pipelines, &config.baselines)?;
    let teller = Teller::new(format);
    teller.introduce(&scene, arguments);
    let mut running = Running::start(&config, &pipeline);
    if running.is_err() && arguments.console == "127.0.0.1:9600" {
        // The customary port may be taken; a free one serves as well.
        running = Running::start(&Config { console: "127.0.0.1:0".into(), ..config.clone() }, &pipeline);
    }
    let mut running = running?;
    teller.address(&running);
    let mut tail = Tail::new(running.log.as_ref())?;
    let mut alerts: Vec<Alert> = Vec::new();
    let mut failed = None;
    let log = Arc::clone(&running.log);
    running.wait(true, |line| {
        match tail.next(log.as_ref()) {
            Ok(new) => {
                for alert in new {
                    teller.alert(&alert);
                    alerts.push(alert);
                }
            }
            Err(cause) => failed = Some(cause),
        }
        teller.progress(line);
    })?;
    if let Some(cause) = failed {
        return Err(cause.into());
    }
    for alert in tail.next(running.log.as_ref())? {
        teller.alert(&alert);
        alerts.push(alert);
    }
    let interrupted = running.signalled();
    let missed = if interrupted { Vec::new() } else { check(&scene, &alerts) };
    teller.conclude(&scene, &alerts, &missed, &running, &config)?;
    let stay = arguments.stay || (std::io::stdout().is_terminal() && format == Format::Text);
    if stay && !interrupted {
        teller.stays(&running);
        running.wait(false, |_| {})?;
    }
    running.stop()?;
    if missed.is_empty() {
        Ok(())
    } else {
        Err(anyhow::anyhow!("the alerts are not those of the script:\n{}", missed.join("\n")).into())
    }
}

/// Writes the scene into a fresh folder.
fn record(arguments: &Arguments) -> Result<Scene, Failure> {
    for old in ["scene", "log", "history"] {
        let old = arguments.data.join(old);
        if old.exists() {
            if old.ends_with("log") {
                // A demo that still runs holds the lock: its history is not taken away.
                drop(yagura_log::embedded::Embedded::open(&old, yagura_log::embedded::Options::default())?);
            }
            std::fs::remove_dir_all(&old)
                .with_context(|| format!("{}: cannot be replaced", old.display()))?;
        }
    }
    // Only the last demo's note may be meant, which may be missing.
    let _ = std::fs::remove_file(arguments.data.join("collect.cursor"));
    let options = SceneOptions { seed: arguments.seed, incidents: !arguments.ordinary };
    Ok(yagura_scene::write(&arguments.data.join("scene"), &options)?)
}

/// The scene as `run` would be told about it.
fn configure(arguments: &Arguments, scene: &Scene) -> Result<Config, Failure> {
    let key = arguments.data.join("scene/plant.key");
    std::fs::write(&key, &scene.plant_key)
        .with_context(|| format!("{}: cannot be written", key.display()))?;
    let collector = |settings| CollectorConfig::new(settings).map_err(Failure::Input);
    let lines = |name: &str, path: &Path, kind: Kind, columns: &[(&str, &str)]| {
        let columns: BTreeMap<&str, &str> = columns.iter().copied().collect();
        let mapping = json!({ "as": kind, "columns": columns });
        collector(json!({ "name": name, "kind": "jsonl", "path": path, "mapping": mapping }))
    };
    let release = [
        ("action", "release"),
        ("subject", "recipe-body-not-released"),
        ("payload", r#"{"target":"${recipe}","body_hmac":"${body_hmac}"}"#),
    ];
    // The start command carries the hash of the body that was downloaded last.
    let start = [("action", "release"), ("subject", "unreleased-recipe-started"), release[2]];
    let badge = [
        ("tool", "${door}"),
        ("category", "badge"),
        ("user", "${holder}"),
        ("description", "${holder} ${event} ${door}"),
    ];
    Ok(Config {
        data: arguments.data.clone(),
        archive: Some(ArchiveConfig::into_store(arguments.data.join("history").display().to_string())),
        assets: scene.assets.clone(),
        default_cell: scene.cell.into(),
        plant_key_file: Some(key),
        dictionaries: vec![scene.dictionary.clone()],
        collectors: vec![
            lines("recipe-master", &scene.releases, Kind::Control, &release)?,
            lines("recipe-master-starts", &scene.releases, Kind::Control, &start)?,
            collector(json!({ "name": "mirror-port", "kind": "packets", "path": scene.packets }))?,
            lines("fdc-collector", &scene.telemetry, Kind::Sample, &[])?,
            lines("fdc-coverage", &scene.coverage, Kind::Coverage, &[])?,
            lines("badge-readers", &scene.badges, Kind::Log, &badge)?,
            lines("shift", &scene.control, Kind::Control, &[])?,
        ],
        pace: arguments.pace,
        console: arguments.console.clone(),
        ..Config::default()
    })
}

/// Follows the topic of alerts.
struct Tail {
    readers: Vec<Box<dyn Reader>>,
}

impl Tail {
    fn new(log: &dyn Log) -> anyhow::Result<Self> {
        let partitions = 0..log.partitions(ALERTS)?;
        Ok(Tail { readers: partitions.map(|p| log.reader(ALERTS, p, 0)).collect::<Result<_, _>>()? })
    }

    fn next(&mut self, log: &dyn Log) -> anyhow::Result<Vec<Alert>> {
        let mut out = Vec::new();
        for (partition, reader) in self.readers.iter_mut().enumerate() {
            while reader.position() < log.held(ALERTS, partition as u32)?.end {
                for stored in reader.read(1 << 20, Duration::from_secs(1))? {
                    out.extend(yagura_respond::alerts_of(&stored.record)?);
                }
            }
        }
        Ok(out)
    }
}

/// What differs from the script: each act's alert once and in time, and no other.
fn check(scene: &Scene, alerts: &[Alert]) -> Vec<String> {
    let mut out = Vec::new();
    let mut left: Vec<&Alert> = alerts.iter().filter(|a| a.revision == 1).collect();
    for act in &scene.script {
        let Some(expected) = act.expected else { continue };
        let until = act.time + i64::from(act.within_s) * clock::SECOND;
        let found = left.iter().position(|a| {
            a.detection == expected
                && is_about(a, act.tool)
                && a.time >= act.time
                && a.time <= until
                && act.queue == Some(a.queue)
        });
        match found {
            Some(index) => {
                left.remove(index);
            }
            None => out.push(format!("no alert {expected} of {} for: {}", act.tool, act.title)),
        }
    }
    out.extend(
        left.iter()
            .map(|a| format!("an alert more: {} {} {}", clock::time_of_day(a.time), a.detection, a.summary)),
    );
    out
}

/// A coverage row names what it concerns as its subject.
fn is_about(alert: &Alert, tool: &str) -> bool {
    alert.tool == tool || alert.key.get("subject").is_some_and(|subject| subject == tool)
}

/// What people (or programs) are told.
struct Teller {
    format: Format,
    style: Style,
    live: bool,
}

impl Teller {
    fn new(format: Format) -> Self {
        let terminal = std::io::stdout().is_terminal();
        let colour = terminal && std::env::var_os("NO_COLOR").is_none();
        Teller { format, style: Style { colour, width: 96 }, live: terminal && format == Format::Text }
    }

    fn text(&self) -> bool {
        self.format == Format::Text
    }

    fn introduce(&self, scene: &Scene, arguments: &Arguments) {
        if self.text() {
            say!(
                "This is a recording: {} minutes of the made-up fab cell `{}`, seed {}, made just now. Everything\n\
                 after it is real: its {} packets and its records go through the pipeline that `yagura run` uses.\n",
                scene.duration_s / 60,
                scene.cell,
                arguments.seed,
                scene.frames
            );
        }
    }

    fn address(&self, running: &Running) {
        if self.text() {
            if let Some(console) = running.console {
                say!("metrics  http://{console}/metrics");
            }
            say!("log      {}\n", running.log.describe());
        }
    }

    fn progress(&self, line: &str) {
        if self.live {
            over(line);
        }
    }

    fn alert(&self, alert: &Alert) {
        if self.live {
            over("");
        }
        match self.format {
            Format::Json => {
                if let Ok(text) = serde_json::to_string(alert) {
                    say!("{text}");
                }
            }
            Format::Text if alert.revision == 1 => say!("{}", render(alert, self.style)),
            Format::Text => {}
        }
    }

    fn conclude(
        &self,
        scene: &Scene,
        alerts: &[Alert],
        missed: &[String],
        running: &Running,
        config: &Config,
    ) -> anyhow::Result<()> {
        if !self.text() {
            return Ok(());
        }
        if self.live {
            over("");
        }
        let stats = running.detecting.stats();
        let rows: u64 = stats.values().map(|s| s.rows).sum();
        let new: Vec<&Alert> = alerts.iter().filter(|a| a.revision == 1).collect();
        let early = new.iter().filter(|a| a.time < scene.approval).count();
        let mut queues: BTreeMap<&str, usize> = BTreeMap::new();
        for alert in &new {
            *queues.entry(alert.queue.name()).or_default() += 1;
        }
        let queues: Vec<String> = queues.iter().map(|(name, count)| format!("{count} {name}")).collect();
        let events: u64 = (0..running.log.partitions(EVENTS)?)
            .map(|p| running.log.held(EVENTS, p).map(|held| held.end))
            .sum::<Result<u64, _>>()?;
        say!("The scene, and what was made of it:");
        for act in &scene.script {
            let word = match act.expected {
                None => "     ",
                Some(_) if missed.iter().any(|m| m.ends_with(act.title)) => "MISS ",
                Some(_) => "alert",
            };
            say!("  {}  {word}  {}", clock::time_of_day(act.time), act.title);
        }
        say!(
            "\n{rows} rows in {events} log records judged; {} alerts ({}); {early} in the ordinary part before {}.",
            new.len(),
            if queues.is_empty() { "none".into() } else { queues.join(", ") },
            clock::time_of_day(scene.approval)
        );
        say!(
            "The packets are in {}, the log in {}; the history answers SQL:\n  yagura query --history {} \"SELECT time, tool, title FROM alert\"",
            scene.packets.display(),
            config.data.join("log").display(),
            config.data.join("history").display()
        );
        Ok(())
    }

    fn stays(&self, running: &Running) {
        match running.console {
            Some(console) => say!("http://{console}/metrics is served until you press Ctrl-C."),
            None => say!("It goes on until you press Ctrl-C."),
        }
    }
}
