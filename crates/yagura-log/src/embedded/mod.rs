//! The log in a folder of this machine: nothing else has to run.
//!
//! ```text
//! DATA/lock                            who writes
//! DATA/topics/events/3/000…0.log       segments of partition 3, named by their first offset
//! DATA/topics/events/3/mark            how far it was durable at the last orderly close
//! DATA/groups/detect/events            committed offsets
//! ```
//!
//! Records are shown to readers only once they are durable, so that nothing that a consumer has
//! seen can vanish in a power cut. An fdatasync is shared by all who wait for one. See
//! [`recover`] for how a torn tail is told from damage.

pub mod disk;
mod follow;
mod frame;
mod group;
mod partition;
mod reader;
pub(crate) mod recover;
#[cfg(test)]
mod sim;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use disk::{Disk, Held, RealDisk};
use group::Group;
use partition::Partition;
use reader::PartitionReader;

use crate::{Appender, Log, LogError, Member, Reader, Record, partition_of};

/// Settings of the embedded log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// A segment file is followed by another before it grows over this many bytes; at least one
    /// record, at most 2 GiB.
    pub segment_bytes: u64,
    /// Deletes the oldest segments of a partition while all of its segments hold more.
    pub retain_bytes: Option<u64>,
    /// Deletes segments whose last record was appended longer ago.
    pub retain_age: Option<Duration>,
    /// Topics from which nothing goes: few records, each of which counts.
    pub keep: Vec<String>,
    /// The largest record: key, header and value.
    pub record_bytes_max: usize,
    /// Bytes of each partition that may wait to be written before `append` blocks.
    pub buffer_bytes: usize,
    /// Bytes that a group member gets in one poll, about.
    pub fetch_bytes: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            segment_bytes: 128 << 20,
            retain_bytes: None,
            retain_age: None,
            keep: Vec::new(),
            record_bytes_max: 16 << 20,
            buffer_bytes: 4 << 20,
            fetch_bytes: 1 << 20,
        }
    }
}

/// How often retention looks at the clock.
const HOUSEKEEPING: Duration = Duration::from_secs(30);
/// The largest segment: positions in it fit 32 bits.
const SEGMENT_MAX: u64 = 2 << 30;
/// How the name of a topic's folder ends while it is being created.
const UNFINISHED: &str = ".new";

/// The log in a folder. Dropping it makes everything durable.
pub struct Embedded {
    shared: Arc<Shared>,
    _housekeeper: Option<Housekeeper>,
}

/// What a process may do with the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Access {
    /// Write it; nobody else may.
    Write,
    /// Read it as it was when it was opened.
    Read,
    /// Read what somebody else writes.
    Follow,
}

/// What appenders, readers and members need of the log.
struct Shared {
    disk: Arc<dyn Disk>,
    folder: PathBuf,
    options: Options,
    access: Access,
    topics: Mutex<BTreeMap<String, Arc<Topic>>>,
    groups: Mutex<BTreeMap<(String, String), Arc<Group>>>,
    _lock: Option<Box<dyn Send + Sync>>,
}

struct Topic {
    name: String,
    partitions: Vec<Arc<Partition>>,
    signal: Arc<Signal>,
}

impl Embedded {
    /// Opens the log in a folder, creating it if need be, for this process alone.
    ///
    /// [`LogError::Locked`] if another process has it, [`LogError::Damaged`] if stored bytes are
    /// not what was written.
    pub fn open(folder: impl Into<PathBuf>, options: Options) -> Result<Self, LogError> {
        Self::open_on(Arc::new(RealDisk), folder, options)
    }

    /// Opens a log for reading, as it is now: what is appended later by the process that writes
    /// it is not seen. Nothing in the folder is changed.
    pub fn open_read_only(folder: impl Into<PathBuf>) -> Result<Self, LogError> {
        Self::start(Arc::new(RealDisk), folder.into(), Options::default(), Access::Read)
    }

    /// Opens a log for reading beside the process that writes it: what that appends is seen, and
    /// what retention deletes goes. Nothing in the folder is changed.
    pub fn open_following(folder: impl Into<PathBuf>) -> Result<Self, LogError> {
        Self::start(Arc::new(RealDisk), folder.into(), Options::default(), Access::Follow)
    }

    /// As [`Embedded::open`], on another file system.
    pub fn open_on(
        disk: Arc<dyn Disk>,
        folder: impl Into<PathBuf>,
        options: Options,
    ) -> Result<Self, LogError> {
        Self::start(disk, folder.into(), options, Access::Write)
    }

    /// Deletes what retention says is too much or too old. Done by itself as segments fill and
    /// every 30 seconds.
    pub fn retain(&self) -> Result<(), LogError> {
        self.shared.retain()
    }

    /// Gives back the room of records before an offset, as far as whole segments hold no others: whoever
    /// needed them is done with them.
    pub fn release(&self, topic: &str, partition: u32, before: u64) -> Result<(), LogError> {
        self.shared.partition(topic, partition)?.release(before)
    }

    /// Bytes that a topic takes.
    pub fn size(&self, topic: &str) -> Result<u64, LogError> {
        Ok(self.shared.topic(topic)?.partitions.iter().map(|partition| partition.size()).sum())
    }

    /// Reads everything in a partition and checks it; answers the number of records.
    pub fn verify(&self, topic: &str, partition: u32) -> Result<u64, LogError> {
        let partition = self.shared.partition(topic, partition)?;
        let held = partition.held();
        let mut reader = PartitionReader::new(partition, held.start);
        while reader.position() < held.end {
            reader.read(self.shared.options.fetch_bytes, Duration::ZERO)?;
        }
        Ok(held.end - held.start)
    }

    fn start(
        disk: Arc<dyn Disk>,
        folder: PathBuf,
        mut options: Options,
        access: Access,
    ) -> Result<Self, LogError> {
        let write = access == Access::Write;
        options.segment_bytes = options.segment_bytes.min(SEGMENT_MAX);
        options.record_bytes_max = options.record_bytes_max.min(SEGMENT_MAX as usize);
        let topics = folder.join("topics");
        let mut lock = None;
        if write {
            for folder in [&topics, &folder.join("groups")] {
                disk.create_dir(folder).map_err(|cause| io_error("creating", folder, cause))?;
            }
            let path = folder.join("lock");
            lock = Some(disk.lock(&path).map_err(|held| match held {
                Held::By(pid) => LogError::Locked { folder: folder.display().to_string(), pid },
                Held::Error(cause) => io_error("locking", &path, cause),
            })?);
        }
        let names = disk.list(&topics).map_err(|cause| io_error("listing", &topics, cause))?;
        let mut open = BTreeMap::new();
        for name in names.into_iter().filter(|name| !name.ends_with(UNFINISHED)) {
            let topic = Topic::open(&disk, &topics.join(&name), &name, &options, access)?;
            open.insert(name, Arc::new(topic));
        }
        let shared = Arc::new(Shared {
            disk,
            folder,
            options,
            access,
            topics: Mutex::new(open),
            groups: Mutex::default(),
            _lock: lock,
        });
        let housekeeper = write.then(|| Housekeeper::start(Arc::downgrade(&shared))).transpose()?;
        Ok(Embedded { shared, _housekeeper: housekeeper })
    }
}

impl Log for Embedded {
    fn describe(&self) -> String {
        format!("the log in {}", self.shared.folder.display())
    }

    fn ensure_topic(&self, topic: &str, partitions: u32) -> Result<u32, LogError> {
        let shared = &self.shared;
        let mut topics = shared.topics();
        if let Some(topic) = topics.get(topic) {
            return Ok(topic.partitions.len() as u32);
        }
        let parent = shared.folder.join("topics");
        let path = parent.join(topic);
        let refuse =
            |kind, cause: &str| io_error("creating topic", &path, io::Error::new(kind, cause.to_owned()));
        if shared.access != Access::Write {
            return Err(refuse(io::ErrorKind::ReadOnlyFilesystem, "the log was opened for reading only"));
        }
        if !valid_name(topic) || topic.ends_with(UNFINISHED) || partitions == 0 {
            let cause = "a topic has at least one partition, and a name of at most 200 letters, digits, '.', '_' and '-'";
            return Err(refuse(io::ErrorKind::InvalidInput, cause));
        }
        // Under another name until it is whole.
        let fresh = parent.join(format!("{topic}{UNFINISHED}"));
        for partition in 0..partitions {
            let folder = fresh.join(partition.to_string());
            shared.disk.create_dir(&folder).map_err(|cause| io_error("creating", &folder, cause))?;
        }
        shared.disk.rename(&fresh, &path).map_err(|cause| io_error("creating", &path, cause))?;
        shared.disk.sync_dir(&parent).map_err(|cause| io_error("syncing", &parent, cause))?;
        let opened = Topic::open(&shared.disk, &path, topic, &shared.options, Access::Write)?;
        let count = opened.partitions.len() as u32;
        topics.insert(topic.to_owned(), Arc::new(opened));
        Ok(count)
    }

    fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        Ok(self.shared.topic(topic)?.partitions.len() as u32)
    }

    fn held(&self, topic: &str, partition: u32) -> Result<Range<u64>, LogError> {
        let partition = self.shared.partition(topic, partition)?;
        partition.look()?;
        Ok(partition.held())
    }

    fn appender(&self, topic: &str) -> Result<Box<dyn Appender>, LogError> {
        let topic = self.shared.topic(topic)?;
        let handed = vec![None; topic.partitions.len()];
        Ok(Box::new(TopicAppender { shared: self.shared.clone(), topic, handed }))
    }

    fn reader(&self, topic: &str, partition: u32, from: u64) -> Result<Box<dyn Reader>, LogError> {
        Ok(Box::new(PartitionReader::new(self.shared.partition(topic, partition)?, from)))
    }

    fn join(&self, group: &str, topic: &str) -> Result<Box<dyn Member>, LogError> {
        let shared = &self.shared;
        let topic = shared.topic(topic)?;
        let folder = shared.folder.join("groups").join(group);
        let refuse = |kind, cause: &str| io_error("joining", &folder, io::Error::new(kind, cause.to_owned()));
        if shared.access != Access::Write {
            return Err(refuse(io::ErrorKind::ReadOnlyFilesystem, "the log was opened for reading only"));
        }
        if !valid_name(group) {
            return Err(refuse(
                io::ErrorKind::InvalidInput,
                "a group's name has at most 200 letters, digits, '.', '_' and '-'",
            ));
        }
        let mut groups = shared.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (group.to_owned(), topic.name.clone());
        if let Some(group) = groups.get(&key) {
            return Ok(Box::new(group.join(shared.clone())));
        }
        shared.disk.create_dir(&folder).map_err(|cause| io_error("creating", &folder, cause))?;
        let opened =
            Arc::new(Group::open(shared.disk.clone(), folder, shared.options.fetch_bytes, group, topic)?);
        let member = opened.join(shared.clone());
        groups.insert(key, opened);
        Ok(Box::new(member))
    }
}

impl Shared {
    fn topics(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Topic>>> {
        self.topics.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn topic(&self, name: &str) -> Result<Arc<Topic>, LogError> {
        let mut topics = self.topics();
        if let Some(topic) = topics.get(name) {
            return Ok(topic.clone());
        }
        let path = self.folder.join("topics").join(name);
        if self.access == Access::Follow && valid_name(name) && self.disk.list(&path).is_ok() {
            // Created since by the process that writes.
            let opened = Arc::new(Topic::open(&self.disk, &path, name, &self.options, self.access)?);
            topics.insert(name.to_owned(), Arc::clone(&opened));
            return Ok(opened);
        }
        Err(LogError::NoTopic(name.to_owned()))
    }

    fn partition(&self, topic: &str, partition: u32) -> Result<Arc<Partition>, LogError> {
        let found = self.topic(topic)?.partitions.get(partition as usize).cloned();
        found.ok_or_else(|| LogError::NoTopic(format!("{topic}/{partition}")))
    }

    fn all_partitions(&self) -> Vec<Arc<Partition>> {
        self.topics().values().flat_map(|topic| topic.partitions.clone()).collect()
    }

    fn retain(&self) -> Result<(), LogError> {
        self.all_partitions().iter().try_for_each(|partition| partition.retain())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        for partition in self.all_partitions().iter().filter(|_| self.access == Access::Write) {
            if let Err(error) = partition.close() {
                tracing::warn!(topic = partition.topic, partition = partition.number, %error, "closing the log");
            }
        }
    }
}

impl Topic {
    fn open(
        disk: &Arc<dyn Disk>,
        folder: &Path,
        name: &str,
        options: &Options,
        access: Access,
    ) -> Result<Self, LogError> {
        let entries = disk.list(folder).map_err(|cause| io_error("listing", folder, cause))?;
        let count = entries.iter().filter(|entry| entry.parse::<u32>().is_ok()).count();
        let signal = Arc::new(Signal::default());
        let open = |number: usize| {
            let folder = folder.join(number.to_string());
            if !entries.contains(&number.to_string()) {
                return Err(recover::damaged(&folder, 0, "the partition's folder is missing".to_owned()));
            }
            let found = match access {
                Access::Follow => follow::open(&**disk, &folder)?,
                Access::Write | Access::Read => recover::recover(&**disk, &folder, access == Access::Write)?,
            };
            let partition = Partition::new(
                (name, number as u32),
                disk.clone(),
                folder,
                options.clone(),
                signal.clone(),
                found,
            );
            Ok(Arc::new(partition.following(access == Access::Follow)))
        };
        let partitions = (0..count).map(open).collect::<Result<_, _>>()?;
        Ok(Topic { name: name.to_owned(), partitions, signal })
    }
}

/// Appends to the partitions of a topic.
struct TopicAppender {
    shared: Arc<Shared>,
    topic: Arc<Topic>,
    /// For each partition: the offset after the last record that was handed over since the last
    /// flush, and how often records had been dropped before the first of them.
    handed: Vec<Option<(u64, u64)>>,
}

impl Appender for TopicAppender {
    fn append(&mut self, record: Record) -> Result<(), LogError> {
        let (size, limit) = (record.size(), self.shared.options.record_bytes_max);
        if size > limit {
            return Err(LogError::TooLarge { size, limit });
        }
        let number = partition_of(&record.key, self.topic.partitions.len() as u32) as usize;
        let partition = &self.topic.partitions[number];
        let lost = self.handed[number].map_or_else(|| partition.lost(), |(_, lost)| lost);
        // Counts as handed over even after an error, so that flush does not answer for less.
        self.handed[number].get_or_insert((0, lost)).0 = partition.append(&record)?;
        Ok(())
    }

    fn flush(&mut self) -> Result<(), LogError> {
        let handed = self.topic.partitions.iter().zip(&mut self.handed);
        let mut waiting = handed.filter_map(|(partition, handed)| Some((partition, handed.take()?)));
        let Some((own, (upto, lost))) = waiting.next() else {
            return Ok(());
        };
        // Disks take what several threads sync at once in about the time of one.
        std::thread::scope(|scope| {
            let others: Vec<_> = waiting
                .map(|(partition, (upto, lost))| scope.spawn(move || partition.flush(upto, lost)))
                .collect();
            let answer = own.flush(upto, lost);
            others.into_iter().fold(answer, |answer, other| {
                answer.and(other.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            })
        })
    }
}

/// The thread that looks after retention while nothing is appended.
struct Housekeeper {
    stop: Option<SyncSender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Housekeeper {
    fn start(shared: Weak<Shared>) -> Result<Self, LogError> {
        let (stop, stopped) = sync_channel::<()>(0);
        let work = move || {
            while stopped.recv_timeout(HOUSEKEEPING) == Err(RecvTimeoutError::Timeout) {
                let Some(shared) = shared.upgrade() else {
                    return;
                };
                if let Err(error) = shared.retain() {
                    tracing::warn!(%error, "retention");
                }
            }
        };
        let thread = std::thread::Builder::new().name("yagura-log".to_owned()).spawn(work);
        let thread = thread.map_err(|cause| LogError::Io { what: "starting a thread".to_owned(), cause })?;
        Ok(Housekeeper { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for Housekeeper {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported by the thread itself.
            let _ = thread.join();
        }
    }
}

/// Says that something happened in a topic to those who wait for more than one thing.
#[derive(Default)]
struct Signal {
    count: Mutex<u64>,
    changed: Condvar,
}

impl Signal {
    fn bump(&self) {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
        self.changed.notify_all();
    }

    fn seen(&self) -> u64 {
        *self.count.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for something after `seen`; what is left of `wait`, or `None` when it has passed.
    fn wait(&self, seen: u64, wait: Duration) -> Option<Duration> {
        #[expect(clippy::disallowed_methods, reason = "how long to wait, not what to answer")]
        let begin = std::time::Instant::now();
        let count = self.count.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.changed.wait_timeout_while(count, wait, |count| *count == seen);
        let timeout = waited.unwrap_or_else(PoisonError::into_inner).1;
        (!timeout.timed_out()).then(|| wait.saturating_sub(begin.elapsed()))
    }
}

/// The error for a refused file operation; a full disk has its own.
fn io_error(what: &str, path: &Path, cause: io::Error) -> LogError {
    match cause.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            LogError::Full { folder: path.parent().unwrap_or(path).display().to_string() }
        }
        _ => LogError::Io { what: format!("{what} {}", path.display()), cause },
    }
}

/// Whether a topic or group may have this name, which becomes a file's.
fn valid_name(name: &str) -> bool {
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (1..=200).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(legal)
}
