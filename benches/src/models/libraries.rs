//! Libraries of models beside our own: river and PyOD, each in a process of its own on one core, in the same run.
//!
//! They do not do the same work. What each does is said in the figure's name: river's mean and variance raise no finding, PyOD
//! judges a whole table in one call and does not learn from it.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};
use ndarray::Array2;
use serde::Deserialize;
use yagura_testkit::{build_folder, peers};

use super::speed::{SIGNALS, Samples};
use crate::one_core;
use crate::report::Figure;

/// What our models were given, and how fast they were.
pub struct Ours<'a> {
    pub rows: &'a Array2<f64>,
    /// Rows looked back, values a second.
    pub group: Vec<(usize, f64)>,
    pub samples: &'a Samples,
    /// Samples a second.
    pub guard: f64,
}

/// Rows that river's trees get, those to learn from among them: they take long.
const TREE_ROWS: usize = 12_000;

/// Measures the libraries that are there; without their Python environment a line says so.
#[expect(clippy::print_stderr, reason = "a peer that is left out is named")]
pub fn beside(ours: &Ours<'_>, figures: &mut Vec<Figure>) -> Result<()> {
    let environment = peers::python_models(&build_folder());
    if !environment.join(peers::INSTALLED).is_file() {
        eprintln!(
            "river {} and PyOD {} are left out: there is no Python environment {}; `cargo xtask bench models` makes it",
            peers::RIVER,
            peers::PYOD,
            environment.display()
        );
        return Ok(());
    }
    let folder = tempfile::tempdir()?;
    let file = |name: &str| folder.path().join(name);
    let samples = ours.samples.keys.iter().zip(&ours.samples.values);
    write(&file("samples"), samples.map(|(key, value)| (key.to_le_bytes(), value.to_le_bytes())))?;
    let values = |rows: usize| ours.rows.iter().take(rows * SIGNALS).map(|value| ([], value.to_le_bytes()));
    write(&file("rows"), values(ours.rows.nrows()))?;
    write(&file("few"), values(TREE_ROWS))?;
    let rate = |model: &str, name: &str| measured(&environment, model, &file(name));

    let river = format!("river {}", peers::RIVER);
    let name = |what: &str| {
        format!("guard, 5 findings, 100000 keys beside {river} EWMean + EWVar, no finding, {what}: samples")
    };
    for (model, what) in [("ewm", "1 stream"), ("ewm-keys", "the same keys")] {
        let theirs = rate(model, "samples")?;
        figures.push(Figure::new(name(what), ours.guard / 1e6, "M/s").beside(theirs / 1e6));
    }
    let tables = [
        ("trees", "few", format!("{river} HalfSpaceTrees, row by row, learning")),
        ("pca", "rows", format!("PyOD {} PCA, one call for all rows, not learning", peers::PYOD)),
        (
            "ecod",
            "rows",
            format!("PyOD {} ECOD, one call for all rows, ranked among themselves", peers::PYOD),
        ),
    ];
    for (model, input, other) in tables {
        let theirs = SIGNALS as f64 * rate(model, input)?;
        for (lags, own) in &ours.group {
            let name = format!(
                "group of {SIGNALS}, {lags} rows looked back, row by row, learning, beside {other}: values"
            );
            figures.push(Figure::new(name, own / 1e6, "M/s").beside(theirs / 1e6));
        }
    }
    Ok(())
}

fn write<const N: usize>(file: &Path, numbers: impl Iterator<Item = ([u8; N], [u8; 8])>) -> Result<()> {
    let mut out = BufWriter::new(File::create(file)?);
    for (key, value) in numbers {
        out.write_all(&key)?;
        out.write_all(&value)?;
    }
    Ok(out.flush()?)
}

/// What a peer tells at its end.
#[derive(Deserialize)]
struct Outcome {
    seconds: f64,
    judged: usize,
}

/// Samples or rows a second.
fn measured(environment: &Path, model: &str, file: &Path) -> Result<f64> {
    let mut command = one_core::command(&environment.join("bin/python"));
    command.arg(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("peers/model_peer.py")).arg(model).arg(file);
    let Outcome { seconds, judged } = one_core::told(model, &mut command)?;
    ensure!(judged > 0 && seconds > 0.0, "{model} judged {judged} in {seconds} s");
    Ok(judged as f64 / seconds)
}
