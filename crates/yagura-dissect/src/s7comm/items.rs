//! Addresses of variables, and their values.

use std::borrow::Cow;
use std::fmt::Write;

use crate::cursor::{Cursor, Cut};
use crate::exchange::Draft;
use crate::{Cx, Side};

/// Longest text of a row's addresses.
const TARGET_BYTES_MAX: usize = 1024;

/// How an item says where its variable lies.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Syntax {
    /// Area, data block and bit address (S7 ANY).
    Any,
    /// Some other way, that only the bytes show.
    #[default]
    Other,
}

/// One variable of a read or write.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Item {
    syntax: Syntax,
    /// The identifier of the syntax.
    id: u8,
    size: u8,
    count: u16,
    block: u16,
    area: u8,
    /// In bits; a number for timers and counters.
    address: u32,
}

impl Item {
    pub(super) fn read(cursor: &mut Cursor<'_>) -> Result<Item, Cut> {
        let kind = cursor.u8("item")?;
        cursor.check(kind == 0x12, "item")?;
        let length = usize::from(cursor.u8("item_length")?);
        let padded = length % 2 == 1 && cursor.remaining() > length;
        let mut part = cursor.part(length, "item_length")?;
        let id = part.u8("item_syntax")?;
        if id != 0x10 {
            // Only symbolic addresses of odd length are followed by a fill byte.
            if padded && id >= 0xb0 && cursor.peek() == Some(0) {
                cursor.skip(1, "item_fill")?;
            }
            return Ok(Item { id, ..Item::default() });
        }
        Ok(Item {
            syntax: Syntax::Any,
            id,
            size: part.u8("item_transport_size")?,
            count: part.u16_be("item_count")?,
            block: part.u16_be("item_db")?,
            area: part.u8("item_area")?,
            address: part.u24_be("item_address")?,
        })
    }

    /// Appends the address to a row's other ones.
    pub(super) fn push_target(&self, out: &mut String) {
        if out.len() > TARGET_BYTES_MAX {
            return;
        }
        if !out.is_empty() {
            out.push_str(", ");
        }
        if self.syntax == Syntax::Other {
            let _ = write!(out, "syntax 0x{:02x}", self.id);
        } else if self.count == 1 {
            self.push_element(out, 0);
        } else {
            self.push_area(out);
            let name = size_name(self.size);
            if self.is_number() {
                let _ = write!(out, "{} {name} {}", self.address, self.count);
            } else {
                let x = if self.in_block() { ".X" } else { "" };
                let x = if self.area == 0x84 { ".DBX" } else { x };
                let _ = write!(out, "{x}{}.{} {name} {}", self.address >> 3, self.address & 7, self.count);
            }
        }
    }

    fn in_block(&self) -> bool {
        matches!(self.area, 0x84 | 0x85)
    }

    fn is_number(&self) -> bool {
        matches!(self.area, 0x1c..=0x1f)
    }

    fn push_area(&self, out: &mut String) {
        let _ = match self.area {
            0x84 => write!(out, "DB{}", self.block),
            0x85 => write!(out, "DI{}", self.block),
            area => write!(out, "{}", area_name(area)),
        };
    }

    /// Appends the address of the element at `index`.
    fn push_element(&self, out: &mut String, index: u32) {
        self.push_area(out);
        if self.is_number() {
            let _ = write!(out, "{}", self.address + index);
            return;
        }
        if self.in_block() {
            out.push_str(if self.area == 0x84 { ".DB" } else { ".DI" });
        }
        let width = element_bytes(self.size);
        let Some(width) = width else {
            let x = if self.in_block() { "X" } else { "" };
            let bit = self.address + index;
            let _ = write!(out, "{x}{}.{}", bit >> 3, bit & 7);
            return;
        };
        let letter = match width {
            1 => "B",
            2 => "W",
            4 => "D",
            _ => "X",
        };
        let _ = write!(out, "{letter}{}", (self.address >> 3) + index * width as u32);
        if self.address & 7 != 0 {
            let _ = write!(out, ".{}", self.address & 7);
        }
    }
}

/// Reads the values of all items: from a write's request, or from a read's response, whose values
/// are measurements.
pub(super) fn values(
    mut cx: Option<&mut Cx<'_>>,
    draft: &mut Draft,
    items: &[Item],
    data: &mut Cursor<'_>,
    signal: &mut String,
) -> Result<(), Cut> {
    let mut source = String::new();
    if let Some(cx) = &cx {
        let end = cx.flow.end(Side::Server);
        let _ = write!(source, "s7comm {}:{}", end.address, end.port);
    }
    for (index, item) in items.iter().enumerate() {
        let code = data.u8("return_code")?;
        let coding = data.u8("data_transport_size")?;
        let length = usize::from(data.u16_be("data_length")?);
        // Bits, bytes, words and integers count in bits, the others in bytes.
        let length = if matches!(coding, 3..=5) { length.div_ceil(8) } else { length };
        if cx.is_some() && code != 0xff {
            draft.deny(return_code(code));
            draft.push_json("null");
            // A refused item without a type has no data, whatever its length says; others may claim
            // a length that is not there.
            let length = if coding == 0 { 0 } else { length };
            data.skip(length.min(data.remaining()), "data_length")?;
            continue;
        }
        let bytes = data.take(length, "data_length")?;
        if length % 2 == 1 && index + 1 < items.len() {
            data.skip(1, "data_fill")?;
        }
        let single = item.count == 1 || (item.syntax == Syntax::Any && !matches!(item.size, 2 | 3));
        let width = element_bytes(item.size).unwrap_or(1);
        let numeric = item.syntax == Syntax::Any && single && number(item.size, &[0; 8]).is_some();
        if !numeric || bytes.len() % width != 0 {
            draft.push_bytes(bytes);
            continue;
        }
        for (at, element) in bytes.chunks_exact(width).enumerate() {
            let Some(value) = number(item.size, element) else { continue };
            draft.push_value(value);
            if let Some(cx) = &mut cx {
                signal.clear();
                item.push_element(signal, at as u32);
                cx.measured(Side::Server, signal, &source, value, 0);
            }
        }
    }
    Ok(())
}

/// One element as a number, where its type is one.
fn number(size: u8, bytes: &[u8]) -> Option<f64> {
    let mut cursor = Cursor::new(bytes);
    let number = match size {
        1 => f64::from(cursor.u8("bit").ok()? & 1),
        2 | 3 => f64::from(cursor.u8("byte").ok()?),
        4 | 0x1c | 0x1d => f64::from(cursor.u16_be("word").ok()?),
        5 => f64::from(cursor.i16_be("int").ok()?),
        6 => f64::from(cursor.u32_be("dword").ok()?),
        7 => f64::from(cursor.i32_be("dint").ok()?),
        8 => f64::from(cursor.f32_be("real").ok()?),
        _ => return None,
    };
    Some(number)
}

/// Bytes of one element; none for bits.
fn element_bytes(size: u8) -> Option<usize> {
    match size {
        1 => None,
        4 | 5 | 9 | 0x0c | 0x1c | 0x1d => Some(2),
        6 | 7 | 8 | 0x0a | 0x0b => Some(4),
        0x0f => Some(8),
        _ => Some(1),
    }
}

fn size_name(size: u8) -> &'static str {
    match size {
        1 => "BOOL",
        2 => "BYTE",
        3 => "CHAR",
        4 => "WORD",
        5 => "INT",
        6 => "DWORD",
        7 => "DINT",
        8 => "REAL",
        9 => "DATE",
        0x0a => "TOD",
        0x0b => "TIME",
        0x0c => "S5TIME",
        0x0f => "DATE_AND_TIME",
        0x1c => "COUNTER",
        0x1d => "TIMER",
        _ => "TYPE_UNKNOWN",
    }
}

fn area_name(area: u8) -> Cow<'static, str> {
    let name = match area {
        0x03 => "SI",
        0x05 => "SF",
        0x06 => "AI",
        0x07 => "AQ",
        0x1c | 0x1e => "C",
        0x1d | 0x1f => "T",
        0x80 => "P",
        0x81 => "I",
        0x82 => "Q",
        0x83 => "M",
        0x86 => "L",
        0x87 => "V",
        other => return format!("area 0x{other:02x} ").into(),
    };
    name.into()
}

/// Names of an item's return codes.
pub(super) fn return_code(code: u8) -> Cow<'static, str> {
    let name = match code {
        0x00 => "reserved",
        0x01 => "hardware_error",
        0x03 => "object_access_not_allowed",
        0x05 => "invalid_address",
        0x06 => "data_type_not_supported",
        0x07 => "data_type_inconsistent",
        0x0a => "object_does_not_exist",
        other => return format!("return_code_0x{other:02x}").into(),
    };
    name.into()
}
