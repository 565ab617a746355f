//! Faults in otherwise benign signals.

use super::signals::{DAY, Day, Noises, Random, Signal};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Five samples.
    Spike,
    /// A day.
    Shift,
    /// Two days until it is there, and a day.
    Drift,
    /// The last value for a day.
    Stuck,
    /// What was two days before, for a day.
    Replay,
    /// What goes with another signal goes its own way for a day, as noisy as ever.
    Parted,
    /// A period of twenty minutes for a day; its size is the amplitude.
    Oscillation,
}

pub const KINDS: [(Kind, &str); 7] = [
    (Kind::Spike, "spike"),
    (Kind::Shift, "shift"),
    (Kind::Drift, "slow drift"),
    (Kind::Stuck, "stuck"),
    (Kind::Replay, "replay"),
    (Kind::Parted, "correlation break"),
    (Kind::Oscillation, "oscillation"),
];

/// One fault.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    pub kind: Kind,
    /// In standard deviations of the signal, signed.
    size: f64,
    /// Minutes since the first sample.
    pub begins: usize,
    pub ends: usize,
}

impl Fault {
    /// One that begins on a day between these.
    pub fn new(kind: Kind, random: &mut Random, days: (usize, usize)) -> Fault {
        let size = random.between(3.0, 10.0) * [-1.0, 1.0][random.below(2) as usize];
        let begins = days.0 * DAY + random.below(((days.1 - days.0) * DAY) as u64) as usize;
        let lasts = match kind {
            Kind::Spike => 5,
            Kind::Drift => 3 * DAY,
            _ => DAY,
        };
        Fault { kind, size, begins, ends: begins + lasts }
    }

    fn is_on(&self, minute: usize) -> bool {
        (self.begins..self.ends).contains(&minute)
    }

    fn added(&self, minute: usize) -> f64 {
        let since = minute.saturating_sub(self.begins) as f64;
        match self.kind {
            _ if !self.is_on(minute) => 0.0,
            Kind::Spike | Kind::Shift => self.size,
            Kind::Drift => self.size * (since / (2 * DAY) as f64).min(1.0),
            Kind::Oscillation => self.size * (std::f64::consts::TAU * since / 20.0).sin(),
            Kind::Stuck | Kind::Replay | Kind::Parted => 0.0,
        }
    }
}

/// A signal with its fault.
pub struct Faulty {
    pub fault: Fault,
    signal: Signal,
    /// The same signal with other noise.
    twin: Option<Signal>,
    other: Day,
    /// All values so far.
    past: Vec<f64>,
}

impl Faulty {
    pub fn new(signal: Signal, fault: Fault, key: u64) -> Faulty {
        let twin = (fault.kind == Kind::Parted).then(|| signal.reseeded(key));
        Faulty { fault, signal, twin, other: Day::default(), past: Vec::new() }
    }

    pub fn day(&mut self, noises: &Noises, day: &mut Day) {
        let first = self.past.len();
        let fault = self.fault;
        self.signal.day(noises, |minute| fault.added(first + minute), day);
        if let Some(twin) = &mut self.twin {
            twin.day(noises, |_| 0.0, &mut self.other);
        }
        for minute in 0..DAY {
            let at = first + minute;
            if fault.is_on(at) {
                match fault.kind {
                    Kind::Stuck => day.values[minute] = self.past[at - 1],
                    Kind::Replay => day.values[minute] = self.past[at - 2 * DAY],
                    Kind::Parted => day.values[minute] = self.other.values[minute],
                    _ => {}
                }
            }
            self.past.push(day.values[minute]);
        }
    }
}
