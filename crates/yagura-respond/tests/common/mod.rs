//! What the tests of all receivers share.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use prometheus::Registry;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use yagura_event::Alert;
use yagura_event::clock::Micros;
use yagura_log::embedded::{Embedded, Options};
use yagura_log::{Log, Record, memory};
use yagura_respond::cases::{CaseKey, Cases, Decision, Verdict, What};
use yagura_respond::told::Decided;
use yagura_respond::{ForwardError, Forwarder, Metrics, Progress, SinkConfig};
use yagura_testkit::certificates::Certificates;

#[path = "../../src/fixtures.rs"]
pub mod fixtures;
pub mod server;

pub const TOPIC: &str = "alerts";

/// Waits until `done` says so; fails after thirty seconds.
pub async fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(30), async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what} did not happen within 30 s");
}

/// A log in memory with a topic of alerts.
pub fn log() -> Arc<Embedded> {
    let log = Arc::new(memory::open(Options::default()).expect("a log in memory"));
    log.ensure_topic(TOPIC, 1).expect("a topic");
    log
}

/// Appends records to the topic of alerts.
pub fn append(log: &dyn Log, records: impl IntoIterator<Item = Record>) {
    let mut appender = log.appender(TOPIC).expect("an appender");
    for record in records {
        appender.append(record).expect("it is taken");
    }
    appender.flush().expect("it is durable");
}

/// Alerts with these sequences, one a record.
pub fn append_alerts(log: &dyn Log, sequences: Range<u64>) {
    append(log, sequences.map(|n| fixtures::record(&[fixtures::alert(n)])));
}

/// These alerts, one a record.
pub fn append_these(log: &dyn Log, alerts: &[Alert]) {
    append(log, alerts.iter().map(|alert| fixtures::record(std::slice::from_ref(alert))));
}

/// Decides about the case of these alerts, as somebody does who has seen them; answers what was decided.
pub fn decide(log: &dyn Log, alerts: &[Alert], to: Verdict, time: Micros) -> Decided {
    let mut cases = Cases::default();
    alerts.iter().for_each(|alert| cases.alert(alert.clone()));
    let (case, _) = cases.iter().next().expect("a case");
    let (by, why) = ("mori".to_string(), "the cable is replaced".to_string());
    let what = What::Case { case: CaseKey::of(&case.alert), to, seen: case.seen() };
    append(log, cases.records(&Decision { time, by: by.clone(), why: why.clone(), what }).told);
    Decided { to, time, by, why }
}

/// A forwarder at work.
pub struct Running {
    pub registry: Registry,
    progress: Arc<Progress>,
    stop: oneshot::Sender<()>,
    task: JoinHandle<Result<(), ForwardError>>,
}

impl Running {
    #[expect(clippy::print_stderr, reason = "a test's only voice")]
    pub fn start(log: &Arc<dyn Log>, config: Value) -> Self {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).expect("metrics");
        let config: SinkConfig = serde_json::from_value(config).expect("a sink's settings");
        let sink = config.build(std::path::Path::new("")).expect("a sink");
        let forwarder = Forwarder::new(&config.name, sink, Arc::clone(log), TOPIC, &metrics);
        let forwarder = forwarder.delivering(config.delivery);
        let progress = forwarder.progress();
        let (stop, stopped) = oneshot::channel();
        let task = tokio::spawn(async {
            let ended = forwarder.run(async { drop(stopped.await) }).await;
            // A test that waits for something would otherwise not say why it never comes.
            ended.inspect_err(|error| eprintln!("the forwarder ended: {error}"))
        });
        Self { registry, progress, stop, task }
    }

    /// The offset before which the receiver has acknowledged everything.
    pub fn committed(&self) -> u64 {
        self.progress.committed().get(&0).copied().unwrap_or(0)
    }

    /// Ends it as a crash does: what is on its way and what is not committed is forgotten.
    pub async fn crash(self) {
        self.task.abort();
        assert!(self.task.await.is_err_and(|ended| ended.is_cancelled()), "it ended by itself");
    }

    pub async fn stop(self) -> Registry {
        self.stop.send(()).expect("it still runs");
        self.task.await.expect("no panic").expect("a clean end");
        self.registry
    }

    pub fn metric(&self, name: &str, reason: Option<&str>) -> f64 {
        metric(&self.registry, name, reason)
    }
}

pub fn metric(registry: &Registry, name: &str, reason: Option<&str>) -> f64 {
    let families = registry.gather();
    let samples =
        families.iter().filter(|family| family.name() == name).flat_map(|family| family.get_metric());
    samples
        .filter(|sample| {
            reason.is_none_or(|reason| sample.get_label().iter().any(|label| label.value() == reason))
        })
        .map(|sample| sample.get_counter().get_value() + sample.get_gauge().get_value())
        .sum()
}

pub fn mutual(certificates: &Certificates) -> Value {
    json!({
        "ca": certificates.file("ca.pem"), "certificate": certificates.file("yagura.pem"),
        "key": certificates.file("yagura.key"), "server_name": "localhost",
    })
}
