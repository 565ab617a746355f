//! The little linear algebra that the models need: symmetric positive definite systems of some hundred
//! unknowns, covariances and quantiles. Sums are in a fixed order and nothing is contracted, so every machine gives
//! the same bits.

use ndarray::{Array2, ArrayView2, Axis, s};

/// The lower triangle L of a symmetric positive definite matrix, with L·Lᵀ = `matrix`. What is not positive
/// definite by rounding is made so: a pivot is at least a 10⁻¹² of its diagonal element.
pub fn cholesky(matrix: ArrayView2<'_, f64>) -> Array2<f64> {
    let n = matrix.nrows();
    let mut lower = matrix.to_owned();
    let mut column = vec![0.0; n];
    for k in 0..n {
        let least = (1e-12 * matrix[[k, k]].abs()).max(f64::MIN_POSITIVE);
        let pivot = lower[[k, k]].max(least).sqrt();
        lower[[k, k]] = pivot;
        for i in k + 1..n {
            column[i] = lower[[i, k]] / pivot;
            lower[[i, k]] = column[i];
        }
        lower.slice_mut(s![k, k + 1..]).fill(0.0);
        for i in k + 1..n {
            let by = column[i];
            let mut row = lower.slice_mut(s![i, k + 1..=i]);
            row.iter_mut().zip(&column[k + 1..=i]).for_each(|(value, of)| *value -= by * of);
        }
    }
    lower
}

/// X of L·Lᵀ·X = `right`, column by column.
pub fn solve(lower: ArrayView2<'_, f64>, right: ArrayView2<'_, f64>) -> Array2<f64> {
    let n = lower.nrows();
    // Row operations run along memory: all columns at once.
    let mut x = right.as_standard_layout().into_owned();
    for i in 0..n {
        (0..i).for_each(|k| subtract(&mut x, i, k, lower[[i, k]]));
        x.row_mut(i).mapv_inplace(|v| v / lower[[i, i]]);
    }
    for i in (0..n).rev() {
        (i + 1..n).for_each(|k| subtract(&mut x, i, k, lower[[k, i]]));
        x.row_mut(i).mapv_inplace(|v| v / lower[[i, i]]);
    }
    x
}

/// Row `to` less `by` times row `from`, of a matrix in rows.
fn subtract(x: &mut Array2<f64>, to: usize, from: usize, by: f64) {
    let width = x.ncols();
    let Some(all) = x.as_slice_mut() else { return };
    let (first, second) = all.split_at_mut(to.max(from) * width);
    let (low, high) = (&mut first[to.min(from) * width..][..width], &mut second[..width]);
    let (to, from) = if to < from { (low, high) } else { (high, low) };
    to.iter_mut().zip(from.iter()).for_each(|(a, b)| *a -= by * b);
}

/// The inverse of a lower triangle.
pub fn inverse_lower(lower: ArrayView2<'_, f64>) -> Array2<f64> {
    let n = lower.nrows();
    let mut inverse = Array2::<f64>::eye(n);
    for i in 0..n {
        for k in 0..i {
            subtract(&mut inverse, i, k, lower[[i, k]]);
        }
        inverse.row_mut(i).mapv_inplace(|v| v / lower[[i, i]]);
    }
    inverse
}

/// `aᵀ·b` with sums in the order of the rows.
pub fn products(a: ArrayView2<'_, f64>, b: ArrayView2<'_, f64>) -> Array2<f64> {
    let mut sum = Array2::<f64>::zeros((a.ncols(), b.ncols()));
    for (a, b) in a.rows().into_iter().zip(b.rows()) {
        for (mut out, &x) in sum.rows_mut().into_iter().zip(a) {
            if x != 0.0 {
                out.zip_mut_with(&b, |out, y| *out += x * y);
            }
        }
    }
    sum
}

/// The covariance of residuals about zero, shrunk towards its diagonal by as much as its own sampling error is of
/// it (the optimal intensity of Schäfer and Strimmer 2005, target D).
pub fn shrunk_covariance(residuals: ArrayView2<'_, f64>) -> Array2<f64> {
    let n = residuals.nrows().max(1) as f64;
    let mut covariance = products(residuals, residuals) / n;
    let squares = residuals.mapv(|e| e * e);
    let fourth = products(squares.view(), squares.view()) / n;
    let (mut error, mut size) = (0.0, 0.0);
    for ((i, j), &value) in covariance.indexed_iter() {
        if i != j {
            error += (fourth[[i, j]] - value * value) / n;
            size += value * value;
        }
    }
    let intensity = if size > 0.0 { (error / size).clamp(0.0, 1.0) } else { 1.0 };
    for ((i, j), value) in covariance.indexed_iter_mut() {
        if i != j {
            *value *= 1.0 - intensity;
        }
    }
    covariance
}

/// Mean and standard deviation of each column over the values that are finite; a column without any has 0 and 0.
pub fn moments(rows: ArrayView2<'_, f64>) -> (Vec<f64>, Vec<f64>) {
    let column = |values: ndarray::ArrayView1<'_, f64>| {
        let (mut count, mut mean, mut square) = (0.0, 0.0, 0.0);
        for &value in values.iter().filter(|value| value.is_finite()) {
            count += 1.0;
            let off = value - mean;
            mean += off / count;
            square += off * (value - mean);
        }
        if count > 0.0 { (mean, (square / count).sqrt()) } else { (0.0, 0.0) }
    };
    rows.axis_iter(Axis(1)).map(column).unzip()
}

/// The value below which the share `share` of values lies, between neighbours by proportion; 0 of none.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = share.clamp(0.0, 1.0) * sorted.len().saturating_sub(1) as f64;
    let (low, part) = (at.floor() as usize, at.fract());
    match (sorted.get(low), sorted.get(low + 1)) {
        (Some(a), Some(b)) => a + part * (b - a),
        (Some(a), None) => *a,
        _ => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn a_solution_solves_and_an_inverse_inverts() {
        let matrix = array![[4.0, 1.0, 0.5], [1.0, 3.0, 0.2], [0.5, 0.2, 2.0]];
        let right = array![[1.0, 2.0], [0.0, 1.0], [3.0, -1.0]];
        let lower = cholesky(matrix.view());
        let found = matrix.dot(&solve(lower.view(), right.view()));
        assert!((found - right).iter().all(|off| off.abs() < 1e-12));
        let unit = lower.dot(&inverse_lower(lower.view()));
        assert!((unit - Array2::<f64>::eye(3)).iter().all(|off| off.abs() < 1e-12));
    }

    #[test]
    fn a_matrix_without_full_rank_still_has_a_finite_triangle() {
        let lower = cholesky(array![[1.0, 1.0], [1.0, 1.0]].view());
        assert!(lower.iter().all(|value| value.is_finite()) && lower[[1, 1]] > 0.0);
    }

    #[test]
    fn few_rows_shrink_far_and_many_hardly() {
        let row = |i: usize| {
            let t = i as f64;
            [t.sin(), t.sin() + 0.3 * (1.7 * t).cos()]
        };
        let covariance = |n: usize| {
            let rows = Array2::from_shape_fn((n, 2), |(i, j)| row(i)[j]);
            let plain = products(rows.view(), rows.view()) / n as f64;
            shrunk_covariance(rows.view())[[0, 1]] / plain[[0, 1]]
        };
        assert!(covariance(5) < covariance(1000) && covariance(1000) > 0.99, "{}", covariance(1000));
    }

    #[test]
    fn moments_pass_over_what_is_not_finite() {
        let (mean, deviation) =
            moments(array![[1.0, f64::NAN], [3.0, f64::NAN], [f64::INFINITY, f64::NAN]].view());
        assert_eq!((mean[0], deviation[0], mean[1], deviation[1]), (2.0, 1.0, 0.0, 0.0));
    }

    #[test]
    fn a_quantile_lies_between_its_neighbours() {
        assert_eq!(quantile(&[3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(quantile(&[0.0, 10.0], 0.25), 2.5);
        assert_eq!(quantile(&[], 0.5), 0.0);
    }
}
