//! Packet files as a source.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use yagura_capture::{Engine, EngineOptions, FileProblem, Limits, Packet, PacketFile, Stats};
use yagura_event::clock::Micros;
use yagura_event::rows::{CoverageRow, Row, RowSink};
use yagura_event::vocabulary::coverage;

use super::jsonl::fingerprint;
use crate::source::{Opened, Opening, Settings, Source, SourceError};

/// Settings of `kind: packets`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PacketFiles {
    /// The file.
    path: PathBuf,
    /// How much memory and time reading may take.
    #[serde(default)]
    limits: Option<Limits>,
}

impl Settings for PacketFiles {
    const KIND: &'static str = "packets";
    const READS: &'static str = "a pcap or pcapng file";

    fn open(self, at: &Opening<'_>) -> Result<Opened, SourceError> {
        let packets = Packets::open(at.collector, &at.path(&self.path), at.plant.engine(self.limits))?;
        Ok(Opened::Recorded(Box::new(packets)))
    }
}

/// A pcap or pcapng file being read.
pub struct Packets {
    collector: String,
    name: String,
    file: Option<PacketFile>,
    engine: Engine,
    epoch: u64,
    size: u64,
    position: u64,
    next: Option<Held>,
    packets: u64,
    last: Option<Micros>,
    broken: Option<String>,
    buffer: Vec<u8>,
}

/// The packet that comes next; its bytes are in the source's buffer.
struct Held {
    time: Micros,
    link: u16,
    original: u32,
}

impl Packets {
    /// Opens a file. One that can be opened but is damaged from its first byte on is no error:
    /// it becomes a `coverage` row.
    pub fn open(collector: &str, path: &Path, options: EngineOptions) -> Result<Self, SourceError> {
        let name = path.display().to_string();
        let fail = |e: std::io::Error| SourceError::Open {
            file: name.clone(),
            cause: format!("cannot be read: {e}"),
        };
        let mut opened = std::fs::File::open(path).map_err(fail)?;
        let size = opened.metadata().map_err(fail)?.len();
        let epoch = fingerprint(&mut opened, size).map_err(fail)?;
        let (file, broken) = match PacketFile::open(path) {
            Ok(file) => (Some(file), None),
            Err(error) => match error.reason {
                FileProblem::Io(cause) => return Err(fail(cause)),
                _ => (None, Some(error.to_string())),
            },
        };
        let mut packets = Packets {
            collector: collector.to_string(),
            name,
            file,
            engine: Engine::new(options),
            epoch,
            size,
            position: 0,
            next: None,
            packets: 0,
            last: None,
            broken,
            buffer: Vec::new(),
        };
        packets.read();
        Ok(packets)
    }

    /// What the packets were.
    pub fn stats(&self) -> Stats {
        self.engine.stats()
    }

    fn read(&mut self) {
        self.next = None;
        let Some(file) = &mut self.file else { return };
        match file.next_packet() {
            Ok(Some(packet)) => {
                self.buffer.clear();
                self.buffer.extend_from_slice(packet.data);
                self.next = Some(Held { time: packet.time, link: packet.link, original: packet.original });
            }
            Ok(None) => {}
            Err(error) => self.broken = Some(error.to_string()),
        }
        self.position = file.position();
    }

    fn say(&self, event: &str, detail: &str, out: &mut dyn RowSink) {
        let at = self.last.unwrap_or(0);
        out.push(Row::Coverage(&CoverageRow {
            time: at,
            until: at,
            observed: at,
            event,
            subject: &self.name,
            count: self.packets,
            detail,
            ..Default::default()
        }));
    }
}

impl Source for Packets {
    fn collector(&self) -> &str {
        &self.collector
    }

    fn epoch(&self) -> u64 {
        self.epoch
    }

    fn next_time(&mut self) -> Option<Micros> {
        // Packets of several interfaces may be out of order by a little: time does not run back.
        self.next.as_ref().map(|held| self.last.map_or(held.time, |last| last.max(held.time)))
    }

    fn advance(&mut self, out: &mut dyn RowSink) {
        let Some(held) = self.next.take() else { return };
        let observed = self.last.map_or(held.time, |last| last.max(held.time));
        let first = self.last.replace(observed).is_none();
        if first {
            self.say(coverage::START, &format!("a file of {} bytes", self.size), out);
        }
        self.packets += 1;
        let packet = Packet {
            time: held.time,
            observed,
            link: held.link,
            original: held.original,
            data: &self.buffer,
        };
        self.engine.packet(&packet, out);
        self.read();
    }

    fn finish(&mut self, out: &mut dyn RowSink) {
        self.engine.finish(out);
        match &self.broken {
            None => self.say(coverage::STOP, &format!("{} packets, to the end", self.packets), out),
            Some(cause) => {
                tracing::error!("{cause}; the {} packets before it were read", self.packets);
                self.say(coverage::CORRUPT, cause, out);
            }
        }
    }

    fn progress(&self) -> (u64, u64) {
        (self.position, self.size)
    }
}
