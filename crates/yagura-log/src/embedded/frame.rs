//! The bytes of a segment file: a header, then one frame a record, all little-endian.
//!
//! ```text
//! segment   0  magic "YAGURALG"      frame   0  magic "YGR1"
//!           8  version u32                   4  CRC-32C of all that follows, begun with the salt
//!          12  salt u32                      8  offset u64
//!          16  base offset u64              16  time i64, microseconds
//!          24  length of the segment        24  synced u32
//!              before this one u64          28  length of key, header, value: 3 × u32
//!          32  CRC-32C of 0..32             40  key, header, value
//!          36  0 u32
//! ```
//!
//! `synced` is the length of this file that was known to be on the disk when the frame was
//! written. It is what tells a torn tail from damage. The salt, different for each file, keeps a
//! payload from passing for a frame: who writes it does not know the salt.

use std::ops::Range;

use bytes::Bytes;
use crc32c::{crc32c, crc32c_append};

use crate::{Record, Stored};

/// Length of a segment's header.
pub(super) const SEGMENT: usize = 40;
/// Length of a frame's own fields.
pub(super) const FRAME: usize = 40;

const SEGMENT_MAGIC: &[u8; 8] = b"YAGURALG";
const FRAME_MAGIC: &[u8; 4] = b"YGR1";
const VERSION: u32 = 1;

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub salt: u32,
    pub base: u64,
    /// Length of the segment before this one; 0 when there was none.
    pub previous: u64,
}

impl SegmentHeader {
    pub fn encode(&self) -> [u8; SEGMENT] {
        let mut bytes = [0; SEGMENT];
        bytes[..8].copy_from_slice(SEGMENT_MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.salt.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.base.to_le_bytes());
        bytes[24..32].copy_from_slice(&self.previous.to_le_bytes());
        let crc = crc32c(&bytes[..32]);
        bytes[32..36].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub fn decode(bytes: &[u8]) -> Result<Self, &'static str> {
        if bytes.len() < SEGMENT || &bytes[..8] != SEGMENT_MAGIC {
            return Err("not a segment of a Yagura log");
        }
        if u32_at(bytes, 32) != crc32c(&bytes[..32]) {
            return Err("the segment's header does not match its CRC");
        }
        if u32_at(bytes, 8) != VERSION {
            return Err("written by another version of Yagura");
        }
        Ok(SegmentHeader { salt: u32_at(bytes, 12), base: u64_at(bytes, 16), previous: u64_at(bytes, 24) })
    }
}

/// Adds a frame without CRC and `synced`, which [`seal`] fills in.
pub(super) fn encode(into: &mut Vec<u8>, offset: u64, time: i64, record: &Record) {
    into.extend_from_slice(FRAME_MAGIC);
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(&offset.to_le_bytes());
    into.extend_from_slice(&time.to_le_bytes());
    into.extend_from_slice(&[0; 4]);
    into.extend_from_slice(&(record.key.len() as u32).to_le_bytes());
    into.extend_from_slice(&(record.header.len() as u32).to_le_bytes());
    into.extend_from_slice(&(record.value.len() as u32).to_le_bytes());
    into.extend_from_slice(&record.key);
    into.extend_from_slice(&record.header);
    into.extend_from_slice(&record.value);
}

/// Finishes whole frames just before they are written; calls `each` with offset, time and
/// position within `frames` of each.
pub(super) fn seal(frames: &mut [u8], salt: u32, synced: u64, mut each: impl FnMut(u64, i64, usize)) {
    let mut at = 0;
    while at < frames.len() {
        let size = FRAME + payload(&frames[at..]);
        let frame = &mut frames[at..at + size];
        frame[24..28].copy_from_slice(&(synced as u32).to_le_bytes());
        let crc = crc32c_append(salt, &frame[8..]);
        frame[4..8].copy_from_slice(&crc.to_le_bytes());
        each(u64_at(frame, 8), u64_at(frame, 16) as i64, at);
        at += size;
    }
}

/// A frame's fields, of which the CRC has been checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    pub offset: u64,
    pub time: i64,
    pub synced: u64,
    /// Length of the whole frame.
    pub size: usize,
    key: usize,
    header: usize,
}

impl Frame {
    /// The record as slices of the chunk in which the frame begins at `at`.
    pub fn stored(&self, chunk: &Bytes, at: usize) -> Stored {
        let slice = |range: Range<usize>| {
            if range.is_empty() { Bytes::new() } else { chunk.slice(range) }
        };
        let key = at + FRAME;
        let header = key + self.key;
        let value = header + self.header;
        Stored {
            offset: self.offset,
            record: Record {
                key: slice(key..header),
                header: slice(header..value),
                value: slice(value..at + self.size),
            },
        }
    }
}

/// What stands at a place.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// A frame whose CRC is right.
    Frame(Frame),
    /// At least this many bytes are needed to tell.
    Short(usize),
    /// No frame.
    Bad(&'static str),
}

/// Reads the frame at the beginning of `bytes`.
pub(super) fn parse(bytes: &[u8], salt: u32) -> Parsed {
    if bytes.len() < FRAME {
        return Parsed::Short(FRAME);
    }
    if &bytes[..4] != FRAME_MAGIC {
        return Parsed::Bad("no record begins here");
    }
    let size = FRAME + payload(bytes);
    if bytes.len() < size {
        return Parsed::Short(size);
    }
    if u32_at(bytes, 4) != crc32c_append(salt, &bytes[8..size]) {
        return Parsed::Bad("the record does not match its CRC");
    }
    Parsed::Frame(Frame {
        offset: u64_at(bytes, 8),
        time: u64_at(bytes, 16) as i64,
        synced: u64::from(u32_at(bytes, 24)),
        size,
        key: u32_at(bytes, 28) as usize,
        header: u32_at(bytes, 32) as usize,
    })
}

/// The largest `synced` of all frames that stand anywhere in `bytes`, at any alignment.
pub(super) fn largest_synced(bytes: &[u8], salt: u32) -> Option<u64> {
    let mut largest = None;
    let mut at = 0;
    while let Some(found) = bytes[at..].windows(4).position(|four| four == FRAME_MAGIC) {
        at += found;
        match parse(&bytes[at..], salt) {
            Parsed::Frame(frame) => {
                largest = largest.max(Some(frame.synced));
                at += frame.size;
            }
            Parsed::Short(_) | Parsed::Bad(_) => at += 4,
        }
    }
    largest
}

/// The time in a frame's fields, without a check of its CRC.
pub(super) fn time_unchecked(bytes: &[u8]) -> Option<i64> {
    (bytes.len() >= FRAME && &bytes[..4] == FRAME_MAGIC).then(|| u64_at(bytes, 16) as i64)
}

/// Bytes of key, header and value; three u32 never overflow a 64-bit usize.
fn payload(frame: &[u8]) -> usize {
    u32_at(frame, 28) as usize + u32_at(frame, 32) as usize + u32_at(frame, 36) as usize
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sealed(records: &[Record], salt: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (index, record) in records.iter().enumerate() {
            encode(&mut bytes, index as u64, 7, record);
        }
        seal(&mut bytes, salt, 99, |_, _, _| {});
        bytes
    }

    fn record(key: &[u8], header: &[u8], value: &[u8]) -> Record {
        Record {
            key: Bytes::copy_from_slice(key),
            header: Bytes::copy_from_slice(header),
            value: Bytes::copy_from_slice(value),
        }
    }

    proptest! {
        #[test]
        fn a_frame_reads_back(key: Vec<u8>, header: Vec<u8>, value: Vec<u8>, salt: u32) {
            let written = record(&key, &header, &value);
            let bytes = Bytes::from(sealed(std::slice::from_ref(&written), salt));
            let Parsed::Frame(frame) = parse(&bytes, salt) else { panic!("no frame") };
            prop_assert_eq!((frame.size, frame.synced, frame.time), (bytes.len(), 99, 7));
            prop_assert_eq!(frame.stored(&bytes, 0).record, written);
        }

        #[test]
        fn any_flipped_bit_and_any_cut_is_noticed(value: Vec<u8>, at: prop::sample::Index, bit in 0..8) {
            let mut bytes = sealed(&[record(b"k", b"h", &value)], 5);
            let cut = at.index(bytes.len());
            prop_assert!(matches!(parse(&bytes[..cut], 5), Parsed::Short(_)));
            bytes[cut] ^= 1u8 << bit;
            prop_assert!(!matches!(parse(&bytes, 5), Parsed::Frame(_)));
        }

        #[test]
        fn arbitrary_bytes_are_no_frame(bytes: Vec<u8>) {
            prop_assert!(!matches!(parse(&bytes, 5), Parsed::Frame(_)));
            prop_assert_eq!(largest_synced(&bytes, 5), None);
        }
    }

    #[test]
    fn a_payload_that_looks_like_a_frame_is_none_under_another_salt() {
        let inner = sealed(&[record(b"k", b"", b"v")], 1);
        let outer = sealed(&[record(b"k", b"", &inner)], 2);
        assert_eq!(largest_synced(&outer[1..], 2), None);
        assert_eq!(largest_synced(&outer[1..], 1), Some(99));
    }

    #[test]
    fn a_segments_header_reads_back_and_notices_changes() {
        let header = SegmentHeader { salt: 1, base: 2, previous: 3 };
        let mut bytes = header.encode();
        assert_eq!(SegmentHeader::decode(&bytes), Ok(header));
        bytes[20] ^= 1;
        assert!(SegmentHeader::decode(&bytes).is_err());
        assert!(SegmentHeader::decode(&bytes[..SEGMENT - 1]).is_err());
    }
}
