//! Values that were written to one place: some few, or a range.

use serde::{Deserialize, Serialize};

use super::novelty::Novelty;
use super::{Parameters, UsualValues, Written};
use crate::logarithm::log2;

/// As many different values are remembered one by one; of more, numbers have a range, and words are all
/// alike.
const VALUES: usize = 8;

/// What was written to a place, by whomever.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Place {
    /// The first of them, in the order in which they came.
    values: Vec<u64>,
    /// Whether there were more than these.
    many: bool,
    /// Whether a word was among them.
    words: bool,
    range: Option<(f64, f64)>,
    /// What was new since the approval: one value, and the range of all of them.
    since: Option<(u64, f64, f64)>,
    novelty: Novelty,
}

/// A value that was not written before.
pub(super) struct New {
    /// How unlikely it is.
    pub(super) bits: f32,
    /// The nearest that was.
    pub(super) expected: Option<f64>,
    pub(super) seen: Option<f64>,
    /// How many writes were learned.
    pub(super) learned: u32,
}

impl Place {
    /// Judges what is written, or learns it.
    pub(super) fn take(&mut self, written: Written, approved: bool, parameters: &Parameters) -> Option<New> {
        let (bits, number) = match written {
            Written::Nothing => return None,
            // One zero.
            Written::Number(number) if number.is_finite() => ((number + 0.0).to_bits(), Some(number)),
            Written::Number(_) => return None,
            Written::Word(word) => (word, None),
        };
        let outside = self.outside(bits, number, parameters.value_margin);
        if !approved {
            self.novelty.trial(outside.is_some());
            self.learn(bits, number);
            return None;
        }
        let (beyond, expected) = outside?;
        let number_or_zero = number.unwrap_or(0.0);
        let (_, low, high) = self.since.unwrap_or((bits, number_or_zero, number_or_zero));
        self.since = Some((bits, low.min(number_or_zero), high.max(number_or_zero)));
        let bits = self.novelty.bits() + beyond;
        Some(New { bits, expected, seen: number, learned: self.novelty.trials() })
    }

    /// What was written there; none while nothing was.
    pub(super) fn usual(&self) -> Option<UsualValues> {
        if self.values.is_empty() {
            return None;
        }
        Some(match self.range {
            _ if self.words => UsualValues::Words(self.values.len()),
            Some((low, high)) if self.many => UsualValues::Range(low, high),
            _ => UsualValues::Numbers(self.values.iter().map(|&bits| f64::from_bits(bits)).collect()),
        })
    }

    /// What was new is known from now on: the last new value, or the range of all of them.
    pub(super) fn approve(&mut self) {
        if let Some((value, low, high)) = self.since.take() {
            if self.words {
                self.learn(value, None);
            } else {
                self.learn(low.to_bits(), Some(low));
                self.learn(high.to_bits(), Some(high));
                self.learn(value, Some(f64::from_bits(value)));
            }
        }
    }

    /// Whether a value is new: bits for how far it is from all that were, where that can be said, and the
    /// nearest of them.
    fn outside(&self, bits: u64, number: Option<f64>, margin: f64) -> Option<(f32, Option<f64>)> {
        if self.values.contains(&bits) {
            return None;
        }
        let Some((low, high)) = self.range.filter(|_| !self.words) else {
            return (!self.many).then_some((0.0, None));
        };
        let Some(number) = number else { return Some((0.0, None)) };
        let range = (high - low).max(low.abs().max(high.abs()) * 1e-6);
        let beyond = (low - number).max(number - high);
        if self.many {
            let beyond = beyond - margin * range;
            let nearest = if number < low { low } else { high };
            return (beyond > 0.0).then(|| (log2(1.0 + beyond / range.max(1e-300)) as f32, Some(nearest)));
        }
        let known = self.values.iter().map(|&v| f64::from_bits(v));
        let nearest = known.min_by(|a, b| (a - number).abs().total_cmp(&(b - number).abs()));
        Some((0.0, nearest))
    }

    fn learn(&mut self, bits: u64, number: Option<f64>) {
        if !self.values.contains(&bits) {
            match self.values.len() < VALUES {
                true => self.values.push(bits),
                false => self.many = true,
            }
        }
        match number {
            Some(number) => {
                let (low, high) = self.range.unwrap_or((number, number));
                self.range = Some((low.min(number), high.max(number)));
            }
            None => self.words = true,
        }
    }
}
