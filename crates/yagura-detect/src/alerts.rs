//! From hits to alerts: one alert for a key until it has been quiet for long enough.
//!
//! The quiet time is the refractory time of all alarms: what a deviation that lasts, or comes back, brings within it is
//! counted by the alert and told in revisions: at powers of ten, and when nothing further has come for as long as it had
//! lasted. So there are few of them, and the last one says how many there were. A hit of a deviation that has gone on
//! since the alert counts however long nothing was told of it.
//!
//! A detection names the severity of its alerts. One of a model is raised by a single step, once and for good, when its
//! deviation is far ([`FAR`]) or long ([`LONG`]); if that shows later, in a revision of its own. `raised` in the
//! alert's evidence says why.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use yagura_event::alert::{Alert, Cause, reading};
use yagura_event::clock::{Micros, SECOND};

use crate::pipeline::Detection;

/// From this many times its limit on, a deviation is far. Of 272 alarms of groups without a labelled row on SKAB, Tennessee
/// Eastman, BATADAL and SMD one came so far, of 243 with one 26.
pub const FAR: f64 = 5.0;
/// A deviation that lasts so long is long: whoever is on shift has had the time to settle it. None of those 272 lasted for
/// half of it, but on BATADAL, whose rows are an hour apart.
pub const LONG: Micros = 3600 * SECOND;
/// What is told no further apart than this is one deviation that lasts; models tell one again every ten minutes at least.
const APART: Micros = 900 * SECOND;
/// What was counted and not told is told after at least, and at most, so much of the collectors' time without a hit.
const SETTLED: (Micros, Micros) = (60 * SECOND, 1800 * SECOND);

/// One row that a detection objects to.
#[derive(Clone, Debug)]
pub struct Hit {
    /// Index of the detection in the pipeline.
    pub detection: usize,
    /// The row.
    pub cause: Cause,
    /// Its device time.
    pub time: Micros,
    /// Its collector time.
    pub observed: Micros,
    /// The `by` columns and their values.
    pub key: BTreeMap<String, String>,
    /// The row, and what was expected.
    pub evidence: serde_json::Map<String, serde_json::Value>,
    /// Whether it came after the watermark had passed it.
    pub late: bool,
    /// How far and how long, where a model judged it and what it learned is in force.
    pub deviation: Option<Deviation>,
}

/// How far something is off, and since when.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Deviation {
    /// How far: 1 is the limit in force.
    pub score: f64,
    /// Device times of its first row and of the one that is told now.
    pub since: Micros,
    /// See [`Self::since`].
    pub last: Micros,
}

impl Hit {
    /// The same, of a deviation that began before.
    pub fn deviating(self, deviation: Deviation) -> Hit {
        Hit { deviation: Some(deviation), ..self }
    }

    /// The same, of a deviation that is told as it is found.
    pub fn scored(self, score: f64) -> Hit {
        let deviation = Deviation { score, since: self.time, last: self.time };
        self.deviating(deviation)
    }
}

/// The alerts of a cell that may still count further rows.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct AlertBook {
    open: BTreeMap<Key, Open>,
    next_sequence: u64,
    /// Nothing is to be told before the watermark comes here.
    settles: Micros,
}

/// A detection, and its `by` columns with their values.
type Key = (String, BTreeMap<String, String>);

/// An alert with what the next revision needs. The alert itself is kept as JSON text: its
/// evidence has no fixed shape, which a compact binary snapshot cannot carry.
#[derive(Clone, Debug, Serialize, Deserialize)]
struct Open {
    alert: String,
    count: u64,
    /// The count that was told last.
    told: u64,
    revision: u32,
    last_time: Micros,
    /// When the collectors had the first hit and the last.
    observed: (Micros, Micros),
    lasting: Option<Lasting>,
    raised: bool,
}

/// A stretch of time through which an alert's deviation has lasted.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Lasting {
    since: Micros,
    last: Micros,
}

impl Open {
    /// Whether a hit is of the same alert.
    fn goes_on(&self, hit: &Hit, quiet: Micros) -> bool {
        hit.time.saturating_sub(self.last_time) <= quiet
            || hit.deviation.is_some_and(|deviation| deviation.since <= self.last_time)
    }

    fn count(&mut self, hit: &Hit) {
        self.count += 1;
        self.last_time = self.last_time.max(hit.time);
        self.observed.1 = self.observed.1.max(hit.observed);
    }

    /// When the watermark tells what was counted since it was told, if nothing further comes.
    fn settles(&self) -> Option<Micros> {
        let (first, last) = self.observed;
        let lasted = last.saturating_sub(first).clamp(SETTLED.0, SETTLED.1);
        (self.count > self.told).then(|| last.saturating_add(lasted))
    }

    /// The alert as it stands.
    fn revise(&mut self, next_sequence: &mut u64) -> Option<Alert> {
        let alert: Alert = serde_json::from_str(&self.alert).ok()?;
        self.revision += 1;
        self.told = self.count;
        let sequence = *next_sequence;
        *next_sequence += 1;
        let (revision, count, last_time) = (self.revision, self.count, self.last_time);
        Some(Alert { revision, count, last_time, sequence, ..alert })
    }

    /// Raises the alert's severity by one step where there is one, and says why.
    fn raise(&mut self, why: String) -> bool {
        self.raised = true;
        let Ok(mut alert) = serde_json::from_str::<Alert>(&self.alert) else { return false };
        let is_raised = raise(&mut alert, why);
        if is_raised {
            self.alert = serde_json::to_string(&alert).unwrap_or_default();
        }
        is_raised
    }

    /// Takes note of a deviation; answers why it raises the severity, if it does.
    fn weigh(&mut self, deviation: Option<Deviation>) -> Option<String> {
        let Deviation { score, since, last } = deviation?;
        let lasting = match self.lasting {
            // Of a clock that was set back, or of a row that came late.
            Some(before) if last < before.since.saturating_sub(APART) => before,
            Some(before) if since <= before.last.saturating_add(APART) => {
                Lasting { since: before.since.min(since), last: before.last.max(last) }
            }
            _ => Lasting { since, last },
        };
        self.lasting = Some(lasting);
        let minutes = lasting.last.saturating_sub(lasting.since) / (60 * SECOND);
        if self.raised {
            None
        } else if score >= FAR {
            Some(format!("it came to {} times its limit, and {FAR} are far", reading(score)))
        } else if minutes >= LONG / (60 * SECOND) {
            Some(format!("it has lasted for {minutes} minutes, and {} are long", LONG / (60 * SECOND)))
        } else {
            None
        }
    }
}

/// Raises an alert's severity by one step where there is one, and says why.
fn raise(alert: &mut Alert, why: String) -> bool {
    let Some(severity) = alert.severity.above() else { return false };
    if let serde_json::Value::Object(evidence) = &mut alert.evidence {
        evidence.insert("raised".into(), format!("from {}, as {why}", alert.severity.name()).into());
    }
    alert.severity = severity;
    true
}

/// The most alerts that are kept open in a cell; beyond, those quiet for longest are closed, so many at once.
const OPEN_MAX: usize = 10_000;
const CLOSED_AT_ONCE: usize = OPEN_MAX / 10;

impl AlertBook {
    /// Takes a hit; tells a new alert, or a revision when the count reached a power of ten or the severity was raised.
    pub fn take(&mut self, cell: &str, detection: &Detection, mut hit: Hit, told: &mut Vec<Alert>) {
        let key = (detection.id.clone(), std::mem::take(&mut hit.key));
        match self.open.get_mut(&key) {
            Some(open) if open.goes_on(&hit, detection.quiet) => {
                open.count(&hit);
                let raised = open.weigh(hit.deviation).is_some_and(|why| open.raise(why));
                if raised || is_power_of_ten(open.count) {
                    told.extend(open.revise(&mut self.next_sequence));
                } else if let Some(settles) = open.settles() {
                    self.settles = self.settles.min(settles);
                }
            }
            _ => self.begin(cell, detection, key, hit, told),
        }
    }

    /// Tells what was counted and not told of alerts that have been quiet for long enough.
    pub fn settle(&mut self, watermark: Micros, told: &mut Vec<Alert>) {
        if watermark < self.settles {
            return;
        }
        self.settles = Micros::MAX;
        for open in self.open.values_mut() {
            match open.settles() {
                Some(settles) if settles <= watermark => told.extend(open.revise(&mut self.next_sequence)),
                Some(settles) => self.settles = self.settles.min(settles),
                None => {}
            }
        }
    }

    fn begin(&mut self, cell: &str, detection: &Detection, key: Key, hit: Hit, told: &mut Vec<Alert>) {
        if let Some(over) = self.open.remove(&key) {
            self.close(over, told);
        }
        self.make_room(told);
        let (last_time, observed, deviation) = (hit.time, (hit.observed, hit.observed), hit.deviation);
        let mut alert = self.new_alert(cell, detection, key.1.clone(), hit);
        let mut open = Open {
            alert: String::new(),
            count: 1,
            told: 1,
            revision: 1,
            last_time,
            observed,
            lasting: None,
            raised: false,
        };
        if let Some(why) = open.weigh(deviation) {
            open.raised = true;
            raise(&mut alert, why);
        }
        open.alert = serde_json::to_string(&alert).unwrap_or_default();
        self.open.insert(key, open);
        told.push(alert);
    }

    /// Tells what was not told of an alert that counts no further.
    fn close(&mut self, mut over: Open, told: &mut Vec<Alert>) {
        if over.settles().is_some() {
            told.extend(over.revise(&mut self.next_sequence));
        }
    }

    /// How many alerts and revisions there have been.
    pub fn issued(&self) -> u64 {
        self.next_sequence
    }

    fn new_alert(
        &mut self,
        cell: &str,
        detection: &Detection,
        key: BTreeMap<String, String>,
        hit: Hit,
    ) -> Alert {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let tool = hit.evidence.get("tool").and_then(|v| v.as_str()).unwrap_or("").to_string();
        Alert {
            uid: Alert::uid_of(cell, &detection.id, &key, &hit.cause),
            revision: 1,
            cell: cell.to_string(),
            sequence,
            detection: detection.id.clone(),
            title: detection.title.clone(),
            queue: detection.queue,
            severity: detection.severity,
            protects: detection.protects.clone(),
            techniques: detection.techniques.clone(),
            matrix: detection.matrix.clone(),
            outcomes: detection.outcomes.clone(),
            time: hit.time,
            observed: hit.observed,
            last_time: hit.time,
            count: 1,
            key,
            tool,
            summary: fill(&detection.summary, &hit.evidence),
            then: detection.then.clone(),
            evidence: serde_json::Value::Object(hit.evidence),
            cause: hit.cause,
            late: hit.late,
        }
    }

    fn make_room(&mut self, told: &mut Vec<Alert>) {
        if self.open.len() < OPEN_MAX {
            return;
        }
        let mut all: Vec<(Micros, &Key)> =
            self.open.iter().map(|(key, open)| (open.last_time, key)).collect();
        all.sort_unstable();
        let quietest: Vec<Key> = all[..CLOSED_AT_ONCE].iter().map(|(_, key)| (*key).clone()).collect();
        for key in quietest {
            if let Some(over) = self.open.remove(&key) {
                self.close(over, told);
            }
        }
    }
}

fn is_power_of_ten(count: u64) -> bool {
    count > 0 && 10_u64.checked_pow(count.ilog10()) == Some(count)
}

/// The names in a template's `{places}`.
pub fn places(template: &str) -> impl Iterator<Item = &str> {
    template.split('{').skip(1).filter_map(|rest| rest.split_once('}').map(|(name, _)| name))
}

/// The value of a name; of `first.client`, the value within that of `first`.
pub fn value_at<'a>(
    values: &'a serde_json::Map<String, serde_json::Value>,
    name: &str,
) -> Option<&'a serde_json::Value> {
    match name.split_once('.') {
        Some((outer, inner)) => values.get(outer)?.get(inner),
        None => values.get(name),
    }
}

/// A template with its places filled; a place without a value becomes a dash.
fn fill(template: &str, values: &serde_json::Map<String, serde_json::Value>) -> String {
    let mut out = String::with_capacity(template.len() + 32);
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let Some((name, after)) = after.split_once('}') else {
            out.push('{');
            rest = after;
            continue;
        };
        let is_empty = |value: &&serde_json::Value| value.is_null() || value.as_str() == Some("");
        match value_at(values, name).filter(|value| !is_empty(value)) {
            Some(serde_json::Value::String(text)) => out.push_str(text),
            Some(serde_json::Value::Number(number)) => match number.as_f64() {
                Some(f) if !number.is_i64() && !number.is_u64() => out.push_str(&reading(f)),
                _ => out.push_str(&number.to_string()),
            },
            Some(other) => out.push_str(&other.to_string()),
            None => out.push('–'),
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use yagura_event::alert::Severity;

    use super::*;
    use crate::operators::testing::Equals;
    use crate::pipeline::Pipeline;
    use crate::shelf::{Shelf, Texts};

    /// A pipeline of one detection.
    fn detects(severity: Severity, quiet: &str) -> Arc<Pipeline> {
        let text = format!(
            "version: 1\ndetections:\n  - {{ id: it, title: It, queue: equipment, severity: {}, then: Look., quiet: {quiet}, \
             on: message, by: [tool], summary: '{{tool}}' }}\n",
            severity.name()
        );
        let read = Shelf::new(Equals).read(Texts::one("it.yaml", text));
        read.unwrap_or_else(|errors| panic!("{}", errors[0]))
    }

    /// At that minute, of a deviation that has lasted since another.
    fn hit(minute: i64, since: i64, score: f64) -> Hit {
        let time = minute * 60 * SECOND;
        let cause = Cause { collector: "fdc".into(), epoch: 1, row: minute as u64 };
        let (key, evidence) = ([("tool".to_string(), "T".to_string())].into(), serde_json::Map::new());
        let hit =
            Hit { detection: 0, cause, time, observed: time, key, evidence, late: false, deviation: None };
        hit.deviating(Deviation { score, since: since * 60 * SECOND, last: time })
    }

    /// What a book tells of hits: minute, revision, severity, and why it was raised.
    fn told(pipeline: &Pipeline, hits: &[Hit]) -> Vec<(i64, u32, Severity, String)> {
        let mut book = AlertBook::default();
        let taken = hits.iter().filter_map(|hit| {
            // Through its saved form each time, as a restart could come anywhere.
            book = postcard::from_bytes(&postcard::to_stdvec(&book).unwrap()).unwrap();
            let mut told = Vec::new();
            book.take("bay", &pipeline.detections[0], hit.clone(), &mut told);
            let alert = told.pop()?;
            let why = alert.evidence["raised"].as_str().unwrap_or_default().to_string();
            Some((hit.time / SECOND / 60, alert.revision, alert.severity, why))
        });
        taken.collect()
    }

    #[test]
    fn what_comes_far_at_once_is_raised_by_one_step_with_its_reason() {
        let told = told(&detects(Severity::Medium, "0s"), &[hit(0, 0, 7.25), hit(1, 0, 70.0)]);
        let why = "from medium, as it came to 7.25 times its limit, and 5 are far";
        assert_eq!(told, [(0, 1, Severity::High, why.to_string())]);
    }

    #[test]
    fn what_comes_far_later_is_raised_in_a_revision_and_stays_so() {
        let mut hits = vec![hit(0, 0, 2.0), hit(1, 0, 3.0), hit(2, 0, 6.0)];
        hits.extend((3..12).map(|minute| hit(minute, 0, 2.0)));
        let told = told(&detects(Severity::Low, "0s"), &hits);
        let short: Vec<_> =
            told.iter().map(|(minute, revision, severity, _)| (*minute, *revision, *severity)).collect();
        // The third is the tenth hit.
        assert_eq!(short, [(0, 1, Severity::Low), (2, 2, Severity::Medium), (9, 3, Severity::Medium)]);
        assert!(told[2].3.contains("6 times"), "{told:?}");
    }

    #[test]
    fn what_lasts_long_is_raised_however_long_nothing_was_told_of_it() {
        let every =
            |minutes: usize| (0..=90).step_by(minutes).map(|minute| hit(minute, 0, 1.5)).collect::<Vec<_>>();
        let raised = told(&detects(Severity::Medium, "0s"), &every(10));
        let why = "from medium, as it has lasted for 60 minutes, and 60 are long";
        assert_eq!(raised[1], (60, 2, Severity::High, why.to_string()));
        // Alarms of their own, each within the quiet time of the one before, but too far apart for one deviation.
        let of_an_hour = detects(Severity::Medium, "1h");
        let apart: Vec<Hit> = (0..5).map(|n| hit(20 * n, 20 * n, 1.5)).collect();
        assert_eq!(told(&of_an_hour, &apart).len(), 1);
    }

    #[test]
    fn a_detection_s_worst_stays_and_what_no_model_judged_too() {
        let critical = detects(Severity::Critical, "0s");
        assert_eq!(
            told(&critical, &[hit(0, 0, 9.0), hit(1, 0, 9.0)]),
            [(0, 1, Severity::Critical, String::new())]
        );
        let plain: Vec<Hit> = (0..9).map(|_| Hit { deviation: None, ..hit(0, 0, 9.0) }).collect();
        assert_eq!(told(&detects(Severity::Low, "0s"), &plain), [(0, 1, Severity::Low, String::new())]);
    }

    #[test]
    fn the_card_says_what_is_far_and_long() {
        let card = include_str!("../../../models/alarm.yaml");
        for line in [format!("  far: {FAR} "), format!("  long_minutes: {} ", LONG / SECOND / 60)] {
            assert!(card.contains(&line), "{line}");
        }
        assert!(card.contains(&format!("more than {} minutes apart", APART / SECOND / 60)));
    }

    #[test]
    fn scores_that_are_no_numbers_raise_nothing() {
        let hits = [hit(0, 0, f64::NAN), hit(i64::MIN / 60_000_000, i64::MIN / 60_000_000, 1.0)];
        assert!(told(&detects(Severity::Low, "0s"), &hits).iter().all(|told| told.2 == Severity::Low));
    }

    #[test]
    fn templates_are_filled_as_people_write_numbers() {
        let values = serde_json::json!({"tool": "ETCH-07", "step": "", "lot": null, "seen": 12.345678, "count": 3, "first": {"client": "PC"}});
        let values = values.as_object().cloned().unwrap_or_default();
        assert_eq!(
            fill(
                "{tool} {step}{lot}: {seen} ({count} times, {missing}) {first.client} {first.tool} {open",
                &values
            ),
            "ETCH-07 ––: 12.35 (3 times, –) PC – {open"
        );
        assert_eq!(places("{a} b {c}").collect::<Vec<_>>(), ["a", "c"]);
    }

    /// What a book tells, by minutes of hits and of watermarks: minute, count and last minute of revisions.
    fn counted(pipeline: &Pipeline, happens: &[(i64, bool)]) -> Vec<(i64, u64, i64)> {
        let (mut book, mut all) = (AlertBook::default(), Vec::new());
        for (minute, is_hit) in happens {
            book = postcard::from_bytes(&postcard::to_stdvec(&book).unwrap()).unwrap();
            let mut told = Vec::new();
            match is_hit {
                true => book.take("bay", &pipeline.detections[0], hit(*minute, *minute, 1.0), &mut told),
                false => book.settle(minute * 60 * SECOND, &mut told),
            }
            all.extend(told.iter().map(|alert| (*minute, alert.count, alert.last_time / SECOND / 60)));
        }
        all
    }

    #[test]
    fn what_was_counted_is_told_once_it_has_been_quiet_for_as_long_as_it_had_lasted() {
        let of_an_hour = detects(Severity::Low, "1h");
        let hits = |minutes: &[i64]| minutes.iter().map(|minute| (*minute, true)).collect::<Vec<_>>();
        let mut happens = hits(&[0, 1, 4]);
        happens.extend((5..40).map(|minute| (minute, false)));
        assert_eq!(counted(&of_an_hour, &happens), [(0, 1, 0), (8, 3, 4)]);
        // However long it had lasted, half an hour is enough; and what goes on is told again.
        happens.extend((40..100).step_by(10).map(|minute| (minute, true)));
        happens.extend((91..130).map(|minute| (minute, false)));
        assert_eq!(counted(&of_an_hour, &happens)[2..], [(120, 9, 90)]);
        // A single one is told as it comes, and all is told where the watermark says that nothing further can come.
        let end = (Micros::MAX / 60 / SECOND, false);
        assert_eq!(counted(&of_an_hour, &[(0, true), end]).len(), 1);
        assert_eq!(counted(&of_an_hour, &[(0, true), (0, true), end])[1], (end.0, 2, 0));
    }

    #[test]
    fn what_ends_as_another_begins_is_told_before_it() {
        let at_once = detects(Severity::Low, "2m");
        let happens = [(0, true), (1, true), (9, true)];
        assert_eq!(counted(&at_once, &happens), [(0, 1, 0), (9, 2, 1), (9, 1, 9)]);
    }

    #[test]
    fn beyond_the_most_alerts_those_quiet_for_longest_are_told_and_closed() {
        let (pipeline, mut book, mut told) = (detects(Severity::Low, "1d"), AlertBook::default(), Vec::new());
        let mut take = |minute: i64, tool: String, told: &mut Vec<Alert>| {
            let key = [("tool".to_string(), tool)].into();
            book.take("bay", &pipeline.detections[0], Hit { key, ..hit(minute, minute, 1.0) }, told);
            (told.len(), book.open.len())
        };
        for tool in 0..OPEN_MAX {
            take(tool as i64 / 100, format!("T-{tool}"), &mut told);
        }
        assert_eq!(take(200, "T-7".into(), &mut told), (OPEN_MAX, OPEN_MAX), "counted, and not told yet");
        assert_eq!(take(200, "T-6".into(), &mut told), (OPEN_MAX, OPEN_MAX));
        assert_eq!(take(5, "T-8".into(), &mut told), (OPEN_MAX, OPEN_MAX));
        told.clear();
        let left = OPEN_MAX - CLOSED_AT_ONCE + 1;
        assert_eq!(take(201, "another".into(), &mut told), (2, left), "the eighth was quiet for longest");
        assert_eq!((told[0].key["tool"].as_str(), told[0].count, told[0].revision), ("T-8", 2, 2));
        assert_eq!(take(202, "T-7".into(), &mut told), (2, left), "it was not closed");
    }

    #[test]
    fn revisions_come_at_powers_of_ten() {
        let powers: Vec<u64> = (0..=1000).filter(|&n| is_power_of_ten(n)).collect();
        assert_eq!(powers, [1, 10, 100, 1000]);
    }
}
