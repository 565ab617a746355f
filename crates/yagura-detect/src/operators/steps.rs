//! `model: steps`: each run of a recipe step on a chamber as a whole, when it has ended. Of every signal its level,
//! spread and drift are compared with earlier runs of the same step.
//!
//! A run is what lies between two changes of context of its series (lot, recipe, step); a change that comes while no
//! sample was taken ends nothing. It is judged with the next samples of the cell, or when the watermark moves; the
//! alert names the run's last sample. While one of the contexts is not stated there is no run.
//!
//! With a `budget` a run is told when it begins an incident that is (see `budgeted.rs`); what is learned from stays what is
//! within the calibrated limits.
//!
//! Memory, bounded by the number of steps and signals: of a run under way at most [`KEPT`] values a signal, of which every
//! second is dropped when there are more; of a step, the features of the newest [`RUNS`] runs (768 bytes a signal)
//! and the model (about 12 KiB for 20 signals, 100 KiB for 64).

use std::collections::{BTreeMap, VecDeque};

use ndarray::Array2;
use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use serde_saphyr::Spanned;
use yagura_event::alert::Cause;
use yagura_event::clock::{Micros, rfc3339};
use yagura_event::{Envelope, Kind};
use yagura_models::alarm::Rarity;
use yagura_models::fleet::{Budget, Factors, Tail};
use yagura_models::incident::Candidate;
use yagura_models::steps::{self, FEATURES, Parameters, RUNS_MIN, Verdict, features};

use super::around::{Around, Trace};
use super::budgeted::{self, Budgeted, FACTOR_MIN};
use super::members::{Members, Places};
use super::{Learning, Operator, Plan, Samples, Saving, Step, Which, at, model, restored, saved};
use crate::alerts::Hit;
use crate::baseline::{Entry, Form, Span};
use crate::blocks::Blocks;
use crate::pipeline::{ModelSpec, PipelineError, Place, Written};
use crate::shard::Series;

mod reference;

use reference::Waiting;

/// The most steps in a cell.
const STEPS_MAX: usize = 10_000;
/// Runs whose features are kept, the newest.
const RUNS: usize = 64;
/// Values of a signal that are kept of a run under way.
const KEPT: usize = 512;
/// Values that are shown around a finding.
const AROUND: usize = 60;
/// Features that are named with a finding.
const NAMED: usize = 3;
/// What is shown beside a series' columns.
pub(super) const SHOWN: [&str; 10] =
    ["lot", "recipe", "step", "finding", "seen", "expected", "deviation", "score", "feature", "since"];
/// Version of the saved state's form.
const SAVED_VERSION: u16 = 2;
/// Runs of a step in a day, about, for the scale of rarity that a budget is held on.
const RUNS_A_DAY: f64 = 100.0;

/// What a run gives away.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
enum Finding {
    /// Features do not go together as in other runs.
    Relation,
    /// A signal's mean.
    Level,
    /// Its standard deviation.
    Spread,
    /// What its last third is over its first.
    Drift,
}

const FINDINGS: [Finding; 4] = [Finding::Relation, Finding::Level, Finding::Spread, Finding::Drift];

impl Finding {
    fn name(self) -> &'static str {
        match self {
            Finding::Relation => "relation",
            Finding::Level => FEATURES[0],
            Finding::Spread => FEATURES[1],
            Finding::Drift => FEATURES[2],
        }
    }

    fn of(verdict: &Verdict) -> Finding {
        let feature = verdict.features.first().map_or(0, |(feature, _)| feature % FEATURES.len());
        match verdict.together {
            true => Finding::Relation,
            false => [Finding::Level, Finding::Spread, Finding::Drift][feature],
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
    if context.is_empty() {
        let message = "a run is told by its context; write `context: [recipe, step]`";
        errors.extend(at(place, spec, message.into()));
    }
    let findings = model::findings(place, &spec.value, &FINDINGS, Finding::name, &mut errors);
    let parameters = model::parameters(place, &spec.value, &mut errors);
    let budget = budgeted::read(place, &spec.value, &mut errors);
    match errors.is_empty() {
        true => {
            let by = model::together(written);
            Ok(Box::new(StepsPlan { by, context, findings, parameters, budget }))
        }
        false => Err(errors),
    }
}

struct StepsPlan {
    by: Vec<String>,
    context: Vec<String>,
    findings: Vec<Finding>,
    parameters: Parameters,
    budget: Option<Budget>,
}

impl Plan for StepsPlan {
    fn describe(&self) -> String {
        format!("steps {:?} {:?} {:?} {:?}", self.context, self.findings, self.parameters, self.budget)
    }

    fn budget(&self) -> Option<&Budget> {
        self.budget.as_ref()
    }

    fn start(&self) -> Box<dyn Operator> {
        Box::new(Steps {
            by: self.by.clone(),
            context: self.context.clone(),
            findings: self.findings.clone(),
            parameters: self.parameters.clone(),
            index: FxHashMap::default(),
            records: 0,
            base: self.budget.as_ref().map_or(f64::INFINITY, budgeted::base),
            saved: Saved { budgeted: self.budget.as_ref().map(Budgeted::new), ..Saved::default() },
        })
    }
}

struct Steps {
    by: Vec<String>,
    context: Vec<String>,
    findings: Vec<Finding>,
    parameters: Parameters,
    index: FxHashMap<Vec<String>, u32>,
    /// Records of samples since the start: what is the same for a record is noted once for each run.
    records: u64,
    /// From where on incidents are followed, where there is a budget.
    base: f64,
    saved: Saved,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Saved {
    /// By the shard's series number: the step and the column.
    places: Places<(u32, u16)>,
    steps: Vec<OneStep>,
    /// Runs that have ended and were not judged yet, with their steps.
    ended: Vec<(u32, Run)>,
    refused: u64,
    span: Span,
    waiting: Waiting,
    /// Where there is a budget.
    budgeted: Option<Budgeted>,
}

/// One step of one recipe on one chamber.
#[derive(Clone, Serialize, Deserialize)]
struct OneStep {
    /// The values of `by` and of the context.
    key: Vec<String>,
    members: Members,
    /// The run under way.
    run: Option<Run>,
    /// Features of the newest ordinary runs, three a signal.
    runs: VecDeque<Vec<f32>>,
    model: Option<steps::Step>,
    /// What was approved, while it learns anew after maintenance.
    maintained: Option<steps::Step>,
}

/// A run under way.
#[derive(Clone, Serialize, Deserialize)]
struct Run {
    /// Of each signal its values, evenly thinned out.
    traces: Vec<Trace<f64>>,
    /// Lot, recipe and step.
    context: BTreeMap<String, String>,
    from: Micros,
    until: Micros,
    /// The last sample, and the record that it came in.
    cause: Cause,
    observed: Micros,
    late: bool,
    #[serde(skip)]
    record: u64,
}

impl Run {
    fn begin(step: &Step<'_>, series: &Series, time: Micros) -> Run {
        let Envelope { collector, epoch, .. } = step.envelope;
        Run {
            traces: Vec::new(),
            context: series.context.clone(),
            from: time,
            until: time,
            cause: Cause { collector: collector.clone(), epoch: *epoch, row: 0 },
            observed: 0,
            late: false,
            record: 0,
        }
    }

    /// What is the same for all samples of a record.
    fn seen_in(&mut self, step: &Step<'_>) {
        self.cause.collector.clone_from(&step.envelope.collector);
        self.cause.epoch = step.envelope.epoch;
        self.observed = step.envelope.observed.1;
        self.late = self.observed < step.watermark;
    }
}

impl OneStep {
    fn new(key: Vec<String>) -> OneStep {
        OneStep {
            key,
            members: Members::default(),
            run: None,
            runs: VecDeque::new(),
            model: None,
            maintained: None,
        }
    }

    /// The column of a series; a model that is in force takes no further ones.
    fn column(&mut self, number: u32, signal: &str) -> Option<u16> {
        let most = if self.model.is_some() { self.members.len() } else { steps::SIGNALS_MAX };
        self.members.column(number, signal, most)
    }

    /// Judges by this model of these signals from now on, whatever was learned.
    fn refer_to(&mut self, names: Vec<String>, model: steps::Step) {
        self.members.become_those(names);
        self.model = Some(model);
        self.maintained = None;
        self.run = None;
        self.runs.clear();
    }

    /// Judges the features of a run, and learns from those that are ordinary.
    fn take(&mut self, features: &[f64], parameters: &Parameters) -> Option<Verdict> {
        let verdict = self.model.as_ref().map(|model| model.judge(features));
        if verdict.as_ref().is_none_or(|verdict| verdict.score <= 1.0) {
            if self.runs.len() == RUNS {
                self.runs.pop_front();
            }
            self.runs.push_back(features.iter().map(|&feature| feature as f32).collect());
        }
        if let (None, Some(approved)) = (&self.model, &self.maintained)
            && let Some(mut anew) = self.learned(parameters)
        {
            anew.stay_near(approved, parameters.maintenance_sigma);
            self.model = Some(anew);
        }
        verdict
    }

    /// What the newest runs are like; none of too few.
    fn learned(&self, parameters: &Parameters) -> Option<steps::Step> {
        if self.runs.len() < RUNS_MIN {
            return None;
        }
        // Runs of a time when fewer signals were known lack the others.
        let width = FEATURES.len() * self.members.len();
        let runs = Array2::from_shape_fn((self.runs.len(), width), |(run, feature)| {
            self.runs[run].get(feature).map_or(f64::NAN, |&value| f64::from(value))
        });
        steps::Step::fit(runs.view(), parameters.nominal)
    }

    /// What approving it now would put in force.
    fn proposal(&self, parameters: &Parameters) -> Option<steps::Step> {
        self.learned(parameters).or_else(|| self.model.clone())
    }

    fn approve(&mut self, parameters: &Parameters) {
        if let Some(model) = self.proposal(parameters) {
            self.model = Some(model);
            self.maintained = None;
        }
    }

    /// Learns anew, from near what was approved.
    fn maintain(&mut self) -> bool {
        let Some(model) = self.model.take() else { return self.maintained.is_some() };
        self.maintained.get_or_insert(model);
        self.runs.clear();
        true
    }
}

impl Steps {
    fn resolve(&mut self, number: u32, series: &Series) -> Option<(u32, u16)> {
        let text = |name: &String| series.context.get(name).cloned().unwrap_or_default();
        let context: Vec<String> = self.context.iter().map(text).collect();
        if context.iter().any(String::is_empty) {
            return None;
        }
        let key: Vec<String> =
            self.by.iter().map(|name| series.text(name).to_string()).chain(context).collect();
        let at = match self.index.get(&key) {
            Some(&at) => at,
            None if self.saved.steps.len() >= STEPS_MAX => {
                self.saved.refused += 1;
                return None;
            }
            None => {
                let at = self.saved.steps.len() as u32;
                let mut one = OneStep::new(key.clone());
                if let Some((names, model)) = self.saved.waiting.remove(&key) {
                    one.refer_to(names, model);
                }
                self.saved.steps.push(one);
                self.index.insert(key, at);
                at
            }
        };
        let one = self.saved.steps.get_mut(at as usize);
        one.and_then(|one| one.column(number, &series.signal)).map(|column| (at, column))
    }

    /// Judges the runs that have ended.
    fn judge(&mut self, step: &Step<'_>, all: &Blocks<Series>, hits: &mut Vec<Hit>) {
        let rarity = Rarity::new(RUNS_A_DAY, self.parameters.nominal);
        for (at, run) in std::mem::take(&mut self.saved.ended) {
            let Some(one) = self.saved.steps.get_mut(at as usize) else { continue };
            let mut of_run = vec![f64::NAN; FEATURES.len() * one.members.len()];
            for (of_signal, trace) in of_run.chunks_mut(FEATURES.len()).zip(&run.traces) {
                of_signal.copy_from_slice(&features(trace.values()));
            }
            let Some(mut verdict) = one.take(&of_run, &self.parameters) else { continue };
            let finding = Finding::of(&verdict);
            if !self.findings.contains(&finding) {
                continue;
            }
            let factor = match &mut self.saved.budgeted {
                None => (verdict.score > 1.0).then_some(1.0),
                Some(budgeted) => {
                    let decade = steps::Step::decade(&self.parameters);
                    let score = rarity.of(verdict.score, decade);
                    let candidate = Candidate {
                        key: at.into(),
                        time: run.until,
                        finding: finding as u8,
                        score: score as f32,
                    };
                    let incident = (score >= self.base).then(|| budgeted.observe(&candidate)).flatten();
                    incident.map(|incident| rarity.score(incident.limit.into(), decade).max(FACTOR_MIN))
                }
            };
            let Some(factor) = factor else { continue };
            // By the limit in force.
            verdict.score /= factor;
            hits.extend(hit(step, one, run, &of_run, &verdict, factor, all));
        }
    }
}

/// The hit that a run is.
fn hit(
    step: &Step<'_>,
    one: &OneStep,
    run: Run,
    seen: &[f64],
    verdict: &Verdict,
    factor: f64,
    all: &Blocks<Series>,
) -> Option<Hit> {
    let model = one.model.as_ref()?;
    let (worst, _) = *verdict.features.first()?;
    let column = worst / FEATURES.len();
    let series = one.members.series(column, all)?;
    let named = verdict.features.iter().take(NAMED).map(|&(feature, off)| {
        let (expected, deviation) = model.expected(feature);
        json!({
            "signal": one.members.name(feature / FEATURES.len()), "feature": FEATURES[feature % FEATURES.len()],
            "seen": seen.get(feature), "expected": expected, "deviation": deviation, "sigma": off,
        })
    });
    let signals: Vec<Value> = named.collect();
    let mut evidence = Map::new();
    for name in ["tool", "chamber", "signal", "unit", "class", "source"] {
        evidence.insert(name.into(), series.text(name).into());
    }
    for name in ["recipe", "step", "lot"] {
        evidence.insert(name.into(), run.context.get(name).map_or("", |value| value).into());
    }
    for key in ["seen", "expected", "deviation", "feature"] {
        evidence.insert(key.into(), signals[0][key].clone());
    }
    evidence.insert("finding".into(), Finding::of(verdict).name().into());
    evidence.insert("score".into(), verdict.score.into());
    if factor != 1.0 {
        evidence.insert("factor".into(), factor.into());
    }
    evidence.insert("signals".into(), signals.into());
    evidence.insert("since".into(), rfc3339(run.from).into());
    evidence.insert("around".into(), around(&run, column, model));
    let text = |name: &String| evidence.get(name).and_then(Value::as_str).unwrap_or("").to_string();
    let key = step.by.iter().map(|name| (name.clone(), text(name))).collect();
    let hit = Hit {
        detection: step.detection,
        cause: run.cause,
        time: run.until,
        observed: run.observed,
        key,
        evidence,
        late: run.late,
        deviation: None,
    };
    Some(hit.scored(verdict.score))
}

/// The worst signal in the run beside the level that is expected of it.
fn around(run: &Run, column: usize, model: &steps::Step) -> Value {
    let values = run.traces.get(column).map_or(&[][..], Trace::values);
    let every = values.len().div_ceil(AROUND).max(1);
    let seen: Vec<f64> = values.iter().copied().step_by(every).collect();
    let (level, deviation) = model.expected(column * FEATURES.len());
    let period_s = (run.until - run.from) as f64 / 1e6 / seen.len().max(1) as f64;
    let (expected, deviation) = (vec![level; seen.len()], Some(deviation));
    Around { period_s, seen, expected, deviation, marked: 0 }.told()
}

impl Operator for Steps {
    fn samples(&mut self, step: &Step<'_>, samples: &Samples<'_>, all: &Blocks<Series>, hits: &mut Vec<Hit>) {
        self.judge(step, all, hits);
        self.records += 1;
        let mut taken = 0;
        for row in step.from..samples.series.len() {
            let number = samples.series[row];
            let series = all.get(number as usize);
            let place = self.saved.places.of(number).unwrap_or_else(|_| {
                let place = series.and_then(|series| self.resolve(number, series));
                self.saved.places.put(number, place)
            });
            let (Some((at, column)), Some(series)) = (place, series) else { continue };
            let Some(one) = self.saved.steps.get_mut(at as usize) else { continue };
            taken += 1;
            let time = samples.times[row];
            let run = one.run.get_or_insert_with(|| Run::begin(step, series, time));
            if run.record != self.records {
                run.record = self.records;
                run.seen_in(step);
            }
            run.cause.row = step.envelope.number(row);
            (run.from, run.until) = (run.from.min(time), run.until.max(time));
            let column = usize::from(column);
            if run.traces.len() <= column {
                run.traces.resize_with(column + 1, Trace::default);
            }
            if samples.quality[row] < 2 && samples.values[row].is_finite() {
                run.traces[column].push(samples.values[row], KEPT);
            }
        }
        self.saved.span.add(step.envelope.observed, taken);
    }

    fn advance(&mut self, step: &Step<'_>, all: &Blocks<Series>, hits: &mut Vec<Hit>) {
        self.judge(step, all, hits);
        let Saved { budgeted, steps, .. } = &mut self.saved;
        if let Some(budgeted) = budgeted {
            budgeted.advance(step.watermark, || steps.iter().filter(|one| one.model.is_some()).count());
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

    fn series(&mut self, number: u32, selected: bool) {
        self.saved.places.select(number, selected);
    }

    fn context(&mut self, series: &[u32]) {
        for &number in series {
            if let Some((at, _)) = self.saved.places.leave(number)
                && let Some(run) = self.saved.steps.get_mut(at as usize).and_then(|one| one.run.take())
            {
                self.saved.ended.push((at, run));
            }
        }
    }

    fn approve(&mut self) {
        for one in &mut self.saved.steps {
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

    fn learning(&self) -> Learning {
        let steps = &self.saved.steps;
        let approved = steps.iter().filter(|one| one.model.is_some()).count();
        let ready = steps.iter().filter(|one| one.model.is_some() || one.runs.len() >= RUNS_MIN).count();
        Learning { keys: steps.len(), ready, approved, refused: self.saved.refused, nearest: None }
    }

    fn save(&self) -> Saving {
        let state = self.saved.clone();
        Box::new(move || saved(SAVED_VERSION, &state))
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), String> {
        self.saved = restored(SAVED_VERSION, "the runs of steps", saved)?;
        self.index =
            self.saved.steps.iter().enumerate().map(|(at, one)| (one.key.clone(), at as u32)).collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests;
