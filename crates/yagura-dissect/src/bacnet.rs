//! BACnet (ASHRAE 135) over UDP (annex J: BACnet/IP with its virtual link control) and in IEEE
//! 802.2 frames (clause 7): network layer (clause 6), application layer (clause 20) with segments
//! put together, confirmed services paired by their invoke id and the stations behind routers.
//!
//! What the services say is read in [`services`], tagged data in [`values`].

use std::fmt::Write;
use std::net::Ipv4Addr;

use yagura_event::clock::{Micros, SECOND};
use yagura_event::vocabulary::{coverage, operation};

use crate::cursor::{Cursor, Cut};
use crate::exchange::{Draft, Exchanges};
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, LLC, Probe, Protocol, Side, Transport, json};

mod names;
mod segments;
mod services;
mod values;

use segments::{Segment, Segments};
use services::Services;

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: "bacnet",
    carriers: &[Carrier::udp(&[47808]), Carrier::link(&[LLC + 0x82])],
    probe,
    start,
    buffer_bytes_max: 1500,
    #[cfg(test)]
    sample: tests::sample,
};

/// A request without a response for that long gets a row of its own: devices repeat after 3 s.
const REPLY_TIMEOUT: Micros = 30 * SECOND;
/// The type of the virtual link control over IPv4.
const BVLC: u8 = 0x81;
/// The last function of the virtual link control.
const FUNCTION_MAX: u8 = 0x0c;
/// The longest station address that is told apart.
const STATION_MAX: usize = 7;

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let fits = match glimpse.transport {
        Transport::Link => npdu_begins(glimpse.bytes),
        _ => match glimpse.bytes {
            [BVLC, function, high, low, body @ ..] => {
                let exact = usize::from(u16::from_be_bytes([*high, *low])) == glimpse.bytes.len();
                match (function, body) {
                    (0 | 5, body) => exact && body.len() == 2,
                    (1 | 3 | 7 | 8, body) => exact && body.len() % 10 == 0,
                    (2 | 6, body) => exact && body.is_empty(),
                    // Some stacks write a length that is not the datagram's.
                    (4, [_, _, _, _, _, _, npdu @ ..]) | (9..=11, npdu) => {
                        (exact || glimpse.customary) && npdu_begins(npdu)
                    }
                    _ => false,
                }
            }
            _ => false,
        },
    };
    if fits { Probe::Yes } else { Probe::No }
}

/// Whether a network layer message may begin so: version 1, and no reserved bit.
fn npdu_begins(bytes: &[u8]) -> bool {
    matches!(bytes, [1, control, _, ..] if control & 0x50 == 0)
}

/// One message is one datagram, whatever its length field says.
fn link_frame(bytes: &[u8]) -> Frame {
    match *bytes {
        [BVLC, function, high, low, ..] if function <= FUNCTION_MAX => {
            if u16::from_be_bytes([high, low]) < 4 {
                Frame::Bad("bvlc_length")
            } else {
                Frame::Of(bytes.len())
            }
        }
        [BVLC, _, _, _, ..] => Frame::Bad("bvlc_function"),
        [] | [BVLC, ..] => Frame::More,
        _ => Frame::Bad("bvlc_type"),
    }
}

fn start(flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(Bacnet {
        bare: flow.transport == Transport::Link,
        exchanges: Exchanges::new(PROTOCOL.name, REPLY_TIMEOUT),
        segments: Segments::default(),
        services: Services::default(),
        secured: false,
    }))
}

/// A station behind a router: network number and address. Network 0 is the local one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Station {
    network: u16,
    length: u8,
    address: [u8; STATION_MAX],
}

impl Station {
    fn read(cursor: &mut Cursor<'_>) -> Result<Station, Cut> {
        let network = cursor.u16_be("network")?;
        let length = cursor.u8("station_length")?;
        let bytes = cursor.take(usize::from(length), "station")?;
        let mut address = [0; STATION_MAX];
        cursor.check(bytes.len() <= STATION_MAX, "station_length")?;
        address[..bytes.len()].copy_from_slice(bytes);
        Ok(Station { network, length, address })
    }

    /// Appends `20:0a`; `20:*` for all stations of a network, `*` for all of all.
    fn show(&self, out: &mut String) {
        match (self.network, self.length) {
            (0, _) => {}
            (0xffff, _) => out.push('*'),
            (network, 0) => {
                let _ = write!(out, "{network}:*");
            }
            (network, length) => {
                let _ = write!(out, "{network}:");
                json::push_hex_digits(out, &self.address[..usize::from(length)]);
            }
        }
    }
}

/// What a reply must have in common with its request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Key {
    asker: Station,
    asked: Station,
    what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// A confirmed service: invoke id and service choice.
    Service(u8, u8),
    /// A function of the virtual link control.
    Link(u8),
    /// The initialisation of a routing table.
    Routing,
}

impl What {
    fn is_invoke(self, invoke: u8, service: Option<u8>) -> bool {
        matches!(self, What::Service(i, s) if i == invoke && service.is_none_or(|wanted| wanted == s))
    }
}

/// What surrounds an application message.
#[derive(Clone, Copy)]
struct Envelope {
    side: Side,
    /// Function of the virtual link control.
    function: u8,
    /// Its length field, where that is not the datagram's length.
    claims: Option<u16>,
    /// Who sent a forwarded message in the first place.
    origin: Option<(Ipv4Addr, u16)>,
    control: u8,
    source: Station,
    target: Station,
}

impl Envelope {
    /// Writes what is not said by the connection. `asked` is the station that the row is about.
    fn describe(&self, draft: &mut Draft, asked: Station) {
        draft.session.clear();
        asked.show(&mut draft.session);
        if matches!(self.function, 4 | 9 | 11) {
            json::member_text(&mut draft.detail, "bvlc", names::link_function(self.function).0);
        }
        if let Some(length) = self.claims {
            json::member_number(&mut draft.detail, "bvlc_length", u64::from(length));
        }
        if let Some((address, port)) = self.origin {
            json::key(&mut draft.detail, "origin");
            let _ = write!(draft.detail, "\"{address}:{port}\"");
        }
        for (name, station) in [("source", self.source), ("destination", self.target)] {
            if station.network != 0 {
                json::key(&mut draft.detail, name);
                draft.detail.push('"');
                station.show(&mut draft.detail);
                draft.detail.push('"');
            }
        }
        if self.control & 3 != 0 {
            json::member_number(&mut draft.detail, "priority", u64::from(self.control & 3));
        }
    }
}

/// The state of a connection.
struct Bacnet {
    /// Without virtual link control.
    bare: bool,
    exchanges: Exchanges<Key>,
    segments: Segments,
    services: Services,
    /// It was said that content is encrypted.
    secured: bool,
}

impl Bacnet {
    /// A message of the virtual link control.
    fn link(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let mut cursor = Cursor::new(frame);
        cursor.skip(1, "bvlc_type")?;
        let function = cursor.u8("bvlc_function")?;
        let length = cursor.u16_be("bvlc_length")?;
        let claims = (usize::from(length) != frame.len()).then_some(length);
        match function {
            4 => {
                let origin = endpoint(&mut cursor)?;
                self.npdu(cx, side, (function, claims, Some(origin)), cursor)
            }
            9..=11 => self.npdu(cx, side, (function, claims, None), cursor),
            0 => self.link_result(cx, side, cursor.u16_be("result_code")?),
            3 => self.link_table(cx, side, function, 2, cursor),
            7 => self.link_table(cx, side, function, 6, cursor),
            12 => {
                self.secured(cx, "secure virtual link control");
                Ok(())
            }
            _ => self.link_request(cx, side, function, cursor),
        }
    }

    fn link_request(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        function: u8,
        mut cursor: Cursor<'_>,
    ) -> Result<(), Cut> {
        let (name, operation) = names::link_function(function);
        let mut draft = self.exchanges.draft(cx, side, operation, name);
        let read = match function {
            1 => table(&mut draft, 1, cursor),
            5 => cursor.u16_be("time_to_live").map(|seconds| {
                json::member_number(&mut draft.detail, "time_to_live", u64::from(seconds));
            }),
            8 => endpoint(&mut cursor).map(|(address, port)| {
                let _ = write!(draft.target, "{address}:{port}");
            }),
            _ => Ok(()),
        };
        if let Err(cut) = read {
            draft.wrong(cut);
        }
        self.exchanges.ask(cx, local(What::Link(function)), draft);
        Ok(())
    }

    /// The answer to a request of the virtual link control, or a refusal to pass something on.
    fn link_result(&mut self, cx: &mut Cx<'_>, side: Side, code: u16) -> Result<(), Cut> {
        let refused = match code {
            0x10 => Some(1),
            0x20 => Some(2),
            0x30 => Some(5),
            0x40 => Some(6),
            0x50 => Some(8),
            _ => None,
        };
        let asked = self.exchanges.answered_if(side, |key, _| match key.what {
            What::Link(function) => refused.map_or(code == 0, |f| f == function),
            _ => false,
        });
        let paired = asked.is_some();
        let mut draft = match asked {
            Some(draft) => draft,
            None => self.exchanges.draft(cx, side.other(), operation::OTHER, "bvlc_result"),
        };
        json::member_number(&mut draft.detail, "result", u64::from(code));
        if code != 0 {
            draft.deny(names::link_result(code));
        }
        if paired {
            self.exchanges.pair(cx, draft);
        } else {
            self.exchanges.unasked(cx, draft);
        }
        Ok(())
    }

    /// A table that was asked for by the function `asked`.
    fn link_table(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        function: u8,
        asked: u8,
        cursor: Cursor<'_>,
    ) -> Result<(), Cut> {
        let request = self.exchanges.answered(side, &local(What::Link(asked)));
        let paired = request.is_some();
        let mut draft = match request {
            Some(draft) => draft,
            None => {
                let (name, operation) = names::link_function(function);
                self.exchanges.draft(cx, side.other(), operation, name)
            }
        };
        if let Err(cut) = table(&mut draft, function, cursor) {
            draft.wrong(cut);
        }
        if paired {
            self.exchanges.pair(cx, draft);
        } else {
            self.exchanges.unasked(cx, draft);
        }
        Ok(())
    }

    fn secured(&mut self, cx: &mut Cx<'_>, what: &str) {
        if !std::mem::replace(&mut self.secured, true) {
            cx.opaque(PROTOCOL.name, what);
        }
    }

    /// A network layer message, and what its virtual link control says.
    fn npdu(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        (function, claims, origin): (u8, Option<u16>, Option<(Ipv4Addr, u16)>),
        mut cursor: Cursor<'_>,
    ) -> Result<(), Cut> {
        let version = cursor.u8("npdu_version")?;
        cursor.check(version == 1, "npdu_version")?;
        let control = cursor.u8("npdu_control")?;
        let mut envelope = Envelope {
            side,
            function,
            claims,
            origin,
            control,
            source: Station::default(),
            target: Station::default(),
        };
        if control & 0x20 != 0 {
            envelope.target = Station::read(&mut cursor)?;
        }
        if control & 8 != 0 {
            envelope.source = Station::read(&mut cursor)?;
        }
        if control & 0x20 != 0 {
            cursor.skip(1, "hop_count")?;
        }
        if control & 0x80 != 0 {
            self.routing(cx, &envelope, cursor)
        } else {
            self.apdu(cx, &envelope, cursor)
        }
    }

    /// A message between routers (clause 6.4).
    fn routing(&mut self, cx: &mut Cx<'_>, envelope: &Envelope, mut cursor: Cursor<'_>) -> Result<(), Cut> {
        let side = envelope.side;
        let kind = cursor.u8("message_type")?;
        if kind == 7 {
            let key = Key { asker: envelope.target, asked: envelope.source, what: What::Routing };
            if let Some(mut draft) = self.exchanges.answered(side, &key) {
                if let Err(cut) = routing_table(&mut draft, &mut cursor) {
                    draft.wrong(cut);
                }
                self.exchanges.pair(cx, draft);
                return Ok(());
            }
        }
        let known = names::network_message(kind);
        let (name, operation) = known.unwrap_or(("", operation::OTHER));
        let mut draft = self.exchanges.draft(cx, side, operation, name);
        if known.is_none() {
            draft.function = format!("network_message_{kind}").into();
        }
        if operation == operation::REPORT {
            draft.equipment = side;
        }
        let about = if draft.equipment == side { envelope.source } else { envelope.target };
        envelope.describe(&mut draft, about);
        let read = match kind {
            0 if cursor.is_empty() => Ok(()),
            0 | 1 | 4 | 5 => networks(&mut draft, &mut cursor),
            2 => cursor.u16_be("network").and_then(|network| {
                let _ = write!(draft.target, "{network}");
                cursor.skip(1, "performance_index")
            }),
            3 => cursor.u8("reject_reason").and_then(|reason| {
                draft.deny(names::network_reject(reason));
                networks(&mut draft, &mut cursor)
            }),
            6 | 7 => routing_table(&mut draft, &mut cursor),
            8 | 9 | 19 => cursor.u16_be("network").map(|network| {
                let _ = write!(draft.target, "{network}");
            }),
            11 => {
                self.secured(cx, "security payload");
                Ok(())
            }
            128.. => cursor.u16_be("vendor").map(|vendor| {
                json::member_number(&mut draft.detail, "vendor_id", u64::from(vendor));
            }),
            _ => Ok(()),
        };
        if let Err(cut) = read {
            draft.wrong(cut);
        }
        if kind == 6 {
            let key = Key { asker: envelope.source, asked: envelope.target, what: What::Routing };
            self.exchanges.ask(cx, key, draft);
        } else if kind == 7 {
            self.exchanges.unasked(cx, draft);
        } else {
            self.exchanges.one_way(cx, draft);
        }
        Ok(())
    }

    /// An application message (clause 20.1).
    fn apdu(&mut self, cx: &mut Cx<'_>, envelope: &Envelope, mut cursor: Cursor<'_>) -> Result<(), Cut> {
        let first = cursor.u8("apdu_type")?;
        match first >> 4 {
            0 => {
                cursor.skip(1, "apdu_limits")?;
                let invoke = cursor.u8("invoke_id")?;
                self.service(cx, envelope, first, invoke, cursor)
            }
            1 => {
                let choice = cursor.u8("service_choice")?;
                self.unconfirmed(cx, envelope, choice, cursor);
                Ok(())
            }
            2 => {
                let invoke = cursor.u8("invoke_id")?;
                let choice = cursor.u8("service_choice")?;
                self.reply(cx, envelope, (invoke, Some(choice)), |_, _, _, _| Ok(()));
                Ok(())
            }
            3 => {
                let invoke = cursor.u8("invoke_id")?;
                self.service(cx, envelope, first, invoke, cursor)
            }
            // Segments are acknowledged as TCP does.
            4 => cursor.skip(3, "segment_ack"),
            5 => {
                let invoke = cursor.u8("invoke_id")?;
                let choice = cursor.u8("service_choice")?;
                let (class, code) = services::error(&mut cursor)?;
                self.reply(cx, envelope, (invoke, Some(choice)), |_, _, draft, _| {
                    draft.deny(names::error(code));
                    json::member_text(&mut draft.detail, "error_class", &names::error_class(class));
                    Ok(())
                });
                Ok(())
            }
            6 | 7 => {
                let invoke = cursor.u8("invoke_id")?;
                let reason = cursor.u8("reason")?;
                let (kind, name) = match first >> 4 {
                    6 => ("reject", names::reject(reason)),
                    _ => ("abort", names::abort(reason)),
                };
                // An abort that the client itself sends ends its own request.
                let by_client = kind == "abort" && first & 1 == 0;
                let told = if by_client {
                    Envelope {
                        side: envelope.side.other(),
                        source: envelope.target,
                        target: envelope.source,
                        ..*envelope
                    }
                } else {
                    *envelope
                };
                self.reply(cx, &told, (invoke, None), |_, _, draft, _| {
                    draft.deny(name);
                    json::member_text(&mut draft.detail, "pdu", kind);
                    if by_client {
                        json::member_text(&mut draft.detail, "aborted_by", "client");
                    }
                    Ok(())
                });
                Ok(())
            }
            _ => Err(cursor.cut("apdu_type")),
        }
    }

    /// A confirmed request or its complex acknowledgement, whole or in segments.
    fn service(
        &mut self,
        cx: &mut Cx<'_>,
        envelope: &Envelope,
        first: u8,
        invoke: u8,
        mut cursor: Cursor<'_>,
    ) -> Result<(), Cut> {
        let request = first >> 4 == 0;
        if first & 8 == 0 {
            let choice = cursor.u8("service_choice")?;
            self.whole(cx, envelope, (request, invoke, choice), None, cursor);
            return Ok(());
        }
        let sequence = cursor.u8("sequence_number")?;
        cursor.skip(1, "window_size")?;
        let choice = cursor.u8("service_choice")?;
        let segment = Segment {
            side: envelope.side,
            key: Key { asker: envelope.source, asked: envelope.target, what: What::Service(invoke, choice) },
            request,
            sequence,
            last: first & 4 == 0,
        };
        let broken = self.segments.broken();
        if let Some(whole) = self.segments.add(cx.time, segment, cursor.rest())? {
            let content = Cursor::new(&whole.bytes);
            self.whole(cx, envelope, (request, invoke, choice), Some((whole.time, whole.count)), content);
        }
        let now = self.segments.broken();
        if now > broken && now.is_power_of_two() {
            cx.cover(PROTOCOL.name, coverage::GAP, now, "segments whose predecessors are missing");
        }
        Ok(())
    }

    /// A whole request or acknowledgement; `segments` tells when the first of how many came.
    fn whole(
        &mut self,
        cx: &mut Cx<'_>,
        envelope: &Envelope,
        (request, invoke, choice): (bool, u8, u8),
        segments: Option<(Micros, u32)>,
        cursor: Cursor<'_>,
    ) {
        if !request {
            self.reply(cx, envelope, (invoke, Some(choice)), |services, cx, draft, side| {
                if let Some((_, count)) = segments {
                    json::member_number(&mut draft.detail, "segments", u64::from(count));
                }
                services.acknowledged(cx, side, draft, choice, cursor)
            });
            return;
        }
        let side = envelope.side;
        let (name, operation) = names::confirmed(choice).unwrap_or(("", operation::OTHER));
        let mut draft = self.exchanges.draft(cx, side, operation, name);
        if name.is_empty() {
            draft.function = format!("confirmed_service_{choice}").into();
        }
        // Notifications are about the device that sends them.
        if matches!(choice, 1 | 2 | 31 | 32) {
            draft.equipment = side;
        }
        let about = if draft.equipment == side { envelope.source } else { envelope.target };
        envelope.describe(&mut draft, about);
        json::member_number(&mut draft.detail, "invoke_id", u64::from(invoke));
        if let Some((time, count)) = segments {
            draft.time = time;
            json::member_number(&mut draft.detail, "request_segments", u64::from(count));
        }
        if let Err(cut) = self.services.request(cx, side, &mut draft, choice, cursor) {
            draft.wrong(cut);
        }
        let key = Key { asker: envelope.source, asked: envelope.target, what: What::Service(invoke, choice) };
        self.exchanges.ask(cx, key, draft);
    }

    fn unconfirmed(&mut self, cx: &mut Cx<'_>, envelope: &Envelope, choice: u8, cursor: Cursor<'_>) {
        let side = envelope.side;
        let (name, operation) = names::unconfirmed(choice).unwrap_or(("", operation::OTHER));
        let mut draft = self.exchanges.draft(cx, side, operation, name);
        if name.is_empty() {
            draft.function = format!("unconfirmed_service_{choice}").into();
        }
        if matches!(choice, 0..=3 | 11..=13) {
            draft.equipment = side;
        }
        let about = if draft.equipment == side { envelope.source } else { envelope.target };
        envelope.describe(&mut draft, about);
        if let Err(cut) = self.services.unconfirmed(cx, side, &mut draft, choice, cursor) {
            draft.wrong(cut);
        }
        self.exchanges.one_way(cx, draft);
    }

    /// Completes the request that a message answers.
    fn reply(
        &mut self,
        cx: &mut Cx<'_>,
        envelope: &Envelope,
        (invoke, service): (u8, Option<u8>),
        complete: impl FnOnce(&mut Services, &mut Cx<'_>, &mut Draft, Side) -> Result<(), Cut>,
    ) {
        let side = envelope.side;
        let (asker, asked) = (envelope.target, envelope.source);
        let waiting = self.exchanges.answered_if(side, |key, _| {
            key.asker == asker && key.asked == asked && key.what.is_invoke(invoke, service)
        });
        let paired = waiting.is_some();
        let mut draft = match waiting {
            Some(draft) => draft,
            None => {
                let known = service.and_then(names::confirmed);
                let (name, operation) = known.unwrap_or(("unknown_service", operation::OTHER));
                let mut draft = self.exchanges.draft(cx, side.other(), operation, name);
                envelope.describe(&mut draft, asked);
                json::member_number(&mut draft.detail, "invoke_id", u64::from(invoke));
                draft
            }
        };
        if let Err(cut) = complete(&mut self.services, cx, &mut draft, side) {
            draft.wrong(cut);
        }
        if paired {
            self.exchanges.pair(cx, draft);
        } else {
            self.exchanges.unasked(cx, draft);
        }
    }
}

fn local(what: What) -> Key {
    Key { asker: Station::default(), asked: Station::default(), what }
}

fn endpoint(cursor: &mut Cursor<'_>) -> Result<(Ipv4Addr, u16), Cut> {
    let address: [u8; 4] = cursor.array("address")?;
    Ok((address.into(), cursor.u16_be("port")?))
}

/// A broadcast distribution table (functions 1 and 3) or a foreign device table (7).
fn table(draft: &mut Draft, function: u8, mut cursor: Cursor<'_>) -> Result<(), Cut> {
    while !cursor.is_empty() {
        let (address, port) = endpoint(&mut cursor)?;
        if function == 7 {
            cursor.skip(4, "time_to_live")?;
            draft.push_text(&format!("{address}:{port}"));
        } else {
            let mask: [u8; 4] = cursor.array("broadcast_mask")?;
            draft.push_text(&format!("{address}:{port}/{}", Ipv4Addr::from(mask)));
        }
    }
    Ok(())
}

/// Network numbers up to the end.
fn networks(draft: &mut Draft, cursor: &mut Cursor<'_>) -> Result<(), Cut> {
    while !cursor.is_empty() {
        let network = cursor.u16_be("network")?;
        if draft.count() == 0 {
            let _ = write!(draft.target, "{network}");
        }
        draft.push_value(f64::from(network));
    }
    Ok(())
}

/// Ports of a routing table; a router that asks for the table sends none.
fn routing_table(draft: &mut Draft, cursor: &mut Cursor<'_>) -> Result<(), Cut> {
    if cursor.is_empty() {
        return Ok(());
    }
    let ports = cursor.u8("routing_ports")?;
    for _ in 0..ports {
        let network = cursor.u16_be("network")?;
        cursor.skip(1, "port_id")?;
        let length = cursor.u8("port_info_length")?;
        cursor.skip(usize::from(length), "port_info")?;
        draft.push_value(f64::from(network));
    }
    Ok(())
}

impl Framed for Bacnet {
    const PROTOCOL: &'static str = PROTOCOL.name;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        if self.bare { Frame::Of(bytes.len().max(1)) } else { link_frame(bytes) }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        if self.bare {
            self.npdu(cx, side, (10, None, None), Cursor::new(frame))
        } else {
            self.link(cx, side, frame)
        }
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, side: Side) {
        self.segments.forget(side);
    }

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.expire(cx);
        self.segments.expire(cx.time - REPLY_TIMEOUT);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.close(cx);
    }
}

#[cfg(test)]
mod tests;
