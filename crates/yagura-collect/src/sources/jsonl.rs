//! Files of JSON objects, one a line, mapped to the columns of a kind.
//!
//! A mapping gives each column a text in which `${field}` stands for a field of the object; a
//! column without one takes the field of its own name. A line that is no object, or lacks its
//! time, becomes a `coverage` row with file and line: malformed input is data.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use yagura_event::Kind;
use yagura_event::clock::{self, Micros};
use yagura_event::rows::*;
use yagura_event::vocabulary::coverage;

use crate::source::{Opened, Opening, Settings, Source, SourceError};

/// Settings of `kind: jsonl`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JsonLineFiles {
    /// The file.
    path: PathBuf,
    /// What its lines are.
    mapping: Mapping,
}

impl Settings for JsonLineFiles {
    const KIND: &'static str = "jsonl";
    const READS: &'static str = "a file of JSON objects, one a line, with a mapping to a kind's columns";

    fn open(self, at: &Opening<'_>) -> Result<Opened, SourceError> {
        let lines = JsonLines::open(at.collector, &at.path(&self.path), self.mapping)?;
        Ok(Opened::Recorded(Box::new(lines)))
    }
}

/// The longest line that is read; the rest of a longer one is passed over and said.
const LINE_BYTES_MAX: usize = 1 << 20;

/// What a file's lines are.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Mapping {
    /// The kind of record: `sample`, `log`, `context`, `coverage`, `control`, `identity`.
    #[serde(rename = "as")]
    pub kind: Kind,
    /// Column → text with `${field}` places.
    #[serde(default)]
    pub columns: BTreeMap<String, String>,
}

/// The columns that a line of a kind may give.
fn columns_of(kind: Kind) -> Option<&'static [&'static str]> {
    Some(match kind {
        Kind::Sample => {
            &["time", "observed", "tool", "chamber", "signal", "unit", "class", "source", "value", "quality"]
        }
        Kind::Log => &["time", "observed", "tool", "category", "event", "user", "description", "detail"],
        Kind::Context => &["time", "observed", "tool", "chamber", "name", "value", "source"],
        Kind::Coverage => &["time", "until", "observed", "event", "subject", "count", "detail"],
        Kind::Control => &["time", "observed", "action", "subject", "payload", "author"],
        Kind::Identity => &[
            "time", "observed", "address", "tool", "protocol", "vendor", "model", "firmware", "serial",
            "name", "detail",
        ],
        _ => return None,
    })
}

/// A file of lines being read.
pub struct JsonLines {
    collector: String,
    file: PathBuf,
    reader: BufReader<File>,
    columns: Columns,
    epoch: u64,
    line: u64,
    read: u64,
    total: u64,
    next: Option<Line>,
    last_time: Micros,
}

/// One line, understood or not.
enum Line {
    Row(Micros, serde_json::Map<String, serde_json::Value>),
    Bad(Micros, String),
}

/// A mapping that was checked.
pub(crate) struct Columns {
    kind: Kind,
    templates: Vec<(&'static str, Option<Vec<Piece>>)>,
}

enum Piece {
    Text(String),
    Field(String),
}

impl JsonLines {
    /// Opens a file.
    pub fn open(collector: &str, file: &Path, mapping: Mapping) -> Result<Self, SourceError> {
        let fail = |e: std::io::Error| SourceError::Open {
            file: file.display().to_string(),
            cause: format!("cannot be read: {e}"),
        };
        let wrong = |problem| SourceError::Setting { collector: collector.into(), problem };
        let columns = Columns::new(&mapping).map_err(wrong)?;
        let mut opened = File::open(file).map_err(fail)?;
        let total = opened.metadata().map_err(fail)?.len();
        let epoch = fingerprint(&mut opened, total).map_err(fail)?;
        let mut lines = JsonLines {
            collector: collector.to_string(),
            file: file.to_path_buf(),
            reader: BufReader::with_capacity(1 << 16, File::open(file).map_err(fail)?),
            columns,
            epoch,
            line: 0,
            read: 0,
            total,
            next: None,
            last_time: 0,
        };
        lines.next = lines.read_line();
        Ok(lines)
    }

    fn read_line(&mut self) -> Option<Line> {
        loop {
            let mut text = Vec::new();
            let got = (&mut self.reader).take(LINE_BYTES_MAX as u64).read_until(b'\n', &mut text);
            self.line += 1;
            let got = match got {
                Ok(0) => return None,
                Ok(got) => got as u64,
                Err(e) => {
                    return Some(Line::Bad(
                        self.last_time,
                        self.say(&format!("cannot be read further: {e}")),
                    ));
                }
            };
            self.read += got;
            if got as usize == LINE_BYTES_MAX && text.last() != Some(&b'\n') {
                self.skip_line();
                return Some(Line::Bad(self.last_time, self.say("is longer than 1 MiB")));
            }
            if text.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            return Some(self.understand(&text));
        }
    }

    fn skip_line(&mut self) {
        loop {
            let (used, found) = match self.reader.fill_buf() {
                Ok([]) | Err(_) => return,
                Ok(buffer) => match buffer.iter().position(|&b| b == b'\n') {
                    Some(at) => (at + 1, true),
                    None => (buffer.len(), false),
                },
            };
            self.reader.consume(used);
            self.read += used as u64;
            if found {
                return;
            }
        }
    }

    fn understand(&mut self, text: &[u8]) -> Line {
        let object = match serde_json::from_slice(text) {
            Ok(object) => object,
            Err(e) => return Line::Bad(self.last_time, self.say(&format!("is no JSON object: {e}"))),
        };
        let time = self.column(&object, "time");
        match clock::parse_rfc3339(&time).or_else(|| time.parse().ok()) {
            Some(time) => {
                self.last_time = self.last_time.max(time);
                Line::Row(time, object)
            }
            None => Line::Bad(self.last_time, self.say(&format!("has no readable time: `{time}`"))),
        }
    }

    fn say(&self, what: &str) -> String {
        format!("{}:{}: the line {what}", self.file.display(), self.line)
    }

    /// A column's text for one object.
    fn column(&self, object: &serde_json::Map<String, serde_json::Value>, name: &str) -> String {
        self.columns.text(name, &|field, out| push_field(object, field, out))
    }
}

/// Appends a field of an object as text; nothing where there is none.
pub(crate) fn push_field(object: &serde_json::Map<String, serde_json::Value>, field: &str, out: &mut String) {
    match object.get(field) {
        Some(serde_json::Value::String(text)) => out.push_str(text),
        Some(serde_json::Value::Null) | None => {}
        Some(other) => out.push_str(&other.to_string()),
    }
}

impl Columns {
    /// Checks a mapping.
    pub(crate) fn new(mapping: &Mapping) -> Result<Self, String> {
        let columns = columns_of(mapping.kind).ok_or_else(|| {
            format!(
                "lines cannot be `{}`; there are: sample, log, context, coverage, control, identity",
                mapping.kind.name()
            )
        })?;
        if let Some(unknown) = mapping.columns.keys().find(|c| !columns.contains(&c.as_str())) {
            return Err(format!(
                "`{unknown}` is no column of {}; there are: {}",
                mapping.kind.name(),
                columns.join(", ")
            ));
        }
        let templates =
            columns.iter().map(|&c| (c, mapping.columns.get(c).map(|text| pieces(text)))).collect();
        Ok(Columns { kind: mapping.kind, templates })
    }

    /// A column's text, where `field` appends the fields.
    pub(crate) fn text(&self, name: &str, field: &dyn Fn(&str, &mut String)) -> String {
        let mut out = String::new();
        match self.templates.iter().find(|(column, _)| *column == name) {
            Some((_, Some(pieces))) => {
                for piece in pieces {
                    match piece {
                        Piece::Text(text) => out.push_str(text),
                        Piece::Field(name) => field(name, &mut out),
                    }
                }
            }
            _ => field(name, &mut out),
        }
        out
    }

    /// Puts out a row, where `field` appends the fields. `observed` is for what does not say its own.
    pub(crate) fn emit(
        &self,
        time: Micros,
        observed: Micros,
        field: &dyn Fn(&str, &mut String),
        out: &mut dyn RowSink,
    ) {
        let text = |name: &str| self.text(name, field);
        let observed = clock::parse_rfc3339(&text("observed")).unwrap_or(observed);
        let (tool, detail) = (text("tool"), text("detail"));
        match self.kind {
            Kind::Sample => out.push(Row::Measured(&MeasuredRow {
                tool: &tool,
                chamber: &text("chamber"),
                signal: &text("signal"),
                unit: &text("unit"),
                class: &text("class"),
                source: &text("source"),
                time,
                observed,
                value: text("value").parse().unwrap_or(f64::NAN),
                quality: text("quality").parse().unwrap_or(0),
            })),
            Kind::Log => out.push(Row::Log(&LogRow {
                time,
                observed,
                tool: &tool,
                category: &text("category"),
                event: &text("event"),
                user: &text("user"),
                description: &text("description"),
                detail: &detail,
                ..Default::default()
            })),
            Kind::Context => out.push(Row::Context(&ContextRow {
                time,
                observed,
                tool: &tool,
                chamber: &text("chamber"),
                name: &text("name"),
                value: &text("value"),
                source: &text("source"),
                ..Default::default()
            })),
            Kind::Coverage => out.push(Row::Coverage(&CoverageRow {
                time,
                until: clock::parse_rfc3339(&text("until")).unwrap_or(time),
                observed,
                event: &text("event"),
                subject: &text("subject"),
                count: text("count").parse().unwrap_or(0),
                detail: &detail,
                ..Default::default()
            })),
            Kind::Control => out.push(Row::Control(&ControlRow {
                time,
                observed,
                action: &text("action"),
                subject: &text("subject"),
                payload: &text("payload"),
                author: &text("author"),
                ..Default::default()
            })),
            Kind::Identity => out.push(Row::Identity(&IdentityRow {
                time,
                observed,
                address: &text("address"),
                tool: &tool,
                protocol: &text("protocol"),
                vendor: &text("vendor"),
                model: &text("model"),
                firmware: &text("firmware"),
                serial: &text("serial"),
                name: &text("name"),
                detail: &detail,
                ..Default::default()
            })),
            // `new` let no other kind in.
            _ => {}
        }
    }
}

impl Source for JsonLines {
    fn collector(&self) -> &str {
        &self.collector
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn next_time(&mut self) -> Option<Micros> {
        self.next.as_ref().map(|line| match line {
            Line::Row(time, _) | Line::Bad(time, _) => *time,
        })
    }

    fn advance(&mut self, out: &mut dyn RowSink) {
        match self.next.take() {
            Some(Line::Row(time, object)) => {
                self.columns.emit(time, time, &|field, out| push_field(&object, field, out), out);
            }
            Some(Line::Bad(time, detail)) => {
                out.push(Row::Coverage(&CoverageRow {
                    time,
                    until: time,
                    observed: time,
                    event: coverage::MALFORMED,
                    subject: &self.collector,
                    count: 1,
                    detail: &detail,
                    ..Default::default()
                }));
            }
            None => return,
        }
        self.next = self.read_line();
    }

    fn finish(&mut self, _out: &mut dyn RowSink) {}

    fn progress(&self) -> (u64, u64) {
        (self.read, self.total)
    }
}

fn pieces(template: &str) -> Vec<Piece> {
    let mut out = Vec::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("${") {
        if !before.is_empty() {
            out.push(Piece::Text(before.to_string()));
        }
        match after.split_once('}') {
            Some((field, after)) => {
                out.push(Piece::Field(field.to_string()));
                rest = after;
            }
            None => {
                out.push(Piece::Text(format!("${{{after}")));
                return out;
            }
        }
    }
    if !rest.is_empty() {
        out.push(Piece::Text(rest.to_string()));
    }
    out
}

/// A file's epoch: a checksum of its length and its beginning, so that the same recording has
/// the same wherever it lies.
pub fn fingerprint(file: &mut File, length: u64) -> std::io::Result<u64> {
    let mut head = Vec::new();
    file.take(1 << 20).read_to_end(&mut head)?;
    let (low, high) = head.split_at(head.len() / 2);
    let sum = u64::from(crc32c::crc32c(low)) << 32 | u64::from(crc32c::crc32c(high));
    Ok(sum ^ length.rotate_left(17))
}

#[cfg(test)]
mod tests {
    use super::*;
    use yagura_event::rows::OwnedRow;

    fn read(text: &str, mapping: Mapping) -> Vec<OwnedRow> {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("in.jsonl");
        std::fs::write(&file, text).expect("a file");
        let mut source = JsonLines::open("doors", &file, mapping).expect("opens");
        let mut rows: Vec<OwnedRow> = Vec::new();
        while source.next_time().is_some() {
            source.advance(&mut rows);
        }
        assert_eq!(source.progress().0, text.len() as u64);
        rows
    }

    #[test]
    fn a_mapping_makes_rows_and_bad_lines_say_where() {
        let mapping = Mapping {
            kind: Kind::Log,
            columns: [
                ("tool", "${door}"),
                ("category", "badge"),
                ("user", "${holder}"),
                ("description", "${holder} at ${door}"),
            ]
            .map(|(a, b)| (a.to_string(), b.to_string()))
            .into(),
        };
        let text = "{\"time\":\"2026-11-02T22:00:01Z\",\"door\":\"D1\",\"holder\":\"E7\",\"event\":\"entered\"}\n\nnonsense\n{\"door\":\"D2\"}\n";
        let rows = read(text, mapping);
        assert_eq!(rows.len(), 3);
        assert_eq!(rows[0].text("description"), "E7 at D1");
        assert_eq!(rows[0].text("event"), "entered");
        assert!(rows[1].text("detail").contains("in.jsonl:3: the line is no JSON object"), "{:?}", rows[1]);
        assert!(
            rows[2].text("detail").contains("in.jsonl:4: the line has no readable time"),
            "{:?}",
            rows[2]
        );
    }

    #[test]
    fn a_very_long_line_is_said_and_passed_over() {
        let long = format!(
            "{{\"time\":\"{}\"}}\n{{\"time\":\"2026-11-02T22:00:01Z\",\"event\":\"gap\"}}\n",
            "x".repeat(3 << 20)
        );
        let rows = read(&long, Mapping { kind: Kind::Coverage, columns: BTreeMap::new() });
        assert_eq!(rows.len(), 2);
        assert!(rows[0].text("detail").contains("longer than 1 MiB"));
        assert_eq!(rows[1].text("event"), "gap");
    }
}
