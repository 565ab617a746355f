//! Models of one signal each that ask for no approval: what a signal has done is known, and what is told is what it does for
//! the first time (`model: series`), or does again to the last digit (`model: repeat`). Each (signal, context) has a state of its own.
//!
//! Another such model is one [`SignalModel`] here and its line in `READERS`. Memory: at most [`KEYS_MAX`] states of
//! 8 KiB.

use rustc_hash::FxHashMap;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use serde_saphyr::Spanned;
use yagura_event::Kind;
use yagura_models::{repeat, series};

use super::matched::sample_hit;
use super::members::Places;
use super::{Learning, Operator, Plan, Samples, Saving, Step, at, model, restored, saved};
use crate::alerts::Hit;
use crate::blocks::Blocks;
use crate::pipeline::{ModelSpec, PipelineError, Place, Written};
use crate::shard::Series;

/// The most keys in a cell: 256 MiB of states.
const KEYS_MAX: usize = 32_768;
/// Version of the saved state's form.
const SAVED_VERSION: u16 = 1;

/// A model of one signal: its state, a value after the other.
trait SignalModel: Clone + Default + Serialize + DeserializeOwned + Send + 'static {
    type Parameters: Clone + Default + std::fmt::Debug + DeserializeOwned + Send + Sync + 'static;
    const NAME: &'static str;
    const FINDINGS: &'static [&'static str];

    /// What is wrong with parameters, if anything.
    fn complaint(parameters: &Self::Parameters) -> Option<&'static str>;
    /// Takes a value; answers a finding with the numbers that explain it.
    fn take(&mut self, value: f64, parameters: &Self::Parameters) -> Option<(&'static str, Value)>;
    fn begin_anew(&mut self);
    fn has_learned(&self, parameters: &Self::Parameters) -> bool;
}

impl SignalModel for series::State {
    type Parameters = series::Parameters;
    const NAME: &'static str = series::NAME;
    const FINDINGS: &'static [&'static str] = &["low", "high", "course", "step"];

    fn complaint(parameters: &series::Parameters) -> Option<&'static str> {
        let sound = |value: f64| value.is_finite() && value >= 0.0;
        let all = [parameters.tolerance, parameters.usual, parameters.memory];
        (!all.into_iter().all(sound)).then_some("`tolerance`, `usual` and `memory` are numbers from 0 on")
    }

    fn take(&mut self, value: f64, parameters: &series::Parameters) -> Option<(&'static str, Value)> {
        let found = self.judge(value, parameters)?;
        let series::Hit { finding, expected, seen, range, score } = found;
        Some((
            finding.name(),
            json!({ "seen": seen, "expected": expected, "deviation": range, "score": score }),
        ))
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

    fn complaint(_: &repeat::Parameters) -> Option<&'static str> {
        None
    }

    /// Seen and expected are lengths of repeats, in samples.
    fn take(&mut self, value: f64, parameters: &repeat::Parameters) -> Option<(&'static str, Value)> {
        let repeat::Hit { run, distance, limit } = self.judge(value, parameters)?;
        let score = run as f64 / limit.max(1) as f64;
        Some((
            "repeat",
            json!({ "seen": run, "expected": 0, "deviation": limit, "score": score, "distance": distance }),
        ))
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
    states: Vec<M>,
    refused: u64,
}

impl<M: SignalModel> Signals<M> {
    fn resolve(&mut self, number: u32, series: &Series) -> Option<u32> {
        let text = |name: &String| series.context.get(name).cloned().unwrap_or_default();
        let key = (number, self.context.iter().map(text).collect::<Vec<_>>());
        if let Some(&slot) = self.index.get(&key) {
            self.saved.states[slot as usize].begin_anew();
            return Some(slot);
        }
        if self.saved.states.len() >= KEYS_MAX {
            self.saved.refused += 1;
            return None;
        }
        let slot = self.saved.states.len() as u32;
        self.saved.states.push(M::default());
        self.saved.keys.push(key.clone());
        self.index.insert(key, slot);
        Some(slot)
    }
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
            let Some(state) = self.saved.states.get_mut(slot as usize) else { continue };
            if samples.quality[row] >= 2 {
                continue;
            }
            if let Some((finding, Value::Object(mut more))) =
                state.take(samples.values[row], &self.parameters)
                && self.findings.contains(&finding)
                && let Some(series) = all.get(number as usize)
            {
                more.insert("finding".into(), finding.into());
                let score = more.get("score").and_then(Value::as_f64).unwrap_or_default();
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
                *state = M::default();
                concerned += 1;
            }
        }
        concerned
    }

    fn learning(&self) -> Learning {
        let states = &self.saved.states;
        let ready = states.iter().filter(|state| state.has_learned(&self.parameters)).count();
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
