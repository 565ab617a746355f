use super::*;
use crate::testing::Noise;

fn feed(state: &mut State, clock: &mut i64, values: impl Iterator<Item = f64>) -> Vec<Finding> {
    feed_by(&Parameters::default(), state, clock, values)
}

fn feed_by(
    parameters: &Parameters,
    state: &mut State,
    clock: &mut i64,
    values: impl Iterator<Item = f64>,
) -> Vec<Finding> {
    let mut hits = Vec::new();
    let mut states = [*state];
    for value in values {
        *clock += 1_000_000;
        judge(&mut states, &[0], &[*clock], &[value], &[0], parameters, &mut hits);
    }
    *state = states[0];
    hits.iter().map(|h| h.finding).collect()
}

fn learned(noise: &mut Noise, clock: &mut i64) -> State {
    let mut state = State::default();
    assert!(feed(&mut state, clock, (0..600).map(|_| 50.0 + noise.normal())).is_empty());
    assert!(state.approve(&Parameters::default()));
    state
}

#[test]
fn a_state_is_one_cache_line() {
    assert_eq!(std::mem::size_of::<State>(), 64);
    assert_eq!(std::mem::align_of::<State>(), 64);
}

#[test]
fn ordinary_noise_is_silent_for_a_day() {
    let (mut noise, mut clock) = (Noise(7), 0);
    let mut state = learned(&mut noise, &mut clock);
    let found = feed(&mut state, &mut clock, (0..86_400).map(|_| 50.0 + noise.normal()));
    assert_eq!(found, []);
}

#[test]
fn correlated_noise_is_silent_too() {
    let (mut noise, mut clock, mut level) = (Noise(9), 0, 0.0);
    let mut values = move |_| {
        level = 0.8 * level + noise.normal();
        20.0 + level
    };
    let mut state = State::default();
    feed(&mut state, &mut clock, (0..3000).map(&mut values));
    assert!(state.approve(&Parameters::default()));
    assert_eq!(feed(&mut state, &mut clock, (0..20_000).map(&mut values)), []);
}

#[test]
fn a_shift_of_three_sigma_is_found_within_a_minute() {
    let (mut noise, mut clock) = (Noise(7), 0);
    let mut state = learned(&mut noise, &mut clock);
    let found = feed(&mut state, &mut clock, (0..60).map(|_| 53.0 + noise.normal()));
    assert!(found.contains(&Finding::Drift), "{found:?}");
}

#[test]
fn a_slow_walk_that_the_running_mean_follows_is_found_by_the_frozen_one() {
    let (mut noise, mut clock) = (Noise(7), 0);
    let mut state = learned(&mut noise, &mut clock);
    let walk = (0..4000).map(|i| 50.0 + f64::from(i) * 0.001 + noise.normal());
    let found = feed(&mut state, &mut clock, walk);
    assert!(found.contains(&Finding::Drift), "{found:?}");
    assert!(!found.contains(&Finding::Shift), "{found:?}");
}

#[test]
fn far_away_samples_are_out_of_range_only_when_they_persist() {
    let (mut noise, mut clock) = (Noise(7), 0);
    let mut state = learned(&mut noise, &mut clock);
    assert_eq!(feed(&mut state, &mut clock, [90.0].into_iter()), []);
    assert_eq!(feed(&mut state, &mut clock, [50.1].into_iter()), []);
    let found = feed(&mut state, &mut clock, [90.0, 91.0, 92.0].into_iter());
    assert_eq!(found, [Finding::Range]);
}

#[test]
fn a_frozen_value_is_stuck_once() {
    let (mut noise, mut clock) = (Noise(7), 0);
    let mut state = learned(&mut noise, &mut clock);
    let found = feed(&mut state, &mut clock, std::iter::repeat_n(50.25, 300));
    assert_eq!(found, [Finding::Stuck]);
}

#[test]
fn a_pause_is_a_gap_unless_the_context_changed() {
    let (mut noise, mut clock) = (Noise(7), 0);
    let mut state = learned(&mut noise, &mut clock);
    feed(&mut state, &mut clock, [50.0].into_iter());
    clock += 90_000_000;
    assert_eq!(feed(&mut state, &mut clock, [50.2].into_iter()), [Finding::Gap]);
    clock += 90_000_000;
    state.begin(&Parameters::default());
    assert_eq!(feed(&mut state, &mut clock, [50.2].into_iter()), []);
}

#[test]
fn a_reference_that_is_taken_over_judges_as_the_one_it_was_taken_from() {
    let (mut noise, mut clock) = (Noise(7), 0);
    let mut state = learned(&mut noise, &mut clock);
    let reference = state.reference().unwrap();
    let mut other = State::default();
    other.refer_to(&reference, &Parameters::default());
    assert_eq!(other.reference(), Some(reference));
    let (walk, mut later) = ((0..4000).map(|i| 50.0 + f64::from(i) * 0.001).collect::<Vec<_>>(), clock);
    let mut twin = noise.clone();
    let found = feed(&mut state, &mut clock, walk.iter().map(|level| level + noise.normal()));
    let taken = feed(&mut other, &mut later, walk.iter().map(|level| level + twin.normal()));
    assert!(found.contains(&Finding::Drift) && taken.contains(&Finding::Drift), "{found:?} {taken:?}");
    other.retire();
    assert_eq!((other.reference(), other.is_approved()), (None, false));
    let proposed = other.proposal(&Parameters::default()).unwrap();
    assert!((f64::from(proposed.deviation) / f64::from(reference.deviation) - 1.0).abs() < 1e-5);
}

#[test]
fn maintenance_moves_the_level_within_its_limit_and_no_farther() {
    let (mut noise, mut clock) = (Noise(7), 0);
    let mut state = learned(&mut noise, &mut clock);
    let before = state.reference().unwrap();
    state.maintain(before.level);
    assert!(!state.is_approved());
    let found = feed(&mut state, &mut clock, (0..2000).map(|_| 54.0 + noise.normal()));
    assert_eq!(found, [], "a new level within the limit is the approved one now");
    assert!((state.reference().unwrap().level - 54.0).abs() < 0.5);
    // Again and again, the limit counts from what a person approved.
    for _ in 0..3 {
        state.maintain(before.level);
        feed(&mut state, &mut clock, (0..100).map(|_| 80.0 + noise.normal()));
    }
    let after = state.reference().unwrap();
    assert!(after.level < before.level + 6.1 * f64::from(before.deviation), "{after:?}");
    let found = feed(&mut state, &mut clock, (0..100).map(|_| 80.0 + noise.normal()));
    assert!(found.contains(&Finding::Drift), "{found:?}");
}

#[test]
fn what_learns_says_provisionally_what_is_far_outside_all_it_has_seen() {
    let (mut noise, mut clock, mut state) = (Noise(7), 0, State::default());
    let early = Parameters { provisional_sigma: 24.0, ..Parameters::default() };
    assert_eq!(feed_by(&early, &mut state, &mut clock, (0..200).map(|_| 50.0 + noise.normal())), []);
    assert_eq!(
        feed_by(&early, &mut state, &mut clock, [120.0, 50.0, 120.0, 50.0].into_iter()),
        [],
        "single spikes"
    );
    let mut hits = Vec::new();
    let (values, parameters) = ([90.0, 91.0, 90.5, 90.2], Parameters::default());
    judge(&mut [state], &[0; 4], &[clock; 4], &values, &[0; 4], &parameters, &mut hits);
    assert_eq!(hits, [], "unless it was asked for, nothing alerts before it is approved");
    judge(&mut [state], &[0; 4], &[clock; 4], &values, &[0; 4], &early, &mut hits);
    assert_eq!(hits.len(), 1, "{hits:?}");
    assert!(hits[0].provisional && hits[0].finding == Finding::Range && hits[0].index == 2);
    // A switch that was seen both ways is no finding, however rarely it moves.
    let mut switch = State::default();
    let day = |i: i32| if (i % 2000) < 1000 { 0.0 } else { 1.0 };
    feed_by(&early, &mut switch, &mut clock, (0..3500).map(day));
    assert_eq!(feed_by(&early, &mut switch, &mut clock, (3500..20_000).map(day)), []);
    // One that never moved has nothing to be compared with.
    let mut constant = State::default();
    assert_eq!(feed_by(&early, &mut constant, &mut clock, (0..100).map(|_| 5.0).chain([9.0; 5])), []);
}

#[test]
fn missing_and_bad_values_are_passed_over() {
    let mut states = [State::default()];
    let mut hits = Vec::new();
    judge(
        &mut states,
        &[0, 0, NO_SLOT, 0],
        &[1, 2, 3, 4],
        &[f64::NAN, 1.0, 2.0, f64::INFINITY],
        &[0, 2, 0, 0],
        &Parameters::default(),
        &mut hits,
    );
    assert_eq!(states[0].samples, 0);
    assert!(!states[0].clone().approve(&Parameters::default()));
}

/// What is near, with what is found.
#[derive(Default)]
struct Near {
    hits: Vec<Hit>,
    near: Vec<(u32, i64)>,
}

impl Findings for Near {
    fn found(&mut self, hit: Hit) {
        self.hits.push(hit);
    }

    fn near(&mut self, index: u32, last_time: i64) {
        self.near.push((index, last_time));
    }
}

#[test]
fn samples_on_the_way_to_a_finding_are_told_one_after_the_other_and_those_of_noise_are_not() {
    let (mut noise, mut clock) = (Noise(7), 0);
    let state = learned(&mut noise, &mut clock);
    let values: Vec<f64> =
        (0..10_000).map(|i| if i < 9_900 { 50.0 } else { 53.0 } + noise.normal()).collect();
    let times: Vec<i64> = (0..10_000).map(|i| clock + (i + 1) * 1_000_000).collect();
    for watched in [false, true] {
        let (mut told, mut states, all) = (Near::default(), [state], Parameters::default());
        let (slots, quality) = (vec![0; values.len()], vec![0; values.len()]);
        match watched {
            false => judge(&mut states, &slots, &times, &values, &quality, &all, &mut told),
            true => watch(&mut states, &slots, &times, &values, &quality, &all, 1.0, &mut told),
        }
        let first = told.hits[0].index;
        assert!((9_905..9_930).contains(&first), "{:?}", told.hits);
        let of_noise = told.near.iter().filter(|(index, _)| *index < 9_900).count();
        assert!(of_noise <= 5, "{of_noise}");
        // Without a hole from the one that comes near to the one that is found.
        let way: Vec<_> = told.near.iter().filter(|(index, _)| (9_900..=first).contains(index)).collect();
        assert!(way.len() >= 5 && way[way.len() - 1].0 == first, "{way:?}");
        assert!(way.windows(2).all(|two| two[1].0 == two[0].0 + 1 && two[1].1 == times[two[0].0 as usize]));
    }
}
