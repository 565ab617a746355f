//! Splunk's HTTP Event Collector. With `ack: true`, the default, an alert counts as acknowledged when the
//! indexer says that it has written it; the token must have "indexer acknowledgement" (`useACK`) switched on.
//! <https://help.splunk.com/en/splunk-enterprise/get-data-in/collect-http-event-data>
//!
//! Splunk does not know ids: what is sent again after a broken connection is indexed again. Each event
//! carries the indexed fields `alert_uid` and `revision_uid`; a search does `| dedup revision_uid`.
//!
//! With `ack: false` the answer means that the event is in the receiver's memory; a Splunk that dies
//! loses it, so that such a sink is without guarantee.

use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::header::HeaderName;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use yagura_event::clock::Micros;

use crate::batch::{Deliver, Delivered, Item, Most, batched};
use crate::formats::Format;
use crate::http::{Client, Credential, Place, Reply, SINK_PATIENCE};
use crate::message::Message;
use crate::sink::{Boxed, ConfigError, Connection, Meaning, Sink, SinkError, window_of};
use crate::syslog::LINE_BYTES_MAX;
use crate::tls::Tls;

/// What users write for a Splunk sink.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `https://host:8088`.
    url: String,
    /// `{ ca, certificate, key, server_name }`, or `false` for a network that nobody else is on.
    tls: Tls,
    /// A file with the collector's token.
    token_file: PathBuf,
    /// Whether to wait for the indexer; the token must have it switched on.
    #[serde(default = "ack_default")]
    ack: bool,
    /// The index; the token's own without an entry.
    index: Option<String>,
    /// The source type; `yagura:FORMAT` without an entry.
    sourcetype: Option<String>,
    /// `ocsf` without an entry.
    #[serde(default)]
    format: Format,
    /// How many alerts may await their acknowledgement; 128 without an entry.
    window: Option<usize>,
}

fn ack_default() -> bool {
    true
}

/// The largest request: `max_content_length` is 1 MB as some versions are installed.
const REQUEST_BYTES_MAX: usize = 800 * 1024;

/// How long an indexer may take to acknowledge; Splunk advises to send again after five minutes.
const ACK_PATIENCE: Duration = Duration::from_secs(300);

/// The first pause before an indexer is asked, and the longest.
const ACK_PAUSE: [Duration; 2] = [Duration::from_millis(100), Duration::from_secs(5)];

impl super::Settings for Settings {
    const KIND: &'static str = "splunk-hec";

    fn build(self, name: &str, folder: &Path) -> Result<Box<dyn Sink>, ConfigError> {
        let window = window_of(name, self.window)?;
        let credential = Some(Credential::Token { scheme: "Splunk", file: self.token_file });
        let place = Place::new(name, &self.url, self.tls, credential, folder)?.without_query(name)?;
        let sourcetype = self.sourcetype.unwrap_or_else(|| format!("yagura:{}", self.format.name()));
        let frame = Frame { index: self.index, sourcetype, format: self.format };
        Ok(Box::new(Splunk { place, frame, ack: self.ack, window }))
    }
}

struct Splunk {
    place: Place,
    frame: Frame,
    ack: bool,
    window: usize,
}

impl Sink for Splunk {
    fn describe(&self) -> String {
        format!("{} (HTTP Event Collector)", self.place.describe())
    }

    fn meaning(&self) -> Meaning {
        match self.ack {
            true => Meaning::guaranteed(
                "the indexer has written it; what is sent again after a broken connection is indexed again",
            ),
            false => Meaning::without_guarantee(
                "the collector has it in memory, and loses it when it dies before the indexer has it",
            ),
        }
    }

    fn window(&self) -> usize {
        self.window
    }

    fn patience(&self) -> Duration {
        if self.ack { ACK_PATIENCE + SINK_PATIENCE } else { SINK_PATIENCE }
    }

    fn connect(&self) -> Boxed<'_, Result<Box<dyn Connection>, SinkError>> {
        Box::pin(async move {
            let client = self.place.client().await?;
            let collector = Collector { client, channel: self.ack.then(channel) };
            let frame = self.frame.clone();
            let encode = Box::new(move |message: &Message<'_>| frame.event(message));
            let most = Most { items: self.window, bytes: REQUEST_BYTES_MAX };
            Ok(batched(collector, most, encode))
        })
    }
}

/// A random UUID (version 4): acknowledgements are numbered within it.
fn channel() -> String {
    let (high, low) = (fastrand::u64(..), fastrand::u64(..));
    format!(
        "{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xfff,
        0x8000 | low >> 48 & 0x3fff,
        low & 0xffff_ffff_ffff
    )
}

/// What stands around an alert.
#[derive(Clone)]
struct Frame {
    index: Option<String>,
    sourcetype: String,
    format: Format,
}

impl Frame {
    fn event(&self, message: &Message<'_>) -> String {
        let alert = message.alert;
        let line = self.format.line(message, LINE_BYTES_MAX);
        let mut frame = json!({
            "time": seconds(message.time()),
            "source": "yagura",
            "sourcetype": self.sourcetype,
            "fields": {
                "alert_uid": alert.uid, "revision_uid": message.revision_uid(), "activity": message.activity().name(),
                "cell": alert.cell,
            },
        });
        match message.decided {
            Some(decided) => frame["fields"]["decision"] = json!(decided.to.name()),
            None => frame["fields"]["sequence"] = json!(alert.sequence.to_string()),
        }
        if !alert.tool.is_empty() {
            frame["host"] = json!(alert.tool);
        }
        if let Some(index) = &self.index {
            frame["index"] = json!(index);
        }
        // A line of JSON goes in as it is, without being read again.
        let mut text = frame.to_string();
        text.pop();
        text.push_str(",\"event\":");
        match self.format.is_json() {
            true => text.push_str(&line),
            false => text.push_str(&Value::from(line).to_string()),
        }
        text.push('}');
        text
    }
}

/// Seconds since 1970 with milliseconds; Splunk takes no more.
fn seconds(time: Micros) -> String {
    let millis = time.div_euclid(1000);
    format!("{}.{:03}", millis.div_euclid(1000), millis.rem_euclid(1000))
}

struct Collector {
    client: Client,
    /// The channel, where acknowledgements are waited for.
    channel: Option<String>,
}

/// What the collector answers.
#[derive(Deserialize)]
struct Said {
    #[serde(default)]
    code: u32,
    #[serde(rename = "ackId")]
    ack_id: Option<u64>,
}

impl Collector {
    fn headers(&self) -> Vec<(HeaderName, String)> {
        let channel = self.channel.iter();
        channel.map(|c| (HeaderName::from_static("x-splunk-request-channel"), c.clone())).collect()
    }

    /// Asks until the indexer has written everything under `id`.
    async fn until_written(&mut self, channel: &str, id: u64) -> Result<(), SinkError> {
        let asked = json!({ "acks": [id] }).to_string();
        let since = Instant::now();
        let [mut pause, longest] = ACK_PAUSE;
        while since.elapsed() < ACK_PATIENCE {
            sleep(pause).await;
            pause = (pause * 2).min(longest);
            let path = format!("/services/collector/ack?channel={channel}");
            let reply =
                self.client.post(&path, "application/json", &self.headers(), asked.clone().into()).await?;
            if !reply.is_good() {
                return Err(self.client.trouble(&reply));
            }
            let answer: Value = serde_json::from_slice(&reply.body).unwrap_or_default();
            match answer["acks"][id.to_string()].as_bool() {
                Some(true) => return Ok(()),
                Some(false) => {}
                None => {
                    return Err(self
                        .client
                        .protocol(format!("no acknowledgement of {id} in {}", reply.words())));
                }
            }
        }
        Err(SinkError::Timeout {
            address: "the indexer".into(),
            seconds: ACK_PATIENCE.as_secs(),
            what: "acknowledging what the collector had taken",
        })
    }
}

impl Deliver for Collector {
    fn deliver<'a>(&'a mut self, batch: &'a [Item]) -> Boxed<'a, Result<Delivered, SinkError>> {
        Box::pin(async move {
            let body: Vec<&str> = batch.iter().map(|item| item.body.as_str()).collect();
            let body = body.join("\n");
            let path = "/services/collector/event";
            let reply = self.client.post(path, "application/json", &self.headers(), body.into()).await?;
            if blames_content(&reply) {
                return Ok(Delivered::Refused(reply.words()));
            }
            if !reply.is_good() {
                return Err(self.client.trouble(&reply));
            }
            let said: Said = serde_json::from_slice(&reply.body)
                .map_err(|_| self.client.protocol(format!("it answered {}", reply.words())))?;
            if let Some(channel) = self.channel.clone() {
                let id = said.ack_id.ok_or_else(|| {
                    self.client.protocol(
                        "its answer has no `ackId`: switch indexer acknowledgement on for the token, or write `ack: false`".into(),
                    )
                })?;
                self.until_written(&channel, id).await?;
            }
            Ok(Delivered::all(batch))
        })
    }
}

/// Whether an event is at fault: Splunk also answers 400 for a wrong index or channel, which are the configuration's.
/// Codes 6 invalid data format, 12 and 13 no event, 15 unusable indexed fields.
fn blames_content(reply: &Reply) -> bool {
    let code = || serde_json::from_slice::<Said>(&reply.body).map_or(0, |said| said.code);
    reply.status == 413 || reply.status == 400 && matches!(code(), 6 | 12 | 13 | 15)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn an_event_carries_its_ids_as_fields_in_every_format() {
        let alert = fixtures::alert(7);
        for format in Format::all() {
            let frame = Frame { index: Some("fab".into()), sourcetype: "s".into(), format };
            let text = frame.event(&Message::of(&alert));
            let event: Value = serde_json::from_str(&text).expect("JSON");
            assert_eq!(event["time"], "1795403054.290");
            assert_eq!(event["host"], "ETCH-07");
            assert_eq!(event["fields"]["revision_uid"], format!("{}-r1", alert.uid));
            assert_eq!(event["event"].is_object(), format.is_json(), "{}", format.name());
            assert!(text.contains(&alert.uid.to_string()));
        }
    }

    #[test]
    fn channels_are_uuids_and_only_events_are_given_up_for_good() {
        let channel = channel();
        assert_eq!(channel.len(), 36);
        assert_eq!(channel.as_bytes()[14], b'4');
        let reply =
            |status: u16, code: u32| Reply { status, body: json!({ "code": code }).to_string().into() };
        for (status, code, expected) in [
            (400, 6, true),
            (400, 12, true),
            (413, 0, true),
            (400, 7, false),
            (400, 10, false),
            (503, 9, false),
        ] {
            assert_eq!(blames_content(&reply(status, code)), expected, "{status} {code}");
        }
        assert_eq!([0, -1, 1_999_999].map(seconds), ["0.000", "-1.999", "1.999"]);
    }
}
