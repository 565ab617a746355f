//! The products of matrices that rows go through, in single precision and in tiles that stay in registers. Each
//! result is a sum in the order of its terms, whatever is computed beside it: the same on every machine and for any
//! number of rows at once.

use ndarray::ArrayView2;
use serde::{Deserialize, Serialize};

/// Columns that are computed side by side.
const LANES: usize = 8;
/// Rows that are computed side by side.
const ROWS: usize = 4;

/// A matrix in panels of eight columns, each with its rows one after the other.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Panels {
    columns: usize,
    /// Rows of each panel: where the others are zero, they are left out.
    rows: Vec<usize>,
    values: Vec<f32>,
}

impl Panels {
    /// Of a matrix.
    pub fn of(matrix: ArrayView2<'_, f64>) -> Panels {
        let (rows, columns) = matrix.dim();
        Panels::with(columns, |_| rows, |row, column| matrix[[row, column]])
    }

    /// Of the transpose of a lower triangle.
    pub fn of_transposed(lower: ArrayView2<'_, f64>) -> Panels {
        let columns = lower.nrows();
        Panels::with(columns, |panel| columns.min((panel + 1) * LANES), |row, column| lower[[column, row]])
    }

    fn with(columns: usize, rows: impl Fn(usize) -> usize, value: impl Fn(usize, usize) -> f64) -> Panels {
        let rows: Vec<usize> = (0..columns.div_ceil(LANES)).map(rows).collect();
        let mut values = Vec::new();
        for (panel, &rows) in rows.iter().enumerate() {
            for row in 0..rows {
                let lanes = (0..LANES).map(|lane| panel * LANES + lane);
                values.extend(lanes.map(|c| if c < columns { value(row, c) as f32 } else { 0.0 }));
            }
        }
        Panels { columns, rows, values }
    }

    /// Whether it is of a matrix of that size, and finite; one that came from elsewhere may not be.
    pub fn is_of(&self, rows: usize, columns: usize) -> bool {
        self.is_in_panels(columns, |_| rows)
    }

    /// The same for the transpose of a lower triangle.
    pub fn is_of_transposed(&self, columns: usize) -> bool {
        self.is_in_panels(columns, |panel| columns.min((panel + 1) * LANES))
    }

    fn is_in_panels(&self, columns: usize, rows: impl Fn(usize) -> usize) -> bool {
        self.columns == columns
            && self.rows.iter().copied().eq((0..columns.div_ceil(LANES)).map(rows))
            && self.values.len() == self.rows.iter().sum::<usize>() * LANES
            && self.values.iter().all(|value| value.is_finite())
    }

    /// Numbers that it takes.
    pub fn numbers(&self) -> usize {
        self.values.len()
    }

    /// For each of `count` rows of `input`, which begin `stride` apart, hands over its product with the matrix, eight
    /// columns at a time: the row, the first column and what there is of the eight.
    pub fn products(
        &self,
        input: &[f32],
        stride: usize,
        count: usize,
        mut each: impl FnMut(usize, usize, &[f32]),
    ) {
        let mut values = self.values.as_slice();
        for (panel, &rows) in self.rows.iter().enumerate() {
            let (weights, rest) = values.split_at(rows * LANES);
            values = rest;
            let first = panel * LANES;
            let lanes = LANES.min(self.columns - first);
            let of = |row: usize| &input[row * stride..row * stride + rows];
            let mut row = 0;
            while row + ROWS <= count {
                let sums = tile([of(row), of(row + 1), of(row + 2), of(row + 3)], weights);
                sums.iter().enumerate().for_each(|(off, sums)| each(row + off, first, &sums[..lanes]));
                row += ROWS;
            }
            for row in row..count {
                each(row, first, &tile([of(row)], weights)[0][..lanes]);
            }
        }
    }
}

#[inline]
fn tile<const R: usize>(inputs: [&[f32]; R], weights: &[f32]) -> [[f32; LANES]; R] {
    let mut sums = [[0.0_f32; LANES]; R];
    let (weights, _) = weights.as_chunks::<LANES>();
    let inputs = inputs.map(|input| &input[..weights.len()]);
    for (i, weights) in weights.iter().enumerate() {
        for (sums, input) in sums.iter_mut().zip(&inputs) {
            let x = input[i];
            sums.iter_mut().zip(weights).for_each(|(sum, w)| *sum += w * x);
        }
    }
    sums
}

/// Of `rows` of `size` numbers each, the sums over the rows of the products of each of the first `left` numbers with
/// every number up to itself and with those from `left` on: handed over four by eight with the number of the first of
/// each, and more than was asked for at the edges.
pub fn products_of_pairs(
    rows: &[f32],
    size: usize,
    left: usize,
    mut each: impl FnMut(usize, usize, &[[f32; LANES]; ROWS]),
) {
    let stride = size.next_multiple_of(LANES);
    let mut padded = Vec::with_capacity(rows.len() / size.max(1) * stride);
    for row in rows.chunks_exact(size) {
        padded.extend_from_slice(row);
        padded.resize(padded.len() + stride - size, 0.0);
    }
    for i in (0..left).step_by(ROWS) {
        for j in (0..stride).step_by(LANES) {
            if j >= i + ROWS && j + LANES <= left {
                continue;
            }
            let mut sums = [[0.0_f32; LANES]; ROWS];
            for row in padded.chunks_exact(stride) {
                let (xs, ys) = (&row[i..i + ROWS], &row[j..j + LANES]);
                for (sums, x) in sums.iter_mut().zip(xs) {
                    sums.iter_mut().zip(ys).for_each(|(sum, y)| *sum += x * y);
                }
            }
            each(i, j, &sums);
        }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;

    fn matrix(rows: usize, columns: usize) -> Array2<f64> {
        Array2::from_shape_fn((rows, columns), |(i, j)| ((i * 7 + j * 3) % 11) as f64 - 5.0)
    }

    #[test]
    fn products_are_those_of_the_matrices_for_any_sizes() {
        for (k, columns, count) in [(1, 1, 1), (5, 9, 3), (13, 16, 8), (20, 3, 5)] {
            let (left, right) = (matrix(count, k), matrix(k, columns));
            let input: Vec<f32> = left.iter().map(|&x| x as f32).collect();
            let mut found = Array2::<f64>::zeros((count, columns));
            Panels::of(right.view()).products(&input, k, count, |row, first, sums| {
                sums.iter().enumerate().for_each(|(lane, &sum)| found[[row, first + lane]] = f64::from(sum));
            });
            assert_eq!(found, left.dot(&right));
        }
    }

    #[test]
    fn a_transposed_triangle_is_multiplied_without_its_zeros() {
        let lower = Array2::from_shape_fn((11, 11), |(i, j)| if j <= i { (i + 2 * j) as f64 } else { 0.0 });
        let input: Vec<f32> = (0..11).map(|i| i as f32 - 5.0).collect();
        let mut found = vec![0.0; 11];
        let panels = Panels::of_transposed(lower.view());
        panels
            .products(&input, 11, 1, |_, first, sums| found[first..first + sums.len()].copy_from_slice(sums));
        let wanted: Vec<f32> = lower
            .rows()
            .into_iter()
            .map(|row| row.iter().zip(&input).map(|(a, b)| *a as f32 * b).sum())
            .collect();
        assert_eq!(found, wanted);
        assert!(panels.numbers() < 16 * 11);
    }

    #[test]
    fn pairs_are_summed_over_the_rows() {
        let (size, left) = (13, 9);
        let rows: Vec<f32> = (0..5 * size).map(|i| ((i * 5) % 7) as f32 - 3.0).collect();
        let mut found = Array2::<f32>::from_elem((16, 16), f32::NAN);
        products_of_pairs(&rows, size, left, |i, j, sums| {
            for (di, sums) in sums.iter().enumerate() {
                sums.iter().enumerate().for_each(|(dj, &sum)| found[[i + di, j + dj]] = sum);
            }
        });
        for i in 0..left {
            for j in (0..=i).chain(left..size) {
                let wanted: f32 = rows.chunks(size).map(|row| row[i] * row[j]).sum();
                assert_eq!(found[[i, j]], wanted, "{i} {j}");
            }
        }
    }
}
