//! Whether the process lives and whether it is ready.
//!
//! *Live* means that every component that has work gets on with it. A receiver or a broker that is
//! away is no reason to restart this process: a component that waits for one is idle.
//! *Ready* means that every gate is open: the log is joined, the pipelines are compiled.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// The health of one process; clones are handles to the same.
#[derive(Clone)]
pub struct Health(Arc<Inner>);

struct Inner {
    stall: Duration,
    components: Mutex<Vec<Watched>>,
    gates: Mutex<Vec<Shut>>,
}

struct Watched {
    name: String,
    steps: Arc<AtomicU64>,
    /// The steps at the last look, and when they last differed from those of the look before.
    seen: u64,
    moved: Instant,
}

struct Shut {
    name: String,
    /// Why it is shut; `None` when it is open.
    why: Option<String>,
}

impl Health {
    /// A process in which a component that has work may stand still for `stall`.
    pub fn new(stall: Duration) -> Self {
        Self(Arc::new(Inner { stall, components: Mutex::default(), gates: Mutex::default() }))
    }

    /// Registers a component, idle at first.
    pub fn component(&self, name: &str) -> Component {
        let steps = Arc::new(AtomicU64::new(0));
        let watched =
            Watched { name: name.into(), steps: Arc::clone(&steps), seen: 0, moved: Instant::now() };
        lock(&self.0.components).push(watched);
        Component { steps }
    }

    /// Registers a gate, shut at first because it is `waiting_for` something.
    pub fn gate(&self, name: &str, waiting_for: &str) -> Gate {
        let mut gates = lock(&self.0.gates);
        gates.push(Shut { name: name.into(), why: Some(waiting_for.into()) });
        Gate { health: self.clone(), place: gates.len() - 1 }
    }

    /// The components that have work and have not moved for too long, each with what is wrong;
    /// empty when the process lives. Meant to be asked every few seconds.
    pub fn stalled(&self) -> Vec<String> {
        self.stalled_at(Instant::now())
    }

    fn stalled_at(&self, now: Instant) -> Vec<String> {
        let told = |(name, still): (String, Option<Duration>)| {
            let still = still.filter(|still| *still >= self.0.stall)?.as_secs();
            Some(format!("{name}: has work and has made no progress for {still} s"))
        };
        self.standing_at(now).into_iter().filter_map(told).collect()
    }

    /// Every component, and for how long it has had work and not moved; `None` for one that moves or rests.
    pub fn standing(&self) -> Vec<(String, Option<Duration>)> {
        self.standing_at(Instant::now())
    }

    fn standing_at(&self, now: Instant) -> Vec<(String, Option<Duration>)> {
        let look = |component: &mut Watched| {
            let steps = component.steps.load(Ordering::Relaxed);
            if steps != component.seen || is_idle(steps) {
                component.seen = steps;
                component.moved = now;
                return (component.name.clone(), None);
            }
            (component.name.clone(), Some(now - component.moved))
        };
        lock(&self.0.components).iter_mut().map(look).collect()
    }

    /// The gates that are shut, each with the reason; empty when the process is ready.
    pub fn shut(&self) -> Vec<String> {
        let gates = lock(&self.0.gates);
        gates.iter().filter_map(|gate| Some(format!("{}: {}", gate.name, gate.why.as_ref()?))).collect()
    }
}

/// One component's progress: two states and a count in one number, which costs a few nanoseconds
/// to change and needs no clock.
#[derive(Clone, Debug)]
pub struct Component {
    /// Even while idle, odd while there is work.
    steps: Arc<AtomicU64>,
}

impl Component {
    /// It has work, and has just got on with it.
    pub fn advance(&self) {
        self.change(|steps| if is_idle(steps) { steps.wrapping_add(1) } else { steps.wrapping_add(2) });
    }

    /// It has nothing to do, or waits for somebody else.
    pub fn idle(&self) {
        self.change(|steps| if is_idle(steps) { steps } else { steps.wrapping_add(1) });
    }

    fn change(&self, step: impl Fn(u64) -> u64) {
        // The closure always answers, so that the update cannot fail.
        let _ = self.steps.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |steps| Some(step(steps)));
    }
}

fn is_idle(steps: u64) -> bool {
    steps.is_multiple_of(2)
}

/// One condition of readiness.
#[derive(Clone)]
pub struct Gate {
    health: Health,
    place: usize,
}

impl Gate {
    /// The condition holds.
    pub fn open(&self) {
        self.set(None);
    }

    /// It does not hold, for this reason.
    pub fn shut(&self, why: &str) {
        self.set(Some(why.to_string()));
    }

    fn set(&self, why: Option<String>) {
        if let Some(gate) = lock(&self.health.0.gates).get_mut(self.place) {
            gate.why = why;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_component_with_work_and_without_progress_is_stalled() {
        let health = Health::new(Duration::from_secs(20));
        let begin = Instant::now();
        let look = |second| health.stalled_at(begin + Duration::from_secs(second));
        let none: [String; 0] = [];
        let (busy, idle, slow) =
            (health.component("fold"), health.component("sink"), health.component("spool"));
        idle.advance();
        idle.idle();
        idle.idle();
        busy.advance();
        slow.advance();
        assert_eq!(look(10), none);
        slow.advance();
        assert_eq!(look(20), none);
        slow.advance();
        assert_eq!(look(29), none);
        assert_eq!(look(30), ["fold: has work and has made no progress for 20 s"]);
        busy.advance();
        assert_eq!(look(31), none, "one step is enough");
        busy.idle();
        assert_eq!(look(49), ["spool: has work and has made no progress for 20 s"]);
        slow.idle();
        slow.advance();
        assert_eq!(look(1000), none, "it rested and has begun anew");
    }

    #[test]
    fn readiness_waits_for_every_gate() {
        let health = Health::new(Duration::from_secs(30));
        assert_eq!(health.shut(), [] as [String; 0]);
        let (log, pipelines) = (health.gate("log", "joining"), health.gate("pipelines", "compiling"));
        assert_eq!(health.shut(), ["log: joining", "pipelines: compiling"]);
        log.open();
        pipelines.open();
        assert_eq!(health.shut(), [] as [String; 0]);
        log.shut("the broker took the partitions away");
        assert_eq!(health.shut(), ["log: the broker took the partitions away"]);
    }
}
