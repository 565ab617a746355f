//! D5, the course of one series: does it do what it has not done before? No distribution, no period and no shape is
//! assumed, and what was seen once is known.
//!
//! A series is cut into blocks, 75 of them in what it learns from. Three pairs of numbers describe a block:
//!
//! - its lowest and its highest value,
//! - its mean and the mean of the four blocks before it (the course),
//! - its largest step from sample to sample, alone; a stuck signal has none.
//!
//! Each is compared with the nearest that is known: the mean difference, as a share of the range in which such numbers moved, is
//! how novel it is. Course and step vary more by chance than where a series has been, and count half. Novelty while little was
//! seen means less: at the end of learning it counts half, and the more the longer it went on.
//!
//! A block is found when it is as novel as the tolerance, and some times as novel as blocks of this series usually are: one that
//! wanders or is noisy must do more. A finding is followed by a rest in which only what is twice as novel is another: one
//! incident, one alert. What was found is known from then on, and not found again until it is forgotten; that, and the limit
//! that grows with what is usual, hold the rate of alarms here, so that no limit is raised beside them.
//!
//! Novelty by the nearest neighbour (Knorr and Ng 1998; Chandola, Banerjee and Kumar 2009, section 5). What resembles is
//! merged and the oldest forgotten as in adaptive resonance (Carpenter and Grossberg 1987), which Hampton 2021 was the first to
//! use for the Numenta benchmark.
//!
//! Cost: some operations a sample, and for each block a comparison with at most 3 × 128 pairs. State: at most
//! [`State::BYTES_MAX`].

use serde::{Deserialize, Serialize};

use self::known::{Clock, Known, Nearest, PAIRS};

mod known;

/// The name in pipelines.
pub const NAME: &str = "series";

/// Version of what a saved [`State`] means.
pub const VERSION: u16 = 1;

/// What the user may set; the defaults are those of `models/series.yaml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Samples in which the series shows most of what it does; nothing is reported before. A block is a 75th of it.
    pub learning_samples: u32,
    /// Novelty that is reported, as a share of the range in which the series moves.
    pub tolerance: f64,
    /// How many times as novel as usual what is reported must be; 0 for however usual novelty is. At 8 noise raises
    /// fewer false alarms, and less is found.
    pub usual: f64,
    /// What was not seen for so many times the learning samples is forgotten.
    pub memory: f64,
}

impl Default for Parameters {
    fn default() -> Self {
        Parameters { learning_samples: 750, tolerance: 0.04, usual: 5.0, memory: 10.0 }
    }
}

/// Blocks in what is learned from: enough to know a range, and long enough for a mean that holds still.
const BLOCKS: u32 = 75;
/// Blocks before, with whose mean that of a block is compared.
const BEFORE: usize = 4;
/// How much the novelty of the extremes, of the course and of the step counts.
const WEIGHTS: [f64; 3] = [1.0, 0.5, 0.5];
/// The rest after a finding is this part of the learning samples.
const REST_PART: u64 = 5;
/// Within the rest, what is so many times as novel as what was found last is found again.
const WORSE: f64 = 2.0;
/// Values beyond count no further, so that no sum overflows.
const LARGEST: f64 = 1e290;

/// What a block gave away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Finding {
    /// The lowest or the highest value of a block is lower than any that is known beside such another.
    Low,
    /// One of them is higher than that.
    High,
    /// Such a level did not follow that of the blocks before.
    Course,
    /// The largest step from sample to sample is smaller or larger than any known.
    Step,
}

impl Finding {
    /// All of them.
    pub const ALL: [Finding; 4] = [Finding::Low, Finding::High, Finding::Course, Finding::Step];

    /// The word in alerts.
    pub fn name(self) -> &'static str {
        match self {
            Finding::Low => "low",
            Finding::High => "high",
            Finding::Course => "course",
            Finding::Step => "step",
        }
    }
}

/// A finding and the numbers that explain it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Hit {
    /// What.
    pub finding: Finding,
    /// The nearest that is known, in the signal's unit: the lowest or the highest value, the mean after blocks like those before,
    /// the largest step.
    pub expected: f64,
    /// What was seen in its place.
    pub seen: f64,
    /// The range in which such numbers moved.
    pub range: f64,
    /// The lowest and the highest value of the nearest known block, where these gave it away.
    pub nearest: Option<[f64; 2]>,
    /// How far over the limit: 1 is at the limit.
    pub score: f64,
}

/// What is known of one series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    block: Block,
    /// The sample before.
    last: Option<f64>,
    /// The means of the blocks before, the oldest first.
    means: Option<[f64; BEFORE]>,
    /// Blocks so far.
    blocks: u64,
    /// Extremes, course and step.
    known: [Known; 3],
    /// How novel each usually is.
    usual: [f64; 3],
    /// The last finding: the number of its block, and its score.
    found: Option<(u64, f64)>,
}

/// The block that is being filled.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Block {
    samples: u32,
    sum: f64,
    low: f64,
    high: f64,
    /// The largest; none of a single sample that nothing came before.
    step: Option<f64>,
}

impl State {
    /// The most that a state takes, in bytes.
    pub const BYTES_MAX: usize = size_of::<State>() + 3 * PAIRS * (size_of::<[f64; 2]>() + size_of::<u32>());

    /// Takes a sample. Answers a finding at most once a block; a value that is not finite is passed over.
    pub fn judge(&mut self, value: f64, parameters: &Parameters) -> Option<Hit> {
        if !value.is_finite() {
            return None;
        }
        let value = value.clamp(-LARGEST, LARGEST);
        self.block.take(value, self.last.replace(value));
        if self.block.samples < parameters.block_samples() {
            return None;
        }
        self.end_block(parameters)
    }

    /// Whether it has learned, and judges.
    pub fn is_ready(&self, parameters: &Parameters) -> bool {
        parameters.samples(self.blocks) > u64::from(parameters.learning_samples)
    }

    /// The context changed: what comes does not continue what came. All that is known stays known.
    pub fn begin(&mut self) {
        self.block = Block::default();
        self.last = None;
        self.means = None;
    }

    fn end_block(&mut self, parameters: &Parameters) -> Option<Hit> {
        let seen = self.close_block();
        let clock = Clock { now: self.blocks, memory: parameters.memory_blocks() };
        self.blocks += 1;
        let mut judged = [Judged::default(); 3];
        for (i, judged) in judged.iter_mut().enumerate() {
            judged.nearest = seen[i].and_then(|pair| self.known[i].nearest(pair, clock));
            let distance = judged.nearest.map_or(0.0, |nearest| nearest.distance);
            judged.novelty = distance * WEIGHTS[i] * parameters.weight(clock.now);
            judged.score = judged.novelty / parameters.limit(self.usual[i]);
        }

        // The first of several.
        let worst = (1..3).fold(0, |worst, i| if judged[i].score > judged[worst].score { i } else { worst });
        let score = judged[worst].score;
        let found = self.is_ready(parameters) && score >= self.limit(clock.now, parameters);
        let hit = match found {
            true => self.explain(worst, judged[worst], seen[worst], clock),
            false => None,
        };
        if found {
            self.found = Some((clock.now, score));
        }
        for (i, pair) in seen.iter().enumerate() {
            let Some(pair) = *pair else { continue };
            self.known[i].learn(pair, judged[i].nearest, clock);
            if let Some(weight) = parameters.usual_weight(clock) {
                let novelty = judged[i].novelty.min(parameters.tolerance);
                self.usual[i] += (novelty - self.usual[i]) * weight;
            }
        }
        hit
    }

    /// What the block that is full shows: extremes, course and step. The next one begins.
    fn close_block(&mut self) -> [Option<[f64; 2]>; 3] {
        let block = std::mem::take(&mut self.block);
        let mean = block.sum / f64::from(block.samples);
        let means = self.means.get_or_insert([mean; BEFORE]);
        let before = means.iter().sum::<f64>() / BEFORE as f64;
        means.rotate_left(1);
        means[BEFORE - 1] = mean;
        [Some([block.low, block.high]), Some([mean, before]), block.step.map(|step| [step; 2])]
    }

    /// The score from which a block is found: 1, or more in the rest after a finding.
    fn limit(&self, now: u64, parameters: &Parameters) -> f64 {
        let rest = u64::from(parameters.learning_samples) / REST_PART;
        match self.found {
            Some((at, score)) if parameters.samples(now - at) <= rest => score * WORSE,
            _ => 1.0,
        }
    }

    #[cold]
    fn explain(&self, which: usize, judged: Judged, seen: Option<[f64; 2]>, clock: Clock) -> Option<Hit> {
        let known = &self.known[which];
        let (seen, nearest) = (seen?, known.pair(judged.nearest?));
        // The number that is the farther off, of the two.
        let off = usize::from((seen[1] - nearest[1]).abs() > (seen[0] - nearest[0]).abs());
        let (finding, expected, seen) = match which {
            0 if seen[off] < nearest[off] => (Finding::Low, nearest[off], seen[off]),
            0 => (Finding::High, nearest[off], seen[off]),
            1 => (Finding::Course, known.with_second(seen[1], clock)?[0], seen[0]),
            _ => (Finding::Step, nearest[0], seen[0]),
        };
        let nearest = (which == 0).then_some(nearest);
        Some(Hit { finding, expected, seen, range: known.range(), nearest, score: judged.score })
    }
}

/// How a part of a block was judged.
#[derive(Clone, Copy, Default)]
struct Judged {
    nearest: Option<Nearest>,
    novelty: f64,
    score: f64,
}

impl Parameters {
    /// Samples of a block.
    pub fn block_samples(&self) -> u32 {
        (self.learning_samples.saturating_add(BLOCKS / 2) / BLOCKS).max(1)
    }

    fn samples(&self, blocks: u64) -> u64 {
        blocks.saturating_mul(u64::from(self.block_samples()))
    }

    fn learned_blocks(&self) -> f64 {
        f64::from(self.learning_samples.max(1)) / f64::from(self.block_samples())
    }

    /// How long is remembered, in blocks: not less than what is learned from.
    fn memory_blocks(&self) -> u32 {
        (self.memory.max(1.0) * self.learned_blocks()) as u32
    }

    /// How much novelty counts after so many blocks.
    fn weight(&self, blocks: u64) -> f64 {
        blocks as f64 / (blocks as f64 + self.learned_blocks())
    }

    /// The novelty that is reported of what is usually as novel as this.
    fn limit(&self, usual: f64) -> f64 {
        self.tolerance.max(self.usual * usual).max(f64::MIN_POSITIVE)
    }

    /// How much a block counts in what is usual; none in the first half of learning, when all is new.
    fn usual_weight(&self, clock: Clock) -> Option<f64> {
        let since = clock.now as f64 - 0.5 * self.learned_blocks();
        (since >= 0.0).then(|| (1.0 / (since + 1.0)).max(1.0 / f64::from(clock.memory.max(1))))
    }
}

impl Block {
    fn take(&mut self, value: f64, before: Option<f64>) {
        if self.samples == 0 {
            (self.low, self.high) = (value, value);
        }
        self.samples += 1;
        self.sum += value;
        self.low = self.low.min(value);
        self.high = self.high.max(value);
        if let Some(before) = before {
            let step = (value - before).abs();
            self.step = Some(self.step.map_or(step, |largest| largest.max(step)));
        }
    }
}

#[cfg(test)]
mod tests;
