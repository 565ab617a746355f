//! A webhook: each alert is a POST over HTTPS that its receiver can check to be from Yagura.
//!
//! Headers: `Yagura-Timestamp` (seconds since 1970), `Yagura-Signature` (`v1=` and the hexadecimal
//! HMAC-SHA256, RFC 2104, of the timestamp, a full stop and the body, under the shared secret),
//! `Idempotency-Key` (the revision's id). A receiver compares the signature in constant time and
//! refuses timestamps older than a few minutes, so that nobody can send an old alert again.
//!
//! Any 2xx is the acknowledgement. 400, 413 and 422 refuse the alert for good; all else is tried again.

use std::path::{Path, PathBuf};

use hyper::header::HeaderName;
use ring::hmac;
use serde::Deserialize;
use yagura_event::clock;

use crate::batch::{Deliver, Delivered, Item, Most, batched, lines};
use crate::formats::Format;
use crate::http::{Client, Credential, Place, SINK_PATIENCE, secret};
use crate::sink::{Boxed, ConfigError, Connection, Meaning, Sink, SinkError, window_of};
use crate::syslog::LINE_BYTES_MAX;
use crate::tls::Tls;

/// What users write for a webhook.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `https://host:port/path`.
    url: String,
    /// `{ ca, certificate, key, server_name }`, or `false` for a network that nobody else is on.
    tls: Tls,
    /// A file with the secret that signs.
    secret_file: PathBuf,
    /// A file with a token for `Authorization: Bearer`.
    token_file: Option<PathBuf>,
    /// `ocsf` without an entry.
    #[serde(default)]
    format: Format,
    /// How many alerts may await their acknowledgement; 128 without an entry.
    window: Option<usize>,
}

/// The shortest secret: 128 bits as hexadecimal digits, or a long word.
const SECRET_BYTES_MIN: usize = 16;

impl super::Settings for Settings {
    const KIND: &'static str = "webhook";

    fn build(self, name: &str, folder: &Path) -> Result<Box<dyn Sink>, ConfigError> {
        let window = window_of(name, self.window)?;
        let credential = self.token_file.map(|file| Credential::Token { scheme: "Bearer", file });
        let place = Place::new(name, &self.url, self.tls, credential, folder)?;
        let secret_file = folder.join(self.secret_file);
        key_of(&secret_file)?;
        Ok(Box::new(Webhook { place, secret_file, format: self.format, window }))
    }
}

fn key_of(file: &Path) -> Result<hmac::Key, ConfigError> {
    let text = secret(file)?;
    if text.len() < SECRET_BYTES_MIN {
        let problem =
            format!("holds {} bytes; a secret that signs has at least {SECRET_BYTES_MIN}", text.len());
        return Err(ConfigError::File { file: file.display().to_string(), problem });
    }
    Ok(hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes()))
}

struct Webhook {
    place: Place,
    secret_file: PathBuf,
    format: Format,
    window: usize,
}

impl Sink for Webhook {
    fn describe(&self) -> String {
        self.place.describe()
    }

    fn meaning(&self) -> Meaning {
        Meaning::guaranteed("the receiver answered 2xx: it has what it did before it answered")
    }

    fn window(&self) -> usize {
        self.window
    }

    fn patience(&self) -> std::time::Duration {
        SINK_PATIENCE
    }

    fn connect(&self) -> Boxed<'_, Result<Box<dyn Connection>, SinkError>> {
        Box::pin(async move {
            let post = Post {
                client: self.place.client().await?,
                key: key_of(&self.secret_file)?,
                content_type: if self.format.is_json() {
                    "application/json"
                } else {
                    "text/plain; charset=utf-8"
                },
            };
            let encode = lines(self.format, LINE_BYTES_MAX);
            // One a request: receivers are simple.
            let most = Most { items: 1, bytes: LINE_BYTES_MAX };
            Ok(batched(post, most, encode))
        })
    }
}

struct Post {
    client: Client,
    key: hmac::Key,
    content_type: &'static str,
}

impl Deliver for Post {
    fn deliver<'a>(&'a mut self, batch: &'a [Item]) -> Boxed<'a, Result<Delivered, SinkError>> {
        Box::pin(async move {
            for item in batch {
                let timestamp = clock::now().div_euclid(clock::SECOND);
                let headers = [
                    (HeaderName::from_static("yagura-timestamp"), timestamp.to_string()),
                    (
                        HeaderName::from_static("yagura-signature"),
                        signature(&self.key, timestamp, &item.body),
                    ),
                    (HeaderName::from_static("idempotency-key"), item.id.clone()),
                ];
                let reply =
                    self.client.post("", self.content_type, &headers, item.body.clone().into()).await?;
                if reply.blames_content() {
                    return Ok(Delivered::Refused(reply.words()));
                }
                if !reply.is_good() {
                    return Err(self.client.trouble(&reply));
                }
            }
            Ok(Delivered::all(batch))
        })
    }
}

/// `v1=` and the signature of what was sent at `timestamp`.
fn signature(key: &hmac::Key, timestamp: i64, body: &str) -> String {
    let tag = hmac::sign(key, format!("{timestamp}.{body}").as_bytes());
    let hex: String = tag.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    format!("v1={hex}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_what_openssl_computes() {
        // printf '1795403047.{"a":1}' | openssl dgst -sha256 -hmac 0123456789abcdef
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"0123456789abcdef");
        let expected = "v1=22e736baddb3ee1acc96d705dbf25276677de4d660ee7eaeb13ec6c39e06e388";
        assert_eq!(signature(&key, 1_795_403_047, r#"{"a":1}"#), expected);
    }
}
