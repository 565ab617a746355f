//! Whether detecting gets on, so that every worker finishes its turns and what there is to read is judged; and whether
//! sinks do.

use std::collections::BTreeMap;
use std::sync::Arc;

use yagura_console::{Component, Gate, Health};
use yagura_detect::worker::Turns;
use yagura_respond::Progress as Forwarding;

/// Tells the console's health how far the workers are.
pub struct Watch {
    health: Health,
    /// Each worker's thread, with the turns seen last.
    workers: Vec<(Component, u64)>,
    /// Offsets: they move, or there is nothing to read.
    offsets: Component,
    done: BTreeMap<u32, u64>,
    behind: bool,
}

impl Watch {
    /// Nobody works yet.
    pub fn new(health: Health) -> Self {
        let offsets = health.component("detect: offsets");
        Watch { health, workers: Vec::new(), offsets, done: BTreeMap::new(), behind: false }
    }

    /// Looks at the workers' turns, at what is judged and at where the partitions end. A partition
    /// whose end nobody could tell is one whose log is away: that is no reason to restart.
    pub fn look(&mut self, turns: &[Turns], done: &BTreeMap<u32, u64>, ends: &BTreeMap<u32, u64>) {
        for (number, turns) in turns.iter().enumerate() {
            if self.workers.len() == number {
                let worker = self.health.component(&format!("detect: worker {number}"));
                self.workers.push((worker, 0));
            }
            let (worker, seen) = &mut self.workers[number];
            if turns.waiting {
                worker.idle();
            } else if turns.done != *seen {
                worker.advance();
            }
            *seen = turns.done;
        }
        let behind = |(partition, done): (&u32, &u64)| ends.get(partition).is_some_and(|end| done < end);
        let behind = done.iter().any(behind);
        if !behind {
            self.offsets.idle();
        } else if *done != self.done || !self.behind {
            self.offsets.advance();
        }
        self.behind = behind;
        self.done.clone_from(done);
    }
}

/// Tells the console's health whether sinks get on: each asks the log again and again, whether its receiver answers or
/// not.
pub struct SinksWatch(Vec<Watched>);

struct Watched {
    progress: Arc<Forwarding>,
    component: Component,
    ready: Gate,
    seen: u64,
}

impl SinksWatch {
    /// Of these sinks.
    pub fn new(health: &Health, sinks: &[(String, Arc<Forwarding>)]) -> Self {
        let watched = |(name, progress): &(String, Arc<Forwarding>)| {
            let name = format!("respond: sink {name}");
            let ready = health.gate(&name, "it has not joined the log yet");
            Watched { progress: Arc::clone(progress), component: health.component(&name), ready, seen: 0 }
        };
        SinksWatch(sinks.iter().map(watched).collect())
    }

    /// Looks at them.
    pub fn look(&mut self) {
        for sink in &mut self.0 {
            let turns = sink.progress.turns();
            if turns > 0 {
                sink.ready.open();
            }
            if turns != sink.seen {
                sink.component.advance();
            }
            sink.seen = turns;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// With no patience at all, whatever has work and does not move is stalled at the second look.
    fn stalled(health: &Health) -> Vec<String> {
        health.stalled().into_iter().map(|said| said.split(": has").next().unwrap_or("").into()).collect()
    }

    #[test]
    fn a_stuck_worker_is_told_although_another_one_moves() {
        let health = Health::new(Duration::ZERO);
        let mut watch = Watch::new(health.clone());
        let turns = |a, b, waiting| [Turns { done: a, waiting: false }, Turns { done: b, waiting }];
        let none = BTreeMap::new();
        watch.look(&turns(1, 1, false), &none, &none);
        assert_eq!(stalled(&health), [""; 0]);
        watch.look(&turns(2, 1, false), &none, &none);
        assert_eq!(stalled(&health), ["detect: worker 1"]);
        watch.look(&turns(3, 1, true), &none, &none);
        assert_eq!(stalled(&health), [""; 0], "it waits for its log");
        watch.look(&turns(4, 2, false), &none, &none);
        assert_eq!(stalled(&health), [""; 0]);
    }

    #[test]
    fn offsets_move_or_there_is_nothing_to_read() {
        let health = Health::new(Duration::ZERO);
        let mut watch = Watch::new(health.clone());
        let at = |offset| BTreeMap::from([(0, offset)]);
        for (done, end, says) in [
            (at(5), at(9), ""),
            (at(7), at(9), ""),
            (at(7), at(9), "detect: offsets"),
            (at(9), at(9), ""),
            (at(9), at(9), ""),
            (at(9), at(12), ""),
            (at(9), at(12), "detect: offsets"),
            (at(9), BTreeMap::new(), ""),
        ] {
            watch.look(&[], &done, &end);
            let said = stalled(&health);
            assert_eq!(said.join(","), says, "{done:?} of {end:?}");
        }
    }
}
