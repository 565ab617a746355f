//! The models on public labelled data, one shipped configuration for all: causal scores, no point adjustment, and
//! what an alarm that is always or never on would get beside each figure.

mod data;
pub mod fleet;
mod learning;
mod libraries;
mod measures;
mod multivariate;
mod nab;
mod speed;
mod wafers;

use anyhow::{Result, ensure};

use crate::report::{Figure, Report};

/// What judges one set.
type Set = fn() -> Result<Vec<Figure>>;

/// All sets. What the folder `$YAGURA_SHARED/datasets` does not hold is named and left out.
pub fn models() -> Result<Report> {
    let folder = data::folder()?;
    let sets: [(&str, Set); 10] = [
        ("nab", nab::nab),
        ("skab", multivariate::skab),
        ("tep", multivariate::tennessee_eastman),
        ("batadal", multivariate::batadal),
        ("smd", multivariate::server_machines),
        ("lam9600_etch", wafers::etch),
        ("skab", learning::skab),
        ("tep", learning::tennessee_eastman),
        ("batadal", learning::batadal),
        ("smd", learning::server_machines),
    ];
    let (mut figures, mut absent) = (Vec::new(), Vec::new());
    for (name, run) in sets {
        match folder.join(name).is_dir() {
            true => figures.extend(run()?),
            false if absent.contains(&name) => {}
            false => absent.push(name),
        }
    }
    ensure!(!figures.is_empty(), "no data set in {}", folder.display());
    figures.extend(learning::guard());
    figures.extend(speed::speed()?);
    let absent = if absent.is_empty() { String::new() } else { format!("; absent: {}", absent.join(", ")) };
    Ok(Report { input: format!("public data sets, the shipped parameters{absent}"), figures })
}
