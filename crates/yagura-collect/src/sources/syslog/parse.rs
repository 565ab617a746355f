//! The parts of a message. Nothing of it is left out: what cannot be understood stays in its text.
//!
//! RFC 5424 is read here, byte for byte: `syslog_loose` passes over structured data that it does not understand. What
//! precedes it (RFC 3164, and what devices make of that) is read by `syslog_loose`, which knows their habits.

use std::borrow::Cow;

use chrono::{DateTime, Datelike, FixedOffset};
use syslog_loose::{
    IncompleteDate, SyslogFacility, SyslogSeverity, Variant, decompose_pri, parse_message_with_year_exact_tz,
};
use yagura_event::clock::Micros;

use crate::times;

/// A message; what it does not have is empty.
#[derive(Clone, Copy)]
pub(super) struct Message<'a> {
    /// Absent where it begins with no priority.
    pub(super) facility: Option<SyslogFacility>,
    pub(super) severity: Option<SyslogSeverity>,
    pub(super) time: Option<Micros>,
    pub(super) host: &'a str,
    pub(super) app: &'a str,
    pub(super) procid: &'a str,
    pub(super) msgid: &'a str,
    /// Elements that [`structured_data`] reads.
    pub(super) data: &'a str,
    pub(super) text: &'a str,
    /// Whether it follows one of the RFCs.
    pub(super) understood: bool,
}

/// Reads a message that was received at `observed`. Times without a zone are of `zone`.
pub(super) fn parse(text: &str, zone: FixedOffset, observed: Micros) -> Message<'_> {
    let Some((facility, severity, rest)) = priority(text) else {
        return Message { facility: None, severity: None, understood: false, ..EMPTY }.with(text);
    };
    let known = Message { facility, severity, ..EMPTY };
    if let Some(message) = rest.strip_prefix("1 ").and_then(|rest| rfc5424(known, rest)) {
        return message;
    }
    rfc3164(text, zone, observed).unwrap_or(Message { understood: false, ..known }.with(rest))
}

const EMPTY: Message<'_> = Message {
    facility: None,
    severity: None,
    time: None,
    host: "",
    app: "",
    procid: "",
    msgid: "",
    data: "",
    text: "",
    understood: true,
};

impl<'a> Message<'a> {
    fn with(self, text: &'a str) -> Self {
        Message { text, ..self }
    }
}

type Priority<'a> = (Option<SyslogFacility>, Option<SyslogSeverity>, &'a str);

/// The priority that a text begins with, and what follows it.
fn priority(text: &str) -> Option<Priority<'_>> {
    let end = text.bytes().take(5).position(|byte| byte == b'>')?;
    let number = text.get(1..end)?;
    let plain = text.starts_with('<') && number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u8 = number.parse().ok().filter(|number| plain && *number < 192)?;
    let (facility, severity) = decompose_pri(number);
    Some((facility, severity, &text[end + 1..]))
}

/// What follows the version; `None` where fields are missing.
fn rfc5424<'a>(known: Message<'a>, rest: &'a str) -> Option<Message<'a>> {
    let mut rest = rest;
    let mut field = || {
        let (field, after) = rest.split_once(' ')?;
        rest = after;
        Some(if field == "-" { "" } else { field })
    };
    let (stamp, host, app, procid, msgid) = (field()?, field()?, field()?, field()?, field()?);
    let time = times::rfc3339(stamp.as_bytes());
    let (data, text) = match rest.strip_prefix('-') {
        Some(after) => ("", Some(after)),
        None => match structured_data(rest, |_| {}) {
            Some(end) => (&rest[..end], Some(&rest[end..])),
            None => ("", None),
        },
    };
    let text = text.and_then(|text| if text.is_empty() { Some(text) } else { text.strip_prefix(' ') });
    let understood = text.is_some() && (time.is_some() || stamp.is_empty());
    let data = if text.is_some() { data } else { "" };
    let text = text.unwrap_or(rest);
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    Some(Message { time, host, app, procid, msgid, data, text, understood, ..known })
}

/// A part of structured data.
pub(super) enum Item<'a> {
    /// An element begins.
    Element(&'a str),
    /// Its parameter: name and value, as it is written.
    Parameter(&'a str, &'a str),
    /// It ends.
    End,
}

/// Reads elements of structured data; where the last one ends, or `None` where something else stands.
pub(super) fn structured_data<'a>(text: &'a str, mut each: impl FnMut(Item<'a>)) -> Option<usize> {
    let bytes = text.as_bytes();
    let mut at = 0;
    while bytes.get(at) == Some(&b'[') {
        let begin = at + 1;
        at = begin + bytes[begin..].iter().position(|byte| matches!(byte, b' ' | b']' | b'"' | b'='))?;
        if at == begin {
            return None;
        }
        each(Item::Element(&text[begin..at]));
        while bytes.get(at) == Some(&b' ') {
            let begin = at + 1;
            let equals =
                begin + bytes[begin..].iter().position(|byte| matches!(byte, b' ' | b']' | b'"' | b'='))?;
            if equals == begin || bytes.get(equals..equals + 2) != Some(b"=\"") {
                return None;
            }
            let value = equals + 2;
            at = value;
            loop {
                at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
                match bytes[at] {
                    b'"' => break,
                    _ => at += 2,
                }
            }
            each(Item::Parameter(&text[begin..equals], &text[value..at]));
            at += 1;
        }
        if bytes.get(at) != Some(&b']') {
            return None;
        }
        each(Item::End);
        at += 1;
    }
    (at > 0).then_some(at)
}

/// A parameter's value: `\"`, `\\` and `\]` are escapes, any other backslash is itself.
pub(super) fn unescaped(value: &str) -> Cow<'_, str> {
    if !value.contains('\\') {
        return Cow::Borrowed(value);
    }
    let mut out = String::with_capacity(value.len());
    let mut rest = value;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if !after.starts_with(['"', '\\', ']']) {
            out.push('\\');
            rest = after;
            continue;
        }
        out.push_str(&after[..1]);
        rest = &after[1..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

fn rfc3164(text: &str, zone: FixedOffset, observed: Micros) -> Option<Message<'_>> {
    let today = DateTime::from_timestamp_micros(observed).unwrap_or_default().with_timezone(&zone);
    let year = move |(month, ..): IncompleteDate| nearest_year(month, today);
    let read = parse_message_with_year_exact_tz(text, year, Some(zone), Variant::RFC3164).ok()?;
    // There is no structured data in RFC 3164, nor a `-` for none: what was taken for it belongs to the text.
    let whole = text.trim_end();
    let place = |part: &str| (part.as_ptr() as usize).wrapping_sub(whole.as_ptr() as usize);
    let begin = match read.structured_data.first() {
        Some(element) => place(element.id).wrapping_sub(1),
        None => {
            let begin = if read.msg.is_empty() { whole.len() } else { place(read.msg) };
            let before = whole.get(..begin).unwrap_or("").trim_end();
            match before.strip_suffix('-') {
                Some(shorter) if shorter.ends_with([' ', ':']) => shorter.len(),
                _ => begin,
            }
        }
    };
    let procid = match (&read.procid, read.appname) {
        (Some(_), Some(app)) => in_brackets(&text[..begin.min(text.len())], app),
        _ => "",
    };
    Some(Message {
        facility: read.facility,
        severity: read.severity,
        time: read.timestamp.map(|time| time.timestamp_micros()),
        host: read.hostname.unwrap_or(""),
        app: read.appname.unwrap_or(""),
        procid,
        msgid: read.msgid.unwrap_or(""),
        data: "",
        text: whole.get(begin..).unwrap_or(read.msg),
        understood: true,
    })
}

/// What stands in brackets behind the application's name.
fn in_brackets<'a>(head: &'a str, app: &str) -> &'a str {
    let after = head.rfind(app).map_or("", |at| &head[at + app.len()..]);
    after.strip_prefix('[').and_then(|after| after.split_once(']')).map_or("", |(inner, _)| inner)
}

/// RFC 3164 leaves the year out: the one that brings a month nearest to now.
fn nearest_year(month: u32, today: DateTime<FixedOffset>) -> i32 {
    match i64::from(month) - i64::from(today.month()) {
        7.. => today.year() - 1,
        ..=-7 => today.year() + 1,
        _ => today.year(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Message<'_> {
        parse(text, FixedOffset::east_opt(0).expect("a zone"), 1_767_305_655_003_000)
    }

    #[test]
    fn nothing_of_a_message_is_left_out() {
        for (text, rest) in [
            ("<34>1 - h a p m - \u{feff}text", "text"),
            ("<34>1 - h a p m -", ""),
            ("<34>1 - h a p m [x y=\"1\"]", ""),
            ("<34>1 - h a p m [x y=] text", "[x y=] text"),
            ("<34>1 - h a p m [x y=\"1\"]text", "[x y=\"1\"]text"),
            ("<34>1 - h a p m [x y=\"1\\\"] text", "[x y=\"1\\\"] text"),
            ("<34>1 noon h a p m - text", "text"),
            ("<34>1 - h", "1 - h"),
            ("<34>Oct 11 22:14:15 h a[7]: --text", "--text"),
            ("<34>Oct 11 22:14:15 h a: - text", "- text"),
            ("<34>Oct 11 22:14:15 h a: [x y=\"1\"] text", "[x y=\"1\"] text"),
            ("<34>Oct 11 22:14:15 h a-: text", "text"),
        ] {
            assert_eq!(read(text).text, rest, "{text}");
        }
        let message = read("<34>Oct 11 22:14:15 h a[7]: --text");
        assert_eq!((message.host, message.app, message.procid), ("h", "a", "7"));
        assert!(!read("<34>1 noon h a p m - text").understood && read("<34>1 - h a p m -").understood);
    }

    #[test]
    fn values_of_structured_data_are_unescaped() {
        assert_eq!(unescaped(r#"a\"b\\c\]d\ne\"#), "a\"b\\c]d\\ne\\");
        let mut parameters = Vec::new();
        let end = structured_data(r#"[a x="1" y="\]"][b] rest"#, |item| {
            if let Item::Parameter(name, value) = item {
                parameters.push((name, value));
            }
        });
        assert_eq!((end, parameters), (Some(19), vec![("x", "1"), ("y", r"\]")]));
    }
}
