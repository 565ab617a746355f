//! Messages without a standard: JSON objects with a mapping, and payloads that are one value.

use rustc_hash::FxHashMap;
use serde_json::Value;
use yagura_event::vocabulary::coverage;

use super::sparkplug::Out;
use super::wire::Message;
use crate::mapping::{Mapper, push_field};
use crate::names::{Given, Reading};
use crate::times;

/// The longest text that a payload may be.
const TEXT_BYTES_MAX: usize = 4096;

/// Puts out a row for each object of a message. `${topic}` is the message's topic, `${topic.0}` its first level.
pub(super) fn json(mapper: &Mapper, message: &Message, out: &mut Out<'_>) {
    let objects = match serde_json::from_slice(&message.payload) {
        Ok(Value::Object(object)) => vec![Value::Object(object)],
        Ok(Value::Array(objects)) => objects,
        Ok(_) => return malformed(message, "is no JSON object", out),
        Err(cause) => return malformed(message, &format!("is no JSON: {cause}"), out),
    };
    for object in &objects {
        let Value::Object(object) = object else {
            malformed(message, "holds something that is no JSON object", out);
            continue;
        };
        let field = |field: &str, text: &mut String| match field.strip_prefix("topic") {
            Some("") if !object.contains_key(field) => text.push_str(message.topic()),
            Some(level) if level.starts_with('.') => {
                let level = level[1..].parse().ok().and_then(|nth| message.topic().split('/').nth(nth));
                text.push_str(level.unwrap_or_default());
            }
            _ => push_field(object, field, text),
        };
        let time = mapper.column_with(&field, "time");
        let time = match times::read(&time) {
            Some(time) => time,
            None if time.is_empty() => out.now,
            None => {
                malformed(message, &format!("has no readable time: `{}`", clip(&time)), out);
                continue;
            }
        };
        mapper.emit_with(&field, time, Some(out.now), &mut out.signals.naming(out.rows));
    }
}

/// The topics that are signals.
#[derive(Default)]
pub(super) struct Topics {
    numbers: FxHashMap<Box<str>, u32>,
}

impl Topics {
    /// Puts out the value that a message is. One that the broker kept is of an unknown age: uncertain.
    pub fn message(&mut self, message: &Message, topics_max: usize, out: &mut Out<'_>) {
        let topic = message.topic();
        let number = match self.numbers.get(topic) {
            Some(number) => *number,
            None if self.numbers.len() >= topics_max => {
                return out.tell(coverage::DROP, "", 1, || {
                    format!("more than {topics_max} topics; `topics_max` says how many there may be")
                });
            }
            None => {
                let number = out.signals.number(&Given { name: topic, ..Default::default() });
                self.numbers.insert(topic.into(), number);
                number
            }
        };
        let quality = u8::from(message.retained);
        let reading = Reading { time: out.now, observed: out.now, quality };
        let text = match std::str::from_utf8(&message.payload) {
            Ok(text) if text.len() <= TEXT_BYTES_MAX => text.trim(),
            Ok(_) => return malformed(message, "is longer than a value may be", out),
            Err(_) => return malformed(message, "is neither a number nor a text", out),
        };
        match text {
            "true" => out.signals.value(number, reading, 1.0, out.rows),
            "false" => out.signals.value(number, reading, 0.0, out.rows),
            _ => match text.parse::<f64>() {
                Ok(value) => out.signals.value(number, reading, value, out.rows),
                Err(_) => out.signals.text(number, reading, text, out.rows),
            },
        }
    }
}

fn malformed(message: &Message, what: &str, out: &mut Out<'_>) {
    out.tell(coverage::MALFORMED, "", 1, || format!("{}: the payload {what}", clip(message.topic())));
}

/// The beginning of a text from outside.
pub(super) fn clip(text: &str) -> &str {
    &text[..text.floor_char_boundary(100)]
}
