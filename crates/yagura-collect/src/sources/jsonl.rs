//! Files of JSON objects, one a line, mapped to the columns of a kind.
//!
//! See [`crate::mapping`]. A line that is no object, or lacks its
//! time, becomes a `coverage` row with file and line: malformed input is data.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use yagura_event::clock::Micros;
use yagura_event::rows::*;
use yagura_event::vocabulary::coverage;

use crate::mapping::{Mapper, Mapping};
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

/// A file of lines being read.
pub struct JsonLines {
    collector: String,
    file: PathBuf,
    reader: BufReader<File>,
    mapper: Mapper,
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

impl JsonLines {
    /// Opens a file.
    pub fn open(collector: &str, file: &Path, mapping: Mapping) -> Result<Self, SourceError> {
        let fail = |e: std::io::Error| SourceError::Open {
            file: file.display().to_string(),
            cause: format!("cannot be read: {e}"),
        };
        let wrong = |problem| SourceError::Setting { collector: collector.into(), problem };
        let mapper = Mapper::new(&mapping).map_err(wrong)?;
        let mut opened = File::open(file).map_err(fail)?;
        let total = opened.metadata().map_err(fail)?.len();
        let epoch = fingerprint(&mut opened, total).map_err(fail)?;
        let mut lines = JsonLines {
            collector: collector.to_string(),
            file: file.to_path_buf(),
            reader: BufReader::with_capacity(1 << 16, File::open(file).map_err(fail)?),
            mapper,
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
        match self.mapper.time(&object) {
            Ok(Some(time)) => {
                self.last_time = self.last_time.max(time);
                Line::Row(time, object)
            }
            Ok(None) => Line::Bad(self.last_time, self.say("has no readable time: ``")),
            Err(problem) => Line::Bad(self.last_time, self.say(&problem)),
        }
    }

    fn say(&self, what: &str) -> String {
        format!("{}:{}: the line {what}", self.file.display(), self.line)
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
            Some(Line::Row(time, object)) => self.mapper.emit(&object, time, None, out),
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
    use std::collections::BTreeMap;

    use super::*;
    use yagura_event::Kind;
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
