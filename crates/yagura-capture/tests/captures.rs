//! Every real capture is read whole, the same each time, and damaged ones without a panic.
#![allow(clippy::print_stderr, reason = "tests say what they skip and what they met")]

#[allow(unused, reason = "shared by the tests")]
mod common;

use std::path::Path;

use yagura_capture::{Engine, FileSummary, Limits, PacketFile, Stats, read_file};
use yagura_event::rows::{Row, RowSink};

/// Counts rows and digests the flows, so that runs can be compared.
#[derive(Default, PartialEq, Debug)]
struct Tally {
    rows: u64,
    flows: Vec<(u64, u64, u64)>,
    /// Flow rows that are the last of their flow.
    ended: u64,
    corrupt: u64,
}

impl RowSink for Tally {
    fn push(&mut self, row: Row<'_>) {
        self.rows += 1;
        match row {
            Row::Flow(f) => {
                self.ended += u64::from(f.state != "open");
                self.flows.push((f.flow, f.client_bytes, f.server_bytes));
            }
            Row::Coverage(c) if c.event == "corrupt" => self.corrupt += 1,
            _ => {}
        }
    }
}

fn read(path: &Path) -> (FileSummary, Tally, Stats) {
    let mut engine = Engine::new(common::options(Limits::default()));
    let mut tally = Tally::default();
    let summary = read_file(path, &mut engine, &mut tally, |_, _| {});
    engine.finish(&mut tally);
    (summary, tally, engine.stats())
}

#[test]
fn every_capture_has_the_packets_that_the_manifest_counts() {
    let Some(captures) = common::captures() else {
        return;
    };
    let mut files = 0;
    for (path, packets) in common::manifest(&captures) {
        let (summary, tally, stats) = read(&path);
        files += 1;
        assert_eq!(summary.packets, stats.packets, "{}", path.display());
        assert_eq!(tally.corrupt, u64::from(summary.error.is_some()), "{}", path.display());
        match &summary.error {
            None => assert_eq!(summary.packets, packets, "{}", path.display()),
            Some(error) => {
                eprintln!("{error} ({} of {packets} packets)", summary.packets);
                assert!(summary.packets <= packets, "{error}");
            }
        }
    }
    assert!(files > 100, "{files}");
}

#[test]
fn reading_again_gives_the_same_rows() {
    let Some(captures) = common::captures() else {
        return;
    };
    for (path, _) in common::manifest(&captures).iter().step_by(23) {
        assert_eq!(read(path).1, read(path).1, "{}", path.display());
    }
}

#[test]
fn captures_with_flipped_bits_and_bytes_never_panic() {
    let Some(captures) = common::captures() else {
        return;
    };
    let mut random = 0x2545_f491_4f6c_dd1du64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for (path, _) in common::manifest(&captures) {
        let Ok(bytes) = std::fs::read(&path) else {
            continue;
        };
        if bytes.len() > 300_000 || bytes.len() < 64 {
            continue;
        }
        for round in 0..4 {
            let mut bytes = bytes.clone();
            // In the last rounds the file's framing suffers too.
            let flips = 1 + bytes.len() / 200;
            for _ in 0..flips {
                let from = if round < 2 { 40 } else { 0 };
                let place = from + next() as usize % (bytes.len() - from);
                bytes[place] ^= 1 << (next() % 8);
            }
            let size = bytes.len() as u64;
            let source = Box::new(std::io::Cursor::new(bytes));
            let mut engine = Engine::new(common::options(Limits {
                flows_max: 50,
                held_bytes_max: 10_000,
                unread_bytes_max: 10_000,
                ..Limits::default()
            }));
            let mut tally = Tally::default();
            if let Ok(mut file) = PacketFile::from_reader("mutated", source, size) {
                while let Ok(Some(packet)) = file.next_packet() {
                    engine.packet(&packet, &mut tally);
                    assert!(engine.stats().flows_open <= 50);
                }
            }
            engine.finish(&mut tally);
            assert_eq!(engine.stats().flows, tally.ended, "{}", path.display());
        }
    }
}
