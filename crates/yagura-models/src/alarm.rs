//! From scores to alarms: a limit from the tail of what was normal, and a [`Tracker`] that holds the rate of alarms and
//! tells a deviation that lasts once.
//!
//! A model's statistic is divided by its limit, so that every score means the same: 1 is the limit. Limits that are set for a
//! rate of ordinary scores are passed every day by some of a large fleet; a budget of alarms counts by how rare they are
//! (see [`Rarity`]).

use serde::{Deserialize, Serialize};

use crate::linear::quantile;
use crate::logarithm::log2;

/// The value that a statistic exceeds at the rate `nominal` when all is normal, from values of a normal time that
/// the model was not fitted to: an exponential tail through their 90th and 99th percentile (the limit case of the
/// generalised Pareto tail, Pickands 1975, with shape 0: two quantiles of some hundred values carry no shape). Beside it
/// what lies between the values of two rates of which one is a tenth of the other.
pub fn limit(values: &[f64], nominal: f64) -> (f64, f64) {
    let (inner, outer) = (quantile(values, 0.90), quantile(values, 0.99));
    (outer + (outer - inner) * decades(0.01 / nominal.max(1e-12)), outer - inner)
}

/// The same of few values, some tens: with the tail through their median and 95th percentile. Answers the median and the limit;
/// what lies between them is the scale on which such statistics are compared.
pub fn limit_of_few(values: &[f64], nominal: f64) -> (f64, f64) {
    let (middle, outer) = (quantile(values, 0.50), quantile(values, 0.95));
    let scale = (outer - middle).max(1e-3 * middle.abs()).max(1e-9);
    (middle, middle + scale * decades(0.5 / nominal.clamp(1e-12, 0.25)))
}

/// What a decade is of what lies between the median and that limit.
pub fn decade_of_few(nominal: f64) -> f64 {
    1.0 / decades(0.5 / nominal.clamp(1e-12, 0.25))
}

fn decades(ratio: f64) -> f64 {
    log2(ratio) * std::f64::consts::LOG10_2
}

/// How rare scores are, on the scale that budgets are held on (see [`crate::fleet`]): there an ordinary key comes to
/// [`Rarity::ONCE_A_DAY`] once a day, and to 1 once in as many years as nobody counts. So what comes near the limits of a fleet
/// is some incidents a day and not an endless one, whatever rate the model's own limits were set for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rarity {
    /// Powers of ten by which a score of 1 is rarer than every one, and those of the budget's 1.
    calibrated: f64,
    scale: f64,
}

impl Rarity {
    /// Where an ordinary key is once a day: where incidents are followed from in a budget as it is shipped.
    pub const ONCE_A_DAY: f64 = 0.4;

    /// Of what is judged so many times a day for each key, with limits that a share of `nominal` exceeds by chance.
    pub fn new(a_day: f64, nominal: f64) -> Rarity {
        let a_day = if a_day.is_finite() { a_day.clamp(10.0, 1e9) } else { 10.0 };
        Rarity {
            calibrated: decades(1.0 / nominal.clamp(1e-12, 0.5)),
            scale: decades(a_day) / Self::ONCE_A_DAY,
        }
    }

    /// What a model's score is there; `decade` is by how much a score is higher that is ten times rarer.
    pub fn of(&self, score: f64, decade: f64) -> f64 {
        (self.calibrated + (score - 1.0) / decade) / self.scale
    }

    /// The model's score that is this there.
    pub fn score(&self, rarity: f64, decade: f64) -> f64 {
        1.0 + (rarity * self.scale - self.calibrated) * decade
    }
}

/// What a score means for the alarm.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alarm {
    /// There is none.
    Off,
    /// It begins with this score, and is told.
    Begins,
    /// It began before, was told then, and goes on.
    Lasts,
}

impl Alarm {
    /// Whether there is one.
    pub fn is_on(self) -> bool {
        self != Alarm::Off
    }
}

/// Makes alarms of scores (1 is the calibrated limit), and raises the limit while they begin more often than a budget
/// has it. An alarm begins above the limit in force and lasts until a score is back at the calibrated one, so that it
/// is told once however long it lasts; what lies between the two limits is its hysteresis. The limit comes back by
/// itself and is never below the one that was calibrated.
///
/// Alarms are counted, not the scores of one: a limit that followed every score of a deviation that lasts would be deaf
/// for hours after it. The step is that of a stochastic approximation of a rate (Robbins and Monro 1951), not less as it goes
/// on, so that it follows what changes (as in adaptive conformal inference, Gibbs and Candès 2021).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Tracker {
    factor: f64,
    on: bool,
}

/// The most that a limit is raised by: what comes farther is always told. None of the labelled sets brings it to 2.
const RAISED_MAX: f64 = 3.0;
/// By how much an alarm raises the limit: seventy double it. Twice as much costs detections of BATADAL, half as much
/// holds SMD's rate less.
const STEP: f64 = 0.01;

impl Default for Tracker {
    fn default() -> Self {
        Tracker { factor: 1.0, on: false }
    }
}

impl Tracker {
    /// What the next score means, at a budget of `nominal` alarms a score.
    pub fn judge(&mut self, score: f64, nominal: f64) -> Alarm {
        if score > 1.0 && self.on {
            return Alarm::Lasts;
        }
        self.on = score > self.factor;
        let step = if self.on { STEP } else { -STEP * nominal };
        self.factor = (self.factor * (1.0 + step)).clamp(1.0, RAISED_MAX);
        if self.on { Alarm::Begins } else { Alarm::Off }
    }

    /// What came before does not count: an alarm is over.
    pub fn end(&mut self) {
        self.on = false;
    }

    /// How many times the calibrated limit is in force for the next alarm.
    pub fn factor(&self) -> f64 {
        self.factor
    }

    /// Whether it can have come about: for one that comes from a file.
    pub fn is_sound(&self) -> bool {
        (1.0..=RAISED_MAX).contains(&self.factor)
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
        let (limit, decade) = limit(&values, 1e-3);
        let over = |limit: f64| values.iter().filter(|&&value| value > limit).count();
        assert!((90..=110).contains(&over(limit)), "{}", over(limit));
        assert!((900..=1100).contains(&over(limit - decade)), "{}", over(limit - decade));
    }

    #[test]
    fn once_a_day_is_the_same_rarity_whatever_the_limits_were_set_for() {
        let values: Vec<f64> = exponential(100_000).collect();
        for nominal in [1e-2, 1e-3, 1e-6] {
            let (limit, decade) = limit(&values, nominal);
            let rarity = Rarity::new(1000.0, nominal);
            // The hundred highest of a hundred thousand, at a thousand a day: those of a hundred days.
            let far = rarity.score(Rarity::ONCE_A_DAY, decade / limit) * limit;
            let over = values.iter().filter(|&&value| value > far).count();
            assert!((90..=110).contains(&over), "{nominal}: {over}");
            let back = rarity.of(far / limit, decade / limit);
            assert!((back - Rarity::ONCE_A_DAY).abs() < 1e-9, "{back}");
        }
        for a_day in [f64::NAN, 0.0, f64::INFINITY] {
            assert!(Rarity::new(a_day, 0.0).of(2.0, 0.1).is_finite());
        }
    }

    fn begun(tracker: &mut Tracker, scores: impl Iterator<Item = f64>) -> usize {
        scores.filter(|&score| tracker.judge(score, 1e-3) == Alarm::Begins).count()
    }

    #[test]
    fn the_tracker_holds_the_rate_when_the_scores_have_grown() {
        // Every twentieth score is above the calibrated limit.
        let scores = || exponential(100_000).map(|value| value / 3.0);
        let mut tracker = Tracker::default();
        let alarms = begun(&mut tracker, scores());
        assert!((50..=300).contains(&alarms), "{alarms}");
        assert!((4000..=6000).contains(&scores().filter(|&score| score > 1.0).count()));
    }

    #[test]
    fn an_alarm_that_lasts_is_told_once_and_does_not_make_deaf() {
        let mut tracker = Tracker::default();
        let alarms: Vec<Alarm> = (0..1000).map(|_| tracker.judge(1.5, 1e-3)).collect();
        assert_eq!((alarms[0], alarms[1], alarms[999]), (Alarm::Begins, Alarm::Lasts, Alarm::Lasts));
        assert_eq!(tracker.factor(), 1.01);
        assert_eq!(tracker.judge(1.0, 1e-3), Alarm::Off);
        assert_eq!(tracker.judge(1.5, 1e-3), Alarm::Begins);
    }

    #[test]
    fn what_comes_far_is_told_however_often_it_does() {
        let mut tracker = Tracker::default();
        let alarms = begun(&mut tracker, (0..20_000).map(|i| [0.5, 3.1][i % 2]));
        assert_eq!(alarms, 10_000);
        assert!(tracker.is_sound() && tracker.factor() > 2.9);
    }

    #[test]
    fn the_tracker_never_goes_below_what_was_calibrated() {
        let mut tracker = Tracker::default();
        assert_eq!(begun(&mut tracker, std::iter::repeat_n(0.5, 10_000)), 0);
        assert_eq!(tracker.factor(), 1.0);
        assert_eq!(tracker.judge(1.01, 1e-3), Alarm::Begins);
    }

    #[test]
    fn a_score_that_is_no_number_is_no_alarm() {
        let mut tracker = Tracker::default();
        assert_eq!(tracker.judge(2.0, 1e-3), Alarm::Begins);
        assert_eq!(tracker.judge(f64::NAN, 1e-3), Alarm::Off);
        assert!(tracker.is_sound());
    }
}
