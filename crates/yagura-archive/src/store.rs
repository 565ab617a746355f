//! Where the history lies: a folder, or a bucket of an S3-compatible store.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::ops::Range;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use yagura_event::clock::Micros;

/// What a store holds under a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// From the store's root, with `/` between folders.
    pub path: String,
    /// Bytes.
    pub size: u64,
    /// When it was published, by the store's clock.
    pub modified: Micros,
}

/// Why a store did not do what it was asked to.
#[derive(Debug, thiserror::Error)]
#[error("{what}: {cause}")]
pub struct StoreError {
    /// What was tried, with the place.
    pub what: String,
    /// Why not.
    pub cause: String,
    /// Whether the file is not there (any more).
    pub missing: bool,
}

/// Files by path. Every file appears whole or not at all, and stays as it is.
///
/// The calls block. They may be made from any thread that is not itself driving asynchronous tasks.
pub trait Store: Send + Sync {
    /// Where it is, for people.
    fn describe(&self) -> String;

    /// All files below a folder (`""` for all), in any order. A folder that is not there is empty.
    fn list(&self, folder: &str) -> Result<Vec<Entry>, StoreError>;

    /// A part of a file.
    fn read(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError>;

    /// Publishes a file, in place of one that has the name already. It is durable afterwards.
    fn put(&self, path: &str, bytes: Bytes) -> Result<(), StoreError>;

    /// Publishes a file unless one has the name already: then `false`. Of several that try at the
    /// same time one succeeds.
    fn create(&self, path: &str, bytes: Bytes) -> Result<bool, StoreError>;

    /// Deletes a file; one that is gone already is no error.
    fn remove(&self, path: &str) -> Result<(), StoreError>;
}

/// How a place in an object store begins.
const S3: &str = "s3://";

/// Whether the text names an object store and no folder.
pub fn is_remote(place: &str) -> bool {
    place.starts_with(S3)
}

/// Opens the store at `place`: a folder, or `s3://BUCKET/PREFIX` in a program that was built with
/// the feature `s3`. Nothing is created yet.
pub fn open(place: &str) -> Result<Arc<dyn Store>, StoreError> {
    if !is_remote(place) {
        return Ok(Arc::new(Folder::new(place)));
    }
    #[cfg(feature = "s3")]
    return Ok(Arc::new(crate::s3::Bucket::open(place)?));
    #[cfg(not(feature = "s3"))]
    Err(StoreError {
        what: place.to_string(),
        cause: "this program was built without `--features s3`; name a folder, or build it with that".into(),
        missing: false,
    })
}

/// A folder of this machine.
pub struct Folder {
    root: PathBuf,
}

/// How the name of a file ends while it is being written.
const UNFINISHED: &str = ".new";

impl Folder {
    /// The store in a folder, which need not exist yet.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Folder { root: root.into() }
    }

    fn error(&self, what: &str, path: &str, cause: &io::Error) -> StoreError {
        StoreError {
            what: format!("{what} {}", self.root.join(path).display()),
            cause: cause.to_string(),
            missing: cause.kind() == io::ErrorKind::NotFound,
        }
    }

    /// Writes a file beside its place, durably. Its name tells processes apart: two that write the
    /// same file do not meet.
    fn prepare(&self, path: &str, bytes: &[u8]) -> io::Result<(PathBuf, PathBuf)> {
        let place = self.root.join(path);
        let folder = place.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder)?;
        let name = place.file_name().unwrap_or_default().to_string_lossy();
        let fresh = folder.join(format!(".{name}.{}{UNFINISHED}", std::process::id()));
        let written = File::create(&fresh).and_then(|mut file| {
            file.write_all(bytes)?;
            file.sync_all()
        });
        if let Err(cause) = written {
            // The disk may be full: what was begun takes no room.
            let _ = fs::remove_file(&fresh);
            return Err(cause);
        }
        Ok((fresh, place))
    }

    fn sync(place: &Path) -> io::Result<()> {
        place.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
    }

    fn walk(&self, folder: &Path, out: &mut Vec<Entry>) -> io::Result<()> {
        let gone = |cause: &io::Error| cause.kind() == io::ErrorKind::NotFound;
        let entries = match fs::read_dir(folder) {
            Err(cause) if gone(&cause) => return Ok(()),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name().to_string_lossy().into_owned();
            if entry.file_type()?.is_dir() {
                self.walk(&entry.path(), out)?;
                continue;
            }
            if name.ends_with(UNFINISHED) {
                continue;
            }
            let about = match entry.metadata() {
                Err(cause) if gone(&cause) => continue,
                about => about?,
            };
            let since = about.modified()?.duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
            let path = entry.path();
            let path = path.strip_prefix(&self.root).unwrap_or(&path);
            let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
            let (size, modified) = (about.len(), since.as_micros() as Micros);
            out.push(Entry { path: parts.join("/"), size, modified });
        }
        Ok(())
    }
}

impl Store for Folder {
    fn describe(&self) -> String {
        self.root.display().to_string()
    }

    fn list(&self, folder: &str) -> Result<Vec<Entry>, StoreError> {
        let mut out = Vec::new();
        let walked = self.walk(&self.root.join(folder), &mut out);
        walked.map_err(|cause| self.error("listing", folder, &cause))?;
        Ok(out)
    }

    fn read(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let read = File::open(self.root.join(path)).and_then(|file| {
            let mut bytes = vec![0; range.end.saturating_sub(range.start) as usize];
            file.read_exact_at(&mut bytes, range.start)?;
            Ok(bytes.into())
        });
        read.map_err(|cause| self.error("reading", path, &cause))
    }

    fn put(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        let published = self.prepare(path, &bytes).and_then(|(fresh, place)| {
            fs::rename(fresh, &place)?;
            Self::sync(&place)
        });
        published.map_err(|cause| self.error("writing", path, &cause))
    }

    fn create(&self, path: &str, bytes: Bytes) -> Result<bool, StoreError> {
        let published = self.prepare(path, &bytes).and_then(|(fresh, place)| {
            // A link does not replace what has the name, where a renamed file would.
            let linked = fs::hard_link(&fresh, &place);
            fs::remove_file(fresh)?;
            match linked {
                Err(cause) if cause.kind() == io::ErrorKind::AlreadyExists => return Ok(false),
                linked => linked?,
            }
            Self::sync(&place)?;
            Ok(true)
        });
        published.map_err(|cause| self.error("writing", path, &cause))
    }

    fn remove(&self, path: &str) -> Result<(), StoreError> {
        match fs::remove_file(self.root.join(path)) {
            Err(cause) if cause.kind() != io::ErrorKind::NotFound => {
                return Err(self.error("deleting", path, &cause));
            }
            _ => {}
        }
        // A day that is gone leaves no folder behind; one that has other files stays.
        let place = self.root.join(path);
        let above = place.ancestors().skip(1).take_while(|folder| *folder != self.root);
        let _ = above.map(fs::remove_dir).find(Result::is_err);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_appear_whole_and_are_created_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Folder::new(folder.path().join("history"));
        assert_eq!(store.list("").unwrap(), []);
        assert!(store.create("a/b/x", Bytes::from_static(b"one")).unwrap());
        assert!(!store.create("a/b/x", Bytes::from_static(b"two")).unwrap());
        assert_eq!(&store.read("a/b/x", 0..3).unwrap()[..], b"one");
        store.put("a/b/x", Bytes::from_static(b"three")).unwrap();
        assert_eq!(&store.read("a/b/x", 1..5).unwrap()[..], b"hree");
        store.put("a/c", Bytes::from_static(b"4")).unwrap();
        let mut listed: Vec<_> = store.list("a").unwrap().into_iter().map(|e| (e.path, e.size)).collect();
        listed.sort();
        assert_eq!(listed, [("a/b/x".to_string(), 5), ("a/c".to_string(), 1)]);
        assert!(store.read("a/b/y", 0..1).unwrap_err().missing);
        store.remove("a/b/x").unwrap();
        store.remove("a/b/x").unwrap();
        assert!(!folder.path().join("history/a/b").exists());
        assert!(folder.path().join("history/a/c").exists());
    }

    #[test]
    fn a_bucket_needs_the_feature() {
        assert!(is_remote("s3://bucket/prefix") && !is_remote("data/history"));
        #[cfg(not(feature = "s3"))]
        assert!(open("s3://bucket/prefix").err().unwrap().to_string().contains("--features s3"));
    }
}
