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
//! With [`judge`] a finding is what passes its limit. With [`watch`] what comes near a limit is told too, and sums go
//! on beyond it: candidates, from which a budget of alarms is held (see [`crate::incident`] and [`crate::fleet`]). Both
//! tell of each sample of a key that is near a limit ([`Findings::near`]), so that its course can be kept from there on.
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
    /// Samples that learning remembers, so that what is slower than the running mean (a season, a drift between
    /// maintenances) is part of the deviation; 0 for as many as the running mean remembers, one over `weight`.
    pub learning_samples: u16,
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
            learning_samples: 0,
        }
    }
}

impl Parameters {
    /// The least weight of a sample while a key learns.
    fn learning_weight(&self) -> f64 {
        if self.learning_samples == 0 { self.weight } else { 1.0 / f64::from(self.learning_samples) }
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
    /// How many samples before it, one after the other, had the same value.
    pub run: u16,
}

/// Where what is found goes.
pub trait Findings {
    /// A finding.
    fn found(&mut self, hit: Hit);

    /// The sample of this index is one of a key that is near a limit of shift, drift or range (a quarter of what is
    /// accumulated, or a single value out of range), or beyond. It is told before what is found of it. `last_time` is that
    /// of the key's sample before, `i64::MIN` where that does not count.
    fn near(&mut self, _index: u32, _last_time: i64) {}
}

impl Findings for Vec<Hit> {
    fn found(&mut self, hit: Hit) {
        self.push(hit);
    }
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

/// How far sums go beyond their limit while candidates are told, so that what is over finds an end.
pub const REACH: f32 = 256.0;
/// The share of a limit from which on a key is near it. Of noise one sample in ten thousand is.
const NEAR_LIMIT: f64 = 0.25;
/// Where candidates begin, at least and at most, as a share of the limit.
const BASE: std::ops::RangeInclusive<f64> = NEAR_LIMIT..=1.0;
/// As long as an excursion lasts, it is told at least once in each such stretch of event time, in microseconds.
pub const BEAT_US: i64 = 15 * 60 * 1_000_000;

const APPROVED: u8 = 1;
/// Learning the level anew after maintenance; the approved one is kept beside it.
const MAINTAINED: u8 = 2;
/// While learning, out of range this many times farther than anything before is a finding.
const PROVISIONAL_REACH: f64 = 4.0;
/// While candidates are told, the flags' upper bits hold how far the nearest of the samples that are out of range now is.
const FLAG_BITS: u8 = 2;

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

    /// When its last sample was, in microseconds; `i64::MIN` when that does not count.
    pub fn last_time(&self) -> i64 {
        self.last_time
    }

    /// The usual time between its samples, in seconds; 0 when unknown.
    pub fn interval_s(&self) -> f64 {
        f64::from(self.interval_s)
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
/// are not finite are passed over. Findings are told to `hits` in the order of the samples.
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
    hits: &mut impl Findings,
) {
    run(states, slots, times, values, quality, &Limits::new(parameters), hits);
}

/// Like [`judge`], for a budget of alarms: what reaches the share `base` of a limit (0.25 to 1) is told as a candidate, with
/// a score below 1 where the limit is not reached. Sums are not begun anew at their limit, so that a score says how
/// far and how long; above it they fall the faster the higher they are.
///
/// An excursion is told when it begins, whenever it has come farther by about a fortieth (see [`level`]), and once in
/// every [`BEAT_US`] while it lasts, not at each of its samples.
#[expect(clippy::too_many_arguments, reason = "the columns of a batch")]
pub fn watch(
    states: &mut [State],
    slots: &[u32],
    times: &[i64],
    values: &[f64],
    quality: &[u8],
    parameters: &Parameters,
    base: f64,
    hits: &mut impl Findings,
) {
    run(states, slots, times, values, quality, &Limits::watched(parameters, base), hits);
}

/// Scores are compared in 32 equal steps of each doubling, as the bits of floating-point numbers are.
pub fn level(score: f32) -> u32 {
    score.max(0.0).to_bits() >> 18
}

fn run(
    states: &mut [State],
    slots: &[u32],
    times: &[i64],
    values: &[f64],
    quality: &[u8],
    limits: &Limits<'_>,
    hits: &mut impl Findings,
) {
    let chunks =
        slots.chunks(NEAR).zip(times.chunks(NEAR)).zip(values.chunks(NEAR)).zip(quality.chunks(NEAR));
    for (chunk, (((slots, times), values), quality)) in chunks.enumerate() {
        let near = |slot: &u32| states.get(*slot as usize).map_or(0, |state| state.samples);
        std::hint::black_box(slots.iter().fold(0, |sum, slot| sum ^ near(slot)));
        let samples = slots.iter().zip(times).zip(values).zip(quality);
        for (index, (((&slot, &time), &value), &quality)) in (chunk * NEAR..).zip(samples) {
            let Some(state) = states.get_mut(slot as usize) else { continue };
            if quality < 2 && value.is_finite() {
                one(state, index as u32, time, value, limits, hits);
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
    /// What a sum must reach to be near its limit, and to be told.
    near: f32,
    limit: f32,
    range: f32,
    stuck_samples: u16,
    gap_intervals: f32,
    /// Whether candidates are told.
    watched: bool,
}

impl<'a> Limits<'a> {
    fn new(all: &'a Parameters) -> Self {
        let (shift, drift) = (all.shift_slack_sigma as f32, all.drift_slack_sigma as f32);
        Limits {
            all,
            clip: all.clip_sigma as f32,
            slack: [shift, shift, drift, drift],
            near: (all.limit_sigma * NEAR_LIMIT) as f32,
            limit: all.limit_sigma as f32,
            range: all.range_sigma as f32,
            stuck_samples: all.stuck_samples,
            gap_intervals: all.gap_intervals,
            watched: false,
        }
    }

    fn watched(all: &'a Parameters, base: f64) -> Self {
        let base = if base.is_nan() { 1.0 } else { base.clamp(*BASE.start(), *BASE.end()) };
        let share = |limit: f64| (limit * base) as f32;
        Limits {
            limit: share(all.limit_sigma),
            range: share(all.range_sigma),
            stuck_samples: (share(f64::from(all.stuck_samples)) as u16).max(1),
            gap_intervals: share(f64::from(all.gap_intervals)),
            watched: true,
            ..Limits::new(all)
        }
    }
}

#[inline(always)]
fn one(state: &mut State, index: u32, time: i64, value: f64, limits: &Limits<'_>, hits: &mut impl Findings) {
    let pause_s = if state.last_time == i64::MIN {
        0.0
    } else {
        (time.wrapping_sub(state.last_time) as f64 * 1e-6).max(0.0) as f32
    };
    let last_time = std::mem::replace(&mut state.last_time, time);
    if state.settle > 0 {
        state.settle -= 1;
        return;
    }
    let bits = value.to_bits();
    let bits = (bits ^ (bits >> 32)) as u32;
    state.run = if bits == state.last_bits { state.run.saturating_add(1) } else { 0 };
    state.last_bits = bits;
    let sample = Sample { index, time, last_time, pause_s, value };
    if state.flags & APPROVED == 0 {
        learn(state, sample, limits.all, hits);
    } else {
        compare(state, sample, limits, hits);
    }
}

fn learn(state: &mut State, sample: Sample, parameters: &Parameters, hits: &mut impl Findings) {
    let Sample { pause_s, value, .. } = sample;
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
    let weight = (1.0 / f64::from(state.samples)).max(parameters.learning_weight());
    let mut deviation = value - state.mean;
    if parameters.provisional_sigma > 0.0 && state.flags == 0 {
        provisional(state, sample, before, parameters, hits);
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
    sample: Sample,
    before: u16,
    parameters: &Parameters,
    hits: &mut impl Findings,
) {
    let far = sample.value - state.mean;
    let deviation = f64::from(state.scale.max(0.0)).sqrt();
    let limit =
        (parameters.provisional_sigma * deviation).max(PROVISIONAL_REACH * f64::from(state.golden_sigma));
    let beyond = before >= parameters.warm_up_samples && deviation > 0.0 && far.abs() > limit;
    state.out_of_range = if beyond { state.out_of_range.saturating_add(1) } else { 0 };
    // What is about to be a finding is none of what it has shown before.
    if !beyond || state.out_of_range >= parameters.range_samples {
        state.golden_sigma = state.golden_sigma.max(far.abs() as f32);
    }
    if beyond {
        hits.near(sample.index, sample.last_time);
    }
    if state.out_of_range < parameters.range_samples {
        return;
    }
    state.out_of_range = 0;
    hits.found(Hit {
        index: sample.index,
        finding: Finding::Range,
        expected: state.mean,
        deviation,
        seen: sample.value,
        score: far.abs() / limit,
        provisional: true,
        run: state.run,
    });
}

/// A sample that is judged.
#[derive(Clone, Copy)]
struct Sample {
    index: u32,
    time: i64,
    /// Of the sample before it.
    last_time: i64,
    pause_s: f32,
    value: f64,
}

#[inline(always)]
fn compare(state: &mut State, sample: Sample, limits: &Limits<'_>, hits: &mut impl Findings) {
    let (scale, value) = (f64::from(state.scale), sample.value);
    let golden = ((value - state.golden_mean) * scale) as f32;
    let against = golden.clamp(-limits.clip, limits.clip);
    let recent = (((value - state.mean) * scale) as f32).clamp(-limits.clip, limits.clip);
    let steps = [recent, -recent, against, -against];
    let before = state.sums;
    for ((sum, step), slack) in state.sums.iter_mut().zip(steps).zip(limits.slack) {
        *sum = (*sum + step - slack).max(0.0);
    }
    state.mean += limits.all.weight * f64::from(recent) * f64::from(state.golden_sigma);
    state.out_of_range = if golden.abs() > limits.range { state.out_of_range.saturating_add(1) } else { 0 };

    // Rarely true, each of them: kept out of the common path.
    let [up, down, golden_up, golden_down] = state.sums;
    let gap = state.interval_s > 0.0 && sample.pause_s > limits.gap_intervals * state.interval_s;
    let near = (up.max(down).max(golden_up.max(golden_down)) >= limits.near) | (state.out_of_range > 0);
    if near | (state.run >= limits.stuck_samples) | gap {
        if near {
            hits.near(sample.index, sample.last_time);
        }
        let seen = Seen { sample, golden, gap, before };
        if limits.watched {
            come_near(state, &seen, limits, hits);
        } else {
            find(state, &seen, limits, hits);
        }
    }
}

/// A sample that may give something away.
struct Seen {
    sample: Sample,
    /// In standard deviations from the baseline.
    golden: f32,
    gap: bool,
    /// [`State::sums`] before it.
    before: [f32; 4],
}

impl Seen {
    fn hit(&self, state: &State, finding: Finding, expected: f64, score: f64) -> Hit {
        Hit {
            index: self.sample.index,
            finding,
            expected,
            deviation: f64::from(state.golden_sigma),
            seen: self.sample.value,
            score,
            provisional: false,
            run: state.run,
        }
    }

    /// A pause that is too long.
    fn pause(&self, state: &State, limits: &Limits<'_>) -> Option<Hit> {
        let (usual, seen) = (f64::from(state.interval_s), f64::from(self.sample.pause_s));
        let score = seen / usual / f64::from(limits.all.gap_intervals);
        self.gap.then(|| Hit { seen, ..self.hit(state, Finding::Gap, usual, score) })
    }
}

/// Equal values that are too many.
fn stuck_at(state: &State, parameters: &Parameters) -> u16 {
    parameters.stuck_samples.max(4_u16.saturating_mul(1 << state.run_log2.min(13)))
}

#[cold]
fn find(state: &mut State, seen: &Seen, limits: &Limits<'_>, hits: &mut impl Findings) {
    let p = limits.all;
    let [up, down, golden_up, golden_down] = state.sums;
    if let Some(pause) = seen.pause(state, limits) {
        hits.found(pause);
    }
    if state.out_of_range >= p.range_samples {
        state.out_of_range = 0;
        let score = f64::from(seen.golden.abs()) / p.range_sigma;
        hits.found(seen.hit(state, Finding::Range, state.golden_mean, score));
    }
    let worst = golden_up.max(golden_down);
    if worst >= limits.limit {
        (state.sums[2], state.sums[3]) = (0.0, 0.0);
        hits.found(seen.hit(state, Finding::Drift, state.golden_mean, f64::from(worst) / p.limit_sigma));
    }
    let worst = up.max(down);
    if worst >= limits.limit {
        (state.sums[0], state.sums[1]) = (0.0, 0.0);
        hits.found(seen.hit(state, Finding::Shift, state.mean, f64::from(worst) / p.limit_sigma));
    }
    if state.run == stuck_at(state, p) {
        hits.found(seen.hit(state, Finding::Stuck, state.golden_mean, 1.0));
    }
}

/// Candidates, see [`watch`].
#[cold]
fn come_near(state: &mut State, seen: &Seen, limits: &Limits<'_>, hits: &mut impl Findings) {
    let (p, sample) = (limits.all, seen.sample);
    let limit = p.limit_sigma as f32;
    for (sum, before) in state.sums.iter_mut().zip(seen.before) {
        // Above its limit a sum falls by as many times more as it is higher.
        if before > limit && *sum < before {
            *sum = (before - (before - *sum) * (before / limit)).max(0.0);
        }
        *sum = sum.min(REACH * limit);
    }
    let beat = sample.last_time == i64::MIN
        || sample.time.div_euclid(BEAT_US) != sample.last_time.div_euclid(BEAT_US);
    let farther = |now: f32, before: f32| beat || level(now / limit) > level(before / limit);

    let [up, down, golden_up, golden_down] = state.sums;
    let [before_up, before_down, before_golden_up, before_golden_down] = seen.before;
    if let Some(pause) = seen.pause(state, limits) {
        hits.found(pause);
    }
    let drift = golden_up.max(golden_down);
    let shift = up.max(down);
    let range = out_of_range(state, seen.golden, p);
    // What the sums say more of is not told twice.
    if range > drift.max(shift) / limit {
        hits.found(seen.hit(state, Finding::Range, state.golden_mean, f64::from(range)));
    }
    if drift >= limits.limit && farther(drift, before_golden_up.max(before_golden_down)) {
        hits.found(seen.hit(state, Finding::Drift, state.golden_mean, f64::from(drift) / p.limit_sigma));
    }
    if shift >= limits.limit && farther(shift, before_up.max(before_down)) {
        hits.found(seen.hit(state, Finding::Shift, state.mean, f64::from(shift) / p.limit_sigma));
    }
    // A key whose values hardly ever changed while it learned cannot be told from one that is stuck.
    if state.run >= limits.stuck_samples && state.run_log2 <= 13 {
        let run = |run: u16| f32::from(run) / f32::from(stuck_at(state, p).max(1));
        let (now, before) = (run(state.run), run(state.run - 1));
        if now * p.limit_sigma as f32 >= limits.limit && (beat || level(now) > level(before)) {
            hits.found(seen.hit(state, Finding::Stuck, state.golden_mean, f64::from(now)));
        }
    }
}

/// How far out of range all of the last [`Parameters::range_samples`] samples are, in limits and rounded down to an
/// eighth of a doubling; 0 unless this one completes them.
fn out_of_range(state: &mut State, golden: f32, parameters: &Parameters) -> f32 {
    if state.out_of_range == 0 {
        return 0.0;
    }
    // The step of a quarter of the limit, the least there is, is 0.
    let least = 0.25_f32.to_bits() >> 20;
    let step = ((golden.abs() / parameters.range_sigma as f32).to_bits() >> 20).saturating_sub(least);
    let nearest = if state.out_of_range == 1 { 63 } else { u32::from(state.flags >> FLAG_BITS) };
    let nearest = nearest.min(step);
    state.flags = (state.flags & ((1 << FLAG_BITS) - 1)) | (nearest as u8) << FLAG_BITS;
    if state.out_of_range < parameters.range_samples {
        return 0.0;
    }
    state.out_of_range = 0;
    f32::from_bits((nearest + least) << 20)
}

#[cfg(test)]
mod tests;
