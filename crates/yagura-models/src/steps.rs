//! D3, the fingerprint of a process step: what fault detection and classification does. Each run of a (recipe, step)
//! becomes one vector, the level, the spread and the drift of every signal in it, and is compared with the vectors of
//! earlier runs.
//!
//! Regularised T² after Hotelling 1931 with the shrinkage of Schäfer and Strimmer 2005 instead of a number of
//! principal components (Wise et al. 1999 used those on the same kind of data): it needs no choice, and was measured
//! to be at least as good. The worst single feature is judged beside it.

use ndarray::{Array2, ArrayView2, Axis, s};
use serde::{Deserialize, Serialize};

use crate::alarm;
use crate::covariance::Covariance;
use crate::linear::moments;

/// The name in pipelines.
pub const NAME: &str = "steps";
/// Version of what [`Step`] means.
pub const VERSION: u16 = 1;
/// Features a signal: level, spread, drift.
pub const FEATURES: [&str; 3] = ["level", "spread", "drift"];
/// The most signals of a step.
pub const SIGNALS_MAX: usize = 64;
/// Values at the beginning of a step that are left out while the process settles, if there are enough.
const SETTLE: usize = 2;
/// Runs that are needed at least.
pub const RUNS_MIN: usize = 10;
/// A feature's standard deviation is taken for at least this share of its largest value.
const RESOLUTION: f64 = 1e-3;
/// Features further than this many standard deviations from their mean count no further.
const FAR: f64 = 30.0;
/// The variance that features have at least, in theirs.
const FLOOR: f64 = 0.01;
/// Parts that take turns in being left out while the limits are found.
const FOLDS: usize = 5;

/// What the user may set; the defaults are those of `models/steps.yaml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Share of ordinary runs that are beyond the limit by chance.
    pub nominal: f64,
    /// The most by which recorded maintenance may move an approved feature, in standard deviations.
    pub maintenance_sigma: f64,
}

impl Default for Parameters {
    fn default() -> Self {
        Parameters { nominal: 1e-3, maintenance_sigma: 6.0 }
    }
}

/// The features of one signal in one run of a step, from its values in their order; NaN without any.
pub fn features(values: &[f64]) -> [f64; 3] {
    let from = if values.len() > 4 * SETTLE { SETTLE } else { 0 };
    let values = &values[from..];
    let third = (values.len() / 3).max(1).min(values.len());
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let level = mean(values);
    let square = values.iter().map(|value| (value - level) * (value - level)).sum::<f64>();
    let spread = (square / values.len() as f64).sqrt();
    [level, spread, mean(&values[values.len() - third..]) - mean(&values[..third])]
}

/// What the runs of one step are like.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Step {
    mean: Vec<f64>,
    scale: Vec<f64>,
    normal: Covariance,
    /// Of the distance and of the worst feature: what is usual, and the limit.
    limits: [(f64, f64); 2],
}

/// What is said of a run.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// How far: 1 is the limit, 0 the middle of what is normal.
    pub score: f64,
    /// No feature is far by itself: it is how they go together.
    pub together: bool,
    /// Features by their deviation, the largest first: which, and how many standard deviations.
    pub features: Vec<(usize, f64)>,
}

impl Step {
    /// Learns from the features of normal runs, one a row: of each signal the three that [`features`] answers. None if
    /// there are fewer than [`RUNS_MIN`]. What is not finite is missing.
    pub fn fit(runs: ArrayView2<'_, f64>, nominal: f64) -> Option<Step> {
        let n = runs.nrows();
        if n < RUNS_MIN || runs.ncols() == 0 {
            return None;
        }
        let (mut distances, mut worst) = (Vec::new(), Vec::new());
        for fold in 0..FOLDS {
            let (from, to) = (fold * n / FOLDS, (fold + 1) * n / FOLDS);
            let others: Vec<usize> = (0..from).chain(to..n).collect();
            let step = Step::of(runs.select(Axis(0), &others).view());
            for run in runs.slice(s![from..to, ..]).rows() {
                let off = step.deviation(run.iter().copied());
                distances.push(f64::from(step.normal.distance(&off)));
                worst.push(f64::from(step.normal.each(&off).fold(0.0, f32::max)));
            }
        }
        let limits = [&distances, &worst].map(|values| alarm::limit_of_few(values, nominal));
        Some(Step { limits, ..Step::of(runs) })
    }

    fn of(runs: ArrayView2<'_, f64>) -> Step {
        let (mean, deviation) = moments(runs);
        let largest =
            |i: usize| runs.column(i).iter().filter(|v| v.is_finite()).fold(0.0_f64, |m, v| m.max(v.abs()));
        let scale = deviation.iter().enumerate().map(|(i, d)| d.max(RESOLUTION * largest(i)).max(1e-9));
        let scale: Vec<f64> = scale.collect();
        let z = Array2::from_shape_fn(runs.dim(), |(t, i)| {
            let off = (runs[[t, i]] - mean[i]) / scale[i];
            if off.is_finite() { off.clamp(-FAR, FAR) } else { 0.0 }
        });
        Step { normal: Covariance::of(z.view(), FLOOR), mean, scale, limits: [(0.0, 1.0); 2] }
    }

    /// Judges the features of a run.
    pub fn judge(&self, features: &[f64]) -> Verdict {
        let off = self.deviation(features.iter().copied());
        let distance = f64::from(self.normal.distance(&off));
        let mut by: Vec<(usize, f64)> =
            self.normal.each(&off).map(|e| f64::from(e).sqrt()).enumerate().collect();
        by.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let worst = by.first().map_or(0.0, |(_, off)| off * off);
        let scores = [distance, worst].into_iter().zip(self.limits);
        let scores: Vec<f64> =
            scores.map(|(value, (middle, limit))| (value - middle) / (limit - middle)).collect();
        Verdict { score: scores[0].max(scores[1]), together: scores[1] <= 1.0, features: by }
    }

    /// By how much a score is higher that a tenth as many ordinary runs come to.
    pub fn decade(parameters: &Parameters) -> f64 {
        alarm::decade_of_few(parameters.nominal)
    }

    /// How many features.
    pub fn width(&self) -> usize {
        self.mean.len()
    }

    /// What is expected of a feature, and its standard deviation.
    pub fn expected(&self, feature: usize) -> (f64, f64) {
        let at = |of: &[f64]| of.get(feature).copied().unwrap_or_default();
        (at(&self.mean), at(&self.scale))
    }

    /// Whether it can be judged by; one that came from elsewhere may not be.
    pub fn is_sound(&self) -> bool {
        let width = self.width();
        width > 0
            && width <= FEATURES.len() * SIGNALS_MAX
            && self.scale.len() == width
            && self.mean.iter().all(|mean| mean.is_finite())
            && self.scale.iter().all(|scale| scale.is_finite() && *scale > 0.0)
            && self.limits.iter().all(|(middle, limit)| limit.is_finite() && limit > middle)
            && self.normal.is_of(width)
    }

    /// Learned anew after maintenance, it stays within so many standard deviations of what was approved.
    pub fn stay_near(&mut self, approved: &Step, sigma: f64) {
        let near = approved.mean.iter().zip(&approved.scale);
        self.mean
            .iter_mut()
            .zip(near)
            .for_each(|(mean, (at, scale))| *mean = mean.clamp(at - sigma * scale, at + sigma * scale));
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        16 * self.width() + self.normal.bytes()
    }

    fn deviation(&self, features: impl Iterator<Item = f64>) -> Vec<f32> {
        let off =
            features.zip(&self.mean).zip(&self.scale).map(|((value, mean), scale)| (value - mean) / scale);
        off.map(|off| if off.is_finite() { off.clamp(-FAR, FAR) as f32 } else { 0.0 }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Noise;

    /// The features of a run of 30 values of two signals.
    fn run(seed: u64, off: f64, drift: f64) -> Vec<f64> {
        let mut source = Noise(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let mut noise = || source.even() - 0.5;
        let level = noise();
        let first: Vec<f64> = (0..30).map(|_| 100.0 + level + noise()).collect();
        let second = (0..30).map(|t| 5.0 + off + 0.1 * level + drift * f64::from(t) + 0.1 * noise());
        [features(&first), features(&second.collect::<Vec<_>>())].concat()
    }

    fn learned() -> Step {
        let runs: Vec<f64> = (0..60).flat_map(|seed| run(seed, 0.0, 0.0)).collect();
        Step::fit(Array2::from_shape_vec((60, 6), runs).unwrap().view(), 0.01).unwrap()
    }

    #[test]
    fn ordinary_runs_pass_and_an_offset_and_a_drift_are_found_and_named() {
        let step = learned();
        let over = (100..300).filter(|&seed| step.judge(&run(seed, 0.0, 0.0)).score > 1.0).count();
        assert!(over <= 10, "{over}");
        let offset = step.judge(&run(400, 0.5, 0.0));
        assert!(offset.score > 1.0 && offset.features[0].0 == 3, "{offset:?}");
        let drift = step.judge(&run(400, -0.15, 0.01));
        assert!(
            drift.score > 1.0 && drift.features[..2].iter().any(|(feature, _)| *feature == 5),
            "{drift:?}"
        );
        assert_eq!((step.width(), step.is_sound()), (6, true));
    }

    #[test]
    fn learned_anew_it_stays_near_what_was_approved() {
        let (approved, mut anew) = (learned(), learned());
        anew.mean[0] += 1e6;
        anew.mean[3] += 1e-3 * anew.scale[3];
        let kept = anew.mean[3];
        anew.stay_near(&approved, 6.0);
        assert_eq!(anew.mean[0], approved.mean[0] + 6.0 * approved.scale[0]);
        assert_eq!(anew.mean[3], kept);
    }

    #[test]
    fn few_runs_short_runs_and_missing_values_have_answers() {
        assert_eq!(Step::fit(Array2::zeros((9, 6)).view(), 0.01), None);
        assert!(features(&[]).iter().all(|feature| feature.is_nan()));
        assert_eq!(features(&[4.0]), [4.0, 0.0, 0.0]);
        assert!(learned().judge(&[f64::NAN; 6]).score.is_finite());
        let mut runs = Array2::from_elem((20, 6), 1.0);
        runs.column_mut(4).fill(f64::NAN);
        assert!(Step::fit(runs.view(), 0.01).unwrap().judge(&[1.0; 6]).score.is_finite());
    }
}
