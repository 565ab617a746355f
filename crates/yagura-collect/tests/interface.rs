//! From a network interface to the log: a Modbus conversation over the loopback interface.
#![allow(clippy::print_stderr, reason = "tests say what they skip")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use serde_json::{Map, Value};
use yagura_capture::live::{LiveError, LiveOptions};
use yagura_capture::{EngineOptions, Limits};
use yagura_collect::live::Destination;
use yagura_collect::run::Progress;
use yagura_collect::sources::interface;
use yagura_collect::{LiveSource, SourceError, live};
use yagura_dissect::Settings;
use yagura_event::{AssetTable, Envelope, Kind, codec};
use yagura_log::embedded::Options;
use yagura_log::{Log, memory};

const TOPIC: &str = "events";
const EXCHANGES: u16 = 20;

/// A row: its number, its kind, its columns.
type Numbered = (u64, Kind, Map<String, Value>);

/// Captures the loopback interface; `None`, said plainly, where that is not permitted.
fn open(port: u16) -> Option<Box<dyn LiveSource>> {
    let options = LiveOptions {
        interfaces: vec!["lo".into()],
        filter: format!("tcp port {port}"),
        ..LiveOptions::default()
    };
    let engine = EngineOptions {
        assets: Arc::new(AssetTable::default()),
        settings: Arc::new(Settings::default()),
        limits: Limits::default(),
    };
    match interface::open("loop", options, engine) {
        Ok(source) => Some(source),
        Err(SourceError::Live(error @ LiveError::NotPermitted { .. })) => {
            eprintln!("SKIPPED: {error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
}

/// Reads holding registers and is answered.
fn talk(listener: &TcpListener) {
    let mut client = TcpStream::connect(listener.local_addr().expect("an address")).expect("a connection");
    let (mut server, _) = listener.accept().expect("a connection");
    for number in 0..EXCHANGES {
        let [high, low] = number.to_be_bytes();
        let request = [high, low, 0, 0, 0, 6, 1, 3, high, low, 0, 1];
        let response = [high, low, 0, 0, 0, 5, 1, 3, 2, high, low];
        client.write_all(&request).expect("a request");
        server.read_exact(&mut [0; 12]).expect("a request");
        server.write_all(&response).expect("a response");
        client.read_exact(&mut [0; 11]).expect("a response");
    }
}

fn rows(log: &dyn Log, begun: u64) -> Vec<Numbered> {
    let held = log.held(TOPIC, 0).expect("held");
    let mut reader = log.reader(TOPIC, 0, begun).expect("a reader");
    let mut out = Vec::new();
    while reader.position() < held.end {
        for stored in reader.read(1 << 20, Duration::from_secs(10)).expect("records") {
            let envelope = Envelope::from_header(&stored.record.header).expect("an envelope");
            let decoded = codec::decode(&envelope, &stored.record.value).expect("rows");
            let numbered = (envelope.first_row..).zip(codec::to_json_rows(&decoded));
            out.extend(numbered.map(|(number, row)| (number, envelope.kind, row)));
        }
    }
    out.sort_by_key(|row| row.0);
    out
}

#[test]
fn a_conversation_is_in_the_log_while_it_goes_on_and_after_a_restart() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let log = Arc::new(memory::open(Options::default()).expect("a log"));
    log.ensure_topic(TOPIC, 1).expect("a topic");
    let assets = Arc::new(AssetTable::new(vec![], "bay"));
    for _ in 0..2 {
        let Some(source) = open(port) else { return };
        let begun = log.held(TOPIC, 0).expect("held").end;
        let (stop, progress) = (Arc::new(AtomicBool::new(false)), Progress::default());
        let collector = {
            let (log, stop, assets) = (Arc::clone(&log), Arc::clone(&stop), Arc::clone(&assets));
            std::thread::spawn(move || {
                let notes = tempfile::tempdir().expect("a folder");
                let to = Destination {
                    log: log.as_ref(),
                    topic: TOPIC,
                    assets: &assets,
                    cells: &[],
                    notes: notes.path(),
                };
                live::collect(source, to, &stop, &progress)
            })
        };
        talk(&listener);
        let messages = || {
            let rows = rows(log.as_ref(), begun);
            rows.iter().filter(|(_, kind, row)| *kind == Kind::Message && row["protocol"] == "modbus").count()
        };
        for _ in 0..3000 {
            if messages() == usize::from(EXCHANGES) {
                break;
            }
            std::thread::park_timeout(Duration::from_millis(10));
        }
        assert_eq!(messages(), usize::from(EXCHANGES), "while it runs");
        stop.store(true, Ordering::Release);
        collector.join().expect("no panic").expect("it ends in order");
        let rows = rows(log.as_ref(), begun);
        assert!(rows.iter().map(|row| row.0).eq(0..rows.len() as u64), "numbers have holes");
        let coverage: Vec<&str> = rows
            .iter()
            .filter(|(_, kind, _)| *kind == Kind::Coverage)
            .filter_map(|(.., row)| row["event"].as_str())
            .collect();
        assert_eq!((coverage.first(), coverage.last()), (Some(&"start"), Some(&"stop")), "{coverage:?}");
        assert!(!coverage.contains(&"drop"), "{coverage:?}");
    }
}
