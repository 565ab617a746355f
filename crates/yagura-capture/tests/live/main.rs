//! Live capture over veth pairs, each test in a network namespace of its own.
//!
//! A test makes the namespace and runs itself again inside it; it says so and passes where it may
//! not (it takes root and iproute2).
#![allow(clippy::print_stderr, reason = "tests say what they skip")]

#[path = "../common/mod.rs"]
mod common;
mod namespace;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::{captures, options, tcp_frame};
use namespace::{Sender, ip, within};
use yagura_capture::live::{Live, LiveError, LiveOptions, RingAt, Tuning};
use yagura_capture::{Engine, Limits, PacketFile, RingOptions, read_file};
use yagura_event::Kind;
use yagura_event::rows::OwnedRow;

const STEP: Duration = Duration::from_millis(20);

fn engine() -> Engine {
    Engine::new(options(Limits::default()))
}

fn live(interfaces: &[&str], tuning: Tuning, ring: Option<&Path>) -> Live {
    let live = Live::open(LiveOptions {
        interfaces: interfaces.iter().map(|name| name.to_string()).collect(),
        tuning,
        ring: ring.map(|folder| RingAt { folder: folder.to_path_buf(), options: RingOptions::default() }),
        ..LiveOptions::default()
    });
    live.unwrap_or_else(|error| panic!("{error}"))
}

/// Small buffers, so that little is needed to fill them.
fn small() -> Tuning {
    Tuning { kernel_bytes: 1 << 20, queue_bytes: 1 << 20, ..Tuning::default() }
}

/// A frame of `length` bytes that no dissector takes long for.
fn frame(number: u32, length: usize) -> Vec<u8> {
    let mut payload = vec![0xee; length - 54];
    payload[..4].copy_from_slice(&number.to_be_bytes());
    tcp_frame(true, 9999, 1, Some(1), "", &payload)
}

/// Reads until `done` says so; panics when nothing of the kind happens within half a minute.
fn read_until(
    what: &str,
    live: &mut Live,
    engine: &mut Engine,
    rows: &mut Vec<OwnedRow>,
    mut done: impl FnMut(&Live, &[OwnedRow]) -> bool,
) {
    for _ in 0..1500 {
        live.read(STEP, engine, rows);
        if done(live, rows) {
            return;
        }
    }
    panic!("{what} did not happen within half a minute; {:?}; {:?}", live.counts(), coverage(rows));
}

/// Event, subject and count of coverage rows.
fn coverage(rows: &[OwnedRow]) -> Vec<(String, String, u64)> {
    let rows = rows.iter().filter(|r| r.kind == Kind::Coverage);
    rows.map(|r| {
        (r.text("event").to_string(), r.text("subject").to_string(), r.columns["count"].as_u64().unwrap_or(0))
    })
    .collect()
}

/// How many packets `drop` rows tell of.
fn dropped(rows: &[OwnedRow]) -> u64 {
    coverage(rows).iter().filter(|(event, ..)| event == "drop").map(|(.., count)| count).sum()
}

/// Rows of protocols without the columns that depend on when they were read.
fn facts(rows: &[OwnedRow], without: &[&str]) -> Vec<(Kind, BTreeMap<String, String>)> {
    rows.iter()
        .filter(|row| row.kind != Kind::Coverage)
        .map(|row| {
            let kept = row.columns.iter().filter(|(name, _)| !without.contains(&name.as_str()));
            (row.kind, kept.map(|(name, value)| (name.clone(), value.to_string())).collect())
        })
        .collect()
}

/// What differs between two readings of the same packets at different times.
const OF_THE_READING: &[&str] = &["time", "until", "observed", "latency", "latency_us", "flow"];

fn assert_same(ours: &[(Kind, BTreeMap<String, String>)], theirs: &[(Kind, BTreeMap<String, String>)]) {
    for (number, (a, b)) in ours.iter().zip(theirs).enumerate() {
        assert_eq!(a, b, "row {number}");
    }
    assert_eq!(ours.len(), theirs.len());
}

/// Packets of captures of connections on Ethernet, most of all what a plant speaks.
fn frames(folders: &[&str], most: usize) -> Option<(Vec<PathBuf>, Vec<Vec<u8>>)> {
    let captures = captures()?;
    let (mut used, mut frames) = (Vec::new(), Vec::new());
    for folder in folders {
        let files = std::fs::read_dir(captures.join(folder)).unwrap_or_else(|e| panic!("{folder}: {e}"));
        let mut files: Vec<PathBuf> = files.filter_map(|f| Some(f.ok()?.path())).collect();
        files.sort();
        for path in files {
            let Ok(mut file) = PacketFile::open(&path) else { continue };
            let mut found = Vec::new();
            let mut fits = true;
            while let Ok(Some(packet)) = file.next_packet() {
                let whole = packet.data.len() == packet.original as usize;
                fits &= packet.link == 1 && whole && (60..9000).contains(&packet.data.len());
                found.push(packet.data.to_vec());
            }
            if fits && frames.len() + found.len() <= most {
                frames.extend(found);
                used.push(path);
            }
        }
    }
    assert!(frames.len() > 100, "only {} packets in {folders:?}", frames.len());
    Some((used, frames))
}

#[test]
fn rows_are_those_of_the_file_and_the_ring_holds_what_was_sent() {
    within("rows_are_those_of_the_file_and_the_ring_holds_what_was_sent", &["a"], || {
        let Some((files, frames)) = frames(&["modbus", "s7comm", "iec104"], 20_000) else { return };
        let folder = namespace::Folder::new("ring");
        let tuning = Tuning { nanoseconds: true, ..Tuning::default() };
        let mut live = live(&["a1"], tuning, Some(folder.path()));
        let (mut engine, mut rows) = (engine(), Vec::new());
        let mut sender = Sender::open("a0");
        for chunk in frames.chunks(1000) {
            let sent = live.counts().read + chunk.len() as u64;
            chunk.iter().for_each(|frame| sender.send(frame));
            read_until("reading", &mut live, &mut engine, &mut rows, |live, _| live.counts().read >= sent);
        }
        live.finish(&mut engine, &mut rows);
        let counts = live.counts();
        assert_eq!((counts.read, counts.kernel, counts.queue, counts.ring), (frames.len() as u64, 0, 0, 0));
        drop(live);

        let mut kept = Vec::new();
        let mut again = (common::Bench::new(Limits::default()), self::engine());
        for path in folder.files() {
            let mut file = PacketFile::open(&path).unwrap_or_else(|e| panic!("{e}"));
            while let Some(packet) = file.next_packet().unwrap_or_else(|e| panic!("{e}")) {
                kept.push(packet.data.to_vec());
            }
            let summary = read_file(&path, &mut again.1, &mut again.0.rows, |_, _| {});
            assert!(summary.error.is_none());
        }
        again.1.finish(&mut again.0.rows);
        assert!(kept == frames, "the ring holds {} packets, {} were sent", kept.len(), frames.len());
        assert_same(&facts(&rows, &["observed"]), &facts(&again.0.rows, &["observed"]));

        let (mut engine, mut expected) = (self::engine(), Vec::new());
        for path in &files {
            read_file(path, &mut engine, &mut expected, |_, _| {});
        }
        engine.finish(&mut expected);
        let messages = |rows: &[OwnedRow]| {
            let rows: Vec<OwnedRow> = rows.iter().filter(|r| r.kind == Kind::Message).cloned().collect();
            facts(&rows, OF_THE_READING)
        };
        let (ours, theirs) = (messages(&rows), messages(&expected));
        assert!(ours.len() > 1000, "{} messages", ours.len());
        let known: BTreeSet<_> = theirs.iter().collect();
        let same = ours.iter().filter(|row| known.contains(row)).count();
        // A few wait for an answer that another file's time would have ended.
        assert!(same * 1000 >= ours.len() * 995, "{same} of {} messages, {}", ours.len(), theirs.len());
        assert!(ours.len() * 1000 >= theirs.len() * 995, "{} of {} messages", ours.len(), theirs.len());
        eprintln!("{} packets, {} messages, {same} as in the files", frames.len(), ours.len());
    });
}

#[test]
fn two_directions_on_two_interfaces_are_one_conversation() {
    within("two_directions_on_two_interfaces_are_one_conversation", &["a", "b"], || {
        let mut live = live(&["a1", "b1"], Tuning::default(), None);
        let (mut engine, mut rows) = (engine(), Vec::new());
        let mut senders = [Sender::open("a0"), Sender::open("b0")];
        let mut seq = [1_u32, 1];
        const EXCHANGES: u16 = 300;
        for number in 0..EXCHANGES {
            let [high, low] = number.to_be_bytes();
            // Modbus: read holding register `number`; its value is `number`.
            let request = [high, low, 0, 0, 0, 6, 1, 3, high, low, 0, 1];
            let response = [high, low, 0, 0, 0, 5, 1, 3, 2, high, low];
            senders[0].send(&tcp_frame(true, 502, seq[0], Some(seq[1]), "", &request));
            seq[0] += request.len() as u32;
            senders[1].send(&tcp_frame(false, 502, seq[1], Some(seq[0]), "", &response));
            seq[1] += response.len() as u32;
        }
        let all = 2 * u64::from(EXCHANGES);
        read_until("reading", &mut live, &mut engine, &mut rows, |live, _| live.counts().read >= all);
        live.finish(&mut engine, &mut rows);
        let messages: Vec<&OwnedRow> = rows.iter().filter(|r| r.kind == Kind::Message).collect();
        assert_eq!(messages.len(), usize::from(EXCHANGES));
        for (number, message) in messages.iter().enumerate() {
            assert_eq!((message.text("protocol"), message.text("status")), ("modbus", "ok"), "{message:?}");
            assert!(message.text("values").contains(&number.to_string()), "{message:?}");
        }
    });
}

#[test]
fn what_nobody_reads_is_dropped_oldest_first_and_counted() {
    within("what_nobody_reads_is_dropped_oldest_first_and_counted", &["a"], || {
        const SENT: u32 = 60_000;
        let mut live = live(&["a1"], small(), None);
        let (mut engine, mut rows) = (engine(), Vec::new());
        live.read(STEP, &mut engine, &mut rows);
        let mut sender = Sender::open("a0");
        for number in 0..SENT {
            sender.send(&frame(number, 200));
        }
        live.finish(&mut engine, &mut rows);
        let counts = live.counts();
        assert!(counts.queue > 0 && counts.read > 0, "{counts:?}");
        assert_eq!(counts.read + counts.queue + counts.kernel, u64::from(SENT), "{counts:?}");
        assert_eq!(counts.captured, counts.read + counts.queue, "{counts:?}");
        assert_eq!(dropped(&rows), counts.queue + counts.kernel, "{:?}", coverage(&rows));
        assert_eq!(engine.stats().packets, counts.read);
        let stop = ("stop".to_string(), "a1".to_string(), counts.read);
        assert!(coverage(&rows).contains(&stop), "{:?}", coverage(&rows));
    });
}

#[test]
fn what_the_kernel_drops_is_counted() {
    within("what_the_kernel_drops_is_counted", &["a"], || {
        const SENT: u32 = 30_000;
        let mut live = live(&["a1"], small(), None);
        // Open, and nobody empties the kernel's buffer yet.
        let mut sender = Sender::open("a0");
        for number in 0..SENT {
            sender.send(&frame(number, 200));
        }
        let (mut engine, mut rows) = (engine(), Vec::new());
        live.finish(&mut engine, &mut rows);
        let counts = live.counts();
        assert!(counts.kernel > 0 && counts.read > 0, "{counts:?}");
        assert_eq!(counts.read + counts.queue + counts.kernel, u64::from(SENT), "{counts:?}");
        assert_eq!(dropped(&rows), counts.queue + counts.kernel, "{:?}", coverage(&rows));
    });
}

#[test]
fn an_interface_that_goes_away_is_said_and_comes_back() {
    within("an_interface_that_goes_away_is_said_and_comes_back", &["a"], || {
        let mut live = live(&["a1"], Tuning::default(), None);
        let (mut engine, mut rows) = (engine(), Vec::new());
        let mut sent = 0;
        let mut exchange = |live: &mut Live, engine: &mut Engine, rows: &mut Vec<OwnedRow>| {
            let mut sender = Sender::open("a0");
            (0..10).for_each(|number| sender.send(&frame(number, 100)));
            sent += 10;
            read_until("reading", live, engine, rows, |live, _| live.counts().read >= sent);
        };
        let count = |rows: &[OwnedRow], wanted: &str| {
            coverage(rows).iter().filter(|(event, ..)| event == wanted).count()
        };
        exchange(&mut live, &mut engine, &mut rows);
        for (round, (away, back)) in [
            (&["link set a1 down"][..], &["link set a1 up"][..]),
            (&["link set a0 down"], &["link set a0 up"]),
            (&["link del a0"], &["link add a0 type veth peer name a1", "link set a0 up", "link set a1 up"]),
        ]
        .into_iter()
        .enumerate()
        {
            away.iter().for_each(|command| ip(command));
            read_until("down", &mut live, &mut engine, &mut rows, |_, rows| count(rows, "down") > round);
            back.iter().for_each(|command| ip(command));
            read_until("back", &mut live, &mut engine, &mut rows, |_, rows| count(rows, "gap") > round);
            exchange(&mut live, &mut engine, &mut rows);
        }
        live.finish(&mut engine, &mut rows);
        assert_eq!((count(&rows, "down"), count(&rows, "gap")), (3, 3), "{:?}", coverage(&rows));
        assert_eq!(count(&rows, "start"), 2, "{:?}", coverage(&rows));
        for gap in rows.iter().filter(|r| r.kind == Kind::Coverage && r.text("event") == "gap") {
            assert!(gap.columns["time"].as_i64() < gap.columns["until"].as_i64(), "{gap:?}");
        }
    });
}

#[test]
fn an_interface_that_is_down_at_the_start_is_waited_for() {
    within("an_interface_that_is_down_at_the_start_is_waited_for", &["a"], || {
        ip("link set a1 down");
        let mut live = live(&["a1"], Tuning::default(), None);
        let (mut engine, mut rows) = (engine(), Vec::new());
        let events = |rows: &[OwnedRow]| {
            coverage(rows).into_iter().map(|(event, ..)| event).collect::<Vec<_>>().join(" ")
        };
        read_until("down", &mut live, &mut engine, &mut rows, |_, rows| events(rows) == "down");
        ip("link set a1 up");
        read_until("up", &mut live, &mut engine, &mut rows, |_, rows| events(rows) == "down gap start");
        let mut sender = Sender::open("a0");
        (0..10).for_each(|number| sender.send(&frame(number, 100)));
        read_until("reading", &mut live, &mut engine, &mut rows, |live, _| live.counts().read == 10);
    });
}

#[test]
fn a_filter_limits_what_is_seen_and_mistakes_say_what_to_do() {
    within("a_filter_limits_what_is_seen_and_mistakes_say_what_to_do", &["a"], || {
        let open = |names: &[&str], filter: &str| {
            Live::open(LiveOptions {
                interfaces: names.iter().map(|n| n.to_string()).collect(),
                filter: filter.into(),
                ..LiveOptions::default()
            })
        };
        let mut live = open(&["a1"], "tcp port 502").unwrap_or_else(|e| panic!("{e}"));
        let (mut engine, mut rows) = (engine(), Vec::new());
        let mut sender = Sender::open("a0");
        for number in 0..20 {
            let port = if number % 2 == 0 { 502 } else { 22 };
            sender.send(&tcp_frame(true, port, number, Some(1), "", b"x"));
        }
        live.finish(&mut engine, &mut rows);
        assert_eq!(live.counts().read, 10, "{:?}", live.counts());
        for (names, filter, parts) in [
            (&["a1", "eth9"][..], "", &["no interface eth9", "a0, a1, lo"][..]),
            (&["a1"], "prot 22", &["prot 22", "pcap-filter(7)"]),
        ] {
            let Err(error) = open(names, filter) else { panic!("{names:?} {filter} is opened") };
            let error = error.to_string();
            assert!(parts.iter().all(|part| error.contains(part)), "{error}");
        }
    });
}

/// The part of the next test that runs as another user.
#[test]
#[ignore = "run by `a_user_with_the_capability_captures_and_one_without_is_told_how`"]
fn as_another_user() {
    let Some(expected) = std::env::var_os("YAGURA_TEST_MAY_CAPTURE") else { return };
    let opened = Live::open(LiveOptions { interfaces: vec!["a1".into()], ..LiveOptions::default() });
    match (expected == "yes", opened) {
        (true, Ok(mut live)) => {
            let (mut engine, mut rows) = (engine(), Vec::new());
            let mut sender = Sender::open("a0");
            (0..10).for_each(|number| sender.send(&frame(number, 100)));
            read_until("reading", &mut live, &mut engine, &mut rows, |live, _| live.counts().read >= 10);
        }
        (false, Err(error @ LiveError::NotPermitted { .. })) => {
            let error = error.to_string();
            assert!(error.contains("setcap cap_net_raw=ep /"), "{error}");
        }
        (_, Ok(_)) => panic!("may capture"),
        (_, Err(error)) => panic!("{error}"),
    }
}

#[test]
fn a_user_with_the_capability_captures_and_one_without_is_told_how() {
    within("a_user_with_the_capability_captures_and_one_without_is_told_how", &["a"], || {
        // Where another user can execute it.
        let folder = namespace::Folder::new("binary");
        let program = folder.path().join("live");
        let own = std::env::current_exe().unwrap_or_else(|e| panic!("{e}"));
        std::fs::copy(own, &program).unwrap_or_else(|e| panic!("{e}"));
        for (may, capabilities) in [("no", "-all"), ("yes", "-all,+net_raw")] {
            let mut command = Command::new("setpriv");
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
            command.args([format!("--inh-caps={capabilities}"), format!("--ambient-caps={capabilities}")]);
            command.arg(&program).args(["--exact", "as_another_user", "--ignored", "--nocapture"]);
            match command.env("YAGURA_TEST_MAY_CAPTURE", may).output() {
                Ok(output) => {
                    let said =
                        String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
                    assert!(output.status.success() && said.contains("1 passed"), "{capabilities}: {said}");
                }
                Err(error) => return eprintln!("SKIPPED: setpriv cannot be started: {error}"),
            }
        }
    });
}
