//! Blocks (IEC 61158-6-10, 5.2): what calls of the context manager and alarms are made of.

use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::{operation, status};

use super::{NAME, names, records, text};
use crate::cursor::{Cursor, Cut};
use crate::dcerpc::{Uuid, push_uuid};
use crate::exchange::Draft;
use crate::{Cx, Side, json};

/// Most blocks of one call that are read.
const BLOCKS_MAX: usize = 4096;
/// Most communication relations and differing modules that a row shows.
const SHOWN_MAX: usize = 64;
/// Most bytes of an alarm's item that are shown.
const ITEM_MAX: usize = 64;

/// A block: its header is read, its body is not.
struct Block<'a> {
    kind: u16,
    body: Cursor<'a>,
}

impl<'a> Block<'a> {
    fn read(c: &mut Cursor<'a>) -> Result<Block<'a>, Cut> {
        let kind = c.u16_be("block_type")?;
        let length = usize::from(c.u16_be("block_length")?);
        c.check(length >= 2, "block_length")?;
        let mut body = c.part(length, "block_length")?;
        let high = body.u8("block_version")?;
        body.check(high == 1, "block_version")?;
        body.skip(1, "block_version")?;
        Ok(Block { kind, body })
    }
}

/// What reads the blocks of one call.
pub(super) struct Reader<'r, 'c> {
    pub cx: &'r mut Cx<'c>,
    pub draft: &'r mut Draft,
    /// The end that the call is sent from.
    pub side: Side,
    relations: Vec<String>,
    differences: Vec<String>,
    /// Whether the records that are written stand in a record of many.
    many: bool,
}

impl<'r, 'c> Reader<'r, 'c> {
    pub fn new(cx: &'r mut Cx<'c>, draft: &'r mut Draft, side: Side) -> Reader<'r, 'c> {
        Reader { cx, draft, side, relations: Vec::new(), differences: Vec::new(), many: false }
    }

    /// Reads all blocks, and what a record that is read or written holds.
    pub fn read(mut self, bytes: &[u8]) -> Result<(), Cut> {
        let mut c = Cursor::new(bytes);
        let done = self.walk(&mut c);
        for (member, list) in [("iocrs", &self.relations), ("differences", &self.differences)] {
            if !list.is_empty() {
                json::key(&mut self.draft.detail, member);
                self.draft.detail.push('[');
                self.draft.detail.push_str(&list.join(","));
                self.draft.detail.push(']');
            }
        }
        done
    }

    fn walk(&mut self, c: &mut Cursor<'_>) -> Result<(), Cut> {
        let mut record = None;
        for _ in 0..BLOCKS_MAX {
            // Many writes are filled up to a multiple of four, and so may the last block be.
            while self.many && !c.at().is_multiple_of(4) && c.peek() == Some(0) {
                c.skip(1, "padding")?;
            }
            if c.remaining() < 6 {
                return Ok(());
            }
            let mut block = Block::read(c)?;
            let b = &mut block.body;
            match block.kind {
                0x0101 => self.relation(b)?,
                0x8101 => self.responder(b)?,
                0x0102 => self.cyclic(b)?,
                0x8102 => self.confirmed(b)?,
                0x0104 => self.expected(b)?,
                0x8104 => self.different(b)?,
                0x8106 => self.server(b)?,
                0x0110..=0x0118 | 0x8110..=0x8118 => self.control(block.kind, b)?,
                0x0008 | 0x0009 | 0x8008 | 0x8009 => {
                    let (index, length) = self.record(block.kind, b)?;
                    if index == records::MULTIPLE_WRITE && block.kind == 0x0008 {
                        self.many = true;
                    } else if matches!(block.kind, 0x0008 | 0x8009) {
                        let data = c.take(length.min(c.remaining()), "record_data")?;
                        self.draft.body_bytes = Some(self.draft.body_bytes.unwrap_or(0) + data.len() as u64);
                        record = Some((index, data));
                    }
                }
                _ => {}
            }
            if let Some((index, data)) = record.take() {
                self.content(index, data);
            }
        }
        Ok(())
    }

    /// ARBlockReq: who wants a relation of which kind.
    fn relation(&mut self, b: &mut Cursor<'_>) -> Result<(), Cut> {
        let kind = b.u16_be("ar_type")?;
        let id = uuid(b)?;
        let key = b.u16_be("session_key")?;
        let station_mac = crate::mac_text(b.array("initiator_mac")?);
        b.skip(16, "initiator_object")?;
        let properties = b.u32_be("ar_properties")?;
        let timeout = b.u16_be("timeout_factor")?;
        b.skip(2, "udp_rt_port")?;
        let length = usize::from(b.u16_be("station_name_length")?);
        let station = text(b.take(length, "station_name")?);
        push_uuid(&mut self.draft.session, id);
        let detail = &mut self.draft.detail;
        json::member_text(detail, "ar_type", names::relation(kind));
        json::member_number(detail, "session_key", key.into());
        json::member_text(detail, "initiator", &station);
        json::member_text(detail, "initiator_mac", &station_mac);
        json::member_number(detail, "ar_properties", properties.into());
        json::member_number(detail, "timeout_ms", u64::from(timeout) * 100);
        let mut facts = String::new();
        json::member_text(&mut facts, "mac", &station_mac);
        json::member_text(&mut facts, "role", names::relation(kind));
        json::end(&mut facts);
        let row = IdentityRow { name: &station, detail: &facts, ..IdentityRow::default() };
        self.cx.identity(NAME, self.side, row);
        Ok(())
    }

    /// ARBlockRes.
    fn responder(&mut self, b: &mut Cursor<'_>) -> Result<(), Cut> {
        b.skip(2, "ar_type")?;
        let id = uuid(b)?;
        b.skip(2, "session_key")?;
        let station_mac = crate::mac_text(b.array("responder_mac")?);
        if self.draft.session.is_empty() {
            push_uuid(&mut self.draft.session, id);
        }
        json::member_text(&mut self.draft.detail, "responder_mac", &station_mac);
        Ok(())
    }

    /// ARServerBlock: the name of the station that answers.
    fn server(&mut self, b: &mut Cursor<'_>) -> Result<(), Cut> {
        let length = usize::from(b.u16_be("station_name_length")?);
        let station = text(b.take(length, "station_name")?);
        if station.is_empty() {
            return Ok(());
        }
        if self.draft.target.is_empty() {
            self.draft.target.push_str(&station);
        }
        json::member_text(&mut self.draft.detail, "responder", &station);
        self.cx.identity(NAME, self.side, IdentityRow { name: &station, ..IdentityRow::default() });
        Ok(())
    }

    /// IOCRBlockReq: one direction of the cyclic data.
    fn cyclic(&mut self, b: &mut Cursor<'_>) -> Result<(), Cut> {
        let kind = b.u16_be("iocr_type")?;
        b.skip(4, "iocr_reference")?;
        let properties = b.u32_be("iocr_properties")?;
        let length = b.u16_be("iocr_data_length")?;
        let frame = b.u16_be("frame_id")?;
        let (clock, ratio) = (b.u16_be("send_clock")?, b.u16_be("reduction_ratio")?);
        let mut shown = String::new();
        json::member_text(&mut shown, "type", names::cyclic(kind));
        json::member_number(&mut shown, "rt_class", u64::from(properties & 15));
        json::member_number(&mut shown, "bytes", length.into());
        json::member_number(&mut shown, "frame_id", frame.into());
        // The send clock counts in 31.25 microseconds.
        json::member_number(&mut shown, "cycle_us", u64::from(clock) * u64::from(ratio) * 125 / 4);
        json::end(&mut shown);
        if self.relations.len() < SHOWN_MAX {
            self.relations.push(shown);
        }
        Ok(())
    }

    /// IOCRBlockRes: the frame identifier that the device chose.
    fn confirmed(&mut self, b: &mut Cursor<'_>) -> Result<(), Cut> {
        let kind = b.u16_be("iocr_type")?;
        b.skip(2, "iocr_reference")?;
        let frame = b.u16_be("frame_id")?;
        let name = match kind {
            1 => "input_frame_id",
            2 => "output_frame_id",
            _ => return Ok(()),
        };
        if !self.draft.detail.contains(name) {
            json::member_number(&mut self.draft.detail, name, frame.into());
        }
        Ok(())
    }

    /// ExpectedSubmoduleBlockReq: what the controller thinks stands there.
    fn expected(&mut self, b: &mut Cursor<'_>) -> Result<(), Cut> {
        for _ in 0..b.u16_be("apis")? {
            b.skip(4, "api")?;
            let slot = b.u16_be("slot")?;
            let module = b.u32_be("module")?;
            b.skip(2, "module_properties")?;
            for _ in 0..b.u16_be("submodules")? {
                let subslot = b.u16_be("subslot")?;
                let submodule = b.u32_be("submodule")?;
                let properties = b.u16_be("submodule_properties")?;
                let mut shown = String::new();
                place(&mut shown, slot, subslot);
                json::member_hex(&mut shown, "module", module);
                json::member_hex(&mut shown, "submodule", submodule);
                for _ in 0..if properties & 3 == 3 { 2 } else { 1 } {
                    let direction = b.u16_be("data_description")?;
                    let length = b.u16_be("submodule_length")?;
                    b.skip(2, "submodule_length")?;
                    if length > 0 {
                        let member = if direction & 3 == 2 { "output_bytes" } else { "input_bytes" };
                        json::member_number(&mut shown, member, length.into());
                    }
                }
                json::end(&mut shown);
                self.draft.push_json(&shown);
            }
        }
        Ok(())
    }

    /// ModuleDiffBlock: where something else stands.
    fn different(&mut self, b: &mut Cursor<'_>) -> Result<(), Cut> {
        for _ in 0..b.u16_be("apis")? {
            b.skip(4, "api")?;
            for _ in 0..b.u16_be("modules")? {
                let slot = b.u16_be("slot")?;
                let module = b.u32_be("module")?;
                let state = b.u16_be("module_state")?;
                let mut shown = String::new();
                json::member_number(&mut shown, "slot", slot.into());
                json::member_hex(&mut shown, "module", module);
                let name = ["no_module", "wrong_module", "proper_module", "substitute"]
                    .get(usize::from(state))
                    .unwrap_or(&"reserved");
                json::member_text(&mut shown, "state", name);
                json::end(&mut shown);
                if self.differences.len() < SHOWN_MAX {
                    self.differences.push(shown);
                }
                for _ in 0..b.u16_be("submodules")? {
                    b.skip(8, "submodule")?;
                }
            }
        }
        Ok(())
    }

    /// IODControlReq and its kin: a step of the relation's life.
    fn control(&mut self, kind: u16, b: &mut Cursor<'_>) -> Result<(), Cut> {
        b.skip(2, "reserved")?;
        let id = uuid(b)?;
        let key = b.u16_be("session_key")?;
        b.skip(2, "alarm_sequence")?;
        let command = b.u16_be("control_command")?;
        if self.draft.session.is_empty() {
            push_uuid(&mut self.draft.session, id);
        }
        if kind & 0x8000 == 0 {
            if self.draft.target.is_empty() {
                self.draft.target.push_str(names::command(command));
            }
            json::member_number(&mut self.draft.detail, "session_key", key.into());
        } else {
            json::member_text(&mut self.draft.detail, "answer", names::command(command));
        }
        Ok(())
    }

    /// The header of a record: its index, and the length of its data.
    fn record(&mut self, kind: u16, b: &mut Cursor<'_>) -> Result<(u16, usize), Cut> {
        b.skip(2, "sequence")?;
        let id = uuid(b)?;
        b.skip(4, "api")?;
        let (slot, subslot) = (b.u16_be("slot")?, b.u16_be("subslot")?);
        b.skip(2, "padding")?;
        let index = b.u16_be("index")?;
        let length = b.u32_be("record_length")?;
        let request = kind & 0x8000 == 0;
        if self.draft.session.is_empty() && id != 0 {
            push_uuid(&mut self.draft.session, id);
        }
        let name = records::name(index);
        let whole = format!("{slot}/0x{subslot:x}/{name}");
        if kind == 0x8008 {
            b.skip(4, "additional_values")?;
            let code: [u8; 4] = b.array("pnio_status")?;
            if code != [0; 4] && self.draft.status == status::OK {
                self.draft.deny(names::status(code));
                json::member_text(&mut self.draft.detail, "refused", &whole);
            }
            if self.draft.target.is_empty() {
                self.draft.target = whole;
            }
            return Ok((index, length as usize));
        }
        if self.many && request {
            let mut shown = String::new();
            place(&mut shown, slot, subslot);
            json::member_text(&mut shown, "record", &name);
            json::member_number(&mut shown, "bytes", length.into());
            json::end(&mut shown);
            self.draft.push_json(&shown);
        } else if self.draft.target.is_empty() {
            self.draft.target = whole;
            json::member_number(&mut self.draft.detail, "index", index.into());
            json::member_number(&mut self.draft.detail, "record_bytes", length.into());
        }
        // Many writes are a configuration unless one of them writes what is the user's.
        let does = records::does(index, kind == 0x0008);
        if !self.many || does == operation::WRITE {
            self.draft.operation = does;
        }
        Ok((index, length as usize))
    }

    /// What a record says that is worth a row of its own. Blocks that are not known are the user's.
    fn content(&mut self, index: u16, data: &[u8]) {
        let mut c = Cursor::new(data);
        let device = if matches!(index, 0xaff0..=0xafff | 0x8080 | 0xf841) { self.side } else { return };
        while c.remaining() >= 6 {
            let Ok(mut block) = Block::read(&mut c) else { return };
            if block.kind == 0x0400 {
                // MultipleBlockHeader: more blocks, of one submodule.
                let inside = block.body.rest().get(10..).unwrap_or_default();
                let mut inside = Cursor::new(inside);
                while inside.remaining() >= 6 {
                    let Ok(mut inner) = Block::read(&mut inside) else { break };
                    let _ = self.says(device, &mut inner);
                }
            } else {
                let _ = self.says(device, &mut block);
            }
        }
    }

    fn says(&mut self, device: Side, block: &mut Block<'_>) -> Result<(), Cut> {
        let b = &mut block.body;
        let place =
            self.draft.target.rsplit_once('/').map(|(place, _)| place.to_string()).unwrap_or_default();
        let mut facts = String::new();
        json::member_text(&mut facts, "place", &place);
        match block.kind {
            0x0020 => {
                let vendor = names::vendor(b.u16_be("vendor_id")?);
                let order = text(b.take(20, "order_id")?);
                let serial = text(b.take(16, "serial_number")?);
                let hardware = b.u16_be("hardware_revision")?;
                let [prefix, major, minor, fix] = b.array("software_revision")?;
                let prefix = if prefix.is_ascii_alphabetic() { char::from(prefix) } else { 'V' };
                let firmware = format!("{prefix}{major}.{minor}.{fix}");
                json::member_number(&mut facts, "hardware", hardware.into());
                json::end(&mut facts);
                let row = IdentityRow {
                    vendor: &vendor,
                    model: &order,
                    serial: &serial,
                    firmware: &firmware,
                    detail: &facts,
                    ..IdentityRow::default()
                };
                self.cx.identity(NAME, device, row);
            }
            0x0021 => {
                json::member_text(&mut facts, "function", &text(b.take(32, "tag_function")?));
                json::member_text(&mut facts, "location", &text(b.take(22, "tag_location")?));
                self.fact(device, facts);
            }
            0x0022 => {
                json::member_text(&mut facts, "installed", &text(b.take(16, "date")?));
                self.fact(device, facts);
            }
            0x0023 => {
                json::member_text(&mut facts, "descriptor", &text(b.take(54, "descriptor")?));
                self.fact(device, facts);
            }
            0x0024 => {
                json::key(&mut facts, "signature");
                json::push_hex(&mut facts, b.take(54, "signature")?);
                self.fact(device, facts);
            }
            0x0025 => {
                for _ in 0..b.u16_be("entries")?.min(16) {
                    // Each entry is a block of its own.
                    let mut entry = Block::read(b)?;
                    let e = &mut entry.body;
                    let annotation = text(e.take(64, "annotation")?);
                    let order = text(e.take(64, "order_id")?);
                    let vendor = names::vendor(e.u16_be("vendor_id")?);
                    let serial = text(e.take(16, "serial_number")?);
                    let row = IdentityRow {
                        vendor: &vendor,
                        model: &order,
                        serial: &serial,
                        name: &annotation,
                        ..IdentityRow::default()
                    };
                    self.cx.identity(NAME, device, row);
                }
            }
            // PDInterfaceDataReal.
            0x0240 => {
                let length = usize::from(b.u8("name_length")?);
                let name = text(b.take(length, "name")?);
                // Fills up to a multiple of four from the block's beginning, which has six bytes more.
                while !(b.at() + 4).is_multiple_of(4) {
                    b.skip(1, "padding")?;
                }
                json::member_text(&mut facts, "mac", &crate::mac_text(b.array("mac")?));
                b.skip(2, "padding")?;
                let ip = std::net::Ipv4Addr::from(b.array::<4>("ip")?);
                json::member_text(&mut facts, "ip", &ip.to_string());
                json::end(&mut facts);
                let row = IdentityRow { name: &name, detail: &facts, ..IdentityRow::default() };
                self.cx.identity(NAME, device, row);
            }
            _ => {}
        }
        Ok(())
    }

    fn fact(&mut self, device: Side, mut facts: String) {
        json::end(&mut facts);
        self.cx.identity(NAME, device, IdentityRow { detail: &facts, ..IdentityRow::default() });
    }
}

fn place(out: &mut String, slot: u16, subslot: u16) {
    json::member_number(out, "slot", slot.into());
    json::member_number(out, "subslot", subslot.into());
}

fn uuid(b: &mut Cursor<'_>) -> Result<Uuid, Cut> {
    b.array::<16>("ar_uuid").map(Uuid::from_be_bytes)
}

/// AlarmNotification and its acknowledgement (IEC 61158-6-10, 5.2.9).
pub(super) struct Alarm<'a> {
    pub acknowledges: bool,
    pub kind: u16,
    pub slot: u16,
    pub subslot: u16,
    pub specifier: u16,
    /// Of the acknowledgement.
    pub status: [u8; 4],
    module: u32,
    submodule: u32,
    /// The structure of each item and its bytes.
    items: &'a [u8],
}

impl<'a> Alarm<'a> {
    pub fn read(c: &mut Cursor<'a>) -> Result<Alarm<'a>, Cut> {
        let mut block = Block::read(c)?;
        let b = &mut block.body;
        b.check(matches!(block.kind & 0x7fff, 1 | 2), "alarm_block_type")?;
        let acknowledges = block.kind & 0x8000 != 0;
        let kind = b.u16_be("alarm_type")?;
        b.skip(4, "api")?;
        let (slot, subslot) = (b.u16_be("slot")?, b.u16_be("subslot")?);
        let (mut module, mut submodule) = (0, 0);
        if !acknowledges {
            module = b.u32_be("module")?;
            submodule = b.u32_be("submodule")?;
        }
        let specifier = b.u16_be("alarm_specifier")?;
        let status = if acknowledges { b.array("pnio_status")? } else { [0; 4] };
        Ok(Alarm {
            acknowledges,
            kind,
            slot,
            subslot,
            specifier,
            status,
            module,
            submodule,
            items: b.take_rest(),
        })
    }

    /// Writes the alarm into its row.
    pub fn describe(&self, draft: &mut Draft) {
        draft.target = format!("{}/0x{:x}", self.slot, self.subslot);
        let detail = &mut draft.detail;
        if !self.acknowledges {
            json::member_hex(detail, "module", self.module);
            json::member_hex(detail, "submodule", self.submodule);
        }
        json::member_number(detail, "sequence", u64::from(self.specifier & 0x7ff));
        let bits = [
            (11, "channel_diagnosis"),
            (12, "manufacturer_diagnosis"),
            (13, "submodule_diagnosis"),
            (15, "relation_diagnosis"),
        ];
        for (bit, name) in bits {
            if self.specifier >> bit & 1 != 0 {
                json::member_bool(detail, name, true);
            }
        }
        if let Some((structure, data)) = self.items.split_first_chunk::<2>() {
            json::member_number(detail, "structure", u16::from_be_bytes(*structure).into());
            draft.push_bytes(&data[..data.len().min(ITEM_MAX)]);
        }
    }
}
