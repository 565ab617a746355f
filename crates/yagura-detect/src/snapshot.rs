//! Snapshots in the log: immutable generations, so that a plant needs to run nothing but the log.
//!
//! A shard's saved state is cut into chunks, each one record of the topic [`TOPIC`] under the
//! cell's key; every chunk says its generation, its place, how many there are, and the CRC-32C of
//! the whole. A generation whose chunks are not all there (a crash while writing) does not count;
//! the highest complete one does. Generations are numbered by the offset that they resume at.

use std::collections::BTreeMap;
use std::sync::mpsc::{self, Receiver, SyncSender};
use std::thread::Scope;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use yagura_log::{Appender, Lease, Log, LogError, Record};

use crate::operators::Saving;

/// The topic of snapshots; it has as many partitions as the events'.
pub const TOPIC: &str = "yagura.snapshots";

/// The most bytes of a chunk: well below Kafka's customary limit of a megabyte a record.
const CHUNK_BYTES_MAX: usize = 512 * 1024;

/// The header of a chunk.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Chunk {
    version: u16,
    cell: String,
    next_offset: u64,
    index: u32,
    chunks: u32,
    bytes: u64,
    crc32c: u32,
    /// How many partitions the events had: another number since then may have moved the cell.
    #[serde(default)]
    partitions: u32,
}

/// One complete generation of a cell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// Where judging goes on from it.
    pub next_offset: u64,
    /// The shard's saved state.
    pub state: Vec<u8>,
    /// How many partitions the events had when it was written.
    pub partitions: u32,
}

/// A generation of a partition's cells that is to be written.
pub(crate) struct Generation {
    /// The partition.
    pub partition: u32,
    /// How many of them the events have.
    pub partitions: u32,
    /// Where judging goes on from it.
    pub next: u64,
    /// The cells' names and states.
    pub cells: Vec<(String, Saving)>,
}

/// A generation that became durable.
pub(crate) struct Written {
    /// The partition.
    pub partition: u32,
    /// Where judging goes on from it.
    pub next: u64,
    /// The cells' names and the bytes of their states.
    pub sizes: Vec<(String, u64)>,
}

/// A thread that writes generations while the shards go on judging.
pub(crate) struct Writer {
    todo: SyncSender<Generation>,
    done: Receiver<Result<Written, LogError>>,
    busy: bool,
}

impl Writer {
    /// Starts it; it ends when the writer is dropped, and writes nothing once the lease has run out.
    pub fn start<'scope>(scope: &'scope Scope<'scope, '_>, log: &'scope dyn Log, lease: Lease) -> Writer {
        let (todo, jobs) = mpsc::sync_channel::<Generation>(1);
        let (told, done) = mpsc::sync_channel(1);
        scope.spawn(move || {
            let mut appender = None;
            for job in jobs {
                if told.send(write(log, &lease, &mut appender, job)).is_err() {
                    break;
                }
            }
        });
        Writer { todo, done, busy: false }
    }

    /// Whether a generation is being written: one at a time, since it holds a copy of the state.
    pub fn is_busy(&self) -> bool {
        self.busy
    }

    /// Has a generation written; the writer must not be busy.
    pub fn write(&mut self, generation: Generation) {
        self.busy = self.todo.send(generation).is_ok();
    }

    /// The generation that became durable since; waits for the one that is being written if told to.
    pub fn written(&mut self, wait: bool) -> Result<Option<Written>, LogError> {
        if !self.busy {
            return Ok(None);
        }
        let told = if wait { self.done.recv().ok() } else { self.done.try_recv().ok() };
        self.busy = told.is_none();
        told.transpose()
    }
}

fn write(
    log: &dyn Log,
    lease: &Lease,
    appender: &mut Option<Box<dyn Appender>>,
    generation: Generation,
) -> Result<Written, LogError> {
    let appender = match appender {
        Some(appender) => appender,
        None => appender.insert(log.appender_under(TOPIC, lease)?),
    };
    let Generation { partition, partitions, next, cells } = generation;
    let mut sizes = Vec::with_capacity(cells.len());
    for (cell, state) in cells {
        let state = state();
        // Every shard of the partition has seen all before `next`, its own or not.
        for record in records(&cell, next, &state, partitions) {
            appender.append(record)?;
        }
        sizes.push((cell, state.len() as u64));
    }
    appender.flush()?;
    Ok(Written { partition, next, sizes })
}

/// The records of one generation of a cell, while the events have so many partitions.
pub fn records(cell: &str, next_offset: u64, state: &[u8], partitions: u32) -> Vec<Record> {
    let crc32c = crc32c::crc32c(state);
    let parts: Vec<&[u8]> =
        if state.is_empty() { vec![&[][..]] } else { state.chunks(CHUNK_BYTES_MAX).collect() };
    parts
        .iter()
        .enumerate()
        .map(|(index, part)| {
            let chunk = Chunk {
                version: 1,
                cell: cell.to_string(),
                next_offset,
                index: index as u32,
                chunks: parts.len() as u32,
                bytes: state.len() as u64,
                crc32c,
                partitions,
            };
            Record {
                key: Bytes::copy_from_slice(cell.as_bytes()),
                header: serde_json::to_vec(&chunk).unwrap_or_default().into(),
                value: Bytes::copy_from_slice(part),
            }
        })
        .collect()
}

/// Which generation of a cell is wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The newest.
    Newest,
    /// The newest of those from which this offset is still to be judged; the first one of a cell
    /// that came later.
    Before(u64),
}

/// The wanted complete generation of every cell of a partition.
pub fn load(log: &dyn Log, partition: u32, wanted: Wanted) -> Result<BTreeMap<String, Kept>, LogError> {
    let mut found = Generations::of(wanted);
    let held = log.held(TOPIC, partition)?;
    if held.is_empty() {
        return Ok(found.complete);
    }
    let mut reader = log.reader(TOPIC, partition, held.start)?;
    while reader.position() < held.end {
        let records = reader.read(8 << 20, Duration::from_secs(10))?;
        if records.is_empty() {
            return Err(LogError::silent(TOPIC, partition));
        }
        for stored in records {
            found.take(&stored.record);
        }
    }
    Ok(found.complete)
}

/// Puts chunks together. Chunks of one cell come in order, because a key keeps its order; a
/// writer that died leaves the beginning of a generation, which the next one's first chunk ends.
struct Generations {
    wanted: Wanted,
    complete: BTreeMap<String, Kept>,
    partial: BTreeMap<String, (Chunk, Vec<u8>)>,
}

impl Generations {
    fn of(wanted: Wanted) -> Generations {
        Generations { wanted, complete: BTreeMap::new(), partial: BTreeMap::new() }
    }

    /// Whether one that resumes at `new` is to be preferred to one that resumes at `old`.
    fn prefers(&self, old: u64, new: u64) -> bool {
        match self.wanted {
            Wanted::Before(offset) if old > offset => new < old,
            Wanted::Before(offset) => old <= new && new <= offset,
            Wanted::Newest => old <= new,
        }
    }

    fn take(&mut self, record: &Record) {
        let Ok(chunk) = serde_json::from_slice::<Chunk>(&record.header) else { return };
        if chunk.version != 1 {
            return;
        }
        let cell = chunk.cell.clone();
        let fits = |(first, state): &(Chunk, Vec<u8>)| {
            first.next_offset == chunk.next_offset
                && first.crc32c == chunk.crc32c
                && state.len() == chunk.index as usize * CHUNK_BYTES_MAX
        };
        if chunk.index == 0 {
            self.partial.insert(cell.clone(), (chunk.clone(), record.value.to_vec()));
        } else {
            match self.partial.get_mut(&cell) {
                Some(partial) if fits(partial) => partial.1.extend_from_slice(&record.value),
                _ => return,
            }
        }
        if chunk.index + 1 != chunk.chunks {
            return;
        }
        let Some((first, state)) = self.partial.remove(&cell) else { return };
        let whole = state.len() as u64 == first.bytes && crc32c::crc32c(&state) == first.crc32c;
        let better =
            self.complete.get(&cell).is_none_or(|kept| self.prefers(kept.next_offset, first.next_offset));
        if whole && better {
            let Chunk { next_offset, partitions, .. } = first;
            self.complete.insert(cell, Kept { next_offset, state, partitions });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(next_offset: u64, state: &[u8]) -> Kept {
        Kept { next_offset, state: state.to_vec(), partitions: 1 }
    }

    #[test]
    fn the_highest_complete_generation_counts() {
        let state: Vec<u8> = (0..1_500_000_u32).map(|i| (i % 251) as u8).collect();
        let mut found = Generations::of(Wanted::Newest);
        for record in records("bay", 10, &state, 1) {
            found.take(&record);
        }
        let newer = records("bay", 20, &state[..1_400_000], 1);
        assert_eq!(newer.len(), 3);
        for record in &newer[..2] {
            found.take(record);
        }
        assert_eq!(found.complete["bay"].next_offset, 10, "a torn generation does not count");
        let mut damaged = records("bay", 30, &state[..600_000], 1);
        damaged[1].value = Bytes::from(vec![0; damaged[1].value.len()]);
        for record in damaged {
            found.take(&record);
        }
        assert_eq!(found.complete["bay"], kept(10, &state), "a damaged one neither");
        for record in records("bay", 40, b"", 1) {
            found.take(&record);
        }
        assert_eq!(found.complete["bay"], kept(40, b""));
    }

    #[test]
    fn a_stretch_begins_with_the_generation_before_it() {
        let wanted = |offset: u64| {
            let mut found = Generations::of(Wanted::Before(offset));
            for at in [10, 20, 30] {
                records("bay", at, &[at as u8], 1).iter().for_each(|record| found.take(record));
            }
            found.complete["bay"].clone()
        };
        assert_eq!(wanted(5), kept(10, &[10]), "the cell came later");
        assert_eq!(wanted(10), kept(10, &[10]));
        assert_eq!(wanted(29), kept(20, &[20]));
        assert_eq!(wanted(99), kept(30, &[30]));
    }
}
