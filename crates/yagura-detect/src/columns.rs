//! Reading cells of Arrow columns, and the row that an alert shows.

use std::borrow::Cow;
use std::hash::{DefaultHasher, Hash, Hasher};

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{DataType, Int32Type, TimestampMicrosecondType};
use yagura_event::clock::Micros;
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
    columns: Vec<Hashes<'a>>,
}

/// What the hashes of a column's values are found by.
enum Hashes<'a> {
    /// The code of each row, and by code the hash of its word.
    Words(&'a [i32], Vec<u64>),
    /// Each row's own value.
    Values(&'a ArrayRef),
}

impl<'a> RowHashes<'a> {
    /// Over these columns of a batch.
    pub fn new(columns: &[&'a ArrayRef]) -> Self {
        let columns = columns.iter().map(|&column| {
            let words = column.as_dictionary_opt::<Int32Type>().and_then(|dictionary| {
                let values = dictionary.values().as_string_opt::<i32>()?;
                let hashes = values.iter().map(|word| hash_text(word.unwrap_or(""))).collect();
                Some(Hashes::Words(dictionary.keys().values(), hashes))
            });
            words.unwrap_or(Hashes::Values(column))
        });
        RowHashes { columns: columns.collect() }
    }

    /// The hash of a row: that of [`hash_texts`] over its values.
    #[inline]
    pub fn at(&self, row: usize) -> u64 {
        hash_of(self.columns.iter().map(|column| match column {
            Hashes::Words(codes, hashes) => hashes[codes[row] as usize],
            Hashes::Values(column) => hash_text(&text_at(column, row)),
        }))
    }
}

/// Rows of a batch by the values of some columns together: what belongs to a combination of values
/// is looked up by its hash once a batch, and by the codes of the dictionaries afterwards.
pub struct RowGroups<'a> {
    hashes: RowHashes<'a>,
    /// Of each column, its codes and the step from one to the next in `found`; `None` where a column
    /// is no dictionary or there are too many combinations.
    codes: Option<Vec<(&'a [i32], usize)>>,
    found: Vec<u32>,
}

/// Combinations for which a table is worth its while, for each row of the batch.
const COMBINATIONS_A_ROW: usize = 8;

impl<'a> RowGroups<'a> {
    /// Over these columns of a batch.
    pub fn new(columns: &[&'a ArrayRef]) -> Self {
        let rows = columns.first().map_or(1, |column| column.len());
        let mut combinations = 1_usize;
        let codes: Option<Vec<(&[i32], usize)>> = columns
            .iter()
            .map(|column| {
                let dictionary = column.as_dictionary_opt::<Int32Type>()?;
                let step = combinations;
                combinations = combinations
                    .checked_mul(dictionary.values().len())
                    .filter(|&c| c <= rows.saturating_mul(COMBINATIONS_A_ROW))?;
                Some((&dictionary.keys().values()[..], step))
            })
            .collect();
        let found = if codes.is_some() { vec![u32::MAX; combinations] } else { Vec::new() };
        RowGroups { hashes: RowHashes::new(columns), codes, found }
    }

    /// What was set for the values of this row.
    #[inline]
    pub fn get(&self, row: usize) -> Option<u32> {
        self.place(row).map(|place| self.found[place]).filter(|&found| found != u32::MAX)
    }

    /// Sets what belongs to the values of this row.
    pub fn set(&mut self, row: usize, value: u32) {
        if let Some(place) = self.place(row) {
            self.found[place] = value;
        }
    }

    /// Forgets all that was set.
    pub fn forget(&mut self) {
        self.found.fill(u32::MAX);
    }

    /// The hash of a row's values.
    #[inline]
    pub fn hash(&self, row: usize) -> u64 {
        self.hashes.at(row)
    }

    fn place(&self, row: usize) -> Option<usize> {
        let codes = self.codes.as_ref()?;
        Some(codes.iter().map(|(codes, step)| codes[row] as usize * step).sum())
    }
}

/// The times of a column; names were checked when the pipeline was read.
pub fn times_of<'a>(rows: &'a RecordBatch, column: &str) -> Option<&'a [Micros]> {
    let column = rows.column_by_name(column)?.as_primitive_opt::<TimestampMicrosecondType>()?;
    Some(column.values())
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

/// One hash of several, which are SipHashes of what people may choose: each is folded into those
/// before it by a multiplication of 64 bits with 64 to 128, whose halves are added without carry
/// (as wyhash does; Wang Yi and others, 2019).
#[inline]
fn hash_of(parts: impl Iterator<Item = u64>) -> u64 {
    parts.fold(0x2d35_8dcc_aa6c_78a5, |sum, part| {
        let product = u128::from(sum ^ 0x8bb8_4b93_962e_acc9) * u128::from(part ^ 0x4b33_a62e_d433_d4a3);
        (product >> 64) as u64 ^ product as u64
    })
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
