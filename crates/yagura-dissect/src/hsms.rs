//! HSMS (SEMI E37) over TCP: framing, the session's state, and the pairing of messages.
//!
//! The protocol is known by its framing on any port: a plausible length, PType 0, a known SType
//! and a header that agrees with both. A message and its reply are one row. What the messages
//! mean is read in [`gem`]; the variables that travel in them in [`variables`].

use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::{CoverageRow, Row};
use yagura_event::vocabulary::{coverage, operation, status};

use crate::secs2::Item;
use crate::{Carrier, ContextName, Cx, Dissector, FlowInfo, Outcome, Probe, Protocol, Side, json};

mod exchange;
mod frame;
mod gem;
mod variables;

use exchange::Exchange;
pub use frame::{HEADER, Header, LENGTH_MAX, PREFIX};
use frame::{
    UNKNOWN_LENGTH_MAX, better_frame, claims_a_frame, control_operation, judge, probe, scan, whole_frame,
};
use variables::{Definition, Variables};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::tcp(&[5000])],
    probe: |glimpse| probe(glimpse.side, glimpse.bytes),
    start,
    buffer_bytes_max: PREFIX + LENGTH_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "hsms";

/// Reply time-out of data messages (E37: T3).
const T3: Micros = 45 * SECOND;

/// Reply time-out of control messages (E37: T6).
const T6: Micros = 5 * SECOND;

/// Most messages of one connection that wait for a reply.
const WAITING_MAX: usize = 256;

/// Most bytes that are searched for a frame before a direction is given up: twice the largest one.
const SCAN_BYTES_MAX: u64 = 2 * LENGTH_MAX as u64;

/// Bytes of the message's JSON that is kept while it waits; the reply's has the rest of 4 KiB.
const REQUEST_JSON_MAX: usize = 3800;
const VALUES_BYTES_MAX: usize = 4096;

fn start(_flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Hsms::default())
}

/// Whether data messages may flow.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Selected {
    /// The connection began before the capture did.
    #[default]
    Unknown,
    No,
    Yes,
}

/// One direction's framing.
#[derive(Default)]
struct Framing {
    /// Whether a frame was ever seen here.
    begun: bool,
    /// Why the next frame's place is unknown, where it is: what is passed over until one is found
    /// is reported as that, see [`coverage`].
    lost: Option<&'static str>,
    /// Bytes of a frame still to be thrown away.
    skip: u64,
    /// Bytes thrown away in search of a frame.
    scanned: u64,
    /// Bytes done with, from the beginning of what was seen.
    place: u64,
    /// The header and whole size of the frame that is not yet whole.
    partial: Option<(Header, u64)>,
    /// Whether a sound frame was read where frames were looked for.
    sure: bool,
    /// How far the bytes of a frame that is not sure were searched for a better one.
    searched: usize,
}

/// The state of a connection.
#[derive(Default)]
struct Hsms {
    framing: [Framing; 2],
    waiting: Vec<Exchange>,
    /// Exchanges whose strings can be used again.
    spare: Vec<Exchange>,
    evicted: u64,
    selected: Selected,
    /// The end that is the equipment, as far as the messages told.
    equipment: Option<Side>,
    variables: Variables,
    bodies: Bodies,
}

/// The hashes of the bodies that were downloaded last, by recipe: a start command names a recipe
/// and means its body.
#[derive(Default)]
struct Bodies(std::collections::VecDeque<(String, String)>);

/// The most recipes whose bodies are remembered on a connection; the oldest download goes first.
const BODIES_MAX: usize = 256;

impl Bodies {
    fn downloaded(&mut self, recipe: &str, hmac: &str) {
        self.0.retain(|(known, _)| known != recipe);
        if self.0.len() == BODIES_MAX {
            self.0.pop_front();
        }
        self.0.push_back((recipe.to_string(), hmac.to_string()));
    }

    fn of(&self, start: &[(ContextName, String)]) -> Option<&str> {
        let (_, recipe) = start.iter().find(|(name, _)| *name == ContextName::Recipe)?;
        self.0.iter().find(|(known, _)| known == recipe).map(|(_, hmac)| hmac.as_str())
    }
}

impl Dissector for Hsms {
    fn parse(&mut self, cx: &mut Cx<'_>, side: Side, bytes: &[u8]) -> Outcome {
        let mut at = 0;
        loop {
            let rest = &bytes[at..];
            let framing = &mut self.framing[side as usize];
            if framing.skip > 0 {
                let n = framing.skip.min(rest.len() as u64);
                framing.skip -= n;
                framing.place += n;
                at += n as usize;
                if framing.skip > 0 {
                    return Outcome::Consumed(at);
                }
                continue;
            }
            if !framing.begun && framing.lost.is_none() {
                match judge(rest) {
                    Probe::More => return Outcome::Consumed(at),
                    Probe::No if !claims_a_frame(rest) => framing.lost = Some(coverage::GAP),
                    _ => {}
                }
                framing.begun = true;
            }
            if framing.lost.is_some() {
                let (skipped, found) = scan(rest);
                framing.sure = false;
                framing.searched = 0;
                framing.scanned += skipped as u64;
                framing.place += skipped as u64;
                at += skipped;
                if framing.scanned > SCAN_BYTES_MAX {
                    self.found_again(cx, side, "no frame was found again");
                    return Outcome::Unrecoverable;
                }
                if !found {
                    return Outcome::Consumed(at);
                }
                self.found_again(cx, side, "the next frame was found");
                continue;
            }
            let Some((prefix, after)) = rest.split_first_chunk::<PREFIX>() else {
                return Outcome::Consumed(at);
            };
            let length = u32::from_be_bytes(*prefix) as usize;
            let Some(header) = after.first_chunk::<HEADER>() else {
                if (HEADER..=LENGTH_MAX).contains(&length) || rest.len() < PREFIX {
                    return Outcome::Consumed(at);
                }
                self.bad_length(cx, side, length);
                at += PREFIX;
                continue;
            };
            if !(HEADER..=LENGTH_MAX).contains(&length) {
                self.bad_length(cx, side, length);
                at += PREFIX;
                continue;
            }
            let header = Header::of(header);
            let size = PREFIX + length;
            let odd = header.ptype != 0 || matches!(header.stype, 8 | 10..);
            // A frame of an unknown type that is too long to be passed over is searched at once: what
            // follows must not decide, because how much of it is here depends on the pieces it came in.
            let searched_anyway = odd && length > UNKNOWN_LENGTH_MAX;
            let framing = &mut self.framing[side as usize];
            if !framing.sure && !searched_anyway && whole_frame(rest, 0).is_none() {
                // In a connection that is joined in the middle of a message, its bytes may look like
                // a beginning, and the frames that follow like what that is the beginning of.
                let inside = &rest[..rest.len().min(size)];
                if let Some(from) = better_frame(inside, &mut framing.searched) {
                    framing.scanned += from as u64;
                    framing.place += from as u64;
                    framing.partial = None;
                    at += from;
                    self.found_again(cx, side, "the next frame was found");
                    continue;
                }
                if odd && inside.len() < size {
                    return Outcome::Consumed(at);
                }
            }
            if odd {
                at += self.bad_type(cx, side, header, length);
                continue;
            }
            let Some(text) = rest.get(PREFIX + HEADER..size) else {
                framing.partial = Some((header, size as u64));
                return Outcome::Consumed(at);
            };
            framing.partial = None;
            framing.sure = true;
            let place = framing.place;
            framing.place += size as u64;
            if header.is_data() {
                self.data(cx, side, header, text, place);
            } else {
                self.control(cx, side, header, text, place);
            }
            at += size;
        }
    }

    fn gap(&mut self, cx: &mut Cx<'_>, side: Side, missing: u64) {
        let framing = &mut self.framing[side as usize];
        framing.place += missing;
        framing.begun = true;
        if let Some((header, size)) = framing.partial.take() {
            let place = framing.place - missing;
            // The frame's end is known even when its middle is not: the next one begins there.
            match size.checked_sub(missing) {
                Some(rest) => framing.skip = rest,
                None => framing.lost = Some(coverage::GAP),
            }
            let mut exchange = self.fresh(header, cx.time, side);
            exchange.wrong("bytes of the message are missing from the capture");
            json::member_number(&mut exchange.detail, "at", place);
            exchange.operation = if header.is_data() {
                gem::operation(header.stream(), header.function() | 1, side == self.equipment(cx.flow))
            } else {
                control_operation(header.stype)
            };
            exchange.status = status::MALFORMED;
            self.write(cx, exchange, "request", None);
        } else if framing.skip >= missing && framing.skip > 0 {
            framing.skip -= missing;
        } else {
            framing.skip = 0;
            framing.lost = Some(coverage::GAP);
        }
    }

    fn expire(&mut self, cx: &mut Cx<'_>) {
        let mut at = 0;
        while let Some(exchange) = self.waiting.get(at) {
            let limit = if exchange.header.is_some_and(|h| h.is_data()) { T3 } else { T6 };
            if cx.time - exchange.time > limit {
                self.give_up(cx, at);
            } else {
                at += 1;
            }
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        while !self.waiting.is_empty() {
            self.give_up(cx, 0);
        }
        for side in [Side::Client, Side::Server] {
            if self.framing[side as usize].scanned > 0 {
                self.found_again(cx, side, "no frame was found again");
            }
        }
    }
}

impl Hsms {
    /// The end that is the equipment: as the asset table says, as the messages told, or the
    /// passive end, which in most plants is the tool.
    fn equipment(&self, flow: &FlowInfo) -> Side {
        match (flow.client.equipment, flow.server.equipment) {
            (true, false) => Side::Client,
            (false, true) => Side::Server,
            _ => self.equipment.unwrap_or(Side::Server),
        }
    }

    fn fresh(&mut self, header: Header, time: Micros, asker: Side) -> Exchange {
        let mut exchange = self.spare.pop().unwrap_or_default();
        exchange.begin(header, time, asker);
        exchange
    }

    fn data(&mut self, cx: &mut Cx<'_>, side: Side, header: Header, text: &[u8], place: u64) {
        let item = Item::message(text);
        if self.selected == Selected::No {
            let mut name = String::new();
            header.push_name(&mut name);
            let detail =
                format!("{name} before the session is selected, at byte {place} of the {side:?} side");
            self.cover(cx, coverage::MALFORMED, 1, &detail);
        }
        if self.equipment.is_none() {
            self.equipment =
                gem::sender_is_equipment(header.stream(), header.function(), item.ok().flatten())
                    .map(|yes| if yes { side } else { side.other() });
        }
        if header.is_reply() {
            let asked =
                self.find(side, |h| h.is_data() && h.session == header.session && h.system == header.system);
            let fits = |h: &Header| {
                h.stream() == header.stream()
                    && (header.function() == 0 || h.function().checked_add(1) == Some(header.function()))
            };
            match asked {
                Some(index) if self.waiting[index].header.as_ref().is_some_and(fits) => {
                    let exchange = self.waiting.remove(index);
                    self.answered(cx, exchange, header, item, place);
                }
                other => {
                    let asked = other.and_then(|index| self.waiting.get(index)).map(|w| w.function.clone());
                    self.unasked(cx, side, header, item, place, asked);
                }
            }
            return;
        }
        let mut exchange = self.fresh(header, cx.time, side);
        let from_equipment = side == self.equipment(cx.flow);
        match item {
            Ok(item) => {
                gem::request(
                    &mut exchange,
                    header.stream(),
                    header.function(),
                    from_equipment,
                    item,
                    cx.settings,
                );
                if let Some(item) = item {
                    let hide = gem::hide(header.stream(), header.function(), Some(item));
                    let limit = if header.wants_reply() { REQUEST_JSON_MAX } else { VALUES_BYTES_MAX };
                    exchange.show("request", item, hide, limit);
                    self.meaning(cx, &mut exchange, header, item, from_equipment);
                }
            }
            Err(error) => {
                exchange.operation = gem::operation(header.stream(), header.function(), from_equipment);
                exchange.wrong(&error.to_string());
                json::member_number(&mut exchange.detail, "at", place);
            }
        }
        if header.stream() == 9
            && let Ok(Some(item)) = item
        {
            self.refused_by_s9(cx, side, header, item, &mut exchange);
        }
        if header.wants_reply() {
            self.wait(cx, exchange);
        } else {
            exchange.status = status::ONE_WAY;
            self.write(cx, exchange, "request", None);
        }
    }

    /// What a primary message tells at once: values of reports and traces, texts of alarms.
    fn meaning(
        &mut self,
        cx: &mut Cx<'_>,
        exchange: &mut Exchange,
        header: Header,
        item: Item<'_>,
        from_equipment: bool,
    ) {
        let end = self.equipment(cx.flow);
        match (header.stream(), header.function()) {
            (1, 13) if from_equipment => self.variables.identity(cx, end, Some(item), None),
            (6, 1) => self.variables.trace(cx, end, item),
            (6, 11) => self.variables.report(cx, end, item, false),
            (6, 13) => self.variables.report(cx, end, item, true),
            (5, 1) => {
                let model = self.variables.model();
                gem::name_alarm(exchange, cx.settings, &cx.flow.end(end).asset, model);
            }
            (stream, function) => {
                exchange.definition = variables::definition(stream, function, item);
                if let Some(Definition::Start(context)) = exchange.definition.as_deref()
                    && let Some(hmac) = self.bodies.of(context)
                {
                    exchange.hmac.push_str(hmac);
                }
            }
        }
        if (header.stream(), header.function()) == (6, 11) {
            let model = self.variables.model();
            gem::name_event(exchange, cx.settings, &cx.flow.end(end).asset, model);
        }
    }

    fn answered(
        &mut self,
        cx: &mut Cx<'_>,
        mut exchange: Exchange,
        header: Header,
        item: Result<Option<Item<'_>>, crate::secs2::Secs2Error>,
        place: u64,
    ) {
        let asked = exchange.header.map_or((0, 0), |h| (h.stream(), h.function()));
        self.read_reply(cx, &mut exchange, asked, header, item, place);
        let latency = cx.time - exchange.time;
        self.write(cx, exchange, "pair", Some(latency));
    }

    fn unasked(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        header: Header,
        item: Result<Option<Item<'_>>, crate::secs2::Secs2Error>,
        place: u64,
        asked: Option<String>,
    ) {
        let mut exchange = self.fresh(header, cx.time, side.other());
        let primary = header.function().saturating_sub(1);
        exchange.operation =
            gem::operation(header.stream(), primary, side.other() == self.equipment(cx.flow));
        self.read_reply(cx, &mut exchange, (header.stream(), primary), header, item, place);
        if let Some(asked) = asked {
            exchange.wrong(&format!("the system bytes are those of {asked}, which this does not answer"));
        }
        exchange.status = status::UNASKED;
        self.write(cx, exchange, "reply", None);
    }

    /// Reads a reply into the exchange of the message that it answers.
    fn read_reply(
        &mut self,
        cx: &mut Cx<'_>,
        exchange: &mut Exchange,
        (stream, function): (u8, u8),
        header: Header,
        item: Result<Option<Item<'_>>, crate::secs2::Secs2Error>,
        place: u64,
    ) {
        if header.function() == 0 {
            exchange.status = status::DENIED;
            exchange.code.push_str("aborted");
            json::member_text(&mut exchange.detail, "reply", "F0");
            return;
        }
        let item = match item {
            Ok(item) => item,
            Err(error) => {
                exchange.wrong(&error.to_string());
                json::member_number(&mut exchange.detail, "at", place);
                return;
            }
        };
        gem::reply(exchange, stream, function, item, cx.settings);
        if let Some(item) = item {
            let hide = gem::hide(stream, header.function(), Some(item));
            exchange.show("reply", item, hide, VALUES_BYTES_MAX);
        }
        if exchange.status != status::OK && exchange.status != status::UNASKED {
            return;
        }
        let end = self.equipment(cx.flow);
        let from_equipment = exchange.asker.map(Side::other) == Some(end);
        match (stream, function) {
            (1, 1 | 13) if from_equipment => self.variables.identity(cx, end, None, item),
            (6, 15) => item.into_iter().for_each(|i| self.variables.report(cx, end, i, false)),
            _ => {}
        }
        let definition = exchange.definition.take();
        self.variables.accepted(
            cx,
            end,
            (stream, function),
            definition.map(|d| *d),
            item,
            &exchange.function,
        );
    }

    fn control(&mut self, cx: &mut Cx<'_>, side: Side, header: Header, text: &[u8], place: u64) {
        let extra = (!text.is_empty())
            .then(|| format!("a control message has {} bytes after its header", text.len()));
        match header.stype {
            1 if self.selected == Selected::Unknown => self.selected = Selected::No,
            2 if matches!(header.byte3, 0 | 1) => self.selected = Selected::Yes,
            4 if header.byte3 == 0 => self.selected = Selected::No,
            9 => self.selected = Selected::No,
            _ => {}
        }
        let note = |exchange: &mut Exchange| {
            if let Some(extra) = &extra {
                exchange.wrong(extra);
                json::member_number(&mut exchange.detail, "at", place);
            }
        };
        if header.is_reply() || header.stype == 7 {
            let reject = header.stype == 7;
            let asked =
                self.find(side, |h| h.system == header.system && (reject || h.stype + 1 == header.stype));
            let mut exchange = match asked {
                Some(index) => self.waiting.remove(index),
                None => {
                    let asker = if reject { side } else { side.other() };
                    let mut exchange = self.fresh(header, cx.time, asker);
                    exchange.operation = control_operation(header.stype);
                    exchange
                }
            };
            note(&mut exchange);
            if reject {
                exchange.rejected(header);
            } else if header.byte3 != 0 && header.stype != 6 {
                exchange.code.push_str(if header.stype == 2 { "SelectStatus=" } else { "DeselectStatus=" });
                json::push_number(&mut exchange.code, u64::from(header.byte3));
            }
            let denied = !exchange.code.is_empty();
            match asked {
                Some(_) => {
                    exchange.status = if denied { status::DENIED } else { status::OK };
                    let latency = cx.time - exchange.time;
                    self.write(cx, exchange, "pair", Some(latency));
                }
                None if reject => {
                    exchange.status = status::ONE_WAY;
                    self.write(cx, exchange, "request", None);
                }
                None => {
                    exchange.status = status::UNASKED;
                    self.write(cx, exchange, "reply", None);
                }
            }
            return;
        }
        let mut exchange = self.fresh(header, cx.time, side);
        exchange.operation = control_operation(header.stype);
        note(&mut exchange);
        if header.wants_reply() {
            self.wait(cx, exchange);
        } else {
            exchange.status = status::ONE_WAY;
            self.write(cx, exchange, "request", None);
        }
    }

    /// S9 quotes the header of the message that the equipment could not take: no reply will come.
    fn refused_by_s9(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        header: Header,
        item: Item<'_>,
        s9: &mut Exchange,
    ) {
        let Some(quoted) = item.data().first_chunk::<HEADER>().map(Header::of) else {
            return;
        };
        quoted.push_name(&mut s9.target);
        json::member_number(&mut s9.detail, "about_system", u64::from(quoted.system));
        let asked = self.find(side, |h| h.system == quoted.system && h.is_data());
        if let Some(index) = asked
            && header.function() != 9
        {
            let mut exchange = self.waiting.remove(index);
            exchange.status = status::DENIED;
            exchange.code.push_str(&s9.function);
            let latency = cx.time - exchange.time;
            self.write(cx, exchange, "pair", Some(latency));
        }
    }

    /// The oldest message that waits for a reply of `side` and fits.
    fn find(&self, side: Side, fits: impl Fn(&Header) -> bool) -> Option<usize> {
        self.waiting.iter().position(|w| w.asker != Some(side) && w.header.as_ref().is_some_and(&fits))
    }

    fn wait(&mut self, cx: &mut Cx<'_>, mut exchange: Exchange) {
        let same = |w: &Exchange| {
            w.asker == exchange.asker
                && w.header.zip(exchange.header).is_some_and(|(a, b)| {
                    (a.session, a.system, a.is_data()) == (b.session, b.system, b.is_data())
                })
        };
        if let Some(index) = self.waiting.iter().position(same) {
            let detail = format!(
                "{} uses the system bytes of {}, which still waits for its reply",
                exchange.function, self.waiting[index].function
            );
            self.cover(cx, coverage::MALFORMED, 1, &detail);
            json::member_bool(&mut exchange.detail, "duplicate_system", true);
            self.give_up(cx, index);
        } else if self.waiting.len() == WAITING_MAX {
            self.evicted += 1;
            if self.evicted.is_power_of_two() {
                let detail =
                    format!("more than {WAITING_MAX} messages wait for a reply: the oldest is given up");
                self.cover(cx, coverage::DROP, self.evicted, &detail);
            }
            self.give_up(cx, 0);
        }
        self.waiting.push(exchange);
    }

    fn give_up(&mut self, cx: &mut Cx<'_>, index: usize) {
        let mut exchange = self.waiting.remove(index);
        exchange.status = status::NO_REPLY;
        self.write(cx, exchange, "request", None);
    }

    /// Writes the row, and keeps the strings for the next one.
    fn write(&mut self, cx: &mut Cx<'_>, mut exchange: Exchange, kind: &str, latency: Option<Micros>) {
        if exchange.values_cut {
            json::member_bool(&mut exchange.detail, "values_cut", true);
        }
        if !exchange.problem.is_empty() {
            let problem = std::mem::take(&mut exchange.problem);
            json::member_text(&mut exchange.detail, "problem", &problem);
            exchange.problem = problem;
            exchange.status = status::MALFORMED;
        }
        json::end(&mut exchange.detail);
        json::end(&mut exchange.values);
        let taken = exchange.status == status::OK || exchange.status == status::NO_REPLY;
        if exchange.operation == operation::RECIPE_WRITE && !exchange.hmac.is_empty() && taken {
            self.bodies.downloaded(&exchange.target, &exchange.hmac);
        }
        let asker = exchange.asker.unwrap_or(Side::Client);
        let mut row = cx.flow.message(NAME, asker, self.equipment(cx.flow));
        row.time = exchange.time;
        row.observed = cx.observed;
        row.operation = exchange.operation;
        row.function = &exchange.function;
        row.session = &exchange.session;
        row.target = &exchange.target;
        row.value = exchange.value;
        row.values = &exchange.values;
        row.count = exchange.count;
        row.status = exchange.status;
        row.status_code = &exchange.code;
        row.latency_us = latency;
        row.exchange = kind;
        row.body_hmac = &exchange.hmac;
        row.body_bytes = exchange.body_bytes;
        row.detail = &exchange.detail;
        cx.out.push(Row::Message(&row));
        if self.spare.len() < 8 {
            self.spare.push(exchange);
        }
    }

    /// A length that no frame may have: one row, then a search for the next frame.
    fn bad_length(&mut self, cx: &mut Cx<'_>, side: Side, length: usize) {
        let framing = &mut self.framing[side as usize];
        let place = framing.place;
        framing.place += PREFIX as u64;
        framing.lost = Some(coverage::MALFORMED);
        let problem = format!("the length is {length}; a message has {HEADER} to {LENGTH_MAX} bytes");
        self.unreadable(cx, side, None, "length", &problem, place);
    }

    /// A PType or SType that is not known: one row, then past the frame or searching. Gives how
    /// many bytes are done with.
    fn bad_type(&mut self, cx: &mut Cx<'_>, side: Side, header: Header, length: usize) -> usize {
        let framing = &mut self.framing[side as usize];
        let place = framing.place;
        let used = if length <= UNKNOWN_LENGTH_MAX {
            framing.skip = (PREFIX + length) as u64;
            0
        } else {
            framing.lost = Some(coverage::MALFORMED);
            framing.place += PREFIX as u64;
            PREFIX
        };
        let (code, problem) = if header.ptype != 0 {
            ("ptype", format!("PType {} is not known; SECS-II is 0", header.ptype))
        } else {
            ("stype", format!("SType {} is reserved", header.stype))
        };
        self.unreadable(cx, side, Some(header), code, &problem, place);
        used
    }

    fn unreadable(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        header: Option<Header>,
        code: &str,
        problem: &str,
        place: u64,
    ) {
        let nothing = Header { session: 0xffff, byte2: 0, byte3: 0, ptype: 0, stype: 0xff, system: 0 };
        let mut exchange = self.fresh(header.unwrap_or(nothing), cx.time, side);
        exchange.function.clear();
        exchange.function.push_str("unreadable");
        if let Some(header) = header {
            json::member_number(&mut exchange.detail, "ptype", u64::from(header.ptype));
            json::member_number(&mut exchange.detail, "stype", u64::from(header.stype));
        } else {
            exchange.session.clear();
            exchange.detail.clear();
        }
        exchange.code.push_str(code);
        json::member_number(&mut exchange.detail, "at", place);
        exchange.wrong(problem);
        self.write(cx, exchange, "request", None);
    }

    /// Says how much was thrown away until a frame was found again.
    fn found_again(&mut self, cx: &mut Cx<'_>, side: Side, what: &str) {
        let framing = &mut self.framing[side as usize];
        let (skipped, place) = (std::mem::take(&mut framing.scanned), framing.place);
        // A frame that only looked like one was found in a message whose beginning was not seen.
        let event = framing.lost.take().unwrap_or(coverage::GAP);
        if skipped > 0 {
            let detail =
                format!("{what} after {skipped} bytes passed over, at byte {place} of the {side:?} side");
            self.cover(cx, event, skipped, &detail);
        }
    }

    fn cover(&self, cx: &mut Cx<'_>, event: &str, count: u64, detail: &str) {
        cover(cx, self.equipment(cx.flow), event, count, detail);
    }
}

/// A coverage row about a connection's equipment.
fn cover(cx: &mut Cx<'_>, equipment: Side, event: &str, count: u64, detail: &str) {
    let flow = cx.flow;
    let subject = format!(
        "hsms {} {}:{} {}:{}",
        flow.end(equipment).name(),
        flow.client.address,
        flow.client.port,
        flow.server.address,
        flow.server.port
    );
    cx.out.push(Row::Coverage(&CoverageRow {
        time: cx.time,
        until: cx.time,
        observed: cx.observed,
        event,
        subject: &subject,
        count,
        detail,
        ..CoverageRow::default()
    }));
}

#[cfg(test)]
mod tests;
