//! The Helm chart before a real API server of Kubernetes: it takes what each documented set of values renders, field by
//! field, and the pods in it under the restricted standard of pod security, all on trial.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use serde_json::{Value, json};
use yagura_testkit::apiserver::{self, ApiServer, KUBERNETES};
use yagura_testkit::{build_folder, helm};

/// Where the chart is tried.
const NAMESPACE: &str = "yagura";
/// How the API server answers what it would do: without doing it, and with every field known.
const TRIAL: &str = "dryRun=All&fieldValidation=Strict";
const JSON: &str = "application/json";
/// Strimzi's kinds, whose definitions no Go module has.
const UNDEFINED: &str = "kafka.strimzi.io/";
/// A line of JSON for each document of YAML.
const READ: &str = "import json, sys, yaml
for one in filter(None, yaml.safe_load_all(sys.stdin.read())): print(json.dumps(one))";

/// Tries every set of values; an error when anything is refused.
#[expect(clippy::print_stdout, reason = "a table")]
pub fn run(is_json: bool) -> Result<()> {
    let build_dir = build_folder();
    crate::setup::apiserver()?;
    let folder = tempfile::tempdir()?;
    let server = ApiServer::start(&build_dir, folder.path())?;
    for definition in apiserver::definitions()? {
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        server.ask("POST", path, "application/yaml", &definition)?;
    }
    let restricted = json!({ "pod-security.kubernetes.io/enforce": "restricted" });
    let namespace = json!({ "metadata": { "name": NAMESPACE, "labels": restricted } });
    server.ask("POST", "/api/v1/namespaces", JSON, &namespace.to_string())?;
    // In a whole cluster a controller makes it.
    let account = json!({ "metadata": { "name": "default" } }).to_string();
    server.ask("POST", &format!("/api/v1/namespaces/{NAMESPACE}/serviceaccounts"), JSON, &account)?;
    refuses(&server)?;
    let mut faults = Vec::new();
    for set in helm::SETS {
        let tried = tried(&server, set)?;
        let name = set.join("+");
        if is_json {
            println!(
                "{}",
                json!({ "values": name, "kubernetes": format!("1.{KUBERNETES}"), "manifests": tried.manifests,
                    "pods": tried.pods, "left_out": tried.left_out, "refused": tried.refused })
            );
        } else {
            println!(
                "{name}: {} manifests, {} pods under the restricted standard, {} refused, {} of Strimzi not tried",
                tried.manifests,
                tried.pods,
                tried.refused.len(),
                tried.left_out
            );
            tried.refused.iter().for_each(|refused| println!("  {refused}"));
        }
        faults.extend(tried.refused);
    }
    if !faults.is_empty() {
        bail!("Kubernetes 1.{KUBERNETES} refuses {} of the chart's manifests and pods", faults.len());
    }
    Ok(())
}

/// What came of a set of values.
#[derive(Default)]
struct Tried {
    manifests: usize,
    pods: usize,
    /// Of kinds that nobody defines here, see [`UNDEFINED`].
    left_out: usize,
    refused: Vec<String>,
}

fn tried(server: &ApiServer, set: &[&str]) -> Result<Tried> {
    let mut tried = Tried::default();
    let mut kinds = BTreeMap::new();
    for manifest in manifests(set)? {
        let name = format!("{} {}", word(&manifest["kind"]), word(&manifest["metadata"]["name"]));
        if word(&manifest["apiVersion"]).starts_with(UNDEFINED) {
            tried.left_out += 1;
            continue;
        }
        tried.manifests += 1;
        let Some(path) = path(server, &mut kinds, &manifest)? else {
            tried.refused.push(format!("{name}: the server knows no such kind"));
            continue;
        };
        // Pods are refused without the account that they name, so that it is made.
        let trial = if manifest["kind"] == "ServiceAccount" { "fieldValidation=Strict" } else { TRIAL };
        let path = format!("{path}?fieldManager=helm&force=true&{trial}");
        let taken = match server.ask("PATCH", &path, "application/apply-patch+yaml", &manifest.to_string()) {
            Ok(taken) => taken,
            Err(cause) => {
                tried.refused.push(format!("{name}: {cause}"));
                continue;
            }
        };
        if let Some(pod) = pod_of(&taken["spec"]) {
            tried.pods += 1;
            if let Err(cause) = on_trial(server, "pods", &pod) {
                tried.refused.push(format!("a pod of {name}: {cause}"));
            }
        }
    }
    ensure!(tried.pods > 0, "{set:?} renders no pods");
    Ok(tried)
}

/// A pod as its controller would make it, with volumes for the claims that it would make.
fn pod_of(workload: &Value) -> Option<Value> {
    let template = &workload["template"];
    let mut spec = template["spec"].as_object()?.clone();
    let claims = workload["volumeClaimTemplates"].as_array().into_iter().flatten();
    let volumes = claims.map(|claim| {
        let name = &claim["metadata"]["name"];
        json!({ "name": name, "persistentVolumeClaim": { "claimName": name } })
    });
    let all = spec.get("volumes").and_then(Value::as_array).into_iter().flatten().cloned().chain(volumes);
    let all = all.collect();
    spec.insert("volumes".into(), all);
    Some(json!({ "metadata": { "name": "trial", "labels": template["metadata"]["labels"] }, "spec": spec }))
}

/// The judge must be able to refuse: a privileged pod, and a field that there is none.
fn refuses(server: &ApiServer) -> Result<()> {
    let container = json!({ "name": "it", "image": "it", "securityContext": { "privileged": true } });
    let privileged =
        pod_of(&json!({ "template": { "spec": { "containers": [container] } } })).context("a pod")?;
    let refused = on_trial(server, "pods", &privileged).err();
    let said = refused.map(|cause| cause.to_string()).unwrap_or_default();
    ensure!(said.contains("violates PodSecurity"), "a privileged pod is not refused: {said}");
    let typo = json!({ "metadata": { "name": "it" }, "dta": {} });
    ensure!(on_trial(server, "configmaps", &typo).is_err(), "an unknown field is not refused");
    Ok(())
}

/// Whether the server would make something of Kubernetes' core in the namespace.
fn on_trial(server: &ApiServer, resource: &str, what: &Value) -> Result<Value> {
    let path = format!("/api/v1/namespaces/{NAMESPACE}/{resource}?{TRIAL}");
    server.ask("POST", &path, JSON, &what.to_string())
}

/// Where a manifest belongs, as the server's discovery says; `None` where it knows no such kind.
fn path(server: &ApiServer, kinds: &mut BTreeMap<String, Value>, manifest: &Value) -> Result<Option<String>> {
    let (version, kind) = (word(&manifest["apiVersion"]), word(&manifest["kind"]));
    let root = if version.contains('/') { format!("/apis/{version}") } else { format!("/api/{version}") };
    if !kinds.contains_key(version) {
        let known = server.ask("GET", &root, "", "").unwrap_or(Value::Null);
        kinds.insert(version.to_owned(), known);
    }
    let known = kinds[version]["resources"].as_array().into_iter().flatten();
    let mut named = known.filter(|one| one["kind"] == kind && !word(&one["name"]).contains('/'));
    let Some(resource) = named.next() else { return Ok(None) };
    let name = manifest["metadata"]["name"].as_str().context("a name")?;
    Ok(Some(match resource["namespaced"] == true {
        true => format!("{root}/namespaces/{NAMESPACE}/{}/{name}", word(&resource["name"])),
        false => format!("{root}/{}/{name}", word(&resource["name"])),
    }))
}

/// What a set of values renders.
fn manifests(set: &[&str]) -> Result<Vec<Value>> {
    let chart = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/helm/yagura");
    let rendered = helm::ask(&chart, &["template", "plant"], set, &["--namespace", NAMESPACE]);
    let rendered = rendered.map_err(|said| anyhow!("{said}"))?;
    let mut python = Command::new(helm::judges(&build_folder()).join("bin/python"));
    python.args(["-c", READ]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = python.spawn().context("starting Python")?;
    python.stdin.take().context("a pipe")?.write_all(rendered.as_bytes())?;
    let read = python.wait_with_output()?;
    ensure!(read.status.success(), "{set:?} is no YAML");
    let lines = String::from_utf8(read.stdout)?;
    Ok(lines.lines().map(serde_json::from_str).collect::<Result<_, _>>()?)
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
