//! From a network interface to the log: a Modbus conversation over the loopback interface.
#![allow(clippy::print_stderr, reason = "tests say what they skip")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use yagura_capture::live::{LiveError, LiveOptions};
use yagura_capture::{EngineOptions, Limits};
use yagura_collect::sources::interface;
use yagura_collect::{LiveSource, SourceError};
use yagura_dissect::Settings;
use yagura_event::{AssetTable, Kind};
use yagura_log::Log;

use crate::rig::{Collector, Rig, Rows};

const EXCHANGES: u16 = 20;

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

#[test]
fn a_conversation_is_in_the_log_while_it_goes_on_and_after_a_restart() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let rig = Rig::new();
    for _ in 0..2 {
        let Some(source) = open(port) else { return };
        let begun = rig.rows().0.len();
        let collector =
            Collector::of(source, Arc::clone(&rig.log) as Arc<dyn Log>, &rig.plant, rig.folder.path());
        talk(&listener);
        let rows = || Rows(rig.rows().0.split_off(begun));
        let messages = || rows().kind(Kind::Message).filter(|row| row.text("protocol") == "modbus").count();
        rig.until("all exchanges while it runs", || messages() == usize::from(EXCHANGES));
        collector.stop();
        let rows = rows();
        let mut numbers: Vec<u64> = rows.0.iter().map(|row| row.id.1).collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..rows.0.len() as u64), "numbers have holes");
        let coverage = rows.table(Kind::Coverage, &["event"]);
        assert_eq!(coverage.first().map(String::as_str), Some("start"), "{coverage:?}");
        assert_eq!(coverage.last().map(String::as_str), Some("stop"), "{coverage:?}");
        assert!(!coverage.contains(&"drop".to_string()), "{coverage:?}");
    }
}
