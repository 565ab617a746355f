//! A real rsyslog on loopback.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

use crate::certificates::Certificates;

/// An rsyslog that writes each message on a line; with a RELP input before it answers.
pub struct Rsyslog {
    folder: PathBuf,
    port: u16,
    child: Child,
}

impl Rsyslog {
    /// Starts it; with certificates it wants TLS and a client named `yagura`.
    pub fn start(folder: &Path, certificates: Option<&Certificates>) -> Result<Self> {
        let port = crate::free_port()?;
        let tls = certificates.map_or(String::new(), |c| {
            format!(
                r#" tls="on" tls.caCert="{}" tls.myCert="{}" tls.myPrivKey="{}" tls.authMode="name" tls.permittedPeer=["yagura"]"#,
                c.file("ca.pem"),
                c.file("localhost.pem"),
                c.file("localhost.key")
            )
        });
        let input = format!(
            r#"module(load="imrelp" tls.tlsLib="openssl")
input(type="imrelp" address="127.0.0.1" port="{port}" maxDataSize="64k" ruleset="alerts"{tls})"#
        );
        Self::start_with(folder, port, "", &input)
    }

    /// Starts one with a syslog input over TCP (RFC 6587), or over TLS (RFC 5425) with a client named `yagura`.
    pub fn start_syslog(folder: &Path, certificates: Option<&Certificates>) -> Result<Self> {
        let port = crate::free_port()?;
        let (driver, tls) = certificates.map_or((String::new(), ""), |c| {
            let driver = format!(
                r#" DefaultNetstreamDriver="ossl" DefaultNetstreamDriverCAFile="{}" DefaultNetstreamDriverCertFile="{}" DefaultNetstreamDriverKeyFile="{}""#,
                c.file("ca.pem"),
                c.file("localhost.pem"),
                c.file("localhost.key")
            );
            let tls = r#" StreamDriver.Name="ossl" StreamDriver.Mode="1" StreamDriver.AuthMode="x509/name" PermittedPeer=["yagura"]"#;
            (driver, tls)
        });
        let input = format!(
            r#"module(load="imtcp"{tls})
input(type="imtcp" address="127.0.0.1" port="{port}" ruleset="alerts")"#
        );
        Self::start_with(folder, port, &driver, &input)
    }

    fn start_with(folder: &Path, port: u16, globals: &str, input: &str) -> Result<Self> {
        let config = format!(
            r#"global(workDirectory="{folder}" maxMessageSize="64k"{globals})
template(name="line" type="string" string="%rawmsg%\n")
ruleset(name="alerts" queue.type="Direct") {{
  action(type="omfile" file="{folder}/received" template="line" asyncWriting="off" flushOnTXEnd="on")
}}
{input}
"#,
            folder = folder.display()
        );
        std::fs::write(folder.join("rsyslog.conf"), config)?;
        let child = Self::spawn(folder)?;
        let mut rsyslog = Self { folder: folder.to_owned(), port, child };
        rsyslog.until_it_listens()?;
        Ok(rsyslog)
    }

    fn spawn(folder: &Path) -> Result<Child> {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("rsyslog.log"));
        let log = log?;
        let started = Command::new("/usr/sbin/rsyslogd")
            .arg("-n")
            .arg("-f")
            .arg(folder.join("rsyslog.conf"))
            .arg("-i")
            .arg(folder.join("rsyslog.pid"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn();
        started
            .context("starting rsyslogd; install rsyslog, rsyslog-relp, rsyslog-openssl and rsyslog-gnutls")
    }

    fn until_it_listens(&mut self) -> Result<()> {
        let address = self.address();
        let mut ended = None;
        wait_for("rsyslog listening", || {
            ended = self.child.try_wait().ok().flatten();
            ended.is_some() || TcpStream::connect(&address).is_ok()
        })?;
        if let Some(status) = ended {
            let said = std::fs::read_to_string(self.folder.join("rsyslog.log")).unwrap_or_default();
            bail!("rsyslogd ended with {status}: {said}\nare rsyslog-relp and rsyslog-openssl installed?");
        }
        Ok(())
    }

    /// `host:port` of its input.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// SIGSTOP: it holds its connections and reads nothing.
    pub fn pause(&mut self) -> Result<()> {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-STOP", &pid]).status().context("starting kill")?;
        anyhow::ensure!(status.success(), "rsyslogd could not be stopped");
        Ok(())
    }

    /// SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts it again after [`Rsyslog::kill`].
    pub fn restart(&mut self) -> Result<()> {
        // What a killed process leaves behind would refuse the next one.
        let _ = std::fs::remove_file(self.folder.join("rsyslog.pid"));
        self.child = Self::spawn(&self.folder)?;
        self.until_it_listens()
    }

    /// Where it writes what it receives.
    pub fn file(&self) -> PathBuf {
        self.folder.join("received")
    }

    /// The settings of a RELP sink for it.
    pub fn sink(&self, tls: Value, window: usize) -> Value {
        json!({ "name": "siem", "kind": "relp", "address": self.address(), "tls": tls, "window": window })
    }
}

impl Drop for Rsyslog {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The whole lines that rsyslog has written.
pub fn lines(file: &Path) -> Vec<String> {
    let text = std::fs::read(file).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    text[..whole].lines().map(str::to_string).collect()
}

/// The OCSF event of a line.
pub fn event(line: &str) -> Result<Value> {
    let at = line.find("] {").context("a line has structured data and an event")? + 2;
    serde_json::from_str(&line[at..]).with_context(|| line.to_string())
}

/// Waits until `done` says so; fails after twenty seconds.
fn wait_for(what: &str, mut done: impl FnMut() -> bool) -> Result<()> {
    for _ in 0..4_000 {
        if done() {
            return Ok(());
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    bail!("{what} did not happen within 20 s")
}
