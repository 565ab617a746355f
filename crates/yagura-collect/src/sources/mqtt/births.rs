//! Births in a file, so that a collector that starts again knows what aliases mean.
//!
//! Births are sent once, when a node begins, and nobody asks for them again. The file holds one record a birth:
//! length and CRC-32C of what follows; QoS; lengths of broker and topic; broker, topic, payload. The last one of a
//! topic holds. What is behind a torn record is cut off.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::wire::Message;

/// How much older records may take before the file is written anew, beside as much as holds.
const OLD_BYTES: u64 = 4 << 20;

/// The file, open for appending.
pub(super) struct Births {
    file: File,
    path: PathBuf,
    /// Bytes of it, and those after which it is written anew.
    bytes: u64,
    bytes_max: u64,
}

/// A birth, and the broker that brought it.
pub(super) type Birth = (String, Message);

impl Births {
    /// Opens the file, or makes it; answers the births that hold, in the order in which they came.
    pub fn open(path: &Path) -> io::Result<(Self, Vec<Birth>)> {
        let found = match fs::read(path) {
            Ok(bytes) => latest(&bytes),
            Err(cause) if cause.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(cause) => return Err(cause),
        };
        Ok((Self::write(path, &found)?, found))
    }

    /// Appends births; they are durable when it returns.
    pub fn append<'a>(&mut self, births: impl Iterator<Item = (&'a str, &'a Message)>) -> io::Result<()> {
        let mut out = Vec::new();
        births.for_each(|(broker, message)| record(&mut out, broker, message));
        self.file.write_all(&out)?;
        self.file.sync_data()?;
        self.bytes += out.len() as u64;
        if self.bytes > self.bytes_max {
            let found = latest(&fs::read(&self.path)?);
            *self = Self::write(&self.path, &found)?;
        }
        Ok(())
    }

    fn write(path: &Path, births: &[Birth]) -> io::Result<Self> {
        let mut out = Vec::new();
        for (broker, message) in births {
            record(&mut out, broker, message);
        }
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        file.write_all(&out)?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            File::open(folder)?.sync_all()?;
        }
        let bytes = out.len() as u64;
        let file = OpenOptions::new().append(true).open(path)?;
        Ok(Births { file, path: path.into(), bytes, bytes_max: 2 * bytes + OLD_BYTES })
    }
}

fn record(out: &mut Vec<u8>, broker: &str, message: &Message) {
    let topic = message.topic();
    let mut body = vec![message.qos];
    for text in [broker, topic] {
        body.extend_from_slice(&(text.len() as u32).to_le_bytes());
    }
    for part in [broker.as_bytes(), topic.as_bytes(), &message.payload] {
        body.extend_from_slice(part);
    }
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    out.extend_from_slice(&body);
}

/// The last birth of each topic, in the order of these.
fn latest(mut bytes: &[u8]) -> Vec<Birth> {
    let mut found: BTreeMap<(String, String), (usize, Message)> = BTreeMap::new();
    let mut nth = 0;
    while let Some((broker, message)) = take(&mut bytes) {
        found.insert((broker, message.topic().to_string()), (nth, message));
        nth += 1;
    }
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_by_key(|(_, (nth, _))| *nth);
    found.into_iter().map(|((broker, _), (_, message))| (broker, message)).collect()
}

fn take(bytes: &mut &[u8]) -> Option<Birth> {
    let length = number(bytes)? as usize;
    let sum = number(bytes)?;
    let (body, rest) = bytes.split_at_checked(length)?;
    if crc32c::crc32c(body) != sum {
        return None;
    }
    *bytes = rest;
    let (qos, mut body) = body.split_first()?;
    let (broker, topic) = (number(&mut body)? as usize, number(&mut body)? as usize);
    let (broker, body) = body.split_at_checked(broker)?;
    let (topic, payload) = body.split_at_checked(topic)?;
    let mut message = Message::new(std::str::from_utf8(topic).ok()?, payload);
    message.qos = *qos;
    Some((std::str::from_utf8(broker).ok()?.to_string(), message))
}

fn number(bytes: &mut &[u8]) -> Option<u32> {
    let (number, rest) = bytes.split_first_chunk()?;
    *bytes = rest;
    Some(u32::from_le_bytes(*number))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_birth_of_each_topic_holds_and_a_torn_one_does_not() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("births");
        let (mut births, found) = Births::open(&path).expect("opens");
        assert!(found.is_empty());
        for (topic, payload) in [("a", "1"), ("b", "2"), ("a", "3")] {
            let message = Message::new(topic, payload.as_bytes());
            births.append([("m", &message)].into_iter()).expect("written");
        }
        let held = |payload: &str, topic| ("m".to_string(), Message::new(topic, payload.as_bytes()));
        let (_, found) = Births::open(&path).expect("opens");
        assert_eq!(found, [held("2", "b"), held("3", "a")]);
        let whole = fs::read(&path).expect("a file");
        for cut in 0..whole.len() {
            fs::write(&path, &whole[..cut]).expect("a file");
            let (_, found) = Births::open(&path).expect("opens");
            assert!(found.len() < 2, "cut at {cut}");
        }
    }

    #[test]
    fn old_births_do_not_fill_the_disk() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("births");
        let (mut births, _) = Births::open(&path).expect("opens");
        let message = Message::new("a", &vec![7; 1 << 20]);
        for _ in 0..12 {
            births.append([("m", &message)].into_iter()).expect("written");
            assert!(fs::metadata(&path).expect("a file").len() < OLD_BYTES + (4 << 20));
        }
    }
}
