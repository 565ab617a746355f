//! The life of alerts: a case is what one cause brings, and what people decided about it.
//!
//! ```text
//! new ──► acknowledged ──► resolved ──► (it returns) reopened
//!   └────────────┴───────► false positive
//! ```
//!
//! Alerts with the same cell, detection and key are one case, with their counts added and a last time. Decisions are
//! records of the topic [`DECISIONS`], beside that of the alerts and keyed by cell as it is. A decision says up to
//! which time its author had seen the case, so that what cases are does not depend on the order in which two topics
//! are read: what comes later than that is a return. What sinks hear of them is in [`crate::told`].

mod selection;
mod watched;

use std::collections::{BTreeMap, HashMap};

use serde::{Deserialize, Serialize};
use uuid::Uuid;
use yagura_event::alert::{Alert, Queue, Severity};
use yagura_event::clock::Micros;
use yagura_event::{Encoding, Envelope, Kind};
use yagura_log::Record;

pub use selection::{Selection, document};
pub use watched::Watched;

use crate::told::{Decided, NAMED_MAX, Named, Told};

/// The topic of decisions.
pub const DECISIONS: &str = "yagura.decisions";

/// The collector's name in the envelopes of decisions.
pub(crate) const AUTHOR: &str = "people";

/// What alerts of one case have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CaseKey {
    /// The cell.
    pub cell: String,
    /// The detection.
    pub detection: String,
    /// Its key columns and their values.
    pub key: BTreeMap<String, String>,
}

impl CaseKey {
    /// That of an alert.
    pub fn of(alert: &Alert) -> CaseKey {
        CaseKey { cell: alert.cell.clone(), detection: alert.detection.clone(), key: alert.key.clone() }
    }
}

/// Something that somebody decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Decision {
    /// When.
    pub time: Micros,
    /// Who.
    pub by: String,
    /// Why.
    pub why: String,
    /// What.
    #[serde(flatten)]
    pub what: What,
}

/// What is decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "about", rename_all = "kebab-case")]
pub enum What {
    /// The state of a case.
    Case {
        /// The case.
        case: CaseKey,
        /// Its new state.
        to: Verdict,
        /// The last time of the case that its author knew.
        seen: Micros,
    },
    /// Alerts are muted for a time: they stay in the log, and no sink gets them.
    Mute(Mute),
    /// A mute ends now.
    Unmute {
        /// Which one.
        id: String,
    },
}

/// What people can make of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// Somebody looks after it.
    Acknowledged,
    /// It is over.
    Resolved,
    /// It should not have been raised.
    FalsePositive,
    /// It is as it was when it was new.
    Reopened,
}

impl Verdict {
    /// The name that users write.
    pub fn name(self) -> &'static str {
        match self {
            Verdict::Acknowledged => "acknowledged",
            Verdict::Resolved => "resolved",
            Verdict::FalsePositive => "false-positive",
            Verdict::Reopened => "reopened",
        }
    }

    /// Whether nobody needs to look at it any more.
    pub fn closes(self) -> bool {
        matches!(self, Verdict::Resolved | Verdict::FalsePositive)
    }

    /// What receivers were told of an alert when this is told as well. Who looks after a case that came back opens
    /// nothing that was closed before.
    fn after(self, told: Option<Verdict>) -> Option<Verdict> {
        match told {
            Some(before) if before.closes() && self == Verdict::Acknowledged => told,
            _ => Some(self),
        }
    }
}

/// Alerts that are muted. All that is given must hold.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mute {
    /// Its name.
    pub id: String,
    /// From this time of the collector's clock on.
    pub from: Micros,
    /// Before this time.
    pub until: Micros,
    /// The detection, where it is that alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detection: Option<String>,
    /// The cell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cell: Option<String>,
    /// The queue.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<Queue>,
    /// The equipment.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Columns of the key.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub key: BTreeMap<String, String>,
    /// Whether it stands in a file of the configuration, and ends when it stands there no more.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub declared: bool,
}

impl Mute {
    /// Whether it names nothing, and so would mute every alert of the plant.
    pub fn is_of_everything(&self) -> bool {
        let Mute { id: _, from: _, until: _, detection, cell, queue, tool, key, declared: _ } = self;
        detection.is_none() && cell.is_none() && queue.is_none() && tool.is_none() && key.is_empty()
    }

    /// Whether it mutes an alert.
    pub fn mutes(&self, alert: &Alert) -> bool {
        let Alert { observed, detection, cell, tool, queue, key, .. } = alert;
        self.covers(&About { observed: *observed, detection, cell, tool, queue: *queue, key })
    }

    /// Whether it mutes what is so.
    pub fn covers(&self, about: &About<'_>) -> bool {
        let is = |wanted: &Option<String>, value: &str| wanted.as_ref().is_none_or(|wanted| wanted == value);
        (self.from..self.until).contains(&about.observed)
            && is(&self.detection, about.detection)
            && is(&self.cell, about.cell)
            && is(&self.tool, about.tool)
            && self.queue.is_none_or(|queue| queue == about.queue)
            && self.key.iter().all(|(column, value)| about.key.get(column) == Some(value))
    }
}

/// What a mute looks at of an alert.
#[derive(Clone, Copy, Debug)]
pub struct About<'a> {
    /// The collector's clock of the newest causing row.
    pub observed: Micros,
    /// The detection.
    pub detection: &'a str,
    /// The cell.
    pub cell: &'a str,
    /// The equipment.
    pub tool: &'a str,
    /// The queue.
    pub queue: Queue,
    /// The key.
    pub key: &'a BTreeMap<String, String>,
}

/// How a case stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// Nobody has looked at it.
    New,
    /// It was resolved, and came back.
    Reopened,
    /// Somebody looks after it.
    Acknowledged,
    /// It is over.
    Resolved,
    /// It should not have been raised.
    FalsePositive,
}

impl State {
    /// All of them.
    pub const ALL: [State; 5] =
        [State::New, State::Reopened, State::Acknowledged, State::Resolved, State::FalsePositive];

    /// The name that users write.
    pub fn name(self) -> &'static str {
        match self {
            State::New => "new",
            State::Reopened => "reopened",
            State::Acknowledged => "acknowledged",
            State::Resolved => "resolved",
            State::FalsePositive => "false-positive",
        }
    }

    /// Whether something is to be done about it.
    pub fn is_open(self) -> bool {
        matches!(self, State::New | State::Reopened | State::Acknowledged)
    }
}

/// What one cause brought.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its first alert's id, by which people name it.
    pub id: Uuid,
    /// Its newest alert, in its newest revision.
    pub alert: Alert,
    /// Device time of the first row.
    pub first: Micros,
    /// Device time of the last row counted.
    pub last: Micros,
    /// The newest collector clock of a causing row.
    observed: Micros,
    known: HashMap<Uuid, Known>,
}

/// What is kept of each alert of a case: of its newest revision.
#[derive(Clone, Copy, Debug)]
struct Known {
    revision: u32,
    count: u64,
    severity: Severity,
    observed: Micros,
    /// Up to when it is known.
    seen: Micros,
}

impl Known {
    fn of(alert: &Alert) -> Known {
        Known {
            revision: alert.revision,
            count: alert.count,
            severity: alert.severity,
            observed: alert.observed,
            seen: alert.last_time.max(alert.observed),
        }
    }
}

impl Case {
    fn new(alert: Alert) -> Case {
        let mut case = Case {
            id: alert.uid,
            first: alert.time,
            last: alert.last_time,
            observed: alert.observed,
            known: HashMap::new(),
            alert,
        };
        case.known.insert(case.id, Known::of(&case.alert));
        case
    }

    fn add(&mut self, alert: Alert) {
        if self.known.get(&alert.uid).is_some_and(|known| alert.revision <= known.revision) {
            return;
        }
        self.known.insert(alert.uid, Known::of(&alert));
        if (alert.time, alert.uid) < (self.first, self.id) {
            (self.first, self.id) = (alert.time, alert.uid);
        }
        self.last = self.last.max(alert.last_time);
        self.observed = self.observed.max(alert.observed);
        let newer = |one: &Alert| (one.time, one.uid, one.revision);
        if newer(&alert) > newer(&self.alert) {
            self.alert = alert;
        }
    }

    /// Rows counted by all its alerts.
    pub fn count(&self) -> u64 {
        self.known.values().map(|known| known.count).sum()
    }

    /// How many alerts it has.
    pub fn alerts(&self) -> usize {
        self.known.len()
    }

    /// Up to when it is known: what a decision about it says.
    pub fn seen(&self) -> Micros {
        self.last.max(self.observed)
    }
}

/// All cases that the log holds, as people see them.
#[derive(Clone, Default)]
pub struct Cases {
    cases: BTreeMap<CaseKey, Case>,
    decisions: BTreeMap<CaseKey, Vec<Decision>>,
    mutes: BTreeMap<String, (Mute, Decision)>,
}

impl Cases {
    /// Takes an alert, or a revision of one; those that were taken before change nothing.
    pub fn alert(&mut self, alert: Alert) {
        let key = CaseKey::of(&alert);
        match self.cases.get_mut(&key) {
            Some(case) => case.add(alert),
            None => drop(self.cases.insert(key, Case::new(alert))),
        }
    }

    /// Takes a decision. Those about one case come in the order of their topic.
    pub fn decide(&mut self, decision: Decision) {
        match &decision.what {
            What::Case { case, .. } => {
                self.decisions.entry(case.clone()).or_default().push(decision);
            }
            What::Mute(mute) => {
                let (id, mute) = (mute.id.clone(), mute.clone());
                self.mutes.insert(id, (mute, decision));
            }
            What::Unmute { id } => {
                if let Some((mute, _)) = self.mutes.get_mut(id) {
                    mute.until = mute.until.min(decision.time);
                }
            }
        }
    }

    /// The cases with their states, in the order of their cells and detections.
    pub fn iter(&self) -> impl Iterator<Item = (&Case, State)> {
        self.cases.iter().map(|(key, case)| (case, self.state(key, case)))
    }

    /// A case, if the log has alerts of it.
    pub fn get(&self, key: &CaseKey) -> Option<(&Case, State)> {
        self.cases.get(key).map(|case| (case, self.state(key, case)))
    }

    /// The cases that have an alert whose id begins so.
    pub fn named<'a>(&'a self, id: &'a str) -> impl Iterator<Item = (&'a Case, State)> {
        let begins = move |uid: &Uuid| uid.to_string().starts_with(id);
        self.iter().filter(move |(case, _)| case.known.keys().any(begins))
    }

    /// What was decided about a case.
    pub fn decisions(&self, case: &Case) -> &[Decision] {
        self.decisions.get(&CaseKey::of(&case.alert)).map_or(&[], Vec::as_slice)
    }

    /// What is to be written for a decision. One about a case that is not here is only itself.
    pub fn records(&self, decision: &Decision) -> Records {
        let told = match &decision.what {
            What::Case { case, to, seen } => self.told(case, decision, *to, *seen),
            What::Mute(_) | What::Unmute { .. } => Vec::new(),
        };
        Records { told, decision: decision.to_record() }
    }

    /// The alerts of a case for whose receivers a decision changes something, in the order in which they began.
    fn told(&self, key: &CaseKey, decision: &Decision, to: Verdict, seen: Micros) -> Vec<Record> {
        let Some(case) = self.cases.get(key) else { return Vec::new() };
        let before = self.decisions.get(key).map_or(&[][..], Vec::as_slice);
        let changes = |known: &Known| {
            let told = before.iter().fold(None, |told, earlier| match &earlier.what {
                What::Case { to, seen, .. } if known.seen <= *seen => to.after(told),
                _ => told,
            });
            known.seen <= seen && to.after(told) != told
        };
        let changed = case.known.iter().filter(|(_, known)| changes(known));
        let mut named: Vec<Named> = changed
            .map(|(&uid, &Known { revision, count, severity, observed, .. })| Named {
                uid,
                revision,
                count,
                severity,
                observed,
            })
            .collect();
        named.sort_by_key(|named| (named.observed, named.uid));
        let Decision { time, by, why, .. } = decision;
        let decided = Decided { to, time: *time, by: by.clone(), why: why.clone() };
        let told = |part: &[Named]| Told::new(decided.clone(), case.alert.clone(), part.to_vec()).to_record();
        named.chunks(NAMED_MAX).map(told).collect()
    }

    /// What mutes the newest alert of a case, and the decision that says so.
    pub fn muted(&self, case: &Case) -> Option<(&Mute, &Decision)> {
        self.mutes.values().find(|(mute, _)| mute.mutes(&case.alert)).map(|(mute, decision)| (mute, decision))
    }

    /// What receivers are to be told of the alert that a further revision is of: what people look after, or called
    /// false, stays so; what they resolved does not once it counts further rows. Nothing where nobody has judged it.
    pub(crate) fn standing(&self, revision: &Alert) -> Option<Verdict> {
        let all = self.decisions.get(&CaseKey::of(revision))?;
        let began = revision.time.max(revision.observed);
        let judged = all.iter().filter_map(|decision| match decision.what {
            What::Case { to, seen, .. } if began <= seen => Some((to, seen)),
            _ => None,
        });
        let (stands, seen) = judged.fold((None, 0), |(told, _), (to, seen)| (to.after(told), seen));
        stands.filter(|to| match to {
            Verdict::Acknowledged | Verdict::FalsePositive => true,
            Verdict::Resolved => revision.last_time <= seen,
            Verdict::Reopened => false,
        })
    }

    /// All mutes, those that have ended with them.
    pub fn mutes(&self) -> impl Iterator<Item = (&Mute, &Decision)> {
        self.mutes.values().map(|(mute, decision)| (mute, decision))
    }

    fn state(&self, key: &CaseKey, case: &Case) -> State {
        let verdict = self.decisions.get(key).and_then(|all| match &all.last()?.what {
            What::Case { to, seen, .. } => Some((*to, *seen)),
            _ => None,
        });
        match verdict {
            None => State::New,
            Some((Verdict::Acknowledged, _)) => State::Acknowledged,
            Some((Verdict::Reopened, _)) => State::Reopened,
            // What people called false once is false when it returns, until they say otherwise.
            Some((Verdict::FalsePositive, _)) => State::FalsePositive,
            Some((Verdict::Resolved, seen)) if case.seen() > seen => State::Reopened,
            Some((Verdict::Resolved, _)) => State::Resolved,
        }
    }
}

/// What is written for one decision.
#[derive(Clone, Debug)]
pub struct Records {
    /// To the topic of alerts, and first: if that is all that was written, somebody decides again, and receivers hear
    /// it twice instead of never.
    pub told: Vec<Record>,
    /// To [`DECISIONS`].
    pub decision: Record,
}

/// Why a record holds no decision.
#[derive(Debug, thiserror::Error)]
#[error("it holds no decision: {0}")]
pub struct NoDecision(String);

impl Decision {
    /// Its record. One about a case has the case's cell as its key; others have that of their id.
    pub fn to_record(&self) -> Record {
        let key = match &self.what {
            What::Case { case, .. } => &case.cell,
            What::Mute(Mute { id, .. }) | What::Unmute { id } => id,
        };
        let envelope = Envelope {
            kind: Kind::Control,
            version: Kind::Control.version(),
            cell: key.clone(),
            collector: AUTHOR.into(),
            epoch: self.time.max(0) as u64,
            first_row: 0,
            rows: 1,
            observed: (self.time, self.time),
            promise: self.time,
            encoding: Encoding::Json,
            origin: None,
            places: Vec::new(),
        };
        // A struct of texts and numbers always serialises.
        let value = serde_json::to_vec(self).unwrap_or_default();
        Record { key: key.clone().into(), header: envelope.to_header().into(), value: value.into() }
    }

    /// Reads one.
    pub fn of_record(record: &Record) -> Result<Decision, NoDecision> {
        serde_json::from_slice(&record.value).map_err(|problem| NoDecision(problem.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::fixtures;

    fn decided(case: &Case, to: Verdict, time: Micros) -> Decision {
        let what = What::Case { case: CaseKey::of(&case.alert), to, seen: case.seen() };
        Decision { time, by: "mori".into(), why: "looked at it".into(), what }
    }

    fn only(cases: &Cases) -> (&Case, State) {
        let mut all = cases.iter();
        let one = all.next().expect("a case");
        assert!(all.next().is_none());
        one
    }

    #[test]
    fn a_case_is_resolved_and_comes_back() {
        let mut cases = Cases::default();
        cases.alert(fixtures::alert(4));
        assert_eq!(only(&cases).1, State::New);
        let decision = decided(only(&cases).0, Verdict::Acknowledged, 10);
        cases.decide(decision);
        cases.alert(Alert {
            revision: 2,
            count: 10,
            last_time: fixtures::alert(4).time + 9,
            ..fixtures::alert(4)
        });
        let (case, state) = only(&cases);
        assert_eq!((state, case.count(), case.alerts()), (State::Acknowledged, 10, 1));
        let decision = decided(case, Verdict::Resolved, 20);
        cases.decide(decision);
        assert_eq!(only(&cases).1, State::Resolved);
        cases.alert(fixtures::alert(4));
        assert_eq!(only(&cases).1, State::Resolved, "an old revision is no return");
        cases.alert(fixtures::alert(9));
        let (case, state) = only(&cases);
        assert_eq!((state, case.count(), case.alerts()), (State::Reopened, 11, 2));
        assert_eq!((case.id, case.alert.sequence), (fixtures::alert(4).uid, 9));
        let decision = decided(case, Verdict::FalsePositive, 30);
        cases.decide(decision);
        cases.alert(fixtures::alert(12));
        assert_eq!(only(&cases).1, State::FalsePositive, "it stays what people called it");
        assert_eq!(cases.decisions(only(&cases).0).len(), 3);
    }

    #[test]
    fn a_decision_names_the_alerts_for_which_it_changes_something() {
        let mut cases = Cases::default();
        let decide = |cases: &mut Cases, to, time| {
            let decision = decided(only(cases).0, to, time);
            let Records { told, decision: record } = cases.records(&decision);
            assert_eq!(Decision::of_record(&record).expect("a decision"), decision);
            cases.decide(decision);
            let read = |record: &Record| match crate::record::read(record).expect("readable") {
                crate::record::Entry::Told(told) => *told,
                crate::record::Entry::Alerts(_) => panic!("no decision"),
            };
            let told: Vec<Told> = told.iter().map(read).collect();
            assert!(told.iter().all(|told| (told.decided.to, told.decided.time) == (to, time)));
            told.into_iter()
                .flat_map(|told| told.of)
                .map(|named| (named.uid, named.revision))
                .collect::<Vec<_>>()
        };
        let revised = |number, revision| Alert {
            revision,
            last_time: fixtures::alert(number).time + i64::from(revision) * 100_000_000,
            ..fixtures::alert(number)
        };
        let uid = |number| fixtures::alert(number).uid;
        for number in [3, 1, 2] {
            cases.alert(fixtures::alert(number));
        }
        cases.alert(revised(2, 2));
        let all = [(uid(1), 1), (uid(2), 2), (uid(3), 1)];
        assert_eq!(decide(&mut cases, Verdict::Acknowledged, 1), all);
        assert_eq!(decide(&mut cases, Verdict::Acknowledged, 2), []);
        assert_eq!(decide(&mut cases, Verdict::Resolved, 3), all);
        assert_eq!(decide(&mut cases, Verdict::Resolved, 4), []);
        // One counts on and another comes: the third stays closed, whoever looks after the case.
        cases.alert(revised(2, 3));
        cases.alert(revised(500, 1));
        assert_eq!(decide(&mut cases, Verdict::Acknowledged, 5), [(uid(2), 3), (uid(500), 1)]);
        assert_eq!(decide(&mut cases, Verdict::Resolved, 6), [(uid(2), 3), (uid(500), 1)]);
        assert_eq!(decide(&mut cases, Verdict::Reopened, 7).len(), 4);
        assert_eq!(decide(&mut cases, Verdict::FalsePositive, 8).len(), 4);
        let mute = What::Mute(Mute { id: "pm".into(), ..Mute::default() });
        let mute = Decision { time: 9, by: "ito".into(), why: "work".into(), what: mute };
        assert!(cases.records(&mute).told.is_empty());
        assert!(Cases::default().records(&decided(only(&cases).0, Verdict::Resolved, 9)).told.is_empty());
    }

    #[test]
    fn a_further_revision_stands_as_people_left_its_alert() {
        let mut cases = Cases::default();
        let revised = |later: Micros| Alert {
            revision: 2,
            last_time: fixtures::alert(4).last_time + later,
            ..fixtures::alert(4)
        };
        let seen = revised(0).observed.max(revised(0).last_time);
        let stands = |cases: &Cases| {
            let far = seen - revised(0).last_time + 1;
            [
                cases.standing(&revised(0)),
                cases.standing(&revised(far)),
                cases.standing(&fixtures::alert(900)),
            ]
        };
        assert_eq!(stands(&cases), [None; 3]);
        for (to, expected) in [
            (Verdict::Acknowledged, [Some(Verdict::Acknowledged); 2]),
            (Verdict::Resolved, [Some(Verdict::Resolved), None]),
            (Verdict::Acknowledged, [Some(Verdict::Resolved), None]),
            (Verdict::Reopened, [None; 2]),
            (Verdict::FalsePositive, [Some(Verdict::FalsePositive); 2]),
        ] {
            let what = What::Case { case: CaseKey::of(&fixtures::alert(4)), to, seen };
            cases.decide(Decision { time: 10, by: "mori".into(), why: "seen".into(), what });
            // One that began later is new.
            assert_eq!(stands(&cases), [expected[0], expected[1], None], "{to:?}");
        }
    }

    #[test]
    fn a_case_of_many_alerts_is_told_in_bounded_records() {
        let mut cases = Cases::default();
        let count = 3 * NAMED_MAX + 1;
        for number in 0..count as u64 {
            let evidence = "x".repeat(if number as usize == count - 1 { 900_000 } else { 0 }).into();
            cases.alert(Alert { evidence, ..fixtures::alert(number) });
        }
        let decision = Decision { why: "y".repeat(900_000), ..decided(only(&cases).0, Verdict::Resolved, 1) };
        let told = cases.records(&decision).told;
        assert_eq!(told.len(), 4);
        assert!(told.iter().all(|record| record.size() < 600_000 && record.key == "bay-3"));
    }

    #[test]
    fn mutes_hold_for_their_time_and_what_they_name() {
        let alert = fixtures::alert(4);
        let mute = |change: &dyn Fn(&mut Mute)| {
            let mut mute =
                Mute { id: "pm".into(), from: alert.observed, until: alert.observed + 1, ..Mute::default() };
            change(&mut mute);
            mute.mutes(&alert)
        };
        assert!(mute(&|_| {}));
        assert!(mute(&|m| m.tool = Some("ETCH-07".into())) && !mute(&|m| m.tool = Some("ETCH-08".into())));
        assert!(!mute(&|m| m.until = m.from) && !mute(&|m| m.from += 1));
        assert!(!mute(&|m| m.queue = Some(Queue::Equipment)));
        let key = |value: &str| BTreeMap::from([("target".to_string(), value.to_string())]);
        assert!(mute(&|m| m.key = key("OX-MAIN")) && !mute(&|m| m.key = key("OX")));
        let mut cases = Cases::default();
        cases.alert(alert.clone());
        let say = |time, what| Decision { time, by: "sato".into(), why: "maintenance".into(), what };
        let from = alert.observed - 10;
        let whole = Mute { id: "pm".into(), from, until: from + 100, ..Mute::default() };
        cases.decide(say(1, What::Mute(whole)));
        assert_eq!(cases.muted(only(&cases).0).expect("it is muted").1.why, "maintenance");
        cases.decide(say(from + 5, What::Unmute { id: "pm".into() }));
        assert!(cases.muted(only(&cases).0).is_none(), "it had ended before");
    }

    proptest! {
        /// Alerts and decisions stand in two topics: in which order they are read changes nothing.
        #[test]
        fn the_order_of_two_topics_does_not_matter(
            sequences in prop::collection::vec((0u64..6, 1u32..4), 1..20),
            verdicts in prop::collection::vec((0usize..4, 0u64..8), 0..5),
            mixed in prop::collection::vec(any::<bool>(), 40),
        ) {
            let alert = |(sequence, revision): (u64, u32)| {
                let base = fixtures::alert(sequence);
                let last_time = base.time + i64::from(revision);
                Alert { revision, count: 10u64.pow(revision), last_time, ..base }
            };
            let to = [Verdict::Acknowledged, Verdict::Resolved, Verdict::FalsePositive, Verdict::Reopened];
            let decision = |(verdict, seen): (usize, u64)| Decision {
                time: 1, by: "a".into(), why: "b".into(),
                what: What::Case {
                    case: CaseKey::of(&fixtures::alert(0)),
                    to: to[verdict],
                    seen: fixtures::alert(seen).observed,
                },
            };
            let view = |cases: &Cases| {
                let (case, state) = only(cases);
                (case.id, case.count(), case.first, case.last, case.alert.clone(), state)
            };
            let mut one = Cases::default();
            sequences.iter().for_each(|s| one.alert(alert(*s)));
            verdicts.iter().for_each(|v| one.decide(decision(*v)));
            let (mut other, mut alerts, mut decisions) =
                (Cases::default(), sequences.iter().rev(), verdicts.iter());
            for first in mixed {
                match first {
                    true => if let Some(s) = alerts.next() { other.alert(alert(*s)) },
                    false => if let Some(v) = decisions.next() { other.decide(decision(*v)) },
                }
            }
            alerts.for_each(|s| other.alert(alert(*s)));
            decisions.for_each(|v| other.decide(decision(*v)));
            prop_assert_eq!(view(&one), view(&other));
        }

        #[test]
        fn a_decision_is_read_back(by in ".*", why in ".*", cell in "[a-z]{1,9}", id in ".*") {
            let key = BTreeMap::from([("tool".to_string(), by.clone())]);
            let case = CaseKey { cell, detection: id.clone(), key: key.clone() };
            for what in [
                What::Case { case, to: Verdict::FalsePositive, seen: 7 },
                What::Mute(Mute { id: id.clone(), until: 9, tool: Some(why.clone()), key, ..Mute::default() }),
                What::Unmute { id },
            ] {
                let decision = Decision { time: 3, by: by.clone(), why: why.clone(), what };
                prop_assert_eq!(Decision::of_record(&decision.to_record()).expect("a decision"), decision);
            }
        }
    }
}
