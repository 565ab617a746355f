//! The tests inside pipeline files: rows in, alerts out, compared.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde::Serialize;
use yagura_event::clock::{self, Micros};
use yagura_event::{Alert, Encoding, Envelope, Kind};
use yagura_log::Record;

use crate::pipeline::{Detection, Pipeline, TestSpec};
use crate::shard::Shard;

/// How one test went.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Detection.
    pub detection: String,
    /// Test.
    pub test: String,
    /// What differs, a line each; empty when it passed.
    pub differences: Vec<String>,
}

impl Outcome {
    /// Whether it passed.
    pub fn passed(&self) -> bool {
        self.differences.is_empty()
    }
}

/// Runs every test of every detection. The whole pipeline reads the input; the alerts of the
/// detection that the test stands in are compared.
pub fn run(pipeline: &Arc<Pipeline>) -> Vec<Outcome> {
    let mut out = Vec::new();
    for detection in &pipeline.detections {
        for test in &detection.tests {
            let differences = match run_one(pipeline, detection, test) {
                Ok(differences) => differences,
                Err(cause) => vec![cause],
            };
            out.push(Outcome { detection: detection.id.clone(), test: test.name.clone(), differences });
        }
    }
    out
}

fn run_one(pipeline: &Arc<Pipeline>, detection: &Detection, test: &TestSpec) -> Result<Vec<String>, String> {
    let folder = detection.file.parent().unwrap_or(Path::new("."));
    let file = folder.join(&test.input);
    let text =
        std::fs::read_to_string(&file).map_err(|e| format!("{}: cannot be read: {e}", file.display()))?;
    let records = records_of(&text).map_err(|e| format!("{}:{e}", file.display()))?;
    let Some(start) =
        records.first().and_then(|r| Envelope::from_header(&r.header).ok()).map(|e| e.observed.0)
    else {
        return Err(format!("{}: has no rows", file.display()));
    };
    let mut shard = Shard::new("test", Arc::clone(pipeline));
    let mut alerts: Vec<Alert> = Vec::new();
    for (offset, record) in records.iter().enumerate() {
        let stepped = shard.step(offset as u64, record);
        if let Some(cause) = stepped.unreadable {
            return Err(format!("{}: line {}: {cause}", file.display(), offset + 1));
        }
        alerts.extend(stepped.alerts.into_iter().filter(|a| a.detection == detection.id && a.revision == 1));
    }
    if shard.stats().failed_conditions > 0 {
        return Err("a condition failed while it ran".into());
    }
    Ok(compare(test, &alerts, start))
}

/// One record a line: `{"kind": "message", "time": "…", …}`.
fn records_of(text: &str) -> Result<Vec<Record>, String> {
    let mut out = Vec::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let fail = |what: &str| format!("{}: {what}", index + 1);
        let mut row: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(line).map_err(|e| fail(&format!("not a JSON object: {e}")))?;
        let kind = row.remove("kind").and_then(|k| k.as_str().and_then(Kind::from_name));
        let kind = kind.ok_or_else(|| fail("`kind` is missing or is no kind of record"))?;
        let names: Vec<String> = kind.schema().fields().iter().map(|f| f.name().clone()).collect();
        let time = row.get("observed").or(row.get("time")).and_then(time_of);
        if !names.iter().any(|n| n == "observed") {
            // Of rows without such a column, the collector's time is their record's.
            row.remove("observed");
        }
        if let Some(unknown) = row.keys().find(|k| !names.contains(k)) {
            return Err(fail(&format!(
                "`{unknown}` is no column of {}; there are: {}",
                kind.name(),
                names.join(", ")
            )));
        }
        if row.get("observed").is_none()
            && names.iter().any(|n| n == "observed")
            && let Some(time) = row.get("time").cloned()
        {
            row.insert("observed".into(), time);
        }
        let observed = time.or_else(|| last_observed(&out)).unwrap_or(0);
        let envelope = Envelope {
            kind,
            version: kind.version(),
            cell: "test".into(),
            collector: "test".into(),
            epoch: 1,
            first_row: out.len() as u64,
            rows: 1,
            observed: (observed, observed),
            promise: observed,
            encoding: Encoding::Json,
        };
        out.push(Record {
            key: Bytes::from_static(b"test"),
            header: envelope.to_header().into(),
            value: serde_json::Value::Object(row).to_string().into(),
        });
    }
    Ok(out)
}

fn last_observed(records: &[Record]) -> Option<Micros> {
    records.last().and_then(|r| Envelope::from_header(&r.header).ok()).map(|e| e.observed.1)
}

fn time_of(value: &serde_json::Value) -> Option<Micros> {
    value.as_i64().or_else(|| value.as_str().and_then(clock::parse_rfc3339))
}

/// The differences between the alerts and what the test expects, a line each.
fn compare(test: &TestSpec, alerts: &[Alert], start: Micros) -> Vec<String> {
    let mut out = Vec::new();
    for (index, expected) in test.expect.iter().enumerate() {
        let Some(alert) = alerts.get(index) else {
            let wanted = serde_json::to_string(expected).unwrap_or_default();
            out.push(format!("- expected alert {}: {wanted}; there was none", index + 1));
            continue;
        };
        for (field, wanted) in expected {
            let found = match field.as_str() {
                "at" => serde_json::Value::from(since(alert.time - start)),
                "summary" => alert.summary.clone().into(),
                "count" => alert.count.into(),
                "late" => alert.late.into(),
                name => match alert.key.get(name) {
                    Some(value) => value.clone().into(),
                    None => alert.evidence.get(name).cloned().unwrap_or(serde_json::Value::Null),
                },
            };
            if found != *wanted {
                out.push(format!("- alert {}: {field} is {found}, expected {wanted}", index + 1));
            }
        }
    }
    for alert in alerts.iter().skip(test.expect.len()) {
        let at = since(alert.time - start);
        out.push(format!("+ an alert more at {at}: {}", alert.summary));
    }
    out
}

/// `00:03:10`, hours, minutes and seconds from the first row.
fn since(micros: Micros) -> String {
    let seconds = micros.div_euclid(clock::SECOND);
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}
