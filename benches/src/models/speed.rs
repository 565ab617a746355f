//! What the models cost on one core: judging, and learning where a model goes on learning.

use std::time::Instant;

use anyhow::Result;
use ndarray::{Array2, s};
use yagura_models::conversation::{self, Event, Written};
use yagura_models::group::{Group, Parameters, Work};
use yagura_models::{guard, series};

use super::libraries::{self, Ours};
use crate::report::Figure;

pub const SIGNALS: usize = 50;
const LEARNED: usize = 2_000;
const JUDGED: usize = 100_000;
const RUNS: usize = 5;

/// Each model, then the libraries of others beside it.
pub fn speed() -> Result<Vec<Figure>> {
    let (rows, samples) = (rows(LEARNED + JUDGED), Samples::new(true));
    let mut figures = Vec::new();
    let group = group(&rows, &mut figures)?;
    series(&rows, &mut figures);
    let guard = guard(&samples, &mut figures);
    conversations(&mut figures);
    libraries::beside(&Ours { rows: &rows, group, samples: &samples, guard }, &mut figures)?;
    Ok(figures)
}

/// The median of some runs: `judge` answers how much it judged; what it needs, `ready` makes.
fn rate<T>(ready: impl Fn() -> T, judge: impl Fn(&mut T) -> usize) -> f64 {
    let mut rates: Vec<f64> = (0..RUNS)
        .map(|_| {
            let mut with = ready();
            #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
            let began = Instant::now();
            let judged = judge(&mut with);
            judged as f64 / began.elapsed().as_secs_f64()
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    rates[RUNS / 2]
}

/// Random numbers that are the same in every run, from -0.5 to 0.5.
pub struct Noise(fastrand::Rng);

impl Noise {
    pub fn new(seed: u64) -> Noise {
        Noise(fastrand::Rng::with_seed(seed))
    }

    pub fn next(&mut self) -> f64 {
        self.0.f64() - 0.5
    }
}

/// Rows of signals that follow some common causes.
fn rows(count: usize) -> Array2<f64> {
    let mut noise = Noise::new(1);
    let mut causes = [0.0; 5];
    let mut out = Array2::zeros((count, SIGNALS));
    for mut row in out.rows_mut() {
        causes.iter_mut().for_each(|cause| *cause = 0.9 * *cause + noise.next());
        for (i, value) in row.iter_mut().enumerate() {
            *value = causes[i % 5] + 0.5 * causes[(i + 2) % 5] + noise.next();
        }
    }
    out
}

/// Answers how many rows were looked back and how many values were judged a second.
fn group(rows: &Array2<f64>, figures: &mut Vec<Figure>) -> Result<Vec<(usize, f64)>> {
    let mut rates = Vec::new();
    for lags in [1, 4] {
        let parameters = Parameters { lags_max: lags, ..Parameters::default() };
        let group = Group::fit(rows.slice(s![..LEARNED, ..]), &parameters)?;
        let rate = rate(
            || group.clone(),
            |group| {
                let mut worst = 0.0_f32;
                group.judge(
                    rows.slice(s![LEARNED.., ..]),
                    &parameters,
                    &mut Work::default(),
                    |_, verdict, _| worst = worst.max(verdict.score),
                );
                std::hint::black_box(worst);
                JUDGED * SIGNALS
            },
        );
        let name = format!("group of {SIGNALS} signals, {lags} rows looked back");
        figures.push(Figure::new(format!("{name}: values, learning included"), rate / 1e6, "M/s"));
        figures.push(Figure::new(format!("{name}: memory"), group.bytes() as f64 / 1024.0, "KiB"));
        rates.push((lags, rate));
    }
    Ok(rates)
}

/// Samples of one series, and of many in turn whose states do not stay in the cache.
fn series(rows: &Array2<f64>, figures: &mut Vec<Figure>) {
    let parameters = series::Parameters::default();
    for keys in [1, 10_000] {
        let rate = rate(
            || vec![series::State::default(); keys],
            |states| {
                let mut found = 0;
                for (i, value) in rows.iter().enumerate() {
                    found += usize::from(states[i % keys].judge(*value, &parameters).is_some());
                }
                std::hint::black_box(found);
                rows.len()
            },
        );
        figures.push(Figure::new(format!("series, {keys} in turn: samples"), rate / 1e6, "M/s"));
    }
    let bytes = series::State::BYTES_MAX as f64 / 1024.0;
    figures.push(Figure::new("series: memory, at most", bytes, "KiB"));
}

const KEYS: u32 = 100_000;
const BATCH: usize = 8_192;
const BATCHES: usize = 512;
/// Samples of each key before it is approved.
const ROUNDS: usize = 64;
/// Microseconds between two samples of a key, on average.
const INTERVAL: i64 = 1_000_000;

/// Samples of many keys, one column each.
pub struct Samples {
    pub keys: Vec<u32>,
    times: Vec<i64>,
    pub values: Vec<f64>,
    quality: Vec<u8>,
}

impl Samples {
    /// Of keys that are drawn one by one, or come in turn.
    fn new(random: bool) -> Samples {
        let mut noise = Noise::new(2);
        let count = BATCH * BATCHES;
        let mut of = |i: usize| match random {
            true => ((noise.next() + 0.5) * f64::from(KEYS)) as u32 % KEYS,
            false => i as u32 % KEYS,
        };
        let keys: Vec<u32> = (0..count).map(&mut of).collect();
        let mut noise = Noise::new(3);
        let values = keys.iter().map(|&key| f64::from(key % 100) + noise.next()).collect();
        let begin = ROUNDS as i64 * INTERVAL;
        let times = (0..count).map(|i| begin + i as i64 * INTERVAL / i64::from(KEYS)).collect();
        Samples { keys, times, values, quality: vec![0; count] }
    }
}

/// Answers the rate of keys in random order, in samples a second.
fn guard(random: &Samples, figures: &mut Vec<Figure>) -> f64 {
    let parameters = guard::Parameters::default();
    let approved = approved(&parameters);
    let of = |samples: &Samples| {
        rate(
            || (approved.clone(), Vec::new()),
            |(states, hits)| {
                let Samples { keys, times, values, quality } = samples;
                for at in (0..keys.len()).step_by(BATCH) {
                    let of = at..at + BATCH;
                    guard::judge(
                        states,
                        &keys[of.clone()],
                        &times[of.clone()],
                        &values[of.clone()],
                        &quality[of],
                        &parameters,
                        hits,
                    );
                }
                std::hint::black_box(hits.len());
                keys.len()
            },
        )
    };
    let (drawn, turn) = (of(random), of(&Samples::new(false)));
    let name = |order: &str| format!("guard, {KEYS} keys {order}, batches of {BATCH}, approved: samples");
    figures.push(Figure::new(name("in random order"), drawn / 1e6, "M/s"));
    figures.push(Figure::new(name("in turn"), turn / 1e6, "M/s"));
    figures.push(Figure::new("guard: memory of a key", size_of::<guard::State>() as f64, "B"));
    drawn
}

/// States that have learned and judge.
fn approved(parameters: &guard::Parameters) -> Vec<guard::State> {
    let mut states = vec![guard::State::default(); KEYS as usize];
    let keys: Vec<u32> = (0..KEYS).collect();
    let (quality, mut hits, mut noise) = (vec![0; keys.len()], Vec::new(), Noise::new(4));
    for round in 0..ROUNDS as i64 {
        let times = vec![round * INTERVAL; keys.len()];
        let values: Vec<f64> = keys.iter().map(|&key| f64::from(key % 100) + noise.next()).collect();
        guard::judge(&mut states, &keys, &times, &values, &quality, parameters, &mut hits);
    }
    states.iter_mut().for_each(|state| {
        state.approve(parameters);
    });
    states
}

/// Conversations, each with its cycle of commands; some write a value.
const CONVERSATIONS: u32 = 100;
const COMMANDS: u32 = 20;
const MESSAGES: usize = 1_000_000;

/// Known messages, as nearly all are.
fn conversations(figures: &mut Vec<Figure>) {
    let parameters = conversation::Parameters::default();
    let mut noise = Noise::new(5);
    let mut message = |i: usize| {
        let conversation = i as u32 % CONVERSATIONS;
        let turn = i as u32 / CONVERSATIONS % COMMANDS;
        let command = conversation * COMMANDS + turn;
        let writes = turn.is_multiple_of(4);
        Event {
            conversation,
            command,
            place: if writes { command } else { conversation::NONE },
            // One message of each conversation every tenth of a second.
            time: i as i64 * 100_000 / i64::from(CONVERSATIONS) + (noise.next() * 1e3) as i64,
            written: if writes { Written::Number(10.0 + noise.next()) } else { Written::Nothing },
            begins: false,
        }
    };
    let events: Vec<Event> = (0..MESSAGES * 2).map(&mut message).collect();
    let mut learned = conversation::Model::default();
    (0..CONVERSATIONS).for_each(|number| learned.begin_conversation(number));
    (0..CONVERSATIONS * COMMANDS).for_each(|number| {
        learned.begin_command(number);
        learned.begin_place(number);
    });
    learned.judge(&events[..MESSAGES], &parameters, &mut Vec::new(), &mut Vec::new());
    learned.approve();
    let rate = rate(
        || (learned.clone(), Vec::new(), Vec::new()),
        |(model, hits, scores)| {
            for events in events[MESSAGES..].chunks(BATCH) {
                scores.clear();
                model.judge(events, &parameters, hits, scores);
            }
            std::hint::black_box(hits.len());
            MESSAGES
        },
    );
    let name =
        format!("conversation, {CONVERSATIONS} of {COMMANDS} commands, a quarter writes, approved: messages");
    figures.push(Figure::new(name, rate / 1e6, "M/s"));
}
