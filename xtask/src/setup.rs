//! Installs the third-party programs that the tests talk to.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run;

/// A program that must be there, and the Debian packages that bring it.
const PROGRAMS: &[(&str, &[&str])] = &[
    ("/usr/bin/tshark", &["tshark"]),
    ("/usr/bin/promtool", &["prometheus"]),
    ("/usr/bin/prometheus", &["prometheus"]),
    ("/usr/sbin/rsyslogd", &["rsyslog"]),
    ("/usr/include/pcap/pcap.h", &["libpcap-dev"]),
    ("/usr/sbin/ip", &["iproute2"]),
    ("/usr/bin/setpriv", &["util-linux"]),
    ("/usr/lib/x86_64-linux-gnu/rsyslog/imrelp.so", &["rsyslog-relp"]),
    ("/usr/lib/x86_64-linux-gnu/rsyslog/lmnsd_ossl.so", &["rsyslog-openssl"]),
    ("/usr/lib/x86_64-linux-gnu/rsyslog/lmnsd_gtls.so", &["rsyslog-gnutls"]),
];

/// Debian packages, and Kafka's jars through Maven.
pub fn all() -> Result<()> {
    packages()?;
    yagura_testkit::kafka::fetch(&yagura_testkit::build_folder()).context("Kafka cannot be fetched")?;
    Ok(())
}

/// Debian packages.
#[expect(clippy::print_stdout, reason = "progress of long work")]
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
    println!("installing {}", missing.join(", "));
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
        arguments.extend(&missing);
        apt(&arguments)
    });
    if let Err(cause) = installed {
        bail!("the tests need the Debian packages {}: {cause:#}", missing.join(" "));
    }
    Ok(())
}

/// Modules of rsyslog lie in a folder named after the machine's kind.
fn elsewhere(program: &str) -> bool {
    let Some(name) = program.strip_prefix("/usr/lib/x86_64-linux-gnu/") else { return false };
    std::fs::read_dir("/usr/lib")
        .is_ok_and(|mut folders| folders.any(|folder| folder.is_ok_and(|f| f.path().join(name).exists())))
}
