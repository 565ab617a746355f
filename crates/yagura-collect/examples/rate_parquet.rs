//! How fast samples of wide Parquet files come into the log: `cargo run --release --example rate_parquet [seconds]`.
//!
//! Files with a time and a hundred signals each, as traces of tools are, are followed by the real collector into an
//! embedded log in a temporary folder.

#![expect(clippy::print_stdout, reason = "its result")]

use std::sync::Arc;

use arrow::array::{ArrayRef, Float64Array, RecordBatch, TimestampMicrosecondArray};
use parquet::arrow::ArrowWriter;
use parquet::basic::Compression;
use parquet::file::properties::WriterProperties;
use serde_json::json;

mod rate;

const SIGNALS: usize = 100;
const ROWS: usize = 50_000;
/// Files of five million samples each.
const FILES: usize = 60;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let seconds = rate::seconds()?;
    let folder = tempfile::tempdir()?;
    for file in 0..FILES {
        write(&folder.path().join(format!("trace-{file:03}.parquet")), file)?;
    }
    println!("{FILES} files of {ROWS} rows and {SIGNALS} signals");
    let settings = json!({
        "name": "fdc", "kind": "files", "path": "*.parquet", "wide": { "time": "at", "tool": "CVD-01" },
    });
    rate::measure(&settings, folder.path(), seconds)
}

/// Signals that wander, in steps of a converter's sixteen bits.
fn write(path: &std::path::Path, seed: usize) -> Result<(), Box<dyn std::error::Error>> {
    let mut random = fastrand::Rng::with_seed(seed as u64);
    let begin = 1_793_689_201_000_000 + (seed * ROWS) as i64 * 100_000;
    let times = TimestampMicrosecondArray::from_iter_values((0..ROWS as i64).map(|n| begin + n * 100_000));
    let mut columns: Vec<(String, ArrayRef)> = vec![("at".into(), Arc::new(times))];
    for signal in 0..SIGNALS {
        let mut level = 30_000_i32;
        let values = (0..ROWS).map(|_| {
            level = (level + random.i32(-20..=20)).clamp(0, 65_535);
            f64::from(level) * 0.01
        });
        columns.push((format!("S{signal:03}"), Arc::new(Float64Array::from_iter_values(values))));
    }
    let batch = RecordBatch::try_from_iter(columns)?;
    let properties = WriterProperties::builder().set_compression(Compression::SNAPPY).build();
    let mut writer = ArrowWriter::try_new(std::fs::File::create(path)?, batch.schema(), Some(properties))?;
    writer.write(&batch)?;
    writer.close()?;
    Ok(())
}
