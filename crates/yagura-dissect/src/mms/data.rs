//! Values (ISO 9506-2, 14.4.2 `Data`), which MMS and GOOSE share.

use yagura_event::clock::{Micros, SECOND, rfc3339};

use super::ber::{Tlv, text};
use crate::json;

/// Deepest nesting of a value that is written; what is below is left out.
const DEPTH_MAX: usize = 12;
/// Most bytes of a string that are written.
const SHOWN_MAX: usize = 512;

/// The choices of a value.
pub(crate) mod kind {
    pub const ARRAY: u32 = 1;
    pub const STRUCTURE: u32 = 2;
    pub const BOOLEAN: u32 = 3;
    pub const BIT_STRING: u32 = 4;
    pub const INTEGER: u32 = 5;
    pub const UNSIGNED: u32 = 6;
    pub const FLOATING_POINT: u32 = 7;
    pub const OCTET_STRING: u32 = 9;
    pub const VISIBLE_STRING: u32 = 10;
    pub const GENERALIZED_TIME: u32 = 11;
    pub const BINARY_TIME: u32 = 12;
    pub const BCD: u32 = 13;
    pub const BOOLEAN_ARRAY: u32 = 14;
    pub const OBJECT_ID: u32 = 15;
    pub const MMS_STRING: u32 = 16;
    pub const UTC_TIME: u32 = 17;
}

/// Appends a value as compact JSON: structures and arrays as lists, bits as a text of digits.
pub(crate) fn push(out: &mut String, value: &Tlv<'_>) {
    push_nested(out, value, 0);
}

fn push_nested(out: &mut String, value: &Tlv<'_>, depth: usize) {
    match value.choice() {
        Some(kind::ARRAY | kind::STRUCTURE) if depth < DEPTH_MAX => {
            out.push('[');
            for (at, child) in value.children().enumerate() {
                if at > 0 {
                    out.push(',');
                }
                push_nested(out, &child, depth + 1);
            }
            out.push(']');
        }
        Some(kind::BOOLEAN) => {
            out.push_str(if value.body.iter().any(|b| *b != 0) { "true" } else { "false" })
        }
        Some(kind::BIT_STRING | kind::BOOLEAN_ARRAY) => push_bits(out, value.body),
        Some(kind::INTEGER | kind::BCD) => match value.signed() {
            Some(number) => json::push_signed(out, number),
            None => json::push_hex(out, shown(value.body)),
        },
        Some(kind::UNSIGNED) => match value.unsigned() {
            Some(number) => json::push_number(out, number),
            None => json::push_hex(out, shown(value.body)),
        },
        Some(kind::FLOATING_POINT) => match float(value.body) {
            Some(number) => json::push_float(out, number),
            None => json::push_hex(out, shown(value.body)),
        },
        Some(kind::VISIBLE_STRING | kind::GENERALIZED_TIME | kind::MMS_STRING) => {
            json::push_text(out, &text(shown(value.body)));
        }
        Some(kind::OBJECT_ID) => {
            out.push('"');
            crate::asn1::push_oid(out, value.body);
            out.push('"');
        }
        Some(kind::BINARY_TIME) => match binary_time(value.body) {
            Some(time) => json::push_text(out, &rfc3339(time)),
            None => json::push_hex(out, shown(value.body)),
        },
        Some(kind::UTC_TIME) => match utc_time(value.body) {
            Some(time) => json::push_text(out, &rfc3339(time)),
            None => json::push_hex(out, shown(value.body)),
        },
        _ => json::push_hex(out, shown(value.body)),
    }
}

/// Calls `with` for every number within a value, with its name: the value's own, and the path of
/// places within structures, as `name[1][0]`. Not more than `most`.
pub(crate) fn numbers(value: &Tlv<'_>, name: &mut String, most: &mut usize, with: &mut dyn FnMut(&str, f64)) {
    walk(value, name, 0, most, with);
}

fn walk(value: &Tlv<'_>, name: &mut String, depth: usize, most: &mut usize, with: &mut dyn FnMut(&str, f64)) {
    if let Some(kind::ARRAY | kind::STRUCTURE) = value.choice() {
        if depth == DEPTH_MAX {
            return;
        }
        let length = name.len();
        for (at, child) in value.children().enumerate() {
            if *most == 0 {
                break;
            }
            push_place(name, at);
            walk(&child, name, depth + 1, most, with);
            name.truncate(length);
        }
    } else if let Some(number) = number(value)
        && *most > 0
    {
        *most -= 1;
        with(name, number);
    }
}

/// Appends a place in a list: `[3]`.
pub(crate) fn push_place(name: &mut String, at: usize) {
    name.push('[');
    json::push_number(name, at as u64);
    name.push(']');
}

/// A value as a number, where it is one; a truth value is 0 or 1.
pub(crate) fn number(value: &Tlv<'_>) -> Option<f64> {
    match value.choice()? {
        kind::BOOLEAN => Some(f64::from(u8::from(value.body.iter().any(|b| *b != 0)))),
        kind::INTEGER | kind::BCD => value.signed().map(|n| n as f64),
        kind::UNSIGNED => value.unsigned().map(|n| n as f64),
        kind::FLOATING_POINT => float(value.body),
        _ => None,
    }
}

/// Whether a bit of a bit string is set.
pub(crate) fn bit(body: &[u8], at: usize) -> bool {
    body.get(1 + at / 8).is_some_and(|byte| byte & 0x80 >> (at % 8) != 0)
}

/// How many bits a bit string has.
pub(crate) fn bits(body: &[u8]) -> usize {
    let unused = usize::from(body.first().copied().unwrap_or(0));
    (body.len().saturating_sub(1) * 8).saturating_sub(unused)
}

fn push_bits(out: &mut String, body: &[u8]) {
    out.push('"');
    for at in 0..bits(body).min(SHOWN_MAX) {
        out.push(if bit(body, at) { '1' } else { '0' });
    }
    out.push('"');
}

/// A number after a byte that tells how wide its exponent is.
fn float(body: &[u8]) -> Option<f64> {
    match *body {
        [8, ref rest @ ..] => rest.try_into().ok().map(|b| f64::from(f32::from_be_bytes(b))),
        [11, ref rest @ ..] => rest.try_into().ok().map(f64::from_be_bytes),
        _ => None,
    }
}

/// Milliseconds of the day, and days since 1984 (`TimeOfDay`, six bytes).
pub(crate) fn binary_time(body: &[u8]) -> Option<Micros> {
    const DAYS_TO_1984: Micros = 5_113;
    let &[a, b, c, d, high, low] = body else { return None };
    let days = Micros::from(u16::from_be_bytes([high, low])) + DAYS_TO_1984;
    Some(days * 86_400 * SECOND + Micros::from(u32::from_be_bytes([a, b, c, d])) * 1_000)
}

/// Seconds since 1970, a fraction of 2^24 and a byte of quality (IEC 61850-8-1, 8.1.3.7).
pub(crate) fn utc_time(body: &[u8]) -> Option<Micros> {
    let &[a, b, c, d, x, y, z, _] = body else { return None };
    let fraction = Micros::from(u32::from_be_bytes([0, x, y, z]));
    Some(Micros::from(u32::from_be_bytes([a, b, c, d])) * SECOND + ((fraction * SECOND) >> 24))
}

fn shown(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(SHOWN_MAX)]
}

#[cfg(test)]
mod tests {
    use super::super::ber::element;
    use super::*;
    use crate::cursor::Cursor;

    fn read(bytes: &[u8]) -> Tlv<'_> {
        element(&mut Cursor::new(bytes), "value").unwrap()
    }

    #[test]
    fn values_of_all_kinds() {
        let written = |bytes: &[u8]| {
            let mut out = String::new();
            push(&mut out, &read(bytes));
            out
        };
        assert_eq!(written(&[0xa2, 9, 0x83, 1, 1, 0x85, 2, 0xff, 0x38, 0x86, 0]), "[true,-200,\"0x\"]");
        assert_eq!(written(&[0x84, 3, 3, 0, 8]), "\"0000000000001\"");
        assert_eq!(written(&[0x87, 5, 8, 0x42, 0xf0, 0, 0]), "120");
        assert_eq!(written(&[0x87, 9, 11, 0x40, 0x5e, 0, 0, 0, 0, 0, 0]), "120");
        assert_eq!(written(&[0x8a, 2, b'a', b'"']), "\"a\\\"\"");
        assert_eq!(written(&[0x8c, 6, 0, 0, 3, 0xe8, 0, 0]), "\"1984-01-01T00:00:01.000000Z\"");
        assert_eq!(written(&[0x91, 8, 0, 0, 0, 1, 0x80, 0, 0, 0]), "\"1970-01-01T00:00:01.500000Z\"");
        assert_eq!(written(&[0x89, 1, 0xab]), "\"0xab\"");
    }

    #[test]
    fn numbers_have_their_paths() {
        let mut found = Vec::new();
        let bytes = [0xa2, 10, 0xa2, 5, 0x8a, 0, 0x85, 1, 7, 0x83, 1, 1];
        let mut name = String::from("a");
        let value = read(&bytes);
        numbers(&value, &mut name, &mut 9, &mut |path, number| found.push((path.to_string(), number)));
        assert_eq!(found, [("a[0][1]".to_string(), 7.0), ("a[1]".to_string(), 1.0)]);
        let mut most = 1;
        numbers(&value, &mut name, &mut most, &mut |path, _| assert_eq!(path, "a[0][1]"));
        assert_eq!((most, name.as_str()), (0, "a"));
    }
}
