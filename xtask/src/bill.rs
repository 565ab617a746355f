//! What is in the program: a bill of materials (CycloneDX 1.6) and a report of licences, from Cargo's own metadata.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// A crate that is in the program.
pub struct Part {
    id: String,
    pub name: String,
    pub version: String,
    /// An SPDX expression.
    pub licence: String,
    folder: String,
    authors: Vec<String>,
    /// Ids of what it is built on.
    on: Vec<String>,
    ours: bool,
}

/// Every crate that the program is linked from, this workspace's own included, by name and version. Dependencies of
/// tests and of other machines' kinds are none.
pub fn parts() -> Result<Vec<Part>> {
    // With live capture, which the package has and the image has not.
    let arguments = ["metadata", "--format-version=1", "--locked", "--features=yagura/pcap"];
    let platform = "--filter-platform=x86_64-unknown-linux-gnu";
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output =
        Command::new(cargo).args(arguments).arg(platform).output().context("cargo cannot be started")?;
    if !output.status.success() {
        bail!("cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    }
    let metadata: Value = serde_json::from_slice(&output.stdout)?;
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let nodes: BTreeMap<String, Value> =
        list(&metadata["resolve"]["nodes"]).into_iter().map(|node| (text(&node["id"]), node)).collect();
    let packages: BTreeMap<String, Value> =
        list(&metadata["packages"]).into_iter().map(|package| (text(&package["id"]), package)).collect();
    let program =
        packages.iter().find(|(_, package)| package["name"] == "yagura").context("no package yagura")?;
    let (mut found, mut open) = (BTreeMap::new(), vec![program.0.clone()]);
    while let Some(id) = open.pop() {
        if found.contains_key(&id) {
            continue;
        }
        let package = packages.get(&id).context("a package without its metadata")?;
        // What is there while it is built is not in it, but for what builds bundled C code: its version is theirs.
        let linked =
            |dependency: &Value| list(&dependency["dep_kinds"]).iter().any(|kind| kind["kind"] != "dev");
        let on: Vec<String> = list(&nodes.get(&id).context("a package without a place")?["deps"])
            .iter()
            .filter(|dependency| linked(dependency))
            .map(|dependency| text(&dependency["pkg"]))
            .collect();
        open.extend(on.iter().cloned());
        let licence = match (package["license"].as_str(), package["license_file"].as_str()) {
            // Crates of old write a slash for `OR`.
            (Some(expression), _) => expression.split('/').map(str::trim).collect::<Vec<_>>().join(" OR "),
            (None, Some(_)) => "LicenseRef-file".into(),
            (None, None) => String::new(),
        };
        let manifest = text(&package["manifest_path"]);
        let part = Part {
            id: id.clone(),
            name: text(&package["name"]),
            version: text(&package["version"]),
            licence,
            folder: manifest.trim_end_matches("Cargo.toml").into(),
            authors: list(&package["authors"]).iter().map(text).collect(),
            on,
            ours: package["source"].is_null(),
        };
        found.insert(id, part);
    }
    let mut parts: Vec<Part> = found.into_values().collect();
    parts.sort_by(|a, b| (&a.name, &a.version).cmp(&(&b.name, &b.version)));
    Ok(parts)
}

fn purl(part: &Part) -> String {
    format!("pkg:cargo/{}@{}", part.name, part.version)
}

/// The bill of materials.
pub fn of_materials(parts: &[Part]) -> Value {
    let by_id: BTreeMap<&str, &Part> = parts.iter().map(|part| (part.id.as_str(), part)).collect();
    let component = |part: &Part| {
        json!({
            "type": if part.name == "yagura" { "application" } else { "library" },
            "bom-ref": purl(part),
            "name": part.name,
            "version": part.version,
            "purl": purl(part),
            "licenses": [{ "expression": part.licence }],
        })
    };
    let depends = |part: &Part| {
        let on: BTreeSet<String> =
            part.on.iter().filter_map(|id| by_id.get(id.as_str())).map(|on| purl(on)).collect();
        json!({ "ref": purl(part), "dependsOn": on })
    };
    let program = parts.iter().find(|part| part.name == "yagura");
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": { "component": program.map(component) },
        "components": parts.iter().filter(|part| part.name != "yagura").map(component).collect::<Vec<_>>(),
        "dependencies": parts.iter().map(depends).collect::<Vec<_>>(),
    })
}

/// Licences under which what others wrote may be in the program, one of each `OR`, all of each `AND`.
const TAKEN: &[&str] = &[
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-1-Clause",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "BSL-1.0",
    "CC0-1.0",
    "CDLA-Permissive-2.0",
    "ISC",
    "MIT",
    "MIT-0",
    "OpenSSL",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
    "bzip2-1.0.6",
    // Used as it is published: async-opcua and what is like it.
    "MPL-2.0",
];

/// The parts whose licence is not one that is taken.
pub fn refused(parts: &[Part]) -> Vec<String> {
    let bad = parts.iter().filter(|part| !part.ours && !is_taken(&part.licence));
    bad.map(|part| format!("{} {}: `{}`", part.name, part.version, part.licence)).collect()
}

fn is_taken(expression: &str) -> bool {
    let words = expression.replace('(', " ( ").replace(')', " ) ").replace(" WITH ", "\u{1}");
    let words: Vec<&str> = words.split_whitespace().collect();
    let mut at = 0;
    let taken = any_of(&words, &mut at);
    taken && at == words.len()
}

fn any_of(words: &[&str], at: &mut usize) -> bool {
    let mut taken = all_of(words, at);
    while words.get(*at) == Some(&"OR") {
        *at += 1;
        taken |= all_of(words, at);
    }
    taken
}

fn all_of(words: &[&str], at: &mut usize) -> bool {
    let mut taken = one(words, at);
    while words.get(*at) == Some(&"AND") {
        *at += 1;
        taken &= one(words, at);
    }
    taken
}

fn one(words: &[&str], at: &mut usize) -> bool {
    let Some(word) = words.get(*at) else { return false };
    *at += 1;
    if *word == "(" {
        let taken = any_of(words, at);
        let closed = words.get(*at) == Some(&")");
        *at += 1;
        return taken && closed;
    }
    TAKEN.contains(&word.replace('\u{1}', " WITH ").as_str())
}

/// Who wrote what is in the program and under which licence, with the texts that the crates bring.
pub fn of_licences(parts: &[Part]) -> String {
    let mut out = String::from("What Yagura is linked from, and under which licences.\n\n");
    for part in parts.iter().filter(|part| !part.ours) {
        let authors =
            if part.authors.is_empty() { String::new() } else { format!(", by {}", part.authors.join(", ")) };
        out += &format!("{} {}: {}{authors}\n", part.name, part.version, part.licence);
    }
    // Many crates bring the same text.
    let mut texts: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for part in parts.iter().filter(|part| !part.ours) {
        for text in texts_in(Path::new(&part.folder)) {
            texts.entry(text).or_default().push(format!("{} {}", part.name, part.version));
        }
    }
    for (text, of) in texts {
        out += &format!("\n{}\n{}\n\n{}\n", "=".repeat(80), of.join(", "), text.trim_end());
    }
    out
}

fn texts_in(folder: &Path) -> Vec<String> {
    let beginnings = ["LICENSE", "LICENCE", "COPYING", "COPYRIGHT", "NOTICE", "UNLICENSE"];
    let is_one = |name: &str| beginnings.iter().any(|beginning| name.to_uppercase().starts_with(beginning));
    let mut files: Vec<_> = std::fs::read_dir(folder).into_iter().flatten().flatten().collect();
    files.retain(|file| file.file_name().to_str().is_some_and(is_one));
    files.sort_by_key(std::fs::DirEntry::file_name);
    files.iter().filter_map(|file| std::fs::read_to_string(file.path()).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_taken_when_one_of_its_choices_is() {
        for (expression, taken) in [
            ("MIT", true),
            ("MIT OR GPL-3.0-only", true),
            ("GPL-3.0-only", false),
            ("MIT AND GPL-3.0-only", false),
            ("(MIT OR Apache-2.0) AND Unicode-3.0", true),
            ("Apache-2.0 WITH LLVM-exception OR MIT", true),
            ("GPL-2.0-only WITH Classpath-exception-2.0", false),
            ("(MIT", false),
            ("MIT MIT", false),
            ("", false),
        ] {
            assert_eq!(is_taken(expression), taken, "{expression}");
        }
    }

    #[test]
    fn everything_that_the_program_is_linked_from_may_be_in_it_and_is_billed() {
        let parts = parts().expect("parts");
        assert_eq!(refused(&parts), [""; 0]);
        let bill = of_materials(&parts);
        let refs: BTreeSet<&str> = bill["components"]
            .as_array()
            .expect("a list")
            .iter()
            .filter_map(|c| c["bom-ref"].as_str())
            .collect();
        for wanted in [
            "pkg:cargo/yagura-detect@",
            "pkg:cargo/datafusion@",
            "pkg:cargo/rdkafka-sys@",
            "pkg:cargo/openssl-src@",
        ] {
            assert!(refs.iter().any(|found| found.starts_with(wanted)), "no {wanted}");
        }
        // Tests' own dependencies are not in the program.
        assert!(!refs.iter().any(|found| found.starts_with("pkg:cargo/yagura-testkit@")));
        for dependency in bill["dependencies"].as_array().expect("a list") {
            for on in dependency["dependsOn"].as_array().expect("a list") {
                assert!(refs.contains(on.as_str().expect("a reference")), "{on} is nothing");
            }
        }
        assert!(of_licences(&parts).contains("Apache License"));
    }
}
