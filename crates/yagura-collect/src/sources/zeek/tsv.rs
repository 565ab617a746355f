//! Zeek's tab-separated logs: the header, and a line as JSON.

use std::path::Path;

/// What a log's header says.
pub(super) struct Header {
    /// Which log it is; as the file is called where no header says it.
    pub path: String,
    separator: char,
    set_separator: String,
    empty: String,
    unset: String,
    fields: Vec<Field>,
}

struct Field {
    /// Its name as JSON, with the colon.
    key: String,
    kind: Kind,
    many: bool,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Text,
    Number,
    Truth,
}

/// Columns of a log.
const FIELDS_MAX: usize = 4096;

impl Default for Header {
    fn default() -> Self {
        Header {
            path: String::new(),
            separator: '\t',
            set_separator: ",".into(),
            empty: "(empty)".into(),
            unset: "-".into(),
            fields: Vec::new(),
        }
    }
}

impl Header {
    /// Names the log as its file is called: `conn.2026-11-02.log` is `conn`.
    pub(super) fn named(&mut self, file: &Path) {
        if self.path.is_empty() {
            let name = file.file_name().map(|name| name.to_string_lossy()).unwrap_or_default();
            self.path = name.split('.').next().unwrap_or("").into();
        }
    }

    /// Reads a line that begins with `#`.
    pub(super) fn read(&mut self, line: &str) -> Result<(), String> {
        if let Some(separator) = line.strip_prefix("#separator ") {
            let separator = plain(separator);
            let mut characters = separator.chars();
            return match (characters.next(), characters.next()) {
                (Some(one), None) => {
                    self.separator = one;
                    Ok(())
                }
                _ => Err(format!("has a `#separator` that is not one character: `{separator:.20}`")),
            };
        }
        let Some((name, rest)) = line.split_once(self.separator) else { return Ok(()) };
        match name {
            "#set_separator" => self.set_separator = plain(rest),
            "#empty_field" => self.empty = rest.into(),
            "#unset_field" => self.unset = rest.into(),
            "#path" => self.path = rest.into(),
            "#fields" => {
                let field = |name: &str| Field {
                    key: format!("{}:", serde_json::Value::from(name)),
                    kind: Kind::Text,
                    many: false,
                };
                self.fields = rest.split(self.separator).take(FIELDS_MAX).map(field).collect();
            }
            "#types" => {
                for (field, name) in self.fields.iter_mut().zip(rest.split(self.separator)) {
                    let inner = name.split_once('[').map(|(_, inner)| inner.trim_end_matches(']'));
                    field.many = inner.is_some();
                    field.kind = match inner.unwrap_or(name) {
                        "bool" => Kind::Truth,
                        "count" | "int" | "double" | "port" | "time" | "interval" => Kind::Number,
                        _ => Kind::Text,
                    };
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// A line as a JSON object; fields that are unset are left out.
    pub(super) fn to_json(&self, line: &str, out: &mut String) -> Result<(), String> {
        if self.fields.is_empty() {
            return Err("stands in no JSON and no header with `#fields` was before it".into());
        }
        let columns = line.split(self.separator).count();
        if columns != self.fields.len() {
            return Err(format!("has {columns} columns, and its header {}", self.fields.len()));
        }
        out.push('{');
        for (field, text) in self.fields.iter().zip(line.split(self.separator)) {
            if text == self.unset {
                continue;
            }
            if out.len() > 1 {
                out.push(',');
            }
            out.push_str(&field.key);
            if !field.many {
                self.value(field.kind, text, out);
                continue;
            }
            out.push('[');
            if text != self.empty {
                for (nth, text) in text.split(self.set_separator.as_str()).enumerate() {
                    if nth > 0 {
                        out.push(',');
                    }
                    self.value(field.kind, text, out);
                }
            }
            out.push(']');
        }
        out.push('}');
        Ok(())
    }

    fn value(&self, kind: Kind, text: &str, out: &mut String) {
        match kind {
            Kind::Number if is_number(text) => out.push_str(text),
            Kind::Truth if matches!(text, "T" | "F") => {
                out.push_str(if text == "T" { "true" } else { "false" })
            }
            _ if text == self.empty => out.push_str("\"\""),
            _ => quoted(text, out),
        }
    }
}

/// Whether a text is a number as JSON has them.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text).as_bytes();
    let simple = digits.iter().all(|c| c.is_ascii_digit() || *c == b'.');
    match digits {
        [b'0', next, ..] if next.is_ascii_digit() => false,
        [first, .., last] if simple && first.is_ascii_digit() && last.is_ascii_digit() => {
            memchr::memchr_iter(b'.', digits).count() < 2
        }
        [only] => only.is_ascii_digit(),
        // With an exponent, or nothing of the kind.
        _ => serde_json::from_str::<f64>(text).is_ok(),
    }
}

/// A text in quotes, with Zeek's `\xHH` for ASCII characters undone.
fn quoted(text: &str, out: &mut String) {
    out.push('"');
    let undone = if text.contains("\\x") { std::borrow::Cow::Owned(plain(text)) } else { text.into() };
    let mut rest = undone.as_ref();
    while let Some(at) = rest.bytes().position(|c| c < 0x20 || c == b'"' || c == b'\\') {
        out.push_str(&rest[..at]);
        match rest.as_bytes()[at] {
            b'"' => out.push_str("\\\""),
            b'\\' => out.push_str("\\\\"),
            b'\t' => out.push_str("\\t"),
            b'\n' => out.push_str("\\n"),
            control => out.push_str(&format!("\\u{control:04x}")),
        }
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
    out.push('"');
}

/// Undoes `\xHH` where that is an ASCII character; other bytes keep their escape.
fn plain(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("\\x") {
        out.push_str(before);
        let byte = after.get(..2).and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match byte {
            Some(byte) if byte.is_ascii() => {
                out.push(byte as char);
                rest = &after[2..];
            }
            _ => {
                out.push_str("\\x");
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}
