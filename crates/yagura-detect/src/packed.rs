//! Rows packed into few bytes: what an operator keeps of a row that it may have to tell later.
//!
//! Times, numbers and names are kept; texts that are empty are not, and long ones are cut.

use arrow::array::{Array, ArrayRef, ArrowPrimitiveType, AsArray, RecordBatch, StringArray};
use arrow::buffer::NullBuffer;
use arrow::datatypes::{
    DataType, Float64Type, Int32Type, Int64Type, Schema, TimestampMicrosecondType, UInt8Type, UInt16Type,
    UInt32Type, UInt64Type,
};
use serde_json::{Map, Value};

/// The most bytes of one packed row; columns that do not fit any more are left out.
pub const PACKED_BYTES_MAX: usize = 640;
/// The most bytes of a text; a longer one ends with `…`.
const TEXT_BYTES_MAX: usize = 96;

/// The columns of a batch, made ready to pack rows of it: those that are empty in all rows are left out.
pub struct Packer<'a> {
    /// Each with its place.
    columns: Vec<(u8, Cells<'a>)>,
}

/// A column by what it takes to pack a cell.
enum Cells<'a> {
    /// The code of each row, and by code the word.
    Words(&'a [i32], &'a StringArray),
    Texts(&'a StringArray),
    Numbers(Numbers<'a>, Option<&'a NullBuffer>),
}

enum Numbers<'a> {
    I64(&'a [i64]),
    F64(&'a [f64]),
    U64(&'a [u64]),
    U32(&'a [u32]),
    U16(&'a [u16]),
    U8(&'a [u8]),
}

impl<'a> Packer<'a> {
    /// Of a batch.
    pub fn new(rows: &'a RecordBatch) -> Packer<'a> {
        let columns = (0..=u8::MAX).zip(rows.columns());
        Packer { columns: columns.filter_map(|(place, column)| Some((place, cells(column)?))).collect() }
    }

    /// Appends a row: for each column its place, then eight bytes of a number or a text with its length.
    pub fn pack(&self, row: usize, out: &mut Vec<u8>) {
        let end = out.len() + PACKED_BYTES_MAX;
        for (place, cells) in &self.columns {
            match cells {
                Cells::Words(codes, words) => put_text(*place, words.value(codes[row] as usize), end, out),
                Cells::Texts(texts) => put_text(*place, texts.value(row), end, out),
                Cells::Numbers(numbers, nulls) => {
                    if nulls.is_none_or(|nulls| nulls.is_valid(row))
                        && let Some(number) = numbers.eight_bytes(row)
                        && out.len() + 9 <= end
                    {
                        out.push(*place);
                        out.extend_from_slice(&number);
                    }
                }
            }
        }
    }
}

/// How a column is packed; `None` where there is nothing to pack in any row.
fn cells(column: &ArrayRef) -> Option<Cells<'_>> {
    let nulls = column.nulls();
    if column.null_count() == column.len() {
        return None;
    }
    Some(match column.data_type() {
        DataType::Dictionary(..) => {
            let dictionary = column.as_dictionary_opt::<Int32Type>()?;
            let words = dictionary.values().as_string_opt::<i32>()?;
            (!words.value_data().is_empty()).then(|| Cells::Words(dictionary.keys().values(), words))?
        }
        DataType::Utf8 => {
            let texts = column.as_string_opt::<i32>()?;
            (!texts.value_data().is_empty()).then_some(Cells::Texts(texts))?
        }
        DataType::Timestamp(..) => {
            Cells::Numbers(Numbers::I64(values::<TimestampMicrosecondType>(column)?), nulls)
        }
        DataType::Int64 => Cells::Numbers(Numbers::I64(values::<Int64Type>(column)?), nulls),
        DataType::Float64 => Cells::Numbers(Numbers::F64(values::<Float64Type>(column)?), nulls),
        DataType::UInt64 => Cells::Numbers(Numbers::U64(values::<UInt64Type>(column)?), nulls),
        DataType::UInt32 => Cells::Numbers(Numbers::U32(values::<UInt32Type>(column)?), nulls),
        DataType::UInt16 => Cells::Numbers(Numbers::U16(values::<UInt16Type>(column)?), nulls),
        DataType::UInt8 => Cells::Numbers(Numbers::U8(values::<UInt8Type>(column)?), nulls),
        _ => return None,
    })
}

fn values<T: ArrowPrimitiveType>(column: &ArrayRef) -> Option<&[T::Native]> {
    column.as_primitive_opt::<T>().map(|column| &column.values()[..])
}

impl Numbers<'_> {
    /// A number as it is packed; `None` for one that JSON cannot show.
    fn eight_bytes(&self, row: usize) -> Option<[u8; 8]> {
        Some(match self {
            Numbers::I64(values) => values[row].to_le_bytes(),
            Numbers::F64(values) => Some(values[row]).filter(|v| v.is_finite())?.to_le_bytes(),
            Numbers::U64(values) => values[row].to_le_bytes(),
            Numbers::U32(values) => u64::from(values[row]).to_le_bytes(),
            Numbers::U16(values) => u64::from(values[row]).to_le_bytes(),
            Numbers::U8(values) => u64::from(values[row]).to_le_bytes(),
        })
    }
}

fn put_text(place: u8, text: &str, end: usize, out: &mut Vec<u8>) {
    let (kept, cut) = beginning(text);
    let bytes = kept.len() + if cut { '…'.len_utf8() } else { 0 };
    if bytes > 0 && out.len() + 2 + bytes <= end {
        out.extend_from_slice(&[place, bytes as u8]);
        out.extend_from_slice(kept.as_bytes());
        if cut {
            out.extend_from_slice("…".as_bytes());
        }
    }
}

/// One row, packed, of which there is no other to pack.
pub fn pack(rows: &RecordBatch, row: usize) -> Vec<u8> {
    let mut out = Vec::new();
    Packer::new(rows).pack(row, &mut out);
    out.shrink_to_fit();
    out
}

/// The columns of a packed row by name, as [`crate::columns::row_json`] has them; `schema` is that of the
/// batch it was packed from.
pub fn unpack(schema: &Schema, bytes: &[u8]) -> Map<String, Value> {
    let mut out = Map::new();
    let mut rest = bytes;
    while let Some((name, value, after)) = next(schema, rest) {
        out.insert(name, value);
        rest = after;
    }
    out
}

fn next<'a>(schema: &Schema, bytes: &'a [u8]) -> Option<(String, Value, &'a [u8])> {
    let (&index, rest) = bytes.split_first()?;
    let field = schema.fields().get(usize::from(index))?;
    let (value, rest) = if is_text(field.data_type()) {
        let (&length, rest) = rest.split_first()?;
        let (text, rest) = rest.split_at_checked(usize::from(length))?;
        (Value::from(String::from_utf8_lossy(text)), rest)
    } else {
        let (number, rest) = rest.split_first_chunk::<8>()?;
        let value = match field.data_type() {
            DataType::Float64 => f64::from_le_bytes(*number).into(),
            DataType::UInt8 | DataType::UInt16 | DataType::UInt32 | DataType::UInt64 => {
                u64::from_le_bytes(*number).into()
            }
            _ => i64::from_le_bytes(*number).into(),
        };
        (value, rest)
    };
    Some((field.name().clone(), value, rest))
}

fn is_text(of: &DataType) -> bool {
    matches!(of, DataType::Utf8 | DataType::Dictionary(..))
}

/// A text's beginning that fits, and whether anything was cut off.
fn beginning(text: &str) -> (&str, bool) {
    if text.len() <= TEXT_BYTES_MAX {
        return (text, false);
    }
    (&text[..text.floor_char_boundary(TEXT_BYTES_MAX - '…'.len_utf8())], true)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns::row_json;
    use yagura_event::Kind;
    use yagura_event::rows::{MessageBuilder, MessageRow};

    #[test]
    fn a_row_comes_back_as_it_was_and_long_texts_are_cut() {
        let mut builder = MessageBuilder::default();
        builder.push(&MessageRow {
            time: -5,
            observed: 7,
            flow: u64::MAX,
            protocol: "modbus",
            client: "10.20.9.66",
            client_port: 502,
            value: Some(12.5),
            latency_us: Some(-3),
            ..Default::default()
        });
        let long = "ä".repeat(400);
        builder.push(&MessageRow { target: &long, values: &long, detail: &long, ..Default::default() });
        let rows = builder.finish();
        assert_eq!(unpack(&Kind::Message.schema(), &pack(&rows, 0)), row_json(&rows, 0));
        let cut = unpack(&Kind::Message.schema(), &pack(&rows, 1));
        let target = cut["target"].as_str().unwrap_or_default();
        assert!(target.ends_with("ä…") && target.len() <= TEXT_BYTES_MAX, "{target}");
        assert!(pack(&rows, 1).len() <= PACKED_BYTES_MAX);
        assert!(unpack(&Kind::Message.schema(), &[2]).is_empty(), "torn bytes are no row");
    }
}
