//! Values of tags (CIP volume 1, appendix C-2) and of PCCC data files.

use std::fmt::Write;

use yagura_event::vocabulary::operation;

use super::names;
use crate::cursor::{Cursor, Cut};
use crate::exchange::Draft;
use crate::{Cx, Side, json};

/// Most values of one message that become samples.
const SAMPLES_MAX: usize = 512;

/// One value of an elementary type; none when the type is another.
fn number(kind: u16, cursor: &mut Cursor<'_>) -> Result<Option<f64>, Cut> {
    const WHAT: &str = "tag_data";
    Ok(Some(match kind {
        0xc1 => f64::from(cursor.u8(WHAT)? & 1),
        0xc2 => f64::from(cursor.u8(WHAT)? as i8),
        0xc3 => f64::from(cursor.i16_le(WHAT)?),
        0xc4 => f64::from(cursor.i32_le(WHAT)?),
        0xc5 => cursor.i64_le(WHAT)? as f64,
        0xc6 | 0xd1 => f64::from(cursor.u8(WHAT)?),
        0xc7 | 0xd2 => f64::from(cursor.u16_le(WHAT)?),
        0xc8 | 0xd3 => f64::from(cursor.u32_le(WHAT)?),
        0xc9 | 0xd4 => cursor.u64_le(WHAT)? as f64,
        0xca => f64::from(cursor.f32_le(WHAT)?),
        0xcb => cursor.f64_le(WHAT)?,
        _ => return Ok(None),
    }))
}

/// The type that begins a tag's data; a structure's handle is passed.
fn kind(draft: &mut Draft, cursor: &mut Cursor<'_>) -> Result<u16, Cut> {
    let kind = cursor.u16_le("tag_type")?;
    json::member_number(&mut draft.detail, "type", u64::from(kind));
    if kind == 0x02a0 {
        cursor.skip(2, "tag_type")?;
    }
    Ok(kind)
}

/// The data of a write: type, count, for a fragment its offset, values.
pub(super) fn write_tag(draft: &mut Draft, fragment: bool, cursor: &mut Cursor<'_>) -> Result<(), Cut> {
    let kind = kind(draft, cursor)?;
    let count = cursor.u16_le("element_count")?;
    json::member_number(&mut draft.detail, "elements", u64::from(count));
    if fragment {
        let offset = cursor.u32_le("tag_offset")?;
        json::member_number(&mut draft.detail, "offset", u64::from(offset));
    }
    numbers(kind, cursor, |_, value| draft.push_value(value))
}

/// The data of a read's reply: type and values, which are samples of the tag.
pub(super) fn read_tag(
    cx: &mut Cx<'_>,
    side: Side,
    draft: &mut Draft,
    cursor: &mut Cursor<'_>,
) -> Result<(), Cut> {
    let kind = kind(draft, cursor)?;
    let mut index = 0;
    let mut values = Vec::new();
    let more = draft.detail.contains("\"elements\":1,");
    numbers(kind, cursor, |_, value| {
        if index < SAMPLES_MAX {
            values.push(value);
        }
        index += 1;
    })?;
    samples(cx, side, draft, &values, !more);
    Ok(())
}

/// All values up to the end; what is no elementary type is left.
fn numbers(kind: u16, cursor: &mut Cursor<'_>, mut each: impl FnMut(usize, f64)) -> Result<(), Cut> {
    let mut index = 0;
    while !cursor.is_empty() {
        let Some(value) = number(kind, cursor)? else { break };
        each(index, value);
        index += 1;
    }
    Ok(())
}

/// Values of the draft's target, numbered where it may have several.
fn samples(cx: &mut Cx<'_>, side: Side, draft: &mut Draft, values: &[f64], numbered: bool) {
    let end = cx.flow.end(side);
    let source = format!("enip {}:{}", end.address, end.port);
    let mut signal = draft.target.clone();
    for (index, value) in values.iter().enumerate() {
        draft.push_value(*value);
        if numbered {
            signal.truncate(draft.target.len());
            signal.push('+');
            json::push_number(&mut signal, index as u64);
        }
        cx.measured(side, &signal, &source, *value, 0);
    }
}

/// A PCCC command in its CIP service.
pub(super) fn pccc_request(draft: &mut Draft, cursor: &mut Cursor<'_>) -> Result<(), Cut> {
    requestor(cursor)?;
    let command = cursor.u8("pccc_command")?;
    cursor.skip(1, "pccc_status")?;
    let transaction = cursor.u16_le("pccc_transaction")?;
    let function = cursor.u8("pccc_function").unwrap_or(0);
    let (name, operation) = names::pccc(command, function);
    draft.function = name.into();
    draft.operation = operation;
    json::member_number(&mut draft.detail, "pccc_command", u64::from(command));
    json::member_number(&mut draft.detail, "pccc_function", u64::from(function));
    json::member_number(&mut draft.detail, "pccc_transaction", u64::from(transaction));
    if command & 0x4f != 0x0f {
        return Ok(());
    }
    let levels = match function {
        0xa1 | 0xa9 => 2,
        0xa2 | 0xaa | 0xab => 3,
        0x3a | 0x80 => {
            let mode = cursor.u8("pccc_mode")?;
            json::member_number(&mut draft.detail, "mode", u64::from(mode));
            return Ok(());
        }
        _ => return Ok(()),
    };
    let size = cursor.u8("pccc_size")?;
    json::member_number(&mut draft.detail, "bytes", u64::from(size));
    let file = short_or_long(cursor)?;
    let kind = cursor.u8("pccc_file_type")?;
    let element = short_or_long(cursor)?;
    let part = if levels == 3 { short_or_long(cursor)? } else { 0 };
    draft.target.clear();
    let _ = write!(draft.target, "{}{file}:{element}", file_type(kind));
    if part != 0 {
        let _ = write!(draft.target, ".{part}");
    }
    if operation == operation::WRITE {
        if function == 0xab {
            cursor.skip(2, "pccc_mask")?;
        }
        if let Some(kind) = cell(&draft.target) {
            numbers(kind, cursor, |_, value| draft.push_value(value))?;
        } else {
            draft.push_bytes(cursor.rest());
        }
    }
    Ok(())
}

/// A PCCC reply in its CIP service.
pub(super) fn pccc_reply(
    cx: &mut Cx<'_>,
    side: Side,
    draft: &mut Draft,
    cursor: &mut Cursor<'_>,
) -> Result<(), Cut> {
    requestor(cursor)?;
    cursor.skip(1, "pccc_command")?;
    let code = cursor.u8("pccc_status")?;
    cursor.skip(2, "pccc_transaction")?;
    if code == 0xf0 {
        let extended = cursor.u8("pccc_extended_status")?;
        draft.deny(format!("pccc_extended_status={extended:#04x}"));
    } else if code != 0 {
        draft.deny(format!("pccc_status={code:#04x}"));
    } else if draft.operation == operation::READ {
        match cell(&draft.target) {
            Some(kind) if cursor.remaining().is_multiple_of(width(kind)) => {
                let mut values = Vec::new();
                numbers(kind, cursor, |_, value| values.push(value))?;
                samples(cx, side, draft, &values, values.len() != 1);
            }
            _ => draft.push_bytes(cursor.take_rest()),
        }
    }
    Ok(())
}

/// Length, vendor and serial number of who asks.
fn requestor(cursor: &mut Cursor<'_>) -> Result<(), Cut> {
    let length = cursor.u8("pccc_requestor")?;
    cursor.skip(usize::from(length.max(1)) - 1, "pccc_requestor")
}

fn short_or_long(cursor: &mut Cursor<'_>) -> Result<u16, Cut> {
    match cursor.u8("pccc_address")? {
        0xff => cursor.u16_le("pccc_address"),
        byte => Ok(u16::from(byte)),
    }
}

/// The letters of a data file's type.
fn file_type(kind: u8) -> &'static str {
    match kind {
        0x82 | 0x8b => "O",
        0x83 | 0x8c => "I",
        0x84 => "S",
        0x85 => "B",
        0x86 => "T",
        0x87 => "C",
        0x88 => "R",
        0x89 => "N",
        0x8a => "F",
        0x8d => "ST",
        0x8e => "A",
        0x91 => "L",
        0x92 => "MG",
        0x93 => "PD",
        0x94 => "PLS",
        _ => "file ",
    }
}

/// The elementary type of a data file's elements.
fn cell(target: &str) -> Option<u16> {
    let digits = target.trim_start_matches(|c: char| c.is_ascii_alphabetic());
    match &target[..target.len() - digits.len()] {
        "N" => Some(0xc3),
        "B" | "S" | "O" | "I" | "T" | "C" | "R" => Some(0xd2),
        "F" => Some(0xca),
        "L" => Some(0xc4),
        _ => None,
    }
}

fn width(kind: u16) -> usize {
    if matches!(kind, 0xca | 0xc4) { 4 } else { 2 }
}
