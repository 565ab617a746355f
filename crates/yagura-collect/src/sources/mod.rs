//! The kinds of sources. A new one is a file beside this one and two adjacent lines below: its
//! module and its entry.

use std::path::Path;

use serde::Deserialize;
use serde_json::{Map, Value};

use crate::source::{Opened, Opening, Plant, Settings, SourceError};

pub mod bridge;
pub mod files;
pub mod hsms;
pub mod http;
pub mod interface;
pub mod jsonl;
pub mod modbus;
pub mod mqtt;
pub mod opcua;
pub mod packets;
pub mod secslog;
pub mod suricata;
pub mod syslog;
pub mod zeek;
const KINDS: &[Kind] = &[
    Kind::of::<packets::PacketFiles>(),
    Kind::of::<jsonl::JsonLineFiles>(),
    Kind::of::<files::FileSettings>(),
    Kind::of::<zeek::ZeekSettings>(),
    Kind::of::<suricata::SuricataSettings>(),
    Kind::of::<interface::InterfaceSettings>(),
    Kind::of::<http::HttpSettings>(),
    Kind::of::<syslog::SyslogSettings>(),
    Kind::of::<opcua::OpcUa>(),
    Kind::of::<hsms::HsmsHost>(),
    Kind::of::<secslog::SecsLog>(),
    Kind::of::<modbus::ModbusDevices>(),
    Kind::of::<bridge::ForeignTopics>(),
    Kind::of::<mqtt::MqttSettings>(),
];

/// One entry of a configuration's list of collectors.
///
/// ```yaml
/// - name: mirror-port
///   kind: packets
///   path: monday.pcapng
///   cells: [bay-3, bay-4]
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct CollectorConfig {
    /// Its name, part of each row's number.
    pub name: String,
    /// One of [`kinds`].
    pub kind: String,
    /// The only cells that it may write; all of them when empty.
    pub cells: Vec<String>,
    settings: Map<String, Value>,
}

impl CollectorConfig {
    /// A collector from its settings as they would stand in a file.
    pub fn new(settings: Value) -> Result<Self, String> {
        match settings {
            Value::Object(settings) => Self::try_from(settings),
            other => Err(format!("a collector is an object with `name` and `kind`, not {other}")),
        }
    }

    /// Opens the source; relative paths in its settings begin in `folder`.
    pub fn open(&self, folder: &Path, plant: &Plant) -> Result<Opened, SourceError> {
        let at = Opening { collector: &self.name, folder, plant };
        (self.found(&at)?.open)(&self.settings, &at)
    }

    /// Connects as the source would, and says what it found.
    pub fn probe(&self, folder: &Path, plant: &Plant) -> Result<String, SourceError> {
        let at = Opening { collector: &self.name, folder, plant };
        (self.found(&at)?.probe)(&self.settings, &at)
    }

    /// The settings of its kind.
    pub(crate) fn settings(&self) -> &Map<String, Value> {
        &self.settings
    }

    /// Whether the settings are those of their kind.
    pub fn check(&self) -> Result<(), String> {
        match KINDS.iter().find(|kind| kind.name == self.kind) {
            Some(kind) => (kind.check)(&self.settings),
            None => Err(self.unknown()),
        }
    }

    fn found(&self, at: &Opening<'_>) -> Result<&'static Kind, SourceError> {
        KINDS.iter().find(|kind| kind.name == self.kind).ok_or_else(|| at.wrong(self.unknown()))
    }

    fn unknown(&self) -> String {
        let all: Vec<String> = kinds().map(|(name, reads)| format!("{name} ({reads})")).collect();
        format!("`{}` is no kind of source; there are: {}", self.kind, all.join(", "))
    }
}

impl TryFrom<Map<String, Value>> for CollectorConfig {
    type Error = String;

    fn try_from(mut settings: Map<String, Value>) -> Result<Self, String> {
        let mut take = |field: &str| match settings.remove(field) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text),
            Some(other) => Err(format!("a collector's `{field}` must be a text, not {other}")),
            None => Err(format!("a collector needs a `{field}`")),
        };
        let name = take("name")?;
        let kind = take("kind")?;
        let cells = match settings.remove("cells") {
            None => Vec::new(),
            Some(cells) => serde_json::from_value(cells)
                .map_err(|e| format!("collector {name}: `cells` must be a list of names: {e}"))?,
        };
        Ok(Self { name, kind, cells, settings })
    }
}

/// The kinds that there are, with what each reads, in the order of the manual.
pub fn kinds() -> impl Iterator<Item = (&'static str, &'static str)> {
    KINDS.iter().map(|kind| (kind.name, kind.reads))
}

/// An entry of [`KINDS`]: settings are decoded before the source sees them.
struct Kind {
    name: &'static str,
    reads: &'static str,
    check: fn(&Map<String, Value>) -> Result<(), String>,
    open: fn(&Map<String, Value>, &Opening<'_>) -> Result<Opened, SourceError>,
    probe: fn(&Map<String, Value>, &Opening<'_>) -> Result<String, SourceError>,
}

impl Kind {
    const fn of<S: Settings>() -> Self {
        Self {
            name: S::KIND,
            reads: S::READS,
            check: |settings| decode::<S>(settings).map(drop),
            open: |settings, at| decode::<S>(settings).map_err(|e| at.wrong(e))?.open(at),
            probe: |settings, at| decode::<S>(settings).map_err(|e| at.wrong(e))?.probe(at),
        }
    }
}

pub(crate) fn decode<S: Settings>(settings: &Map<String, Value>) -> Result<S, String> {
    S::deserialize(Value::Object(settings.clone())).map_err(|e| e.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The examples of the manual, as a configuration would have them.
    fn examples() -> Vec<CollectorConfig> {
        let manual = include_str!("../../README.md");
        let blocks = manual.split("```yaml\n").skip(1).filter_map(|rest| rest.split_once("```"));
        blocks
            .flat_map(|(block, _)| {
                let read: Result<Vec<CollectorConfig>, _> = serde_saphyr::from_str(block);
                read.unwrap_or_else(|e| panic!("{block}: {e}"))
            })
            .collect()
    }

    #[test]
    fn every_kind_has_an_example_in_the_manual_that_is_right() {
        let examples = examples();
        for example in &examples {
            example.check().unwrap_or_else(|e| panic!("{}: {e}", example.name));
        }
        for (kind, _) in kinds() {
            assert!(examples.iter().any(|example| example.kind == kind), "no example of {kind}");
        }
    }

    #[test]
    fn every_kind_refuses_settings_that_it_does_not_have_by_their_names() {
        for mut example in examples() {
            example.settings.insert("nonsense".into(), Value::from(1));
            let problem = example.check().expect_err(&example.kind);
            assert!(problem.contains("nonsense"), "{}: {problem}", example.kind);
        }
    }

    #[test]
    fn a_kind_that_there_is_not_is_answered_with_those_that_there_are() {
        let wrong = serde_json::json!({ "name": "x", "kind": "profibus" });
        let problem =
            CollectorConfig::new(wrong).and_then(|config| config.check()).expect_err("no such kind");
        assert!(problem.contains("profibus") && problem.contains("opcua"), "{problem}");
    }
}
