//! Bodies of rows with positions over HTTP; 200 is the acknowledgement.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use yagura_event::Kind;

use super::{ALL, Fault, Promise, Subject};
use crate::peers::Network;
use crate::rig::{Row, free_port};

/// Rows of a body.
const ROWS: u64 = 20;

/// A client that says each body until it is answered 200.
pub struct Bodies {
    port: u16,
    network: Arc<Network>,
    taken: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    sender: Option<JoinHandle<()>>,
}

impl Bodies {
    pub fn new(_folder: &Path) -> Self {
        let port = free_port();
        Bodies {
            port,
            network: Arc::new(Network::before(port)),
            taken: Arc::default(),
            stop: Arc::default(),
            sender: None,
        }
    }
}

impl Subject for Bodies {
    fn settings(&self) -> Value {
        json!({
            "name": "web", "kind": "http", "listen": format!("127.0.0.1:{}", self.port), "batch": "20ms",
            "queue": "1MiB", "body": "256KiB", "answer_timeout": "500ms",
        })
    }

    fn faults(&self) -> &'static [Fault] {
        ALL
    }

    fn promise(&self) -> Promise {
        Promise::Kept
    }

    fn speak(&mut self) {
        self.stop.store(false, Ordering::Release);
        let (taken, stop, port) = (Arc::clone(&self.taken), Arc::clone(&self.stop), self.network.port);
        self.sender = Some(std::thread::spawn(move || {
            let mut client = Client::new(port, "sender");
            while !stop.load(Ordering::Acquire) {
                let first = taken.load(Ordering::Acquire);
                match client.say(first / ROWS, first..first + ROWS) {
                    200 => taken.store(first + ROWS, Ordering::Release),
                    0 | 429 | 503 => std::thread::park_timeout(Duration::from_millis(10)),
                    other => panic!("answered {other}"),
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

    fn cut(&self) {
        self.network.cut();
    }

    fn taken(&self) -> Vec<u64> {
        (0..self.taken.load(Ordering::Acquire)).collect()
    }

    fn number(&self, row: &Row) -> Option<u64> {
        (row.kind == Kind::Sample).then(|| row.number("value")).flatten().map(|value| value as u64)
    }
}

/// Sends numbered bodies over one connection, which it opens again as needed.
pub struct Client {
    port: u16,
    stream: String,
    connection: Option<BufReader<TcpStream>>,
}

impl Client {
    /// One that names its stream.
    pub fn new(port: u16, stream: &str) -> Self {
        Client { port, stream: stream.into(), connection: None }
    }

    /// Sends a body of samples once; answers the status, 0 for a connection that broke.
    pub fn say(&mut self, position: u64, values: Range<u64>) -> u16 {
        let rows: String = values.map(|value| sample(value) + "\n").collect();
        let request = format!(
            "POST /v1/rows HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson\r\nYagura-Stream: {}\r\n\
             Yagura-Position: {position}\r\nContent-Length: {}\r\n\r\n{rows}",
            self.stream,
            rows.len()
        );
        self.exchange(request.as_bytes()).unwrap_or_else(|_| {
            self.connection = None;
            0
        })
    }

    fn exchange(&mut self, request: &[u8]) -> std::io::Result<u16> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let stream = TcpStream::connect(("127.0.0.1", self.port))?;
                stream.set_read_timeout(Some(Duration::from_secs(20)))?;
                none.insert(BufReader::new(stream))
            }
        };
        connection.get_mut().write_all(request)?;
        let (mut status, mut length) = (0, 0);
        loop {
            let mut line = String::new();
            if connection.read_line(&mut line)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            if let Some(rest) = line.strip_prefix("HTTP/1.1 ") {
                status = rest.get(..3).and_then(|status| status.parse().ok()).unwrap_or(0);
            }
            if let Some(rest) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = rest.trim().parse().unwrap_or(0);
            }
            if line == "\r\n" {
                break;
            }
        }
        connection.read_exact(&mut vec![0; length])?;
        Ok(status)
    }
}

/// A row of a sample.
pub fn sample(value: u64) -> String {
    format!(
        r#"{{"time":"2026-11-02T22:00:01Z","tool":"ETCH-07","chamber":"A","signal":"pressure","value":{value},"unit":"mTorr"}}"#
    )
}
