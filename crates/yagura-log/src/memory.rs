//! A log in memory, for tests: the embedded log on files that are vectors, so that it behaves the
//! same down to retention and groups, and is gone with its last handle.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::LogError;
use crate::embedded::disk::{Disk, DiskFile, Held, RealDisk};
use crate::embedded::{Embedded, Options};

/// An empty log in memory.
pub fn open(options: Options) -> Result<Embedded, LogError> {
    Embedded::open_on(Arc::new(RamDisk::default()), "memory", options)
}

/// Files in memory. Opening a second log on the same one finds what the first one wrote.
#[derive(Default)]
pub struct RamDisk {
    files: Mutex<BTreeMap<PathBuf, Arc<RamFile>>>,
    folders: Mutex<Vec<PathBuf>>,
}

#[derive(Default)]
struct RamFile(RwLock<Vec<u8>>);

impl Disk for RamDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        let mut folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        for folder in path.ancestors() {
            if !folders.iter().any(|known| known == folder) {
                folders.push(folder.to_owned());
            }
        }
        Ok(())
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let folders = self.folders.lock().unwrap_or_else(PoisonError::into_inner);
        let files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        let inside = folders.iter().chain(files.keys()).filter(|entry| entry.parent() == Some(path));
        Ok(inside.filter_map(|entry| Some(entry.file_name()?.to_string_lossy().into_owned())).collect())
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        match files.get(path) {
            Some(file) => Ok(file.clone()),
            None if write => Ok(files.entry(path.to_owned()).or_default().clone()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        files.remove(path).map(drop).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let moved = |path: &Path| Some(to.join(path.strip_prefix(from).ok()?));
        let mut files = self.files.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(file) = files.remove(from) {
            files.insert(to.to_owned(), file);
            return Ok(());
        }
        *files = std::mem::take(&mut *files)
            .into_iter()
            .map(|(path, file)| (moved(&path).unwrap_or(path), file))
            .collect();
        for folder in self.folders.lock().unwrap_or_else(PoisonError::into_inner).iter_mut() {
            if folder == from {
                *folder = to.to_owned();
            } else if let Some(path) = moved(folder) {
                *folder = path;
            }
        }
        Ok(())
    }

    fn sync_dir(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, _: &Path) -> Result<Box<dyn Send + Sync>, Held> {
        Ok(Box::new(()))
    }

    fn now(&self) -> i64 {
        RealDisk.now()
    }
}

impl DiskFile for RamFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.read().unwrap_or_else(PoisonError::into_inner).len() as u64)
    }

    fn read(&self, at: u64, size: usize, into: &mut Vec<u8>) -> io::Result<()> {
        let bytes = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let begin = bytes.len().min(at as usize);
        into.extend_from_slice(&bytes[begin..bytes.len().min(begin + size)]);
        Ok(())
    }

    fn write(&self, at: u64, new: &[u8]) -> io::Result<()> {
        let mut bytes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let end = at as usize + new.len();
        if bytes.len() < end {
            bytes.resize(end, 0);
        }
        bytes[at as usize..end].copy_from_slice(new);
        Ok(())
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.0.write().unwrap_or_else(PoisonError::into_inner).resize(size as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }
}
