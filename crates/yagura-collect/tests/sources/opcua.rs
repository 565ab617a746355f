//! OPC UA against real servers: asyncua, and node-opcua.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use rcgen::{CertificateParams, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType};
use serde_json::{Value, json};
use yagura_collect::discover;
use yagura_collect::sources::CollectorConfig;
use yagura_event::Kind;

use crate::peers::{Network, Peer, node, python};
use crate::rig::{Collector, Rig, Row, Rows, free_port};

/// A server of asyncua.
fn asyncua(settings: Value) -> Peer {
    let mut peer = Peer::start(python("opcua.py").arg(settings.to_string()));
    peer.wait_for("ready");
    peer
}

/// A server of node-opcua.
fn node_opcua(settings: Value) -> Peer {
    let mut peer = Peer::start(node("opcua.js").arg(settings.to_string()));
    peer.wait_for("ready");
    peer
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

fn named(mut settings: Value) -> Value {
    let fields = settings.as_object_mut().expect("settings");
    fields.insert("name".into(), json!("ua"));
    fields.insert("kind".into(), json!("opcua"));
    fields.entry("batch").or_insert(json!("100ms"));
    settings
}

fn config(settings: Value) -> CollectorConfig {
    CollectorConfig::new(named(settings)).expect("a configuration")
}

fn collect(rig: &Rig, settings: Value) -> Collector {
    rig.collect(&named(settings))
}

/// Waits until the rows are as they should be.
fn until<T>(rig: &Rig, what: &str, look: impl Fn(&Rows) -> Option<T>) -> T {
    let mut found = None;
    rig.until(what, || {
        found = look(&rig.rows());
        found.is_some()
    });
    found.expect("it was waited for")
}

fn is(row: &Row, event: &str, of: &str) -> bool {
    row.kind == Kind::Coverage && row.text("event") == event && row.text("detail").contains(of)
}

fn samples<'a>(rows: &'a Rows, signal: &'a str) -> impl Iterator<Item = &'a Row> {
    rows.kind(Kind::Sample).filter(move |row| row.text("signal") == signal)
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
    let rig = Rig::new();
    let port = free_port();
    let mut peer = asyncua(json!({"port": port, "chambers": 2}));
    let collector = collect(&rig, plain(port));
    let pressure = "Objects/Tool/Chamber2/Pressure";
    until(&rig, "the first values", |rows| samples(rows, pressure).next().map(|_| ()));
    let rows = rig.rows();
    let sample = samples(&rows, pressure).next().expect("a value");
    assert_eq!((sample.text("unit"), sample.columns["value"].as_f64()), ("Pa", Some(1.5)));
    assert_eq!(rows.values("Objects/Tool/Chamber1/Door"), [1.0]);
    let recipe = rows.0.iter().find(|row| row.kind == Kind::Context).expect("a text");
    assert_eq!((recipe.text("name"), recipe.text("value")), ("Objects/Tool/Chamber1/Recipe", "etch-7"));
    let identity = rows.0.iter().find(|row| row.kind == Kind::Identity).expect("what it is");
    assert_eq!(
        (identity.text("vendor"), identity.text("model"), identity.text("firmware")),
        ("Maker", "Etcher", "1.2 (34)")
    );
    assert!(rows.0.iter().any(|row| is(
        row,
        "unknown",
        "arrays and structures are not read: Objects/Tool/Chamber1/Profile"
    )));
    assert!(rows.0.iter().any(|row| is(row, "start", "nothing protects")));
    peer.ask("bad Chamber1.Pressure");
    peer.ask("lie Chamber2.Pressure");
    peer.ask("lie Chamber2.Pressure");
    peer.ask("array Chamber2.Door");
    let lied = until(&rig, "a lie", |rows| {
        rows.values(pressure)
            .contains(&7.0)
            .then(|| rows.0.iter().filter(|row| is(row, "malformed", "Chamber2/Pressure is Int32")).count())
    });
    assert_eq!(lied, 1, "the value is taken, and it is told once");
    until(&rig, "a bad value", |rows| {
        samples(rows, "Objects/Tool/Chamber1/Pressure").find(|row| row.columns["quality"] == 2).map(|_| ())
    });
    until(&rig, "an array", |rows| {
        rows.0.iter().find(|row| is(row, "malformed", "Chamber2/Door is an array")).map(|_| ())
    });
    peer.ask("burst 500");
    until(&rig, "a burst", |rows| (rows.values("Objects/Tool/Count").last() == Some(&500.0)).then_some(()));
    assert_whole(&rig.values("Objects/Tool/Count"), 0.0);
    let services = peer.ask("services");
    for never in ["Write", "Call", "HistoryUpdate", "AddNodes", "DeleteNodes"] {
        assert!(!services.contains(never), "{services}");
    }
    assert!(services.contains("Publish"), "{services}");
    collector.stop();
    let found = discover::run(&config(plain(port)), Duration::ZERO, rig.folder.path(), &rig.plant)
        .expect("it answers");
    let line = found.lines.iter().find(|line| line.name == pressure).expect("a line");
    assert_eq!(
        (line.tool.as_str(), line.chamber.as_str(), line.signal.as_str()),
        ("Tool", "Chamber2", "Pressure")
    );
    assert_eq!((line.unit.as_str(), line.datatype.as_str()), ("Pa", "Double"));
    assert!(found.notes.iter().any(|note| note.contains("Profile")), "{:?}", found.notes);
    assert!(rig.rows().0.iter().any(|row| is(row, "stop", "")));
}

#[test]
fn policies_certificates_and_users() {
    let rig = Rig::new();
    let at = rig.folder.path();
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
    let _peer = asyncua(secured(port, "server"));
    let _old = asyncua(secured(old_port, "old"));
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
    let probe = |settings: Value| config(settings).probe(at, &rig.plant).map_err(|e| e.to_string());
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
    let collector = collect(&rig, both);
    until(&rig, "values of one and the complaint about the other", |rows| {
        let values = rows.values("ETCH/Objects/Tool/Count").len() >= 20;
        let is_old = |row: &&Row| row.text("subject").contains(&old_port.to_string());
        let told = rows.told("down", "", "expired").any(|row| is_old(&row));
        (values && told).then_some(())
    });
    assert!(samples(&rig.rows(), "ETCH/Objects/Tool/Count").all(|row| row.text("tool") == "ETCH"));
    collector.stop();
}

#[test]
fn servers_and_collectors_come_and_go() {
    let rig = Rig::new();
    let port = free_port();
    let settings = json!({"port": port, "tick": 0.005});
    let peer = asyncua(settings.clone());
    let collector = collect(&rig, plain(port));
    let count = "Objects/Tool/Count";
    until(&rig, "values", |rows| (rows.values(count).len() > 100).then_some(()));
    drop(peer);
    until(&rig, "it is down", |rows| rows.0.iter().find(|row| is(row, "down", "")).map(|_| ()));
    let before = rig.values(count).len();
    let _peer = asyncua(settings);
    until(&rig, "it is back, and the time between is a gap", |rows| {
        let back = rows.values(count).len() > before + 100;
        (back && rows.0.iter().any(|row| is(row, "gap", "variables"))).then_some(())
    });
    let first = rig.values(count);
    let (old, new) = first.split_at(before);
    // What the first server still sent came whole; so does what the second one sends.
    assert_whole(old, old[0]);
    assert_whole(new, new[0]);
    collector.stop();
    let stopped = rig.rows().0.len();
    let again = collect(&rig, plain(port));
    let fresh = || Rows(rig.rows().0.split_off(stopped)).values(count);
    rig.until("values again", || fresh().len() > 100);
    let fresh = fresh();
    assert_whole(&fresh, fresh[0]);
    again.stop();
}

#[test]
fn a_broken_connection_loses_nothing_where_the_server_keeps_the_subscription() {
    let rig = Rig::new();
    let port = free_port();
    let settings = json!({"port": port, "tick": 120, "variables": 50, "folder": rig.folder.path().join("node"), "limits": {"maxNodesPerRead": 60, "maxNodesPerBrowse": 20}});
    let _peer = node_opcua(settings);
    let network = Network::before(port);
    let mut settings = plain(network.port);
    settings["browse"] = json!({"include": ["Objects/Coater/V*"], "rate": 100_000});
    // This server samples every 50 ms, whatever is asked for.
    settings["sampling"] = json!("0s");
    let collector = collect(&rig, settings);
    let signal = "Objects/Coater/V49";
    let counts = |rows: &Rows| rows.values(signal);
    until(&rig, "values", |rows| (counts(rows).len() > 20).then_some(()));
    for cuts in 1..=2 {
        let before = counts(&rig.rows()).len();
        network.cut();
        until(&rig, "it goes on", |rows| {
            let continued = rows.0.iter().filter(|row| is(row, "start", "went on meanwhile")).count() >= cuts;
            (continued && counts(rows).len() > before + 20).then_some(())
        });
    }
    let rows = rig.rows();
    let mut seen = counts(&rows);
    // This server says the last values again when a session comes back.
    seen.dedup();
    assert_whole(&seen, seen[0]);
    assert!(!rows.0.iter().any(|row| is(row, "gap", "")), "nothing is missing, and no gap is told");
    let identity = rows.0.iter().find(|row| row.kind == Kind::Identity).expect("what it is");
    assert_eq!((identity.text("vendor"), identity.text("model")), ("Node maker", "Coater"));
    collector.stop();
}

#[test]
fn a_second_implementation_under_its_own_policies() {
    let rig = Rig::new();
    let at = rig.folder.path();
    certificate(at, "yagura", false, "collector");
    let port = free_port();
    let _peer = node_opcua(json!({"port": port, "tick": 50, "variables": 5, "folder": at.join("node")}));
    for (policy, mode) in [("Aes256_Sha256_RsaPss", "sign_and_encrypt"), ("Aes128_Sha256_RsaOaep", "sign")] {
        let settings = json!({
            "endpoint": format!("opc.tcp://127.0.0.1:{port}/"), "security": policy, "mode": mode,
            "certificate": "yagura.pem", "key": "yagura-key.pem", "trusted": ["node/own/certs"], "trust_unknown": true,
            "server_name": hostname(), "sampling": "0s", "publishing": "100ms",
            "browse": {"include": ["**/V*"], "rate": 100_000},
        });
        let collector = collect(&rig, settings);
        until(&rig, policy, |rows| (rows.values("Objects/Coater/V4").len() > 20).then_some(()));
        let counts = rig.values("Objects/Coater/V4");
        assert_whole(&counts, counts[0]);
        collector.stop();
    }
}

fn hostname() -> String {
    std::fs::read_to_string("/proc/sys/kernel/hostname").expect("a name").trim().to_string()
}
