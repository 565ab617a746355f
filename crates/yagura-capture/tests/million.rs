//! A million connections at once fit into a gibibyte.
#![allow(clippy::print_stderr, reason = "the test says what it measured")]

#[allow(unused, reason = "shared by the tests")]
mod common;

use yagura_capture::{Engine, Limits, Packet};
use yagura_event::rows::{Row, RowSink};

const FLOWS: u32 = 1 << 20;

struct Nothing;

impl RowSink for Nothing {
    fn push(&mut self, _: Row<'_>) {}
}

/// Memory of this process in bytes, as the kernel counts it; `None` where it does not say.
fn resident() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|l| l.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

/// Opens a million connections that carry `payload`; bytes of memory used.
fn open_all(payload: &[u8]) -> Option<u64> {
    let before = resident()?;
    let mut engine = Engine::new(common::options(Limits { flows_max: FLOWS as usize, ..Limits::default() }));
    let mut syn = common::tcp_frame(true, 502, 99, None, "S", b"");
    let mut data = common::tcp_frame(true, 502, 100, Some(1), "", payload);
    let mut time = 1_700_000_000_000_000;
    for n in 0..FLOWS {
        time += 10;
        for frame in [&mut syn, &mut data] {
            frame[27..30].copy_from_slice(&n.to_be_bytes()[1..]);
            let original = frame.len() as u32;
            engine.packet(&Packet { time, observed: time, link: 1, original, data: frame }, &mut Nothing);
        }
    }
    let stats = engine.stats();
    assert_eq!((stats.flows_open, stats.flows_evicted), (u64::from(FLOWS), 0));
    resident().map(|now| now.saturating_sub(before))
}

/// What the flow table itself needs: no protocol recognises these bytes, so that no dissector's
/// own memory is counted.
#[test]
fn a_million_connections_fit_into_a_gibibyte() {
    let Some(used) = open_all(b"\xee\xee\xee\xee\xee\xee\xee\xee\xee\xee\xee\xee") else {
        eprintln!("SKIPPED: the kernel does not say how much memory is in use");
        return;
    };
    eprintln!("{} bytes a flow, {} MiB in all", used / u64::from(FLOWS), used >> 20);
    assert!(used < 1 << 30, "{used} bytes");
}
