//! Messages that repeat every few milliseconds: a row each would drown all others, so they are
//! counted, and a row tells how many there were in a while.

use yagura_event::clock::{Micros, SECOND};

use crate::{Cx, Side};

/// For how long one row counts.
const PERIOD: Micros = 10 * SECOND;
/// Most kinds of messages of one connection that are counted apart.
const KINDS_MAX: usize = 256;

/// What was counted of one kind.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tally {
    /// When the first was on the wire.
    pub since: Micros,
    /// Who sends them.
    pub side: Side,
    /// How many.
    pub count: u32,
    /// How many bytes.
    pub bytes: u64,
}

/// Counts of one connection, by kind.
#[derive(Debug)]
pub(crate) struct Cyclic<K> {
    kinds: Vec<(K, Tally)>,
}

impl<K: PartialEq> Cyclic<K> {
    /// None counted.
    pub fn new() -> Self {
        Cyclic { kinds: Vec::new() }
    }

    /// Counts one message. What must be written now comes back: this kind, when its while is over,
    /// or the kind that has to go because there are too many.
    pub fn count(&mut self, cx: &Cx<'_>, kind: K, side: Side, bytes: usize) -> Option<(K, Tally)> {
        let fresh = Tally { since: cx.time, side, count: 1, bytes: bytes as u64 };
        let Some(at) = self.kinds.iter().position(|(known, tally)| *known == kind && tally.side == side)
        else {
            let oldest = (self.kinds.len() == KINDS_MAX).then(|| self.kinds.remove(0));
            self.kinds.push((kind, fresh));
            return oldest;
        };
        let tally = &mut self.kinds[at].1;
        if cx.time - tally.since > PERIOD {
            let done = std::mem::replace(tally, fresh);
            return Some((kind, done));
        }
        tally.count = tally.count.saturating_add(1);
        tally.bytes += bytes as u64;
        None
    }

    /// A kind whose while is over; call it until there is none.
    pub fn over(&mut self, cx: &Cx<'_>) -> Option<(K, Tally)> {
        let at = self.kinds.iter().position(|(_, tally)| cx.time - tally.since > PERIOD)?;
        Some(self.kinds.remove(at))
    }

    /// Any kind that was counted; call it until there is none.
    pub fn any(&mut self) -> Option<(K, Tally)> {
        self.kinds.pop()
    }
}
