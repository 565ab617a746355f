//! An alert as a person reads it in a terminal: when, where, what, why it matters, what to do first.
//!
//! Names and values come from the wire, so whoever sends them could try to write escape
//! sequences into the analyst's terminal: control characters, and those that turn the
//! direction of writing, are shown as `\u{..}` and nothing else.

use std::fmt::Write;

use serde_json::Value;
use unicode_width::UnicodeWidthChar;
use yagura_event::alert::{Alert, Severity, reading};
use yagura_event::clock::{self, Micros, SECOND};

use crate::picture::{Drawn, Picture};
use crate::techniques;

/// How to render.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether to colour with ANSI escapes.
    pub colour: bool,
    /// Columns to fill, at least 40; a line may be longer only if a single name is.
    pub width: usize,
}

impl Default for Style {
    fn default() -> Self {
        Self { colour: false, width: 80 }
    }
}

/// Columns of the labels on the left.
const LABEL: usize = 9;

/// Columns of times beside those that an alert says itself.
const TIMES: [&str; 1] = ["until"];
/// Facts of the causing row that are shown; the alert's record has all.
const FACTS_MAX: usize = 12;

/// Evidence that is shown in a way of its own.
const DRAWN: [&str; 4] = ["around", "signals", "raised", "known"];

/// Characters of one fact.
const FACT_CHARS_MAX: usize = 160;

/// The alert as lines of text, the last with a line feed. Times are UTC and say so.
pub fn render(alert: &Alert, style: Style) -> String {
    let mut page = Page { out: String::new(), style };
    page.headline(alert);
    page.entry("When", &when(alert));
    page.entry("Where", &place(alert));
    page.entry("What", &alert.summary);
    let facts = facts(alert);
    if !facts.is_empty() {
        page.entry("Seen", &facts);
    }
    page.picture(alert);
    for (label, name) in [("Known", "known"), ("Raised", "raised")] {
        if let Some(text) = alert.evidence[name].as_str() {
            page.entry(label, text);
        }
    }
    page.entry("At stake", &stake(alert));
    for line in techniques_of(alert) {
        page.entry("", &line);
    }
    if !alert.then.is_empty() {
        page.strong_entry("Do first", &alert.then);
    }
    page.entry("Alert", &identity(alert));
    page.out
}

fn when(alert: &Alert) -> String {
    let mut text = date_and_time(alert.time);
    if alert.count > 1 {
        let _ = write!(text, ", last {}, {} times", until(alert.time, alert.last_time), alert.count);
    }
    let skew = alert.time.saturating_sub(alert.observed);
    if skew.saturating_abs() > 5 * SECOND {
        let _ = write!(text, " by the device's clock; received {}", date_and_time(alert.observed));
    }
    if alert.late {
        text.push_str(". It arrived late: the link to its collector was cut, or it came out of a spool");
    }
    text
}

/// `2026-11-23 04:05:06 UTC`.
pub(crate) fn date_and_time(time: Micros) -> String {
    let text = clock::rfc3339(time);
    match (text.get(..10), text.get(11..19)) {
        (Some(date), Some(day_time)) if text.len() == 27 => format!("{date} {day_time} UTC"),
        _ => text,
    }
}

/// The second of two times, without the date when it is the first one's.
fn until(first: Micros, last: Micros) -> String {
    let (first, last) = (date_and_time(first), date_and_time(last));
    match (first.get(..10), last.get(..10)) {
        (Some(a), Some(b)) if a == b => last[11..].to_string(),
        _ => last,
    }
}

fn place(alert: &Alert) -> String {
    let mut text = match alert.tool.is_empty() {
        true => format!("cell {}", alert.cell),
        false => format!("{}, cell {}", alert.tool, alert.cell),
    };
    let more: Vec<String> = alert
        .key
        .iter()
        .filter(|(name, value)| name.as_str() != "tool" && !value.is_empty())
        .map(|(name, value)| format!("{} {value}", words(name)))
        .collect();
    if !more.is_empty() {
        let _ = write!(text, "; {}", more.join(", "));
    }
    text
}

/// The causing row, shortened: first who spoke to whom, then the rest by name.
fn facts(alert: &Alert) -> String {
    let Value::Object(evidence) = &alert.evidence else { return shown(&alert.evidence) };
    let mut facts = Vec::new();
    let text_of = |name: &str| evidence.get(name).map(shown).filter(|text| !text.is_empty());
    let mut told: Vec<&str> = vec!["time", "observed", "flow", "tool"];
    if let (Some(client), Some(server)) = (text_of("client"), text_of("server")) {
        let port = |name| text_of(name).map(|port| format!(" port {port}")).unwrap_or_default();
        facts.push(format!("{client} to {server}{}", port("server_port")));
        told.extend(["client", "client_port", "server", "server_port"]);
    }
    if let (Some(protocol), Some(function)) = (text_of("protocol"), text_of("function")) {
        facts.push(format!("{protocol} {function}"));
        told.extend(["protocol", "function"]);
    }
    let mut left_out = 0;
    for (name, value) in evidence {
        if told.contains(&name.as_str()) || DRAWN.contains(&name.as_str()) || alert.key.contains_key(name) {
            continue;
        }
        let value = match value.as_i64() {
            Some(time) if TIMES.contains(&name.as_str()) => date_and_time(time),
            _ => shown(value),
        };
        if value.is_empty() {
            continue;
        }
        if facts.len() < FACTS_MAX {
            facts.push(format!("{} {value}", words(name)));
        } else {
            left_out += 1;
        }
    }
    if left_out > 0 {
        facts.push(format!("and {left_out} more"));
    }
    facts.join(" · ")
}

/// A value as a person writes it; empty for none.
fn shown(value: &Value) -> String {
    let text = match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        // The row of an earlier step: who did what.
        Value::Object(row) => {
            let named =
                ["tool", "user", "event", "client", "server", "protocol", "function", "target", "status"];
            let facts = named.iter().filter_map(|&name| row.get(name)?.as_str());
            facts.filter(|fact| !fact.is_empty()).collect::<Vec<_>>().join(" ")
        }
        Value::Number(number) => match number.as_f64() {
            Some(value) if number.is_f64() => reading(value),
            _ => number.to_string(),
        },
        other => other.to_string(),
    };
    match text.char_indices().nth(FACT_CHARS_MAX) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text,
    }
}

fn stake(alert: &Alert) -> String {
    match alert.protects.is_empty() {
        true => format!("{} queue", alert.queue.name()),
        false => format!("{} ({} queue)", listed(&alert.protects), alert.queue.name()),
    }
}

fn techniques_of(alert: &Alert) -> Vec<String> {
    let mut lines = Vec::new();
    if !alert.techniques.is_empty() {
        let named: Vec<String> = alert
            .techniques
            .iter()
            .map(|id| match techniques::name_of(id) {
                Some(name) => format!("{name} ({id})"),
                None => id.clone(),
            })
            .collect();
        lines.push(format!("In ATT&CK for ICS {}: {}", alert.matrix, named.join(", ")));
    }
    if !alert.outcomes.is_empty() {
        lines.push(format!("Supports {}", alert.outcomes.join(", ")));
    }
    lines
}

fn identity(alert: &Alert) -> String {
    let cause = &alert.cause;
    format!(
        "{}, revision {}; detection {}; row {} of {} (start {})",
        alert.uid, alert.revision, alert.detection, cause.row, cause.collector, cause.epoch
    )
}

/// `quality, production and confidentiality`.
fn listed(words: &[String]) -> String {
    match words {
        [] => String::new(),
        [one] => one.clone(),
        [most @ .., last] => format!("{} and {last}", most.join(", ")),
    }
}

fn words(column: &str) -> String {
    column.replace('_', " ")
}

/// What was seen, where it deviated and what was expected: lines of blocks on one scale.
fn course(drawn: &Drawn, width: usize) -> Vec<(&'static str, String)> {
    let (seen, expected) = (&drawn.seen, &drawn.expected);
    let line = |values, beside| {
        Picture { seen: values, expected: beside, deviation: 0.0, ..drawn.picture() }.blocks(width)
    };
    let [values, marks] = line(seen, expected);
    let mut lines = vec![("seen", values.trim_end().to_string())];
    if !marks.is_empty() {
        lines.push(("", marks));
    }
    if !expected.is_empty() {
        let [values, _] = line(expected, seen);
        lines.push(("expected", values.trim_end().to_string()));
    }
    lines
}

struct Page {
    out: String,
    style: Style,
}

impl Page {
    fn headline(&mut self, alert: &Alert) {
        let (name, colour) = match alert.severity {
            Severity::Critical => ("CRITICAL", "1;97;41"),
            Severity::High => ("HIGH", "1;31"),
            Severity::Medium => ("MEDIUM", "1;33"),
            Severity::Low => ("LOW", "1;36"),
            Severity::Informational => ("FOR INFORMATION", "1;37"),
        };
        let indent = name.len() + 2;
        let lines = wrap(&safe(&alert.title), self.width().saturating_sub(indent).max(20));
        self.paint(colour, name);
        for (index, line) in lines.iter().enumerate() {
            let margin = if index == 0 { 2 } else { indent };
            self.out.extend(std::iter::repeat_n(' ', margin));
            self.paint("1", line);
            self.out.push('\n');
        }
    }

    fn entry(&mut self, label: &str, text: &str) {
        self.lines(label, text, None);
    }

    fn strong_entry(&mut self, label: &str, text: &str) {
        self.lines(label, text, Some("1;32"));
    }

    fn lines(&mut self, label: &str, text: &str, colour: Option<&str>) {
        let width = self.width() - LABEL - 2;
        for (index, line) in wrap(&safe(text), width).iter().enumerate() {
            let label = if index == 0 { label } else { "" };
            self.out.push_str("  ");
            self.paint(if label.is_empty() { "" } else { "2" }, label);
            self.out.extend(std::iter::repeat_n(' ', LABEL - label.len()));
            self.paint(colour.unwrap_or(""), line);
            self.out.push('\n');
        }
    }

    /// What a model saw around it, and the signals that took part.
    fn picture(&mut self, alert: &Alert) {
        let width = self.width() - LABEL - 14;
        if let Some(drawn) = Drawn::of(alert) {
            let lines = match drawn.is_course {
                true => course(&drawn, width),
                false => drawn.picture().number_line(width).map(|line| ("", line)).into_iter().collect(),
            };
            for (label, line) in lines {
                let _ = writeln!(self.out, "  {:LABEL$}{label:10}{line}", "");
            }
        }
        let signals = alert.evidence["signals"].as_array();
        for signal in signals.into_iter().flatten().skip(1) {
            let [name, seen, expected] = ["signal", "seen", "expected"].map(|key| shown(&signal[key]));
            self.entry("", &format!("{name} {seen} where {expected} was expected"));
        }
    }

    fn paint(&mut self, colour: &str, text: &str) {
        if self.style.colour && !colour.is_empty() {
            let _ = write!(self.out, "\x1b[{colour}m{text}\x1b[0m");
        } else {
            self.out.push_str(text);
        }
    }

    fn width(&self) -> usize {
        self.style.width.max(40)
    }
}

/// Control characters and those that change the direction of writing, made visible.
fn safe(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' | '\t' | '\r' => out.push(' '),
            c if deceives(c) || c.is_control() => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out
}

/// Whether a character turns the direction of writing, or is not seen.
pub(crate) fn deceives(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

/// Lines of at most `width` columns, broken at spaces; a longer word is broken where it must be. Never empty.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    let mut line = String::new();
    let mut used = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let columns: usize = word.chars().map(columns).sum();
        if used > 0 && used + 1 + columns > width && columns <= width {
            lines.push(std::mem::take(&mut line));
            used = 0;
        }
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        for c in word.chars() {
            if used > 0 && used + self::columns(c) > width {
                lines.push(std::mem::take(&mut line));
                used = 0;
            }
            line.push(c);
            used += self::columns(c);
        }
    }
    if used > 0 || lines.is_empty() {
        lines.push(line);
    }
    lines.iter_mut().for_each(|line| line.truncate(line.trim_end().len()));
    lines
}

fn columns(c: char) -> usize {
    c.width().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::fixtures;

    #[test]
    fn readings_and_times_are_written_as_people_do() {
        let mut alert = crate::fixtures::alert(3);
        alert.evidence = serde_json::json!({
            "seen": 2647.0, "deviation": 5.484_166_145, "count": 12, "until": 1_795_403_047_250_000_i64
        });
        let page = render(&alert, Style::default());
        for fact in ["seen 2647", "deviation 5.484", "count 12", "until 2026-11-23"] {
            assert!(page.contains(fact), "{fact}: {page}");
        }
    }

    #[test]
    fn what_a_model_saw_is_drawn_beside_what_it_expected() {
        let mut alert = crate::fixtures::alert(3);
        alert.evidence = serde_json::json!({
            "seen": 9.0,
            "around": { "period_s": 1.0, "seen": [1.0, 1.0, 9.0], "expected": [1.0, 5.0, 1.0], "marked": 1 },
            "signals": [{ "signal": "flow" }, { "signal": "power", "seen": 480.5, "expected": 500.0 }],
        });
        let page = render(&alert, Style::default());
        for line in
            ["seen      ▁▁█\n", "            ^\n", "expected  ▁▅▁\n", "power 480.5 where 500 was expected"]
        {
            assert!(page.contains(line), "{line}: {page}");
        }
        assert!(!page.contains("period"), "{page}");
    }

    #[test]
    fn what_is_known_stands_beside_what_was_seen_and_a_single_value_on_a_line() {
        let mut alert = crate::fixtures::alert(3);
        alert.evidence = serde_json::json!({
            "seen": 9.0, "expected": 1.0, "deviation": 1.0, "known": "467 messages, most often read_coils coil0 (200 times)",
        });
        let page = render(&alert, Style { colour: false, width: 38 });
        assert!(page.contains("0 ─┼──········● 9\n"), "{page}");
        assert_eq!(
            (page.matches("  Known    467 messages").count(), page.matches("467").count()),
            (1, 1),
            "{page}"
        );
        // What has a course of values without an expectation is drawn, too.
        alert.evidence = serde_json::json!({ "around": { "seen": [1.0, 9.0], "expected": [], "marked": 2 } });
        let page = render(&alert, Style::default());
        assert!(
            page.contains("seen      ▁█\n") && page.contains("^^\n") && !page.contains("expected"),
            "{page}"
        );
    }

    #[test]
    fn why_the_severity_was_raised_is_told() {
        let mut alert = crate::fixtures::alert(3);
        alert.evidence =
            serde_json::json!({ "seen": 9.0, "raised": "from medium, as it came to 7 times its limit" });
        let page = render(&alert, Style::default());
        assert!(page.contains("  Raised   from medium, as it came to 7 times its limit\n"), "{page}");
        assert_eq!(page.matches("from medium").count(), 1);
    }

    #[test]
    fn an_alert_reads_like_a_page_of_the_shift_book() {
        let page = render(&fixtures::alert(7), Style::default());
        assert_eq!(
            page,
            "\
HIGH  A recipe body that was never released went to a tool
  When     2026-11-23 03:04:14 UTC
  Where    ETCH-07, cell bay-3; target OX-MAIN
  What     ETCH-07 took a body of recipe OX-MAIN that is on no release list.
  Seen     10.20.0.9 to 10.20.3.7 port 5000 · hsms S7F3 · body bytes 2048 ·
           operation recipe.write
  At stake quality and production (security queue)
           In ATT&CK for ICS 18.1: Modify Parameter (T0836), Manipulation of
           Control (T0831)
           Supports DE.CM-09, CPS.AE-1
  Do first Hold the lot; compare with the recipe master before the next start.
  Alert    c6832dc7-fb0f-5945-9741-df6e5b854fbd, revision 1; detection
           recipe-body-not-released; row 7 of mirror-1 (start 12)
"
        );
    }

    #[test]
    fn counts_skewed_clocks_and_lateness_are_told() {
        let mut alert = fixtures::alert(7);
        alert.count = 40;
        alert.last_time = alert.time + 90 * SECOND;
        alert.time -= 10 * SECOND;
        alert.late = true;
        let page = render(&alert, Style { colour: false, width: 200 });
        assert!(
            page.contains("2026-11-23 03:04:04 UTC, last 03:05:44 UTC, 40 times by the device's clock; received 2026-11-23 03:04:14 UTC. It arrived late"),
            "{page}"
        );
        alert.time = i64::MIN;
        assert!(render(&alert, Style::default()).contains("us"), "a time beyond the calendar is still shown");
    }

    #[test]
    fn what_came_from_the_wire_cannot_drive_the_terminal() {
        let mut alert = fixtures::alert(7);
        let evil = "\x1b]0;pwned\x07\u{9b}2J\u{202e}gnirts\r\nHIGH  forged";
        alert.key.insert("target".into(), evil.into());
        alert.summary = evil.into();
        alert.title = evil.into();
        alert.tool = evil.into();
        alert.evidence = json!({ "client": evil, "server": evil, evil: evil });
        let page = render(&alert, Style { colour: false, width: 120 });
        assert!(page.chars().all(|c| c == '\n' || !c.is_control()), "{page:?}");
        assert!(!page.contains('\u{202e}'));
        assert!(page.contains("\\u{1b}]0;pwned"));
        assert_eq!(page.lines().filter(|line| line.starts_with("HIGH")).count(), 1);
    }

    #[test]
    fn lines_keep_to_the_width_in_any_script() {
        let mut alert = fixtures::alert(7);
        alert.title = "承認されていないレシピ本体が装置に送られました。至急ご確認ください。".repeat(3);
        alert.summary = "x".repeat(500);
        alert.evidence = (0..40)
            .map(|n| (format!("fact_{n}"), json!("v".repeat(1000))))
            .collect::<serde_json::Map<_, _>>()
            .into();
        for width in [0, 40, 80, 132] {
            let page = render(&alert, Style { colour: false, width });
            for line in page.lines() {
                let columns: usize = line.chars().map(columns).sum();
                assert!(columns <= width.max(40), "{columns} of {width}: {line}");
            }
            assert!(page.contains("and 28 more"));
        }
    }

    #[test]
    fn colours_change_nothing_but_the_looks() {
        let alert = fixtures::alert(7);
        let coloured = render(&alert, Style { colour: true, width: 80 });
        assert!(coloured.starts_with("\x1b[1;31mHIGH\x1b[0m"));
        let mut plain = String::new();
        let mut rest = coloured.as_str();
        while let Some((before, after)) = rest.split_once("\x1b[") {
            plain.push_str(before);
            rest = after.split_once('m').expect("an escape ends").1;
        }
        plain.push_str(rest);
        assert_eq!(plain, render(&alert, Style::default()));
    }
}
