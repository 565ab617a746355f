use yagura_event::clock::SECOND;
use yagura_event::{Encoding, Envelope};

use super::*;

const SIGNALS: [&str; 2] = ["flow", "pressure"];

/// A chamber: runs of a step, one after the other.
struct Chamber {
    operator: Box<dyn Operator>,
    all: Blocks<Series>,
    second: i64,
    row: u64,
    noise: u64,
    batch: usize,
}

fn plan() -> StepsPlan {
    StepsPlan {
        by: vec!["tool".into(), "chamber".into()],
        context: vec!["recipe".into(), "step".into()],
        findings: FINDINGS.to_vec(),
        parameters: Parameters::default(),
        budget: None,
    }
}

impl Chamber {
    fn new(batch: usize) -> Chamber {
        let mut operator = plan().start();
        let mut all = Blocks::default();
        for (number, signal) in (0..).zip(SIGNALS) {
            let (tool, chamber, signal) = ("ETCH-07".into(), "A".into(), signal.into());
            all.push(Series { tool, chamber, signal, ..Series::default() });
            operator.series(number, true);
        }
        Chamber { operator, all, second: 0, row: 0, noise: 7, batch }
    }

    fn noise(&mut self) -> f64 {
        self.noise = self.noise.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.noise >> 11) as f64 / (1_u64 << 53) as f64 - 0.5
    }

    fn context(&mut self, step: &str) {
        for number in 0..SIGNALS.len() {
            let context = [("recipe", "R1"), ("step", step)].map(|(n, v)| (n.to_string(), v.to_string()));
            self.all.get_mut(number).unwrap().context = context.into();
        }
        self.operator.context(&[0, 1]);
    }

    /// A run of 30 seconds, and a sample of the next one, so that it is judged.
    fn run(&mut self, step: &str, pressure: f64) -> Vec<Hit> {
        self.context(step);
        let level = self.noise();
        let mut samples = Vec::new();
        for _ in 0..30 {
            self.second += 1;
            let (flow, other) = (50.0 + level + self.noise(), 5.0 + pressure + level + self.noise());
            samples.push((0, self.second, flow));
            samples.push((1, self.second, other));
        }
        let mut hits: Vec<Hit> = samples.chunks(self.batch).flat_map(|samples| self.feed(samples)).collect();
        self.context("");
        self.second += 1;
        hits.extend(self.feed(&[(0, self.second, 0.0)]));
        hits
    }

    fn feed(&mut self, samples: &[(u32, i64, f64)]) -> Vec<Hit> {
        let envelope = Envelope {
            kind: Kind::Sample,
            version: 1,
            cell: "bay".into(),
            collector: "fdc".into(),
            epoch: 1,
            first_row: self.row,
            rows: samples.len() as u32,
            observed: (0, 0),
            promise: 0,
            encoding: Encoding::Arrow,
            origin: None,
            places: Vec::new(),
        };
        self.row += samples.len() as u64;
        let by = ["tool".to_string(), "step".to_string()];
        let step = Step { detection: 0, by: &by, envelope: &envelope, from: 0, watermark: 0 };
        let columns = Samples {
            series: &samples.iter().map(|s| s.0).collect::<Vec<_>>(),
            times: &samples.iter().map(|s| s.1 * SECOND).collect::<Vec<_>>(),
            values: &samples.iter().map(|s| s.2).collect::<Vec<_>>(),
            quality: &vec![0; samples.len()],
        };
        let mut hits = Vec::new();
        self.operator.samples(&step, &columns, &self.all, &mut hits);
        hits
    }

    fn learned(batch: usize) -> Chamber {
        let mut chamber = Chamber::new(batch);
        for _ in 0..60 {
            assert_eq!(
                chamber.run("1", 0.0).len() + chamber.run("2", 20.0).len(),
                0,
                "nothing while it learns"
            );
        }
        chamber.operator.approve();
        chamber
    }
}

#[test]
fn a_run_that_is_not_as_the_others_is_told_once_when_it_has_ended() {
    let mut chamber = Chamber::learned(60);
    let Learning { keys, ready, approved, .. } = chamber.operator.learning();
    assert_eq!((keys, ready, approved), (2, 2, 2));
    assert!((0..10).all(|_| chamber.run("1", 0.0).is_empty()));
    let hits = chamber.run("1", 3.0);
    let [hit] = &hits[..] else { panic!("{hits:?}") };
    let said = |name: &str| hit.evidence[name].as_str().unwrap_or_default();
    assert_eq!([said("signal"), said("finding"), said("step")], ["pressure", "level", "1"]);
    let (seen, expected) =
        (hit.evidence["seen"].as_f64().unwrap(), hit.evidence["expected"].as_f64().unwrap());
    assert!((seen - expected - 3.0).abs() < 1.0 && (expected - 5.0).abs() < 0.5, "{seen} {expected}");
    assert_eq!(hit.key["step"], "1");
    assert_eq!(
        (hit.cause.row, hit.time),
        (chamber.row - 2, (chamber.second - 1) * SECOND),
        "its last sample"
    );
    assert_eq!(hit.evidence["around"]["seen"].as_array().map(Vec::len), Some(30));
    assert!(chamber.run("2", 20.0).is_empty(), "the same level is in order in the other step");
}

#[test]
fn a_signal_that_the_detection_does_not_select_stays_out_whatever_the_context() {
    let mut chamber = Chamber::new(60);
    chamber.operator.series(1, false);
    (0..RUNS_MIN).for_each(|_| drop(chamber.run("1", 0.0)));
    chamber.operator.approve();
    assert!(chamber.run("1", 9.0).is_empty());
    let (_, entries) = chamber.operator.learned(Which::InForce, &chamber.all);
    assert_eq!(entries[0].values["order"], json!(["flow"]));
}

#[test]
fn batches_and_restarts_change_nothing() {
    let told = |batch: usize, restart: bool| {
        let mut chamber = Chamber::learned(batch);
        let mut told = Vec::new();
        for run in 0..30 {
            let hits = chamber.run("1", if run % 7 == 3 { 2.5 } else { 0.0 });
            told.extend(hits.into_iter().map(|hit| (hit.cause.row, hit.evidence)));
            if restart {
                let saved = chamber.operator.save()();
                chamber.operator = plan().start();
                chamber.operator.restore(&saved).expect("its own state");
                assert_eq!(chamber.operator.save()(), saved);
            }
        }
        (told, chamber.operator.save()())
    };
    let whole = told(60, false);
    assert_eq!(whole.0.len(), 4, "{:?}", whole.0);
    assert_eq!(told(7, false), whole);
    assert_eq!(told(1, true), whole);
}

#[test]
fn maintenance_moves_what_is_expected_within_its_limit() {
    let mut chamber = Chamber::learned(60);
    let keys = |step: &str| [("step".to_string(), json!(step))].into_iter().collect::<Map<String, Value>>();
    assert_eq!(chamber.operator.maintain(&keys("3"), &chamber.all), 0);
    assert_eq!(chamber.operator.maintain(&keys("1"), &chamber.all), 1);
    assert!((0..RUNS_MIN).all(|_| chamber.run("1", 1.0).is_empty()), "learning anew");
    assert_eq!(chamber.operator.learning().approved, 2);
    assert!((0..5).all(|_| chamber.run("1", 1.0).is_empty()));
    // Again and again, the limit counts from what a person approved.
    for _ in 0..3 {
        chamber.operator.maintain(&keys("1"), &chamber.all);
        (0..RUNS_MIN).for_each(|_| drop(chamber.run("1", 9.0)));
    }
    assert_eq!(chamber.run("1", 9.0).len(), 1, "farther than maintenance may move it");
}

#[test]
fn a_baseline_comes_back_and_is_judged_by_whatever_the_order_of_the_signals() {
    let chamber = Chamber::learned(60);
    let (_, entries) = chamber.operator.learned(Which::InForce, &chamber.all);
    assert_eq!(entries.len(), 2);
    let level = &entries[0].values["signals"]["flow"]["level"];
    assert!((level[0].as_f64().unwrap() - 50.0).abs() < 0.5, "{level}");
    let mut other = Chamber::new(60);
    // The pressure comes first there.
    other.context("1");
    other.feed(&[(1, 1, 5.0)]);
    other.operator.put_in_force(&entries, &other.all).expect("a baseline");
    assert!(other.run("1", 0.0).is_empty() && other.run("2", 20.0).is_empty());
    let hits = other.run("1", 4.0);
    assert_eq!(hits.len(), 1);
    assert_eq!(hits[0].evidence["signal"], "pressure");
    let mut torn = entries;
    torn[0].values.insert("weights".into(), "AAAA".into());
    let why = other.operator.put_in_force(&torn, &other.all).expect_err("it is refused");
    assert!(why.contains("`weights`"), "{why}");
    assert_eq!(other.run("1", 4.0).len(), 1, "the one before stays in force");
}

#[test]
fn with_a_budget_runs_of_an_incident_are_told_once_and_ordinary_ones_are_learned_from() {
    let mut chamber = Chamber::learned(60);
    let budgeted = || {
        let mut operator = StepsPlan { budget: Some(Budget::default()), ..plan() }.start();
        (0..2).for_each(|number| operator.series(number, true));
        operator
    };
    let (_, entries) = chamber.operator.learned(Which::InForce, &chamber.all);
    chamber.operator = budgeted();
    chamber.operator.put_in_force(&entries, &chamber.all).expect("a baseline");
    chamber.context("1");
    chamber.operator.set_factors(&Factors::all(0.5));
    (0..5).for_each(|_| assert!(chamber.run("1", 0.0).is_empty()));
    let hits: Vec<Hit> = (0..5).flat_map(|_| chamber.run("1", 3.0)).collect();
    let [hit] = &hits[..] else { panic!("{hits:?}") };
    assert!(hit.evidence["score"].as_f64().unwrap() > 1.0 && hit.evidence["finding"] == "level");
    let bytes = chamber.operator.save()();
    chamber.operator = budgeted();
    chamber.operator.restore(&bytes).expect("its own state");
    assert!(chamber.run("1", 3.0).is_empty(), "it is one incident");
    assert_eq!(chamber.operator.tail(i64::MAX - 1).expect("a tail").alarms(), [1]);
}
