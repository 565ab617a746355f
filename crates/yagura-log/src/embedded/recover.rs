//! Opening a partition: what is a torn tail, and what is damage.
//!
//! Only the last segment can end in records that were never durable. The first bad byte there is
//! a **torn tail**, and is cut, unless something proves that it had been durable:
//! - a later intact frame whose `synced` lies beyond it, which was written after the fdatasync
//!   that covered the bad place (intact frames after a bad one alone prove nothing, since a disk
//!   may write a batch's pages in any order), or
//! - the mark that an orderly close leaves behind.
//!
//! Then, and for every bad byte in an earlier segment, it is **damage**: nothing is cut, and the
//! error names file and byte. Not to be told from a torn tail is damage to the very last batch
//! before a crash, since nothing was written after it.

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crc32c::crc32c;

use super::disk::{Disk, DiskFile};
use super::frame::{self, Parsed, SEGMENT, SegmentHeader};
use super::io_error;
use super::partition::{Active, INDEX_STEP, Segment, create_segment, segment_name};
use crate::LogError;

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;
/// The file that says how far the log was durable at an orderly close.
const MARK: &str = "mark";

/// What [`recover`] finds: segments, the offset after the last record, and the right to write.
pub(super) type Found = (VecDeque<Segment>, u64, Option<Active>);

/// Opens a partition's folder. With `write`, a torn tail is cut and the rest made durable;
/// without, nothing is changed and the torn tail is not shown.
pub(super) fn recover(disk: &dyn Disk, folder: &Path, write: bool) -> Result<Found, LogError> {
    let mark = read_mark(disk, folder)?;
    let bases = list_segments(disk, folder, write)?;
    let Some(&last) = bases.last() else {
        if let Some((base, size)) = mark {
            return Err(damaged(&folder.join(segment_name(base)), size, "the file is missing".to_owned()));
        }
        return first_segment(disk, folder, write);
    };
    if let Some((base, size)) = mark
        && base > last
    {
        return Err(damaged(&folder.join(segment_name(base)), size, "the file is missing".to_owned()));
    }
    let mut segments = VecDeque::with_capacity(bases.len());
    let mut previous: Option<(PathBuf, u64)> = None;
    for &base in &bases {
        let path = folder.join(segment_name(base));
        let (file, header, size) = open_segment(disk, &path, base, write && base == last)?;
        if let Some((before, length)) = &previous
            && *length != header.previous
        {
            let what = format!(
                "it is {length} bytes long, and {} were written; or files between it and {} are missing",
                header.previous,
                path.display()
            );
            return Err(damaged(before, (*length).min(header.previous), what));
        }
        if base != last {
            let when = last_time(disk, folder, &bases, base);
            segments.push_back(Segment::found(header, size, when, Vec::new()));
            previous = Some((path, size));
            continue;
        }
        let durable = mark.filter(|(marked, _)| *marked == base).map_or(SEGMENT as u64, |(_, size)| size);
        let tail = scan(&*file, &path, header, size, durable)?;
        if write {
            settle(&*file, &path, size, &tail)?;
        }
        let last = if tail.last == 0 { disk.now() } else { tail.last };
        let active = write.then_some(Active {
            file,
            base,
            salt: header.salt,
            written: tail.end,
            synced: tail.end,
            next: tail.next,
            last,
            index: Vec::new(),
            indexed: tail.index.last().map_or(SEGMENT as u64, |point| point.1),
        });
        segments.push_back(Segment::found(header, tail.end, last, tail.index));
        return Ok((segments, tail.next, active));
    }
    Ok((segments, last, None))
}

/// Notes durably that everything up to `size` in the segment at `base` is durable.
pub(super) fn write_mark(disk: &dyn Disk, folder: &Path, base: u64, size: u64) -> Result<(), LogError> {
    let mut bytes = [0; 20];
    bytes[..8].copy_from_slice(&base.to_le_bytes());
    bytes[8..16].copy_from_slice(&size.to_le_bytes());
    let crc = crc32c(&bytes[..16]);
    bytes[16..].copy_from_slice(&crc.to_le_bytes());
    replace(disk, folder, MARK, &bytes)
}

/// Replaces a small file as one durable step.
pub(super) fn replace(disk: &dyn Disk, folder: &Path, name: &str, bytes: &[u8]) -> Result<(), LogError> {
    let path = folder.join(name);
    let fresh = folder.join(format!("{name}.new"));
    let write = || {
        let file = disk.open(&fresh, true)?;
        file.truncate(0)?;
        file.write(0, bytes)?;
        file.sync()?;
        disk.rename(&fresh, &path)?;
        disk.sync_dir(folder)
    };
    write().map_err(|cause| io_error("writing", &path, cause))
}

/// A small file's content; `None` if there is none.
pub(super) fn read_small(disk: &dyn Disk, path: &Path) -> Result<Option<Vec<u8>>, LogError> {
    let read = || {
        let file = disk.open(path, false)?;
        let mut bytes = Vec::new();
        file.read(0, CHUNK.min(file.size()? as usize), &mut bytes)?;
        Ok(bytes)
    };
    match read() {
        Ok(bytes) => Ok(Some(bytes)),
        Err(cause) if std::io::Error::kind(&cause) == std::io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(io_error("reading", path, cause)),
    }
}

/// The error for stored bytes that are not what was written.
pub(super) fn damaged(path: &Path, at: u64, what: String) -> LogError {
    LogError::Damaged { file: path.display().to_string(), at, what }
}

fn read_mark(disk: &dyn Disk, folder: &Path) -> Result<Option<(u64, u64)>, LogError> {
    let path = folder.join(MARK);
    let Some(bytes) = read_small(disk, &path)? else {
        return Ok(None);
    };
    let word =
        |at: usize| bytes.get(at..at + 8).and_then(|word| word.try_into().ok()).map(u64::from_le_bytes);
    match (word(0), word(8), bytes.get(16..20)) {
        (Some(base), Some(size), Some(crc)) if *crc == crc32c(&bytes[..16]).to_le_bytes() => {
            Ok(Some((base, size)))
        }
        _ => Err(damaged(
            &path,
            0,
            "it does not match its CRC; if the log is otherwise sound, delete this file".to_owned(),
        )),
    }
}

/// The bases of all segments, ascending; unfinished files are removed.
pub(super) fn list_segments(disk: &dyn Disk, folder: &Path, write: bool) -> Result<Vec<u64>, LogError> {
    let names = disk.list(folder).map_err(|cause| io_error("listing", folder, cause))?;
    let mut bases = Vec::new();
    for name in names {
        if let Some(base) = name.strip_suffix(".log").and_then(|digits| digits.parse().ok()) {
            bases.push(base);
        } else if write && name.ends_with(".new") {
            let path = folder.join(&name);
            disk.remove(&path).map_err(|cause| io_error("deleting", &path, cause))?;
        }
    }
    bases.sort_unstable();
    Ok(bases)
}

fn first_segment(disk: &dyn Disk, folder: &Path, write: bool) -> Result<Found, LogError> {
    if !write {
        return Ok((VecDeque::new(), 0, None));
    }
    let (file, header) = create_segment(disk, folder, 0, 0).map_err(|stopped| stopped.error)?;
    let now = disk.now();
    let start = SEGMENT as u64;
    let active = Active {
        file,
        base: 0,
        salt: header.salt,
        written: start,
        synced: start,
        next: 0,
        last: now,
        index: Vec::new(),
        indexed: start,
    };
    Ok((VecDeque::from([Segment::begun(header, now)]), 0, Some(active)))
}

pub(super) fn open_segment(
    disk: &dyn Disk,
    path: &Path,
    base: u64,
    write: bool,
) -> Result<(Arc<dyn DiskFile>, SegmentHeader, u64), LogError> {
    let open = || {
        let file = disk.open(path, write)?;
        let size = file.size()?;
        let mut bytes = Vec::new();
        file.read(0, SEGMENT, &mut bytes)?;
        Ok((file, size, bytes))
    };
    let (file, size, bytes) = open().map_err(|cause| io_error("opening", path, cause))?;
    match SegmentHeader::decode(&bytes) {
        Ok(header) if header.base == base => Ok((file, header, size)),
        Ok(header) => Err(damaged(
            path,
            16,
            format!("it holds the records from {} on, not those that its name says", header.base),
        )),
        Err(what) => Err(damaged(path, 0, what.to_owned())),
    }
}

/// When the last record before the segment after `base` was appended, as well as can be told
/// without reading the whole segment: the time of the next segment's first record.
fn last_time(disk: &dyn Disk, folder: &Path, bases: &[u64], base: u64) -> i64 {
    let after = bases.partition_point(|other| *other <= base);
    let first = bases[after..].iter().find_map(|next| {
        let (file, header, _) = open_segment(disk, &folder.join(segment_name(*next)), *next, false).ok()?;
        let mut bytes = Vec::new();
        file.read(SEGMENT as u64, frame::FRAME, &mut bytes).ok()?;
        frame::time_unchecked(&bytes).filter(|_| header.base == *next)
    });
    first.unwrap_or_else(|| disk.now())
}

/// The last segment's intact records.
struct Tail {
    /// Where they end.
    end: u64,
    /// The offset after them.
    next: u64,
    /// How far the last of them proves that the file was durable.
    proven: u64,
    /// The last one's time; 0 without records.
    last: i64,
    index: Vec<(u64, u64)>,
}

fn scan(
    file: &dyn DiskFile,
    path: &Path,
    header: SegmentHeader,
    size: u64,
    durable: u64,
) -> Result<Tail, LogError> {
    let start = SEGMENT as u64;
    let mut tail = Tail { end: start, next: header.base, proven: start, last: 0, index: Vec::new() };
    let mut chunk = Vec::new();
    let mut wanted = CHUNK;
    let bad = loop {
        chunk.clear();
        // Not beyond: beside a process that writes, the file has grown since.
        let length = wanted.min((size - tail.end) as usize);
        file.read(tail.end, length, &mut chunk).map_err(|cause| io_error("reading", path, cause))?;
        let mut at = 0;
        let stop = loop {
            match frame::parse(&chunk[at..], header.salt) {
                Parsed::Frame(frame) if frame.offset == tail.next => {
                    if tail.end >= tail.index.last().map_or(start, |point| point.1) + INDEX_STEP {
                        tail.index.push((frame.offset, tail.end));
                    }
                    tail.next += 1;
                    tail.end += frame.size as u64;
                    (tail.proven, tail.last) = (frame.synced, tail.last.max(frame.time));
                    at += frame.size;
                }
                Parsed::Frame(frame) => {
                    break Err(format!("record {} stands where {} belongs", frame.offset, tail.next));
                }
                Parsed::Short(needed) => break Ok(needed),
                Parsed::Bad(what) => break Err(what.to_owned()),
            }
        };
        match stop {
            Err(what) => break Some(what),
            Ok(_) if tail.end == size => break None,
            Ok(needed) if tail.end + needed as u64 > size => {
                break Some("a record is cut short".to_owned());
            }
            Ok(needed) => wanted = needed.max(CHUNK),
        }
    };
    if let Some(what) = bad {
        let mut rest = Vec::new();
        file.read(tail.end, (size - tail.end) as usize, &mut rest)
            .map_err(|cause| io_error("reading", path, cause))?;
        let proven = frame::largest_synced(&rest, header.salt).unwrap_or(0).max(durable);
        if proven > tail.end {
            let what = format!("{what}, and the file had been safe on the disk up to byte {proven}");
            return Err(damaged(path, tail.end, what));
        }
        tracing::warn!(file = %path.display(), at = tail.end, bytes = size - tail.end, "a torn tail, never acknowledged");
    } else if durable > tail.end {
        let what = format!("it ends here, and had been safe on the disk up to byte {durable}");
        return Err(damaged(path, tail.end, what));
    }
    Ok(tail)
}

/// Cuts a torn tail and makes the rest durable before anybody sees it. What no fdatasync is known
/// to have covered is written once more: after a failed one the kernel may hold pages for clean
/// that never reached the disk.
fn settle(file: &dyn DiskFile, path: &Path, size: u64, tail: &Tail) -> Result<(), LogError> {
    let settle = || {
        if size > tail.end {
            file.truncate(tail.end)?;
        }
        let mut at = tail.proven.min(tail.end);
        let mut chunk = Vec::new();
        while at < tail.end {
            chunk.clear();
            file.read(at, CHUNK.min((tail.end - at) as usize), &mut chunk)?;
            if chunk.is_empty() {
                break;
            }
            file.write(at, &chunk)?;
            at += chunk.len() as u64;
        }
        file.sync()
    };
    settle().map_err(|cause| io_error("making durable", path, cause))
}
