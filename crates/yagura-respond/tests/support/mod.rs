//! A real rsyslog on loopback, and certificates for it.

use std::io::ErrorKind;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use serde_json::{Value, json};

/// Waits until `done` says so; fails after twenty seconds.
pub async fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what} did not happen within 20 s");
}

/// An authority, a server's certificate for `localhost` and a client's for `yagura`, as files.
pub struct Certificates {
    folder: PathBuf,
}

impl Certificates {
    pub fn make(folder: &Path) -> Self {
        std::fs::create_dir_all(folder).expect("a folder for certificates");
        let write = |name: &str, text: String| std::fs::write(folder.join(name), text).expect("a file is written");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, "test authority");
        let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        write("ca.pem", authority.pem());
        for (name, purpose) in
            [("localhost", ExtendedKeyUsagePurpose::ServerAuth), ("yagura", ExtendedKeyUsagePurpose::ClientAuth)]
        {
            let key = KeyPair::generate().expect("a key");
            let mut params = CertificateParams::new(vec![name.to_string()]).expect("parameters");
            params.distinguished_name.push(rcgen::DnType::CommonName, name);
            params.extended_key_usages.push(purpose);
            write(&format!("{name}.pem"), params.signed_by(&key, &authority).expect("a certificate").pem());
            write(&format!("{name}.key"), key.serialize_pem());
        }
        Self { folder: folder.to_owned() }
    }

    pub fn file(&self, name: &str) -> String {
        self.folder.join(name).display().to_string()
    }
}

/// An rsyslog with a RELP input that writes each message on a line, before it answers.
pub struct Rsyslog {
    folder: PathBuf,
    port: u16,
    child: Child,
}

impl Rsyslog {
    /// Starts it; with certificates it wants TLS and a client named `yagura`.
    pub async fn start(folder: &Path, certificates: Option<&Certificates>) -> Self {
        let port = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        let tls = certificates.map_or(String::new(), |c| {
            format!(
                r#" tls="on" tls.caCert="{}" tls.myCert="{}" tls.myPrivKey="{}" tls.authMode="name" tls.permittedPeer=["yagura"]"#,
                c.file("ca.pem"),
                c.file("localhost.pem"),
                c.file("localhost.key")
            )
        });
        let config = format!(
            r#"global(workDirectory="{folder}" maxMessageSize="64k")
module(load="imrelp" tls.tlsLib="openssl")
template(name="line" type="string" string="%rawmsg%\n")
ruleset(name="alerts" queue.type="Direct") {{
  action(type="omfile" file="{folder}/received" template="line" asyncWriting="off" flushOnTXEnd="on")
}}
input(type="imrelp" address="127.0.0.1" port="{port}" maxDataSize="64k" ruleset="alerts"{tls})
"#,
            folder = folder.display()
        );
        std::fs::write(folder.join("rsyslog.conf"), config).expect("a configuration");
        let child = Self::spawn(folder);
        let mut rsyslog = Self { folder: folder.to_owned(), port, child };
        rsyslog.until_it_listens().await;
        rsyslog
    }

    fn spawn(folder: &Path) -> Child {
        let log = std::fs::OpenOptions::new().create(true).append(true).open(folder.join("rsyslog.log"));
        let log = log.expect("a file for rsyslog's own messages");
        let started = Command::new("/usr/sbin/rsyslogd")
            .arg("-n")
            .arg("-f")
            .arg(folder.join("rsyslog.conf"))
            .arg("-i")
            .arg(folder.join("rsyslog.pid"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a second handle"))
            .stderr(log)
            .spawn();
        match started {
            Ok(child) => child,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                panic!("rsyslogd is missing: apt-get install rsyslog rsyslog-relp rsyslog-openssl rsyslog-gnutls")
            }
            Err(error) => panic!("rsyslogd does not start: {error}"),
        }
    }

    async fn until_it_listens(&mut self) {
        let address = self.address();
        let (child, folder) = (&mut self.child, &self.folder);
        wait_for("rsyslog listening", || {
            if let Ok(Some(status)) = child.try_wait() {
                let said = std::fs::read_to_string(folder.join("rsyslog.log")).unwrap_or_default();
                panic!("rsyslogd ended with {status}: {said}\nare rsyslog-relp and rsyslog-openssl installed?");
            }
            TcpStream::connect(&address).is_ok()
        })
        .await;
    }

    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// SIGKILL.
    pub fn kill(&mut self) {
        self.child.kill().expect("rsyslog is killed");
        self.child.wait().expect("rsyslog is gone");
    }

    pub async fn restart(&mut self) {
        // What a killed process leaves behind would refuse the next one.
        let _ = std::fs::remove_file(self.folder.join("rsyslog.pid"));
        self.child = Self::spawn(&self.folder);
        self.until_it_listens().await;
    }

    pub fn file(&self) -> PathBuf {
        self.folder.join("received")
    }

    /// The settings of a sink for it.
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
    let text = String::from_utf8(text).expect("what was written is UTF-8");
    let whole = text.rfind('\n').map_or(0, |end| end + 1);
    text[..whole].lines().map(str::to_string).collect()
}

/// The OCSF event of a line.
pub fn event(line: &str) -> Value {
    let at = line.find("] {").expect("a line has structured data and an event") + 2;
    serde_json::from_str(&line[at..]).unwrap_or_else(|e| panic!("{e}: {line}"))
}
