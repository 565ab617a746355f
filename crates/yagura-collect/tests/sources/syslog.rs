//! Syslog from logger and rsyslog.

use std::collections::BTreeSet;
use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use yagura_event::Kind;
use yagura_testkit::certificates::Certificates;

use crate::peers::listening;
use crate::rig::{Rig, Row, Rows, free_port};

/// Runs logger with these arguments.
fn logger(arguments: &[&str]) {
    let status = Command::new("logger").args(arguments).status();
    assert!(status.expect("logger runs; `cargo xtask test` installs it").success(), "{arguments:?}");
}

/// The descriptions of all `log` rows.
fn descriptions(rows: &Rows) -> Vec<String> {
    rows.table(Kind::Log, &["description"])
}

/// Waits until the log holds so many `log` rows.
fn logged(rig: &Rig, expected: usize) {
    rig.until("all messages", || rig.rows().count(Kind::Log) >= expected);
}

#[test]
fn logger_is_understood_over_udp_and_tcp() {
    let rig = Rig::with_tools();
    let (udp, tcp) = (free_port(), free_port());
    let settings = json!({
        "name": "syslog", "kind": "syslog", "batch": "20ms",
        "udp": format!("127.0.0.1:{udp}"), "tcp": format!("127.0.0.1:{tcp}"),
    });
    let running = rig.collect(&settings);
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
    logged(&rig, expected.len());
    running.stop();
    let rows = rig.rows();
    let mut found = descriptions(&rows);
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    for row in rows.columns(Kind::Log) {
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
    let events: Vec<&Value> = rows.columns(Kind::Coverage).iter().map(|row| &row["event"]).collect();
    assert_eq!(events, ["start", "stop"]);
}

#[test]
fn rsyslog_forwards_over_tls() {
    const MESSAGES: usize = 2_000;
    let rig = Rig::with_tools();
    let folder = &rig.folder;
    let certificates = Certificates::make(folder.path()).expect("certificates");
    let (port, relay) = (free_port(), free_port());
    let settings = json!({
        "name": "syslog", "kind": "syslog", "batch": "20ms", "relays": ["127.0.0.1"],
        "tls_listen": format!("127.0.0.1:{port}"),
        "tls": { "certificate": "localhost.pem", "key": "localhost.key", "client_ca": "ca.pem" },
    });
    let running = rig.collect(&settings);
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
    rig.until("all messages", || rig.rows().count(Kind::Log) >= MESSAGES);
    let _ = rsyslog.kill();
    let _ = rsyslog.wait();
    running.stop();
    let rows = rig.rows();
    let own = rows.columns(Kind::Log);
    let own: Vec<_> = own.iter().filter(|row| row["tool"] == "LITHO-02").collect();
    let texts: Vec<&str> = own.iter().filter_map(|row| row["description"].as_str()).collect();
    assert_eq!(texts, expected);
    assert!(own.iter().all(|row| row["user"] == "E9" && row["cell"] == "bay-4" && row["event"] == "M1"));
}

#[test]
fn while_the_log_refuses_tcp_waits_and_the_oldest_datagrams_go() {
    const LINES_SENT: usize = 40_000;
    const DATAGRAMS: usize = 20_000;
    let rig = Rig::with_tools();
    let (udp, tcp) = (free_port(), free_port());
    rig.mood.refuse(true);
    let settings = json!({
        "name": "syslog", "kind": "syslog", "batch": "20ms", "queue": "256KiB", "receive_buffer": "64KiB",
        "udp": format!("127.0.0.1:{udp}"), "tcp": format!("127.0.0.1:{tcp}"),
    });
    let running = rig.collect(&settings);
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
    rig.until("a sender that is pushed back", || {
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
    rig.mood.refuse(false);
    sender.join().expect("a sender");
    let of_app = |rows: &Rows, category: &str| {
        let all = rows.kind(Kind::Log).filter(|row| row.text("category") == category);
        let first = |row: &Row| row.text("description").split(' ').next()?.parse().ok();
        all.filter_map(first).collect::<Vec<usize>>()
    };
    rig.until("all messages", || {
        std::thread::park_timeout(Duration::from_millis(100));
        of_app(&rig.rows(), "auth/tcp").len() == LINES_SENT
    });
    running.stop();
    let rows = rig.rows();
    assert_eq!(of_app(&rows, "auth/tcp"), (0..LINES_SENT).collect::<Vec<_>>());
    let datagrams = of_app(&rows, "auth/udp");
    assert!(datagrams.is_sorted() && datagrams.len() < DATAGRAMS);
    assert_eq!(datagrams.len() as u64 + rows.counted("drop"), DATAGRAMS as u64);
}

#[test]
fn hostile_messages_are_data_and_others_go_on() {
    let rig = Rig::with_tools();
    let tcp = free_port();
    let settings = json!({
        "name": "syslog", "kind": "syslog", "batch": "20ms", "message": "64KiB", "tcp": format!("127.0.0.1:{tcp}"),
    });
    let running = rig.collect(&settings);
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
    logged(&rig, 6);
    running.stop();
    let rows = rig.rows();
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
    assert_eq!(rows.counted("malformed"), 4);
}
