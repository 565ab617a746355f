//! `model: group`: the signals of a tool, a chamber or whatever `by` names, judged together. Samples become rows, one
//! each period of device time; each (key, context) has a model of its own.
//!
//! A row is closed by the first sample that is two periods later, so signals may come a period apart. A signal that
//! says nothing keeps its last value for a minute of rows, as devices report on change; then it is missing.
//!
//! Distance and worst signal are one score of the model, so that what one cause does to several signals is one alarm. It
//! is told when it begins (see [`yagura_models::alarm`]); while it lasts, it is told again once it has come far, and
//! every ten minutes. What was told becomes one alert and its revisions in [`crate::alerts`]: there is the quiet time,
//! and how far and how long an alarm went raises the alert's severity.
//!
//! With a `budget` an alarm begins when its incident is told (see `budgeted.rs`): the limits of all groups of all cells
//! are then set together, by how rare their scores are. Drift, which a group tells once, has no part in it.
//!
//! Recorded maintenance may have moved levels: they are taken anew from the next [`MAINTAINED_ROWS`] rows, which are not
//! judged, within a limit that counts from what was approved.
//!
//! Memory, bounded by the number of groups and signals: while learning, 4 bytes for each value of the last 4,096 rows; then the model's (about 40 KiB for 20
//! signals, 500 KiB for 100) and a minute of rows for the picture.

use std::collections::VecDeque;

use ndarray::{Array2, ArrayView2};
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use serde_saphyr::Spanned;
use yagura_event::Kind;
use yagura_event::clock::{self, Micros, SECOND};
use yagura_models::alarm::{Alarm, Rarity};
use yagura_models::fleet::{Budget, Factors, Tail};
use yagura_models::group::{self, Group, Parameters, Statistic, Verdict, Work};
use yagura_models::incident::Candidate;

use super::around::Around;
use super::budgeted::{self, Budgeted, FACTOR_MIN};
use super::matched::sample_hit;
use super::members::{Members, Places};
use super::model;
use super::{Learning, Operator, Plan, Rows, Samples, Saving, Step, Which, at, restored, saved};
use crate::alerts::{Deviation, FAR, Hit};
use crate::baseline::{Entry, Form, Span};
use crate::blocks::Blocks;
use crate::pipeline::{ModelSpec, PipelineError, Place, Written};
use crate::shard::Series;

mod reference;

use reference::Waiting;

/// The most groups in a cell.
const GROUPS_MAX: usize = 20_000;
/// Rows that are learned from, the newest.
const LEARN_ROWS: usize = 4096;
/// Rows that there must be before a group can be approved; more of many signals, see [`group::rows_wanted`].
const WARM_UP_ROWS: usize = 300;
/// Rows after recorded maintenance from which levels are taken.
const MAINTAINED_ROWS: usize = 60;
/// Rows for which a signal's last value holds.
const HOLD: i64 = 60;
/// Rows that are shown with a finding.
const SHOWN: usize = 60;
/// Signals that are named with a finding.
const NAMED: usize = 3;
/// An alarm that lasts is told again when it has come far (see [`FAR`]), and after so long.
const AGAIN: Micros = 600 * SECOND;
/// Version of the saved state's form.
const SAVED_VERSION: u16 = 3;
/// A column without a value.
const NOTHING: (f64, i64) = (f64::NAN, i64::MIN);

/// What a group's rows give away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Finding {
    /// Signals do not go together as learned.
    Relation,
    /// One signal is far from what the others make expected.
    Signal,
    /// What is expected has drifted from what was approved.
    Drift,
}

const FINDINGS: [Finding; 3] = [Finding::Relation, Finding::Signal, Finding::Drift];

impl Finding {
    fn name(self) -> &'static str {
        match self {
            Finding::Relation => "relation",
            Finding::Signal => "signal",
            Finding::Drift => "drift",
        }
    }
}

pub(super) fn read(
    place: &Place<'_>,
    on: Kind,
    spec: &Spanned<ModelSpec>,
    written: &Written<'_>,
) -> Result<Box<dyn Plan>, Vec<PipelineError>> {
    let mut errors = Vec::new();
    let context = model::contexts(place, on, spec, &mut errors);
    let findings = model::findings(place, &spec.value, &FINDINGS, Finding::name, &mut errors);
    let parameters: Parameters = model::parameters(place, &spec.value, &mut errors);
    let budget = budgeted::read(place, &spec.value, &mut errors);
    if !(parameters.period_s >= 1e-6 && parameters.period_s <= 86_400.0) {
        errors.extend(at(place, spec, "`period_s` is the distance of rows in seconds, up to a day".into()));
    }
    match errors.is_empty() {
        true => {
            let by = model::together(written);
            Ok(Box::new(GroupPlan { by, context, findings, parameters, budget }))
        }
        false => Err(errors),
    }
}

struct GroupPlan {
    by: Vec<String>,
    context: Vec<String>,
    findings: Vec<Finding>,
    parameters: Parameters,
    budget: Option<Budget>,
}

impl Plan for GroupPlan {
    fn describe(&self) -> String {
        format!("group {:?} {:?} {:?} {:?}", self.context, self.findings, self.parameters, self.budget)
    }

    fn budget(&self) -> Option<&Budget> {
        self.budget.as_ref()
    }

    fn start(&self) -> Box<dyn Operator> {
        Box::new(Groups {
            by: self.by.clone(),
            context: self.context.clone(),
            findings: self.findings.clone(),
            period: (self.parameters.period_s * 1e6) as i64,
            parameters: self.parameters.clone(),
            index: FxHashMap::default(),
            base: self.budget.as_ref().map_or(f64::INFINITY, budgeted::base),
            saved: Saved { budgeted: self.budget.as_ref().map(Budgeted::new), ..Saved::default() },
            row: Vec::new(),
            work: Work::default(),
        })
    }
}

struct Groups {
    by: Vec<String>,
    context: Vec<String>,
    findings: Vec<Finding>,
    /// Microseconds.
    period: i64,
    parameters: Parameters,
    index: FxHashMap<Vec<String>, u32>,
    /// From where on incidents are followed, where there is a budget.
    base: f64,
    saved: Saved,
    /// Reused for each row.
    row: Vec<f64>,
    work: Work,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Saved {
    /// By the shard's series number: the group and the signal's column in it.
    places: Places<(u32, u16)>,
    groups: Vec<OneGroup>,
    refused: u64,
    span: Span,
    waiting: Waiting,
    /// Where there is a budget.
    budgeted: Option<Budgeted>,
}

/// One (key, context).
#[derive(Clone, Serialize, Deserialize)]
struct OneGroup {
    /// The values of `by` and of the context.
    key: Vec<String>,
    members: Members,
    /// Each column's last value and the period that it came in.
    last: Vec<(f64, i64)>,
    /// The period whose row is open, and the values of the one behind it.
    open: Option<i64>,
    early: Vec<(f64, i64)>,
    /// Rows while it learns, the newest [`LEARN_ROWS`].
    rows: VecDeque<Vec<f32>>,
    model: Option<Group>,
    /// The last rows of every column, seen and expected.
    shown: VecDeque<Vec<(f32, f32)>>,
    /// The alarm that is on.
    told: Option<Told>,
    drifted: bool,
    /// Rows since maintenance was recorded, until there are enough.
    maintained: Option<Vec<Vec<f32>>>,
    /// The levels that a person approved, once maintenance moved them.
    approved_levels: Option<Vec<f64>>,
}

/// An alarm that is on, as it was told.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Told {
    /// When its first row was, by the device's clock, and the last that was told.
    since: Micros,
    last: Micros,
    /// The highest score that was told, and how many times the calibrated limit was in force.
    score: f64,
    factor: f64,
    /// The column under which it was told.
    signal: usize,
}

impl OneGroup {
    fn new(key: Vec<String>) -> OneGroup {
        OneGroup {
            key,
            members: Members::default(),
            last: Vec::new(),
            open: None,
            early: Vec::new(),
            rows: VecDeque::new(),
            model: None,
            shown: VecDeque::new(),
            told: None,
            drifted: false,
            maintained: None,
            approved_levels: None,
        }
    }

    /// The column of a series; a model that is in force takes no further ones.
    fn column(&mut self, number: u32, signal: &str) -> Option<u16> {
        let known = self.members.len();
        let most = if self.model.is_some() { known } else { group::SIGNALS_MAX };
        let column = self.members.column(number, signal, most)?;
        if self.members.len() > known {
            self.last.push(NOTHING);
            self.early.push(NOTHING);
        }
        Some(column)
    }

    /// Judges by this model of these signals from now on, whatever was learned.
    fn refer_to(&mut self, names: Vec<String>, mut model: Group) {
        (self.last, self.early) = (vec![NOTHING; names.len()], vec![NOTHING; names.len()]);
        self.members.become_those(names);
        model.begin_anew();
        self.model = Some(model);
        (self.open, self.told, self.drifted) = (None, None, false);
        (self.maintained, self.approved_levels) = (None, None);
        self.rows.clear();
        self.shown.clear();
    }

    /// Takes a value of a period in. One that is later than the period behind the open one waits: the open row is to
    /// be closed first.
    fn take(&mut self, column: u16, value: f64, period: i64) -> bool {
        let open = *self.open.get_or_insert(period);
        // Late ones of the row that is open count; a row that is closed stays as it was.
        let into = match period.saturating_sub(open) {
            0 => &mut self.last,
            1 => &mut self.early,
            ahead => return ahead < 0,
        };
        if let Some(last) = into.get_mut(usize::from(column)) {
            *last = (value, period);
        }
        true
    }

    /// The row of the open period; the one behind it is open then.
    fn close(&mut self, row: &mut Vec<f64>) {
        let closed = self.open.unwrap_or_default();
        let held = |&(value, period): &(f64, i64)| {
            if closed.saturating_sub(period) <= HOLD { value } else { f64::NAN }
        };
        row.clear();
        row.extend(self.last.iter().map(held));
        let next = closed.saturating_add(1);
        self.open = Some(next);
        let early = self.last.iter_mut().zip(&self.early).filter(|(_, early)| early.1 == next);
        early.for_each(|(last, early)| *last = *early);
    }

    /// What came before does not count.
    fn begin(&mut self) {
        self.open = None;
        self.last.fill(NOTHING);
        self.early.fill(NOTHING);
        self.told = None;
        if let Some(model) = &mut self.model {
            model.begin();
        }
    }

    /// Judges or learns the row that was closed; answers what is to be told of it.
    fn judge(
        &mut self,
        row: &[f64],
        work: &mut Work,
        parameters: &Parameters,
        mut held: Option<Held<'_>>,
    ) -> Option<Found> {
        if self.maintained.is_some() {
            self.take_maintained(row, parameters);
            return None;
        }
        let Some(model) = &mut self.model else {
            let mut kept = oldest(&mut self.rows, LEARN_ROWS);
            kept.extend(row.iter().map(|&value| value as f32));
            self.rows.push_back(kept);
            return None;
        };
        let row = ArrayView2::from_shape((1, row.len()), row).ok()?;
        let closed = self.open.unwrap_or_default().saturating_sub(1);
        let now = closed.saturating_mul((parameters.period_s * 1e6) as i64);
        let (shown, told, drifted) = (&mut self.shown, &mut self.told, &mut self.drifted);
        let mut found = None;
        model.judge(row, parameters, work, |_, verdict, model| {
            let mut pairs = oldest(shown, SHOWN);
            pairs.extend(row.iter().enumerate().map(|(i, &seen)| (seen as f32, model.expected(i) as f32)));
            shown.push_back(pairs);
            let (signal, drift) = model.drift(parameters);
            let finding = match verdict.statistic {
                Statistic::Distance => Finding::Relation,
                Statistic::Signal(_) => Finding::Signal,
            };
            let (alarm, factor) = match &mut held {
                Some(held) => held.alarm(&verdict, finding, now, told.as_ref()),
                None => (verdict.alarm, f64::from(verdict.factor)),
            };
            let score = f64::from(verdict.score) / factor;
            match (alarm, &mut *told) {
                (Alarm::Off, _) => *told = None,
                (Alarm::Lasts, Some(told)) if told.is_due(now, score) => {
                    (told.last, told.score) = (now, told.score.max(score));
                    let Told { since, signal, .. } = *told;
                    found = Some(Found { finding, score, factor, signal, since, last: now });
                }
                (Alarm::Lasts, Some(_)) => {}
                (Alarm::Begins | Alarm::Lasts, _) => {
                    let signal = model.shares().first().map_or(0, |share| share.signal);
                    *told = Some(Told { since: now, last: now, score, factor, signal });
                    found = Some(Found { finding, score, factor, signal, since: now, last: now });
                }
            }
            if found.is_none() && drift >= 1.0 && !*drifted {
                *drifted = true;
                let finding = Finding::Drift;
                found = Some(Found { finding, score: drift, factor: 1.0, signal, since: now, last: now });
            }
        });
        found
    }

    /// Levels are taken anew from the next rows, if it judges.
    fn maintain(&mut self) -> bool {
        let Some(model) = &self.model else { return false };
        self.approved_levels.get_or_insert_with(|| model.levels().map(|(level, _)| level).collect());
        self.maintained = Some(Vec::new());
        self.told = None;
        true
    }

    /// Takes a row after maintenance.
    fn take_maintained(&mut self, row: &[f64], parameters: &Parameters) {
        let Some(rows) = &mut self.maintained else { return };
        rows.push(row.iter().map(|&value| value as f32).collect());
        if rows.len() < MAINTAINED_ROWS {
            return;
        }
        if let (Some(model), Some(approved)) = (&mut self.model, &self.approved_levels) {
            let rows = Array2::from_shape_fn((rows.len(), model.width()), |(t, i)| {
                rows[t].get(i).map_or(f64::NAN, |&value| f64::from(value))
            });
            model.move_levels(approved, rows.view(), parameters);
        }
        self.maintained = None;
    }

    /// Rows that it must have before it can be approved.
    fn rows_needed(&self) -> usize {
        group::rows_wanted(self.members.len()).clamp(WARM_UP_ROWS, LEARN_ROWS)
    }

    /// What approving it now would put in force; none while it has too few rows.
    fn proposal(&self, parameters: &Parameters) -> Option<Group> {
        if let Some(model) = &self.model {
            let mut model = model.clone();
            model.accept_drift();
            return Some(model);
        }
        if self.rows.len() < self.rows_needed() {
            return None;
        }
        // Rows of a time when fewer signals were known lack the others.
        let rows = Array2::from_shape_fn((self.rows.len(), self.members.len()), |(t, i)| {
            self.rows[t].get(i).map_or(f64::NAN, |&value| f64::from(value))
        });
        Group::fit(rows.view(), parameters).ok()
    }

    fn approve(&mut self, parameters: &Parameters) {
        let Some(mut model) = self.proposal(parameters) else { return };
        if self.model.is_none() {
            model.begin();
            self.rows = VecDeque::new();
        }
        self.model = Some(model);
        self.drifted = false;
        (self.maintained, self.approved_levels) = (None, None);
    }
}

/// What a budget has to do with the rows of a group.
struct Held<'a> {
    budgeted: &'a mut Budgeted,
    /// The group's number.
    key: u64,
    base: f64,
    rarity: Rarity,
    findings: &'a [Finding],
}

impl Held<'_> {
    /// What a row means for the alarm: it begins when the group's incident is told, and lasts until a score is back at the
    /// calibrated limit; and how many times that limit is in force.
    fn alarm(
        &mut self,
        verdict: &Verdict,
        finding: Finding,
        time: Micros,
        told: Option<&Told>,
    ) -> (Alarm, f64) {
        let (score, decade) = (f64::from(verdict.score), f64::from(verdict.decade));
        let rare = self.rarity.of(score, decade);
        if rare >= self.base && self.findings.contains(&finding) {
            let candidate = Candidate { key: self.key, time, finding: finding as u8, score: rare as f32 };
            if let Some(incident) = self.budgeted.observe(&candidate) {
                let factor = self.rarity.score(f64::from(incident.limit), decade);
                return (Alarm::Begins, factor.max(FACTOR_MIN));
            }
        }
        match told {
            Some(told) if score > told.factor.min(1.0) => (Alarm::Lasts, told.factor),
            _ => (Alarm::Off, 1.0),
        }
    }
}

/// The oldest of so many, empty and with its room; a new one while there are fewer.
fn oldest<T>(kept: &mut VecDeque<Vec<T>>, most: usize) -> Vec<T> {
    let mut oldest = if kept.len() >= most { kept.pop_front().unwrap_or_default() } else { Vec::new() };
    oldest.clear();
    oldest
}

impl Told {
    /// Whether an alarm that lasts is told again.
    fn is_due(&self, now: Micros, score: f64) -> bool {
        (score >= FAR && self.score < FAR) || now.saturating_sub(self.last) >= AGAIN
    }
}

/// What is told of a row.
struct Found {
    finding: Finding,
    /// By the limit in force, which is so many times the calibrated one.
    score: f64,
    factor: f64,
    signal: usize,
    /// When it began, and when this row was.
    since: Micros,
    last: Micros,
}

impl Groups {
    fn resolve(&mut self, number: u32, series: &Series) -> Option<(u32, u16)> {
        let context = self.context.iter().map(|name| series.context.get(name).cloned().unwrap_or_default());
        let key: Vec<String> =
            self.by.iter().map(|name| series.text(name).to_string()).chain(context).collect();
        let at = match self.index.get(&key) {
            Some(&at) => at,
            None if self.saved.groups.len() >= GROUPS_MAX => {
                self.saved.refused += 1;
                return None;
            }
            None => {
                let at = self.saved.groups.len() as u32;
                let mut one = OneGroup::new(key.clone());
                if let Some((names, model)) = self.saved.waiting.remove(&key) {
                    one.refer_to(names, model);
                }
                self.saved.groups.push(one);
                self.index.insert(key, at);
                at
            }
        };
        let one = self.saved.groups.get_mut(at as usize);
        one.and_then(|one| one.column(number, &series.signal)).map(|column| (at, column))
    }

    fn explain(one: &OneGroup, found: &Found, row: &[f64], period_s: f64) -> Map<String, Value> {
        let shares = one.model.as_ref().map(Group::shares).unwrap_or_default();
        let name = |signal: usize| one.members.name(signal);
        let named = shares.iter().filter(|share| share.signal == found.signal);
        let named = named.chain(shares.iter().filter(|share| share.signal != found.signal)).take(NAMED);
        let signals: Vec<Value> = named
            .map(|share| {
                json!({
                    "signal": name(share.signal), "seen": row.get(share.signal), "expected": share.expected,
                    "deviation": share.deviation, "share": share.share,
                })
            })
            .collect();
        let around = |which: fn(&(f32, f32)) -> f32| -> Vec<f64> {
            one.shown.iter().filter_map(|row| row.get(found.signal).map(which)).map(f64::from).collect()
        };
        let lasted = found.last.saturating_sub(found.since) / (period_s * 1e6).max(1.0) as Micros;
        let around = Around {
            period_s,
            seen: around(|pair| pair.0),
            expected: around(|pair| pair.1),
            deviation: None,
            marked: usize::try_from(lasted + 1).unwrap_or_default(),
        };
        let mut more = Map::new();
        let first = signals.first().cloned().unwrap_or_default();
        for key in ["seen", "expected", "deviation"] {
            more.insert(key.into(), first[key].clone());
        }
        more.insert("finding".into(), found.finding.name().into());
        more.insert("score".into(), found.score.into());
        more.insert("factor".into(), found.factor.into());
        more.insert("since".into(), clock::rfc3339(found.since).into());
        more.insert("signals".into(), signals.into());
        more.insert("around".into(), around.told());
        more
    }
}

impl Operator for Groups {
    fn samples(&mut self, step: &Step<'_>, samples: &Samples<'_>, all: &Blocks<Series>, hits: &mut Vec<Hit>) {
        let rarity = Rarity::new(86_400.0 / self.parameters.period_s, self.parameters.nominal);
        let mut taken = 0;
        for row in step.from..samples.series.len() {
            let number = samples.series[row];
            let place = self.saved.places.of(number).unwrap_or_else(|_| {
                let place = all.get(number as usize).and_then(|series| self.resolve(number, series));
                self.saved.places.put(number, place)
            });
            let Some(place) = place else { continue };
            let Some(one) = self.saved.groups.get_mut(place.0 as usize) else { continue };
            taken += 1;
            let value = if samples.quality[row] < 2 { samples.values[row] } else { f64::NAN };
            let period = samples.times[row].div_euclid(self.period.max(1));
            while !one.take(place.1, value, period) {
                // A pause is no row after row of held values: the model begins anew behind it.
                let paused = one.open.is_some_and(|open| period.saturating_sub(open) > HOLD);
                one.close(&mut self.row);
                let (key, base, findings) = (u64::from(place.0), self.base, &self.findings[..]);
                let held = self.saved.budgeted.as_mut();
                let held = held.map(|budgeted| Held { budgeted, key, base, rarity, findings });
                if let Some(found) = one.judge(&self.row, &mut self.work, &self.parameters, held)
                    && self.findings.contains(&found.finding)
                    && let Some(series) = one.members.series(found.signal, all)
                {
                    let more = Self::explain(one, &found, &self.row, self.parameters.period_s);
                    let deviation = Deviation { score: found.score, since: found.since, last: found.last };
                    hits.push(sample_hit(step, samples, row, series, more).deviating(deviation));
                }
                if paused {
                    one.begin();
                }
            }
        }
        self.saved.span.add(step.envelope.observed, taken);
    }

    fn series(&mut self, number: u32, selected: bool) {
        self.saved.places.select(number, selected);
    }

    fn context(&mut self, series: &[u32]) {
        if self.context.is_empty() {
            return;
        }
        for &number in series {
            // The group that is left, and the one that is come to, have no past that counts.
            if let Some((at, _)) = self.saved.places.leave(number)
                && let Some(one) = self.saved.groups.get_mut(at as usize)
            {
                one.begin();
            }
        }
    }

    fn approve(&mut self) {
        for one in &mut self.saved.groups {
            one.approve(&self.parameters);
        }
    }

    fn form(&self) -> Option<Form> {
        Some(self.form_of())
    }

    fn learned(&self, which: Which, _: &Blocks<Series>) -> (Span, Vec<Entry>) {
        (self.saved.span, self.entries(which))
    }

    fn put_in_force(&mut self, entries: &[Entry], _: &Blocks<Series>) -> Result<(), String> {
        self.judge_by(entries)
    }

    fn maintain(&mut self, keys: &Map<String, Value>, _: &Blocks<Series>) -> usize {
        self.maintain_those(keys)
    }

    fn called_false(&mut self, keys: &Map<String, Value>, _: &Blocks<Series>) {
        let meant = self.meant(keys);
        if let Some(budgeted) = &mut self.saved.budgeted {
            budgeted.called_false(&meant);
        }
    }

    fn advance(&mut self, step: &Step<'_>, _: &Blocks<Series>, _: &mut Vec<Hit>) {
        let Saved { budgeted, groups, .. } = &mut self.saved;
        if let Some(budgeted) = budgeted {
            budgeted.advance(step.watermark, || groups.iter().filter(|one| one.model.is_some()).count());
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
        let groups = &self.saved.groups;
        let approved = groups.iter().filter(|one| one.model.is_some()).count();
        let learning = groups.iter().filter(|one| one.model.is_none());
        let rows = learning.map(|one| Rows { seen: one.rows.len(), needed: one.rows_needed() });
        let (ready, lacking): (Vec<Rows>, Vec<Rows>) = rows.partition(|rows| rows.seen >= rows.needed);
        let (ready, nearest) =
            (approved + ready.len(), lacking.into_iter().min_by_key(|rows| rows.needed - rows.seen));
        Learning { keys: groups.len(), ready, approved, refused: self.saved.refused, nearest }
    }

    fn save(&self) -> Saving {
        let state = self.saved.clone();
        Box::new(move || saved(SAVED_VERSION, &state))
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), String> {
        self.saved = restored(SAVED_VERSION, "a group of signals", saved)?;
        self.index =
            self.saved.groups.iter().enumerate().map(|(at, one)| (one.key.clone(), at as u32)).collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
