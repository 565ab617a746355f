//! The detection engine's parts, each alone in this thread: operators over batches in memory, how cost
//! grows, and how long a snapshot stops a shard.

use std::sync::Arc;
use std::time::Instant;

use anyhow::{Result, anyhow, ensure};
use arrow::array::RecordBatch;
use yagura_detect::operators::Step;
use yagura_detect::{Compiler, Shard};
use yagura_event::Kind;
use yagura_event::clock::Micros;
use yagura_event::rows::{MessageBuilder, MessageRow};
use yagura_log::Record;
use yagura_models::guard;
use yagura_scene::load::{LoadOptions, load, series_names};
use yagura_sql::SqlCompiler;

use crate::common::{self, envelope, pipeline, rate, record};
use crate::report::{Figure, Report};

/// Rows of a batch, unless it is what is varied.
const BATCH_ROWS: usize = 8_192;
/// Samples that a key is learned from.
const WARM_UP: u16 = 4;
/// Nothing here depends on the collector's clock.
const AT_ONCE: (Micros, Micros) = (0, 0);

/// Operators alone, over batches that are decoded already.
pub fn operators() -> Result<Report> {
    let figures = vec![
        Figure::new("guard, 100,000 keys at random, samples", guard_alone(100_000), "1/s"),
        Figure::new("guard, 1,000,000 keys at random, samples", guard_alone(1_000_000), "1/s"),
        Figure::new("where on a dictionary column, rows", condition("operation = 'write'")?, "1/s"),
        Figure::new(
            "where on three columns, rows",
            condition("protocol = 'modbus' AND operation IN ('write', 'control') AND count > 2")?,
            "1/s",
        ),
        Figure::new("where on a word the batch lacks, rows", condition("operation = 'recipe.write'")?, "1/s"),
        Figure::new("known, 2 columns, rows", known()?, "1/s"),
    ];
    Ok(Report { input: format!("one thread, batches of {BATCH_ROWS} rows in memory"), figures })
}

fn samples(
    count: u64,
    series: u32,
    batch_rows: usize,
) -> impl Iterator<Item = yagura_scene::load::LoadBatch> {
    load(LoadOptions { samples: count, series, batch_rows, hertz: 10.0, start: 0, seed: 1 })
}

fn guard_alone(keys: u32) -> f64 {
    let count = 20 * u64::from(keys).max(500_000);
    let batches: Vec<_> = samples(count / 4, keys, BATCH_ROWS).collect();
    let quality = vec![0; BATCH_ROWS];
    let parameters = guard::Parameters { warm_up_samples: WARM_UP, ..guard::Parameters::default() };
    let mut states = vec![guard::State::default(); keys as usize];
    let mut hits = Vec::new();
    let mut judge = |states: &mut Vec<guard::State>| {
        for batch in &batches {
            hits.clear();
            let rows = batch.series.len();
            guard::judge(
                states,
                &batch.series,
                &batch.time,
                &batch.value,
                &quality[..rows],
                &parameters,
                &mut hits,
            );
        }
    };
    judge(&mut states);
    for state in &mut states {
        state.approve(&parameters);
    }
    rate(count / 4, || judge(&mut states))
}

/// Messages of a cell: several protocols and operations, sixteen clients, a thousand targets.
fn messages(rows: usize) -> RecordBatch {
    let mut builder = MessageBuilder::default();
    let operations = ["read", "read", "read", "read", "write", "report", "control", "session.keep"];
    for row in 0..rows {
        let (client, target) = (format!("10.0.0.{}", row % 16), format!("holding {}", row * 7 % 1000));
        builder.push(&MessageRow {
            time: row as Micros,
            observed: row as Micros,
            protocol: ["modbus", "opcua", "hsms"][row / 5 % 3],
            operation: operations[row * 5 % 8],
            function: "read_holding_registers",
            tool: "ETCH-07",
            client: &client,
            server: "10.0.1.1",
            target: &target,
            count: row as u32 % 5,
            status: "ok",
            exchange: "pair",
            ..MessageRow::default()
        });
    }
    builder.finish()
}

fn condition(sql: &str) -> Result<f64> {
    let rows = messages(BATCH_ROWS);
    let compiled = SqlCompiler::default().compile(Kind::Message, sql)?;
    let often = 2_000;
    let mut failed = None;
    let rate = rate(often * BATCH_ROWS as u64, || {
        for _ in 0..often {
            // As a shard does: a batch that lacks a required word is not evaluated.
            let may = |(column, values): &(String, Vec<String>)| {
                yagura_detect::columns::may_hold(&rows, column, values)
            };
            if compiled.required().iter().all(may) {
                match compiled.select(&rows) {
                    Ok(selected) => drop(std::hint::black_box(selected)),
                    Err(error) => failed = Some(error),
                }
            }
        }
    });
    failed.map_or(Ok(rate), |error| Err(anyhow!("{sql}: {error}")))
}

fn known() -> Result<f64> {
    let pipeline = pipeline(
        "version: 1
detections:
  - id: peers
    title: Peers
    queue: security
    severity: low
    on: message
    by: [client]
    known: { of: [client, target], from: learning }
    summary: '{client}'
    then: Look.
",
    )?;
    let rows = messages(BATCH_ROWS);
    let mut operator = pipeline.detections[0].operator.start();
    let envelope = envelope(Kind::Message, 0, BATCH_ROWS, AT_ONCE);
    let step =
        Step { detection: 0, by: &pipeline.detections[0].by, envelope: &envelope, from: 0, watermark: 0 };
    let mut hits = Vec::new();
    operator.rows(&step, &rows, None, &mut hits);
    operator.approve();
    let often = 1_000;
    let rate = rate(often * BATCH_ROWS as u64, || {
        for _ in 0..often {
            operator.rows(&step, &rows, None, &mut hits);
        }
    });
    ensure!(hits.is_empty(), "{} rows are not known", hits.len());
    Ok(rate)
}

/// From a record's bytes to alerts, while keys, detections and rows of a batch grow.
pub fn scaling() -> Result<Report> {
    let mut figures = Vec::new();
    for keys in [1_000, 10_000, 100_000, 1_000_000, 10_000_000] {
        // A cell takes four million series; ten million are spread over cells, as they are in a plant.
        let cells = u32::div_ceil(keys, 4_000_000);
        let rate = guarded(keys, cells, BATCH_ROWS)?;
        figures.push(Figure::new(format!("samples, {keys} keys, {cells} cells"), rate, "1/s"));
    }
    for batch_rows in [100, 1_000, 8_192, 65_536] {
        let rate = guarded(100_000, 1, batch_rows)?;
        figures.push(Figure::new(format!("samples, 100000 keys, batches of {batch_rows}"), rate, "1/s"));
    }
    for detections in [1, 10, 100, 1_000] {
        for (what, operation) in [("match", "write"), ("cannot match", "recipe.write")] {
            let rate = judged_messages(detections, operation)?;
            figures.push(Figure::new(format!("messages, {detections} detections that {what}"), rate, "1/s"));
        }
    }
    Ok(Report { input: "one thread, records in memory, LZ4 Arrow, decoding included".to_string(), figures })
}

/// Samples a second, of keys that are spread over cells, whose shards take turns.
fn guarded(keys: u32, cells: u32, batch_rows: usize) -> Result<f64> {
    let keys = keys / cells;
    let (pipeline, definitions) = (pipeline(&common::guard(WARM_UP))?, definitions(keys)?);
    let mut shards: Vec<Shard> =
        (0..cells).map(|cell| Shard::new(&format!("cell-{cell}"), Arc::clone(&pipeline))).collect();
    let mut next = 0;
    for record in &definitions {
        shards.iter_mut().for_each(|shard| drop(shard.step(next, record)));
        next += 1;
    }
    let mut row = shards[0].stats().rows;
    let mut records = Vec::new();
    for batch in samples((3 * u64::from(keys)).max(3_000_000), keys, batch_rows) {
        records.push(record(Kind::Sample, &mut row, &common::samples(&batch), AT_ONCE)?);
    }
    let judged = |shards: &[Shard]| shards.iter().map(|shard| shard.stats().rows).sum::<u64>();
    // Each key's state is touched before it is measured.
    let (first, rest) = records.split_at(records.len() / 2);
    let mut judge = |shards: &mut Vec<Shard>, records: &[Record]| {
        for record in records {
            shards.iter_mut().for_each(|shard| drop(std::hint::black_box(shard.step(next, record))));
            next += 1;
        }
    };
    judge(&mut shards, first);
    let rows = judged(&shards);
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    let began = Instant::now();
    judge(&mut shards, rest);
    let seconds = began.elapsed().as_secs_f64();
    Ok((judged(&shards) - rows) as f64 / seconds)
}

fn definitions(keys: u32) -> Result<Vec<Record>> {
    const A_RECORD: usize = 65_536;
    let mut row = 0;
    let names = series_names(keys);
    let parts = (0..).step_by(A_RECORD).zip(names.chunks(A_RECORD));
    parts
        .map(|(first, names)| record(Kind::Series, &mut row, &common::definitions(first, names), AT_ONCE))
        .collect()
}

fn judged_messages(detections: usize, operation: &str) -> Result<f64> {
    let mut text = "version: 1\ndetections:\n".to_string();
    for number in 0..detections {
        // All select on the operation and on something that hardly ever holds.
        text.push_str(&format!(
            "  - id: d{number}
    title: D
    queue: security
    severity: low
    on: message
    where: operation = '{operation}' AND target = 'coil {number}'
    by: [client]
    summary: '{{client}}'
    then: Look.
"
        ));
    }
    let mut shard = Shard::new("bench", pipeline(&text)?);
    let rows = messages(BATCH_ROWS);
    let (mut row, mut next) = (0, 0);
    let batches = 20_000 / (detections as u64 + 10);
    let records: Vec<Record> =
        (0..batches).map(|_| record(Kind::Message, &mut row, &rows, AT_ONCE)).collect::<Result<_>>()?;
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    let began = Instant::now();
    for record in &records {
        std::hint::black_box(shard.step(next, record));
        next += 1;
    }
    ensure!(shard.stats().failed_conditions == 0, "a condition failed");
    Ok(shard.stats().rows as f64 / began.elapsed().as_secs_f64())
}

/// How long a snapshot stops a shard.
pub fn snapshots() -> Result<Report> {
    let keys = 1_000_000;
    let (mut shard, mut next) = (Shard::new("bench", pipeline(&common::guard(WARM_UP))?), 0);
    for record in definitions(keys)? {
        shard.step(next, &record);
        next += 1;
    }
    let mut row = shard.stats().rows;
    let approve = record(Kind::Control, &mut row, &common::approval(), AT_ONCE)?;
    shard.step(next, &approve);
    let (mut pauses, mut writing, mut bytes) = (Vec::new(), Vec::new(), 0);
    let mut batches = samples(u64::MAX / 2, keys, BATCH_ROWS);
    for _ in 0..10 {
        // Between two snapshots judging goes on, so that what they share is changed.
        for batch in batches.by_ref().take(100) {
            next += 1;
            shard.step(next, &record(Kind::Sample, &mut row, &common::samples(&batch), AT_ONCE)?);
        }
        #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
        let began = Instant::now();
        let state = shard.save();
        pauses.push(began.elapsed().as_secs_f64() * 1e3);
        bytes = state().len();
        writing.push(began.elapsed().as_secs_f64() * 1e3);
    }
    pauses.sort_by(f64::total_cmp);
    writing.sort_by(f64::total_cmp);
    Ok(Report {
        input: format!("one shard, guard, {keys} keys"),
        figures: vec![
            Figure::new("judging stands still, median of 10", pauses[5], "ms"),
            Figure::new("judging stands still, longest of 10", pauses[9], "ms"),
            Figure::new("state as bytes, beside judging, median", writing[5], "ms"),
            Figure::new("bytes of the state", bytes as f64, "B"),
        ],
    })
}
