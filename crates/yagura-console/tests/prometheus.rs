//! The console as Prometheus, its linter and a restarter see it.

use std::net::SocketAddr;
use std::time::Duration;

use prometheus::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use yagura_console::{ConsoleError, Health, bind};
use yagura_testkit::prometheus::{Prometheus, check_metrics};

struct Running {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ConsoleError>>,
}

/// A console with its own metrics and those of a sink that cannot reach its receiver.
async fn console(health: Health) -> Running {
    let registry = Registry::new();
    let metrics = yagura_respond::Metrics::register(&registry).expect("metrics");
    fail_to_send(&metrics).await;
    let bound = bind("127.0.0.1:0", registry, health).await.expect("a free port");
    let address = bound.address();
    let (stop, stopped) = oneshot::channel();
    let task = tokio::spawn(bound.serve(async {
        let _ = stopped.await;
    }));
    Running { address, stop, task }
}

/// Gives every metric of a sink a value, its errors included.
async fn fail_to_send(metrics: &yagura_respond::Metrics) {
    let closed = TcpListener::bind("127.0.0.1:0").await.and_then(|l| l.local_addr()).expect("a port");
    let config =
        serde_json::json!({ "name": "siem", "kind": "relp", "address": closed.to_string(), "tls": false });
    let config: yagura_respond::SinkConfig = serde_json::from_value(config).expect("settings");
    let log = yagura_log::memory::open(yagura_log::embedded::Options::default()).expect("a log in memory");
    yagura_log::Log::ensure_topic(&log, "alerts", 1).expect("a topic");
    let sink = config.build(std::path::Path::new("")).expect("a sink");
    let forwarder = yagura_respond::Forwarder::new("siem", sink, std::sync::Arc::new(log), "alerts", metrics);
    forwarder.run(tokio::time::sleep(Duration::from_millis(300))).await.expect("a clean end");
}

/// The answer to a GET: its status and everything after the status line.
async fn get(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.expect("a connection");
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.expect("the request is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("an answer");
    let status = answer.get(9..12).and_then(|code| code.parse().ok());
    (status.expect("a status line"), answer)
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").expect("a body").1
}

#[tokio::test(flavor = "multi_thread")]
async fn promtool_finds_nothing_to_blame() {
    let running = console(Health::new(Duration::from_secs(30))).await;
    let (status, answer) = get(running.address, "/metrics").await;
    assert_eq!(status, 200);
    assert!(answer.contains("text/plain; version=0.0.4"), "{answer}");
    let metrics = body(&answer);
    for name in [
        "yagura_build_info{version=\"0.1.0\"} 1",
        "process_start_time_seconds",
        "yagura_sink_sent_total{sink=\"siem\"} 0",
        "yagura_sink_acknowledged_total{sink=\"siem\"} 0",
        "yagura_sink_repeats_total{sink=\"siem\"} 0",
        "yagura_sink_errors_total{reason=\"connect\",sink=\"siem\"}",
        "yagura_sink_retries_total{sink=\"siem\"}",
        "yagura_sink_lag_records{sink=\"siem\"} 0",
        "yagura_sink_last_acknowledgement_timestamp_seconds{sink=\"siem\"} 0",
    ] {
        assert!(metrics.lines().any(|line| line.starts_with(name)), "{name} is not in\n{metrics}");
    }
    let said = check_metrics(metrics).expect("promtool");
    assert_eq!(said, "", "promtool complains");
    let bad = check_metrics("# TYPE bad_total gauge\nbad_total 1\n").expect("promtool");
    assert_ne!(bad, "", "the check itself must be able to fail");
    running.stop.send(()).expect("it runs");
    running.task.await.expect("no panic").expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_prometheus_scrapes_it() {
    let running = console(Health::new(Duration::from_secs(30))).await;
    let prometheus = Prometheus::start(&running.address.to_string()).expect("prometheus starts");
    let sample = prometheus.sample("yagura_build_info").expect("a sample");
    assert!(sample.contains("\"version\":\"0.1.0\"") && sample.contains("\"job\":\"yagura\""), "{sample}");
    let up = prometheus.sample("up").expect("a sample");
    assert!(up.contains(",\"1\"]"), "{up}");
    running.stop.send(()).expect("it runs");
    running.task.await.expect("no panic").expect("a clean end");
}

#[tokio::test(flavor = "multi_thread")]
async fn probes_tell_why() {
    let health = Health::new(Duration::from_millis(50));
    let (gate, component) = (health.gate("log", "joining the group"), health.component("fold"));
    let running = console(health).await;
    let (status, answer) = get(running.address, "/ready").await;
    assert_eq!((status, body(&answer)), (503, "log: joining the group\n"));
    gate.open();
    assert_eq!(get(running.address, "/ready").await.0, 200);

    component.advance();
    assert_eq!(get(running.address, "/live").await.0, 200);
    tokio::time::sleep(Duration::from_millis(80)).await;
    let (status, answer) = get(running.address, "/live").await;
    assert_eq!((status, body(&answer)), (503, "fold: has work and has made no progress for 0 s\n"));
    component.idle();
    assert_eq!(get(running.address, "/live").await.0, 200);

    let (status, page) = get(running.address, "/").await;
    assert!(status == 200 && page.contains("Yagura 0.1.0") && page.contains("href=\"metrics\""), "{page}");
    assert_eq!(get(running.address, "/alerts").await.0, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_waits_for_no_idle_client_and_frees_the_port() {
    let running = console(Health::new(Duration::from_secs(30))).await;
    let mut mute = TcpStream::connect(running.address).await.expect("a connection");
    mute.write_all(b"GET /metrics HTTP/1.1\r\n").await.expect("half a request");
    let taken =
        bind(&running.address.to_string(), Registry::new(), Health::new(Duration::from_secs(1))).await;
    let said = taken.err().expect("the port is taken").to_string();
    assert!(said.contains(&running.address.to_string()) && said.contains("another address"), "{said}");
    running.stop.send(()).expect("it runs");
    let ended = tokio::time::timeout(Duration::from_secs(10), running.task).await;
    ended.expect("it ends in time").expect("no panic").expect("a clean end");
    let elsewhere = bind("192.0.2.1:9600", Registry::new(), Health::new(Duration::from_secs(1))).await;
    let said = elsewhere.err().expect("not our address").to_string();
    assert!(said.contains("192.0.2.1:9600") && said.contains("127.0.0.1:9600"), "{said}");
}
