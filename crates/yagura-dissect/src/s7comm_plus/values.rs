//! Typed values and numbers of variable length.

use std::fmt::Write;

use crate::cursor::{Cursor, Cut};
use crate::json;

/// Deepest nesting of structures.
const DEPTH_MAX: usize = 8;
/// Most elements of an array, and of a structure.
const ELEMENTS_MAX: u32 = 1 << 16;
/// Most bytes of a string or of packed data that are written.
const SHOWN_MAX: usize = 256;

/// Datatypes.
mod datatype {
    pub const NULL: u8 = 0x00;
    pub const BOOL: u8 = 0x01;
    pub const USINT: u8 = 0x02;
    pub const UINT: u8 = 0x03;
    pub const UDINT: u8 = 0x04;
    pub const ULINT: u8 = 0x05;
    pub const SINT: u8 = 0x06;
    pub const INT: u8 = 0x07;
    pub const DINT: u8 = 0x08;
    pub const LINT: u8 = 0x09;
    pub const BYTE: u8 = 0x0a;
    pub const WORD: u8 = 0x0b;
    pub const DWORD: u8 = 0x0c;
    pub const LWORD: u8 = 0x0d;
    pub const REAL: u8 = 0x0e;
    pub const LREAL: u8 = 0x0f;
    pub const TIMESTAMP: u8 = 0x10;
    pub const TIMESPAN: u8 = 0x11;
    pub const RID: u8 = 0x12;
    pub const AID: u8 = 0x13;
    pub const BLOB: u8 = 0x14;
    pub const WSTRING: u8 = 0x15;
    pub const STRUCT: u8 = 0x17;
    pub const S7STRING: u8 = 0x19;
}

const ARRAY: u8 = 0x10;
const ADDRESS_ARRAY: u8 = 0x20;
const SPARSE_ARRAY: u8 = 0x40;

/// A number of seven bits a byte, at most five of them.
pub(super) fn vlq(cursor: &mut Cursor<'_>) -> Result<u32, Cut> {
    let mut value = 0_u32;
    for _ in 0..5 {
        let byte = cursor.u8("number")?;
        value = value << 7 | u32::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Ok(value)
}

/// The same with a sign, whose bit is the second of the first byte.
fn vlq_signed(cursor: &mut Cursor<'_>) -> Result<i32, Cut> {
    let mut value = if cursor.peek().is_some_and(|byte| byte & 0x40 != 0) { -1_i32 } else { 0 };
    for _ in 0..5 {
        let byte = cursor.u8("number")?;
        value = value << 7 | i32::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            break;
        }
    }
    Ok(value)
}

/// A number of up to 64 bits: a ninth byte has all its eight.
pub(super) fn vlq64(cursor: &mut Cursor<'_>) -> Result<u64, Cut> {
    wide(cursor, 0)
}

fn vlq64_signed(cursor: &mut Cursor<'_>) -> Result<i64, Cut> {
    let negative = cursor.peek().is_some_and(|byte| byte & 0x40 != 0);
    wide(cursor, if negative { u64::MAX } else { 0 }).map(|value| value as i64)
}

fn wide(cursor: &mut Cursor<'_>, mut value: u64) -> Result<u64, Cut> {
    for _ in 0..8 {
        let byte = cursor.u8("number")?;
        value = value << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Ok(value << 8 | u64::from(cursor.u8("number")?))
}

/// What a value is, beside its text.
#[derive(Debug, Default)]
pub(super) struct Value {
    /// The number, where it is a single one.
    pub number: Option<f64>,
    /// Texts within, each with the id of the structure's element that it is.
    pub texts: Vec<(u32, String)>,
    /// Bytes of code or data that it has.
    pub body: usize,
}

/// Reads a value and appends it as compact JSON.
pub(super) fn read(cursor: &mut Cursor<'_>, out: &mut String) -> Result<Value, Cut> {
    let mut value = Value::default();
    nested(cursor, out, 0, 0, &mut value)?;
    Ok(value)
}

fn nested(
    cursor: &mut Cursor<'_>,
    out: &mut String,
    element: u32,
    depth: usize,
    value: &mut Value,
) -> Result<(), Cut> {
    let flags = cursor.u8("value_flags")?;
    let datatype = cursor.u8("datatype")?;
    if flags & SPARSE_ARRAY != 0 {
        out.push('{');
        let mut first = true;
        loop {
            let key = vlq(cursor)?;
            if key == 0 {
                break;
            }
            if !std::mem::replace(&mut first, false) {
                out.push(',');
            }
            let _ = write!(out, "\"{key}\":");
            one(cursor, out, datatype, element, depth, value)?;
        }
        out.push('}');
        value.number = None;
        return Ok(());
    }
    if flags & (ARRAY | ADDRESS_ARRAY) == 0 {
        return one(cursor, out, datatype, element, depth, value);
    }
    let count = vlq(cursor)?;
    cursor.check(count <= ELEMENTS_MAX && count as usize <= cursor.remaining(), "array_size")?;
    out.push('[');
    for at in 0..count {
        if at > 0 {
            out.push(',');
        }
        one(cursor, out, datatype, element, depth, value)?;
    }
    out.push(']');
    value.number = None;
    Ok(())
}

fn one(
    cursor: &mut Cursor<'_>,
    out: &mut String,
    kind: u8,
    element: u32,
    depth: usize,
    value: &mut Value,
) -> Result<(), Cut> {
    let number = match kind {
        datatype::NULL => {
            out.push_str("null");
            return Ok(());
        }
        datatype::BOOL => {
            let set = cursor.u8("bool")? != 0;
            out.push_str(if set { "true" } else { "false" });
            value.number = Some(f64::from(u8::from(set)));
            return Ok(());
        }
        datatype::USINT | datatype::BYTE => f64::from(cursor.u8("byte")?),
        datatype::SINT => f64::from(cursor.u8("sint")? as i8),
        datatype::UINT | datatype::WORD => f64::from(cursor.u16_be("word")?),
        datatype::INT => f64::from(cursor.i16_be("int")?),
        datatype::UDINT | datatype::AID => f64::from(vlq(cursor)?),
        datatype::DINT => f64::from(vlq_signed(cursor)?),
        datatype::DWORD | datatype::RID => f64::from(cursor.u32_be("dword")?),
        datatype::REAL => f64::from(cursor.f32_be("real")?),
        datatype::LREAL => cursor.f64_be("lreal")?,
        datatype::ULINT => return exact(out, value, vlq64(cursor)?),
        datatype::LWORD | datatype::TIMESTAMP => return exact(out, value, cursor.u64_be("lword")?),
        datatype::LINT | datatype::TIMESPAN => {
            let number = vlq64_signed(cursor)?;
            let _ = write!(out, "{number}");
            value.number = Some(number as f64);
            return Ok(());
        }
        datatype::BLOB => {
            vlq(cursor)?;
            let length = vlq(cursor)? as usize;
            let body = cursor.take(length, "blob_length")?;
            value.body += length;
            json::push_hex(out, &body[..length.min(SHOWN_MAX)]);
            return Ok(());
        }
        datatype::WSTRING => {
            let length = vlq(cursor)? as usize;
            let text = String::from_utf8_lossy(cursor.take(length, "string_length")?);
            json::push_text(out, text.get(..SHOWN_MAX).unwrap_or(&text));
            if value.texts.len() < 64 {
                value.texts.push((element, text.into_owned()));
            }
            return Ok(());
        }
        datatype::S7STRING => {
            let [_, length] = cursor.array("string_length")?;
            let text = cursor.take(usize::from(length), "string_length")?;
            json::push_text(out, &String::from_utf8_lossy(text));
            return Ok(());
        }
        datatype::STRUCT => return structure(cursor, out, depth, value),
        _ => return Err(cursor.cut("datatype")),
    };
    json::push_float(out, number);
    value.number = Some(number);
    Ok(())
}

fn exact(out: &mut String, value: &mut Value, number: u64) -> Result<(), Cut> {
    json::push_number(out, number);
    value.number = Some(number as f64);
    Ok(())
}

fn structure(cursor: &mut Cursor<'_>, out: &mut String, depth: usize, value: &mut Value) -> Result<(), Cut> {
    let id = cursor.u32_be("struct_id")?;
    cursor.check(depth < DEPTH_MAX, "struct_nesting")?;
    // Structures of the system that are packed, as their interface's time says.
    if matches!(id, 0x9000_0001..=0x9fff_fffe | 0x0200_0001..=0x02ff_fffe) {
        cursor.skip(8, "interface_time")?;
        let flags = vlq(cursor)?;
        let mut count = vlq(cursor)?;
        if flags & 0x400 != 0 {
            count = vlq(cursor)?;
        }
        let body = cursor.take(count as usize, "packed_struct")?;
        value.body += body.len();
        json::push_hex(out, &body[..body.len().min(SHOWN_MAX)]);
        return Ok(());
    }
    out.push('{');
    for at in 0..ELEMENTS_MAX {
        let element = vlq(cursor)?;
        if element == 0 {
            break;
        }
        let _ = write!(out, "{}\"{element}\":", if at == 0 { "" } else { "," });
        nested(cursor, out, element, depth + 1, value)?;
    }
    out.push('}');
    value.number = None;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_variable_length() {
        assert_eq!(vlq(&mut Cursor::new(&[0x87, 0x56])), Ok(0x3d6));
        assert_eq!(vlq(&mut Cursor::new(&[0x81, 0x80, 0x80, 0x80, 0x6a])), Ok(0x1000_006a));
        assert_eq!(vlq_signed(&mut Cursor::new(&[0x7f])), Ok(-1));
        assert_eq!(vlq_signed(&mut Cursor::new(&[0x81, 0x25])), Ok(165));
        assert_eq!(
            vlq64(&mut Cursor::new(&[0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 7])),
            Ok(1 << 57 | 7)
        );
        assert!(vlq(&mut Cursor::new(&[0x80])).is_err());
    }

    #[test]
    fn values_of_many_types() {
        let text = |bytes: &[u8]| {
            let mut out = String::new();
            read(&mut Cursor::new(bytes), &mut out).map(|value| (out, value.number))
        };
        assert_eq!(text(&[0, 7, 0xff, 0xfe]), Ok(("-2".into(), Some(-2.0))));
        assert_eq!(text(&[0x20, 4, 2, 1, 2]), Ok(("[1,2]".into(), None)));
        assert_eq!(text(&[0, 0x15, 1, b'a']), Ok(("\"a\"".into(), None)));
        let bytes = [0, 0x17, 0, 0, 1, 0x3a, 0x82, 0x3b, 0, 4, 1, 0];
        assert_eq!(text(&bytes), Ok(("{\"315\":1}".into(), None)));
        assert!(text(&[0x10, 4, 0xff, 0xff, 0x7f, 1]).is_err());
    }
}
