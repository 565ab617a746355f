//! `skew`: a device's clock against its collector's. A hit where more than half of the last rows of
//! a key are off by more than the bounds: their median is.
//!
//! A key is the `by` columns and the collector, whose own clock may be the one that is wrong. The
//! hit comes with the row by which the median leaves the bounds, and again each so many rows while
//! it stays outside. Of samples, whose rows have no collector's time of their own, the first of each
//! key in a record is compared with the record's bounds: in between is not off. A row tells the device's
//! clock where its `time` is the device's: `log` and `context` rows and samples; the time of a
//! `message` is that of the packet.
//!
//! Memory: 8 bytes a row that is remembered and some 150 bytes a key; at most [`KEYS_MAX`] keys in a
//! cell, of which the least recently active leave first.

use std::collections::VecDeque;

use arrow::array::{BooleanArray, RecordBatch};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;
use yagura_event::Kind;
use yagura_event::clock::{Micros, SECOND};

use super::matched::{hit, sample_hit, selected_rows};
use super::{Learning, Operator, Plan, Samples, Saving, Step, at, restored, saved};
use crate::alerts::Hit;
use crate::blocks::Blocks;
use crate::columns::{RowHashes, hash_texts, named, times_of};
use crate::pipeline::{PipelineError, Place, Written, duration};
use crate::shard::Series;

/// The most keys of a detection in a cell.
const KEYS_MAX: usize = 100_000;
/// The most rows that a median can be over.
const ROWS_MAX: u32 = 1_000;
/// What an alert shows beside the row: the median in seconds, which way, and whose clock it is against.
pub(crate) const SHOWN: [&str; 3] = ["seen", "finding", "collector"];
/// Version of the saved state's form.
const SAVED_VERSION: u16 = 2;
/// A series that the condition does not take, and one whose key must be looked up.
const NO_KEY: u64 = 0;

/// `skew:` as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SkewSpec {
    /// How far a device's clock may be behind the collector's.
    pub behind: Spanned<String>,
    /// How far it may be ahead.
    pub ahead: Spanned<String>,
    /// Over how many rows of a key the median is taken.
    pub rows: Spanned<u32>,
}

pub(crate) fn read(
    place: &Place<'_>,
    on: Kind,
    written: &Written<'_>,
) -> Option<Result<Box<dyn Plan>, Vec<PipelineError>>> {
    let spec = written.skew?;
    let mut errors = Vec::new();
    if !matches!(on, Kind::Log | Kind::Context | Kind::Sample) {
        let message = format!(
            "the time of {} rows is not a device's clock; there are: log, context, sample",
            on.name()
        );
        errors.extend(at(place, spec, message));
    }
    let mut bound = |text: &Spanned<String>| {
        duration(&text.value).unwrap_or_else(|| {
            let message = format!("`{}` is no duration; write 5s, 10m, 2h or 1d", text.value);
            errors.extend(at(place, text, message));
            0
        })
    };
    let (behind, ahead) = (bound(&spec.value.behind), bound(&spec.value.ahead));
    let rows = spec.value.rows.value;
    if !(1..=ROWS_MAX).contains(&rows) {
        let message = format!("`rows` is between 1 and {ROWS_MAX}, not {rows}");
        errors.extend(at(place, &spec.value.rows, message));
    }
    if !errors.is_empty() {
        return Some(Err(errors));
    }
    Some(Ok(Box::new(SkewPlan { behind, ahead, rows: rows as usize })))
}

#[derive(Clone, Copy)]
struct SkewPlan {
    behind: Micros,
    ahead: Micros,
    rows: usize,
}

impl Plan for SkewPlan {
    fn describe(&self) -> String {
        format!("skew {} {} {}", self.behind, self.ahead, self.rows)
    }

    fn start(&self) -> Box<dyn Operator> {
        Box::new(Skew {
            plan: *self,
            keys: FxHashMap::default(),
            turn: 0,
            refused: 0,
            taken: Vec::new(),
            of: Vec::new(),
        })
    }
}

struct Skew {
    plan: SkewPlan,
    /// By the hash of the collector and the `by` columns.
    keys: FxHashMap<u64, Clock>,
    /// Rows compared: the order of activity.
    turn: u64,
    refused: u64,
    /// By series, whether the condition takes it.
    taken: Vec<bool>,
    /// By series, the hash of its `by` columns once it is known.
    of: Vec<u64>,
}

/// What is known of the clock behind a key.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Clock {
    /// Device less collector, of the last rows.
    last: VecDeque<Micros>,
    /// How many of them are too far behind, and too far ahead.
    behind: u32,
    ahead: u32,
    /// Rows since it was told that it is off; `None` while it is not.
    told: Option<u32>,
    active: u64,
    /// The record by which it was compared last: of samples, one of each record is.
    record: (u64, u64),
}

impl Clock {
    /// Takes a row; answers which way the clock is off when that is to be told.
    fn take(&mut self, skew: Micros, plan: &SkewPlan) -> Option<&'static str> {
        let count = |skew: Micros| (u32::from(skew < -plan.behind), u32::from(skew > plan.ahead));
        if self.last.len() == plan.rows
            && let Some(gone) = self.last.pop_front()
        {
            let (behind, ahead) = count(gone);
            self.behind -= behind;
            self.ahead -= ahead;
        }
        let (behind, ahead) = count(skew);
        self.behind += behind;
        self.ahead += ahead;
        self.last.push_back(skew);
        let most = |n: u32| 2 * n as usize > plan.rows;
        let off = match (most(self.behind), most(self.ahead)) {
            _ if self.last.len() < plan.rows => None,
            (true, _) => Some("behind"),
            (_, true) => Some("ahead"),
            _ => None,
        };
        match (off, &mut self.told) {
            (None, told) => {
                *told = None;
                None
            }
            (Some(_), Some(rows)) if (*rows as usize) + 1 < plan.rows => {
                *rows += 1;
                None
            }
            (Some(off), told) => {
                *told = Some(0);
                Some(off)
            }
        }
    }

    /// In seconds; of an even number the lower of the two in the middle.
    fn median(&self) -> f64 {
        let mut sorted: Vec<Micros> = self.last.iter().copied().collect();
        sorted.sort_unstable();
        sorted.get(sorted.len().saturating_sub(1) / 2).map_or(0.0, |&skew| skew as f64 / SECOND as f64)
    }
}

impl Skew {
    /// The clock of a key; the least recently active leave when there is no room.
    fn clock(&mut self, key: u64) -> &mut Clock {
        if self.keys.len() >= KEYS_MAX && !self.keys.contains_key(&key) {
            let mut order: Vec<(u64, u64)> =
                self.keys.iter().map(|(&key, clock)| (clock.active, key)).collect();
            order.sort_unstable();
            for (_, key) in order.into_iter().take(KEYS_MAX / 4) {
                self.keys.remove(&key);
                self.refused += 1;
            }
        }
        self.turn += 1;
        let clock = self.keys.entry(key).or_default();
        clock.active = self.turn;
        clock
    }
}

fn complete(mut hit: Hit, median: f64, off: &str, collector: &str) -> Hit {
    hit.evidence.insert("seen".into(), median.into());
    hit.evidence.insert("finding".into(), off.into());
    hit.evidence.insert("collector".into(), collector.into());
    hit
}

/// The key of some `by` columns' hash under a collector; never that of none.
fn key_of(collector: u64, by: u64) -> u64 {
    (collector.rotate_left(32) ^ by).max(NO_KEY + 1)
}

impl Operator for Skew {
    fn rows(
        &mut self,
        step: &Step<'_>,
        rows: &RecordBatch,
        selected: Option<&BooleanArray>,
        hits: &mut Vec<Hit>,
    ) {
        let (Some(times), Some(observed)) = (times_of(rows, "time"), times_of(rows, "observed")) else {
            return;
        };
        let by = named(rows, step.by);
        let hashes = RowHashes::new(&by);
        let collector = hash_texts([step.envelope.collector.as_str()].into_iter());
        let plan = self.plan;
        for row in selected_rows(step.from, rows.num_rows(), selected) {
            let clock = self.clock(key_of(collector, hashes.at(row)));
            if let Some(off) = clock.take(times[row].saturating_sub(observed[row]), &plan) {
                let hit = hit(step, rows, row, &by);
                hits.push(complete(hit, clock.median(), off, &step.envelope.collector));
            }
        }
    }

    fn samples(&mut self, step: &Step<'_>, samples: &Samples<'_>, all: &Blocks<Series>, hits: &mut Vec<Hit>) {
        let collector = hash_texts([step.envelope.collector.as_str()].into_iter());
        let record = (step.envelope.epoch, step.envelope.first_row);
        let (earliest, latest) = step.envelope.observed;
        let plan = self.plan;
        // Values of a tool stand side by side: what was compared last needs no look-up.
        let mut done = NO_KEY;
        for row in step.from..samples.series.len() {
            let number = samples.series[row] as usize;
            if !self.taken.get(number).copied().unwrap_or(false) {
                continue;
            }
            let Some(series) = all.get(number) else { continue };
            if self.of[number] == NO_KEY {
                let texts = step.by.iter().map(|name| series.text(name));
                self.of[number] = hash_texts(texts).max(NO_KEY + 1);
            }
            let key = key_of(collector, self.of[number]);
            if key == done {
                continue;
            }
            done = key;
            if self.keys.get(&key).is_some_and(|clock| clock.record == record) {
                continue;
            }
            let time = samples.times[row];
            let skew = time.saturating_sub(time.clamp(earliest, latest.max(earliest)));
            let clock = self.clock(key);
            clock.record = record;
            if let Some(off) = clock.take(skew, &plan) {
                let hit = sample_hit(step, samples, row, series, serde_json::Map::new());
                hits.push(complete(hit, clock.median(), off, &step.envelope.collector));
            }
        }
    }

    fn series(&mut self, number: u32, selected: bool) {
        let index = number as usize;
        if self.taken.len() <= index {
            self.taken.resize(index + 1, false);
            self.of.resize(index + 1, NO_KEY);
        }
        self.taken[index] = selected;
    }

    fn learning(&self) -> Learning {
        let keys = self.keys.len();
        Learning { keys, ready: keys, approved: keys, refused: self.refused, nearest: None }
    }

    fn save(&self) -> Saving {
        let mut keys: Vec<(u64, Clock)> =
            self.keys.iter().map(|(key, clock)| (*key, clock.clone())).collect();
        let (turn, refused, taken) = (self.turn, self.refused, self.taken.clone());
        Box::new(move || {
            keys.sort_unstable_by_key(|(key, _)| *key);
            saved(SAVED_VERSION, &(keys, turn, refused, taken))
        })
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), String> {
        let (keys, turn, refused, taken): (Vec<(u64, Clock)>, u64, u64, Vec<bool>) =
            restored(SAVED_VERSION, "a skew", saved)?;
        self.of = vec![NO_KEY; taken.len()];
        (self.keys, self.turn, self.refused, self.taken) = (keys.into_iter().collect(), turn, refused, taken);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAN: SkewPlan = SkewPlan { behind: 600 * SECOND, ahead: 5 * SECOND, rows: 5 };

    fn told(skews: impl IntoIterator<Item = i64>) -> Vec<(usize, &'static str)> {
        let mut clock = Clock::default();
        let told = skews.into_iter().enumerate();
        told.filter_map(|(row, skew)| clock.take(skew * SECOND, &PLAN).map(|off| (row, off))).collect()
    }

    #[test]
    fn more_than_half_of_the_rows_make_a_clock_wrong() {
        assert_eq!(told([5, -600, 0, 5, -600, 5]), [], "the bounds themselves are right");
        assert_eq!(told([6, 6, 6, 0, 0]), [(4, "ahead")]);
        assert_eq!(told([9999, 9999, 0, 0, 0, 9999, 0, 0]), [], "single rows do not matter");
        assert_eq!(told([-601; 4]), [], "too few rows");
        assert_eq!(told([-601; 16]), [(4, "behind"), (9, "behind"), (14, "behind")]);
        let (wrong, right) = ([60; 5], [0; 5]);
        assert_eq!(told([wrong, right, wrong].concat()), [(4, "ahead"), (12, "ahead")]);
    }

    #[test]
    fn the_median_is_that_of_the_rows_that_are_remembered() {
        let mut clock = Clock::default();
        for skew in [100, 1, 2, 30, 40, 50] {
            clock.take(skew * SECOND, &PLAN);
        }
        assert_eq!(clock.median(), 30.0);
        assert_eq!((clock.last.len(), clock.ahead), (5, 3));
    }

    #[test]
    fn keys_are_bounded_and_the_least_recently_active_leave() {
        let mut skew = Skew {
            plan: PLAN,
            keys: FxHashMap::default(),
            turn: 0,
            refused: 0,
            taken: Vec::new(),
            of: Vec::new(),
        };
        for key in 1..=(KEYS_MAX as u64 + 10) {
            skew.clock(key);
            skew.clock(1);
        }
        assert!(skew.keys.len() <= KEYS_MAX && skew.refused == KEYS_MAX as u64 / 4);
        assert!(skew.keys.contains_key(&1) && !skew.keys.contains_key(&2));
        let saved = skew.save()();
        let mut again = Skew {
            plan: PLAN,
            keys: FxHashMap::default(),
            turn: 0,
            refused: 0,
            taken: Vec::new(),
            of: Vec::new(),
        };
        again.restore(&saved).expect("its own state");
        assert_eq!(again.save()(), saved);
    }
}
