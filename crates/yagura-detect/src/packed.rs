//! Rows packed into few bytes: what an operator keeps of a row that it may have to tell later.
//!
//! Times, numbers and names are kept; texts that are empty are not, and long ones are cut.

use arrow::array::{ArrayRef, RecordBatch};
use arrow::datatypes::{DataType, Schema};
use serde_json::{Map, Value};
use yagura_event::Kind;
use yagura_event::codec::json_value;

use crate::columns::text_at;

/// The most bytes of one packed row; columns that do not fit any more are left out.
pub const PACKED_BYTES_MAX: usize = 640;
/// The most bytes of a text; a longer one ends with `…`.
const TEXT_BYTES_MAX: usize = 96;

/// One row, packed: for each column its place, then eight bytes of a number or a text with its length.
pub fn pack(rows: &RecordBatch, row: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    for (index, column) in rows.columns().iter().enumerate() {
        let Ok(index) = u8::try_from(index) else { break };
        if is_text(column.data_type()) {
            let text = text_at(column, row);
            let (kept, cut) = beginning(&text);
            let bytes = kept.len() + if cut { '…'.len_utf8() } else { 0 };
            if bytes > 0 && out.len() + 2 + bytes <= PACKED_BYTES_MAX {
                out.extend([index, bytes as u8]);
                out.extend(kept.as_bytes());
                if cut {
                    out.extend("…".as_bytes());
                }
            }
        } else if let Some(number) = eight_bytes(column, row)
            && out.len() + 9 <= PACKED_BYTES_MAX
        {
            out.push(index);
            out.extend(number);
        }
    }
    // It is kept for minutes.
    out.shrink_to_fit();
    out
}

/// The columns of a packed row by name, as [`crate::columns::row_json`] has them.
pub fn unpack(kind: Kind, bytes: &[u8]) -> Map<String, Value> {
    let schema = kind.schema();
    let mut out = Map::new();
    let mut rest = bytes;
    while let Some((name, value, after)) = next(&schema, rest) {
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

fn eight_bytes(column: &ArrayRef, row: usize) -> Option<[u8; 8]> {
    let Value::Number(number) = json_value(column, row)? else { return None };
    number
        .as_u64()
        .map(u64::to_le_bytes)
        .or_else(|| number.as_i64().map(i64::to_le_bytes))
        .or_else(|| number.as_f64().map(f64::to_le_bytes))
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
        assert_eq!(unpack(Kind::Message, &pack(&rows, 0)), row_json(&rows, 0));
        let cut = unpack(Kind::Message, &pack(&rows, 1));
        let target = cut["target"].as_str().unwrap_or_default();
        assert!(target.ends_with("ä…") && target.len() <= TEXT_BYTES_MAX, "{target}");
        assert!(pack(&rows, 1).len() <= PACKED_BYTES_MAX);
        assert!(unpack(Kind::Message, &[2]).is_empty(), "torn bytes are no row");
    }
}
