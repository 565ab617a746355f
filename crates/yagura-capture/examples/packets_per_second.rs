//! How many packets a second one core follows: small segments of many connections, from memory.
//!
//! `cargo run --release -p yagura-capture --example packets_per_second [FILE]` measures a capture
//! file instead when one is named.
#![allow(clippy::print_stdout, reason = "the figures are the output")]

use std::path::PathBuf;
use std::sync::Arc;

use etherparse::PacketBuilder;
use yagura_capture::{Engine, EngineOptions, Limits, Packet, PacketFile};
use yagura_dissect::Settings;
use yagura_event::AssetTable;
use yagura_event::rows::{Row, RowSink};

struct Count(u64);

impl RowSink for Count {
    fn push(&mut self, _: Row<'_>) {
        self.0 += 1;
    }
}

fn engine() -> Engine {
    Engine::new(EngineOptions {
        assets: Arc::new(AssetTable::default()),
        settings: Arc::new(Settings::default()),
        limits: Limits::default(),
    })
}

/// Runs `f` and says how many packets a second that was.
fn measure(what: &str, f: impl FnOnce() -> (u64, u64)) {
    #[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
    let start = std::time::Instant::now();
    let (packets, rows) = f();
    let seconds = start.elapsed().as_secs_f64();
    let rate = packets as f64 / seconds / 1e6;
    println!("{what}: {packets} packets, {rows} rows, {seconds:.3} s, {rate:.2} million packets/s");
}

/// Each connection sends `payload` bytes in turn, `rounds` times.
fn connections(count: u32, rounds: u32, payload: usize) {
    let mut frames: Vec<Vec<u8>> = (0..count)
        .map(|n| {
            let client = [10, 1, (n >> 8) as u8, n as u8];
            let mut frame = Vec::new();
            PacketBuilder::ethernet2([2; 6], [4; 6])
                .ipv4(client, [10, 0, 0, 1], 64)
                .tcp(40_000, 9999, 1, 8000)
                .write(&mut frame, &vec![0xee; payload])
                .unwrap_or_else(|e| panic!("{e}"));
            frame
        })
        .collect();
    measure(&format!("{count} TCP connections, {payload} bytes each packet"), || {
        let (mut engine, mut rows, mut time) = (engine(), Count(0), 0);
        for round in 0..rounds {
            let seq = (1 + round * payload as u32).to_be_bytes();
            for frame in &mut frames {
                frame[38..42].copy_from_slice(&seq);
                time += 1;
                let packet =
                    Packet { time, observed: time, link: 1, original: frame.len() as u32, data: frame };
                engine.packet(&packet, &mut rows);
            }
        }
        engine.finish(&mut rows);
        (engine.stats().packets, rows.0)
    });
}

fn main() {
    let Some(path) = std::env::args().nth(1).map(PathBuf::from) else {
        connections(100, 100_000, 12);
        connections(10_000, 1_000, 12);
        connections(60_000, 100, 12);
        return;
    };
    for _ in 0..3 {
        measure(&path.display().to_string(), || {
            let (mut engine, mut rows) = (engine(), Count(0));
            match PacketFile::open(&path) {
                Ok(mut file) => {
                    while let Ok(Some(packet)) = file.next_packet() {
                        engine.packet(&packet, &mut rows);
                    }
                }
                Err(error) => println!("{error}"),
            }
            engine.finish(&mut rows);
            (engine.stats().packets, rows.0)
        });
    }
}
