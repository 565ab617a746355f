//! The budget of alarms over a fleet: 100,000 benign signals for thirty days after a week of learning, a sample a
//! minute, judged by the guard; the same candidates at several budgets, and faults put into signals like them. Beside it
//! groups of signals that go together, with budgets of their own.
//!
//! A sample a minute, as 5.3 thousand million of them are what two cores judge in minutes; the guard counts in
//! samples, so that signals sampled faster have as many more candidates a day and delays as much shorter.

mod faults;
mod groups;
mod repeats;
mod signals;

use std::io::IsTerminal;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, anyhow};
use yagura_models::fleet::{Budget, DAY_US, Factors, Tail, poisson_interval};
use yagura_models::guard::{self, Finding, Parameters, State};
use yagura_models::incident::{Candidate, Incident, Incidents, Settings};

use crate::report::{Figure, Report};
use faults::{Fault, Faulty, KINDS, Kind};
use groups::{Size, groups};
use signals::{DAY, Day, Event, Noises, Random, STEPS, Signal};

/// Of all noises. The constants of the alarm layer were chosen with another one.
const SEED: u64 = 2;
const SIGNALS: u64 = 100_000;
const LEARNED_DAYS: usize = 7;
const JUDGED_DAYS: usize = 30;
/// Days after approval that do not count: the budget is being found.
const FIRST_DAYS: usize = 7;
/// Cells that the signals are spread over.
const CELLS: u64 = 8;
/// Candidates begin at this share of the limit.
const BASE: f64 = 0.4;
const BUDGETS: [f64; 3] = [1.0, 10.0, 100.0];
const FAULTS_OF_A_KIND: u64 = 50;
const MINUTE_US: i64 = 60_000_000;
/// Minutes between two times that the factor is found anew.
const POOLED: i64 = 60;
const FINDINGS: [Finding; 5] = [Finding::Shift, Finding::Drift, Finding::Range, Finding::Stuck, Finding::Gap];
const NAMED: Named = Named {
    findings: &["shift", "drift", "range", "stuck", "gap"],
    limit: "factor over the calibrated limit",
    kinds: &KINDS,
};
/// Groups of related signals, and faults in such.
const GROUPS: Size = Size { groups: 2_000, faults: FAULTS_OF_A_KIND };

/// A model's findings, in the order of their numbers, and the faults that it is given, by name.
struct Named {
    findings: &'static [&'static str],
    /// What the limit in force is told as.
    limit: &'static str,
    kinds: &'static [(Kind, &'static str)],
}

/// What a model said, with minutes for times.
#[derive(Clone, Copy)]
struct Said {
    minute: u32,
    key: u32,
    score: f32,
    finding: u8,
}

impl Said {
    fn candidate(&self) -> Candidate {
        let time = i64::from(self.minute) * MINUTE_US;
        Candidate { key: u64::from(self.key), time, finding: self.finding, score: self.score }
    }
}

/// One signal with a state for each step of its recipe, as the engine has it.
struct Judged<'a> {
    parameters: &'a Parameters,
    states: [State; STEPS],
    step: usize,
    /// The levels that were approved, once maintenance moves them.
    approved: Option<f64>,
    slots: Vec<u32>,
    times: Vec<i64>,
    quality: Vec<u8>,
    hits: Vec<guard::Hit>,
}

impl<'a> Judged<'a> {
    fn new(parameters: &'a Parameters) -> Judged<'a> {
        let (slots, times, quality) = (vec![0; DAY], vec![0; DAY], vec![0; DAY]);
        Judged {
            parameters,
            states: [State::default(); STEPS],
            step: 0,
            approved: None,
            slots,
            times,
            quality,
            hits: Vec::new(),
        }
    }

    fn begin(&mut self) {
        self.states = [State::default(); STEPS];
        (self.step, self.approved) = (0, None);
    }

    fn day(&mut self, key: u32, number: usize, day: &Day, said: &mut Vec<Said>) {
        if number == LEARNED_DAYS {
            self.states.iter_mut().for_each(|state| _ = state.approve(self.parameters));
        }
        let mut from = 0;
        for &(at, event) in day.events.iter().chain([&(DAY, Event::Step(usize::MAX))]) {
            self.judge(key, (number * DAY, from, at), &day.values, said);
            from = at;
            match event {
                Event::Step(usize::MAX) => {}
                Event::Step(step) => {
                    self.step = step;
                    self.states[step].begin(self.parameters);
                }
                Event::Maintenance => {
                    if let Some(reference) = self.states[0].reference() {
                        let level = *self.approved.get_or_insert(reference.level);
                        self.states[0].maintain(level);
                    }
                }
            }
        }
    }

    fn judge(
        &mut self,
        key: u32,
        (day, from, to): (usize, usize, usize),
        values: &[f64],
        said: &mut Vec<Said>,
    ) {
        let count = to - from;
        self.slots[..count].fill(self.step as u32);
        for (minute, time) in (day + from..).zip(&mut self.times[..count]) {
            *time = minute as i64 * MINUTE_US;
        }
        self.hits.clear();
        guard::watch(
            &mut self.states,
            &self.slots[..count],
            &self.times[..count],
            &values[from..to],
            &self.quality[..count],
            self.parameters,
            BASE,
            &mut self.hits,
        );
        said.extend(self.hits.iter().map(|hit| Said {
            minute: (day + from) as u32 + hit.index,
            key,
            score: hit.score as f32,
            finding: FINDINGS.iter().position(|f| *f == hit.finding).unwrap_or_default() as u8,
        }));
    }
}

/// What the guard says of the signals of a cell, in the order of time.
fn cell_says(cell: u64, signals: u64, parameters: &Parameters, noises: &Noises) -> Vec<Said> {
    let (mut said, mut day, mut judged) = (Vec::new(), Day::default(), Judged::new(parameters));
    for key in cell * signals / CELLS..(cell + 1) * signals / CELLS {
        let mut signal = Signal::new(key, SEED);
        judged.begin();
        for number in 0..LEARNED_DAYS + JUDGED_DAYS {
            signal.day(noises, |_| 0.0, &mut day);
            judged.day(key as u32, number, &day, &mut said);
        }
    }
    said.sort_by_key(|said| said.minute);
    said
}

/// What is said of all cells, on as many threads as there are cores; the same whatever their number.
#[expect(clippy::print_stderr, reason = "progress of a benchmark")]
fn cells_say<T: Send>(what: &str, say: impl Fn(u64) -> Result<T> + Sync) -> Result<Vec<T>> {
    let next = AtomicUsize::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let terminal = std::io::stderr().is_terminal();
    let mut cells: Vec<(u64, T)> = std::thread::scope(|scope| {
        let work = || -> Result<Vec<(u64, T)>> {
            let mut done = Vec::new();
            loop {
                let cell = next.fetch_add(1, Ordering::Relaxed) as u64;
                if cell >= CELLS {
                    return Ok(done);
                }
                done.push((cell, say(cell)?));
                if terminal {
                    eprintln!("fleet: {what}, cell {} of {CELLS}", cell + 1);
                }
            }
        };
        let handles: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let joined: Result<Vec<Vec<_>>> =
            handles.into_iter().map(|h| h.join().map_err(|_| anyhow!("a thread failed"))?).collect();
        joined.map(|parts| parts.into_iter().flatten().collect())
    })?;
    cells.sort_by_key(|(cell, _)| *cell);
    Ok(cells.into_iter().map(|(_, said)| said).collect())
}

/// A faulty signal, what is said of it, and of what kind it is.
struct Case {
    fault: Fault,
    said: Vec<Said>,
}

fn cases(parameters: &Parameters, noises: &Noises) -> Vec<Case> {
    let mut random = Random::new(77);
    let (mut day, mut judged) = (Day::default(), Judged::new(parameters));
    let mut cases = Vec::new();
    for (kind, _) in KINDS {
        for _ in 0..FAULTS_OF_A_KIND {
            let key = SIGNALS + cases.len() as u64;
            let days = (LEARNED_DAYS + FIRST_DAYS, LEARNED_DAYS + JUDGED_DAYS - 4);
            let fault = Fault::new(kind, &mut random, days);
            let mut faulty = Faulty::new(Signal::new(key, SEED), fault, key);
            let mut said = Vec::new();
            judged.begin();
            for number in 0..LEARNED_DAYS + JUDGED_DAYS {
                faulty.day(noises, &mut day);
                judged.day(key as u32, number, &day, &mut said);
            }
            cases.push(Case { fault, said });
        }
    }
    cases
}

/// What a budget came to.
struct Outcome {
    /// By day since approval.
    alerts: Vec<u64>,
    /// By hour since the first sample, what was in force from its end on.
    factors: Vec<Factors>,
    told: Vec<Incident>,
}

fn settings(budget: Option<&Budget>) -> Settings {
    match budget {
        Some(_) => Settings::default(),
        None => Settings { own_max: 1.0, ..Settings::default() },
    }
}

/// The incidents of all cells, with the factor that their pooled tails make of the budget; 1 without one.
fn alerts(cells: &[Vec<Said>], keys: u64, budget: Option<&Budget>) -> Outcome {
    let begin = budget.map_or(Factors::all(1.0), Budget::begin);
    let memory = budget.map_or(14.0, Budget::memory_days);
    let mut all: Vec<(Incidents, &[Said])> =
        cells.iter().map(|said| (Incidents::new(settings(budget), begin, memory), said.as_slice())).collect();
    let mut outcome = Outcome { alerts: vec![0; JUDGED_DAYS], factors: Vec::new(), told: Vec::new() };
    let mut factors = begin;
    for hour in 0..((LEARNED_DAYS + JUDGED_DAYS) * DAY) as i64 / POOLED {
        let until = (hour + 1) * POOLED;
        let judged = hour >= (LEARNED_DAYS * DAY) as i64 / POOLED;
        let mut pooled = Tail::new(memory);
        for (incidents, rest) in &mut all {
            let now = rest.partition_point(|said| i64::from(said.minute) < until);
            let (these, later) = rest.split_at(now);
            outcome.told.extend(these.iter().filter_map(|said| incidents.observe(&said.candidate())));
            *rest = later;
            incidents.advance(until * MINUTE_US, if judged { keys / CELLS } else { 0 });
            pooled.add(incidents.tail());
        }
        if let Some(budget) = budget {
            factors = budget.next(&pooled, &factors, POOLED as f64 / DAY as f64);
            all.iter_mut().for_each(|(incidents, _)| incidents.set_factors(&factors));
        }
        outcome.factors.push(factors);
    }
    for incident in &outcome.told {
        if let Some(time) = incident.told {
            let day = time / DAY_US - LEARNED_DAYS as i64;
            outcome.alerts[day.clamp(0, JUDGED_DAYS as i64 - 1) as usize] += 1;
        }
    }
    outcome
}

/// Minutes from the fault's beginning to its alert; none when there was none while it lasted or within the hour after.
fn delay(case: &Case, factors: &[Factors], budget: Option<&Budget>) -> Option<i64> {
    let begin = budget.map_or(Factors::all(1.0), Budget::begin);
    let mut incidents = Incidents::new(settings(budget), begin, 14.0);
    let mut hour = 0;
    for said in &case.said {
        while hour < i64::from(said.minute) / POOLED {
            incidents.set_factors(&factors[hour as usize]);
            hour += 1;
            incidents.advance(hour * POOLED * MINUTE_US, 1);
        }
        if incidents.observe(&said.candidate()).is_some()
            && (case.fault.begins..case.fault.ends + 60).contains(&(said.minute as usize))
        {
            return Some(i64::from(said.minute) - case.fault.begins as i64);
        }
    }
    None
}

fn median(delays: &mut [i64]) -> f64 {
    delays.sort_unstable();
    delays.get(delays.len() / 2).map_or(f64::NAN, |delay| *delay as f64)
}

fn figures_of(
    name: &str,
    outcome: &Outcome,
    cases: &[Case],
    named: &Named,
    budget: Option<&Budget>,
) -> Vec<Figure> {
    let counted = &outcome.alerts[FIRST_DAYS..];
    let days = counted.len() as f64;
    let total: u64 = counted.iter().sum();
    let mut figures = vec![Figure::new(
        format!("{name}: alerts, mean of the days after the first week"),
        total as f64 / days,
        "1/d",
    )];
    if let Some(budget) = budget {
        let (low, high) = poisson_interval(budget.alarms_per_day);
        let inside = counted.iter().filter(|n| (low..=high).contains(n)).count();
        let (least, most) = poisson_interval(budget.alarms_per_day * days);
        figures.push(Figure::new(
            format!("{name}: days with {low} to {high} alerts, of {days}"),
            inside as f64,
            "d",
        ));
        let name = format!("{name}: alerts of these days ({least} to {most} by Poisson)");
        figures.push(Figure::new(name, total as f64, ""));
    }
    for (number, finding) in named.findings.iter().enumerate() {
        let name = format!("{name}: {} at the end, {finding}", named.limit);
        let factor = outcome.factors.last().map_or(1.0, |factors| factors.of(number as u8));
        figures.push(Figure::new(name, f64::from(factor), ""));
    }
    for &(kind, text) in named.kinds {
        let of_kind = cases.iter().filter(|case| case.fault.kind == kind);
        let count = of_kind.clone().count().max(1);
        let mut delays: Vec<i64> = of_kind.filter_map(|case| delay(case, &outcome.factors, budget)).collect();
        let recall = delays.len() as f64 / count as f64;
        figures.push(Figure::new(format!("{name}: {text}, recall"), recall, ""));
        if !delays.is_empty() {
            figures.push(Figure::new(format!("{name}: {text}, median delay"), median(&mut delays), "min"));
        }
    }
    figures
}

/// The benchmark.
pub fn fleet() -> Result<Report> {
    let noises = Noises::new();
    let learning = (LEARNED_DAYS * DAY) as u16;
    let parameters = Parameters { learning_samples: learning, ..Parameters::default() };
    let cells = cells_say("signals", |cell| Ok(cell_says(cell, SIGNALS, &parameters, &noises)))?;
    let cases = cases(&parameters, &noises);
    let mut figures = Vec::new();
    for alarms_per_day in BUDGETS {
        let budget = Budget { alarms_per_day, ..Budget::default() };
        let outcome = alerts(&cells, SIGNALS, Some(&budget));
        figures.extend(figures_of(
            &format!("{alarms_per_day} a day"),
            &outcome,
            &cases,
            &NAMED,
            Some(&budget),
        ));
    }
    let outcome = alerts(&cells, SIGNALS, None);
    figures.extend(figures_of("always 1.0", &outcome, &cases, &NAMED, None));
    figures.extend(groups(&GROUPS, &noises)?);
    figures.extend(repeats::repeats(&noises));
    let input = format!(
        "{SIGNALS} benign signals, {LEARNED_DAYS} days learned and {JUDGED_DAYS} judged, a sample a minute, \
         {FAULTS_OF_A_KIND} faults of a kind; {} groups of signals that go together",
        GROUPS.groups
    );
    Ok(Report { input, figures })
}
