//! A key of windows that close, with those that are open.

use serde::{Deserialize, Serialize};
use yagura_event::clock::Micros;

use super::aggregate::Aggregate;
use super::due::Due;

/// How windows lie in time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// At each multiple of `every`, the time of `within` before it, which is a multiple of `every`.
    Steps {
        /// From one to the next.
        every: Micros,
        /// The length.
        within: Micros,
    },
    /// Until nothing came for `gap`, and no longer than `longest`.
    Session {
        /// The pause that ends it.
        gap: Micros,
        /// The longest time from its first to its last row.
        longest: Micros,
    },
}

impl Shape {
    /// The longest window, or the pause that ends one.
    pub(super) fn length(self) -> Micros {
        match self {
            Shape::Steps { within, .. } => within,
            Shape::Session { gap, .. } => gap,
        }
    }

    /// Keys that are due, none yet: steps end together, sessions one by one.
    pub(super) fn due(self) -> Due {
        match self {
            Shape::Steps { every, .. } => Due::new(every),
            Shape::Session { gap, .. } => Due::new(gap / 16),
        }
    }

    /// Whether a window that this row would begin, or the first of those that it belongs to, was closed.
    pub(super) fn is_over(self, observed: Micros, closed_to: Micros) -> bool {
        match self {
            Shape::Steps { every, .. } => observed.div_euclid(every) * every + every <= closed_to,
            Shape::Session { gap, .. } => observed + gap <= closed_to,
        }
    }
}

/// A key with its open windows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Key {
    pub(super) hash: u64,
    pub(super) by: Box<[Box<str>]>,
    /// The row that was its last, by [`Saved::turn`].
    pub(super) active: u64,
    /// When it is to be looked at: its entry in [`Closing::due`].
    pub(super) due: Micros,
    /// When it is looked at whether it still rests: another entry; 0 where there is none.
    #[serde(skip)]
    pub(super) rests_until: Micros,
    /// Windows that end before were told with another one.
    pub(super) told_until: Micros,
    /// By their begin. Of steps that overlap, the parts that they have in common.
    pub(super) windows: Vec<Window>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Window {
    /// Of steps, their begin; of sessions, the first row.
    pub(super) begin: Micros,
    /// The last row that counted: collector time, device time, number and source.
    pub(super) last: Micros,
    pub(super) time: Micros,
    pub(super) row: u64,
    pub(super) source: u32,
    pub(super) aggregate: Aggregate,
}

impl Key {
    /// The open window that takes a row, made if it must be; `None` when it was closed.
    pub(super) fn window(
        &mut self,
        shape: Shape,
        observed: Micros,
        closed_to: Micros,
    ) -> Option<(usize, bool)> {
        match shape {
            Shape::Steps { every, .. } => self.step(every, observed, closed_to),
            Shape::Session { gap, longest } => self.session(gap, longest, observed, closed_to),
        }
    }

    fn step(&mut self, every: Micros, observed: Micros, closed_to: Micros) -> Option<(usize, bool)> {
        if let Some(last) = self.windows.last()
            && (0..every).contains(&(observed - last.begin))
            && last.begin + every > closed_to
        {
            return Some((self.windows.len() - 1, false));
        }
        if (Shape::Steps { every, within: every }).is_over(observed, closed_to) {
            return None;
        }
        let begin = observed.div_euclid(every) * every;
        match self.windows.binary_search_by_key(&begin, |w| w.begin) {
            Ok(at) => Some((at, false)),
            Err(at) => {
                self.open(at, begin);
                Some((at, true))
            }
        }
    }

    fn session(
        &mut self,
        gap: Micros,
        longest: Micros,
        observed: Micros,
        closed_to: Micros,
    ) -> Option<(usize, bool)> {
        let joins = |w: &Window| {
            observed > w.begin - gap
                && observed < w.last + gap
                && w.last.max(observed) - w.begin.min(observed) <= longest
        };
        // The first that begins after the row; only this one and the one before it can be near.
        let after = self.windows.partition_point(|w| w.begin <= observed);
        let later = self.windows.get(after).is_some_and(joins);
        match after.checked_sub(1).filter(|&at| joins(&self.windows[at])) {
            Some(at) => {
                if later && self.windows[after].last - self.windows[at].begin <= longest {
                    let theirs = self.windows.remove(after);
                    self.windows[at].merge(theirs);
                }
                Some((at, false))
            }
            None if later => {
                self.windows[after].begin = observed;
                Some((after, false))
            }
            None if (Shape::Session { gap, longest }).is_over(observed, closed_to) => None,
            None => {
                self.open(after, observed);
                Some((after, true))
            }
        }
    }

    fn open(&mut self, at: usize, begin: Micros) {
        // Most keys have one; a vector would begin with four.
        if self.windows.capacity() == 0 {
            self.windows.reserve_exact(1);
        }
        self.windows.insert(at, Window::at(begin));
    }

    /// When the first of its windows is over; `closed_to` is where the last one ended.
    pub(super) fn next_due(&self, shape: Shape, closed_to: Micros) -> Option<Micros> {
        match shape {
            Shape::Steps { every, .. } => {
                self.windows.first().map(|w| (w.begin + every).max(closed_to.saturating_add(every)))
            }
            Shape::Session { gap, .. } => self.windows.iter().map(|w| w.last + gap).min(),
        }
    }
}

impl Window {
    fn at(begin: Micros) -> Self {
        let aggregate = Aggregate::default();
        Window { begin, last: Micros::MIN, time: 0, row: 0, source: 0, aggregate }
    }

    /// Takes in a window that is later.
    pub(super) fn merge(&mut self, theirs: Window) {
        let mut aggregate = std::mem::take(&mut self.aggregate);
        aggregate.merge(&theirs.aggregate);
        *self = Window { begin: self.begin, aggregate, ..theirs };
    }
}
