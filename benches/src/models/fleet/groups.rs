//! Signals that go together, judged as groups with a budget of their own: one that parts ways stays within its own limits, so
//! that the guard of each signal has nothing to see.

use std::array;

use anyhow::Result;
use ndarray::ArrayView2;
use yagura_models::alarm::{Alarm, Rarity};
use yagura_models::fleet::Budget;
use yagura_models::group::{Group, Parameters, Statistic, Work};

use super::faults::{Fault, Faulty, Kind};
use super::signals::{DAY, Day, Event, Noises, Random, STEPS, Signal};
use super::{
    BASE, BUDGETS, CELLS, Case, FIRST_DAYS, JUDGED_DAYS, LEARNED_DAYS, Named, SEED, Said, alerts, cells_say,
    figures_of,
};
use crate::report::Figure;

/// Signals of a group: one, and those that follow it.
const SIGNALS: usize = 5;
/// The part of its own noise in one that follows.
const OWN: f64 = 0.5;
/// Rows that are learned from, and those after maintenance that levels are taken from, as the engine has them.
const LEARN_ROWS: usize = 4096;
const MAINTAINED_ROWS: usize = 60;
const NAMED: Named = Named {
    findings: &["relation", "signal"],
    limit: "limit (0.4 is once a day for an ordinary key)",
    kinds: &[(Kind::Parted, "correlation break")],
};

/// Groups, and faults.
pub struct Size {
    pub groups: u64,
    pub faults: u64,
}

/// A signal, and what follows it as long as it is itself.
struct Related {
    leader: Signal,
    /// The same, as its readings are, where they part from it.
    parted: Option<Faulty>,
    followers: [Signal; SIGNALS - 1],
    days: [Day; SIGNALS + 1],
    rows: Vec<f64>,
}

impl Related {
    fn new(key: u64, fault: Option<Fault>) -> Related {
        let leader = Signal::new(key, SEED);
        let followers = array::from_fn(|i| leader.reseeded(key << 8 | (i as u64 + 1)));
        let parted = fault.map(|fault| Faulty::new(leader.clone(), fault, key << 8));
        Related { leader, parted, followers, days: array::from_fn(|_| Day::default()), rows: Vec::new() }
    }

    /// The next day: a row a minute, and what happens in it.
    fn day(&mut self, noises: &Noises) -> (&[f64], &[(usize, Event)]) {
        let [leader, read, days @ ..] = &mut self.days;
        self.leader.day(noises, |_| 0.0, leader);
        if let Some(parted) = &mut self.parted {
            parted.day(noises, read);
        }
        for (follower, day) in self.followers.iter_mut().zip(days.iter_mut()) {
            follower.day(noises, |_| 0.0, day);
        }
        let read = if self.parted.is_some() { &read.values } else { &leader.values };
        self.rows.clear();
        for (minute, &read) in read.iter().enumerate() {
            self.rows.push(read);
            let led = |day: &Day| (leader.values[minute] + OWN * day.values[minute]) / (1.0 + OWN);
            self.rows.extend(days.iter().map(led));
        }
        (&self.rows, &leader.events)
    }
}

/// A group with a model for each step of its recipe, as the engine has it.
struct Judged<'a> {
    parameters: &'a Parameters,
    rarity: Rarity,
    work: Work,
    step: usize,
    learned: [Vec<f64>; STEPS],
    models: [Option<Group>; STEPS],
    /// Rows since maintenance, and the levels that were approved.
    maintained: [Option<Vec<f64>>; STEPS],
    approved: [Vec<f64>; STEPS],
    /// Alarms that begin without a budget.
    begun: Vec<u32>,
}

impl<'a> Judged<'a> {
    fn new(parameters: &'a Parameters) -> Judged<'a> {
        Judged {
            parameters,
            rarity: Rarity::new(DAY as f64, parameters.nominal),
            work: Work::default(),
            step: 0,
            learned: Default::default(),
            models: Default::default(),
            maintained: Default::default(),
            approved: Default::default(),
            begun: Vec::new(),
        }
    }

    /// All that is said of a group.
    fn all(&mut self, key: u32, mut related: Related, noises: &Noises) -> Result<Vec<Said>> {
        let mut said = Vec::new();
        for number in 0..LEARNED_DAYS + JUDGED_DAYS {
            if number == LEARNED_DAYS {
                self.approve()?;
            }
            let (rows, events) = related.day(noises);
            let mut from = 0;
            for &(to, event) in events.iter().chain([&(DAY, Event::Step(self.step))]) {
                let rows = &rows[from * SIGNALS..to * SIGNALS];
                self.stretch(key, number * DAY + from, rows, &mut said)?;
                from = to;
                if to < DAY {
                    self.happens(event);
                }
            }
        }
        Ok(said)
    }

    fn approve(&mut self) -> Result<()> {
        for (step, learned) in self.learned.iter().enumerate() {
            let newest = &learned[learned.len().saturating_sub(LEARN_ROWS * SIGNALS)..];
            if newest.is_empty() {
                continue;
            }
            let rows = ArrayView2::from_shape((newest.len() / SIGNALS, SIGNALS), newest)?;
            let mut model = Group::fit(rows, self.parameters)?;
            model.begin();
            self.approved[step] = model.levels().map(|(level, _)| level).collect();
            self.models[step] = Some(model);
        }
        Ok(())
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Step(step) => {
                for step in [self.step, step] {
                    if let Some(model) = &mut self.models[step] {
                        model.begin();
                    }
                }
                self.step = step;
            }
            Event::Maintenance if self.models[self.step].is_some() => {
                self.maintained[self.step] = Some(Vec::new());
            }
            Event::Maintenance => {}
        }
    }

    /// Rows without an event between them.
    fn stretch(&mut self, key: u32, minute: usize, rows: &[f64], said: &mut Vec<Said>) -> Result<()> {
        let Some(model) = &mut self.models[self.step] else {
            self.learned[self.step].extend_from_slice(rows);
            return Ok(());
        };
        let (mut minute, mut rows) = (minute, rows);
        if let Some(kept) = &mut self.maintained[self.step] {
            let taken = (MAINTAINED_ROWS * SIGNALS - kept.len()).min(rows.len());
            kept.extend_from_slice(&rows[..taken]);
            (minute, rows) = (minute + taken / SIGNALS, &rows[taken..]);
            if kept.len() == MAINTAINED_ROWS * SIGNALS {
                let anew = ArrayView2::from_shape((MAINTAINED_ROWS, SIGNALS), kept)?;
                model.move_levels(&self.approved[self.step], anew, self.parameters);
                self.maintained[self.step] = None;
            }
        }
        let rows = ArrayView2::from_shape((rows.len() / SIGNALS, SIGNALS), rows)?;
        let (rarity, begun) = (self.rarity, &mut self.begun);
        model.judge(rows, self.parameters, &mut self.work, |row, verdict, _| {
            let minute = (minute + row) as u32;
            if verdict.alarm == Alarm::Begins {
                begun.push(minute);
            }
            let score = rarity.of(f64::from(verdict.score), f64::from(verdict.decade));
            if score >= BASE {
                let finding = u8::from(verdict.statistic != Statistic::Distance);
                said.push(Said { minute, key, score: score as f32, finding });
            }
        });
        Ok(())
    }
}

fn cases(size: &Size, parameters: &Parameters, noises: &Noises) -> Result<Vec<Case>> {
    let days = (LEARNED_DAYS + FIRST_DAYS, LEARNED_DAYS + JUDGED_DAYS - 4);
    let mut random = Random::new(79);
    (size.groups..size.groups + size.faults)
        .map(|key| {
            let fault = Fault::new(Kind::Parted, &mut random, days);
            let said = Judged::new(parameters).all(key as u32, Related::new(key, Some(fault)), noises)?;
            Ok(Case { fault, said })
        })
        .collect()
}

/// Benign groups at several budgets, and groups one of whose signals parts ways.
pub fn groups(size: &Size, noises: &Noises) -> Result<Vec<Figure>> {
    let parameters = Parameters { period_s: 60.0, ..Parameters::default() };
    let cells = cells_say("groups", |cell| {
        let (mut said, mut begun) = (Vec::new(), 0);
        for key in cell * size.groups / CELLS..(cell + 1) * size.groups / CELLS {
            let mut judged = Judged::new(&parameters);
            said.extend(judged.all(key as u32, Related::new(key, None), noises)?);
            let first = ((LEARNED_DAYS + FIRST_DAYS) * DAY) as u32;
            begun += judged.begun.iter().filter(|minute| **minute >= first).count();
        }
        said.sort_by_key(|said: &Said| said.minute);
        Ok((said, begun))
    })?;
    let (cells, begun): (Vec<Vec<Said>>, Vec<usize>) = cells.into_iter().unzip();
    let cases = cases(size, &parameters, noises)?;
    let mut figures = Vec::new();
    for alarms_per_day in BUDGETS {
        let budget = Budget { alarms_per_day, ..Budget::default() };
        let outcome = alerts(&cells, size.groups, Some(&budget));
        let name = format!("groups, {alarms_per_day} a day");
        figures.extend(figures_of(&name, &outcome, &cases, &NAMED, Some(&budget)));
    }
    let begun = begun.iter().sum::<usize>() as f64 / (JUDGED_DAYS - FIRST_DAYS) as f64;
    figures.push(Figure::new("groups, without a budget: alarms that begin", begun, "1/d"));
    Ok(figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_that_part_ways_are_found_within_a_budget() {
        let figures = groups(&Size { groups: 64, faults: 8 }, &Noises::new()).unwrap();
        let of = |name: &str| {
            let figure = figures.iter().find(|figure| figure.name == name);
            figure.unwrap_or_else(|| panic!("{name}")).value
        };
        assert!(of("groups, 10 a day: correlation break, recall") > 0.5);
        let mean = of("groups, 1 a day: alerts, mean of the days after the first week");
        assert!(mean < 3.0, "{mean}");
    }
}
