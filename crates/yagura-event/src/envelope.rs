//! The envelope: what stands beside every batch of rows, readable without decoding them.
//!
//! It is one JSON object in the log record's header named [`HEADER`], so that any Kafka tool
//! shows it. A thousand rows share one, which makes its cost (about a microsecond) a nanosecond
//! a row.

use serde::{Deserialize, Serialize};

use crate::clock::Micros;
use crate::error::EventError;
use crate::schema::Kind;

/// The name of the log record's header that carries the envelope.
pub const HEADER: &str = "yagura";

/// How the rows are written in the record's value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// One Arrow IPC stream (schema, one batch), buffers compressed with LZ4.
    #[default]
    Arrow,
    /// One JSON object a line, with the schema's column names.
    Json,
}

/// Kind, origin and bounds of a batch of rows.
///
/// `(collector, epoch, first_row)` numbers the rows: row `i` of the batch is
/// `first_row + i`. Numbers are functions of the source's position, so that a source read
/// again gives the same numbers, and a shard drops those it has already judged. Within a
/// (cell, collector, epoch) they are contiguous over all kinds, so that a hole is seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// What the rows are.
    pub kind: Kind,
    /// Version of the kind's schema, see [`Kind::version`].
    pub version: u16,
    /// The cell (bay, line or tool group) that the rows belong to: the log's key.
    pub cell: String,
    /// Name of the collector that made the rows.
    pub collector: String,
    /// A start of the collector, or, for a source that is read again from its beginning
    /// (a file), a fingerprint of it.
    pub epoch: u64,
    /// Number of the first row.
    pub first_row: u64,
    /// How many rows; 0 for a heartbeat.
    pub rows: u32,
    /// Earliest and latest collector clock among the rows, in microseconds of UTC.
    pub observed: (Micros, Micros),
    /// The collector will send no row observed before this time any more.
    pub promise: Micros,
    /// How the rows are written.
    #[serde(default)]
    pub encoding: Encoding,
    /// Where rows that a cell passed on stood before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<Box<Origin>>,
    /// Up to where in what the collector reads the cell's rows are in the log with this record.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub places: Vec<Place>,
}

/// How far a cell's rows from one stream of a collector (a file, a partition) have come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Place {
    /// The stream's name.
    pub stream: String,
    /// The position of an entry that no cell's rows are missing before: reading goes on there after a crash.
    pub from: u64,
    /// The position of an entry: of this cell, all rows before it are in the log.
    pub at: u64,
    /// Of that entry, the first so many rows, counted over all kinds within the cell.
    pub rows: u32,
    /// Whether this holds for rows of all kinds; for those of the record's own kind otherwise.
    #[serde(default)]
    pub all: bool,
}

/// Where the rows of a record stood that a cell's shard passed on to the plant's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The collector that made them.
    pub collector: String,
    /// Its epoch.
    pub epoch: u64,
    /// The number of the first row of the record they were taken from.
    pub first_row: u64,
    /// Of each row, its place in that record.
    pub places: Vec<u32>,
}

impl Envelope {
    /// The number of a row of the batch where it was first written.
    pub fn number(&self, row: usize) -> u64 {
        match self.origin.as_deref() {
            None => self.first_row.saturating_add(row as u64),
            Some(Origin { first_row, places, .. }) => {
                first_row.saturating_add(places.get(row).map_or(row as u64, |&place| u64::from(place)))
            }
        }
    }

    /// The header's bytes.
    pub fn to_header(&self) -> Vec<u8> {
        // A struct of strings and numbers always serialises.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// Reads a header; refuses versions newer than this program knows.
    pub fn from_header(bytes: &[u8]) -> Result<Self, EventError> {
        let envelope: Envelope =
            serde_json::from_slice(bytes).map_err(|e| EventError::Envelope(e.to_string()))?;
        let known = envelope.kind.version();
        if envelope.version > known {
            return Err(EventError::Newer { kind: envelope.kind.name(), found: envelope.version, known });
        }
        if let Some(origin) = &envelope.origin
            && origin.places.len() != envelope.rows as usize
        {
            let (places, rows) = (origin.places.len(), envelope.rows);
            return Err(EventError::Envelope(format!("{places} places of origin for {rows} rows")));
        }
        Ok(envelope)
    }

    /// Whether the record says only that its collector lives.
    pub fn is_heartbeat(&self) -> bool {
        self.rows == 0
    }

    /// The number after the last row's.
    pub fn end_row(&self) -> u64 {
        self.first_row.saturating_add(u64::from(self.rows))
    }
}
