//! The Helm chart: what it renders is what Kubernetes takes and Yagura reads, and no more open than it must be.

use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde_json::Value;
use yagura_testkit::certificates::Certificates;
use yagura_testkit::{build_folder, helm};

use super::network::{Host, lets};
use super::{documents, each, shipped, word};
use crate::{folder, text, yagura};

/// Versions of Kubernetes that manifests are judged by.
const VERSIONS: &[&str] = &["1.34", "1.36"];

/// Whether Helm is there; says so if it is not.
fn is_there() -> bool {
    let there = helm::program(&build_folder()).exists() && helm::judges(&build_folder()).exists();
    #[expect(clippy::print_stderr, reason = "a test that is not run says so")]
    if !there {
        eprintln!("SKIPPED: no Helm; `cargo xtask setup` builds it where Go is");
    }
    there
}

/// What Helm says of the chart.
fn ask(command: &[&str], set: &[&str], more: &[&str]) -> Result<String, String> {
    helm::ask(&shipped("helm/yagura"), command, set, more)
}

fn render(set: &[&str], more: &[&str]) -> Result<String, String> {
    ask(&["template", "plant"], set, more)
}

fn manifests(set: &[&str], more: &[&str]) -> Vec<Value> {
    documents(&render(set, more).unwrap_or_else(|e| panic!("{set:?}: {e}")))
}

fn of_kind<'a>(manifests: &'a [Value], kind: &'a str) -> impl Iterator<Item = &'a Value> {
    manifests.iter().filter(move |manifest| manifest["kind"] == kind)
}

/// What runs pods.
fn workloads(manifests: &[Value]) -> impl Iterator<Item = &Value> {
    of_kind(manifests, "StatefulSet").chain(of_kind(manifests, "Deployment"))
}

fn labels<'a>(workloads: impl Iterator<Item = &'a Value>, component: &str) -> Value {
    let mut labels = workloads.map(|workload| &workload["spec"]["template"]["metadata"]["labels"]);
    let found = labels.find(|labels| labels["app.kubernetes.io/component"] == component);
    found.unwrap_or_else(|| panic!("no {component}")).clone()
}

#[test]
fn kubernetes_takes_what_every_documented_set_renders() {
    if !is_there() {
        return;
    }
    for set in helm::SETS {
        ask(&["lint", "--strict"], set, &[]).unwrap_or_else(|e| panic!("{set:?}: {e}"));
        let rendered = render(set, &[]).unwrap_or_else(|e| panic!("{set:?}: {e}"));
        let faults = helm::judge(&build_folder(), &rendered, VERSIONS).expect("judged");
        assert_eq!(faults, "", "{set:?}");
    }
    // The judge itself must be able to refuse, what is Kubernetes' own and what is not.
    let rendered = render(&["kafka", "monitoring"], &[]).expect("rendered");
    let wrong = rendered.replace("serviceName:", "serviceNam:").replace("pollingInterval:", "pollInterval:");
    let faults = helm::judge(&build_folder(), &wrong, VERSIONS).expect("judged");
    assert!(faults.contains("StatefulSet plant-yagura-detect"), "{faults}");
    assert!(faults.contains("ScaledObject plant-yagura-detect"), "{faults}");
}

/// Puts what a pod finds in `/etc/yagura` into a folder, for each of its configurations; answers their files.
fn mount(pod: &Value, manifests: &[Value], into: &Path, owner: &str) -> Vec<PathBuf> {
    let certificates = Certificates::make(&into.join("made")).expect("certificates");
    let put = |place: &Path| {
        std::fs::create_dir_all(place.parent().expect("a folder")).expect("a folder");
        let from = match place.file_name().and_then(|name| name.to_str()) {
            Some("ca.crt") => "ca.pem",
            Some("tls.crt") => "yagura.pem",
            Some("tls.key") => "yagura.key",
            Some("fab.yaml") => {
                std::fs::copy(pipeline(), place).expect("a pipeline");
                return;
            }
            Some("tokens") => {
                return std::fs::write(place, "mori analyst 0123456789abcdef0123\n").expect("tokens");
            }
            Some("users") => return std::fs::write(place, "grafana:0123456789abcdef\n").expect("users"),
            _ => return std::fs::write(place, "0123456789abcdef0123456789abcdef\n").expect("a file"),
        };
        std::fs::copy(certificates.file(from), place).expect("a copy");
    };
    let mut configurations = Vec::new();
    for volume in each(&pod["volumes"]) {
        let name = word(&volume["name"]);
        let source = ["secret", "configMap"].into_iter().find_map(|kind| volume.get(kind));
        match (name, source) {
            ("configuration", one) => {
                let each_of = each(&volume["projected"]["sources"]).map(|source| &source["configMap"]);
                for map in each_of.chain(one) {
                    let wanted = word(&map["name"]);
                    let found = of_kind(manifests, "ConfigMap").find(|m| m["metadata"]["name"] == wanted);
                    let found = found.unwrap_or_else(|| panic!("{owner} has no {wanted}"));
                    let file = into.join(format!("{wanted}.yaml"));
                    std::fs::write(&file, word(&found["data"]["yagura.yaml"])).expect("a configuration");
                    configurations.push(file);
                }
            }
            (_, Some(source)) => match source["items"].as_array() {
                Some(items) => items.iter().for_each(|item| put(&into.join(name).join(word(&item["path"])))),
                // Links to a folder beside them, so that all change at once.
                None => {
                    let folder = into.join(name);
                    for file in ["ca.crt", "tls.crt", "tls.key", "token", "fab.yaml"] {
                        put(&folder.join("..2026_11_26").join(file));
                        symlink(Path::new("..data").join(file), folder.join(file)).expect("a link");
                    }
                    symlink("..2026_11_26", folder.join("..data")).expect("a link");
                }
            },
            _ => {}
        }
    }
    configurations
}

fn pipeline() -> PathBuf {
    shipped("../pipelines/fab/recipe.yaml")
}

#[test]
fn every_part_reads_the_configuration_that_it_is_given() {
    if !is_there() {
        return;
    }
    for set in &helm::SETS[..2] {
        // The tests' program knows no buckets.
        let folders = ["--set", "archive.store=,serve.postgres.enabled=false"];
        let more: &[&str] = if set.contains(&"kafka") { &folders } else { &[] };
        let manifests = manifests(set, more);
        for workload in workloads(&manifests) {
            let (name, pod) = (word(&workload["metadata"]["name"]), &workload["spec"]["template"]["spec"]);
            let folder = folder();
            let configurations = mount(pod, &manifests, folder.path(), name);
            assert!(!configurations.is_empty(), "{name}");
            let mut instances = Vec::new();
            for file in &configurations {
                let out = yagura(&["validate", "--config", &file.display().to_string()]);
                assert!(out.status.success(), "{name}: {}", text(&out.stderr));
                let said = std::fs::read_to_string(file).expect("a configuration");
                let said: Value = serde_saphyr::from_str(&said).expect("YAML");
                instances.push(said["log"]["kafka"]["instance_id"].clone());
            }
            // A static member is named as its pod, and finds its own file.
            if configurations.len() > 1 {
                let paths: Vec<&Value> = each(&pod["volumes"][0]["projected"]["sources"])
                    .map(|source| &source["configMap"]["items"][0]["path"])
                    .collect();
                for (ordinal, instance) in instances.iter().enumerate() {
                    assert_eq!(*instance, format!("{name}-{ordinal}"));
                    assert_eq!(*paths[ordinal], format!("{name}-{ordinal}.yaml"));
                }
            }
        }
    }
}

#[test]
fn pods_have_no_rights_and_are_watched_by_what_they_do() {
    if !is_there() {
        return;
    }
    for set in helm::SETS {
        let manifests = manifests(set, &[]);
        assert!(workloads(&manifests).count() > 0);
        for workload in workloads(&manifests) {
            let name = word(&workload["metadata"]["name"]);
            let pod = &workload["spec"]["template"]["spec"];
            let container = &pod["containers"][0];
            let facts = [
                (&pod["automountServiceAccountToken"], serde_json::json!(false)),
                (&pod["securityContext"]["runAsNonRoot"], serde_json::json!(true)),
                (&pod["securityContext"]["seccompProfile"]["type"], serde_json::json!("RuntimeDefault")),
                (&container["securityContext"]["allowPrivilegeEscalation"], serde_json::json!(false)),
                (&container["securityContext"]["readOnlyRootFilesystem"], serde_json::json!(true)),
                (&container["securityContext"]["capabilities"], serde_json::json!({ "drop": ["ALL"] })),
                (&container["livenessProbe"]["httpGet"]["path"], serde_json::json!("/live")),
                (&container["readinessProbe"]["httpGet"]["path"], serde_json::json!("/ready")),
            ];
            for (number, (found, expected)) in facts.iter().enumerate() {
                assert_eq!(*found, expected, "{set:?} {name}: fact {number}");
            }
            assert!(pod["securityContext"]["runAsUser"].as_u64().is_some_and(|user| user > 0), "{name}");
            assert!(container["resources"]["limits"]["memory"].is_string(), "{name}");
            for forbidden in ["hostNetwork", "hostPID", "hostIPC", "initContainers"] {
                assert!(pod.get(forbidden).is_none(), "{name}: {forbidden}");
            }
            let kinds = ["name", "secret", "configMap", "projected", "emptyDir"];
            for volume in each(&pod["volumes"]) {
                assert!(
                    volume.as_object().is_some_and(|v| v.keys().all(|k| kinds.contains(&k.as_str()))),
                    "{volume}"
                );
            }
            let selector = &workload["spec"]["selector"]["matchLabels"];
            let budget = of_kind(&manifests, "PodDisruptionBudget")
                .any(|budget| budget["spec"]["selector"]["matchLabels"] == *selector);
            assert!(budget, "{name} has no disruption budget");
        }
    }
}

#[test]
fn nothing_reaches_the_plant_and_only_who_is_named_is_let_in() {
    if !is_there() {
        return;
    }
    let manifests = manifests(&["kafka", "monitoring"], &[]);
    let policies: Vec<Value> = of_kind(&manifests, "NetworkPolicy").cloned().collect();
    let kafka = Host::pod("kafka", "strimzi.io/name", "plant-kafka");
    let dns = Host::pod("kube-system", "k8s-app", "kube-dns");
    let prometheus = Host::pod("monitoring", "app", "prometheus");
    let stranger = Host::pod("default", "app", "stranger");
    let siem = Host::outside([10, 40, 0, 5]);
    let sender = Host::outside([10, 30, 0, 77]);
    let plant = [[10, 21, 4, 7], [10, 20, 1, 11], [10, 21, 5, 2]].map(Host::outside);
    let (bucket, analyst) = (Host::outside([10, 40, 0, 9]), Host::outside([10, 50, 0, 7]));
    let grafana = Host::pod("monitoring", "app.kubernetes.io/name", "grafana");
    let parts = ["detect", "respond", "archive", "serve", "collect-gateway", "collect-hosts"];
    for part in parts {
        let labels = labels(workloads(&manifests), part);
        let out = |other: &Host, port| lets(&policies, &labels, "Egress", other, port);
        let into = |other: &Host, port| lets(&policies, &labels, "Ingress", other, port);
        // Everything that a plant's equipment listens on, and what Yagura itself is let out to.
        for port in [22, 53, 80, 102, 443, 502, 1883, 2514, 4840, 5000, 9093, 44818] {
            for equipment in &plant {
                assert!(!out(equipment, (port, "TCP")) && !out(equipment, (port, "UDP")), "{part} {port}");
                assert!(!into(equipment, (port, "TCP")), "{part} {port}");
            }
            assert!(!out(&stranger, (port, "TCP")), "{part} {port}");
        }
        assert!(out(&kafka, (9093, "TCP")) && !out(&kafka, (9092, "TCP")), "{part}");
        assert!(out(&dns, (53, "UDP")) && !out(&dns, (443, "TCP")), "{part}");
        assert_eq!(out(&siem, (2514, "TCP")), part == "respond", "{part}");
        assert_eq!(out(&bucket, (443, "TCP")), ["archive", "serve"].contains(&part), "{part}");
        for asker in [&grafana, &analyst] {
            assert_eq!(into(asker, (5432, "TCP")) && into(asker, (9601, "TCP")), part == "serve", "{part}");
        }
        assert!(!into(&stranger, (5432, "TCP")) && !into(&sender, (9601, "TCP")), "{part}");
        assert!(into(&prometheus, (9600, "TCP")) && !into(&stranger, (9600, "TCP")), "{part}");
        assert_eq!(into(&sender, (8443, "TCP")), part == "collect-gateway", "{part}");
        assert_eq!(into(&sender, (5514, "UDP")), part == "collect-hosts", "{part}");
        assert!(!into(&stranger, (8443, "TCP")) && !into(&sender, (9600, "TCP")), "{part}");
    }
    // A port that somebody may reach is one that the pod listens on, and a service leads to it.
    for service in of_kind(&manifests, "Service").filter(|s| s["spec"]["clusterIP"] != "None") {
        let part = word(&service["spec"]["selector"]["app.kubernetes.io/component"]);
        let selected = labels(workloads(&manifests), part);
        let comes = if part == "serve" { &analyst } else { &sender };
        for port in each(&service["spec"]["ports"]) {
            let of = (port["port"].as_u64().expect("a port"), word(&port["protocol"]));
            assert!(lets(&policies, &selected, "Ingress", comes, of), "{service}");
        }
    }
}

#[test]
fn values_that_do_not_fit_are_refused() {
    if !is_there() {
        return;
    }
    for (set, more, told) in [
        ("kafka", "keda.maximum=3", "'maximum' not allowed"),
        ("kafka", "kafka.brokers=kafka", "/kafka/brokers"),
        ("kafka", "collectors[0].sources[0].kind=opcua", "one of 'http', 'syslog'"),
        ("kafka", "detect.replicas=7", "detect.replicas is more than partitions"),
        ("kafka", "networkPolicy.kafka.peers=null", "networkPolicy.kafka.peers"),
        ("kafka", "networkPolicy.sinks.peers=null", "networkPolicy.sinks.peers"),
        ("kafka", "networkPolicy.store.peers=null", "networkPolicy.store.peers"),
        ("kafka", "archive.store=", "serve.postgres needs a history"),
        ("kafka", "serve.from=null", "serve.from is empty"),
        ("kafka", "serve.tlsSecret=", "serve.tlsSecret is empty"),
        ("single-node", "serve.api.tokenSecret.name=", "/serve/api"),
        ("kafka", "settings.console=0.0.0.0:1", "'console' not allowed"),
        ("single-node", "runAsUser=0", "/runAsUser"),
        ("single-node", "collectors[0].from=null", "/collectors/0/from"),
    ] {
        let said = render(&[set], &["--set", more]).expect_err(more);
        assert!(said.contains(told), "{more}: {said}");
    }
}

#[test]
fn monitoring_is_that_of_the_tree_and_pods_are_no_more_than_partitions() {
    if !is_there() {
        return;
    }
    let manifests = manifests(&["kafka", "monitoring"], &[]);
    let rule = of_kind(&manifests, "PrometheusRule").next().expect("rules");
    let rules = std::fs::read_to_string(shipped("prometheus/rules.yaml")).expect("rules");
    let rules = rules.replace("runbook_url: runbooks/", "runbook_url: https://wiki.office.example/yagura/");
    assert_eq!(rule["spec"], documents(&rules)[0]);
    let dashboards = std::fs::read_dir(shipped("grafana")).expect("dashboards").flatten();
    let dashboards: Vec<_> =
        dashboards.filter(|file| file.path().extension().is_some_and(|e| e == "json")).collect();
    assert!(!dashboards.is_empty());
    for file in dashboards {
        let name = file.file_name().into_string().expect("a name");
        let json = std::fs::read_to_string(file.path()).expect("a dashboard");
        let map = of_kind(&manifests, "ConfigMap").find(|map| map["data"].get(&name).is_some());
        assert_eq!(word(&map.unwrap_or_else(|| panic!("no {name}"))["data"][&name]).trim(), json.trim());
    }
    // Twelve are asked for, and there are six partitions.
    let scaled = of_kind(&manifests, "ScaledObject").next().expect("scaling");
    assert_eq!(scaled["spec"]["maxReplicaCount"], 6);
    let detect =
        workloads(&manifests).find(|w| w["metadata"]["name"] == "plant-yagura-detect").expect("detect");
    assert!(detect["spec"].get("replicas").is_none(), "KEDA says how many");
    let configured = each(&detect["spec"]["template"]["spec"]["volumes"][0]["projected"]["sources"]).count();
    assert_eq!(configured, 6, "a configuration for each pod that there may be");
}
