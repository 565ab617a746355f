//! Associations and their calls, connection-oriented (C706, 12.6): bind, request, response, fault.
//! A TCP connection is one association, each of SMB's pipes is one too.

use std::cell::Cell;

use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::{operation, status};

use super::interfaces::{self, Interface, NDR, Returns, Uuid};
use super::{FRAGMENT_MAX, HEADER, NAME, Order, REPLY_TIMEOUT, frame_of, kind, names, opc, push_uuid, stubs};
use crate::cursor::{Cursor, Cut};
use crate::exchange::{Draft, Exchanges, unreadable};
use crate::framing::Frame;
use crate::ntlm::{self, Presented};
use crate::{Cx, Side, json};

/// Most pipes of one connection; the oldest goes first.
const PIPES_MAX: usize = 8;
/// Most presentation contexts of one association.
const CONTEXTS_MAX: usize = 64;
/// Most interfaces of a bind that are shown.
const SHOWN_MAX: usize = 8;
/// The longest call that is put together of several fragments; of longer ones the beginning is read.
const CALL_BYTES_MAX: usize = 128 << 10;
/// What comes before the parameters in a request's or response's body.
const BODY_HEADER: usize = 8;
/// The level of protection from which on parameters are encrypted.
const PRIVACY: u8 = 6;

/// Flags of a PDU (C706, 12.6.3.1).
mod flag {
    pub const FIRST: u8 = 1;
    pub const LAST: u8 = 2;
    pub const OBJECT: u8 = 0x80;
}

/// What a response must have in common with its request, and what completes the two.
#[derive(Clone, Copy, Debug)]
pub(super) struct Key {
    /// The pipe, or the activity of datagrams.
    pub pipe: [u8; 16],
    pub call: u32,
    /// Whether it is a bind or an alter context.
    pub binds: bool,
    pub interface: Option<&'static Interface>,
    /// The operation.
    pub number: u16,
    pub encrypted: bool,
    /// Whether its parameters are looked into.
    pub readable: bool,
}

impl PartialEq for Key {
    fn eq(&self, other: &Key) -> bool {
        (self.pipe, self.call, self.binds) == (other.pipe, other.call, other.binds)
    }
}

/// A presentation context.
#[derive(Clone, Copy)]
struct Context {
    id: u16,
    uuid: Uuid,
    interface: Option<&'static Interface>,
    /// Whether its stubs can be looked into.
    ndr: bool,
}

/// Fragments of one call.
struct Begun {
    call: u32,
    flags: u8,
    body: Vec<u8>,
}

/// One association.
#[derive(Default)]
struct Pipe {
    id: [u8; 16],
    name: String,
    user: String,
    contexts: Vec<Context>,
    unread: [Vec<u8>; 2],
    /// Calls of several fragments that are put together, one of each side.
    begun: [Option<Begun>; 2],
    items: opc::Items,
    /// What it carries is something else.
    foreign: bool,
}

/// The calls of one connection.
pub(crate) struct Rpc {
    pub(super) exchanges: Exchanges<Key>,
    pipes: Vec<Pipe>,
    said_opaque: bool,
}

/// The common header.
struct Header {
    kind: u8,
    flags: u8,
    order: Order,
    call: u32,
}

/// Who presents credentials how, at the end of a PDU (C706, 13.2.6.1).
#[derive(Clone, Copy)]
struct Verifier<'a> {
    kind: u8,
    level: u8,
    padding: usize,
    token: &'a [u8],
}

impl Rpc {
    pub fn new() -> Rpc {
        Rpc { exchanges: Exchanges::new(NAME, REPLY_TIMEOUT), pipes: Vec::new(), said_opaque: false }
    }

    /// Bytes that are written to (`Side::Client`) or read from a pipe.
    pub fn stream(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        id: [u8; 16],
        (name, user): (&str, &str),
        bytes: &[u8],
    ) {
        let at = self.pipe(id);
        let pipe = &mut self.pipes[at];
        if pipe.foreign {
            return;
        }
        if pipe.name.is_empty() {
            pipe.name.push_str(name);
            pipe.user.push_str(user);
        }
        let mut unread = std::mem::take(&mut pipe.unread[side as usize]);
        unread.extend_from_slice(bytes);
        let mut at = 0;
        while at < unread.len() {
            match frame_of(&unread[at..]) {
                Frame::Of(length) if length <= unread.len() - at => {
                    let pdu = &unread[at..at + length];
                    if let Err(cut) = self.read(cx, side, id, pdu) {
                        unreadable(cx, NAME, side, cut, pdu);
                    }
                    at += length;
                }
                Frame::Of(_) | Frame::More => break,
                _ => {
                    // Other programs use pipes in their own ways.
                    let place = self.pipe(id);
                    self.pipes[place].foreign = true;
                    return;
                }
            }
        }
        unread.drain(..at);
        if unread.len() <= FRAGMENT_MAX {
            let place = self.pipe(id);
            self.pipes[place].unread[side as usize] = unread;
        }
    }

    /// Whether something was read in that pipe.
    pub fn knows(&self, id: &[u8; 16]) -> bool {
        self.pipes.iter().any(|pipe| pipe.id == *id)
    }

    /// A pipe is closed.
    pub fn shut(&mut self, id: &[u8; 16]) {
        self.pipes.retain(|pipe| pipe.id != *id);
    }

    /// Bytes are missing: fragments that were begun are forgotten.
    pub fn lost(&mut self) {
        for pipe in &mut self.pipes {
            pipe.unread = Default::default();
            pipe.begun = Default::default();
        }
    }

    /// One PDU of a TCP connection.
    pub fn pdu(&mut self, cx: &mut Cx<'_>, side: Side, pdu: &[u8]) -> Result<(), Cut> {
        self.read(cx, side, [0; 16], pdu)
    }

    pub fn expire(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.expire(cx);
    }

    pub fn close(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.close(cx);
    }

    fn pipe(&mut self, id: [u8; 16]) -> usize {
        if let Some(at) = self.pipes.iter().position(|pipe| pipe.id == id) {
            return at;
        }
        if self.pipes.len() >= PIPES_MAX {
            self.pipes.remove(0);
        }
        self.pipes.push(Pipe { id, ..Pipe::default() });
        self.pipes.len() - 1
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, id: [u8; 16], pdu: &[u8]) -> Result<(), Cut> {
        let mut c = Cursor::new(pdu);
        c.skip(2, "header")?;
        let (kind, flags) = (c.u8("header")?, c.u8("header")?);
        let order = Order { little: c.u8("header")? & 0x10 != 0 };
        c.skip(5, "header")?;
        let credentials = usize::from(order.u16(&mut c, "header")?);
        let call = order.u32(&mut c, "header")?;
        let header = Header { kind, flags, order, call };
        let (body, verifier) = verifier(pdu, credentials)?;
        let c = Cursor::new(body);
        let at = self.pipe(id);
        match kind {
            kind::BIND | kind::ALTER => self.bind(cx, side, at, &header, c, verifier),
            kind::BIND_ACK | kind::ALTER_ACK => self.bound(cx, side, at, &header, c, verifier),
            kind::BIND_NAK => self.refused(cx, side, at, &header, c),
            kind::REQUEST | kind::RESPONSE => self.fragment(cx, side, at, header, c, verifier),
            kind::FAULT => self.fault(cx, side, at, &header, c),
            kind::AUTH3 => {
                let mut draft = self.draft(cx, side, at, operation::AUTHENTICATE, "auth3", call);
                self.credentials(cx, side, at, &mut draft, verifier);
                self.exchanges.one_way(cx, draft);
                Ok(())
            }
            kind::CANCEL | kind::ORPHANED | kind::SHUTDOWN => {
                let name = match kind {
                    kind::CANCEL => "co_cancel",
                    kind::ORPHANED => "orphaned",
                    _ => "shutdown",
                };
                let draft = self.draft(cx, side, at, operation::OTHER, name, call);
                self.exchanges.one_way(cx, draft);
                Ok(())
            }
            // Further fragments, and what RPC over HTTP says of itself.
            _ => Ok(()),
        }
    }

    /// A request or response, or a part of one. Only those of OPC are put together: of others a
    /// request's beginning and a response's end say enough.
    fn fragment(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        at: usize,
        mut header: Header,
        c: Cursor<'_>,
        verifier: Option<Verifier<'_>>,
    ) -> Result<(), Cut> {
        let (first, last) = (header.flags & flag::FIRST != 0, header.flags & flag::LAST != 0);
        let request = header.kind == kind::REQUEST;
        let begun = &mut self.pipes[at].begun[side as usize];
        if first && last {
            *begun = None;
        } else if first {
            let id = header.order.u16(&mut Cursor::new(c.rest().get(4..).unwrap_or_default()), "context")?;
            let encrypted = verifier.is_some_and(|verifier| verifier.level >= PRIVACY);
            let context = self.pipes[at].contexts.iter().find(|context| context.id == id);
            let of_opc = context.and_then(|c| c.interface).is_some_and(|i| opc::concerns(i.name));
            if of_opc && !encrypted {
                let body = stub(c, verifier).to_vec();
                let begun = Begun { call: header.call, flags: header.flags, body };
                self.pipes[at].begun[side as usize] = Some(begun);
                return Ok(());
            }
        } else if let Some(mut begun) = begun.take().filter(|begun| begun.call == header.call) {
            let mut more = c;
            let object = request && header.flags & flag::OBJECT != 0;
            more.skip(if object { BODY_HEADER + 16 } else { BODY_HEADER }, "fragment")?;
            let more = stub(more, verifier);
            let room = CALL_BYTES_MAX.saturating_sub(begun.body.len());
            begun.body.extend_from_slice(&more[..more.len().min(room)]);
            if !last {
                self.pipes[at].begun[side as usize] = Some(begun);
                return Ok(());
            }
            header.flags |= begun.flags;
            let c = Cursor::new(&begun.body);
            // Padding is taken off already.
            let verifier = verifier.map(|verifier| Verifier { padding: 0, ..verifier });
            return match request {
                true => self.request(cx, side, at, &header, c, verifier),
                false => self.response(cx, side, at, &header, c, verifier),
            };
        }
        match request {
            true if first => self.request(cx, side, at, &header, c, verifier),
            false if last => self.response(cx, side, at, &header, c, verifier),
            _ => Ok(()),
        }
    }

    fn draft(
        &mut self,
        cx: &Cx<'_>,
        asker: Side,
        at: usize,
        operation: &'static str,
        function: &'static str,
        call: u32,
    ) -> Draft {
        let mut draft = self.exchanges.draft(cx, asker, operation, function);
        json::member_number(&mut draft.detail, "call", call.into());
        let pipe = &self.pipes[at];
        if !pipe.name.is_empty() {
            json::member_text(&mut draft.detail, "pipe", &pipe.name);
        }
        draft
    }

    fn key(&self, at: usize, header: &Header, binds: bool) -> Key {
        Key {
            pipe: self.pipes[at].id,
            call: header.call,
            binds,
            interface: None,
            number: 0,
            encrypted: false,
            readable: false,
        }
    }

    fn asked(&mut self, side: Side, key: Key) -> Option<(Key, Draft)> {
        let found = Cell::new(key);
        let draft = self.exchanges.answered_if(side, |waiting, _| {
            let fits = *waiting == key;
            if fits {
                found.set(*waiting);
            }
            fits
        })?;
        Some((found.get(), draft))
    }

    /// Writes a row with its answer, or an answer alone.
    fn settle(&mut self, cx: &mut Cx<'_>, draft: Draft, asked: bool) {
        if asked {
            self.exchanges.pair(cx, draft);
        } else {
            self.exchanges.unasked(cx, draft);
        }
    }

    fn credentials(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        at: usize,
        draft: &mut Draft,
        verifier: Option<Verifier<'_>>,
    ) {
        let Some(verifier) = verifier else { return };
        json::member_text(&mut draft.detail, "auth", names::authentication(verifier.kind));
        json::member_text(&mut draft.detail, "level", names::level(verifier.level));
        let Presented { account, computer, version } = ntlm::describe(&mut draft.detail, verifier.token);
        if !computer.is_empty() {
            let row = IdentityRow { name: &computer, firmware: &version, ..IdentityRow::default() };
            cx.identity(NAME, side, row);
        }
        if !account.is_empty() {
            if draft.target.is_empty() {
                draft.target.push_str(&account);
            }
            self.pipes[at].user = account;
        }
    }

    fn bind(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        at: usize,
        header: &Header,
        mut c: Cursor<'_>,
        verifier: Option<Verifier<'_>>,
    ) -> Result<(), Cut> {
        let name = if header.kind == kind::BIND { "bind" } else { "alter_context" };
        let mut draft = self.draft(cx, side, at, operation::SESSION_OPEN, name, header.call);
        if let Err(cut) = self.contexts(at, header.order, &mut draft, &mut c) {
            draft.wrong(cut);
        }
        self.credentials(cx, side, at, &mut draft, verifier);
        let key = self.key(at, header, true);
        self.exchanges.ask(cx, key, draft);
        Ok(())
    }

    fn contexts(
        &mut self,
        at: usize,
        order: Order,
        draft: &mut Draft,
        c: &mut Cursor<'_>,
    ) -> Result<(), Cut> {
        c.skip(8, "bind")?;
        let count = c.u8("contexts")?;
        c.skip(3, "contexts")?;
        let mut shown = String::new();
        let mut read = || -> Result<(), Cut> {
            for index in 0..usize::from(count) {
                let id = order.u16(c, "context")?;
                let syntaxes = c.u8("context")?;
                c.skip(1, "context")?;
                let uuid = order.uuid(c, "interface")?;
                let version = order.u32(c, "interface")?;
                let mut ndr = false;
                for place in 0..syntaxes {
                    let syntax = order.uuid(c, "transfer_syntax")?;
                    c.skip(4, "transfer_syntax")?;
                    ndr |= place == 0 && syntax == NDR;
                }
                let interface = interfaces::known(uuid);
                let contexts = &mut self.pipes[at].contexts;
                contexts.retain(|context| context.id != id);
                if contexts.len() < CONTEXTS_MAX {
                    contexts.push(Context { id, uuid, interface, ndr });
                }
                if index >= SHOWN_MAX {
                    continue;
                }
                shown.push(if index == 0 { '[' } else { ',' });
                shown.push_str("{\"interface\":\"");
                let before = draft.target.len();
                match interface {
                    Some(interface) => shown.push_str(interface.name),
                    None => push_uuid(&mut shown, uuid),
                }
                // The same interface is often offered in several ways.
                let name = &shown[shown.rfind('"').map_or(0, |quote| quote + 1)..];
                if !draft.target.split(',').any(|known| known == name) {
                    if before > 0 {
                        draft.target.push(',');
                    }
                    draft.target.push_str(name);
                }
                shown.push_str("\",\"uuid\":\"");
                push_uuid(&mut shown, uuid);
                shown.push_str("\",\"version\":\"");
                json::push_number(&mut shown, (version & 0xffff).into());
                shown.push('.');
                json::push_number(&mut shown, (version >> 16).into());
                shown.push_str("\",\"context\":");
                json::push_number(&mut shown, id.into());
                shown.push('}');
            }
            Ok(())
        };
        let problem = read();
        draft.set_count(count.into());
        if !shown.is_empty() {
            shown.push(']');
            json::key(&mut draft.detail, "interfaces");
            draft.detail.push_str(&shown);
        }
        problem
    }

    fn bound(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        at: usize,
        header: &Header,
        mut c: Cursor<'_>,
        verifier: Option<Verifier<'_>>,
    ) -> Result<(), Cut> {
        let name = if header.kind == kind::BIND_ACK { "bind" } else { "alter_context" };
        let asked = self.asked(side, self.key(at, header, true));
        let was_asked = asked.is_some();
        let mut draft = match asked {
            Some((_, draft)) => draft,
            None => self.draft(cx, side.other(), at, operation::SESSION_OPEN, name, header.call),
        };
        if let Err(cut) = results(header.order, &mut draft, &mut c)
            && draft.status != status::MALFORMED
        {
            draft.wrong(cut);
        }
        if let Some(verifier) = verifier {
            // What it is was said by the request.
            let Presented { computer, version, .. } =
                ntlm::describe_answer(&mut draft.detail, verifier.token);
            if !computer.is_empty() {
                let row = IdentityRow { name: &computer, firmware: &version, ..IdentityRow::default() };
                cx.identity(NAME, side, row);
            }
        }
        self.settle(cx, draft, was_asked);
        Ok(())
    }

    fn refused(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        at: usize,
        header: &Header,
        mut c: Cursor<'_>,
    ) -> Result<(), Cut> {
        let reason = header.order.u16(&mut c, "reason")?;
        let asked = self.asked(side, self.key(at, header, true));
        let was_asked = asked.is_some();
        let mut draft = match asked {
            Some((_, draft)) => draft,
            None => self.draft(cx, side.other(), at, operation::SESSION_OPEN, "bind", header.call),
        };
        draft.deny(names::refusal(reason));
        self.settle(cx, draft, was_asked);
        Ok(())
    }

    /// The context of a call, and what the row says of it.
    fn about(&self, at: usize, id: u16, draft: &mut Draft) -> Option<Context> {
        let found = self.pipes[at].contexts.iter().find(|context| context.id == id).copied();
        json::member_number(&mut draft.detail, "context", id.into());
        if let Some(context) = found {
            json::key(&mut draft.detail, "interface");
            draft.detail.push('"');
            match context.interface {
                Some(interface) => {
                    draft.target.push_str(interface.name);
                    draft.detail.push_str(interface.name);
                }
                None => {
                    push_uuid(&mut draft.target, context.uuid);
                    push_uuid(&mut draft.detail, context.uuid);
                }
            }
            draft.detail.push('"');
        }
        found
    }

    fn request(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        at: usize,
        header: &Header,
        mut c: Cursor<'_>,
        verifier: Option<Verifier<'_>>,
    ) -> Result<(), Cut> {
        let order = header.order;
        c.skip(4, "request")?;
        let (context, number) = (order.u16(&mut c, "context")?, order.u16(&mut c, "operation")?);
        let mut draft = self.draft(cx, side, at, operation::OTHER, "", header.call);
        let context = self.about(at, context, &mut draft);
        let interface = context.and_then(|context| context.interface);
        name(&mut draft, interface, number);
        if header.flags & flag::OBJECT != 0 {
            let object = order.uuid(&mut c, "object")?;
            json::key(&mut draft.detail, "object");
            draft.detail.push('"');
            push_uuid(&mut draft.detail, object);
            draft.detail.push('"');
        }
        if !self.pipes[at].user.is_empty() {
            json::member_text(&mut draft.detail, "user", &self.pipes[at].user);
        }
        let encrypted = verifier.is_some_and(|verifier| verifier.level >= PRIVACY);
        if encrypted && !std::mem::replace(&mut self.said_opaque, true) {
            cx.opaque(NAME, "parameters are encrypted (level privacy); operations are seen");
        }
        let readable = order.little && !encrypted && context.is_some_and(|context| context.ndr);
        if let Some(interface) = interface
            && readable
        {
            let stub = stub(c, verifier);
            stubs::name(&mut draft, interface.name, number, stub);
            if opc::concerns(interface.name) {
                let about = (interface.name, number, header.call);
                // Parameters of another layout have no values.
                let _ = self.pipes[at].items.request(cx, side, &mut draft, about, stub);
            }
        }
        let key = Key { interface, number, encrypted, readable, ..self.key(at, header, false) };
        self.exchanges.ask(cx, key, draft);
        Ok(())
    }

    fn response(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        at: usize,
        header: &Header,
        mut c: Cursor<'_>,
        verifier: Option<Verifier<'_>>,
    ) -> Result<(), Cut> {
        let order = header.order;
        c.skip(4, "response")?;
        let context = order.u16(&mut c, "context")?;
        c.skip(2, "response")?;
        let asked = self.asked(side, self.key(at, header, false));
        let was_asked = asked.is_some();
        let (key, mut draft) = match asked {
            Some(asked) => asked,
            None => {
                let side = side.other();
                let mut draft = self.draft(cx, side, at, operation::OTHER, "response", header.call);
                self.about(at, context, &mut draft);
                (self.key(at, header, false), draft)
            }
        };
        let encrypted = key.encrypted || verifier.is_some_and(|verifier| verifier.level >= PRIVACY);
        let named = !draft.function.starts_with("opnum_");
        if let Some(interface) = key.interface
            && !encrypted
            && named
        {
            let stub = stub(c, verifier);
            if key.readable && opc::concerns(interface.name) {
                let about = (interface.name, key.number, header.call);
                let _ = self.pipes[at].items.response(cx, side, &mut draft, about, stub);
            }
            returned(order, &mut draft, interface.returns, stub);
        }
        self.settle(cx, draft, was_asked);
        Ok(())
    }

    fn fault(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        at: usize,
        header: &Header,
        mut c: Cursor<'_>,
    ) -> Result<(), Cut> {
        let order = header.order;
        c.skip(4, "fault")?;
        let context = order.u16(&mut c, "context")?;
        c.skip(2, "fault")?;
        let code = order.u32(&mut c, "fault_status")?;
        let asked = self.asked(side, self.key(at, header, false));
        let was_asked = asked.is_some();
        let mut draft = match asked {
            Some((_, draft)) => draft,
            None => {
                let side = side.other();
                let mut draft = self.draft(cx, side, at, operation::OTHER, "fault", header.call);
                self.about(at, context, &mut draft);
                draft
            }
        };
        json::member_bool(&mut draft.detail, "fault", true);
        if draft.status != status::MALFORMED {
            draft.deny(names::fault(code));
        }
        self.settle(cx, draft, was_asked);
        Ok(())
    }
}

/// Names an operation and says what it does.
pub(super) fn name(draft: &mut Draft, interface: Option<&'static Interface>, number: u16) {
    json::member_number(&mut draft.detail, "opnum", number.into());
    match interface.and_then(|interface| Some((interface.name, interface.operation(number)?))) {
        Some((interface, name)) => {
            draft.function = name.into();
            draft.operation = interfaces::class(interface, name);
        }
        None => draft.function = format!("opnum_{number}").into(),
    }
}

/// What an operation returned: the last four octets of its stub.
pub(super) fn returned(order: Order, draft: &mut Draft, returns: Returns, stub: &[u8]) {
    let Some(last) = stub.last_chunk::<4>() else { return };
    let code = if order.little { u32::from_le_bytes(*last) } else { u32::from_be_bytes(*last) };
    let Some((name, refused)) = names::returned(returns, code) else { return };
    if draft.status == status::MALFORMED {
        json::member_text(&mut draft.detail, "answer", &name);
    } else if refused {
        draft.deny(name);
    } else {
        draft.status_code = name;
    }
}

/// What is left of a PDU without the padding before its verifier.
fn stub<'a>(c: Cursor<'a>, verifier: Option<Verifier<'_>>) -> &'a [u8] {
    let rest = c.rest();
    let padding = verifier.map_or(0, |verifier| verifier.padding);
    rest.get(..rest.len().saturating_sub(padding)).unwrap_or_default()
}

/// The body of a PDU and the verifier at its end.
fn verifier(pdu: &[u8], length: usize) -> Result<(&[u8], Option<Verifier<'_>>), Cut> {
    let wrong = Cut { what: "auth_verifier", at: HEADER };
    if length == 0 {
        return Ok((pdu.get(HEADER..).ok_or(wrong)?, None));
    }
    let place = pdu.len().checked_sub(length + 8).filter(|place| *place >= HEADER).ok_or(wrong)?;
    let (body, trailer) = pdu.split_at(place);
    let [kind, level, padding, _, _, _, _, _, token @ ..] = trailer else { return Err(wrong) };
    let verifier = Verifier { kind: *kind, level: *level, padding: usize::from(*padding), token };
    Ok((&body[HEADER..], Some(verifier)))
}

/// What became of a bind's contexts.
fn results(order: Order, draft: &mut Draft, c: &mut Cursor<'_>) -> Result<(), Cut> {
    c.skip(8, "bind_ack")?;
    let length = usize::from(order.u16(c, "secondary_address")?);
    let address = c.take(length, "secondary_address")?;
    if let [text @ .., 0] = address
        && !text.is_empty()
    {
        let text = &text[..text.len().min(256)];
        json::member_text(&mut draft.detail, "address", &String::from_utf8_lossy(text));
    }
    c.skip((4 - (HEADER + c.at()) % 4) % 4, "secondary_address")?;
    let count = c.u8("results")?;
    c.skip(3, "results")?;
    let (mut accepted, mut reason) = (0, 0);
    for _ in 0..count {
        let result = order.u16(c, "result")?;
        let why = order.u16(c, "result")?;
        c.skip(20, "result")?;
        match result {
            0 => accepted += 1,
            // Negotiates features, as Windows does.
            3 => {}
            _ => reason = why,
        }
    }
    json::member_number(&mut draft.detail, "accepted", accepted);
    if accepted == 0 && count > 0 && draft.status != status::MALFORMED {
        draft.deny(names::provider(reason));
    }
    Ok(())
}
