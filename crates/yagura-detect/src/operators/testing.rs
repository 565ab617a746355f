//! What tests of operators need: conditions without the SQL engine, and a shard over rows.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use bytes::Bytes;
use yagura_event::clock::{Micros, SECOND};
use yagura_event::{Alert, Encoding, Envelope, Kind, codec};
use yagura_log::Record;

use super::{Input, Operator, Step};
use crate::alerts::Hit;
use crate::blocks::Blocks;
use crate::columns::text_at;
use crate::condition::{Compiler, Condition, ConditionError};
use crate::pipeline::{Pipeline, PipelineError};
use crate::shard::Shard;
use crate::shelf::{Shelf, Texts};

/// Knows `column = 'value'`, joined by ` AND `.
pub struct Equals;

struct AllEqual(Vec<(String, Vec<String>)>, Vec<String>);

impl Compiler for Equals {
    fn compile_over(
        &self,
        _: &str,
        schema: &SchemaRef,
        sql: &str,
    ) -> Result<Arc<dyn Condition>, ConditionError> {
        let terms = sql.split(" AND ").map(|term| {
            let (column, value) = term.split_once(" = ")?;
            schema.field_with_name(column).ok()?;
            Some((column.to_string(), vec![value.trim_matches('\'').to_string()]))
        });
        let complaint = || ConditionError { at: Some((1, 1)), message: format!("`{sql}` is not understood") };
        let terms: Vec<(String, Vec<String>)> = terms.collect::<Option<_>>().ok_or_else(complaint)?;
        let columns = terms.iter().map(|(column, _)| column.clone()).collect();
        Ok(Arc::new(AllEqual(terms, columns)))
    }
}

impl Condition for AllEqual {
    fn select(&self, rows: &RecordBatch) -> Result<BooleanArray, String> {
        let holds = |row| {
            self.0.iter().all(|(column, values)| {
                rows.column_by_name(column).is_some_and(|c| text_at(c, row) == values[0].as_str())
            })
        };
        Ok((0..rows.num_rows()).map(|row| Some(holds(row))).collect())
    }

    fn columns(&self) -> Option<&[String]> {
        Some(&self.1)
    }

    fn required(&self) -> &[(String, Vec<String>)] {
        &self.0
    }
}

/// A pipeline of one detection: `body` is what stands beside its customary keys.
pub fn pipeline(body: &str) -> Result<Arc<Pipeline>, Vec<PipelineError>> {
    let body = body.trim_end().replace('\n', "\n    ");
    let text = format!(
        "version: 1\ndetections:\n  - id: it\n    title: It\n    queue: security\n    severity: low\n    then: Look.\n    quiet: 0s\n    {}\n",
        body.trim_start()
    );
    Shelf::new(Equals).read(Texts::one("it.yaml", text))
}

/// One row: seconds, kind and columns.
pub type Line = (i64, Kind, BTreeMap<&'static str, String>);

/// A message at a second; columns as `name=value` words.
pub fn message(second: i64, columns: &str) -> Line {
    row(second, Kind::Message, columns)
}

/// A row of any kind.
pub fn row(second: i64, kind: Kind, columns: &str) -> Line {
    let columns = columns.split_whitespace().filter_map(|word| {
        let (name, value) = word.split_once('=')?;
        let name = kind.schema().field_with_name(name).ok()?.name().clone();
        Some((&*name.leak(), value.to_string()))
    });
    (second, kind, columns.collect())
}

/// Rows as a record's bytes.
pub fn record_of(
    collector: &str,
    epoch: u64,
    lines: &[Line],
    first_row: u64,
    promise: Micros,
) -> (Envelope, Record) {
    let kind = lines.first().map_or(Kind::Coverage, |line| line.1);
    let times = || lines.iter().map(|line| line.0 * SECOND);
    let text: Vec<String> = lines
        .iter()
        .map(|(second, _, columns)| {
            let mut object = serde_json::json!(columns);
            object["time"] = (second * SECOND).into();
            object["observed"] = (second * SECOND).into();
            object.to_string()
        })
        .collect();
    let envelope = Envelope {
        kind,
        version: kind.version(),
        cell: "cell".into(),
        collector: collector.into(),
        epoch,
        first_row,
        rows: lines.len() as u32,
        observed: (times().min().unwrap_or(0), times().max().unwrap_or(0)),
        promise,
        encoding: Encoding::Json,
        origin: None,
        places: Vec::new(),
    };
    let record = Record {
        key: Bytes::from_static(b"cell"),
        header: envelope.to_header().into(),
        value: text.join("\n").into(),
    };
    (envelope, record)
}

/// The only detection's operator, given rows of one collector without a shard around it: what it
/// hits, before hits become alerts.
pub struct Alone {
    pipeline: Arc<Pipeline>,
    operator: Box<dyn Operator>,
    next_row: u64,
}

impl Alone {
    /// A fresh one.
    pub fn new(pipeline: &Arc<Pipeline>) -> Alone {
        let operator = pipeline.detections[0].operator.start();
        Alone { pipeline: Arc::clone(pipeline), operator, next_row: 0 }
    }

    /// One record of rows of one kind, after which the watermark is `promise` (seconds).
    pub fn record(&mut self, lines: &[Line], promise: i64) -> Vec<Hit> {
        let (envelope, record) = record_of("c", 1, lines, self.next_row, promise * SECOND);
        self.next_row += lines.len() as u64;
        let rows = codec::decode(&envelope, &record.value).expect("rows");
        let detection = &self.pipeline.detections[0];
        let step = Step {
            detection: 0,
            by: &detection.by,
            envelope: &envelope,
            from: 0,
            watermark: envelope.observed.0,
        };
        let select = |condition: &Arc<dyn Condition>| condition.select(&rows).expect("a selection");
        let mut hits = Vec::new();
        let inputs = detection.operator.inputs();
        if inputs.is_empty() {
            let selected = detection.condition.as_ref().map(select);
            self.operator.rows(&step, &rows, selected.as_ref(), &mut hits);
        } else {
            let of = |input: &Input| (input.kind == envelope.kind).then(|| select(&input.condition));
            let selected: Vec<_> = inputs.iter().map(of).collect();
            self.operator.inputs(&step, &rows, &selected, &mut hits);
        }
        let moved = Step { from: lines.len(), watermark: promise * SECOND, ..step };
        self.operator.advance(&moved, &Blocks::default(), &mut hits);
        hits
    }

    /// It saves itself and begins again from that.
    pub fn restart(&mut self) {
        let saved = self.operator.save()();
        self.operator = self.pipeline.detections[0].operator.start();
        self.operator.restore(&saved).expect("own state");
        assert_eq!(self.operator.save()(), saved, "the same bytes again");
    }
}

/// A cell that gives its rows to a shard.
pub struct Cell {
    /// The shard.
    pub shard: Shard,
    next_row: BTreeMap<&'static str, u64>,
    offset: u64,
    epoch: u64,
}

impl Cell {
    /// An empty one.
    pub fn new(pipeline: &Arc<Pipeline>) -> Cell {
        Cell {
            shard: Shard::new("cell", Arc::clone(pipeline)),
            next_row: BTreeMap::new(),
            offset: 0,
            epoch: 1,
        }
    }

    /// One record of one collector with rows of one kind, after which it promises `promise` (seconds).
    pub fn record(&mut self, collector: &'static str, lines: &[Line], promise: i64) -> Vec<Alert> {
        let next_row = self.next_row.entry(collector).or_default();
        let promise = if promise == i64::MAX { Micros::MAX } else { promise * SECOND };
        let (_, record) = record_of(collector, self.epoch, lines, *next_row, promise);
        *next_row += lines.len() as u64;
        let stepped = self.shard.step(self.offset, &record);
        assert!(stepped.unreadable.is_none(), "{:?}", stepped.unreadable);
        self.offset += 1;
        stepped.alerts
    }

    /// Each row a record of its own, promising its own time; what each brings as `second: summary`.
    pub fn told(&mut self, lines: &[Line]) -> Vec<String> {
        let mut told = Vec::new();
        for line in lines {
            let alerts = self.record("c", std::slice::from_ref(line), line.0);
            told.extend(alerts.iter().map(|a| format!("{}: {}", line.0, a.summary)));
        }
        told
    }

    /// The last rows of a collector come once more.
    pub fn again(&mut self, collector: &'static str, rows: u64) {
        *self.next_row.entry(collector).or_default() -= rows;
    }

    /// All collectors start anew.
    pub fn new_epoch(&mut self) {
        self.epoch += 1;
        self.next_row.clear();
    }

    /// The shard saves itself and begins again from that.
    pub fn restart(&mut self, pipeline: &Arc<Pipeline>) {
        let saved = self.shard.save()();
        self.shard = Shard::restore(&saved, Arc::clone(pipeline)).expect("own state");
        assert_eq!(self.shard.save()(), saved, "the same bytes again");
    }
}
