//! Tool dictionaries: what the numbers in a tool's messages are called.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use yagura_dissect::{ContextName, Dictionary, Variable};

use crate::source::SourceError;

mod sedd;

/// Reads dictionaries: XML files as equipment data dictionaries (SEDD, SEMI E172), others as CSV.
/// What a later file says of an id wins, so that a short CSV adds contexts and classes, which a
/// SEDD does not have, to a long SEDD.
pub fn read(files: &[PathBuf]) -> Result<Dictionary, SourceError> {
    let mut dictionary = Dictionary::default();
    for file in files {
        let xml = file.extension().is_some_and(|e| e.eq_ignore_ascii_case("xml"));
        dictionary.extend(if xml { sedd::read(file) } else { read_csv(file) }?);
    }
    Ok(dictionary)
}

/// One line of the CSV file. `kind` is `svid` (any variable), `ceid` or `alid`; `context` is empty,
/// `lot`, `recipe`, `step` or `chamber`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    model: String,
    kind: String,
    id: String,
    name: String,
    #[serde(default)]
    unit: String,
    #[serde(default)]
    context: Option<ContextName>,
    #[serde(default)]
    class: String,
    #[serde(default)]
    chamber: String,
}

/// Reads a CSV file with a header line: `model,kind,id,name,unit,context,class,chamber`.
fn read_csv(file: &Path) -> Result<Dictionary, SourceError> {
    let fail = |cause: String| SourceError::Open { file: file.display().to_string(), cause };
    let mut reader =
        csv::ReaderBuilder::new().trim(csv::Trim::All).from_path(file).map_err(|e| fail(e.to_string()))?;
    let mut dictionary = Dictionary::default();
    for line in reader.deserialize::<Line>() {
        let line = line.map_err(|e| fail(e.to_string()))?;
        let names = dictionary.tools.entry(line.model).or_default();
        match line.kind.as_str() {
            "svid" => {
                let variable = Variable {
                    name: line.name,
                    unit: line.unit,
                    class: line.class,
                    chamber: line.chamber,
                    context: line.context,
                };
                names.variables.insert(line.id, variable);
            }
            "ceid" => {
                names.events.insert(line.id, line.name);
            }
            "alid" => {
                names.alarms.insert(line.id, line.name);
            }
            other => return Err(fail(format!("`{other}` is no kind of entry; there are: svid, ceid, alid"))),
        }
    }
    Ok(dictionary)
}
