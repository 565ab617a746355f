//! Checks of the tree itself.

use std::collections::BTreeMap;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// A heavy or far-reaching dependency, and the only crates that may name it.
const ONLY: &[(&str, &[&str])] = &[
    ("datafusion", &["yagura-sql"]),
    ("rdkafka", &["yagura-kafka"]),
    ("datafusion-postgres", &["yagura-sql"]),
    ("rustls", &["yagura-respond", "yagura-collect", "yagura-door"]),
    ("tokio-rustls", &["yagura-respond", "yagura-collect", "yagura-door"]),
    ("async-opcua-client", &["yagura-collect"]),
    ("axum", &["yagura-console"]),
    ("pcap", &["yagura-capture", "yagura-bench"]),
    ("object_store", &["yagura-archive"]),
];

/// Crates without I/O and without async.
const PURE: &[&str] = &["yagura-event", "yagura-dissect", "yagura-models"];

/// What a pure crate may not name.
const IMPURE: &[&str] = &["tokio", "yagura-log", "yagura-kafka", "rustix", "tracing"];

/// Files may have this many lines before a stranger loses the way.
const LINES_MAX: usize = 900;

/// All checks; every finding is told.
pub fn check() -> Result<()> {
    let mut findings = edges()?;
    findings.extend(long_files()?);
    if findings.is_empty() {
        return Ok(());
    }
    bail!("the tree is not tidy:\n  {}", findings.join("\n  "));
}

/// Forbidden dependency edges. Dependencies of tests are free.
fn edges() -> Result<Vec<String>> {
    let metadata = output(&["cargo", "metadata", "--format-version", "1", "--no-deps", "--offline"])?;
    let metadata: Value = serde_json::from_str(&metadata)?;
    let mut graph: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for package in metadata["packages"].as_array().into_iter().flatten() {
        let name = package["name"].as_str().unwrap_or_default().to_string();
        let dependencies = package["dependencies"].as_array().into_iter().flatten();
        let names = dependencies.filter(|d| d["kind"] != "dev").filter_map(|d| d["name"].as_str());
        graph.insert(name, names.map(str::to_string).collect());
    }
    Ok(forbidden(&graph))
}

fn forbidden(graph: &BTreeMap<String, Vec<String>>) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, dependencies) in graph {
        for dependency in dependencies {
            if let Some((_, allowed)) = ONLY.iter().find(|(d, _)| d == dependency)
                && !allowed.contains(&name.as_str())
            {
                findings.push(format!("{name} depends on {dependency}; only {} may", allowed.join(", ")));
            }
            if PURE.contains(&name.as_str()) && IMPURE.contains(&dependency.as_str()) {
                findings.push(format!("{name} has no I/O and no async; it may not depend on {dependency}"));
            }
            if dependency == "yagura-testkit" && !["xtask", "yagura-bench"].contains(&name.as_str()) {
                findings.push(format!("{name} ships; yagura-testkit is for tests"));
            }
        }
    }
    findings
}

fn long_files() -> Result<Vec<String>> {
    let mut findings = Vec::new();
    for file in output(&["git", "ls-files", "*.rs"])?.lines() {
        // A file that is deleted and not committed yet is still listed.
        let Ok(text) = std::fs::read_to_string(file) else { continue };
        let lines = text.lines().count();
        if lines > LINES_MAX {
            findings.push(format!("{file} has {lines} lines; split it before {LINES_MAX}"));
        }
    }
    Ok(findings)
}

fn output(command: &[&str]) -> Result<String> {
    let done = Command::new(command[0])
        .args(&command[1..])
        .output()
        .with_context(|| format!("{} cannot be started", command.join(" ")))?;
    if !done.status.success() {
        bail!("{}: {}", command.join(" "), String::from_utf8_lossy(&done.stderr));
    }
    Ok(String::from_utf8(done.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_forbidden_edge_is_found() {
        let graph =
            |name: &str, dependency: &str| BTreeMap::from([(name.to_string(), vec![dependency.to_string()])]);
        assert_eq!(forbidden(&graph("yagura-detect", "datafusion")).len(), 1);
        assert_eq!(forbidden(&graph("yagura-models", "tokio")).len(), 1);
        assert_eq!(forbidden(&graph("yagura", "yagura-testkit")).len(), 1);
        assert!(forbidden(&graph("yagura-sql", "datafusion")).is_empty());
    }
}
