//! A ring of raw packets for forensics: pcapng files, bounded in size and age.
//!
//! Packets gather in memory and are written in batches of whole blocks, so that every file reads
//! to its last whole batch after a crash. Files that were there before stay and count. Format:
//! draft-ietf-opsawg-pcapng.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use yagura_event::amounts::{duration, size};
use yagura_event::clock::{Micros, SECOND};

use crate::engine::Packet;

const BATCH: usize = 1 << 20;
const INTERFACES_MAX: usize = 256;
const PREFIX: &str = "packets-";
const SUFFIX: &str = ".pcapng";

/// How much the ring keeps. Sizes and times are written with their units: `16GiB`, `7d`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RingOptions {
    /// The most bytes of all files; the oldest file goes first.
    #[serde(with = "size")]
    pub bytes_max: u64,
    /// A file is closed when it has this many bytes, or a quarter of the whole.
    #[serde(with = "size")]
    pub file_bytes_max: u64,
    /// A file whose last packet is older than this goes.
    #[serde(with = "duration")]
    pub age_max: Micros,
    /// What waits in memory is written after this time at the latest.
    #[serde(with = "duration")]
    pub flush_after: Micros,
}

impl Default for RingOptions {
    fn default() -> Self {
        RingOptions {
            bytes_max: 16 << 30,
            file_bytes_max: 256 << 20,
            age_max: 7 * 24 * 3600 * SECOND,
            flush_after: SECOND,
        }
    }
}

/// Raw packets in files of one folder that nothing else writes to.
pub struct Ring {
    folder: PathBuf,
    options: RingOptions,
    /// Closed files, the oldest first.
    files: VecDeque<Kept>,
    current: Option<Current>,
    batch: Vec<u8>,
    /// Packets in it.
    waiting: u64,
    /// When the oldest packet of the batch came.
    waiting_since: Micros,
    latest: Micros,
    lost: u64,
    /// No file can be begun; it is tried again at this time.
    retry_at: Option<Micros>,
}

/// Where a packet was captured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Origin<'a> {
    /// Number of the interface.
    pub interface: u16,
    /// Its name; empty when there is none.
    pub name: &'a str,
    /// Nanoseconds above the packet's microseconds.
    pub nanoseconds: u16,
}

struct Kept {
    path: PathBuf,
    bytes: u64,
    /// Time of its last packet.
    last: Micros,
}

struct Current {
    kept: Kept,
    file: File,
    /// Interface and link type, by the interface's number in the file.
    links: Vec<(u16, u16)>,
}

impl Ring {
    /// Opens a folder, and makes it if it is not there. Files of an earlier run stay.
    pub fn open(folder: &Path, mut options: RingOptions) -> io::Result<Ring> {
        fs::create_dir_all(folder)?;
        options.file_bytes_max = options.file_bytes_max.min(options.bytes_max / 4);
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if !name.starts_with(PREFIX) || !name.ends_with(SUFFIX) {
                continue;
            }
            let about = entry.metadata()?;
            let changed = about.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            files.push(Kept {
                path: entry.path(),
                bytes: about.len(),
                last: Micros::try_from(changed.as_micros()).unwrap_or(Micros::MAX),
            });
        }
        // The name begins with the first packet's time.
        files.sort_by(|a, b| a.path.cmp(&b.path));
        Ok(Ring {
            folder: folder.to_path_buf(),
            options,
            files: files.into(),
            current: None,
            batch: Vec::new(),
            waiting: 0,
            waiting_since: 0,
            latest: 0,
            lost: 0,
            retry_at: None,
        })
    }

    /// Takes a packet. What fails is the writing of a batch: its packets are lost and counted, the
    /// next ones go to another file. Where no file can be begun, packets of a second are lost.
    pub fn packet(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        self.packet_from(Origin::default(), packet)
    }

    /// The same, with the interface that it came from.
    pub fn packet_from(&mut self, origin: Origin<'_>, packet: &Packet<'_>) -> io::Result<()> {
        self.latest = self.latest.max(packet.time);
        if self.current.as_ref().is_some_and(|current| {
            current.kept.bytes + self.batch.len() as u64 >= self.options.file_bytes_max
        }) {
            self.close()?;
        }
        let mut current = match self.current.take() {
            Some(current) => current,
            None if self.retry_at.is_some_and(|at| packet.time < at) => {
                self.lost += 1;
                return Ok(());
            }
            None => match self.begin(packet.time) {
                Ok(current) => current,
                Err(error) => {
                    self.lost += 1;
                    self.retry_at = Some(packet.time + SECOND);
                    return Err(error);
                }
            },
        };
        self.retry_at = None;
        if self.waiting == 0 {
            self.waiting_since = packet.time;
        }
        let from = (origin.interface, packet.link);
        let interface = match current.links.iter().position(|link| *link == from) {
            Some(at) => at,
            None if current.links.len() < INTERFACES_MAX => {
                current.links.push(from);
                describe(&mut self.batch, packet.link, origin.name);
                current.links.len() - 1
            }
            None => {
                self.lost += 1;
                self.current = Some(current);
                return Err(io::Error::other("too many interfaces and link types in one file"));
            }
        };
        current.kept.last = current.kept.last.max(packet.time);
        self.current = Some(current);
        let time = packet.time.max(0) as u64 * 1000 + u64::from(origin.nanoseconds);
        let head =
            [interface as u32, (time >> 32) as u32, time as u32, packet.data.len() as u32, packet.original]
                .map(u32::to_le_bytes);
        block(&mut self.batch, 6, &[head.as_flattened(), packet.data]);
        self.waiting += 1;
        let late = packet.time.saturating_sub(self.waiting_since) >= self.options.flush_after;
        if self.batch.len() >= BATCH || late {
            self.flush()?;
        }
        Ok(())
    }

    /// Nothing came until `now`: what waits is written, and what has become too old goes.
    pub fn idle(&mut self, now: Micros) -> io::Result<()> {
        self.latest = self.latest.max(now);
        self.flush()
    }

    /// Writes what waits in memory, and removes what is too old or too much.
    pub fn flush(&mut self) -> io::Result<()> {
        let waiting = std::mem::take(&mut self.waiting);
        if let Some(mut current) = self.current.take() {
            let written = current.file.write_all(&self.batch);
            current.kept.bytes += self.batch.len() as u64;
            self.batch.clear();
            if let Err(error) = written {
                // It may end within a block: nothing more goes into it.
                self.lost += waiting;
                self.files.push_back(current.kept);
                return Err(error);
            }
            self.current = Some(current);
        }
        self.remove()
    }

    /// Packets that could not be written so far.
    pub fn lost(&self) -> u64 {
        self.lost
    }

    /// Removes what is too old or too much.
    fn remove(&mut self) -> io::Result<()> {
        let mut bytes: u64 = self.files.iter().map(|kept| kept.bytes).sum();
        bytes += self.current.as_ref().map_or(0, |current| current.kept.bytes);
        while let Some(oldest) = self.files.front() {
            let age = self.latest.saturating_sub(oldest.last);
            if bytes <= self.options.bytes_max && age <= self.options.age_max {
                break;
            }
            let removed = fs::remove_file(&oldest.path);
            bytes -= oldest.bytes;
            self.files.pop_front();
            match removed {
                // Somebody else made room.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                removed => removed?,
            }
        }
        Ok(())
    }

    fn close(&mut self) -> io::Result<()> {
        self.flush()?;
        self.files.extend(self.current.take().map(|current| current.kept));
        Ok(())
    }

    /// A new file; a number tells it from another of the same microsecond.
    fn begin(&mut self, time: Micros) -> io::Result<Current> {
        self.batch.clear();
        for number in 0..1000 {
            let path = self.folder.join(format!("{PREFIX}{:019}-{number:03}{SUFFIX}", time.max(0)));
            let file = match File::create_new(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => continue,
                Err(error) => return Err(error),
            };
            // Byte order, version 1.0, a section of unknown length.
            let start = [0x1a2b_3c4d_u32, 1, u32::MAX, u32::MAX].map(u32::to_le_bytes);
            block(&mut self.batch, 0x0a0d_0d0a, &[start.as_flattened()]);
            let kept = Kept { path, bytes: 0, last: time };
            return Ok(Current { kept, file, links: Vec::new() });
        }
        Err(io::Error::other("a thousand files begin at the same time"))
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // Who wants to know whether it succeeded calls `flush`.
        let _ = self.flush();
    }
}

/// Appends the description of an interface: its link type, its name, and that times are in nanoseconds.
fn describe(to: &mut Vec<u8>, link: u16, name: &str) {
    const NAME: u16 = 2;
    const RESOLUTION: u16 = 9;
    let name = &name.as_bytes()[..name.len().min(255)];
    let pad = &[0; 3][..name.len().next_multiple_of(4) - name.len()];
    let option = |code: u16, length: usize| (u32::from(code) | (length as u32) << 16).to_le_bytes();
    let head = [u32::from(link), 0].map(u32::to_le_bytes);
    let named = option(NAME, name.len());
    let tail = [option(RESOLUTION, 1), [9, 0, 0, 0], option(0, 0)];
    block(to, 1, &[head.as_flattened(), &named, name, pad, tail.as_flattened()]);
}

/// Appends a block: type, length, body padded to four bytes, length.
fn block(to: &mut Vec<u8>, kind: u32, parts: &[&[u8]]) {
    let body: usize = parts.iter().map(|part| part.len()).sum();
    let length = (12 + body.next_multiple_of(4)) as u32;
    to.extend(kind.to_le_bytes());
    to.extend(length.to_le_bytes());
    parts.iter().for_each(|part| to.extend_from_slice(part));
    to.extend(std::iter::repeat_n(0, body.next_multiple_of(4) - body));
    to.extend(length.to_le_bytes());
}
