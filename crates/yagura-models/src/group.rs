//! D2, the residual of a group of signals (one tool, chamber or step): a linear one-step prediction of all from the
//! last rows of all, and the deviation from it against its covariance (see [`Covariance`]). Two statistics, each
//! smoothed: the distance, and the worst single signal.
//!
//! A vector autoregression fitted by ridge regression (Hoerl and Kennard 1970), whose residuals are watched by a
//! multivariate exponentially weighted chart (after Lowry et al. 1992). The limits come from residuals of rows that
//! the prediction was not fitted to (blocked cross-validation, Bergmeir and Benítez 2012): limits from its own
//! residuals raise false alarms on most ordinary rows.
//!
//! It goes on learning from rows that it found ordinary, with a memory of some thousand, and only the prediction:
//! covariance, scale and limits stay those that were approved, so that nobody teaches it to expect noise.
//!
//! Both statistics are one score, the larger of both, each over its limit. (Their mean on the scale from the median to the
//! 99th percentile was measured: alone it finds less on every labelled set, as a third beside them it doubles the
//! false alarms on Tennessee Eastman and finds nothing more.) A row's alarm is that score against a limit that follows the rate of alarms
//! (see [`Tracker`]); the benchmarks judge by the same.
//!
//! Cost: p + ½ multiplications for each pair of signals a row, p the number of rows that are looked back. The
//! prediction is solved anew after an eighth as many rows as it has seen.

use ndarray::{Array2, ArrayView, ArrayView2, s};
use serde::{Deserialize, Serialize};

use crate::alarm::{self, Alarm, Tracker};
use crate::covariance::Covariance;
use crate::kernel::{Panels, products_of_pairs};
use crate::linear::{cholesky, moments, products, solve};

/// The name in pipelines.
pub const NAME: &str = "group";

/// Version of what a fitted group means.
pub const VERSION: u16 = 3;

/// What the user may set; the defaults are those of `models/group.yaml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Parameters {
    /// Seconds between rows, where rows are made of samples.
    pub period_s: f64,
    /// The most rows that the prediction looks back.
    pub lags_max: usize,
    /// Rows that there must be for each coefficient of one signal: fewer rows, fewer lags.
    pub rows_per_coefficient: usize,
    /// Noise that readings are taken to carry, a share of their variance: keeps the prediction from leaning on
    /// differences of signals that the next instrument reads a little otherwise.
    pub noise: f64,
    /// Weight of a row in the smoothed distance.
    pub weight: f64,
    /// Weight of a row in the smoothed deviation of a single signal.
    pub weight_single: f64,
    /// A single row counts no more than this many times the ordinary.
    pub row_max: f64,
    /// Rows that deviate, of all rows of a normal time; where more alarms than that begin, the limit is raised.
    pub nominal: f64,
    /// Rows that the prediction remembers once it is in force.
    pub memory_rows: f64,
    /// How far learning may move what is expected of a signal, in its deviations; then it stops.
    pub drift_sigma: f64,
    /// The most by which recorded maintenance may move a signal's approved level, in standard deviations.
    pub maintenance_sigma: f64,
}

impl Default for Parameters {
    fn default() -> Self {
        Parameters {
            period_s: 1.0,
            lags_max: 4,
            rows_per_coefficient: 4,
            noise: 0.003,
            weight: 0.15,
            weight_single: 0.3,
            row_max: 20.0,
            nominal: 0.003,
            memory_rows: 1000.0,
            drift_sigma: 3.0,
            maintenance_sigma: 6.0,
        }
    }
}

/// Readings further than this many standard deviations from the mean count no further.
const FAR: f64 = 20.0;
/// A signal's standard deviation is taken for at least this share of its largest value: readings are finite.
const RESOLUTION: f64 = 1e-3;
/// Parts that take turns in being left out while the limits are found.
const FOLDS: usize = 5;
/// Rows beside a part that are left out with it, as they resemble it.
const BESIDE: usize = 5;
/// Rows that are needed at least.
pub const ROWS_MIN: usize = 30;
/// Rows for each coefficient of a prediction from the last row alone that a baseline must come from. Of Tennessee Eastman's
/// ordinary rows 98 % alarmed with two, 25 % with three, 6 % with four and 1 % with eight.
const ROWS_WANTED: usize = 8;
/// Ordinary rows that are gathered before they are learned from.
const CHUNK: usize = 50;
/// Rows after which the prediction is solved anew, at most.
const ANEW_MAX: u64 = 500;
/// Once it has seen so many rows more than it remembers, it learns from one ordinary row in [`SPARE`].
const FULL: u64 = 9_000;
const SPARE: u64 = 4;
/// Rows that are judged side by side.
const BLOCK: usize = 8;
/// Signals in one group, at most: 2 MiB of state at four lags.
pub const SIGNALS_MAX: usize = 128;

/// How many rows of so many signals there should be before a group of them judges: with fewer it may be fitted, but it
/// takes much of what is ordinary for a deviation.
pub fn rows_wanted(signals: usize) -> usize {
    (ROWS_WANTED * (1 + signals)).max(ROWS_MIN)
}

/// Why a group could not be fitted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unfit {
    /// Too few rows.
    #[error("{rows} rows are too few to learn from; there must be at least {ROWS_MIN}")]
    Few {
        /// That there were.
        rows: usize,
    },
    /// Too many signals, or none.
    #[error("{signals} signals cannot be one group; it takes 1 to {SIGNALS_MAX}")]
    Signals {
        /// That there were.
        signals: usize,
    },
}

/// Which statistic gave a row away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Statistic {
    /// The signals do not go together as they did.
    Distance,
    /// This signal is far from what the others and the past make expected.
    Signal(u16),
}

/// Room to work in, kept from call to call; nothing in it lasts.
#[derive(Clone, Debug, Default)]
pub struct Work {
    window: Vec<f32>,
    off: Vec<f32>,
    missing: Vec<usize>,
}

/// What is said of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verdict {
    /// How far: 1 is the limit that was calibrated. Never NaN; 0 where a row could not be judged.
    pub score: f32,
    /// By which statistic.
    pub statistic: Statistic,
    /// What it means for the alarm, whose limit follows [`Parameters::nominal`].
    pub alarm: Alarm,
    /// How many times the calibrated limit was in force.
    pub factor: f32,
    /// By how much higher a score is that a tenth as many ordinary rows come to.
    pub decade: f32,
}

/// A signal's part in what was found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Share {
    /// Which signal.
    pub signal: usize,
    /// Its share of all signals' smoothed squared deviations.
    pub share: f64,
    /// The last row's value, in the signal's unit.
    pub seen: f64,
    /// What was expected of it.
    pub expected: f64,
    /// The usual deviation from what is expected.
    pub deviation: f64,
}

/// A fitted group in one context.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    lags: usize,
    mean: Vec<f64>,
    scale: Vec<f64>,
    /// What is expected at the mean, and the weights of the rows that are looked back, the oldest first.
    level: Vec<f32>,
    weights: Panels,
    /// Level and weights as they were fitted, which nothing moves.
    golden: Vec<f32>,
    /// The signal whose expected level has moved most since, and by how many of its deviations.
    drift: (u16, f32),
    normal: Covariance,
    /// Of the distance and of the worst signal.
    limits: [Limit; 2],
    tracker: Tracker,
    learning: Learning,
    /// The last rows in standard deviations, the newest last.
    past: Vec<f32>,
    /// Rows in `past` that count.
    known: usize,
    distance: f32,
    each: Vec<f32>,
    /// What the last row deviated by and was, in standard deviations.
    last: Vec<(f32, f32)>,
}

/// The limit of a statistic.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Limit {
    at: f32,
    /// How much farther a tenth as many ordinary rows come, as a share of it.
    decade: f32,
}

/// A statistic that hardly varied while it was calibrated is still taken to vary by this share of its limit.
const DECADE_MIN: f64 = 0.02;

/// What the prediction is solved from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Learning {
    /// Σ φφᵀ and Σ φzᵀ of what is looked back to, φ, and what came, z; old rows fade.
    squares: Array2<f64>,
    cross: Array2<f64>,
    ridge: f64,
    /// Rows of φ and z that are not in yet.
    chunk: Vec<f32>,
    /// Rows since the prediction was solved, and in all.
    since: u64,
    seen: u64,
    /// Ordinary rows, whether they were learned from or not.
    passed: u64,
}

impl Group {
    /// Learns from rows of a normal time, `rows[[t, i]]` signal i in the row t, in order of time and evenly apart.
    /// What is not finite is missing.
    pub fn fit(rows: ArrayView2<'_, f64>, parameters: &Parameters) -> Result<Group, Unfit> {
        let (n, width) = rows.dim();
        if !(1..=SIGNALS_MAX).contains(&width) {
            return Err(Unfit::Signals { signals: width });
        }
        if n < ROWS_MIN {
            return Err(Unfit::Few { rows: n });
        }
        let (mean, deviation) = moments(rows);
        let scale: Vec<f64> = (0..width)
            .map(|i| {
                let largest =
                    rows.column(i).iter().filter(|v| v.is_finite()).fold(0.0_f64, |m, v| m.max(v.abs()));
                deviation[i].max(RESOLUTION * largest).max(1e-9)
            })
            .collect();
        let z = Array2::from_shape_fn((n, width), |(t, i)| {
            standardised(rows[[t, i]], mean[i], scale[i]).unwrap_or(0.0)
        });

        let coefficients = (n / parameters.rows_per_coefficient.max(1)).saturating_sub(1);
        let lags = (coefficients / width).clamp(1, parameters.lags_max.clamp(1, 16));
        let (phi, next) = looked_back(z.view(), lags);
        let ridge = parameters.noise * phi.nrows() as f64;
        let (squares, cross) = (products(phi.view(), phi.view()), products(phi.view(), next.view()));

        let out_of_fold = out_of_fold(&phi, &next, (&squares, &cross), ridge);
        let normal = Covariance::of(out_of_fold.view(), parameters.noise);
        let limits = calibrate(&normal, out_of_fold.view(), parameters);
        let fitted = predict(&squares, &cross, ridge);
        let past = z.slice(s![n - lags.., ..]).iter().map(|&v| v as f32).collect();
        let seen = phi.nrows() as u64;
        Ok(Group {
            lags,
            mean,
            scale,
            level: flat(fitted.row(0)),
            weights: Panels::of(fitted.slice(s![1.., ..])),
            golden: flat(fitted.view()),
            drift: (0, 0.0),
            normal,
            limits,
            tracker: Tracker::default(),
            learning: Learning { squares, cross, ridge, chunk: Vec::new(), since: 0, seen, passed: 0 },
            past,
            known: lags,
            distance: 0.0,
            each: vec![0.0; width],
            last: vec![(0.0, 0.0); width],
        })
    }

    /// How many signals.
    pub fn width(&self) -> usize {
        self.mean.len()
    }

    /// Each signal's mean and standard deviation.
    pub fn levels(&self) -> impl Iterator<Item = (f64, f64)> + '_ {
        self.mean.iter().copied().zip(self.scale.iter().copied())
    }

    /// Whether all its parts are of one size and finite, so that it can be judged by: for one that comes from a file.
    pub fn is_sound(&self) -> bool {
        let (width, lags) = (self.width(), self.lags);
        let looked_back = 1 + lags * width;
        (1..=SIGNALS_MAX).contains(&width)
            && (1..=16).contains(&lags)
            && self.scale.len() == width
            && self.level.len() == width
            && self.each.len() == width
            && self.last.len() == width
            && self.past.len() == lags * width
            && self.known <= lags
            && self.golden.len() == looked_back * width
            && self.weights.is_of(lags * width, width)
            && self.normal.is_of(width)
            && self.learning.squares.dim() == (looked_back, looked_back)
            && self.learning.cross.dim() == (looked_back, width)
            && self.learning.chunk.len().is_multiple_of(looked_back + width)
            && self.tracker.is_sound()
            && self.limits.iter().all(|limit| limit.at.is_finite() && limit.at > 0.0)
            && self.limits.iter().all(|limit| limit.decade.is_finite() && limit.decade > 0.0)
            && self.mean.iter().chain(&self.scale).all(|value| value.is_finite())
            && self.scale.iter().all(|scale| *scale > 0.0)
            && self.learning.squares.iter().chain(&self.learning.cross).all(|sum| sum.is_finite())
    }

    /// How many rows are looked back.
    pub fn lags(&self) -> usize {
        self.lags
    }

    /// What came before does not count: a pause, another step, maintenance. As many rows as are looked back are not
    /// judged.
    pub fn begin(&mut self) {
        self.known = 0;
        self.distance = 0.0;
        self.each.fill(0.0);
        self.tracker.end();
    }

    /// It is put in force: what came before does not count, and the limits are those that were calibrated.
    pub fn begin_anew(&mut self) {
        self.begin();
        self.tracker = Tracker::default();
    }

    /// Judges rows in order, and learns from those that are ordinary; `each` is told of every row, with the group as
    /// it is after it (see [`Group::shares`]). Any splitting of the rows into calls gives the same.
    pub fn judge(
        &mut self,
        rows: ArrayView2<'_, f64>,
        parameters: &Parameters,
        work: &mut Work,
        mut each: impl FnMut(usize, Verdict, &Group),
    ) {
        let width = self.width();
        let Work { window, off, missing } = work;
        let mut at = 0;
        while at < rows.nrows() {
            // Rows that are whole are predicted side by side; one with a hole needs its own prediction first.
            window.clear();
            window.extend_from_slice(&self.past);
            let block = rows.slice(s![at..rows.nrows().min(at + BLOCK), ..]);
            let whole = block.rows().into_iter().take_while(|row| row.iter().all(|v| v.is_finite())).count();
            let count = if self.known < self.lags { 1 } else { whole.max(1) };
            self.extend(window, missing, block.slice(s![..count, ..]));
            self.deviations(window, off, count);
            for &i in missing.iter() {
                // Taken for what was expected.
                window[self.lags * width + i] -= off[i];
                off[i] = 0.0;
            }
            let mut distances = [0.0; BLOCK];
            self.normal.distances(off, &mut distances[..count]);
            let mut done = 0;
            while done < count {
                let deviation = &off[done * width..(done + 1) * width];
                let now = &window[done * width..(self.lags + done + 1) * width];
                let judged = self.known == self.lags;
                let verdict = if judged {
                    self.compare(deviation, distances[done], parameters)
                } else {
                    self.known += usize::from(missing.len() < width);
                    let (statistic, decade) = (Statistic::Distance, self.limits[0].decade);
                    Verdict { score: 0.0, statistic, alarm: Alarm::Off, factor: 1.0, decade }
                };
                let row = &now[self.lags * width..];
                self.last.clear();
                self.last.extend(deviation.iter().copied().zip(row.iter().copied()));
                let ordinary = judged && verdict.score < 1.0 && missing.is_empty();
                let solved = ordinary && self.learn(now, parameters);
                each(at + done, verdict, self);
                done += 1;
                if solved {
                    // The rows behind are predicted anew.
                    break;
                }
            }
            at += done;
            self.past.copy_from_slice(&window[done * width..(done + self.lags) * width]);
        }
    }

    /// The signals' parts in what the last row brought, the largest first.
    pub fn shares(&self) -> Vec<Share> {
        let all: f64 = self.each.iter().map(|&e| f64::from(e)).sum();
        let mut shares: Vec<Share> = (0..self.width())
            .map(|signal| {
                let (off, seen) = self.last[signal];
                let value = |z: f32| self.mean[signal] + f64::from(z) * self.scale[signal];
                Share {
                    signal,
                    share: f64::from(self.each[signal]) / all.max(1e-30),
                    seen: value(seen),
                    expected: value(seen - off),
                    deviation: f64::from(self.normal.variance()[signal]).sqrt() * self.scale[signal],
                }
            })
            .collect();
        shares.sort_by(|a, b| b.share.total_cmp(&a.share).then(a.signal.cmp(&b.signal)));
        shares
    }

    /// What was expected of a signal in the last row, in its unit; NaN of one that there is not.
    pub fn expected(&self, signal: usize) -> f64 {
        let expected =
            |&(off, seen): &(f32, f32)| self.mean[signal] + f64::from(seen - off) * self.scale[signal];
        self.last.get(signal).map_or(f64::NAN, expected)
    }

    /// The signal whose expected level has drifted most from the fitted one, and how far: 1 is what was granted, where
    /// learning stops.
    pub fn drift(&self, parameters: &Parameters) -> (usize, f64) {
        (usize::from(self.drift.0), f64::from(self.drift.1) / parameters.drift_sigma.max(1e-9))
    }

    /// Takes other levels for ordinary: those of rows after maintenance, from the `approved` ones by no more than
    /// [`Parameters::maintenance_sigma`] standard deviations. How the signals go together stays as it was approved.
    pub fn move_levels(&mut self, approved: &[f64], rows: ArrayView2<'_, f64>, parameters: &Parameters) {
        let (levels, _) = moments(rows);
        // No number grants nothing.
        let sigmas = parameters.maintenance_sigma.max(0.0);
        for (((mean, scale), approved), level) in
            self.mean.iter_mut().zip(&self.scale).zip(approved).zip(levels)
        {
            if level.is_finite() {
                *mean = level.clamp(approved - sigmas * scale, approved + sigmas * scale);
            }
        }
        self.begin();
    }

    /// What is expected now is what is granted from now on, at the limits that were calibrated.
    pub fn accept_drift(&mut self) {
        self.tracker = Tracker::default();
        let learning = &self.learning;
        self.golden = flat(predict(&learning.squares, &learning.cross, learning.ridge).view());
        self.drift = (0, 0.0);
    }

    /// Bytes that this state takes.
    pub fn bytes(&self) -> usize {
        let floats = self.weights.numbers()
            + self.golden.len()
            + self.past.len()
            + 4 * self.width()
            + self.learning.chunk.capacity();
        4 * (floats + self.width() * (self.width() + 5) / 2)
            + 8 * (self.learning.squares.len() + self.learning.cross.len() + 2 * self.width())
    }

    /// Appends rows in standard deviations; which signals are missing is noted, as only a single row may lack some.
    fn extend(&self, window: &mut Vec<f32>, missing: &mut Vec<usize>, rows: ArrayView2<'_, f64>) {
        missing.clear();
        for row in rows.rows() {
            for (i, &value) in row.iter().enumerate() {
                window.push(match standardised(value, self.mean[i], self.scale[i]) {
                    Some(z) => z as f32,
                    None => {
                        missing.push(i);
                        0.0
                    }
                });
            }
        }
    }

    /// Of `count` rows that follow the rows looked back to, what each is off its prediction.
    fn deviations(&self, window: &[f32], off: &mut Vec<f32>, count: usize) {
        let width = self.width();
        off.clear();
        off.extend_from_slice(&window[self.lags * width..(self.lags + count) * width]);
        off.chunks_exact_mut(width)
            .for_each(|off| off.iter_mut().zip(&self.level).for_each(|(off, w)| *off -= w));
        self.weights.products(window, width, count, |row, first, expected| {
            let off = &mut off[row * width + first..];
            off.iter_mut().zip(expected).for_each(|(off, expected)| *off -= expected);
        });
    }

    fn compare(&mut self, deviation: &[f32], distance: f32, parameters: &Parameters) -> Verdict {
        let (weight, single) = (parameters.weight as f32, parameters.weight_single as f32);
        let most = parameters.row_max as f32;
        self.distance += weight * (distance.min(most) - self.distance);
        let mut worst = (0, 0.0_f32);
        for (i, (smooth, now)) in self.each.iter_mut().zip(self.normal.each(deviation)).enumerate() {
            *smooth += single * (now.min(most) - *smooth);
            if *smooth > worst.1 {
                worst = (i as u16, *smooth);
            }
        }
        let (distance, signal) = (self.distance / self.limits[0].at, worst.1 / self.limits[1].at);
        let (score, statistic, decade) = match signal > distance {
            true => (signal, Statistic::Signal(worst.0), self.limits[1].decade),
            false => (distance, Statistic::Distance, self.limits[0].decade),
        };
        let factor = self.tracker.factor() as f32;
        let alarm = self.tracker.judge(f64::from(score), parameters.nominal);
        Verdict { score, statistic, alarm, factor, decade }
    }

    /// Takes an ordinary row in; whether the prediction was solved anew.
    fn learn(&mut self, window: &[f32], parameters: &Parameters) -> bool {
        if self.drift(parameters).1 >= 1.0 {
            return false;
        }
        let (width, learning) = (self.mean.len(), &mut self.learning);
        learning.passed += 1;
        if learning.seen > (parameters.memory_rows as u64) + FULL && !learning.passed.is_multiple_of(SPARE) {
            return false;
        }
        learning.chunk.push(1.0);
        learning.chunk.extend_from_slice(window);
        let size = 1 + (self.lags + 1) * width;
        if learning.chunk.len() < CHUNK * size {
            return false;
        }
        let kept = 1.0 - 1.0 / parameters.memory_rows.max(1.0);
        let fade = (0..CHUNK).fold(1.0, |fade, _| fade * kept);
        accumulate(&mut learning.squares, &mut learning.cross, &learning.chunk, size, fade);
        learning.chunk.clear();
        learning.seen += CHUNK as u64;
        learning.since += CHUNK as u64;
        if learning.since < (learning.seen / 8).min(ANEW_MAX) {
            return false;
        }
        learning.since = 0;
        let solved = predict(&learning.squares, &learning.cross, learning.ridge);
        self.level = flat(solved.row(0));
        self.weights = Panels::of(solved.slice(s![1.., ..]));
        self.drift = self.drifted(solved.view());
        true
    }

    /// What weights expect otherwise than the fitted ones at the mean of what is looked back to now.
    fn drifted(&self, solved: ArrayView2<'_, f64>) -> (u16, f32) {
        let (width, sums) = (self.mean.len(), self.learning.squares.column(0));
        let mut moved = vec![0.0_f64; width];
        for ((now, fitted), sum) in solved.rows().into_iter().zip(self.golden.chunks_exact(width)).zip(sums) {
            let mean = sum / sums[0].max(1e-9);
            let pairs = moved.iter_mut().zip(now.iter().zip(fitted));
            pairs.for_each(|(moved, (now, fitted))| *moved += mean * (now - f64::from(*fitted)));
        }
        let sigmas = moved.iter().zip(self.normal.variance()).map(|(m, v)| (m.abs() as f32) / v.sqrt());
        let most = sigmas.enumerate().max_by(|a, b| a.1.total_cmp(&b.1).then(b.0.cmp(&a.0)));
        most.map_or((0, 0.0), |(signal, sigmas)| (signal as u16, sigmas))
    }
}

/// A reading in standard deviations from the mean; none when it is not finite.
fn standardised(value: f64, mean: f64, scale: f64) -> Option<f64> {
    value.is_finite().then(|| ((value - mean) / scale).clamp(-FAR, FAR))
}

/// For each row with enough before it: a one and the rows before, the oldest first, and the row itself.
fn looked_back(z: ArrayView2<'_, f64>, lags: usize) -> (Array2<f64>, Array2<f64>) {
    let (n, width) = z.dim();
    let phi = Array2::from_shape_fn((n - lags, 1 + lags * width), |(t, k)| match k.checked_sub(1) {
        None => 1.0,
        Some(k) => z[[t + k / width, k % width]],
    });
    (phi, z.slice(s![lags.., ..]).to_owned())
}

/// What each row is off a prediction that was fitted to the others.
fn out_of_fold(
    phi: &Array2<f64>,
    next: &Array2<f64>,
    (squares, cross): (&Array2<f64>, &Array2<f64>),
    ridge: f64,
) -> Array2<f64> {
    let n = phi.nrows();
    let mut off = next.clone();
    for fold in 0..FOLDS {
        let (from, to) = (fold * n / FOLDS, (fold + 1) * n / FOLDS);
        let left_out = from.saturating_sub(BESIDE)..(to + BESIDE).min(n);
        let (out, out_next) = (phi.slice(s![left_out.clone(), ..]), next.slice(s![left_out, ..]));
        let weights = predict(&(squares - products(out, out)), &(cross - products(out, out_next)), ridge);
        let predicted = products(phi.slice(s![from..to, ..]).t(), weights.view());
        off.slice_mut(s![from..to, ..]).zip_mut_with(&predicted, |off, predicted| *off -= predicted);
    }
    off
}

/// The limits of both statistics, smoothed as they are when they judge.
fn calibrate(normal: &Covariance, deviations: ArrayView2<'_, f64>, parameters: &Parameters) -> [Limit; 2] {
    let (mut distance, mut each) = (0.0_f64, vec![0.0_f64; normal.width()]);
    let (mut distances, mut worst) = (Vec::new(), Vec::new());
    for row in deviations.rows() {
        let row: Vec<f32> = row.iter().map(|&e| e as f32).collect();
        distance += parameters.weight * (f64::from(normal.distance(&row)).min(parameters.row_max) - distance);
        distances.push(distance);
        for (smooth, now) in each.iter_mut().zip(normal.each(&row)) {
            *smooth += parameters.weight_single * (f64::from(now).min(parameters.row_max) - *smooth);
        }
        worst.push(each.iter().copied().fold(0.0, f64::max));
    }
    // What smoothing began with is forgotten after some rows.
    let settled = |values: &[f64], weight: f64| {
        let from = ((2.0 / weight.max(0.01)) as usize).min(values.len() / 2);
        // Both statistics are 1 on average: what hardly ever deviated may do as much.
        let (limit, decade) = alarm::limit(&values[from..], parameters.nominal);
        let at = limit.max(1.0);
        Limit { at: at as f32, decade: (decade / at).max(DECADE_MIN) as f32 }
    };
    [settled(&distances, parameters.weight), settled(&worst, parameters.weight_single)]
}

/// The weights of least squares with a ridge on all but the level.
fn predict(squares: &Array2<f64>, cross: &Array2<f64>, ridge: f64) -> Array2<f64> {
    let mut system = squares.clone();
    system.diag_mut().iter_mut().skip(1).for_each(|square| *square += ridge);
    solve(cholesky(system.view()).view(), cross.view())
}

fn flat<D: ndarray::Dimension>(weights: ArrayView<'_, f64, D>) -> Vec<f32> {
    weights.iter().map(|&w| w as f32).collect()
}

/// Lets what was seen fade and adds the rows of φ and z in `chunk`, `size` numbers each. Of the squares only the lower
/// triangle is kept. Fifty rows are summed in single precision, what they are added to is in double.
fn accumulate(squares: &mut Array2<f64>, cross: &mut Array2<f64>, chunk: &[f32], size: usize, fade: f64) {
    let looked_back = squares.ncols();
    squares.iter_mut().chain(cross.iter_mut()).for_each(|sum| *sum *= fade);
    products_of_pairs(chunk, size, looked_back, |i, j, sums| {
        for (i, sums) in (i..looked_back).zip(sums) {
            for (j, &sum) in (j..size).zip(sums) {
                if j <= i {
                    squares[[i, j]] += f64::from(sum);
                } else if j >= looked_back {
                    cross[[i, j - looked_back]] += f64::from(sum);
                }
            }
        }
    });
}

#[cfg(test)]
mod tests;
