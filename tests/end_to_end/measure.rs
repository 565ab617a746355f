//! What the tests of faults share: the plant, how often and how long a fault comes, and the
//! comparison at the end.
//!
//! `cargo test` runs a short form. `cargo xtask faults` sets the variables that make it long, and
//! collects what each test counts.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::Duration;

use serde_json::Value;
use yagura_event::{Alert, Envelope, clock};
use yagura_log::{Log, partition_of};
use yagura_scene::Scene;

use crate::{
    RowId, configure, each_record, embedded, folder, rows_of, run_to_the_end, scene, text, wait_for, yagura,
};

/// Whether `cargo xtask faults` asks for the long form.
pub fn long() -> bool {
    std::env::var_os("YAGURA_FAULTS").is_some()
}

/// How often a fault comes.
pub fn times(short: u32, long: u32) -> u32 {
    number("YAGURA_FAULT_KILLS", short, long)
}

/// How many seconds a process is paused.
pub fn pause(short: u32, long: u32) -> u32 {
    number("YAGURA_FAULT_SECONDS", short, long)
}

fn number(name: &str, short: u32, long_form: u32) -> u32 {
    let asked = std::env::var(name).ok().and_then(|text| text.parse().ok());
    asked.unwrap_or(if long() { long_form } else { short })
}

/// Random numbers that are the same in every run.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Self {
        Random(seed)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit.max(1)
    }

    /// A time between two, in milliseconds.
    pub fn wait(&mut self, from_ms: u64, to_ms: u64) -> Duration {
        Duration::from_millis(from_ms + self.below(to_ms - from_ms))
    }
}

pub fn sleep(time: Duration) {
    std::thread::park_timeout(time);
}

/// Sends a signal to a process.
pub fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").args([&format!("-{name}"), &child.id().to_string()]).status();
    assert!(sent.expect("kill").success(), "{name}");
}

/// Ends a process without warning.
pub fn kill(child: &mut Child, stderr: &Path) {
    let ended = child.try_wait().expect("a process");
    assert!(ended.is_none(), "it ended by itself: {}", said(stderr));
    child.kill().expect("it is killed");
    child.wait().expect("it ended");
}

/// The end of what was said.
pub fn said(stderr: &Path) -> String {
    let text = std::fs::read_to_string(stderr).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(40)..].join("\n")
}

/// The scene with every piece of equipment in a cell of its own, over all partitions, and the run
/// that nothing disturbed.
pub struct Plant {
    folder: tempfile::TempDir,
    scene: Scene,
    rows: BTreeMap<RowId, (yagura_event::Kind, Value)>,
    alerts: BTreeMap<(String, u32), Alert>,
}

impl Plant {
    /// The same for all tests that run at once.
    pub fn get() -> Arc<Plant> {
        static SHARED: OnceLock<Mutex<Weak<Plant>>> = OnceLock::new();
        let mut shared = SHARED.get_or_init(Mutex::default).lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let plant = Arc::new(Plant::make());
            *shared = Arc::downgrade(&plant);
            plant
        })
    }

    fn make() -> Plant {
        let folder = folder();
        let mut scene = scene(folder.path());
        for (number, asset) in (0..).zip(scene.assets.iter_mut().filter(|asset| asset.equipment)) {
            let names = (0..).map(|n| format!("bay-{number}-{n}"));
            let cell = names.into_iter().find(|name| partition_of(name.as_bytes(), 4) == number % 4);
            asset.cell = cell.expect("a name");
        }
        release_at_the_start(&scene);
        let mut plant = Plant { folder, scene, rows: BTreeMap::new(), alerts: BTreeMap::new() };
        run_to_the_end(&plant.configure("whole", ""));
        let log = embedded(&plant.path("whole"));
        plant.rows = rows_of(&log);
        plant.alerts = counted_alerts(&log).0;
        assert!(plant.alerts.len() > 500, "{} alerts", plant.alerts.len());
        let cells: BTreeSet<&str> = plant.alerts.values().map(|alert| alert.cell.as_str()).collect();
        assert!(cells.len() > 4, "{cells:?}");
        plant
    }

    /// The cells that raise alerts.
    pub fn cells(&self) -> BTreeSet<String> {
        self.alerts.values().map(|alert| alert.cell.clone()).collect()
    }

    /// The folder of a run.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A configuration in a folder of its own.
    pub fn configure(&self, name: &str, more: &str) -> PathBuf {
        let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let here = here.canonicalize().expect("the workspace");
        let pipelines = ["pipelines/fab", "pipelines/ot", "tests/end_to_end/busy.yaml"];
        let pipelines: Vec<String> = pipelines.iter().map(|p| here.join(p).display().to_string()).collect();
        let more = format!("pipelines: {pipelines:?}\nsnapshot_every: 1s\n{more}");
        configure(&self.path(name), &self.scene, &more)
    }

    /// A configuration without collectors: a member of the group and nothing else.
    pub fn configure_member(&self, name: &str, more: &str) -> PathBuf {
        let file = self.configure(name, more);
        let text = std::fs::read_to_string(&file).expect("a configuration");
        let kept: Vec<&str> = text.lines().filter(|line| !line.starts_with("collectors: ")).collect();
        std::fs::write(&file, kept.join("\n")).expect("a configuration");
        file
    }

    /// Whether a log holds every row.
    pub fn all_is_collected(&self, log: &dyn Log) -> bool {
        let mut ends: BTreeMap<(String, String, u64), u64> = BTreeMap::new();
        each_record(log, "yagura.events", |stored| {
            let envelope = Envelope::from_header(&stored.record.header).expect("an envelope");
            let end = envelope.end_row();
            let known = ends.entry((envelope.cell, envelope.collector, envelope.epoch)).or_default();
            *known = end.max(*known);
        });
        self.rows.keys().all(|(cell, collector, epoch, row)| {
            ends.get(&(cell.clone(), collector.clone(), *epoch)).is_some_and(|end| end > row)
        })
    }

    /// Whether a log holds every alert.
    pub fn all_is_alerted(&self, log: &dyn Log) -> bool {
        let found = counted_alerts(log).0;
        self.alerts.keys().all(|id| found.contains_key(id))
    }

    /// Waits until a log holds every row and every alert, or until nothing more can be hoped for.
    pub fn wait_for_all(&self, log: &dyn Log, seconds: u32) {
        for _ in 0..seconds {
            if self.all_is_collected(log) && self.all_is_alerted(log) {
                return;
            }
            sleep(Duration::from_secs(1));
        }
    }

    /// Compares an interrupted run with the one that nothing disturbed and with a fresh replay;
    /// notes what it counted, then fails if anything is missing, repeated or different.
    pub fn compare(&self, case: &str, faults: u32, log: &dyn Log) -> Counts {
        let rows = rows_of(log);
        let (alerts, twice) = counted_alerts(log);
        let name = |a: &Alert| format!("{} {} {} {} r{}", a.cell, a.sequence, a.detection, a.uid, a.revision);
        let strange = alerts.iter().filter(|(id, found)| self.alerts.get(*id) != Some(*found));
        let strange: Vec<String> = strange.take(20).map(|(_, found)| name(found)).collect();
        let differs = |id: &&(String, u32)| alerts.get(*id).is_some_and(|found| *found != self.alerts[*id]);
        let counts = Counts {
            case: case.to_owned(),
            faults,
            rows: self.rows.len(),
            rows_missing: self.rows.keys().filter(|row| !rows.contains_key(*row)).count(),
            rows_wrong: rows.iter().filter(|(row, found)| self.rows.get(*row) != Some(found)).count(),
            alerts: self.alerts.len(),
            alerts_missing: self.alerts.keys().filter(|id| !alerts.contains_key(*id)).count(),
            alerts_twice: twice.len(),
            alerts_wrong: alerts.keys().filter(|id| !self.alerts.contains_key(*id)).count()
                + self.alerts.keys().filter(differs).count(),
            strange,
            twice: twice.iter().take(20).map(name).collect(),
        };
        counts.note();
        counts
    }
}

/// Recipes are released as the scene begins and not long before: while nothing is played for a
/// minute, collectors are silent, and that is an alert.
fn release_at_the_start(scene: &Scene) {
    let start = clock::rfc3339(scene.start);
    let text = std::fs::read_to_string(&scene.releases).expect("releases");
    let later = text.lines().map(|line| {
        let mut release: Value = serde_json::from_str(line).expect("a release");
        if release["time"].as_str().is_some_and(|time| *time < *start) {
            release["time"] = Value::from(start.as_str());
        }
        release.to_string() + "\n"
    });
    std::fs::write(&scene.releases, later.collect::<String>()).expect("releases");
}

/// What a test of faults counted.
#[derive(Debug)]
pub struct Counts {
    case: String,
    faults: u32,
    rows: usize,
    rows_missing: usize,
    rows_wrong: usize,
    alerts: usize,
    alerts_missing: usize,
    alerts_twice: usize,
    alerts_wrong: usize,
    /// The first alerts that are not those of the other run, and that stand there twice.
    strange: Vec<String>,
    twice: Vec<String>,
}

impl Counts {
    /// Appends it to the file that `YAGURA_FAULT_REPORT` names.
    fn note(&self) {
        let Some(file) = std::env::var_os("YAGURA_FAULT_REPORT") else { return };
        let line = serde_json::json!({
            "case": self.case, "faults": self.faults,
            "rows": self.rows, "rows_missing": self.rows_missing, "rows_wrong": self.rows_wrong,
            "alerts": self.alerts, "alerts_missing": self.alerts_missing,
            "alerts_twice": self.alerts_twice, "alerts_wrong": self.alerts_wrong,
        });
        let open = std::fs::OpenOptions::new().create(true).append(true).open(file);
        writeln!(open.expect("the report"), "{line}").expect("the report");
    }

    /// Fails unless nothing is missing, repeated or different.
    pub fn assert_exact(&self) {
        let wrong = self.rows_missing + self.rows_wrong + self.alerts_missing + self.alerts_wrong;
        let (strange, twice) = (self.strange.join("\n"), self.twice.join("\n"));
        assert_eq!((wrong, self.alerts_twice), (0, 0), "{self:?}\nother alerts:\n{strange}\ntwice:\n{twice}");
    }
}

/// A fresh fold over the log gives the alerts that the log holds.
pub fn replay_agrees(config: &Path) {
    let out = yagura(&["replay", "--check", "--format", "json", "--config", &config.display().to_string()]);
    assert!(out.status.success(), "{}", text(&out.stderr));
}

/// Builds one of the C files of this folder as a library that can be loaded into a run.
pub fn build_library(name: &str, folder: &Path) -> PathBuf {
    let library = folder.join(format!("{name}.so"));
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../tests/end_to_end/{name}.c"));
    let built = Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&library).arg(source).output();
    let built = built.expect("a C compiler");
    assert!(built.status.success(), "{}", text(&built.stderr));
    library
}

/// Waits until a process that was told to has ended well.
pub fn ended_well(child: &mut Child, stderr: &Path) {
    wait_for("the end", || child.try_wait().expect("a process").is_some());
    assert_eq!(child.wait().expect("it ended").code(), Some(0), "{}", said(stderr));
}

/// The alerts of a log by (uid, revision), and those that stand there once more than they should.
fn counted_alerts(log: &dyn Log) -> (BTreeMap<(String, u32), Alert>, Vec<Alert>) {
    let (mut alerts, mut twice) = (BTreeMap::new(), Vec::new());
    each_record(log, "yagura.alerts", |stored| {
        let alert: Alert = serde_json::from_slice(&stored.record.value).expect("an alert");
        twice.extend(alerts.insert((alert.uid.to_string(), alert.revision), alert));
    });
    (alerts, twice)
}
