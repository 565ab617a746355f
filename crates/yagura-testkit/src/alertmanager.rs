//! A real Alertmanager on loopback.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::http;

/// A running Alertmanager; dropping it ends the process.
pub struct Alertmanager {
    /// Where it listens.
    pub web: SocketAddr,
    folder: PathBuf,
    child: Child,
}

impl Alertmanager {
    /// Starts it with its files in `folder`; nobody is told of anything.
    pub fn start(folder: &Path) -> Result<Self> {
        let web = SocketAddr::from(([127, 0, 0, 1], crate::free_port()?));
        std::fs::write(
            folder.join("alertmanager.yml"),
            "route: { receiver: nobody }\nreceivers: [{ name: nobody }]\n",
        )?;
        let child = spawn(folder, web)?;
        let mut alertmanager = Self { web, folder: folder.to_owned(), child };
        alertmanager.until_it_answers()?;
        Ok(alertmanager)
    }

    fn until_it_answers(&mut self) -> Result<()> {
        for _ in 0..300 {
            if http::get(self.web, "/-/ready").is_ok() {
                return Ok(());
            }
            if let Some(status) = self.child.try_wait()? {
                let said = std::fs::read_to_string(self.folder.join("said")).unwrap_or_default();
                bail!("prometheus-alertmanager ended with {status}: {said}");
            }
            std::thread::park_timeout(Duration::from_millis(100));
        }
        bail!("prometheus-alertmanager did not answer within 30 s")
    }

    /// What it holds, as its API says.
    pub fn alerts(&self) -> Result<Vec<Value>> {
        let answer = http::get(self.web, "/api/v2/alerts")?;
        Ok(serde_json::from_str(&answer)?)
    }

    /// SIGKILL, and anew at the same place: what it held in memory is gone.
    pub fn restart(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        self.child = spawn(&self.folder, self.web)?;
        self.until_it_answers()
    }
}

impl Drop for Alertmanager {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Path, web: SocketAddr) -> Result<Child> {
    Command::new("prometheus-alertmanager")
        .arg(format!("--config.file={}", folder.join("alertmanager.yml").display()))
        .arg(format!("--storage.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address={web}"))
        .arg("--cluster.listen-address=")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(File::options().create(true).append(true).open(folder.join("said"))?)
        .spawn()
        .context("starting prometheus-alertmanager; install the package of that name")
}
