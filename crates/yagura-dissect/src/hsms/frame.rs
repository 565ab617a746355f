//! Frames: the header, and whether bytes are one (SEMI E37).

use yagura_event::vocabulary::operation;

use crate::secs2::{Format, Head, Item};
use crate::{Probe, Side, json};

/// Bytes of the length field.
pub const PREFIX: usize = 4;

/// Bytes of the header: session, two bytes, PType, SType, system bytes.
pub const HEADER: usize = 10;

/// Largest message that is read: recipes of several megabytes fit.
pub const LENGTH_MAX: usize = 16 << 20;

/// Largest frame of an unknown type that is passed over whole; a larger one is more likely a
/// place that is no frame at all.
pub(super) const UNKNOWN_LENGTH_MAX: usize = 1 << 16;

/// Bytes that [`judge`] needs at most: length, header, the first item's format and length bytes.
pub(super) const JUDGED: usize = PREFIX + HEADER + 4;

/// Bytes in which a probe searches for frames when the first bytes lie inside one.
pub(super) const PROBE_BYTES_MAX: usize = 1024;

/// How far back a frame that is not whole yet is looked for, see [`better_frame`].
const BETTER_BYTES_MAX: usize = 8 << 10;

/// A message's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// The session: for data the device id, 0xffff for the rest.
    pub session: u16,
    /// Of data the W-bit and the stream.
    pub byte2: u8,
    /// Of data the function; of what answers a control message its status.
    pub byte3: u8,
    /// How the text is encoded: 0 for SECS-II.
    pub ptype: u8,
    /// What kind of message: 0 for data.
    pub stype: u8,
    /// What joins a message and its reply.
    pub system: u32,
}

impl Header {
    /// Reads a header.
    pub fn of(b: &[u8; HEADER]) -> Header {
        Header {
            session: u16::from_be_bytes([b[0], b[1]]),
            byte2: b[2],
            byte3: b[3],
            ptype: b[4],
            stype: b[5],
            system: u32::from_be_bytes([b[6], b[7], b[8], b[9]]),
        }
    }

    /// Its bytes.
    pub fn to_bytes(&self) -> [u8; HEADER] {
        let ([s0, s1], [b0, b1, b2, b3]) = (self.session.to_be_bytes(), self.system.to_be_bytes());
        [s0, s1, self.byte2, self.byte3, self.ptype, self.stype, b0, b1, b2, b3]
    }

    /// Whether it is of a data message.
    pub fn is_data(&self) -> bool {
        self.stype == 0
    }

    /// The stream of a data message.
    pub fn stream(&self) -> u8 {
        self.byte2 & 0x7f
    }

    /// The function of a data message.
    pub fn function(&self) -> u8 {
        self.byte3
    }

    /// Whether the sender waits for a reply.
    pub fn wants_reply(&self) -> bool {
        if self.is_data() { self.byte2 & 0x80 != 0 } else { matches!(self.stype, 1 | 3 | 5) }
    }

    /// Whether it answers something.
    pub fn is_reply(&self) -> bool {
        if self.is_data() { self.function().is_multiple_of(2) } else { matches!(self.stype, 2 | 4 | 6) }
    }

    pub(super) fn push_name(&self, out: &mut String) {
        if self.is_data() {
            out.push('S');
            json::push_number(out, u64::from(self.stream()));
            out.push('F');
            json::push_number(out, u64::from(self.function()));
        } else {
            out.push_str(control_name(self.stype));
        }
    }
}

pub(super) fn control_name(stype: u8) -> &'static str {
    match stype {
        1 => "Select.req",
        2 => "Select.rsp",
        3 => "Deselect.req",
        4 => "Deselect.rsp",
        5 => "Linktest.req",
        6 => "Linktest.rsp",
        7 => "Reject.req",
        9 => "Separate.req",
        _ => "unknown",
    }
}

pub(super) fn control_operation(stype: u8) -> &'static str {
    match stype {
        1 | 2 => operation::SESSION_OPEN,
        3 | 4 | 9 => operation::SESSION_CLOSE,
        5 | 6 => operation::SESSION_KEEP,
        _ => operation::ERROR,
    }
}

pub(super) fn probe(_side: Side, bytes: &[u8]) -> Probe {
    match judge(bytes) {
        Probe::No if bytes.len() > PREFIX => {
            // Perhaps the middle of a message: then two whole frames must follow one another.
            for at in 1..bytes.len().min(PROBE_BYTES_MAX) {
                if let Some(next) = whole_frame(bytes, at)
                    && whole_frame(bytes, next).is_some()
                {
                    return Probe::Yes;
                }
            }
            Probe::No
        }
        verdict => verdict,
    }
}

/// Where the good frame that begins at `at` ends.
pub(super) fn whole_frame(bytes: &[u8], at: usize) -> Option<usize> {
    let frame = bytes.get(at..)?;
    if judge(frame) != Probe::Yes {
        return None;
    }
    let end = PREFIX + u32::from_be_bytes(frame.first_chunk().copied()?) as usize;
    let text = frame.get(PREFIX + HEADER..end)?;
    Item::message(text).ok().map(|_| at + end)
}

/// Whether `bytes` begin a frame of which everything that can be checked agrees.
pub(super) fn judge(bytes: &[u8]) -> Probe {
    if bytes.first().is_some_and(|&b| b > 1) {
        return Probe::No;
    }
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX>() else {
        return Probe::More;
    };
    let length = u32::from_be_bytes(*prefix) as usize;
    if !(HEADER..=LENGTH_MAX).contains(&length) {
        return Probe::No;
    }
    let Some((header, rest)) = rest.split_first_chunk::<HEADER>() else {
        // What is there of it must fit: others need not wait for the rest.
        let early = rest.get(4).is_some_and(|&ptype| ptype != 0) || rest.get(5).is_some_and(|&s| s > 9);
        return if early { Probe::No } else { Probe::More };
    };
    let header = Header::of(header);
    if header.ptype != 0 {
        return Probe::No;
    }
    let good = match header.stype {
        0 => {
            let primary = header.function() % 2 == 1;
            if header.stream() == 0 || header.session & 0x8000 != 0 || (header.wants_reply() && !primary) {
                return Probe::No;
            }
            if length == HEADER {
                true
            } else if rest.len() < (length - HEADER).min(JUDGED - PREFIX - HEADER) {
                return match rest.first() {
                    Some(first) if first & 3 == 0 => Probe::No,
                    _ => Probe::More,
                };
            } else {
                let room = length - HEADER;
                Head::read(rest).is_ok_and(|head| match head.format {
                    Format::List => {
                        head.size + 2 * head.length <= room && (head.length > 0 || room == head.size)
                    }
                    _ => head.size + head.length == room,
                })
            }
        }
        1 | 3 | 5 | 9 => length == HEADER && header.byte2 == 0 && header.byte3 == 0,
        2 | 4 | 6 => length == HEADER && header.byte2 == 0,
        7 => length == HEADER && header.byte3 != 0,
        _ => false,
    };
    if good { Probe::Yes } else { Probe::No }
}

/// Whether the first bytes of a direction are a frame by length and types, if an odd one.
pub(super) fn claims_a_frame(bytes: &[u8]) -> bool {
    let Some((prefix, rest)) = bytes.split_first_chunk::<PREFIX>() else {
        return false;
    };
    let length = u32::from_be_bytes(*prefix) as usize;
    let Some(header) = rest.first_chunk::<HEADER>().map(Header::of) else {
        return false;
    };
    (HEADER..=UNKNOWN_LENGTH_MAX).contains(&length) && header.ptype == 0 && header.stype <= 9
}

/// The frame inside of one that is not sure: whole and sound, with another after it.
/// `searched` remembers how far it was looked for, so that every byte is looked at few times.
pub(super) fn better_frame(bytes: &[u8], searched: &mut usize) -> Option<usize> {
    let mut undecided = None;
    let from = (*searched).max(1).max(bytes.len().saturating_sub(BETTER_BYTES_MAX));
    for at in from..bytes.len() {
        if judge(&bytes[at..]) == Probe::No {
            continue;
        }
        undecided.get_or_insert(at);
        if let Some(end) = whole_frame(bytes, at)
            && judge(&bytes[end..]) == Probe::Yes
        {
            *searched = 0;
            return Some(at);
        }
    }
    *searched = undecided.unwrap_or(bytes.len());
    None
}

/// Finds the next frame: how many bytes lie before it, and whether it is there. Bytes that may
/// begin one stay.
pub(super) fn scan(bytes: &[u8]) -> (usize, bool) {
    for at in 0..bytes.len() {
        match judge(&bytes[at..]) {
            Probe::Yes => return (at, true),
            Probe::More => return (at, false),
            Probe::No => {}
        }
    }
    (bytes.len(), false)
}
