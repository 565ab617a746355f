//! What a running instance says of itself over HTTP: its metrics, and whether it is live and ready.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::time::Duration;

/// How long the instance may take to answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// The most bytes of an answer.
const ANSWER_MAX: u64 = 64 << 20;

/// Where an instance answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Address {
    host: String,
    path: String,
}

impl Address {
    /// From `http://127.0.0.1:9600`, with or without a path that its metrics stand below.
    pub fn parse(url: &str) -> Result<Self, String> {
        let wrong =
            || format!("`{url}` is no address; write http://HOST:PORT, such as http://127.0.0.1:9600");
        let rest = match url.split_once("://") {
            Some(("http", rest)) => rest,
            Some(_) => return Err(format!("{}; Yagura's console speaks plain HTTP", wrong())),
            None => url,
        };
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (name, port) = host.rsplit_once(':').ok_or_else(wrong)?;
        if name.is_empty() || port.parse::<u16>().is_err() || host.contains(char::is_whitespace) {
            return Err(wrong());
        }
        let path = path.trim_end_matches('/').trim_end_matches("metrics").trim_end_matches('/');
        let path = if path.is_empty() { String::new() } else { format!("/{path}") };
        Ok(Address { host: host.into(), path })
    }

    /// The status and body of a resource.
    pub fn get(&self, resource: &str) -> std::io::Result<(u16, String)> {
        let mut last = std::io::Error::from(std::io::ErrorKind::NotFound);
        for address in self.host.to_socket_addrs()? {
            match TcpStream::connect_timeout(&address, PATIENCE) {
                Ok(stream) => return self.ask(stream, resource),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    fn ask(&self, mut stream: TcpStream, resource: &str) -> std::io::Result<(u16, String)> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let (host, path) = (&self.host, &self.path);
        // Version 1.0: the answer ends with the connection and comes in one piece.
        write!(stream, "GET {path}{resource} HTTP/1.0\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        let mut answer = Vec::new();
        stream.take(ANSWER_MAX).read_to_end(&mut answer)?;
        let answer = String::from_utf8_lossy(&answer);
        let no_http = || std::io::Error::other("what answers there speaks no HTTP");
        let (head, body) = answer.split_once("\r\n\r\n").ok_or_else(no_http)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(no_http)?;
        Ok((status, body.to_string()))
    }
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "http://{}{}", self.host, self.path)
    }
}

/// The labels of a sample.
pub type Labels = BTreeMap<String, String>;

/// All samples of a scrape.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metrics(BTreeMap<String, Vec<(Labels, f64)>>);

impl Metrics {
    /// Reads Prometheus's text form; lines that are none are passed over.
    pub fn parse(text: &str) -> Self {
        let mut out = Metrics::default();
        for (name, labels, value) in text.lines().filter_map(sample) {
            out.0.entry(name).or_default().push((labels, value));
        }
        out
    }

    /// The samples of a name.
    pub fn of(&self, name: &str) -> &[(Labels, f64)] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }

    /// Their sum.
    pub fn sum(&self, name: &str) -> f64 {
        self.of(name).iter().fold(0.0, |sum, (_, value)| sum + value)
    }

    /// By the value of one label, the sum of the samples that have these others.
    pub fn by(&self, name: &str, label: &str, with: &[(&str, &str)]) -> BTreeMap<String, f64> {
        let mut out = BTreeMap::new();
        for (labels, value) in self.of(name) {
            let has = |(name, value): &(&str, &str)| labels.get(*name).is_some_and(|found| found == value);
            if let Some(of) = labels.get(label).filter(|_| with.iter().all(has)) {
                *out.entry(of.clone()).or_insert(0.0) += value;
            }
        }
        out
    }
}

/// `name{label="value"} 1.5`.
fn sample(line: &str) -> Option<(String, Labels, f64)> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let name_end = line.find(|c: char| c == '{' || c.is_whitespace())?;
    let (name, mut rest) = line.split_at(name_end);
    let mut labels = Labels::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        loop {
            rest = rest.trim_start_matches([',', ' ']);
            if let Some(after) = rest.strip_prefix('}') {
                rest = after;
                break;
            }
            let (label, after) = rest.split_once("=\"")?;
            let (value, after) = quoted(after)?;
            labels.insert(label.trim().to_string(), value);
            rest = after;
        }
    }
    let value = rest.split_whitespace().next()?.parse().ok()?;
    Some((name.to_string(), labels, value))
}

/// A value up to its closing quote, and what follows.
fn quoted(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut chars = text.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => return Some((out, &text[at + 1..])),
            '\\' => match chars.next()?.1 {
                'n' => out.push('\n'),
                other => out.push(other),
            },
            other => out.push(other),
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_people_write_them() {
        let at = |url: &str| Address::parse(url).map(|address| address.to_string());
        assert_eq!(at("http://127.0.0.1:9600"), Ok("http://127.0.0.1:9600".into()));
        assert_eq!(at("127.0.0.1:9600/metrics"), Ok("http://127.0.0.1:9600".into()));
        assert_eq!(at("http://[::1]:9600/yagura/"), Ok("http://[::1]:9600/yagura".into()));
        for wrong in ["https://x:1", "http://x", "http://:9600", "http://a b:1", ""] {
            assert!(at(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn prometheus_text_is_read() {
        let text = "# HELP a A.\n# TYPE a counter\na{cell=\"x\\\"y\\\\\",q=\"1,}\"} 3 1700\na{cell=\"z\",q=\"2\"} 4\nb 1e3\nnonsense\nc{ 1\nd +Inf\n";
        let metrics = Metrics::parse(text);
        assert_eq!(metrics.sum("a"), 7.0);
        assert_eq!(metrics.by("a", "cell", &[("q", "1,}")]), BTreeMap::from([("x\"y\\".to_string(), 3.0)]));
        assert_eq!((metrics.sum("b"), metrics.sum("c"), metrics.sum("d")), (1000.0, 0.0, f64::INFINITY));
    }
}
