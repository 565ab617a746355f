//! The MQTT source with mosquitto, pysparkplug and paho.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use serde_json::{Map, Value, json};
use tempfile::TempDir;
use yagura_collect::live::Destination;
use yagura_collect::run::{CollectError, Progress};
use yagura_collect::sources::CollectorConfig;
use yagura_collect::{Opened, Plant, discover, live};
use yagura_event::{AssetTable, Envelope, Kind, codec};
use yagura_log::altered::{Altered, Mood, moody};
use yagura_log::embedded::Options;
use yagura_log::{Log, memory};
use yagura_testkit::certificates::Certificates;

const TOPIC: &str = "events";
const MOSQUITTO: &str = "/usr/sbin/mosquitto";

/// Waits for at most 20 s.
fn until(what: &str, mut is: impl FnMut() -> bool) {
    assert!(within_20_s(&mut is), "{what}: not within 20 s");
}

fn within_20_s(is: &mut dyn FnMut() -> bool) -> bool {
    for _ in 0..1000 {
        if is() {
            return true;
        }
        std::thread::park_timeout(Duration::from_millis(20));
    }
    false
}

fn free_port() -> u16 {
    yagura_testkit::free_port().expect("a port")
}

/// A child process that ends with its handle.
struct Process(Child);

impl Process {
    /// Asks it to end, and waits.
    fn end(&mut self) {
        let id = self.0.id().to_string();
        Command::new("kill").args(["-TERM", &id]).status().expect("kill runs");
        until("a process ends", || self.0.try_wait().expect("a child").is_some());
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// mosquitto with its own folder, which survives a restart.
struct Broker {
    folder: TempDir,
    port: u16,
    process: Option<Process>,
}

impl Broker {
    fn start(settings: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut broker = Broker { port: free_port(), folder, process: None };
        let (port, place) = (broker.port, broker.folder.path().display().to_string());
        let text = format!(
            "user root\nlistener {port} 127.0.0.1\npersistence true\npersistence_location {place}/\n\
             max_queued_messages 0\n{}\n",
            settings.replace("FOLDER", &place)
        );
        std::fs::write(broker.folder.path().join("mosquitto.conf"), text).expect("a file");
        broker.run();
        broker
    }

    fn run(&mut self) {
        let child = Command::new(MOSQUITTO)
            .arg("-c")
            .arg(self.folder.path().join("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("mosquitto is missing: `cargo xtask test` installs it");
        self.process = Some(Process(child));
        until("mosquitto listens", || TcpStream::connect(("127.0.0.1", self.port)).is_ok());
    }

    fn stop(&mut self) {
        self.process.take().expect("it runs").end();
    }

    fn settings(&self, more: Value) -> Value {
        let address = format!("127.0.0.1:{}", self.port);
        let mut settings =
            json!({"name": "line", "kind": "mqtt", "brokers": [{"address": address}], "batch": "50ms"});
        if let (Value::Object(settings), Value::Object(more)) = (&mut settings, more) {
            settings.extend(more);
        }
        settings
    }
}

fn python() -> PathBuf {
    let folder = match std::env::var_os("YAGURA_EQUIPMENT") {
        Some(folder) => PathBuf::from(folder),
        None => yagura_testkit::peers::equipment(&yagura_testkit::build_folder()),
    };
    let python = folder.join("bin/python");
    assert!(python.exists(), "{} is missing: `cargo xtask test` installs it", python.display());
    python
}

/// tests/peers/mqtt.py, which answers commands.
struct Peer {
    process: Process,
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    fn start(arguments: &[&str]) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers/mqtt.py");
        let mut child = Command::new(python())
            .arg(script)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python runs");
        let commands = child.stdin.take();
        let answers = BufReader::new(child.stdout.take().expect("a pipe"));
        Peer { process: Process(child), commands, answers }
    }

    fn answer(&mut self) -> String {
        let mut line = String::new();
        self.answers.read_line(&mut line).expect("an answer");
        assert!(!line.is_empty(), "the peer ended: {:?}", self.process.0.try_wait());
        line.trim().to_string()
    }

    fn ask(&mut self, command: &str) {
        let commands = self.commands.as_mut().expect("a pipe");
        writeln!(commands, "{command}").expect("it takes commands");
        assert_eq!(self.answer(), "ok");
    }
}

struct Fab {
    plant: Plant,
    _runtime: tokio::runtime::Runtime,
    log: Arc<Altered>,
    mood: Arc<Mood>,
}

struct Collector {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Result<(), CollectError>>,
}

impl Collector {
    fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.join().expect("no panic").expect("it ends in order");
    }
}

impl Fab {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime");
        let plant = Plant {
            assets: Arc::new(AssetTable::new(vec![], "bay")),
            dissect: Arc::default(),
            names: Arc::default(),
            runtime: runtime.handle().clone(),
            open_log: yagura_collect::source::no_log(),
        };
        let mood = Arc::new(Mood::default());
        let log = Arc::new(moody(Arc::new(memory::open(Options::default()).expect("a log")), &mood));
        log.ensure_topic(TOPIC, 1).expect("a topic");
        Fab { plant, _runtime: runtime, log, mood }
    }

    fn collect(&self, settings: Value, folder: &Path) -> Collector {
        let config = CollectorConfig::new(settings).expect("settings");
        let Opened::Live(source) = config.open(folder, &self.plant).expect("it opens") else {
            panic!("MQTT has no end")
        };
        let stop = Arc::new(AtomicBool::new(false));
        let (log, assets, stopped) =
            (Arc::clone(&self.log), Arc::clone(&self.plant.assets), Arc::clone(&stop));
        let thread = std::thread::spawn(move || {
            let notes = tempfile::tempdir().expect("a folder");
            let to = Destination {
                log: log.as_ref(),
                topic: TOPIC,
                assets: &assets,
                cells: &[],
                notes: notes.path(),
            };
            live::collect(source, to, &stopped, &Progress::default())
        });
        Collector { stop, thread }
    }

    /// The collector ends as if it was killed: what it had read is not in the log, nothing is acknowledged.
    fn kill(&self, collector: Collector) {
        self.mood.die_after(0);
        assert!(collector.thread.join().expect("no panic").is_err());
        self.mood.recover();
    }

    /// The rows of the log; samples have the columns of their series.
    fn rows(&self) -> Vec<(Kind, Map<String, Value>)> {
        let held = self.log.held(TOPIC, 0).expect("held");
        let mut reader = self.log.reader(TOPIC, 0, held.start).expect("a reader");
        let (mut out, mut series) = (Vec::new(), std::collections::HashMap::new());
        while reader.position() < held.end {
            for stored in reader.read(1 << 20, Duration::from_secs(10)).expect("records") {
                let envelope = Envelope::from_header(&stored.record.header).expect("an envelope");
                if envelope.rows == 0 {
                    continue;
                }
                let decoded = codec::decode(&envelope, &stored.record.value).expect("rows");
                for mut row in codec::to_json_rows(&decoded) {
                    let number = (envelope.epoch, row.get("series").and_then(Value::as_u64));
                    match envelope.kind {
                        Kind::Series => drop(series.insert(number, row.clone())),
                        Kind::Sample => row.extend(series[&number].clone()),
                        _ => {}
                    }
                    out.push((envelope.kind, row));
                }
            }
        }
        out
    }

    fn values(&self, signal: &str) -> Vec<f64> {
        let rows = self.rows();
        let samples = rows.iter().filter(|(kind, row)| *kind == Kind::Sample && row["signal"] == signal);
        samples.filter_map(|(_, row)| row["value"].as_f64()).collect()
    }

    fn coverage(&self, event: &str, subject: &str) -> usize {
        let rows = self.rows();
        let rows = rows.iter().filter(|(kind, _)| *kind == Kind::Coverage);
        rows.filter(|(_, row)| row["event"] == event && row["subject"] == subject).count()
    }
}

#[test]
fn sparkplug_from_birth_to_death_and_over_a_restart() {
    let broker = Broker::start("allow_anonymous true");
    let fab = Fab::new();
    let settings = broker.settings(json!({"format": "sparkplug", "births": "births"}));
    let collector = fab.collect(settings.clone(), broker.folder.path());
    let subject = format!("mqtt 127.0.0.1:{}", broker.port);
    until("the source is connected", || fab.coverage("start", &subject) == 1);
    let mut node = Peer::start(&["sparkplug", &broker.port.to_string()]);
    node.ask("connect");
    until("the device is born", || fab.coverage("start", "fab/edge/etcher") == 1);
    for (name, value) in [
        ("int8", -5.0),
        ("int16", -500.0),
        ("int32", -50_000.0),
        ("int64", -5e9),
        ("uint8", 250.0),
        ("uint16", 65_000.0),
        ("uint32", 4e9),
        ("uint64", 5e9),
        ("float", 0.5),
        ("double", 2.25),
        ("boolean", 1.0),
    ] {
        assert_eq!(fab.values(&format!("fab/edge/etcher/{name}")), [value], "{name}");
    }
    let rows = fab.rows();
    let identity = &rows.iter().find(|(kind, _)| *kind == Kind::Identity).expect("an identity").1;
    assert_eq!((&identity["vendor"], &identity["firmware"]), (&json!("Maker"), &json!("1.2")));
    let is_text = |(kind, row): &(Kind, Map<String, Value>)| *kind == Kind::Context && row["value"] == "R7";
    assert!(rows.iter().any(is_text));
    node.ask("load 5");
    node.ask("double 7");
    until("data comes", || fab.values("fab/edge/etcher/double").contains(&7.0));
    assert_eq!(fab.values("fab/edge/load"), [0.0, 5.0]);

    // The collector starts again: it knows the births, and the broker kept what came.
    collector.stop();
    let collector = fab.collect(settings, broker.folder.path());
    until("the source is connected again", || fab.coverage("start", &subject) == 2);
    node.ask("double 9");
    until("data after the restart", || fab.values("fab/edge/etcher/double").contains(&9.0));
    // Births have QoS 0: one that came meanwhile would have been missed.
    let rows = fab.rows();
    let last = rows.iter().rfind(|(kind, _)| *kind == Kind::Sample).expect("a sample");
    assert_eq!((&last.1["value"], &last.1["quality"]), (&json!(9.0), &json!(1)));
    assert_eq!((fab.coverage("unknown", "fab/edge/etcher"), fab.coverage("gap", "fab/edge")), (0, 0));

    node.ask("deregister etcher");
    until("the device's death", || fab.coverage("down", "fab/edge/etcher") == 1);
    drop(node);
    until("the node's death", || fab.coverage("down", "fab/edge") == 1);
    let mut node = Peer::start(&["sparkplug", &broker.port.to_string()]);
    node.ask("connect");
    until("the node is there again", || fab.coverage("gap", "fab/edge") == 1);
    node.ask("load 6");
    until("data after the birth", || fab.values("fab/edge/load").contains(&6.0));
    assert_eq!(fab.coverage("malformed", "fab/edge"), 0);
    collector.stop();
}

/// Numbers with QoS 1 or 2 while the broker, the publisher, the collector and the log break down in turn.
fn no_acknowledged_message_is_missing(version: u8, qos: u8) {
    let mut broker = Broker::start("allow_anonymous true");
    let fab = Fab::new();
    let protocol = if version == 5 { "5" } else { "3.1.1" };
    let settings = broker.settings(json!({
        "format": "value", "protocol": protocol, "topics": [{"topic": "plant/#", "qos": qos}],
    }));
    let mut collector = fab.collect(settings.clone(), broker.folder.path());
    let subject = format!("mqtt 127.0.0.1:{}", broker.port);
    until("the source is connected", || fab.coverage("start", &subject) == 1);
    let broker_port = usize::from(broker.port);
    let publisher = |begin: usize, end: usize| {
        let numbers = [broker_port, version.into(), qos.into(), begin, end, 300].map(|n| n.to_string());
        let mut arguments = vec!["numbers"];
        arguments.extend(numbers.iter().map(String::as_str));
        let Peer { process, answers, .. } = Peer::start(&arguments);
        let reader = std::thread::spawn(move || {
            let mut taken = Vec::new();
            for line in answers.lines() {
                match line.expect("an answer").parse::<usize>() {
                    Ok(number) => taken.push(number),
                    Err(_) => return taken,
                }
            }
            taken
        });
        (process, reader)
    };
    let reached = |many: usize| {
        let come = within_20_s(&mut || fab.values("plant/numbers").len() >= many);
        let rows = fab.rows();
        let told: Vec<_> = rows.iter().filter(|(kind, _)| *kind == Kind::Coverage).collect();
        assert!(come, "fewer than {many} numbers come; {told:#?}");
    };
    let (first, first_taken) = publisher(0, 100_000);
    reached(100);
    fab.kill(collector);
    collector = fab.collect(settings.clone(), broker.folder.path());
    reached(300);
    drop(first);
    let mut taken = first_taken.join().expect("no panic");
    let (_second, second_taken) = publisher(100_000, 101_000);
    fab.mood.refuse(true);
    std::thread::park_timeout(Duration::from_millis(300));
    fab.mood.refuse(false);
    reached(500);
    // paho does not get over a restart of mosquitto with QoS 2 messages on their way.
    if qos == 1 {
        broker.stop();
        broker.run();
    }
    reached(700);
    collector.stop();
    collector = fab.collect(settings, broker.folder.path());
    taken.extend(second_taken.join().expect("no panic"));
    assert!(taken.len() > 1200 && taken.contains(&100_999), "the broker took {}", taken.len());
    let held = || fab.values("plant/numbers").iter().map(|value| *value as usize).collect::<BTreeSet<_>>();
    until("everything is there", || {
        let held = held();
        taken.iter().all(|number| held.contains(number))
    });
    collector.stop();
    assert_eq!(fab.coverage("down", &subject), usize::from(qos == 1));
    let doubled = fab.values("plant/numbers").len() - held().len();
    let told = fab.coverage("repeated", &subject) + fab.coverage("repeated", "line");
    assert!(doubled == 0 || told > 0, "{doubled} rows stand twice, and nothing says so");
}

#[test]
fn no_acknowledged_message_is_missing_with_mqtt_3() {
    no_acknowledged_message_is_missing(3, 1);
}

#[test]
fn no_acknowledged_message_is_missing_with_mqtt_5() {
    no_acknowledged_message_is_missing(5, 1);
}

#[test]
fn no_acknowledged_message_is_missing_with_qos_2() {
    no_acknowledged_message_is_missing(3, 2);
}

#[test]
fn json_and_values_of_mqtt_5() {
    let broker = Broker::start("allow_anonymous true");
    let port = broker.port.to_string();
    let fab = Fab::new();
    let publish = |topic: &str, payload: &str, retain: &str| {
        assert_eq!(Peer::start(&["publish", &port, "5", topic, payload, retain]).answer(), "ok");
    };
    publish("fab/a/kept", "4.5", "retain");
    let settings = json!({
        "name": "objects", "format": "json", "protocol": "5", "topics": [{"topic": "fab/+/json"}],
        "mapping": {"as": "sample", "columns": {
            "tool": "${topic.1}", "signal": "${name}", "value": "${v}", "time": "${t}"}},
    });
    let objects = fab.collect(broker.settings(settings), broker.folder.path());
    let topics = json!([{"topic": "fab/+/kept", "qos": 0}, {"topic": "fab/+/text"}]);
    let values = broker.settings(json!({"format": "value", "protocol": "5", "topics": topics}));
    let values = fab.collect(values, broker.folder.path());
    until("what was retained", || fab.values("fab/a/kept") == [4.5]);
    let subject = format!("mqtt 127.0.0.1:{}", broker.port);
    until("both are connected", || fab.coverage("start", &subject) == 2);
    publish(
        "fab/a/json",
        r#"[{"name":"flow","v":1.5,"t":"2026-11-02T22:00:01Z"},{"name":"x","t":"?"}, 7]"#,
        "",
    );
    publish("fab/a/text", "lot 7", "");
    until("an object", || fab.values("flow") == [1.5]);
    until("what is no object", || fab.coverage("malformed", "objects") == 2);
    until("a text", || {
        fab.rows().iter().any(|(kind, row)| *kind == Kind::Context && row["value"] == "lot 7")
    });
    let rows = fab.rows();
    let sample = |signal: &str| {
        let found = rows.iter().find(|(kind, row)| *kind == Kind::Sample && row["signal"] == signal);
        found.expect("a sample").1.clone()
    };
    assert_eq!((&sample("flow")["tool"], &sample("flow")["quality"]), (&json!("a"), &json!(0)));
    assert_eq!(sample("fab/a/kept")["quality"], json!(1), "what was retained is of an unknown age");
    objects.stop();
    values.stop();
}

/// An authority, and a certificate for `localhost` that has expired.
fn expired(folder: &Path) {
    let authority = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    let authority = rcgen::CertifiedIssuer::self_signed(params, authority).expect("a certificate");
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_string()]).expect("parameters");
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(2021, 1, 1);
    let certificate = params.signed_by(&key, &authority).expect("a certificate");
    for (name, text) in
        [("old-ca.pem", authority.pem()), ("old.pem", certificate.pem()), ("old.key", key.serialize_pem())]
    {
        std::fs::write(folder.join(name), text).expect("a file");
    }
}

#[test]
fn a_probe_says_what_is_wrong() {
    let folder = tempfile::tempdir().expect("a folder");
    let place = folder.path();
    Certificates::make(place).expect("certificates");
    let other = tempfile::tempdir().expect("a folder");
    Certificates::make(other.path()).expect("certificates");
    std::fs::copy(other.path().join("ca.pem"), place.join("other-ca.pem")).expect("a file");
    expired(place);
    std::fs::write(place.join("secret"), "right\n").expect("a file");
    std::fs::write(place.join("wrong"), "wrong\n").expect("a file");
    let passwords = place.join("passwords");
    let made = Command::new("mosquitto_passwd")
        .args(["-b", "-c"])
        .arg(&passwords)
        .args(["yagura", "right"])
        .stderr(Stdio::null())
        .status();
    assert!(made.expect("mosquitto_passwd runs").success());
    let plain = Broker::start(&format!("allow_anonymous false\npassword_file {}", passwords.display()));
    let tls = |certificate: &str| {
        Broker::start(&format!(
            "allow_anonymous true\ncafile {0}/ca.pem\ncertfile {0}/{certificate}.pem\nkeyfile {0}/{certificate}.key\n\
             require_certificate true",
            place.display()
        ))
    };
    let (secured, old) = (tls("localhost"), tls("old"));
    let fab = Fab::new();
    let probe = |address: String, tls: Value, more: Value| {
        let mut settings = json!({"name": "line", "kind": "mqtt", "format": "sparkplug",
            "brokers": [{"address": address}]});
        if let Value::Object(more) = more {
            settings.as_object_mut().expect("an object").extend(more);
        }
        if !tls.is_null() {
            settings["brokers"][0]["tls"] = tls;
        }
        let config = CollectorConfig::new(settings).expect("settings");
        config.probe(place, &fab.plant).map_err(|error| error.to_string())
    };
    let at = |broker: &Broker| format!("localhost:{}", broker.port);
    let user = |file: &str| json!({"user": "yagura", "password_file": file});
    let client = |ca: &str| json!({"ca": ca, "certificate": "yagura.pem", "key": "yagura.key"});
    let none = Value::Null;

    for protocol in ["3.1.1", "5"] {
        let more = json!({"protocol": protocol, "user": "yagura", "password_file": "secret"});
        let found = probe(at(&plain), none.clone(), more).expect("it connects");
        assert!(found.contains(&format!("MQTT {protocol}")), "{found}");
    }
    let found = probe(at(&secured), client("ca.pem"), none.clone()).expect("it connects");
    assert!(found.contains("every topic is subscribed"), "{found}");

    let closed = format!("localhost:{}", free_port());
    let cases = [
        (probe(at(&plain), none.clone(), user("wrong")), "user_or_password"),
        (probe(at(&plain), none.clone(), none.clone()), "user_or_password"),
        (probe(closed, none.clone(), none.clone()), "the port is closed"),
        (probe(at(&secured), client("other-ca.pem"), none.clone()), "give the authority"),
        (probe(at(&old), client("old-ca.pem"), none.clone()), "expired"),
        (
            probe(format!("127.0.0.1:{}", secured.port), client("ca.pem"), none.clone()),
            "connect to a name that the certificate has",
        ),
        (probe(at(&secured), json!({"ca": "ca.pem"}), none.clone()), "give `certificate` and `key`"),
        (probe(at(&secured), none.clone(), none.clone()), "if this port speaks TLS"),
        (probe(at(&plain), client("ca.pem"), none.clone()), "TLS"),
        (probe(at(&secured), client("missing.pem"), none.clone()), "missing.pem"),
    ];
    for (nth, (answer, expected)) in cases.into_iter().enumerate() {
        let problem = answer.expect_err("something is wrong");
        let fits = match expected {
            "user_or_password" => {
                ["the user or the password", "does not authorise"].iter().any(|t| problem.contains(t))
            }
            _ => problem.contains(expected),
        };
        assert!(fits, "case {nth}: {problem}");
    }
}

#[test]
fn births_become_the_first_table_of_names() {
    let broker = Broker::start("allow_anonymous true");
    let fab = Fab::new();
    let mut node = Peer::start(&["sparkplug", &broker.port.to_string()]);
    let config = CollectorConfig::new(broker.settings(json!({"format": "sparkplug"}))).expect("settings");
    let (plant, folder) = (fab.plant.clone(), broker.folder.path().to_path_buf());
    let listening =
        std::thread::spawn(move || discover::run(&config, Duration::from_secs(4), &folder, &plant));
    std::thread::park_timeout(Duration::from_secs(1));
    node.ask("connect");
    let found = listening.join().expect("no panic").expect("it listens");
    let mut table = Vec::new();
    found.write("line", &mut table).expect("a table");
    let table = String::from_utf8(table).expect("text");
    assert!(table.contains("\nline,fab/edge/etcher/double,,,,etcher,,double,,,,Double,2.25\n"), "{table}");
    assert_eq!(found.lines.len(), 15, "{table}");
}
