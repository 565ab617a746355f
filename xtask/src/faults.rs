//! The long form of the tests of faults: each case alone, one after the other; a table at the end,
//! and the same figures in `target/bench/faults.json`.

use std::fs::{self, File};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

/// The cases, and the tests that are their short forms.
const CASES: &[(&str, &str)] = &[
    ("kills-embedded", "kills::killed_at_random_points_on_the_embedded_log"),
    ("kills-kafka", "kills::killed_at_random_points_on_kafka"),
    ("leaders", "brokers::leaders_are_killed_under_load"),
    ("group", "group::members_come_are_killed_and_stand_still"),
    ("torn-embedded", "torn::torn_snapshots_on_the_embedded_log"),
    ("torn-kafka", "torn::torn_snapshots_on_kafka"),
    ("unsynced", "torn::what_was_not_acknowledged_is_lost"),
    ("full-disk", "faults::a_full_disk_is_said_and_waited_out"),
    ("clock-embedded", "clock::the_clock_jumps_on_the_embedded_log"),
    ("clock-kafka", "clock::the_clock_jumps_on_kafka"),
];

/// What is wanted.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Wanted<'a> {
    /// This case only.
    only: Option<&'a str>,
    /// So many faults of each instead of its own number.
    kills: Option<&'a str>,
    /// Members of the group stand still for so many seconds instead of 600.
    seconds: Option<&'a str>,
    json: bool,
}

/// Reads the words of the command line; `None` for wrong ones.
pub fn wanted<'a>(mut words: &[&'a str]) -> Option<Wanted<'a>> {
    let mut wanted = Wanted::default();
    while let [name, value, rest @ ..] = words {
        match *name {
            "--only" if CASES.iter().any(|(case, _)| case == value) => wanted.only = Some(value),
            "--kills" if value.parse::<u32>().is_ok_and(|n| n > 0) => wanted.kills = Some(value),
            "--seconds" if value.parse::<u32>().is_ok_and(|n| n > 0) => wanted.seconds = Some(value),
            "--format" if *value == "json" || *value == "text" => wanted.json = *value == "json",
            _ => return None,
        }
        words = rest;
    }
    words.is_empty().then_some(wanted)
}

/// The names of all cases.
pub fn names() -> String {
    CASES.iter().map(|(case, _)| *case).collect::<Vec<_>>().join(", ")
}

/// Runs what is wanted; an error when anything was missing, repeated or different.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "a table, and progress of long work")]
pub fn run(wanted: &Wanted) -> Result<()> {
    let folder = Path::new("target/faults");
    fs::create_dir_all(folder)?;
    let mut figures = Vec::new();
    for (case, test) in CASES.iter().filter(|(case, _)| wanted.only.is_none_or(|only| only == *case)) {
        eprintln!("{case} …");
        figures.push(one(case, test, wanted, folder)?);
    }
    let failed = figures.iter().filter(|figure| figure["passed"] != true).count();
    fs::create_dir_all("target/bench")?;
    fs::write("target/bench/faults.json", serde_json::to_string_pretty(&figures)?)?;
    if wanted.json {
        println!("{}", serde_json::to_string_pretty(&figures)?);
    } else {
        print!("{}", table(&figures));
    }
    if failed > 0 {
        bail!("{failed} of {} cases failed; what they said is in {}", figures.len(), folder.display());
    }
    Ok(())
}

fn one(case: &str, test: &str, wanted: &Wanted, folder: &Path) -> Result<Value> {
    let (report, log) = (folder.join(format!("{case}.json")), folder.join(format!("{case}.log")));
    // Of an earlier run.
    let _ = fs::remove_file(&report);
    let mut command = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    command.args(["test", "--workspace", "--locked", "--test", "end_to_end", "--", "--exact", test]);
    command.env("YAGURA_FAULTS", "long");
    command.env("YAGURA_FAULT_REPORT", std::path::absolute(&report)?);
    for (name, value) in [("YAGURA_FAULT_KILLS", wanted.kills), ("YAGURA_FAULT_SECONDS", wanted.seconds)] {
        match value {
            Some(value) => command.env(name, value),
            None => command.env_remove(name),
        };
    }
    let out = File::create(&log)?;
    command.stdout(out.try_clone()?).stderr(out);
    #[expect(clippy::disallowed_methods, reason = "how long it took, for the table")]
    let began = std::time::Instant::now();
    let ended = command.status().with_context(|| format!("{command:?} cannot be started"))?;
    let mut figure = fs::read_to_string(&report)
        .ok()
        .and_then(|text| serde_json::from_str(text.lines().last()?).ok())
        .unwrap_or_else(|| json!({ "case": case }));
    figure["seconds"] = json!(began.elapsed().as_secs());
    // A test that had to be skipped counted nothing.
    figure["passed"] = json!(ended.success() && figure["rows"].is_u64());
    Ok(figure)
}

fn table(figures: &[Value]) -> String {
    let columns = [
        ("case", 16),
        ("faults", 7),
        ("seconds", 8),
        ("rows", 8),
        ("rows_missing", 13),
        ("rows_wrong", 11),
        ("alerts", 7),
        ("alerts_missing", 15),
        ("alerts_twice", 13),
        ("alerts_wrong", 13),
        ("passed", 7),
    ];
    let line = |cell: &dyn Fn(&str) -> String| {
        let cells = columns.iter().map(|(name, width)| format!("{:>width$}", cell(name)));
        cells.collect::<String>() + "\n"
    };
    let mut out = line(&|name| name.replace('_', " "));
    for figure in figures {
        out += &line(&|name| match &figure[name] {
            Value::String(text) => text.clone(),
            Value::Null => "-".into(),
            Value::Bool(passed) => if *passed { "yes" } else { "NO" }.into(),
            number => number.to_string(),
        });
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_read_and_wrong_ones_refused() {
        let words = ["--only", "group", "--seconds", "30", "--format", "json"];
        let group = Wanted { only: Some("group"), kills: None, seconds: Some("30"), json: true };
        assert_eq!(wanted(&words), Some(group));
        assert_eq!(wanted(&[]), Some(Wanted::default()));
        for wrong in [&["--only", "nothing"][..], &["--kills", "0"], &["--kills"], &["group"]] {
            assert_eq!(wanted(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn a_case_that_counted_nothing_stands_in_the_table() {
        let figures = [json!({"case": "group", "faults": 4, "passed": true}), json!({"case": "leaders"})];
        let table = table(&figures);
        assert_eq!(table.lines().count(), 3);
        assert!(table.lines().nth(2).is_some_and(|line| line.contains("leaders") && line.contains('-')));
    }
}
