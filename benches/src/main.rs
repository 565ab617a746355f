//! Benchmarks: `cargo xtask bench NAME` prints a table and writes `target/bench/NAME.json`.

mod collect;
mod common;
mod engine;
mod fab;
mod latency;
#[cfg(feature = "pcap")]
mod line_rate;
mod memory;
mod models;
mod one_core;
mod packets;
mod peers;
mod report;
mod respond;
mod samples;
mod sequences;
mod traffic;
#[cfg(feature = "pcap")]
mod whole_way;
mod windows;

use anyhow::Result;
use report::Report;

/// A benchmark: its name, and what runs it.
type Benchmark = (&'static str, fn() -> Result<Report>);

static BENCHMARKS: &[Benchmark] = &[
    ("packets", packets::mix),
    ("collect", collect::collect),
    ("operators", engine::operators),
    ("scaling", engine::scaling),
    ("snapshots", engine::snapshots),
    ("memory", memory::memory),
    ("soak", memory::soak),
    ("windows", windows::windows),
    ("sequences", sequences::sequences),
    ("models-traffic", traffic::traffic),
    ("samples", samples::embedded),
    ("samples-kafka", samples::kafka),
    ("latency", latency::embedded),
    ("latency-kafka", latency::kafka),
    ("peers", peers::peers),
    ("models", models::models),
    ("fleet", models::fleet::fleet),
    ("respond", respond::respond),
    #[cfg(feature = "pcap")]
    ("line-rate", line_rate::line_rate),
    #[cfg(feature = "pcap")]
    ("whole-way", whole_way::whole_way),
];

#[expect(clippy::print_stderr, reason = "a command line tool")]
fn main() -> std::process::ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let part =
        memory::part(&arguments).or_else(|| peers::part(&arguments)).or_else(|| respond::part(&arguments));
    #[cfg(feature = "pcap")]
    let part = part.or_else(|| line_rate::part(&arguments)).or_else(|| whole_way::part(&arguments));
    if let Some(outcome) = part {
        return match outcome {
            Ok(()) => std::process::ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("bench: {error:#}");
                std::process::ExitCode::FAILURE
            }
        };
    }
    let Some((name, run)) = BENCHMARKS.iter().find(|(known, _)| *known == name) else {
        let names: Vec<&str> = BENCHMARKS.iter().map(|(name, _)| *name).collect();
        eprintln!("bench: there is no benchmark `{name}`; there are: {}", names.join(", "));
        return std::process::ExitCode::FAILURE;
    };
    match run().and_then(|report| report.publish(name)) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench: {error:#}");
            std::process::ExitCode::FAILURE
        }
    }
}
