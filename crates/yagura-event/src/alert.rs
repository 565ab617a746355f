//! Alerts: what a person reads at three in the morning.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::clock::Micros;

/// Who handles it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Queue {
    /// The security analyst.
    Security,
    /// The equipment engineer.
    Equipment,
    /// Whoever keeps the collectors and data sources.
    DataQuality,
}

impl Queue {
    /// The name that users write.
    pub fn name(self) -> &'static str {
        match self {
            Queue::Security => "security",
            Queue::Equipment => "equipment",
            Queue::DataQuality => "data-quality",
        }
    }
}

/// How bad it is; the numbers are OCSF's `severity_id`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// For the record.
    Informational = 1,
    /// Look at it this week.
    Low = 2,
    /// Look at it today.
    Medium = 3,
    /// Look at it now.
    High = 4,
    /// Call somebody.
    Critical = 5,
}

impl Severity {
    /// The name that users write.
    pub fn name(self) -> &'static str {
        match self {
            Severity::Informational => "informational",
            Severity::Low => "low",
            Severity::Medium => "medium",
            Severity::High => "high",
            Severity::Critical => "critical",
        }
    }

    /// The next worse one; none above the worst.
    pub fn above(self) -> Option<Severity> {
        Some(match self {
            Severity::Informational => Severity::Low,
            Severity::Low => Severity::Medium,
            Severity::Medium => Severity::High,
            Severity::High => Severity::Critical,
            Severity::Critical => return None,
        })
    }
}

/// The row that caused an alert.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// Its collector.
    pub collector: String,
    /// Its epoch.
    pub epoch: u64,
    /// Its number.
    pub row: u64,
}

/// One revision of an alert.
///
/// `uid` is a UUID of version 5 over cell, detection, key and causing row: the same row judged again
/// gives the same alert, wherever it lies in the log. `revision` grows when the alert's count does.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// The alert.
    pub uid: uuid::Uuid,
    /// 1 for a new one.
    pub revision: u32,
    /// The cell.
    pub cell: String,
    /// Number of this revision within the cell, from 0, without holes.
    pub sequence: u64,
    /// The detection's id.
    pub detection: String,
    /// The detection's title.
    pub title: String,
    /// Who handles it.
    pub queue: Queue,
    /// How bad it is.
    pub severity: Severity,
    /// What is at stake: `production`, `confidentiality`, `quality`.
    pub protects: Vec<String>,
    /// ATT&CK for ICS techniques.
    pub techniques: Vec<String>,
    /// The matrix version that the techniques are of.
    pub matrix: String,
    /// NIST CSF 2.0 and CPSF identifiers that the detection supports.
    pub outcomes: Vec<String>,
    /// Device time of the causing row.
    pub time: Micros,
    /// Collector clock of the causing row.
    pub observed: Micros,
    /// Device time of the last row counted.
    pub last_time: Micros,
    /// Rows counted so far.
    pub count: u64,
    /// The detection's key columns and their values.
    pub key: BTreeMap<String, String>,
    /// The equipment, when it is known.
    pub tool: String,
    /// What happened, in one sentence.
    pub summary: String,
    /// What the person on shift does first.
    pub then: String,
    /// The causing row's columns and what the operator expected, as a JSON object.
    pub evidence: serde_json::Value,
    /// The causing row.
    pub cause: Cause,
    /// Whether the row came later than the watermark.
    #[serde(default)]
    pub late: bool,
}

impl Alert {
    /// The namespace of alert ids.
    const NAMESPACE: uuid::Uuid = uuid::Uuid::from_bytes(*b"yagura.alert.uid");

    /// The id of the alert that `detection` raises in `cell` for `key` because of the row `cause`. Rows are
    /// numbered within their cell, so that it takes part.
    pub fn uid_of(cell: &str, detection: &str, key: &BTreeMap<String, String>, cause: &Cause) -> uuid::Uuid {
        // JSON escapes its delimiters, so that no two keys give the same text.
        let text =
            serde_json::json!([cell, detection, key, cause.collector, cause.epoch, cause.row]).to_string();
        uuid::Uuid::new_v5(&Self::NAMESPACE, text.as_bytes())
    }
}

/// A number as a person writes a reading: with four significant digits, and with an exponent where it is beyond all readings.
pub fn reading(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    if value.abs() >= 1e15 {
        return format!("{value:.3e}");
    }
    let decimals = (3 - value.abs().log10().floor() as i32).clamp(0, 9) as usize;
    let text = format!("{value:.decimals$}");
    if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.').to_string() } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_the_same_number_in_two_cells_are_two_alerts() {
        let cause = Cause { collector: "yagura.owner".into(), epoch: 1, row: 0 };
        let id = |cell: &str| Alert::uid_of(cell, "collector-silent", &BTreeMap::new(), &cause);
        assert_ne!(id("bay-1"), id("bay-2"));
        assert_eq!(id("bay-1"), id("bay-1"));
    }

    #[test]
    fn readings_have_four_digits() {
        let written = [1234.5, 0.00123456, 2647.0, 5.484166, 0.0].map(reading);
        assert_eq!(written, ["1234", "0.001235", "2647", "5.484", "0"]);
        assert_eq!([1e15, -1.7e308].map(reading), ["1.000e15", "-1.700e308"]);
    }
}
