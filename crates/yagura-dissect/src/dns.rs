//! DNS (RFC 1035) over UDP and TCP, with its relatives: multicast DNS (RFC 6762), LLMNR (RFC 4795)
//! and the NetBIOS name service (RFC 1002, 4.2).
//!
//! A query with its response is one row: `target` is the name, `values` are the answers. What
//! multicast carries answers nobody in particular, so that each message is a row there.

use yagura_event::clock::{Micros, SECOND};
use yagura_event::vocabulary::{operation, status};

use crate::cursor::{Cursor, Cut};
use crate::exchange::{Draft, Exchanges};
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Probe, Protocol, Side, Transport, json};

mod names;
mod record;

use names::{opcode_name, push_type, rcode};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::udp(&[53, MDNS, LLMNR, NBNS]), Carrier::tcp(&[53])],
    probe,
    start,
    buffer_bytes_max: 2 + 65535,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "dns";
const MDNS: u16 = 5353;
const LLMNR: u16 = 5355;
const NBNS: u16 = 137;
const HEADER: usize = 12;
const TIMEOUT: Micros = 15 * SECOND;
/// Most questions and records of a message that are read.
const RECORDS_MAX: usize = 256;

fn start(flow: &FlowInfo) -> Box<dyn Dissector> {
    let has = |port| flow.client.port == port || flow.server.port == port;
    let udp = flow.transport == Transport::Udp;
    let variant = match () {
        () if udp && has(MDNS) => Variant::Mdns,
        () if udp && has(LLMNR) => Variant::Llmnr,
        () if udp && has(NBNS) => Variant::Nbns,
        () => Variant::Dns,
    };
    Box::new(Framing::new(Dns { variant, stream: !udp, exchanges: Exchanges::new(NAME, TIMEOUT) }))
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Variant {
    Dns,
    Mdns,
    Llmnr,
    Nbns,
}

/// Whether a header may be one: a known operation, and no more than a message can hold.
fn plausible(header: &[u8; HEADER]) -> bool {
    opcode_name(header[2] >> 3 & 15).is_some() && counts_fit(header)
}

fn counts_fit(header: &[u8; HEADER]) -> bool {
    let [_, _, high, low, q1, q2, a1, a2, n1, n2, r1, r2] = *header;
    let count = |a, b| u32::from(u16::from_be_bytes([a, b]));
    let response = high & 0x80 != 0;
    let (questions, answers) = (count(q1, q2), count(a1, a2));
    let all = questions + answers + count(n1, n2) + count(r1, r2);
    (1..=4096).contains(&all) && questions <= 256 && (response || low & 0x8f == 0 || answers > 0)
}

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let message = if glimpse.transport == Transport::Tcp {
        let &[high, low, ref rest @ ..] = glimpse.bytes else { return Probe::More };
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length < HEADER + 5 {
            return Probe::No;
        }
        match rest.get(..length) {
            Some(message) => message,
            None if rest.first_chunk().is_some_and(|header| !plausible(header)) => return Probe::No,
            None if length > 4000 => return Probe::No,
            None => return Probe::More,
        }
    } else {
        glimpse.bytes
    };
    let Some(header) = message.first_chunk() else { return Probe::No };
    // An operation outside the standard is believed of a message that is whole, on its port.
    let customary = glimpse.customary && glimpse.transport == Transport::Udp;
    match plausible(header) {
        true if customary => return Probe::Yes,
        false if !customary || !counts_fit(header) => return Probe::No,
        _ => {}
    }
    // Elsewhere the whole message must be one, to its last byte.
    let mut draft = None;
    let whole = message.get(4..6) != Some(&[0, 0])
        && read(message, Variant::Dns, &mut draft)
            .is_ok_and(|rest| rest == 0 || (glimpse.customary && plausible(header)));
    if whole { Probe::Yes } else { Probe::No }
}

struct Dns {
    variant: Variant,
    stream: bool,
    exchanges: Exchanges<u16>,
}

impl Framed for Dns {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        if !self.stream {
            return if bytes.len() < HEADER { Frame::Bad("header") } else { Frame::Of(bytes.len()) };
        }
        let &[high, low, ref rest @ ..] = bytes else { return Frame::More };
        let length = usize::from(u16::from_be_bytes([high, low]));
        match rest.first_chunk() {
            _ if length < HEADER => Frame::Bad("length"),
            Some(header) if !plausible(header) => Frame::Bad("header"),
            Some(_) => Frame::Of(2 + length),
            None => Frame::More,
        }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let message = if self.stream { &frame[2..] } else { frame };
        let mut header = Cursor::new(message);
        let id = header.u16_be("id")?;
        let flags = header.u16_be("flags")?;
        let response = flags & 0x8000 != 0;
        let number = (flags >> 11 & 15) as u8;
        let alone = self.variant == Variant::Mdns;
        let asked = response && !alone;
        let found = if asked { self.exchanges.answered(side, &id) } else { None };
        let paired = found.is_some();
        let mut draft = match found {
            Some(draft) => draft,
            None => {
                let asker = if asked { side.other() } else { side };
                let mut draft =
                    self.exchanges.draft(cx, asker, operation(number), function(self.variant, number));
                json::member_number(&mut draft.detail, "id", u64::from(id));
                draft
            }
        };
        if response {
            for (name, bit) in [
                ("aa", 0x400),
                ("tc", 0x200),
                ("rd", 0x100),
                ("ra", 0x80),
                ("z", 0x40),
                ("ad", 0x20),
                ("cd", 0x10),
            ] {
                // A response repeats whether recursion was desired.
                if flags & bit != 0 && !(paired && bit == 0x100) {
                    json::member_bool(&mut draft.detail, name, true);
                }
            }
        } else if flags & 0x100 != 0 {
            json::member_bool(&mut draft.detail, "rd", true);
        }
        let mut place = Some(draft);
        let outcome = read(message, self.variant, &mut place);
        let Some(mut draft) = place else { return Ok(()) };
        match outcome {
            Ok(0) => {}
            Ok(rest) => json::member_number(&mut draft.detail, "bytes_after", rest as u64),
            // A message that is cut on purpose may end anywhere.
            Err(_) if flags & 0x200 != 0 => {}
            Err(cut) => draft.wrong(cut),
        }
        if response && flags & 15 != 0 && draft.status == status::OK {
            draft.deny(rcode(flags & 15));
        }
        match (response, paired) {
            (true, true) => self.exchanges.pair(cx, draft),
            (true, false) => {
                if alone && draft.status == status::OK {
                    draft.status = status::ONE_WAY;
                }
                self.exchanges.unasked(cx, draft);
            }
            (false, _) if alone => self.exchanges.one_way(cx, draft),
            (false, _) => self.exchanges.ask(cx, id, draft),
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

fn operation(opcode: u8) -> &'static str {
    match opcode {
        5..=9 => operation::CONFIGURE,
        4 => operation::REPORT,
        _ => operation::DISCOVER,
    }
}

fn function(variant: Variant, opcode: u8) -> &'static str {
    match (variant, opcode) {
        (Variant::Mdns, 0) => "mdns_query",
        (Variant::Llmnr, 0) => "llmnr_query",
        (Variant::Nbns, 0) => "nbns_query",
        (Variant::Nbns, 5) => "nbns_registration",
        (Variant::Nbns, 6) => "nbns_release",
        (Variant::Nbns, 7) => "nbns_wait_for_acknowledgement",
        (Variant::Nbns, 8 | 9) => "nbns_refresh",
        (_, opcode) => opcode_name(opcode).unwrap_or("opcode_outside_the_standard"),
    }
}

/// Reads a whole message into the draft, if there is one: how many bytes are left behind it.
fn read(message: &[u8], variant: Variant, draft: &mut Option<Draft>) -> Result<usize, Cut> {
    let mut cursor = Cursor::new(message);
    cursor.skip(2, "id")?;
    let flags = cursor.u16_be("flags")?;
    let mut counts = [0_usize; 4];
    for count in &mut counts {
        *count = usize::from(cursor.u16_be("counts")?);
    }
    let response = flags & 0x8000 != 0;
    let mut name = String::new();
    for at in 0..counts[0].min(RECORDS_MAX) {
        record::name(&mut cursor, message, variant == Variant::Nbns, &mut name)?;
        let kind = cursor.u16_be("question_type")?;
        let class = cursor.u16_be("question_class")?;
        let Some(draft) = draft.as_mut() else {
            let known = matches!(class & 0x7fff, 1 | 3 | 4 | 254 | 255);
            cursor.check(known, "question_class")?;
            continue;
        };
        // The response repeats the question.
        if at == 0 && draft.target.is_empty() && !draft.detail.contains("\"type\":") {
            draft.target.push_str(&name);
            json::key(&mut draft.detail, "type");
            push_type(&mut draft.detail, kind, variant == Variant::Nbns);
            if class & 0x7fff != 1 {
                json::member_number(&mut draft.detail, "class", u64::from(class & 0x7fff));
            }
            if counts[0] > 1 {
                json::member_number(&mut draft.detail, "questions", counts[0] as u64);
            }
        } else if at > 0 && !response {
            draft.push_text(&name);
        }
    }
    let mut text = record::Texts::default();
    for (section, count) in counts.iter().enumerate().skip(1) {
        for _ in 0..(*count).min(RECORDS_MAX) {
            record::record(
                &mut cursor,
                message,
                variant == Variant::Nbns,
                section,
                draft.as_mut(),
                &mut text,
            )?;
        }
    }
    if let Some(draft) = draft.as_mut() {
        text.finish(draft);
    }
    Ok(cursor.remaining())
}

#[cfg(test)]
mod tests;
