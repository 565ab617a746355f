//! What all tests of sources collect with: a folder, a log, collectors in this process or in one of their own.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tempfile::TempDir;
use yagura_collect::live::{self, Destination};
use yagura_collect::run::{CollectError, Progress};
use yagura_collect::sources::CollectorConfig;
use yagura_collect::{LiveSource, Opened, Plant};
use yagura_event::clock::Micros;
use yagura_event::{AssetTable, Envelope, Kind, clock, codec};
use yagura_log::altered::{Altered, Mood, moody};
use yagura_log::embedded::{Embedded, Options};
use yagura_log::{Log, Record, memory};

/// The topic of rows.
pub const TOPIC: &str = "events";

/// Waits until something holds, at most 20 seconds.
pub fn wait(what: &str, holds: impl FnMut() -> bool) {
    assert!(within(Duration::from_secs(20), holds), "waited in vain for 20 s: {what}");
}

/// Whether something holds before the time is over.
pub fn within(time: Duration, mut holds: impl FnMut() -> bool) -> bool {
    let until = clock::steady() + time.as_micros() as i64;
    while !holds() {
        if clock::steady() > until {
            return false;
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    true
}

/// A port that is free now.
pub fn free_port() -> u16 {
    yagura_testkit::free_port().expect("a port")
}

/// Collectors of a test share its plant, its folder and its log, which is in memory and has moods.
pub struct Rig {
    /// Files of sources, and notes of collectors.
    pub folder: TempDir,
    /// What the collectors know.
    pub plant: Plant,
    /// Where rows go.
    pub log: Arc<Altered>,
    /// What becomes of them there.
    pub mood: Arc<Mood>,
    _runtime: tokio::runtime::Runtime,
}

impl Rig {
    /// A plant of one cell, `bay`.
    pub fn new() -> Self {
        Self::of(AssetTable::new(vec![], "bay"))
    }

    /// A plant in which this machine is a tool, and another one is in another cell.
    pub fn with_tools() -> Self {
        let asset = |name: &str, address: &str, cell: &str| {
            let all = json!({ "name": name, "addresses": [address], "cell": cell, "area": "fab" });
            serde_json::from_value(all).expect("an asset")
        };
        let tools = vec![asset("ETCH-07", "127.0.0.1", "bay-3"), asset("LITHO-02", "10.9.9.9", "bay-4")];
        Self::of(AssetTable::new(tools, "bay"))
    }

    /// A plant with assets.
    pub fn of(assets: AssetTable) -> Self {
        let runtime = runtime();
        let mood = Arc::new(Mood::default());
        let log = moody(Arc::new(memory::open(Options::default()).expect("a log")), &mood);
        log.ensure_topic(TOPIC, 1).expect("a topic");
        Rig {
            folder: tempfile::tempdir().expect("a folder"),
            plant: plant(&runtime, assets),
            log: Arc::new(log),
            mood,
            _runtime: runtime,
        }
    }

    /// A file in its folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Writes one.
    pub fn write(&self, name: &str, text: impl AsRef<[u8]>) {
        std::fs::write(self.path(name), text).expect("a file");
    }

    /// A collector's settings.
    pub fn config(&self, settings: &Value) -> CollectorConfig {
        CollectorConfig::new(settings.clone()).expect("settings")
    }

    /// What `validate --connect` says.
    pub fn probe(&self, settings: &Value) -> Result<String, String> {
        self.config(settings).probe(self.folder.path(), &self.plant).map_err(|e| e.to_string())
    }

    /// Why a collector does not open.
    pub fn refused(&self, settings: &Value) -> String {
        match self.config(settings).open(self.folder.path(), &self.plant) {
            Ok(_) => panic!("it opens"),
            Err(error) => error.to_string(),
        }
    }

    /// Starts a collector.
    pub fn collect(&self, settings: &Value) -> Collector {
        Collector::start(Arc::clone(&self.log) as Arc<dyn Log>, &self.plant, self.folder.path(), settings)
    }

    /// All rows so far.
    pub fn rows(&self) -> Rows {
        Rows::of(self.log.as_ref())
    }

    /// The values of a signal so far.
    pub fn values(&self, signal: &str) -> Vec<f64> {
        self.rows().values(signal)
    }

    /// How many coverage rows there are so far; see [`Rows::told`].
    pub fn told(&self, event: &str, subject: &str, words: &str) -> usize {
        Rows::coverage(self.log.as_ref()).told(event, subject, words).count()
    }

    /// Waits until something holds, at most 20 seconds; says what the collectors say if it does not.
    pub fn until(&self, what: &str, holds: impl FnMut() -> bool) {
        if !within(Duration::from_secs(20), holds) {
            let told = self.rows().table(Kind::Coverage, &["event", "subject", "count", "detail"]);
            panic!("waited in vain for 20 s: {what}; coverage: {told:#?}");
        }
    }
}

/// A runtime for sources.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
}

/// A plant that knows no logs of others.
pub fn plant(runtime: &tokio::runtime::Runtime, assets: AssetTable) -> Plant {
    Plant { assets: Arc::new(assets), ..Plant::unknown(runtime.handle()) }
}

/// A collector in this process.
pub struct Collector {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), CollectError>>>,
}

impl Collector {
    /// Starts one over any log.
    pub fn start(log: Arc<dyn Log>, plant: &Plant, folder: &Path, settings: &Value) -> Self {
        let config = CollectorConfig::new(settings.clone()).expect("settings");
        let Opened::Live(source) = config.open(folder, plant).expect("it opens") else {
            panic!("it is live")
        };
        Self::of(source, log, plant, folder)
    }

    /// Starts a source that is open.
    pub fn of(source: Box<dyn LiveSource>, log: Arc<dyn Log>, plant: &Plant, folder: &Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, assets, notes) = (Arc::clone(&stop), Arc::clone(&plant.assets), folder.to_owned());
        let thread = std::thread::spawn(move || {
            let to =
                Destination { log: log.as_ref(), topic: TOPIC, assets: &assets, cells: &[], notes: &notes };
            live::collect(source, to, &stopped, &Progress::default())
        });
        Collector { stop, thread: Some(thread) }
    }

    /// Stops it in order.
    pub fn stop(mut self) {
        self.ask_to_stop();
        self.wait().expect("it ends in order");
    }

    /// Asks it to stop.
    pub fn ask_to_stop(&self) {
        self.stop.store(true, Ordering::Release);
    }

    /// Whether it came to its end.
    pub fn is_ended(&self) -> bool {
        self.thread.as_ref().is_none_or(JoinHandle::is_finished)
    }

    /// Waits for its end.
    pub fn ended(mut self) -> Result<(), CollectError> {
        self.wait()
    }

    fn wait(&mut self) -> Result<(), CollectError> {
        self.thread.take().expect("it runs").join().expect("no panic")
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.ask_to_stop();
    }
}

/// One row of the log.
#[derive(Clone, Debug)]
pub struct Row {
    /// What it is.
    pub kind: Kind,
    /// Its number: the collector's start, and the row.
    pub id: (u64, u64),
    /// When the collector saw it; of a sample is known when its batch was seen.
    pub observed: (Micros, Micros),
    /// Its columns, and `cell`; a sample has those of its series, too.
    pub columns: Map<String, Value>,
}

impl Row {
    /// A column as text; empty where there is none.
    pub fn text(&self, column: &str) -> &str {
        self.columns.get(column).and_then(Value::as_str).unwrap_or("")
    }

    /// A column as a number.
    pub fn number(&self, column: &str) -> Option<f64> {
        self.columns.get(column).and_then(Value::as_f64)
    }
}

/// The rows of a log, in its order.
#[derive(Clone, Debug, Default)]
pub struct Rows(pub Vec<Row>);

impl Rows {
    /// All that a log holds.
    pub fn of(log: &dyn Log) -> Self {
        Self::some(log, |_| true)
    }

    /// What collectors say about themselves.
    pub fn coverage(log: &dyn Log) -> Self {
        Self::some(log, |kind| kind == Kind::Coverage)
    }

    fn some(log: &dyn Log, wanted: impl Fn(Kind) -> bool) -> Self {
        let (mut out, mut series) = (Vec::new(), HashMap::new());
        for (envelope, record) in records(log) {
            if envelope.rows == 0 || !wanted(envelope.kind) {
                continue;
            }
            let batch = codec::decode(&envelope, &record.value).expect("rows");
            for (number, mut columns) in (envelope.first_row..).zip(codec::to_json_rows(&batch)) {
                let of = (envelope.epoch, columns.get("series").and_then(Value::as_u64).unwrap_or_default());
                match envelope.kind {
                    Kind::Series => drop(series.insert(of, columns.clone())),
                    Kind::Sample => {
                        let known = series.get(&of).expect("a series comes before its samples");
                        for (name, value) in known {
                            columns.entry(name.clone()).or_insert_with(|| value.clone());
                        }
                    }
                    _ => {}
                }
                columns.insert("cell".into(), envelope.cell.clone().into());
                let own = columns.get("observed").and_then(Value::as_i64).map(|seen| (seen, seen));
                let observed = own.unwrap_or(envelope.observed);
                out.push(Row { kind: envelope.kind, id: (envelope.epoch, number), observed, columns });
            }
        }
        Rows(out)
    }

    /// Those of a kind.
    pub fn kind(&self, kind: Kind) -> impl DoubleEndedIterator<Item = &Row> {
        self.0.iter().filter(move |row| row.kind == kind)
    }

    /// The columns of those of a kind.
    pub fn columns(&self, kind: Kind) -> Vec<&Map<String, Value>> {
        self.kind(kind).map(|row| &row.columns).collect()
    }

    /// How many there are of a kind.
    pub fn count(&self, kind: Kind) -> usize {
        self.kind(kind).count()
    }

    /// The values of a signal.
    pub fn values(&self, signal: &str) -> Vec<f64> {
        let of = self.kind(Kind::Sample).filter(|row| row.text("signal") == signal);
        of.map(|row| row.number("value").unwrap_or(f64::NAN)).collect()
    }

    /// Columns of the rows of a kind, joined by `|`.
    pub fn table(&self, kind: Kind, columns: &[&str]) -> Vec<String> {
        let text = |row: &Row, column: &&str| match row.columns.get(*column) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Null) | None => String::new(),
            Some(other) => other.to_string(),
        };
        self.kind(kind)
            .map(|row| columns.iter().map(|c| text(row, c)).collect::<Vec<_>>().join("|"))
            .collect()
    }

    /// Coverage rows of an event about a subject whose detail has these words.
    pub fn told<'a>(
        &'a self,
        event: &'a str,
        subject: &'a str,
        words: &'a str,
    ) -> impl Iterator<Item = &'a Row> {
        self.kind(Kind::Coverage).filter(move |row| {
            row.text("event") == event
                && (subject.is_empty() || row.text("subject") == subject)
                && row.text("detail").contains(words)
        })
    }

    /// The sum of what coverage rows of an event count.
    pub fn counted(&self, event: &str) -> u64 {
        self.told(event, "", "").filter_map(|row| row.columns["count"].as_u64()).sum()
    }
}

/// All records of a log.
pub fn records(log: &dyn Log) -> Vec<(Envelope, Record)> {
    let held = log.held(TOPIC, 0).expect("held");
    let mut reader = log.reader(TOPIC, 0, held.start).expect("a reader");
    let mut out = Vec::new();
    while reader.position() < held.end {
        for stored in reader.read(1 << 22, Duration::from_secs(10)).expect("records") {
            out.push((Envelope::from_header(&stored.record.header).expect("an envelope"), stored.record));
        }
    }
    out
}

/// A collector in a process of its own, which may be killed at any instruction. Its log is in its folder.
pub struct Apart {
    child: Child,
    folder: PathBuf,
}

/// Where a process that is a collector finds its settings.
const APART: &str = "YAGURA_TEST_COLLECTOR";
const SETTINGS: &str = "settings.json";
/// While this file is there, its log takes nothing.
const REFUSE: &str = "refuse";
/// When this file is there, it stops in order.
const STOP: &str = "stop";

impl Apart {
    /// Starts one; files of its settings are in `folder`.
    pub fn start(folder: &Path, settings: &Value) -> Self {
        std::fs::write(folder.join(SETTINGS), settings.to_string()).expect("written");
        Apart { child: Self::run(folder), folder: folder.to_owned() }
    }

    fn run(folder: &Path) -> Child {
        let errors = std::fs::OpenOptions::new().append(true).create(true).open(folder.join("errors"));
        Command::new(std::env::current_exe().expect("this program"))
            .args(["--exact", "rig::collector_apart", "--nocapture"])
            .env(APART, folder)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(errors.expect("a file"))
            .spawn()
            .expect("it starts")
    }

    /// Kills it in the middle of whatever it does, and starts it again.
    pub fn kill(&mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("killed");
        self.child = Self::run(&self.folder);
    }

    /// Stops it in order.
    pub fn stop(&mut self) {
        let stop = self.folder.join(STOP);
        std::fs::write(&stop, "").expect("written");
        wait("the collector stops", || self.child.try_wait().expect("a child").is_some());
        std::fs::remove_file(stop).expect("removed");
        assert!(self.child.wait().expect("ended").success(), "{}", self.errors());
    }

    /// Starts it again.
    pub fn restart(&mut self) {
        self.child = Self::run(&self.folder);
    }

    /// Whether its log takes nothing.
    pub fn refuse(&self, refuse: bool) {
        let file = self.folder.join(REFUSE);
        if refuse {
            std::fs::write(file, "").expect("written");
        } else {
            let _ = std::fs::remove_file(file);
        }
    }

    /// Its resident memory in bytes.
    pub fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or_default();
        line.trim().trim_end_matches(" kB").parse().unwrap_or(0) * 1024
    }

    /// What its log holds now.
    pub fn rows(&self) -> Rows {
        match Embedded::open_read_only(self.folder.join("log")) {
            Ok(log) if log.partitions(TOPIC).is_ok() => Rows::of(&log),
            _ => Rows::default(),
        }
    }

    /// What it complained about.
    pub fn errors(&self) -> String {
        std::fs::read_to_string(self.folder.join("errors")).unwrap_or_default()
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Not a test of its own: what [`Apart`] runs.
#[test]
fn collector_apart() {
    let Some(folder) = std::env::var_os(APART).map(PathBuf::from) else { return };
    let settings = std::fs::read(folder.join(SETTINGS)).expect("settings");
    let settings: Value = serde_json::from_slice(&settings).expect("settings");
    let runtime = runtime();
    let mut plant = plant(&runtime, AssetTable::new(vec![], "bay"));
    plant.open_log = Arc::new(|settings, _| {
        Ok(Arc::new(Embedded::open_following(settings["brokers"].as_str().unwrap_or_default())?))
    });
    let mood = Arc::new(Mood::default());
    let log = Embedded::open(folder.join("log"), Options::default()).expect("a log");
    log.ensure_topic(TOPIC, 1).expect("a topic");
    let log = Arc::new(moody(Arc::new(log), &mood));
    mood.refuse(folder.join(REFUSE).exists());
    let collector = Collector::start(log, &plant, &folder, &settings);
    while !collector.is_ended() {
        mood.refuse(folder.join(REFUSE).exists());
        if folder.join(STOP).exists() {
            collector.ask_to_stop();
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    collector.ended().expect("it ends in order");
}
