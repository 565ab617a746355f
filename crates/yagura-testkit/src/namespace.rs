//! Two hosts on one machine: network namespaces with a cable between them.

use std::net::Ipv4Addr;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result, ensure};

/// Two namespaces, gone at the end.
#[derive(Debug)]
pub struct Pair {
    names: [String; 2],
}

impl Pair {
    /// The hosts' addresses.
    pub const ADDRESSES: [Ipv4Addr; 2] = [Ipv4Addr::new(10, 23, 0, 1), Ipv4Addr::new(10, 23, 0, 2)];

    /// Makes both, each with its loopback interface and its end of the cable. An error where the system does not
    /// permit it.
    pub fn new() -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = |end: u32| format!("yagura-pair-{}-{number}-{end}", std::process::id());
        let pair = Pair { names: [name(0), name(1)] };
        let [one, other] = &pair.names;
        for name in &pair.names {
            ip(&["netns", "add", name])?;
        }
        ip(&["-n", one, "link", "add", "cable", "type", "veth", "peer", "name", "cable", "netns", other])?;
        for (name, address) in pair.names.iter().zip(Self::ADDRESSES) {
            ip(&["-n", name, "addr", "add", &format!("{address}/24"), "dev", "cable"])?;
            ip(&["-n", name, "link", "set", "cable", "up"])?;
            ip(&["-n", name, "link", "set", "lo", "up"])?;
        }
        Ok(pair)
    }

    /// A host's namespace.
    pub fn name(&self, host: usize) -> &str {
        &self.names[host]
    }

    /// A program on a host.
    pub fn command(&self, host: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", self.name(host), program]);
        command
    }

    /// Pulls the cable, or puts it in again.
    pub fn cable(&self, there: bool) -> Result<()> {
        ip(&["-n", self.name(0), "link", "set", "cable", if there { "up" } else { "down" }])
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        for name in &self.names {
            // One that was not made cannot be deleted.
            let _ = ip(&["netns", "del", name]);
        }
    }
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("`ip` cannot be started")?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {}", arguments.join(" "), said.trim());
    Ok(())
}
