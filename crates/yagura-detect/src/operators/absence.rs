//! `absence`: a key that is not seen any more for so long is a hit.
//!
//! ```yaml
//! on: message
//! where: operation = 'report'
//! by: [tool]
//! absence: { every: 10m }                              # those that came so regularly while learning
//! absence: { every: 10m, expect: [ETCH-07, ETCH-08] }  # these, from when they are first seen
//! ```
//!
//! Without `expect`, what is seen until an `approve` record is proposed, and approved is what in that time
//! was never silent for as long as `every`: a laptop that came by twice is not missed. `release` records put
//! further keys on the list. A key on the list that was never seen in a cell is not missed there,
//! for the list does not say in which cell a tool stands. It judges samples too; their
//! key's columns are those of the series.
//!
//! A silent key is told once, with the last row that was seen of it (`{last_seen}`), and again when it has
//! returned (`{returned}`) and fallen silent anew. Time is the collector's: silence is judged when the cell's
//! watermark passes the end of `every`, or with the row that ends it. A collector that went silent is not waited for: what it watched is told
//! as absent while others see on, beside the collector itself (`collector-silent`); when all are silent
//! or have ended, nothing is.
//!
//! Memory: about 200 bytes a key and at most [`crate::packed::PACKED_BYTES_MAX`] of its last row, for at most
//! [`KEYS_MAX`] keys a cell. What comes beyond is counted and not expected: those that were silent for longest are the very ones to be
//! told, and stay.

use std::collections::BTreeSet;
use std::sync::Arc;

use arrow::array::{BooleanArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;
use yagura_event::alert::Cause;
use yagura_event::clock::{self, Micros};
use yagura_event::rows::SeriesBuilder;
use yagura_event::{Envelope, Kind};

use super::matched::{selected_rows, time_at};
use super::{Learning, Operator, Plan, Samples, Saving, Step, at, entry_values, restored, saved};
use crate::alerts::Hit;
use crate::blocks::Blocks;
use crate::columns::{RowHashes, hash_texts, named, text_at, times_of};
use crate::packed::{Packer, pack, unpack};
use crate::pipeline::{PipelineError, Place, Written, checked_duration};
use crate::shard::Series;

/// The most keys in a cell.
const KEYS_MAX: usize = 100_000;
/// The version of the saved form.
const SAVED_VERSION: u16 = 2;

/// `absence:` as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AbsenceSpec {
    /// The longest silence that is in order.
    pub every: Spanned<String>,
    /// The keys that are expected; those that are learned without any.
    #[serde(default)]
    pub expect: Option<Spanned<Vec<Spanned<String>>>>,
}

pub(crate) fn read(
    place: &Place<'_>,
    on: Kind,
    written: &Written<'_>,
) -> Option<Result<Box<dyn Plan>, Vec<PipelineError>>> {
    let spec = written.absence?;
    let mut errors = Vec::new();
    let every = checked_duration(place, &spec.value.every, &mut errors);
    if written.by.is_empty() {
        errors.extend(at(place, spec, "`absence` misses keys; say with `by:` which columns they are".into()));
    }
    if let Some(expect) = &spec.value.expect {
        if expect.value.is_empty() {
            errors.extend(at(
                place,
                expect,
                "`expect` lists at least one value; without it keys are learned".into(),
            ));
        }
        if let [_, second, ..] = written.by {
            let message = "`expect` lists values of one column; take one in `by:`, or leave `expect` out and let keys be learned";
            errors.extend(at(place, second, message.into()));
        }
    }
    if !errors.is_empty() {
        return Some(Err(errors));
    }
    let expect = spec.value.expect.as_ref();
    Some(Ok(Box::new(AbsencePlan {
        on,
        schema: Arc::clone(written.schema),
        every,
        by: written.by.iter().map(|c| c.value.clone()).collect(),
        expect: expect.map(|e| e.value.iter().map(|v| v.value.clone()).collect()),
    })))
}

struct AbsencePlan {
    on: Kind,
    schema: SchemaRef,
    every: Micros,
    by: Vec<String>,
    expect: Option<Vec<String>>,
}

impl Plan for AbsencePlan {
    fn describe(&self) -> String {
        format!("absence {} {:?} v{}", self.every, self.expect, self.on.version())
    }

    fn start(&self) -> Box<dyn Operator> {
        let listed = self.expect.iter().flatten().map(|value| hash_texts([value.as_str()].into_iter()));
        Box::new(Absence {
            schema: Arc::clone(&self.schema),
            every: self.every,
            by: self.by.clone(),
            index: FxHashMap::default(),
            due: BTreeSet::new(),
            newest: FxHashMap::default(),
            saved: Saved {
                learning: self.expect.is_none(),
                listed: listed.collect(),
                watermark: Micros::MIN,
                ..Saved::default()
            },
        })
    }
}

struct Absence {
    /// Of the rows that are kept.
    schema: SchemaRef,
    every: Micros,
    by: Vec<String>,
    /// By the hash of a key, its place.
    index: FxHashMap<u64, u32>,
    /// When to look at which key; it may have been seen since.
    due: BTreeSet<(Micros, u32)>,
    /// Of the batch at hand, the last row of each key.
    newest: FxHashMap<u32, usize>,
    saved: Saved,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Saved {
    keys: Vec<Key>,
    /// Whether what is seen is proposed still.
    learning: bool,
    /// Hashes of the keys that are expected once they are seen.
    listed: BTreeSet<u64>,
    watermark: Micros,
    refused: u64,
    /// By the shard's series number, the place of its key, or one of the three below.
    slot_of: Vec<u32>,
}

/// The detection does not take the series.
const NOT_TAKEN: u32 = u32::MAX;
/// The key is to be looked up.
const UNRESOLVED: u32 = u32::MAX - 1;
/// The key is not expected.
const NOT_EXPECTED: u32 = u32::MAX - 2;

#[derive(Clone, Debug, Serialize, Deserialize)]
struct Key {
    hash: u64,
    values: Vec<String>,
    /// The last row: its place, its times, itself in few bytes.
    cause: Cause,
    time: Micros,
    last: Micros,
    row: Vec<u8>,
    told: bool,
    returned: Option<Micros>,
    /// It was silent for too long while it was learned.
    irregular: bool,
}

impl Key {
    /// Keeps a row as the last that was seen.
    fn keep(&mut self, envelope: &Envelope, rows: &RecordBatch, packer: &Packer<'_>, row: usize) {
        self.is_from(envelope, row);
        self.time = time_at(rows, "time", row).unwrap_or(self.last);
        self.row.clear();
        packer.pack(row, &mut self.row);
    }

    fn is_from(&mut self, envelope: &Envelope, row: usize) {
        if self.cause.collector != envelope.collector {
            self.cause.collector.clone_from(&envelope.collector);
        }
        (self.cause.epoch, self.cause.row) = (envelope.epoch, envelope.number(row));
    }
}

impl Absence {
    /// The place of a key that is, or may come to be, expected.
    fn slot(&mut self, hash: u64, envelope: &Envelope, values: impl FnOnce() -> Vec<String>) -> Option<u32> {
        if let Some(&slot) = self.index.get(&hash) {
            return Some(slot);
        }
        if !self.saved.learning && !self.saved.listed.contains(&hash) {
            return None;
        }
        if self.saved.keys.len() >= KEYS_MAX {
            self.saved.refused += 1;
            return None;
        }
        let slot = self.saved.keys.len() as u32;
        self.saved.keys.push(Key {
            hash,
            values: values(),
            cause: Cause { collector: envelope.collector.clone(), epoch: envelope.epoch, row: 0 },
            time: 0,
            last: Micros::MIN,
            row: Vec::new(),
            told: false,
            returned: None,
            irregular: false,
        });
        self.index.insert(hash, slot);
        Some(slot)
    }

    /// A key was seen; answers whether this is the last that was seen of it.
    fn see(&mut self, slot: u32, observed: Micros) -> bool {
        let key = &mut self.saved.keys[slot as usize];
        if observed < key.last {
            return false;
        }
        let is_first = key.last == Micros::MIN;
        if !is_first && observed - key.last > self.every {
            key.irregular = true;
        }
        key.last = observed;
        if key.told {
            key.told = false;
            key.returned = Some(observed);
            self.due.insert((observed.saturating_add(self.every), slot));
        } else if is_first && !self.saved.learning {
            self.due.insert((observed.saturating_add(self.every), slot));
        }
        true
    }

    fn resolve(&mut self, series: &Series, envelope: &Envelope) -> u32 {
        let mut builder = SeriesBuilder::default();
        builder.push(&series.row(0));
        let rows = builder.finish();
        let by = named(&rows, &self.by);
        let values = || by.iter().map(|column| text_at(column, 0).into_owned()).collect();
        let Some(slot) = self.slot(RowHashes::new(&by).at(0), envelope, values) else { return NOT_EXPECTED };
        let key = &mut self.saved.keys[slot as usize];
        if key.row.is_empty() {
            key.row = pack(&rows, 0);
        }
        slot
    }

    /// Places and times to look at follow from the keys.
    fn find_again(&mut self) {
        let keys = || (0..).zip(&self.saved.keys);
        self.index = keys().map(|(slot, key)| (key.hash, slot)).collect();
        self.due = keys()
            .filter(|(_, key)| !self.saved.learning && !key.told)
            .map(|(slot, key)| (key.last.saturating_add(self.every), slot))
            .collect();
    }

    /// Series find their keys anew.
    fn look_up_again(&mut self) {
        for slot in self.saved.slot_of.iter_mut().filter(|slot| **slot != NOT_TAKEN) {
            *slot = UNRESOLVED;
        }
    }

    /// Whether a row at this time ends a silence that was too long and is not told.
    fn was_silent(&self, slot: u32, observed: Micros) -> bool {
        let key = &self.saved.keys[slot as usize];
        let due = key.last.saturating_add(self.every);
        !self.saved.learning && !key.told && key.last != Micros::MIN && due < observed
    }

    /// Tells a silent key.
    fn miss(&mut self, step: &Step<'_>, slot: u32, hits: &mut Vec<Hit>) {
        let key = &mut self.saved.keys[slot as usize];
        key.told = true;
        let mut evidence = unpack(&self.schema, &key.row);
        evidence.insert("last_seen".into(), clock::rfc3339(key.last).into());
        if let Some(returned) = key.returned {
            evidence.insert("returned".into(), clock::rfc3339(returned).into());
        }
        hits.push(Hit {
            detection: step.detection,
            cause: key.cause.clone(),
            time: key.time,
            observed: key.last,
            key: self.by.iter().cloned().zip(key.values.iter().cloned()).collect(),
            evidence,
            late: false,
            deviation: None,
        });
    }
}

impl Operator for Absence {
    fn rows(
        &mut self,
        step: &Step<'_>,
        rows: &RecordBatch,
        selected: Option<&BooleanArray>,
        hits: &mut Vec<Hit>,
    ) {
        let by = named(rows, &self.by);
        let keys = RowHashes::new(&by);
        let times = times_of(rows, "observed");
        let packer = Packer::new(rows);
        for row in selected_rows(step.from, rows.num_rows(), selected) {
            let values = || by.iter().map(|column| text_at(column, row).into_owned()).collect();
            let Some(slot) = self.slot(keys.at(row), step.envelope, values) else { continue };
            let observed = times.map_or(step.envelope.observed.1, |times| times[row]);
            if self.was_silent(slot, observed) {
                if let Some(row) = self.newest.remove(&slot) {
                    self.saved.keys[slot as usize].keep(step.envelope, rows, &packer, row);
                }
                self.miss(step, slot, hits);
            }
            if self.see(slot, observed) {
                self.newest.insert(slot, row);
            }
        }
        for (slot, row) in self.newest.drain() {
            self.saved.keys[slot as usize].keep(step.envelope, rows, &packer, row);
        }
    }

    fn samples(&mut self, step: &Step<'_>, samples: &Samples<'_>, all: &Blocks<Series>, hits: &mut Vec<Hit>) {
        let observed = step.envelope.observed.1;
        for (row, &number) in samples.series.iter().enumerate().skip(step.from) {
            let mut slot = self.saved.slot_of.get(number as usize).copied().unwrap_or(NOT_TAKEN);
            if slot == UNRESOLVED {
                let Some(series) = all.get(number as usize) else { continue };
                slot = self.resolve(series, step.envelope);
                self.saved.slot_of[number as usize] = slot;
            }
            if slot >= NOT_EXPECTED {
                continue;
            }
            if self.was_silent(slot, observed) {
                self.miss(step, slot, hits);
            }
            if self.see(slot, observed) {
                let key = &mut self.saved.keys[slot as usize];
                key.is_from(step.envelope, row);
                key.time = samples.times[row];
            }
        }
    }

    fn series(&mut self, number: u32, selected: bool) {
        let index = number as usize;
        if self.saved.slot_of.len() <= index {
            self.saved.slot_of.resize(index + 1, NOT_TAKEN);
        }
        self.saved.slot_of[index] = if selected { UNRESOLVED } else { NOT_TAKEN };
    }

    fn advance(&mut self, step: &Step<'_>, _: &Blocks<Series>, hits: &mut Vec<Hit>) {
        let watermark = step.watermark;
        if watermark == Micros::MAX {
            // All collectors are silent or have ended: nobody would have seen anything.
            return;
        }
        self.saved.watermark = watermark;
        let mut silent = Vec::new();
        while let Some(&(due, slot)) = self.due.first()
            && due < watermark
        {
            self.due.pop_first();
            let key = &self.saved.keys[slot as usize];
            let due = key.last.saturating_add(self.every);
            if due >= watermark {
                self.due.insert((due, slot));
            } else if !key.told {
                silent.push((due, slot));
            }
        }
        silent.sort_unstable();
        silent.dedup();
        for (_, slot) in silent {
            self.miss(step, slot, hits);
        }
    }

    fn approve(&mut self) {
        if !std::mem::replace(&mut self.saved.learning, false) {
            return;
        }
        let Saved { keys, listed, watermark, .. } = &mut self.saved;
        let every = self.every;
        keys.retain(|key| {
            let silent = key.last.saturating_add(every) < *watermark;
            listed.contains(&key.hash) || !(key.irregular || silent)
        });
        self.find_again();
        self.look_up_again();
    }

    fn release(&mut self, entry: &serde_json::Map<String, serde_json::Value>) {
        match entry_values(entry, &self.by) {
            Some(values) if self.saved.listed.len() < KEYS_MAX => {
                self.saved.listed.insert(hash_texts(values.iter().map(String::as_str)));
                self.look_up_again();
            }
            _ => self.saved.refused += 1,
        }
    }

    fn learning(&self) -> Learning {
        let keys = self.saved.keys.len();
        Learning {
            keys,
            ready: keys,
            approved: if self.saved.learning { 0 } else { keys },
            refused: self.saved.refused,
            nearest: None,
        }
    }

    fn save(&self) -> Saving {
        let state = self.saved.clone();
        Box::new(move || saved(SAVED_VERSION, &state))
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), String> {
        self.saved = restored(SAVED_VERSION, "an absence", saved)?;
        self.find_again();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
