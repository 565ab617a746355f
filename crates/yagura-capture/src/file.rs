//! Capture files: classic pcap and pcapng, read as a stream in bounded memory.
//!
//! `pcap-parser` reads headers and blocks; this module frames them, so that it can say at which byte a
//! damaged file stops making sense, and skips what holds no packet without keeping it. Formats:
//! draft-ietf-opsawg-pcap and draft-ietf-opsawg-pcapng.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use pcap_parser::{Block, PcapHeader};
use yagura_event::clock::Micros;
use yagura_event::rows::{CoverageRow, Row, RowSink};
use yagura_event::vocabulary::coverage;

use crate::engine::{Engine, Packet};

const BUFFER: usize = 256 << 10;
/// The largest packet that any capture tool writes, USB transfers included.
const PACKET_MAX: u32 = 1 << 20;
/// The largest block that is read and not skipped: a packet with its options.
const BLOCK_MAX: u32 = PACKET_MAX + (1 << 20);
const INTERFACES_MAX: usize = 65_536;

const SECTION: u32 = 0x0a0d_0d0a;
const INTERFACE: u32 = 1;
const OLD_PACKET: u32 = 2;
const SIMPLE_PACKET: u32 = 3;
const ENHANCED_PACKET: u32 = 6;

/// Where and why a capture file could not be read any further.
#[derive(Debug, thiserror::Error)]
#[error("{file}: byte {offset}: {reason}")]
pub struct FileError {
    /// The file, as it was named.
    pub file: String,
    /// The byte at which the record that could not be read begins.
    pub offset: u64,
    /// Why.
    pub reason: FileProblem,
}

/// What is wrong with a capture file.
#[derive(Debug, thiserror::Error)]
pub enum FileProblem {
    /// The operating system refused.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It is something else.
    #[error(
        "this is neither a pcap nor a pcapng file; unpack it if it is compressed, or convert it \
         with `editcap -F pcapng`"
    )]
    NotACapture,
    /// It ends within a record.
    #[error("the file ends {missing} bytes too early, within a record; was it still being written?")]
    Truncated {
        /// How many bytes the record still needs.
        missing: u64,
    },
    /// A record contradicts itself.
    #[error("{0}; the file is damaged from here on")]
    Corrupt(&'static str),
}

/// A capture file that is being read.
pub struct PacketFile {
    name: String,
    source: Box<dyn Read + Send>,
    size: u64,
    buffer: Vec<u8>,
    /// The unread bytes in `buffer`.
    unread: Range<usize>,
    /// Where in the file the unread bytes begin.
    offset: u64,
    /// Bytes that hold no packet and are still to be skipped.
    skip: u64,
    format: Format,
    /// The last packet's time: simple packet blocks have none of their own.
    time: Micros,
    ended: bool,
}

enum Format {
    Classic { header: PcapHeader, link: u16, packet_max: u32 },
    Next { big_endian: bool, interfaces: Vec<Interface> },
}

#[derive(Clone, Copy)]
struct Interface {
    link: u16,
    snap: u32,
    units: Units,
    offset: i64,
}

/// What a pcapng timestamp counts.
#[derive(Clone, Copy)]
enum Units {
    /// Units a second.
    PerSecond(u128),
    /// Finer than 64 bits of units a second: nothing that could be told apart.
    Unknown,
}

/// Where a packet lies in the buffer.
struct Found {
    data: Range<usize>,
    time: Micros,
    link: u16,
    original: u32,
}

impl PacketFile {
    /// Opens a file and reads its header.
    pub fn open(path: &Path) -> Result<PacketFile, FileError> {
        let name = path.display().to_string();
        let fail = |error| FileError { file: name.clone(), offset: 0, reason: FileProblem::Io(error) };
        let file = File::open(path).map_err(fail)?;
        let size = file.metadata().map_err(fail)?.len();
        PacketFile::from_reader(&name, Box::new(file), size)
    }

    /// Reads a capture from anywhere; `size` in bytes is only for [`PacketFile::size`].
    pub fn from_reader(name: &str, source: Box<dyn Read + Send>, size: u64) -> Result<PacketFile, FileError> {
        let mut file = PacketFile {
            name: name.to_string(),
            source,
            size,
            buffer: vec![0; BUFFER],
            unread: 0..0,
            offset: 0,
            skip: 0,
            format: Format::Next { big_endian: false, interfaces: Vec::new() },
            time: 0,
            ended: false,
        };
        file.open_format().map_err(|reason| file.error(reason))?;
        Ok(file)
    }

    /// The next packet; `None` at the end. After an error there is nothing more to read.
    pub fn next_packet(&mut self) -> Result<Option<Packet<'_>>, FileError> {
        if self.ended {
            return Ok(None);
        }
        match self.find() {
            Ok(Some(found)) => {
                self.time = found.time;
                Ok(Some(Packet {
                    time: found.time,
                    observed: found.time,
                    link: found.link,
                    original: found.original,
                    data: &self.buffer[found.data],
                }))
            }
            Ok(None) => {
                self.ended = true;
                Ok(None)
            }
            Err(reason) => {
                self.ended = true;
                Err(self.error(reason))
            }
        }
    }

    /// How many bytes of the file are done with.
    pub fn position(&self) -> u64 {
        self.offset
    }

    /// The file's length in bytes when it was opened.
    pub fn size(&self) -> u64 {
        self.size
    }

    fn error(&self, reason: FileProblem) -> FileError {
        FileError { file: self.name.clone(), offset: self.offset, reason }
    }

    fn open_format(&mut self) -> Result<(), FileProblem> {
        self.fill(4)?;
        let magic = self.bytes().first_chunk::<4>().map(|m| u32::from_le_bytes(*m));
        match magic {
            Some(SECTION) => Ok(()),
            Some(0xa1b2_c3d4 | 0xd4c3_b2a1 | 0xa1b2_3c4d | 0x4d3c_b2a1 | 0xa1b2_cd34) => {
                self.need(24)?;
                let (_, header) =
                    pcap_parser::parse_pcap_header(self.bytes()).map_err(|_| FileProblem::NotACapture)?;
                // The upper bits tell of frame check sequences, which the IP length leaves out.
                let link = header.network.0 as u32 as u16;
                let packet_max = header.snaplen.clamp(PACKET_MAX / 4, PACKET_MAX);
                self.consume(24);
                self.format = Format::Classic { header, link, packet_max };
                Ok(())
            }
            _ => Err(FileProblem::NotACapture),
        }
    }

    fn find(&mut self) -> Result<Option<Found>, FileProblem> {
        loop {
            self.skip_blocks()?;
            if self.fill(1)? == 0 {
                return Ok(None);
            }
            let found = match self.format {
                Format::Classic { .. } => Some(self.classic()?),
                Format::Next { .. } => self.block()?,
            };
            if found.is_some() {
                return Ok(found);
            }
        }
    }

    /// One record of a classic file.
    fn classic(&mut self) -> Result<Found, FileProblem> {
        let Format::Classic { header, link, packet_max } = &self.format else {
            return Err(FileProblem::NotACapture);
        };
        let (link, packet_max, big_endian) = (*link, *packet_max, header.is_bigendian());
        let per_micro = if header.is_nanosecond_precision() { 1000 } else { 1 };
        let head = if header.is_modified_format() { 24 } else { 16 };
        self.need(head)?;
        let at = |place| word(self.bytes(), place, big_endian);
        let time = i64::from(at(0)) * 1_000_000 + i64::from(at(4) / per_micro);
        let (captured, original) = (at(8), at(12));
        if captured > packet_max {
            return Err(FileProblem::Corrupt("a packet is longer than any packet can be"));
        }
        let length = head + captured as usize;
        self.need(length)?;
        let start = self.unread.start + head;
        self.consume(length);
        let data = start..start + captured as usize;
        Ok(Found { data, time, link, original: original.max(captured) })
    }

    /// One block of a pcapng file; a packet if it holds one.
    fn block(&mut self) -> Result<Option<Found>, FileProblem> {
        self.need(12)?;
        let kind = word(self.bytes(), 0, false);
        if kind == SECTION {
            return self.section().map(|()| None);
        }
        let Format::Next { big_endian, .. } = &self.format else {
            return Err(FileProblem::NotACapture);
        };
        let big_endian = *big_endian;
        let kind = if big_endian { kind.swap_bytes() } else { kind };
        let length = word(self.bytes(), 4, big_endian);
        if length < 12 || !length.is_multiple_of(4) {
            return Err(FileProblem::Corrupt("a block's length is no multiple of 4 above 8"));
        }
        if !matches!(kind, INTERFACE | OLD_PACKET | SIMPLE_PACKET | ENHANCED_PACKET) {
            self.skip = u64::from(length);
            return Ok(None);
        }
        if length > BLOCK_MAX {
            return Err(FileProblem::Corrupt("a packet's block is longer than any packet can be"));
        }
        self.need(length as usize)?;
        let start = self.unread.start;
        let bytes = &self.buffer[start..start + length as usize];
        let Format::Next { interfaces, .. } = &mut self.format else {
            return Err(FileProblem::NotACapture);
        };
        let found = read_block(kind, bytes, big_endian, interfaces, self.time)?;
        self.consume(length as usize);
        Ok(found.map(|found| Found { data: start + found.data.start..start + found.data.end, ..found }))
    }

    /// A section header: byte order, and a fresh list of interfaces.
    fn section(&mut self) -> Result<(), FileProblem> {
        let big_endian = match word(self.bytes(), 8, false) {
            0x1a2b_3c4d => false,
            0x4d3c_2b1a => true,
            _ => {
                return Err(FileProblem::Corrupt("a section header has no byte-order magic"));
            }
        };
        let length = word(self.bytes(), 4, big_endian);
        if length < 28 || !length.is_multiple_of(4) {
            return Err(FileProblem::Corrupt("a section header has an impossible length"));
        }
        self.need(16)?;
        let major = {
            let b = self.bytes();
            let pair = [b[12], b[13]];
            if big_endian { u16::from_be_bytes(pair) } else { u16::from_le_bytes(pair) }
        };
        if major != 1 {
            return Err(FileProblem::Corrupt("a section has a pcapng version that is not 1"));
        }
        self.format = Format::Next { big_endian, interfaces: Vec::new() };
        self.skip = u64::from(length);
        Ok(())
    }

    fn bytes(&self) -> &[u8] {
        &self.buffer[self.unread.clone()]
    }

    fn consume(&mut self, n: usize) {
        self.unread.start += n;
        self.offset += n as u64;
    }

    /// Makes `n` bytes available, or says how many the file lacks.
    fn need(&mut self, n: usize) -> Result<(), FileProblem> {
        let have = self.fill(n)?;
        if have < n {
            return Err(FileProblem::Truncated { missing: (n - have) as u64 });
        }
        Ok(())
    }

    /// Makes `n` bytes available if the file has them; how many there are.
    fn fill(&mut self, n: usize) -> Result<usize, FileProblem> {
        while self.unread.len() < n {
            if self.unread.start + n > self.buffer.len() {
                self.buffer.copy_within(self.unread.clone(), 0);
                self.unread = 0..self.unread.len();
                if n > self.buffer.len() {
                    self.buffer.resize(n, 0);
                }
            }
            let read = match self.source.read(&mut self.buffer[self.unread.end..]) {
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(FileProblem::Io(error)),
            };
            if read == 0 {
                break;
            }
            self.unread.end += read;
        }
        Ok(self.unread.len())
    }

    fn skip_blocks(&mut self) -> Result<(), FileProblem> {
        while self.skip > 0 {
            let have = self.fill(1)? as u64;
            if have == 0 {
                return Err(FileProblem::Truncated { missing: self.skip });
            }
            let step = have.min(self.skip);
            self.consume(step as usize);
            self.skip -= step;
        }
        Ok(())
    }
}

/// What reading a file came to.
#[derive(Debug)]
pub struct FileSummary {
    /// Packets read.
    pub packets: u64,
    /// Bytes of the file that were read.
    pub position: u64,
    /// Bytes of the file.
    pub size: u64,
    /// Time of the first packet, if there is one.
    pub first: Option<Micros>,
    /// The latest time of any packet.
    pub last: Option<Micros>,
    /// Why the rest was not read; `None` when all of it was.
    pub error: Option<FileError>,
}

/// Reads a whole file into the engine, and writes coverage rows for its start and its end.
///
/// Flows go on: call [`Engine::finish`] after the last file. `progress` is told bytes read and
/// bytes in all, about a hundred times a file. A file that cannot be opened is an error like any other in
/// the summary.
pub fn read_file(
    path: &Path,
    engine: &mut Engine,
    out: &mut dyn RowSink,
    progress: impl FnMut(u64, u64),
) -> FileSummary {
    let name = path.display().to_string();
    match PacketFile::open(path) {
        Ok(file) => read_packets(&name, file, engine, out, progress),
        Err(error) => {
            let summary = FileSummary {
                packets: 0,
                position: error.offset,
                size: 0,
                first: None,
                last: None,
                error: Some(error),
            };
            report(&name, &summary, out, true);
            report(&name, &summary, out, false);
            summary
        }
    }
}

/// Reads what is left of a capture into the engine; see [`read_file`].
pub fn read_packets(
    name: &str,
    mut file: PacketFile,
    engine: &mut Engine,
    out: &mut dyn RowSink,
    mut progress: impl FnMut(u64, u64),
) -> FileSummary {
    let size = file.size();
    let mut summary = FileSummary { packets: 0, position: 0, size, first: None, last: None, error: None };
    let step = (size / 100).max(1 << 20);
    let mut next_progress = step;
    while !out.is_done() {
        match file.next_packet() {
            Ok(Some(packet)) => {
                if summary.first.is_none() {
                    summary.first = Some(packet.time);
                    report(name, &summary, out, true);
                }
                summary.last = summary.last.max(Some(packet.time));
                summary.packets += 1;
                engine.packet(&packet, out);
            }
            Ok(None) => break,
            Err(error) => {
                summary.error = Some(error);
                break;
            }
        }
        if file.position() >= next_progress {
            next_progress = file.position() + step;
            progress(file.position(), size);
        }
    }
    summary.position = file.position();
    progress(summary.position, size);
    if summary.first.is_none() {
        report(name, &summary, out, true);
    }
    report(name, &summary, out, false);
    summary
}

/// The coverage row at a file's start, or at its end.
fn report(name: &str, summary: &FileSummary, out: &mut dyn RowSink, start: bool) {
    let first = summary.first.unwrap_or(0);
    let last = if start { first } else { summary.last.unwrap_or(first) };
    let (event, detail) = match (&summary.error, start) {
        (_, true) => (coverage::START, format!("{} bytes", summary.size)),
        (None, false) => (coverage::STOP, format!("{} packets", summary.packets)),
        (Some(error), false) => (coverage::CORRUPT, format!("after {} packets: {error}", summary.packets)),
    };
    out.push(Row::Coverage(&CoverageRow {
        time: last,
        until: last,
        observed: last,
        event,
        subject: name,
        count: summary.packets,
        detail: &detail,
        ..CoverageRow::default()
    }));
}

fn word(bytes: &[u8], at: usize, big_endian: bool) -> u32 {
    let word = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]];
    if big_endian { u32::from_be_bytes(word) } else { u32::from_le_bytes(word) }
}

/// Reads a whole block: an interface joins the list, a packet is returned with its place in
/// `bytes`.
fn read_block(
    kind: u32,
    bytes: &[u8],
    big_endian: bool,
    interfaces: &mut Vec<Interface>,
    last: Micros,
) -> Result<Option<Found>, FileProblem> {
    let fail = FileProblem::Corrupt;
    let interface = |interfaces: &[Interface], id: u32| {
        interfaces
            .get(id as usize)
            .copied()
            .ok_or(fail("a packet names an interface that the file does not describe"))
    };
    let packet = |interface: Interface, at: usize, time, captured: u32, original: u32| {
        let data = at..at + captured as usize;
        if captured > PACKET_MAX || data.end + 4 > bytes.len() {
            return Err(fail("a packet runs past its block"));
        }
        let original = original.max(captured);
        Ok(Some(Found { data, time, link: interface.link, original }))
    };
    let parsed = match big_endian {
        true => pcap_parser::parse_block_be(bytes),
        false => pcap_parser::parse_block_le(bytes),
    };
    match parsed.map_err(|_| fail("a block contradicts itself"))?.1 {
        Block::InterfaceDescription(block) => {
            if interfaces.len() == INTERFACES_MAX {
                return Err(fail("a section describes more interfaces than there can be"));
            }
            let offset = block.options.iter().find(|option| option.code.0 == 14);
            let offset = offset
                .and_then(|o| o.as_bytes().ok()?.try_into().ok())
                .map(|o| if big_endian { i64::from_be_bytes(o) } else { i64::from_le_bytes(o) });
            interfaces.push(Interface {
                link: block.linktype.0 as u16,
                snap: block.snaplen,
                units: Units::of(block.if_tsresol),
                offset: offset.unwrap_or(0),
            });
            Ok(None)
        }
        Block::EnhancedPacket(block) => {
            let on = interface(interfaces, block.if_id)?;
            let time = on.time(block.ts_high, block.ts_low);
            packet(on, 28, time, block.caplen, block.origlen)
        }
        Block::SimplePacket(block) => {
            let on = interface(interfaces, 0)?;
            let snap = if on.snap == 0 { u32::MAX } else { on.snap };
            let captured = block.origlen.min(snap).min(bytes.len() as u32 - 16);
            packet(on, 12, last, captured, block.origlen)
        }
        // The obsolete packet block: as the enhanced one, but with a 16-bit interface number
        // and a count of drops.
        Block::Unknown(_) if kind == OLD_PACKET && bytes.len() >= 32 => {
            let at = |at| word(bytes, at, big_endian);
            let id = if big_endian { at(8) >> 16 } else { at(8) & 0xffff };
            let on = interface(interfaces, id)?;
            packet(on, 28, on.time(at(12), at(16)), at(20), at(24))
        }
        _ => Err(fail("a block contradicts itself")),
    }
}

impl Interface {
    fn time(&self, high: u32, low: u32) -> Micros {
        let units = (u128::from(high) << 32) | u128::from(low);
        let micros = match self.units {
            Units::PerSecond(1_000_000) => units,
            Units::PerSecond(per_second) => units * 1_000_000 / per_second,
            Units::Unknown => 0,
        };
        let micros = Micros::try_from(micros).unwrap_or(Micros::MAX);
        micros.saturating_add(self.offset.saturating_mul(1_000_000))
    }
}

impl Units {
    /// `if_tsresol`: a power of ten, or of two with the highest bit set; 6 when it is not given.
    fn of(resolution: u8) -> Units {
        let exponent = u32::from(resolution & 0x7f);
        let base: u128 = if resolution & 0x80 == 0 { 10 } else { 2 };
        match base.checked_pow(exponent) {
            Some(units) if units <= u128::from(u64::MAX) => Units::PerSecond(units),
            _ => Units::Unknown,
        }
    }
}

#[cfg(test)]
mod tests;
