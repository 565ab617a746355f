//! MMS (ISO 9506) as IEC 61850-8-1, TASE.2 and others use it: over ISO session (X.225),
//! presentation (X.226) and ACSE (X.227) on TPKT.
//!
//! Requests and answers are paired by their invoke id. The names of IEC 61850 tell what a write
//! does: a control, a setting of a report, a process value. MMS shares its port with S7comm and
//! RDP; it is known by the session's first unit. Some ends leave session and presentation out: MMS'
//! own PDUs, whose tags are no session's unit, are read there as well.

use std::borrow::Cow;

use yagura_event::clock::{Micros, SECOND};
use yagura_event::vocabulary::{operation, status};

use crate::cursor::Cut;
use crate::exchange::{Draft, Exchanges};
use crate::framing::Framing;
use crate::tpkt::{self, First, Over, Upper};
use crate::{Carrier, Cx, Glimpse, Probe, Protocol, Side, json};

pub(crate) mod ber;
mod bodies;
mod confirmed;
pub(crate) mod data;
mod names;
mod report;
mod services;
mod session;

use ber::{Tlv, application, context, universal};
use bodies::Bodies;
use session::Unit;

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: "mms",
    carriers: &[Carrier::tcp(&[102])],
    probe,
    start: |_| Box::new(Framing::new(Over::new(Mms::new()))),
    buffer_bytes_max: tpkt::FRAME_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

/// A request without an answer for that long gets a row of its own.
const REPLY_TIMEOUT: Micros = 30 * SECOND;
/// 1.0.9506.2, the object identifier that all of MMS' own begin with.
const ISO_9506_2: &[u8] = &[0x28, 0xca, 0x22, 0x02];

/// The PDUs (ISO 9506-2, 7.1).
mod pdu {
    pub const CONFIRMED_REQUEST: u32 = 0;
    pub const CONFIRMED_RESPONSE: u32 = 1;
    pub const CONFIRMED_ERROR: u32 = 2;
    pub const UNCONFIRMED: u32 = 3;
    pub const REJECT: u32 = 4;
    pub const CANCEL_REQUEST: u32 = 5;
    pub const CANCEL_RESPONSE: u32 = 6;
    pub const CANCEL_ERROR: u32 = 7;
    pub const INITIATE_REQUEST: u32 = 8;
    pub const INITIATE_RESPONSE: u32 = 9;
    pub const INITIATE_ERROR: u32 = 10;
    pub const CONCLUDE_REQUEST: u32 = 11;
    pub const CONCLUDE_RESPONSE: u32 = 12;
    pub const CONCLUDE_ERROR: u32 = 13;
}

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    match tpkt::first_data(glimpse.bytes) {
        First::More => Probe::More,
        First::No => Probe::No,
        First::Data(data) => session::probe(data, glimpse.customary),
    }
}

/// What tells requests apart.
#[derive(Debug, PartialEq)]
enum Key {
    Initiate,
    Conclude,
    Release,
    Cancel(u64),
    /// The invoke id, and what the request accesses.
    Invoke(u64, Asked),
}

/// What an answer needs to know of its request.
#[derive(Debug, Default)]
struct Asked {
    service: u32,
    accessed: names::Accessed,
    /// The transfer that a file's or domain's segment belongs to.
    transfer: String,
}

impl PartialEq for Asked {
    fn eq(&self, _: &Asked) -> bool {
        true
    }
}

/// The state of an association.
struct Mms {
    exchanges: Exchanges<Key>,
    bodies: Bodies,
}

impl Mms {
    fn new() -> Mms {
        Mms { exchanges: Exchanges::new(PROTOCOL.name, REPLY_TIMEOUT), bodies: Bodies::default() }
    }
}

impl Upper for Mms {
    const PROTOCOL: &'static str = PROTOCOL.name;

    fn data(&mut self, cx: &mut Cx<'_>, side: Side, data: &[u8]) -> Result<(), Cut> {
        if let Some(apdu) = session::left_out(data) {
            return self.mms(cx, side, &apdu);
        }
        let unit = Unit::read(data)?;
        let mut opened = false;
        for value in session::values(unit.user)? {
            opened = true;
            match value.tag >> 24 {
                1 => self.acse(cx, side, &value)?,
                2 => self.mms(cx, side, &value)?,
                _ => return Err(Cut { what: "presentation_data_value", at: 0 }),
            }
        }
        if !opened {
            self.session(cx, side, &unit);
        }
        Ok(())
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, _side: Side) {
        self.bodies.forget();
    }

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.expire(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.close(cx);
    }
}

impl Mms {
    /// A session's unit that carries nothing that could be read: its kind still tells.
    fn session(&mut self, cx: &mut Cx<'_>, side: Side, unit: &Unit<'_>) {
        match unit.kind {
            session::CONNECT => {
                let draft = self.draft(cx, side, operation::SESSION_OPEN, "session_connect");
                self.exchanges.ask(cx, Key::Initiate, draft);
            }
            session::ACCEPT => self.answer(cx, side, &Key::Initiate, "session_connect", |_, _| {}),
            session::REFUSE => {
                self.answer(cx, side, &Key::Initiate, "session_connect", |_, d| d.deny("session_refused"));
            }
            session::FINISH => {
                let draft = self.draft(cx, side, operation::SESSION_CLOSE, "release");
                self.exchanges.ask(cx, Key::Release, draft);
            }
            session::DISCONNECT => self.answer(cx, side, &Key::Release, "release", |_, _| {}),
            session::ABORT => self.abort(cx, side, None),
            _ => {}
        }
    }

    /// ACSE (X.227): associations are opened and closed.
    fn acse(&mut self, cx: &mut Cx<'_>, side: Side, apdu: &Tlv<'_>) -> Result<(), Cut> {
        let inner = session::user_information(apdu);
        match apdu.tag & 0xff_ffff {
            0 => {
                let name = if inner.is_some() { "initiate" } else { "associate" };
                let mut draft = self.draft(cx, side, operation::SESSION_OPEN, name);
                session::association(&mut draft, apdu, true);
                if let Some(inner) = inner {
                    initiate(&mut draft, &inner, "");
                }
                self.exchanges.ask(cx, Key::Initiate, draft);
            }
            1 => self.answer(cx, side, &Key::Initiate, "initiate", |_, draft| {
                session::association(draft, apdu, false);
                match inner.map(|inner| (inner, inner.choice())) {
                    Some((inner, Some(pdu::INITIATE_ERROR))) => draft.deny(error(&inner)),
                    Some((inner, _)) => initiate(draft, &inner, "negotiated_"),
                    None => {}
                }
            }),
            2 => match inner {
                Some(inner) => self.mms(cx, side, &inner)?,
                None => {
                    let draft = self.draft(cx, side, operation::SESSION_CLOSE, "release");
                    self.exchanges.ask(cx, Key::Release, draft);
                }
            },
            3 => match inner {
                Some(inner) => self.mms(cx, side, &inner)?,
                None => self.answer(cx, side, &Key::Release, "release", |_, _| {}),
            },
            4 => self.abort(cx, side, apdu.child(context(0)).and_then(|source| source.unsigned())),
            _ => return Err(Cut { what: "acse_apdu", at: 0 }),
        }
        Ok(())
    }

    fn abort(&mut self, cx: &mut Cx<'_>, side: Side, source: Option<u64>) {
        let mut draft = self.draft(cx, side, operation::SESSION_CLOSE, "abort");
        if let Some(source) = source {
            let source = if source == 0 { "service_user" } else { "service_provider" };
            json::member_text(&mut draft.detail, "source", source);
        }
        self.exchanges.one_way(cx, draft);
    }

    /// An MMS PDU.
    fn mms(&mut self, cx: &mut Cx<'_>, side: Side, apdu: &Tlv<'_>) -> Result<(), Cut> {
        match apdu.choice().unwrap_or(u32::MAX) {
            pdu::CONFIRMED_REQUEST => self.request(cx, side, apdu)?,
            pdu::CONFIRMED_RESPONSE => self.response(cx, side, apdu)?,
            pdu::CONFIRMED_ERROR => {
                let id = apdu.child(context(0)).and_then(|id| id.unsigned()).unwrap_or(0);
                let code = apdu.child(context(2)).map_or("error".into(), |e| error(&e));
                self.refused(cx, side, id, code, "confirmed_error");
            }
            pdu::UNCONFIRMED => self.unconfirmed(cx, side, apdu)?,
            pdu::REJECT => {
                let id = apdu.child(context(0)).and_then(|id| id.unsigned());
                let reason = apdu.children().find(|c| c.choice().is_some_and(|tag| (1..=11).contains(&tag)));
                let code = reason.map_or("rejected".into(), |reason| {
                    services::reject(reason.choice().unwrap_or(0), reason.unsigned().unwrap_or(0))
                });
                self.refused(cx, side, id.unwrap_or(u64::MAX), code, "reject");
            }
            pdu::CANCEL_REQUEST => {
                let id = apdu.unsigned().unwrap_or(0);
                let mut draft = self.draft(cx, side, operation::OTHER, "cancel");
                json::member_number(&mut draft.detail, "invoke_id", id);
                self.exchanges.ask(cx, Key::Cancel(id), draft);
            }
            pdu::CANCEL_RESPONSE => {
                let id = apdu.unsigned().unwrap_or(0);
                self.answer(cx, side, &Key::Cancel(id), "cancel", |_, _| {});
            }
            pdu::CANCEL_ERROR => {
                let id = apdu.child(context(0)).and_then(|id| id.unsigned()).unwrap_or(0);
                let code = apdu.child(context(1)).map_or("error".into(), |e| error(&e));
                self.answer(cx, side, &Key::Cancel(id), "cancel", |_, draft| draft.deny(code));
            }
            pdu::INITIATE_REQUEST => {
                let mut draft = self.draft(cx, side, operation::SESSION_OPEN, "initiate");
                initiate(&mut draft, apdu, "");
                self.exchanges.ask(cx, Key::Initiate, draft);
            }
            pdu::INITIATE_RESPONSE => {
                self.answer(cx, side, &Key::Initiate, "initiate", |_, d| initiate(d, apdu, "negotiated_"));
            }
            pdu::INITIATE_ERROR => {
                self.answer(cx, side, &Key::Initiate, "initiate", |_, draft| draft.deny(error(apdu)));
            }
            pdu::CONCLUDE_REQUEST => {
                let draft = self.draft(cx, side, operation::SESSION_CLOSE, "conclude");
                self.exchanges.ask(cx, Key::Conclude, draft);
            }
            pdu::CONCLUDE_RESPONSE => self.answer(cx, side, &Key::Conclude, "conclude", |_, _| {}),
            pdu::CONCLUDE_ERROR => {
                self.answer(cx, side, &Key::Conclude, "conclude", |_, draft| draft.deny(error(apdu)));
            }
            _ => return Err(Cut { what: "mms_pdu", at: 0 }),
        }
        Ok(())
    }

    fn unconfirmed(&mut self, cx: &mut Cx<'_>, side: Side, apdu: &Tlv<'_>) -> Result<(), Cut> {
        let service = apdu.only("unconfirmed_service")?;
        let tag = service.choice().ok_or(Cut { what: "unconfirmed_service", at: 0 })?;
        let (operation, name) = services::unconfirmed(tag);
        let mut draft = self.draft(cx, side, operation, name);
        draft.equipment = side;
        json::member_number(&mut draft.detail, "unconfirmed_service", u64::from(tag));
        match tag {
            0 => report::read(cx, side, &mut draft, &service),
            1 => confirmed::device_status(&mut draft, &service),
            _ => {
                if let Some(name) = service.children().next().and_then(|name| name.children().next()) {
                    draft.target.push_str(&names::of(&name));
                }
            }
        }
        self.exchanges.one_way(cx, draft);
        Ok(())
    }

    fn draft(
        &mut self,
        cx: &Cx<'_>,
        asker: Side,
        operation: &'static str,
        function: impl Into<Cow<'static, str>>,
    ) -> Draft {
        let mut draft = self.exchanges.draft(cx, asker, operation, function);
        draft.equipment = Side::Server;
        draft
    }

    /// Writes the answer to what has that key, or the answer alone.
    fn answer(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        key: &Key,
        name: &'static str,
        fill: impl FnOnce(&mut Cx<'_>, &mut Draft),
    ) {
        if let Some(mut draft) = self.exchanges.answered(side, key) {
            fill(cx, &mut draft);
            return self.exchanges.pair(cx, draft);
        }
        let operation = match key {
            Key::Initiate => operation::SESSION_OPEN,
            Key::Conclude | Key::Release => operation::SESSION_CLOSE,
            Key::Cancel(_) | Key::Invoke(..) => operation::OTHER,
        };
        let mut draft = self.draft(cx, side.other(), operation, name);
        fill(cx, &mut draft);
        self.exchanges.unasked(cx, draft);
    }

    /// Writes the refusal of the request with that invoke id.
    fn refused(&mut self, cx: &mut Cx<'_>, side: Side, id: u64, code: Cow<'static, str>, name: &'static str) {
        let asked = self.exchanges.answered_if(side, |key, _| matches!(key, Key::Invoke(k, _) if *k == id));
        if let Some(mut draft) = asked {
            draft.deny(code);
            json::member_text(&mut draft.detail, "answer", name);
            return self.exchanges.pair(cx, draft);
        }
        let mut draft = self.draft(cx, side.other(), operation::ERROR, name);
        if id != u64::MAX {
            json::member_number(&mut draft.detail, "invoke_id", id);
        }
        draft.deny(code);
        self.exchanges.unasked(cx, draft);
    }
}

/// What an `Initiate` proposes or settles.
fn initiate(draft: &mut Draft, apdu: &Tlv<'_>, prefix: &str) {
    for child in apdu.children() {
        let name = match child.choice() {
            Some(0) => "local_detail",
            Some(1) => "max_serv_outstanding_calling",
            Some(2) => "max_serv_outstanding_called",
            Some(3) => "data_structure_nesting_level",
            _ => continue,
        };
        if let Some(number) = child.unsigned() {
            json::member_number(&mut draft.detail, &format!("{prefix}{name}"), number);
        }
    }
}

/// An error by the `ServiceError` within, or that an element is.
fn error(element: &Tlv<'_>) -> Cow<'static, str> {
    let class = element.child(context(0)).filter(|class| class.constructed).or_else(|| {
        element.child(context(2)).or(element.child(universal(16))).and_then(|e| e.child(context(0)))
    });
    let Some(code) = class.and_then(|class| class.children().next()) else { return "error".into() };
    services::service_error(code.choice().unwrap_or(u32::MAX), code.unsigned().unwrap_or(0))
}

/// Whether an element may be one of MMS' PDUs or ACSE's.
fn is_apdu(value: &Tlv<'_>) -> bool {
    let primitive = [
        context(pdu::CANCEL_REQUEST),
        context(pdu::CANCEL_RESPONSE),
        context(pdu::CONCLUDE_REQUEST),
        context(pdu::CONCLUDE_RESPONSE),
    ];
    if value.constructed {
        value.tag >= application(0) && value.tag <= application(4)
            || value.tag >= context(0)
                && value.tag <= context(pdu::CONCLUDE_ERROR)
                && !primitive.contains(&value.tag)
    } else {
        primitive.contains(&value.tag)
    }
}

/// What is malformed within a message whose row there is.
fn broken(draft: &mut Draft, what: &'static str) {
    if draft.status == status::OK {
        draft.wrong(Cut { what, at: 0 });
    }
}

#[cfg(test)]
mod tests;
