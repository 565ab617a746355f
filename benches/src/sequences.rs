//! Sequences over messages, from the log's bytes to alerts.

use anyhow::Result;
use yagura_event::Kind;
use yagura_event::rows::{MessageBuilder, MessageRow};
use yagura_log::Record;

use crate::common::{self, judged, operators_alone};
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

/// `sequence`, with one row in a hundred that some step selects, and with every row: from the log to
/// results, and the operators alone.
pub fn sequences() -> Result<Report> {
    let ordinary = messages(|n| match n % 300 {
        0 => "program.write",
        100 => "control",
        200 => "session.open",
        _ => "read",
    })?;
    let busy = messages(|n| ["program.write", "control", "session.open"][n % 3])?;
    let silent = messages(|n| ["program.write", "session.open"][n % 2])?;
    let pipeline = common::pipeline(SEQUENCES)?;
    let mut figures = Vec::new();
    for (name, records) in
        [("1 % selected", ordinary), ("all selected, a third hits", busy), ("all selected, no hit", silent)]
    {
        let whole = judged(&pipeline, &records, MESSAGES as u64)?;
        figures.push(Figure::new(format!("messages a second, {name}, log to result"), whole, "1/s"));
        let alone = operators_alone(&pipeline, &records, MESSAGES as u64)?;
        figures.push(Figure::new(format!("messages a second, {name}, operators alone"), alone, "1/s"));
    }
    Ok(Report {
        input: format!(
            "two sequences, {TOOLS} tools in random order, LZ4 Arrow, batches of {BATCH_ROWS} rows"
        ),
        figures,
    })
}

/// Records of messages, ten a millisecond.
fn messages(operation: impl Fn(usize) -> &'static str) -> Result<Vec<Record>> {
    let tools: Vec<String> = (0..TOOLS).map(|n| format!("TOOL-{n:05}")).collect();
    let clients: Vec<String> = (0..50).map(|n| format!("10.20.1.{n}")).collect();
    let mut records = Vec::new();
    let (mut state, mut row) = (1_u64, 0);
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
        records.push(common::record(Kind::Message, &mut row, &rows.finish(), (begin, end))?);
    }
    Ok(records)
}
