use yagura_event::clock::SECOND;
use yagura_event::{Alert, Kind};

use super::*;
use crate::operators::testing::{Cell, Line, pipeline, row};

const DETECTION: &str = "
on: sample
by: [tool, signal]
summary: '{finding} since {since}'
model: { name: guard, parameters: { settle_samples: 0 } }";

/// A flow of a cell, a sample a second, and a pressure beside it that stays as it was.
struct Bay {
    cell: Cell,
    noise: u64,
    second: i64,
    told: Vec<Alert>,
    /// Samples in a record.
    size: usize,
}

impl Bay {
    /// One that has learned.
    fn learned(text: &str, size: usize) -> Bay {
        let pipeline = pipeline(text).unwrap_or_else(|errors| panic!("{}", errors[0]));
        let mut bay = Bay { cell: Cell::new(&pipeline), noise: 7, second: 0, told: Vec::new(), size };
        let series = ["series=0 tool=T signal=flow", "series=1 tool=T signal=pressure"];
        bay.cell.record("c", &series.map(|series| row(0, Kind::Series, series)), 0);
        bay.feed(&[50.0; 300]);
        bay.cell.record("d", &[row(bay.second, Kind::Control, "action=approve subject=*")], bay.second);
        assert!(bay.told.is_empty());
        bay
    }

    fn noise(&mut self) -> f64 {
        self.noise = self.noise.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        ((self.noise >> 11) as f64 / (1_u64 << 53) as f64 - 0.5) * 3.4
    }

    /// The flow about these levels.
    fn feed(&mut self, levels: &[f64]) {
        let mut lines = Vec::new();
        for level in levels {
            self.second += 1;
            let (flow, pressure) = (level + self.noise(), 20.0 + self.noise());
            lines.push(row(self.second, Kind::Sample, &format!("series=0 quality=0 value={flow}")));
            lines.push(row(self.second, Kind::Sample, &format!("series=1 quality=0 value={pressure}")));
        }
        self.lines(&lines);
    }

    fn lines(&mut self, lines: &[Line]) {
        for lines in lines.chunks(self.size) {
            self.told.extend(self.cell.record("c", lines, lines[0].0));
        }
    }

    /// The first alert of a kind.
    fn told(&self, finding: &str) -> &Alert {
        let of = |alert: &&Alert| alert.evidence["finding"] == finding;
        self.told.iter().find(of).unwrap_or_else(|| panic!("{finding}: {:?}", self.told))
    }
}

/// What was seen around it, and what was expected.
fn around(alert: &Alert) -> (Vec<f64>, Vec<f64>, usize, f64) {
    let around = &alert.evidence["around"];
    let numbers = |name: &str| -> Vec<f64> {
        around[name].as_array().into_iter().flatten().map(|value| value.as_f64().unwrap()).collect()
    };
    let marked = around["marked"].as_u64().unwrap() as usize;
    (numbers("seen"), numbers("expected"), marked, around["period_s"].as_f64().unwrap())
}

#[test]
fn a_shift_is_shown_from_before_it_came_near_its_limit_beside_what_was_expected() {
    let mut bay = Bay::learned(DETECTION, 1000);
    bay.feed(&[50.0; 100]);
    let begun = bay.second;
    bay.feed(&[[50.0; 20], [54.0; 20]].concat());
    let alert = bay.told("drift");
    let (seen, expected, marked, period_s) = around(alert);
    assert_eq!((seen.len(), period_s), (BEFORE_AND_NEAR, 1.0), "{seen:?}");
    assert_eq!(marked, BEFORE_AND_NEAR - 8);
    assert!(seen[seen.len() - marked..].iter().all(|value| *value > 52.0), "{seen:?}");
    assert!(seen[..3].iter().all(|value| (value - 50.0).abs() < 2.0), "{seen:?}");
    let last = alert.evidence["seen"].as_f64().unwrap();
    assert!((seen[seen.len() - 1] - last).abs() < 1e-4);
    let level = alert.evidence["expected"].as_f64().unwrap();
    assert!(expected.len() == seen.len() && expected.iter().all(|value| (value - level).abs() < 1e-4));
    // Since it came near its limit: the last of the marked values is now.
    let since = clock::rfc3339(alert.time - (marked as i64 - 1) * SECOND);
    assert_eq!(alert.evidence["since"], since);
    assert_eq!(alert.summary, format!("drift since {since}"));
    assert!(alert.time > (begun + 20) * SECOND);
}

/// Eight values before the flow came near its limit, and those from there on until it was told.
const BEFORE_AND_NEAR: usize = 16;

#[test]
fn what_is_told_is_the_same_however_samples_come_but_for_the_values_before_it_came_near() {
    let told = |size: usize, restarts: bool| {
        let pipeline = pipeline(DETECTION).unwrap_or_else(|errors| panic!("{}", errors[0]));
        let mut bay = Bay::learned(DETECTION, size);
        for levels in [[50.0; 40], [54.0; 40], [50.0; 40], [80.0; 40]] {
            for levels in levels.chunks(8) {
                bay.feed(levels);
                if restarts {
                    bay.cell.restart(&pipeline);
                }
            }
        }
        let near = |alert: &Alert| {
            let (seen, _, marked, _) = around(alert);
            let evidence =
                ["finding", "seen", "expected", "since", "score"].map(|name| alert.evidence[name].clone());
            (alert.time, evidence, seen[seen.len() - marked..].to_vec())
        };
        bay.told.iter().map(near).collect::<Vec<_>>()
    };
    let whole = told(1000, false);
    assert!(whole.len() > 4, "{whole:?}");
    for (size, restarts) in [(1, false), (1, true), (7, true), (1000, true)] {
        assert_eq!(told(size, restarts), whole, "{size} {restarts}");
    }
}

#[test]
fn a_long_way_to_its_limit_is_thinned_out_and_shown_whole() {
    let mut bay =
        Bay::learned(&DETECTION.replace("settle_samples: 0", "settle_samples: 0, limit_sigma: 400.0"), 1);
    bay.feed(&[53.2; 600]);
    let alert = bay.told("drift");
    let (seen, _, marked, period_s) = around(alert);
    assert!((17..=33).contains(&seen.len()) && marked == seen.len(), "{seen:?}");
    assert!(period_s > 2.0, "{period_s}");
    let since = clock::rfc3339(alert.time - ((seen.len() - 1) as f64 * period_s * 1e6).round() as i64);
    assert_eq!(alert.evidence["since"], since);
}

#[test]
fn what_stands_still_and_what_pauses_say_since_when() {
    let mut bay = Bay::learned(DETECTION, 1000);
    let still = |second: i64| row(second, Kind::Sample, "series=0 quality=0 value=50.25");
    let lines: Vec<Line> = (bay.second + 1..bay.second + 100).map(still).collect();
    bay.lines(&lines);
    let alert = bay.told("stuck");
    let (seen, _, marked, period_s) = around(alert);
    assert!(seen.iter().all(|value| *value == 50.25) && (seen.len(), marked) == (32, 32), "{seen:?}");
    let (since, at) = (alert.evidence["since"].clone(), (bay.second + 1) * SECOND);
    assert_eq!(since, clock::rfc3339(at));
    assert!((period_s * 31.0 - (alert.time - at) as f64 * 1e-6).abs() < 1e-3);

    let last = bay.second + 99;
    bay.lines(&[row(last + 90, Kind::Sample, "series=0 quality=0 value=50.5")]);
    let alert = bay.told("gap");
    assert_eq!(alert.evidence["seen"], 90.0);
    assert_eq!(alert.evidence["since"], clock::rfc3339(last * SECOND));
    assert_eq!(alert.evidence["around"], serde_json::Value::Null);
}

#[test]
fn with_a_budget_the_way_is_shown_from_the_first_candidate_on() {
    let text = DETECTION.replace("name: guard", "name: guard, budget: 2");
    let mut bay = Bay::learned(&text, 1);
    bay.feed(&[50.0; 100]);
    bay.feed(&[58.0; 200]);
    let alert = &bay.told[0];
    let (seen, expected, marked, _) = around(alert);
    assert!(seen.len() > 8 && expected.len() == seen.len() && marked == seen.len(), "{seen:?}");
    assert!(alert.evidence["factor"].as_f64().unwrap() > 1.0, "{:?}", alert.evidence);
}

#[test]
fn what_was_called_false_must_come_farther_where_a_budget_sets_limits() {
    let text =
        DETECTION.replace("name: guard", "name: guard, budget: 2").replace("signal]", "signal, class]");
    let again = |said: Option<&str>| {
        let mut bay = Bay::learned(&text, 1000);
        bay.feed(&[50.0; 100]);
        bay.feed(&[58.0; 200]);
        let alert = bay.told.remove(0);
        if let Some(signal) = said {
            let said = format!(
                "action=false-alarm subject={} payload={{\"tool\":\"T\",\"signal\":\"{signal}\",\"class\":\"any\"}}",
                alert.detection
            );
            bay.cell.record("d", &[row(bay.second, Kind::Control, &said)], bay.second);
        }
        // The incident is over.
        bay.feed(&[50.0; 9 * 3600]);
        bay.told.clear();
        bay.feed(&[58.0; 200]);
        let same = bay.told.len();
        bay.feed(&[90.0; 200]);
        (same, bay.told.len())
    };
    assert_eq!(again(None), (1, 1), "the same again is told");
    assert_eq!(again(Some("pressure")), (1, 1), "another signal was meant");
    assert_eq!(again(Some("flow")), (0, 1), "the same again is not, and what comes farther is");
}

#[test]
fn provisional_findings_have_a_course_and_keys_that_calm_down_keep_none() {
    let text = DETECTION.replace("settle_samples: 0", "settle_samples: 0, provisional_sigma: 24.0");
    let pipeline = pipeline(&text).unwrap_or_else(|errors| panic!("{}", errors[0]));
    let mut bay = Bay { cell: Cell::new(&pipeline), noise: 7, second: 0, told: Vec::new(), size: 1000 };
    bay.cell.record("c", &[row(0, Kind::Series, "series=0 tool=T signal=flow")], 0);
    bay.feed(&[[50.0; 300], [500.0; 300]].concat());
    let alert = bay.told("range");
    assert_eq!(alert.evidence["provisional"], true);
    let (seen, _, marked, _) = around(alert);
    assert_eq!(marked, 3);
    assert!(seen.len() == 11 && seen[7] < 60.0 && seen[8] > 400.0, "{seen:?}");
}

#[test]
fn courses_are_bounded_and_forgotten_once_a_key_comes_away_from_its_limits() {
    use guard::Findings;
    let (mut courses, most) = (Courses::default(), 5000_u32);
    let slots: Vec<u32> = (0..most).collect();
    let (times, values) = (vec![7; slots.len()], vec![1.0; slots.len()]);
    let batch = Batch { slots: &slots, times: &times, values: &values, quality: &vec![0; slots.len()] };
    let mut found = Found::default();
    (0..most).for_each(|index| found.near(index, Micros::MIN));
    for told in found.in_order() {
        let courses::Told::Near(near) = told else { panic!("nothing is found") };
        courses.follow(&batch, near);
    }
    assert_eq!(courses.len(), 4096);
    courses.keep_those_that_go_on(&vec![State::default(); slots.len()]);
    assert_eq!(courses.len(), 0);
}
