//! The Debian package: the program with live capture, its unit, a configuration to begin with.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::run;

const CONTROL: &str = "Package: yagura
Version: {version}
Architecture: {architecture}
Maintainer: The authors of Yagura
Section: net
Priority: optional
Depends: {needs}
Description: real-time anomaly detection for a semiconductor fab
 Reads what equipment reports and what crosses the plant network, learns what
 normal is, and raises alerts that the person on shift can act on. It never
 writes to the plant.
";

/// Makes the user; starts nothing, since nobody has configured it yet.
const AFTER: &str = r#"#!/bin/sh
set -e
if [ "$1" = configure ]; then
    getent group yagura >/dev/null || groupadd --system yagura
    getent passwd yagura >/dev/null || useradd --system --gid yagura --home-dir /var/lib/yagura --no-create-home --shell /usr/sbin/nologin yagura
    chgrp yagura /etc/yagura /etc/yagura/yagura.yaml
    if [ -d /run/systemd/system ]; then
        systemctl daemon-reload
        # An update goes on where the old program stopped.
        systemctl try-restart yagura.service
    fi
fi
"#;

const BEFORE_GOING: &str = r#"#!/bin/sh
set -e
if [ "$1" = remove ] && [ -d /run/systemd/system ]; then
    systemctl disable --now yagura.service
fi
"#;

/// Writes a package of `program` into `folder`; answers its file.
pub fn write(program: &Path, version: &str, folder: &Path) -> Result<PathBuf> {
    let work = tempfile::tempdir()?;
    let root = work.path().join("yagura");
    let put = |from: &Path, to: &str, mode: u32| -> Result<()> {
        let to = root.join(to);
        std::fs::create_dir_all(to.parent().context("a folder")?)?;
        std::fs::copy(from, &to).with_context(|| from.display().to_string())?;
        Ok(std::fs::set_permissions(to, std::fs::Permissions::from_mode(mode))?)
    };
    let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    put(program, "usr/bin/yagura", 0o755)?;
    run(Command::new("strip").arg(root.join("usr/bin/yagura")))?;
    put(&tree.join("deploy/systemd/yagura.service"), "usr/lib/systemd/system/yagura.service", 0o644)?;
    put(&tree.join("deploy/systemd/yagura.yaml"), "etc/yagura/yagura.yaml", 0o640)?;
    put(&tree.join("deploy/README.md"), "usr/share/doc/yagura/README.md", 0o644)?;
    put(&tree.join("README.md"), "usr/share/doc/yagura/project.md", 0o644)?;
    put(&tree.join("crates/yagura-collect/README.md"), "usr/share/doc/yagura/collectors.md", 0o644)?;
    put(&tree.join("crates/yagura-respond/README.md"), "usr/share/doc/yagura/sinks.md", 0o644)?;
    put(&tree.join("LICENSE"), "usr/share/doc/yagura/copyright", 0o644)?;
    std::fs::set_permissions(root.join("etc/yagura"), std::fs::Permissions::from_mode(0o750))?;
    let control = root.join("DEBIAN");
    std::fs::create_dir_all(&control)?;
    let said = said(Command::new("dpkg").arg("--print-architecture"))?;
    let text = CONTROL
        .replace("{version}", version)
        .replace("{architecture}", said.trim())
        .replace("{needs}", &needs(program)?);
    std::fs::write(control.join("control"), text)?;
    std::fs::write(control.join("conffiles"), "/etc/yagura/yagura.yaml\n")?;
    for (name, script) in [("postinst", AFTER), ("prerm", BEFORE_GOING)] {
        std::fs::write(control.join(name), script)?;
        std::fs::set_permissions(control.join(name), std::fs::Permissions::from_mode(0o755))?;
    }
    let file = folder.join(format!("yagura_{version}_{}.deb", said.trim()));
    let mut build = Command::new("dpkg-deb");
    build
        .args(["--build", "--root-owner-group", "-Zgzip"])
        .arg(&root)
        .arg(&file)
        .env("SOURCE_DATE_EPOCH", "0");
    run(&mut build)?;
    Ok(file)
}

/// The Debian packages that a program needs.
fn needs(program: &Path) -> Result<String> {
    let glibc = format!("libc6 (>= {})", glibc(program)?);
    let linked = said(Command::new("objdump").arg("-p").arg(program))?;
    // Its name is the same in every release: newer ones provide it.
    Ok(if linked.contains("libpcap.so.0.8") { glibc + ", libpcap0.8" } else { glibc })
}

/// The newest version of glibc's symbols that a program asks for.
fn glibc(program: &Path) -> Result<String> {
    let symbols = said(Command::new("objdump").arg("-T").arg(program))?;
    let versions = symbols.split("GLIBC_").skip(1).filter_map(|rest| {
        let version: String = rest.chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        let numbers: Option<Vec<u32>> = version.split('.').map(|part| part.parse().ok()).collect();
        Some((numbers?, version))
    });
    Ok(versions.max().context("the program asks for no glibc")?.1)
}

fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?} cannot be started"))?;
    if !output.status.success() {
        bail!("{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_with_live_capture_needs_libpcap() {
        let needed = |program: &str| needs(Path::new(program)).expect("a program");
        let capturing = needed("/usr/bin/dumpcap");
        assert!(capturing.starts_with("libc6 (>= 2.") && capturing.ends_with("), libpcap0.8"), "{capturing}");
        assert!(!needed("/usr/bin/curl").contains("libpcap"));
    }

    #[test]
    #[expect(clippy::print_stderr, reason = "a test that is not run says so")]
    fn a_package_holds_the_program_its_unit_and_a_configuration_that_is_right() {
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/debug/yagura");
        if !program.exists() {
            eprintln!("SKIPPED: no program yet");
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let package = write(&program, "0.0.1", folder.path()).expect("a package");
        let about = said(Command::new("dpkg-deb").arg("--info").arg(&package)).expect("about it");
        assert!(about.contains("Version: 0.0.1") && about.contains("libc6 (>= 2."), "{about}");
        let root = folder.path().join("root");
        said(Command::new("dpkg-deb").arg("--extract").arg(&package).arg(&root)).expect("unpacked");
        let installed = root.join("usr/bin/yagura");
        let configuration = root.join("etc/yagura/yagura.yaml");
        let valid = Command::new(&installed).args(["validate", "--config"]).arg(&configuration).output();
        let valid = valid.expect("it starts");
        assert!(valid.status.success(), "{}", String::from_utf8_lossy(&valid.stderr));
        let unit =
            std::fs::read_to_string(root.join("usr/lib/systemd/system/yagura.service")).expect("a unit");
        for line in ["User=yagura", "ProtectSystem=strict", "CapabilityBoundingSet=\n", "NoNewPrivileges=yes"]
        {
            assert!(unit.contains(line), "{line}");
        }
    }
}
