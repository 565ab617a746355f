//! What settings may say, and what they must.

use serde_json::json;

use super::*;

fn read(settings: Value) -> Result<OpcUa, String> {
    OpcUa::deserialize(settings).map_err(|e| e.to_string())
}

#[test]
fn what_stands_beside_the_servers_holds_for_all_of_them() {
    let settings = read(json!({
        "security": "None", "sampling": "100ms", "deadband": {"absolute": 0.5}, "nodes": ["ns=2;s=a"],
        "servers": [
            {"endpoint": "opc.tcp://one:4840"},
            {"endpoint": "opc.tcp://[::1]:4841/path", "security": "Aes256_Sha256_RsaPss", "mode": "sign"},
        ],
    }))
    .expect("settings");
    let [one, two] = settings.servers.as_slice() else { panic!("two servers") };
    assert_eq!(
        (one.security, one.mode(), one.sampling.0),
        (Policy::None, MessageSecurityMode::None, 100_000)
    );
    assert_eq!((two.security, two.mode()), (Policy::Aes256_Sha256_RsaPss, MessageSecurityMode::Sign));
    assert_eq!(
        (two.deadband, two.address(), two.host()),
        (Some(Deadband::Absolute(0.5)), "[::1]:4841", "::1")
    );
    let alone =
        read(json!({"endpoint": "opc.tcp://one:4840", "browse": {"max_nodes": 5}})).expect("settings");
    let [one] = alone.servers.as_slice() else { panic!("one server") };
    assert_eq!(
        (one.security, one.browse.as_ref().map(|b| (b.start.as_str(), b.max_nodes))),
        (Policy::Basic256Sha256, Some(("i=85", 5)))
    );
}

#[test]
fn a_mistake_is_told_with_its_server() {
    let error = read(json!({"endpoint": "opc.tcp://one:4840", "securty": "None"})).err().expect("an error");
    assert!(error.contains("opc.tcp://one:4840") && error.contains("securty"), "{error}");
}

#[test]
fn nothing_here_can_change_a_plant() {
    // Services of the library that write, call or change; none is named anywhere in the source.
    let texts = [
        include_str!("link.rs"),
        include_str!("live.rs"),
        include_str!("nodes.rs"),
        include_str!("subscription.rs"),
    ];
    let services = [
        "Write",
        "Call",
        "HistoryUpdate",
        "AddNodes",
        "DeleteNodes",
        "AddReferences",
        "DeleteReferences",
        "SetTriggering",
    ];
    let methods = [".write(", ".call(", ".history_update(", ".add_nodes(", ".delete_nodes(", ".call_method("];
    for text in texts {
        let words: Vec<&str> = text.split(|c: char| !c.is_alphanumeric() && c != '_').collect();
        for service in services {
            let request = format!("{service}Request");
            assert!(!words.contains(&service) && !words.contains(&request.as_str()), "{service}");
        }
        for method in methods {
            assert!(!text.contains(&format!("session{method}")), "{method}");
        }
    }
}
