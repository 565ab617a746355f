//! How fast records of a foreign topic become rows: `rate_bridge [SECONDS [json|arrow-wide|arrow-long]]`. The topic is a
//! log in memory that is filled before; the real source reads it into an embedded log in a temporary folder.
#![allow(clippy::print_stdout, reason = "the figures are the output")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::ipc::writer::StreamWriter;
use serde_json::{Value, json};
use yagura_collect::live::{Destination, collect};
use yagura_collect::run::Progress;
use yagura_collect::sources::CollectorConfig;
use yagura_collect::{Opened, Plant};
use yagura_event::{AssetTable, Envelope, Kind, clock};
use yagura_log::embedded::{Embedded, Options};
use yagura_log::{Log, Record, memory};

type Failed = Box<dyn std::error::Error + Send + Sync>;

/// Rows that the topic holds.
const ROWS: u64 = 4_000_000;
/// Rows of a record of Arrow.
const BATCH: usize = 1000;
/// Objects of a record of JSON.
const OBJECTS: usize = 20;
/// Columns of the wide form.
const WIDE: usize = 20;

fn main() -> Result<(), Failed> {
    let seconds: i64 = std::env::args().nth(1).map_or(Ok(10), |a| a.parse())?;
    let form = std::env::args().nth(2).unwrap_or_else(|| "json".into());
    let (format, value) = match form.as_str() {
        "json" => {
            (json!({"json": {"as": "sample", "columns": {"signal": "${name}", "time": "${at}"}}}), objects()?)
        }
        "arrow-wide" => (json!({"arrow": {"time": "${time}", "tool": "${tool}"}}), wide()?),
        "arrow-long" => (
            json!({"arrow": {"time": "${time}", "tool": "${tool}", "signal": "${signal}", "value": "${value}"}}),
            long()?,
        ),
        other => return Err(format!("`{other}`: json, arrow-wide or arrow-long").into()),
    };
    let each = if form == "json" { OBJECTS } else { BATCH } as u64;
    let foreign = Arc::new(memory::open(yagura_log::embedded::Options::default())?);
    foreign.ensure_topic("traces", 2)?;
    let mut appender = foreign.appender("traces")?;
    for number in 0..ROWS / each {
        let key = number.to_string().into_bytes().into();
        appender.append(Record { key, value: value.clone().into(), ..Record::default() })?;
        if number % 1000 == 999 {
            appender.flush()?;
        }
    }
    appender.flush()?;

    let folder = tempfile::tempdir()?;
    let path = folder.path().to_path_buf();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
    let elsewhere: Arc<dyn Log> = foreign;
    let plant = Plant {
        assets: Arc::new(AssetTable::new(vec![], "bay")),
        open_log: Arc::new(move |_, _| Ok(Arc::clone(&elsewhere))),
        ..Plant::unknown(runtime.handle())
    };
    let config = CollectorConfig::new(json!({
        "name": "bridge", "kind": "kafka", "kafka": {"brokers": "memory"}, "topics": [{"topic": "traces", "format": format}],
    }))?;
    let log = Arc::new(Embedded::open(path.join("log"), Options::default())?);
    log.ensure_topic("events", 1)?;
    let stop = Arc::new(AtomicBool::new(false));
    let (to, stopped) = (Arc::clone(&log), Arc::clone(&stop));
    let (began, used) = (clock::steady(), cpu());
    let collector = std::thread::spawn(move || -> Result<(), Failed> {
        let Opened::Live(source) = config.open(&path, &plant)? else { return Err("no live source".into()) };
        let destination = Destination {
            log: to.as_ref(),
            topic: "events",
            assets: &plant.assets,
            cells: &[],
            notes: &path,
        };
        collect(source, destination, &stopped, &Progress::default())?;
        Ok(())
    });
    let (mut rows, mut from, mut took, mut busy) = (0, 0, 1, 0.0);
    while rows < ROWS && clock::steady() < began + seconds * clock::SECOND {
        std::thread::park_timeout(Duration::from_millis(20));
        let held = log.held("events", 0)?;
        let mut reader = log.reader("events", 0, from)?;
        while reader.position() < held.end {
            for stored in reader.read(1 << 20, Duration::from_secs(1))? {
                let envelope = Envelope::from_header(&stored.record.header)?;
                if envelope.kind == Kind::Sample {
                    rows += u64::from(envelope.rows);
                    (took, busy) = (clock::steady() - began, cpu() - used);
                }
            }
        }
        from = held.end;
    }
    let took = took as f64 / 1e6;
    println!(
        "{form}: {rows} rows of records of {each}: {:.0} rows/s, {:.0} records/s; {:.2} cores",
        rows as f64 / took,
        (rows / each) as f64 / took,
        busy / took
    );
    // For `cargo xtask bench collect`.
    println!("figure\t{form}\t{:.0}\trows/s", rows as f64 / took);
    println!("figure\tcollector and logs\t{:.2}\tcores", busy / took);
    stop.store(true, Ordering::Release);
    collector.join().map_err(|_| "the collector failed")?
}

fn objects() -> Result<Vec<u8>, Failed> {
    let one = |n: usize| json!({"at": 1_760_000_000_000_i64 + n as i64, "tool": "ETCH-07", "chamber": "A", "name": format!("signal-{n}"), "value": n as f64 * 0.25, "unit": "Pa"});
    Ok(serde_json::to_vec(&Value::Array((0..OBJECTS).map(one).collect()))?)
}

fn wide() -> Result<Vec<u8>, Failed> {
    let rows = BATCH / WIDE;
    let mut columns = named(rows);
    for column in 0..WIDE {
        let values = Float64Array::from_iter_values((0..rows).map(|row| (row * column) as f64));
        columns.push((format!("signal-{column}"), Arc::new(values)));
    }
    stream(columns)
}

fn long() -> Result<Vec<u8>, Failed> {
    let mut columns = named(BATCH);
    let signals = (0..BATCH).map(|row| format!("signal-{}", row % WIDE));
    columns.push(("signal".into(), Arc::new(StringArray::from_iter_values(signals))));
    let values = Float64Array::from_iter_values((0..BATCH).map(|row| row as f64));
    columns.push(("value".into(), Arc::new(values)));
    stream(columns)
}

fn named(rows: usize) -> Vec<(String, ArrayRef)> {
    let times =
        TimestampMicrosecondArray::from_iter_values((0..rows as i64).map(|row| 1_760_000_000_000_000 + row));
    let tools = StringArray::from_iter_values((0..rows).map(|_| "ETCH-07"));
    vec![("time".into(), Arc::new(times)), ("tool".into(), Arc::new(tools))]
}

fn stream(columns: Vec<(String, ArrayRef)>) -> Result<Vec<u8>, Failed> {
    let batch = RecordBatch::try_from_iter(columns)?;
    let mut out = Vec::new();
    let mut writer = StreamWriter::try_new(&mut out, &batch.schema())?;
    writer.write(&batch)?;
    writer.finish()?;
    drop(writer);
    Ok(out)
}

/// Seconds of processor time that this process used, by `/proc`.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |at: usize| fields.get(at).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}
