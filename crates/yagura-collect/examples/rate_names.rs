//! How fast names are resolved and values written: `rate_names [SECONDS]`, two for each figure unless told
//! otherwise. A table of 100,000 lines (four fifths literal), a million names, and values of 10,000 signals
//! through [`Signals`] into a [`RowWriter`] whose records are thrown away. Seconds are those of the processor
//! where the kernel tells them, so that what else the machine does does not count.
#![allow(clippy::print_stdout, reason = "the figures are the output")]

use std::fmt::Write;
use std::sync::Arc;

use yagura_collect::names::{Given, NameTable, Reading, Signals};
use yagura_collect::writer::RowWriter;
use yagura_collect::{PlacedSink, SeriesOf};
use yagura_event::clock::{self, Micros, SECOND};
use yagura_event::rows::{MeasuredRow, Row, RowSink};
use yagura_event::{Asset, AssetTable};

const TOOLS: usize = 1000;
const SIGNALS: usize = 10_000;
const NAMES: usize = 1_000_000;

fn main() {
    let seconds = std::env::args().nth(1).map_or(2.0, |a| a.parse().unwrap_or_else(|e| panic!("{a}: {e}")));
    let limit = (seconds * SECOND as f64) as Micros;
    let folder = tempfile::tempdir().unwrap_or_else(|e| panic!("{e}"));
    let file = folder.path().join("names.csv");
    std::fs::write(&file, table()).unwrap_or_else(|e| panic!("{e}"));
    let (table, took) = timed(|| NameTable::read(&[file]).unwrap_or_else(|e| panic!("{e}")));
    let table = Arc::new(table);
    println!("{} lines read in {took:.2} s, {} of them covered", table.len(), table.covered().len());
    let before = resident();
    let mut signals = Signals::new("bench", &table);
    let names: Vec<String> = (0..NAMES).map(name).collect();
    let (_, took) = timed(|| names.iter().for_each(|name| _ = signals.number(&given(name))));
    let (unmapped, bytes) = (signals.unmapped().count(), (resident() - before) as usize);
    println!(
        "{NAMES} names resolved in {took:.2} s ({:.0}/s), {unmapped} unmapped, {} bytes a name with the list of them",
        NAMES as f64 / took,
        bytes / NAMES
    );
    let (_, took) = timed(|| names.iter().for_each(|name| _ = signals.number(&given(name))));
    println!("known names in the same order: {:.1} M/s", NAMES as f64 / took / 1e6);
    let shuffled = |n: usize| n.wrapping_mul(7919) % SIGNALS;
    let (_, took) = timed(|| (0..NAMES).for_each(|n| _ = signals.number(&given(&names[shuffled(n) * 97]))));
    println!("known names in another order: {:.1} M/s", NAMES as f64 / took / 1e6);

    let numbers: Vec<u32> = (0..SIGNALS).map(|n| signals.number(&given(&names[n * 97]))).collect();
    let tools: Vec<String> = (0..SIGNALS).map(|n| format!("T-{}", n * 97 % TOOLS)).collect();
    rate("values by name (MeasuredRow)", limit, |n, out| {
        let n = n % SIGNALS;
        let signal = &names[n * 97];
        let row = MeasuredRow {
            tool: &tools[n],
            signal,
            unit: "mTorr",
            class: "pressure",
            source: "bench",
            ..of(n)
        };
        out.push(Row::Measured(&row));
        1
    });
    rate("values by number, in order", limit, |n, out| {
        signals.value(numbers[n % SIGNALS], at(n), n as f64, out);
        1
    });
    rate("values by number, in another order", limit, |n, out| {
        signals.value(numbers[shuffled(n)], at(n), n as f64, out);
        1
    });
    rate("values by number, each at a place of a stream", limit, |n, out| {
        if n.is_multiple_of(8) {
            out.at("file", n as u64 / 8);
        }
        signals.value(numbers[n % SIGNALS], at(n), n as f64, out);
        1
    });
    let times: Vec<Micros> = (0..65_536).map(|n| clock::now() + n * 100_000).collect();
    let values: Vec<f64> = (0..65_536).map(|n| f64::from(n % 1000) / 8.0).collect();
    rate("columns of 65,536", limit, |n, out| {
        signals.values(numbers[n / 65_536 % SIGNALS], (times[0], 0), &times, &values, out);
        65_536
    });
    rate("columns of 64", limit, |n, out| {
        signals.values(numbers[n / 64 % SIGNALS], (times[0], 0), &times[..64], &values[..64], out);
        64
    });
    let mut none = Nowhere(0.0);
    let (count, took) = timed_for(limit, |n| {
        signals.value(numbers[n % SIGNALS], at(n), n as f64, &mut none);
        1
    });
    println!("{:<50} {:>7.1} M/s ({})", "values into nothing", count as f64 / took / 1e6, none.0 > 0.0);
}

/// Takes values and does nothing with them.
struct Nowhere(f64);

impl RowSink for Nowhere {
    fn push(&mut self, _: Row<'_>) {}
}

impl PlacedSink for Nowhere {
    fn sample(&mut self, _: SeriesOf, _: Reading, value: f64) -> bool {
        self.0 += value;
        true
    }
}

/// 100 lines a tool: 80 names, and 20 patterns for groups of names.
fn table() -> String {
    let mut out = String::from("name,cell,tool,chamber,signal,unit,from_unit,class\n");
    for tool in 0..TOOLS {
        for signal in 0..80 {
            let _ = writeln!(
                out,
                "T-{tool}/PM1/s{signal},bay-{},T-{tool},PM1,s{signal},mTorr,Pa,pressure",
                tool % 8
            );
        }
        for group in 0..20 {
            let _ = writeln!(
                out,
                "T-{tool}/PM{{chamber}}/g{group}/{{signal}},bay-{},T-{tool},,,W,,power",
                tool % 8
            );
        }
    }
    out
}

/// Of each ten names one is literal in the table, eight match a pattern and one is not mapped.
fn name(n: usize) -> String {
    let (tool, signal) = (n % TOOLS, n / TOOLS);
    match signal % 10 {
        0 if signal / 10 < 80 => format!("T-{tool}/PM1/s{}", signal / 10),
        9 => format!("T-{tool}/unknown/{signal}"),
        group => format!("T-{tool}/PM{}/g{}/x{signal}", signal % 4, group + signal % 2),
    }
}

fn given(name: &str) -> Given<'_> {
    Given { name, ..Given::default() }
}

fn at(n: usize) -> Reading {
    let now = 1_790_000_000_000_000 + (n as Micros) * 10;
    Reading { time: now, observed: now, quality: 0 }
}

fn of(n: usize) -> MeasuredRow<'static> {
    let Reading { time, observed, quality } = at(n);
    MeasuredRow { time, observed, quality, value: n as f64, ..MeasuredRow::default() }
}

/// Does it with rows that are written, for some time; prints how many rows a second.
fn rate(what: &str, limit: Micros, mut step: impl FnMut(usize, &mut dyn PlacedSink) -> usize) {
    let assets = (0..TOOLS).map(|tool| Asset {
        name: format!("T-{tool}"),
        cell: format!("bay-{}", tool % 8),
        ..Asset::default()
    });
    let mut writer = RowWriter::new("bench", 1, Arc::new(AssetTable::new(assets.collect(), "bay")));
    let mut bytes = 0;
    let (count, took) = timed_for(limit, |n| {
        let rows = step(n, &mut writer);
        if (n / 65_536) != (n + rows) / 65_536 {
            let records = writer.take().unwrap_or_else(|e| panic!("{e}"));
            bytes += records.iter().map(yagura_log::Record::size).sum::<usize>();
        }
        rows
    });
    println!(
        "{what:<50} {:>7.1} M/s, {:.1} bytes a value",
        count as f64 / took / 1e6,
        bytes as f64 / count as f64
    );
    // For `cargo xtask bench collect`.
    println!("figure\t{what}\t{:.0}\tvalues/s", count as f64 / took);
}

fn timed_for(limit: Micros, mut step: impl FnMut(usize) -> usize) -> (usize, f64) {
    let (until, begin, mut n) = (clock::steady() + limit, busy(), 0);
    while clock::steady() < until {
        let round = n + 65_536;
        while n < round {
            n += step(n);
        }
    }
    (n, busy() - begin)
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, f64) {
    let begin = busy();
    let done = work();
    (done, busy() - begin)
}

/// For how many seconds this thread was on a processor; the clock's where the kernel does not say.
fn busy() -> f64 {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    match told.split(' ').next().and_then(|nanos| nanos.parse::<f64>().ok()) {
        Some(nanos) => nanos / 1e9,
        None => clock::steady() as f64 / SECOND as f64,
    }
}

/// Bytes of memory in use; 0 where the kernel does not say.
fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"));
    line.and_then(|l| l.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).unwrap_or(0) * 1024
}
