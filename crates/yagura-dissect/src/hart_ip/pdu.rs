//! HART frames, and what their commands bring (HART application layer, revision 7).

use yagura_event::rows::{IdentityRow, MeasuredRow, Row};

use super::{PROTOCOL, names};
use crate::cursor::{Cursor, Cut};
use crate::exchange::Draft;
use crate::{Cx, Side, json};

/// Most devices behind one gateway whose identity is kept.
const DEVICES_MAX: usize = 256;
/// The command whose data begins with the number of another one.
const EXTENDED: u16 = 31;

/// Kinds of frames, in the low bits of the delimiter.
mod kind {
    pub const BURST: u8 = 1;
    pub const REQUEST: u8 = 2;
    pub const RESPONSE: u8 = 6;
}

/// A frame in its parts.
pub struct Pdu<'a> {
    /// The address without the bits that say which master and whether in burst mode.
    pub address: &'a [u8],
    pub command: u16,
    /// Response code and device status; not in requests.
    pub status: Option<(u8, u8)>,
    /// Whether the checksum is right. The two-wire line needs it; some gateways leave it out.
    pub checked: bool,
    pub data: Cursor<'a>,
}

impl<'a> Pdu<'a> {
    /// Reads a whole frame.
    pub fn read(bytes: &'a [u8]) -> Result<Pdu<'a>, Cut> {
        let mut c = Cursor::new(bytes);
        let delimiter = c.u8("delimiter")?;
        let kind = delimiter & 7;
        c.check(matches!(kind, kind::BURST | kind::REQUEST | kind::RESPONSE), "delimiter")?;
        let address = c.take(if delimiter & 0x80 != 0 { 5 } else { 1 }, "address")?;
        c.skip(usize::from(delimiter >> 5 & 3), "expansion")?;
        let command = u16::from(c.u8("command")?);
        let length = usize::from(c.u8("byte_count")?);
        let mut data = c.part(length, "byte_count")?;
        let end = c.at();
        let checksum = c.u8("checksum")?;
        let checked = bytes[..end].iter().fold(0, |sum, byte| sum ^ byte) == checksum;
        let status = match kind {
            kind::REQUEST => None,
            _ => Some((data.u8("response_code")?, data.u8("device_status")?)),
        };
        let mut pdu = Pdu { address, command, status, checked, data };
        if command == EXTENDED && pdu.data.remaining() >= 2 {
            pdu.command = pdu.data.u16_be("extended_command")?;
        }
        Ok(pdu)
    }

    /// The device's address as digits: of five bytes, or a polling address.
    pub fn device(&self, out: &mut String) {
        if let [first, rest @ ..] = self.address {
            json::push_hex_digits(out, &[first & 0x3f]);
            json::push_hex_digits(out, rest);
        }
    }
}

/// What a request writes, or asks for.
pub fn request(draft: &mut Draft, pdu: &Pdu<'_>) -> Result<(), Cut> {
    let mut c = pdu.data;
    match pdu.command {
        6 => {
            draft.push_value(f64::from(c.u8("polling_address")?));
            if let Ok(mode) = c.u8("loop_current_mode") {
                json::member_bool(&mut draft.detail, "loop_current", mode != 0);
            }
        }
        11 => draft.push_text(&packed(c.take(6, "tag")?)),
        17 => draft.push_text(&packed(c.take(24, "message")?)),
        18 => {
            draft.push_text(&packed(c.take(6, "tag")?));
            draft.push_text(&packed(c.take(12, "descriptor")?));
        }
        21 | 22 => draft.push_text(&latin(c.take(32, "long_tag")?)),
        9 | 33 => {
            draft.set_count(c.remaining() as u32);
            json::key(&mut draft.detail, "variables");
            json::push_hex(&mut draft.detail, c.take_rest());
        }
        34 | 40 | 45 | 46 if c.remaining() >= 4 => draft.push_value(f64::from(c.f32_be("value")?)),
        35 => {
            let unit = c.u8("units")?;
            json::member_text(&mut draft.detail, "unit", names::unit(unit));
            draft.push_value(f64::from(c.f32_be("upper_range_value")?));
            draft.push_value(f64::from(c.f32_be("lower_range_value")?));
        }
        44 => {
            let unit = c.u8("units")?;
            json::member_number(&mut draft.detail, "unit_code", u64::from(unit));
        }
        79 => {
            json::member_number(&mut draft.detail, "variable", u64::from(c.u8("variable")?));
            let (how, unit) = (c.u8("write_command")?, c.u8("units")?);
            // 1 holds the variable at the value, 0 lets it go.
            json::member_bool(&mut draft.detail, "fixed", how != 0);
            json::member_text(&mut draft.detail, "unit", names::unit(unit));
            draft.push_value(f64::from(c.f32_be("value")?));
        }
        _ => {
            if !c.is_empty() {
                json::key(&mut draft.detail, "data");
                json::push_hex(&mut draft.detail, c.take_rest());
            }
        }
    }
    Ok(())
}

/// What is known of one device.
#[derive(Default)]
struct Device {
    address: String,
    vendor: String,
    model: String,
    firmware: String,
    serial: String,
    tag: String,
}

/// The devices behind one connection.
#[derive(Default)]
pub struct Devices(Vec<Device>);

impl Devices {
    /// What a response or a burst brings.
    pub fn response(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        draft: &mut Draft,
        pdu: &Pdu<'_>,
    ) -> Result<(), Cut> {
        let mut c = pdu.data;
        let mut said = Said { cx, side, draft, device: String::new() };
        pdu.device(&mut said.device);
        match pdu.command {
            0 | 11 | 21 => self.identity(&mut said, &mut c)?,
            1 => said.variable("PV", &mut c, 0)?,
            2 => {
                said.value("loop current", "mA", c.f32_be("loop_current")?, 0);
                said.value("percent of range", "%", c.f32_be("percent_of_range")?, 0);
            }
            3 => {
                said.value("loop current", "mA", c.f32_be("loop_current")?, 0);
                for name in ["PV", "SV", "TV", "QV"] {
                    // A device sends as many as it has.
                    if c.is_empty() {
                        break;
                    }
                    said.variable(name, &mut c, 0)?;
                }
            }
            7 => {
                said.draft.push_value(f64::from(c.u8("polling_address")?));
                json::member_bool(&mut said.draft.detail, "loop_current", c.u8("loop_current_mode")? != 0);
            }
            9 => {
                let status = c.u8("extended_device_status")?;
                json::member_number(&mut said.draft.detail, "extended_device_status", u64::from(status));
                // What is shorter than a slot is the time of the first.
                while c.remaining() >= 8 {
                    let mut slot = c.part(8, "slot")?;
                    let (code, _class) = (slot.u8("variable")?, slot.u8("classification")?);
                    let status = slot.rest().last().copied().unwrap_or_default();
                    said.variable(&variable(code), &mut slot, quality(status))?;
                }
            }
            12 | 17 => said.draft.push_text(&packed(c.take(24, "message")?)),
            13 | 18 => {
                let tag = packed(c.take(6, "tag")?);
                let descriptor = packed(c.take(12, "descriptor")?);
                said.draft.push_text(&tag);
                said.draft.push_text(&descriptor);
                let [day, month, year] = c.array("date")?;
                let date = format!("{:04}-{month:02}-{day:02}", 1900 + u16::from(year));
                json::member_text(&mut said.draft.detail, "date", &date);
                self.tag(&mut said, tag);
            }
            20 | 22 => {
                let tag = latin(c.take(32, "long_tag")?);
                said.draft.push_text(&tag);
                self.tag(&mut said, tag);
            }
            33 => {
                while c.remaining() >= 6 {
                    let code = c.u8("variable")?;
                    said.variable(&variable(code), &mut c, 0)?;
                }
            }
            48 => said.draft.push_bytes(c.take_rest()),
            _ => {
                if !c.is_empty() {
                    json::member_number(&mut said.draft.detail, "bytes", c.remaining() as u64);
                }
            }
        }
        Ok(())
    }

    fn of(&mut self, address: &str) -> &mut Device {
        let at = match self.0.iter().position(|device| device.address == address) {
            Some(at) => at,
            None => {
                if self.0.len() == DEVICES_MAX {
                    self.0.remove(0);
                }
                self.0.push(Device { address: address.to_string(), ..Device::default() });
                self.0.len() - 1
            }
        };
        &mut self.0[at]
    }

    /// Command 0 and those that answer alike.
    fn identity(&mut self, said: &mut Said<'_, '_>, c: &mut Cursor<'_>) -> Result<(), Cut> {
        c.skip(1, "expansion")?;
        let kind = c.u16_be("expanded_device_type")?;
        c.skip(1, "preambles")?;
        let universal = c.u8("universal_revision")?;
        let (device_revision, software) = (c.u8("device_revision")?, c.u8("software_revision")?);
        c.skip(2, "hardware_revision")?;
        let id = c.u24_be("device_id")?;
        // Revision 5 and 6 end here, and have a byte each for maker and type.
        let mut maker = kind >> 8;
        if c.remaining() >= 9 {
            c.skip(5, "preambles")?;
            maker = c.u16_be("manufacturer_id")?;
        }
        // What tells the device everywhere: type and number, as long addresses have them.
        let [high, low] = kind.to_be_bytes();
        let [_, a, b, d] = id.to_be_bytes();
        said.device.clear();
        json::push_hex_digits(&mut said.device, &[high & 0x3f, low, a, b, d]);
        let detail = &mut said.draft.detail;
        json::member_text(detail, "device", &said.device);
        json::member_number(detail, "expanded_device_type", u64::from(kind));
        json::member_number(detail, "universal_revision", u64::from(universal));
        json::member_number(detail, "device_revision", u64::from(device_revision));
        json::member_number(detail, "software_revision", u64::from(software));
        json::member_number(detail, "manufacturer_id", u64::from(maker));
        json::member_number(detail, "device_id", u64::from(id));
        let device = self.of(&said.device);
        let (vendor, model) = (names::maker(maker), format!("0x{kind:04x}"));
        let (firmware, serial) = (format!("{device_revision}.{software}"), id.to_string());
        let before = (&device.vendor, &device.model, &device.firmware, &device.serial);
        if before == (&vendor, &model, &firmware, &serial) {
            return Ok(());
        }
        (device.vendor, device.model, device.firmware, device.serial) = (vendor, model, firmware, serial);
        device.say(said);
        Ok(())
    }

    fn tag(&mut self, said: &mut Said<'_, '_>, tag: String) {
        let device = self.of(&said.device);
        if device.tag != tag {
            device.tag = tag;
            device.say(said);
        }
    }
}

impl Device {
    fn say(&self, said: &mut Said<'_, '_>) {
        let mut detail = String::new();
        json::member_text(&mut detail, "address", &self.address);
        json::end(&mut detail);
        let row = IdentityRow {
            vendor: &self.vendor,
            model: &self.model,
            firmware: &self.firmware,
            serial: &self.serial,
            name: &self.tag,
            detail: &detail,
            ..IdentityRow::default()
        };
        said.cx.identity(PROTOCOL.name, said.side, row);
    }
}

/// A message that is being read, and the device that speaks in it.
struct Said<'a, 'b> {
    cx: &'a mut Cx<'b>,
    side: Side,
    draft: &'a mut Draft,
    device: String,
}

impl Said<'_, '_> {
    /// A unit's code and a value.
    fn variable(&mut self, name: &str, c: &mut Cursor<'_>, quality: u8) -> Result<(), Cut> {
        let unit = c.u8("units")?;
        self.value(name, names::unit(unit), c.f32_be("value")?, quality);
        Ok(())
    }

    fn value(&mut self, name: &str, unit: &str, value: f32, quality: u8) {
        let value = f64::from(value);
        self.draft.push_value(value);
        // Devices send no number where they have none.
        if value.is_nan() {
            return;
        }
        let flow = self.cx.flow;
        let end = flow.end(self.side);
        let signal = format!("{} {name}", self.device);
        let source = format!("hart_ip {}:{}", end.address, end.port);
        self.cx.out.push(Row::Measured(&MeasuredRow {
            tool: end.name(),
            signal: &signal,
            unit,
            source: &source,
            time: self.cx.time,
            observed: self.cx.observed,
            value,
            quality,
            ..MeasuredRow::default()
        }));
    }
}

/// The name of a device variable's code: the highest ones are the dynamic variables.
fn variable(code: u8) -> String {
    match code {
        243 => "battery life".into(),
        244 => "percent of range".into(),
        245 => "loop current".into(),
        246 => "PV".into(),
        247 => "SV".into(),
        248 => "TV".into(),
        249 => "QV".into(),
        code => format!("variable {code}"),
    }
}

/// The two highest bits of a variable's status: good, set by hand, poor, bad.
fn quality(status: u8) -> u8 {
    match status >> 6 {
        3 => 0,
        0 => 2,
        _ => 1,
    }
}

/// Four characters in three bytes, of six bits each: the two middle columns of ASCII.
fn packed(bytes: &[u8]) -> String {
    let mut out = String::new();
    for part in bytes.chunks_exact(3) {
        let bits = part.iter().fold(0u32, |sum, &byte| sum << 8 | u32::from(byte));
        for at in [18, 12, 6, 0] {
            let code = (bits >> at & 0x3f) as u8;
            out.push(char::from(if code & 0x20 == 0 { code | 0x40 } else { code }));
        }
    }
    out.trim().to_string()
}

/// ISO Latin-1, filled up with zeros.
fn latin(bytes: &[u8]) -> String {
    bytes.iter().take_while(|&&b| b != 0).map(|&b| char::from(b)).collect::<String>().trim().to_string()
}
