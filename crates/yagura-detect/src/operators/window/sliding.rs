//! The window that slides: so many rows, or so many different values, in the time that ends with
//! the row at hand. The hit comes with the row that reaches the count; while the count stays
//! reached there is one more hit each time the window's length has passed.
//!
//! Memory: 16 bytes a counted row or value of a key, at most [`STATE_BYTES_MAX`] a cell; beyond,
//! the keys that were silent for longest leave.

use std::collections::VecDeque;

use arrow::array::{BooleanArray, RecordBatch};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use yagura_event::clock::Micros;

use super::super::matched::{hit, selected_rows};
use super::super::{Learning, Operator, Plan, Saving, Step, restored, saved};
use crate::alerts::Hit;
use crate::columns::{RowHashes, named, times_of};
use crate::late::Aside;

/// The most memory of one detection's counts in a cell, in bytes.
const STATE_BYTES_MAX: usize = 32 << 20;
/// Version of the saved state's form.
const SAVED_VERSION: u16 = 2;

pub(super) struct SlidingPlan {
    pub(super) within: Micros,
    pub(super) at_least: usize,
    pub(super) distinct: Vec<String>,
}

impl Plan for SlidingPlan {
    fn describe(&self) -> String {
        format!("window {} {} {:?}", self.within, self.at_least, self.distinct)
    }

    fn start(&self) -> Box<dyn Operator> {
        Box::new(Sliding {
            within: self.within,
            at_least: self.at_least,
            distinct: self.distinct.clone(),
            keys_max: (STATE_BYTES_MAX / (16 * self.at_least)).max(1),
            keys: FxHashMap::default(),
            refused: 0,
            late: Vec::new(),
        })
    }
}

struct Sliding {
    within: Micros,
    at_least: usize,
    distinct: Vec<String>,
    keys_max: usize,
    /// By the hash of the `by` columns.
    keys: FxHashMap<u64, Counted>,
    /// Keys that left before their time.
    refused: u64,
    /// Rows counted aside by the record at hand.
    late: Vec<Aside>,
}

/// What was counted of a key: at most as many as make a hit.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Counted {
    /// Hash of the counted value (0 where rows are counted) and when it was seen last.
    seen: VecDeque<(u64, Micros)>,
    newest: Micros,
    /// Until when the count is known to be reached.
    told_until: Micros,
}

/// What a row did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Took {
    /// It was counted.
    Counted,
    /// With it the count is reached, and that was not told yet.
    Reached,
    /// It is older than the window before the newest row: not counted.
    Aside,
}

impl Counted {
    fn take(&mut self, value: Option<u64>, time: Micros, within: Micros, at_least: usize) -> Took {
        self.newest = self.newest.max(time);
        let begin = self.newest.saturating_sub(within);
        if time < begin {
            return Took::Aside;
        }
        let Some(value) = value else { return self.count(time, begin, within, at_least) };
        self.seen.retain(|&(_, seen)| seen >= begin);
        if let Some(again) = self.seen.iter_mut().find(|(known, _)| *known == value) {
            again.1 = again.1.max(time);
        } else {
            if self.seen.len() == at_least {
                self.seen.pop_front();
            }
            self.seen.push_back((value, time));
        }
        self.told(time, within, at_least)
    }

    /// Counts a row. They stand in the order of time, so that those which are over are in front.
    fn count(&mut self, time: Micros, begin: Micros, within: Micros, at_least: usize) -> Took {
        while self.seen.front().is_some_and(|&(_, seen)| seen < begin) || self.seen.len() == at_least {
            self.seen.pop_front();
        }
        let mut at = self.seen.len();
        while at > 0 && self.seen[at - 1].1 > time {
            at -= 1;
        }
        self.seen.insert(at, (0, time));
        self.told(time, within, at_least)
    }

    fn told(&mut self, time: Micros, within: Micros, at_least: usize) -> Took {
        if self.seen.len() < at_least || time < self.told_until {
            return Took::Counted;
        }
        self.told_until = time.saturating_add(within);
        Took::Reached
    }
}

impl Sliding {
    /// Makes room for a key: those that count nothing any more leave, then those silent for longest.
    fn make_room(&mut self, now: Micros) {
        if self.keys.len() < self.keys_max {
            return;
        }
        let begin = now.saturating_sub(self.within);
        self.keys.retain(|_, counted| counted.newest >= begin);
        if self.keys.len() < self.keys_max {
            return;
        }
        let mut order: Vec<(Micros, u64)> = self.keys.iter().map(|(&key, c)| (c.newest, key)).collect();
        order.sort_unstable();
        // A quarter at a time, so that a flood of keys does not sort at every row.
        for (_, key) in order.iter().take(self.keys_max.div_ceil(4)) {
            self.keys.remove(key);
            self.refused += 1;
        }
    }
}

impl Operator for Sliding {
    fn rows(
        &mut self,
        step: &Step<'_>,
        rows: &RecordBatch,
        selected: Option<&BooleanArray>,
        hits: &mut Vec<Hit>,
    ) {
        let by = named(rows, step.by);
        let keys = RowHashes::new(&by);
        let values = RowHashes::new(&named(rows, &self.distinct));
        let times = times_of(rows, "observed");
        for row in selected_rows(step.from, rows.num_rows(), selected) {
            let time = times.map_or(step.envelope.observed.1, |times| times[row]);
            let key = keys.at(row);
            if !self.keys.contains_key(&key) {
                self.make_room(time);
            }
            let value = (!self.distinct.is_empty()).then(|| values.at(row));
            let counted = self.keys.entry(key).or_default();
            match counted.take(value, time, self.within, self.at_least) {
                Took::Counted => {}
                Took::Reached => {
                    let mut hit = hit(step, rows, row, &by);
                    hit.evidence.insert("seen".into(), counted.seen.len().into());
                    hits.push(hit);
                }
                Took::Aside => {
                    let closed_to = counted.newest.saturating_sub(self.within);
                    let Hit { cause, time, observed, key, .. } = hit(step, rows, row, &by);
                    self.late.push(Aside { key, time, observed, closed_to, cause });
                }
            }
        }
    }

    fn late(&mut self, out: &mut Vec<Aside>) {
        out.append(&mut self.late);
    }

    fn learning(&self) -> Learning {
        let keys = self.keys.len();
        Learning { keys, ready: keys, approved: keys, refused: self.refused, nearest: None }
    }

    fn save(&self) -> Saving {
        let mut keys: Vec<(u64, Counted)> = self.keys.iter().map(|(key, c)| (*key, c.clone())).collect();
        let refused = self.refused;
        Box::new(move || {
            keys.sort_unstable_by_key(|(key, _)| *key);
            saved(SAVED_VERSION, &(keys, refused))
        })
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), String> {
        let (keys, refused): (Vec<(u64, Counted)>, u64) = restored(SAVED_VERSION, "a sliding window", saved)?;
        self.keys = keys.into_iter().collect();
        self.refused = refused;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_is_told_when_reached_and_once_a_window_while_it_lasts() {
        let mut counted = Counted::default();
        let told: Vec<Micros> = (0..100).filter(|&t| counted.take(None, t, 10, 5) == Took::Reached).collect();
        // The count of a window of 10 is reached with the fifth row, and told again ten later.
        assert_eq!(told, [4, 14, 24, 34, 44, 54, 64, 74, 84, 94]);
        let mut counted = Counted::default();
        let slow = (0..100).step_by(5).all(|t| counted.take(None, t, 10, 5) == Took::Counted);
        assert!(slow, "three in any window");
        assert!(counted.seen.len() <= 5);
    }

    #[test]
    fn rows_out_of_order_leave_when_their_time_is_over() {
        let mut counted = Counted::default();
        for time in [100, 20, 60, 110] {
            assert_eq!(counted.take(None, time, 100, 5), Took::Counted);
        }
        // The row of 20 is over at 121 and does not count among the five any more.
        assert_eq!(counted.take(None, 121, 100, 5), Took::Counted);
        assert_eq!(counted.seen.iter().map(|&(_, time)| time).collect::<Vec<_>>(), [60, 100, 110, 121]);
        assert_eq!(counted.take(None, 122, 100, 5), Took::Reached);
    }

    #[test]
    fn different_values_count_once_and_old_rows_not_at_all() {
        let mut counted = Counted::default();
        assert!((0..50).all(|t| counted.take(Some(1), t, 100, 3) == Took::Counted), "one value");
        assert_eq!(counted.take(Some(2), 60, 100, 3), Took::Counted);
        assert_eq!(counted.take(Some(3), 61, 100, 3), Took::Reached);
        let mut counted = Counted::default();
        assert_eq!(counted.take(Some(1), 1_000, 100, 2), Took::Counted);
        assert_eq!(counted.take(Some(2), 10, 100, 2), Took::Aside, "far behind");
        assert_eq!(counted.take(Some(2), 950, 100, 2), Took::Reached, "a little behind");
    }
}
