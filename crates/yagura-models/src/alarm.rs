//! From scores to alarms: a limit from the tail of what was normal, and a tracker that holds the rate of alarms.
//!
//! A model's statistic is divided by its limit, so that every score means the same: 1 is the limit.

use serde::{Deserialize, Serialize};

use crate::linear::quantile;
use crate::logarithm::log2;

/// The value that a statistic exceeds at the rate `nominal` when all is normal, from values of a normal time that
/// the model was not fitted to: an exponential tail through their 90th and 99th percentile (the limit case of the
/// generalised Pareto tail, Pickands 1975, with shape 0: two quantiles of some hundred values carry no shape).
pub fn limit(values: &[f64], nominal: f64) -> f64 {
    let (inner, outer) = (quantile(values, 0.90), quantile(values, 0.99));
    outer + (outer - inner) * decades(0.01 / nominal.max(1e-12))
}

/// The same of few values, some tens: with the tail through their median and 95th percentile. Answers the median and the limit;
/// what lies between them is the scale on which such statistics are compared.
pub fn limit_of_few(values: &[f64], nominal: f64) -> (f64, f64) {
    let (middle, outer) = (quantile(values, 0.50), quantile(values, 0.95));
    let scale = (outer - middle).max(1e-3 * middle.abs()).max(1e-9);
    (middle, middle + scale * decades(0.5 / nominal.clamp(1e-12, 0.25)))
}

fn decades(ratio: f64) -> f64 {
    log2(ratio) * std::f64::consts::LOG10_2
}

/// Follows scores and raises their limit when alarms come more often than the budget has it; the limit comes back
/// by itself and is never below the one that was calibrated.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tracker {
    factor: f64,
}

/// The most that a tracker raises a limit by: beyond it a signal is not judged but muted, which people decide.
const RAISED_MAX: f64 = 30.0;
/// By how much one alarm raises the limit.
const STEP: f64 = 0.015;

impl Default for Tracker {
    fn default() -> Self {
        Tracker { factor: 1.0 }
    }
}

impl Tracker {
    /// Whether a score (1 is the calibrated limit) is an alarm at a budget of `nominal` alarms a score.
    pub fn judge(&mut self, score: f64, nominal: f64) -> bool {
        let alarm = score > self.factor;
        let step = if alarm { STEP * (1.0 - nominal) } else { -STEP * nominal };
        self.factor = (self.factor * (1.0 + step)).clamp(1.0, RAISED_MAX);
        alarm
    }

    /// How many times the calibrated limit is in force now.
    pub fn factor(&self) -> f64 {
        self.factor
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Exponential values by inversion of evenly spread shares.
    fn exponential(n: usize) -> impl Iterator<Item = f64> {
        (0..n).map(move |i| -(1.0 - ((i * 7919) % n) as f64 / n as f64).ln())
    }

    #[test]
    fn the_limit_of_an_exponential_tail_is_exceeded_at_the_nominal_rate() {
        let values: Vec<f64> = exponential(100_000).collect();
        let limit = limit(&values, 1e-3);
        let over = values.iter().filter(|&&value| value > limit).count();
        assert!((90..=110).contains(&over), "{over}");
    }

    #[test]
    fn the_tracker_holds_the_rate_when_the_scores_have_grown() {
        let mut tracker = Tracker::default();
        // Every tenth score is above the calibrated limit.
        let scores = exponential(100_000).map(|value| value / 2.3);
        let alarms = scores.filter(|&score| tracker.judge(score, 1e-3)).count();
        assert!((50..=400).contains(&alarms), "{alarms}");
    }

    #[test]
    fn the_tracker_never_goes_below_what_was_calibrated() {
        let mut tracker = Tracker::default();
        assert!((0..10_000).all(|_| !tracker.judge(0.5, 1e-3)));
        assert_eq!(tracker.factor(), 1.0);
        assert!(tracker.judge(1.01, 1e-3));
    }
}
