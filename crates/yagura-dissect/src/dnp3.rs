//! DNP3 over TCP and UDP (IEEE 1815-2012): link frames with their CRCs (clause 9), transport
//! segments (clause 8), application fragments (clause 4) and their pairing.
//!
//! The protocol is known by the CRC of its link header, on any port. What the objects of a
//! fragment say is read in [`objects`], files in [`files`].

use yagura_event::clock::{Micros, SECOND};
use yagura_event::vocabulary::{coverage, operation, status};

use crate::cursor::{Cursor, Cut};
use crate::exchange::{Draft, Exchanges};
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Probe, Protocol, Side, json};

mod files;
mod names;
mod objects;

use files::Files;
use objects::{Reading, Texts};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: "dnp3",
    carriers: &[Carrier::tcp(&[20000]), Carrier::udp(&[20000])],
    probe,
    start,
    buffer_bytes_max: FRAME_MAX,
    #[cfg(test)]
    sample: tests::sample,
};

/// A request without a response for that long gets a row of its own.
const REPLY_TIMEOUT: Micros = 30 * SECOND;
/// Start octets, length, control, destination, source, CRC.
const HEADER: usize = 10;
/// User data of a link frame.
const USER_MAX: usize = 250;
/// Bytes of user data that one CRC protects.
const BLOCK: usize = 16;
/// Longest frame.
const FRAME_MAX: usize = HEADER + USER_MAX + 2 * USER_MAX.div_ceil(BLOCK);
/// Longest application fragment that is put together.
const FRAGMENT_MAX: usize = 8192;
/// Most pairs of link addresses of one connection whose segments are put together.
const ASSEMBLIES_MAX: usize = 16;
/// Destinations from here on are broadcasts.
const BROADCAST: u16 = 0xfffd;

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let bytes = glimpse.bytes;
    let begins = [0x05, 0x64];
    match Dnp3::frame_of(bytes) {
        Frame::Of(length) if glimpse.transport == crate::Transport::Tcp || length <= bytes.len() => {
            Probe::Yes
        }
        Frame::More if begins.starts_with(&bytes[..bytes.len().min(2)]) => Probe::More,
        _ => Probe::No,
    }
}

fn start(_flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(Dnp3 {
        exchanges: Exchanges::new(PROTOCOL.name, REPLY_TIMEOUT),
        assemblies: Vec::new(),
        files: Files::default(),
        headless: 0,
    }))
}

/// The function of a response that is nothing special.
const RESPONSE: u8 = 129;

/// What a reply must have in common with its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    /// Who asked, who was asked: link addresses.
    addresses: (u16, u16),
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// A service of the link layer itself.
    Link,
    /// A request with that sequence number.
    Request(u8),
    /// A request whose response goes on in a fragment with that sequence number.
    Continued(u8),
    /// An unsolicited response that waits for its confirmation.
    Unsolicited(u8),
}

/// The header of a link frame.
#[derive(Clone, Copy)]
struct Link {
    control: u8,
    destination: u16,
    source: u16,
}

/// Segments of one fragment.
struct Assembly {
    side: Side,
    addresses: (u16, u16),
    sequence: u8,
    open: bool,
    bytes: Vec<u8>,
}

/// The state of a connection.
struct Dnp3 {
    exchanges: Exchanges<Key>,
    assemblies: Vec<Assembly>,
    files: Files,
    /// Segments that came without the beginning of their fragment.
    headless: u64,
}

impl Dnp3 {
    fn frame_of(bytes: &[u8]) -> Frame {
        match bytes {
            [0x05, 0x64, length, ..] if *length < 5 => Frame::Bad("link_length"),
            [0x05, 0x64, length, ..] if bytes.len() >= HEADER => {
                if crc(&bytes[..8]) != [bytes[8], bytes[9]] {
                    return Frame::Bad("link_header_crc");
                }
                let user = usize::from(*length) - 5;
                Frame::Of(HEADER + user + 2 * user.div_ceil(BLOCK))
            }
            [] | [0x05] | [0x05, 0x64, ..] => Frame::More,
            _ => Frame::Bad("start_octets"),
        }
    }

    /// A frame of the link layer itself: it has no user data.
    fn link_service(&mut self, cx: &mut Cx<'_>, side: Side, link: Link) -> Result<(), Cut> {
        let primary = link.control & 0x40 != 0;
        let code = link.control & 15;
        if primary {
            let function = match code {
                0 => "reset_link_states",
                2 => "test_link_states",
                9 => "request_link_status",
                1 => "reset_user_process",
                _ => return self.reserved(cx, side, link),
            };
            let mut draft = self.exchanges.draft(cx, side, operation::SESSION_KEEP, function);
            addressed(&mut draft, link.source, link.destination, link.destination);
            let key = Key { addresses: (link.source, link.destination), what: What::Link };
            self.exchanges.ask(cx, key, draft);
            return Ok(());
        }
        let function = match code {
            0 => "ack",
            1 => "nack",
            11 => "link_status",
            14 | 15 => "not_supported",
            _ => return self.reserved(cx, side, link),
        };
        let key = Key { addresses: (link.destination, link.source), what: What::Link };
        if let Some(mut draft) = self.exchanges.answered(side, &key) {
            if matches!(code, 1 | 14 | 15) {
                draft.deny(function);
            }
            self.exchanges.pair(cx, draft);
        } else if code != 0 {
            let mut draft = self.exchanges.draft(cx, side.other(), operation::SESSION_KEEP, function);
            addressed(&mut draft, link.destination, link.source, link.source);
            self.exchanges.unasked(cx, draft);
        }
        // An acknowledgement of confirmed user data says no more than TCP's own.
        Ok(())
    }

    /// A function that the standard reserves (IEEE 1815 clause 9.2.4.1.3): nobody answers it.
    fn reserved(&mut self, cx: &mut Cx<'_>, side: Side, link: Link) -> Result<(), Cut> {
        let function = format!("link_function_{}", link.control & 15);
        let mut draft = self.exchanges.draft(cx, side, operation::OTHER, function);
        addressed(&mut draft, link.source, link.destination, link.destination);
        json::member_bool(&mut draft.detail, "reserved", true);
        self.exchanges.one_way(cx, draft);
        Ok(())
    }

    /// One transport segment.
    fn segment(&mut self, cx: &mut Cx<'_>, side: Side, link: Link, user: &[u8]) -> Result<(), Cut> {
        let Some((&transport, data)) = user.split_first() else {
            return Err(Cut { what: "transport_header", at: HEADER });
        };
        let (last, first, sequence) = (transport & 0x80 != 0, transport & 0x40 != 0, transport & 0x3f);
        if first && last {
            self.assemblies.iter_mut().filter(|a| a.is(side, link)).for_each(|a| a.open = false);
            return self.fragment(cx, side, link, data);
        }
        let mut assembly = self.assembly(side, link);
        if first {
            assembly.bytes.clear();
            assembly.open = true;
        } else if assembly.open && assembly.sequence == sequence {
            // The same segment once more.
            self.assemblies.push(assembly);
            return Ok(());
        } else if !assembly.open || (assembly.sequence + 1) & 0x3f != sequence {
            let broken = std::mem::take(&mut assembly.open);
            self.assemblies.push(assembly);
            if broken {
                return Err(Cut { what: "transport_sequence", at: HEADER });
            }
            self.headless += 1;
            if self.headless.is_power_of_two() {
                cx.cover(
                    PROTOCOL.name,
                    coverage::GAP,
                    self.headless,
                    "segments without the beginning of their fragment",
                );
            }
            return Ok(());
        }
        assembly.sequence = sequence;
        let fits = assembly.bytes.len() + data.len() <= FRAGMENT_MAX;
        if fits {
            assembly.bytes.extend_from_slice(data);
        }
        assembly.open = fits && !last;
        let done = if fits && last { self.fragment(cx, side, link, &assembly.bytes) } else { Ok(()) };
        self.assemblies.push(assembly);
        if fits { done } else { Err(Cut { what: "fragment_length", at: HEADER }) }
    }

    /// Takes the assembly of a pair of addresses out; it has to be put back.
    fn assembly(&mut self, side: Side, link: Link) -> Assembly {
        if let Some(at) = self.assemblies.iter().position(|a| a.is(side, link)) {
            return self.assemblies.remove(at);
        }
        let bytes = if self.assemblies.len() >= ASSEMBLIES_MAX {
            self.assemblies.remove(0).bytes
        } else {
            Vec::new()
        };
        Assembly { side, addresses: (link.source, link.destination), sequence: 0, open: false, bytes }
    }

    /// One application fragment.
    fn fragment(&mut self, cx: &mut Cx<'_>, side: Side, link: Link, bytes: &[u8]) -> Result<(), Cut> {
        let mut cursor = Cursor::new(bytes);
        let control = cursor.u8("application_control")?;
        let function = cursor.u8("application_function")?;
        match function {
            0 => self.confirm(cx, side, link, control),
            1..=128 => self.request(cx, side, link, (control, function), cursor),
            _ => self.response(cx, side, link, (control, function), cursor)?,
        }
        Ok(())
    }

    fn confirm(&mut self, cx: &mut Cx<'_>, side: Side, link: Link, control: u8) {
        if control & 0x10 != 0 {
            let key =
                Key { addresses: (link.destination, link.source), what: What::Unsolicited(control & 15) };
            if let Some(draft) = self.exchanges.answered(side, &key) {
                self.exchanges.pair(cx, draft);
                return;
            }
        }
        let mut draft = self.exchanges.draft(cx, side, operation::SESSION_KEEP, "confirm");
        addressed(&mut draft, link.source, link.destination, link.destination);
        application(&mut draft, control, 0);
        self.exchanges.one_way(cx, draft);
    }

    fn request(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        link: Link,
        (control, function): (u8, u8),
        cursor: Cursor<'_>,
    ) {
        let known = names::function(function);
        let (name, operation) = known.unwrap_or(("", operation::OTHER));
        let mut draft = self.exchanges.draft(cx, side, operation, name);
        if known.is_none() {
            draft.function = format!("function_{function}").into();
        }
        addressed(&mut draft, link.source, link.destination, link.destination);
        application(&mut draft, control, function);
        let mut reading = Reading {
            function,
            response: false,
            names_target: true,
            outstation: (side.other(), link.destination),
            echoes: false,
            files: &mut self.files,
            texts: Texts::default(),
        };
        // What an unknown function carries need not be objects.
        if let Err(cut) = reading.objects(cx, &mut draft, cursor)
            && known.is_some()
        {
            draft.wrong(cut);
        }
        if names::without_response(function) || link.destination >= BROADCAST {
            self.exchanges.one_way(cx, draft);
        } else {
            let addresses = (link.source, link.destination);
            self.exchanges.ask(cx, Key { addresses, what: What::Request(control & 15) }, draft);
        }
    }

    /// A response begins: another one between the same that went on does not any more.
    fn broken_off(&mut self, cx: &mut Cx<'_>, side: Side, addresses: (u16, u16)) {
        let begun = self
            .exchanges
            .answered_if(side, |key, _| key.addresses == addresses && matches!(key.what, What::Continued(_)));
        if let Some(draft) = begun {
            self.exchanges.pair(cx, draft);
        }
    }

    fn response(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        link: Link,
        (control, function): (u8, u8),
        mut cursor: Cursor<'_>,
    ) -> Result<(), Cut> {
        let indications = cursor.u16_le("internal_indications")?;
        let (name, meaning) = names::function(function).ok_or(Cut { what: "application_function", at: 1 })?;
        let unsolicited = function == 130 || control & 0x10 != 0;
        let sequence = control & 15;
        let addresses = (link.destination, link.source);
        let first = control & 0x80 != 0;
        if first && !unsolicited {
            self.broken_off(cx, side, addresses);
        }
        let what = if first { What::Request(sequence) } else { What::Continued(sequence) };
        let asked = if unsolicited { None } else { self.exchanges.answered(side, &Key { addresses, what }) };
        let was_asked = asked.is_some();
        let mut draft = match asked {
            Some(draft) => draft,
            None => {
                // What an outstation says on its own is its report; an answer is one to somebody.
                let asker = if unsolicited { side } else { side.other() };
                let mut draft = self.exchanges.draft(cx, asker, meaning, name);
                draft.equipment = side;
                addressed(&mut draft, link.source, link.destination, link.source);
                application(&mut draft, control, function);
                draft
            }
        };
        if was_asked && function != RESPONSE {
            json::member_number(&mut draft.detail, "response_function", u64::from(function));
        }
        indicate(&mut draft, indications);
        let echoes = was_asked && matches!(&*draft.function, "select" | "operate" | "direct_operate");
        let mut reading = Reading {
            function,
            response: true,
            names_target: !was_asked,
            outstation: (side, link.source),
            echoes,
            files: &mut self.files,
            texts: Texts::default(),
        };
        if let Err(cut) = reading.objects(cx, &mut draft, cursor) {
            draft.wrong(cut);
        }
        let (final_fragment, confirmed) = (control & 0x40 != 0, control & 0x20 != 0);
        if unsolicited && confirmed {
            let addresses = (link.source, link.destination);
            self.exchanges.ask(cx, Key { addresses, what: What::Unsolicited(sequence) }, draft);
        } else if unsolicited {
            self.exchanges.one_way(cx, draft);
        } else if !was_asked {
            self.exchanges.unasked(cx, draft);
        } else if final_fragment {
            self.exchanges.pair(cx, draft);
        } else {
            if first {
                json::member_bool(&mut draft.detail, "fragmented", true);
            }
            let what = What::Continued((sequence + 1) & 15);
            self.exchanges.ask(cx, Key { addresses, what }, draft);
        }
        Ok(())
    }
}

impl Assembly {
    fn is(&self, side: Side, link: Link) -> bool {
        self.side == side && self.addresses == (link.source, link.destination)
    }
}

impl Framed for Dnp3 {
    const PROTOCOL: &'static str = PROTOCOL.name;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        Dnp3::frame_of(bytes)
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let mut user = [0; USER_MAX];
        let mut length = 0;
        for (index, block) in frame[HEADER..].chunks(BLOCK + 2).enumerate() {
            let (data, check) = block.split_at(block.len().saturating_sub(2));
            if crc(data) != check {
                return Err(Cut { what: "data_crc", at: HEADER + index * (BLOCK + 2) });
            }
            user[length..length + data.len()].copy_from_slice(data);
            length += data.len();
        }
        let link = Link {
            control: frame[3],
            destination: u16::from_le_bytes([frame[4], frame[5]]),
            source: u16::from_le_bytes([frame[6], frame[7]]),
        };
        match link.control & 0x4f {
            0x43 | 0x44 => self.segment(cx, side, link, &user[..length]),
            _ => self.link_service(cx, side, link),
        }
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, side: Side) {
        self.assemblies.iter_mut().filter(|a| a.side == side).for_each(|a| a.open = false);
    }

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.expire(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.close(cx);
    }
}

/// The session is the outstation's address.
fn addressed(draft: &mut Draft, source: u16, destination: u16, outstation: u16) {
    json::push_number(&mut draft.session, u64::from(outstation));
    json::member_number(&mut draft.detail, "source", u64::from(source));
    json::member_number(&mut draft.detail, "destination", u64::from(destination));
}

fn application(draft: &mut Draft, control: u8, function: u8) {
    json::member_number(&mut draft.detail, "function", u64::from(function));
    json::member_number(&mut draft.detail, "sequence", u64::from(control & 15));
}

/// Internal indications: into `detail`, and into the status when they refuse the request.
fn indicate(draft: &mut Draft, indications: u16) {
    let reserved = indications & 0xc000;
    let before = draft.detail.contains("\"iin\":");
    if (indications == 0) || before {
        return;
    }
    json::key(&mut draft.detail, "iin");
    let mut separator = '[';
    for (bit, name) in names::INDICATIONS {
        if indications & bit != 0 {
            draft.detail.push(separator);
            json::push_text(&mut draft.detail, name);
            separator = ',';
        }
    }
    if reserved != 0 {
        draft.detail.push(separator);
        json::push_text(&mut draft.detail, "reserved");
    }
    draft.detail.push(']');
    if draft.status == status::OK {
        let refusal = names::INDICATIONS.iter().find(|(bit, _)| indications & names::REFUSALS & bit != 0);
        if let Some((_, name)) = refusal {
            draft.deny(*name);
        }
    }
}

/// CRC-16/DNP as it is on the wire (clause 9.2.6).
fn crc(bytes: &[u8]) -> [u8; 2] {
    let sum = bytes.iter().fold(0u16, |sum, byte| sum >> 8 ^ CRC_TABLE[usize::from(sum as u8 ^ byte)]);
    (!sum).to_le_bytes()
}

const CRC_TABLE: [u16; 256] = {
    let mut table = [0; 256];
    let mut index = 0;
    while index < 256 {
        let mut sum = index as u16;
        let mut bit = 0;
        while bit < 8 {
            sum = if sum & 1 != 0 { sum >> 1 ^ 0xa6bc } else { sum >> 1 };
            bit += 1;
        }
        table[index] = sum;
        index += 1;
    }
    table
};

#[cfg(test)]
mod tests;
