//! Parquet files, block by block.
//!
//! A file is a stream from the moment that it is whole: its length and checksums of its beginning and its end,
//! where Parquet's own index stands, make the name. Positions are row numbers of blocks, which have as many rows as
//! the number of columns allows. In the wide form a block is put out column by column.

use std::collections::BTreeMap;
use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::Duration;

use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, TimeUnit, TimestampMicrosecondType};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use serde_json::{Map, Value};
use yagura_event::clock::{self, Micros, SECOND};
use yagura_event::vocabulary::coverage;

use super::{Form, Long, WideForm, stem};
use crate::complaints::Complaints;
use crate::places::{PlacedSink, Places};
use crate::reports::Reports;
use crate::source::{LiveSource, Seen, SourceError};
use crate::tail::order::matching;
use crate::tail::{FILES_MAX, Options};
use crate::times;

/// Values of a block, and the most rows of one.
const BLOCK_VALUES: usize = 1 << 18;
const BLOCK_ROWS_MAX: usize = 8192;

/// Bytes of a file's beginning and end that tell it from others.
const ENDS_BYTES: u64 = 4 << 10;

/// Files whose copies are known as such.
const READ_MAX: usize = 1 << 16;

/// A file that is not whole is waited for while it was written within this time.
const WRITTEN_WAIT: Micros = 10 * SECOND;

/// Parquet files that match patterns.
pub(super) struct ParquetFiles {
    collector: String,
    options: Options,
    form: Form,
    places: Places,
    /// What was done with each file, by device and inode; with length and time of writing then.
    done: BTreeMap<(u64, u64), (u64, i64, i64)>,
    /// Streams that were read.
    read: BTreeMap<String, PathBuf>,
    waiting: Vec<(PathBuf, Metadata)>,
    current: Option<Reading>,
    looked: Option<Micros>,
    now: Micros,
    reports: Reports,
    complaints: Complaints,
    began: bool,
    ended: bool,
    dropped: u64,
    /// Texts of a row in the long form, and what a block's columns are converted to in the wide one.
    object: Map<String, Value>,
    times: Vec<Micros>,
    values: Vec<f64>,
}

/// A file that is read.
struct Reading {
    path: PathBuf,
    stream: String,
    columns: Vec<String>,
    reader: ParquetRecordBatchReader,
    /// The row that the next block begins with.
    row: u64,
    rows: u64,
    /// In the wide form: places of the time, of what names the tool, and of the signals.
    plan: (usize, Vec<usize>, Vec<usize>),
    /// The signals' numbers, for tool and chamber as they were last.
    numbers: Vec<u32>,
    named: Option<[String; 2]>,
}

impl ParquetFiles {
    pub(super) fn new(collector: &str, options: Options, form: Form) -> Self {
        let reports = Reports::new(&options.patterns.join(", "), options.silence);
        ParquetFiles {
            collector: collector.into(),
            options,
            form,
            places: Places::default(),
            done: BTreeMap::new(),
            read: BTreeMap::new(),
            waiting: Vec::new(),
            current: None,
            looked: None,
            now: 0,
            reports,
            complaints: Complaints::default(),
            began: false,
            ended: false,
            dropped: 0,
            object: Map::new(),
            times: Vec::new(),
            values: Vec::new(),
        }
    }

    fn look_if_due(&mut self, out: &mut dyn PlacedSink) {
        let steady = clock::steady();
        let poll = self.options.poll.as_micros() as Micros;
        if self.looked.is_some_and(|looked| steady - looked < poll || self.options.once) {
            return;
        }
        self.looked = Some(steady);
        let (found, _) = matching(&self.options.patterns, FILES_MAX);
        if found.is_empty() {
            out.nowhere();
            self.reports.down(self.now, "no file matches", out);
        } else if !self.began || self.reports.is_down() {
            out.nowhere();
            self.reports.up(self.now, &format!("{} files match", found.len()), out);
        }
        self.began = true;
        let there: Vec<(u64, u64)> = found.iter().map(|(_, about)| (about.dev(), about.ino())).collect();
        self.done.retain(|inode, _| there.contains(inode));
        let done = |about: &Metadata| self.done.get(&(about.dev(), about.ino())) == Some(&written(about));
        // The last is taken first.
        self.waiting = found.into_iter().rev().filter(|(_, about)| !done(about)).collect();
    }

    /// Opens the next file that is whole.
    fn next_file(&mut self, out: &mut dyn PlacedSink) {
        while self.current.is_none()
            && let Some((path, about)) = self.waiting.pop()
        {
            let opened = guarded(|| open(&path, &self.form, &self.places));
            let problem = match opened {
                Ok(Opened::Reading(reading)) => {
                    if let Some(other) = self.read.get(&reading.stream)
                        && *other != path
                    {
                        // Renamed or copied: its rows are there.
                        tracing::info!(file = %path.display(), "holds what was read from {}", other.display());
                        self.done.insert((about.dev(), about.ino()), written(&about));
                        continue;
                    }
                    tell(
                        &path,
                        coverage::START,
                        &format!("is read from row {} on", reading.row),
                        self.now,
                        out,
                    );
                    if self.read.len() >= READ_MAX {
                        self.read.clear();
                    }
                    self.read.insert(reading.stream.clone(), path.clone());
                    self.current = Some(*reading);
                    None
                }
                Ok(Opened::Unfinished) => {
                    let age = self.now - about.mtime() * SECOND - about.mtime_nsec() / 1000;
                    if age < WRITTEN_WAIT && !self.options.once {
                        continue;
                    }
                    Some("is no whole Parquet file: its end has no index".to_string())
                }
                Err(problem) => Some(problem),
            };
            self.done.insert((about.dev(), about.ino()), written(&about));
            if let Some(problem) = problem {
                self.dropped += 1;
                tell(&path, coverage::MALFORMED, &problem, self.now, out);
            }
        }
    }

    /// Puts out a block of the file that is read; `false` when there is none.
    fn read_block(&mut self, out: &mut dyn PlacedSink) -> bool {
        let Some(reading) = &mut self.current else { return false };
        let block = guarded(|| reading.reader.next().transpose().map_err(|e| e.to_string()));
        let batch = match block {
            Ok(Some(batch)) => batch,
            Ok(None) => {
                self.current = None;
                return true;
            }
            Err(problem) => {
                let detail = format!("is damaged at row {} of {}: {problem}", reading.row, reading.rows);
                tell(&reading.path, coverage::CORRUPT, &detail, self.now, out);
                self.dropped += reading.rows.saturating_sub(reading.row);
                self.current = None;
                return true;
            }
        };
        self.reports.heard(self.now);
        out.at(&reading.stream, reading.row);
        let read = match &mut self.form {
            Form::Wide(wide) => {
                wide_block(wide, reading, &batch, self.now, (&mut self.times, &mut self.values), out)
            }
            Form::Long(long) => {
                let complaints = &self.complaints;
                long_block(long, reading, &batch, self.now, &mut self.object, complaints, out)
            }
        };
        if let Err((rows, reason)) = read {
            self.dropped += rows;
            tell(
                &reading.path,
                coverage::MALFORMED,
                &format!("row {}: {reason}", reading.row),
                self.now,
                out,
            );
        }
        reading.row += batch.num_rows() as u64;
        true
    }
}

enum Opened {
    Reading(Box<Reading>),
    /// Somebody may be writing it.
    Unfinished,
}

/// Opens a file and looks what it has.
fn open(path: &std::path::Path, form: &Form, places: &Places) -> Result<Opened, String> {
    let unreadable = |e: std::io::Error| format!("cannot be read: {e}");
    let file = File::open(path).map_err(unreadable)?;
    let length = file.metadata().map_err(unreadable)?.len();
    let ends = ENDS_BYTES.min(length);
    let (mut first, mut last) = (vec![0; ends as usize], vec![0; ends as usize]);
    file.read_exact_at(&mut first, 0).map_err(unreadable)?;
    file.read_exact_at(&mut last, length - ends).map_err(unreadable)?;
    if length < 12 || !last.ends_with(b"PAR1") {
        return Ok(Opened::Unfinished);
    }
    let stream = format!("parquet:{length}:{:08x}:{:08x}", crc32c::crc32c(&first), crc32c::crc32c(&last));
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(|e| e.to_string())?;
    let all: Vec<String> = builder.schema().fields().iter().map(|field| field.name().clone()).collect();
    let wanted: Vec<usize> = match form {
        Form::Long(long) => {
            long.check(&all)?;
            (0..all.len()).collect()
        }
        Form::Wide(wide) => {
            let (time, naming, signals) = wide.plan(&all)?;
            let is_number = |at: &usize| builder.schema().field(*at).data_type().is_numeric();
            let mut wanted: Vec<usize> = signals.into_iter().filter(is_number).collect();
            wanted.extend(naming);
            wanted.push(time);
            wanted.sort_unstable();
            wanted.dedup();
            wanted
        }
    };
    let columns: Vec<String> = wanted.iter().map(|at| all[*at].clone()).collect();
    let plan = match form {
        Form::Wide(wide) => wide.plan(&columns)?,
        Form::Long(_) => Default::default(),
    };
    let block = (BLOCK_VALUES / columns.len().max(1)).clamp(64, BLOCK_ROWS_MAX);
    let row = places.of(&stream).unwrap_or(0);
    let rows = builder.metadata().file_metadata().num_rows().max(0) as u64;
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
    let builder = builder.with_projection(mask).with_batch_size(block).with_offset(row as usize);
    let reader = builder.build().map_err(|e| e.to_string())?;
    let path = path.to_path_buf();
    let (numbers, named) = (Vec::new(), None);
    Ok(Opened::Reading(Box::new(Reading { path, stream, columns, reader, row, rows, plan, numbers, named })))
}

/// Puts out a block column by column, in stretches in which tool and chamber are the same. An error says how many
/// rows were left out and why.
fn wide_block(
    wide: &mut WideForm,
    reading: &mut Reading,
    batch: &RecordBatch,
    now: Micros,
    (times, values): (&mut Vec<Micros>, &mut Vec<f64>),
    out: &mut dyn PlacedSink,
) -> Result<(), (u64, String)> {
    let rows = batch.num_rows();
    let all = |problem: String| (rows as u64, problem);
    let (time, naming, signals) = &reading.plan;
    let at = times_of(batch.column(*time)).map_err(all)?;
    let at = at.as_primitive::<TimestampMicrosecondType>();
    let as_number =
        |place: &usize| cast(batch.column(*place), &DataType::Float64).map_err(|e| all(e.to_string()));
    let columns: Vec<ArrayRef> = signals.iter().map(as_number).collect::<Result<_, _>>()?;
    let as_text = |place: &usize| cast(batch.column(*place), &DataType::Utf8).map_err(|e| all(e.to_string()));
    let texts: Vec<ArrayRef> = naming.iter().map(as_text).collect::<Result<_, _>>()?;
    let text = |nth: usize, row: usize| {
        let column = texts[nth].as_string::<i32>();
        if column.is_valid(row) { column.value(row) } else { "" }
    };
    let mut from = 0;
    while from < rows {
        let is_same = |row: &usize| (0..texts.len()).all(|nth| text(nth, *row) == text(nth, from));
        let until =
            if texts.is_empty() { rows } else { (from..rows).find(|row| !is_same(row)).unwrap_or(rows) };
        let place_of = |field: &str| naming.iter().position(|place| reading.columns[*place] == field);
        let value = |field: &str| place_of(field).map(|nth| text(nth, from).to_string()).unwrap_or_default();
        let names = wide.names(&stem(&reading.path), value);
        if reading.named.as_ref() != Some(&names) {
            reading.numbers = signals.iter().map(|at| wide.number(&names, &reading.columns[*at])).collect();
            reading.named = Some(names);
        }
        for (number, column) in reading.numbers.iter().zip(&columns) {
            let column = column.as_primitive::<Float64Type>();
            if at.null_count() == 0 && column.null_count() == 0 {
                let (times, values) = (&at.values()[from..until], &column.values()[from..until]);
                wide.signals.values(*number, (now, 0), times, values, out);
                continue;
            }
            times.clear();
            values.clear();
            for row in (from..until).filter(|row| at.is_valid(*row) && column.is_valid(*row)) {
                times.push(at.value(row));
                values.push(column.value(row));
            }
            wide.signals.values(*number, (now, 0), times, values, out);
        }
        from = until;
    }
    match at.null_count() {
        0 => Ok(()),
        without => {
            Err((without as u64, format!("{without} rows of the block have no time that can be read")))
        }
    }
}

/// Puts out a block row by row.
fn long_block(
    long: &mut Long,
    reading: &Reading,
    batch: &RecordBatch,
    now: Micros,
    object: &mut Map<String, Value>,
    complaints: &Complaints,
    out: &mut dyn PlacedSink,
) -> Result<(), (u64, String)> {
    let all = |problem: String| (batch.num_rows() as u64, problem);
    let mut columns = Vec::new();
    for (place, name) in reading.columns.iter().enumerate() {
        let column = batch.column(place);
        let column = match *name == long.time {
            true => {
                cast(&times_of(column).map_err(all)?, &DataType::Int64).map_err(|e| all(e.to_string()))?
            }
            false => column.clone(),
        };
        columns.push(cast(&column, &DataType::Utf8).map_err(|e| all(e.to_string()))?);
    }
    let columns: Vec<_> = columns.iter().map(|column| column.as_string::<i32>()).collect();
    for row in 0..batch.num_rows() {
        for (name, column) in reading.columns.iter().zip(&columns) {
            let text = if column.is_valid(row) { column.value(row) } else { "" };
            match object.get_mut(name) {
                Some(Value::String(place)) => {
                    place.clear();
                    place.push_str(text);
                }
                _ => drop(object.insert(name.clone(), Value::from(text))),
            }
        }
        match long.mapper.time(object).and_then(|time| time.ok_or_else(|| "has no time".into())) {
            Ok(time) => long.mapper.emit(object, time, Some(now), &mut long.signals.naming(out)),
            Err(reason) => {
                let path = reading.path.display().to_string();
                complaints.add(&path, || format!("row {}: {reason}", reading.row + row as u64));
            }
        }
    }
    Ok(())
}

/// A column of times: timestamps of any unit, numbers since 1970 or texts.
fn times_of(column: &ArrayRef) -> Result<ArrayRef, String> {
    let micros = DataType::Timestamp(TimeUnit::Microsecond, None);
    match column.data_type() {
        DataType::Timestamp(..) | DataType::Date32 | DataType::Date64 => {
            let plain = cast(column, &micros).map_err(|e| e.to_string())?;
            Ok(plain)
        }
        DataType::Float32 | DataType::Float64 => {
            let numbers = cast(column, &DataType::Float64).map_err(|e| e.to_string())?;
            let numbers = numbers.as_primitive::<Float64Type>();
            Ok(std::sync::Arc::new(numbers.unary_opt::<_, TimestampMicrosecondType>(times::seconds)))
        }
        kind if kind.is_integer() => {
            let numbers = cast(column, &DataType::Int64).map_err(|e| e.to_string())?;
            let numbers = numbers.as_primitive::<Int64Type>();
            Ok(std::sync::Arc::new(numbers.unary_opt::<_, TimestampMicrosecondType>(times::since_1970)))
        }
        _ => {
            let texts = cast(column, &DataType::Utf8).map_err(|e| e.to_string())?;
            let read = texts.as_string::<i32>().iter().map(|text| text.and_then(times::read));
            Ok(std::sync::Arc::new(arrow::array::TimestampMicrosecondArray::from_iter(read)))
        }
    }
}

/// Runs what reads a file: a damaged one must not end the collector.
fn guarded<T>(read: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(read)).unwrap_or_else(|_| Err("its structure contradicts itself".into()))
}

fn written(about: &Metadata) -> (u64, i64, i64) {
    (about.len(), about.mtime(), about.mtime_nsec())
}

fn tell(path: &std::path::Path, event: &str, detail: &str, now: Micros, out: &mut dyn PlacedSink) {
    out.nowhere();
    Reports::new(&path.display().to_string(), None).say(event, (now, now), now, 1, detail, out);
}

impl LiveSource for ParquetFiles {
    fn collector(&self) -> &str {
        &self.collector
    }

    fn batch(&self) -> Micros {
        self.options.batch
    }

    fn placed(&self) -> bool {
        true
    }

    fn begin(&mut self, places: &Places, _notes: &Path) -> Result<(), SourceError> {
        self.places = places.clone();
        Ok(())
    }

    fn advance(&mut self, wait: Duration, out: &mut dyn PlacedSink) -> Micros {
        self.now = self.now.max(clock::now());
        if self.ended {
            std::thread::park_timeout(wait);
            return self.now;
        }
        if self.current.is_none() {
            self.look_if_due(out);
            self.next_file(out);
        }
        if self.read_block(out) {
            return self.now;
        }
        self.complaints.tell(&self.collector, self.now, out);
        self.reports.look(self.now, out);
        self.form.signals().report(self.now, out);
        if self.options.once {
            self.finish(out);
            self.ended = true;
        } else {
            std::thread::park_timeout(wait.min(self.options.poll));
        }
        self.now
    }

    fn finish(&mut self, out: &mut dyn PlacedSink) {
        if self.ended {
            return;
        }
        self.complaints.finish(&self.collector, self.now, out);
        out.nowhere();
        let whole = if self.options.once {
            "everything that was there is read"
        } else {
            "it is not followed any more"
        };
        self.reports.stop(self.now, whole, out);
    }

    fn seen(&self) -> Seen {
        Seen { dropped: self.dropped + self.complaints.malformed(), ..Seen::default() }
    }
}
