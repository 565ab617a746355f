//! CSV with a line of names.

use std::borrow::Cow;
use std::path::Path;

use serde_json::{Map, Value};
use yagura_event::clock::Micros;

use super::{Form, WideForm, stem};
use crate::names::Reading;
use crate::places::PlacedSink;
use crate::tail::Lines;
use crate::times;

/// Columns of a file.
const COLUMNS_MAX: usize = 1 << 14;

/// Understands lines of CSV.
pub(super) struct CsvLines {
    form: Form,
    delimiter: u8,
    /// The line's texts, for the long form.
    object: Map<String, Value>,
}

/// What a file's first line says.
#[derive(Default)]
pub(super) struct Columns {
    file: String,
    names: Vec<String>,
    /// In the wide form: the time's place, those of the columns that name the tool, and those of the signals.
    time: usize,
    naming: Vec<usize>,
    signals: Vec<usize>,
    /// The signals' numbers, for tool and chamber as they were in the line before.
    numbers: Vec<u32>,
    named: Vec<String>,
}

impl CsvLines {
    pub(super) fn new(form: Form, delimiter: u8) -> Self {
        CsvLines { form, delimiter, object: Map::new() }
    }
}

impl Lines for CsvLines {
    type Head = Columns;

    fn head(&self, path: &Path, columns: &mut Columns, line: &[u8]) -> Result<bool, String> {
        if !columns.names.is_empty() {
            return Ok(false);
        }
        // Spreadsheets put a byte order mark before it.
        let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
        let text = std::str::from_utf8(line).map_err(|e| format!("has a first line that is no text: {e}"))?;
        columns.names = fields(text, self.delimiter).map(|name| name.trim().to_string()).collect();
        columns.file = stem(path);
        if columns.names.len() > COLUMNS_MAX {
            return Err(format!("has {} columns; {COLUMNS_MAX} can be read", columns.names.len()));
        }
        match &self.form {
            Form::Long(long) => long.check(&columns.names)?,
            Form::Wide(wide) => {
                (columns.time, columns.naming, columns.signals) = wide.plan(&columns.names)?;
            }
        }
        Ok(true)
    }

    fn line(
        &mut self,
        columns: &mut Columns,
        line: &[u8],
        now: Micros,
        out: &mut dyn PlacedSink,
    ) -> Result<(), String> {
        let text = std::str::from_utf8(line).map_err(|e| format!("is no text: {e}"))?;
        let count = fields(text, self.delimiter).count();
        if count != columns.names.len() {
            return Err(format!("has {count} columns, and its header {}", columns.names.len()));
        }
        match &mut self.form {
            Form::Long(long) => {
                for (name, text) in columns.names.iter().zip(fields(text, self.delimiter)) {
                    match self.object.get_mut(name) {
                        Some(Value::String(place)) => {
                            place.clear();
                            place.push_str(&text);
                        }
                        _ => drop(self.object.insert(name.clone(), Value::from(text.as_ref()))),
                    }
                }
                let time = long.mapper.time(&self.object)?.ok_or("has no time")?;
                long.mapper.emit(&self.object, time, Some(now), &mut long.signals.naming(out));
                Ok(())
            }
            Form::Wide(wide) => wide_line(wide, columns, text, self.delimiter, now, out),
        }
    }

    fn report(&mut self, now: Micros, out: &mut dyn PlacedSink) {
        self.form.signals().report(now, out);
    }
}

fn wide_line(
    wide: &mut WideForm,
    columns: &mut Columns,
    text: &str,
    delimiter: u8,
    now: Micros,
    out: &mut dyn PlacedSink,
) -> Result<(), String> {
    let time = fields(text, delimiter).nth(columns.time).unwrap_or_default();
    let time = times::read(time.trim()).ok_or_else(|| format!("has no readable time: `{time:.40}`"))?;
    let mut naming = fields(text, delimiter)
        .enumerate()
        .filter(|(at, _)| columns.naming.contains(at))
        .map(|(_, text)| text);
    let same = columns.naming.is_empty() || naming.by_ref().eq(columns.named.iter().map(String::as_str));
    if !same || columns.numbers.is_empty() {
        let texts: Vec<Cow<'_, str>> = fields(text, delimiter).collect();
        let value = |field: &str| {
            let place = columns.names.iter().position(|name| name == field);
            place.and_then(|at| texts.get(at)).map(|text| text.trim().to_string()).unwrap_or_default()
        };
        let names = wide.names(&columns.file, value);
        columns.numbers = columns.signals.iter().map(|at| wide.number(&names, &columns.names[*at])).collect();
        columns.naming.sort_unstable();
        columns.named = columns.naming.iter().map(|at| texts[*at].to_string()).collect();
    }
    let reading = Reading { time, observed: now, quality: 0 };
    let mut next = 0;
    let mut strange = None;
    for (at, text) in fields(text, delimiter).enumerate() {
        if columns.signals.get(next) != Some(&at) {
            continue;
        }
        let number = columns.numbers[next];
        next += 1;
        match text.trim() {
            "" => {}
            text => match text.parse() {
                Ok(value) => wide.signals.value(number, reading, value, out),
                // Without patterns, a column of texts is none of the signals.
                Err(_) if wide.patterns.is_empty() => {}
                Err(_) => strange = strange.or(Some((at, text.to_string()))),
            },
        }
    }
    match strange {
        Some((at, text)) => Err(format!("has no number in column `{}`: `{text:.40}`", columns.names[at])),
        None => Ok(()),
    }
}

/// The texts of a line.
fn fields(line: &str, delimiter: u8) -> Fields<'_> {
    Fields { rest: Some(line), delimiter }
}

struct Fields<'a> {
    rest: Option<&'a str>,
    delimiter: u8,
}

impl<'a> Iterator for Fields<'a> {
    type Item = Cow<'a, str>;

    fn next(&mut self) -> Option<Cow<'a, str>> {
        let rest = self.rest?;
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut from = 0;
            while let Some(at) = memchr::memchr(b'"', &quoted.as_bytes()[from..]).map(|at| at + from) {
                if quoted.as_bytes().get(at + 1) == Some(&b'"') {
                    from = at + 2;
                    continue;
                }
                let text = &quoted[..at];
                let after = &quoted[at + 1..];
                self.rest = memchr::memchr(self.delimiter, after.as_bytes()).map(|at| &after[at + 1..]);
                return Some(if from > 0 { text.replace("\"\"", "\"").into() } else { text.into() });
            }
        }
        match memchr::memchr(self.delimiter, rest.as_bytes()) {
            Some(at) => {
                self.rest = Some(&rest[at + 1..]);
                Some(rest[..at].into())
            }
            None => {
                self.rest = None;
                Some(rest.into())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_into_their_texts() {
        let cut = |line: &str| fields(line, b';').map(Cow::into_owned).collect::<Vec<_>>();
        assert_eq!(cut("a;b"), ["a", "b"]);
        assert_eq!(cut(";"), ["", ""]);
        assert_eq!(cut(""), [""]);
        assert_eq!(cut("\"a;\"\"b\"\"\";c;\"\""), ["a;\"b\"", "c", ""]);
        assert_eq!(cut("\"no end;b"), ["\"no end", "b"]);
        assert_eq!(cut("1\";櫓;\"櫓\""), ["1\"", "櫓", "櫓"]);
    }
}
