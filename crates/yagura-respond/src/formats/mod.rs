//! The formats that alerts are written in. A new one is a file beside this one and two adjacent
//! lines below: its module and its entry.

use std::net::IpAddr;

use serde::de::{Deserializer, Error};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::{Value, json};
use yagura_event::alert::{Alert, Severity};
use yagura_event::clock::Micros;

use crate::message::Message;
use crate::told::Decided;

mod object;

pub mod cef;
pub mod ecs;
pub mod leef;
pub mod ocsf;
const FORMATS: &[&Encoding] = &[&ocsf::ENCODING, &ecs::ENCODING, &cef::ENCODING, &leef::ENCODING];

/// What a format is.
#[derive(Debug)]
pub struct Encoding {
    /// What users write after `format:`.
    pub name: &'static str,
    /// Whether a line is a JSON object.
    pub json: bool,
    /// The most bytes that its usual receivers take as they are installed.
    pub bytes_max: usize,
    /// One line without a line feed.
    pub encode: fn(&Message<'_>) -> String,
}

/// A chosen format.
#[derive(Clone, Copy, Debug)]
pub struct Format(&'static Encoding);

impl Format {
    /// OCSF.
    pub const OCSF: Format = Format(&ocsf::ENCODING);

    /// ECS.
    pub const ECS: Format = Format(&ecs::ENCODING);

    /// The format of that name.
    pub fn named(name: &str) -> Option<Self> {
        FORMATS.iter().find(|format| format.name == name).map(|format| Self(format))
    }

    /// All of them, in the order of the manual.
    pub fn all() -> impl Iterator<Item = Self> {
        FORMATS.iter().map(|format| Self(format))
    }

    /// What users write.
    pub fn name(self) -> &'static str {
        self.0.name
    }

    /// Whether a line is a JSON object.
    pub fn is_json(self) -> bool {
        self.0.json
    }

    /// The message as one line of at most about `bytes_max` bytes, or what the format's receivers take.
    ///
    /// Receivers cut or refuse what is over their limit, and half a message is none. So an alert
    /// that is too long loses its evidence first, then its keys and names, and says so; its ids
    /// always stay.
    pub fn line(self, message: &Message<'_>, bytes_max: usize) -> String {
        let bytes_max = bytes_max.min(self.0.bytes_max);
        let whole = (self.0.encode)(message);
        if whole.len() <= bytes_max {
            return whole;
        }
        let mut short = message.alert.clone();
        let mut decided = message.decided.cloned();
        let again = |short: &Alert, decided: Option<&Decided>| {
            (self.0.encode)(&Message { alert: short, decided, untruncated: Some(whole.len()), ..*message })
        };
        short.evidence = json!({ "left_out": "larger than the receiver takes; see the alert in Yagura" });
        let cut = again(&short, decided.as_ref());
        if cut.len() <= bytes_max {
            return cut;
        }
        // Eight texts, or ten, written some twenty times in all, at up to six bytes for each of theirs.
        let each = bytes_max / 256;
        short.key.clear();
        for list in [&mut short.protects, &mut short.outcomes, &mut short.techniques] {
            list.truncate(4);
            list.iter_mut().for_each(|text| cut_text(text, each.min(32)));
        }
        for text in [
            &mut short.cell,
            &mut short.detection,
            &mut short.title,
            &mut short.matrix,
            &mut short.tool,
            &mut short.summary,
            &mut short.then,
            &mut short.cause.collector,
        ] {
            cut_text(text, each);
        }
        if let Some(Decided { by, why, .. }) = &mut decided {
            cut_text(by, each);
            cut_text(why, each);
        }
        again(&short, decided.as_ref())
    }
}

impl Default for Format {
    fn default() -> Self {
        Self::OCSF
    }
}

impl<'de> Deserialize<'de> for Format {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = String::deserialize(deserializer)?;
        Format::named(&name).ok_or_else(|| {
            let valid: Vec<&str> = Format::all().map(Format::name).collect();
            D::Error::custom(format!("there is no format `{name}`; the formats are: {}", valid.join(", ")))
        })
    }
}

fn cut_text(text: &mut String, bytes_max: usize) {
    text.truncate(text.floor_char_boundary(bytes_max));
}

/// One of the two ends of the causing row.
struct Endpoint {
    ip: IpAddr,
    port: Option<u64>,
}

/// The client and the server of the causing row, where it has addresses.
fn endpoints(evidence: &Value) -> [Option<Endpoint>; 2] {
    [("client", "client_port"), ("server", "server_port")].map(|(address, port)| {
        let ip = evidence.get(address)?.as_str()?.parse().ok()?;
        let port = evidence[port].as_u64().filter(|port| (1..=65_535).contains(port));
        Some(Endpoint { ip, port })
    })
}

impl Endpoint {
    /// Puts its address and its port into an object.
    fn put_into(&self, object: &mut object::Object<'_>) {
        object.put("ip", self.ip);
        if let Some(port) = self.port {
            object.put("port", port);
        }
    }
}

/// A number as receivers take it: their integers are signed.
fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// Columns of evidence whose numbers are names: half of them are larger than a receiver's integers.
const IDS: &[&str] = &["epoch", "flow"];

/// A value with ids as texts, whatever their size, and other numbers beyond a receiver's integers, too: an index that
/// takes the type of a field from the first document would refuse later ones.
struct IdsAsText<'a>(&'a Value);

impl Serialize for IdsAsText<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Value::Object(columns) => out.collect_map(columns.iter().map(|(name, value)| {
                let is_id = value.is_number() && IDS.contains(&name.as_str());
                (name, if is_id { Shown::Id(value) } else { Shown::Value(IdsAsText(value)) })
            })),
            Value::Array(values) => out.collect_seq(values.iter().map(IdsAsText)),
            Value::Number(number) if number.as_u64().is_some_and(|n| i64::try_from(n).is_err()) => {
                out.collect_str(number)
            }
            other => other.serialize(out),
        }
    }
}

enum Shown<'a> {
    Id(&'a Value),
    Value(IdsAsText<'a>),
}

impl Serialize for Shown<'_> {
    fn serialize<S: Serializer>(&self, out: S) -> Result<S::Ok, S::Error> {
        match self {
            Shown::Id(number) => out.collect_str(number),
            Shown::Value(value) => value.serialize(out),
        }
    }
}

/// Milliseconds since 1970.
fn millis(time: Micros) -> i64 {
    time.div_euclid(1000)
}

/// The severity out of CEF's and LEEF's ten.
fn out_of_ten(severity: Severity) -> u8 {
    match severity {
        Severity::Informational => 1,
        Severity::Low => 3,
        Severity::Medium => 5,
        Severity::High => 8,
        Severity::Critical => 10,
    }
}

/// Control characters as spaces: what separates lines or fields must not come from a name on the wire.
fn spaced(text: &str) -> String {
    text.chars().map(|c| if is_separator(c) { ' ' } else { c }).collect()
}

/// Control characters, and what some readers take for the end of a line.
fn is_separator(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}')
}

#[cfg(test)]
mod tests;
