//! Programs that are timed beside this one, each on one core.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::de::DeserializeOwned;

/// Starts a program on the first core.
pub fn command(program: &Path) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", "0"]).arg(program).stdin(Stdio::null());
    command
}

/// Runs it and answers what its last line tells, as JSON.
///
/// # Errors
///
/// With all that it wrote, when it cannot be started, fails, or tells something else.
pub fn told<T: DeserializeOwned>(name: &str, command: &mut Command) -> Result<T> {
    let output =
        command.stderr(Stdio::piped()).output().with_context(|| format!("{name} cannot be started"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    let said = || format!("{name}: {}\n{}", text.trim(), String::from_utf8_lossy(&output.stderr).trim());
    ensure!(output.status.success(), said());
    serde_json::from_str(text.lines().last().with_context(said)?).with_context(said)
}
