//! How to wait for a log, or whatever else refuses for a reason that may pass.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The first pause, and how soon a stop is heard in a longer one.
const STEP: Duration = Duration::from_millis(100);

/// Pauses between attempts: the first is a tenth of a second, each further one twice as long.
#[derive(Debug)]
pub struct Pauses {
    next: Duration,
    longest: Duration,
}

impl Pauses {
    /// None longer than that.
    pub fn up_to(longest: Duration) -> Self {
        Pauses { next: STEP, longest }
    }

    /// Something worked: the next pause is the first again.
    pub fn reset(&mut self) {
        self.next = STEP;
    }

    /// Waits for the next pause, or until `stop` is set.
    pub fn wait(&mut self, stop: &AtomicBool) {
        self.wait_with(stop, std::thread::park_timeout);
    }

    /// As [`Pauses::wait`], with something to do meanwhile: it is called again and again, and takes about
    /// the time that it is given.
    pub fn wait_with(&mut self, stop: &AtomicBool, mut meanwhile: impl FnMut(Duration)) {
        let mut left = self.next;
        while !left.is_zero() && !stop.load(Ordering::Acquire) {
            meanwhile(left.min(STEP));
            left = left.saturating_sub(STEP);
        }
        self.next = (self.next * 2).min(self.longest);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest_and_a_stop_ends_them() {
        let stop = AtomicBool::new(true);
        let mut pauses = Pauses::up_to(Duration::from_millis(500));
        let mut seen = Vec::new();
        for _ in 0..4 {
            seen.push(pauses.next.as_millis());
            // It is to stop, so that none of them is waited for.
            pauses.wait(&stop);
        }
        pauses.reset();
        seen.push(pauses.next.as_millis());
        assert_eq!(seen, [100, 200, 400, 500, 100]);
    }
}
