//! A budget of alarms for a whole fleet of signals: "two a day" becomes a factor over all calibrated limits.
//!
//! Two a day of 100,000 signals is one in 137 years of each: no signal shows by itself where its limit must be. Scores
//! are in limits, so that those of all signals are alike, and their tails are pooled. Each cell counts how far its
//! incidents came ([`Tail`]); somebody adds what the cells send and answers with the factor ([`Budget::next`]).
//!
//! Each finding has a tail and a factor of its own, as a fleet whose levels drift need not be deaf to signals that are
//! stuck. They share the budget evenly; what one of them does not use goes to the others.
//!
//! The tail is that of incidents' peaks, not of samples: a day has some incidents however often a signal is sampled,
//! and they are nearly independent of each other, as peaks over a threshold are to be (Pickands 1975, Davison and
//! Smith 1990). Where the memory holds enough incidents beyond a limit they are counted; beyond that an exponential
//! tail is laid through the farthest hundred.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::guard::level;
use crate::logarithm::log2;

/// Version of what a saved [`Tail`] means.
pub const VERSION: u16 = 1;
/// Microseconds of a day.
pub const DAY_US: i64 = 86_400_000_000;

/// Peaks are counted in 32 steps of each doubling, from a quarter of the limit to 256 limits.
const BINS: usize = 320;
const LEAST: f32 = 0.25;
/// Where there are as many peaks beyond a limit, they are counted; a tail is laid through so many.
const ENOUGH: f64 = 100.0;
/// Findings that are told apart at most.
pub const GROUPS: usize = 8;
/// Days of the calendar beyond which a tail is not taken for one.
const DAYS_MAX: i64 = 1 << 32;
/// Days of which the realised alarms are kept.
pub const SHOWN_DAYS: usize = 30;

/// How far incidents came, how many keys were watched for how long, and how many alarms there were. It is a sum: those of cells
/// are added. Old days fade.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tail {
    version: u16,
    memory_days: f64,
    /// The first day.
    first: i64,
    /// The day that weighs 1; earlier ones fade.
    day: i64,
    /// Of each finding, by how far.
    counts: Vec<f64>,
    /// Key-days watched, fading alike, and up to when.
    watched: f64,
    until: i64,
    /// Keys watched now.
    keys: u64,
    /// Alarms of the last days, [`Self::day`]'s first.
    alarms: Vec<u32>,
}

impl Tail {
    /// Nothing yet; of what was `memory_days` ago a third is left. A young tail forgets faster, in half of its age: what
    /// a fleet shows on its first days, before keys that fire again and again are known, soon counts little.
    pub fn new(memory_days: f64) -> Tail {
        Tail {
            version: VERSION,
            memory_days: memory_days.clamp(1.0, 1000.0),
            first: i64::MIN,
            day: i64::MIN,
            counts: vec![0.0; GROUPS * BINS],
            watched: 0.0,
            until: i64::MIN,
            keys: 0,
            alarms: Vec::new(),
        }
    }

    /// Whether it can be reckoned with: for one that comes from elsewhere.
    pub fn is_sound(&self) -> bool {
        let mut counts = self.counts.iter().chain([&self.watched]);
        self.version == VERSION
            && self.counts.len() == GROUPS * BINS
            && self.alarms.len() <= SHOWN_DAYS
            && (1.0..=1000.0).contains(&self.memory_days)
            && self.first <= self.day
            && (self.day == i64::MIN || [self.first, self.day].iter().all(|day| day.abs() < DAYS_MAX))
            && counts.all(|count| count.is_finite() && *count >= 0.0)
    }

    /// An incident came from one step of scores to a farther one at that time (see [`step`]).
    pub(crate) fn come_farther(&mut self, finding: u8, from: usize, to: usize, time: i64) {
        let weight = self.weight_of(time);
        let group = bins(finding).start;
        if let Some(counts) = self.counts.get_mut(group + from..group + to) {
            counts.iter_mut().for_each(|count| *count += weight);
        }
    }

    /// An alarm was told at that time.
    pub(crate) fn told(&mut self, time: i64) {
        let day = time.div_euclid(DAY_US);
        self.come_to(day);
        let ago = (self.day - day) as usize;
        if ago < SHOWN_DAYS {
            self.alarms.resize(self.alarms.len().max(ago + 1), 0);
            self.alarms[ago] += 1;
        }
    }

    /// So many keys are judged, and were since the last time.
    pub(crate) fn watched(&mut self, keys: u64, now: i64) {
        // The days of a fleet begin when the first key is judged.
        if self.until != i64::MIN && now > self.until && keys > 0 {
            let days = (now - self.until) as f64 / DAY_US as f64;
            self.watched += keys as f64 * days * self.weight_of(now);
        }
        self.until = self.until.max(now);
        self.keys = keys;
    }

    /// What something of that time weighs.
    fn weight_of(&mut self, time: i64) -> f64 {
        let day = time.div_euclid(DAY_US);
        self.come_to(day);
        self.left_of(day, self.day)
    }

    /// What is left on one day of what weighed 1 on an earlier one.
    fn left_of(&self, earlier: i64, day: i64) -> f64 {
        let share = |day: i64| {
            let age = day.saturating_sub(self.first) as f64;
            1.0 - 1.0 / (1.0 + 0.5 * age).min(self.memory_days)
        };
        (earlier.max(day - 4096)..day).fold(1.0, |left, day| left * share(day + 1))
    }

    fn come_to(&mut self, day: i64) {
        if self.day == i64::MIN {
            (self.day, self.first) = (day, day);
        }
        let days = day.saturating_sub(self.day);
        if days > 0 {
            let weight = self.left_of(self.day, day);
            self.counts.iter_mut().for_each(|count| *count *= weight);
            self.watched *= weight;
            let fresh = (days as usize).min(SHOWN_DAYS);
            self.alarms.splice(0..0, std::iter::repeat_n(0, fresh));
            self.alarms.truncate(SHOWN_DAYS);
            self.day = day;
        }
    }

    /// Adds what another cell counted.
    pub fn add(&mut self, other: &Tail) {
        if other.day == i64::MIN {
            self.keys += other.keys;
            return;
        }
        self.come_to(other.day);
        self.first = self.first.min(other.first);
        let (ago, weight) = (self.day - other.day, other.left_of(other.day, self.day));
        self.counts.iter_mut().zip(&other.counts).for_each(|(count, more)| *count += weight * more);
        self.watched += weight * other.watched;
        self.until = self.until.max(other.until);
        self.keys += other.keys;
        for (at, alarms) in other.alarms.iter().enumerate() {
            let at = at + ago as usize;
            if at < SHOWN_DAYS {
                self.alarms.resize(self.alarms.len().max(at + 1), 0);
                self.alarms[at] += alarms;
            }
        }
    }

    /// Days that the memory holds of the keys watched now.
    pub fn days(&self) -> f64 {
        if self.keys == 0 { 0.0 } else { self.watched / self.keys as f64 }
    }

    /// Up to when keys were watched, in microseconds.
    pub fn until(&self) -> i64 {
        self.until
    }

    /// Keys watched now.
    pub fn keys(&self) -> u64 {
        self.keys
    }

    /// Alarms of the last days, the latest (which is not over) first.
    pub fn alarms(&self) -> &[u32] {
        &self.alarms
    }

    /// How many incidents come beyond a score in a day.
    pub fn rate(&self, finding: u8, score: f64) -> f64 {
        let count = self.of(finding).get(step(score as f32)).copied().unwrap_or_default();
        if count > 0.0 { count / self.days() } else { 0.0 }
    }

    fn of(&self, finding: u8) -> &[f64] {
        self.counts.get(bins(finding)).unwrap_or_default()
    }

    /// The score beyond which incidents of a finding come at this rate, were there no other; none while nothing is
    /// known, 0 where they come more rarely at all.
    pub fn limit(&self, finding: u8, per_day: f64) -> Option<f64> {
        let counts = self.of(finding);
        let granted = per_day * self.days();
        if granted.is_nan() || granted <= 0.0 {
            return None;
        }
        let all = counts.first().copied().unwrap_or_default();
        if all <= granted {
            return Some(0.0);
        }
        let wanted = granted.max(ENOUGH.min(all / 2.0));
        let bin = counts.partition_point(|count| *count > wanted).clamp(1, BINS - 1);
        let (more, fewer) = (counts[bin - 1], counts[bin]);
        let part = if more > fewer { ((more - wanted) / (more - fewer)).clamp(0.0, 1.0) } else { 0.0 };
        let threshold = edge(bin - 1) + part * (edge(bin) - edge(bin - 1));
        if granted >= wanted {
            return Some(threshold);
        }
        // The area of the tail over that of its foot is the mean excess, the scale of an exponential tail.
        let area: f64 = (bin..BINS).map(|bin| counts[bin] * (edge(bin + 1) - edge(bin))).sum();
        Some(threshold + area / wanted * std::f64::consts::LN_2 * log2(wanted / granted))
    }
}

fn bins(finding: u8) -> Range<usize> {
    let group = usize::from(finding).min(GROUPS - 1);
    group * BINS..(group + 1) * BINS
}

/// The step of a score: so many edges of bins it has come beyond.
pub(crate) fn step(score: f32) -> usize {
    (level(score) as usize).saturating_sub(level(LEAST) as usize).min(BINS)
}

/// Where a step begins.
fn edge(step: usize) -> f64 {
    f64::from(f32::from_bits((level(LEAST) + step as u32) << 18))
}

/// What calibrated limits are multiplied by, for each finding: what goes back to the cells.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Factors([f32; GROUPS]);

impl Factors {
    /// The same for all.
    pub fn all(factor: f64) -> Factors {
        Factors([factor as f32; GROUPS])
    }

    /// That of a finding.
    pub fn of(&self, finding: u8) -> f32 {
        self.0[usize::from(finding).min(GROUPS - 1)]
    }
}

/// What the user may set of a budget.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Budget {
    /// Alarms a day of the whole fleet.
    pub alarms_per_day: f64,
    /// A factor is never below: 0.5 lets a calm fleet alert at half of the calibrated limits when the budget has it.
    pub floor: f64,
    /// The most that it is.
    pub ceiling: f64,
    /// By how much a factor may rise in a day once the fleet is known, as a share.
    pub rise_per_day: f64,
    /// By how much it may fall.
    pub fall_per_day: f64,
}

impl Default for Budget {
    fn default() -> Self {
        Budget { alarms_per_day: 2.0, floor: 0.5, ceiling: 32.0, rise_per_day: 0.25, fall_per_day: 0.2 }
    }
}

/// Days of the fleet that must have been seen before factors move slowly.
const SETTLING_DAYS: i64 = 5;
/// Days within which what was not spent is made up for, or what was overspent is saved.
const SETTLED_WITHIN: f64 = 5.0;
/// A day counts as so many days' budget at most: a disturbance of the whole plant is not saved up for.
const DAY_MAX: f64 = 4.0;
/// What is aimed at is the budget within this share, whatever was spent.
const AIMED: std::ops::RangeInclusive<f64> = 1.0 / 3.0..=3.0;

impl Budget {
    /// Whether it can be held.
    pub fn is_sound(&self) -> bool {
        let all = [self.alarms_per_day, self.floor, self.ceiling, self.rise_per_day, self.fall_per_day];
        all.iter().all(|value| value.is_finite())
            && self.alarms_per_day > 0.0
            && (0.3..=self.ceiling).contains(&self.floor)
            && self.rise_per_day > 0.0
            && (0.0..1.0).contains(&self.fall_per_day)
    }

    /// Whether factors are within what it allows: for those that come from elsewhere.
    pub fn allows(&self, factors: &Factors) -> bool {
        let within = self.floor as f32..=self.ceiling as f32;
        factors.0.iter().all(|factor| within.contains(factor))
    }

    /// How long tails remember: some three hundred alarms, at least three days and at most fourteen.
    pub fn memory_days(&self) -> f64 {
        (300.0 / self.alarms_per_day.max(1e-9)).clamp(3.0, 14.0)
    }

    /// The factors to begin with, before anything is known of the fleet.
    pub fn begin(&self) -> Factors {
        Factors::all(4.0_f64.clamp(self.floor, self.ceiling.max(self.floor)))
    }

    /// The factors from now on, from all cells' peaks, those that were in force, and for how many days they were.
    pub fn next(&self, tail: &Tail, factors: &Factors, days: f64) -> Factors {
        let Some(wanted) = self.shared(tail) else { return *factors };
        let settling = tail.day - tail.first < SETTLING_DAYS;
        let days = days.clamp(0.0, 1.0);
        let (fall, rise) = (1.0 - self.fall_per_day * days, 1.0 + self.rise_per_day * days);
        let next = |finding: usize| {
            let (was, wanted) = (f64::from(factors.0[finding]), wanted[finding]);
            let slow = if settling { wanted } else { wanted.clamp(was * fall.min(1.0), was * rise.max(1.0)) };
            slow.clamp(self.floor, self.ceiling.max(self.floor)) as f32
        };
        Factors(std::array::from_fn(next))
    }

    /// What is aimed at: the budget, and a part of what was not spent of it lately or was overspent.
    fn aim(&self, tail: &Tail) -> f64 {
        let known = (tail.day - tail.first - SETTLING_DAYS).clamp(0, SHOWN_DAYS as i64 - 1) as usize;
        // The latest day is not over.
        let most = DAY_MAX * (1.0 + self.alarms_per_day);
        let over = tail.alarms.iter().skip(1).take(known);
        let spent: f64 = over.map(|alarms| f64::from(*alarms).min(most)).sum();
        let left = known as f64 * self.alarms_per_day - spent;
        let aim = self.alarms_per_day + left / SETTLED_WITHIN;
        aim.clamp(AIMED.start() * self.alarms_per_day, AIMED.end() * self.alarms_per_day)
    }

    /// A factor for each finding: all have the same share, and what some do not use even at the floor is shared by
    /// the others.
    fn shared(&self, tail: &Tail) -> Option<[f64; GROUPS]> {
        let mut left = self.aim(tail);
        let mut factors = [self.floor; GROUPS];
        let mut open: Vec<u8> = (0..GROUPS as u8).collect();
        while !open.is_empty() {
            let share = left / open.len() as f64;
            let calm = |finding: &u8| tail.rate(*finding, self.floor) <= share;
            let used: f64 = open.iter().filter(|f| calm(f)).map(|f| tail.rate(*f, self.floor)).sum();
            let before = open.len();
            open.retain(|finding| !calm(finding));
            if open.len() == before {
                for finding in open {
                    factors[usize::from(finding)] = tail.limit(finding, share)?;
                }
                break;
            }
            left -= used;
        }
        (tail.days() > 0.0).then_some(factors)
    }
}

/// The numbers of events within which 95 % of days (or of other times) lie when so many are expected, by Poisson.
pub fn poisson_interval(expected: f64) -> (u64, u64) {
    // Weights relative to that of the most likely number, so that nothing underflows.
    let mode = expected.floor().max(0.0);
    let width = (12.0 * expected.sqrt() + 30.0).ceil();
    let first = (mode - width).max(0.0);
    let mut weights = vec![1.0_f64];
    let mut k = mode;
    while k > first {
        weights.push(weights[weights.len() - 1] * k / expected);
        k -= 1.0;
    }
    weights.reverse();
    let mut k = mode;
    while k < mode + width {
        k += 1.0;
        weights.push(weights[weights.len() - 1] * expected / k);
    }
    let total: f64 = weights.iter().sum();
    let at = |share: f64| {
        let mut sum = 0.0;
        let below = weights.iter().take_while(|weight| {
            sum += **weight;
            sum < share * total
        });
        first as u64 + below.count() as u64
    };
    (at(0.025), at(0.975))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A fleet of which a thousand incidents a day come as far as an exponential tail has it.
    fn exponential(days: i64) -> Tail {
        let mut tail = Tail::new(14.0);
        for day in 0..days {
            tail.watched(1000, day * DAY_US);
            for i in 0..1000 {
                let peak = 0.4 - (1.0 - (f64::from(i) + 0.5) / 1000.0).ln() * 0.5;
                tail.come_farther(1, 0, step(peak as f32), day * DAY_US);
            }
        }
        tail.watched(1000, days * DAY_US);
        tail
    }

    #[test]
    fn a_limit_is_where_the_rate_is_the_budget_and_beyond_what_was_seen_the_tail_goes_on() {
        let tail = exponential(20);
        for per_day in [100.0_f64, 10.0, 1.0] {
            let wanted = 0.4 + 0.5 * (1000.0 / per_day).ln();
            let found = tail.limit(1, per_day).unwrap();
            assert!((found - wanted).abs() < 0.1 * wanted, "{per_day}: {found} for {wanted}");
        }
        assert_eq!(tail.limit(2, 1.0), Some(0.0), "another finding has none");
    }

    #[test]
    fn tails_of_cells_add_up_and_keep_their_bits_when_they_are_saved() {
        let one = exponential(5);
        let mut both = one.clone();
        both.add(&one);
        assert_eq!(both.keys(), 2000);
        assert!((both.rate(1, 1.0) / one.rate(1, 1.0) - 2.0).abs() < 1e-9);
        let bytes = postcard::to_stdvec(&both).unwrap();
        assert_eq!(postcard::from_bytes::<Tail>(&bytes).unwrap(), both);
        assert!(both.is_sound());
    }

    #[test]
    fn factors_move_slowly_once_the_fleet_is_known() {
        let (tail, budget) = (exponential(20), Budget { alarms_per_day: 1.0, ..Budget::default() });
        let next = budget.next(&tail, &Factors::all(1.0), 1.0);
        assert_eq!(next.of(1), 1.25);
        assert!((next.of(2) - 0.8).abs() < 1e-6);
    }

    #[test]
    fn the_interval_is_that_of_poisson() {
        assert_eq!(poisson_interval(1.0), (0, 3));
        assert_eq!(poisson_interval(10.0), (4, 17));
        assert_eq!(poisson_interval(0.0), (0, 0));
    }
}
