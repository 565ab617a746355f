//! SECS/GEM with real peers: secsgem as equipment, passive and active, and equipment that misbehaves.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};
use yagura_collect::discover;
use yagura_event::{Kind, clock};

use crate::peers::{Peer, lock, python};
use crate::rig::{Apart, Rig, Rows, free_port, wait};

/// An equipment of secsgem, which may write a log of its messages.
fn equipment(mode: &str, port: u16, first: u64, log: Option<&Path>) -> Peer {
    let arguments = [mode, &port.to_string(), &first.to_string(), "5.0"];
    let mut peer = Peer::start(python("secs.py").args(arguments).args(log));
    peer.wait_for("enabled");
    peer
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
        (equipment("passive", port, 0, None), format!("127.0.0.1:{port}"))
    };
    let fab = Rig::new();
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
        fab.config(&all)
    };
    let ask = |exclusive| discover::run(&spare(exclusive), Duration::ZERO, fab.folder.path(), &fab.plant);
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
    let collecting = fab.collect(&given);
    for (command, answer) in
        [("alarm 7", "alarm True"), ("trace 5", "trace True"), ("recipe", "recipe False")]
    {
        equipment.tell(command);
        equipment.wait_for(answer);
    }
    let values = || fab.rows().table(Kind::Sample, &["tool", "signal", "unit", "value"]);
    for expected in [
        "ETCH-07|ChamberPressure|mTorr|11.5",
        "ETCH-07|Temperature|degC|12.5",
        "ETCH-07|Temperature|degC|3.5",
    ] {
        wait(expected, || values().iter().any(|row| row == expected));
    }
    collecting.stop();
    let messages =
        fab.rows().table(Kind::Message, &["function", "operation", "target", "status", "exchange"]);
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
    let all = format!("{:?}", fab.rows());
    assert!(!all.contains("secret"), "a recipe's body is shown");
    let identity = fab.rows().table(Kind::Identity, &["tool", "model", "firmware"]);
    assert!(identity.contains(&"ETCH-07|ETCHER|4.2".to_string()), "{identity:?}");
    let coverage = fab.rows().table(Kind::Coverage, &["event", "subject"]);
    assert_eq!(coverage.first().map(String::as_str), Some("start|ETCH-07"));
    assert_eq!(coverage.last().map(String::as_str), Some("stop|ETCH-07"));
    given["exclusive_session"] = json!(false);
    assert!(fab.probe(&given).is_err_and(|e| e.contains("HSMS-SS admits one host")));
}

#[test]
fn an_active_equipment_connects_and_a_second_one_is_sent_away() {
    let port = free_port();
    let fab = Rig::new();
    let given = settings(json!({
        "name": "CVD-1", "listen": format!("127.0.0.1:{port}"), "device_id": 3, "reports": {"1000": [20, 21]},
    }));
    let collecting = fab.collect(&given);
    let mut equipment = equipment("active", port, 100, None);
    equipment.tell("run");
    equipment.wait_for("acked 105");
    let mut extra = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
    assert_eq!(extra.read(&mut [0; 8]).unwrap_or(0), 0, "it is closed without a word");
    equipment.wait_for("acked 110");
    collecting.stop();
    let values = fab.rows().table(Kind::Sample, &["tool", "signal", "value"]);
    for number in 100..=110 {
        let expected = format!("CVD-1|VID 20|{number}.0");
        assert!(values.contains(&expected), "{expected} in {values:?}");
    }
    let logs = fab.rows().table(Kind::Log, &["event"]);
    assert!(logs.contains(&"second_connection".to_string()), "{logs:?}");
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
    let fab = Rig::new();
    let mut given = settings(json!({"name": "OLD-1", "address": address.to_string(), "device_id": 3}));
    given["timers"] = json!({"t3": "200ms", "linktest": "500ms", "communication_delay": "20s"});
    let collecting = fab.collect(&given);
    for event in ["reply_timeout", "late_reply", "unexpected_reply", "error"] {
        let expected = format!("OLD-1|{event}");
        wait(event, || fab.rows().table(Kind::Log, &["tool", "event"]).contains(&expected));
    }
    collecting.stop();
    let messages = fab.rows().table(Kind::Message, &["function", "status"]);
    assert!(messages.contains(&"S1F13|ok".to_string()), "late, and still an answer: {messages:?}");
    let down = fab.rows().table(Kind::Coverage, &["event"]);
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
    let fab = Rig::new();
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
    let mut equipment = equipment("passive", port, 0, None);
    let fab = Rig::new();
    let given = settings(json!({"name": "ETCH-07", "address": format!("127.0.0.1:{port}"), "device_id": 3}));
    let collecting = fab.collect(&given);
    equipment.tell("run");
    equipment.wait_for("acked 3");
    // This equipment closes its port while it has a host.
    assert!(
        fab.probe(&given)
            .is_err_and(|e| e.contains("the port is closed") && e.contains("while they have a host"))
    );
    collecting.stop();
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
    let given = settings(json!({"name": "WEB", "address": address.to_string()}));
    assert!(fab.probe(&given).is_err_and(|e| e.contains("does not speak HSMS")));
    let collecting = fab.collect(&given);
    wait("what is no HSMS is told", || {
        let told = fab.rows().table(Kind::Coverage, &["event", "subject"]);
        told.contains(&"malformed|WEB".to_string()) && told.contains(&"down|WEB".to_string())
    });
    collecting.stop();
}

#[test]
fn the_log_of_an_equipment_gives_the_rows_of_the_wire() {
    let port = free_port();
    let fab = Rig::new();
    let file = fab.folder.path().join("equipment.log");
    let mut equipment = equipment("passive", port, 7, Some(&file));
    let given = settings(json!({
        "name": "ETCH-07", "address": format!("127.0.0.1:{port}"), "device_id": 3,
        "status": {"ids": [11, 12], "every": "200ms"},
    }));
    let collecting = fab.collect(&given);
    for (command, answer) in [("alarm 7", "alarm True"), ("trace 5", "trace True"), ("run", "acked 30")] {
        equipment.tell(command);
        equipment.wait_for(answer);
    }
    collecting.stop();
    drop(equipment);
    let read = Rig::new();
    let given = json!({
        "name": "etch-07-log", "kind": "secslog", "path": file, "preset": "secsgem", "tool": "ETCH-07",
        "written_by": "equipment", "batch": "50ms",
    });
    assert!(
        read.probe(&given).is_ok_and(|said| said.contains("0 could not be read")),
        "{:?}",
        read.probe(&given)
    );
    let collecting = read.collect(&given);
    let messages = |rows: &Rows| {
        let columns = ["tool", "function", "operation", "target", "values", "status", "initiator", "session"];
        let mut all = rows.table(Kind::Message, &columns);
        // Control messages are not in the log.
        all.retain(|row| row.contains("|S") && !row.contains("Se") && row.contains("|ok|"));
        all
    };
    let values = |rows: &Rows| {
        let mut all = rows.table(Kind::Sample, &["tool", "signal", "unit", "value"]);
        all.truncate(40);
        all
    };
    // At the end one side may have seen one of each function more.
    wait("the log is read", || messages(&read.rows()).len() + 5 >= messages(&fab.rows()).len());
    collecting.stop();
    let (wire, text) = (messages(&fab.rows()), messages(&read.rows()));
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
    let (wire, text) = (values(&fab.rows()), values(&read.rows()));
    for expected in ["ETCH-07|ChamberPressure|mTorr|11.5", "ETCH-07|TRID 5/1||2.5"] {
        assert!(
            wire.iter().any(|row| row == expected) && text.iter().any(|row| row == expected),
            "{wire:#?} {text:#?}"
        );
    }
}

#[test]
fn a_log_is_read_on_exactly_after_its_collector_was_killed() {
    let fab = Rig::new();
    let given = json!({
        "name": "eap", "kind": "secslog", "path": "eap.log", "head": "{time} {tool} {direction}", "batch": "20ms",
    });
    let mut file = std::fs::File::create(fab.folder.path().join("eap.log")).expect("a file");
    let mut write = |text: String| file.write_all(text.as_bytes()).expect("written");
    write(
        "2026-11-26T10:00:00Z ETCH-01 send\nS2F33 W <L <U4 0> <L <L <U4 9> <L <U4 20>>>>> .\n\
         2026-11-26T10:00:00Z ETCH-01 recv\nS2F34 <B 0x0> .\n"
            .into(),
    );
    let mut number = 0;
    let mut process = Apart::start(fab.folder.path(), &given);
    for _ in 0..4 {
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
        process.kill();
    }
    let values = || process.rows().values("VID 20").iter().map(|value| *value as u64).collect::<Vec<_>>();
    wait("the rest is read", || values().last() == Some(&number));
    process.stop();
    let values = process.rows().values("VID 20").iter().map(|value| *value as u64).collect::<Vec<_>>();
    assert_eq!(values, (1..=number).collect::<Vec<_>>());
    let messages = process.rows().table(Kind::Message, &["function", "status"]);
    let answered = messages.iter().filter(|row| *row == "S6F11|ok").count() as u64;
    assert_eq!((answered, messages.len() as u64), (number - 1, number), "each exchange once");
}

#[test]
fn nothing_is_acknowledged_while_the_log_takes_nothing() {
    let acked = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&acked);
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
    let fab = Rig::new();
    fab.mood.refuse(true);
    let mut given = settings(json!({"name": "ETCH-07", "address": address.to_string(), "device_id": 3}));
    given["timers"] = json!({"linktest": "300ms"});
    let collecting = fab.collect(&given);
    // The session lives on meanwhile.
    wait("the link is tested", || tested.swap(false, Ordering::AcqRel));
    wait("the link is tested again", || tested.load(Ordering::Acquire));
    assert!(!acked.load(Ordering::Acquire), "acknowledged before it was durable");
    fab.mood.refuse(false);
    wait("it is acknowledged", || acked.load(Ordering::Acquire));
    collecting.stop();
    assert!(fab.rows().table(Kind::Message, &["function", "status"]).contains(&"S6F11|ok".to_string()));
}
