//! Rows over HTTP, with curl.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Value, json};
use yagura_event::Kind;
use yagura_testkit::certificates::Certificates;

use crate::contract::http::{Client, sample};
use crate::peers::listening;
use crate::rig::{Rig, free_port};

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

#[test]
fn http_does_what_its_description_says() {
    let rig = Rig::with_tools();
    let folder = &rig.folder;
    std::fs::write(folder.path().join("tokens"), "# two, while they change\nfirst\nsecond\n")
        .expect("tokens");
    let port = free_port();
    let settings = json!({
        "name": "web", "kind": "http", "listen": format!("127.0.0.1:{port}"), "token_file": "tokens",
        "body": "64KiB", "queue": "1MiB", "row": "8KiB", "batch": "20ms", "body_timeout": "1s",
        "streams": { "doors": { "as": "log", "columns": {
            "tool": "${door}", "category": "badge", "user": "${holder}", "description": "${holder} at ${door}" } } },
    });
    let running = rig.collect(&settings);
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

    running.stop();
    let rows = rig.rows();
    let values: Vec<f64> =
        rows.columns(Kind::Sample).iter().filter_map(|row| row["value"].as_f64()).collect();
    assert_eq!(values, [1.0, 2.0, 3.0, 4.0]);
    let doors = rows.columns(Kind::Log);
    assert_eq!((doors.len(), &doors[0]["cell"], &doors[0]["user"]), (2, &json!("bay-4"), &json!("E7")));
    let coverage = rows.columns(Kind::Coverage);
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
    let rig = Rig::with_tools();
    let folder = &rig.folder;
    let certificates = Certificates::make(folder.path()).expect("certificates");
    let port = free_port();
    let settings = json!({
        "name": "web", "kind": "http", "listen": format!("127.0.0.1:{port}"), "batch": "20ms",
        "tls": { "certificate": "localhost.pem", "key": "localhost.key", "client_ca": "ca.pem" },
    });
    let running = rig.collect(&settings);
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
    running.stop();
    let rows = rig.rows();
    assert_eq!(rows.columns(Kind::Sample).len(), 1000);
    let coverage = rows.columns(Kind::Coverage);
    assert!(coverage.iter().any(|row| row["detail"].as_str().is_some_and(|d| d.starts_with("TLS: "))));
}

#[test]
fn a_log_that_refuses_is_429_and_later_nothing_is_missing() {
    let rig = Rig::with_tools();
    let port = free_port();
    rig.mood.refuse(true);
    let settings = json!({
        "name": "web", "kind": "http", "listen": format!("127.0.0.1:{port}"), "batch": "20ms",
        "body": "256KiB", "queue": "1MiB", "answer_timeout": "500ms",
    });
    let running = rig.collect(&settings);
    listening(port);
    const BODIES: u64 = 24;
    const ROWS: u64 = 1000;
    let full = Arc::new(AtomicBool::new(false));
    let senders: Vec<_> = (0..4)
        .map(|sender| {
            let (mood, full) = (Arc::clone(&rig.mood), Arc::clone(&full));
            std::thread::spawn(move || {
                let mut client = Client::new(port, &format!("sender-{sender}"));
                for body in 0..BODIES / 4 {
                    let first = (sender * BODIES / 4 + body) * ROWS;
                    loop {
                        match client.say(body, first..first + ROWS) {
                            200 => break,
                            429 => {
                                full.store(true, Ordering::Release);
                                mood.refuse(false);
                            }
                            503 => {}
                            other => panic!("answered {other}"),
                        }
                        std::thread::park_timeout(Duration::from_millis(10));
                    }
                }
            })
        })
        .collect();
    for sender in senders {
        sender.join().expect("a sender");
    }
    assert!(full.load(Ordering::Acquire), "nobody was told that the collector is full");
    running.stop();
    let rows = rig.rows();
    let mut values: Vec<u64> = rows.values("pressure").iter().map(|value| *value as u64).collect();
    values.sort_unstable();
    assert!(values.into_iter().eq(0..BODIES * ROWS), "all are there, once");
}

#[test]
fn settings_that_cannot_work_say_what_to_do() {
    let rig = Rig::with_tools();
    Certificates::make(rig.folder.path()).expect("certificates");
    rig.write("empty", "# none\n");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = taken.local_addr().map(|address| (address, taken)).expect("a port");
    let probe = |kind: &str, settings: Value| {
        let Value::Object(mut all) = settings else { panic!("settings are an object") };
        all.extend([("name".into(), "web".into()), ("kind".into(), kind.into())]);
        rig.probe(&all.into())
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
