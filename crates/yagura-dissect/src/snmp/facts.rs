//! What a device says of itself in variables of the usual modules.

use std::fmt::Write;

use yagura_event::rows::IdentityRow;

use super::message::Value;
use super::names;
use crate::{Cx, Side, asn1, json};

/// Longest text of a fact, in bytes.
const TEXT_BYTES_MAX: usize = 512;
/// Enterprises have their identifiers below this.
const ENTERPRISES: &str = "1.3.6.1.4.1.";
/// Longest engine identifier (RFC 3411, 5).
const ENGINE_BYTES_MAX: usize = 32;

/// What one end said of itself so far.
#[derive(Debug, Default)]
pub struct Facts {
    description: String,
    object: String,
    name: String,
    location: String,
    contact: String,
    vendor: String,
    model: String,
    firmware: String,
    serial: String,
    engine: Vec<u8>,
    changed: bool,
}

/// Octets as text, if they are one: UTF-8 without control characters but line ends and tabs.
/// Zeros at the end are padding.
pub fn text(bytes: &[u8]) -> Option<&str> {
    let end = bytes.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
    if end == 0 && !bytes.is_empty() {
        return None;
    }
    let text = std::str::from_utf8(&bytes[..end]).ok()?;
    text.chars().all(|c| !c.is_control() || matches!(c, '\r' | '\n' | '\t')).then_some(text)
}

impl Facts {
    /// Keeps a variable if it is one of those that say what a device is.
    pub fn variable(&mut self, name: &str, value: &Value<'_>) {
        let Some(within) = name.strip_prefix("1.3.6.1.2.1.") else { return };
        if within == "1.2.0" {
            if let Value::Name(identifier) = value {
                let mut object = String::new();
                asn1::push_oid(&mut object, identifier);
                self.set(|facts| &mut facts.object, &object);
            }
            return;
        }
        let Value::Octets(bytes) = value else { return };
        let Some(text) = text(bytes).map(str::trim).filter(|text| !text.is_empty()) else { return };
        let place: fn(&mut Facts) -> &mut String = match within {
            "1.1.0" => |facts| &mut facts.description,
            "1.4.0" => |facts| &mut facts.contact,
            "1.5.0" => |facts| &mut facts.name,
            "1.6.0" => |facts| &mut facts.location,
            "33.1.1.1.0" => |facts| &mut facts.vendor,
            "33.1.1.2.0" => |facts| &mut facts.model,
            "33.1.1.3.0" => |facts| &mut facts.firmware,
            "43.5.1.1.17.1" => |facts| &mut facts.serial,
            // The first physical entity is as a rule the device, those below are its parts.
            "47.1.1.1.1.9.1" | "47.1.1.1.1.10.1" => |facts| &mut facts.firmware,
            "47.1.1.1.1.11.1" => |facts| &mut facts.serial,
            "47.1.1.1.1.12.1" => |facts| &mut facts.vendor,
            "47.1.1.1.1.13.1" => |facts| &mut facts.model,
            _ => return,
        };
        self.set(place, text);
    }

    /// The engine behind messages of version 3, whose identifier says its maker and often its
    /// address (RFC 3411, 5).
    pub fn engine(&mut self, engine: &[u8]) {
        if !engine.is_empty() && engine.len() <= ENGINE_BYTES_MAX && self.engine != engine {
            self.engine = engine.to_vec();
            self.changed = true;
        }
    }

    fn set(&mut self, place: fn(&mut Facts) -> &mut String, text: &str) {
        let end = text.floor_char_boundary(TEXT_BYTES_MAX);
        let place = place(self);
        if *place != text[..end] {
            text[..end].clone_into(place);
            self.changed = true;
        }
    }

    /// Writes the facts when there are new ones.
    pub fn say(&mut self, cx: &mut Cx<'_>, side: Side) {
        if !std::mem::take(&mut self.changed) {
            return;
        }
        let mut detail = String::new();
        for (name, text) in [
            ("description", &self.description),
            ("object_id", &self.object),
            ("location", &self.location),
            ("contact", &self.contact),
        ] {
            if !text.is_empty() {
                json::member_text(&mut detail, name, text);
            }
        }
        if !self.engine.is_empty() {
            let mut shown = String::new();
            json::push_hex_digits(&mut shown, &self.engine);
            json::member_text(&mut detail, "engine_id", &shown);
            if let [_, _, _, _, form, rest @ ..] = &*self.engine
                && let Some((name, address)) = engine_address(*form, rest)
            {
                json::member_text(&mut detail, name, &address);
            }
        }
        json::end(&mut detail);
        let object = self.object.strip_prefix(ENTERPRISES).and_then(|rest| rest.split('.').next());
        let numbers = [object.and_then(|number| number.parse().ok()), engine_enterprise(&self.engine)];
        let vendor = numbers.into_iter().flatten().find_map(names::enterprise);
        let vendor = if self.vendor.is_empty() { vendor.unwrap_or("") } else { &self.vendor };
        let firmware = if self.firmware.is_empty() { version_in(&self.description) } else { &self.firmware };
        cx.identity(
            super::NAME,
            side,
            IdentityRow {
                vendor,
                model: &self.model,
                firmware,
                serial: &self.serial,
                name: &self.name,
                detail: &detail,
                ..IdentityRow::default()
            },
        );
    }
}

/// The maker's number, where the identifier has the form of RFC 3411.
fn engine_enterprise(engine: &[u8]) -> Option<u64> {
    match *engine {
        [a, b, c, d, ..] if a & 0x80 != 0 => Some(u64::from(u32::from_be_bytes([a & 0x7f, b, c, d]))),
        _ => None,
    }
}

/// The address in an engine's identifier, and what it is.
fn engine_address(form: u8, rest: &[u8]) -> Option<(&'static str, String)> {
    match (form, rest) {
        (1, [a, b, c, d]) => Some(("engine_address", format!("{a}.{b}.{c}.{d}"))),
        (3, [first, rest @ ..]) if rest.len() == 5 => {
            let mut mac = format!("{first:02x}");
            for octet in rest {
                let _ = write!(mac, ":{octet:02x}");
            }
            Some(("mac", mac))
        }
        (4, name) => text(name).map(|name| ("engine_name", name.to_string())),
        _ => None,
    }
}

/// The version of the software in a description: what follows the word.
fn version_in(description: &str) -> &str {
    for word in ["FW: Version ", "Firmware Version: ", "Firmware Version ", "Version ", "version "] {
        if let Some((_, after)) = description.split_once(word) {
            let end = after.find(|c: char| c.is_whitespace() || matches!(c, ',' | ';'));
            return &after[..end.unwrap_or(after.len())];
        }
    }
    ""
}
