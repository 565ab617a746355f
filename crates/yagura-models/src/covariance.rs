//! What is normal of a vector of deviations: its covariance, shrunk, and two statistics against it. The distance
//! (Hotelling's T² over all directions, regularised where directions are hardly seen) finds what moves signals
//! against each other; the worst single signal finds what moves one far and the others not, which the distance
//! dilutes among many. Each is compared with its own limit.

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

use crate::kernel::Panels;
use crate::linear::{cholesky, inverse_lower, shrunk_covariance};

/// Deviations beyond this many standard deviations count no more for the covariance.
const OUTLYING: f64 = 10.0;

/// The covariance of a vector's deviations, made for judging.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Covariance {
    /// (L⁻¹)ᵀ of the covariance L·Lᵀ.
    whiten: Panels,
    /// Of each signal.
    variance: Vec<f32>,
}

impl Covariance {
    /// Of deviations that the model was not fitted to (a row each, in standard deviations of the signals).
    /// `resolution` is the variance that readings have at least.
    pub fn of(deviations: ArrayView2<'_, f64>, resolution: f64) -> Covariance {
        let mut covariance = shrunk_covariance(deviations.mapv(|e| e.clamp(-OUTLYING, OUTLYING)).view());
        covariance.diag_mut().mapv_inplace(|variance| variance + resolution);
        let variance: Vec<f32> = covariance.diag().iter().map(|&variance| variance as f32).collect();
        let inverse = inverse_lower(cholesky(covariance.view()).view());
        Covariance { whiten: Panels::of_transposed(inverse.view()), variance }
    }

    /// How many signals.
    pub fn width(&self) -> usize {
        self.variance.len()
    }

    /// Whether it is of so many signals and can be judged by.
    pub fn is_of(&self, width: usize) -> bool {
        self.whiten.is_of_transposed(width)
            && self.variance.len() == width
            && self.variance.iter().all(|v| v.is_finite() && *v > 0.0)
    }

    /// The variance of each signal's deviation.
    pub fn variance(&self) -> &[f32] {
        &self.variance
    }

    /// The squared distance of a deviation from zero, 1 on average when all is normal.
    pub fn distance(&self, deviation: &[f32]) -> f32 {
        let mut distance = [0.0];
        self.distances(deviation, &mut distance);
        distance[0]
    }

    /// The same of deviations one after the other, as many as there is room for.
    pub fn distances(&self, deviations: &[f32], out: &mut [f32]) {
        out.fill(0.0);
        let width = self.width();
        self.whiten.products(deviations, width, out.len(), |row, _, along| {
            out[row] += along.iter().map(|along| along * along).sum::<f32>();
        });
        out.iter_mut().for_each(|distance| *distance /= width.max(1) as f32);
    }

    /// Bytes that it takes.
    pub fn bytes(&self) -> usize {
        4 * (self.whiten.numbers() + self.width())
    }

    /// Each signal's squared deviation over its variance, 1 on average when all is normal.
    pub fn each<'a>(&'a self, deviation: &'a [f32]) -> impl Iterator<Item = f32> + 'a {
        deviation.iter().zip(&self.variance).map(|(e, variance)| e * e / variance)
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::testing::Noise;

    /// Two signals that move together, a third by itself.
    fn deviations(n: usize) -> Array2<f64> {
        let mut source = Noise(7);
        let mut noise = || source.even() * 3.46 - 1.73;
        let mut out = Array2::zeros((n, 3));
        for mut row in out.rows_mut() {
            let common = noise();
            row[0] = common + 0.1 * noise();
            row[1] = common + 0.1 * noise();
            row[2] = noise();
        }
        out
    }

    #[test]
    fn both_statistics_are_one_on_average() {
        let deviations = deviations(4000);
        let normal = Covariance::of(deviations.view(), 0.0);
        let rows: Vec<Vec<f32>> =
            deviations.rows().into_iter().map(|row| row.iter().map(|&e| e as f32).collect()).collect();
        let mean = |f: &dyn Fn(&[f32]) -> f32| rows.iter().map(|row| f(row)).sum::<f32>() / rows.len() as f32;
        let distance = mean(&|row| normal.distance(row));
        assert!((distance - 1.0).abs() < 0.05, "{distance}");
        assert!((mean(&|row| normal.each(row).sum::<f32>() / 3.0) - 1.0).abs() < 0.02);
    }

    #[test]
    fn signals_against_each_other_are_far_though_each_is_ordinary() {
        let normal = Covariance::of(deviations(4000).view(), 0.0);
        assert!(normal.distance(&[1.0, -1.0, 0.0]) > 20.0 * normal.distance(&[1.0, 1.0, 0.0]));
        assert!(normal.each(&[1.0, -1.0, 0.0]).all(|each| each < 2.0));
    }

    #[test]
    fn a_signal_that_never_moved_has_a_finite_variance() {
        let normal = Covariance::of(Array2::zeros((50, 2)).view(), 0.003);
        assert!(normal.distance(&[1.0, 0.0]).is_finite());
    }
}
