//! Inputs from captures: what each protocol's connections say, and the first packets of each file.
//!
//! A capture is read by the engine twice: once to learn which protocols are in it, and once for each
//! of them with that protocol alone, whose dissector is stood before by one that writes down what it
//! is given.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use yagura_capture::{Engine, EngineOptions, Limits, PacketFile};
use yagura_dissect::{Cx, Dissector, FlowInfo, Outcome, Protocol, Settings, Side, protocols};
use yagura_event::AssetTable;
use yagura_event::rows::{Row, RowSink};

use crate::input::{self, Step};
use crate::packets;

/// Most inputs of one protocol from one capture file.
const EACH_MAX: usize = 4;
/// Longest input. Longer ones are cut: the fuzzer is slow with them.
const BYTES_MAX: usize = 8 << 10;
/// Most packets that are read of a file, and that are put into an input of packets.
const PACKETS_READ: usize = 5_000;
const PACKETS_MAX: usize = 40;

thread_local! {
    static TAPPED: Cell<usize> = const { Cell::new(0) };
    static SAID: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

struct Nothing;

impl RowSink for Nothing {
    fn push(&mut self, _: Row<'_>) {}
}

/// Writes inputs of every capture file under `captures` into `folder`, a folder for each protocol
/// and `packets`.
pub fn write(captures: &Path, folder: &Path) -> std::io::Result<()> {
    for file in files(captures)? {
        let name = file.strip_prefix(captures).unwrap_or(&file).to_string_lossy().replace('/', "__");
        let Some(found) = read(&file, None) else { continue };
        let whole = whole_packets(&file);
        save(&folder.join("packets"), &name, &[whole])?;
        for (index, protocol) in protocols().iter().enumerate() {
            if found.contains_key(protocol.name) {
                TAPPED.set(index);
                SAID.take();
                read(&file, Some(protocol));
                let mut said = SAID.take();
                // Long conversations show more than the many short ones of a scan.
                said.sort_by_key(|input| std::cmp::Reverse(input.len()));
                said.truncate(EACH_MAX);
                save(&folder.join(protocol.name), &name, &said)?;
            }
        }
    }
    Ok(())
}

fn files(captures: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(captures)? {
        let path = entry?.path();
        if path.is_dir() {
            files.extend(self::files(&path)?);
        } else if path.extension().is_some_and(|e| e.to_string_lossy().contains("cap")) {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn save(folder: &Path, name: &str, inputs: &[Vec<u8>]) -> std::io::Result<()> {
    std::fs::create_dir_all(folder)?;
    for (number, input) in inputs.iter().enumerate() {
        let input = &input[..input.len().min(BYTES_MAX)];
        std::fs::write(folder.join(format!("{name}__{number}")), input)?;
    }
    Ok(())
}

/// Messages by protocol; `None` where the file is no capture. With a protocol, it is alone, and what
/// its connections say is kept in [`SAID`].
fn read(file: &Path, alone: Option<&Protocol>) -> Option<BTreeMap<&'static str, u64>> {
    let options = EngineOptions {
        assets: Arc::new(AssetTable::default()),
        settings: Arc::new(Settings::default()),
        limits: Limits::default(),
    };
    let mut engine = match alone {
        // A few for each file, in a program that ends soon.
        Some(p) => Engine::with_protocols(options, Box::leak(Box::new([tapped(p)]))),
        None => Engine::new(options),
    };
    let mut file = PacketFile::open(file).ok()?;
    for _ in 0..PACKETS_READ {
        let Ok(Some(packet)) = file.next_packet() else { break };
        engine.packet(&packet, &mut Nothing);
    }
    engine.finish(&mut Nothing);
    Some(engine.stats().messages)
}

fn tapped(protocol: &Protocol) -> Protocol {
    Protocol {
        name: protocol.name,
        carriers: protocol.carriers,
        probe: protocol.probe,
        start: |flow| Box::new(Tap::new(&protocols()[TAPPED.get()], flow)),
        buffer_bytes_max: protocol.buffer_bytes_max,
    }
}

fn whole_packets(file: &Path) -> Vec<u8> {
    let mut input = Vec::new();
    let Ok(mut file) = PacketFile::open(file) else { return input };
    let mut before = None;
    for _ in 0..PACKETS_MAX {
        let Ok(Some(packet)) = file.next_packet() else { break };
        if input.is_empty() {
            let Some(link) = packets::link(packet.link) else { break };
            input.push(link);
        }
        let passed = packet.time - before.replace(packet.time).unwrap_or(packet.time);
        packets::push(&mut input, (passed / 1000).clamp(0, 0xffff) as u16, packet.data);
    }
    input
}

/// Writes down what a dissector is given.
struct Tap {
    inner: Box<dyn Dissector>,
    input: Vec<u8>,
    /// Bytes of each side that it was given and was not done with.
    unread: [usize; 2],
}

impl Tap {
    fn new(protocol: &Protocol, flow: &FlowInfo) -> Tap {
        let at = protocol.carriers.iter().position(|c| c.transport == flow.transport).unwrap_or(0);
        let port = protocol.carriers[at].numbers.contains(&flow.server.port);
        let numbered = flow.server.port == 0;
        let setup = at as u8 & 3 | if port || numbered { 0 } else { 4 };
        Tap { inner: (protocol.start)(flow), input: vec![setup], unread: [0; 2] }
    }

    fn note(&mut self, step: &Step<'_>) {
        if self.input.len() < BYTES_MAX {
            input::push(&mut self.input, step);
        }
    }
}

impl Dissector for Tap {
    fn parse(&mut self, cx: &mut Cx<'_>, side: Side, bytes: &[u8]) -> Outcome {
        let new = bytes.get(self.unread[side as usize]..).unwrap_or_default();
        if !new.is_empty() {
            self.note(&Step::Bytes(side, 0, new));
        }
        let outcome = self.inner.parse(cx, side, bytes);
        self.unread[side as usize] = match outcome {
            Outcome::Consumed(n) => bytes.len().saturating_sub(n),
            Outcome::HandOver(_) | Outcome::Unrecoverable => 0,
        };
        outcome
    }

    fn gap(&mut self, cx: &mut Cx<'_>, side: Side, missing: u64) {
        let unread = std::mem::take(&mut self.unread[side as usize]) as u64;
        self.note(&Step::Gap(side, missing.saturating_sub(unread)));
        self.inner.gap(cx, side, missing);
    }

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.inner.expire(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.inner.close(cx);
        let input = std::mem::take(&mut self.input);
        SAID.with_borrow_mut(|said| said.push(input));
    }
}
