//! IEC 60870-5-104 over TCP (edition 2.0 with the applications of IEC 60870-5-101 and -5-5):
//! APCI of the formats I, S and U (clause 5), ASDUs with their information objects (clause 7).
//!
//! The protocol is known by its structure, on any port: the start octet, a length and a control
//! field that agree, and an ASDU whose type and length fit. What the objects say is read in
//! [`asdu`].

use yagura_event::clock::{Micros, SECOND};
use yagura_event::vocabulary::operation;

use crate::cursor::Cut;
use crate::exchange::Exchanges;
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Probe, Protocol, Side};

mod asdu;
mod types;

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: "iec104",
    carriers: &[Carrier::tcp(&[2404])],
    probe,
    start,
    buffer_bytes_max: APDU_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

/// An activation without confirmation, or a test frame without its own, for that long gets a row
/// of its own (twice t1 of clause 9.6).
const REPLY_TIMEOUT: Micros = 30 * SECOND;
/// Start octet and length.
const HEADER: usize = 2;
/// Longest APDU.
const APDU_MAX: usize = 255;
/// Type, qualifier, cause, common address.
const ASDU_MIN: usize = 6;

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let bytes = glimpse.bytes;
    let length = match Iec104::frame_of(bytes) {
        Frame::Of(length) => length,
        Frame::More => return Probe::More,
        Frame::Bad(_) | Frame::Head(..) => return Probe::No,
    };
    let Some(frame) = bytes.get(..length) else { return Probe::More };
    if frame[2] & 1 == 0 && !asdu::plausible(&frame[6..]) {
        return Probe::No;
    }
    if glimpse.customary || frame[2] & 1 == 0 {
        return Probe::Yes;
    }
    // Six bytes of a U or S frame alone are few; elsewhere than on its port another must follow.
    match Iec104::frame_of(&bytes[length..]) {
        Frame::Bad(_) => Probe::No,
        Frame::Of(next) if bytes.len() >= length + next => Probe::Yes,
        // Only a U frame fixes all of its bytes.
        Frame::More if frame[2] & 3 == 3 && bytes.len() == length => Probe::Yes,
        _ => Probe::More,
    }
}

fn start(_flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(Iec104 { exchanges: Exchanges::new(PROTOCOL.name, REPLY_TIMEOUT) }))
}

/// What a confirmation must have in common with its activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Key {
    /// A U frame: the bit of its activation.
    Unnumbered(u8),
    /// An ASDU: type, common address, address of its first object.
    Command { kind: u8, common: u16, object: u32 },
}

/// The state of a connection.
struct Iec104 {
    exchanges: Exchanges<Key>,
}

impl Iec104 {
    fn frame_of(bytes: &[u8]) -> Frame {
        let Some(&start) = bytes.first() else { return Frame::More };
        if start != 0x68 {
            return Frame::Bad("start_octet");
        }
        let Some(&length) = bytes.get(1) else { return Frame::More };
        if !(4..=253).contains(&length) {
            return Frame::Bad("apdu_length");
        }
        let Some(control) = bytes.get(2..6) else { return Frame::More };
        let fits = match control[0] & 3 {
            // The second sequence number is even in its low bit, too.
            0 | 2 => control[2] & 1 == 0 && usize::from(length) >= 4 + ASDU_MIN,
            1 => control[0] == 1 && control[1] == 0 && control[2] & 1 == 0 && length == 4,
            _ => (control[0] & 0xfc).is_power_of_two() && control[1..] == [0, 0, 0] && length == 4,
        };
        if fits { Frame::Of(HEADER + usize::from(length)) } else { Frame::Bad("control_field") }
    }

    /// STARTDT, STOPDT and TESTFR, each an activation with its confirmation.
    fn unnumbered(&mut self, cx: &mut Cx<'_>, side: Side, control: u8) {
        let (operation, function, activation) = match control & 0xfc {
            0x04 | 0x08 => (operation::SESSION_OPEN, "STARTDT", 0x04),
            0x10 | 0x20 => (operation::SESSION_CLOSE, "STOPDT", 0x10),
            _ => (operation::SESSION_KEEP, "TESTFR", 0x40),
        };
        if control & 0xfc == activation {
            let draft = self.exchanges.draft(cx, side, operation, function);
            self.exchanges.ask(cx, Key::Unnumbered(activation), draft);
        } else if let Some(draft) = self.exchanges.answered(side, &Key::Unnumbered(activation)) {
            self.exchanges.pair(cx, draft);
        } else {
            let draft = self.exchanges.draft(cx, side.other(), operation, function);
            self.exchanges.unasked(cx, draft);
        }
    }
}

impl Framed for Iec104 {
    const PROTOCOL: &'static str = PROTOCOL.name;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        Iec104::frame_of(bytes)
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        match frame[2] & 3 {
            3 => self.unnumbered(cx, side, frame[2]),
            // An S frame acknowledges numbers, as TCP does.
            1 => {}
            _ => self.asdu(cx, side, &frame[6..])?,
        }
        Ok(())
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, _side: Side) {}

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.expire(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.close(cx);
    }
}

#[cfg(test)]
mod tests;
