//! Mutes that stand in files: reviewed with the rest of the configuration, tested, each with its end.
//!
//! ```yaml
//! version: 1
//! mutes:
//!   - id: etch-07-pump
//!     why: the pump is replaced, ticket 4711
//!     by: sato
//!     from: 2026-11-26T08:00:00+09:00
//!     until: 2026-11-28T20:00:00+09:00
//!     tool: ETCH-07
//!     queue: equipment
//!     tests:
//!       - { alert: { tool: ETCH-07, queue: equipment, at: 2026-11-27T03:00:00+09:00 }, muted: true }
//!       - { alert: { tool: ETCH-07, queue: security, at: 2026-11-27T03:00:00+09:00 }, muted: false }
//! ```
//!
//! The process that responds writes them into the log as decisions, under the name of their author, so that they are
//! seen where all others are. One that is taken out of its file ends.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use yagura_door::Fresh;
use yagura_event::alert::Queue;
use yagura_event::clock::{self, Micros, SECOND};
use yagura_log::{Log, LogError};
use yagura_respond::Decisions;
use yagura_respond::cases::{About, Cases, DECISIONS, Decision, Mute, What};

use crate::Failure;

/// How often files are looked at.
const EVERY: Micros = 5 * SECOND;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Document {
    version: u32,
    mutes: Vec<Written>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    id: String,
    why: String,
    by: String,
    #[serde(default, deserialize_with = "time")]
    from: Option<Micros>,
    #[serde(deserialize_with = "time")]
    until: Option<Micros>,
    detection: Option<String>,
    cell: Option<String>,
    queue: Option<Queue>,
    tool: Option<String>,
    #[serde(default)]
    key: BTreeMap<String, String>,
    #[serde(default)]
    tests: Vec<Test>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Test {
    alert: Facts,
    muted: bool,
}

/// What a test says of an alert; what it leaves out fits whatever is asked.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Facts {
    #[serde(default, deserialize_with = "time")]
    at: Option<Micros>,
    #[serde(default)]
    detection: String,
    #[serde(default)]
    cell: String,
    #[serde(default)]
    tool: String,
    queue: Queue,
    #[serde(default)]
    key: BTreeMap<String, String>,
}

fn time<'de, D: serde::Deserializer<'de>>(reader: D) -> Result<Option<Micros>, D::Error> {
    let text = String::deserialize(reader)?;
    let time = clock::parse_rfc3339(&text);
    time.map(Some).ok_or_else(|| {
        serde::de::Error::custom(format!("`{text}` is no time; write such as 2026-11-28T20:00:00+09:00"))
    })
}

/// A mute of a file, by whom and why.
#[derive(Clone, Debug, PartialEq)]
pub struct Declared {
    mute: Mute,
    by: String,
    why: String,
}

/// Reads files, and runs the tests in them.
pub fn read(files: &[PathBuf]) -> Result<Vec<Declared>, String> {
    let mut all: Vec<Declared> = Vec::new();
    for file in files {
        let place = file.display();
        let text = std::fs::read_to_string(file).map_err(|e| format!("{place}: cannot be read: {e}"))?;
        let read: Document = serde_saphyr::from_str(&text).map_err(|e| {
            let (line, column) = e.location().map_or((0, 0), |l| (l.line(), l.column()));
            format!("{place}:{line}:{column}: {}", e.without_snippet())
        })?;
        if read.version != 1 {
            return Err(format!(
                "{place}: version {} is not one that this program reads; it is 1",
                read.version
            ));
        }
        for written in read.mutes {
            let wrong = |what: String| format!("{place}: mute `{}`: {what}", written.id);
            let declared = written.declared().map_err(wrong)?;
            if all.iter().any(|other| other.mute.id == declared.mute.id) {
                return Err(wrong("there are two of this id".into()));
            }
            all.push(declared);
        }
    }
    Ok(all)
}

impl Written {
    fn declared(&self) -> Result<Declared, String> {
        let (from, until) = (self.from.unwrap_or(0), self.until.unwrap_or(0));
        let mute = Mute {
            id: self.id.clone(),
            from,
            until,
            detection: self.detection.clone(),
            cell: self.cell.clone(),
            queue: self.queue,
            tool: self.tool.clone(),
            key: self.key.clone(),
            declared: true,
        };
        if until <= from {
            return Err("`until` is not after `from`".into());
        }
        if mute.is_of_everything() {
            return Err(
                "it would mute every alert of the plant: say of which detection, queue, tool, cell or key"
                    .into(),
            );
        }
        if self.why.trim().is_empty() || self.by.trim().is_empty() {
            return Err("`why` or `by` is empty; whoever reads it next will want to know".into());
        }
        for (number, test) in (1..).zip(&self.tests) {
            let Facts { at, detection, cell, tool, queue, key } = &test.alert;
            let about = About { observed: at.unwrap_or(from), detection, cell, tool, queue: *queue, key };
            if mute.covers(&about) != test.muted {
                let found = if test.muted { "lets it through" } else { "mutes it" };
                return Err(format!("test {number} fails: it {found}"));
            }
        }
        Ok(Declared { mute, by: self.by.clone(), why: self.why.clone() })
    }
}

/// Keeps the log's mutes as the files say.
pub struct Keeping {
    files: Fresh<Vec<Declared>>,
    decisions: Decisions,
    log: Arc<dyn Log>,
    looked: Option<Micros>,
}

impl Keeping {
    /// Of these files; none without any.
    pub fn of(files: &[PathBuf], log: &Arc<dyn Log>) -> Result<Option<Self>, Failure> {
        if files.is_empty() {
            return Ok(None);
        }
        let own = files.to_vec();
        let files = Fresh::new(files.to_vec(), move || read(&own)).map_err(Failure::Input)?;
        Ok(Some(Keeping { files, decisions: Decisions::default(), log: Arc::clone(log), looked: None }))
    }

    /// Writes what has changed, now and then.
    pub fn look(&mut self) -> Result<(), LogError> {
        let now = clock::steady();
        if self.looked.is_some_and(|looked| now < looked + EVERY) {
            return Ok(());
        }
        self.looked = Some(now);
        let decided = self.decisions.read(self.log.as_ref())?;
        let changes = changes(&self.files.get(), decided, clock::now());
        if changes.is_empty() {
            return Ok(());
        }
        let mut appender = self.log.appender(DECISIONS)?;
        changes.iter().try_for_each(|decision| appender.append(decision.to_record()))?;
        appender.flush()
    }
}

/// The decisions that make the log's mutes those of the files.
fn changes(files: &[Declared], decided: &Cases, now: Micros) -> Vec<Decision> {
    let there: BTreeMap<&str, (&Mute, &Decision)> =
        decided.mutes().map(|(mute, decision)| (mute.id.as_str(), (mute, decision))).collect();
    let stands = |declared: &Declared| {
        there.get(declared.mute.id.as_str()).is_some_and(|(mute, decision)| {
            **mute == declared.mute && decision.by == declared.by && decision.why == declared.why
        })
    };
    let new =
        files.iter().filter(|declared| declared.mute.until > now && !stands(declared)).map(|declared| {
            let Declared { mute, by, why } = declared.clone();
            Decision { time: now, by, why, what: What::Mute(mute) }
        });
    let named = |id: &str| files.iter().any(|declared| declared.mute.id == id);
    let gone = there.values().filter(|(mute, _)| mute.declared && mute.until > now && !named(&mute.id));
    let gone = gone.map(|(mute, decision)| Decision {
        time: now,
        by: decision.by.clone(),
        why: "it stands in no file any more".into(),
        what: What::Unmute { id: mute.id.clone() },
    });
    new.chain(gone).collect()
}

/// Whether a file holds mutes, and not detections.
pub fn is_one(file: &Path) -> bool {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    text.lines().any(|line| line.starts_with("mutes:"))
}

#[cfg(test)]
mod tests {
    use yagura_log::embedded::Options;
    use yagura_log::memory;

    use super::*;

    const FILE: &str = "version: 1
mutes:
  - id: pump
    why: ticket 4711
    by: sato
    from: 2026-11-26T08:00:00+09:00
    until: 2999-01-01T00:00:00Z
    tool: ETCH-07
    queue: equipment
    tests:
      - { alert: { tool: ETCH-07, queue: equipment, at: 2026-11-27T00:00:00Z }, muted: true }
      - { alert: { tool: ETCH-07, queue: security, at: 2026-11-27T00:00:00Z }, muted: false }
      - { alert: { tool: ETCH-07, queue: equipment, at: 2026-11-25T22:59:59Z }, muted: false }
";

    fn written(folder: &Path, text: &str) -> Vec<PathBuf> {
        let file = folder.join("mutes.yaml");
        std::fs::write(&file, text).expect("a file");
        vec![file]
    }

    #[test]
    fn a_file_is_read_and_its_tests_are_run() {
        let folder = tempfile::tempdir().expect("a folder");
        let read = |text: &str| read(&written(folder.path(), text));
        assert_eq!(read(FILE).expect("mutes").len(), 1);
        for (from, to, said) in [
            ("muted: true", "muted: false", "mute `pump`: test 1 fails: it mutes it"),
            ("queue: equipment\n", "queue: data-quality\n", "test 1 fails: it lets it through"),
            ("2999-01-01T00:00:00Z", "tomorrow", "`tomorrow` is no time"),
            ("2999-01-01T00:00:00Z", "2026-11-26T07:00:00+09:00", "`until` is not after `from`"),
            ("    tool: ETCH-07\n    queue: equipment\n", "", "every alert of the plant"),
            ("ticket 4711", "\"\"", "`why` or `by` is empty"),
            ("    by: sato\n", "", "missing field `by`"),
            ("version: 1", "version: 2", "version 2"),
            ("    tool:", "    equipment:", "equipment"),
        ] {
            let error = read(&FILE.replacen(from, to, 1)).expect_err(said);
            assert!(error.contains(said) && error.contains("mutes.yaml"), "{error}");
        }
    }

    #[test]
    fn the_logs_mutes_become_those_of_the_files() {
        let folder = tempfile::tempdir().expect("a folder");
        let log: Arc<dyn Log> = Arc::new(memory::open(Options::default()).expect("a log"));
        log.ensure_topic(DECISIONS, 2).expect("a topic");
        let mut decisions = Decisions::default();
        let mut keep = |text: &str| {
            let files = written(folder.path(), text);
            let mut keeping = Keeping::of(&files, &log).ok().flatten().expect("mutes");
            keeping.look().expect("a log that answers");
            let decided = decisions.read(log.as_ref()).expect("a log that answers");
            let holds = |mute: &Mute| mute.until > clock::now();
            let all = decided.mutes().map(|(mute, by)| (mute.id.clone(), holds(mute), by.why.clone()));
            (all.collect::<Vec<_>>(), (0..2).map(|n| log.held(DECISIONS, n).expect("held").end).sum::<u64>())
        };
        let pump = |holds: bool, why: &str| vec![("pump".to_string(), holds, why.to_string())];
        assert_eq!(keep(FILE), (pump(true, "ticket 4711"), 1));
        assert_eq!(keep(FILE), (pump(true, "ticket 4711"), 1), "what stands is not written again");
        assert_eq!(keep(&FILE.replace("4711", "4712")), (pump(true, "ticket 4712"), 2));
        assert_eq!(keep("version: 1\nmutes: []\n"), (pump(false, "ticket 4712"), 3));
        assert_eq!(keep(FILE), (pump(true, "ticket 4711"), 4), "it comes back");
    }
}
