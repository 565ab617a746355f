//! node-opcua in a process of its own, and what processes use.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use serde_json::json;

/// A server whose variables all change every so many milliseconds.
pub struct Server {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    /// Where it listens.
    pub endpoint: String,
}

impl Server {
    /// Starts one; its certificates go to `folder`.
    pub fn start(variables: u64, tick: u64, sessions: u64, folder: &Path) -> Server {
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).map(|at| at.port());
        let port = port.unwrap_or_else(|e| panic!("no port: {e}"));
        let script = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/peers/opcua.js");
        let settings = json!({
            "port": port, "variables": variables, "tick": tick, "sessions": sessions, "folder": folder.join("server"),
        });
        let installed = yagura_testkit::peers::opcua_node(&yagura_testkit::build_folder());
        let mut child = Command::new("node")
            .arg(script)
            .arg(settings.to_string())
            .current_dir(&installed)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| {
                panic!("node-opcua in {}: {e}; `cargo xtask test` installs it", installed.display())
            });
        let (Some(input), Some(output)) = (child.stdin.take(), child.stdout.take()) else {
            panic!("its pipes")
        };
        let endpoint = format!("opc.tcp://127.0.0.1:{port}/");
        let mut server = Server { child, input, output: BufReader::new(output), endpoint };
        while server.line() != "ready" {}
        server
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        let read = self.output.read_line(&mut line).unwrap_or_else(|e| panic!("{e}"));
        assert!(read > 0, "the server ended");
        line.trim().to_string()
    }

    /// Seconds of processor time that it has used.
    pub fn used(&mut self) -> f64 {
        writeln!(self.input).unwrap_or_else(|e| panic!("{e}"));
        loop {
            if let Ok(used) = self.line().parse() {
                return used;
            }
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Seconds of processor time that this process has used.
pub fn used() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let after = stat.rsplit_once(')').map_or("", |(_, after)| after);
    let ticks: u64 =
        after.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    ticks as f64 / 100.0
}

/// Bytes of memory that this process has.
pub fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}
