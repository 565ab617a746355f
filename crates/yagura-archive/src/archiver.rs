//! From a topic of the log to files.
//!
//! ```text
//! log ── records ── rows by kind, day and cell ── cut: claim, then files ── store
//! ```
//!
//! A cut is due when enough rows are gathered, or the first of them has waited long enough. Which
//! stretch it covers is claimed in the store, so that what the files hold is a function of the log
//! and of the claims: a crash anywhere is a stretch that is read again.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arrow::array::{AsArray as _, RecordBatch};
use arrow::datatypes::UInt32Type;
use parquet::errors::ParquetError;
use yagura_event::clock::{self, Micros};
use yagura_event::redact::Redaction;
use yagura_event::{Envelope, EventError, Kind, codec};
use yagura_log::{Log, LogError, Member, Pauses, Polled, Stored};

use crate::columns;
use crate::cuts::{self, Claimed, Cut, Mark};
use crate::file::{Opened, Writer, is_missing};
use crate::keep::{self, Keep};
use crate::names::{Name, Place, cell_in_path};
use crate::series::Names;
use crate::store::{Store, StoreError};

/// The group of the archivers.
pub const GROUP: &str = "yagura.archive";

/// How an archiver behaves.
#[derive(Clone, Debug)]
pub struct Options {
    /// A cut is due at this many rows, over all partitions…
    pub rows: u64,
    /// …or this many bytes of rows in memory…
    pub bytes: u64,
    /// …or when the first row has waited this long.
    pub flush_every: Duration,
    /// What is deleted when.
    pub keep: Keep,
    /// Whether small files become large ones.
    pub compact: bool,
    /// What of alerts and rows is left out.
    pub redact: Redaction,
    /// How often retention and compaction look.
    pub tidy_every: Duration,
    /// How long files stay after a larger one replaced them, for those who are reading them.
    pub grace: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            rows: 1 << 20,
            bytes: 128 << 20,
            flush_every: Duration::from_secs(600),
            keep: Keep::default(),
            compact: true,
            redact: Redaction::off(),
            tidy_every: Duration::from_secs(600),
            grace: Duration::from_secs(900),
        }
    }
}

/// The most starts of collectors whose row numbers a partition remembers; beyond, the one silent
/// for longest is forgotten. About 100 bytes each, in memory and in a claim.
const MARKS_MAX: usize = 8192;
/// The most starts of collectors whose series a partition has in memory; the others are in the store.
const NAMES_MAX: usize = 512;
/// How often the log is asked for its ends.
const ENDS_EVERY: Micros = 5 * clock::SECOND;
/// How long a stop takes to read what the log still holds.
const DRAIN: Duration = Duration::from_secs(30);

/// Why archiving did not go on.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The log refused.
    #[error(transparent)]
    Log(#[from] LogError),
    /// The store refused.
    #[error("the history: {0}")]
    Store(#[from] StoreError),
    /// A file cannot be written or read.
    #[error("the history: a Parquet file: {0}")]
    Parquet(#[from] ParquetError),
    /// The store holds another log's rows.
    #[error(
        "the history in {store} goes on to record {claimed} of {topic}/{partition}, and the log ends before {end}: it is another log's; name another `store`"
    )]
    OtherLog {
        /// The store.
        store: String,
        /// Topic.
        topic: String,
        /// Partition.
        partition: u32,
        /// The last record archived.
        claimed: u64,
        /// The offset that comes next in the log.
        end: u64,
    },
}

impl ArchiveError {
    /// Whether trying again later may help.
    pub fn retriable(&self) -> bool {
        match self {
            ArchiveError::Log(cause) => cause.retriable(),
            ArchiveError::Store(_) | ArchiveError::Parquet(_) => true,
            ArchiveError::OtherLog { .. } => false,
        }
    }
}

/// What others may see of archivers while they run.
#[derive(Default)]
pub struct Progress {
    /// Rows written to files.
    pub rows: AtomicU64,
    /// Files written.
    pub files: AtomicU64,
    /// Bytes of these files.
    pub bytes: AtomicU64,
    /// Rows that had been archived before and were left out.
    pub repeated_rows: AtomicU64,
    /// Samples whose series nobody defined.
    pub unnamed_samples: AtomicU64,
    /// Records that could not be read.
    pub unreadable_records: AtomicU64,
    /// Records that the log had deleted before they were archived.
    pub lost_records: AtomicU64,
    /// Small files that became part of larger ones.
    pub compacted_files: AtomicU64,
    /// Files that retention deleted.
    pub expired_files: AtomicU64,
    /// Times that an archiver began again because the log or the store refused.
    pub restarts: AtomicU64,
    places: Mutex<BTreeMap<(String, u32), Reached>>,
}

/// How far a partition is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Reached {
    /// The offset after the last record whose rows are gathered.
    pub gathered: u64,
    /// The offset before which everything is in files.
    pub archived: u64,
    /// The log's end when it was last looked at.
    pub end: u64,
}

impl Progress {
    /// By topic and partition, how far archiving is.
    pub fn reached(&self) -> BTreeMap<(String, u32), Reached> {
        self.places().clone()
    }

    fn places(&self) -> MutexGuard<'_, BTreeMap<(String, u32), Reached>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The longest pause after something refused.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Archives a topic until `stop` is set; then what the log still holds is read, and everything is
/// written. While log or store refuse for a reason that may pass, it begins again.
pub fn run(
    log: &dyn Log,
    store: &Arc<dyn Store>,
    topic: &str,
    options: &Options,
    stop: &AtomicBool,
    progress: &Progress,
) -> Result<(), ArchiveError> {
    let mut pauses = Pauses::up_to(PAUSE_MAX);
    loop {
        let files = progress.files.load(Ordering::Relaxed);
        match work(log, store, topic, options, stop, progress) {
            Err(cause) if cause.retriable() && !stop.load(Ordering::Acquire) => {
                if progress.files.load(Ordering::Relaxed) > files {
                    pauses.reset();
                }
                tracing::warn!(topic, %cause, "archiving begins again; nothing is lost while the log holds it");
                progress.places().retain(|(of, _), _| of != topic);
                progress.restarts.fetch_add(1, Ordering::Relaxed);
                pauses.wait(stop);
            }
            ended => return ended,
        }
    }
}

fn work(
    log: &dyn Log,
    store: &Arc<dyn Store>,
    topic: &str,
    options: &Options,
    stop: &AtomicBool,
    progress: &Progress,
) -> Result<(), ArchiveError> {
    let mut archiver = Archiver::join(log, store, topic, options, progress)?;
    while !stop.load(Ordering::Acquire) {
        archiver.turn(Duration::from_millis(100))?;
    }
    archiver.finish()
}

/// One member of the group of archivers.
pub struct Archiver<'a> {
    log: &'a dyn Log,
    store: &'a Arc<dyn Store>,
    topic: &'a str,
    options: &'a Options,
    progress: &'a Progress,
    member: Box<dyn Member + 'a>,
    partitions: BTreeMap<u32, Partition>,
    next_check: Micros,
    /// When the log is asked for its ends again, which on Kafka is a call.
    next_ends: Micros,
    next_tidy: Micros,
}

/// Who numbers rows: cell, collector, epoch.
type Origin = (String, String, u64);

struct Partition {
    /// Where the present stretch begins.
    first: u64,
    /// The offset after the last record gathered.
    next: u64,
    /// Where the stretch ends, when that was decided before.
    until: Option<u64>,
    /// What was archived before the stretch.
    before: Vec<Mark>,
    /// Before `next`: number of the next row, offset of the record it was heard by last.
    marks: BTreeMap<Origin, (u64, u64)>,
    names: BTreeMap<Origin, Named>,
    rows: BTreeMap<Place, Vec<RecordBatch>>,
    row_count: u64,
    byte_count: u64,
    /// When the first row was gathered.
    since: Option<Micros>,
}

struct Named {
    names: Names,
    /// Offset of the last record that they were used or learned by.
    used: u64,
}

impl<'a> Archiver<'a> {
    /// Joins the group.
    pub fn join(
        log: &'a dyn Log,
        store: &'a Arc<dyn Store>,
        topic: &'a str,
        options: &'a Options,
        progress: &'a Progress,
    ) -> Result<Self, ArchiveError> {
        Ok(Self::among(log.join(GROUP, topic)?, log, store, topic, options, progress))
    }

    fn among(
        member: Box<dyn Member + 'a>,
        log: &'a dyn Log,
        store: &'a Arc<dyn Store>,
        topic: &'a str,
        options: &'a Options,
        progress: &'a Progress,
    ) -> Self {
        let partitions = BTreeMap::new();
        Archiver {
            log,
            store,
            topic,
            options,
            progress,
            member,
            partitions,
            next_check: 0,
            next_ends: 0,
            next_tidy: 0,
        }
    }

    /// Does the next thing there is to do, waiting up to `wait` for it.
    pub fn turn(&mut self, wait: Duration) -> Result<(), ArchiveError> {
        match self.member.poll(wait)? {
            Polled::Assigned(partitions) => {
                for partition in partitions {
                    self.begin(partition)?;
                }
            }
            Polled::Revoked(partitions) => {
                // The next owner reads the stretch again.
                for partition in partitions {
                    self.partitions.remove(&partition);
                    self.progress.places().remove(&(self.topic.to_string(), partition));
                }
            }
            Polled::Records(partition, records) => {
                for stored in &records {
                    if !self.take(partition, stored)? {
                        // It began again elsewhere.
                        break;
                    }
                }
                self.cut_the_fullest()?;
            }
            Polled::Idle => {}
        }
        let now = clock::steady();
        if now >= self.next_check {
            self.next_check = now + clock::SECOND;
            self.look(now)?;
        }
        Ok(())
    }

    /// Reads what the log holds now and writes everything.
    pub fn finish(mut self) -> Result<(), ArchiveError> {
        let mut ends = BTreeMap::new();
        for &partition in self.partitions.keys() {
            ends.insert(partition, self.log.held(self.topic, partition)?.end);
        }
        let deadline = clock::steady() + DRAIN.as_micros() as Micros;
        let behind = |archiver: &Self| {
            archiver.partitions.iter().any(|(number, p)| ends.get(number).is_some_and(|&end| p.next < end))
        };
        while behind(&self) && clock::steady() < deadline {
            self.turn(Duration::from_millis(50))?;
        }
        self.flush()
    }

    /// Cuts every partition where it is.
    pub fn flush(&mut self) -> Result<(), ArchiveError> {
        let numbers: Vec<u32> = self.partitions.keys().copied().collect();
        for number in numbers {
            // A stretch whose end was decided and is not reached yet stays for the next start.
            if self.partitions.get(&number).is_some_and(|p| p.until.is_none()) {
                self.cut(number)?;
            }
        }
        Ok(())
    }

    /// Retention and compaction, now.
    pub fn tidy(&mut self) -> Result<(), ArchiveError> {
        let before: BTreeMap<u32, u64> = self.partitions.iter().map(|(&n, p)| (n, p.first)).collect();
        let is_mine = |kind: Kind| (kind == Kind::Alert) == self.holds_alerts();
        let tidied = keep::tidy(self.store, self.options, &before, &is_mine, clock::now())?;
        self.progress.compacted_files.fetch_add(tidied.compacted, Ordering::Relaxed);
        self.progress.expired_files.fetch_add(tidied.expired, Ordering::Relaxed);
        Ok(())
    }

    /// Alerts have a topic of their own.
    fn holds_alerts(&self) -> bool {
        self.topic.ends_with(".alerts")
    }

    /// Goes on where the store says that archiving is.
    fn begin(&mut self, number: u32) -> Result<(), ArchiveError> {
        let held = self.log.held(self.topic, number)?;
        let cut = cuts::last(&**self.store, self.topic, number)?;
        if let Some(cut) = &cut
            && cut.last >= held.end
        {
            return Err(ArchiveError::OtherLog {
                store: self.store.describe(),
                topic: self.topic.into(),
                partition: number,
                claimed: cut.last,
                end: held.end,
            });
        }
        let (mut first, mut until, before) = match cut {
            Some(cut) => (cut.first, Some(cut.last), cut.marks),
            None => (held.start, None, Vec::new()),
        };
        // A stretch whose records are gone stays as it was left; mostly it was whole.
        if let Some(last) = until
            && last < held.start
        {
            (first, until) = (held.start, None);
            let lost = held.start - (last + 1);
            self.progress.lost_records.fetch_add(lost, Ordering::Relaxed);
            if lost > 0 {
                tracing::warn!(
                    topic = self.topic,
                    partition = number,
                    "the log deleted {lost} records from {} on before they were archived: lengthen its retention",
                    last + 1
                );
            }
        }
        let next = first.max(held.start);
        self.member.seek(number, next)?;
        let marks = before.iter().map(|mark| {
            let origin = (mark.cell.clone(), mark.collector.clone(), mark.epoch);
            (origin, (mark.next_row, mark.heard))
        });
        let partition = Partition {
            first,
            next,
            until,
            marks: marks.collect(),
            before,
            names: BTreeMap::new(),
            rows: BTreeMap::new(),
            row_count: 0,
            byte_count: 0,
            since: None,
        };
        self.partitions.insert(number, partition);
        let reached = Reached { gathered: next, archived: first, end: held.end };
        self.progress.places().insert((self.topic.into(), number), reached);
        Ok(())
    }

    /// Takes a record; `false` when the partition began again at another one.
    fn take(&mut self, number: u32, stored: &Stored) -> Result<bool, ArchiveError> {
        let Some(partition) = self.partitions.get_mut(&number) else { return Ok(false) };
        if stored.offset < partition.next {
            return Ok(true);
        }
        // Offsets may have holes: the stretch may end in one.
        if partition.until.is_some_and(|last| last < stored.offset) && !self.cut(number)? {
            return Ok(false);
        }
        if let Err(cause) = self.gather(number, stored)? {
            self.progress.unreadable_records.fetch_add(1, Ordering::Relaxed);
            tracing::warn!(
                topic = self.topic,
                partition = number,
                offset = stored.offset,
                %cause,
                "a record cannot be read and is not archived"
            );
        }
        let Some(partition) = self.partitions.get_mut(&number) else { return Ok(false) };
        partition.next = stored.offset + 1;
        let ended = partition.until.is_some_and(|last| last <= stored.offset);
        if let Some(reached) = self.progress.places().get_mut(&(self.topic.to_string(), number)) {
            reached.gathered = stored.offset + 1;
        }
        if ended { self.cut(number) } else { Ok(true) }
    }

    /// Gathers the rows of a record that were not archived before. What is wrong with the record is
    /// the inner error.
    fn gather(&mut self, number: u32, stored: &Stored) -> Result<Result<(), EventError>, ArchiveError> {
        let Some(partition) = self.partitions.get_mut(&number) else { return Ok(Ok(())) };
        let envelope = match Envelope::from_header(&stored.record.header) {
            Ok(envelope) => envelope,
            Err(cause) => return Ok(Err(cause)),
        };
        // Rows that a cell passed on are archived where they stood first.
        if envelope.is_heartbeat() || envelope.origin.is_some() {
            return Ok(Ok(()));
        }
        let value = &stored.record.value;
        let origin = (envelope.cell.clone(), envelope.collector.clone(), envelope.epoch);
        if matches!(envelope.kind, Kind::Series | Kind::Sample) {
            if !partition.names.contains_key(&origin) {
                // From its very first row on, everything is defined in what follows.
                let fresh = envelope.first_row == 0 && !partition.marks.contains_key(&origin);
                let names = if fresh {
                    Names::default()
                } else {
                    stored_names(self.store, &origin, (number, partition.first))?
                };
                partition.forget_names();
                partition.names.insert(origin.clone(), Named { names, used: stored.offset });
            }
            if let Some(named) = partition.names.get_mut(&origin) {
                named.used = stored.offset;
                if envelope.kind == Kind::Series {
                    match codec::decode(&envelope, value) {
                        Ok(rows) => named.names.learn(&rows, None),
                        Err(cause) => return Ok(Err(cause)),
                    }
                }
            }
        }
        let from = partition.admitted(&envelope, &origin);
        let names = partition.names.get(&origin).map(|named| &named.names);
        // Read first: a record that cannot be read moves no mark.
        let rows = match columns::rows(&envelope, value, from.unwrap_or(0), names, &self.options.redact) {
            Ok(rows) => rows,
            Err(cause) => return Ok(Err(cause)),
        };
        if envelope.kind == Kind::Sample
            && let Some(series) = rows.column(0).as_primitive_opt::<UInt32Type>()
        {
            let unknown = names.map_or(series.values().len(), |names| names.unknown(series.values()));
            self.progress.unnamed_samples.fetch_add(unknown as u64, Ordering::Relaxed);
        }
        let repeated = from.map_or(envelope.rows as usize, |from| from);
        self.progress.repeated_rows.fetch_add(repeated as u64, Ordering::Relaxed);
        partition.note(&envelope, origin, stored.offset);
        if from.is_some() {
            partition.add(Place::new(envelope.kind, envelope.observed.0, &envelope.cell), rows);
        }
        Ok(Ok(()))
    }

    /// Cuts as long as all partitions together hold too much.
    fn cut_the_fullest(&mut self) -> Result<(), ArchiveError> {
        loop {
            let rows: u64 = self.partitions.values().map(|p| p.row_count).sum();
            let bytes: u64 = self.partitions.values().map(|p| p.byte_count).sum();
            if rows < self.options.rows && bytes < self.options.bytes {
                return Ok(());
            }
            let fullest = self.partitions.iter().filter(|(_, p)| p.until.is_none());
            let Some(number) = fullest.max_by_key(|(_, p)| p.byte_count).map(|(&number, _)| number) else {
                // Stretches that end where it was decided before hold no more than they held then.
                return Ok(());
            };
            if self.partitions.get(&number).is_none_or(|p| p.row_count == 0) {
                return Ok(());
            }
            self.cut(number)?;
        }
    }

    /// What is due once a second.
    fn look(&mut self, now: Micros) -> Result<(), ArchiveError> {
        let numbers: Vec<u32> = self.partitions.keys().copied().collect();
        let patience = self.options.flush_every.as_micros() as Micros;
        let ends = now >= self.next_ends;
        if ends {
            self.next_ends = now + ENDS_EVERY;
        }
        for number in numbers {
            if ends {
                let end = self.log.held(self.topic, number)?.end;
                if let Some(reached) = self.progress.places().get_mut(&(self.topic.to_string(), number)) {
                    reached.end = end;
                }
            }
            let due = self.partitions.get(&number).is_some_and(|p| {
                p.until.is_none() && p.since.is_some_and(|since| now.saturating_sub(since) >= patience)
            });
            if due {
                self.cut(number)?;
            }
        }
        if now >= self.next_tidy && !self.partitions.is_empty() {
            self.next_tidy = now + self.options.tidy_every.as_micros() as Micros;
            self.tidy()?;
        }
        Ok(())
    }

    /// Ends a partition's stretch: claims it, writes its files. `false` when somebody else had cut
    /// elsewhere, and the partition begins again.
    fn cut(&mut self, number: u32) -> Result<bool, ArchiveError> {
        let Some(partition) = self.partitions.get_mut(&number) else { return Ok(false) };
        if partition.next == partition.first && partition.until.is_none() {
            return Ok(true);
        }
        let last = partition.until.unwrap_or(partition.next.saturating_sub(1));
        let cut = Cut::new(partition.first, last, std::mem::take(&mut partition.before));
        let again = match cuts::claim(&**self.store, self.topic, number, &cut)? {
            Claimed::New => false,
            Claimed::Again => true,
            Claimed::Otherwise => {
                self.begin(number)?;
                return Ok(false);
            }
        };
        for (place, batches) in std::mem::take(&mut partition.rows) {
            let name = Name { place, partition: number, first: cut.first, last };
            if again && self.is_there(&name)? {
                continue;
            }
            self.write(&name, &batches)?;
        }
        let Some(partition) = self.partitions.get_mut(&number) else { return Ok(false) };
        partition.first = last + 1;
        partition.next = partition.next.max(last + 1);
        partition.until = None;
        partition.before = partition.export();
        partition.row_count = 0;
        partition.byte_count = 0;
        partition.since = None;
        if let Some(reached) = self.progress.places().get_mut(&(self.topic.to_string(), number)) {
            reached.archived = last + 1;
            reached.gathered = reached.gathered.max(last + 1);
        }
        self.member.commit(number, last + 1)?;
        Ok(true)
    }

    /// Whether a file's rows are in the store, in it or in a larger one.
    fn is_there(&self, name: &Name) -> Result<bool, ArchiveError> {
        let files = self.store.list(&name.place.path())?;
        Ok(files.iter().filter_map(|file| Name::parse(&file.path)).any(|other| other.covers(name)))
    }

    fn write(&self, name: &Name, batches: &[RecordBatch]) -> Result<(), ArchiveError> {
        let mut writer = Writer::new(name.place.kind)?;
        for rows in batches {
            writer.write(rows)?;
        }
        let bytes = writer.finish()?;
        let size = bytes.len() as u64;
        self.store.put(&name.path(), bytes)?;
        let rows = batches.iter().map(|rows| rows.num_rows() as u64).sum();
        self.progress.rows.fetch_add(rows, Ordering::Relaxed);
        self.progress.files.fetch_add(1, Ordering::Relaxed);
        self.progress.bytes.fetch_add(size, Ordering::Relaxed);
        Ok(())
    }
}

impl Partition {
    /// The first row of a record that was not archived before; `None` when all were.
    fn admitted(&self, envelope: &Envelope, origin: &Origin) -> Option<usize> {
        if envelope.kind == Kind::Alert {
            // A cell's alerts begin anew when its state is lost, and are written once as it is.
            return Some(0);
        }
        let next = self.marks.get(origin).map_or(envelope.first_row, |(next, _)| *next);
        let repeated = next.saturating_sub(envelope.first_row).min(u64::from(envelope.rows));
        (repeated < u64::from(envelope.rows)).then_some(repeated as usize)
    }

    fn note(&mut self, envelope: &Envelope, origin: Origin, offset: u64) {
        if envelope.kind == Kind::Alert {
            return;
        }
        if self.marks.len() >= MARKS_MAX && !self.marks.contains_key(&origin) {
            let oldest = self.marks.iter().min_by_key(|(origin, (_, heard))| (*heard, *origin));
            if let Some(oldest) = oldest.map(|(origin, _)| origin.clone()) {
                self.marks.remove(&oldest);
            }
        }
        let mark = self.marks.entry(origin).or_default();
        *mark = (mark.0.max(envelope.end_row()), offset);
    }

    /// Makes room for the names of one more. Those that the present stretch defines are not in the
    /// store yet.
    fn forget_names(&mut self) {
        if self.names.len() < NAMES_MAX {
            return;
        }
        let stored = self.names.iter().filter(|(_, named)| named.used < self.first);
        let oldest = stored.min_by_key(|(_, named)| named.used).map(|(origin, _)| origin.clone());
        if let Some(oldest) = oldest {
            self.names.remove(&oldest);
        }
    }

    fn add(&mut self, place: Place, rows: RecordBatch) {
        self.row_count += rows.num_rows() as u64;
        let size = |column: &arrow::array::ArrayRef| column.to_data().get_slice_memory_size().unwrap_or(0);
        self.byte_count += rows.columns().iter().map(size).sum::<usize>() as u64;
        self.since.get_or_insert_with(clock::steady);
        self.rows.entry(place).or_default().push(rows);
    }

    fn export(&self) -> Vec<Mark> {
        let marks = self.marks.iter().map(|((cell, collector, epoch), (next_row, heard))| Mark {
            cell: cell.clone(),
            collector: collector.clone(),
            epoch: *epoch,
            next_row: *next_row,
            heard: *heard,
        });
        marks.collect()
    }
}

/// The names of a collector's series out of the history: `series` records are written once, when a
/// series first appears, and may lie before what the log still holds. What a stretch that begins at
/// `before` (partition, offset) tells is learned as it is read, wherever a crash left its files.
fn stored_names(store: &Arc<dyn Store>, origin: &Origin, before: (u32, u64)) -> Result<Names, ArchiveError> {
    let (cell, collector, epoch) = origin;
    let cell = cell_in_path(cell);
    let mut names = Names::default();
    for file in store.list(Kind::Series.name())? {
        let Some(name) = Name::parse(&file.path) else { continue };
        if name.place.cell != cell || (name.partition == before.0 && name.first >= before.1) {
            continue;
        }
        let opened = match Opened::open(store, &file.path, file.size) {
            // Deleted since it was listed.
            Err(cause) if is_missing(&cause) => continue,
            opened => opened?,
        };
        for rows in opened.rows() {
            names.learn(&rows?, Some((collector, *epoch)));
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests;
