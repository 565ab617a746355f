//! D1, the guard of one signal: an exponentially weighted mean and variance with clipped updates,
//! a two-sided CUSUM against them (shift), one against the frozen, approved baseline (drift, which
//! a slow poisoner cannot walk away), range, stuck-at and gap.
//!
//! CUSUM after Page (1954) and the NIST/SEMATECH handbook, section 6.3.2.3; EWMA after section
//! 6.3.2.4. Consecutive samples of process signals are correlated, which makes a textbook CUSUM
//! alarm far too often; the standard deviation it uses is therefore inflated by
//! √((1+ρ)/(1−ρ)), the long-run factor of a first-order process with lag-one correlation ρ
//! measured while learning.
//!
//! Cost: one 64-byte state a key, read and written once a sample, without a division once it judges;
//! about 10 ns a sample with 200,000 keys in random order, when the states are brought near first (see
//! [`judge`]). Levels are computed in double precision, what is counted in standard deviations in single:
//! the same on every machine.

use serde::{Deserialize, Serialize};

/// The name in pipelines.
pub const NAME: &str = "guard";

/// What the user may set; the defaults are those of `models/guard.yaml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Samples a key must have seen before its baseline can be approved.
    pub warm_up_samples: u16,
    /// Samples left out after a change of context, while the process settles.
    pub settle_samples: u8,
    /// Weight of a new sample in the running mean and variance, once warmed up.
    pub weight: f64,
    /// A sample moves the running mean by no more than this many standard deviations.
    pub clip_sigma: f64,
    /// Shifts smaller than twice this many standard deviations are not accumulated.
    pub shift_slack_sigma: f64,
    /// The same against the approved baseline: the drift that is granted.
    pub drift_slack_sigma: f64,
    /// Accumulated excess at which shift or drift is reported.
    pub limit_sigma: f64,
    /// Distance from the baseline at which single samples count as out of range.
    pub range_sigma: f64,
    /// How many consecutive samples must be out of range.
    pub range_samples: u8,
    /// Equal consecutive values at which a signal that normally moves is stuck; at least four
    /// times the longest run seen while learning.
    pub stuck_samples: u16,
    /// A pause longer than this many usual intervals is a gap.
    pub gap_intervals: f32,
    /// While it learns, a key with its warm-up samples is out of range at this many standard deviations
    /// of its own, if that is also four times farther than anything it has shown; 0 for never. For signals
    /// of one operating state: one that idles first and then works would be out of range when it begins.
    pub provisional_sigma: f64,
    /// The most by which recorded maintenance may move the approved level, in standard deviations.
    pub maintenance_sigma: f64,
}

impl Default for Parameters {
    fn default() -> Self {
        Parameters {
            warm_up_samples: 60,
            settle_samples: 5,
            weight: 0.01,
            clip_sigma: 4.0,
            shift_slack_sigma: 0.75,
            drift_slack_sigma: 1.0,
            limit_sigma: 25.0,
            range_sigma: 12.0,
            range_samples: 3,
            stuck_samples: 60,
            gap_intervals: 20.0,
            provisional_sigma: 0.0,
            maintenance_sigma: 6.0,
        }
    }
}

/// What a sample gave away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Finding {
    /// The level moved away from the recent one.
    Shift,
    /// The level moved away from the approved baseline.
    Drift,
    /// Far outside what was seen while learning.
    Range,
    /// The value does not move any more.
    Stuck,
    /// No value for much longer than usual.
    Gap,
}

impl Finding {
    /// The word in alerts.
    pub fn name(self) -> &'static str {
        match self {
            Finding::Shift => "shift",
            Finding::Drift => "drift",
            Finding::Range => "range",
            Finding::Stuck => "stuck",
            Finding::Gap => "gap",
        }
    }
}

/// One finding: which sample of the slice, what, and the numbers that explain it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// Index into the slices given to [`judge`].
    pub index: u32,
    /// What.
    pub finding: Finding,
    /// The baseline's mean, in the signal's unit (seconds between samples for a gap).
    pub expected: f64,
    /// The baseline's standard deviation.
    pub deviation: f64,
    /// The value seen (seconds since the last sample for a gap).
    pub seen: f64,
    /// How far over the limit: 1 is at the limit.
    pub score: f64,
    /// Judged by what a key has learned so far, which nobody approved.
    pub provisional: bool,
}

/// Version of what [`Reference`] means.
pub const VERSION: u16 = 1;

/// What is approved of a key.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// The level, in the signal's unit.
    pub level: f64,
    /// The standard deviation, in the signal's unit, with the correlation of consecutive samples in it.
    pub deviation: f32,
    /// The usual time between samples, in seconds; 0 when unknown.
    pub interval_s: f32,
    /// The longest run of equal values while learning, as a power of two.
    pub run_log2: u8,
}

impl Reference {
    /// Whether it can be judged by: finite, with a deviation above 0.
    pub fn is_sound(&self) -> bool {
        self.level.is_finite()
            && self.deviation.is_finite()
            && self.deviation >= f32::MIN_POSITIVE
            && self.interval_s.is_finite()
            && self.interval_s >= 0.0
    }
}

const APPROVED: u8 = 1;
/// Learning the level anew after maintenance; the approved one is kept beside it.
const MAINTAINED: u8 = 2;
/// While learning, out of range this many times farther than anything before is a finding.
const PROVISIONAL_REACH: f64 = 4.0;

/// What is known of one key, one cache line.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[repr(C, align(64))]
pub struct State {
    mean: f64,
    golden_mean: f64,
    /// Microseconds; `i64::MIN` when the last sample does not count (start, change of context).
    last_time: i64,
    /// Learning: the variance. Judging: one over the approved standard deviation.
    scale: f32,
    /// Learning: the largest deviation seen, if that is asked for; after maintenance the approved one.
    golden_sigma: f32,
    /// Judging: CUSUM upwards and downwards, and both against the baseline. Learning: lag-one
    /// autocovariance, the last sample's deviation from the mean.
    sums: [f32; 4],
    interval_s: f32,
    last_bits: u32,
    samples: u16,
    run: u16,
    /// Longest run of equal values while learning, as a power of two.
    run_log2: u8,
    settle: u8,
    out_of_range: u8,
    flags: u8,
}

impl Default for State {
    fn default() -> Self {
        State {
            mean: 0.0,
            golden_mean: 0.0,
            last_time: i64::MIN,
            scale: 0.0,
            golden_sigma: 0.0,
            sums: [0.0; 4],
            interval_s: 0.0,
            last_bits: 0,
            samples: 0,
            run: 0,
            run_log2: 0,
            settle: 0,
            out_of_range: 0,
            flags: 0,
        }
    }
}

impl State {
    /// Whether it judges, or still learns.
    pub fn is_approved(&self) -> bool {
        self.flags & APPROVED != 0
    }

    /// Makes what was learned so far the baseline. A key with too few samples goes on learning;
    /// the answer says whether it was approved. Approved again, the level is the one of now, and the
    /// deviation stays the one that was learned.
    pub fn approve(&mut self, parameters: &Parameters) -> bool {
        let Some(Reference { level, deviation, .. }) = self.proposal(parameters) else { return false };
        self.judge_by(level, deviation);
        true
    }

    fn judge_by(&mut self, level: f64, deviation: f32) {
        self.golden_mean = level;
        self.golden_sigma = deviation;
        self.scale = deviation.recip();
        self.sums = [0.0; 4];
        self.out_of_range = 0;
        self.flags = APPROVED;
    }

    /// What approving it now would make the baseline; none while it has too few samples.
    pub fn proposal(&self, parameters: &Parameters) -> Option<Reference> {
        if !self.is_ready(parameters) {
            return None;
        }
        let learned = match self.flags {
            0 => self.long_run_deviation(),
            _ => f64::from(self.golden_sigma),
        };
        // A signal that hardly moves is still read with finite resolution.
        let deviation = learned.max(self.mean.abs() * 1e-3).max(1e-9) as f32;
        let (interval_s, run_log2) = (self.interval_s, self.run_log2);
        Some(Reference { level: self.mean, deviation, interval_s, run_log2 })
    }

    /// Whether it has its warm-up samples.
    pub fn is_ready(&self, parameters: &Parameters) -> bool {
        self.samples >= parameters.warm_up_samples
    }

    /// What it is judged by; none while it learns.
    pub fn reference(&self) -> Option<Reference> {
        let Self { golden_mean, golden_sigma, interval_s, run_log2, .. } = *self;
        let reference = Reference { level: golden_mean, deviation: golden_sigma, interval_s, run_log2 };
        self.is_approved().then_some(reference)
    }

    /// Judges by this reference from now on, whatever was learned; it must be sound. The running level
    /// goes on where it is, that of a key without samples begins at the reference.
    pub fn refer_to(&mut self, reference: &Reference, parameters: &Parameters) {
        if self.samples == 0 {
            self.mean = reference.level;
        }
        self.samples = self.samples.max(parameters.warm_up_samples);
        self.interval_s = reference.interval_s;
        self.run_log2 = reference.run_log2;
        self.judge_by(reference.level, reference.deviation);
    }

    /// Nothing is approved any more: it goes on learning from where it is.
    pub fn retire(&mut self) {
        if self.flags & APPROVED != 0 {
            self.scale = self.golden_sigma * self.golden_sigma;
            self.sums = [0.0; 4];
        }
        self.flags = 0;
    }

    /// After maintenance the approved level is learned anew, from `approved` by no more than
    /// [`Parameters::maintenance_sigma`] deviations: what it moves beyond is found as drift.
    pub fn maintain(&mut self, approved: f64) {
        self.golden_mean = approved;
        self.samples = 0;
        self.scale = 0.0;
        self.sums = [0.0; 4];
        self.out_of_range = 0;
        self.flags = MAINTAINED;
    }

    /// The standard deviation while learning, inflated by the correlation of consecutive samples.
    fn long_run_deviation(&self) -> f64 {
        let variance = f64::from(self.scale).max(0.0);
        let correlation =
            if variance == 0.0 { 0.0 } else { (f64::from(self.sums[0]) / variance).clamp(0.0, 0.95) };
        (variance * (1.0 + correlation) / (1.0 - correlation)).sqrt()
    }

    /// The context changed: what came before does not count for gaps, runs and settling.
    pub fn begin(&mut self, parameters: &Parameters) {
        self.last_time = i64::MIN;
        self.run = 0;
        self.settle = parameters.settle_samples;
        self.out_of_range = 0;
    }
}

/// A slot that has no state: the sample is not judged.
pub const NO_SLOT: u32 = u32::MAX;

/// States that are brought near before the first of them is used: they stay in the first cache.
const NEAR: usize = 256;

/// Judges a batch of samples in order. All slices have the same length; `slots[i]` is the state
/// of sample `i` or [`NO_SLOT`], `times` are microseconds, `quality` 2 and above and values that
/// are not finite are passed over. Findings are appended to `hits` in the order of the samples.
///
/// Some at a time, a first loop reads one word of each state: independent loads that the processor
/// overlaps, so that the second loop, whose work depends on each state, finds them in the cache.
pub fn judge(
    states: &mut [State],
    slots: &[u32],
    times: &[i64],
    values: &[f64],
    quality: &[u8],
    parameters: &Parameters,
    hits: &mut Vec<Hit>,
) {
    let limits = Limits::new(parameters);
    let chunks =
        slots.chunks(NEAR).zip(times.chunks(NEAR)).zip(values.chunks(NEAR)).zip(quality.chunks(NEAR));
    for (chunk, (((slots, times), values), quality)) in chunks.enumerate() {
        let near = |slot: &u32| states.get(*slot as usize).map_or(0, |state| state.samples);
        std::hint::black_box(slots.iter().fold(0, |sum, slot| sum ^ near(slot)));
        let samples = slots.iter().zip(times).zip(values).zip(quality);
        for (index, (((&slot, &time), &value), &quality)) in (chunk * NEAR..).zip(samples) {
            let Some(state) = states.get_mut(slot as usize) else { continue };
            if quality < 2 && value.is_finite() {
                one(state, index as u32, time, value, &limits, hits);
            }
        }
    }
}

/// The parameters as they are computed with.
struct Limits<'a> {
    all: &'a Parameters,
    clip: f32,
    /// Beside [`State::sums`].
    slack: [f32; 4],
    limit: f32,
    range: f32,
}

impl<'a> Limits<'a> {
    fn new(all: &'a Parameters) -> Self {
        let (shift, drift) = (all.shift_slack_sigma as f32, all.drift_slack_sigma as f32);
        Limits {
            all,
            clip: all.clip_sigma as f32,
            slack: [shift, shift, drift, drift],
            limit: all.limit_sigma as f32,
            range: all.range_sigma as f32,
        }
    }
}

#[inline(always)]
fn one(state: &mut State, index: u32, time: i64, value: f64, limits: &Limits<'_>, hits: &mut Vec<Hit>) {
    let pause_s = if state.last_time == i64::MIN {
        0.0
    } else {
        (time.wrapping_sub(state.last_time) as f64 * 1e-6).max(0.0) as f32
    };
    state.last_time = time;
    if state.settle > 0 {
        state.settle -= 1;
        return;
    }
    let bits = value.to_bits();
    let bits = (bits ^ (bits >> 32)) as u32;
    state.run = if bits == state.last_bits { state.run.saturating_add(1) } else { 0 };
    state.last_bits = bits;
    if state.flags & APPROVED == 0 {
        learn(state, index, pause_s, value, limits.all, hits);
    } else {
        compare(state, index, pause_s, value, limits, hits);
    }
}

fn learn(
    state: &mut State,
    index: u32,
    pause_s: f32,
    value: f64,
    parameters: &Parameters,
    hits: &mut Vec<Hit>,
) {
    let before = state.samples;
    state.samples = before.saturating_add(1);
    if pause_s > 0.0 {
        let weight = if state.interval_s == 0.0 { 1.0 } else { 0.05 };
        state.interval_s += weight * (pause_s - state.interval_s);
    }
    let run_log2 = (16 - state.run.leading_zeros()) as u8;
    state.run_log2 = state.run_log2.max(run_log2);
    if before == 0 {
        state.mean = value;
        return;
    }
    let weight = (1.0 / f64::from(state.samples)).max(parameters.weight);
    let mut deviation = value - state.mean;
    if parameters.provisional_sigma > 0.0 && state.flags == 0 {
        hits.extend(provisional(state, index, before, value, parameters));
    }
    if before >= 16 {
        let bound = parameters.clip_sigma * f64::from(state.scale).sqrt();
        if bound > 0.0 {
            deviation = deviation.clamp(-bound, bound);
        }
    }
    state.mean += weight * deviation;
    state.scale = ((1.0 - weight) * (f64::from(state.scale) + weight * deviation * deviation)) as f32;
    let [covariance, last, ..] = &mut state.sums;
    let product = deviation * f64::from(*last);
    *covariance += (weight * (product - f64::from(*covariance))) as f32;
    *last = deviation as f32;
    if state.flags & MAINTAINED != 0 && state.is_ready(parameters) {
        after_maintenance(state, parameters);
    }
}

#[cold]
fn after_maintenance(state: &mut State, parameters: &Parameters) {
    let (approved, deviation) = (state.golden_mean, state.golden_sigma);
    // No number grants nothing.
    let reach = (parameters.maintenance_sigma * f64::from(deviation)).max(0.0);
    let moved = (state.mean - approved).clamp(-reach, reach);
    state.judge_by(approved + moved, deviation);
}

/// A sample far outside all that a key without an approved baseline has shown, after enough like it. A key
/// that never moved has no deviation to compare with.
#[cold]
fn provisional(
    state: &mut State,
    index: u32,
    before: u16,
    value: f64,
    parameters: &Parameters,
) -> Option<Hit> {
    let far = value - state.mean;
    let deviation = f64::from(state.scale.max(0.0)).sqrt();
    let limit =
        (parameters.provisional_sigma * deviation).max(PROVISIONAL_REACH * f64::from(state.golden_sigma));
    let beyond = before >= parameters.warm_up_samples && deviation > 0.0 && far.abs() > limit;
    state.out_of_range = if beyond { state.out_of_range.saturating_add(1) } else { 0 };
    // What is about to be a finding is none of what it has shown before.
    if !beyond || state.out_of_range >= parameters.range_samples {
        state.golden_sigma = state.golden_sigma.max(far.abs() as f32);
    }
    if state.out_of_range < parameters.range_samples {
        return None;
    }
    state.out_of_range = 0;
    let (expected, score) = (state.mean, far.abs() / limit);
    Some(Hit { index, finding: Finding::Range, expected, deviation, seen: value, score, provisional: true })
}

#[inline(always)]
fn compare(
    state: &mut State,
    index: u32,
    pause_s: f32,
    value: f64,
    limits: &Limits<'_>,
    hits: &mut Vec<Hit>,
) {
    let scale = f64::from(state.scale);
    let golden = ((value - state.golden_mean) * scale) as f32;
    let against = golden.clamp(-limits.clip, limits.clip);
    let recent = (((value - state.mean) * scale) as f32).clamp(-limits.clip, limits.clip);
    let steps = [recent, -recent, against, -against];
    for ((sum, step), slack) in state.sums.iter_mut().zip(steps).zip(limits.slack) {
        *sum = (*sum + step - slack).max(0.0);
    }
    state.mean += limits.all.weight * f64::from(recent) * f64::from(state.golden_sigma);
    state.out_of_range = if golden.abs() > limits.range { state.out_of_range.saturating_add(1) } else { 0 };

    // Rarely true, each of them: kept out of the common path.
    let [up, down, golden_up, golden_down] = state.sums;
    let gap = state.interval_s > 0.0 && pause_s > limits.all.gap_intervals * state.interval_s;
    if (up.max(down).max(golden_up.max(golden_down)) >= limits.limit)
        | (state.out_of_range >= limits.all.range_samples)
        | (state.run >= limits.all.stuck_samples)
        | gap
    {
        let seen = Seen { index, value, golden, pause_s: gap.then_some(pause_s) };
        find(state, &seen, limits, hits);
    }
}

/// A sample that may give something away.
struct Seen {
    index: u32,
    value: f64,
    /// In standard deviations from the baseline.
    golden: f32,
    /// If it was a gap.
    pause_s: Option<f32>,
}

#[cold]
fn find(state: &mut State, seen: &Seen, limits: &Limits<'_>, hits: &mut Vec<Hit>) {
    let (p, value) = (limits.all, seen.value);
    let deviation = f64::from(state.golden_sigma);
    let hit = |finding, expected, seen_now, score| Hit {
        index: seen.index,
        finding,
        expected,
        deviation,
        seen: seen_now,
        score,
        provisional: false,
    };
    let [up, down, golden_up, golden_down] = state.sums;
    if let Some(pause) = seen.pause_s {
        let (usual, pause) = (f64::from(state.interval_s), f64::from(pause));
        hits.push(hit(Finding::Gap, usual, pause, pause / usual / f64::from(p.gap_intervals)));
    }
    if state.out_of_range >= p.range_samples {
        state.out_of_range = 0;
        let score = f64::from(seen.golden.abs()) / p.range_sigma;
        hits.push(hit(Finding::Range, state.golden_mean, value, score));
    }
    let worst = golden_up.max(golden_down);
    if worst >= limits.limit {
        (state.sums[2], state.sums[3]) = (0.0, 0.0);
        hits.push(hit(Finding::Drift, state.golden_mean, value, f64::from(worst) / p.limit_sigma));
    }
    let worst = up.max(down);
    if worst >= limits.limit {
        (state.sums[0], state.sums[1]) = (0.0, 0.0);
        hits.push(hit(Finding::Shift, state.mean, value, f64::from(worst) / p.limit_sigma));
    }
    if state.run == p.stuck_samples.max(4_u16.saturating_mul(1 << state.run_log2.min(13))) {
        hits.push(hit(Finding::Stuck, state.golden_mean, value, 1.0));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Noise;

    fn feed(state: &mut State, clock: &mut i64, values: impl Iterator<Item = f64>) -> Vec<Finding> {
        feed_by(&Parameters::default(), state, clock, values)
    }

    fn feed_by(
        parameters: &Parameters,
        state: &mut State,
        clock: &mut i64,
        values: impl Iterator<Item = f64>,
    ) -> Vec<Finding> {
        let mut hits = Vec::new();
        let mut states = [*state];
        for value in values {
            *clock += 1_000_000;
            judge(&mut states, &[0], &[*clock], &[value], &[0], parameters, &mut hits);
        }
        *state = states[0];
        hits.iter().map(|h| h.finding).collect()
    }

    fn learned(noise: &mut Noise, clock: &mut i64) -> State {
        let mut state = State::default();
        assert!(feed(&mut state, clock, (0..600).map(|_| 50.0 + noise.normal())).is_empty());
        assert!(state.approve(&Parameters::default()));
        state
    }

    #[test]
    fn a_state_is_one_cache_line() {
        assert_eq!(std::mem::size_of::<State>(), 64);
        assert_eq!(std::mem::align_of::<State>(), 64);
    }

    #[test]
    fn ordinary_noise_is_silent_for_a_day() {
        let (mut noise, mut clock) = (Noise(7), 0);
        let mut state = learned(&mut noise, &mut clock);
        let found = feed(&mut state, &mut clock, (0..86_400).map(|_| 50.0 + noise.normal()));
        assert_eq!(found, []);
    }

    #[test]
    fn correlated_noise_is_silent_too() {
        let (mut noise, mut clock, mut level) = (Noise(9), 0, 0.0);
        let mut values = move |_| {
            level = 0.8 * level + noise.normal();
            20.0 + level
        };
        let mut state = State::default();
        feed(&mut state, &mut clock, (0..3000).map(&mut values));
        assert!(state.approve(&Parameters::default()));
        assert_eq!(feed(&mut state, &mut clock, (0..20_000).map(&mut values)), []);
    }

    #[test]
    fn a_shift_of_three_sigma_is_found_within_a_minute() {
        let (mut noise, mut clock) = (Noise(7), 0);
        let mut state = learned(&mut noise, &mut clock);
        let found = feed(&mut state, &mut clock, (0..60).map(|_| 53.0 + noise.normal()));
        assert!(found.contains(&Finding::Drift), "{found:?}");
    }

    #[test]
    fn a_slow_walk_that_the_running_mean_follows_is_found_by_the_frozen_one() {
        let (mut noise, mut clock) = (Noise(7), 0);
        let mut state = learned(&mut noise, &mut clock);
        let walk = (0..4000).map(|i| 50.0 + f64::from(i) * 0.001 + noise.normal());
        let found = feed(&mut state, &mut clock, walk);
        assert!(found.contains(&Finding::Drift), "{found:?}");
        assert!(!found.contains(&Finding::Shift), "{found:?}");
    }

    #[test]
    fn far_away_samples_are_out_of_range_only_when_they_persist() {
        let (mut noise, mut clock) = (Noise(7), 0);
        let mut state = learned(&mut noise, &mut clock);
        assert_eq!(feed(&mut state, &mut clock, [90.0].into_iter()), []);
        assert_eq!(feed(&mut state, &mut clock, [50.1].into_iter()), []);
        let found = feed(&mut state, &mut clock, [90.0, 91.0, 92.0].into_iter());
        assert_eq!(found, [Finding::Range]);
    }

    #[test]
    fn a_frozen_value_is_stuck_once() {
        let (mut noise, mut clock) = (Noise(7), 0);
        let mut state = learned(&mut noise, &mut clock);
        let found = feed(&mut state, &mut clock, std::iter::repeat_n(50.25, 300));
        assert_eq!(found, [Finding::Stuck]);
    }

    #[test]
    fn a_pause_is_a_gap_unless_the_context_changed() {
        let (mut noise, mut clock) = (Noise(7), 0);
        let mut state = learned(&mut noise, &mut clock);
        feed(&mut state, &mut clock, [50.0].into_iter());
        clock += 90_000_000;
        assert_eq!(feed(&mut state, &mut clock, [50.2].into_iter()), [Finding::Gap]);
        clock += 90_000_000;
        state.begin(&Parameters::default());
        assert_eq!(feed(&mut state, &mut clock, [50.2].into_iter()), []);
    }

    #[test]
    fn a_reference_that_is_taken_over_judges_as_the_one_it_was_taken_from() {
        let (mut noise, mut clock) = (Noise(7), 0);
        let mut state = learned(&mut noise, &mut clock);
        let reference = state.reference().unwrap();
        let mut other = State::default();
        other.refer_to(&reference, &Parameters::default());
        assert_eq!(other.reference(), Some(reference));
        let (walk, mut later) = ((0..4000).map(|i| 50.0 + f64::from(i) * 0.001).collect::<Vec<_>>(), clock);
        let mut twin = noise.clone();
        let found = feed(&mut state, &mut clock, walk.iter().map(|level| level + noise.normal()));
        let taken = feed(&mut other, &mut later, walk.iter().map(|level| level + twin.normal()));
        assert!(found.contains(&Finding::Drift) && taken.contains(&Finding::Drift), "{found:?} {taken:?}");
        other.retire();
        assert_eq!((other.reference(), other.is_approved()), (None, false));
        let proposed = other.proposal(&Parameters::default()).unwrap();
        assert!((f64::from(proposed.deviation) / f64::from(reference.deviation) - 1.0).abs() < 1e-5);
    }

    #[test]
    fn maintenance_moves_the_level_within_its_limit_and_no_farther() {
        let (mut noise, mut clock) = (Noise(7), 0);
        let mut state = learned(&mut noise, &mut clock);
        let before = state.reference().unwrap();
        state.maintain(before.level);
        assert!(!state.is_approved());
        let found = feed(&mut state, &mut clock, (0..2000).map(|_| 54.0 + noise.normal()));
        assert_eq!(found, [], "a new level within the limit is the approved one now");
        assert!((state.reference().unwrap().level - 54.0).abs() < 0.5);
        // Again and again, the limit counts from what a person approved.
        for _ in 0..3 {
            state.maintain(before.level);
            feed(&mut state, &mut clock, (0..100).map(|_| 80.0 + noise.normal()));
        }
        let after = state.reference().unwrap();
        assert!(after.level < before.level + 6.1 * f64::from(before.deviation), "{after:?}");
        let found = feed(&mut state, &mut clock, (0..100).map(|_| 80.0 + noise.normal()));
        assert!(found.contains(&Finding::Drift), "{found:?}");
    }

    #[test]
    fn what_learns_says_provisionally_what_is_far_outside_all_it_has_seen() {
        let (mut noise, mut clock, mut state) = (Noise(7), 0, State::default());
        let early = Parameters { provisional_sigma: 24.0, ..Parameters::default() };
        assert_eq!(feed_by(&early, &mut state, &mut clock, (0..200).map(|_| 50.0 + noise.normal())), []);
        assert_eq!(
            feed_by(&early, &mut state, &mut clock, [120.0, 50.0, 120.0, 50.0].into_iter()),
            [],
            "single spikes"
        );
        let mut hits = Vec::new();
        let (values, parameters) = ([90.0, 91.0, 90.5, 90.2], Parameters::default());
        judge(&mut [state], &[0; 4], &[clock; 4], &values, &[0; 4], &parameters, &mut hits);
        assert_eq!(hits, [], "unless it was asked for, nothing alerts before it is approved");
        judge(&mut [state], &[0; 4], &[clock; 4], &values, &[0; 4], &early, &mut hits);
        assert_eq!(hits.len(), 1, "{hits:?}");
        assert!(hits[0].provisional && hits[0].finding == Finding::Range && hits[0].index == 2);
        // A switch that was seen both ways is no finding, however rarely it moves.
        let mut switch = State::default();
        let day = |i: i32| if (i % 2000) < 1000 { 0.0 } else { 1.0 };
        feed_by(&early, &mut switch, &mut clock, (0..3500).map(day));
        assert_eq!(feed_by(&early, &mut switch, &mut clock, (3500..20_000).map(day)), []);
        // One that never moved has nothing to be compared with.
        let mut constant = State::default();
        assert_eq!(feed_by(&early, &mut constant, &mut clock, (0..100).map(|_| 5.0).chain([9.0; 5])), []);
    }

    #[test]
    fn missing_and_bad_values_are_passed_over() {
        let mut states = [State::default()];
        let mut hits = Vec::new();
        judge(
            &mut states,
            &[0, 0, NO_SLOT, 0],
            &[1, 2, 3, 4],
            &[f64::NAN, 1.0, 2.0, f64::INFINITY],
            &[0, 2, 0, 0],
            &Parameters::default(),
            &mut hits,
        );
        assert_eq!(states[0].samples, 0);
        assert!(!states[0].clone().approve(&Parameters::default()));
    }
}
