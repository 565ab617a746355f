//! A million connections at once fit into a gibibyte, also when a protocol is read in each.
#![allow(clippy::print_stderr, reason = "the test says what it measured")]

#[allow(unused, reason = "shared by the tests")]
mod common;

use etherparse::PacketBuilder;
use yagura_capture::{Engine, Limits, Packet};
use yagura_event::rows::{Row, RowSink};

const FLOWS: u32 = 1 << 20;
/// The memory is that of the process: one test at a time.
static ALONE: std::sync::Mutex<()> = std::sync::Mutex::new(());

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

/// What the ends of every connection say in turn: the client's messages and the server's.
struct Talk {
    protocol: &'static str,
    udp: bool,
    port: u16,
    said: Vec<(bool, Vec<u8>)>,
}

impl Talk {
    /// Whether the client sends it, and the frame.
    fn frames(&self) -> Vec<(bool, Vec<u8>)> {
        let mut frames = Vec::new();
        let mut next = [100, 500];
        if !self.udp {
            frames.push((true, common::tcp_frame(true, self.port, 99, None, "S", b"")));
            frames.push((false, common::tcp_frame(false, self.port, 499, Some(100), "S", b"")));
        }
        for (client, bytes) in &self.said {
            let (own, other) = (usize::from(!client), usize::from(*client));
            let frame = if self.udp {
                datagram(*client, self.port, bytes)
            } else {
                common::tcp_frame(*client, self.port, next[own], Some(next[other]), "", bytes)
            };
            frames.push((*client, frame));
            next[own] += bytes.len() as u32;
        }
        frames
    }
}

fn datagram(client: bool, port: u16, data: &[u8]) -> Vec<u8> {
    let (a, b) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let builder = if client {
        PacketBuilder::ethernet2([2; 6], [4; 6]).ipv4(a, b, 64).udp(4000, port)
    } else {
        PacketBuilder::ethernet2([4; 6], [2; 6]).ipv4(b, a, 64).udp(port, 4000)
    };
    let mut frame = Vec::new();
    builder.write(&mut frame, data).unwrap_or_else(|e| panic!("{e}"));
    frame
}

/// Opens that many connections; the engine that follows them, and bytes of memory used for each.
fn open_all(flows: u32, talk: &Talk) -> Option<(Engine, u64)> {
    let mut engine = Engine::new(common::options(Limits { flows_max: FLOWS as usize, ..Limits::default() }));
    let mut frames = talk.frames();
    let mut time = 1_700_000_000_000_000;
    let before = resident()?;
    for n in 0..flows {
        time += 10;
        for (client, frame) in &mut frames {
            let place = if *client { 26 } else { 30 };
            frame[place..place + 4].copy_from_slice(&(n | 11 << 24).to_be_bytes());
            let original = frame.len() as u32;
            engine.packet(&Packet { time, observed: time, link: 1, original, data: frame }, &mut Nothing);
        }
    }
    let stats = engine.stats();
    assert_eq!((stats.flows_open, stats.flows_evicted), (u64::from(flows), 0), "{}", talk.protocol);
    let used = resident()?.saturating_sub(before) / u64::from(flows);
    eprintln!("{:8} {used:5} bytes a connection after {} messages", talk.protocol, talk.said.len());
    Some((engine, used))
}

/// Counts the connections of a protocol.
struct Count(&'static str, u32);

impl RowSink for Count {
    fn push(&mut self, row: Row<'_>) {
        if let Row::Flow(flow) = row {
            self.1 += u32::from(flow.protocol == self.0);
        }
    }
}

fn talk(protocol: &'static str, udp: bool, port: u16, said: &[&[u8]]) -> Talk {
    let turns = said.iter().enumerate();
    Talk { protocol, udp, port, said: turns.map(|(n, bytes)| (n % 2 == 0, bytes.to_vec())).collect() }
}

const READ: &[u8] = b"\x00\x01\x00\x00\x00\x06\x01\x03\x00\x10\x00\x02";
const ANSWER: &[u8] = b"\x00\x01\x00\x00\x00\x07\x01\x03\x04\x00\x01\x00\x02";

/// What a plant's connections are mostly for.
fn talks() -> Vec<Talk> {
    vec![
        talk("modbus", false, 502, &[READ]),
        talk("modbus", false, 502, &[READ, ANSWER]),
        talk(
            "s7comm",
            false,
            102,
            &[
                b"\x03\x00\x00\x16\x11\xe0\x00\x00\x00\x01\x00\xc0\x01\x0a\xc1\x02\x01\x00\xc2\x02\x01\x02",
                b"\x03\x00\x00\x16\x11\xd0\x00\x01\x00\x02\x00\xc0\x01\x0a\xc1\x02\x01\x00\xc2\x02\x01\x02",
                b"\x03\x00\x00\x19\x02\xf0\x80\x32\x01\x00\x00\x00\x01\x00\x08\x00\x00\xf0\x00\x00\x01\x00\x01\x01\xe0",
                b"\x03\x00\x00\x1b\x02\xf0\x80\x32\x03\x00\x00\x00\x01\x00\x08\x00\x00\x00\x00\xf0\x00\x00\x01\x00\x01\x00\xf0",
            ],
        ),
        talk(
            "opcua",
            false,
            4840,
            &[
                b"HELF\x38\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x18\x00\x00\x00opc.tcp://10.0.0.2:4840/",
                b"ACKF\x1c\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00",
            ],
        ),
        talk(
            "dns",
            true,
            53,
            &[
                b"\x12\x34\x01\x00\x00\x01\x00\x00\x00\x00\x00\x00\x04tool\x03fab\x00\x00\x01\x00\x01",
                b"\x12\x34\x81\x80\x00\x01\x00\x01\x00\x00\x00\x00\x04tool\x03fab\x00\x00\x01\x00\x01\xc0\x0c\x00\x01\x00\x01\x00\x00\x00\x3c\x00\x04\x0a\x01\x02\x03",
            ],
        ),
        talk(
            "enip",
            false,
            44_818,
            &[
                b"\x65\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00",
                b"\x65\x00\x04\x00\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x00\x00",
            ],
        ),
    ]
}

/// What the flow table itself needs: no protocol recognises these bytes.
#[test]
fn a_million_connections_fit_into_a_gibibyte() {
    let unknown = talk("", false, 502, &[&[0xee; 12]]);
    fits(&[unknown], FLOWS);
}

/// With what a dissector remembers of a request and its reply.
#[test]
fn a_million_modbus_connections_fit_into_a_gibibyte() {
    fits(&[talk("modbus", false, 502, &[READ, ANSWER])], FLOWS);
}

/// Each protocol's share is the same for a million as for fewer.
#[test]
fn a_million_connections_of_a_plant_would_fit_into_a_gibibyte() {
    fits(&talks(), FLOWS / 32);
}

/// Lets `each` connections say each of `talks`, all of them at once.
fn fits(talks: &[Talk], each: u32) {
    let _alone = ALONE.lock();
    let (mut engines, mut all) = (Vec::new(), 0);
    for talk in talks {
        let Some((engine, used)) = open_all(each, talk) else {
            eprintln!("SKIPPED: the kernel does not say how much memory is in use");
            return;
        };
        engines.push((engine, talk.protocol));
        all += used * u64::from(each);
    }
    let mean = all / (u64::from(each) * talks.len() as u64);
    eprintln!("{mean} bytes a connection");
    assert!(mean < (1 << 30) / u64::from(FLOWS), "{mean} bytes a connection");
    for (mut engine, protocol) in engines {
        let mut count = Count(protocol, 0);
        engine.finish(&mut count);
        assert_eq!(count.1, each, "not all were taken for {protocol:?}");
    }
}
