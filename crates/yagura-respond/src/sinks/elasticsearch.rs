//! Elasticsearch and OpenSearch through `_bulk`: each revision is created under its own `_id`, so
//! that what is sent twice is stored once. <https://www.elastic.co/docs/api/doc/elasticsearch/operation/operation-bulk>
//!
//! The answer has a status for each: 201 is taken, 409 is there already, which is the same; 429
//! and 5xx are tried again; another 4xx (a field that the index maps to another type) refuses
//! that one for good. An acknowledged alert is in the translog of the primary shard and of its
//! replicas in sync; `index.translog.durability: async` takes that back.
//!
//! An id is unique within one index. Behind an alias or a data stream that rolled over in between, a
//! repeated revision is a second document: search for the newest of each `event.id`.

use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::{Value, json};

use crate::batch::{Deliver, Delivered, Item, Most, batched, lines};
use crate::formats::Format;
use crate::http::{Client, Credential, Place, SINK_PATIENCE};
use crate::sink::{Boxed, ConfigError, Connection, Meaning, Sink, SinkError, Verdict, window_of};
use crate::syslog::LINE_BYTES_MAX;
use crate::tls::Tls;

/// What users write for an Elasticsearch sink.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `https://host:9200`.
    url: String,
    /// `{ ca, certificate, key, server_name }`, or `false` for a network that nobody else is on.
    tls: Tls,
    /// The index, alias or data stream.
    index: String,
    /// A file with an API key, encoded as the server gave it.
    api_key_file: Option<PathBuf>,
    /// A user, with `password_file`.
    user: Option<String>,
    /// A file with the user's password.
    password_file: Option<PathBuf>,
    /// `ecs` without an entry, or `ocsf`.
    #[serde(default = "format_default")]
    format: Format,
    /// How many alerts may await their acknowledgement; 128 without an entry.
    window: Option<usize>,
}

fn format_default() -> Format {
    Format::ECS
}

/// The largest request: servers take 100 MB as they are installed, and do better with less.
const REQUEST_BYTES_MAX: usize = 4 * 1024 * 1024;

impl super::Settings for Settings {
    const KIND: &'static str = "elasticsearch";

    fn build(self, name: &str, folder: &Path) -> Result<Box<dyn Sink>, ConfigError> {
        let bad = |problem: String| ConfigError::Setting { sink: name.into(), problem };
        let window = window_of(name, self.window)?;
        if !self.format.is_json() {
            return Err(bad(format!("`format: {}` is no JSON; write ecs or ocsf", self.format.name())));
        }
        let plain = |c: char| !c.is_control() && !c.is_uppercase() && !" \"*\\<>|,/?#%".contains(c);
        if self.index.is_empty() || self.index.len() > 255 || !self.index.chars().all(plain) {
            return Err(bad(format!(
                "`index: {}` is no name of an index, such as yagura-alerts",
                self.index
            )));
        }
        let key = ("ApiKey", "api_key_file", self.api_key_file);
        let credential = Credential::either(key, self.user, self.password_file).map_err(bad)?;
        let place = Place::new(name, &self.url, self.tls, credential, folder)?.without_query(name)?;
        Ok(Box::new(Elasticsearch { place, index: self.index, format: self.format, window }))
    }
}

struct Elasticsearch {
    place: Place,
    index: String,
    format: Format,
    window: usize,
}

impl Sink for Elasticsearch {
    fn describe(&self) -> String {
        format!("{} index {}", self.place.describe(), self.index)
    }

    fn meaning(&self) -> Meaning {
        Meaning::guaranteed(
            "the document is on the disks of the shard and its replicas, and stored once in its index however often it is sent",
        )
    }

    fn window(&self) -> usize {
        self.window
    }

    fn patience(&self) -> std::time::Duration {
        SINK_PATIENCE
    }

    fn connect(&self) -> Boxed<'_, Result<Box<dyn Connection>, SinkError>> {
        Box::pin(async move {
            let bulk = Bulk { client: self.place.client().await?, index: self.index.clone() };
            let encode = lines(self.format, LINE_BYTES_MAX);
            let most = Most { items: self.window, bytes: REQUEST_BYTES_MAX };
            Ok(batched(bulk, most, encode))
        })
    }
}

struct Bulk {
    client: Client,
    index: String,
}

impl Deliver for Bulk {
    fn deliver<'a>(&'a mut self, batch: &'a [Item]) -> Boxed<'a, Result<Delivered, SinkError>> {
        Box::pin(async move {
            let mut body = String::new();
            for item in batch {
                let action = json!({ "create": { "_index": self.index, "_id": item.id } });
                body.push_str(&action.to_string());
                body.push('\n');
                body.push_str(&item.body);
                body.push('\n');
            }
            let reply = self.client.post("/_bulk", "application/x-ndjson", &[], body.into()).await?;
            if reply.blames_content() {
                return Ok(Delivered::Refused(reply.words()));
            }
            if !reply.is_good() {
                return Err(self.client.trouble(&reply));
            }
            let (verdicts, trouble) =
                verdicts_of(&reply.body, batch.len()).map_err(|what| self.client.protocol(what))?;
            let address = || self.index.clone();
            let trouble = trouble.map(|answer| SinkError::Busy { address: address(), answer });
            Ok(Delivered::Each { verdicts, trouble })
        })
    }
}

/// What `_bulk` answered.
#[derive(Deserialize)]
struct BulkAnswer {
    items: Vec<BulkItem>,
}

#[derive(Deserialize)]
struct BulkItem {
    create: BulkStatus,
}

#[derive(Deserialize)]
struct BulkStatus {
    status: u16,
    #[serde(default)]
    error: Value,
}

/// A verdict for each item of a batch, and the words of one that is to be sent again.
fn verdicts_of(answer: &[u8], batch: usize) -> Result<(Vec<Option<Verdict>>, Option<String>), String> {
    let answer: BulkAnswer =
        serde_json::from_slice(answer).map_err(|e| format!("its answer is not that of `_bulk`: {e}"))?;
    if answer.items.len() != batch {
        return Err(format!("it answered {} of {batch} items", answer.items.len()));
    }
    let mut again = None;
    let verdicts = answer.items.into_iter().map(|BulkItem { create }| match create.status {
        200..=299 | 409 => Some(Verdict::Taken),
        // A missing index, a lacking right and too many requests are not the alert's fault.
        401 | 403 | 404 | 429 | 500.. => {
            again = Some(words(&create));
            None
        }
        _ => Some(Verdict::Refused(words(&create))),
    });
    let verdicts = verdicts.collect();
    Ok((verdicts, again))
}

fn words(status: &BulkStatus) -> String {
    let text = status.error.to_string();
    format!("{} {}", status.status, &text[..text.floor_char_boundary(500)])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_item_has_its_own_verdict() {
        let item =
            |status: u16| json!({ "create": { "_id": "x", "status": status, "error": { "type": "t" } } });
        let answer = json!({ "took": 3, "errors": true, "items": [item(201), item(409), item(429), item(400), item(503)] });
        let (verdicts, again) = verdicts_of(answer.to_string().as_bytes(), 5).expect("an answer");
        let refused = Some(Verdict::Refused(r#"400 {"type":"t"}"#.into()));
        assert_eq!(verdicts, [Some(Verdict::Taken), Some(Verdict::Taken), None, refused, None]);
        assert!(again.is_some());
        let good = json!({ "items": [item(201)] }).to_string();
        assert_eq!(verdicts_of(good.as_bytes(), 1), Ok((vec![Some(Verdict::Taken)], None)));
        for (wrong, batch) in
            [(good.as_str(), 2), ("{}", 1), ("<html>", 1), (r#"{"items":[{"index":{}}]}"#, 1)]
        {
            assert!(verdicts_of(wrong.as_bytes(), batch).is_err(), "{wrong}");
        }
    }
}
