//! Replays, which the guard cannot see, judged by the model of exact repeats; it has no part in the budget.

use yagura_models::repeat::{Parameters, State};

use super::faults::{Fault, Faulty, KINDS, Kind};
use super::signals::{DAY, Day, Noises, Random, Signal};
use super::{FAULTS_OF_A_KIND, FIRST_DAYS, JUDGED_DAYS, LEARNED_DAYS, SEED, SIGNALS, median};
use crate::report::Figure;

/// Of the benign signals, one in so many is judged.
const ONE_IN: u64 = 10;

pub fn repeats(noises: &Noises) -> Vec<Figure> {
    let days = (LEARNED_DAYS + FIRST_DAYS, LEARNED_DAYS + JUDGED_DAYS - 4);
    let (mut random, mut delays) = (Random::new(78), Vec::new());
    for key in 0..FAULTS_OF_A_KIND {
        let fault = Fault::new(Kind::Replay, &mut random, days);
        let mut faulty = Faulty::new(Signal::new(SIGNALS + key, SEED), fault, key);
        let found = told(|day| faulty.day(noises, day));
        let within = fault.begins..fault.ends + 60;
        delays.extend(found.iter().find(|at| within.contains(at)).map(|at| (at - fault.begins) as i64));
    }
    let benign = (0..SIGNALS).step_by(ONE_IN as usize).map(|key| {
        let mut signal = Signal::new(key, SEED);
        told(|day| signal.day(noises, |_| 0.0, day)).len()
    });
    let alerts = benign.sum::<usize>() as f64 * ONE_IN as f64;
    let recall = delays.len() as f64 / FAULTS_OF_A_KIND as f64;
    let text = KINDS.iter().find(|(kind, _)| *kind == Kind::Replay).map_or("", |(_, text)| text);
    vec![
        Figure::new(
            "exact repeats: alerts of all signals",
            alerts / (LEARNED_DAYS + JUDGED_DAYS) as f64,
            "1/d",
        ),
        Figure::new(format!("exact repeats: {text}, recall"), recall, ""),
        Figure::new(format!("exact repeats: {text}, median delay"), median(&mut delays), "min"),
    ]
}

/// The minutes in which a repeat is told.
fn told(mut next: impl FnMut(&mut Day)) -> Vec<usize> {
    let (mut state, parameters, mut day) = (State::default(), Parameters::default(), Day::default());
    let mut told = Vec::new();
    for number in 0..LEARNED_DAYS + JUDGED_DAYS {
        next(&mut day);
        let found =
            |(minute, value): (usize, &f64)| state.judge(*value, &parameters).map(|_| number * DAY + minute);
        told.extend(day.values.iter().enumerate().filter_map(found));
    }
    told
}
