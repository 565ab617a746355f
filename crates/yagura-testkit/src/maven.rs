//! Programs from Maven Central, as folders of jars.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

/// A jar: group, name and version.
pub type Artifact<'a> = (&'a str, &'a str, &'a str);

/// Fetches jars, and all that they need to run, into `build_dir/NAME` unless they are there; answers
/// the folder that holds them.
pub fn fetch(build_dir: &Path, name: &str, artifacts: &[Artifact<'_>]) -> Result<PathBuf> {
    let folder = build_dir.join(name);
    let libs = folder.join("libs");
    fs::create_dir_all(&libs).with_context(|| format!("creating {}", libs.display()))?;
    // Tests of several crates may ask at once.
    let lock = File::create(folder.join("lock"))?;
    lock.lock()?;
    let stamp = folder.join("stamp");
    let wanted: Vec<String> = artifacts.iter().map(|(g, a, v)| format!("{g}:{a}:{v}")).collect();
    let wanted = wanted.join("\n");
    if fs::read_to_string(&stamp).is_ok_and(|there| there == wanted) {
        return Ok(libs);
    }
    fs::remove_dir_all(&libs)?;
    let dependencies: String = artifacts
        .iter()
        .map(|(group, artifact, version)| {
            format!(
                "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version></dependency>"
            )
        })
        .collect();
    let pom = folder.join("pom.xml");
    fs::write(
        &pom,
        format!(
            "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion>\
             <groupId>yagura</groupId><artifactId>{name}</artifactId><version>1</version><packaging>pom</packaging>\
             <dependencies>{dependencies}</dependencies></project>"
        ),
    )?;
    let mut command = Command::new("mvn");
    command.args(["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", "-f"]).arg(&pom);
    let mut into = OsString::from("-DoutputDirectory=");
    into.push(std::path::absolute(&libs)?);
    let output = command.arg(into).output().context("starting mvn; install Maven and Java 17")?;
    ensure!(
        output.status.success(),
        "mvn could not fetch {name}:\n{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    fs::write(&stamp, wanted)?;
    Ok(libs)
}
