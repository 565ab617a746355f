//! Packets that were tampered with, the same ones for the same seed.

use std::path::PathBuf;

use yagura_capture::{Engine, Limits, Packet, PacketFile};
use yagura_event::rows::{Row, RowSink};

/// Counts rows on their way.
struct Rows<'a, S> {
    count: u64,
    out: &'a mut S,
}

impl<S: RowSink> RowSink for Rows<'_, S> {
    fn push(&mut self, row: Row<'_>) {
        self.count += 1;
        self.out.push(row);
    }
}

/// What a run came to.
pub struct Outcome {
    pub packets: u64,
    pub rows: u64,
    pub flows: u64,
    /// The longest time any packet took.
    pub slowest: std::time::Duration,
}

/// xorshift64: good enough to choose bytes, and the same everywhere.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, n: usize) -> usize {
        if n == 0 { 0 } else { (self.next() >> 16) as usize % n }
    }
}

/// A packet to tamper with.
pub struct Original {
    link: u16,
    data: Vec<u8>,
}

/// Up to `each` packets of every capture file, and some made here.
pub fn originals(files: &[PathBuf], each: usize) -> Vec<Original> {
    let mut all = Vec::new();
    for path in files {
        let Ok(mut file) = PacketFile::open(path) else {
            continue;
        };
        for _ in 0..each {
            let Ok(Some(packet)) = file.next_packet() else {
                break;
            };
            all.push(Original {
                link: packet.link,
                data: packet.data[..packet.data.len().min(2000)].to_vec(),
            });
        }
    }
    for port in [102u16, 502, 2404, 4840, 5000, 20_000, 44_818] {
        for n in 0..8u32 {
            let data: Vec<u8> = (0..n * 9).map(|b| (b * 7 + n) as u8).collect();
            all.push(Original {
                link: 1,
                data: super::tcp_frame(true, port, 1000 + n * 30, Some(1), "", &data),
            });
        }
    }
    all
}

/// Tampers with `count` packets and lets an engine read them. The originals come in order, so
/// that connections make sense until something breaks. Rows go to `out`, and `take` takes from it
/// what is ready, now and then and at the end.
pub fn run<S: RowSink>(
    originals: &[Original],
    count: u64,
    seed: u64,
    limits: Limits,
    out: &mut S,
    mut take: impl FnMut(&mut S),
) -> Outcome {
    let flows_max = limits.flows_max as u64;
    let mut engine = Engine::new(super::options(limits));
    let mut random = Random::new(seed);
    let mut rows = Rows { count: 0, out };
    let (mut time, mut at) = (1_700_000_000_000_000i64, 0);
    let mut data = Vec::new();
    let mut slowest = std::time::Duration::ZERO;
    for number in 0..count {
        at = if random.below(200) == 0 { random.below(originals.len()) } else { (at + 1) % originals.len() };
        let original = &originals[at];
        data.clear();
        data.extend_from_slice(&original.data);
        tamper(&mut data, originals, &mut random);
        time += match random.below(10_000) {
            0 => 90_000_000,
            1 => -5_000_000,
            n => n as i64,
        };
        let cut = if random.below(50) == 0 { random.below(data.len() + 1) } else { data.len() };
        let packet = Packet {
            time,
            observed: time,
            link: original.link,
            original: data.len() as u32,
            data: &data[..cut],
        };
        #[expect(clippy::disallowed_methods, reason = "a hang is found by the clock")]
        let start = std::time::Instant::now();
        engine.packet(&packet, &mut rows);
        slowest = slowest.max(start.elapsed());
        if number % 1024 == 0 {
            let stats = engine.stats();
            assert!(stats.flows_open <= flows_max, "seed {seed}, packet {number}");
            take(rows.out);
        }
    }
    engine.finish(&mut rows);
    take(rows.out);
    let stats = engine.stats();
    Outcome { packets: stats.packets, rows: rows.count, flows: stats.flows, slowest }
}

fn tamper(data: &mut Vec<u8>, originals: &[Original], random: &mut Random) {
    for _ in 0..random.below(4) {
        if data.is_empty() {
            return;
        }
        // Half of all changes hit the payload: most headers that are broken end the story early.
        let from = if random.below(2) == 0 { 0 } else { data.len().min(54) };
        let place = (from + random.below(data.len() - from + 1)).min(data.len() - 1);
        match random.below(7) {
            0 => data[place] ^= 1 << random.below(8),
            1 => data[place] = random.next() as u8,
            2 => data[place] = [0, 0xff, 0x7f, 0x80][random.below(4)],
            3 => data.truncate(place),
            4 => {
                let end = (place + random.below(32)).min(data.len());
                data.drain(place..end);
            }
            5 => {
                let end = (place + random.below(32)).min(data.len());
                let copy = data[place..end].to_vec();
                data.splice(place..place, copy);
            }
            _ => {
                let other = &originals[random.below(originals.len())].data;
                let start = random.below(other.len());
                let end = (start + random.below(64)).min(other.len());
                data.splice(place..place, other[start..end].iter().copied());
            }
        }
    }
}
