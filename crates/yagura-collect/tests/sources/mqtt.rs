//! The MQTT source with mosquitto, pysparkplug and paho.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use yagura_collect::discover;
use yagura_event::Kind;
use yagura_testkit::certificates::Certificates;

use crate::peers::{Mosquitto, Peer, python};
use crate::rig::{Rig, free_port};

fn settings(broker: &Mosquitto, more: Value) -> Value {
    let address = format!("127.0.0.1:{}", broker.port);
    let mut settings =
        json!({"name": "line", "kind": "mqtt", "brokers": [{"address": address}], "batch": "50ms"});
    if let (Value::Object(settings), Value::Object(more)) = (&mut settings, more) {
        settings.extend(more);
    }
    settings
}

/// An edge node of pysparkplug.
fn sparkplug(broker: &Mosquitto) -> Peer {
    Peer::start(python("mqtt.py").args(["sparkplug", &broker.port.to_string()]))
}

fn tell(node: &mut Peer, command: &str) {
    assert_eq!(node.ask(command), "ok");
}

#[test]
fn sparkplug_from_birth_to_death_and_over_a_restart() {
    let fab = Rig::new();
    let broker = Mosquitto::start(fab.folder.path(), "allow_anonymous true");
    let settings = settings(&broker, json!({"format": "sparkplug"}));
    let collector = fab.collect(&settings);
    let subject = format!("mqtt 127.0.0.1:{}", broker.port);
    fab.until("the source is connected", || fab.told("start", &subject, "") == 1);
    let mut node = sparkplug(&broker);
    tell(&mut node, "connect");
    fab.until("the device is born", || fab.told("start", "fab/edge/etcher", "") == 1);
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
    assert_eq!(rows.table(Kind::Identity, &["vendor", "firmware"]), ["Maker|1.2"]);
    assert!(rows.kind(Kind::Context).any(|row| row.text("value") == "R7"));
    tell(&mut node, "load 5");
    tell(&mut node, "double 7");
    fab.until("data comes", || fab.values("fab/edge/etcher/double").contains(&7.0));
    assert_eq!(fab.values("fab/edge/load"), [0.0, 5.0]);

    // The collector starts again: it knows the births, and the broker kept what came.
    collector.stop();
    let collector = fab.collect(&settings);
    fab.until("the source is connected again", || fab.told("start", &subject, "") == 2);
    tell(&mut node, "double 9");
    fab.until("data after the restart", || fab.values("fab/edge/etcher/double").contains(&9.0));
    // Births have QoS 0: one that came meanwhile would have been missed.
    let rows = fab.rows();
    let last = rows.kind(Kind::Sample).next_back().expect("a sample");
    assert_eq!((last.number("value"), last.number("quality")), (Some(9.0), Some(1.0)));
    assert_eq!((fab.told("unknown", "fab/edge/etcher", ""), fab.told("gap", "fab/edge", "")), (0, 0));

    tell(&mut node, "deregister etcher");
    fab.until("the device's death", || fab.told("down", "fab/edge/etcher", "") == 1);
    drop(node);
    fab.until("the node's death", || fab.told("down", "fab/edge", "") == 1);
    let mut node = sparkplug(&broker);
    tell(&mut node, "connect");
    fab.until("the node is there again", || fab.told("gap", "fab/edge", "") == 1);
    tell(&mut node, "load 6");
    fab.until("data after the birth", || fab.values("fab/edge/load").contains(&6.0));
    assert_eq!(fab.told("malformed", "fab/edge", ""), 0);
    collector.stop();
}

#[test]
fn json_and_values_of_mqtt_5() {
    let fab = Rig::new();
    let broker = Mosquitto::start(fab.folder.path(), "allow_anonymous true");
    let port = broker.port.to_string();
    let publish = |topic: &str, payload: &str, retain: &str| {
        Peer::start(python("mqtt.py").args(["publish", &port, "5", topic, payload, retain])).wait_for("ok");
    };
    publish("fab/a/kept", "4.5", "retain");
    let objects = json!({
        "name": "objects", "format": "json", "protocol": "5", "topics": [{"topic": "fab/+/json"}],
        "mapping": {"as": "sample", "columns": {
            "tool": "${topic.1}", "signal": "${name}", "value": "${v}", "time": "${t}"}},
    });
    let objects = fab.collect(&settings(&broker, objects));
    let topics = json!([{"topic": "fab/+/kept", "qos": 0}, {"topic": "fab/+/text"}]);
    let values = settings(&broker, json!({"format": "value", "protocol": "5", "topics": topics}));
    let values = fab.collect(&values);
    fab.until("what was retained", || fab.values("fab/a/kept") == [4.5]);
    let subject = format!("mqtt 127.0.0.1:{}", broker.port);
    fab.until("both are connected", || fab.told("start", &subject, "") == 2);
    publish(
        "fab/a/json",
        r#"[{"name":"flow","v":1.5,"t":"2026-11-02T22:00:01Z"},{"name":"x","t":"?"}, 7]"#,
        "",
    );
    publish("fab/a/text", "lot 7", "");
    fab.until("an object", || fab.values("flow") == [1.5]);
    fab.until("what is no object", || fab.told("malformed", "objects", "") == 2);
    fab.until("a text", || fab.rows().kind(Kind::Context).any(|row| row.text("value") == "lot 7"));
    let rows = fab.rows();
    let sample = |signal: &str| {
        &rows.kind(Kind::Sample).find(|row| row.text("signal") == signal).expect("a sample").columns
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
    let fab = Rig::new();
    let place = fab.folder.path();
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
    let plain =
        Mosquitto::start(place, &format!("allow_anonymous false\npassword_file {}", passwords.display()));
    let tls = |certificate: &str| {
        Mosquitto::start(
            place,
            &format!(
                "allow_anonymous true\ncafile {0}/ca.pem\ncertfile {0}/{certificate}.pem\nkeyfile {0}/{certificate}.key\n\
             require_certificate true",
                place.display()
            ),
        )
    };
    let (secured, old) = (tls("localhost"), tls("old"));
    let probe = |address: String, tls: Value, more: Value| {
        let mut settings = json!({"name": "line", "kind": "mqtt", "format": "sparkplug",
            "brokers": [{"address": address}]});
        if let Value::Object(more) = more {
            settings.as_object_mut().expect("an object").extend(more);
        }
        if !tls.is_null() {
            settings["brokers"][0]["tls"] = tls;
        }
        fab.probe(&settings)
    };
    let at = |broker: &Mosquitto| format!("localhost:{}", broker.port);
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
    let fab = Rig::new();
    let broker = Mosquitto::start(fab.folder.path(), "allow_anonymous true");
    let mut node = sparkplug(&broker);
    let config = fab.config(&settings(&broker, json!({"format": "sparkplug"})));
    let (plant, folder) = (fab.plant.clone(), fab.folder.path().to_path_buf());
    let listening =
        std::thread::spawn(move || discover::run(&config, Duration::from_secs(4), &folder, &plant));
    std::thread::park_timeout(Duration::from_secs(1));
    tell(&mut node, "connect");
    let found = listening.join().expect("no panic").expect("it listens");
    let mut table = Vec::new();
    found.write("line", &mut table).expect("a table");
    let table = String::from_utf8(table).expect("text");
    assert!(table.contains("\nline,fab/edge/etcher/double,,,,etcher,,double,,,,Double,2.25\n"), "{table}");
    assert_eq!(found.lines.len(), 15, "{table}");
}
