//! Files that others write and rotate. What is written is taken.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Value, json};
use yagura_event::Kind;

use super::{Fault, Promise, Subject};
use crate::rig::Row;

/// A file that a thread writes.
pub struct Written {
    settings: Value,
    file: PathBuf,
    entry: fn(u64) -> String,
    number: fn(&Row) -> Option<u64>,
    rotates: bool,
    next: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    writer: Option<JoinHandle<()>>,
}

/// Entries between two rotations, about.
const ROTATES_AFTER: u64 = 400;

pub fn json_lines(folder: &Path) -> Written {
    let settings = json!({
        "kind": "files", "path": "app.log*", "format": "jsonl", "mapping": {"as": "log", "columns": {"category": "app"}},
    });
    let entry = |n| format!("{{\"time\":\"2026-11-02T22:00:01Z\",\"event\":\"{n}\"}}\n");
    Written::new(folder, "app.log", settings, entry, |row| of_log(row, row.text("event")))
}

pub fn zeek(folder: &Path) -> Written {
    let settings = json!({"kind": "zeek", "path": "notice*.log*"});
    let entry = |n| {
        format!("{{\"ts\":1793656801.5,\"note\":\"Scan::Port_Scan\",\"msg\":\"{n}\",\"src\":\"10.0.0.9\"}}\n")
    };
    Written::new(folder, "notice.log", settings, entry, |row| of_log(row, row.text("description")))
}

pub fn suricata(folder: &Path) -> Written {
    let settings = json!({"kind": "suricata", "path": "eve.json*"});
    let entry = |n| {
        format!(
            "{{\"timestamp\":\"2026-11-02T22:00:01.000000+0000\",\"event_type\":\"alert\",\"src_ip\":\"10.0.0.9\",\
             \"dest_ip\":\"10.0.0.1\",\"alert\":{{\"signature_id\":{n},\"signature\":\"a\",\"severity\":2}}}}\n"
        )
    };
    Written::new(folder, "eve.json", settings, entry, |row| of_log(row, row.text("event")))
}

pub fn secs(folder: &Path) -> Written {
    let settings = json!({"kind": "secslog", "path": "eap.log", "head": "{time} {tool} {direction}"});
    let entry = |n| {
        let time = format!("2026-11-26T10:00:{:02}Z ETCH-01", n % 60);
        let define = match n {
            0 => format!(
                "{time} send\nS2F33 W <L <U4 0> <L <L <U4 9> <L <U4 20>>>>> .\n{time} recv\nS2F34 <B 0x0> .\n"
            ),
            _ => String::new(),
        };
        let event = format!(
            "{time} recv\nS6F11 W\n  <L\n    <U4 {n}>\n    <U4 1>\n    <L <L <U4 9> <L <U4 {n}>>>>\n  > .\n"
        );
        format!("{define}{event}{time} send\nS6F12 <B 0x0> .\n")
    };
    let number = |row: &Row| {
        let is = row.kind == Kind::Sample && row.text("signal") == "VID 20";
        is.then(|| row.number("value")).flatten().map(|value| value as u64)
    };
    // What a gateway's log is called after its rotation is not known to the reader of its format.
    Written { rotates: false, ..Written::new(folder, "eap.log", settings, entry, number) }
}

fn of_log(row: &Row, number: &str) -> Option<u64> {
    let number = number.split(' ').next().unwrap_or_default();
    (row.kind == Kind::Log).then(|| number.parse().ok()).flatten()
}

impl Written {
    fn new(
        folder: &Path,
        file: &str,
        mut settings: Value,
        entry: fn(u64) -> String,
        number: fn(&Row) -> Option<u64>,
    ) -> Self {
        settings["name"] = json!("written");
        settings["batch"] = json!("20ms");
        Written {
            settings,
            file: folder.join(file),
            entry,
            number,
            rotates: true,
            next: Arc::default(),
            stop: Arc::default(),
            writer: None,
        }
    }
}

impl Subject for Written {
    fn settings(&self) -> Value {
        self.settings.clone()
    }

    fn faults(&self) -> &'static [Fault] {
        &[Fault::CollectorKilled, Fault::CollectorStopped, Fault::PeerKilled, Fault::LogRefuses]
    }

    fn promise(&self) -> Promise {
        Promise::Kept
    }

    fn speak(&mut self) {
        self.stop.store(false, Ordering::Release);
        let (next, stop) = (Arc::clone(&self.next), Arc::clone(&self.stop));
        let (file, entry, rotates) = (self.file.clone(), self.entry, self.rotates);
        self.writer = Some(std::thread::spawn(move || {
            let open = || OpenOptions::new().append(true).create(true).open(&file).expect("a file");
            let mut writing = open();
            let mut random = fastrand::Rng::new();
            while !stop.load(Ordering::Acquire) {
                let number = next.load(Ordering::Acquire);
                let text = entry(number);
                // A reader may see any part of an entry.
                let (one, other) = text.split_at(random.usize(..text.len()));
                writing.write_all(one.as_bytes()).expect("written");
                writing.write_all(other.as_bytes()).expect("written");
                next.store(number + 1, Ordering::Release);
                if random.u32(..8) == 0 {
                    std::thread::park_timeout(Duration::from_millis(1));
                }
                if rotates && random.u64(..ROTATES_AFTER) == 0 {
                    let old = format!("{}.{number:08}", file.display());
                    fs::rename(&file, old).expect("renamed");
                    writing = open();
                }
            }
        }));
    }

    fn hush(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(writer) = self.writer.take() {
            writer.join().expect("a writer");
        }
    }

    fn taken(&self) -> Vec<u64> {
        (0..self.next.load(Ordering::Acquire)).collect()
    }

    fn number(&self, row: &Row) -> Option<u64> {
        (self.number)(row)
    }
}
