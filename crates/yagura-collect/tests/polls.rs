//! Sources that ask: Modbus devices (pymodbus), and records of foreign topics (the log in memory).

#[path = "polls/logs.rs"]
mod logs;

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use arrow::array::{Array, ArrayRef, Float64Array, RecordBatch, StringArray, TimestampMillisecondArray};
use arrow::datatypes::{DataType, Field, Schema};
use arrow::ipc::writer::StreamWriter;
use serde_json::{Map, Value, json};
use yagura_collect::live::{self, Destination};
use yagura_collect::names::NameTable;
use yagura_collect::run::{CollectError, Progress};
use yagura_collect::sources::CollectorConfig;
use yagura_collect::{Opened, Plant, source};
use yagura_event::{Asset, AssetTable, Envelope, Kind, codec};
use yagura_log::altered::{Mood, moody};
use yagura_log::embedded::Options;
use yagura_log::{Log, memory};

use logs::{Elsewhere, Foreign};

const TOPIC: &str = "events";

/// What collectors share in a test.
struct Bench {
    runtime: tokio::runtime::Runtime,
    plant: Plant,
    log: Arc<dyn Log>,
    folder: tempfile::TempDir,
}

impl Bench {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let log = memory::open(Options::default()).expect("a log");
        log.ensure_topic(TOPIC, 1).expect("a topic");
        let plant = Plant {
            assets: Arc::new(AssetTable::new(vec![], "bay")),
            dissect: Arc::default(),
            names: Arc::new(NameTable::default()),
            runtime: runtime.handle().clone(),
            open_log: source::no_log(),
        };
        Bench { runtime, plant, log: Arc::new(log), folder: tempfile::tempdir().expect("a folder") }
    }

    fn config(&self, settings: Value) -> CollectorConfig {
        let config = CollectorConfig::new(settings).expect("a collector");
        config.check().expect("settings");
        config
    }

    fn probe(&self, settings: Value) -> Result<String, String> {
        self.config(settings).probe(self.folder.path(), &self.plant).map_err(|e| e.to_string())
    }

    fn refused(&self, settings: Value) -> String {
        match self.config(settings).open(self.folder.path(), &self.plant) {
            Ok(_) => panic!("it opens"),
            Err(error) => error.to_string(),
        }
    }

    fn start(&self, settings: Value) -> Run {
        self.start_into(Arc::clone(&self.log), settings)
    }

    fn start_into(&self, log: Arc<dyn Log>, settings: Value) -> Run {
        let opened = self.config(settings).open(self.folder.path(), &self.plant).expect("opens");
        let Opened::Live(source) = opened else { panic!("a live source") };
        let stop = Arc::new(AtomicBool::new(false));
        let assets = Arc::clone(&self.plant.assets);
        let (told, notes) = (Arc::clone(&stop), self.folder.path().to_path_buf());
        let thread = std::thread::spawn(move || {
            let to =
                Destination { log: log.as_ref(), topic: TOPIC, assets: &assets, cells: &[], notes: &notes };
            live::collect(source, to, &told, &Progress::default())
        });
        Run { stop, thread: Some(thread) }
    }

    /// All rows so far, in the order of the log; of samples with the names of their series.
    fn rows(&self) -> Vec<(Kind, Map<String, Value>)> {
        let held = self.log.held(TOPIC, 0).expect("held");
        let mut reader = self.log.reader(TOPIC, 0, held.start).expect("a reader");
        let mut series: BTreeMap<(u64, u64), Map<String, Value>> = BTreeMap::new();
        let mut out = Vec::new();
        while reader.position() < held.end {
            for stored in reader.read(1 << 20, Duration::from_secs(10)).expect("records") {
                let envelope = Envelope::from_header(&stored.record.header).expect("an envelope");
                let Ok(decoded) = codec::decode(&envelope, &stored.record.value) else { continue };
                for mut row in codec::to_json_rows(&decoded) {
                    let number = row.get("series").and_then(Value::as_u64).unwrap_or_default();
                    match envelope.kind {
                        Kind::Series => {
                            series.insert((envelope.epoch, number), row);
                        }
                        Kind::Sample => {
                            for (name, value) in &series[&(envelope.epoch, number)] {
                                row.entry(name.clone()).or_insert(value.clone());
                            }
                            out.push((Kind::Sample, row));
                        }
                        kind => out.push((kind, row)),
                    }
                }
            }
        }
        out
    }

    /// Values of a signal so far.
    fn values(&self, signal: &str) -> Vec<f64> {
        let rows = self.rows();
        let of = rows.iter().filter(|(kind, row)| *kind == Kind::Sample && row["signal"] == signal);
        of.map(|(_, row)| row["value"].as_f64().unwrap_or(f64::NAN)).collect()
    }

    /// Coverage rows so far: event, subject, detail.
    fn coverage(&self) -> Vec<(String, String, String)> {
        let text = |row: &Map<String, Value>, name: &str| row[name].as_str().unwrap_or_default().to_string();
        let rows = self.rows();
        let of = rows.iter().filter(|(kind, _)| *kind == Kind::Coverage);
        of.map(|(_, row)| (text(row, "event"), text(row, "subject"), text(row, "detail"))).collect()
    }

    fn told(&self, event: &str, subject: &str, words: &str) -> usize {
        let all = self.coverage();
        all.iter().filter(|(e, s, d)| e == event && s == subject && d.contains(words)).count()
    }
}

/// Waits until something holds, at most 20 seconds.
fn until(what: &str, bench: &Bench, mut holds: impl FnMut() -> bool) {
    for _ in 0..400 {
        if holds() {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    panic!("{what}: not within 20 s; coverage: {:#?}", bench.coverage());
}

/// A collector that runs.
struct Run {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Result<(), CollectError>>>,
}

impl Run {
    fn stop(mut self) {
        self.stop.store(true, Ordering::Release);
        self.ended().expect("it ends in order");
    }

    /// Waits for its end.
    fn ended(&mut self) -> Result<(), CollectError> {
        self.thread.take().expect("it runs").join().expect("no panic")
    }
}

impl Drop for Run {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn free_port() -> u16 {
    yagura_testkit::free_port().expect("a port")
}

fn python() -> PathBuf {
    let equipment = std::env::var_os("YAGURA_EQUIPMENT").map(PathBuf::from);
    let equipment =
        equipment.unwrap_or_else(|| yagura_testkit::peers::equipment(&yagura_testkit::build_folder()));
    let python = equipment.join("bin/python");
    assert!(
        python.exists(),
        "{}: the tests' equipment is not there; `cargo xtask test` installs it, YAGURA_EQUIPMENT names another place",
        python.display()
    );
    python
}

/// pymodbus, with its devices.
struct Server {
    child: Child,
    /// What it was asked: function and first address.
    asked: Arc<Mutex<Vec<String>>>,
}

impl Server {
    fn start(port: u16, slow: &str) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/modbus.py");
        let mut child = Command::new(python())
            .arg(script)
            .args([&port.to_string(), slow])
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("pymodbus starts");
        let mut lines = BufReader::new(child.stdout.take().expect("its output")).lines();
        assert_eq!(lines.next().expect("a line").expect("text"), "ready");
        let asked = Arc::new(Mutex::new(Vec::new()));
        let noted = Arc::clone(&asked);
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                noted.lock().expect("a lock").push(line);
            }
        });
        Server { child, asked }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().expect("a lock").clone()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn devices(port: u16) -> Value {
    json!({
        "name": "plc", "kind": "modbus", "timeout": "400ms", "batch": "100ms", "max_requests_per_second": 500,
        "devices": [
            {"name": "pump-3", "address": format!("127.0.0.1:{port}"), "unit_id": 1, "every": "100ms",
             "base": "4xxxx", "map": "pump.csv"},
            {"name": "valve-9", "address": format!("127.0.0.1:{port}"), "unit_id": 2, "every": "200ms", "base": "zero",
             "map": [{"name": "open", "register": 0, "kind": "coil"}]},
        ],
    })
}

const PUMP: &str = "name,register,kind,type,order,scale,offset,unit,class,tool,chamber
flow,40001,holding,f32,cdab,2,1,sccm,flow,,A
level,40003,holding,i16,,,,mm,,,
alarm,40004,holding,bit:15,,,,,,,
recipe,40009,holding,string:8,,,,,,,
r20,40021,holding,,,,,,,,
r21,40022,holding,,,,,,,,
r23,40024,holding,,,,,,,,
missing,40025,holding,,,,,,,,
r26,40027,holding,,,,,,,,
slow,40201,holding,,,,,,,,
fast,40301,holding,,,,,,,,
running,1,coil,,,,,,,,
third,3,coil,,,,,,,,
door,10009,discrete,,,,,,,,
speed,30001,input,,,,,rpm,,TURBO-1,
broken,30091,input,,,,,,,,
";

#[test]
fn devices_are_polled_by_their_maps_and_come_back_after_a_restart() {
    let bench = Bench::new();
    std::fs::write(bench.folder.path().join("pump.csv"), PUMP).expect("a map");
    let port = free_port();
    let run = bench.start(devices(port));
    until("nobody there is told", &bench, || bench.told("down", "pump-3", "no connection") == 1);
    let server = Server::start(port, "0");
    let signals = [
        ("flow", 2.0 * 123_456.75 + 1.0),
        ("level", -2.0),
        ("alarm", 1.0),
        ("r20", 20.0),
        ("r23", 23.0),
        ("r26", 26.0),
        ("slow", 200.0),
        ("fast", 300.0),
        ("running", 1.0),
        ("third", 1.0),
        ("door", 1.0),
        ("speed", 7.0),
    ];
    let name = |signal: &str| format!("pump-3/{signal}");
    until("values", &bench, || signals.iter().all(|(signal, _)| bench.values(&name(signal)).len() > 5));
    for (signal, value) in signals {
        assert!(
            bench.values(&name(signal)).iter().all(|v| *v == value),
            "{signal}: {:?}",
            bench.values(&name(signal))
        );
    }
    assert_eq!(bench.values("pump-3/missing"), [] as [f64; 0]);
    // What is refused and what fails is told once, by name; its neighbours are read.
    assert_eq!(bench.told("gap", "pump-3", "refused: holding 24 (missing): illegal address"), 1);
    assert_eq!(bench.told("gap", "pump-3", "refused"), 1);
    assert_eq!(bench.told("gap", "pump-3", "input 90: device failure"), 1);
    assert_eq!(bench.told("down", "valve-9", ""), 1, "it is away all the time");
    let rows = bench.rows();
    let find = |kind: Kind| rows.iter().filter(|(k, _)| *k == kind).map(|(_, row)| row).collect::<Vec<_>>();
    let identity = find(Kind::Identity);
    assert_eq!(identity.len(), 1 + 1, "of each unit");
    assert_eq!((&identity[0]["vendor"], &identity[0]["model"]), (&json!("Pumpworks"), &json!("PW-3")));
    assert_eq!((&identity[0]["firmware"], &identity[0]["address"]), (&json!("2.11"), &json!("127.0.0.1")));
    let recipe: Vec<_> = find(Kind::Context).iter().map(|row| row["value"].clone()).collect();
    assert_eq!(recipe, [json!("RECIPE-7")], "a text is told when it changes");
    let speed = find(Kind::Sample).into_iter().find(|row| row["signal"] == "pump-3/speed").expect("a value");
    assert_eq!((&speed["tool"], &speed["unit"]), (&json!("TURBO-1"), &json!("rpm")));
    // Nothing was asked but functions 1 to 4 and 43, and in few requests.
    let asked = server.asked();
    assert!(
        asked.iter().all(|line| ["1 ", "2 ", "3 ", "4 ", "43 "].iter().any(|f| line.starts_with(f))),
        "{asked:?}"
    );
    assert_eq!(asked.iter().filter(|line| *line == "3 24").count(), 1, "what is refused is left alone");
    let last: Vec<_> = asked.iter().rev().take(40).filter(|line| line.starts_with("3 ")).collect();
    let mut distinct: Vec<_> = last.clone();
    distinct.sort();
    distinct.dedup();
    // Registers 4 to 7 are not there, so nothing is read along any more.
    assert_eq!(distinct, ["3 0", "3 20", "3 200", "3 23", "3 26", "3 300", "3 8"], "{last:?}");

    let downs = bench.told("down", "pump-3", "");
    drop(server);
    until("it is down", &bench, || bench.told("down", "pump-3", "") == downs + 1);
    let gaps = bench.told("gap", "pump-3", "answers");
    let _server = Server::start(port, "0");
    until("it is back", &bench, || bench.told("gap", "pump-3", "answers") == gaps + 1);
    let before = bench.values("pump-3/fast").len();
    until("values again", &bench, || bench.values("pump-3/fast").len() > before);
    run.stop();
    assert_eq!(bench.told("stop", "pump-3", ""), 1);
}

#[test]
fn an_answer_that_is_late_is_no_other_ones() {
    let bench = Bench::new();
    let port = free_port();
    let _server = Server::start(port, "1.5");
    let map = json!([
        {"name": "slow", "register": 200, "kind": "holding"}, {"name": "fast", "register": 300, "kind": "holding"},
    ]);
    let run = bench.start(json!({
        "name": "plc", "kind": "modbus", "timeout": "300ms", "batch": "100ms", "max_requests_per_second": 100,
        "devices": [{"name": "pump", "address": format!("127.0.0.1:{port}"), "unit_id": 1, "every": "50ms",
                     "base": "zero", "map": map},
                    {"name": "valve", "address": format!("127.0.0.1:{port}"), "unit_id": 2, "every": "50ms",
                     "base": "zero", "map": [{"name": "open", "register": 0, "kind": "coil"}]}],
    }));
    until("the late answer is told", &bench, || bench.told("down", "pump", "no answer within 300ms") == 1);
    until("values", &bench, || bench.values("pump/slow").len() > 30);
    assert!(bench.values("pump/slow").iter().all(|value| *value == 200.0));
    assert!(bench.values("pump/fast").iter().all(|value| *value == 300.0));
    assert_eq!(bench.told("down", "valve", "the device behind the gateway does not answer"), 1);
    run.stop();
}

/// A device that answers each request by what `answer` makes of it.
fn liar(answer: impl Fn(u32, &[u8]) -> Vec<u8> + Send + 'static) -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        let mut requests = 0;
        for stream in listener.incoming() {
            let Ok(mut stream): Result<TcpStream, _> = stream else { return };
            let mut request = [0; 12];
            while stream.read_exact(&mut request).is_ok() {
                requests += 1;
                if stream.write_all(&answer(requests, &request)).is_err() {
                    break;
                }
            }
        }
    });
    port
}

#[test]
fn a_device_that_lies_is_told_and_the_others_go_on() {
    let bench = Bench::new();
    let honest = |request: &[u8]| {
        let mut answer = request[..5].to_vec();
        answer.extend([5, request[6], 3, 2, 0, 42]);
        answer
    };
    // The answer to something else; nonsense; half a message and more of the size than there is; too few values.
    let stale = liar(move |n, request| match n {
        2 => [&[0xAB, 0xCD][..], &honest(request)[2..9], &[0, 99]].concat(),
        _ => honest(request),
    });
    let noise = liar(|_, _| b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec());
    let short = liar(|_, request| [&request[..4], &[0, 1, request[6]]].concat());
    let few = liar(|_, request| [&request[..4], &[0, 3, request[6], 3, 0]].concat());
    let ports = [("stale", stale), ("noise", noise), ("short", short), ("few", few)];
    let devices: Vec<Value> = ports
        .iter()
        .map(|(name, port)| {
            json!({"name": name, "address": format!("127.0.0.1:{port}"), "every": "50ms", "base": "one",
                   "map": [{"name": "x", "register": 1, "kind": "holding"}]})
        })
        .collect();
    let run = bench.start(json!({
        "name": "plc", "kind": "modbus", "timeout": "500ms", "batch": "100ms", "identify": false, "devices": devices,
    }));
    until("the stale answer is told", &bench, || {
        bench.told("down", "stale", "an answer to another request") == 1
    });
    until("nonsense is told", &bench, || bench.told("down", "noise", "holding 0: ") == 1);
    until("a short one is told", &bench, || bench.told("down", "short", "holding 0: ") == 1);
    until("a small one is told", &bench, || bench.told("down", "few", "of another size") == 1);
    until("values", &bench, || bench.values("stale/x").len() > 20);
    assert!(bench.values("stale/x").iter().all(|value| *value == 42.0));
    for name in ["noise/x", "short/x", "few/x"] {
        assert_eq!(bench.values(name), [] as [f64; 0]);
    }
    run.stop();
}

#[test]
fn a_probe_says_what_does_not_fit() {
    let bench = Bench::new();
    let port = free_port();
    let device = |entries: Value| {
        json!({"name": "plc", "kind": "modbus", "devices": [
            {"name": "pump-3", "address": format!("127.0.0.1:{port}"), "unit_id": 1, "base": "zero", "map": entries}]})
    };
    let good = json!([{"name": "a", "register": 20, "kind": "holding"}, {"name": "b", "register": 0, "kind": "input"}]);
    let bad = json!([{"name": "a", "register": 20, "kind": "holding"}, {"name": "b", "register": 24, "kind": "holding"},
                     {"name": "c", "register": 7, "kind": "input"}]);
    let error = bench.probe(device(good.clone())).expect_err("nobody there");
    assert!(error.contains("pump-3 at 127.0.0.1") && error.contains("no connection"), "{error}");
    let _server = Server::start(port, "0");
    let said = bench.probe(device(good)).expect("it answers");
    assert!(said.contains("(Pumpworks PW-3) answers all 2 signals"), "{said}");
    let error = bench.probe(device(bad.clone())).expect_err("it refuses");
    assert!(
        error.contains("refuses holding 24 (b): illegal address") && error.contains("input 7 (c)"),
        "{error}"
    );
    assert!(error.contains("correct `register`"), "{error}");
    // Called from where connections are served, too.
    let config = bench.config(device(bad));
    let (folder, plant) = (bench.folder.path().to_path_buf(), bench.plant.clone());
    let probed = bench.runtime.block_on(async { config.probe(&folder, &plant).map_err(|e| e.to_string()) });
    assert!(probed.expect_err("it refuses").contains("holding 24"));
    let mut greedy = device(json!([{"name": "a", "register": 20, "kind": "holding"}]));
    greedy["devices"][0]["every"] = json!("10ms");
    greedy["max_requests_per_second"] = json!(50);
    let error = bench.refused(greedy);
    assert!(error.contains("would get 100.0 requests a second"), "{error}");
}

impl Bench {
    /// A plant that can read somebody else's log.
    fn beside(foreign: &Arc<Foreign>) -> Self {
        let mut bench = Bench::new();
        let foreign = Arc::clone(foreign);
        bench.plant.open_log = Arc::new(move |settings, _| {
            assert_eq!(settings["brokers"], "k:9092");
            foreign.there()?;
            Ok(Arc::new(Elsewhere(Arc::clone(&foreign))))
        });
        let asset =
            |name: &str, cell: &str| Asset { name: name.into(), cell: cell.into(), ..Asset::default() };
        bench.plant.assets =
            Arc::new(AssetTable::new(vec![asset("D1", "north"), asset("D2", "south")], "bay"));
        bench
    }

    /// The descriptions of all `log` rows, sorted.
    fn descriptions(&self) -> Vec<String> {
        let rows = self.rows();
        let of = rows.iter().filter(|(kind, _)| *kind == Kind::Log);
        let mut all: Vec<_> =
            of.map(|(_, row)| row["description"].as_str().unwrap_or_default().to_string()).collect();
        all.sort();
        all
    }
}

fn bridge(from: &str, topics: Value) -> Value {
    json!({"name": "bridge", "kind": "kafka", "kafka": {"brokers": "k:9092"}, "from": from, "batch": "20ms",
           "record_bytes_max": "4KiB", "topics": topics})
}

fn doors() -> Value {
    json!([{"topic": "doors", "format": {"json": {"as": "log", "columns": {
        "tool": "${door}", "category": "badge", "event": "${kafka.key}", "description": "${id}"}}}}])
}

#[test]
fn killed_anywhere_and_started_again_a_bridge_misses_nothing_and_repeats_nothing() {
    let foreign = Foreign::new(7);
    foreign.inner().ensure_topic("doors", 3).expect("a topic");
    let bench = Bench::beside(&foreign);
    let mut random = fastrand::Rng::with_seed(7);
    let (mut expected, mut id) = (Vec::new(), 0);
    let mut offsets: BTreeMap<u32, u64> = BTreeMap::new();
    let mut produce = |random: &mut fastrand::Rng| {
        let key = format!("key-{}", random.u32(..20));
        let at = offsets.entry(yagura_log::partition_of(key.as_bytes(), 3)).or_insert(0);
        let left_out = at.is_multiple_of(7);
        *at += 1;
        let left = random.u32(..5);
        let mut one = || {
            id += 1;
            if !left_out {
                expected.push(format!("{id:06}"));
            }
            json!({"door": format!("D{}", random.u32(1..4)), "id": format!("{id:06}"), "time": "2026-11-02T22:00:01Z"})
        };
        let value = match left {
            0 => one(),
            _ => Value::Array((1..left).map(|_| one()).chain([json!("no object")]).collect()),
        };
        foreign.produce("doors", &key, value.to_string());
    };
    for _ in 0..200 {
        produce(&mut random);
    }
    let (mut killed, mut rounds) = (0, 0);
    while killed < 15 {
        rounds += 1;
        assert!(rounds < 300, "only {killed} of {rounds} were killed");
        let mood = Arc::new(Mood::default());
        mood.die_after(random.u64(1..25));
        let log: Arc<dyn Log> = Arc::new(moody(Arc::clone(&bench.log), &mood));
        let mut run = bench.start_into(log, bridge("start", doors()));
        for _ in 0..40 {
            produce(&mut random);
            std::thread::park_timeout(Duration::from_millis(random.u64(..4)));
        }
        run.stop.store(true, Ordering::Release);
        killed += u32::from(run.ended().is_err());
    }
    let run = bench.start(bridge("start", doors()));
    expected.sort();
    until("all rows", &bench, || bench.descriptions().len() >= expected.len());
    run.stop();
    let found = bench.descriptions();
    let missing: Vec<_> = expected.iter().filter(|id| found.binary_search(id).is_err()).collect();
    assert_eq!(missing, [] as [&String; 0], "missing");
    assert_eq!(found.len(), expected.len(), "some came twice");
    let event =
        bench.rows().into_iter().find(|(kind, _)| *kind == Kind::Log).expect("a row").1["event"].clone();
    assert!(event.as_str().is_some_and(|key| key.starts_with("key-")), "{event}");
}

#[test]
fn deleted_offsets_and_topics_made_anew_are_gaps() {
    let foreign = Foreign::new(0);
    let bench = Bench::beside(&foreign);
    let door =
        |n: u32| json!({"door": "D1", "id": n.to_string(), "time": "2026-11-02T22:00:01Z"}).to_string();
    let mut run = bench.start(bridge("start", doors()));
    until("an unknown topic is told", &bench, || bench.told("down", "doors", "there is no topic doors") == 1);
    foreign.inner().ensure_topic("doors", 1).expect("a topic");
    foreign.produce("doors", "", door(0));
    until("it is read", &bench, || bench.descriptions() == ["0"]);
    assert_eq!(bench.told("gap", "doors", "1 partitions"), 1);
    run.stop();
    // While nobody reads, half of what comes is deleted.
    (1..10).for_each(|n| foreign.produce("doors", "", door(n)));
    foreign.floor.store(5, Ordering::Relaxed);
    run = bench.start(bridge("start", doors()));
    until("the rest is read", &bench, || bench.descriptions() == ["0", "5", "6", "7", "8", "9"]);
    run.stop();
    let gap = |detail: &str| bench.told("gap", "doors/0", detail);
    // The one that was read last is asked for again after a start: it is safe that some cell has all of it.
    assert_eq!(gap("were deleted before they were read"), 1, "{:#?}", bench.coverage());
    // Made anew, with fewer records: a stream of its own, from its beginning, also after a restart.
    let fresh = Foreign::empty();
    fresh.ensure_topic("doors", 1).expect("a topic");
    foreign.floor.store(0, Ordering::Relaxed);
    run = bench.start(bridge("start", doors()));
    *foreign.inner.lock().expect("a lock") = fresh;
    (20..22).for_each(|n| foreign.produce("doors", "", door(n)));
    until("the new topic is read", &bench, || bench.descriptions().len() == 8);
    assert_eq!(gap("the topic was made anew"), 1);
    run.stop();
    foreign.produce("doors", "", door(22));
    run = bench.start(bridge("start", doors()));
    until("what came is read", &bench, || bench.descriptions().len() == 9);
    // Away, and back.
    foreign.away.store(true, Ordering::Relaxed);
    until("it is down", &bench, || bench.told("down", "doors/0", "it is away") == 1);
    foreign.away.store(false, Ordering::Relaxed);
    foreign.produce("doors", "", door(23));
    until("it is back", &bench, || bench.descriptions().len() == 10);
    run.stop();
    assert_eq!(bench.descriptions(), ["0", "20", "21", "22", "23", "5", "6", "7", "8", "9"]);
}

#[test]
fn what_begins_now_goes_on_where_it_began() {
    let foreign = Foreign::new(0);
    foreign.inner().ensure_topic("doors", 4).expect("a topic");
    let bench = Bench::beside(&foreign);
    let door = |n: u32| json!({"door": "D1", "id": format!("{n:03}"), "time": 1_760_000_000 + n}).to_string();
    // Some partitions have something, some have nothing.
    (0..3).for_each(|n| foreign.produce("doors", "one", door(n)));
    let run = bench.start(bridge("now", doors()));
    until("it is read", &bench, || bench.told("start", "doors", "4 partitions") == 1);
    foreign.produce("doors", "one", door(100));
    until("the first row", &bench, || bench.descriptions() == ["100"]);
    run.stop();
    (101..140).for_each(|n| foreign.produce("doors", &n.to_string(), door(n)));
    let run = bench.start(bridge("now", doors()));
    until("all rows", &bench, || bench.descriptions().len() == 40);
    run.stop();
    assert!(bench.descriptions().into_iter().eq((100..140).map(|n| n.to_string())));
}

#[test]
fn what_cannot_be_read_is_told_with_its_offset() {
    let foreign = Foreign::new(0);
    for topic in ["doors", "traces"] {
        foreign.inner().ensure_topic(topic, 1).expect("a topic");
    }
    let bench = Bench::beside(&foreign);
    let topics =
        json!([doors()[0], {"topic": "traces", "format": {"arrow": {"tool": "ETCH-07", "time": "${time}"}}}]);
    let probe = |what: &str| match bench.probe(bridge("start", topics.clone())) {
        Ok(said) => assert!(said.contains(what), "{said}"),
        Err(error) => assert!(error.contains(what), "{error}"),
    };
    probe("doors has 1 partitions and about 0 records");
    foreign.produce("doors", "k", "{\"door\": ");
    probe("doors: the record at offset 0 cannot be read: the value is no JSON");
    foreign.produce("doors", "k", "");
    foreign.produce("doors", "k", "[1, {\"door\": \"D1\", \"id\": \"good\"}, {\"time\": \"soon\"}]");
    foreign.produce("doors", "k", " ".repeat(5000));
    foreign.produce("traces", "", "no Arrow");
    foreign.produce("traces", "", stream(&[("pressure", vec![Some(1.0)])], None));
    foreign.produce("doors", "k", "{\"door\": \"D1\", \"id\": \"last\"}");
    let run = bench.start(bridge("start", topics.clone()));
    until("the good ones", &bench, || bench.descriptions() == ["good", "last"]);
    for (topic, words) in [
        ("doors", "doors/0 offset 0: the value is no JSON"),
        ("doors", "doors/0 offset 2: element 0 is no JSON object"),
        ("doors", "doors/0 offset 2: element 2 has no readable time"),
        ("doors", "doors/0 offset 3: 5000 bytes are more than `record_bytes_max`"),
        ("traces", "traces/0 offset 0: "),
    ] {
        until(words, &bench, || bench.told("malformed", topic, words) == 1);
    }
    run.stop();
    // The sixth of a second is counted at the next one's end only.
    let told = bench.coverage().iter().filter(|(event, ..)| event == "malformed").count();
    assert!((5..=6).contains(&told), "{:#?}", bench.coverage());
    let mut unknown = bridge("start", doors());
    unknown["topics"][0]["topic"] = json!("dors");
    let error = bench.probe(unknown).expect_err("no such topic");
    assert!(error.contains("there is no topic dors") && error.contains("correct `topic`"), "{error}");
    foreign.away.store(true, Ordering::Relaxed);
    probe("it is away; check the address");
    let mut wrong = bridge("start", doors());
    wrong["topics"][0]["format"] = json!({"arrow": {"tool": "${a}-${b}"}});
    assert!(bench.refused(wrong).contains("one `${COLUMN}`"));
}

/// An Arrow stream with a column of tools, of milliseconds, and of values.
fn stream(columns: &[(&str, Vec<Option<f64>>)], time: Option<i64>) -> Vec<u8> {
    let rows = columns[0].1.len();
    let tools = (0..rows).map(|row| if row % 2 == 0 { "ETCH-1" } else { "ETCH-2" });
    let mut all: Vec<(Field, ArrayRef)> =
        vec![(Field::new("tool", DataType::Utf8, false), Arc::new(StringArray::from_iter_values(tools)))];
    if let Some(time) = time {
        let times = TimestampMillisecondArray::from_iter_values((0..rows as i64).map(|row| time + row));
        all.push((Field::new("time", times.data_type().clone(), false), Arc::new(times)));
    }
    for (name, values) in columns {
        let unit = std::collections::HashMap::from([("unit".to_string(), "Pa".to_string())]);
        let field = Field::new(*name, DataType::Float64, true).with_metadata(unit);
        all.push((field, Arc::new(Float64Array::from(values.clone()))));
    }
    let (fields, arrays): (Vec<_>, Vec<_>) = all.into_iter().unzip();
    let batch = RecordBatch::try_new(Arc::new(Schema::new(fields)), arrays).expect("a batch");
    let mut out = Vec::new();
    let mut writer = StreamWriter::try_new(&mut out, &batch.schema()).expect("a writer");
    writer.write(&batch).expect("room");
    writer.write(&batch).expect("room");
    writer.finish().expect("an end");
    drop(writer);
    out
}

#[test]
fn arrow_is_read_in_its_wide_and_its_long_form() {
    let foreign = Foreign::new(0);
    for topic in ["wide", "long"] {
        foreign.inner().ensure_topic(topic, 1).expect("a topic");
    }
    let bench = Bench::beside(&foreign);
    let values =
        [("flow", vec![Some(1.0), Some(2.0), None]), ("power", vec![Some(10.0), Some(20.0), Some(30.0)])];
    foreign.produce("wide", "", stream(&values, Some(1_760_000_000_000)));
    foreign.produce("long", "", stream(&[("v", vec![Some(5.0), None, Some(7.0)])], None));
    let run = bench.start(bridge("start", json!([
        {"topic": "wide", "format": {"arrow": {"time": "${time}", "tool": "${tool}", "chamber": "A"}}},
        {"topic": "long", "format": {"arrow": {"tool": "ASH-3", "signal": "${tool}", "value": "${v}", "unit": "W"}}},
    ])));
    until("all values", &bench, || {
        bench.rows().iter().filter(|(kind, _)| *kind == Kind::Sample).count() == 14
    });
    run.stop();
    // Each batch twice.
    assert_eq!(bench.values("ETCH-1/flow"), [1.0, 1.0]);
    assert_eq!(bench.values("ETCH-2/flow"), [2.0, 2.0]);
    assert_eq!(bench.values("ETCH-1/power"), [10.0, 30.0, 10.0, 30.0]);
    assert_eq!(bench.values("ETCH-1"), [5.0, 7.0, 5.0, 7.0]);
    assert_eq!(bench.coverage().iter().filter(|(event, ..)| event == "malformed").count(), 0);
    let rows = bench.rows();
    let find = |signal: &str| {
        &rows.iter().find(|(kind, row)| *kind == Kind::Sample && row["signal"] == signal).expect("a value").1
    };
    let flow = find("ETCH-2/flow");
    assert_eq!(
        (&flow["tool"], &flow["chamber"], &flow["unit"]),
        (&json!("ETCH-2"), &json!("A"), &json!("Pa"))
    );
    assert_eq!(flow["time"], 1_760_000_000_001_000_i64);
    let long = find("ETCH-1");
    assert_eq!((&long["tool"], &long["unit"]), (&json!("ASH-3"), &json!("W")));
}
