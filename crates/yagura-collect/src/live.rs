//! The collect role for a live source: what it brings is in the log within about its batch, a second unless told.
//!
//! While the log refuses, nothing is read: the source drops what it cannot keep, the oldest first,
//! and says so in `coverage` rows when the log takes records again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use yagura_event::AssetTable;
use yagura_event::clock::Micros;
use yagura_log::Log;

use crate::cursor::Cursor;
use crate::run::{CollectError, Output, Progress, UNACKNOWLEDGED_BYTES_MAX};
use crate::writer::RowWriter;
use crate::{LiveSource, Seen};

/// How long one step waits for packets at most.
const WAIT: Duration = Duration::from_millis(200);

/// Reads `source` into the topic until `stop` is set; then it says in the log that nothing more
/// follows, and returns when that is durable.
pub fn collect(
    mut source: Box<dyn LiveSource>,
    assets: &Arc<AssetTable>,
    log: &dyn Log,
    topic: &str,
    stop: &AtomicBool,
    progress: &Progress,
) -> Result<(), CollectError> {
    let mut writer = RowWriter::new(source.collector(), source.epoch(), Arc::clone(assets));
    // No start of a source has been in the log before.
    let mut cursor = Cursor::default();
    let mut out = Output::new(log, topic, progress)?;
    let mut closed_at: Option<Micros> = None;
    let mut dropped = 0;
    let batch = source.batch();
    let wait = WAIT.min(Duration::from_micros(batch.max(0) as u64));
    while !stop.load(Ordering::Acquire) {
        let now = source.advance(wait, &mut writer);
        out.hand_over(writer.take()?, stop, &mut cursor)?;
        let due = *closed_at.get_or_insert(now) + batch;
        if now >= due {
            writer.close(now);
            closed_at = Some(now);
            out.hand_over(writer.take()?, stop, &mut cursor)?;
            out.acknowledge(stop, &mut cursor)?;
            progress.time.fetch_max(now.max(0) as u64, Ordering::Relaxed);
            count(&source.seen(), &mut dropped, progress);
        } else if out.unacknowledged() >= UNACKNOWLEDGED_BYTES_MAX {
            out.acknowledge(stop, &mut cursor)?;
        }
    }
    source.finish(&mut writer);
    count(&source.seen(), &mut dropped, progress);
    writer.close(Micros::MAX);
    out.hand_over(writer.take()?, stop, &mut cursor)?;
    out.acknowledge(stop, &mut cursor)?;
    Ok(())
}

/// Adds what was lost since the last time.
fn count(seen: &Seen, dropped: &mut u64, progress: &Progress) {
    progress.dropped.fetch_add(seen.dropped - *dropped, Ordering::Relaxed);
    *dropped = seen.dropped;
}

#[cfg(test)]
mod tests;
