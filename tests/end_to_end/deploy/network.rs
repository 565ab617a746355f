//! What network policies let through, by the rules of `networking.k8s.io/v1`.

use std::net::Ipv4Addr;

use serde_json::{Value, json};

use super::{each, word};

/// Somebody on the network.
#[derive(Clone)]
pub struct Host {
    /// Labels of its pod and of its namespace; a host outside the cluster has none.
    pub pod: Option<(Value, Value)>,
    pub address: Ipv4Addr,
}

impl Host {
    /// Outside the cluster.
    pub fn outside(address: [u8; 4]) -> Host {
        Host { pod: None, address: address.into() }
    }

    /// A pod with one label, in a namespace.
    pub fn pod(namespace: &str, name: &str, value: &str) -> Host {
        let labels = (json!({ name: value }), json!({ "kubernetes.io/metadata.name": namespace }));
        Host { pod: Some(labels), address: [10, 244, 0, 9].into() }
    }
}

/// Whether a pod with these labels may dial, or be dialled by, somebody.
pub fn lets(policies: &[Value], labels: &Value, direction: &str, other: &Host, port: (u64, &str)) -> bool {
    let (rules, peers) = match direction {
        "Ingress" => ("ingress", "from"),
        _ => ("egress", "to"),
    };
    let mine = policies.iter().filter(|policy| {
        selects(&policy["spec"]["podSelector"], labels)
            && each(&policy["spec"]["policyTypes"]).any(|of| word(of) == direction)
    });
    let mine: Vec<&Value> = mine.collect();
    // Who is selected by no policy is open to all.
    mine.is_empty()
        || mine.iter().flat_map(|policy| each(&policy["spec"][rules])).any(|rule| {
            let peer = rule[peers]
                .as_array()
                .is_none_or(|some| some.is_empty() || some.iter().any(|p| is(p, other)));
            let ported = |p: &Value| p["port"] == port.0 && p["protocol"].as_str().unwrap_or("TCP") == port.1;
            peer && rule["ports"].as_array().is_none_or(|some| some.is_empty() || some.iter().any(ported))
        })
}

fn is(peer: &Value, other: &Host) -> bool {
    if let Some(cidr) = peer["ipBlock"]["cidr"].as_str() {
        return within(cidr, other.address)
            && !each(&peer["ipBlock"]["except"]).any(|except| within(word(except), other.address));
    }
    let Some((pod, namespace)) = &other.pod else { return false };
    // Without a selector of namespaces only the policy's own is meant, in which nobody of these tests is.
    peer.get("namespaceSelector").is_some_and(|selector| selects(selector, namespace))
        && peer.get("podSelector").is_none_or(|selector| selects(selector, pod))
}

fn selects(selector: &Value, labels: &Value) -> bool {
    assert!(selector.get("matchExpressions").is_none(), "not evaluated here: {selector}");
    let wanted = selector["matchLabels"].as_object();
    wanted.into_iter().flatten().all(|(name, value)| labels.get(name) == Some(value))
}

fn within(cidr: &str, address: Ipv4Addr) -> bool {
    let (network, bits) = cidr.split_once('/').unwrap_or_else(|| panic!("{cidr} is no CIDR"));
    let network: Ipv4Addr = network.parse().unwrap_or_else(|e| panic!("{cidr}: {e}"));
    let bits: u32 = bits.parse().unwrap_or_else(|e| panic!("{cidr}: {e}"));
    let mask = u32::MAX.checked_shl(32 - bits).unwrap_or(0);
    u32::from(network) & mask == u32::from(address) & mask
}

#[test]
fn the_evaluator_knows_the_rules() {
    let policy = |types: Value, ingress: Value, egress: Value| {
        json!({ "spec": {
            "podSelector": { "matchLabels": { "app": "a" } }, "policyTypes": types, "ingress": ingress, "egress": egress,
        } })
    };
    let app = json!({ "app": "a" });
    let host = Host::outside([10, 30, 0, 7]);
    let ports = json!([{ "port": 53, "protocol": "UDP" }]);
    let block = |except: Value| json!([{ "ipBlock": { "cidr": "10.30.0.0/24", "except": except } }]);
    for (types, egress, expected) in [
        (json!(["Ingress"]), json!([]), true),
        (json!(["Egress"]), json!([]), false),
        (json!(["Egress"]), json!([{}]), true),
        (json!(["Egress"]), json!([{ "to": block(json!([])), "ports": ports }]), true),
        (json!(["Egress"]), json!([{ "to": block(json!(["10.30.0.0/29"])), "ports": ports }]), false),
        (json!(["Egress"]), json!([{ "to": block(json!([])), "ports": [{ "port": 53 }] }]), false),
        (json!(["Egress"]), json!([{ "to": [{ "namespaceSelector": {} }] }]), false),
    ] {
        let policies = [policy(types, json!([]), egress.clone())];
        assert_eq!(lets(&policies, &app, "Egress", &host, (53, "UDP")), expected, "{egress}");
        assert!(lets(&policies, &json!({ "app": "b" }), "Egress", &host, (53, "UDP")));
    }
    let from = json!([{ "from": [{ "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": "m" } },
                                   "podSelector": { "matchLabels": { "app": "p" } } }] }]);
    let policies = [policy(json!(["Ingress"]), from, json!([]))];
    for (namespace, app_of, expected) in [("m", "p", true), ("n", "p", false), ("m", "q", false)] {
        let other = Host::pod(namespace, "app", app_of);
        assert_eq!(lets(&policies, &app, "Ingress", &other, (1, "TCP")), expected, "{namespace} {app_of}");
    }
}
