//! Mitsubishi MELSEC communication protocol (MC protocol) and SLMP: frames 3E and 4E, binary and
//! ASCII, over TCP and UDP (MELSEC Communication Protocol Reference Manual SH-080008; SLMP
//! Reference Manual SH-080956, chapters 4 and 5), and the frames of the programming tools.
//!
//! A frame is known by its subheader, a route that can be, and a command of the manuals. Frames 4E
//! are paired by serial number, frames 3E in order: they have none. What is said is read in
//! [`body`].

use yagura_event::clock::{Micros, SECOND};
use yagura_event::vocabulary::operation;

use crate::cursor::{Cursor, Cut};
use crate::exchange::Exchanges;
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Glimpse, Probe, Protocol, Side, Transport, json};

mod body;
mod melsoft;
mod names;

use body::Body;
use names::Place;

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: "melsec",
    carriers: &[Carrier::tcp(&[5007, 5002, 5562]), Carrier::udp(&[5006, 5001])],
    probe,
    start: |_| {
        Box::new(Framing::new(Melsec {
            exchanges: Exchanges::new(PROTOCOL.name, REPLY_TIMEOUT),
            monitored: Vec::new(),
            files: Vec::new(),
            identity: String::new(),
        }))
    },
    buffer_bytes_max: ASCII_HEADER + LENGTH_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

/// A request without a response for that long gets a row of its own.
const REPLY_TIMEOUT: Micros = 10 * SECOND;
/// The longest header: subheader, serial number, reserve, route and length in ASCII.
const ASCII_HEADER: usize = 26;
/// More than any module sends: 960 words are 3,840 characters.
const LENGTH_MAX: usize = 8192;
/// Most files whose names are kept.
const FILES_MAX: usize = 8;

/// Names of open files by their pointers.
type Files = Vec<(u16, String)>;

/// The header of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    ascii: bool,
    response: bool,
    /// Frames 4E only.
    serial: Option<u16>,
    network: u8,
    controller: u8,
    module: u16,
    station: u8,
    /// The header's length, and the whole frame's.
    header: usize,
    length: usize,
}

impl Head {
    /// Reads it; nothing when bytes are missing.
    fn read(bytes: &[u8]) -> Result<Option<Head>, &'static str> {
        let (ascii, four, response) = match bytes {
            [] | [0x50 | 0x54 | 0xd0 | 0xd4] | [b'5'] => return Ok(None),
            [sub @ (0x50 | 0x54 | 0xd0 | 0xd4), 0, ..] => (false, sub & 4 != 0, sub & 0x80 != 0),
            [kind @ (b'5' | b'D'), rest @ ..] => {
                let wanted = [b'4', b'0', b'0'];
                let four = rest.first() == Some(&b'4');
                let wanted = if four { wanted } else { [b'0'; 3] };
                if rest.iter().zip(wanted).any(|(&have, want)| have != want) {
                    return Err("subheader");
                }
                (true, four, *kind == b'D')
            }
            _ => return Err("subheader"),
        };
        let mut b = Body { cursor: Cursor::new(bytes), ascii };
        let mut read = || -> Result<Head, Cut> {
            b.u16("header")?;
            let serial = if four {
                let serial = b.u16("header")?;
                let reserve = b.u16("header")?;
                b.cursor.check(reserve == 0, "reserve")?;
                Some(serial)
            } else {
                None
            };
            let (network, controller) = (b.u8("header")?, b.u8("header")?);
            let (module, station) = (b.u16("header")?, b.u8("header")?);
            // The modules of one rack or of a multidrop line.
            b.cursor.check(module <= 0x03ff && station <= 31, "route")?;
            let length = usize::from(b.u16("header")?);
            let least = (if response { 2 } else { 6 }) * if ascii { 2 } else { 1 };
            b.cursor.check((least..=LENGTH_MAX).contains(&length), "frame_length")?;
            let header = b.cursor.at();
            let length = header + length;
            Ok(Head { ascii, response, serial, network, controller, module, station, header, length })
        };
        match read() {
            Ok(head) => Ok(Some(head)),
            Err(Cut { what: "header", .. }) if !ascii || digits(bytes) => Ok(None),
            Err(Cut { what, .. }) => Err(what),
        }
    }

    /// Network, controller, module and station.
    fn route(&self) -> String {
        format!("{}.{}.{:x}.{}", self.network, self.controller, self.module, self.station)
    }

    /// The route to the controller that is connected itself, which nearly everybody uses.
    fn own(&self) -> bool {
        (self.network, self.controller, self.module, self.station) == (0, 0xff, 0x3ff, 0)
    }
}

/// Whether the header holds hexadecimal digits, as far as it is there.
fn digits(bytes: &[u8]) -> bool {
    bytes.iter().take(ASCII_HEADER).all(u8::is_ascii_hexdigit)
}

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let bytes = glimpse.bytes;
    let more = if glimpse.transport == Transport::Tcp { Probe::More } else { Probe::No };
    if let [0x57 | 0xd7, ..] = bytes {
        return match melsoft::frame(bytes) {
            Frame::Of(_) => Probe::Yes,
            Frame::More => more,
            Frame::Bad(_) | Frame::Head(..) => Probe::No,
        };
    }
    let head = match Head::read(bytes) {
        Ok(Some(head)) => head,
        Ok(None) => return more,
        Err(_) => return Probe::No,
    };
    if glimpse.transport == Transport::Udp && head.length != bytes.len() {
        return Probe::No;
    }
    if head.response {
        return if head.own() || glimpse.customary { Probe::Yes } else { Probe::No };
    }
    let mut b = Body { cursor: Cursor::new(&bytes[head.header..]), ascii: head.ascii };
    match b.u16("timer").and_then(|_| b.u16("command")) {
        Ok(command) if names::command(command).is_some() => Probe::Yes,
        Ok(_) if glimpse.customary && head.own() => Probe::Yes,
        Ok(_) => Probe::No,
        Err(_) if b.cursor.remaining() >= 4 => Probe::No,
        Err(_) => more,
    }
}

/// What tells requests apart, and what their responses need to be read.
#[derive(Default)]
struct Asked {
    melsoft: bool,
    serial: Option<u16>,
    command: u16,
    subcommand: u16,
    place: Option<Place>,
    /// The points of a read of several places.
    places: Vec<Place>,
}

/// The state of a connection.
struct Melsec {
    exchanges: Exchanges<Asked>,
    /// The points registered for monitoring.
    monitored: Vec<Place>,
    files: Files,
    /// What the controller last said it is, to say it once.
    identity: String,
}

impl Melsec {
    fn request(&mut self, cx: &mut Cx<'_>, side: Side, head: &Head, mut b: Body<'_>) -> Result<(), Cut> {
        b.u16("timer")?;
        let (command, subcommand) = (b.u16("command")?, b.u16("subcommand")?);
        let (operation, name) = names::command(command).unwrap_or((operation::OTHER, "command"));
        let mut draft = self.exchanges.draft(cx, side, operation, name);
        draft.session = head.route();
        json::member_number(&mut draft.detail, "command", u64::from(command));
        json::member_number(&mut draft.detail, "subcommand", u64::from(subcommand));
        if let Some(serial) = head.serial {
            json::member_number(&mut draft.detail, "serial", u64::from(serial));
        }
        if head.ascii {
            json::member_bool(&mut draft.detail, "ascii", true);
        }
        let mut asked = Asked { serial: head.serial, command, subcommand, ..Asked::default() };
        if let Err(cut) = body::request(cx, &mut draft, &mut b, &mut asked, &mut self.files) {
            draft.wrong(cut);
        }
        // A controller that resets itself, or reports on its own, has no response.
        if matches!(command, 0x2101) {
            draft.equipment = side;
            self.exchanges.one_way(cx, draft);
        } else {
            self.exchanges.ask(cx, asked, draft);
        }
        Ok(())
    }

    fn response(&mut self, cx: &mut Cx<'_>, side: Side, head: &Head, mut b: Body<'_>) -> Result<(), Cut> {
        let code = b.u16("end_code")?;
        // A refusal repeats the route and the command.
        let refused = if code != 0 {
            let mut again = Body { cursor: b.cursor, ascii: b.ascii };
            again.cursor.skip(if b.ascii { 10 } else { 5 }, "route").and_then(|()| again.u16("command")).ok()
        } else {
            None
        };
        let same =
            |a: &Asked| !a.melsoft && a.serial == head.serial && refused.is_none_or(|c| a.command == c);
        let found = self.exchanges.take_if(side, |asked, _| same(asked));
        let paired = found.is_some();
        let (mut asked, mut draft) = found.unwrap_or_else(|| {
            let command = refused.unwrap_or_default();
            let (operation, name) = names::command(command).unwrap_or((operation::OTHER, "response"));
            let mut draft = self.exchanges.draft(cx, side.other(), operation, name);
            draft.session = head.route();
            if let Some(serial) = head.serial {
                json::member_number(&mut draft.detail, "serial", u64::from(serial));
            }
            (Asked { command, ..Asked::default() }, draft)
        });
        json::member_number(&mut draft.detail, "end_code", u64::from(code));
        if code != 0 {
            match names::end_code(code) {
                Some(name) => draft.deny(name),
                None => draft.deny(format!("0x{code:04x}")),
            }
        } else {
            // What was registered is what the monitoring after it reads.
            if matches!(asked.command, 0x0801 | 0x0802) {
                std::mem::swap(&mut self.monitored, &mut asked.places);
            }
            let (files, identity) = (&mut self.files, &mut self.identity);
            if let Err(cut) = body::response(cx, side, &mut draft, &mut b, &asked, files, identity) {
                draft.wrong(cut);
            }
            if asked.command == 0x0802 {
                self.monitored = asked.places;
            }
        }
        if paired {
            self.exchanges.pair(cx, draft);
        } else {
            self.exchanges.unasked(cx, draft);
        }
        Ok(())
    }
}

impl Framed for Melsec {
    const PROTOCOL: &'static str = PROTOCOL.name;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        if let [0x57 | 0xd7, ..] = bytes {
            return melsoft::frame(bytes);
        }
        match Head::read(bytes) {
            Ok(Some(head)) => Frame::Of(head.length),
            Ok(None) => Frame::More,
            Err(what) => Frame::Bad(what),
        }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        if let [0x57 | 0xd7, ..] = frame {
            return self.melsoft(cx, side, frame);
        }
        let head = Head::read(frame).ok().flatten().ok_or(Cut { what: "header", at: 0 })?;
        let b = Body { cursor: Cursor::new(&frame[head.header..]), ascii: head.ascii };
        if head.response { self.response(cx, side, &head, b) } else { self.request(cx, side, &head, b) }
    }

    fn lost(&mut self, cx: &mut Cx<'_>, _side: Side) {
        // Frames 3E are paired by their order alone.
        self.exchanges.close(cx);
    }

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.expire(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.close(cx);
    }
}

#[cfg(test)]
mod tests;
