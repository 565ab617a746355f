//! What commands ask for and what responses bring, in binary and in ASCII.

use yagura_event::rows::IdentityRow;

use super::names::{self, Kind, Place, Unit};
use super::{Asked, Files, PROTOCOL};
use crate::cursor::{Cursor, Cut};
use crate::exchange::Draft;
use crate::{Cx, Side, json};

/// Most points of one request whose names are kept.
const PLACES_MAX: usize = 256;
/// Most characters of a file name, and of a password.
const TEXT_MAX: u16 = 512;

/// A message's parameters: the same fields in two codes.
pub struct Body<'a> {
    pub cursor: Cursor<'a>,
    pub ascii: bool,
}

impl<'a> Body<'a> {
    fn digits(&mut self, count: usize, what: &'static str) -> Result<u32, Cut> {
        let digits = self.cursor.take(count, what)?;
        hexadecimal(digits).ok_or(self.cursor.cut(what))
    }

    pub fn u8(&mut self, what: &'static str) -> Result<u8, Cut> {
        if self.ascii { self.digits(2, what).map(|n| n as u8) } else { self.cursor.u8(what) }
    }

    pub fn u16(&mut self, what: &'static str) -> Result<u16, Cut> {
        if self.ascii { self.digits(4, what).map(|n| n as u16) } else { self.cursor.u16_le(what) }
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, Cut> {
        if self.ascii { self.digits(8, what) } else { self.cursor.u32_le(what) }
    }

    /// A device with its number; `wide` is the format of the iQ-R series.
    fn device(&mut self, wide: bool) -> Result<(Kind, u32), Cut> {
        if self.ascii {
            let kind = names::by_name(self.cursor.take(if wide { 4 } else { 2 }, "device_code")?);
            let Some(kind) = kind else { return Err(self.cursor.cut("device_code")) };
            let digits = self.cursor.take(if wide { 8 } else { 6 }, "device_number")?;
            let number = if kind.hexadecimal { hexadecimal(digits) } else { decimal(digits) };
            return number.map(|number| (kind, number)).ok_or(self.cursor.cut("device_number"));
        }
        let (number, code) = if wide {
            (self.cursor.u32_le("device_number")?, self.cursor.u16_le("device_code")?)
        } else {
            (self.cursor.u24_le("device_number")?, u16::from(self.cursor.u8("device_code")?))
        };
        names::by_code(code).map(|kind| (kind, number)).ok_or(self.cursor.cut("device_code"))
    }

    fn text(&mut self, what: &'static str) -> Result<&'a [u8], Cut> {
        let length = self.u16(what)?;
        self.cursor.check(length <= TEXT_MAX, what)?;
        self.cursor.take(usize::from(length), what)
    }

    /// The values of points; all of them must be there.
    fn values(
        &mut self,
        draft: &mut Draft,
        place: &Place,
        mut each: impl FnMut(u16, f64),
    ) -> Result<(), Cut> {
        let mut half = None;
        for index in 0..place.count {
            let value = match place.unit {
                Unit::Word => f64::from(self.u16("device_data")?),
                Unit::Double => f64::from(self.u32("device_data")?),
                Unit::Bit if self.ascii => f64::from(self.digits(1, "device_data")?),
                Unit::Bit => match half.take() {
                    Some(low) => f64::from(low),
                    None => {
                        let byte = self.cursor.u8("device_data")?;
                        half = Some(byte & 15);
                        f64::from(byte >> 4)
                    }
                },
            };
            draft.push_value(value);
            each(index, value);
        }
        Ok(())
    }
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0u32, |sum, &b| Some(sum << 4 | char::from(b).to_digit(16)?))
}

fn decimal(digits: &[u8]) -> Option<u32> {
    digits.iter().try_fold(0u32, |sum, &b| sum.checked_mul(10)?.checked_add(char::from(b).to_digit(10)?))
}

/// Reads the parameters of a request.
pub fn request(
    cx: &Cx<'_>,
    draft: &mut Draft,
    b: &mut Body<'_>,
    asked: &mut Asked,
    files: &mut Files,
) -> Result<(), Cut> {
    let sub = asked.subcommand;
    let wide = sub & 2 != 0;
    match asked.command {
        // Extended devices (of modules, by index) have forms of their own: said, not read.
        0x0401..=0x0406 | 0x0801 | 0x1401..=0x1406 if sub & 0xc0 != 0 => {
            draft.target.push_str("extended device");
        }
        0x0401 | 0x1401 => {
            let (kind, number) = b.device(wide)?;
            let unit = if sub & 1 != 0 { Unit::Bit } else { Unit::Word };
            let place = Place { kind, number, count: b.u16("device_points")?, unit };
            place.range(&mut draft.target);
            if asked.command == 0x1401 {
                b.values(draft, &place, |_, _| {})?;
                ended(b)?;
            } else {
                draft.set_count(u32::from(place.count));
                asked.place = Some(place);
            }
        }
        0x1402 if sub & 1 != 0 => {
            for _ in 0..b.u8("device_points")? {
                let (kind, number) = b.device(wide)?;
                point(draft, Place { kind, number, count: 1, unit: Unit::Bit });
                let value = if wide { b.u16("device_data")? } else { u16::from(b.u8("device_data")?) };
                draft.push_value(f64::from(value));
            }
        }
        0x0403 | 0x0801 | 0x1402 => {
            let (words, doubles) = (b.u8("device_points")?, b.u8("device_points")?);
            for index in 0..u16::from(words) + u16::from(doubles) {
                let (kind, number) = b.device(wide)?;
                let unit = if index < u16::from(words) { Unit::Word } else { Unit::Double };
                let place = Place { kind, number, count: 1, unit };
                point(draft, place);
                if asked.command == 0x1402 {
                    b.values(draft, &place, |_, _| {})?;
                } else if asked.places.len() < PLACES_MAX {
                    asked.places.push(place);
                }
            }
            draft.set_count(u32::from(words) + u32::from(doubles));
        }
        0x0406 | 0x1406 => {
            let blocks = u16::from(b.u8("blocks")?) + u16::from(b.u8("blocks")?);
            for _ in 0..blocks {
                let (kind, number) = b.device(wide)?;
                let place = Place { kind, number, count: b.u16("device_points")?, unit: Unit::Word };
                separate(&mut draft.target);
                place.range(&mut draft.target);
                if asked.command == 0x1406 {
                    b.values(draft, &place, |_, _| {})?;
                } else if asked.places.len() < PLACES_MAX {
                    asked.places.push(place);
                }
            }
        }
        0x0613 | 0x1613 => {
            draft.target.push_str("memory ");
            json::push_number(&mut draft.target, u64::from(b.u32("address")?));
            memory(draft, b, asked.command == 0x1613)?;
        }
        0x0601 | 0x1601 => {
            let address = b.u32("address")?;
            let bytes = b.u16("bytes")?;
            draft.target.push_str(&format!("unit {:x} address {address}", b.u16("module")?));
            draft.set_count(u32::from(bytes));
        }
        0x0619 => draft.set_count(u32::from(b.u16("length")?)),
        0x1001 | 0x1003 => {
            let mode = b.u16("mode")?;
            draft.push_text(if mode == 3 { "forced" } else { "not_forced" });
            json::member_number(&mut draft.detail, "mode", u64::from(mode));
            if asked.command == 0x1001 {
                let clear = match b.u8("clear_mode")? {
                    0 => "nothing",
                    1 => "all_but_latched",
                    _ => "all",
                };
                json::member_text(&mut draft.detail, "clears", clear);
            }
        }
        0x1630 | 0x1631 => {
            let password = b.text("password")?;
            json::member_bool(&mut draft.detail, "password", true);
            json::member_bool(
                &mut draft.detail,
                "password_empty",
                password.iter().all(|c| b"\0 ".contains(c)),
            );
        }
        0x1810..=0x1827 => file(draft, b, asked)?,
        0x1828..=0x182a => {
            let pointer = b.u16("file_pointer")?;
            json::member_number(&mut draft.detail, "file_pointer", u64::from(pointer));
            if let Some((_, name)) = files.iter().find(|(number, _)| *number == pointer) {
                draft.target.push_str(name);
            }
            if asked.command == 0x182a {
                files.retain(|(number, _)| *number != pointer);
                return Ok(());
            }
            json::member_number(&mut draft.detail, "first", u64::from(b.u32("offset")?));
            let bytes = b.u16("bytes")?;
            json::member_number(&mut draft.detail, "bytes", u64::from(bytes));
            if asked.command == 0x1829 {
                draft.seal(&cx.settings.plant_key, b.cursor.take_rest());
            }
        }
        _ => {}
    }
    Ok(())
}

/// Files by name. The parts before the name depend on the command.
fn file(draft: &mut Draft, b: &mut Body<'_>, asked: &Asked) -> Result<(), Cut> {
    if asked.subcommand & 0x40 != 0 {
        // The iQ-R series: a password of any length.
        let password = b.text("file_password")?;
        json::member_bool(&mut draft.detail, "password", !password.is_empty());
    } else {
        let keyword = b.cursor.take(4, "keyword")?;
        json::member_bool(&mut draft.detail, "password", !keyword.iter().all(|c| b"\x000 ".contains(c)));
    }
    if asked.command == 0x1827 {
        let mode = b.u16("open_mode")?;
        json::member_text(&mut draft.detail, "mode", if mode == 0 { "read" } else { "write" });
        if mode != 0 {
            draft.operation = yagura_event::vocabulary::operation::PROGRAM_WRITE;
        }
    }
    json::member_number(&mut draft.detail, "drive", u64::from(b.u16("drive")?));
    if matches!(asked.command, 0x1811 | 0x1820 | 0x1822 | 0x1827) {
        let name = b.text("file_name")?;
        // The iQ-R series sends UTF-16, low byte first.
        let name = if name.contains(&0) {
            let units = name.chunks_exact(2).map(|c| u16::from_le_bytes([c[0], c[1]]));
            char::decode_utf16(units).map(|c| c.unwrap_or('\u{fffd}')).collect()
        } else {
            String::from_utf8_lossy(name).into_owned()
        };
        draft.target.push_str(&name);
    }
    Ok(())
}

/// Words of a module's memory.
fn memory(draft: &mut Draft, b: &mut Body<'_>, write: bool) -> Result<(), Cut> {
    let words = b.u16("words")?;
    draft.set_count(u32::from(words));
    if write {
        draft.set_count(0);
        for _ in 0..words {
            draft.push_value(f64::from(b.u16("data")?));
        }
    }
    Ok(())
}

/// Reads the data of a response that says that all is well.
pub fn response(
    cx: &mut Cx<'_>,
    side: Side,
    draft: &mut Draft,
    b: &mut Body<'_>,
    asked: &Asked,
    files: &mut Files,
    identity: &mut String,
) -> Result<(), Cut> {
    match asked.command {
        0x0401 => {
            if let Some(place) = &asked.place {
                draft.set_count(0);
                let mut measure = Measure::new(cx, side);
                b.values(draft, place, |index, value| measure.value(place, index, value))?;
                ended(b)?;
            }
        }
        0x0403 | 0x0406 | 0x0802 if !asked.places.is_empty() => {
            draft.set_count(0);
            let mut measure = Measure::new(cx, side);
            for place in &asked.places {
                b.values(draft, place, |index, value| measure.value(place, index, value))?;
            }
        }
        0x0613 => {
            draft.set_count(0);
            while let Ok(word) = b.u16("data") {
                draft.push_value(f64::from(word));
            }
        }
        0x0101 => {
            let model = String::from_utf8_lossy(b.cursor.take(16, "model")?).trim().to_string();
            let code = b.u16("model_code")?;
            draft.push_text(&model);
            json::member_number(&mut draft.detail, "model_code", u64::from(code));
            if *identity != model {
                identity.clear();
                identity.push_str(&model);
                let row =
                    IdentityRow { vendor: "Mitsubishi Electric", model: &model, ..IdentityRow::default() };
                cx.identity(PROTOCOL.name, side, row);
            }
        }
        0x1827 => {
            let pointer = b.u16("file_pointer")?;
            json::member_number(&mut draft.detail, "file_pointer", u64::from(pointer));
            files.retain(|(number, _)| *number != pointer);
            if files.len() == super::FILES_MAX {
                files.remove(0);
            }
            files.push((pointer, draft.target.clone()));
        }
        0x1828 => {
            b.u16("bytes")?;
            draft.seal(&cx.settings.plant_key, b.cursor.take_rest());
        }
        _ => {}
    }
    Ok(())
}

/// Nothing may follow the points, except what fills up an odd number of bits.
fn ended(b: &Body<'_>) -> Result<(), Cut> {
    b.cursor.check(b.cursor.remaining() <= usize::from(b.ascii), "device_points")
}

/// Sends samples: one name is used again for all of a message.
struct Measure<'a, 'b> {
    cx: &'a mut Cx<'b>,
    side: Side,
    source: String,
    name: String,
}

impl<'a, 'b> Measure<'a, 'b> {
    fn new(cx: &'a mut Cx<'b>, side: Side) -> Self {
        let end = cx.flow.end(side);
        let source = format!("melsec {}:{}", end.address, end.port);
        Measure { cx, side, source, name: String::new() }
    }

    fn value(&mut self, place: &Place, index: u16, value: f64) {
        self.name.clear();
        place.name(index, &mut self.name);
        self.cx.measured(self.side, &self.name, &self.source, value, 0);
    }
}

fn point(draft: &mut Draft, place: Place) {
    separate(&mut draft.target);
    place.name(0, &mut draft.target);
}

fn separate(out: &mut String) {
    if !out.is_empty() {
        out.push(',');
    }
}
