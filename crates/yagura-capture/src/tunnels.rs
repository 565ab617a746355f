//! What carries another packet inside: which header it is, and where the inner packet begins.
//!
//! GRE (RFC 2784, 2890; version 1 is PPTP's, RFC 2637), ERSPAN I to III
//! (draft-foschiano-erspan-03), IP in IP (RFC 2003, 4213), MPLS (RFC 3032; pseudowires with
//! RFC 4385 and 4448), PPPoE sessions (RFC 2516), provider backbone bridges (IEEE 802.1ah), NSH (RFC 8300), EtherIP (RFC 3378), VXLAN
//! (RFC 7348), GENEVE (RFC 8926), GRE in UDP (RFC 8086), Teredo (RFC 4380), AYIYA
//! (draft-massar-v6ops-ayiya-02), GTP-U version 1 (3GPP TS 29.281) and the frames of wireless
//! stations that access points send to their controller (IEEE 802.11 in GRE). Bytes that only share
//! a number with one of these are left to whoever else reads them.

use crate::headers::Unread;

const MPLS_LABELS_MAX: usize = 16;

/// A packet within a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Inner<'a> {
    /// The tunnel's name in the counts.
    pub(crate) tunnel: &'static str,
    pub(crate) form: Form,
    /// What was captured of it.
    pub(crate) data: &'a [u8],
    /// Its length on the wire.
    pub(crate) length: usize,
    /// The virtual network it belongs to.
    pub(crate) network: Option<u32>,
}

/// With which header the inner packet begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    Ethernet,
    Ip,
    /// The payload of a frame of this EtherType.
    EtherType(u16),
}

/// What was captured of a header's payload, and its length on the wire.
#[derive(Clone, Copy)]
struct Body<'a> {
    data: &'a [u8],
    length: usize,
}

/// The packet in a frame of this EtherType.
pub(crate) fn in_frame(ethertype: u16, data: &[u8], length: usize) -> Result<Option<Inner<'_>>, Unread> {
    let body = Body { data, length };
    match ethertype {
        0x8847 | 0x8848 => mpls(body),
        0x8864 => pppoe(body),
        0x894f => nsh(body),
        // A backbone's service instance, then the customer's frame (IEEE 802.1Q, 9.7).
        0x88e7 => Ok(body.take(4)?.map(|tag| {
            let network = Some(be24(&tag[1..]));
            Inner { network, ..body.inner("pbb", Form::Ethernet, 4) }
        })),
        _ => Ok(None),
    }
}

/// The packet in an IP packet of this protocol.
pub(crate) fn in_ip(protocol: u8, data: &[u8], length: usize) -> Result<Option<Inner<'_>>, Unread> {
    let body = Body { data, length };
    match protocol {
        4 | 41 => Ok(Some(body.inner("ip", Form::Ip, 0))),
        47 => gre("gre", body),
        97 => match body.take(2)? {
            Some([0x30, 0]) => Ok(Some(body.inner("etherip", Form::Ethernet, 2))),
            _ => Ok(None),
        },
        137 => mpls(body),
        _ => Ok(None),
    }
}

/// The packet in a UDP datagram between these ports, the sender's first.
pub(crate) fn in_udp(ports: [u16; 2], data: &[u8], length: u32) -> Result<Option<Inner<'_>>, Unread> {
    let body = Body { data, length: length as usize };
    if ports.contains(&2152) {
        return gtp(body);
    }
    if ports.contains(&5072) {
        return ayiya(body);
    }
    // Stations of Teredo talk to each other on any port.
    if let [0x60..=0x6f, ..] | [0, 0 | 1, ..] = data
        && let Some(inner) = teredo(body, ports.contains(&3544))
    {
        return Ok(Some(inner));
    }
    match ports[1] {
        // 8472 is what Linux used before the port was assigned.
        4789 | 8472 => match body.take(8)? {
            // The I flag; the reserved bits are to be ignored (RFC 7348, 5), which takes a look at
            // what follows to be sure.
            Some(h) if h[0] == 0x08 || (h[0] & 0x08 != 0 && is_ethernet(body.after(8))) => {
                Ok(Some(Inner { network: Some(be24(&h[4..])), ..body.inner("vxlan", Form::Ethernet, 8) }))
            }
            _ => Ok(None),
        },
        6081 => geneve(body),
        4754 => gre("gre", body),
        _ => Ok(None),
    }
}

impl<'a> Body<'a> {
    /// The first `n` bytes; `None` when there are fewer on the wire.
    fn take(self, n: usize) -> Result<Option<&'a [u8]>, Unread> {
        match self.data.get(..n) {
            Some(bytes) => Ok(Some(bytes)),
            None if self.length >= n => Err(Unread::Cut),
            None => Ok(None),
        }
    }

    fn after(self, n: usize) -> Body<'a> {
        Body { data: self.data.get(n..).unwrap_or(&[]), length: self.length.saturating_sub(n) }
    }

    fn inner(self, tunnel: &'static str, form: Form, at: usize) -> Inner<'a> {
        let Body { data, length } = self.after(at);
        Inner { tunnel, form, data, length, network: None }
    }
}

fn gre<'a>(name: &'static str, body: Body<'a>) -> Result<Option<Inner<'a>>, Unread> {
    let Some(header) = body.take(4)? else {
        return Ok(None);
    };
    let flags = be16(header);
    let kind = be16(&header[2..]);
    let sequence = flags & 0x1000 != 0;
    let flagged = |mask: u16| usize::from(flags & mask != 0) * 4;
    let mut at = 4 + flagged(0x2000) + flagged(0x1000);
    match flags & 7 {
        // With a routing field (RFC 1701) nothing was seen for decades.
        0 if flags & 0x4000 == 0 => at += flagged(0x8000),
        1 if kind == 0x880b && flags & 0x2000 != 0 => {
            at += flagged(0x0080);
            let carried = usize::from(be16(body.take(6)?.map_or(&[0, 0][..], |h| &h[4..])));
            // Without payload it only acknowledges.
            return if carried == 0 || body.length < at + carried {
                Ok(None)
            } else {
                let body =
                    Body { length: at + carried, data: &body.data[..body.data.len().min(at + carried)] };
                ppp("pptp", body.after(at))
            };
        }
        _ => return Ok(None),
    }
    if at > body.length {
        return Ok(None);
    }
    match kind {
        0x6558 => Ok(Some(body.inner(name, Form::Ethernet, at))),
        // ERSPAN I has neither sequence number nor header of its own.
        0x88be if !sequence => Ok(Some(body.inner("erspan", Form::Ethernet, at))),
        0x88be => Ok((body.length >= at + 8).then(|| body.inner("erspan", Form::Ethernet, at + 8))),
        0x22eb => {
            let Some(header) = body.after(at).take(12)? else {
                return Ok(None);
            };
            let optional = usize::from(header[11] & 1) * 8;
            let form = match (header[10] >> 2) & 0x1f {
                0 => Form::Ethernet,
                2 => Form::Ip,
                _ => return Ok(None),
            };
            Ok(Some(body.inner("erspan", form, at + 12 + optional)))
        }
        0x8847 | 0x8848 => mpls(body.after(at)),
        0x880b => ppp("gre", body.after(at)),
        // Keep-alives of routers carry nothing; access points say it of the frames of stations.
        0 => Ok(None),
        0x8200..=0x82ff => {
            let Body { data, length } = body.after(at);
            Ok(wireless(data, length, false))
        }
        ethertype => Ok(Some(body.inner(name, Form::EtherType(ethertype), at))),
    }
}

fn mpls(body: Body<'_>) -> Result<Option<Inner<'_>>, Unread> {
    for labels in 1..=MPLS_LABELS_MAX {
        let at = labels * 4;
        let Some(label) = body.take(at)? else {
            return Ok(None);
        };
        if label[at - 2] & 1 == 0 {
            continue;
        }
        let payload = body.after(at);
        let Some(first) = payload.take(1)? else {
            return Ok(None);
        };
        return Ok(match first[0] >> 4 {
            4 | 6 => Some(payload.inner("mpls", Form::Ip, 0)),
            // A pseudowire: Ethernet with a control word before it, or without.
            _ if first[0] >> 4 == 0 && is_ethernet(payload.after(4)) => {
                Some(payload.inner("mpls", Form::Ethernet, 4))
            }
            _ if is_ethernet(payload) => Some(payload.inner("mpls", Form::Ethernet, 0)),
            _ => None,
        });
    }
    Ok(None)
}

/// Whether a known EtherType stands where Ethernet has it.
fn is_ethernet(body: Body<'_>) -> bool {
    const KNOWN: [u16; 8] = [0x0800, 0x0806, 0x86dd, 0x8100, 0x88a8, 0x8892, 0x88cc, 0x8847];
    body.data.get(12..14).is_some_and(|kind| KNOWN.contains(&be16(kind)))
}

fn pppoe(body: Body<'_>) -> Result<Option<Inner<'_>>, Unread> {
    let Some(header) = body.take(6)? else {
        return Ok(None);
    };
    let length = usize::from(be16(&header[4..]));
    if header[..2] != [0x11, 0] || 6 + length > body.length {
        return Ok(None);
    }
    // The packet inside says where it ends: devices that rewrite it leave this length as it was.
    ppp("pppoe", body.after(6))
}

fn ppp<'a>(name: &'static str, body: Body<'a>) -> Result<Option<Inner<'a>>, Unread> {
    let Some(header) = body.take(2)? else {
        return Ok(None);
    };
    // Address and control of HDLC-like framing, where it was not negotiated away.
    let body = if header == [0xff, 0x03] { body.after(2) } else { body };
    let Some(header) = body.take(2)? else {
        return Ok(None);
    };
    // A protocol number ends with the first odd byte (RFC 1661, 6.5).
    let (protocol, at) = if header[0] & 1 == 1 { (u16::from(header[0]), 1) } else { (be16(header), 2) };
    Ok(match protocol {
        0x0021 | 0x0057 => Some(body.inner(name, Form::Ip, at)),
        0x0281 | 0x0283 => mpls(body.after(at))?,
        _ => None,
    })
}

fn nsh(body: Body<'_>) -> Result<Option<Inner<'_>>, Unread> {
    let Some(header) = body.take(4)? else {
        return Ok(None);
    };
    let length = usize::from(header[1] & 0x3f) * 4;
    if header[0] >> 6 != 0 || length < 8 || length > body.length {
        return Ok(None);
    }
    Ok(match header[3] {
        1 | 2 => Some(body.inner("nsh", Form::Ip, length)),
        3 => Some(body.inner("nsh", Form::Ethernet, length)),
        5 => mpls(body.after(length))?,
        _ => None,
    })
}

fn geneve(body: Body<'_>) -> Result<Option<Inner<'_>>, Unread> {
    let Some(header) = body.take(8)? else {
        return Ok(None);
    };
    let at = 8 + usize::from(header[0] & 0x3f) * 4;
    if header[0] >> 6 != 0 || at > body.length {
        return Ok(None);
    }
    let form = match be16(&header[2..]) {
        0x6558 => Form::Ethernet,
        ethertype => Form::EtherType(ethertype),
    };
    Ok(Some(Inner { network: Some(be24(&header[4..])), ..body.inner("geneve", form, at) }))
}

/// IPv6 behind what a Teredo server may put before it. Away from its port only addresses of
/// Teredo's own prefix are believed, and always a length that is the datagram's; trailers may follow
/// (\[MS-TERE\], 2.2.3).
fn teredo(mut body: Body<'_>, customary: bool) -> Option<Inner<'_>> {
    if let [0, 1, client, authentication, ..] = *body.data {
        // Two lengths, then a nonce and a confirmation.
        body = body.after(4 + usize::from(client) + usize::from(authentication) + 9);
    }
    if body.data.starts_with(&[0, 0]) {
        body = body.after(8);
    }
    let header = body.data.get(..40)?;
    let own = [&header[8..12], &header[24..28]].contains(&&[0x20, 1, 0, 0][..]);
    let mut end = 40 + usize::from(be16(&header[4..]));
    while let Some(&[_, size]) = body.data.get(end..end + 2) {
        end += 2 + usize::from(size);
    }
    let fits = header[0] >> 4 == 6 && end == body.length;
    (fits && (own || customary)).then(|| body.inner("teredo", Form::Ip, 0))
}

fn ayiya(body: Body<'_>) -> Result<Option<Inner<'_>>, Unread> {
    let Some(header) = body.take(8)? else {
        return Ok(None);
    };
    let identity = 1_usize << (header[0] >> 4);
    let at = 8 + identity + usize::from(header[1] >> 4) * 4;
    // Operation 1 forwards a packet.
    let forwards = header[2] & 15 == 1 && matches!(header[3], 4 | 41) && at < body.length;
    Ok(forwards.then(|| body.inner("ayiya", Form::Ip, at)))
}

fn gtp(body: Body<'_>) -> Result<Option<Inner<'_>>, Unread> {
    const PACKET: u8 = 0xff;
    const EXTENSIONS_MAX: usize = 8;
    let Some(header) = body.take(8)? else {
        return Ok(None);
    };
    // Version 1 of GTP proper; the length is that of all behind the first eight bytes.
    if header[0] >> 4 != 3 || header[1] != PACKET || 8 + usize::from(be16(&header[2..])) != body.length {
        return Ok(None);
    }
    let mut at = 8;
    if header[0] & 7 != 0 {
        let Some(optional) = body.take(12)? else {
            return Ok(None);
        };
        at = 12;
        let mut next = if header[0] & 4 != 0 { optional[11] } else { 0 };
        for _ in 0..EXTENSIONS_MAX {
            if next == 0 {
                break;
            }
            let Some(first) = body.after(at).take(1)? else {
                return Ok(None);
            };
            let size = usize::from(first[0]) * 4;
            let Some(extension) = body.after(at).take(size)?.filter(|e| !e.is_empty()) else {
                return Ok(None);
            };
            next = extension[size - 1];
            at += size;
        }
    }
    let Some(first) = body.after(at).take(1)? else {
        return Ok(None);
    };
    Ok(matches!(first[0] >> 4, 4 | 6).then(|| body.inner("gtp", Form::Ip, at)))
}

/// An unencrypted data frame of IEEE 802.11: what is behind its LLC header; of several frames in
/// one (A-MSDU) the first. Some radios pad the header to a multiple of four.
pub(crate) fn wireless(data: &[u8], length: usize, padded: bool) -> Option<Inner<'_>> {
    let body = Body { data, length };
    let control = body.data.get(..2)?;
    let (kind, subtype, flags) = (control[0] >> 2 & 3, control[0] >> 4, control[1]);
    // Subtypes with the third bit carry no data; the protected bit means that it is encrypted.
    if control[0] & 3 != 0 || kind != 2 || subtype & 4 != 0 || flags & 0x40 != 0 {
        return None;
    }
    let mut at = if flags & 3 == 3 { 30 } else { 24 };
    if subtype & 8 != 0 {
        let several = body.data.get(at)? & 0x80 != 0;
        at += if padded { 4 } else { 2 };
        if several {
            // Two addresses and a length of its own.
            let length = usize::from(be16(body.data.get(at + 12..at + 14)?));
            let first = body.after(at + 14);
            let captured = first.data.len().min(length);
            let first = Body { data: &first.data[..captured], length: first.length.min(length) };
            return llc(first);
        }
    }
    llc(body.after(at))
}

fn llc(body: Body<'_>) -> Option<Inner<'_>> {
    let header = body.data.get(..8)?;
    let ethertype = Form::EtherType(be16(&header[6..]));
    (header[..6] == [0xaa, 0xaa, 3, 0, 0, 0]).then(|| body.inner("gre", ethertype, 8))
}

fn be16(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[0], bytes[1]])
}

fn be24(bytes: &[u8]) -> u32 {
    u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn opened(inner: Result<Option<Inner<'_>>, Unread>) -> Option<(&'static str, Form, Vec<u8>)> {
        inner.ok().flatten().map(|i| {
            assert_eq!(i.data.len(), i.length);
            (i.tunnel, i.form, i.data.to_vec())
        })
    }

    #[test]
    fn gre_headers_of_every_length_are_skipped() {
        let cases: [(&[u8], &'static str, Form); 6] = [
            (&[0, 0, 8, 0], "gre", Form::EtherType(0x0800)),
            (&[0xb0, 0, 0x65, 0x58, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3], "gre", Form::Ethernet),
            (&[0, 0, 0x88, 0xbe], "erspan", Form::Ethernet),
            (&[0x10, 0, 0x88, 0xbe, 0, 0, 0, 1, 1, 2, 3, 4, 5, 6, 7, 8], "erspan", Form::Ethernet),
            (
                &[
                    0x10, 0, 0x22, 0xeb, 0, 0, 0, 1, 0x20, 2, 3, 4, 5, 6, 7, 8, 9, 9, 0, 1, 1, 2, 3, 4, 5, 6,
                    7, 8,
                ],
                "erspan",
                Form::Ethernet,
            ),
            (
                &[0x30, 0x81, 0x88, 0x0b, 0, 4, 0, 1, 0, 0, 0, 1, 0, 0, 0, 2, 0xff, 0x03, 0x21],
                "pptp",
                Form::Ip,
            ),
        ];
        for (header, tunnel, form) in cases {
            let payload: &[u8] = if tunnel == "pptp" { &[0x45] } else { &[0x45, 7, 7, 7] };
            let packet = [header, payload].concat();
            assert_eq!(opened(in_ip(47, &packet, packet.len())), Some((tunnel, form, payload.to_vec())));
            for cut in 0..header.len() {
                // Cut by the snap length or on the wire: an error or nothing, never bytes.
                let captured = in_ip(47, &packet[..cut], packet.len());
                assert!(!matches!(captured, Ok(Some(i)) if !i.data.is_empty()), "{header:?} {cut}");
                let short = in_ip(47, &packet[..cut], cut);
                assert!(!matches!(short, Ok(Some(i)) if !i.data.is_empty()), "{header:?} {cut}");
            }
        }
    }

    #[test]
    fn a_backbone_carries_the_customers_frame() {
        let tag = [0, 0x1e, 0xbb, 0x30, 1, 0x1c, 0xeb];
        let inner = in_frame(0x88e7, &tag, 7).unwrap().unwrap();
        assert_eq!((inner.form, inner.data, inner.network), (Form::Ethernet, &tag[4..], Some(0x1e_bb30)));
        assert_eq!(in_frame(0x88e7, &tag[..3], 3), Ok(None));
    }

    #[test]
    fn label_stacks_end_at_the_bottom_and_are_bounded() {
        let stack = [0, 1, 0, 64, 0, 2, 1, 64, 0x45, 0];
        assert_eq!(opened(in_frame(0x8847, &stack, 10)), Some(("mpls", Form::Ip, vec![0x45, 0])));
        let endless = [0u8; 400];
        assert_eq!(in_frame(0x8847, &endless, 400), Ok(None));
        let mut wire = vec![0, 1, 1, 64];
        wire.extend([2; 12]);
        wire.extend([8, 0, 0x45]);
        assert_eq!(opened(in_frame(0x8848, &wire, 19)).map(|i| (i.1, i.2.len())), Some((Form::Ethernet, 15)));
        wire.splice(4..4, [0; 4]);
        assert_eq!(opened(in_frame(0x8848, &wire, 23)).map(|i| (i.1, i.2.len())), Some((Form::Ethernet, 15)));
    }

    #[test]
    fn pppoe_is_opened_where_its_length_fits_the_frame() {
        let frame = [0x11, 0, 0, 9, 0, 4, 0, 0x21, 0x45, 0, 0, 0, 0, 0];
        // Padding is left to the packet inside, which states its own length.
        let inside = vec![0x45, 0, 0, 0, 0, 0];
        assert_eq!(opened(in_frame(0x8864, &frame, 14)), Some(("pppoe", Form::Ip, inside)));
        assert_eq!(in_frame(0x8864, &frame, 9), Ok(None));
        // A control protocol is no packet.
        assert_eq!(in_frame(0x8864, &[0x11, 0, 0, 9, 0, 2, 0xc0, 0x21], 8), Ok(None));
    }

    #[test]
    fn overlays_name_their_virtual_network() {
        let vxlan = [8, 0, 0, 0, 1, 2, 3, 0xff, 9];
        let inner = in_udp([9, 4789], &vxlan, 9).ok().flatten();
        assert_eq!(inner.map(|i| (i.network, i.data)), Some((Some(0x01_0203), &[9][..])));
        assert_eq!(in_udp([9, 4789], b"no vxlan", 8), Ok(None));
        assert_eq!(in_udp([9, 4790], &vxlan, 9), Ok(None));
        let geneve = [1, 0, 0x65, 0x58, 0, 0, 7, 0, 1, 2, 3, 4, 9];
        let inner = in_udp([9, 6081], &geneve, 13).ok().flatten();
        assert_eq!(inner.map(|i| (i.network, i.data)), Some((Some(7), &[9][..])));
    }

    #[test]
    fn packets_of_six_in_datagrams_are_believed_by_their_length() {
        let mut six = vec![0x60, 0, 0, 0, 0, 4, 59, 64];
        six.extend([0x20, 1, 0, 0]);
        six.resize(40, 9);
        six.extend([1, 2, 3, 4]);
        let found = |ports: [u16; 2], data: &[u8]| opened(in_udp(ports, data, data.len() as u32));
        assert_eq!(found([7, 8], &six), Some(("teredo", Form::Ip, six.clone())));
        let authenticated = [&[0, 1, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0][..], &six].concat();
        assert_eq!(found([3544, 8], &authenticated).map(|i| i.2), Some(six.clone()));
        let through_nat = [&[0, 0, 1, 2, 3, 4, 5, 6][..], &six].concat();
        assert_eq!(found([3544, 8], &through_nat).map(|i| i.2), Some(six.clone()));
        assert_eq!(found([7, 8], &six[..43]), None);
        let trailed = [&six[..], &[1, 4, 9, 9, 9, 9, 3, 0]].concat();
        assert_eq!(found([7, 8], &trailed).map(|i| i.0), Some("teredo"));
        six[9] = 2;
        assert_eq!(found([7, 8], &six), None);
        assert_eq!(found([7, 3544], &six).map(|i| i.0), Some("teredo"));
        let mut ayiya = vec![0x10, 0x10, 0x11, 41, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6];
        ayiya.extend(&six);
        assert_eq!(found([5072, 9], &ayiya).map(|i| (i.0, i.2)), Some(("ayiya", six)));
    }

    #[test]
    fn user_packets_of_mobile_networks_behind_their_extensions() {
        let found = |data: &[u8]| opened(in_udp([2152, 9], data, data.len() as u32)).map(|i| i.2);
        assert_eq!(found(&[0x30, 0xff, 0, 2, 0, 0, 0, 1, 0x45, 7]), Some(vec![0x45, 7]));
        assert_eq!(found(&[0x32, 0xff, 0, 5, 0, 0, 0, 1, 0, 5, 0, 0, 0x45]), Some(vec![0x45]));
        assert_eq!(found(&[0x34, 0xff, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0x85, 1, 2, 3, 0, 0x60]), Some(vec![0x60]));
        // An extension without length, another message, a length that is not the datagram's.
        assert_eq!(found(&[0x34, 0xff, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0x85, 0, 2, 3, 0, 0x60]), None);
        assert_eq!(found(&[0x32, 1, 0, 5, 0, 0, 0, 1, 0, 5, 0, 0, 0x45]), None);
        assert_eq!(found(&[0x30, 0xff, 0, 9, 0, 0, 0, 1, 0x45, 7]), None);
    }

    #[test]
    fn frames_of_wireless_stations_are_opened_unless_encrypted() {
        let mut frame = vec![0x88, 1, 0, 0];
        frame.resize(24, 7);
        frame.extend([0, 0]);
        frame.extend([0xaa, 0xaa, 3, 0, 0, 0, 8, 0, 0x45]);
        let gre = |frame: &[u8]| [&[0, 0, 0x82, 0][..], frame].concat();
        let found = |packet: &[u8]| opened(in_ip(47, packet, packet.len()));
        let expected = Some(("gre", Form::EtherType(0x0800), vec![0x45]));
        assert_eq!(found(&gre(&frame)), expected);
        frame[24] = 0x80;
        frame.splice(26..26, [[3; 12].as_slice(), &[0, 9]].concat());
        frame.extend([0; 3]);
        assert_eq!(found(&gre(&frame)), expected);
        frame[1] = 0x41;
        assert_eq!(found(&gre(&frame)), None);
    }
}
