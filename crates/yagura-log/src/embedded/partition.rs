//! One partition: its segments, the records on their way, and who waits for what.
//!
//! There is no writer thread. Whoever needs something written while nobody writes takes
//! [`Active`] out of the state and with it the exclusive right to write; the others fill the
//! next batch meanwhile or wait, and share that batch's fdatasync.

use std::collections::VecDeque;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::disk::{Disk, DiskFile};
use super::frame::{self, SEGMENT, SegmentHeader};
use super::{Options, Signal, follow, io_error};
use crate::{LogError, Record};

/// A place in the sparse index every so many bytes.
pub(super) const INDEX_STEP: u64 = 256 << 10;

/// How often a partition that another process writes is looked at by a waiting reader.
const LOOK: Duration = Duration::from_millis(50);

/// One partition of a topic.
pub(super) struct Partition {
    pub topic: String,
    pub number: u32,
    pub disk: Arc<dyn Disk>,
    pub folder: PathBuf,
    options: Options,
    state: Mutex<State>,
    /// Something was written, or the right to write is free.
    written: Condvar,
    /// Something became durable, or went.
    readable: Condvar,
    signal: Arc<Signal>,
    /// Held while segments are deleted, so that they go in order.
    retaining: Mutex<()>,
    /// Whether somebody else writes it, whom this process looks after.
    follows: bool,
}

struct State {
    /// Oldest first; the last one is written to.
    segments: VecDeque<Segment>,
    /// Absent while somebody writes, and for good once the partition takes no more records.
    active: Option<Active>,
    /// Frames that wait to be written, not sealed yet.
    pending: Vec<u8>,
    /// The last batch's memory, to be used again.
    spare: Vec<u8>,
    /// The offset that the next record gets.
    next: u64,
    /// The offset after the last durable record.
    durable: u64,
    /// How often records that were handed over had to be dropped, and why the last time.
    lost: u64,
    lost_why: Option<Failure>,
    /// Why nothing can be appended any more until the log is opened again.
    closed: Option<Failure>,
}

/// One segment file as readers see it.
pub(super) struct Segment {
    pub base: u64,
    pub salt: u32,
    /// Durable bytes, header included; always the end of a frame.
    pub size: u64,
    /// Microseconds: when its last record was appended; when it was begun without one.
    last: i64,
    /// Offset and position of some frames, ascending.
    pub index: Vec<(u64, u64)>,
}

/// The right to write, and what only its holder needs to know.
pub(super) struct Active {
    pub file: Arc<dyn DiskFile>,
    pub base: u64,
    pub salt: u32,
    /// Bytes written, and how many of them are durable.
    pub written: u64,
    pub synced: u64,
    /// The offset after the last written record.
    pub next: u64,
    pub last: i64,
    /// Index entries that readers do not have yet, and the position of the last entry of all.
    pub index: Vec<(u64, u64)>,
    pub indexed: u64,
}

/// An error that several callers are told.
#[derive(Clone)]
pub(super) enum Failure {
    Full(String),
    Io(String, io::ErrorKind, String),
}

impl Failure {
    fn of(error: LogError) -> Failure {
        match error {
            LogError::Full { folder } => Failure::Full(folder),
            LogError::Io { what, cause } => Failure::Io(what, cause.kind(), cause.to_string()),
            other => Failure::Io("appending".to_owned(), io::ErrorKind::Other, other.to_string()),
        }
    }

    pub fn error(&self) -> LogError {
        match self {
            Failure::Full(folder) => LogError::Full { folder: folder.clone() },
            Failure::Io(what, kind, cause) => {
                LogError::Io { what: what.clone(), cause: io::Error::new(*kind, cause.clone()) }
            }
        }
    }
}

impl Partition {
    /// Puts together what recovery found; `active` is `None` for a log that is only read.
    pub fn new(
        (topic, number): (&str, u32),
        disk: Arc<dyn Disk>,
        folder: PathBuf,
        options: Options,
        signal: Arc<Signal>,
        (segments, durable, active): (VecDeque<Segment>, u64, Option<Active>),
    ) -> Self {
        let closed = active.is_none().then(|| {
            Failure::Io(
                format!("appending to {topic}/{number}"),
                io::ErrorKind::ReadOnlyFilesystem,
                "the log was opened for reading only".to_owned(),
            )
        });
        let state = State {
            segments,
            active,
            pending: Vec::new(),
            spare: Vec::new(),
            next: durable,
            durable,
            lost: 0,
            lost_why: None,
            closed,
        };
        Partition {
            topic: topic.to_owned(),
            number,
            disk,
            folder,
            options,
            state: Mutex::new(state),
            written: Condvar::new(),
            readable: Condvar::new(),
            signal,
            retaining: Mutex::new(()),
            follows: false,
        }
    }

    /// Whether the folder is looked at again for what another process appends.
    pub fn following(mut self, follows: bool) -> Self {
        self.follows = follows;
        self
    }

    /// Looks at what another process has appended and deleted, if there is one.
    pub fn look(&self) -> Result<(), LogError> {
        if self.follows {
            let state = &mut *self.state();
            follow::extend(&*self.disk, &self.folder, &mut state.segments, &mut state.durable)?;
        }
        Ok(())
    }

    /// The offsets that can be read.
    pub fn held(&self) -> Range<u64> {
        self.state().held()
    }

    /// How often records were dropped so far: what [`Partition::flush`] compares with.
    pub fn lost(&self) -> u64 {
        self.state().lost
    }

    /// Hands a record over and answers the offset after it; waits for room in the buffer.
    pub fn append(&self, record: &Record) -> Result<u64, LogError> {
        let size = frame::FRAME + record.size();
        let room = self.options.buffer_bytes.min(self.options.segment_bytes as usize);
        let mut state = self.state();
        while !state.pending.is_empty() && state.pending.len() + size > room {
            state.usable()?;
            state = self.work_or_wait(state, false)?;
        }
        state.usable()?;
        let (next, now) = (state.next, self.disk.now());
        frame::encode(&mut state.pending, next, now, record);
        state.next += 1;
        Ok(state.next)
    }

    /// Returns when everything before `upto` is durable. `lost` is what [`Partition::lost`]
    /// answered before the first of these records was handed over.
    pub fn flush(&self, upto: u64, lost: u64) -> Result<(), LogError> {
        let mut state = self.state();
        loop {
            match &state.lost_why {
                Some(why) if state.lost != lost => return Err(why.error()),
                _ => {}
            }
            if state.durable >= upto {
                return Ok(());
            }
            state.usable()?;
            state = self.work_or_wait(state, true)?;
        }
    }

    /// Waits until there is something at `position`; answers what is held then.
    pub fn wait(&self, position: u64, wait: Duration) -> Result<Range<u64>, LogError> {
        if self.follows {
            // Nobody tells what another process does: it is looked at now and then.
            let mut left = wait;
            loop {
                self.look()?;
                let held = self.held();
                if held.end != position || left.is_zero() {
                    return Ok(held);
                }
                let pause = left.min(LOOK);
                std::thread::park_timeout(pause);
                left -= pause;
            }
        }
        let waiting = self.readable.wait_timeout_while(self.state(), wait, |state| state.durable == position);
        Ok(waiting.unwrap_or_else(PoisonError::into_inner).0.held())
    }

    /// Calls `with` on the segment in which an offset stands, or will stand.
    pub fn segment<T>(&self, offset: u64, with: impl FnOnce(&mut Segment) -> T) -> Option<T> {
        let mut state = self.state();
        let after = state.segments.partition_point(|segment| segment.base <= offset);
        state.segments.get_mut(after.checked_sub(1)?).map(with)
    }

    /// The file of the segment that begins at an offset.
    pub fn path(&self, base: u64) -> PathBuf {
        self.folder.join(segment_name(base))
    }

    /// Deletes the oldest segments as far as retention wants it.
    pub fn retain(&self) -> Result<(), LogError> {
        if self.options.keep.contains(&self.topic) {
            return Ok(());
        }
        let _in_order = self.retaining.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest =
            self.options.retain_age.map(|age| self.disk.now().saturating_sub(age.as_micros() as i64));
        let too_old = |segment: &Segment| oldest.is_some_and(|oldest| segment.last < oldest);
        let mut state = self.state();
        let stale =
            state.segments.back().is_some_and(|newest| newest.size > SEGMENT as u64 && too_old(newest));
        if stale
            && state.pending.is_empty()
            && let Some(mut active) = state.active.take()
        {
            // All records are too old: a new segment begins, so that theirs can go.
            drop(state);
            let rolled = self.sync(&mut active).and_then(|()| self.roll(&mut active));
            state = self.state();
            self.give_back(&mut state, active, rolled.err())?;
        }
        let mut total: u64 = state.segments.iter().map(|segment| segment.size).sum();
        let mut gone = Vec::new();
        while state.segments.len() > 1 {
            let too_large = self.options.retain_bytes.is_some_and(|limit| total > limit);
            if !too_large && !too_old(&state.segments[0]) {
                break;
            }
            if let Some(first) = state.segments.pop_front() {
                total -= first.size;
                gone.push(first.base);
            }
        }
        drop(state);
        self.delete(gone)
    }

    /// Deletes the segments that hold only records before an offset; the newest stays.
    pub fn release(&self, before: u64) -> Result<(), LogError> {
        let _in_order = self.retaining.lock().unwrap_or_else(PoisonError::into_inner);
        let mut state = self.state();
        let mut gone = Vec::new();
        while state.segments.get(1).is_some_and(|next| next.base <= before) {
            gone.extend(state.segments.pop_front().map(|first| first.base));
        }
        drop(state);
        self.delete(gone)
    }

    /// Bytes that its segments take.
    pub fn size(&self) -> u64 {
        let state = self.state();
        state.segments.iter().map(|segment| segment.size).sum::<u64>() + state.pending.len() as u64
    }

    fn delete(&self, segments: Vec<u64>) -> Result<(), LogError> {
        for base in segments {
            let path = self.path(base);
            self.disk.remove(&path).map_err(|cause| io_error("deleting", &path, cause))?;
            // One by one: after a power cut the segments left must be without a gap.
            self.disk.sync_dir(&self.folder).map_err(|cause| io_error("syncing", &self.folder, cause))?;
            tracing::info!(topic = self.topic, partition = self.number, base, "segment deleted");
        }
        Ok(())
    }

    /// Makes everything durable and notes the end, so that damage to the very last records can be
    /// told from a torn tail when the log is opened again.
    pub fn close(&self) -> Result<(), LogError> {
        let upto = self.state().next;
        let lost = self.lost();
        self.flush(upto, lost)?;
        let mark = self.state().segments.back().map(|segment| (segment.base, segment.size));
        match mark {
            Some((base, size)) => super::recover::write_mark(&*self.disk, &self.folder, base, size),
            None => Ok(()),
        }
    }

    /// Writes what waits, or waits while somebody else does.
    fn work_or_wait<'a>(
        &'a self,
        mut state: MutexGuard<'a, State>,
        sync: bool,
    ) -> Result<MutexGuard<'a, State>, LogError> {
        let Some(mut active) = state.active.take() else {
            return Ok(self.written.wait(state).unwrap_or_else(PoisonError::into_inner));
        };
        let spare = std::mem::take(&mut state.spare);
        let mut batch = std::mem::replace(&mut state.pending, spare);
        drop(state);
        let answer = self.write(&mut active, &mut batch, sync);
        batch.clear();
        let mut state = self.state();
        state.spare = batch;
        let (rolled, stopped) = match answer {
            Ok(rolled) => (rolled, None),
            Err(stopped) => (false, Some(stopped)),
        };
        self.give_back(&mut state, active, stopped)?;
        if rolled {
            drop(state);
            if let Err(error) = self.retain() {
                // The records are safe; a disk that fills up for it says so by itself.
                tracing::warn!(topic = self.topic, partition = self.number, %error, "retention");
            }
            state = self.state();
        }
        Ok(state)
    }

    /// Ends a turn of writing: publishes what is durable, wakes who waits. After an error the
    /// records that wait are dropped: their offsets followed those that failed.
    fn give_back(
        &self,
        state: &mut State,
        mut active: Active,
        stopped: Option<Stopped>,
    ) -> Result<(), LogError> {
        publish(state, &mut active);
        self.written.notify_all();
        self.readable.notify_all();
        self.signal.bump();
        let Some(stopped) = stopped else {
            state.active = Some(active);
            return Ok(());
        };
        let why = Failure::of(stopped.error);
        state.pending.clear();
        state.next = active.next;
        state.lost += 1;
        state.lost_why = Some(why.clone());
        if stopped.fatal {
            tracing::error!(topic = self.topic, partition = self.number, error = %why.error(), "appending stops until the log is opened again");
            state.closed = Some(why.clone());
        } else {
            state.active = Some(active);
        }
        Err(why.error())
    }

    /// Writes a batch, and syncs it if asked to; answers whether a new segment was begun.
    fn write(&self, active: &mut Active, batch: &mut [u8], sync: bool) -> Result<bool, Stopped> {
        let full = active.written > SEGMENT as u64
            && active.written + batch.len() as u64 > self.options.segment_bytes;
        let rolled = full && !batch.is_empty();
        if rolled {
            self.sync(active)?;
            self.roll(active)?;
        }
        let (at, mut next, mut last) = (active.written, active.next, active.last);
        let mut points = Vec::new();
        let mut indexed = active.indexed;
        frame::seal(batch, active.salt, active.synced, |offset, time, within| {
            let position = at + within as u64;
            if position >= indexed + INDEX_STEP {
                indexed = position;
                points.push((offset, position));
            }
            (next, last) = (offset + 1, last.max(time));
        });
        if let Err(cause) = active.file.write(at, batch) {
            // What was partly written goes, durably, before anything else takes its place.
            let cleaned = active.file.truncate(at).and_then(|()| active.file.sync());
            let fatal = cleaned.is_err();
            active.synced = if fatal { active.synced } else { at };
            return Err(Stopped { error: io_error("appending to", &self.path(active.base), cause), fatal });
        }
        active.index.append(&mut points);
        active.indexed = indexed;
        active.written += batch.len() as u64;
        (active.next, active.last) = (next, last);
        if sync {
            self.sync(active)?;
        }
        Ok(rolled)
    }

    /// After a failed fdatasync the kernel may have forgotten which pages were not written, so a
    /// second one that succeeds would prove nothing: the failure is final.
    fn sync(&self, active: &mut Active) -> Result<(), Stopped> {
        if active.synced < active.written {
            active.file.sync().map_err(|cause| Stopped {
                error: LogError::Io { what: format!("syncing {}", self.path(active.base).display()), cause },
                fatal: true,
            })?;
            active.synced = active.written;
        }
        Ok(())
    }

    /// Begins a new segment after one that is wholly durable.
    fn roll(&self, active: &mut Active) -> Result<(), Stopped> {
        let (file, header) = create_segment(&*self.disk, &self.folder, active.next, active.written)?;
        let mut state = self.state();
        publish(&mut state, active);
        active.file = file;
        (active.base, active.salt) = (header.base, header.salt);
        (active.written, active.synced, active.indexed) = (SEGMENT as u64, SEGMENT as u64, SEGMENT as u64);
        active.last = self.disk.now();
        state.segments.push_back(Segment::begun(header, active.last));
        Ok(())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn held(&self) -> Range<u64> {
        self.segments.front().map_or(0, |first| first.base)..self.durable
    }

    fn usable(&self) -> Result<(), LogError> {
        self.closed.as_ref().map_or(Ok(()), |why| Err(why.error()))
    }
}

impl Segment {
    pub fn begun(header: SegmentHeader, now: i64) -> Self {
        Segment { base: header.base, salt: header.salt, size: SEGMENT as u64, last: now, index: Vec::new() }
    }

    pub fn found(header: SegmentHeader, size: u64, last: i64, index: Vec<(u64, u64)>) -> Self {
        Segment { base: header.base, salt: header.salt, size, last, index }
    }

    /// The position of the nearest known frame at or before an offset.
    pub fn nearest(&self, offset: u64) -> (u64, u64) {
        let after = self.index.partition_point(|point| point.0 <= offset);
        after.checked_sub(1).map_or((self.base, SEGMENT as u64), |at| self.index[at])
    }

    /// Remembers where a frame stands, unless one near it is known.
    pub fn learn(&mut self, offset: u64, position: u64) {
        let at = self.index.partition_point(|point| point.0 <= offset);
        let before = at.checked_sub(1).map_or(SEGMENT as u64, |at| self.index[at].1);
        let after = self.index.get(at).map_or(u64::MAX, |point| point.1);
        if position >= before + INDEX_STEP && after - position >= INDEX_STEP {
            self.index.insert(at, (offset, position));
        }
    }
}

/// A turn of writing that ended early.
pub(super) struct Stopped {
    pub error: LogError,
    /// Whether the partition takes no more records.
    fatal: bool,
}

/// Lets readers see what is durable.
fn publish(state: &mut State, active: &mut Active) {
    let Some(newest) = state.segments.back_mut() else {
        return;
    };
    newest.last = newest.last.max(active.last);
    if active.synced < active.written {
        return;
    }
    newest.size = active.synced;
    newest.index.append(&mut active.index);
    state.durable = active.next;
}

/// Creates a segment file; when its name is there, its header is durable.
pub(super) fn create_segment(
    disk: &dyn Disk,
    folder: &Path,
    base: u64,
    previous: u64,
) -> Result<(Arc<dyn DiskFile>, SegmentHeader), Stopped> {
    let salt = RandomState::new().hash_one(base) as u32;
    let header = SegmentHeader { salt, base, previous };
    let path = folder.join(segment_name(base));
    let fresh = path.with_extension("new");
    let create = || {
        let file = disk.open(&fresh, true)?;
        file.truncate(0)?;
        file.write(0, &header.encode())?;
        file.sync()?;
        disk.rename(&fresh, &path)?;
        Ok(file)
    };
    let file =
        create().map_err(|cause| Stopped { error: io_error("creating", &path, cause), fatal: false })?;
    // The name is there but may not last: nothing may go on beside it.
    disk.sync_dir(folder)
        .map_err(|cause| Stopped { error: io_error("syncing", folder, cause), fatal: true })?;
    Ok((file, header))
}

/// Sorts as its offset does.
pub(super) fn segment_name(base: u64) -> String {
    format!("{base:020}.log")
}
