//! A shard: the pure fold over one cell's records in the log's order.
//!
//! Its state is a function of the pipeline and of the records, nothing else. One log record is
//! one [`Shard::step`].

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::compute::or_kleene;
use arrow::datatypes::{Float64Type, TimestampMicrosecondType, UInt8Type, UInt32Type};
use serde::{Deserialize, Serialize};
use yagura_event::clock::Micros;
use yagura_event::vocabulary::control;
use yagura_event::{Alert, Envelope, EventError, Kind, codec};
use yagura_log::Record;

use crate::alerts::{AlertBook, Hit};
use crate::asof::Contexts;
use crate::blocks::Blocks;
use crate::columns::{may_hold, text_at, times_of};
use crate::condition::Condition;
use crate::holes::Holes;
use crate::index::Candidates;
use crate::late::{Aside, LateRow};
use crate::meter::{Meter, NoMeter, Work};
use crate::operators::{Input, Learning, Operator, Samples, Saving, Step};
use crate::passing::{self, Passed, PassedOn, Source};
use crate::pipeline::{Detection, Pipeline, Scope};
use crate::shelf::Texts;

pub mod baselines;
mod pool;
mod series;
mod wide;

use baselines::{Baselines, Decided, Refused, meant};
use pool::Pool;
pub use pool::Spent;
pub use series::Series;
use wide::widen;

/// What a shard has done, for metrics. Part of its state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Records.
    pub records: u64,
    /// Rows judged.
    pub rows: u64,
    /// Rows dropped because their number had been judged before.
    pub repeated_rows: u64,
    /// Rows whose numbers were skipped: lost before they reached the log.
    pub missing_rows: u64,
    /// Rows observed before the watermark.
    pub late_rows: u64,
    /// Records that could not be read.
    pub unreadable_records: u64,
    /// Samples whose series number nobody defined.
    pub undefined_samples: u64,
    /// Conditions that failed on a batch.
    pub failed_conditions: u64,
    /// Series turned away because there were too many.
    pub refused_series: u64,
    /// Contexts of tools and chambers turned away because there were too many.
    pub refused_contexts: u64,
    /// Rows that windows counted aside, of all detections.
    pub aside_rows: u64,
    /// Pipeline versions in the log that this program cannot read.
    pub refused_pipelines: u64,
    /// Baselines, approvals and the like that were not put in force.
    pub refused_baselines: u64,
}

/// What one record brought.
#[derive(Debug, Default)]
pub struct Stepped {
    /// New alerts and revisions, in order.
    pub alerts: Vec<Alert>,
    /// Rows that came after what would have counted them was closed, in order.
    pub late: Vec<LateRow>,
    /// What goes to the shards of the plant, in order.
    pub passed: Vec<PassedOn>,
    /// Why the record could not be read, if so.
    pub unreadable: Option<EventError>,
    /// What about baselines was not done.
    pub refused: Vec<Refused>,
}

/// A record whose rows are judged, and what comes of it.
struct Judged<'a> {
    envelope: &'a Envelope,
    /// The first row that is new.
    from: usize,
    /// The cell's watermark before the record.
    watermark: Micros,
    hits: &'a mut Vec<Hit>,
    late: &'a mut Vec<LateRow>,
    candidates: &'a Candidates,
    meter: &'a mut dyn Meter,
}

/// The most (collector, epoch)s that are remembered; beyond, the one silent for longest is forgotten.
const COLLECTORS_MAX: usize = 1024;
/// The collector of what people decide: see [`baselines`].
pub const DECISIONS: &str = "yagura.decisions";
/// Version of the saved state's form.
const SAVED_VERSION: u16 = 8;

/// A cell's state.
pub struct Shard {
    pipeline: Arc<Pipeline>,
    /// Of each detection, whether it is judged here.
    here: Vec<bool>,
    operators: Vec<Box<dyn Operator>>,
    /// Whether the versions that the log names are passed over.
    pinned: bool,
    saved: Saved,
    by_name: BTreeMap<(String, String, String), u32>,
    by_tool: BTreeMap<String, Vec<u32>>,
    resolved: Vec<u32>,
    hits: Vec<Hit>,
    candidates: Candidates,
    /// Of the record at hand.
    refused: Vec<Refused>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Saved {
    version: u16,
    cell: String,
    next_offset: u64,
    /// The offset of the first record that was judged.
    begun: Option<u64>,
    /// The files of the pipeline in force.
    texts: Texts,
    passed: Passed,
    collectors: BTreeMap<(String, u64), Collector>,
    series: Blocks<Series>,
    contexts: BTreeMap<(String, String), BTreeMap<String, String>>,
    /// What held when, for rows that are joined with it.
    held: Contexts,
    book: AlertBook,
    stats: Stats,
    /// By detection, rows counted aside.
    aside: BTreeMap<String, u64>,
    baselines: Baselines,
    /// In a shard of the plant, the tails of the cells.
    pool: Pool,
    /// Detection, fingerprint, operator state.
    operators: Vec<(String, u64, Vec<u8>)>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize)]
struct Collector {
    /// The next row number that has not been judged.
    next_row: u64,
    /// Numbers before it that have not been judged either.
    holes: Holes,
    /// It will send nothing observed before.
    promise: Micros,
    /// Its owner has not heard it for a while.
    silent: bool,
    /// Step at which it was last heard, for forgetting.
    heard: u64,
    /// By its own series number, the shard's; `u32::MAX` for none.
    local: Vec<u32>,
}

impl Shard {
    /// An empty shard.
    pub fn new(cell: &str, pipeline: Arc<Pipeline>) -> Self {
        let operators = pipeline.detections.iter().map(|d| d.operator.start()).collect();
        Shard {
            here: judged_here(cell, &pipeline),
            pipeline,
            operators,
            pinned: false,
            saved: Saved { version: SAVED_VERSION, cell: cell.to_string(), ..Saved::default() },
            by_name: BTreeMap::new(),
            by_tool: BTreeMap::new(),
            resolved: Vec::new(),
            hits: Vec::new(),
            candidates: Candidates::default(),
            refused: Vec::new(),
        }
    }

    /// A shard from its saved state, under the pipeline version that was in force there; under
    /// `pipeline` where this program cannot read that version.
    pub fn restore(saved: &[u8], pipeline: Arc<Pipeline>) -> Result<Self, String> {
        let mut saved: Saved = postcard::from_bytes(saved).map_err(|e| e.to_string())?;
        if saved.version != SAVED_VERSION {
            return Err(format!("version {} of a shard's state is not known", saved.version));
        }
        let in_force = match pipeline.shelf.read(std::mem::take(&mut saved.texts)) {
            Ok(in_force) => in_force,
            Err(_) => {
                saved.stats.refused_pipelines += 1;
                pipeline
            }
        };
        let mut shard = Shard::new(&saved.cell, in_force);
        for (number, series) in saved.series.iter().enumerate() {
            let name = (series.tool.clone(), series.chamber.clone(), series.signal.clone());
            shard.by_name.insert(name, number as u32);
            shard.by_tool.entry(series.tool.clone()).or_default().push(number as u32);
        }
        shard.saved = saved;
        let kept = std::mem::take(&mut shard.saved.operators);
        let mut fresh = Vec::new();
        for (index, detection) in shard.pipeline.detections.iter().enumerate() {
            let state =
                kept.iter().find(|(id, print, _)| *id == detection.id && *print == detection.fingerprint);
            match state {
                Some((_, _, bytes)) => shard.operators[index].restore(bytes)?,
                None => fresh.push(index),
            }
        }
        shard.begin_afresh(&fresh);
        Ok(shard)
    }

    /// Goes over to another version of the pipeline: what did not change keeps its state.
    pub fn adopt(&mut self, pipeline: Arc<Pipeline>) {
        let mut before: Vec<_> = std::mem::take(&mut self.operators).into_iter().map(Some).collect();
        let old = std::mem::replace(&mut self.pipeline, pipeline);
        let mut fresh = Vec::new();
        for (index, detection) in self.pipeline.detections.iter().enumerate() {
            let same = |d: &Detection| d.id == detection.id && d.fingerprint == detection.fingerprint;
            let kept = old.detections.iter().position(same).and_then(|at| before[at].take());
            if kept.is_none() {
                fresh.push(index);
            }
            self.operators.push(kept.unwrap_or_else(|| detection.operator.start()));
        }
        self.here = judged_here(&self.saved.cell, &self.pipeline);
        self.begin_afresh(&fresh);
    }

    /// Goes over to a pipeline and stays with it, whatever versions the log names: what would it have said?
    pub fn pin(&mut self, pipeline: Arc<Pipeline>) {
        self.adopt(pipeline);
        self.pinned = true;
    }

    /// Tells detections without a state which series there are.
    fn begin_afresh(&mut self, detections: &[usize]) {
        self.retire_baselines(detections);
        let numbers: Vec<u32> = (0..self.saved.series.len() as u32).collect();
        for &detection in detections {
            self.select_series(detection, &numbers);
        }
    }

    /// The state as it is now: taken at once, made into bytes later.
    pub fn save(&self) -> Saving {
        let mut saved = self.saved.clone();
        let pipeline = Arc::clone(&self.pipeline);
        let operators: Vec<Saving> = self.operators.iter().map(|operator| operator.save()).collect();
        Box::new(move || {
            let detections = pipeline.detections.iter().map(|d| (d.id.clone(), d.fingerprint));
            saved.operators =
                detections.zip(operators).map(|((id, print), state)| (id, print, state())).collect();
            saved.texts.clone_from(&pipeline.texts);
            postcard::to_stdvec(&saved).unwrap_or_default()
        })
    }

    /// The pipeline in force.
    pub fn pipeline(&self) -> &Arc<Pipeline> {
        &self.pipeline
    }

    /// The cell.
    pub fn cell(&self) -> &str {
        &self.saved.cell
    }

    /// The offset after the last record that was judged.
    pub fn next_offset(&self) -> u64 {
        self.saved.next_offset
    }

    /// Its records come in another partition from now on, where it has judged none.
    pub fn move_to(&mut self, next_offset: u64) {
        self.saved.next_offset = next_offset;
    }

    /// What it has done.
    pub fn stats(&self) -> Stats {
        self.saved.stats
    }

    /// Alerts and revisions issued.
    pub fn issued(&self) -> u64 {
        self.saved.book.issued()
    }

    /// By detection, how many rows its windows counted aside.
    pub fn aside(&self) -> &BTreeMap<String, u64> {
        &self.saved.aside
    }

    /// How far the learning of each detection that is judged here has got.
    pub fn learning(&self) -> impl Iterator<Item = (&Detection, Learning)> {
        let all = self.pipeline.detections.iter().zip(&self.operators).zip(&self.here);
        all.filter(|(_, here)| **here).map(|((d, o), _)| (d, o.learning()))
    }

    /// The collectors heard, with whether they are marked silent.
    pub fn collectors(&self) -> impl Iterator<Item = (&str, u64, bool)> {
        self.saved.collectors.iter().map(|((name, epoch), c)| (name.as_str(), *epoch, c.silent))
    }

    /// The collectors that are not marked silent, each start with the number of the record that it
    /// was last heard with.
    pub fn heard(&self) -> impl Iterator<Item = (&str, u64)> {
        let live = self.saved.collectors.iter().filter(|(_, c)| !c.silent);
        live.map(|((name, _), c)| (name.as_str(), c.heard))
    }

    /// Whether a collector promised that nothing more will come.
    pub fn has_ended(&self, collector: &str) -> bool {
        let starts = self.saved.collectors.iter().filter(|((name, _), _)| name == collector);
        starts.max_by_key(|(_, c)| c.heard).is_none_or(|(_, c)| c.promise == Micros::MAX)
    }

    /// The time before which no row is expected any more: the least promise of the collectors
    /// that are not silent. A collector's promise is that of the start that got farthest: one that
    /// died before it could promise an end holds nothing up once it has begun anew.
    pub fn watermark(&self) -> Micros {
        let mut least = None;
        let mut starts = self.saved.collectors.iter().filter(|(_, c)| !c.silent).peekable();
        while let Some(((name, _), first)) = starts.next() {
            let (mut last, mut farthest) = (first, Micros::MIN);
            let mut start = first;
            loop {
                if start.heard >= last.heard {
                    last = start;
                }
                if start.promise < Micros::MAX {
                    farthest = farthest.max(start.promise);
                }
                match starts.next_if(|((other, _), _)| other == name) {
                    Some((_, next)) => start = next,
                    None => break,
                }
            }
            let promise = if last.promise == Micros::MAX { Micros::MAX } else { farthest };
            least = Some(least.map_or(promise, |least: Micros| least.min(promise)));
        }
        least.unwrap_or(Micros::MIN)
    }

    /// Judges one record. Records before [`Shard::next_offset`] are passed over.
    pub fn step(&mut self, offset: u64, record: &Record) -> Stepped {
        self.step_metered(offset, record, &mut NoMeter)
    }

    /// As [`Shard::step`], with somebody who measures what each detection costs. The meter sees
    /// the work and has no say in it.
    pub fn step_metered(&mut self, offset: u64, record: &Record, meter: &mut dyn Meter) -> Stepped {
        if offset < self.saved.next_offset {
            return Stepped::default();
        }
        self.saved.next_offset = offset + 1;
        self.saved.begun.get_or_insert(offset);
        self.saved.stats.records += 1;
        let mut candidates = std::mem::take(&mut self.candidates);
        let read = read_by(record, |envelope| self.pipeline.decode(envelope, &record.value, &mut candidates));
        let stepped = match read {
            Ok((envelope, rows)) => self.judge(&envelope, &rows, &mut candidates, meter),
            Err(e) => {
                self.saved.stats.unreadable_records += 1;
                Stepped { unreadable: Some(e), ..Stepped::default() }
            }
        };
        self.candidates = candidates;
        stepped
    }

    fn judge(
        &mut self,
        envelope: &Envelope,
        rows: &RecordBatch,
        candidates: &mut Candidates,
        meter: &mut dyn Meter,
    ) -> Stepped {
        let watermark = self.watermark();
        let mut hits = std::mem::take(&mut self.hits);
        hits.clear();
        let mut late = Vec::new();
        let from = self.admit(envelope, watermark).unwrap_or(rows.num_rows());
        let written = passing::as_written(envelope);
        let written = written.as_ref().unwrap_or(envelope);
        if from < rows.num_rows() {
            let mut units = Vec::new();
            match envelope.kind {
                Kind::Series => units = self.define(envelope, rows, from),
                Kind::Context => self.contexts(rows, from),
                Kind::Control => {
                    self.control(envelope, rows, from);
                    // Another version may be in force now.
                    self.pipeline.candidates(envelope.kind, rows, candidates);
                }
                _ => {}
            }
            let (hits, late) = (&mut hits, &mut late);
            let mut judged = Judged { envelope: written, from, watermark, hits, late, candidates, meter };
            if envelope.kind == Kind::Sample {
                self.samples(rows, &mut judged);
            } else {
                self.rows(rows, &mut judged);
                self.inputs(rows, &mut judged);
            }
            self.units_changed(&units, &mut judged);
        }
        let moved = self.watermark();
        if moved > watermark {
            let from = rows.num_rows();
            for (index, detection) in self.pipeline.detections.iter().enumerate() {
                if self.here[index] {
                    let step = Step {
                        detection: index,
                        by: &detection.by,
                        envelope: written,
                        from,
                        watermark: moved,
                    };
                    self.operators[index].advance(&step, &self.saved.series, &mut hits);
                    self.saved.stats.failed_conditions += self.operators[index].failed();
                }
            }
        }
        let mut passed = self.pass_on(envelope, rows, from, moved, candidates);
        self.hold_budgets(envelope, rows, moved, moved > watermark, &mut passed);
        let pipeline = Arc::clone(&self.pipeline);
        let mut alerts = Vec::new();
        for hit in hits.drain(..) {
            let detection = &pipeline.detections[hit.detection];
            self.saved.book.take(&self.saved.cell, detection, hit, &mut alerts);
        }
        self.saved.book.settle(moved, &mut alerts);
        self.hits = hits;
        let refused = std::mem::take(&mut self.refused);
        Stepped { alerts, late, passed, unreadable: None, refused }
    }

    /// What the record brings for the shards of the plant.
    fn pass_on(
        &mut self,
        envelope: &Envelope,
        rows: &RecordBatch,
        from: usize,
        watermark: Micros,
        candidates: &Candidates,
    ) -> Vec<PassedOn> {
        if self.pipeline.plant_wide.is_empty() || passing::detection_of(&self.saved.cell).is_some() {
            return Vec::new();
        }
        let pipeline = Arc::clone(&self.pipeline);
        let plant_wide = pipeline.plant_wide.iter().map(|&index| (index, &pipeline.detections[index]));
        let Saved { passed, stats, held, cell, begun, .. } = &mut self.saved;
        let source = Source { cell, begun: begun.unwrap_or_default(), envelope, rows, from, watermark };
        passed.records(&source, plant_wide, |index| {
            let detection = &pipeline.detections[index];
            if from >= rows.num_rows() {
                None
            } else if envelope.kind == Kind::Control {
                passing::decisions(rows, &detection.id)
            } else if candidates.rows.contains(&(index as u32)) {
                let wide = widen(held, stats, detection, envelope.kind, rows, &mut BTreeMap::new());
                match detection.condition.as_deref() {
                    Some(condition) => select(condition, wide.as_ref().unwrap_or(rows), stats),
                    None => Some(vec![true; rows.num_rows()].into()),
                }
            } else if candidates.inputs.contains(&(index as u32)) {
                let inputs = detection.operator.inputs().iter();
                let selected = inputs
                    .filter(|input| input.kind == envelope.kind)
                    .filter_map(|input| select(input.condition.as_ref(), rows, stats));
                selected.reduce(|one, other| or_kleene(&one, &other).unwrap_or(one))
            } else {
                None
            }
        })
    }

    /// Numbers and counts the rows that a detection counted aside.
    fn set_aside(&mut self, detection: usize, asides: &mut Vec<Aside>, late: &mut Vec<LateRow>) {
        if asides.is_empty() {
            return;
        }
        let id = &self.pipeline.detections[detection].id;
        *self.saved.aside.entry(id.clone()).or_default() += asides.len() as u64;
        for row in asides.drain(..) {
            let sequence = self.saved.stats.aside_rows;
            self.saved.stats.aside_rows += 1;
            late.push(LateRow { cell: self.saved.cell.clone(), sequence, detection: id.clone(), row });
        }
    }

    /// Notes the collector's row numbers and promise; answers the first row that is new.
    fn admit(&mut self, envelope: &Envelope, watermark: Micros) -> Option<usize> {
        let id = (envelope.collector.clone(), envelope.epoch);
        if !self.saved.collectors.contains_key(&id) {
            self.forget_one();
            let mut fresh =
                Collector { next_row: envelope.first_row, promise: Micros::MIN, ..Collector::default() };
            fresh.holes.skip(0, envelope.first_row);
            self.saved.collectors.insert(id.clone(), fresh);
        }
        let about_a_budget = self.holds_a_budget() || passing::detection_of(&envelope.collector).is_some();
        let stats = &mut self.saved.stats;
        let collector = self.saved.collectors.get_mut(&id)?;
        collector.heard = stats.records;
        // What people decide, and what holds a budget, promises nothing about rows: it neither holds the watermark
        // up nor moves it.
        collector.silent = envelope.collector == DECISIONS || about_a_budget;
        collector.promise = collector.promise.max(envelope.promise);
        let rows = u64::from(envelope.rows);
        stats.missing_rows += envelope.first_row.saturating_sub(collector.next_row);
        collector.holes.skip(collector.next_row, envelope.first_row);
        let mut repeated = collector.next_row.saturating_sub(envelope.first_row).min(rows);
        if repeated > 0
            && collector.holes.fill(envelope.first_row, envelope.first_row.saturating_add(repeated))
        {
            repeated = 0;
        }
        stats.repeated_rows += repeated;
        collector.next_row = collector.next_row.max(envelope.end_row());
        if envelope.observed.1 < watermark {
            stats.late_rows += rows - repeated;
        }
        stats.rows += rows - repeated;
        (repeated < rows).then_some(repeated as usize)
    }

    fn forget_one(&mut self) {
        if self.saved.collectors.len() < COLLECTORS_MAX {
            return;
        }
        let oldest =
            self.saved.collectors.iter().min_by_key(|(id, c)| (c.heard, *id)).map(|(id, _)| id.clone());
        if let Some(oldest) = oldest {
            self.saved.collectors.remove(&oldest);
        }
    }

    fn control(&mut self, envelope: &Envelope, rows: &RecordBatch, from: usize) {
        let column = |name: &str| rows.column_by_name(name);
        let (Some(action), Some(subject), Some(payload)) =
            (column("action"), column("subject"), column("payload"))
        else {
            return;
        };
        let (times, author) = (times_of(rows, "time"), column("author"));
        for row in from..rows.num_rows() {
            let (subject, payload) = (text_at(subject, row), text_at(payload, row));
            let author = author.map(|author| text_at(author, row)).unwrap_or_default();
            let decided = Decided { at: times.map_or(0, |times| times[row]), author: &author };
            match text_at(action, row).as_ref() {
                control::APPROVE => self.approve(&subject, decided),
                control::BASELINE => self.baseline(&subject, &payload, decided),
                control::ROLLBACK => self.roll_back(&subject, &payload, decided),
                control::MAINTENANCE => self.maintenance(&subject, &payload, decided),
                control::FALSE_ALARM => self.called_false(&subject, &payload),
                control::RELEASE => {
                    let Ok(serde_json::Value::Object(entry)) = serde_json::from_str(&payload) else {
                        self.saved.stats.unreadable_records += 1;
                        continue;
                    };
                    for (detection, operator) in self.pipeline.detections.iter().zip(&mut self.operators) {
                        if meant(&subject, detection) {
                            operator.release(&entry);
                        }
                    }
                }
                control::PIPELINE => {
                    if self.pinned || *subject == *self.pipeline.version.to_string() {
                        continue;
                    }
                    let texts = serde_json::from_str(&payload).ok();
                    match texts.and_then(|texts| self.pipeline.shelf.read(texts).ok()) {
                        Some(pipeline) => self.adopt(pipeline),
                        None => self.saved.stats.refused_pipelines += 1,
                    }
                }
                control::TAIL => self.take_tail(&envelope.collector, &subject, &payload),
                control::FACTORS => self.take_factors(&envelope.collector, &subject, &payload),
                control::TICK => {
                    for ((name, _), collector) in &mut self.saved.collectors {
                        if *name == *subject {
                            collector.silent = true;
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn rows(&mut self, rows: &RecordBatch, judged: &mut Judged<'_>) {
        let Judged { envelope, from, watermark, hits, late, candidates, meter } = judged;
        let (from, watermark) = (*from, *watermark);
        let pipeline = Arc::clone(&self.pipeline);
        let offered = rows.num_rows() - from;
        let mut asides = Vec::new();
        let mut joined: BTreeMap<&str, ArrayRef> = BTreeMap::new();
        for &index in &candidates.rows {
            let index = index as usize;
            let detection = &pipeline.detections[index];
            let condition = detection.condition.as_deref();
            if !self.here[index] || condition.is_some_and(|c| !may_select(c, rows)) {
                continue;
            }
            meter.begin();
            let before = hits.len();
            let Saved { held, stats, .. } = &mut self.saved;
            let wide = widen(held, stats, detection, envelope.kind, rows, &mut joined);
            let rows = wide.as_ref().unwrap_or(rows);
            let selected = condition.map(|c| select(c, rows, &mut self.saved.stats));
            if let Some(None) = selected {
                meter.end(index, Work { offered, selected: 0, hits: 0 });
                continue;
            }
            let selected = selected.flatten();
            let step = Step { detection: index, by: &detection.by, envelope, from, watermark };
            self.operators[index].rows(&step, rows, selected.as_ref(), hits);
            self.operators[index].late(&mut asides);
            self.set_aside(index, &mut asides, late);
            let chosen = selected.as_ref().map_or(offered, |s| s.slice(from, offered).true_count());
            meter.end(index, Work { offered, selected: chosen, hits: hits.len() - before });
        }
    }

    fn samples(&mut self, rows: &RecordBatch, judged: &mut Judged<'_>) {
        let Judged { envelope, from, watermark, hits, late, meter, .. } = judged;
        let (from, watermark) = (*from, *watermark);
        let column = |name: &str| rows.column_by_name(name);
        let (Some(series), Some(times), Some(values), Some(quality)) = (
            column("series").and_then(|c| c.as_primitive_opt::<UInt32Type>()),
            column("time").and_then(|c| c.as_primitive_opt::<TimestampMicrosecondType>()),
            column("value").and_then(|c| c.as_primitive_opt::<Float64Type>()),
            column("quality").and_then(|c| c.as_primitive_opt::<UInt8Type>()),
        ) else {
            return;
        };
        let id = (envelope.collector.clone(), envelope.epoch);
        let local: &[u32] = self.saved.collectors.get(&id).map_or(&[], |c| &c.local);
        self.resolved.clear();
        self.resolved
            .extend(series.values().iter().map(|&n| local.get(n as usize).copied().unwrap_or(u32::MAX)));
        let undefined = self.resolved[from..].iter().filter(|&&n| n == u32::MAX).count();
        self.saved.stats.undefined_samples += undefined as u64;
        let resolved = std::mem::take(&mut self.resolved);
        let samples = Samples {
            series: &resolved,
            times: times.values(),
            values: values.values(),
            quality: quality.values(),
        };
        let mut asides = Vec::new();
        let pipeline = Arc::clone(&self.pipeline);
        for (index, detection) in pipeline.detections.iter().enumerate() {
            if detection.on == Kind::Sample {
                let step = Step { detection: index, by: &detection.by, envelope, from, watermark };
                let before = hits.len();
                meter.begin();
                self.operators[index].samples(&step, &samples, &self.saved.series, hits);
                self.operators[index].late(&mut asides);
                self.set_aside(index, &mut asides, late);
                let offered = rows.num_rows() - from;
                meter.end(index, Work { offered, selected: offered, hits: hits.len() - before });
            }
        }
        self.resolved = resolved;
    }

    /// Rows for the operators that have inputs of their own, possibly of several kinds.
    fn inputs(&mut self, rows: &RecordBatch, judged: &mut Judged<'_>) {
        let Judged { envelope, from, watermark, hits, candidates, meter, .. } = judged;
        let (from, watermark) = (*from, *watermark);
        let pipeline = Arc::clone(&self.pipeline);
        let offered = rows.num_rows() - from;
        let mut joined: BTreeMap<&str, ArrayRef> = BTreeMap::new();
        for &index in &candidates.inputs {
            let index = index as usize;
            let detection = &pipeline.detections[index];
            let inputs = detection.operator.inputs();
            let reads =
                |input: &Input| input.kind == envelope.kind && may_select(input.condition.as_ref(), rows);
            if !self.here[index] || !inputs.iter().any(reads) {
                continue;
            }
            meter.begin();
            let before = hits.len();
            let Saved { held, stats, .. } = &mut self.saved;
            let wide = widen(held, stats, detection, envelope.kind, rows, &mut joined);
            let rows = wide.as_ref().unwrap_or(rows);
            let stats = &mut self.saved.stats;
            let selected: Vec<Option<BooleanArray>> = inputs
                .iter()
                .map(|input| match reads(input) {
                    true => select(input.condition.as_ref(), rows, stats),
                    false => None,
                })
                .collect();
            if selected.iter().any(Option::is_some) {
                let step = Step { detection: index, by: &detection.by, envelope, from, watermark };
                self.operators[index].inputs(&step, rows, &selected, hits);
            }
            let chosen = selected.iter().flatten().map(BooleanArray::true_count).sum();
            meter.end(index, Work { offered, selected: chosen, hits: hits.len() - before });
        }
    }
}

/// Of each detection, whether it is judged in a cell: those of the plant are judged in a shard each.
fn judged_here(cell: &str, pipeline: &Pipeline) -> Vec<bool> {
    let here = |detection: &Detection| match passing::detection_of(cell) {
        None => detection.scope == Scope::Cell,
        Some(id) => detection.scope == Scope::Plant && detection.id == id,
    };
    pipeline.detections.iter().map(here).collect()
}

/// Whether a batch has the words without which no row of it can hold.
fn may_select(condition: &dyn Condition, rows: &RecordBatch) -> bool {
    condition.required().iter().all(|(column, values)| may_hold(rows, column, values))
}

/// The rows of a batch that hold; none when there is no such row.
fn select(condition: &dyn Condition, rows: &RecordBatch, stats: &mut Stats) -> Option<BooleanArray> {
    match condition.select(rows) {
        Ok(selected) => (selected.true_count() > 0).then_some(selected),
        Err(_) => {
            stats.failed_conditions += 1;
            None
        }
    }
}

/// A record's envelope and rows. Bytes on which a decoder panics are as unreadable as others.
pub fn read(record: &Record) -> Result<(Envelope, RecordBatch), EventError> {
    read_by(record, |envelope| codec::decode(envelope, &record.value))
}

fn read_by(
    record: &Record,
    rows: impl FnOnce(&Envelope) -> Result<RecordBatch, EventError>,
) -> Result<(Envelope, RecordBatch), EventError> {
    let decode = || {
        let envelope = Envelope::from_header(&record.header)?;
        let rows = rows(&envelope)?;
        Ok((envelope, rows))
    };
    // Nothing is shared with the decoder that it could leave half done, but what is made anew for the next.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err(EventError::Payload("the decoder gave up on it".into())))
}
