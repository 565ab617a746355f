//! EtherCAT on Ethernet and in UDP (IEC 61158-4-12 and -6-12, ETG.1000.4 and .6): datagrams,
//! registers, and what the mailboxes say (CoE, FoE).
//!
//! A master sends one frame through all slaves and gets it back: what a datagram did is in the
//! frame that returns, its data and its working counter. The capture layer tells the two apart by
//! the mark that slaves put on the source address; without it a frame that was sent before, or
//! that slaves have counted, is one that returns. The same datagram comes up to thousands of times
//! a second: its row is written when something about it changes, repetitions are counted.

use std::collections::VecDeque;
use std::fmt::Write;
use std::hash::Hasher;

use yagura_event::clock::{Micros, SECOND};

use crate::cursor::{Cursor, Cut};
use crate::exchange::Exchanges;
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Glimpse, Probe, Protocol, Side, Transport, json};

mod mailbox;
mod names;
mod slaves;

use mailbox::Mailboxes;
use names::command;
use slaves::Slaves;

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: "ethercat",
    carriers: &[Carrier::link(&[0x88a4]), Carrier::udp(&[34980])],
    probe,
    start: |_| {
        Box::new(Framing::new(EtherCat {
            exchanges: Exchanges::new(PROTOCOL.name, SECOND),
            sent: VecDeque::new(),
            sides: [false; 2],
            master: None,
            places: Vec::new(),
            slaves: Slaves::new(),
            mailboxes: Mailboxes::new(PROTOCOL.name),
        }))
    },
    buffer_bytes_max: 2048,
    #[cfg(test)]
    sample: tests::sample,
};

/// A frame that does not return for that long is lost.
const RETURN_TIMEOUT: Micros = SECOND;
/// Repetitions are counted over that time.
const REPEAT_PERIOD: Micros = 10 * SECOND;
/// Most datagrams that are awaited.
const SENT_MAX: usize = 256;
/// Most places whose repetitions are counted apart.
const PLACES_MAX: usize = 512;
/// Command, index, address, length, interrupt.
const DATAGRAM_HEADER: usize = 10;
/// Most bytes of a datagram that its row shows.
const SHOWN_MAX: usize = 64;
/// The frame's type that carries datagrams.
const DATAGRAMS: u16 = 1;
/// The one that carries a single mailbox, to and from a gateway (ETG.8200).
const MAILBOX: u16 = 5;

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    if glimpse.customary && gateway(glimpse.bytes).is_some() {
        return Probe::Yes;
    }
    let Ok(first) = Datagram::first(glimpse.bytes) else { return Probe::No };
    // Frames are filled up to the least length of Ethernet; datagrams in UDP are not.
    let whole = glimpse.transport == Transport::Udp && first.end == glimpse.bytes.len();
    if whole || glimpse.customary { Probe::Yes } else { Probe::No }
}

/// The mailbox of a gateway's frame.
fn gateway(bytes: &[u8]) -> Option<&[u8]> {
    let (header, rest) = bytes.split_first_chunk::<2>()?;
    let word = u16::from_le_bytes(*header);
    let mailbox = rest.get(..usize::from(word & 0x7ff))?;
    let said = mailbox.first_chunk::<2>().map(|length| usize::from(u16::from_le_bytes(*length)));
    (word >> 12 == MAILBOX && said.is_some_and(|said| said + 6 <= mailbox.len())).then_some(mailbox)
}

/// One datagram within a frame.
#[derive(Clone, Copy)]
struct Datagram<'a> {
    command: u8,
    index: u8,
    /// Position or station; the low half of a logical address.
    slave: u16,
    /// Register or memory; the high half.
    offset: u16,
    data: &'a [u8],
    counter: u16,
}

/// All datagrams of a frame.
struct Walk<'a> {
    cursor: Cursor<'a>,
    more: bool,
    /// Where the datagrams end within the frame.
    end: usize,
}

impl<'a> Datagram<'a> {
    /// The datagrams of a frame, whose lengths all fit.
    fn first(bytes: &'a [u8]) -> Result<Walk<'a>, Cut> {
        let mut c = Cursor::new(bytes);
        let word = c.u16_le("header")?;
        c.check(word >> 12 == DATAGRAMS, "frame_type")?;
        let length = usize::from(word & 0x7ff);
        c.check(length >= DATAGRAM_HEADER + 2, "frame_length")?;
        let cursor = c.part(length, "frame_length")?;
        let mut walk = Walk { cursor, more: true, end: c.at() };
        let whole = Walk { cursor, more: true, end: c.at() };
        while walk.next()?.is_some() {}
        walk.cursor.check(walk.cursor.is_empty(), "frame_length")?;
        Ok(whole)
    }

    /// What tells a datagram that returns from others; slaves count up the position.
    fn same(&self, sent: &Sent) -> bool {
        let by_position = command::by_position(self.command);
        (self.index, self.command, self.offset) == (sent.index, sent.command, sent.offset)
            && (by_position || self.slave == sent.slave)
    }
}

impl<'a> Walk<'a> {
    fn next(&mut self) -> Result<Option<Datagram<'a>>, Cut> {
        if !self.more {
            return Ok(None);
        }
        let c = &mut self.cursor;
        let (code, index) = (c.u8("command")?, c.u8("index")?);
        c.check(code <= command::FRMW, "command")?;
        let (slave, offset) = (c.u16_le("address")?, c.u16_le("address")?);
        let word = c.u16_le("datagram_length")?;
        self.more = word & 0x8000 != 0;
        c.skip(2, "interrupt")?;
        let data = c.take(usize::from(word & 0x7ff), "datagram_length")?;
        let counter = c.u16_le("working_counter")?;
        Ok(Some(Datagram { command: code, index, slave, offset, data, counter }))
    }
}

/// A datagram on its way.
struct Sent {
    time: Micros,
    command: u8,
    index: u8,
    slave: u16,
    offset: u16,
}

/// What a command did at a place the last time, and how often since.
struct Place {
    command: u8,
    slave: u16,
    offset: u16,
    length: u16,
    hash: u64,
    counter: u16,
    since: Micros,
    repeated: u32,
    unreturned: u32,
}

/// The state of a segment: one master and its slaves.
struct EtherCat {
    exchanges: Exchanges<()>,
    sent: VecDeque<Sent>,
    /// Whether frames of either side were seen.
    sides: [bool; 2],
    /// The end that the master's frames come from, once a counter has told; the opener until then.
    master: Option<Side>,
    places: Vec<Place>,
    slaves: Slaves,
    mailboxes: Mailboxes,
}

impl EtherCat {
    /// Whether a frame has been through the slaves.
    fn returns(&mut self, side: Side, mut walk: Walk<'_>) -> Result<bool, Cut> {
        self.sides[side as usize] = true;
        let (mut first, mut counted, mut awaited) = (true, false, false);
        while let Some(datagram) = walk.next()? {
            counted |= datagram.counter > 0;
            awaited |= first && self.sent.iter().any(|sent| datagram.same(sent));
            first = false;
        }
        if self.sides != [true; 2] {
            return Ok(counted || awaited);
        }
        if counted && self.master.is_none() {
            self.master = Some(side.other());
            self.slaves.side = side;
            self.mailboxes.master = side.other();
        }
        Ok(self.master.map_or(counted || awaited, |master| side != master))
    }

    fn master(&self) -> Side {
        self.master.unwrap_or(Side::Client)
    }

    /// A datagram that went through the slaves, with the address that it was sent to.
    fn done(&mut self, cx: &mut Cx<'_>, datagram: &Datagram<'_>) {
        let found = self.sent.iter().position(|sent| datagram.same(sent));
        let sent = found.and_then(|at| self.sent.remove(at));
        let slave = match &sent {
            Some(sent) => sent.slave,
            None => datagram.slave,
        };
        let known = sent.is_some() || !command::by_position(datagram.command);
        let datagram = Datagram { slave, ..*datagram };
        if datagram.counter > 0 && command::physical(datagram.command) {
            if known {
                self.slaves.learn(cx, &datagram);
            }
            if self.mailboxes.take(cx, &datagram, &mut self.slaves) {
                return;
            }
        }
        let at = self.place(cx, &datagram);
        let hash = if command::cyclic(datagram.command) { 0 } else { hash(datagram.data) };
        let place = &mut self.places[at];
        let fresh = place.since == Micros::MIN;
        if !fresh && (place.hash, place.counter) == (hash, datagram.counter) {
            place.repeated += 1;
            return;
        }
        self.repetitions(cx, at);
        let place = &mut self.places[at];
        let changed = !fresh && place.counter != datagram.counter;
        let before = place.counter;
        (place.hash, place.counter, place.since) = (hash, datagram.counter, cx.time);
        let (operation, name) = names::named(datagram.command, datagram.offset, datagram.data);
        let master = self.master();
        let mut draft = self.exchanges.draft(cx, master, operation, name);
        subject(&mut draft.session, &mut draft.target, &datagram, known);
        names::show(&mut draft, &datagram, SHOWN_MAX);
        json::member_number(&mut draft.detail, "command", u64::from(datagram.command));
        json::member_number(&mut draft.detail, "bytes", datagram.data.len() as u64);
        json::member_number(&mut draft.detail, "working_counter", u64::from(datagram.counter));
        if changed {
            json::member_number(&mut draft.detail, "working_counter_was", u64::from(before));
        }
        if datagram.counter == 0 {
            draft.deny("no_slave_answered");
        }
        match sent {
            Some(sent) => {
                draft.time = sent.time;
                self.exchanges.pair(cx, draft);
            }
            None => self.exchanges.unasked(cx, draft),
        }
    }

    /// A mailbox that a gateway passes on: the same as one that is written or read, with the slave
    /// in its header.
    fn gateway(&mut self, cx: &mut Cx<'_>, side: Side, mailbox: &[u8]) -> Result<(), Cut> {
        let mut c = Cursor::new(mailbox);
        c.skip(2, "mailbox_length")?;
        let slave = c.u16_le("mailbox_address")?;
        let command = if side == self.master() { command::FPWR } else { command::FPRD };
        let datagram =
            Datagram { command, index: 0, slave, offset: names::register::MEMORY, data: mailbox, counter: 1 };
        if self.mailboxes.take(cx, &datagram, &mut self.slaves) { Ok(()) } else { Err(c.cut("mailbox_type")) }
    }

    /// Where a datagram's repetitions are counted.
    fn place(&mut self, cx: &mut Cx<'_>, datagram: &Datagram<'_>) -> usize {
        let length = datagram.data.len() as u16;
        let key = (datagram.command, datagram.slave, datagram.offset, length);
        let same = |p: &Place| (p.command, p.slave, p.offset, p.length) == key;
        if let Some(at) = self.places.iter().position(same) {
            return at;
        }
        if self.places.len() == PLACES_MAX {
            self.repetitions(cx, 0);
            self.places.remove(0);
        }
        self.places.push(Place {
            command: datagram.command,
            slave: datagram.slave,
            offset: datagram.offset,
            length,
            hash: 0,
            counter: 0,
            since: Micros::MIN,
            repeated: 0,
            unreturned: 0,
        });
        self.places.len() - 1
    }

    /// Writes what was counted at one place.
    fn repetitions(&mut self, cx: &mut Cx<'_>, at: usize) {
        let Some(place) = self.places.get_mut(at) else { return };
        let (repeated, unreturned) =
            (std::mem::take(&mut place.repeated), std::mem::take(&mut place.unreturned));
        if repeated + unreturned == 0 {
            return;
        }
        let datagram = Datagram {
            command: place.command,
            index: 0,
            slave: place.slave,
            offset: place.offset,
            data: &[],
            counter: place.counter,
        };
        let (since, length) = (place.since, place.length);
        let (operation, name) = names::named(datagram.command, datagram.offset, &[]);
        let master = self.master();
        let mut draft = self.exchanges.draft(cx, master, operation, name);
        if since != Micros::MIN {
            draft.time = since;
        }
        subject(&mut draft.session, &mut draft.target, &datagram, true);
        draft.set_count(repeated.max(unreturned));
        json::member_number(&mut draft.detail, "command", u64::from(datagram.command));
        json::member_number(&mut draft.detail, "bytes", u64::from(length));
        json::member_number(&mut draft.detail, "working_counter", u64::from(datagram.counter));
        json::member_number(&mut draft.detail, "repeated", u64::from(repeated));
        if unreturned > 0 {
            json::member_number(&mut draft.detail, "unreturned", u64::from(unreturned));
        }
        if repeated == 0 {
            draft.status = yagura_event::vocabulary::status::NO_REPLY;
        }
        self.places[at].since = cx.time;
        self.exchanges.one_way(cx, draft);
    }

    /// Gives up the oldest datagram that is awaited.
    fn forget_oldest(&mut self, cx: &mut Cx<'_>) {
        let Some(sent) = self.sent.pop_front() else { return };
        let Sent { command, index, slave, offset, .. } = sent;
        let lost = Datagram { command, index, slave, offset, data: &[], counter: 0 };
        let same = |p: &Place| (p.command, p.slave, p.offset) == (command, slave, offset);
        let at = match self.places.iter().position(same) {
            Some(at) => at,
            None => self.place(cx, &lost),
        };
        self.places[at].unreturned += 1;
    }
}

impl Framed for EtherCat {
    const PROTOCOL: &'static str = PROTOCOL.name;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        if gateway(bytes).is_some() {
            return Frame::Of(bytes.len());
        }
        // What follows the datagrams fills up the frame.
        match Datagram::first(bytes) {
            Ok(_) => Frame::Of(bytes.len()),
            Err(cut) => Frame::Bad(cut.what),
        }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        if let Some(mailbox) = gateway(frame) {
            return self.gateway(cx, side, mailbox);
        }
        let returns = self.returns(side, Datagram::first(frame)?)?;
        let mut walk = Datagram::first(frame)?;
        while let Some(datagram) = walk.next()? {
            if returns {
                self.done(cx, &datagram);
                continue;
            }
            if self.sent.len() == SENT_MAX {
                self.forget_oldest(cx);
            }
            let Datagram { command, index, slave, offset, .. } = datagram;
            self.sent.push_back(Sent { time: cx.time, command, index, slave, offset });
        }
        Ok(())
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, _side: Side) {}

    fn expire(&mut self, cx: &mut Cx<'_>) {
        while self.sent.front().is_some_and(|sent| cx.time - sent.time > RETURN_TIMEOUT) {
            self.forget_oldest(cx);
        }
        for at in 0..self.places.len() {
            let since = self.places[at].since;
            if since == Micros::MIN || cx.time - since >= REPEAT_PERIOD {
                self.repetitions(cx, at);
            }
        }
        self.mailboxes.expire(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        while !self.sent.is_empty() {
            self.forget_oldest(cx);
        }
        for at in 0..self.places.len() {
            self.repetitions(cx, at);
        }
        self.mailboxes.close(cx);
    }
}

/// Which slave, and what of it.
fn subject(session: &mut String, target: &mut String, datagram: &Datagram<'_>, known: bool) {
    if !command::physical(datagram.command) && !command::broadcast(datagram.command) {
        session.push_str("logical");
        let address = u32::from(datagram.offset) << 16 | u32::from(datagram.slave);
        let _ = write!(target, "0x{address:08x}");
        return;
    }
    slave_name(session, datagram, known);
    names::register(target, datagram.offset);
}

/// A slave as its master calls it: by station, or by position behind the master.
fn slave_name(out: &mut String, datagram: &Datagram<'_>, known: bool) {
    let _ = if command::broadcast(datagram.command) {
        write!(out, "all")
    } else if !command::by_position(datagram.command) {
        write!(out, "0x{:04x}", datagram.slave)
    } else if known {
        write!(out, "position {}", 0u16.wrapping_sub(datagram.slave))
    } else {
        write!(out, "position unknown")
    };
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = rustc_hash::FxHasher::default();
    hasher.write(bytes);
    hasher.finish()
}

#[cfg(test)]
mod tests;
