//! Reading a partition in large chunks, whose records are slices.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::disk::DiskFile;
use super::frame::{self, Parsed, SEGMENT};
use super::io_error;
use super::partition::Partition;
use super::recover::damaged;
use crate::{LogError, Reader, Stored};

/// The largest chunk read at once, unless a single record is larger.
const CHUNK_MAX: usize = 16 << 20;
/// The chunk for looking for an offset.
const SEEK_CHUNK: usize = 1 << 20;

/// Reads one partition of the embedded log.
///
/// Records share the memory of the chunk that they were read with: whoever keeps a small one for
/// long should copy it.
pub(super) struct PartitionReader {
    partition: Arc<Partition>,
    position: u64,
    place: Option<Place>,
}

/// Where in which file the position stands.
struct Place {
    base: u64,
    salt: u32,
    file: Arc<dyn DiskFile>,
    /// The offset whose frame begins at `at`: at or before the reader's position.
    offset: u64,
    at: u64,
}

impl PartitionReader {
    pub fn new(partition: Arc<Partition>, from: u64) -> Self {
        PartitionReader { partition, position: from, place: None }
    }

    /// Goes on at another offset.
    pub fn seek(&mut self, offset: u64) {
        self.position = offset;
        self.place = None;
    }

    /// The file, place and length of the segment in which the position stands.
    fn locate(&mut self) -> Result<(Place, u64), LogError> {
        let position = self.position;
        let found = self.partition.segment(position, |segment| {
            (segment.base, segment.salt, segment.size, segment.nearest(position))
        });
        let Some((base, salt, size, (offset, at))) = found else {
            return Err(self.gone());
        };
        match self.place.take() {
            Some(place) if place.base == base => Ok((place, size)),
            _ => {
                let path = self.partition.path(base);
                let file = self.partition.disk.open(&path, false).map_err(|cause| match cause.kind() {
                    // Retention was faster.
                    std::io::ErrorKind::NotFound if self.partition.held().start > position => self.gone(),
                    _ => io_error("opening", &path, cause),
                })?;
                Ok((Place { base, salt, file, offset, at }, size))
            }
        }
    }

    /// Reads the chunk at `place`; afterwards `place` is where the next one begins.
    fn chunk(&self, place: &mut Place, size: u64, want: usize) -> Result<Vec<Stored>, LogError> {
        let path = || self.partition.path(place.base);
        let mut want = want.max(frame::FRAME) as u64;
        loop {
            let mut bytes = Vec::new();
            let length = want.min(size - place.at.min(size)) as usize;
            place
                .file
                .read(place.at, length, &mut bytes)
                .map_err(|cause| io_error("reading", &path(), cause))?;
            if bytes.len() < length {
                let what = format!("the file ends here, and had been safe on the disk up to byte {size}");
                return Err(damaged(&path(), place.at + bytes.len() as u64, what));
            }
            let bytes = Bytes::from(bytes);
            let mut records = Vec::new();
            let mut at = 0;
            let (mut offset, begin) = (place.offset, place.at);
            let stop = loop {
                match frame::parse(&bytes[at..], place.salt) {
                    Parsed::Frame(frame) if frame.offset == offset => {
                        if offset >= self.position {
                            records.push(frame.stored(&bytes, at));
                        }
                        offset += 1;
                        at += frame.size;
                    }
                    Parsed::Frame(frame) => {
                        break Err(format!("record {} stands where {offset} belongs", frame.offset));
                    }
                    Parsed::Short(needed) => break Ok(needed as u64),
                    Parsed::Bad(what) => break Err(what.to_owned()),
                }
            };
            place.offset = offset;
            place.at = begin + at as u64;
            match stop {
                // What comes before the damage is handed out first.
                _ if at > 0 => return Ok(records),
                Err(what) => return Err(damaged(&path(), begin, what)),
                Ok(needed) if begin + needed > size => {
                    let what = format!(
                        "a record is cut short, or record {offset} is missing, where the segment ends at byte {size}"
                    );
                    return Err(damaged(&path(), begin, what));
                }
                Ok(needed) => want = needed,
            }
        }
    }

    fn gone(&self) -> LogError {
        LogError::OffsetGone {
            topic: self.partition.topic.clone(),
            partition: self.partition.number,
            wanted: self.position,
            held: self.partition.held(),
        }
    }
}

impl Reader for PartitionReader {
    fn read(&mut self, bytes_max: usize, wait: Duration) -> Result<Vec<Stored>, LogError> {
        let held = self.partition.wait(self.position, wait)?;
        if self.position < held.start || self.position > held.end {
            return Err(self.gone());
        }
        if self.position == held.end {
            return Ok(Vec::new());
        }
        loop {
            let (mut place, size) = self.locate()?;
            let seeking = place.offset < self.position;
            let want = if seeking { SEEK_CHUNK } else { bytes_max.min(CHUNK_MAX) };
            let mut records = self.chunk(&mut place, size, want)?;
            if seeking {
                let (base, offset, at) = (place.base, place.offset, place.at);
                self.partition.segment(base, |segment| {
                    if segment.base == base && at > SEGMENT as u64 {
                        segment.learn(offset, at);
                    }
                });
                let mut room = bytes_max;
                let kept = records.iter().take_while(|stored| take(&mut room, stored)).count();
                if kept < records.len() {
                    // The next read comes here by the index.
                    records.truncate(kept.max(1));
                    if let Some(last) = records.last() {
                        self.position = last.offset + 1;
                    }
                    return Ok(records);
                }
            }
            let next = place.offset;
            self.place = Some(place);
            if !records.is_empty() {
                self.position = next;
                return Ok(records);
            }
        }
    }

    fn position(&self) -> u64 {
        self.position
    }
}

fn take(room: &mut usize, stored: &Stored) -> bool {
    let size = stored.record.size();
    let fits = size <= *room;
    *room = room.saturating_sub(size);
    fits
}
