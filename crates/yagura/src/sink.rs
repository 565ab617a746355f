//! `sink`: whether receivers take alerts, and what they refused.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::json;
use yagura_detect::worker::ALERTS;
use yagura_event::clock;
use yagura_log::Log;
use yagura_respond::undelivered::{Letter, Letters, UNDELIVERED};
use yagura_respond::{Sink, SinkConfig, Verdict, probe, resend, to_resend};

use crate::config::Config;
use crate::say::say;
use crate::tap::plain;
use crate::{Failure, Format, handed, plant};

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
        /// Those that were sent again and taken, too.
        #[arg(long)]
        all: bool,
    },
    /// Send what a receiver refused for good once more, after a mend.
    Resend {
        /// The sink's name.
        name: String,
        /// The configuration file.
        #[arg(long, short)]
        config: PathBuf,
        /// Only those whose id begins so; may be given several times.
        #[arg(long)]
        id: Vec<String>,
    },
}

const HELP: &str = help!(
    "  yagura sink test siem -c yagura.yaml      one test alert to the sink `siem`
  yagura sink test -c yagura.yaml           to every sink
  yagura sink refused -c yagura.yaml        alerts that a receiver refused for good
  yagura sink resend siem -c yagura.yaml    once more, when the receiver is mended"
);

/// Tests or lists.
pub fn run(arguments: &Arguments, format: Format) -> Result<(), Failure> {
    match &arguments.action {
        Action::Test { name, config } => {
            let config = Config::load(config)?;
            test(&config, &chosen(&config, name.as_deref())?, format)
        }
        Action::Refused { name, config, all } => {
            let config = Config::load(config)?;
            refused(plant::following(&config)?.as_ref(), name.as_deref(), *all, format)
        }
        Action::Resend { name, config, id } => {
            let config = Config::load(config)?;
            let sinks = chosen(&config, Some(name))?;
            sinks.iter().try_for_each(|sink| send_again(&config, sink, id, format))
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
fn refused(log: &dyn Log, name: Option<&str>, all: bool, format: Format) -> Result<(), Failure> {
    let letters = Letters::of(log)?;
    let of_name = |letter: &Letter| name.is_none_or(|name| name == letter.sink);
    let (mut shown, mut taken) = (0, 0);
    for (letter, resent) in letters.iter().filter(|(letter, _)| of_name(letter)) {
        taken += usize::from(resent.is_some());
        if resent.is_some() && !all {
            continue;
        }
        shown += 1;
        let Letter { sink, reason, time, alert, decided } = letter;
        let (id, time, resent) =
            (letter.message().revision_uid(), clock::rfc3339(*time), resent.map(clock::rfc3339));
        match format {
            Format::Json => say!(
                "{}",
                json!({
                    "sink": sink, "reason": reason, "time": time, "revision_uid": id, "alert": alert,
                    "decided": decided, "resent": resent,
                })
            ),
            Format::Text => {
                let resent = resent.map_or(String::new(), |time| format!("  sent again, and taken, {time}"));
                say!("{time}  {sink}  {id}  {}{resent}", plain(&alert.title));
                say!("    {}", plain(reason));
            }
        }
    }
    if format == Format::Text {
        match taken {
            0 => say!("{shown} alerts refused"),
            n if all => say!("{shown} alerts refused; {n} of them were sent again and taken"),
            n => say!("{shown} alerts refused; {n} more were sent again and taken (`--all` shows them)"),
        }
    }
    Ok(())
}

/// Sends letters of a sink again, and writes down which of them were taken.
fn send_again(config: &Config, sink: &SinkConfig, ids: &[String], format: Format) -> Result<(), Failure> {
    let log = plant::following(config)?;
    let letters = Letters::of(log.as_ref())?;
    let mine = letters.standing().filter(|letter| letter.sink == sink.name);
    let mine: Vec<(String, &Letter)> = mine.map(|letter| (letter.message().revision_uid(), letter)).collect();
    if let Some(id) = ids.iter().find(|id| !mine.iter().any(|(of, _)| of.starts_with(id.as_str()))) {
        return Err(Failure::Input(format!(
            "nothing that `{}` refused has an id that begins with `{id}`; `yagura sink refused` lists what stands",
            sink.name
        )));
    }
    let wanted = |of: &str| ids.is_empty() || ids.iter().any(|id| of.starts_with(id.as_str()));
    let mine: Vec<Letter> =
        mine.into_iter().filter(|(of, _)| wanted(of)).map(|(_, letter)| letter.clone()).collect();
    let mut built = sink.build(&config.folder).map_err(|e| Failure::Input(e.to_string()))?;
    if built.needs_log() {
        built.attach(&plant::log(config, false)?);
    }
    let sent = send(log.as_ref(), built.as_ref(), sink, &mine, format)?;
    let now = clock::now();
    let taken: Vec<_> = sent.taken.iter().map(|letter| letter.taken_record(now)).collect();
    // What is attached would hold the log that is written to.
    drop(built);
    if !taken.is_empty() {
        handed::write(config, &[(UNDELIVERED, taken)])?;
    }
    if format == Format::Text {
        say!("{} of {} taken, {} refused again", sent.taken.len(), mine.len(), sent.refused);
    }
    match sent.trouble {
        Some(trouble) => Err(Failure::Failed(anyhow::anyhow!("{trouble}"))),
        None if sent.refused > 0 => {
            Err(Failure::Failed(anyhow::anyhow!("`{}` refused {} again", sink.name, sent.refused)))
        }
        None => Ok(()),
    }
}

/// What came of sending again.
#[derive(Default)]
struct Sent<'a> {
    taken: Vec<&'a Letter>,
    refused: usize,
    /// What ended it before every letter had its answer.
    trouble: Option<yagura_respond::SinkError>,
}

fn send<'a>(
    log: &dyn Log,
    built: &dyn Sink,
    sink: &SinkConfig,
    letters: &'a [Letter],
    format: Format,
) -> Result<Sent<'a>, Failure> {
    let mut sent = Sent::default();
    if letters.is_empty() {
        return Ok(sent);
    }
    let news = to_resend(log, ALERTS, &sink.delivery, letters)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let outcome = runtime.block_on(resend(built, &news, |number, verdict| {
        // Behind the letters is what their alerts came to since.
        let letter = letters.get(number);
        let (id, title) = (news[number].message().revision_uid(), plain(&news[number].alert.title));
        let words = match &verdict {
            Verdict::Taken => None,
            Verdict::Refused(words) => Some(plain(words)),
        };
        match (&words, letter) {
            (None, Some(letter)) => sent.taken.push(letter),
            (None, None) => {}
            (Some(_), _) => sent.refused += 1,
        }
        match format {
            Format::Json => say!(
                "{}",
                json!({
                    "sink": sink.name, "revision_uid": id, "taken": words.is_none(), "reason": words,
                    "letter": letter.is_some(),
                })
            ),
            Format::Text => {
                let mark = match (&words, letter) {
                    (None, Some(_)) => "taken",
                    (None, None) => "taken, the newest of this alert",
                    (Some(_), _) => "REFUSED again",
                };
                say!("{id}  {title}: {mark}");
                if let Some(words) = words {
                    say!("    {words}");
                }
            }
        }
    }));
    sent.trouble = outcome.err();
    Ok(sent)
}
