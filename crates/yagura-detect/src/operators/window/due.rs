//! When keys are to be looked at, in the order of time and, at the same time, of their hashes.
//!
//! Most entries are put in far ahead and come out together, so they lie unsorted in parts of time, and a
//! part is sorted when its turn has come: a heap of a hundred thousand keys would move each entry some
//! seventeen times.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use yagura_event::clock::Micros;

/// A key's entry: its time, its hash and its slot.
type Entry = (Micros, u64, u32);

/// All of a detection in a cell.
pub struct Due {
    /// The length of a part.
    part: Micros,
    /// By the number of a part, what is due in it.
    parts: BTreeMap<Micros, Vec<Entry>>,
    /// Of parts whose turn has come: the next is the last.
    sorted: Vec<Entry>,
    /// What was put in since, into those parts.
    more: BinaryHeap<Reverse<Entry>>,
    /// The first part whose turn has not come.
    next_part: Micros,
}

impl Due {
    /// Nothing yet, in parts of about that length.
    pub fn new(part: Micros) -> Due {
        let (sorted, more) = (Vec::new(), BinaryHeap::new());
        Due { part: part.max(1), parts: BTreeMap::new(), sorted, more, next_part: Micros::MIN }
    }

    /// How many entries there are.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.parts.values().map(Vec::len).sum::<usize>() + self.sorted.len() + self.more.len()
    }

    /// Puts a key in.
    pub fn push(&mut self, due: Micros, hash: u64, slot: u32) {
        let part = due.div_euclid(self.part);
        if part < self.next_part {
            self.more.push(Reverse((due, hash, slot)));
        } else {
            self.parts.entry(part).or_default().push((due, hash, slot));
        }
    }

    /// Takes all keys of the earliest time there is, unless it is after `limit`, into `out`, by their hashes.
    pub fn pop(&mut self, limit: Micros, out: &mut Vec<(u64, u32)>) -> Option<Micros> {
        out.clear();
        let due = self.first(limit)?;
        loop {
            let sorted = self.sorted.last().copied().filter(|entry| entry.0 == due);
            let more = self.more.peek().map(|entry| entry.0).filter(|entry| entry.0 == due);
            let (_, hash, slot) = match (sorted, more) {
                (None, None) => return Some(due),
                (Some(sorted), more) if more.is_none_or(|more| sorted <= more) => {
                    self.sorted.pop();
                    sorted
                }
                (_, more) => {
                    self.more.pop();
                    more?
                }
            };
            out.push((hash, slot));
        }
    }

    /// The earliest time up to `limit`.
    fn first(&mut self, limit: Micros) -> Option<Micros> {
        loop {
            let sorted = self.sorted.last().map(|entry| entry.0);
            let more = self.more.peek().map(|entry| entry.0.0);
            if let Some(first) = sorted.into_iter().chain(more).min() {
                return (first <= limit).then_some(first);
            }
            let (&part, _) = self.parts.first_key_value()?;
            if part > limit.div_euclid(self.part) {
                return None;
            }
            self.sorted = self.parts.remove(&part)?;
            self.sorted.sort_unstable_by(|a, b| b.cmp(a));
            self.next_part = part.saturating_add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn keys_come_out_as_out_of_a_heap(
            part in 1..50_i64,
            steps in prop::collection::vec((prop::collection::vec((-200..400_i64, 0..5_u64), 0..6), 0..60_i64), 1..30),
        ) {
            let (mut due, mut heap, mut limit) = (Due::new(part), BinaryHeap::new(), -200);
            for (entries, further) in steps {
                for (time, hash) in entries {
                    due.push(time, hash, hash as u32);
                    heap.push(Reverse((time, hash)));
                }
                limit += further;
                let (mut out, mut times) = (Vec::new(), 0);
                while let Some(time) = due.pop(limit, &mut out) {
                    for (hash, slot) in &out {
                        prop_assert_eq!(heap.pop(), Some(Reverse((time, *hash))));
                        prop_assert_eq!(*slot, *hash as u32);
                    }
                    // What is judged puts keys in again, some of them for the same time.
                    times += 1;
                    if times % 3 == 0 {
                        let again = (time + i64::from(times % 2) * 7, 9);
                        due.push(again.0, again.1, 9);
                        heap.push(Reverse(again));
                    }
                    if times > 40 {
                        break;
                    }
                }
                prop_assert!(times > 40 || heap.peek().is_none_or(|first| first.0.0 > limit));
            }
        }
    }
}
