//! A receiver of webhooks that keeps what it takes.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result};

/// It answers each POST with 200 once it has the `Idempotency-Key`; it ends with the process.
pub struct Hook {
    /// Where it listens.
    pub address: SocketAddr,
    keys: Arc<Mutex<Vec<String>>>,
}

impl Hook {
    /// Starts it.
    pub fn start() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        let address = listener.local_addr()?;
        let keys = Arc::<Mutex<Vec<String>>>::default();
        let shared = Arc::clone(&keys);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let keys = Arc::clone(&shared);
                // A connection that breaks is what this is for.
                std::thread::spawn(move || while take(&stream, &keys).is_ok() {});
            }
        });
        Ok(Self { address, keys })
    }

    /// The keys in the order in which they came, those that came again with them.
    pub fn keys(&self) -> Vec<String> {
        self.keys.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn take(mut stream: &TcpStream, keys: &Mutex<Vec<String>>) -> Result<()> {
    let mut reader = BufReader::new(stream);
    let (mut length, mut key) = (0, None);
    loop {
        let mut line = String::new();
        anyhow::ensure!(reader.read_line(&mut line)? > 0, "it ended");
        match line.trim_end().split_once(": ") {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => length = value.parse()?,
            Some((name, value)) if name.eq_ignore_ascii_case("idempotency-key") => {
                key = Some(value.to_string());
            }
            None if line.trim_end().is_empty() => break,
            _ => {}
        }
    }
    reader.read_exact(&mut vec![0; length])?;
    keys.lock().unwrap_or_else(PoisonError::into_inner).push(key.context("no key")?);
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")?;
    Ok(())
}
