//! How far the streams of a live source were read: where each row stands in what is read.
//!
//! A stream is something that has a beginning and is only appended to: a file, a partition of a topic, the
//! numbered messages of a sender. A position in it grows from entry to entry (a byte offset, a record's
//! offset, a message's number). Records of the log carry, cell by cell, up to where their rows came from;
//! a restart reads the positions back and goes on there, and what the log holds already is left out row by row.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use yagura_event::clock::Micros;
use yagura_event::rows::{MeasuredRow, Row, RowSink};
use yagura_event::{Envelope, Kind, Place, same_name};

use crate::names::Reading;

/// Takes rows, and is told where they stand.
pub trait PlacedSink: RowSink {
    /// The rows that follow come from the entry at `position` of `stream`. Positions of a stream do not go
    /// back; an entry gives the same rows whenever it is read, all of them in one call of
    /// [`crate::LiveSource::advance`]. Rows without a place stand nowhere: they are
    /// written as they come.
    fn at(&mut self, _stream: &str, _position: u64) {}

    /// The rows that follow stand nowhere: what a source says about itself.
    fn nowhere(&mut self) {}

    /// A tool is in a cell, if the asset table does not know the tool; the first cell counts.
    fn place_tool(&mut self, _tool: &str, _cell: &str) {}

    /// A value of a signal that may come again under this number alone: [`PlacedSink::sample`].
    fn introduce(&mut self, _of: SeriesOf, row: &MeasuredRow<'_>) {
        self.push(Row::Measured(row));
    }

    /// A further value of a signal that was introduced. `false` where it is not known, or not any more: then
    /// nothing was taken, and it is to be introduced.
    fn sample(&mut self, _of: SeriesOf, _reading: Reading, _value: f64) -> bool {
        false
    }

    /// As [`PlacedSink::sample`] for several values with times of their own.
    fn samples(&mut self, _of: SeriesOf, _reading: Reading, _times: &[Micros], _values: &[f64]) -> bool {
        false
    }
}

/// A signal as its source numbers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeriesOf {
    /// Whose numbers these are; each [`crate::names::Signals`] of a process has its own.
    pub signals: u32,
    /// The number.
    pub number: u32,
}

/// Streams that are followed at a time; their names come from outside. Rows of further ones stand nowhere.
const STREAMS_MAX: usize = 1 << 16;

/// Up to where the log holds what a collector read.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Places {
    /// By stream, the entry before which no cell lacks a row.
    from: BTreeMap<String, u64>,
    /// By cell, then by stream.
    cells: BTreeMap<String, BTreeMap<String, Held>>,
}

/// How far a cell is in a stream: entry, and rows of that entry.
type Mark = (u64, u32);

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Held {
    /// For rows of all kinds.
    all: Mark,
    /// For rows of some kind, where a crash left these farther.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    kinds: BTreeMap<Kind, Mark>,
}

impl Places {
    /// The position of the entry at which reading a stream goes on: the first of which some cell may lack a
    /// row. `None` for a stream of which the log knows nothing.
    pub fn of(&self, stream: &str) -> Option<u64> {
        self.from.get(stream).copied()
    }

    /// The last entry of a stream of which the log holds rows, in some cell.
    pub fn reached(&self, stream: &str) -> Option<u64> {
        let held = self.cells.values().filter_map(|streams| streams.get(stream));
        held.map(|held| held.kinds.values().fold(held.all, |far, kind| far.max(*kind)).0).max()
    }

    /// The streams that the log knows.
    pub fn streams(&self) -> impl Iterator<Item = &str> {
        self.from.keys().map(String::as_str)
    }

    /// Notes what a record says.
    pub(crate) fn note(&mut self, envelope: &Envelope) {
        if envelope.places.is_empty() {
            return;
        }
        let streams = self.cells.entry(envelope.cell.clone()).or_default();
        for place in &envelope.places {
            let from = self.from.entry(place.stream.clone()).or_insert(place.from);
            *from = place.from.max(*from);
            let held = streams.entry(place.stream.clone()).or_default();
            let mark = (place.at, place.rows);
            if place.all {
                held.all = held.all.max(mark);
                held.kinds.retain(|_, kind| *kind > held.all);
            } else if mark > held.all {
                let kind = held.kinds.entry(envelope.kind).or_default();
                *kind = (*kind).max(mark);
            }
        }
    }

    fn held(&self, cell: &str, stream: &str) -> Option<&Held> {
        self.cells.get(cell)?.get(stream)
    }
}

/// Where a writer is in its streams.
#[derive(Default)]
pub(crate) struct Progress {
    streams: Vec<Stream>,
    named: FxHashMap<String, usize>,
    /// The stream whose entry is being written.
    current: Option<usize>,
}

struct Stream {
    name: String,
    at: u64,
    /// Nothing more will come from the entry at `at`.
    complete: bool,
    /// The entry that it was at when batches were closed last.
    closed: u64,
    /// The entry before which everything is durable.
    durable: u64,
}

impl Progress {
    pub(crate) fn at(&mut self, stream: &str, position: u64, held: &Places) {
        let index = match self.current {
            Some(index) if same_name(&self.streams[index].name, stream) => index,
            _ => match self.named.get(stream) {
                Some(index) => *index,
                None if self.streams.len() >= STREAMS_MAX => return self.nowhere(),
                None => {
                    let index = self.streams.len();
                    self.named.insert(stream.to_string(), index);
                    let from = held.of(stream).unwrap_or(position);
                    let name = stream.to_string();
                    self.streams.push(Stream {
                        name,
                        at: position,
                        complete: false,
                        closed: from,
                        durable: from,
                    });
                    index
                }
            },
        };
        if let Some(before) = self.current
            && before != index
        {
            self.streams[before].complete = true;
        }
        self.streams[index].at = position;
        self.streams[index].complete = false;
        self.current = Some(index);
    }

    pub(crate) fn nowhere(&mut self) {
        self.complete();
        self.current = None;
    }

    /// All that was written is handed over.
    pub(crate) fn close(&mut self) {
        self.complete();
        for stream in &mut self.streams {
            stream.closed = stream.at;
        }
    }

    /// What was handed over at the last closing is durable.
    pub(crate) fn acknowledged(&mut self) {
        for stream in &mut self.streams {
            stream.durable = stream.closed;
        }
    }

    /// The entry that was being written is whole.
    pub(crate) fn complete(&mut self) {
        if let Some(index) = self.current {
            self.streams[index].complete = true;
        }
    }
}

/// How far one cell is in the streams of its writer.
#[derive(Default)]
pub(crate) struct Reached {
    /// By stream.
    marks: Vec<CellMark>,
}

#[derive(Default)]
struct CellMark {
    /// The entry of which it has rows, and how many.
    counted: Mark,
    /// What its records said last: for all kinds, or for one.
    told: Option<(u64, Mark)>,
    /// What the log held when reading began; looked up once.
    held: Option<Box<Held>>,
    looked_up: bool,
}

impl Reached {
    /// Counts a row of the current entry; `false` when the log holds it already.
    #[inline]
    pub(crate) fn admit(&mut self, progress: &Progress, held: &Places, cell: &str, kind: Kind) -> bool {
        progress.current.is_none() || self.admit_many(progress, held, cell, kind, 1) == 0
    }

    /// Counts rows of the current entry; how many of them, the first ones, the log holds already.
    pub(crate) fn admit_many(
        &mut self,
        progress: &Progress,
        held: &Places,
        cell: &str,
        kind: Kind,
        rows: usize,
    ) -> usize {
        let Some(current) = progress.current else { return 0 };
        let stream = &progress.streams[current];
        if self.marks.len() <= current {
            self.marks.resize_with(current + 1, CellMark::default);
        }
        let mark = &mut self.marks[current];
        if !mark.looked_up {
            mark.looked_up = true;
            mark.held = held.held(cell, &stream.name).cloned().map(Box::new);
        }
        let before = match mark.counted {
            (at, before) if at == stream.at => before,
            _ => 0,
        };
        mark.counted = (stream.at, before.saturating_add(u32::try_from(rows).unwrap_or(u32::MAX)));
        let Some(held) = &mark.held else { return 0 };
        match held.all.max(held.kinds.get(&kind).copied().unwrap_or_default()) {
            (at, _) if at > stream.at => rows,
            (at, until) if at == stream.at => rows.min(until.saturating_sub(before) as usize),
            _ => 0,
        }
    }

    /// What a record that holds everything so far has to say, for all kinds or for its own.
    pub(crate) fn news(&mut self, progress: &Progress, all: bool) -> Vec<Place> {
        if progress.streams.is_empty() {
            return Vec::new();
        }
        self.marks.resize_with(progress.streams.len().max(self.marks.len()), CellMark::default);
        let mut out = Vec::new();
        for (mark, stream) in self.marks.iter_mut().zip(&progress.streams) {
            let rows = match (stream.complete, mark.counted) {
                (true, _) => u32::MAX,
                (false, (at, rows)) if at == stream.at => rows,
                (false, _) => 0,
            };
            let news = (stream.durable, (stream.at, rows));
            if mark.told == Some(news) {
                continue;
            }
            if all {
                mark.told = Some(news);
            }
            out.push(Place { stream: stream.name.clone(), from: stream.durable, at: stream.at, rows, all });
        }
        out
    }
}

#[cfg(test)]
mod tests;
