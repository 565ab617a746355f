//! Cases as the log has them, and what has come since they were read last.

use std::collections::BTreeSet;
use std::sync::Arc;

use yagura_log::{Log, LogError, Record, Whole};

use super::{CaseKey, Cases, DECISIONS, Decision, What};
use crate::record::alerts_of;

/// Follows the topics of alerts and of decisions.
pub struct Watched {
    log: Arc<dyn Log>,
    alerts: Whole,
    decisions: Whole,
    cases: Cases,
}

impl Watched {
    /// Nothing is read yet; `alerts` is the topic of alerts.
    pub fn new(log: Arc<dyn Log>, alerts: &str) -> Self {
        Watched { log, alerts: Whole::of(alerts), decisions: Whole::of(DECISIONS), cases: Cases::default() }
    }

    /// Reads what there is; answers the cases that it is about. What cannot be read is told and passed over.
    pub fn read(&mut self) -> Result<BTreeSet<CaseKey>, LogError> {
        let (log, cases, mut touched) = (self.log.as_ref(), &mut self.cases, BTreeSet::new());
        let told = |topic: &str, offset: u64, problem: String| {
            tracing::warn!(topic, offset, problem, "a record is passed over");
        };
        self.decisions.read(log, |_, stored| match decision(cases, &stored.record) {
            Ok(about) => touched.extend(about),
            Err(problem) => told("decisions", stored.offset, problem),
        })?;
        self.alerts.read(log, |_, stored| match alerts(cases, &stored.record) {
            Ok(about) => touched.extend(about),
            Err(problem) => told("alerts", stored.offset, problem),
        })?;
        Ok(touched)
    }

    /// The cases, as they were read last.
    pub fn cases(&self) -> &Cases {
        &self.cases
    }

    /// The same, when nothing more is to be read.
    pub fn into_cases(self) -> Cases {
        self.cases
    }
}

fn decision(cases: &mut Cases, record: &Record) -> Result<Option<CaseKey>, String> {
    let decision = Decision::of_record(record).map_err(|e| e.to_string())?;
    let about = match &decision.what {
        What::Case { case, .. } => Some(case.clone()),
        What::Mute(_) | What::Unmute { .. } => None,
    };
    cases.decide(decision);
    Ok(about)
}

fn alerts(cases: &mut Cases, record: &Record) -> Result<Vec<CaseKey>, String> {
    let alerts = alerts_of(record).map_err(|e| e.to_string())?;
    let about = alerts.iter().map(CaseKey::of).collect();
    alerts.into_iter().for_each(|alert| cases.alert(alert));
    Ok(about)
}
