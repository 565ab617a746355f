//! From JSON objects to the columns of a kind.
//!
//! A mapping gives each column a text in which `${field}` stands for a field of the object; a
//! column without one takes the field of its own name.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::{Map, Value};
use yagura_event::Kind;
use yagura_event::clock::Micros;
use yagura_event::rows::*;

use crate::times;

/// What objects are.
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

/// A [`Mapping`] whose columns there are.
#[derive(Debug)]
pub struct Mapper {
    kind: Kind,
    templates: Vec<(&'static str, Option<Vec<Piece>>)>,
}

#[derive(Debug)]
enum Piece {
    Text(String),
    Field(String),
}

impl Mapper {
    /// Checks a mapping; an error says what there is instead.
    pub fn new(mapping: &Mapping) -> Result<Self, String> {
        let name = mapping.kind.name();
        let columns = columns_of(mapping.kind).ok_or_else(|| {
            format!("lines cannot be `{name}`; there are: sample, log, context, coverage, control, identity")
        })?;
        if let Some(unknown) = mapping.columns.keys().find(|c| !columns.contains(&c.as_str())) {
            return Err(format!("`{unknown}` is no column of {name}; there are: {}", columns.join(", ")));
        }
        let templates =
            columns.iter().map(|&c| (c, mapping.columns.get(c).map(|text| pieces(text)))).collect();
        Ok(Mapper { kind: mapping.kind, templates })
    }

    /// What the objects become.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// An object's time: `Ok(None)` when it has none, an error when it cannot be read.
    pub fn time(&self, object: &Map<String, Value>) -> Result<Option<Micros>, String> {
        let text = self.column(object, "time");
        match times::read(&text) {
            None if !text.is_empty() => Err(format!("has no readable time: `{text}`")),
            time => Ok(time),
        }
    }

    /// Puts an object out as a row of `time`. It was observed at `observed`, or when it says so itself.
    pub fn emit(
        &self,
        object: &Map<String, Value>,
        time: Micros,
        observed: Option<Micros>,
        out: &mut dyn RowSink,
    ) {
        self.emit_with(&|field, text| push_field(object, field, text), time, observed, out);
    }

    /// The same of something whose fields `field` appends to a text.
    pub fn emit_with(
        &self,
        field: &dyn Fn(&str, &mut String),
        time: Micros,
        observed: Option<Micros>,
        out: &mut dyn RowSink,
    ) {
        let text = |name: &str| self.column_with(field, name);
        let time_of = |name: &str| times::read(&text(name)).unwrap_or(time);
        let observed = observed.unwrap_or_else(|| time_of("observed"));
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
                until: time_of("until"),
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

    /// A column's text for one object.
    pub fn column(&self, object: &Map<String, Value>, name: &str) -> String {
        self.column_with(&|field, text| push_field(object, field, text), name)
    }

    /// A column's text, where `field` appends a field to it.
    pub fn column_with(&self, field: &dyn Fn(&str, &mut String), name: &str) -> String {
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
}

/// Appends a field of an object to a text; nothing where there is none.
pub fn push_field(object: &Map<String, Value>, field: &str, text: &mut String) {
    match object.get(field) {
        Some(Value::String(value)) => text.push_str(value),
        Some(Value::Null) | None => {}
        Some(other) => text.push_str(&other.to_string()),
    }
}

/// The columns that an object may give.
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
