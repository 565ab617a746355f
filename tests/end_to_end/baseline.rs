//! What detections learn, from the first sample to a signed baseline and back.

use std::fmt::Write as _;
use std::path::Path;

use serde_json::{Value, json};
use yagura_event::clock;

use crate::{alerts_of, command, embedded, folder, run_to_the_end, start, text, wait_for, yagura};

const PIPELINE: &str = "version: 1
detections:
  - { id: drift, title: D, queue: security, severity: low, on: sample, by: [tool, signal], quiet: 1h,
      model: { name: guard, findings: [drift] }, summary: '{tool} {seen} {expected}', then: Look. }
  - { id: badge, title: B, queue: security, severity: low, on: log, by: [user], quiet: 1h,
      known: { of: [tool, user], from: learning }, summary: '{user} at {tool}', then: Look. }
";
/// 2026-11-23T00:00:00Z.
const MIDNIGHT: i64 = 1_795_392_000 * clock::SECOND;

/// A sample a second from a second on, about a level that walks.
fn samples(folder: &Path, name: &str, from: i64, level: impl Fn(i64) -> f64) {
    let (mut lines, mut noise) = (String::new(), from as u64 + 7);
    for second in 0..600 {
        noise = noise.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        let value = level(second) + (noise >> 11) as f64 / (1_u64 << 53) as f64 - 0.5;
        let time = clock::rfc3339(MIDNIGHT + (from + second) * clock::SECOND);
        let line = json!({"time": time, "tool": "ETCH-07", "signal": "flow", "unit": "sccm", "value": value});
        let _ = writeln!(lines, "{line}");
    }
    std::fs::write(folder.join(name), lines).expect("a file");
}

fn badges(folder: &Path, name: &str, from: i64, users: &[&str]) {
    let line = |(n, user): (usize, &&str)| {
        let time = clock::rfc3339(MIDNIGHT + (from + n as i64) * clock::SECOND);
        format!("{}\n", json!({"time": time, "tool": "GATE", "category": "badge", "user": user}))
    };
    std::fs::write(folder.join(name), users.iter().enumerate().map(line).collect::<String>())
        .expect("a file");
}

/// One JSON document a line of a command that succeeds.
fn told(arguments: &[&str]) -> Vec<Value> {
    let out = yagura(&[arguments, &["--format", "json"]].concat());
    assert!(out.status.success(), "{arguments:?}: {}", text(&out.stderr));
    text(&out.stdout).lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

/// What a command that is refused says.
fn refused(arguments: &[&str]) -> String {
    let out = yagura(arguments);
    assert_eq!(out.status.code(), Some(2), "{arguments:?}: {}", text(&out.stdout));
    text(&out.stderr)
}

#[test]
fn a_baseline_is_learned_signed_approved_compared_and_rolled_back() {
    let home = folder();
    let path = |name: &str| home.path().join(name).display().to_string();
    let (config, key, file) = (path("yagura.yaml"), path("fab.key"), path("drift.jsonl"));
    let public = told(&["baseline", "keygen", &key])[0]["public"].clone();
    assert!(refused(&["baseline", "keygen", &key]).contains("not there yet"));
    std::fs::write(home.path().join("p.yaml"), PIPELINE).expect("a pipeline");
    samples(home.path(), "day1.jsonl", 0, |_| 50.0);
    samples(home.path(), "day2.jsonl", 1000, |second| 50.0 + second as f64 * 0.003);
    badges(home.path(), "gate1.jsonl", 0, &["ann", "ben"]);
    badges(home.path(), "gate2.jsonl", 1000, &["ann", "eve"]);
    let configure = |days: &[u32]| {
        let lines = |name: String, kind: &str| json!({"name": name, "kind": "jsonl", "path": format!("{name}.jsonl"), "mapping": {"as": kind}});
        let collectors = days
            .iter()
            .flat_map(|day| [lines(format!("day{day}"), "sample"), lines(format!("gate{day}"), "log")]);
        let all = json!({
            "version": 1, "data": "data", "console": "127.0.0.1:0", "default_cell": "bay", "pipelines": ["p.yaml"],
            "baselines": {"trusted": [{"name": "ann", "key": public}], "signed_only": true},
            "collectors": collectors.collect::<Vec<_>>(),
        });
        std::fs::write(&config, all.to_string()).expect("a configuration");
    };
    std::fs::write(&config, "version: 1\nbaselines: { signed_only: true }\n").expect("a configuration");
    assert!(refused(&["validate", "--config", &config]).contains("without anybody in `trusted`"));
    configure(&[1]);
    run_to_the_end(Path::new(&config));

    // Learned, and proposed.
    let of = |command: &str, more: &[&'static str]| -> Vec<String> {
        let start = ["baseline", command, "-c", &config].into_iter();
        start.chain(more.iter().copied()).map(str::to_string).collect()
    };
    let told_of = |command: &str, more: &[&'static str]| {
        let all = of(command, more);
        told(&all.iter().map(String::as_str).collect::<Vec<_>>())
    };
    let list = told_of("list", &["-d", "drift"]);
    assert_eq!(list.len(), 1);
    let seen = |name: &str| list[0][name].clone();
    assert_eq!(
        (seen("state"), seen("keys"), seen("ready"), seen("approved")),
        (json!("proposed"), json!(1), json!(1), json!(0))
    );
    assert_eq!((seen("cell"), seen("versions")), (json!("bay"), json!([])));
    let shown = told_of("show", &["-d", "badge", "--version", "proposed"]);
    let keys: Vec<&Value> =
        shown[0]["entries"].as_array().expect("entries").iter().map(|e| &e["key"]).collect();
    assert_eq!(keys, [&json!(["GATE", "ann"]), &json!(["GATE", "ben"])]);

    // A file without a signature is refused, with what to do; nothing is written.
    told_of("list", &[]);
    let exported = yagura(&["baseline", "export", "-c", &config, "-d", "drift", "-o", &file]);
    assert!(exported.status.success(), "{}", text(&exported.stderr));
    let document = std::fs::read_to_string(&file).expect("the file");
    assert_eq!(document.lines().count(), 2, "{document}");
    let said = refused(&["baseline", "import", "-c", &config, &file]);
    assert!(
        said.contains("bay drift: it carries no signature") && said.contains("nothing was written"),
        "{said}"
    );
    assert!(refused(&["baseline", "approve", "-c", &config, "-d", "drift"]).contains("--key"));
    assert!(refused(&["baseline", "approve", "-c", &config, "-d", "none"]).contains("badge"));

    // Signed and approved, both.
    let approved =
        told(&["baseline", "approve", "-c", &config, "-d", "drift", "-k", &key, "--author", "ann"]);
    assert_eq!((&approved[0]["version"], &approved[0]["signer"]), (&json!(1), &json!("ann")));
    told(&["baseline", "approve", "-c", &config, "-d", "badge", "-k", &key]);
    assert_eq!(told_of("list", &["-d", "drift"])[0]["state"], "approved");

    // A slow walk and a new face are caught, and shown as what another approval would change.
    configure(&[1, 2]);
    run_to_the_end(Path::new(&config));
    let summaries: Vec<String> = alerts_of(&embedded(home.path())).into_values().map(|a| a.summary).collect();
    assert!(summaries.iter().any(|s| s.starts_with("ETCH-07 ")), "{summaries:?}");
    assert!(summaries.iter().any(|s| s == "eve at GATE"), "{summaries:?}");
    let difference = told_of("diff", &["-d", "drift"]);
    assert!(difference[0]["changed"][0]["deviations"].as_f64() > Some(2.0), "{difference:?}");
    assert_eq!(told_of("diff", &["-d", "badge"])[0]["added"][0]["key"], json!(["GATE", "eve"]));
    let drawn = text(&yagura(&["baseline", "diff", "-c", &config, "-d", "drift"]).stdout);
    assert!(
        drawn.contains("~ ETCH-07  flow  ") && drawn.contains("sccm") && drawn.contains("deviations)"),
        "{drawn}"
    );

    // Another one comes as a signed file; one that was changed afterwards does not.
    let signed = yagura(&["baseline", "export", "-c", &config, "-d", "drift", "-k", &key, "-o", &file]);
    assert!(signed.status.success(), "{}", text(&signed.stderr));
    let whole = std::fs::read_to_string(&file).expect("the file");
    std::fs::write(&file, whole.replace("\"level\":", "\"level\":1")).expect("the file");
    assert!(refused(&["baseline", "import", "-c", &config, &file]).contains("changed after it was signed"));
    std::fs::write(&file, whole).expect("the file");
    assert_eq!(told(&["baseline", "import", "-c", &config, &file])[0]["version"], 2);
    assert_eq!(told_of("rollback", &["-d", "drift", "--to", "1"])[0]["version"], 1);
    assert!(
        refused(&["baseline", "rollback", "-c", &config, "-d", "drift", "--to", "9"]).contains("not kept")
    );
    let states = |list: &[Value]| -> Vec<Value> {
        list[0]["versions"].as_array().expect("versions").iter().map(|v| v["state"].clone()).collect()
    };
    assert_eq!(states(&told_of("list", &["-d", "drift"])), ["approved", "retired"]);

    // While an instance holds the log, it takes the decision; judged again, all is as it was.
    let mut running = start(Path::new(&config), &home.path().join("run.log"));
    wait_for("the instance to hold the log", || {
        // The lock says who holds it before anything else is done.
        let owner = std::fs::read_to_string(home.path().join("data/log/lock")).unwrap_or_default();
        owner.trim() == running.id().to_string()
    });
    assert_eq!(told_of("rollback", &["-d", "drift", "--to", "2"])[0]["waits"], true);
    wait_for("the decision to be taken", || {
        states(&told_of("list", &["-d", "drift"])) == ["retired", "approved"]
    });
    running.kill().expect("it runs");
    running.wait().expect("it ends");
    let maintained =
        command(&["baseline", "maintain", "-c", &config, "tool=ETCH-07"]).output().expect("it runs");
    assert!(maintained.status.success(), "{}", text(&maintained.stderr));
    run_to_the_end(Path::new(&config));
    assert_eq!(states(&told_of("list", &["-d", "drift"])), ["retired", "retired", "approved"]);
    let replayed = yagura(&["replay", "--config", &config, "--check"]);
    assert!(replayed.status.success(), "{}", text(&replayed.stderr));
}
