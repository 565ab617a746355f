//! What goes to a sink whatever its kind: which alerts, what of them, and how often a sign of life.

use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use yagura_event::alert::{Alert, Queue, Severity};

use crate::redact::Redaction;
use yagura_event::amounts::Time;

/// What goes to a sink; every alert but what is the fab's own in it, and a heartbeat each minute, without a setting.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Which alerts.
    pub when: When,
    /// What of them is left out.
    pub redact: Redaction,
    /// How often a sign of life goes; none without.
    pub heartbeat: Option<Duration>,
}

impl Default for Delivery {
    fn default() -> Self {
        Self { when: When::default(), redact: Redaction::default(), heartbeat: Some(HEARTBEAT) }
    }
}

/// How often without a setting.
const HEARTBEAT: Duration = Duration::from_secs(60);

impl Delivery {
    /// Takes what is said of it out of a sink's settings.
    pub(crate) fn take(settings: &mut Map<String, Value>) -> Result<Self, String> {
        let mut delivery = Self::default();
        if let Some(when) = settings.remove("when") {
            delivery.when = When::deserialize(when).map_err(|e| format!("`when`: {e}"))?;
            delivery.when.check()?;
        }
        if let Some(redact) = settings.remove("redact") {
            delivery.redact = match &redact {
                Value::Bool(false) => Redaction::off(),
                Value::String(text) if text == "off" => Redaction::off(),
                _ => Redaction::deserialize(redact).map_err(|e| format!("`redact`: {e}"))?,
            };
        }
        if let Some(heartbeat) = settings.remove("heartbeat") {
            delivery.heartbeat = match &heartbeat {
                Value::Bool(false) => None,
                Value::String(text) if text == "off" => None,
                _ => {
                    let every =
                        Time::deserialize(heartbeat).map_err(|e| format!("`heartbeat`: {e}"))?.duration();
                    if !(Duration::from_secs(5)..=Duration::from_secs(3600)).contains(&every) {
                        return Err("`heartbeat` is 5s to 1h, or off".into());
                    }
                    Some(every)
                }
            };
        }
        Ok(delivery)
    }
}

/// Which alerts go to a sink: those for which all of this holds.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct When {
    /// Only alerts of these queues; of all without an entry.
    pub queues: Vec<Queue>,
    /// Only alerts at least as severe.
    pub severity: Option<Severity>,
    /// Only alerts of these cells; `etch-*` stands for all that begin so.
    pub cells: Vec<String>,
    /// Only alerts of these detections, likewise.
    pub detections: Vec<String>,
}

impl When {
    fn check(&self) -> Result<(), String> {
        let patterns = self.cells.iter().chain(&self.detections);
        let inner = |pattern: &&String| pattern.strip_suffix('*').unwrap_or(pattern).contains('*');
        match patterns.into_iter().find(inner) {
            Some(pattern) => Err(format!("`when`: `{pattern}` has its `*` not at its end")),
            None => Ok(()),
        }
    }

    /// Whether the alert goes to the sink.
    pub fn holds(&self, alert: &Alert) -> bool {
        (self.queues.is_empty() || self.queues.contains(&alert.queue))
            && self.severity.is_none_or(|least| alert.severity >= least)
            && fits(&self.cells, &alert.cell)
            && fits(&self.detections, &alert.detection)
    }
}

/// Whether no pattern is given, or one fits.
fn fits(patterns: &[String], name: &str) -> bool {
    patterns.is_empty()
        || patterns.iter().any(|pattern| match pattern.strip_suffix('*') {
            Some(beginning) => name.starts_with(beginning),
            None => name == pattern,
        })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures;

    #[test]
    fn all_conditions_must_hold() {
        let alert = fixtures::alert(1);
        for (when, expected) in [
            (json!({}), true),
            (json!({ "queues": ["security", "equipment"] }), true),
            (json!({ "queues": ["data-quality"] }), false),
            (json!({ "severity": "high" }), true),
            (json!({ "severity": "critical" }), false),
            (json!({ "cells": ["bay-*"], "detections": ["recipe-body-not-released"] }), true),
            (json!({ "cells": ["bay-1", "bay"] }), false),
            (json!({ "queues": ["security"], "cells": ["litho-*"] }), false),
        ] {
            let read: When = serde_json::from_value(when.clone()).expect("a condition");
            assert_eq!(read.holds(&alert), expected, "{when}");
        }
    }

    #[test]
    fn a_heartbeat_goes_each_minute_unless_it_is_said_otherwise() {
        let take = |settings: Value| {
            let mut settings = settings.as_object().cloned().unwrap_or_default();
            let delivery = Delivery::take(&mut settings).expect("settings");
            assert!(settings.is_empty());
            delivery.heartbeat.map(|every| every.as_secs())
        };
        assert_eq!(take(json!({})), Some(60));
        assert_eq!(take(json!({ "heartbeat": "5m" })), Some(300));
        assert_eq!(take(json!({ "heartbeat": "off" })), None);
        assert_eq!(take(json!({ "heartbeat": false })), None);
    }
}
