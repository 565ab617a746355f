//! What MQTT brokers bring within a while: births of Sparkplug B, or topics that are values.
//!
//! Births come when a node begins; nobody is asked for one. Nodes of which only data came are noted.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use yagura_event::clock::{self, Micros};

use super::{Discovery, Found, Line};
use crate::source::{Opening, SourceError};
use crate::sources::mqtt::payload::{Meaning, Payload, is_scalar, type_name};
use crate::sources::mqtt::session::{Failure, Options, Session};
use crate::sources::mqtt::wire::Message;
use crate::sources::mqtt::{MqttSettings, wait_for};

/// Signals that are listed; what is beyond is noted.
const LINES_MAX: usize = 1_000_000;

/// The longest example.
const EXAMPLE_BYTES_MAX: usize = 64;

impl Discovery for MqttSettings {
    fn discover(self, wait: Duration, at: &Opening<'_>) -> Result<Found, SourceError> {
        if self.is_json() {
            return Err(
                at.wrong("names of `format: json` are in its `mapping`: there is nothing to listen for")
            );
        }
        let sparkplug = self.is_sparkplug();
        let mut found = Found::default();
        for options in self.visitors("discover", at)? {
            let address = options.address.clone();
            let heard = wait_for(&at.plant.runtime, async move { listen(&options, sparkplug, wait).await });
            let heard = heard.map_err(|failure| SourceError::Peer {
                peer: format!("MQTT broker {address}"),
                cause: failure.cause,
                remedy: failure.remedy,
            })?;
            heard.tell(&address, &mut found);
        }
        Ok(found)
    }
}

#[derive(Default)]
struct Heard {
    lines: BTreeMap<String, Line>,
    /// Names beyond the limit.
    over: u64,
    born: BTreeSet<String>,
    unborn: BTreeSet<String>,
    odd: BTreeSet<String>,
}

async fn listen(options: &Options, sparkplug: bool, wait: Duration) -> Result<Heard, Failure> {
    let mut session = Session::open(options).await?;
    let until = clock::steady() + wait.as_micros() as Micros;
    let mut heard = Heard::default();
    while let left = until - clock::steady()
        && left > 0
        && let Some(message) = session.listen(Duration::from_micros(left as u64)).await?
    {
        match sparkplug {
            true => heard.sparkplug(&message),
            false => heard.value(&message),
        }
    }
    session.close().await;
    Ok(heard)
}

impl Heard {
    fn sparkplug(&mut self, message: &Message) {
        let levels: Vec<&str> = message.topic().split('/').collect();
        let (group, kind, node, device) = match levels.as_slice() {
            ["spBv1.0", group, kind, node] => (*group, *kind, *node, None),
            ["spBv1.0", group, kind, node, device] => (*group, *kind, *node, Some(*device)),
            _ => return,
        };
        let mut place = format!("{group}/{node}");
        if let Some(device) = device {
            place = format!("{place}/{device}");
        }
        match kind {
            "NDATA" | "DDATA" if self.unborn.len() < LINES_MAX => {
                self.unborn.insert(place);
            }
            "NBIRTH" | "DBIRTH" => {
                let Ok(payload) = Payload::read(&message.payload) else { return };
                self.birth(&place, device.unwrap_or(node), &payload);
                self.born.insert(place);
            }
            _ => {}
        }
    }

    fn birth(&mut self, place: &str, tool: &str, payload: &Payload<'_>) {
        for metric in payload.metrics().flatten() {
            let Some(Ok(name)) = metric.name.map(std::str::from_utf8) else { continue };
            if name == "bdSeq" {
                continue;
            }
            if !is_scalar(metric.datatype) {
                if self.odd.len() < LINES_MAX {
                    self.odd.insert(format!("{place}/{name} ({})", type_name(metric.datatype)));
                }
                continue;
            }
            let example = match metric.meaning(metric.datatype) {
                Meaning::Number(value) | Meaning::Unfit(value) => value.to_string(),
                Meaning::Text(text) => clip(text),
                Meaning::Nothing | Meaning::Unreadable => String::new(),
            };
            self.line(Line {
                name: format!("{place}/{name}"),
                tool: tool.into(),
                signal: name.into(),
                unit: metric.unit().unwrap_or_default().into(),
                datatype: type_name(metric.datatype).into(),
                example,
                ..Line::default()
            });
        }
    }

    fn value(&mut self, message: &Message) {
        let topic = message.topic();
        let Ok(text) = std::str::from_utf8(&message.payload) else {
            if self.odd.len() < LINES_MAX {
                self.odd.insert(format!("{topic} (neither a number nor a text)"));
            }
            return;
        };
        let number = text.trim().parse::<f64>().is_ok() || matches!(text.trim(), "true" | "false");
        self.line(Line {
            name: topic.into(),
            signal: topic.rsplit('/').next().unwrap_or_default().into(),
            datatype: if number { "number" } else { "text" }.into(),
            example: clip(text.trim()),
            ..Line::default()
        });
    }

    fn line(&mut self, line: Line) {
        if self.lines.len() >= LINES_MAX && !self.lines.contains_key(&line.name) {
            self.over += 1;
        } else {
            self.lines.insert(line.name.clone(), line);
        }
    }

    fn tell(self, address: &str, found: &mut Found) {
        let missed: Vec<&String> = self.unborn.difference(&self.born).collect();
        if let Some(first) = missed.first() {
            found.notes.push(format!(
                "{address}: data of {} nodes and devices came and no birth, as of {first}: listen again when they start",
                missed.len()
            ));
        }
        if let Some(first) = self.odd.first() {
            found.notes.push(format!(
                "{address}: {} signals are neither numbers nor texts and are not read, as {first}",
                self.odd.len()
            ));
        }
        if self.over > 0 {
            found.notes.push(format!("{address}: {} signals beyond {LINES_MAX} are left out", self.over));
        }
        found.lines.extend(self.lines.into_values());
    }
}

fn clip(text: &str) -> String {
    text[..text.floor_char_boundary(EXAMPLE_BYTES_MAX)].to_string()
}
