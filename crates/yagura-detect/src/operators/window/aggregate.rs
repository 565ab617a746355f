//! What a window knows of its rows: counts, sums, percentiles, different and heaviest values.

use std::borrow::Cow;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, Float64Array, RecordBatch, StringArray};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Field, Float64Type, Schema, SchemaRef};
use serde::{Deserialize, Serialize};
use yagura_event::clock::{Micros, SECOND};

use super::sketch::{Distinct, Heaviest, Percentiles};
use crate::columns::{RowHashes, named, text_at};

/// One number that a window is judged by: a column of `having`, a place of a summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Measure {
    /// Rows.
    Count,
    /// Rows a second over the window's length.
    Rate,
    /// The window's length in seconds.
    Seconds,
    /// Different values of `distinct`.
    Distinct,
    /// Of the numbers of `of`.
    Sum,
    /// Of the numbers of `of`.
    Mean,
    /// Of the numbers of `of`.
    Min,
    /// Of the numbers of `of`.
    Max,
    /// Of the numbers of `of`: the one that so many percent do not exceed.
    Percentile(u8),
    /// How often the heaviest value of `top` came at least.
    TopCount,
    /// Which part of the rows that is.
    TopShare,
}

/// The column of the heaviest value, and that of the heaviest few.
pub const TOP: [&str; 2] = ["top", "top_values"];
/// How many of the heaviest values are told.
const TOP_VALUES: usize = 5;

const MEASURES: &[(&str, Measure)] = &[
    ("count", Measure::Count),
    ("rate", Measure::Rate),
    ("seconds", Measure::Seconds),
    ("distinct", Measure::Distinct),
    ("sum", Measure::Sum),
    ("mean", Measure::Mean),
    ("min", Measure::Min),
    ("max", Measure::Max),
    ("p1", Measure::Percentile(1)),
    ("p5", Measure::Percentile(5)),
    ("p10", Measure::Percentile(10)),
    ("p25", Measure::Percentile(25)),
    ("p50", Measure::Percentile(50)),
    ("p75", Measure::Percentile(75)),
    ("p90", Measure::Percentile(90)),
    ("p95", Measure::Percentile(95)),
    ("p99", Measure::Percentile(99)),
    ("top_count", Measure::TopCount),
    ("top_share", Measure::TopShare),
];

impl Measure {
    /// Whether it counts something: shown without decimals.
    pub fn is_count(self) -> bool {
        matches!(self, Measure::Count | Measure::Distinct | Measure::TopCount)
    }
}

/// The columns that a window aggregates, and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Wanted {
    /// Columns whose different values together are counted.
    pub distinct: Vec<String>,
    /// A column of numbers.
    pub of: Option<String>,
    /// Whether percentiles of it are asked for.
    pub percentiles: bool,
    /// A column whose heaviest values are kept.
    pub top: Option<String>,
}

impl Wanted {
    /// The columns that are looked at.
    pub fn columns(&self) -> Vec<String> {
        self.distinct.iter().chain(&self.of).chain(&self.top).cloned().collect()
    }

    /// The measures there are, with their names.
    pub fn measures(&self) -> impl Iterator<Item = (&'static str, Measure)> + '_ {
        MEASURES.iter().copied().filter(|(_, measure)| match measure {
            Measure::Count | Measure::Rate | Measure::Seconds => true,
            Measure::Distinct => !self.distinct.is_empty(),
            Measure::Sum | Measure::Mean | Measure::Min | Measure::Max | Measure::Percentile(_) => {
                self.of.is_some()
            }
            Measure::TopCount | Measure::TopShare => self.top.is_some(),
        })
    }

    /// The measure of that name.
    pub fn measure(&self, name: &str) -> Option<Measure> {
        self.measures().find(|m| m.0 == name).map(|m| m.1)
    }

    /// The names of all columns of a closed window.
    pub fn names(&self) -> Vec<&'static str> {
        let top = TOP.iter().copied().filter(|_| self.top.is_some());
        self.measures().map(|m| m.0).chain(top).collect()
    }

    /// The columns that `having` may use.
    pub fn schema(&self) -> SchemaRef {
        let numbers = self.measures().map(|(name, _)| Field::new(name, DataType::Float64, true));
        let top = TOP.iter().filter(|_| self.top.is_some());
        let texts = top.map(|name| Field::new(*name, DataType::Utf8, true));
        Arc::new(Schema::new(numbers.chain(texts).collect::<Vec<_>>()))
    }

    /// The most bytes that one window's aggregate takes.
    pub fn bytes_max(&self) -> usize {
        let mut bytes = size_of::<Aggregate>();
        if !self.distinct.is_empty() {
            bytes += 8 * Distinct::HASHES_MAX;
        }
        if self.of.is_some() {
            bytes += size_of::<Numbers>();
        }
        if self.percentiles {
            bytes += Percentiles::BYTES_MAX;
        }
        if self.top.is_some() {
            bytes += (40 + Heaviest::TEXT_BYTES_MAX) * Heaviest::VALUES_MAX;
        }
        bytes
    }
}

/// The columns of a batch that are aggregated, made ready once.
pub struct Inputs<'a> {
    percentiles: bool,
    numbers: Option<Float64Array>,
    distinct: Option<RowHashes<'a>>,
    top: Option<(RowHashes<'a>, &'a ArrayRef)>,
}

impl<'a> Inputs<'a> {
    /// Of these columns of a batch.
    pub fn new(wanted: &Wanted, rows: &'a RecordBatch) -> Self {
        let numbers = wanted.of.as_ref().and_then(|name| {
            let column = cast(rows.column_by_name(name)?, &DataType::Float64).ok()?;
            column.as_primitive_opt::<Float64Type>().cloned()
        });
        let distinct = named(rows, &wanted.distinct);
        let top = wanted.top.as_ref().and_then(|name| rows.column_by_name(name));
        Inputs {
            percentiles: wanted.percentiles,
            numbers,
            distinct: (!distinct.is_empty()).then(|| RowHashes::new(&distinct)),
            top: top.map(|column| (RowHashes::new(&[column]), column)),
        }
    }
}

/// What was counted of the rows of a window.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Aggregate {
    count: u64,
    numbers: Option<Box<Numbers>>,
    distinct: Option<Box<Distinct>>,
    top: Option<Box<Heaviest>>,
}

/// What was counted of numbers; those that are none (NaN, infinite, absent) are passed over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Numbers {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
    percentiles: Percentiles,
}

impl Default for Numbers {
    fn default() -> Self {
        let percentiles = Percentiles::default();
        Numbers { count: 0, sum: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY, percentiles }
    }
}

impl Aggregate {
    /// Counts a row of a batch.
    pub fn take(&mut self, inputs: &Inputs<'_>, row: usize) {
        let number = inputs.numbers.as_ref().filter(|values| values.is_valid(row)).map(|v| v.value(row));
        self.take_number(number, inputs.percentiles);
        if let Some(hashes) = &inputs.distinct {
            self.distinct.get_or_insert_default().take(hashes.at(row));
        }
        if let Some((hashes, column)) = &inputs.top {
            self.top.get_or_insert_default().take(hashes.at(row), || text_at(column, row));
        }
    }

    /// Counts a row with at most a number.
    pub fn take_number(&mut self, number: Option<f64>, percentiles: bool) {
        self.count += 1;
        if let Some(value) = number.filter(|v| v.is_finite()) {
            let numbers = self.numbers.get_or_insert_default();
            numbers.count += 1;
            numbers.sum += value;
            numbers.min = numbers.min.min(value);
            numbers.max = numbers.max.max(value);
            if percentiles {
                numbers.percentiles.take(value);
            }
        }
    }

    /// Makes ready to be measured: nothing that it says changes.
    pub fn settle(&mut self) {
        if let Some(numbers) = &mut self.numbers {
            numbers.percentiles.settle();
        }
    }

    /// Reads a word of what the next row will change: brings it near the processor.
    #[inline]
    pub fn touch(&self) -> u64 {
        self.numbers.as_ref().map_or(self.count, |numbers| numbers.count)
    }

    /// Adds what was counted of other rows.
    pub fn merge(&mut self, other: &Aggregate) {
        self.count += other.count;
        if let Some(theirs) = &other.numbers {
            let numbers = self.numbers.get_or_insert_default();
            numbers.count += theirs.count;
            numbers.sum += theirs.sum;
            numbers.min = numbers.min.min(theirs.min);
            numbers.max = numbers.max.max(theirs.max);
            numbers.percentiles.merge(&theirs.percentiles);
        }
        if let Some(theirs) = &other.distinct {
            self.distinct.get_or_insert_default().merge(theirs);
        }
        if let Some(theirs) = &other.top {
            self.top.get_or_insert_default().merge(theirs);
        }
    }

    /// A measure over a window of that length; `None` where there is nothing to measure.
    pub fn measure(&self, measure: Measure, length: Micros) -> Option<f64> {
        let seconds = length as f64 / SECOND as f64;
        let numbers = self.numbers.as_deref();
        match measure {
            Measure::Count => Some(self.count as f64),
            Measure::Seconds => Some(seconds),
            Measure::Rate => Some(self.count as f64 / seconds),
            Measure::Distinct => Some(self.distinct.as_ref().map_or(0.0, |d| d.count())),
            Measure::Sum => numbers.map(|n| n.sum),
            Measure::Mean => numbers.map(|n| n.sum / n.count as f64),
            Measure::Min => numbers.map(|n| n.min),
            Measure::Max => numbers.map(|n| n.max),
            Measure::Percentile(percent) => {
                numbers.and_then(|n| n.percentiles.at(percent).map(|v| v.clamp(n.min, n.max)))
            }
            Measure::TopCount => self.heaviest().map(|(_, count)| count as f64),
            Measure::TopShare => self.heaviest().map(|(_, count)| count as f64 / self.count as f64),
        }
    }

    fn heaviest(&self) -> Option<(&str, u64)> {
        self.top.as_ref()?.values().first().copied()
    }

    /// The heaviest value.
    pub fn top(&self) -> Option<Cow<'_, str>> {
        self.heaviest().map(|(value, _)| value.into())
    }

    /// The heaviest few with their counts: `read_coils (17), write_register (2)`.
    pub fn top_values(&self) -> Option<Cow<'_, str>> {
        let values = self.top.as_ref()?.values();
        let told: Vec<String> =
            values.iter().take(TOP_VALUES).map(|(value, count)| format!("{value} ({count})")).collect();
        Some(told.join(", ").into())
    }
}

type Text = fn(&Aggregate) -> Option<Cow<'_, str>>;

/// Closed windows as rows for `having`: each aggregate with its window's length.
pub fn as_rows(wanted: &Wanted, schema: &SchemaRef, closed: &[(&Aggregate, Micros)]) -> RecordBatch {
    let numbers = wanted.measures().map(|(_, measure)| {
        let values = closed.iter().map(|(aggregate, length)| aggregate.measure(measure, *length));
        Arc::new(Float64Array::from_iter(values)) as ArrayRef
    });
    let texts: [Text; 2] = [Aggregate::top, Aggregate::top_values];
    let texts = texts.into_iter().filter(|_| wanted.top.is_some()).map(|text| {
        let values = closed.iter().map(|(aggregate, _)| text(aggregate));
        Arc::new(StringArray::from_iter(values)) as ArrayRef
    });
    RecordBatch::try_new(Arc::clone(schema), numbers.chain(texts).collect())
        .unwrap_or_else(|_| RecordBatch::new_empty(Arc::clone(schema)))
}
