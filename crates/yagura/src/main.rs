//! The program: command line, exit codes.
//!
//! Exit codes: 0 all is well, 1 something failed, 2 the input (arguments, configuration,
//! pipelines, data) is wrong and nothing was started.

/// What stands below a command's help: examples, then the exit codes.
macro_rules! help {
    ($examples:literal) => {
        concat!(
            "Examples:\n",
            $examples,
            "\n\nExit codes:\n",
            "  0  all is well\n",
            "  1  something failed, or was not as expected (`demo`, `test`, `replay --check`)\n",
            "  2  arguments, configuration, pipelines or files are wrong; nothing was started"
        )
    };
}

mod alerts;
mod archive;
mod baseline;
mod certificates;
mod collectors;
mod commands;
mod config;
mod dead;
mod decided;
mod demo;
mod handed;
mod metrics;
mod mutes;
mod names;
mod nodes;
mod pack;
mod plant;
mod query;
mod read;
mod replay;
mod run;
mod say;
mod selftest;
mod serve;
mod sink;
mod study;
mod tap;
mod top;
mod watch;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand, ValueEnum};
use tracing_subscriber::EnvFilter;
use yagura_log::LogError;

/// Real-time anomaly detection for operational technology.
#[derive(Parser)]
#[command(name = "yagura", version, about, after_help = HELP)]
struct Cli {
    /// What prints for people, or one JSON document (or one a line) for programs.
    #[arg(long, global = true, value_enum, default_value = "text")]
    format: Format,
    #[command(subcommand)]
    command: Command,
}

const HELP: &str = help!(
    "  yagura demo                              play a recorded fab cell through the real pipeline
  yagura validate --config yagura.yaml     check configuration and pipelines, start nothing
  yagura run --config yagura.yaml          collect, detect, respond
  yagura read cell.pcap                    print the messages that a capture holds
  yagura test pipelines/                   run the tests inside pipeline files
  yagura query -c yagura.yaml \"SELECT …\"   ask the history (`archive:` keeps it)
  yagura replay --config yagura.yaml --check   judge the log again, compare with its alerts"
);

/// How results are printed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// `NAME=VALUE` of an argument.
fn pair(text: &str) -> Result<(String, String), String> {
    let (name, value) =
        text.split_once('=').ok_or(format!("`{text}` is not NAME=VALUE, such as tool=ETCH-07"))?;
    Ok((name.to_string(), value.to_string()))
}

#[derive(Subcommand)]
enum Command {
    /// Play a recorded scene of a fab cell: no set-up, no root, no network.
    Demo(demo::Arguments),
    /// Collect, detect and respond, as the configuration says.
    Run(run::Arguments),
    /// Check configuration and pipelines; nothing is started.
    Validate(commands::ValidateArguments),
    /// Print what captures hold: messages, connections, values, devices.
    Read(read::Arguments),
    /// Run the tests inside pipeline files.
    Test(selftest::Arguments),
    /// Judge a stretch of the log again from nothing and print its alerts.
    Replay(replay::Arguments),
    /// Watch a running instance: rates, lag, latency, the busiest cells and detections.
    Top(top::Arguments),
    /// Print what passes a stage: events, alerts, snapshots, late rows, dead letters.
    Tap(tap::Arguments),
    /// What is to be looked at: list, show, acknowledge, resolve, mute.
    Alerts(alerts::Arguments),
    /// List the records that nobody could read; judge them or send them again after a mend.
    Dead(dead::Arguments),
    /// Try a sink with a test alert; list what receivers refused.
    Sink(sink::Arguments),
    /// What detections have learned: show, compare, sign, approve, roll back.
    Baseline(baseline::Arguments),
    /// Ask a source for its names, read-only, and write a first table of them.
    Discover(names::DiscoverArguments),
    /// How the plant's tables call what a source names.
    Names(names::NamesArguments),
    /// Ask the history with SQL.
    Query(query::Arguments),
    /// Learn a model from a table of a normal time: own data, one command.
    Learn(study::LearnArguments),
    /// Judge a table by a model, and show what deviates.
    Score(study::ScoreArguments),
}

/// How a command ends when it does not end well.
pub enum Failure {
    /// The user's input is wrong: exit code 2.
    Input(String),
    /// Something failed: exit code 1.
    Failed(anyhow::Error),
}

impl Failure {
    /// Whether another process writes to the log.
    pub fn is_locked(&self) -> bool {
        let Failure::Failed(cause) = self else { return false };
        matches!(cause.downcast_ref(), Some(LogError::Locked { .. }))
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Failed(error.into())
    }
}

/// Where files of a run lie when nothing else is said.
pub fn default_data() -> PathBuf {
    PathBuf::from("yagura-data")
}

#[expect(clippy::print_stderr, reason = "this is where errors are told to people")]
fn main() -> ExitCode {
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("YAGURA_LOG").unwrap_or_else(|_| EnvFilter::new("warn"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .init();
    let format = cli.format;
    let outcome = match cli.command {
        Command::Demo(arguments) => demo::run(&arguments, format),
        Command::Run(arguments) => run::run(&arguments, format),
        Command::Validate(arguments) => commands::validate(&arguments, format),
        Command::Read(arguments) => read::run(&arguments, format),
        Command::Test(arguments) => selftest::run(&arguments, format),
        Command::Replay(arguments) => replay::run(&arguments, format),
        Command::Top(arguments) => top::run(&arguments, format),
        Command::Tap(arguments) => tap::run(&arguments, format),
        Command::Alerts(arguments) => alerts::run(&arguments, format),
        Command::Dead(arguments) => dead::run(&arguments, format),
        Command::Sink(arguments) => sink::run(&arguments, format),
        Command::Baseline(arguments) => baseline::run(&arguments, format),
        Command::Discover(arguments) => names::discover(&arguments, format),
        Command::Names(arguments) => names::check(&arguments, format),
        Command::Query(arguments) => query::run(&arguments, format),
        Command::Learn(arguments) => study::learn(&arguments, format),
        Command::Score(arguments) => study::score(&arguments, format),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Input(message)) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
        Err(Failure::Failed(error)) => {
            eprintln!("yagura: {error:#}");
            ExitCode::FAILURE
        }
    }
}
