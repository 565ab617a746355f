//! What users write wrongly: one message with the place and the choices, exit code 2, nothing started.

use yagura_testkit::certificates::Certificates;

use crate::{folder, scene, text, yagura};

/// A pipeline with one mistake: exit code 2 and a message with file, line, column and choices.
fn refused(pipeline: &str, line_and_column: &str, parts: &[&str]) {
    let folder = folder();
    let file = folder.path().join("broken.yaml");
    std::fs::write(&file, pipeline).expect("a file");
    let out = yagura(&["validate", &file.display().to_string()]);
    let message = text(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{message}");
    assert!(message.contains(&format!("broken.yaml:{line_and_column}:")), "{message}");
    for part in parts {
        assert!(message.contains(part), "{part} is missing in: {message}");
    }
}

const GOOD: &str = "version: 1
detections:
  - id: x
    title: X
    queue: security
    severity: low
    on: message
    where: operation = 'write'
    by: [tool]
    summary: '{tool}'
    then: Look.
";

#[test]
fn mistakes_in_pipelines_name_their_place_and_the_choices() {
    refused(&GOOD.replace("severity", "severty"), "6:5", &["severty", "severity"]);
    refused(&GOOD.replace("operation = ", "opperation = "), "8:12", &["opperation", "operation", "function"]);
    refused(&GOOD.replace("on: message", "on: mesage"), "7:9", &["mesage", "message, flow"]);
    refused(&GOOD.replace("[tool]", "[tol]"), "9:10", &["tol", "tool"]);
    refused(
        &GOOD
            .replace("    by:", "    model: { name: garud }\n    by:")
            .replace("message\n    where: operation = 'write'", "sample"),
        "8:20",
        &["garud", "guard"],
    );
    refused(
        &GOOD.replace("    by:", "    knwon: { of: [tool] }\n    by:"),
        "9:5",
        &["knwon", "known", "model"],
    );
    refused(&GOOD.replace("queue: security", "queue: safety"), "5:12", &["safety", "security"]);
}

#[test]
fn mistakes_in_the_configuration_name_their_place() {
    let folder = folder();
    let file = folder.path().join("yagura.yaml");
    std::fs::write(&file, "version: 1\ncolectors: []\n").expect("a file");
    let out = yagura(&["run", "--config", &file.display().to_string()]);
    let message = text(&out.stderr);
    assert_eq!(out.status.code(), Some(2), "{message}");
    assert!(message.contains("yagura.yaml:2:1:") && message.contains("collectors"), "{message}");
    std::fs::write(&file, "version: 1\ncollectors: [{name: a, kind: profibus, path: x}]\n").expect("a file");
    let message = text(&yagura(&["run", "--config", &file.display().to_string()]).stderr);
    assert!(
        message.contains("profibus") && message.contains("packets (a pcap or pcapng file), jsonl"),
        "{message}"
    );
    for (collector, said) in [
        ("kind: packets", "missing field `path`"),
        ("kind: jsonl, path: x", "missing field `mapping`"),
        ("kind: packets, path: x, filter: 'port 1'", "unknown field `filter`, expected `path` or `limits`"),
        ("kind: interface", "missing field `interfaces`"),
        ("kind: interface, interfaces: []", "`interfaces` has 1 to 64 names"),
        ("kind: interface, interfaces: [a], ring: { folder: r, byte_max: 1 }", "byte_max"),
        ("kind: interface, interfaces: [a], capture: { wait: soon }", "soon"),
    ] {
        let config = format!("version: 1\ncollectors: [{{ name: tap, {collector} }}]\n");
        std::fs::write(&file, config).expect("a file");
        let out = yagura(&["validate", "--config", &file.display().to_string()]);
        let message = text(&out.stderr);
        assert_eq!(out.status.code(), Some(2), "{collector}: {message}");
        assert!(message.contains(said), "{collector}: {message}");
    }
    for console in ["nonsense", ":9600", "localhost:http"] {
        std::fs::write(&file, format!("version: 1\nconsole: '{console}'\n")).expect("a file");
        let out = yagura(&["run", "--config", &file.display().to_string()]);
        let message = text(&out.stderr);
        // Who starts it again and again goes by this code.
        assert_eq!(out.status.code(), Some(2), "{console}: {message}");
        assert!(message.contains(&format!("`console: {console}` is no address")), "{message}");
    }
    assert!(!folder.path().join("yagura-data").exists(), "nothing was started");
}

/// Documents rot unless somebody reads them.
#[test]
fn the_configurations_in_the_readme_are_valid() {
    let readme =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../README.md")).expect("the README");
    let blocks: Vec<&str> =
        readme.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(blocks.len() >= 2);
    for block in blocks {
        let folder = folder();
        let scene = scene(folder.path());
        let certificates = Certificates::make(&folder.path().join("tls")).expect("certificates");
        let file = folder.path().join("yagura.yaml");
        std::fs::write(&file, block).expect("a file");
        std::fs::write(folder.path().join("badge.jsonl"), "").expect("a file");
        std::fs::write(folder.path().join("plant.key"), "key").expect("a file");
        std::fs::copy(&scene.packets, folder.path().join("cell.pcap")).expect("a copy");
        std::fs::copy(&scene.dictionary, folder.path().join("more.csv")).expect("a copy");
        let sedd = "<DataDictionary><SEDDHeader><MDLN>OX-9</MDLN></SEDDHeader></DataDictionary>";
        std::fs::write(folder.path().join("etch.xml"), sedd).expect("a file");
        for (from, to) in [
            ("ca.pem", "siem-ca.pem"),
            ("yagura.pem", "yagura.pem"),
            ("yagura.key", "yagura.key"),
            ("ca.pem", "kafka-ca.pem"),
        ] {
            std::fs::copy(certificates.file(from), folder.path().join(to)).expect("a copy");
        }
        std::fs::write(folder.path().join("kafka.password"), "secret").expect("a file");
        std::fs::write(folder.path().join("tokens"), "mori analyst 0123456789abcdef0123\n").expect("a file");
        std::fs::write(folder.path().join("users"), "grafana:horse-battery-staple\n").expect("a file");
        std::fs::write(folder.path().join("mutes.yaml"), "version: 1\nmutes: []\n").expect("a file");
        let out = yagura(&["validate", "--config", &file.display().to_string()]);
        if block.contains("kind: interface") {
            // The rest of it was read; this machine has no such interface, and this program no libpcap.
            let message = text(&out.stderr);
            assert_eq!(out.status.code(), Some(2), "{message}");
            let said = if cfg!(feature = "pcap") { "no interface eth1" } else { "--features pcap" };
            assert!(message.contains("collector mirror") && message.contains(said), "{message}");
            continue;
        }
        assert!(out.status.success(), "{block}\n{}", text(&out.stderr));
    }
}

#[test]
fn missing_files_are_named_with_what_to_do() {
    let folder = folder();
    let file = folder.path().join("yagura.yaml");
    let tls = "tls: { ca: no-ca.pem }";
    for (config, missing, said) in [
        ("collectors: [{ name: tap, kind: packets, path: no.pcap }]".to_string(), "no.pcap", "collector tap"),
        ("plant_key_file: no.key".into(), "no.key", "the plant's key cannot be read"),
        ("dictionaries: [no.csv]".into(), "no.csv", "No such file"),
        ("pipelines: [no.yaml]".into(), "no.yaml", "cannot be read"),
        (
            format!("sinks: [{{ name: siem, kind: relp, address: 'a:1', {tls} }}]"),
            "no-ca.pem",
            "cannot be read",
        ),
        (
            format!("log: {{ kafka: {{ brokers: 'a:1', security: {{ {tls} }} }} }}"),
            "no-ca.pem",
            "put it there or correct",
        ),
    ] {
        // It is looked for in the configuration's folder, so that is where it is said to be missing.
        let missing = folder.path().join(missing).display().to_string();
        std::fs::write(&file, format!("version: 1\n{config}\n")).expect("a file");
        for command in ["validate", "run"] {
            let out = yagura(&[command, "--config", &file.display().to_string()]);
            let message = text(&out.stderr);
            assert_eq!(out.status.code(), Some(2), "{command} {config}: {message}");
            assert!(message.contains(&missing) && message.contains(said), "{command} {config}: {message}");
        }
        assert!(!folder.path().join("yagura-data").exists(), "nothing was started");
    }
    for arguments in [
        &["run", "--config", "no.yaml"][..],
        &["validate", "--config", "no.yaml"],
        &["test", "no.yaml"],
        &["replay", "--config", "no.yaml"],
    ] {
        let out = yagura(arguments);
        assert_eq!(out.status.code(), Some(2), "{arguments:?}");
        assert!(text(&out.stderr).contains("no.yaml"), "{arguments:?}: {}", text(&out.stderr));
    }
    std::fs::write(&file, "version: 1\n").expect("a file");
    let out = yagura(&["replay", "--config", &file.display().to_string()]);
    assert_eq!(out.status.code(), Some(2));
    assert!(text(&out.stderr).contains("no log yet; `yagura run`"), "{}", text(&out.stderr));
}

#[test]
fn help_shows_examples_and_exit_codes_and_unknown_options_are_refused() {
    for command in ["demo", "run", "validate", "read", "test", "replay", "dead", "tap", "top"] {
        let help = text(&yagura(&[command, "--help"]).stdout);
        let examples = help.split_once("Examples:\n").expect("examples").1;
        assert!(examples.contains(&format!("yagura {command}")), "{help}");
        for code in ["Exit codes:", "\n  0  ", "\n  1  ", "\n  2  "] {
            assert!(examples.contains(code), "{code} is missing in: {help}");
        }
        let out = yagura(&[command, "--no-such-option"]);
        assert_eq!(out.status.code(), Some(2), "{command}");
        let message = text(&out.stderr);
        assert!(message.contains("--no-such-option") && message.contains("--help"), "{message}");
    }
}
