//! A real API server of Kubernetes on loopback, built from its source, with Debian's etcd under it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::peers::INSTALLED;

/// Kubernetes, as its minor and patch versions; it needs Go 1.24 or later.
pub const KUBERNETES: &str = "34.3";

/// Modules with definitions of custom resources, and the folders where they are.
const DEFINITIONS: &[(&str, &str)] = &[
    ("github.com/prometheus-operator/prometheus-operator@v0.85.0", "example/prometheus-operator-crd"),
    ("github.com/kedacore/keda/v2@v2.21.0", "config/crd/bases"),
];

/// A running API server; dropping it ends it and its etcd.
pub struct ApiServer {
    place: String,
    folder: PathBuf,
    etcd: Child,
    server: Option<Child>,
}

/// The program, once it is built.
fn program(build_dir: &Path) -> PathBuf {
    build_dir.join("apiserver/kube-apiserver")
}

/// Builds it through the Go module proxy, unless it is there: minutes, the first time.
pub fn install(build_dir: &Path) -> Result<()> {
    let folder = build_dir.join("apiserver");
    let done = folder.join(INSTALLED);
    if fs::read_to_string(&done).is_ok_and(|what| what == KUBERNETES) {
        return Ok(());
    }
    fs::create_dir_all(&folder)?;
    let module = format!("k8s.io/kubernetes@v1.{KUBERNETES}");
    // Its own parts are modules, too, whose places there are of its source tree: here they are of the proxy.
    let own = fs::read_to_string(downloaded(&module)?.join("go.mod"))?;
    let parts = own.lines().filter_map(|line| line.trim().split_once(" => ./staging/"));
    let parts = parts.map(|(part, _)| format!("replace {part} => {part} v0.{KUBERNETES}\n"));
    let manifest = format!(
        "module apiserver\n\ngo 1.24\n\nrequire k8s.io/kubernetes v1.{KUBERNETES}\n\n{}",
        parts.collect::<String>()
    );
    fs::write(folder.join("go.mod"), manifest)?;
    let mut go = Command::new("go");
    go.args(["build", "-mod=mod", "-o", "kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"]);
    let built = go.current_dir(&folder).env("CGO_ENABLED", "0").status().context("`go` cannot be started")?;
    ensure!(built.success(), "{module} cannot be built; it needs Go 1.24 or later");
    Ok(fs::write(done, KUBERNETES)?)
}

/// The folder of a module of the Go module proxy.
fn downloaded(module: &str) -> Result<PathBuf> {
    let mut go = Command::new("go");
    // Outside of any module.
    go.args(["mod", "download", "-json", module]).current_dir(std::env::temp_dir()).stderr(Stdio::inherit());
    let output = go.output().context("`go` cannot be started")?;
    ensure!(output.status.success(), "{module} cannot be fetched");
    let told: Value = serde_json::from_slice(&output.stdout)?;
    Ok(told["Dir"].as_str().context("a folder")?.into())
}

/// Definitions of the custom resources that the chart may use, in YAML.
pub fn definitions() -> Result<Vec<String>> {
    let mut all = Vec::new();
    for (module, folder) in DEFINITIONS {
        for file in fs::read_dir(downloaded(module)?.join(folder))? {
            let file = file?.path();
            if file.extension().is_some_and(|extension| extension == "yaml") {
                all.push(fs::read_to_string(file)?);
            }
        }
    }
    Ok(all)
}

impl ApiServer {
    /// Starts it with its files in `folder`.
    pub fn start(build_dir: &Path, folder: &Path) -> Result<Self> {
        let at = |name: &str| folder.join(name).display().to_string();
        fs::write(folder.join("tokens"), "loopback,tester,tester,\"system:masters\"\n")?;
        let mut key = Command::new("openssl");
        key.args(["genrsa", "-out", &at("accounts.key"), "2048"]).stderr(Stdio::null());
        ensure!(key.status().context("starting openssl")?.success(), "openssl makes no key");
        let (etcd_at, port) = (format!("http://127.0.0.1:{}", crate::free_port()?), crate::free_port()?);
        let peers_at = format!("http://127.0.0.1:{}", crate::free_port()?);
        let mut etcd = Command::new("etcd");
        etcd.args(["--data-dir", &at("etcd"), "--listen-client-urls", &etcd_at])
            .args(["--advertise-client-urls", &etcd_at, "--listen-peer-urls", &peers_at])
            .args(["--initial-advertise-peer-urls", &peers_at])
            .args(["--initial-cluster", &format!("default={peers_at}")]);
        let etcd = spawn(etcd, folder, "etcd").context("starting etcd; Debian's package is etcd-server")?;
        let place = format!("https://127.0.0.1:{port}");
        let mut started = Self { place, folder: folder.to_owned(), etcd, server: None };
        let mut server = Command::new(program(build_dir));
        server
            .args(["--bind-address=127.0.0.1", "--authorization-mode=RBAC", "--allow-privileged=true"])
            .args([
                "--service-cluster-ip-range=10.0.0.0/24",
                "--service-account-issuer=https://yagura.example",
            ])
            .arg(format!("--secure-port={port}"))
            .arg(format!("--etcd-servers={etcd_at}"))
            .arg(format!("--cert-dir={}", at("certificates")))
            .arg(format!("--token-auth-file={}", at("tokens")))
            .arg(format!("--service-account-key-file={}", at("accounts.key")))
            .arg(format!("--service-account-signing-key-file={}", at("accounts.key")));
        started.server = Some(spawn(server, folder, "apiserver").context("starting kube-apiserver")?);
        for _ in 0..600 {
            if started.ask("GET", "/readyz", "", "").is_ok() {
                return Ok(started);
            }
            if let Some(status) = started.server.as_mut().and_then(|server| server.try_wait().transpose()) {
                bail!("kube-apiserver ended with {}: {}", status?, said(folder, "apiserver"));
            }
            std::thread::park_timeout(Duration::from_millis(200));
        }
        bail!("kube-apiserver did not answer within two minutes: {}", said(folder, "apiserver"))
    }

    /// Asks it as an administrator; its answer where it is content, what it objects to where it is not.
    pub fn ask(&self, method: &str, path: &str, form: &str, body: &str) -> Result<Value> {
        let sent = self.folder.join("body");
        fs::write(&sent, body)?;
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--request", method, "--write-out", "\n%{http_code}"])
            .args(["--header", "Authorization: Bearer loopback", "--cacert"])
            .arg(self.folder.join("certificates/apiserver.crt"));
        if !body.is_empty() {
            curl.args(["--header", &format!("Content-Type: {form}"), "--data-binary"]);
            curl.arg(format!("@{}", sent.display()));
        }
        let output = curl.arg(format!("{}{path}", self.place)).output().context("starting curl")?;
        let told = String::from_utf8_lossy(&output.stdout);
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (answer, status) = told.rsplit_once('\n').context("a status")?;
        let answer: Value = serde_json::from_str(answer).unwrap_or_else(|_| answer.into());
        ensure!(status.starts_with('2'), "{status}: {}", answer["message"].as_str().unwrap_or_default());
        Ok(answer)
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        for child in self.server.iter_mut().chain([&mut self.etcd]) {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn spawn(mut command: Command, folder: &Path, name: &str) -> Result<Child> {
    let said = File::create(folder.join(format!("{name}.said")))?;
    Ok(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(said).spawn()?)
}

/// The end of what a process said.
fn said(folder: &Path, name: &str) -> String {
    let all = fs::read_to_string(folder.join(format!("{name}.said"))).unwrap_or_default();
    let lines: Vec<&str> = all.lines().collect();
    lines[lines.len().saturating_sub(5)..].join("\n")
}
