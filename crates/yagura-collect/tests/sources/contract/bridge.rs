//! Records of a topic of somebody else, whose log is a folder here; with a real Kafka the end-to-end tests do the same.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use yagura_event::Kind;
use yagura_log::embedded::{Embedded, Options};
use yagura_log::{Log, Record};

use super::{Fault, Promise, Subject};
use crate::rig::Row;

/// A producer.
pub struct Foreign {
    folder: PathBuf,
    log: Arc<Embedded>,
    produced: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    producer: Option<JoinHandle<()>>,
}

const PARTITIONS: u32 = 3;

impl Foreign {
    pub fn new(folder: &Path) -> Self {
        let folder = folder.join("foreign");
        let log = Embedded::open(&folder, Options::default()).expect("a log");
        log.ensure_topic("doors", PARTITIONS).expect("a topic");
        Foreign { folder, log: Arc::new(log), produced: Arc::default(), stop: Arc::default(), producer: None }
    }
}

impl Subject for Foreign {
    fn settings(&self) -> Value {
        json!({
            "name": "bridge", "kind": "kafka", "kafka": {"brokers": self.folder}, "from": "start", "batch": "20ms",
            "topics": [{"topic": "doors", "format": {"json": {"as": "log", "columns": {
                "tool": "door", "category": "badge", "description": "${id}"}}}}],
        })
    }

    fn faults(&self) -> &'static [Fault] {
        &[Fault::CollectorKilled, Fault::CollectorStopped, Fault::PeerKilled, Fault::LogRefuses]
    }

    fn promise(&self) -> Promise {
        Promise::Kept
    }

    fn speak(&mut self) {
        self.stop.store(false, Ordering::Release);
        let (log, produced, stop) =
            (Arc::clone(&self.log), Arc::clone(&self.produced), Arc::clone(&self.stop));
        self.producer = Some(std::thread::spawn(move || {
            let mut appender = log.appender("doors").expect("an appender");
            while !stop.load(Ordering::Acquire) {
                let first = produced.load(Ordering::Acquire);
                let rows = |from: u64| (from..from + 4).map(|id| json!({"id": id})).collect::<Value>();
                for half in [first, first + 4] {
                    let key = format!("key-{}", half % 7).into_bytes().into();
                    let value = rows(half).to_string().into_bytes().into();
                    appender.append(Record { key, value, ..Record::default() }).expect("room");
                }
                appender.flush().expect("durable");
                produced.store(first + 8, Ordering::Release);
                std::thread::park_timeout(Duration::from_millis(2));
            }
        }));
    }

    fn hush(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(producer) = self.producer.take() {
            producer.join().expect("a producer");
        }
    }

    fn taken(&self) -> Vec<u64> {
        (0..self.produced.load(Ordering::Acquire)).collect()
    }

    fn number(&self, row: &Row) -> Option<u64> {
        (row.kind == Kind::Log).then(|| row.text("description").parse().ok()).flatten()
    }
}
