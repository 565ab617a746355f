//! What is made from files is made anew when they change: certificates, keys, tokens and passwords are renewed while a
//! process runs. What cannot be made anew is told, and the last good one stays in force.

use std::fmt::Display;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use yagura_event::clock::{self, Micros, SECOND};

/// How often files are looked at, at most.
const LOOKS_EVERY: Micros = SECOND;

/// Something that is made from files.
pub struct Fresh<T>(Arc<Inner<T>>);

struct Inner<T> {
    files: Vec<PathBuf>,
    make: Box<dyn Fn() -> Result<T, String> + Send + Sync>,
    held: Mutex<Held<T>>,
}

struct Held<T> {
    made: Arc<T>,
    stamps: Vec<Stamp>,
    looked: Micros,
}

/// What tells one state of a file from another: device, inode, size, and the time of its last change. `None` for a
/// file that is not there.
type Stamp = Option<(u64, u64, u64, i64, i64)>;

impl<T> Clone for Fresh<T> {
    fn clone(&self) -> Self {
        Fresh(Arc::clone(&self.0))
    }
}

impl<T> Fresh<T> {
    /// Makes it the first time, of these files.
    pub fn new<E: Display>(
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, E> + Send + Sync + 'static,
    ) -> Result<Self, E> {
        // Before they are read: a change in between is seen the next time.
        let stamps = files.iter().map(|file| stamp(file)).collect();
        let made = Arc::new(make()?);
        let make = Box::new(move || make().map_err(|cause| cause.to_string()));
        let held = Mutex::new(Held { made, stamps, looked: clock::steady() });
        Ok(Fresh(Arc::new(Inner { files, make, held })))
    }

    /// The newest that could be made.
    pub fn get(&self) -> Arc<T> {
        let mut held = self.0.held.lock().unwrap_or_else(PoisonError::into_inner);
        let now = clock::steady();
        if now >= held.looked + LOOKS_EVERY {
            held.looked = now;
            let stamps: Vec<Stamp> = self.0.files.iter().map(|file| stamp(file)).collect();
            if stamps != held.stamps {
                let files: Vec<_> = self.0.files.iter().map(|file| file.display().to_string()).collect();
                let files = files.join(", ");
                match (self.0.make)() {
                    Ok(made) => {
                        held.made = Arc::new(made);
                        tracing::info!(%files, "read again, since they changed");
                    }
                    Err(cause) => {
                        tracing::warn!(%files, %cause, "they changed and cannot be used; what was read before stays in force")
                    }
                }
                held.stamps = stamps;
            }
        }
        Arc::clone(&held.made)
    }
}

/// Follows links, as of secrets that are mounted.
fn stamp(file: &Path) -> Stamp {
    let about = std::fs::metadata(file).ok()?;
    Some((about.dev(), about.ino(), about.size(), about.mtime(), about.mtime_nsec()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Unusable, secret};

    #[test]
    fn the_last_good_one_stays_until_a_better_one_comes() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("secret");
        let own = file.clone();
        let read = move || match secret(&own)? {
            text if text.is_empty() => Err(Unusable::file(&own, "it is empty")),
            text => Ok(text),
        };
        let fresh = |read| Fresh::new(vec![file.clone()], read);
        assert!(fresh(read.clone()).is_err());
        std::fs::write(&file, "one\n").expect("a file");
        let fresh = fresh(read).expect("a secret");
        let look = |text: &str| {
            let new = folder.path().join("new");
            std::fs::write(&new, text).expect("a file");
            std::fs::rename(new, &file).expect("replaced");
            fresh.0.held.lock().expect("a lock").looked -= LOOKS_EVERY;
            fresh.get().as_str().to_owned()
        };
        assert_eq!(fresh.get().as_str(), "one");
        assert_eq!(look("two"), "two");
        assert_eq!(look(""), "two", "what cannot be used changes nothing");
        assert_eq!(look("three"), "three");
        std::fs::remove_file(&file).expect("removed");
        fresh.0.held.lock().expect("a lock").looked -= LOOKS_EVERY;
        assert_eq!(fresh.get().as_str(), "three");
    }
}
