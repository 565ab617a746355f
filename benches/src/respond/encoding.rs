//! How many alerts one core writes in each format in a second of its time.

use std::path::Path;

use anyhow::Result;
use yagura_respond::cases::Verdict;
use yagura_respond::formats::Format;
use yagura_respond::message::Message;
use yagura_respond::told::Decided;

use super::fixtures;
use crate::common::processor_of;
use crate::report::Figure;

/// Alerts of a measure.
const ALERTS: u64 = 100_000;

/// The figures.
pub fn encoding() -> Result<Vec<Figure>> {
    let alerts: Vec<_> = (0..1000).map(fixtures::alert).collect();
    let decided = Decided { to: Verdict::Resolved, time: 0, by: "mori".into(), why: "replaced".into() };
    let mut figures = Vec::new();
    for format in Format::all() {
        for (what, decided) in [("alerts", None), ("decisions", Some(&decided))] {
            let before = processor_of(Path::new("/proc/self"))?;
            for alert in alerts.iter().cycle().take(ALERTS as usize) {
                let message = Message { decided, ..Message::of(alert) };
                std::hint::black_box(format.line(&message, 62_000));
            }
            let seconds = processor_of(Path::new("/proc/self"))? - before;
            let name = format!("{}, {what} written", format.name());
            figures.push(Figure::new(name, ALERTS as f64 / seconds, "1/s"));
        }
    }
    Ok(figures)
}
