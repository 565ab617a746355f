//! Variables that travel in messages: which ids a report or trace has, what they are called, and
//! their values as they come.
//!
//! Definitions are followed on the wire (S2F33 reports, S2F23 traces, S1F12/S1F22/S2F30 names) and
//! count once the tool accepts them. Names come from the plant's dictionary first, from the tool
//! second; without either the id stands for itself. A report that nobody defined is counted once,
//! not guessed. Units have their normal spelling. Links of events to reports (S2F35) need no state: every report names itself.

use std::borrow::Cow;
use std::fmt::Write;

use rustc_hash::{FxHashMap, FxHashSet};
use yagura_event::rows::{ContextRow, IdentityRow, MeasuredRow, Row};
use yagura_event::units;
use yagura_event::vocabulary::coverage;

use super::cover;
use crate::secs2::Item;
use crate::{ContextName, Cx, Side};

/// Most names, reports and traces that one connection may define.
const NAMES_MAX: usize = 1 << 16;
const REPORTS_MAX: usize = 4096;
/// Most variables of one report or trace, and of all of them together.
const COLUMNS_MAX: usize = 4096;
const COLUMNS_TOTAL_MAX: usize = 1 << 16;
/// Longest name or id that is kept.
const NAME_BYTES_MAX: usize = 128;
/// Most values of one array that become samples.
const ARRAY_MAX: usize = 64;
/// Most reports without a definition, and values of context, that are remembered.
const REMEMBERED_MAX: usize = 1024;

/// What a message defines or asks for, once its reply says yes.
pub(super) enum Definition {
    /// S2F33: reports by id; no list at all deletes every report, an empty one its report.
    Reports(Vec<(String, Vec<String>)>),
    /// S2F23: a trace and its variables.
    Trace(String, Vec<String>),
    /// S1F3 and S2F13: the ids in the order of the reply's values.
    Ids(Vec<String>),
    /// S2F41 and S2F49: what a start is about.
    Start(Vec<(ContextName, String)>),
}

/// Reads the definition out of a primary message.
pub(super) fn definition(stream: u8, function: u8, item: Item<'_>) -> Option<Box<Definition>> {
    fn list(item: Option<Item<'_>>) -> impl Iterator<Item = Item<'_>> {
        item.into_iter().flat_map(|i| i.children())
    }
    Some(Box::new(match (stream, function) {
        (1, 3) | (2, 13) => Definition::Ids(ids(Some(item))),
        (2, 23) => Definition::Trace(id(item.child(0)?), ids(item.child(4))),
        (2, 33) => Definition::Reports(
            list(item.child(1))
                .take(REPORTS_MAX)
                .filter_map(|report| Some((id(report.child(0)?), ids(report.child(1)))))
                .collect(),
        ),
        (2, 41 | 49) => {
            let (command, parameters) = if function == 41 { (0, 1) } else { (2, 3) };
            let command = item.child(command)?.id().to_ascii_uppercase();
            if !command.contains("START") && !command.contains("SELECT") {
                return None;
            }
            Definition::Start(
                list(item.child(parameters))
                    .filter_map(|p| Some((context_named(&p.child(0)?.id())?, id(p.child(1)?))))
                    .collect(),
            )
        }
        _ => return None,
    }))
}

fn id(item: Item<'_>) -> String {
    let mut id = item.id();
    id.truncate(id.floor_char_boundary(NAME_BYTES_MAX));
    id
}

/// The ids of a list, or of an array of numbers.
fn ids(item: Option<Item<'_>>) -> Vec<String> {
    match item {
        Some(item) if item.is_list() => item.children().take(COLUMNS_MAX).map(id).collect(),
        Some(item) if item.text().is_none() => {
            (0..item.count().min(COLUMNS_MAX)).filter_map(|i| item.number(i)).map(|n| n.to_string()).collect()
        }
        Some(item) => vec![id(item)],
        None => Vec::new(),
    }
}

/// What a variable or parameter of that name says about the tool.
fn context_named(name: &str) -> Option<ContextName> {
    let plain: String =
        name.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_lowercase()).collect();
    Some(match plain.as_str() {
        "lotid" | "lotname" | "lot" => ContextName::Lot,
        "ppid" | "ppexecname" | "recipe" | "recipeid" | "recipename" | "rcpspec" => ContextName::Recipe,
        "step" | "stepid" | "stepno" | "stepnumber" | "stepname" | "recipestep" => ContextName::Step,
        "chamber" | "chamberid" | "moduleid" => ContextName::Chamber,
        _ => return None,
    })
}

/// A variable as its rows name it.
struct Column {
    id: String,
    signal: String,
    unit: String,
    class: String,
    chamber: String,
    context: Option<ContextName>,
    source: String,
}

/// The variables of a report, a trace or a request, named once.
#[derive(Default)]
struct Columns {
    generation: u64,
    columns: Vec<Column>,
}

/// What one connection has said about its variables.
#[derive(Default)]
pub(super) struct Variables {
    model: String,
    revision: String,
    /// Name and unit by id.
    names: FxHashMap<String, (String, String)>,
    /// Grows when a name becomes known, so that columns are named anew.
    generation: u64,
    reports: FxHashMap<String, Columns>,
    traces: FxHashMap<String, Columns>,
    /// Ids of the tool's status variables in its own order (S1F12), for a request of all of them.
    all: Vec<String>,
    columns_total: usize,
    unknown: FxHashSet<String>,
    contexts: FxHashMap<(String, ContextName), String>,
    scratch: String,
    key: String,
}

impl Variables {
    /// MDLN, as far as the tool has said it.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// S1F13 of a tool, S1F2, S1F14: model and software revision.
    pub fn identity(
        &mut self,
        cx: &mut Cx<'_>,
        end: Side,
        primary: Option<Item<'_>>,
        reply: Option<Item<'_>>,
    ) {
        let pair = match (primary, reply) {
            (Some(item), _) => Some(item),
            // S1F14 has the pair behind COMMACK, S1F2 is the pair.
            (None, Some(item)) => match item.child(0) {
                Some(first) if first.text().is_none() => item.child(1),
                _ => Some(item),
            },
            _ => None,
        };
        let Some((model, revision)) = pair.and_then(|p| Some((p.child(0)?.text()?, p.child(1)?.text()?)))
        else {
            return;
        };
        let tool = cx.flow.end(end);
        cx.out.push(Row::Identity(&IdentityRow {
            time: cx.time,
            observed: cx.observed,
            address: &tool.address,
            tool: tool.name(),
            protocol: "hsms",
            model: &model,
            firmware: &revision,
            ..IdentityRow::default()
        }));
        if *model != *self.model || *revision != *self.revision {
            self.model = model.chars().take(NAME_BYTES_MAX).collect();
            self.revision = revision.chars().take(NAME_BYTES_MAX).collect();
            self.generation += 1;
        }
    }

    /// A reply accepted what its primary message defined, or has the values that it asked for.
    pub fn accepted(
        &mut self,
        cx: &mut Cx<'_>,
        end: Side,
        message: (u8, u8),
        definition: Option<Definition>,
        reply: Option<Item<'_>>,
        function: &str,
    ) {
        match (message, reply) {
            ((1, 11), Some(list)) => self.learn(list, (1, Some(2)), true),
            ((1, 21), Some(list)) => self.learn(list, (1, Some(2)), false),
            ((2, 29), Some(list)) => self.learn(list, (1, Some(5)), false),
            _ => {}
        }
        match definition {
            None => {}
            Some(Definition::Reports(reports)) => self.define(reports),
            Some(Definition::Trace(id, ids)) => {
                self.drop_columns(true, &id);
                if let Some(columns) = self.columns(ids, "SVID") {
                    self.traces.insert(id, columns);
                }
            }
            Some(Definition::Ids(mut ids)) => {
                let Some(list) = reply else { return };
                if ids.is_empty() && message == (1, 3) {
                    ids = self.all.clone();
                }
                if ids.len() == list.count() && list.is_list() {
                    let prefix = if message == (1, 3) { "SVID" } else { "ECID" };
                    let mut columns = Columns { generation: u64::MAX, columns: named_by_id(ids, prefix) };
                    self.name(cx, end, &mut columns);
                    self.values(cx, end, &columns.columns, list.children(), function);
                }
            }
            Some(Definition::Start(context)) => {
                for (name, value) in context {
                    self.context(cx, end, "", name, &value, function);
                }
            }
        }
    }

    /// S6F1: TRID, SMPLN, STIME and the values, perhaps several groups of them.
    pub fn trace(&mut self, cx: &mut Cx<'_>, end: Side, item: Item<'_>) {
        let (Some(trace), Some(values)) = (item.child(0), item.child(3)) else {
            return;
        };
        let trace = id(trace);
        if let Some((key, mut columns)) = self.traces.remove_entry(&trace) {
            let width = columns.columns.len();
            if width > 0 && values.count().is_multiple_of(width) {
                self.name(cx, end, &mut columns);
                let mut group = values.children();
                for _ in 0..values.count() / width {
                    self.values(cx, end, &columns.columns, group.clone().take(width), "S6F1");
                    group.nth(width - 1);
                }
                self.traces.insert(key, columns);
                return;
            }
            self.traces.insert(key, columns);
        }
        // Nobody was seen to define it: its values are known by their places.
        let tool = cx.flow.end(end);
        let source = format!("hsms {} TRID {trace}", tool.address);
        for (index, value) in values.children().enumerate().take(COLUMNS_MAX) {
            self.scratch.clear();
            let _ = write!(self.scratch, "TRID {trace}/{}", index + 1);
            if value.count() == 1
                && let Some(number) = value.number(0)
            {
                cx.out.push(Row::Measured(&MeasuredRow {
                    tool: tool.name(),
                    signal: &self.scratch,
                    source: &source,
                    time: cx.time,
                    observed: cx.observed,
                    value: number,
                    ..MeasuredRow::default()
                }));
            }
        }
    }

    /// S6F11 (and S6F16, and S6F13 whose values carry their ids): DATAID, CEID and the reports.
    pub fn report(&mut self, cx: &mut Cx<'_>, end: Side, item: Item<'_>, annotated: bool) {
        let Some(event) = item.child(1).map(id) else {
            return;
        };
        for report in item.child(2).into_iter().flat_map(|list| list.children()) {
            let (Some(number), Some(values)) = (report.child(0), report.child(1)) else {
                continue;
            };
            self.key.clear();
            number.push_id(&mut self.key);
            let source = |key: &str| format!("S6F11 CEID={event} RPTID={key}");
            if annotated {
                let ids = values.children().take(COLUMNS_MAX).filter_map(|v| Some(id(v.child(0)?))).collect();
                let mut columns = Columns { generation: u64::MAX, columns: named_by_id(ids, "VID") };
                self.name(cx, end, &mut columns);
                let source = source(&self.key);
                self.values(cx, end, &columns.columns, values.children().filter_map(|v| v.child(1)), &source);
                continue;
            }
            let key = std::mem::take(&mut self.key);
            match self.reports.remove_entry(key.as_str()) {
                Some((id, mut columns)) if columns.columns.len() == values.count() => {
                    self.name(cx, end, &mut columns);
                    self.values(cx, end, &columns.columns, values.children(), &source(&key));
                    self.reports.insert(id, columns);
                }
                other => {
                    let known = other.is_some();
                    self.reports.extend(other);
                    if self.unknown.len() < REMEMBERED_MAX && !self.unknown.contains(&key) {
                        let why = if known {
                            "has another number of values than was defined"
                        } else {
                            "was not seen to be defined"
                        };
                        let detail = format!("report {key} of event {event} {why}: its values are not named");
                        cover(cx, end, coverage::UNKNOWN, values.count() as u64, &detail);
                        self.unknown.insert(key.clone());
                    }
                }
            }
            self.key = key;
        }
    }

    /// Names and units out of a list of lists that begin with the id.
    fn learn(&mut self, list: Item<'_>, (name, unit): (usize, Option<usize>), status: bool) {
        if status {
            self.all = list.children().take(COLUMNS_MAX).filter_map(|v| Some(id(v.child(0)?))).collect();
        }
        for variable in list.children() {
            if self.names.len() >= NAMES_MAX {
                break;
            }
            let (Some(number), Some(text)) = (variable.child(0), variable.child(name)) else {
                continue;
            };
            let text = id(text);
            if !text.is_empty() {
                let unit = unit.and_then(|place| variable.child(place)).map(id).unwrap_or_default();
                self.names.insert(id(number), (text, unit));
            }
        }
        self.generation += 1;
    }

    fn define(&mut self, reports: Vec<(String, Vec<String>)>) {
        if reports.is_empty() {
            self.columns_total -= self.reports.values().map(|c| c.columns.len()).sum::<usize>();
            self.reports.clear();
        }
        for (id, ids) in reports {
            self.drop_columns(false, &id);
            self.unknown.remove(&id);
            if !ids.is_empty()
                && self.reports.len() < REPORTS_MAX
                && let Some(columns) = self.columns(ids, "VID")
            {
                self.reports.insert(id, columns);
            }
        }
    }

    fn drop_columns(&mut self, trace: bool, id: &str) {
        let old = if trace { self.traces.remove(id) } else { self.reports.remove(id) };
        self.columns_total -= old.map_or(0, |c| c.columns.len());
    }

    /// Columns to keep, unless there are too many already.
    fn columns(&mut self, ids: Vec<String>, prefix: &str) -> Option<Columns> {
        if self.columns_total + ids.len() > COLUMNS_TOTAL_MAX || self.traces.len() >= REPORTS_MAX {
            return None;
        }
        self.columns_total += ids.len();
        Some(Columns { generation: u64::MAX, columns: named_by_id(ids, prefix) })
    }

    /// Gives columns the names that are known by now.
    fn name(&self, cx: &Cx<'_>, end: Side, columns: &mut Columns) {
        if columns.generation == self.generation {
            return;
        }
        columns.generation = self.generation;
        let tool = cx.flow.end(end);
        for column in &mut columns.columns {
            if !column.source.starts_with("hsms ") {
                column.source = format!("hsms {} {}", tool.address, column.source);
            }
            if let Some((name, unit)) = self.names.get(&column.id) {
                column.signal.clone_from(name);
                column.unit.clone_from(unit);
                column.context = context_named(name);
            }
            if let Some(known) = cx.settings.dictionary.variable(&tool.asset, &self.model, &column.id) {
                for (to, from) in [
                    (&mut column.signal, &known.name),
                    (&mut column.unit, &known.unit),
                    (&mut column.class, &known.class),
                    (&mut column.chamber, &known.chamber),
                ] {
                    if !from.is_empty() {
                        to.clone_from(from);
                    }
                }
                column.context = known.context.or(column.context);
            }
            if let Cow::Owned(unit) = units::normal(&column.unit) {
                column.unit = unit;
            }
        }
    }

    /// Values as samples, and those that say what the tool works on as context.
    fn values<'a>(
        &mut self,
        cx: &mut Cx<'_>,
        end: Side,
        columns: &[Column],
        values: impl Iterator<Item = Item<'a>> + Clone,
        source: &str,
    ) {
        let chamber = columns
            .iter()
            .zip(values.clone())
            .find(|(c, _)| c.context == Some(ContextName::Chamber))
            .map(|(_, v)| id(v))
            .unwrap_or_default();
        let tool = cx.flow.end(end);
        for (column, value) in columns.iter().zip(values) {
            let chamber = if column.chamber.is_empty() { &chamber } else { &column.chamber };
            if let Some(name) = column.context {
                if name != ContextName::Chamber {
                    self.context(cx, end, chamber, name, &id(value), source);
                }
                continue;
            }
            let mut row = MeasuredRow {
                tool: tool.name(),
                chamber,
                signal: &column.signal,
                unit: &column.unit,
                class: &column.class,
                source: &column.source,
                time: cx.time,
                observed: cx.observed,
                ..MeasuredRow::default()
            };
            if value.count() == 1 {
                if let Some(number) = value.number(0) {
                    row.value = number;
                    cx.out.push(Row::Measured(&row));
                }
                continue;
            }
            for index in 0..value.count().min(ARRAY_MAX) {
                let Some(number) = value.number(index) else {
                    break;
                };
                self.scratch.clear();
                let _ = write!(self.scratch, "{}[{index}]", column.signal);
                row.value = number;
                cx.out.push(Row::Measured(&MeasuredRow { signal: &self.scratch, ..row }));
            }
        }
    }

    /// A context row, when the value is another than before.
    fn context(
        &mut self,
        cx: &mut Cx<'_>,
        end: Side,
        chamber: &str,
        name: ContextName,
        value: &str,
        source: &str,
    ) {
        let key = (chamber.to_string(), name);
        if self.contexts.get(&key).is_some_and(|old| old == value) {
            return;
        }
        if self.contexts.len() >= REMEMBERED_MAX && !self.contexts.contains_key(&key) {
            self.contexts.clear();
        }
        self.contexts.insert(key, value.to_string());
        cx.out.push(Row::Context(&ContextRow {
            time: cx.time,
            observed: cx.observed,
            tool: cx.flow.end(end).name(),
            chamber,
            name: match name {
                ContextName::Lot => "lot",
                ContextName::Recipe => "recipe",
                ContextName::Step => "step",
                ContextName::Chamber => "chamber",
            },
            value,
            source,
            ..ContextRow::default()
        }));
    }
}

fn named_by_id(ids: Vec<String>, prefix: &str) -> Vec<Column> {
    ids.into_iter()
        .map(|id| {
            let signal = format!("{prefix} {id}");
            Column {
                source: signal.clone(),
                id,
                signal,
                unit: String::new(),
                class: String::new(),
                chamber: String::new(),
                context: None,
            }
        })
        .collect()
}
