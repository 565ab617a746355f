//! What a person decides about baselines, as records of the log.

use std::collections::BTreeMap;

use bytes::Bytes;
use serde_json::json;
use yagura_event::clock::Micros;
use yagura_event::vocabulary::control;
use yagura_event::{Encoding, Envelope, Kind};
use yagura_log::Record;

use super::Document;
use crate::shard::DECISIONS;
use crate::shard::baselines::{Back, Part};

/// The most bytes of a document in one record; twice as many where its quotes are written as JSON.
const PART_BYTES: usize = 256 << 10;

/// A decision about a detection.
pub enum Decision<'a> {
    /// This document is to be in force.
    PutInForce(&'a Document),
    /// An earlier version is.
    BackTo {
        /// The detection.
        detection: &'a str,
        /// See [`crate::shard::baselines::Version::number`].
        version: u32,
    },
    /// These keys were under maintenance.
    Maintenance {
        /// The detection, or `*`.
        detection: &'a str,
        /// Names and values of what a key is of.
        keys: &'a serde_json::Map<String, serde_json::Value>,
    },
    /// An alarm of these keys was false.
    FalseAlarm {
        /// The detection.
        detection: &'a str,
        /// Names and values of the alert's key.
        keys: &'a BTreeMap<String, String>,
    },
}

impl Decision<'_> {
    /// Action, subject and payload of its records, in order.
    fn rows(&self) -> Vec<(&'static str, &str, String)> {
        match self {
            Decision::PutInForce(document) => {
                let (text, hash) = (document.text(), document.hash());
                let parts = cut(&text);
                let payload = |(at, text): (usize, &&str)| {
                    let (document, text) = (hash.clone(), (*text).to_string());
                    let part = Part { document, part: at as u32, parts: parts.len() as u32, text };
                    serde_json::to_string(&part).unwrap_or_default()
                };
                let payloads = parts.iter().enumerate().map(payload);
                let detection = document.header.detection.as_str();
                payloads.map(|payload| (control::BASELINE, detection, payload)).collect()
            }
            Decision::BackTo { detection, version } => {
                let payload = serde_json::to_string(&Back { version: *version }).unwrap_or_default();
                vec![(control::ROLLBACK, detection, payload)]
            }
            Decision::Maintenance { detection, keys } => {
                vec![(control::MAINTENANCE, detection, serde_json::to_string(keys).unwrap_or_default())]
            }
            Decision::FalseAlarm { detection, keys } => {
                vec![(control::FALSE_ALARM, detection, serde_json::to_string(keys).unwrap_or_default())]
            }
        }
    }

    /// Its records in a cell. Each decision numbers its rows anew, so `now` is one that no other has.
    pub fn records(&self, cell: &str, author: &str, now: Micros) -> Vec<Record> {
        let rows = self.rows().into_iter().enumerate();
        let record = |(number, (action, subject, payload)): (usize, (&str, &str, String))| {
            let envelope = Envelope {
                kind: Kind::Control,
                version: Kind::Control.version(),
                cell: cell.to_string(),
                collector: DECISIONS.into(),
                epoch: now as u64,
                first_row: number as u64,
                rows: 1,
                observed: (now, now),
                promise: Micros::MAX,
                encoding: Encoding::Json,
                origin: None,
                places: Vec::new(),
            };
            let row = json!({
                "time": now, "observed": now, "action": action, "subject": subject, "payload": payload,
                "author": author,
            });
            Record {
                key: Bytes::copy_from_slice(cell.as_bytes()),
                header: envelope.to_header().into(),
                value: row.to_string().into(),
            }
        };
        rows.map(record).collect()
    }
}

/// A text in pieces that end between characters.
fn cut(mut text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    while text.len() > PART_BYTES {
        let at = (0..=PART_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(PART_BYTES);
        let (part, rest) = text.split_at(at);
        parts.push(part);
        text = rest;
    }
    parts.push(text);
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let text = format!("a{}", "é".repeat(PART_BYTES));
        let parts = cut(&text);
        assert_eq!((parts.len(), parts.concat()), (3, text));
        assert_eq!(cut(""), [""]);
    }
}
