//! As much of HTTP as tests need to ask a server on loopback.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

/// The body of an answer to GET.
pub fn get(address: SocketAddr, path: &str) -> Result<String> {
    ask(address, "GET", path, "")
}

/// The body of an answer to a request with a body of JSON.
pub fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(30)))?;
    // HTTP/1.0, so that the answer ends with the connection and has no chunks.
    stream.write_all(
        format!(
            "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
        .as_bytes(),
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no body in the answer")?;
    let first = head.lines().next().unwrap_or_default();
    if !first.split(' ').nth(1).is_some_and(|status| status.starts_with('2')) {
        bail!("{method} {path}: {first}: {body}");
    }
    Ok(body.to_string())
}
