//! What goes to a plant without internet: image, chart, package, bill of materials, licences, checksums.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use yagura_testkit::helm;

use crate::{bill, cargo, image, package, run, setup};

const VERSION: &str = env!("CARGO_PKG_VERSION");

/// What people read where there is no internet, and what it is called in the bundle.
const DOCUMENTS: &[(&str, &str)] = &[
    ("deploy/README.md", "README.md"),
    ("deploy/threat-model.md", "threat-model.md"),
    ("deploy/runbooks", "runbooks"),
    ("deploy/prometheus", "prometheus"),
    ("deploy/grafana", "grafana"),
    ("deploy/siem", "siem"),
    ("deploy/helm/yagura/ci", "helm/yagura/ci"),
    ("README.md", "project.md"),
    ("CHANGELOG.md", "CHANGELOG.md"),
    ("crates/yagura-collect/README.md", "collectors.md"),
    ("crates/yagura-respond/README.md", "sinks.md"),
];

/// Builds the program as it ships, with live capture where packets are; answers where it is, until it is built again.
fn program(captures: bool) -> Result<PathBuf> {
    if captures {
        setup::libpcap()?;
    }
    // The whole workspace, so that nothing is built again with other features but what captures.
    let whole = ["build", "--release", "--locked", "--workspace", "--features", "yagura/pcap"];
    cargo(if captures { &whole } else { &whole[..4] })?;
    Ok("target/release/yagura".into())
}

/// Makes the image alone.
#[expect(clippy::print_stdout, reason = "a command line tool")]
pub fn image() -> Result<()> {
    let archive = fresh("target/image")?.join(format!("yagura-{VERSION}-image.tar"));
    let digest = image::write(&program(false)?, VERSION, &archive)?;
    println!("{}\n{digest}\n{}", archive.display(), image::verify(&archive)?);
    Ok(())
}

/// Makes the Debian package alone.
#[expect(clippy::print_stdout, reason = "a command line tool")]
pub fn deb() -> Result<()> {
    println!("{}", package::write(&program(true)?, VERSION, &fresh("target/package")?)?.display());
    Ok(())
}

/// Makes all of it in `target/bundle`, and verifies it.
#[expect(clippy::print_stdout, reason = "a command line tool")]
pub fn make() -> Result<()> {
    let parts = bill::parts()?;
    let refused = bill::refused(&parts);
    if !refused.is_empty() {
        bail!("licences that may not ship:\n  {}", refused.join("\n  "));
    }
    let folder = fresh("target/bundle")?;
    let image = folder.join(format!("yagura-{VERSION}-image.tar"));
    let digest = image::write(&program(false)?, VERSION, &image)?;
    package::write(&program(true)?, VERSION, &folder)?;
    std::fs::write(
        folder.join("bill-of-materials.cdx.json"),
        serde_json::to_string_pretty(&bill::of_materials(&parts))?,
    )?;
    std::fs::write(folder.join("licences.txt"), bill::of_licences(&parts))?;
    let build = yagura_testkit::build_folder();
    helm::install(&build)?;
    run(Command::new(helm::program(&build))
        .args(["package", "deploy/helm/yagura", "--destination"])
        .arg(&folder))?;
    for (from, to) in DOCUMENTS {
        let to = folder.join("documents").join(to);
        std::fs::create_dir_all(to.parent().context("a folder")?)?;
        run(Command::new("cp").arg("-rL").arg(from).arg(to))?;
    }
    std::fs::write(folder.join("image-digest"), format!("{digest}\n"))?;
    sums(&folder)?;
    println!("{}", verify(&folder)?);
    Ok(())
}

fn fresh(folder: &str) -> Result<PathBuf> {
    let folder = PathBuf::from(folder);
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    std::fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// Writes the checksums of all files of a folder.
fn sums(folder: &Path) -> Result<()> {
    let mut files = Vec::new();
    gather(folder, &mut files)?;
    files.sort();
    let mut out = String::new();
    for file in files {
        let name = file.strip_prefix(folder)?.display().to_string();
        out += &format!("{}  {name}\n", image::sha256(&std::fs::read(&file)?));
    }
    Ok(std::fs::write(folder.join("SHA256SUMS"), out)?)
}

fn gather(folder: &Path, out: &mut Vec<PathBuf>) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => gather(&path, out)?,
            false => out.push(path),
        }
    }
    Ok(())
}

/// Checks a bundle as somebody would who got it: the sums, and that the image's program starts.
pub fn verify(folder: &Path) -> Result<String> {
    run(Command::new("sha256sum").args(["--check", "--strict", "--quiet", "SHA256SUMS"]).current_dir(folder))
        .context("the bundle is damaged")?;
    let image = std::fs::read_dir(folder)?.flatten().map(|file| file.path());
    let image = image.filter(|file| file.display().to_string().ends_with("-image.tar")).last();
    let said = image::verify(&image.context("no image in the bundle")?)?;
    Ok(format!("{}: all files are as they were made; the image's program says `{said}`", folder.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_changed_is_noticed() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir(folder.path().join("inner")).expect("a folder");
        std::fs::write(folder.path().join("inner/file"), "one").expect("a file");
        sums(folder.path()).expect("sums");
        let said = verify(folder.path()).expect_err("there is no image").to_string();
        assert!(said.contains("no image"), "{said}");
        std::fs::write(folder.path().join("inner/file"), "two").expect("a file");
        let said = verify(folder.path()).expect_err("it changed").to_string();
        assert!(said.contains("damaged"), "{said}");
    }
}
