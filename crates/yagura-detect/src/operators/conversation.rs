//! `model: { name: conversation }`: messages, or connections, judged by the behaviour of their conversations.
//!
//! A conversation is (protocol, client, server). The command of a message is (operation, function, target);
//! that of a connection is its transport and what is customary on its port. What is written to one place is
//! compared whoever wrote it. Where a protocol's session is the address of a station behind the server, it is
//! part of both; elsewhere sessions come and go.

use std::borrow::Cow;

use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, RecordBatch};
use arrow::datatypes::Float64Type;
use arrow::error::ArrowError;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;
use yagura_event::Kind;
use yagura_event::clock::rfc3339;
use yagura_event::vocabulary::operation;
use yagura_models::conversation::{self, Event, Finding, Model, NONE, Parameters, Written};

use super::matched::{hit, selected_rows};
use super::{Learning, Operator, Plan, Reads, Saving, Step, at, model, restored, saved};
use crate::alerts::Hit;
use crate::columns::{RowGroups, RowHashes, hash_texts, named, text_at, times_of};
use crate::pipeline::{self, ModelSpec, PipelineError, Place};

mod words;

use words::{command_name, known, why};

/// The most of each that a cell learns: about 20, 50 and 15 MiB, with 32 MiB at most for their order.
const CONVERSATIONS_MAX: usize = 16_384;
const COMMANDS_MAX: usize = 131_072;
const PLACES_MAX: usize = 65_536;
/// The most of each that are kept beyond what was approved.
const CANDIDATES_MAX: usize = 4_096;
/// What is shown beside a row's columns.
pub(super) const SHOWN: [&str; 8] =
    ["finding", "why", "known", "seen", "expected", "learned", "score", "since"];
/// Version of the saved state's form.
const SAVED_VERSION: u16 = 2;

/// Protocols whose session is the address of a station.
const STATIONS: [&str; 3] = ["modbus", "dnp3", "iec104"];
/// Operations whose values are compared with those before.
const WRITES: [&str; 3] = [operation::WRITE, operation::CONTROL, operation::CONFIGURE];

const CONVERSATION: [&str; 3] = ["protocol", "client", "server"];
const PLACE: [&str; 3] = ["protocol", "server", "target"];

/// What makes a command beside its conversation.
fn command_columns(on: Kind) -> &'static [&'static str] {
    match on {
        Kind::Flow => &["transport", "customary"],
        _ => &["operation", "function", "target"],
    }
}

pub(super) fn read(
    place: &Place<'_>,
    on: Kind,
    spec: &Spanned<ModelSpec>,
    written: &pipeline::Written<'_>,
) -> Result<Box<dyn Plan>, Vec<PipelineError>> {
    if !matches!(on, Kind::Message | Kind::Flow) {
        let message = format!(
            "the model `{}` judges conversations, not {}; write `on: message` or `on: flow`",
            conversation::NAME,
            on.name()
        );
        return Err(at(place, spec, message));
    }
    let mut errors = Vec::new();
    if let Some(context) = spec.value.context.first() {
        let message = "conversations have no context; leave `context` out";
        errors.extend(at(place, context, message.into()));
    }
    let findings = model::findings(place, &spec.value, &Finding::ALL, Finding::name, &mut errors);
    let parameters = model::parameters(place, &spec.value, &mut errors);
    match errors.is_empty() {
        true => Ok(Box::new(ConversationPlan { on, findings, parameters, shown: shown(on, written) })),
        false => Err(errors),
    }
}

/// The columns that hits show: those that are judged, a few more, and those that the summary names. Nothing
/// else is decoded for them.
fn shown(on: Kind, written: &pipeline::Written<'_>) -> Vec<String> {
    let places = crate::alerts::places(&written.summary.value);
    let more = ["tool", "client_area", "server_area", "server_port", "session", "value", "values", "status"];
    let names = CONVERSATION.iter().chain(command_columns(on)).chain(&more).copied().chain(places);
    let schema = on.schema();
    // In the order of the kind.
    let names: Vec<&str> = names.collect();
    let fields = schema.fields().iter().map(|field| field.name().clone());
    fields.filter(|field| ["time", "observed"].contains(&&**field) || names.contains(&&**field)).collect()
}

struct ConversationPlan {
    on: Kind,
    shown: Vec<String>,
    findings: Vec<Finding>,
    parameters: Parameters,
}

impl Plan for ConversationPlan {
    fn describe(&self) -> String {
        format!("conversation {:?} {:?}", self.findings, self.parameters)
    }

    fn reads(&self) -> Reads {
        Reads::Columns(self.shown.clone())
    }

    fn start(&self) -> Box<dyn Operator> {
        Box::new(Conversations {
            on: self.on,
            shown: self.shown.clone(),
            findings: self.findings.clone(),
            parameters: self.parameters.clone(),
            saved: Saved::default(),
            events: Vec::new(),
            rows: Vec::new(),
            resolved: Vec::new(),
            found: Vec::new(),
            scores: Vec::new(),
        })
    }
}

struct Conversations {
    on: Kind,
    shown: Vec<String>,
    findings: Vec<Finding>,
    parameters: Parameters,
    saved: Saved,
    /// Reused for each batch: the messages, their rows, and what the words of a row stand for.
    events: Vec<Event>,
    rows: Vec<usize>,
    resolved: Vec<Resolved>,
    found: Vec<conversation::Hit>,
    scores: Vec<f32>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Saved {
    model: Model,
    conversations: Numbers,
    commands: Numbers,
    places: Numbers,
    /// Of each command, to say what is usual.
    names: Vec<String>,
}

/// Dense numbers for hashes. Of more than there is room for, those leave that were not looked for since a hand
/// came by last ("second chance"); what was approved stays.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Numbers {
    hashes: Vec<u64>,
    looked_for: Vec<bool>,
    /// As many were there at the approval.
    approved: usize,
    hand: usize,
    left: u64,
    #[serde(skip)]
    index: FxHashMap<u64, u32>,
}

impl Numbers {
    /// The number of a hash, and whether it is a new one: then nothing of whom it was before holds.
    fn number(&mut self, hash: u64, most: usize) -> (u32, bool) {
        if let Some(&number) = self.index.get(&hash) {
            self.looked_for[number as usize] = true;
            return (number, false);
        }
        let most = if self.approved == 0 { most } else { self.approved + CANDIDATES_MAX };
        let number = if self.hashes.len() < most {
            self.hashes.push(hash);
            self.looked_for.push(true);
            self.hashes.len() - 1
        } else {
            let number = self.leaving();
            self.index.remove(&self.hashes[number]);
            (self.hashes[number], self.looked_for[number]) = (hash, true);
            self.left += 1;
            number
        };
        self.index.insert(hash, number as u32);
        (number as u32, true)
    }

    fn leaving(&mut self) -> usize {
        loop {
            if self.hand < self.approved || self.hand >= self.hashes.len() {
                self.hand = self.approved;
            }
            let at = self.hand;
            self.hand += 1;
            if !std::mem::take(&mut self.looked_for[at]) {
                return at;
            }
        }
    }

    fn build_index(&mut self) {
        self.index = self.hashes.iter().enumerate().map(|(number, hash)| (*hash, number as u32)).collect();
    }
}

/// What the words of a row stand for.
#[derive(Clone, Copy)]
struct Resolved {
    conversation: u32,
    command: u32,
    place: u32,
    writes: bool,
    begins: bool,
}

/// The columns of a batch that name conversations, commands and places.
struct Named<'a> {
    rows: &'a RecordBatch,
    protocol: Option<&'a ArrayRef>,
    operation: Option<&'a ArrayRef>,
    target: Option<&'a ArrayRef>,
    conversation: RowHashes<'a>,
    command: RowHashes<'a>,
    place: RowHashes<'a>,
    /// The same with the session.
    station_command: RowHashes<'a>,
    station_place: RowHashes<'a>,
}

impl<'a> Named<'a> {
    fn new(rows: &'a RecordBatch, on: Kind) -> Self {
        let hashes = |parts: &[&[&'static str]]| {
            let names: Vec<String> = parts.concat().into_iter().map(String::from).collect();
            let columns: Vec<&'a ArrayRef> = named(rows, &names);
            RowHashes::new(&columns)
        };
        let command = command_columns(on);
        Named {
            rows,
            protocol: rows.column_by_name("protocol"),
            operation: rows.column_by_name("operation"),
            target: rows.column_by_name("target"),
            conversation: hashes(&[&CONVERSATION]),
            command: hashes(&[&CONVERSATION, command]),
            place: hashes(&[&PLACE]),
            station_command: hashes(&[&CONVERSATION, command, &["session"]]),
            station_place: hashes(&[&PLACE, &["session"]]),
        }
    }
}

impl Saved {
    fn resolve(&mut self, named: &Named<'_>, row: usize) -> Resolved {
        let station = STATIONS.contains(&&*text_of(named.protocol, row));
        let (command, place) = match station {
            true => (&named.station_command, &named.station_place),
            false => (&named.command, &named.place),
        };
        let (conversation, new) = self.conversations.number(named.conversation.at(row), CONVERSATIONS_MAX);
        if new {
            self.model.begin_conversation(conversation);
        }
        let (command, new) = self.commands.number(command.at(row), COMMANDS_MAX);
        if new {
            self.model.begin_command(command);
            if self.names.len() <= command as usize {
                self.names.resize_with(command as usize + 1, String::new);
            }
            self.names[command as usize] =
                command_name(|column| text_of(named.rows.column_by_name(column), row));
        }
        let writes =
            WRITES.contains(&&*text_of(named.operation, row)) && !text_of(named.target, row).is_empty();
        let place = match writes {
            false => NONE,
            true => {
                let (place, new) = self.places.number(place.at(row), PLACES_MAX);
                if new {
                    self.model.begin_place(place);
                }
                place
            }
        };
        let begins = text_of(named.operation, row) == operation::SESSION_OPEN;
        Resolved { conversation, command, place, writes, begins }
    }
}

impl Conversations {
    /// The messages of a batch.
    fn read(&mut self, from: usize, rows: &RecordBatch, selected: Option<&BooleanArray>) {
        self.events.clear();
        self.rows.clear();
        self.resolved.clear();
        let columns = [&CONVERSATION[..], command_columns(self.on), &["session"]].concat();
        let columns: Vec<String> = columns.into_iter().map(String::from).collect();
        let mut groups = RowGroups::new(&named(rows, &columns));
        let names = Named::new(rows, self.on);
        let Some(times) = times_of(rows, "time") else { return };
        let value = rows.column_by_name("value").and_then(|c| c.as_primitive_opt::<Float64Type>());
        let words = rows.column_by_name("values").and_then(|c| c.as_string_opt::<i32>());
        for row in selected_rows(from, rows.num_rows(), selected) {
            let resolved = match groups.get(row) {
                Some(at) => self.resolved[at as usize],
                None => {
                    let resolved = self.saved.resolve(&names, row);
                    groups.set(row, self.resolved.len() as u32);
                    self.resolved.push(resolved);
                    resolved
                }
            };
            let number = value.filter(|value| resolved.writes && value.is_valid(row));
            let word = words.map(|words| words.value(row)).filter(|word| resolved.writes && !word.is_empty());
            let written = match (number, word) {
                (Some(numbers), _) => Written::Number(numbers.value(row)),
                (None, Some(word)) => Written::Word(hash_texts(std::iter::once(word))),
                (None, None) => Written::Nothing,
            };
            let Resolved { conversation, command, place, begins, .. } = resolved;
            self.events.push(Event { conversation, command, place, time: times[row], written, begins });
            self.rows.push(row);
        }
    }
}

impl Operator for Conversations {
    fn rows(
        &mut self,
        step: &Step<'_>,
        rows: &RecordBatch,
        selected: Option<&BooleanArray>,
        hits: &mut Vec<Hit>,
    ) {
        self.read(step.from, rows, selected);
        self.found.clear();
        self.scores.clear();
        self.saved.model.judge(&self.events, &self.parameters, &mut self.found, &mut self.scores);
        if self.found.is_empty() {
            return;
        }
        let Ok(shown) = shown_of(rows, &self.shown) else { return };
        for found in self.found.chunk_by(|a, b| a.index == b.index) {
            let mut found: Vec<_> = found.iter().filter(|f| self.findings.contains(&f.finding)).collect();
            // Equal scores stay in the order of their findings.
            found.sort_by(|a, b| b.score.total_cmp(&a.score));
            let Some(worst) = found.first() else { continue };
            let row = self.rows[worst.index as usize];
            let mut hit = hit(step, &shown, row, &[]);
            hit.key = step
                .by
                .iter()
                .map(|name| match name.as_str() {
                    "finding" => (name.clone(), worst.finding.name().to_string()),
                    column => (name.clone(), text_of(rows.column_by_name(column), row).into_owned()),
                })
                .collect();
            let why: Vec<String> = found.iter().map(|found| why(found, rows, row)).collect();
            hit.evidence.insert("finding".into(), worst.finding.name().into());
            hit.evidence.insert("why".into(), why.join("; ").into());
            let Event { conversation, place, .. } = self.events[worst.index as usize];
            let Saved { model, names, .. } = &self.saved;
            let known = known(model.usual(conversation), model.usual_values(place), names);
            hit.evidence.insert("known".into(), known.into());
            let since = found.iter().map(|found| found.since).min().unwrap_or(hit.time);
            hit.evidence.insert("since".into(), rfc3339(since).into());
            hit.evidence.insert("learned".into(), worst.learned.into());
            hit.evidence.insert("score".into(), f64::from(worst.score).into());
            for (name, number) in [("expected", worst.expected), ("seen", worst.seen)] {
                if let Some(number) = number {
                    hit.evidence.insert(name.into(), number.into());
                }
            }
            hits.push(hit.scored(f64::from(worst.score)));
        }
    }

    fn approve(&mut self) {
        let Saved { model, conversations, commands, places, .. } = &mut self.saved;
        model.approve();
        for numbers in [conversations, commands, places] {
            numbers.approved = numbers.hashes.len();
        }
    }

    fn learning(&self) -> Learning {
        let Saved { model, conversations, commands, places, .. } = &self.saved;
        let refused = conversations.left + commands.left + places.left;
        // A conversation that was seen once can be approved.
        let (keys, approved) = (conversations.hashes.len(), model.known_conversations());
        Learning { keys, ready: keys, approved, refused, nearest: None }
    }

    fn save(&self) -> Saving {
        let state = self.saved.clone();
        Box::new(move || saved(SAVED_VERSION, &state))
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), String> {
        self.saved = restored(SAVED_VERSION, "the conversations", saved)?;
        let Saved { conversations, commands, places, .. } = &mut self.saved;
        [conversations, commands, places].into_iter().for_each(Numbers::build_index);
        Ok(())
    }
}

/// The columns that hits show.
fn shown_of(rows: &RecordBatch, names: &[String]) -> Result<RecordBatch, ArrowError> {
    let columns: Vec<usize> = names.iter().filter_map(|name| rows.schema().index_of(name).ok()).collect();
    rows.project(&columns)
}

fn text_of<'a>(column: Option<&'a ArrayRef>, row: usize) -> Cow<'a, str> {
    column.map(|column| text_at(column, row)).unwrap_or_default()
}

#[cfg(test)]
mod tests;
