//! `read`.

use std::io::Write as _;
use std::process::Stdio;

use serde_json::Value;

use crate::{command, folder, scene, text, yagura};

#[test]
fn messages_are_printed_filtered_and_cut_at_the_limit() {
    let folder = folder();
    let scene = scene(folder.path());
    let file = scene.packets.display().to_string();
    let out = yagura(&["read", &file, "--where", "operation = 'recipe.write'", "--format", "json"]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let rows: Vec<Value> =
        text(&out.stdout).lines().map(|l| serde_json::from_str(l).expect("JSON")).collect();
    assert!(!rows.is_empty() && rows.iter().all(|row| row["operation"] == "recipe.write"), "{rows:?}");
    for secret in &scene.secrets {
        assert!(!text(&out.stdout).contains(secret.as_str()));
    }
    let table =
        yagura(&["read", &file, "--kind", "flow", "--columns", "protocol,server_port", "--limit", "3"]);
    assert_eq!(text(&table.stdout).lines().count(), 3, "{}", text(&table.stdout));
    assert!(text(&table.stderr).starts_with("3 rows of "), "{}", text(&table.stderr));
}

#[test]
fn standard_input_and_parquet_hold_the_same_as_the_file() {
    let folder = folder();
    let scene = scene(folder.path());
    let file = scene.packets.display().to_string();
    let whole = yagura(&["read", &file, "--format", "json"]);
    let mut child = command(&["read", "-", "--format", "json"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("yagura starts");
    let bytes = std::fs::read(&scene.packets).expect("the packets");
    let mut input = child.stdin.take().expect("a pipe");
    let feeder = std::thread::spawn(move || input.write_all(&bytes));
    let piped = child.wait_with_output().expect("it ends");
    feeder.join().expect("no panic").expect("everything is taken");
    assert!(piped.stdout == whole.stdout);

    let parquet = folder.path().join("messages.parquet");
    let out = yagura(&["read", &file, "--parquet", &parquet.display().to_string()]);
    assert!(out.status.success(), "{}", text(&out.stderr));
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(
        std::fs::File::open(&parquet).expect("a file"),
    );
    let batches = reader.expect("Parquet").build().expect("a reader");
    let rows: usize = batches.map(|batch| batch.expect("a batch").num_rows()).sum();
    assert_eq!(rows, text(&whole.stdout).lines().count());
}

#[test]
fn a_reader_that_goes_away_ends_it_quietly() {
    let folder = folder();
    let scene = scene(folder.path());
    let mut child = command(&["read", &scene.packets.display().to_string(), "--format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("yagura starts");
    drop(child.stdout.take());
    let out = child.wait_with_output().expect("it ends");
    assert!(out.status.success(), "{}", text(&out.stderr));
}

#[test]
fn mistakes_are_said_with_the_choices() {
    for (arguments, parts) in [
        (&["read", "no-such.pcap"][..], &["no-such.pcap"][..]),
        (&["read", "x.pcap", "--columns", "tol"], &["`tol`", "tool"]),
        (&["read", "x.pcap", "--where", "tol = 'x'"], &["`tol`", "tool"]),
    ] {
        let out = yagura(arguments);
        assert_eq!(out.status.code(), Some(2), "{arguments:?}");
        for part in parts {
            assert!(text(&out.stderr).contains(part), "{arguments:?}: {}", text(&out.stderr));
        }
    }
}
