//! D6, the exact repeat: telemetry that was recorded and is played again. The readings of a sensor hardly ever come
//! again to the last digit, one after the other; what an attacker plays to hide a process does (Langner 2013 on
//! Stuxnet, which played 21 seconds of recorded readings again and again).
//!
//! Every window of [`WINDOW`] samples has a hash of its values' bits. A quarter of the windows, chosen by the hash itself
//! (winnowing, Schleimer, Wilkerson and Aiken 2003), are remembered with their places. When they come again at the same distance, one
//! after the other, the run of samples that repeat what was before grows. Signals of few levels and set points repeat by
//! themselves: while learning the longest such run is noted, and only what is several times as long is told; a signal that
//! repeats itself for half of that time is not judged.
//! Windows in which less than three values change say nothing and are passed over.
//!
//! Cost: one rolling hash a sample, one look into the table every fourth. State: [`State::BYTES_MAX`].

use serde::{Deserialize, Serialize};

/// The name in pipelines.
pub const NAME: &str = "repeat";

/// What the user may set; the defaults are those of `models/repeat.yaml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Samples in which the longest ordinary repeat is noted; nothing is told before.
    pub learning_samples: u32,
    /// Samples that repeat what was before, one after the other, that are told at least.
    pub run_samples: u32,
    /// And at least so many times the longest repeat while learning.
    pub times_longest: u32,
}

impl Default for Parameters {
    fn default() -> Self {
        Parameters { learning_samples: 1000, run_samples: 48, times_longest: 8 }
    }
}

/// Samples of a window.
pub const WINDOW: usize = 8;
/// Changes within a window that make it say something.
const CHANGES: u32 = 3;
/// Windows that are remembered at most: with a quarter of all, those of some 4,000 samples.
const PLACES: usize = 1024;
/// A window is remembered when these bits of its hash are 0.
const CHOSEN: u64 = 3 << 32;
/// Samples that a repeat may go on for without a remembered window, before it has ended.
const PATIENCE: u64 = 48;
/// Odd, with bits all over: what samples are multiplied by (Knuth's multiplicative hashing).
const MIX: u64 = 0x9E37_79B9_7F4A_7C15;

/// A repeat that is long enough.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hit {
    /// Samples so far that repeat what was before.
    pub run: u64,
    /// How many samples before.
    pub distance: u64,
    /// The length that is told.
    pub limit: u64,
}

/// What is known of one signal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// The last values' bits, hashed, the oldest at [`Self::samples`] modulo the window.
    window: [u64; WINDOW],
    hash: u64,
    /// Which of the last samples differed from the one before, the last one lowest.
    changes: u8,
    last: u64,
    samples: u64,
    /// By hash: another part of it, and the place.
    places: Vec<(u32, u32)>,
    /// The repeat under way.
    distance: u64,
    from: u64,
    until: u64,
    told: bool,
    /// The longest while learning.
    longest: u64,
}

impl State {
    /// The most that a state takes, in bytes.
    pub const BYTES_MAX: usize = size_of::<State>() + PLACES * size_of::<(u32, u32)>();

    /// Takes a sample. Answers a repeat once, when it is long enough; a value that is not finite is passed over.
    pub fn judge(&mut self, value: f64, parameters: &Parameters) -> Option<Hit> {
        if !value.is_finite() {
            return None;
        }
        // Both zeros are the same reading.
        let bits = if value == 0.0 { 0 } else { value.to_bits() };
        let mixed = (bits ^ bits >> 29).wrapping_mul(MIX);
        let mixed = mixed ^ mixed >> 32;
        let at = (self.samples % WINDOW as u64) as usize;
        let oldest = std::mem::replace(&mut self.window[at], mixed);
        self.hash = self.hash.wrapping_sub(oldest.wrapping_mul(POWER)).wrapping_mul(MIX).wrapping_add(mixed);
        self.changes = self.changes << 1 | u8::from(bits != self.last && self.samples > 0);
        self.last = bits;
        self.samples += 1;
        if self.samples < WINDOW as u64 || self.changes.count_ones() < CHANGES {
            return None;
        }
        let hash = self.hash ^ self.hash >> 31;
        if hash & CHOSEN != 0 {
            return None;
        }
        self.look_up(hash);
        self.told(parameters)
    }

    /// Whether it has learned, and judges.
    pub fn is_ready(&self, parameters: &Parameters) -> bool {
        self.samples > u64::from(parameters.learning_samples)
    }

    /// The context changed: what comes does not continue what came. All that is known stays known.
    pub fn begin(&mut self) {
        self.distance = 0;
        self.told = false;
    }

    /// Compares the window that ends here with what is remembered, and remembers it.
    fn look_up(&mut self, hash: u64) {
        if self.places.is_empty() {
            self.places.resize(PLACES, (0, 0));
        }
        let (tag, now) = ((hash >> 35) as u32 | 1, self.samples as u32);
        let slot = &mut self.places[hash as usize % PLACES];
        let (known, place) = std::mem::replace(slot, (tag, now));
        let distance = u64::from(now.wrapping_sub(place));
        // Some windows of what is played again were overwritten: a few that are new do not end it.
        if self.samples - self.until > PATIENCE {
            self.begin();
        }
        if known == tag {
            if distance != self.distance {
                (self.distance, self.from, self.told) = (distance, self.samples - WINDOW as u64, false);
            }
            self.until = self.samples;
        }
    }

    fn told(&mut self, parameters: &Parameters) -> Option<Hit> {
        if self.distance == 0 {
            return None;
        }
        let run = self.until - self.from;
        if !self.is_ready(parameters) {
            self.longest = self.longest.max(run);
            return None;
        }
        if self.longest >= u64::from(parameters.learning_samples) / 2 {
            // It does nothing else: a set point, or a simulation.
            return None;
        }
        let longest = self.longest.saturating_mul(u64::from(parameters.times_longest));
        let limit = longest.max(u64::from(parameters.run_samples));
        if self.told || run < limit {
            return None;
        }
        self.told = true;
        Some(Hit { run, distance: self.distance, limit })
    }
}

/// [`MIX`] to the power of one less than the window: the weight of its oldest sample.
const POWER: u64 = {
    let (mut power, mut n) = (1_u64, 1);
    while n < WINDOW {
        power = power.wrapping_mul(MIX);
        n += 1;
    }
    power
};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Noise;

    fn feed(state: &mut State, values: impl IntoIterator<Item = f64>) -> Vec<Hit> {
        let parameters = Parameters::default();
        values.into_iter().filter_map(|value| state.judge(value, &parameters)).collect()
    }

    fn readings(noise: &mut Noise, n: usize) -> Vec<f64> {
        (0..n).map(|_| ((50.0 + noise.normal()) * 1000.0).round() / 1000.0).collect()
    }

    #[test]
    fn readings_that_are_played_again_are_told_once() {
        let (mut noise, mut state) = (Noise(5), State::default());
        let first = readings(&mut noise, 2000);
        assert_eq!(feed(&mut state, first.iter().copied()), []);
        assert_eq!(feed(&mut state, readings(&mut noise, 700)), []);
        let hits = feed(&mut state, first[1200..1500].iter().copied());
        let [hit] = &hits[..] else { panic!("{hits:?}") };
        assert_eq!(hit.distance, 1500);
        assert!((48..100).contains(&hit.run), "{hit:?}");
        assert_eq!(feed(&mut state, readings(&mut noise, 1000)), [], "and over");
    }

    #[test]
    fn a_loop_of_21_samples_is_told_once() {
        let (mut noise, mut state) = (Noise(5), State::default());
        feed(&mut state, readings(&mut noise, 2000));
        let recorded = readings(&mut noise, 21);
        let hits = feed(&mut state, recorded.iter().copied().cycle().take(2000));
        assert_eq!(hits.len(), 1, "{hits:?}");
        assert_eq!(hits[0].distance, 21);
    }

    #[test]
    fn noise_few_levels_and_set_points_are_silent() {
        let mut noise = Noise(11);
        let mut coarse = State::default();
        assert_eq!(feed(&mut coarse, (0..200_000).map(|_| (noise.normal() * 2.0).round())), []);
        let mut switch = State::default();
        assert_eq!(feed(&mut switch, (0..50_000).map(|i| f64::from(i / 7 % 2))), []);
        // A recipe that is set in the same steps again and again.
        let mut ramp = State::default();
        assert_eq!(feed(&mut ramp, (0..50_000).map(|i| f64::from(i % 300))), []);
        let mut fine = State::default();
        assert_eq!(feed(&mut fine, readings(&mut noise, 200_000)), []);
    }

    #[test]
    fn restarted_anywhere_it_goes_on_the_same_and_bad_values_are_passed_over() {
        let (mut noise, mut state) = (Noise(5), State::default());
        let first = readings(&mut noise, 2000);
        feed(&mut state, first.iter().copied());
        let mut again: State = postcard::from_bytes(&postcard::to_stdvec(&state).unwrap()).unwrap();
        assert_eq!(again, state);
        let bad = [f64::NAN, f64::INFINITY];
        assert_eq!(feed(&mut again, bad), []);
        assert_eq!(again, state);
        let play = &first[500..700];
        assert_eq!(feed(&mut state, play.iter().copied()), feed(&mut again, play.iter().copied()));
        assert!(size_of::<State>() + state.places.len() * 8 <= State::BYTES_MAX);
    }

    #[test]
    fn the_rolling_hash_forgets_what_left_the_window() {
        let (mut one, mut other) = (State::default(), State::default());
        feed(&mut one, [1.0, 2.0, 3.0]);
        feed(&mut other, [9.0]);
        let same: Vec<f64> = (0..16).map(f64::from).collect();
        feed(&mut one, same.iter().copied());
        feed(&mut other, same);
        assert_eq!(one.hash, other.hash);
    }
}
