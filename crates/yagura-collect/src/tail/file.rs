//! One file that is followed: what it is, and how far it was read.

use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

use yagura_event::clock::Micros;

use super::streams::{BEGINNING, Inode};

/// Bytes before the place that was read to that tell a copy of the file.
const BEFORE: usize = 256;

/// A file among those that match.
pub(super) struct Followed<H> {
    pub path: PathBuf,
    pub inode: Inode,
    /// Open while it is young, matches or is still read.
    pub file: Option<File>,
    pub state: State,
    /// What the lines at its beginning said.
    pub head: H,
    pub mark: Mark,
    /// Its length when it was looked at last, and when it had been written.
    pub size: u64,
    pub written: (i64, i64),
    /// Up to where was read, with what waits for its line's end.
    pub seen: u64,
    /// Where a line began that is too long and being passed over.
    pub skipped_from: Option<u64>,
    /// When it was found to be longer last.
    pub grown: Micros,
    /// Since when no pattern finds it.
    pub gone: Option<Micros>,
    /// It does not begin as it did any more.
    pub changed: bool,
    /// Nothing will follow: a line without an end is one, too.
    pub closing: bool,
}

/// What is done with a file.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    /// It has no whole line of data yet.
    Young,
    /// It is not read: its content is that of the file with this inode, which is.
    CopyOf(Inode),
    /// It is read.
    Read,
    /// It cannot be opened, which was told; it is tried again.
    Locked,
    /// It cannot be understood, which was told.
    Refused,
}

/// Which stream a file is, and how far that was read.
#[derive(Clone, Default)]
pub(super) struct Mark {
    pub stream: String,
    /// Where the data begin.
    pub begin: u64,
    /// The first data, at most [`BEGINNING`] bytes.
    pub first: Vec<u8>,
    /// Where the next line begins.
    pub at: u64,
    /// What stands before it, at most [`BEFORE`] bytes.
    before: Vec<u8>,
}

impl Mark {
    /// A mark at a place of a file.
    pub(super) fn at(
        stream: String,
        begin: u64,
        first: &[u8],
        at: u64,
        file: &File,
    ) -> std::io::Result<Self> {
        let mut before = vec![0; BEFORE.min((at - begin) as usize)];
        let from = at - before.len() as u64;
        file.read_exact_at(&mut before, from)?;
        Ok(Mark { stream, begin, first: first[..BEGINNING.min(first.len())].to_vec(), at, before })
    }

    /// Goes on over what was read.
    pub(super) fn pass(&mut self, read: &[u8]) {
        let room = BEGINNING - self.first.len();
        if room > 0 {
            // What of it was known already, when the stream was named.
            let known = (self.begin + self.first.len() as u64).saturating_sub(self.at) as usize;
            let rest = read.get(known..).unwrap_or_default();
            self.first.extend_from_slice(&rest[..room.min(rest.len())]);
        }
        if read.len() >= BEFORE {
            self.before.clear();
        }
        self.before.extend_from_slice(&read[read.len().saturating_sub(BEFORE)..]);
        let surplus = self.before.len().saturating_sub(BEFORE);
        self.before.drain(..surplus);
        self.at += read.len() as u64;
    }

    /// Whether a file begins as this one did.
    pub(super) fn begins(&self, file: &File) -> bool {
        holds(file, self.begin, &self.first)
    }

    /// Whether a file goes on where this one was read to.
    pub(super) fn goes_on_in(&self, file: &File) -> bool {
        self.begins(file) && holds(file, self.at - self.before.len() as u64, &self.before)
    }
}

impl<H: Default> Followed<H> {
    pub(super) fn found(path: PathBuf, about: &Metadata, now: Micros) -> Self {
        Followed {
            path,
            inode: (about.dev(), about.ino()),
            file: None,
            state: State::Young,
            head: H::default(),
            mark: Mark::default(),
            size: about.len(),
            written: (about.mtime(), about.mtime_nsec()),
            seen: 0,
            skipped_from: None,
            grown: now,
            gone: None,
            changed: false,
            closing: false,
        }
    }

    /// It was found again.
    pub(super) fn look(&mut self, path: PathBuf, about: &Metadata, now: Micros) {
        self.path = path;
        self.gone = None;
        let written = (about.mtime(), about.mtime_nsec());
        let again = std::mem::replace(&mut self.written, written) != written;
        if about.len() > self.size {
            self.grown = now;
        }
        let shorter = about.len() < self.size;
        self.size = about.len();
        match self.state {
            State::Read => {}
            State::Refused => return self.changed |= shorter,
            State::Young | State::Locked | State::CopyOf(_) => return self.changed |= again,
        }
        let same = || self.file.as_ref().is_none_or(|file| self.mark.begins(file));
        if self.size < self.seen.max(self.mark.at) || (again && self.size == self.seen && !same()) {
            self.changed = true;
        }
    }

    /// Whether something may be read that was not.
    pub(super) fn is_behind(&self) -> bool {
        self.state == State::Read && !self.changed && self.size > self.seen.max(self.mark.at)
    }
}

/// Opens a file anew, if it still is the one with that inode.
pub(super) fn open(path: &std::path::Path, inode: Inode) -> std::io::Result<File> {
    let file = File::open(path)?;
    let about = file.metadata()?;
    if (about.dev(), about.ino()) == inode {
        return Ok(file);
    }
    Err(std::io::Error::new(std::io::ErrorKind::NotFound, "it was replaced by another file"))
}

/// Reads until the buffer is full or the file ends.
pub(super) fn fill(file: &File, buffer: &mut [u8], from: u64) -> std::io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], from + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// Whether `copy` holds nothing but what `file` begins with; `None` where that cannot be said yet, because
/// `file` has just been replaced.
pub(super) fn is_copy(copy: &File, file: &File, mark: &Mark) -> Option<bool> {
    if !mark.begins(copy) {
        return Some(false);
    }
    // The copy first: it cannot be longer than what it is copied from.
    let (Ok(short), Ok(long)) = (copy.metadata(), file.metadata()) else { return Some(false) };
    if long.len() < mark.at || !mark.begins(file) {
        return None;
    }
    if short.len() > long.len() {
        return Some(false);
    }
    let from = short.len().saturating_sub(BEFORE as u64);
    let mut end = vec![0; (short.len() - from) as usize];
    match copy.read_exact_at(&mut end, from) {
        Ok(()) => Some(holds(file, from, &end)),
        Err(_) => None,
    }
}

/// Whether a file holds these bytes there.
fn holds(file: &File, at: u64, bytes: &[u8]) -> bool {
    let mut there = [0; BEGINNING];
    let there = &mut there[..bytes.len()];
    file.read_exact_at(there, at).is_ok() && there == bytes
}
