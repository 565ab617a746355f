//! Rows that came after what would have counted them was closed: a side output that can be read.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use yagura_event::alert::Cause;
use yagura_event::clock::Micros;
use yagura_log::Record;

/// A row that an operator counted aside.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Aside {
    /// The detection's `by` columns and their values.
    pub key: BTreeMap<String, String>,
    /// The row's device time.
    pub time: Micros,
    /// The row's collector time.
    pub observed: Micros,
    /// Up to which collector time everything had been closed.
    pub closed_to: Micros,
    /// The row: it stands in the topic of events.
    pub cause: Cause,
}

/// A row that a detection counted aside, as it stands in the topic of late rows.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LateRow {
    /// The cell.
    pub cell: String,
    /// Number within the cell, from 0, without holes: judged again, a row gets the same.
    pub sequence: u64,
    /// The detection's id.
    pub detection: String,
    /// The row.
    #[serde(flatten)]
    pub row: Aside,
}

impl LateRow {
    /// What it is known by, however often it is written.
    pub fn id(&self) -> (String, String, u64, u64) {
        let cause = &self.row.cause;
        (self.detection.clone(), cause.collector.clone(), cause.epoch, cause.row)
    }

    /// The log record: one JSON object; so is its header, which names the form.
    pub fn to_record(&self) -> Record {
        let header = serde_json::json!({"version": 1, "late": self.sequence, "cell": self.cell});
        Record {
            key: Bytes::copy_from_slice(self.cell.as_bytes()),
            header: header.to_string().into_bytes().into(),
            value: serde_json::to_vec(self).unwrap_or_default().into(),
        }
    }

    /// From a log record; `None` where it is of another form.
    pub fn from_record(record: &Record) -> Option<LateRow> {
        serde_json::from_slice(&record.value).ok()
    }
}
