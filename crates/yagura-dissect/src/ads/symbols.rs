//! What is learned of a device's variables: their names by handle and by place, and their types.

use std::collections::HashMap;

use crate::cursor::{Cursor, Cut};
use crate::exchange::Draft;
use crate::{Cx, Side};

use super::names::group;

/// Most variables, handles and notifications that are kept of one connection.
const KEPT_MAX: usize = 2048;
/// Longest name that is kept.
const NAME_MAX: usize = 256;

/// A variable's name and data type; 0 where it is not known.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Symbol {
    pub name: String,
    pub kind: u32,
}

/// Group and offset, at one device: the address that was asked.
pub type Place = ([u8; 8], u32, u32);

/// Everything learned on one connection.
#[derive(Default)]
pub struct Symbols {
    places: HashMap<Place, Symbol>,
    kinds: HashMap<String, u32>,
    notifications: HashMap<([u8; 8], u32), Place>,
}

impl Symbols {
    fn learn(&mut self, place: Place, symbol: Symbol) {
        if symbol.name.len() > NAME_MAX {
            return;
        }
        if symbol.kind != 0 && (self.kinds.len() < KEPT_MAX || self.kinds.contains_key(&symbol.name)) {
            self.kinds.insert(symbol.name.clone(), symbol.kind);
        }
        if self.places.len() < KEPT_MAX || self.places.contains_key(&place) {
            self.places.insert(place, symbol);
        }
    }

    /// A handle was given out for a name.
    pub fn handle(&mut self, device: [u8; 8], handle: u32, name: &str) {
        let kind = self.kinds.get(name).copied().unwrap_or(0);
        self.learn((device, group::VALUE_BY_HANDLE, handle), Symbol { name: name.to_string(), kind });
    }

    /// A handle is given back.
    pub fn release(&mut self, device: [u8; 8], handle: u32) {
        self.places.remove(&(device, group::VALUE_BY_HANDLE, handle));
    }

    /// Notifications of a place begin.
    pub fn notify(&mut self, device: [u8; 8], handle: u32, place: Place) {
        if self.notifications.len() < KEPT_MAX {
            self.notifications.insert((device, handle), place);
        }
    }

    /// They end.
    pub fn quiet(&mut self, device: [u8; 8], handle: u32) {
        self.notifications.remove(&(device, handle));
    }

    /// What a device's notifications are about.
    pub fn notified(&self, device: [u8; 8], handle: u32) -> Option<Place> {
        self.notifications.get(&(device, handle)).copied()
    }

    /// What is at a place.
    pub fn at(&self, place: &Place) -> Option<&Symbol> {
        self.places.get(place)
    }

    /// A variable's type by its name; 0 where it is not known.
    pub fn kind(&self, name: &str) -> u32 {
        self.kinds.get(name).copied().unwrap_or(0)
    }

    /// Reads symbol entries, as an upload or the information about one name brings them: how many.
    pub fn entries(&mut self, device: [u8; 8], bytes: &[u8]) -> Result<u32, Cut> {
        let mut count = 0;
        let mut c = Cursor::new(bytes);
        while !c.is_empty() {
            let length = c.u32_le("symbol_entry")? as usize;
            let body = length.checked_sub(4).ok_or(c.cut("symbol_entry"))?;
            let mut entry = c.part(body, "symbol_entry")?;
            let (group, offset) = (entry.u32_le("index_group")?, entry.u32_le("index_offset")?);
            entry.skip(4, "size")?;
            let kind = entry.u32_le("data_type")?;
            entry.skip(4, "flags")?;
            let name = usize::from(entry.u16_le("name_length")?);
            entry.skip(4, "name_length")?;
            let name = String::from_utf8_lossy(entry.take(name, "symbol_name")?).into_owned();
            self.learn((device, group, offset), Symbol { name, kind });
            count += 1;
        }
        Ok(count)
    }
}

/// A value of a known type; of an unknown one where one or two bytes leave no doubt.
fn number(kind: u32, bytes: &[u8]) -> Option<f64> {
    Some(match (kind, bytes) {
        (16, &[a]) => f64::from(a as i8),
        (17 | 33 | 0, &[a]) => f64::from(a),
        (2, &[a, b]) => f64::from(i16::from_le_bytes([a, b])),
        (18 | 0, &[a, b]) => f64::from(u16::from_le_bytes([a, b])),
        (3, &[a, b, c, d]) => f64::from(i32::from_le_bytes([a, b, c, d])),
        (19, &[a, b, c, d]) => f64::from(u32::from_le_bytes([a, b, c, d])),
        (4, &[a, b, c, d]) => f64::from(f32::from_le_bytes([a, b, c, d])),
        (5, bytes) => f64::from_le_bytes(bytes.try_into().ok()?),
        (20, bytes) => i64::from_le_bytes(bytes.try_into().ok()?) as f64,
        (21, bytes) => u64::from_le_bytes(bytes.try_into().ok()?) as f64,
        _ => return None,
    })
}

/// Shows a value, and sends it as a sample when it comes from a device.
pub fn value(cx: &mut Cx<'_>, from: Option<Side>, draft: &mut Draft, name: &str, kind: u32, bytes: &[u8]) {
    const STRING: u32 = 30;
    match number(kind, bytes) {
        Some(number) => {
            draft.push_value(number);
            if let Some(side) = from.filter(|_| !name.is_empty()) {
                let end = cx.flow.end(side);
                let source = format!("ads {}:{}", end.address, end.port);
                cx.measured(side, name, &source, number, 0);
            }
        }
        None if kind == STRING => {
            let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
            draft.push_text(&String::from_utf8_lossy(&bytes[..end]));
        }
        None => draft.push_bytes(bytes),
    }
}
