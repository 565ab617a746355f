//! SML, the usual text of SECS-II messages: `S6F11 W <L [3] <U4 1> <A "LOT-1"> ...> .`, in the dialects that are met:
//! names before the message (`Event: 'S6F11' W`), single and double quotes, counts or none, comments, a dot at the
//! end or none, and texts with bytes (`<A "line" 0x0a>`).

use std::fmt;

use yagura_dissect::secs2::{DEPTH_MAX, ITEMS_MAX, Value};

/// A message.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Its stream.
    pub stream: u8,
    /// Its function.
    pub function: u8,
    /// Whether a reply is wanted.
    pub wait: bool,
    /// Its item.
    pub item: Option<Value>,
}

/// Why a text is no SML.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SmlError {
    /// Bytes from the beginning of the text.
    pub at: usize,
    /// What is wrong there.
    pub problem: String,
}

impl fmt::Display for SmlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, at byte {} of the message", self.problem, self.at)
    }
}

/// Finds where a message begins in a line: the `S` of `S6F11`, with nothing but what belongs to a message behind it.
pub fn begins(line: &str) -> Option<usize> {
    let bytes = line.as_bytes();
    for (at, _) in line.match_indices(['S', 's']) {
        let before = at.checked_sub(1).map(|before| bytes[before]);
        if before.is_some_and(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.' | b'/')) {
            continue;
        }
        let mut text = Text { text: line, at };
        if text.heading().is_ok() && matches!(text.peek(), None | Some(b'<' | b'.')) {
            return Some(at);
        }
    }
    None
}

/// Reads a message that begins the text. What follows it is not looked at.
pub fn parse(text: &str) -> Result<Message, SmlError> {
    let mut text = Text { text, at: 0 };
    let (stream, function, wait) = text.heading()?;
    let mut items = 0;
    let item = match text.peek() {
        Some(b'<') => Some(text.item(0, &mut items)?),
        None | Some(b'.') => None,
        Some(_) => return text.fail("an item or the end is missing"),
    };
    Ok(Message { stream, function, wait, item })
}

/// Looks, line by line, whether a message is whole.
#[derive(Debug, Default)]
pub struct Extent {
    depth: usize,
    quote: Option<u8>,
    /// An item was opened and closed again.
    pub whole: bool,
    /// The dot at the end came.
    pub ended: bool,
}

impl Extent {
    /// Takes the next line, or the rest of the first one behind the heading.
    pub fn line(&mut self, line: &str) {
        let bytes = line.as_bytes();
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            at += 1;
            if let Some(quote) = self.quote {
                if byte == quote && closes(&line[at..]) {
                    self.quote = None;
                }
                continue;
            }
            match byte {
                b'<' => self.depth += 1,
                b'>' => {
                    self.depth = self.depth.saturating_sub(1);
                    self.whole |= self.depth == 0;
                }
                b'"' | b'\'' if self.depth > 0 => self.quote = Some(byte),
                b'/' if bytes.get(at) == Some(&b'*') => {
                    at = line[at..].find("*/").map_or(bytes.len(), |end| at + end + 2);
                }
                b'.' if self.depth == 0 => {
                    self.ended = true;
                    return;
                }
                _ => {}
            }
        }
        // A text that goes over the line's end is closed by nobody: most are broken off.
        if self.quote.is_some() && line.len() > 1 << 16 {
            self.quote = None;
        }
    }
}

/// Whether a quote before this text is the end of what is quoted: texts have quotes in them, too.
fn closes(after: &str) -> bool {
    let rest = after.trim_start();
    let more = rest.len() < after.len() && rest.starts_with(['"', '\'']);
    rest.is_empty() || rest.starts_with('>') || rest.starts_with("0x") || more
}

struct Text<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Text<'a> {
    fn fail<T>(&self, problem: impl Into<String>) -> Result<T, SmlError> {
        Err(SmlError { at: self.at, problem: problem.into() })
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The next byte that is no blank and in no comment.
    fn peek(&mut self) -> Option<u8> {
        loop {
            let rest = self.rest();
            let trimmed = rest.trim_start();
            self.at += rest.len() - trimmed.len();
            if !trimmed.starts_with("/*") {
                return trimmed.bytes().next();
            }
            self.at += trimmed.find("*/").map_or(trimmed.len(), |end| end + 2);
        }
    }

    fn number(&mut self) -> Option<u8> {
        let rest = self.rest();
        let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
        let number = rest[..digits].parse().ok()?;
        self.at += digits;
        Some(number)
    }

    fn letter(&mut self, letter: char) -> bool {
        let found = self.rest().chars().next().is_some_and(|c| c.eq_ignore_ascii_case(&letter));
        self.at += usize::from(found);
        found
    }

    /// `S6F11`.
    fn name(&mut self) -> Option<(u8, u8)> {
        let begun = self.at;
        let found = (|| {
            let stream = self.letter('S').then(|| self.number())??;
            let function = self.letter('F').then(|| self.number())??;
            let more = self.rest().bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_');
            (!more && (1..128).contains(&stream)).then_some((stream, function))
        })();
        if found.is_none() {
            self.at = begun;
        }
        found
    }

    /// `S6F11 W`, `'S6F11' W`, `S6F11: 'S6F11' W`.
    fn heading(&mut self) -> Result<(u8, u8, bool), SmlError> {
        let Some(mut name) = self.name() else { return self.fail("no SxFy") };
        let _ = self.letter('\'') || self.letter('"');
        if matches!(self.peek(), Some(b':')) {
            self.at += 1;
            let _ = self.peek();
            let _ = self.letter('\'') || self.letter('"');
            let Some(given) = self.name() else { return self.fail("no SxFy behind the name") };
            name = given;
            let _ = self.letter('\'') || self.letter('"');
        }
        let _ = self.peek();
        let begun = self.at;
        let mut wait = self.letter('W');
        if wait && self.rest().bytes().next().is_some_and(|b| b.is_ascii_alphanumeric() || b == b'_') {
            (self.at, wait) = (begun, false);
        }
        let _ = self.peek();
        Ok((name.0, name.1, wait))
    }

    fn item(&mut self, depth: usize, items: &mut usize) -> Result<Value, SmlError> {
        *items += 1;
        if depth > DEPTH_MAX {
            return self.fail(format!("lists are nested deeper than {DEPTH_MAX}"));
        }
        if *items > ITEMS_MAX {
            return self.fail(format!("there are more than {ITEMS_MAX} items"));
        }
        self.at += 1;
        let _ = self.peek();
        let rest = self.rest();
        let letters = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_alphanumeric()).len();
        let format = rest[..letters].to_ascii_uppercase();
        let at = self.at;
        self.at += letters;
        let count = self.count();
        let value = match format.as_str() {
            "L" | "LIST" => Value::List(self.children(depth, items)?),
            "A" | "ASCII" | "J" | "JIS8" | "W" | "C2" => self.characters(count)?,
            "B" | "BIN" | "BINARY" => Value::Binary(self.values(byte)?),
            "BOOLEAN" | "BOOL" | "TF" => Value::Boolean(self.values(boolean)?),
            "I1" => Value::I1(self.values(integer)?),
            "I2" => Value::I2(self.values(integer)?),
            "I4" => Value::I4(self.values(integer)?),
            "I8" => Value::I8(self.values(integer)?),
            "U1" => Value::U1(self.values(integer)?),
            "U2" => Value::U2(self.values(integer)?),
            "U4" => Value::U4(self.values(integer)?),
            "U8" => Value::U8(self.values(integer)?),
            "F4" | "D4" => Value::F4(self.values(|word| float(word).map(|n| n as f32))?),
            "F8" | "D8" => Value::F8(self.values(float)?),
            other => {
                self.at = at;
                return self.fail(format!("`{}` is no format", other.chars().take(16).collect::<String>()));
            }
        };
        match self.peek() {
            Some(b'>') => self.at += 1,
            _ => return self.fail("`>` is missing"),
        }
        Ok(value)
    }

    /// `[3]`, `[0..40]`, `[3/40]`: how many values there are, if that is said.
    fn count(&mut self) -> Option<usize> {
        if self.peek() != Some(b'[') {
            return None;
        }
        let rest = self.rest();
        let end = rest.find(']')?;
        self.at += end + 1;
        rest[1..end].trim().parse().ok()
    }

    fn children(&mut self, depth: usize, items: &mut usize) -> Result<Vec<Value>, SmlError> {
        let mut out = Vec::new();
        while self.peek() == Some(b'<') {
            out.push(self.item(depth + 1, items)?);
        }
        Ok(out)
    }

    fn values<T>(&mut self, read: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, SmlError> {
        let mut out = Vec::new();
        loop {
            match self.peek() {
                Some(b'>') | None => return Ok(out),
                _ => {}
            }
            let rest = self.rest();
            let end = rest.find(|c: char| c.is_whitespace() || c == '>' || c == ',').unwrap_or(rest.len());
            let word = rest[..end].trim_matches(['"', '\'']);
            match read(word) {
                Some(value) => out.push(value),
                None => {
                    let word: String = word.chars().take(32).collect();
                    return self.fail(format!("`{word}` is no value of that format"));
                }
            }
            self.at += end;
            if self.rest().starts_with(',') {
                self.at += 1;
            }
        }
    }

    /// Quoted texts and bytes, or words without quotes.
    fn characters(&mut self, count: Option<usize>) -> Result<Value, SmlError> {
        let mut out = String::new();
        loop {
            let quote = match self.peek() {
                Some(b'>') => return Ok(Value::Ascii(out)),
                Some(quote @ (b'"' | b'\'')) => quote as char,
                Some(_) => {
                    let rest = self.rest();
                    let end = rest.find([' ', '\t', '\n', '\r', '>']).unwrap_or(rest.len());
                    let word = &rest[..end];
                    match word.strip_prefix("0x").and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
                        Some(byte) => out.push(byte as char),
                        None => {
                            let gap = if out.is_empty() { "" } else { " " };
                            out.push_str(gap);
                            out.push_str(word);
                        }
                    }
                    self.at += end;
                    continue;
                }
                None => return self.fail("a text has no end"),
            };
            self.at += 1;
            let rest = self.rest();
            let counted = count.filter(|_| out.is_empty()).and_then(|count| {
                let end = rest.char_indices().nth(count).map_or(rest.len(), |(end, _)| end);
                rest[end..].starts_with(quote).then_some(end)
            });
            let closing =
                || rest.match_indices(quote).map(|(end, _)| end).find(|end| closes(&rest[end + 1..]));
            let Some(end) = counted.or_else(closing) else { return self.fail("a quote is not closed") };
            out.push_str(&rest[..end]);
            self.at += end + 1;
        }
    }
}

fn integer<T: TryFrom<i128>>(word: &str) -> Option<T> {
    let (negative, digits) = match word.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, word.strip_prefix('+').unwrap_or(word)),
    };
    let number = match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => i128::from_str_radix(hex, 16).ok()?,
        None => digits.parse().ok()?,
    };
    T::try_from(if negative { -number } else { number }).ok()
}

fn byte(word: &str) -> Option<u8> {
    match word.strip_prefix("0b") {
        Some(bits) => u8::from_str_radix(bits, 2).ok(),
        None => integer(word),
    }
}

fn boolean(word: &str) -> Option<bool> {
    match word.to_ascii_lowercase().as_str() {
        "t" | "true" => Some(true),
        "f" | "false" => Some(false),
        other => integer::<i64>(other).map(|n| n != 0),
    }
}

fn float(word: &str) -> Option<f64> {
    // What is no number is one in some logs: `-1.#IND`, `1.#QNAN`.
    if word.contains('#') { Some(f64::NAN) } else { word.parse().ok() }
}

/// Writes a value as SML.
#[cfg(test)]
pub fn write(value: &Value, out: &mut String) {
    use std::fmt::Write;
    macro_rules! numbers {
        ($name:literal, $values:expr) => {{
            let _ = write!(out, "<{} [{}]", $name, $values.len());
            $values.iter().for_each(|v| out.push_str(&format!(" {v}")));
            out.push_str(" >");
        }};
    }
    match value {
        Value::List(items) => {
            let _ = writeln!(out, "<L [{}]", items.len());
            items.iter().for_each(|item| write(item, out));
            out.push_str("\n>");
        }
        Value::Binary(bytes) => {
            out.push_str("<B");
            bytes.iter().for_each(|b| out.push_str(&format!(" 0x{b:02x}")));
            out.push('>');
        }
        Value::Boolean(values) => numbers!("BOOLEAN", values),
        Value::Ascii(text) => out.push_str(&format!("<A [{}] \"{text}\">", text.chars().count())),
        Value::I1(v) => numbers!("I1", v),
        Value::I2(v) => numbers!("I2", v),
        Value::I4(v) => numbers!("I4", v),
        Value::I8(v) => numbers!("I8", v),
        Value::F4(v) => numbers!("F4", v),
        Value::F8(v) => numbers!("F8", v),
        Value::U1(v) => numbers!("U1", v),
        Value::U2(v) => numbers!("U2", v),
        Value::U4(v) => numbers!("U4", v),
        Value::U8(v) => numbers!("U8", v),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn a(text: &str) -> Value {
        Value::text(text)
    }

    #[test]
    fn the_dialects_that_are_met() {
        let report = Value::List(vec![Value::U4(vec![1]), a("LOT 1")]);
        for text in [
            "S6F11 W <L [2] <U4 [1] 1> <A [5] \"LOT 1\"> > .",
            "S6F11 W\n  <L [2]\n    <U4 1 >\n    <A \"LOT 1\">\n  > .",
            "S6F11: 'S6F11' W /* Name= Header=[99 CF 01 00] */\n<L [2]\n<U4 [1] 1 > /* DATAID */\n<A [5] 'LOT 1' >\n>\n.",
            "S6F11' W\n<L[2] <U4[1] 0x1><A 'LOT 1'>>\n.",
            "s6f11 w<L<U4 1><A LOT 1>>.",
        ] {
            let message = parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
            assert_eq!((message.stream, message.function, message.wait), (6, 11, true), "{text}");
            assert_eq!(message.item.as_ref(), Some(&report), "{text}");
        }
        assert_eq!(parse("S1F1 W .").map(|m| (m.item, m.wait)), Ok((None, true)));
        let odd = parse(
            "S1F2 <L <A \"line\" 0xa \"break \"q\"\"> <BOOLEAN True 0> <F4 -1.#IND> <B 0x0 0xff> <L>> .",
        );
        let Ok(Message { item: Some(Value::List(items)), .. }) = odd else { panic!("{odd:?}") };
        assert_eq!(items[0], a("line\nbreak \"q\""));
        assert_eq!(items[1], Value::Boolean(vec![true, false]));
        assert_eq!(items[3..], [Value::Binary(vec![0, 255]), Value::List(vec![])]);
    }

    #[test]
    fn where_messages_begin() {
        for (line, at) in [
            ("S6F11 W", Some(0)),
            ("<-- [0x0001] Ready: 'S6F11' W", Some(21)),
            ("SECS. S6F11: 'S6F11' W /* Name= */", Some(6)),
            ("10:00 S1F1 W.", Some(6)),
            ("S6F11 was received", None),
            ("the host sent S1F3 twice", None),
            ("S200F1 W", None),
            ("xS6F11 W", None),
            ("", None),
        ] {
            assert_eq!(begins(line), at, "{line}");
        }
    }

    #[test]
    fn what_is_broken_is_told_with_its_place() {
        for (text, at, problem) in [
            ("S6F11 W <L <U4 x>> .", 15, "`x` is no value"),
            ("S6F11 W <U1 256> .", 12, "`256` is no value"),
            ("S6F11 W <Q 1> .", 9, "`Q` is no format"),
            ("S6F11 W <L <U4 1> .", 18, "`>` is missing"),
            ("S6F11 W <A \"x .", 12, "a quote is not closed"),
        ] {
            let error = parse(text).expect_err("broken");
            assert!(error.at == at && error.problem.starts_with(problem), "{text}: {error}");
        }
        let deep = format!("S6F11 {}", "<L ".repeat(40));
        assert!(parse(&deep).is_err_and(|e| e.problem.contains("deeper")));
    }

    fn value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            "[ !#-~]{0,12}".prop_map(Value::Ascii),
            prop::collection::vec(any::<u8>(), 0..9).prop_map(Value::Binary),
            prop::collection::vec(any::<i16>(), 0..4).prop_map(Value::I2),
            prop::collection::vec(any::<i64>(), 0..4).prop_map(Value::I8),
            prop::collection::vec(any::<u64>(), 0..3).prop_map(Value::U8),
            prop::collection::vec(-1e9f32..1e9, 0..3).prop_map(Value::F4),
            prop::collection::vec(-1e300..1e300f64, 0..3).prop_map(Value::F8),
            prop::collection::vec(any::<bool>(), 0..3).prop_map(Value::Boolean),
        ];
        leaf.prop_recursive(5, 60, 6, |inner| prop::collection::vec(inner, 0..6).prop_map(Value::List))
    }

    proptest! {
        #[test]
        fn writing_and_reading_are_inverse(value in value(), wait in any::<bool>()) {
            let mut text = format!("S6F11{}\n", if wait { " W" } else { "" });
            let heading = text.len();
            write(&value, &mut text);
            text.push_str("\n.\n");
            let message = parse(&text).map_err(|e| TestCaseError::fail(format!("{text}: {e}")))?;
            prop_assert_eq!((message.wait, message.item), (wait, Some(value)));
            let mut extent = Extent::default();
            let lines: Vec<&str> = text[heading..].lines().collect();
            for (nth, line) in lines.iter().enumerate() {
                prop_assert!(!extent.ended, "ended before line {} of {}", nth, text);
                extent.line(line);
            }
            prop_assert!(extent.ended && extent.whole, "{}", text);
        }

        #[test]
        fn any_text_is_read_without_panic(text in "(S6F11 W)?[ -~é\n]{0,80}", cut in 0usize..80) {
            let _ = (parse(&text), begins(&text));
            let mut extent = Extent::default();
            text.lines().for_each(|line| extent.line(line));
            let mut whole = "S6F11 W <L [2] <U4 [1] 1> <A [5] \"LOT 1\"> <B 0x1>> .".to_string();
            whole.truncate(cut.min(whole.len()));
            let _ = parse(&whole);
        }
    }
}
