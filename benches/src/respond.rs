//! Alerts to receivers: how fast each format is written, what arrives while everything breaks, and what a storm of
//! alerts costs.

mod delivery;
mod encoding;
#[path = "../../crates/yagura-respond/src/fixtures.rs"]
mod fixtures;
mod storm;

use anyhow::Result;

use crate::report::Report;

/// All three.
pub fn respond() -> Result<Report> {
    let mut figures = encoding::encoding()?;
    figures.extend(storm::storm()?);
    figures.extend(delivery::delivery()?);
    let input = format!(
        "alerts written on one core; {} alerts with {} faults between log and receivers; a storm of {} \
         alerts of one cause, and of {} causes",
        delivery::ALERTS,
        delivery::FAULTS,
        storm::OF_ONE_CAUSE,
        storm::CAUSES
    );
    Ok(Report { input, figures })
}

/// A part of it in a process of its own; `None` when the arguments are not for it.
pub fn part(arguments: &[String]) -> Option<Result<()>> {
    match arguments {
        [name, part, folder] if name == "respond" && part == "forward" => {
            Some(delivery::forward(std::path::Path::new(folder)))
        }
        [name, part] if name == "respond" => match part.as_str() {
            "cases" => Some(storm::cases()),
            "causes" => Some(storm::causes()),
            _ => None,
        },
        _ => None,
    }
}
