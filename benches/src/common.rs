//! What the benchmarks of the detection engine share: pipelines, records, and how a rate is taken.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, anyhow, ensure};
use arrow::array::RecordBatch;
use bytes::Bytes;
use yagura_detect::blocks::Blocks;
use yagura_detect::operators::Step;
use yagura_detect::shelf::Texts;
use yagura_detect::{Condition, Pipeline, Shard, Shelf};
use yagura_event::clock::Micros;
use yagura_event::rows::{ControlBuilder, ControlRow, SampleBuilder, SampleRow, SeriesBuilder, SeriesRow};
use yagura_event::{Encoding, Envelope, Kind, codec};
use yagura_log::Record;
use yagura_scene::load::{LoadBatch, SeriesName};
use yagura_sql::SqlCompiler;

/// How often each measure is taken; the median counts.
const TIMES: usize = 5;

/// The guard on every series, which judges after so many samples and an approval.
pub fn guard(warm_up_samples: u16) -> String {
    format!(
        "version: 1
detections:
  - id: guard
    title: Guard
    queue: equipment
    severity: low
    on: sample
    by: [tool, chamber, signal]
    model: {{ name: guard, parameters: {{ warm_up_samples: {warm_up_samples} }} }}
    summary: '{{signal}} {{seen}}'
    then: Look.
"
    )
}

/// A pipeline from its text.
pub fn pipeline(text: &str) -> Result<Arc<Pipeline>> {
    let read = Shelf::new(SqlCompiler::default()).read(Texts::one("bench.yaml", text));
    read.map_err(|errors| anyhow!("{}", errors[0]))
}

/// The envelope of rows that were observed within a time.
pub fn envelope(kind: Kind, first_row: u64, rows: usize, observed: (Micros, Micros)) -> Envelope {
    Envelope {
        kind,
        version: kind.version(),
        cell: "bench".into(),
        collector: "load".into(),
        epoch: 1,
        first_row,
        rows: rows as u32,
        observed,
        promise: observed.1,
        encoding: Encoding::Arrow,
        origin: None,
        places: Vec::new(),
    }
}

/// A record of rows; `row` is the number of its first one, and then of the next record's.
pub fn record(kind: Kind, row: &mut u64, rows: &RecordBatch, observed: (Micros, Micros)) -> Result<Record> {
    let envelope = envelope(kind, *row, rows.num_rows(), observed);
    *row += rows.num_rows() as u64;
    let value = codec::encode_arrow(rows)?.into();
    Ok(Record { key: Bytes::from_static(b"bench"), header: envelope.to_header().into(), value })
}

/// Definitions of series, numbered from `first` on in the order of their names.
pub fn definitions(first: u32, names: &[SeriesName]) -> RecordBatch {
    let mut builder = SeriesBuilder::default();
    for (series, name) in (first..).zip(names) {
        builder.push(&SeriesRow {
            series,
            tool: &name.tool,
            chamber: &name.chamber,
            signal: &name.signal,
            unit: name.unit,
            class: name.class,
            ..SeriesRow::default()
        });
    }
    builder.finish()
}

/// The rows of a batch of load.
pub fn samples(batch: &LoadBatch) -> RecordBatch {
    let mut builder = SampleBuilder::default();
    for ((&series, &time), &value) in batch.series.iter().zip(&batch.time).zip(&batch.value) {
        builder.push(&SampleRow { series, time, value, ..SampleRow::default() });
    }
    builder.finish()
}

/// A row that approves all that was learned.
pub fn approval() -> RecordBatch {
    let mut builder = ControlBuilder::default();
    builder.push(&ControlRow { action: "approve", subject: "*", ..ControlRow::default() });
    builder.finish()
}

/// How many a second, of `count` done by `work`: the median of some times.
pub fn rate(count: u64, mut work: impl FnMut()) -> f64 {
    let mut seconds: Vec<f64> = (0..TIMES)
        .map(|_| {
            #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
            let began = Instant::now();
            work();
            began.elapsed().as_secs_f64()
        })
        .collect();
    seconds.sort_by(f64::total_cmp);
    count as f64 / seconds[TIMES / 2]
}

/// Rows a second of one thread, from the bytes of records to alerts.
pub fn judged(pipeline: &Arc<Pipeline>, records: &[Record], rows: u64) -> Result<f64> {
    let mut judged = rows;
    let rate = rate(rows, || {
        let mut shard = Shard::new("bench", Arc::clone(pipeline));
        for (offset, record) in records.iter().enumerate() {
            std::hint::black_box(shard.step(offset as u64, record));
        }
        judged = judged.min(shard.stats().rows);
    });
    ensure!(judged == rows, "{judged} of {rows} rows were judged");
    Ok(rate)
}

/// Rows a second of one thread by the operators alone: records are decoded and conditions evaluated
/// beforehand, and hits are not yet alerts.
pub fn operators_alone(pipeline: &Arc<Pipeline>, records: &[Record], rows: u64) -> Result<f64> {
    let mut batches = Vec::new();
    for record in records {
        let (envelope, rows) = yagura_detect::shard::read(record)?;
        let select = |condition: &Arc<dyn Condition>| condition.select(&rows).map_err(|e| anyhow!("{e}"));
        let mut selected = Vec::new();
        for detection in &pipeline.detections {
            let inputs = detection.operator.inputs();
            let conditions = inputs.iter().map(|input| &input.condition).chain(&detection.condition);
            let masks = conditions.map(select).collect::<Result<Vec<_>>>()?;
            selected.push(masks.into_iter().map(|m| (m.true_count() > 0).then_some(m)).collect::<Vec<_>>());
        }
        batches.push((envelope, rows, selected));
    }
    let mut hits = Vec::new();
    Ok(rate(rows, || {
        let mut operators: Vec<_> = pipeline.detections.iter().map(|d| d.operator.start()).collect();
        let mut watermark = Micros::MIN;
        for (envelope, rows, selected) in &batches {
            for (index, operator) in operators.iter_mut().enumerate() {
                let detection = &pipeline.detections[index];
                let step = Step { detection: index, by: &detection.by, envelope, from: 0, watermark };
                match selected[index].as_slice() {
                    [one] if detection.operator.inputs().is_empty() => {
                        operator.rows(&step, rows, one.as_ref(), &mut hits);
                    }
                    several => operator.inputs(&step, rows, several, &mut hits),
                }
                let passed = Step { from: rows.num_rows(), watermark: envelope.promise, ..step };
                operator.advance(&passed, &Blocks::default(), &mut hits);
            }
            hits.clear();
            watermark = envelope.promise;
        }
    }))
}

/// Seconds of processor that a process, or a thread, has had, by its folder in `/proc`.
pub(crate) fn processor_of(folder: &Path) -> Result<f64> {
    const TICKS_A_SECOND: f64 = 100.0;
    let file = folder.join("stat");
    let stat = std::fs::read_to_string(&file).with_context(|| file.display().to_string())?;
    let after = stat.rsplit_once(')').with_context(|| format!("no name in {}", file.display()))?.1;
    let fields: Vec<f64> = after.split_whitespace().skip(11).take(2).filter_map(|f| f.parse().ok()).collect();
    ensure!(fields.len() == 2, "no times in {}", file.display());
    Ok((fields[0] + fields[1]) / TICKS_A_SECOND)
}
