//! How fast each source is read: `crates/yagura-collect/examples` drive the real ones at full rate, with senders of
//! their own or the real programs beside them, into an embedded log.

use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::report::{Figure, Report};

mod peers;

/// What is run: its name in the table, the example, its arguments.
const RUNS: &[(&str, &str, &[&str])] = &[
    ("http, JSON lines", "rate_http", &["10"]),
    ("http, JSON array", "rate_http", &["10", "16", "array"]),
    ("http, JSON lines with gzip", "rate_http", &["10", "16", "gzip"]),
    ("syslog 5424 over TCP", "rate_syslog", &["10", "tcp", "2", "5424"]),
    ("syslog 3164 over TCP", "rate_syslog", &["10", "tcp", "2", "3164"]),
    ("syslog 5424 over UDP", "rate_syslog", &["10", "udp", "1", "5424"]),
    ("mqtt, Sparkplug B", "rate_mqtt", &["10", "3000000", "4"]),
    ("opcua", "rate_opcua", &["10", "5000", "50"]),
    ("modbus", "rate_modbus", &["10", "1000", "100"]),
    ("files, wide Parquet", "rate_parquet", &["20"]),
    ("suricata, EVE", "rate_suricata", &["20"]),
    ("secslog", "rate_secslog", &["10"]),
    ("kafka, JSON", "rate_bridge", &["10", "json"]),
    ("kafka, wide Arrow", "rate_bridge", &["10", "arrow-wide"]),
    ("names", "rate_names", &["2"]),
    ("hsms", "connections_hsms", &["10", "1000"]),
    ("opcua, a thousand sessions", "connections_opcua", &["1000", "2"]),
];

/// Runs all of them, one after the other, then the peers.
pub fn collect() -> Result<Report> {
    let own = std::env::current_exe()?;
    let examples = own.parent().context("a folder")?.join("examples");
    let mut figures = Vec::new();
    for (run, example, arguments) in RUNS {
        let told = one(run, &examples.join(example), arguments);
        figures.extend(told.with_context(|| format!("{example} {}", arguments.join(" ")))?);
    }
    figures.extend(peers::all(&examples, &figures)?);
    let input =
        "sources of one collector process, senders on the same two cores, into an embedded log".into();
    Ok(Report { input, figures })
}

fn one(run: &str, program: &Path, arguments: &[&str]) -> Result<Vec<Figure>> {
    ensure!(program.exists(), "{}: is not built; run `cargo xtask bench collect`", program.display());
    let output = Command::new(program).args(arguments).env("YAGURA_EQUIPMENT", equipment()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "{text}{said}");
    let figures: Vec<Figure> = text.lines().filter_map(|line| figure(run, line)).collect();
    ensure!(!figures.is_empty(), "it told no figure:\n{text}{said}");
    Ok(figures)
}

/// A line `figure NAME VALUE UNIT`, with tabs between.
fn figure(run: &str, line: &str) -> Option<Figure> {
    let mut words = line.strip_prefix("figure\t")?.split('\t');
    let (name, value, unit) = (words.next()?, words.next()?.parse().ok()?, words.next()?);
    const UNITS: [&str; 11] = [
        "rows/s",
        "values/s",
        "metrics/s",
        "messages/s",
        "events/s",
        "polls/s",
        "cores",
        "MiB",
        "connections",
        "messages",
        "s",
    ];
    let unit = UNITS.into_iter().find(|known| *known == unit)?;
    Some(Figure::new(format!("{run}: {name}"), value, unit))
}

fn equipment() -> std::ffi::OsString {
    let usual = || yagura_testkit::peers::equipment(&yagura_testkit::build_folder()).into_os_string();
    std::env::var_os("YAGURA_EQUIPMENT").filter(|given| Path::new(given).exists()).unwrap_or_else(usual)
}
