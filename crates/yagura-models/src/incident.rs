//! From candidates to incidents: what one key shows without a long enough quiet time in between is one incident, and it
//! alerts once, when its peak passes the limit in force.
//!
//! Scores are in limits: 1 is the limit that was calibrated. The limit in force is that times the fleet's factor for the
//! finding, which holds the budget of alarms (see [`crate::fleet`]) and may change at any time, and times the key's
//! own: a key that comes far again and again must come farther than it usually does. What counts as usual is the
//! second highest peak that is remembered, so that a single event does not make a key deaf to the next one.
//!
//! An incident ends when nothing more is told of its key for the quiet time (hysteresis: candidates begin well below
//! the limit), after an alert for the refractory time. How far it comes, in multiples of the key's own limit, goes into
//! the cell's [`Tail`] when it comes there, under the finding that is nearest to an alert, so that an incident is
//! counted once at each limit that it would have alerted at; of one key only some incidents a week, so that one bad
//! signal does not move the limit of all.
//!
//! Memory: at most [`OPEN_MAX`] open incidents and [`KNOWN_MAX`] keys that had one, together below 20 MiB, and only
//! while there are so many. What happens is a function of the candidates and of the times given, in their order.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::fleet::{DAY_US, Factors, GROUPS, Tail, step};

/// Version of what saved [`Incidents`] mean.
pub const VERSION: u16 = 1;
/// Open incidents at most. What comes beyond pushes out the least that was not told, if it is over its limit, and is
/// counted otherwise.
pub const OPEN_MAX: usize = 65_536;
/// Keys at most of which is known how far they usually come.
pub const KNOWN_MAX: usize = 131_072;

const HOUR_US: i64 = DAY_US / 24;
/// Event time between two looks for what has ended.
const LOOK_US: i64 = 10 * 60 * 1_000_000;
/// What is left of a peak after a week.
const KEPT_A_WEEK: f32 = 0.8;

/// What the user may set.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// Hours without a candidate after which an incident has ended.
    pub quiet_h: f64,
    /// The same for one that was told.
    pub refractory_h: f64,
    /// Incidents of one key that are counted in the fleet's tail in a week.
    pub counted_a_week: u8,
    /// The most that a key's own factor is; 1 for none.
    pub own_max: f32,
}

impl Default for Settings {
    fn default() -> Self {
        Settings { quiet_h: 1.0, refractory_h: 8.0, counted_a_week: 20, own_max: 8.0 }
    }
}

/// A score that came near its limit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// Whose: a dense number of the caller.
    pub key: u64,
    /// Microseconds of event time.
    pub time: i64,
    /// What was found, a number of the caller below [`GROUPS`]; those beyond count as the last.
    pub finding: u8,
    /// How far: 1 is the calibrated limit.
    pub score: f32,
}

/// What one key showed without a quiet time in between.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Whose.
    pub key: u64,
    /// Its first and its last candidate's time.
    pub since: i64,
    /// See [`Self::since`].
    pub last: i64,
    /// The finding that came nearest to its limit or farthest beyond, and its highest score.
    pub finding: u8,
    /// See [`Self::finding`].
    pub peak: f32,
    /// The limit that is in force for that finding, and was when it was told.
    pub limit: f32,
    /// When it was told.
    pub told: Option<i64>,
    parts: [Part; GROUPS],
    /// Whether the tail is told of it.
    counted: bool,
}

/// What one finding has to do with an incident.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Part {
    /// The highest score; 0 before there is one.
    peak: f32,
    /// The key's own factor, when it began.
    own: f32,
    /// How far the tail was told of.
    step: u16,
}

/// How far a key usually comes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Known {
    /// The two highest peaks as of that week, older ones fading.
    peaks: [f32; 2],
    week: i64,
    /// Incidents of that week that were counted.
    counted: u8,
}

impl Known {
    fn age(&mut self, week: i64) {
        for _ in self.week.max(week.saturating_sub(64))..week {
            self.peaks = self.peaks.map(|peak| peak * KEPT_A_WEEK);
        }
        if week > self.week {
            self.week = week;
            self.counted = 0;
        }
    }

    fn own(&self, settings: &Settings) -> f32 {
        self.peaks[1].clamp(1.0, settings.own_max.max(1.0))
    }

    fn add(&mut self, peak: f32) {
        let [first, second] = self.peaks;
        self.peaks = if peak > first { [peak, first] } else { [first, second.max(peak)] };
    }
}

/// The open incidents of a cell, and what is known of its keys.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incidents {
    settings: Settings,
    factors: Factors,
    open: BTreeMap<u64, Incident>,
    known: BTreeMap<(u64, u8), Known>,
    tail: Tail,
    /// Event time up to which was looked for what has ended.
    looked: i64,
    refused: u64,
}

impl Incidents {
    /// None yet. The factors are those to begin with (see [`crate::fleet::Budget::begin`]).
    pub fn new(settings: Settings, factors: Factors, memory_days: f64) -> Incidents {
        let tail = Tail::new(memory_days);
        let (open, known) = (BTreeMap::new(), BTreeMap::new());
        Incidents { settings, factors, open, known, tail, looked: i64::MIN, refused: 0 }
    }

    /// The factors over calibrated limits from now on.
    pub fn set_factors(&mut self, factors: &Factors) {
        self.factors = *factors;
    }

    /// The factors in force.
    pub fn factors(&self) -> &Factors {
        &self.factors
    }

    /// Candidates and peaks that could not be followed as there were too many.
    pub fn refused(&self) -> u64 {
        self.refused
    }

    /// Open ones, in the order of their keys.
    pub fn open(&self) -> impl Iterator<Item = &Incident> {
        self.open.values()
    }

    /// Takes a candidate; candidates of one key come in the order of time. Answers the incident if it is to be told
    /// now: once each.
    pub fn observe(&mut self, candidate: &Candidate) -> Option<Incident> {
        let Candidate { key, time, finding, score } = *candidate;
        if !score.is_finite() || score <= 0.0 {
            return None;
        }
        let finding = finding.min(GROUPS as u8 - 1);
        let mut open = self.open.get(&key).copied();
        if let Some(ended) = open.take_if(|open| self.ends(open) <= time) {
            self.open.remove(&key);
            self.end(&ended);
        }
        let mut incident = match open {
            Some(open) => open,
            None => {
                let limit = self.factors.of(finding) * self.own_of(key, finding, time);
                if !self.make_room(score > limit) {
                    return None;
                }
                let counted = self.is_counted((key, finding), time);
                let parts = [Part::default(); GROUPS];
                Incident {
                    key,
                    since: time,
                    last: time,
                    finding,
                    peak: 0.0,
                    limit,
                    told: None,
                    parts,
                    counted,
                }
            }
        };
        incident.last = incident.last.max(time);
        let part = &mut incident.parts[usize::from(finding)];
        if part.peak == 0.0 {
            part.own = self.own_of(key, finding, time);
        }
        part.peak = part.peak.max(score);
        let limit = self.factors.of(finding) * part.own;
        let tell = incident.told.is_none() && score > limit;
        if incident.told.is_none() {
            // The limit in force for what is nearest to it may have changed; once it is told, the incident is of that.
            incident.limit = self.limit_of(&incident, incident.finding);
            if tell || score / limit > incident.peak / incident.limit {
                (incident.finding, incident.peak, incident.limit) = (finding, score, limit);
            }
        }
        if incident.finding == finding {
            incident.peak = incident.peak.max(score);
            self.count(&mut incident, time);
        }
        if tell {
            incident.told = Some(time);
            self.tail.told(time);
        }
        self.open.insert(key, incident);
        tell.then_some(incident)
    }

    /// Tells the tail how far the incident's nearest finding has come.
    fn count(&mut self, incident: &mut Incident, time: i64) {
        let part = &mut incident.parts[usize::from(incident.finding)];
        let reached = step(part.peak / part.own);
        if incident.counted && reached > usize::from(part.step) {
            self.tail.come_farther(incident.finding, usize::from(part.step), reached, time);
            part.step = reached as u16;
        }
    }

    fn limit_of(&self, incident: &Incident, finding: u8) -> f32 {
        let own = incident.parts[usize::from(finding)].own;
        self.factors.of(finding) * if own > 0.0 { own } else { 1.0 }
    }

    /// Event time has come to `now`, and so many keys are judged: what has been quiet for long enough ends.
    pub fn advance(&mut self, now: i64, keys: u64) {
        if self.looked != i64::MIN && now < self.looked.saturating_add(LOOK_US) {
            return;
        }
        self.looked = now;
        self.tail.watched(keys, now);
        let due: Vec<u64> =
            self.open.iter().filter(|(_, open)| self.ends(open) <= now).map(|(key, _)| *key).collect();
        for key in due {
            if let Some(incident) = self.open.remove(&key) {
                self.end(&incident);
            }
        }
    }

    /// An alarm of the key was false: as far as it came, so far it usually comes from now on, as long as peaks are
    /// remembered. What comes farther than that alerts as ever. Its incident ends.
    pub fn called_false(&mut self, key: u64) {
        if let Some(open) = self.open.remove(&key) {
            self.end(&open);
        }
        for (_, known) in self.known.range_mut((key, 0)..=(key, u8::MAX)) {
            known.peaks[1] = known.peaks[0];
        }
    }

    /// How far the incidents of this cell came.
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    fn ends(&self, incident: &Incident) -> i64 {
        let hours = if incident.told.is_some() { self.settings.refractory_h } else { self.settings.quiet_h };
        incident.last.saturating_add((hours * HOUR_US as f64) as i64)
    }

    fn own_of(&self, key: u64, finding: u8, time: i64) -> f32 {
        let Some(known) = self.known.get(&(key, finding)) else { return 1.0 };
        let mut now = *known;
        now.age(week_of(time));
        now.own(&self.settings)
    }

    fn end(&mut self, incident: &Incident) {
        let week = week_of(incident.last);
        for (finding, part) in (0..).zip(&incident.parts) {
            if part.peak > 0.0 && self.make_known((incident.key, finding), week) {
                let known = self.known.entry((incident.key, finding)).or_default();
                known.age(week);
                known.add(part.peak);
            }
        }
    }

    /// Whether an incident that begins is one of those that are counted of its key in a week.
    fn is_counted(&mut self, key: (u64, u8), time: i64) -> bool {
        let week = week_of(time);
        if !self.make_known(key, week) {
            return false;
        }
        let known = self.known.entry(key).or_default();
        known.age(week);
        let counted = known.counted < self.settings.counted_a_week;
        known.counted += u8::from(counted);
        counted
    }

    /// Whether there is room to know one key more; those that have been calm are forgotten first.
    fn make_known(&mut self, key: (u64, u8), week: i64) -> bool {
        if self.known.len() < KNOWN_MAX || self.known.contains_key(&key) {
            return true;
        }
        let settings = &self.settings;
        self.known.retain(|_, known| {
            known.age(week);
            known.own(settings) > 1.0 || known.counted > 0
        });
        let room = self.known.len() < KNOWN_MAX;
        self.refused += u64::from(!room);
        room
    }

    /// Whether there is room for one incident more, which is `over` its limit or not.
    fn make_room(&mut self, over: bool) -> bool {
        if self.open.len() < OPEN_MAX {
            return true;
        }
        self.refused += 1;
        if !over {
            return false;
        }
        let untold = self.open.values().filter(|open| open.told.is_none());
        let nearness = |incident: &Incident| incident.peak / incident.limit;
        let least = untold.min_by(|a, b| nearness(a).total_cmp(&nearness(b)));
        let Some(&least) = least else { return false };
        self.open.remove(&least.key);
        self.end(&least);
        true
    }
}

fn week_of(time: i64) -> i64 {
    time.div_euclid(7 * DAY_US)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn incidents() -> Incidents {
        Incidents::new(Settings::default(), Factors::all(2.0), 14.0)
    }

    fn candidate(minute: i64, score: f32) -> Candidate {
        Candidate { key: 7, time: minute * 60_000_000, finding: 1, score }
    }

    #[test]
    fn an_incident_is_told_once_when_it_passes_the_limit_in_force() {
        let mut incidents = incidents();
        assert_eq!(incidents.observe(&candidate(0, 0.5)), None);
        assert_eq!(incidents.observe(&candidate(5, 1.9)), None);
        let told = incidents.observe(&candidate(9, 2.5)).unwrap();
        assert_eq!((told.since, told.told, told.limit), (0, Some(9 * 60_000_000), 2.0));
        assert_eq!(incidents.observe(&candidate(20, 5.0)), None);
        incidents.advance(60_000_000 * 60 * 9, 1);
        assert_eq!(incidents.open().count(), 0);
    }

    #[test]
    fn a_key_that_fires_again_must_come_farther_and_a_single_event_does_not_raise_it() {
        let mut incidents = incidents();
        let day = 24 * 60;
        assert!(incidents.observe(&candidate(0, 4.0)).is_some());
        assert!(incidents.observe(&candidate(day, 4.0)).is_some(), "one event is not usual");
        assert!(incidents.observe(&candidate(2 * day, 4.5)).is_none());
        assert!(incidents.observe(&candidate(2 * day + 1, 9.0)).is_some());
    }

    #[test]
    fn what_was_called_false_once_must_come_farther_until_it_is_forgotten() {
        let (mut incidents, mut others) = (incidents(), incidents());
        let day = 24 * 60;
        for one in [&mut incidents, &mut others] {
            assert!(one.observe(&candidate(0, 4.0)).is_some());
        }
        incidents.called_false(7);
        others.called_false(8);
        assert_eq!(incidents.open().count(), 0, "it has ended");
        assert!(others.observe(&candidate(day, 4.5)).is_some(), "another key was meant");
        assert!(incidents.observe(&candidate(day, 4.5)).is_none());
        assert!(incidents.observe(&candidate(day + 1, 9.0)).is_some(), "it comes farther than usual");
        let mut again = self::incidents();
        assert!(again.observe(&candidate(0, 4.0)).is_some());
        again.called_false(7);
        assert!(again.observe(&candidate(20 * 7 * day, 4.0)).is_some(), "long ago");
    }

    #[test]
    fn open_incidents_are_bounded_and_one_that_is_over_its_limit_finds_room() {
        let mut incidents = incidents();
        let of = |key: u64, score: f32| Candidate { key, ..candidate(0, score) };
        (0..OPEN_MAX as u64 + 10).for_each(|key| assert_eq!(incidents.observe(&of(key, 0.5)), None));
        assert_eq!((incidents.open().count(), incidents.refused()), (OPEN_MAX, 10));
        assert!(incidents.observe(&of(u64::MAX, 3.0)).is_some());
        assert_eq!(incidents.open().count(), OPEN_MAX);
    }

    #[test]
    fn what_is_no_number_is_no_candidate() {
        let mut incidents = incidents();
        assert_eq!(incidents.observe(&candidate(0, f32::NAN)), None);
        assert_eq!(incidents.observe(&candidate(0, f32::INFINITY)), None);
        assert_eq!(incidents.open().count(), 0);
    }
}
