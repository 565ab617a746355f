use super::*;
use crate::testing::Noise;

/// Samples of a day.
const DAY: usize = 288;

/// A day as a temperature goes, and a little noise.
fn day(i: usize, noise: &mut Noise) -> f64 {
    20.0 + 5.0 * (i as f64 * std::f64::consts::TAU / DAY as f64).sin() + 0.2 * noise.normal()
}

fn feed(state: &mut State, values: impl IntoIterator<Item = f64>) -> Vec<(usize, Hit)> {
    let parameters = Parameters::default();
    let judged = values.into_iter().map(|value| state.judge(value, &parameters));
    judged.enumerate().filter_map(|(i, hit)| Some((i, hit?))).collect()
}

fn findings(found: &[(usize, Hit)]) -> Vec<Finding> {
    found.iter().map(|(_, hit)| hit.finding).collect()
}

/// One that has seen forty days.
fn learned() -> State {
    let (mut state, mut noise) = (State::default(), Noise(9));
    feed(&mut state, (0..40 * DAY).map(|i| day(i, &mut noise)));
    state
}

/// One that has seen noise of deviation 1 around 50.
fn noisy() -> State {
    let (mut state, mut noise) = (State::default(), Noise(5));
    feed(&mut state, (0..10_000).map(|_| 50.0 + noise.normal()));
    state
}

#[test]
fn days_that_go_as_all_went_are_silent() {
    let (mut state, mut noise) = (learned(), Noise(3));
    let found = feed(&mut state, (0..30 * DAY).map(|i| day(i, &mut noise)));
    assert!(found.len() <= 2, "{found:?}");
    // Nothing at all without noise, whatever the course.
    let mut state = State::default();
    let course = |i: usize| ((i % DAY) as f64 * 0.2).sin() + if i % DAY < 40 { 7.0 } else { 0.0 };
    feed(&mut state, (0..10 * DAY).map(course));
    assert_eq!(feed(&mut state, (0..50 * DAY).map(course)), []);
}

#[test]
fn noise_is_nearly_silent_and_more_so_when_more_is_asked_of_it() {
    let mut noise = Noise(7);
    let values: Vec<f64> = (0..100_000).map(|_| 50.0 + noise.normal()).collect();
    let alarms = |parameters: &Parameters| {
        let mut state = State::default();
        values.iter().filter(|value| state.judge(**value, parameters).is_some()).count()
    };
    let usual = alarms(&Parameters::default());
    let strict = alarms(&Parameters { usual: 8.0, ..Parameters::default() });
    assert!(usual <= 100 && strict <= usual / 2, "{usual} {strict}");
}

#[test]
fn a_spike_is_found_in_its_block_and_explained() {
    let (mut state, mut noise) = (learned(), Noise(3));
    let spike = (0..2 * DAY).map(|i| if i == 104 { 40.0 } else { day(i, &mut noise) });
    let found = feed(&mut state, spike);
    assert_eq!(found.len(), 1, "{found:?}");
    let (at, hit) = found[0];
    assert!((104..114).contains(&at), "{found:?}");
    assert_eq!(hit.finding, Finding::Step);
    assert!(hit.seen > 14.0 && hit.expected < 2.0 && hit.score > 10.0, "{hit:?}");
}

#[test]
fn values_never_reached_are_found_low_and_high() {
    // Slowly, so that no step gives it away.
    let ramp = |to: f64| move |i: usize| to * (i as f64 / 200.0).min(1.0);
    for (finding, to) in [(Finding::High, 6.0), (Finding::Low, -6.0)] {
        let (mut state, mut noise) = (State::default(), Noise(3));
        let wave = |i: usize| 50.0 + 5.0 * (i as f64 / 60.0).sin();
        feed(&mut state, (0..10_000).map(|i| wave(i) + 0.1 * noise.normal()));
        let climbs = (0..1000).map(|i| wave(10_000 + i) + ramp(to)(i) + 0.1 * noise.normal());
        let found = feed(&mut state, climbs);
        assert!(!found.is_empty());
        for (_, hit) in found {
            assert!(hit.finding == finding && (hit.seen - hit.expected) * to > 0.0, "{hit:?}");
        }
    }
}

#[test]
fn a_shift_of_level_is_found_once() {
    let (mut state, mut noise) = (learned(), Noise(3));
    let found = feed(&mut state, (0..2 * DAY).map(|i| day(i, &mut noise) + 4.0));
    assert!(found[0].0 < 20, "{found:?}");
    assert!(found.len() <= 3, "one incident: {found:?}");
    let later = feed(&mut state, (0..20 * DAY).map(|i| day(i, &mut noise) + 4.0));
    assert!(later.len() <= 2, "it is known: {later:?}");
}

#[test]
fn another_period_is_found() {
    let (mut state, mut noise) = (learned(), Noise(3));
    let found = feed(&mut state, (0..DAY).map(|i| day(2 * i, &mut noise)));
    assert!(!found.is_empty());
}

#[test]
fn known_values_in_another_order_are_found_by_the_course() {
    let rise = |i: usize| (i % 150) as f64;
    let mut state = State::default();
    feed(&mut state, (0..6000).map(rise));
    assert_eq!(feed(&mut state, (0..6000).map(rise)), []);
    let found = feed(&mut state, (0..600).map(|i| 149.0 - rise(i)));
    assert!(findings(&found).contains(&Finding::Course), "{found:?}");
}

#[test]
fn another_variance_is_found_whether_more_or_less() {
    let mut noise = Noise(3);
    let louder = feed(&mut noisy(), (0..60).map(|_| 50.0 + 3.0 * noise.normal()));
    let quieter = feed(&mut noisy(), (0..60).map(|_| 50.0 + 0.1 * noise.normal()));
    assert!(!louder.is_empty() && !quieter.is_empty(), "{louder:?} {quieter:?}");
}

#[test]
fn a_stuck_signal_is_found() {
    let mut noise = Noise(3);
    let stuck = (0..200).map(|i| if i < 60 { 50.0 + noise.normal() } else { 50.25 });
    let found = feed(&mut noisy(), stuck);
    assert!(found.iter().any(|(at, _)| (60..90).contains(at)), "{found:?}");
}

#[test]
fn what_goes_on_is_one_incident_unless_it_gets_worse() {
    let mut noise = Noise(3);
    let mut state = noisy();
    let mut of = |level: f64| findings(&feed(&mut state, (0..50).map(|_| level + noise.normal())));
    assert_eq!(of(70.0).len(), 1);
    assert_eq!(of(70.0), []);
    assert_eq!(of(1000.0).len(), 1, "worse");
}

#[test]
fn what_was_found_is_known_until_it_is_forgotten() {
    let parameters = Parameters::default();
    let wave = |i: usize| 10.0 * (i as f64 / 40.0).sin();
    let mut state = State::default();
    let mut spike = |quiet: usize| {
        let values = (0..quiet).map(wave).chain([50.0; 10]);
        values.filter_map(|value| state.judge(value, &parameters)).count()
    };
    assert_eq!(spike(3000), 1);
    assert_eq!(spike(3000), 0, "known");
    let memory = (parameters.memory * f64::from(parameters.learning_samples)) as usize;
    assert_eq!(spike(memory + 1000), 1, "forgotten");
}

#[test]
fn nothing_is_found_while_it_learns() {
    let mut noise = Noise(3);
    let mut state = State::default();
    let found = feed(&mut state, (0..750).map(|i| noise.normal() * f64::from(i)));
    assert_eq!((found.len(), state.is_ready(&Parameters::default())), (0, false));
    feed(&mut state, (0..10).map(|_| 0.0));
    assert!(state.is_ready(&Parameters::default()));
}

#[test]
fn a_state_that_is_saved_anywhere_goes_on_the_same() {
    let mut noise = Noise(3);
    let values: Vec<f64> = (0..6000).map(|i| day(i, &mut noise) + if i > 4000 { 6.0 } else { 0.0 }).collect();
    let mut whole = State::default();
    let expected = feed(&mut whole, values.iter().copied());
    assert!(!expected.is_empty());
    for cut in [0, 1, 7, 750, 3999, 4001, 4013, 5999] {
        let mut state = State::default();
        let mut found = feed(&mut state, values[..cut].iter().copied());
        let saved = postcard::to_allocvec(&state).unwrap();
        let mut state: State = postcard::from_bytes(&saved).unwrap();
        assert_eq!(postcard::to_allocvec(&state).unwrap(), saved);
        let rest = feed(&mut state, values[cut..].iter().copied());
        found.extend(rest.into_iter().map(|(i, hit)| (i + cut, hit)));
        assert_eq!(found, expected, "cut at {cut}");
        assert_eq!(postcard::to_allocvec(&state).unwrap(), postcard::to_allocvec(&whole).unwrap());
    }
}

#[test]
fn a_change_of_context_is_no_course_and_no_step() {
    let wave = |i: usize| if (i / 500).is_multiple_of(2) { 0.0 } else { 100.0 } + (i as f64 / 7.0).sin();
    let run = |begin: bool| {
        let mut state = State::default();
        // Both levels are known, the change from one to the other is not.
        feed(&mut state, (0..1500).map(wave));
        state.begin();
        feed(&mut state, (500..1000).map(wave));
        if begin {
            state.begin();
        }
        feed(&mut state, (500..600).map(|i| wave(i) - 100.0))
    };
    let mut state = State::default();
    feed(&mut state, (0..500).map(wave));
    state.begin();
    feed(&mut state, (500..1000).map(wave));
    state.begin();
    assert_eq!(feed(&mut state, (0..500).map(wave)), []);
    assert_eq!(run(true), []);
}

#[test]
fn values_that_are_none_are_passed_over_and_all_others_are_defined() {
    let mut noise = Noise(3);
    let values: Vec<f64> = (0..3000).map(|_| noise.normal()).collect();
    let (mut clean, mut mixed) = (State::default(), State::default());
    let expected = feed(&mut clean, values.iter().copied());
    let bad = values.iter().flat_map(|&value| [f64::NAN, value, f64::INFINITY, f64::NEG_INFINITY]);
    assert_eq!(findings(&feed(&mut mixed, bad)), findings(&expected));
    assert_eq!(mixed, clean);

    // One sample, nothing but constants, and the largest numbers.
    assert_eq!(feed(&mut State::default(), [1.0]), []);
    let mut constant = State::default();
    assert_eq!(feed(&mut constant, std::iter::repeat_n(5.0, 10_000)), []);
    assert_eq!(feed(&mut constant, [6.0; 20]).len(), 1);
    let mut huge = State::default();
    feed(&mut huge, (0..5000).map(|i| if i % 2 == 0 { f64::MAX } else { f64::MIN }));
    let found = feed(&mut huge, [0.0; 100]);
    assert!(!found.is_empty() && found.iter().all(|(_, hit)| hit.score.is_finite()), "{found:?}");
}

#[test]
fn parameters_beyond_reason_are_defined() {
    let mut noise = Noise(3);
    for learning_samples in [0, 1, 74, u32::MAX] {
        for (tolerance, usual, memory) in
            [(0.0, 0.0, 0.0), (-1.0, f64::NAN, f64::INFINITY), (f64::NAN, 1e300, -5.0)]
        {
            let parameters = Parameters { learning_samples, tolerance, usual, memory };
            let mut state = State::default();
            for _ in 0..500 {
                let hit = state.judge(noise.normal(), &parameters);
                assert!(hit.is_none_or(|hit| !hit.score.is_nan()), "{parameters:?}");
            }
        }
    }
}

#[test]
fn a_state_takes_no_more_than_it_says() {
    let mut noise = Noise(3);
    let mut state = State::default();
    feed(&mut state, (0..50_000).map(|i| 1.01_f64.powi(i / 10 % 3000) * (1.0 + noise.even())));
    let saved = postcard::to_allocvec(&state).unwrap();
    assert!((5000..=State::BYTES_MAX).contains(&saved.len()), "{} of {}", saved.len(), State::BYTES_MAX);
}

#[test]
fn the_card_says_the_defaults() {
    let card = include_str!("../../../../models/series.yaml");
    let Parameters { learning_samples, tolerance, usual, memory } = Parameters::default();
    let written = [
        format!("  learning_samples: {learning_samples} "),
        format!("  tolerance: {tolerance} "),
        format!("  usual: {usual:.1} "),
        format!("  memory: {memory:.1} "),
        format!("memory_bytes_per_key: at most {} ", State::BYTES_MAX),
        format!("finds: [{}]", Finding::ALL.map(Finding::name).join(", ")),
    ];
    written.iter().for_each(|line| assert!(card.contains(line.as_str()), "{line}"));
}
