//! The Common Event Format, version 0: ArcSight's, and what most SIEMs read beside their own.
//! "ArcSight Common Event Format (CEF) Implementation Standard", versions 25 and 26.
//!
//! `externalId` is the alert's id, `cs1` (`revisionId`) names one revision, `act` says whether it
//! creates, updates or closes, `cn1` (`sequence`) numbers the cell's revisions without holes.
//! A decision of people has no sequence and no evidence; its `cs6` (`decision`) says what was decided, `suser` by whom,
//! `reason` why, and `rt` when. Severities are CEF's 0 to 10: informational 1, low 3, medium 5, high 8, critical 10.
//!
//! The header escapes `|` and `\`, an extension's value `\`, `=` and line breaks (`\n`, `\r`). Line
//! breaks in a header, which has no escape for them, and other control characters become spaces.

use super::{Encoding, endpoints, is_separator, millis, out_of_ten, signed, spaced};
use crate::message::Message;

/// The format `cef`.
pub const ENCODING: Encoding = Encoding { name: "cef", json: false, bytes_max: 1 << 20, encode: line };

/// The message as one line.
pub fn line(message: &Message<'_>) -> String {
    let alert = message.alert;
    let mut line = format!(
        "CEF:0|Yagura|Yagura|{}|{}|{}|{}|",
        env!("CARGO_PKG_VERSION"),
        header(&alert.detection),
        header(&alert.title),
        out_of_ten(alert.severity)
    );
    let mut extension = Extension { line: &mut line, first: true };
    extension.put("externalId", &alert.uid.to_string());
    extension.put("act", message.activity().name());
    extension.put("cat", alert.queue.name());
    extension.put("rt", &millis(message.time()).to_string());
    if message.decided.is_none() {
        extension.put("start", &millis(alert.time).to_string());
        extension.put("end", &millis(alert.last_time).to_string());
    }
    extension.put("cnt", &signed(alert.count).to_string());
    extension.put("msg", &alert.summary);
    extension.put("dhost", &alert.tool);
    extension.put("dvchost", &alert.cause.collector);
    let ends = endpoints(&alert.evidence);
    for ((address, port), end) in [("src", "spt"), ("dst", "dpt")].into_iter().zip(ends) {
        if let Some(end) = end {
            // Addresses of version 6 have custom fields in CEF; receivers take both in these.
            extension.put(address, &end.ip.to_string());
            extension.put(port, &end.port.map(|port| port.to_string()).unwrap_or_default());
        }
    }
    extension.put("app", alert.evidence["protocol"].as_str().unwrap_or_default());
    if let Some(decided) = message.decided {
        extension.put("suser", &decided.by);
        extension.put("reason", &decided.why);
    } else {
        extension.labelled("cn1", "sequence", &signed(alert.sequence).to_string());
    }
    extension.labelled("cn2", "revision", &alert.revision.to_string());
    extension.labelled("cs1", "revisionId", &message.revision_uid());
    extension.labelled("cs2", "cell", &alert.cell);
    extension.labelled("cs3", "techniques", &alert.techniques.join(","));
    extension.labelled("cs4", "doFirst", &alert.then);
    extension.labelled("cs5", "key", &json_text(&alert.key));
    match message.decided {
        Some(decided) => extension.labelled("cs6", "decision", decided.to.name()),
        None => extension.labelled("cs6", "evidence", &alert.evidence.to_string()),
    }
    if let Some(whole) = message.untruncated {
        extension.labelled("cn3", "truncatedFromBytes", &whole.to_string());
    }
    line
}

fn json_text(key: &std::collections::BTreeMap<String, String>) -> String {
    if key.is_empty() { String::new() } else { serde_json::json!(key).to_string() }
}

struct Extension<'a> {
    line: &'a mut String,
    first: bool,
}

impl Extension<'_> {
    /// A field; none for an empty value.
    fn put(&mut self, name: &str, value: &str) {
        if value.is_empty() {
            return;
        }
        if !std::mem::replace(&mut self.first, false) {
            self.line.push(' ');
        }
        self.line.push_str(name);
        self.line.push('=');
        for c in value.chars() {
            match c {
                '\\' => self.line.push_str("\\\\"),
                '=' => self.line.push_str("\\="),
                '\n' => self.line.push_str("\\n"),
                '\r' => self.line.push_str("\\r"),
                c if is_separator(c) => self.line.push(' '),
                c => self.line.push(c),
            }
        }
    }

    /// A custom field, whose meaning is in a field beside it.
    fn labelled(&mut self, name: &str, label: &str, value: &str) {
        if !value.is_empty() {
            self.put(&format!("{name}Label"), label);
            self.put(name, value);
        }
    }
}

fn header(text: &str) -> String {
    spaced(text).replace('\\', "\\\\").replace('|', "\\|")
}
