//! What a series has been seen to do: pairs of numbers, a bounded number of them, each with when it was seen last.

use serde::{Deserialize, Serialize};

/// Pairs that are kept; the one that was seen longest ago makes room.
pub(super) const PAIRS: usize = 128;
/// A pair this near to a known one, as a share of the range, is that one: half the novelty that is reported by default, and
/// wide enough for 128 pairs to cover what series do.
const SAME: f64 = 0.02;
/// Readings have finite resolution: the range is taken for at least this share of the level.
const RESOLUTION: f64 = 1e-4;
/// Farther is not more novel: a thousand ranges.
const FAR: f64 = 1e3;

/// When things happen, counted in blocks.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    /// The number of this block.
    pub(super) now: u64,
    /// What was not seen for so many blocks is forgotten.
    pub(super) memory: u32,
}

/// The nearest known pair.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Nearest {
    /// How far it is: the mean of both differences, as a share of the range.
    pub(super) distance: f64,
    /// Where it is.
    at: usize,
}

/// The known pairs, and the range of all their numbers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Known {
    pairs: Vec<[f64; 2]>,
    /// The numbers of the blocks in which they were seen last, which wrap around.
    seen: Vec<u32>,
    low: f64,
    high: f64,
    centre: f64,
}

impl Known {
    /// The nearest to this pair of all that is known, the first of several; none where nothing is known.
    pub(super) fn nearest(&self, pair: [f64; 2], clock: Clock) -> Option<Nearest> {
        let (mut least, mut nearest) = (f64::INFINITY, None);
        for (at, (known, &seen)) in self.pairs.iter().zip(&self.seen).enumerate() {
            let difference = (known[0] - pair[0]).abs() + (known[1] - pair[1]).abs();
            if difference < least && clock.remembers(seen) {
                (least, nearest) = (difference, Some(at));
            }
        }
        let distance = (0.5 * least / self.range()).min(FAR);
        nearest.map(|at| Nearest { distance, at })
    }

    /// Makes a pair known that is this near to what was.
    pub(super) fn learn(&mut self, pair: [f64; 2], nearest: Option<Nearest>, clock: Clock) {
        let (low, high) = (pair[0].min(pair[1]), pair[0].max(pair[1]));
        if self.pairs.is_empty() {
            (self.low, self.high, self.centre) = (low, high, 0.5 * (low + high));
        }
        let fading = 1.0 / f64::from(clock.memory.max(1));
        self.high = (self.high - (self.high - self.centre) * fading).max(high);
        self.low = (self.low + (self.centre - self.low) * fading).min(low);
        let weight = fading.max(1.0 / (clock.now as f64 + 1.0));
        self.centre += (0.5 * (low + high) - self.centre) * weight;

        match nearest.filter(|nearest| nearest.distance <= SAME) {
            Some(Nearest { at, .. }) => self.seen[at] = clock.now as u32,
            None => self.insert(pair, clock.now as u32),
        }
    }

    /// In which its numbers moved; what is long ago fades.
    pub(super) fn range(&self) -> f64 {
        (self.high - self.low).max(RESOLUTION * self.centre.abs()).max(f64::MIN_POSITIVE)
    }

    /// That pair.
    pub(super) fn pair(&self, nearest: Nearest) -> [f64; 2] {
        self.pairs[nearest.at]
    }

    /// The known pair whose second number is the nearest to this.
    pub(super) fn with_second(&self, second: f64, clock: Clock) -> Option<[f64; 2]> {
        let known = self.pairs.iter().zip(&self.seen).filter(|(_, seen)| clock.remembers(**seen));
        known.map(|(pair, _)| *pair).min_by(|a, b| (a[1] - second).abs().total_cmp(&(b[1] - second).abs()))
    }

    fn insert(&mut self, pair: [f64; 2], now: u32) {
        if self.pairs.len() < PAIRS {
            self.pairs.push(pair);
            self.seen.push(now);
            return;
        }
        let ages = self.seen.iter().map(|&seen| now.wrapping_sub(seen)).enumerate();
        // The first of those of one age.
        if let Some((oldest, _)) = ages.max_by_key(|&(at, age)| (age, std::cmp::Reverse(at))) {
            (self.pairs[oldest], self.seen[oldest]) = (pair, now);
        }
    }
}

impl Clock {
    fn remembers(&self, seen: u32) -> bool {
        (self.now as u32).wrapping_sub(seen) <= self.memory
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(now: u64) -> Clock {
        Clock { now, memory: 1000 }
    }

    /// How near a pair is before it is known.
    fn take(known: &mut Known, pair: [f64; 2], clock: Clock) -> Option<f64> {
        let nearest = known.nearest(pair, clock);
        known.learn(pair, nearest, clock);
        nearest.map(|nearest| nearest.distance)
    }

    #[test]
    fn distances_are_shares_of_the_range() {
        let mut known = Known::default();
        assert_eq!(take(&mut known, [0.0, 10.0], at(0)), None);
        assert_eq!(take(&mut known, [5.0, 5.0], at(1)), Some(0.5));
        let near = take(&mut known, [0.0, 5.0], at(2)).unwrap();
        assert!((near - 0.25).abs() < 1e-2, "{near}");
        assert_eq!(take(&mut known, [0.0, 5.0], at(3)), Some(0.0));
        let near = known.nearest([1.0, 9.0], at(3)).unwrap();
        assert_eq!(known.pair(near), [0.0, 10.0]);
        assert_eq!(known.with_second(9.0, at(3)), Some([0.0, 10.0]));
    }

    #[test]
    fn what_is_as_good_as_the_same_is_no_other() {
        let mut known = Known::default();
        take(&mut known, [0.0, 100.0], at(0));
        for i in 1..100 {
            take(&mut known, [0.0, 100.0 - f64::from(i % 3)], at(u64::from(i as u32)));
        }
        assert_eq!(known.pairs.len(), 1);
    }

    #[test]
    fn the_oldest_makes_room_and_what_is_old_is_forgotten() {
        let mut known = Known::default();
        // Each a twentieth of the range beyond the one before.
        let values: Vec<f64> = (0..1000).map(|i| 1.1_f64.powi(i)).collect();
        for (now, &value) in values.iter().enumerate() {
            take(&mut known, [value; 2], at(now as u64));
        }
        let (oldest, newest) = ([values[0]; 2], [values[999]; 2]);
        assert_eq!(known.pairs.len(), PAIRS);
        assert!(known.pairs.contains(&newest) && !known.pairs.contains(&oldest));
        let later = Clock { now: 5000, memory: 100 };
        assert!(known.nearest(newest, at(1000)).is_some());
        assert_eq!(known.nearest(newest, later), None);
        assert_eq!(known.with_second(0.0, later), None);
    }

    #[test]
    fn the_number_of_a_block_may_wrap_around() {
        let mut known = Known::default();
        let end = u64::from(u32::MAX);
        take(&mut known, [1.0, 2.0], at(end));
        assert_eq!(take(&mut known, [1.0, 2.0], at(end + 5)), Some(0.0));
        assert_eq!(take(&mut known, [1.0, 2.0], at(end + 2000)), None);
    }

    #[test]
    fn numbers_beyond_reason_are_far_and_finite() {
        let mut known = Known::default();
        take(&mut known, [0.0, 0.0], at(0));
        assert_eq!(take(&mut known, [-1e290, 1e290], at(1)), Some(FAR));
        assert_eq!(take(&mut known, [-1e290, 1e290], at(2)), Some(0.0));
    }
}
