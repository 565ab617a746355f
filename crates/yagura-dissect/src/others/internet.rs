//! Protocols in datagrams and directly on IP.

use std::net::Ipv4Addr;

use yagura_event::vocabulary::operation;

use super::Said;
use crate::Side;
use crate::cursor::Cursor;

/// Longest text that becomes a target.
const TEXT_MAX: usize = 255;

fn be(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2)?.first_chunk().map(|two| u16::from_be_bytes(*two))
}

fn be4(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4)?.first_chunk().map(|four| u32::from_be_bytes(*four))
}

fn address(bytes: &[u8], at: usize) -> Option<String> {
    be4(bytes, at).map(|four| Ipv4Addr::from(four).to_string())
}

pub(super) fn coap(_side: Side, bytes: &[u8], _first: bool) -> Option<Said> {
    let [first, code, _, _, rest @ ..] = bytes else { return None };
    let token = usize::from(first & 15);
    if first >> 6 != 1 || token > 8 || rest.len() < token {
        return None;
    }
    let (does, function) = match code {
        0 => return (rest.is_empty()).then(|| Said::keeps("empty")),
        1 => (operation::READ, "get"),
        2 => (operation::WRITE, "post"),
        3 => (operation::WRITE, "put"),
        4 => (operation::CONTROL, "delete"),
        5 => (operation::READ, "fetch"),
        6 | 7 => (operation::WRITE, "patch"),
        0x41..=0x5f => (operation::REPORT, "success"),
        0x80..=0x9f => (operation::ERROR, "client_error"),
        0xa0..=0xbf => (operation::ERROR, "server_error"),
        _ => return None,
    };
    let target = if *code < 32 { path(&rest[token..])? } else { format!("{}.{:02}", code >> 5, code & 31) };
    Some(Said::new(does, function).about(target))
}

/// The path of a request (RFC 7252, 3.1): options of number 11.
fn path(options: &[u8]) -> Option<String> {
    let mut c = Cursor::new(options);
    let (mut number, mut out) = (0_u32, String::new());
    while let Some(first) = c.peek().filter(|byte| *byte != 0xff) {
        c.skip(1, "option").ok()?;
        let mut extended = |nibble: u8| -> Option<u32> {
            match nibble {
                13 => c.u8("option").ok().map(|n| u32::from(n) + 13),
                14 => c.u16_be("option").ok().map(|n| u32::from(n) + 269),
                15 => None,
                n => Some(u32::from(n)),
            }
        };
        let (delta, length) = (extended(first >> 4)?, extended(first & 15)?);
        number += delta;
        let value = c.take(length as usize, "option").ok()?;
        if number == 11 && out.len() + value.len() < TEXT_MAX {
            out.push('/');
            out.push_str(&String::from_utf8_lossy(value));
        }
    }
    Some(out)
}

pub(super) fn dtls(_side: Side, bytes: &[u8], first: bool) -> Option<Said> {
    let mut rest = bytes;
    let mut told = None;
    while !rest.is_empty() {
        // The unified header of version 1.3 (RFC 9147, 4): its fixed bits are 001.
        if !first && rest[0] >> 5 == 1 {
            told.get_or_insert(("protected", 23));
            break;
        }
        let [kind @ 20..=26, high, low, ..] = rest else { return None };
        if !matches!((high, low), (0xfe, 0xff | 0xfd) | (1, 0)) {
            return None;
        }
        // With a connection identifier (type 25) the length stands further behind.
        if *kind == 25 {
            told.get_or_insert(("protected", *kind));
            break;
        }
        let length = usize::from(be(rest, 11)?);
        let body = rest.get(13..13 + length)?;
        let name = match (kind, body) {
            (22, [1, ..]) => "client_hello",
            (22, [2, ..]) => "server_hello",
            (22, [3, ..]) => "hello_verify_request",
            (22, _) => "handshake",
            (20, _) => "change_cipher_spec",
            (21, _) => "alert",
            (26, _) => "ack",
            _ => "protected",
        };
        told.get_or_insert((name, *kind));
        rest = &rest[13 + length..];
    }
    let (name, _) = told?;
    Some(match name {
        "protected" => Said::keeps(name).opaque("DTLS: what is inside is encrypted"),
        "alert" => Said::new(operation::ERROR, name),
        "ack" => Said::keeps(name),
        _ => Said::new(operation::SESSION_OPEN, name),
    })
}

/// The versions of QUIC that are known, drafts among them.
fn quic_version(version: u32) -> Option<&'static str> {
    Some(match version {
        0 => "negotiation",
        1 => "1",
        0x6b33_43cf => "2",
        // "Q0nn", and the two with TLS, "T050" and "T051".
        0x5130_3030..=0x5130_3939 | 0x5430_3530..=0x5430_3531 => "google",
        0xfaceb000..=0xfaceb01f => "mvfst",
        v if v >> 8 == 0x00ff_0000 >> 8 || v & 0xffff_ff00 == 0xff00_0000 => "draft",
        v if v & 0x0f0f_0f0f == 0x0a0a_0a0a => "greased",
        _ => return None,
    })
}

pub(super) fn quic(_side: Side, bytes: &[u8], first: bool) -> Option<Said> {
    let head = *bytes.first()?;
    let hidden = "QUIC: what is inside is encrypted";
    if head & 0x80 == 0 {
        return (!first && head & 0x40 != 0).then(|| Said::keeps("protected").opaque(hidden));
    }
    let version = be4(bytes, 1)?;
    let name = quic_version(version)?;
    let target = usize::from(*bytes.get(5)?);
    let source = usize::from(*bytes.get(6 + target)?);
    let rest = bytes.get(7 + target + source..)?;
    if target > 20 || source > 20 {
        return None;
    }
    if version == 0 {
        let fits = !rest.is_empty() && rest.len() % 4 == 0;
        return fits.then(|| Said::new(operation::SESSION_OPEN, "version_negotiation"));
    }
    if head & 0x40 == 0 {
        return None;
    }
    // Version 2 counts its types anew (RFC 9369, 3.2).
    let kind = if version == 0x6b33_43cf { (head >> 4 & 3).wrapping_sub(1) & 3 } else { head >> 4 & 3 };
    let function = ["initial", "zero_rtt", "handshake", "retry"][usize::from(kind)];
    // A first packet is filled up, so that nothing else is taken for it.
    if first && (function != "initial" || bytes.len() < 1200) {
        return None;
    }
    Some(Said::new(operation::SESSION_OPEN, function).about(name).opaque(hidden))
}

pub(super) fn stun(_side: Side, bytes: &[u8], first: bool) -> Option<Said> {
    let (kind, length) = (be(bytes, 0)?, usize::from(be(bytes, 2)?));
    if be4(bytes, 4) != Some(0x2112_a442) || length % 4 != 0 {
        // Data of a channel (RFC 8656, 12.4).
        let channel = !first && (0x4000..0x5000).contains(&kind);
        return channel.then(|| Said::keeps("channel_data"));
    }
    (kind < 0x4000 && bytes.len() == 20 + length).then_some(())?;
    let class = ["request", "indication", "success", "error"][usize::from(kind >> 4 & 1 | kind >> 7 & 2)];
    let method = match kind & 0xf | kind >> 1 & 0x70 | kind >> 2 & 0xf80 {
        1 => "binding",
        3 => "allocate",
        4 => "refresh",
        6 => "send",
        7 => "data",
        8 => "create_permission",
        9 => "channel_bind",
        _ => "other",
    };
    Some(Said::new(operation::DISCOVER, method).about(class))
}

pub(super) fn gtp(_side: Side, bytes: &[u8], _first: bool) -> Option<Said> {
    let [head, kind, ..] = *bytes else { return None };
    let length = usize::from(be(bytes, 2)?);
    let (version, primed) = (head >> 5, head & 0x10 == 0);
    let fits = match version {
        0 | 1 if primed => bytes.len() == 6 + length || bytes.len() == 20 + length,
        1 => bytes.len() == 8 + length,
        2 => bytes.len() == 4 + length,
        _ => false,
    };
    fits.then_some(())?;
    let opens = |function| Said::new(operation::SESSION_OPEN, function);
    let closes = |function| Said::new(operation::SESSION_CLOSE, function);
    Some(match (version, kind) {
        (_, 1) => Said::keeps("echo_request"),
        (_, 2) => Said::keeps("echo_response"),
        (1, 16) => opens("create_pdp_context_request"),
        (1, 17) => opens("create_pdp_context_response"),
        (1, 18) => opens("update_pdp_context_request"),
        (1, 19) => opens("update_pdp_context_response"),
        (1, 20) => closes("delete_pdp_context_request"),
        (1, 21) => closes("delete_pdp_context_response"),
        (1, 26) => Said::new(operation::ERROR, "error_indication"),
        (1, 31) => Said::keeps("supported_extension_headers"),
        (1, 254) => closes("end_marker"),
        (1, 255) => Said::keeps("packet"),
        (2, 32) => opens("create_session_request"),
        (2, 33) => opens("create_session_response"),
        (2, 34) => opens("modify_bearer_request"),
        (2, 35) => opens("modify_bearer_response"),
        (2, 36) => closes("delete_session_request"),
        (2, 37) => closes("delete_session_response"),
        _ => Said::new(operation::OTHER, "message").about(kind.to_string()),
    })
}

pub(super) fn gprs_ns(_side: Side, bytes: &[u8], _first: bool) -> Option<Said> {
    let function = match bytes {
        [0, 0, _, _, _, ..] => "unit_data",
        [2, 0 | 1, ..] => "reset",
        [3, ..] if bytes.len() < 16 => "reset_ack",
        [4 | 6, ..] if bytes.len() < 16 => "block",
        [5 | 7, ..] if bytes.len() < 16 => "block_ack",
        [8, 0, ..] => "status",
        [10] => "alive",
        [11] => "alive_ack",
        _ => return None,
    };
    Some(Said::keeps(function))
}

pub(super) fn rip(_side: Side, bytes: &[u8], _first: bool) -> Option<Said> {
    let [command @ 1..=2, version @ 1..=2, _, _, entries @ ..] = bytes else { return None };
    let fits = entries.len() % 20 == 0 && !entries.is_empty();
    let said = if *command == 1 {
        Said::new(operation::DISCOVER, "request")
    } else {
        Said::new(operation::REPORT, "response")
    };
    fits.then(|| said.about(format!("version {version}")))
}

pub(super) fn sflow(_side: Side, bytes: &[u8], _first: bool) -> Option<Said> {
    let fits = be4(bytes, 0) == Some(5) && matches!(be4(bytes, 4), Some(1 | 2));
    let agent = if be4(bytes, 4) == Some(1) { address(bytes, 8) } else { None };
    fits.then(|| Said::new(operation::REPORT, "datagram").about(agent.unwrap_or_default()))
}

pub(super) fn sap(_side: Side, bytes: &[u8], _first: bool) -> Option<Said> {
    let [flags, authentication, _, _, rest @ ..] = bytes else { return None };
    let origin = if flags & 0x10 != 0 { 16 } else { 4 };
    let body = rest.get(origin + 4 * usize::from(*authentication)..)?;
    let body = body.strip_prefix(b"application/sdp\0").unwrap_or(body);
    let plain = flags & 3 == 0;
    if flags >> 5 != 1 || (plain && !body.starts_with(b"v=0")) {
        return None;
    }
    let mut lines = body.split(|byte| *byte == b'\n');
    let name = lines.find_map(|line| line.strip_prefix(b"s=")).unwrap_or_default();
    let name = String::from_utf8_lossy(&name[..name.len().min(TEXT_MAX)]).trim_end().to_string();
    let function = if flags & 4 != 0 { "deletion" } else { "announcement" };
    Some(Said::new(operation::REPORT, function).about(if plain { name } else { String::new() }))
}

pub(super) fn zep(_side: Side, bytes: &[u8], _first: bool) -> Option<Said> {
    match bytes {
        [b'E', b'X', 1, channel, ..] => Some(Said::keeps("data").about(format!("channel {channel}"))),
        [b'E', b'X', 2 | 3, 1, channel, ..] => Some(Said::keeps("data").about(format!("channel {channel}"))),
        [b'E', b'X', 2 | 3, 2, ..] => Some(Said::keeps("ack")),
        _ => None,
    }
}

pub(super) fn dropbox(_side: Side, bytes: &[u8], _first: bool) -> Option<Said> {
    let fits = bytes.starts_with(b"{") && bytes.windows(10).any(|ten| ten == b"\"host_int\"");
    fits.then(|| Said::new(operation::DISCOVER, "discovery"))
}

pub(super) fn dhcpv6(_side: Side, bytes: &[u8], _first: bool) -> Option<Said> {
    let (kind, options) = (
        *bytes.first()?,
        match bytes.first()? {
            12 | 13 => bytes.get(34..)?,
            _ => bytes.get(4..)?,
        },
    );
    // Options whose lengths fill the message.
    let mut c = Cursor::new(options);
    while !c.is_empty() {
        c.skip(2, "option").ok()?;
        let length = c.u16_be("option_length").ok()?;
        c.skip(length.into(), "option_length").ok()?;
    }
    let names = [
        "solicit",
        "advertise",
        "request",
        "confirm",
        "renew",
        "rebind",
        "reply",
        "release",
        "decline",
        "reconfigure",
        "information_request",
        "relay_forward",
        "relay_reply",
    ];
    let name = names.get(usize::from(kind).checked_sub(1)?)?;
    Some(Said::new(operation::CONFIGURE, name))
}

pub(super) fn igmp(_side: Side, bytes: &[u8], _first: bool) -> Option<Said> {
    let function = match (bytes.first()?, bytes.len()) {
        (0x11, 8..) => "membership_query",
        (0x12, 8..) => "report_1",
        (0x16, 8..) => "report_2",
        (0x17, 8..) => "leave",
        (0x22, 8..) => {
            // The first group of version 3's list.
            let group = address(bytes, 12).unwrap_or_default();
            return Some(Said::keeps("report_3").about(group));
        }
        (0x13 | 0x14, 8..) => "routing",
        (0x30..=0x32, 4..) => "router_discovery",
        _ => return None,
    };
    Some(Said::keeps(function).about(address(bytes, 4).unwrap_or_default()))
}

pub(super) fn ospf(_side: Side, bytes: &[u8], _first: bool) -> Option<Said> {
    let [2..=3, kind @ 1..=5, ..] = bytes else { return None };
    let length = usize::from(be(bytes, 2)?);
    let names =
        ["hello", "database_description", "link_state_request", "link_state_update", "link_state_ack"];
    let router = address(bytes, 4)?;
    (length >= 16).then(|| Said::keeps(names[usize::from(kind - 1)]).about(router))
}

pub(super) fn vrrp(_side: Side, bytes: &[u8], _first: bool) -> Option<Said> {
    let [0x21 | 0x31, router, priority, count, ..] = bytes else { return None };
    let function = if *priority == 0 { "resignation" } else { "advertisement" };
    (*count > 0 && bytes.len() >= 12).then(|| Said::keeps(function).about(router.to_string()))
}

pub(super) fn pim(_side: Side, bytes: &[u8], _first: bool) -> Option<Said> {
    let names = [
        "hello",
        "register",
        "register_stop",
        "join_prune",
        "bootstrap",
        "assert",
        "graft",
        "graft_ack",
        "candidate_rp",
    ];
    let head = *bytes.first()?;
    let name = names.get(usize::from(head & 15))?;
    (head >> 4 == 2 && bytes.len() >= 4).then(|| Said::keeps(name))
}

pub(super) fn sctp(_side: Side, bytes: &[u8], _first: bool) -> Option<Said> {
    let [_, _, high, low, ..] = *bytes else { return None };
    let chunk = bytes.get(12..)?;
    let length = usize::from(be(chunk, 2)?);
    (length >= 4).then_some(())?;
    let port = u16::from_be_bytes([high, low]);
    let opens = |function| Some(Said::new(operation::SESSION_OPEN, function).about(port.to_string()));
    match chunk[0] {
        0 => {
            let what = match be4(chunk, 12) {
                Some(3) => "m3ua",
                Some(2) => "m2ua",
                Some(4) => "sua",
                Some(5) => "m2pa",
                Some(18) => "s1ap",
                Some(27) => "x2ap",
                Some(46) => "diameter",
                Some(60) => "ngap",
                _ => "data",
            };
            Some(Said::new(operation::OTHER, "data").about(what))
        }
        1 => opens("init"),
        2 => opens("init_ack"),
        3 => Some(Said::keeps("sack")),
        4 => Some(Said::keeps("heartbeat")),
        5 => Some(Said::keeps("heartbeat_ack")),
        6 => Some(Said::new(operation::SESSION_CLOSE, "abort")),
        7 | 8 | 14 => Some(Said::new(operation::SESSION_CLOSE, "shutdown")),
        9 => Some(Said::new(operation::ERROR, "error")),
        10 => opens("cookie_echo"),
        11 => opens("cookie_ack"),
        _ => Some(Said::keeps("chunk")),
    }
}
