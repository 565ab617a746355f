//! RFC 5424 lines: the syslog frame around a message in one of the formats.

use yagura_event::alert::Severity;
use yagura_event::clock;

use crate::formats::Format;
use crate::message::Message;

/// Longest line that is sent. RELP fixes its own limit at 128 KiB; half of that is what
/// the receivers' manuals advise for JSON, and it must be set there (rsyslog's `maxMessageSize`).
pub const LINE_BYTES_MAX: usize = 64 * 1024;

/// What the header needs at most: its fields are cut to the lengths of RFC 5424, section 6.
const HEADER_BYTES_MAX: usize = 2 * 1024;

/// Facility `local0`.
const FACILITY: u8 = 16;

/// Makes lines for one host.
#[derive(Clone, Debug)]
pub struct Formatter {
    host: String,
    process: u32,
    format: Format,
}

impl Formatter {
    /// A formatter that names this machine and process.
    pub fn new(format: Format) -> Self {
        let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
        Self { host: header_field(&host, 255), process: std::process::id(), format }
    }

    /// One line without a line feed: `MSGID` is the format's name, the structured data carry the ids, and
    /// the message is the format's line.
    ///
    /// The number 32473 of the structured data is the one that RFC 5612 sets aside for
    /// those without a number of their own.
    pub fn line(&self, message: &Message<'_>) -> String {
        let alert = message.alert;
        let priority = FACILITY * 8 + severity(alert.severity);
        let time = match clock::rfc3339(message.time()) {
            // RFC 5424 knows years of four digits only.
            time if time.len() == 27 => time,
            _ => "-".to_string(),
        };
        let mut cell = String::new();
        for c in alert.cell.chars().take(128) {
            if matches!(c, '"' | '\\' | ']') {
                cell.push('\\');
            }
            cell.push(if c.is_control() { ' ' } else { c });
        }
        // A number for each revision, or what was decided about one.
        let (name, last) = match message.decided {
            Some(decided) => ("decision", decided.to.name().to_string()),
            None => ("sequence", alert.sequence.to_string()),
        };
        format!(
            "<{priority}>1 {time} {} yagura {} {} [yagura@32473 uid=\"{}\" revision=\"{}\" cell=\"{cell}\" {name}=\"{last}\"] {}",
            self.host,
            self.process,
            self.format.name(),
            alert.uid,
            alert.revision,
            self.format.line(message, LINE_BYTES_MAX - HEADER_BYTES_MAX),
        )
    }
}

/// Syslog's severity, where a smaller number is worse; `emerg` stays with the receiver's own host.
fn severity(severity: Severity) -> u8 {
    match severity {
        Severity::Critical => 1,
        Severity::High => 2,
        Severity::Medium => 4,
        Severity::Low => 5,
        Severity::Informational => 6,
    }
}

/// Printable ASCII without spaces, or the nil value.
fn header_field(text: &str, chars_max: usize) -> String {
    let field: String = text.trim().chars().filter(char::is_ascii_graphic).take(chars_max).collect();
    if field.is_empty() { "-".into() } else { field }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixtures;

    #[test]
    fn a_line_has_the_fields_of_rfc_5424_and_the_event() {
        let formatter = Formatter { host: header_field("fab gw\n", 255), process: 42, format: Format::OCSF };
        let alert = fixtures::alert(7);
        let line = formatter.line(&Message::of(&alert));
        let expected = format!(
            "<130>1 2026-11-23T03:04:14.290000Z fabgw yagura 42 ocsf [yagura@32473 uid=\"{}\" revision=\"1\" cell=\"bay-3\" sequence=\"7\"] {{",
            alert.uid
        );
        assert!(line.starts_with(&expected), "{line}\n{expected}");
        let event: serde_json::Value = serde_json::from_str(&line[expected.len() - 1..]).expect("JSON");
        assert_eq!(event["class_uid"], 2004);
    }

    #[test]
    fn hostile_names_break_neither_frame_nor_length() {
        let formatter = Formatter { host: header_field("", 255), process: 1, format: Format::OCSF };
        let mut alert = fixtures::alert(0);
        alert.cell = "a\"]\\ \n櫓".repeat(40_000);
        alert.summary = "line\nbreak".repeat(40_000);
        alert.observed = i64::MAX;
        let line = formatter.line(&Message::of(&alert));
        assert!(line.starts_with("<130>1 - - yagura 1 ocsf [yagura@32473 "), "{}", &line[..80]);
        assert!(!line.contains('\n'));
        assert!(line.contains("cell=\"a\\\"\\]\\\\  櫓"));
        assert!(line.len() <= LINE_BYTES_MAX);
    }
}
