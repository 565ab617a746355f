//! Operators over messages, from the log's bytes to alerts.

use std::sync::Arc;
use std::time::Instant;

use anyhow::Result;
use bytes::Bytes;
use yagura_detect::{Pipeline, Shard};
use yagura_event::rows::{MessageBuilder, MessageRow};
use yagura_event::{Encoding, Envelope, Kind, codec};
use yagura_log::Record;
use yagura_sql::SqlCompiler;

use crate::report::{Figure, Report};

const MESSAGES: usize = 2_000_000;
const BATCH_ROWS: usize = 1_000;
const TOOLS: usize = 10_000;

/// Two kinds of waiting: for something that must come, and for something that must not.
const SEQUENCES: &str = "version: 1
detections:
  - id: follows
    title: Follows
    queue: security
    severity: low
    on: message
    by: [tool]
    sequence:
      within: 5m
      steps:
        - where: operation = 'program.write'
        - where: operation = 'control'
          differ: [client]
    summary: '{first.client} {client}'
    then: Look.
  - id: does-not-follow
    title: Does not follow
    queue: security
    severity: low
    on: message
    by: [tool]
    sequence:
      within: 5m
      steps:
        - where: operation = 'control'
        - not: operation = 'session.open'
    summary: '{client}'
    then: Look.
";

/// `sequence`, with one row in a hundred that some step selects, and with every row.
pub fn sequences() -> Result<Report> {
    let ordinary = messages(|n| match n % 300 {
        0 => "program.write",
        100 => "control",
        200 => "session.open",
        _ => "read",
    })?;
    let busy = messages(|n| ["program.write", "control", "session.open"][n % 3])?;
    Ok(Report {
        input: format!(
            "two sequences, {TOOLS} tools in random order, LZ4 Arrow, batches of {BATCH_ROWS} rows"
        ),
        figures: vec![
            Figure::new("messages a second, 1 % selected", judge(SEQUENCES, &ordinary)?, "1/s"),
            Figure::new("messages a second, all selected", judge(SEQUENCES, &busy)?, "1/s"),
        ],
    })
}

/// Records of messages, ten a millisecond.
fn messages(operation: impl Fn(usize) -> &'static str) -> Result<Vec<Record>> {
    let tools: Vec<String> = (0..TOOLS).map(|n| format!("TOOL-{n:05}")).collect();
    let clients: Vec<String> = (0..50).map(|n| format!("10.20.1.{n}")).collect();
    let mut records = Vec::new();
    let mut state = 1_u64;
    for first in (0..MESSAGES).step_by(BATCH_ROWS) {
        let time = |n: usize| (n * 100) as i64;
        let mut rows = MessageBuilder::default();
        for n in first..first + BATCH_ROWS {
            // A linear congruence is random enough to miss every cache.
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            rows.push(&MessageRow {
                time: time(n),
                observed: time(n),
                protocol: "s7comm",
                operation: operation(n),
                function: "job",
                tool: &tools[(state >> 33) as usize % TOOLS],
                client: &clients[(state >> 50) as usize % clients.len()],
                server: "10.20.3.33",
                status: "ok",
                ..Default::default()
            });
        }
        let (begin, end) = (time(first), time(first + BATCH_ROWS - 1));
        let envelope = Envelope {
            kind: Kind::Message,
            version: Kind::Message.version(),
            cell: "bench".into(),
            collector: "load".into(),
            epoch: 1,
            first_row: first as u64,
            rows: BATCH_ROWS as u32,
            observed: (begin, end),
            promise: end,
            encoding: Encoding::Arrow,
        };
        records.push(Record {
            key: Bytes::from_static(b"bench"),
            header: envelope.to_header().into(),
            value: codec::encode_arrow(&rows.finish())?.into(),
        });
    }
    Ok(records)
}

/// Messages a second of one thread, decoding included; the median of five.
fn judge(pipeline: &str, records: &[Record]) -> Result<f64> {
    let detections = Pipeline::read("bench.yaml".as_ref(), pipeline, &SqlCompiler::default());
    let pipeline = Arc::new(Pipeline { detections: detections.map_err(|e| anyhow::anyhow!("{}", e[0]))? });
    let mut rates = Vec::new();
    for _ in 0..5 {
        let mut shard = Shard::new("bench", Arc::clone(&pipeline));
        #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
        let began = Instant::now();
        for (offset, record) in records.iter().enumerate() {
            std::hint::black_box(shard.step(offset as u64, record));
        }
        rates.push(MESSAGES as f64 / began.elapsed().as_secs_f64());
        anyhow::ensure!(shard.stats().rows == MESSAGES as u64, "not all rows were judged");
    }
    rates.sort_by(f64::total_cmp);
    Ok(rates[2])
}
