//! Groups of signals: SKAB, Tennessee Eastman, BATADAL and the server machines.

use std::collections::BTreeSet;

use anyhow::{Context, Result};
use ndarray::{ArrayView2, s};
use yagura_models::alarm::Alarm;
use yagura_models::group::{Group, Parameters, Work};

use super::data::{blanks, files, folder, parquet, separated};
use super::measures::{Counts, batadal as batadal_score, segments, share};
use crate::report::Figure;

/// Rows at the beginning of a run of SKAB that are there to learn from.
pub const SKAB_TRAINING: usize = 400;
/// The row of Tennessee Eastman's test files at which a fault begins.
const FAULT_AT: usize = 160;
/// The faults that can be found; 3 and 9 are known to be practically invisible.
const FAULTS: [usize; 8] = [1, 2, 4, 5, 6, 7, 8, 10];

/// What the shipped model makes of rows: of each, whether it lies within an alarm and whether one begins with it.
#[derive(Default)]
pub struct Alarms {
    pub on: Vec<bool>,
    pub begun: Vec<bool>,
}

impl Alarms {
    fn add(&mut self, alarm: Alarm) {
        self.on.push(alarm.is_on());
        self.begun.push(alarm == Alarm::Begins);
    }
}

/// The alarms of rows by a group.
pub fn alarms(group: &mut Group, rows: ArrayView2<'_, f64>, parameters: &Parameters) -> Alarms {
    let mut alarms = Alarms::default();
    group.judge(rows, parameters, &mut Work::default(), |_, verdict, _| alarms.add(verdict.alarm));
    alarms
}

pub fn skab() -> Result<Vec<Figure>> {
    let folder = folder()?.join("skab/data");
    let (mut counts, mut always) = (Counts::default(), Counts::default());
    for part in ["valve1", "valve2", "other"] {
        for file in files(&folder.join(part), ".csv")? {
            let table = separated(&file, ';')?;
            let rows = table.columns(|name| !["datetime", "anomaly", "changepoint"].contains(&name));
            let labels = &table.labels("anomaly")?[SKAB_TRAINING..];
            let mut group = Group::fit(rows.slice(s![..SKAB_TRAINING, ..]), &Parameters::default())
                .with_context(|| file.display().to_string())?;
            let alarms = alarms(&mut group, rows.slice(s![SKAB_TRAINING.., ..]), &Parameters::default());
            counts.add(labels, &alarms.on);
            always.add(labels, &vec![true; labels.len()]);
        }
    }
    Ok(vec![
        Figure::new("SKAB F1 (always-on beside; never-on 0)", counts.f1(), "").beside(always.f1()),
        Figure::new("SKAB false alarm rate", 100.0 * counts.false_alarm_rate(), "%").beside(100.0),
        Figure::new("SKAB missed alarm rate", 100.0 * (1.0 - counts.detection_rate()), "%"),
    ])
}

pub fn tennessee_eastman() -> Result<Vec<Figure>> {
    let folder = folder()?.join("tep");
    // The training file alone lies on its side.
    let training = blanks(&folder.join("d00.dat"))?.reversed_axes();
    let group = Group::fit(training.view(), &Parameters::default())?;
    let judged = |number: usize| -> Result<Vec<bool>> {
        let rows = blanks(&folder.join(format!("d{number:02}_te.dat")))?;
        let mut group = group.clone();
        group.begin();
        Ok(alarms(&mut group, rows.view(), &Parameters::default()).on)
    };
    let rate = |alarms: &[bool]| share(alarms.iter().filter(|&&a| a).count() as f64, alarms.len() as f64);
    let normal = judged(0)?;
    let mut figures = vec![
        Figure::new("TEP false alarms on d00_te (always-on beside)", 100.0 * rate(&normal), "%")
            .beside(100.0),
    ];
    let (mut rates, mut hidden, mut delays) = (Vec::new(), Vec::new(), Vec::new());
    for number in 1..=10 {
        let judged = judged(number)?;
        let alarms = &judged[FAULT_AT..];
        if FAULTS.contains(&number) {
            rates.push(rate(alarms));
            delays.push(alarms.iter().position(|&a| a).unwrap_or(alarms.len()) as f64);
        } else {
            hidden.push((number, rate(alarms)));
        }
    }
    let mean = |values: &[f64]| share(values.iter().sum(), values.len() as f64);
    figures.push(
        Figure::new("TEP detection rate, faults 1 2 4-8 10 (never-on 0)", mean(&rates), "").beside(1.0),
    );
    figures.push(Figure::new("TEP worst of these faults", rates.iter().copied().fold(1.0, f64::min), ""));
    figures.push(Figure::new("TEP rows until found, mean", mean(&delays), ""));
    for (number, rate) in hidden {
        figures.push(Figure::new(format!("TEP detection rate, fault {number}"), rate, ""));
    }
    Ok(figures)
}

pub fn batadal() -> Result<Vec<Figure>> {
    let folder = folder()?.join("batadal");
    let of = |file: &str| separated(&folder.join(file), ',');
    let (training, test) = (of("dataset03.csv")?, of("dataset04.csv")?);
    let signal = |name: &str| !["DATETIME", "ATT_FLAG"].contains(&name);
    let labels = test.labels("ATT_FLAG")?;
    let mut group = Group::fit(training.columns(signal).view(), &Parameters::default())?;
    group.begin();
    let alarms = alarms(&mut group, test.columns(signal).view(), &Parameters::default()).on;
    let all = vec![true; labels.len()];
    let mut counts = Counts::default();
    counts.add(&labels, &alarms);
    let found = segments(&labels).into_iter().filter(|s| alarms[s.clone()].contains(&true)).count();
    let never = batadal_score(&labels, &vec![false; labels.len()]);
    Ok(vec![
        Figure::new(
            format!("BATADAL S (always-on beside; never-on {never:.2})"),
            batadal_score(&labels, &alarms),
            "",
        )
        .beside(batadal_score(&labels, &all)),
        Figure::new("BATADAL true positive rate", counts.detection_rate(), ""),
        Figure::new("BATADAL true negative rate", 1.0 - counts.false_alarm_rate(), ""),
        Figure::new("BATADAL attacks found of 7", found as f64, ""),
    ])
}

/// The rate that is asked for here.
pub const SMD_NOMINAL: f64 = 1e-3;

pub fn server_machines() -> Result<Vec<Figure>> {
    let folder = folder()?.join("smd");
    let (mut within, mut begun, mut apart) = (Counts::default(), Counts::default(), Counts::default());
    let (mut events, mut found, mut asked, mut named) = (0.0, 0.0, 0.0, 0.0);
    let parameters = Parameters { nominal: SMD_NOMINAL, ..Parameters::default() };
    for file in files(&folder, "_train.parquet")? {
        let name =
            file.file_name().map(|n| n.to_string_lossy().replace("_train.parquet", "")).unwrap_or_default();
        let test = parquet(&folder.join(format!("{name}_test.parquet")))?;
        let training = parquet(&file)?.columns(|name| name != "label");
        let (labels, rows) = (test.labels("label")?, test.columns(|name| name != "label"));
        let mut group = Group::fit(training.view(), &parameters).with_context(|| name.clone())?;
        let causes = causes(&folder.join(format!("interpretation_label/{name}.txt")))?;
        let mut alarms = Alarms::default();
        // For each labelled stretch: the signals that the row of its highest score was blamed on.
        let mut blamed: Vec<(f32, Vec<usize>)> = vec![(0.0, Vec::new()); causes.len()];
        group.judge(rows.view(), &parameters, &mut Work::default(), |row, verdict, group| {
            alarms.add(verdict.alarm);
            for (cause, blamed) in causes.iter().zip(&mut blamed) {
                if cause.0.contains(&row) && verdict.score > blamed.0 {
                    *blamed =
                        (verdict.score, group.shares().iter().take(3).map(|share| share.signal).collect());
                }
            }
        });
        within.add(&labels, &alarms.on);
        begun.add(&labels, &alarms.begun);
        let mut apart_on = vec![false; labels.len()];
        for alarm in segments(&alarms.on).into_iter().filter(|alarm| !labels[alarm.clone()].contains(&true)) {
            apart_on[alarm].fill(true);
        }
        apart.add(&labels, &apart_on);
        for stretch in segments(&labels) {
            events += 1.0;
            found += f64::from(u8::from(alarms.on[stretch].contains(&true)));
        }
        for ((_, guilty), (_, blamed)) in causes.iter().zip(&blamed) {
            asked += 1.0;
            named += f64::from(u8::from(blamed.iter().any(|signal| guilty.contains(signal))));
        }
    }
    Ok(vec![
        Figure::new(
            "SMD false alarms that begin, a row, nominal 0.1 %",
            100.0 * begun.false_alarm_rate(),
            "%",
        ),
        Figure::new("SMD unlabelled rows within an alarm", 100.0 * within.false_alarm_rate(), "%")
            .beside(100.0),
        Figure::new("  of these in alarms without a labelled row", 100.0 * apart.false_alarm_rate(), "%"),
        Figure::new("SMD labelled stretches found", share(found, events), ""),
        Figure::new("SMD labelled rows within an alarm", within.detection_rate(), ""),
        Figure::new("SMD a true cause among the first three named", share(named, asked), ""),
    ])
}

/// The labelled stretches with their faulty signals, counted from 1 there: `first-last:signal,signal`.
fn causes(path: &std::path::Path) -> Result<Vec<(std::ops::Range<usize>, BTreeSet<usize>)>> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    let line = |line: &str| -> Option<_> {
        let (rows, signals) = line.split_once(':')?;
        let (first, last) = rows.split_once('-')?;
        let signals =
            signals.split(',').filter_map(|s| s.trim().parse::<usize>().ok()?.checked_sub(1)).collect();
        Some((first.parse().ok()?..last.parse::<usize>().ok()? + 1, signals))
    };
    Ok(text.lines().filter_map(line).collect())
}
