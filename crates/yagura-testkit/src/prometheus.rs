//! A real Prometheus on loopback, and its linter.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

pub use crate::http::get;

/// A running Prometheus; dropping it ends the process and deletes its files.
#[derive(Debug)]
pub struct Prometheus {
    folder: tempfile::TempDir,
    web: SocketAddr,
    child: Child,
}

impl Prometheus {
    /// Starts it; it scrapes `target` (`host:port`) each second under the job `yagura`.
    pub fn start(target: &str) -> Result<Self> {
        Self::start_with(target, &[])
    }

    /// The same with files of rules, which it evaluates each second.
    pub fn start_with(target: &str, rules: &[PathBuf]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let config = folder.path().join("prometheus.yml");
        let text = format!(
            "global: {{ scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s }}\nrule_files: {rules:?}\nscrape_configs:\n- job_name: yagura\n  static_configs: [{{ targets: ['{target}'] }}]\n"
        );
        std::fs::write(&config, text)?;
        let web = SocketAddr::from(([127, 0, 0, 1], crate::free_port()?));
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={web}"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(folder.path().join("log"))?)
            .spawn()
            .context("starting prometheus; install the package prometheus")?;
        Ok(Prometheus { folder, web, child })
    }

    /// The answer to an instant query once it has a sample; waits thirty seconds for one.
    pub fn sample(&self, query: &str) -> Result<String> {
        let path = format!("/api/v1/query?query={query}");
        for _ in 0..300 {
            match get(self.web, &path) {
                Ok(answer) if answer.contains("\"value\"") => return Ok(answer),
                _ => std::thread::park_timeout(Duration::from_millis(100)),
            }
        }
        let said = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        bail!("no sample of {query} within 30 s: {said}")
    }
}

impl Prometheus {
    /// The samples that an instant query gives now, each with its labels; an error where it is no query.
    pub fn ask(&self, query: &str) -> Result<Vec<(BTreeMap<String, String>, f64)>> {
        let encoded: String = query.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = get(self.web, &format!("/api/v1/query?query={encoded}"))
            .with_context(|| format!("asking Prometheus for {query}"))?;
        let answer: Value = serde_json::from_str(&answer)?;
        let sample = |sample: &Value| {
            let labels = serde_json::from_value(sample["metric"].clone()).ok()?;
            Some((labels, sample["value"][1].as_str()?.parse().ok()?))
        };
        let samples = answer["data"]["result"].as_array().context("no result")?;
        Ok(samples.iter().filter_map(sample).collect())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What `promtool check metrics` has to say; empty when it finds nothing.
pub fn check_metrics(metrics: &str) -> Result<String> {
    let mut tool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting promtool; install the package prometheus")?;
    tool.stdin.take().context("a pipe")?.write_all(metrics.as_bytes())?;
    let output = tool.wait_with_output()?;
    Ok(format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr)))
}
