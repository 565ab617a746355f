//! Single series: the Numenta Anomaly Benchmark, with its scorer written anew from its description (Lavin and Ahmad 2015,
//! "Evaluating Real-time Anomaly Detection Algorithms") and the scoring corpus that it publishes.
//!
//! Each window around an anomaly is worth one, by where its first detection lies: all at the window's beginning, nothing at
//! its end. Each detection outside costs up to a weight, less just after a window. The first 15 % of a series, 750 rows at
//! most, are there to learn from. One threshold for all series, the best; a score of 0 is no detection at all, 100 is
//! every window found at once and nothing else. What detects nothing has 0 by definition.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use yagura_models::series::{Parameters, State};

use super::data::folder;
use super::measures::share;
use crate::report::Figure;

/// What a false alarm and a missed window cost, a found one being worth 1.
struct Profile {
    name: &'static str,
    false_alarm: f64,
    missed: f64,
    /// The published score of Numenta's own detector, hierarchical temporal memory.
    peer: f64,
}

const PROFILES: [Profile; 3] = [
    Profile { name: "standard", false_alarm: 0.11, missed: 1.0, peer: 70.1 },
    Profile { name: "low false positives", false_alarm: 0.22, missed: 1.0, peer: 63.1 },
    Profile { name: "low false negatives", false_alarm: 0.11, missed: 2.0, peer: 74.3 },
];
/// The part of a series that is there to learn from, and the most of it.
const LEARNING: (f64, usize) = (0.15, 750);

struct Series {
    values: Vec<f64>,
    /// First and last row of each window.
    windows: Vec<(usize, usize)>,
}

/// A row that was detected and counts.
struct Detection {
    score: f64,
    /// The window that it lies in, of all windows.
    window: Option<usize>,
    /// What it is worth in its window, or costs outside.
    weight: f64,
}

pub fn nab() -> Result<Vec<Figure>> {
    let all = series()?;
    let windows: usize = all.iter().map(|series| series.windows.len()).sum();
    let (mut ours, mut always, mut first) = (Vec::new(), Vec::new(), 0);
    for series in &all {
        ours.extend(series.detections(&scores(series), first));
        always.extend(series.detections(&vec![1.0; series.values.len()], first));
        first += series.windows.len();
    }
    let mut figures = Vec::new();
    for profile in &PROFILES {
        let name = format!("nab {} (published HTM beside; never-on 0)", profile.name);
        figures.push(Figure::new(name, best(&mut ours, windows, profile), "").beside(profile.peer));
        let shipped = score(&ours, windows, profile);
        figures.push(Figure::new(format!("nab {}, alerts as shipped", profile.name), shipped, ""));
        let always = score(&always, windows, profile);
        figures.push(Figure::new(format!("nab {}, always-on", profile.name), always, ""));
    }
    let found = ours.iter().filter_map(|d| d.window).collect::<BTreeSet<_>>().len();
    let false_alarms = ours.iter().filter(|d| d.window.is_none()).count() as f64;
    let rows: usize = all.iter().map(|series| series.values.len() - series.learning()).sum();
    figures.push(Figure::new("nab windows found", 100.0 * share(found as f64, windows as f64), "%"));
    figures.push(Figure::new("nab false alarms in 1000 rows", 1000.0 * share(false_alarms, rows as f64), ""));
    Ok(figures)
}

/// The score of each row, 0 for those without a finding.
fn scores(series: &Series) -> Vec<f64> {
    let learning_samples = series.learning() as u32;
    let parameters = Parameters { learning_samples, ..Parameters::default() };
    let mut state = State::default();
    let score = |value: &f64| state.judge(*value, &parameters).map_or(0.0, |hit| hit.score);
    series.values.iter().map(score).collect()
}

impl Series {
    fn learning(&self) -> usize {
        ((LEARNING.0 * self.values.len() as f64) as usize).min(LEARNING.1)
    }

    /// The rows with a score; `first` is the number of this series' first window.
    fn detections(&self, scores: &[f64], first: usize) -> Vec<Detection> {
        let detected = scores.iter().enumerate().skip(self.learning()).filter(|(_, score)| **score > 0.0);
        let detection = |(row, &score): (usize, &f64)| {
            let window = self.windows.iter().position(|&(from, to)| (from..=to).contains(&row));
            let weight = match window {
                Some(at) => within(row, self.windows[at]),
                None => outside(row, self.windows.iter().rfind(|window| window.1 < row)),
            };
            Detection { score, window: window.map(|at| first + at), weight }
        };
        detected.map(detection).collect()
    }
}

/// 1 at a window's beginning, nothing at its end.
fn within(row: usize, (from, to): (usize, usize)) -> f64 {
    let width = (to - from + 1) as f64;
    sigmoid(-((to - row + 1) as f64) / width) / sigmoid(-1.0)
}

/// Down to -1, by how far the last window is behind.
fn outside(row: usize, before: Option<&(usize, usize)>) -> f64 {
    let Some(&(from, to)) = before else { return -1.0 };
    sigmoid((row - to) as f64 / ((to - from) as f64).max(1e-9))
}

fn sigmoid(position: f64) -> f64 {
    if position > 3.0 { -1.0 } else { 2.0 / (1.0 + (5.0 * position).exp()) - 1.0 }
}

/// The score at the threshold that is best for this profile, between that of no detection and of perfect ones.
fn best(detections: &mut [Detection], windows: usize, profile: &Profile) -> f64 {
    detections.sort_by(|a, b| b.score.total_cmp(&a.score));
    let mut tally = Tally::new(windows, profile);
    let mut best = tally.score();
    for same in detections.chunk_by(|a, b| a.score == b.score) {
        same.iter().for_each(|detection| tally.take(detection));
        best = best.max(tally.score());
    }
    best
}

/// The score of all of them.
fn score(detections: &[Detection], windows: usize, profile: &Profile) -> f64 {
    let mut tally = Tally::new(windows, profile);
    detections.iter().for_each(|detection| tally.take(detection));
    tally.score()
}

struct Tally<'a> {
    profile: &'a Profile,
    /// The best detection in each window.
    windows: Vec<Option<f64>>,
    /// Of false alarms, negative.
    cost: f64,
}

impl<'a> Tally<'a> {
    fn new(windows: usize, profile: &'a Profile) -> Self {
        Tally { profile, windows: vec![None; windows], cost: 0.0 }
    }

    fn take(&mut self, detection: &Detection) {
        match detection.window {
            None => self.cost += self.profile.false_alarm * detection.weight,
            Some(at) => {
                let before = self.windows[at].unwrap_or(f64::NEG_INFINITY);
                self.windows[at] = Some(before.max(detection.weight));
            }
        }
    }

    fn score(&self) -> f64 {
        let missed = self.profile.missed;
        let worth: f64 = self.windows.iter().map(|found| found.unwrap_or(-missed)).sum();
        let windows = self.windows.len() as f64;
        100.0 * share(worth + self.cost + missed * windows, (1.0 + missed) * windows)
    }
}

/// All series, by name.
fn series() -> Result<Vec<Series>> {
    let folder = folder()?.join("nab");
    let labels = std::fs::read_to_string(folder.join("labels/combined_windows.json"))?;
    let labels: BTreeMap<String, Vec<(String, String)>> = serde_json::from_str(&labels)?;
    let read = |(file, labels): (&String, &Vec<(String, String)>)| {
        let path = folder.join("data").join(file);
        let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let rows = text.lines().skip(1).filter_map(|line| line.split_once(','));
        let (times, values): (Vec<&str>, Vec<f64>) =
            rows.map(|(time, value)| (time, value.trim().parse().unwrap_or(f64::NAN))).unzip();
        // Times are text of one form, to the second; windows have microseconds too.
        let window = |(from, to): &(String, String)| -> Option<(usize, usize)> {
            let (from, to) = (from.get(..19)?, to.get(..19)?);
            Some((times.iter().position(|time| *time >= from)?, times.iter().rposition(|time| *time <= to)?))
        };
        let windows: Option<Vec<_>> = labels.iter().map(window).collect();
        Ok(Series { values, windows: windows.with_context(|| format!("a window of {file} is outside"))? })
    };
    labels.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn early_detections_are_worth_more_and_false_ones_cost() {
        let series = Series { values: vec![0.0; 1000], windows: vec![(400, 499)] };
        let of = |rows: &[usize]| {
            let mut scores = vec![0.0; 1000];
            rows.iter().for_each(|&row| scores[row] = 1.0);
            let mut detections = series.detections(&scores, 0);
            (best(&mut detections, 1, &PROFILES[0]), score(&detections, 1, &PROFILES[0]))
        };
        assert_eq!(of(&[]), (0.0, 0.0));
        assert_eq!(of(&[400, 450]), (100.0, 100.0), "the first counts");
        let (late, _) = of(&[499]);
        assert!((50.0..53.0).contains(&late), "{late}");
        assert_eq!(of(&[100]), (0.0, 0.0), "learning");
        let (best, all) = of(&[200, 400]);
        assert!((best - 94.5).abs() < 1e-9 && best == all, "{best} {all}");
        let (best, all) = of(&[200]);
        assert!(best == 0.0 && (all + 5.5).abs() < 1e-9, "no detection is better: {all}");
        let (_, just_after) = of(&[400, 505]);
        assert!(just_after > 98.0, "{just_after}");
    }
}
