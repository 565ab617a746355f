//! How long a member of a group may act without having been told anything.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::LogError;

/// A member's right to act for its partitions, which runs out by itself.
///
/// A process can stand still at any point and for any time: a stopped container, a machine that is
/// moved. When it goes on, its group may have given its partitions to somebody else, and it is told
/// so only later. Whoever writes under a lease asks it first; once it has run out it stays so, and
/// the member has to join again. Clones are the same lease.
#[derive(Clone, Debug, Default)]
pub struct Lease(Option<Arc<Term>>);

#[derive(Debug)]
struct Term {
    length: Duration,
    origin: Instant,
    /// Microseconds after the origin at which it was renewed last.
    renewed: AtomicU64,
}

/// Instead of when it was renewed last.
const ENDED: u64 = u64::MAX;

impl Lease {
    /// One that lasts for `length` after it was renewed. The default lease never runs out: that of
    /// a group within one process, which stands still as a whole.
    pub fn of(length: Duration) -> Self {
        #[expect(clippy::disallowed_methods, reason = "how long to act, not what to answer")]
        let origin = Instant::now();
        Lease(Some(Arc::new(Term { length, origin, renewed: AtomicU64::new(0) })))
    }

    /// How long it lasts after it was renewed; `None`: for ever.
    pub fn length(&self) -> Option<Duration> {
        self.0.as_ref().map(|term| term.length)
    }

    /// Lets it last anew; false when it has run out.
    pub fn renew(&self) -> bool {
        let Some(term) = &self.0 else { return true };
        let now = term.now();
        let renew = |renewed| term.lasts(now, renewed).then_some(now.max(renewed));
        term.renewed.fetch_update(Ordering::AcqRel, Ordering::Acquire, renew).is_ok()
    }

    /// Ends it.
    pub fn end(&self) {
        if let Some(term) = &self.0 {
            term.renewed.store(ENDED, Ordering::Release);
        }
    }

    /// Whether it lasts.
    pub fn holds(&self) -> bool {
        self.0.as_ref().is_none_or(|term| term.lasts(term.now(), term.renewed.load(Ordering::Acquire)))
    }

    /// An error that may pass when it has run out.
    pub fn check(&self, what: &dyn std::fmt::Display) -> Result<(), LogError> {
        if self.holds() {
            return Ok(());
        }
        Err(LogError::Client {
            what: what.to_string(),
            cause: "this process stood still for so long that its partitions may be another's by now"
                .to_owned(),
            retry: true,
        })
    }
}

impl Term {
    fn now(&self) -> u64 {
        self.origin.elapsed().as_micros() as u64
    }

    fn lasts(&self, now: u64, renewed: u64) -> bool {
        renewed != ENDED && u128::from(now.saturating_sub(renewed)) < self.length.as_micros()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_that_ran_out_stays_so() {
        let lease = Lease::of(Duration::from_secs(60));
        let same = lease.clone();
        assert!(lease.renew() && same.holds() && same.check(&"appending").is_ok());
        let short = Lease::of(Duration::from_millis(5));
        std::thread::park_timeout(Duration::from_millis(50));
        while short.holds() {
            std::thread::yield_now();
        }
        assert!(!short.renew() && !short.holds());
        assert!(short.check(&"appending").is_err_and(|error| error.retriable()));
        lease.end();
        assert!(!lease.renew() && !same.holds());
        let forever = Lease::default();
        assert!(forever.length().is_none() && forever.renew() && forever.holds());
    }
}
