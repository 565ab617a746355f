//! One direction of a TCP connection becomes a byte stream (RFC 9293, 3.4 and 3.10).
//!
//! Segments that come early wait in bounded memory; of bytes that come twice the first copy
//! counts. A hole becomes a gap when the receiver acknowledged it (so it was on the wire and the
//! capture missed it), when what waits behind it has filled the memory, when it stayed open too
//! long, or when the connection ends.

use yagura_event::clock::Micros;

/// Data and acknowledgements farther ahead than this belong to no window (RFC 7323, 2.3).
const WINDOW_MAX: u32 = 1 << 30;
/// An acknowledgement this far beyond all data seen is not believed: a forged one would
/// otherwise skip the bytes that follow.
const UNSEEN_ACK_MAX: i32 = 1 << 20;
/// That many segments in a row outside of the window, and the stream begins anew at the last.
const STRAYS_MAX: u8 = 8;
/// What a waiting segment costs beside its bytes.
const SEGMENT_COST: usize = 64;

/// What comes out, in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Piece<'a> {
    /// The next bytes.
    Bytes(&'a [u8]),
    /// That many bytes will never come.
    Gap(u64),
}

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It carried bytes that were not there yet.
    New,
    /// All of it had been seen: a retransmission, a keep-alive or a mirror's second copy.
    Repeated,
    /// It belongs to no window.
    Stray,
}

/// What a segment came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Pushed {
    pub(crate) fate: Fate,
    /// A hole was given up, since what waits behind it is too much.
    pub(crate) full: bool,
    /// It repeats bytes with another content.
    pub(crate) conflict: bool,
}

/// The segment that was delivered last, to tell a retransmission from a forgery.
#[derive(Clone, Copy, Default)]
struct Last {
    seq: u32,
    len: u32,
    digest: u32,
}

/// One direction.
#[derive(Default)]
pub(crate) struct Half {
    /// Whether `next` is known.
    started: bool,
    /// The initial sequence number, if the SYN was seen.
    pub(crate) isn: Option<u32>,
    /// The next byte to deliver.
    next: u32,
    /// Beyond the last byte seen.
    high: u32,
    /// Where the FIN stands.
    fin: Option<u32>,
    strays: u8,
    last: Last,
    held: Option<Box<Held>>,
    /// Bytes of the stream that were seen, each once.
    pub(crate) bytes: u64,
    /// Bytes of the stream that were not.
    pub(crate) missing: u64,
    /// Packets of any kind.
    pub(crate) packets: u64,
}

/// Segments that came early, sorted and apart.
#[derive(Default)]
struct Held {
    segments: Vec<Early>,
    bytes: usize,
    /// When the present hole opened.
    since: Micros,
}

struct Early {
    seq: u32,
    /// Bytes on the wire.
    len: u32,
    /// How many of them were captured.
    captured: u32,
    /// Those bytes; empty when nobody wants them.
    data: Vec<u8>,
}

/// How a segment is to be treated.
#[derive(Clone, Copy)]
pub(crate) struct Treatment {
    /// The engine's clock.
    pub(crate) now: Micros,
    /// Whether bytes that wait are to be kept; otherwise only their places are.
    pub(crate) keep: bool,
    /// The most memory for what waits in this direction, in bytes.
    pub(crate) held_bytes_max: usize,
    /// The most segments that may wait in this direction.
    pub(crate) held_segments_max: usize,
}

impl Last {
    fn of(seq: u32, data: &[u8], len: u32) -> Last {
        use std::hash::Hasher;
        let mut hasher = rustc_hash::FxHasher::default();
        hasher.write(data);
        Last { seq, len, digest: hasher.finish() as u32 }
    }

    /// The lone byte of a keep-alive may be anything.
    fn contradicts(&self, seq: u32, data: &[u8], len: u32) -> bool {
        len > 1
            && (self.seq, self.len) == (seq, len)
            && data.len() == len as usize
            && Last::of(seq, data, len).digest != self.digest
    }
}

impl Early {
    /// Whether `data`, whose first byte belongs at `start`, differs where both were captured.
    fn contradicts(&self, own: u32, data: &[u8], start: u32) -> bool {
        let from = own.max(start);
        let own = self.data.get((from - own) as usize..).unwrap_or(&[]);
        let other = data.get((from - start) as usize..).unwrap_or(&[]);
        own.iter().zip(other).any(|(a, b)| a != b)
    }
}

impl Half {
    /// The SYN with this sequence number was seen.
    pub(crate) fn start(&mut self, isn: u32) {
        if self.isn.is_none() {
            self.isn = Some(isn);
            if !self.started {
                self.begin(isn.wrapping_add(1));
            }
        }
    }

    /// The peer sends data and expects this byte next. A server that answered twice, each time with
    /// another initial number, is heard from the one that its peer took.
    pub(crate) fn chosen(&mut self, expected: u32) {
        let untouched = self.isn.is_some() && self.bytes == 0 && self.missing == 0 && self.held.is_none();
        if untouched && (expected.wrapping_sub(self.next) as i32).unsigned_abs() > UNSEEN_ACK_MAX as u32 {
            self.isn = Some(expected.wrapping_sub(1));
            self.begin(expected);
        }
    }

    /// Whether a SYN with this number can belong to this direction: it is the one seen, or, in
    /// a connection found under way, its first byte comes soon before the first byte seen.
    pub(crate) fn admits(&self, isn: u32) -> bool {
        match self.isn {
            Some(known) => known == isn,
            None => {
                let distance = self.next.wrapping_sub(isn.wrapping_add(1));
                !self.started || u64::from(distance) <= self.bytes + self.missing
            }
        }
    }

    /// Whether the next byte is known.
    pub(crate) fn is_started(&self) -> bool {
        self.started
    }

    /// Whether everything up to the FIN was delivered.
    pub(crate) fn is_finished(&self) -> bool {
        self.fin.is_some_and(|fin| (self.next.wrapping_sub(fin) as i32) >= 0)
    }

    /// Memory of what waits behind a hole, in bytes.
    pub(crate) fn held_bytes(&self) -> usize {
        self.held.as_ref().map_or(0, |held| held.bytes)
    }

    /// Since when a hole has been open.
    pub(crate) fn hole_since(&self) -> Option<Micros> {
        self.held.as_ref().map(|held| held.since)
    }

    /// Whether a packet with this sequence number is near the stream's end.
    pub(crate) fn is_near(&self, seq: u32) -> bool {
        let ahead = seq.wrapping_sub(self.next) as i32;
        !self.started || (-UNSEEN_ACK_MAX..=UNSEEN_ACK_MAX).contains(&ahead)
    }

    /// The sender's last byte comes before `seq`.
    pub(crate) fn finish(&mut self, seq: u32) {
        if !self.started {
            self.begin(seq);
        }
        if self.fin.is_none() && self.is_near(seq) {
            self.fin = Some(seq);
        }
    }

    /// Takes a segment of `len` bytes of which `data` was captured.
    pub(crate) fn push(
        &mut self,
        seq: u32,
        data: &[u8],
        len: u32,
        treatment: Treatment,
        deliver: &mut impl FnMut(Piece<'_>),
    ) -> Pushed {
        let fated = |fate| Pushed { fate, full: false, conflict: false };
        if !self.started {
            self.begin(seq);
        }
        let ahead = seq.wrapping_sub(self.next) as i32;
        if ahead.unsigned_abs() > WINDOW_MAX || len > WINDOW_MAX {
            return self.stray(seq, data, len, treatment, deliver);
        }
        self.strays = 0;
        let mut data = data;
        let (mut seq, mut len) = (seq, len);
        if ahead < 0 {
            let seen = ahead.unsigned_abs();
            if seen >= len {
                let conflict = treatment.keep && self.last.contradicts(seq, data, len);
                return Pushed { conflict, ..fated(Fate::Repeated) };
            }
            data = data.get(seen as usize..).unwrap_or(&[]);
            seq = self.next;
            len -= seen;
        }
        let end = seq.wrapping_add(len);
        if end.wrapping_sub(self.high) as i32 > 0 {
            self.high = end;
        }
        if self.held.is_none() && seq == self.next {
            if treatment.keep {
                self.last = Last::of(seq, data, len);
            }
            self.advance(data, len, deliver);
            return fated(Fate::New);
        }
        let (fate, conflict) = self.hold(seq, data, len, treatment);
        self.drain(treatment.now, deliver);
        let mut full = false;
        while self.held.as_ref().is_some_and(|held| {
            held.bytes > treatment.held_bytes_max || held.segments.len() > treatment.held_segments_max
        }) {
            self.skip_hole(treatment.now, deliver);
            full = true;
        }
        Pushed { fate, full, conflict }
    }

    /// The other end has received everything before `ack`: what was not seen was missed.
    /// True when the acknowledgement is plausible.
    ///
    /// A mirror port may show an acknowledgement just before the data it acknowledges, since the
    /// two directions come from two queues. So unless the receiver went on (`tail`), only holes
    /// with later data behind them are given up: within a direction the order holds.
    pub(crate) fn acked(
        &mut self,
        ack: u32,
        tail: bool,
        now: Micros,
        deliver: &mut impl FnMut(Piece<'_>),
    ) -> bool {
        if !self.started {
            self.begin(ack);
            return true;
        }
        if ack.wrapping_sub(self.next) as i32 <= 0 {
            return true;
        }
        if ack.wrapping_sub(self.high) as i32 > UNSEEN_ACK_MAX {
            return false;
        }
        // The FIN takes a number of its own.
        let ack = match self.fin {
            Some(fin) if ack.wrapping_sub(fin) as i32 > 0 => fin,
            _ => ack,
        };
        loop {
            let missing = ack.wrapping_sub(self.next) as i32;
            if missing <= 0 {
                return true;
            }
            let hole = match self.held.as_ref().and_then(|held| held.segments.first()) {
                Some(early) => early.seq.wrapping_sub(self.next).min(missing as u32),
                None if tail => missing as u32,
                None => return true,
            };
            self.skip(hole, deliver);
            self.drain(now, deliver);
        }
    }

    /// Gives the first hole up; what waits behind it is delivered.
    pub(crate) fn skip_hole(&mut self, now: Micros, deliver: &mut impl FnMut(Piece<'_>)) {
        let first = self.held.as_ref().and_then(|held| held.segments.first()).map(|e| e.seq);
        if let Some(seq) = first {
            self.skip(seq.wrapping_sub(self.next), deliver);
        }
        self.drain(now, deliver);
    }

    /// The connection ended: all that waits is delivered, with the gaps before it.
    pub(crate) fn flush(&mut self, now: Micros, deliver: &mut impl FnMut(Piece<'_>)) {
        while self.held.is_some() {
            self.skip_hole(now, deliver);
        }
    }

    /// What waits is no longer wanted; its places are kept.
    pub(crate) fn forget_data(&mut self) {
        if let Some(held) = &mut self.held {
            held.bytes = held.segments.len() * SEGMENT_COST;
            held.segments.iter_mut().for_each(|early| early.data = Vec::new());
        }
    }

    fn begin(&mut self, next: u32) {
        self.started = true;
        self.next = next;
        self.high = next;
    }

    fn stray(
        &mut self,
        seq: u32,
        data: &[u8],
        len: u32,
        treatment: Treatment,
        deliver: &mut impl FnMut(Piece<'_>),
    ) -> Pushed {
        self.strays += 1;
        if self.strays < STRAYS_MAX {
            return Pushed { fate: Fate::Stray, full: false, conflict: false };
        }
        self.strays = 0;
        self.flush(treatment.now, deliver);
        self.skip(seq.wrapping_sub(self.next), deliver);
        self.high = seq;
        self.push(seq, data, len, treatment, deliver)
    }

    /// Delivers a segment that begins at `next`.
    fn advance(&mut self, data: &[u8], len: u32, deliver: &mut impl FnMut(Piece<'_>)) {
        let data = &data[..data.len().min(len as usize)];
        self.next = self.next.wrapping_add(data.len() as u32);
        self.bytes += data.len() as u64;
        if !data.is_empty() {
            deliver(Piece::Bytes(data));
        }
        self.skip(len - data.len() as u32, deliver);
    }

    fn skip(&mut self, missing: u32, deliver: &mut impl FnMut(Piece<'_>)) {
        if missing > 0 {
            self.next = self.next.wrapping_add(missing);
            if self.next.wrapping_sub(self.high) as i32 > 0 {
                self.high = self.next;
            }
            self.missing += u64::from(missing);
            deliver(Piece::Gap(u64::from(missing)));
        }
    }

    /// Puts the parts of a segment that are not there yet among those that wait.
    fn hold(&mut self, seq: u32, data: &[u8], len: u32, treatment: Treatment) -> (Fate, bool) {
        let next = self.next;
        let held =
            self.held.get_or_insert_with(|| Box::new(Held { since: treatment.now, ..Held::default() }));
        let place = |seq: u32| seq.wrapping_sub(next);
        let (start, end) = (place(seq), place(seq) + len);
        let mut cursor = start;
        let mut index = held.segments.partition_point(|e| place(e.seq) + e.len <= start);
        let mut fate = Fate::Repeated;
        let mut conflict = false;
        while cursor < end {
            let (until, after) = match held.segments.get(index) {
                Some(early) if place(early.seq) < end => {
                    conflict |= early.contradicts(place(early.seq), data, start);
                    (place(early.seq).max(cursor), place(early.seq) + early.len)
                }
                _ => (end, end),
            };
            if cursor < until {
                let from = ((cursor - start) as usize).min(data.len());
                let to = ((until - start) as usize).min(data.len());
                let kept = if treatment.keep { data[from..to].to_vec() } else { Vec::new() };
                held.bytes += kept.len() + SEGMENT_COST;
                held.segments.insert(
                    index,
                    Early {
                        seq: next.wrapping_add(cursor),
                        len: until - cursor,
                        captured: (to - from) as u32,
                        data: kept,
                    },
                );
                fate = Fate::New;
                index += 1;
            }
            cursor = after;
            index += 1;
        }
        (fate, conflict)
    }

    /// Delivers what no hole stands before.
    fn drain(&mut self, now: Micros, deliver: &mut impl FnMut(Piece<'_>)) {
        let Some(mut held) = self.held.take() else {
            return;
        };
        let mut done = 0;
        for early in &mut held.segments {
            let ahead = early.seq.wrapping_sub(self.next) as i32;
            if ahead > 0 {
                break;
            }
            done += 1;
            held.bytes -= early.data.len() + SEGMENT_COST;
            let seen = ahead.unsigned_abs();
            if seen >= early.len {
                continue;
            }
            // An acknowledgement may have skipped into the segment's uncaptured end.
            let data = early.data.get(seen as usize..).unwrap_or(&[]);
            if early.data.is_empty() {
                let captured = early.captured.saturating_sub(seen);
                self.next = self.next.wrapping_add(captured);
                self.bytes += u64::from(captured);
                self.skip(early.len - seen - captured, deliver);
            } else {
                self.advance(data, early.len - seen, deliver);
            }
        }
        if done > 0 {
            held.segments.drain(..done);
            held.since = now;
        }
        if !held.segments.is_empty() {
            self.held = Some(held);
        }
    }
}

#[cfg(test)]
mod tests;
