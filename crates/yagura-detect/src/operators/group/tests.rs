use yagura_event::clock::SECOND;
use yagura_event::{Encoding, Envelope};

use super::*;

const SIGNALS: [&str; 3] = ["power", "voltage", "flow"];

/// Rows of device time in seconds, series and value.
type Sample = (i64, u32, f64);

/// A voltage that follows the power, and a flow by itself; from `broken` on the voltage stands still.
fn plant(seconds: std::ops::Range<i64>, broken: i64) -> Vec<Sample> {
    let mut state = 7_u64;
    let mut noise = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
    };
    let mut power = 0.0;
    let mut out = Vec::new();
    for second in 0..seconds.end {
        power = 0.9 * power + noise();
        let voltage = if second < broken { 300.0 + 3.0 * power + 0.1 * noise() } else { 300.5 };
        let values = [500.0 + 5.0 * power, voltage, 50.0 + noise()];
        if second >= seconds.start {
            out.extend(values.into_iter().zip(0..).map(|(value, series)| (second, series, value)));
        }
    }
    out
}

fn operator() -> Box<dyn Operator> {
    let plan = GroupPlan {
        by: vec!["tool".into(), "chamber".into()],
        context: vec!["step".into()],
        findings: FINDINGS.to_vec(),
        parameters: Parameters { nominal: 1e-6, ..Parameters::default() },
        budget: None,
    };
    let mut operator = plan.start();
    (0..3).for_each(|number| operator.series(number, true));
    operator
}

fn series(step: &str) -> Blocks<Series> {
    let one = |signal: &&str| Series {
        tool: "ETCH-07".into(),
        chamber: "A".into(),
        signal: (*signal).into(),
        context: [("step".to_string(), step.to_string())].into(),
        ..Series::default()
    };
    let mut all = Blocks::default();
    SIGNALS.iter().map(one).for_each(|series| all.push(series));
    all
}

fn feed(operator: &mut dyn Operator, samples: &[Sample], all: &Blocks<Series>, size: usize) -> Vec<Hit> {
    let mut hits = Vec::new();
    let by = ["tool".to_string(), "chamber".to_string()];
    for (batch, samples) in samples.chunks(size).enumerate() {
        let envelope = Envelope {
            kind: Kind::Sample,
            version: 1,
            cell: "bay".into(),
            collector: "fdc".into(),
            epoch: 1,
            first_row: (batch * size) as u64,
            rows: samples.len() as u32,
            observed: (0, 0),
            promise: 0,
            encoding: Encoding::Arrow,
            origin: None,
            places: Vec::new(),
        };
        let step = Step { detection: 0, by: &by, envelope: &envelope, from: 0, watermark: 0 };
        let columns = Samples {
            series: &samples.iter().map(|s| s.1).collect::<Vec<_>>(),
            times: &samples.iter().map(|s| s.0 * SECOND).collect::<Vec<_>>(),
            values: &samples.iter().map(|s| s.2).collect::<Vec<_>>(),
            quality: &vec![0; samples.len()],
        };
        operator.samples(&step, &columns, all, &mut hits);
    }
    hits
}

fn told(hits: &[Hit]) -> Vec<(i64, u64, String)> {
    hits.iter().map(|hit| (hit.time / SECOND, hit.cause.row, hit.evidence["signal"].to_string())).collect()
}

#[test]
fn a_signal_that_leaves_its_relation_is_told_explained_and_told_again_once_it_is_far() {
    let (mut operator, all) = (operator(), series("3"));
    assert!(feed(&mut *operator, &plant(0..600, 900), &all, 1000).is_empty(), "it learns");
    assert_eq!(operator.learning(), Learning { keys: 1, ready: 1, approved: 0, refused: 0, nearest: None });
    operator.approve();
    assert_eq!(operator.learning().approved, 1);
    let hits = feed(&mut *operator, &plant(600..1000, 900), &all, 1000);
    let [(time, _, signal), _] = &told(&hits)[..] else { panic!("{:?}", told(&hits)) };
    assert!((900..930).contains(time) && signal == "\"voltage\"", "{time} {signal}");
    let evidence = &hits[0].evidence;
    assert_eq!(evidence["seen"], 300.5);
    assert!(evidence["score"].as_f64().unwrap() > 1.0);
    assert_eq!(evidence["around"]["seen"].as_array().unwrap().len(), SHOWN);
    assert_eq!(hits[0].key["chamber"], "A");
    let [first, again] = [0, 1].map(|hit: usize| hits[hit].deviation.unwrap());
    assert!(first.score < FAR && again.score >= FAR, "{first:?} {again:?}");
    assert!(first.since == first.last && again.since == first.since && again.last > first.last);
}

/// How often an alarm that lasts was told, and since when.
fn times_told(hits: &[Hit]) -> Vec<(i64, i64)> {
    let of = |hit: &Hit| hit.deviation.map(|deviation| (deviation.last / SECOND, deviation.since / SECOND));
    hits.iter().filter_map(of).collect()
}

#[test]
fn what_lasts_is_told_again_every_ten_minutes_and_its_alert_is_raised_within_the_hour() {
    let (mut operator, all) = (operator(), series("3"));
    feed(&mut *operator, &plant(0..600, 9000), &all, 1000);
    operator.approve();
    let mut rows = plant(600..5400, 9000);
    // The voltage reads too much, by twice its usual range.
    rows.iter_mut().filter(|(t, series, _)| *t >= 900 && *series == 1).for_each(|row| row.2 += 1.0);
    let hits = feed(&mut *operator, &rows, &all, 1000);
    let since = times_told(&hits)[0].1;
    assert!((900..905).contains(&since), "{since}");
    let again: Vec<(i64, i64)> = (0..8).map(|n| (since + 600 * n, since)).collect();
    let far = hits.iter().filter(|hit| hit.deviation.unwrap().score >= FAR).count();
    assert!(far > 0, "{:?}", times_told(&hits));
    let told = times_told(&hits);
    assert!(again[1..].iter().all(|at| told.iter().any(|told| (told.0 - at.0).abs() < 60)), "{told:?}");
    assert!((8..=9).contains(&told.len()), "{told:?}");
    assert!(hits.iter().all(|hit| hit.key == hits[0].key));
}

#[test]
fn any_batches_and_any_restart_give_the_same() {
    let (first, second) = (plant(0..600, 900), plant(600..1000, 900));
    let outcome = |size: usize, restart: bool| {
        let (mut judging, all) = (operator(), series("3"));
        feed(&mut *judging, &first, &all, size);
        judging.approve();
        // Between the first and the second time that it is told.
        let (before, after) = second.split_at(912);
        let mut hits = feed(&mut *judging, before, &all, size);
        if restart {
            let bytes = judging.save()();
            judging = operator();
            judging.restore(&bytes).unwrap();
        }
        hits.extend(feed(&mut *judging, after, &all, size));
        // Rows are numbered from each call's beginning here.
        (
            told(&hits).into_iter().map(|(time, _, signal)| (time, signal)).collect::<Vec<_>>(),
            judging.save()(),
        )
    };
    let whole = outcome(5000, false);
    assert_eq!(whole.0.len(), 2);
    for (size, restart) in [(1, false), (7, true), (1000, true)] {
        assert_eq!(outcome(size, restart), whole, "{size} {restart}");
    }
}

#[test]
fn another_step_is_a_group_of_its_own_and_begins_anew() {
    let (mut operator, three, four) = (operator(), series("3"), series("4"));
    feed(&mut *operator, &plant(0..600, 900), &three, 1000);
    operator.approve();
    operator.context(&[0, 1, 2]);
    let elsewhere: Vec<Sample> = plant(600..700, 900).into_iter().map(|(t, s, v)| (t, s, 3.0 * v)).collect();
    assert!(feed(&mut *operator, &elsewhere, &four, 1000).is_empty(), "the other step is being learned");
    let nearest = Some(Rows { seen: 98, needed: 300 });
    let learning = Learning { keys: 2, ready: 1, approved: 1, refused: 0, nearest };
    assert_eq!(operator.learning(), learning);
    operator.context(&[0, 1, 2]);
    assert!(
        feed(&mut *operator, &plant(700..900, 900), &three, 1000).is_empty(),
        "back in the step it knows"
    );
}

#[test]
fn pauses_late_values_missing_signals_and_backward_clocks_do_no_harm() {
    let (mut operator, all) = (operator(), series("3"));
    let mut ordinary = plant(0..600, 900);
    ordinary.insert(300, (2, 0, 9999.0));
    feed(&mut *operator, &ordinary, &all, 1000);
    operator.approve();
    let mut rows = plant(600..800, 900);
    // The flow is silent for a while, then all are for an hour.
    rows.retain(|(second, series, _)| !(650..690).contains(second) || *series != 2);
    rows.iter_mut().filter(|(second, ..)| *second >= 720).for_each(|row| row.0 += 3600);
    rows.push((5, 1, f64::INFINITY));
    rows.push((i64::MAX / SECOND, 1, 300.0));
    assert_eq!(told(&feed(&mut *operator, &rows, &all, 1000)), []);
}

#[test]
fn a_baseline_is_carried_to_where_nothing_was_learned() {
    let all = series("3");
    let mut learned = operator();
    feed(&mut *learned, &plant(0..600, 900), &all, 1000);
    assert!(learned.learned(Which::InForce, &all).1.is_empty());
    let (span, entries) = learned.learned(Which::Proposed, &all);
    assert_eq!((span.rows, entries.len()), (1800, 1));
    assert_eq!(entries[0].key, ["ETCH-07", "A", "3"]);

    let mut fresh = operator();
    fresh.put_in_force(&entries, &all).unwrap();
    assert_eq!(fresh.learned(Which::InForce, &all).1, entries);
    let hits = feed(&mut *fresh, &plant(600..1000, 900), &all, 1000);
    assert_eq!(told(&hits).len(), 2);
    let restored = {
        let mut restored = operator();
        restored.restore(&fresh.save()()).unwrap();
        restored
    };
    assert_eq!(restored.learned(Which::InForce, &all).1, fresh.learned(Which::InForce, &all).1);
}

#[test]
fn many_signals_need_more_rows_before_they_can_be_approved() {
    let mut operator = operator();
    let mut all = Blocks::default();
    for number in 0..60 {
        let signal = format!("signal {number}");
        all.push(Series { tool: "ETCH-07".into(), chamber: "A".into(), signal, ..Series::default() });
        operator.series(number, true);
    }
    let value = |second: i64, series: u32| ((second * 7919 + i64::from(series) * 104_729) % 1009) as f64;
    let rows = |seconds: std::ops::Range<i64>| -> Vec<Sample> {
        seconds
            .flat_map(|second| (0..60).map(move |series| (second, series, value(second, series))))
            .collect()
    };
    feed(&mut *operator, &rows(0..489), &all, 1000);
    assert_eq!(operator.learning().nearest, Some(Rows { seen: 487, needed: 488 }));
    assert!(operator.learned(Which::Proposed, &all).1.is_empty());
    operator.approve();
    assert_eq!(operator.learning().approved, 0);
    feed(&mut *operator, &rows(489..490), &all, 1000);
    assert_eq!((operator.learning().ready, operator.learning().nearest), (1, None));
    assert_eq!(operator.learned(Which::Proposed, &all).1.len(), 1);
}

#[test]
fn a_damaged_baseline_is_refused_and_changes_nothing() {
    let all = series("3");
    let mut learned = operator();
    feed(&mut *learned, &plant(0..600, 900), &all, 1000);
    learned.approve();
    let before = learned.save()();
    let (_, entries) = learned.learned(Which::InForce, &all);
    let altered = |name: &str, value: Value| {
        let mut entries = entries.clone();
        entries[0].values.insert(name.into(), value);
        entries
    };
    let weights = entries[0].values["weights"].as_str().unwrap();
    for (entries, why) in [
        (altered("weights", "%".into()), "`weights`"),
        (altered("weights", weights[..400].into()), "`weights`"),
        (altered("order", json!(["power"])), "no model of 1 signals"),
        (altered("order", 7.into()), "`order` is no list"),
    ] {
        let refused = learned.put_in_force(&entries, &all).unwrap_err();
        assert!(refused.contains(why) && refused.starts_with("ETCH-07 A 3"), "{refused}");
    }
    assert_eq!(learned.save()(), before);
}

fn budgeted() -> Box<dyn Operator> {
    let plan = GroupPlan {
        by: vec!["tool".into(), "chamber".into()],
        context: vec!["step".into()],
        findings: FINDINGS.to_vec(),
        parameters: Parameters::default(),
        budget: Some(Budget::default()),
    };
    let mut operator = plan.start();
    (0..3).for_each(|number| operator.series(number, true));
    operator
}

#[test]
fn with_a_budget_an_alarm_is_the_incident_that_is_told_whatever_the_batches() {
    let (first, second) = (plant(0..600, 900), plant(600..2000, 900));
    let outcome = |size: usize, restart: bool| {
        let (mut judging, all) = (budgeted(), series("3"));
        feed(&mut *judging, &first, &all, size);
        judging.approve();
        let (before, after) = second.split_at(912);
        let mut hits = feed(&mut *judging, before, &all, size);
        if restart {
            let bytes = judging.save()();
            judging = budgeted();
            judging.restore(&bytes).unwrap();
        }
        hits.extend(feed(&mut *judging, after, &all, size));
        (hits.into_iter().map(|hit| (hit.time, hit.evidence)).collect::<Vec<_>>(), judging.save()())
    };
    let whole = outcome(5000, false);
    let (time, evidence) = &whole.0[0];
    assert!((900..960).contains(&(time / SECOND)), "{}", time / SECOND);
    // A fleet of which nothing is known yet: four times as rare as nobody counts.
    let factor = evidence["factor"].as_f64().unwrap();
    assert!(factor > 2.0 && evidence["score"].as_f64().unwrap() > 1.0, "{evidence:?}");
    // Then as what lasts is told, far and every ten minutes: a thousand rows more are two times.
    assert!((2..=3).contains(&whole.0.len()), "{:?}", whole.0);
    for (size, restart) in [(1, false), (7, true), (1000, true)] {
        assert_eq!(outcome(size, restart), whole, "{size} {restart}");
    }
}

#[test]
fn a_budget_s_tail_counts_groups_that_judge_and_incidents_that_come_near() {
    let (mut operator, all) = (budgeted(), series("3"));
    feed(&mut *operator, &plant(0..600, 900), &all, 1000);
    operator.approve();
    feed(&mut *operator, &plant(600..2000, 900), &all, 1000);
    let by = ["tool".to_string()];
    let envelope = Envelope::from_header(&record_header()).unwrap();
    let moved = |second: i64| Step {
        detection: 0,
        by: &by,
        envelope: &envelope,
        from: 0,
        watermark: second * SECOND,
    };
    operator.advance(&moved(2000), &all, &mut Vec::new());
    operator.advance(&moved(9000), &all, &mut Vec::new());
    let tail = operator.tail(9000 * SECOND).unwrap();
    assert_eq!((tail.keys(), tail.alarms()), (1, &[1][..]));
    assert!(tail.rate(0, 1.0) + tail.rate(1, 1.0) > 0.0);
    assert!(operator.tail(9001 * SECOND).is_none(), "once an hour");
    // At half of it, what was just kept back is told.
    let mut calm = budgeted();
    feed(&mut *calm, &plant(0..600, 900), &all, 1000);
    calm.approve();
    calm.set_factors(&Factors::all(0.5));
    let factor = feed(&mut *calm, &plant(600..1000, 900), &all, 1000)[0].evidence["factor"].as_f64().unwrap();
    assert!((1.0..2.0).contains(&factor), "{factor}");
}

fn record_header() -> bytes::Bytes {
    let lines = [crate::operators::testing::row(0, Kind::Sample, "series=0 value=1")];
    crate::operators::testing::record_of("c", 1, &lines, 0, 0).1.header
}

#[test]
fn recorded_maintenance_moves_levels_within_its_limit() {
    let all = series("3");
    let keys = |tool: &str| [("tool".to_string(), json!(tool))].into_iter().collect::<Map<String, Value>>();
    let up = |seconds: std::ops::Range<i64>, by: f64| -> Vec<Sample> {
        let raise = |(t, s, v): Sample| (t, s, if s == 2 { v + by } else { v });
        plant(seconds, 9000).into_iter().map(raise).collect()
    };
    let mut operator = operator();
    feed(&mut *operator, &plant(0..600, 9000), &all, 1000);
    assert_eq!(operator.maintain(&keys("ETCH-07"), &all), 0, "it learns");
    operator.approve();
    let saved = operator.save()();
    assert!(
        !feed(&mut *operator, &up(600..900, 1.5), &all, 1000).is_empty(),
        "without maintenance it is told"
    );
    operator.restore(&saved).unwrap();
    assert_eq!(operator.maintain(&keys("ETCH-08"), &all), 0);
    assert_eq!(operator.maintain(&keys("ETCH-07"), &all), 1);
    assert_eq!(told(&feed(&mut *operator, &up(600..640, 1.5), &all, 1000)), []);
    let bytes = operator.save()();
    operator.restore(&bytes).unwrap();
    assert_eq!(operator.save()(), bytes);
    assert_eq!(
        told(&feed(&mut *operator, &up(640..2000, 1.5), &all, 1000)),
        [],
        "it is the approved level now"
    );
    assert_eq!(operator.learning().approved, 1);
    // Again and again, the limit counts from what a person approved.
    for n in 0..3 {
        operator.maintain(&keys("ETCH-07"), &all);
        let hits = feed(&mut *operator, &up(2000 + 100 * n..2100 + 100 * n, 9.0), &all, 1000);
        assert!(hits.iter().all(|hit| hit.time >= (2060 + 100 * n) * SECOND) && !hits.is_empty(), "{n}");
    }
}
