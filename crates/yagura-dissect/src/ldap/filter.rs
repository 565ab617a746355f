//! Filters of searches as text (RFC 4515).

use super::names;
use crate::asn1;
use crate::cursor::{Cursor, Cut};

/// Deepest nesting that is read.
const DEPTH_MAX: usize = 32;
/// Longest text of a filter, in bytes; what is beyond is cut.
const TEXT_BYTES_MAX: usize = 2048;

/// Appends the filter that the cursor is at. The text is cut where it gets too long.
pub fn push(out: &mut String, cursor: &mut Cursor<'_>) -> Result<(), Cut> {
    nested(out, cursor, 0)
}

fn nested(out: &mut String, cursor: &mut Cursor<'_>, depth: usize) -> Result<(), Cut> {
    cursor.check(depth < DEPTH_MAX, "filter_depth")?;
    let at = cursor.cut("filter");
    let element = asn1::element(cursor, "filter")?;
    let mut inside = element.inside();
    if out.len() > TEXT_BYTES_MAX {
        // Enough is shown.
        return Ok(());
    }
    out.push('(');
    match element.tag {
        0xa0..=0xa2 => {
            out.push(['&', '|', '!'][usize::from(element.tag - 0xa0)]);
            while !inside.is_empty() {
                nested(out, &mut inside, depth + 1)?;
            }
        }
        0xa3 | 0xa5 | 0xa6 | 0xa8 => {
            let attribute = asn1::expect(&mut inside, asn1::OCTET_STRING, "filter_attribute")?.body;
            let value = asn1::expect(&mut inside, asn1::OCTET_STRING, "filter_value")?.body;
            text(out, attribute);
            out.push_str(match element.tag {
                0xa5 => ">=",
                0xa6 => "<=",
                0xa8 => "~=",
                _ => "=",
            });
            push_value(out, attribute, value);
        }
        0xa4 => {
            let attribute = asn1::expect(&mut inside, asn1::OCTET_STRING, "filter_attribute")?.body;
            let mut parts = asn1::expect(&mut inside, asn1::SEQUENCE, "filter_substrings")?.inside();
            text(out, attribute);
            out.push('=');
            let mut ends_open = true;
            let mut first = true;
            while !parts.is_empty() {
                let part = asn1::element(&mut parts, "filter_substring")?;
                if !first || part.tag != 0x80 {
                    out.push('*');
                }
                push_value(out, attribute, part.body);
                ends_open = part.tag != 0x82;
                first = false;
            }
            if ends_open {
                out.push('*');
            }
        }
        0x87 => {
            text(out, element.body);
            out.push_str("=*");
        }
        0xa9 => extensible(out, &mut inside)?,
        _ => return Err(at),
    }
    out.push(')');
    Ok(())
}

/// `attribute:dn:rule:=value`.
fn extensible(out: &mut String, inside: &mut Cursor<'_>) -> Result<(), Cut> {
    let rule = asn1::optional(inside, 0x81, "filter_rule")?;
    let attribute = asn1::optional(inside, 0x82, "filter_attribute")?.map_or(&b""[..], |a| a.body);
    let value = asn1::expect(inside, 0x83, "filter_value")?.body;
    let names = asn1::optional(inside, 0x84, "filter_dn_attributes")?;
    text(out, attribute);
    if names.is_some_and(|names| names.body != [0]) {
        out.push_str(":dn");
    }
    if let Some(rule) = rule {
        out.push(':');
        text(out, rule.body);
    }
    out.push_str(":=");
    push_value(out, attribute, value);
    Ok(())
}

fn push_value(out: &mut String, attribute: &[u8], value: &[u8]) {
    if names::is_secret(attribute) { out.push_str("<not shown>") } else { escaped(out, value) }
}

fn text(out: &mut String, bytes: &[u8]) {
    let room = TEXT_BYTES_MAX.saturating_sub(out.len());
    out.push_str(&String::from_utf8_lossy(&bytes[..bytes.len().min(room)]));
}

/// An assertion's value: what has a meaning in a filter, and what is no text, as `\2a`.
fn escaped(out: &mut String, bytes: &[u8]) {
    let room = TEXT_BYTES_MAX.saturating_sub(out.len());
    for chunk in bytes[..bytes.len().min(room)].utf8_chunks() {
        for c in chunk.valid().chars() {
            if matches!(c, '*' | '(' | ')' | '\\') || c.is_control() {
                let mut octets = [0; 4];
                push_octets(out, c.encode_utf8(&mut octets).as_bytes());
            } else {
                out.push(c);
            }
        }
        push_octets(out, chunk.invalid());
    }
}

fn push_octets(out: &mut String, octets: &[u8]) {
    for octet in octets {
        out.push('\\');
        crate::json::push_hex_digits(out, &[*octet]);
    }
}
