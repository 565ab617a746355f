//! From a captured frame to an IP datagram and from that to a segment, without copying.
//!
//! The reader follows IEEE 802.3 and 802.1Q, RFC 791, RFC 8200, RFC 9293 and RFC 768. It never
//! trusts the frame's length for the payload's: Ethernet pads short frames and some cards append
//! trailers, so the IP header's length counts. Bytes that the snap length cut off are told apart
//! from bytes that were never there.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use yagura_dissect::Transport;

use crate::tunnels::{Form, Inner};

mod links;

/// An address as two words; IPv4 is held as an IPv4-mapped IPv6 address (RFC 4291, 2.5.5.2).
pub(crate) type Address = [u64; 2];

const MAPPED: u64 = 0xffff_0000_0000;
const VLAN_TAGS_MAX: usize = 8;
const IPV6_HEADERS_MAX: usize = 16;

/// Why a packet was not read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unread {
    /// Not IP, and no protocol asks for it: the EtherType, or what stands for it.
    Ethertype(u16),
    /// A link layer that is not read.
    Link(u16),
    /// The snap length cut the headers.
    Cut,
    /// It lies in more tunnels than are opened.
    Tunnels,
    /// The headers contradict themselves.
    Malformed(Malformed),
}

/// How headers contradict themselves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Malformed {
    /// The frame ends within its link header.
    Link,
    /// More VLAN tags than any network stacks.
    Vlan,
    /// An IP version or header length that does not exist.
    IpHeader,
    /// The IP length is more than the frame or less than its header.
    IpLength,
    /// An IPv6 extension header runs past the packet, or there are too many.
    Extension,
    /// A fragment that no datagram can hold, or one that overlaps where that is forbidden.
    Fragment,
    /// A TCP header that is too short or runs past the segment.
    Tcp,
    /// A UDP length that contradicts the IP length.
    Udp,
}

impl Malformed {
    /// All of them; the position is the number.
    pub(crate) const ALL: [Malformed; 8] = [
        Malformed::Link,
        Malformed::Vlan,
        Malformed::IpHeader,
        Malformed::IpLength,
        Malformed::Extension,
        Malformed::Fragment,
        Malformed::Tcp,
        Malformed::Udp,
    ];

    /// In words.
    pub(crate) fn words(self) -> &'static str {
        match self {
            Malformed::Link => "the frame ends within its link header",
            Malformed::Vlan => "too many VLAN tags",
            Malformed::IpHeader => "no such IP version or header length",
            Malformed::IpLength => "the IP length contradicts the frame",
            Malformed::Extension => "the IPv6 extension headers do not fit",
            Malformed::Fragment => "an IP fragment lies outside its datagram or overlaps another",
            Malformed::Tcp => "the TCP header does not fit",
            Malformed::Udp => "the UDP length contradicts the IP length",
        }
    }
}

/// Where a fragment belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Fragment {
    /// The sender's number of the datagram.
    pub(crate) id: u32,
    /// Offset of the payload in the datagram, in bytes.
    pub(crate) offset: u32,
    /// Whether more follow.
    pub(crate) more: bool,
    /// IPv6: fragments may not overlap (RFC 8200, 4.5).
    pub(crate) strict: bool,
}

/// What a frame carries.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Network<'a> {
    /// An IP packet.
    Ip(Datagram<'a>),
    /// Anything else.
    Link(Frame<'a>),
}

/// A frame that is not IP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    /// The EtherType, or what [`yagura_dissect::Carrier::link`] says stands for it.
    pub(crate) ethertype: u16,
    /// What was captured of the payload.
    pub(crate) payload: &'a [u8],
    /// The payload's length on the wire, padding included where no length field tells.
    pub(crate) length: usize,
    /// Outermost VLAN id; 0 for none.
    pub(crate) vlan: u16,
    /// One more than the number of the virtual network it was found in; 0 for none.
    pub(crate) network: u32,
    pub(crate) source_mac: [u8; 6],
    pub(crate) target_mac: [u8; 6],
}

/// One IP packet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Datagram<'a> {
    pub(crate) source: Address,
    pub(crate) target: Address,
    /// IP protocol of the payload.
    pub(crate) protocol: u8,
    /// IPv4 identification; 0 for IPv6.
    pub(crate) id: u16,
    pub(crate) fragment: Option<Fragment>,
    /// What was captured of the payload.
    pub(crate) payload: &'a [u8],
    /// The payload's length on the wire.
    pub(crate) length: usize,
    /// Outermost VLAN id; 0 for none.
    pub(crate) vlan: u16,
    /// One more than the number of the virtual network it was found in; 0 for none.
    pub(crate) network: u32,
    pub(crate) source_mac: [u8; 6],
    pub(crate) target_mac: [u8; 6],
}

/// A transport header and its payload.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Segment<'a> {
    /// A TCP segment.
    Tcp(Tcp<'a>),
    /// A UDP datagram.
    Udp(Udp<'a>),
    /// Neither.
    Other(Other<'a>),
}

/// One TCP segment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tcp<'a> {
    pub(crate) source: u16,
    pub(crate) target: u16,
    pub(crate) seq: u32,
    pub(crate) ack: u32,
    pub(crate) flags: u8,
    /// What was captured of the payload.
    pub(crate) data: &'a [u8],
    /// The payload's length on the wire.
    pub(crate) length: u32,
}

impl Tcp<'_> {
    pub(crate) fn fin(&self) -> bool {
        self.flags & 0x01 != 0
    }
    pub(crate) fn syn(&self) -> bool {
        self.flags & 0x02 != 0
    }
    pub(crate) fn rst(&self) -> bool {
        self.flags & 0x04 != 0
    }
    pub(crate) fn has_ack(&self) -> bool {
        self.flags & 0x10 != 0
    }
}

/// One UDP datagram.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Udp<'a> {
    pub(crate) source: u16,
    pub(crate) target: u16,
    /// What was captured of the payload.
    pub(crate) data: &'a [u8],
    /// The payload's length on the wire.
    pub(crate) length: u32,
}

/// The payload of an IP packet that is neither TCP nor UDP.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Other<'a> {
    /// The IP protocol.
    pub(crate) protocol: u8,
    /// What was captured of the payload.
    pub(crate) data: &'a [u8],
    /// The payload's length on the wire.
    pub(crate) length: u32,
}

/// Reads link and network headers of a frame of `original` bytes, of which `data` was captured.
pub(crate) fn network(link: u16, data: &[u8], original: u32) -> Result<Network<'_>, Unread> {
    let frame = Bytes { data, cut: original as usize > data.len() };
    let length = (original as usize).max(data.len());
    let mut macs = [[0; 6]; 2];
    let network = match link {
        // LINKTYPE_ETHERNET
        1 => {
            let header = frame.take(0, 14, Malformed::Link)?;
            macs[1].copy_from_slice(&header[..6]);
            macs[0].copy_from_slice(&header[6..12]);
            tagged(frame, 14, length, be16(header, 12))?
        }
        // LINKTYPE_RAW under its file number and the two numbers of DLT_RAW that files carry,
        // LINKTYPE_IPV4 and LINKTYPE_IPV6
        101 | 12 | 14 | 228 | 229 => Network::Ip(ip(frame, 0, length)?),
        // LINKTYPE_NULL and LINKTYPE_LOOP: an address family in the capturing host's byte order
        0 | 108 => {
            let family = frame.take(0, 4, Malformed::Link)?;
            let family = u32::from_be_bytes([family[0], family[1], family[2], family[3]]);
            match family.min(family.swap_bytes()) {
                2 | 10 | 24 | 28 | 30 => Network::Ip(ip(frame, 4, length)?),
                _ => return Err(Unread::Ethertype(0)),
            }
        }
        // LINKTYPE_LINUX_SLL
        113 => {
            let header = frame.take(0, 16, Malformed::Link)?;
            if be16(header, 4) == 6 {
                macs[0].copy_from_slice(&header[6..12]);
            }
            tagged(frame, 16, length, be16(header, 14))?
        }
        // LINKTYPE_LINUX_SLL2
        276 => {
            let header = frame.take(0, 20, Malformed::Link)?;
            if header[11] == 6 {
                macs[0].copy_from_slice(&header[12..18]);
            }
            tagged(frame, 20, length, be16(header, 0))?
        }
        // LINKTYPE_PPP, LINKTYPE_PPP_HDLC, LINKTYPE_C_HDLC
        9 | 50 => {
            let header = frame.take(0, 4, Malformed::Link)?;
            let at = if header[..2] == [0xff, 0x03] { 2 } else { 0 };
            match be16(header, at) {
                0x0021 | 0x0057 => Network::Ip(ip(frame, at + 2, length)?),
                other => return Err(Unread::Ethertype(other)),
            }
        }
        // LINKTYPE_NFLOG: a family, then attributes; the packet is attribute 9. Their numbers are in
        // the capturing host's byte order, in practice the low byte first.
        239 => {
            let mut at = 4;
            loop {
                let attribute = frame.take(at, 4, Malformed::Link)?;
                let size = usize::from(u16::from_le_bytes([attribute[0], attribute[1]]));
                if size < 4 {
                    return Err(Unread::Malformed(Malformed::Link));
                }
                if attribute[2..4] == [9, 0] {
                    break Network::Ip(ip(frame, at + 4, length.min(at + size))?);
                }
                at += size.next_multiple_of(4);
            }
        }
        104 => {
            let header = frame.take(0, 4, Malformed::Link)?;
            tagged(frame, 4, length, be16(header, 2))?
        }
        other => {
            let network;
            (network, macs) = links::network(other, frame, length)?;
            network
        }
    };
    Ok(network.between(macs))
}

/// Reads the headers of a packet that came in a tunnel.
pub(crate) fn inner<'a>(inner: &Inner<'a>) -> Result<Network<'a>, Unread> {
    let bytes = Bytes { data: inner.data, cut: inner.length > inner.data.len() };
    match inner.form {
        Form::Ethernet => network(1, inner.data, inner.length as u32),
        Form::Ip => Ok(Network::Ip(ip(bytes, 0, inner.length)?)),
        Form::EtherType(number) => tagged(bytes, 0, inner.length, number),
    }
}

impl<'a> Network<'a> {
    fn between(self, [source_mac, target_mac]: [[u8; 6]; 2]) -> Network<'a> {
        match self {
            Network::Ip(datagram) => Network::Ip(Datagram { source_mac, target_mac, ..datagram }),
            Network::Link(frame) => Network::Link(Frame { source_mac, target_mac, ..frame }),
        }
    }

    /// With the VLAN that a header before said, where no tag follows.
    fn in_vlan(self, vlan: u16) -> Network<'a> {
        match self {
            Network::Ip(datagram) if datagram.vlan == 0 => Network::Ip(Datagram { vlan, ..datagram }),
            Network::Link(frame) if frame.vlan == 0 => Network::Link(Frame { vlan, ..frame }),
            other => other,
        }
    }

    /// What the inner packet does not say of itself, the outer one does.
    pub(crate) fn within(self, outer: &Outer) -> Network<'a> {
        let macs = |own: [[u8; 6]; 2]| if own == [[0; 6]; 2] { outer.macs } else { own };
        let vlan = |own: u16, macs: [[u8; 6]; 2]| if macs == [[0; 6]; 2] { outer.vlan } else { own };
        match self {
            Network::Ip(datagram) => {
                let own = [datagram.source_mac, datagram.target_mac];
                let vlan = vlan(datagram.vlan, own);
                Network::Ip(Datagram { vlan, network: outer.network, ..datagram }).between(macs(own))
            }
            Network::Link(frame) => {
                let own = [frame.source_mac, frame.target_mac];
                let vlan = vlan(frame.vlan, own);
                Network::Link(Frame { vlan, network: outer.network, ..frame }).between(macs(own))
            }
        }
    }
}

/// What an inner packet inherits.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outer {
    pub(crate) macs: [[u8; 6]; 2],
    pub(crate) vlan: u16,
    pub(crate) network: u32,
}

/// Reads the transport header of a datagram's payload of `length` bytes.
pub(crate) fn segment(protocol: u8, payload: &[u8], length: usize) -> Result<Segment<'_>, Unread> {
    let bytes = Bytes { data: payload, cut: length > payload.len() };
    match protocol {
        6 => {
            let header = bytes.take(0, 20, Malformed::Tcp)?;
            let header_len = usize::from(header[12] >> 4) * 4;
            if header_len < 20 || header_len > length {
                return Err(Unread::Malformed(Malformed::Tcp));
            }
            Ok(Segment::Tcp(Tcp {
                source: be16(header, 0),
                target: be16(header, 2),
                seq: be32(header, 4),
                ack: be32(header, 8),
                flags: header[13],
                data: payload.get(header_len..).unwrap_or(&[]),
                length: (length - header_len) as u32,
            }))
        }
        17 => {
            let header = bytes.take(0, 8, Malformed::Udp)?;
            // A length of 0 stands in jumbograms (RFC 2675) and in frames that the card cuts later.
            let udp_len = match usize::from(be16(header, 4)) {
                0 => length,
                stated => stated,
            };
            if udp_len < 8 || udp_len > length {
                return Err(Unread::Malformed(Malformed::Udp));
            }
            Ok(Segment::Udp(Udp {
                source: be16(header, 0),
                target: be16(header, 2),
                data: &payload[8..payload.len().min(udp_len)],
                length: (udp_len - 8) as u32,
            }))
        }
        protocol => Ok(Segment::Other(Other { protocol, data: payload, length: length as u32 })),
    }
}

/// Skips the IPv6 extension headers at the start of a reassembled datagram.
pub(crate) fn unwrapped(protocol: u8, payload: &[u8]) -> Result<(u8, &[u8]), Unread> {
    let bytes = Bytes { data: payload, cut: false };
    match extensions(protocol, bytes, 0, payload.len())? {
        (protocol, position, None) => Ok((protocol, &payload[position..])),
        // A fragment within a datagram that was itself fragmented: nobody sends this in earnest.
        (_, _, Some(_)) => Err(Unread::Malformed(Malformed::Fragment)),
    }
}

/// The address as the standard library's type.
pub(crate) fn ip_address(address: Address) -> IpAddr {
    if address[0] == 0 && address[1] & 0xffff_ffff_0000_0000 == MAPPED {
        IpAddr::V4(Ipv4Addr::from(address[1] as u32))
    } else {
        IpAddr::V6(Ipv6Addr::from((u128::from(address[0]) << 64) | u128::from(address[1])))
    }
}

/// A hardware address as an address of a link conversation.
pub(crate) fn mac_address(mac: [u8; 6]) -> Address {
    let [a, b, c, d, e, f] = mac;
    [0, u64::from_be_bytes([0, 0, a, b, c, d, e, f])]
}

/// A hardware address as text; empty when no packet showed it.
pub(crate) fn mac_text(mac: [u8; 6]) -> String {
    if mac == [0; 6] {
        return String::new();
    }
    yagura_dissect::mac_text(mac)
}

/// An end's address as rows show it.
pub(crate) fn address_text(transport: Transport, address: Address) -> String {
    match transport {
        Transport::Link => {
            let [_, _, mac @ ..] = address[1].to_be_bytes();
            mac_text(mac)
        }
        _ => ip_address(address).to_string(),
    }
}

/// A frame, and whether it was longer on the wire.
#[derive(Clone, Copy)]
struct Bytes<'a> {
    data: &'a [u8],
    cut: bool,
}

impl<'a> Bytes<'a> {
    fn after(self, at: usize) -> Bytes<'a> {
        Bytes { data: self.data.get(at..).unwrap_or(&[]), cut: self.cut }
    }

    fn take(self, at: usize, len: usize, why: Malformed) -> Result<&'a [u8], Unread> {
        match self.data.get(at..at + len) {
            Some(bytes) => Ok(bytes),
            None if self.cut => Err(Unread::Cut),
            None => Err(Unread::Malformed(why)),
        }
    }
}

fn be16(bytes: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([bytes[at], bytes[at + 1]])
}

fn be32(bytes: &[u8], at: usize) -> u32 {
    u32::from_be_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn be64(bytes: &[u8], at: usize) -> u64 {
    (u64::from(be32(bytes, at)) << 32) | u64::from(be32(bytes, at + 4))
}

/// Goes through 802.1Q and 802.1ad tags to the IP header or to another payload.
fn tagged(frame: Bytes<'_>, mut at: usize, length: usize, mut ethertype: u16) -> Result<Network<'_>, Unread> {
    let mut vlan = 0;
    for _ in 0..=VLAN_TAGS_MAX {
        match ethertype {
            0x0800 | 0x86dd => {
                let datagram = ip(frame, at, length)?;
                return Ok(Network::Ip(Datagram { vlan, ..datagram }));
            }
            0x8100 | 0x88a8 | 0x9100 | 0x9200 => {
                let tag = frame.take(at, 4, Malformed::Link)?;
                if vlan == 0 {
                    vlan = be16(tag, 0) & 0x0fff;
                }
                ethertype = be16(tag, 2);
                at += 4;
            }
            // IEEE 802.1BR (six bytes of its own) and VNTag (four) stand before another EtherType.
            0x893f | 0x8926 => {
                let own = if ethertype == 0x893f { 6 } else { 4 };
                ethertype = be16(frame.take(at, own + 2, Malformed::Link)?, own);
                at += own + 2;
            }
            0..=1500 => return llc(frame, at, usize::from(ethertype), length, vlan),
            ethertype => return Ok(Network::Link(payload(frame, at, length, ethertype, vlan))),
        }
    }
    Err(Unread::Malformed(Malformed::Vlan))
}

/// An IEEE 802.2 frame: `stated` bytes from `at` on, behind an LLC header and perhaps a SNAP one.
fn llc(frame: Bytes<'_>, at: usize, stated: usize, length: usize, vlan: u16) -> Result<Network<'_>, Unread> {
    // A length of 0 stands in frames of some bridges: then the frame's end counts.
    let end = if stated == 0 { length } else { length.min(at + stated) };
    let header = frame.take(at, 3, Malformed::Link)?;
    if header[0] != 0xaa || header[1] != 0xaa {
        let number = yagura_dissect::LLC + u16::from(header[0]);
        return Ok(Network::Link(payload(frame, at + 3, end, number, vlan)));
    }
    let snap = frame.take(at + 3, 5, Malformed::Link)?;
    match (&snap[..3], be16(snap, 3)) {
        ([0, 0, 0], 0x0800 | 0x86dd) => {
            let datagram = ip(frame, at + 8, end)?;
            Ok(Network::Ip(Datagram { vlan, ..datagram }))
        }
        (_, number) => Ok(Network::Link(payload(frame, at + 8, end, number, vlan))),
    }
}

fn payload(frame: Bytes<'_>, at: usize, end: usize, ethertype: u16, vlan: u16) -> Frame<'_> {
    // ARP and its reverse say by the lengths of their addresses where padding begins.
    let end = match (ethertype, frame.data.get(at + 4..at + 6)) {
        (0x0806 | 0x8035, Some(&[hardware, protocol])) => {
            end.min(at + 8 + 2 * (usize::from(hardware) + usize::from(protocol)))
        }
        _ => end,
    };
    let captured = frame.data.len().min(end);
    Frame {
        ethertype,
        payload: frame.data.get(at..captured).unwrap_or(&[]),
        length: end.saturating_sub(at),
        vlan,
        network: 0,
        source_mac: [0; 6],
        target_mac: [0; 6],
    }
}

fn ip(frame: Bytes<'_>, at: usize, length: usize) -> Result<Datagram<'_>, Unread> {
    match frame.take(at, 1, Malformed::IpHeader)?[0] >> 4 {
        4 => ipv4(frame, at, length),
        6 => ipv6(frame, at, length),
        _ => Err(Unread::Malformed(Malformed::IpHeader)),
    }
}

fn ipv4(frame: Bytes<'_>, at: usize, length: usize) -> Result<Datagram<'_>, Unread> {
    let header = frame.take(at, 20, Malformed::IpHeader)?;
    let header_len = usize::from(header[0] & 0x0f) * 4;
    if header_len < 20 {
        return Err(Unread::Malformed(Malformed::IpHeader));
    }
    // A total length of 0 stands in frames that the sending card segments after the capture.
    let total = match usize::from(be16(header, 2)) {
        0 => length.saturating_sub(at),
        stated => stated,
    };
    if total < header_len || at + total > length {
        return Err(Unread::Malformed(Malformed::IpLength));
    }
    let end = frame.data.len().min(at + total);
    let payload = frame.data.get(at + header_len..end).ok_or(Unread::Cut)?;
    let flags = be16(header, 6);
    let (offset, more) = (u32::from(flags & 0x1fff) * 8, flags & 0x2000 != 0);
    let id = be16(header, 4);
    Ok(Datagram {
        source: [0, MAPPED | u64::from(be32(header, 12))],
        target: [0, MAPPED | u64::from(be32(header, 16))],
        protocol: header[9],
        id,
        fragment: (more || offset != 0).then_some(Fragment {
            id: u32::from(id),
            offset,
            more,
            strict: false,
        }),
        payload,
        length: total - header_len,
        vlan: 0,
        network: 0,
        source_mac: [0; 6],
        target_mac: [0; 6],
    })
}

fn ipv6(frame: Bytes<'_>, at: usize, length: usize) -> Result<Datagram<'_>, Unread> {
    let header = frame.take(at, 40, Malformed::IpHeader)?;
    // A payload length of 0 stands in jumbograms and in frames that the card segments later.
    let payload_len = match usize::from(be16(header, 4)) {
        0 => length.saturating_sub(at + 40),
        stated => stated,
    };
    let end_on_wire = at + 40 + payload_len;
    if end_on_wire > length {
        return Err(Unread::Malformed(Malformed::IpLength));
    }
    let end = frame.data.len().min(end_on_wire);
    let inner = Bytes { data: &frame.data[..end], cut: end < end_on_wire };
    let (protocol, position, fragment) = extensions(header[6], inner, at + 40, end_on_wire)?;
    Ok(Datagram {
        source: [be64(header, 8), be64(header, 16)],
        target: [be64(header, 24), be64(header, 32)],
        protocol,
        id: 0,
        fragment,
        payload: &inner.data[position.min(end)..],
        length: end_on_wire - position,
        vlan: 0,
        network: 0,
        source_mac: [0; 6],
        target_mac: [0; 6],
    })
}

/// Skips IPv6 extension headers from `position` on, up to the first fragment header: what
/// follows that one belongs to the datagram as a whole.
fn extensions(
    mut next: u8,
    bytes: Bytes<'_>,
    mut position: usize,
    end: usize,
) -> Result<(u8, usize, Option<Fragment>), Unread> {
    for _ in 0..IPV6_HEADERS_MAX {
        // Hop-by-hop, routing, destination options, mobility, HIP and shim6 count units of eight
        // bytes, the authentication header words less two, a fragment header has one size.
        let unit = match next {
            0 | 43 | 60 | 135 | 139 | 140 => 8,
            51 => 4,
            44 => 0,
            _ => return Ok((next, position, None)),
        };
        let extension = bytes.take(position, 8, Malformed::Extension)?;
        position += 8 + usize::from(extension[1]) * unit;
        if position > end {
            return Err(Unread::Malformed(Malformed::Extension));
        }
        if next == 44 {
            let place = be16(extension, 2);
            let (offset, more) = (u32::from(place & 0xfff8), place & 1 != 0);
            // A packet that is its own only fragment (RFC 6946) is whole.
            if more || offset != 0 {
                let id = be32(extension, 4);
                let fragment = Fragment { id, offset, more, strict: true };
                return Ok((extension[0], position, Some(fragment)));
            }
        }
        next = extension[0];
    }
    Err(Unread::Malformed(Malformed::Extension))
}
