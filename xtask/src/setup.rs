//! Installs the third-party programs that the tests talk to.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use yagura_testkit::{apiserver, helm, peers};

use crate::run;

const PCAP: &str = "/usr/include/pcap/pcap.h";

/// A program that must be there, and the Debian packages that bring it.
const PROGRAMS: &[(&str, &[&str])] = &[
    ("/usr/bin/tshark", &["tshark"]),
    ("/usr/bin/promtool", &["prometheus"]),
    ("/usr/bin/prometheus", &["prometheus"]),
    ("/usr/bin/prometheus-alertmanager", &["prometheus-alertmanager"]),
    ("/usr/sbin/rsyslogd", &["rsyslog"]),
    ("/usr/bin/psql", &["postgresql-client"]),
    ("/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1", &["libfaketime"]),
    (PCAP, &["libpcap-dev"]),
    ("/usr/sbin/ip", &["iproute2"]),
    ("/usr/bin/setpriv", &["util-linux"]),
    ("/usr/sbin/mosquitto", &["mosquitto"]),
    ("/usr/bin/openssl", &["openssl"]),
    ("/usr/bin/curl", &["curl"]),
    ("/usr/bin/logger", &["bsdutils"]),
    ("/usr/lib/x86_64-linux-gnu/rsyslog/imrelp.so", &["rsyslog-relp"]),
    ("/usr/lib/x86_64-linux-gnu/rsyslog/lmnsd_ossl.so", &["rsyslog-openssl"]),
    ("/usr/lib/x86_64-linux-gnu/rsyslog/lmnsd_gtls.so", &["rsyslog-gnutls"]),
];

/// secsgem, as `pip` names it with its version.
const SECSGEM: &str = "secsgem==0.3.0";

/// Debian packages, Kafka's and OpenSearch's jars through Maven, what reads the sinks' formats, and what the collectors talk to.
pub fn all() -> Result<()> {
    packages()?;
    yagura_testkit::kafka::fetch(&yagura_testkit::build_folder()).context("Kafka cannot be fetched")?;
    opensearch()?;
    secsgem()?;
    equipment()?;
    let folder = yagura_testkit::build_folder();
    python(&peers::readers(&folder), peers::READERS)?;
    node(&peers::reader_node(&folder), peers::READER_NODE)?;
    chart_or_say();
    node(&peers::opcua_node(&yagura_testkit::build_folder()), peers::OPCUA_NODE)
}

/// What a program with live capture is built with.
pub fn libpcap() -> Result<()> {
    if Path::new(PCAP).exists() { Ok(()) } else { install(&["libpcap-dev"]) }
}

/// The index that alerts go to.
pub fn opensearch() -> Result<()> {
    yagura_testkit::opensearch::fetch().map(drop).context("OpenSearch cannot be fetched")
}

/// What the collectors talk to, from the Python package index.
pub fn equipment() -> Result<()> {
    python(&peers::equipment(&yagura_testkit::build_folder()), peers::EQUIPMENT)
}

/// Without Helm the chart is not tested, and its tests say so.
#[expect(clippy::print_stderr, reason = "what is left out is named")]
fn chart_or_say() {
    if let Err(cause) = chart() {
        eprintln!("the Helm chart will not be tested: {cause:#}");
    }
}

/// Helm and what judges its manifests.
fn chart() -> Result<()> {
    let folder = yagura_testkit::build_folder();
    helm::install(&folder)?;
    python(&helm::judges(&folder), helm::JUDGES)
}

/// Those, and an API server on Debian's etcd.
#[expect(clippy::print_stderr, reason = "progress of long work")]
pub fn apiserver() -> Result<()> {
    chart()?;
    if !Path::new("/usr/bin/etcd").exists() {
        install(&["etcd-server"])?;
    }
    eprintln!("building kube-apiserver 1.{}, unless it is there", apiserver::KUBERNETES);
    apiserver::install(&yagura_testkit::build_folder())
}

/// A package of the npm registry in a folder of its own; it needs Node.js 20 or later.
fn node(folder: &Path, package: &str) -> Result<()> {
    let done = folder.join(peers::INSTALLED);
    if std::fs::read_to_string(&done).is_ok_and(|what| what == package) {
        return Ok(());
    }
    if Command::new("npm").arg("--version").output().is_err() {
        install(&["nodejs", "npm"])?;
    }
    std::fs::create_dir_all(folder)?;
    let mut npm = Command::new("npm");
    npm.args(["install", "--no-audit", "--no-fund", "--silent", "--ignore-scripts", "--prefix"])
        .arg(folder)
        .arg(package);
    run(&mut npm).with_context(|| format!("{package} cannot be installed; it needs Node.js 20 or later"))?;
    Ok(std::fs::write(done, package)?)
}

/// secsgem in a folder of its own, from the Python package index.
pub fn secsgem() -> Result<()> {
    python(&yagura_testkit::build_folder().join("secsgem"), &[SECSGEM])
}

/// The stream engines that `bench peers` runs.
pub fn peers() -> Result<()> {
    let folder = yagura_testkit::build_folder();
    peers::flink(&folder).context("Apache Flink cannot be fetched")?;
    let packages = [format!("river=={}", peers::RIVER), format!("bytewax=={}", peers::BYTEWAX)];
    python(&peers::python(&folder), &packages.each_ref().map(String::as_str))
}

/// The libraries of models that `bench models` times beside its own. Without them the benchmark leaves them out and
/// says so.
#[expect(clippy::print_stderr, reason = "a peer that is left out is named")]
pub fn model_peers() {
    let folder = peers::python_models(&yagura_testkit::build_folder());
    let packages = [format!("river=={}", peers::RIVER), format!("pyod=={}", peers::PYOD)];
    if let Err(cause) = python(&folder, &packages.each_ref().map(String::as_str)) {
        eprintln!("{cause:#}; they are left out");
    }
}

/// Packages of the Python package index in an environment of their own.
fn python(folder: &Path, packages: &[&str]) -> Result<()> {
    let done = folder.join(peers::INSTALLED);
    let wanted = packages.join("\n");
    if std::fs::read_to_string(&done).is_ok_and(|what| what == wanted) {
        return Ok(());
    }
    let environment = || run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(folder));
    // Debian keeps the module in a package of its own.
    if environment().is_err() {
        install(&["python3-venv"])?;
        environment()?;
    }
    run(Command::new(folder.join("bin/pip")).args(["install", "--quiet"]).args(packages))
        .with_context(|| format!("{} cannot be installed", packages.join(", ")))?;
    Ok(std::fs::write(done, wanted)?)
}

/// Debian packages.
pub fn packages() -> Result<()> {
    let mut missing: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(program, _)| !Path::new(program).exists() && !elsewhere(program))
        .flat_map(|(_, packages)| packages.iter().copied())
        .collect();
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() {
        return Ok(());
    }
    install(&missing)
}

#[expect(clippy::print_stdout, reason = "progress of long work")]
fn install(packages: &[&str]) -> Result<()> {
    println!("installing {}", packages.join(", "));
    let root = Command::new("id").arg("-u").output().is_ok_and(|o| o.stdout == b"0\n");
    let apt = |arguments: &[&str]| {
        let mut command = if root {
            Command::new("apt-get")
        } else {
            let mut sudo = Command::new("sudo");
            sudo.arg("apt-get");
            sudo
        };
        command.args(["-qq", "-y"]).args(arguments).env("DEBIAN_FRONTEND", "noninteractive");
        run(&mut command)
    };
    let installed = apt(&["update"]).and_then(|()| {
        let mut arguments = vec!["install", "--no-install-recommends"];
        arguments.extend(packages);
        apt(&arguments)
    });
    if let Err(cause) = installed {
        bail!("the tests need the Debian packages {}: {cause:#}", packages.join(" "));
    }
    Ok(())
}

/// Suricata, a peer of the benchmarks: from Debian's release, or from its backports where the
/// system has them switched on. Without it the benchmark leaves it out and says so.
#[expect(clippy::print_stderr, reason = "a peer that is left out is named")]
pub fn suricata() {
    if Path::new("/usr/bin/suricata").exists() || install(&["suricata"]).is_ok() {
        return;
    }
    let release = std::fs::read_to_string("/etc/os-release").unwrap_or_default();
    let name = release.lines().find_map(|l| l.strip_prefix("VERSION_CODENAME=")).unwrap_or("stable");
    if install(&["--target-release", &format!("{name}-backports"), "suricata"]).is_err() {
        eprintln!(
            "Suricata cannot be installed here; Debian 12 has it in bookworm-backports, later releases in main"
        );
    }
}

/// Modules of rsyslog lie in a folder named after the machine's kind.
fn elsewhere(program: &str) -> bool {
    let Some(name) = program.strip_prefix("/usr/lib/x86_64-linux-gnu/") else { return false };
    std::fs::read_dir("/usr/lib")
        .is_ok_and(|mut folders| folders.any(|folder| folder.is_ok_and(|f| f.path().join(name).exists())))
}
