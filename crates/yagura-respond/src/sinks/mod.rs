//! The kinds of sinks. A new one is a file beside this one and two adjacent lines below: its
//! module and its entry.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::delivery::Delivery;
use crate::sink::{ConfigError, Sink};

pub mod alertmanager;
pub mod elasticsearch;
pub mod file;
pub mod relp;
pub mod splunk;
pub mod syslog;
pub mod topic;
pub mod webhook;
const KINDS: &[Kind] = &[
    Kind::of::<relp::Settings>(),
    Kind::of::<elasticsearch::Settings>(),
    Kind::of::<splunk::Settings>(),
    Kind::of::<webhook::Settings>(),
    Kind::of::<alertmanager::Settings>(),
    Kind::of::<topic::Settings>(),
    Kind::of::<file::Settings>(),
    Kind::of::<syslog::Settings>(),
];

/// The settings of one kind of sink, as users write them (beside `name` and `kind`). Derive
/// `Deserialize` with `deny_unknown_fields`.
pub trait Settings: DeserializeOwned {
    /// What users write after `kind:`.
    const KIND: &'static str;

    /// Checks what the types cannot, reads the files it names, and makes the sink. Does not connect.
    /// Relative paths begin in `folder`.
    fn build(self, name: &str, folder: &Path) -> Result<Box<dyn Sink>, ConfigError>;
}

/// One entry of a configuration's list of sinks.
///
/// ```yaml
/// - name: siem
///   kind: relp
///   address: siem.fab.example:2514
///   tls: { ca: /etc/yagura/siem-ca.pem, certificate: /etc/yagura/yagura.pem, key: /etc/yagura/yagura.key }
///   window: 128
///   when: { severity: medium, queues: [security], cells: [etch-*] }
///   redact: { keep: [lot] }
///   heartbeat: 60s
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct SinkConfig {
    /// Its name: of the consumer group `sink-<name>` and in metrics. Renaming it makes it a new
    /// sink, which begins with the oldest alert that the log holds.
    pub name: String,
    /// One of [`kinds`].
    pub kind: String,
    /// What goes to it, which no kind has a say in.
    pub delivery: Delivery,
    settings: Map<String, Value>,
}

impl SinkConfig {
    /// Makes the sink. Relative paths in its settings begin in `folder`.
    pub fn build(&self, folder: &Path) -> Result<Box<dyn Sink>, ConfigError> {
        match KINDS.iter().find(|kind| kind.name == self.kind) {
            Some(kind) => (kind.build)(&self.name, &self.settings, folder),
            None => Err(ConfigError::UnknownKind {
                sink: self.name.clone(),
                kind: self.kind.clone(),
                valid: kinds().join(", "),
            }),
        }
    }
}

impl TryFrom<Map<String, Value>> for SinkConfig {
    type Error = String;

    fn try_from(mut settings: Map<String, Value>) -> Result<Self, String> {
        let mut take = |field: &str| match settings.remove(field) {
            Some(Value::String(text)) if !text.is_empty() => Ok(text),
            Some(other) => Err(format!("a sink's `{field}` must be a text, not {other}")),
            None => Err(format!("a sink needs a `{field}`")),
        };
        let name = take("name")?;
        let kind = take("kind")?;
        let delivery =
            Delivery::take(&mut settings).map_err(|problem| format!("sink `{name}`: {problem}"))?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.len() > 64 || !name.chars().all(plain) {
            return Err(format!(
                "the sink's name `{name}` must be at most 64 letters, digits, `-`, `_` or `.`: it names a consumer group"
            ));
        }
        Ok(Self { name, kind, delivery, settings })
    }
}

/// The kinds that there are, in the order of the manual.
pub fn kinds() -> Vec<&'static str> {
    KINDS.iter().map(|kind| kind.name).collect()
}

/// An entry of [`KINDS`]: settings are decoded before the sink sees them.
struct Kind {
    name: &'static str,
    build: Build,
}

type Build = fn(&str, &Map<String, Value>, &Path) -> Result<Box<dyn Sink>, ConfigError>;

impl Kind {
    const fn of<S: Settings>() -> Self {
        Self {
            name: S::KIND,
            build: |name, settings, folder| {
                let decoded = S::deserialize(Value::Object(settings.clone()));
                match decoded {
                    Ok(settings) => settings.build(name, folder),
                    Err(problem) => {
                        Err(ConfigError::Setting { sink: name.into(), problem: problem.to_string() })
                    }
                }
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use yagura_testkit::certificates::Certificates;

    use super::*;

    fn problem(config: Value) -> String {
        match serde_json::from_value::<SinkConfig>(config) {
            Ok(config) => match config.build(Path::new("")) {
                Ok(sink) => format!("built {}", sink.describe()),
                Err(error) => error.to_string(),
            },
            Err(error) => error.to_string(),
        }
    }

    /// The examples of the manual, as a configuration would have them.
    fn examples() -> Vec<SinkConfig> {
        let manual = include_str!("../../README.md");
        let blocks = manual.split("```yaml\n").skip(1).filter_map(|rest| rest.split_once("```"));
        blocks
            .flat_map(|(block, _)| {
                let read: Result<Vec<SinkConfig>, _> = serde_saphyr::from_str(block);
                read.unwrap_or_else(|e| panic!("{block}: {e}"))
            })
            .collect()
    }

    /// A folder with the files that the manual's examples name.
    fn files() -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        let made = Certificates::make(folder.path()).expect("certificates");
        for ca in ["siem-ca.pem", "elastic-ca.pem", "splunk-ca.pem", "fab-ca.pem", "qradar-ca.pem"] {
            std::fs::copy(made.file("ca.pem"), folder.path().join(ca)).expect("copied");
        }
        for secret in ["elastic.key", "splunk.token", "hook.secret", "hook.token"] {
            std::fs::write(folder.path().join(secret), "0123456789abcdef\n").expect("written");
        }
        folder
    }

    #[test]
    fn every_kind_has_an_example_in_the_manual_that_is_right() {
        let (folder, examples) = (files(), examples());
        for example in &examples {
            let sink = example.build(folder.path()).unwrap_or_else(|e| panic!("{}: {e}", example.name));
            assert!(!sink.meaning().words.is_empty());
        }
        for kind in kinds() {
            assert!(examples.iter().any(|example| example.kind == kind), "no example of {kind}");
        }
    }

    #[test]
    fn every_kind_refuses_settings_that_it_does_not_have_by_their_names() {
        for mut example in examples() {
            example.settings.insert("nonsense".into(), Value::from(1));
            let problem = example.build(Path::new("")).map(|sink| sink.describe()).expect_err(&example.kind);
            assert!(problem.to_string().contains("nonsense"), "{}: {problem}", example.kind);
        }
    }

    #[test]
    fn mistakes_are_answered_with_what_to_write_instead() {
        let relp = |more: Value| {
            let mut config =
                json!({ "name": "siem", "kind": "relp", "address": "127.0.0.1:2514", "tls": false });
            for (key, value) in more.as_object().into_iter().flatten() {
                config[key] = value.clone();
            }
            problem(config)
        };
        assert_eq!(relp(json!({})), "built relp://127.0.0.1:2514");
        for (config, expected) in [
            (
                json!({ "kind": "splunk" }),
                "there is no kind `splunk`; the kinds are: relp, elasticsearch, splunk-hec",
            ),
            (json!({ "name": "a/b" }), "names a consumer group"),
            (json!({ "name": 7 }), "a sink's `name` must be a text"),
            (json!({ "adress": "x" }), "unknown field `adress`, expected one of `address`"),
            (json!({ "address": "siem" }), "host:port"),
            (json!({ "address": "siem:99999" }), "host:port"),
            (json!({ "format": "xml" }), "there is no format `xml`; the formats are: ocsf, ecs, cef, leef"),
            (json!({ "when": { "severity": "bad" } }), "sink `siem`: `when`: unknown variant `bad`"),
            (json!({ "when": { "color": "red" } }), "unknown field `color`"),
            (json!({ "when": { "cells": ["a*b"] } }), "`a*b` has its `*` not at its end"),
            (json!({ "redact": { "classes": ["all"] } }), "sink `siem`: `redact`: unknown variant `all`"),
            (json!({ "heartbeat": "1s" }), "`heartbeat` is 5s to 1h, or off"),
            (json!({ "window": 0 }), "`window` is 1 to 4096"),
            (json!({ "tls": true }), "`tls: true` does not say whom to trust"),
            (json!({ "tls": null }), "`tls: false`"),
            (json!({ "tls": { "ca": "/nowhere/ca.pem" } }), "/nowhere/ca.pem: "),
            (json!({ "tls": { "ca": "/nowhere/ca.pem", "verify": false } }), "unknown field `verify`"),
            (json!({ "tls": { "ca": "x", "key": "y" } }), "`tls.certificate` and `tls.key` belong together"),
        ] {
            let said = relp(config.clone());
            assert!(said.contains(expected), "{config}: {said}");
        }
        assert!(problem(json!({ "kind": "relp" })).contains("a sink needs a `name`"));
        let own = problem(json!({ "name": "siem", "kind": "topic", "topic": "yagura.events" }));
        assert!(own.contains("are Yagura's own"), "{own}");
        let without_tls = json!({ "name": "siem", "kind": "relp", "address": "127.0.0.1:2514" });
        assert!(problem(without_tls).contains("missing field `tls`"));
    }
}
