//! Row numbers of a collector that were skipped and may still come.
//!
//! A record that could not be read, or a batch whose acknowledgement came out of order, leaves a
//! hole below the highest number judged. What fills it later, a dead letter that is sent again or
//! a spool, has never been judged: it is taken once, and then the hole is closed.

use serde::{Deserialize, Serialize};

/// The most holes that are remembered of a (collector, epoch), 16 bytes each; beyond, the lowest
/// is forgotten, and what would have filled it counts as repeated.
const HOLES_MAX: usize = 256;

/// Ranges of numbers that were skipped, ascending, apart from each other.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holes(Vec<(u64, u64)>);

impl Holes {
    /// Notes that `from..to` was skipped; `from` is above all that were skipped before.
    pub fn skip(&mut self, from: u64, to: u64) {
        if from >= to {
            return;
        }
        if self.0.len() >= HOLES_MAX {
            self.0.remove(0);
        }
        self.0.push((from, to));
    }

    /// Takes `from..to` out of the hole that it lies in; `false`, and nothing, when it does not
    /// lie in one as a whole.
    pub fn fill(&mut self, from: u64, to: u64) -> bool {
        let Some(at) = self.0.iter().position(|&(begin, end)| begin <= from && to <= end && from < to) else {
            return false;
        };
        let (begin, end) = self.0[at];
        let rest = [(begin, from), (to, end)];
        self.0.splice(at..=at, rest.into_iter().filter(|(from, to)| from < to));
        if self.0.len() > HOLES_MAX {
            self.0.remove(0);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hole_is_filled_once_and_in_parts() {
        let mut holes = Holes::default();
        holes.skip(10, 20);
        holes.skip(30, 30);
        holes.skip(40, 50);
        assert!(!holes.fill(5, 12), "partly judged already");
        assert!(!holes.fill(18, 25));
        assert!(!holes.fill(15, 15));
        assert!(holes.fill(12, 15));
        assert!(!holes.fill(12, 15), "once");
        assert_eq!(holes.0, [(10, 12), (15, 20), (40, 50)]);
        assert!(holes.fill(10, 12) && holes.fill(15, 20) && holes.fill(40, 50));
        assert_eq!(holes, Holes::default());
    }

    #[test]
    fn they_are_bounded() {
        let mut holes = Holes::default();
        for n in 0..1000 {
            holes.skip(n * 10, n * 10 + 9);
        }
        assert!(holes.fill(9994, 9995), "the newest is split");
        assert_eq!(holes.0.len(), HOLES_MAX);
        assert!(!holes.fill(0, 9));
    }
}
