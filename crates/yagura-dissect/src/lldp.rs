//! LLDP (IEEE 802.1AB) and CDP (Cisco): what switches and devices say of themselves.
//!
//! The announcements repeat for ever: a message and an identity are written when one is new or says
//! something else than the last.

use std::net::Ipv4Addr;

use yagura_event::rows::IdentityRow;
use yagura_event::vocabulary::operation;

use crate::cursor::{Cursor, Cut};
use crate::exchange::Exchanges;
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Probe, Protocol, Side, json};

/// The registry's entries.
pub const LLDP: Protocol = Protocol {
    name: "lldp",
    carriers: &[Carrier::link(&[0x88cc])],
    // The first TLV is the chassis.
    probe: |glimpse| {
        if glimpse.customary && matches!(glimpse.bytes, [2, 2..=255, ..]) { Probe::Yes } else { Probe::No }
    },
    start: |_| Box::new(Framing::new(Lldp(Announcements::new("lldp")))),
    buffer_bytes_max: 65_535,
    #[cfg(test)]
    sample: tests::lldp,
};

/// See [`LLDP`].
pub const CDP: Protocol = Protocol {
    name: "cdp",
    carriers: &[Carrier::link(&[0x2000])],
    probe: |glimpse| {
        if glimpse.customary && matches!(glimpse.bytes, [1 | 2, _, _, _, 0, ..]) {
            Probe::Yes
        } else {
            Probe::No
        }
    },
    start: start_cdp,
    buffer_bytes_max: 65_535,
    #[cfg(test)]
    sample: tests::cdp,
};

fn start_cdp(_flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(Cdp(Announcements::new("cdp"))))
}

/// Longest text of an announcement that is kept, in bytes.
const TEXT_MAX: usize = 512;

/// What an announcement says.
#[derive(Clone, Default, PartialEq)]
struct Facts {
    /// Chassis or device.
    device: String,
    port: String,
    name: String,
    description: String,
    model: String,
    firmware: String,
    serial: String,
    vendor: String,
    addresses: Vec<String>,
    /// Other facts, as the inside of a JSON object.
    more: String,
    lifetime: u16,
}

/// The last announcement of either end.
struct Announcements {
    protocol: &'static str,
    exchanges: Exchanges<()>,
    last: [Option<Facts>; 2],
}

impl Announcements {
    fn new(protocol: &'static str) -> Self {
        Announcements { protocol, exchanges: Exchanges::new(protocol, 0), last: [None, None] }
    }

    fn say(&mut self, cx: &mut Cx<'_>, side: Side, facts: Facts) {
        let last = &mut self.last[side as usize];
        if last.as_ref() == Some(&facts) {
            return;
        }
        let changed = last.is_some();
        let mut draft = self.exchanges.draft(cx, side, operation::REPORT, "announcement");
        draft.equipment = side;
        draft.target.clone_from(&facts.device);
        let mut shown = String::new();
        for (name, text) in [
            ("device", &facts.device),
            ("port", &facts.port),
            ("name", &facts.name),
            ("description", &facts.description),
        ] {
            if !text.is_empty() {
                json::member_text(&mut shown, name, text);
            }
        }
        json::member_number(&mut shown, "lifetime", u64::from(facts.lifetime));
        if !facts.more.is_empty() {
            shown.push(',');
            shown.push_str(&facts.more[1..]);
        }
        draft.detail.push_str(&shown);
        json::member_bool(&mut draft.detail, "changed", changed);
        json::end(&mut shown);
        for address in &facts.addresses {
            draft.push_text(address);
        }
        self.exchanges.one_way(cx, draft);
        let row = IdentityRow {
            vendor: &facts.vendor,
            model: &facts.model,
            firmware: &facts.firmware,
            serial: &facts.serial,
            name: if facts.name.is_empty() { &facts.device } else { &facts.name },
            detail: &shown,
            ..IdentityRow::default()
        };
        cx.identity(self.protocol, side, row);
        self.last[side as usize] = Some(facts);
    }
}

fn text(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(TEXT_MAX)];
    String::from_utf8_lossy(cut).trim_end_matches('\0').to_string()
}

/// A chassis or port identifier: its subtype tells whether it is an address or a text.
fn identifier(body: &[u8], mac: u8, network: u8) -> String {
    match body {
        &[kind, a, b, c, d, e, f] if kind == mac => crate::mac_text([a, b, c, d, e, f]),
        [kind, 1, a, b, c, d] if *kind == network => Ipv4Addr::new(*a, *b, *c, *d).to_string(),
        [_, rest @ ..] => text(rest),
        [] => String::new(),
    }
}

struct Lldp(Announcements);

impl Framed for Lldp {
    const PROTOCOL: &'static str = "lldp";

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        Frame::Of(bytes.len().max(1))
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let mut cursor = Cursor::new(frame);
        let mut facts = Facts::default();
        while !cursor.is_empty() {
            let head = cursor.u16_be("tlv")?;
            let body = cursor.take(usize::from(head & 0x1ff), "tlv_length")?;
            match (head >> 9, body) {
                (0, _) => break,
                (1, _) => facts.device = identifier(body, 4, 5),
                (2, _) => facts.port = identifier(body, 3, 4),
                (3, &[high, low, ..]) => facts.lifetime = u16::from_be_bytes([high, low]),
                (4, _) => json::member_text(&mut facts.more, "port_description", &text(body)),
                (5, _) => facts.name = text(body),
                (6, _) => facts.description = text(body),
                (7, &[_, _, high, low, ..]) => {
                    json::member_number(
                        &mut facts.more,
                        "capabilities",
                        u64::from(u16::from_be_bytes([high, low])),
                    );
                }
                (8, &[5, 1, a, b, c, d, ..]) if facts.addresses.len() < 8 => {
                    facts.addresses.push(Ipv4Addr::new(a, b, c, d).to_string());
                }
                (127, &[0, 0x80, 0xc2, 1, high, low]) => {
                    json::member_number(
                        &mut facts.more,
                        "port_vlan",
                        u64::from(u16::from_be_bytes([high, low])),
                    );
                }
                // LLDP-MED inventory (ANSI/TIA-1057, 10.2.6).
                (127, &[0, 0x12, 0xbb, kind @ 5..=11, ref rest @ ..]) => match kind {
                    6 | 7 if facts.firmware.is_empty() => facts.firmware = text(rest),
                    8 => facts.serial = text(rest),
                    9 => facts.vendor = text(rest),
                    10 => facts.model = text(rest),
                    _ => {}
                },
                // PROFINET (IEC 61158-6-10): the port's status and the chassis' address.
                (127, &[0, 0x0e, 0xcf, 5, a, b, c, d, e, f]) => {
                    let mac = crate::mac_text([a, b, c, d, e, f]);
                    json::member_text(&mut facts.more, "profinet_mac", &mac);
                }
                _ => {}
            }
        }
        cursor.check(!facts.device.is_empty(), "chassis_id")?;
        self.0.say(cx, side, facts);
        Ok(())
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, _side: Side) {}

    fn expire(&mut self, _cx: &mut Cx<'_>) {}

    fn close(&mut self, _cx: &mut Cx<'_>) {}
}

struct Cdp(Announcements);

impl Framed for Cdp {
    const PROTOCOL: &'static str = "cdp";

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        Frame::Of(bytes.len().max(1))
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let mut cursor = Cursor::new(frame);
        let version = cursor.u8("version")?;
        let mut facts =
            Facts { lifetime: u16::from(cursor.u8("ttl")?), vendor: "Cisco".into(), ..Facts::default() };
        cursor.skip(2, "checksum")?;
        json::member_number(&mut facts.more, "version", u64::from(version));
        while cursor.remaining() >= 4 {
            let kind = cursor.u16_be("tlv")?;
            let length = usize::from(cursor.u16_be("tlv_length")?);
            cursor.check(length >= 4, "tlv_length")?;
            let body = cursor.take(length - 4, "tlv_length")?;
            match kind {
                1 => facts.device = text(body),
                2 | 0x16 => addresses(body, &mut facts.addresses)?,
                3 => facts.port = text(body),
                4 => {
                    if let Some(four) = body.first_chunk::<4>() {
                        json::member_number(
                            &mut facts.more,
                            "capabilities",
                            u64::from(u32::from_be_bytes(*four)),
                        );
                    }
                }
                5 => facts.firmware = text(body),
                6 => facts.model = text(body),
                9 if !body.is_empty() => json::member_text(&mut facts.more, "vtp_domain", &text(body)),
                10 => {
                    if let Some(two) = body.first_chunk::<2>() {
                        json::member_number(
                            &mut facts.more,
                            "native_vlan",
                            u64::from(u16::from_be_bytes(*two)),
                        );
                    }
                }
                _ => {}
            }
        }
        cursor.check(!facts.device.is_empty(), "device_id")?;
        self.0.say(cx, side, facts);
        Ok(())
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, _side: Side) {}

    fn expire(&mut self, _cx: &mut Cx<'_>) {}

    fn close(&mut self, _cx: &mut Cx<'_>) {}
}

fn addresses(body: &[u8], out: &mut Vec<String>) -> Result<(), Cut> {
    let mut cursor = Cursor::new(body);
    let many = cursor.u32_be("addresses")?;
    for _ in 0..many.min(8) {
        cursor.skip(1, "address_protocol")?;
        let length = cursor.u8("address_protocol")?;
        let protocol = cursor.take(usize::from(length), "address_protocol")?;
        let length = cursor.u16_be("address")?;
        let address = cursor.take(usize::from(length), "address")?;
        if let (&[0xcc], &[a, b, c, d]) = (protocol, address) {
            let text = Ipv4Addr::new(a, b, c, d).to_string();
            if out.len() < 8 && !out.contains(&text) {
                out.push(text);
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use yagura_event::schema::Kind;

    use super::*;
    use crate::Transport;
    use crate::testing::{Run, Sample};

    fn announcement(name: &str) -> Vec<u8> {
        let mut out =
            vec![2, 7, 4, 0, 1, 2, 3, 4, 5, 4, 3, 7, b'p', b'1', 6, 2, 0, 120, 10, name.len() as u8];
        out.extend(name.as_bytes());
        out.extend([0x10, 12, 5, 1, 10, 0, 0, 9, 2, 0, 0, 0, 1, 0, 0, 0]);
        out
    }

    fn link(said: Vec<Vec<u8>>) -> Sample {
        let said = said.into_iter().map(|bytes| (Side::Client, bytes)).collect();
        Sample { transport: Transport::Link, said, customary_only: true }
    }

    pub fn lldp() -> Sample {
        link(vec![announcement("sw1"), announcement("sw1"), announcement("sw2")])
    }

    fn device(name: &str) -> Vec<u8> {
        let mut out = vec![2, 180, 0, 0, 0, 1, 0, 4 + name.len() as u8];
        out.extend(name.as_bytes());
        out.extend(b"\x00\x02\x00\x11\x00\x00\x00\x01\x01\x01\xcc\x00\x04\x0a\x00\x00\x07");
        out.extend(b"\x00\x06\x00\x09C2960");
        out
    }

    pub fn cdp() -> Sample {
        link(vec![device("sw1"), device("sw1"), device("sw7")])
    }

    #[test]
    fn announcements_are_said_when_they_change() {
        for (protocol, sample, address) in [(&LLDP, lldp(), "10.0.0.9"), (&CDP, cdp(), "10.0.0.7")] {
            let mut run = Run::over(protocol, Transport::Link);
            for (side, bytes) in sample.said {
                run.send(side, &bytes);
            }
            assert_eq!(run.table(&["values"]), vec![format!("[\"{address}\"]"); 2], "{}", protocol.name);
            let names: Vec<_> = run.of(Kind::Identity).iter().map(|r| r.text("name").to_string()).collect();
            assert_eq!(names.len(), 2);
            assert_eq!(names[0], "sw1");
            run.send(Side::Client, &[2, 180, 0, 0, 0, 1, 0, 200]);
            assert_eq!(run.messages()[2].text("status"), "malformed");
        }
    }
}
