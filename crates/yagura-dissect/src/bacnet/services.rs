//! What services say (clauses 13 to 17): objects, properties and values, devices, files, alarms.

use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use yagura_event::rows::IdentityRow;

use super::names;
use super::values::{
    Kind, Tag, application, application_number, application_object, closing, context, context_object, date,
    inside, list, number, object, opening, optional, required, tag, text, time,
};
use crate::cursor::{Cursor, Cut};
use crate::exchange::Draft;
use crate::{Cx, Side, json};

/// Longest list of what a message is about.
const TARGET_BYTES_MAX: usize = 1024;
/// Most devices of one connection whose facts are kept.
const DEVICES_MAX: usize = 16;
/// The type of the object that stands for a device.
const DEVICE: u32 = 8;
/// The present-value property.
const PRESENT_VALUE: u32 = 85;
/// The status-flags property.
const STATUS_FLAGS: u32 = 111;
/// Properties of a device that say what it is: vendor, model, firmware, software, serial number,
/// name, description, location.
const FACTS: [u32; 8] = [121, 70, 44, 12, 372, 77, 28, 58];

/// What is kept of a connection's devices.
#[derive(Default)]
pub(super) struct Services {
    devices: Vec<Device>,
    scratch: String,
    source: String,
}

/// What a device said of itself.
#[derive(Default)]
struct Device {
    at: Option<Side>,
    station: String,
    instance: Option<u32>,
    vendor: Option<u32>,
    facts: [String; FACTS.len()],
}

/// The class and the code of an Error-PDU; some services wrap them (clause 21).
pub(super) fn error(cursor: &mut Cursor<'_>) -> Result<(u32, u32), Cut> {
    opening(cursor, 0)?;
    let class = application_number(cursor, 9, "error_class")?;
    Ok((class, application_number(cursor, 9, "error_code")?))
}

/// A value that is measured, until its status flags are read.
#[derive(Default)]
struct Measured {
    value: Option<f64>,
    quality: u8,
}

impl Measured {
    fn note(&mut self, property: u32, content: Cursor<'_>) {
        let mut cursor = content;
        let Ok(tag) = tag(&mut cursor) else { return };
        match (property, tag.kind) {
            (PRESENT_VALUE, _) if cursor.is_empty() => self.value = number(&tag),
            // In alarm, fault, overridden, out of service (clause 12, status-flags).
            (STATUS_FLAGS, Kind::Application(&[_, flags, ..], _)) if flags & 0x40 != 0 => self.quality = 2,
            (STATUS_FLAGS, Kind::Application(&[_, flags, ..], _)) if flags & 0x30 != 0 => self.quality = 1,
            _ => {}
        }
    }
}

impl Services {
    /// Reads a confirmed request that `side` sends.
    pub fn request(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        draft: &mut Draft,
        choice: u8,
        mut cursor: Cursor<'_>,
    ) -> Result<(), Cut> {
        let cursor = &mut cursor;
        match choice {
            0 => {
                member(draft, "process", required(cursor, 0, "process")?);
                object(&mut draft.target, context_object(cursor, 1)?);
                let state = required(cursor, 2, "event_state")?;
                json::member_text(&mut draft.detail, "acknowledged", &names::event_state(state));
                inside(cursor, 3, "time_stamp")?;
                if let Some(source) = context(cursor, 4)? {
                    json::member_text(&mut draft.detail, "by", &text(source));
                }
            }
            1 => self.change(cx, side, draft, cursor)?,
            2 => event(draft, cursor)?,
            5 | 28 => subscription(draft, choice, cursor)?,
            6 | 7 => file_request(cx, draft, choice, cursor)?,
            8 | 9 => {
                referred(draft, cursor)?;
                let elements = inside(cursor, 3, "elements")?;
                self.plain(draft, elements)?;
            }
            10 => {
                let mut what = inside(cursor, 0, "object_specifier")?;
                match optional(&mut what, 0)? {
                    Some(kind) => draft.target.push_str(&names::object_type(kind)),
                    None => object(&mut draft.target, context_object(&mut what, 1)?),
                }
            }
            11 => object(&mut draft.target, application_object(cursor)?),
            12 => {
                referred(draft, cursor)?;
            }
            14 => {
                while !cursor.is_empty() {
                    let about = context_object(cursor, 0)?;
                    let mut properties = inside(cursor, 1, "properties")?;
                    while !properties.is_empty() {
                        let property = required(&mut properties, 0, "property")?;
                        refer(draft, about, property, optional(&mut properties, 1)?);
                    }
                }
            }
            15 => {
                referred(draft, cursor)?;
                let content = inside(cursor, 3, "property_value")?;
                self.plain(draft, content)?;
                if let Some(priority) = optional(cursor, 4)? {
                    member(draft, "write_priority", priority);
                }
            }
            16 => {
                while !cursor.is_empty() {
                    let about = context_object(cursor, 0)?;
                    let mut properties = inside(cursor, 1, "properties")?;
                    while !properties.is_empty() {
                        let property = required(&mut properties, 0, "property")?;
                        refer(draft, about, property, optional(&mut properties, 1)?);
                        let content = inside(&mut properties, 2, "property_value")?;
                        self.several(draft, content)?;
                        optional(&mut properties, 3)?;
                    }
                }
            }
            17 => {
                if let Some(minutes) = optional(cursor, 0)? {
                    member(draft, "minutes", minutes);
                }
                draft.target.push_str(&names::communication(required(cursor, 1, "enable_disable")?));
                password(draft, context(cursor, 2)?);
            }
            20 => {
                draft.target.push_str(&names::reinitialize(required(cursor, 0, "state")?));
                password(draft, context(cursor, 1)?);
            }
            18 => private(draft, cursor)?,
            19 => message(draft, cursor)?,
            26 => {
                referred(draft, cursor)?;
            }
            27 => {
                member(draft, "process", required(cursor, 0, "process")?);
                if let Some(source) = context(cursor, 1)? {
                    json::member_text(&mut draft.detail, "by", &text(source));
                }
                member(draft, "request", required(cursor, 2, "request")?);
                if !cursor.is_empty() {
                    object(&mut draft.target, context_object(cursor, 3)?);
                }
            }
            29 if !cursor.is_empty() => object(&mut draft.target, context_object(cursor, 0)?),
            _ => {}
        }
        Ok(())
    }

    /// Reads what `side` acknowledges with.
    pub fn acknowledged(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        draft: &mut Draft,
        choice: u8,
        mut cursor: Cursor<'_>,
    ) -> Result<(), Cut> {
        let cursor = &mut cursor;
        match choice {
            3 => {
                while !cursor.is_empty() {
                    let about = application_object(cursor)?;
                    let state = application_number(cursor, 9, "alarm_state")?;
                    application(cursor, 8, "acknowledged_transitions")?;
                    self.state(draft, about, state);
                }
            }
            6 => {
                let Tag { kind: Kind::Application(_, end), number: 1 } = tag(cursor)? else {
                    return Err(cursor.cut("end_of_file"));
                };
                json::member_bool(&mut draft.detail, "end_of_file", end);
                file_data(cx, draft, cursor)?;
            }
            10 => {
                draft.target.clear();
                object(&mut draft.target, application_object(cursor)?);
            }
            12 => {
                draft.target.clear();
                let (about, property, index) = referred(draft, cursor)?;
                let content = inside(cursor, 3, "property_value")?;
                self.plain(draft, content)?;
                if index.is_none() {
                    let mut measured = Measured::default();
                    measured.note(property, content);
                    self.measured(cx, side, draft, about, &measured);
                    if self.learn(side, &draft.session, about, property, content) {
                        self.identity(cx, side, &draft.session);
                    }
                }
            }
            14 => self.read_multiple(cx, side, draft, cursor)?,
            26 => {
                draft.target.clear();
                referred(draft, cursor)?;
                context(cursor, 3)?;
                let items = required(cursor, 4, "item_count")?;
                let content = inside(cursor, 5, "item_data")?;
                self.plain(draft, content)?;
                member(draft, "items", items);
            }
            29 => {
                let mut events = inside(cursor, 0, "events")?;
                while !events.is_empty() {
                    let about = context_object(&mut events, 0)?;
                    let state = required(&mut events, 1, "event_state")?;
                    context(&mut events, 2)?;
                    inside(&mut events, 3, "time_stamps")?;
                    context(&mut events, 4)?;
                    context(&mut events, 5)?;
                    inside(&mut events, 6, "priorities")?;
                    self.state(draft, about, state);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// Reads an unconfirmed request that `side` sends.
    pub fn unconfirmed(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        draft: &mut Draft,
        choice: u8,
        mut cursor: Cursor<'_>,
    ) -> Result<(), Cut> {
        let cursor = &mut cursor;
        match choice {
            0 => {
                let device = application_object(cursor)?;
                object(&mut draft.target, device);
                member(draft, "max_apdu", application_number(cursor, 2, "max_apdu")?);
                let segmentation = application_number(cursor, 9, "segmentation")?;
                json::member_text(&mut draft.detail, "segmentation", &names::segmentation(segmentation));
                let vendor = application_number(cursor, 2, "vendor")?;
                member(draft, "vendor_id", vendor);
                let known = self.device(side, &draft.session);
                let now = (Some(device & 0x3f_ffff), Some(vendor));
                if (known.instance, known.vendor) != now {
                    (known.instance, known.vendor) = now;
                    self.identity(cx, side, &draft.session);
                }
            }
            1 => {
                let device = application_object(cursor)?;
                let about = application_object(cursor)?;
                object(&mut draft.target, about);
                json::key(&mut draft.detail, "device");
                draft.detail.push('"');
                object(&mut draft.detail, device);
                draft.detail.push('"');
                draft.push_text(&text(application(cursor, 7, "object_name")?));
            }
            2 => self.change(cx, side, draft, cursor)?,
            3 => event(draft, cursor)?,
            4 => private(draft, cursor)?,
            5 => message(draft, cursor)?,
            6 | 9 => {
                let day = application(cursor, 10, "date")?;
                let moment = application(cursor, 11, "time")?;
                let (&[year, month, day, _], &[hour, minute, second, hundredth]) = (day, moment) else {
                    return Err(cursor.cut("date"));
                };
                self.scratch.clear();
                date(&mut self.scratch, year, month, day);
                self.scratch.push(' ');
                time(&mut self.scratch, [hour, minute, second, hundredth]);
                draft.push_text(&self.scratch);
            }
            7 | 8 => {
                let low = optional(cursor, 0)?;
                let high = optional(cursor, 1)?;
                let range = low.zip(high).map(|(low, high)| format!("{low}..{high}"));
                if choice == 8 {
                    draft.target.push_str(range.as_deref().unwrap_or("*"));
                    return Ok(());
                }
                if let Some(range) = range {
                    json::member_text(&mut draft.detail, "devices", &range);
                }
                match context(cursor, 3)? {
                    Some(name) => draft.target.push_str(&text(name)),
                    None => object(&mut draft.target, context_object(cursor, 2)?),
                }
            }
            10 => {
                let group = required(cursor, 0, "group")?;
                let _ = write!(draft.target, "group {group}");
                member(draft, "write_priority", required(cursor, 1, "write_priority")?);
                let changes = inside(cursor, 2, "changes")?;
                self.plain(draft, changes)?;
            }
            _ => {}
        }
        Ok(())
    }

    /// A change of value (clause 13.1).
    fn change(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        draft: &mut Draft,
        cursor: &mut Cursor<'_>,
    ) -> Result<(), Cut> {
        member(draft, "process", required(cursor, 0, "process")?);
        member(draft, "device", context_object(cursor, 1)? & 0x3f_ffff);
        let about = context_object(cursor, 2)?;
        member(draft, "time_remaining", required(cursor, 3, "time_remaining")?);
        let mut properties = inside(cursor, 4, "values")?;
        let mut measured = Measured::default();
        while !properties.is_empty() {
            let property = required(&mut properties, 0, "property")?;
            refer(draft, about, property, optional(&mut properties, 1)?);
            let content = inside(&mut properties, 2, "property_value")?;
            self.several(draft, content)?;
            measured.note(property, content);
            optional(&mut properties, 3)?;
        }
        self.measured(cx, side, draft, about, &measured);
        Ok(())
    }

    fn read_multiple(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        draft: &mut Draft,
        cursor: &mut Cursor<'_>,
    ) -> Result<(), Cut> {
        draft.target.clear();
        let (mut errors, mut learned) = (0, false);
        while !cursor.is_empty() {
            let about = context_object(cursor, 0)?;
            let mut results = inside(cursor, 1, "results")?;
            let mut measured = Measured::default();
            while !results.is_empty() {
                let property = required(&mut results, 2, "property")?;
                let index = optional(&mut results, 3)?;
                refer(draft, about, property, index);
                if opening(&mut results, 5)? {
                    let (class, code) = error(&mut results)?;
                    let closed = closing(&mut results, 5)?;
                    results.check(closed, "property_error")?;
                    errors += 1;
                    self.scratch.clear();
                    json::member_text(&mut self.scratch, "error", &names::error(code));
                    json::member_text(&mut self.scratch, "class", &names::error_class(class));
                    json::end(&mut self.scratch);
                    draft.push_json(&self.scratch);
                    continue;
                }
                let content = inside(&mut results, 4, "property_value")?;
                self.several(draft, content)?;
                if index.is_none() {
                    measured.note(property, content);
                    learned |= self.learn(side, &draft.session, about, property, content);
                }
            }
            self.measured(cx, side, draft, about, &measured);
        }
        if errors > 0 {
            member(draft, "errors", errors);
        }
        if learned {
            self.identity(cx, side, &draft.session);
        }
        Ok(())
    }

    /// Every value as one of the message's.
    fn plain(&mut self, draft: &mut Draft, mut cursor: Cursor<'_>) -> Result<(), Cut> {
        while !cursor.is_empty() {
            let (begin, at) = (cursor.rest(), cursor.at());
            let mut ahead = cursor;
            let tag = tag(&mut ahead)?;
            if tag.kind == Kind::Opening {
                inside(&mut cursor, tag.number, "value")?;
            } else {
                cursor = ahead;
            }
            self.value(draft, Cursor::new(&begin[..cursor.at() - at]), false)?;
        }
        Ok(())
    }

    /// All values together as one of the message's.
    fn several(&mut self, draft: &mut Draft, content: Cursor<'_>) -> Result<(), Cut> {
        self.value(draft, content, true)
    }

    fn value(&mut self, draft: &mut Draft, content: Cursor<'_>, together: bool) -> Result<(), Cut> {
        let mut cursor = content;
        if !cursor.is_empty() {
            let tag = tag(&mut cursor)?;
            if let (Some(number), true) = (number(&tag), cursor.is_empty()) {
                draft.push_value(number);
                return Ok(());
            }
        }
        self.scratch.clear();
        self.scratch.push('[');
        let count = list(&mut self.scratch, content)?;
        if together && count != 1 {
            self.scratch.push(']');
            draft.push_json(&self.scratch);
        } else {
            draft.push_json(&self.scratch[1..]);
        }
        Ok(())
    }

    /// An object in an alarm state.
    fn state(&mut self, draft: &mut Draft, about: u32, state: u32) {
        self.scratch.clear();
        object(&mut self.scratch, about);
        let _ = write!(self.scratch, " {}", names::event_state(state));
        draft.push_text(&self.scratch);
    }

    fn measured(&mut self, cx: &mut Cx<'_>, side: Side, draft: &Draft, about: u32, measured: &Measured) {
        let Some(value) = measured.value else { return };
        self.scratch.clear();
        object(&mut self.scratch, about);
        self.scratch.push_str(" present-value");
        self.source.clear();
        let end = cx.flow.end(side);
        let _ = write!(self.source, "bacnet {}:{}", end.address, end.port);
        if !draft.session.is_empty() {
            let _ = write!(self.source, "/{}", draft.session);
        }
        cx.measured(side, &self.scratch, &self.source, value, measured.quality);
    }

    fn device(&mut self, side: Side, station: &str) -> &mut Device {
        let at = self.devices.iter().position(|d| d.at == Some(side) && d.station == station);
        let at = at.unwrap_or_else(|| {
            if self.devices.len() == DEVICES_MAX {
                self.devices.remove(0);
            }
            let station = station.to_string();
            self.devices.push(Device { at: Some(side), station, ..Device::default() });
            self.devices.len() - 1
        });
        &mut self.devices[at]
    }

    /// Keeps what a device object's property says; whether that is new.
    fn learn(&mut self, side: Side, station: &str, about: u32, property: u32, content: Cursor<'_>) -> bool {
        let fact = FACTS.iter().position(|f| *f == property);
        if about >> 22 != DEVICE || (fact.is_none() && property != 120) {
            return false;
        }
        let mut cursor = content;
        let Ok(tag) = tag(&mut cursor) else { return false };
        let device = self.device(side, station);
        let instance = Some(about & 0x3f_ffff);
        let mut new = device.instance != instance;
        device.instance = instance;
        match (fact, tag) {
            (Some(fact), Tag { number: 7, kind: Kind::Application(content, _) }) => {
                let said = text(content);
                new |= device.facts[fact] != said;
                device.facts[fact] = said;
            }
            (None, _) => {
                let vendor = number(&tag).map(|n| n as u32);
                new |= device.vendor != vendor;
                device.vendor = vendor;
            }
            _ => {}
        }
        new
    }

    fn identity(&mut self, cx: &mut Cx<'_>, side: Side, station: &str) {
        let device = self.device(side, station);
        let [vendor, model, firmware, software, serial, name, description, location] = &device.facts;
        let mut detail = String::new();
        let instance = device.instance.map_or(String::new(), |i| format!("device:{i}"));
        let texts = [
            ("device", &instance),
            ("station", &device.station),
            ("software", software),
            ("description", description),
            ("location", location),
        ];
        for (key, said) in texts {
            if !said.is_empty() {
                json::member_text(&mut detail, key, said);
            }
        }
        if let Some(vendor) = device.vendor {
            json::member_number(&mut detail, "vendor_id", u64::from(vendor));
        }
        json::end(&mut detail);
        let by_number = device.vendor.map_or("", names::vendor);
        let row = IdentityRow {
            vendor: if vendor.is_empty() { by_number } else { vendor },
            model,
            firmware: if firmware.is_empty() { software } else { firmware },
            serial,
            name: if name.is_empty() { &instance } else { name },
            detail: &detail,
            ..IdentityRow::default()
        };
        cx.identity(super::PROTOCOL.name, side, row);
    }
}

fn member(draft: &mut Draft, name: &str, n: u32) {
    json::member_number(&mut draft.detail, name, u64::from(n));
}

/// Adds an object's property to what a message is about.
fn refer(draft: &mut Draft, about: u32, property: u32, index: Option<u32>) {
    if draft.target.len() >= TARGET_BYTES_MAX {
        return;
    }
    if !draft.target.is_empty() {
        draft.target.push_str(", ");
    }
    object(&mut draft.target, about);
    let _ = write!(draft.target, " {}", names::property(property));
    if let Some(index) = index {
        let _ = write!(draft.target, "[{index}]");
    }
}

/// Object, property and index in the context tags 0 to 2.
fn referred(draft: &mut Draft, cursor: &mut Cursor<'_>) -> Result<(u32, u32, Option<u32>), Cut> {
    let about = context_object(cursor, 0)?;
    let property = required(cursor, 1, "property")?;
    let index = optional(cursor, 2)?;
    refer(draft, about, property, index);
    Ok((about, property, index))
}

/// Says whether a password is presented, never which.
fn password(draft: &mut Draft, presented: Option<&[u8]>) {
    let how = match presented {
        None => "absent",
        // The character set alone.
        Some([] | [_]) => "empty",
        Some(_) => "presented",
    };
    json::member_text(&mut draft.detail, "password", how);
}

/// An event notification (clause 13.8).
fn event(draft: &mut Draft, cursor: &mut Cursor<'_>) -> Result<(), Cut> {
    member(draft, "process", required(cursor, 0, "process")?);
    member(draft, "device", context_object(cursor, 1)? & 0x3f_ffff);
    object(&mut draft.target, context_object(cursor, 2)?);
    inside(cursor, 3, "time_stamp")?;
    member(draft, "notification_class", required(cursor, 4, "notification_class")?);
    member(draft, "event_priority", required(cursor, 5, "event_priority")?);
    let kind = required(cursor, 6, "event_type")?;
    json::member_text(&mut draft.detail, "event_type", &names::event_type(kind));
    if let Some(words) = context(cursor, 7)? {
        draft.push_text(&text(words));
    }
    let notify = required(cursor, 8, "notify_type")?;
    json::member_text(&mut draft.detail, "notify_type", &names::notify_type(notify));
    if let Some(needed) = optional(cursor, 9)? {
        json::member_bool(&mut draft.detail, "ack_required", needed != 0);
    }
    if let Some(state) = optional(cursor, 10)? {
        json::member_text(&mut draft.detail, "from", &names::event_state(state));
    }
    let state = required(cursor, 11, "to_state")?;
    json::member_text(&mut draft.detail, "to", &names::event_state(state));
    Ok(())
}

/// A subscription to an object's changes (5) or to a property's (28), or its end.
fn subscription(draft: &mut Draft, choice: u8, cursor: &mut Cursor<'_>) -> Result<(), Cut> {
    member(draft, "process", required(cursor, 0, "process")?);
    let about = context_object(cursor, 1)?;
    let confirmed = optional(cursor, 2)?;
    let lifetime = optional(cursor, 3)?;
    if let Some(confirmed) = confirmed {
        json::member_bool(&mut draft.detail, "confirmed", confirmed != 0);
    }
    if let Some(seconds) = lifetime {
        member(draft, "lifetime", seconds);
    }
    if confirmed.is_none() && lifetime.is_none() {
        json::member_bool(&mut draft.detail, "cancel", true);
    }
    if choice == 5 {
        object(&mut draft.target, about);
        return Ok(());
    }
    let mut reference = inside(cursor, 4, "property_reference")?;
    let property = required(&mut reference, 0, "property")?;
    refer(draft, about, property, optional(&mut reference, 1)?);
    Ok(())
}

fn file_request(cx: &Cx<'_>, draft: &mut Draft, choice: u8, cursor: &mut Cursor<'_>) -> Result<(), Cut> {
    object(&mut draft.target, application_object(cursor)?);
    if choice == 7 {
        return file_data(cx, draft, cursor);
    }
    let records = opening(cursor, 1)?;
    if !records {
        let stream = opening(cursor, 0)?;
        cursor.check(stream, "access_method")?;
    }
    position(draft, records, cursor)?;
    member(draft, "requested", application_number(cursor, 2, "requested_count")?);
    Ok(())
}

/// Where in a file: a byte or a record.
fn position(draft: &mut Draft, records: bool, cursor: &mut Cursor<'_>) -> Result<(), Cut> {
    let start = tag(cursor)?;
    let start = number(&start).filter(|_| start.number == 3).ok_or_else(|| cursor.cut("start_position"))?;
    json::key(&mut draft.detail, if records { "start_record" } else { "start" });
    json::push_float(&mut draft.detail, start);
    Ok(())
}

/// A piece of a file: its place, its length and its HMAC under the plant's key.
fn file_data(cx: &Cx<'_>, draft: &mut Draft, cursor: &mut Cursor<'_>) -> Result<(), Cut> {
    let records = opening(cursor, 1)?;
    let mut content = if records {
        // The closing tag that follows is the same as the one of a whole construction.
        *cursor
    } else {
        inside(cursor, 0, "access_method")?
    };
    if draft.detail.contains("\"start") {
        tag(&mut content)?;
    } else {
        position(draft, records, &mut content)?;
    }
    if records {
        member(draft, "records", application_number(&mut content, 2, "record_count")?);
    }
    let key = &cx.settings.plant_key;
    let mut mac = if key.is_empty() { None } else { Hmac::<Sha256>::new_from_slice(key).ok() };
    let mut length = 0;
    while !content.is_empty() {
        let Tag { number: 6, kind: Kind::Application(octets, _) } = tag(&mut content)? else { break };
        length += octets.len() as u64;
        if let Some(mac) = &mut mac {
            mac.update(octets);
        }
    }
    draft.body_bytes = Some(length);
    if let (Some(mac), true) = (mac, length > 0) {
        json::push_hex_digits(&mut draft.body_hmac, &mac.finalize().into_bytes());
    }
    Ok(())
}

fn private(draft: &mut Draft, cursor: &mut Cursor<'_>) -> Result<(), Cut> {
    let vendor = required(cursor, 0, "vendor")?;
    let service = required(cursor, 1, "service_number")?;
    let _ = write!(draft.target, "vendor {vendor} service {service}");
    member(draft, "bytes", cursor.remaining() as u32);
    Ok(())
}

fn message(draft: &mut Draft, cursor: &mut Cursor<'_>) -> Result<(), Cut> {
    object(&mut draft.target, context_object(cursor, 0)?);
    if opening(&mut { *cursor }, 1)? {
        inside(cursor, 1, "message_class")?;
    }
    member(draft, "urgent", required(cursor, 2, "message_priority")?);
    if let Some(words) = context(cursor, 3)? {
        draft.push_text(&text(words));
    }
    Ok(())
}
