//! A file of lines, one a message, on the disk of this machine: for a forwarder that reads files, or to keep.
//!
//! A line is acknowledged when it is on the disk (`fdatasync`). A file that has grown to `rotate` bytes
//! becomes `FILE.1`, the one before it `FILE.2`, up to `keep`. A line that a crash tore was never
//! acknowledged: it is cut off before anything else is written. The file is locked, so that no second process
//! writes it.

use std::fs::{File as Handle, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

use serde::Deserialize;
use yagura_event::amounts::Bytes;

use crate::batch::{Deliver, Delivered, Item, Most, batched, lines};
use crate::formats::Format;
use crate::sink::{Boxed, ConfigError, Connection, Meaning, Sink, SinkError, blocking, window_of};
use crate::syslog::LINE_BYTES_MAX;

/// What users write for a file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The file; its folder must be there.
    path: PathBuf,
    /// How large it may grow; `100MiB` without an entry.
    rotate: Option<Bytes>,
    /// How many older files are kept; 9 without an entry.
    keep: Option<u32>,
    /// `ocsf` without an entry.
    #[serde(default)]
    format: Format,
    /// How many alerts may await the disk; 128 without an entry.
    window: Option<usize>,
}

/// See [`Settings::rotate`].
const ROTATE: u64 = 100 << 20;

/// See [`Settings::keep`].
const KEEP: u32 = 9;

impl super::Settings for Settings {
    const KIND: &'static str = "file";

    fn build(self, name: &str, folder: &Path) -> Result<Box<dyn Sink>, ConfigError> {
        let bad = |problem: String| ConfigError::Setting { sink: name.into(), problem };
        let window = window_of(name, self.window)?;
        let rotate = self.rotate.map_or(ROTATE, |bytes| bytes.0);
        if rotate < LINE_BYTES_MAX as u64 {
            return Err(bad(format!("`rotate` is at least {LINE_BYTES_MAX} bytes, the longest line")));
        }
        let keep = self.keep.unwrap_or(KEEP);
        if !(1..=1000).contains(&keep) {
            return Err(bad(format!("`keep` is 1 to 1000, not {keep}")));
        }
        let path = folder.join(self.path);
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        if path.file_name().is_none() || !parent.unwrap_or(Path::new(".")).is_dir() {
            return Err(bad(format!(
                "`path: {}` is in no folder that is there; make it first",
                path.display()
            )));
        }
        Ok(Box::new(File { place: Place { path, rotate, keep }, format: self.format, window }))
    }
}

struct File {
    place: Place,
    format: Format,
    window: usize,
}

#[derive(Clone)]
struct Place {
    path: PathBuf,
    rotate: u64,
    keep: u32,
}

impl Sink for File {
    fn describe(&self) -> String {
        format!("file {}", self.place.path.display())
    }

    fn meaning(&self) -> Meaning {
        Meaning::guaranteed("the line is on the disk of this machine; what reads the file is not asked")
    }

    fn window(&self) -> usize {
        self.window
    }

    fn connect(&self) -> Boxed<'_, Result<Box<dyn Connection>, SinkError>> {
        Box::pin(async move {
            let place = self.place.clone();
            let appender = blocking(move || Appender::open(place)).await?;
            let encode = lines(self.format, LINE_BYTES_MAX - 1);
            let most = Most { items: self.window, bytes: 1 << 20 };
            let writing = Writing { appender: Some(appender) };
            Ok(batched(writing, most, encode))
        })
    }
}

struct Writing {
    /// None after an error: the connection is over.
    appender: Option<Appender>,
}

impl Deliver for Writing {
    fn deliver<'a>(&'a mut self, batch: &'a [Item]) -> Boxed<'a, Result<Delivered, SinkError>> {
        Box::pin(async move {
            let Some(mut appender) = self.appender.take() else {
                let cause = "an earlier error ended it".to_string();
                return Err(SinkError::Closed { address: "the file".into(), cause });
            };
            let lines: Vec<String> = batch.iter().map(|item| format!("{}\n", item.body)).collect();
            let appender = blocking(move || {
                appender.append(&lines)?;
                Ok(appender)
            });
            self.appender = Some(appender.await?);
            Ok(Delivered::all(batch))
        })
    }
}

struct Appender {
    place: Place,
    file: Handle,
    length: u64,
}

impl Appender {
    fn open(place: Place) -> Result<Self, SinkError> {
        let failed = |cause| SinkError::Write { file: place.path.display().to_string(), cause };
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).write(true).create(true).truncate(false).open(&place.path).map_err(failed)?;
        file.try_lock().map_err(|cause| match cause {
            std::fs::TryLockError::WouldBlock => {
                failed(std::io::Error::other("another process, or another sink, is writing it"))
            }
            std::fs::TryLockError::Error(cause) => failed(cause),
        })?;
        let length = whole_lines(&mut file).map_err(failed)?;
        file.set_len(length).and_then(|()| file.seek(SeekFrom::Start(length))).map_err(failed)?;
        sync_folder(&place.path).map_err(failed)?;
        Ok(Self { place, file, length })
    }

    /// Writes all, on as many files as they need, and returns when they are on the disk.
    fn append(&mut self, lines: &[String]) -> Result<(), SinkError> {
        let file = self.place.path.display().to_string();
        let written = lines.iter().try_for_each(|line| {
            if self.length > 0 && self.length + line.len() as u64 > self.place.rotate {
                self.rotate()?;
            }
            self.file.write_all(line.as_bytes())?;
            self.length += line.len() as u64;
            Ok(())
        });
        written.and_then(|()| self.file.sync_data()).map_err(|cause| SinkError::Write { file, cause })
    }

    fn rotate(&mut self) -> std::io::Result<()> {
        self.file.sync_data()?;
        let numbered = |number: u32| {
            let mut name = self.place.path.clone().into_os_string();
            name.push(format!(".{number}"));
            PathBuf::from(name)
        };
        for number in (1..self.place.keep).rev() {
            if numbered(number).exists() {
                std::fs::rename(numbered(number), numbered(number + 1))?;
            }
        }
        std::fs::rename(&self.place.path, numbered(1))?;
        self.file = OpenOptions::new().read(true).write(true).create_new(true).open(&self.place.path)?;
        self.file.try_lock().map_err(|cause| std::io::Error::other(cause.to_string()))?;
        self.length = 0;
        sync_folder(&self.place.path)
    }
}

/// Where the last whole line ends. A torn one is no longer than a line can be.
fn whole_lines(file: &mut Handle) -> std::io::Result<u64> {
    let length = file.metadata()?.len();
    let from = length.saturating_sub(LINE_BYTES_MAX as u64);
    file.seek(SeekFrom::Start(from))?;
    let mut end = Vec::new();
    file.take(LINE_BYTES_MAX as u64).read_to_end(&mut end)?;
    match end.iter().rposition(|byte| *byte == b'\n') {
        Some(at) => Ok(from + at as u64 + 1),
        None if from == 0 => Ok(0),
        None => Err(std::io::Error::other(
            "its last line is longer than any of Yagura's: it is not Yagura's file",
        )),
    }
}

/// Makes new names durable.
fn sync_folder(file: &Path) -> std::io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    Handle::open(folder.unwrap_or(Path::new(".")))?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(folder: &Path) -> Place {
        Place { path: folder.join("alerts.jsonl"), rotate: 100, keep: 3 }
    }

    #[test]
    fn files_are_rotated_by_size_and_the_oldest_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut appender = Appender::open(place(folder.path())).expect("opens");
        for number in 0..20 {
            appender.append(&[format!("{number:029}\n")]).expect("written");
        }
        drop(appender);
        let read = |name: &str| std::fs::read_to_string(folder.path().join(name)).expect(name);
        let numbers = |name: &str| {
            read(name).lines().map(|line| line.parse::<u32>().expect("a number")).collect::<Vec<_>>()
        };
        assert_eq!(numbers("alerts.jsonl"), [18, 19]);
        assert_eq!(numbers("alerts.jsonl.1"), [15, 16, 17]);
        assert_eq!(numbers("alerts.jsonl.3"), [9, 10, 11]);
        assert!(!folder.path().join("alerts.jsonl.4").exists());
    }

    #[test]
    fn a_torn_line_is_cut_off_and_a_second_writer_is_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("alerts.jsonl");
        for (before, after) in [("a\nb\nc", "a\nb\nd\n"), ("abc", "d\n"), ("", "d\n"), ("a\n", "a\nd\n")] {
            std::fs::write(&file, before).expect("written");
            let mut appender = Appender::open(place(folder.path())).expect("opens");
            let second = Appender::open(place(folder.path())).map(drop).expect_err("a second writer");
            assert!(second.to_string().contains("another process"), "{second}");
            appender.append(&["d\n".into()]).expect("written");
            assert_eq!(std::fs::read_to_string(&file).expect("read"), after);
        }
        let foreign = "x".repeat(LINE_BYTES_MAX + 1);
        std::fs::write(&file, &foreign).expect("written");
        assert!(Appender::open(place(folder.path())).is_err());
        assert_eq!(std::fs::read_to_string(&file).expect("read"), foreign, "left alone");
    }
}
