//! Messages of the Common Industrial Protocol (CIP volume 1, chapters 2 and 3): requests with
//! their paths, replies with their statuses, messages inside messages.

use std::cell::Cell;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use yagura_event::vocabulary::{operation, status};

use super::path::{self, Target};
use super::{Enip, Key, Way, identity, names, session, values};
use crate::cursor::{Cursor, Cut};
use crate::exchange::Draft;
use crate::{Cx, Side, json};

/// How deep a message may lie in others: unconnected send, multiple service packet, service.
const DEPTH_MAX: u8 = 3;
/// Most services of one multiple service packet that become rows.
const PARTS_MAX: u16 = 200;
/// Class of the connection manager.
const CONNECTION_MANAGER: u32 = 6;
const MULTIPLE_SERVICE_PACKET: u8 = 0x0a;
const UNCONNECTED_SEND: u8 = 0x52;

/// How a message came.
#[derive(Clone, Copy)]
pub(super) struct Via {
    pub way: Way,
    pub session: u32,
    pub connection: Option<u32>,
}

/// Where a message lies in others.
#[derive(Clone, Copy, Default)]
struct Place<'a> {
    depth: u8,
    part: u16,
    /// The route of an unconnected send.
    route: &'a str,
}

impl Enip {
    /// One message: a request or, by its highest bit, a reply.
    pub(super) fn message(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        via: Via,
        cursor: Cursor<'_>,
    ) -> Result<(), Cut> {
        match cursor.peek() {
            None => Ok(()),
            Some(service) if service & 0x80 == 0 => self.request(cx, side, via, Place::default(), cursor),
            Some(_) => self.reply(cx, side, via, 0, cursor),
        }
    }

    fn request(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        via: Via,
        place: Place<'_>,
        mut cursor: Cursor<'_>,
    ) -> Result<(), Cut> {
        cursor.check(place.depth < DEPTH_MAX, "message_depth")?;
        let service = cursor.u8("cip_service")?;
        cursor.check(service & 0x80 == 0, "cip_service")?;
        let words = cursor.u8("cip_path_size")?;
        let path = cursor.part(usize::from(words) * 2, "cip_path_size")?;
        let mut text = String::new();
        let target = path::read(path, &mut text);
        let to = target.unwrap_or_default();
        if service == UNCONNECTED_SEND && to.class == Some(CONNECTION_MANAGER) {
            return self.unconnected_send(cx, side, via, place, cursor);
        }
        if service == MULTIPLE_SERVICE_PACKET && place.part == 0 {
            return self.multiple(cx, side, via, place, cursor);
        }
        let (name, operation) = names::service(service, to.class).unwrap_or(("", operation::OTHER));
        let mut draft = self.exchanges.draft(cx, side, operation, name);
        if name.is_empty() {
            draft.function = format!("service_{service:#04x}").into();
        }
        draft.target.push_str(&text);
        session(&mut draft, via.session);
        describe(&mut draft, via, place, service, to);
        match target {
            Ok(_) => {
                if let Err(cut) = content(cx, &mut draft, service, to, &mut cursor) {
                    draft.wrong(cut);
                }
            }
            Err(cut) => draft.wrong(cut),
        }
        let key = Key { way: via.way, part: place.part, service, class: to.class };
        self.exchanges.ask(cx, key, draft);
        Ok(())
    }

    /// A message with a route, for the connection manager to send on.
    fn unconnected_send(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        via: Via,
        place: Place<'_>,
        mut cursor: Cursor<'_>,
    ) -> Result<(), Cut> {
        cursor.skip(2, "unconnected_send")?;
        let length = cursor.u16_le("unconnected_send_length")?;
        let message = cursor.part(usize::from(length), "unconnected_send_length")?;
        let mut route = String::new();
        if length % 2 == 1 {
            cursor.skip(1, "unconnected_send_route")?;
        }
        let words = cursor.u8("unconnected_send_route")?;
        cursor.skip(1, "unconnected_send_route")?;
        path::read(cursor.part(usize::from(words) * 2, "unconnected_send_route")?, &mut route)?;
        let inside = Place { depth: place.depth + 1, part: place.part, route: &route };
        self.request(cx, side, via, inside, message)
    }

    /// Several messages in one: a row each.
    fn multiple(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        via: Via,
        place: Place<'_>,
        cursor: Cursor<'_>,
    ) -> Result<(), Cut> {
        for (index, part) in parts(cursor)?.enumerate() {
            let inside = Place { depth: place.depth + 1, part: index as u16 + 1, route: place.route };
            self.request(cx, side, via, inside, part?)?;
        }
        Ok(())
    }

    fn reply(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        via: Via,
        part: u16,
        mut cursor: Cursor<'_>,
    ) -> Result<(), Cut> {
        let service = cursor.u8("cip_service")? & 0x7f;
        cursor.skip(1, "cip_reserved")?;
        let code = cursor.u8("cip_status")?;
        let words = cursor.u8("cip_status_size")?;
        let extended = cursor.part(usize::from(words) * 2, "cip_status_size")?;
        if service == MULTIPLE_SERVICE_PACKET && part == 0 && matches!(code, 0 | 0x1e) {
            for (index, inside) in parts(cursor)?.enumerate() {
                self.reply(cx, side, via, index as u16 + 1, inside?)?;
            }
            return Ok(());
        }
        // A refusal of the envelope refuses all that is inside.
        let envelope =
            part == 0 && code != 0 && matches!(service, MULTIPLE_SERVICE_PACKET | UNCONNECTED_SEND);
        let mut any = false;
        loop {
            let key = Cell::new(None);
            let asked = self.exchanges.answered_if(side, |waiting, _| {
                let fits = waiting.way == via.way
                    && (envelope || (waiting.part == part && waiting.service == service));
                if fits {
                    key.set(Some(*waiting));
                }
                fits
            });
            let (Some(mut draft), Some(key)) = (asked, key.get()) else { break };
            any = true;
            if key.service != service {
                json::member_number(&mut draft.detail, "reply_service", u64::from(service));
            }
            refused(&mut draft, code, extended);
            if matches!(code, 0 | 6)
                && draft.status != status::MALFORMED
                && let Err(cut) = answer(cx, side, &mut draft, key, cursor)
            {
                draft.wrong(cut);
            }
            self.exchanges.pair(cx, draft);
            if !envelope {
                break;
            }
        }
        if !any {
            let (name, operation) = names::service(service, None).unwrap_or(("", operation::OTHER));
            let mut draft = self.exchanges.draft(cx, side.other(), operation, name);
            if name.is_empty() {
                draft.function = format!("service_{service:#04x}").into();
            }
            session(&mut draft, via.session);
            let place = Place { part, ..Place::default() };
            describe(&mut draft, via, place, service, Target::default());
            refused(&mut draft, code, extended);
            self.exchanges.unasked(cx, draft);
        }
        Ok(())
    }
}

/// The stretches of a multiple service packet.
fn parts(mut cursor: Cursor<'_>) -> Result<impl Iterator<Item = Result<Cursor<'_>, Cut>>, Cut> {
    let whole = cursor.rest();
    let count = cursor.u16_le("multiple_count")?;
    cursor.check(count <= PARTS_MAX, "multiple_count")?;
    let offsets = cursor.take(usize::from(count) * 2, "multiple_offsets")?;
    let offset = move |index: usize| {
        let two = offsets.get(index * 2..index * 2 + 2)?;
        Some(usize::from(u16::from_le_bytes([two[0], two[1]])))
    };
    Ok((0..usize::from(count)).map(move |index| {
        let from = offset(index).unwrap_or(whole.len());
        let to = offset(index + 1).unwrap_or(whole.len());
        let wrong = Cut { what: "multiple_offsets", at: 2 + index * 2 };
        let stretch = whole.get(from..to).filter(|s| !s.is_empty());
        stretch.map(Cursor::new).ok_or(wrong)
    }))
}

fn describe(draft: &mut Draft, via: Via, place: Place<'_>, service: u8, to: Target) {
    json::member_number(&mut draft.detail, "service", u64::from(service));
    for (name, value) in [("class", to.class), ("instance", to.instance), ("attribute", to.attribute)] {
        if let Some(value) = value {
            json::member_number(&mut draft.detail, name, u64::from(value));
        }
    }
    if let Way::Sequence(sequence) = via.way {
        json::member_number(&mut draft.detail, "sequence", u64::from(sequence));
    }
    if let Some(connection) = via.connection {
        json::member_hex(&mut draft.detail, "connection", connection);
    }
    if !place.route.is_empty() {
        json::member_text(&mut draft.detail, "route", place.route);
    }
    if place.part > 0 {
        json::member_number(&mut draft.detail, "part", u64::from(place.part));
    }
}

/// A reply's general status with its extension.
fn refused(draft: &mut Draft, code: u8, mut extended: Cursor<'_>) {
    // A partial transfer is asked on.
    if code == 0 {
        return;
    }
    if let Ok(value) = extended.u16_le("cip_status_size") {
        json::member_number(&mut draft.detail, "extended_status", u64::from(value));
    }
    if code == 6 {
        draft.status_code = "partial_transfer".into();
        return;
    }
    if draft.status == status::OK {
        match names::status(code) {
            Some(name) => draft.deny(name),
            None => draft.deny(format!("cip_status={code:#04x}")),
        }
    }
}

/// What a request carries.
fn content(
    cx: &Cx<'_>,
    draft: &mut Draft,
    service: u8,
    to: Target,
    cursor: &mut Cursor<'_>,
) -> Result<(), Cut> {
    match (to.class, service) {
        (Some(CONNECTION_MANAGER), 0x54 | 0x5b) => return forward_open(draft, service == 0x5b, cursor),
        (Some(CONNECTION_MANAGER), 0x4e) => return forward_close(draft, cursor),
        (Some(0x67), 0x4b) => return values::pccc_request(draft, cursor),
        (Some(1), 0x05) => {
            draft.operation = operation::DIAGNOSE;
            let kind = cursor.u8("reset_type").unwrap_or(0);
            json::member_number(&mut draft.detail, "reset_type", u64::from(kind));
        }
        (_, 0x4d | 0x53) if draft.operation == operation::WRITE => {
            values::write_tag(draft, service == 0x53, cursor)?;
        }
        (_, 0x4c | 0x52) if draft.operation == operation::READ => {
            let count = cursor.u16_le("element_count")?;
            json::member_number(&mut draft.detail, "elements", u64::from(count));
        }
        (_, 0x10) => draft.push_bytes(cursor.rest()),
        _ => {}
    }
    if draft.operation == operation::PROGRAM_WRITE {
        body(cx, draft, cursor.rest());
    }
    Ok(())
}

/// What a reply carries.
fn answer(
    cx: &mut Cx<'_>,
    side: Side,
    draft: &mut Draft,
    key: Key,
    mut cursor: Cursor<'_>,
) -> Result<(), Cut> {
    match (key.class, key.service) {
        (Some(CONNECTION_MANAGER), 0x54 | 0x5b) => {
            for name in ["o_t_connection", "t_o_connection"] {
                let id = cursor.u32_le("forward_open")?;
                json::member_hex(&mut draft.detail, name, id);
            }
        }
        (Some(0x67), 0x4b) => values::pccc_reply(cx, side, draft, &mut cursor)?,
        (Some(1), 0x01) => identity(cx, side, draft, &mut cursor)?,
        (_, 0x4c | 0x52) if draft.operation == operation::READ => {
            values::read_tag(cx, side, draft, &mut cursor)?;
        }
        (_, 0x0e) => draft.push_bytes(cursor.rest()),
        _ => {}
    }
    if draft.operation == operation::PROGRAM_READ {
        body(cx, draft, cursor.rest());
    }
    Ok(())
}

/// A piece of a program or firmware: its length and its HMAC under the plant's key.
fn body(cx: &Cx<'_>, draft: &mut Draft, bytes: &[u8]) {
    if bytes.is_empty() {
        return;
    }
    draft.body_bytes = Some(bytes.len() as u64);
    let key = &cx.settings.plant_key;
    if key.is_empty() {
        return;
    }
    if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) {
        mac.update(bytes);
        json::push_hex_digits(&mut draft.body_hmac, &mac.finalize().into_bytes());
    }
}

/// Connection serial number, originator's vendor and serial number.
fn triad(draft: &mut Draft, cursor: &mut Cursor<'_>) -> Result<(), Cut> {
    let serial = cursor.u16_le("connection_serial")?;
    let vendor = cursor.u16_le("originator_vendor")?;
    let originator = cursor.u32_le("originator_serial")?;
    json::member_number(&mut draft.detail, "connection_serial", u64::from(serial));
    json::member_number(&mut draft.detail, "originator_vendor", u64::from(vendor));
    json::member_number(&mut draft.detail, "originator_serial", u64::from(originator));
    Ok(())
}

/// The path of a connection: what it is about.
fn connection_path(draft: &mut Draft, words: u8, cursor: &mut Cursor<'_>) -> Result<(), Cut> {
    draft.target.clear();
    path::read(cursor.part(usize::from(words) * 2, "connection_path")?, &mut draft.target)?;
    Ok(())
}

fn forward_open(draft: &mut Draft, large: bool, cursor: &mut Cursor<'_>) -> Result<(), Cut> {
    cursor.skip(10, "forward_open")?;
    triad(draft, cursor)?;
    cursor.skip(4, "forward_open")?;
    for (interval, parameters) in [("o_t_rpi", "o_t_parameters"), ("t_o_rpi", "t_o_parameters")] {
        json::member_number(&mut draft.detail, interval, u64::from(cursor.u32_le("forward_open")?));
        let value =
            if large { cursor.u32_le("forward_open")? } else { u32::from(cursor.u16_le("forward_open")?) };
        json::member_number(&mut draft.detail, parameters, u64::from(value));
    }
    let trigger = cursor.u8("forward_open")?;
    json::member_number(&mut draft.detail, "transport_class", u64::from(trigger & 15));
    let words = cursor.u8("connection_path")?;
    connection_path(draft, words, cursor)
}

fn forward_close(draft: &mut Draft, cursor: &mut Cursor<'_>) -> Result<(), Cut> {
    cursor.skip(2, "forward_close")?;
    triad(draft, cursor)?;
    let words = cursor.u8("connection_path")?;
    cursor.skip(1, "connection_path")?;
    connection_path(draft, words, cursor)
}
