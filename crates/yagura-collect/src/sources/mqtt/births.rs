//! Births in a file, so that a collector that starts again knows what aliases mean.
//!
//! Births are sent once, when a node begins, and nobody asks for them again. The file holds one record a birth:
//! length and CRC-32C of what follows; lengths of broker and topic; broker, topic, payload. The last one of a topic
//! holds. What is behind a torn record is cut off.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

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

/// A birth: broker, topic, payload.
pub(super) type Birth = (String, String, Vec<u8>);

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
    pub fn append<'a>(&mut self, births: impl Iterator<Item = (&'a str, &'a str, &'a [u8])>) -> io::Result<()> {
        let mut out = Vec::new();
        births.for_each(|birth| record(&mut out, birth));
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
        for (broker, topic, payload) in births {
            record(&mut out, (broker, topic, payload));
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

fn record(out: &mut Vec<u8>, (broker, topic, payload): (&str, &str, &[u8])) {
    let mut body = Vec::with_capacity(8 + broker.len() + topic.len() + payload.len());
    for text in [broker, topic] {
        body.extend_from_slice(&(text.len() as u32).to_le_bytes());
    }
    for part in [broker.as_bytes(), topic.as_bytes(), payload] {
        body.extend_from_slice(part);
    }
    out.extend_from_slice(&(body.len() as u32).to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(&body).to_le_bytes());
    out.extend_from_slice(&body);
}

/// The last birth of each topic, in the order of these.
fn latest(mut bytes: &[u8]) -> Vec<Birth> {
    let mut found: BTreeMap<(String, String), (usize, Vec<u8>)> = BTreeMap::new();
    let mut nth = 0;
    while let Some((broker, topic, payload)) = take(&mut bytes) {
        found.insert((broker, topic), (nth, payload));
        nth += 1;
    }
    let mut found: Vec<_> = found.into_iter().collect();
    found.sort_by_key(|(_, (nth, _))| *nth);
    found.into_iter().map(|((broker, topic), (_, payload))| (broker, topic, payload)).collect()
}

fn take(bytes: &mut &[u8]) -> Option<Birth> {
    let number = |bytes: &mut &[u8]| {
        let (number, rest) = bytes.split_first_chunk()?;
        *bytes = rest;
        Some(u32::from_le_bytes(*number))
    };
    let length = number(bytes)? as usize;
    let sum = number(bytes)?;
    let (mut body, rest) = bytes.split_at_checked(length)?;
    if crc32c::crc32c(body) != sum {
        return None;
    }
    *bytes = rest;
    let (broker, topic) = (number(&mut body)? as usize, number(&mut body)? as usize);
    let (broker, body) = body.split_at_checked(broker)?;
    let (topic, payload) = body.split_at_checked(topic)?;
    let text = |text: &[u8]| String::from_utf8(text.to_vec()).ok();
    Some((text(broker)?, text(topic)?, payload.to_vec()))
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
            births.append([("m", topic, payload.as_bytes())].into_iter()).expect("written");
        }
        let held = |payload: &str, topic: &str| ("m".to_string(), topic.to_string(), payload.into());
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
        let payload = vec![7; 1 << 20];
        for _ in 0..12 {
            births.append([("m", "a", &payload[..])].into_iter()).expect("written");
            assert!(fs::metadata(&path).expect("a file").len() < OLD_BYTES + (4 << 20));
        }
    }
}
