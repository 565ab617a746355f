//! From a foreign record's value to rows. The same value gives the same rows whenever it is read.

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Map, Value};
use yagura_event::clock::Micros;
use yagura_event::rows::RowSink;

use super::columns::{Columns, ColumnsSettings};
use crate::mapping::{Mapper, Mapping};
use crate::names::Signals;
use crate::places::PlacedSink;

/// The field under which an object that has none of that name gets its record's key.
const KEY: &str = "kafka.key";

/// What the values of a topic are.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "lowercase", deny_unknown_fields)]
pub enum FormatSettings {
    /// An object or an array of objects, mapped to a kind's columns. `${kafka.key}` is the record's key. An object
    /// without a time was at its reception.
    Json(Mapping),
    /// An Arrow IPC stream of measured values.
    Arrow(ColumnsSettings),
}

/// Reads values of one topic.
pub enum Format {
    /// JSON.
    Json(Mapper),
    /// Arrow.
    Arrow(Box<Columns>),
}

impl FormatSettings {
    /// Checks the settings.
    pub fn open(&self) -> Result<Format, String> {
        Ok(match self {
            FormatSettings::Json(mapping) => Format::Json(Mapper::new(mapping)?),
            FormatSettings::Arrow(columns) => Format::Arrow(Box::new(Columns::new(columns)?)),
        })
    }
}

impl Format {
    /// Puts the rows of a record out. `bad` is told what of it cannot be read.
    pub fn rows(
        &mut self,
        (key, value): (&Bytes, &Bytes),
        observed: Micros,
        signals: &mut Signals,
        out: &mut dyn PlacedSink,
        bad: &mut dyn FnMut(String),
    ) {
        match self {
            Format::Json(mapper) => json(mapper, key, value, observed, &mut signals.naming(out), bad),
            Format::Arrow(columns) => columns.rows(value, observed, signals, out, bad),
        }
    }
}

fn json(
    mapper: &Mapper,
    key: &Bytes,
    value: &[u8],
    observed: Micros,
    out: &mut dyn RowSink,
    bad: &mut dyn FnMut(String),
) {
    let mut one = |object: Value, at: &dyn Fn() -> String| {
        let Value::Object(mut object) = object else {
            return bad(format!("{} is no JSON object", at()));
        };
        if !key.is_empty() && !object.contains_key(KEY) {
            object.insert(KEY.into(), Value::String(String::from_utf8_lossy(key).into_owned()));
        }
        if let Err(problem) = row(mapper, &object, observed, out) {
            bad(format!("{} {problem}", at()));
        }
    };
    match serde_json::from_slice(value) {
        Ok(Value::Array(objects)) => {
            for (number, object) in objects.into_iter().enumerate() {
                one(object, &|| format!("element {number}"));
            }
        }
        Ok(object) => one(object, &|| "the value".into()),
        Err(cause) => bad(format!("the value is no JSON: {cause}")),
    }
}

fn row(
    mapper: &Mapper,
    object: &Map<String, Value>,
    observed: Micros,
    out: &mut dyn RowSink,
) -> Result<(), String> {
    let time = mapper.time(object)?.unwrap_or(observed);
    mapper.emit(object, time, Some(observed), out);
    Ok(())
}
