//! Drives shards from a log: one worker is one member of the group of detectors, on a thread of
//! its own. Alerts are durable before the snapshot that covers them is written, and a snapshot
//! before the offset is committed; a crash anywhere between is a replay.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::RecordBatch;
use bytes::Bytes;
use uuid::Uuid;
use yagura_event::clock::{self, Micros};
use yagura_event::rows::{ControlBuilder, ControlRow, CoverageBuilder, CoverageRow};
use yagura_event::vocabulary::{control, coverage};
use yagura_event::{Alert, Encoding, Envelope, Kind, codec};
use yagura_log::{Appender, Lease, Log, LogError, Pauses, Polled, Record, Stored, partition_of};

use crate::dead::{self, DEAD, Letter, Place};
use crate::late::LateRow;
use crate::meter::{ClockMeter, monotonic};
use crate::passing::PassedOn;
use crate::pipeline::Pipeline;
use crate::resume::{Moved, Resumed, moved, resume};
use crate::shard::Shard;
use crate::shard::baselines::Refused;
use crate::snapshot::{self, Wanted};

mod membership;
mod progress;

use membership::Membership;
pub use progress::{Progress, Turns};

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
    let mut membership = None;
    loop {
        let before = turns().done;
        progress.lock().turns[number].waiting = false;
        match work(log, pipeline, options, stop, progress, number, &mut membership) {
            Err(cause) if cause.retriable() && !stop.load(Ordering::Acquire) => {
                if turns().done > before + 10 {
                    pauses.reset();
                }
                progress.lock().turns[number].waiting = true;
                tracing::warn!(%cause, "the log refuses the detector; it begins again from its last snapshot");
                progress.lock().done.clear();
                progress.restarts.fetch_add(1, Ordering::Relaxed);
                Membership::wait(&mut membership, &mut pauses, stop);
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
    membership: &mut Option<Membership>,
) -> Result<(), LogError> {
    log.ensure_topic(DEAD, 1)?;
    let membership = match membership {
        Some(membership) => membership,
        none => none.insert(Membership::join(log)?),
    };
    let ids = pipeline.detections.iter().map(|d| d.id.clone());
    std::thread::scope(|scope| {
        // Whoever stood still for too long writes nothing for partitions that may be another's.
        let lease = membership.member.lease();
        let mut worker = Worker {
            log,
            pipeline,
            options,
            progress,
            number,
            meter: ClockMeter::new(pipeline.detections.len(), Box::new(monotonic())),
            by_id: ids.enumerate().map(|(index, id)| (id, index)).collect(),
            dead: None,
            membership,
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
        let outcome = worker.work(stop);
        if outcome.is_err() {
            worker.settle();
        }
        outcome
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
    membership: &'a mut Membership,
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
    /// Once everything before is judged, cells that are under another pipeline version are told of ours.
    version_at: u64,
    /// How many partitions the events had when it was taken over.
    partitions: u32,
    /// Records before it of cells that are another partition's now are judged there.
    moved_before: u64,
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
    /// Judges what its group assigns until it is to stop.
    fn work(&mut self, stop: &AtomicBool) -> Result<(), LogError> {
        for partition in self.membership.mine.clone() {
            self.take_over(partition)?;
            self.membership.member.resume(partition)?;
        }
        while !stop.load(Ordering::Acquire) {
            self.turn(Duration::from_millis(100))?;
        }
        let assigned: Vec<u32> = self.partitions.keys().copied().collect();
        assigned.into_iter().try_for_each(|partition| self.hand_over(partition))
    }

    /// What was handed over without an answer is in the log, or will never be, before the next worker looks which
    /// alerts the log holds. Rows that are passed on need none of it: their numbers make repeats fall out.
    fn settle(&mut self) {
        for appender in [&mut self.alerts, &mut self.late].into_iter().chain(&mut self.dead) {
            if let Err(cause) = appender.flush() {
                tracing::debug!(%cause, "what was not acknowledged is not in the log");
            }
        }
    }

    fn turn(&mut self, wait: Duration) -> Result<(), LogError> {
        let polled = self.membership.poll(wait)?;
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
            self.tell_the_version()?;
            self.tick_the_silent(now)?;
        }
        self.progress.lock().turns[self.number].done += 1;
        Ok(())
    }

    fn take_over(&mut self, partition: u32) -> Result<(), LogError> {
        let held = self.log.held(EVENTS, partition)?;
        let Resumed { mut shards, mut next, refused, partitions: before } =
            resume(self.log, self.pipeline, partition, &held, Wanted::Newest)?;
        let partitions = self.log.partitions(EVENTS)?;
        shards.retain(|key, _| partition_of(key, partitions) == partition);
        for (cell, cause) in refused {
            tracing::warn!(
                cell,
                cause,
                "the snapshot cannot be used; the cell is judged again from the first record held"
            );
        }
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
        self.membership.member.seek(partition, next)?;
        let written = self.written_since(partition, &shards)?;
        let written_dead = dead::written_since(self.log, EVENTS, partition, next)?;
        let written_late = self.late_since(partition, &shards)?;
        let fresh = Partition {
            written,
            written_dead,
            written_late,
            shards,
            next,
            version_at: held.end,
            moved_before: held.end,
            partitions,
            since_snapshot: 0,
            snapshot_at: clock::steady(),
            heard: BTreeMap::new(),
        };
        self.partitions.insert(partition, fresh);
        if partitions > 1 && before != Some(partitions) {
            self.take_in(partition, partitions, next)?;
        }
        self.progress.lock().done.insert(partition, next);
        Ok(())
    }

    /// Takes in the cells that moved here because the events have more partitions than before, each with its
    /// state, and judges what was left of them where they were.
    fn take_in(&mut self, number: u32, partitions: u32, next: u64) -> Result<(), LogError> {
        for Moved { key, shard, left } in moved(self.log, self.pipeline, number, partitions)? {
            let Some(partition) = self.partitions.get_mut(&number) else { return Ok(()) };
            if partition.shards.contains_key(&key) {
                continue;
            }
            tracing::info!(cell = shard.cell(), partition = number, left = left.len(), "a cell moved here");
            partition.shards.insert(key.clone(), shard);
            self.records(number, &left)?;
            let Some(partition) = self.partitions.get_mut(&number) else { return Ok(()) };
            if let Some(shard) = partition.shards.get_mut(&key) {
                shard.move_to(next);
            }
            partition.next = next;
            partition.since_snapshot += 1;
        }
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
            epoch: self.started as u64,
            first_row: *next_row,
            rows: 1,
            observed: (now, now),
            // The owner promises nothing: it must not hold the watermark up, nor push it on.
            promise: Micros::MAX,
            encoding: Encoding::Arrow,
            origin: None,
            places: Vec::new(),
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

    /// Begins the shards of cells that were not known. What they begin with, the pipeline in force, is
    /// durable before anything that they raise: judged again, they begin with the same.
    fn welcome(&mut self, number: u32, records: &[Stored]) -> Result<(), LogError> {
        let Some(partition) = self.partitions.get_mut(&number) else { return Ok(()) };
        if records.iter().all(|stored| partition.shards.contains_key(&stored.record.key)) {
            return Ok(());
        }
        let partitions = self.log.partitions(EVENTS)?;
        let mut generations = Vec::new();
        for stored in records {
            let key = &stored.record.key;
            let moved = partition_of(key, partitions) != number && stored.offset < partition.moved_before;
            if !moved && !partition.shards.contains_key(key) {
                let cell = String::from_utf8_lossy(key).into_owned();
                let shard = Shard::new(&cell, Arc::clone(self.pipeline));
                generations.extend(snapshot::records(&cell, stored.offset, &shard.save()(), partitions));
                partition.shards.insert(key.clone(), shard);
            }
        }
        if generations.is_empty() {
            return Ok(());
        }
        let mut appender = self.log.appender_under(snapshot::TOPIC, &self.lease)?;
        for record in generations {
            appender.append(record)?;
        }
        appender.flush()
    }

    fn records(&mut self, number: u32, records: &[Stored]) -> Result<(), LogError> {
        self.welcome(number, records)?;
        let Some(partition) = self.partitions.get_mut(&number) else { return Ok(()) };
        let now = clock::steady();
        let (mut written, mut died, mut late, mut passed) = (0, 0, 0, Vec::new());
        let mut touched: Vec<Bytes> = Vec::new();
        for stored in records {
            let key = &stored.record.key;
            let Some(shard) = partition.shards.get_mut(key) else { continue };
            // What is counted by detection is counted of those in force now.
            let stepped = match Arc::ptr_eq(shard.pipeline(), self.pipeline) {
                true => shard.step_metered(stored.offset, &stored.record, &mut self.meter),
                false => shard.step(stored.offset, &stored.record),
            };
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
            for Refused { detection, author, reason } in &stepped.refused {
                let cell = String::from_utf8_lossy(key);
                tracing::warn!(%cell, detection, author, reason, "a baseline is refused: what was in force stays so");
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
            for PassedOn { record, reach } in stepped.passed {
                let way = (key.clone(), record.key.clone());
                if self.membership.passed.get(&way).is_some_and(|got| got.covers(&reach)) {
                    continue;
                }
                self.events.append(record)?;
                passed.push((way, reach));
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
        if !passed.is_empty() {
            self.events.flush()?;
            self.membership.passed.extend(passed);
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

    /// Writes into every cell that is under another pipeline version that ours becomes effective. Only
    /// where all is judged: further on the log may hold the word already.
    fn tell_the_version(&mut self) -> Result<(), LogError> {
        let now = clock::now();
        let other = |shard: &Shard| shard.pipeline().version != self.pipeline.version;
        let mut told: Vec<(u32, Bytes)> = Vec::new();
        for (&number, partition) in self.partitions.iter().filter(|(_, p)| p.next >= p.version_at) {
            let cells = partition.shards.iter().filter(|(_, shard)| other(shard));
            told.extend(cells.map(|(key, _)| (number, key.clone())));
        }
        if told.is_empty() {
            return Ok(());
        }
        let version = self.pipeline.version.to_string();
        let payload = serde_json::to_string(&self.pipeline.texts).unwrap_or_default();
        for (_, cell) in &told {
            let mut builder = ControlBuilder::default();
            builder.push(&ControlRow {
                time: now,
                observed: now,
                action: control::PIPELINE,
                subject: &version,
                payload: &payload,
                author: "yagura",
                ..Default::default()
            });
            if let Some(record) = self.owners_record(cell, Kind::Control, &builder.finish(), now) {
                self.events.append(record)?;
            }
        }
        self.events.flush()?;
        for (number, _) in told {
            let end = self.log.held(EVENTS, number)?.end;
            if let Some(partition) = self.partitions.get_mut(&number) {
                partition.version_at = end;
            }
        }
        Ok(())
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
        let (next, partitions) = (partition.next, partition.partitions);
        self.snapshots.write(snapshot::Generation { partition: number, partitions, next, cells });
        partition.since_snapshot = 0;
        partition.snapshot_at = clock::steady();
        let pause = partition.snapshot_at.saturating_sub(began).max(0);
        self.progress.snapshot_pause_us.store(pause as u64, Ordering::Relaxed);
        let mut seen = self.progress.lock();
        for shard in partition.shards.values() {
            for (detection, learning) in shard.learning() {
                seen.learning.insert((shard.cell().to_string(), detection.id.clone()), learning);
            }
            if let Some(spent) = shard.spent() {
                seen.spent.insert(spent.detection.clone(), spent);
            }
        }
    }

    /// Commits what a snapshot covers that became durable.
    fn note_snapshot(&mut self, wait: bool) -> Result<(), LogError> {
        if let Some(written) = self.snapshots.written(wait)? {
            self.progress.snapshots.fetch_add(1, Ordering::Relaxed);
            self.progress.lock().state_bytes.extend(written.sizes);
            if self.partitions.contains_key(&written.partition) {
                match self.membership.member.commit(written.partition, written.next) {
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
        origin: None,
        places: Vec::new(),
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
