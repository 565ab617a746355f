//! Requests that wait for their replies, and the row that the two become.
//!
//! A dissector fills a [`Draft`] from the request and hands it to [`Exchanges`]; when the reply
//! comes it takes the draft back, completes it and lets it be written. What is never answered
//! becomes a row too. Drafts are used again, by all connections of a thread together: a busy one
//! allocates nothing, and one of a million that are idle holds none.

use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::VecDeque;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use yagura_event::clock::Micros;
use yagura_event::rows::Row;
use yagura_event::vocabulary::{coverage, operation, status};

use crate::cursor::Cut;
use crate::{Cx, Side, json};

/// Most requests of one connection that wait for a reply; the oldest is given up first.
pub(crate) const WAITING_MAX: usize = 256;

/// Longest text of `values`, in bytes; what is beyond is cut, and `detail` says so.
const VALUES_BYTES_MAX: usize = 4096;
/// Places of a queue that are kept while nothing waits.
const KEPT_MAX: usize = 8;
/// Most spare drafts that a thread keeps.
const SPARE_MAX: usize = 64;
/// Longest text whose memory a spare draft keeps, in bytes.
const SPARE_TEXT_MAX: usize = 1024;
/// Most bytes of a message that could not be read which its row shows.
const SHOWN_BYTES_MAX: usize = 32;

thread_local! {
    /// Drafts that were written, for their memory. What they said is not used again.
    static SPARE: RefCell<Vec<Draft>> = const { RefCell::new(Vec::new()) };
}

/// A message row in the making. It stands apart from the queue that it waits in, which most of the
/// time is empty and should then be small.
pub(crate) type Draft = Box<Columns>;

/// The columns of a message row.
#[derive(Debug)]
pub(crate) struct Columns {
    /// When the request, or the only message, was on the wire.
    pub time: Micros,
    /// The end that asked.
    pub asker: Side,
    /// The end that the message is about: as a rule the one that was asked.
    pub equipment: Side,
    /// See [`yagura_event::vocabulary::operation`].
    pub operation: &'static str,
    /// The protocol's own name for it.
    pub function: Cow<'static, str>,
    /// Device or session of the protocol.
    pub session: String,
    /// What it is about.
    pub target: String,
    /// See [`yagura_event::vocabulary::status`].
    pub status: &'static str,
    /// The protocol's own code for the status.
    pub status_code: Cow<'static, str>,
    /// HMAC of a recipe or program body under the plant's key, hexadecimal.
    pub body_hmac: String,
    /// Its length in bytes.
    pub body_bytes: Option<u64>,
    /// The inside of a JSON object, written with `json::member_…`.
    pub detail: String,
    value: Option<f64>,
    values: String,
    values_cut: bool,
    count: u32,
}

impl Columns {
    fn new() -> Self {
        Columns {
            time: 0,
            asker: Side::Client,
            equipment: Side::Server,
            operation: operation::OTHER,
            function: Cow::Borrowed(""),
            session: String::new(),
            target: String::new(),
            status: status::OK,
            status_code: Cow::Borrowed(""),
            body_hmac: String::new(),
            body_bytes: None,
            detail: String::new(),
            value: None,
            values: String::new(),
            values_cut: false,
            count: 0,
        }
    }

    fn begin(&mut self, time: Micros, asker: Side) {
        for text in
            [&mut self.session, &mut self.target, &mut self.body_hmac, &mut self.detail, &mut self.values]
        {
            text.clear();
        }
        self.time = time;
        self.asker = asker;
        self.equipment = asker.other();
        self.status = status::OK;
        self.status_code = Cow::Borrowed("");
        self.body_bytes = None;
        self.value = None;
        self.values_cut = false;
        self.count = 0;
    }

    /// Keeps the draft for another message.
    fn spare(mut self: Box<Self>) {
        for text in [&mut self.session, &mut self.target, &mut self.detail, &mut self.values] {
            if text.capacity() > SPARE_TEXT_MAX {
                *text = String::new();
            }
        }
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < SPARE_MAX {
                spare.push(self);
            }
        });
    }

    /// Adds a number to `values`; `value` is the number when it stays the only one.
    pub fn push_value(&mut self, value: f64) {
        self.value = (self.count == 0).then_some(value);
        self.push_with(|out| json::push_float(out, value));
    }

    /// Adds a text to `values`.
    pub fn push_text(&mut self, text: &str) {
        self.value = None;
        self.push_with(|out| json::push_text(out, text));
    }

    /// Adds bytes to `values`, as hexadecimal digits.
    pub fn push_bytes(&mut self, bytes: &[u8]) {
        self.value = None;
        let shown = &bytes[..bytes.len().min(VALUES_BYTES_MAX / 2)];
        self.values_cut |= shown.len() < bytes.len();
        self.push_with(|out| json::push_hex(out, shown));
    }

    /// Adds one compact JSON value to `values`.
    pub fn push_json(&mut self, value: &str) {
        self.value = None;
        self.push_with(|out| out.push_str(value));
    }

    /// How many values were added, those that were cut included.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether `values` has no room left.
    pub fn is_cut(&self) -> bool {
        self.values_cut
    }

    /// Sets how many items the message is about, where they are not values.
    pub fn set_count(&mut self, count: u32) {
        self.count = count;
    }

    fn push_with(&mut self, write: impl FnOnce(&mut String)) {
        self.count = self.count.saturating_add(1);
        if self.values_cut {
            return;
        }
        let before = self.values.len();
        self.values.push(if before == 0 { '[' } else { ',' });
        write(&mut self.values);
        if self.values.len() >= VALUES_BYTES_MAX {
            self.values.truncate(before);
            self.values_cut = true;
        }
    }

    /// Notes a program, firmware or file body: its length and its HMAC under the plant's key.
    pub fn seal(&mut self, plant_key: &[u8], body: &[u8]) {
        self.body_bytes = Some(body.len() as u64);
        self.body_hmac.clear();
        if plant_key.is_empty() {
            return;
        }
        if let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(plant_key) {
            mac.update(body);
            json::push_hex_digits(&mut self.body_hmac, &mac.finalize().into_bytes());
        }
    }

    /// Notes a refusal: the reply's own code.
    pub fn deny(&mut self, code: impl Into<Cow<'static, str>>) {
        self.status = status::DENIED;
        self.status_code = code.into();
    }

    /// Notes where the message breaks the protocol.
    pub fn wrong(&mut self, cut: Cut) {
        self.status = status::MALFORMED;
        self.status_code = Cow::Borrowed(cut.what);
        json::member_number(&mut self.detail, "at", cut.at as u64);
    }
}

/// The requests of one connection that wait for their replies, told apart by `K`.
#[derive(Debug)]
pub(crate) struct Exchanges<K> {
    protocol: &'static str,
    timeout: Micros,
    waiting: VecDeque<(K, Draft)>,
    evicted: u64,
}

impl<K> Exchanges<K> {
    /// None waiting. A request without a reply for `timeout` becomes a row of its own.
    pub fn new(protocol: &'static str, timeout: Micros) -> Self {
        Exchanges { protocol, timeout, waiting: VecDeque::new(), evicted: 0 }
    }

    /// A draft of a message that `asker` sends now.
    pub fn draft(
        &mut self,
        cx: &Cx<'_>,
        asker: Side,
        operation: &'static str,
        function: impl Into<Cow<'static, str>>,
    ) -> Draft {
        let spare = SPARE.with_borrow_mut(Vec::pop);
        let mut draft = spare.unwrap_or_else(|| Box::new(Columns::new()));
        draft.begin(cx.time, asker);
        draft.operation = operation;
        draft.function = function.into();
        draft
    }

    /// A request begins to wait.
    pub fn ask(&mut self, cx: &mut Cx<'_>, key: K, draft: Draft) {
        if self.waiting.len() == WAITING_MAX {
            self.evicted += 1;
            if self.evicted.is_power_of_two() {
                let detail = format!("more than {WAITING_MAX} requests wait: the oldest is given up");
                cx.cover(self.protocol, coverage::DROP, self.evicted, &detail);
            }
            self.give_up_oldest(cx);
        }
        if self.waiting.capacity() == 0 {
            // Most connections ask one thing at a time.
            self.waiting.reserve_exact(1);
        }
        self.waiting.push_back((key, draft));
    }

    /// The request that a message from `side` answers; the oldest when several have the key.
    pub fn answered(&mut self, side: Side, key: &K) -> Option<Draft>
    where
        K: PartialEq,
    {
        self.answered_if(side, |waiting, _| waiting == key)
    }

    /// The oldest request that a message from `side` may answer and that `fits`.
    pub fn answered_if(&mut self, side: Side, fits: impl Fn(&K, &Draft) -> bool) -> Option<Draft> {
        self.take_if(side, fits).map(|(_, draft)| draft)
    }

    /// The same with its key, for protocols whose replies can be read only with what was asked.
    pub fn take_if(&mut self, side: Side, fits: impl Fn(&K, &Draft) -> bool) -> Option<(K, Draft)> {
        let at = self.waiting.iter().position(|(key, draft)| draft.asker != side && fits(key, draft))?;
        let taken = self.waiting.remove(at);
        if self.waiting.is_empty() && self.waiting.capacity() > KEPT_MAX {
            self.waiting = VecDeque::new();
        }
        taken
    }

    /// Writes a request with its reply, which came now.
    pub fn pair(&mut self, cx: &mut Cx<'_>, draft: Draft) {
        let latency = cx.time - draft.time;
        self.write(cx, draft, "pair", Some(latency));
    }

    /// Writes a message that needs no reply.
    pub fn one_way(&mut self, cx: &mut Cx<'_>, mut draft: Draft) {
        if draft.status == status::OK {
            draft.status = status::ONE_WAY;
        }
        self.write(cx, draft, "request", None);
    }

    /// Writes a reply whose request was not seen. Its draft's asker is the end that must have asked.
    pub fn unasked(&mut self, cx: &mut Cx<'_>, mut draft: Draft) {
        if draft.status == status::OK {
            draft.status = status::UNASKED;
        }
        self.write(cx, draft, "reply", None);
    }

    /// Writes what waited too long. Call it from [`crate::Dissector::expire`].
    pub fn expire(&mut self, cx: &mut Cx<'_>) {
        // In order of arrival, which is nearly the order of time: a clock that steps back only delays.
        while self.waiting.front().is_some_and(|(_, draft)| cx.time - draft.time > self.timeout) {
            self.give_up_oldest(cx);
        }
    }

    /// Writes whatever waits. Call it from [`crate::Dissector::close`].
    pub fn close(&mut self, cx: &mut Cx<'_>) {
        while !self.waiting.is_empty() {
            self.give_up_oldest(cx);
        }
    }

    fn give_up_oldest(&mut self, cx: &mut Cx<'_>) {
        if let Some((_, mut draft)) = self.waiting.pop_front() {
            if draft.status == status::OK {
                draft.status = status::NO_REPLY;
            }
            self.write(cx, draft, "request", None);
        }
    }

    fn write(&mut self, cx: &mut Cx<'_>, mut draft: Draft, exchange: &str, latency: Option<Micros>) {
        if !draft.values.is_empty() {
            draft.values.push(']');
        }
        if draft.values_cut {
            json::member_bool(&mut draft.detail, "values_cut", true);
        }
        json::end(&mut draft.detail);
        let flow = cx.flow;
        let mut row = flow.message(self.protocol, draft.asker, draft.equipment);
        row.time = draft.time;
        row.observed = cx.observed;
        row.operation = draft.operation;
        row.function = &draft.function;
        row.session = &draft.session;
        row.target = &draft.target;
        row.value = draft.value;
        row.values = &draft.values;
        row.count = draft.count;
        row.status = draft.status;
        row.status_code = &draft.status_code;
        row.latency_us = latency;
        row.exchange = exchange;
        row.body_hmac = &draft.body_hmac;
        row.body_bytes = draft.body_bytes;
        row.detail = &draft.detail;
        cx.out.push(Row::Message(&row));
        draft.spare();
    }
}

/// Writes a row for bytes that break the protocol.
pub(crate) fn unreadable(cx: &mut Cx<'_>, protocol: &'static str, side: Side, cut: Cut, bytes: &[u8]) {
    let mut detail = String::new();
    json::member_number(&mut detail, "at", cut.at as u64);
    json::key(&mut detail, "bytes");
    json::push_hex(&mut detail, &bytes[..bytes.len().min(SHOWN_BYTES_MAX)]);
    json::end(&mut detail);
    let flow = cx.flow;
    let mut row = flow.message(protocol, Side::Client, Side::Server);
    row.time = cx.time;
    row.observed = cx.observed;
    row.operation = operation::OTHER;
    row.function = "unreadable";
    row.status = status::MALFORMED;
    row.status_code = cut.what;
    row.exchange = if side == Side::Client { "request" } else { "reply" };
    row.detail = &detail;
    cx.out.push(Row::Message(&row));
}
