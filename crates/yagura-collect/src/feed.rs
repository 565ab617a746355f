//! The way from many connections to the one thread of their collector: a queue bounded in bytes.
//!
//! Senders on tokio wait for room, are refused, or push the oldest out, as their protocol allows; the collector's
//! thread takes everything that is there at once.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;

/// Makes a queue in which items of at most `bytes_max` in all wait, or a single larger one.
pub fn feed<T>(bytes_max: usize) -> (Feed<T>, Outlet<T>) {
    let shared = Arc::new(Shared {
        bytes_max,
        state: Mutex::new(State { items: VecDeque::new(), bytes: 0, dropped: 0, closed: false }),
        filled: Condvar::new(),
        emptied: Notify::new(),
    });
    (Feed(Arc::clone(&shared)), Outlet(shared))
}

/// The end that connections hold.
pub struct Feed<T>(Arc<Shared<T>>);

impl<T> Clone for Feed<T> {
    fn clone(&self) -> Self {
        Feed(Arc::clone(&self.0))
    }
}

/// The end that the collector's thread holds.
pub struct Outlet<T>(Arc<Shared<T>>);

struct Shared<T> {
    bytes_max: usize,
    state: Mutex<State<T>>,
    filled: Condvar,
    emptied: Notify,
}

struct State<T> {
    items: VecDeque<(T, usize)>,
    bytes: usize,
    dropped: u64,
    closed: bool,
}

impl<T> Feed<T> {
    /// Puts an item of so many bytes in, waiting for room: for senders that can be pushed back. Gives the
    /// item back when the collector has stopped.
    pub async fn send(&self, mut item: T, bytes: usize) -> Result<(), T> {
        loop {
            // Before the look, so that room made in between is not missed.
            let room = self.0.emptied.notified();
            item = match self.try_send(item, bytes) {
                Ok(()) => return Ok(()),
                Err(item) if self.is_closed() => return Err(item),
                Err(item) => item,
            };
            room.await;
        }
    }

    /// Puts an item in if there is room, and gives it back otherwise: for senders that are told to come again.
    pub fn try_send(&self, item: T, bytes: usize) -> Result<(), T> {
        let mut state = self.0.state();
        if state.closed || (state.bytes > 0 && state.bytes + bytes > self.0.bytes_max) {
            return Err(item);
        }
        self.0.put(&mut state, item, bytes);
        Ok(())
    }

    /// Puts an item in and drops the oldest where there is no room: for senders that cannot be pushed back.
    /// [`Outlet::dropped`] counts.
    pub fn send_or_drop(&self, item: T, bytes: usize) {
        let mut state = self.0.state();
        if state.closed {
            return;
        }
        while state.bytes > 0 && state.bytes + bytes > self.0.bytes_max {
            let Some((_, freed)) = state.items.pop_front() else { break };
            state.bytes -= freed;
            state.dropped += 1;
        }
        self.0.put(&mut state, item, bytes);
    }

    /// Whether the collector has stopped.
    pub fn is_closed(&self) -> bool {
        self.0.state().closed
    }

    /// Bytes that wait.
    pub fn bytes(&self) -> usize {
        self.0.state().bytes
    }
}

impl<T> Outlet<T> {
    /// Moves what is there to `into`, up to about `bytes_max`; waits for something at most for `wait`.
    pub fn take(&self, wait: Duration, bytes_max: usize, into: &mut Vec<T>) {
        let mut state = self.0.state();
        if state.items.is_empty() && !wait.is_zero() {
            let waited = self.0.filled.wait_timeout_while(state, wait, |state| state.items.is_empty());
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut taken = 0;
        while taken < bytes_max
            && let Some((item, bytes)) = state.items.pop_front()
        {
            taken += bytes;
            state.bytes -= bytes;
            into.push(item);
        }
        drop(state);
        if taken > 0 {
            self.0.emptied.notify_waiters();
        }
    }

    /// Items that were pushed out so far.
    pub fn dropped(&self) -> u64 {
        self.0.state().dropped
    }

    /// Takes nothing more: senders get their items back. What is there can still be taken.
    pub fn close(&self) {
        self.0.state().closed = true;
        self.0.emptied.notify_waiters();
    }
}

impl<T> Drop for Outlet<T> {
    fn drop(&mut self) {
        self.close();
    }
}

impl<T> Shared<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn put(&self, state: &mut State<T>, item: T, bytes: usize) {
        // Nothing is free, or a million empty items would be.
        let bytes = bytes.max(1);
        state.items.push_back((item, bytes));
        state.bytes += bytes;
        self.filled.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_pushed_back_pushes_the_oldest_out() {
        let (feed, outlet) = feed(10);
        for item in 0..5 {
            feed.send_or_drop(item, 4);
        }
        assert_eq!(feed.try_send(9, 4), Err(9));
        let mut taken = Vec::new();
        outlet.take(Duration::ZERO, usize::MAX, &mut taken);
        assert_eq!((taken, outlet.dropped(), feed.bytes()), (vec![3, 4], 3, 0));
        // One that is larger than the whole queue still passes.
        assert_eq!(feed.try_send(7, 1000), Ok(()));
    }

    #[test]
    fn senders_wait_for_room_and_are_told_of_the_end() {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
        let (feed, outlet) = feed(10);
        let sender = runtime.spawn(async move {
            let mut sent = 0;
            while feed.send(sent, 3).await.is_ok() {
                sent += 1;
            }
            sent
        });
        let mut taken = Vec::new();
        while taken.len() < 1000 {
            outlet.take(Duration::from_secs(10), 6, &mut taken);
        }
        outlet.close();
        let sent = runtime.block_on(sender).expect("it ends");
        outlet.take(Duration::ZERO, usize::MAX, &mut taken);
        assert_eq!(taken, (0..sent).collect::<Vec<_>>());
    }
}
