//! What the program counts, read at each scrape. Labels are bounded: cells and detections are
//! the plant's own configuration.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, Opts};
use yagura_collect::run::Progress as Collecting;
use yagura_detect::shard::Stats;
use yagura_detect::worker::Progress as Detecting;

/// Metrics of collecting and detecting.
pub struct RunMetrics {
    collecting: Arc<Collecting>,
    detecting: Arc<Detecting>,
    descriptions: Vec<Desc>,
}

impl RunMetrics {
    /// Metrics over a run's progress.
    pub fn new(collecting: Arc<Collecting>, detecting: Arc<Detecting>) -> Self {
        let mut metrics = RunMetrics { collecting, detecting, descriptions: Vec::new() };
        let described = metrics.gather();
        metrics.descriptions = described
            .iter()
            .flat_map(|family| {
                let labels = family
                    .get_metric()
                    .first()
                    .map(|m| m.get_label().iter().map(|l| l.name().to_string()).collect())
                    .unwrap_or_default();
                Desc::new(family.name().into(), family.help().into(), labels, Default::default()).ok()
            })
            .collect();
        metrics
    }

    fn gather(&self) -> Vec<MetricFamily> {
        let mut out = Vec::new();
        let mut count = |name: &str, help: &str, value: u64| {
            if let Ok(counter) = IntCounter::with_opts(Opts::new(name, help)) {
                counter.inc_by(value);
                out.extend(counter.collect());
            }
        };
        let c = &self.collecting;
        count(
            "yagura_collect_read_bytes_total",
            "Bytes of the sources read.",
            c.read.load(Ordering::Relaxed),
        );
        count(
            "yagura_collect_records_total",
            "Records written and acknowledged.",
            c.records.load(Ordering::Relaxed),
        );
        count(
            "yagura_collect_repeated_records_total",
            "Records that were in the log already.",
            c.repeated.load(Ordering::Relaxed),
        );
        count(
            "yagura_collect_retries_total",
            "Times that the log did not take records for a while.",
            c.retries.load(Ordering::Relaxed),
        );
        count(
            "yagura_collect_dropped_packets_total",
            "Packets that live sources, the kernel or an interface dropped.",
            c.dropped.load(Ordering::Relaxed),
        );
        let d = &self.detecting;
        count(
            "yagura_detect_alerts_total",
            "Alerts and revisions written.",
            d.alerts.load(Ordering::Relaxed),
        );
        count(
            "yagura_detect_snapshots_total",
            "Snapshots of partitions written.",
            d.snapshots.load(Ordering::Relaxed),
        );
        count(
            "yagura_detect_restarts_total",
            "Times that detecting began again because the log refused.",
            d.restarts.load(Ordering::Relaxed),
        );
        count(
            "yagura_detect_polls_total",
            "Times that the log was asked for records.",
            d.polls.load(Ordering::Relaxed),
        );
        if let Ok(gauge) = Gauge::with_opts(Opts::new(
            "yagura_detect_latency_seconds",
            "From the collector's clock to the judgement, of the last record; large while a recording is read.",
        )) {
            gauge.set(d.latency_us.load(Ordering::Relaxed) as f64 * 1e-6);
            out.extend(gauge.collect());
        }
        let stats = d.stats();
        for (name, help, read) in CELL_COUNTERS {
            if let Ok(counter) = IntCounterVec::new(Opts::new(*name, *help), &["cell"]) {
                for (cell, stats) in &stats {
                    counter.with_label_values(&[cell]).inc_by(read(stats));
                }
                out.extend(counter.collect());
            }
        }
        let aside = d.aside();
        if let Ok(counter) = IntCounterVec::new(
            Opts::new(
                "yagura_detect_aside_rows_total",
                "Rows that a detection's windows counted aside: they came after their window was closed.",
            ),
            &["cell", "detection"],
        ) {
            for (cell, detections) in &aside {
                for (detection, rows) in detections {
                    counter.with_label_values(&[cell, detection]).inc_by(*rows);
                }
            }
            out.extend(counter.collect());
        }
        let learning = d.learning();
        if let Ok(gauge) = GaugeVec::new(
            Opts::new("yagura_detect_keys", "Keys that a detection knows, by whether they are approved."),
            &["cell", "detection", "state"],
        ) {
            for ((cell, detection), learning) in &learning {
                let waiting = learning.keys - learning.approved;
                gauge.with_label_values(&[cell, detection, "approved"]).set(learning.approved as f64);
                gauge.with_label_values(&[cell, detection, "learning"]).set(waiting as f64);
            }
            out.extend(gauge.collect());
        }
        out
    }
}

type CellCounter = (&'static str, &'static str, fn(&Stats) -> u64);

const CELL_COUNTERS: &[CellCounter] = &[
    ("yagura_detect_records_total", "Records judged.", |s| s.records),
    ("yagura_detect_rows_total", "Rows judged.", |s| s.rows),
    ("yagura_detect_repeated_rows_total", "Rows dropped because they had been judged before.", |s| {
        s.repeated_rows
    }),
    ("yagura_detect_missing_rows_total", "Rows that never reached the log.", |s| s.missing_rows),
    ("yagura_detect_late_rows_total", "Rows observed before the watermark.", |s| s.late_rows),
    ("yagura_detect_unreadable_records_total", "Records that could not be read.", |s| s.unreadable_records),
    ("yagura_detect_undefined_samples_total", "Samples whose series nobody defined.", |s| {
        s.undefined_samples
    }),
    ("yagura_detect_failed_conditions_total", "Conditions that failed on a batch.", |s| s.failed_conditions),
    ("yagura_detect_refused_series_total", "Series turned away because there were too many.", |s| {
        s.refused_series
    }),
];

impl Collector for RunMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gather().into_iter().filter(|family| !family.get_metric().is_empty()).collect()
    }
}
