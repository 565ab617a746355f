//! How many rows a second come over HTTP into an embedded log: `rate_http [SECONDS] [CONNECTIONS] [lines|gzip|array]`.
//!
//! Senders are a child process; each connection sends a body of 20,000 samples of 1,000 series and waits for its
//! answer, which says that they are durable. Bodies are made before time is taken.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;
use yagura_event::{Kind, clock};

mod rate_web;

const ROWS: usize = 20_000;
const SERIES: usize = 1_000;

type Failed = Box<dyn std::error::Error + Send + Sync>;

fn main() -> Result<(), Failed> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if let [send, port, seconds, connections, form] = arguments.as_slice()
        && send == "send"
    {
        return senders(port.parse()?, seconds.parse()?, connections.parse()?, form);
    }
    let or = |place: usize, default: &str| arguments.get(place).map_or(default, String::as_str).to_string();
    let port = rate_web::free_port()?;
    let settings = json!({ "name": "web", "kind": "http", "listen": format!("127.0.0.1:{port}") });
    let child = ["send".into(), port.to_string(), or(0, "10"), or(1, "16"), or(2, "lines")];
    rate_web::measure(settings, Kind::Sample, &child)
}

fn senders(port: u16, seconds: u64, connections: usize, form: &str) -> Result<(), Failed> {
    let requests: Vec<Vec<u8>> = (0..4).map(|_| request(form)).collect::<Result<_, _>>()?;
    let until = rate_web::now() + Duration::from_secs(seconds);
    let sent = std::thread::scope(|scope| {
        let requests = &requests;
        let all: Vec<_> = (0..connections)
            .map(|n| scope.spawn(move || sender(port, &requests[n % requests.len()], until)))
            .collect();
        let sent = all.into_iter().map(|one| one.join().map_err(|_| Failed::from("a sender panicked"))?);
        sent.sum::<Result<u64, Failed>>()
    })?;
    rate_web::told(sent);
    Ok(())
}

fn sender(port: u16, request: &[u8], until: std::time::Instant) -> Result<u64, Failed> {
    let mut stream = loop {
        match TcpStream::connect(("127.0.0.1", port)) {
            Ok(stream) => break stream,
            Err(_) => std::thread::park_timeout(Duration::from_millis(10)),
        }
    };
    let (mut answer, mut sent) = ([0; 4096], 0);
    while rate_web::now() < until {
        stream.write_all(request)?;
        let got = stream.read(&mut answer)?;
        match answer.get(9..12) {
            Some(b"200") => sent += ROWS as u64,
            Some(b"429") => std::thread::park_timeout(Duration::from_millis(50)),
            _ => return Err(String::from_utf8_lossy(&answer[..got]).into_owned().into()),
        }
    }
    Ok(sent)
}

fn request(form: &str) -> Result<Vec<u8>, Failed> {
    let mut body = String::new();
    let start = clock::now();
    for row in 0..ROWS {
        let series = row % SERIES;
        let line = json!({
            "time": clock::rfc3339(start + row as i64 * 10),
            "tool": format!("ETCH-{:02}", series / 100),
            "chamber": if series % 100 < 50 { "A" } else { "B" },
            "signal": format!("signal_{:02}", series % 50),
            "value": (fastrand::f64() * 1e6).round() / 1e3,
            "unit": "mTorr",
            "quality": 0,
        });
        let before = match (form, row) {
            ("array", 0) => "[",
            ("array", _) => ",",
            _ => "",
        };
        body.push_str(&format!("{before}{line}\n"));
    }
    let content = match form {
        "array" => {
            body.push(']');
            "json"
        }
        _ => "x-ndjson",
    };
    let (mut bytes, mut encoding) = (body.into_bytes(), "");
    if form == "gzip" {
        let mut packed = GzEncoder::new(Vec::new(), Compression::fast());
        packed.write_all(&bytes)?;
        (bytes, encoding) = (packed.finish()?, "Content-Encoding: gzip\r\n");
    }
    let mut request = format!(
        "POST /v1/rows HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/{content}\r\n{encoding}Content-Length: {}\r\n\r\n",
        bytes.len()
    )
    .into_bytes();
    request.extend(bytes);
    Ok(request)
}
