//! Dense numbers for series of samples.

use hashbrown::HashTable;
use rustc_hash::FxHasher;
use std::hash::Hasher;
use yagura_event::same_name;

/// Series known at a time, and the most bytes of their names. Both come from outside; beyond it all
/// are learned again, under new numbers.
const SERIES_MAX: usize = 1 << 20;
const TEXT_BYTES_MAX: usize = 256 << 20;

/// A series's name: tool, chamber, signal.
pub(crate) type Name<'a> = [&'a str; 3];

/// The numbers of a cell's series, in order of appearance.
///
/// A device's values come in the same order again and again. The series that followed the last one
/// when that was last seen is looked at first: mostly no name is hashed.
#[derive(Default)]
pub(crate) struct SeriesNumbers {
    /// The number of the first series that is known.
    first: u32,
    /// All names, one after the other.
    text: String,
    known: Vec<Series>,
    /// Positions in `known` by the name's hash.
    positions: HashTable<u32>,
    /// Position of the series that was asked for last.
    last: usize,
}

#[derive(Clone, Copy)]
struct Series {
    /// Where tool, chamber and signal end in the text; the tool begins where the series before ends.
    ends: [u32; 3],
    /// Position of the series that followed it last.
    next: u32,
}

impl SeriesNumbers {
    /// The number of a series, and whether it is a new one.
    pub(crate) fn number(&mut self, name: Name<'_>) -> (u32, bool) {
        let expected = self.known.get(self.last).map_or(0, |last| last.next as usize);
        if expected < self.known.len() && is(&self.text, &self.known, expected, name) {
            self.last = expected;
            return (self.first + expected as u32, false);
        }
        let hash = hash(name);
        let found = self.positions.find(hash, |&at| is(&self.text, &self.known, at as usize, name)).copied();
        let at = found.unwrap_or_else(|| self.add(hash, name));
        if let Some(last) = self.known.get_mut(self.last) {
            last.next = at;
        }
        self.last = at as usize;
        (self.first + at, found.is_none())
    }

    fn add(&mut self, hash: u64, name: Name<'_>) -> u32 {
        if self.known.len() >= SERIES_MAX || self.text.len() >= TEXT_BYTES_MAX {
            self.first += self.known.len() as u32;
            self.text.clear();
            self.known.clear();
            self.positions.clear();
        }
        let at = self.known.len() as u32;
        let ends = name.map(|part| {
            self.text.push_str(part);
            self.text.len() as u32
        });
        // Where nothing is known of what follows, the next new series is as good as any.
        self.known.push(Series { ends, next: at + 1 });
        let SeriesNumbers { text, known, positions, .. } = self;
        positions.insert_unique(hash, at, |&at| self::hash(name_at(text, known, at as usize)));
        at
    }
}

fn name_at<'a>(text: &'a str, known: &[Series], at: usize) -> Name<'a> {
    let begin = if at == 0 { 0 } else { known[at - 1].ends[2] as usize };
    let ends = known[at].ends.map(|end| end as usize);
    [&text[begin..ends[0]], &text[ends[0]..ends[1]], &text[ends[1]..ends[2]]]
}

#[inline]
fn is(text: &str, known: &[Series], at: usize, name: Name<'_>) -> bool {
    let [tool, chamber, signal] = name_at(text, known, at);
    // The signal first: it is what differs.
    same_name(signal, name[2]) && same_name(tool, name[0]) && same_name(chamber, name[1])
}

fn hash(name: Name<'_>) -> u64 {
    let mut hasher = FxHasher::default();
    for part in name {
        hasher.write(part.as_bytes());
        hasher.write_u8(0xff);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_keep_their_numbers_in_any_order() {
        let mut numbers = SeriesNumbers::default();
        let names: Vec<String> = (0..100).map(|n| format!("holding {n}")).collect();
        for (n, name) in names.iter().enumerate() {
            assert_eq!(numbers.number(["T", "", name]), (n as u32, true));
        }
        for step in [1, 3, 7, 99] {
            for n in (0..names.len()).map(|n| n * step % names.len()) {
                assert_eq!(numbers.number(["T", "", &names[n]]), (n as u32, false));
            }
        }
    }

    #[test]
    fn a_name_is_its_three_parts() {
        let mut numbers = SeriesNumbers::default();
        let names = [["ab", "", "c"], ["a", "b", "c"], ["", "ab", "c"], ["ab", "c", ""], ["", "", ""]];
        for _ in 0..2 {
            let all: Vec<u32> = names.iter().map(|name| numbers.number(*name).0).collect();
            assert_eq!(all, [0, 1, 2, 3, 4]);
        }
    }

    #[test]
    fn too_many_are_learned_again_under_new_numbers() {
        let mut numbers = SeriesNumbers::default();
        for n in 0..=SERIES_MAX {
            assert_eq!(numbers.number(["T", "", &n.to_string()]), (n as u32, true));
        }
        assert_eq!(numbers.number(["T", "", "0"]), (SERIES_MAX as u32 + 1, true));
        assert_eq!(numbers.number(["T", "", &SERIES_MAX.to_string()]), (SERIES_MAX as u32, false));
        assert_eq!(numbers.number(["T", "", "0"]), (SERIES_MAX as u32 + 1, false));
    }
}
