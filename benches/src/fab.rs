//! A fab's load for the log: cells that sample, talk, and now and then do what the pack alerts on.
//!
//! Times are of the load's own clock, which begins where a window of five minutes is about to close: so
//! nothing that waits in the pack waits for longer than a run.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use bytes::Bytes;
use yagura_detect::{Pipeline, Shelf};
use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::{ControlBuilder, ControlRow, MessageBuilder, MessageRow, SampleBuilder, SampleRow};
use yagura_event::{Encoding, Envelope, Kind, codec};
use yagura_log::Record;
use yagura_scene::load::{LoadBatch, LoadOptions, load, series_names};
use yagura_sql::SqlCompiler;

use crate::common;

/// Cells.
pub const CELLS: usize = 100;
/// Series of a cell.
pub const SERIES: usize = 200;
/// Samples a second over all cells.
pub const SAMPLES_A_SECOND: u64 = 1_000_000;
/// Rows of a record of messages.
const MESSAGE_ROWS: usize = 20;
/// From one record of messages of a cell to its next.
const MESSAGES_EVERY: Micros = 200_000;
/// Tools, controllers and servers of each kind in a cell.
const MACHINES: usize = 10;
/// Between two rows that an operator objects to, of each operator.
const EVENT_EVERY: Micros = 25_000;
/// Samples that a series is off.
const OFF_SAMPLES: u32 = 4;
/// Samples of a series before the approval.
const LEARNED: usize = 100;
/// When the load begins: 20 s before a multiple of five minutes.
const BEGIN: Micros = 1_767_225_600 * SECOND - 20 * SECOND;
const MINUTE: Micros = 60 * SECOND;

/// The detections that ship, as `yagura run` has them without a setting.
pub fn pack() -> Result<Arc<Pipeline>> {
    const FILES: &[&str] = &[
        "fab/secs",
        "fab/recipe",
        "fab/facility",
        "fab/equipment",
        "fab/data-quality",
        "ot/access",
        "ot/controller",
        "ot/misuse",
        "ot/plant",
        "ot/scan",
    ];
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../pipelines");
    let files: Vec<PathBuf> = FILES.iter().map(|name| folder.join(format!("{name}.yaml"))).collect();
    Shelf::new(SqlCompiler::default()).load(&files).map_err(|errors| anyhow!("{}", errors[0]))
}

/// One record with what is needed to find it again.
pub struct Loaded {
    /// The cell's number.
    pub cell: usize,
    /// The number of its last row and one.
    pub end_row: u64,
    /// When it is due, in the load's time, which its collector promises, too.
    pub due: Micros,
    /// The record.
    pub record: Record,
}

/// How many rows an operator has to object to, by detection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Events {
    /// `controller-stopped`, a match.
    pub stopped: u64,
    /// `controller-writer-not-listed`, a known.
    pub written: u64,
    /// `signal-drift`, a model.
    pub drifted: u64,
    /// `refused-logins`, a window that slides.
    pub refused: u64,
}

/// The fab.
pub struct Fab {
    samples: Vec<LoadBatch>,
    batch_rows: usize,
    cells: Vec<Cell>,
    /// Batches of samples and records of messages so far.
    batches: u64,
    talks: u64,
    next_off: Micros,
    next_stop: Micros,
    next_refusal: Micros,
    /// What there was so far.
    pub events: Events,
    sampling: SampleBuilder,
    talking: MessageBuilder,
}

struct Cell {
    name: String,
    collector: String,
    row: u64,
    /// Series that are off, with how many samples they will be; the others were or will be.
    off: Vec<(u32, u32)>,
    turned_off: u32,
}

impl Fab {
    /// Samples come in batches of so many rows.
    pub fn new(batch_rows: usize) -> Fab {
        let options = LoadOptions {
            samples: 2_000_000,
            series: SERIES as u32,
            batch_rows,
            hertz: (SAMPLES_A_SECOND as usize / CELLS / SERIES) as f64,
            start: 0,
            seed: 1,
        };
        let cell = |number: usize| Cell {
            name: format!("cell-{number:02}"),
            collector: format!("collector-{number:02}"),
            row: 0,
            off: Vec::new(),
            turned_off: 0,
        };
        Fab {
            samples: load(options).filter(|batch| batch.series.len() == batch_rows).collect(),
            batch_rows,
            cells: (0..CELLS).map(cell).collect(),
            batches: 0,
            talks: 0,
            next_off: SECOND,
            next_stop: SECOND,
            next_refusal: SECOND,
            events: Events::default(),
            sampling: SampleBuilder::default(),
            talking: MessageBuilder::default(),
        }
    }

    /// The name of a cell.
    pub fn cell(&self, number: usize) -> &str {
        &self.cells[number].name
    }

    /// The rows of a cell so far.
    pub fn rows(&self, cell: usize) -> u64 {
        self.cells[cell].row
    }

    /// What was before: names, all that is learned from, the approval, and the beginnings of what is over
    /// within the first `seconds`: controllers that stay stopped, alarms that stay off, tools that fall
    /// silent, servers that answer slowly. One of each for every cell and machine.
    pub fn history(&mut self, seconds: u64) -> Result<Vec<Record>> {
        let mut out = Vec::new();
        for cell in 0..CELLS {
            self.learn(cell, &mut out)?;
            let over = |machine: usize| {
                let step = seconds as i64 * SECOND / (MACHINES * CELLS) as i64;
                step * (machine * CELLS + cell * 37 % CELLS) as i64
            };
            for machine in 0..MACHINES {
                let tool = format!("TOOL-{cell:02}-{machine}");
                let last = self.talk(cell, over(machine) - 30 * MINUTE, |rows, row| {
                    report(rows, row, &tool);
                    rows.push(&MessageRow {
                        protocol: "hsms",
                        operation: "configure",
                        function: "S5F3",
                        tool: &tool,
                        client: "10.20.1.11",
                        client_area: "fab-system",
                        target: "1004",
                        status: "ok",
                        detail: r#"{"enable":false}"#,
                        ..*row
                    });
                })?;
                out.push(last);
            }
            for machine in 0..MACHINES {
                let stopped = self.talk(cell, over(machine) - 10 * MINUTE, |rows, row| {
                    stop(rows, row, "10.20.1.40", &format!("PLC-{cell:02}-{machine}"));
                })?;
                out.push(stopped);
            }
            let slow = self.talk(cell, -40 * SECOND, |rows, row| {
                for machine in 0..MACHINES * 25 {
                    read(rows, row, &format!("10.20.4.{}", machine % MACHINES), 1_500_000);
                }
            })?;
            out.push(slow);
        }
        Ok(out)
    }

    fn learn(&mut self, cell: usize, out: &mut Vec<Record>) -> Result<()> {
        let all = series_names(((cell + 1) * SERIES) as u32);
        let names = common::definitions(0, &all[cell * SERIES..]);
        out.push(self.put(cell, Kind::Series, names, -180 * MINUTE, 0)?.record);
        for time in (0..8).map(|n| (20 * n - 180) * MINUTE) {
            out.push(self.talk(cell, time, |rows, row| {
                for machine in 0..MACHINES {
                    report(rows, row, &format!("TOOL-{cell:02}-{machine}"));
                }
                write(rows, row, "10.20.1.11", "10.20.3.1");
            })?);
        }
        let time = |n: usize| -2_000 * SECOND + n as i64 * 100;
        for first in (0..LEARNED * SERIES).step_by(1_000) {
            let mut samples = SampleBuilder::default();
            for n in first..first + 1_000 {
                let batch = &self.samples[n / self.batch_rows];
                let at = n % self.batch_rows;
                // Each as often as the others.
                let series = n % SERIES;
                let level = batch.value[at] - f64::from(batch.series[at] % 50) + (series % 50) as f64;
                let row =
                    SampleRow { series: series as u32, time: time(n), value: level, ..SampleRow::default() };
                samples.push(&SampleRow { time: BEGIN + row.time, ..row });
            }
            out.push(self.put(cell, Kind::Sample, samples.finish(), time(first + 1_000), 100_000)?.record);
        }
        let mut approval = ControlBuilder::default();
        let at = -1_900 * SECOND;
        approval.push(&ControlRow {
            time: BEGIN + at,
            observed: BEGIN + at,
            action: "approve",
            subject: "*",
            ..ControlRow::default()
        });
        out.push(self.put(cell, Kind::Control, approval.finish(), at, 0)?.record);
        Ok(())
    }

    /// A record of messages at a time.
    fn talk(
        &mut self,
        cell: usize,
        due: Micros,
        fill: impl FnOnce(&mut MessageBuilder, &MessageRow<'_>),
    ) -> Result<Record> {
        let mut rows = MessageBuilder::default();
        fill(&mut rows, &message(due));
        Ok(self.put(cell, Kind::Message, rows.finish(), due, 0)?.record)
    }

    /// When the next record is due, in microseconds from the beginning.
    pub fn next_due(&self) -> Micros {
        self.samples_due().min(self.talk_due())
    }

    fn samples_due(&self) -> Micros {
        ((self.batches + 1) * self.batch_rows as u64 * 1_000_000 / SAMPLES_A_SECOND) as Micros
    }

    fn talk_due(&self) -> Micros {
        (self.talks + 1) as Micros * MESSAGES_EVERY / CELLS as Micros
    }

    /// The next record.
    pub fn next_record(&mut self) -> Result<Loaded> {
        if self.samples_due() <= self.talk_due() { self.next_samples() } else { self.next_messages() }
    }

    fn next_samples(&mut self) -> Result<Loaded> {
        let due = self.samples_due();
        let number = self.batches as usize;
        self.batches += 1;
        let cell = &mut self.cells[number % CELLS];
        if due >= self.next_off && (cell.turned_off as usize) < SERIES {
            self.next_off += EVENT_EVERY;
            cell.off.push((cell.turned_off, OFF_SAMPLES));
            // Every fifth is a position, which the pack's guard does not look at.
            cell.turned_off += if cell.turned_off % 5 == 3 { 2 } else { 1 };
        }
        let batch = &self.samples[number * 7 % self.samples.len()];
        let span = (self.batch_rows * CELLS) as i64 * SECOND / SAMPLES_A_SECOND as i64;
        let step = span / self.batch_rows as i64;
        for (row, (&series, &value)) in batch.series.iter().zip(&batch.value).enumerate() {
            let mut value = value;
            if let Some(at) = cell.off.iter().position(|off| off.0 == series) {
                value += 100.0;
                let left = &mut cell.off[at].1;
                *left -= 1;
                // The third sample out of range is the hit.
                self.events.drifted += u64::from(*left == OFF_SAMPLES - 3);
                if *left == 0 {
                    cell.off.swap_remove(at);
                }
            }
            let time = BEGIN + due - span + step * row as i64;
            self.sampling.push(&SampleRow { series, time, value, ..SampleRow::default() });
        }
        let rows = self.sampling.finish();
        self.put(number % CELLS, Kind::Sample, rows, due, span)
    }

    fn next_messages(&mut self) -> Result<Loaded> {
        let due = self.talk_due();
        let number = self.talks as usize;
        self.talks += 1;
        let row = &message(due);
        let rows = &mut self.talking;
        for n in 0..MESSAGE_ROWS {
            match n % 10 {
                0 => report(rows, row, "TOOL-R"),
                1 => write(rows, row, "10.20.1.11", "10.20.3.1"),
                _ => read(rows, row, &format!("10.20.3.{}", n % MACHINES), 4_000),
            }
        }
        if due >= self.next_stop {
            self.next_stop += EVENT_EVERY;
            let client = format!("10.99.{}.{}", number / 250, number % 250);
            stop(rows, row, &client, &format!("PLC-S-{number}"));
            write(rows, row, &client, "10.20.3.1");
            self.events.stopped += 1;
            self.events.written += 1;
        }
        if due >= self.next_refusal {
            self.next_refusal += 8 * EVENT_EVERY;
            self.events.refused += 1;
            let client = format!("10.98.{}.{}", number / 250, number % 250);
            for _ in 0..20 {
                rows.push(&MessageRow {
                    protocol: "ssh",
                    operation: "authenticate",
                    function: "password",
                    client: &client,
                    server: "10.20.1.30",
                    status: "denied",
                    ..*row
                });
            }
        }
        let rows = self.talking.finish();
        self.put(number % CELLS, Kind::Message, rows, due, 0)
    }

    fn put(
        &mut self,
        number: usize,
        kind: Kind,
        rows: arrow::array::RecordBatch,
        due: Micros,
        span: Micros,
    ) -> Result<Loaded> {
        let cell = &mut self.cells[number];
        let envelope = Envelope {
            kind,
            version: kind.version(),
            cell: cell.name.clone(),
            collector: cell.collector.clone(),
            epoch: 1,
            first_row: cell.row,
            rows: rows.num_rows() as u32,
            observed: (BEGIN + due - span, BEGIN + due),
            promise: BEGIN + due,
            encoding: Encoding::Arrow,
            origin: None,
            places: Vec::new(),
        };
        cell.row = envelope.end_row();
        let record = Record {
            key: Bytes::copy_from_slice(cell.name.as_bytes()),
            header: envelope.to_header().into(),
            value: codec::encode_arrow(&rows)?.into(),
        };
        Ok(Loaded { cell: number, end_row: cell.row, due, record })
    }
}

/// In the load's own time, what a record says.
pub fn since_begin(time: Micros) -> Micros {
    time - BEGIN
}

/// When a five-minute window of the load is over, in the load's own time.
pub fn window_end(time: Micros) -> Micros {
    (time.div_euclid(5 * MINUTE) + 1) * 5 * MINUTE
}

fn message(due: Micros) -> MessageRow<'static> {
    let time = BEGIN + due;
    MessageRow {
        time,
        observed: time,
        client_area: "fab",
        server_area: "fab",
        exchange: "pair",
        ..MessageRow::default()
    }
}

fn report(rows: &mut MessageBuilder, row: &MessageRow<'_>, tool: &str) {
    rows.push(&MessageRow {
        protocol: "hsms",
        operation: "report",
        function: "S6F11",
        tool,
        client: "10.20.1.11",
        client_area: "fab-system",
        server: "10.20.4.7",
        target: "CEID 31",
        status: "ok",
        ..*row
    });
}

fn read(rows: &mut MessageBuilder, row: &MessageRow<'_>, server: &str, latency_us: i64) {
    rows.push(&MessageRow {
        protocol: "modbus",
        operation: "read",
        function: "read_holding_registers",
        tool: server,
        client: "10.20.1.11",
        server,
        server_port: 502,
        target: "holding 40001",
        count: 8,
        status: "ok",
        latency_us: Some(latency_us),
        ..*row
    });
}

fn write(rows: &mut MessageBuilder, row: &MessageRow<'_>, client: &str, server: &str) {
    rows.push(&MessageRow {
        protocol: "modbus",
        operation: "write",
        function: "write_single_register",
        tool: "GC-21",
        client,
        server,
        server_port: 502,
        target: "holding 40005",
        value: Some(12.5),
        count: 1,
        status: "ok",
        latency_us: Some(5_000),
        ..*row
    });
}

fn stop(rows: &mut MessageBuilder, row: &MessageRow<'_>, client: &str, tool: &str) {
    rows.push(&MessageRow {
        protocol: "s7comm",
        operation: "diagnose",
        function: "plc_stop",
        tool,
        client,
        server: "10.20.3.33",
        status: "ok",
        ..*row
    });
}
