//! User data: functions of the programming device, among them identification, clock and password.

use std::borrow::Cow;
use std::fmt::Write;

use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::operation;

use super::items::return_code;
use super::{Key, Pdu, S7, SZL_BYTES_MAX, error};
use crate::cursor::{Cursor, Cut};
use crate::exchange::Draft;
use crate::{Cx, Side, json};

/// Lists that say what a module is.
const MODULE_IDENTIFICATION: u16 = 0x0011;
const COMPONENT_IDENTIFICATION: u16 = 0x001c;

/// What the parameter of a change of mode begins with, where others have 00 01 12.
const MODE_HEAD: [u8; 3] = [1, 0, 0x10];
/// The group of changes of mode.
const MODE: u8 = 0;

/// The parameter of user data.
struct Header {
    /// 4 asks, 8 answers, 0 tells.
    kind: u8,
    group: u8,
    subfunction: u8,
    sequence: u8,
    last: bool,
    error: u16,
}

impl Header {
    fn read(parameter: &mut Cursor<'_>) -> Result<Header, Cut> {
        let head = parameter.array::<3>("userdata_head")?;
        let length = usize::from(parameter.u8("userdata_length")?);
        // A change of mode has a head of its own, and no length.
        let length = if head == MODE_HEAD { parameter.remaining() } else { length };
        let mut part = parameter.part(length, "userdata_length")?;
        let method = part.u8("userdata_method")?;
        let function = part.u8("userdata_function")?;
        let mut header = Header {
            kind: function >> 4,
            group: function & 15,
            subfunction: part.u8("userdata_subfunction")?,
            sequence: part.u8("userdata_sequence")?,
            last: true,
            error: 0,
        };
        if method == 0x12 {
            part.skip(1, "userdata_unit")?;
            header.last = part.u8("userdata_last")? == 0;
            header.error = part.u16_be("userdata_error")?;
        }
        Ok(header)
    }
}

impl S7 {
    pub(super) fn userdata(&mut self, cx: &mut Cx<'_>, side: Side, mut pdu: Pdu<'_>) {
        let key: Key = (None, pdu.reference);
        let header = match Header::read(&mut pdu.parameter) {
            Ok(header) => header,
            Err(cut) => {
                let mut draft = self.exchanges.draft(cx, side, operation::OTHER, "userdata");
                draft.equipment = Side::Server;
                draft.wrong(cut);
                return self.exchanges.one_way(cx, draft);
            }
        };
        let (operation, name) = named(header.group, header.subfunction);
        let answers = header.kind == 8;
        let asked = if answers { self.exchanges.answered(side, &key) } else { None };
        let unasked = asked.is_none();
        let mut draft = asked.unwrap_or_else(|| {
            let asker = if answers { side.other() } else { side };
            let mut draft = self.exchanges.draft(cx, asker, operation, name);
            draft.equipment = Side::Server;
            json::member_number(&mut draft.detail, "pdu_reference", u64::from(pdu.reference));
            json::member_number(&mut draft.detail, "group", u64::from(header.group));
            if header.group != MODE {
                json::member_number(&mut draft.detail, "subfunction", u64::from(header.subfunction));
            }
            if header.sequence != 0 {
                json::member_number(&mut draft.detail, "sequence", u64::from(header.sequence));
            }
            draft
        });
        if header.group == MODE && header.kind == 0 {
            json::member_text(&mut draft.detail, "mode", &mode(header.subfunction));
        }
        if header.error != 0 {
            draft.deny(error(header.error));
        } else if let Err(cut) = self.body(cx, &mut draft, &header, &mut pdu.data) {
            draft.wrong(cut);
        }
        match header.kind {
            4 => self.exchanges.ask(cx, key, draft),
            8 if unasked => self.exchanges.unasked(cx, draft),
            8 => self.exchanges.pair(cx, draft),
            _ => {
                if draft.operation == operation::OTHER || draft.operation == operation::READ {
                    draft.operation = operation::REPORT;
                }
                self.exchanges.one_way(cx, draft);
            }
        }
    }

    fn body(
        &mut self,
        cx: &mut Cx<'_>,
        draft: &mut Draft,
        header: &Header,
        data: &mut Cursor<'_>,
    ) -> Result<(), Cut> {
        if data.is_empty() {
            return Ok(());
        }
        let code = data.u8("return_code")?;
        let coding = data.u8("data_transport_size")?;
        let length = usize::from(data.u16_be("data_length")?);
        let length = if matches!(coding, 3..=5) { length.div_ceil(8) } else { length };
        if header.kind == 8 && code != 0xff {
            // Nothing to give is an answer, not a refusal.
            if code != 0x0a || length > 0 || header.group == 4 {
                draft.deny(return_code(code));
            }
            return Ok(());
        }
        let mut payload = data.part(length, "data_length")?;
        match (header.group, header.subfunction, header.kind) {
            (4, 1, 4) if payload.remaining() >= 4 => {
                let (id, index) = (payload.u16_be("szl_id")?, payload.u16_be("szl_index")?);
                let _ = write!(draft.target, "SZL 0x{id:04x}/0x{index:04x}");
            }
            (4, 1, 8) => {
                if self.szl.len() + payload.remaining() <= SZL_BYTES_MAX {
                    self.szl.extend_from_slice(payload.take_rest());
                }
                if header.last {
                    let bytes = std::mem::take(&mut self.szl);
                    identify(cx, draft, &bytes)?;
                }
            }
            (3, 2, 4) => draft.target.push_str(&String::from_utf8_lossy(payload.take_rest())),
            (3, 3, 4) => {
                let mut name = [b'_'; 9];
                if let Some(given) = payload.rest().first_chunk::<8>() {
                    name[1..].copy_from_slice(given);
                    super::block_name(&mut draft.target, &name);
                }
            }
            (5, _, 4) => {
                // Only that a password was presented; its bytes are merely scrambled.
                let empty = payload.rest().iter().all(|&b| b == 0);
                json::member_bool(&mut draft.detail, "password_empty", empty);
            }
            (7, 1 | 3, 8) | (7, 2 | 4, 4) => clock(draft, payload.rest()),
            (2, _, 4) => json::member_number(&mut draft.detail, "items_bytes", payload.remaining() as u64),
            _ => {}
        }
        Ok(())
    }
}

/// Adds a DATE_AND_TIME in BCD digits, behind two bytes of which the second is the century.
fn clock(draft: &mut Draft, bytes: &[u8]) {
    let Some(&[_, _, year, month, day, hour, minute, second]) = bytes.first_chunk::<8>() else { return };
    if [year, month, day, hour, minute, second].iter().any(|b| b >> 4 > 9 || b & 15 > 9) {
        return;
    }
    let century = if year < 0x90 { 20 } else { 19 };
    let text = format!("{century}{year:02x}-{month:02x}-{day:02x}T{hour:02x}:{minute:02x}:{second:02x}");
    draft.push_text(&text);
}

/// Reads a list of a module's state (SZL), and says who the module is when the list does.
fn identify(cx: &mut Cx<'_>, draft: &mut Draft, bytes: &[u8]) -> Result<(), Cut> {
    let mut cursor = Cursor::new(bytes);
    let id = cursor.u16_be("szl_id")?;
    let index = cursor.u16_be("szl_index")?;
    let length = usize::from(cursor.u16_be("szl_record_length")?);
    let count = cursor.u16_be("szl_record_count")?;
    if draft.target.is_empty() {
        let _ = write!(draft.target, "SZL 0x{id:04x}/0x{index:04x}");
    }
    draft.set_count(u32::from(count));
    // The low byte is the list; the high one says which part of it.
    let list = id & 0x00ff;
    if length < 4 || !matches!(list, MODULE_IDENTIFICATION | COMPONENT_IDENTIFICATION) {
        return Ok(());
    }
    let (mut vendor, mut model, mut firmware, mut serial, mut name) =
        ("", String::new(), String::new(), String::new(), String::new());
    let mut detail = String::new();
    while cursor.remaining() >= length {
        let mut record = cursor.part(length, "szl_record")?;
        let index = record.u16_be("szl_record_index")?;
        if list == MODULE_IDENTIFICATION {
            let order = text(record.take(20.min(record.remaining()), "szl_order_number")?);
            if order.starts_with("6ES7") {
                vendor = "Siemens";
            }
            let rest = record.take_rest();
            match index {
                1 => model = order,
                7 => {
                    if let [.., b'V', major, minor, patch] = *rest {
                        firmware = format!("V{major}.{minor}.{patch}");
                    }
                }
                _ => {}
            }
            continue;
        }
        let value = text(record.take_rest());
        match index {
            1 => name = value,
            2 => json::member_text(&mut detail, "module", &value),
            3 if !value.is_empty() => json::member_text(&mut detail, "plant", &value),
            4 if value.contains("Siemens") => vendor = "Siemens",
            5 => serial = value,
            7 => model = value,
            8 if !value.is_empty() => json::member_text(&mut detail, "memory_card", &value),
            11 if !value.is_empty() => json::member_text(&mut detail, "location", &value),
            _ => {}
        }
    }
    json::end(&mut detail);
    if model.is_empty() && firmware.is_empty() && serial.is_empty() && name.is_empty() {
        return Ok(());
    }
    let row = IdentityRow {
        vendor,
        model: &model,
        firmware: &firmware,
        serial: &serial,
        name: &name,
        detail: &detail,
        ..IdentityRow::default()
    };
    cx.identity(super::PROTOCOL.name, Side::Server, row);
    Ok(())
}

fn text(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|&b| b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim().to_string()
}

/// A controller's mode.
fn mode(code: u8) -> Cow<'static, str> {
    let name = match code {
        0 => "stop",
        1 => "warm_restart",
        2 => "run",
        3 => "hot_restart",
        4 => "hold",
        6 => "cold_restart",
        9 => "run_redundant",
        11 => "link_up",
        12 => "update",
        _ => return format!("mode_{code}").into(),
    };
    name.into()
}

/// Operation and name of a function.
fn named(group: u8, subfunction: u8) -> (&'static str, Cow<'static, str>) {
    let (operation, name) = match (group, subfunction) {
        (0, _) => (operation::REPORT, "mode_transition"),
        (1, 1) => (operation::DIAGNOSE, "request_diagnostic_data"),
        (1, 2) => (operation::READ, "variable_table"),
        (1, 0x0c) => (operation::DIAGNOSE, "erase"),
        (1, 0x0e) => (operation::DIAGNOSE, "read_diagnostic_data"),
        (1, 0x0f) => (operation::DIAGNOSE, "remove_diagnostic_data"),
        (1, 0x10) => (operation::DIAGNOSE, "forces"),
        (2, 1) => (operation::READ, "cyclic_data"),
        (2, 4) => (operation::CONFIGURE, "cyclic_data_unsubscribe"),
        (2, 5) => (operation::READ, "cyclic_data_on_change"),
        (3, 1) => (operation::DISCOVER, "list_blocks"),
        (3, 2) => (operation::DISCOVER, "list_blocks_of_type"),
        (3, 3) => (operation::DISCOVER, "get_block_info"),
        (4, 1) => (operation::DISCOVER, "read_szl"),
        (4, 2) => (operation::CONFIGURE, "message_service"),
        (4, 3) => (operation::REPORT, "diagnostic_message"),
        (4, 5 | 6 | 0x11 | 0x12 | 0x16 | 0x17) => (operation::ALARM, "alarm_indication"),
        (4, 7 | 0x0b | 0x0c) => (operation::CONFIGURE, "alarm_acknowledge"),
        (4, 0x13) => (operation::READ, "alarm_query"),
        (5, 1) => (operation::AUTHENTICATE, "plc_password"),
        (5, 2) => (operation::AUTHENTICATE, "clear_session_password"),
        (6, _) => (operation::OTHER, "pbc_bsend_brecv"),
        (7, 1 | 3) => (operation::READ, "read_clock"),
        (7, 2 | 4) => (operation::CONFIGURE, "set_clock"),
        (15, _) => (operation::OTHER, "nc_programming"),
        _ => return (operation::OTHER, format!("userdata_{group}_{subfunction}").into()),
    };
    (operation, name.into())
}
