//! What commands ask for and what responses bring.

use yagura_event::rows::IdentityRow;

use super::{Asked, PROTOCOL, names, names::Place};
use crate::cursor::{Cursor, Cut};
use crate::exchange::Draft;
use crate::{Cx, Side, json};

/// Most places of one read of several, and most files of one list, that are read.
const ITEMS_MAX: usize = 256;

/// Reads the parameters of a request.
pub fn request(
    cx: &Cx<'_>,
    draft: &mut Draft,
    command: u16,
    c: &mut Cursor<'_>,
    asked: &mut Asked,
) -> Result<(), Cut> {
    match command {
        0x0101..=0x0105 => memory(draft, command, c, asked)?,
        0x0201..=0x0308 => areas(cx, draft, command, c)?,
        0x0401 => {
            program(draft, c.u16_be("program")?);
            // Without a mode the controller goes to monitor mode.
            draft.push_text(c.u8("mode").map_or("monitor", names::mode));
        }
        0x0501 if !c.is_empty() => {
            let data = c.u8("data")?;
            draft.target.push_str(if data == 0 { "controller" } else { "system" });
        }
        0x0502 if !c.is_empty() => {
            json::member_number(&mut draft.detail, "unit", u64::from(c.u8("unit")?));
        }
        0x0620 if !c.is_empty() => {
            draft.target.push_str(if c.u8("parameter")? == 0 { "initialize" } else { "read" });
        }
        0x0702 => clock(draft, c.take_rest()),
        0x0801 | 0x0803 => draft.set_count(c.remaining() as u32),
        0x0920 => json::member_number(&mut draft.detail, "parameter", u64::from(c.u16_be("parameter")?)),
        0x0c01..=0x0c03 => program(draft, c.u16_be("program")?),
        0x2101 => {
            let code = c.u16_be("fal_number")?;
            let all = format!("0x{code:04x}");
            draft.target.push_str(if code == 0xfffe { "present_error" } else { &all });
        }
        0x2102 | 0x2140 => {
            json::member_number(&mut draft.detail, "first_record", u64::from(c.u16_be("record")?));
            draft.set_count(u32::from(c.u16_be("records")?));
        }
        0x2201..=0x2215 => file(cx, draft, command, c)?,
        0x2301 => {
            for _ in 0..c.u16_be("bits")?.min(ITEMS_MAX as u16) {
                let code = c.u16_be("set_reset")?;
                let place = single_place(c)?;
                separate(&mut draft.target);
                place.name(0, &mut draft.target);
                draft.push_text(names::force(code));
            }
        }
        0x230a => {
            let place = place(c)?;
            place.range(&mut draft.target);
            asked.place = place;
        }
        0x2601 => draft.target.push_str(&text(c.take_rest())),
        _ => {}
    }
    Ok(())
}

/// Memory areas: words and bits.
fn memory(draft: &mut Draft, command: u16, c: &mut Cursor<'_>, asked: &mut Asked) -> Result<(), Cut> {
    match command {
        0x0101 | 0x0102 => {
            let place = place(c)?;
            place.range(&mut draft.target);
            draft.set_count(u32::from(place.count));
            json::member_number(&mut draft.detail, "area", u64::from(place.area));
            asked.place = place;
            if command == 0x0102 {
                draft.set_count(0);
                let data = c.take_rest();
                elements(draft, place, data, |_, _| {})?;
            }
        }
        0x0103 => {
            let place = place(c)?;
            place.range(&mut draft.target);
            json::member_number(&mut draft.detail, "area", u64::from(place.area));
            draft.push_value(f64::from(c.u16_be("fill_data")?));
        }
        0x0104 => {
            while !c.is_empty() && asked.places.len() < ITEMS_MAX {
                let place = single_place(c)?;
                separate(&mut draft.target);
                place.name(0, &mut draft.target);
                asked.places.push(place);
            }
            draft.set_count(asked.places.len() as u32);
        }
        0x0105 => {
            let (from, to) = (single_place(c)?, single_place(c)?);
            let count = c.u16_be("items")?;
            Place { count, ..to }.range(&mut draft.target);
            json::key(&mut draft.detail, "from");
            draft.detail.push('"');
            Place { count, ..from }.range(&mut draft.detail);
            draft.detail.push('"');
            draft.set_count(u32::from(count));
        }
        _ => {}
    }
    Ok(())
}

/// Parameter areas, link tables and programs.
fn areas(cx: &Cx<'_>, draft: &mut Draft, command: u16, c: &mut Cursor<'_>) -> Result<(), Cut> {
    match command {
        0x0201..=0x0203 => {
            let code = c.u16_be("parameter_area")?;
            let (first, words) = (c.u16_be("beginning_word")?, c.u16_be("words")? & 0x7fff);
            draft.target.push_str(names::parameter(code));
            json::member_number(&mut draft.detail, "parameter_area", u64::from(code));
            json::member_number(&mut draft.detail, "first_word", u64::from(first));
            draft.set_count(u32::from(words));
            if command == 0x0202 {
                draft.seal(&cx.settings.plant_key, c.take_rest());
            }
        }
        0x0220 | 0x0221 => {
            draft.target.push_str("data_link_table");
            c.skip(4, "data_link_table")?;
            let (first, words) = (c.u16_be("beginning_word")?, c.u16_be("words")? & 0x7fff);
            json::member_number(&mut draft.detail, "first_word", u64::from(first));
            draft.set_count(u32::from(words));
            if command == 0x0221 {
                draft.seal(&cx.settings.plant_key, c.take_rest());
            }
        }
        0x0304 | 0x0305 => {
            program(draft, c.u16_be("program")?);
            c.skip(1, "protect_code")?;
            let (first, last) = (c.u32_be("beginning_word")?, c.u32_be("last_word")?);
            json::member_number(&mut draft.detail, "first_word", u64::from(first));
            json::member_number(&mut draft.detail, "last_word", u64::from(last));
            let password = c.array::<4>("password")?;
            json::member_bool(&mut draft.detail, "password", true);
            let empty = password == [0; 4] || password == *b"    ";
            json::member_bool(&mut draft.detail, "password_empty", empty);
        }
        0x0306 | 0x0307 => {
            program(draft, c.u16_be("program")?);
            let first = c.u32_be("beginning_word")?;
            let bytes = c.u16_be("bytes")?;
            piece(draft, first, bytes);
            if command == 0x0307 {
                draft.seal(&cx.settings.plant_key, c.take_rest());
            }
        }
        0x0308 => {
            program(draft, c.u16_be("program")?);
            json::member_number(&mut draft.detail, "clear_code", u64::from(c.u8("clear_code")?));
        }
        _ => {}
    }
    Ok(())
}

/// File services: disk, names and places.
fn file(cx: &Cx<'_>, draft: &mut Draft, command: u16, c: &mut Cursor<'_>) -> Result<(), Cut> {
    let named = |draft: &mut Draft, c: &mut Cursor<'_>| -> Result<(), Cut> {
        separate(&mut draft.target);
        draft.target.push_str(&text(c.take(12, "file_name")?));
        Ok(())
    };
    match command {
        // A place in the memory before the disk and the file.
        0x220a => {
            json::member_number(&mut draft.detail, "parameter", u64::from(c.u16_be("parameter")?));
            let place = place(c)?;
            json::key(&mut draft.detail, "memory");
            draft.detail.push('"');
            place.range(&mut draft.detail);
            draft.detail.push('"');
        }
        0x220b => {
            json::member_number(&mut draft.detail, "parameter", u64::from(c.u16_be("parameter")?));
            json::member_text(&mut draft.detail, "memory", names::parameter(c.u16_be("parameter_area")?));
            c.skip(4, "words")?;
        }
        0x220c => {
            json::member_number(&mut draft.detail, "parameter", u64::from(c.u16_be("parameter")?));
            json::member_number(&mut draft.detail, "program", u64::from(c.u16_be("program")?));
            c.skip(8, "words")?;
        }
        0x220f | 0x2210 => {
            let block = c.u16_be("block")?;
            draft.target.push_str("block ");
            json::push_number(&mut draft.target, u64::from(block));
            if let Ok(blocks) = c.u8("blocks") {
                draft.set_count(u32::from(blocks));
            }
            return Ok(());
        }
        0x2211 => {
            c.skip(2, "data_type")?;
            draft.target.push_str("block ");
            json::push_number(&mut draft.target, u64::from(c.u16_be("block")?));
            draft.seal(&cx.settings.plant_key, c.take_rest());
            return Ok(());
        }
        _ => {}
    }
    json::member_number(&mut draft.detail, "disk", u64::from(c.u16_be("disk")?));
    match command {
        0x2201 => {
            json::member_number(&mut draft.detail, "first_file", u64::from(c.u16_be("file")?));
            draft.set_count(u32::from(c.u16_be("files")?));
        }
        0x2202 => {
            named(draft, c)?;
            let position = c.u32_be("position")?;
            piece(draft, position, c.u16_be("bytes")?);
        }
        0x2203 => {
            json::member_number(&mut draft.detail, "parameter", u64::from(c.u16_be("parameter")?));
            named(draft, c)?;
            let position = c.u32_be("position")?;
            let bytes = c.u16_be("bytes")?;
            piece(draft, position, bytes);
            draft.seal(&cx.settings.plant_key, c.take_rest());
        }
        0x2205 => {
            for _ in 0..c.u16_be("files")?.min(ITEMS_MAX as u16) {
                named(draft, c)?;
            }
        }
        0x2206 => {
            json::member_number(&mut draft.detail, "parameter", u64::from(c.u16_be("parameter")?));
            named(draft, c)?;
        }
        0x2207 => {
            named(draft, c)?;
            json::member_number(&mut draft.detail, "to_disk", u64::from(c.u16_be("disk")?));
            named(draft, c)?;
        }
        0x2208 => {
            named(draft, c)?;
            named(draft, c)?;
        }
        0x2209..=0x220c => named(draft, c)?,
        _ => {}
    }
    Ok(())
}

/// Reads the data of a response that says that all is well.
pub fn response(
    cx: &mut Cx<'_>,
    side: Side,
    draft: &mut Draft,
    c: &mut Cursor<'_>,
    asked: &Asked,
    identity: &mut String,
) -> Result<(), Cut> {
    match asked.command {
        0x0101 | 0x230a => {
            let data = c.take_rest();
            if asked.place.count == 0 {
                // Without its request the place is not known.
                if !data.is_empty() {
                    draft.push_bytes(data);
                }
                return Ok(());
            }
            let mut measure = Measure::new(cx, side);
            let read = asked.command == 0x0101;
            draft.set_count(0);
            elements(draft, asked.place, data, |index, value| {
                if read {
                    measure.value(asked.place, index, value);
                }
            })?;
        }
        0x0104 => {
            draft.set_count(0);
            let mut measure = Measure::new(cx, side);
            let mut at = 0;
            while !c.is_empty() && at < ITEMS_MAX {
                let area = c.u8("area")?;
                let Some(element) = (Place { area, ..Place::default() }).element() else {
                    return Err(c.cut("area"));
                };
                let value = element.value(c.take(element.bytes(), "element")?);
                draft.push_value(value);
                if let Some(place) = asked.places.get(at).filter(|p| p.area == area) {
                    measure.value(*place, 0, value);
                }
                at += 1;
            }
        }
        0x0306 => {
            let program_number = c.u16_be("program")?;
            let first = c.u32_be("beginning_word")?;
            let bytes = c.u16_be("bytes")?;
            if draft.target.is_empty() {
                program(draft, program_number);
                piece(draft, first, bytes);
            }
            draft.seal(&cx.settings.plant_key, c.take_rest());
        }
        0x0501 => controller(cx, side, draft, c, identity)?,
        0x0601 => status(draft, c)?,
        0x0620 => {
            while let Ok(tenths) = c.u32_be("cycle_time") {
                draft.push_value(f64::from(tenths) / 10.0);
            }
        }
        0x0701 => clock(draft, c.take_rest()),
        0x0c01 if !c.is_empty() => {
            json::member_bool(&mut draft.detail, "held_by_another", true);
        }
        0x0201 | 0x0220 | 0x2210 => draft.seal(&cx.settings.plant_key, c.take_rest()),
        0x2201 => {
            c.skip(26, "disk_data")?;
            let count = c.u16_be("files")? & 0x7fff;
            for _ in 0..usize::from(count).min(ITEMS_MAX) {
                let name = text(c.take(12, "file_name")?);
                c.skip(8, "file")?;
                draft.push_text(&name);
            }
        }
        0x2202 => {
            json::member_number(&mut draft.detail, "capacity", u64::from(c.u32_be("capacity")?));
            c.skip(6, "position")?;
            draft.seal(&cx.settings.plant_key, c.take_rest());
        }
        0x2603 => draft.target.push_str(&text(c.take_rest())),
        _ => {}
    }
    Ok(())
}

/// Controller data: model, versions, and what it has.
fn controller(
    cx: &mut Cx<'_>,
    side: Side,
    draft: &mut Draft,
    c: &mut Cursor<'_>,
    identity: &mut String,
) -> Result<(), Cut> {
    let start = c.at();
    let (model, version) = (text(c.take(20, "model")?), text(c.take(20, "version")?));
    draft.push_text(&model);
    json::member_text(&mut draft.detail, "version", &version);
    // A parameter asks for one half of the data only.
    let mut detail = String::new();
    if c.remaining() >= 40 + 12 {
        c.skip(40, "system")?;
        json::member_number(&mut detail, "program_kilowords", u64::from(c.u16_be("program_size")?));
        c.skip(1, "iom_size")?;
        json::member_number(&mut detail, "dm_words", u64::from(c.u16_be("dm_words")?));
    }
    json::end(&mut detail);
    if c.at() > start && *identity != model {
        identity.clear();
        identity.push_str(&model);
        // The unit's version first, then that of what is inside.
        let row = IdentityRow {
            vendor: "Omron",
            model: &model,
            firmware: version.split(' ').next().unwrap_or_default(),
            detail: &detail,
            ..IdentityRow::default()
        };
        cx.identity(PROTOCOL.name, side, row);
    }
    Ok(())
}

fn status(draft: &mut Draft, c: &mut Cursor<'_>) -> Result<(), Cut> {
    let (state, mode) = (c.u8("status")?, c.u8("mode")?);
    draft.push_text(match state & 0x7f {
        0 if state & 0x80 != 0 => "standby",
        0 => "stop",
        _ => "run",
    });
    json::member_text(&mut draft.detail, "mode", names::mode(mode));
    for name in ["fatal_errors", "non_fatal_errors", "messages", "error_code"] {
        json::member_number(&mut draft.detail, name, u64::from(c.u16_be(name)?));
    }
    if !c.is_empty() {
        json::member_text(&mut draft.detail, "error_message", &text(c.take_rest()));
    }
    Ok(())
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
        let source = format!("fins {}:{}", end.address, end.port);
        Measure { cx, side, source, name: String::new() }
    }

    fn value(&mut self, place: Place, index: u16, value: f64) {
        self.name.clear();
        place.name(index, &mut self.name);
        self.cx.measured(self.side, &self.name, &self.source, value, 0);
    }
}

/// The values of a stretch of memory; as many bytes as it says must be there.
fn elements(draft: &mut Draft, place: Place, data: &[u8], mut each: impl FnMut(u16, f64)) -> Result<(), Cut> {
    let Some(element) = place.element() else {
        if !data.is_empty() {
            draft.push_bytes(data);
        }
        return Ok(());
    };
    let size = element.bytes();
    for (index, bytes) in (0..place.count).zip(data.chunks_exact(size)) {
        let value = element.value(bytes);
        draft.push_value(value);
        each(index, value);
    }
    if data.len() == usize::from(place.count) * size {
        Ok(())
    } else {
        Err(Cut { what: "element_count", at: data.len() })
    }
}

/// Area, address and number of elements.
fn place(c: &mut Cursor<'_>) -> Result<Place, Cut> {
    let place = single_place(c)?;
    Ok(Place { count: c.u16_be("items")?, ..place })
}

/// Area and address.
fn single_place(c: &mut Cursor<'_>) -> Result<Place, Cut> {
    let area = c.u8("area")?;
    Ok(Place { area, word: c.u16_be("address")?, bit: c.u8("bit")?, count: 1 })
}

fn program(draft: &mut Draft, number: u16) {
    draft.target.push_str("program ");
    json::push_number(&mut draft.target, u64::from(number));
}

/// Which piece of a program or file: the highest bit marks the last one.
fn piece(draft: &mut Draft, first: u32, bytes: u16) {
    json::member_number(&mut draft.detail, "first", u64::from(first));
    json::member_number(&mut draft.detail, "bytes", u64::from(bytes & 0x7fff));
    json::member_bool(&mut draft.detail, "last", bytes & 0x8000 != 0);
}

/// Year to minute, perhaps second and day of the week, in binary-coded decimals.
fn clock(draft: &mut Draft, bytes: &[u8]) {
    let mut out = String::new();
    for (byte, between) in bytes.iter().take(6).zip(["", "-", "-", " ", ":", ":"]) {
        out.push_str(between);
        json::push_hex_digits(&mut out, &[*byte]);
    }
    if !out.is_empty() {
        draft.push_text(&out);
    }
}

fn separate(out: &mut String) {
    if !out.is_empty() {
        out.push(',');
    }
}

/// A text that is filled up with zeros or spaces.
fn text(bytes: &[u8]) -> String {
    let parts = bytes.split(|&b| b == 0).map(|part| String::from_utf8_lossy(part).trim().to_string());
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(" ")
}
