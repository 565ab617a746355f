//! What a model saw around its finding, as evidence: the course of a signal beside what was expected of it, which
//! `yagura_respond::picture` draws. All models of samples make it here.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The course of a signal until its finding.
#[derive(Debug, Default)]
pub(super) struct Around {
    /// Seconds from one value to the next, on average.
    pub(super) period_s: f64,
    /// What was seen; what is not finite is missing.
    pub(super) seen: Vec<f64>,
    /// What was expected of each; empty where nothing of the kind is.
    pub(super) expected: Vec<f64>,
    /// How far from it is usual, where that is not the finding's own deviation.
    pub(super) deviation: Option<f64>,
    /// How many of the last values deviated.
    pub(super) marked: usize,
}

impl Around {
    /// As it stands in evidence, under `around`.
    pub(super) fn told(&self) -> Value {
        let numbers = |values: &[f64]| -> Vec<f64> { values.iter().map(|&value| short(value)).collect() };
        let mut told = json!({
            "period_s": self.period_s, "seen": numbers(&self.seen), "expected": numbers(&self.expected),
            "marked": self.marked,
        });
        if let Some(deviation) = self.deviation {
            told["deviation"] = short(deviation).into();
        }
        told
    }
}

/// With seven digits: more cannot be drawn, and what a model keeps in single precision has no more.
fn short(value: f64) -> f64 {
    format!("{value:.6e}").parse().unwrap_or(value)
}

/// Values in their order, evenly thinned out: of more than there is room for, every second goes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Trace<T> {
    values: Vec<T>,
    /// Values so far, and of how many one is kept, as a power of two.
    seen: u64,
    thinned: u32,
}

impl<T> Default for Trace<T> {
    fn default() -> Self {
        Trace { values: Vec::new(), seen: 0, thinned: 0 }
    }
}

impl<T> Trace<T> {
    /// Takes a value; of all so far no more than `most` are kept.
    pub(super) fn push(&mut self, value: T, most: usize) {
        if self.seen.is_multiple_of(1 << self.thinned) {
            if self.values.len() >= most {
                let mut at = 0;
                self.values.retain(|_| {
                    at += 1;
                    at % 2 == 1
                });
                self.thinned = (self.thinned + 1).min(63);
            }
            if self.seen.is_multiple_of(1 << self.thinned) {
                self.values.push(value);
            }
        }
        self.seen += 1;
    }

    /// Of how many values one is kept.
    pub(super) fn one_in(&self) -> usize {
        1 << self.thinned.min(usize::BITS - 2)
    }

    /// Those that are kept.
    pub(super) fn values(&self) -> &[T] {
        &self.values
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_keeps_its_first_value_and_is_evenly_spaced_however_long_it_gets() {
        let mut trace = Trace::default();
        for value in 0..10_000 {
            trace.push(value, 32);
            let kept = trace.values();
            assert!(kept.len() <= 32 && kept[0] == 0);
            assert!(kept.windows(3).all(|three| three[1] - three[0] == three[2] - three[1]), "{kept:?}");
            assert!(kept.len() > value.min(15) as usize, "{kept:?}");
        }
    }

    #[test]
    fn numbers_are_short_and_what_is_none_is_null() {
        let around = Around { seen: vec![f64::from(0.1_f32), f64::NAN, 1e300], ..Around::default() };
        assert_eq!(around.told()["seen"].to_string(), "[0.1,null,1e+300]");
        assert!(around.told().get("deviation").is_none());
        let around = Around { deviation: Some(1.0 / 3.0), ..around };
        assert_eq!(around.told()["deviation"], 0.333_333_3);
    }
}
