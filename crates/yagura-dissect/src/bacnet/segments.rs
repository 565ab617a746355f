//! Segments put together (clause 5.4): in order, bounded.

use yagura_event::clock::Micros;

use super::Key;
use crate::Side;
use crate::cursor::Cut;

/// Most messages of one connection that are put together at once; the oldest is given up first.
const OPEN_MAX: usize = 4;
/// Longest message that is put together.
const BYTES_MAX: usize = 128 << 10;

/// Where a segment belongs.
#[derive(Clone, Copy)]
pub(super) struct Segment {
    pub side: Side,
    pub key: Key,
    /// Whether it is a request's or an acknowledgement's.
    pub request: bool,
    pub sequence: u8,
    pub last: bool,
}

/// A message of which segments came.
pub(super) struct Open {
    side: Side,
    key: Key,
    request: bool,
    /// The sequence number that comes next.
    next: u8,
    /// When the first segment came.
    pub time: Micros,
    /// How many segments it has.
    pub count: u32,
    pub bytes: Vec<u8>,
}

/// The messages of a connection of which segments came.
#[derive(Default)]
pub(super) struct Segments {
    open: Vec<Open>,
    broken: u64,
}

impl Segments {
    /// How many segments came without their predecessors.
    pub fn broken(&self) -> u64 {
        self.broken
    }

    /// Adds a segment; returns the message when it is whole.
    pub fn add(&mut self, time: Micros, segment: Segment, bytes: &[u8]) -> Result<Option<Open>, Cut> {
        let Segment { side, key, request, sequence, last } = segment;
        let at = self.open.iter().position(|o| o.side == side && o.key == key && o.request == request);
        let mut open = match at {
            Some(at) => self.open.remove(at),
            None if self.open.len() < OPEN_MAX => {
                Open { side, key, request, next: 0, time, count: 0, bytes: Vec::new() }
            }
            None => self.open.remove(0),
        };
        if sequence == 0 && (at.is_none() || open.next != 0) {
            open.bytes.clear();
            open = Open { side, key, request, next: 0, time, count: 0, bytes: open.bytes };
        } else if at.is_none() {
            self.broken += 1;
            return Ok(None);
        }
        let ahead = sequence.wrapping_sub(open.next);
        if ahead > 127 {
            // Once more what came already.
            self.open.push(open);
            return Ok(None);
        }
        if ahead > 0 {
            self.broken += 1;
            return Ok(None);
        }
        if open.bytes.len() + bytes.len() > BYTES_MAX {
            return Err(Cut { what: "segmented_length", at: 0 });
        }
        open.bytes.extend_from_slice(bytes);
        open.next = sequence.wrapping_add(1);
        open.count += 1;
        if last {
            return Ok(Some(open));
        }
        self.open.push(open);
        Ok(None)
    }

    /// Frames of a side are missing.
    pub fn forget(&mut self, side: Side) {
        self.open.retain(|o| o.side != side);
    }

    /// Gives up what began before `time`.
    pub fn expire(&mut self, time: Micros) {
        self.open.retain(|o| o.time >= time);
    }
}
