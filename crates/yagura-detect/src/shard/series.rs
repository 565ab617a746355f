//! The signals of a cell, and the contexts that hold for them.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::UInt32Type;
use serde::{Deserialize, Serialize};
use yagura_event::rows::{CoverageBuilder, CoverageRow, SeriesBuilder, SeriesRow};
use yagura_event::vocabulary::coverage;
use yagura_event::{Envelope, Kind, units};

use super::{Judged, Shard};
use crate::columns::{text_at, times_of};
use crate::index::Candidates;

/// The most series of a cell.
const SERIES_MAX: usize = 4_000_000;

/// One signal of the cell, under the shard's own dense number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// Equipment.
    pub tool: String,
    /// Chamber.
    pub chamber: String,
    /// Signal.
    pub signal: String,
    /// Unit.
    pub unit: String,
    /// Class.
    pub class: String,
    /// Where it comes from.
    pub source: String,
    /// Lot, recipe and step that hold now.
    pub context: BTreeMap<String, String>,
}

impl Series {
    /// What is said of it, as a row under a number.
    pub fn row(&self, number: u32) -> SeriesRow<'_> {
        SeriesRow {
            series: number,
            tool: &self.tool,
            chamber: &self.chamber,
            signal: &self.signal,
            unit: &self.unit,
            class: &self.class,
            source: &self.source,
            ..SeriesRow::default()
        }
    }

    /// One of its columns as text.
    pub fn text(&self, column: &str) -> &str {
        match column {
            "tool" => &self.tool,
            "chamber" => &self.chamber,
            "signal" => &self.signal,
            "unit" => &self.unit,
            "class" => &self.class,
            "source" => &self.source,
            _ => "",
        }
    }
}

/// A definition that gives a known series another unit.
pub(super) struct UnitChange {
    /// Its row in the record.
    row: usize,
    tool: String,
    detail: String,
}

impl Shard {
    /// Series definitions: the collector's numbers become the shard's. Answers which known series have another
    /// unit from now on.
    pub(super) fn define(&mut self, envelope: &Envelope, rows: &RecordBatch, from: usize) -> Vec<UnitChange> {
        let mut changes = Vec::new();
        let column = |name: &str| rows.column_by_name(name);
        let (Some(number), Some(tool), Some(chamber), Some(signal), Some(unit), Some(class), Some(source)) = (
            column("series").and_then(|c| c.as_primitive_opt::<UInt32Type>()),
            column("tool"),
            column("chamber"),
            column("signal"),
            column("unit"),
            column("class"),
            column("source"),
        ) else {
            return changes;
        };
        let mut defined = Vec::new();
        for row in from..rows.num_rows() {
            let name = (
                text_at(tool, row).into_owned(),
                text_at(chamber, row).into_owned(),
                text_at(signal, row).into_owned(),
            );
            let local = number.value(row) as usize;
            if local >= SERIES_MAX {
                self.saved.stats.refused_series += 1;
                continue;
            }
            let shard_number = match self.by_name.get(&name) {
                Some(&known) => {
                    changes.extend(self.change_unit(known, row, &text_at(unit, row)));
                    known
                }
                None if self.saved.series.len() >= SERIES_MAX => {
                    self.saved.stats.refused_series += 1;
                    continue;
                }
                None => {
                    let fresh = self.saved.series.len() as u32;
                    let context = self.context_of(&name.0, &name.1);
                    self.saved.series.push(Series {
                        tool: name.0.clone(),
                        chamber: name.1.clone(),
                        signal: name.2.clone(),
                        unit: text_at(unit, row).into_owned(),
                        class: text_at(class, row).into_owned(),
                        source: text_at(source, row).into_owned(),
                        context,
                    });
                    self.by_tool.entry(name.0.clone()).or_default().push(fresh);
                    self.by_name.insert(name, fresh);
                    defined.push(fresh);
                    fresh
                }
            };
            let id = (envelope.collector.clone(), envelope.epoch);
            if let Some(collector) = self.saved.collectors.get_mut(&id) {
                if collector.local.len() <= local {
                    collector.local.resize(local + 1, u32::MAX);
                }
                collector.local[local] = shard_number;
            }
        }
        for detection in 0..self.pipeline.detections.len() {
            self.select_series(detection, &defined);
        }
        changes
    }

    /// Notes the unit of a known series where it is another one; one that nobody said is no other one.
    fn change_unit(&mut self, number: u32, row: usize, unit: &str) -> Option<UnitChange> {
        let series = self.saved.series.get(number as usize)?;
        if unit.is_empty() || series.unit == unit {
            return None;
        }
        let differs = !series.unit.is_empty() && units::normal(&series.unit) != units::normal(unit);
        let series = self.saved.series.get_mut(number as usize)?;
        let before = std::mem::replace(&mut series.unit, unit.to_string());
        let of = if series.chamber.is_empty() { String::new() } else { format!(" of {}", series.chamber) };
        differs.then(|| UnitChange {
            row,
            tool: series.tool.clone(),
            detail: format!(
                "the unit of {}{of} changed from `{before}` to `{unit}` since it was defined last: what was learned \
                 of it is in `{before}`",
                series.signal
            ),
        })
    }

    /// Changed units are judged as `coverage` rows that stand where the definitions do. The shards of the plant
    /// do not get them.
    pub(super) fn units_changed(&mut self, changes: &[UnitChange], judged: &mut Judged<'_>) {
        for UnitChange { row, tool, detail } in changes {
            let at = judged.envelope.observed.1;
            let mut about = CoverageBuilder::default();
            about.push(&CoverageRow {
                time: at,
                until: at,
                observed: at,
                event: coverage::UNIT,
                subject: tool,
                count: 1,
                detail,
                ..CoverageRow::default()
            });
            let rows = about.finish();
            let first_row = judged.envelope.first_row + *row as u64;
            let envelope = Envelope { kind: Kind::Coverage, first_row, rows: 1, ..judged.envelope.clone() };
            let mut candidates = Candidates::default();
            self.pipeline.candidates(Kind::Coverage, &rows, &mut candidates);
            let mut judged = Judged {
                envelope: &envelope,
                from: 0,
                watermark: judged.watermark,
                hits: judged.hits,
                late: judged.late,
                candidates: &candidates,
                meter: judged.meter,
            };
            self.rows(&rows, &mut judged);
            self.inputs(&rows, &mut judged);
        }
    }

    /// Tells a detection on samples which of these series its condition takes.
    pub(super) fn select_series(&mut self, detection: usize, numbers: &[u32]) {
        let spec = &self.pipeline.detections[detection];
        if spec.on != Kind::Sample || numbers.is_empty() {
            return;
        }
        let mut builder = SeriesBuilder::default();
        for &number in numbers {
            let Some(series) = self.saved.series.get(number as usize) else { continue };
            builder.push(&series.row(number));
        }
        let rows = builder.finish();
        let selected = match &spec.condition {
            None => None,
            Some(condition) => match condition.select(&rows) {
                Ok(selected) => Some(selected),
                Err(_) => {
                    self.saved.stats.failed_conditions += 1;
                    return;
                }
            },
        };
        for (row, &number) in numbers.iter().enumerate() {
            let takes = selected.as_ref().is_none_or(|s| s.is_valid(row) && s.value(row));
            self.operators[detection].series(number, takes);
        }
    }

    fn context_of(&self, tool: &str, chamber: &str) -> BTreeMap<String, String> {
        let mut context =
            self.saved.contexts.get(&(tool.to_string(), String::new())).cloned().unwrap_or_default();
        if !chamber.is_empty()
            && let Some(own) = self.saved.contexts.get(&(tool.to_string(), chamber.to_string()))
        {
            context.extend(own.clone());
        }
        context
    }

    pub(super) fn contexts(&mut self, rows: &RecordBatch, from: usize) {
        let column = |name: &str| rows.column_by_name(name);
        let (Some(tool), Some(chamber), Some(name), Some(value)) =
            (column("tool"), column("chamber"), column("name"), column("value"))
        else {
            return;
        };
        let times = times_of(rows, "time");
        for row in from..rows.num_rows() {
            if let Some(times) = times {
                let [tool, chamber, name, value] = [tool, chamber, name, value].map(|c| text_at(c, row));
                let noted = self.saved.held.note(&tool, &chamber, &name, &value, times[row]);
                self.saved.stats.refused_contexts += u64::from(!noted);
            }
            let place = (text_at(tool, row).into_owned(), text_at(chamber, row).into_owned());
            let holds = self.saved.contexts.entry(place.clone()).or_default();
            let (name, value) = (text_at(name, row).into_owned(), text_at(value, row).into_owned());
            if holds.get(&name) == Some(&value) {
                continue;
            }
            holds.insert(name, value);
            let numbers: Vec<u32> = self
                .by_tool
                .get(&place.0)
                .into_iter()
                .flatten()
                .copied()
                .filter(|&n| {
                    let series = self.saved.series.get(n as usize);
                    series.is_some_and(|series| place.1.is_empty() || series.chamber == place.1)
                })
                .collect();
            for &number in &numbers {
                let Some(series) = self.saved.series.get(number as usize) else { continue };
                let context = self.context_of(&series.tool, &series.chamber);
                if let Some(series) = self.saved.series.get_mut(number as usize) {
                    series.context = context;
                }
            }
            for operator in &mut self.operators {
                operator.context(&numbers);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};
    use yagura_event::clock::SECOND;
    use yagura_event::{Encoding, Envelope, Kind};
    use yagura_log::Record;

    use crate::operators::testing::Equals;
    use crate::shard::Shard;
    use crate::shelf::{Shelf, Texts};

    const TEXT: &str = "version: 1
detections:
  - { id: unit, title: U, queue: data-quality, severity: medium, on: coverage, where: event = 'unit', by: [subject],
      quiet: 0s, summary: '{subject}: {detail}', then: Look. }
";

    fn series(epoch: u64, at: i64, rows: &[Value]) -> Record {
        let lines: Vec<String> = rows.iter().map(Value::to_string).collect();
        let envelope = Envelope {
            kind: Kind::Series,
            version: Kind::Series.version(),
            cell: "bay".into(),
            collector: "opc".into(),
            epoch,
            first_row: 0,
            rows: rows.len() as u32,
            observed: (at * SECOND, at * SECOND),
            promise: at * SECOND,
            encoding: Encoding::Json,
            origin: None,
            places: Vec::new(),
        };
        Record { key: "bay".into(), header: envelope.to_header().into(), value: lines.join("\n").into() }
    }

    #[test]
    fn a_series_that_comes_back_in_another_unit_is_told() {
        let pipeline =
            Shelf::new(Equals).read(Texts::one("p.yaml", TEXT)).unwrap_or_else(|e| panic!("{}", e[0]));
        let mut shard = Shard::new("bay", Arc::clone(&pipeline));
        // Each is of a tool of its own: what changes on one tool at one time is one alert.
        let row = |signal: &str, unit: &str| json!({"series": signal.len(), "tool": signal.to_uppercase(), "signal": signal, "unit": unit});
        let mut told = Vec::new();
        for (start, rows) in [
            vec![row("p", "Torr"), row("qq", ""), row("rrr", "Pa")],
            vec![row("p", "torr"), row("qq", "V"), row("rrr", "")],
            vec![row("p", "mTorr"), row("qq", "V"), row("rrr", "kPa")],
        ]
        .into_iter()
        .enumerate()
        {
            let stepped = shard.step(start as u64, &series(start as u64, 10 * start as i64, &rows));
            assert!(stepped.unreadable.is_none());
            told.extend(stepped.alerts.into_iter().map(|alert| (start, alert.summary)));
        }
        let learned = "since it was defined last: what was learned of it is in";
        let expected = [
            (2, format!("P: the unit of p changed from `torr` to `mTorr` {learned} `torr`")),
            (2, format!("RRR: the unit of rrr changed from `Pa` to `kPa` {learned} `Pa`")),
        ];
        assert_eq!(told, expected);
        assert_eq!(shard.saved.series.get(0).map(|series| series.unit.as_str()), Some("mTorr"));
    }
}
