//! A request with its response, on its way to being a row.

use yagura_event::clock::Micros;
use yagura_event::vocabulary::{operation, status};

use super::fields::{Head, Peek};
use super::head;
use crate::exchange::{Draft, Exchanges};
use crate::lines::{self, TEXT_MAX};
use crate::{Cx, Side, json};

/// Most bytes of a request's body that are looked into.
const PEEK_MAX: usize = 2048;

/// A request with its response.
pub(super) struct Transaction {
    pub asker: Side,
    /// Whether the request was seen.
    pub asked: bool,
    /// When the response's head was on the wire.
    pub answered: Option<Micros>,
    /// Whether the response has no body whatever it says.
    pub head_only: bool,
    /// Whether a tunnel is asked for.
    pub connects: bool,
    /// Whether the response has no head: HTTP/0.9.
    pub oldest: bool,
    /// Whether a message ended in the middle.
    pub incomplete: bool,
    /// Bytes of bodies that were not seen.
    pub missing: u64,
    pub response_done: bool,
    request_done: bool,
    /// `None` once it is written.
    draft: Option<Draft>,
    code: u16,
    request_bytes: u64,
    response_bytes: u64,
    credentials: bool,
    upload: bool,
    peek: Option<(Peek, Vec<u8>)>,
}

impl Transaction {
    /// Of a request whose head is whole.
    pub fn asked(asker: Side, draft: Draft, head: &mut Head) -> Transaction {
        Transaction {
            asked: true,
            head_only: head.head_only,
            connects: head.connects,
            oldest: head.version_is_oldest,
            credentials: head.credentials,
            upload: head.file,
            peek: head.peek.take().map(|peek| (peek, Vec::new())),
            ..Transaction::unasked(asker, draft)
        }
    }

    /// Of a response whose request was not seen.
    pub fn unasked(asker: Side, draft: Draft) -> Transaction {
        Transaction {
            asker,
            asked: false,
            answered: None,
            head_only: false,
            connects: false,
            oldest: false,
            incomplete: false,
            missing: 0,
            response_done: false,
            request_done: false,
            draft: Some(draft),
            code: 0,
            request_bytes: 0,
            response_bytes: 0,
            credentials: false,
            upload: false,
            peek: None,
        }
    }

    /// The draft of such a response's row.
    pub fn draft_of_unasked(cx: &Cx<'_>, exchanges: &mut Exchanges<()>, asker: Side) -> Draft {
        exchanges.draft(cx, asker, operation::OTHER, "response")
    }

    /// When the request was sent, while its row is not written.
    pub fn time(&self) -> Option<Micros> {
        self.draft.as_ref().map(|draft| draft.time)
    }

    pub fn is_written(&self) -> bool {
        self.draft.is_none()
    }

    /// A response comes after the request's row was written: it gets one of its own.
    pub fn ask_again(&mut self, draft: Draft) {
        self.draft = Some(draft);
        self.asked = false;
    }

    /// A preliminary response (RFC 9110, 15.2).
    pub fn interim(&mut self, code: u16) {
        if let Some(draft) = self.draft.as_mut().filter(|draft| !draft.detail.contains("\"interim\":")) {
            json::member_number(&mut draft.detail, "interim", u64::from(code));
        }
    }

    /// The response's head.
    pub fn answer(&mut self, time: Micros, head: &mut Head) {
        self.answered = Some(time);
        self.code = head.code;
        let Some(draft) = &mut self.draft else { return };
        let members = std::mem::take(&mut head.detail);
        match members.strip_prefix('{').filter(|_| !draft.detail.is_empty()) {
            Some(members) => {
                draft.detail.push(',');
                draft.detail.push_str(members);
            }
            None => draft.detail.push_str(&members),
        }
    }

    /// Bytes of a body.
    pub fn body(&mut self, side: Side, bytes: &[u8]) {
        if side != self.asker {
            self.response_bytes += bytes.len() as u64;
            return;
        }
        self.request_bytes += bytes.len() as u64;
        if let Some((_, begin)) = &mut self.peek {
            let room = PEEK_MAX - begin.len();
            begin.extend_from_slice(&bytes[..bytes.len().min(room)]);
        }
    }

    /// A side's message is whole.
    pub fn done(&mut self, side: Side) {
        if side == self.asker {
            self.request_done = true;
            self.look_inside();
        } else {
            self.response_done = true;
        }
    }

    /// Whether nothing more is to come.
    pub fn is_whole(&self) -> bool {
        self.response_done && (self.request_done || !self.asked)
    }

    /// It is known that no response will be seen.
    pub fn give_up(&mut self) {
        self.request_done = true;
        self.response_done = true;
        self.answered = self.answered.or(Some(0));
    }

    /// Something breaks the protocol.
    pub fn wrong(&mut self, what: &'static str) {
        if let Some(draft) = &mut self.draft {
            json::member_text(&mut draft.detail, "problem", what);
            draft.status = status::MALFORMED;
        }
    }

    /// What the beginning of the body says.
    fn look_inside(&mut self) {
        let (Some((peek, begin)), Some(draft)) = (self.peek.take(), &mut self.draft) else { return };
        match peek {
            Peek::Envelope => {
                if let Some(name) = head::first_element(&begin) {
                    let equipment_data = begin.windows(4).any(|w| w.eq_ignore_ascii_case(b"semi"));
                    draft.operation = head::operation_of_action(&name, equipment_data);
                    draft.function = name.into();
                }
            }
            Peek::Upload => {
                let text = String::from_utf8_lossy(&begin);
                let name = text.split("filename=").nth(1).map(|rest| match rest.strip_prefix('"') {
                    Some(quoted) => quoted.split('"').next().unwrap_or_default(),
                    None => rest.split([';', '\r', '\n']).next().unwrap_or_default(),
                });
                if let Some(name) = name.filter(|name| !name.is_empty()) {
                    json::member_text(&mut draft.detail, "file", lines::clip(name, TEXT_MAX));
                    self.upload = true;
                }
            }
        }
    }

    /// Writes the row, once.
    pub fn write(&mut self, cx: &mut Cx<'_>, exchanges: &mut Exchanges<()>) {
        self.look_inside();
        let Some(mut draft) = self.draft.take() else { return };
        let detail = &mut draft.detail;
        if self.asked && self.request_bytes > 0 {
            json::member_number(detail, "request_bytes", self.request_bytes);
        }
        if self.answered.is_some() {
            json::member_number(detail, "response_bytes", self.response_bytes);
        }
        if self.missing > 0 {
            json::member_number(detail, "missing_bytes", self.missing);
        }
        if self.incomplete {
            json::member_bool(detail, "complete", false);
        }
        if self.upload {
            draft.operation = operation::PROGRAM_WRITE;
            draft.body_bytes = Some(self.request_bytes);
        }
        if self.code > 0 {
            draft.status_code = self.code.to_string().into();
        }
        if self.code >= 400 && draft.status == status::OK {
            draft.status = status::DENIED;
            if self.credentials && matches!(self.code, 401 | 403 | 407) {
                draft.operation = operation::AUTHENTICATE;
            }
        }
        match self.answered {
            Some(time) if self.asked => {
                let mut at = Cx {
                    flow: cx.flow,
                    time,
                    observed: cx.observed,
                    settings: cx.settings,
                    out: &mut *cx.out,
                };
                exchanges.pair(&mut at, draft);
            }
            Some(_) => exchanges.unasked(cx, draft),
            None => {
                if draft.status == status::OK {
                    draft.status = status::NO_REPLY;
                }
                exchanges.one_way(cx, draft);
            }
        }
    }
}
