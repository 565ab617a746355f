//! The context manager (IEC 61158-6-10, 5.1) in connectionless DCE-RPC (C706, 12.5): relations are
//! connected and released, records read and written.

use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::operation;

use super::{NAME, blocks, names, text};
use crate::cursor::{Cursor, Cut};
use crate::dcerpc::{DATAGRAM_HEADER, DatagramHeader, Uuid, fault, is_profinet, kind, push_uuid};
use crate::exchange::{Draft, Exchanges};
use crate::framing::{Frame, Framed};
use crate::{Cx, Side, json};

/// A call without a response for that long gets a row of its own.
const REPLY_TIMEOUT: Micros = 30 * SECOND;
/// Most calls of several fragments that are put together at a time.
const BEGUN_MAX: usize = 8;
/// The longest call that is put together.
const CALL_BYTES_MAX: usize = 128 << 10;
/// The interface of the endpoint mapper, which tells what a device is.
const ENDPOINT_MAPPER: Uuid = 0xe1af8308_5d1f_11c9_91a4_08002b14a0fa;

/// Types of PDUs that only datagrams have (C706, 12.5.1).
mod datagram {
    pub const PING: u8 = 1;
    pub const WORKING: u8 = 4;
    pub const NO_CALL: u8 = 5;
    pub const LAST: u8 = 10;
}

/// First flags: whether this is the last fragment, and whether there are several.
const LAST_FRAGMENT: u8 = 2;
const FRAGMENT: u8 = 4;

/// The header of a PDU of PROFINET's interfaces, whose length fits; of the endpoint mapper's too
/// where PROFINET is customary.
pub(super) fn header(bytes: &[u8], customary: bool) -> Option<DatagramHeader> {
    let header = DatagramHeader::read(&mut Cursor::new(bytes)).ok()?;
    let fits = header.kind <= datagram::LAST
        && matches!(bytes[4], 0 | 1 | 0x10 | 0x11)
        && bytes[5] <= 3
        && bytes.len() >= DATAGRAM_HEADER + header.length;
    let ours = is_profinet(header.interface) || customary && header.interface == ENDPOINT_MAPPER;
    (fits && ours).then_some(header)
}

/// What a response has in common with its request.
type Key = (Uuid, u32, bool);

/// Fragments of one call.
struct Begun {
    activity: Uuid,
    sequence: u32,
    side: Side,
    /// The number of the fragment that comes next.
    next: u16,
    body: Vec<u8>,
}

/// The conversation of a controller or engineering station with a device.
pub(super) struct Context {
    exchanges: Exchanges<Key>,
    begun: Vec<Begun>,
}

impl Context {
    pub fn new() -> Context {
        Context { exchanges: Exchanges::new(NAME, REPLY_TIMEOUT), begun: Vec::new() }
    }

    /// The whole body of a call, once its last fragment is there, and how many fragments it had.
    fn whole(
        &mut self,
        side: Side,
        header: &DatagramHeader,
        first: u8,
        part: &[u8],
    ) -> Option<(Vec<u8>, u16)> {
        let same = |b: &Begun| (b.activity, b.sequence, b.side) == (header.activity, header.sequence, side);
        if header.fragment == 0 {
            self.begun.retain(|b| !same(b));
            if self.begun.len() == BEGUN_MAX {
                self.begun.remove(0);
            }
            let (activity, sequence) = (header.activity, header.sequence);
            self.begun.push(Begun { activity, sequence, side, next: 1, body: part.to_vec() });
            return None;
        }
        let at = self.begun.iter().position(same)?;
        let begun = &mut self.begun[at];
        if header.fragment < begun.next {
            return None;
        }
        if header.fragment > begun.next || begun.body.len() + part.len() > CALL_BYTES_MAX {
            self.begun.remove(at);
            return None;
        }
        begun.next += 1;
        begun.body.extend_from_slice(part);
        if first & LAST_FRAGMENT == 0 {
            return None;
        }
        let begun = self.begun.remove(at);
        Some((begun.body, begun.next))
    }

    fn draft(&mut self, cx: &Cx<'_>, asker: Side, header: &DatagramHeader) -> Draft {
        let mapper = header.interface == ENDPOINT_MAPPER;
        let (does, name) = if mapper { mapped(header.operation) } else { call(header.operation) };
        let mut draft = self.exchanges.draft(cx, asker, does, name);
        // Devices call controllers too, to say that they are ready: the device is the equipment.
        if header.interface >> 96 & 0xff == 2 {
            draft.equipment = asker;
        }
        let detail = &mut draft.detail;
        json::member_text(detail, "interface", interface(header.interface));
        json::key(detail, "activity");
        detail.push('"');
        push_uuid(detail, header.activity);
        detail.push('"');
        json::member_number(detail, "call", header.sequence.into());
        // The object's last fields: instance, device, vendor.
        if is_profinet(header.object) {
            json::member_number(detail, "device_id", (header.object >> 16 & 0xffff) as u64);
            json::member_number(detail, "vendor_id", (header.object & 0xffff) as u64);
        }
        draft
    }

    fn request(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        header: &DatagramHeader,
        body: &[u8],
        fragments: u16,
    ) -> Result<(), Cut> {
        let key = (header.activity, header.sequence, header.interface == ENDPOINT_MAPPER);
        // The same call again: what was sent before got no answer.
        if let Some(mut before) = self.exchanges.answered(side.other(), &key) {
            before.status = yagura_event::vocabulary::status::NO_REPLY;
            self.exchanges.one_way(cx, before);
        }
        let mut draft = self.draft(cx, side, header);
        json::member_number(&mut draft.detail, "request_bytes", body.len() as u64);
        if fragments > 1 {
            json::member_number(&mut draft.detail, "request_fragments", fragments.into());
        }
        if header.interface != ENDPOINT_MAPPER {
            let mut c = Cursor::new(body);
            let read = arguments(header, &mut c)
                .and_then(|bytes| blocks::Reader::new(cx, &mut draft, side).read(bytes));
            if let Err(cut) = read {
                draft.wrong(cut);
            }
        }
        self.exchanges.ask(cx, key, draft);
        Ok(())
    }

    fn response(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        header: &DatagramHeader,
        body: &[u8],
        fragments: u16,
    ) -> Result<(), Cut> {
        let key = (header.activity, header.sequence, header.interface == ENDPOINT_MAPPER);
        let found = self.exchanges.answered(side, &key);
        let paired = found.is_some();
        let mut draft = match found {
            Some(draft) => draft,
            None => self.draft(cx, side.other(), header),
        };
        json::member_number(&mut draft.detail, "response_bytes", body.len() as u64);
        if fragments > 1 {
            json::member_number(&mut draft.detail, "response_fragments", fragments.into());
        }
        let mut c = Cursor::new(body);
        if header.kind != kind::RESPONSE {
            let name = if header.kind == kind::REJECT { "reject" } else { "fault" };
            json::member_bool(&mut draft.detail, name, true);
            draft.deny(fault(header.order.u32(&mut c, "fault_status")?));
        } else if header.interface == ENDPOINT_MAPPER {
            // Its entries are shown as far as they are of the usual layout.
            let _ = entries(cx, side, header, c);
        } else {
            let mut answer = |cx: &mut Cx<'_>, draft: &mut Draft| -> Result<(), Cut> {
                // The status is one number: its first octet is the code.
                let code = header.order.u32(&mut c, "pnio_status")?.to_be_bytes();
                if code != [0; 4] {
                    draft.deny(names::status(code));
                    json::key(&mut draft.detail, "pnio_status");
                    json::push_hex(&mut draft.detail, &code);
                }
                let bytes = counted(header, &mut c)?;
                blocks::Reader::new(cx, draft, side).read(bytes)
            };
            if let Err(cut) = answer(cx, &mut draft) {
                draft.wrong(cut);
            }
        }
        if paired {
            self.exchanges.pair(cx, draft);
        } else {
            self.exchanges.unasked(cx, draft);
        }
        Ok(())
    }

    /// Whether the caller's patience is kept: a call that takes long, or is unknown.
    fn other(&mut self, cx: &mut Cx<'_>, side: Side, header: &DatagramHeader) {
        let name = match header.kind {
            datagram::PING => "ping",
            datagram::WORKING => "working",
            datagram::NO_CALL => "no_call",
            // Acknowledgements and cancellations say nothing of their own.
            _ => return,
        };
        let asker = if header.kind == datagram::PING { side } else { side.other() };
        let mut draft = self.draft(cx, asker, header);
        draft.operation = operation::SESSION_KEEP;
        draft.function = name.into();
        if header.kind == datagram::PING {
            self.exchanges.one_way(cx, draft);
        } else {
            draft.status = yagura_event::vocabulary::status::ONE_WAY;
            self.exchanges.unasked(cx, draft);
        }
    }
}

/// The operations of PROFINET's interfaces.
fn call(number: u16) -> (&'static str, &'static str) {
    match number {
        0 => (operation::SESSION_OPEN, "connect"),
        1 => (operation::SESSION_CLOSE, "release"),
        2 => (operation::READ, "read"),
        3 => (operation::WRITE, "write"),
        4 => (operation::SESSION_OPEN, "control"),
        5 => (operation::READ, "read_implicit"),
        _ => (operation::OTHER, "operation_outside_the_standard"),
    }
}

/// Those of the endpoint mapper.
fn mapped(number: u16) -> (&'static str, &'static str) {
    let name = match number {
        0 => "ept_insert",
        1 => "ept_delete",
        2 => "ept_lookup",
        3 => "ept_map",
        4 => "ept_lookup_handle_free",
        _ => "ept_other",
    };
    (operation::DISCOVER, name)
}

fn interface(uuid: Uuid) -> &'static str {
    match uuid {
        ENDPOINT_MAPPER => "endpoint_mapper",
        _ => match uuid >> 96 & 0xff {
            1 => "device",
            2 => "controller",
            3 => "supervisor",
            4 => "parameter_server",
            _ => "reserved",
        },
    }
}

/// The blocks of a request, behind the most bytes that its response may have.
fn arguments<'a>(header: &DatagramHeader, c: &mut Cursor<'a>) -> Result<&'a [u8], Cut> {
    header.order.u32(c, "args_maximum")?;
    counted(header, c)
}

/// The blocks behind their length and the array's bounds.
fn counted<'a>(header: &DatagramHeader, c: &mut Cursor<'a>) -> Result<&'a [u8], Cut> {
    let length = header.order.u32(c, "args_length")? as usize;
    c.skip(8, "args_bounds")?;
    header.order.u32(c, "args_bounds")?;
    c.take(length, "args_length")
}

/// What the entries of an endpoint mapper's lookup say: the annotation names type, order number,
/// and revisions of a device in columns of fixed width.
fn entries(cx: &mut Cx<'_>, device: Side, header: &DatagramHeader, mut c: Cursor<'_>) -> Result<(), Cut> {
    let order = header.order;
    c.skip(20, "handle")?;
    c.skip(4, "entries")?;
    c.skip(8, "bounds")?;
    let count = order.u32(&mut c, "bounds")?.min(16);
    for _ in 0..count {
        c.skip(16, "object")?;
        c.skip(4, "tower")?;
        c.skip(4, "annotation_offset")?;
        let length = order.u32(&mut c, "annotation_length")? as usize;
        let annotation = c.take(length, "annotation")?;
        c.skip((4 - length % 4) % 4, "padding").ok();
        let column =
            |from: usize, to: usize| text(annotation.get(from..to.min(annotation.len())).unwrap_or_default());
        let (model, number) = (column(0, 25), column(26, 46));
        if model.is_empty() {
            continue;
        }
        let mut facts = String::new();
        json::member_text(&mut facts, "order_id", &number);
        json::member_text(&mut facts, "hardware", &column(47, 52));
        json::end(&mut facts);
        let firmware = column(53, 64).split_whitespace().collect::<Vec<_>>().join(" ");
        let row =
            IdentityRow { model: &model, firmware: &firmware, detail: &facts, ..IdentityRow::default() };
        cx.identity(NAME, device, row);
    }
    Ok(())
}

impl Framed for Context {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        if header(bytes, true).is_some() { Frame::Of(bytes.len()) } else { Frame::Bad("header") }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let mut c = Cursor::new(frame);
        let header = DatagramHeader::read(&mut c)?;
        let part = c.take(header.length, "length")?;
        let calls = matches!(header.kind, kind::REQUEST | kind::RESPONSE | kind::FAULT | kind::REJECT);
        if !calls {
            self.other(cx, side, &header);
            return Ok(());
        }
        let assembled;
        let (body, fragments) = if header.flags & FRAGMENT != 0 {
            match self.whole(side, &header, header.flags, part) {
                Some((bytes, fragments)) => {
                    assembled = bytes;
                    (&assembled[..], fragments)
                }
                None => return Ok(()),
            }
        } else {
            (part, 1)
        };
        if header.kind == kind::REQUEST {
            self.request(cx, side, &header, body, fragments)
        } else {
            self.response(cx, side, &header, body, fragments)
        }
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, _side: Side) {
        self.begun.clear();
    }

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.expire(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.close(cx);
    }
}
