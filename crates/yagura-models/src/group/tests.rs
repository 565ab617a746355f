use super::*;
use crate::testing::Noise;

/// A heater, what it heats, a pressure that follows it, and a flow by itself.
fn plant(n: usize, seed: u64) -> Array2<f64> {
    let mut noise = Noise(seed);
    let (mut power, mut heat) = (0.0, 0.0);
    let mut rows = Array2::zeros((n, 4));
    for mut row in rows.rows_mut() {
        power = 0.9 * power + noise.normal();
        heat = 0.8 * heat + 0.2 * power;
        row[0] = 500.0 + 10.0 * power;
        row[1] = 80.0 + heat + 0.1 * noise.normal();
        row[2] = 2.0 + 0.05 * heat + 0.01 * noise.normal();
        row[3] = 30.0 + noise.normal();
    }
    rows
}

fn scores(group: &mut Group, rows: ArrayView2<'_, f64>) -> Vec<f32> {
    let mut scores = Vec::new();
    group.judge(rows, &Parameters::default(), &mut Work::default(), |_, verdict, _| {
        scores.push(verdict.score)
    });
    scores
}

fn alarms(group: &mut Group, rows: ArrayView2<'_, f64>, parameters: &Parameters) -> Vec<Alarm> {
    let mut alarms = Vec::new();
    group.judge(rows, parameters, &mut Work::default(), |_, verdict, _| {
        alarms.push(verdict.alarm);
        assert!(verdict.alarm == Alarm::Off || verdict.score > 1.0);
        assert!(verdict.alarm != Alarm::Begins || verdict.score > verdict.factor);
    });
    alarms
}

#[test]
fn alarms_begin_no_more_often_than_said_when_the_limits_are_too_low() {
    let parameters = Parameters { nominal: 0.001, ..Parameters::default() };
    let mut group = Group::fit(plant(1000, 1).view(), &parameters).unwrap();
    let rows = plant(60_000, 6);
    group.limits = group.limits.map(|limit| Limit { at: 0.6 * limit.at, ..limit });
    let alarms = alarms(&mut group, rows.view(), &parameters);
    let begun = alarms[30_000..].iter().filter(|alarm| **alarm == Alarm::Begins).count();
    let mut held = group.clone();
    held.begin();
    assert!(held.tracker.factor() > 1.3 && held.tracker == group.tracker, "{:?}", group.tracker);
    assert!((10..=90).contains(&begun), "{begun} of 30,000 at a nominal 1 in a thousand");
    group.begin_anew();
    assert_eq!(group.tracker, Tracker::default());
}

#[test]
fn a_deviation_that_lasts_is_one_alarm() {
    let mut rows = plant(900, 3);
    rows.slice_mut(s![200..800, 1]).map_inplace(|v| *v += 5.0);
    let parameters = Parameters { nominal: 1e-5, ..Parameters::default() };
    let mut group = Group::fit(plant(1000, 1).view(), &parameters).unwrap();
    let alarms = alarms(&mut group, rows.view(), &parameters);
    let begun: Vec<usize> = (0..900).filter(|&row| alarms[row] == Alarm::Begins).collect();
    assert!(begun.len() == 1 && (200..205).contains(&begun[0]), "{begun:?}");
    assert!(alarms[begun[0] + 1..800].iter().all(|alarm| *alarm == Alarm::Lasts));
    assert_eq!(alarms[880], Alarm::Off);
}

fn fitted() -> Group {
    Group::fit(plant(1000, 1).view(), &Parameters::default()).unwrap()
}

#[test]
fn ordinary_rows_deviate_about_as_often_as_said() {
    let scores = scores(&mut fitted(), plant(20_000, 2).view());
    let over = scores.iter().filter(|&&score| score > 1.0).count();
    assert!((5..300).contains(&over), "{over} of 20,000 at a nominal 3 in a thousand");
}

#[test]
fn a_signal_that_leaves_its_relation_is_found_and_named_though_it_stays_in_its_range() {
    let mut rows = plant(400, 3);
    // The sensor of the heat stands still at an ordinary value.
    rows.slice_mut(s![200.., 1]).fill(80.5);
    let mut group = fitted();
    let mut found = Vec::new();
    group.judge(rows.view(), &Parameters::default(), &mut Work::default(), |row, verdict, group| {
        if verdict.score > 1.0 {
            found.push((row, group.shares()[0].signal));
        }
    });
    let first = found.iter().find(|(row, _)| *row >= 200).unwrap();
    assert!(first.0 < 240 && first.1 == 1, "{first:?}");
}

#[test]
fn any_splitting_gives_the_same_bits() {
    let mut rows = plant(700, 4);
    rows[[33, 2]] = f64::NAN;
    rows.row_mut(34).fill(f64::NAN);
    rows[[400, 0]] = f64::INFINITY;
    let mut whole = fitted();
    let all = scores(&mut whole, rows.view());
    for size in [1, 3, 8, 64] {
        let mut parts = fitted();
        let mut found = Vec::new();
        for from in (0..700).step_by(size) {
            found.extend(scores(&mut parts, rows.slice(s![from..(from + size).min(700), ..])));
        }
        assert_eq!((&found, &parts), (&all, &whole), "{size}");
    }
}

#[test]
fn it_goes_on_from_a_saved_state() {
    let rows = plant(300, 5);
    let mut straight = fitted();
    let all = scores(&mut straight, rows.view());
    let mut first = fitted();
    let mut found = scores(&mut first, rows.slice(s![..117, ..]));
    let saved = postcard::to_stdvec(&first).unwrap();
    let mut second: Group = postcard::from_bytes(&saved).unwrap();
    found.extend(scores(&mut second, rows.slice(s![117.., ..])));
    assert_eq!((found, second), (all, straight));
}

#[test]
fn missing_values_are_taken_for_what_was_expected() {
    let mut rows = plant(200, 6);
    rows.slice_mut(s![50..60, 2]).fill(f64::NAN);
    let scores = scores(&mut fitted(), rows.view());
    assert!(scores.iter().all(|score| score.is_finite() && *score < 2.0), "{scores:?}");
}

#[test]
fn after_a_pause_nothing_is_judged_until_there_is_a_past() {
    let mut group = fitted();
    group.begin();
    let scores = scores(&mut group, plant(20, 7).view());
    assert!(scores[..group.lags()].iter().all(|&score| score == 0.0));
    assert!(scores[group.lags()..].iter().all(|&score| score > 0.0));
}

#[test]
fn constants_one_row_and_changed_units_have_scores() {
    let mut constant = plant(500, 8);
    constant.column_mut(3).fill(7.0);
    let mut group = Group::fit(constant.view(), &Parameters::default()).unwrap();
    let over = scores(&mut group, constant.view()).iter().filter(|&&score| score > 1.0).count();
    assert!(over < 10, "{over}");
    let thousandfold = plant(50, 9).mapv(|value| value * 1e3);
    assert!(scores(&mut group, thousandfold.view()).iter().skip(5).all(|&s| s > 1.0 && s.is_finite()));
    assert_eq!(scores(&mut group, plant(1, 1).view()).len(), 1);
    let still = Group::fit(Array2::from_elem((100, 2), 5.0).view(), &Parameters::default()).unwrap();
    assert!(scores(&mut still.clone(), Array2::from_elem((100, 2), 5.0).view()).iter().all(|s| *s < 1.0));
}

#[test]
fn what_cannot_be_fitted_says_why() {
    let parameters = Parameters::default();
    assert_eq!(Group::fit(plant(7, 1).view(), &parameters), Err(Unfit::Few { rows: 7 }));
    assert_eq!(Group::fit(Array2::zeros((100, 0)).view(), &parameters), Err(Unfit::Signals { signals: 0 }));
    assert_eq!(
        Group::fit(Array2::zeros((100, 129)).view(), &parameters),
        Err(Unfit::Signals { signals: 129 })
    );
    let all_missing = Array2::from_elem((100, 2), f64::NAN);
    assert!(
        scores(&mut Group::fit(all_missing.view(), &parameters).unwrap(), all_missing.view())
            .iter()
            .all(|s| s.is_finite())
    );
}

#[test]
fn a_slow_walk_of_one_signal_is_not_learned_away() {
    // The pressure's sensor is walked by several of its deviations within 4,000 rows.
    let mut rows = plant(6000, 10);
    for (t, mut row) in rows.rows_mut().into_iter().enumerate() {
        row[2] += 0.09 * (t as f64 / 4000.0).min(1.0);
    }
    let (parameters, mut group) = (Parameters::default(), fitted());
    let mut found = None;
    group.judge(rows.view(), &parameters, &mut Work::default(), |row, _, group| {
        let (signal, drift) = group.drift(&parameters);
        if drift >= 1.0 && found.is_none() {
            found = Some((row, signal));
        }
    });
    assert!(
        found.is_some_and(|(row, signal)| row < 5000 && signal == 2),
        "{found:?}, {:?}",
        group.drift(&parameters)
    );
}

#[test]
fn maintenance_moves_levels_within_a_limit_that_counts_from_what_was_approved() {
    let (parameters, mut group) = (Parameters::default(), fitted());
    let approved: Vec<f64> = group.levels().map(|(level, _)| level).collect();
    let moved = |by: f64, seed: u64| {
        let mut rows = plant(2000, seed);
        let scale = fitted().levels().nth(1).unwrap().1;
        rows.column_mut(1).mapv_inplace(|value| value + by * scale);
        rows
    };
    let over = |group: &mut Group, rows: ArrayView2<'_, f64>| {
        scores(group, rows).iter().filter(|&&score| score > 1.0).count()
    };
    assert!(over(&mut fitted(), moved(4.0, 11).view()) > 200);
    group.move_levels(&approved, moved(4.0, 12).slice(s![..60, ..]), &parameters);
    assert!(over(&mut group.clone(), moved(4.0, 11).view()) < 50);
    for seed in 0..5 {
        group.move_levels(&approved, moved(60.0, seed).slice(s![..60, ..]), &parameters);
    }
    let (level, scale) = group.levels().nth(1).unwrap();
    assert!((level - approved[1] - 6.0 * scale).abs() < 1e-9 * level, "{level}");
    let unmoved = group.clone();
    let none = Parameters { maintenance_sigma: f64::NAN, ..Parameters::default() };
    group.move_levels(&approved, moved(4.0, 1).view(), &none);
    assert!(group.levels().map(|(level, _)| level).eq(approved.iter().copied()));
    assert!(unmoved.is_sound() && group.is_sound());
}

#[test]
fn rows_are_as_rare_as_the_tail_of_the_limits_says() {
    let parameters = Parameters::default();
    let rarity = crate::alarm::Rarity::new(100.0, parameters.nominal);
    let (mut over, rows) = (0, plant(20_000, 2));
    fitted().judge(rows.view(), &parameters, &mut Work::default(), |_, verdict, _| {
        let rare = rarity.of(f64::from(verdict.score), f64::from(verdict.decade));
        over += usize::from(rare > crate::alarm::Rarity::ONCE_A_DAY);
    });
    assert!((50..800).contains(&over), "{over} of 20,000 at one in a hundred");
}
