//! Reading beside the process that writes: what a partition's folder holds now.
//!
//! Only whole records whose CRC is right are taken, up to the last one; what stands behind it may
//! be half written. A record that the writer has not made durable yet is shown: it can vanish in
//! a power cut, which whoever looks on does not mind. Segments that retention deletes leave.

use std::collections::VecDeque;
use std::io;
use std::path::Path;

use super::disk::{Disk, DiskFile};
use super::frame::{self, Parsed, SEGMENT};
use super::io_error;
use super::partition::{INDEX_STEP, Segment, segment_name};
use super::recover::{Found, damaged, list_segments, open_segment, recover};
use crate::LogError;

/// Bytes read at a time.
const CHUNK: usize = 1 << 20;
/// How often a folder is read anew when retention deletes under the reader's hands.
const TRIES: usize = 5;

/// As [`recover`] without the right to write, beside somebody who has it.
pub(super) fn open(disk: &dyn Disk, folder: &Path) -> Result<Found, LogError> {
    let mut tries = 0;
    loop {
        match recover(disk, folder, false) {
            Err(LogError::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound && tries < TRIES => {}
            // What is damage will be damage again.
            Err(LogError::Damaged { .. }) if tries < TRIES => {}
            found => return found,
        }
        tries += 1;
    }
}

/// Brings segments that were read before, and the offset after their last record, up to date.
pub(super) fn extend(
    disk: &dyn Disk,
    folder: &Path,
    segments: &mut VecDeque<Segment>,
    next: &mut u64,
) -> Result<(), LogError> {
    // Listed before anything is read: a segment with a successor is complete.
    let bases = list_segments(disk, folder, false)?;
    let Some(&oldest) = bases.first() else { return Ok(()) };
    while segments.front().is_some_and(|first| first.base < oldest) {
        segments.pop_front();
    }
    if segments.is_empty() {
        (*segments, *next, _) = open(disk, folder)?;
        return Ok(());
    }
    while let Some(last) = segments.back_mut() {
        let path = folder.join(segment_name(last.base));
        let file = match disk.open(&path, false) {
            // Retention was faster; the next look finds out.
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened.map_err(|cause| io_error("opening", &path, cause))?,
        };
        *next = read_on(&*file, &path, last, *next)?;
        let after = bases.partition_point(|base| *base <= last.base);
        let Some(&base) = bases.get(after) else { return Ok(()) };
        if base != *next {
            let what = format!("its records end before {next}, and the next file begins with {base}");
            return Err(damaged(&path, last.size, what));
        }
        let (_, header, _) = match open_segment(disk, &folder.join(segment_name(base)), base, false) {
            Err(LogError::Io { cause, .. }) if cause.kind() == io::ErrorKind::NotFound => return Ok(()),
            opened => opened?,
        };
        segments.push_back(Segment::begun(header, disk.now()));
    }
    Ok(())
}

/// Takes the whole records behind a segment's known end; answers the offset after them.
fn read_on(file: &dyn DiskFile, path: &Path, segment: &mut Segment, mut next: u64) -> Result<u64, LogError> {
    let failed = |cause| io_error("reading", path, cause);
    let size = file.size().map_err(failed)?;
    if size < segment.size {
        // The writer took back what it could not write as a whole.
        segment.size = SEGMENT as u64;
        segment.index.clear();
        next = segment.base;
    }
    let mut chunk = Vec::new();
    let mut want = CHUNK;
    while segment.size < size {
        chunk.clear();
        let length = want.min((size - segment.size) as usize);
        file.read(segment.size, length, &mut chunk).map_err(failed)?;
        let mut at = 0;
        let needed = loop {
            match frame::parse(&chunk[at..], segment.salt) {
                Parsed::Frame(frame) if frame.offset == next => {
                    let position = segment.size + at as u64;
                    if position >= segment.index.last().map_or(SEGMENT as u64, |point| point.1) + INDEX_STEP {
                        segment.index.push((next, position));
                    }
                    next += 1;
                    at += frame.size;
                }
                Parsed::Short(needed) => break Some(needed),
                // Half written, or about to be written over.
                Parsed::Frame(_) | Parsed::Bad(_) => break None,
            }
        };
        segment.size += at as u64;
        match needed {
            Some(needed) if segment.size + needed as u64 <= size => want = needed.max(CHUNK),
            _ => break,
        }
    }
    Ok(next)
}
