//! What groups have learned as a baseline's entries, and back. People compare the levels, deviations and limits; the
//! weights behind them are a text of the model's own form.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};
use yagura_models::group::{self, Group};

use super::{Groups, OneGroup};
use crate::baseline::{Entry, Form, from_value, rounded, to_text};
use crate::operators::Which;

/// What keys that were not seen yet will be judged by: the signals' names and the model.
pub(super) type Waiting = BTreeMap<Vec<String>, (Vec<String>, Group)>;

impl Groups {
    pub(super) fn form_of(&self) -> Form {
        let of = self.by.iter().chain(&self.context).cloned();
        Form { model: group::NAME, version: group::VERSION, of: of.collect() }
    }

    pub(super) fn entries(&self, which: Which) -> Vec<Entry> {
        let of = |one: &OneGroup| match which {
            Which::InForce => one.model.clone(),
            Which::Proposed => one.proposal(&self.parameters),
        };
        let seen = self.saved.groups.iter();
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
        for one in &mut self.saved.groups {
            match waiting.remove(&one.key) {
                Some((names, model)) => one.refer_to(names, model),
                None => (one.model, one.maintained, one.approved_levels) = (None, None, None),
            }
        }
        // Columns may be others now.
        self.saved.places.leave_all();
        self.saved.waiting = waiting;
        Ok(())
    }
}

impl Groups {
    /// Maintenance of the groups that have these values.
    pub(super) fn maintain_those(&mut self, keys: &Map<String, Value>) -> usize {
        let meant = self.meant(keys);
        meant.into_iter().filter(|place| self.saved.groups[*place].maintain()).count()
    }

    /// The places of the groups that have these values.
    pub(super) fn meant(&self, keys: &Map<String, Value>) -> Vec<usize> {
        let all = self.saved.groups.iter().map(|one| &one.key).enumerate();
        self.form_of().meant(keys, all)
    }
}

fn entry(key: Vec<String>, names: &[String], model: &Group) -> Entry {
    let signals: Map<String, Value> = names
        .iter()
        .zip(model.levels())
        .map(|(name, (level, spread))| (name.clone(), json!([rounded(level), rounded(spread)])))
        .collect();
    let values = json!({
        "order": names, "level_and_deviation": signals, "lags": model.lags(), "weights": to_text(model),
    });
    let Value::Object(values) = values else { unreachable!("an object literal") };
    Entry { key, values }
}

fn model(values: &Map<String, Value>) -> Result<(Vec<String>, Group), String> {
    let names = values.get("order").and_then(Value::as_array).ok_or("`order` is no list of signals")?;
    let names: Vec<String> = names.iter().filter_map(|name| name.as_str().map(str::to_string)).collect();
    let model: Group = from_value(values, "weights")?;
    if !model.is_sound() || model.width() != names.len() {
        return Err(format!("`weights` is no model of {} signals", names.len()));
    }
    Ok((names, model))
}
