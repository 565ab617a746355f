//! Measures appending and reading: `cargo run --release -p yagura-log --example throughput [FOLDER]`.

use std::time::{Duration, Instant};

use bytes::Bytes;
use yagura_log::embedded::{Embedded, Options};
use yagura_log::{Log, LogError, Record};

#[expect(clippy::print_stdout, reason = "its purpose")]
#[expect(clippy::disallowed_methods, reason = "it measures")]
fn main() -> Result<(), LogError> {
    let parent = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, Into::into);
    let total: usize = 2 << 30;
    for (size, per_flush) in [(1 << 10, 4096), (16 << 10, 256), (64 << 10, 128), (64 << 10, 1)] {
        let total = if per_flush == 1 { total / 8 } else { total };
        let folder = parent.join(format!("yagura-throughput-{}", std::process::id()));
        let log = Embedded::open(&folder, Options::default())?;
        log.ensure_topic("events", 1)?;
        let value = Bytes::from((0..size).map(|n| (n * 31 % 251) as u8).collect::<Vec<u8>>());
        let record = Record { key: Bytes::from_static(b"cell"), header: Bytes::from_static(&[7; 64]), value };
        let mut appender = log.appender("events")?;
        let begin = Instant::now();
        for n in 0..total / size {
            appender.append(record.clone())?;
            if n % per_flush == per_flush - 1 {
                appender.flush()?;
            }
        }
        appender.flush()?;
        let appended = begin.elapsed();
        let end = log.held("events", 0)?.end;
        let mut best = Duration::MAX;
        for _ in 0..2 {
            let begin = Instant::now();
            let mut reader = log.reader("events", 0, 0)?;
            while reader.position() < end {
                reader.read(1 << 20, Duration::ZERO)?;
            }
            best = best.min(begin.elapsed());
        }
        let rate = |time: Duration| total as f64 / 1e6 / time.as_secs_f64();
        println!(
            "records of {size} bytes, fdatasync every {} KiB: append {:.0} MB/s, read with CRC {:.0} MB/s",
            (size * per_flush) >> 10,
            rate(appended),
            rate(best),
        );
        drop((appender, log));
        std::fs::remove_dir_all(&folder)
            .map_err(|cause| LogError::Io { what: "cleaning up".to_owned(), cause })?;
    }
    Ok(())
}
