//! ASDUs: data unit identifier, information objects, and the pairing of activations with their
//! confirmations (IEC 60870-5-101 clause 7, IEC 60870-5-5).

use std::fmt::Write;

use yagura_event::vocabulary::operation;

use super::types::{self, Element, Tag, Type};
use super::{Iec104, Key};
use crate::cursor::{Cursor, Cut};
use crate::exchange::Draft;
use crate::{Cx, Side, json};

/// The common address of all stations.
const GLOBAL: u16 = 0xffff;
/// Bytes of an object's address.
const ADDRESS: usize = 3;
/// Causes that say nothing by themselves but that an activation is answered.
const ACTIVATION: u8 = 6;
const DEACTIVATION: u8 = 8;
const REQUEST: u8 = 5;

/// The data unit identifier.
#[derive(Clone, Copy)]
struct Unit {
    kind: u8,
    /// Whether one address stands for a sequence of objects.
    sequence: bool,
    objects: u8,
    cause: u8,
    negative: bool,
    test: bool,
    originator: u8,
    common: u16,
}

fn unit(cursor: &mut Cursor<'_>) -> Result<Unit, Cut> {
    let kind = cursor.u8("asdu_type")?;
    let qualifier = cursor.u8("asdu_qualifier")?;
    let cause = cursor.u8("asdu_cause")?;
    Ok(Unit {
        kind,
        sequence: qualifier & 0x80 != 0,
        objects: qualifier & 0x7f,
        cause: cause & 0x3f,
        negative: cause & 0x40 != 0,
        test: cause & 0x80 != 0,
        originator: cursor.u8("asdu_originator")?,
        common: cursor.u16_le("asdu_common_address")?,
    })
}

/// The objects' length, where the type fixes it.
fn length(unit: &Unit, of: Type) -> Option<usize> {
    let each = of.element.size()? + of.tag.size();
    let objects = usize::from(unit.objects);
    Some(if unit.sequence { ADDRESS + objects * each } else { objects * (ADDRESS + each) })
}

/// Whether bytes can be an ASDU: what the probe believes.
pub(super) fn plausible(bytes: &[u8]) -> bool {
    let mut cursor = Cursor::new(bytes);
    let Ok(unit) = unit(&mut cursor) else { return false };
    let Some(of) = types::of(unit.kind) else { return false };
    let length = match length(&unit, of) {
        Some(length) => length,
        None => match file_length(&unit, cursor.rest()) {
            Some(length) => length,
            None => return false,
        },
    };
    types::cause(unit.cause).is_some() && length == cursor.remaining() && unit.objects > 0
}

/// The length of a file transfer's object, address included (IEC 60870-5-101 clause 7.3.6).
fn file_length(unit: &Unit, object: &[u8]) -> Option<usize> {
    Some(match unit.kind {
        120 => 9,
        121 => 10,
        122 | 124 => 7,
        123 => 8,
        125 => 7 + usize::from(*object.get(6)?),
        126 => ADDRESS + 13 * usize::from(unit.objects),
        127 => 19,
        _ => return None,
    })
}

impl Iec104 {
    /// One ASDU.
    pub(super) fn asdu(&mut self, cx: &mut Cx<'_>, side: Side, bytes: &[u8]) -> Result<(), Cut> {
        let mut cursor = Cursor::new(bytes);
        let unit = unit(&mut cursor)?;
        let Some(of) = types::of(unit.kind) else {
            return Err(Cut { what: "asdu_type", at: 6 });
        };
        let object = cursor.clone().u24_le("object_address").unwrap_or_default();
        let key = Key::Command { kind: unit.kind, common: unit.common, object };
        let command = matches!(unit.kind, 45..=69 | 100..=119);
        let asks = command && matches!(unit.cause, REQUEST | ACTIVATION | DEACTIVATION);
        // An activation is confirmed and later terminated: only the first ends the exchange.
        let answers = command && !asks && unit.cause != 10;
        let asked = if answers { self.confirmed(side, unit, object) } else { None };
        let paired = asked.is_some();
        let mut draft = match asked {
            Some((mut draft, own)) => {
                if !own {
                    json::member_number(&mut draft.detail, "station", u64::from(unit.common));
                }
                draft
            }
            None => {
                let asker = if answers { side.other() } else { side };
                let mut draft = self.exchanges.draft(cx, asker, of.operation, of.name);
                // Values come from the station, and termination of a command does too.
                draft.equipment = if asks || of.element == Element::File { side.other() } else { side };
                describe(&mut draft, &unit);
                draft
            }
        };
        if paired && let Some(cause) = types::cause(unit.cause) {
            json::member_text(&mut draft.detail, "reply_cause", cause);
        }
        if unit.negative || (44..=47).contains(&unit.cause) {
            draft.deny(if unit.negative && unit.cause < 44 {
                "negative_confirm"
            } else {
                types::cause(unit.cause).unwrap_or("negative_confirm")
            });
        }
        let exact = length(&unit, of).is_none_or(|length| length == cursor.remaining());
        if !exact {
            draft.wrong(cursor.cut("asdu_length"));
        } else if !paired && let Err(cut) = objects(cx, side, &mut draft, &unit, of, &mut cursor) {
            draft.wrong(cut);
        }
        // A value that is asked for comes back as itself: that ends the reading.
        let read = Key::Command { kind: 102, common: unit.common, object };
        if !command
            && unit.cause == REQUEST
            && let Some(read) = self.exchanges.answered(side, &read)
        {
            self.exchanges.pair(cx, read);
        }
        if asks {
            self.exchanges.ask(cx, key, draft);
        } else if paired {
            self.exchanges.pair(cx, draft);
        } else if answers {
            self.exchanges.unasked(cx, draft);
        } else {
            self.exchanges.one_way(cx, draft);
        }
        Ok(())
    }
}

impl Iec104 {
    /// The activation that a confirmation is for, and whether it was to the station's own address
    /// and not to all.
    fn confirmed(&mut self, side: Side, unit: Unit, object: u32) -> Option<(Draft, bool)> {
        let to = |common| Key::Command { kind: unit.kind, common, object };
        if let Some(draft) = self.exchanges.answered(side, &to(unit.common)) {
            return Some((draft, true));
        }
        self.exchanges.answered(side, &to(GLOBAL)).map(|draft| (draft, false))
    }
}

fn describe(draft: &mut Draft, unit: &Unit) {
    json::push_number(&mut draft.session, u64::from(unit.common));
    json::member_number(&mut draft.detail, "type", u64::from(unit.kind));
    match types::cause(unit.cause) {
        Some(cause) => json::member_text(&mut draft.detail, "cause", cause),
        None => json::member_number(&mut draft.detail, "cause", u64::from(unit.cause)),
    }
    json::member_number(&mut draft.detail, "originator", u64::from(unit.originator));
    if unit.test {
        json::member_bool(&mut draft.detail, "test", true);
    }
}

/// All information objects of an ASDU.
fn objects(
    cx: &mut Cx<'_>,
    side: Side,
    draft: &mut Draft,
    unit: &Unit,
    of: Type,
    cursor: &mut Cursor<'_>,
) -> Result<(), Cut> {
    if of.element == Element::File {
        return file(draft, unit, cursor);
    }
    let mut address = 0u32;
    let mut first = 0;
    for index in 0..unit.objects {
        if index == 0 || !unit.sequence {
            address = cursor.u24_le("object_address")?;
        } else {
            address = address.wrapping_add(1) & 0x00ff_ffff;
        }
        if index == 0 {
            first = address;
        }
        element(cx, side, draft, unit, of, address, cursor)?;
    }
    if unit.objects > 0 {
        let _ = write!(draft.target, "{first}");
        if unit.objects > 1 && unit.sequence {
            let _ = write!(draft.target, "..{address}");
        } else if unit.objects > 1 {
            let _ = write!(draft.target, ",…{address}");
        }
    }
    Ok(())
}

fn element(
    cx: &mut Cx<'_>,
    side: Side,
    draft: &mut Draft,
    unit: &Unit,
    of: Type,
    address: u32,
    cursor: &mut Cursor<'_>,
) -> Result<(), Cut> {
    const WHAT: &str = "information_element";
    let normalized = |raw: i16| f64::from(raw) / 32768.0;
    // The value, the byte of its quality, and what of a command's qualifier selects.
    let (value, quality, qualifier) = match of.element {
        Element::Nothing => return Ok(()),
        Element::Single => {
            let b = cursor.u8(WHAT)?;
            (f64::from(b & 1), Some(b & 0xf0), None)
        }
        Element::Double => {
            let b = cursor.u8(WHAT)?;
            (f64::from(b & 3), Some(b & 0xf0), None)
        }
        Element::Step => {
            let b = cursor.u8(WHAT)?;
            // Seven bits with a sign.
            (f64::from((b << 1) as i8 >> 1), Some(cursor.u8(WHAT)?), None)
        }
        Element::Bits => (f64::from(cursor.u32_le(WHAT)?), Some(cursor.u8(WHAT)?), None),
        Element::Normalized => (normalized(cursor.i16_le(WHAT)?), Some(cursor.u8(WHAT)?), None),
        Element::NormalizedOnly => (normalized(cursor.i16_le(WHAT)?), Some(0), None),
        Element::Scaled => (f64::from(cursor.i16_le(WHAT)?), Some(cursor.u8(WHAT)?), None),
        Element::Short => (f64::from(cursor.f32_le(WHAT)?), Some(cursor.u8(WHAT)?), None),
        Element::Counter => {
            let value = f64::from(cursor.i32_le(WHAT)?);
            // Its flags mean carry, adjusted and invalid.
            (value, Some(cursor.u8(WHAT)? & 0x80), None)
        }
        Element::Packed => {
            let value = f64::from(cursor.u16_le(WHAT)?);
            cursor.skip(2, WHAT)?;
            (value, Some(cursor.u8(WHAT)?), None)
        }
        Element::Protection(size) => {
            draft.push_bytes(cursor.take(usize::from(size) + of.tag.size(), WHAT)?);
            return Ok(());
        }
        Element::SingleCommand => {
            let b = cursor.u8(WHAT)?;
            (f64::from(b & 1), None, Some(b & 0xfc))
        }
        Element::DoubleCommand | Element::StepCommand => {
            let b = cursor.u8(WHAT)?;
            (f64::from(b & 3), None, Some(b & 0xfc))
        }
        Element::NormalizedCommand => (normalized(cursor.i16_le(WHAT)?), None, Some(cursor.u8(WHAT)?)),
        Element::ScaledCommand => (f64::from(cursor.i16_le(WHAT)?), None, Some(cursor.u8(WHAT)?)),
        Element::ShortCommand => (f64::from(cursor.f32_le(WHAT)?), None, Some(cursor.u8(WHAT)?)),
        Element::BitsCommand => (f64::from(cursor.u32_le(WHAT)?), None, None),
        Element::Qualifier => (f64::from(cursor.u8(WHAT)?), None, None),
        Element::Pattern | Element::Delay => (f64::from(cursor.u16_le(WHAT)?), None, None),
        Element::NormalizedParameter => {
            let value = normalized(cursor.i16_le(WHAT)?);
            json::member_number(&mut draft.detail, "qualifier", u64::from(cursor.u8(WHAT)?));
            (value, None, None)
        }
        Element::ScaledParameter => {
            let value = f64::from(cursor.i16_le(WHAT)?);
            json::member_number(&mut draft.detail, "qualifier", u64::from(cursor.u8(WHAT)?));
            (value, None, None)
        }
        Element::ShortParameter => {
            let value = f64::from(cursor.f32_le(WHAT)?);
            json::member_number(&mut draft.detail, "qualifier", u64::from(cursor.u8(WHAT)?));
            (value, None, None)
        }
        Element::Clock => {
            let mut text = String::new();
            clock(&mut text, cursor.array(WHAT)?);
            draft.push_text(&text);
            return Ok(());
        }
        Element::File => return Err(cursor.cut(WHAT)),
    };
    draft.push_value(value);
    match of.tag {
        Tag::None => {}
        Tag::Short => cursor.skip(3, "time_tag")?,
        Tag::Long => {
            let tag = cursor.array("time_tag")?;
            if !draft.detail.contains("\"time_tag\"") {
                json::key(&mut draft.detail, "time_tag");
                draft.detail.push('"');
                clock(&mut draft.detail, tag);
                draft.detail.push('"');
            }
        }
    }
    if let Some(qualifier) = qualifier {
        json::member_bool(&mut draft.detail, "select", qualifier & 0x80 != 0);
        json::member_number(&mut draft.detail, "qualifier", u64::from(qualifier & 0x7f));
    }
    if let Some(flags) = quality {
        let end = cx.flow.end(side);
        let source = format!("iec104 {}:{}/{}", end.address, end.port, unit.common);
        let signal = format!("{} {address}", &of.name[..4]);
        cx.measured(side, &signal, &source, value, grade(flags));
    }
    Ok(())
}

/// Good, uncertain or bad: invalid and not topical are bad, substituted, blocked and overflow doubtful.
fn grade(flags: u8) -> u8 {
    if flags & 0xc0 != 0 { 2 } else { u8::from(flags & 0x31 != 0) }
}

/// CP56Time2a as text; the summer time and invalid marks are said after it.
fn clock(out: &mut String, bytes: [u8; 7]) {
    let milliseconds = u16::from_le_bytes([bytes[0], bytes[1]]);
    let _ = write!(
        out,
        "20{:02}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}",
        bytes[6] & 0x7f,
        bytes[5] & 15,
        bytes[4] & 31,
        bytes[3] & 31,
        bytes[2] & 63,
        milliseconds / 1000,
        milliseconds % 1000
    );
    if bytes[3] & 0x80 != 0 {
        out.push_str(" summer");
    }
    if bytes[2] & 0x80 != 0 {
        out.push_str(" invalid");
    }
}

/// The objects of file transfer: their bodies are counted, never kept.
fn file(draft: &mut Draft, unit: &Unit, cursor: &mut Cursor<'_>) -> Result<(), Cut> {
    let address = cursor.u24_le("object_address")?;
    let name = cursor.u16_le("file_name")?;
    let _ = write!(draft.target, "{address} file {name}");
    match unit.kind {
        120 => {
            let length = cursor.u24_le("file_length")?;
            json::member_number(&mut draft.detail, "length", u64::from(length));
            refused(draft, cursor.u8("file_qualifier")? & 0x80 != 0, "not_ready");
        }
        121 => {
            let section = cursor.u8("file_section")?;
            let length = cursor.u24_le("file_length")?;
            json::member_number(&mut draft.detail, "section", u64::from(section));
            json::member_number(&mut draft.detail, "length", u64::from(length));
            refused(draft, cursor.u8("file_qualifier")? & 0x80 != 0, "not_ready");
        }
        122 | 124 => {
            let section = cursor.u8("file_section")?;
            let qualifier = cursor.u8("file_qualifier")?;
            json::member_number(&mut draft.detail, "section", u64::from(section));
            json::member_number(&mut draft.detail, "qualifier", u64::from(qualifier));
            if unit.kind == 122 && unit.cause == REQUEST {
                draft.operation = operation::DISCOVER;
            }
            refused(draft, unit.kind == 124 && matches!(qualifier & 15, 2 | 4), "negative_acknowledge");
        }
        123 => {
            let section = cursor.u8("file_section")?;
            let qualifier = cursor.u8("file_qualifier")?;
            json::member_number(&mut draft.detail, "section", u64::from(section));
            json::member_number(&mut draft.detail, "qualifier", u64::from(qualifier));
            json::member_number(&mut draft.detail, "checksum", u64::from(cursor.u8("file_checksum")?));
        }
        125 => {
            let section = cursor.u8("file_section")?;
            let length = cursor.u8("segment_length")?;
            cursor.take(usize::from(length), "segment")?;
            json::member_number(&mut draft.detail, "section", u64::from(section));
            draft.body_bytes = Some(u64::from(length));
        }
        126 => {
            let entries = u32::from(unit.objects);
            draft.set_count(entries);
        }
        _ => {}
    }
    Ok(())
}

fn refused(draft: &mut Draft, refused: bool, code: &'static str) {
    if refused {
        draft.deny(code);
    }
}
