//! How unlikely something is: what is new, what comes too soon, and the highest that was reached.

use serde::{Deserialize, Serialize};

use crate::logarithm::log2;

/// log2 of a ratio of counts.
pub(super) fn log2_ratio(of: u32, to: u32) -> f32 {
    log2(f64::from(of.max(1)) / f64::from(to.max(1))) as f32
}

/// Bits in 1/65536, so that sums of them are exact whatever comes and goes.
pub(super) fn fixed(bits: f32) -> i32 {
    (f64::from(bits) * 65_536.0) as i32
}

/// c log2 c in 1/65536 bits.
pub(super) fn count_bits(count: u8) -> i64 {
    static TABLE: std::sync::LazyLock<[i64; 256]> = std::sync::LazyLock::new(|| {
        std::array::from_fn(|c| (c as f64 * log2((c as f64).max(1.0)) * 65_536.0) as i64)
    });
    TABLE[usize::from(count)]
}

/// Relative entropy, in bits a message, of `n` messages whose Σ c log2 c and Σ −log2 p are these.
pub(super) fn relative_entropy(counts: i64, weights: i64, n: u8) -> f32 {
    let sum = counts + weights - count_bits(n);
    (sum as f64 / (65_536.0 * f64::from(n))).max(0.0) as f32
}

/// How often something was new in the latter half of what was learned (in the last two spans, each of
/// which ends when twice as much was learned as at the end of the one before).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Novelty {
    trials: u32,
    before: u32,
    now: u32,
}

impl Novelty {
    /// One more was learned.
    pub(super) fn trial(&mut self, new: bool) {
        self.trials = self.trials.saturating_add(1);
        self.now += u32::from(new);
        if self.trials.is_power_of_two() {
            self.before = std::mem::take(&mut self.now);
        }
    }

    /// How many were.
    pub(super) fn trials(&self) -> u32 {
        self.trials
    }

    /// How unlikely it is that the next one is new.
    pub(super) fn bits(&self) -> f32 {
        let latter = self.trials - (self.trials.checked_ilog2().map_or(0, |log| 1 << log) >> 1);
        log2_ratio(latter + 1, self.before + self.now + 1)
    }
}

/// The highest of the latter half of what was learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Peak {
    before: f32,
    now: f32,
    /// Reached since the approval.
    since: f32,
}

impl Peak {
    /// Reached while learning.
    pub(super) fn raise(&mut self, reached: f32) {
        self.now = self.now.max(reached);
    }

    /// A span has ended.
    pub(super) fn turn(&mut self) {
        self.before = std::mem::take(&mut self.now);
    }

    /// Kept for the next approval.
    pub(super) fn candidate(&mut self, reached: f32) {
        self.since = self.since.max(reached);
    }

    pub(super) fn approve(&mut self) {
        self.raise(self.since);
        self.since = 0.0;
    }

    /// The highest.
    pub(super) fn value(&self) -> f32 {
        self.before.max(self.now)
    }
}

/// Pauses between a command and the next of its kind, in quarters of octaves from 4 ms to 4.5 minutes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Rhythm {
    learned: [[u16; STEPS / 2]; 2],
    /// What was surprising since the approval.
    since: [[u8; STEPS / 2]; 2],
    sum: u32,
}

const STEPS: usize = 64;
/// Shorter pauses are all alike: they are the network's, not the sender's.
const SHORTEST_LOG2: u32 = 12;

/// The step of a pause: its octave, and which quarter of it (in equal parts, not in equal ratios).
fn step_of(pause: i64) -> usize {
    let pause = pause as u64;
    if pause < 1 << SHORTEST_LOG2 {
        return 0;
    }
    let log = pause.ilog2();
    let quarter = (pause >> (log - 2)) & 3;
    (1 + 4 * (log - SHORTEST_LOG2) as usize + quarter as usize).min(STEPS - 1)
}

impl Rhythm {
    /// How unlikely it is that it comes again so soon: of what was learned, all that was as short, and half
    /// of what was a step longer, for no pause is the same twice.
    pub(super) fn bits(&self, pause: i64) -> f32 {
        let step = step_of(pause);
        if step + 1 >= STEPS || self.sum == 0 {
            return 0.0;
        }
        let learned = self.learned.as_flattened();
        let shorter: u32 = learned[..=step].iter().map(|&count| u32::from(count)).sum();
        let mass = 2 * shorter + u32::from(learned[step + 1]);
        // Mostly it comes when it comes, and there is nothing to compute.
        if mass >= 2 * self.sum {
            return 0.0;
        }
        log2_ratio(2 * self.sum + 2, mass + 2)
    }

    pub(super) fn learn(&mut self, pause: i64) {
        let step = step_of(pause);
        if self.learned.as_flattened()[step] == u16::MAX {
            self.halve();
        }
        self.learned.as_flattened_mut()[step] += 1;
        self.sum += 1;
    }

    /// Kept for the next approval.
    pub(super) fn candidate(&mut self, pause: i64) {
        let count = &mut self.since.as_flattened_mut()[step_of(pause)];
        *count = count.saturating_add(1);
    }

    pub(super) fn approve(&mut self) {
        let since = self.since.as_flattened_mut().iter_mut();
        for (learned, since) in self.learned.as_flattened_mut().iter_mut().zip(since) {
            *learned = learned.saturating_add(std::mem::take(since).into());
        }
        self.add_up();
    }

    pub(super) fn halve(&mut self) {
        self.learned.as_flattened_mut().iter_mut().for_each(|count| *count = count.div_ceil(2));
        self.add_up();
    }

    fn add_up(&mut self) {
        self.sum = self.learned.as_flattened().iter().map(|&count| u32::from(count)).sum();
    }

    /// How many pauses were learned.
    pub(super) fn learned(&self) -> u32 {
        self.sum
    }

    /// The middle of the step in which the median lies, in seconds.
    pub(super) fn usual_s(&self) -> Option<f64> {
        let mut below = 0;
        let step = self.learned.as_flattened().iter().position(|&count| {
            below += u32::from(count);
            2 * below >= self.sum
        })?;
        if step == 0 {
            return (self.sum > 0).then_some(0.0);
        }
        let octave = (1_u64 << (SHORTEST_LOG2 as usize + (step - 1) / 4)) as f64 * 1e-6;
        Some(octave * (1.125 + 0.25 * ((step - 1) % 4) as f64))
    }
}
