//! S7comm: Siemens S7-300/400 communication over ISO on TCP (RFC 1006, X.224 class 0).
//!
//! The vendor publishes no standard; names are those in use in the field. Jobs and their
//! acknowledgements, and user data with its responses, are paired by PDU reference. Controllers
//! are the end that was connected to: during a download it is they who ask, block by block.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::fmt::Write;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use yagura_event::clock::{Micros, SECOND};
use yagura_event::vocabulary::{operation, status};

use crate::cursor::{Cursor, Cut};
use crate::exchange::{Draft, Exchanges, WAITING_MAX};
use crate::framing::Framing;
use crate::tpkt::{self, Connect, First, Over, Upper};
use crate::{Carrier, Cx, Glimpse, Probe, Protocol, Side, json};

mod items;
mod userdata;

use items::Item;

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: "s7comm",
    carriers: &[Carrier::tcp(&[102])],
    probe,
    start: |_| Box::new(Framing::new(Over::new(S7::new()))),
    buffer_bytes_max: tpkt::FRAME_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

/// A request without a response for that long gets a row of its own.
const REPLY_TIMEOUT: Micros = 10 * SECOND;
/// The first byte of every PDU.
const PROTOCOL_ID: u8 = 0x32;
/// Most bytes of a list of identification records that are put together.
const SZL_BYTES_MAX: usize = 4096;

/// Remote operating service control: the kinds of PDUs.
mod rosctr {
    pub const JOB: u8 = 1;
    pub const ACK: u8 = 2;
    pub const ACK_DATA: u8 = 3;
    pub const USERDATA: u8 = 7;
}

/// Function codes of jobs.
mod function {
    pub const CPU_SERVICES: u8 = 0x00;
    pub const READ_VAR: u8 = 0x04;
    pub const WRITE_VAR: u8 = 0x05;
    pub const REQUEST_DOWNLOAD: u8 = 0x1a;
    pub const DOWNLOAD_BLOCK: u8 = 0x1b;
    pub const DOWNLOAD_ENDED: u8 = 0x1c;
    pub const START_UPLOAD: u8 = 0x1d;
    pub const UPLOAD: u8 = 0x1e;
    pub const END_UPLOAD: u8 = 0x1f;
    pub const PI_SERVICE: u8 = 0x28;
    pub const PLC_STOP: u8 = 0x29;
    pub const SETUP: u8 = 0xf0;
}

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    match tpkt::first_data(glimpse.bytes) {
        First::More => Probe::More,
        First::No => Probe::No,
        First::Data(data) => match *data {
            [PROTOCOL_ID, rosctr::JOB | rosctr::ACK | rosctr::ACK_DATA | rosctr::USERDATA, ..] => Probe::Yes,
            [PROTOCOL_ID] => Probe::More,
            _ => Probe::No,
        },
    }
}

/// A PDU in its parts.
struct Pdu<'a> {
    rosctr: u8,
    reference: u16,
    /// Class and code of an acknowledgement.
    error: u16,
    parameter: Cursor<'a>,
    data: Cursor<'a>,
}

impl<'a> Pdu<'a> {
    fn read(bytes: &'a [u8]) -> Result<Pdu<'a>, Cut> {
        let mut cursor = Cursor::new(bytes);
        let id = cursor.u8("protocol_id")?;
        cursor.check(id == PROTOCOL_ID, "protocol_id")?;
        let rosctr = cursor.u8("rosctr")?;
        cursor.skip(2, "redundancy_id")?;
        let reference = cursor.u16_be("pdu_reference")?;
        let parameters = usize::from(cursor.u16_be("parameter_length")?);
        let data = usize::from(cursor.u16_be("data_length")?);
        let error = match rosctr {
            rosctr::ACK | rosctr::ACK_DATA => cursor.u16_be("error")?,
            rosctr::JOB | rosctr::USERDATA => 0,
            _ => return Err(cursor.cut("rosctr")),
        };
        let parameter = cursor.part(parameters, "parameter_length")?;
        let data = cursor.part(data, "data_length")?;
        Ok(Pdu { rosctr, reference, error, parameter, data })
    }
}

/// What tells requests apart: a job by its function, user data by none; and the reference.
type Key = (Option<u8>, u16);

/// The items of a read or write that waits for its acknowledgement.
struct Asked {
    side: Side,
    reference: u16,
    items: Vec<Item>,
}

/// A block on its way: only its length and its HMAC are kept.
struct Body {
    mac: Option<Box<Hmac<Sha256>>>,
    bytes: u64,
}

/// The state of a connection.
struct S7 {
    exchanges: Exchanges<Key>,
    asked: VecDeque<Asked>,
    body: Option<Body>,
    /// The name of the block that is uploaded.
    block: String,
    szl: Vec<u8>,
    scratch: String,
}

impl S7 {
    fn new() -> S7 {
        S7 {
            exchanges: Exchanges::new(PROTOCOL.name, REPLY_TIMEOUT),
            asked: VecDeque::new(),
            body: None,
            block: String::new(),
            szl: Vec::new(),
            scratch: String::new(),
        }
    }
}

impl Upper for S7 {
    const PROTOCOL: &'static str = PROTOCOL.name;

    fn connect(&mut self, _cx: &mut Cx<'_>, draft: &mut Draft, connect: &Connect<'_>) -> Result<(), Cut> {
        // A selector of two bytes: the connection's kind, and rack and slot of the module.
        if let (false, &[kind, place]) = (connect.confirms, connect.destination) {
            let kind = match kind {
                1 => "pg",
                2 => "op",
                3 => "s7_basic",
                _ => "other",
            };
            json::member_text(&mut draft.detail, "connection", kind);
            draft.target.clear();
            let _ = write!(draft.target, "rack {} slot {}", place >> 5, place & 0x1f);
        }
        Ok(())
    }

    fn data(&mut self, cx: &mut Cx<'_>, side: Side, data: &[u8]) -> Result<(), Cut> {
        let pdu = Pdu::read(data)?;
        match pdu.rosctr {
            rosctr::JOB => self.job(cx, side, pdu),
            rosctr::USERDATA => self.userdata(cx, side, pdu),
            _ => self.acknowledged(cx, side, pdu),
        }
        Ok(())
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, _side: Side) {
        self.body = None;
        self.szl.clear();
    }

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.expire(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.close(cx);
        self.asked.clear();
    }
}

impl S7 {
    fn job(&mut self, cx: &mut Cx<'_>, side: Side, mut pdu: Pdu<'_>) {
        let code = pdu.parameter.peek().unwrap_or(function::CPU_SERVICES);
        let (operation, name) = named(code);
        let mut draft = self.exchanges.draft(cx, side, operation, name);
        draft.equipment = Side::Server;
        begin(&mut draft, &pdu, code);
        if let Err(cut) = self.request(cx, &mut draft, side, code, &mut pdu) {
            draft.wrong(cut);
        }
        self.exchanges.ask(cx, (Some(code), pdu.reference), draft);
    }

    fn request(
        &mut self,
        cx: &Cx<'_>,
        draft: &mut Draft,
        side: Side,
        code: u8,
        pdu: &mut Pdu<'_>,
    ) -> Result<(), Cut> {
        let parameter = &mut pdu.parameter;
        parameter.u8("function")?;
        match code {
            function::SETUP => {
                parameter.skip(1, "setup")?;
                setup(draft, parameter, "")?;
            }
            function::READ_VAR | function::WRITE_VAR => {
                let count = parameter.u8("item_count")?;
                let mut items = Vec::with_capacity(usize::from(count));
                for _ in 0..count {
                    let item = Item::read(parameter)?;
                    item.push_target(&mut draft.target);
                    items.push(item);
                }
                draft.set_count(u32::from(count));
                if code == function::WRITE_VAR {
                    draft.set_count(0);
                    items::values(None, draft, &items, &mut pdu.data, &mut self.scratch)?;
                }
                if self.asked.len() == WAITING_MAX {
                    self.asked.pop_front();
                }
                if self.asked.capacity() == 0 {
                    self.asked.reserve_exact(1);
                }
                self.asked.push_back(Asked { side, reference: pdu.reference, items });
            }
            function::REQUEST_DOWNLOAD
            | function::DOWNLOAD_BLOCK
            | function::DOWNLOAD_ENDED
            | function::START_UPLOAD => {
                parameter.skip(7, "upload_id")?;
                let length = usize::from(parameter.u8("block_name_length")?);
                block_name(&mut draft.target, parameter.take(length, "block_name")?);
                match code {
                    function::START_UPLOAD => {
                        self.block.clear();
                        self.block.push_str(&draft.target);
                        self.body = Some(Body::new(cx));
                    }
                    function::REQUEST_DOWNLOAD => {
                        self.body = Some(Body::new(cx));
                        if let Some(lengths) = parameter.rest().get(2..14) {
                            // Load memory and code, in decimal digits.
                            for (name, digits) in
                                [("load_bytes", &lengths[..6]), ("code_bytes", &lengths[6..])]
                            {
                                let number = std::str::from_utf8(digits).ok().and_then(|d| d.parse().ok());
                                if let Some(number) = number {
                                    json::member_number(&mut draft.detail, name, number);
                                }
                            }
                        }
                    }
                    _ => {}
                }
            }
            function::UPLOAD | function::END_UPLOAD => draft.target.push_str(&self.block),
            function::PI_SERVICE => {
                parameter.skip(7, "pi_service")?;
                let length = usize::from(parameter.u16_be("pi_parameter_length")?);
                let block = parameter.take(length, "pi_parameter")?;
                let length = usize::from(parameter.u8("pi_name_length")?);
                program_invocation(draft, parameter.take(length, "pi_name")?, block);
            }
            function::PLC_STOP => {
                parameter.skip(5, "plc_stop")?;
                let length = usize::from(parameter.u8("pi_name_length")?);
                draft.target.push_str(&String::from_utf8_lossy(parameter.take(length, "pi_name")?));
            }
            _ => {}
        }
        Ok(())
    }

    fn acknowledged(&mut self, cx: &mut Cx<'_>, side: Side, mut pdu: Pdu<'_>) {
        let code = pdu.parameter.peek();
        let reference = pdu.reference;
        // An acknowledgement without a parameter answers any function.
        let asked = self.exchanges.answered_if(side, |key, _| {
            key.1 == reference && key.0.is_some_and(|asked| code.is_none_or(|code| code == asked))
        });
        let items = self
            .asked
            .iter()
            .position(|a| a.side != side && a.reference == reference)
            .and_then(|at| self.asked.remove(at))
            .map(|a| a.items);
        let unasked = asked.is_none();
        let mut draft = asked.unwrap_or_else(|| {
            let (operation, name) = code.map_or((operation::OTHER, "ack".into()), named);
            let mut draft = self.exchanges.draft(cx, side.other(), operation, name);
            draft.equipment = Side::Server;
            begin(&mut draft, &pdu, code.unwrap_or(0));
            draft
        });
        if pdu.error != 0 {
            draft.deny(error(pdu.error));
        } else if let (Some(code), true) = (code, draft.status == status::OK)
            && let Err(cut) = self.answer(cx, &mut draft, code, &mut pdu, items.as_deref())
        {
            draft.wrong(cut);
        }
        if unasked { self.exchanges.unasked(cx, draft) } else { self.exchanges.pair(cx, draft) }
    }

    fn answer(
        &mut self,
        cx: &mut Cx<'_>,
        draft: &mut Draft,
        code: u8,
        pdu: &mut Pdu<'_>,
        items: Option<&[Item]>,
    ) -> Result<(), Cut> {
        let parameter = &mut pdu.parameter;
        parameter.u8("function")?;
        match code {
            function::SETUP => {
                parameter.skip(1, "setup")?;
                setup(draft, parameter, "negotiated_")?;
            }
            function::READ_VAR => {
                let count = parameter.u8("item_count")?;
                let unknown: Vec<Item>;
                let items = match items {
                    Some(items) if items.len() == usize::from(count) => items,
                    _ => {
                        unknown = vec![Item::default(); usize::from(count)];
                        &unknown
                    }
                };
                draft.set_count(0);
                items::values(Some(cx), draft, items, &mut pdu.data, &mut self.scratch)?;
            }
            function::WRITE_VAR => {
                let count = parameter.u8("item_count")?;
                for _ in 0..count {
                    let code = pdu.data.u8("return_code")?;
                    if code != 0xff {
                        draft.deny(items::return_code(code));
                    }
                }
            }
            function::DOWNLOAD_BLOCK | function::UPLOAD => {
                if let Some(&more) = parameter.rest().first() {
                    json::member_bool(&mut draft.detail, "more", more & 1 != 0);
                }
                if !pdu.data.is_empty() {
                    let length = usize::from(pdu.data.u16_be("block_length")?);
                    pdu.data.skip(2, "block_data")?;
                    let part = pdu.data.take(length, "block_length")?;
                    draft.body_bytes = Some(part.len() as u64);
                    if let Some(body) = &mut self.body {
                        body.add(part);
                    }
                }
            }
            function::DOWNLOAD_ENDED | function::END_UPLOAD => {
                if let Some(body) = self.body.take() {
                    body.finish(draft);
                }
            }
            _ => {}
        }
        Ok(())
    }
}

impl Body {
    fn new(cx: &Cx<'_>) -> Body {
        Body { mac: Hmac::new_from_slice(&cx.settings.plant_key).ok().map(Box::new), bytes: 0 }
    }

    fn add(&mut self, part: &[u8]) {
        self.bytes += part.len() as u64;
        if let Some(mac) = &mut self.mac {
            mac.update(part);
        }
    }

    fn finish(self, draft: &mut Draft) {
        if let (Some(mac), true) = (self.mac, self.bytes > 0) {
            draft.body_bytes = Some(self.bytes);
            json::push_hex_digits(&mut draft.body_hmac, &mac.finalize().into_bytes());
        }
    }
}

fn begin(draft: &mut Draft, pdu: &Pdu<'_>, code: u8) {
    json::member_number(&mut draft.detail, "pdu_reference", u64::from(pdu.reference));
    json::member_number(&mut draft.detail, "function", u64::from(code));
}

fn setup(draft: &mut Draft, parameter: &mut Cursor<'_>, prefix: &str) -> Result<(), Cut> {
    for name in ["max_amq_calling", "max_amq_called", "pdu_length"] {
        let number = parameter.u16_be("setup")?;
        json::member_number(&mut draft.detail, &format!("{prefix}{name}"), u64::from(number));
    }
    Ok(())
}

/// Appends a block's name from its file name: `_0800001P` is OB1.
fn block_name(out: &mut String, name: &[u8]) {
    let kind = match name.get(1..3).unwrap_or_default() {
        b"08" => "OB",
        b"0A" => "DB",
        b"0B" => "SDB",
        b"0C" => "FC",
        b"0D" => "SFC",
        b"0E" => "FB",
        b"0F" => "SFB",
        _ => "",
    };
    let number = name.get(3..8).and_then(|d| std::str::from_utf8(d).ok()).and_then(|d| d.parse::<u32>().ok());
    match (kind, number) {
        ("", _) | (_, None) => out.push_str(&String::from_utf8_lossy(name)),
        (kind, Some(number)) => {
            let _ = write!(out, "{kind}{number}");
        }
    }
}

/// A program invocation: what it does to the controller tells the operation.
fn program_invocation(draft: &mut Draft, name: &[u8], block: &[u8]) {
    let name = String::from_utf8_lossy(name);
    json::member_text(&mut draft.detail, "pi_service", &name);
    match &*name {
        "_INSE" | "_INS2" | "_DELE" => {
            draft.operation = operation::PROGRAM_WRITE;
            draft.function = if name == "_DELE" { "delete_block" } else { "activate_block" }.into();
            // The number of blocks and a reserved byte, then names of eight bytes.
            for entry in block.get(2..).unwrap_or_default().chunks_exact(8).take(32) {
                if !draft.target.is_empty() {
                    draft.target.push_str(", ");
                }
                let mut file = [b'_'; 9];
                file[1..].copy_from_slice(entry);
                block_name(&mut draft.target, &file);
            }
        }
        _ => {
            draft.target.push_str(&name);
            if !block.is_empty() {
                json::member_text(
                    &mut draft.detail,
                    "argument",
                    &String::from_utf8_lossy(&block[..block.len().min(64)]),
                );
            }
        }
    }
    match &*name {
        "P_PROGRAM" if block == b"C " || block == b" C" => draft.function = "plc_cold_start".into(),
        "P_PROGRAM" => draft.function = "plc_start".into(),
        "_MODU" => draft.function = "copy_ram_to_rom".into(),
        "_GARB" => draft.function = "compress_memory".into(),
        _ => {}
    }
}

/// A job's operation and name.
fn named(code: u8) -> (&'static str, Cow<'static, str>) {
    let (operation, name) = match code {
        function::CPU_SERVICES => (operation::DIAGNOSE, "cpu_services"),
        function::READ_VAR => (operation::READ, "read_var"),
        function::WRITE_VAR => (operation::WRITE, "write_var"),
        function::REQUEST_DOWNLOAD => (operation::PROGRAM_WRITE, "request_download"),
        function::DOWNLOAD_BLOCK => (operation::PROGRAM_WRITE, "download_block"),
        function::DOWNLOAD_ENDED => (operation::PROGRAM_WRITE, "download_ended"),
        function::START_UPLOAD => (operation::PROGRAM_READ, "start_upload"),
        function::UPLOAD => (operation::PROGRAM_READ, "upload"),
        function::END_UPLOAD => (operation::PROGRAM_READ, "end_upload"),
        function::PI_SERVICE => (operation::CONTROL, "pi_service"),
        function::PLC_STOP => (operation::CONTROL, "plc_stop"),
        function::SETUP => (operation::SESSION_OPEN, "setup_communication"),
        other => return (operation::OTHER, format!("function_0x{other:02x}").into()),
    };
    (operation, name.into())
}

/// An error by its class, and its number.
fn error(code: u16) -> Cow<'static, str> {
    let name = match code {
        0x8104 => "function_not_available",
        0x8500 => "pdu_size_wrong",
        0xd201 => "block_name_syntax_error",
        0xd209 => "block_not_found",
        0xd20e => "no_block",
        0xd210 => "block_number_too_big",
        0xd241 => "password_protected",
        0xd402 => "object_not_available",
        0xd401 => "szl_id_unknown",
        0xd602 => "password_wrong",
        0xd604 => "no_password_set",
        _ => match code >> 8 {
            0x81 => "application_relationship_error",
            0x82 => "object_definition_error",
            0x83 => "no_resources_available",
            0x84 => "service_processing_error",
            0x85 => "supplies_error",
            0x87 => "access_error",
            _ => return format!("error_0x{code:04x}").into(),
        },
    };
    name.into()
}

#[cfg(test)]
mod tests;
