//! The collect role for a live source: what it brings is in the log within about its batch, a second unless told.
//!
//! While the log refuses, nothing is read: a source whose sender can be pushed back takes nothing more from it;
//! others drop what they cannot keep, the oldest first, and say so in `coverage` rows when the log takes records
//! again.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use yagura_event::AssetTable;
use yagura_event::clock::{self, Micros};
use yagura_log::Log;

use crate::cursor::Cursor;
use crate::run::{CollectError, Output, Progress, UNACKNOWLEDGED_BYTES_MAX};
use crate::source::{LiveSource, Seen};
use crate::writer::RowWriter;

/// How long one step waits for something new at most.
const WAIT: Duration = Duration::from_millis(200);

/// Where a live source's rows go.
#[derive(Clone, Copy)]
pub struct Destination<'a> {
    /// The log, or the spool before it.
    pub log: &'a dyn Log,
    /// The topic.
    pub topic: &'a str,
    /// Which cell a tool is in.
    pub assets: &'a Arc<AssetTable>,
    /// The only cells that the collector may write; all of them when empty.
    pub cells: &'a [String],
    /// The folder of the notes of how far streams were read.
    pub notes: &'a Path,
}

/// Reads `source` into the topic until `stop` is set; then it says in the log that nothing more
/// follows, and returns when that is durable. Each start numbers its rows anew.
pub fn collect(
    mut source: Box<dyn LiveSource>,
    to: Destination<'_>,
    stop: &AtomicBool,
    progress: &Progress,
) -> Result<(), CollectError> {
    let Destination { log, topic, assets, cells, notes } = to;
    let mut cursor = match source.placed() {
        // No start of such a source has been in the log before.
        false => Cursor::default(),
        true => {
            let note = notes.join(format!("{}.places", source.collector()));
            Cursor::of_live(log, topic, &note, source.collector())?
        }
    };
    let held = cursor.places().clone();
    source.begin(&held, notes)?;
    let epoch = clock::now().max(0) as u64;
    let mut writer = RowWriter::new(source.collector(), epoch, Arc::clone(assets)).permit(cells).resume(held);
    let mut out = Output::new(log, topic, progress)?;
    let mut closed_at: Option<Micros> = None;
    let mut dropped = 0;
    let batch = source.batch();
    let wait = WAIT.min(Duration::from_micros(batch.max(0) as u64));
    while !stop.load(Ordering::Acquire) {
        let now = source.advance(wait, &mut writer);
        out.hand_over(writer.take()?, stop, &mut cursor)?;
        let due = *closed_at.get_or_insert(now) + batch;
        if now >= due || source.urgent() {
            writer.close(now);
            closed_at = Some(now);
            out.hand_over(writer.take()?, stop, &mut cursor)?;
            out.acknowledge(stop, &mut cursor)?;
            writer.acknowledged();
            source.durable();
            progress.time.fetch_max(now.max(0) as u64, Ordering::Relaxed);
            count(&source.seen(), &mut dropped, progress);
            progress.note_blind(std::iter::once(writer.blind()));
        } else if out.unacknowledged() >= UNACKNOWLEDGED_BYTES_MAX {
            out.acknowledge(stop, &mut cursor)?;
        }
    }
    source.finish(&mut writer);
    count(&source.seen(), &mut dropped, progress);
    writer.close(Micros::MAX);
    out.hand_over(writer.take()?, stop, &mut cursor)?;
    out.acknowledge(stop, &mut cursor)?;
    source.durable();
    Ok(())
}

/// Adds what was lost since the last time.
fn count(seen: &Seen, dropped: &mut u64, progress: &Progress) {
    progress.dropped.fetch_add(seen.dropped - *dropped, Ordering::Relaxed);
    *dropped = seen.dropped;
}

#[cfg(test)]
mod tests;
