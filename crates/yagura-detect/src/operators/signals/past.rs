//! What is kept of a signal's past, to be shown with a finding.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};
use yagura_event::clock::Micros;

/// Values that are shown.
pub(super) const VALUES: usize = 60;
/// Of so many values one's time is noted where it is looked back far, and so many such times: what exact repeats
/// remember is hardly ever longer ago.
const NOTED_ONE_IN: u64 = 256;
const NOTED: usize = 64;

/// The last values of a signal, and when values long ago were.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Past {
    /// How many values there have been.
    count: u64,
    /// Those whose number is divisible, the newest last.
    values: VecDeque<(Micros, f64)>,
    noted: VecDeque<Micros>,
    /// The newest value.
    last: (Micros, f64),
}

impl Past {
    /// Takes a value, one in so many of which is shown. Whether times are noted is the same for all of a signal's values.
    pub(super) fn take(&mut self, time: Micros, value: f64, one_in: u64, notes: bool) {
        if self.count.is_multiple_of(one_in.max(1)) {
            push(&mut self.values, (time, value), VALUES);
        }
        if notes && self.count.is_multiple_of(NOTED_ONE_IN) {
            push(&mut self.noted, time, NOTED);
        }
        self.count += 1;
        self.last = (time, value);
    }

    /// What comes does not continue what came.
    pub(super) fn begin(&mut self) {
        self.values.clear();
    }

    /// The values that are shown, and the seconds from one to the next.
    pub(super) fn course(&self) -> (Vec<f64>, f64) {
        let mut all: Vec<(Micros, f64)> = self.values.iter().copied().collect();
        if all.last() != Some(&self.last) {
            all.push(self.last);
        }
        let first = all.first().map_or(self.last.0, |first| first.0);
        let period_s =
            self.last.0.saturating_sub(first) as f64 * 1e-6 / all.len().saturating_sub(1).max(1) as f64;
        (all.into_iter().map(|(_, value)| value).collect(), period_s)
    }

    /// When the value was that so many came after: of one that is not shown, when the one before it was that is; none of
    /// one that is too long ago. Between times that were noted it is taken for evenly spaced.
    pub(super) fn time_ago(&self, ago: u64, one_in: u64) -> Option<Micros> {
        let newest = self.count.checked_sub(1)?;
        let number = newest.checked_sub(ago)?;
        if ago == 0 {
            return Some(self.last.0);
        }
        let kept = |one_in: u64, len: usize, number: u64| {
            let back = newest / one_in - number / one_in;
            len.checked_sub(1)?.checked_sub(usize::try_from(back).ok()?)
        };
        let one_in = one_in.max(1);
        if let Some(at) = kept(one_in, self.values.len(), number) {
            return self.values.get(at).map(|(time, _)| *time);
        }
        let at = kept(NOTED_ONE_IN, self.noted.len(), number)?;
        let from = *self.noted.get(at)?;
        let (to, length) = match self.noted.get(at + 1) {
            Some(next) => (*next, NOTED_ONE_IN),
            None => (self.last.0, newest % NOTED_ONE_IN),
        };
        let part = (number % NOTED_ONE_IN) as f64 / length.max(1) as f64;
        Some(from.saturating_add((to.saturating_sub(from) as f64 * part) as Micros))
    }
}

fn push<T>(kept: &mut VecDeque<T>, value: T, most: usize) {
    if kept.len() == most {
        kept.pop_front();
    }
    kept.push_back(value);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn past(count: u64, one_in: u64) -> Past {
        let mut past = Past::default();
        (0..count).for_each(|n| past.take(n as Micros * 1_000_000, n as f64, one_in, true));
        past
    }

    #[test]
    fn times_of_values_are_known_as_far_as_they_are_kept() {
        let seconds = |past: &Past, ago, one_in| past.time_ago(ago, one_in).map(|time| time / 1_000_000);
        for count in [1, 59, 257, 5_000] {
            let past = past(count, 1);
            for ago in 0..count {
                assert_eq!(seconds(&past, ago, 1), Some((count - 1 - ago) as i64), "{count} {ago}");
            }
            assert_eq!(seconds(&past, count, 1), None);
        }
        let long = past(100_000, 1);
        assert_eq!(seconds(&long, 16_000, 1), Some(83_999));
        assert_eq!(seconds(&long, 17_000, 1), None, "too long ago");
        assert_eq!(long.values.len() + long.noted.len(), VALUES + NOTED);
        // Of every tenth value, the one before.
        assert_eq!(seconds(&past(1_000, 10), 103, 10), Some(890));
        assert_eq!(past(0, 1).time_ago(0, 1), None);
    }

    #[test]
    fn a_course_ends_with_the_newest_value_and_begins_anew_with_the_context() {
        let mut past = past(1_006, 10);
        let (values, period_s) = past.course();
        assert_eq!((values.len(), values[59], values[60]), (61, 1_000.0, 1_005.0));
        assert!((period_s - 9.9).abs() < 0.1, "{period_s}");
        past.begin();
        past.take(9_000_000_000, 7.0, 10, true);
        assert_eq!(past.course(), (vec![7.0], 0.0));
        let noted = past.time_ago(300, 10).map(|time| time / 1_000_000);
        assert_eq!(noted, Some(706), "what was before the context changed is still known");
    }
}
