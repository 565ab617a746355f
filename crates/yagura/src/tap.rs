//! `tap`: prints what passes a stage, in an instance that runs or one that is stopped.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use arrow::array::{Array, RecordBatch};
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};
use yagura_detect::dead::{DEAD, Note, note_of};
use yagura_detect::worker::{ALERTS, EVENTS};
use yagura_detect::{Compiler, Condition, shard, snapshot};
use yagura_event::{Alert, Envelope, Kind, clock, codec};
use yagura_log::{Log, LogError, Reader, Stored};
use yagura_respond::picture::Drawn;
use yagura_sql::SqlCompiler;

use crate::config::Config;
use crate::say::say;
use crate::{Failure, Format, plant};

/// Arguments of `tap`.
#[derive(Args)]
#[command(after_help = HELP)]
pub struct Arguments {
    /// Where to look.
    stage: Stage,
    /// The configuration file of the run whose log it is.
    #[arg(long, short)]
    config: PathBuf,
    /// Only rows of this kind: message, flow, sample, …
    #[arg(long, value_parser = kind_of)]
    kind: Option<Kind>,
    /// Only what belongs to this cell.
    #[arg(long)]
    cell: Option<String>,
    /// Only rows for which this holds; needs `--kind`.
    #[arg(long = "where", value_name = "SQL", requires = "kind")]
    condition: Option<String>,
    /// Where to begin in each partition: `start`, `now` or an offset. `now` with `--follow`, else
    /// `start`, when not given.
    #[arg(long)]
    from: Option<Begin>,
    /// Only this partition.
    #[arg(long)]
    partition: Option<u32>,
    /// Write the picture of each alert of a model here, one SVG file by the alert's id; of the folder's files, those of the same
    /// alerts are overwritten. Goes with `tap alerts`.
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,
    /// Stop after this many lines.
    #[arg(long)]
    limit: Option<u64>,
    /// Go on with what is still to come, until Ctrl-C.
    #[arg(long, short)]
    follow: bool,
}

const HELP: &str = help!(
    "  yagura tap events -c yagura.yaml --follow                      what is collected now
  yagura tap events -c yagura.yaml --kind message --cell bay-3 --where \"operation = 'write'\"
  yagura tap alerts -c yagura.yaml --limit 10 --format json      the first alerts, a JSON line each
  yagura tap alerts -c yagura.yaml --svg pictures                what models saw and expected, a picture an alert
  yagura tap dead -c yagura.yaml                                 what nobody could read
  yagura tap events -c yagura.yaml --partition 2 --from 1207 --limit 5"
);

/// A stage of the way.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Stage {
    /// What collectors wrote.
    Events,
    /// What detections raised.
    Alerts,
    /// When the state of each cell was saved.
    Snapshots,
    /// Rows that came too late for a window.
    Late,
    /// Records that nobody could read.
    Dead,
}

impl Stage {
    fn topic(self) -> &'static str {
        match self {
            Stage::Events => EVENTS,
            Stage::Alerts => ALERTS,
            Stage::Snapshots => snapshot::TOPIC,
            Stage::Late => "yagura.late",
            Stage::Dead => DEAD,
        }
    }
}

/// Where reading begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Begin {
    Start,
    Now,
    Offset(u64),
}

impl FromStr for Begin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "start" => Ok(Begin::Start),
            "now" => Ok(Begin::Now),
            other => other
                .parse()
                .map(Begin::Offset)
                .map_err(|_| format!("`{other}` is neither start, now nor an offset")),
        }
    }
}

fn kind_of(text: &str) -> Result<Kind, String> {
    let names: Vec<&str> = Kind::ALL.iter().map(|kind| kind.name()).collect();
    Kind::from_name(text)
        .ok_or_else(|| format!("`{text}` is no kind of record; there are: {}", names.join(", ")))
}

/// Reads and prints.
pub fn run(arguments: &Arguments, format: Format) -> Result<(), Failure> {
    let config = Config::load(&arguments.config)?;
    if arguments.kind.is_some() && arguments.stage != Stage::Events {
        return Err(Failure::Input("--kind and --where choose rows: they go with `tap events`".into()));
    }
    if let Some(folder) = &arguments.svg {
        if arguments.stage != Stage::Alerts {
            return Err(Failure::Input("--svg draws alerts: it goes with `tap alerts`".into()));
        }
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    let condition = match (arguments.kind, &arguments.condition) {
        (Some(kind), Some(sql)) => {
            let compiled = SqlCompiler::default().compile(kind, sql);
            Some(compiled.map_err(|e| Failure::Input(format!("--where: {e}")))?)
        }
        _ => None,
    };
    let log = plant::following(&config)?;
    let mut tap = Tap {
        arguments,
        format,
        condition,
        series: BTreeMap::new(),
        left: arguments.limit.unwrap_or(u64::MAX),
    };
    tap.read(log.as_ref())
}

/// How long a look at one partition waits for something new.
const LOOK: Duration = Duration::from_millis(100);
/// How long a topic that is not there yet is waited for between two looks.
const PAUSE: Duration = Duration::from_secs(1);
/// How many series names are remembered for samples.
const SERIES_MAX: usize = 1_000_000;
/// Facts of a row that a line shows, and characters of each.
const FACTS_MAX: usize = 14;
const FACT_CHARS_MAX: usize = 60;

struct Tap<'a> {
    arguments: &'a Arguments,
    format: Format,
    condition: Option<Arc<dyn Condition>>,
    /// By (collector, epoch, number), the names of a series that passed.
    series: BTreeMap<(String, u64, u32), String>,
    left: u64,
}

impl Tap<'_> {
    fn read(&mut self, log: &dyn Log) -> Result<(), Failure> {
        let topic = self.arguments.stage.topic();
        let partitions = loop {
            match log.partitions(topic) {
                // Nothing was late or dead so far.
                Err(LogError::NoTopic(_)) if self.arguments.follow => std::thread::park_timeout(PAUSE),
                Err(LogError::NoTopic(_)) => return Ok(()),
                known => break known?,
            }
        };
        if let Some(wanted) = self.arguments.partition
            && wanted >= partitions
        {
            return Err(Failure::Input(format!(
                "{topic} has {partitions} partitions, from 0 on; {wanted} is none"
            )));
        }
        let mut readers = Vec::new();
        for partition in
            (0..partitions).filter(|p| self.arguments.partition.is_none_or(|wanted| wanted == *p))
        {
            let held = log.held(topic, partition)?;
            let from = match self.arguments.from {
                Some(Begin::Offset(offset)) => offset.clamp(held.start, held.end),
                Some(Begin::Start) => held.start,
                None if !self.arguments.follow => held.start,
                Some(Begin::Now) | None => held.end,
            };
            readers.push((partition, held.end, log.reader(topic, partition, from)?));
        }
        loop {
            for (partition, end, reader) in &mut readers {
                self.drain(*partition, *end, reader.as_mut())?;
                if self.left == 0 {
                    return Ok(());
                }
            }
            if !self.arguments.follow {
                return Ok(());
            }
        }
    }

    /// Prints what a partition holds; when following, what there is now.
    fn drain(&mut self, partition: u32, end: u64, reader: &mut dyn Reader) -> Result<(), Failure> {
        loop {
            if !self.arguments.follow && reader.position() >= end {
                return Ok(());
            }
            let wait = if self.arguments.follow { LOOK } else { Duration::from_secs(10) };
            let records = match reader.read(1 << 20, wait) {
                Err(LogError::OffsetGone { wanted, held, .. }) => {
                    return Err(anyhow::anyhow!(
                        "records {wanted} to {} of partition {partition} were deleted by retention before they were read; begin again with --from start",
                        held.start
                    )
                    .into());
                }
                read => read?,
            };
            if records.is_empty() {
                return Ok(());
            }
            for stored in records.iter().take_while(|stored| self.arguments.follow || stored.offset < end) {
                self.show(partition, stored)?;
                if self.left == 0 {
                    return Ok(());
                }
            }
        }
    }

    fn show(&mut self, partition: u32, stored: &Stored) -> Result<(), Failure> {
        match self.arguments.stage {
            Stage::Events => self.events(partition, stored),
            Stage::Late => {
                self.late(partition, stored);
                Ok(())
            }
            Stage::Alerts => self.alerts(partition, stored),
            Stage::Snapshots => {
                self.snapshot(partition, stored);
                Ok(())
            }
            Stage::Dead => {
                self.letter(partition, stored);
                Ok(())
            }
        }
    }

    fn wants(&self, cell: &str) -> bool {
        self.arguments.cell.as_ref().is_none_or(|wanted| wanted == cell)
    }

    /// One line, if there is room for it.
    fn line(&mut self, text: &str) {
        if self.left > 0 {
            self.left -= 1;
            say!("{text}");
        }
    }

    fn events(&mut self, partition: u32, stored: &Stored) -> Result<(), Failure> {
        let place = json!({"partition": partition, "offset": stored.offset});
        let (envelope, rows) = match shard::read(&stored.record) {
            Ok(read) => read,
            Err(cause) => {
                let cell = String::from_utf8_lossy(&stored.record.key).into_owned();
                if self.wants(&cell) && self.arguments.kind.is_none() {
                    match self.format {
                        Format::Json => {
                            let unreadable = json!({"cell": cell, "unreadable": cause.to_string()});
                            self.line(&merged(place, unreadable));
                        }
                        Format::Text => {
                            let offset = stored.offset;
                            self.line(&plain(&format!(
                                "{partition}/{offset}  {cell}  cannot be read: {cause}"
                            )));
                        }
                    }
                }
                return Ok(());
            }
        };
        if envelope.kind == Kind::Series {
            self.learn(&envelope, &rows);
        }
        if !self.wants(&envelope.cell) || self.arguments.kind.is_some_and(|kind| kind != envelope.kind) {
            return Ok(());
        }
        let selected = match &self.condition {
            Some(condition) => Some(condition.select(&rows).map_err(anyhow::Error::msg)?),
            None => None,
        };
        for (row, fields) in codec::to_json_rows(&rows).into_iter().enumerate() {
            if selected.as_ref().is_some_and(|s| !s.is_valid(row) || !s.value(row)) {
                continue;
            }
            let text = match self.format {
                Format::Json => merged(
                    place.clone(),
                    json!({
                        "cell": envelope.cell, "kind": envelope.kind.name(), "collector": envelope.collector,
                        "epoch": envelope.epoch, "number": envelope.first_row + row as u64, "row": fields,
                    }),
                ),
                Format::Text => self.row_line(&envelope, &fields),
            };
            self.line(&text);
        }
        Ok(())
    }

    /// Time, cell, kind, and what the row says.
    fn row_line(&self, envelope: &Envelope, fields: &Map<String, Value>) -> String {
        let time = fields.get("time").or(fields.get("observed")).and_then(Value::as_i64);
        let time = clock::rfc3339(time.unwrap_or(envelope.observed.0));
        let series =
            fields.get("series").and_then(Value::as_u64).filter(|_| envelope.kind == Kind::Sample).and_then(
                |number| self.series.get(&(envelope.collector.clone(), envelope.epoch, number as u32)),
            );
        let told = |name: &str| matches!(name, "time" | "observed" | "flow" | "quality");
        let mut facts: Vec<String> = series.cloned().into_iter().collect();
        for field in envelope.kind.schema().fields() {
            let name = field.name().as_str();
            let hidden = told(name) || (name == "series" && series.is_some());
            let Some(value) = fields.get(name).filter(|_| !hidden) else { continue };
            match value {
                Value::String(text) if text.is_empty() => {}
                Value::String(text) => facts.push(format!("{name}={}", shortened(text))),
                other => facts.push(format!("{name}={other}")),
            }
        }
        let more = facts.len().saturating_sub(FACTS_MAX);
        facts.truncate(FACTS_MAX);
        if more > 0 {
            facts.push(format!("(+{more})"));
        }
        plain(&format!("{time}  {}  {:8} {}", envelope.cell, envelope.kind.name(), facts.join(" ")))
    }

    fn learn(&mut self, envelope: &Envelope, rows: &RecordBatch) {
        for fields in codec::to_json_rows(rows) {
            let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or("").to_string();
            let Some(number) = fields.get("series").and_then(Value::as_u64) else { continue };
            let names = [text("tool"), text("chamber"), text("signal")];
            let names: Vec<&str> = names.iter().map(String::as_str).filter(|name| !name.is_empty()).collect();
            if self.series.len() < SERIES_MAX {
                let key = (envelope.collector.clone(), envelope.epoch, number as u32);
                self.series.insert(key, names.join("/"));
            }
        }
    }

    fn alerts(&mut self, partition: u32, stored: &Stored) -> Result<(), Failure> {
        for alert in yagura_respond::alerts_of(&stored.record).unwrap_or_default() {
            if !self.wants(&alert.cell) || self.left == 0 {
                continue;
            }
            let picture = self.draw(&alert)?.map(|file| file.display().to_string());
            let text = match self.format {
                Format::Json => {
                    let mut told = json!({"partition": partition, "offset": stored.offset});
                    if let Some(picture) = picture {
                        told["picture"] = picture.into();
                    }
                    merged(told, json!({ "alert": alert }))
                }
                Format::Text => match picture {
                    Some(picture) => format!("{}  {}", alert_line(&alert), plain(&picture)),
                    None => alert_line(&alert),
                },
            };
            self.line(&text);
        }
        Ok(())
    }

    /// Writes an alert's picture where one is asked for and there is something to draw; answers the file.
    fn draw(&self, alert: &Alert) -> Result<Option<PathBuf>, Failure> {
        let Some(folder) = &self.arguments.svg else { return Ok(None) };
        let Some(drawn) = Drawn::of(alert) else { return Ok(None) };
        let file = folder.join(format!("{}.svg", alert.uid));
        std::fs::write(&file, drawn.picture().svg()).with_context(|| file.display().to_string())?;
        Ok(Some(file))
    }

    /// A row that was counted aside: one JSON object that says detection, key and cause.
    fn late(&mut self, partition: u32, stored: &Stored) {
        let Ok(row) = serde_json::from_slice::<Value>(&stored.record.value) else { return };
        let text = |name: &str| row[name].as_str().unwrap_or_default().to_string();
        let time = |name: &str| row[name].as_i64().map(clock::rfc3339).unwrap_or_default();
        if !self.wants(&text("cell")) {
            return;
        }
        let line = match self.format {
            Format::Json => {
                merged(json!({"partition": partition, "offset": stored.offset}), json!({ "late": row }))
            }
            Format::Text => {
                let key = row["key"].as_object().into_iter().flatten();
                let key: Vec<String> = key
                    .map(|(name, value)| {
                        format!("{name}={}", value.as_str().map_or_else(|| value.to_string(), shortened))
                    })
                    .collect();
                plain(&format!(
                    "{}  {}  {} {} (all before {} was closed)",
                    time("time"),
                    text("cell"),
                    text("detection"),
                    key.join(" "),
                    time("closed_to"),
                ))
            }
        };
        self.line(&line);
    }

    fn snapshot(&mut self, partition: u32, stored: &Stored) {
        let Ok(chunk) = serde_json::from_slice::<Value>(&stored.record.header) else { return };
        let cell = chunk["cell"].as_str().unwrap_or_default().to_string();
        // One line a generation: its first chunk says all of it.
        if !self.wants(&cell) || chunk["index"] != json!(0) {
            return;
        }
        let (next, bytes, chunks) = (&chunk["next_offset"], &chunk["bytes"], &chunk["chunks"]);
        let text = match self.format {
            Format::Json => json!({
                "partition": partition, "offset": stored.offset, "cell": cell, "next_offset": next,
                "bytes": bytes, "chunks": chunks,
            })
            .to_string(),
            Format::Text => plain(&format!(
                "{partition}/{}  {cell}  state after offset {next}: {bytes} bytes in {chunks} records",
                stored.offset
            )),
        };
        self.line(&text);
    }

    fn letter(&mut self, partition: u32, stored: &Stored) {
        let place = json!({"partition": partition, "offset": stored.offset});
        match note_of(&stored.record) {
            Some(Note::Letter(letter)) => {
                let cell = String::from_utf8_lossy(&letter.record.key).into_owned();
                if !self.wants(&cell) {
                    return;
                }
                let (found, bytes) = (clock::rfc3339(letter.found), letter.record.value.len());
                let text = match self.format {
                    Format::Json => merged(
                        place,
                        json!({"found": found, "of": letter.place, "cell": cell, "bytes": bytes, "reason": letter.reason}),
                    ),
                    Format::Text => {
                        plain(&format!("{found}  {}  {cell}  {bytes} bytes: {}", letter.place, letter.reason))
                    }
                };
                self.line(&text);
            }
            Some(Note::Sent(of, time)) if self.arguments.cell.is_none() => {
                let time = clock::rfc3339(time);
                let text = match self.format {
                    Format::Json => merged(place, json!({"sent": time, "of": of})),
                    Format::Text => format!("{time}  {of}  sent again"),
                };
                self.line(&text);
            }
            _ => {}
        }
    }
}

fn alert_line(alert: &Alert) -> String {
    let again = if alert.revision > 1 { format!(" ({} times)", alert.count) } else { String::new() };
    plain(&format!(
        "{}  {}  {:13} {:8} {}: {}{again}",
        clock::rfc3339(alert.time),
        alert.cell,
        alert.queue.name(),
        alert.severity.name(),
        alert.detection,
        alert.summary,
    ))
}

/// Two objects as one line of JSON.
fn merged(mut first: Value, second: Value) -> String {
    if let (Value::Object(first), Value::Object(second)) = (&mut first, second) {
        first.extend(second);
    }
    first.to_string()
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(FACT_CHARS_MAX) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}

/// What came from the wire, without what a terminal would take for a command.
pub fn plain(text: &str) -> String {
    let turns = |c: char| matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    text.chars().map(|c| if c.is_control() || turns(c) { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_to_begin_is_written_in_three_ways() {
        assert_eq!("start".parse(), Ok(Begin::Start));
        assert_eq!("now".parse(), Ok(Begin::Now));
        assert_eq!("1207".parse(), Ok(Begin::Offset(1207)));
        assert!("yesterday".parse::<Begin>().is_err());
        assert!(kind_of("mesage").is_err_and(|said| said.contains("message, flow")));
    }

    #[test]
    fn the_picture_of_an_alert_is_a_file_by_its_id() {
        let folder = tempfile::tempdir().unwrap();
        let alert = |evidence: Value| -> Alert {
            let uid = "c6832dc7-fb0f-5945-9741-df6e5b854fbd";
            serde_json::from_value(json!({
                "uid": uid, "revision": 1, "cell": "bay", "sequence": 0, "detection": "d", "title": "<script>",
                "queue": "equipment", "severity": "low", "protects": [], "techniques": [], "matrix": "",
                "outcomes": [], "time": 0, "observed": 0, "last_time": 0, "count": 1, "key": {}, "tool": "../T",
                "summary": "", "then": "", "evidence": evidence,
                "cause": { "collector": "c", "epoch": 1, "row": 0 },
            }))
            .unwrap()
        };
        let arguments = Arguments { svg: Some(folder.path().into()), ..arguments(Stage::Alerts) };
        let tap = Tap {
            arguments: &arguments,
            format: Format::Text,
            condition: None,
            series: BTreeMap::new(),
            left: 1,
        };
        let drawn = |evidence: Value| tap.draw(&alert(evidence)).unwrap_or_else(|_| panic!("not drawn"));
        let file = drawn(json!({ "seen": 2.0, "expected": 1.0, "deviation": 0.1 })).unwrap();
        assert_eq!(file, folder.path().join("c6832dc7-fb0f-5945-9741-df6e5b854fbd.svg"));
        let svg = std::fs::read_to_string(file).unwrap();
        assert!(svg.starts_with("<svg ") && svg.contains("../T: &lt;script&gt;"), "{svg}");
        assert!(drawn(json!({ "function": "write" })).is_none());
    }

    fn arguments(stage: Stage) -> Arguments {
        Arguments {
            stage,
            config: PathBuf::new(),
            kind: None,
            cell: Some("bay".into()),
            condition: None,
            from: None,
            partition: None,
            svg: None,
            limit: Some(2),
            follow: false,
        }
    }

    #[test]
    fn late_rows_and_snapshots_are_told_in_a_line() {
        let record = |header: Value, value: Value| Stored {
            offset: 7,
            record: yagura_log::Record {
                key: "bay".into(),
                header: header.to_string().into(),
                value: value.to_string().into(),
            },
        };
        let arguments = arguments(Stage::Late);
        let mut tap = Tap {
            arguments: &arguments,
            format: Format::Text,
            condition: None,
            series: BTreeMap::new(),
            left: 2,
        };
        let late = json!({"cell": "bay", "detection": "d", "key": {"tool": "A"}, "time": 1, "closed_to": 2});
        tap.late(0, &record(json!({}), late));
        assert_eq!(tap.left, 1);
        tap.late(0, &record(json!({}), json!({"cell": "other"})));
        tap.snapshot(0, &record(json!({"cell": "bay", "index": 1}), json!(null)));
        assert_eq!(tap.left, 1, "another cell, and no first chunk");
        tap.snapshot(0, &record(json!({"cell": "bay", "index": 0, "bytes": 5}), json!(null)));
        assert_eq!(tap.left, 0);
    }

    #[test]
    fn nothing_from_the_wire_reaches_the_terminal_as_a_command() {
        assert_eq!(plain("a\x1b[2Jb\u{202e}c\n"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}");
        assert_eq!(shortened(&"ö".repeat(100)).chars().count(), FACT_CHARS_MAX + 1);
    }
}
