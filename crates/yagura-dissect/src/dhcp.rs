//! DHCP for IPv4 (RFC 2131, RFC 2132): who asks for an address, what it calls itself, and who
//! gives it one.
//!
//! A renewal is paired with its answer. What goes to all stations is a row of its own: the answer
//! travels between other addresses.
//!
//! The options are read here and not with the crate dhcproto: it ends the list in silence at the
//! first option that is cut, where a malformed record is due, and brings a DNS library and a random
//! number generator.

use std::net::Ipv4Addr;

use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::{IdentityRow, Row};
use yagura_event::vocabulary::{operation, status};

use crate::cursor::{Cursor, Cut};
use crate::exchange::Exchanges;
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Probe, Protocol, Side, json};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::udp(&[67, 68])],
    probe: |glimpse| if header(glimpse.bytes) { Probe::Yes } else { Probe::No },
    start,
    buffer_bytes_max: 65_535,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "dhcp";
const TIMEOUT: Micros = 30 * SECOND;
/// Where the options begin, behind the magic cookie.
const OPTIONS: usize = 240;
const COOKIE: [u8; 4] = [99, 130, 83, 99];
/// Most clients of a conversation whose identity is remembered, so that it is said once.
const KNOWN_MAX: usize = 256;

fn start(_flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(Dhcp { exchanges: Exchanges::new(NAME, TIMEOUT), known: Vec::new() }))
}

fn header(bytes: &[u8]) -> bool {
    matches!(bytes, [1 | 2, _, 0..=16, ..]) && bytes.get(OPTIONS - 4..OPTIONS) == Some(&COOKIE)
}

struct Dhcp {
    exchanges: Exchanges<u32>,
    /// Hardware addresses and names that were said already.
    known: Vec<([u8; 6], String)>,
}

/// What the options of a message say.
#[derive(Default)]
struct Options<'a> {
    kind: u8,
    requested: Option<[u8; 4]>,
    server: Option<[u8; 4]>,
    router: Option<[u8; 4]>,
    mask: Option<[u8; 4]>,
    dns: Vec<[u8; 4]>,
    lease: Option<u32>,
    host: &'a [u8],
    full_name: &'a [u8],
    vendor: &'a [u8],
    domain: &'a [u8],
    message: &'a [u8],
    asked: &'a [u8],
}

fn options(bytes: &[u8]) -> Result<Options<'_>, Cut> {
    let mut out = Options::default();
    let mut cursor = Cursor::new(bytes);
    while let Some(code) = cursor.peek() {
        cursor.skip(1, "option")?;
        match code {
            0 => continue,
            255 => break,
            _ => {}
        }
        let length = cursor.u8("option_length")?;
        let body = cursor.take(usize::from(length), "option_length")?;
        let address = body.first_chunk::<4>().copied();
        match code {
            1 => out.mask = address,
            3 => out.router = address,
            6 => out.dns = body.as_chunks::<4>().0.iter().take(4).copied().collect(),
            12 => out.host = body,
            15 => out.domain = body,
            50 => out.requested = address,
            51 => out.lease = address.map(u32::from_be_bytes),
            53 => out.kind = body.first().copied().unwrap_or(0),
            54 => out.server = address,
            55 => out.asked = body,
            56 => out.message = body,
            60 => out.vendor = body,
            81 => out.full_name = body.get(3..).unwrap_or_default(),
            _ => {}
        }
    }
    Ok(out)
}

fn name(kind: u8, op: u8) -> &'static str {
    match kind {
        1 => "DHCPDISCOVER",
        2 => "DHCPOFFER",
        3 => "DHCPREQUEST",
        4 => "DHCPDECLINE",
        5 => "DHCPACK",
        6 => "DHCPNAK",
        7 => "DHCPRELEASE",
        8 => "DHCPINFORM",
        9 => "DHCPFORCERENEW",
        10 => "DHCPLEASEQUERY",
        11 => "DHCPLEASEUNASSIGNED",
        12 => "DHCPLEASEUNKNOWN",
        13 => "DHCPLEASEACTIVE",
        _ if op == 1 => "BOOTREQUEST",
        _ => "BOOTREPLY",
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_string()
}

impl Framed for Dhcp {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        if header(bytes) { Frame::Of(bytes.len()) } else { Frame::Bad("header") }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let mut cursor = Cursor::new(frame);
        let op = cursor.u8("op")?;
        cursor.skip(3, "hardware")?;
        let transaction = cursor.u32_be("xid")?;
        cursor.skip(4, "secs")?;
        let [client, yours, _next, relay] = [
            cursor.array::<4>("ciaddr")?,
            cursor.array("yiaddr")?,
            cursor.array("siaddr")?,
            cursor.array("giaddr")?,
        ];
        let mac = cursor.array::<6>("chaddr")?;
        let read = options(frame.get(OPTIONS..).unwrap_or_default());
        let (o, wrong) = match read {
            Ok(options) => (options, None),
            Err(cut) => (Options::default(), Some(Cut { at: cut.at + OPTIONS, ..cut })),
        };
        let function = name(o.kind, op);
        let reply = op == 2;
        let found = if reply { self.exchanges.answered(side, &transaction) } else { None };
        let paired = found.is_some();
        let mut draft = found.unwrap_or_else(|| {
            let kind = if matches!(o.kind, 4 | 7) { operation::SESSION_CLOSE } else { operation::CONFIGURE };
            let asker = if reply { side.other() } else { side };
            let mut draft = self.exchanges.draft(cx, asker, kind, function);
            json::member_number(&mut draft.detail, "xid", u64::from(transaction));
            draft
        });
        let station = crate::mac_text(mac);
        let none = [0; 4];
        let subject = if reply { Some(yours) } else { o.requested.or(Some(client)) }.filter(|s| *s != none);
        if let Some(address) = subject {
            draft.target = Ipv4Addr::from(address).to_string();
        }
        let detail = &mut draft.detail;
        if paired {
            json::member_text(detail, "reply", function);
        } else {
            json::member_text(detail, "client_mac", &station);
        }
        for (name, bytes) in [
            ("host_name", o.host),
            ("full_name", o.full_name),
            ("vendor_class", o.vendor),
            ("domain", o.domain),
            ("message", o.message),
        ] {
            if !bytes.is_empty() {
                json::member_text(detail, name, &text(bytes));
            }
        }
        for (name, address) in [
            ("server", o.server),
            ("router", o.router),
            ("mask", o.mask),
            ("relay", Some(relay).filter(|r| *r != none && !paired)),
            ("client_address", Some(client).filter(|c| *c != none && !paired)),
        ] {
            if let Some(address) = address {
                json::member_text(detail, name, &Ipv4Addr::from(address).to_string());
            }
        }
        if let Some(lease) = o.lease {
            json::member_number(detail, "lease_seconds", u64::from(lease));
        }
        if !o.asked.is_empty() && !reply {
            // The list of wanted options tells systems apart.
            json::key(detail, "wanted_options");
            json::push_hex(detail, o.asked);
        }
        for server in &o.dns {
            draft.push_text(&Ipv4Addr::from(*server).to_string());
        }
        if !reply && (!o.host.is_empty() || !o.vendor.is_empty()) {
            self.identify(cx, side, mac, &station, subject, &o);
        }
        if o.kind == 6 {
            draft.deny("DHCPNAK");
        }
        if let Some(cut) = wrong {
            draft.wrong(cut);
        }
        let all = ["255.255.255.255", "0.0.0.0"];
        let open =
            [Side::Client, Side::Server].iter().any(|s| all.contains(&cx.flow.end(*s).address.as_str()));
        match (reply, paired) {
            (true, true) => self.exchanges.pair(cx, draft),
            (true, false) => {
                if open && draft.status == status::OK {
                    draft.status = status::ONE_WAY;
                }
                self.exchanges.unasked(cx, draft);
            }
            (false, _) if open || matches!(o.kind, 4 | 7) => self.exchanges.one_way(cx, draft),
            (false, _) => self.exchanges.ask(cx, transaction, draft),
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

impl Dhcp {
    /// Says what a client calls itself, once.
    fn identify(
        &mut self,
        cx: &mut Cx<'_>,
        side: Side,
        mac: [u8; 6],
        station: &str,
        address: Option<[u8; 4]>,
        o: &Options<'_>,
    ) {
        let host = text(o.host);
        if self.known.iter().any(|(m, h)| *m == mac && *h == host) {
            return;
        }
        if self.known.len() == KNOWN_MAX {
            self.known.remove(0);
        }
        let mut facts = String::new();
        json::member_text(&mut facts, "mac", station);
        json::member_text(&mut facts, "vendor_class", &text(o.vendor));
        json::end(&mut facts);
        let address = address.map(|a| Ipv4Addr::from(a).to_string());
        cx.out.push(Row::Identity(&IdentityRow {
            time: cx.time,
            observed: cx.observed,
            address: address.as_deref().unwrap_or(station),
            tool: address.as_deref().unwrap_or(cx.flow.end(side).name()),
            protocol: NAME,
            name: &host,
            detail: &facts,
            ..IdentityRow::default()
        }));
        self.known.push((mac, host));
    }
}

#[cfg(test)]
mod tests {
    use yagura_event::schema::Kind;

    use super::*;
    use crate::Transport;
    use crate::testing::{Run, Sample};

    fn message(op: u8, kind: u8, yours: u8, options: &[u8]) -> Vec<u8> {
        let mut out = vec![0; OPTIONS];
        out[..4].copy_from_slice(&[op, 1, 6, 0]);
        out[7] = 5;
        if yours != 0 {
            out[16..20].copy_from_slice(&[10, 0, 0, yours]);
        }
        out[28..34].copy_from_slice(&[2, 0, 0, 0, 0, 9]);
        out[OPTIONS - 4..].copy_from_slice(&COOKIE);
        out.extend([53, 1, kind]);
        out.extend(options);
        out.push(255);
        out
    }

    pub fn sample() -> Sample {
        let request = [&[12, 5][..], b"tool7", &[60, 3], b"PLC", &[50, 4, 10, 0, 0, 9]].concat();
        let answer = [54, 4, 10, 0, 0, 2, 51, 4, 0, 0, 0, 60];
        Sample::udp(vec![
            (Side::Client, message(1, 3, 0, &request)),
            (Side::Server, message(2, 5, 9, &answer)),
            (Side::Client, message(1, 3, 0, &request)),
            (Side::Server, message(2, 6, 0, &answer)),
        ])
    }

    #[test]
    fn a_renewal_with_its_answer_and_the_clients_identity() {
        let mut run = Run::over(&PROTOCOL, Transport::Udp);
        for (side, bytes) in sample().said {
            run.send(side, &bytes);
        }
        assert_eq!(
            run.table(&["function", "target", "status", "exchange"]),
            ["DHCPREQUEST|10.0.0.9|ok|pair", "DHCPREQUEST|10.0.0.9|denied|pair"]
        );
        let said = run.of(Kind::Identity);
        assert_eq!(said.len(), 1);
        assert_eq!((said[0].text("name"), said[0].text("address")), ("tool7", "10.0.0.9"));
        assert!(run.messages()[0].text("detail").contains("\"lease_seconds\":60"));
    }

    #[test]
    fn to_all_stations_and_cut_options() {
        let mut run = Run::over(&PROTOCOL, Transport::Udp);
        run.flow.server.address = "255.255.255.255".into();
        run.send(Side::Client, &message(1, 1, 0, &[]));
        run.send(Side::Client, &message(1, 1, 0, &[12, 200, 1]));
        assert_eq!(
            run.table(&["function", "status", "status_code"]),
            ["DHCPDISCOVER|one_way|", "BOOTREQUEST|malformed|option_length"]
        );
    }
}
