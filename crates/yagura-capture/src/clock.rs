//! Time as the packets tell it.

use yagura_event::clock::{Micros, SECOND};

/// A step back of more than this is a new beginning (another file, a clock that was set); less
/// is the disorder of several queues.
const DISORDER: Micros = 10 * SECOND;

/// A longer silence counts as this much: it ends every flow, and forged times use nothing up.
const STEP_MAX: Micros = 7 * 24 * 3600 * SECOND;

/// Packet time for rows, and a clock for time-outs that never runs backwards.
///
/// A packet dated far ahead moves both once; the next packet of today sets the packet time
/// back, and time-outs run on at their pace.
#[derive(Default)]
pub(crate) struct Clock {
    time: Option<Micros>,
    elapsed: Micros,
    next_tick: Micros,
}

impl Clock {
    /// A packet was on the wire at `time`. True when at least a second passed since the last
    /// time this was true.
    pub(crate) fn advance(&mut self, time: Micros) -> bool {
        let Some(now) = self.time else {
            self.time = Some(time);
            self.next_tick = SECOND;
            return false;
        };
        if time > now {
            self.elapsed = self.elapsed.saturating_add(time.saturating_sub(now).min(STEP_MAX));
            self.time = Some(time);
        } else if now.saturating_sub(time) > DISORDER {
            self.time = Some(time);
        }
        if self.elapsed < self.next_tick {
            return false;
        }
        self.next_tick = self.elapsed.saturating_add(SECOND);
        true
    }

    /// Packet time: the latest, but for packets that are far apart.
    pub(crate) fn time(&self) -> Micros {
        self.time.unwrap_or(0)
    }

    /// Microseconds since the first packet, long silences shortened.
    pub(crate) fn elapsed(&self) -> Micros {
        self.elapsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_from_another_century_does_not_stop_the_clock() {
        let mut clock = Clock::default();
        assert!(!clock.advance(5 * SECOND));
        assert!(!clock.advance(5 * SECOND + 999_999));
        assert!(clock.advance(6 * SECOND));
        assert!(!clock.advance(5 * SECOND));
        assert_eq!((clock.time(), clock.elapsed()), (6 * SECOND, SECOND));
        assert!(clock.advance(Micros::MAX));
        assert!(!clock.advance(7 * SECOND));
        assert_eq!(clock.time(), 7 * SECOND);
        let far = clock.elapsed();
        assert!(clock.advance(8 * SECOND));
        assert_eq!(clock.elapsed(), far + SECOND);
    }
}
