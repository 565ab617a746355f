//! Syslog over TCP, which acknowledges nothing: what was sent while nothing broke is there.

use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use yagura_event::Kind;

use super::{Fault, Promise, Subject};
use crate::peers::listening;
use crate::rig::{Row, free_port};

/// One sender.
pub struct Stream {
    port: u16,
    sent: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    sender: Option<JoinHandle<()>>,
}

impl Stream {
    pub fn new(_folder: &Path) -> Self {
        Stream { port: free_port(), sent: Arc::default(), stop: Arc::default(), sender: None }
    }
}

impl Subject for Stream {
    fn settings(&self) -> Value {
        json!({
            "name": "syslog", "kind": "syslog", "tcp": format!("127.0.0.1:{}", self.port), "batch": "20ms",
            "queue": "256KiB",
        })
    }

    /// A sender cannot know what became of what it sent over a connection that broke.
    fn faults(&self) -> &'static [Fault] {
        &[Fault::PeerKilled, Fault::LogRefuses]
    }

    fn promise(&self) -> Promise {
        Promise::Kept
    }

    fn speak(&mut self) {
        self.stop.store(false, Ordering::Release);
        let (sent, stop, port) = (Arc::clone(&self.sent), Arc::clone(&self.stop), self.port);
        listening(port);
        self.sender = Some(std::thread::spawn(move || {
            let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
            while !stop.load(Ordering::Acquire) {
                let number = sent.load(Ordering::Acquire);
                let line = format!("<34>1 - h app - - - {number} {}\n", "x".repeat(300));
                stream.write_all(line.as_bytes()).expect("sent");
                sent.store(number + 1, Ordering::Release);
                if number.is_multiple_of(64) {
                    std::thread::park_timeout(Duration::from_millis(1));
                }
            }
        }));
    }

    fn hush(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(sender) = self.sender.take() {
            sender.join().expect("a sender");
        }
    }

    fn taken(&self) -> Vec<u64> {
        (0..self.sent.load(Ordering::Acquire)).collect()
    }

    fn number(&self, row: &Row) -> Option<u64> {
        let number = row.text("description").split(' ').next()?;
        (row.kind == Kind::Log).then(|| number.parse().ok()).flatten()
    }
}
