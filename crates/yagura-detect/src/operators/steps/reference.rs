//! What steps have learned as a baseline's entries, and back. People compare what is expected of each feature; how the
//! features go together is a text of the model's own form.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use yagura_models::steps::{self, FEATURES};

use super::{OneStep, Steps};
use crate::baseline::{Entry, Form, from_value, rounded, to_text};
use crate::operators::Which;

/// What steps that were not seen yet will be judged by: the signals' names and the model.
pub(super) type Waiting = BTreeMap<Vec<String>, (Vec<String>, steps::Step)>;

impl Steps {
    pub(super) fn form_of(&self) -> Form {
        let of = self.by.iter().chain(&self.context).cloned();
        Form { model: steps::NAME, version: steps::VERSION, of: of.collect() }
    }

    pub(super) fn entries(&self, which: Which) -> Vec<Entry> {
        let of = |one: &OneStep| match which {
            Which::InForce => one.model.clone(),
            Which::Proposed => one.proposal(&self.parameters),
        };
        let seen = self.saved.steps.iter();
        let seen = seen.filter_map(|one| Some(entry(one.key.clone(), one.members.names(), &of(one)?)));
        let waiting = self.saved.waiting.iter();
        seen.chain(waiting.map(|(key, (names, model))| entry(key.clone(), names, model))).collect()
    }

    pub(super) fn judge_by(&mut self, entries: &[Entry]) -> Result<(), String> {
        let mut waiting = Waiting::new();
        for entry in entries {
            let model = model(&entry.values).map_err(|why| format!("{}: {why}", entry.key.join(" ")))?;
            waiting.insert(entry.key.clone(), model);
        }
        for one in &mut self.saved.steps {
            match waiting.remove(&one.key) {
                Some((names, model)) => one.refer_to(names, model),
                None => (one.model, one.maintained) = (None, None),
            }
        }
        // Columns may be others now.
        self.saved.places.leave_all();
        self.saved.waiting = waiting;
        Ok(())
    }

    /// Maintenance of the steps that have these values.
    pub(super) fn maintain_those(&mut self, keys: &Map<String, Value>) -> usize {
        let meant = self.meant(keys);
        meant.into_iter().filter(|place| self.saved.steps[*place].maintain()).count()
    }

    /// The places of the steps that have these values.
    pub(super) fn meant(&self, keys: &Map<String, Value>) -> Vec<usize> {
        let all = self.saved.steps.iter().map(|one| &one.key).enumerate();
        self.form_of().meant(keys, all)
    }
}

fn entry(key: Vec<String>, names: &[String], model: &steps::Step) -> Entry {
    let signals: Map<String, Value> = names
        .iter()
        .enumerate()
        .map(|(column, name)| {
            let features = FEATURES.iter().enumerate().map(|(feature, what)| {
                let (expected, deviation) = model.expected(column * FEATURES.len() + feature);
                ((*what).to_string(), json!([rounded(expected), rounded(deviation)]))
            });
            (name.clone(), Value::Object(features.collect()))
        })
        .collect();
    let values = json!({ "order": names, "signals": signals, "weights": to_text(model) });
    let Value::Object(values) = values else { unreachable!("an object literal") };
    Entry { key, values }
}

fn model(values: &Map<String, Value>) -> Result<(Vec<String>, steps::Step), String> {
    let names = values.get("order").and_then(Value::as_array).ok_or("`order` is no list of signals")?;
    let names: Vec<String> = names.iter().filter_map(|name| name.as_str().map(str::to_string)).collect();
    let model: steps::Step = from_value(values, "weights")?;
    if !model.is_sound() || model.width() != FEATURES.len() * names.len() {
        return Err(format!("`weights` is no model of {} signals", names.len()));
    }
    Ok((names, model))
}
