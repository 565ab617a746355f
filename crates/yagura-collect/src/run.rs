//! The collect role for recorded sources: merges them by their own time and writes them to the
//! log, in batches that depend on that time alone.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use yagura_event::clock::{Micros, SECOND};
use yagura_event::{AssetTable, EventError};
use yagura_log::{Appender, Log, LogError, Pauses, Record};

use crate::blind::Blind;
use crate::cursor::Cursor;
use crate::source::{Source, SourceError};
use crate::writer::RowWriter;

/// Batches are closed after this much of the sources' time.
const CLOSE_EVERY: Micros = SECOND;

/// The longest pause while the log takes nothing.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Records are acknowledged at the latest after this many bytes.
pub(crate) const UNACKNOWLEDGED_BYTES_MAX: usize = 4 << 20;

/// Why collecting ended early.
#[derive(Debug, thiserror::Error)]
pub enum CollectError {
    /// The log refused for good.
    #[error(transparent)]
    Log(#[from] LogError),
    /// A defect: rows did not encode.
    #[error(transparent)]
    Event(#[from] EventError),
    /// The source cannot be read.
    #[error(transparent)]
    Source(#[from] SourceError),
}

/// What others may see while it runs.
#[derive(Default)]
pub struct Progress {
    /// Bytes of the sources read.
    pub read: AtomicU64,
    /// Bytes of the sources in all.
    pub total: AtomicU64,
    /// Time reached in the sources, in microseconds of UTC.
    pub time: AtomicU64,
    /// Records written and acknowledged.
    pub records: AtomicU64,
    /// Records that were in the log already.
    pub repeated: AtomicU64,
    /// Times that the log refused for a while.
    pub retries: AtomicU64,
    /// Packets that live sources lost, or the kernel before them.
    pub dropped: AtomicU64,
    /// Microseconds that were not seen; see [`crate::blind`].
    pub blind_us: AtomicU64,
    /// Subjects that cannot be read now.
    pub down: AtomicU64,
    /// Every source has been read and everything is acknowledged.
    pub done: AtomicBool,
}

impl Progress {
    /// What writers could not see until now.
    pub(crate) fn note_blind<'a>(&self, blind: impl Iterator<Item = &'a Blind> + Clone) {
        self.blind_us.store(blind.clone().map(Blind::micros).sum(), Ordering::Relaxed);
        self.down.store(blind.map(Blind::down).sum(), Ordering::Relaxed);
    }
}

/// Where rows go.
pub struct Destination<'a> {
    /// The log.
    pub log: &'a dyn Log,
    /// The topic.
    pub topic: &'a str,
    /// What the topic holds already.
    pub cursor: Cursor,
}

/// Reads `sources` to their ends into `destination`; `false` when `stop` was set before.
///
/// With each source stand the only cells that it may write; all of them when there are none.
///
/// `pace` is how many seconds of the sources' time pass in one second; `None` for as fast as the
/// log takes it. It changes when records are written, not what they are; what the log holds already
/// is passed over at once.
pub fn collect(
    sources: Vec<(Box<dyn Source>, Vec<String>)>,
    assets: &Arc<AssetTable>,
    destination: Destination<'_>,
    pace: Option<f64>,
    stop: &AtomicBool,
    progress: &Progress,
) -> Result<bool, CollectError> {
    let Destination { log, topic, mut cursor } = destination;
    let mut writers: BTreeMap<(String, u64), RowWriter> = BTreeMap::new();
    let mut sources: Vec<(Box<dyn Source>, (String, u64))> = sources
        .into_iter()
        .map(|(source, cells)| {
            let id = (source.collector().to_string(), source.epoch());
            let fresh = || RowWriter::new(&id.0, id.1, Arc::clone(assets)).permit(&cells);
            writers.entry(id.clone()).or_insert_with(fresh);
            (source, id)
        })
        .collect();
    progress.total.store(sources.iter().map(|(s, _)| s.progress().1).sum(), Ordering::Relaxed);
    let mut out = Output::new(log, topic, progress)?;
    let mut close_at: Option<Micros> = None;
    let mut pacer = Pacer::new(pace);
    // The earliest next row over all sources; ties go to the one that stands first.
    while let Some((index, time)) = sources
        .iter_mut()
        .enumerate()
        .filter_map(|(index, (source, _))| source.next_time().map(|time| (index, time)))
        .min_by_key(|&(index, time)| (time, index))
    {
        if stop.load(Ordering::Acquire) {
            return Ok(false);
        }
        let boundary = *close_at.get_or_insert(time.div_euclid(CLOSE_EVERY) * CLOSE_EVERY + CLOSE_EVERY);
        if time >= boundary {
            for writer in writers.values_mut() {
                writer.close(boundary);
                out.hand_over(writer.take()?, stop, &mut cursor)?;
            }
            close_at = Some(time.div_euclid(CLOSE_EVERY) * CLOSE_EVERY + CLOSE_EVERY);
            progress.read.store(sources.iter().map(|(s, _)| s.progress().0).sum(), Ordering::Relaxed);
            progress.time.store(time.max(0) as u64, Ordering::Relaxed);
            progress.note_blind(writers.values().map(RowWriter::blind));
            if (out.begun && pacer.wait(time, stop)) || out.bytes >= UNACKNOWLEDGED_BYTES_MAX {
                out.acknowledge(stop, &mut cursor)?;
            }
        }
        let (source, id) = &mut sources[index];
        if let Some(writer) = writers.get_mut(id) {
            source.advance(writer);
            out.hand_over(writer.take()?, stop, &mut cursor)?;
        }
    }
    for (source, id) in &mut sources {
        if let Some(writer) = writers.get_mut(id) {
            source.finish(writer);
        }
    }
    for writer in writers.values_mut() {
        writer.close(Micros::MAX);
        out.hand_over(writer.take()?, stop, &mut cursor)?;
    }
    out.acknowledge(stop, &mut cursor)?;
    progress.note_blind(writers.values().map(RowWriter::blind));
    progress.read.store(progress.total.load(Ordering::Relaxed), Ordering::Relaxed);
    progress.done.store(true, Ordering::Release);
    Ok(true)
}

/// The log's end of collecting: what was handed over and is not acknowledged yet is kept, so that
/// it can be handed over again.
pub(crate) struct Output<'a> {
    log: &'a dyn Log,
    topic: &'a str,
    /// None after it refused.
    appender: Option<Box<dyn Appender>>,
    pending: Vec<Record>,
    bytes: usize,
    /// Something was handed over that the log did not hold.
    begun: bool,
    progress: &'a Progress,
}

impl<'a> Output<'a> {
    pub(crate) fn new(log: &'a dyn Log, topic: &'a str, progress: &'a Progress) -> Result<Self, LogError> {
        let appender = Some(log.appender(topic)?);
        Ok(Output { log, topic, appender, pending: Vec::new(), bytes: 0, begun: false, progress })
    }

    /// Bytes that were handed over and not acknowledged.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.bytes
    }

    pub(crate) fn hand_over(
        &mut self,
        records: Vec<Record>,
        stop: &AtomicBool,
        cursor: &mut Cursor,
    ) -> Result<(), LogError> {
        for record in records {
            if cursor.has(&record) {
                self.progress.repeated.fetch_add(1, Ordering::Relaxed);
                continue;
            }
            self.begun = true;
            self.bytes += record.size();
            self.pending.push(record);
        }
        if self.bytes >= 2 * UNACKNOWLEDGED_BYTES_MAX {
            self.acknowledge(stop, cursor)?;
        }
        Ok(())
    }

    /// Returns when everything is durable; goes on trying while the log says that it may help.
    pub(crate) fn acknowledge(&mut self, stop: &AtomicBool, cursor: &mut Cursor) -> Result<(), LogError> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let mut pauses = Pauses::up_to(PAUSE_MAX);
        loop {
            match self.try_append() {
                Ok(()) => break,
                Err(cause) if cause.retriable() && !stop.load(Ordering::Acquire) => {
                    self.progress.retries.fetch_add(1, Ordering::Relaxed);
                    tracing::warn!(%cause, "the log does not take records; they are kept and tried again");
                    pauses.wait(stop);
                    self.appender = None;
                }
                Err(cause) => return Err(cause),
            }
        }
        for record in self.pending.drain(..) {
            cursor.seen(&record);
            self.progress.records.fetch_add(1, Ordering::Relaxed);
        }
        self.bytes = 0;
        match cursor.save(self.log, self.topic) {
            // The next note says it, too.
            Err(cause) if cause.retriable() => tracing::debug!(%cause, "how far collecting is was not noted"),
            saved => saved?,
        }
        Ok(())
    }

    fn try_append(&mut self) -> Result<(), LogError> {
        let appender = match &mut self.appender {
            Some(appender) => appender,
            none => none.insert(self.log.appender(self.topic)?),
        };
        for record in &self.pending {
            appender.append(record.clone())?;
        }
        appender.flush()
    }
}

/// How long it takes at most until somebody who waits sees that everything is to stop.
const LOOKS_UP_EVERY: Duration = Duration::from_millis(100);

/// Lets the sources' time pass no faster than asked.
struct Pacer {
    pace: Option<f64>,
    began: Option<(std::time::Instant, Micros)>,
}

impl Pacer {
    fn new(pace: Option<f64>) -> Self {
        Pacer { pace, began: None }
    }

    /// Waits until `time` is due, or everything is to stop; answers whether it had to, which is a good moment to
    /// acknowledge.
    fn wait(&mut self, time: Micros, stop: &AtomicBool) -> bool {
        let Some(pace) = self.pace else { return false };
        #[expect(clippy::disallowed_methods, reason = "how fast a recording is played changes no result")]
        let now = std::time::Instant::now;
        let (began, first) = *self.began.get_or_insert_with(|| (now(), time));
        let due = began + Duration::from_secs_f64(((time - first) as f64 / pace / SECOND as f64).max(0.0));
        let mut waited = false;
        // A thread that is parked may be woken for another reason.
        while let Some(wait) = due.checked_duration_since(now())
            && !stop.load(Ordering::Acquire)
        {
            std::thread::park_timeout(wait.min(LOOKS_UP_EVERY));
            waited = true;
        }
        waited
    }
}
