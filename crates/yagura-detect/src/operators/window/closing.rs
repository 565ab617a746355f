//! Windows that close: steps of a fixed length, and sessions. Rows are added up by key; a window is
//! judged when the watermark, less the lateness that is allowed, has passed its end. So the judgement
//! is a function of the records alone, and rows that come out of order within the lateness count.
//!
//! A window exists where a row counted in it: what is missing altogether is another operator's. A
//! row whose window was closed is counted aside. The hit names the last row that counted, by the
//! collector's clock. Where windows overlap, a key is told once in the length of a window.
//!
//! A sample's time is its device's, held within the collector's bounds of its record; those of bad
//! quality do not count.
//!
//! Memory of a key: some 120 bytes, the texts of its `by` columns, and for each window that is open
//! 80 bytes and what is aggregated (see [`super::sketch`]); at most [`STATE_BYTES_MAX`] a cell, as if
//! every aggregate were full. Beyond, the keys that were least recently active leave, a quarter at
//! a time. What begins before they left may lack rows, so `at_most` and `below` do not judge it.
//! A key whose windows are all over rests in its place for [`REST`] times their length, as long as there
//! is room: most come again. It counts as a window, and nothing else tells that it is there.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use yagura_event::Envelope;
use yagura_event::alert::Cause;
use yagura_event::clock::{self, Micros, SECOND};

use super::super::matched::{hit, sample_hit, selected_rows};
use super::super::{Learning, Operator, Plan, Reads, Samples, Saving, Step, restored, saved};
use super::aggregate::{Aggregate, Inputs, Measure, Wanted, as_rows};
use super::due::Due;
use super::key::{Key, Shape, Window};
use crate::alerts::Hit;
use crate::blocks::Blocks;
use crate::columns::{RowGroups, hash_texts, named, text_at, times_of};
use crate::condition::Condition;
use crate::late::Aside;
use crate::shard::Series;

/// The most memory of one detection's windows in a cell, in bytes.
const STATE_BYTES_MAX: usize = 256 << 20;
/// What a key takes beside its windows' aggregates, with some texts.
const KEY_BYTES: usize = 256;
/// Times beyond are taken for these: nothing can be computed with the ends of all time.
const TIME_MAX: Micros = 1 << 61;
/// The quality from which on a sample is not counted.
const BAD: u8 = 2;
/// Sources that are remembered before those without an open window are forgotten.
const SOURCES: usize = 256;
/// For how many lengths of a window a key rests that has none.
const REST: Micros = 8;
/// Rows whose keys are looked up and brought near the processor before the first of them is counted:
/// what they touch stays in its second cache.
const NEAR: usize = 128;
/// No slot.
const NONE: u32 = u32::MAX;
/// Version of the saved state's form.
const SAVED_VERSION: u16 = 2;

/// What makes a window a hit: all that are given must hold.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Limits {
    /// The measure is this or more.
    pub at_least: Option<f64>,
    /// The measure is this or less.
    pub at_most: Option<f64>,
    /// The measure is more.
    pub above: Option<f64>,
    /// The measure is less.
    pub below: Option<f64>,
}

impl Limits {
    fn hold(&self, value: Option<f64>) -> bool {
        let Some(value) = value else { return *self == Limits::default() };
        self.at_least.is_none_or(|limit| value >= limit)
            && self.at_most.is_none_or(|limit| value <= limit)
            && self.above.is_none_or(|limit| value > limit)
            && self.below.is_none_or(|limit| value < limit)
    }

    /// Whether rows that are missing could make a hit.
    fn ask_for_little(&self) -> bool {
        self.at_most.is_some() || self.below.is_some()
    }
}

/// A condition over the columns of closed windows.
#[derive(Clone)]
pub struct Having {
    /// As written.
    pub sql: String,
    /// Compiled.
    pub condition: Arc<dyn Condition>,
    /// The columns it was compiled over.
    pub schema: SchemaRef,
}

/// The checked configuration.
#[derive(Clone)]
pub struct ClosingPlan(Arc<Settings>);

struct Settings {
    shape: Shape,
    lateness: Micros,
    wanted: Wanted,
    measure: Measure,
    limits: Limits,
    having: Option<Having>,
    windows_max: usize,
}

impl ClosingPlan {
    /// Puts it together.
    pub fn new(
        shape: Shape,
        lateness: Micros,
        wanted: Wanted,
        measure: Measure,
        limits: Limits,
        having: Option<Having>,
    ) -> Self {
        let windows_max = STATE_BYTES_MAX / (KEY_BYTES + wanted.bytes_max());
        ClosingPlan(Arc::new(Settings { shape, lateness, wanted, measure, limits, having, windows_max }))
    }
}

impl Plan for ClosingPlan {
    fn describe(&self) -> String {
        let Settings { shape, lateness, wanted, measure, limits, having, .. } = &*self.0;
        let having = having.as_ref().map(|h| &h.sql);
        format!("window {shape:?} {lateness} {wanted:?} {measure:?} {limits:?} {having:?}")
    }

    fn reads(&self) -> Reads {
        Reads::Columns(self.0.wanted.columns())
    }

    fn start(&self) -> Box<dyn Operator> {
        Box::new(Closing {
            settings: Arc::clone(&self.0),
            index: FxHashMap::default(),
            slots: Vec::new(),
            free: Vec::new(),
            due: self.0.shape.due(),
            windows: 0,
            resting: 0,
            saved: Saved { closed_to: Micros::MIN, left_at: Micros::MIN, ..Saved::default() },
            late: Vec::new(),
            failed: 0,
            of: Vec::new(),
        })
    }
}

struct Closing {
    settings: Arc<Settings>,
    /// By the hash of the `by` columns, the slot.
    index: FxHashMap<u64, u32>,
    slots: Vec<Key>,
    /// Slots without a key.
    free: Vec<u32>,
    /// When keys are to be looked at. Entries whose time is no longer the key's are passed over.
    due: Due,
    /// Windows that are open, of all keys.
    windows: usize,
    /// Keys without one.
    resting: usize,
    saved: Saved,
    /// Rows counted aside by the record at hand.
    late: Vec<Aside>,
    /// How often `having` failed since it was told.
    failed: u64,
    /// By series, the hash of its `by` columns; 0 until it is known.
    of: Vec<u64>,
}

/// All that lasts; the keys are put in when it is saved.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Saved {
    /// Every window that ends up to here was judged.
    closed_to: Micros,
    /// Rows counted: the order of activity.
    turn: u64,
    refused: u64,
    /// When keys left last, by the collector's clock.
    left_at: Micros,
    /// Where rows came from: collector and epoch.
    sources: Vec<(String, u64)>,
    /// By series, whether the condition takes it.
    taken: Vec<bool>,
    keys: Vec<Key>,
}

/// A window that is over.
struct Over {
    slot: u32,
    from: Micros,
    to: Micros,
    last: Window,
}

/// What the rows of a batch have in common.
struct Batch<'a> {
    step: &'a Step<'a>,
    rows: &'a RecordBatch,
    by: &'a [&'a ArrayRef],
    inputs: Inputs<'a>,
    observed: Option<&'a [Micros]>,
    times: Option<&'a [Micros]>,
    source: u32,
}

/// Where a row stands.
struct Spot {
    observed: Micros,
    time: Micros,
    row: u64,
    source: u32,
}

impl Spot {
    fn new(step: &Step<'_>, row: usize, observed: Micros, time: Micros, source: u32) -> Self {
        let observed = observed.clamp(-TIME_MAX, TIME_MAX);
        Spot { observed, time, row: step.envelope.number(row), source }
    }
}

impl Closing {
    /// The slots of rows whose keys are known. The loops of this and of [`Closing::touch`] read what does
    /// not depend on one another, so that the processor waits for many keys' memory at once.
    fn find(&self, groups: &mut RowGroups<'_>, near: &mut [(usize, u32)]) {
        for (row, slot) in near.iter_mut() {
            if let Some(known) = groups.get(*row) {
                *slot = known;
            } else if let Some(&known) = self.index.get(&groups.hash(*row)) {
                groups.set(*row, known);
                *slot = known;
            }
        }
        self.touch(near);
    }

    /// Reads a word of each key, then of its last window, then of what that aggregates.
    fn touch(&self, near: &[(usize, u32)]) {
        let keys = || near.iter().filter_map(|(_, slot)| self.slots.get(*slot as usize));
        let windows = || keys().filter_map(|key| key.windows.last());
        let sum = keys().fold(0, |sum, key| sum ^ key.active);
        let sum = windows().fold(sum, |sum, window| sum ^ window.row);
        let sum = windows().fold(sum, |sum, window| sum ^ window.aggregate.touch());
        std::hint::black_box(sum);
    }

    /// Counts a row; answers whether keys had to leave for it, so that slots are no longer theirs.
    fn take(&mut self, batch: &Batch<'_>, groups: &mut RowGroups<'_>, row: usize, slot: u32) -> bool {
        let observed = batch.observed.map_or(batch.step.envelope.observed.1, |times| times[row]);
        let time = batch.times.map_or(batch.step.envelope.observed.0, |times| times[row]);
        let spot = Spot::new(batch.step, row, observed, time, batch.source);
        let left = self.make_room_if_full(spot.observed);
        if left {
            groups.forget();
        }
        let slot = Some(slot).filter(|&slot| slot != NONE && !left).or_else(|| {
            let by = || batch.by.iter().map(|column| text_at(column, row).into()).collect();
            let slot = self.slot_of(groups.hash(row), spot.observed, by);
            slot.inspect(|&slot| groups.set(row, slot))
        });
        if !slot.is_some_and(|slot| self.count(slot, &spot, |a| a.take(&batch.inputs, row))) {
            self.set_aside(hit(batch.step, batch.rows, row, batch.by));
        }
        left
    }

    /// Counts a row under a key; answers whether there was a window for it that is open.
    fn count(&mut self, slot: u32, spot: &Spot, take: impl FnOnce(&mut Aggregate)) -> bool {
        let shape = self.settings.shape;
        let key = &mut self.slots[slot as usize];
        let before = key.windows.len();
        let Some((at, made)) = key.window(shape, spot.observed, self.saved.closed_to) else { return false };
        self.saved.turn += 1;
        key.active = self.saved.turn;
        let after = key.windows.len();
        let window = &mut key.windows[at];
        take(&mut window.aggregate);
        if spot.observed >= window.last {
            window.last = spot.observed;
            window.time = spot.time;
            window.row = spot.row;
            window.source = spot.source;
        }
        if before == after && !made {
            return true;
        }
        self.windows = self.windows + after - before;
        let due = match shape {
            Shape::Steps { every, .. } => window.begin + every,
            Shape::Session { gap, .. } => window.last + gap,
        };
        if before == 0 {
            self.resting -= 1;
        }
        if made && (before == 0 || due < key.due) {
            key.due = due;
            self.due.push(due, key.hash, slot);
        }
        true
    }

    fn set_aside(&mut self, hit: Hit) {
        let Hit { cause, time, observed, key, .. } = hit;
        self.late.push(Aside { key, time, observed, closed_to: self.saved.closed_to, cause });
    }

    /// The slot of a key, made unless its window would be over.
    fn slot_of(&mut self, hash: u64, observed: Micros, by: impl FnOnce() -> Box<[Box<str>]>) -> Option<u32> {
        if let Some(&slot) = self.index.get(&hash) {
            return Some(slot);
        }
        if self.settings.shape.is_over(observed, self.saved.closed_to) {
            return None;
        }
        let key = Key { hash, by: by(), due: Micros::MAX, told_until: Micros::MIN, ..Key::default() };
        let slot = match self.free.pop() {
            Some(slot) => {
                self.slots[slot as usize] = key;
                slot
            }
            None => {
                self.slots.push(key);
                (self.slots.len() - 1) as u32
            }
        };
        self.index.insert(hash, slot);
        self.resting += 1;
        Some(slot)
    }

    fn remove(&mut self, slot: u32) {
        // Nothing is due at this time: no entry is taken for one of it.
        let nobody = Key { due: Micros::MIN, ..Key::default() };
        let key = std::mem::replace(&mut self.slots[slot as usize], nobody);
        self.windows -= key.windows.len();
        self.resting -= usize::from(key.windows.is_empty());
        self.index.remove(&key.hash);
        self.free.push(slot);
    }

    /// Lets the least recently active keys go until a quarter of the room is free, if there is none.
    fn make_room_if_full(&mut self, now: Micros) -> bool {
        if self.windows + self.resting < self.settings.windows_max {
            return false;
        }
        let rests = |slot: &u32| self.slots[*slot as usize].windows.is_empty();
        let resting: Vec<u32> = self.index.values().copied().filter(rests).collect();
        resting.into_iter().for_each(|slot| self.remove(slot));
        if self.windows < self.settings.windows_max {
            return true;
        }
        let mut order: Vec<(u64, u32)> =
            self.index.values().map(|&slot| (self.slots[slot as usize].active, slot)).collect();
        order.sort_unstable();
        let keep = self.settings.windows_max - self.settings.windows_max.div_ceil(4);
        for (_, slot) in order {
            if self.windows <= keep {
                break;
            }
            self.remove(slot);
            self.saved.refused += 1;
        }
        self.saved.left_at = self.saved.left_at.max(now);
        self.remake_due();
        true
    }

    fn remake_due(&mut self) {
        self.due = self.settings.shape.due();
        for (&hash, &slot) in &self.index {
            let key = &mut self.slots[slot as usize];
            key.rests_until = 0;
            self.due.push(key.due, hash, slot);
        }
    }

    /// The number of the envelope's source.
    fn source_of(&mut self, envelope: &Envelope) -> u32 {
        let is_it = |(name, epoch): &(String, u64)| *epoch == envelope.epoch && *name == envelope.collector;
        if let Some(at) = self.saved.sources.iter().rposition(is_it) {
            return at as u32;
        }
        if self.saved.sources.len() >= SOURCES && self.saved.sources.len().is_power_of_two() {
            self.forget_sources();
        }
        self.saved.sources.push((envelope.collector.clone(), envelope.epoch));
        (self.saved.sources.len() - 1) as u32
    }

    /// Forgets the sources that no open window names.
    fn forget_sources(&mut self) {
        let mut renumbered = vec![u32::MAX; self.saved.sources.len()];
        let old = std::mem::take(&mut self.saved.sources);
        for slot in self.index.values() {
            for window in &self.slots[*slot as usize].windows {
                renumbered[window.source as usize] = 0;
            }
        }
        for (number, source) in old.into_iter().enumerate() {
            if renumbered[number] == 0 {
                renumbered[number] = self.saved.sources.len() as u32;
                self.saved.sources.push(source);
            }
        }
        for slot in self.index.values() {
            for window in &mut self.slots[*slot as usize].windows {
                window.source = renumbered[window.source as usize];
            }
        }
    }

    /// Judges every window that ends up to `limit`, in the order of their ends.
    fn close(&mut self, step: &Step<'_>, limit: Micros, hits: &mut Vec<Hit>) {
        let shape = self.settings.shape;
        let (mut entries, mut slots) = (Vec::new(), Vec::new());
        while let Some(due) = self.due.pop(limit, &mut entries) {
            slots.clear();
            for &(hash, slot) in &entries {
                let key = &mut self.slots[slot as usize];
                if key.hash != hash {
                    continue;
                }
                if key.windows.is_empty() {
                    if key.due <= due {
                        self.remove(slot);
                    } else if key.rests_until == due {
                        // It rested anew since it was put there.
                        key.rests_until = key.due;
                        self.due.push(key.due, hash, slot);
                    }
                    continue;
                }
                if key.rests_until == due {
                    key.rests_until = 0;
                }
                if key.due != due || slots.last() == Some(&slot) {
                    continue;
                }
                if let Shape::Session { .. } = shape
                    && key.next_due(shape, due) != Some(due)
                {
                    // It went on since it was put there.
                    key.due = key.next_due(shape, due).unwrap_or(Micros::MAX);
                    self.due.push(key.due, hash, slot);
                } else {
                    slots.push(slot);
                }
            }
            if slots.is_empty() {
                continue;
            }
            let mut over: Vec<Over> = slots.iter().filter_map(|&slot| self.over(slot, due)).collect();
            over.iter_mut().for_each(|o| o.last.aggregate.settle());
            self.judge(step, &over, due, hits);
            for &slot in &slots {
                self.leave(slot, due);
            }
            self.saved.closed_to = self.saved.closed_to.max(due);
        }
    }

    /// The window of a key that ends now.
    fn over(&mut self, slot: u32, end: Micros) -> Option<Over> {
        let windows = &mut self.slots[slot as usize].windows;
        match self.settings.shape {
            Shape::Session { gap, .. } => {
                let at = windows.iter().position(|w| w.last + gap == end)?;
                self.windows -= 1;
                let last = windows.remove(at);
                Some(Over { slot, from: last.begin, to: last.last, last })
            }
            Shape::Steps { every, within } if every == within => {
                let at = windows.iter().position(|w| w.begin + every == end)?;
                self.windows -= 1;
                Some(Over { slot, from: end - within, to: end, last: windows.remove(at) })
            }
            Shape::Steps { within, .. } => {
                let parts = windows.iter().filter(|w| w.begin < end && w.begin >= end - within);
                let last = parts.cloned().reduce(|mut all, part| {
                    all.merge(part);
                    all
                })?;
                Some(Over { slot, from: end - within, to: end, last })
            }
        }
    }

    /// After a key's window was judged: what no later one needs goes.
    fn leave(&mut self, slot: u32, end: Micros) {
        let shape = self.settings.shape;
        let key = &mut self.slots[slot as usize];
        if let Shape::Steps { within, .. } = shape {
            let before = key.windows.len();
            key.windows.retain(|w| w.begin + within > end);
            self.windows -= before - key.windows.len();
        }
        if let Some(due) = key.next_due(shape, end) {
            key.due = due;
            self.due.push(due, key.hash, slot);
            return;
        }
        key.told_until = Micros::MIN;
        key.due = end.saturating_add(shape.length().saturating_mul(REST));
        self.resting += 1;
        if key.rests_until == 0 {
            key.rests_until = key.due;
            self.due.push(key.due, key.hash, slot);
        }
    }

    fn judge(&mut self, step: &Step<'_>, over: &[Over], end: Micros, hits: &mut Vec<Hit>) {
        let settings = Arc::clone(&self.settings);
        let candidates: Vec<&Over> = over
            .iter()
            .filter(|o| {
                let value = o.last.aggregate.measure(settings.measure, o.length());
                let whole = !settings.limits.ask_for_little() || o.from > self.saved.left_at;
                settings.limits.hold(value) && whole && end >= self.slots[o.slot as usize].told_until
            })
            .collect();
        let selected = settings.having.as_ref().filter(|_| !candidates.is_empty()).map(|having| {
            let aggregates: Vec<_> = candidates.iter().map(|o| (&o.last.aggregate, o.length())).collect();
            let rows = as_rows(&settings.wanted, &having.schema, &aggregates);
            having.condition.select(&rows).unwrap_or_else(|_| {
                self.failed += 1;
                BooleanArray::new_null(candidates.len())
            })
        });
        for (row, over) in candidates.into_iter().enumerate() {
            if selected.as_ref().is_none_or(|s| s.is_valid(row) && s.value(row)) {
                hits.push(self.hit(step, over));
                if let Shape::Steps { within, .. } = settings.shape {
                    self.slots[over.slot as usize].told_until = end + within;
                }
            }
        }
    }

    fn hit(&self, step: &Step<'_>, over: &Over) -> Hit {
        let Settings { wanted, measure, .. } = &*self.settings;
        let by = &self.slots[over.slot as usize].by;
        let key: BTreeMap<String, String> =
            step.by.iter().cloned().zip(by.iter().map(|text| text.to_string())).collect();
        let mut evidence = serde_json::Map::new();
        for (name, text) in key.iter().filter(|(_, text)| !text.is_empty()) {
            evidence.insert(name.clone(), text.as_str().into());
        }
        let aggregate = &over.last.aggregate;
        let number = |measure: Measure| match aggregate.measure(measure, over.length()) {
            Some(value) if measure.is_count() => Some(serde_json::Value::from(value as u64)),
            value => value.map(serde_json::Value::from),
        };
        let shown = |m: &(&str, Measure)| wanted.percentiles || !matches!(m.1, Measure::Percentile(_));
        for (name, measure) in wanted.measures().filter(shown) {
            evidence.extend(number(measure).map(|value| (name.to_string(), value)));
        }
        evidence.extend(number(*measure).map(|value| ("seen".to_string(), value)));
        evidence.insert("from".into(), clock::rfc3339(over.from).into());
        evidence.insert("to".into(), clock::rfc3339(over.to).into());
        evidence.extend(aggregate.top().map(|text| ("top".to_string(), text.as_ref().into())));
        evidence.extend(aggregate.top_values().map(|text| ("top_values".to_string(), text.as_ref().into())));
        let (collector, epoch) =
            self.saved.sources.get(over.last.source as usize).cloned().unwrap_or_default();
        Hit {
            detection: step.detection,
            cause: Cause { collector, epoch, row: over.last.row },
            time: over.last.time,
            observed: over.last.last,
            key,
            evidence,
            late: false,
            deviation: None,
        }
    }
}

impl Over {
    /// The length that rates are over: a session that is shorter than a second counts as one.
    fn length(&self) -> Micros {
        (self.to - self.from).max(SECOND)
    }
}

impl Operator for Closing {
    fn failed(&mut self) -> u64 {
        std::mem::take(&mut self.failed)
    }

    fn rows(
        &mut self,
        step: &Step<'_>,
        rows: &RecordBatch,
        selected: Option<&BooleanArray>,
        _hits: &mut Vec<Hit>,
    ) {
        let by = named(rows, step.by);
        let mut groups = RowGroups::new(&by);
        let batch = Batch {
            step,
            rows,
            by: &by,
            inputs: Inputs::new(&self.settings.wanted, rows),
            observed: times_of(rows, "observed"),
            times: times_of(rows, "time"),
            source: self.source_of(step.envelope),
        };
        let mut chosen = selected_rows(step.from, rows.num_rows(), selected);
        let mut near: Vec<(usize, u32)> = Vec::with_capacity(NEAR);
        loop {
            near.clear();
            near.extend(chosen.by_ref().take(NEAR).map(|row| (row, NONE)));
            if near.is_empty() {
                break;
            }
            self.find(&mut groups, &mut near);
            let mut found = true;
            for &(row, slot) in &near {
                found &= !self.take(&batch, &mut groups, row, if found { slot } else { NONE });
            }
        }
    }

    fn samples(
        &mut self,
        step: &Step<'_>,
        samples: &Samples<'_>,
        all: &Blocks<Series>,
        _hits: &mut Vec<Hit>,
    ) {
        let source = self.source_of(step.envelope);
        let (earliest, latest) = step.envelope.observed;
        let percentiles = self.settings.wanted.percentiles;
        for row in step.from..samples.series.len() {
            let number = samples.series[row] as usize;
            let taken = self.saved.taken.get(number).copied().unwrap_or(false);
            if !taken || samples.quality[row] >= BAD {
                continue;
            }
            let Some(series) = all.get(number) else { continue };
            if self.of[number] == 0 {
                self.of[number] = hash_texts(step.by.iter().map(|name| series.text(name))).max(1);
            }
            let time = samples.times[row];
            let spot = Spot::new(step, row, time.clamp(earliest, latest.max(earliest)), time, source);
            self.make_room_if_full(spot.observed);
            let by = || step.by.iter().map(|name| series.text(name).into()).collect();
            let slot = self.slot_of(self.of[number], spot.observed, by);
            let value = Some(samples.values[row]);
            if !slot.is_some_and(|slot| self.count(slot, &spot, |a| a.take_number(value, percentiles))) {
                self.set_aside(sample_hit(step, samples, row, series, serde_json::Map::new()));
            }
        }
    }

    fn series(&mut self, number: u32, selected: bool) {
        let index = number as usize;
        if self.saved.taken.len() <= index {
            self.saved.taken.resize(index + 1, false);
            self.of.resize(index + 1, 0);
        }
        self.saved.taken[index] = selected;
    }

    fn advance(&mut self, step: &Step<'_>, _: &Blocks<Series>, hits: &mut Vec<Hit>) {
        // Where nobody sends any more, all that is open is over; what comes from others later is
        // measured by what was closed.
        let all = step.watermark == Micros::MAX;
        let limit = if all { Micros::MAX } else { step.watermark.saturating_sub(self.settings.lateness) };
        self.close(step, limit, hits);
        if !all {
            self.saved.closed_to = self.saved.closed_to.max(limit);
        }
    }

    fn late(&mut self, out: &mut Vec<Aside>) {
        out.append(&mut self.late);
    }

    fn learning(&self) -> Learning {
        let keys = self.index.len() - self.resting;
        Learning { keys, ready: keys, approved: keys, refused: self.saved.refused, nearest: None }
    }

    fn save(&self) -> Saving {
        let mut saved = self.saved.clone();
        let open = self.slots.iter().filter(|key| !key.windows.is_empty());
        saved.keys = open.cloned().collect();
        Box::new(move || {
            saved.keys.sort_unstable_by_key(|key| key.hash);
            self::saved(SAVED_VERSION, &saved)
        })
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), String> {
        self.saved = restored(SAVED_VERSION, "a window", saved)?;
        self.slots = std::mem::take(&mut self.saved.keys);
        self.of = vec![0; self.saved.taken.len()];
        self.free.clear();
        self.index = self.slots.iter().enumerate().map(|(slot, key)| (key.hash, slot as u32)).collect();
        self.windows = self.slots.iter().map(|key| key.windows.len()).sum();
        self.resting = 0;
        self.remake_due();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
