//! How far collectors' rows are in the log already: what a restart must not write again.
//!
//! The log itself knows. After each acknowledged write the collector notes the log's end in a
//! small file; a restart reads the log's envelopes from there on, which finds what was written
//! after the last note. Without the file the whole log is read. A wrong answer would not change
//! any result, since shards drop repeated rows by number; it would only cost room.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};
use yagura_event::Envelope;
use yagura_log::{Log, LogError, Record};

use crate::places::Places;

/// What the log holds of recorded sources: by (cell, collector, epoch), the next row number; or of one live
/// source: the places in its streams. And up to where the log was read for it.
#[derive(Default)]
pub struct Cursor {
    file: Option<PathBuf>,
    /// The live source whose places are followed; rows of recorded sources without one.
    live: Option<String>,
    note: Note,
    next: BTreeMap<(String, String, u64), u64>,
}

#[derive(Default, Serialize, Deserialize)]
struct Note {
    /// By partition.
    ends: BTreeMap<u32, u64>,
    #[serde(default)]
    next: Vec<(String, String, u64, u64)>,
    #[serde(default)]
    places: Places,
}

impl Cursor {
    /// Learns what the topic holds of recorded sources. `file` is the note of an earlier run, if there is one.
    pub fn load(log: &dyn Log, topic: &str, file: Option<&Path>) -> Result<Self, LogError> {
        Self::load_for(log, topic, file, None)
    }

    /// Learns where the streams of a live source stand. `file` is the note of an earlier run, if there is one.
    pub fn of_live(log: &dyn Log, topic: &str, file: &Path, collector: &str) -> Result<Self, LogError> {
        Self::load_for(log, topic, Some(file), Some(collector))
    }

    /// Up to where the log holds what a live source read.
    pub fn places(&self) -> &Places {
        &self.note.places
    }

    fn load_for(
        log: &dyn Log,
        topic: &str,
        file: Option<&Path>,
        live: Option<&str>,
    ) -> Result<Self, LogError> {
        let note: Note = file
            .and_then(|file| std::fs::read(file).ok())
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        let next =
            note.next.iter().map(|(cell, name, epoch, next)| ((cell.clone(), name.clone(), *epoch), *next));
        let mut cursor = Cursor {
            file: file.map(Path::to_path_buf),
            live: live.map(str::to_string),
            next: next.collect(),
            note,
        };
        for partition in 0..log.partitions(topic)? {
            let held = log.held(topic, partition)?;
            let noted = cursor.note.ends.get(&partition).copied().unwrap_or(0);
            // A note that is ahead of the log is of another log: it says nothing here.
            if noted > held.end {
                let fresh = Cursor::load_for(log, topic, None, live)?;
                return Ok(Cursor { file: cursor.file, ..fresh });
            }
            let mut reader = log.reader(topic, partition, noted.max(held.start))?;
            while reader.position() < held.end {
                let records = reader.read(8 << 20, Duration::from_secs(10))?;
                if records.is_empty() {
                    return Err(LogError::silent(topic, partition));
                }
                for stored in &records {
                    cursor.seen(&stored.record);
                }
            }
            cursor.note.ends.insert(partition, held.end);
        }
        Ok(cursor)
    }

    /// Whether a record's rows are all in the log already.
    pub fn has(&self, record: &Record) -> bool {
        let Ok(envelope) = Envelope::from_header(&record.header) else { return false };
        let end = envelope.end_row();
        let rows = envelope.rows;
        let known = self.next.get(&(envelope.cell, envelope.collector, envelope.epoch));
        // A heartbeat has no rows to lose; before the last known row it says nothing new.
        known.is_some_and(|&next| end < next || (end == next && rows > 0))
    }

    /// Notes a record that is in the log.
    pub fn seen(&mut self, record: &Record) {
        let Ok(envelope) = Envelope::from_header(&record.header) else { return };
        if let Some(live) = &self.live {
            if *live == envelope.collector {
                self.note.places.note(&envelope);
            }
            return;
        }
        let end = envelope.end_row();
        let next = self.next.entry((envelope.cell, envelope.collector, envelope.epoch)).or_insert(0);
        *next = (*next).max(end);
    }

    /// Writes the note, so that a restart reads less. Failing to costs only time later.
    pub fn save(&mut self, log: &dyn Log, topic: &str) -> Result<(), LogError> {
        let Some(file) = &self.file else { return Ok(()) };
        let mut ends = BTreeMap::new();
        for partition in 0..log.partitions(topic)? {
            ends.insert(partition, log.held(topic, partition)?.end);
        }
        self.note.ends = ends;
        self.note.next = self
            .next
            .iter()
            .map(|((cell, name, epoch), next)| (cell.clone(), name.clone(), *epoch, *next))
            .collect();
        let fresh = file.with_extension("new");
        let written = serde_json::to_vec(&self.note)
            .map_err(std::io::Error::other)
            .and_then(|bytes| std::fs::write(&fresh, bytes))
            .and_then(|()| std::fs::rename(&fresh, file));
        if let Err(cause) = written {
            tracing::warn!(file = %file.display(), %cause, "the collector's note cannot be written; a restart will read more of the log");
        }
        Ok(())
    }
}
