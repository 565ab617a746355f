//! What the log asks of a file system, so that tests can put a treacherous one underneath.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;

use rustix::fs::{FlockOperation, flock};

/// A file system and a clock, as the log needs them.
///
/// What has been written survives a power cut only after [`DiskFile::sync`]; a created, renamed
/// or removed name only after [`Disk::sync_dir`] of its folder.
pub trait Disk: Send + Sync {
    /// Creates the folder and those above it, durably.
    fn create_dir(&self, path: &Path) -> io::Result<()>;
    /// The names in a folder, in no order.
    fn list(&self, path: &Path) -> io::Result<Vec<String>>;
    /// Opens a file for reading and, if `write`, for writing; creates it if `write` and absent.
    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>>;
    /// Removes a file.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Renames a file or folder within its folder, replacing a file of that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Takes the lock file for as long as the answer lives.
    fn lock(&self, path: &Path) -> Result<Box<dyn Send + Sync>, Held>;
    /// Microseconds since 1970, for retention by age only.
    fn now(&self) -> i64;
}

/// Why a lock was not taken.
#[derive(Debug)]
pub enum Held {
    /// By the process with this number, as far as the lock file says.
    By(String),
    /// The lock file could not be used.
    Error(io::Error),
}

/// An open file.
pub trait DiskFile: Send + Sync {
    /// Its length in bytes.
    fn size(&self) -> io::Result<u64>;
    /// Appends up to `size` bytes from position `at` to `into`; fewer only at the file's end.
    fn read(&self, at: u64, size: usize, into: &mut Vec<u8>) -> io::Result<()>;
    /// Writes all bytes at a position. After an error any part of them may be there.
    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Cuts the file.
    fn truncate(&self, size: u64) -> io::Result<()>;
    /// Makes content and length durable.
    fn sync(&self) -> io::Result<()>;
}

/// The operating system's files.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir(&self, path: &Path) -> io::Result<()> {
        if path.as_os_str().is_empty() || path.is_dir() {
            return Ok(());
        }
        let parent = path.parent().unwrap_or(Path::new(""));
        self.create_dir(parent)?;
        match std::fs::create_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        self.sync_dir(if parent.as_os_str().is_empty() { Path::new(".") } else { parent })
    }

    fn list(&self, path: &Path) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in std::fs::read_dir(path)? {
            names.push(entry?.file_name().to_string_lossy().into_owned());
        }
        Ok(names)
    }

    fn open(&self, path: &Path, write: bool) -> io::Result<Arc<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(write).create(write).truncate(false);
        Ok(Arc::new(RealFile(options.open(path)?)))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        std::fs::remove_file(path)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        File::open(path)?.sync_all()
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn Send + Sync>, Held> {
        let open = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path);
        let mut file = open.map_err(Held::Error)?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(rustix::io::Errno::WOULDBLOCK) => {
                let pid = std::fs::read_to_string(path).unwrap_or_default();
                let pid = pid.trim();
                return Err(Held::By(if pid.is_empty() { "unknown" } else { pid }.to_owned()));
            }
            Err(errno) => return Err(Held::Error(errno.into())),
        }
        // The number is for people only: the lock is the kernel's and goes with the process.
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(Held::Error)?;
        Ok(Box::new(file))
    }

    fn now(&self) -> i64 {
        #[expect(
            clippy::disallowed_methods,
            reason = "the log's edge: dates segments for retention, never read by a detection"
        )]
        let now = std::time::SystemTime::now();
        now.duration_since(std::time::UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
    }
}

struct RealFile(File);

impl DiskFile for RealFile {
    fn size(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn read(&self, at: u64, size: usize, into: &mut Vec<u8>) -> io::Result<()> {
        // Into spare capacity: the chunk is not zeroed first.
        let start = into.len();
        into.reserve_exact(size);
        while into.len() - start < size {
            let done = (into.len() - start) as u64;
            match rustix::io::pread(&self.0, rustix::buffer::spare_capacity(into), at + done) {
                Ok(0) => break,
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(errno) => return Err(errno.into()),
            }
        }
        into.truncate(start + size);
        Ok(())
    }

    fn write(&self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all_at(bytes, at)
    }

    fn truncate(&self, size: u64) -> io::Result<()> {
        self.0.set_len(size)
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }
}
