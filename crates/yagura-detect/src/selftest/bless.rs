//! Rewrites the `expect:` lists of a pipeline file so that its tests pass.
//!
//! Everything outside of the lists that change stays as it is, byte for byte: comments, order,
//! quotes. Within such a list, alerts that agree keep their lines.

use serde_json::Value;

use super::{Expected, Outcome, agrees, in_order, told_by};
use crate::pipeline::{Detection, TestSpec, expectations};

/// Columns that a flow list may fill before it becomes lines.
const COLUMNS_MAX: usize = 110;

/// One list that was rewritten.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Change {
    /// Detection.
    pub detection: String,
    /// Test.
    pub test: String,
    /// The list before, as it stood in the file.
    pub before: String,
    /// And after.
    pub after: String,
}

/// The text of a pipeline file with what was found in the place of what was expected, and what
/// changed. `outcomes` are those of the file's tests; tests that did not run keep their lists.
pub fn rewrite(
    text: &str,
    detections: &[&Detection],
    outcomes: &[&Outcome],
) -> Result<(String, Vec<Change>), String> {
    let mut out = text.to_string();
    let mut changes = Vec::new();
    let mut wanted: Vec<Vec<Expected>> = Vec::new();
    let mut edits = Vec::new();
    for (id, test) in expectations(text)? {
        let outcome = outcomes.iter().find(|o| o.detection == id && o.test == test.name);
        let detection = detections.iter().find(|d| d.id == id);
        match (outcome, detection) {
            (Some(outcome), Some(detection)) if outcome.failure.is_none() && !outcome.passed() => {
                let fresh = expected_of(&test, &outcome.found, &detection.by);
                edits.push((id, test, fresh.clone(), detection.by.clone()));
                wanted.push(fresh);
            }
            _ => wanted.push(test.expect.value),
        }
    }
    // From the end, so that the places before stay where they are.
    for (detection, test, fresh, by) in edits.into_iter().rev() {
        let no_place = || format!("{detection}: {}: the place of its `expect:` is not clear", test.name);
        let list = List::find(text, &test).ok_or_else(no_place)?;
        let (begin, after) = list.write(text, &test.expect.value, &fresh, &by);
        let before = text[list.begin..list.end].to_string();
        out.replace_range(begin..list.end, &after);
        changes.push(Change { detection, test: test.name, before, after });
    }
    changes.reverse();
    let read: Vec<Vec<Expected>> = expectations(&out)?.into_iter().map(|(_, t)| t.expect.value).collect();
    if read != wanted {
        return Err("the file would not say what was found; its `expect:` lists are left as they are".into());
    }
    Ok((out, changes))
}

/// What a test should expect: of alerts that agree, the same; of others, the fields that the test
/// names for the alert of that number, or for its first one, or when and the key.
fn expected_of(test: &TestSpec, found: &[Expected], by: &[String]) -> Vec<Expected> {
    let old = &test.expect.value;
    let named = |at: usize| -> Vec<String> {
        match old.get(at).or(old.first()).filter(|fields| !fields.is_empty()) {
            Some(fields) => fields.keys().cloned().collect(),
            None => told_by(by),
        }
    };
    let one = |(at, alert): (usize, &Expected)| {
        let kept =
            old.get(at).filter(|old| agrees(old, alert)).or_else(|| old.iter().find(|o| agrees(o, alert)));
        match kept {
            Some(kept) => kept.clone(),
            None => named(at)
                .into_iter()
                .map(|name| {
                    let value = alert.get(&name).cloned().unwrap_or(Value::Null);
                    (name, value)
                })
                .collect(),
        }
    };
    found.iter().enumerate().map(one).collect()
}

/// Where a test's list stands.
struct List {
    begin: usize,
    end: usize,
    /// The end of `expect:`, when nothing but white space follows it before the list.
    key_end: Option<usize>,
    form: Form,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// `- …` lines whose dashes stand in this column (from 0).
    Block(usize),
    /// `[…]`; the column for lines instead, when the key stands first on its line.
    Flow(Option<usize>),
}

impl List {
    fn find(text: &str, test: &TestSpec) -> Option<List> {
        let said = test.expect.referenced.span().byte_offset()? as usize;
        let begin = first_token(text, said)?;
        let line = text[..begin].rfind('\n').map_or(0, |at| at + 1);
        let key_end = Some(text[..begin].trim_end().len()).filter(|&end| text[..end].ends_with("expect:"));
        match text[begin..].chars().next()? {
            '[' => {
                let before = &text[line..begin];
                let key = before.trim_start().trim_start_matches("- ").trim_end();
                let column = before.find("expect").filter(|_| key == "expect:").map(|column| column + 2);
                Some(List { begin, end: flow_end(text, begin)?, key_end, form: Form::Flow(column) })
            }
            '-' => {
                let column = text[line..begin].chars().count();
                Some(List { begin, end: block_end(text, begin, column), key_end, form: Form::Block(column) })
            }
            _ => None,
        }
    }

    /// The new list, and where it begins: what follows up to the old one's end goes.
    fn write(&self, text: &str, old: &[Expected], fresh: &[Expected], by: &[String]) -> (usize, String) {
        let items: Vec<String> = fresh.iter().map(|fields| flow_map(fields, by)).collect();
        let flow = format!("[{}]", items.join(", "));
        match (self.form, self.key_end) {
            (Form::Block(_), Some(end)) if items.is_empty() => (end, format!(" {flow}")),
            (Form::Block(_), None) if items.is_empty() => (self.begin, flow),
            (Form::Block(column), _) => {
                let written = self.items(text, column);
                let kept = |at: usize| {
                    let same = old.iter().position(|old| *old == fresh[at])?;
                    (written.len() == old.len()).then(|| written[same].clone())
                };
                let lines = (0..items.len()).map(|at| kept(at).unwrap_or_else(|| format!("- {}", items[at])));
                let lines: Vec<String> = lines.collect();
                (self.begin, lines.join(&format!("\n{}", " ".repeat(column))))
            }
            (Form::Flow(Some(column)), Some(end))
                if !items.is_empty() && (old.is_empty() || flow.len() + column > COLUMNS_MAX) =>
            {
                let indent = format!("\n{}- ", " ".repeat(column));
                (end, items.iter().map(|item| format!("{indent}{item}")).collect())
            }
            (Form::Flow(_), _) => (self.begin, flow),
        }
    }

    /// The lines of each item of a block list, without the first one's indentation.
    fn items(&self, text: &str, column: usize) -> Vec<String> {
        let mut out: Vec<String> = Vec::new();
        for line in text[self.begin..self.end].split('\n') {
            let own = if out.is_empty() { 0 } else { column };
            match line.get(own..) {
                Some(rest) if indent(line) == own && rest.starts_with('-') => out.push(rest.to_string()),
                _ => {
                    if let Some(item) = out.last_mut() {
                        item.push('\n');
                        item.push_str(line);
                    }
                }
            }
        }
        out
    }
}

/// The `[` or the first `-` of a list that is said to stand at a place: over white space and
/// comments, or just before, when the place is that of its first item.
fn first_token(text: &str, from: usize) -> Option<usize> {
    let mut at = from;
    loop {
        match text.get(at..)?.chars().next()? {
            '[' | '-' => return Some(at),
            '#' => at += text[at..].find('\n')?,
            c if c.is_whitespace() => at += c.len_utf8(),
            _ => break,
        }
    }
    let line = text[..at].rfind('\n').map_or(0, |end| end + 1);
    let dash = text[line..at].find(|c: char| !c.is_whitespace())?;
    (text[line..at].trim() == "-").then_some(line + dash)
}

/// The place after the bracket that closes the one at `begin`.
fn flow_end(text: &str, begin: usize) -> Option<usize> {
    let mut depth = 0;
    let mut chars = text[begin..].char_indices().peekable();
    let mut before = ' ';
    while let Some((at, c)) = chars.next() {
        match c {
            '[' | '{' => depth += 1,
            ']' | '}' => {
                depth -= 1;
                if depth == 0 {
                    return Some(begin + at + 1);
                }
            }
            // Quotes begin where a value does; elsewhere they are part of a plain one.
            '"' | '\'' if matches!(before, ' ' | '\n' | ',' | '[' | '{' | ':') => {
                let quote = c;
                while let Some((_, c)) = chars.next() {
                    let doubled = c == '\'' && chars.peek().is_some_and(|(_, c)| *c == '\'');
                    if (quote == '"' && c == '\\') || (quote == '\'' && doubled) {
                        chars.next();
                    } else if c == quote {
                        break;
                    }
                }
            }
            '#' if before.is_whitespace() => {
                while chars.peek().is_some_and(|(_, c)| *c != '\n') {
                    chars.next();
                }
            }
            _ => {}
        }
        before = c;
    }
    None
}

/// The end of the last line of a block list whose first dash stands at `begin`; blank lines and
/// comments behind it are not its own.
fn block_end(text: &str, begin: usize, column: usize) -> usize {
    let mut end = begin;
    let mut at = begin;
    for (number, line) in text[begin..].split_inclusive('\n').enumerate() {
        let content = line.trim_end();
        let blank = content.trim_start().is_empty() || content.trim_start().starts_with('#');
        let within = number == 0
            || indent(line) > column
            || (indent(line) == column && content[column..].starts_with('-'));
        if !blank && !within {
            break;
        }
        if !blank {
            end = at + content.len();
        }
        at += line.len();
    }
    end
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start_matches(' ').len()
}

/// `{ at: "00:03:10", tool: ETCH-07 }`.
fn flow_map(fields: &Expected, by: &[String]) -> String {
    let pairs: Vec<String> = in_order(fields.keys(), by)
        .iter()
        .filter_map(|name| {
            Some(format!("{}: {}", scalar(&Value::from(name.as_str())), scalar(fields.get(name)?)))
        })
        .collect();
    if pairs.is_empty() { "{}".into() } else { format!("{{ {} }}", pairs.join(", ")) }
}

/// A value as YAML: plain where nothing else can be read in it, JSON otherwise, which YAML reads.
fn scalar(value: &Value) -> String {
    let plain = |text: &str| {
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '/' | '_' | '-');
        let words = ["true", "false", "null", "yes", "no", "on", "off", "y", "n"];
        let number = text.starts_with(|c: char| c.is_ascii_digit());
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(legal)
            && !words.contains(&text.to_ascii_lowercase().as_str())
            && text.parse::<f64>().is_err()
            && !(number && text.contains(['_', 'x', 'o', 'b']))
    };
    match value {
        Value::String(text) if plain(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests;
