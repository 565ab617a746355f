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

/// Features a signal: level, spread, drift.
pub const FEATURES: [&str; 3] = ["level", "spread", "drift"];
/// Rows at the beginning of a step that are left out while the process settles, if there are rows enough.
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

/// The features of one run of a step: `rows[[t, i]]` is signal i in row t; first all levels, then all spreads, then
/// all drifts. What is not finite is missing; a signal without values has zeros.
pub fn features(rows: ArrayView2<'_, f64>) -> Vec<f64> {
    let from = if rows.nrows() > 4 * SETTLE { SETTLE } else { 0 };
    let rows = rows.slice(s![from.., ..]);
    let third = (rows.nrows() / 3).max(1).min(rows.nrows());
    let (level, spread) = moments(rows);
    let (early, late) =
        (moments(rows.slice(s![..third, ..])).0, moments(rows.slice(s![rows.nrows() - third.., ..])).0);
    let drift = early.iter().zip(&late).map(|(early, late)| late - early);
    level.into_iter().chain(spread).chain(drift).collect()
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
    /// Features by their deviation, the largest first: which, and how many standard deviations.
    pub features: Vec<(usize, f64)>,
}

impl Step {
    /// Learns from the features of normal runs, one a row; none if there are fewer than [`RUNS_MIN`].
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
        let scores = scores.map(|(value, (middle, limit))| (value - middle) / (limit - middle));
        Verdict { score: scores.fold(f64::NEG_INFINITY, f64::max), features: by }
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

    /// Runs of 30 rows of two signals.
    fn run(seed: u64, off: f64, drift: f64) -> Vec<f64> {
        let mut source = Noise(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let mut noise = || source.even() - 0.5;
        let level = noise();
        let rows = Array2::from_shape_fn((30, 2), |(t, i)| match i {
            0 => 100.0 + level + noise(),
            _ => 5.0 + off + 0.1 * level + drift * t as f64 + 0.1 * noise(),
        });
        features(rows.view())
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
        assert!(offset.score > 1.0 && offset.features[0].0 == 1, "{offset:?}");
        let drift = step.judge(&run(400, -0.15, 0.01));
        assert!(
            drift.score > 1.0 && drift.features[..2].iter().any(|(feature, _)| *feature == 5),
            "{drift:?}"
        );
    }

    #[test]
    fn few_runs_short_runs_and_missing_values_have_answers() {
        assert_eq!(Step::fit(Array2::zeros((9, 6)).view(), 0.01), None);
        assert_eq!(features(Array2::zeros((0, 2)).view()), [0.0; 6]);
        assert_eq!(features(Array2::from_elem((1, 1), 4.0).view()), [4.0, 0.0, 0.0]);
        assert!(learned().judge(&[f64::NAN; 6]).score.is_finite());
    }
}
