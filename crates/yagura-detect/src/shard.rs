//! A shard: the pure fold over one cell's records in the log's order.
//!
//! Its state is a function of the pipeline and of the records, nothing else. One log record is
//! one [`Shard::step`].

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::{Float64Type, TimestampMicrosecondType, UInt8Type, UInt32Type};
use serde::{Deserialize, Serialize};
use yagura_event::clock::Micros;
use yagura_event::rows::{SeriesBuilder, SeriesRow};
use yagura_event::vocabulary::control;
use yagura_event::{Alert, Envelope, EventError, Kind, codec};
use yagura_log::Record;

use crate::alerts::{AlertBook, Hit};
use crate::asof::Contexts;
use crate::blocks::Blocks;
use crate::columns::{may_hold, text_at, times_of};
use crate::condition::Condition;
use crate::holes::Holes;
use crate::late::{Aside, LateRow};
use crate::meter::{Meter, NoMeter, Work};
use crate::operators::{Input, Learning, Operator, Samples, Saving, Step};
use crate::pipeline::{Detection, Pipeline};

/// One signal of the cell, under the shard's own dense number.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Series {
    /// Equipment.
    pub tool: String,
    /// Chamber.
    pub chamber: String,
    /// Signal.
    pub signal: String,
    /// Unit.
    pub unit: String,
    /// Class.
    pub class: String,
    /// Where it comes from.
    pub source: String,
    /// Lot, recipe and step that hold now.
    pub context: BTreeMap<String, String>,
}

impl Series {
    /// What is said of it, as a row under a number.
    pub fn row(&self, number: u32) -> SeriesRow<'_> {
        SeriesRow {
            series: number,
            tool: &self.tool,
            chamber: &self.chamber,
            signal: &self.signal,
            unit: &self.unit,
            class: &self.class,
            source: &self.source,
            ..SeriesRow::default()
        }
    }

    /// One of its columns as text.
    pub fn text(&self, column: &str) -> &str {
        match column {
            "tool" => &self.tool,
            "chamber" => &self.chamber,
            "signal" => &self.signal,
            "unit" => &self.unit,
            "class" => &self.class,
            "source" => &self.source,
            _ => "",
        }
    }
}

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
}

/// What one record brought.
#[derive(Debug, Default)]
pub struct Stepped {
    /// New alerts and revisions, in order.
    pub alerts: Vec<Alert>,
    /// Rows that came after what would have counted them was closed, in order.
    pub late: Vec<LateRow>,
    /// Why the record could not be read, if so.
    pub unreadable: Option<EventError>,
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
    meter: &'a mut dyn Meter,
}

/// The most series of a cell.
const SERIES_MAX: usize = 4_000_000;
/// The most (collector, epoch)s that are remembered; beyond, the one silent for longest is forgotten.
const COLLECTORS_MAX: usize = 1024;
/// Version of the saved state's form.
const SAVED_VERSION: u16 = 3;

/// A cell's state.
pub struct Shard {
    pipeline: Arc<Pipeline>,
    operators: Vec<Box<dyn Operator>>,
    saved: Saved,
    by_name: BTreeMap<(String, String, String), u32>,
    by_tool: BTreeMap<String, Vec<u32>>,
    resolved: Vec<u32>,
    hits: Vec<Hit>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Saved {
    version: u16,
    cell: String,
    next_offset: u64,
    collectors: BTreeMap<(String, u64), Collector>,
    series: Blocks<Series>,
    contexts: BTreeMap<(String, String), BTreeMap<String, String>>,
    /// What held when, for rows that are joined with it.
    held: Contexts,
    book: AlertBook,
    stats: Stats,
    /// By detection, rows counted aside.
    aside: BTreeMap<String, u64>,
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
            pipeline,
            operators,
            saved: Saved { version: SAVED_VERSION, cell: cell.to_string(), ..Saved::default() },
            by_name: BTreeMap::new(),
            by_tool: BTreeMap::new(),
            resolved: Vec::new(),
            hits: Vec::new(),
        }
    }

    /// A shard from its saved state. Detections that did not change keep theirs; changed and new
    /// ones begin afresh, with the series that are known.
    pub fn restore(saved: &[u8], pipeline: Arc<Pipeline>) -> Result<Self, String> {
        let saved: Saved = postcard::from_bytes(saved).map_err(|e| e.to_string())?;
        if saved.version != SAVED_VERSION {
            return Err(format!("version {} of a shard's state is not known", saved.version));
        }
        let mut shard = Shard::new(&saved.cell, pipeline);
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
        for index in fresh {
            let numbers: Vec<u32> = (0..shard.saved.series.len() as u32).collect();
            shard.select_series(index, &numbers);
        }
        Ok(shard)
    }

    /// The state as it is now, everything but the pipeline: taken at once, made into bytes later.
    pub fn save(&self) -> Saving {
        let mut saved = self.saved.clone();
        let detections = self.pipeline.detections.iter().zip(&self.operators);
        let operators: Vec<(String, u64, Saving)> =
            detections.map(|(d, o)| (d.id.clone(), d.fingerprint, o.save())).collect();
        Box::new(move || {
            saved.operators = operators.into_iter().map(|(id, print, state)| (id, print, state())).collect();
            postcard::to_stdvec(&saved).unwrap_or_default()
        })
    }

    /// The cell.
    pub fn cell(&self) -> &str {
        &self.saved.cell
    }

    /// The offset after the last record that was judged.
    pub fn next_offset(&self) -> u64 {
        self.saved.next_offset
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

    /// How far each detection's learning has got.
    pub fn learning(&self) -> impl Iterator<Item = (&Detection, Learning)> {
        self.pipeline.detections.iter().zip(&self.operators).map(|(d, o)| (d, o.learning()))
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
        self.saved.stats.records += 1;
        match read(record) {
            Ok((envelope, rows)) => self.judge(&envelope, &rows, meter),
            Err(e) => {
                self.saved.stats.unreadable_records += 1;
                Stepped { unreadable: Some(e), ..Stepped::default() }
            }
        }
    }

    fn judge(&mut self, envelope: &Envelope, rows: &RecordBatch, meter: &mut dyn Meter) -> Stepped {
        let watermark = self.watermark();
        let mut hits = std::mem::take(&mut self.hits);
        hits.clear();
        let mut late = Vec::new();
        if let Some(from) = self.admit(envelope, watermark) {
            match envelope.kind {
                Kind::Series => self.define(envelope, rows, from),
                Kind::Context => self.contexts(rows, from),
                Kind::Control => self.control(rows, from),
                _ => {}
            }
            let mut judged = Judged { envelope, from, watermark, hits: &mut hits, late: &mut late, meter };
            if envelope.kind == Kind::Sample {
                self.samples(rows, &mut judged);
            } else {
                self.rows(rows, &mut judged);
                self.inputs(rows, &mut judged);
            }
        }
        let moved = self.watermark();
        if moved > watermark {
            let from = rows.num_rows();
            for (index, detection) in self.pipeline.detections.iter().enumerate() {
                let step = Step { detection: index, by: &detection.by, envelope, from, watermark: moved };
                self.operators[index].advance(&step, &mut hits);
            }
        }
        let pipeline = Arc::clone(&self.pipeline);
        let alerts = hits
            .drain(..)
            .filter_map(|hit| {
                self.saved.book.take(&self.saved.cell, &pipeline.detections[hit.detection], hit)
            })
            .collect();
        self.hits = hits;
        Stepped { alerts, late, unreadable: None }
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
        let stats = &mut self.saved.stats;
        let collector = self.saved.collectors.get_mut(&id)?;
        collector.heard = stats.records;
        collector.silent = false;
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

    /// Series definitions: the collector's numbers become the shard's.
    fn define(&mut self, envelope: &Envelope, rows: &RecordBatch, from: usize) {
        let column = |name: &str| rows.column_by_name(name);
        let (Some(number), Some(tool), Some(chamber), Some(signal), Some(unit), Some(class), Some(source)) = (
            column("series").and_then(|c| c.as_primitive_opt::<UInt32Type>()),
            column("tool"),
            column("chamber"),
            column("signal"),
            column("unit"),
            column("class"),
            column("source"),
        ) else {
            return;
        };
        let mut defined = Vec::new();
        for row in from..rows.num_rows() {
            let name = (
                text_at(tool, row).into_owned(),
                text_at(chamber, row).into_owned(),
                text_at(signal, row).into_owned(),
            );
            let local = number.value(row) as usize;
            if local >= SERIES_MAX {
                self.saved.stats.refused_series += 1;
                continue;
            }
            let shard_number = match self.by_name.get(&name) {
                Some(&known) => known,
                None if self.saved.series.len() >= SERIES_MAX => {
                    self.saved.stats.refused_series += 1;
                    continue;
                }
                None => {
                    let fresh = self.saved.series.len() as u32;
                    let context = self.context_of(&name.0, &name.1);
                    self.saved.series.push(Series {
                        tool: name.0.clone(),
                        chamber: name.1.clone(),
                        signal: name.2.clone(),
                        unit: text_at(unit, row).into_owned(),
                        class: text_at(class, row).into_owned(),
                        source: text_at(source, row).into_owned(),
                        context,
                    });
                    self.by_tool.entry(name.0.clone()).or_default().push(fresh);
                    self.by_name.insert(name, fresh);
                    defined.push(fresh);
                    fresh
                }
            };
            let id = (envelope.collector.clone(), envelope.epoch);
            if let Some(collector) = self.saved.collectors.get_mut(&id) {
                if collector.local.len() <= local {
                    collector.local.resize(local + 1, u32::MAX);
                }
                collector.local[local] = shard_number;
            }
        }
        for detection in 0..self.pipeline.detections.len() {
            self.select_series(detection, &defined);
        }
    }

    /// Tells a detection on samples which of these series its condition takes.
    fn select_series(&mut self, detection: usize, numbers: &[u32]) {
        let spec = &self.pipeline.detections[detection];
        if spec.on != Kind::Sample || numbers.is_empty() {
            return;
        }
        let mut builder = SeriesBuilder::default();
        for &number in numbers {
            let Some(series) = self.saved.series.get(number as usize) else { continue };
            builder.push(&series.row(number));
        }
        let rows = builder.finish();
        let selected = match &spec.condition {
            None => None,
            Some(condition) => match condition.select(&rows) {
                Ok(selected) => Some(selected),
                Err(_) => {
                    self.saved.stats.failed_conditions += 1;
                    return;
                }
            },
        };
        for (row, &number) in numbers.iter().enumerate() {
            let takes = selected.as_ref().is_none_or(|s| s.is_valid(row) && s.value(row));
            self.operators[detection].series(number, takes);
        }
    }

    fn context_of(&self, tool: &str, chamber: &str) -> BTreeMap<String, String> {
        let mut context =
            self.saved.contexts.get(&(tool.to_string(), String::new())).cloned().unwrap_or_default();
        if !chamber.is_empty()
            && let Some(own) = self.saved.contexts.get(&(tool.to_string(), chamber.to_string()))
        {
            context.extend(own.clone());
        }
        context
    }

    fn contexts(&mut self, rows: &RecordBatch, from: usize) {
        let column = |name: &str| rows.column_by_name(name);
        let (Some(tool), Some(chamber), Some(name), Some(value)) =
            (column("tool"), column("chamber"), column("name"), column("value"))
        else {
            return;
        };
        let times = times_of(rows, "time");
        for row in from..rows.num_rows() {
            if let Some(times) = times {
                let [tool, chamber, name, value] = [tool, chamber, name, value].map(|c| text_at(c, row));
                let noted = self.saved.held.note(&tool, &chamber, &name, &value, times[row]);
                self.saved.stats.refused_contexts += u64::from(!noted);
            }
            let place = (text_at(tool, row).into_owned(), text_at(chamber, row).into_owned());
            let holds = self.saved.contexts.entry(place.clone()).or_default();
            let (name, value) = (text_at(name, row).into_owned(), text_at(value, row).into_owned());
            if holds.get(&name) == Some(&value) {
                continue;
            }
            holds.insert(name, value);
            let numbers: Vec<u32> = self
                .by_tool
                .get(&place.0)
                .into_iter()
                .flatten()
                .copied()
                .filter(|&n| {
                    let series = self.saved.series.get(n as usize);
                    series.is_some_and(|series| place.1.is_empty() || series.chamber == place.1)
                })
                .collect();
            for &number in &numbers {
                let Some(series) = self.saved.series.get(number as usize) else { continue };
                let context = self.context_of(&series.tool, &series.chamber);
                if let Some(series) = self.saved.series.get_mut(number as usize) {
                    series.context = context;
                }
            }
            for operator in &mut self.operators {
                operator.context(&numbers);
            }
        }
    }

    fn control(&mut self, rows: &RecordBatch, from: usize) {
        let column = |name: &str| rows.column_by_name(name);
        let (Some(action), Some(subject), Some(payload)) =
            (column("action"), column("subject"), column("payload"))
        else {
            return;
        };
        for row in from..rows.num_rows() {
            let subject = text_at(subject, row);
            let meant = |d: &Detection| *subject == *"*" || d.id == *subject;
            match text_at(action, row).as_ref() {
                control::APPROVE => {
                    for (detection, operator) in self.pipeline.detections.iter().zip(&mut self.operators) {
                        if meant(detection) {
                            operator.approve();
                        }
                    }
                }
                control::RELEASE => {
                    let Ok(serde_json::Value::Object(entry)) = serde_json::from_str(&text_at(payload, row))
                    else {
                        self.saved.stats.unreadable_records += 1;
                        continue;
                    };
                    for (detection, operator) in self.pipeline.detections.iter().zip(&mut self.operators) {
                        if meant(detection) {
                            operator.release(&entry);
                        }
                    }
                }
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
        let Judged { envelope, from, watermark, hits, late, meter } = judged;
        let (from, watermark) = (*from, *watermark);
        let pipeline = Arc::clone(&self.pipeline);
        let offered = rows.num_rows() - from;
        let mut asides = Vec::new();
        let mut joined: BTreeMap<&str, ArrayRef> = BTreeMap::new();
        for (index, detection) in pipeline.detections.iter().enumerate() {
            let condition = detection.condition.as_deref();
            if detection.on != envelope.kind || condition.is_some_and(|c| !may_select(c, rows)) {
                continue;
            }
            meter.begin();
            let before = hits.len();
            let with_contexts = match detection.join.is_empty() {
                true => None,
                false => self.join(detection, rows, &mut joined),
            };
            let rows = with_contexts.as_ref().unwrap_or(rows);
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

    /// The rows with the contexts that a detection joins; each column is made once a record.
    fn join<'a>(
        &self,
        detection: &'a Detection,
        rows: &RecordBatch,
        joined: &mut BTreeMap<&'a str, ArrayRef>,
    ) -> Option<RecordBatch> {
        let mut columns = rows.columns().to_vec();
        for name in &detection.join {
            let column =
                joined.entry(name).or_insert_with(|| self.saved.held.column(detection.on, rows, name));
            columns.push(Arc::clone(column));
        }
        RecordBatch::try_new(Arc::clone(&detection.schema), columns).ok()
    }

    fn samples(&mut self, rows: &RecordBatch, judged: &mut Judged<'_>) {
        let Judged { envelope, from, watermark, hits, late, meter } = judged;
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
        let Judged { envelope, from, watermark, hits, meter, .. } = judged;
        let (from, watermark) = (*from, *watermark);
        let offered = rows.num_rows() - from;
        for (index, detection) in self.pipeline.detections.iter().enumerate() {
            let inputs = detection.operator.inputs();
            let reads =
                |input: &Input| input.kind == envelope.kind && may_select(input.condition.as_ref(), rows);
            if !inputs.iter().any(reads) {
                continue;
            }
            meter.begin();
            let before = hits.len();
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
    let decode = || {
        let envelope = Envelope::from_header(&record.header)?;
        let rows = codec::decode(&envelope, &record.value)?;
        Ok((envelope, rows))
    };
    // Nothing is shared with the decoder that it could leave half done.
    std::panic::catch_unwind(std::panic::AssertUnwindSafe(decode))
        .unwrap_or_else(|_| Err(EventError::Payload("the decoder gave up on it".into())))
}
