//! The kinds of sinks. A new one is a file beside this one and two adjacent lines below: its
//! module and its entry.

use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::sink::{ConfigError, Sink};

pub mod relp;
const KINDS: &[Kind] = &[Kind::of::<relp::Settings>()];

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
/// ```
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(try_from = "Map<String, Value>")]
pub struct SinkConfig {
    /// Its name: of the consumer group `sink-<name>` and in metrics. Renaming it makes it a new
    /// sink, which begins with the oldest alert that the log holds.
    pub name: String,
    /// One of [`kinds`].
    pub kind: String,
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
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if name.len() > 64 || !name.chars().all(plain) {
            return Err(format!(
                "the sink's name `{name}` must be at most 64 letters, digits, `-`, `_` or `.`: it names a consumer group"
            ));
        }
        Ok(Self { name, kind, settings })
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
            (json!({ "kind": "splunk" }), "there is no kind `splunk`; the kinds are: relp"),
            (json!({ "name": "a/b" }), "names a consumer group"),
            (json!({ "name": 7 }), "a sink's `name` must be a text"),
            (json!({ "adress": "x" }), "unknown field `adress`, expected one of `address`"),
            (json!({ "address": "siem" }), "host:port"),
            (json!({ "address": "siem:99999" }), "host:port"),
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
        let without_tls = json!({ "name": "siem", "kind": "relp", "address": "127.0.0.1:2514" });
        assert!(problem(without_tls).contains("missing field `tls`"));
    }
}
