//! OPC UA against real servers: asyncua, and node-opcua.
#![allow(clippy::print_stderr, reason = "tests say what peers say")]

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType};
use serde_json::{Map, Value, json};
use yagura_collect::live::Destination;
use yagura_collect::run::Progress;
use yagura_collect::sources::CollectorConfig;
use yagura_collect::{Opened, Plant, discover, live};
use yagura_event::{AssetTable, Envelope, Kind, clock, codec};
use yagura_log::{Log, embedded::Options, memory};

const TOPIC: &str = "events";
const PATIENCE: Duration = Duration::from_secs(20);
/// Servers make keys at their first start.
const START: Duration = Duration::from_secs(60);

/// A server in a process of its own.
struct Peer {
    child: Child,
    input: Option<ChildStdin>,
    output: std::sync::mpsc::Receiver<String>,
}

impl Peer {
    fn asyncua(settings: Value) -> Peer {
        let environment = std::env::var_os("YAGURA_EQUIPMENT")
            .map_or_else(|| yagura_testkit::peers::equipment(&yagura_testkit::build_folder()), PathBuf::from);
        let python = environment.join("bin/python");
        assert!(python.exists(), "{} is absent; `cargo xtask test` installs it", python.display());
        let mut command = Command::new(python);
        command.arg(script("opcua.py")).arg(settings.to_string());
        Peer::start(command)
    }

    fn node(settings: Value) -> Peer {
        let folder = yagura_testkit::peers::opcua_node(&yagura_testkit::build_folder());
        let installed = folder.join("node_modules/node-opcua-server");
        assert!(installed.exists(), "{} is absent; `cargo xtask test` installs it", installed.display());
        let mut command = Command::new("node");
        command.arg(script("opcua.js")).arg(settings.to_string()).current_dir(folder);
        Peer::start(command)
    }

    fn start(mut command: Command) -> Peer {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the server starts");
        let (lines, output) = std::sync::mpsc::sync_channel(1000);
        let stdout = BufReader::new(child.stdout.take().expect("its output"));
        std::thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if lines.send(line).is_err() {
                    break;
                }
            }
        });
        let peer = Peer { input: child.stdin.take(), child, output };
        let started = |line: Result<String, _>| line.expect("the server starts");
        while started(peer.output.recv_timeout(START)) != "ready" {}
        peer
    }

    fn line(&self) -> String {
        self.output.recv_timeout(PATIENCE).expect("the server says something")
    }

    /// Tells it to do something, and answers what it says.
    fn tell(&mut self, command: &str) -> Value {
        writeln!(self.input.as_mut().expect("its input"), "{command}").expect("it listens");
        loop {
            if let Ok(answer) = serde_json::from_str(&self.line()) {
                return answer;
            }
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/peers").join(name)
}

fn free_port() -> u16 {
    yagura_testkit::free_port().expect("a port")
}

/// A certificate as OPC UA wants it, `NAME.pem` and `NAME-key.pem`.
fn certificate(folder: &Path, name: &str, expired: bool, host: &str) {
    let key = rsa(folder, name);
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    params.subject_alt_names = vec![
        SanType::URI(format!("urn:test:{name}").try_into().expect("a URI")),
        match host.parse() {
            Ok(address) => SanType::IpAddress(address),
            Err(_) => SanType::DnsName(host.try_into().expect("a name")),
        },
    ];
    params.key_usages = vec![
        KeyUsagePurpose::DigitalSignature,
        KeyUsagePurpose::ContentCommitment,
        KeyUsagePurpose::KeyEncipherment,
        KeyUsagePurpose::DataEncipherment,
    ];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    params.not_after = rcgen::date_time_ymd(if expired { 2021 } else { 2090 }, 1, 1);
    let own = params.self_signed(&key).expect("a certificate");
    std::fs::write(folder.join(format!("{name}.pem")), own.pem()).expect("a file");
    std::fs::write(folder.join(format!("{name}-key.pem")), key.serialize_pem()).expect("a file");
}

/// The library that makes the certificates makes no such keys; openssl does.
fn rsa(folder: &Path, name: &str) -> KeyPair {
    let file = folder.join(format!("{name}.rsa"));
    let made = Command::new("openssl")
        .args(["genpkey", "-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048", "-out"])
        .arg(&file)
        .stderr(Stdio::null())
        .status();
    assert!(made.is_ok_and(|status| status.success()), "`openssl genpkey` makes the key");
    KeyPair::from_pem(&std::fs::read_to_string(file).expect("a key")).expect("a key")
}

/// A collector at work on a log in memory.
struct Collector {
    log: Arc<dyn Log>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    _runtime: tokio::runtime::Runtime,
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
}

fn plant(runtime: &tokio::runtime::Runtime) -> Plant {
    Plant {
        assets: Arc::default(),
        dissect: Arc::default(),
        names: Arc::default(),
        runtime: runtime.handle().clone(),
        open_log: yagura_collect::source::no_log(),
    }
}

fn config(mut settings: Value) -> CollectorConfig {
    let fields = settings.as_object_mut().expect("settings");
    fields.insert("name".into(), json!("ua"));
    fields.insert("kind".into(), json!("opcua"));
    fields.entry("batch").or_insert(json!("100ms"));
    CollectorConfig::new(settings).expect("a configuration")
}

fn new_log() -> Arc<dyn Log> {
    let log = memory::open(Options::default()).expect("a log");
    log.ensure_topic(TOPIC, 1).expect("a topic");
    Arc::new(log)
}

impl Collector {
    fn start(settings: Value, folder: &Path, log: &Arc<dyn Log>) -> Collector {
        let runtime = runtime();
        let Opened::Live(source) = config(settings).open(folder, &plant(&runtime)).expect("it opens") else {
            panic!("a live source")
        };
        let stop = Arc::new(AtomicBool::new(false));
        let (log, stops, folder) = (Arc::clone(log), Arc::clone(&stop), folder.to_owned());
        let into = Arc::clone(&log);
        let thread = std::thread::spawn(move || {
            let assets = Arc::new(AssetTable::default());
            let to =
                Destination { log: into.as_ref(), topic: TOPIC, assets: &assets, cells: &[], notes: &folder };
            live::collect(source, to, &stops, &Progress::default()).expect("it collects");
        });
        Collector { log, stop, thread: Some(thread), _runtime: runtime }
    }

    fn rows(&self) -> Vec<Row> {
        rows(self.log.as_ref())
    }

    /// Waits until the rows are as they should be.
    fn until<T>(&self, what: &str, look: impl Fn(&[Row]) -> Option<T>) -> T {
        let end = clock::steady() + PATIENCE.as_micros() as i64;
        loop {
            let rows = self.rows();
            if let Some(found) = look(&rows) {
                return found;
            }
            if clock::steady() > end {
                for row in rows.iter().filter(|row| row.kind != Kind::Sample).chain(rows.iter().take(2)) {
                    eprintln!("{:?}", row.columns);
                }
                panic!("{what}: not within {PATIENCE:?}; {} rows", rows.len());
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
    }

    fn stop(mut self) {
        self.stop.store(true, Ordering::Release);
        self.thread.take().expect("a thread").join().expect("it stops in order");
    }
}

#[derive(Debug)]
struct Row {
    kind: Kind,
    columns: Map<String, Value>,
}

impl Row {
    fn text(&self, column: &str) -> &str {
        self.columns.get(column).and_then(Value::as_str).unwrap_or("")
    }

    fn is(&self, event: &str, of: &str) -> bool {
        self.kind == Kind::Coverage && self.text("event") == event && self.text("detail").contains(of)
    }
}

/// The rows in the log's order; samples have the columns of their series.
fn rows(log: &dyn Log) -> Vec<Row> {
    let held = log.held(TOPIC, 0).expect("held");
    let mut reader = log.reader(TOPIC, 0, held.start).expect("a reader");
    let mut series = std::collections::HashMap::new();
    let mut out = Vec::new();
    while reader.position() < held.end {
        for stored in reader.read(1 << 20, PATIENCE).expect("records") {
            let envelope = Envelope::from_header(&stored.record.header).expect("an envelope");
            let decoded = codec::decode(&envelope, &stored.record.value).expect("rows");
            let kind = envelope.kind;
            for mut columns in codec::to_json_rows(&decoded) {
                let number = columns.get("series").and_then(Value::as_u64);
                match (kind, number) {
                    (Kind::Series, Some(number)) => {
                        series.insert(number, columns.clone());
                    }
                    (Kind::Sample, Some(number)) => {
                        columns.extend(series.get(&number).cloned().expect("its series"))
                    }
                    _ => {}
                }
                out.push(Row { kind, columns });
            }
        }
    }
    out
}

fn samples<'a>(rows: &'a [Row], signal: &'a str) -> impl Iterator<Item = &'a Row> {
    rows.iter().filter(move |row| row.kind == Kind::Sample && row.text("signal") == signal)
}

fn values(rows: &[Row], signal: &str) -> Vec<f64> {
    samples(rows, signal).filter_map(|row| row.columns.get("value")?.as_f64()).collect()
}

fn plain(port: u16) -> Value {
    json!({
        "endpoint": format!("opc.tcp://127.0.0.1:{port}/"), "security": "None", "sampling": "10ms",
        "publishing": "100ms", "queue_size": 1000, "browse": {"include": ["Objects/Tool/**"], "rate": 100_000},
    })
}

/// Every number up to the last one, once.
fn assert_whole(counts: &[f64], first: f64) {
    let last = counts.last().copied().expect("counts");
    let wanted: Vec<f64> = (first as i64..=last as i64).map(|count| count as f64).collect();
    assert_eq!(counts, wanted);
}

#[test]
fn values_units_texts_and_what_is_wrong_with_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let mut peer = Peer::asyncua(json!({"port": port, "chambers": 2}));
    let log = new_log();
    let collector = Collector::start(plain(port), folder.path(), &log);
    let pressure = "Objects/Tool/Chamber2/Pressure";
    collector.until("the first values", |rows| samples(rows, pressure).next().map(|_| ()));
    let rows = collector.rows();
    let sample = samples(&rows, pressure).next().expect("a value");
    assert_eq!((sample.text("unit"), sample.columns["value"].as_f64()), ("Pa", Some(1.5)));
    assert_eq!(values(&rows, "Objects/Tool/Chamber1/Door"), [1.0]);
    let recipe = rows.iter().find(|row| row.kind == Kind::Context).expect("a text");
    assert_eq!((recipe.text("name"), recipe.text("value")), ("Objects/Tool/Chamber1/Recipe", "etch-7"));
    let identity = rows.iter().find(|row| row.kind == Kind::Identity).expect("what it is");
    assert_eq!(
        (identity.text("vendor"), identity.text("model"), identity.text("firmware")),
        ("Maker", "Etcher", "1.2 (34)")
    );
    assert!(rows.iter().any(|row| row.is("unknown", "arrays and structures are not read: Objects/Tool/Chamber1/Profile")));
    assert!(rows.iter().any(|row| row.is("start", "nothing protects")));
    peer.tell("bad Chamber1.Pressure");
    peer.tell("lie Chamber2.Pressure");
    peer.tell("lie Chamber2.Pressure");
    peer.tell("array Chamber2.Door");
    let lied = collector.until("a lie", |rows| {
        values(rows, pressure)
            .contains(&7.0)
            .then(|| rows.iter().filter(|row| row.is("malformed", "Chamber2/Pressure is Int32")).count())
    });
    assert_eq!(lied, 1, "the value is taken, and it is told once");
    collector.until("a bad value", |rows| {
        samples(rows, "Objects/Tool/Chamber1/Pressure").find(|row| row.columns["quality"] == 2).map(|_| ())
    });
    collector.until("an array", |rows| {
        rows.iter().find(|row| row.is("malformed", "Chamber2/Door is an array")).map(|_| ())
    });
    peer.tell("burst 500");
    collector
        .until("a burst", |rows| (values(rows, "Objects/Tool/Count").last() == Some(&500.0)).then_some(()));
    assert_whole(&values(&collector.rows(), "Objects/Tool/Count"), 0.0);
    let services = peer.tell("services")["services"].to_string();
    for never in ["Write", "Call", "HistoryUpdate", "AddNodes", "DeleteNodes"] {
        assert!(!services.contains(never), "{services}");
    }
    assert!(services.contains("Publish"), "{services}");
    collector.stop();
    let runtime = runtime();
    let found = discover::run(&config(plain(port)), Duration::ZERO, folder.path(), &plant(&runtime))
        .expect("it answers");
    let line = found.lines.iter().find(|line| line.name == pressure).expect("a line");
    assert_eq!(
        (line.tool.as_str(), line.chamber.as_str(), line.signal.as_str()),
        ("Tool", "Chamber2", "Pressure")
    );
    assert_eq!((line.unit.as_str(), line.datatype.as_str()), ("Pa", "Double"));
    assert!(found.notes.iter().any(|note| note.contains("Profile")), "{:?}", found.notes);
    assert!(rows_of(&log).iter().any(|row| row.is("stop", "")));
}

fn rows_of(log: &Arc<dyn Log>) -> Vec<Row> {
    rows(log.as_ref())
}

#[test]
fn policies_certificates_and_users() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    certificate(at, "server", false, "127.0.0.1");
    certificate(at, "old", true, "127.0.0.1");
    certificate(at, "yagura", false, "collector");
    certificate(at, "stranger", false, "collector");
    std::fs::create_dir(at.join("clients")).expect("a folder");
    std::fs::copy(at.join("yagura.pem"), at.join("clients/yagura.pem")).expect("a copy");
    std::fs::write(at.join("password"), "secret\n").expect("a file");
    std::fs::write(at.join("wrong"), "guess\n").expect("a file");
    let file = |name: &str| at.join(name).display().to_string();
    let (port, old_port) = (free_port(), free_port());
    let secured = |port: u16, name: &str| {
        json!({
            "port": port, "tick": 0.05, "policy": "Basic256Sha256_SignAndEncrypt", "clients": file("clients"),
            "users": {"reader": "secret"}, "certificate": file(&format!("{name}.pem")), "key": file(&format!("{name}-key.pem")),
        })
    };
    let _peer = Peer::asyncua(secured(port, "server"));
    let _old = Peer::asyncua(secured(old_port, "old"));
    let good = json!({
        "endpoint": format!("opc.tcp://127.0.0.1:{port}/"), "security": "Basic256Sha256", "certificate": "yagura.pem",
        "key": "yagura-key.pem", "trusted": ["server.pem"], "user": "reader", "password_file": "password",
        "browse": {"include": ["Objects/Tool/**"], "rate": 100_000}, "publishing": "100ms", "sampling": "10ms",
    });
    let with = |changes: Value| {
        let mut settings = good.clone();
        settings.as_object_mut().expect("an object").extend(changes.as_object().expect("changes").clone());
        settings
    };
    let runtime = runtime();
    let probe = |settings: Value| config(settings).probe(at, &plant(&runtime)).map_err(|e| e.to_string());
    let found = probe(good.clone()).expect("it is as it should be");
    assert!(found.contains("5 variables; Basic256Sha256"), "{found}");
    let refused = |changes: Value, words: &[&str]| {
        let error = probe(with(changes)).expect_err("it must not connect");
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
        assert!(!error.contains("secret") && !error.contains("guess"), "{error}");
    };
    refused(json!({"password_file": "wrong"}), &["refuses the user", "password_file"]);
    refused(json!({"trusted": ["yagura.pem"]}), &["not trusted", "SHA-256", "`trusted`"]);
    refused(json!({"security": "Aes256_Sha256_RsaPss"}), &["does not offer", "it offers: Basic256Sha256"]);
    refused(json!({"mode": "sign"}), &["does not offer", "SignAndEncrypt"]);
    refused(json!({"certificate": "stranger.pem", "key": "stranger-key.pem"}), &["certificate", "trust"]);
    refused(json!({"server_name": "etch-01"}), &["not that of etch-01, but of 127.0.0.1", "server_name"]);
    refused(
        json!({"certificate": "old.pem", "key": "old-key.pem"}),
        &["own certificate has expired on 2021"],
    );
    refused(json!({"browse": null, "nodes": ["ns=2;s=Nowhere"]}), &["no node ns=2;s=Nowhere"]);
    let expired = json!({"endpoint": format!("opc.tcp://127.0.0.1:{old_port}/"), "trusted": ["old.pem"]});
    refused(expired.clone(), &["the server's certificate has expired on 2021", "renewed"]);
    refused(
        json!({"endpoint": format!("opc.tcp://127.0.0.1:{}/", free_port())}),
        &["cannot be connected to", "firewall"],
    );
    let unknown =
        probe(with(json!({"trusted": ["yagura.pem"], "trust_unknown": true}))).expect("it is let pass");
    assert!(unknown.contains("nobody vouches"), "{unknown}");

    // One bad server does not hold the good one up.
    let log = new_log();
    let mut both = good.clone();
    let fields = both.as_object_mut().expect("an object");
    fields.remove("endpoint");
    fields.insert(
        "servers".into(),
        json!([
            {"name": "OLD", "endpoint": expired["endpoint"], "trusted": ["old.pem"]},
            {"name": "ETCH", "endpoint": good["endpoint"]},
        ]),
    );
    let collector = Collector::start(both, at, &log);
    collector.until("values of one and the complaint about the other", |rows| {
        let values = values(rows, "ETCH/Objects/Tool/Count").len() >= 20;
        let told = rows
            .iter()
            .any(|row| row.is("down", "expired") && row.text("subject").contains(&old_port.to_string()));
        (values && told).then_some(())
    });
    assert!(samples(&collector.rows(), "ETCH/Objects/Tool/Count").all(|row| row.text("tool") == "ETCH"));
    collector.stop();
}

#[test]
fn servers_and_collectors_come_and_go() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let settings = json!({"port": port, "tick": 0.005});
    let peer = Peer::asyncua(settings.clone());
    let log = new_log();
    let collector = Collector::start(plain(port), folder.path(), &log);
    let count = "Objects/Tool/Count";
    collector.until("values", |rows| (values(rows, count).len() > 100).then_some(()));
    drop(peer);
    collector.until("it is down", |rows| rows.iter().find(|row| row.is("down", "")).map(|_| ()));
    let before = values(&collector.rows(), count).len();
    let _peer = Peer::asyncua(settings);
    collector.until("it is back, and the time between is a gap", |rows| {
        let back = values(rows, count).len() > before + 100;
        (back && rows.iter().any(|row| row.is("gap", "variables"))).then_some(())
    });
    let first = values(&collector.rows(), count);
    let (old, new) = first.split_at(before);
    // What the first server still sent came whole; so does what the second one sends.
    assert_whole(old, old[0]);
    assert_whole(new, new[0]);
    collector.stop();
    let stopped = rows_of(&log).len();
    let again = Collector::start(plain(port), folder.path(), &log);
    again.until("values again", |rows| (values(&rows[stopped..], count).len() > 100).then_some(()));
    assert_whole(&values(&again.rows()[stopped..], count), values(&again.rows()[stopped..], count)[0]);
    again.stop();
}

/// Passes bytes on until it is cut.
struct Proxy {
    port: u16,
    cut: Arc<AtomicBool>,
}

impl Proxy {
    fn new(to: u16) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let cut = Arc::new(AtomicBool::new(false));
        let cuts = Arc::clone(&cut);
        std::thread::spawn(move || {
            let mut open: Vec<std::net::TcpStream> = Vec::new();
            for client in listener.incoming().map_while(Result::ok) {
                if cuts.swap(false, Ordering::AcqRel) {
                    for stream in open.drain(..) {
                        let _ = stream.shutdown(std::net::Shutdown::Both);
                    }
                    continue;
                }
                let Ok(server) = std::net::TcpStream::connect(("127.0.0.1", to)) else { continue };
                for (mut from, mut into) in [
                    (client.try_clone().expect("a handle"), server.try_clone().expect("a handle")),
                    (server.try_clone().expect("a handle"), client.try_clone().expect("a handle")),
                ] {
                    std::thread::spawn(move || {
                        let _ = std::io::copy(&mut from, &mut into);
                        let _ = into.shutdown(std::net::Shutdown::Both);
                    });
                }
                open.extend([client, server]);
            }
        });
        Proxy { port, cut }
    }

    /// Cuts every connection that is open.
    fn cut(&self) {
        self.cut.store(true, Ordering::Release);
        drop(std::net::TcpStream::connect(("127.0.0.1", self.port)));
    }
}

#[test]
fn a_broken_connection_loses_nothing_where_the_server_keeps_the_subscription() {
    let folder = tempfile::tempdir().expect("a folder");
    let port = free_port();
    let settings = json!({"port": port, "tick": 120, "variables": 50, "folder": folder.path().join("node"), "limits": {"maxNodesPerRead": 60, "maxNodesPerBrowse": 20}});
    let _peer = Peer::node(settings);
    let proxy = Proxy::new(port);
    let log = new_log();
    let mut settings = plain(proxy.port);
    settings["browse"] = json!({"include": ["Objects/Coater/V*"], "rate": 100_000});
    // This server samples every 50 ms, whatever is asked for.
    settings["sampling"] = json!("0s");
    let collector = Collector::start(settings, folder.path(), &log);
    let signal = "Objects/Coater/V49";
    let counts = |rows: &[Row]| values(rows, signal);
    collector.until("values", |rows| (counts(rows).len() > 20).then_some(()));
    for cuts in 1..=2 {
        let before = counts(&collector.rows()).len();
        proxy.cut();
        collector.until("it goes on", |rows| {
            let continued = rows.iter().filter(|row| row.is("start", "went on meanwhile")).count() >= cuts;
            (continued && counts(rows).len() > before + 20).then_some(())
        });
    }
    let rows = collector.rows();
    let mut seen = counts(&rows);
    // This server says the last values again when a session comes back.
    seen.dedup();
    assert_whole(&seen, seen[0]);
    assert!(!rows.iter().any(|row| row.is("gap", "")), "nothing is missing, and no gap is told");
    let identity = rows.iter().find(|row| row.kind == Kind::Identity).expect("what it is");
    assert_eq!((identity.text("vendor"), identity.text("model")), ("Node maker", "Coater"));
    collector.stop();
}

#[test]
fn a_second_implementation_under_its_own_policies() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = folder.path();
    certificate(at, "yagura", false, "collector");
    let port = free_port();
    let _peer = Peer::node(json!({"port": port, "tick": 50, "variables": 5, "folder": at.join("node")}));
    for (policy, mode) in [("Aes256_Sha256_RsaPss", "sign_and_encrypt"), ("Aes128_Sha256_RsaOaep", "sign")] {
        let log = new_log();
        let settings = json!({
            "endpoint": format!("opc.tcp://127.0.0.1:{port}/"), "security": policy, "mode": mode,
            "certificate": "yagura.pem", "key": "yagura-key.pem", "trusted": ["node/own/certs"], "trust_unknown": true,
            "server_name": hostname(), "sampling": "0s", "publishing": "100ms",
            "browse": {"include": ["**/V*"], "rate": 100_000},
        });
        let collector = Collector::start(settings, at, &log);
        collector.until(policy, |rows| (values(rows, "Objects/Coater/V4").len() > 20).then_some(()));
        let counts = values(&collector.rows(), "Objects/Coater/V4");
        assert_whole(&counts, counts[0]);
        collector.stop();
    }
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name").trim().to_string()
}
