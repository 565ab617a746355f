//! The LAM 9600 etcher's wafers: each step of each wafer is a vector of features. The three experiments are weeks
//! apart with maintenance between, so each is a context of its own. Normal wafers are scored by models of the other
//! normal ones (five parts take turns), faulty ones by a model of all normal ones.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use ndarray::{Array2, Axis, s};
use yagura_models::steps::{Step, features};

use super::data::{folder, separated};
use super::measures::auroc;
use crate::report::Figure;

const FOLDS: usize = 5;
const NOMINAL: f64 = 0.01;
/// Columns that are no signals.
const NO_SIGNALS: [&str; 6] = ["wafer", "split", "fault", "Time", "Step_Number", "label"];

struct Wafer {
    context: String,
    faulty: bool,
    /// By step.
    features: Vec<Vec<f64>>,
}

pub fn etch() -> Result<Vec<Figure>> {
    let wafers = wafers()?;
    let mut contexts: BTreeMap<&str, Vec<&Wafer>> = BTreeMap::new();
    wafers.iter().for_each(|wafer| contexts.entry(wafer.context.as_str()).or_default().push(wafer));
    let (mut faulty, mut normal, mut within) = (Vec::new(), Vec::new(), Vec::new());
    for wafers in contexts.values() {
        let scores = scores(wafers)?;
        let of = |faulty: bool| -> Vec<f64> {
            wafers
                .iter()
                .zip(&scores)
                .filter(|(wafer, _)| wafer.faulty == faulty)
                .map(|(_, score)| *score)
                .collect()
        };
        within.push(auroc(&of(true), &of(false)));
        faulty.extend(of(true));
        normal.extend(of(false));
    }
    let all: Vec<&Wafer> = wafers.iter().collect();
    let without = scores(&all)?;
    let split = |faulty: bool| -> Vec<f64> {
        all.iter()
            .zip(&without)
            .filter(|(wafer, _)| wafer.faulty == faulty)
            .map(|(_, score)| *score)
            .collect()
    };
    let mut figures = vec![
        Figure::new("LAM etch AUROC, a model a context (any constant 0.5)", auroc(&faulty, &normal), "")
            .beside(0.5),
        Figure::new("LAM etch AUROC, one model for all contexts", auroc(&split(true), &split(false)), ""),
    ];
    for (context, auroc) in contexts.keys().zip(within) {
        figures.push(Figure::new(format!("LAM etch AUROC within {context}"), auroc, ""));
    }
    Ok(figures)
}

/// Each wafer's score: the highest of its steps.
fn scores(wafers: &[&Wafer]) -> Result<Vec<f64>> {
    let normal: Vec<usize> = (0..wafers.len()).filter(|&i| !wafers[i].faulty).collect();
    let mut scores = vec![f64::NEG_INFINITY; wafers.len()];
    for step in 0..wafers.first().map_or(0, |wafer| wafer.features.len()) {
        let width = wafers[0].features[step].len();
        let table = Array2::from_shape_fn((wafers.len(), width), |(i, k)| wafers[i].features[step][k]);
        let model = |learned: &[usize]| {
            Step::fit(table.select(Axis(0), learned).view(), NOMINAL).context("too few wafers to learn from")
        };
        let mut judge = |model: &Step, i: usize| {
            let score = model.judge(table.slice(s![i, ..]).to_vec().as_slice()).score;
            scores[i] = scores[i].max(score);
        };
        for fold in 0..FOLDS {
            let (from, to) = (fold * normal.len() / FOLDS, (fold + 1) * normal.len() / FOLDS);
            let model = model(&[&normal[..from], &normal[to..]].concat())?;
            normal[from..to].iter().for_each(|&i| judge(&model, i));
        }
        let model = model(&normal)?;
        (0..wafers.len()).filter(|&i| wafers[i].faulty).for_each(|i| judge(&model, i));
    }
    Ok(scores)
}

fn wafers() -> Result<Vec<Wafer>> {
    let path = folder()?.join("lam9600_etch/lam9600_machine.csv");
    let table = separated(&path, ',')?;
    let at = |name: &str| {
        table.names.iter().position(|n| n == name).with_context(|| format!("no column `{name}`"))
    };
    let (label, step) = (at("label")?, at("Step_Number")?);
    let signals = table.columns(|name| !NO_SIGNALS.contains(&name));
    let text = std::fs::read_to_string(&path)?;
    let mut rows_of: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (row, line) in text.lines().skip(1).filter(|line| !line.trim().is_empty()).enumerate() {
        rows_of.entry(line.split(',').next().unwrap_or_default()).or_default().push(row);
    }
    let wafer = |(name, rows): (&&str, &Vec<usize>)| {
        let of_step = |number: f64| {
            let rows: Vec<usize> =
                rows.iter().copied().filter(|&row| table.rows[[row, step]] == number).collect();
            let run = signals.select(Axis(0), &rows);
            run.columns().into_iter().flat_map(|signal| features(&signal.to_vec())).collect()
        };
        Wafer {
            // The experiment's number, as the files are named.
            context: name.chars().take(3).collect(),
            faulty: rows.iter().any(|&row| table.rows[[row, label]] == 1.0),
            features: vec![of_step(4.0), of_step(5.0)],
        }
    };
    Ok(rows_of.iter().map(wafer).collect())
}
