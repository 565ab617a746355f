//! Health as a metric: Prometheus tells people of what stands still before a restarter ends it.

use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, Opts};

use crate::health::Health;

const NAME: &str = "yagura_stalled_seconds";
const HELP: &str = "For how long a component has had work and made no progress; 0 while it gets on or rests.";

/// How long each component of a process has stood still.
pub struct Standing {
    health: Health,
    described: Desc,
}

impl Standing {
    /// Of this process.
    pub fn of(health: Health) -> Result<Self, prometheus::Error> {
        let described = Desc::new(NAME.into(), HELP.into(), vec!["component".into()], Default::default())?;
        Ok(Standing { health, described })
    }
}

impl Collector for Standing {
    fn desc(&self) -> Vec<&Desc> {
        vec![&self.described]
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Ok(gauge) = GaugeVec::new(Opts::new(NAME, HELP), &["component"]) else { return Vec::new() };
        for (component, still) in self.health.standing() {
            gauge.with_label_values(&[&component]).set(still.unwrap_or_default().as_secs_f64());
        }
        gauge.collect()
    }
}
