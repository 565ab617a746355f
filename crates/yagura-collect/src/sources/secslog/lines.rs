//! The lines of one file that grows and is rotated.

use std::fs::File;
use std::io::{BufRead, BufReader, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A line, and where it stands.
pub struct Line<'a> {
    /// The file's name and number, which stay when it is renamed.
    pub stream: &'a str,
    /// The byte at which the line begins.
    pub position: u64,
    /// The line without its end.
    pub text: &'a [u8],
    /// Bytes of the line that were passed over, because it is too long.
    pub cut: u64,
}

/// Where lines come from.
pub trait Lines: Send {
    /// Where streams were read to: reading a stream goes on there, or so many bytes before.
    fn resume(&mut self, at: &dyn Fn(&str) -> Option<u64>, back: u64);

    /// The next line that is whole; `None` when there is none for now.
    fn next(&mut self) -> Result<Option<Line<'_>>, String>;
}

/// The longest line that is read.
pub const LINE_BYTES_MAX: usize = 1 << 20;

/// A file under one path.
pub struct Tailed {
    path: PathBuf,
    open: Option<Open>,
    /// The beginning of a line that is not whole yet.
    line: Vec<u8>,
    /// The line that was given last.
    given: Vec<u8>,
    cut: u64,
    resume: Option<(String, u64)>,
}

struct Open {
    stream: String,
    inode: u64,
    reader: BufReader<File>,
    position: u64,
}

impl Tailed {
    /// A file that need not be there yet.
    pub fn new(path: &Path) -> Self {
        Tailed { path: path.into(), open: None, line: Vec::new(), given: Vec::new(), cut: 0, resume: None }
    }

    fn name(&self, inode: u64) -> String {
        format!("{}#{inode}", self.path.display())
    }

    fn open(&mut self) -> Result<bool, String> {
        let file = match File::open(&self.path) {
            Ok(file) => file,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false),
            Err(e) => return Err(format!("{} cannot be read: {e}", self.path.display())),
        };
        let fail = |e: std::io::Error| format!("{} cannot be read: {e}", self.path.display());
        let about = file.metadata().map_err(fail)?;
        let stream = self.name(about.ino());
        let mut reader = BufReader::with_capacity(1 << 16, file);
        let mut position = 0;
        if let Some((_, from)) = self.resume.take_if(|(known, _)| *known == stream)
            && from <= about.len()
        {
            position = reader.seek(SeekFrom::Start(from)).map_err(fail)?;
        }
        let mut open = Open { stream, inode: about.ino(), reader, position };
        if position > 0 {
            // Somewhere in a line: the next one is read whole.
            let mut rest = Vec::new();
            open.position += open.reader.read_until(b'\n', &mut rest).map_err(fail)? as u64;
        }
        self.open = Some(open);
        Ok(true)
    }

    /// Reads up to the end of a line; answers where it begins.
    fn fill(&mut self) -> Result<Option<u64>, String> {
        let Some(open) = &mut self.open else { return Ok(None) };
        let begun = open.position - self.line.len() as u64 - self.cut;
        loop {
            let buffer = match open.reader.fill_buf() {
                Ok([]) => return Ok(None),
                Ok(buffer) => buffer,
                Err(e) => return Err(format!("{} cannot be read: {e}", self.path.display())),
            };
            let (used, whole) = match buffer.iter().position(|&b| b == b'\n') {
                Some(end) => (end + 1, true),
                None => (buffer.len(), false),
            };
            let room = LINE_BYTES_MAX.saturating_sub(self.line.len());
            self.line.extend_from_slice(&buffer[..used.min(room)]);
            self.cut += used.saturating_sub(room) as u64;
            open.reader.consume(used);
            open.position += used as u64;
            if whole {
                return Ok(Some(begun));
            }
        }
    }

    /// Whether another file lies under the path, or this one was shortened.
    fn replaced(&self) -> bool {
        let Some(open) = &self.open else { return false };
        std::fs::metadata(&self.path).is_ok_and(|now| now.ino() != open.inode || now.len() < open.position)
    }
}

impl Lines for Tailed {
    fn resume(&mut self, at: &dyn Fn(&str) -> Option<u64>, back: u64) {
        if let Ok(about) = std::fs::metadata(&self.path) {
            let stream = self.name(about.ino());
            // One byte before a line's beginning is the end of the line before.
            self.resume = at(&stream).map(|from| (stream, from.saturating_sub(back + 1)));
        }
    }

    fn next(&mut self) -> Result<Option<Line<'_>>, String> {
        if self.open.is_none() && !self.open()? {
            return Ok(None);
        }
        let Some(position) = self.fill()? else {
            if self.replaced() {
                self.open = None;
                self.line.clear();
                self.cut = 0;
            }
            return Ok(None);
        };
        self.given.clear();
        std::mem::swap(&mut self.given, &mut self.line);
        let text = self.given.strip_suffix(b"\n").unwrap_or(&self.given);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let stream = self.open.as_ref().map_or("", |open| open.stream.as_str());
        Ok(Some(Line { stream, position, text, cut: std::mem::take(&mut self.cut) }))
    }
}
