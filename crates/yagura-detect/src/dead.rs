//! Dead letters: records that nobody could read, kept with the reason in a topic of their own.
//!
//! A letter's key and header say where the record stood (topic, partition, offset), so that one
//! written twice around a crash is told by its place; the value is the record's own, so that any
//! Kafka tool shows it. Sent again after a mend, a letter is followed by a receipt under the same
//! key; whoever compacts the topic keeps the receipt.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use yagura_event::clock::Micros;
use yagura_log::{Appender, Log, LogError, Record};

/// The topic of dead letters. It has one partition: letters are rare, and their order is one.
pub const DEAD: &str = "yagura.dead";

/// Version of a letter's header.
const VERSION: u16 = 1;
/// How far back in the topic an owner looks for the letters that an earlier one wrote.
const WRITTEN_RECORDS_MAX: u64 = 100_000;

/// Where a record stood.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// Topic.
    pub topic: String,
    /// Partition.
    pub partition: u32,
    /// Offset.
    pub offset: u64,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.topic, self.partition, self.offset)
    }
}

/// A record that could not be read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Letter {
    /// Where it stood.
    pub place: Place,
    /// Why it could not be read then.
    pub reason: String,
    /// When that was found, by the clock of whoever found it.
    pub found: Micros,
    /// The record.
    pub record: Record,
    /// Whether `record` is all there was: with the reason it must fit into the log.
    pub whole: bool,
}

/// What a record of the topic says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A record could not be read.
    Letter(Letter),
    /// The letter of this place was sent again at this time.
    Sent(Place, Micros),
}

/// A letter's header.
#[derive(Serialize, Deserialize)]
struct Header {
    version: u16,
    #[serde(flatten)]
    place: Place,
    /// Absent in a receipt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// When it was found, or sent again.
    time: Micros,
    #[serde(default, skip_serializing_if = "Written::is_empty")]
    key: Written,
    #[serde(default, skip_serializing_if = "Written::is_empty")]
    header: Written,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    cut: bool,
}

/// Bytes that are text as a rule, and may be anything.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Written {
    Text(String),
    Hex(String),
}

impl Default for Written {
    fn default() -> Self {
        Written::Text(String::new())
    }
}

impl Written {
    fn of(bytes: &[u8]) -> Self {
        match std::str::from_utf8(bytes) {
            Ok(text) => Written::Text(text.to_string()),
            Err(_) => Written::Hex(bytes.iter().map(|byte| format!("{byte:02x}")).collect()),
        }
    }

    fn is_empty(&self) -> bool {
        matches!(self, Written::Text(text) if text.is_empty())
    }

    fn bytes(self) -> Option<Bytes> {
        match self {
            Written::Text(text) => Some(text.into_bytes().into()),
            Written::Hex(hex) if hex.is_ascii() && hex.len().is_multiple_of(2) => {
                let byte = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).ok();
                (0..hex.len()).step_by(2).map(byte).collect::<Option<Vec<u8>>>().map(Bytes::from)
            }
            Written::Hex(_) => None,
        }
    }
}

impl Letter {
    /// The record to write.
    pub fn to_record(&self) -> Record {
        let header = Header {
            version: VERSION,
            place: self.place.clone(),
            reason: Some(self.reason.clone()),
            time: self.found,
            key: Written::of(&self.record.key),
            header: Written::of(&self.record.header),
            cut: !self.whole,
        };
        Record {
            key: self.place.to_string().into(),
            header: serde_json::to_vec(&header).unwrap_or_default().into(),
            value: self.record.value.clone(),
        }
    }

    /// Appends it. What is too large with the reason beside it is written without its bytes: they
    /// stay where they were, as long as that topic keeps them.
    pub fn append(mut self, to: &mut dyn Appender) -> Result<(), LogError> {
        match to.append(self.to_record()) {
            Err(LogError::TooLarge { .. }) => {
                self.record = Record::default();
                self.whole = false;
                to.append(self.to_record())
            }
            done => done,
        }
    }
}

/// The receipt of a letter that was sent again.
pub fn receipt(place: &Place, time: Micros) -> Record {
    let header = Header {
        version: VERSION,
        place: place.clone(),
        reason: None,
        time,
        key: Written::default(),
        header: Written::default(),
        cut: false,
    };
    Record {
        key: place.to_string().into(),
        header: serde_json::to_vec(&header).unwrap_or_default().into(),
        value: Bytes::new(),
    }
}

/// Reads a record of the topic; `None` when it is neither letter nor receipt.
pub fn note_of(record: &Record) -> Option<Note> {
    let header: Header = serde_json::from_slice(&record.header).ok()?;
    if header.version != VERSION {
        return None;
    }
    let Some(reason) = header.reason else { return Some(Note::Sent(header.place, header.time)) };
    Some(Note::Letter(Letter {
        place: header.place,
        reason,
        found: header.time,
        record: Record {
            key: header.key.bytes()?,
            header: header.header.bytes()?,
            value: record.value.clone(),
        },
        whole: !header.cut,
    }))
}

/// A letter, and when it was sent again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    /// The letter.
    pub letter: Letter,
    /// When it was last sent again, if ever.
    pub sent: Option<Micros>,
}

/// All letters that the log holds, each once, by their place. Empty without the topic.
pub fn letters(log: &dyn Log) -> Result<BTreeMap<Place, Kept>, LogError> {
    let mut out = BTreeMap::new();
    each_letter(log, |kept| {
        out.insert(kept.letter.place.clone(), kept);
        Ok::<(), LogError>(())
    })?;
    Ok(out)
}

/// Calls `with` for every letter that the log holds, each once and one at a time: after a flood of
/// poison they are more than memory holds.
pub fn each_letter<E: From<LogError>>(
    log: &dyn Log,
    mut with: impl FnMut(Kept) -> Result<(), E>,
) -> Result<(), E> {
    let mut sent: BTreeMap<Place, Micros> = BTreeMap::new();
    each(log, u64::MAX, |note| {
        if let Note::Sent(place, time) = note {
            sent.insert(place, time);
        }
        Ok::<(), LogError>(())
    })?;
    let mut seen: BTreeSet<Place> = BTreeSet::new();
    each(log, u64::MAX, |note| match note {
        Note::Letter(letter) if seen.insert(letter.place.clone()) => {
            let sent = sent.get(&letter.place).copied();
            with(Kept { letter, sent })
        }
        _ => Ok(()),
    })
}

/// The offsets of a partition's records, from `next` on, whose letters are written already.
pub fn written_since(
    log: &dyn Log,
    topic: &str,
    partition: u32,
    next: u64,
) -> Result<BTreeSet<u64>, LogError> {
    let mut out = BTreeSet::new();
    each(log, WRITTEN_RECORDS_MAX, |note| {
        if let Note::Letter(Letter { place, .. }) = note
            && place.topic == topic
            && place.partition == partition
            && place.offset >= next
        {
            out.insert(place.offset);
        }
        Ok::<(), LogError>(())
    })?;
    Ok(out)
}

/// Calls `with` for what the last `records_max` records of each partition say.
fn each<E: From<LogError>>(
    log: &dyn Log,
    records_max: u64,
    mut with: impl FnMut(Note) -> Result<(), E>,
) -> Result<(), E> {
    let partitions = match log.partitions(DEAD) {
        Err(LogError::NoTopic(_)) => return Ok(()),
        known => known?,
    };
    for partition in 0..partitions {
        let held = log.held(DEAD, partition)?;
        if held.is_empty() {
            continue;
        }
        let from = held.start.max(held.end.saturating_sub(records_max));
        let mut reader = log.reader(DEAD, partition, from)?;
        while reader.position() < held.end {
            let records = reader.read(1 << 20, Duration::from_secs(10))?;
            if records.is_empty() {
                return Err(LogError::silent(DEAD, partition).into());
            }
            for stored in records.iter().filter(|stored| stored.offset < held.end) {
                if let Some(note) = note_of(&stored.record) {
                    with(note)?;
                }
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use yagura_log::embedded::Options;
    use yagura_log::memory;

    use super::*;

    fn letter(offset: u64, record: Record) -> Letter {
        Letter {
            place: Place { topic: "yagura.events".into(), partition: 3, offset },
            reason: "the record's rows cannot be read".into(),
            found: 7,
            record,
            whole: true,
        }
    }

    fn record(key: &'static [u8], header: &'static [u8], value: &'static [u8]) -> Record {
        Record {
            key: Bytes::from_static(key),
            header: Bytes::from_static(header),
            value: Bytes::from_static(value),
        }
    }

    #[test]
    fn any_bytes_come_back() {
        for record in [
            record(b"bay", br#"{"kind":"message"}"#, b"\x00\xff"),
            record(b"", b"", b""),
            record(b"\xff\x00", b"\xc3\x28", "文".as_bytes()),
        ] {
            let letter = letter(17, record);
            let written = letter.to_record();
            assert_eq!(written.key, "yagura.events/3/17");
            assert_eq!(note_of(&written), Some(Note::Letter(letter)));
        }
        let place = letter(17, Record::default()).place;
        assert_eq!(note_of(&receipt(&place, 9)), Some(Note::Sent(place, 9)));
        assert_eq!(note_of(&record(b"", b"{}", b"")), None);
    }

    #[test]
    fn a_letter_counts_once_and_its_receipt_closes_it() {
        let log = memory::open(Options { record_bytes_max: 1000, ..Options::default() }).expect("a log");
        assert_eq!(letters(&log).expect("no topic is no letter"), BTreeMap::new());
        assert_eq!(written_since(&log, "yagura.events", 3, 0).expect("none"), BTreeSet::new());
        log.ensure_topic(DEAD, 1).expect("a topic");
        let mut appender = log.appender(DEAD).expect("an appender");
        let large = Record { value: vec![b'x'; 1000].into(), ..record(b"bay", b"h", b"") };
        for offset in [5, 9, 5] {
            letter(offset, record(b"bay", b"h", b"v")).append(&mut *appender).expect("appends");
        }
        letter(11, large).append(&mut *appender).expect("without its bytes");
        appender.append(receipt(&letter(9, Record::default()).place, 99)).expect("appends");
        appender.flush().expect("durable");
        let found: Vec<(u64, bool, Option<Micros>)> = letters(&log)
            .expect("letters")
            .into_iter()
            .map(|(place, kept)| (place.offset, kept.letter.whole, kept.sent))
            .collect();
        assert_eq!(found, [(5, true, None), (9, true, Some(99)), (11, false, None)]);
        assert_eq!(written_since(&log, "yagura.events", 3, 6).expect("some"), BTreeSet::from([9, 11]));
        assert_eq!(written_since(&log, "yagura.events", 2, 0).expect("none"), BTreeSet::new());
    }
}
