//! The tests inside pipeline files: rows in, alerts out, compared.

pub mod bless;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use serde::Serialize;
use yagura_event::clock::{self, Micros};
use yagura_event::{Alert, Encoding, Envelope, Kind};
use yagura_log::Record;

use crate::alerts::value_at;
use crate::meter::monotonic;
use crate::pipeline::{Detection, Expected, Pipeline, TestSpec};
use crate::shard::Shard;

/// How one test went.
#[derive(Clone, Debug, Serialize)]
pub struct Outcome {
    /// Detection.
    pub detection: String,
    /// Test.
    pub test: String,
    /// The pipeline file that it stands in.
    pub file: PathBuf,
    /// Why it could not be run, if so.
    pub failure: Option<String>,
    /// Where the alerts are not those expected.
    pub differences: Vec<Difference>,
    /// How long it took.
    pub milliseconds: f64,
    /// The fields of each alert that came that a test may name.
    #[serde(skip)]
    pub found: Vec<Expected>,
}

impl Outcome {
    /// Whether it passed.
    pub fn passed(&self) -> bool {
        self.failure.is_none() && self.differences.is_empty()
    }
}

/// One alert that is not as expected.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Difference {
    /// What differs.
    pub kind: DifferenceKind,
    /// Its number, from 1, among those expected; among those that came where it is one more.
    pub alert: usize,
    /// The fields that were expected; of an alert too many, those that tell it from others.
    pub fields: Vec<FieldDifference>,
}

/// How an alert differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DifferenceKind {
    /// It came with other fields.
    Changed,
    /// It did not come.
    Missing,
    /// Nobody expected it.
    More,
}

/// One field of it, expected and found.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FieldDifference {
    /// Its name.
    pub name: String,
    /// What the test says.
    pub expected: Option<serde_json::Value>,
    /// What came.
    pub found: Option<serde_json::Value>,
}

/// The detections that have no test.
pub fn untested(pipeline: &Pipeline) -> Vec<&str> {
    pipeline.detections.iter().filter(|d| d.tests.is_empty()).map(|d| d.id.as_str()).collect()
}

/// Runs the tests of every detection, or of those in `only`, on all processors; the outcomes are
/// in the order of the files. The whole pipeline reads the input; the alerts of the detection that
/// the test stands in are compared.
pub fn run(pipeline: &Arc<Pipeline>, only: &[String]) -> Vec<Outcome> {
    let wanted = |d: &&Detection| only.is_empty() || only.contains(&d.id);
    let tests: Vec<(&Detection, &TestSpec)> =
        pipeline.detections.iter().filter(wanted).flat_map(|d| d.tests.iter().map(move |t| (d, t))).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        while let Some((index, (detection, test))) = {
            let index = next.fetch_add(1, Ordering::Relaxed);
            tests.get(index).map(|test| (index, *test))
        } {
            done.push((index, outcome_of(pipeline, detection, test)));
        }
        done
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(tests.len());
    let mut all: Vec<(usize, Outcome)> = std::thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(work)).collect();
        let mut all = work();
        for other in others {
            match other.join() {
                Ok(done) => all.extend(done),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    });
    all.sort_by_key(|(index, _)| *index);
    all.into_iter().map(|(_, outcome)| outcome).collect()
}

fn outcome_of(pipeline: &Arc<Pipeline>, detection: &Detection, test: &TestSpec) -> Outcome {
    let clock = monotonic();
    let mut outcome = Outcome {
        detection: detection.id.clone(),
        test: test.name.clone(),
        file: detection.file.clone(),
        failure: None,
        differences: Vec::new(),
        milliseconds: 0.0,
        found: Vec::new(),
    };
    match run_one(pipeline, detection, test) {
        Ok(found) => {
            outcome.differences = compare(&test.expect.value, &found, &detection.by);
            outcome.found = found;
        }
        Err(cause) => outcome.failure = Some(cause),
    }
    outcome.milliseconds = clock() as f64 * 1e-6;
    outcome
}

/// The alerts that came, as fields that a test may name.
fn run_one(
    pipeline: &Arc<Pipeline>,
    detection: &Detection,
    test: &TestSpec,
) -> Result<Vec<Expected>, String> {
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
    let mut shards: BTreeMap<Bytes, Shard> = BTreeMap::new();
    let mut alerts: Vec<Alert> = Vec::new();
    for (offset, record) in records.into_iter().enumerate() {
        // What a cell passes on follows at once.
        let mut waiting = vec![record];
        while let Some(record) = waiting.pop() {
            let fresh = || Shard::new(&String::from_utf8_lossy(&record.key), Arc::clone(pipeline));
            let shard = shards.entry(record.key.clone()).or_insert_with(fresh);
            let stepped = shard.step(shard.next_offset(), &record);
            if let Some(cause) = stepped.unreadable {
                return Err(format!("{}: line {}: {cause}", file.display(), offset + 1));
            }
            let mine = |a: &Alert| a.detection == detection.id && a.revision == 1;
            alerts.extend(stepped.alerts.into_iter().filter(mine));
            waiting.extend(stepped.passed.into_iter().rev().map(|passed| passed.record));
        }
    }
    if shards.values().any(|shard| shard.stats().failed_conditions > 0) {
        return Err("a condition failed while it ran".into());
    }
    Ok(alerts.iter().map(|alert| fields_of(alert, start)).collect())
}

/// Everything of an alert that a test may name: the causing row, its key, and what the alert adds.
fn fields_of(alert: &Alert, start: Micros) -> Expected {
    let mut out: Expected = alert.evidence.as_object().cloned().unwrap_or_default().into_iter().collect();
    out.extend(alert.key.iter().map(|(name, value)| (name.clone(), value.clone().into())));
    out.insert("at".into(), since(alert.time - start).into());
    out.insert("summary".into(), alert.summary.clone().into());
    out.insert("count".into(), alert.count.into());
    out.insert("late".into(), alert.late.into());
    out.insert("severity".into(), alert.severity.name().into());
    out
}

/// One record a line: `{"kind": "message", "time": "…", …}`; `cell` where it is not the same for all.
fn records_of(text: &str) -> Result<Vec<Record>, String> {
    let mut out = Vec::new();
    let mut rows_of: BTreeMap<String, u64> = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let fail = |what: &str| format!("{}: {what}", index + 1);
        let mut row: serde_json::Map<String, serde_json::Value> =
            serde_json::from_str(line).map_err(|e| fail(&format!("not a JSON object: {e}")))?;
        let kind = row.remove("kind").and_then(|k| k.as_str().and_then(Kind::from_name));
        let kind = kind.ok_or_else(|| fail("`kind` is missing or is no kind of record"))?;
        let cell = match row.remove("cell") {
            None => "test".to_string(),
            Some(serde_json::Value::String(cell)) => cell,
            Some(other) => return Err(fail(&format!("`cell` is {other} and no text"))),
        };
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
        let next_row = rows_of.entry(cell.clone()).or_default();
        let key = Bytes::copy_from_slice(cell.as_bytes());
        let envelope = Envelope {
            kind,
            version: kind.version(),
            cell,
            collector: "test".into(),
            epoch: 1,
            first_row: *next_row,
            rows: 1,
            observed: (observed, observed),
            promise: observed,
            encoding: Encoding::Json,
            origin: None,
            places: Vec::new(),
        };
        *next_row += 1;
        out.push(Record {
            key,
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

/// The differences between the alerts that came and those expected. Alerts that agree are paired
/// first, as many as keep their order, so that one that is missing does not shift all after it.
fn compare(expected: &[Expected], found: &[Expected], by: &[String]) -> Vec<Difference> {
    let mut out = Vec::new();
    let (mut from, mut begin) = (0, 0);
    for (to, end) in agreeing(expected, found).into_iter().chain([(expected.len(), found.len())]) {
        let pairs = (to - from).max(end - begin);
        for at in 0..pairs {
            let wanted = expected[from..to].get(at);
            let came = found[begin..end].get(at);
            let (kind, alert) = match (wanted, came) {
                (Some(_), Some(_)) => (DifferenceKind::Changed, from + at + 1),
                (Some(_), None) => (DifferenceKind::Missing, from + at + 1),
                (None, _) => (DifferenceKind::More, begin + at + 1),
            };
            out.push(Difference { kind, alert, fields: fields(wanted, came, by) });
        }
        (from, begin) = (to + 1, end + 1);
    }
    out
}

fn fields(wanted: Option<&Expected>, came: Option<&Expected>, by: &[String]) -> Vec<FieldDifference> {
    let names: Vec<String> = match (wanted, came) {
        (Some(wanted), _) => in_order(wanted.keys(), by),
        (None, Some(_)) => told_by(by).into_iter().chain(["summary".to_string()]).collect(),
        (None, None) => Vec::new(),
    };
    let value = |of: Option<&Expected>, name: &str| of.and_then(|fields| field(fields, name).cloned());
    names
        .into_iter()
        .map(|name| FieldDifference { expected: value(wanted, &name), found: value(came, &name), name })
        .collect()
}

/// The fields that tell an alert from others of its detection.
fn told_by(by: &[String]) -> Vec<String> {
    std::iter::once("at".to_string()).chain(by.iter().cloned()).collect()
}

/// Names as people write them: when, the key, the rest.
fn in_order<'a>(names: impl Iterator<Item = &'a String>, by: &[String]) -> Vec<String> {
    let told = told_by(by);
    let mut names: Vec<String> = names.cloned().collect();
    names.sort_by_key(|name| told.iter().position(|told| told == name).unwrap_or(told.len()));
    names
}

fn agrees(expected: &Expected, found: &Expected) -> bool {
    let null = serde_json::Value::Null;
    expected.iter().all(|(name, value)| field(found, name).unwrap_or(&null) == value)
}

/// A field, or with dots in its name, what lies within one.
fn field<'a>(fields: &'a Expected, name: &str) -> Option<&'a serde_json::Value> {
    fields.get(name).or_else(|| {
        let (outer, inner) = name.split_once('.')?;
        value_at(fields.get(outer)?.as_object()?, inner)
    })
}

/// The longest row of pairs that agree, in order of both.
fn agreeing(expected: &[Expected], found: &[Expected]) -> Vec<(usize, usize)> {
    let width = found.len() + 1;
    let mut longest = vec![0_usize; (expected.len() + 1) * width];
    for (i, wanted) in expected.iter().enumerate().rev() {
        for (j, came) in found.iter().enumerate().rev() {
            longest[i * width + j] = match agrees(wanted, came) {
                true => longest[(i + 1) * width + j + 1] + 1,
                false => longest[(i + 1) * width + j].max(longest[i * width + j + 1]),
            };
        }
    }
    let (mut i, mut j, mut out) = (0, 0, Vec::new());
    while i < expected.len() && j < found.len() {
        if agrees(&expected[i], &found[j]) {
            out.push((i, j));
            (i, j) = (i + 1, j + 1);
        } else if longest[(i + 1) * width + j] >= longest[i * width + j + 1] {
            i += 1;
        } else {
            j += 1;
        }
    }
    out
}

/// `00:03:10`, hours, minutes and seconds from the first row.
fn since(micros: Micros) -> String {
    let seconds = micros.div_euclid(clock::SECOND);
    format!("{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn alert(fields: serde_json::Value) -> Expected {
        fields.as_object().cloned().unwrap_or_default().into_iter().collect()
    }

    #[test]
    fn a_missing_alert_does_not_shift_those_after_it() {
        let at = |at: &str| alert(json!({"at": at, "tool": "A"}));
        let found = |at: &str| alert(json!({"at": at, "tool": "A", "summary": "S", "late": false}));
        let by = ["tool".to_string()];
        let said = |expected: &[Expected], found: &[Expected]| -> Vec<(DifferenceKind, usize)> {
            compare(expected, found, &by).iter().map(|d| (d.kind, d.alert)).collect()
        };
        let (one, two, three) = (at("1"), at("2"), at("3"));
        let all = [one.clone(), two.clone(), three.clone()];
        assert_eq!(said(&all, &[found("1"), found("2"), found("3")]), []);
        assert_eq!(said(&all, &[found("2"), found("3")]), [(DifferenceKind::Missing, 1)]);
        assert_eq!(said(&all, &[found("1"), found("9"), found("3")]), [(DifferenceKind::Changed, 2)]);
        assert_eq!(said(&[one, three], &[found("1"), found("2"), found("3")]), [(DifferenceKind::More, 2)]);
        assert_eq!(said(&[], &[found("1")]), [(DifferenceKind::More, 1)]);
        let more = &compare(&[], &[found("1")], &by)[0];
        assert_eq!(
            more.fields.iter().map(|f| f.name.as_str()).collect::<Vec<_>>(),
            ["at", "tool", "summary"]
        );
        let changed = &compare(&[at("1")], &[found("2")], &by)[0];
        assert_eq!(
            (&changed.fields[0].expected, &changed.fields[0].found),
            (&Some("1".into()), &Some("2".into()))
        );
    }
}
