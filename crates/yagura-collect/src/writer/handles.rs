//! Where the signals that sources number are: cell and series, so that no name is compared for a value.

use crate::places::SeriesOf;

/// Sets of signals that are known at a time; values of further ones go by their names. A collector has one.
const SETS_MAX: usize = 64;
/// The highest number of a signal in a set.
const NUMBERS_MAX: usize = 1 << 20;

/// A series of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Handle {
    /// Where the cell is.
    pub(super) cell: u32,
    /// The series' number there.
    pub(super) series: u32,
}

const NONE: Handle = Handle { cell: u32::MAX, series: u32::MAX };

/// By set, then by the signal's number: 8 bytes each.
#[derive(Default)]
pub(super) struct Handles {
    sets: Vec<(u32, Vec<Handle>)>,
    /// The set that was asked for last.
    last: usize,
}

impl Handles {
    #[inline]
    pub(super) fn get(&mut self, of: SeriesOf) -> Option<Handle> {
        match self.sets.get(self.last) {
            Some((signals, _)) if *signals == of.signals => {}
            _ => self.last = self.sets.iter().position(|(signals, _)| *signals == of.signals)?,
        }
        self.sets[self.last].1.get(of.number as usize).copied().filter(|handle| *handle != NONE)
    }

    pub(super) fn set(&mut self, of: SeriesOf, handle: Handle) {
        let number = of.number as usize;
        let set = match self.sets.iter().position(|(signals, _)| *signals == of.signals) {
            Some(set) => set,
            None if self.sets.len() < SETS_MAX => {
                self.sets.push((of.signals, Vec::new()));
                self.sets.len() - 1
            }
            None => return,
        };
        if number > NUMBERS_MAX {
            return;
        }
        let handles = &mut self.sets[set].1;
        if handles.len() <= number {
            handles.resize(number + 1, NONE);
        }
        handles[number] = handle;
    }

    /// None is known: something is in another cell now.
    pub(super) fn clear(&mut self) {
        self.sets.clear();
    }
}
