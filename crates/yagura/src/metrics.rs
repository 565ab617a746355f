//! What the program counts, read at each scrape. Labels are bounded: cells and detections are
//! the plant's own configuration.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{CounterVec, Gauge, GaugeVec, IntCounter, IntCounterVec, Opts};
use yagura_collect::run::Progress as Collecting;
use yagura_detect::Pipeline;
use yagura_detect::shard::{Spent, Stats};
use yagura_detect::worker::Progress as Detecting;
use yagura_event::clock;

use crate::collectors::Progresses;

/// Metrics of collecting and detecting.
pub struct RunMetrics {
    collecting: Progresses,
    detecting: Arc<Detecting>,
    pipeline: Arc<Pipeline>,
    descriptions: Vec<Desc>,
}

impl RunMetrics {
    /// Metrics over a run's progress.
    pub fn new(collecting: Progresses, detecting: Arc<Detecting>, pipeline: Arc<Pipeline>) -> Self {
        let mut metrics = RunMetrics { collecting, detecting, pipeline, descriptions: Vec::new() };
        metrics.descriptions = described(&metrics.gather());
        metrics
    }

    fn gather(&self) -> Vec<MetricFamily> {
        let mut out = self.collectors();
        let mut count = |name: &str, help: &str, value: u64| {
            if let Ok(counter) = IntCounter::with_opts(Opts::new(name, help)) {
                counter.inc_by(value);
                out.extend(counter.collect());
            }
        };
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
        count(
            "yagura_detect_dead_letters_total",
            "Records that could not be read and became dead letters.",
            d.dead_letters.load(Ordering::Relaxed),
        );
        if let Ok(gauge) = Gauge::with_opts(Opts::new(
            "yagura_detect_latency_seconds",
            "From the collector's clock to the judgement, of the last record; large while a recording is read.",
        )) {
            gauge.set(d.latency_us.load(Ordering::Relaxed) as f64 * 1e-6);
            out.extend(gauge.collect());
        }
        if let Ok(gauge) = Gauge::with_opts(Opts::new(
            "yagura_detect_snapshot_pause_seconds",
            "How long judging stood still while the last snapshot was taken.",
        )) {
            gauge.set(d.snapshot_pause_us.load(Ordering::Relaxed) as f64 * 1e-6);
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
        out.extend(self.learning());
        out.extend(self.budgets());
        out.extend(self.detections());
        out.extend(self.partitions());
        out
    }

    /// How far the learning of each detection has got.
    fn learning(&self) -> Vec<MetricFamily> {
        let mut out = Vec::new();
        let learning = self.detecting.learning();
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
        if let Ok(gauge) = GaugeVec::new(
            Opts::new(
                "yagura_detect_ready_keys",
                "Keys of a detection that have seen enough to be approved, or are.",
            ),
            &["cell", "detection"],
        ) {
            for ((cell, detection), learning) in &learning {
                gauge.with_label_values(&[cell, detection]).set(learning.ready as f64);
            }
            out.extend(gauge.collect());
        }
        out
    }

    /// Budgets of alarms, and what was spent of them.
    fn budgets(&self) -> Vec<MetricFamily> {
        let spent = self.detecting.spent();
        let of = |alarms: &[u32], day: usize| alarms.get(day).copied().map(f64::from);
        let mean = |alarms: &[u32]| {
            let over = &alarms[1.min(alarms.len())..];
            (!over.is_empty()).then(|| over.iter().map(|&n| f64::from(n)).sum::<f64>() / over.len() as f64)
        };
        let mut out = Vec::new();
        let mut gauge = |name: &str, help: &str, value: &dyn Fn(&Spent) -> Option<f64>| {
            if let Ok(gauge) = GaugeVec::new(Opts::new(name, help), &["detection"]) {
                for (detection, spent) in &spent {
                    if let Some(value) = value(spent) {
                        gauge.with_label_values(&[detection]).set(value);
                    }
                }
                out.extend(gauge.collect());
            }
        };
        gauge("yagura_budget_alarms_per_day", "Alarms a day that all cells together may raise.", &|spent| {
            Some(spent.budget)
        });
        gauge(
            "yagura_budget_alarms_today",
            "Alarms of the day that is not over, in the cells' time.",
            &|spent| of(&spent.alarms, 0),
        );
        gauge(
            "yagura_budget_alarms_realised",
            "Alarms a day in the last days that are over, up to 29.",
            &|spent| mean(&spent.alarms),
        );
        gauge("yagura_budget_keys", "Keys that the budget is for.", &|spent| Some(spent.keys as f64));
        out
    }

    /// What each collector has done, and the spool.
    fn collectors(&self) -> Vec<MetricFamily> {
        let mut out = Vec::new();
        for (name, help, read) in COLLECTOR_COUNTERS {
            if let Ok(counter) = IntCounterVec::new(Opts::new(*name, *help), &["collector"]) {
                for (collector, progress) in &self.collecting.collectors {
                    counter.with_label_values(&[collector]).inc_by(read(progress).load(Ordering::Relaxed));
                }
                out.extend(counter.collect());
            }
        }
        let blind = Opts::new(
            "yagura_collect_blind_seconds_total",
            "Time that was not seen of what a collector reads, told when it is over; all subjects together.",
        );
        if let Ok(counter) = CounterVec::new(blind, &["collector"]) {
            for (collector, progress) in &self.collecting.collectors {
                let blind = progress.blind_us.load(Ordering::Relaxed);
                counter.with_label_values(&[collector]).inc_by(blind as f64 * 1e-6);
            }
            out.extend(counter.collect());
        }
        let down = Opts::new(
            "yagura_collect_down_subjects",
            "Interfaces, servers, files that a collector cannot read now.",
        );
        if let Ok(gauge) = GaugeVec::new(down, &["collector"]) {
            for (collector, progress) in &self.collecting.collectors {
                let down = progress.down.load(Ordering::Relaxed);
                gauge.with_label_values(&[collector]).set(down as f64);
            }
            out.extend(gauge.collect());
        }
        let reached = Opts::new(
            "yagura_collect_reached_timestamp_seconds",
            "The time that a collector has reached in what it reads.",
        );
        if let Ok(gauge) = GaugeVec::new(reached, &["collector"]) {
            for (collector, progress) in &self.collecting.collectors {
                let reached = progress.time.load(Ordering::Relaxed);
                gauge.with_label_values(&[collector]).set(reached as f64 * 1e-6);
            }
            out.extend(gauge.collect());
        }
        if let Some(spool) = &self.collecting.spool {
            let oldest = spool.progress.oldest.load(Ordering::Relaxed) as i64;
            let age = if oldest == 0 { 0 } else { (clock::now() - oldest).max(0) };
            let gauges = [
                ("yagura_spool_bytes", "Bytes that the spool takes on disk.", spool.bytes() as f64),
                ("yagura_spool_limit_bytes", "Bytes that the spool may take.", spool.bytes_max() as f64),
                ("yagura_spool_waiting_records", "Records that wait for the log.", spool.waiting() as f64),
                (
                    "yagura_spool_age_seconds",
                    "Age of the oldest record that waits for the log.",
                    age as f64 * 1e-6,
                ),
            ];
            for (name, help, value) in gauges {
                if let Ok(gauge) = Gauge::new(name, help) {
                    gauge.set(value);
                    out.extend(gauge.collect());
                }
            }
            let moved = spool.progress.moved.load(Ordering::Relaxed);
            if let Ok(counter) =
                IntCounter::new("yagura_spool_moved_records_total", "Records moved into the log.")
            {
                counter.inc_by(moved);
                out.extend(counter.collect());
            }
        }
        out
    }

    /// What each detection costs and finds: five series a detection, whatever the cells.
    fn detections(&self) -> Vec<MetricFamily> {
        let mut out = Vec::new();
        let totals = self.detecting.detections();
        let named = || self.pipeline.detections.iter().zip(&totals);
        let seconds = Opts::new("yagura_detection_seconds_total", "Time that a detection took to judge.");
        if let Ok(counter) = CounterVec::new(seconds, &["detection"]) {
            for (detection, totals) in named() {
                counter.with_label_values(&[&detection.id]).inc_by(totals.nanos as f64 * 1e-9);
            }
            out.extend(counter.collect());
        }
        let rows = Opts::new(
            "yagura_detection_rows_total",
            "Rows: `offered` to the condition, `selected` by it for the operator, and `hit`, objected to.",
        );
        if let Ok(counter) = IntCounterVec::new(rows, &["detection", "stage"]) {
            for (detection, totals) in named() {
                let stages =
                    [("offered", totals.offered), ("selected", totals.selected), ("hit", totals.hits)];
                for (stage, rows) in stages {
                    counter.with_label_values(&[detection.id.as_str(), stage]).inc_by(rows);
                }
            }
            out.extend(counter.collect());
        }
        let alerts = Opts::new("yagura_detection_alerts_total", "Alerts and revisions written.");
        if let Ok(counter) = IntCounterVec::new(alerts, &["detection", "queue"]) {
            for (detection, totals) in named() {
                let labels = [detection.id.as_str(), detection.queue.name()];
                counter.with_label_values(&labels).inc_by(totals.alerts);
            }
            out.extend(counter.collect());
        }
        out
    }

    /// How far each partition is judged, and how much state each cell has.
    fn partitions(&self) -> Vec<MetricFamily> {
        let mut out = Vec::new();
        let d = &self.detecting;
        let mut gauges = |name: &str, help: &str, label: &str, values: Vec<(String, u64)>| {
            if let Ok(gauge) = GaugeVec::new(Opts::new(name, help), &[label]) {
                for (of, value) in values {
                    gauge.with_label_values(&[&of]).set(value as f64);
                }
                out.extend(gauge.collect());
            }
        };
        let (done, ends) = (d.done(), d.ends());
        gauges(
            "yagura_detect_lag_records",
            "Records of a partition that wait to be judged, of those that are this process's.",
            "partition",
            done.iter()
                .filter_map(|(p, done)| Some((p.to_string(), ends.get(p)?.saturating_sub(*done))))
                .collect(),
        );
        gauges(
            "yagura_detect_state_bytes",
            "Bytes of a cell's state in its last snapshot.",
            "cell",
            d.state_bytes().into_iter().collect(),
        );
        out
    }
}

/// What a registry wants to know of metrics before it asks for them.
pub fn described(families: &[MetricFamily]) -> Vec<Desc> {
    let describe = |family: &MetricFamily| {
        let labels = family
            .get_metric()
            .first()
            .map(|m| m.get_label().iter().map(|l| l.name().to_string()).collect())
            .unwrap_or_default();
        Desc::new(family.name().into(), family.help().into(), labels, Default::default()).ok()
    };
    families.iter().flat_map(describe).collect()
}

type CollectorCounter = (&'static str, &'static str, fn(&Collecting) -> &AtomicU64);

const COLLECTOR_COUNTERS: &[CollectorCounter] = &[
    ("yagura_collect_read_bytes_total", "Bytes of recorded sources read.", |p| &p.read),
    ("yagura_collect_records_total", "Records written and acknowledged.", |p| &p.records),
    ("yagura_collect_repeated_records_total", "Records that were in the log already.", |p| &p.repeated),
    ("yagura_collect_retries_total", "Times that the log did not take records for a while.", |p| &p.retries),
    (
        "yagura_collect_dropped_packets_total",
        "Packets or messages that a live source, the kernel or an interface dropped.",
        |p| &p.dropped,
    ),
];

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
    (
        "yagura_detect_refused_contexts_total",
        "Contexts turned away because there were too many places.",
        |s| s.refused_contexts,
    ),
    (
        "yagura_detect_refused_pipelines_total",
        "Pipeline versions in the log that this program cannot read; the one before stays in force.",
        |s| s.refused_pipelines,
    ),
    (
        "yagura_detect_refused_baselines_total",
        "Baselines and approvals that were refused; what was in force stays so.",
        |s| s.refused_baselines,
    ),
];

impl Collector for RunMetrics {
    fn desc(&self) -> Vec<&Desc> {
        self.descriptions.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        self.gather().into_iter().filter(|family| !family.get_metric().is_empty()).collect()
    }
}
