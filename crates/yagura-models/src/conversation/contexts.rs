//! How often which command followed which: the counts of prediction by partial matching, in one table.

use serde::{Deserialize, Serialize};

use super::novelty::log2_ratio;

/// The most entries: 16 MiB.
const ENTRIES_MAX: usize = 1 << 20;
/// Entries of a table at first.
const ENTRIES_MIN: usize = 64;

/// A context (with how many different commands followed), or a command that followed one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Entry {
    /// 0 where there is none.
    key: u64,
    count: u32,
    different: u16,
    /// The era in which it was counted last.
    era: u16,
}

/// Contexts of two commands and of one, with what followed them. Open addressing; when it is full, what was
/// not counted since it was full the last time leaves, and where all was, the rarest.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Contexts {
    entries: Vec<Entry>,
    used: usize,
    era: u16,
}

/// How surprising a command is.
pub(super) struct Bits {
    pub(super) bits: f32,
    /// Whether it followed the two before it already.
    pub(super) found: bool,
}

/// Serials are dense numbers that nobody outside can choose: mixing them well is enough.
fn key(order: u64, before: [u32; 2], command: u32) -> u64 {
    let mut hash = order.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    for word in [before[0], before[1], command] {
        hash = (hash ^ u64::from(word)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        hash ^= hash >> 32;
    }
    hash.max(1)
}

/// The context of that order: what comes before, as far as it counts.
fn context(order: u64, before: [u32; 2]) -> [u32; 2] {
    if order == 2 { before } else { [0, before[1]] }
}

impl Contexts {
    /// The surprise at a command after two others, by method C: a context in which d different commands
    /// followed n times in all gives each its count of n + d, and d to those that never did. `weight` is what
    /// the command is worth without any context, in 1/65536 bits.
    #[inline]
    pub(super) fn bits(&self, before: [u32; 2], command: u32, weight: i32) -> Bits {
        let mut bits = 0.0;
        for order in [2, 1] {
            let before = context(order, before);
            let Some(all) = self.get(key(order, before, 0)) else { continue };
            let sum = all.count.saturating_add(u32::from(all.different));
            match self.get(key(order, before, command)) {
                Some(one) => {
                    return Bits { bits: bits + log2_ratio(sum, one.count), found: order == 2 };
                }
                None => bits += log2_ratio(sum, all.different.into()),
            }
        }
        Bits { bits: bits + weight as f32 / 65_536.0, found: false }
    }

    /// Counts it.
    pub(super) fn learn(&mut self, before: [u32; 2], command: u32) {
        for order in [2, 1] {
            let before = context(order, before);
            let new = self.count(key(order, before, command), 1, 0);
            self.count(key(order, before, 0), 1, u16::from(new));
        }
    }

    /// Takes over what another has counted, and empties it.
    pub(super) fn absorb(&mut self, other: &mut Contexts) {
        for entry in std::mem::take(&mut other.entries).iter().filter(|entry| entry.key != 0) {
            self.count(entry.key, entry.count, entry.different);
        }
        *other = Contexts::default();
    }

    /// Halves all counts; what came to nothing leaves.
    pub(super) fn halve(&mut self) {
        let entries = std::mem::take(&mut self.entries);
        let size = entries.len();
        let halved = entries.into_iter().map(|e| Entry { count: e.count / 2, ..e });
        self.fill(size, halved.filter(|e| e.key != 0 && e.count > 0));
    }

    fn get(&self, key: u64) -> Option<&Entry> {
        let mask = self.entries.len().checked_sub(1)?;
        let mut at = key as usize & mask;
        loop {
            let entry = &self.entries[at];
            if entry.key == key {
                return Some(entry);
            }
            if entry.key == 0 {
                return None;
            }
            at = (at + 1) & mask;
        }
    }

    /// Adds to an entry; answers whether it is new.
    fn count(&mut self, key: u64, count: u32, different: u16) -> bool {
        if self.used * 4 >= self.entries.len() * 3 {
            self.make_room();
        }
        let mask = self.entries.len() - 1;
        let mut at = key as usize & mask;
        while self.entries[at].key != 0 && self.entries[at].key != key {
            at = (at + 1) & mask;
        }
        let entry = &mut self.entries[at];
        let new = entry.key == 0;
        self.used += usize::from(new);
        entry.key = key;
        entry.count = entry.count.saturating_add(count);
        entry.different = entry.different.saturating_add(different);
        entry.era = self.era;
        new
    }

    fn make_room(&mut self) {
        let entries = std::mem::take(&mut self.entries);
        if entries.len() < ENTRIES_MAX {
            let size = (2 * entries.len()).max(ENTRIES_MIN);
            self.fill(size, entries.into_iter().filter(|entry| entry.key != 0));
            return;
        }
        let size = entries.len();
        let era = self.era;
        self.era = self.era.wrapping_add(1);
        self.fill(size, entries.into_iter().filter(|entry| entry.key != 0 && entry.era == era));
        while self.used * 2 > self.entries.len() {
            self.halve();
        }
    }

    fn fill(&mut self, size: usize, entries: impl Iterator<Item = Entry>) {
        self.entries = vec![Entry::default(); size];
        self.used = 0;
        for entry in entries {
            let mut at = entry.key as usize & (size - 1);
            while self.entries[at].key != 0 {
                at = (at + 1) & (size - 1);
            }
            self.entries[at] = entry;
            self.used += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn method_c_gives_each_its_share_and_the_rest_to_what_never_followed() {
        let mut contexts = Contexts::default();
        for _ in 0..6 {
            contexts.learn([1, 2], 3);
        }
        contexts.learn([1, 2], 4);
        contexts.learn([9, 2], 5);
        // After (1, 2): 7 times, 2 different, 9 shares.
        let bits = |before, command| contexts.bits(before, command, 0).bits;
        assert!((f64::from(bits([1, 2], 3)) - (9.0_f64 / 6.0).log2()).abs() < 1e-6);
        assert!((f64::from(bits([1, 2], 4)) - 9.0_f64.log2()).abs() < 1e-6);
        // 5 never followed (1, 2), but 2 alone: 2 shares of 9, then one of 8 + 3.
        let escaped = (9.0_f64 / 2.0).log2() + 11.0_f64.log2();
        assert!((f64::from(bits([1, 2], 5)) - escaped).abs() < 1e-6);
        assert!(contexts.bits([1, 2], 3, 0).found && !contexts.bits([1, 2], 5, 0).found);
        assert_eq!(contexts.bits([7, 7], 3, 65_536 * 4).bits, 4.0, "no context says anything");
    }

    #[test]
    fn the_table_is_bounded_and_what_is_used_stays() {
        let mut contexts = Contexts::default();
        for other in 0..600_000_u32 {
            contexts.learn([1, 2], 3);
            contexts.learn([other, 10 + other], 20 + other);
        }
        assert!(contexts.entries.len() <= ENTRIES_MAX && contexts.used * 4 <= ENTRIES_MAX * 3);
        assert!(contexts.bits([1, 2], 3, 0).found);
        assert!(!contexts.bits([0, 10], 20, 0).found, "what was never used again left");
        let last = 599_999;
        assert!(contexts.bits([last, 10 + last], 20 + last, 0).found);
    }

    #[test]
    fn what_came_since_is_taken_over() {
        let (mut one, mut other) = (Contexts::default(), Contexts::default());
        one.learn([1, 2], 3);
        other.learn([1, 2], 4);
        one.absorb(&mut other);
        assert_eq!(other, Contexts::default());
        assert!(one.bits([1, 2], 4, 0).found);
        assert_eq!(one.bits([1, 2], 4, 0).bits, 2.0, "two followed once each: a share of 2 + 2");
    }
}
