//! What goes to a sink whatever its kind: which alerts, what of them, and how often a sign of life.

use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde_json::{Map, Value};
use yagura_event::alert::{Alert, Queue, Severity};
use yagura_event::amounts::Time;
use yagura_log::Record;

use crate::cases::Cases;
use crate::message::News;
use crate::record::{Entry, RecordError, read};
use crate::redact::{Redaction, both};
use crate::told::Told;

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

/// What of a record goes to a sink.
#[derive(Debug, Default)]
pub(crate) struct Chosen {
    pub news: Vec<News>,
    /// Those that the sink's condition does not let through.
    pub passed_over: u64,
    /// Those that are muted.
    pub muted: u64,
}

impl Delivery {
    /// Chooses from a record of the topic, knowing what people decided before. Of what nobody was told, no decision is
    /// told.
    pub(crate) fn choose(&self, record: &Record, before: &Cases) -> Result<Chosen, RecordError> {
        let mut chosen = Chosen::default();
        match read(record)? {
            Entry::Alerts(alerts) => {
                for alert in alerts {
                    if chosen.takes(self, before, &alert) {
                        let stands = if alert.revision > 1 { before.standing(&alert) } else { None };
                        chosen.news.push(News { stands, ..self.redact.apply(alert).into() });
                    }
                }
            }
            Entry::Told(told) => {
                let Told { decided, alert, of } = *told;
                let (mut shown, decided) = both(&self.redact, alert.clone(), decided);
                shown.evidence = Value::Null;
                let (mut judged, decided) = (alert, Arc::new(decided));
                for named in of {
                    named.put_into(&mut judged);
                    if chosen.takes(self, before, &judged) {
                        let mut alert = shown.clone();
                        named.put_into(&mut alert);
                        chosen.news.push(News { alert, decided: Some(Arc::clone(&decided)), stands: None });
                    }
                }
            }
        }
        Ok(chosen)
    }
}

impl Chosen {
    /// Whether an alert goes to the sink; counts it where it does not.
    fn takes(&mut self, delivery: &Delivery, before: &Cases, alert: &Alert) -> bool {
        let (wanted, muted) = (delivery.when.holds(alert), before.mutes().any(|(mute, _)| mute.mutes(alert)));
        self.passed_over += u64::from(!wanted);
        self.muted += u64::from(wanted && muted);
        wanted && !muted
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
    /// Only alerts whose causing row has an end in one of these areas of the asset table. One whose row names no area
    /// goes wherever the rest of the condition lets it: readings of a tool have none.
    pub areas: Vec<String>,
}

impl When {
    fn check(&self) -> Result<(), String> {
        let patterns = self.cells.iter().chain(&self.detections).chain(&self.areas);
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
            && self.reaches(alert)
    }

    fn reaches(&self, alert: &Alert) -> bool {
        let named = ["client_area", "server_area"].iter().filter_map(|end| alert.evidence[end].as_str());
        let mut named = named.filter(|area| !area.is_empty()).peekable();
        named.peek().is_none() || named.any(|area| fits(&self.areas, area))
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
    use crate::cases::{CaseKey, Decision, Mute, Verdict, What};
    use crate::fixtures;
    use crate::told::tests::told;

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
            (json!({ "areas": ["dmz", "ext*"] }), true),
        ] {
            let read: When = serde_json::from_value(when.clone()).expect("a condition");
            assert_eq!(read.holds(&alert), expected, "{when}");
        }
        let between = |client: &str, server: &str| {
            let mut alert = alert.clone();
            alert.evidence = json!({ "client_area": client, "server_area": server });
            let when: When =
                serde_json::from_value(json!({ "areas": ["dmz", "ext*"] })).expect("a condition");
            when.holds(&alert)
        };
        assert!(between("fab", "dmz") && between("external", "") && between("", ""));
        assert!(!between("fab", "fab-system") && !between("", "fab"));
    }

    #[test]
    fn decisions_go_where_their_alerts_went_and_take_no_evidence_along() {
        let mut told = told(Verdict::Resolved, 0..4);
        told.of[1].severity = Severity::Low;
        told.alert.evidence["lot"] = json!("LOT4711");
        told.alert.summary = "LOT4711 waits".into();
        let mut delivery = Delivery::default();
        delivery.when.severity = Some(Severity::Medium);
        let from = told.of[2].observed;
        let mute = Mute { id: "pm".into(), from, until: from + 1, ..Mute::default() };
        let mut before = Cases::default();
        let decide = |what| Decision { time: 0, by: "ito".into(), why: "work".into(), what };
        before.decide(decide(What::Mute(mute)));
        let chosen = delivery.choose(&told.to_record(), &before).expect("a decision");
        assert_eq!((chosen.passed_over, chosen.muted), (1, 1));
        let uids: Vec<_> = chosen.news.iter().map(|news| news.alert.uid).collect();
        assert_eq!(uids, [told.of[0].uid, told.of[3].uid]);
        for News { alert, decided, .. } in &chosen.news {
            assert_eq!((&alert.evidence, alert.summary.as_str()), (&Value::Null, "[left out] waits"));
            assert_eq!(decided.as_ref().map(|decided| decided.to), Some(Verdict::Resolved));
        }
        // A revision says how people left its alert; an alert itself is new.
        let case = CaseKey::of(&fixtures::alert(1));
        before.decide(decide(What::Case { case, to: Verdict::Acknowledged, seen: i64::MAX }));
        let both = [fixtures::alert(1), Alert { revision: 2, ..fixtures::alert(1) }];
        let chosen = delivery.choose(&fixtures::record(&both), &before).expect("alerts");
        let stands = Some(Verdict::Acknowledged);
        assert_eq!(
            chosen.news,
            both.map(|alert| News { stands: stands.filter(|_| alert.revision > 1), ..alert.into() })
        );
        assert!(delivery.choose(&Record::default(), &before).is_err());
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
