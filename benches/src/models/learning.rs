//! How fast the models learn: the rows until the realised rate of false alarms stays within reach of the nominal.
//!
//! A model learns the first rows of a training part, ever more of them; the same rows without a label are judged each time.
//! The figure is the fewest rows from which on, for every larger number too, the rate of rows within an alarm holds; alarms
//! that begin would say nothing here, as one that never ends begins once.

use anyhow::{Context, Result};
use ndarray::{Array2, s};
use yagura_models::group::{Group, Parameters};
use yagura_models::guard;

use super::data::{blanks, files, folder, parquet, separated};
use super::measures::Counts;
use super::multivariate::{SKAB_TRAINING, SMD_NOMINAL, alarms};
use super::speed::Noise;
use crate::report::Figure;

/// The rate may be so many times the nominal.
const WITHIN: f64 = 3.0;
/// Rows that are learned at first; then twice as many each time.
const FIRST: usize = 100;

pub fn skab() -> Result<Vec<Figure>> {
    let folder = folder()?.join("skab/data");
    let signal = |name: &str| !["datetime", "anomaly", "changepoint"].contains(&name);
    let mut runs = Vec::new();
    for part in ["valve1", "valve2", "other"] {
        for file in files(&folder.join(part), ".csv")? {
            let table = separated(&file, ';')?;
            let (labels, rows) = (table.labels("anomaly")?, table.columns(signal));
            runs.push(Part {
                training: rows.slice(s![..SKAB_TRAINING, ..]).to_owned(),
                judged: rows.slice(s![SKAB_TRAINING.., ..]).to_owned(),
                labels: labels[SKAB_TRAINING..].to_vec(),
            });
        }
    }
    let normal = separated(&folder.join("anomaly-free/anomaly-free.csv"), ';')?.columns(signal);
    let nominal = Parameters::default().nominal;
    let mut figures = learned("SKAB runs, unlabelled rows", &runs, nominal, 1.0)?;
    figures.extend(learned("SKAB normal run, second half", &[halves(&normal)], nominal, 1.0)?);
    Ok(figures)
}

pub fn tennessee_eastman() -> Result<Vec<Figure>> {
    let folder = folder()?.join("tep");
    let training = blanks(&folder.join("d00.dat"))?.reversed_axes();
    let judged = blanks(&folder.join("d00_te.dat"))?;
    let part = Part { training, labels: vec![false; judged.nrows()], judged };
    learned("TEP d00_te", &[part], Parameters::default().nominal, 180.0)
}

pub fn batadal() -> Result<Vec<Figure>> {
    let folder = folder()?.join("batadal");
    let of = |file: &str| separated(&folder.join(file), ',');
    let signal = |name: &str| !["DATETIME", "ATT_FLAG"].contains(&name);
    let (training, test) = (of("dataset03.csv")?.columns(signal), of("dataset04.csv")?);
    let (nominal, second) = (Parameters::default().nominal, halves(&training));
    let part = Part { training, judged: test.columns(signal), labels: test.labels("ATT_FLAG")? };
    // Not every attacked row of the set is labelled.
    let mut figures =
        learned("BATADAL attack set, unlabelled rows (attacked in part)", &[part], nominal, 3600.0)?;
    figures.extend(learned("BATADAL normal set, second half", &[second], nominal, 3600.0)?);
    Ok(figures)
}

pub fn server_machines() -> Result<Vec<Figure>> {
    let folder = folder()?.join("smd");
    let (mut parts, mut seconds) = (Vec::new(), Vec::new());
    for file in files(&folder, "_train.parquet")? {
        let training = parquet(&file)?.columns(|name| name != "label");
        let test = parquet(std::path::Path::new(&file.to_string_lossy().replace("_train.", "_test.")))?;
        seconds.push(halves(&training));
        let judged = test.columns(|name| name != "label");
        parts.push(Part { training, judged, labels: test.labels("label")? });
    }
    let mut figures = learned("SMD test halves, unlabelled rows", &parts, SMD_NOMINAL, 60.0)?;
    figures.extend(learned("SMD training halves, second half", &seconds, SMD_NOMINAL, 60.0)?);
    Ok(figures)
}

/// What is learned and what is judged, of one plant.
struct Part {
    training: Array2<f64>,
    judged: Array2<f64>,
    labels: Vec<bool>,
}

/// Learns from the first half and judges the second.
fn halves(rows: &Array2<f64>) -> Part {
    let half = rows.nrows() / 2;
    let judged = rows.slice(s![half.., ..]).to_owned();
    Part { training: rows.slice(s![..half, ..]).to_owned(), labels: vec![false; judged.nrows()], judged }
}

/// The rate of false alarms after so many learned rows.
struct Curve {
    nominal: f64,
    points: Vec<(usize, f64)>,
}

/// Over all parts together, whose models each learn that many rows from the beginning of their training part. Rows lie
/// `period_s` seconds apart.
fn learned(set: &str, parts: &[Part], nominal: f64, period_s: f64) -> Result<Vec<Figure>> {
    let parameters = Parameters { nominal, ..Parameters::default() };
    let whole = parts.iter().map(|part| part.training.nrows()).max().unwrap_or(0);
    let mut points = Vec::new();
    for rows in numbers(FIRST, whole) {
        let mut counts = Counts::default();
        for part in parts {
            let first = part.training.slice(s![..rows.min(part.training.nrows()), ..]);
            let mut group = Group::fit(first, &parameters)
                .with_context(|| format!("{set}: {rows} rows to learn from"))?;
            group.begin();
            counts.add(&part.labels, &alarms(&mut group, part.judged.view(), &parameters).on);
        }
        points.push((rows, counts.false_alarm_rate()));
    }
    Ok(Curve { nominal, points }.figures(set, period_s))
}

/// The first, ever twice as many, and the whole.
fn numbers(first: usize, whole: usize) -> Vec<usize> {
    let mut numbers: Vec<usize> =
        std::iter::successors(Some(first), |n| Some(n * 2)).take_while(|&n| n < whole).collect();
    numbers.push(whole);
    numbers
}

impl Curve {
    /// The fewest rows from which on the rate holds.
    fn settled(&self) -> Option<usize> {
        let holds = |(_, rate): &&(usize, f64)| *rate <= WITHIN * self.nominal;
        self.points.iter().rev().take_while(holds).last().map(|(rows, _)| *rows)
    }

    fn figures(&self, set: &str, period_s: f64) -> Vec<Figure> {
        let what = format!("learning, {set}");
        let mut figures = Vec::new();
        let within = format!("false alarms within {WITHIN} x nominal {} %", 100.0 * self.nominal);
        if let Some(rows) = self.settled() {
            figures.push(Figure::new(format!("{what}: rows until {within}"), rows as f64, ""));
            let hours = rows as f64 * period_s / 3600.0;
            figures.push(Figure::new(format!("{what}: the same in hours"), hours, "h"));
        } else if let Some((rows, rate)) = self.points.last() {
            let name = format!("{what}: {within} NOT MET; after {rows} rows");
            figures.push(Figure::new(name, 100.0 * rate, "%"));
        }
        figures
    }
}

/// Simulated signals: how much of a value the next one keeps, from none to nearly all.
const KEPT_MAX: f64 = 0.95;
const SIGNALS: usize = 100;
const PERIOD_S: i64 = 10;
const DAY: usize = (24 * 3600 / PERIOD_S) as usize;
const DAYS: usize = 10;
/// Samples that the guard learns at most.
const LEARNED_MAX: usize = 12_800;
/// False findings a day of one signal: one a day for a hundred.
const A_DAY: f64 = 0.01;

/// The guard on first-order signals that nothing is wrong with.
pub fn guard() -> Vec<Figure> {
    let parameters = guard::Parameters::default();
    let numbers = numbers(usize::from(parameters.warm_up_samples), LEARNED_MAX);
    let mut found = vec![0; numbers.len()];
    for signal in 0..SIGNALS {
        let kept = KEPT_MAX * signal as f64 / (SIGNALS - 1) as f64;
        let values = first_order(kept, LEARNED_MAX + DAYS * DAY, signal as u64 + 1);
        for (&rows, found) in numbers.iter().zip(&mut found) {
            *found += findings(&values[LEARNED_MAX - rows..], rows, &parameters);
        }
    }
    let days = (SIGNALS * DAYS) as f64;
    let points = numbers.into_iter().zip(found.iter().map(|&found| found as f64 / days)).collect();
    let curve = Curve { nominal: A_DAY / WITHIN, points };
    let what = format!("learning, guard on {SIGNALS} simulated AR(1) signals");
    let mut figures = Vec::new();
    if let Some(rows) = curve.settled() {
        let name = format!("{what}: samples until {A_DAY} false findings a day and signal");
        figures.push(Figure::new(name, rows as f64, ""));
    }
    for (rows, rate) in curve.points.iter().take(3).chain(curve.points.last()) {
        figures.push(Figure::new(format!("{what}: a day and signal after {rows}"), *rate, "1/d"));
    }
    figures
}

/// What keeps a share of itself, with ordinary noise.
fn first_order(kept: f64, samples: usize, seed: u64) -> Vec<f64> {
    let mut noise = Noise::new(seed);
    let mut value = 0.0;
    let mut next = || {
        value = kept * value + (0..12).map(|_| noise.next()).sum::<f64>();
        100.0 + value
    };
    (0..samples).map(|_| next()).collect()
}

/// What is found after so many samples are learned and approved.
fn findings(values: &[f64], learned: usize, parameters: &guard::Parameters) -> usize {
    let (mut state, mut hits) = ([guard::State::default()], Vec::new());
    let (slots, quality) = (vec![0; values.len()], vec![0; values.len()]);
    let times: Vec<i64> = (0..values.len() as i64).map(|t| t * PERIOD_S * 1_000_000).collect();
    let mut judge = |state: &mut _, of: std::ops::Range<usize>| {
        let (slots, quality) = (&slots[of.clone()], &quality[of.clone()]);
        guard::judge(state, slots, &times[of.clone()], &values[of], quality, parameters, &mut hits);
    };
    judge(&mut state, 0..learned);
    state[0].approve(parameters);
    judge(&mut state, learned..values.len());
    hits.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_must_hold_from_there_on() {
        let of = |rates: [f64; 4]| Curve {
            nominal: 0.01,
            points: [100, 200, 400, 800].into_iter().zip(rates).collect(),
        };
        assert_eq!(of([0.5, 0.02, 0.01, 0.03]).settled(), Some(200));
        assert_eq!(of([0.01, 0.5, 0.01, 0.01]).settled(), Some(400));
        assert_eq!(of([0.0, 0.0, 0.0, 0.04]).settled(), None);
        assert_eq!(numbers(100, 500), [100, 200, 400, 500]);
        assert_eq!(numbers(100, 400), [100, 200, 400]);
    }

    #[test]
    fn what_goes_wrong_is_found_and_what_does_not_is_not() {
        let parameters = guard::Parameters::default();
        let mut values = first_order(0.5, DAY, 1);
        assert_eq!(findings(&values, 400, &parameters), 0);
        values[4_000..].iter_mut().for_each(|value| *value += 20.0);
        assert!(findings(&values, 400, &parameters) > 0);
    }
}
