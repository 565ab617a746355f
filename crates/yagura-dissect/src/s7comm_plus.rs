//! S7comm-plus: Siemens S7-1200/1500 communication over ISO on TCP (RFC 1006, X.224 class 0).
//!
//! The vendor publishes no standard; names are those in use in the field. Requests and responses
//! are paired by function and sequence number. A header and a trailer enclose data, which may be
//! spread over several units; from version 3 on a digest stands before it. After `InitSSL`, TLS
//! runs inside: what it hides is said to be opaque.

use std::borrow::Cow;
use std::collections::VecDeque;

use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::{operation, status};

use crate::cursor::{Cursor, Cut};
use crate::exchange::{Draft, Exchanges, WAITING_MAX};
use crate::framing::Framing;
use crate::tpkt::{self, Connect, First, Over, Upper};
use crate::{Carrier, Cx, Glimpse, Probe, Protocol, Side, json};

mod objects;
mod values;

use objects::{Address, id};
use values::vlq;

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: "s7comm_plus",
    carriers: &[Carrier::tcp(&[102])],
    probe,
    start: |_| Box::new(Framing::new(Over::new(S7Plus::new()))),
    buffer_bytes_max: tpkt::FRAME_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

/// A request without a response for that long gets a row of its own.
const REPLY_TIMEOUT: Micros = 10 * SECOND;
/// The first byte of header and trailer.
const PROTOCOL_ID: u8 = 0x72;
/// Version 3's digest and the byte that tells its length.
const DIGEST: usize = 33;
/// The most data that is put together from fragments.
const DATA_MAX: usize = 1 << 20;
/// Most samples of one message.
const SAMPLES_MAX: usize = 256;
/// No response is awaited.
const NO_RESPONSE: u8 = 0x40;

mod opcode {
    pub const REQUEST: u8 = 0x31;
    pub const RESPONSE: u8 = 0x32;
    pub const NOTIFICATION: u8 = 0x33;
    /// A response in short, to what asks for none.
    pub const RESPONSE_2: u8 = 0x02;
}

mod function {
    pub const EXPLORE: u16 = 0x04bb;
    pub const CREATE_OBJECT: u16 = 0x04ca;
    pub const DELETE_OBJECT: u16 = 0x04d4;
    pub const SET_VARIABLE: u16 = 0x04f2;
    pub const GET_VARIABLE: u16 = 0x04fc;
    pub const GET_LINK: u16 = 0x0524;
    pub const SET_MULTI_VARIABLES: u16 = 0x0542;
    pub const GET_MULTI_VARIABLES: u16 = 0x054c;
    pub const INVOKE: u16 = 0x056b;
    pub const SET_VAR_SUB_STREAMED: u16 = 0x057c;
    pub const GET_VAR_SUB_STREAMED: u16 = 0x0586;
    pub const INIT_SSL: u16 = 0x05b3;
}

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    match tpkt::first_data(glimpse.bytes) {
        First::More => Probe::More,
        First::No => Probe::No,
        First::Data(data) => match *data {
            [PROTOCOL_ID] | [PROTOCOL_ID, 1..=3] => Probe::More,
            [PROTOCOL_ID, 1..=3, _] | [PROTOCOL_ID, 1..=3, _, _] => Probe::More,
            [PROTOCOL_ID, 1..=3, _, _, opcode::REQUEST..=opcode::NOTIFICATION | opcode::RESPONSE_2, ..]
            | [PROTOCOL_ID, 3, _, _, 0x20, ..] => Probe::Yes,
            // What is sent to keep a connection.
            [PROTOCOL_ID, 0xfe | 0xff, ..] if glimpse.customary => Probe::Yes,
            // TLS inside: nothing else has it on this port.
            [0x14..=0x17, 3, 1..=4, ..] if glimpse.customary => Probe::Yes,
            [0x14..=0x17] | [0x14..=0x17, 3] if glimpse.customary => Probe::More,
            _ => Probe::No,
        },
    }
}

/// What a response is read with.
type Key = (u16, u16);

/// A read that waits for its response.
struct Asked {
    side: Side,
    key: Key,
    addresses: Vec<Address>,
}

/// Data in the making.
#[derive(Default)]
struct Fragments {
    bytes: Vec<u8>,
    /// The beginning is missing, or it is too much.
    skip: bool,
}

/// The state of a connection.
struct S7Plus {
    exchanges: Exchanges<Key>,
    asked: VecDeque<Asked>,
    fragments: [Fragments; 2],
    opaque: bool,
    text: String,
}

impl S7Plus {
    fn new() -> S7Plus {
        S7Plus {
            exchanges: Exchanges::new(PROTOCOL.name, REPLY_TIMEOUT),
            asked: VecDeque::new(),
            fragments: Default::default(),
            opaque: false,
            text: String::new(),
        }
    }
}

impl Upper for S7Plus {
    const PROTOCOL: &'static str = PROTOCOL.name;

    fn connect(&mut self, _cx: &mut Cx<'_>, _draft: &mut Draft, _connect: &Connect<'_>) -> Result<(), Cut> {
        Ok(())
    }

    fn data(&mut self, cx: &mut Cx<'_>, side: Side, data: &[u8]) -> Result<(), Cut> {
        if self.opaque {
            return Ok(());
        }
        let mut cursor = Cursor::new(data);
        let first = cursor.u8("protocol_id")?;
        if matches!((first, cursor.peek()), (0x14..=0x17, Some(3))) {
            self.opaque = true;
            cx.opaque(PROTOCOL.name, "TLS runs inside after InitSSL");
            return Ok(());
        }
        cursor.check(first == PROTOCOL_ID, "protocol_id")?;
        let version = cursor.u8("version")?;
        let length = usize::from(cursor.u16_be("data_length")?);
        if !matches!(version, 1..=3) {
            // Keeps a connection, or tells of the system: nothing that is known.
            return Ok(());
        }
        let mut part = cursor.take(length, "data_length")?;
        if version == 3 && part.first() == Some(&(DIGEST as u8 - 1)) {
            part = part.get(DIGEST..).ok_or(cursor.cut("digest"))?;
        }
        let last = cursor.rest().first() == Some(&PROTOCOL_ID);
        let fragments = &mut self.fragments[side as usize];
        if fragments.skip {
            fragments.skip = !last;
            return Ok(());
        }
        if last && fragments.bytes.is_empty() {
            return self.pdu(cx, side, version, part);
        }
        if fragments.bytes.len() + part.len() > DATA_MAX {
            *fragments = Fragments { bytes: Vec::new(), skip: !last };
            return Err(cursor.cut("data_too_long"));
        }
        fragments.bytes.extend_from_slice(part);
        if !last {
            return Ok(());
        }
        let bytes = std::mem::take(&mut fragments.bytes);
        self.pdu(cx, side, version, &bytes)
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, side: Side) {
        let fragments = &mut self.fragments[side as usize];
        fragments.skip = !fragments.bytes.is_empty();
        fragments.bytes = Vec::new();
    }

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.expire(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.close(cx);
        self.asked.clear();
    }
}

impl S7Plus {
    fn pdu(&mut self, cx: &mut Cx<'_>, side: Side, version: u8, data: &[u8]) -> Result<(), Cut> {
        let mut cursor = Cursor::new(data);
        let opcode = cursor.u8("opcode")?;
        if opcode == opcode::NOTIFICATION {
            return self.notification(cx, side, version, &mut cursor);
        }
        cursor.check(matches!(opcode, opcode::REQUEST | opcode::RESPONSE | opcode::RESPONSE_2), "opcode")?;
        cursor.skip(2, "reserved")?;
        let function = cursor.u16_be("function")?;
        cursor.skip(2, "reserved")?;
        let sequence = cursor.u16_be("sequence_number")?;
        if opcode == opcode::REQUEST {
            let session = cursor.u32_be("session_id")?;
            let flags = cursor.u8("transport_flags")?;
            self.request(cx, side, version, (function, sequence), session, flags, &mut cursor);
        } else {
            cursor.u8("transport_flags")?;
            self.response(cx, side, version, opcode, (function, sequence), &mut cursor);
        }
        Ok(())
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of a request's header")]
    fn request(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        version: u8,
        key: Key,
        session: u32,
        flags: u8,
        cursor: &mut Cursor<'_>,
    ) {
        let (operation, name) = named(key.0);
        let mut draft = self.exchanges.draft(cx, side, operation, name);
        draft.equipment = Side::Server;
        draft.session = format!("0x{session:x}");
        begin(&mut draft, version, opcode::REQUEST, key);
        let mut addresses = Vec::new();
        // What is beyond what is known of the format is left unread, and the row says so.
        if self.ask(cx, &mut draft, key.0, session, cursor, &mut addresses).is_err() {
            json::member_bool(&mut draft.detail, "partly_read", true);
        }
        if !addresses.is_empty() {
            if self.asked.len() == WAITING_MAX {
                self.asked.pop_front();
            }
            self.asked.push_back(Asked { side, key, addresses });
        }
        if flags & NO_RESPONSE != 0 {
            // A short one may come all the same.
            draft.status = status::ONE_WAY;
        }
        self.exchanges.ask(cx, key, draft);
    }

    fn ask(
        &mut self,
        cx: &mut Cx<'_>,
        draft: &mut Draft,
        function: u16,
        session: u32,
        cursor: &mut Cursor<'_>,
        addresses: &mut Vec<Address>,
    ) -> Result<(), Cut> {
        match function {
            function::CREATE_OBJECT => {
                let parent = cursor.u32_be("object_id")?;
                self.text.clear();
                values::read(cursor, &mut self.text)?;
                cursor.skip(4, "reserved")?;
                let whole = cursor.rest();
                let tree = objects::tree(cursor, draft)?;
                draft.target.push_str(&tree.name);
                json::member_number(&mut draft.detail, "class", u64::from(tree.class));
                let mut name = String::new();
                objects::push_object(&mut name, parent);
                json::member_text(&mut draft.detail, "parent", &name);
                if let Some(kind) = objects::block_class(tree.class) {
                    draft.operation = operation::PROGRAM_WRITE;
                    json::member_text(&mut draft.detail, "block", kind);
                    draft.seal(&cx.settings.plant_key, &whole[..whole.len() - cursor.remaining()]);
                } else if tree.class == id::SERVER_SESSION {
                    draft.operation = operation::SESSION_OPEN;
                } else if tree.class == id::SUBSCRIPTION {
                    json::member_bool(&mut draft.detail, "subscription", true);
                } else if objects::is_program(parent) {
                    draft.operation = operation::PROGRAM_WRITE;
                }
            }
            function::DELETE_OBJECT => {
                let object = cursor.u32_be("object_id")?;
                objects::push_object(&mut draft.target, object);
                if object == session {
                    draft.operation = operation::SESSION_CLOSE;
                } else if objects::is_program(object) {
                    draft.operation = operation::PROGRAM_WRITE;
                }
            }
            function::SET_VARIABLE => {
                let object = cursor.u32_be("object_id")?;
                let count = vlq(cursor)?;
                self.set(draft, object, count, cursor, true)?;
            }
            function::SET_MULTI_VARIABLES => {
                let object = cursor.u32_be("object_id")?;
                let count = vlq(cursor)?;
                let fields = vlq(cursor)?;
                cursor.check(fields as usize <= cursor.remaining(), "field_count")?;
                if object != 0 {
                    return self.set(draft, object, count, cursor, false);
                }
                read_addresses(draft, count, cursor, addresses)?;
                if addresses.iter().any(|a| a.first == id::STATE_REQUEST) {
                    draft.operation = operation::CONTROL;
                } else if addresses.iter().any(|a| objects::is_program(a.area) && a.first == id::CODE) {
                    draft.operation = operation::PROGRAM_WRITE;
                }
                draft.set_count(0);
                self.values(None, draft, addresses, cursor)?;
                addresses.clear();
            }
            function::GET_MULTI_VARIABLES => {
                let link = cursor.u32_be("link_id")?;
                let count = vlq(cursor)?;
                let fields = vlq(cursor)?;
                cursor.check(fields as usize <= cursor.remaining(), "field_count")?;
                if link == 0 {
                    read_addresses(draft, count, cursor, addresses)?;
                } else {
                    objects::push_object(&mut draft.target, link);
                }
            }
            function::GET_VAR_SUB_STREAMED | function::SET_VAR_SUB_STREAMED | function::GET_VARIABLE => {
                let object = cursor.u32_be("object_id")?;
                self.text.clear();
                objects::push_object(&mut draft.target, object);
                values::read(cursor, &mut self.text)?;
                let ids = self.text.trim_matches(['[', ']']).split(',').filter_map(|n| n.parse().ok());
                let ids: Vec<u32> = ids.collect();
                for attribute in &ids {
                    draft.target.push('.');
                    objects::push_attribute(&mut draft.target, *attribute);
                }
                let first = ids.first().copied().unwrap_or(0);
                if function == function::SET_VAR_SUB_STREAMED {
                    draft.operation = objects::set(object, first);
                } else if objects::secret(first) {
                    draft.operation = operation::AUTHENTICATE;
                } else if objects::is_program(object) && first == id::CODE {
                    draft.operation = operation::PROGRAM_READ;
                }
            }
            function::EXPLORE => {
                let object = cursor.u32_be("object_id")?;
                objects::push_object(&mut draft.target, object);
                let code = cursor.rest().windows(2).any(|pair| pair == [0x94, 0x14]);
                if objects::is_program(object) && object != id::PROGRAM && code {
                    draft.operation = operation::PROGRAM_READ;
                }
            }
            function::INVOKE | function::GET_LINK => {
                objects::push_object(&mut draft.target, cursor.u32_be("object_id")?);
            }
            _ => {}
        }
        Ok(())
    }

    /// Attributes of one object that are set.
    fn set(
        &mut self,
        draft: &mut Draft,
        object: u32,
        count: u32,
        cursor: &mut Cursor<'_>,
        single: bool,
    ) -> Result<(), Cut> {
        objects::push_object(&mut draft.target, object);
        cursor.check(count as usize <= cursor.remaining(), "item_count")?;
        let mut attributes = Vec::new();
        for at in 0..count {
            let attribute = vlq(cursor)?;
            draft.target.push(if at == 0 { '.' } else { ',' });
            objects::push_attribute(&mut draft.target, attribute);
            attributes.push(attribute);
        }
        // The most telling of them says what is done.
        let does: Vec<&str> = attributes.iter().map(|attribute| objects::set(object, *attribute)).collect();
        let rank = [
            operation::CONTROL,
            operation::AUTHENTICATE,
            operation::SESSION_OPEN,
            operation::PROGRAM_WRITE,
            operation::CONFIGURE,
        ];
        draft.operation =
            rank.into_iter().find(|operation| does.contains(operation)).unwrap_or(operation::WRITE);
        for at in 0..count as usize {
            let attribute = if single {
                attributes.get(at).copied().unwrap_or(0)
            } else {
                let item = vlq(cursor)? as usize;
                if item == 0 {
                    break;
                }
                attributes.get(item - 1).copied().unwrap_or(0)
            };
            self.text.clear();
            let value = values::read(cursor, &mut self.text)?;
            if objects::secret(attribute) {
                draft.push_text("hidden");
            } else if let Some(number) = value.number {
                draft.push_value(number);
            } else {
                draft.push_json(&self.text);
            }
            if attribute == id::STATE_REQUEST && object == id::EXECUTION_UNIT {
                let name = match value.number {
                    Some(1.0) => "cpu_stop",
                    Some(3.0) => "cpu_start",
                    _ => "cpu_operating_state",
                };
                json::member_text(&mut draft.detail, "control", name);
            }
            if single {
                break;
            }
        }
        Ok(())
    }

    fn response(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        version: u8,
        opcode: u8,
        key: Key,
        cursor: &mut Cursor<'_>,
    ) {
        let asked = self.asked.iter().position(|a| a.side != side && a.key == key);
        let addresses =
            asked.and_then(|at| self.asked.remove(at)).map(|asked| asked.addresses).unwrap_or_default();
        let waiting = self.exchanges.answered(side, &key);
        let unasked = waiting.is_none();
        let mut draft = waiting.unwrap_or_else(|| {
            let (operation, name) = named(key.0);
            let mut draft = self.exchanges.draft(cx, side.other(), operation, name);
            draft.equipment = Side::Server;
            begin(&mut draft, version, opcode, key);
            draft
        });
        if opcode == opcode::RESPONSE_2 {
            json::member_bool(&mut draft.detail, "short_response", true);
        }
        if draft.status == status::ONE_WAY {
            draft.status = status::OK;
        }
        if opcode == opcode::RESPONSE {
            match self.answer(cx, side, &mut draft, key.0, &addresses, cursor) {
                Ok(()) => {}
                Err(_) => json::member_bool(&mut draft.detail, "response_partly_read", true),
            }
        }
        if unasked { self.exchanges.unasked(cx, draft) } else { self.exchanges.pair(cx, draft) }
    }

    fn answer(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        draft: &mut Draft,
        function: u16,
        addresses: &[Address],
        cursor: &mut Cursor<'_>,
    ) -> Result<(), Cut> {
        let code = values::vlq64(cursor)?;
        // The error is a number with a sign in the lowest two bytes.
        let error = code as u16 as i16;
        if error < 0 {
            draft.deny(format!("error_{error}"));
            return Ok(());
        }
        match function {
            function::CREATE_OBJECT => {
                let count = cursor.u8("object_count")?;
                for at in 0..count {
                    let object = vlq(cursor)?;
                    if at == 0 {
                        json::key(&mut draft.detail, "object");
                        draft.detail.push_str(&format!("\"0x{object:x}\""));
                    }
                }
                let tree = objects::tree(cursor, draft)?;
                for system in &tree.systems {
                    identity(cx, side, system);
                }
            }
            function::GET_MULTI_VARIABLES => {
                draft.set_count(0);
                self.values(Some((cx, side)), draft, addresses, cursor)?;
                self.errors(draft, addresses, cursor)?;
            }
            function::SET_MULTI_VARIABLES => self.errors(draft, addresses, cursor)?,
            function::GET_VAR_SUB_STREAMED | function::GET_VARIABLE
                if draft.operation != operation::AUTHENTICATE =>
            {
                self.text.clear();
                let value = values::read(cursor, &mut self.text)?;
                match value.number {
                    Some(number) => draft.push_value(number),
                    None => draft.push_json(&self.text),
                }
            }
            function::EXPLORE => {
                cursor.skip(4, "object_id")?;
                let tree = match cursor.peek() {
                    Some(0xa1) => objects::tree(cursor, draft)?,
                    _ => {
                        vlq(cursor)?;
                        objects::tree(cursor, draft)?
                    }
                };
                for name in &tree.names {
                    draft.push_text(name);
                }
                json::member_number(&mut draft.detail, "objects", tree.objects as u64);
                if tree.body > 0 {
                    draft.body_bytes = Some(tree.body as u64);
                }
                for system in &tree.systems {
                    identity(cx, side, system);
                }
            }
            function::INIT_SSL => json::member_bool(&mut draft.detail, "tls", true),
            _ => {}
        }
        Ok(())
    }

    /// Values of addresses, each with its place in their list.
    fn values(
        &mut self,
        mut device: Option<(&mut Cx<'_>, Side)>,
        draft: &mut Draft,
        addresses: &[Address],
        cursor: &mut Cursor<'_>,
    ) -> Result<(), Cut> {
        let mut samples = 0;
        loop {
            let item = vlq(cursor)? as usize;
            if item == 0 {
                return Ok(());
            }
            self.text.clear();
            let value = values::read(cursor, &mut self.text)?;
            match value.number {
                Some(number) => draft.push_value(number),
                None => draft.push_json(&self.text),
            }
            let address = addresses.get(item - 1);
            if let (Some((cx, side)), Some(number), Some(address)) = (&mut device, value.number, address) {
                samples += 1;
                if samples <= SAMPLES_MAX {
                    let end = cx.flow.end(*side);
                    let source = format!("{} {}:{} {}", PROTOCOL.name, end.address, end.port, address.text);
                    cx.measured(*side, &address.text, &source, number, 0);
                }
            }
        }
    }

    /// Errors of addresses, each with its place in their list.
    fn errors(
        &mut self,
        draft: &mut Draft,
        addresses: &[Address],
        cursor: &mut Cursor<'_>,
    ) -> Result<(), Cut> {
        let mut failed = 0;
        let mut last = 0_i16;
        loop {
            let item = vlq(cursor)?;
            if item == 0 {
                break;
            }
            last = values::vlq64(cursor)? as u16 as i16;
            failed += 1;
        }
        if failed > 0 {
            json::member_number(&mut draft.detail, "items_failed", failed);
            draft.status_code = format!("error_{last}").into();
            if failed as usize >= addresses.len().max(1) {
                draft.deny(format!("error_{last}"));
            }
        }
        Ok(())
    }

    /// What a subscription sends.
    fn notification(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        version: u8,
        cursor: &mut Cursor<'_>,
    ) -> Result<(), Cut> {
        let object = cursor.u32_be("subscription")?;
        let mut draft = self.exchanges.draft(cx, side, operation::REPORT, "notification");
        draft.equipment = side;
        draft.target = format!("0x{object:x}");
        json::member_number(&mut draft.detail, "version", u64::from(version));
        json::member_number(&mut draft.detail, "opcode", u64::from(opcode::NOTIFICATION));
        if self.notified(cx, side, object, &mut draft, cursor).is_err() {
            json::member_bool(&mut draft.detail, "partly_read", true);
        }
        self.exchanges.one_way(cx, draft);
        Ok(())
    }

    fn notified(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        object: u32,
        draft: &mut Draft,
        cursor: &mut Cursor<'_>,
    ) -> Result<(), Cut> {
        cursor.skip(6, "notification")?;
        let sequence = vlq(cursor)?;
        json::member_number(&mut draft.detail, "sequence_number", u64::from(sequence));
        cursor.skip(1, "change_counter")?;
        let mut failed = 0;
        for _ in 0..4096 {
            let reference = match cursor.u8("item_result")? {
                0 => break,
                0x92 => cursor.u32_be("item_reference")?,
                0x9b => vlq(cursor)?,
                0x9c => {
                    cursor.skip(4, "item_reference")?;
                    continue;
                }
                0x13 | 0x03 => {
                    cursor.skip(4, "item_reference")?;
                    failed += 1;
                    continue;
                }
                _ => return Err(cursor.cut("item_result")),
            };
            self.text.clear();
            let value = values::read(cursor, &mut self.text)?;
            match value.number {
                Some(number) => {
                    draft.push_value(number);
                    let signal = format!("0x{object:x}.{}", reference as i32);
                    let end = cx.flow.end(side);
                    let source = format!("{} {}:{} {signal}", PROTOCOL.name, end.address, end.port);
                    cx.measured(side, &signal, &source, number, 0);
                }
                None => draft.push_json(&self.text),
            }
        }
        if failed > 0 {
            json::member_number(&mut draft.detail, "items_failed", failed);
        }
        Ok(())
    }
}

fn read_addresses(
    draft: &mut Draft,
    count: u32,
    cursor: &mut Cursor<'_>,
    addresses: &mut Vec<Address>,
) -> Result<(), Cut> {
    cursor.check(count as usize <= cursor.remaining(), "item_count")?;
    for _ in 0..count {
        let address = objects::address(cursor)?;
        if draft.target.len() < 1024 {
            if !draft.target.is_empty() {
                draft.target.push_str(", ");
            }
            draft.target.push_str(&address.text);
        }
        addresses.push(address);
    }
    draft.set_count(count);
    Ok(())
}

/// `1;6ES7 214-1HE30-0XB0 ;V2.2`: a number, the order number, the firmware.
fn identity(cx: &mut Cx<'_>, side: Side, text: &str) {
    let mut parts = text.split(';').map(str::trim);
    let (Some(_), Some(model), firmware) = (parts.next(), parts.next(), parts.next().unwrap_or_default())
    else {
        return;
    };
    if model.is_empty() {
        return;
    }
    cx.identity(
        PROTOCOL.name,
        side,
        IdentityRow { vendor: "Siemens", model, firmware, ..IdentityRow::default() },
    );
}

fn begin(draft: &mut Draft, version: u8, opcode: u8, key: Key) {
    json::member_number(&mut draft.detail, "version", u64::from(version));
    json::member_number(&mut draft.detail, "opcode", u64::from(opcode));
    json::member_number(&mut draft.detail, "function", u64::from(key.0));
    json::member_number(&mut draft.detail, "sequence_number", u64::from(key.1));
}

/// A function's operation and name.
fn named(code: u16) -> (&'static str, Cow<'static, str>) {
    let (operation, name) = match code {
        0x04b1 => (operation::ERROR, "error"),
        function::EXPLORE => (operation::DISCOVER, "explore"),
        function::CREATE_OBJECT => (operation::CONFIGURE, "create_object"),
        function::DELETE_OBJECT => (operation::CONFIGURE, "delete_object"),
        function::SET_VARIABLE => (operation::WRITE, "set_variable"),
        function::GET_VARIABLE => (operation::READ, "get_variable"),
        0x0506 => (operation::CONFIGURE, "add_link"),
        0x051a => (operation::CONFIGURE, "remove_link"),
        function::GET_LINK => (operation::DISCOVER, "get_link"),
        function::SET_MULTI_VARIABLES => (operation::WRITE, "set_multi_variables"),
        function::GET_MULTI_VARIABLES => (operation::READ, "get_multi_variables"),
        0x0556 => (operation::CONFIGURE, "begin_sequence"),
        0x0560 => (operation::CONFIGURE, "end_sequence"),
        function::INVOKE => (operation::CONTROL, "invoke"),
        function::SET_VAR_SUB_STREAMED => (operation::WRITE, "set_var_sub_streamed"),
        function::GET_VAR_SUB_STREAMED => (operation::READ, "get_var_sub_streamed"),
        0x0590 => (operation::DISCOVER, "get_variables_address"),
        0x059a => (operation::OTHER, "abort"),
        0x05a9 => (operation::ERROR, "error"),
        function::INIT_SSL => (operation::SESSION_OPEN, "init_ssl"),
        other => return (operation::OTHER, format!("function_0x{other:04x}").into()),
    };
    (operation, name.into())
}

#[cfg(test)]
mod tests;
