//! The shards of a partition as a snapshot left them: where judging goes on, live or again.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use yagura_log::{Log, LogError, Record, Stored, partition_of};

use crate::pipeline::Pipeline;
use crate::shard::{Shard, Stepped};
use crate::snapshot::{self, Wanted};
use crate::worker::EVENTS;

/// Shards that go on.
pub struct Resumed {
    /// By the log's key.
    pub shards: BTreeMap<Bytes, Shard>,
    /// The first offset that one of them has not judged.
    pub next: u64,
    /// Cells whose snapshot this program cannot use, with the reason: they are judged again from the first
    /// record held.
    pub refused: Vec<(String, String)>,
    /// How many partitions the events had when the snapshots were written; none when there are none.
    pub partitions: Option<u32>,
}

impl Resumed {
    /// Judges a record of the partition; a cell that nobody knew begins with it, under `pipeline`.
    pub fn step(&mut self, pipeline: &Arc<Pipeline>, offset: u64, record: &Record) -> Stepped {
        let fresh = || Shard::new(&String::from_utf8_lossy(&record.key), Arc::clone(pipeline));
        self.shards.entry(record.key.clone()).or_insert_with(fresh).step(offset, record)
    }
}

/// The shards of a partition of which the log holds these records. Each has the pipeline version that
/// was in force; `pipeline` is where versions are found, and what stands in for one that cannot be read.
pub fn resume(
    log: &dyn Log,
    pipeline: &Arc<Pipeline>,
    partition: u32,
    held: &Range<u64>,
    wanted: Wanted,
) -> Result<Resumed, LogError> {
    let (mut shards, mut refused) = (BTreeMap::new(), Vec::new());
    let mut next = None;
    let mut partitions = None;
    for (cell, kept) in snapshot::load(log, partition, within(wanted, held))? {
        partitions = partitions.max(Some(kept.partitions));
        let restored = match kept.next_offset <= held.end {
            true => Shard::restore(&kept.state, Arc::clone(pipeline)),
            false => Err(format!(
                "it goes on at offset {}, and the log's events end at {}: it is of another log",
                kept.next_offset, held.end
            )),
        };
        match restored {
            Ok(shard) => {
                next = Some(next.map_or(kept.next_offset, |n: u64| n.min(kept.next_offset)));
                shards.insert(Bytes::from(cell.into_bytes()), shard);
            }
            Err(cause) => {
                refused.push((cell, cause));
                next = Some(held.start);
            }
        }
    }
    Ok(Resumed { shards, next: next.unwrap_or(held.start), refused, partitions })
}

/// The newest generation is one of the records held: a log that was restored from elsewhere has fewer than the one that
/// its snapshots are of.
fn within(wanted: Wanted, held: &Range<u64>) -> Wanted {
    match wanted {
        Wanted::Newest => Wanted::Before(held.end),
        before @ Wanted::Before(_) => before,
    }
}

/// A cell whose records come in another partition since the number of partitions changed.
pub struct Moved {
    /// The log's key.
    pub key: Bytes,
    /// Its state.
    pub shard: Shard,
    /// Its records in the old partition that the state has not judged.
    pub left: Vec<Stored>,
}

/// The cells that moved into a partition from others, now that the events have so many.
pub fn moved(
    log: &dyn Log,
    pipeline: &Arc<Pipeline>,
    partition: u32,
    partitions: u32,
) -> Result<Vec<Moved>, LogError> {
    let mut out: BTreeMap<Bytes, Moved> = BTreeMap::new();
    for old in (0..partitions).filter(|&old| old != partition) {
        let held = log.held(EVENTS, old)?;
        for (cell, kept) in snapshot::load(log, old, within(Wanted::Newest, &held))? {
            let key = Bytes::from(cell.into_bytes());
            if partition_of(&key, partitions) != partition
                || kept.partitions >= partitions
                || kept.next_offset > held.end
            {
                continue;
            }
            // What no program reads any more begins afresh, as it would where it was.
            let Ok(shard) = Shard::restore(&kept.state, Arc::clone(pipeline)) else { continue };
            let left = records_of(log, old, &key, kept.next_offset)?;
            // After several changes there are several: the one that got farthest counts.
            if out.get(&key).is_none_or(|other| other.shard.stats().records < shard.stats().records) {
                out.insert(key.clone(), Moved { key, shard, left });
            }
        }
    }
    Ok(out.into_values().collect())
}

fn records_of(log: &dyn Log, partition: u32, key: &Bytes, from: u64) -> Result<Vec<Stored>, LogError> {
    let held = log.held(EVENTS, partition)?;
    let mut out = Vec::new();
    if from.max(held.start) >= held.end {
        return Ok(out);
    }
    let mut reader = log.reader(EVENTS, partition, from.max(held.start))?;
    while reader.position() < held.end {
        let records = reader.read(8 << 20, Duration::from_secs(10))?;
        if records.is_empty() {
            break;
        }
        out.extend(records.into_iter().filter(|stored| stored.record.key == *key));
    }
    Ok(out)
}
