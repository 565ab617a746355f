//! Reads packets that were tampered with, from bytes to records of Arrow batches: `mutate [COUNT [SEED]]`, a million unless told
//! otherwise. Originals are the captures under `YAGURA_SHARED`, if there are any.
#![allow(clippy::print_stdout, reason = "the figures are the output")]

#[allow(unused, reason = "shared with the tests")]
#[path = "../../yagura-capture/tests/common/mod.rs"]
mod common;
#[path = "../../yagura-capture/tests/common/mutate.rs"]
mod mutate;

use std::sync::Arc;

use common::{options, tcp_frame};
use yagura_capture::Limits;
use yagura_collect::writer::RowWriter;
use yagura_event::AssetTable;

const ROUND: u64 = 500_000;
const MEMORY_MAX: u64 = 2 << 30;

/// The most memory this process ever used, in bytes; 0 where the kernel does not say.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmHWM:"));
    line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}

fn main() {
    let mut numbers =
        std::env::args().skip(1).map(|a| a.parse::<u64>().unwrap_or_else(|e| panic!("{a}: {e}")));
    let (count, seed) = (numbers.next().unwrap_or(1_000_000), numbers.next().unwrap_or(1));
    let files: Vec<_> = common::captures()
        .map(|captures| common::manifest(&captures).into_iter().map(|(path, _)| path).collect())
        .unwrap_or_default();
    let originals = mutate::originals(&files, 400);
    let (mut done, mut records) = (0, 0);
    for round in 0.. {
        let now = (count - done).min(ROUND);
        if now == 0 {
            break;
        }
        let mut writer = RowWriter::new("mutate", seed + round, Arc::new(AssetTable::default()));
        let mut take = |writer: &mut RowWriter| {
            records += writer.take().unwrap_or_else(|e| panic!("{e}")).len();
        };
        let outcome = mutate::run(&originals, now, seed + round, Limits::default(), &mut writer, &mut take);
        writer.close(i64::MAX);
        take(&mut writer);
        done += outcome.packets;
        println!(
            "seed {}: {done} of {count} packets, {} flows, {} rows, {records} records, the slowest packet took {:?}, peak {} MiB",
            seed + round,
            outcome.flows,
            outcome.rows,
            outcome.slowest,
            peak() >> 20,
        );
        assert!(outcome.slowest.as_secs() < 5, "a packet took {:?}", outcome.slowest);
        assert!(peak() < MEMORY_MAX, "{} bytes", peak());
    }
}
