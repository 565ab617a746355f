//! Planted secrets: what of an alert is the fab's own reaches no sink, in no format, unless it is said.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use yagura_event::Alert;
use yagura_log::Log;
use yagura_respond::formats::Format;
use yagura_respond::sinks::kinds;
use yagura_testkit::rsyslog::Rsyslog;

#[expect(dead_code, reason = "tests of other receivers use the rest")]
mod common;

use common::server::{Seen, secret, serve};
use common::{Running, fixtures, wait_for};

/// Recipe text, a process value, a badge's holder, a user, a lot, a wafer, a column that a pipeline made.
const SECRETS: &[&str] = &[
    "RF-POWER-1375",
    "8642.25",
    "Tanaka-Hanako",
    "svc-etch-admin",
    "LOT-Q7741",
    "WAFER-13-Z",
    "own-column-99",
];

fn planted() -> Alert {
    let mut alert = fixtures::alert(1);
    let evidence = alert.evidence.as_object_mut().expect("an object");
    evidence.insert("values".into(), json!("[\"RF-POWER-1375\",8642.25]"));
    evidence.insert("value".into(), json!(8642.25));
    evidence.insert("detail".into(), json!("{\"body\":\"RF-POWER-1375\"}"));
    evidence.insert("description".into(), json!("door opened by Tanaka-Hanako"));
    evidence.insert("user".into(), json!("svc-etch-admin"));
    evidence.insert("mine".into(), json!("own-column-99"));
    evidence.insert("lot".into(), json!("LOT-Q7741"));
    evidence.insert(
        "entered".into(),
        json!({ "badge": "Tanaka-Hanako", "wafer": "WAFER-13-Z", "list": ["LOT-Q7741"] }),
    );
    evidence.insert("signals".into(), json!([{ "signal": "rf", "seen": 8642.25, "expected": [8642.25] }]));
    alert.key.insert("lot".into(), "LOT-Q7741".into());
    alert.key.insert("user".into(), "svc-etch-admin".into());
    alert.summary = "svc-etch-admin wrote [\"RF-POWER-1375\",8642.25] (8642.25) for LOT-Q7741, WAFER-13-Z; Tanaka-Hanako was in; own-column-99".into();
    alert
}

fn found(text: &str) -> Vec<&'static str> {
    SECRETS.iter().copied().filter(|secret| text.contains(secret)).collect()
}

/// What a receiver that answers everything as its kind does got to see.
async fn receiver() -> (std::net::SocketAddr, Arc<Mutex<String>>) {
    let seen = Arc::<Mutex<String>>::default();
    let told = Arc::clone(&seen);
    let address = serve(None, move |request: &Seen| {
        let mut told = told.lock().expect("no panic");
        told.push_str(&format!("{}\n{:?}\n{}\n", request.path, request.headers, request.body));
        let answer = match request.path.as_str() {
            "/_bulk" => json!({ "items": vec![json!({ "create": { "status": 201 } }); request.body.lines().count() / 2] }),
            path if path.contains("/ack") => json!({ "acks": { "1": true } }),
            _ => json!({ "code": 0, "ackId": 1 }),
        };
        (200, answer.to_string())
    })
    .await;
    (address, seen)
}

/// Runs a sink until it has acknowledged the planted alert.
async fn run(config: Value) {
    let log: Arc<dyn Log> = common::log();
    common::append_these(log.as_ref(), &[planted()]);
    let running = Running::start(&log, config);
    wait_for("the commit", || running.committed() == 1).await;
    running.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_sink_and_no_format_sends_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let token = secret(folder.path(), "0123456789abcdef");
    let mut tried = Vec::new();
    for format in Format::all() {
        for kind in kinds() {
            let takes = match kind {
                "alertmanager" => format.name() == "ocsf",
                "elasticsearch" => format.is_json(),
                _ => true,
            };
            if !takes {
                continue;
            }
            let mut config = json!({ "name": "it", "kind": kind, "format": format.name() });
            let mut set = |name: &str, value: Value| config[name] = value;
            let text = match kind {
                "file" => {
                    let file = folder.path().join(format.name());
                    set("path", json!(file));
                    run(config).await;
                    std::fs::read_to_string(file).expect("lines")
                }
                "topic" => {
                    set("topic", json!("siem.alerts"));
                    let log: Arc<dyn Log> = common::log();
                    common::append_these(log.as_ref(), &[planted()]);
                    let running = Running::start(&log, config);
                    wait_for("the commit", || running.committed() == 1).await;
                    running.stop().await;
                    let mut reader = log.reader("siem.alerts", 0, 0).expect("the topic");
                    let records = reader.read(1 << 20, std::time::Duration::from_secs(5)).expect("records");
                    let record = &records[0].record;
                    assert_eq!(record.key, planted().uid.to_string());
                    let header: Value = serde_json::from_slice(&record.header).expect("JSON");
                    assert_eq!(header["revision_uid"], format!("{}-r1", planted().uid));
                    String::from_utf8(record.value.to_vec()).expect("UTF-8")
                }
                "relp" => {
                    let folder = tempfile::tempdir().expect("a folder");
                    let rsyslog = Rsyslog::start(folder.path(), None).expect("rsyslog starts");
                    set("address", json!(rsyslog.address()));
                    set("tls", json!(false));
                    run(config).await;
                    std::fs::read_to_string(rsyslog.file()).expect("lines")
                }
                "syslog" => {
                    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
                    set("address", json!(listener.local_addr().expect("an address").to_string()));
                    set("tls", json!(false));
                    let read = tokio::spawn(async move {
                        let mut text = String::new();
                        let (mut stream, _) = listener.accept().await.expect("a connection");
                        stream.read_to_string(&mut text).await.expect("UTF-8");
                        text
                    });
                    run(config).await;
                    read.await.expect("no panic")
                }
                _ => {
                    let (address, seen) = receiver().await;
                    set("url", json!(format!("http://{address}")));
                    set("tls", json!(false));
                    match kind {
                        "webhook" => set("secret_file", json!(token)),
                        "splunk-hec" => set("token_file", json!(token)),
                        "elasticsearch" => set("index", json!("a")),
                        "alertmanager" => {
                            config.as_object_mut().expect("an object").remove("format");
                        }
                        other => panic!("this test does not know the kind {other}"),
                    }
                    run(config).await;
                    seen.lock().expect("no panic").clone()
                }
            };
            assert!(text.contains(&planted().uid.to_string()), "{kind} {}: {text}", format.name());
            assert_eq!(found(&text), [] as [&str; 0], "{kind} {}: {text}", format.name());
            assert!(text.contains("left out"), "{kind} {}: {text}", format.name());
            tried.push(kind);
        }
    }
    assert!(kinds().iter().all(|kind| tried.contains(kind)), "{tried:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn they_are_sent_where_it_is_said() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("all");
    run(json!({ "name": "it", "kind": "file", "path": file, "redact": "off" })).await;
    assert_eq!(found(&std::fs::read_to_string(file).expect("lines")), SECRETS);
    let file = folder.path().join("lots");
    run(json!({ "name": "it", "kind": "file", "path": file, "redact": { "keep": ["lot", "list"] } })).await;
    assert_eq!(found(&std::fs::read_to_string(file).expect("lines")), ["LOT-Q7741"]);
}
