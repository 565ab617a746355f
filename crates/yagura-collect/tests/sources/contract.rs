//! The contract of sources, enforced by one harness: whatever is killed, stopped, cut or refused, in any order,
//!
//! - what the peer was told to be taken is in the log; where the protocol acknowledges nothing, what is missing is told;
//! - a number of a row means one row, and what stands twice under two numbers is told;
//! - each start says so before its first row, and each end in order after its last one;
//! - while the log takes nothing, memory stays bounded.
//!
//! A kind of source enters with a [`Subject`]: a file beside this module's, its `mod` line and its line in the list
//! below. What has none says why in [`ELSEWHERE`].

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::time::Duration;

use serde_json::Value;
use yagura_event::Kind;
use yagura_event::clock::Micros;

use crate::rig::{Apart, Row, Rows, within};

mod bridge;
mod hsms;
pub mod http;
mod modbus;
mod mqtt;
mod opcua;
mod syslog;
mod written;

/// A kind of source under the contract, with a peer that says numbers, each once, from 0 on.
pub trait Subject {
    /// The collector's settings; its files are in the folder that the subject was made with.
    fn settings(&self) -> Value;
    /// What may happen to it.
    fn faults(&self) -> &'static [Fault];
    /// What its protocol promises.
    fn promise(&self) -> Promise;
    /// The peer begins to speak, or goes on after it was killed.
    fn speak(&mut self);
    /// The peer is killed. It knows what was taken, and says the rest when it speaks again, if that is its way.
    fn hush(&mut self);
    /// The peer says nothing more, and what it took for others still arrives.
    fn end(&mut self) {
        self.hush();
    }
    /// Every connection between the peer and the collector breaks.
    fn cut(&self) {}
    /// The numbers that the peer knows to be taken.
    fn taken(&self) -> Vec<u64>;
    /// The number that a row says, if it says one.
    fn number(&self, row: &Row) -> Option<u64>;
}

/// What may happen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The collector's process is killed.
    CollectorKilled,
    /// The collector is stopped in order, and started later.
    CollectorStopped,
    /// The peer's process is killed, or another one takes its place.
    PeerKilled,
    /// The network is cut.
    NetworkCut,
    /// The log takes nothing for a while.
    LogRefuses,
}

use Fault::{CollectorKilled, CollectorStopped, LogRefuses, NetworkCut, PeerKilled};

const ALL: &[Fault] = &[CollectorKilled, CollectorStopped, PeerKilled, NetworkCut, LogRefuses];

/// What a protocol promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// What was acknowledged is in the log.
    Kept,
    /// Nothing is acknowledged; what is missing between two rows was told between them.
    Told,
}

/// Faults of each kind that one run inflicts.
const ROUNDS: usize = 2;

/// How far the peer comes between two of them.
const STEP: usize = 15;

/// How long the log refuses.
const REFUSES: Duration = Duration::from_millis(600);

/// How much a collector's memory may grow while it does: its queues are of some MiB here.
const GROWTH_MAX: u64 = 96 << 20;

/// Kinds that the harness does not hold, and what holds them.
const ELSEWHERE: [(&str, &str); 3] = [
    ("packets", "recordings are read by `run`, whose resumption has its own properties"),
    ("jsonl", "recordings are read by `run`, whose resumption has its own properties"),
    ("interface", "nothing can be asked for again; what is dropped is counted by yagura-capture's tests"),
];

macro_rules! subjects {
    ($($name:ident: $kind:literal = $make:expr;)*) => {
        $(#[test]
        fn $name() {
            let folder = tempfile::tempdir().expect("a folder");
            hold($kind, &mut $make(folder.path()), folder.path());
        })*

        #[test]
        fn every_kind_is_held_to_the_contract() {
            let held: BTreeSet<&str> = [$($kind),*].into_iter().chain(ELSEWHERE.map(|(kind, _)| kind)).collect();
            let kinds: BTreeSet<&str> = yagura_collect::sources::kinds().map(|(kind, _)| kind).collect();
            assert_eq!(held, kinds);
        }
    };
}

subjects! {
    http_keeps_it: "http" = http::Bodies::new;
    syslog_keeps_it: "syslog" = syslog::Stream::new;
    files_keep_it: "files" = written::json_lines;
    zeek_keeps_it: "zeek" = written::zeek;
    suricata_keeps_it: "suricata" = written::suricata;
    secslog_keeps_it: "secslog" = written::secs;
    kafka_keeps_it: "kafka" = bridge::Foreign::new;
    mqtt_5_keeps_it: "mqtt" = mqtt::version_5;
    mqtt_3_keeps_it: "mqtt" = mqtt::version_3;
    mqtt_keeps_it_exactly_once: "mqtt" = mqtt::exactly_once;
    hsms_keeps_it: "hsms" = hsms::Equipment::new;
    opcua_keeps_it: "opcua" = opcua::Server::new;
    modbus_keeps_it: "modbus" = modbus::Device::new;
}

/// Holds a subject to the contract. `YAGURA_SEED` repeats a run.
fn hold(kind: &str, subject: &mut dyn Subject, folder: &Path) {
    let seed = std::env::var("YAGURA_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    let mut random = fastrand::Rng::with_seed(seed);
    let mut faults = subject.faults().repeat(ROUNDS);
    random.shuffle(&mut faults);
    assert_eq!(subject.settings()["kind"], kind);
    let mut run =
        Run { collector: Apart::start(folder, &subject.settings()), subject, seed, happened: Vec::new() };
    run.subject.speak();
    run.goes_on();
    for fault in faults {
        // In the middle of whatever it does.
        std::thread::park_timeout(Duration::from_millis(random.u64(0..30)));
        run.happened.push(fault);
        run.inflict(fault, &mut random);
        run.goes_on();
    }
    run.subject.end();
    let rows = run.finish();
    run.judge(&rows);
}

struct Run<'a> {
    collector: Apart,
    subject: &'a mut dyn Subject,
    seed: u64,
    happened: Vec<Fault>,
}

impl Run<'_> {
    fn inflict(&mut self, fault: Fault, random: &mut fastrand::Rng) {
        match fault {
            CollectorKilled => self.collector.kill(),
            CollectorStopped => {
                self.collector.stop();
                std::thread::park_timeout(Duration::from_millis(random.u64(0..200)));
                self.collector.restart();
            }
            PeerKilled => {
                self.subject.hush();
                std::thread::park_timeout(Duration::from_millis(random.u64(0..200)));
                self.subject.speak();
            }
            NetworkCut => self.subject.cut(),
            LogRefuses => {
                let before = self.collector.memory();
                self.collector.refuse(true);
                let mut most = before;
                within(REFUSES, || {
                    most = most.max(self.collector.memory());
                    false
                });
                self.collector.refuse(false);
                assert!(most - before < GROWTH_MAX, "{}: it grew from {before} to {most} bytes", self.case());
            }
        }
    }

    /// Numbers come through: for a protocol that acknowledges, the peer sees them taken; else they are in the log.
    fn goes_on(&mut self) {
        let reached = |run: &Self| match run.subject.promise() {
            Promise::Kept => run.subject.taken().len(),
            Promise::Told => run.numbers(&run.collector.rows()).len(),
        };
        let wanted = reached(self) + STEP;
        let went = within(Duration::from_secs(40), || {
            std::thread::park_timeout(Duration::from_millis(40));
            reached(self) >= wanted
        });
        assert!(went, "{}: nothing comes through any more; {}", self.case(), self.told());
    }

    /// Whatever was taken has its time to arrive; then the collector is stopped in order.
    fn finish(&mut self) -> Rows {
        let missing = |run: &Self| {
            let held: BTreeSet<u64> = run.numbers(&run.collector.rows()).into_iter().collect();
            run.subject.taken().into_iter().filter(|number| !held.contains(number)).collect::<Vec<_>>()
        };
        within(Duration::from_secs(20), || {
            std::thread::park_timeout(Duration::from_millis(100));
            missing(self).is_empty()
        });
        self.collector.stop();
        let missing = missing(self);
        let taken = self.subject.taken().len();
        assert!(
            missing.is_empty(),
            "{}: of {taken} taken are missing {missing:?}; {}",
            self.case(),
            self.told()
        );
        self.collector.rows()
    }

    fn judge(&self, rows: &Rows) {
        let case = self.case();
        let mut by_id: HashMap<(u64, u64), &Row> = HashMap::new();
        for row in &rows.0 {
            let first = by_id.entry(row.id).or_insert(row);
            assert_eq!(first.columns, row.columns, "{case}: two rows have the number {:?}", row.id);
        }
        let unique: Vec<&Row> = {
            let mut ids: Vec<_> = by_id.into_iter().collect();
            ids.sort_unstable_by_key(|(id, _)| *id);
            ids.into_iter().map(|(_, row)| row).collect()
        };
        let mut times: BTreeMap<u64, u64> = BTreeMap::new();
        for number in unique.iter().filter_map(|row| self.subject.number(row)) {
            *times.entry(number).or_default() += 1;
        }
        let twice = times.values().filter(|times| **times > 1).count();
        let repeated = rows.told("repeated", "", "").count();
        assert!(twice == 0 || repeated > 0, "{case}: {twice} numbers stand twice, and nothing says so");
        self.starts_and_stops_are_told(&unique);
        if self.subject.promise() == Promise::Told {
            self.holes_are_told(&unique);
        }
    }

    /// Each start of the collector is told no later than its first number was seen; those that ended in order say
    /// that, too. (Rows of one batch stand in the log kind by kind.)
    fn starts_and_stops_are_told(&self, rows: &[&Row]) {
        let mut starts: BTreeMap<u64, Vec<&Row>> = BTreeMap::new();
        for row in rows {
            starts.entry(row.id.0).or_default().push(row);
        }
        let event = |row: &&Row, of: &[&str]| row.kind == Kind::Coverage && of.contains(&row.text("event"));
        let mut stopped = 0;
        for rows in starts.values() {
            let started = rows.iter().find(|row| event(row, &["start", "down", "gap"]));
            let spoke = rows.iter().find(|row| self.subject.number(row).is_some());
            assert!(
                spoke.is_none_or(|spoke| started.is_some_and(|started| started.observed.0 <= spoke.observed.1)),
                "{}: numbers come before a start was told; {}",
                self.case(),
                self.told()
            );
            stopped += usize::from(rows.iter().any(|row| event(row, &["stop"])));
        }
        let wanted = 1 + self.happened.iter().filter(|fault| **fault == CollectorStopped).count();
        assert!(stopped >= wanted, "{}: {stopped} of {wanted} stops are told; {}", self.case(), self.told());
    }

    /// While numbers are missing between two others, something says so.
    fn holes_are_told(&self, rows: &[&Row]) {
        let is_told = |row: &&&Row| matches!(row.text("event"), "start" | "down" | "gap" | "drop" | "stop");
        let told = rows.iter().filter(|row| row.kind == Kind::Coverage).filter(is_told);
        let told: Vec<Micros> = told.map(|row| row.observed.0).collect();
        let mut last = None::<(u64, Micros)>;
        for row in rows {
            let Some(number) = self.subject.number(row) else { continue };
            let (since_next, now) = row.observed;
            if let Some((before, since)) = last.filter(|(before, _)| number > before + 1) {
                let why = told.iter().any(|told| (since..=now).contains(told));
                assert!(why, "{}: after {before} comes {number}, and nothing says why", self.case());
            }
            last = Some((number, since_next));
        }
    }

    fn numbers(&self, rows: &Rows) -> Vec<u64> {
        rows.0.iter().filter_map(|row| self.subject.number(row)).collect()
    }

    fn case(&self) -> String {
        format!("YAGURA_SEED={} after {:?}", self.seed, self.happened)
    }

    /// What the collector says about itself.
    fn told(&self) -> String {
        let rows = self.collector.rows();
        let told = rows.table(Kind::Coverage, &["time", "event", "subject", "count", "detail"]);
        let logs = rows.table(Kind::Log, &["time", "event", "description"]);
        let last = |all: &[String]| all[all.len().saturating_sub(20)..].join("\n");
        format!("coverage:\n{}\nlogs:\n{}\nerrors:\n{}", last(&told), last(&logs), self.collector.errors())
    }
}
