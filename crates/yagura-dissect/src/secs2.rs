//! SECS-II items (SEMI E5): a borrowed view of a message's text, and owned values to build one.
//!
//! An item is a format byte (code << 2 | number of length bytes), one to three length bytes and
//! the data; the length of a list counts its elements, that of everything else its bytes.
//! [`Item::read`] checks a whole tree once, so that what it returns can be walked without surprise.

use std::borrow::Cow;
use std::fmt;

use crate::json;

/// Deepest nesting that is read. Messages of the standards stay below ten.
pub const DEPTH_MAX: usize = 32;

/// Most items that are read in one message.
pub const ITEMS_MAX: usize = 1 << 20;

/// An item's format code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the standard's")]
pub enum Format {
    List,
    Binary,
    Boolean,
    Ascii,
    Jis8,
    Unicode,
    I8,
    I1,
    I2,
    I4,
    F8,
    F4,
    U8,
    U1,
    U2,
    U4,
}

impl Format {
    const ALL: [(u8, Format, usize); 16] = [
        (0o00, Format::List, 0),
        (0o10, Format::Binary, 1),
        (0o11, Format::Boolean, 1),
        (0o20, Format::Ascii, 1),
        (0o21, Format::Jis8, 1),
        (0o22, Format::Unicode, 1),
        (0o30, Format::I8, 8),
        (0o31, Format::I1, 1),
        (0o32, Format::I2, 2),
        (0o34, Format::I4, 4),
        (0o40, Format::F8, 8),
        (0o44, Format::F4, 4),
        (0o50, Format::U8, 8),
        (0o51, Format::U1, 1),
        (0o52, Format::U2, 2),
        (0o54, Format::U4, 4),
    ];

    fn of(code: u8) -> Option<(Format, usize)> {
        Self::ALL.iter().find(|(c, ..)| *c == code).map(|&(_, format, width)| (format, width))
    }

    /// The six-bit code.
    pub fn code(self) -> u8 {
        Self::ALL.iter().find(|(_, f, _)| *f == self).map_or(0, |(code, ..)| *code)
    }

    /// Bytes of one value; 0 for a list.
    pub fn width(self) -> usize {
        Self::ALL.iter().find(|(_, f, _)| *f == self).map_or(0, |(.., width)| *width)
    }
}

/// Why a text is not SECS-II.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Secs2Error {
    /// Where, in bytes from the beginning of the text.
    pub at: usize,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong with an item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Problem {
    /// No such format code.
    Format(u8),
    /// An item without length bytes.
    NoLengthBytes,
    /// The text ends inside an item.
    Short,
    /// The length is no multiple of the value's width.
    Width,
    /// Deeper than [`DEPTH_MAX`].
    Depth,
    /// More items than [`ITEMS_MAX`].
    Items,
    /// Bytes after the one item of a text.
    Trailing,
}

impl fmt::Display for Secs2Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.problem {
            Problem::Format(code) => write!(f, "format code {code:#o} does not exist")?,
            Problem::NoLengthBytes => write!(f, "an item has no length bytes")?,
            Problem::Short => write!(f, "the text ends inside an item")?,
            Problem::Width => write!(f, "an item's length is no multiple of its value's width")?,
            Problem::Depth => write!(f, "lists are nested deeper than {DEPTH_MAX}")?,
            Problem::Items => write!(f, "there are more than {ITEMS_MAX} items")?,
            Problem::Trailing => write!(f, "bytes follow the last item")?,
        }
        write!(f, ", at byte {} of the text", self.at)
    }
}

impl std::error::Error for Secs2Error {}

/// One item's format byte and length.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub format: Format,
    /// Elements of a list, bytes of everything else.
    pub length: usize,
    /// Bytes of the format byte and the length bytes.
    pub size: usize,
}

impl Head {
    /// Reads the first bytes of an item.
    pub fn read(bytes: &[u8]) -> Result<Head, Problem> {
        let &first = bytes.first().ok_or(Problem::Short)?;
        let (format, width) = Format::of(first >> 2).ok_or(Problem::Format(first >> 2))?;
        let count = usize::from(first & 3);
        if count == 0 {
            return Err(Problem::NoLengthBytes);
        }
        let digits = bytes.get(1..=count).ok_or(Problem::Short)?;
        let length = digits.iter().fold(0, |n, &b| n << 8 | usize::from(b));
        if width > 1 && length % width != 0 {
            return Err(Problem::Width);
        }
        Ok(Head { format, length, size: 1 + count })
    }
}

/// An item as it lies in the message: nothing is copied.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Item<'a> {
    format: Format,
    count: usize,
    data: &'a [u8],
}

impl<'a> Item<'a> {
    /// Reads the item that `text` begins with, and all that is in it; gives what follows, too.
    pub fn read(text: &'a [u8]) -> Result<(Item<'a>, &'a [u8]), Secs2Error> {
        let fail = |at: usize| move |problem| Secs2Error { at, problem };
        let first = Head::read(text).map_err(fail(0))?;
        if first.format != Format::List {
            let end = first.size + first.length;
            let data = text.get(first.size..end).ok_or(Secs2Error { at: 0, problem: Problem::Short })?;
            let count = first.length / first.format.width().max(1);
            return Ok((Item { format: first.format, count, data }, &text[end..]));
        }
        // How many elements each open list still wants; no recursion, so that depth costs nothing.
        let mut open = [0usize; DEPTH_MAX];
        let mut depth = 0;
        let mut at = first.size;
        let mut items = 1usize;
        if first.length > 0 {
            open[0] = first.length;
            depth = 1;
        }
        while depth > 0 {
            if open[depth - 1] == 0 {
                depth -= 1;
                continue;
            }
            open[depth - 1] -= 1;
            items += 1;
            if items > ITEMS_MAX {
                return Err(Secs2Error { at, problem: Problem::Items });
            }
            let head = Head::read(&text[at..]).map_err(fail(at))?;
            if head.format == Format::List {
                if depth == DEPTH_MAX {
                    return Err(Secs2Error { at, problem: Problem::Depth });
                }
                open[depth] = head.length;
                depth += 1;
                at += head.size;
            } else {
                let end = at + head.size + head.length;
                if end > text.len() {
                    return Err(Secs2Error { at, problem: Problem::Short });
                }
                at = end;
            }
        }
        let item = Item { format: Format::List, count: first.length, data: &text[first.size..at] };
        Ok((item, &text[at..]))
    }

    /// Reads a message's text: one item and nothing after it; `None` for no text at all.
    pub fn message(text: &'a [u8]) -> Result<Option<Item<'a>>, Secs2Error> {
        if text.is_empty() {
            return Ok(None);
        }
        let (item, rest) = Item::read(text)?;
        if rest.is_empty() {
            Ok(Some(item))
        } else {
            Err(Secs2Error { at: text.len() - rest.len(), problem: Problem::Trailing })
        }
    }

    /// The format.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Elements of a list, values of an array, characters of a text.
    pub fn count(&self) -> usize {
        self.count
    }

    /// The data's bytes; for a list the encoded elements.
    pub fn data(&self) -> &'a [u8] {
        self.data
    }

    /// Whether it is a list.
    pub fn is_list(&self) -> bool {
        self.format == Format::List
    }

    /// The elements of a list; none for anything else.
    pub fn children(&self) -> Children<'a> {
        match self.format {
            Format::List => Children { left: self.count, rest: self.data },
            _ => Children { left: 0, rest: &[] },
        }
    }

    /// The element number `index` of a list.
    pub fn child(&self, index: usize) -> Option<Item<'a>> {
        self.children().nth(index)
    }

    /// Number `index` of an array, as a floating-point number; booleans are 0 and 1.
    pub fn number(&self, index: usize) -> Option<f64> {
        let width = self.format.width();
        let bytes = self.data.get(index * width..(index + 1) * width)?;
        Some(match self.format {
            Format::Binary | Format::U1 => f64::from(bytes[0]),
            Format::Boolean => f64::from(u8::from(bytes[0] != 0)),
            Format::I1 => f64::from(bytes[0] as i8),
            Format::I2 => f64::from(i16::from_be_bytes(bytes.try_into().ok()?)),
            Format::I4 => f64::from(i32::from_be_bytes(bytes.try_into().ok()?)),
            Format::I8 => i64::from_be_bytes(bytes.try_into().ok()?) as f64,
            Format::U2 => f64::from(u16::from_be_bytes(bytes.try_into().ok()?)),
            Format::U4 => f64::from(u32::from_be_bytes(bytes.try_into().ok()?)),
            Format::U8 => u64::from_be_bytes(bytes.try_into().ok()?) as f64,
            Format::F4 => f64::from(f32::from_be_bytes(bytes.try_into().ok()?)),
            Format::F8 => f64::from_be_bytes(bytes.try_into().ok()?),
            Format::List | Format::Ascii | Format::Jis8 | Format::Unicode => return None,
        })
    }

    /// The first byte of a one-byte code (an acknowledge code, ALCD, …), however it is typed.
    pub fn code(&self) -> Option<u8> {
        match self.format {
            Format::Binary | Format::U1 | Format::I1 | Format::Boolean => self.data.first().copied(),
            Format::U2 | Format::U4 | Format::U8 | Format::I2 | Format::I4 | Format::I8 => {
                self.number(0).filter(|n| (0.0..256.0).contains(n)).map(|n| n as u8)
            }
            _ => None,
        }
    }

    /// A text without surrounding blanks; `None` when it is none. Bytes that are no UTF-8 are read as Latin-1.
    pub fn text(&self) -> Option<Cow<'a, str>> {
        let text = match self.format {
            Format::Ascii => latin(self.data),
            Format::Jis8 => jis(self.data),
            Format::Unicode => unicode(self.data),
            _ => return None,
        };
        Some(match text {
            Cow::Borrowed(t) => Cow::Borrowed(trim(t)),
            Cow::Owned(t) => Cow::Owned(trim(&t).to_string()),
        })
    }

    /// Appends an id (a text or the first number of whatever type) as plain text.
    pub fn push_id(&self, out: &mut String) {
        if let Some(text) = self.text() {
            out.push_str(&text);
            return;
        }
        match self.format {
            Format::I1 | Format::I2 | Format::I4 | Format::I8 => self.push_value(out, 0),
            Format::F4 | Format::F8 => self.push_value(out, 0),
            Format::Boolean => self.push_value(out, 0),
            Format::Binary if self.data.len() > 1 => json::push_hex_digits(out, self.data),
            Format::List => {}
            _ => json::push_number(out, self.unsigned(0).unwrap_or(0)),
        }
        if self.data.is_empty() && out.ends_with('0') && self.format != Format::List {
            out.pop();
        }
    }

    /// The id as an owned text.
    pub fn id(&self) -> String {
        let mut out = String::new();
        self.push_id(&mut out);
        out
    }

    fn unsigned(&self, index: usize) -> Option<u64> {
        let width = self.format.width();
        let bytes = self.data.get(index * width..(index + 1) * width)?;
        Some(bytes.iter().fold(0, |n, &b| n << 8 | u64::from(b)))
    }

    fn push_value(&self, out: &mut String, index: usize) {
        let width = self.format.width();
        match self.format {
            Format::U1 | Format::U2 | Format::U4 | Format::U8 | Format::Binary => {
                json::push_number(out, self.unsigned(index).unwrap_or(0));
            }
            Format::Boolean => {
                out.push_str(if self.unsigned(index).unwrap_or(0) != 0 { "true" } else { "false" });
            }
            Format::I1 | Format::I2 | Format::I4 | Format::I8 => {
                let raw = self.unsigned(index).unwrap_or(0);
                let shift = 64 - 8 * width as u32;
                let signed = ((raw << shift) as i64) >> shift;
                if signed < 0 {
                    out.push('-');
                }
                json::push_number(out, signed.unsigned_abs());
            }
            Format::F4 => {
                // The shortest text of the four-byte number, not of the eight-byte one made of it.
                let value = f32::from_bits(self.unsigned(index).unwrap_or(0) as u32);
                if value.is_finite() && (value == 0.0 || (1e-5..1e16).contains(&value.abs())) {
                    use std::fmt::Write;
                    let _ = write!(out, "{value}");
                } else {
                    json::push_float(out, f64::from(value));
                }
            }
            _ => json::push_float(out, self.number(index).unwrap_or(f64::NAN)),
        }
    }

    /// Appends the item as compact JSON, at most `budget` bytes of it; tells whether it was cut.
    ///
    /// Lists are arrays, texts strings, binary `"0x…"`, one number a number, several an array.
    /// What is cut is still valid JSON. `hide` is the number of an element of the outermost list
    /// that must not be shown: `null` stands in its place.
    pub fn push_json(&self, out: &mut String, budget: usize, hide: Option<usize>) -> bool {
        let mut writer = Writer { limit: out.len() + budget, out };
        writer.item(*self, 0, hide)
    }
}

/// Iterates a list.
#[derive(Clone, Debug)]
pub struct Children<'a> {
    left: usize,
    rest: &'a [u8],
}

impl<'a> Iterator for Children<'a> {
    type Item = Item<'a>;

    fn next(&mut self) -> Option<Item<'a>> {
        self.left = self.left.checked_sub(1)?;
        let (item, rest) = Item::read(self.rest).ok()?;
        self.rest = rest;
        Some(item)
    }
}

struct Writer<'o> {
    out: &'o mut String,
    limit: usize,
}

impl Writer<'_> {
    /// Whether `more` bytes fit, with the brackets that `depth` open lists will need.
    fn fits(&self, more: usize, depth: usize) -> bool {
        self.out.len() + more + depth <= self.limit
    }

    /// Depth is at most [`DEPTH_MAX`], and nothing is walked once the budget is spent.
    fn item(&mut self, item: Item<'_>, depth: usize, hide: Option<usize>) -> bool {
        match item.format {
            Format::List => {
                if !self.fits(2, depth) {
                    return true;
                }
                self.out.push('[');
                let mut cut = false;
                for (index, child) in item.children().enumerate() {
                    let before = self.out.len();
                    if !self.fits(8, depth + 1) {
                        cut = true;
                        break;
                    }
                    if index > 0 {
                        self.out.push(',');
                    }
                    let begun = self.out.len();
                    if hide == Some(index) {
                        self.out.push_str("null");
                        continue;
                    }
                    cut = self.item(child, depth + 1, None);
                    if cut {
                        if self.out.len() == begun {
                            self.out.truncate(before);
                        }
                        break;
                    }
                }
                self.out.push(']');
                cut
            }
            Format::Ascii => self.string(&latin(item.data), depth),
            Format::Jis8 => self.string(&jis(item.data), depth),
            Format::Unicode => self.string(&unicode(item.data), depth),
            Format::Binary => {
                let room = self.limit.saturating_sub(self.out.len() + depth + 4) / 2;
                let shown = item.data.len().min(room);
                if !self.fits(4, depth) {
                    return true;
                }
                json::push_hex(self.out, &item.data[..shown]);
                shown < item.data.len()
            }
            _ if item.count == 1 => {
                let before = self.out.len();
                item.push_value(self.out, 0);
                self.keep(before, depth)
            }
            _ => {
                if !self.fits(2, depth) {
                    return true;
                }
                self.out.push('[');
                let mut cut = false;
                for index in 0..item.count {
                    let before = self.out.len();
                    if index > 0 {
                        self.out.push(',');
                    }
                    item.push_value(self.out, index);
                    cut = self.keep(before, depth + 1);
                    if cut {
                        break;
                    }
                }
                self.out.push(']');
                cut
            }
        }
    }

    /// Takes back what was written since `before` when it is too much.
    fn keep(&mut self, before: usize, depth: usize) -> bool {
        let over = !self.fits(0, depth);
        if over {
            self.out.truncate(before);
        }
        over
    }

    fn string(&mut self, text: &str, depth: usize) -> bool {
        if !self.fits(2, depth) {
            return true;
        }
        self.out.push('"');
        let mut cut = false;
        for c in text.chars() {
            let before = self.out.len();
            json::push_char(self.out, c);
            cut = self.keep(before, depth + 1);
            if cut {
                break;
            }
        }
        self.out.push('"');
        cut
    }
}

fn trim(text: &str) -> &str {
    text.trim_matches(|c: char| c.is_whitespace() || c == '\0')
}

fn latin(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.iter().map(|&b| b as char).collect()),
    }
}

/// JIS X 0201: ASCII but for two signs, and the katakana of half width.
fn jis(bytes: &[u8]) -> Cow<'_, str> {
    if bytes.iter().all(|&b| b.is_ascii() && !matches!(b, 0x5c | 0x7e)) {
        return latin(bytes);
    }
    Cow::Owned(
        bytes
            .iter()
            .map(|&b| match b {
                0x5c => '¥',
                0x7e => '\u{203e}',
                0xa1..=0xdf => char::from_u32(0xff61 + u32::from(b - 0xa1)).unwrap_or('\u{fffd}'),
                _ => b as char,
            })
            .collect(),
    )
}

/// Localised text: two bytes name the encoding (E5: 1 is UCS-2, 2 is UTF-8), then the characters.
fn unicode(bytes: &[u8]) -> Cow<'_, str> {
    match bytes {
        [0, 1, rest @ ..] => {
            let (units, _) = rest.as_chunks::<2>();
            Cow::Owned(String::from_utf16_lossy(
                &units.iter().map(|u| u16::from_be_bytes(*u)).collect::<Vec<_>>(),
            ))
        }
        [_, _, rest @ ..] => latin(rest),
        short => latin(short),
    }
}

/// A value that owns what it holds: to build messages, and to keep one.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the names are the standard's")]
pub enum Value {
    List(Vec<Value>),
    Binary(Vec<u8>),
    Boolean(Vec<bool>),
    Ascii(String),
    I1(Vec<i8>),
    I2(Vec<i16>),
    I4(Vec<i32>),
    I8(Vec<i64>),
    F4(Vec<f32>),
    F8(Vec<f64>),
    U1(Vec<u8>),
    U2(Vec<u16>),
    U4(Vec<u32>),
    U8(Vec<u64>),
}

impl Value {
    /// A text.
    pub fn text(text: &str) -> Value {
        Value::Ascii(text.to_string())
    }

    /// Appends the item's bytes. A length over 2^24 - 1 cannot be written and is cut there.
    pub fn encode(&self, out: &mut Vec<u8>) {
        macro_rules! numbers {
            ($format:expr, $values:expr) => {{
                head(out, $format, std::mem::size_of_val($values.as_slice()));
                for v in $values {
                    out.extend_from_slice(&v.to_be_bytes());
                }
            }};
        }
        match self {
            Value::List(items) => {
                head(out, Format::List, items.len());
                items.iter().take(LENGTH_MAX).for_each(|i| i.encode(out));
            }
            Value::Binary(bytes) => {
                head(out, Format::Binary, bytes.len());
                out.extend_from_slice(&bytes[..bytes.len().min(LENGTH_MAX)]);
            }
            Value::Ascii(text) => {
                head(out, Format::Ascii, text.len());
                out.extend_from_slice(&text.as_bytes()[..text.len().min(LENGTH_MAX)]);
            }
            Value::Boolean(values) => {
                head(out, Format::Boolean, values.len());
                out.extend(values.iter().take(LENGTH_MAX).map(|&v| u8::from(v)));
            }
            Value::I1(v) => numbers!(Format::I1, v),
            Value::I2(v) => numbers!(Format::I2, v),
            Value::I4(v) => numbers!(Format::I4, v),
            Value::I8(v) => numbers!(Format::I8, v),
            Value::F4(v) => numbers!(Format::F4, v),
            Value::F8(v) => numbers!(Format::F8, v),
            Value::U1(v) => numbers!(Format::U1, v),
            Value::U2(v) => numbers!(Format::U2, v),
            Value::U4(v) => numbers!(Format::U4, v),
            Value::U8(v) => numbers!(Format::U8, v),
        }
    }

    /// The item's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }
}

impl From<Item<'_>> for Value {
    fn from(item: Item<'_>) -> Value {
        macro_rules! numbers {
            ($ty:ty) => {
                item.data.as_chunks().0.iter().map(|b| <$ty>::from_be_bytes(*b)).collect()
            };
        }
        match item.format {
            Format::List => Value::List(item.children().map(Value::from).collect()),
            Format::Binary => Value::Binary(item.data.to_vec()),
            Format::Boolean => Value::Boolean(item.data.iter().map(|&b| b != 0).collect()),
            Format::Ascii | Format::Jis8 => Value::Ascii(latin(item.data).into_owned()),
            Format::Unicode => Value::Ascii(unicode(item.data).into_owned()),
            Format::I1 => Value::I1(numbers!(i8)),
            Format::I2 => Value::I2(numbers!(i16)),
            Format::I4 => Value::I4(numbers!(i32)),
            Format::I8 => Value::I8(numbers!(i64)),
            Format::F4 => Value::F4(numbers!(f32)),
            Format::F8 => Value::F8(numbers!(f64)),
            Format::U1 => Value::U1(numbers!(u8)),
            Format::U2 => Value::U2(numbers!(u16)),
            Format::U4 => Value::U4(numbers!(u32)),
            Format::U8 => Value::U8(numbers!(u64)),
        }
    }
}

const LENGTH_MAX: usize = 0xff_ffff;

fn head(out: &mut Vec<u8>, format: Format, length: usize) {
    let length = length.min(LENGTH_MAX) as u32;
    let count = match length {
        0..=0xff => 1,
        0x100..=0xffff => 2,
        _ => 3,
    };
    out.push(format.code() << 2 | count);
    out.extend_from_slice(&length.to_be_bytes()[4 - usize::from(count)..]);
}

#[cfg(test)]
mod tests;
