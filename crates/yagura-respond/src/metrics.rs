//! What the sinks count. Labels are the sinks' names, which the configuration bounds, and
//! the few words of [`crate::SinkError::reason`].

use prometheus::{Gauge, GaugeVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// The metrics of all sinks of a process.
#[derive(Clone, Debug)]
pub struct Metrics {
    sent: IntCounterVec,
    acknowledged: IntCounterVec,
    refused: IntCounterVec,
    passed_over: IntCounterVec,
    muted: IntCounterVec,
    heartbeats: IntCounterVec,
    guaranteed: IntGaugeVec,
    repeats: IntCounterVec,
    errors: IntCounterVec,
    retries: IntCounterVec,
    lag: IntGaugeVec,
    acknowledged_at: GaugeVec,
}

impl Metrics {
    /// Registers them; an error when the registry has them already.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counter = |name: &str, help: &str, labels: &[&str]| -> Result<_, prometheus::Error> {
            let made = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(made.clone()))?;
            Ok(made)
        };
        let lag = IntGaugeVec::new(
            Opts::new(
                "yagura_sink_lag_records",
                "Records of alerts in the log that the receiver has not acknowledged.",
            ),
            &["sink"],
        )?;
        registry.register(Box::new(lag.clone()))?;
        let acknowledged_at = GaugeVec::new(
            Opts::new(
                "yagura_sink_last_acknowledgement_timestamp_seconds",
                "When the receiver last acknowledged an alert or a heartbeat, in seconds since 1970; 0 before the first.",
            ),
            &["sink"],
        )?;
        registry.register(Box::new(acknowledged_at.clone()))?;
        let guaranteed = IntGaugeVec::new(
            Opts::new(
                "yagura_sink_guaranteed",
                "1 when the sink's receiver acknowledges what it has; 0 when nobody can know what has arrived.",
            ),
            &["sink"],
        )?;
        registry.register(Box::new(guaranteed.clone()))?;
        Ok(Self {
            refused: counter(
                "yagura_sink_refused_total",
                "Alerts that the receiver refused for good; they are in the topic yagura.undelivered.",
                &["sink"],
            )?,
            passed_over: counter(
                "yagura_sink_passed_over_total",
                "Alerts that the sink's condition does not let through.",
                &["sink"],
            )?,
            muted: counter(
                "yagura_sink_muted_total",
                "Alerts that somebody muted, and were not sent.",
                &["sink"],
            )?,
            heartbeats: counter("yagura_sink_heartbeats_total", "Signs of life sent.", &["sink"])?,
            guaranteed,
            sent: counter(
                "yagura_sink_sent_total",
                "Alerts and decisions about them sent, again or for the first time.",
                &["sink"],
            )?,
            acknowledged: counter(
                "yagura_sink_acknowledged_total",
                "Alerts and decisions about them that the receiver acknowledged.",
                &["sink"],
            )?,
            repeats: counter(
                "yagura_sink_repeats_total",
                "Alerts in the log that had been handled before, and decisions that a return has overtaken: not sent.",
                &["sink"],
            )?,
            errors: counter(
                "yagura_sink_errors_total",
                "Failures by reason; `record` is a record that holds no alerts and was skipped, `gone` a stretch of alerts that the log no longer holds.",
                &["sink", "reason"],
            )?,
            retries: counter(
                "yagura_sink_retries_total",
                "Attempts to connect again after a failure.",
                &["sink"],
            )?,
            lag,
            acknowledged_at,
        })
    }

    /// Those of one sink, all present from now on so that a rate has a beginning.
    pub(crate) fn sink(&self, name: &str) -> SinkMetrics {
        SinkMetrics {
            sent: self.sent.with_label_values(&[name]),
            acknowledged: self.acknowledged.with_label_values(&[name]),
            refused: self.refused.with_label_values(&[name]),
            passed_over: self.passed_over.with_label_values(&[name]),
            muted: self.muted.with_label_values(&[name]),
            heartbeats: self.heartbeats.with_label_values(&[name]),
            guaranteed: self.guaranteed.with_label_values(&[name]),
            repeats: self.repeats.with_label_values(&[name]),
            retries: self.retries.with_label_values(&[name]),
            lag: self.lag.with_label_values(&[name]),
            acknowledged_at: self.acknowledged_at.with_label_values(&[name]),
            errors: self.errors.clone(),
            name: name.to_string(),
        }
    }
}

/// The metrics of one sink.
#[derive(Clone, Debug)]
pub(crate) struct SinkMetrics {
    pub sent: IntCounter,
    pub acknowledged: IntCounter,
    pub refused: IntCounter,
    pub passed_over: IntCounter,
    pub muted: IntCounter,
    pub heartbeats: IntCounter,
    pub guaranteed: IntGauge,
    pub repeats: IntCounter,
    pub retries: IntCounter,
    pub lag: IntGauge,
    pub acknowledged_at: Gauge,
    errors: IntCounterVec,
    name: String,
}

impl SinkMetrics {
    /// Counts one failure.
    pub fn error(&self, reason: &'static str) {
        self.errors.with_label_values(&[self.name.as_str(), reason]).inc();
    }
}
