//! Where the samples of a series go, and the signals that are judged together.

use serde::{Deserialize, Serialize};

use crate::blocks::Blocks;
use crate::shard::Series;

/// By the shard's series number, the place of each in an operator's state.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Places<P>(Vec<Place<P>>);

impl<P> Default for Places<P> {
    fn default() -> Self {
        Places(Vec::new())
    }
}

#[derive(Clone, Copy, Serialize, Deserialize)]
enum Place<P> {
    /// The detection does not take it.
    NotTaken,
    /// It must be looked up.
    Unresolved,
    /// There is none for it now.
    Nowhere,
    At(P),
}

/// It must be looked up.
pub(super) struct Unresolved;

impl<P: Copy> Places<P> {
    /// A series was defined; whether the detection takes it.
    pub(super) fn select(&mut self, number: u32, selected: bool) {
        let index = number as usize;
        if self.0.len() <= index {
            self.0.resize(index + 1, Place::NotTaken);
        }
        self.0[index] = match (selected, self.0[index]) {
            (true, Place::NotTaken) => Place::Unresolved,
            (true, place) => place,
            (false, _) => Place::NotTaken,
        };
    }

    /// The place of a series; an error where it must be looked up and [`put`](Self::put).
    pub(super) fn of(&self, number: u32) -> Result<Option<P>, Unresolved> {
        match self.0.get(number as usize) {
            Some(Place::At(place)) => Ok(Some(*place)),
            Some(Place::Unresolved) => Err(Unresolved),
            _ => Ok(None),
        }
    }

    /// The place of a series that was looked up; none when there is none for it now.
    pub(super) fn put(&mut self, number: u32, place: Option<P>) -> Option<P> {
        self.0[number as usize] = place.map_or(Place::Nowhere, Place::At);
        place
    }

    /// The place of a series must be looked up again; answers the one that it had.
    pub(super) fn leave(&mut self, number: u32) -> Option<P> {
        let place = self.0.get_mut(number as usize)?;
        match std::mem::replace(place, Place::Unresolved) {
            Place::At(had) => return Some(had),
            Place::NotTaken => *place = Place::NotTaken,
            _ => {}
        }
        None
    }

    /// The same of all.
    pub(super) fn leave_all(&mut self) {
        (0..self.0.len() as u32).for_each(|number| _ = self.leave(number));
    }
}

/// The signals of a tool, a chamber or a step that are judged together, a column each.
#[derive(Clone, Default, Serialize, Deserialize)]
pub(super) struct Members {
    names: Vec<String>,
    /// The series of each column; one that was not seen yet is `u32::MAX`.
    series: Vec<u32>,
}

impl Members {
    pub(super) fn len(&self) -> usize {
        self.names.len()
    }

    pub(super) fn names(&self) -> &[String] {
        &self.names
    }

    pub(super) fn name(&self, column: usize) -> &str {
        self.names.get(column).map_or("", String::as_str)
    }

    /// The series of a column.
    pub(super) fn series<'a>(&self, column: usize, all: &'a Blocks<Series>) -> Option<&'a Series> {
        self.series.get(column).and_then(|&number| all.get(number as usize))
    }

    /// The column of a series, a new one while there are fewer than `most`.
    pub(super) fn column(&mut self, number: u32, signal: &str, most: usize) -> Option<u16> {
        if let Some(column) = self.names.iter().position(|name| name == signal) {
            self.series[column] = number;
            return Some(column as u16);
        }
        if self.names.len() >= most {
            return None;
        }
        self.names.push(signal.to_string());
        self.series.push(number);
        Some((self.names.len() - 1) as u16)
    }

    /// The columns are these from now on.
    pub(super) fn become_those(&mut self, names: Vec<String>) {
        let known = |name: &String| self.names.iter().position(|known| known == name);
        self.series = names.iter().map(|name| known(name).map_or(u32::MAX, |at| self.series[at])).collect();
        self.names = names;
    }
}
