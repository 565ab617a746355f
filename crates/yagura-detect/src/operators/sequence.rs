//! `sequence`: rows that follow one another by key, within a time, are a hit; so is a row that
//! something else did not follow.
//!
//! ```yaml
//! on: message
//! by: [tool]
//! sequence:
//!   within: 10m                                          # from the first row to the last
//!   steps:
//!     - where: operation = 'recipe.write'                # this comes first
//!     - where: operation = 'control'                     # then this
//!       same: [client]                                   # by the client of the first step
//!     - not: operation = 'recipe.read'                   # and this does not follow
//! ```
//!
//! **Steps.** A step with `where:` must come, one with `not:` must not: between its neighbours, or,
//! as the last, until the time is over. `times: 20` makes a step of so many rows. `within:` on a step is
//! the time from the step before it. `same: [target]` and `differ: [client]` compare a row with the
//! row of the first step; rows of a first step with `times` count together when they agree in what
//! is compared later. A step may be `on:` another kind of record than the detection, and may name
//! its key's columns itself: with `by: [client]` on a step, its client is compared with what the
//! detection's `by:` is of the others. What the detection joins (`join: [maintenance]`) is a column of every
//! step whose kind names a tool.
//!
//! **What counts.** Rows that no step selects may come between. Of several rows that could begin a
//! sequence, the last counts; a row that completes one is one hit, and the rows before it are used
//! up. While a sequence waits for something not to come, further rows like its own change nothing, so
//! that who repeats a stop does not put off the alarm. The hit shows the last row that came, and the
//! rows of the earlier steps as `first`, `second` and so on: `{first.client}` in a summary.
//!
//! **Time** is the collector's. Rows are judged in the log's order, and a row that was observed before the
//! one it would follow does not follow it; so what two collectors saw within their delay of one
//! another may be missed, and so may rows of different kinds within one second of one collector. Late rows
//! are judged as others are. What must not come is waited for until the cell's watermark passes the deadline: a
//! collector that went silent is not waited for, and when all of them are silent or have ended no deadline
//! passes, for nobody would have seen it.
//!
//! **Memory.** A partial match takes about 200 bytes, 8 for each counted row of the first step and for each value
//! that is compared, and at most [`PACKED_BYTES_MAX`] for each step that has come (customarily 250). There are at
//! most as many as fit into [`STATE_BYTES_MAX`] a cell, and 64 a key; beyond, the oldest leave first, counted.

mod matches;
#[cfg(test)]
mod tests;
mod written;

use std::cell::{OnceCell, RefCell};
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::buffer::BooleanBuffer;
use arrow::datatypes::SchemaRef;
use serde_json::Value;
use yagura_event::alert::Cause;
use yagura_event::clock::Micros;

use self::matches::{Ending, Match, Matches, Row, Rules};
pub(crate) use self::written::read;
pub use self::written::{SequenceSpec, StepSpec};
use super::matched::{hit, time_at};
use super::{Input, Learning, Operator, Plan, Saving, Step};
use crate::alerts::Hit;
use crate::blocks::Blocks;
use crate::columns::{RowHashes, named, text_at, times_of};
use crate::packed::{PACKED_BYTES_MAX, Packer, unpack};
use crate::shard::Series;

/// The most memory of one detection's partial matches in a cell, in bytes.
const STATE_BYTES_MAX: usize = 64 << 20;
/// The most steps of a sequence.
const STEPS_MAX: usize = 8;
/// What the rows of the steps are called where a hit shows them.
const NAMES: [&str; STEPS_MAX] =
    ["first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth"];

/// A checked sequence.
struct Shape {
    /// All that decides, as text.
    text: String,
    rules: Rules,
    /// What each step selects, as written.
    inputs: Vec<Input>,
    /// How each step's rows are judged, as written.
    steps: Vec<StepShape>,
    /// The different lists of key columns; the first step's is the last, so that a row goes on in
    /// what there is before it begins anything.
    routes: Vec<Vec<String>>,
    /// Columns of the first step that later ones are compared with.
    bound: Vec<String>,
    /// The columns of the steps that must come.
    schemas: Vec<SchemaRef>,
    matches_max: usize,
}

struct StepShape {
    route: usize,
    compares: Vec<Compare>,
}

struct Compare {
    /// Which of [`Shape::bound`], and its name here.
    with: usize,
    column: String,
    same: bool,
}

struct SequencePlan(Arc<Shape>);

impl Plan for SequencePlan {
    fn describe(&self) -> String {
        self.0.text.clone()
    }

    fn inputs(&self) -> &[Input] {
        &self.0.inputs
    }

    fn start(&self) -> Box<dyn Operator> {
        let shape = Arc::clone(&self.0);
        Box::new(Sequence { matches: Matches::new(shape.rules.clone(), shape.matches_max), shape })
    }
}

struct Sequence {
    shape: Arc<Shape>,
    matches: Matches,
}

impl Operator for Sequence {
    fn inputs(
        &mut self,
        step: &Step<'_>,
        rows: &RecordBatch,
        selected: &[Option<BooleanArray>],
        hits: &mut Vec<Hit>,
    ) {
        let shape = Arc::clone(&self.shape);
        let masks: Vec<Option<BooleanBuffer>> = selected.iter().map(|s| s.as_ref().map(holding)).collect();
        let any = masks.iter().flatten().cloned().reduce(|a, b| &a | &b);
        let Some(any) = any else { return };
        let batch = Batch::new(&shape, step, rows, &masks);
        let opening = 1 << shape.rules.comes[0].step;
        for row in any.set_indices().skip_while(|&row| row < step.from) {
            let selects = |mask: &Option<BooleanBuffer>| mask.as_ref().is_some_and(|m| m.value(row));
            let steps = (0..masks.len()).filter(|&s| selects(&masks[s])).fold(0, |bits, s| bits | 1 << s);
            for (route, of_route) in batch.routes.iter().enumerate() {
                let Some(of_route) = of_route else { continue };
                let steps = steps & of_route.steps;
                if steps == 0 || (steps & opening == 0 && self.matches.len() == 0) {
                    continue;
                }
                let view = View { batch: &batch, route, row, steps };
                if let Some(done) = self.matches.take(of_route.keys.at(row), &view) {
                    let mut hit = hit(step, rows, row, &of_route.columns);
                    show(&shape, &done, &mut hit);
                    hits.push(hit);
                }
            }
        }
    }

    fn advance(&mut self, step: &Step<'_>, _: &Blocks<Series>, hits: &mut Vec<Hit>) {
        if step.watermark == Micros::MAX {
            // All collectors are silent or have ended: nobody would have seen what did not come.
            return;
        }
        for passed in self.matches.advance(step.watermark) {
            let (Some(ending), Some(last)) = (&passed.ending, passed.rows.iter().last()) else { continue };
            let Some(schema) = self.shape.schemas.last() else { continue };
            let mut hit = Hit {
                detection: step.detection,
                cause: ending.cause.clone(),
                time: ending.time,
                observed: ending.observed,
                key: step.by.iter().cloned().zip(ending.key.iter().cloned()).collect(),
                evidence: unpack(schema, last),
                late: ending.late,
                deviation: None,
            };
            show(&self.shape, &passed, &mut hit);
            hits.push(hit);
        }
    }

    fn learning(&self) -> Learning {
        let keys = self.matches.len();
        Learning { keys, ready: keys, approved: keys, refused: self.matches.left(), nearest: None }
    }

    fn save(&self) -> Saving {
        self.matches.save()
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), String> {
        self.matches.restore(saved)
    }
}

/// Puts the rows of the steps before the last into a hit.
fn show(shape: &Shape, of: &Match, hit: &mut Hit) {
    let earlier = shape.schemas.len() - 1;
    for ((name, schema), row) in NAMES.iter().zip(&shape.schemas).zip(of.rows.iter()).take(earlier) {
        hit.evidence.insert((*name).to_string(), Value::Object(unpack(schema, row)));
    }
}

/// Which rows hold; null is not.
fn holding(mask: &BooleanArray) -> BooleanBuffer {
    match mask.nulls() {
        Some(nulls) => mask.values() & nulls.inner(),
        None => mask.values().clone(),
    }
}

/// A batch with what is computed once for all its rows.
struct Batch<'a> {
    shape: &'a Shape,
    step: &'a Step<'a>,
    rows: &'a RecordBatch,
    observed: Option<&'a [Micros]>,
    /// By route; none where no step of it selects anything.
    routes: Vec<Option<Route<'a>>>,
    /// By step, the hashes of what it compares.
    compared: Vec<Vec<RowHashes<'a>>>,
    /// Those that the first step's rows are compared by.
    bound: Vec<RowHashes<'a>>,
    /// Made when the first row is packed.
    packer: OnceCell<Packer<'a>>,
    /// The row that was packed last.
    packed: RefCell<Vec<u8>>,
}

struct Route<'a> {
    steps: u32,
    columns: Vec<&'a ArrayRef>,
    keys: RowHashes<'a>,
}

impl<'a> Batch<'a> {
    fn new(
        shape: &'a Shape,
        step: &'a Step<'a>,
        rows: &'a RecordBatch,
        masks: &[Option<BooleanBuffer>],
    ) -> Batch<'a> {
        let of = |column: &String| RowHashes::new(&named(rows, std::slice::from_ref(column)));
        let routes = shape.routes.iter().enumerate().map(|(route, names)| {
            let of_route = |&s: &usize| masks[s].is_some() && shape.steps[s].route == route;
            let steps = (0..masks.len()).filter(of_route).fold(0, |bits, s| bits | 1 << s);
            let columns = named(rows, names);
            (steps != 0).then(|| Route { steps, keys: RowHashes::new(&columns), columns })
        });
        let compared = shape.steps.iter().zip(masks).map(|(step, mask)| {
            let compares = if mask.is_some() { &step.compares[..] } else { &[] };
            compares.iter().map(|compare| of(&compare.column)).collect()
        });
        let opens = masks[shape.rules.comes[0].step].is_some();
        Batch {
            shape,
            step,
            rows,
            observed: times_of(rows, "observed"),
            routes: routes.collect(),
            compared: compared.collect(),
            bound: if opens { shape.bound.iter().map(of).collect() } else { Vec::new() },
            packer: OnceCell::new(),
            packed: RefCell::default(),
        }
    }
}

/// A row of a batch as the matches see it.
struct View<'a> {
    batch: &'a Batch<'a>,
    route: usize,
    row: usize,
    steps: u32,
}

impl Row for View<'_> {
    fn observed(&self) -> Micros {
        self.batch.observed.map_or(self.batch.step.envelope.observed.1, |times| times[self.row])
    }

    fn steps(&self) -> u32 {
        self.steps
    }

    fn agrees(&self, step: usize, bound: &[u64]) -> bool {
        let compares = self.batch.shape.steps[step].compares.iter().zip(&self.batch.compared[step]);
        compares.into_iter().all(|(compare, hashes)| {
            bound.get(compare.with).is_some_and(|&first| (first == hashes.at(self.row)) == compare.same)
        })
    }

    fn bound(&self, out: &mut Vec<u64>) {
        out.extend(self.batch.bound.iter().map(|hashes| hashes.at(self.row)));
    }

    fn pack(&self, take: impl FnOnce(&[u8])) {
        let mut packed = self.batch.packed.borrow_mut();
        packed.clear();
        self.batch.packer.get_or_init(|| Packer::new(self.batch.rows)).pack(self.row, &mut packed);
        take(&packed);
    }

    fn ending(&self) -> Ending {
        let (step, observed) = (self.batch.step, self.observed());
        let columns = self.batch.routes[self.route].as_ref().map_or(&[][..], |route| &route.columns);
        Ending {
            cause: Cause {
                collector: step.envelope.collector.clone(),
                epoch: step.envelope.epoch,
                row: step.envelope.number(self.row),
            },
            time: time_at(self.batch.rows, "time", self.row).unwrap_or(observed),
            observed,
            key: columns.iter().map(|column| text_at(column, self.row).into_owned()).collect(),
            late: observed < step.watermark,
        }
    }
}
