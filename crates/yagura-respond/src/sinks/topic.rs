//! A topic of Yagura's own log: where that is on Kafka, alerts in a format that others read with plain Kafka tools,
//! beside `yagura.alerts`, which has Yagura's own.
//!
//! A record's key is the alert's id, so that a compacted topic keeps the newest message about each; its header says
//! the format and the revision's id; its value is the line. Acknowledged when the log has made it durable
//! (`acks=all`). What is sent again after a crash is in the topic twice, under the same revision id.

use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::json;
use yagura_log::{Appender, Log, LogError, Record};

use crate::batch::{Deliver, Delivered, Item, Most, batched, lines};
use crate::formats::Format;
use crate::sink::{Boxed, ConfigError, Connection, Meaning, Sink, SinkError, blocking, window_of};
use crate::syslog::LINE_BYTES_MAX;

/// What users write for a topic.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// The topic; it is made with one partition where it is missing.
    topic: String,
    /// `ocsf` without an entry.
    #[serde(default)]
    format: Format,
    /// How many alerts may await the log; 128 without an entry.
    window: Option<usize>,
}

impl super::Settings for Settings {
    const KIND: &'static str = "topic";

    fn build(self, name: &str, _folder: &Path) -> Result<Box<dyn Sink>, ConfigError> {
        let bad = |problem: String| ConfigError::Setting { sink: name.into(), problem };
        let window = window_of(name, self.window)?;
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if self.topic.is_empty() || self.topic.len() > 249 || !self.topic.chars().all(plain) {
            return Err(bad(format!("`topic: {}` is no name of a topic, such as siem.alerts", self.topic)));
        }
        if self.topic.starts_with("yagura.") {
            return Err(bad(format!(
                "`topic: {}`: topics that begin with `yagura.` are Yagura's own",
                self.topic
            )));
        }
        Ok(Box::new(Topic { topic: self.topic, format: self.format, window, log: None }))
    }
}

struct Topic {
    topic: String,
    format: Format,
    window: usize,
    log: Option<Arc<dyn Log>>,
}

impl Sink for Topic {
    fn describe(&self) -> String {
        let log = self.log.as_ref().map_or("the log".into(), |log| log.describe());
        format!("topic {} of {log}", self.topic)
    }

    fn meaning(&self) -> Meaning {
        Meaning::guaranteed("the log has made it durable; what reads the topic is not asked")
    }

    fn window(&self) -> usize {
        self.window
    }

    fn needs_log(&self) -> bool {
        true
    }

    fn attach(&mut self, log: &Arc<dyn Log>) {
        self.log = Some(Arc::clone(log));
    }

    fn connect(&self) -> Boxed<'_, Result<Box<dyn Connection>, SinkError>> {
        Box::pin(async move {
            let closed = |cause: String| SinkError::Closed { address: self.describe(), cause };
            let log = self.log.clone().ok_or_else(|| closed("no log is attached".into()))?;
            let (topic, address) = (self.topic.clone(), self.describe());
            let appender = blocking(move || {
                let opened = log.ensure_topic(&topic, 1).and_then(|_| log.appender(&topic));
                opened.map_err(|cause| SinkError::Closed { address, cause: cause.to_string() })
            });
            let appending =
                Appending { appender: Some(appender.await?), address: self.describe(), format: self.format };
            let encode = lines(self.format, LINE_BYTES_MAX);
            let most = Most { items: self.window, bytes: 1 << 20 };
            Ok(batched(appending, most, encode))
        })
    }
}

struct Appending {
    /// None after an error: the connection is over.
    appender: Option<Box<dyn Appender>>,
    address: String,
    format: Format,
}

impl Deliver for Appending {
    fn deliver<'a>(&'a mut self, batch: &'a [Item]) -> Boxed<'a, Result<Delivered, SinkError>> {
        Box::pin(async move {
            let closed = |cause: String| SinkError::Closed { address: self.address.clone(), cause };
            let mut inner = self.appender.take().ok_or_else(|| closed("an earlier error ended it".into()))?;
            let records: Vec<Record> = batch.iter().map(|item| record(item, self.format)).collect();
            let written = blocking(move || {
                let written = records.into_iter().try_for_each(|record| inner.append(record));
                Ok((written.and_then(|()| inner.flush()), inner))
            });
            match written.await? {
                (Ok(()), inner) => {
                    self.appender = Some(inner);
                    Ok(Delivered::all(batch))
                }
                (Err(LogError::TooLarge { .. }), inner) => {
                    self.appender = Some(inner);
                    Ok(Delivered::Refused("it is larger than a record of the log may be".into()))
                }
                (Err(cause), _) => Err(closed(cause.to_string())),
            }
        })
    }
}

/// A UUID's text, with which every id of a message begins.
const UID_CHARS: usize = 36;

fn record(item: &Item, format: Format) -> Record {
    let uid = item.id.get(..UID_CHARS).unwrap_or(&item.id);
    let header = json!({ "format": format.name(), "revision_uid": item.id });
    Record { key: uid.to_string().into(), header: header.to_string().into(), value: item.body.clone().into() }
}
