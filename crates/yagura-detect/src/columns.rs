//! Reading cells of Arrow columns, and the row that an alert shows.

use std::borrow::Cow;

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
