//! Connectionless calls (C706, 12.5): a datagram a PDU.

use yagura_event::vocabulary::operation;

use super::calls::{self, Key, Rpc};
use super::interfaces::{self, Uuid};
use super::{DATAGRAM_HEADER, Order, kind, names, push_uuid, stubs};
use crate::cursor::{Cursor, Cut};
use crate::{Cx, Side, json};

/// Asks for nothing back.
const MAYBE: u8 = 0x10;
/// Goes to many.
const BROADCAST: u8 = 0x40;

/// A datagram's header.
pub(crate) struct Header {
    pub kind: u8,
    pub flags: u8,
    pub order: Order,
    pub object: Uuid,
    pub interface: Uuid,
    pub activity: Uuid,
    pub version: u32,
    pub sequence: u32,
    pub operation: u16,
    pub length: usize,
    pub fragment: u16,
    pub authentication: u8,
}

impl Header {
    pub fn read(c: &mut Cursor<'_>) -> Result<Header, Cut> {
        let begin = *c;
        let version = c.u8("version")?;
        c.check(version == 4, "version")?;
        let (kind, flags) = (c.u8("kind")?, c.u8("flags")?);
        c.skip(1, "flags")?;
        let order = Order { little: c.u8("order")? & 0x10 != 0 };
        c.skip(3, "order")?;
        let object = order.uuid(c, "object")?;
        let interface = order.uuid(c, "interface")?;
        let activity = order.uuid(c, "activity")?;
        c.skip(4, "boot_time")?;
        let version = order.u32(c, "interface_version")?;
        let sequence = order.u32(c, "sequence")?;
        let operation = order.u16(c, "operation")?;
        c.skip(4, "hints")?;
        let length = usize::from(order.u16(c, "length")?);
        let fragment = order.u16(c, "fragment")?;
        let authentication = c.u8("authentication")?;
        c.skip(1, "serial")?;
        debug_assert_eq!(begin.remaining() - c.remaining(), DATAGRAM_HEADER);
        Ok(Header {
            kind,
            flags,
            order,
            object,
            interface,
            activity,
            version,
            sequence,
            operation,
            length,
            fragment,
            authentication,
        })
    }
}

impl Rpc {
    /// One datagram.
    pub fn datagram(&mut self, cx: &mut Cx<'_>, side: Side, bytes: &[u8]) -> Result<(), Cut> {
        let mut c = Cursor::new(bytes);
        let header = Header::read(&mut c)?;
        let body = c.take(header.length, "length")?;
        let interface = interfaces::known(header.interface);
        let key = Key {
            pipe: header.activity.to_be_bytes(),
            call: header.sequence,
            binds: false,
            interface,
            number: header.operation,
            encrypted: header.authentication != 0,
            readable: false,
        };
        match header.kind {
            kind::REQUEST if header.fragment == 0 => {
                let mut draft = self.exchanges.draft(cx, side, operation::OTHER, "");
                describe(&mut draft, &header);
                calls::name(&mut draft, interface, header.operation);
                if let Some(interface) = interface
                    && header.order.little
                    && header.authentication == 0
                {
                    stubs::name(&mut draft, interface.name, header.operation, body);
                }
                if header.flags & (MAYBE | BROADCAST) != 0 {
                    self.exchanges.one_way(cx, draft);
                } else {
                    self.exchanges.ask(cx, key, draft);
                }
            }
            kind::RESPONSE | kind::FAULT | kind::REJECT if header.fragment == 0 => {
                let asked = self.exchanges.answered(side, &key);
                let was_asked = asked.is_some();
                let mut draft = asked.unwrap_or_else(|| {
                    let name = if header.kind == kind::RESPONSE { "response" } else { "fault" };
                    let mut draft = self.exchanges.draft(cx, side.other(), operation::OTHER, name);
                    describe(&mut draft, &header);
                    json::member_number(&mut draft.detail, "opnum", header.operation.into());
                    draft
                });
                if header.kind != kind::RESPONSE {
                    let code = header.order.u32(&mut Cursor::new(body), "fault_status")?;
                    draft.deny(names::fault(code));
                }
                if was_asked {
                    self.exchanges.pair(cx, draft);
                } else {
                    self.exchanges.unasked(cx, draft);
                }
            }
            // Acknowledgements, pings and further fragments say nothing of their own.
            _ => {}
        }
        Ok(())
    }
}

fn describe(draft: &mut crate::exchange::Draft, header: &Header) {
    json::member_number(&mut draft.detail, "call", header.sequence.into());
    match interfaces::known(header.interface) {
        Some(interface) => draft.target.push_str(interface.name),
        None => push_uuid(&mut draft.target, header.interface),
    }
    for (member, uuid) in
        [("activity", header.activity), ("uuid", header.interface), ("object", header.object)]
    {
        if uuid != 0 {
            json::key(&mut draft.detail, member);
            draft.detail.push('"');
            push_uuid(&mut draft.detail, uuid);
            draft.detail.push('"');
        }
    }
    json::member_number(&mut draft.detail, "interface_version", header.version.into());
}
