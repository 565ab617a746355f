//! Follows files that match patterns, line by line, through every way of rotating them.
//!
//! A file is what it holds, not what it is called: device, inode and its first data make the name of a stream
//! (`streams`), and positions in it are the offsets of lines. So a renamed file goes on where it was; so does
//! a copy that was made before its original was cut short, which goes on as the stream of the original, while the
//! original begins a new one; and files with new names are new streams. A restart finds the streams again in the
//! log and goes on at the very line. What shrinks or is overwritten without a copy is told and read anew.
//!
//! Files are their own buffer: nothing is read ahead of what the log takes. A copy beside its original is
//! not read. Bounded are the files followed ([`FILES_MAX`]), those held open ([`OPEN_MAX`]), the line, and what one
//! call reads ([`CALL_BYTES`]).

use std::collections::VecDeque;
use std::path::Path;
use std::time::Duration;

use rustc_hash::{FxHashMap, FxHashSet};
use serde::Deserialize;
use yagura_event::amounts::{Bytes, Time};
use yagura_event::clock::{self, Micros, SECOND};
use yagura_event::vocabulary::coverage;

use crate::complaints::Complaints;
use crate::places::{PlacedSink, Places};
use crate::reports::Reports;
use crate::source::{LiveSource, Opening, Seen, SourceError};

mod file;
pub(crate) mod order;
mod streams;

use file::{Followed, Mark, State, fill, is_copy, open};
use streams::Streams;

/// The most files that are followed at a time.
pub const FILES_MAX: usize = 1 << 14;

/// The most files that are held open; of those that were read to their end, the ones that grew the longest
/// ago are closed.
pub const OPEN_MAX: usize = 512;

/// The most bytes that one call reads, give or take a block.
const CALL_BYTES: usize = 4 << 20;

/// What is read at once.
const BLOCK_BYTES: usize = 1 << 20;

/// The most that `line_max` may be.
const LINE_BYTES_MAX: u64 = 256 << 20;

/// After so many bytes of one file others have their turn.
const TURN_BYTES: usize = 64 << 20;

/// Streams whose files were cut short or went, for copies that turn up later.
const ORPHANS_MAX: usize = 64;

/// One pattern, or several.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Patterns {
    /// One.
    One(String),
    /// Several.
    Several(Vec<String>),
}

impl Patterns {
    /// The patterns as they stand in settings, with the configuration's folder before them.
    pub fn at(&self, at: &Opening<'_>) -> Result<Vec<String>, SourceError> {
        let patterns = match self {
            Patterns::One(pattern) => std::slice::from_ref(pattern),
            Patterns::Several(patterns) => patterns,
        };
        if patterns.is_empty() {
            return Err(at.wrong("`path` has no pattern; give one, as `logs/*.json`"));
        }
        let folder = glob::Pattern::escape(&at.folder.to_string_lossy());
        let placed = patterns.iter().map(|pattern| {
            let placed = Path::new(&folder).join(pattern).to_string_lossy().into_owned();
            match glob::Pattern::new(&placed) {
                Ok(_) => Ok(placed),
                Err(e) => Err(at.wrong(format!("`path`: {pattern} is no pattern: {e}"))),
            }
        });
        placed.collect()
    }
}

/// Settings of what follows files whose lines need no more to be understood.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TailSettings {
    /// A pattern of file names, or several: `/var/log/suricata/eve*.json*`.
    path: Patterns,
    /// To the end of what is there, and no further.
    #[serde(default)]
    once: bool,
    /// How often files are looked at; `200ms` unless given.
    poll: Option<Time>,
    /// The longest line that is read; `1MiB` unless given.
    line_max: Option<Bytes>,
    /// How long rows wait for others at most; `1s` unless given.
    batch: Option<Time>,
    /// No line for this long is told; never unless given.
    silent_after: Option<Time>,
}

impl TailSettings {
    /// Checks them.
    pub fn options(&self, at: &Opening<'_>) -> Result<Options, SourceError> {
        let given = (self.poll, self.line_max, self.batch, self.silent_after);
        Options::new(self.path.at(at)?).given(self.once, given).map_err(|problem| at.wrong(problem))
    }
}

/// How files are followed.
#[derive(Clone, Debug)]
pub struct Options {
    /// The patterns, with their folders.
    pub patterns: Vec<String>,
    /// How often files are looked at.
    pub poll: Duration,
    /// To the end of what is there, and no further.
    pub once: bool,
    /// The longest line that is read; longer ones are passed over and told.
    pub line_bytes_max: usize,
    /// See [`LiveSource::batch`].
    pub batch: Micros,
    /// A file that no pattern finds any more is forgotten when it has not grown for this long.
    pub gone_after: Micros,
    /// No line for this long is told.
    pub silence: Option<Micros>,
}

impl Options {
    /// The usual ones.
    pub fn new(patterns: Vec<String>) -> Self {
        Options {
            patterns,
            poll: Duration::from_millis(200),
            once: false,
            line_bytes_max: BLOCK_BYTES,
            batch: SECOND,
            gone_after: 60 * SECOND,
            silence: None,
        }
    }

    /// With what users gave: how often to look, the longest line, the batch, the silence.
    pub fn given(
        mut self,
        once: bool,
        (poll, line, batch, silence): (Option<Time>, Option<Bytes>, Option<Time>, Option<Time>),
    ) -> Result<Self, String> {
        self.once = once;
        if let Some(poll) = poll {
            self.poll = poll.duration();
        }
        if let Some(line) = line {
            if line.is_empty() || line.0 > LINE_BYTES_MAX {
                return Err(format!("`line_max` must be between 1 byte and {} MiB", LINE_BYTES_MAX >> 20));
            }
            self.line_bytes_max = line.len();
        }
        if let Some(batch) = batch {
            self.batch = batch.0;
        }
        self.silence = silence.map(|silence| silence.0);
        Ok(self)
    }

    /// What is there to be read, for `validate --connect`.
    pub fn probe(&self) -> Result<String, SourceError> {
        let (found, _) = order::matching(&self.patterns, FILES_MAX);
        let Some((first, _)) = found.first() else {
            return Err(SourceError::Open {
                file: self.patterns.join(", "),
                cause: "no file matches; check the pattern, and whether its folder may be listed".into(),
            });
        };
        for (path, _) in &found {
            if let Err(cause) = std::fs::File::open(path) {
                return Err(SourceError::Open {
                    file: path.display().to_string(),
                    cause: format!("cannot be read: {cause}; let the collector's user read it"),
                });
            }
        }
        Ok(format!("{} files match, the first is {}", found.len(), first.display()))
    }
}

/// Understands the lines of files.
pub trait Lines: Send {
    /// What the lines at the beginning of a file say about the others.
    type Head: Default + Send;

    /// Reads one of the first lines of a file: `false` for one that is no part of its head. An error says why
    /// the file cannot be read at all.
    fn head(&self, _path: &Path, _head: &mut Self::Head, _line: &[u8]) -> Result<bool, String> {
        Ok(false)
    }

    /// Puts out the rows of a line, which is not empty. An error says why it has none.
    fn line(
        &mut self,
        head: &mut Self::Head,
        line: &[u8],
        now: Micros,
        out: &mut dyn PlacedSink,
    ) -> Result<(), String>;

    /// Now and then.
    fn report(&mut self, _now: Micros, _out: &mut dyn PlacedSink) {}
}

/// Files that are followed.
pub struct Tail<L: Lines> {
    collector: String,
    options: Options,
    lines: L,
    /// In the order of reading.
    files: Vec<Followed<L::Head>>,
    streams: Streams,
    orphans: VecDeque<Orphan>,
    /// What is being read.
    block: Vec<u8>,
    /// Whose turn it is, and what it had of it.
    turn: usize,
    turn_bytes: usize,
    /// When files were looked at last, of a clock that does not jump.
    looked: Option<Micros>,
    first_look: bool,
    now: Micros,
    reports: Reports,
    complaints: Complaints,
    too_many: bool,
    ended: bool,
}

/// A stream whose file is not there any more.
struct Orphan {
    mark: Mark,
    file: String,
    /// What to tell if no copy is found, and after which look.
    untold: Option<(String, Micros)>,
}

impl<L: Lines> Tail<L> {
    /// Follows files from the next call of [`LiveSource::begin`] on.
    pub fn new(collector: &str, options: Options, lines: L) -> Self {
        let reports = Reports::new(&options.patterns.join(", "), options.silence);
        Tail {
            collector: collector.into(),
            block: vec![0; BLOCK_BYTES.max(options.line_bytes_max.saturating_add(2))],
            options,
            lines,
            files: Vec::new(),
            streams: Streams::default(),
            orphans: VecDeque::new(),
            turn: 0,
            turn_bytes: 0,
            looked: None,
            first_look: true,
            now: 0,
            reports,
            complaints: Complaints::default(),
            too_many: false,
            ended: false,
        }
    }

    fn look_if_due(&mut self, out: &mut dyn PlacedSink) {
        let steady = clock::steady();
        let poll = self.options.poll.as_micros() as Micros;
        if self.looked.is_some_and(|looked| steady - looked < poll || self.options.once) {
            return;
        }
        self.looked = Some(steady);
        let (found, more) = order::matching(&self.options.patterns, FILES_MAX);
        if more && !std::mem::replace(&mut self.too_many, true) {
            let detail = format!("more than {FILES_MAX} files match; the others are not read");
            self.tell(coverage::DROP, 1, &detail, out);
        }
        if found.is_empty() {
            out.nowhere();
            self.reports.down(self.now, "no file matches", out);
        } else if self.first_look || self.reports.is_down() {
            out.nowhere();
            self.reports.up(self.now, &format!("{} files match", found.len()), out);
        }
        self.note(found);
        self.cut_short();
        self.introduce_all(out);
        self.tell_orphans(out);
        self.forget();
        self.lines.report(self.now, out);
        self.first_look = false;
    }

    /// Takes what was found into the list.
    fn note(&mut self, found: Vec<(std::path::PathBuf, std::fs::Metadata)>) {
        let now = self.now;
        let places: FxHashMap<_, _> = self.files.iter().enumerate().map(|(at, f)| (f.inode, at)).collect();
        let mut there = FxHashSet::default();
        let mut rank = FxHashMap::default();
        for (path, about) in found {
            let fresh = Followed::found(path, &about, now);
            // A file with two names is read once.
            if !there.insert(fresh.inode) {
                continue;
            }
            rank.insert(fresh.inode, rank.len());
            match places.get(&fresh.inode) {
                Some(at) => self.files[*at].look(fresh.path, &about, now),
                None => self.files.push(fresh),
            }
        }
        for file in self.files.iter_mut().filter(|file| !there.contains(&file.inode)) {
            file.gone.get_or_insert(now);
            if let Some(about) = file.file.as_ref().and_then(|file| file.metadata().ok())
                && about.len() > file.size
            {
                (file.size, file.grown) = (about.len(), now);
            }
            let since = file.gone.unwrap_or(now).max(file.grown);
            if now - since >= self.options.gone_after / 2 && file.seen > file.mark.at && !file.closing {
                (file.closing, file.seen) = (true, file.mark.at);
            }
        }
        if self.files.len() != places.len() {
            // Those that are gone were there before all others.
            self.files.sort_by_key(|file| rank.get(&file.inode).map_or(0, |rank| rank + 1));
            self.turn = 0;
        }
    }

    /// Files that were cut short or overwritten begin anew; their streams wait for a copy to go on in.
    fn cut_short(&mut self) {
        let now = self.now;
        for file in self.files.iter_mut().filter(|file| file.changed) {
            file.changed = false;
            if file.state == State::Read {
                let mark = std::mem::take(&mut file.mark);
                let detail = match file.size < mark.at {
                    true => format!("shrank from {} bytes or more to {}", file.seen.max(mark.at), file.size),
                    false => "does not begin as it did".into(),
                };
                let detail = format!("{detail}; what followed byte {} may be lost; read anew", mark.at);
                let untold = Some((detail, now));
                if self.orphans.len() >= ORPHANS_MAX {
                    self.orphans.pop_front();
                }
                self.orphans.push_back(Orphan { mark, file: file.path.display().to_string(), untold });
            }
            if !matches!(file.state, State::CopyOf(_)) {
                file.state = State::Young;
            }
            (file.seen, file.skipped_from, file.head) = (0, None, L::Head::default());
        }
    }

    /// Files that were not read so far: those whose streams are known first, so that copies find them taken.
    fn introduce_all(&mut self, out: &mut dyn PlacedSink) {
        let mut strangers = Vec::new();
        let is_read = |file: &&Followed<L::Head>| file.state == State::Read;
        let read: FxHashSet<_> = self.files.iter().filter(is_read).map(|file| file.inode).collect();
        for at in 0..self.files.len() {
            let file = &self.files[at];
            let waits = match file.state {
                State::Young => file.seen != file.size || self.options.once,
                State::Locked => true,
                State::CopyOf(original) => file.seen != file.size || !read.contains(&original),
                State::Read | State::Refused => false,
            };
            if !waits || !self.opens(at, out) {
                continue;
            }
            match self.introduce(at) {
                Ok(Some(data)) if !self.resume(at, &data, out) => strangers.push((at, data)),
                Ok(_) => {}
                Err(reason) => {
                    self.files[at].state = State::Refused;
                    self.tell_of(at, coverage::MALFORMED, &reason, out);
                }
            }
        }
        let mut fresh = Vec::new();
        for (at, data) in strangers {
            if self.place(at, &data, out) {
                fresh.push(at);
            }
        }
        // Only now: what stood in one file before may go on in any other.
        for at in fresh {
            let inode = self.files[at].inode;
            if self.first_look
                && let Some(known) = self.streams.claim(inode, |_| true)
            {
                // A copy that is found later may still go on with it.
                self.streams.put_back(inode, known);
                let detail = "shrank or was replaced while it was not followed; read anew, some may be lost";
                self.tell_of(at, coverage::GAP, detail, out);
            }
        }
    }

    /// Whether a file is open, or can be opened.
    fn opens(&mut self, at: usize, out: &mut dyn PlacedSink) -> bool {
        let file = &mut self.files[at];
        if file.file.is_none() {
            match open(&file.path, file.inode) {
                Ok(opened) => file.file = Some(opened),
                // It went in between: the next look tells.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                Err(e) => {
                    if std::mem::replace(&mut file.state, State::Locked) != State::Locked {
                        let detail = format!("cannot be read: {e}; let the collector's user read it");
                        self.tell_of(at, coverage::DOWN, &detail, out);
                    }
                }
            }
        }
        self.files[at].file.is_some()
    }

    /// Reads a file's head, and its first data where there is a whole line of them.
    fn introduce(&mut self, at: usize) -> Result<Option<Vec<u8>>, String> {
        let file = &mut self.files[at];
        let Some(opened) = &file.file else { return Ok(None) };
        let read = fill(opened, &mut self.block, 0).map_err(|e| format!("cannot be read: {e}"))?;
        file.seen = read as u64;
        let data = &self.block[..read];
        if data.starts_with(&[0x1f, 0x8b]) || data.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]) {
            return Err("is compressed; give a pattern that leaves it out".into());
        }
        let mut head = L::Head::default();
        let mut begin = 0;
        loop {
            let rest = &data[begin..];
            let (line, end) = match memchr::memchr(b'\n', rest) {
                Some(end) => (&rest[..end], end + 1),
                None if rest.is_empty() => return Ok(None),
                None if self.options.once => (rest, rest.len()),
                // A line that is longer than what is read at once.
                None if read == self.block.len() => break,
                None => return Ok(None),
            };
            match self.lines.head(&file.path, &mut head, without_return(line))? {
                true => begin += end,
                false => break,
            }
        }
        let whole = memchr::memrchr(b'\n', data).map_or(read, |end| end + 1).max(begin);
        file.head = head;
        file.mark.begin = begin as u64;
        Ok(Some(data[begin..whole.min(begin + streams::BEGINNING)].to_vec()))
    }

    /// Goes on with the stream that the log knows of this very file; answers whether there was one.
    fn resume(&mut self, at: usize, data: &[u8], out: &mut dyn PlacedSink) -> bool {
        let file = &self.files[at];
        if file.state != State::Young {
            return false;
        }
        let begin = file.mark.begin;
        match self.streams.claim(file.inode, |known| known.begins_with(begin, data)) {
            Some(known) if self.goes_on(at, &known) => {
                self.begin_at(at, known.name, known.from.max(begin), data, out);
                true
            }
            // It is being cut short: a copy may go on in its place.
            Some(known) => {
                self.streams.put_back(file.inode, known);
                false
            }
            None => false,
        }
    }

    /// Whether a stream can go on in a file: there is a line's beginning at its place.
    fn goes_on(&self, at: usize, known: &streams::Known) -> bool {
        let Some(file) = &self.files[at].file else { return false };
        let begin = self.files[at].mark.begin;
        known.from <= begin || {
            let mut before = [0];
            fill(file, &mut before, known.from - 1).is_ok_and(|read| read == 1) && before == *b"\n"
        }
    }

    /// A file that the log does not know: a copy, one that goes on as a stream whose file is gone, or a new one;
    /// answers whether it is new.
    fn place(&mut self, at: usize, data: &[u8], out: &mut dyn PlacedSink) -> bool {
        let file = &self.files[at];
        let (inode, begin) = (file.inode, file.mark.begin);
        let Some(opened) = &file.file else { return false };
        let before = file.state;
        if let Some(orphan) = self.orphans.iter().position(|orphan| orphan.mark.goes_on_in(opened))
            && let Some(orphan) = self.orphans.remove(orphan)
        {
            let Mark { stream, at: from, .. } = orphan.mark;
            tracing::info!(file = %file.path.display(), "goes on as what was {}", orphan.file);
            self.begin_at(at, stream, from, data, out);
            return false;
        }
        let copied =
            self.files.iter().filter(|other| other.state == State::Read && other.inode != inode).find(
                |other| other.file.as_ref().is_some_and(|f| is_copy(opened, f, &other.mark).unwrap_or(true)),
            );
        if let Some(original) = copied {
            if !matches!(before, State::CopyOf(_)) {
                let detail = format!("is not read: it is a copy of {}, which is", original.path.display());
                self.tell_of(at, coverage::START, &detail, out);
            }
            self.files[at].state = State::CopyOf(original.inode);
            return false;
        }
        if let Some(known) = self.streams.claim_any(|known| known.begins_with(begin, data))
            && self.goes_on(at, &known)
        {
            self.begin_at(at, known.name, known.from.max(begin), data, out);
            return false;
        }
        let stream = self.streams.name(inode, begin, data);
        self.begin_at(at, stream, begin, data, out);
        true
    }

    /// Reads a file as a stream from a place on.
    fn begin_at(&mut self, at: usize, stream: String, from: u64, data: &[u8], out: &mut dyn PlacedSink) {
        let file = &mut self.files[at];
        let Some(opened) = &file.file else { return };
        match Mark::at(stream, file.mark.begin, data, from, opened) {
            Ok(mark) => {
                file.mark = mark;
                file.seen = from;
                file.state = State::Read;
                self.tell_of(at, coverage::START, &format!("is read from byte {from} on"), out);
            }
            // It changed meanwhile: the next look sees what it is.
            Err(_) => file.state = State::Young,
        }
    }

    /// Streams that went on nowhere for a whole look.
    fn tell_orphans(&mut self, out: &mut dyn PlacedSink) {
        let now = self.now;
        for orphan in &mut self.orphans {
            if let Some((detail, _)) = orphan.untold.take_if(|(_, since)| *since < now || self.options.once) {
                let event = if detail.starts_with("shrank") { coverage::GAP } else { coverage::CORRUPT };
                out.nowhere();
                Reports::new(&orphan.file, None).say(event, (now, now), now, 1, &detail, out);
            }
        }
    }

    /// Lets go of files that went, and closes those that have been at their end for the longest.
    fn forget(&mut self) {
        let now = self.now;
        let (orphans, turn) = (&mut self.orphans, &mut self.turn);
        self.files.retain_mut(|file| {
            let Some(since) = file.gone else { return true };
            if file.is_behind() || now - since.max(file.grown) < self.options.gone_after {
                return true;
            }
            if file.state == State::Read {
                if orphans.len() >= ORPHANS_MAX {
                    orphans.pop_front();
                }
                let mark = std::mem::take(&mut file.mark);
                orphans.push_back(Orphan { mark, file: file.path.display().to_string(), untold: None });
            }
            *turn = 0;
            false
        });
        let opened = self.files.iter().filter(|file| file.file.is_some()).count();
        if opened > OPEN_MAX {
            let mut idle: Vec<(Micros, usize)> = (self.files.iter().enumerate())
                .filter(|(_, file)| file.file.is_some() && file.gone.is_none() && !file.is_behind())
                .map(|(at, file)| (file.grown, at))
                .collect();
            idle.sort_unstable();
            idle.iter().take(opened - OPEN_MAX).for_each(|(_, at)| self.files[*at].file = None);
        }
    }

    /// Reads from files that have something new; answers how many bytes.
    fn read_some(&mut self, out: &mut dyn PlacedSink) -> usize {
        let mut total = 0;
        // Once more than there are files: one that is alone, and whose turn is over, has the next one, too.
        for _ in 0..=self.files.len() {
            if self.options.once {
                self.turn = match self.files.iter().position(Followed::is_behind) {
                    Some(first) => first,
                    None => break,
                };
            }
            self.turn = self.turn.checked_rem(self.files.len()).unwrap_or_default();
            while self.files.get(self.turn).is_some_and(Followed::is_behind) && self.turn_bytes < TURN_BYTES {
                let read = self.read_block(self.turn, out);
                total += read;
                self.turn_bytes += read;
                if total >= CALL_BYTES {
                    return total;
                }
            }
            self.turn += 1;
            self.turn_bytes = 0;
        }
        total
    }

    /// Reads a block of a file that is behind, and puts out its whole lines.
    fn read_block(&mut self, at: usize, out: &mut dyn PlacedSink) -> usize {
        let file = &mut self.files[at];
        if file.file.is_none() {
            file.file = open(&file.path, file.inode).ok();
        }
        let Some(opened) = &file.file else {
            file.seen = file.size;
            return 0;
        };
        let read = match fill(opened, &mut self.block, file.mark.at) {
            Ok(read) => read,
            Err(cause) => {
                file.seen = file.size;
                let detail = format!("cannot be read after byte {}: {cause}", file.mark.at);
                self.tell_of(at, coverage::DOWN, &detail, out);
                return 0;
            }
        };
        // Only what still begins as it did is what was meant to be read.
        if !file.mark.begins(opened) || read == 0 {
            file.changed = true;
            file.size = opened.metadata().map_or(0, |about| about.len());
            self.looked = None;
            return 0;
        }
        let data = &self.block[..read];
        let full = read == self.block.len();
        let whole = match memchr::memrchr(b'\n', data) {
            // The last line of all may lack its end.
            _ if (self.options.once || file.closing) && !full => read,
            Some(end) => end + 1,
            None if full || file.skipped_from.is_some() => {
                file.skipped_from.get_or_insert(file.mark.at);
                file.mark.pass(data);
                file.seen = file.mark.at;
                return read;
            }
            None => 0,
        };
        deliver(
            &mut self.lines,
            file,
            &data[..whole],
            self.options.line_bytes_max,
            self.now,
            (out, &self.complaints),
        );
        file.mark.pass(&data[..whole]);
        file.seen = if full { file.mark.at } else { file.mark.at + (read - whole) as u64 };
        file.size = file.size.max(file.seen);
        if whole > 0 {
            self.reports.heard(self.now);
        }
        whole
    }

    /// Tells something about one file.
    fn tell_of(&self, at: usize, event: &str, detail: &str, out: &mut dyn PlacedSink) {
        out.nowhere();
        let path = self.files[at].path.display().to_string();
        Reports::new(&path, None).say(event, (self.now, self.now), self.now, 1, detail, out);
    }

    fn tell(&self, event: &str, count: u64, detail: &str, out: &mut dyn PlacedSink) {
        out.nowhere();
        self.reports.say(event, (self.now, self.now), self.now, count, detail, out);
    }
}

/// Puts out the lines of a block that begins at the mark of its file.
fn deliver<L: Lines>(
    lines: &mut L,
    file: &mut Followed<L::Head>,
    data: &[u8],
    line_bytes_max: usize,
    now: Micros,
    (out, complaints): (&mut dyn PlacedSink, &Complaints),
) {
    let mut begin = 0;
    let ends = memchr::memchr_iter(b'\n', data).chain((data.last() != Some(&b'\n')).then_some(data.len()));
    for end in ends {
        let position = file.mark.at + begin as u64;
        let line = without_return(&data[begin.min(end)..end]);
        begin = end + 1;
        let from = file.skipped_from.take();
        let problem = match from {
            _ if data.is_empty() => break,
            Some(from) => Err(too_long(position + line.len() as u64 - from, line_bytes_max)),
            None if line.len() > line_bytes_max => Err(too_long(line.len() as u64, line_bytes_max)),
            None if line.is_empty() => continue,
            None => {
                out.at(&file.mark.stream, position);
                lines.line(&mut file.head, line, now, out)
            }
        };
        if let Err(reason) = problem {
            let path = file.path.display().to_string();
            complaints.add(&path, || format!("byte {}: {reason}", from.unwrap_or(position)));
        }
    }
}

fn too_long(bytes: u64, most: usize) -> String {
    format!("the line has {bytes} bytes and is passed over; `line_max` is {most}")
}

fn without_return(line: &[u8]) -> &[u8] {
    line.strip_suffix(b"\r").unwrap_or(line)
}

impl<L: Lines> LiveSource for Tail<L> {
    fn collector(&self) -> &str {
        &self.collector
    }

    fn batch(&self) -> Micros {
        self.options.batch
    }

    fn placed(&self) -> bool {
        true
    }

    fn begin(&mut self, places: &Places, _notes: &Path) -> Result<(), SourceError> {
        self.streams = Streams::new(places);
        Ok(())
    }

    fn advance(&mut self, wait: Duration, out: &mut dyn PlacedSink) -> Micros {
        self.now = self.now.max(clock::now());
        if self.ended {
            std::thread::park_timeout(wait);
            return self.now;
        }
        self.look_if_due(out);
        let read = self.read_some(out);
        self.complaints.tell(&self.collector, self.now, out);
        if read > 0 || self.looked.is_none() {
            return self.now;
        }
        self.reports.look(self.now, out);
        if self.options.once {
            self.ended = true;
            self.complaints.finish(&self.collector, self.now, out);
            out.nowhere();
            self.reports.stop(self.now, "everything that was there is read", out);
        } else {
            std::thread::park_timeout(wait.min(self.options.poll));
        }
        self.now
    }

    fn finish(&mut self, out: &mut dyn PlacedSink) {
        if self.ended {
            return;
        }
        self.now = self.now.max(clock::now());
        self.complaints.finish(&self.collector, self.now, out);
        out.nowhere();
        self.reports.stop(self.now, "it is not followed any more", out);
    }

    fn seen(&self) -> Seen {
        Seen { dropped: self.complaints.malformed(), ..Seen::default() }
    }
}

#[cfg(test)]
mod tests;
