//! ARP (RFC 826) and its reverse (RFC 903): who has which address.
//!
//! A request to one station is paired with its reply. One to all is a row of its own: its answer
//! comes from a station that was not known before. A station's address is an identity, said when
//! it is new or changes.

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
    carriers: &[Carrier::link(&[0x0806, 0x8035])],
    probe: |glimpse| if glimpse.customary && header(glimpse.bytes) { Probe::Yes } else { Probe::No },
    start,
    buffer_bytes_max: LENGTH,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "arp";
const LENGTH: usize = 28;
const TIMEOUT: Micros = 5 * SECOND;
/// Most addresses of a pair of stations that are remembered.
const KNOWN_MAX: usize = 64;

fn start(_flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(Arp { exchanges: Exchanges::new(NAME, TIMEOUT), known: Vec::new() }))
}

/// Ethernet or another network of IEEE 802 (RFC 1042), and IPv4; what a frame adds behind is padding.
fn header(bytes: &[u8]) -> bool {
    matches!(bytes, [0, 1 | 6, 8, 0, 6, 4, 0, 1..=9, ..])
}

struct Arp {
    exchanges: Exchanges<[u8; 4]>,
    /// Addresses and their stations that were said already.
    known: Vec<([u8; 4], [u8; 6])>,
}

impl Framed for Arp {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        if bytes.len() < 8 || header(bytes) {
            Frame::Of(bytes.len().max(1))
        } else {
            Frame::Bad("hardware_or_protocol")
        }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let mut cursor = Cursor::new(frame);
        cursor.skip(6, "header")?;
        let number = cursor.u16_be("operation")?;
        let sender_mac = cursor.array::<6>("sender_hardware")?;
        let sender = cursor.array::<4>("sender_protocol")?;
        let target_mac = cursor.array::<6>("target_hardware")?;
        let target = cursor.array::<4>("target_protocol")?;
        let function = match number {
            1 | 2 if sender == target => "gratuitous",
            1 if sender == [0; 4] => "probe",
            1 => "request",
            2 => "reply",
            3 => "reverse_request",
            4 => "reverse_reply",
            8 => "inverse_request",
            9 => "inverse_reply",
            _ => "operation_outside_the_standard",
        };
        let reply = function == "reply";
        let found = if reply { self.exchanges.answered(side, &sender) } else { None };
        let paired = found.is_some();
        let mut draft = found.unwrap_or_else(|| {
            let asker = if reply { side.other() } else { side };
            self.exchanges.draft(cx, asker, operation::DISCOVER, function)
        });
        let subject = if reply { sender } else { target };
        if draft.target.is_empty() {
            draft.target = std::net::Ipv4Addr::from(subject).to_string();
        }
        let text = crate::mac_text(sender_mac);
        let detail = &mut draft.detail;
        if reply {
            json::member_text(detail, "is_at", &text);
        } else {
            json::member_text(detail, "sender", &std::net::Ipv4Addr::from(sender).to_string());
            json::member_text(detail, "sender_mac", &text);
            if target_mac != [0; 6] {
                json::member_text(detail, "target_mac", &crate::mac_text(target_mac));
            }
        }
        if cx.flow.end(side).address != text {
            json::member_bool(detail, "not_the_frames_sender", true);
        }
        let changed = self.learn(cx, side, sender, sender_mac);
        if let Some(before) = changed {
            json::member_text(&mut draft.detail, "was_at", &crate::mac_text(before));
        }
        let to_all = cx.flow.end(side.other()).address == "ff:ff:ff:ff:ff:ff";
        match (reply, paired) {
            (true, true) => self.exchanges.pair(cx, draft),
            (true, false) => {
                // Its request went to all, which is another conversation.
                draft.status = status::ONE_WAY;
                self.exchanges.unasked(cx, draft);
            }
            (false, _) if to_all || function != "request" => self.exchanges.one_way(cx, draft),
            (false, _) => self.exchanges.ask(cx, target, draft),
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

impl Arp {
    /// Remembers where an address is: the station that had it before.
    fn learn(&mut self, cx: &mut Cx<'_>, side: Side, address: [u8; 4], station: [u8; 6]) -> Option<[u8; 6]> {
        if address == [0; 4] {
            return None;
        }
        let before = match self.known.iter_mut().find(|(a, _)| *a == address) {
            Some((_, at)) if *at == station => return None,
            Some((_, at)) => Some(std::mem::replace(at, station)),
            None => {
                if self.known.len() == KNOWN_MAX {
                    self.known.remove(0);
                }
                self.known.push((address, station));
                None
            }
        };
        let mut facts = String::new();
        json::member_text(&mut facts, "mac", &crate::mac_text(station));
        json::end(&mut facts);
        cx.out.push(Row::Identity(&IdentityRow {
            time: cx.time,
            observed: cx.observed,
            address: &std::net::Ipv4Addr::from(address).to_string(),
            tool: cx.flow.end(side).name(),
            protocol: NAME,
            detail: &facts,
            ..IdentityRow::default()
        }));
        before
    }
}

#[cfg(test)]
mod tests {
    use yagura_event::schema::Kind;

    use super::*;
    use crate::Transport;
    use crate::testing::{Run, Sample};

    fn frame(operation: u8, from: (u8, u8), to: (u8, u8)) -> Vec<u8> {
        let mut out = vec![0, 1, 8, 0, 6, 4, 0, operation];
        for (mac, ip) in [from, to] {
            out.extend([2, 0, 0, 0, 0, mac, 10, 0, 0, ip]);
        }
        out.extend([0; 18]);
        out
    }

    pub fn sample() -> Sample {
        let said = vec![
            (Side::Client, frame(1, (1, 1), (0, 2))),
            (Side::Server, frame(2, (2, 2), (1, 1))),
            (Side::Server, frame(1, (2, 2), (0, 2))),
        ];
        Sample { transport: Transport::Link, said, customary_only: true }
    }

    #[test]
    fn requests_replies_and_changes() {
        let mut run = Run::over(&PROTOCOL, Transport::Link);
        for (side, bytes) in sample().said {
            run.send(side, &bytes);
        }
        run.send(Side::Server, &frame(2, (3, 2), (1, 1)));
        assert_eq!(
            run.table(&["function", "target", "status", "exchange"]),
            [
                "request|10.0.0.2|ok|pair",
                "gratuitous|10.0.0.2|one_way|request",
                "reply|10.0.0.2|one_way|reply"
            ]
        );
        assert!(run.messages()[2].text("detail").contains("\"was_at\":\"02:00:00:00:00:02\""));
        assert_eq!(run.of(Kind::Identity).len(), 3);
        // Behind a SNAP header the hardware is often said to be that of IEEE 802.
        assert!(header(&[0, 6, 8, 0, 6, 4, 0, 1]) && !header(&[0, 7, 8, 0, 6, 4, 0, 1]));
        run.send(Side::Client, &[0, 1, 8, 0, 6, 4, 0, 1, 9]);
        assert_eq!(run.messages()[3].text("status_code"), "sender_hardware");
        run.send(Side::Client, &frame(3, (1, 0), (1, 0)));
        assert_eq!(run.messages()[4].text("function"), "reverse_request");
    }
}
