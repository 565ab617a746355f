//! Set-up, tests, benchmarks and tidy checks: `cargo xtask help` lists them.

mod apiserver;
mod bill;
mod bundle;
mod dashboards;
mod faults;
mod fuzz;
mod image;
mod package;
mod setup;
mod tidy;

use std::path::Path;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result, bail};
use fuzz::Effort;

const HELP: &str = "cargo xtask COMMAND

  test         install what the tests need, then run all of them
  setup        only the installing
  tidy         check the tree: dependency edges, long files, what must not be in it
  dashboards   write Grafana's dashboards to deploy/grafana
  image        the container image, in target/image; nothing is pulled
  deb          the Debian package, in target/package
  bundle [--verify FOLDER]
               what goes to a plant without internet, in target/bundle: image, chart, package, bill of materials,
               licences, checksums; made and verified, or one that is there verified
  apiserver [--format json]
               the Helm chart before a real API server of Kubernetes, which is built through the Go module proxy and
               runs on Debian's etcd: every manifest of every documented set of values on trial, and its pods under
               the restricted standard
  fuzz [TARGET] [--seconds N | --inputs N]
               let libFuzzer look for inputs that break a dissector: every protocol in turn, and whole
               packets, or one of them; N seconds each, 600 unless told (a night for all of them);
                N inputs each: the same ones each time, as the tests do
  faults [--only NAME] [--kills N] [--seconds N] [--format json]
               the long form of the tests of faults (an hour and a half): kills, leaders, members that stand still
               for ten minutes, torn snapshots, lost writes, a full disk, a clock that jumps; compares rows
               and alerts with a run that nothing disturbed and with a replay; prints a table, writes
               target/bench/faults.json. N faults of each; members stand still for N seconds
  trees [N]    read N random SECS-II trees of secsgem's encoder, a million unless told
  bench NAME   run a benchmark; prints a table, writes target/bench/NAME.json
               NAMES: packets (capture file to Arrow batches, beside tshark and Suricata), line-rate (a veth
               pair into live capture, 10 minutes; YAGURA_LINE_RATE_SECONDS for less), operators (each
               alone), windows, sequences, models-traffic (attacks found, false alerts a day),
               scaling (keys, rows of a batch, detections), snapshots (how long they stop a shard),
               memory (of each operator's keys), soak (an hour at full rate; YAGURA_SOAK_SECONDS for less),
               samples (log to alerts), samples-kafka (the same through a real broker),
               latency (append to alert at a million samples a second; YAGURA_LATENCY_SECONDS, 60 unless told),
               latency-kafka, peers (a keyed job beside Apache Flink, river and Bytewax), models (on labelled public
               data, and their cost beside river and PyOD), fleet (a budget of alarms
               over 100,000 signals), collect (each source at full rate), respond (formats, receivers and ways that break, storms of alerts), whole-way (packets on a wire to alerts in rsyslog, Kafka between, TLS on both, at rising load until it breaks)";

/// What each target has in a night.
const FUZZ_SECONDS: u32 = 600;
/// Inputs that each target has in the tests: a minute or so for all of them on two cores.
const FUZZ_INPUTS_TESTED: u32 = 4000;

#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a command line tool")]
fn main() -> ExitCode {
    if let Some(compiled) = fuzz::as_compiler() {
        return compiled;
    }
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["test"] => test(),
        ["setup"] => setup::all(),
        ["tidy"] => tidy::check(),
        ["dashboards"] => dashboards::write(),
        ["image"] => bundle::image(),
        ["deb"] => bundle::deb(),
        ["bundle"] => bundle::make(),
        ["bundle", "--verify", folder] => bundle::verify(Path::new(folder)).map(|said| println!("{said}")),
        ["apiserver"] => apiserver::run(false),
        ["apiserver", "--format", "json"] => apiserver::run(true),
        ["fuzz", rest @ ..] => match fuzzed(rest) {
            Some(wanted) => fuzz::run(&wanted),
            None => {
                eprintln!("{HELP}");
                return ExitCode::from(2);
            }
        },
        ["faults", rest @ ..] => match faults::wanted(rest) {
            Some(wanted) => setup::all().and_then(|()| faults::run(&wanted)),
            None => {
                eprintln!("{HELP}\n\nfaults: {}", faults::names());
                return ExitCode::from(2);
            }
        },
        ["trees"] => trees("1000000"),
        ["trees", count] => trees(count),
        ["bench", name] => bench(name),
        ["help" | "--help" | "-h"] | [] => {
            println!("{HELP}");
            Ok(())
        }
        _ => {
            eprintln!("{HELP}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Everything, in the order in which a mistake shows soonest.
fn test() -> Result<()> {
    tidy::check()?;
    setup::all()?;
    cargo(&["test", "--workspace", "--locked"])?;
    // Live capture is no part of the program unless it is asked for. The whole workspace stays
    // selected, so that what others wrote is not built again with other features.
    let captured =
        ["test", "--workspace", "--locked", "--features", "yagura-capture/pcap,yagura-collect/pcap"];
    cargo(&[&captured[..], &["--test", "live"]].concat())?;
    cargo(&[&captured[..], &["--test", "sources", "interface"]].concat())?;
    // The program that the tests ran: built by itself, it would be built again with other features.
    run(Command::new("target/debug/yagura").args(["test", "pipelines"]))?;
    fuzz::run(&fuzz::Wanted { target: None, effort: Effort::Inputs(FUZZ_INPUTS_TESTED) })
}

fn fuzzed<'a>(words: &[&'a str]) -> Option<fuzz::Wanted<'a>> {
    let (target, rest) = match words {
        [target, rest @ ..] if !target.starts_with('-') => (Some(*target), rest),
        rest => (None, rest),
    };
    let effort = match rest {
        [] => Effort::Seconds(FUZZ_SECONDS),
        ["--seconds", seconds] => Effort::Seconds(seconds.parse().ok()?),
        ["--inputs", inputs] => Effort::Inputs(inputs.parse().ok()?),
        _ => return None,
    };
    Some(fuzz::Wanted { target, effort })
}

fn trees(count: &str) -> Result<()> {
    setup::secsgem()?;
    let arguments =
        ["test", "--locked", "--package", "yagura-dissect", "--test", "secsgem", "--", "--nocapture"];
    let name = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    run(Command::new(name).args(arguments).env("YAGURA_TREES", count))
}

fn bench(name: &str) -> Result<()> {
    if ![
        "packets",
        "collect",
        "operators",
        "windows",
        "sequences",
        "models-traffic",
        "scaling",
        "snapshots",
        "memory",
        "soak",
        "samples",
        "samples-kafka",
        "line-rate",
        "latency",
        "latency-kafka",
        "peers",
        "models",
        "fleet",
        "respond",
        "whole-way",
    ]
    .contains(&name)
    {
        bail!("there is no benchmark `{name}`; see `cargo xtask help`");
    }
    // The whole workspace, as `cargo build --release` makes it: one package alone would compile Arrow anew.
    let mut arguments = vec!["build", "--release", "--locked", "--workspace"];
    if name == "packets" {
        setup::packages()?;
        setup::suricata();
    }
    if name == "peers" {
        setup::peers()?;
    }
    if name == "respond" {
        setup::packages()?;
        setup::opensearch()?;
    }
    if name == "collect" {
        setup::packages()?;
        setup::equipment()?;
        // The sources' own examples.
        arguments.extend(["--examples", "--bins"]);
    }
    if name == "models" {
        setup::model_peers();
    }
    if ["line-rate", "whole-way"].contains(&name) {
        setup::packages()?;
        arguments.extend(["--features", "yagura-bench/pcap,yagura/pcap"]);
    }
    cargo(&arguments)?;
    run(Command::new("target/release/yagura-bench").arg(name))
}

/// Runs cargo with its output shown.
pub fn cargo(arguments: &[&str]) -> Result<()> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    run(Command::new(cargo).args(arguments))
}

/// Runs a command with its output shown; an error unless it succeeds.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("{command:?} cannot be started"))?;
    if !status.success() {
        bail!("{command:?} ended with {status}");
    }
    Ok(())
}
