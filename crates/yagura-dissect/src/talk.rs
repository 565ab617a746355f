//! Connections of two programs that talk in lines of text: commands one way, replies the other.
//!
//! [`Talking`] makes a [`Framed`] of a [`Talk`]. Content between the lines is passed over as it
//! comes, and so is a line that is too long to be one.

use crate::cursor::Cut;
use crate::exchange::Exchanges;
use crate::framing::{Frame, Framed, Framing};
use crate::lines;
use crate::{Cx, Dissector, Side};

/// Longest line that is read. RFC 5321 has 512 bytes, IMAP clients send some thousand.
pub(crate) const LINE_MAX: usize = 8192;

/// A protocol of lines.
pub(crate) trait Talk: Send + Sized + 'static {
    /// Its name.
    const PROTOCOL: &'static str;
    /// What tells requests apart that wait for their replies.
    type Key: Send;

    /// Reads one line, without its end.
    fn line(&mut self, cx: &mut Cx<'_>, side: Side, line: &str);

    /// Whether a line may be one of that side; asked for the first one after a gap only, which may
    /// begin in the middle.
    fn fits(&self, side: Side, line: &str) -> bool;

    /// The requests that wait.
    fn exchanges(&mut self) -> &mut Exchanges<Self::Key>;

    /// How many bytes come next from that side that are no lines.
    fn content(&self, _side: Side) -> u64 {
        0
    }

    /// Such bytes, or a line that is too long.
    fn passed(&mut self, _side: Side, _length: u64) {}

    /// Whether another protocol follows: STARTTLS.
    fn over(&self) -> bool {
        false
    }

    /// Lines of that side are missing.
    fn lost(&mut self, _side: Side) {}

    /// The connection ends; what waits is written after it.
    fn end(&mut self, _cx: &mut Cx<'_>) {}
}

/// The state of a connection.
pub(crate) fn start<T: Talk>(inner: T) -> Box<dyn Dissector> {
    Box::new(Framing::new(Talking { inner, long: [false; 2], broken: [false; 2] }))
}

struct Talking<T> {
    inner: T,
    /// Whether what comes is the rest of a line that is too long.
    long: [bool; 2],
    /// Whether the next line may begin in the middle.
    broken: [bool; 2],
}

impl<T: Talk> Framed for Talking<T> {
    const PROTOCOL: &'static str = T::PROTOCOL;

    fn frame(&self, side: Side, bytes: &[u8]) -> Frame {
        let content = self.inner.content(side);
        if content > 0 {
            return Frame::Of(content.min(bytes.len() as u64).max(1) as usize);
        }
        match lines::line(bytes, LINE_MAX) {
            Frame::Bad(_) => Frame::Of(bytes.len()),
            Frame::More if self.long[side as usize] => Frame::Of(bytes.len().max(1)),
            frame => frame,
        }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let broken = std::mem::take(&mut self.broken[side as usize]);
        if self.inner.content(side) > 0 {
            self.inner.passed(side, frame.len() as u64);
            return Ok(());
        }
        let ends = frame.ends_with(b"\n");
        if std::mem::replace(&mut self.long[side as usize], !ends) || !ends {
            self.inner.passed(side, frame.len() as u64);
            return Ok(());
        }
        let line = lines::text(frame);
        if !broken || self.inner.fits(side, &line) {
            self.inner.line(cx, side, &line);
        }
        Ok(())
    }

    fn handed_over(&self) -> bool {
        self.inner.over()
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, side: Side) {
        self.broken[side as usize] = true;
        self.long[side as usize] = false;
        self.inner.lost(side);
    }

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.inner.exchanges().expire(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.inner.end(cx);
        self.inner.exchanges().close(cx);
    }
}
