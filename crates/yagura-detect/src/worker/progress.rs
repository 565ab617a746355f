//! What others may see of a worker while it runs.

use std::collections::BTreeMap;
use std::sync::atomic::AtomicU64;
use std::sync::{Mutex, PoisonError};

use yagura_log::Log;

use super::EVENTS;
use crate::meter::Totals;
use crate::operators::Learning;
use crate::shard::{Spent, Stats};

/// What others may see of a worker while it runs.
#[derive(Default)]
pub struct Progress {
    /// Alerts and revisions written.
    pub alerts: AtomicU64,
    /// Snapshots written.
    pub snapshots: AtomicU64,
    /// Microseconds that judging stood still while the last one was taken.
    pub snapshot_pause_us: AtomicU64,
    /// Times that a worker began again because the log refused.
    pub restarts: AtomicU64,
    /// Polls of the log that returned: it moves even when there is nothing to read.
    pub polls: AtomicU64,
    /// Records that could not be read and were written to the topic of dead letters.
    pub dead_letters: AtomicU64,
    /// Microseconds from the collector's clock to the judgement, of the last record.
    pub latency_us: AtomicU64,
    cells: Mutex<Seen>,
}

#[derive(Default)]
pub(super) struct Seen {
    pub(super) done: BTreeMap<u32, u64>,
    pub(super) stats: BTreeMap<String, Stats>,
    pub(super) learning: BTreeMap<(String, String), Learning>,
    pub(super) spent: BTreeMap<String, Spent>,
    pub(super) ends: BTreeMap<u32, u64>,
    pub(super) detections: Vec<Totals>,
    pub(super) state_bytes: BTreeMap<String, u64>,
    pub(super) turns: Vec<Turns>,
    pub(super) aside: BTreeMap<String, BTreeMap<String, u64>>,
}

/// How far one worker's thread has got.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Turns {
    /// Turns finished: each reads what there is and judges it.
    pub done: u64,
    /// It waits until the log takes and gives records again.
    pub waiting: bool,
}

impl Progress {
    /// By detection, in the pipeline's order, what it did in this process; empty at first.
    pub fn detections(&self) -> Vec<Totals> {
        self.lock().detections.clone()
    }

    /// By cell, bytes of its state in its last snapshot.
    pub fn state_bytes(&self) -> BTreeMap<String, u64> {
        self.lock().state_bytes.clone()
    }

    /// By partition, the offset that comes next, when somebody looked last.
    pub fn ends(&self) -> BTreeMap<u32, u64> {
        self.lock().ends.clone()
    }

    /// Asks the log where the partitions that are judged here end; those of which it does not say
    /// are left out.
    pub fn look_at_ends(&self, log: &dyn Log) -> BTreeMap<u32, u64> {
        let mine: Vec<u32> = self.lock().done.keys().copied().collect();
        let end = |partition| Some((partition, log.held(EVENTS, partition).ok()?.end));
        let ends: BTreeMap<u32, u64> = mine.into_iter().filter_map(end).collect();
        self.lock().ends.clone_from(&ends);
        ends
    }

    /// Of each worker that reports here, in the order in which they began.
    pub fn turns(&self) -> Vec<Turns> {
        self.lock().turns.clone()
    }

    /// By partition, the offset up to which everything is judged and its alerts are durable.
    pub fn done(&self) -> BTreeMap<u32, u64> {
        self.lock().done.clone()
    }

    /// By cell, what its shard has done.
    pub fn stats(&self) -> BTreeMap<String, Stats> {
        self.lock().stats.clone()
    }

    /// By (cell, detection), how far learning has got; as of the last snapshot.
    pub fn learning(&self) -> BTreeMap<(String, String), Learning> {
        self.lock().learning.clone()
    }

    /// By detection, what was spent of its budget of alarms; as of the last snapshot, and where it is held here.
    pub fn spent(&self) -> BTreeMap<String, Spent> {
        self.lock().spent.clone()
    }

    /// By cell and detection, the rows that windows counted aside.
    pub fn aside(&self) -> BTreeMap<String, BTreeMap<String, u64>> {
        self.lock().aside.clone()
    }

    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, Seen> {
        self.cells.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
