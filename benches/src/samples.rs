//! The detection engine: one model over many series, from the log's bytes to alerts.

use std::time::{Duration, Instant};

use anyhow::Result;
use arrow::array::RecordBatch;
use yagura_detect::Shard;
use yagura_event::Kind;
use yagura_kafka::{KafkaLog, KafkaOptions};
use yagura_log::Log;
use yagura_log::embedded::{Embedded, Options};
use yagura_scene::load::{LoadOptions, load, series_names};
use yagura_testkit::kafka::Broker;

use crate::common;
use crate::report::{Figure, Report};

const SERIES: u32 = 200_000;
const BATCH_ROWS: usize = 1_000;
const SAMPLES: u64 = 20_000_000;
const TOPIC: &str = "bench.events";

/// Samples that a series is learned from.
const WARM_UP: u16 = 20;

/// On the embedded log.
pub fn embedded() -> Result<Report> {
    let folder = tempfile::tempdir()?;
    measure(&Embedded::open(folder.path(), Options::default())?)
}

/// Through a Kafka broker on the same machine.
pub fn kafka() -> Result<Report> {
    let broker = Broker::start()?;
    measure(&KafkaLog::connect(KafkaOptions::new(broker.address()))?)
}

fn measure(log: &dyn Log) -> Result<Report> {
    log.ensure_topic(TOPIC, 1)?;
    let bytes = fill(log)?;
    let mut rates = Vec::new();
    for _ in 0..5 {
        rates.push(judge(log)?);
    }
    rates.sort_by(f64::total_cmp);
    Ok(Report {
        input: format!("guard, {SERIES} series in random order, LZ4 Arrow, batches of {BATCH_ROWS} rows"),
        figures: vec![
            Figure::new("samples a second, median of 5", rates[2], "1/s"),
            Figure::new("samples a second, slowest of 5", rates[0], "1/s"),
            Figure::new("bytes a sample in the log", bytes as f64 / SAMPLES as f64, "B"),
        ],
    })
}

/// Writes definitions, an approval half-way and the samples; answers the bytes.
fn fill(log: &dyn Log) -> Result<u64> {
    let mut appender = log.appender(TOPIC)?;
    let mut row = 0;
    let mut bytes = 0;
    let mut put = |kind: Kind, rows: RecordBatch| -> Result<()> {
        let record = common::record(kind, &mut row, &rows, (0, 0))?;
        bytes += record.size() as u64;
        Ok(appender.append(record)?)
    };
    put(Kind::Series, common::definitions(0, &series_names(SERIES)))?;
    let options = LoadOptions {
        samples: SAMPLES,
        series: SERIES,
        batch_rows: BATCH_ROWS,
        hertz: 10.0,
        start: 0,
        seed: 1,
    };
    let mut written = 0;
    for batch in load(options) {
        put(Kind::Sample, common::samples(&batch))?;
        let before = written;
        written += batch.series.len() as u64;
        if before < SAMPLES / 2 && written >= SAMPLES / 2 {
            put(Kind::Control, common::approval())?;
        }
    }
    appender.flush()?;
    Ok(bytes)
}

/// Samples a second of one thread from the log's bytes to alerts, decoding included.
fn judge(log: &dyn Log) -> Result<f64> {
    let mut shard = Shard::new("bench", common::pipeline(&common::guard(WARM_UP))?);
    let held = log.held(TOPIC, 0)?;
    let mut reader = log.reader(TOPIC, 0, held.start)?;
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    let began = Instant::now();
    while reader.position() < held.end {
        for stored in reader.read(1 << 20, Duration::from_secs(10))? {
            std::hint::black_box(shard.step(stored.offset, &stored.record));
        }
    }
    let seconds = began.elapsed().as_secs_f64();
    let judged = shard.stats().rows;
    anyhow::ensure!(judged > SAMPLES, "only {judged} rows were judged");
    Ok(SAMPLES as f64 / seconds)
}
