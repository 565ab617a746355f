//! `match`: every row that the condition selects is a hit. It is what a detection is without
//! another operator.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::TimestampMicrosecondType;
use yagura_event::Kind;
use yagura_event::alert::Cause;
use yagura_event::clock::Micros;

use super::{Operator, Plan, Samples, Step};
use crate::alerts::Hit;
use crate::columns::{named, row_json, text_at};
use crate::pipeline::{PipelineError, Place, Written};
use crate::shard::Series;

/// Never asked for by a key.
pub(crate) fn read(
    _: &Place<'_>,
    _: Kind,
    _: &Written<'_>,
) -> Option<Result<Box<dyn Plan>, Vec<PipelineError>>> {
    None
}

/// `match` has nothing to set.
pub struct MatchPlan;

impl Plan for MatchPlan {
    fn describe(&self) -> String {
        "match".into()
    }

    fn start(&self) -> Box<dyn Operator> {
        Box::new(Match)
    }
}

struct Match;

impl Operator for Match {
    fn rows(
        &mut self,
        step: &Step<'_>,
        rows: &RecordBatch,
        selected: Option<&BooleanArray>,
        hits: &mut Vec<Hit>,
    ) {
        let by = named(rows, step.by);
        for row in selected_rows(step.from, rows.num_rows(), selected) {
            hits.push(hit(step, rows, row, &by));
        }
    }
}

/// The rows to judge, in order.
pub fn selected_rows(
    from: usize,
    rows: usize,
    selected: Option<&BooleanArray>,
) -> impl Iterator<Item = usize> + '_ {
    (from..rows).filter(move |&row| selected.is_none_or(|s| s.is_valid(row) && s.value(row)))
}

/// A hit for one row of a batch.
pub fn hit(step: &Step<'_>, rows: &RecordBatch, row: usize, by: &[&ArrayRef]) -> Hit {
    let time = time_at(rows, "time", row).unwrap_or(step.envelope.observed.0);
    let observed = time_at(rows, "observed", row).unwrap_or(step.envelope.observed.1);
    let key: BTreeMap<String, String> = step
        .by
        .iter()
        .zip(by)
        .map(|(name, column)| (name.clone(), text_at(column, row).into_owned()))
        .collect();
    Hit {
        detection: step.detection,
        cause: Cause {
            collector: step.envelope.collector.clone(),
            epoch: step.envelope.epoch,
            row: step.envelope.number(row),
        },
        time,
        observed,
        key,
        evidence: row_json(rows, row),
        late: observed < step.watermark,
        deviation: None,
    }
}

/// A hit for one sample: its series, what holds for it, and `more`.
pub fn sample_hit(
    step: &Step<'_>,
    samples: &Samples<'_>,
    row: usize,
    series: &Series,
    more: serde_json::Map<String, serde_json::Value>,
) -> Hit {
    let mut evidence = more;
    for name in ["tool", "chamber", "signal", "unit", "class", "source"] {
        evidence.insert(name.into(), series.text(name).into());
    }
    for name in ["recipe", "step", "lot"] {
        evidence.insert(name.into(), series.context.get(name).map_or("", |v| v).into());
    }
    let key: BTreeMap<String, String> = step
        .by
        .iter()
        .map(|name| (name.clone(), evidence.get(name).and_then(|v| v.as_str()).unwrap_or("").to_string()))
        .collect();
    Hit {
        detection: step.detection,
        cause: Cause {
            collector: step.envelope.collector.clone(),
            epoch: step.envelope.epoch,
            row: step.envelope.number(row),
        },
        time: samples.times[row],
        observed: step.envelope.observed.1,
        key,
        evidence,
        late: step.envelope.observed.1 < step.watermark,
        deviation: None,
    }
}

/// The time in a column of a row.
pub fn time_at(rows: &RecordBatch, column: &str, row: usize) -> Option<Micros> {
    let column = rows.column_by_name(column)?.as_primitive_opt::<TimestampMicrosecondType>()?;
    Some(column.value(row))
}
