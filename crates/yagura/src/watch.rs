//! Whether detecting gets on, so that every worker finishes its turns and what there is to read is judged; and whether
//! sinks do.

use std::collections::BTreeMap;

use yagura_console::{Component, Gate, Health};
use yagura_detect::worker::Turns;

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
    component: Component,
    ready: Gate,
    seen: u64,
}

impl SinksWatch {
    /// Of the sinks of these names.
    pub fn new<'a>(health: &Health, names: impl Iterator<Item = &'a String>) -> Self {
        let watched = |name: &String| {
            let name = format!("respond: sink {name}");
            let ready = health.gate(&name, "it has not joined the log yet");
            Watched { component: health.component(&name), ready, seen: 0 }
        };
        SinksWatch(names.map(watched).collect())
    }

    /// Looks at how often each has asked.
    pub fn look(&mut self, turns: impl Iterator<Item = u64>) {
        for (sink, turns) in self.0.iter_mut().zip(turns) {
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
    fn a_sink_is_ready_once_it_has_joined_and_stalls_when_it_asks_no_more() {
        let health = Health::new(Duration::ZERO);
        let names = ["siem".to_string(), "pager".to_string()];
        let mut watch = SinksWatch::new(&health, names.iter());
        let mut look = |turns: [u64; 2]| {
            watch.look(turns.into_iter());
            (stalled(&health).join(","), health.shut().len())
        };
        assert_eq!(look([0, 0]), (String::new(), 2), "neither has joined");
        assert_eq!(look([3, 0]), (String::new(), 1));
        assert_eq!(look([5, 1]), (String::new(), 0));
        assert_eq!(look([8, 1]), ("respond: sink pager".into(), 0));
        assert_eq!(look([9, 2]), (String::new(), 0));
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
