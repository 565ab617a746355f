//! TCP conversations as a mirror port would see them, written as a pcap file.
//!
//! A [`Recording`] is a list of Ethernet frames. It keeps each connection's sequence numbers,
//! acknowledges as an ordinary stack does (every second full segment, otherwise after 40 ms or
//! with the answer), pads short frames to Ethernet's 60 bytes, and can show the [`Trouble`] that
//! real networks have. Frames are sorted by time when they are written.

use std::io::{self, BufWriter, Write};
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;

use yagura_event::clock::{Micros, SECOND};

use crate::random::Random;

/// Which end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The end that opens the connection.
    Client,
    /// The other end.
    Server,
}

impl Side {
    /// The other end.
    pub fn other(self) -> Side {
        match self {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        }
    }
}

/// What goes wrong on the way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trouble {
    /// Nothing.
    #[default]
    None,
    /// The last segment is lost behind the mirror port: it is seen a second time 210 ms later.
    Repeated,
    /// The first two segments are seen in the wrong order.
    Swapped,
    /// The mirror port misses the last segment; the receiver has it and acknowledges it.
    Unseen,
}

/// A connection of a [`Recording`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Conn(usize);

/// Frames in the making.
#[derive(Debug)]
pub struct Recording {
    start: Micros,
    frames: Vec<(Micros, Vec<u8>)>,
    connections: Vec<Connection>,
}

impl Recording {
    /// An empty recording; [`Recording::at`] counts from `start`.
    pub fn new(start: Micros) -> Self {
        Recording { start, frames: Vec::new(), connections: Vec::new() }
    }

    /// The time that many seconds after the start.
    pub fn at(&self, seconds: f64) -> Micros {
        self.start + (seconds * SECOND as f64).round() as Micros
    }

    /// How many frames there are so far.
    pub fn frames(&self) -> usize {
        self.frames.len()
    }

    /// Shakes hands: the first frame stands at `at`.
    pub fn tcp_connect(&mut self, client: SocketAddrV4, server: SocketAddrV4, at: Micros) -> Conn {
        let conn = Conn(self.connections.len());
        let mut random = Random::named(conn.0 as u64, "initial sequence numbers");
        let end = |random: &mut Random, address| End {
            address,
            next: random.word() as u32,
            identification: random.word() as u16,
            owes: None,
        };
        let ends = [end(&mut random, client), end(&mut random, server)];
        self.connections.push(Connection { ends, last: at - 1 });
        self.control(conn, Side::Client, SYN, at);
        self.control(conn, Side::Server, SYN | ACK, at + TURN);
        self.control(conn, Side::Client, ACK, at + 2 * TURN);
        conn
    }

    /// Sends bytes at `at`, or right after the connection's last frame where that is later.
    /// Answers when the last frame of it stands.
    pub fn send(&mut self, conn: Conn, side: Side, bytes: &[u8], at: Micros) -> Micros {
        self.send_in_trouble(conn, side, bytes, at, Trouble::None)
    }

    /// The same, with something going wrong.
    pub fn send_in_trouble(
        &mut self,
        conn: Conn,
        side: Side,
        bytes: &[u8],
        at: Micros,
        trouble: Trouble,
    ) -> Micros {
        let at = self.settle(conn, at);
        // Two segments are needed to swap two.
        let size = if trouble == Trouble::Swapped { MSS.min(bytes.len().div_ceil(2)) } else { MSS };
        let count = bytes.len().div_ceil(size.max(1));
        for (index, segment) in bytes.chunks(size.max(1)).enumerate() {
            let last = index + 1 == count;
            let place = match (trouble, index) {
                (Trouble::Swapped, 0) if count > 1 => 1,
                (Trouble::Swapped, 1) => 0,
                _ => index,
            };
            let when = at + place as Micros * SERIALISATION;
            let flags = if last { ACK | PSH } else { ACK };
            let frame = self.build(conn, side, flags, segment);
            let end = &mut self.connections[conn.0].ends[side as usize];
            end.next = end.next.wrapping_add(segment.len() as u32);
            end.owes = None;
            match trouble {
                Trouble::Unseen if last => {
                    let latest = &mut self.connections[conn.0].last;
                    *latest = when.max(*latest);
                }
                Trouble::Repeated if last => {
                    self.push(conn, when, frame.clone());
                    self.push(conn, when + RETRANSMISSION, frame);
                }
                _ => self.push(conn, when, frame),
            }
            if !last && index % 2 == 1 {
                self.control(conn, side.other(), ACK, when + TURN);
            }
        }
        let connection = &mut self.connections[conn.0];
        if count > 0 {
            connection.ends[side.other() as usize].owes = Some(connection.last + DELAYED_ACK);
        }
        connection.last
    }

    /// Closes in order, `side` first.
    pub fn close(&mut self, conn: Conn, side: Side, at: Micros) {
        let at = self.settle(conn, at);
        self.control(conn, side, FIN | ACK, at);
        self.control(conn, side.other(), FIN | ACK, at + TURN);
        self.control(conn, side, ACK, at + 2 * TURN);
    }

    /// Breaks off.
    pub fn reset(&mut self, conn: Conn, side: Side, at: Micros) {
        let at = self.settle(conn, at);
        self.control(conn, side, RST | ACK, at);
        self.connections[conn.0].ends.iter_mut().for_each(|end| end.owes = None);
    }

    /// Adds a frame as it is.
    pub fn frame(&mut self, at: Micros, bytes: &[u8]) {
        self.frames.push((at, bytes.to_vec()));
    }

    /// The whole recording as a pcap file's bytes (libpcap 2.4, little endian, microseconds,
    /// link type 1).
    pub fn to_pcap(&mut self) -> Vec<u8> {
        let mut out = Vec::new();
        match self.write(&mut out) {
            Ok(()) => out,
            Err(_) => unreachable!("writing into memory does not fail"),
        }
    }

    /// Writes the recording as a pcap file.
    pub fn write_pcap(&mut self, path: &Path) -> io::Result<()> {
        let mut out = BufWriter::with_capacity(1 << 16, std::fs::File::create(path)?);
        self.write(&mut out)?;
        out.flush()
    }

    fn write(&mut self, out: &mut dyn Write) -> io::Result<()> {
        let owing: Vec<Conn> = (0..self.connections.len()).map(Conn).collect();
        for conn in owing {
            self.settle(conn, Micros::MAX);
        }
        // Stable: frames of one moment keep the order in which they were made.
        self.frames.sort_by_key(|(at, _)| *at);
        out.write_all(&0xa1b2_c3d4_u32.to_le_bytes())?;
        out.write_all(&[2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0])?;
        out.write_all(&65_535_u32.to_le_bytes())?;
        out.write_all(&1_u32.to_le_bytes())?;
        for (at, frame) in &self.frames {
            let length = (frame.len() as u32).to_le_bytes();
            out.write_all(&(at.div_euclid(SECOND) as u32).to_le_bytes())?;
            out.write_all(&(at.rem_euclid(SECOND) as u32).to_le_bytes())?;
            out.write_all(&length)?;
            out.write_all(&length)?;
            out.write_all(frame)?;
        }
        Ok(())
    }

    /// Writes the acknowledgements that fall due by `at`; answers when the next frame may stand.
    fn settle(&mut self, conn: Conn, at: Micros) -> Micros {
        for side in [Side::Client, Side::Server] {
            let due = self.connections[conn.0].ends[side as usize].owes;
            if let Some(due) = due.filter(|due| *due <= at) {
                self.control(conn, side, ACK, due);
            }
        }
        at.max(self.connections[conn.0].last + 1)
    }

    /// A frame without payload.
    fn control(&mut self, conn: Conn, side: Side, flags: u8, at: Micros) {
        let frame = self.build(conn, side, flags, &[]);
        let end = &mut self.connections[conn.0].ends[side as usize];
        end.owes = None;
        if flags & (SYN | FIN) != 0 {
            end.next = end.next.wrapping_add(1);
        }
        self.push(conn, at, frame);
    }

    fn push(&mut self, conn: Conn, at: Micros, frame: Vec<u8>) {
        let last = &mut self.connections[conn.0].last;
        *last = at.max(*last);
        self.frames.push((at, frame));
    }

    fn build(&mut self, conn: Conn, side: Side, flags: u8, payload: &[u8]) -> Vec<u8> {
        let ends = &mut self.connections[conn.0].ends;
        let acknowledged = if flags & ACK == 0 { 0 } else { ends[side.other() as usize].next };
        let to = ends[side.other() as usize].address;
        let from = &mut ends[side as usize];
        from.identification = from.identification.wrapping_add(1);
        tcp_frame(from, to, acknowledged, flags, payload)
    }
}

/// The hardware address of a host: locally administered (bit 1 of the first byte), made of its
/// IPv4 address.
pub fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x59, a, b, c, d]
}

/// Payload bytes of a full segment on Ethernet.
pub const MSS: usize = 1_460;
/// Between a frame and the answer of the other end's stack.
const TURN: Micros = 120;
/// A full frame at one gigabit a second.
const SERIALISATION: Micros = 12;
const DELAYED_ACK: Micros = 40_000;
const RETRANSMISSION: Micros = 210_000;

const FIN: u8 = 0x01;
const SYN: u8 = 0x02;
const RST: u8 = 0x04;
const PSH: u8 = 0x08;
const ACK: u8 = 0x10;

#[derive(Debug)]
struct Connection {
    /// By [`Side`].
    ends: [End; 2],
    /// The latest frame's time.
    last: Micros,
}

#[derive(Debug)]
struct End {
    address: SocketAddrV4,
    /// The next sequence number that it sends.
    next: u32,
    /// Its last IPv4 identification.
    identification: u16,
    /// When it acknowledges what it has, unless it sends something before.
    owes: Option<Micros>,
}

/// Ethernet II, IPv4 (RFC 791) and TCP (RFC 9293) around a payload of at most [`MSS`] bytes.
fn tcp_frame(from: &End, to: SocketAddrV4, acknowledged: u32, flags: u8, payload: &[u8]) -> Vec<u8> {
    // A SYN tells the largest segment that its sender takes.
    let options: &[u8] = if flags & SYN != 0 { &[2, 4, (MSS >> 8) as u8, MSS as u8] } else { &[] };
    let tcp_length = (20 + options.len() + payload.len()) as u16;
    let (source, destination) = (*from.address.ip(), *to.ip());
    let mut frame = Vec::with_capacity(60.max(34 + tcp_length as usize));
    frame.extend(mac_of(destination));
    frame.extend(mac_of(source));
    frame.extend([0x08, 0x00]);

    frame.extend([0x45, 0]);
    frame.extend((20 + tcp_length).to_be_bytes());
    frame.extend(from.identification.to_be_bytes());
    frame.extend([0x40, 0, 64, 6, 0, 0]);
    frame.extend(source.octets());
    frame.extend(destination.octets());
    let sum = checksum(0, &frame[14..34]);
    frame[24..26].copy_from_slice(&sum.to_be_bytes());

    frame.extend(from.address.port().to_be_bytes());
    frame.extend(to.port().to_be_bytes());
    frame.extend(from.next.to_be_bytes());
    frame.extend(acknowledged.to_be_bytes());
    frame.extend([(5 + options.len() as u8 / 4) << 4, flags, 0xff, 0xff, 0, 0, 0, 0]);
    frame.extend(options);
    frame.extend(payload);
    // The pseudo header: both addresses, protocol and length.
    let pseudo = words(&frame[26..34]) + 6 + u32::from(tcp_length);
    let sum = checksum(pseudo, &frame[34..]);
    frame[50..52].copy_from_slice(&sum.to_be_bytes());
    if frame.len() < 60 {
        frame.resize(60, 0);
    }
    frame
}

/// The internet checksum (RFC 1071) over `bytes` and what was summed before.
fn checksum(before: u32, bytes: &[u8]) -> u16 {
    let mut sum = before + words(bytes);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn words(bytes: &[u8]) -> u32 {
    let mut pairs = bytes.chunks_exact(2);
    let sum: u32 = pairs.by_ref().map(|p| u32::from(u16::from_be_bytes([p[0], p[1]]))).sum();
    sum + pairs.remainder().first().map_or(0, |&byte| u32::from(byte) << 8)
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{NetHeaders, PacketHeaders, TransportHeader};

    fn conversation(trouble: Trouble, size: usize) -> (Recording, Vec<u8>) {
        let mut recording = Recording::new(1_000 * SECOND);
        let client = "10.0.0.1:40000".parse().expect("an address");
        let server = "10.0.0.2:5000".parse().expect("an address");
        let conn = recording.tcp_connect(client, server, recording.at(0.5));
        let bytes: Vec<u8> = (0..size).map(|i| (i * 7) as u8).collect();
        recording.send_in_trouble(conn, Side::Client, &bytes, recording.at(1.0), trouble);
        recording.send(conn, Side::Server, b"ok", recording.at(2.0));
        recording.close(conn, Side::Client, recording.at(3.0));
        recording.to_pcap();
        (recording, bytes)
    }

    /// Reads the client's stream back with another implementation of the headers, which also
    /// checks both checksums. Bytes that never came stay `None`.
    fn client_stream(recording: &Recording, size: usize) -> Vec<Option<u8>> {
        let mut stream = vec![None; size];
        let mut first = None;
        for (_, frame) in &recording.frames {
            let packet = PacketHeaders::from_ethernet_slice(frame).expect("a packet");
            let Some(NetHeaders::Ipv4(ip, _)) = &packet.net else { panic!("no IPv4") };
            let Some(TransportHeader::Tcp(tcp)) = &packet.transport else { panic!("no TCP") };
            let payload = packet.payload.slice();
            assert_eq!(ip.header_checksum, ip.calc_header_checksum());
            assert_eq!(Ok(tcp.checksum), tcp.calc_checksum_ipv4(ip, payload));
            assert!(frame.len() >= 60);
            if ip.source != [10, 0, 0, 1] {
                continue;
            }
            let first = *first.get_or_insert(tcp.sequence_number.wrapping_add(1));
            let from = tcp.sequence_number.wrapping_sub(first) as usize;
            for (index, byte) in payload.iter().enumerate() {
                stream[from + index] = Some(*byte);
            }
        }
        stream
    }

    #[test]
    fn streams_arrive_whole_with_right_checksums_whatever_happens_on_the_way() {
        for trouble in [Trouble::None, Trouble::Repeated, Trouble::Swapped] {
            for size in [1, 2, 1_460, 1_461, 30_001] {
                let (recording, bytes) = conversation(trouble, size);
                let wanted: Vec<Option<u8>> = bytes.into_iter().map(Some).collect();
                assert!(client_stream(&recording, size) == wanted, "{trouble:?}, {size} bytes");
            }
        }
    }

    #[test]
    fn an_unseen_segment_is_missing_and_acknowledged() {
        let (recording, _) = conversation(Trouble::Unseen, 3_000);
        let missing = client_stream(&recording, 3_000).iter().filter(|b| b.is_none()).count();
        assert_eq!(missing, 3_000 - 2 * MSS);
    }

    #[test]
    fn troubles_show_in_the_frames() {
        let count = |trouble| conversation(trouble, 3_000).0.frames();
        assert_eq!(count(Trouble::Repeated), count(Trouble::None) + 1);
        assert_eq!(count(Trouble::Unseen), count(Trouble::None) - 1);
        let (swapped, _) = conversation(Trouble::Swapped, 3_000);
        let sequence = |frame: &[u8]| u32::from_be_bytes([frame[38], frame[39], frame[40], frame[41]]);
        let sent: Vec<u32> =
            swapped.frames.iter().filter(|(_, f)| f.len() > 1_000).map(|(_, f)| sequence(f)).collect();
        assert_eq!(sent.len(), 3_000_usize.div_ceil(MSS.min(1_500)) - 1);
        assert!(sent[0] > sent[1], "{sent:?}");
    }

    #[test]
    fn a_reset_ends_the_connection_without_another_word() {
        let mut recording = Recording::new(0);
        let (client, server) =
            (SocketAddrV4::new([10, 0, 0, 1].into(), 1), SocketAddrV4::new([10, 0, 0, 2].into(), 2));
        let conn = recording.tcp_connect(client, server, recording.at(1.0));
        recording.send(conn, Side::Client, b"x", recording.at(2.0));
        recording.reset(conn, Side::Server, recording.at(2.01));
        recording.frame(recording.at(0.5), &[0; 60]);
        let pcap = recording.to_pcap();
        assert_eq!(recording.frames(), 6);
        assert_eq!(recording.frames[0], (500_000, vec![0; 60]));
        assert_eq!(recording.frames[5].1[47], RST | ACK);
        assert_eq!(pcap.len(), 24 + 6 * (16 + 60));
    }

    #[test]
    fn every_byte_is_acknowledged_and_times_never_run_backwards() {
        let (recording, _) = conversation(Trouble::None, 10_000);
        assert!(recording.frames.windows(2).all(|w| w[0].0 <= w[1].0));
        let acknowledged = |frame: &[u8]| u32::from_be_bytes([frame[42], frame[43], frame[44], frame[45]]);
        let next = recording.connections[0].ends[0].next;
        assert!(recording.frames.iter().any(|(_, f)| f[26..30] == [10, 0, 0, 2] && acknowledged(f) == next));
    }
}
