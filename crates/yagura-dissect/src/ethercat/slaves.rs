//! What slaves say they are: in their own memory (SII) and in their objects.

use yagura_event::rows::IdentityRow;

use super::names::{command, register};
use super::{Datagram, PROTOCOL};
use crate::cursor::Cursor;
use crate::{Cx, Side, json};

/// Most slaves that are kept.
const SLAVES_MAX: usize = 1024;

/// One slave, by its station address.
#[derive(Default)]
struct Slave {
    station: u16,
    /// The word of its memory that was asked for.
    asked: Option<u32>,
    /// Vendor, product, revision, serial number.
    numbers: [Option<u32>; 4],
    name: String,
    firmware: String,
    said: bool,
}

/// All of them.
pub struct Slaves {
    /// The end that frames return from.
    pub side: Side,
    slaves: Vec<Slave>,
}

impl Slaves {
    pub fn new() -> Self {
        Slaves { side: Side::Server, slaves: Vec::new() }
    }

    fn of(&mut self, station: u16) -> Option<&mut Slave> {
        let at = match self.slaves.iter().position(|slave| slave.station == station) {
            Some(at) => at,
            None if self.slaves.len() < SLAVES_MAX => {
                self.slaves.push(Slave { station, ..Slave::default() });
                self.slaves.len() - 1
            }
            None => return None,
        };
        self.slaves.get_mut(at)
    }

    /// Follows reads of a slave's memory, which holds its numbers from word 8 on.
    pub fn learn(&mut self, cx: &mut Cx<'_>, datagram: &Datagram<'_>) {
        if command::by_position(datagram.command) {
            return;
        }
        let mut c = Cursor::new(datagram.data);
        match (datagram.command, datagram.offset) {
            (command::FPWR, register::SII_CONTROL) => {
                let Some(slave) = self.of(datagram.slave) else { return };
                let word = c.skip(2, "control").and_then(|()| c.u16_le("address"));
                slave.asked = word.ok().map(u32::from);
            }
            (command::FPRD, register::SII_CONTROL) if datagram.data.len() >= 10 => {
                let (Ok(control), Ok(address)) = (c.u16_le("control"), c.u32_le("address")) else { return };
                // While it is busy, nothing is there yet.
                const BUSY: u16 = 0x8000;
                let Some(slave) = self.of(datagram.slave) else { return };
                if control & BUSY != 0 || slave.asked.take() != Some(address) {
                    return;
                }
                let mut word = address;
                while let Ok(number) = c.u32_le("data") {
                    if (8..=14).contains(&word) && word % 2 == 0 {
                        self.number(cx, datagram.slave, (word as usize - 8) / 2, number);
                    }
                    word += 2;
                }
            }
            _ => {}
        }
    }

    /// An object that tells what a slave is.
    pub fn object(&mut self, cx: &mut Cx<'_>, station: u16, index: u16, sub: u8, data: &[u8]) {
        let text = || String::from_utf8_lossy(data).trim_matches(['\0', ' ']).to_string();
        match (index, sub) {
            (0x1018, 1..=4) => {
                if let Ok(bytes) = <[u8; 4]>::try_from(data) {
                    self.number(cx, station, usize::from(sub) - 1, u32::from_le_bytes(bytes));
                }
            }
            (0x1008, 0) => self.text(cx, station, text(), |slave| &mut slave.name),
            (0x100a, 0) => self.text(cx, station, text(), |slave| &mut slave.firmware),
            _ => {}
        }
    }

    fn number(&mut self, cx: &mut Cx<'_>, station: u16, at: usize, number: u32) {
        let side = self.side;
        let Some(slave) = self.of(station) else { return };
        if slave.numbers[at].replace(number) != Some(number) {
            slave.said = false;
        }
        slave.say(cx, side);
    }

    fn text(&mut self, cx: &mut Cx<'_>, station: u16, text: String, place: fn(&mut Slave) -> &mut String) {
        let side = self.side;
        let Some(slave) = self.of(station) else { return };
        if *place(slave) != text {
            *place(slave) = text;
            slave.said = false;
        }
        slave.say(cx, side);
    }
}

impl Slave {
    /// Says what is known, once all four numbers are, and again when something changes.
    fn say(&mut self, cx: &mut Cx<'_>, side: Side) {
        let [Some(vendor), Some(product), Some(revision), Some(serial)] = self.numbers else { return };
        if std::mem::replace(&mut self.said, true) {
            return;
        }
        let vendor_name = match vendor {
            0x02 => "Beckhoff".to_string(),
            0x83 => "Omron".to_string(),
            0x539 => "Yaskawa".to_string(),
            other => format!("0x{other:08x}"),
        };
        let model = if self.name.is_empty() { format!("0x{product:08x}") } else { self.name.clone() };
        let firmware =
            if self.firmware.is_empty() { format!("0x{revision:08x}") } else { self.firmware.clone() };
        let mut detail = String::new();
        json::member_number(&mut detail, "station", u64::from(self.station));
        json::member_number(&mut detail, "vendor_id", u64::from(vendor));
        json::member_number(&mut detail, "product_code", u64::from(product));
        json::member_number(&mut detail, "revision", u64::from(revision));
        json::end(&mut detail);
        let row = IdentityRow {
            vendor: &vendor_name,
            model: &model,
            firmware: &firmware,
            serial: &serial.to_string(),
            detail: &detail,
            ..IdentityRow::default()
        };
        cx.identity(PROTOCOL.name, side, row);
    }
}
