//! A budget of alarms in an operator: the incidents of its keys in this cell, by factors that come from all cells (see
//! [`yagura_models::incident`]; who holds the budget is in `shard/pool.rs`).

use serde::{Deserialize, Serialize};
use serde_saphyr::Spanned;
use yagura_event::clock::{Micros, SECOND};
use yagura_models::fleet::{Budget, Factors, Tail};
use yagura_models::incident::{self, Candidate, Incident, Incidents};

use super::at;
use crate::pipeline::{ModelSpec, PipelineError, Place};

/// Incidents are followed from this share of the lowest factor on, so that their number there can be known.
const BELOW: f64 = 0.8;
/// The cell's time from one count of the keys, or one telling of the tail, to the next.
const COUNTED_EVERY: Micros = 600 * SECOND;
const TOLD_EVERY: Micros = 3600 * SECOND;

/// The least of a calibrated limit that is in force: scores are divided by it.
pub(super) const FACTOR_MIN: f64 = 0.1;

/// The budget of a model as written, if it has one: a number of alarms a day, or all of its parameters.
pub(super) fn read(place: &Place<'_>, model: &ModelSpec, errors: &mut Vec<PipelineError>) -> Option<Budget> {
    let written: &Spanned<serde_json::Value> = model.budget.as_ref()?;
    let read = match written.value.as_f64() {
        Some(alarms_per_day) => Ok(Budget { alarms_per_day, ..Budget::default() }),
        None => serde_json::from_value(written.value.clone()),
    };
    match read {
        Ok(budget) if budget.is_sound() => return Some(budget),
        Ok(_) => errors.extend(at(
            place,
            written,
            "`alarms_per_day` is more than 0, and `floor` lies between 0.3 and `ceiling`".into(),
        )),
        Err(error) => errors.extend(at(
            place,
            written,
            format!("a budget is a number of alarms a day, as in `budget: 2`, or its parameters: {error}"),
        )),
    }
    None
}

/// The score from which on what a key shows is a candidate.
pub(super) fn base(budget: &Budget) -> f64 {
    BELOW * budget.floor
}

/// The incidents of a cell's keys, and what is told of them.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Budgeted {
    incidents: Incidents,
    /// When keys were counted, and when the tail was told, in the cell's time.
    counted: Option<Micros>,
    told: Option<Micros>,
}

impl Budgeted {
    pub(super) fn new(budget: &Budget) -> Budgeted {
        let incidents = Incidents::new(incident::Settings::default(), budget.begin(), budget.memory_days());
        Budgeted { incidents, counted: None, told: None }
    }

    /// Takes a candidate; answers the incident if it is to be told now.
    pub(super) fn observe(&mut self, candidate: &Candidate) -> Option<Incident> {
        self.incidents.observe(candidate)
    }

    /// The cell's time has come to `now`; keys that are judged are counted when it is time to.
    pub(super) fn advance(&mut self, now: Micros, keys: impl FnOnce() -> usize) {
        if now < Micros::MAX && self.counted.is_none_or(|at| now >= at.saturating_add(COUNTED_EVERY)) {
            self.counted = Some(now);
            self.incidents.advance(now, keys() as u64);
        }
    }

    /// How far incidents came, when it is time to say so.
    pub(super) fn tail(&mut self, now: Micros) -> Option<Tail> {
        if self.told.is_some_and(|at| now < at.saturating_add(TOLD_EVERY)) {
            return None;
        }
        self.told = Some(now);
        Some(self.incidents.tail().clone())
    }

    /// Alarms of the keys in these places were false.
    pub(super) fn called_false(&mut self, places: &[usize]) {
        places.iter().for_each(|place| self.incidents.called_false(*place as u64));
    }

    pub(super) fn set_factors(&mut self, factors: &Factors) {
        self.incidents.set_factors(factors);
    }
}
