//! A disk that keeps only what it promised, and of the rest what chance decides.
//!
//! What was written and not synced survives a crash in any mixture of sectors (torn writes,
//! write-back in any order); a failed sync forgets that there was something to write although
//! reading still shows it, as Linux does; names that were not synced survive as a prefix of their
//! changes; space can run out in the middle of a write. One seed makes one history.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use super::disk::{Disk, DiskFile, Held};

const SECTOR: usize = 512;

/// Handles of one disk share it.
#[derive(Clone, Default)]
pub struct SimDisk(Arc<Mutex<Sim>>);

#[derive(Default)]
struct Sim {
    files: Vec<SimFile>,
    /// What a process sees, and what a crash leaves for sure.
    names: BTreeMap<PathBuf, usize>,
    durable_names: BTreeMap<PathBuf, usize>,
    /// Changes of names that are not synced yet: a name now stands for this file, or for none.
    changes: Vec<(PathBuf, Option<usize>)>,
    folders: Vec<PathBuf>,
    /// Bytes that can still be written, if limited.
    room: Option<usize>,
    sync_fails: bool,
    /// The process is dead: nothing it still tries has an effect.
    dead: bool,
    random: u64,
    pub now: i64,
}

#[derive(Default)]
struct SimFile {
    /// What a process reads.
    seen: Vec<u8>,
    durable: Vec<u8>,
    /// Not synced yet, in order.
    unsynced: Vec<Change>,
}

enum Change {
    Write(usize, Vec<u8>),
    Truncate(usize),
}

impl SimDisk {
    fn sim(&self) -> MutexGuard<'_, Sim> {
        self.0.lock().unwrap()
    }

    /// From now on nothing has an effect, until [`SimDisk::restart`].
    pub fn kill(&self) {
        self.sim().dead = true;
    }

    /// The process starts again; with a seed after a power cut, without one after a mere kill.
    pub fn restart(&self, power_cut: Option<u64>) {
        let mut sim = self.sim();
        sim.dead = false;
        sim.room = None;
        sim.sync_fails = false;
        let Some(seed) = power_cut else { return };
        sim.random = seed | 1;
        let all = sim.changes.len();
        let kept = sim.below(all + 1);
        let changes = std::mem::take(&mut sim.changes);
        let mut names = std::mem::take(&mut sim.durable_names);
        for (path, file) in changes.into_iter().take(kept) {
            apply(&mut names, path, file);
        }
        sim.names = names.clone();
        sim.durable_names = names;
        for index in 0..sim.files.len() {
            let file = std::mem::take(&mut sim.files[index]);
            let mut left = file.durable;
            // Everything, nothing, or any mixture.
            let luck = sim.below(4);
            for change in file.unsynced {
                match change {
                    Change::Truncate(size) if sim.chance(luck) => left.resize(size, 0),
                    Change::Truncate(_) => {}
                    Change::Write(at, bytes) => {
                        let mut from = 0;
                        while from < bytes.len() {
                            let to = bytes.len().min(from + SECTOR - (at + from) % SECTOR);
                            if sim.chance(luck) {
                                put(&mut left, at + from, &bytes[from..to]);
                            }
                            from = to;
                        }
                    }
                }
            }
            sim.files[index] = SimFile { seen: left.clone(), durable: left, unsynced: Vec::new() };
        }
    }

    /// Lets only so many bytes more be written.
    pub fn fill_up(&self, room: Option<usize>) {
        self.sim().room = room;
    }

    /// Lets syncs fail.
    pub fn fail_syncs(&self, fail: bool) {
        self.sim().sync_fails = fail;
    }

    /// Lets time pass.
    pub fn pass(&self, micros: i64) {
        self.sim().now += micros;
    }

    /// Changes one stored byte, as a bad disk does.
    pub fn flip(&self, path: &Path, at: usize) {
        let mut sim = self.sim();
        let index = sim.names[path];
        sim.files[index].seen[at] ^= 0x10;
        sim.files[index].durable[at] ^= 0x10;
    }
}

impl Sim {
    fn alive(&self) -> io::Result<()> {
        if self.dead { Err(io::Error::other("the process is dead")) } else { Ok(()) }
    }

    /// A number below `limit`: xorshift.
    fn below(&mut self, limit: usize) -> usize {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) as usize % limit
    }

    fn chance(&mut self, luck: usize) -> bool {
        match luck {
            0 => true,
            1 => false,
            2 => self.below(8) > 0,
            _ => self.below(2) > 0,
        }
    }

    fn change_name(&mut self, path: &Path, file: Option<usize>) {
        apply(&mut self.names, path.to_owned(), file);
        self.changes.push((path.to_owned(), file));
    }
}

fn apply(names: &mut BTreeMap<PathBuf, usize>, path: PathBuf, file: Option<usize>) {
    match file {
        Some(file) => {
            // A file has one name: a new one replaces the old one in the same step.
            names.retain(|_, other| *other != file);
            names.insert(path, file);
        }
        None => {
            names.remove(&path);
        }
    }
}

fn put(bytes: &mut Vec<u8>, at: usize, new: &[u8]) {
    if bytes.len() < at + new.len() {
        bytes.resize(at + new.len(), 0);
    }
    bytes[at..at + new.len()].copy_from_slice(new);
}

impl Disk for SimDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut sim = self.sim();
        sim.alive()?;
        for folder in path.ancestors() {
            if !sim.folders.iter().any(|known| known == folder) {
                sim.folders.push(folder.to_owned());
            }
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let sim = self.sim();
        sim.alive()?;
        let inside = sim.folders.iter().chain(sim.names.keys()).filter(|entry| entry.parent() == Some(path));
        Ok(inside.map(|entry| entry.file_name().unwrap().to_string_lossy().into_owned()).collect())
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        let mut sim = self.sim();
        sim.alive()?;
        let index = match sim.names.get(path) {
            Some(index) => *index,
            None if write => {
                sim.files.push(SimFile::default());
                let index = sim.files.len() - 1;
                sim.change_name(path, Some(index));
                index
            }
            None => return Err(io::ErrorKind::NotFound.into()),
        };
        Ok(Arc::new(Handle(self.clone(), index)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut sim = self.sim();
        sim.alive()?;
        sim.change_name(path, None);
        Ok(())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut sim = self.sim();
        sim.alive()?;
        if let Some(&file) = sim.names.get(from) {
            sim.change_name(to, Some(file));
            return Ok(());
        }
        // A topic's folder, before there are files in it.
        for folder in &mut sim.folders {
            if let Ok(rest) = folder.strip_prefix(from) {
                *folder = if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) };
            }
        }
        Ok(())
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut sim = self.sim();
        sim.alive()?;
        if sim.sync_fails {
            return Err(io::Error::other("input/output error"));
        }
        let mut names = std::mem::take(&mut sim.durable_names);
        let (synced, rest) =
            std::mem::take(&mut sim.changes).into_iter().partition(|(name, _)| name.parent() == Some(path));
        let synced: Vec<_> = synced;
        synced.into_iter().for_each(|(path, file)| apply(&mut names, path, file));
        sim.durable_names = names;
        sim.changes = rest;
        Ok(())
    }

    fn lock(&self, _: &Path) -> Result<Box<dyn Send + Sync>, Held> {
        Ok(Box::new(()))
    }

    fn now(&self) -> i64 {
        self.sim().now
    }
}

struct Handle(SimDisk, usize);

impl DiskFile for Handle {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.sim().files[self.1].seen.len() as u64)
    }

    fn read(&self, at: u64, size: usize, into: &mut Vec<u8>) -> io::Result<()> {
        let sim = self.0.sim();
        let seen = &sim.files[self.1].seen;
        let begin = seen.len().min(at as usize);
        into.extend_from_slice(&seen[begin..seen.len().min(begin + size)]);
        Ok(())
    }

    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        let mut sim = self.0.sim();
        sim.alive()?;
        let fits = sim.room.map_or(bytes.len(), |room| room.min(bytes.len()));
        sim.room = sim.room.map(|room| room - fits);
        let file = &mut sim.files[self.1];
        put(&mut file.seen, at as usize, &bytes[..fits]);
        file.unsynced.push(Change::Write(at as usize, bytes[..fits].to_vec()));
        if fits < bytes.len() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        let mut sim = self.0.sim();
        sim.alive()?;
        let file = &mut sim.files[self.1];
        file.seen.resize(size as usize, 0);
        file.unsynced.push(Change::Truncate(size as usize));
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        let mut sim = self.0.sim();
        sim.alive()?;
        let fails = sim.sync_fails;
        let file = &mut sim.files[self.1];
        if fails {
            // The pages count as clean from now on, and were never written.
            file.unsynced.clear();
            return Err(io::Error::other("input/output error"));
        }
        for change in std::mem::take(&mut file.unsynced) {
            match change {
                Change::Write(at, bytes) => put(&mut file.durable, at, &bytes),
                Change::Truncate(size) => file.durable.resize(size, 0),
            }
        }
        Ok(())
    }
}
