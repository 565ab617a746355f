//! A first mapping from what a server or equipment offers: what it calls its signals, as a table to be edited.

use std::io::Write;

pub mod secs;

/// One signal that was found: a line of the table of names.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Found {
    /// The collector that would read it.
    pub source: String,
    /// What names it within the source.
    pub name: String,
    /// Where it is; left to people.
    pub site: String,
    /// See `site`.
    pub area: String,
    /// See `site`.
    pub cell: String,
    /// The tool.
    pub tool: String,
    /// The chamber.
    pub chamber: String,
    /// The signal.
    pub signal: String,
    /// The unit.
    pub unit: String,
    /// The class, as far as the unit tells.
    pub class: String,
    /// `lot`, `recipe`, `step`, where the name tells.
    pub context: String,
}

/// Writes the table as CSV with a header line.
pub fn write_csv<T: serde::Serialize>(lines: &[T], out: &mut dyn Write) -> Result<(), csv::Error> {
    let mut writer = csv::Writer::from_writer(out);
    for line in lines {
        writer.serialize(line)?;
    }
    writer.flush()?;
    Ok(())
}
