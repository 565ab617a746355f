//! What is kept of many values in little memory: percentiles, how many different ones, the
//! heaviest ones. Each is merged with its like and answers the same on every machine: only
//! integers and the bits of numbers are computed with, no logarithms.

use serde::{Deserialize, Serialize};

/// Percentiles of numbers, as DDSketch (Masson, Rim, Lee, VLDB 2019) keeps them: counts in buckets
/// whose width is in proportion to the value, so that the error is. A bucket is the exponent and
/// the first six bits of the fraction of the number itself.
///
/// An answer is within 0.8 % of a value of that rank while the values span a factor of 256, within
/// 1.6 % up to 65,536, within 3.2 % up to 4·10⁹: where there would be more than [`Percentiles::BUCKETS_MAX`]
/// buckets, each two neighbours become one. It does not depend on the order of the values, nor on
/// when the last few of them, which wait to be sorted together, were put into their buckets.
/// Memory: 16 bytes a bucket, 4 a value that waits, at most 8.5 KiB.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(from = "Settled", into = "Settled")]
pub struct Percentiles {
    settled: Settled,
    /// The buckets of the last values, as they were before any were joined.
    waiting: Vec<i32>,
}

/// Values in their buckets.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Settled {
    /// How often neighbours were joined.
    joined: u8,
    /// By number, ascending; numbers below zero have negative numbers of buckets.
    buckets: Vec<(i32, u64)>,
}

/// Bits of a number's fraction that its bucket leaves out: 52 less six.
const FRACTION_BITS_LEFT: u32 = 46;

impl Percentiles {
    /// The most buckets.
    pub const BUCKETS_MAX: usize = 512;
    /// The most values that wait.
    const WAITING_MAX: usize = 128;
    /// The most bytes on the heap.
    pub const BYTES_MAX: usize = 16 * Self::BUCKETS_MAX + 4 * Self::WAITING_MAX;

    /// Counts a finite number.
    #[inline]
    pub fn take(&mut self, value: f64) {
        self.waiting.push(bucket_of(value));
        if self.waiting.len() >= Self::WAITING_MAX {
            self.settle();
        }
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Percentiles) {
        self.settled.merge(&other.settled);
        for &bucket in &other.waiting {
            self.waiting.push(bucket);
            if self.waiting.len() >= Self::WAITING_MAX {
                self.settle();
            }
        }
    }

    /// Puts the values that wait into their buckets.
    pub fn settle(&mut self) {
        self.settled.take(&mut self.waiting);
        self.waiting.clear();
    }

    /// The value that `percent` of the values do not exceed (nearest rank); `None` without values.
    pub fn at(&self, percent: u8) -> Option<f64> {
        match self.waiting.is_empty() {
            true => self.settled.at(percent),
            false => Settled::from(self.clone()).at(percent),
        }
    }
}

impl From<Percentiles> for Settled {
    fn from(mut all: Percentiles) -> Self {
        all.settle();
        all.settled
    }
}

impl From<Settled> for Percentiles {
    fn from(settled: Settled) -> Self {
        Percentiles { settled, waiting: Vec::new() }
    }
}

impl PartialEq for Percentiles {
    fn eq(&self, other: &Self) -> bool {
        Settled::from(self.clone()) == Settled::from(other.clone())
    }
}

impl Settled {
    /// Counts values by their buckets, which are left in order.
    fn take(&mut self, values: &mut [i32]) {
        values.sort_unstable();
        let joined = self.joined;
        let (mut at, mut fresh) = (0, Vec::new());
        for same in values.chunk_by(|a, b| a >> joined == b >> joined) {
            let (bucket, count) = (same[0] >> joined, same.len() as u64);
            while self.buckets.get(at).is_some_and(|b| b.0 < bucket) {
                at += 1;
            }
            match self.buckets.get_mut(at) {
                Some(known) if known.0 == bucket => known.1 += count,
                _ => fresh.push((bucket, count)),
            }
        }
        self.put(&fresh);
        self.shrink();
    }

    /// Puts buckets that there were none of between the others, from the last on.
    fn put(&mut self, mut fresh: &[(i32, u64)]) {
        let mut old = self.buckets.len();
        self.buckets.resize(old + fresh.len(), (0, 0));
        while let Some((&last, rest)) = fresh.split_last() {
            let to = old + rest.len();
            if old > 0 && self.buckets[old - 1].0 > last.0 {
                self.buckets[to] = self.buckets[old - 1];
                old -= 1;
            } else {
                self.buckets[to] = last;
                fresh = rest;
            }
        }
    }

    fn merge(&mut self, other: &Settled) {
        while self.joined < other.joined {
            self.join_neighbours();
        }
        let coarser = self.joined - other.joined;
        for &(bucket, count) in &other.buckets {
            let bucket = bucket >> coarser;
            match self.buckets.binary_search_by_key(&bucket, |b| b.0) {
                Ok(at) => self.buckets[at].1 += count,
                Err(at) => self.buckets.insert(at, (bucket, count)),
            }
        }
        self.shrink();
    }

    fn at(&self, percent: u8) -> Option<f64> {
        let total: u64 = self.buckets.iter().map(|b| b.1).sum();
        let rank = (u128::from(total) * u128::from(percent)).div_ceil(100).max(1);
        let mut below = 0_u128;
        for &(bucket, count) in &self.buckets {
            below += u128::from(count);
            if below >= rank {
                return Some(middle_of(bucket, self.joined));
            }
        }
        None
    }

    fn shrink(&mut self) {
        while self.buckets.len() > Percentiles::BUCKETS_MAX {
            self.join_neighbours();
        }
    }

    fn join_neighbours(&mut self) {
        self.joined += 1;
        self.buckets.iter_mut().for_each(|b| b.0 >>= 1);
        self.buckets.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
    }
}

fn bucket_of(value: f64) -> i32 {
    let magnitude = (value.abs().to_bits() >> FRACTION_BITS_LEFT) as i32;
    if value < 0.0 { !magnitude } else { magnitude }
}

fn middle_of(bucket: i32, joined: u8) -> f64 {
    let magnitude = if bucket < 0 { !bucket } else { bucket } as u64;
    if magnitude == 0 {
        return 0.0;
    }
    let shift = FRACTION_BITS_LEFT + u32::from(joined);
    let low = f64::from_bits(magnitude << shift);
    let high = f64::from_bits((magnitude + 1) << shift);
    let middle = if high > low && high.is_finite() { low / 2.0 + high / 2.0 } else { low };
    if bucket < 0 { -middle } else { middle }
}

/// How many different values there are: the smallest 1,024 of their hashes (Bar-Yossef and others,
/// RANDOM 2002). Exact below 1,024 different ones; beyond, one standard error is 3.2 %. It does not
/// depend on the order of the values. Memory: 8 bytes a value, at most 8 KiB.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Distinct {
    /// Ascending.
    smallest: Vec<u64>,
}

impl Distinct {
    /// The most hashes kept.
    pub const HASHES_MAX: usize = 1024;

    /// Counts a value by its hash.
    pub fn take(&mut self, hash: u64) {
        let full = self.smallest.len() == Self::HASHES_MAX;
        if full && self.smallest.last().is_some_and(|&greatest| hash > greatest) {
            return;
        }
        if let Err(at) = self.smallest.binary_search(&hash) {
            if full {
                self.smallest.pop();
            }
            self.smallest.insert(at, hash);
        }
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Distinct) {
        other.smallest.iter().for_each(|&hash| self.take(hash));
    }

    /// How many there are.
    pub fn count(&self) -> f64 {
        match self.smallest.last() {
            Some(&greatest) if self.smallest.len() == Self::HASHES_MAX => {
                let part = greatest as f64 / u64::MAX as f64;
                ((Self::HASHES_MAX - 1) as f64 / part).round()
            }
            _ => self.smallest.len() as f64,
        }
    }
}

/// The values that come most often: Space-Saving (Metwally, Agrawal, El Abbadi, ICDT 2005) with
/// [`Heaviest::VALUES_MAX`] counters. Every value that makes up more than a 64th of all is among
/// them, and a count is too high by at most a 64th of all. Memory: 40 bytes a counter and the text,
/// which is cut at [`Heaviest::TEXT_BYTES_MAX`]; at most 19 KiB.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heaviest {
    counters: Vec<Counter>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Counter {
    hash: u64,
    text: Box<str>,
    count: u64,
    /// By how much the count may be too high.
    over: u64,
}

impl Heaviest {
    /// The most values kept.
    pub const VALUES_MAX: usize = 64;
    /// The most bytes of a value's text.
    pub const TEXT_BYTES_MAX: usize = 256;

    /// Counts a value; its text is asked for when it gets a counter.
    pub fn take<T: AsRef<str>>(&mut self, hash: u64, text: impl FnOnce() -> T) {
        if let Some(counter) = self.counters.iter_mut().find(|c| c.hash == hash) {
            counter.count += 1;
            return;
        }
        let fresh = |over: u64, text: T| {
            let text = text.as_ref();
            let end = text.floor_char_boundary(Self::TEXT_BYTES_MAX);
            Counter { hash, text: text[..end].into(), count: over + 1, over }
        };
        if self.counters.len() < Self::VALUES_MAX {
            self.counters.push(fresh(0, text()));
        } else if let Some(lightest) = self.counters.iter_mut().min_by_key(|c| (c.count, c.hash)) {
            *lightest = fresh(lightest.count, text());
        }
    }

    /// Adds what another one counted (Agarwal and others, PODS 2012).
    pub fn merge(&mut self, other: &Heaviest) {
        // What one of them has no counter for came at most as often there as its lightest.
        let (mine, theirs) = (self.missed(), other.missed());
        let before = self.counters.len();
        for counter in &mut self.counters {
            let (count, over) = match other.counters.iter().find(|c| c.hash == counter.hash) {
                Some(same) => (same.count, same.over),
                None => (theirs, theirs),
            };
            counter.count += count;
            counter.over += over;
        }
        for counter in &other.counters {
            if !self.counters[..before].iter().any(|c| c.hash == counter.hash) {
                let mut counter = counter.clone();
                counter.count += mine;
                counter.over += mine;
                self.counters.push(counter);
            }
        }
        self.counters.sort_by_key(|c| (std::cmp::Reverse(c.count), c.hash));
        self.counters.truncate(Self::VALUES_MAX);
    }

    fn missed(&self) -> u64 {
        match self.counters.len() {
            Self::VALUES_MAX => self.counters.iter().map(|c| c.count).min().unwrap_or(0),
            _ => 0,
        }
    }

    /// The heaviest values first, each with how often it came at least.
    pub fn values(&self) -> Vec<(&str, u64)> {
        let mut order: Vec<&Counter> = self.counters.iter().collect();
        order.sort_by_key(|c| (std::cmp::Reverse(c.count - c.over), c.hash));
        order.into_iter().map(|c| (&*c.text, c.count - c.over)).collect()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn percentiles(values: &[f64]) -> Percentiles {
        let mut all = Percentiles::default();
        values.iter().for_each(|&v| all.take(v));
        all
    }

    fn buckets(all: &Percentiles) -> usize {
        Settled::from(all.clone()).buckets.len()
    }

    /// The value of that rank.
    fn exact(values: &[f64], percent: u8) -> f64 {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted[(sorted.len() * percent as usize).div_ceil(100).max(1) - 1]
    }

    #[test]
    fn percentiles_are_within_their_error() {
        let within = |values: &[f64], error: f64| {
            let all = percentiles(values);
            for percent in [1, 25, 50, 75, 90, 95, 99] {
                let (wanted, found) = (exact(values, percent), all.at(percent).unwrap());
                assert!((found - wanted).abs() <= error * wanted.abs(), "p{percent}: {found}, not {wanted}");
            }
            assert!(buckets(&all) <= Percentiles::BUCKETS_MAX);
        };
        within(&(1..=256).map(f64::from).collect::<Vec<_>>(), 0.008);
        within(&(1..=60_000).map(f64::from).collect::<Vec<_>>(), 0.016);
        within(&(-30_000..30_000).map(f64::from).collect::<Vec<_>>(), 0.032);
        within(&(0..20_000).map(|i| 1.001_f64.powi(i)).collect::<Vec<_>>(), 0.032);
        assert_eq!(Percentiles::default().at(50), None);
        assert_eq!(percentiles(&[0.0, -0.0]).at(50), Some(0.0));
        let wild: Vec<f64> = (-1000..1000).map(|e| f64::from(e).signum() * 2_f64.powi(e)).collect();
        assert!(buckets(&percentiles(&wild)) <= Percentiles::BUCKETS_MAX);
        assert!(percentiles(&[f64::MAX, f64::MIN, f64::MIN_POSITIVE]).at(99).unwrap().is_finite());
    }

    #[test]
    fn different_values_are_counted_exactly_and_then_nearly() {
        let count = |n: u64| {
            let mut all = Distinct::default();
            for i in (0..n).chain(0..n) {
                all.take(crate::columns::hash_texts([i.to_string().as_str()].into_iter()));
            }
            all.count()
        };
        assert_eq!(count(0), 0.0);
        assert_eq!(count(1_000), 1_000.0);
        let many = count(50_000);
        assert!((many - 50_000.0).abs() < 5_000.0, "{many}");
    }

    #[test]
    fn the_heaviest_values_are_found_among_many_light_ones() {
        let mut all = Heaviest::default();
        for i in 0..10_000_u64 {
            all.take(i + 10, || format!("light {i}"));
            if i % 4 == 0 {
                all.take(1, || "heavy");
            }
            if i % 10 == 0 {
                all.take(2, || "second");
            }
        }
        let values = all.values();
        assert_eq!((values[0].0, values[1].0), ("heavy", "second"));
        assert!(values[0].1 <= 2_500 && values[0].1 > 2_500 - 13_500 / 64, "{:?}", values[0]);
        assert_eq!(values.len(), Heaviest::VALUES_MAX);
    }

    proptest! {
        #[test]
        fn merging_parts_is_counting_all(values in prop::collection::vec(-1e9..1e9_f64, 0..2000), cut in 0..2000_usize) {
            let (first, second) = values.split_at(cut.min(values.len()));
            let mut merged = percentiles(first);
            merged.merge(&percentiles(second));
            prop_assert_eq!(&merged, &percentiles(&values));

            // When values leave those that wait is nobody's business, a saved state's neither.
            let mut restored = Percentiles::default();
            for &value in &values {
                restored.take(value);
                if value > 5e8 {
                    let bytes = postcard::to_stdvec(&restored).unwrap();
                    restored = postcard::from_bytes(&bytes).unwrap();
                }
            }
            prop_assert_eq!(postcard::to_stdvec(&restored), postcard::to_stdvec(&merged));

            let distinct = |values: &[f64]| {
                let mut all = Distinct::default();
                values.iter().for_each(|v| all.take(v.to_bits().wrapping_mul(0x9e37_79b9_7f4a_7c15)));
                all
            };
            let mut merged = distinct(first);
            merged.merge(&distinct(second));
            prop_assert_eq!(merged, distinct(&values));
        }

        #[test]
        fn merged_heaviest_values_keep_their_bounds(values in prop::collection::vec(0..300_u64, 0..3000), cut in 0..3000_usize) {
            let heaviest = |values: &[u64]| {
                let mut all = Heaviest::default();
                values.iter().for_each(|&v| all.take(v, || v.to_string()));
                all
            };
            let (first, second) = values.split_at(cut.min(values.len()));
            let mut merged = heaviest(first);
            merged.merge(&heaviest(second));
            for counter in &merged.counters {
                let exact = values.iter().filter(|&&v| v == counter.hash).count() as u64;
                prop_assert!(counter.count >= exact && counter.count - counter.over <= exact);
            }
        }
    }
}
