//! A line protocol to dissect, packets to feed, and the place of real captures.
#![allow(dead_code, reason = "every test binary uses a part of it")]
#![allow(clippy::print_stderr, reason = "tests that are skipped say so")]

use std::path::PathBuf;
use std::sync::Arc;

use etherparse::PacketBuilder;
use yagura_capture::{Engine, EngineOptions, Limits, Packet};
use yagura_dissect::{Carrier, Cx, Dissector, FlowInfo, Outcome, Probe, Protocol, Settings, Side};
use yagura_event::AssetTable;
use yagura_event::rows::{LogRow, MessageRow, OwnedRow, Row};

/// `LN` and lines that end in a line feed; a `!` at a line's begin breaks the protocol, after a
/// line `over` comes another.
pub static LINES: &[Protocol] = &[Protocol {
    name: "lines",
    carriers: &[Carrier::tcp(&[7777]), Carrier::udp(&[7777])],
    probe: |glimpse| match glimpse.bytes {
        [b'L', b'N', ..] => Probe::Yes,
        [] | [b'L'] => Probe::More,
        _ => Probe::No,
    },
    start: |_: &FlowInfo| Box::new(Lines),
    buffer_bytes_max: 200_000,
}];

struct Lines;

fn log(cx: &mut Cx<'_>, event: &str, side: Option<Side>, text: &str) {
    let category = side.map_or("", |s| if s == Side::Client { "client" } else { "server" });
    cx.out.push(Row::Log(&LogRow {
        time: cx.time,
        observed: cx.observed,
        category,
        event,
        description: text,
        ..LogRow::default()
    }));
}

impl Dissector for Lines {
    fn parse(&mut self, cx: &mut Cx<'_>, side: Side, bytes: &[u8]) -> Outcome {
        if bytes[0] == b'!' {
            return Outcome::Unrecoverable;
        }
        let Some(end) = bytes.iter().position(|b| *b == b'\n') else {
            return Outcome::Consumed(0);
        };
        log(cx, "line", Some(side), &String::from_utf8_lossy(&bytes[..end]));
        cx.out.push(Row::Message(&MessageRow { flow: cx.flow.flow, ..MessageRow::default() }));
        if &bytes[..end] == b"over" { Outcome::HandOver(end + 1) } else { Outcome::Consumed(end + 1) }
    }

    fn gap(&mut self, cx: &mut Cx<'_>, side: Side, missing: u64) {
        log(cx, "gap", Some(side), &missing.to_string());
    }

    fn expire(&mut self, cx: &mut Cx<'_>) {
        log(cx, "expire", None, "");
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        log(cx, "close", None, "");
    }
}

pub fn options(limits: Limits) -> EngineOptions {
    EngineOptions { assets: Arc::new(AssetTable::default()), settings: Arc::new(Settings::default()), limits }
}

/// An engine for lines, what it gave, and a clock.
pub struct Bench {
    pub engine: Engine,
    pub rows: Vec<OwnedRow>,
    pub time: i64,
}

impl Bench {
    pub fn new(limits: Limits) -> Bench {
        Bench {
            engine: Engine::with_protocols(options(limits), LINES),
            rows: Vec::new(),
            time: 1_700_000_000_000_000,
        }
    }

    /// One Ethernet frame, a millisecond after the last.
    pub fn frame(&mut self, frame: &[u8]) {
        self.cut_frame(frame, frame.len());
    }

    /// A frame of which `captured` bytes were captured.
    pub fn cut_frame(&mut self, frame: &[u8], captured: usize) {
        self.time += 1000;
        let packet = Packet {
            time: self.time,
            observed: self.time,
            link: 1,
            original: frame.len() as u32,
            data: &frame[..captured.min(frame.len())],
        };
        self.engine.packet(&packet, &mut self.rows);
    }

    pub fn finish(&mut self) {
        self.engine.finish(&mut self.rows);
    }

    /// What the line dissector saw: `c:text`, `s:gap 5`, `close`.
    pub fn seen(&self) -> Vec<String> {
        let logs = self.rows.iter().filter(|r| r.kind == yagura_event::Kind::Log);
        logs.filter(|r| r.text("event") != "expire")
            .map(|r| match (r.text("event"), r.text("category")) {
                ("line", side) => format!("{}:{}", &side[..1], r.text("description")),
                ("gap", side) => format!("{}:gap {}", &side[..1], r.text("description")),
                (event, _) => event.to_string(),
            })
            .collect()
    }

    pub fn of(&self, kind: yagura_event::Kind) -> Vec<&OwnedRow> {
        self.rows.iter().filter(|r| r.kind == kind).collect()
    }
}

/// A TCP segment between the client 10.0.0.1:4000 and the server 10.0.0.2:`port`.
#[derive(Clone, Copy)]
pub struct Tcp {
    pub client: bool,
    pub port: u16,
    pub seq: u32,
    pub ack: Option<u32>,
    pub flags: &'static str,
    pub data: &'static [u8],
}

impl Tcp {
    pub fn frame(&self) -> Vec<u8> {
        tcp_frame(self.client, self.port, self.seq, self.ack, self.flags, self.data)
    }
}

pub fn tcp_frame(client: bool, port: u16, seq: u32, ack: Option<u32>, flags: &str, data: &[u8]) -> Vec<u8> {
    let (a, b) = ([10, 0, 0, 1], [10, 0, 0, 2]);
    let (mac_a, mac_b) = ([2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]);
    let builder = if client {
        PacketBuilder::ethernet2(mac_a, mac_b).ipv4(a, b, 64).tcp(4000, port, seq, 8000)
    } else {
        PacketBuilder::ethernet2(mac_b, mac_a).ipv4(b, a, 64).tcp(port, 4000, seq, 8000)
    };
    let builder = ack.into_iter().fold(builder, |b, ack| b.ack(ack));
    let builder = flags.chars().fold(builder, |b, flag| match flag {
        'S' => b.syn(),
        'F' => b.fin(),
        'R' => b.rst(),
        other => panic!("no flag {other}"),
    });
    let mut frame = Vec::new();
    builder.write(&mut frame, data).unwrap_or_else(|e| panic!("{e}"));
    frame
}

/// The folder of real captures; `None`, said plainly, when it is absent.
pub fn captures() -> Option<PathBuf> {
    let shared = std::env::var_os("YAGURA_SHARED")
        .map(PathBuf::from)
        .unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared"));
    let captures = shared.join("captures");
    if captures.join("MANIFEST.csv").is_file() {
        return Some(captures);
    }
    eprintln!("SKIPPED: no captures under {}; set YAGURA_SHARED", shared.display());
    None
}

/// Folder, file and packets of every capture in the manifest.
pub fn manifest(captures: &std::path::Path) -> Vec<(PathBuf, u64)> {
    let text = std::fs::read_to_string(captures.join("MANIFEST.csv"))
        .unwrap_or_else(|e| panic!("MANIFEST.csv: {e}"));
    text.lines()
        .skip(1)
        .filter_map(|line| {
            let mut fields = line.split(',');
            let path = captures.join(fields.next()?).join(fields.next()?);
            Some((path, fields.next()?.parse().unwrap_or(0)))
        })
        .collect()
}
