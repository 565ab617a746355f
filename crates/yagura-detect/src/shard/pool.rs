//! The budget of alarms over all cells, in a second pass. Cells tell how far their incidents came; the shard of the
//! detection's plant adds that up and tells the cells what their limits are multiplied by. Both are records in the log, so that
//! a cell is judged by what stands before its own records.

use std::collections::BTreeMap;

use arrow::array::RecordBatch;
use serde::{Deserialize, Serialize};
use yagura_event::Envelope;
use yagura_event::clock::Micros;
use yagura_event::vocabulary::control;
use yagura_models::fleet::{Budget, DAY_US, Factors, Tail};

use super::Shard;
use crate::baseline::{from_text, to_text};
use crate::passing::{self, PassedOn, Said, Source};

/// The most cells whose tails are added.
const CELLS_MAX: usize = 1024;
/// Time between two times that factors are found anew.
const EVERY: Micros = DAY_US / 24;

/// What the shard of a detection's plant knows of all cells.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Pool {
    /// The detection's, when these were told: with other limits, tails mean something else.
    fingerprint: u64,
    tails: BTreeMap<String, Tail>,
    factors: Option<Factors>,
    /// When they were found, in the cells' time.
    at: Option<Micros>,
    /// Factors that are not told yet.
    due: bool,
}

/// A budget, and what was spent of it.
#[derive(Clone, Debug, PartialEq)]
pub struct Spent {
    /// The detection.
    pub detection: String,
    /// Alarms a day that all cells together may raise.
    pub budget: f64,
    /// Those of the last days, the latest, which is not over, first.
    pub alarms: Vec<u32>,
    /// Keys that are watched.
    pub keys: u64,
    /// What limits are multiplied by.
    pub factors: Option<Factors>,
}

impl Pool {
    fn sum(&self) -> Option<Tail> {
        let mut tails = self.tails.values();
        let mut sum = tails.next()?.clone();
        tails.for_each(|tail| sum.add(tail));
        Some(sum)
    }
}

impl Shard {
    /// Whether this is the shard that holds the budget of a detection.
    pub(super) fn holds_a_budget(&self) -> bool {
        self.budgeted_here().is_some()
    }

    /// The detection whose budget is held here.
    fn budgeted_here(&self) -> Option<usize> {
        let id = passing::detection_of(&self.saved.cell)?;
        self.pipeline.budgeted.iter().copied().find(|&index| self.pipeline.detections[index].id == id)
    }

    /// The budget that is held here, and what was spent of it.
    pub fn spent(&self) -> Option<Spent> {
        let detection = &self.pipeline.detections[self.budgeted_here()?];
        let sum = self.saved.pool.sum();
        Some(Spent {
            detection: detection.id.clone(),
            budget: detection.operator.budget()?.alarms_per_day,
            alarms: sum.as_ref().map_or(Vec::new(), |sum| sum.alarms().to_vec()),
            keys: sum.as_ref().map_or(0, Tail::keys),
            factors: self.saved.pool.factors,
        })
    }

    /// What a cell tells.
    pub(super) fn take_tail(&mut self, cell: &str, subject: &str, payload: &str) {
        let Some(detection) = self.budgeted_here().map(|index| &self.pipeline.detections[index]) else {
            return;
        };
        let Some(budget) = detection.operator.budget() else { return };
        let told = from_text::<(u64, Tail)>(payload).ok().filter(|(_, tail)| tail.is_sound());
        let Some((fingerprint, tail)) = told else {
            self.saved.stats.unreadable_records += 1;
            return;
        };
        if subject != detection.id || fingerprint != detection.fingerprint {
            return;
        }
        let pool = &mut self.saved.pool;
        if pool.fingerprint != fingerprint {
            *pool = Pool { fingerprint, ..Pool::default() };
        }
        if pool.tails.len() >= CELLS_MAX && !pool.tails.contains_key(cell) {
            return;
        }
        // A cell that is new is told what holds.
        pool.due = pool.tails.insert(cell.to_string(), tail).is_none() && pool.factors.is_some();
        let Some(now) = pool.tails.values().map(Tail::until).max() else { return };
        let at = *pool.at.get_or_insert(now);
        let passed = now.saturating_sub(at);
        if passed >= EVERY {
            let days = passed as f64 / DAY_US as f64;
            let factors = pool.factors.unwrap_or_else(|| budget.begin());
            pool.factors = pool.sum().map(|sum| budget.next(&sum, &factors, days));
            (pool.at, pool.due) = (Some(now), true);
        }
    }

    /// What the holder of a budget tells. Others, and limits that the budget does not allow, are not listened to.
    pub(super) fn take_factors(&mut self, holder: &str, subject: &str, payload: &str) {
        let told = from_text::<(u64, Factors)>(payload);
        let Some((fingerprint, factors)) =
            told.ok().filter(|_| passing::detection_of(holder) == Some(subject))
        else {
            self.saved.stats.unreadable_records += 1;
            return;
        };
        for (detection, operator) in self.pipeline.detections.iter().zip(&mut self.operators) {
            let allows = |budget: &Budget| budget.allows(&factors);
            if detection.id == subject
                && detection.fingerprint == fingerprint
                && detection.operator.budget().is_some_and(allows)
            {
                operator.set_factors(&factors);
            }
        }
    }

    /// Tells the holders of budgets how far incidents came, and the cells what the limits are.
    pub(super) fn hold_budgets(
        &mut self,
        envelope: &Envelope,
        rows: &RecordBatch,
        watermark: Micros,
        moved: bool,
        out: &mut Vec<PassedOn>,
    ) {
        if self.pipeline.budgeted.is_empty() {
            return;
        }
        let source = Source {
            cell: &self.saved.cell,
            begun: self.saved.begun.unwrap_or_default(),
            envelope,
            rows,
            from: rows.num_rows(),
            watermark,
        };
        let passed = &mut self.saved.passed;
        for &index in &self.pipeline.budgeted {
            let detection = &self.pipeline.detections[index];
            let said = |action, payload| Said { action, detection: &detection.id, payload };
            if self.here[index] {
                let tail = if moved && watermark < Micros::MAX {
                    self.operators[index].tail(watermark)
                } else {
                    None
                };
                if let Some(tail) = tail {
                    let payload = to_text(&(detection.fingerprint, tail));
                    out.extend(passed.tell_plant(&source, &said(control::TAIL, &payload)));
                }
            } else if std::mem::take(&mut self.saved.pool.due)
                && let Some(factors) = self.saved.pool.factors
            {
                let payload = to_text(&(detection.fingerprint, factors));
                let said = said(control::FACTORS, &payload);
                out.extend(
                    self.saved.pool.tails.keys().filter_map(|cell| passed.tell_cell(&source, cell, &said)),
                );
            }
        }
    }
}
