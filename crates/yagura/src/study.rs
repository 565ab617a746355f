//! `learn` and `score`: a model tried on own data, with one command.

mod model;
mod report;
mod table;

use std::ops::Range;
use std::path::{Path, PathBuf};

use anyhow::Context;
use clap::Args;
use serde_json::json;
use yagura_event::alert::reading;
use yagura_models::group::{self, Share, Statistic};
use yagura_respond::picture::Picture;

use self::model::Model;
use self::table::{Readings, Roles, Table};
use crate::say::say;
use crate::{Failure, Format};

/// Deviating rows that are no further apart than this are one incident.
const APART: usize = 10;
/// Rows before and after an incident that are shown with it.
const AROUND: usize = 60;
/// Incidents that are shown; the others are counted.
const SHOWN: usize = 50;
/// Signals that are shown of an incident.
const BLAMED: usize = 3;

/// Which columns are what.
#[derive(Args)]
struct Columns {
    /// The column that tells the time; one named time, timestamp or date without it.
    #[arg(long)]
    time: Option<String>,
    /// The column whose values are judged apart: a recipe's step, a mode.
    #[arg(long)]
    context: Option<String>,
    /// A column that is no signal; may be said again.
    #[arg(long)]
    ignore: Vec<String>,
    /// Seconds between rows, for tables with a line for each value (time, signal, value), as the history has them;
    /// lines of equal times are one row without it.
    #[arg(long)]
    period: Option<f64>,
}

impl Columns {
    fn roles(&self) -> Result<Roles, Failure> {
        let period = match self.period {
            None => None,
            Some(seconds) if (1e-6..=86_400.0).contains(&seconds) => Some((seconds * 1e6) as i64),
            Some(_) => {
                return Err(Failure::Input("--period is above 0 and at most 86400 seconds, a day".into()));
            }
        };
        Ok(Roles {
            period,
            time: self.time.clone(),
            context: self.context.clone(),
            ignored: self.ignore.clone(),
            ..Roles::default()
        })
    }
}

/// Arguments of `learn`.
#[derive(Args)]
#[command(after_help = LEARN_HELP)]
pub struct LearnArguments {
    /// Tables of a normal time, rows evenly apart: .csv or .parquet, a column each signal.
    #[arg(required = true)]
    files: Vec<PathBuf>,
    /// Write the model here.
    #[arg(long, short, default_value = "model.json")]
    output: PathBuf,
    #[command(flatten)]
    columns: Columns,
    /// Rows that may deviate when all is normal, of a thousand.
    #[arg(long, default_value_t = 3.0)]
    per_thousand: f64,
}

const LEARN_HELP: &str = help!(
    "  yagura learn normal.csv                              writes model.json
  yagura learn etch.parquet --context step --ignore lot -o etch.json
  yagura score today.csv --model model.json --report today.html

A table of the history:
  yagura query -c yagura.yaml \"SELECT time, signal, value FROM sample WHERE tool = 'ETCH-07'
      AND date = '2026-11-02' ORDER BY time\" --output normal.parquet
  yagura learn normal.parquet --period 1"
);

/// Arguments of `score`.
#[derive(Args)]
#[command(after_help = SCORE_HELP)]
pub struct ScoreArguments {
    /// The table to be judged.
    file: PathBuf,
    /// A model that `yagura learn` wrote.
    #[arg(long, short)]
    model: Option<PathBuf>,
    /// Without a model: learn from so many first rows of the table.
    #[arg(long, required_unless_present = "model", conflicts_with = "model")]
    first: Option<usize>,
    #[command(flatten)]
    columns: Columns,
    /// A column that is above 0 where something is known to be wrong: the scores are compared with it.
    #[arg(long)]
    label: Option<String>,
    /// Rows that may deviate when all is normal, of a thousand; used with --first.
    #[arg(long, default_value_t = 3.0)]
    per_thousand: f64,
    /// Write a page with pictures here.
    #[arg(long)]
    report: Option<PathBuf>,
    /// Write each row's score here, and whether it lies within an alarm, as CSV.
    #[arg(long)]
    scores: Option<PathBuf>,
}

const SCORE_HELP: &str = help!(
    "  yagura score run.csv --first 400                      learn from its beginning, judge the rest
  yagura score run.csv --first 400 --label anomaly --report run.html
  yagura score today.parquet --model etch.json --context step --scores scores.csv

A score of 1 is the limit. Every row is judged by itself and what came before it only. An alarm begins above the limit,
which is raised a little by each alarm, and lasts until the score is back at 1."
);

/// Learns from tables.
pub fn learn(arguments: &LearnArguments, format: Format) -> Result<(), Failure> {
    let parameters = parameters(arguments.per_thousand)?;
    let mut roles = arguments.columns.roles()?;
    let mut tables = Vec::new();
    for file in &arguments.files {
        let readings = Table::read(file)?.readings(file, &roles)?;
        // What the first table calls signals, the others must have.
        roles.signals.clone_from(&readings.signals);
        tables.push(readings);
    }
    let (model, left_out) = Model::learn(&tables, parameters)
        .map_err(|why| Failure::Input(format!("{}: {why}", arguments.files[0].display())))?;
    model.write(&arguments.output)?;
    let rows: usize = tables.iter().map(|table| table.rows.nrows()).sum();
    if format == Format::Json {
        say!(
            "{}",
            json!({ "model": arguments.output, "rows": rows, "signals": model.signals, "contexts": model.contexts(), "left_out": left_out })
        );
        return Ok(());
    }
    say!(
        "{}: {} signals, {rows} rows, {} contexts",
        arguments.output.display(),
        model.signals.len(),
        model.contexts().len()
    );
    for (context, why) in left_out {
        say!("  left out: {} ({why})", if context.is_empty() { "all" } else { &context });
    }
    Ok(())
}

/// A stretch of rows that deviate.
struct Incident {
    rows: Range<usize>,
    peak: usize,
    score: f64,
    statistic: Statistic,
    shares: Vec<Share>,
    /// What was expected of the blamed signals around it, by signal.
    expected: Vec<Vec<f64>>,
    shown: Range<usize>,
}

/// What was found in a table.
struct Study {
    readings: Readings,
    /// NaN where a row is not judged.
    scores: Vec<f64>,
    /// Whether a row lies within an alarm, as the operator that judges live has them.
    alarms: Vec<bool>,
    incidents: Vec<Incident>,
    /// Incidents that are not shown.
    more: usize,
}

/// Judges a table.
pub fn score(arguments: &ScoreArguments, format: Format) -> Result<(), Failure> {
    let place = arguments.file.display();
    let mut roles = arguments.columns.roles()?;
    roles.label.clone_from(&arguments.label);
    let table = Table::read(&arguments.file)?;
    let (model, readings, from) = match (&arguments.model, arguments.first) {
        (Some(file), _) => {
            let model = Model::read(file)?;
            roles.signals.clone_from(&model.signals);
            (model, table.readings(&arguments.file, &roles)?, 0)
        }
        (None, first) => {
            let readings = table.readings(&arguments.file, &roles)?;
            let first = first.unwrap_or_default().min(readings.rows.nrows());
            let normal = [readings.first(first)];
            let learned = Model::learn(&normal, parameters(arguments.per_thousand)?);
            (learned.map_err(|why| Failure::Input(format!("{place}: {why}")))?.0, readings, first)
        }
    };
    let study = judge(&model, readings, from);
    if let Some(file) = &arguments.scores {
        write_scores(file, &study)?;
    }
    if let Some(file) = &arguments.report {
        let page = report::page(&arguments.file.display().to_string(), &study);
        std::fs::write(file, page).with_context(|| file.display().to_string())?;
    }
    tell(&study, format);
    Ok(())
}

fn parameters(per_thousand: f64) -> Result<group::Parameters, Failure> {
    if !(per_thousand > 0.0 && per_thousand < 500.0) {
        return Err(Failure::Input("--per-thousand is above 0 and below 500".into()));
    }
    Ok(group::Parameters { nominal: per_thousand / 1000.0, ..group::Parameters::default() })
}

/// Judges rows from `from` on; in a second pass, which gives the same, notes what was expected around incidents.
fn judge(model: &Model, readings: Readings, from: usize) -> Study {
    let mut scores = vec![f64::NAN; readings.rows.nrows()];
    let mut alarms = vec![false; scores.len()];
    let mut peaks: Vec<Incident> = Vec::new();
    model.judge(&readings, from, |row, verdict, group| {
        scores[row] = f64::from(verdict.score);
        alarms[row] = verdict.alarm.is_on();
        if !alarms[row] {
            return;
        }
        let score = f64::from(verdict.score);
        let continues = peaks.last().is_some_and(|last| row <= last.rows.end + APART);
        if !continues {
            peaks.push(Incident {
                rows: row..row,
                peak: row,
                score: 0.0,
                statistic: verdict.statistic,
                shares: Vec::new(),
                expected: Vec::new(),
                shown: 0..0,
            });
        }
        if let Some(last) = peaks.last_mut() {
            last.rows.end = row + 1;
            if score > last.score {
                (last.peak, last.score, last.statistic) = (row, score, verdict.statistic);
                last.shares = group.shares().into_iter().take(BLAMED).collect();
            }
        }
    });
    let more = peaks.len().saturating_sub(SHOWN);
    peaks.sort_by(|a, b| b.score.total_cmp(&a.score).then(a.peak.cmp(&b.peak)));
    peaks.truncate(SHOWN);
    peaks.sort_by_key(|incident| incident.rows.start);
    for incident in &mut peaks {
        let end = (incident.rows.end + AROUND).min(scores.len());
        incident.shown = incident.rows.start.saturating_sub(AROUND).max(from)..end;
        incident.expected = vec![vec![f64::NAN; incident.shown.len()]; incident.shares.len()];
    }
    model.judge(&readings, from, |row, _, group| {
        for incident in peaks.iter_mut().filter(|incident| incident.shown.contains(&row)) {
            for (share, expected) in incident.shares.iter().zip(&mut incident.expected) {
                expected[row - incident.shown.start] = group.expected(share.signal);
            }
        }
    });
    Study { readings, scores, alarms, incidents: peaks, more }
}

fn write_scores(file: &Path, study: &Study) -> Result<(), Failure> {
    let mut out = csv::Writer::from_path(file).with_context(|| file.display().to_string())?;
    out.write_record(["row", "time", "score", "alarm"])?;
    for (row, score) in study.scores.iter().enumerate().filter(|(_, score)| score.is_finite()) {
        let alarm = if study.alarms[row] { "1" } else { "0" };
        out.write_record([&(row + 1).to_string(), study.time(row), &score.to_string(), alarm])?;
    }
    Ok(out.flush()?)
}

impl Study {
    fn judged(&self) -> usize {
        self.scores.iter().filter(|score| score.is_finite()).count()
    }

    fn deviating(&self) -> usize {
        self.alarms.iter().filter(|alarm| **alarm).count()
    }

    /// Beside the labels: the share of labelled rows that deviate, of the others, and F1.
    fn measures(&self) -> Option<[f64; 3]> {
        if self.readings.labels.is_empty() {
            return None;
        }
        let mut counts = [[0.0_f64; 2]; 2];
        let judged = self.scores.iter().map(|score| score.is_finite());
        let rows = judged.zip(&self.alarms).zip(&self.readings.labels);
        for ((_, alarm), label) in rows.filter(|((judged, _), _)| *judged) {
            counts[usize::from(*label)][usize::from(*alarm)] += 1.0;
        }
        let [[quiet, wrong], [missed, right]] = counts;
        let share = |part: f64, of: f64| if of > 0.0 { part / of } else { 0.0 };
        Some([
            share(right, right + missed),
            share(wrong, wrong + quiet),
            share(2.0 * right, 2.0 * right + wrong + missed),
        ])
    }

    fn time(&self, row: usize) -> &str {
        self.readings.times.get(row).map_or("", String::as_str)
    }

    /// What an incident is, in a line.
    fn what(&self, incident: &Incident) -> String {
        match incident.statistic {
            Statistic::Distance => "signals do not go together as learned".to_string(),
            Statistic::Signal(i) => {
                format!("{} is not where the others make it expected", self.readings.signals[usize::from(i)])
            }
        }
    }

    /// The picture of an incident's signal.
    fn picture<'a>(
        &'a self,
        incident: &'a Incident,
        which: usize,
        seen: &'a [f64],
        title: &'a str,
    ) -> Picture<'a> {
        let shown = &incident.shown;
        Picture {
            title,
            ends: [self.time(shown.start), self.time(shown.end - 1)],
            seen,
            expected: &incident.expected[which],
            deviation: incident.shares[which].deviation,
            marked: incident.rows.start - shown.start..incident.rows.end - shown.start,
        }
    }

    fn seen(&self, incident: &Incident, signal: usize) -> Vec<f64> {
        incident.shown.clone().map(|row| self.readings.rows[[row, signal]]).collect()
    }
}

fn tell(study: &Study, format: Format) {
    let measures = study.measures();
    if format == Format::Json {
        let incidents: Vec<_> = study
            .incidents
            .iter()
            .map(|incident| {
                let signals: Vec<_> = incident.shares.iter().map(|share| json!({
                "signal": study.readings.signals[share.signal], "share": share.share, "seen": share.seen,
                "expected": share.expected, "deviation": share.deviation,
            })).collect();
                json!({
                    "first": study.time(incident.rows.start), "last": study.time(incident.rows.end - 1),
                    "rows": [incident.rows.start + 1, incident.rows.end], "score": incident.score,
                    "what": study.what(incident), "signals": signals,
                })
            })
            .collect();
        let measures = measures.map(
            |[found, wrong, f1]| json!({ "detection_rate": found, "false_alarm_rate": wrong, "f1": f1 }),
        );
        say!(
            "{}",
            json!({
                "rows": study.judged(), "deviating": study.deviating(), "incidents": incidents,
                "more_incidents": study.more, "measures": measures,
            })
        );
        return;
    }
    say!(
        "{} rows judged, {} deviate, {} incidents",
        study.judged(),
        study.deviating(),
        study.incidents.len() + study.more
    );
    if let Some([found, wrong, f1]) = measures {
        say!("of labelled rows {:.1} % deviate, of others {:.2} %; F1 {f1:.3}", 100.0 * found, 100.0 * wrong);
    }
    for incident in &study.incidents {
        say!(
            "\n{} to {}  score {:.1}  {}",
            study.time(incident.rows.start),
            study.time(incident.rows.end - 1),
            incident.score,
            study.what(incident)
        );
        for (which, share) in incident.shares.iter().enumerate() {
            let name = &study.readings.signals[share.signal];
            say!(
                "  {name}: {} where {} ± {} was expected ({:.0} % of the deviation)",
                reading(share.seen),
                reading(share.expected),
                reading(share.deviation),
                100.0 * share.share
            );
            if which == 0 {
                let [line, marks] =
                    study.picture(incident, 0, &study.seen(incident, share.signal), name).blocks(72);
                say!("  {line}\n  {marks}");
            }
        }
    }
    if study.more > 0 {
        say!("\n{} more with lower scores are not shown", study.more);
    }
}
