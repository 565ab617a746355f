//! `model: series`: the course of each signal by itself, in each context. It asks for no approval: what a signal has done once is
//! known, and what it does for the first time is told once it has been watched for as long as it learns.
//!
//! Memory: at most 8 KiB a (signal, context), and [`KEYS_MAX`] of them.

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use serde_saphyr::Spanned;
use yagura_event::Kind;
use yagura_models::series::{Finding, Parameters, State};

use super::matched::sample_hit;
use super::{Learning, Operator, Plan, Samples, Saving, Step, at, model, restored, saved};
use crate::alerts::Hit;
use crate::blocks::Blocks;
use crate::pipeline::{ModelSpec, PipelineError, Place, Written};
use crate::shard::Series;

/// The most keys in a cell: 256 MiB of states.
const KEYS_MAX: usize = 32_768;
/// Version of the saved state's form.
const SAVED_VERSION: u16 = 1;
/// A series that the detection does not take.
const NO_SLOT: u32 = u32::MAX;
/// One whose slot must be looked up.
const UNRESOLVED: u32 = u32::MAX - 1;

pub(super) fn read(
    place: &Place<'_>,
    on: Kind,
    spec: &Spanned<ModelSpec>,
    _: &Written<'_>,
) -> Result<Box<dyn Plan>, Vec<PipelineError>> {
    let mut errors = Vec::new();
    let context = model::contexts(place, on, spec, &mut errors);
    let findings = model::findings(place, &spec.value, &Finding::ALL, Finding::name, &mut errors);
    let parameters: Parameters = model::parameters(place, &spec.value, &mut errors);
    let sound = |value: f64| value.is_finite() && value >= 0.0;
    if ![parameters.tolerance, parameters.usual, parameters.memory].into_iter().all(sound) {
        let message = "`tolerance`, `usual` and `memory` are numbers from 0 on";
        errors.extend(at(place, spec, message.into()));
    }
    match errors.is_empty() {
        true => Ok(Box::new(CoursePlan { context, findings, parameters })),
        false => Err(errors),
    }
}

struct CoursePlan {
    context: Vec<String>,
    findings: Vec<Finding>,
    parameters: Parameters,
}

impl Plan for CoursePlan {
    fn describe(&self) -> String {
        format!("series {:?} {:?} {:?}", self.context, self.findings, self.parameters)
    }

    fn start(&self) -> Box<dyn Operator> {
        Box::new(Courses {
            context: self.context.clone(),
            findings: self.findings.clone(),
            parameters: self.parameters.clone(),
            index: FxHashMap::default(),
            saved: Saved::default(),
        })
    }
}

struct Courses {
    context: Vec<String>,
    findings: Vec<Finding>,
    parameters: Parameters,
    index: FxHashMap<(u32, Vec<String>), u32>,
    saved: Saved,
}

#[derive(Clone, Default, Serialize, Deserialize)]
struct Saved {
    /// By the shard's series number.
    slot_of: Vec<u32>,
    /// By slot: the series and the context that the state is of.
    keys: Vec<(u32, Vec<String>)>,
    states: Vec<State>,
    refused: u64,
}

impl Courses {
    fn resolve(&mut self, number: u32, series: &Series) -> u32 {
        let text = |name: &String| series.context.get(name).cloned().unwrap_or_default();
        let key = (number, self.context.iter().map(text).collect::<Vec<_>>());
        if let Some(&slot) = self.index.get(&key) {
            self.saved.states[slot as usize].begin();
            return slot;
        }
        if self.saved.states.len() >= KEYS_MAX {
            self.saved.refused += 1;
            return NO_SLOT;
        }
        let slot = self.saved.states.len() as u32;
        self.saved.states.push(State::default());
        self.saved.keys.push(key.clone());
        self.index.insert(key, slot);
        slot
    }
}

impl Operator for Courses {
    fn samples(&mut self, step: &Step<'_>, samples: &Samples<'_>, all: &Blocks<Series>, hits: &mut Vec<Hit>) {
        for row in step.from..samples.series.len() {
            let number = samples.series[row];
            let mut slot = self.saved.slot_of.get(number as usize).copied().unwrap_or(NO_SLOT);
            if slot == UNRESOLVED {
                slot = all.get(number as usize).map_or(NO_SLOT, |series| self.resolve(number, series));
                self.saved.slot_of[number as usize] = slot;
            }
            let Some(state) = self.saved.states.get_mut(slot as usize) else { continue };
            if samples.quality[row] >= 2 {
                continue;
            }
            if let Some(found) = state.judge(samples.values[row], &self.parameters)
                && self.findings.contains(&found.finding)
                && let Some(series) = all.get(number as usize)
            {
                let more = json!({
                    "finding": found.finding.name(), "seen": found.seen, "expected": found.expected,
                    "deviation": found.range, "score": found.score,
                });
                let Value::Object(more) = more else { unreachable!("an object literal") };
                hits.push(sample_hit(step, samples, row, series, more));
            }
        }
    }

    fn series(&mut self, number: u32, selected: bool) {
        let index = number as usize;
        if self.saved.slot_of.len() <= index {
            self.saved.slot_of.resize(index + 1, NO_SLOT);
        }
        self.saved.slot_of[index] = match (selected, self.saved.slot_of[index]) {
            (true, NO_SLOT) => UNRESOLVED,
            (true, slot) => slot,
            (false, _) => NO_SLOT,
        };
    }

    fn context(&mut self, series: &[u32]) {
        if self.context.is_empty() {
            return;
        }
        for &number in series {
            if let Some(slot) = self.saved.slot_of.get_mut(number as usize)
                && *slot != NO_SLOT
            {
                *slot = UNRESOLVED;
            }
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
                *state = State::default();
                concerned += 1;
            }
        }
        concerned
    }

    fn learning(&self) -> Learning {
        let states = &self.saved.states;
        let ready = states.iter().filter(|state| state.is_ready(&self.parameters)).count();
        Learning { keys: states.len(), ready, approved: ready, refused: self.saved.refused }
    }

    fn save(&self) -> Saving {
        let state = self.saved.clone();
        Box::new(move || saved(SAVED_VERSION, &state))
    }

    fn restore(&mut self, saved: &[u8]) -> Result<(), String> {
        self.saved = restored(SAVED_VERSION, "the courses of series", saved)?;
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
        let told: Vec<_> =
            lines(0..1200, 900..960).chunks(100).flat_map(|lines| cell.record("c", lines, lines[0].0)).collect();
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
