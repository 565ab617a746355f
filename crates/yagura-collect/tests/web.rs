//! Sources that listen, with real peers: curl, logger and rsyslog.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::ops::Range;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Map, Value, json};
use yagura_collect::live::{self, Destination};
use yagura_collect::run::Progress;
use yagura_collect::sources::CollectorConfig;
use yagura_collect::{Opened, Plant};
use yagura_event::{AssetTable, Envelope, Kind, codec};
use yagura_log::altered::{Mood, moody};
use yagura_log::embedded::{Embedded, Options};
use yagura_log::{Log, memory};
use yagura_testkit::certificates::Certificates;

const TOPIC: &str = "events";

/// A collector that runs in this process.
struct Running {
    log: Arc<dyn Log>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _runtime: tokio::runtime::Runtime,
}

impl Running {
    /// Starts it over `log`; paths of its settings and its notes are in `folder`.
    fn start(log: Arc<dyn Log>, settings: Value, folder: &Path) -> Self {
        log.ensure_topic(TOPIC, 1).expect("a topic");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let assets = assets();
        let plant = Plant {
            assets: Arc::clone(&assets),
            dissect: Arc::default(),
            names: Arc::default(),
            runtime: runtime.handle().clone(),
            open_log: yagura_collect::source::no_log(),
        };
        let config = CollectorConfig::new(settings).expect("settings");
        let Opened::Live(source) = config.open(folder, &plant).expect("a source") else {
            panic!("a source that listens is live")
        };
        let stop = Arc::new(AtomicBool::new(false));
        let (to, until, notes) = (Arc::clone(&log), Arc::clone(&stop), folder.to_owned());
        let thread = std::thread::spawn(move || {
            let to =
                Destination { log: to.as_ref(), topic: TOPIC, assets: &assets, cells: &[], notes: &notes };
            live::collect(source, to, &until, &Progress::default()).expect("it ends in order");
        });
        Running { log, stop, thread: Some(thread), _runtime: runtime }
    }

    /// Stops it; answers all rows of the log.
    fn stop(mut self) -> Vec<(Kind, Map<String, Value>)> {
        self.stop.store(true, Ordering::Release);
        self.thread.take().expect("a thread").join().expect("it ends in order");
        rows(self.log.as_ref())
    }
}

fn assets() -> Arc<AssetTable> {
    let asset = |name: &str, address: &str, cell: &str| {
        serde_json::from_value(json!({ "name": name, "addresses": [address], "cell": cell, "area": "fab" }))
            .expect("an asset")
    };
    let all = vec![asset("ETCH-07", "127.0.0.1", "bay-3"), asset("LITHO-02", "10.9.9.9", "bay-4")];
    Arc::new(AssetTable::new(all, "bay"))
}

fn rows(log: &dyn Log) -> Vec<(Kind, Map<String, Value>)> {
    let held: Range<u64> = log.held(TOPIC, 0).expect("held");
    let mut reader = log.reader(TOPIC, 0, held.start).expect("a reader");
    let mut out = Vec::new();
    while reader.position() < held.end {
        for stored in reader.read(1 << 20, Duration::from_secs(10)).expect("records") {
            let envelope = Envelope::from_header(&stored.record.header).expect("an envelope");
            let batch = codec::decode(&envelope, &stored.record.value).expect("rows");
            let cell = envelope.cell.clone();
            out.extend(codec::to_json_rows(&batch).into_iter().map(|mut row| {
                row.insert("cell".into(), cell.clone().into());
                (envelope.kind, row)
            }));
        }
    }
    out
}

fn of(kind: Kind, rows: &[(Kind, Map<String, Value>)]) -> Vec<&Map<String, Value>> {
    rows.iter().filter(|(of, _)| *of == kind).map(|(_, row)| row).collect()
}

fn log() -> Arc<dyn Log> {
    Arc::new(memory::open(Options::default()).expect("a log"))
}

fn free_port() -> u16 {
    yagura_testkit::free_port().expect("a port")
}

/// Waits until `done` says so.
fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if done() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    panic!("{what} did not happen within 20 s")
}

fn listening(port: u16) {
    wait_for("listening", || TcpStream::connect(("127.0.0.1", port)).is_ok());
}

/// Status and answer of a request that curl makes.
fn curl(input: &[u8], arguments: &[&str]) -> (u16, Value) {
    let mut child = Command::new("curl")
        .args(["-sS", "--max-time", "20", "-w", "\n%{http_code}"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("curl runs; `cargo xtask test` installs it");
    let mut pipe = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    let writer = std::thread::spawn(move || pipe.write_all(&input));
    let output = child.wait_with_output().expect("curl ends");
    let _ = writer.join();
    let text = String::from_utf8_lossy(&output.stdout);
    let (body, status) = text.rsplit_once('\n').expect("a status");
    let answer = serde_json::from_str(body).unwrap_or(Value::Null);
    (status.parse().unwrap_or(0), answer)
}

const LINES: &str = "Content-Type: application/x-ndjson";
const ARRAY: &str = "Content-Type: application/json";

fn sample(value: u64) -> String {
    format!(
        r#"{{"time":"2026-11-02T22:00:01Z","tool":"ETCH-07","chamber":"A","signal":"pressure","value":{value},"unit":"mTorr"}}"#
    )
}

#[test]
fn http_does_what_its_description_says() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("tokens"), "# two, while they change\nfirst\nsecond\n")
        .expect("tokens");
    let port = free_port();
    let settings = json!({
        "name": "web", "kind": "http", "listen": format!("127.0.0.1:{port}"), "token_file": "tokens",
        "body": "64KiB", "queue": "1MiB", "row": "8KiB", "batch": "20ms", "body_timeout": "1s",
        "streams": { "doors": { "as": "log", "columns": {
            "tool": "${door}", "category": "badge", "user": "${holder}", "description": "${holder} at ${door}" } } },
    });
    let running = Running::start(log(), settings, folder.path());
    listening(port);
    let at = |path: &str| format!("http://127.0.0.1:{port}{path}");
    let (status, description) = curl(b"", &[&at("/v1/openapi.json")]);
    assert_eq!((status, &description["openapi"]), (200, &json!("3.1.0")));
    assert_eq!(curl(b"", &[&at("/health")]), (200, json!({ "status": "ok" })));

    let mut seen: BTreeSet<u16> = BTreeSet::new();
    let mut post = |path: &str, headers: &[&str], body: &[u8]| {
        let mut arguments = vec!["--data-binary", "@-"];
        for header in headers {
            arguments.extend(["-H", header]);
        }
        let url = at(path);
        arguments.push(&url);
        let (status, answer) = curl(body, &arguments);
        seen.insert(status);
        if status != 200 {
            assert!(answer["error"].is_string(), "{status}: {answer}");
        }
        (status, answer)
    };
    let token = "Authorization: Bearer second";
    let ok = |rows: u64, repeated: bool| (200, json!({ "rows": rows, "repeated": repeated }));
    let two = format!("{}\n{}\n", sample(1), sample(2));
    assert_eq!(post("/v1/rows", &[token, LINES], two.as_bytes()), ok(2, false));
    assert_eq!(post("/v1/rows", &[token, ARRAY], format!("[{}]", sample(3)).as_bytes()), ok(1, false));
    let door = br#"{"door":"10.9.9.9","holder":"E7","event":"entered","time":1793656801}"#;
    for path in ["/v1/rows?stream=doors", "/v1/rows/doors"] {
        assert_eq!(post(path, &[token, LINES], door), ok(1, false), "{path}");
    }
    let place = ["Yagura-Stream: gateway", "Yagura-Position: 7"];
    assert_eq!(post("/v1/rows", &[token, LINES, place[0], place[1]], sample(4).as_bytes()), ok(1, false));
    assert_eq!(post("/v1/rows", &[token, LINES, place[0], place[1]], sample(4).as_bytes()), ok(1, true));
    let (status, _) = post("/v1/rows", &[token, LINES, place[0], "Yagura-Position: 6"], two.as_bytes());
    assert_eq!(status, 409);

    assert_eq!(post("/v1/rows", &[LINES], two.as_bytes()).0, 401);
    assert_eq!(post("/v1/rows", &["Authorization: Bearer secon", LINES], two.as_bytes()).0, 401);
    let (status, answer) = post("/v1/rows", &[token, LINES], format!("{two}{{\"tool\":1}}").as_bytes());
    assert_eq!((status, &answer["row"]), (400, &json!(3)));
    assert_eq!(post("/v1/rows/none", &[token, LINES], two.as_bytes()).0, 404);
    assert_eq!(post("/v1/rows", &[token, LINES, place[0]], two.as_bytes()).0, 400);
    assert_eq!(post("/v1/rows", &[token, LINES], &[b' '; 70 << 10]).0, 413);
    assert_eq!(post("/v1/rows", &[token, "Content-Type: text/csv"], two.as_bytes()).0, 415);
    assert_eq!(post("/v1/rows", &[token, LINES, "Content-Encoding: br"], two.as_bytes()).0, 415);
    assert_eq!(post("/v1/rows", &[token, LINES, "Content-Encoding: gzip"], two.as_bytes()).0, 400);
    let slow = exchange(
        port,
        "POST /v1/rows HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer first\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n[",
    );
    assert!(slow.starts_with("HTTP/1.1 408"), "{slow}");
    seen.insert(408);
    assert_eq!(curl(b"", &[&at("/v1/rows")]).0, 405);

    // What is described was seen, and nothing else; 429 and 503 are what a log that refuses gives.
    let described = description["paths"]["/v1/rows"]["post"]["responses"].as_object().expect("responses");
    let mut described: BTreeSet<u16> = described.keys().filter_map(|status| status.parse().ok()).collect();
    assert!(described.remove(&429) && described.remove(&503), "{described:?}");
    assert_eq!(described, seen);
    for path in ["/v1/rows", "/v1/rows/{stream}", "/v1/openapi.json", "/health"] {
        assert!(description["paths"][path].is_object(), "{path}");
    }

    let rows = running.stop();
    let values: Vec<f64> = of(Kind::Sample, &rows).iter().filter_map(|row| row["value"].as_f64()).collect();
    assert_eq!(values, [1.0, 2.0, 3.0, 4.0]);
    let doors = of(Kind::Log, &rows);
    assert_eq!((doors.len(), &doors[0]["cell"], &doors[0]["user"]), (2, &json!("bay-4"), &json!("E7")));
    let coverage = of(Kind::Coverage, &rows);
    let told = |event: &str| coverage.iter().filter(|row| row["event"] == event).count();
    assert_eq!((told("start"), told("stop")), (1, 1));
    let malformed = coverage.iter().filter(|row| row["event"] == "malformed");
    assert!(malformed.filter_map(|row| row["count"].as_u64()).sum::<u64>() >= 10);
    assert!(coverage.iter().any(|row| row["detail"].as_str().is_some_and(|d| d.contains("row 3: "))));
}

/// What is answered to a request that is sent as it stands.
fn exchange(port: u16, request: &str) -> String {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("a connection");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("a time-out");
    stream.write_all(request.as_bytes()).expect("a request");
    let mut answer = vec![0; 4096];
    let got = stream.read(&mut answer).expect("an answer");
    String::from_utf8_lossy(&answer[..got]).into_owned()
}

#[test]
fn curl_sends_gzip_over_tls_with_its_certificate() {
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = Certificates::make(folder.path()).expect("certificates");
    let port = free_port();
    let settings = json!({
        "name": "web", "kind": "http", "listen": format!("127.0.0.1:{port}"), "batch": "20ms",
        "tls": { "certificate": "localhost.pem", "key": "localhost.key", "client_ca": "ca.pem" },
    });
    let running = Running::start(log(), settings, folder.path());
    listening(port);
    let file = folder.path().join("rows");
    let text: String = (0..1000).map(|n| sample(n) + "\n").collect();
    std::fs::write(&file, text).expect("a file");
    assert!(Command::new("gzip").arg(&file).status().expect("gzip runs").success());
    let packed = std::fs::read(folder.path().join("rows.gz")).expect("a file");
    let (url, ca) = (format!("https://localhost:{port}/v1/rows"), certificates.file("ca.pem"));
    let resolve = format!("localhost:{port}:127.0.0.1");
    let mut arguments = vec![
        "--data-binary",
        "@-",
        "-H",
        LINES,
        "-H",
        "Content-Encoding: gzip",
        "--resolve",
        &resolve,
        "--cacert",
        &ca,
    ];
    arguments.push(&url);
    assert_eq!(curl(&packed, &arguments).0, 0, "without a certificate there is no answer");
    let (own, key) = (certificates.file("yagura.pem"), certificates.file("yagura.key"));
    arguments.extend(["--cert", &own, "--key", &key]);
    assert_eq!(curl(&packed, &arguments), (200, json!({ "rows": 1000, "repeated": false })));
    let rows = running.stop();
    assert_eq!(of(Kind::Sample, &rows).len(), 1000);
    let coverage = of(Kind::Coverage, &rows);
    assert!(coverage.iter().any(|row| row["detail"].as_str().is_some_and(|d| d.starts_with("TLS: "))));
}

#[test]
fn a_log_that_refuses_is_429_and_later_nothing_is_missing() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let mood = Arc::new(Mood::default());
    mood.refuse(true);
    let log = Arc::new(moody(Arc::new(memory::open(Options::default()).expect("a log")), &mood));
    let settings = json!({
        "name": "web", "kind": "http", "listen": format!("127.0.0.1:{port}"), "batch": "20ms",
        "body": "256KiB", "queue": "1MiB", "answer_timeout": "500ms",
    });
    let running = Running::start(log, settings, folder.path());
    listening(port);
    const BODIES: u64 = 24;
    const ROWS: u64 = 1000;
    let full = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let (mood, full) = (Arc::clone(&mood), Arc::clone(&full));
            std::thread::spawn(move || {
                let mut client = Client::new(port, &format!("sender-{sender}"));
                for body in 0..BODIES / 4 {
                    let first = (sender * BODIES / 4 + body) * ROWS;
                    client.until_taken(body, first..first + ROWS, |status| {
                        if status == 429 {
                            full.store(true, Ordering::Release);
                            mood.refuse(false);
                        }
                    });
                }
            })
        })
        .collect();
    for sender in senders {
        sender.join().expect("a sender");
    }
    assert!(full.load(Ordering::Acquire), "nobody was told that the collector is full");
    let rows = running.stop();
    nothing_missing_nothing_twice(&rows, BODIES * ROWS);
}

fn nothing_missing_nothing_twice(rows: &[(Kind, Map<String, Value>)], expected: u64) {
    let mut values: Vec<u64> =
        of(Kind::Sample, rows).iter().filter_map(|row| row["value"].as_f64()).map(|v| v as u64).collect();
    values.sort_unstable();
    let whole: BTreeSet<u64> = values.iter().copied().collect();
    assert_eq!(whole.len() as u64, expected, "rows that are there at least once");
    assert_eq!(values.len() as u64, expected, "rows that are there");
}

/// Sends numbered bodies over one connection, which it opens again as needed.
struct Client {
    port: u16,
    stream: String,
    connection: Option<BufReader<TcpStream>>,
}

impl Client {
    fn new(port: u16, stream: &str) -> Self {
        Client { port, stream: stream.into(), connection: None }
    }

    /// Sends the body until it is answered 200. `told` hears each status; 0 is a broken connection.
    fn until_taken(&mut self, position: u64, values: Range<u64>, mut told: impl FnMut(u16)) {
        let rows: String = values.map(|value| sample(value) + "\n").collect();
        let request = format!(
            "POST /v1/rows HTTP/1.1\r\nHost: x\r\n{LINES}\r\nYagura-Stream: {}\r\nYagura-Position: {position}\r\nContent-Length: {}\r\n\r\n{rows}",
            self.stream,
            rows.len()
        );
        for _ in 0..2_000 {
            let status = self.once(request.as_bytes()).unwrap_or(0);
            told(status);
            match status {
                200 => return,
                0 | 429 | 503 => std::thread::park_timeout(Duration::from_millis(10)),
                other => panic!("answered {other}"),
            }
            if status == 0 {
                self.connection = None;
            }
        }
        panic!("the body was never taken")
    }

    fn once(&mut self, request: &[u8]) -> std::io::Result<u16> {
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

/// Where a child process that is a collector gets its folder and its settings from.
const FOLDER: &str = "YAGURA_TEST_FOLDER";
const SETTINGS: &str = "YAGURA_TEST_SETTINGS";

/// Not a test of its own: what [`child`] runs, a collector over an embedded log until it is killed.
#[test]
fn collector_of_a_child() {
    let (Ok(folder), Ok(settings)) = (std::env::var(FOLDER), std::env::var(SETTINGS)) else { return };
    let log = Arc::new(Embedded::open(Path::new(&folder).join("log"), Options::default()).expect("a log"));
    let settings = serde_json::from_str(&settings).expect("settings");
    let mut running = Running::start(log, settings, Path::new(&folder));
    let _ = running.thread.take().expect("a thread").join();
}

fn child(folder: &Path, settings: &Value) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["--exact", "collector_of_a_child", "--nocapture"])
        .env(FOLDER, folder)
        .env(SETTINGS, settings.to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("a child")
}

#[test]
fn a_collector_that_is_killed_under_load_loses_nothing_and_repeats_nothing() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let settings = json!({
        "name": "web", "kind": "http", "listen": format!("127.0.0.1:{port}"), "batch": "20ms",
    });
    const SENDERS: u64 = 3;
    const BODIES: u64 = 60;
    const ROWS: u64 = 200;
    let mut collector = child(folder.path(), &settings);
    let done = Arc::new(Mutex::new(0));
    let senders: Vec<_> = (0..SENDERS)
        .map(|sender| {
            let done = Arc::clone(&done);
            std::thread::spawn(move || {
                let mut client = Client::new(port, &format!("sender-{sender}"));
                for body in 0..BODIES {
                    let first = (sender * BODIES + body) * ROWS;
                    client.until_taken(body, first..first + ROWS, |_| {});
                    *done.lock().expect("a lock") += 1;
                }
            })
        })
        .collect();
    for kill in 1..=4 {
        wait_for("bodies taken", || *done.lock().expect("a lock") >= kill * SENDERS * BODIES / 6);
        // In the middle of whatever it does.
        std::thread::park_timeout(Duration::from_millis(fastrand::u64(0..30)));
        collector.kill().expect("killed");
        collector.wait().expect("ended");
        collector = child(folder.path(), &settings);
    }
    for sender in senders {
        sender.join().expect("a sender");
    }
    collector.kill().expect("killed");
    collector.wait().expect("ended");
    let log = Embedded::open(folder.path().join("log"), Options::default()).expect("a log");
    nothing_missing_nothing_twice(&rows(&log), SENDERS * BODIES * ROWS);
}

/// Runs logger with these arguments.
fn logger(arguments: &[&str]) {
    let status = Command::new("logger").args(arguments).status();
    assert!(status.expect("logger runs; `cargo xtask test` installs it").success(), "{arguments:?}");
}

/// The descriptions of all `log` rows.
fn descriptions(rows: &[(Kind, Map<String, Value>)]) -> Vec<String> {
    of(Kind::Log, rows).iter().map(|row| row["description"].as_str().unwrap_or("").to_string()).collect()
}

/// Waits until the log holds so many `log` rows.
fn logged(log: &dyn Log, expected: usize) {
    wait_for("all messages", || of(Kind::Log, &rows(log)).len() >= expected);
}

#[test]
fn logger_is_understood_over_udp_and_tcp() {
    let folder = tempfile::tempdir().expect("a folder");
    let (udp, tcp) = (free_port(), free_port());
    let settings = json!({
        "name": "syslog", "kind": "syslog", "batch": "20ms",
        "udp": format!("127.0.0.1:{udp}"), "tcp": format!("127.0.0.1:{tcp}"),
    });
    let running = Running::start(log(), settings, folder.path());
    listening(tcp);
    let mut expected = Vec::new();
    for (transport, port) in [("--udp", udp), ("--tcp", tcp)] {
        for form in ["--rfc5424", "--rfc3164"] {
            for counted in ["--octet-count", "--skip-empty"] {
                let text = format!("{transport} {form} {counted}");
                let port = port.to_string();
                let mut arguments = vec![
                    "-n",
                    "127.0.0.1",
                    "-P",
                    &port,
                    transport,
                    form,
                    counted,
                    "-p",
                    "auth.warning",
                    "-t",
                    "door",
                    "--id=17",
                ];
                if form == "--rfc5424" {
                    arguments.extend(["--msgid", "ENTER", "--sd-id", "who@1", "--sd-param", "user=\"E7\""]);
                }
                // A datagram needs no count.
                if transport == "--udp" && counted == "--octet-count" {
                    continue;
                }
                arguments.extend(["--", &text]);
                logger(&arguments);
                expected.push(text);
            }
        }
    }
    logged(running.log.as_ref(), expected.len());
    let rows = running.stop();
    let mut found = descriptions(&rows);
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    for row in of(Kind::Log, &rows) {
        let detail: Value = serde_json::from_str(row["detail"].as_str().expect("a text")).expect("JSON");
        assert_eq!(
            (&row["category"], &detail["severity"]),
            (&json!("auth/door"), &json!("warning")),
            "{row:?}"
        );
        assert_eq!(
            (&row["tool"], &row["cell"], &detail["procid"]),
            (&json!("ETCH-07"), &json!("bay-3"), &json!("17"))
        );
        if row["description"].as_str().is_some_and(|text| text.contains("5424")) {
            assert_eq!((&row["event"], &row["user"]), (&json!("ENTER"), &json!("E7")), "{row:?}");
        }
        let late = row["observed"].as_i64().zip(row["time"].as_i64()).map(|(o, t)| (o - t) / 1_000_000);
        assert!(late.is_some_and(|seconds| seconds.abs() < 60), "{row:?}");
    }
    let events: Vec<&Value> = of(Kind::Coverage, &rows).iter().map(|row| &row["event"]).collect();
    assert_eq!(events, ["start", "stop"]);
}

#[test]
fn rsyslog_forwards_over_tls() {
    const MESSAGES: usize = 2_000;
    let folder = tempfile::tempdir().expect("a folder");
    let certificates = Certificates::make(folder.path()).expect("certificates");
    let (port, relay) = (free_port(), free_port());
    let settings = json!({
        "name": "syslog", "kind": "syslog", "batch": "20ms", "relays": ["127.0.0.1"],
        "tls_listen": format!("127.0.0.1:{port}"),
        "tls": { "certificate": "localhost.pem", "key": "localhost.key", "client_ca": "ca.pem" },
    });
    let running = Running::start(log(), settings, folder.path());
    listening(port);
    let config = format!(
        r#"global(workDirectory="{folder}" maxMessageSize="64k" defaultNetstreamDriver="ossl"
  defaultNetstreamDriverCAFile="{ca}" defaultNetstreamDriverCertFile="{own}" defaultNetstreamDriverKeyFile="{key}")
module(load="imptcp")
input(type="imptcp" address="127.0.0.1" port="{relay}")
action(type="omfwd" target="127.0.0.1" port="{port}" protocol="tcp" TCP_Framing="octet-counted"
  StreamDriver="ossl" StreamDriverMode="1" StreamDriverAuthMode="x509/name" StreamDriverPermittedPeers="localhost"
  template="RSYSLOG_SyslogProtocol23Format" action.resumeRetryCount="-1" action.resumeInterval="1")
"#,
        folder = folder.path().display(),
        ca = certificates.file("ca.pem"),
        own = certificates.file("yagura.pem"),
        key = certificates.file("yagura.key"),
    );
    let file = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(file("rsyslog.conf"), config).expect("a file");
    let mut rsyslog = Command::new("/usr/sbin/rsyslogd")
        .args(["-n", "-f", &file("rsyslog.conf"), "-i", &file("rsyslog.pid")])
        .stdin(Stdio::null())
        .spawn()
        .expect("rsyslogd runs; `cargo xtask test` installs it");
    listening(relay);
    let expected: Vec<String> = (0..MESSAGES).map(|n| format!("message {n} \u{e9}")).collect();
    let mut stream = TcpStream::connect(("127.0.0.1", relay)).expect("a connection");
    for text in &expected {
        let line = format!("<134>1 2026-11-02T22:00:01.5Z litho-02 scan - M1 [u@1 user=\"E9\"] {text}\n");
        stream.write_all(line.as_bytes()).expect("sent");
    }
    drop(stream);
    wait_for("all messages", || of(Kind::Log, &rows(running.log.as_ref())).len() >= MESSAGES);
    let _ = rsyslog.kill();
    let _ = rsyslog.wait();
    let rows = running.stop();
    let own = of(Kind::Log, &rows);
    let own: Vec<_> = own.iter().filter(|row| row["tool"] == "LITHO-02").collect();
    let texts: Vec<&str> = own.iter().filter_map(|row| row["description"].as_str()).collect();
    assert_eq!(texts, expected);
    assert!(own.iter().all(|row| row["user"] == "E9" && row["cell"] == "bay-4" && row["event"] == "M1"));
}

/// The sum of what `drop` rows of coverage count.
fn dropped(rows: &[(Kind, Map<String, Value>)]) -> u64 {
    let coverage = of(Kind::Coverage, rows);
    coverage.iter().filter(|row| row["event"] == "drop").filter_map(|row| row["count"].as_u64()).sum()
}

#[test]
fn while_the_log_refuses_tcp_waits_and_the_oldest_datagrams_go() {
    const LINES_SENT: usize = 40_000;
    const DATAGRAMS: usize = 20_000;
    let folder = tempfile::tempdir().expect("a folder");
    let (udp, tcp) = (free_port(), free_port());
    let mood = Arc::new(Mood::default());
    mood.refuse(true);
    let log = Arc::new(moody(Arc::new(memory::open(Options::default()).expect("a log")), &mood));
    let settings = json!({
        "name": "syslog", "kind": "syslog", "batch": "20ms", "queue": "256KiB", "receive_buffer": "64KiB",
        "udp": format!("127.0.0.1:{udp}"), "tcp": format!("127.0.0.1:{tcp}"),
    });
    let running = Running::start(log, settings, folder.path());
    listening(tcp);
    let sent = Arc::new(Mutex::new(0));
    let sender = {
        let sent = Arc::clone(&sent);
        std::thread::spawn(move || {
            let mut stream = TcpStream::connect(("127.0.0.1", tcp)).expect("a connection");
            for n in 0..LINES_SENT {
                let line = format!("<34>1 - h tcp - - - {n} {}\n", "x".repeat(300));
                stream.write_all(line.as_bytes()).expect("sent");
                *sent.lock().expect("a lock") = n + 1;
            }
        })
    };
    // The sender stands still.
    let mut before = usize::MAX;
    wait_for("a sender that is pushed back", || {
        std::thread::park_timeout(Duration::from_millis(200));
        let now = *sent.lock().expect("a lock");
        std::mem::replace(&mut before, now) == now
    });
    assert!(before < LINES_SENT, "the sender was never pushed back");
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a socket");
    for n in 0..DATAGRAMS {
        let text = format!("<34>1 - h udp - - - {n} {}", "x".repeat(300));
        socket.send_to(text.as_bytes(), ("127.0.0.1", udp)).expect("sent");
    }
    mood.refuse(false);
    sender.join().expect("a sender");
    let of_app = |rows: &[(Kind, Map<String, Value>)], category: &str| {
        let all = of(Kind::Log, rows).into_iter().filter(|row| row["category"] == category);
        let first = |row: &Map<String, Value>| row["description"].as_str()?.split(' ').next()?.parse().ok();
        all.filter_map(first).collect::<Vec<usize>>()
    };
    wait_for("all messages", || {
        std::thread::park_timeout(Duration::from_millis(100));
        of_app(&rows(running.log.as_ref()), "auth/tcp").len() == LINES_SENT
    });
    let rows = running.stop();
    assert_eq!(of_app(&rows, "auth/tcp"), (0..LINES_SENT).collect::<Vec<_>>());
    let datagrams = of_app(&rows, "auth/udp");
    assert!(datagrams.is_sorted() && datagrams.len() < DATAGRAMS);
    assert_eq!(datagrams.len() as u64 + dropped(&rows), DATAGRAMS as u64);
}

#[test]
fn hostile_messages_are_data_and_others_go_on() {
    let folder = tempfile::tempdir().expect("a folder");
    let tcp = free_port();
    let settings = json!({
        "name": "syslog", "kind": "syslog", "batch": "20ms", "message": "64KiB", "tcp": format!("127.0.0.1:{tcp}"),
    });
    let running = Running::start(log(), settings, folder.path());
    listening(tcp);
    let send = |bytes: &[u8]| {
        TcpStream::connect(("127.0.0.1", tcp)).and_then(|mut s| s.write_all(bytes)).expect("sent");
    };
    let long = [b"<34>1 - h long - - - ", &[b'x'; 65_536 - 21][..], b"\n"].concat();
    assert_eq!(long.len(), 65_537);
    send(&long);
    let longer =
        [b"<34>1 - h longer - - - ", &[b'y'; 200_000][..], b"\n<34>1 - h after - - - whole\n"].concat();
    send(&longer);
    send(b"\xff\xfe\x01\x80 binary without an end");
    send(b"999999999 <34>1 - h counted - - - broken off");
    send(b"999999999999 <34>digits\n");
    logged(running.log.as_ref(), 6);
    let rows = running.stop();
    let found: BTreeSet<(usize, String)> =
        descriptions(&rows).into_iter().map(|text| (text.len(), text.chars().take(12).collect())).collect();
    let of_text = |text: &str| (text.len(), text.chars().take(12).collect::<String>());
    assert!(found.contains(&of_text(&"x".repeat(65_536 - 21))), "{found:?}");
    assert!(found.contains(&of_text(&"y".repeat(65_536 - 23))), "{found:?}");
    for text in [
        "whole",
        "broken off",
        "999999999999 <34>digits",
        "\u{fffd}\u{fffd}\u{1}\u{fffd} binary without an end",
    ] {
        assert!(found.contains(&of_text(text)), "{text}: {found:?}");
    }
    let malformed = of(Kind::Coverage, &rows).into_iter().filter(|row| row["event"] == "malformed");
    assert_eq!(malformed.filter_map(|row| row["count"].as_u64()).sum::<u64>(), 4);
}

#[test]
fn settings_that_cannot_work_say_what_to_do() {
    let folder = tempfile::tempdir().expect("a folder");
    Certificates::make(folder.path()).expect("certificates");
    std::fs::write(folder.path().join("empty"), "# none\n").expect("a file");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let plant = Plant {
        assets: assets(),
        dissect: Arc::default(),
        names: Arc::default(),
        runtime: runtime.handle().clone(),
        open_log: yagura_collect::source::no_log(),
    };
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().map(|address| (address, taken)).expect("a port");
    let probe = |kind: &str, settings: Value| {
        let Value::Object(mut all) = settings else { panic!("settings are an object") };
        all.extend([("name".into(), "web".into()), ("kind".into(), kind.into())]);
        let config = CollectorConfig::new(all.into()).expect("settings");
        config.probe(folder.path(), &plant).map_err(|e| e.to_string())
    };
    let loopback = "127.0.0.1:0";
    let tls = |certificate: &str, key: &str| json!({ "certificate": certificate, "key": key });
    for (kind, settings, expected) in [
        (
            "http",
            json!({ "listen": "0.0.0.0:0" }),
            "give a `token_file` or `tls.client_ca`, or say `anonymous: true`",
        ),
        ("http", json!({ "listen": loopback, "token_file": "empty" }), "it holds no token"),
        ("http", json!({ "listen": loopback, "token_file": "absent" }), "cannot be read"),
        (
            "http",
            json!({ "listen": loopback, "body": "64MiB", "queue": "64MiB" }),
            "`queue` must hold 4 times `body`",
        ),
        (
            "http",
            json!({ "listen": loopback, "streams": { "x": { "as": "control" } } }),
            "control records are not taken",
        ),
        ("http", json!({ "listen": loopback, "streams": { "a b": { "as": "log" } } }), "letters, digits"),
        (
            "http",
            json!({ "listen": loopback, "streams": { "x": { "as": "log", "columns": { "y": "" } } } }),
            "`y` is no column of log",
        ),
        ("http", json!({ "listen": loopback, "tls": tls("localhost.pem", "yagura.key") }), "are no pair"),
        ("http", json!({ "listen": loopback, "tls": tls("empty", "localhost.key") }), "holds no certificate"),
        (
            "http",
            json!({ "listen": loopback, "tls": tls("localhost.pem", "localhost.pem") }),
            "a private key in PEM is needed",
        ),
        ("http", json!({ "listen": taken.0.to_string() }), "cannot listen"),
        ("syslog", json!({}), "at least one of `udp`, `tcp` and `tls_listen`"),
        ("syslog", json!({ "tls_listen": loopback }), "belong together"),
        ("syslog", json!({ "udp": loopback, "zone": "Tokyo" }), "no offset from UTC"),
        ("syslog", json!({ "udp": loopback, "message": "16" }), "`message` is 480 B to 16MiB"),
        ("syslog", json!({ "tcp": taken.0.to_string() }), "cannot listen"),
    ] {
        let said = probe(kind, settings.clone()).expect_err("it cannot work");
        assert!(said.contains(expected), "{settings}: {said}");
    }
    for (kind, settings) in [
        ("http", json!({ "listen": loopback, "tls": tls("localhost.pem", "localhost.key") })),
        ("syslog", json!({ "udp": loopback, "tcp": loopback, "zone": "+09:00" })),
    ] {
        assert!(probe(kind, settings).expect("it works").starts_with("can listen on "));
    }
}
