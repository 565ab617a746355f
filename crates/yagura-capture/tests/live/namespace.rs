//! Network namespaces with veth pairs, and a sender of frames.

use std::path::{Path, PathBuf};
use std::process::Command;

use pcap::{Active, Capture};

/// Set inside a namespace.
const INSIDE: &str = "YAGURA_TEST_NAMESPACE";

/// Runs `body` in a new namespace that has, for each letter, a pair of interfaces `a0` and `a1`
/// that are up. `test` is the name of the test that calls this.
pub fn within(test: &str, pairs: &[&str], body: impl FnOnce()) {
    if std::env::var_os(INSIDE).is_some() {
        return body();
    }
    let Some(namespace) = Namespace::new() else { return };
    for pair in pairs {
        let (one, other) = (format!("{pair}0"), format!("{pair}1"));
        ip(&format!("-n {} link add {one} type veth peer name {other}", namespace.0));
        for name in [one, other] {
            ip(&format!("-n {} link set {name} mtu 9200 up", namespace.0));
        }
    }
    let own = std::env::current_exe().unwrap_or_else(|e| panic!("{e}"));
    let mut again = Command::new("ip");
    again.args(["netns", "exec", &namespace.0]).arg(own);
    again.args(["--exact", test, "--nocapture"]).env(INSIDE, &namespace.0);
    let output = again.output().unwrap_or_else(|e| panic!("{e}"));
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
    said.lines()
        .filter(|line| line.contains("SKIPPED") || line.contains("packets"))
        .for_each(|line| eprintln!("{line}"));
}

/// A namespace, gone at the end.
struct Namespace(String);

impl Namespace {
    /// None, said plainly, where one cannot be made.
    fn new() -> Option<Namespace> {
        static NUMBER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let name = format!("yagura-{}-{number}", std::process::id());
        let made = Command::new("ip").args(["netns", "add", &name]).output();
        match made {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                eprintln!(
                    "SKIPPED: no network namespace: {}",
                    String::from_utf8_lossy(&output.stderr).trim()
                );
                return None;
            }
            Err(error) => {
                eprintln!("SKIPPED: no network namespace: `ip` cannot be started: {error}");
                return None;
            }
        }
        let namespace = Namespace(name);
        // Otherwise each end announces itself.
        let quiet = "echo 1 | tee /proc/sys/net/ipv6/conf/default/disable_ipv6 /proc/sys/net/ipv6/conf/all/disable_ipv6";
        let _ = Command::new("ip").args(["netns", "exec", &namespace.0, "sh", "-c", quiet]).output();
        Some(namespace)
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        ip(&format!("netns del {}", self.0));
    }
}

/// Runs `ip` with words.
pub fn ip(words: &str) {
    let output = Command::new("ip").args(words.split(' ')).output().unwrap_or_else(|e| panic!("ip: {e}"));
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() && !std::thread::panicking() {
        panic!("ip {words}: {said}");
    }
}

/// Sends frames out of an interface.
pub struct Sender(Capture<Active>);

impl Sender {
    pub fn open(interface: &str) -> Sender {
        let capture = Capture::from_device(interface).and_then(|c| c.snaplen(64).buffer_size(1 << 20).open());
        let mut capture = capture.unwrap_or_else(|e| panic!("{interface}: {e}"));
        // It receives nothing.
        capture.filter("less 1", true).unwrap_or_else(|e| panic!("{e}"));
        Sender(capture)
    }

    pub fn send(&mut self, frame: &[u8]) {
        self.0.sendpacket(frame).unwrap_or_else(|e| panic!("{e}"));
    }
}

/// A folder of its own, gone at the end.
pub struct Folder(PathBuf);

impl Folder {
    pub fn new(name: &str) -> Folder {
        let path = std::env::temp_dir().join(format!("yagura-live-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap_or_else(|e| panic!("{e}"));
        Folder(path)
    }

    pub fn path(&self) -> &Path {
        &self.0
    }

    pub fn files(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(&self.0).unwrap_or_else(|e| panic!("{e}"));
        let mut files: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
        files.sort();
        files
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
