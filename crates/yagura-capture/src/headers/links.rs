//! Link layers besides Ethernet: wireless (IEEE 802.11, alone or behind radiotap or PPI), token ring
//! (IEEE 802.5), FDDI, frame relay (RFC 2427), RFC 2684, BACnet on ARCNET and MS/TP (ASHRAE 135,
//! clauses 8 and 9), and the tags that switch chips put into Ethernet frames for their processor.

use yagura_dissect::LLC;

use super::{Bytes, Malformed, Network, Unread, be16, inner, ip, llc, payload, tagged};
use crate::tunnels;

/// Target and source, as on the wire.
type Macs = [[u8; 6]; 2];

const NOBODY: Macs = [[0; 6]; 2];
/// A frame that carries no data: not IP, and nobody asks for it.
const NO_DATA: Unread = Unread::Ethertype(0);
const BACNET: u8 = 0x82;

/// Reads a frame of `length` bytes on the wire; the addresses with the sender's first.
pub(super) fn network(link: u16, frame: Bytes<'_>, length: usize) -> Result<(Network<'_>, Macs), Unread> {
    let (network, [target, source]) = match link {
        6 => token_ring(frame, length)?,
        7 => arcnet(frame, length)?,
        10 => fddi(frame, length)?,
        100 => (llc(frame, 0, 0, length, 0)?, NOBODY),
        105 => wireless(frame, length, false)?,
        107 => (frame_relay(frame, length)?, NOBODY),
        127 => radiotap(frame, length)?,
        165 => mstp(frame, length)?,
        192 => {
            // PPI: its own length, and the link type of what follows.
            let header = frame.take(0, 8, Malformed::Link)?;
            let at = usize::from(le16(header, 2));
            match le16(header, 4) {
                105 if at >= 8 => wireless(frame.after(at), length.saturating_sub(at), false)?,
                _ => return Err(Unread::Link(link)),
            }
        }
        // Broadcom's tag stands behind the addresses, or before the frame; Marvell's stands behind
        // the addresses, alone or under an EtherType of its own.
        281 => chip(frame, length, 16, None)?,
        282 => {
            let (own, rest) = (frame.take(0, 18, Malformed::Link)?, frame);
            (tagged(rest, 18, length, be16(own, 16))?, addresses(own, 4))
        }
        284 => chip(frame, length, 16, Some(12))?,
        285 => chip(frame, length, 20, Some(16))?,
        other => return Err(Unread::Link(other)),
    };
    Ok((network, [source, target]))
}

fn le16(bytes: &[u8], at: usize) -> u16 {
    be16(bytes, at).swap_bytes()
}

fn addresses(bytes: &[u8], at: usize) -> Macs {
    let mut macs = NOBODY;
    for (mac, six) in macs.iter_mut().zip(bytes[at..at + 12].chunks_exact(6)) {
        mac.copy_from_slice(six);
    }
    macs
}

/// A station of a bus with addresses of one byte, as a locally administered address.
fn station(number: u8) -> [u8; 6] {
    [2, 0, 0, 0, 0, number]
}

fn token_ring(frame: Bytes<'_>, length: usize) -> Result<(Network<'_>, Macs), Unread> {
    let header = frame.take(0, 14, Malformed::Link)?;
    if header[1] & 0xc0 != 0x40 {
        return Err(NO_DATA);
    }
    let mut macs = addresses(header, 2);
    let mut at = 14;
    // The group bit of a source says that a route follows.
    if macs[1][0] & 0x80 != 0 {
        macs[1][0] &= 0x7f;
        at += usize::from(frame.take(14, 2, Malformed::Link)?[0] & 0x1f);
    }
    Ok((llc(frame, at, 0, length, 0)?, macs))
}

fn fddi(frame: Bytes<'_>, length: usize) -> Result<(Network<'_>, Macs), Unread> {
    let header = frame.take(0, 13, Malformed::Link)?;
    // LLC frames, asynchronous and synchronous.
    if header[0] & 0x70 != 0x50 {
        return Err(NO_DATA);
    }
    Ok((llc(frame, 13, 0, length, 0)?, addresses(header, 1)))
}

fn frame_relay(frame: Bytes<'_>, length: usize) -> Result<Network<'_>, Unread> {
    let mut at = 0;
    while frame.take(at, 1, Malformed::Link)?[0] & 1 == 0 {
        at += 1;
        if at == 4 {
            return Err(Unread::Malformed(Malformed::Link));
        }
    }
    at += 1;
    let header = frame.take(at, 2, Malformed::Link)?;
    match header {
        [3, 0xcc | 0x8e] => Ok(Network::Ip(ip(frame, at + 2, length)?)),
        // Padding, then SNAP.
        [3, 0] => {
            let snap = frame.take(at, 8, Malformed::Link)?;
            if snap[2..6] == [0x80, 0, 0, 0] {
                tagged(frame, at + 8, length, be16(snap, 6))
            } else {
                Err(NO_DATA)
            }
        }
        [3, _] => Err(NO_DATA),
        // Without it, an EtherType.
        _ => tagged(frame, at + 2, length, be16(header, 0)),
    }
}

fn radiotap(frame: Bytes<'_>, length: usize) -> Result<(Network<'_>, Macs), Unread> {
    const WORDS_MAX: usize = 16;
    const CHECKED: u8 = 0x10;
    const PADDED: u8 = 0x20;
    let header = frame.take(0, 8, Malformed::Link)?;
    let size = usize::from(le16(header, 2));
    let header = frame.take(0, size.max(8), Malformed::Link)?;
    // Which fields follow is said in words whose highest bit continues them.
    let words = header[4..].chunks_exact(4).take(WORDS_MAX).position(|word| word[3] & 0x80 == 0);
    let fields = 4 + 4 * (words.unwrap_or(0) + 1);
    // A time stamp of eight bytes on a multiple of eight, then the flags.
    let at = if header[4] & 1 != 0 { fields.next_multiple_of(8) + 8 } else { fields };
    let flags = if header[4] & 2 != 0 { header.get(at).copied().unwrap_or(0) } else { 0 };
    let check = if flags & CHECKED != 0 { 4 } else { 0 };
    wireless(frame.after(size.max(8)), length.saturating_sub(size + check), flags & PADDED != 0)
}

fn wireless(frame: Bytes<'_>, length: usize, padded: bool) -> Result<(Network<'_>, Macs), Unread> {
    let data = &frame.data[..frame.data.len().min(length)];
    let Some(packet) = tunnels::wireless(data, length, padded) else { return Err(NO_DATA) };
    // What was opened has at least three addresses.
    let address = |number: usize| {
        let at = if number < 3 { 4 + number * 6 } else { 24 };
        data.get(at..at + 6).and_then(|six| six.first_chunk().copied()).unwrap_or([0; 6])
    };
    // To and from the distribution system.
    let macs = match data[1] & 3 {
        0 => [address(0), address(1)],
        1 => [address(2), address(1)],
        2 => [address(0), address(2)],
        _ => [address(2), address(3)],
    };
    Ok((inner(&packet)?, macs))
}

fn chip(
    frame: Bytes<'_>,
    length: usize,
    at: usize,
    tag: Option<usize>,
) -> Result<(Network<'_>, Macs), Unread> {
    let header = frame.take(0, at + 2, Malformed::Link)?;
    let network = tagged(frame, at + 2, length, be16(header, at))?;
    // Marvell's tag takes the place of a VLAN tag, which it keeps.
    let own = tag.map_or(0, |tag| if header[tag] & 0x20 != 0 { be16(header, tag + 2) & 0x0fff } else { 0 });
    Ok((network.in_vlan(own), addresses(header, 0)))
}

fn arcnet(frame: Bytes<'_>, length: usize) -> Result<(Network<'_>, Macs), Unread> {
    /// The system code of BACnet.
    const CODE: u8 = 0xcd;
    let header = frame.take(0, 3, Malformed::Link)?;
    let target = if header[1] == 0 { [0xff; 6] } else { station(header[1]) };
    let macs = [target, station(header[0])];
    // Some files keep the length of the packet between addresses and code, as two bytes.
    for code in [2, 4] {
        let rest = frame.after(code);
        if rest.data.starts_with(&[CODE, BACNET, BACNET]) {
            return Ok((llc(frame, code + 1, 0, length, 0)?, macs));
        }
    }
    Err(NO_DATA)
}

fn mstp(frame: Bytes<'_>, length: usize) -> Result<(Network<'_>, Macs), Unread> {
    let header = frame.take(0, 8, Malformed::Link)?;
    let size = usize::from(be16(header, 5));
    // Data that expects a reply, and data that does not.
    if header[..2] != [0x55, 0xff] || !matches!(header[2], 5 | 6) || size == 0 {
        return Err(NO_DATA);
    }
    let target = if header[3] == 0xff { [0xff; 6] } else { station(header[3]) };
    let npdu = payload(frame, 8, length.min(8 + size), LLC + u16::from(BACNET), 0);
    Ok((Network::Link(npdu), [target, station(header[4])]))
}

#[cfg(test)]
mod tests {
    use super::super::{Frame, mac_text};
    use super::*;

    const PACKET: [u8; 28] =
        [0x45, 0, 0, 28, 0, 1, 0, 0, 64, 17, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2, 0, 53, 0, 54, 0, 8, 0, 0];
    const SNAP: [u8; 8] = [0xaa, 0xaa, 3, 0, 0, 0, 8, 0];

    fn read(link: u16, frame: &[u8]) -> Result<Network<'_>, Unread> {
        super::super::network(link, frame, frame.len() as u32)
    }

    /// The protocol, the sender and the VLAN of an IP packet behind that header.
    fn packet(link: u16, header: &[u8]) -> (u8, String, u16) {
        let frame = [header, &PACKET].concat();
        for cut in 0..frame.len() {
            let _ = read(link, &frame[..cut]);
            let _ = super::super::network(link, &frame[..cut], frame.len() as u32);
        }
        match read(link, &frame) {
            Ok(Network::Ip(d)) if d.payload.len() == 8 => (d.protocol, mac_text(d.source_mac), d.vlan),
            other => panic!("{link}: {other:?}"),
        }
    }

    #[test]
    fn wireless_frames_in_each_direction() {
        let header = [&[0x08, 1, 0, 0], &[0xa1; 6][..], &[0xa2; 6], &[0xa3; 6], &[0, 0]].concat();
        let station = String::from("a2:a2:a2:a2:a2:a2");
        assert_eq!(packet(105, &[&header[..], &SNAP].concat()), (17, station.clone(), 0));
        let mut from = header.clone();
        from[1] = 2;
        assert_eq!(packet(105, &[&from[..], &SNAP].concat()).1, "a3:a3:a3:a3:a3:a3");
        // A beacon carries no data.
        assert_eq!(read(105, &[0x80; 40]).err(), Some(NO_DATA));
        // Radiotap with a second word, a time stamp and flags that say: a check sum and padding.
        let mut tap = vec![0, 0, 25, 0, 3, 0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0];
        tap.extend([9; 8]);
        tap.push(0x20);
        let mut qos = header;
        qos[0] = 0x88;
        let whole = [&tap[..], &qos, &[6, 0, 0, 0], &SNAP].concat();
        assert_eq!(packet(127, &whole), (17, station.clone(), 0));
        let ppi = [&[0, 0, 8, 0, 105, 0, 0, 0][..], &qos, &[6, 0], &SNAP].concat();
        assert_eq!(packet(192, &ppi).1, station);
    }

    #[test]
    fn a_frames_padding_that_was_cut_is_not_missed() {
        let mut arp = [&[0xff; 6][..], &[2; 6], &[8, 6, 0, 1, 8, 0, 6, 4, 0, 1], &[7; 20]].concat();
        let Ok(Network::Link(frame)) = super::super::network(1, &arp, 60) else { panic!("no frame") };
        assert_eq!((frame.payload.len(), frame.length), (28, 28));
        arp.truncate(41);
        let Ok(Network::Link(frame)) = super::super::network(1, &arp, 60) else { panic!("no frame") };
        assert_eq!((frame.payload.len(), frame.length), (27, 28));
    }

    #[test]
    fn rings_and_relays() {
        let ring = [&[0x10, 0x40], &[0xff; 6][..], &[0xc0, 0, 0x4c, 0x4f, 0x4f, 0x50, 0x82, 0x70], &SNAP];
        assert_eq!(packet(6, &ring.concat()).1, "40:00:4c:4f:4f:50");
        let fddi = [&[0x50], &[0xaa; 6][..], &[0xaa, 0, 4, 0, 0x82, 0xa7], &SNAP];
        assert_eq!(packet(10, &fddi.concat()).1, "aa:00:04:00:82:a7");
        assert_eq!(packet(107, &[0x18, 0x41, 3, 0xcc]).0, 17);
        assert_eq!(packet(107, &[0x18, 0x41, 8, 0]).0, 17);
        assert_eq!(packet(100, &SNAP).0, 17);
    }

    #[test]
    fn tags_of_switch_chips() {
        let macs = [[1; 6], [2; 6]].concat();
        let source = String::from("02:02:02:02:02:02");
        assert_eq!(packet(281, &[&macs[..], &[0x20, 0, 0, 8, 8, 0]].concat()), (17, source.clone(), 0));
        assert_eq!(packet(282, &[&[0x20, 0, 0, 8], &macs[..], &[8, 0]].concat()), (17, source.clone(), 0));
        let dsa = [&macs[..], &[0xe0, 0x08, 0, 5, 8, 0]].concat();
        assert_eq!(packet(284, &dsa), (17, source.clone(), 5));
        let edsa = [&macs[..], &[0xda, 0xda, 0, 0, 0xc0, 0x08, 0, 5, 8, 0]].concat();
        assert_eq!(packet(285, &edsa), (17, source, 0));
    }

    #[test]
    fn bacnet_on_its_own_buses() {
        // A read of a device's object list, then its check sum, which is not the NPDU's.
        let mstp = [0x55, 0xff, 5, 0x0c, 0, 0, 4, 1, 1, 4, 2, 3, 0x99, 0x99];
        let Ok(Network::Link(Frame { ethertype, payload, source_mac, target_mac, .. })) = read(165, &mstp)
        else {
            panic!("no frame")
        };
        assert_eq!((ethertype, payload), (LLC + 0x82, &[1, 4, 2, 3][..]));
        assert_eq!([source_mac[5], target_mac[5]], [0, 12]);
        // A token.
        assert_eq!(read(165, &[0x55, 0xff, 0, 0, 0x1b, 0, 0, 6]).err(), Some(NO_DATA));
        let arcnet = [0xc0, 0, 0xe8, 0, 0xcd, 0x82, 0x82, 3, 1, 0x20, 0xff, 0xff];
        let Ok(Network::Link(frame)) = read(7, &arcnet) else { panic!("no frame") };
        assert_eq!((frame.ethertype, frame.payload), (LLC + 0x82, &[1, 0x20, 0xff, 0xff][..]));
    }
}
