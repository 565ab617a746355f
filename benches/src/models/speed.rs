//! What the models cost: values a second on one core, judging and learning.

use std::time::Instant;

use anyhow::Result;
use ndarray::{Array2, s};
use yagura_models::group::{Group, Parameters, Work};
use yagura_models::series;

use crate::report::Figure;

const SIGNALS: usize = 50;
const LEARNED: usize = 2_000;
const JUDGED: usize = 100_000;
const RUNS: usize = 5;

/// Rows of signals that follow some common causes.
fn rows(count: usize) -> Array2<f64> {
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
    };
    let mut causes = [0.0; 5];
    let mut out = Array2::zeros((count, SIGNALS));
    for mut row in out.rows_mut() {
        causes.iter_mut().for_each(|cause| *cause = 0.9 * *cause + noise());
        for (i, value) in row.iter_mut().enumerate() {
            *value = causes[i % 5] + 0.5 * causes[(i + 2) % 5] + noise();
        }
    }
    out
}

/// The median of some runs.
pub fn group() -> Result<Vec<Figure>> {
    let rows = rows(LEARNED + JUDGED);
    let mut figures = Vec::new();
    for lags in [1, 4] {
        let parameters = Parameters { lags_max: lags, ..Parameters::default() };
        let group = Group::fit(rows.slice(s![..LEARNED, ..]), &parameters)?;
        let mut rates = Vec::new();
        for _ in 0..RUNS {
            let (mut group, mut worst) = (group.clone(), 0.0_f32);
            #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
            let began = Instant::now();
            group.judge(rows.slice(s![LEARNED.., ..]), &parameters, &mut Work::default(), |_, verdict, _| {
                worst = worst.max(verdict.score)
            });
            std::hint::black_box(worst);
            rates.push((JUDGED * SIGNALS) as f64 / began.elapsed().as_secs_f64());
        }
        rates.sort_by(f64::total_cmp);
        figures.push(Figure::new(
            format!("group of {SIGNALS} signals, {lags} rows looked back: values, learning included"),
            rates[RUNS / 2] / 1e6,
            "M/s",
        ));
        figures.push(Figure::new(
            format!("group of {SIGNALS} signals, {lags} rows looked back: memory"),
            group.bytes() as f64 / 1024.0,
            "KiB",
        ));
    }
    Ok(figures)
}

/// Samples of one series, and of many in turn whose states do not stay in the cache.
pub fn series() -> Vec<Figure> {
    let rows = rows(JUDGED);
    let parameters = series::Parameters::default();
    let mut figures = Vec::new();
    for keys in [1, 10_000] {
        let mut rates = Vec::new();
        for _ in 0..RUNS {
            let (mut states, mut found) = (vec![series::State::default(); keys], 0);
            #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
            let began = Instant::now();
            for (i, value) in rows.iter().enumerate() {
                found += usize::from(states[i % keys].judge(*value, &parameters).is_some());
            }
            std::hint::black_box(found);
            rates.push(rows.len() as f64 / began.elapsed().as_secs_f64());
        }
        rates.sort_by(f64::total_cmp);
        let name = format!("series, {keys} in turn: samples");
        figures.push(Figure::new(name, rates[RUNS / 2] / 1e6, "M/s"));
    }
    let bytes = series::State::BYTES_MAX as f64 / 1024.0;
    figures.push(Figure::new("series: memory, at most", bytes, "KiB"));
    figures
}
