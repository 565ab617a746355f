//! Reading cells of Arrow columns, and the row that an alert shows.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type};
use yagura_event::codec::json_value;

/// A cell as text; empty for null.
pub fn text_at(column: &ArrayRef, row: usize) -> Cow<'_, str> {
    match column.data_type() {
        DataType::Utf8 => Cow::Borrowed(column.as_string::<i32>().value(row)),
        DataType::Dictionary(..) => match column.as_dictionary_opt::<Int32Type>() {
            Some(dictionary) => match dictionary.values().as_string_opt::<i32>() {
                Some(values) => Cow::Borrowed(values.value(dictionary.keys().value(row) as usize)),
                None => Cow::Borrowed(""),
            },
            None => Cow::Borrowed(""),
        },
        _ => match json_value(column, row) {
            Some(value) => Cow::Owned(value.to_string()),
            None => Cow::Borrowed(""),
        },
    }
}

/// Whether a dictionary column's dictionary holds any of `values`. Columns that are no
/// dictionary answer yes: nothing can be ruled out.
pub fn may_hold(rows: &RecordBatch, column: &str, values: &[String]) -> bool {
    let Some(column) = rows.column_by_name(column) else { return true };
    let Some(dictionary) = column.as_dictionary_opt::<Int32Type>() else { return true };
    let Some(words) = dictionary.values().as_string_opt::<i32>() else { return true };
    words.iter().flatten().any(|word| values.iter().any(|v| v == word))
}

/// Hashes of some columns' values together, row by row. Words of a dictionary are hashed once a
/// batch. SipHash: an attacker who chooses names cannot cheaply make one look like another.
pub struct RowHashes<'a> {
    columns: Vec<(&'a ArrayRef, Option<Vec<u64>>)>,
}

impl<'a> RowHashes<'a> {
    /// Over these columns of a batch.
    pub fn new(columns: &[&'a ArrayRef]) -> Self {
        let columns = columns.iter().map(|&column| {
            let words = column.as_dictionary_opt::<Int32Type>().and_then(|dictionary| {
                let values = dictionary.values().as_string_opt::<i32>()?;
                Some(values.iter().map(|word| hash_text(word.unwrap_or(""))).collect())
            });
            (column, words)
        });
        RowHashes { columns: columns.collect() }
    }

    /// The hash of a row: that of [`hash_texts`] over its values.
    pub fn at(&self, row: usize) -> u64 {
        hash_of(self.columns.iter().map(|(column, words)| {
            match (words, column.as_dictionary_opt::<Int32Type>()) {
                (Some(words), Some(dictionary)) => words[dictionary.keys().value(row) as usize],
                _ => hash_text(&text_at(column, row)),
            }
        }))
    }
}

/// The hash of some texts together.
pub fn hash_texts<'a>(texts: impl Iterator<Item = &'a str>) -> u64 {
    hash_of(texts.map(hash_text))
}

fn hash_text(text: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    text.hash(&mut hasher);
    hasher.finish()
}

fn hash_of(parts: impl Iterator<Item = u64>) -> u64 {
    let mut hasher = DefaultHasher::new();
    for part in parts {
        part.hash(&mut hasher);
    }
    hasher.finish()
}

/// The columns of that name, in that order; names were checked when the pipeline was read.
pub fn named<'a>(rows: &'a RecordBatch, names: &[String]) -> Vec<&'a ArrayRef> {
    names.iter().filter_map(|name| rows.column_by_name(name)).collect()
}

/// One row as JSON, without what is empty.
pub fn row_json(rows: &RecordBatch, row: usize) -> serde_json::Map<String, serde_json::Value> {
    let schema = rows.schema();
    let mut out = serde_json::Map::new();
    for (field, column) in schema.fields().iter().zip(rows.columns()) {
        match json_value(column, row) {
            Some(serde_json::Value::String(text)) if text.is_empty() => {}
            Some(value) => {
                out.insert(field.name().clone(), value);
            }
            None => {}
        }
    }
    out
}
