//! `sink`: whether receivers take alerts, and what they refused.

use std::collections::BTreeSet;
use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;
use yagura_event::clock;
use yagura_log::{Log, Whole};
use yagura_respond::undelivered::{Letter, UNDELIVERED};
use yagura_respond::{SinkConfig, Verdict, probe};

use crate::config::Config;
use crate::say::say;
use crate::tap::plain;
use crate::{Failure, Format, plant};

/// Arguments of `sink`.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Arguments {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Send one alert that is marked as a test, and say what the receiver's answer means.
    Test {
        /// The sink's name; every sink without one.
        name: Option<String>,
        /// The configuration file.
        #[arg(long, short)]
        config: PathBuf,
    },
    /// List the alerts that receivers refused for good, with their words.
    Refused {
        /// The sink's name; every sink without one.
        name: Option<String>,
        /// The configuration file.
        #[arg(long, short)]
        config: PathBuf,
    },
}

const HELP: &str = help!(
    "  yagura sink test siem -c yagura.yaml      one test alert to the sink `siem`
  yagura sink test -c yagura.yaml           to every sink
  yagura sink refused -c yagura.yaml        alerts that a receiver refused for good"
);

/// Tests or lists.
pub fn run(arguments: &Arguments, format: Format) -> Result<(), Failure> {
    match &arguments.action {
        Action::Test { name, config } => {
            let config = Config::load(config)?;
            test(&config, &chosen(&config, name.as_deref())?, format)
        }
        Action::Refused { name, config } => {
            let config = Config::load(config)?;
            refused(plant::following(&config)?.as_ref(), name.as_deref(), format)
        }
    }
}

fn chosen<'a>(config: &'a Config, name: Option<&str>) -> Result<Vec<&'a SinkConfig>, Failure> {
    let all = config.sinks.iter();
    let chosen: Vec<&SinkConfig> = all.filter(|sink| name.is_none_or(|name| sink.name == name)).collect();
    if chosen.is_empty() {
        let all: Vec<&str> = config.sinks.iter().map(|sink| sink.name.as_str()).collect();
        let what = match name {
            Some(name) => format!("there is no sink `{name}`; the configuration has: {}", all.join(", ")),
            None => "the configuration has no `sinks`".into(),
        };
        return Err(Failure::Input(what));
    }
    Ok(chosen)
}

fn test(config: &Config, sinks: &[&SinkConfig], format: Format) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let mut failed = 0;
    for sink in sinks {
        let mut built = sink.build(&config.folder).map_err(|e| Failure::Input(e.to_string()))?;
        if built.needs_log() {
            built.attach(&plant::log(config, false)?);
        }
        let (meaning, receiver) = (built.meaning(), built.describe());
        let probed = runtime.block_on(probe(&sink.name, built.as_ref()));
        let (id, millis) = match &probed {
            Ok(probed) => (Some(&probed.revision_uid), Some(probed.took.as_millis() as u64)),
            Err(_) => (None, None),
        };
        let (taken, said) = match &probed {
            Ok(probed) => match &probed.verdict {
                Verdict::Taken => (true, meaning.words.to_string()),
                Verdict::Refused(words) => (false, format!("it refused the test alert: {words}")),
            },
            Err(cause) => (false, cause.to_string()),
        };
        failed += usize::from(!taken);
        match format {
            Format::Json => say!(
                "{}",
                json!({
                    "sink": sink.name, "kind": sink.kind, "receiver": receiver, "acknowledged": taken && meaning.guaranteed,
                    "handed_over": taken, "guaranteed": meaning.guaranteed, "said": said, "revision_uid": id,
                    "milliseconds": millis,
                })
            ),
            Format::Text => {
                let mark = match (taken, meaning.guaranteed) {
                    (true, true) => "acknowledged",
                    (true, false) => "handed over, without guarantee",
                    (false, _) => "FAILED",
                };
                say!("{}  {}: {mark}", sink.name, plain(&receiver));
                say!("    {}", plain(&said));
                if let (Some(id), Some(millis)) = (id, millis) {
                    say!("    {millis} ms; look there for {id}");
                }
            }
        }
    }
    match failed {
        0 => Ok(()),
        n => {
            Err(Failure::Failed(anyhow::anyhow!("{n} of {} sinks did not take the test alert", sinks.len())))
        }
    }
}

/// Prints each refused alert once: a crash may have written one twice.
fn refused(log: &dyn Log, name: Option<&str>, format: Format) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    Whole::of(UNDELIVERED).read(log, |_, stored| {
        let Some(Letter { sink, reason, time, alert }) = &Letter::of(&stored.record) else { return };
        if name.is_some_and(|name| name != sink) || !seen.insert((sink.clone(), alert.uid, alert.revision)) {
            return;
        }
        match format {
            Format::Json => say!(
                "{}",
                json!({ "sink": sink, "reason": reason, "time": clock::rfc3339(*time), "alert": alert })
            ),
            Format::Text => {
                say!("{}  {sink}  {}  {}", clock::rfc3339(*time), alert.uid, plain(&alert.title));
                say!("    {}", plain(reason));
            }
        }
    })?;
    if format == Format::Text {
        say!("{} alerts refused", seen.len());
    }
    Ok(())
}
