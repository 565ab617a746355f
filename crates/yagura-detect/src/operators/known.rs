//! `known`: a tuple of columns that is not on the approved allow-list is a hit.
//!
//! With `from: learning` the list is proposed by what is seen until an `approve` record; before
//! that nothing alerts. With `from: releases` only `release` records put entries on the list, and
//! it judges from the first row.

use std::collections::BTreeSet;

use arrow::array::{BooleanArray, RecordBatch};
use rustc_hash::FxHashSet;
use serde::{Deserialize, Serialize};
use yagura_event::Kind;

use super::matched::{hit, selected_rows};
use super::{Learning, Operator, Plan, Saving, Step, Which, at, entry_values, restored, saved};
use crate::alerts::Hit;
use crate::baseline::{Entry, Form, Span};
use crate::blocks::Blocks;
use crate::columns::{RowHashes, hash_texts, named, text_at};
use crate::pipeline::{PipelineError, Place, Written, check_column};
use crate::shard::Series;

/// The most entries a list takes in a cell; what comes beyond is counted and stays unknown.
const ENTRIES_MAX: usize = 1_000_000;
/// Version of the saved state's form.
const SAVED_VERSION: u16 = 2;
/// Version of what a baseline's entries mean.
const FORM_VERSION: u16 = 1;
/// The most entries that are proposed beside those in force; what comes beyond is told and not proposed.
const CANDIDATES_MAX: usize = 10_000;

pub(crate) fn read(
    place: &Place<'_>,
    on: Kind,
    written: &Written<'_>,
) -> Option<Result<Box<dyn Plan>, Vec<PipelineError>>> {
    let spec = written.known?;
    if on == Kind::Sample {
        return Some(Err(at(place, spec, "`known` judges rows with names; samples take `model:`".into())));
    }
    let mut errors = Vec::new();
    for column in &spec.value.of {
        check_column(place, on, column, written.more, &mut errors);
    }
    if spec.value.of.is_empty() {
        errors.extend(at(place, spec, "`known.of` names at least one column".into()));
    }
    let learning = match spec.value.from.value.as_str() {
        "learning" => true,
        "releases" => false,
        other => {
            let message = format!("`{other}` is no source of a list; there are: learning, releases");
            errors.extend(at(place, &spec.value.from, message));
            false
        }
    };
    if !errors.is_empty() {
        return Some(Err(errors));
    }
    Some(Ok(Box::new(KnownPlan { of: spec.value.of.iter().map(|c| c.value.clone()).collect(), learning })))
}

struct KnownPlan {
    of: Vec<String>,
    learning: bool,
}

impl Plan for KnownPlan {
    fn describe(&self) -> String {
        format!("known {:?} {}", self.of, if self.learning { "learning" } else { "releases" })
    }

    fn start(&self) -> Box<dyn Operator> {
        Box::new(Known {
            of: self.of.clone(),
            saved: Saved { learning: self.learning, ..Saved::default() },
            hashes: FxHashSet::default(),
            learns: self.learning,
        })
    }
}

struct Known {
    of: Vec<String>,
    saved: Saved,
    /// Hashes of the entries: what is looked up for each row.
    hashes: FxHashSet<u64>,
    /// Whether its list is learned.
    learns: bool,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Saved {
    /// In the order in which they came onto the list.
    entries: Blocks<Vec<String>>,
    /// Whether what is seen still goes onto the list by itself.
    learning: bool,
    refused: u64,
    /// What was seen and is not on the approved list: what the next baseline would add.
    candidates: BTreeSet<Vec<String>>,
    span: Span,
}

impl Known {
    fn look_up(&mut self) {
        self.hashes =
            self.saved.entries.iter().map(|entry| hash_texts(entry.iter().map(String::as_str))).collect();
    }

    fn admit(&mut self, entry: Vec<String>) {
        let hash = hash_texts(entry.iter().map(String::as_str));
        if self.hashes.contains(&hash) {
            return;
        }
        if self.saved.entries.len() >= ENTRIES_MAX {
            self.saved.refused += 1;
            return;
        }
        self.hashes.insert(hash);
        self.saved.candidates.remove(&entry);
        self.saved.entries.push(entry);
    }
}

impl Operator for Known {
    fn rows(
        &mut self,
        step: &Step<'_>,
        rows: &RecordBatch,
        selected: Option<&BooleanArray>,
        hits: &mut Vec<Hit>,
    ) {
        let columns = named(rows, &self.of);
        let by = named(rows, step.by);
        let hashes = RowHashes::new(&columns);
        let entry = |row: usize| columns.iter().map(|column| text_at(column, row).into_owned()).collect();
        let chosen = selected.map_or(rows.num_rows() - step.from, |s| {
            s.slice(step.from, rows.num_rows() - step.from).true_count()
        });
        self.saved.span.add(step.envelope.observed, chosen as u64);
        for row in selected_rows(step.from, rows.num_rows(), selected) {
            let hash = hashes.at(row);
            if self.hashes.contains(&hash) {
                continue;
            }
            if self.saved.learning {
                self.admit(entry(row));
            } else {
                if self.learns && self.saved.candidates.len() < CANDIDATES_MAX {
                    self.saved.candidates.insert(entry(row));
                }
                hits.push(hit(step, rows, row, &by));
            }
        }
    }

    fn approve(&mut self) {
        self.saved.learning = false;
    }

    fn release(&mut self, entry: &serde_json::Map<String, serde_json::Value>) {
        match entry_values(entry, &self.of) {
            Some(values) => self.admit(values),
            None => self.saved.refused += 1,
        }
    }

    fn form(&self) -> Option<Form> {
        self.learns.then(|| Form { model: "known", version: FORM_VERSION, of: self.of.clone() })
    }

    fn learned(&self, which: Which, _: &Blocks<Series>) -> (Span, Vec<Entry>) {
        let entry = |key: &Vec<String>| Entry { key: key.clone(), values: serde_json::Map::new() };
        let candidates = self.saved.candidates.iter();
        let entries = match (which, self.saved.learning) {
            (Which::InForce, true) => Vec::new(),
            (Which::InForce, false) => self.saved.entries.iter().map(entry).collect(),
            (Which::Proposed, _) => self.saved.entries.iter().chain(candidates).map(entry).collect(),
        };
        (self.saved.span, entries)
    }

    fn put_in_force(&mut self, entries: &[Entry], _: &Blocks<Series>) -> Result<(), String> {
        if entries.len() > ENTRIES_MAX {
            return Err(format!("{} entries are too many; the most is {ENTRIES_MAX}", entries.len()));
        }
        self.saved.entries = entries.iter().map(|entry| entry.key.clone()).collect();
        self.saved.candidates.clear();
        self.saved.learning = false;
        self.look_up();
        Ok(())
    }

    fn learning(&self) -> Learning {
        let entries = self.saved.entries.len();
        let keys = entries + self.saved.candidates.len();
        let approved = if self.saved.learning { 0 } else { entries };
        Learning { keys, ready: keys, approved, refused: self.saved.refused, nearest: None }
    }

    fn save(&self) -> Saving {
        let state = self.saved.clone();
        Box::new(move || saved(SAVED_VERSION, &state))
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), String> {
        self.saved = restored(SAVED_VERSION, "a list", saved)?;
        self.look_up();
        Ok(())
    }
}
