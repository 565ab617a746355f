use std::io::Write;
use std::path::Path;

use yagura_event::Kind;
use yagura_event::rows::OwnedRow;

use super::*;

struct Run {
    folder: tempfile::TempDir,
    runtime: tokio::runtime::Runtime,
}

impl Run {
    fn new() -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
        Run { folder: tempfile::tempdir().expect("a folder"), runtime }
    }

    fn log(&self, settings: &str) -> Log {
        let settings: serde_json::Value = serde_json::from_str(settings).expect("settings");
        let settings = SecsLog::deserialize(settings).expect("settings");
        let plant = Plant::unknown(self.runtime.handle());
        let at = Opening { collector: "eap", folder: self.folder.path(), plant: &plant };
        settings.read(&at).expect("opens")
    }

    fn write(&self, text: &str) {
        let file =
            std::fs::OpenOptions::new().create(true).append(true).open(self.folder.path().join("eap.log"));
        file.and_then(|mut file| file.write_all(text.as_bytes())).expect("written");
    }
}

#[derive(Default)]
struct Placed {
    rows: Vec<(Option<u64>, OwnedRow)>,
    at: Option<u64>,
}

impl RowSink for Placed {
    fn push(&mut self, row: Row<'_>) {
        self.rows.push((self.at, OwnedRow::from(row)));
    }
}

impl PlacedSink for Placed {
    fn at(&mut self, _stream: &str, position: u64) {
        assert!(self.at.is_none_or(|before| before <= position));
        self.at = Some(position);
    }
    fn nowhere(&mut self) {
        self.at = None;
    }
}

impl Placed {
    fn of(&self, kind: Kind, columns: &[&str]) -> Vec<String> {
        let rows = self.rows.iter().filter(|(_, row)| row.kind == kind);
        rows.map(|(_, row)| {
            columns
                .iter()
                .map(|c| row.number(c).map_or(row.text(c).to_string(), |n| n.to_string()))
                .collect::<Vec<_>>()
                .join("|")
        })
        .collect()
    }
}

const EAP: &str = "\
2026-11-26 10:00:00,000 INFO  [7] - SECS. S2F33: 'S2F33' W /* Header=[00 00 00 01] */
<L [2] <U4 0> <L [1] <L [2] <U4 100> <L [2] <U4 11> <U4 12>>>>>
.
2026-11-26 10:00:00,010 INFO  [7] - SECS. S2F34: 'S2F34' /* Header=[00 00 00 01] */
<B [1] 0x00>
.
2026-11-26 10:00:01,000 INFO  [7] - the EAP says that S6F11 will come
2026-11-26 10:00:01,500 INFO  [7] - SECS. S6F11: 'S6F11' W /* Header=[00 00 00 02] */
<L [3]
  <U4 [1] 1 > /* DATAID */
  <U4 [1] 50 > /* Keyword=CarrierIDRead S1F1 */
  <L [1]
    <L [2]
      <U4 [1] 100 >
      <L [2]
        <F4 [1] 1.5 >
        <F4 [1] 2.5 >
      >
    >
  >
>
.
";

const REPLY: &str = "\
2026-11-26 10:00:01,520 INFO  [7] - SECS. S6F12: 'S6F12' /* Header=[00 00 00 02] */
<B [1] 0x00>
.
";

const SETTINGS: &str = r#"{"path": "eap.log", "preset": "log4net", "tool": "ETCH-07"}"#;

#[test]
fn messages_of_a_log_are_rows_as_from_the_wire() {
    let run = Run::new();
    let mut log = run.log(SETTINGS);
    let mut out = Placed::default();
    log.advance(Duration::ZERO, &mut out);
    run.write(EAP);
    log.advance(Duration::ZERO, &mut out);
    run.write(REPLY);
    log.advance(Duration::ZERO, &mut out);
    assert_eq!(
        out.of(Kind::Message, &["tool", "function", "operation", "status", "exchange", "latency_us"]),
        ["ETCH-07|S2F33|configure|ok|pair|10000", "ETCH-07|S6F11|report|ok|pair|20000"]
    );
    let samples: Vec<_> = out.rows.iter().filter(|(_, row)| row.kind == Kind::Sample).collect();
    assert_eq!(samples.len(), 2);
    let begun = EAP.find("2026-11-26 10:00:01,500").expect("there") as u64;
    assert!(samples.iter().all(|(at, _)| *at == Some(begun)), "{samples:?}");
    assert_eq!(out.of(Kind::Coverage, &["event"]), ["start"]);
}

#[test]
fn a_restart_goes_on_in_the_middle_of_an_exchange_and_knows_the_definitions() {
    let run = Run::new();
    run.write(EAP);
    let mut log = run.log(SETTINGS);
    let mut first = Placed::default();
    log.advance(Duration::ZERO, &mut first);
    let stream = {
        use std::os::unix::fs::MetadataExt;
        let path = run.folder.path().join("eap.log");
        format!("{}#{}", path.display(), std::fs::metadata(&path).expect("there").ino())
    };
    let from = EAP.find("2026-11-26 10:00:01,500").expect("there");
    let places = format!(r#"{{"from": {{"{stream}": {from}}}, "cells": {{}}}}"#);
    let places: Places = serde_json::from_str(&places).expect("places");
    run.write(REPLY);
    let mut log = run.log(SETTINGS);
    log.begin(&places, Path::new(".")).expect("begins");
    let mut second = Placed::default();
    log.advance(Duration::ZERO, &mut second);
    assert_eq!(second.of(Kind::Message, &["function", "exchange"]), ["S6F11|pair"]);
    assert_eq!(second.of(Kind::Sample, &["signal"]).len(), 2);
    let later = (EAP.len()) as u64;
    assert!(second.rows.iter().any(|(at, row)| *at == Some(later) && row.kind == Kind::Message));
}

#[test]
fn what_cannot_be_read_is_told_with_its_place_and_not_a_thousand_times() {
    let run = Run::new();
    let mut log = run.log(SETTINGS);
    run.write("2026-11-26 10:00:00,000 INFO  [7] - SECS. S1F4: 'S1F4'\n<L [1] <U4 nonsense>>\n.\n");
    for _ in 0..100 {
        run.write("2026-11-26 10:00:00,000 INFO  [7] - SECS. S1F4: 'S1F4'\n<L [1]\n");
    }
    run.write(&"x".repeat(3 << 20));
    run.write("\n");
    run.write("2026-11-26 10:00:02,000 INFO  [7] - S1F1 W .\n");
    let mut out = Placed::default();
    log.advance(Duration::ZERO, &mut out);
    log.finish(&mut out);
    let bad = out.of(Kind::Coverage, &["event", "count", "detail"]);
    assert!(bad[1].contains("at byte 0: `nonsense` is no value of that format, at byte"), "{bad:?}");
    let counts: u64 = bad
        .iter()
        .filter(|row| row.starts_with("malformed"))
        .map(|row| row.split('|').nth(1).and_then(|n| n.parse::<u64>().ok()).expect("a count"))
        .sum();
    assert!(bad.len() < 30 && counts == 101, "{counts} {bad:?}");
    assert_eq!(log.messages, 1);
}

#[test]
fn settings_that_cannot_be_are_explained() {
    let run = Run::new();
    for (settings, cause) in [
        (r#"{"path": "a"}"#, "say one of"),
        (r#"{"path": "a", "preset": "nothing"}"#, "there are: secsgem, secs4net, log4net"),
        (r#"{"path": "a", "head": "{tiem}"}"#, "{tiem}"),
        (r#"{"path": "a", "preset": "secsgem", "utc_offset": "JST"}"#, "+09:00"),
    ] {
        let settings: serde_json::Value = serde_json::from_str(settings).expect("settings");
        let settings = SecsLog::deserialize(settings).expect("settings");
        let plant = Plant::unknown(run.runtime.handle());
        let at = Opening { collector: "eap", folder: run.folder.path(), plant: &plant };
        let error = settings.read(&at).err().map(|e| e.to_string()).unwrap_or_default();
        assert!(error.contains(cause), "{error}");
    }
}

#[test]
fn a_log_that_is_rotated_is_read_on() {
    let run = Run::new();
    let mut log = run.log(r#"{"path": "eap.log", "head": "{time} {tool} {direction}"}"#);
    let mut out = Placed::default();
    run.write("2026-11-26T10:00:00Z ETCH-01 recv S5F1 W <L <B 0x81> <U4 7> <A \"leak\">>\n");
    log.advance(Duration::ZERO, &mut out);
    std::fs::rename(run.folder.path().join("eap.log"), run.folder.path().join("eap.log.1")).expect("renamed");
    run.write("2026-11-26T10:00:01Z ETCH-02 send S1F1 W\n2026-11-26T10:00:02Z ETCH-02 recv S1F2 <L>\n");
    out.at = None;
    for _ in 0..3 {
        log.advance(Duration::ZERO, &mut out);
    }
    run.write("2026-11-26T10:01:00Z ETCH-01 recv S6F11 <L>\n2026-11-26T10:01:00Z ETCH-01 recv S6F11 <L>\n");
    log.advance(Duration::ZERO, &mut out);
    assert_eq!(
        out.of(Kind::Message, &["tool", "function", "status"]),
        ["ETCH-02|S1F1|ok", "ETCH-01|S5F1|no_reply", "ETCH-01|S6F11|one_way"]
    );
}
