//! Helm, and what judges the manifests that it renders.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use crate::peers::INSTALLED;

/// Helm, as `go install` names it; it needs Go 1.24 or later.
pub const HELM: &str = "helm.sh/helm/v3/cmd/helm@v3.19.5";

/// The documented sets of values, each of the files of the chart's `ci` that make it.
pub const SETS: &[&[&str]] =
    &[&["single-node"], &["kafka"], &["single-node", "monitoring"], &["kafka", "monitoring"]];

/// What judges manifests, as `pip` names it: the schemas of Kubernetes, and models of what others define.
pub const JUDGES: &[&str] = &[
    "kubernetes-validate==1.37.0",
    "cloudcoil.models.keda==2.16.1.0",
    "cloudcoil.models.prometheus-operator==0.80.1.0",
];

/// Refuses what Kubernetes refuses, unknown fields too; models of custom resources pass over unknown fields, so that
/// what comes back out of them is compared. Prints a line for each fault.
const JUDGE: &str = r"
import json, sys, yaml, kubernetes_validate
from cloudcoil.models.keda import v1alpha1 as keda
from cloudcoil.models.prometheus_operator import v1 as prometheus
models = {'ScaledObject': keda.ScaledObject, 'TriggerAuthentication': keda.TriggerAuthentication,
          'ServiceMonitor': prometheus.ServiceMonitor, 'PrometheusRule': prometheus.PrometheusRule}
def faults(manifest):
    kind = manifest['kind']
    if kind in models:
        read = models[kind].model_validate(manifest).model_dump_json(by_alias=True, exclude_unset=True)
        if json.loads(read)['spec'] != manifest['spec']:
            yield 'has fields that are unknown'
    elif not manifest['apiVersion'].startswith('kafka.strimzi.io/'):
        for version in sys.argv[1].split(','):
            kubernetes_validate.validate(manifest, version, strict=True)
for manifest in filter(None, yaml.safe_load_all(sys.stdin)):
    name = manifest['kind'] + ' ' + manifest['metadata']['name']
    try:
        for fault in faults(manifest):
            print(name, fault)
    except Exception as cause:
        print(name, type(cause).__name__, str(cause).replace('\n', ' ')[:500])
";

/// The program, once it is installed.
pub fn program(build_dir: &Path) -> PathBuf {
    build_dir.join("helm/helm")
}

/// The folder of the Python environment that holds [`JUDGES`] once it is set up.
pub fn judges(build_dir: &Path) -> PathBuf {
    build_dir.join("kubernetes")
}

/// Builds Helm from its source, unless it is there.
pub fn install(build_dir: &Path) -> Result<()> {
    let program = program(build_dir);
    let folder = program.parent().context("a folder")?;
    let done = folder.join(INSTALLED);
    if std::fs::read_to_string(&done).is_ok_and(|what| what == HELM) {
        return Ok(());
    }
    std::fs::create_dir_all(folder)?;
    let status = Command::new("go").args(["install", HELM]).env("GOBIN", folder.canonicalize()?).status();
    if !status.context("`go` cannot be started")?.success() {
        bail!("{HELM} cannot be built; it needs Go 1.24 or later");
    }
    Ok(std::fs::write(done, HELM)?)
}

/// What Helm says of a chart with values from files of its `ci`, and further arguments.
pub fn ask(chart: &Path, command: &[&str], set: &[&str], more: &[&str]) -> Result<String, String> {
    let mut helm = Command::new(program(&crate::build_folder()));
    helm.args(command).arg(chart);
    for name in set {
        helm.arg("--values").arg(chart.join("ci").join(format!("{name}.yaml")));
    }
    // What Helm itself takes for the cluster's version is older than what the chart needs.
    let output =
        helm.args(["--kube-version", "1.34.0"]).args(more).output().map_err(|e| format!("Helm: {e}"))?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    match output.status.success() {
        true => Ok(said),
        false => Err(said + &String::from_utf8_lossy(&output.stderr)),
    }
}

/// What is wrong with manifests for these versions of Kubernetes, `1.34` and the like; empty when nothing is.
pub fn judge(build_dir: &Path, manifests: &str, versions: &[&str]) -> Result<String> {
    let mut python = Command::new(judges(build_dir).join("bin/python"))
        .args(["-c", JUDGE, &versions.join(",")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .context("starting what judges manifests; `cargo xtask setup` installs it")?;
    python.stdin.take().context("a pipe")?.write_all(manifests.as_bytes())?;
    let output = python.wait_with_output()?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
