//! HTTP/1 (RFC 9110, RFC 9112): requests with their responses, bodies counted and not kept.
//!
//! Messages are read line by line and bodies as they come, so that no more than a line waits. A
//! request and its response are one row, written when both are whole or the connection ends. A
//! SOAP request is named by its action (SEMI EDA, OPC XML-DA). After CONNECT and an upgrade the
//! connection is handed over; the frames of a WebSocket are hidden behind masks and left alone.
//!
//! Requests and responses are told by their first lines and not by who opened the connection: one
//! that is joined under way may look reversed.

use std::collections::VecDeque;

use yagura_event::clock::{Micros, SECOND};
use yagura_event::vocabulary::coverage;

use crate::exchange::{Exchanges, WAITING_MAX};
use crate::lines::{self, Begins};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Outcome, Probe, Protocol, Side};

mod fields;
mod head;
#[cfg(test)]
mod tests;
mod transaction;

use fields::Head;
use head::Start;
use transaction::Transaction;

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::tcp(&[80, 8080, 8000, 8008, 8081, 8088, 8888, 3128, 5985, 47001, 5357])],
    probe,
    start: |_: &FlowInfo| Box::new(Http::new()),
    buffer_bytes_max: LINE_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "http";
/// Longest line of a head.
const LINE_MAX: usize = 64 << 10;
/// A request's first line that is so long is believed before its end has come.
const LINE_BELIEVED: usize = 300;
/// A request without a response for that long gets a row.
const REPLY_TIMEOUT: Micros = 120 * SECOND;
/// A response that takes longer gets its row before it is whole.
const BODY_TIMEOUT: Micros = 600 * SECOND;
/// Most bytes that are searched for a first line before a direction is given up.
const SCAN_BYTES_MAX: u64 = 1 << 20;

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    // Old browsers end a body with a line of its own.
    let bytes = glimpse.bytes;
    let begin = bytes.iter().take(4).position(|b| !matches!(b, b'\r' | b'\n')).unwrap_or(bytes.len().min(4));
    first_line(&bytes[begin..], glimpse.customary)
}

/// Whether a message begins here. `customary` tells whether one without a version is believed.
fn first_line(bytes: &[u8], customary: bool) -> Probe {
    if let Some(end) = bytes.iter().take(LINE_MAX).position(|b| *b == b'\n') {
        let line = lines::text(&bytes[..=end]);
        return match head::start(&line) {
            Some(Start::Request { version: "", .. }) if !customary => Probe::No,
            Some(_) => Probe::Yes,
            None => Probe::No,
        };
    }
    if bytes.len() < 7 && b"HTTP/1.".starts_with(bytes) || bytes.starts_with(b"HTTP/1.") {
        return if bytes.len() < LINE_MAX { Probe::More } else { Probe::No };
    }
    for method in head::METHODS {
        match lines::begins(bytes, method) {
            Begins::SoFar => return Probe::More,
            Begins::Yes => match bytes[method.len()..] {
                [] => return Probe::More,
                [b' ', ref target @ ..] => {
                    let fits = matches!(target, [] | [b'/' | b'*' | b'h' | b'H', ..]) || *method == "CONNECT";
                    return match fits {
                        false => Probe::No,
                        true if bytes.len() > LINE_BELIEVED => Probe::Yes,
                        true => Probe::More,
                    };
                }
                _ => {}
            },
            Begins::No => {}
        }
    }
    Probe::No
}

/// What a direction's next bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum At {
    /// A first line.
    Start,
    /// A line of a head.
    Fields,
    /// A body.
    Body(Body),
    /// Unknown: a first line is searched.
    Lost,
    /// Of another protocol that is not read.
    Opaque,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Body {
    /// That many bytes more.
    Length(u64),
    /// The line with a chunk's size.
    ChunkSize,
    /// That many bytes more of a chunk.
    Chunk(u64),
    /// The end of a chunk's line.
    ChunkEnd,
    /// Fields behind the last chunk.
    Trailer,
    /// Everything until the connection ends.
    UntilClose,
}

struct Direction {
    at: At,
    /// The message whose head or body is being read.
    head: Head,
    /// The transaction whose body is being read.
    current: u64,
    /// Whether a byte of the body has been read.
    body_begun: bool,
    /// Whether this line is too long and passed over.
    skip_line: bool,
    /// Bytes thrown away while searching.
    scanned: u64,
    /// Whether the search is for what follows bytes that are missing.
    missing: bool,
    /// Whether responses may be missing, so that the next one need not answer the oldest request.
    doubt: bool,
    /// The software that it named last.
    software: String,
}

impl Direction {
    fn new() -> Direction {
        Direction {
            at: At::Start,
            head: Head::default(),
            current: 0,
            body_begun: false,
            skip_line: false,
            scanned: 0,
            missing: false,
            doubt: false,
            software: String::new(),
        }
    }
}

struct Http {
    exchanges: Exchanges<()>,
    /// In the order of their requests; the first is number `first`.
    transactions: VecDeque<Transaction>,
    first: u64,
    directions: [Direction; 2],
    evicted: u64,
    over: bool,
}

/// What came of the bytes at one place.
enum Step {
    Used(usize),
    More,
    HandOver(usize),
    GivenUp,
}

impl Dissector for Http {
    fn parse(&mut self, cx: &mut Cx<'_>, side: Side, bytes: &[u8]) -> Outcome {
        let mut at = 0;
        while at < bytes.len() {
            match self.step(cx, side, &bytes[at..]) {
                Step::Used(used) => at += used,
                Step::More => break,
                Step::HandOver(used) => return Outcome::HandOver(at + used),
                Step::GivenUp => return Outcome::Unrecoverable,
            }
        }
        Outcome::Consumed(at)
    }

    fn gap(&mut self, cx: &mut Cx<'_>, side: Side, missing: u64) {
        match self.directions[side as usize].at {
            At::Opaque | At::Body(Body::UntilClose) => self.missed(side, missing),
            At::Body(Body::Length(left)) if left >= missing => {
                self.missed(side, missing);
                self.body_left(cx, side, Body::Length(left - missing));
            }
            At::Body(Body::Chunk(left)) if left >= missing => {
                self.missed(side, missing);
                self.body_left(cx, side, Body::Chunk(left - missing));
            }
            _ => {
                self.cut(cx, side);
                let direction = &mut self.directions[side as usize];
                direction.skip_line = false;
                direction.at = At::Lost;
                direction.missing = true;
                direction.doubt = true;
            }
        }
    }

    fn expire(&mut self, cx: &mut Cx<'_>) {
        for at in 0..self.transactions.len() {
            let transaction = &self.transactions[at];
            let over = match transaction.answered {
                None => transaction.time().is_some_and(|time| cx.time - time > REPLY_TIMEOUT),
                Some(time) => cx.time - time > BODY_TIMEOUT,
            };
            if over {
                self.transactions[at].write(cx, &mut self.exchanges);
            }
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        for side in [Side::Client, Side::Server] {
            self.cut(cx, side);
            self.found_again(cx, side, "no message was found again");
        }
        while let Some(mut transaction) = self.transactions.pop_front() {
            self.first += 1;
            transaction.write(cx, &mut self.exchanges);
        }
    }
}

impl Http {
    fn new() -> Http {
        Http {
            exchanges: Exchanges::new(NAME, REPLY_TIMEOUT),
            transactions: VecDeque::new(),
            first: 0,
            directions: [Direction::new(), Direction::new()],
            evicted: 0,
            over: false,
        }
    }

    fn step(&mut self, cx: &mut Cx<'_>, side: Side, bytes: &[u8]) -> Step {
        match self.directions[side as usize].at {
            At::Opaque => Step::Used(bytes.len()),
            At::Lost => self.search(cx, side, bytes),
            At::Body(body @ (Body::Length(_) | Body::UntilClose)) if self.no_body(side, body, bytes) => {
                if bytes.len() < 7 {
                    return Step::More;
                }
                self.body_done(cx, side);
                Step::Used(0)
            }
            At::Body(Body::Length(left)) => {
                let used = left.min(bytes.len() as u64);
                self.body_bytes(side, &bytes[..used as usize]);
                self.body_left(cx, side, Body::Length(left - used));
                Step::Used(used as usize)
            }
            At::Body(Body::Chunk(left)) => {
                let used = left.min(bytes.len() as u64);
                self.body_bytes(side, &bytes[..used as usize]);
                self.body_left(cx, side, Body::Chunk(left - used));
                Step::Used(used as usize)
            }
            At::Body(Body::UntilClose) => {
                self.body_bytes(side, bytes);
                Step::Used(bytes.len())
            }
            At::Start
                if self.answers_the_oldest(side) && !b"HTTP/1.".starts_with(&bytes[..bytes.len().min(7)]) =>
            {
                let mut head = Head::default();
                head.begin_response("", 0, "");
                self.directions[side as usize].head = head;
                self.head(cx, side, 0)
            }
            At::Start | At::Fields | At::Body(_) => self.line(cx, side, bytes),
        }
    }

    /// Whether `side` answers a request of HTTP/0.9 next, with a body alone.
    fn answers_the_oldest(&self, side: Side) -> bool {
        let waiting = self.transactions.iter().find(|t| t.asker != side && t.answered.is_none());
        waiting.is_some_and(|transaction| transaction.oldest)
    }

    /// Whether, where a body should begin, the next response does: nobody saw that HEAD was asked,
    /// or the length was left out.
    fn no_body(&self, side: Side, body: Body, bytes: &[u8]) -> bool {
        let direction = &self.directions[side as usize];
        if direction.body_begun || direction.head.request {
            return false;
        }
        let unasked = self.transaction(direction.current).is_none_or(|t| !t.asked);
        (unasked || body == Body::UntilClose)
            && (bytes.starts_with(b"HTTP/1.") || (bytes.len() < 7 && b"HTTP/1.".starts_with(bytes)))
    }

    fn line(&mut self, cx: &mut Cx<'_>, side: Side, bytes: &[u8]) -> Step {
        let direction = &mut self.directions[side as usize];
        let Some(end) = bytes.iter().take(LINE_MAX).position(|b| *b == b'\n') else {
            if bytes.len() < LINE_MAX && !direction.skip_line {
                return Step::More;
            }
            if direction.at == At::Fields {
                direction.skip_line = true;
                return Step::Used(bytes.len());
            }
            self.cut(cx, side);
            let direction = &mut self.directions[side as usize];
            direction.at = At::Lost;
            direction.scanned += bytes.len() as u64;
            return Step::Used(bytes.len());
        };
        let used = end + 1;
        if std::mem::take(&mut direction.skip_line) {
            return Step::Used(used);
        }
        let line = lines::text(&bytes[..used]);
        match direction.at {
            At::Start => return self.start(cx, side, &line, used),
            At::Fields if line.is_empty() => return self.head(cx, side, used),
            At::Fields => direction.head.field(&line),
            At::Body(Body::ChunkSize) => {
                let digits = line.split(';').next().unwrap_or_default().trim();
                match u64::from_str_radix(digits, 16) {
                    Ok(0) => direction.at = At::Body(Body::Trailer),
                    Ok(size) if digits.len() <= 15 => direction.at = At::Body(Body::Chunk(size)),
                    _ => {
                        let current = direction.current;
                        if let Some(transaction) = self.transaction_mut(current) {
                            transaction.wrong("chunk_size");
                        }
                        self.cut(cx, side);
                        self.directions[side as usize].at = At::Lost;
                        return Step::Used(0);
                    }
                }
            }
            At::Body(Body::ChunkEnd) if line.is_empty() => direction.at = At::Body(Body::ChunkSize),
            At::Body(Body::Trailer) if line.is_empty() => self.body_done(cx, side),
            At::Body(Body::Trailer) => {}
            _ => {
                self.cut(cx, side);
                self.directions[side as usize].at = At::Lost;
                return Step::Used(0);
            }
        }
        Step::Used(used)
    }

    /// A line where a message should begin.
    fn start(&mut self, cx: &mut Cx<'_>, side: Side, line: &str, used: usize) -> Step {
        if line.trim().is_empty() {
            return Step::Used(used);
        }
        let mut head = Head::default();
        match head::start(line) {
            Some(Start::Request { method, target, version }) => {
                head.begin_request(cx, &mut self.exchanges, side, method, target, version);
            }
            Some(Start::Response { version, code, reason }) => head.begin_response(version, code, reason),
            None => {
                self.directions[side as usize].at = At::Lost;
                return Step::Used(0);
            }
        }
        let direction = &mut self.directions[side as usize];
        let oldest = head.request && head.version_is_oldest;
        direction.head = head;
        direction.at = At::Fields;
        if oldest { self.head(cx, side, used) } else { Step::Used(used) }
    }

    /// A head is whole.
    fn head(&mut self, cx: &mut Cx<'_>, side: Side, used: usize) -> Step {
        let direction = &mut self.directions[side as usize];
        direction.body_begun = false;
        if direction.head.is_news(&mut direction.software) {
            cx.identity(NAME, side, direction.head.identity(&direction.software));
        }
        if direction.head.request {
            self.request(cx, side)
        } else {
            self.response(cx, side)
        }
        if self.over { Step::HandOver(used) } else { Step::Used(used) }
    }

    fn request(&mut self, cx: &mut Cx<'_>, side: Side) {
        if self.transactions.len() == WAITING_MAX {
            self.evicted += 1;
            if self.evicted.is_power_of_two() {
                let detail = format!("more than {WAITING_MAX} requests wait: the oldest is given up");
                cx.cover(NAME, coverage::DROP, self.evicted, &detail);
            }
            if let Some(mut transaction) = self.transactions.pop_front() {
                self.first += 1;
                transaction.write(cx, &mut self.exchanges);
            }
        }
        let number = self.first + self.transactions.len() as u64;
        let direction = &mut self.directions[side as usize];
        let Some(draft) = direction.head.draft.take() else { return };
        let body = direction.head.request_body();
        self.transactions.push_back(Transaction::asked(side, draft, &mut direction.head));
        direction.current = number;
        match body {
            Some(body) => direction.at = At::Body(body),
            None => self.body_done(cx, side),
        }
    }

    fn response(&mut self, cx: &mut Cx<'_>, side: Side) {
        let code = self.directions[side as usize].head.code;
        let found = self.waiting(cx, side);
        if (100..200).contains(&code) && code != 101 {
            if let Some(at) = found {
                self.transactions[at].interim(code);
            }
            self.directions[side as usize].at = At::Start;
            return;
        }
        let at = found.unwrap_or_else(|| {
            let draft = Transaction::draft_of_unasked(cx, &mut self.exchanges, side.other());
            self.transactions.push_back(Transaction::unasked(side.other(), draft));
            self.transactions.len() - 1
        });
        let transaction = &mut self.transactions[at];
        if transaction.is_written() {
            // Its request was given up by time.
            transaction.ask_again(Transaction::draft_of_unasked(cx, &mut self.exchanges, side.other()));
        }
        let direction = &mut self.directions[side as usize];
        direction.current = self.first + at as u64;
        transaction.answer(cx.time, &mut direction.head);
        if transaction.connects && (200..300).contains(&code) {
            self.over = true;
        } else if code == 101 {
            let to = std::mem::take(&mut direction.head.upgrade);
            cx.opaque(NAME, &format!("goes over to {to}"));
            if to.eq_ignore_ascii_case("websocket") {
                self.directions.iter_mut().for_each(|d| d.at = At::Opaque);
                self.transactions[at].response_done = true;
                self.flush(cx);
                return;
            }
            self.over = true;
        } else if let Some(body) = direction.head.response_body(transaction.head_only) {
            direction.at = At::Body(body);
            return;
        }
        self.body_done(cx, side);
    }

    /// The request that the next response of `side` answers.
    fn waiting(&mut self, cx: &mut Cx<'_>, side: Side) -> Option<usize> {
        let waits = |t: &Transaction| t.asker != side && t.answered.is_none();
        let doubt = std::mem::take(&mut self.directions[side as usize].doubt);
        // A request that was given up by time is not answered when another was sent since.
        let late = self.transactions.iter().any(|t| waits(t) && t.is_written());
        if !doubt && !late {
            return self.transactions.iter().position(waits);
        }
        // Requests are hardly ever sent ahead: the last one is the one that is answered, and what
        // answered those before is missing.
        let last = self.transactions.iter().rposition(waits)?;
        for at in 0..last {
            if waits(&self.transactions[at]) {
                self.transactions[at].write(cx, &mut self.exchanges);
                self.transactions[at].give_up();
            }
        }
        Some(last)
    }

    fn transaction(&self, number: u64) -> Option<&Transaction> {
        self.transactions.get(number.checked_sub(self.first)? as usize)
    }

    fn transaction_mut(&mut self, number: u64) -> Option<&mut Transaction> {
        self.transactions.get_mut(number.checked_sub(self.first)? as usize)
    }

    fn body_bytes(&mut self, side: Side, bytes: &[u8]) {
        let direction = &mut self.directions[side as usize];
        direction.body_begun |= !bytes.is_empty();
        let current = direction.current;
        if let Some(transaction) = self.transaction_mut(current) {
            transaction.body(side, bytes);
        }
    }

    fn missed(&mut self, side: Side, missing: u64) {
        let current = self.directions[side as usize].current;
        if let Some(transaction) = self.transaction_mut(current) {
            transaction.missing += missing;
        }
    }

    fn body_left(&mut self, cx: &mut Cx<'_>, side: Side, body: Body) {
        match body {
            Body::Length(0) => self.body_done(cx, side),
            Body::Chunk(0) => self.directions[side as usize].at = At::Body(Body::ChunkEnd),
            body => self.directions[side as usize].at = At::Body(body),
        }
    }

    /// The message of `side` is whole.
    fn body_done(&mut self, cx: &mut Cx<'_>, side: Side) {
        let direction = &mut self.directions[side as usize];
        direction.at = At::Start;
        let current = direction.current;
        if let Some(transaction) = self.transaction_mut(current) {
            transaction.done(side);
        }
        self.flush(cx);
    }

    /// Writes the transactions that are whole.
    fn flush(&mut self, cx: &mut Cx<'_>) {
        while let Some(front) = self.transactions.front_mut().filter(|t| t.is_whole()) {
            front.write(cx, &mut self.exchanges);
            self.transactions.pop_front();
            self.first += 1;
        }
    }

    /// The message of `side` ends in the middle.
    fn cut(&mut self, cx: &mut Cx<'_>, side: Side) {
        let at = self.directions[side as usize].at;
        let whole = at == At::Body(Body::UntilClose);
        if at == At::Fields {
            self.head(cx, side, 0);
        }
        let direction = &self.directions[side as usize];
        if matches!(direction.at, At::Body(_)) {
            let current = direction.current;
            if let Some(transaction) = self.transaction_mut(current) {
                transaction.incomplete |= !whole;
            }
            self.body_done(cx, side);
        }
    }

    /// Looks for a line that begins a message.
    fn search(&mut self, cx: &mut Cx<'_>, side: Side, bytes: &[u8]) -> Step {
        let mut at = 0;
        let found = loop {
            match first_line(&bytes[at..], false) {
                Probe::Yes => break true,
                Probe::More if bytes.len() - at < LINE_MAX => break false,
                Probe::More | Probe::No => {}
            }
            match bytes[at..].iter().position(|b| *b == b'\n') {
                Some(end) => at += end + 1,
                None => at = bytes.len(),
            }
            if at == bytes.len() {
                break false;
            }
        };
        let direction = &mut self.directions[side as usize];
        direction.scanned += at as u64;
        if direction.scanned > SCAN_BYTES_MAX {
            self.found_again(cx, side, "no message was found again");
            return Step::GivenUp;
        }
        if found {
            direction.at = At::Start;
            self.found_again(cx, side, "skipped up to the next message");
            return Step::Used(at);
        }
        if at == 0 { Step::More } else { Step::Used(at) }
    }

    fn found_again(&mut self, cx: &mut Cx<'_>, side: Side, what: &str) {
        let direction = &mut self.directions[side as usize];
        let skipped = std::mem::take(&mut direction.scanned);
        let event = if std::mem::take(&mut direction.missing) { coverage::GAP } else { coverage::MALFORMED };
        if skipped > 0 {
            let detail = format!("{what}: {skipped} bytes of the {side:?} side passed over");
            cx.cover(NAME, event, skipped, &detail);
        }
    }
}
