//! Files of CSV, JSON lines or Parquet, followed or read once, with a declared mapping.
//!
//! Two forms: *long*, where a line is a row of one kind ([`Mapping`]), and *wide*, where each column is a signal, as
//! trace exports of FDC systems have it. A line of CSV is one line of the file: texts in quotes may hold the
//! delimiter and doubled quotes, no line's end.

use std::path::Path;

use serde::Deserialize;
use yagura_event::amounts::{Bytes, Time};

use crate::mapping::{Mapper, Mapping};
use crate::names::Signals;
use crate::source::{Opened, Opening, Settings, SourceError};
use crate::tail::{Options, Patterns, Tail};

mod csv;
mod jsonl;
mod parquet;

/// Settings of `kind: files`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileSettings {
    /// A pattern of file names, or several: `exports/*.csv`.
    path: Patterns,
    /// `csv`, `jsonl` or `parquet`; as the pattern ends unless given.
    format: Option<Format>,
    /// What is between the columns of CSV; `,` unless given.
    #[serde(default = "comma")]
    delimiter: char,
    /// What a line is, in the long form.
    mapping: Option<Mapping>,
    /// What columns are, in the wide form.
    wide: Option<Wide>,
    /// To the end of what is there, and no further.
    #[serde(default)]
    once: bool,
    /// How often files are looked at; `200ms` unless given.
    poll: Option<Time>,
    /// The longest line that is read; `1MiB` unless given.
    line_max: Option<Bytes>,
    /// How long rows wait for others at most; `1s` unless given.
    batch: Option<Time>,
    /// No line for this long is told; never unless given.
    silent_after: Option<Time>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Format {
    Csv,
    Jsonl,
    Parquet,
}

/// The wide form: a line has one time, and each other column is a signal.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wide {
    /// The column of the time.
    time: String,
    /// The tool: a text in which `${file}` is the file's name without its ending and `${column}` a column.
    tool: String,
    /// The chamber, likewise; none unless given.
    #[serde(default)]
    chamber: String,
    /// Patterns of the columns that are signals; all that hold numbers unless given.
    #[serde(default)]
    signals: Vec<String>,
}

fn comma() -> char {
    ','
}

impl Settings for FileSettings {
    const KIND: &'static str = "files";
    const READS: &'static str = "CSV, JSON lines or Parquet by pattern, followed or once, with a mapping";

    fn open(self, at: &Opening<'_>) -> Result<Opened, SourceError> {
        let options = self.options(at)?;
        let wrong = |problem: String| at.wrong(problem);
        let collector = at.collector;
        let form = self.form(Signals::new(collector, &at.plant.names)).map_err(wrong)?;
        let live: Box<dyn crate::LiveSource> = match (self.format(at)?, form) {
            (Format::Csv, form) => {
                let delimiter = u8::try_from(self.delimiter)
                    .ok()
                    .filter(|c| c.is_ascii() && !matches!(c, b'"' | b'\n' | b'\r'))
                    .ok_or_else(|| at.wrong("`delimiter` must be one ASCII character, as `;`"))?;
                Box::new(Tail::new(collector, options, csv::CsvLines::new(form, delimiter)))
            }
            (Format::Jsonl, Form::Long(long)) => {
                Box::new(Tail::new(collector, options, jsonl::Objects(long)))
            }
            (Format::Jsonl, Form::Wide(_)) => {
                return Err(at.wrong("`wide` is for CSV and Parquet; give a `mapping`"));
            }
            (Format::Parquet, form) => Box::new(parquet::ParquetFiles::new(collector, options, form)),
        };
        Ok(Opened::Live(live))
    }

    fn probe(self, at: &Opening<'_>) -> Result<String, SourceError> {
        self.format(at)?;
        self.form(Signals::new(at.collector, &at.plant.names)).map_err(|problem| at.wrong(problem))?;
        self.options(at)?.probe()
    }
}

impl FileSettings {
    fn options(&self, at: &Opening<'_>) -> Result<Options, SourceError> {
        let given = (self.poll, self.line_max, self.batch, self.silent_after);
        Options::new(self.path.at(at)?).given(self.once, given).map_err(|problem| at.wrong(problem))
    }

    fn format(&self, at: &Opening<'_>) -> Result<Format, SourceError> {
        if let Some(format) = self.format {
            return Ok(format);
        }
        let ending = |pattern: &String| match pattern.rsplit('.').next() {
            Some("csv" | "tsv" | "txt") => Some(Format::Csv),
            Some("jsonl" | "ndjson" | "json") => Some(Format::Jsonl),
            Some("parquet" | "pq") => Some(Format::Parquet),
            _ => None,
        };
        let formats: Vec<_> = self.path.at(at)?.iter().map(ending).collect();
        match formats.first() {
            Some(Some(first)) if formats.iter().all(|format| *format == Some(*first)) => Ok(*first),
            _ => Err(
                at.wrong("`path` does not say what the files are; give `format: csv`, `jsonl` or `parquet`")
            ),
        }
    }

    fn form(&self, signals: Signals) -> Result<Form, String> {
        match (&self.mapping, &self.wide) {
            (Some(mapping), None) => Ok(Form::Long(Box::new(Long::new(mapping, signals)?))),
            (None, Some(wide)) => Ok(Form::Wide(Box::new(WideForm::new(wide, signals)?))),
            _ => Err("give either a `mapping` (a line is a row) or `wide` (a column is a signal)".into()),
        }
    }
}

impl Form {
    fn signals(&mut self) -> &mut Signals {
        match self {
            Form::Long(long) => &mut long.signals,
            Form::Wide(wide) => &mut wide.signals,
        }
    }
}

/// What a line is.
enum Form {
    Long(Box<Long>),
    Wide(Box<WideForm>),
}

/// The long form.
struct Long {
    mapper: Mapper,
    /// The fields that the mapping names.
    fields: Vec<String>,
    /// The field that is the time.
    time: String,
    signals: Signals,
}

impl Long {
    fn new(mapping: &Mapping, signals: Signals) -> Result<Self, String> {
        let mapper = Mapper::new(mapping)?;
        let mut fields: Vec<String> = mapping.columns.values().flat_map(|text| fields_of(text)).collect();
        let time = match mapping.columns.get("time") {
            Some(text) => fields_of(text).into_iter().next().unwrap_or_default(),
            None => "time".into(),
        };
        fields.push(time.clone());
        Ok(Long { mapper, fields, time, signals })
    }

    /// Says which of the fields that are mapped is no column.
    fn check(&self, columns: &[String]) -> Result<(), String> {
        match self.fields.iter().find(|field| !columns.contains(field)) {
            Some(field) => Err(lacks(field, columns)),
            None => Ok(()),
        }
    }
}

/// The wide form.
struct WideForm {
    time: String,
    tool: String,
    chamber: String,
    patterns: Vec<glob::Pattern>,
    signals: Signals,
}

impl WideForm {
    fn new(wide: &Wide, signals: Signals) -> Result<Self, String> {
        let pattern = |text: &String| {
            glob::Pattern::new(text).map_err(|e| format!("`signals`: {text} is no pattern: {e}"))
        };
        Ok(WideForm {
            time: wide.time.clone(),
            tool: wide.tool.clone(),
            chamber: wide.chamber.clone(),
            patterns: wide.signals.iter().map(pattern).collect::<Result<_, _>>()?,
            signals,
        })
    }

    /// Where the columns are that name tool and chamber, and which are signals, by their places.
    fn plan(&self, columns: &[String]) -> Result<(usize, Vec<usize>, Vec<usize>), String> {
        let place = |name: &String| columns.iter().position(|column| column == name);
        let time = place(&self.time).ok_or_else(|| lacks(&self.time, columns))?;
        let mut naming = Vec::new();
        let named = [&self.tool, &self.chamber].map(|text| fields_of(text)).concat();
        for field in named.iter().filter(|field| *field != "file") {
            naming.push(place(field).ok_or_else(|| lacks(field, columns))?);
        }
        let wanted =
            |name: &String| self.patterns.is_empty() || self.patterns.iter().any(|p| p.matches(name));
        let signals: Vec<usize> = (0..columns.len())
            .filter(|at| *at != time && !naming.contains(at) && wanted(&columns[*at]))
            .collect();
        if signals.is_empty() {
            return Err(format!("has no column that is a signal; its columns are: {}", listed(columns)));
        }
        Ok((time, naming, signals))
    }

    /// Tool and chamber for a file and the texts of the naming columns.
    fn names(&self, file: &str, value: impl Fn(&str) -> String) -> [String; 2] {
        [&self.tool, &self.chamber].map(|text| {
            let mut out = text.clone();
            for field in fields_of(text) {
                let value = if field == "file" { file.to_string() } else { value(&field) };
                out = out.replace(&format!("${{{field}}}"), &value);
            }
            out
        })
    }

    /// The number of a column's signal on a tool. Names of a collector are distinct: where the tool is not the same
    /// for all of its files, it is part of the name.
    fn number(&mut self, [tool, chamber]: &[String; 2], column: &str) -> u32 {
        let varies = [&self.tool, &self.chamber].iter().any(|text| text.contains("${"));
        let name = if varies { format!("{tool}/{chamber}/{column}") } else { column.to_string() };
        self.signals.number(&crate::names::Given { name: &name, tool, chamber, ..Default::default() })
    }
}

/// The fields that a text with `${field}` places names.
fn fields_of(text: &str) -> Vec<String> {
    let after = text.split("${").skip(1);
    after.filter_map(|rest| rest.split_once('}').map(|(field, _)| field.to_string())).collect()
}

fn lacks(field: &str, columns: &[String]) -> String {
    format!("has no column `{field}`, which the settings name; its columns are: {}", listed(columns))
}

/// The first columns, for people.
fn listed(columns: &[String]) -> String {
    let first = columns.iter().take(20).map(String::as_str).collect::<Vec<_>>().join(", ");
    let more = if columns.len() > 20 { ", …" } else { "" };
    format!("{first}{more}")
}

/// A file's name without its ending.
fn stem(path: &Path) -> String {
    path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default()
}
