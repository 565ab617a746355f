//! LonTalk (ISO/IEC 14908-1) in IP tunnels (ISO/IEC 14908-4, CNIP, ports 1628 and 1629): network
//! variables, network management and diagnosis between nodes of building networks, and the messages
//! by which the tunnel's routers are configured.
//!
//! A router carries both directions of a conversation between nodes in one direction of IP as it
//! happens: who answers is told by subnet and node.

use yagura_event::clock::{Micros, SECOND};
use yagura_event::vocabulary::operation;

use crate::cursor::{Cursor, Cut};
use crate::exchange::{Draft, Exchanges};
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Glimpse, Probe, Protocol, Side, json};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::udp(&[1628, 1629])],
    probe,
    start,
    buffer_bytes_max: 65_535,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "lontalk";
const TIMEOUT: Micros = 10 * SECOND;
/// Length, version, type, extension, flags, vendor, session, sequence, time.
const HEADER: usize = 20;

fn start(_flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(Lontalk { exchanges: Exchanges::new(NAME, TIMEOUT) }))
}

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let bytes = glimpse.bytes;
    let extended = bytes.get(4).map_or(0, |words| HEADER + 4 * usize::from(*words));
    let fits = fits(bytes)
        && match bytes.get(3) {
            Some(1) => bytes.get(extended..).is_some_and(|packet| Packet::read(packet).is_ok()),
            _ => glimpse.customary,
        };
    if fits { Probe::Yes } else { Probe::No }
}

fn fits(bytes: &[u8]) -> bool {
    bytes.len() >= HEADER
        && matches!(bytes, [high, low, 1, kind, words, ..]
            if usize::from(u16::from_be_bytes([*high, *low])) == bytes.len()
                && *words < 16
                && tunnel(*kind).is_some())
}

/// Messages of the tunnel itself: name, operation, the type that answers.
fn tunnel(kind: u8) -> Option<(&'static str, &'static str, Option<u8>)> {
    Some(match kind {
        0x01 => ("data_packet", operation::OTHER, None),
        0x03 => ("device_registration", operation::SESSION_OPEN, None),
        0x04 => ("channel_membership", operation::CONFIGURE, None),
        0x06 => ("send_list", operation::CONFIGURE, None),
        0x07 => ("acknowledge", operation::OTHER, None),
        0x08 => ("channel_routing", operation::CONFIGURE, None),
        0x60 => ("statistics_request", operation::DIAGNOSE, Some(0x70)),
        0x63 => ("device_configuration_request", operation::DISCOVER, Some(0x71)),
        0x64 => ("channel_membership_request", operation::DISCOVER, Some(0x04)),
        0x66 => ("send_list_request", operation::DISCOVER, Some(0x06)),
        0x68 => ("channel_routing_request", operation::DISCOVER, Some(0x08)),
        0x70 => ("statistics_response", operation::DIAGNOSE, None),
        0x71 => ("device_configuration", operation::CONFIGURE, None),
        0x7f => ("segment", operation::OTHER, None),
        _ => return None,
    })
}

/// Who a packet goes to.
#[derive(Clone, Copy, Debug, PartialEq)]
enum To {
    Broadcast(u8),
    Group(u8),
    Node(u8, u8),
    Unique([u8; 6]),
}

/// What the network layer carries.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Pdu {
    /// Acknowledged or repeated, by the type of ISO/IEC 14908-1: 0 to 5.
    Transport(u8),
    /// Request and response.
    Session(u8),
    /// 0 a challenge, 2 its reply.
    Authentication(u8),
    Application,
}

/// A packet of the bus.
#[derive(Debug)]
struct Packet<'a> {
    priority: bool,
    source: (u8, u8),
    to: To,
    domain: &'a [u8],
    pdu: Pdu,
    authenticated: bool,
    transaction: u8,
    rest: Cursor<'a>,
}

impl<'a> Packet<'a> {
    fn read(bytes: &'a [u8]) -> Result<Packet<'a>, Cut> {
        let mut cursor = Cursor::new(bytes);
        let link = cursor.u8("ppdu")?;
        let network = cursor.u8("npdu")?;
        cursor.check(network >> 6 == 0, "npdu_version")?;
        let source_subnet = cursor.u8("source_subnet")?;
        let source_node = cursor.u8("source_node")?;
        let to = match network >> 2 & 3 {
            0 => To::Broadcast(cursor.u8("destination_subnet")?),
            1 => To::Group(cursor.u8("destination_group")?),
            2 => {
                let (subnet, node) = (cursor.u8("destination_subnet")?, cursor.u8("destination_node")?);
                if source_node & 0x80 == 0 {
                    // To the sender of a group's message, as a member of the group.
                    cursor.skip(2, "group_member")?;
                }
                To::Node(subnet, node & 0x7f)
            }
            _ => {
                cursor.skip(1, "destination_subnet")?;
                To::Unique(cursor.array("unique_id")?)
            }
        };
        let domain = cursor.take([0, 1, 3, 6][usize::from(network & 3)], "domain")?;
        let (mut authenticated, mut transaction) = (false, 0);
        let pdu = match network >> 4 & 3 {
            3 => Pdu::Application,
            kind => {
                let control = cursor.u8("transaction")?;
                authenticated = control >> 7 == 1;
                transaction = control & 15;
                let service = control >> 4 & 7;
                match kind {
                    0 => {
                        cursor.check(matches!(service, 0..=2 | 4 | 5), "tpdu_type")?;
                        Pdu::Transport(service)
                    }
                    1 => {
                        cursor.check(matches!(service, 0 | 2 | 4 | 5), "spdu_type")?;
                        Pdu::Session(service)
                    }
                    _ => Pdu::Authentication(service & 3),
                }
            }
        };
        if let Pdu::Transport(4 | 5) | Pdu::Session(4 | 5) = pdu {
            // Who has answered already.
            let length = usize::from(cursor.u8("member_list")?);
            cursor.skip(length, "member_list")?;
        }
        Ok(Packet {
            priority: link >> 7 == 1,
            source: (source_subnet, source_node & 0x7f),
            to,
            domain,
            pdu,
            authenticated,
            transaction,
            rest: cursor,
        })
    }
}

/// What waits: a transaction between two ends, or the tunnel's answer of a type.
#[derive(Debug, PartialEq)]
enum Key {
    Nodes(u8, (u8, u8), To),
    Tunnel(u8),
}

struct Lontalk {
    exchanges: Exchanges<Key>,
}

impl Framed for Lontalk {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        if fits(bytes) { Frame::Of(bytes.len()) } else { Frame::Bad("header") }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let mut cursor = Cursor::new(frame);
        cursor.skip(3, "header")?;
        let kind = cursor.u8("type")?;
        let words = cursor.u8("extension")?;
        let flags = cursor.u8("flags")?;
        cursor.skip(2, "vendor")?;
        let session = cursor.u32_be("session")?;
        let sequence = cursor.u32_be("sequence")?;
        cursor.skip(4, "time")?;
        cursor.skip(4 * usize::from(words), "extension")?;
        if kind == 1 && flags & 0x1f == 0 {
            let packet = Packet::read(cursor.take_rest())?;
            self.packet(cx, side, sequence, packet);
            return Ok(());
        }
        let (name, does, reply) = tunnel(kind).unwrap_or(("unknown", operation::OTHER, None));
        if let Some(draft) = self.exchanges.answered(side, &Key::Tunnel(kind)) {
            self.exchanges.pair(cx, draft);
            return Ok(());
        }
        let mut draft = self.exchanges.draft(cx, side, does, name);
        json::member_number(&mut draft.detail, "session", u64::from(session));
        json::member_number(&mut draft.detail, "sequence", u64::from(sequence));
        json::member_bool(&mut draft.detail, "signed", flags & 0x20 != 0);
        match reply {
            Some(reply) => self.exchanges.ask(cx, Key::Tunnel(reply), draft),
            None => self.exchanges.one_way(cx, draft),
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

impl Lontalk {
    fn packet(&mut self, cx: &mut Cx<'_>, side: Side, sequence: u32, mut packet: Packet<'_>) {
        let answers = matches!(packet.pdu, Pdu::Transport(2) | Pdu::Session(2));
        if answers {
            let fits = |key: &Key, _: &Draft| match (key, packet.to) {
                (Key::Nodes(transaction, asker, to), To::Node(subnet, node)) => {
                    *transaction == packet.transaction
                        && *asker == (subnet, node)
                        && match to {
                            To::Node(subnet, node) => packet.source == (*subnet, *node),
                            _ => true,
                        }
                }
                _ => false,
            };
            let found = self.exchanges.take_if(side, fits);
            let found = found.or_else(|| self.exchanges.take_if(side.other(), fits));
            let paired = found.is_some();
            let mut draft = match found {
                Some((_, draft)) => draft,
                None => {
                    let name = if packet.pdu == Pdu::Session(2) { "response" } else { "acknowledge" };
                    let mut draft = self.exchanges.draft(cx, side.other(), operation::OTHER, name);
                    address(&packet, &mut draft);
                    draft
                }
            };
            json::member_number(&mut draft.detail, "reply_sequence", u64::from(sequence));
            if packet.pdu == Pdu::Session(2)
                && let Err(cut) = response(&mut packet.rest, &mut draft)
            {
                draft.wrong(cut);
            }
            if paired {
                self.exchanges.pair(cx, draft);
            } else {
                self.exchanges.unasked(cx, draft);
            }
            return;
        }
        let mut draft = self.exchanges.draft(cx, side, operation::OTHER, "application_message");
        address(&packet, &mut draft);
        let detail = &mut draft.detail;
        json::member_number(detail, "sequence", u64::from(sequence));
        if packet.priority {
            json::member_bool(detail, "priority", true);
        }
        if packet.authenticated {
            json::member_bool(detail, "authenticated", true);
        }
        match packet.pdu {
            Pdu::Transport(4) | Pdu::Session(4) => draft.function = "reminder".into(),
            Pdu::Authentication(kind) => {
                draft.function = if kind == 0 { "challenge" } else { "reply" }.into();
                draft.operation = operation::AUTHENTICATE;
            }
            _ => {
                let polls = matches!(packet.pdu, Pdu::Session(_));
                if let Err(cut) = application(cx, polls, &mut packet.rest, &mut draft) {
                    draft.wrong(cut);
                }
            }
        }
        match packet.pdu {
            Pdu::Transport(0) | Pdu::Session(0) => {
                let key = Key::Nodes(packet.transaction, packet.source, packet.to);
                self.exchanges.ask(cx, key, draft);
            }
            _ => self.exchanges.one_way(cx, draft),
        }
    }
}

/// Session: domain and source. Target: the destination.
fn address(packet: &Packet<'_>, draft: &mut Draft) {
    let (subnet, node) = packet.source;
    json::push_hex_digits(&mut draft.session, packet.domain);
    draft.session.push_str(&format!(":{subnet}/{node}"));
    draft.target = match packet.to {
        To::Broadcast(0) => "all".to_string(),
        To::Broadcast(subnet) => format!("subnet {subnet}"),
        To::Group(group) => format!("group {group}"),
        To::Node(subnet, node) => format!("{subnet}/{node}"),
        To::Unique(id) => {
            let mut text = String::from("id ");
            json::push_hex_digits(&mut text, &id);
            text
        }
    };
    json::member_number(&mut draft.detail, "transaction", u64::from(packet.transaction));
}

fn application(cx: &Cx<'_>, polls: bool, rest: &mut Cursor<'_>, draft: &mut Draft) -> Result<(), Cut> {
    let code = rest.u8("apdu")?;
    if code & 0x80 != 0 {
        let selector = u16::from(code & 0x3f) << 8 | u16::from(rest.u8("selector")?);
        draft.target.push_str(&format!(" nv {selector}"));
        (draft.function, draft.operation) = if polls && code & 0x40 != 0 {
            ("network_variable_poll".into(), operation::READ)
        } else {
            ("network_variable_update".into(), operation::WRITE)
        };
        if !rest.is_empty() {
            draft.push_bytes(rest.take_rest());
        }
        return Ok(());
    }
    json::member_number(&mut draft.detail, "code", u64::from(code));
    let (name, does) = match code {
        0x61 => ("nm_query_id", operation::DISCOVER),
        0x62 => ("nm_respond_to_query", operation::CONFIGURE),
        0x63 => ("nm_update_domain", operation::CONFIGURE),
        0x64 => ("nm_leave_domain", operation::CONFIGURE),
        0x65 => ("nm_update_key", operation::CONFIGURE),
        0x66 => ("nm_update_addr", operation::CONFIGURE),
        0x67 => ("nm_query_addr", operation::READ),
        0x68 => ("nm_query_nv_cnfg", operation::READ),
        0x69 => ("nm_update_group_addr", operation::CONFIGURE),
        0x6a => ("nm_query_domain", operation::READ),
        0x6b => ("nm_update_nv_cnfg", operation::CONFIGURE),
        0x6c => ("nm_set_node_mode", operation::CONTROL),
        0x6d => ("nm_read_memory", operation::PROGRAM_READ),
        0x6e => ("nm_write_memory", operation::PROGRAM_WRITE),
        0x6f => ("nm_checksum_recalc", operation::CONTROL),
        0x70 => ("nm_wink", operation::CONTROL),
        0x71 => ("nm_memory_refresh", operation::CONTROL),
        0x72 => ("nm_query_snvt", operation::DISCOVER),
        0x73 => ("nm_nv_fetch", operation::READ),
        0x7f => ("nm_service_pin", operation::REPORT),
        0x51 => ("nd_query_status", operation::DIAGNOSE),
        0x52 => ("nd_proxy", operation::DIAGNOSE),
        0x53 => ("nd_clear_status", operation::DIAGNOSE),
        0x54 => ("nd_query_xcvr", operation::DIAGNOSE),
        0x40..=0x4f => ("foreign_frame", operation::OTHER),
        0x50..=0x7f => ("network_management", operation::OTHER),
        _ => ("application_message", operation::OTHER),
    };
    draft.function = name.into();
    draft.operation = does;
    match code {
        // Keys; domains come with theirs.
        0x63 | 0x65 => json::member_bool(&mut draft.detail, "key_presented", true),
        0x6e => {
            rest.skip(1, "mode")?;
            let address = rest.u16_be("address")?;
            json::member_number(&mut draft.detail, "address", u64::from(address));
            rest.skip(2, "count")?;
            draft.seal(&cx.settings.plant_key, rest.rest());
        }
        0x73 => draft.target.push_str(&format!(" nv index {}", rest.u8("index")?)),
        _ if !rest.is_empty() => draft.push_bytes(rest.take_rest()),
        _ => {}
    }
    Ok(())
}

fn response(rest: &mut Cursor<'_>, draft: &mut Draft) -> Result<(), Cut> {
    let code = rest.u8("apdu")?;
    if code & 0x80 != 0 {
        rest.skip(1, "selector")?;
    } else {
        json::member_number(&mut draft.detail, "reply_code", u64::from(code));
        // Of management 0x20 and of diagnosis 0x30 and on are successes.
        if code < 0x20 && (draft.function.starts_with("nm_") || draft.function.starts_with("nd_")) {
            draft.deny("failed");
        }
    }
    let secret = matches!(&*draft.function, "nm_query_domain" | "nm_read_memory");
    if !secret && !rest.is_empty() {
        draft.push_bytes(rest.take_rest());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Transport;
    use crate::testing::{Run, Sample};

    fn cnip(kind: u8, sequence: u8, packet: &[u8]) -> Vec<u8> {
        let mut out = vec![0, (HEADER + packet.len()) as u8, 1, kind, 0, 0, 0, 0, 0, 0, 0, 1];
        out.extend([0, 0, 0, sequence, 0, 0, 0, 0]);
        out.extend(packet);
        out
    }

    fn bus(format: u8, from: u8, to: u8, control: u8, data: &[u8]) -> Vec<u8> {
        let mut out = vec![0, format << 4 | 9, 1, 0x80 | from, 1, 0x80 | to, 1, control];
        out.extend(data);
        out
    }

    pub fn sample() -> Sample {
        Sample::udp(vec![
            (Side::Client, cnip(1, 0, &bus(0, 42, 41, 3, &[0x81, 0x0d, 0, 0xca]))),
            (Side::Server, cnip(1, 1, &bus(0, 41, 42, 0x23, &[]))),
            (Side::Client, cnip(1, 2, &bus(1, 42, 41, 4, &[0x73, 7]))),
            (Side::Server, cnip(1, 3, &bus(1, 41, 42, 0x24, &[0x33, 7, 0x55]))),
            (Side::Client, cnip(1, 4, &bus(0, 42, 41, 5, &[0x6e, 0, 0xf0, 0, 2, 0, 1, 2]))),
        ])
    }

    #[test]
    fn updates_fetches_and_writes_to_memory() {
        let mut run = Run::over(&PROTOCOL, Transport::Udp);
        for (side, bytes) in sample().said {
            run.send(side, &bytes);
        }
        // An acknowledgement that comes the same way as what it answers.
        run.send(Side::Client, &cnip(1, 5, &bus(0, 41, 42, 0x25, &[])));
        run.send(Side::Server, &cnip(1, 6, &bus(1, 41, 42, 0x29, &[0x13])));
        run.send(Side::Client, &cnip(0x63, 0, &[]));
        run.send(Side::Server, &cnip(0x71, 0, &[1, 2, 3, 4]));
        run.close();
        assert_eq!(
            run.table(&["operation", "function", "session", "target", "values", "status"]),
            [
                "write|network_variable_update|01:1/42|1/41 nv 269|[\"0x00ca\"]|ok",
                "read|nm_nv_fetch|01:1/42|1/41 nv index 7|[\"0x0755\"]|ok",
                "program.write|nm_write_memory|01:1/42|1/41||ok",
                "other|response|01:1/41|1/42||unasked",
                "discover|device_configuration_request||||ok",
            ]
        );
        assert_eq!(run.messages()[2].number("body_bytes"), Some(2.0));
    }

    #[test]
    fn lengths_and_versions_are_checked() {
        let good = cnip(1, 0, &bus(0, 42, 41, 3, &[0x81, 0x0d, 0, 0xca]));
        let ask = |bytes: &[u8]| {
            probe(&Glimpse { transport: Transport::Udp, side: Side::Client, customary: false, bytes })
        };
        assert_eq!(ask(&good), Probe::Yes);
        assert_eq!(ask(&good[..good.len() - 1]), Probe::No);
        let mut version = good.clone();
        version[HEADER + 1] |= 0x40;
        assert_eq!(ask(&version), Probe::No);
    }
}
