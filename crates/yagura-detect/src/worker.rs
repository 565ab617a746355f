//! Drives shards from a log: one worker is one member of the group of detectors, on a thread of
//! its own. Alerts are durable before the snapshot that covers them is written, and a snapshot
//! before the offset is committed; a crash anywhere between is a replay.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arrow::array::RecordBatch;
use bytes::Bytes;
use uuid::Uuid;
use yagura_event::clock::{self, Micros};
use yagura_event::rows::{ControlBuilder, ControlRow, CoverageBuilder, CoverageRow};
use yagura_event::vocabulary::{control, coverage};
use yagura_event::{Alert, Encoding, Envelope, Kind, codec};
use yagura_log::{Appender, Lease, Log, LogError, Member, Pauses, Polled, Record, Stored};

use crate::dead::{self, DEAD, Letter, Place};
use crate::late::LateRow;
use crate::meter::{ClockMeter, Totals, monotonic};
use crate::operators::Learning;
use crate::pipeline::Pipeline;
use crate::shard::{Shard, Stats};
use crate::snapshot;

/// The topic of everything that is observed.
pub const EVENTS: &str = "yagura.events";
/// The topic of rows that came after what would have counted them was closed: a [`LateRow`] a record.
pub const LATE: &str = "yagura.late";
/// The topic of alerts.
pub const ALERTS: &str = "yagura.alerts";
/// The group of the detectors.
pub const GROUP: &str = "yagura.detect";

/// How a worker behaves; nothing here changes a result.
#[derive(Clone, Debug)]
pub struct Options {
    /// A snapshot is due after that many bytes of records in a partition…
    pub snapshot_bytes: u64,
    /// …or after that long with anything new.
    pub snapshot_every: Duration,
    /// A collector not heard for this long is marked silent by a `tick` record. `None`: never,
    /// as for a recorded log.
    pub silence: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            snapshot_bytes: 256 << 20,
            snapshot_every: Duration::from_secs(30),
            silence: Some(Duration::from_secs(60)),
        }
    }
}

/// What others may see of a worker while it runs.
#[derive(Default)]
pub struct Progress {
    /// Alerts and revisions written.
    pub alerts: AtomicU64,
    /// Snapshots written.
    pub snapshots: AtomicU64,
    /// Microseconds that judging stood still while the last one was taken.
    pub snapshot_pause_us: AtomicU64,
    /// Times that a worker began again because the log refused.
    pub restarts: AtomicU64,
    /// Polls of the log that returned: it moves even when there is nothing to read.
    pub polls: AtomicU64,
    /// Records that could not be read and were written to the topic of dead letters.
    pub dead_letters: AtomicU64,
    /// Microseconds from the collector's clock to the judgement, of the last record.
    pub latency_us: AtomicU64,
    cells: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    done: BTreeMap<u32, u64>,
    stats: BTreeMap<String, Stats>,
    learning: BTreeMap<(String, String), Learning>,
    ends: BTreeMap<u32, u64>,
    detections: Vec<Totals>,
    state_bytes: BTreeMap<String, u64>,
    turns: Vec<Turns>,
    aside: BTreeMap<String, BTreeMap<String, u64>>,
}

/// How far one worker's thread has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turns {
    /// Turns finished: each reads what there is and judges it.
    pub done: u64,
    /// It waits until the log takes and gives records again.
    pub waiting: bool,
}

impl Progress {
    /// By detection, in the pipeline's order, what it did in this process; empty at first.
    pub fn detections(&self) -> Vec<Totals> {
        self.lock().detections.clone()
    }

    /// By cell, bytes of its state in its last snapshot.
    pub fn state_bytes(&self) -> BTreeMap<String, u64> {
        self.lock().state_bytes.clone()
    }

    /// By partition, the offset that comes next, when somebody looked last.
    pub fn ends(&self) -> BTreeMap<u32, u64> {
        self.lock().ends.clone()
    }

    /// Asks the log where the partitions that are judged here end; those of which it does not say
    /// are left out.
    pub fn look_at_ends(&self, log: &dyn Log) -> BTreeMap<u32, u64> {
        let mine: Vec<u32> = self.lock().done.keys().copied().collect();
        let end = |partition| Some((partition, log.held(EVENTS, partition).ok()?.end));
        let ends: BTreeMap<u32, u64> = mine.into_iter().filter_map(end).collect();
        self.lock().ends.clone_from(&ends);
        ends
    }

    /// Of each worker that reports here, in the order in which they began.
    pub fn turns(&self) -> Vec<Turns> {
        self.lock().turns.clone()
    }

    /// By partition, the offset up to which everything is judged and its alerts are durable.
    pub fn done(&self) -> BTreeMap<u32, u64> {
        self.lock().done.clone()
    }

    /// By cell, what its shard has done.
    pub fn stats(&self) -> BTreeMap<String, Stats> {
        self.lock().stats.clone()
    }

    /// By (cell, detection), how far learning has got; as of the last snapshot.
    pub fn learning(&self) -> BTreeMap<(String, String), Learning> {
        self.lock().learning.clone()
    }

    /// By cell and detection, the rows that windows counted aside.
    pub fn aside(&self) -> BTreeMap<String, BTreeMap<String, u64>> {
        self.lock().aside.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Runs a worker until `stop` is set; then it snapshots, commits and leaves the group. While the
/// log refuses for a reason that may pass, it begins again from its snapshots.
pub fn run(
    log: &dyn Log,
    pipeline: &Arc<Pipeline>,
    options: &Options,
    stop: &AtomicBool,
    progress: &Progress,
) -> Result<(), LogError> {
    let mut pauses = Pauses::up_to(PAUSE_MAX);
    let number = {
        let mut seen = progress.lock();
        seen.turns.push(Turns::default());
        seen.turns.len() - 1
    };
    let turns = || progress.lock().turns[number];
    loop {
        let before = turns().done;
        progress.lock().turns[number].waiting = false;
        match work(log, pipeline, options, stop, progress, number) {
            Err(cause) if cause.retriable() && !stop.load(Ordering::Acquire) => {
                if turns().done > before + 10 {
                    pauses.reset();
                }
                progress.lock().turns[number].waiting = true;
                tracing::warn!(%cause, "the log refuses the detector; it begins again from its last snapshot");
                progress.lock().done.clear();
                progress.restarts.fetch_add(1, Ordering::Relaxed);
                pauses.wait(stop);
            }
            ended => return ended,
        }
    }
}

/// The longest pause after the log refused.
const PAUSE_MAX: Duration = Duration::from_secs(10);

fn work(
    log: &dyn Log,
    pipeline: &Arc<Pipeline>,
    options: &Options,
    stop: &AtomicBool,
    progress: &Progress,
    number: usize,
) -> Result<(), LogError> {
    log.ensure_topic(DEAD, 1)?;
    let ids = pipeline.detections.iter().map(|d| d.id.clone());
    std::thread::scope(|scope| {
        let member = log.join(GROUP, EVENTS)?;
        // Whoever stood still for too long writes nothing for partitions that may be another's.
        let lease = member.lease();
        let mut worker = Worker {
            log,
            pipeline,
            options,
            progress,
            number,
            meter: ClockMeter::new(pipeline.detections.len(), Box::new(monotonic())),
            by_id: ids.enumerate().map(|(index, id)| (id, index)).collect(),
            dead: None,
            member,
            alerts: log.appender_under(ALERTS, &lease)?,
            late: log.appender_under(LATE, &lease)?,
            snapshots: snapshot::Writer::start(scope, log, lease.clone()),
            events: log.appender_under(EVENTS, &lease)?,
            lease,
            partitions: BTreeMap::new(),
            started: clock::now(),
            written_rows: BTreeMap::new(),
            turned: clock::steady(),
            next_check: 0,
        };
        while !stop.load(Ordering::Acquire) {
            worker.turn(Duration::from_millis(100))?;
        }
        let assigned: Vec<u32> = worker.partitions.keys().copied().collect();
        for partition in assigned {
            worker.hand_over(partition)?;
        }
        Ok(())
    })
}

struct Worker<'a> {
    log: &'a dyn Log,
    pipeline: &'a Arc<Pipeline>,
    options: &'a Options,
    progress: &'a Progress,
    /// Which of the workers that report to `progress` it is.
    number: usize,
    meter: ClockMeter<Box<dyn Fn() -> u64>>,
    by_id: BTreeMap<String, usize>,
    /// Opened with the first dead letter.
    dead: Option<Box<dyn Appender>>,
    member: Box<dyn Member>,
    lease: Lease,
    alerts: Box<dyn Appender>,
    late: Box<dyn Appender>,
    snapshots: snapshot::Writer,
    events: Box<dyn Appender>,
    partitions: BTreeMap<u32, Partition>,
    started: Micros,
    /// Rows that this worker itself wrote, by cell.
    written_rows: BTreeMap<Bytes, u64>,
    /// When the last turn was looked at and when the next check is due, as [`clock::steady`] has it.
    turned: Micros,
    next_check: Micros,
}

struct Partition {
    shards: BTreeMap<Bytes, Shard>,
    next: u64,
    since_snapshot: u64,
    /// As [`clock::steady`] has it: a wall clock that is set is no reason to wait, nor to hurry.
    snapshot_at: Micros,
    /// Of each collector of each cell, the record that it was last heard with and the steady clock then.
    heard: BTreeMap<(Bytes, String), (u64, Micros)>,
    /// Alerts that an earlier owner wrote after its last snapshot: judged again, not written again.
    written: BTreeSet<(Uuid, u32)>,
    /// Offsets of the dead letters that it wrote after it.
    written_dead: BTreeSet<u64>,
    /// The same for late rows: detection and cause.
    written_late: BTreeSet<(String, String, u64, u64)>,
}

/// How far back in a partition of alerts or late rows those written after a snapshot are looked for.
const WRITTEN_RECORDS_MAX: u64 = 100_000;

impl Worker<'_> {
    fn turn(&mut self, wait: Duration) -> Result<(), LogError> {
        let polled = self.member.poll(wait)?;
        self.lease.check(&"judging")?;
        self.progress.polls.fetch_add(1, Ordering::Relaxed);
        match polled {
            Polled::Assigned(partitions) => {
                for partition in partitions {
                    self.take_over(partition)?;
                }
            }
            Polled::Revoked(partitions) => {
                for partition in partitions {
                    self.hand_over(partition)?;
                }
            }
            Polled::Records(partition, records) => self.records(partition, &records)?,
            Polled::Idle => {}
        }
        self.note_snapshot(false)?;
        let now = clock::steady();
        self.note_standstill(now);
        if now >= self.next_check {
            self.next_check = now + clock::SECOND;
            self.snapshot_what_is_due(now);
            self.tick_the_silent(now)?;
        }
        self.progress.lock().turns[self.number].done += 1;
        Ok(())
    }

    fn take_over(&mut self, partition: u32) -> Result<(), LogError> {
        let held = self.log.held(EVENTS, partition)?;
        let mut shards = BTreeMap::new();
        let mut next = None;
        for (cell, (offset, state)) in snapshot::load(self.log, partition)? {
            match Shard::restore(&state, Arc::clone(self.pipeline)) {
                Ok(shard) => {
                    next = Some(next.map_or(offset, |n: u64| n.min(offset)));
                    shards.insert(Bytes::from(cell.into_bytes()), shard);
                }
                Err(cause) => {
                    tracing::warn!(
                        cell,
                        cause,
                        "the snapshot cannot be used; the cell is judged again from the first record held"
                    );
                    next = Some(held.start);
                }
            }
        }
        let mut next = next.unwrap_or(held.start);
        if next < held.start {
            tracing::warn!(
                partition,
                wanted = next,
                first = held.start,
                "records that were not judged yet are gone: blind time"
            );
            self.note_blind_time(partition, &shards, next..held.start)?;
            next = held.start;
        }
        self.member.seek(partition, next)?;
        let written = self.written_since(partition, &shards)?;
        let written_dead = dead::written_since(self.log, EVENTS, partition, next)?;
        let written_late = self.late_since(partition, &shards)?;
        let fresh = Partition {
            written,
            written_dead,
            written_late,
            shards,
            next,
            since_snapshot: 0,
            snapshot_at: clock::steady(),
            heard: BTreeMap::new(),
        };
        self.partitions.insert(partition, fresh);
        self.progress.lock().done.insert(partition, next);
        Ok(())
    }

    /// Writes into every cell of a partition that records went before they were judged.
    fn note_blind_time(
        &mut self,
        partition: u32,
        shards: &BTreeMap<Bytes, Shard>,
        gone: Range<u64>,
    ) -> Result<(), LogError> {
        let now = clock::now();
        let subject = format!("{EVENTS}/{partition}");
        let detail = format!(
            "records {} to {} were deleted by the log's retention before they were judged; lengthen it",
            gone.start, gone.end
        );
        for cell in shards.keys() {
            let mut builder = CoverageBuilder::default();
            builder.push(&CoverageRow {
                time: now,
                until: now,
                observed: now,
                event: coverage::GAP,
                subject: &subject,
                count: gone.end - gone.start,
                detail: &detail,
                ..Default::default()
            });
            let record = self.owners_record(cell, Kind::Coverage, &builder.finish(), now);
            if let Some(record) = record {
                self.events.append(record)?;
            }
        }
        self.events.flush()
    }

    /// A record of one row that the shard's owner itself writes.
    fn owners_record(&mut self, cell: &Bytes, kind: Kind, rows: &RecordBatch, now: Micros) -> Option<Record> {
        let next_row = self.written_rows.entry(cell.clone()).or_insert(0);
        let envelope = Envelope {
            kind,
            version: kind.version(),
            cell: String::from_utf8_lossy(cell).into_owned(),
            collector: OWNER.into(),
            epoch: owners_epoch(self.started, cell),
            first_row: *next_row,
            rows: 1,
            observed: (now, now),
            // The owner promises nothing: it must not hold the watermark up, nor push it on.
            promise: Micros::MAX,
            encoding: Encoding::Arrow,
        };
        let value = codec::encode_arrow(rows).ok()?;
        *next_row += 1;
        Some(Record { key: cell.clone(), header: envelope.to_header().into(), value: value.into() })
    }

    /// The alerts of a partition that its snapshots do not cover.
    fn written_since(
        &self,
        partition: u32,
        shards: &BTreeMap<Bytes, Shard>,
    ) -> Result<BTreeSet<(Uuid, u32)>, LogError> {
        let mut written = BTreeSet::new();
        self.each_recent(ALERTS, partition, |record| {
            let covered = shards.get(&record.key).map_or(0, Shard::issued);
            if let Ok(alert) = serde_json::from_slice::<Alert>(&record.value)
                && alert.sequence >= covered
            {
                written.insert((alert.uid, alert.revision));
            }
        })?;
        Ok(written)
    }

    /// The late rows of a partition that its snapshots do not cover.
    fn late_since(
        &self,
        partition: u32,
        shards: &BTreeMap<Bytes, Shard>,
    ) -> Result<BTreeSet<(String, String, u64, u64)>, LogError> {
        let mut written = BTreeSet::new();
        self.each_recent(LATE, partition, |record| {
            let covered = shards.get(&record.key).map_or(0, |shard| shard.stats().aside_rows);
            if let Some(late) = LateRow::from_record(record).filter(|late| late.sequence >= covered) {
                written.insert(late.id());
            }
        })?;
        Ok(written)
    }

    /// Reads the newest records of a partition of what the detectors write.
    fn each_recent(
        &self,
        topic: &str,
        partition: u32,
        mut each: impl FnMut(&Record),
    ) -> Result<(), LogError> {
        if partition >= self.log.partitions(topic)? {
            // A topic with fewer partitions was made by hand: repeats go by their ids.
            return Ok(());
        }
        let held = self.log.held(topic, partition)?;
        let from = held.start.max(held.end.saturating_sub(WRITTEN_RECORDS_MAX));
        let mut reader = self.log.reader(topic, partition, from)?;
        while reader.position() < held.end {
            let records = reader.read(1 << 20, Duration::from_secs(10))?;
            if records.is_empty() {
                return Err(LogError::silent(topic, partition));
            }
            records.iter().for_each(|stored| each(&stored.record));
        }
        Ok(())
    }

    fn hand_over(&mut self, partition: u32) -> Result<(), LogError> {
        self.note_snapshot(true)?;
        self.begin_snapshot(partition);
        self.note_snapshot(true)?;
        self.partitions.remove(&partition);
        self.progress.lock().done.remove(&partition);
        Ok(())
    }

    fn records(&mut self, number: u32, records: &[Stored]) -> Result<(), LogError> {
        let Some(partition) = self.partitions.get_mut(&number) else { return Ok(()) };
        let now = clock::steady();
        let (mut written, mut died, mut late) = (0, 0, 0);
        let mut touched: Vec<Bytes> = Vec::new();
        for stored in records {
            let key = &stored.record.key;
            let shard = match partition.shards.get_mut(key) {
                Some(shard) => shard,
                None => {
                    let cell = String::from_utf8_lossy(key).into_owned();
                    partition
                        .shards
                        .entry(key.clone())
                        .or_insert_with(|| Shard::new(&cell, Arc::clone(self.pipeline)))
                }
            };
            let stepped = shard.step_metered(stored.offset, &stored.record, &mut self.meter);
            if let Some(cause) = stepped.unreadable
                && !partition.written_dead.remove(&stored.offset)
            {
                if died == 0 {
                    // Once a fetch: poison may come in floods, and each letter says it again.
                    tracing::warn!(partition = number, offset = stored.offset, %cause, "a record cannot be read: it becomes a dead letter, see `yagura dead`");
                }
                let dead = match &mut self.dead {
                    Some(dead) => dead,
                    none => none.insert(self.log.appender_under(DEAD, &self.lease)?),
                };
                let place = Place { topic: EVENTS.into(), partition: number, offset: stored.offset };
                let (reason, record) = (cause.to_string(), stored.record.clone());
                Letter { place, reason, found: clock::now(), record, whole: true }.append(&mut **dead)?;
                died += 1;
            }
            for alert in &stepped.alerts {
                if partition.written.remove(&(alert.uid, alert.revision)) {
                    continue;
                }
                self.alerts.append(alert_record(alert))?;
                if let Some(&detection) = self.by_id.get(&alert.detection) {
                    self.meter.alerted(detection);
                }
                written += 1;
            }
            for row in &stepped.late {
                if !partition.written_late.is_empty() && partition.written_late.remove(&row.id()) {
                    continue;
                }
                self.late.append(row.to_record())?;
                late += 1;
            }
            partition.since_snapshot += stored.record.size() as u64;
            partition.next = stored.offset + 1;
            if touched.last() != Some(key) {
                touched.push(key.clone());
            }
        }
        if written > 0 {
            self.alerts.flush()?;
            self.progress.alerts.fetch_add(written, Ordering::Relaxed);
        }
        // Durable before anything commits the offset after them.
        if let (true, Some(dead)) = (died > 0, &mut self.dead) {
            dead.flush()?;
            self.progress.dead_letters.fetch_add(died, Ordering::Relaxed);
        }
        if late > 0 {
            self.late.flush()?;
        }
        let mut seen = self.progress.lock();
        self.meter.hand_over(&mut seen.detections);
        for key in touched {
            if let Some(shard) = partition.shards.get(&key) {
                seen.stats.insert(shard.cell().to_string(), shard.stats());
                if !shard.aside().is_empty() {
                    seen.aside.insert(shard.cell().to_string(), shard.aside().clone());
                }
                for (collector, record) in shard.heard() {
                    let heard = partition.heard.entry((key.clone(), collector.to_string())).or_default();
                    if record > heard.0 {
                        *heard = (record, now);
                    }
                }
            }
        }
        seen.done.insert(number, partition.next);
        drop(seen);
        if let Some(last) = records.last().and_then(|r| Envelope::from_header(&r.record.header).ok()) {
            let latency = clock::now().saturating_sub(last.observed.1).max(0);
            self.progress.latency_us.store(latency as u64, Ordering::Relaxed);
        }
        if partition.since_snapshot >= self.options.snapshot_bytes {
            self.begin_snapshot(number);
        }
        Ok(())
    }

    fn snapshot_what_is_due(&mut self, now: Micros) {
        let every = self.options.snapshot_every.as_micros() as Micros;
        let due: Vec<u32> = self
            .partitions
            .iter()
            .filter(|(_, p)| p.since_snapshot > 0 && now - p.snapshot_at >= every)
            .map(|(&number, _)| number)
            .collect();
        for number in due {
            self.begin_snapshot(number);
        }
    }

    /// Takes the state of a partition's shards and has it written, unless one is being written: then
    /// it is due again at the next look.
    fn begin_snapshot(&mut self, number: u32) {
        let Some(partition) = self.partitions.get_mut(&number) else { return };
        if partition.since_snapshot == 0 || self.snapshots.is_busy() {
            return;
        }
        let began = clock::steady();
        let cells = partition.shards.values().map(|shard| (shard.cell().to_string(), shard.save())).collect();
        self.snapshots.write(snapshot::Generation { partition: number, next: partition.next, cells });
        partition.since_snapshot = 0;
        partition.snapshot_at = clock::steady();
        let pause = partition.snapshot_at.saturating_sub(began).max(0);
        self.progress.snapshot_pause_us.store(pause as u64, Ordering::Relaxed);
        let mut seen = self.progress.lock();
        for shard in partition.shards.values() {
            for (detection, learning) in shard.learning() {
                seen.learning.insert((shard.cell().to_string(), detection.id.clone()), learning);
            }
        }
    }

    /// Commits what a snapshot covers that became durable.
    fn note_snapshot(&mut self, wait: bool) -> Result<(), LogError> {
        if let Some(written) = self.snapshots.written(wait)? {
            self.progress.snapshots.fetch_add(1, Ordering::Relaxed);
            self.progress.lock().state_bytes.extend(written.sizes);
            if self.partitions.contains_key(&written.partition) {
                match self.member.commit(written.partition, written.next) {
                    // Advice for the next owner: should the group be about to change, the next poll says so.
                    Err(cause) if cause.retriable() => {
                        tracing::debug!(%cause, "an offset was not committed");
                    }
                    committed => committed?,
                }
            }
        }
        Ok(())
    }

    /// While this worker itself stood still, it could hear nobody.
    fn note_standstill(&mut self, now: Micros) {
        let stood = now - std::mem::replace(&mut self.turned, now);
        if stood > 2 * clock::SECOND {
            let heard = self.partitions.values_mut().flat_map(|p| p.heard.values_mut());
            heard.filter(|heard| heard.1 != Micros::MAX).for_each(|(_, at)| *at = (*at + stood).min(now));
        }
    }

    /// Writes a `tick` for every collector that was not heard for too long, once.
    fn tick_the_silent(&mut self, now: Micros) -> Result<(), LogError> {
        let Some(silence) = self.options.silence else { return Ok(()) };
        let silence = silence.as_micros() as Micros;
        let mut ticks = Vec::new();
        for partition in self.partitions.values_mut() {
            for ((cell, collector), (_, heard)) in &mut partition.heard {
                if *heard == Micros::MAX || now - *heard < silence {
                    continue;
                }
                let ended = partition.shards.get(cell).is_some_and(|s| s.has_ended(collector));
                if !ended {
                    ticks.push((cell.clone(), collector.clone(), *heard));
                }
                // Told, until it is heard again.
                *heard = Micros::MAX;
            }
        }
        if ticks.is_empty() {
            return Ok(());
        }
        let (steady, now) = (now, clock::now());
        for (cell, collector, heard) in ticks {
            let heard = now - (steady - heard);
            let mut builder = ControlBuilder::default();
            let payload = serde_json::json!({ "last_heard": clock::rfc3339(heard) }).to_string();
            builder.push(&ControlRow {
                time: now,
                observed: now,
                action: control::TICK,
                subject: &collector,
                payload: &payload,
                author: "yagura",
                ..Default::default()
            });
            let record = self.owners_record(&cell, Kind::Control, &builder.finish(), now);
            if let Some(record) = record {
                self.events.append(record)?;
            }
        }
        self.events.flush()
    }
}

/// The epoch of what a worker itself writes into a cell. Ids of alerts say collector, epoch and row and
/// not the cell: so that two cells' first ticks are not taken for the same one, it is each cell's own.
fn owners_epoch(started: Micros, cell: &[u8]) -> u64 {
    started as u64 ^ (u64::from(crc32c::crc32c(cell)) << 20)
}

/// The log record of one alert or revision.
pub fn alert_record(alert: &Alert) -> Record {
    let envelope = Envelope {
        kind: Kind::Alert,
        version: Kind::Alert.version(),
        cell: alert.cell.clone(),
        collector: "detect".into(),
        epoch: 0,
        first_row: alert.sequence,
        rows: 1,
        observed: (alert.observed, alert.observed),
        promise: alert.observed,
        encoding: Encoding::Json,
    };
    Record {
        key: Bytes::copy_from_slice(alert.cell.as_bytes()),
        header: envelope.to_header().into(),
        value: serde_json::to_vec(alert).unwrap_or_default().into(),
    }
}

/// The name under which a shard's owner writes ticks and blind time.
pub const OWNER: &str = "yagura.owner";

#[cfg(test)]
mod tests;
