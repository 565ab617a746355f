//! Captures as rows, repeated over hours, as records.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use yagura_capture::{Engine, EngineOptions, Limits, PacketFile};
use yagura_dissect::Settings;
use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::{FlowBuilder, FlowRow, MessageBuilder, MessageRow, OwnedRow};
use yagura_event::{AssetTable, Kind};
use yagura_log::Record;

use crate::common;

/// A message or a connection, as far as detections of plant traffic look at it.
#[derive(Clone, Default)]
pub struct Row {
    /// Whether it is a connection.
    pub flow: bool,
    /// When, in microseconds since its capture's first row.
    pub time: Micros,
    /// How much later its row was complete.
    pub late: Micros,
    /// Whether it belongs to a labelled attack.
    pub attack: bool,
    pub protocol: String,
    pub operation: String,
    pub function: String,
    pub target: String,
    pub client: String,
    pub server: String,
    pub session: String,
    pub values: String,
    pub value: Option<f64>,
    pub status: String,
    pub status_code: String,
    pub latency_us: Option<i64>,
    pub transport: String,
    pub customary: String,
    pub ports: (u16, u16),
    pub packets: (u64, u64),
}

/// The folder of captures.
pub fn captures() -> PathBuf {
    let shared = std::env::var_os("YAGURA_SHARED").map_or_else(|| PathBuf::from("../shared"), PathBuf::from);
    shared.join("captures")
}

/// The rows of a capture, in the order of their time; `attacks` are the times of packets of attacks.
pub fn read(file: &Path, attacks: &HashSet<Micros>) -> Result<Vec<Row>> {
    let mut engine = Engine::new(EngineOptions {
        assets: Arc::new(AssetTable::default()),
        settings: Arc::new(Settings::default()),
        limits: Limits::default(),
    });
    let mut owned: Vec<OwnedRow> = Vec::new();
    for_each_packet(file, |packet| engine.packet(packet, &mut owned))?;
    engine.finish(&mut owned);
    let mut rows: Vec<Row> = owned.iter().filter_map(row).collect();
    for row in &mut rows {
        row.attack = attacks.contains(&row.time);
    }
    rows.sort_by_key(|row| row.time);
    let first = rows.first().map_or(0, |row| row.time);
    rows.iter_mut().for_each(|row| row.time -= first);
    Ok(rows)
}

/// The times of the packets of a capture that its labels call an attack, one label a packet.
pub fn labelled(file: &Path, labels: &Path) -> Result<HashSet<Micros>> {
    let text = std::fs::read_to_string(labels).with_context(|| labels.display().to_string())?;
    let mut labels = text.lines().map(|line| line.trim().ends_with(";1"));
    let mut times = HashSet::new();
    for_each_packet(file, |packet| {
        if labels.next() == Some(true) {
            times.insert(packet.time);
        }
    })?;
    ensure!(labels.next().is_none(), "{}: more labels than packets", file.display());
    Ok(times)
}

fn for_each_packet(file: &Path, mut each: impl FnMut(&yagura_capture::Packet<'_>)) -> Result<()> {
    let mut packets = PacketFile::open(file).with_context(|| {
        format!(
            "{}: the captures are no part of the repository; name their folder in YAGURA_SHARED",
            file.display()
        )
    })?;
    while let Some(packet) = packets.next_packet()? {
        each(&packet);
    }
    Ok(())
}

fn row(owned: &OwnedRow) -> Option<Row> {
    if !matches!(owned.kind, Kind::Message | Kind::Flow) {
        return None;
    }
    let text = |name| owned.text(name).to_string();
    let number = |name: &str| owned.columns.get(name).and_then(|value| value.as_i64());
    let time = number("time")?;
    let (port, packets) = (|name| number(name).unwrap_or(0) as u16, |name| number(name).unwrap_or(0) as u64);
    Some(Row {
        flow: owned.kind == Kind::Flow,
        time,
        late: number("observed")?.saturating_sub(time).max(0),
        attack: false,
        protocol: text("protocol"),
        operation: text("operation"),
        function: text("function"),
        target: text("target"),
        client: text("client"),
        server: text("server"),
        session: text("session"),
        values: text("values"),
        value: owned.number("value"),
        status: text("status"),
        status_code: text("status_code"),
        latency_us: number("latency_us"),
        transport: text("transport"),
        customary: text("customary"),
        ports: (port("client_port"), port("server_port")),
        packets: (packets("client_packets"), packets("server_packets")),
    })
}

/// Rows that are repeated one time after the other.
pub struct Stretch(pub Vec<Row>);

/// Each message is this much earlier or later than it was, at most.
const JITTER: Micros = 2_000;
/// Between two repetitions passes this much more time than between two messages, at most.
const PAUSE: Micros = 500_000;
/// One message in so many is lost.
const LOST: u32 = 10_000;

impl Stretch {
    /// The typical pause between messages, or what is left of a second to the end.
    fn length(&self) -> Micros {
        let last = self.0.last().map_or(0, |row| row.time);
        last + (last / self.0.len().max(1) as i64).clamp(1_000, SECOND)
    }
}

/// What happens from a time to another: each stretch again and again, with fresh jitter.
pub fn repeated<'a>(
    stretches: &[&'a Stretch],
    (from, to): (Micros, Micros),
    random: &mut fastrand::Rng,
) -> Vec<(Micros, &'a Row)> {
    let mut out = Vec::new();
    for stretch in stretches.iter().filter(|stretch| !stretch.0.is_empty()) {
        // Not all begin together.
        let mut start = from - random.i64(0..stretch.length());
        while start < to {
            for row in &stretch.0 {
                let time = start + row.time + random.i64(-JITTER..=JITTER);
                if (from..to).contains(&time) && random.u32(0..LOST) > 0 {
                    out.push((time, row));
                }
            }
            start += stretch.length() + random.i64(0..PAUSE);
        }
    }
    out.sort_by_key(|(time, _)| *time);
    out
}

/// Longest time that a record covers.
const RECORD: Micros = 5 * SECOND;
/// Most rows of a record.
const RECORD_ROWS: usize = 4_096;

/// Rows as records of messages and of connections; `number` is that of the next row.
pub fn records(rows: &[(Micros, &Row)], number: &mut u64) -> Result<Vec<Record>> {
    let mut records = Vec::new();
    let (mut messages, mut flows) = (MessageBuilder::default(), FlowBuilder::default());
    let mut from = rows.first().map_or(0, |(time, _)| *time);
    for (at, (time, row)) in rows.iter().enumerate() {
        match row.flow {
            true => flows.push(&flow(row, *time)),
            false => messages.push(&message(row, *time)),
        }
        let over = rows.get(at + 1).is_none_or(|(next, _)| *next >= from + RECORD);
        if over || messages.len() + flows.len() >= RECORD_ROWS {
            if !messages.is_empty() {
                records.push(common::record(Kind::Message, number, &messages.finish(), (from, *time))?);
            }
            if !flows.is_empty() {
                records.push(common::record(Kind::Flow, number, &flows.finish(), (from, *time))?);
            }
            from = rows.get(at + 1).map_or(*time, |(next, _)| *next);
        }
    }
    Ok(records)
}

fn message(row: &Row, time: Micros) -> MessageRow<'_> {
    MessageRow {
        time,
        observed: time + row.late.min(SECOND),
        protocol: &row.protocol,
        operation: &row.operation,
        function: &row.function,
        tool: &row.server,
        client: &row.client,
        client_port: row.ports.0,
        server: &row.server,
        server_port: row.ports.1,
        session: &row.session,
        target: &row.target,
        value: row.value,
        values: &row.values,
        status: &row.status,
        status_code: &row.status_code,
        latency_us: row.latency_us,
        ..MessageRow::default()
    }
}

fn flow(row: &Row, time: Micros) -> FlowRow<'_> {
    FlowRow {
        time,
        observed: time,
        transport: &row.transport,
        protocol: &row.protocol,
        customary: &row.customary,
        client: &row.client,
        client_port: row.ports.0,
        server: &row.server,
        server_port: row.ports.1,
        client_packets: row.packets.0,
        server_packets: row.packets.1,
        state: "closed",
        ..FlowRow::default()
    }
}
