//! Objects of an application fragment (IEEE 1815 clauses 4.2.2.7, 11 and Annex A).

use std::borrow::Cow;
use std::fmt::Write;

use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::{operation, status};

use super::files::Files;
use super::names::{self, Number, Shape, Stamp};
use crate::cursor::{Cursor, Cut};
use crate::exchange::Draft;
use crate::{Cx, Side, json};

/// Longest `target`; object headers beyond it are counted in `detail` only.
const TARGET_BYTES_MAX: usize = 240;
/// Most points that one header may claim: more than any fragment has room for.
const POINTS_MAX: u32 = 1 << 16;

/// How a fragment's objects are to be read.
pub(super) struct Reading<'a> {
    /// Application function of the fragment.
    pub function: u8,
    /// Whether it comes from an outstation.
    pub response: bool,
    /// Whether the objects that are read name the target (a request, or what nobody asked for).
    pub names_target: bool,
    /// The outstation's end and its link address.
    pub outstation: (Side, u16),
    /// Whether the fragment answers a control, whose values it repeats.
    pub echoes: bool,
    /// Files that are open.
    pub files: &'a mut Files,
    /// Names of the values that are read.
    pub texts: Texts,
}

/// A value's name and where it comes from: written anew for each value, allocated once a fragment.
#[derive(Default)]
pub(super) struct Texts {
    signal: String,
    source: String,
}

/// What a fragment's device attributes say.
#[derive(Default)]
struct Attributes<'a> {
    vendor: Cow<'a, str>,
    model: Cow<'a, str>,
    firmware: Cow<'a, str>,
    serial: Cow<'a, str>,
    name: Cow<'a, str>,
    any: bool,
}

/// A header of objects.
#[derive(Clone, Copy)]
struct Header {
    group: u8,
    variation: u8,
    prefix: u8,
    range: u8,
    start: u32,
    count: u32,
}

impl Reading<'_> {
    /// Reads all objects of a fragment into a draft.
    pub fn objects(&mut self, cx: &mut Cx<'_>, draft: &mut Draft, mut cursor: Cursor<'_>) -> Result<(), Cut> {
        let mut headers = 0u32;
        let mut attributes = Attributes::default();
        while !cursor.is_empty() {
            let begin = cursor.rest();
            let header = header(&mut cursor).inspect_err(|_| {
                if let (true, &[group, variation, ..]) = (self.names_target, begin) {
                    let unread = Header { group, variation, prefix: 0, range: 6, start: 0, count: 0 };
                    name_target(draft, &unread);
                }
            })?;
            headers += 1;
            if self.names_target {
                name_target(draft, &header);
            }
            self.operation(draft, &header, headers);
            if !self.points(cx, draft, &header, &mut cursor, &mut attributes)? {
                let mut name = String::new();
                let _ = write!(name, "g{}v{}", header.group, header.variation);
                json::member_text(&mut draft.detail, "object_unread", &name);
                break;
            }
        }
        if attributes.any {
            cx.identity(
                "dnp3",
                self.outstation.0,
                IdentityRow {
                    vendor: &attributes.vendor,
                    model: &attributes.model,
                    firmware: &attributes.firmware,
                    serial: &attributes.serial,
                    name: &attributes.name,
                    ..IdentityRow::default()
                },
            );
        }
        Ok(())
    }

    /// What a request does depends on the first object that it is about.
    fn operation(&self, draft: &mut Draft, header: &Header, headers: u32) {
        if headers > 1 || self.response {
            return;
        }
        draft.operation = match (self.function, header.group) {
            (1, 70) => operation::PROGRAM_READ,
            (1, 0) => operation::DISCOVER,
            (2, 70) => operation::PROGRAM_WRITE,
            (2, 50 | 80 | 0) => operation::CONFIGURE,
            _ => return,
        };
    }

    /// Reads the points of one header; false when their size is unknown.
    fn points<'a>(
        &mut self,
        cx: &mut Cx<'_>,
        draft: &mut Draft,
        header: &Header,
        cursor: &mut Cursor<'a>,
        attributes: &mut Attributes<'a>,
    ) -> Result<bool, Cut> {
        let has_data = self.response
            || names::request_has_data(self.function)
            || header.prefix >= 4
            || (matches!(self.function, 11 | 12) && header.group == 50);
        if header.range == 6 || (!has_data && header.prefix == 0) {
            return Ok(true);
        }
        cursor.check(header.count <= POINTS_MAX, "object_count")?;
        let shape = if has_data && header.prefix < 4 {
            match names::shape(header.group, header.variation) {
                Some(Shape::Sized) | None => return Ok(false),
                Some(shape) => shape,
            }
        } else {
            Shape::Nothing
        };
        if let Shape::Bits(bits) = shape {
            cursor.check(header.prefix == 0, "qualifier")?;
            let bytes = (header.count as usize * usize::from(bits)).div_ceil(8);
            let packed = cursor.take(bytes, "object_data")?;
            for index in 0..header.count {
                let at = index as usize * usize::from(bits);
                let value = packed[at / 8] >> (at % 8) & ((1 << bits) - 1);
                self.value(cx, draft, header, header.start.wrapping_add(index), f64::from(value), 0);
            }
            return Ok(true);
        }
        if shape == Shape::Nothing && header.prefix == 0 {
            return Ok(true);
        }
        for step in 0..header.count {
            let prefix = match header.prefix {
                1 | 4 => u32::from(cursor.u8("object_prefix")?),
                2 | 5 => u32::from(cursor.u16_le("object_prefix")?),
                3 | 6 => cursor.u32_le("object_prefix")?,
                _ => 0,
            };
            if header.prefix >= 4 {
                let body = cursor.part(prefix as usize, "object_size")?;
                self.sized(cx, draft, header, body)?;
                continue;
            }
            let index = if header.prefix == 0 { header.start.wrapping_add(step) } else { prefix };
            if header.prefix != 0 && self.names_target && draft.target.len() < TARGET_BYTES_MAX {
                let _ = write!(draft.target, "{}{index}", if step == 0 { ' ' } else { '+' });
            }
            let before = cursor.at();
            self.one(cx, draft, header, shape, index, cursor, attributes)?;
            if cursor.at() == before && header.prefix == 0 {
                // Points without a byte: a few headers could claim millions of them.
                draft.set_count(draft.count().saturating_add(header.count - step - 1));
                break;
            }
        }
        Ok(true)
    }

    #[expect(clippy::too_many_arguments, reason = "one point with all that it needs")]
    fn one<'a>(
        &mut self,
        cx: &mut Cx<'_>,
        draft: &mut Draft,
        header: &Header,
        shape: Shape,
        index: u32,
        cursor: &mut Cursor<'a>,
        attributes: &mut Attributes<'a>,
    ) -> Result<(), Cut> {
        match shape {
            Shape::Point { flags, number, stamp } => {
                let flags = if flags { cursor.u8("object_data")? } else { 1 };
                let value = match number {
                    Number::State => f64::from(flags >> 7),
                    Number::DoubleState => f64::from(flags >> 6),
                    number => read_number(cursor, number)?,
                };
                let relative = read_stamp(cursor, stamp)?;
                if let (Some(time), false) = (relative, draft.detail.contains("\"event_time\"")) {
                    json::member_number(&mut draft.detail, "event_time", time);
                }
                self.value(cx, draft, header, index, value, quality(header.group, flags));
            }
            Shape::Control { number, stamp, status_last } => {
                let before = if status_last { 0 } else { cursor.u8("object_data")? };
                let value = read_number(cursor, number)?;
                read_stamp(cursor, stamp)?;
                let code = if status_last { cursor.u8("object_data")? } else { before };
                if number != Number::None && !self.echoes {
                    draft.push_value(value);
                }
                self.control_status(draft, code & 0x7f);
            }
            Shape::Crob => {
                let code = cursor.u8("control_code")?;
                let count = cursor.u8("control_count")?;
                let on = cursor.u32_le("control_on_time")?;
                let off = cursor.u32_le("control_off_time")?;
                let done = cursor.u8("control_status")?;
                if !self.echoes {
                    push_crob(draft, code, count, on, off);
                }
                self.control_status(draft, done & 0x7f);
            }
            Shape::Time(size) => {
                let mut part = cursor.part(usize::from(size), "object_data")?;
                let time = u48(&mut part)?;
                if !self.echoes {
                    draft.push_value(time as f64);
                }
            }
            Shape::Opaque(size) => {
                let bytes = cursor.take(size, "object_data")?;
                // Octet strings are values; the others are counted.
                if matches!(header.group, 110 | 111) {
                    draft.push_text(&String::from_utf8_lossy(bytes));
                } else {
                    draft.set_count(draft.count() + 1);
                }
            }
            Shape::Attribute => {
                let kind = cursor.u8("attribute_type")?;
                let length = cursor.u8("attribute_length")?;
                let bytes = cursor.take(usize::from(length), "attribute_value")?;
                if kind == 1 {
                    attributes.take(header.variation, String::from_utf8_lossy(bytes));
                    draft.push_text(&String::from_utf8_lossy(bytes));
                } else {
                    draft.push_bytes(bytes);
                }
            }
            Shape::Nothing | Shape::Bits(_) | Shape::Sized => {}
        }
        Ok(())
    }

    fn control_status(&self, draft: &mut Draft, code: u8) {
        if self.response && code != 0 && draft.status == status::OK {
            draft.deny(names::control_status(code));
        }
    }

    /// A point's value: into the row, and as a sample when the outstation says it.
    fn value(
        &mut self,
        cx: &mut Cx<'_>,
        draft: &mut Draft,
        header: &Header,
        index: u32,
        value: f64,
        quality: u8,
    ) {
        draft.push_value(value);
        if !self.response {
            return;
        }
        if let Some(kind) = names::point(header.group) {
            let (side, address) = self.outstation;
            let Texts { signal, source } = &mut self.texts;
            if source.is_empty() {
                let end = cx.flow.end(side);
                *source = format!("dnp3 {}:{}/{address}", end.address, end.port);
            }
            signal.clear();
            signal.push_str(kind);
            signal.push(' ');
            json::push_number(signal, u64::from(index));
            cx.measured(side, signal, source, value, quality);
        }
    }

    /// An object that comes with its size.
    fn sized(
        &mut self,
        cx: &Cx<'_>,
        draft: &mut Draft,
        header: &Header,
        body: Cursor<'_>,
    ) -> Result<(), Cut> {
        match header.group {
            70 => self.files.object(cx, draft, header.variation, self.response, body)?,
            120 => {
                json::member_number(&mut draft.detail, "authentication", u64::from(header.variation));
                if header.variation == 7 && self.response {
                    let mut body = body;
                    body.skip(8, "authentication_error")?;
                    let code = body.u8("authentication_error")?;
                    draft.deny(format!("authentication_error={code}"));
                }
            }
            _ => draft.set_count(draft.count() + 1),
        }
        Ok(())
    }
}

impl<'a> Attributes<'a> {
    fn take(&mut self, variation: u8, text: Cow<'a, str>) {
        *match variation {
            252 => &mut self.vendor,
            250 => &mut self.model,
            242 => &mut self.firmware,
            248 => &mut self.serial,
            247 => &mut self.name,
            _ => return,
        } = text;
        self.any = true;
    }
}

fn header(cursor: &mut Cursor<'_>) -> Result<Header, Cut> {
    let group = cursor.u8("object_group")?;
    let variation = cursor.u8("object_variation")?;
    let qualifier = cursor.u8("qualifier")?;
    let (prefix, range) = (qualifier >> 4 & 7, qualifier & 15);
    cursor.check(qualifier & 0x80 == 0 && prefix != 7, "qualifier")?;
    let (start, count) = match range {
        0 | 3 => stretch(cursor, u32::from(cursor.clone().u8("range")?), 1)?,
        1 | 4 => stretch(cursor, u32::from(cursor.clone().u16_le("range")?), 2)?,
        2 | 5 => stretch(cursor, cursor.clone().u32_le("range")?, 4)?,
        6 => (0, 0),
        7 | 11 => (0, u32::from(cursor.u8("range")?)),
        8 => (0, u32::from(cursor.u16_le("range")?)),
        9 => (0, cursor.u32_le("range")?),
        _ => return Err(cursor.cut("qualifier")),
    };
    Ok(Header { group, variation, prefix, range, start, count })
}

/// Start and stop, each of `width` bytes; `start` is the first of them.
fn stretch(cursor: &mut Cursor<'_>, start: u32, width: usize) -> Result<(u32, u32), Cut> {
    cursor.skip(width, "range")?;
    let stop = match width {
        1 => u32::from(cursor.u8("range")?),
        2 => u32::from(cursor.u16_le("range")?),
        _ => cursor.u32_le("range")?,
    };
    cursor.check(stop >= start, "range")?;
    Ok((start, (stop - start).saturating_add(1)))
}

fn name_target(draft: &mut Draft, header: &Header) {
    let target = &mut draft.target;
    if header.group == 70 || target.len() > TARGET_BYTES_MAX {
        return;
    }
    if !target.is_empty() {
        target.push_str(", ");
    }
    let _ = write!(target, "g{}v{}", header.group, header.variation);
    if header.range <= 5 {
        let _ = write!(target, " {}", header.start);
        if header.count > 1 {
            let _ = write!(target, "..{}", header.start.wrapping_add(header.count - 1));
        }
    }
}

/// Good, uncertain or bad, by the flags of a point (clause 11.6).
fn quality(group: u8, flags: u8) -> u8 {
    const ONLINE: u8 = 1;
    const COMM_LOST: u8 = 4;
    // Restart, forced remotely or locally, and chatter, roll-over or over-range.
    const DOUBTFUL: u8 = 0x3a;
    // Roll-over of a counter does not make it doubtful.
    let doubtful = if matches!(group, 20..=23) { DOUBTFUL & !0x20 } else { DOUBTFUL };
    if flags & ONLINE == 0 || flags & COMM_LOST != 0 { 2 } else { u8::from(flags & doubtful != 0) }
}

fn push_crob(draft: &mut Draft, code: u8, count: u8, on: u32, off: u32) {
    let operation = match code & 15 {
        0 => "nul",
        1 => "pulse_on",
        2 => "pulse_off",
        3 => "latch_on",
        4 => "latch_off",
        _ => "undefined",
    };
    let mut text = String::new();
    json::member_text(&mut text, "op", operation);
    match code >> 6 {
        1 => json::member_text(&mut text, "tcc", "close"),
        2 => json::member_text(&mut text, "tcc", "trip"),
        3 => json::member_text(&mut text, "tcc", "reserved"),
        _ => {}
    }
    json::member_number(&mut text, "code", u64::from(code));
    json::member_number(&mut text, "count", u64::from(count));
    json::member_number(&mut text, "on_ms", u64::from(on));
    json::member_number(&mut text, "off_ms", u64::from(off));
    json::end(&mut text);
    draft.push_json(&text);
}

fn read_number(cursor: &mut Cursor<'_>, number: Number) -> Result<f64, Cut> {
    const WHAT: &str = "object_data";
    Ok(match number {
        Number::None | Number::State | Number::DoubleState => 0.0,
        Number::U8 => f64::from(cursor.u8(WHAT)?),
        Number::U16 => f64::from(cursor.u16_le(WHAT)?),
        Number::U32 => f64::from(cursor.u32_le(WHAT)?),
        Number::I16 => f64::from(cursor.i16_le(WHAT)?),
        Number::I32 => f64::from(cursor.i32_le(WHAT)?),
        Number::F32 => f64::from(cursor.f32_le(WHAT)?),
        Number::F64 => cursor.f64_le(WHAT)?,
        Number::Bcd(size) => {
            let digits = cursor.take(usize::from(size), WHAT)?;
            digits.iter().rev().fold(0.0, |v, b| v * 100.0 + f64::from(b >> 4) * 10.0 + f64::from(b & 15))
        }
    })
}

fn read_stamp(cursor: &mut Cursor<'_>, stamp: Stamp) -> Result<Option<u64>, Cut> {
    Ok(match stamp {
        Stamp::None => None,
        Stamp::Absolute => Some(u48(cursor)?),
        Stamp::Relative => {
            cursor.skip(2, "object_time")?;
            None
        }
    })
}

/// Milliseconds since 1970.
pub(super) fn u48(cursor: &mut Cursor<'_>) -> Result<u64, Cut> {
    let low = cursor.u32_le("object_time")?;
    let high = cursor.u16_le("object_time")?;
    Ok(u64::from(high) << 32 | u64::from(low))
}
