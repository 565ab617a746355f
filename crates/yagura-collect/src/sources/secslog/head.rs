//! What stands before a message in a log: time, tool, direction, system bytes.

use chrono::{DateTime, FixedOffset, NaiveDateTime};
use regex::{Captures, Regex};
use yagura_event::clock::Micros;

/// Heads that real gateways write, by name: a regular expression with named groups.
pub const PRESETS: &[(&str, &str)] = &[
    // Python's logging of secsgem's `communication` logger, with whatever stands between time and message.
    (
        "secsgem",
        r"^(?P<time>\d{4}-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?).*?(?P<direction>[<>]) +'?header'?: *\{session_?[iI][dD]:(?P<device>0x[0-9a-fA-F]+).*?system:(?P<system>0x[0-9a-fA-F]+)",
    ),
    // secs4net's sample logger: `<-- [0x0000001A] Name: 'S6F11' W`, behind a time.
    (
        "secs4net",
        r"^(?P<time>\d{4}[-/]\d\d[-/]\d\d[ T]\d\d:\d\d:\d\d(?:[.,]\d+)?).*?(?P<direction><--|-->) *\[(?P<system>0x[0-9a-fA-F]+)\]",
    ),
    // log4net and log4j: `2019-06-08 15:14:37,402 INFO  [85] - SECS. S6F11: 'S6F11' W /* Header=[99 CF 01 00] */`.
    (
        "log4net",
        r"^(?P<time>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d+) +\w+ +\[[^\]]*\] +(?:(?P<tool>[\w.-]+) +)?- (?:(?P<direction>SEND|RECV|Sent|Received|<--|-->|<-|->)\b)?(?:.*Header=\[(?P<system>[0-9A-Fa-f ]+)\])?",
    ),
];

/// Words that say that the writer of the log received a message.
const RECEIVED: &[&str] =
    &["<--", "<-", "<", "<<", "recv", "received", "receive", "in", "rx", "h<-e", "e->h"];

/// Words that say that the writer of the log sent a message.
const SENT: &[&str] = &["-->", "->", ">", ">>", "send", "sent", "out", "tx", "h->e", "e<-h"];

/// Finds heads.
pub struct Pattern {
    regex: Regex,
    format: Option<String>,
    offset: FixedOffset,
    received: Vec<String>,
    sent: Vec<String>,
}

/// A head as it stands in a line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    /// When, if it is there and can be read.
    pub time: Option<Micros>,
    /// A time that could not be read.
    pub bad_time: Option<String>,
    /// The tool; empty when it is not named.
    pub tool: String,
    /// Whether the writer of the log received the message.
    pub received: Option<bool>,
    /// System bytes.
    pub system: Option<u32>,
    /// Device id.
    pub device: Option<u16>,
}

impl Pattern {
    /// A pattern from its text with `{time}`, `{tool}`, `{direction}`, `{system}`, `{device}` and `{*}` places.
    pub fn declared(text: &str) -> Result<Regex, String> {
        let mut out = String::from("^");
        let mut rest = text;
        while let Some((before, after)) = rest.split_once('{') {
            push_literal(&mut out, before);
            let (name, after) = after.split_once('}').ok_or(format!("`{text}`: a `{{` is not closed"))?;
            out.push_str(match name {
                "time" => r"(?P<time>\d[\d/.-]*\d(?:[ T]?\d\d:\d\d:\d\d(?:[.,:]\d+)?(?:Z|[+-]\d\d:?\d\d)?)?)",
                "tool" => r"(?P<tool>[^\s:;,|\]\)]+)",
                "direction" => r"(?P<direction>[^\s\[\]:;,|]+)",
                "system" => r"(?P<system>[0-9a-fA-FxX]+)",
                "device" => r"(?P<device>[0-9a-fA-FxX]+)",
                "*" => ".*?",
                other => {
                    return Err(format!(
                        "`{{{other}}}` is no part of a head; there are: time, tool, direction, system, device, *"
                    ));
                }
            });
            rest = after;
        }
        push_literal(&mut out, rest);
        Regex::new(&out).map_err(|e| e.to_string())
    }

    /// A pattern; words for directions beside the customary ones.
    pub fn new(
        regex: Regex,
        format: Option<String>,
        offset: FixedOffset,
        received: &[String],
        sent: &[String],
    ) -> Self {
        let words = |own: &[String], customary: &[&str]| {
            let own = own.iter().map(|word| word.to_lowercase());
            own.chain(customary.iter().map(|word| word.to_string())).collect()
        };
        Pattern { regex, format, offset, received: words(received, RECEIVED), sent: words(sent, SENT) }
    }

    /// The head of a line, if it has one.
    pub fn find(&self, line: &str) -> Option<Head> {
        let found = self.regex.captures(line)?;
        let group = |name: &str| group(&found, name);
        let mut head = Head { tool: group("tool").unwrap_or_default().to_string(), ..Head::default() };
        if let Some(time) = group("time") {
            head.time = self.time(time);
            head.bad_time = head.time.is_none().then(|| time.chars().take(64).collect());
        }
        head.received = group("direction").and_then(|word| self.direction(word));
        head.system = group("system").and_then(number);
        head.device = group("device").and_then(number).and_then(|n| u16::try_from(n).ok());
        Some(head)
    }

    fn direction(&self, word: &str) -> Option<bool> {
        let word = word.to_lowercase();
        // Words of the user come first in both lists.
        match (self.received.iter().position(|w| *w == word), self.sent.iter().position(|w| *w == word)) {
            (Some(received), Some(sent)) => Some(received < sent),
            (received, sent) => received.map(|_| true).or(sent.map(|_| false)),
        }
    }

    fn time(&self, text: &str) -> Option<Micros> {
        if let Ok(time) = DateTime::parse_from_rfc3339(text) {
            return Some(time.timestamp_micros());
        }
        let plain = text.replace(',', ".");
        let given = self.format.as_deref();
        let formats = [
            "%Y-%m-%d %H:%M:%S%.f",
            "%Y-%m-%dT%H:%M:%S%.f",
            "%Y/%m/%d %H:%M:%S%.f",
            "%Y%m%d %H:%M:%S%.f",
            "%Y%m%d%H%M%S%.f",
        ];
        let time = match given {
            Some(format) => NaiveDateTime::parse_from_str(text, format).ok(),
            None => formats.iter().find_map(|format| NaiveDateTime::parse_from_str(&plain, format).ok()),
        }?;
        time.and_local_timezone(self.offset).single().map(|time| time.timestamp_micros())
    }
}

fn group<'a>(found: &Captures<'a>, name: &str) -> Option<&'a str> {
    found.name(name).map(|m| m.as_str().trim()).filter(|text| !text.is_empty())
}

/// Literal text; blanks stand for any number of them.
fn push_literal(out: &mut String, text: &str) {
    let mut blank = false;
    for part in text.chars() {
        if part.is_whitespace() {
            if !std::mem::replace(&mut blank, true) {
                out.push_str(r"\s+");
            }
            continue;
        }
        blank = false;
        out.push_str(&regex::escape(part.encode_utf8(&mut [0; 4])));
    }
}

/// `26`, `0x1A`, `99 CF 01 00`, `0000001A`.
fn number(text: &str) -> Option<u32> {
    if text.contains(' ') || text.len() == 8 {
        return u32::from_str_radix(&text.replace(' ', ""), 16).ok();
    }
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u32::from_str_radix(hex, 16).ok(),
        None => text.parse().ok().or_else(|| u32::from_str_radix(text, 16).ok()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn preset(name: &str) -> Pattern {
        let (_, regex) = PRESETS.iter().find(|(known, _)| *known == name).expect("a preset");
        let offset = FixedOffset::east_opt(3600).expect("an offset");
        Pattern::new(Regex::new(regex).expect("a regex"), None, offset, &[], &[])
    }

    const NOON: Micros = 1_559_991_600_000_000;

    #[test]
    fn presets_read_what_gateways_write() {
        let head = preset("secsgem").find(
            "2019-06-08 12:00:00,250 communication: < 'header': {session_id:0x0002, stream:06, function:11, p_type:0x00, s_type:0x00, system:0x0000001f, require_response:True}",
        );
        let expected = Head {
            time: Some(NOON + 250_000),
            received: Some(true),
            system: Some(31),
            device: Some(2),
            ..Head::default()
        };
        assert_eq!(head, Some(expected));
        let head = preset("secs4net").find("2019/06/08 12:00:00 trce: --> [0x0000001A] S1F3: 'S1F3' W");
        let expected = Head { time: Some(NOON), received: Some(false), system: Some(26), ..Head::default() };
        assert_eq!(head, Some(expected));
        let head = preset("log4net").find(
            "2019-06-08 12:00:00,000 INFO  [85] - SECS. S6F11: 'S6F11' W /* Name= Header=[99 CF 01 00] */",
        );
        assert_eq!(
            head.map(|head| (head.time, head.system, head.received)),
            Some((Some(NOON), Some(0x99CF_0100), None))
        );
        assert_eq!(preset("log4net").find("<L [3]"), None);
    }

    #[test]
    fn declared_patterns_name_their_parts() {
        let regex = Pattern::declared("[{time}] {tool} {direction} ({system})").expect("a pattern");
        let offset = FixedOffset::east_opt(0).expect("an offset");
        let pattern = Pattern::new(regex, None, offset, &["From".into()], &["To".into()]);
        let head = pattern.find("[2019-06-08 11:00:00.5]   ETCH-07 FROM (77) S6F11 W").expect("a head");
        assert_eq!((head.time, head.tool.as_str()), (Some(NOON + 500_000), "ETCH-07"));
        assert_eq!((head.received, head.system), (Some(true), Some(77)));
        assert_eq!(pattern.find("[2019-06-08 11:00:00.5] ETCH-07 what (77)").map(|h| h.received), Some(None));
        assert!(Pattern::declared("{tim}").is_err_and(|e| e.contains("there are: time")));
        assert!(Pattern::declared("{time").is_err());
    }
}
