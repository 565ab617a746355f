//! What each detection costs and finds, measured for a batch and never for a row.
//!
//! The fold stays pure: it says when a detection's work on a batch begins and ends, and whoever
//! drives it may look at a clock. Replays and tests do not.

/// What a detection did with one batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    /// Rows that its condition was evaluated on. Batches in which no row can match are passed over
    /// without a look, and count nowhere.
    pub offered: usize,
    /// Rows that its operator judged. For samples the operator itself chooses: all.
    pub selected: usize,
    /// Rows that it objects to.
    pub hits: usize,
}

/// Somebody who watches a shard at work; see [`crate::Shard::step_metered`].
pub trait Meter {
    /// A detection's work on a batch begins.
    fn begin(&mut self);

    /// It ended. A detection whose condition failed begins and does not end.
    fn end(&mut self, detection: usize, work: Work);
}

/// Measures nothing.
pub struct NoMeter;

impl Meter for NoMeter {
    fn begin(&mut self) {}

    fn end(&mut self, _: usize, _: Work) {}
}

/// What a detection did since its meter began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Nanoseconds spent.
    pub nanos: u64,
    /// Batches.
    pub batches: u64,
    /// Rows; see [`Work::offered`].
    pub offered: u64,
    /// Rows; see [`Work::selected`].
    pub selected: u64,
    /// Rows; see [`Work::hits`].
    pub hits: u64,
    /// Alerts and revisions written.
    pub alerts: u64,
}

impl std::ops::AddAssign for Totals {
    fn add_assign(&mut self, other: Self) {
        self.nanos += other.nanos;
        self.batches += other.batches;
        self.offered += other.offered;
        self.selected += other.selected;
        self.hits += other.hits;
        self.alerts += other.alerts;
    }
}

/// Adds up what each detection does, by a clock that answers nanoseconds.
pub struct ClockMeter<C> {
    clock: C,
    began: u64,
    totals: Vec<Totals>,
}

impl<C: Fn() -> u64> ClockMeter<C> {
    /// For so many detections.
    pub fn new(detections: usize, clock: C) -> Self {
        ClockMeter { clock, began: 0, totals: vec![Totals::default(); detections] }
    }

    /// Counts an alert of a detection.
    pub fn alerted(&mut self, detection: usize) {
        if let Some(totals) = self.totals.get_mut(detection) {
            totals.alerts += 1;
        }
    }

    /// Adds what was counted to `all` and begins again.
    pub fn hand_over(&mut self, all: &mut Vec<Totals>) {
        if all.len() < self.totals.len() {
            all.resize(self.totals.len(), Totals::default());
        }
        for (all, own) in all.iter_mut().zip(&mut self.totals) {
            *all += std::mem::take(own);
        }
    }
}

impl<C: Fn() -> u64> Meter for ClockMeter<C> {
    fn begin(&mut self) {
        self.began = (self.clock)();
    }

    fn end(&mut self, detection: usize, work: Work) {
        let spent = (self.clock)().saturating_sub(self.began);
        if let Some(totals) = self.totals.get_mut(detection) {
            totals.nanos += spent;
            totals.batches += 1;
            totals.offered += work.offered as u64;
            totals.selected += work.selected as u64;
            totals.hits += work.hits as u64;
        }
    }
}

/// Nanoseconds since some moment of this process, for a [`ClockMeter`].
pub fn monotonic() -> impl Fn() -> u64 {
    #[expect(clippy::disallowed_methods, reason = "measures cost, which decides nothing")]
    let origin = std::time::Instant::now();
    move || origin.elapsed().as_nanos() as u64
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    #[test]
    fn work_is_added_up_and_handed_over_once() {
        let time = Cell::new(0);
        let mut meter = ClockMeter::new(2, || time.get());
        for spent in [10, 20] {
            meter.begin();
            time.set(time.get() + spent);
            meter.end(1, Work { offered: 5, selected: 2, hits: 1 });
        }
        meter.alerted(1);
        let mut all = Vec::new();
        meter.hand_over(&mut all);
        meter.hand_over(&mut all);
        let seen = Totals { nanos: 30, batches: 2, offered: 10, selected: 4, hits: 2, alerts: 1 };
        assert_eq!(all, [Totals::default(), seen]);
    }
}
