//! The hand-over between the threads that capture and the one that reads: batches of packets in
//! buffers that are used again, bounded in bytes; the oldest batch goes when there is no more room.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use yagura_event::clock::Micros;

/// A batch is handed over when it holds as much.
const BATCH_BYTES: usize = 256 << 10;
/// A batch is handed over when it holds as many packets.
const BATCH_PACKETS: usize = 4096;
/// What has happened and nobody has read yet; beyond, the latest is replaced.
const CHANGES_MAX: usize = 64;

/// Packets of one interface, in the order in which they came.
#[derive(Default)]
pub(crate) struct Batch {
    /// Link type of the capture file formats.
    pub link: u16,
    /// The collector's clock when the first one was taken.
    pub observed: Micros,
    pub packets: Vec<Held>,
    bytes: Vec<u8>,
}

/// A packet; its bytes end at `end` of the batch's.
#[derive(Clone, Copy)]
pub(crate) struct Held {
    pub time: Micros,
    pub nanoseconds: u16,
    pub original: u32,
    end: u32,
}

impl Batch {
    /// An empty one for packets of this link type.
    pub fn new(link: u16) -> Batch {
        Batch { link, ..Batch::default() }
    }

    /// Takes a packet; true when the batch should be handed over.
    pub fn push(&mut self, time: Micros, nanoseconds: u16, original: u32, data: &[u8]) -> bool {
        self.bytes.extend_from_slice(data);
        self.packets.push(Held { time, nanoseconds, original, end: self.bytes.len() as u32 });
        self.bytes.len() >= BATCH_BYTES || self.packets.len() >= BATCH_PACKETS
    }

    /// A packet's bytes.
    pub fn data(&self, index: usize) -> &[u8] {
        let start = if index == 0 { 0 } else { self.packets[index - 1].end as usize };
        &self.bytes[start..self.packets[index].end as usize]
    }

    fn size(&self) -> usize {
        self.bytes.len() + self.packets.len() * size_of::<Held>()
    }

    fn clear(&mut self) {
        self.packets.clear();
        self.bytes.clear();
    }

    /// Takes another's packets, if both are small.
    fn join(&mut self, other: &Batch) -> bool {
        let fits = self.link == other.link
            && self.bytes.len() + other.bytes.len() <= BATCH_BYTES
            && self.packets.len() + other.packets.len() <= BATCH_PACKETS;
        if fits {
            let before = self.bytes.len() as u32;
            self.packets.extend(other.packets.iter().map(|p| Held { end: p.end + before, ..*p }));
            self.bytes.extend_from_slice(&other.bytes);
        }
        fits
    }
}

/// Packets that were not read, and between which times.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Lost {
    pub count: u64,
    pub from: Micros,
    pub until: Micros,
}

impl Lost {
    pub fn add(&mut self, count: u64, from: Micros, until: Micros) {
        if count == 0 {
            return;
        }
        if self.count == 0 {
            *self = Lost { count: 0, from, until };
        }
        self.count += count;
        self.from = self.from.min(from);
        self.until = self.until.max(until);
    }
}

/// What happened to an interface.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    /// It is open: link type and how it is captured.
    Open(Micros, String),
    /// It is down or gone.
    Down(Micros, String),
    /// It is back after that time; nothing was seen in between.
    Back(Micros, Micros),
}

/// What a reader should say of an interface.
#[derive(Default)]
pub(crate) struct News {
    pub queue: Lost,
    pub kernel: Lost,
    pub interface: Lost,
    pub changes: Vec<Change>,
}

impl News {
    pub fn change(&mut self, change: Change) {
        if self.changes.len() >= CHANGES_MAX {
            self.changes.pop();
        }
        self.changes.push(change);
    }
}

/// The queue itself.
pub(crate) struct Queue {
    state: Mutex<State>,
    arrived: Condvar,
    bytes_max: usize,
}

pub(crate) struct State {
    /// By interface, the oldest batch first.
    waiting: Vec<VecDeque<Batch>>,
    pub news: Vec<News>,
    free: Vec<Batch>,
    bytes: usize,
    /// Packets taken from the kernel so far.
    pub captured: u64,
    /// Threads that still capture.
    pub threads: usize,
}

impl Queue {
    pub fn new(interfaces: usize, bytes_max: usize) -> Queue {
        let state = State {
            waiting: (0..interfaces).map(|_| VecDeque::new()).collect(),
            news: (0..interfaces).map(|_| News::default()).collect(),
            free: Vec::new(),
            bytes: 0,
            captured: 0,
            threads: 0,
        };
        Queue { state: Mutex::new(state), arrived: Condvar::new(), bytes_max }
    }

    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Hands a batch over and leaves an empty one in its place.
    pub fn hand_over(&self, interface: usize, batch: &mut Batch) {
        if batch.packets.is_empty() {
            return;
        }
        let mut state = self.lock();
        state.captured += batch.packets.len() as u64;
        let size = batch.size();
        while state.bytes + size > self.bytes_max && state.drop_oldest() {}
        state.bytes += size;
        if state.waiting[interface].back_mut().is_some_and(|last| last.join(batch)) {
            batch.clear();
        } else {
            let empty = state.free.pop().unwrap_or_default();
            let (link, observed) = (batch.link, batch.observed);
            let full = std::mem::replace(batch, Batch { link, observed, ..empty });
            state.waiting[interface].push_back(full);
        }
        drop(state);
        self.arrived.notify_one();
    }

    /// Takes an interface's oldest batch; `back` is one that was read.
    pub fn take(&self, interface: usize, back: Option<Batch>) -> Option<Batch> {
        let mut state = self.lock();
        if let Some(mut back) = back {
            back.clear();
            state.free.push(back);
        }
        let batch = state.waiting[interface].pop_front()?;
        state.bytes -= batch.size();
        Some(batch)
    }

    /// Waits until something waits, or `wait` is over.
    pub fn wait(&self, wait: Duration) {
        let state = self.lock();
        let empty = |state: &mut State| state.waiting.iter().all(VecDeque::is_empty);
        // Whoever waits looks again anyway.
        let _ = self.arrived.wait_timeout_while(state, wait, empty);
    }

    /// A thread ends.
    pub fn ended(&self) {
        self.lock().threads -= 1;
    }
}

impl State {
    /// Drops the batch whose first packet is the oldest; false when nothing waits.
    fn drop_oldest(&mut self) -> bool {
        let first =
            |batches: &VecDeque<Batch>| batches.front().and_then(|b| b.packets.first()).map(|p| p.time);
        let oldest = (0..self.waiting.len()).filter_map(|i| Some((first(&self.waiting[i])?, i))).min();
        let Some((from, interface)) = oldest else { return false };
        let Some(mut batch) = self.waiting[interface].pop_front() else { return false };
        self.bytes -= batch.size();
        let until = batch.packets.last().map_or(from, |p| p.time);
        self.news[interface].queue.add(batch.packets.len() as u64, from, until);
        batch.clear();
        self.free.push(batch);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(times: std::ops::Range<Micros>, bytes: usize) -> Batch {
        let mut batch = Batch::default();
        for time in times {
            batch.push(time, 0, bytes as u32, &vec![time as u8; bytes]);
        }
        batch
    }

    /// Times and first bytes of everything that waits for an interface.
    fn drain(queue: &Queue, interface: usize) -> Vec<(Micros, u8, usize)> {
        let (mut out, mut back) = (Vec::new(), None);
        while let Some(batch) = queue.take(interface, back.take()) {
            out.extend((0..batch.packets.len()).map(|i| {
                let data = batch.data(i);
                (batch.packets[i].time, data[0], data.len())
            }));
            back = Some(batch);
        }
        out
    }

    #[test]
    fn small_batches_are_joined_and_come_out_as_they_went_in() {
        let queue = Queue::new(2, 1 << 20);
        for start in [0, 10, 20] {
            queue.hand_over(1, &mut batch(start..start + 10, 100));
        }
        assert_eq!(queue.lock().waiting[1].len(), 1);
        assert_eq!(drain(&queue, 0), []);
        let expected: Vec<_> = (0..30).map(|t| (t, t as u8, 100)).collect();
        assert_eq!(drain(&queue, 1), expected);
        let state = queue.lock();
        assert_eq!((state.bytes, state.captured), (0, 30));
    }

    #[test]
    fn a_full_queue_drops_the_oldest_of_any_interface_and_counts_them() {
        let size = batch(0..100, 2000).size();
        let queue = Queue::new(2, 3 * size);
        queue.hand_over(0, &mut batch(0..100, 2000));
        queue.hand_over(1, &mut batch(50..150, 2000));
        queue.hand_over(0, &mut batch(100..200, 2000));
        queue.hand_over(0, &mut batch(200..300, 2000));
        queue.hand_over(0, &mut batch(300..400, 2000));
        let lost = |i: usize| queue.lock().news[i].queue;
        let (first, second) = (lost(0), lost(1));
        assert_eq!(first, Lost { count: 100, from: 0, until: 99 });
        assert_eq!(second, Lost { count: 100, from: 50, until: 149 });
        assert!(queue.lock().bytes <= 3 * size);
        let left: Vec<Micros> = drain(&queue, 0).iter().map(|p| p.0).collect();
        assert_eq!(left, (100..400).collect::<Vec<_>>());
        let read = left.len() as u64;
        assert_eq!(queue.lock().captured, read + first.count + second.count);
        // Buffers are used again.
        let buffers = queue.lock().free.len();
        for start in 0..50 {
            queue.hand_over(0, &mut batch(start * 100..start * 100 + 100, 2000));
            drain(&queue, 0);
        }
        assert_eq!(queue.lock().free.len(), buffers);
    }
}
