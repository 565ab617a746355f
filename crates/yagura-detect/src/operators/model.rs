//! `model`: rows judged by an online model. Here the guard, with one state for each (series, context) of
//! samples; others have files of their own.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;
use yagura_event::Kind;
use yagura_event::clock::{self, Micros};
use yagura_models::fleet::{Budget, Factors, Tail};
use yagura_models::guard::{self, NO_SLOT, Parameters, State};
use yagura_models::incident::Candidate;

use super::budgeted::{self, Budgeted};
use super::matched::sample_hit;
use super::{Learning, Operator, Plan, Samples, Saving, Step, Which, at, restored, saved};
use crate::alerts::Hit;
use crate::baseline::{Entry, Form, Span};
use crate::blocks::Blocks;
use crate::pipeline::{ModelSpec, PipelineError, Place, Written};
use crate::shard::Series;

mod courses;
mod reference;

use courses::{Batch, Courses, Found};
use reference::Waiting;

/// The most keys in a cell: 256 MiB of states. What comes beyond is counted and not judged.
const KEYS_MAX: usize = 4_000_000;
/// Version of the saved state's form.
const SAVED_VERSION: u16 = 5;

/// A series that the detection takes and whose slot must be looked up.
const UNRESOLVED: u32 = u32::MAX - 1;

pub(crate) const CONTEXTS: [&str; 3] = ["lot", "recipe", "step"];
const FINDINGS: [guard::Finding; 5] = [
    guard::Finding::Shift,
    guard::Finding::Drift,
    guard::Finding::Range,
    guard::Finding::Stuck,
    guard::Finding::Gap,
];

/// The models, what reads their part of a detection, and what they show beside a row's columns; a new model is one
/// line more.
const READERS: [(&str, ReadModel, &[&str]); 6] = [
    (guard::NAME, read_guard, &SHOWN),
    (yagura_models::group::NAME, super::group::read, &SHOWN),
    (yagura_models::series::NAME, super::signals::read_series, &SHOWN),
    (yagura_models::repeat::NAME, super::signals::read_repeat, &SHOWN),
    (yagura_models::steps::NAME, super::steps::read, &super::steps::SHOWN),
    (yagura_models::conversation::NAME, super::conversation::read, &super::conversation::SHOWN),
];

/// The models whose limits a budget of alarms can set: those of which it is known how rare a score is.
const BUDGETED: [&str; 3] = [guard::NAME, yagura_models::group::NAME, yagura_models::steps::NAME];

/// What a model of samples shows.
pub(crate) const SHOWN: [&str; 9] =
    ["lot", "recipe", "step", "finding", "seen", "expected", "deviation", "score", "since"];

type ReadModel =
    fn(&Place<'_>, Kind, &Spanned<ModelSpec>, &Written<'_>) -> Result<Box<dyn Plan>, Vec<PipelineError>>;

pub(crate) fn read(
    place: &Place<'_>,
    on: Kind,
    written: &Written<'_>,
) -> Option<Result<Box<dyn Plan>, Vec<PipelineError>>> {
    let spec = written.model?;
    let name = &spec.value.name;
    if let Some(budget) = spec.value.budget.as_ref().filter(|_| !BUDGETED.contains(&name.value.as_str())) {
        let message = format!("`budget` sets the limits of these models: {}", BUDGETED.join(", "));
        return Some(Err(at(place, budget, message)));
    }
    Some(match READERS.iter().find(|(known, ..)| *known == name.value) {
        Some((_, read, _)) => read(place, on, spec, written),
        None => {
            let names: Vec<&str> = READERS.iter().map(|(name, ..)| *name).collect();
            Err(at(place, name, format!("`{}` is no model; there are: {}", name.value, names.join(", "))))
        }
    })
}

/// What a model shows; for one that is not known, which is a mistake of its own, what others of rows do.
pub(crate) fn shows(spec: &ModelSpec) -> &'static [&'static str] {
    let known = READERS.iter().find(|(known, ..)| *known == spec.name.value);
    known.map_or(&super::conversation::SHOWN, |(_, _, shown)| shown)
}

/// The findings that a detection asks for; all without any.
pub(super) fn findings<F: Copy>(
    place: &Place<'_>,
    model: &ModelSpec,
    all: &[F],
    name: fn(F) -> &'static str,
    errors: &mut Vec<PipelineError>,
) -> Vec<F> {
    let mut findings = Vec::new();
    for finding in &model.findings {
        match all.iter().find(|known| name(**known) == finding.value) {
            Some(known) => findings.push(*known),
            None => {
                let names: Vec<&str> = all.iter().map(|&known| name(known)).collect();
                let message = format!("`{}` is no finding; there are: {}", finding.value, names.join(", "));
                errors.extend(at(place, finding, message));
            }
        }
    }
    if findings.is_empty() {
        findings.extend_from_slice(all);
    }
    findings
}

/// What signals are judged together by: what an alert is keyed by, without the signal and the contexts.
pub(super) fn together(written: &Written<'_>) -> Vec<String> {
    let by = written.by.iter().map(|name| name.value.clone());
    by.filter(|name| name != "signal" && !CONTEXTS.contains(&name.as_str())).collect()
}

/// A model's parameters, with its defaults where the detection says nothing.
pub(super) fn parameters<P: DeserializeOwned + Default>(
    place: &Place<'_>,
    model: &ModelSpec,
    errors: &mut Vec<PipelineError>,
) -> P {
    let Some(written) = &model.parameters else { return P::default() };
    serde_json::from_value(written.value.clone()).unwrap_or_else(|error| {
        errors.extend(at(place, written, format!("parameters of `{}`: {error}", model.name.value)));
        P::default()
    })
}

/// The contexts that a detection on samples keeps apart. What is no sample is refused by the model's name.
pub(super) fn contexts(
    place: &Place<'_>,
    on: Kind,
    spec: &Spanned<ModelSpec>,
    errors: &mut Vec<PipelineError>,
) -> Vec<String> {
    let model = &spec.value;
    if on != Kind::Sample {
        let (name, on) = (&model.name.value, on.name());
        let message = format!("the model `{name}` judges samples, not {on}; write `on: sample`");
        errors.extend(at(place, spec, message));
    }
    for context in model.context.iter().filter(|c| !CONTEXTS.contains(&c.value.as_str())) {
        let message = format!("`{}` is no context; there are: {}", context.value, CONTEXTS.join(", "));
        errors.extend(at(place, context, message));
    }
    model.context.iter().map(|c| c.value.clone()).collect()
}

fn read_guard(
    place: &Place<'_>,
    on: Kind,
    spec: &Spanned<ModelSpec>,
    _: &Written<'_>,
) -> Result<Box<dyn Plan>, Vec<PipelineError>> {
    let mut errors = Vec::new();
    let context = contexts(place, on, spec, &mut errors);
    let findings = findings(place, &spec.value, &FINDINGS, guard::Finding::name, &mut errors);
    let parameters = parameters(place, &spec.value, &mut errors);
    let budget = budgeted::read(place, &spec.value, &mut errors);
    match errors.is_empty() {
        true => Ok(Box::new(GuardPlan { context, findings, parameters, budget })),
        false => Err(errors),
    }
}

struct GuardPlan {
    context: Vec<String>,
    findings: Vec<guard::Finding>,
    parameters: Parameters,
    budget: Option<Budget>,
}

impl Plan for GuardPlan {
    fn describe(&self) -> String {
        format!("guard {:?} {:?} {:?} {:?}", self.context, self.findings, self.parameters, self.budget)
    }

    fn budget(&self) -> Option<&Budget> {
        self.budget.as_ref()
    }

    fn start(&self) -> Box<dyn Operator> {
        Box::new(Guard {
            context: self.context.clone(),
            findings: self.findings.clone(),
            parameters: self.parameters.clone(),
            slot_of: Vec::new(),
            slots: Vec::new(),
            found: Found::default(),
            index: FxHashMap::default(),
            base: self.budget.as_ref().map_or(1.0, budgeted::base),
            saved: Saved { budgeted: self.budget.as_ref().map(Budgeted::new), ..Saved::default() },
        })
    }
}

struct Guard {
    context: Vec<String>,
    findings: Vec<guard::Finding>,
    parameters: Parameters,
    /// By the shard's series number.
    slot_of: Vec<u32>,
    /// Reused for each batch.
    slots: Vec<u32>,
    found: Found,
    index: FxHashMap<(u32, u32), u32>,
    /// The share of the limit from which on incidents are followed, where there is a budget.
    base: f64,
    saved: Saved,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Saved {
    /// By slot: the series and the context that the state is of.
    keys: Vec<(u32, u32)>,
    states: Vec<State>,
    /// Contexts by dense number, first seen first.
    contexts: Vec<Vec<String>>,
    refused: u64,
    span: Span,
    waiting: Waiting,
    /// By slot whose maintenance was recorded, the level that a person approved.
    approved_levels: BTreeMap<u32, f64>,
    /// Of the keys that are near a limit.
    courses: Courses,
    /// Where there is a budget.
    budgeted: Option<Budgeted>,
}

impl Guard {
    /// A key that a baseline knew before it was seen. One that comes in another unit goes on learning.
    fn take_waiting(&mut self, slot: usize, all: &Blocks<Series>) {
        if let Some((key, unit)) = self.key_of(slot, all)
            && let Some((reference, other)) = self.saved.waiting.remove(&key)
            && (unit == other || unit.is_empty() || other.is_empty())
        {
            self.saved.states[slot].refer_to(&reference, &self.parameters);
        }
    }

    fn resolve(&mut self, number: u32, all: &Blocks<Series>) -> u32 {
        let Some(series) = all.get(number as usize) else { return NO_SLOT };
        let context: Vec<String> =
            self.context.iter().map(|name| series.context.get(name).cloned().unwrap_or_default()).collect();
        let context = match self.saved.contexts.iter().position(|c| *c == context) {
            Some(index) => index as u32,
            None => {
                self.saved.contexts.push(context);
                (self.saved.contexts.len() - 1) as u32
            }
        };
        if let Some(&slot) = self.index.get(&(number, context)) {
            if let Some(state) = self.saved.states.get_mut(slot as usize) {
                state.begin(&self.parameters);
            }
            return slot;
        }
        if self.saved.states.len() >= KEYS_MAX {
            self.saved.refused += 1;
            return NO_SLOT;
        }
        let slot = self.saved.states.len() as u32;
        let mut state = State::default();
        if !self.context.is_empty() {
            state.begin(&self.parameters);
        }
        self.saved.states.push(state);
        self.saved.keys.push((number, context));
        self.index.insert((number, context), slot);
        if !self.saved.waiting.is_empty() {
            self.take_waiting(slot as usize, all);
        }
        slot
    }

    /// What is told of a finding; nothing of one that nobody asks for, or that the budget keeps back.
    fn hit(
        &mut self,
        step: &Step<'_>,
        samples: &Samples<'_>,
        all: &Blocks<Series>,
        batch: &Batch<'_>,
        found: &guard::Hit,
    ) -> Option<Hit> {
        if !self.findings.contains(&found.finding) {
            return None;
        }
        let (index, row) = (found.index as usize, step.from + found.index as usize);
        let slot = batch.slots[index];
        let incident = match &mut self.saved.budgeted {
            Some(budgeted) if !found.provisional => Some(budgeted.observe(&Candidate {
                key: u64::from(slot),
                time: samples.times[row],
                finding: FINDINGS.iter().position(|f| *f == found.finding).unwrap_or(0) as u8,
                score: found.score as f32,
            })?),
            _ => None,
        };
        let series = all.get(samples.series[row] as usize)?;
        let interval_s = self.saved.states.get(slot as usize).map_or(0.0, State::interval_s);
        let (around, mut since) = self.saved.courses.around(batch, found, interval_s);
        let mut score = found.score;
        let mut more = serde_json::Map::new();
        for (name, number) in
            [("seen", found.seen), ("expected", found.expected), ("deviation", found.deviation)]
        {
            more.insert(name.into(), number.into());
        }
        more.insert("finding".into(), found.finding.name().into());
        if found.provisional {
            more.insert("provisional".into(), true.into());
        }
        if let Some(incident) = incident {
            // By the limit in force; the calibrated one is a part of what sets it.
            score = f64::from(incident.peak / incident.limit);
            more.insert("factor".into(), f64::from(incident.limit).into());
            since = since.min(incident.since);
        }
        more.insert("score".into(), score.into());
        more.insert("since".into(), clock::rfc3339(since).into());
        more.extend(around.map(|around| ("around".to_string(), around.told())));
        let hit = sample_hit(step, samples, row, series, more);
        // What was not approved yet says too little about how far something is off.
        Some(if found.provisional { hit } else { hit.scored(score) })
    }
}

impl Operator for Guard {
    fn samples(&mut self, step: &Step<'_>, samples: &Samples<'_>, all: &Blocks<Series>, hits: &mut Vec<Hit>) {
        let mut slots = std::mem::take(&mut self.slots);
        slots.clear();
        for &series in &samples.series[step.from..] {
            let mut slot = self.slot_of.get(series as usize).copied().unwrap_or(NO_SLOT);
            if slot == UNRESOLVED {
                slot = self.resolve(series, all);
                self.slot_of[series as usize] = slot;
            }
            slots.push(slot);
        }
        let mut found = std::mem::take(&mut self.found);
        let (times, values) = (&samples.times[step.from..], &samples.values[step.from..]);
        let quality = &samples.quality[step.from..];
        let states = &mut self.saved.states;
        match self.saved.budgeted {
            None => guard::judge(states, &slots, times, values, quality, &self.parameters, &mut found),
            Some(_) => {
                guard::watch(states, &slots, times, values, quality, &self.parameters, self.base, &mut found);
            }
        }
        let judged = slots.iter().filter(|&&slot| slot != NO_SLOT).count();
        self.saved.span.add(step.envelope.observed, judged as u64);
        if !found.is_empty() {
            let batch = Batch { slots: &slots, times, values, quality };
            for index in found.in_order() {
                match index {
                    courses::Told::Near(near) => self.saved.courses.follow(&batch, near),
                    courses::Told::Hit(hit) => {
                        hits.extend(self.hit(step, samples, all, &batch, hit));
                    }
                }
            }
            self.saved.courses.keep_those_that_go_on(&self.saved.states);
            found.clear();
        }
        (self.slots, self.found) = (slots, found);
    }

    fn series(&mut self, number: u32, selected: bool) {
        let index = number as usize;
        if self.slot_of.len() <= index {
            self.slot_of.resize(index + 1, NO_SLOT);
        }
        match (selected, self.slot_of[index]) {
            (true, NO_SLOT) => self.slot_of[index] = UNRESOLVED,
            (false, _) => self.slot_of[index] = NO_SLOT,
            (true, _) => {}
        }
    }

    fn context(&mut self, series: &[u32]) {
        if self.context.is_empty() {
            return;
        }
        for &number in series {
            if let Some(slot) = self.slot_of.get_mut(number as usize)
                && *slot != NO_SLOT
            {
                *slot = UNRESOLVED;
            }
        }
    }

    fn approve(&mut self) {
        for state in &mut self.saved.states {
            state.approve(&self.parameters);
        }
        self.saved.approved_levels.clear();
    }

    fn form(&self) -> Option<Form> {
        Some(self.form_of())
    }

    fn learned(&self, which: Which, all: &Blocks<Series>) -> (Span, Vec<Entry>) {
        (self.saved.span, self.entries(which, all))
    }

    fn put_in_force(&mut self, entries: &[Entry], all: &Blocks<Series>) -> Result<(), String> {
        self.judge_by(entries, all)
    }

    fn maintain(&mut self, keys: &serde_json::Map<String, serde_json::Value>, all: &Blocks<Series>) -> usize {
        self.maintain_those(keys, all)
    }

    fn called_false(&mut self, keys: &serde_json::Map<String, serde_json::Value>, all: &Blocks<Series>) {
        let meant = self.meant(keys, all);
        if let Some(budgeted) = &mut self.saved.budgeted {
            budgeted.called_false(&meant);
        }
    }

    fn advance(&mut self, step: &Step<'_>, _: &Blocks<Series>, _: &mut Vec<Hit>) {
        let Saved { budgeted, states, .. } = &mut self.saved;
        if let Some(budgeted) = budgeted {
            budgeted.advance(step.watermark, || states.iter().filter(|state| state.is_approved()).count());
        }
    }

    fn tail(&mut self, now: Micros) -> Option<Tail> {
        self.saved.budgeted.as_mut()?.tail(now)
    }

    fn set_factors(&mut self, factors: &Factors) {
        if let Some(budgeted) = &mut self.saved.budgeted {
            budgeted.set_factors(factors);
        }
    }

    fn learning(&self) -> Learning {
        let states = &self.saved.states;
        let approved = states.iter().filter(|s| s.is_approved()).count();
        let ready = states.iter().filter(|s| s.is_approved() || s.is_ready(&self.parameters)).count();
        Learning { keys: states.len(), ready, approved, refused: self.saved.refused, nearest: None }
    }

    fn save(&self) -> Saving {
        let state = (self.saved.clone(), self.slot_of.clone());
        Box::new(move || saved(SAVED_VERSION, &state))
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), String> {
        (self.saved, self.slot_of) = restored(SAVED_VERSION, "a model", saved)?;
        self.index = self.saved.keys.iter().enumerate().map(|(slot, key)| (*key, slot as u32)).collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
