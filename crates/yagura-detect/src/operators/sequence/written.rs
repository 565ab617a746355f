//! A sequence as people write it, and its checking.

use std::fmt::Write;
use std::sync::Arc;

use arrow::datatypes::SchemaRef;
use serde::Deserialize;
use serde_saphyr::Spanned;
use yagura_event::Kind;
use yagura_event::clock::Micros;

use super::matches::{Comes, Rules};
use super::{Compare, NAMES, PACKED_BYTES_MAX, STATE_BYTES_MAX, STEPS_MAX, SequencePlan, Shape, StepShape};
use crate::alerts::places;
use crate::asof;
use crate::operators::{Input, Plan, at};
use crate::pipeline::{PipelineError, Place, Written, check_column, checked_duration};

/// The most rows of a step.
const TIMES_MAX: u32 = 1_000;

/// `sequence:` as written.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SequenceSpec {
    /// From the first row to the last.
    pub within: Spanned<String>,
    /// In order.
    pub steps: Vec<Spanned<StepSpec>>,
}

/// A step as written: one of `where` and `not`.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StepSpec {
    /// Rows that must come.
    #[serde(default, rename = "where")]
    pub comes: Option<Spanned<String>>,
    /// Rows that must not come.
    #[serde(default)]
    pub not: Option<Spanned<String>>,
    /// Their kind; the detection's without one.
    #[serde(default)]
    pub on: Option<Spanned<String>>,
    /// Their key's columns; the detection's without any.
    #[serde(default)]
    pub by: Vec<Spanned<String>>,
    /// How many rows; one without it.
    #[serde(default)]
    pub times: Option<Spanned<u32>>,
    /// From the step before.
    #[serde(default)]
    pub within: Option<Spanned<String>>,
    /// Columns that must be as in the first step.
    #[serde(default)]
    pub same: Vec<Spanned<String>>,
    /// Columns that must not be as in the first step.
    #[serde(default)]
    pub differ: Vec<Spanned<String>>,
}

pub(crate) fn read(
    place: &Place<'_>,
    on: Kind,
    written: &Written<'_>,
) -> Option<Result<Box<dyn Plan>, Vec<PipelineError>>> {
    let spec = written.sequence?;
    if let Some(condition) = written.condition {
        let message = "each step of a sequence has a condition of its own; write `where:` at the steps";
        return Some(Err(at(place, condition, message.into())));
    }
    let steps = &spec.value.steps;
    if !(2..=STEPS_MAX).contains(&steps.len()) {
        let message = format!(
            "a sequence has 2 to {STEPS_MAX} steps, not {}; rows of one kind are counted by `window:`",
            steps.len()
        );
        return Some(Err(at(place, spec, message)));
    }
    let mut reading = Reading { place, on, written, steps, errors: Vec::new() };
    let shape = reading.shape(&spec.value.within);
    let errors = reading.errors;
    Some(if errors.is_empty() { Ok(Box::new(SequencePlan(Arc::new(shape)))) } else { Err(errors) })
}

struct Reading<'a> {
    place: &'a Place<'a>,
    on: Kind,
    written: &'a Written<'a>,
    steps: &'a [Spanned<StepSpec>],
    errors: Vec<PipelineError>,
}

impl<'a> Reading<'a> {
    fn shape(&mut self, within: &Spanned<String>) -> Shape {
        let within = self.time(within);
        let kinds: Vec<Kind> = self.steps.iter().map(|step| self.kind(&step.value)).collect();
        let comes = |(step, kind): (&Spanned<StepSpec>, &Kind)| step.value.comes.as_ref().map(|_| *kind);
        let coming: Vec<Kind> = self.steps.iter().zip(&kinds).filter_map(comes).collect();
        let mut shape = Shape {
            text: format!("sequence {within}"),
            rules: Rules { within, comes: Vec::new(), guards: vec![0], quiet: None },
            inputs: Vec::new(),
            steps: Vec::new(),
            routes: Vec::new(),
            bound: Vec::new(),
            schemas: Vec::new(),
            matches_max: 0,
        };
        for (number, (step, &kind)) in self.steps.iter().zip(&kinds).enumerate() {
            self.step(number, step, kind, &mut shape);
            let by = self.key(step, kind);
            let route = shape.routes.iter().position(|known| *known == by).unwrap_or_else(|| {
                shape.routes.push(by.clone());
                shape.routes.len() - 1
            });
            let compares = self.compares(number, &step.value, kind, kinds[0], &mut shape.bound);
            let _ = write!(shape.text, " by {by:?}");
            for compare in &compares {
                let _ = write!(
                    shape.text,
                    " {} {}",
                    if compare.same { "same" } else { "differ" },
                    compare.column
                );
            }
            shape.steps.push(StepShape { route, compares });
        }
        // The first step's route goes last.
        let last = shape.routes.len() - 1;
        shape.routes.swap(0, last);
        for step in &mut shape.steps {
            step.route = match step.route {
                0 => last,
                route if route == last => 0,
                route => route,
            };
        }
        self.summary(&coming);
        let times = shape.rules.comes.first().map_or(1, |first| first.times);
        let bytes = 200 + 8 * (times + shape.bound.len()) + PACKED_BYTES_MAX * shape.schemas.len();
        shape.matches_max = STATE_BYTES_MAX / bytes;
        shape
    }

    fn error<T>(&mut self, spot: &Spanned<T>, message: impl Into<String>) {
        self.errors.push(self.place.error(spot, message.into()));
    }

    fn time(&mut self, text: &Spanned<String>) -> Micros {
        checked_duration(self.place, text, &mut self.errors)
    }

    fn kind(&mut self, step: &StepSpec) -> Kind {
        let judged = |kind: &Kind| !matches!(kind, Kind::Series | Kind::Sample | Kind::Alert);
        let valid =
            || Kind::ALL.iter().filter(|k| judged(k)).map(|k| k.name()).collect::<Vec<_>>().join(", ");
        match &step.on {
            Some(on) => Kind::from_name(&on.value).filter(judged).unwrap_or_else(|| {
                self.error(
                    on,
                    format!("`{}` is no kind of record with names; there are: {}", on.value, valid()),
                );
                Kind::Message
            }),
            None if judged(&self.on) => self.on,
            None => {
                let spec = self.written.sequence;
                if let Some(spec) = spec.filter(|_| self.errors.is_empty()) {
                    self.error(
                        spec,
                        format!(
                            "a sequence is of rows with names, not of samples; write `on:` one of: {}",
                            valid()
                        ),
                    );
                }
                Kind::Message
            }
        }
    }

    /// The columns of a kind's rows.
    fn schema(&self, kind: Kind) -> SchemaRef {
        asof::joined_schema(kind, self.written.join)
    }

    /// The contexts among them.
    fn joined(&self, kind: Kind) -> Vec<&'a str> {
        let names = if asof::places_of(kind).is_empty() { &[][..] } else { self.written.join };
        names.iter().map(String::as_str).collect()
    }

    /// What must or must not come, how often and until when.
    fn step(&mut self, number: usize, step: &Spanned<StepSpec>, kind: Kind, shape: &mut Shape) {
        let is_last = number + 1 == self.steps.len();
        let (sql, comes) = match (&step.value.comes, &step.value.not) {
            (Some(sql), None) => (sql, true),
            (None, Some(sql)) => (sql, false),
            _ => {
                return self.error(step, "a step has either `where:` (it must come) or `not:` (it must not)");
            }
        };
        let name = if comes { "where" } else { "not" };
        if number == 0 && !comes {
            self.error(sql, "a sequence begins with something that comes; write `where:` at the first step");
        }
        match self.place.condition(kind.name(), &self.schema(kind), name, sql) {
            Ok(condition) => shape.inputs.push(Input { kind, condition }),
            Err(error) => self.errors.push(error),
        }
        let times = step.value.times.as_ref();
        if let Some(times) = times.filter(|t| !(1..=TIMES_MAX).contains(&t.value)) {
            self.error(times, format!("`times` is between 1 and {TIMES_MAX}, not {}", times.value));
        }
        if let Some(times) = times.filter(|_| !comes) {
            self.error(times, "`times` counts what must come; one row is enough to break a `not:`");
        }
        let within = step.value.within.as_ref().map(|within| {
            if number == 0 {
                self.error(within, "`within` of a step is the time from the step before; the first has none");
            } else if !comes && !is_last {
                self.error(within, "only the last `not:` has a time of its own; another one holds until the next step has come");
            }
            self.time(within)
        });
        let times = times.map_or(1, |times| times.value);
        let _ = write!(
            shape.text,
            "; {} {} {name} {:?} {times} {within:?}",
            kind.name(),
            kind.version(),
            sql.value
        );
        if comes {
            shape.rules.comes.push(Comes { step: number, times: times as usize, within });
            shape.rules.guards.push(0);
            shape.schemas.push(self.schema(kind));
        } else if let Some(guards) = shape.rules.guards.last_mut() {
            *guards |= 1 << number;
            shape.rules.quiet = within;
        }
    }

    /// The columns of a step's key.
    fn key(&mut self, step: &Spanned<StepSpec>, kind: Kind) -> Vec<String> {
        let (own, by) = (&step.value.by, self.written.by);
        if own.is_empty() {
            let schema = self.schema(kind);
            let missing = by.iter().find(|c| kind != self.on && schema.field_with_name(&c.value).is_err());
            if let Some(missing) = missing {
                let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
                self.error(
                    step.value.on.as_ref().unwrap_or(missing),
                    format!(
                        "{} has no column `{}`, which the detection is `by`; give the step a `by:` of its own from: {}",
                        kind.name(),
                        missing.value,
                        names.join(", ")
                    ),
                );
            }
            return by.iter().map(|c| c.value.clone()).collect();
        }
        for column in own {
            check_column(self.place, kind, column, &self.joined(kind), &mut self.errors);
        }
        if own.len() != by.len() {
            let names: Vec<&str> = by.iter().map(|c| c.value.as_str()).collect();
            self.error(
                &own[0],
                format!("the detection is `by` {} columns ({}); so is each step", by.len(), names.join(", ")),
            );
        }
        own.iter().map(|c| c.value.clone()).collect()
    }

    fn compares(
        &mut self,
        number: usize,
        step: &StepSpec,
        kind: Kind,
        first: Kind,
        bound: &mut Vec<String>,
    ) -> Vec<Compare> {
        let mut compares = Vec::new();
        for (columns, same) in [(&step.same, true), (&step.differ, false)] {
            for column in columns {
                if number == 0 {
                    self.error(column, "the first step has nothing before it to be compared with");
                }
                check_column(self.place, kind, column, &self.joined(kind), &mut self.errors);
                if kind != first {
                    check_column(self.place, first, column, &self.joined(first), &mut self.errors);
                }
                let with = bound.iter().position(|known| *known == column.value).unwrap_or_else(|| {
                    bound.push(column.value.clone());
                    bound.len() - 1
                });
                compares.push(Compare { with, column: column.value.clone(), same });
            }
        }
        compares
    }

    /// Checks the places of the summary: columns of the last row, and `first.column` of earlier ones.
    fn summary(&mut self, kinds: &[Kind]) {
        let Some((&last, earlier)) = kinds.split_last() else { return };
        let summary = self.written.summary;
        for name in places(&summary.value) {
            let spot = |name: &str| Spanned::new(name.to_string(), summary.referenced, summary.defined);
            let Some((row, column)) = name.split_once('.') else {
                check_column(self.place, last, &spot(name), &self.joined(last), &mut self.errors);
                continue;
            };
            match NAMES.iter().zip(earlier).find(|(known, _)| **known == row) {
                Some((_, &kind)) => {
                    check_column(self.place, kind, &spot(column), &self.joined(kind), &mut self.errors)
                }
                None => {
                    let message = match &NAMES[..earlier.len()] {
                        [] => format!("`{row}` is no step before the last row; there is none"),
                        names => {
                            format!("`{row}` is no step before the last row; there are: {}", names.join(", "))
                        }
                    };
                    self.errors.push(self.place.error(summary, message));
                }
            }
        }
    }
}
