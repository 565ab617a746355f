//! Syslog (RFC 3164, RFC 5424) over UDP (RFC 5426) and TCP with both framings (RFC 6587).
//!
//! Each message is a row, and a log event too: the same as from a file of log lines.

use yagura_event::clock::{self, Micros, SECOND};
use yagura_event::rows::{LogRow, Row};
use yagura_event::vocabulary::operation;

use crate::cursor::Cut;
use crate::exchange::Exchanges;
use crate::framing::{Frame, Framed, Framing};
use crate::lines;
use crate::{Carrier, Cx, FlowInfo, Glimpse, Probe, Protocol, Side, Transport, json};

/// The registry's entry.
pub const PROTOCOL: Protocol = Protocol {
    name: NAME,
    carriers: &[Carrier::udp(&[514, 1514, 5140, 5514]), Carrier::tcp(&[514, 601, 1468, 1514, 5140, 5514])],
    probe,
    start: |flow: &FlowInfo| {
        Box::new(Framing::new(Syslog {
            exchanges: Exchanges::new(NAME, SECOND),
            datagrams: flow.transport != Transport::Tcp,
        }))
    },
    buffer_bytes_max: MESSAGE_MAX + 8,
    #[cfg(test)]
    sample: tests::sample,
};

const NAME: &str = "syslog";
/// Longest message that is read; the standards ask for 2,048 bytes at least.
const MESSAGE_MAX: usize = 64 << 10;
/// Longest text that a row takes over.
const TEXT_MAX: usize = 2048;

/// Facilities (RFC 5424, table 1).
const FACILITIES: [&str; 24] = [
    "kern", "user", "mail", "daemon", "auth", "syslog", "lpr", "news", "uucp", "cron", "authpriv", "ftp",
    "ntp", "audit", "alert", "clock", "local0", "local1", "local2", "local3", "local4", "local5", "local6",
    "local7",
];

/// Severities (RFC 5424, table 2).
const SEVERITIES: [&str; 8] = ["emerg", "alert", "crit", "err", "warning", "notice", "info", "debug"];

const MONTHS: [&str; 12] =
    ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

fn probe(glimpse: &Glimpse<'_>) -> Probe {
    let bytes = glimpse.bytes;
    if glimpse.transport != Transport::Tcp {
        let datagram = trimmed(bytes);
        return match priority(datagram) {
            Some((_, rest)) if glimpse.customary || is_dated(rest) => Probe::Yes,
            // A relay is to expect messages without a priority (RFC 3164, 4.3.3), however short.
            None if glimpse.customary && !datagram.is_empty() && lines::printable(datagram) => Probe::Yes,
            _ => Probe::No,
        };
    }
    let after_count = match counted(bytes) {
        Count::Of(digits, _) => &bytes[digits + 1..],
        Count::More if bytes.len() < 8 => return Probe::More,
        Count::More | Count::No => bytes,
    };
    match priority(after_count) {
        Some((_, rest)) if is_dated(rest) => Probe::Yes,
        Some((_, rest)) if glimpse.customary && (rest.len() >= 8 || after_count.contains(&b'\n')) => {
            if lines::printable(&rest[..rest.len().min(32)]) {
                Probe::Yes
            } else {
                Probe::No
            }
        }
        Some((_, rest)) if rest.len() < 16 && lines::printable(rest) => Probe::More,
        None if after_count.len() < 5 && matches!(after_count, [] | [b'<', ..]) => {
            let digits = after_count.iter().skip(1).all(u8::is_ascii_digit);
            if digits { Probe::More } else { Probe::No }
        }
        _ => Probe::No,
    }
}

/// Without the ends that senders add.
fn trimmed(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().rposition(|b| !matches!(b, 0 | b'\n' | b'\r' | b' ')).map_or(0, |at| at + 1);
    &bytes[..end]
}

/// `<134>`: the number, and what follows.
fn priority(bytes: &[u8]) -> Option<(u8, &[u8])> {
    let end = bytes.iter().take(5).position(|b| *b == b'>')?;
    let digits = bytes.get(1..end).filter(|digits| !digits.is_empty() && bytes[0] == b'<')?;
    let number = std::str::from_utf8(digits).ok()?.parse::<u8>().ok().filter(|number| *number < 192)?;
    digits.iter().all(u8::is_ascii_digit).then_some((number, &bytes[end + 1..]))
}

/// Whether what follows the priority begins as both standards ask for.
fn is_dated(rest: &[u8]) -> bool {
    let year =
        |bytes: &[u8]| bytes.len() > 5 && bytes[..4].iter().all(u8::is_ascii_digit) && bytes[4] == b'-';
    match rest {
        [b'1', b' ', b'-', b' ', ..] => true,
        [b'1', b' ', time @ ..] => year(time),
        _ if year(rest) => true,
        _ => rest.len() > 5 && MONTHS.iter().any(|m| rest.starts_with(m.as_bytes())) && rest[3] == b' ',
    }
}

enum Count {
    /// That many digits, and that many bytes after the space behind them.
    Of(usize, usize),
    More,
    No,
}

/// The count before a message (RFC 6587, 3.4.1).
fn counted(bytes: &[u8]) -> Count {
    let digits = bytes.iter().take(6).take_while(|b| b.is_ascii_digit()).count();
    match bytes.get(digits) {
        None if digits < 6 => Count::More,
        Some(b' ') if digits > 0 && bytes[0] != b'0' => {
            let length = bytes[..digits].iter().fold(0, |sum, b| sum * 10 + usize::from(b - b'0'));
            match bytes.get(digits + 1) {
                Some(b'<') if (3..=MESSAGE_MAX).contains(&length) => Count::Of(digits, length),
                None => Count::More,
                _ => Count::No,
            }
        }
        _ => Count::No,
    }
}

struct Syslog {
    exchanges: Exchanges<()>,
    datagrams: bool,
}

impl Framed for Syslog {
    const PROTOCOL: &'static str = NAME;

    fn frame(&self, _side: Side, bytes: &[u8]) -> Frame {
        if self.datagrams {
            return Frame::Of(bytes.len().max(1));
        }
        match counted(bytes) {
            Count::Of(digits, length) => return Frame::Of(digits + 1 + length),
            Count::More => return Frame::More,
            Count::No => {}
        }
        match bytes.iter().take(MESSAGE_MAX).position(|b| matches!(b, b'\n' | 0)) {
            Some(end) if lines::printable(&bytes[..end]) => Frame::Of(end + 1),
            None if bytes.len() < MESSAGE_MAX && lines::printable(bytes) => Frame::More,
            _ => Frame::Bad("characters"),
        }
    }

    fn read(&mut self, cx: &mut Cx<'_>, side: Side, frame: &[u8]) -> Result<(), Cut> {
        let message = match counted(frame) {
            Count::Of(digits, _) if !self.datagrams => &frame[digits + 1..],
            _ => frame,
        };
        let message = trimmed(message);
        if message.is_empty() {
            return Ok(());
        }
        let (number, rest) = priority(message).map_or((None, message), |(number, rest)| (Some(number), rest));
        let text = String::from_utf8_lossy(rest);
        let entry = Entry::read(&text);
        let facility = number.map(|n| FACILITIES[usize::from(n / 8)]);
        let severity = number.map(|n| SEVERITIES[usize::from(n % 8)]);

        let mut draft = self.exchanges.draft(cx, side, operation::REPORT, "message");
        draft.equipment = side;
        draft.target.push_str(lines::clip(entry.app, 256));
        let detail = &mut draft.detail;
        for (name, value) in [("facility", facility), ("severity", severity)] {
            json::member_text(detail, name, value.unwrap_or("unspecified"));
        }
        json::member_number(detail, "version", entry.version);
        for (name, value) in [
            ("timestamp", entry.timestamp),
            ("host", entry.host),
            ("process", entry.process),
            ("message_id", entry.id),
            ("structured_data", entry.data),
            ("message", entry.message),
        ] {
            if !value.is_empty() {
                json::member_text(detail, name, lines::clip(value, TEXT_MAX));
            }
        }
        log(cx, side, &entry, facility.unwrap_or("unspecified"), severity.unwrap_or("unspecified"), detail);
        self.exchanges.one_way(cx, draft);
        Ok(())
    }

    fn lost(&mut self, _cx: &mut Cx<'_>, _side: Side) {}

    fn expire(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.expire(cx);
    }

    fn close(&mut self, cx: &mut Cx<'_>) {
        self.exchanges.close(cx);
    }
}

/// The same as a log event (SEMI E187 RQ-00012: event type, description, user, time).
fn log(cx: &mut Cx<'_>, side: Side, entry: &Entry<'_>, facility: &str, severity: &str, detail: &str) {
    let sender = cx.flow.end(side);
    let tool = match (sender.asset.is_empty(), entry.host.is_empty()) {
        (false, _) => &sender.asset,
        (true, false) => lines::clip(entry.host, 255),
        (true, true) => &sender.address,
    };
    let category = match (facility, severity) {
        ("auth" | "authpriv" | "audit", _) => "access",
        (_, "emerg" | "alert" | "crit" | "err") => "error",
        _ => facility,
    };
    let event = if entry.id.is_empty() { entry.app } else { entry.id };
    let mut detail = detail.to_string();
    json::member_text(&mut detail, "sender", &sender.address);
    json::end(&mut detail);
    cx.out.push(Row::Log(&LogRow {
        time: entry.time.unwrap_or(cx.time),
        observed: cx.observed,
        tool,
        category,
        event: lines::clip(event, 256),
        user: user(entry.message).unwrap_or_default(),
        description: lines::clip(entry.message, TEXT_MAX),
        detail: &detail,
        ..LogRow::default()
    }));
}

/// The user that a message names, as `sshd`, PAM and Windows agents write it.
fn user(message: &str) -> Option<&str> {
    let after = ["user=", "User=", "USER=", "invalid user ", "for user ", " for "]
        .iter()
        .find_map(|mark| message.split_once(mark).map(|(_, rest)| (*mark, rest)));
    let (mark, rest) = after?;
    let end = rest
        .find(|c: char| c.is_whitespace() || matches!(c, ',' | ';' | ')' | '"' | '\''))
        .unwrap_or(rest.len());
    // A plain `for` may be about anything.
    let named = mark != " for " || rest[end..].starts_with(" from ");
    (named && (1..=64).contains(&end)).then(|| &rest[..end])
}

/// What follows the priority.
#[derive(Debug, Default, PartialEq, Eq)]
struct Entry<'a> {
    /// The standard that it follows.
    version: u64,
    time: Option<Micros>,
    timestamp: &'a str,
    host: &'a str,
    app: &'a str,
    process: &'a str,
    id: &'a str,
    data: &'a str,
    message: &'a str,
}

impl<'a> Entry<'a> {
    fn read(text: &'a str) -> Entry<'a> {
        match text.strip_prefix("1 ").and_then(Entry::new_style) {
            Some(entry) => entry,
            None => Entry::old_style(text),
        }
    }

    /// RFC 5424, 6.
    fn new_style(text: &'a str) -> Option<Entry<'a>> {
        let mut rest = text;
        let mut next = || {
            let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
            rest = after;
            if word == "-" { "" } else { word }
        };
        let (timestamp, host, app, process, id) = (next(), next(), next(), next(), next());
        if !(timestamp.is_empty() || timestamp.contains('T')) {
            return None;
        }
        let end = structured_data(rest)?;
        let data = if &rest[..end] == "-" { "" } else { &rest[..end] };
        let message = rest[end..].strip_prefix(' ').unwrap_or_default().trim_start_matches('\u{feff}');
        let time = clock::parse_rfc3339(timestamp);
        Some(Entry { version: 5424, time, timestamp, host, app, process, id, data, message })
    }

    /// RFC 3164, 4.1, as far as a sender keeps to it.
    fn old_style(text: &'a str) -> Entry<'a> {
        let mut entry = Entry { version: 3164, message: text, ..Entry::default() };
        let Some((timestamp, rest)) = dated(text) else {
            entry.mnemonic(text);
            return entry;
        };
        entry.timestamp = timestamp;
        entry.time = clock::parse_rfc3339(timestamp);
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        let rest = if is_tag(word) {
            rest
        } else {
            entry.host = word;
            after.trim_start_matches(' ')
        };
        let (word, _) = rest.split_once(' ').unwrap_or((rest, ""));
        entry.message = rest;
        // A tag ends at a colon, or has the process in brackets.
        if is_tag(word) {
            let end = word.find(['[', ':']).unwrap_or(word.len());
            let after = &rest[end..];
            entry.app = &word[..end];
            let after = match after.strip_prefix('[').and_then(|inside| inside.split_once(']')) {
                Some((process, after)) => {
                    entry.process = process;
                    after
                }
                None => after,
            };
            entry.message = after.strip_prefix(':').unwrap_or(after).trim_start_matches(' ');
        }
        entry.mnemonic(rest);
        entry
    }

    /// `%SYS-5-CONFIG_I:`, as Cisco names its events.
    fn mnemonic(&mut self, text: &'a str) {
        let Some((_, name)) = text.split_once('%') else { return };
        let Some((name, _)) = name.split_once(':') else { return };
        let fits = name.len() <= 64 && name.split('-').count() >= 3;
        if fits
            && name.bytes().all(|b| b.is_ascii_uppercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
        {
            self.id = name;
        }
    }
}

fn is_tag(word: &str) -> bool {
    word.ends_with(':') || (word.contains('[') && word.contains(']'))
}

/// The time at the beginning of an old message, and what follows it.
fn dated(text: &str) -> Option<(&str, &str)> {
    let bytes = text.as_bytes();
    let months = MONTHS.iter().any(|m| text.starts_with(m));
    // `Oct 11 22:14:15`
    if months
        && bytes.len() > 15
        && bytes[3] == b' '
        && bytes[9] == b':'
        && bytes[12] == b':'
        && bytes[15] == b' '
    {
        return Some((text.get(..15)?, text.get(16..)?));
    }
    let (word, rest) = text.split_once(' ')?;
    clock::parse_rfc3339(word).map(|_| (word, rest))
}

/// Where the structured data at the beginning ends (RFC 5424, 6.3).
fn structured_data(text: &str) -> Option<usize> {
    if text == "-" || text.starts_with("- ") {
        return Some(1);
    }
    let (mut inside, mut quoted, mut escaped) = (false, false, false);
    for (at, b) in text.bytes().enumerate() {
        match b {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if inside => quoted = !quoted,
            b'[' if !inside => inside = true,
            b']' if inside && !quoted => {
                inside = false;
                if text.as_bytes().get(at + 1) != Some(&b'[') {
                    return Some(at + 1);
                }
            }
            _ if !inside => return None,
            _ => {}
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use yagura_event::schema::Kind;

    use super::*;
    use crate::testing::{Run, Sample};

    pub fn sample() -> Sample {
        let said = [
            "<34>Oct 11 22:14:15 mymachine su[7]: 'su root' failed for lonvick\n",
            "<165>1 2026-10-11T22:14:15.003Z tool7 recipe 8710 ID47 [a@1 x=\"]\\\"\"][b@1] \u{feff}changed",
            "<38>Oct 11 22:14:16 tool7 sshd[9]: Failed password for anna from 10.0.0.9 ssh2",
            "<13>no date at all\n",
        ];
        let said = said.iter().enumerate().map(|(at, text)| {
            let text = if at == 1 || at == 2 { format!("{} {text}", text.len()) } else { text.to_string() };
            (Side::Client, text.into_bytes())
        });
        Sample::tcp(said.collect())
    }

    #[test]
    fn messages_of_both_framings_are_rows_and_log_events() {
        let mut run = Run::new(&PROTOCOL);
        for (side, bytes) in sample().said {
            run.send(side, &bytes);
        }
        run.close();
        assert_eq!(
            run.table(&["function", "operation", "target", "status"]),
            [
                "message|report|su|one_way",
                "message|report|recipe|one_way",
                "message|report|sshd|one_way",
                "message|report||one_way",
            ],
            "{:?}",
            run.rows
        );
        let logs: Vec<String> = run
            .of(Kind::Log)
            .iter()
            .map(|r| ["tool", "category", "event", "user", "description"].map(|c| r.text(c)).join("|"))
            .collect();
        assert_eq!(
            logs,
            [
                "mymachine|access|su||'su root' failed for lonvick",
                "tool7|local4|ID47||changed",
                "tool7|access|sshd|anna|Failed password for anna from 10.0.0.9 ssh2",
                "10.0.0.1|user|||no date at all",
            ]
        );
        assert!(run.messages()[1].text("detail").contains("\"version\":5424"));
    }

    #[test]
    fn datagrams_are_messages() {
        let mut run = Run::over(&PROTOCOL, Transport::Udp);
        run.send(Side::Client, b"<189>45: *Mar  1 18:46:11: %SYS-5-CONFIG_I: Configured from console\0");
        run.send(Side::Client, b"<133>Apr  5 12:56:51 robin: Hello, syslog!");
        assert_eq!(run.of(Kind::Log)[0].text("event"), "SYS-5-CONFIG_I");
        assert_eq!(run.of(Kind::Log)[1].text("description"), "Hello, syslog!");
        assert_eq!(run.messages()[1].text("target"), "robin");
        run.send(Side::Client, b"X");
        assert_eq!((run.messages().len(), run.messages()[2].text("status")), (3, "one_way"));
    }

    #[test]
    fn probes_are_strict_elsewhere() {
        let glimpse = |bytes, customary| {
            probe(&Glimpse { transport: Transport::Udp, side: Side::Client, customary, bytes })
        };
        assert_eq!(glimpse(b"<14>Apr  5 12:56:51 x: y", false), Probe::Yes);
        assert_eq!(glimpse(b"<14>1 - - - - - -", false), Probe::Yes);
        assert_eq!(glimpse(b"<14>hello", false), Probe::No);
        assert_eq!(glimpse(b"<14>hello", true), Probe::Yes);
        assert_eq!(glimpse(b"<192>hello", false), Probe::No);
        assert_eq!((glimpse(b"X", true), glimpse(b"X", false)), (Probe::Yes, Probe::No));
        assert_eq!((glimpse(b"\0", true), glimpse(b"\x01\x02", true)), (Probe::No, Probe::No));
    }
}
