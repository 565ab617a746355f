//! The Log Event Extended Format, version 2.0: QRadar's. IBM, "QRadar Log Event Extended Format
//! (LEEF)", "LEEF event components" and "Predefined LEEF event attributes".
//!
//! `alertId` is the alert's id, `revisionId` names one revision, `activity` says whether it creates,
//! updates or closes, `sequence` numbers the cell's revisions without holes. `sev` is LEEF's 1 to
//! 10: informational 1, low 3, medium 5, high 8, critical 10. `devTime` and other times are milliseconds since 1970.
//!
//! A decision of people has the attributes `decision`, `usrName` (by whom) and `reason`, `devTime` is when it was made,
//! and neither a sequence nor evidence.
//!
//! LEEF has no escapes. So each line names as its delimiter a character that is in none of its
//! values, and values stand as they are; control characters become spaces. In the header, where
//! a bar would end a field, the detection's id has `_` for `|` and `\`; the attribute `detection` has it as it is.

use super::{Encoding, endpoints, millis, out_of_ten, signed, spaced};
use crate::message::Message;

/// The format `leef`. QRadar takes payloads of 4,096 bytes over TCP as it is installed; a syslog header takes some.
pub const ENCODING: Encoding = Encoding { name: "leef", json: false, bytes_max: 3_800, encode: line };

/// What may delimit attributes. The caret is IBM's own example; a tab, the default, would be escaped by
/// relays as the control character that it is.
const DELIMITERS: &[char] = &['^', '~', '`', '!', '#', ';', '@', '$', '%', '&', '*', '+', '?', '<', '>'];

/// The message as one line.
pub fn line(message: &Message<'_>) -> String {
    let attributes = attributes(message);
    let free = |c: &char| !attributes.iter().any(|(_, value)| value.contains(*c));
    let delimiter = DELIMITERS.iter().copied().find(free);
    let event: String = spaced(&message.alert.detection)
        .chars()
        .map(|c| if matches!(c, '|' | '\\') { '_' } else { c })
        .collect();
    let separator = delimiter.unwrap_or(DELIMITERS[0]);
    let mut line = format!("LEEF:2.0|Yagura|Yagura|{}|{event}|{separator}|", env!("CARGO_PKG_VERSION"));
    for (number, (name, value)) in attributes.iter().enumerate() {
        if number > 0 {
            line.push(separator);
        }
        line.push_str(name);
        line.push('=');
        match delimiter {
            Some(_) => line.push_str(value),
            // A text that has them all loses one of them.
            None => line.push_str(&value.replace(separator, " ")),
        }
    }
    line
}

/// Names and values, without those that are empty.
fn attributes(message: &Message<'_>) -> Vec<(&'static str, String)> {
    let alert = message.alert;
    let mut attributes: Vec<(&'static str, String)> = Vec::new();
    let mut put = |name, value: &str| {
        if !value.is_empty() {
            attributes.push((name, spaced(value)));
        }
    };
    put("cat", alert.queue.name());
    put("sev", &out_of_ten(alert.severity).to_string());
    put("devTime", &millis(message.time()).to_string());
    let ends = endpoints(&alert.evidence);
    for ((address, port), end) in [("src", "srcPort"), ("dst", "dstPort")].into_iter().zip(ends) {
        if let Some(end) = end {
            put(address, &end.ip.to_string());
            put(port, &end.port.map(|port| port.to_string()).unwrap_or_default());
        }
    }
    put("resource", &alert.tool);
    put("policy", &alert.title);
    put("alertId", &alert.uid.to_string());
    put("revisionId", &message.revision_uid());
    put("activity", message.activity().name());
    match message.decided {
        Some(decided) => {
            put("decision", decided.to.name());
            put("usrName", &decided.by);
            put("reason", &decided.why);
        }
        None => put("sequence", &signed(alert.sequence).to_string()),
    }
    put("revision", &alert.revision.to_string());
    put("detection", &alert.detection);
    put("cell", &alert.cell);
    put("collector", &alert.cause.collector);
    if message.decided.is_none() {
        put("firstTime", &millis(alert.time).to_string());
        put("lastTime", &millis(alert.last_time).to_string());
    }
    put("count", &signed(alert.count).to_string());
    put("techniques", &alert.techniques.join(","));
    put("summary", &alert.summary);
    put("doFirst", &alert.then);
    if !alert.key.is_empty() {
        put("key", &serde_json::json!(alert.key).to_string());
    }
    if message.decided.is_none() {
        put("evidence", &alert.evidence.to_string());
    }
    if let Some(whole) = message.untruncated {
        put("truncatedFromBytes", &whole.to_string());
    }
    attributes
}
