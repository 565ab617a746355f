//! Windows over messages, from the log's bytes to alerts.

use std::sync::Arc;

use anyhow::Result;
use yagura_detect::Pipeline;
use yagura_event::Kind;
use yagura_event::rows::{MessageBuilder, MessageRow};
use yagura_log::Record;

use crate::common::{self, judged, operators_alone};
use crate::report::{Figure, Report};

const ROWS: usize = 8_192 * 512;
const BATCH_ROWS: usize = 8_192;

/// Counts by two columns: from the log to results, the operator alone, and the reading of records alone.
pub fn windows() -> Result<Report> {
    const KEYS: [(usize, usize); 2] = [(20, 50), (200, 500)];
    let mut figures = Vec::new();
    for (clients, servers) in KEYS {
        let records = messages(clients, servers)?;
        let keys = clients * servers;
        let reading = pipeline("operation = 'none'", "{ every: 5m, at_least: 1000000 }")?;
        let reading = judged(&reading, &records, ROWS as u64)?;
        figures.push(Figure::new(format!("reading alone, {keys} keys, rows a second"), reading, "1/s"));
        for (name, window) in [
            ("tumbling counts", "{ every: 5m, at_least: 1000000 }"),
            ("tumbling p99", "{ every: 5m, of: latency_us, measure: p99, above: 1000000 }"),
            ("sessions", "{ gap: 30s, at_least: 1000000 }"),
            ("sliding counts", "{ within: 1m, at_least: 1000 }"),
        ] {
            let pipeline = pipeline("operation = 'read'", window)?;
            let whole = judged(&pipeline, &records, ROWS as u64)?;
            figures.push(Figure::new(format!("{name}, {keys} keys, log to result"), whole, "1/s"));
            let alone = operators_alone(&pipeline, &records, ROWS as u64)?;
            figures.push(Figure::new(format!("{name}, {keys} keys, operator alone"), alone, "1/s"));
        }
    }
    Ok(Report { input: format!("{ROWS} messages, LZ4 Arrow, batches of {BATCH_ROWS} rows"), figures })
}

/// Messages of pairs in random order, half a millisecond apart.
fn messages(clients: usize, servers: usize) -> Result<Vec<Record>> {
    let names = |prefix: &str, n: usize| (0..n).map(|i| format!("{prefix}{i}")).collect::<Vec<_>>();
    let (clients, servers) = (names("10.20.9.", clients), names("10.20.3.", servers));
    let mut random = fastrand::Rng::with_seed(1);
    let (mut out, mut number) = (Vec::new(), 0);
    for first in (0..ROWS).step_by(BATCH_ROWS) {
        let mut builder = MessageBuilder::default();
        for row in first..first + BATCH_ROWS {
            let time = row as i64 * 500;
            builder.push(&MessageRow {
                time,
                observed: time,
                client: &clients[random.usize(..clients.len())],
                server: &servers[random.usize(..servers.len())],
                protocol: "modbus",
                operation: "read",
                latency_us: Some(random.i64(200..5_000)),
                ..Default::default()
            });
        }
        let observed = (first as i64 * 500, (first + BATCH_ROWS - 1) as i64 * 500);
        out.push(common::record(Kind::Message, &mut number, &builder.finish(), observed)?);
    }
    Ok(out)
}

fn pipeline(condition: &str, window: &str) -> Result<Arc<Pipeline>> {
    common::pipeline(&format!(
        "version: 1\ndetections:\n  - id: w\n    title: W\n    queue: security\n    severity: low\n    on: message\n    \
         where: {condition}\n    by: [client, server]\n    window: {window}\n    summary: '{{client}}'\n    then: Look.\n"
    ))
}
