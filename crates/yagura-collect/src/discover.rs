//! The first mapping of a source's names, from what the source itself offers.
//!
//! A discovery reads only. What it finds is a table of names to be looked through and completed: site, area and cell,
//! what a signal measures, what is a context.

use std::io::Write;
use std::path::Path;
use std::time::Duration;

use serde_json::{Map, Value};

use crate::source::{Opening, Plant, Settings, SourceError};
use crate::sources::hsms::HsmsHost;
use crate::sources::mqtt::MqttSettings;
use crate::sources::opcua::OpcUa;
use crate::sources::{CollectorConfig, decode};

pub mod mqtt;
pub mod opcua;
pub mod secs;

pub use secs::Entry;

const KINDS: &[Kind] = &[Kind::of::<OpcUa>(), Kind::of::<MqttSettings>(), Kind::of::<HsmsHost>()];

/// A kind of source that can say what it has.
pub trait Discovery: Settings {
    /// Asks, or listens for so long, and answers what there is.
    fn discover(self, wait: Duration, at: &Opening<'_>) -> Result<Found, SourceError>;
}

/// What a source offers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Its signals, ordered by name.
    pub lines: Vec<Line>,
    /// What a reader of the table should know: what was left out, and why.
    pub notes: Vec<String>,
    /// What numbers in messages are called, where the source's messages carry numbers: lines for `dictionaries`.
    pub dictionary: Vec<Entry>,
}

/// A signal that a source offers.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct Line {
    /// What names it within the source.
    pub name: String,
    /// The tool, as the source calls it.
    pub tool: String,
    /// The chamber; empty where the source knows none.
    pub chamber: String,
    /// The signal's own name.
    pub signal: String,
    /// The unit; empty where the source knows none.
    pub unit: String,
    /// What kind of value it is; empty where the source does not say.
    pub class: String,
    /// `lot`, `recipe`, `step` or `chamber`, where the name says that it is one.
    pub context: String,
    /// Its type, in the source's words.
    pub datatype: String,
    /// A value that it had.
    pub example: String,
}

/// The columns of the table: those of a table of names, then what helps to fill it in.
const COLUMNS: [&str; 13] = [
    "source", "name", "site", "area", "cell", "tool", "chamber", "signal", "unit", "class", "context",
    "datatype", "example",
];

impl Found {
    /// Writes the dictionary in CSV, as [`crate::dictionary`] reads it.
    pub fn write_dictionary(&self, out: impl Write) -> csv::Result<()> {
        let mut table = csv::Writer::from_writer(out);
        self.dictionary.iter().try_for_each(|entry| table.serialize(entry))?;
        table.flush()?;
        Ok(())
    }

    /// Writes the table in CSV, for the source of this collector.
    pub fn write(&self, collector: &str, out: impl Write) -> csv::Result<()> {
        let mut table = csv::Writer::from_writer(out);
        table.write_record(COLUMNS)?;
        for line in &self.lines {
            let Line { name, tool, chamber, signal, unit, class, context, datatype, example } = line;
            table.write_record([
                collector, name, "", "", "", tool, chamber, signal, unit, class, context, datatype, example,
            ])?;
        }
        table.flush()?;
        Ok(())
    }
}

/// Kinds of sources that can be asked.
pub fn kinds() -> impl Iterator<Item = &'static str> {
    KINDS.iter().map(|kind| kind.name)
}

/// Asks the source of a collector, or listens to it for so long; relative paths in its settings begin in `folder`.
pub fn run(
    config: &CollectorConfig,
    wait: Duration,
    folder: &Path,
    plant: &Plant,
) -> Result<Found, SourceError> {
    let at = Opening { collector: &config.name, folder, plant };
    let Some(kind) = KINDS.iter().find(|kind| kind.name == config.kind) else {
        let all: Vec<&str> = kinds().collect();
        let kind = &config.kind;
        return Err(at.wrong(format!("`{kind}` cannot be asked what it has; there are: {}", all.join(", "))));
    };
    let mut found = (kind.run)(config.settings(), wait, &at)?;
    found.lines.sort();
    found.lines.dedup();
    Ok(found)
}

/// Decodes settings and asks the source.
type Run = fn(&Map<String, Value>, Duration, &Opening<'_>) -> Result<Found, SourceError>;

/// An entry of [`KINDS`].
struct Kind {
    name: &'static str,
    run: Run,
}

impl Kind {
    const fn of<D: Discovery>() -> Self {
        Self {
            name: D::KIND,
            run: |settings, wait, at| decode::<D>(settings).map_err(|e| at.wrong(e))?.discover(wait, at),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_that_csv_can_hold() {
        let line =
            Line { name: "Objects/a,b".into(), tool: "a".into(), unit: "Pa".into(), ..Line::default() };
        let mut out = Vec::new();
        Found { lines: vec![line], ..Found::default() }.write("ua", &mut out).expect("a table");
        let text = String::from_utf8(out).expect("text");
        assert_eq!(text.lines().nth(1), Some(r#"ua,"Objects/a,b",,,,a,,,Pa,,,,"#));
    }
}
