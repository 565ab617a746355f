//! What other processes of the plant count, through the log.
//!
//! A collector on the fab side dials out to the log and nothing dials in to it: so its metrics travel as records of
//! a topic, ten seconds apart, and the process that detects shows them beside its own, with the label `node`.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use prometheus::Registry;
use prometheus::core::{Collector, Desc};
use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use serde::{Deserialize, Serialize};
use yagura_event::clock::{self, SECOND};
use yagura_log::{Log, LogError, Record};

/// The topic of nodes' reports, keyed by node.
pub const NODES: &str = "yagura.nodes";

/// How often a node reports.
const EVERY: Duration = Duration::from_secs(10);
/// How long a node's figures are shown after its last report; the time of that is shown for as long as the process
/// runs.
const SHOWN: i64 = 60 * SECOND;
/// Nodes that are followed; their names come from outside.
const NODES_MAX: usize = 1000;
/// The largest report, in bytes. What all nodes report is kept: at most these times [`NODES_MAX`].
const REPORT_BYTES_MAX: usize = 256 << 10;

/// One node's report.
#[derive(Serialize, Deserialize)]
struct Report {
    node: String,
    /// Microseconds of UTC, by the node's clock.
    time: i64,
    version: String,
    figures: Vec<Figure>,
}

/// One value of one metric.
#[derive(Serialize, Deserialize)]
struct Figure {
    name: String,
    help: String,
    counter: bool,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Figure {
    /// Whether it is one that this program may have made: others could break what is shown beside them.
    fn is_ours(&self) -> bool {
        let word = |text: &str| {
            text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_')
                && text.starts_with(|c: char| c.is_ascii_lowercase())
        };
        let labels = || self.labels.keys().all(|label| word(label) && label != "node");
        self.name.starts_with("yagura_") && word(&self.name) && labels() && self.value.is_finite()
    }
}

/// Reports what `registry` counts, until `stop` is set; while the log is away nothing is reported.
pub fn report(node: &str, registry: &Registry, log: &dyn Log, stop: &AtomicBool) {
    let mut there = false;
    while !stop.load(Ordering::Acquire) {
        there = there || log.ensure_topic(NODES, 1).is_ok();
        if there && let Err(cause) = say(node, registry, log) {
            tracing::debug!(%cause, "this node's figures are not reported");
        }
        std::thread::park_timeout(EVERY);
    }
}

fn say(node: &str, registry: &Registry, log: &dyn Log) -> Result<(), LogError> {
    let report = Report {
        node: node.to_string(),
        time: clock::now(),
        version: env!("CARGO_PKG_VERSION").into(),
        figures: registry.gather().iter().flat_map(figures).collect(),
    };
    // A struct of strings and numbers always serialises.
    let value = serde_json::to_vec(&report).unwrap_or_default();
    let key = Bytes::copy_from_slice(node.as_bytes());
    let mut appender = log.appender(NODES)?;
    appender.append(Record { key, header: Bytes::new(), value: value.into() })?;
    appender.flush()
}

fn figures(family: &MetricFamily) -> Vec<Figure> {
    let counter = family.get_field_type() == MetricType::COUNTER;
    let value = |metric: &Metric| match family.get_field_type() {
        MetricType::COUNTER => Some(metric.get_counter().get_value()),
        MetricType::GAUGE => Some(metric.get_gauge().get_value()),
        _ => None,
    };
    let figure = |metric: &Metric| {
        Some(Figure {
            name: family.name().into(),
            help: family.help().into(),
            counter,
            labels: metric
                .get_label()
                .iter()
                .map(|l| (l.name().to_string(), l.value().to_string()))
                .collect(),
            value: value(metric).filter(|value| value.is_finite())?,
        })
    };
    family.get_metric().iter().filter_map(figure).collect()
}

/// What nodes reported last.
#[derive(Clone)]
pub struct Nodes {
    reports: Arc<Mutex<BTreeMap<String, Report>>>,
    described: Desc,
}

impl Nodes {
    /// Nothing yet.
    pub fn new() -> anyhow::Result<Self> {
        let described = Desc::new(LAST.into(), LAST_HELP.into(), vec!["node".into()], Default::default())?;
        Ok(Nodes { reports: Arc::default(), described })
    }

    /// Follows the topic until `stop` is set.
    pub fn follow(&self, log: &dyn Log, stop: &AtomicBool) {
        while !stop.load(Ordering::Acquire) {
            if let Err(cause) = self.read(log, stop) {
                tracing::debug!(%cause, "the reports of other nodes cannot be read");
                std::thread::park_timeout(EVERY);
            }
        }
    }

    fn read(&self, log: &dyn Log, stop: &AtomicBool) -> Result<(), LogError> {
        log.ensure_topic(NODES, 1)?;
        let mut reader = log.reader(NODES, 0, log.held(NODES, 0)?.end)?;
        while !stop.load(Ordering::Acquire) {
            for stored in reader.read(1 << 20, Duration::from_millis(500))? {
                // Anybody may write there: what is no report says nothing.
                let value = &stored.record.value;
                if value.len() <= REPORT_BYTES_MAX
                    && let Ok(report) = serde_json::from_slice::<Report>(value)
                {
                    self.take(report);
                }
            }
        }
        Ok(())
    }

    fn take(&self, mut report: Report) {
        report.figures.retain(Figure::is_ours);
        let mut reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        if reports.len() < NODES_MAX || reports.contains_key(&report.node) {
            reports.insert(report.node.clone(), report);
        }
    }
}

const LAST: &str = "yagura_node_reported_timestamp_seconds";
const LAST_HELP: &str = "When a node reported last, by its own clock.";

impl Collector for Nodes {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.described]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let reports = self.reports.lock().unwrap_or_else(PoisonError::into_inner);
        let mut families: BTreeMap<&str, MetricFamily> = BTreeMap::new();
        let now = clock::now();
        for (node, report) in reports.iter() {
            let last = Figure {
                name: LAST.into(),
                help: LAST_HELP.into(),
                counter: false,
                labels: BTreeMap::new(),
                value: report.time as f64 * 1e-6,
            };
            let family = families.entry(LAST).or_insert_with(|| empty(&last));
            family.mut_metric().push(metric(node, &last));
            if now - report.time > SHOWN {
                continue;
            }
            for figure in &report.figures {
                let family = families.entry(&figure.name).or_insert_with(|| empty(figure));
                family.mut_metric().push(metric(node, figure));
            }
        }
        families.into_values().collect()
    }
}

fn empty(of: &Figure) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(of.name.clone());
    family.set_help(of.help.clone());
    family.set_field_type(if of.counter { MetricType::COUNTER } else { MetricType::GAUGE });
    family
}

fn metric(node: &str, figure: &Figure) -> Metric {
    let mut metric = Metric::default();
    let own = ("node", node);
    let labels = figure.labels.iter().map(|(name, value)| (name.as_str(), value.as_str()));
    let pair = |(name, value): (&str, &str)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_string());
        pair.set_value(value.to_string());
        pair
    };
    metric.set_label(labels.chain([own]).map(pair).collect());
    if figure.counter {
        let mut counter = Counter::default();
        counter.set_value(figure.value);
        metric.set_counter(counter);
    } else {
        let mut gauge = Gauge::default();
        gauge.set_value(figure.value);
        metric.set_gauge(gauge);
    }
    metric
}

#[cfg(test)]
mod tests {
    use prometheus::{IntCounterVec, Opts, TextEncoder};
    use yagura_log::embedded::Options;
    use yagura_log::memory;

    use super::*;

    #[test]
    fn what_somebody_else_writes_into_the_topic_breaks_nothing() {
        let nodes = Nodes::new().expect("nodes");
        let here = Registry::new();
        here.register(Box::new(nodes.clone())).expect("registered");
        let figure = |name: &str, label: &str| Figure {
            name: name.into(),
            help: "a\nb".into(),
            counter: true,
            labels: [(label.to_string(), "x\"} 1\ny{z=\"".to_string())].into(),
            value: 1.0,
        };
        let figures = vec![
            figure("yagura_rows_total", "collector"),
            figure("yagura_rows_total{a=\"b\"} 7\nevil", "collector"),
            figure("process_cpu_seconds_total", "collector"),
            figure("yagura_rows_total", "node"),
            figure("yagura_rows_total", "a=\"b\",c"),
        ];
        nodes.take(Report { node: "n\nevil 1".into(), time: clock::now(), version: String::new(), figures });
        let text = TextEncoder::new().encode_to_string(&here.gather()).expect("text");
        let samples: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(samples.len() == 2 && samples.iter().all(|line| line.starts_with("yagura_")), "{text}");
    }

    #[test]
    fn what_a_node_counts_is_shown_by_another_with_its_name() {
        let log = memory::open(Options::default()).expect("a log");
        let counts =
            IntCounterVec::new(Opts::new("yagura_rows_total", "Rows."), &["collector"]).expect("a counter");
        counts.with_label_values(&["mirror"]).inc_by(42);
        let (there, here) = (Registry::new(), Registry::new());
        there.register(Box::new(counts.clone())).expect("registered");
        here.register(Box::new(counts)).expect("registered");
        let nodes = Nodes::new().expect("nodes");
        here.register(Box::new(nodes.clone())).expect("registered");
        let stop = AtomicBool::new(false);
        let text = std::thread::scope(|scope| {
            scope.spawn(|| nodes.follow(&log, &stop));
            let reporter = scope.spawn(|| report("bay-3", &there, &log, &stop));
            let mut text = String::new();
            for _ in 0..3000 {
                text = TextEncoder::new().encode_to_string(&here.gather()).expect("text");
                if text.contains("bay-3") {
                    break;
                }
                // The reader begins at the end: what was reported before it is not seen.
                reporter.thread().unpark();
                std::thread::park_timeout(Duration::from_millis(10));
            }
            stop.store(true, Ordering::Release);
            reporter.thread().unpark();
            text
        });
        assert!(text.contains("yagura_rows_total{collector=\"mirror\"} 42"), "{text}");
        assert!(text.contains("yagura_rows_total{collector=\"mirror\",node=\"bay-3\"} 42"), "{text}");
        assert!(text.contains("yagura_node_reported_timestamp_seconds{node=\"bay-3\"}"), "{text}");
        assert_eq!(text.matches("# TYPE yagura_rows_total").count(), 1, "{text}");
    }
}
