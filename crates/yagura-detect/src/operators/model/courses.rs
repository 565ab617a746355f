//! The courses of keys that are near a limit, to show what led to a finding.
//!
//! A key's course begins when it comes near a limit, with the samples that the record at hand has of it before, and goes
//! on for as long as each of its samples is near ([`guard::Findings::near`]). So a key that is far from all its limits
//! costs nothing, and what is kept is a function of the log's records; but for what was before, of its samples alone.
//!
//! Memory: at most [`COURSES_MAX`] courses of [`VALUES_MAX`] values, 3 MiB; keys beyond are found without a course. Of
//! values that stand still none are kept: how many there were is known.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use yagura_event::clock::Micros;
use yagura_models::guard::{self, Finding, State};

use crate::operators::around::{Around, Trace};

/// The most courses in a cell.
const COURSES_MAX: usize = 4096;
/// Values of a course from where it came near; of a longer one every second goes.
const VALUES_MAX: usize = 32;
/// Values of a key before it came near a limit, and rows of a record that they are looked for in.
const BEFORE: usize = 8;
const LOOKED_BACK: usize = 1024;

/// The samples of a record that are judged.
pub(super) struct Batch<'a> {
    pub(super) slots: &'a [u32],
    pub(super) times: &'a [Micros],
    pub(super) values: &'a [f64],
    pub(super) quality: &'a [u8],
}

impl Batch<'_> {
    /// The last values of a slot before a row, the latest first.
    fn before(&self, slot: u32, row: usize) -> impl Iterator<Item = (Micros, f64)> + '_ {
        let from = row.saturating_sub(LOOKED_BACK);
        let of_slot = (from..row).rev().filter(move |&row| self.slots[row] == slot);
        let counts = of_slot.filter(|&row| self.quality[row] < 2 && self.values[row].is_finite());
        counts.take(BEFORE).map(|row| (self.times[row], self.values[row]))
    }
}

/// A sample of a key that is near a limit.
pub(super) struct Near {
    index: u32,
    /// Of the key's sample before.
    last_time: Micros,
}

/// What the guard says of a batch.
#[derive(Default)]
pub(super) struct Found {
    near: Vec<Near>,
    hits: Vec<guard::Hit>,
}

/// One thing that it says.
pub(super) enum Told<'a> {
    Near(&'a Near),
    Hit(&'a guard::Hit),
}

impl guard::Findings for Found {
    fn found(&mut self, hit: guard::Hit) {
        self.hits.push(hit);
    }

    fn near(&mut self, index: u32, last_time: Micros) {
        self.near.push(Near { index, last_time });
    }
}

impl Found {
    pub(super) fn is_empty(&self) -> bool {
        self.near.is_empty() && self.hits.is_empty()
    }

    pub(super) fn clear(&mut self) {
        self.near.clear();
        self.hits.clear();
    }

    /// In the order of the samples; that one is near comes before what is found of it.
    pub(super) fn in_order(&self) -> impl Iterator<Item = Told<'_>> {
        let (mut near, mut hits) = (self.near.iter().peekable(), self.hits.iter().peekable());
        std::iter::from_fn(move || {
            let hit = hits.peek().map_or(u32::MAX, |hit| hit.index);
            match near.next_if(|near| near.index <= hit) {
                Some(near) => Some(Told::Near(near)),
                None => hits.next().map(Told::Hit),
            }
        })
    }
}

/// The courses of a cell's keys, by slot.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Courses(BTreeMap<u32, Course>);

/// From when a key came near a limit on.
#[derive(Clone, Serialize, Deserialize)]
struct Course {
    /// What was before, the latest first.
    before: Vec<(Micros, f64)>,
    trace: Trace<(Micros, f64)>,
    /// When it came near, and its last sample.
    since: Micros,
    last: (Micros, f64),
}

impl Courses {
    /// Takes a sample of a key that is near a limit.
    pub(super) fn follow(&mut self, batch: &Batch<'_>, near: &Near) {
        let row = near.index as usize;
        let (slot, sample) = (batch.slots[row], (batch.times[row], batch.values[row]));
        let is_full = self.0.len() >= COURSES_MAX;
        match self.0.get_mut(&slot) {
            Some(course) if course.last.0 == near.last_time => {
                course.trace.push(sample, VALUES_MAX);
                course.last = sample;
            }
            None if is_full => {}
            _ => {
                let (mut before, mut trace) = (Vec::new(), Trace::default());
                if near.last_time != Micros::MIN {
                    before.extend(batch.before(slot, row));
                }
                trace.push(sample, VALUES_MAX);
                self.0.insert(slot, Course { before, trace, since: sample.0, last: sample });
            }
        }
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Forgets those of keys that have come away from their limits.
    pub(super) fn keep_those_that_go_on(&mut self, states: &[State]) {
        let last = |slot: u32| states.get(slot as usize).map(State::last_time);
        self.0.retain(|slot, course| last(*slot) == Some(course.last.0));
    }

    /// What there was around a finding, and since when it is. The usual interval of the key's samples is in seconds.
    pub(super) fn around(
        &self,
        batch: &Batch<'_>,
        found: &guard::Hit,
        interval_s: f64,
    ) -> (Option<Around>, Micros) {
        let row = found.index as usize;
        let (now, micros) = (batch.times[row], |seconds: f64| (seconds * 1e6) as Micros);
        match found.finding {
            Finding::Gap => (None, now.saturating_sub(micros(found.seen))),
            Finding::Stuck => {
                let (run, shown) = (f64::from(found.run), usize::from(found.run).min(VALUES_MAX - 1));
                let period_s = interval_s * run / shown.max(1) as f64;
                let (seen, expected) = (vec![found.seen; shown + 1], vec![found.expected; shown + 1]);
                let around = Around { period_s, seen, expected, deviation: None, marked: shown + 1 };
                (Some(around), now.saturating_sub(micros(interval_s * run)))
            }
            Finding::Shift | Finding::Drift | Finding::Range => {
                let Some(course) = self.0.get(&batch.slots[row]).filter(|course| course.last.0 == now) else {
                    return (None, now);
                };
                (Some(course.until_now(found.expected)), course.since)
            }
        }
    }
}

impl Course {
    /// All of it, evenly spaced but for its last sample, beside the level that is expected.
    fn until_now(&self, expected: f64) -> Around {
        let one_in = self.trace.one_in();
        let mut samples: Vec<_> = self.before.iter().copied().skip(one_in - 1).step_by(one_in).collect();
        samples.reverse();
        let before = samples.len();
        samples.extend(self.trace.values());
        if samples.last() != Some(&self.last) {
            samples.push(self.last);
        }
        let first = samples.first().map_or(self.last.0, |sample| sample.0);
        let steps = samples.len().saturating_sub(1).max(1);
        Around {
            period_s: self.last.0.saturating_sub(first) as f64 * 1e-6 / steps as f64,
            expected: vec![expected; samples.len()],
            marked: samples.len() - before,
            deviation: None,
            seen: samples.into_iter().map(|(_, value)| value).collect(),
        }
    }
}
