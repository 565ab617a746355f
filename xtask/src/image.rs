//! The container image: the program, the shared libraries that it is linked with, and nothing else. Made without
//! pulling anything, and the same bytes from the same program.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use crate::run;

/// Whom the program runs as: nobody in particular.
const USER: u32 = 65532;

/// Writes an image of `program` into `archive`: an OCI image layout in a tar, which also says where things are as
/// `docker load` wants to know. Answers the digest of its manifest.
pub fn write(program: &Path, version: &str, archive: &Path) -> Result<String> {
    let work = tempfile::tempdir()?;
    let (root, layout) = (work.path().join("root"), work.path().join("layout"));
    fill(program, &root)?;
    let blobs = layout.join("blobs/sha256");
    std::fs::create_dir_all(&blobs)?;
    let layer = work.path().join("layer.tar");
    tar(&root, &layer, &["./var/lib/yagura"])?;
    let (layer, layer_bytes) = blob(&blobs, &std::fs::read(&layer)?)?;
    let config = json!({
        "architecture": architecture()?,
        "os": "linux",
        "config": {
            "User": format!("{USER}:{USER}"),
            "Entrypoint": ["/usr/bin/yagura"],
            "Cmd": ["run", "--config", "/etc/yagura/yagura.yaml"],
            "WorkingDir": "/var/lib/yagura",
            "ExposedPorts": { "9600/tcp": {} },
            "Labels": {
                "org.opencontainers.image.title": "yagura",
                "org.opencontainers.image.version": version,
                "org.opencontainers.image.licenses": "Apache-2.0",
            },
        },
        "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{layer}")] },
        "history": [{ "created_by": "cargo xtask image" }],
    });
    let (config, config_bytes) = blob(&blobs, &serde_json::to_vec(&config)?)?;
    let kind = |of: &str| format!("application/vnd.oci.image.{of}");
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": kind("manifest.v1+json"),
        "config": { "mediaType": kind("config.v1+json"), "digest": format!("sha256:{config}"), "size": config_bytes },
        "layers": [{ "mediaType": kind("layer.v1.tar"), "digest": format!("sha256:{layer}"), "size": layer_bytes }],
    });
    let (manifest, manifest_bytes) = blob(&blobs, &serde_json::to_vec(&manifest)?)?;
    let name = format!("yagura:{version}");
    let index = json!({
        "schemaVersion": 2,
        "mediaType": kind("index.v1+json"),
        "manifests": [{
            "mediaType": kind("manifest.v1+json"),
            "digest": format!("sha256:{manifest}"),
            "size": manifest_bytes,
            "annotations": { "org.opencontainers.image.ref.name": version, "io.containerd.image.name": name },
        }],
    });
    let put = |file: &str, value: &Value| std::fs::write(layout.join(file), value.to_string());
    put("index.json", &index)?;
    put("oci-layout", &json!({ "imageLayoutVersion": "1.0.0" }))?;
    let path = |digest: &str| format!("blobs/sha256/{digest}");
    put(
        "manifest.json",
        &json!([{ "Config": path(&config), "RepoTags": [name], "Layers": [path(&layer)] }]),
    )?;
    tar(&layout, archive, &[])?;
    Ok(format!("sha256:{manifest}"))
}

/// The root file system.
fn fill(program: &Path, root: &Path) -> Result<()> {
    let put = |from: &Path, to: &str| -> Result<()> {
        let to = root.join(to.trim_start_matches('/'));
        std::fs::create_dir_all(to.parent().context("a folder")?)?;
        std::fs::copy(from, &to).with_context(|| from.display().to_string())?;
        Ok(std::fs::set_permissions(&to, std::fs::Permissions::from_mode(0o755))?)
    };
    put(program, "/usr/bin/yagura")?;
    run(Command::new("strip").arg(root.join("usr/bin/yagura")))?;
    for library in libraries(program)? {
        let name = library.to_str().context("a library's name")?.to_string();
        put(&library.canonicalize()?, &name)?;
    }
    for folder in ["etc/yagura", "var/lib/yagura", "tmp", "proc", "sys", "dev"] {
        std::fs::create_dir_all(root.join(folder))?;
    }
    std::fs::set_permissions(root.join("tmp"), std::fs::Permissions::from_mode(0o1777))?;
    // Who asks for the name of the user gets one.
    std::fs::write(
        root.join("etc/passwd"),
        format!("yagura:x:{USER}:{USER}::/var/lib/yagura:/nonexistent\n"),
    )?;
    std::fs::write(root.join("etc/group"), format!("yagura:x:{USER}:\n"))?;
    std::fs::write(root.join("etc/nsswitch.conf"), "hosts: files dns\n")?;
    Ok(())
}

/// The shared libraries of a program and its loader, as it names them.
fn libraries(program: &Path) -> Result<BTreeSet<PathBuf>> {
    let output = Command::new("ldd").arg(program).output().context("ldd cannot be started")?;
    if !output.status.success() {
        bail!("ldd {}: {}", program.display(), String::from_utf8_lossy(&output.stderr));
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if said.contains("not found") {
        bail!("a library is missing: {said}");
    }
    let mut out: BTreeSet<PathBuf> =
        said.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect();
    // What glibc itself opens to look names up; part of it since 2.34.
    let beside: Vec<PathBuf> =
        out.iter().filter_map(|file| Some(file.parent()?.join("libnss_dns.so.2"))).collect();
    out.extend(beside.into_iter().filter(|file| file.exists()));
    Ok(out)
}

fn architecture() -> Result<&'static str> {
    match std::env::consts::ARCH {
        "x86_64" => Ok("amd64"),
        "aarch64" => Ok("arm64"),
        other => bail!("images of {other} are not made"),
    }
}

/// A tar of a folder's content that depends on nothing but that content. All is root's, save the folders that are the
/// `own` of whom the program runs as.
fn tar(folder: &Path, archive: &Path, own: &[&str]) -> Result<()> {
    let write = |how: &str, owner: u32, exclude: &[&str], names: &[&str]| {
        let mut command = Command::new("tar");
        command.args([
            how,
            "--format=pax",
            "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime",
        ]);
        command.args(["--sort=name", "--mtime=@0", "--numeric-owner"]);
        command.arg(format!("--owner=:{owner}")).arg(format!("--group=:{owner}"));
        command.args(exclude.iter().map(|name| format!("--exclude={name}")));
        run(command.arg("--file").arg(archive).arg("--directory").arg(folder).args(names))
    };
    write("--create", 0, own, &["."])?;
    match own {
        [] => Ok(()),
        own => write("--append", USER, &[], own),
    }
}

/// Writes a blob under its digest; answers that and its size.
fn blob(folder: &Path, bytes: &[u8]) -> Result<(String, usize)> {
    let digest = sha256(bytes);
    std::fs::write(folder.join(&digest), bytes)?;
    Ok((digest, bytes.len()))
}

/// SHA-256, as people compare it.
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Unpacks an image, checks every digest on the way, and has its program say its version with nothing else around.
/// Answers what it said.
pub fn verify(archive: &Path) -> Result<String> {
    let work = tempfile::tempdir()?;
    let (layout, root) = (work.path().join("layout"), work.path().join("root"));
    let unpack = |archive: &Path, into: &Path| -> Result<()> {
        std::fs::create_dir_all(into)?;
        run(Command::new("tar").arg("--extract").arg("--file").arg(archive).arg("--directory").arg(into))
    };
    unpack(archive, &layout)?;
    let read = |digest: &Value| -> Result<Vec<u8>> {
        let digest = digest.as_str().and_then(|d| d.strip_prefix("sha256:")).context("no digest")?;
        let bytes = std::fs::read(layout.join("blobs/sha256").join(digest))?;
        if sha256(&bytes) != digest {
            bail!("{}: the blob {digest} holds something else", archive.display());
        }
        Ok(bytes)
    };
    let index: Value = serde_json::from_slice(&std::fs::read(layout.join("index.json"))?)?;
    let manifest: Value = serde_json::from_slice(&read(&index["manifests"][0]["digest"])?)?;
    let config: Value = serde_json::from_slice(&read(&manifest["config"]["digest"])?)?;
    if config["config"]["User"] != format!("{USER}:{USER}") {
        bail!("the image runs as {}", config["config"]["User"]);
    }
    let layer = work.path().join("layer.tar");
    std::fs::write(&layer, read(&manifest["layers"][0]["digest"])?)?;
    unpack(&layer, &root)?;
    if ["bin/sh", "usr/bin/sh", "bin/busybox"].iter().any(|shell| root.join(shell).exists()) {
        bail!("the image has a shell");
    }
    let mut program = Command::new("unshare");
    program.args(["--map-root-user", "chroot"]).arg(&root).args(["/usr/bin/yagura", "--version"]);
    let output = program.output().context("unshare cannot be started")?;
    if !output.status.success() {
        bail!("the image's program does not start: {}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[expect(clippy::print_stderr, reason = "a test that is not run says so")]
    fn an_image_has_all_that_its_program_needs_and_is_the_same_again() {
        // Built beside the tests where the whole workspace is tested.
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/debug/yagura");
        if !program.exists() {
            eprintln!("SKIPPED: no program yet");
            return;
        }
        let folder = tempfile::tempdir().expect("a folder");
        let (first, second) = (folder.path().join("a.tar"), folder.path().join("b.tar"));
        let digest = write(&program, "0.0.1", &first).expect("an image");
        assert_eq!(write(&program, "0.0.1", &second).expect("an image"), digest);
        assert_eq!(std::fs::read(&first).expect("a"), std::fs::read(&second).expect("b"));
        assert!(verify(&first).expect("it is right").starts_with("yagura "));
        let mut damaged = std::fs::read(&first).expect("a file");
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        std::fs::write(&first, damaged).expect("a file");
        assert!(verify(&first).is_err(), "a damaged image must not pass");
    }
}
