//! What the guard has learned as a baseline's entries, and back.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use yagura_models::guard::{self, Reference, State};

use super::{Guard, KEYS_MAX};
use crate::baseline::{Entry, Form, rounded};
use crate::blocks::Blocks;
use crate::operators::Which;
use crate::shard::Series;

/// What names a series.
const SERIES: [&str; 3] = ["tool", "chamber", "signal"];

/// What keys that were not seen yet will be judged by.
pub(super) type Waiting = BTreeMap<Vec<String>, (Reference, String)>;

impl Guard {
    pub(super) fn form_of(&self) -> Form {
        let of = SERIES.into_iter().chain(self.context.iter().map(String::as_str)).map(str::to_string);
        Form { model: guard::NAME, version: guard::VERSION, of: of.collect() }
    }

    /// The key of a slot in a baseline.
    pub(super) fn key_of(&self, slot: usize, all: &Blocks<Series>) -> Option<(Vec<String>, String)> {
        let (series, context) = *self.saved.keys.get(slot)?;
        let series = all.get(series as usize)?;
        let key = SERIES.iter().map(|name| series.text(name).to_string());
        let context = self.saved.contexts.get(context as usize)?.iter().cloned();
        Some((key.chain(context).collect(), series.unit.clone()))
    }

    pub(super) fn entries(&self, which: Which, all: &Blocks<Series>) -> Vec<Entry> {
        let of = |state: &State| match which {
            Which::InForce => state.reference(),
            Which::Proposed => state.proposal(&self.parameters),
        };
        let seen = self.saved.states.iter().enumerate().filter_map(|(slot, state)| {
            let reference = of(state).filter(Reference::is_sound)?;
            let (key, unit) = self.key_of(slot, all)?;
            Some(entry(key, unit, &reference))
        });
        let waiting = self.saved.waiting.iter();
        seen.chain(waiting.map(|(key, (reference, unit))| entry(key.clone(), unit.clone(), reference)))
            .collect()
    }

    pub(super) fn judge_by(&mut self, entries: &[Entry], all: &Blocks<Series>) -> Result<(), String> {
        let mut waiting = Waiting::new();
        for entry in entries {
            let reference = reference(&entry.values).map_err(|e| format!("{}: {e}", entry.key.join(" ")))?;
            waiting.insert(entry.key.clone(), reference);
        }
        if waiting.len() > KEYS_MAX {
            return Err(format!("{} keys are too many; the most is {KEYS_MAX}", waiting.len()));
        }
        let mut found = Vec::with_capacity(self.saved.states.len());
        for slot in 0..self.saved.states.len() {
            let Some((key, unit)) = self.key_of(slot, all) else {
                found.push(None);
                continue;
            };
            let reference = waiting.remove(&key);
            if let Some((_, other)) = &reference
                && *other != unit
                && !other.is_empty()
                && !unit.is_empty()
            {
                return Err(format!("{} comes in {unit} and the baseline is in {other}", key.join(" ")));
            }
            found.push(reference);
        }
        for (state, reference) in self.saved.states.iter_mut().zip(found) {
            match reference {
                Some((reference, _)) => state.refer_to(&reference, &self.parameters),
                None => state.retire(),
            }
        }
        self.saved.waiting = waiting;
        self.saved.approved_levels.clear();
        Ok(())
    }

    /// Maintenance of the keys that have these values.
    pub(super) fn maintain_those(&mut self, keys: &Map<String, Value>, all: &Blocks<Series>) -> usize {
        let mut concerned = 0;
        for slot in self.meant(keys, all) {
            let Some(reference) = self.saved.states[slot].reference() else { continue };
            // However often it is recorded, the limit counts from what a person approved.
            let approved = *self.saved.approved_levels.entry(slot as u32).or_insert(reference.level);
            self.saved.states[slot].maintain(approved);
            concerned += 1;
        }
        concerned
    }

    /// The slots of these keys.
    pub(super) fn meant(&self, keys: &Map<String, Value>, all: &Blocks<Series>) -> Vec<usize> {
        let slots = 0..self.saved.states.len();
        self.form_of().meant(keys, slots.filter_map(|slot| Some((slot, self.key_of(slot, all)?.0))))
    }
}

fn entry(key: Vec<String>, unit: String, reference: &Reference) -> Entry {
    let Reference { level, deviation, interval_s, run_log2 } = *reference;
    let values = json!({
        "level": rounded(level), "deviation": rounded(f64::from(deviation)), "unit": unit,
        "interval_s": rounded(f64::from(interval_s)), "longest_run_log2": run_log2,
    });
    let Value::Object(values) = values else { unreachable!("an object literal") };
    Entry { key, values }
}

fn reference(values: &Map<String, Value>) -> Result<(Reference, String), String> {
    let number =
        |name: &str| values.get(name).and_then(Value::as_f64).ok_or_else(|| format!("`{name}` is no number"));
    let run = values.get("longest_run_log2").and_then(Value::as_u64).and_then(|run| u8::try_from(run).ok());
    let reference = Reference {
        level: number("level")?,
        deviation: number("deviation")? as f32,
        interval_s: number("interval_s")? as f32,
        run_log2: run.filter(|run| *run <= 16).ok_or("`longest_run_log2` is no number up to 16")?,
    };
    if !reference.is_sound() {
        return Err("`level`, `deviation` and `interval_s` are finite, and `deviation` is above 0".into());
    }
    let unit = values.get("unit").and_then(Value::as_str).unwrap_or_default();
    Ok((reference, unit.to_string()))
}
