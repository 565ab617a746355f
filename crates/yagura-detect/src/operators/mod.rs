//! What judges rows. An operator is one file, its `mod` line and its line in [`OPERATORS`].

use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_saphyr::Spanned;
use yagura_event::clock::Micros;
use yagura_event::{Envelope, Kind};
use yagura_models::fleet::{Budget, Factors, Tail};

use crate::alerts::Hit;
use crate::baseline::{Entry, Form, Span};
use crate::blocks::Blocks;
use crate::condition::Condition;
use crate::late::Aside;
use crate::pipeline::{PipelineError, Place, Written};
use crate::shard::Series;

pub mod absence;
mod around;
mod budgeted;
mod conversation;
mod group;
pub mod known;
pub mod matched;
mod members;
pub mod model;
pub mod sequence;
mod signals;
pub mod skew;
mod steps;
#[cfg(test)]
pub(crate) mod testing;
pub mod window;

/// The operators, in the order in which their keys are looked for.
pub const OPERATORS: &[OperatorKind] = &[
    OperatorKind { name: "known", read: known::read },
    OperatorKind { name: "model", read: model::read },
    OperatorKind { name: "window", read: window::read },
    OperatorKind { name: "sequence", read: sequence::read },
    OperatorKind { name: "absence", read: absence::read },
    OperatorKind { name: "skew", read: skew::read },
    OperatorKind { name: "match", read: matched::read },
];

/// Reads an operator's part of a detection: `None` when the detection does not ask for it.
pub(crate) type Read =
    fn(&Place<'_>, Kind, &Written<'_>) -> Option<Result<Box<dyn Plan>, Vec<PipelineError>>>;

/// One kind of operator.
pub struct OperatorKind {
    /// Its key in pipelines.
    pub name: &'static str,
    pub(crate) read: Read,
}

/// An operator's checked configuration.
pub trait Plan: Send + Sync {
    /// All that changes its judgement, as text: part of the detection's fingerprint.
    fn describe(&self) -> String;

    /// What it reads instead of what the detection's `on:` and `where:` select; nothing of its own
    /// where this is empty. Its rows come through [`Operator::inputs`].
    fn inputs(&self) -> &[Input] {
        &[]
    }

    /// What it looks at of the rows that are selected for it, beside the `by` columns and the times.
    fn reads(&self) -> Reads {
        Reads::Rows
    }

    /// How many alarms a day all cells together may raise, where that is what sets its limits.
    fn budget(&self) -> Option<&Budget> {
        None
    }

    /// A fresh state for one cell.
    fn start(&self) -> Box<dyn Operator>;
}

/// What an operator looks at of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reads {
    /// All of it: rows are shown, or kept to be shown later.
    Rows,
    /// These columns and no other.
    Columns(Vec<String>),
}

/// Rows of a kind that a condition selects.
pub struct Input {
    /// The kind.
    pub kind: Kind,
    /// Which rows.
    pub condition: Arc<dyn Condition>,
}

/// How far an operator's learning has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Learning {
    /// Keys seen.
    pub keys: usize,
    /// Keys that have seen enough to be approved, or are.
    pub ready: usize,
    /// Keys that are judged.
    pub approved: usize,
    /// Keys turned away because the state was full.
    pub refused: u64,
    /// Of the keys that are not ready, the one that lacks least, where rows are what they lack.
    pub nearest: Option<Rows>,
}

/// How many rows a key has, and how many it needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    /// It has.
    pub seen: usize,
    /// It needs to be ready.
    pub needed: usize,
}

/// Which state of what was learned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Which {
    /// What approving it now would put in force.
    Proposed,
    /// What is judged by.
    InForce,
}

/// What a step is about.
pub struct Step<'a> {
    /// Index of the detection.
    pub detection: usize,
    /// Its `by` columns.
    pub by: &'a [String],
    /// The record's envelope.
    pub envelope: &'a Envelope,
    /// First row of the batch that was not judged before.
    pub from: usize,
    /// The cell's watermark: before this record for its rows, after it when it moved.
    pub watermark: Micros,
}

/// A batch of samples with their series resolved to the shard's own dense numbers.
pub struct Samples<'a> {
    /// The shard's series number of each sample, `u32::MAX` where it was never defined.
    pub series: &'a [u32],
    /// Device times.
    pub times: &'a [Micros],
    /// Values.
    pub values: &'a [f64],
    /// Qualities.
    pub quality: &'a [u8],
}

/// A state that is written out later and by another thread: judging waits until it is taken, so
/// taking it copies memory at most, and what takes time is left to the call.
pub type Saving = Box<dyn FnOnce() -> Vec<u8> + Send>;

/// One detection's judgement in one cell.
pub trait Operator: Send {
    /// Judges the selected rows (all without a selection), from `step.from` on.
    fn rows(
        &mut self,
        _step: &Step<'_>,
        _rows: &RecordBatch,
        _selected: Option<&BooleanArray>,
        _hits: &mut Vec<Hit>,
    ) {
    }

    /// Judges the rows that the plan's own inputs select, from `step.from` on. `selected` stands
    /// beside [`Plan::inputs`]: none where nothing of the batch is selected.
    fn inputs(
        &mut self,
        _step: &Step<'_>,
        _rows: &RecordBatch,
        _selected: &[Option<BooleanArray>],
        _hits: &mut Vec<Hit>,
    ) {
    }

    /// Judges samples.
    fn samples(
        &mut self,
        _step: &Step<'_>,
        _samples: &Samples<'_>,
        _all: &Blocks<Series>,
        _hits: &mut Vec<Hit>,
    ) {
    }

    /// The watermark moved: what waited for it may be judged.
    fn advance(&mut self, _step: &Step<'_>, _all: &Blocks<Series>, _hits: &mut Vec<Hit>) {}

    /// Hands over the rows of this record that came too late to count.
    fn late(&mut self, _out: &mut Vec<Aside>) {}

    /// How many of its own conditions failed since it was asked last.
    fn failed(&mut self) -> u64 {
        0
    }

    /// A series was defined; `selected` says whether the detection's condition takes it.
    fn series(&mut self, _number: u32, _selected: bool) {}

    /// The context of these series changed.
    fn context(&mut self, _series: &[u32]) {}

    /// What was learned so far is approved.
    fn approve(&mut self) {}

    /// One entry of an allow-list is released.
    fn release(&mut self, _entry: &serde_json::Map<String, serde_json::Value>) {}

    /// What it learns, and what the entries of its baselines are; none for what does not learn.
    fn form(&self) -> Option<Form> {
        None
    }

    /// What it has learned, in no particular order, and from which rows.
    fn learned(&self, _which: Which, _all: &Blocks<Series>) -> (Span, Vec<Entry>) {
        (Span::default(), Vec::new())
    }

    /// Judges by these entries, and by nothing else, from now on; the error says why not, and changes nothing.
    fn put_in_force(&mut self, _entries: &[Entry], _all: &Blocks<Series>) -> Result<(), String> {
        Err("it learns nothing".into())
    }

    /// Maintenance of these keys was recorded; answers how many of those that are judged it concerns.
    fn maintain(
        &mut self,
        _keys: &serde_json::Map<String, serde_json::Value>,
        _all: &Blocks<Series>,
    ) -> usize {
        0
    }

    /// An alarm of these keys was false: where a budget sets limits, what it came to is usual for them.
    fn called_false(&mut self, _keys: &serde_json::Map<String, serde_json::Value>, _all: &Blocks<Series>) {}

    /// How far incidents came, when it is time to say so to whoever holds the budget: now and then in the cell's time.
    fn tail(&mut self, _now: Micros) -> Option<Tail> {
        None
    }

    /// What the limits are multiplied by from now on.
    fn set_factors(&mut self, _factors: &Factors) {}

    /// How far learning has got.
    fn learning(&self) -> Learning {
        Learning::default()
    }

    /// The state as it is now, for a snapshot; empty when there is none.
    fn save(&self) -> Saving {
        Box::new(Vec::new)
    }

    /// Takes a saved state back.
    fn restore(&mut self, _saved: &[u8]) -> Result<(), String> {
        Ok(())
    }
}

/// A state as bytes, with the version of its form in front.
pub(crate) fn saved(version: u16, state: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(&(version, state)).unwrap_or_default()
}

/// The state of [`saved`] bytes; `what` is whose it is.
pub(crate) fn restored<T: DeserializeOwned>(version: u16, what: &str, saved: &[u8]) -> Result<T, String> {
    let (found, rest) = postcard::take_from_bytes::<u16>(saved).map_err(|e| e.to_string())?;
    if found != version {
        return Err(format!("version {found} of the state of {what} is not known"));
    }
    postcard::from_bytes(rest).map_err(|e| e.to_string())
}

/// The values of an entry's columns as texts; none when one is not there.
pub(crate) fn entry_values(
    entry: &serde_json::Map<String, serde_json::Value>,
    columns: &[String],
) -> Option<Vec<String>> {
    let text = |value: &serde_json::Value| value.as_str().map_or_else(|| value.to_string(), str::to_string);
    columns.iter().map(|column| entry.get(column).map(text)).collect()
}

/// Problems at a place of the pipeline file, collected.
pub(crate) fn at<T>(place: &Place<'_>, spot: &Spanned<T>, message: String) -> Vec<PipelineError> {
    vec![place.error(spot, message)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_of_another_form_is_refused_by_name() {
        let bytes = saved(1, &(7_u32, "x"));
        assert_eq!(restored::<(u32, String)>(1, "a test", &bytes), Ok((7, "x".to_string())));
        assert_eq!(
            restored::<(u32, String)>(2, "a test", &bytes),
            Err("version 1 of the state of a test is not known".to_string())
        );
    }
}
