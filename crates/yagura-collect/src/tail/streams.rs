//! Names of the streams that files are: what a file is, wherever it lies and whatever it is called.
//!
//! A name holds device and inode, where the data begin, and a checksum of the first of them, at most
//! [`BEGINNING`] bytes: `2049:131:0+1024:9a0b1c2d`. A young file has fewer; the name keeps how many. A file that
//! was read anew though all of this stayed has a number at the end.

use std::collections::BTreeMap;

use crate::places::Places;

/// Bytes of a file's data that tell it from others.
pub(super) const BEGINNING: usize = 1 << 10;

/// Device and inode.
pub(super) type Inode = (u64, u64);

/// The streams of a collector: those that the log knows, and those that are read.
#[derive(Default)]
pub(super) struct Streams {
    /// By inode; those of the log that no file was found for yet.
    known: BTreeMap<Inode, Vec<Known>>,
    /// How often a name was given.
    given: BTreeMap<String, u32>,
}

/// A stream of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub name: String,
    /// The entry at which reading goes on.
    pub from: u64,
    begin: u64,
    length: usize,
    sum: u32,
    generation: u32,
}

impl Known {
    /// Whether a file begins as it did. `data` are its first data.
    pub(super) fn begins_with(&self, begin: u64, data: &[u8]) -> bool {
        self.begin == begin && data.get(..self.length).is_some_and(|data| crc32c::crc32c(data) == self.sum)
    }
}

impl Streams {
    /// What the log knows.
    pub(super) fn new(places: &Places) -> Self {
        let mut streams = Streams::default();
        for name in places.streams() {
            let (Some((inode, known)), Some(from)) = (parse(name), places.of(name)) else { continue };
            let base = base(inode, known.begin, known.length, known.sum);
            let given = streams.given.entry(base).or_default();
            *given = known.generation.max(*given);
            streams.known.entry(inode).or_default().push(Known { from, ..known });
        }
        for known in streams.known.values_mut() {
            known.sort_by_key(|known| std::cmp::Reverse(known.generation));
        }
        streams
    }

    /// The stream that a file with this inode goes on with; it is not answered again.
    pub(super) fn claim(&mut self, inode: Inode, is: impl Fn(&Known) -> bool) -> Option<Known> {
        let known = self.known.get_mut(&inode)?;
        let at = known.iter().position(is)?;
        Some(known.remove(at))
    }

    /// A stream that cannot go on where it was claimed for.
    pub(super) fn put_back(&mut self, inode: Inode, known: Known) {
        self.known.entry(inode).or_default().push(known);
    }

    /// The stream of another inode that a file goes on with: it was copied, or came from another device.
    pub(super) fn claim_any(&mut self, is: impl Fn(&Known) -> bool) -> Option<Known> {
        let (inode, at) =
            self.known.iter().find_map(|(inode, known)| known.iter().position(&is).map(|at| (*inode, at)))?;
        self.known.get_mut(&inode).map(|known| known.remove(at))
    }

    /// A name that none has yet.
    pub(super) fn name(&mut self, inode: Inode, begin: u64, data: &[u8]) -> String {
        let base = base(inode, begin, data.len(), crc32c::crc32c(data));
        let given = self.given.entry(base.clone()).or_default();
        *given += 1;
        if *given == 1 { base } else { format!("{base}:{given}") }
    }
}

fn base((device, inode): Inode, begin: u64, length: usize, sum: u32) -> String {
    format!("{device:x}:{inode}:{begin}+{length}:{sum:08x}")
}

fn parse(name: &str) -> Option<(Inode, Known)> {
    let mut parts = name.split(':');
    let device = u64::from_str_radix(parts.next()?, 16).ok()?;
    let inode = parts.next()?.parse().ok()?;
    let (begin, length) = parts.next()?.split_once('+')?;
    let sum = u32::from_str_radix(parts.next()?, 16).ok()?;
    let generation = parts.next().map_or(Some(1), |part| part.parse().ok())?;
    let (begin, length) = (begin.parse().ok()?, length.parse().ok()?);
    let known = Known { name: name.into(), from: 0, begin, length, sum, generation };
    Some(((device, inode), known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_back_and_a_name_is_given_once() {
        let mut streams = Streams::default();
        let first = streams.name((2049, 7), 12, b"data of it");
        let again = streams.name((2049, 7), 12, b"data of it");
        assert_eq!(again, format!("{first}:2"));
        for (name, generation) in [(&first, 1), (&again, 2)] {
            let (inode, known) = parse(name).expect("a name");
            assert_eq!((inode, known.generation), ((2049, 7), generation));
            assert!(known.begins_with(12, b"data of it and more") && !known.begins_with(12, b"data of"));
            assert!(!known.begins_with(0, b"data of it") && !known.begins_with(12, b"data of us"));
        }
        assert_eq!(parse("trades-0"), None);
    }
}
