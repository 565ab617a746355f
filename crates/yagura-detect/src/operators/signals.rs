//! Models of one signal each that ask for no approval: what a signal has done is known, and what is told is what it does for
//! the first time (`model: series`), or does again to the last digit (`model: repeat`). Each (signal, context) has a state of its own.
//!
//! Another such model is one [`SignalModel`] here and its line in `READERS`. Memory: at most [`KEYS_MAX`] states of
//! 8 KiB, and of 1.5 KiB for the past that is shown with a finding.

use rustc_hash::FxHashMap;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use serde_saphyr::Spanned;
use yagura_event::Kind;
use yagura_event::clock::rfc3339;
use yagura_models::{repeat, series};

use super::around::Around;
use super::matched::sample_hit;
use super::members::Places;
use super::{Learning, Operator, Plan, Samples, Saving, Step, at, model, restored, saved};
use crate::alerts::Hit;
use crate::blocks::Blocks;
use crate::pipeline::{ModelSpec, PipelineError, Place, Written};
use crate::shard::Series;

mod past;

use past::Past;

/// The most keys in a cell: 256 MiB of states.
const KEYS_MAX: usize = 32_768;
/// Version of the saved state's form.
const SAVED_VERSION: u16 = 2;

/// A model of one signal: its state, a value after the other.
trait SignalModel: Clone + Default + Serialize + DeserializeOwned + Send + 'static {
    type Parameters: Clone + Default + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static;
    const NAME: &'static str;
    const FINDINGS: &'static [&'static str];
    /// Whether it is told when what it finds was seen first, however long ago.
    const LOOKS_BACK: bool;

    /// What is wrong with parameters, if anything.
    fn complaint(parameters: &Self::Parameters) -> Option<&'static str>;
    /// Takes a value; answers a finding.
    fn take(&mut self, value: f64, parameters: &Self::Parameters) -> Option<Found>;
    /// Of how many values one is shown.
    fn one_in(parameters: &Self::Parameters) -> u64;
    fn begin_anew(&mut self);
    fn has_learned(&self, parameters: &Self::Parameters) -> bool;
}

/// A finding.
struct Found {
    finding: &'static str,
    /// The numbers that explain it.
    numbers: Value,
    score: f64,
    /// How many of the last values it is about.
    about: u64,
    /// The level that was expected of them and how far from it is usual, where there is one.
    expected: Option<(f64, f64)>,
    /// How many values before what it is about was seen first.
    before: Option<u64>,
}

/// A model's state, and what is shown with what it finds.
#[derive(Clone, Default, Serialize, Deserialize)]
struct Kept<M> {
    model: M,
    past: Past,
}

impl SignalModel for series::State {
    type Parameters = series::Parameters;
    const NAME: &'static str = series::NAME;
    const FINDINGS: &'static [&'static str] = &["low", "high", "course", "step"];
    const LOOKS_BACK: bool = false;

    fn complaint(parameters: &series::Parameters) -> Option<&'static str> {
        let sound = |value: f64| value.is_finite() && value >= 0.0;
        let all = [parameters.tolerance, parameters.usual, parameters.memory];
        (!all.into_iter().all(sound)).then_some("`tolerance`, `usual` and `memory` are numbers from 0 on")
    }

    /// The block is shown beside the nearest that is known: its extremes, or its level. Steps have no level.
    fn take(&mut self, value: f64, parameters: &series::Parameters) -> Option<Found> {
        let found = self.judge(value, parameters)?;
        let series::Hit { finding, expected, seen, range, nearest, score } = found;
        let level = (finding == series::Finding::Course).then_some((expected, 0.0));
        Some(Found {
            finding: finding.name(),
            numbers: json!({ "seen": seen, "expected": expected, "deviation": range }),
            score,
            about: parameters.block_samples().into(),
            expected: nearest.map(|[low, high]| (0.5 * (low + high), 0.5 * (high - low))).or(level),
            before: None,
        })
    }

    /// What is shown is a block and the four before it.
    fn one_in(parameters: &series::Parameters) -> u64 {
        u64::from(parameters.block_samples()).div_ceil(past::VALUES as u64 / 5)
    }

    fn begin_anew(&mut self) {
        self.begin();
    }

    fn has_learned(&self, parameters: &series::Parameters) -> bool {
        self.is_ready(parameters)
    }
}

impl SignalModel for repeat::State {
    type Parameters = repeat::Parameters;
    const NAME: &'static str = repeat::NAME;
    const FINDINGS: &'static [&'static str] = &["repeat"];
    const LOOKS_BACK: bool = true;

    fn complaint(_: &repeat::Parameters) -> Option<&'static str> {
        None
    }

    /// Seen and expected are lengths of repeats, in samples.
    fn take(&mut self, value: f64, parameters: &repeat::Parameters) -> Option<Found> {
        let repeat::Hit { run, distance, limit } = self.judge(value, parameters)?;
        Some(Found {
            finding: "repeat",
            numbers: json!({ "seen": run, "expected": 0, "deviation": limit, "distance": distance }),
            score: run as f64 / limit.max(1) as f64,
            about: run,
            expected: None,
            before: Some(distance),
        })
    }

    fn one_in(_: &repeat::Parameters) -> u64 {
        1
    }

    fn begin_anew(&mut self) {
        self.begin();
    }

    fn has_learned(&self, parameters: &repeat::Parameters) -> bool {
        self.is_ready(parameters)
    }
}

pub(super) fn read_series(
    place: &Place<'_>,
    on: Kind,
    spec: &Spanned<ModelSpec>,
    _: &Written<'_>,
) -> Result<Box<dyn Plan>, Vec<PipelineError>> {
    read::<series::State>(place, on, spec)
}

pub(super) fn read_repeat(
    place: &Place<'_>,
    on: Kind,
    spec: &Spanned<ModelSpec>,
    _: &Written<'_>,
) -> Result<Box<dyn Plan>, Vec<PipelineError>> {
    read::<repeat::State>(place, on, spec)
}

fn read<M: SignalModel>(
    place: &Place<'_>,
    on: Kind,
    spec: &Spanned<ModelSpec>,
) -> Result<Box<dyn Plan>, Vec<PipelineError>> {
    let mut errors = Vec::new();
    let context = model::contexts(place, on, spec, &mut errors);
    let findings = model::findings(place, &spec.value, M::FINDINGS, |name| name, &mut errors);
    let parameters: M::Parameters = model::parameters(place, &spec.value, &mut errors);
    if let Some(complaint) = M::complaint(&parameters) {
        errors.extend(at(place, spec, complaint.into()));
    }
    match errors.is_empty() {
        true => Ok(Box::new(SignalPlan::<M> { context, findings, parameters })),
        false => Err(errors),
    }
}

struct SignalPlan<M: SignalModel> {
    context: Vec<String>,
    findings: Vec<&'static str>,
    parameters: M::Parameters,
}

impl<M: SignalModel> Plan for SignalPlan<M> {
    fn describe(&self) -> String {
        format!("{} {:?} {:?} {:?}", M::NAME, self.context, self.findings, self.parameters)
    }

    fn start(&self) -> Box<dyn Operator> {
        Box::new(Signals::<M> {
            context: self.context.clone(),
            findings: self.findings.clone(),
            parameters: self.parameters.clone(),
            index: FxHashMap::default(),
            saved: Saved::default(),
        })
    }
}

struct Signals<M: SignalModel> {
    context: Vec<String>,
    findings: Vec<&'static str>,
    parameters: M::Parameters,
    index: FxHashMap<(u32, Vec<String>), u32>,
    saved: Saved<M>,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Saved<M> {
    /// By the shard's series number.
    slot_of: Places<u32>,
    /// By slot: the series and the context that the state is of.
    keys: Vec<(u32, Vec<String>)>,
    states: Vec<Kept<M>>,
    refused: u64,
}

impl<M: SignalModel> Signals<M> {
    fn resolve(&mut self, number: u32, series: &Series) -> Option<u32> {
        let text = |name: &String| series.context.get(name).cloned().unwrap_or_default();
        let key = (number, self.context.iter().map(text).collect::<Vec<_>>());
        if let Some(&slot) = self.index.get(&key) {
            let Kept { model, past } = &mut self.saved.states[slot as usize];
            model.begin_anew();
            past.begin();
            return Some(slot);
        }
        if self.saved.states.len() >= KEYS_MAX {
            self.saved.refused += 1;
            return None;
        }
        let slot = self.saved.states.len() as u32;
        self.saved.states.push(Kept::default());
        self.saved.keys.push(key.clone());
        self.index.insert(key, slot);
        Some(slot)
    }
}

/// What is told of a finding.
fn explain(found: Found, past: &Past, one_in: u64) -> Map<String, Value> {
    let Value::Object(mut more) = found.numbers else { unreachable!("an object literal") };
    more.insert("finding".into(), found.finding.into());
    more.insert("score".into(), found.score.into());
    let since = past.time_ago(found.about.saturating_sub(1), one_in);
    let first = found
        .before
        .and_then(|before| past.time_ago(found.about.saturating_sub(1).saturating_add(before), one_in));
    for (name, time) in [("since", since), ("first_seen", first)] {
        more.extend(time.map(|time| (name.to_string(), rfc3339(time).into())));
    }
    let (seen, period_s) = past.course();
    let (level, deviation) = found.expected.unzip();
    let expected = level.map_or(Vec::new(), |level| vec![level; seen.len()]);
    let marked = usize::try_from(found.about.div_ceil(one_in)).unwrap_or(usize::MAX).min(seen.len());
    more.insert("around".into(), Around { period_s, seen, expected, deviation, marked }.told());
    more
}

impl<M: SignalModel> Operator for Signals<M> {
    fn samples(&mut self, step: &Step<'_>, samples: &Samples<'_>, all: &Blocks<Series>, hits: &mut Vec<Hit>) {
        for row in step.from..samples.series.len() {
            let number = samples.series[row];
            let slot = self.saved.slot_of.of(number).unwrap_or_else(|_| {
                let slot = all.get(number as usize).and_then(|series| self.resolve(number, series));
                self.saved.slot_of.put(number, slot)
            });
            let Some(slot) = slot else { continue };
            let Some(Kept { model, past }) = self.saved.states.get_mut(slot as usize) else { continue };
            let (time, value) = (samples.times[row], samples.values[row]);
            if samples.quality[row] >= 2 || !value.is_finite() {
                continue;
            }
            past.take(time, value, M::one_in(&self.parameters), M::LOOKS_BACK);
            if let Some(found) = model.take(value, &self.parameters)
                && self.findings.contains(&found.finding)
                && let Some(series) = all.get(number as usize)
            {
                let score = found.score;
                let more = explain(found, past, M::one_in(&self.parameters));
                hits.push(sample_hit(step, samples, row, series, more).scored(score));
            }
        }
    }

    fn series(&mut self, number: u32, selected: bool) {
        self.saved.slot_of.select(number, selected);
    }

    fn context(&mut self, series: &[u32]) {
        if self.context.is_empty() {
            return;
        }
        for &number in series {
            self.saved.slot_of.leave(number);
        }
    }

    /// Maintenance may have moved everything: it is learned anew.
    fn maintain(&mut self, keys: &Map<String, Value>, all: &Blocks<Series>) -> usize {
        let mut concerned = 0;
        for ((number, context), state) in self.saved.keys.iter().zip(&mut self.saved.states) {
            let Some(series) = all.get(*number as usize) else { continue };
            let of = |name: &str| match self.context.iter().position(|known| known == name) {
                Some(at) => context[at].as_str(),
                None => series.text(name),
            };
            if keys.iter().all(|(name, value)| value.as_str().is_some_and(|value| of(name) == value)) {
                *state = Kept::default();
                concerned += 1;
            }
        }
        concerned
    }

    fn learning(&self) -> Learning {
        let states = &self.saved.states;
        let ready = states.iter().filter(|state| state.model.has_learned(&self.parameters)).count();
        Learning { keys: states.len(), ready, approved: ready, refused: self.saved.refused, nearest: None }
    }

    fn save(&self) -> Saving {
        let state = self.saved.clone();
        Box::new(move || saved(SAVED_VERSION, &state))
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), String> {
        self.saved = restored(SAVED_VERSION, M::NAME, saved)?;
        self.index =
            self.saved.keys.iter().enumerate().map(|(slot, key)| (key.clone(), slot as u32)).collect();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use yagura_event::clock::SECOND;

    use super::*;
    use crate::operators::testing::{Cell, Line, pipeline, row};

    const DETECTION: &str = "
on: sample
by: [tool, signal]
summary: '{finding} {seen} {expected}'
model:
  name: series
  context: [step]
  parameters: { learning_samples: 300 }";

    /// A signal that goes up and down, and in one place does so by half.
    fn lines(seconds: std::ops::Range<i64>, flat: std::ops::Range<i64>) -> Vec<Line> {
        let wave = |t: i64| 50.0 + 10.0 * (t as f64 / 5.0).sin();
        let value = |t: i64| if flat.contains(&t) { 52.0 } else { wave(t) };
        seconds.map(|t| row(t, Kind::Sample, &format!("series=0 quality=0 value={}", value(t)))).collect()
    }

    fn cell() -> Cell {
        let pipeline = pipeline(DETECTION).unwrap_or_else(|errors| panic!("{}", errors[0]));
        let mut cell = Cell::new(&pipeline);
        cell.record("c", &[row(0, Kind::Series, "series=0 tool=T signal=flow")], 0);
        cell
    }

    #[test]
    fn what_a_signal_does_for_the_first_time_is_told_once() {
        let mut cell = cell();
        let told: Vec<_> = lines(0..1200, 900..960)
            .chunks(100)
            .flat_map(|lines| cell.record("c", lines, lines[0].0))
            .collect();
        let [alert] = &told[..] else { panic!("{told:?}") };
        assert!((900..960).contains(&(alert.time / SECOND)), "{}", alert.time / SECOND);
        assert_eq!(alert.evidence["signal"], "flow");
        // A block of four samples and what came before it, beside the nearest block that is known.
        let around = &alert.evidence["around"];
        let seen: Vec<f64> =
            around["seen"].as_array().unwrap().iter().map(|value| value.as_f64().unwrap()).collect();
        let first = alert.time / SECOND - seen.len() as i64 + 1;
        let fed = |t: i64| if (900..960).contains(&t) { 52.0 } else { 50.0 + 10.0 * (t as f64 / 5.0).sin() };
        assert!(seen.iter().zip(first..).all(|(value, t)| (value - fed(t)).abs() < 1e-4), "{seen:?}");
        assert_eq!((seen.len(), &around["marked"], &around["period_s"]), (60, &json!(4), &json!(1.0)));
        assert_eq!(alert.evidence["since"], rfc3339(alert.time - 3 * SECOND));
        let pipeline = pipeline(DETECTION).unwrap_or_else(|errors| panic!("{}", errors[0]));
        cell.restart(&pipeline);
        assert!(cell.record("c", &lines(1200..1300, 0..0), 1300).is_empty());
        let (_, learning) = cell.shard.learning().next().expect("a detection");
        assert_eq!((learning.keys, learning.ready), (1, 1));
    }

    #[test]
    fn readings_that_are_played_again_are_told() {
        let text = DETECTION
            .replace("name: series", "name: repeat")
            .replace("{ learning_samples: 300 }", "{ learning_samples: 500 }");
        let pipeline = pipeline(&text).unwrap_or_else(|errors| panic!("{}", errors[0]));
        let mut cell = Cell::new(&pipeline);
        cell.record("c", &[row(0, Kind::Series, "series=0 tool=T signal=flow")], 0);
        let reading = |t: i64| (t.wrapping_mul(t).wrapping_mul(7919) % 1009) as f64 / 10.0;
        let line = |t: i64| {
            let played = if (800..900).contains(&t) { t - 300 } else { t };
            row(t, Kind::Sample, &format!("series=0 quality=0 value={}", reading(played)))
        };
        let lines: Vec<Line> = (0..1000).map(line).collect();
        let told: Vec<_> = lines.chunks(50).flat_map(|lines| cell.record("c", lines, lines[0].0)).collect();
        let [alert] = &told[..] else { panic!("{told:?}") };
        assert!((848..900).contains(&(alert.time / SECOND)), "{}", alert.time / SECOND);
        assert_eq!(alert.evidence["distance"], 300);
        // What is played, marked, and when it was recorded.
        let run = alert.evidence["seen"].as_i64().unwrap();
        let began = alert.time - (run - 1) * SECOND;
        assert_eq!(alert.evidence["since"], rfc3339(began));
        assert_eq!(alert.evidence["first_seen"], rfc3339(began - 300 * SECOND));
        let around = &alert.evidence["around"];
        assert_eq!((around["marked"].as_i64(), &around["expected"]), (Some(run), &json!([])));
        assert_eq!(around["seen"][59], reading(alert.time / SECOND - 300));
    }

    #[test]
    fn recorded_maintenance_begins_it_anew() {
        let mut cell = cell();
        assert!(cell.record("c", &lines(0..900, 0..0), 900).is_empty());
        let ready = |cell: &Cell| cell.shard.learning().next().map(|(_, learning)| learning.ready);
        let order = |tool: &str| {
            let mut order = row(900, Kind::Control, "action=maintenance subject=it author=A");
            order.2.insert("payload", format!("{{\"tool\":\"{tool}\"}}"));
            order
        };
        cell.record("c", &[order("another")], 900);
        assert_eq!(ready(&cell), Some(1));
        cell.record("c", &[order("T")], 900);
        assert_eq!(ready(&cell), Some(0));
        assert!(cell.record("c", &lines(900..960, 900..960), 960).is_empty(), "it is learned");
    }

    #[test]
    fn another_context_is_another_course() {
        let mut cell = cell();
        assert!(cell.record("c", &lines(0..900, 0..0), 900).is_empty());
        let step = row(900, Kind::Context, "tool=T name=step value=2");
        assert!(cell.record("c", &[step], 900).is_empty());
        assert!(cell.record("c", &lines(900..960, 900..960), 960).is_empty(), "it is learned there");
        let (_, learning) = cell.shard.learning().next().expect("a detection");
        assert_eq!((learning.keys, learning.ready), (2, 1));
    }
}
