//! Cuts streams and datagrams into frames, and finds the way back after bytes that are none.

use yagura_event::vocabulary::coverage;

use crate::cursor::Cut;
use crate::exchange::unreadable;
use crate::{Cx, Dissector, Outcome, Side, Transport};

/// Most bytes that are searched for a frame before a direction is given up.
const SCAN_BYTES_MAX: u64 = 1 << 20;
/// While searching, a frame that is not whole is waited for over that many bytes: no protocol may
/// have the capture layer hold less.
pub(crate) const WAIT_BYTES_MAX: usize = 4096;

/// What unread bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Frame {
    /// A frame of that many bytes, at least 1; perhaps not all of them are there.
    Of(usize),
    /// A frame of which only the beginning is read: that many bytes, and that many after them which
    /// are passed over as they come.
    Head(usize, u64),
    /// Too few bytes to say.
    More,
    /// No frame: what is wrong, as `status_code` shows it.
    Bad(&'static str),
}

/// A protocol whose messages say where they end. [`Framing`] makes a [`Dissector`] of it.
pub(crate) trait Framed: Send {
    /// Its name.
    const PROTOCOL: &'static str;

    /// What `bytes`, the unread ones of that side, begin with. Strict: whatever the header fixes is
    /// checked, because the search for a lost frame relies on it.
    fn frame(&self, side: Side, bytes: &[u8]) -> Frame;

    /// Reads one whole frame. An error is a row of its own (`malformed`), and the next frame is read.
    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut>;

    /// Whether what follows on both sides is another protocol, see [`Outcome::HandOver`]. Asked after
    /// every frame that was read.
    fn handed_over(&self) -> bool {
        false
    }

    /// Frames of that side are missing: what spans several is forgotten.
    fn lost(&mut self, cx: &mut Cx<'_>, side: Side);

    /// Time passed, see [`Dissector::expire`].
    fn expire(&mut self, cx: &mut Cx<'_>);

    /// The connection ended, see [`Dissector::close`].
    fn close(&mut self, cx: &mut Cx<'_>);
}

/// One direction.
#[derive(Default)]
struct Direction {
    /// Bytes still to be passed over.
    skip: u64,
    /// Why the next frame's place is unknown, where it is: what is passed over until one is found
    /// is reported as that, see [`coverage`].
    lost: Option<&'static str>,
    /// Bytes thrown away since it is.
    scanned: u64,
    /// Bytes done with, from the beginning of what was seen.
    place: u64,
}

/// Frames of a stream, or one or more in each datagram.
pub(crate) struct Framing<F> {
    inner: F,
    directions: [Direction; 2],
}

impl<F: Framed> Framing<F> {
    /// At the beginning of a connection.
    pub fn new(inner: F) -> Self {
        Framing { inner, directions: Default::default() }
    }

    /// What reads the frames.
    pub fn inner(&self) -> &F {
        &self.inner
    }

    fn datagram(&mut self, cx: &mut Cx<'_>, side: Side, bytes: &[u8]) {
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            let wrong = match self.inner.frame(side, rest) {
                Frame::Of(length) if length <= rest.len() => {
                    self.frame(cx, side, &rest[..length.max(1)]);
                    at += length.max(1);
                    continue;
                }
                Frame::Head(head, after) if head <= rest.len() => {
                    self.frame(cx, side, &rest[..head]);
                    at = at.saturating_add(head).saturating_add(after as usize);
                    continue;
                }
                Frame::Of(_) | Frame::Head(..) | Frame::More => "cut_off",
                Frame::Bad(what) => what,
            };
            unreadable(cx, F::PROTOCOL, side, Cut { what: wrong, at }, rest);
            return;
        }
    }

    fn frame(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) {
        if let Err(cut) = self.inner.read(cx, side, frame) {
            unreadable(cx, F::PROTOCOL, side, cut, frame);
        }
    }

    /// Finds the next frame: how many bytes lie before it, and whether it is there.
    fn scan(&self, side: Side, bytes: &[u8]) -> (usize, bool) {
        for at in 0..bytes.len() {
            let rest = &bytes[at..];
            match self.inner.frame(side, rest) {
                Frame::Bad(_) => {}
                Frame::Of(length) if length <= rest.len() => {
                    // Believed when it ends where the bytes end, or where another begins.
                    let next = &rest[length.max(1)..];
                    if next.is_empty() || !matches!(self.inner.frame(side, next), Frame::Bad(_)) {
                        return (at, true);
                    }
                }
                Frame::Head(head, after) if head as u64 + after <= rest.len() as u64 => {
                    return (at, true);
                }
                Frame::Of(_) | Frame::Head(..) | Frame::More if rest.len() < WAIT_BYTES_MAX => {
                    return (at, false);
                }
                Frame::Of(_) | Frame::Head(..) | Frame::More => {}
            }
        }
        (bytes.len(), false)
    }

    fn found_again(&mut self, cx: &mut Cx<'_>, side: Side, what: &str) {
        let direction = &mut self.directions[side as usize];
        let (skipped, place) = (std::mem::take(&mut direction.scanned), direction.place);
        let event = direction.lost.take().unwrap_or(coverage::MALFORMED);
        if skipped > 0 {
            let detail =
                format!("{what}: {skipped} bytes passed over, before byte {place} of the {side:?} side");
            cx.cover(F::PROTOCOL, event, skipped, &detail);
        }
    }
}

impl<F: Framed> Dissector for Framing<F> {
    fn parse(&mut self, cx: &mut Cx<'_>, side: Side, bytes: &[u8]) -> Outcome {
        if cx.flow.transport != Transport::Tcp {
            self.datagram(cx, side, bytes);
            return Outcome::Consumed(bytes.len());
        }
        let mut at = 0;
        while at < bytes.len() {
            let direction = &mut self.directions[side as usize];
            if direction.skip > 0 {
                let passed = direction.skip.min((bytes.len() - at) as u64);
                direction.skip -= passed;
                direction.place += passed;
                at += passed as usize;
                continue;
            }
            let rest = &bytes[at..];
            if direction.lost.is_some() {
                let (skipped, found) = self.scan(side, rest);
                let direction = &mut self.directions[side as usize];
                direction.scanned += skipped as u64;
                direction.place += skipped as u64;
                at += skipped;
                if direction.scanned > SCAN_BYTES_MAX {
                    self.found_again(cx, side, "no frame was found again");
                    return Outcome::Unrecoverable;
                }
                if !found {
                    break;
                }
                self.found_again(cx, side, "skipped up to the next frame");
                continue;
            }
            match self.inner.frame(side, rest) {
                Frame::Of(length) if length <= rest.len() => {
                    self.directions[side as usize].place += length.max(1) as u64;
                    self.frame(cx, side, &rest[..length.max(1)]);
                    at += length.max(1);
                    if self.inner.handed_over() {
                        return Outcome::HandOver(at);
                    }
                }
                Frame::Head(head, after) if head <= rest.len() => {
                    let direction = &mut self.directions[side as usize];
                    direction.place += head as u64;
                    direction.skip = after;
                    self.frame(cx, side, &rest[..head]);
                    at += head;
                }
                Frame::Of(_) | Frame::Head(..) | Frame::More => break,
                Frame::Bad(what) => {
                    let place = self.directions[side as usize].place;
                    unreadable(cx, F::PROTOCOL, side, Cut { what, at: place as usize }, rest);
                    self.inner.lost(cx, side);
                    let direction = &mut self.directions[side as usize];
                    direction.lost = Some(coverage::MALFORMED);
                    direction.scanned += 1;
                    direction.place += 1;
                    at += 1;
                }
            }
        }
        Outcome::Consumed(at)
    }

    fn gap(&mut self, cx: &mut Cx<'_>, side: Side, missing: u64) {
        let direction = &mut self.directions[side as usize];
        direction.place += missing;
        if direction.skip >= missing && direction.skip > 0 {
            // What is missing would not have been read.
            direction.skip -= missing;
            return;
        }
        direction.skip = 0;
        direction.lost = (cx.flow.transport == Transport::Tcp).then_some(coverage::GAP);
        self.inner.lost(cx, side);
    }

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.inner.expire(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.inner.close(cx);
        for side in [Side::Client, Side::Server] {
            self.found_again(cx, side, "no frame was found again");
        }
    }
}
