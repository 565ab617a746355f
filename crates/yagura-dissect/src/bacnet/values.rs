//! Tagged data (ASHRAE 135, clause 20.2): tags, application values, values as JSON.

use std::fmt::Write;

use super::names;
use crate::cursor::{Cursor, Cut};
use crate::json;

/// Most constructions within each other.
const DEPTH_MAX: usize = 16;
/// Most bytes of a text or of octets that are shown.
const SHOWN_MAX: usize = 512;

/// One tag with the content of a primitive one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tag<'a> {
    pub number: u8,
    pub kind: Kind<'a>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind<'a> {
    /// An application tag: the number is its datatype. A boolean's value stands in the tag itself.
    Application(&'a [u8], bool),
    /// A context-specific tag.
    Context(&'a [u8]),
    Opening,
    Closing,
}

/// Reads the next tag.
pub(super) fn tag<'a>(cursor: &mut Cursor<'a>) -> Result<Tag<'a>, Cut> {
    let initial = cursor.u8("tag")?;
    let number = match initial >> 4 {
        15 => cursor.u8("tag_number")?,
        number => number,
    };
    let context = initial & 8 != 0;
    let length = match initial & 7 {
        6 if context => return Ok(Tag { number, kind: Kind::Opening }),
        7 if context => return Ok(Tag { number, kind: Kind::Closing }),
        6 | 7 => return Err(cursor.cut("tag_length")),
        5 => match cursor.u8("tag_length")? {
            254 => u32::from(cursor.u16_be("tag_length")?),
            255 => cursor.u32_be("tag_length")?,
            short => u32::from(short),
        },
        short => u32::from(short),
    };
    if !context && number == 1 {
        return Ok(Tag { number, kind: Kind::Application(&[], length != 0) });
    }
    let content = cursor.take(length as usize, "tag_content")?;
    let kind = if context { Kind::Context(content) } else { Kind::Application(content, false) };
    Ok(Tag { number, kind })
}

/// The content of the context tag `number`, if it comes next.
pub(super) fn context<'a>(cursor: &mut Cursor<'a>, number: u8) -> Result<Option<&'a [u8]>, Cut> {
    let mut ahead = *cursor;
    if cursor.is_empty() {
        return Ok(None);
    }
    match tag(&mut ahead)? {
        Tag { number: found, kind: Kind::Context(content) } if found == number => {
            *cursor = ahead;
            Ok(Some(content))
        }
        _ => Ok(None),
    }
}

/// The number in the context tag `number`, if it comes next.
pub(super) fn optional(cursor: &mut Cursor<'_>, number: u8) -> Result<Option<u32>, Cut> {
    context(cursor, number)?.map(|content| unsigned(cursor, content)).transpose()
}

/// The number in the context tag `number`, which must come next.
pub(super) fn required(cursor: &mut Cursor<'_>, number: u8, what: &'static str) -> Result<u32, Cut> {
    optional(cursor, number)?.ok_or_else(|| cursor.cut(what))
}

/// An unsigned number of up to four bytes; larger ones do not occur where this is asked.
fn unsigned(cursor: &Cursor<'_>, content: &[u8]) -> Result<u32, Cut> {
    cursor.check(!content.is_empty() && content.len() <= 4, "unsigned")?;
    Ok(content.iter().fold(0, |n, b| n << 8 | u32::from(*b)))
}

/// The object identifier in the context tag `number`, which must come next.
pub(super) fn context_object(cursor: &mut Cursor<'_>, number: u8) -> Result<u32, Cut> {
    match context(cursor, number)? {
        Some(&[a, b, c, d]) => Ok(u32::from_be_bytes([a, b, c, d])),
        _ => Err(cursor.cut("object_identifier")),
    }
}

/// The content of an application value of that datatype, which must come next.
pub(super) fn application<'a>(
    cursor: &mut Cursor<'a>,
    datatype: u8,
    what: &'static str,
) -> Result<&'a [u8], Cut> {
    match tag(cursor)? {
        Tag { number, kind: Kind::Application(content, _) } if number == datatype => Ok(content),
        _ => Err(cursor.cut(what)),
    }
}

/// An application value that is an unsigned (2) or an enumerated (9).
pub(super) fn application_number(
    cursor: &mut Cursor<'_>,
    datatype: u8,
    what: &'static str,
) -> Result<u32, Cut> {
    let content = application(cursor, datatype, what)?;
    unsigned(cursor, content)
}

/// An application value that is an object identifier.
pub(super) fn application_object(cursor: &mut Cursor<'_>) -> Result<u32, Cut> {
    match application(cursor, 12, "object_identifier")? {
        &[a, b, c, d] => Ok(u32::from_be_bytes([a, b, c, d])),
        _ => Err(cursor.cut("object_identifier")),
    }
}

/// Passes the opening tag `number`, if it comes next.
pub(super) fn opening(cursor: &mut Cursor<'_>, number: u8) -> Result<bool, Cut> {
    let mut ahead = *cursor;
    if !cursor.is_empty() && tag(&mut ahead)? == (Tag { number, kind: Kind::Opening }) {
        *cursor = ahead;
        return Ok(true);
    }
    Ok(false)
}

/// Passes the closing tag `number`, if it comes next.
pub(super) fn closing(cursor: &mut Cursor<'_>, number: u8) -> Result<bool, Cut> {
    let mut ahead = *cursor;
    if tag(&mut ahead)? == (Tag { number, kind: Kind::Closing }) {
        *cursor = ahead;
        return Ok(true);
    }
    Ok(false)
}

/// What stands between the opening tag `number`, which must come next, and its closing tag.
pub(super) fn inside<'a>(cursor: &mut Cursor<'a>, number: u8, what: &'static str) -> Result<Cursor<'a>, Cut> {
    if !opening(cursor, number)? {
        return Err(cursor.cut(what));
    }
    let content = cursor.rest();
    let begin = cursor.at();
    let mut depth = 0;
    loop {
        let before = cursor.at();
        match tag(cursor)?.kind {
            Kind::Opening if depth == DEPTH_MAX => return Err(cursor.cut("depth")),
            Kind::Opening => depth += 1,
            Kind::Closing if depth == 0 => return Ok(Cursor::new(&content[..before - begin])),
            Kind::Closing => depth -= 1,
            Kind::Application(..) | Kind::Context(_) => {}
        }
    }
}

/// What an application value is as a number, when it is one.
pub(super) fn number(tag: &Tag<'_>) -> Option<f64> {
    let Kind::Application(content, truth) = tag.kind else { return None };
    match (tag.number, content) {
        (1, _) => Some(f64::from(u8::from(truth))),
        (2 | 9, [_, ..]) if content.len() <= 8 => {
            Some(content.iter().fold(0_u64, |n, b| n << 8 | u64::from(*b)) as f64)
        }
        (3, [first, rest @ ..]) if rest.len() < 8 => {
            let first = i64::from(*first as i8);
            Some(rest.iter().fold(first, |n, b| n << 8 | i64::from(*b)) as f64)
        }
        (4, &[a, b, c, d]) => Some(f64::from(f32::from_be_bytes([a, b, c, d]))),
        (5, &[a, b, c, d, e, f, g, h]) => Some(f64::from_be_bytes([a, b, c, d, e, f, g, h])),
        _ => None,
    }
}

/// Appends an application or context value as JSON.
fn push(out: &mut String, tag: &Tag<'_>) {
    let content = match tag.kind {
        Kind::Application(content, _) => content,
        Kind::Context(content) => return json::push_hex(out, &content[..content.len().min(SHOWN_MAX)]),
        Kind::Opening | Kind::Closing => return,
    };
    if let Some(number) = number(tag) {
        return json::push_float(out, number);
    }
    match (tag.number, content) {
        (0, []) => out.push_str("null"),
        (7, _) => json::push_text(out, &text(content)),
        (8, [unused @ 0..=7, bits @ ..]) => {
            out.push('"');
            let count = (bits.len() * 8).saturating_sub(usize::from(*unused)).min(SHOWN_MAX);
            for at in 0..count {
                out.push(if bits[at / 8] & (0x80 >> (at % 8)) != 0 { '1' } else { '0' });
            }
            out.push('"');
        }
        (10, &[year, month, day, _]) => {
            out.push('"');
            date(out, year, month, day);
            out.push('"');
        }
        (11, &[hour, minute, second, hundredth]) => {
            out.push('"');
            time(out, [hour, minute, second, hundredth]);
            out.push('"');
        }
        (12, &[a, b, c, d]) => {
            out.push('"');
            object(out, u32::from_be_bytes([a, b, c, d]));
            out.push('"');
        }
        _ => json::push_hex(out, &content[..content.len().min(SHOWN_MAX)]),
    }
}

/// Appends everything up to the cursor's end as JSON values, commas between; constructed data
/// becomes arrays. Returns how many values stand at the outermost level.
pub(super) fn list(out: &mut String, mut cursor: Cursor<'_>) -> Result<u32, Cut> {
    let (mut count, mut depth, mut first) = (0, 0, true);
    while !cursor.is_empty() {
        let tag = tag(&mut cursor)?;
        if tag.kind == Kind::Closing {
            cursor.check(depth > 0, "closing_tag")?;
            depth -= 1;
            out.push(']');
            first = false;
            continue;
        }
        if !std::mem::take(&mut first) {
            out.push(',');
        }
        count += u32::from(depth == 0);
        if tag.kind == Kind::Opening {
            cursor.check(depth < DEPTH_MAX, "depth")?;
            depth += 1;
            out.push('[');
            first = true;
        } else {
            push(out, &tag);
        }
    }
    cursor.check(depth == 0, "opening_tag")?;
    Ok(count)
}

/// A character string: its first byte names the character set (clause 20.2.9).
pub(super) fn text(content: &[u8]) -> String {
    let Some((set, rest)) = content.split_first() else { return String::new() };
    let rest = &rest[..rest.len().min(SHOWN_MAX)];
    match set {
        4 => {
            let units = rest.as_chunks::<2>().0.iter().map(|pair| u16::from_be_bytes(*pair));
            char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        }
        3 => {
            let points = rest.as_chunks::<4>().0.iter().map(|four| u32::from_be_bytes(*four));
            points.map(|p| char::from_u32(p).unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        }
        5 => rest.iter().map(|b| char::from(*b)).collect(),
        // A code page's number comes before the characters.
        1 => String::from_utf8_lossy(rest.get(2..).unwrap_or_default()).into_owned(),
        _ => String::from_utf8_lossy(rest).trim_end_matches('\0').to_string(),
    }
}

/// Appends an object identifier as `analog-input:3`.
pub(super) fn object(out: &mut String, id: u32) {
    let _ = write!(out, "{}:{}", names::object_type(id >> 22), id & 0x3f_ffff);
}

/// Appends a date; what is not specified is `*`.
pub(super) fn date(out: &mut String, year: u8, month: u8, day: u8) {
    let _ = match year {
        255 => write!(out, "*"),
        year => write!(out, "{}", 1900 + u16::from(year)),
    };
    for part in [month, day] {
        let _ = if part == 255 { write!(out, "-*") } else { write!(out, "-{part:02}") };
    }
}

/// Appends a time; what is not specified is `*`.
pub(super) fn time(out: &mut String, parts: [u8; 4]) {
    for (part, before) in parts.into_iter().zip(["", ":", ":", "."]) {
        out.push_str(before);
        let _ = if part == 255 { write!(out, "*") } else { write!(out, "{part:02}") };
    }
}
