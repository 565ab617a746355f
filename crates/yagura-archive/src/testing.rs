//! Records and a store for tests.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;

use bytes::Bytes;
use yagura_event::alert::Cause;
use yagura_event::clock::Micros;
use yagura_event::rows::{MessageBuilder, MessageRow, SampleBuilder, SampleRow, SeriesBuilder, SeriesRow};
use yagura_event::{Alert, Encoding, Envelope, Kind, Queue, Severity, codec};
use yagura_log::Record;

use crate::store::{Entry, Store, StoreError};

/// A store in memory.
#[derive(Default)]
pub struct Memory(Mutex<BTreeMap<String, Bytes>>);

impl Store for Memory {
    fn describe(&self) -> String {
        "memory".into()
    }

    fn list(&self, folder: &str) -> Result<Vec<Entry>, StoreError> {
        let files = self.0.lock().unwrap();
        let below = files.iter().filter(|(path, _)| path.starts_with(&format!("{folder}/")));
        Ok(below.map(|(path, b)| Entry { path: path.clone(), size: b.len() as u64, modified: 0 }).collect())
    }

    fn read(&self, path: &str, range: Range<u64>) -> Result<Bytes, StoreError> {
        let files = self.0.lock().unwrap();
        let missing = || StoreError { what: path.into(), cause: "is not there".into(), missing: true };
        Ok(files.get(path).ok_or_else(missing)?.slice(range.start as usize..range.end as usize))
    }

    fn put(&self, path: &str, bytes: Bytes) -> Result<(), StoreError> {
        self.0.lock().unwrap().insert(path.into(), bytes);
        Ok(())
    }

    fn create(&self, path: &str, bytes: Bytes) -> Result<bool, StoreError> {
        let mut files = self.0.lock().unwrap();
        let free = !files.contains_key(path);
        files.entry(path.into()).or_insert(bytes);
        Ok(free)
    }

    fn remove(&self, path: &str) -> Result<(), StoreError> {
        self.0.lock().unwrap().remove(path);
        Ok(())
    }
}

/// Collector `c`'s rows as they stand in the log.
pub type Written = (Envelope, Vec<u8>);

pub fn record((envelope, value): &Written) -> Record {
    Record {
        key: Bytes::copy_from_slice(envelope.cell.as_bytes()),
        header: envelope.to_header().into(),
        value: value.clone().into(),
    }
}

pub fn envelope(kind: Kind, cell: &str, epoch: u64, first_row: u64, rows: usize) -> Envelope {
    Envelope {
        kind,
        version: 1,
        cell: cell.into(),
        collector: "c".into(),
        epoch,
        first_row,
        rows: rows as u32,
        observed: (0, 0),
        promise: Micros::MAX,
        encoding: Encoding::Arrow,
        origin: None,
        places: Vec::new(),
    }
}

/// One message for each target.
pub fn messages(cell: &str, epoch: u64, first_row: u64, targets: &[&str]) -> Written {
    let mut builder = MessageBuilder::default();
    for target in targets {
        builder.push(&MessageRow { target, protocol: "modbus", ..Default::default() });
    }
    let value = codec::encode_arrow(&builder.finish()).unwrap();
    (envelope(Kind::Message, cell, epoch, first_row, targets.len()), value)
}

/// Series 0, 1, … of tool `T`.
pub fn series(cell: &str, epoch: u64, first_row: u64, signals: &[&str]) -> Written {
    let mut builder = SeriesBuilder::default();
    for (series, signal) in (0..).zip(signals) {
        builder.push(&SeriesRow { series, tool: "T", signal, unit: "Pa", ..Default::default() });
    }
    let value = codec::encode_arrow(&builder.finish()).unwrap();
    (envelope(Kind::Series, cell, epoch, first_row, signals.len()), value)
}

/// One sample for each series number.
pub fn samples(cell: &str, epoch: u64, first_row: u64, series: &[u32]) -> Written {
    let mut builder = SampleBuilder::default();
    for &series in series {
        builder.push(&SampleRow { series, value: f64::from(series), ..Default::default() });
    }
    let value = codec::encode_arrow(&builder.finish()).unwrap();
    (envelope(Kind::Sample, cell, epoch, first_row, series.len()), value)
}

/// An alert that row 9 caused.
pub fn alert(cell: &str, sequence: u64) -> Written {
    let alert = Alert {
        uid: Default::default(),
        revision: 1,
        cell: cell.into(),
        sequence,
        detection: "d".into(),
        title: "t".into(),
        queue: Queue::Security,
        severity: Severity::High,
        protects: Vec::new(),
        techniques: Vec::new(),
        matrix: String::new(),
        outcomes: Vec::new(),
        time: 1,
        observed: 2,
        last_time: 3,
        count: 4,
        key: BTreeMap::from([("tool".to_string(), "T".to_string())]),
        tool: "T".into(),
        summary: "s".into(),
        then: String::new(),
        evidence: serde_json::Value::Null,
        cause: Cause { collector: "c".into(), epoch: 1, row: 9 },
        late: false,
    };
    let mut envelope = envelope(Kind::Alert, cell, 0, sequence, 1);
    envelope.encoding = Encoding::Json;
    envelope.collector = "detect".into();
    (envelope, serde_json::to_vec(&alert).unwrap())
}
