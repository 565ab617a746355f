//! The second pass: what a cell hands on to detections that judge the whole plant.
//!
//! A detection with `scope: plant` judges nothing in a cell. The cell's shard writes the rows that it
//! selects back to the log under the key `plant/DETECTION`, one record for each that holds such rows, and
//! the same machinery reads them: the shard of that key judges them in the order of its own partition.
//! There the cell is the collector, its count of rows passed on is their number, and its watermark is the
//! promise; where nothing is passed on, a record without rows carries the watermark every
//! [`PROMISE_EVERY`]. So a cell that is judged again passes on the same records, and the plant's shard
//! drops what it has. Where a row stood first goes with it ([`Origin`]), and alerts name that row.

use std::collections::BTreeMap;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::{cast, filter_record_batch};
use arrow::datatypes::DataType;
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::{ControlBuilder, ControlRow};
use yagura_event::vocabulary::control;
use yagura_event::{Encoding, Envelope, Kind, Origin, codec};
use yagura_log::Record;

use crate::columns::text_at;
use crate::pipeline::Detection;

/// What the keys of the plant's shards begin with; no cell of a configuration may.
pub const PLANT: &str = "plant/";

/// The least progress of a cell's watermark that is worth a record without rows.
const PROMISE_EVERY: Micros = 5 * SECOND;

/// The detection that a shard of the plant judges; none for a cell's.
pub fn detection_of(cell: &str) -> Option<&str> {
    cell.strip_prefix(PLANT)
}

/// The key of the shard that judges a detection over the whole plant.
pub fn cell_of(detection: &str) -> String {
    format!("{PLANT}{detection}")
}

/// What a cell has passed on, by detection. Numbers are never used again, not even when the detection
/// is gone for a while.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct Passed {
    by_detection: BTreeMap<String, Count>,
    /// What a shard of the plant has sent to cells.
    by_cell: BTreeMap<String, Count>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Count {
    next_row: u64,
    promised: Micros,
}

impl Default for Count {
    fn default() -> Self {
        Count { next_row: 0, promised: Micros::MIN }
    }
}

/// What one shard has to say to another: a row of [`Kind::Control`].
pub(crate) struct Said<'a> {
    pub(crate) action: &'a str,
    /// The detection that it is about.
    pub(crate) detection: &'a str,
    pub(crate) payload: &'a str,
}

/// One record for a shard of the plant.
#[derive(Clone, Debug)]
pub struct PassedOn {
    /// It.
    pub record: Record,
    /// How far it brings that shard.
    pub reach: Reach,
}

/// How far a cell has passed on to one detection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reach {
    /// The cell's epoch there.
    begun: u64,
    /// Rows in all.
    rows: u64,
    /// The watermark.
    promise: Micros,
}

impl Reach {
    /// Whether whoever got here has all that the other one brings.
    pub fn covers(&self, other: &Reach) -> bool {
        self.begun == other.begun && self.rows >= other.rows && self.promise >= other.promise
    }
}

/// The record that rows are taken from.
pub(crate) struct Source<'a> {
    pub(crate) cell: &'a str,
    /// Where the cell's judgement began: another start over another history numbers anew.
    pub(crate) begun: u64,
    pub(crate) envelope: &'a Envelope,
    pub(crate) rows: &'a RecordBatch,
    /// The first row that is new.
    pub(crate) from: usize,
    /// The cell's watermark after the record.
    pub(crate) watermark: Micros,
}

impl Passed {
    /// The records that go to the plant's shards: the rows that each detection takes, and to those that
    /// take none, the watermark when it got far.
    pub(crate) fn records<'a>(
        &mut self,
        source: &Source<'_>,
        plant_wide: impl Iterator<Item = (usize, &'a Detection)>,
        mut taken: impl FnMut(usize) -> Option<BooleanArray>,
    ) -> Vec<PassedOn> {
        let mut out = Vec::new();
        for (index, detection) in plant_wide {
            let batch = taken(index).and_then(|selected| cut(source.rows, source.from, &selected));
            if !self.by_detection.contains_key(&detection.id) {
                self.by_detection.insert(detection.id.clone(), Count::default());
            }
            let Some(count) = self.by_detection.get_mut(&detection.id) else { continue };
            let far = source.watermark > count.promised
                && (source.watermark == Micros::MAX
                    || source.watermark.saturating_sub(count.promised) >= PROMISE_EVERY);
            if batch.is_none() && !far {
                continue;
            }
            count.promised = count.promised.max(source.watermark);
            let batch = batch.map(|(rows, places)| {
                let Envelope { collector, epoch, first_row, .. } = source.envelope;
                let (collector, epoch, first_row) = (collector.clone(), *epoch, *first_row);
                (rows, Some(Box::new(Origin { collector, epoch, first_row, places })))
            });
            out.extend(record(source, source.envelope.kind, cell_of(&detection.id), count, batch));
        }
        out
    }

    /// The record that tells the shard of a detection's plant something.
    pub(crate) fn tell_plant(&mut self, source: &Source<'_>, said: &Said<'_>) -> Option<PassedOn> {
        let count = self.by_detection.entry(said.detection.to_string()).or_default();
        tell(source, cell_of(said.detection), count, said)
    }

    /// The record that tells a cell something.
    pub(crate) fn tell_cell(&mut self, source: &Source<'_>, cell: &str, said: &Said<'_>) -> Option<PassedOn> {
        tell(source, cell.to_string(), self.by_cell.entry(cell.to_string()).or_default(), said)
    }
}

fn tell(source: &Source<'_>, cell: String, count: &mut Count, said: &Said<'_>) -> Option<PassedOn> {
    let mut builder = ControlBuilder::default();
    builder.push(&ControlRow {
        time: source.envelope.observed.1,
        observed: source.envelope.observed.1,
        action: said.action,
        subject: said.detection,
        payload: said.payload,
        author: source.cell,
        ..Default::default()
    });
    record(source, Kind::Control, cell, count, Some((builder.finish(), None)))
}

/// The selected rows with the places where they stood; none when there are none.
fn cut(rows: &RecordBatch, from: usize, selected: &BooleanArray) -> Option<(RecordBatch, Vec<u32>)> {
    let takes = |row: &usize| selected.is_valid(*row) && selected.value(*row);
    let places: Vec<u32> = (from..rows.num_rows()).filter(takes).map(|row| row as u32).collect();
    if places.is_empty() {
        return None;
    }
    let mask: BooleanArray = (0..rows.num_rows()).map(|row| Some(row >= from && takes(&row))).collect();
    let cut = filter_record_batch(rows, &mask).ok()?;
    let columns: Option<Vec<ArrayRef>> = cut.columns().iter().map(compact).collect();
    Some((RecordBatch::try_new(cut.schema(), columns?).ok()?, places))
}

/// A dictionary with the words that rows use alone: those of a whole batch would go with each row.
fn compact(column: &ArrayRef) -> Option<ArrayRef> {
    match column.data_type() {
        DataType::Dictionary(_, words) => {
            let plain = cast(column, words).ok()?;
            cast(&plain, column.data_type()).ok()
        }
        _ => Some(ArrayRef::clone(column)),
    }
}

fn record(
    source: &Source<'_>,
    kind: Kind,
    cell: String,
    count: &mut Count,
    batch: Option<(RecordBatch, Option<Box<Origin>>)>,
) -> Option<PassedOn> {
    let (value, rows, origin) = match batch {
        None => (Vec::new(), 0, None),
        Some((rows, origin)) => (codec::encode_arrow(&rows).ok()?, rows.num_rows() as u32, origin),
    };
    let key = Bytes::copy_from_slice(cell.as_bytes());
    let envelope = Envelope {
        kind,
        version: kind.version(),
        cell,
        collector: source.cell.to_string(),
        epoch: source.begun,
        first_row: count.next_row,
        rows,
        observed: source.envelope.observed,
        promise: count.promised,
        encoding: Encoding::Arrow,
        origin,
        places: Vec::new(),
    };
    count.next_row += u64::from(rows);
    let reach = Reach { begun: source.begun, rows: count.next_row, promise: count.promised };
    let record = Record { key, header: envelope.to_header().into(), value: value.into() };
    Some(PassedOn { record, reach })
}

/// The approvals and releases among control rows that are meant for a detection.
pub(crate) fn decisions(rows: &RecordBatch, detection: &str) -> Option<BooleanArray> {
    let action = rows.column_by_name("action")?;
    let subject = rows.column_by_name("subject")?.as_string_opt::<i32>()?;
    let meant = |row: usize| {
        [control::APPROVE, control::RELEASE].contains(&text_at(action, row).as_ref())
            && ["*", detection].contains(&subject.value(row))
    };
    Some((0..rows.num_rows()).map(|row| Some(meant(row))).collect())
}

/// The envelope of passed-on rows as operators read it: made by the collector that wrote them first.
pub(crate) fn as_written(envelope: &Envelope) -> Option<Envelope> {
    let origin = envelope.origin.as_deref()?;
    let collector = format!("{}/{}", envelope.collector, origin.collector);
    Some(Envelope { collector, epoch: origin.epoch, ..envelope.clone() })
}
