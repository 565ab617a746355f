//! Modbus devices that are polled: pymodbus, and devices that lie.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use serde_json::{Value, json};
use yagura_event::Kind;

use crate::peers::{Peer, python};
use crate::rig::{Rig, free_port, runtime};

/// pymodbus with its devices; it says what it is asked: function and first address.
fn server(port: u16, slow: &str) -> Peer {
    let mut peer = Peer::start(python("modbus.py").args([&port.to_string(), slow]));
    peer.wait_for("ready");
    peer
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
    let rig = Rig::new();
    rig.write("pump.csv", PUMP);
    let port = free_port();
    let run = rig.collect(&devices(port));
    rig.until("nobody there is told", || rig.told("down", "pump-3", "no connection") == 1);
    let device = server(port, "0");
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
    rig.until("values", || signals.iter().all(|(signal, _)| rig.values(&name(signal)).len() > 5));
    for (signal, value) in signals {
        assert!(
            rig.values(&name(signal)).iter().all(|v| *v == value),
            "{signal}: {:?}",
            rig.values(&name(signal))
        );
    }
    assert_eq!(rig.values("pump-3/missing"), [] as [f64; 0]);
    // What is refused and what fails is told once, by name; its neighbours are read.
    assert_eq!(rig.told("gap", "pump-3", "refused: holding 24 (missing): illegal address"), 1);
    assert_eq!(rig.told("gap", "pump-3", "refused"), 1);
    assert_eq!(rig.told("gap", "pump-3", "input 90: device failure"), 1);
    assert_eq!(rig.told("down", "valve-9", ""), 1, "it is away all the time");
    let rows = rig.rows();
    let find = |kind: Kind| rows.kind(kind).map(|row| &row.columns).collect::<Vec<_>>();
    let identity = find(Kind::Identity);
    assert_eq!(identity.len(), 1 + 1, "of each unit");
    assert_eq!((&identity[0]["vendor"], &identity[0]["model"]), (&json!("Pumpworks"), &json!("PW-3")));
    assert_eq!((&identity[0]["firmware"], &identity[0]["address"]), (&json!("2.11"), &json!("127.0.0.1")));
    let recipe: Vec<_> = find(Kind::Context).iter().map(|row| row["value"].clone()).collect();
    assert_eq!(recipe, [json!("RECIPE-7")], "a text is told when it changes");
    let speed = find(Kind::Sample).into_iter().find(|row| row["signal"] == "pump-3/speed").expect("a value");
    assert_eq!((&speed["tool"], &speed["unit"]), (&json!("TURBO-1"), &json!("rpm")));
    // Nothing was asked but functions 1 to 4 and 43, and in few requests.
    let asked = device.said().split_off(1);
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

    let downs = rig.told("down", "pump-3", "");
    drop(device);
    rig.until("it is down", || rig.told("down", "pump-3", "") == downs + 1);
    let gaps = rig.told("gap", "pump-3", "answers");
    let _server = server(port, "0");
    rig.until("it is back", || rig.told("gap", "pump-3", "answers") == gaps + 1);
    let before = rig.values("pump-3/fast").len();
    rig.until("values again", || rig.values("pump-3/fast").len() > before);
    run.stop();
    assert_eq!(rig.told("stop", "pump-3", ""), 1);
}

#[test]
fn an_answer_that_is_late_is_no_other_ones() {
    let rig = Rig::new();
    let port = free_port();
    let _server = server(port, "1.5");
    let map = json!([
        {"name": "slow", "register": 200, "kind": "holding"}, {"name": "fast", "register": 300, "kind": "holding"},
    ]);
    let run = rig.collect(&json!({
        "name": "plc", "kind": "modbus", "timeout": "300ms", "batch": "100ms", "max_requests_per_second": 100,
        "devices": [{"name": "pump", "address": format!("127.0.0.1:{port}"), "unit_id": 1, "every": "50ms",
                     "base": "zero", "map": map},
                    {"name": "valve", "address": format!("127.0.0.1:{port}"), "unit_id": 2, "every": "50ms",
                     "base": "zero", "map": [{"name": "open", "register": 0, "kind": "coil"}]}],
    }));
    rig.until("the late answer is told", || rig.told("down", "pump", "no answer within 300ms") == 1);
    rig.until("values", || rig.values("pump/slow").len() > 30);
    assert!(rig.values("pump/slow").iter().all(|value| *value == 200.0));
    assert!(rig.values("pump/fast").iter().all(|value| *value == 300.0));
    assert_eq!(rig.told("down", "valve", "the device behind the gateway does not answer"), 1);
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
    let rig = Rig::new();
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
    let run = rig.collect(&json!({
        "name": "plc", "kind": "modbus", "timeout": "500ms", "batch": "100ms", "identify": false, "devices": devices,
    }));
    rig.until("the stale answer is told", || rig.told("down", "stale", "an answer to another request") == 1);
    rig.until("nonsense is told", || rig.told("down", "noise", "holding 0: ") == 1);
    rig.until("a short one is told", || rig.told("down", "short", "holding 0: ") == 1);
    rig.until("a small one is told", || rig.told("down", "few", "of another size") == 1);
    rig.until("values", || rig.values("stale/x").len() > 20);
    assert!(rig.values("stale/x").iter().all(|value| *value == 42.0));
    for name in ["noise/x", "short/x", "few/x"] {
        assert_eq!(rig.values(name), [] as [f64; 0]);
    }
    run.stop();
}

#[test]
fn a_probe_says_what_does_not_fit() {
    let rig = Rig::new();
    let port = free_port();
    let device = |entries: Value| {
        json!({"name": "plc", "kind": "modbus", "devices": [
            {"name": "pump-3", "address": format!("127.0.0.1:{port}"), "unit_id": 1, "base": "zero", "map": entries}]})
    };
    let good = json!([{"name": "a", "register": 20, "kind": "holding"}, {"name": "b", "register": 0, "kind": "input"}]);
    let bad = json!([{"name": "a", "register": 20, "kind": "holding"}, {"name": "b", "register": 24, "kind": "holding"},
                     {"name": "c", "register": 7, "kind": "input"}]);
    let error = rig.probe(&device(good.clone())).expect_err("nobody there");
    assert!(error.contains("pump-3 at 127.0.0.1") && error.contains("no connection"), "{error}");
    let _server = server(port, "0");
    let said = rig.probe(&device(good)).expect("it answers");
    assert!(said.contains("(Pumpworks PW-3) answers all 2 signals"), "{said}");
    let error = rig.probe(&device(bad.clone())).expect_err("it refuses");
    assert!(
        error.contains("refuses holding 24 (b): illegal address") && error.contains("input 7 (c)"),
        "{error}"
    );
    assert!(error.contains("correct `register`"), "{error}");
    // Called from where connections are served, too.
    let config = rig.config(&device(bad));
    let (folder, plant) = (rig.folder.path().to_path_buf(), rig.plant.clone());
    let probed = runtime().block_on(async { config.probe(&folder, &plant).map_err(|e| e.to_string()) });
    assert!(probed.expect_err("it refuses").contains("holding 24"));
    let mut greedy = device(json!([{"name": "a", "register": 20, "kind": "holding"}]));
    greedy["devices"][0]["every"] = json!("10ms");
    greedy["max_requests_per_second"] = json!(50);
    let error = rig.refused(&greedy);
    assert!(error.contains("would get 100.0 requests a second"), "{error}");
}
