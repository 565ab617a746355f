//! SECS/GEM with real peers: secsgem as equipment, passive and active, and equipment that misbehaves.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Map, Value, json};
use yagura_collect::discover;
use yagura_collect::live::{Destination, collect};
use yagura_collect::run::Progress;
use yagura_collect::sources::CollectorConfig;
use yagura_collect::{Opened, Plant};
use yagura_event::{AssetTable, Envelope, Kind, clock, codec};
use yagura_log::Log;
use yagura_log::altered::{Mood, moody};
use yagura_log::embedded::{Embedded, Options};

const TOPIC: &str = "events";

/// Waits until something holds, at most 20 seconds.
fn wait(what: &str, mut holds: impl FnMut() -> bool) {
    let until = clock::steady() + 20 * clock::SECOND;
    while !holds() {
        assert!(clock::steady() < until, "waited in vain: {what}");
        std::thread::park_timeout(Duration::from_millis(10));
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A port that is free now.
fn free_port() -> u16 {
    yagura_testkit::free_port().expect("a port")
}

/// Python with secsgem.
fn python() -> PathBuf {
    let folder = match std::env::var_os("YAGURA_EQUIPMENT") {
        Some(folder) => PathBuf::from(folder),
        None => yagura_testkit::peers::equipment(&yagura_testkit::build_folder()),
    };
    let python = folder.join("bin/python");
    assert!(
        python.exists(),
        "{} is absent: `cargo xtask test` installs secsgem there, or YAGURA_EQUIPMENT names another environment",
        python.display()
    );
    python
}

/// An equipment of secsgem in a process of its own.
struct Equipment {
    child: Child,
    said: Arc<Mutex<Vec<String>>>,
}

impl Equipment {
    fn start(mode: &str, port: u16, first: u64, t3: f64) -> Self {
        Self::start_with(mode, port, first, t3, None)
    }

    /// One that writes a log of its messages.
    fn start_with(mode: &str, port: u16, first: u64, t3: f64, log: Option<&Path>) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/secs.py");
        let mut child = Command::new(python())
            .arg(script)
            .args([mode, &port.to_string(), &first.to_string(), &t3.to_string()])
            .args(log)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python starts");
        let out = child.stdout.take().expect("its output");
        let said = Arc::new(Mutex::new(Vec::new()));
        let to = Arc::clone(&said);
        std::thread::spawn(move || {
            for line in BufReader::new(out).lines().map_while(Result::ok) {
                lock(&to).push(line);
            }
        });
        let equipment = Equipment { child, said };
        equipment.wait_for("enabled");
        equipment
    }

    fn command(&mut self, line: &str) {
        let stdin = self.child.stdin.as_mut().expect("its input");
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).expect("it listens");
    }

    fn wait_for(&self, line: &str) {
        wait(line, || lock(&self.said).iter().any(|said| said == line));
    }

    fn acked(&self) -> Vec<u64> {
        lock(&self.said).iter().filter_map(|line| line.strip_prefix("acked ")?.parse().ok()).collect()
    }
}

impl Drop for Equipment {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What all tests collect with.
struct Fab {
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Fab {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        Fab { folder: tempfile::tempdir().expect("a folder"), runtime }
    }

    fn plant(&self) -> Plant {
        Plant {
            assets: Arc::new(AssetTable::new(vec![], "bay")),
            dissect: Arc::default(),
            names: Arc::default(),
            runtime: self.runtime.handle().clone(),
            open_log: yagura_collect::source::no_log(),
        }
    }

    fn log(&self) -> Arc<Embedded> {
        let log = Embedded::open(self.folder.path().join("log"), Options::default()).expect("a log");
        log.ensure_topic(TOPIC, 1).expect("a topic");
        Arc::new(log)
    }

    fn probe(&self, settings: &Value) -> Result<String, String> {
        let config = CollectorConfig::new(settings.clone()).expect("settings");
        config.probe(self.folder.path(), &self.plant()).map_err(|e| e.to_string())
    }

    fn collect(&self, log: &Arc<Embedded>, settings: &Value) -> Collecting {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, log, plant) = (Arc::clone(&stop), Arc::clone(log), self.plant());
        let (folder, settings) = (self.folder.path().to_path_buf(), settings.clone());
        let thread = std::thread::spawn(move || run(log.as_ref(), &plant, &folder, settings, &stopped));
        Collecting { stop, thread: Some(thread) }
    }
}

fn run(log: &dyn Log, plant: &Plant, folder: &Path, settings: Value, stop: &AtomicBool) {
    let config = CollectorConfig::new(settings).expect("settings");
    let Opened::Live(source) = config.open(folder, plant).expect("opens") else { panic!("it is live") };
    let to = Destination { log, topic: TOPIC, assets: &plant.assets, cells: &[], notes: folder };
    collect(source, to, stop, &Progress::default()).expect("ends in order");
}

struct Collecting {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Collecting {
    fn end(mut self) {
        self.stop.store(true, Ordering::Release);
        self.thread.take().expect("it runs").join().expect("ends in order");
    }
}

impl Drop for Collecting {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

/// All rows of a log; samples with the names of their series.
fn rows(log: &dyn Log) -> Vec<(Kind, Map<String, Value>)> {
    let held = log.held(TOPIC, 0).expect("held");
    let mut reader = log.reader(TOPIC, 0, held.start).expect("a reader");
    let mut series: BTreeMap<(u64, u64), Map<String, Value>> = BTreeMap::new();
    let mut out = Vec::new();
    while reader.position() < held.end {
        for stored in reader.read(1 << 20, Duration::from_secs(5)).expect("records") {
            let envelope = Envelope::from_header(&stored.record.header).expect("an envelope");
            if envelope.rows == 0 {
                continue;
            }
            let batch = codec::decode(&envelope, &stored.record.value).expect("rows");
            for mut row in codec::to_json_rows(&batch) {
                let number = (envelope.epoch, row.get("series").and_then(Value::as_u64).unwrap_or_default());
                match envelope.kind {
                    Kind::Series => drop(series.insert(number, row.clone())),
                    Kind::Sample => {
                        let known = series.get(&number).expect("a series comes before its samples");
                        row.extend(known.clone().into_iter().filter(|(name, _)| name != "time"));
                    }
                    _ => {}
                }
                out.push((envelope.kind, row));
            }
        }
    }
    out
}

/// Columns of the rows of a kind, joined.
fn table(log: &dyn Log, kind: Kind, columns: &[&str]) -> Vec<String> {
    let text = |row: &Map<String, Value>, column: &&str| match row.get(*column) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => String::new(),
        Some(other) => other.to_string(),
    };
    let all = rows(log);
    let of_kind = all.iter().filter(|(k, _)| *k == kind);
    of_kind.map(|(_, row)| columns.iter().map(|c| text(row, c)).collect::<Vec<_>>().join("|")).collect()
}

fn settings(equipment: Value) -> Value {
    json!({
        "name": "spare", "kind": "hsms", "exclusive_session": true, "equipment": [equipment], "batch": "20ms",
        "timers": {"t5": "200ms", "communication_delay": "1s"},
    })
}

#[test]
fn a_passive_equipment_is_probed_asked_for_its_names_and_listened_to() {
    // One connection for each: secsgem may fail to listen again after a short one.
    let fresh = || {
        let port = free_port();
        (Equipment::start("passive", port, 0, 5.0), format!("127.0.0.1:{port}"))
    };
    let fab = Fab::new();
    let listened = |address: String| {
        settings(json!({
            "name": "ETCH-07", "address": address, "device_id": 3, "traces": {"5": [11, 12]},
            "status": {"ids": [11, 12], "every": "500ms"},
        }))
    };
    let (probed, address) = fresh();
    assert_eq!(
        fab.probe(&listened(address)).as_deref(),
        Ok("ETCH-07: model ETCHER, software 4.2, device id 3")
    );
    drop(probed);

    let (_asked, address) = fresh();
    let spare = |exclusive: bool| {
        let one = json!([{ "name": "ETCH-07", "address": address, "device_id": 3 }]);
        let all =
            json!({ "name": "spare", "kind": "hsms", "exclusive_session": exclusive, "equipment": one });
        CollectorConfig::new(all).expect("settings")
    };
    let ask = |exclusive| discover::run(&spare(exclusive), Duration::ZERO, fab.folder.path(), &fab.plant());
    assert!(ask(false).is_err());
    let told = ask(true).expect("names");
    assert_eq!(told.notes[0], "ETCH-07: model ETCHER, software 4.2");
    let names: Vec<_> = told.lines.iter().map(|f| format!("{} {} {}", f.tool, f.signal, f.unit)).collect();
    assert_eq!(names, ["ETCH-07 ChamberPressure mTorr", "ETCH-07 Temperature degC"]);
    let mut csv = Vec::new();
    told.write_dictionary(&mut csv).expect("written");
    let csv = String::from_utf8(csv).expect("text");
    assert!(
        csv.starts_with(
            "model,kind,id,name,unit,context,class,chamber\nETCHER,svid,11,ChamberPressure,mTorr,"
        )
    );
    let file = fab.folder.path().join("names.csv");
    std::fs::write(&file, csv).expect("written");
    let read = yagura_collect::dictionary::read(&[file]).expect("it is a dictionary");
    assert_eq!(read.tools["ETCHER"].variables["12"].unit, "degC");

    let (mut equipment, address) = fresh();
    let mut given = listened(address);
    let log = fab.log();
    let collecting = fab.collect(&log, &given);
    for (command, answer) in
        [("alarm 7", "alarm True"), ("trace 5", "trace True"), ("recipe", "recipe False")]
    {
        equipment.command(command);
        equipment.wait_for(answer);
    }
    let values = |log: &dyn Log| table(log, Kind::Sample, &["tool", "signal", "unit", "value"]);
    for expected in [
        "ETCH-07|ChamberPressure|mTorr|11.5",
        "ETCH-07|Temperature|degC|12.5",
        "ETCH-07|Temperature|degC|3.5",
    ] {
        wait(expected, || values(log.as_ref()).iter().any(|row| row == expected));
    }
    collecting.end();
    let messages =
        table(log.as_ref(), Kind::Message, &["function", "operation", "target", "status", "exchange"]);
    for expected in [
        "Select.req|session.open||ok|pair",
        "S1F11|discover|11,12|ok|pair",
        "S1F3|read|11,12|ok|pair",
        "S5F1|report.alarm|7|ok|pair",
        "S6F1|report|5|ok|pair",
        "S7F3|recipe.read|OX|denied|pair",
    ] {
        assert!(messages.iter().any(|row| row == expected), "{expected} in {messages:#?}");
    }
    let all = format!("{:?}", rows(log.as_ref()));
    assert!(!all.contains("secret"), "a recipe's body is shown");
    let identity = table(log.as_ref(), Kind::Identity, &["tool", "model", "firmware"]);
    assert!(identity.contains(&"ETCH-07|ETCHER|4.2".to_string()), "{identity:?}");
    let coverage = table(log.as_ref(), Kind::Coverage, &["event", "subject"]);
    assert_eq!(coverage.first().map(String::as_str), Some("start|ETCH-07"));
    assert_eq!(coverage.last().map(String::as_str), Some("stop|ETCH-07"));
    given["exclusive_session"] = json!(false);
    assert!(fab.probe(&given).is_err_and(|e| e.contains("HSMS-SS admits one host")));
}

#[test]
fn an_active_equipment_connects_and_a_second_one_is_sent_away() {
    let port = free_port();
    let fab = Fab::new();
    let log = fab.log();
    let given = settings(json!({
        "name": "CVD-1", "listen": format!("127.0.0.1:{port}"), "device_id": 3, "reports": {"1000": [20, 21]},
    }));
    let collecting = fab.collect(&log, &given);
    let mut equipment = Equipment::start("active", port, 100, 5.0);
    equipment.command("run");
    equipment.wait_for("acked 105");
    let mut extra = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    assert_eq!(extra.read(&mut [0; 8]).unwrap_or(0), 0, "it is closed without a word");
    equipment.wait_for("acked 110");
    collecting.end();
    let values = table(log.as_ref(), Kind::Sample, &["tool", "signal", "value"]);
    for number in 100..=110 {
        let expected = format!("CVD-1|VID 20|{number}.0");
        assert!(values.contains(&expected), "{expected} in {values:?}");
    }
    let logs = table(log.as_ref(), Kind::Log, &["event"]);
    assert!(logs.contains(&"second_connection".to_string()), "{logs:?}");
}

/// Forwards connections to an equipment, and cuts them when told.
struct Cutter {
    port: u16,
    open: Arc<Mutex<Vec<TcpStream>>>,
}

impl Cutter {
    fn before(equipment: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let open = Arc::new(Mutex::new(Vec::new()));
        let all = Arc::clone(&open);
        std::thread::spawn(move || {
            for host in listener.incoming().map_while(Result::ok) {
                let Ok(tool) = TcpStream::connect(("127.0.0.1", equipment)) else { continue };
                for (from, to) in [(&host, &tool), (&tool, &host)] {
                    let (mut from, mut to) =
                        (from.try_clone().expect("a handle"), to.try_clone().expect("a handle"));
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut to);
                        let _ = to.shutdown(Shutdown::Both);
                        let _ = from.shutdown(Shutdown::Both);
                    });
                }
                lock(&all).extend([host, tool]);
            }
        });
        Cutter { port, open }
    }

    fn cut(&self) {
        for stream in lock(&self.open).drain(..) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

/// The folder in which a collector runs that is killed.
const CHILD: &str = "YAGURA_TEST_SECS_CHILD";

/// The collector of the next test, which starts this one as a process to kill it.
#[test]
fn a_collector_that_is_killed() {
    let Some(folder) = std::env::var_os(CHILD).map(PathBuf::from) else { return };
    let settings = std::fs::read(folder.join("settings.json")).expect("settings");
    let fab = Fab::new();
    let log = Embedded::open(folder.join("log"), Options::default()).expect("a log");
    log.ensure_topic(TOPIC, 1).expect("a topic");
    let settings = serde_json::from_slice(&settings).expect("settings");
    run(&log, &fab.plant(), &folder, settings, &AtomicBool::new(false));
}

fn collector(folder: &Path) -> Child {
    Command::new(std::env::current_exe().expect("this program"))
        .args(["a_collector_that_is_killed", "--exact"])
        .env(CHILD, folder)
        .stdout(Stdio::null())
        .spawn()
        .expect("it starts")
}

#[test]
fn no_acknowledged_event_is_missing_whatever_is_killed_and_cut() {
    let port = free_port();
    let cutter = Cutter::before(port);
    let fab = Fab::new();
    let given = settings(json!({
        "name": "ETCH-07", "address": format!("127.0.0.1:{}", cutter.port), "device_id": 3,
        "reports": {"1000": [20, 21]},
    }));
    std::fs::write(fab.folder.path().join("settings.json"), given.to_string()).expect("written");
    let mut acked = Vec::new();
    let mut equipment = Equipment::start("passive", port, 0, 1.0);
    equipment.command("run");
    let mut process = collector(fab.folder.path());
    let more = |equipment: &Equipment, what: &str| {
        let before = equipment.acked().len();
        let until = clock::steady() + 20 * clock::SECOND;
        while equipment.acked().len() < before + 15 {
            if clock::steady() > until {
                let log = Embedded::open_read_only(fab.folder.path().join("log")).expect("a log");
                let coverage = table(&log, Kind::Coverage, &["time", "event", "detail"]);
                let logs = table(&log, Kind::Log, &["time", "event", "description"]);
                let messages = table(&log, Kind::Message, &["time", "function", "status", "exchange"]);
                let last = &messages[messages.len().saturating_sub(12)..];
                panic!("waited in vain: {what}: {coverage:#?} {logs:#?} {last:#?}");
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
    };
    more(&equipment, "events at first");
    for round in 0..3 {
        cutter.cut();
        more(&equipment, "events after a cut");
        process.kill().and_then(|()| process.wait()).expect("killed");
        process = collector(fab.folder.path());
        more(&equipment, "events after the collector was killed");
        acked.extend(equipment.acked());
        let next = acked.iter().max().map_or(0, |last| last + 1);
        drop(equipment);
        equipment = Equipment::start("passive", port, next, 1.0);
        equipment.command("run");
        more(&equipment, &format!("events after the equipment was killed, round {round}"));
    }
    acked.extend(equipment.acked());
    process.kill().and_then(|()| process.wait()).expect("killed");
    let log = Embedded::open(fab.folder.path().join("log"), Options::default()).expect("a log");
    let held: BTreeSet<u64> = rows(&log)
        .iter()
        .filter(|(kind, row)| *kind == Kind::Sample && row["signal"] == "VID 20")
        .filter_map(|(_, row)| row["value"].as_f64().map(|value| value as u64))
        .collect();
    let missing: Vec<_> = acked.iter().filter(|number| !held.contains(number)).collect();
    assert!(acked.len() >= 150, "{}", acked.len());
    assert!(
        missing.is_empty(),
        "{} of {} acknowledged events are missing: {missing:?}",
        missing.len(),
        acked.len()
    );
    let coverage = table(&log, Kind::Coverage, &["event"]);
    assert!(coverage.iter().any(|event| event == "down") && coverage.iter().any(|event| event == "gap"));
}

/// An equipment that does what a script says: it answers each message with frames.
fn odd_equipment(answers: impl Fn(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let mut prefix = [0; 4];
            while stream.read_exact(&mut prefix).is_ok() {
                let mut frame = vec![0; u32::from_be_bytes(prefix) as usize];
                if stream.read_exact(&mut frame).is_err() {
                    break;
                }
                for answer in answers(&frame) {
                    let length = (answer.len() as u32).to_be_bytes();
                    let _ = stream.write_all(&[&length[..], &answer[..]].concat());
                }
            }
        }
    });
    address
}

fn select_answer(frame: &[u8], status: u8) -> Vec<u8> {
    [&[0xff, 0xff, 0, status, 0, 2], &frame[6..10]].concat()
}

#[test]
fn a_device_that_answers_too_late_is_told_and_goes_on() {
    let established = Arc::new(Mutex::new(None::<Vec<u8>>));
    // S1F13 is answered when the link is tested, which is after T3.
    let address = odd_equipment(move |frame| match (frame[5], frame[2] & 0x7f, frame[3]) {
        (1, ..) => vec![select_answer(frame, 0)],
        (0, 1, 13) => {
            lock(&established).get_or_insert(frame.to_vec());
            Vec::new()
        }
        (5, ..) => {
            let late = lock(&established)
                .take()
                .map(|asked| [&[0, 3, 1, 14, 0, 0], &asked[6..10], &[1, 2, 0x21, 1, 0, 1, 0]].concat());
            let kept = [&[0xff, 0xff, 0, 0, 0, 6], &frame[6..10]].concat();
            let strange = vec![0, 3, 1, 4, 0, 0, 0xde, 0xad, 0xbe, 0xef];
            let refused = [&[0, 3, 9, 5, 0, 0, 0, 0, 0, 9, 0x21, 10], &frame[..10]].concat();
            late.into_iter().chain([kept, strange, refused]).collect()
        }
        _ => Vec::new(),
    });
    let fab = Fab::new();
    let log = fab.log();
    let mut given = settings(json!({"name": "OLD-1", "address": address.to_string(), "device_id": 3}));
    given["timers"] = json!({"t3": "200ms", "linktest": "500ms", "communication_delay": "20s"});
    let collecting = fab.collect(&log, &given);
    let told = |log: &dyn Log| table(log, Kind::Log, &["tool", "event"]);
    for event in ["reply_timeout", "late_reply", "unexpected_reply", "error"] {
        let expected = format!("OLD-1|{event}");
        wait(event, || told(log.as_ref()).contains(&expected));
    }
    collecting.end();
    let messages = table(log.as_ref(), Kind::Message, &["function", "status"]);
    assert!(messages.contains(&"S1F13|ok".to_string()), "late, and still an answer: {messages:?}");
    let down = table(log.as_ref(), Kind::Coverage, &["event"]);
    assert!(!down.contains(&"down".to_string()), "{down:?}");
}

/// As secsgem does under load: Select.rsp goes out before the session stands.
#[test]
fn an_equipment_that_grants_a_session_too_early_is_asked_again() {
    let rejected = AtomicUsize::new(0);
    let early = move |answers: usize| {
        odd_equipment(move |frame| match (frame[5], frame[3]) {
            (1, _) => vec![select_answer(frame, 0)],
            (0, _) if rejected.fetch_add(1, Ordering::Relaxed) < answers => {
                vec![[&[0, 3, 0, 4, 0, 7], &frame[6..10]].concat()]
            }
            (0, 13) => {
                let who = [&[1, 2, 0x21, 1, 0, 1, 2, 0x41, 1][..], b"M", &[0x41, 1], b"9"].concat();
                vec![[&[0, 3, 1, 14, 0, 0], &frame[6..10], &who].concat()]
            }
            _ => Vec::new(),
        })
    };
    let fab = Fab::new();
    let probe = |address: SocketAddr| {
        fab.probe(&settings(json!({"name": "EARLY-1", "address": address.to_string(), "device_id": 3})))
    };
    assert_eq!(probe(early(2)).as_deref(), Ok("EARLY-1: model M, software 9, device id 3"));
    let never = probe(odd_equipment(|frame| match frame[5] {
        1 => vec![select_answer(frame, 0)],
        0 => vec![[&[0, 3, 0, 4, 0, 7], &frame[6..10]].concat()],
        _ => Vec::new(),
    }));
    assert!(never.as_ref().is_err_and(|e| e.contains("granted a session and then had none")), "{never:?}");
}

#[test]
fn a_second_host_is_told_why_it_has_no_session() {
    let port = free_port();
    let mut equipment = Equipment::start("passive", port, 0, 5.0);
    let fab = Fab::new();
    let log = fab.log();
    let given = settings(json!({"name": "ETCH-07", "address": format!("127.0.0.1:{port}"), "device_id": 3}));
    let collecting = fab.collect(&log, &given);
    equipment.command("run");
    equipment.wait_for("acked 3");
    // This equipment closes its port while it has a host.
    assert!(
        fab.probe(&given)
            .is_err_and(|e| e.contains("the port is closed") && e.contains("while they have a host"))
    );
    collecting.end();
    let used = odd_equipment(|frame| vec![select_answer(frame, 1)]);
    let silent = odd_equipment(|_| Vec::new());
    for (address, cause) in [(used, "a session is in use already"), (silent, "not answered within T6")] {
        let mut given = settings(json!({"name": "X", "address": address.to_string()}));
        given["timers"] = json!({"t6": "300ms", "t5": "200ms"});
        let said = fab.probe(&given);
        assert!(said.as_ref().is_err_and(|e| e.contains(cause)), "{said:?}");
    }
    let http = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = http.local_addr().expect("an address");
    std::thread::spawn(move || {
        for mut stream in http.incoming().map_while(Result::ok) {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n");
        }
    });
    let log = Fab::new();
    let given = settings(json!({"name": "WEB", "address": address.to_string()}));
    assert!(fab.probe(&given).is_err_and(|e| e.contains("does not speak HSMS")));
    let kept = log.log();
    let collecting = log.collect(&kept, &given);
    wait("what is no HSMS is told", || {
        let told = table(kept.as_ref(), Kind::Coverage, &["event", "subject"]);
        told.contains(&"malformed|WEB".to_string()) && told.contains(&"down|WEB".to_string())
    });
    collecting.end();
}

#[test]
fn the_log_of_an_equipment_gives_the_rows_of_the_wire() {
    let port = free_port();
    let fab = Fab::new();
    let file = fab.folder.path().join("equipment.log");
    let mut equipment = Equipment::start_with("passive", port, 7, 5.0, Some(&file));
    let log = fab.log();
    let given = settings(json!({
        "name": "ETCH-07", "address": format!("127.0.0.1:{port}"), "device_id": 3,
        "status": {"ids": [11, 12], "every": "200ms"},
    }));
    let collecting = fab.collect(&log, &given);
    for (command, answer) in [("alarm 7", "alarm True"), ("trace 5", "trace True"), ("run", "acked 30")] {
        equipment.command(command);
        equipment.wait_for(answer);
    }
    collecting.end();
    drop(equipment);
    let read = Fab::new();
    let again = read.log();
    let given = json!({
        "name": "etch-07-log", "kind": "secslog", "path": file, "preset": "secsgem", "tool": "ETCH-07",
        "written_by": "equipment", "batch": "50ms",
    });
    assert!(
        read.probe(&given).is_ok_and(|said| said.contains("0 could not be read")),
        "{:?}",
        read.probe(&given)
    );
    let collecting = read.collect(&again, &given);
    let messages = |log: &dyn Log| {
        let columns = ["tool", "function", "operation", "target", "values", "status", "initiator", "session"];
        let mut all = table(log, Kind::Message, &columns);
        // Control messages are not in the log.
        all.retain(|row| row.contains("|S") && !row.contains("Se") && row.contains("|ok|"));
        all
    };
    let values = |log: &dyn Log| {
        let mut all = table(log, Kind::Sample, &["tool", "signal", "unit", "value"]);
        all.truncate(40);
        all
    };
    // At the end one side may have seen one of each function more.
    wait("the log is read", || messages(again.as_ref()).len() + 5 >= messages(log.as_ref()).len());
    collecting.end();
    let (wire, text) = (messages(log.as_ref()), messages(again.as_ref()));
    for function in ["S1F11", "S5F1", "S6F1|", "S6F11", "S1F3"] {
        // Exchanges of two functions that overlap may change places, and what happened at the end one side may
        // have seen alone: so each function by itself, as far as both have it.
        let of =
            |rows: &[String]| rows.iter().filter(|row| row.contains(function)).cloned().collect::<Vec<_>>();
        let (wire, text) = (of(&wire), of(&text));
        let both = wire.len().min(text.len());
        assert!(both > 0 && wire.len().abs_diff(text.len()) <= 1, "{function}: {wire:#?} {text:#?}");
        assert_eq!(wire[..both], text[..both], "{function}");
    }
    let (wire, text) = (values(log.as_ref()), values(again.as_ref()));
    for expected in ["ETCH-07|ChamberPressure|mTorr|11.5", "ETCH-07|TRID 5/1||2.5"] {
        assert!(
            wire.iter().any(|row| row == expected) && text.iter().any(|row| row == expected),
            "{wire:#?} {text:#?}"
        );
    }
}

#[test]
fn a_log_is_read_on_exactly_after_its_collector_was_killed() {
    let fab = Fab::new();
    let given = json!({
        "name": "eap", "kind": "secslog", "path": "eap.log", "head": "{time} {tool} {direction}", "batch": "20ms",
    });
    std::fs::write(fab.folder.path().join("settings.json"), given.to_string()).expect("written");
    let mut file = std::fs::File::create(fab.folder.path().join("eap.log")).expect("a file");
    let mut write = |text: String| file.write_all(text.as_bytes()).expect("written");
    write(
        "2026-11-26T10:00:00Z ETCH-01 send\nS2F33 W <L <U4 0> <L <L <U4 9> <L <U4 20>>>>> .\n\
         2026-11-26T10:00:00Z ETCH-01 recv\nS2F34 <B 0x0> .\n"
            .into(),
    );
    let mut number = 0;
    for _ in 0..4 {
        let mut process = collector(fab.folder.path());
        let until = clock::steady() + 600_000;
        while clock::steady() < until {
            // The reply of each comes after the next: there is always an exchange under way.
            number += 1;
            let second = number % 60;
            write(format!(
                "2026-11-26T10:00:{second:02}Z ETCH-01 recv\nS6F11 W\n  <L\n    <U4 {number}>\n    <U4 1>\n    \
                 <L <L <U4 9> <L <U4 {number}>>>>\n  > .\n"
            ));
            if number > 1 {
                write(format!("2026-11-26T10:00:{second:02}Z ETCH-01 send\nS6F12 <B 0x0> .\n"));
            }
            std::thread::park_timeout(Duration::from_millis(1));
        }
        process.kill().and_then(|()| process.wait()).expect("killed");
    }
    let log = fab.log();
    let collecting = fab.collect(&log, &given);
    let values = || {
        let all = rows(log.as_ref());
        let samples = all.iter().filter(|(kind, row)| *kind == Kind::Sample && row["signal"] == "VID 20");
        samples.filter_map(|(_, row)| row["value"].as_f64().map(|value| value as u64)).collect::<Vec<_>>()
    };
    wait("the rest is read", || values().last() == Some(&number));
    collecting.end();
    assert_eq!(values(), (1..=number).collect::<Vec<_>>());
    let messages = table(log.as_ref(), Kind::Message, &["function", "status"]);
    let answered = messages.iter().filter(|row| *row == "S6F11|ok").count() as u64;
    assert_eq!((answered, messages.len() as u64), (number - 1, number), "each exchange once");
}

#[test]
fn nothing_is_acknowledged_while_the_log_takes_nothing() {
    let acked = Arc::new(AtomicBool::new(false));
    let (seen, mood) = (Arc::clone(&acked), Arc::new(Mood::default()));
    mood.refuse(true);
    let tested = Arc::new(AtomicBool::new(false));
    let kept = Arc::clone(&tested);
    let address = odd_equipment(move |frame| match (frame[5], frame[2] & 0x7f, frame[3]) {
        (1, ..) => vec![select_answer(frame, 0), vec![0, 3, 0x86, 11, 0, 0, 0, 0, 0, 1]],
        (5, ..) => {
            kept.store(true, Ordering::Release);
            vec![[&[0xff, 0xff, 0, 0, 0, 6], &frame[6..10]].concat()]
        }
        (0, 6, 12) => {
            seen.store(true, Ordering::Release);
            Vec::new()
        }
        _ => Vec::new(),
    });
    let fab = Fab::new();
    let log = fab.log();
    let refusing = moody(Arc::clone(&log) as Arc<dyn Log>, &mood);
    let mut given = settings(json!({"name": "ETCH-07", "address": address.to_string(), "device_id": 3}));
    given["timers"] = json!({"linktest": "300ms"});
    let stop = Arc::new(AtomicBool::new(false));
    let (stopped, plant, folder) = (Arc::clone(&stop), fab.plant(), fab.folder.path().to_path_buf());
    let thread = std::thread::spawn(move || run(&refusing, &plant, &folder, given, &stopped));
    // The session lives on meanwhile.
    wait("the link is tested", || tested.swap(false, Ordering::AcqRel));
    wait("the link is tested again", || tested.load(Ordering::Acquire));
    assert!(!acked.load(Ordering::Acquire), "acknowledged before it was durable");
    mood.refuse(false);
    wait("it is acknowledged", || acked.load(Ordering::Acquire));
    stop.store(true, Ordering::Release);
    thread.join().expect("ends in order");
    assert!(table(log.as_ref(), Kind::Message, &["function", "status"]).contains(&"S6F11|ok".to_string()));
}
