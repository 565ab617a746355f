//! Rows to log records: which cell, which number, which batch.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;

use arrow::array::RecordBatch;
use bytes::Bytes;
use rustc_hash::FxHashMap;
use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::*;
use yagura_event::same_name;
use yagura_event::vocabulary::coverage;
use yagura_event::{AssetTable, Encoding, Envelope, EventError, Kind, Place, codec};
use yagura_log::Record;

use crate::blind::Blind;
use crate::names::Reading;
use crate::places::{PlacedSink, Places, Progress, Reached, SeriesOf};
use crate::series::SeriesNumbers;

mod handles;

use handles::{Handle, Handles};

/// Rows of one kind at which a batch is closed.
const BATCH_ROWS: usize = 8192;

/// Names known at a time. They come from outside: a scan of addresses must not fill the memory.
/// Beyond it, all are learned again.
const NAMES_MAX: usize = 1 << 16;

/// Tools that sources may place, and cells that there may be for it. Whatever is more is in the default cell.
const PLACED_MAX: usize = 1 << 18;
const PLACED_CELLS_MAX: usize = 1 << 12;

/// A collector says that it lives after this long without a row for a cell.
const HEARTBEAT: Micros = 10 * SECOND;

/// Gathers one collector's rows into batches of one cell and one kind.
///
/// Where batches end depends on the rows and on [`RowWriter::close`] alone, and so do the row
/// numbers: a recording read again gives the same records.
pub struct RowWriter {
    collector: String,
    epoch: u64,
    assets: Arc<AssetTable>,
    cells: Vec<Cell>,
    /// Where a cell is in `cells`, by its name.
    named: BTreeMap<String, usize>,
    /// Where a tool's or an address's cell is in `cells`.
    cell_of: FxHashMap<String, usize>,
    /// The last name that was looked up there: most rows have the tool of the row before.
    last: (String, usize),
    /// Where the cells of tools are that sources placed; `None` for tools that the asset table knows.
    placed: FxHashMap<String, Option<usize>>,
    /// Where the signals are that sources number.
    handles: Handles,
    /// The only cells that may be written; all of them when empty.
    permitted: Vec<String>,
    /// Rows of other cells since the last closing, and the name of one.
    refused: (u64, String),
    /// What the log held of the streams when reading began.
    held: Places,
    progress: Progress,
    blind: Blind,
    ready: Vec<Record>,
    failed: Option<EventError>,
}

#[derive(Default)]
struct Cell {
    name: String,
    /// Whether the collector may not write it.
    forbidden: bool,
    /// How far it is in each stream.
    reached: Reached,
    next_row: u64,
    numbers: SeriesNumbers,
    observed: Option<(Micros, Micros)>,
    last_sent: Micros,
    message: MessageBuilder,
    flow: FlowBuilder,
    series: SeriesBuilder,
    sample: SampleBuilder,
    identity: IdentityBuilder,
    log: LogBuilder,
    context: ContextBuilder,
    coverage: CoverageBuilder,
    control: ControlBuilder,
}

impl RowWriter {
    /// A writer without rows.
    pub fn new(collector: &str, epoch: u64, assets: Arc<AssetTable>) -> Self {
        RowWriter {
            collector: collector.to_string(),
            epoch,
            assets,
            cells: Vec::new(),
            named: BTreeMap::new(),
            cell_of: FxHashMap::default(),
            last: (String::new(), usize::MAX),
            placed: FxHashMap::default(),
            handles: Handles::default(),
            permitted: Vec::new(),
            refused: (0, String::new()),
            held: Places::default(),
            progress: Progress::default(),
            blind: Blind::default(),
            ready: Vec::new(),
            failed: None,
        }
    }

    /// Rows of other cells than these are refused and counted; without any, all may be written.
    pub fn permit(mut self, cells: &[String]) -> Self {
        self.permitted = cells.to_vec();
        self.permitted.sort();
        self
    }

    /// Rows up to these places are in the log already and are left out.
    pub fn resume(mut self, held: Places) -> Self {
        self.held = held;
        self
    }

    /// Closes all batches: the collector promises that no row before `promise` will follow.
    /// `Micros::MAX` says that none will follow at all.
    pub fn close(&mut self, promise: Micros) {
        self.tell_refused(promise);
        self.progress.close();
        let by_name: Vec<usize> = self.named.values().copied().collect();
        for index in by_name {
            self.flush(index, promise);
            let cell = &mut self.cells[index];
            if cell.forbidden {
                continue;
            }
            let due = promise == Micros::MAX || promise.saturating_sub(cell.last_sent) >= HEARTBEAT;
            if due {
                let at = if promise == Micros::MAX { cell.last_sent } else { promise };
                cell.last_sent = at;
                let first_row = cell.next_row;
                let places = cell.reached.news(&self.progress, true);
                self.emit(index, Kind::Coverage, first_row, 0, (at, at), promise, places, Bytes::new());
            }
        }
    }

    /// Everything up to the last closing is durable: records that follow say so of their streams.
    pub fn acknowledged(&mut self) {
        self.progress.acknowledged();
    }

    /// What its coverage says was not seen.
    pub fn blind(&self) -> &Blind {
        &self.blind
    }

    /// The records that are ready, in order. An error is a defect of Yagura: rows of a fixed
    /// schema always encode.
    pub fn take(&mut self) -> Result<Vec<Record>, EventError> {
        match self.failed.take() {
            Some(error) => Err(error),
            None => Ok(std::mem::take(&mut self.ready)),
        }
    }

    /// Where the cell of a tool, or of an address, is.
    fn cell_for(&mut self, name: &str) -> usize {
        if self.last.1 != usize::MAX && same_name(&self.last.0, name) {
            return self.last.1;
        }
        let cell = self.look_up(name);
        self.last.0.clear();
        self.last.0.push_str(name);
        self.last.1 = cell;
        cell
    }

    fn look_up(&mut self, name: &str) -> usize {
        if let Some(cell) = self.cell_of.get(name) {
            return *cell;
        }
        if let Some(Some(cell)) = self.placed.get(name) {
            return *cell;
        }
        let by_address = || name.parse::<IpAddr>().ok().and_then(|a| self.assets.find(&a));
        let cell = match self.assets.named(name).or_else(by_address) {
            Some(asset) => asset.cell.clone(),
            None => self.assets.default_cell.clone(),
        };
        let cell = self.index_of(cell);
        if self.cell_of.len() >= NAMES_MAX {
            self.cell_of.clear();
        }
        self.cell_of.insert(name.to_string(), cell);
        cell
    }

    /// Where the cell with this name is; a new one is made.
    fn index_of(&mut self, name: String) -> usize {
        if let Some(index) = self.named.get(&name) {
            return *index;
        }
        let index = self.cells.len();
        let forbidden = !self.permitted.is_empty() && self.permitted.binary_search(&name).is_err();
        self.cells.push(Cell { name: name.clone(), forbidden, ..Cell::default() });
        self.named.insert(name, index);
        index
    }

    fn all_cells(&mut self) -> Vec<usize> {
        let mut names: Vec<String> = self.assets.assets().iter().map(|a| a.cell.clone()).collect();
        names.push(self.assets.default_cell.clone());
        names.extend(self.placed.values().flatten().map(|&cell| self.cells[cell].name.clone()));
        names.sort();
        names.dedup();
        if !self.permitted.is_empty() {
            names.retain(|name| self.permitted.binary_search(name).is_ok());
        }
        names.into_iter().map(|name| self.index_of(name)).collect()
    }

    /// As [`RowWriter::cell`] for some rows of one kind, of which the log has the first few already: how many.
    fn cell_of_many(
        &mut self,
        index: usize,
        kind: Kind,
        observed: Micros,
        rows: usize,
    ) -> Option<(&mut Cell, usize)> {
        // The last one is admitted as any row is; those before it are counted at once.
        let cell = &mut self.cells[index];
        let left_out = match cell.forbidden {
            true => {
                self.refused.0 += rows as u64 - 1;
                0
            }
            false => cell.reached.admit_many(&self.progress, &self.held, &cell.name, kind, rows - 1),
        };
        Some((self.cell(index, kind, observed)?, left_out))
    }

    /// The cell of a row, unless the row is in the log already or must not be written there.
    fn cell(&mut self, index: usize, kind: Kind, observed: Micros) -> Option<&mut Cell> {
        let cell = &mut self.cells[index];
        if cell.forbidden {
            self.refused.0 += 1;
            if self.refused.1.is_empty() {
                self.refused.1.clone_from(&cell.name);
            }
            return None;
        }
        if !cell.reached.admit(&self.progress, &self.held, &cell.name, kind) {
            return None;
        }
        if cell.last_sent == 0 {
            cell.last_sent = observed;
        }
        cell.observed = Some(match cell.observed {
            None => (observed, observed),
            Some((from, to)) => (from.min(observed), to.max(observed)),
        });
        Some(cell)
    }

    /// Says in the first permitted cell that rows of others came.
    fn tell_refused(&mut self, now: Micros) {
        let (count, cell) = std::mem::take(&mut self.refused);
        if count == 0 {
            return;
        }
        let Some(own) = self.permitted.first().cloned() else { return };
        let index = self.index_of(own);
        let at = if now == Micros::MAX { self.cells[index].last_sent } else { now };
        let detail = format!(
            "rows of cells that it may not write, as {cell}; `cells` of the collector says which it may"
        );
        let collector = self.collector.clone();
        self.progress.nowhere();
        if let Some(cell) = self.cell(index, Kind::Coverage, at) {
            cell.coverage.push(&CoverageRow {
                time: at,
                until: at,
                observed: at,
                event: coverage::DROP,
                subject: &collector,
                count,
                detail: &detail,
                ..Default::default()
            });
        }
    }

    /// Writes out what a cell holds, in an order in which each row finds what it needs before it:
    /// definitions and context first. Rows that change what others mean close what came before
    /// them (see [`RowSink::push`]), so this order never puts one before an earlier row.
    fn flush(&mut self, index: usize, promise: Micros) {
        let cell = &mut self.cells[index];
        let Some(observed) = cell.observed.take() else { return };
        cell.last_sent = observed.1;
        // A batch of nothing costs as much as one of something.
        macro_rules! rows_of {
            ($kind:expr, $builder:expr) => {
                (!$builder.is_empty()).then(|| ($kind, $builder.finish()))
            };
        }
        let batches: [Option<(Kind, RecordBatch)>; 9] = [
            rows_of!(Kind::Series, cell.series),
            rows_of!(Kind::Context, cell.context),
            rows_of!(Kind::Control, cell.control),
            rows_of!(Kind::Identity, cell.identity),
            rows_of!(Kind::Message, cell.message),
            rows_of!(Kind::Sample, cell.sample),
            rows_of!(Kind::Log, cell.log),
            rows_of!(Kind::Flow, cell.flow),
            rows_of!(Kind::Coverage, cell.coverage),
        ];
        let batches: Vec<(Kind, RecordBatch)> = batches.into_iter().flatten().collect();
        let mut row = cell.next_row;
        cell.next_row += batches.iter().map(|(_, rows)| rows.num_rows() as u64).sum::<u64>();
        for (nth, (kind, rows)) in batches.iter().enumerate() {
            let count = rows.num_rows();
            // Until the last of them is out, rows as early as these may follow.
            let whole = nth + 1 == batches.len();
            let promise = if whole { promise } else { observed.0.min(promise) };
            // Definitions come again with the rows that need them: they stand nowhere.
            let places = match *kind {
                Kind::Series if !whole => Vec::new(),
                _ => self.cells[index].reached.news(&self.progress, whole),
            };
            match codec::encode_arrow(rows) {
                Ok(value) => {
                    self.emit(index, *kind, row, count as u32, observed, promise, places, value.into());
                }
                Err(e) => self.failed = Some(e),
            }
            row += count as u64;
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the fields of one envelope")]
    fn emit(
        &mut self,
        cell: usize,
        kind: Kind,
        first_row: u64,
        rows: u32,
        observed: (Micros, Micros),
        promise: Micros,
        places: Vec<Place>,
        value: Bytes,
    ) {
        let cell = &self.cells[cell].name;
        let envelope = Envelope {
            kind,
            version: kind.version(),
            cell: cell.clone(),
            collector: self.collector.clone(),
            epoch: self.epoch,
            first_row,
            rows,
            observed,
            promise,
            encoding: Encoding::Arrow,
            origin: None,
            places,
        };
        self.ready.push(Record {
            key: Bytes::copy_from_slice(cell.as_bytes()),
            header: envelope.to_header().into(),
            value,
        });
    }

    /// Closes what a cell holds before a row that changes the meaning of those after it.
    fn close_before(&mut self, index: usize) {
        let cell = &self.cells[index];
        if cell.message.len() + cell.sample.len() + cell.log.len() > 0 {
            let from = cell.observed.map_or(0, |o| o.0);
            self.flush(index, from);
        }
    }

    fn close_if_full(&mut self, index: usize, rows: usize) {
        if rows >= BATCH_ROWS {
            let from = self.cells[index].observed.map_or(0, |o| o.0);
            self.flush(index, from);
        }
    }

    fn measured(&mut self, row: &MeasuredRow<'_>) -> Option<Handle> {
        let index = self.cell_for(row.tool);
        let cell = self.cell(index, Kind::Sample, row.observed)?;
        let (series, new) = cell.numbers.number([row.tool, row.chamber, row.signal]);
        if new {
            cell.series.push(&SeriesRow {
                series,
                tool: row.tool,
                chamber: row.chamber,
                signal: row.signal,
                unit: row.unit,
                class: row.class,
                source: row.source,
                ..Default::default()
            });
        }
        cell.sample.push(&SampleRow {
            series,
            time: row.time,
            value: row.value,
            quality: row.quality,
            ..Default::default()
        });
        let rows = cell.sample.len();
        self.close_if_full(index, rows);
        Some(Handle { cell: index as u32, series })
    }

    fn message(&mut self, row: &MessageRow<'_>) {
        let index = self.cell_for(row.tool);
        let Some(cell) = self.cell(index, Kind::Message, row.observed) else { return };
        cell.message.push(row);
        let rows = cell.message.len();
        self.close_if_full(index, rows);
    }

    fn flow(&mut self, row: &FlowRow<'_>) {
        let known = |a: &str| a.parse::<IpAddr>().ok().and_then(|a| self.assets.find(&a));
        let equipment = [row.server, row.client]
            .into_iter()
            .find(|a| known(a).is_some_and(|a| a.equipment))
            .unwrap_or(row.server);
        let index = self.cell_for(equipment);
        let Some(cell) = self.cell(index, Kind::Flow, row.observed) else { return };
        cell.flow.push(row);
        let rows = cell.flow.len();
        self.close_if_full(index, rows);
    }
}

impl RowSink for RowWriter {
    fn push(&mut self, row: Row<'_>) {
        match row {
            Row::Message(row) => self.message(row),
            Row::Measured(row) => drop(self.measured(row)),
            Row::Flow(row) => self.flow(row),
            Row::Identity(row) => {
                let index = self.cell_for(if row.tool.is_empty() { row.address } else { row.tool });
                let Some(cell) = self.cell(index, Kind::Identity, row.observed) else { return };
                cell.identity.push(row);
                let rows = cell.identity.len();
                self.close_if_full(index, rows);
            }
            Row::Log(row) => {
                let index = self.cell_for(row.tool);
                let Some(cell) = self.cell(index, Kind::Log, row.observed) else { return };
                cell.log.push(row);
                let rows = cell.log.len();
                self.close_if_full(index, rows);
            }
            Row::Context(row) => {
                let index = self.cell_for(row.tool);
                self.close_before(index);
                let Some(cell) = self.cell(index, Kind::Context, row.observed) else { return };
                cell.context.push(row);
                let rows = cell.context.len();
                self.close_if_full(index, rows);
            }
            Row::Coverage(row) => {
                self.blind.note(row);
                let index = self.cell_for(row.subject);
                let Some(cell) = self.cell(index, Kind::Coverage, row.observed) else { return };
                cell.coverage.push(row);
                let rows = cell.coverage.len();
                self.close_if_full(index, rows);
            }
            // What changes results holds in every cell.
            Row::Control(row) => {
                for index in self.all_cells() {
                    self.close_before(index);
                    if let Some(cell) = self.cell(index, Kind::Control, row.observed) {
                        cell.control.push(row);
                    }
                }
            }
        }
    }
}

impl PlacedSink for RowWriter {
    fn at(&mut self, stream: &str, position: u64) {
        self.progress.at(stream, position, &self.held);
    }

    fn nowhere(&mut self) {
        self.progress.nowhere();
    }

    fn place_tool(&mut self, tool: &str, cell: &str) {
        if self.placed.contains_key(tool) || self.placed.len() >= PLACED_MAX {
            return;
        }
        let known = self.assets.named(tool).is_some();
        if known || (self.named.len() >= PLACED_CELLS_MAX && !self.named.contains_key(cell)) {
            self.placed.insert(tool.to_string(), None);
            return;
        }
        let index = self.index_of(cell.to_string());
        self.placed.insert(tool.to_string(), Some(index));
        // It may have been somewhere else so far.
        if self.cell_of.remove(tool).is_some_and(|before| before != index) {
            self.handles.clear();
        }
        self.last.1 = usize::MAX;
    }

    fn introduce(&mut self, of: SeriesOf, row: &MeasuredRow<'_>) {
        // Nobody defined the series of a row that is in the log already.
        if let Some(handle) = self.measured(row) {
            self.handles.set(of, handle);
        }
    }

    #[inline]
    fn sample(&mut self, of: SeriesOf, reading: Reading, value: f64) -> bool {
        let Some(Handle { cell: index, series }) = self.handles.get(of) else { return false };
        let index = index as usize;
        let Some(cell) = self.cell(index, Kind::Sample, reading.observed) else { return true };
        let Reading { time, quality, .. } = reading;
        cell.sample.push(&SampleRow { series, time, value, quality, ..Default::default() });
        let rows = cell.sample.len();
        self.close_if_full(index, rows);
        true
    }

    fn samples(&mut self, of: SeriesOf, reading: Reading, times: &[Micros], values: &[f64]) -> bool {
        let Some(Handle { cell: index, series }) = self.handles.get(of) else { return false };
        let (index, count) = (index as usize, times.len().min(values.len()));
        let mut done = 0;
        while done < count {
            let room = BATCH_ROWS - self.cells[index].sample.len().min(BATCH_ROWS - 1);
            let upto = count.min(done + room);
            if let Some((cell, left_out)) =
                self.cell_of_many(index, Kind::Sample, reading.observed, upto - done)
            {
                let new = done + left_out..upto;
                cell.sample.extend(series, reading.quality, &times[new.clone()], &values[new]);
                let rows = cell.sample.len();
                self.close_if_full(index, rows);
            }
            done = upto;
        }
        true
    }
}

#[cfg(test)]
mod tests;
