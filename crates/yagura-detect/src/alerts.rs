//! From hits to alerts: one alert for a key until it has been quiet for long enough.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use yagura_event::alert::{Alert, Cause, reading};
use yagura_event::clock::Micros;

use crate::pipeline::Detection;

/// One row that a detection objects to.
#[derive(Clone, Debug)]
pub struct Hit {
    /// Index of the detection in the pipeline.
    pub detection: usize,
    /// The row.
    pub cause: Cause,
    /// Its device time.
    pub time: Micros,
    /// Its collector time.
    pub observed: Micros,
    /// The `by` columns and their values.
    pub key: BTreeMap<String, String>,
    /// The row, and what was expected.
    pub evidence: serde_json::Map<String, serde_json::Value>,
    /// Whether it came after the watermark had passed it.
    pub late: bool,
}

/// The alerts of a cell that may still count further rows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AlertBook {
    open: BTreeMap<(String, BTreeMap<String, String>), Open>,
    next_sequence: u64,
}

/// An alert with what the next revision needs. The alert itself is kept as JSON text: its
/// evidence has no fixed shape, which a compact binary snapshot cannot carry.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Open {
    alert: String,
    count: u64,
    revision: u32,
    last_time: Micros,
}

/// The most alerts that are kept open in a cell; beyond, the one quiet for longest is closed.
const OPEN_MAX: usize = 10_000;

impl AlertBook {
    /// Takes a hit; answers a new alert, or a revision when the count reached a power of ten.
    pub fn take(&mut self, cell: &str, detection: &Detection, hit: Hit) -> Option<Alert> {
        let key = (detection.id.clone(), hit.key.clone());
        if let Some(open) = self.open.get_mut(&key)
            && hit.time.saturating_sub(open.last_time) <= detection.quiet
        {
            open.count += 1;
            open.last_time = open.last_time.max(hit.time);
            if !is_power_of_ten(open.count) {
                return None;
            }
            let mut alert: Alert = serde_json::from_str(&open.alert).ok()?;
            open.revision += 1;
            alert.revision = open.revision;
            alert.count = open.count;
            alert.last_time = open.last_time;
            alert.sequence = self.next_sequence;
            self.next_sequence += 1;
            return Some(alert);
        }
        let alert = self.new_alert(cell, detection, hit);
        self.make_room();
        self.open.insert(
            key,
            Open {
                alert: serde_json::to_string(&alert).unwrap_or_default(),
                count: 1,
                revision: 1,
                last_time: alert.time,
            },
        );
        Some(alert)
    }

    /// How many alerts and revisions there have been.
    pub fn issued(&self) -> u64 {
        self.next_sequence
    }

    fn new_alert(&mut self, cell: &str, detection: &Detection, hit: Hit) -> Alert {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let tool = hit.evidence.get("tool").and_then(|v| v.as_str()).unwrap_or("").to_string();
        Alert {
            uid: Alert::uid_of(cell, &detection.id, &hit.key, &hit.cause),
            revision: 1,
            cell: cell.to_string(),
            sequence,
            detection: detection.id.clone(),
            title: detection.title.clone(),
            queue: detection.queue,
            severity: detection.severity,
            protects: detection.protects.clone(),
            techniques: detection.techniques.clone(),
            matrix: detection.matrix.clone(),
            outcomes: detection.outcomes.clone(),
            time: hit.time,
            observed: hit.observed,
            last_time: hit.time,
            count: 1,
            key: hit.key,
            tool,
            summary: fill(&detection.summary, &hit.evidence),
            then: detection.then.clone(),
            evidence: serde_json::Value::Object(hit.evidence),
            cause: hit.cause,
            late: hit.late,
        }
    }

    fn make_room(&mut self) {
        if self.open.len() < OPEN_MAX {
            return;
        }
        let oldest =
            self.open.iter().min_by_key(|(key, open)| (open.last_time, *key)).map(|(key, _)| key.clone());
        if let Some(oldest) = oldest {
            self.open.remove(&oldest);
        }
    }
}

fn is_power_of_ten(count: u64) -> bool {
    count > 0 && 10_u64.checked_pow(count.ilog10()) == Some(count)
}

/// The names in a template's `{places}`.
pub fn places(template: &str) -> impl Iterator<Item = &str> {
    template.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
}

/// The value of a name; of `first.client`, the value within that of `first`.
pub fn value_at<'a>(
    values: &'a serde_json::Map<String, serde_json::Value>,
    name: &str,
) -> Option<&'a serde_json::Value> {
    match name.split_once('.') {
        Some((outer, inner)) => values.get(outer)?.get(inner),
        None => values.get(name),
    }
}

/// A template with its places filled; a place without a value becomes a dash.
fn fill(template: &str, values: &serde_json::Map<String, serde_json::Value>) -> String {
    let mut out = String::with_capacity(template.len() + 32);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let Some((name, after)) = after.split_once('}') else {
            out.push('{');
            rest = after;
            continue;
        };
        let is_empty = |value: &&serde_json::Value| value.is_null() || value.as_str() == Some("");
        match value_at(values, name).filter(|value| !is_empty(value)) {
            Some(serde_json::Value::String(text)) => out.push_str(text),
            Some(serde_json::Value::Number(number)) => match number.as_f64() {
                Some(f) if !number.is_i64() && !number.is_u64() => out.push_str(&reading(f)),
                _ => out.push_str(&number.to_string()),
            },
            Some(other) => out.push_str(&other.to_string()),
            None => out.push('–'),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_filled_as_people_write_numbers() {
        let values = serde_json::json!({"tool": "ETCH-07", "step": "", "lot": null, "seen": 12.345678, "count": 3, "first": {"client": "PC"}});
        let values = values.as_object().cloned().unwrap_or_default();
        assert_eq!(
            fill(
                "{tool} {step}{lot}: {seen} ({count} times, {missing}) {first.client} {first.tool} {open",
                &values
            ),
            "ETCH-07 ––: 12.35 (3 times, –) PC – {open"
        );
        assert_eq!(places("{a} b {c}").collect::<Vec<_>>(), ["a", "c"]);
    }

    #[test]
    fn revisions_come_at_powers_of_ten() {
        let powers: Vec<u64> = (0..=1000).filter(|&n| is_power_of_ten(n)).collect();
        assert_eq!(powers, [1, 10, 100, 1000]);
    }
}
