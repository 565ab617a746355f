//! Protocols that are identified and counted: a name, what its messages are called, and whom or
//! what they are about. Each is a probe and a line of text; none keeps a state of its own.
//!
//! Every message is counted under its function and target; a row tells how many there were in a
//! while. A protocol that grows beyond that becomes a file of its own.

use yagura_event::vocabulary::operation;

use crate::cyclic::{Cyclic, Tally};
use crate::exchange::Exchanges;
use crate::framing::{Frame, Framed, Framing};
use crate::{Carrier, Cx, Dissector, FlowInfo, Probe, Protocol, Side, json};

mod internet;
mod link;
mod streams;
#[cfg(test)]
mod tests;

/// What one message says.
#[derive(Debug, Default, PartialEq, Eq)]
struct Said {
    /// See [`yagura_event::vocabulary::operation`].
    operation: &'static str,
    function: &'static str,
    target: String,
    /// Why what follows cannot be read, where that is so.
    opaque: &'static str,
}

impl Said {
    fn new(operation: &'static str, function: &'static str) -> Said {
        Said { operation, function, ..Said::default() }
    }

    fn keeps(function: &'static str) -> Said {
        Said::new(operation::SESSION_KEEP, function)
    }

    fn about(self, target: impl Into<String>) -> Said {
        Said { target: target.into(), ..self }
    }

    fn opaque(self, why: &'static str) -> Said {
        Said { opaque: why, ..self }
    }
}

/// A protocol of this kind.
trait Kind: Send + 'static {
    const NAME: &'static str;

    /// What a message says; `None` where it is none of this protocol. `first` is true of the message
    /// by which a conversation is told: then everything must fit.
    fn says(side: Side, bytes: &[u8], first: bool) -> Option<Said>;

    /// Where the message ends that a stream's bytes begin with. A datagram is one.
    fn frame(_side: Side, bytes: &[u8]) -> Frame {
        Frame::Of(bytes.len().max(1))
    }
}

/// One conversation.
struct Seen<K> {
    exchanges: Exchanges<()>,
    cyclic: Cyclic<(&'static str, &'static str, String)>,
    said_opaque: bool,
    kind: std::marker::PhantomData<K>,
}

fn start<K: Kind>(_flow: &FlowInfo) -> Box<dyn Dissector> {
    Box::new(Framing::new(Seen::<K> {
        exchanges: Exchanges::new(K::NAME, 0),
        cyclic: Cyclic::new(),
        said_opaque: false,
        kind: std::marker::PhantomData,
    }))
}

impl<K: Kind> Seen<K> {
    fn write(&mut self, cx: &mut Cx<'_>, kind: (&'static str, &'static str, String), tally: Tally) {
        let (does, function, target) = kind;
        let mut draft = self.exchanges.draft(cx, tally.side, does, function);
        draft.time = tally.since;
        draft.target = target;
        draft.set_count(tally.count);
        json::member_number(&mut draft.detail, "bytes", tally.bytes);
        self.exchanges.one_way(cx, draft);
    }
}

impl<K: Kind> Framed for Seen<K> {
    const PROTOCOL: &'static str = K::NAME;

    fn frame(&self, side: Side, bytes: &[u8]) -> Frame {
        K::frame(side, bytes)
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), crate::cursor::Cut> {
        // What does not fit is another's on the same ports, or a kind that came later.
        let said = K::says(side, frame, false).unwrap_or(Said::new(operation::OTHER, "other"));
        if !said.opaque.is_empty() && !std::mem::replace(&mut self.said_opaque, true) {
            cx.opaque(K::NAME, said.opaque);
        }
        let kind = (said.operation, said.function, said.target);
        if let Some((kind, tally)) = self.cyclic.count(cx, kind, side, frame.len()) {
            self.write(cx, kind, tally);
        }
        Ok(())
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, _side: Side) {}

    fn expire(&mut self, cx: &mut Cx<'_>) {
        while let Some((kind, tally)) = self.cyclic.over(cx) {
            self.write(cx, kind, tally);
        }
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        while let Some((kind, tally)) = self.cyclic.any() {
            self.write(cx, kind, tally);
        }
    }
}

/// Declares the registry's entries: a constant, the name, what it runs on, whether it is believed on
/// its customary numbers only, the longest message, and what reads it.
macro_rules! seen {
    ($($(#[$meta:meta])* $entry:ident: $kind:ident = $name:literal, [$($carrier:expr),*], $customary:literal, $max:literal, $says:path $(, $frame:path)?;)*) => {
        $(
            struct $kind;

            impl Kind for $kind {
                const NAME: &'static str = $name;

                fn says(side: Side, bytes: &[u8], first: bool) -> Option<Said> {
                    $says(side, bytes, first)
                }

                $(fn frame(side: Side, bytes: &[u8]) -> Frame {
                    $frame(side, bytes)
                })?
            }

            $(#[$meta])*
            pub const $entry: Protocol = Protocol {
                name: $name,
                carriers: &[$($carrier),*],
                probe: |glimpse| {
                    let allowed = glimpse.customary || !$customary;
                    let fits = allowed && $says(glimpse.side, glimpse.bytes, true).is_some();
                    if fits { Probe::Yes } else { Probe::No }
                },
                start: start::<$kind>,
                buffer_bytes_max: $max,
                #[cfg(test)]
                sample: || tests::sample($name, $customary),
            };
        )*

        /// All of them, for the tests.
        #[cfg(test)]
        static ALL: &[Protocol] = &[$($entry),*];
    };
}

seen! {
    /// CoAP (RFC 7252).
    COAP: Coap = "coap", [Carrier::udp(&[5683])], true, 65535, internet::coap;
    /// DTLS (RFC 6347, RFC 9147).
    DTLS: Dtls = "dtls", [Carrier::udp(&[443, 4433, 5684])], false, 65535, internet::dtls;
    /// QUIC (RFC 9000, RFC 9369).
    QUIC: Quic = "quic", [Carrier::udp(&[443])], false, 65535, internet::quic;
    /// STUN and TURN (RFC 8489).
    STUN: Stun = "stun", [Carrier::udp(&[3478, 5349, 19302])], false, 65535, internet::stun;
    /// GTP, versions 1 and 2 (3GPP TS 29.060, 29.274): what is not a tunnel's packet.
    GTP: Gtp = "gtp", [Carrier::udp(&[2123, 2152, 3386])], true, 65535, internet::gtp;
    /// The network service of GPRS (3GPP TS 48.016).
    GPRS_NS: GprsNs = "gprs_ns", [Carrier::udp(&[2157, 19999])], true, 65535, internet::gprs_ns;
    /// RIP (RFC 2453) and RIPng (RFC 2080).
    RIP: Rip = "rip", [Carrier::udp(&[520, 521])], true, 65535, internet::rip;
    /// sFlow, version 5.
    SFLOW: Sflow = "sflow", [Carrier::udp(&[6343])], true, 65535, internet::sflow;
    /// Session announcements (RFC 2974).
    SAP: Sap = "sap", [Carrier::udp(&[9875])], true, 65535, internet::sap;
    /// Zigbee frames that a sniffer wraps.
    ZEP: Zep = "zep", [Carrier::udp(&[17754])], true, 65535, internet::zep;
    /// Dropbox, looking for itself in a network.
    DROPBOX: Dropbox = "dropbox_discovery", [Carrier::udp(&[17500])], true, 65535, internet::dropbox;
    /// DHCP for IPv6 (RFC 8415).
    DHCPV6: Dhcpv6 = "dhcpv6", [Carrier::udp(&[546, 547])], true, 65535, internet::dhcpv6;
    /// IGMP (RFC 3376).
    IGMP: Igmp = "igmp", [Carrier::ip(&[2])], true, 65535, internet::igmp;
    /// OSPF, versions 2 and 3 (RFC 2328, RFC 5340).
    OSPF: Ospf = "ospf", [Carrier::ip(&[89])], true, 65535, internet::ospf;
    /// VRRP, versions 2 and 3 (RFC 3768, RFC 5798).
    VRRP: Vrrp = "vrrp", [Carrier::ip(&[112])], true, 65535, internet::vrrp;
    /// PIM (RFC 7761).
    PIM: Pim = "pim", [Carrier::ip(&[103])], true, 65535, internet::pim;
    /// SCTP (RFC 9260): chunks, and the protocol of their data.
    SCTP: Sctp = "sctp", [Carrier::ip(&[132])], true, 65535, internet::sctp;
    /// Cisco's negotiation of trunks.
    DTP: Dtp = "dtp", [Carrier::link(&[0x2004])], true, 1500, link::dtp;
    /// The loop-back test of Ethernet's configuration testing protocol.
    LOOP: Loop = "loop", [Carrier::link(&[0x9000])], true, 1500, link::looped;
    /// Port-based access control (IEEE 802.1X) with EAP (RFC 3748).
    EAPOL: Eapol = "eapol", [Carrier::link(&[0x888e])], true, 1500, link::eapol;
    /// Slow protocols (IEEE 802.3, Annex 57A): link aggregation and its kin.
    SLOW: Slow = "slow", [Carrier::link(&[0x8809])], true, 1500, link::slow;
    /// Registration of VLANs and groups (IEEE 802.1Q, MRP).
    MVRP: Mvrp = "mvrp", [Carrier::link(&[0x88f5, 0x88f6])], true, 1500, link::mvrp;
    /// PPPoE discovery (RFC 2516).
    PPPOE: Pppoe = "pppoe_discovery", [Carrier::link(&[0x8863])], true, 1500, link::pppoe;
    /// The network layer of ISO (ISO 8473, ISO 9542, ISO 10589).
    CLNP: Clnp = "iso_network", [Carrier::link(&[crate::LLC + 0xfe])], true, 1500, link::clnp;
    /// SOCKS, versions 4 and 5 (RFC 1928).
    SOCKS: Socks = "socks", [Carrier::tcp(&[1080])], true, 4096, streams::socks, streams::socks_frame;
    /// Cisco's telephones (SCCP).
    SKINNY: Skinny = "skinny", [Carrier::tcp(&[2000])], true, 65535, streams::skinny, streams::skinny_frame;
}
