//! ICMP (RFC 792) and ICMPv6 (RFC 4443, RFC 4861): echoes with their replies, and what routers and
//! hosts report about other packets.

use std::fmt::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use yagura_event::clock::{Micros, SECOND};
use yagura_event::vocabulary::operation;

use crate::cursor::{Cursor, Cut};
use crate::exchange::{Draft, Exchanges};
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Probe, Protocol, Side, Transport, json};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::ip(&[1, 58])],
    probe: |glimpse| {
        let fits = glimpse.transport == Transport::Ip && glimpse.customary && glimpse.bytes.len() >= 4;
        if fits { Probe::Yes } else { Probe::No }
    },
    start,
    buffer_bytes_max: 65_535,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "icmp";
const TIMEOUT: Micros = 10 * SECOND;

fn start(flow: &FlowInfo) -> Box<dyn Dissector> {
    let six = flow.client.address.contains(':');
    Box::new(Framing::new(Icmp { six, exchanges: Exchanges::new(NAME, TIMEOUT) }))
}

struct Icmp {
    six: bool,
    /// By the type of the reply, identifier and sequence number.
    exchanges: Exchanges<(u8, u32)>,
}

impl Framed for Icmp {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        Frame::Of(bytes.len().max(1))
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let mut cursor = Cursor::new(frame);
        let kind = cursor.u8("type")?;
        let code = cursor.u8("code")?;
        cursor.skip(2, "checksum")?;
        let (function, operation, answers) = if self.six { six(kind) } else { four(kind) };
        match answers {
            Answers::Asks(reply) => {
                let id = cursor.u32_be("identifier")?;
                let mut draft = self.exchanges.draft(cx, side, operation, function);
                json::member_number(&mut draft.detail, "id", u64::from(id >> 16));
                json::member_number(&mut draft.detail, "sequence", u64::from(id & 0xffff));
                json::member_number(&mut draft.detail, "data_bytes", cursor.remaining() as u64);
                self.exchanges.ask(cx, (reply, id), draft);
            }
            Answers::Replies => {
                let id = cursor.u32_be("identifier")?;
                if let Some(draft) = self.exchanges.answered(side, &(kind, id)) {
                    self.exchanges.pair(cx, draft);
                    return Ok(());
                }
                let mut draft = self.exchanges.draft(cx, side.other(), operation, function);
                json::member_number(&mut draft.detail, "id", u64::from(id >> 16));
                json::member_number(&mut draft.detail, "sequence", u64::from(id & 0xffff));
                self.exchanges.unasked(cx, draft);
            }
            Answers::Alone => {
                let mut draft = self.exchanges.draft(cx, side, operation, function);
                if operation == operation::ERROR || function == "redirect" {
                    draft.status_code =
                        if self.six { six_code(kind, code) } else { four_code(kind, code) }.into();
                }
                json::member_number(&mut draft.detail, "type", u64::from(kind));
                json::member_number(&mut draft.detail, "code", u64::from(code));
                let outcome = if self.six {
                    six_body(&mut draft, kind, &mut cursor)
                } else {
                    four_body(&mut draft, kind, code, &mut cursor)
                };
                if let Err(cut) = outcome {
                    draft.wrong(cut);
                }
                self.exchanges.one_way(cx, draft);
            }
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

/// Which part of an exchange a message is.
enum Answers {
    /// A request; its reply has that type.
    Asks(u8),
    Replies,
    Alone,
}

fn four(kind: u8) -> (&'static str, &'static str, Answers) {
    use Answers::{Alone, Asks, Replies};
    match kind {
        0 => ("echo_reply", operation::DIAGNOSE, Replies),
        3 => ("destination_unreachable", operation::ERROR, Alone),
        4 => ("source_quench", operation::ERROR, Alone),
        5 => ("redirect", operation::CONFIGURE, Alone),
        8 => ("echo", operation::DIAGNOSE, Asks(0)),
        9 => ("router_advertisement", operation::CONFIGURE, Alone),
        10 => ("router_solicitation", operation::DISCOVER, Alone),
        11 => ("time_exceeded", operation::ERROR, Alone),
        12 => ("parameter_problem", operation::ERROR, Alone),
        13 => ("timestamp", operation::DIAGNOSE, Asks(14)),
        14 => ("timestamp_reply", operation::DIAGNOSE, Replies),
        15 => ("information_request", operation::DISCOVER, Asks(16)),
        16 => ("information_reply", operation::DISCOVER, Replies),
        17 => ("address_mask_request", operation::DISCOVER, Asks(18)),
        18 => ("address_mask_reply", operation::DISCOVER, Replies),
        _ => ("type_outside_the_standard", operation::OTHER, Alone),
    }
}

fn six(kind: u8) -> (&'static str, &'static str, Answers) {
    use Answers::{Alone, Asks, Replies};
    match kind {
        1 => ("destination_unreachable", operation::ERROR, Alone),
        2 => ("packet_too_big", operation::ERROR, Alone),
        3 => ("time_exceeded", operation::ERROR, Alone),
        4 => ("parameter_problem", operation::ERROR, Alone),
        128 => ("echo", operation::DIAGNOSE, Asks(129)),
        129 => ("echo_reply", operation::DIAGNOSE, Replies),
        130 => ("multicast_listener_query", operation::DISCOVER, Alone),
        131 | 143 => ("multicast_listener_report", operation::REPORT, Alone),
        132 => ("multicast_listener_done", operation::REPORT, Alone),
        133 => ("router_solicitation", operation::DISCOVER, Alone),
        134 => ("router_advertisement", operation::CONFIGURE, Alone),
        135 => ("neighbor_solicitation", operation::DISCOVER, Alone),
        136 => ("neighbor_advertisement", operation::REPORT, Alone),
        137 => ("redirect", operation::CONFIGURE, Alone),
        _ => ("type_outside_the_standard", operation::OTHER, Alone),
    }
}

fn four_code(kind: u8, code: u8) -> &'static str {
    match (kind, code) {
        (3, 0) => "net_unreachable",
        (3, 1) => "host_unreachable",
        (3, 2) => "protocol_unreachable",
        (3, 3) => "port_unreachable",
        (3, 4) => "fragmentation_needed",
        (3, 5) => "source_route_failed",
        (3, 6) => "network_unknown",
        (3, 7) => "host_unknown",
        (3, 9) => "network_prohibited",
        (3, 10) => "host_prohibited",
        (3, 13) => "communication_prohibited",
        (5, 0) => "for_the_network",
        (5, 1) => "for_the_host",
        (11, 0) => "time_to_live_exceeded",
        (11, 1) => "reassembly_time_exceeded",
        _ => "",
    }
}

fn six_code(kind: u8, code: u8) -> &'static str {
    match (kind, code) {
        (1, 0) => "no_route",
        (1, 1) => "administratively_prohibited",
        (1, 2) => "beyond_scope",
        (1, 3) => "address_unreachable",
        (1, 4) => "port_unreachable",
        (3, 0) => "hop_limit_exceeded",
        (3, 1) => "reassembly_time_exceeded",
        (4, 0) => "erroneous_header_field",
        (4, 1) => "unrecognized_next_header",
        _ => "",
    }
}

fn four_body(draft: &mut Draft, kind: u8, code: u8, cursor: &mut Cursor<'_>) -> Result<(), Cut> {
    match kind {
        3 | 4 | 11 | 12 => {
            let rest = cursor.u32_be("unused")?;
            if (kind, code) == (3, 4) {
                json::member_number(&mut draft.detail, "next_hop_mtu", u64::from(rest & 0xffff));
            }
            concerned(draft, cursor)
        }
        5 => {
            let gateway = Ipv4Addr::from(cursor.array::<4>("gateway")?);
            json::member_text(&mut draft.detail, "gateway", &gateway.to_string());
            concerned(draft, cursor)
        }
        9 => {
            let many = cursor.u8("addresses")?;
            let size = cursor.u8("address_entry_size")?;
            json::member_number(&mut draft.detail, "lifetime", u64::from(cursor.u16_be("lifetime")?));
            for _ in 0..many {
                let mut entry = cursor.part(usize::from(size) * 4, "router_address")?;
                draft.push_text(&Ipv4Addr::from(entry.array::<4>("router_address")?).to_string());
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn six_body(draft: &mut Draft, kind: u8, cursor: &mut Cursor<'_>) -> Result<(), Cut> {
    match kind {
        1..=4 => {
            let rest = cursor.u32_be("unused")?;
            if kind == 2 {
                json::member_number(&mut draft.detail, "mtu", u64::from(rest));
            }
            concerned(draft, cursor)
        }
        134 => {
            cursor.skip(1, "hop_limit")?;
            let flags = cursor.u8("flags")?;
            json::member_bool(&mut draft.detail, "managed", flags & 0x80 != 0);
            json::member_number(&mut draft.detail, "lifetime", u64::from(cursor.u16_be("lifetime")?));
            cursor.skip(8, "timers")?;
            options(draft, cursor)
        }
        135..=137 => {
            cursor.skip(4, "reserved")?;
            draft.target = Ipv6Addr::from(cursor.array::<16>("target_address")?).to_string();
            if kind == 137 {
                let destination = Ipv6Addr::from(cursor.array::<16>("destination_address")?);
                json::member_text(&mut draft.detail, "destination", &destination.to_string());
            }
            options(draft, cursor)
        }
        133 => {
            cursor.skip(4, "reserved")?;
            options(draft, cursor)
        }
        _ => Ok(()),
    }
}

/// Neighbour discovery options (RFC 4861, 4.6).
fn options(draft: &mut Draft, cursor: &mut Cursor<'_>) -> Result<(), Cut> {
    while !cursor.is_empty() {
        let kind = cursor.u8("option")?;
        let length = usize::from(cursor.u8("option")?) * 8;
        cursor.check(length > 0, "option_length")?;
        let mut body = cursor.part(length - 2, "option")?;
        match kind {
            1 | 2 if length == 8 && !draft.detail.contains("_mac\":") => {
                let mac = crate::mac_text(body.array("option")?);
                let name = if kind == 1 { "source_mac" } else { "target_mac" };
                json::member_text(&mut draft.detail, name, &mac);
            }
            3 => {
                let bits = body.u8("prefix")?;
                body.skip(13, "prefix")?;
                draft.push_text(&format!("{}/{bits}", Ipv6Addr::from(body.array::<16>("prefix")?)));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The packet that an error is about, of which it has the beginning.
fn concerned(draft: &mut Draft, cursor: &mut Cursor<'_>) -> Result<(), Cut> {
    let (protocol, source, destination): (u8, IpAddr, IpAddr) = match cursor.peek().map(|b| b >> 4) {
        Some(4) => {
            let first = cursor.u8("packet")?;
            cursor.skip(8, "packet")?;
            let protocol = cursor.u8("packet")?;
            cursor.skip(2, "packet")?;
            let ends = (cursor.array::<4>("packet")?, cursor.array::<4>("packet")?);
            cursor.skip((usize::from(first & 15) * 4).saturating_sub(20), "packet")?;
            (protocol, Ipv4Addr::from(ends.0).into(), Ipv4Addr::from(ends.1).into())
        }
        Some(6) => {
            cursor.skip(6, "packet")?;
            let protocol = cursor.u8("packet")?;
            cursor.skip(1, "packet")?;
            let ends = (cursor.array::<16>("packet")?, cursor.array::<16>("packet")?);
            (protocol, Ipv6Addr::from(ends.0).into(), Ipv6Addr::from(ends.1).into())
        }
        _ => return Err(cursor.cut("packet")),
    };
    let name = match protocol {
        6 => "tcp",
        17 => "udp",
        1 | 58 => "icmp",
        _ => "ip",
    };
    let ports = (cursor.u16_be("ports"), cursor.u16_be("ports"));
    let _ = match (protocol, ports) {
        (6 | 17, (Ok(from), Ok(to))) => write!(draft.target, "{name} {source}:{from} > {destination}:{to}"),
        _ => write!(draft.target, "{name} {source} > {destination}"),
    };
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{Run, Sample};

    fn unreachable() -> Vec<u8> {
        let mut out =
            vec![3, 3, 0, 0, 0, 0, 0, 0, 0x45, 0, 0, 40, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        out.extend([0x30, 0x39, 0, 53, 0, 8, 0, 0]);
        out
    }

    pub fn sample() -> Sample {
        let said = vec![
            (Side::Client, vec![8, 0, 0, 0, 0, 7, 0, 1, 9, 9]),
            (Side::Server, vec![0, 0, 0, 0, 0, 7, 0, 1, 9, 9]),
            (Side::Server, unreachable()),
        ];
        Sample { transport: Transport::Ip, said, customary_only: true }
    }

    #[test]
    fn echoes_are_paired_and_errors_say_what_they_concern() {
        let mut run = Run::over(&PROTOCOL, Transport::Ip);
        for (side, bytes) in sample().said {
            run.send(side, &bytes);
        }
        run.send(Side::Client, &[8, 0, 0, 0, 0, 7, 0, 2]);
        run.pass(60 * SECOND);
        assert_eq!(
            run.table(&["function", "target", "status", "status_code"]),
            [
                "echo||ok|",
                "destination_unreachable|udp 10.0.0.1:12345 > 10.0.0.2:53|one_way|port_unreachable",
                "echo||no_reply|"
            ]
        );
    }

    #[test]
    fn neighbours_and_routers_of_version_6() {
        let mut flow = Run::over(&PROTOCOL, Transport::Ip);
        flow.flow.client.address = "fe80::1".into();
        let mut icmp = Icmp { six: true, exchanges: Exchanges::new(NAME, TIMEOUT) };
        let mut body = vec![134, 0, 0, 0, 64, 0x80, 7, 8, 0, 0, 0, 0, 0, 0, 0, 0, 3, 4, 64, 0xc0];
        body.extend([0; 12]);
        body.extend(Ipv6Addr::LOCALHOST.octets());
        let mut rows = Vec::new();
        let mut cx = Cx { flow: &flow.flow, time: 1, observed: 1, settings: &flow.settings, out: &mut rows };
        icmp.read(&mut cx, Side::Client, &body).unwrap();
        assert_eq!(rows[0].text("function"), "router_advertisement");
        assert_eq!(rows[0].text("values"), "[\"::1/64\"]");
    }
}
