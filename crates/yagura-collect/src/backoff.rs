//! How long to wait before a connection is tried again.

use std::time::Duration;

/// Pauses that double up to a longest one, each shortened at random by up to half, so that many who lost the same
/// peer do not come back at once.
#[derive(Debug)]
pub struct Backoff {
    first: Duration,
    next: Duration,
    longest: Duration,
}

impl Backoff {
    /// The first pause and the longest.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Backoff { first, next: first, longest }
    }

    /// The next pause.
    pub fn pause(&mut self) -> Duration {
        let pause = self.next;
        self.next = (pause * 2).min(self.longest);
        pause.mul_f64(1.0 - fastrand::f64() / 2.0)
    }

    /// It worked: the next pause is the first again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_up_to_the_longest() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_millis(400));
        for most in [100, 200, 400, 400] {
            let pause = backoff.pause();
            assert!(
                pause <= Duration::from_millis(most) && pause * 2 >= Duration::from_millis(most),
                "{pause:?}"
            );
        }
        backoff.reset();
        assert!(backoff.pause() <= Duration::from_millis(100));
    }
}
