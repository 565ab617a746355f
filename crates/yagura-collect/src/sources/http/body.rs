//! From a request's body to rows: bounded memory, gzip, JSON lines and arrays, and the quick way of samples.

use std::borrow::Cow;
use std::io::Read;
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::Body;
use memchr::memchr;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use yagura_event::clock::Micros;
use yagura_event::rows::{MeasuredRow, Row, RowSink};

use super::serve::Refusal;
use crate::times;

/// What all bodies that are read or wait may hold together.
#[derive(Clone)]
pub(super) struct Budget(Arc<Semaphore>);

/// The unit of the budget, in bytes.
const UNIT: usize = 1024;

impl Budget {
    pub(super) fn new(bytes: usize) -> Self {
        Budget(Arc::new(Semaphore::new((bytes / UNIT).min(Semaphore::MAX_PERMITS))))
    }

    /// A charge of nothing.
    pub(super) fn charge(&self) -> Charge {
        Charge { budget: self.clone(), held: None, bytes: 0 }
    }

    /// Whether nothing is left.
    pub(super) fn is_spent(&self) -> bool {
        self.0.available_permits() == 0
    }
}

/// What one body holds of the budget, given back when it is dropped.
pub(super) struct Charge {
    budget: Budget,
    held: Option<OwnedSemaphorePermit>,
    /// Bytes asked for so far.
    pub(super) bytes: usize,
}

impl Charge {
    /// So many bytes more. Refused, never waited for: bodies that wait for each other would wait for ever.
    pub(super) fn add(&mut self, bytes: usize) -> Result<(), Refusal> {
        self.bytes += bytes;
        let held = self.held.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let more = self.bytes.div_ceil(UNIT).saturating_sub(held);
        if more == 0 {
            return Ok(());
        }
        let more = u32::try_from(more).map_err(|_| Refusal::full())?;
        let got = Arc::clone(&self.budget.0).try_acquire_many_owned(more).map_err(|_| Refusal::full())?;
        match &mut self.held {
            Some(held) => held.merge(got),
            none => *none = Some(got),
        }
        Ok(())
    }
}

/// Reads a body as it comes.
pub(super) async fn receive<B>(mut body: B, most: usize, charge: &mut Charge) -> Result<Vec<u8>, Refusal>
where
    B: Body<Data = hyper::body::Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let mut out = Vec::new();
    while let Some(frame) = body.frame().await {
        let frame =
            frame.map_err(|e| Refusal::new(StatusCode::BAD_REQUEST, format!("the body broke off: {e}")))?;
        let Ok(data) = frame.into_data() else { continue };
        if out.len() + data.len() > most {
            return Err(Refusal::too_large(most));
        }
        charge.add(data.len())?;
        out.extend_from_slice(&data);
    }
    Ok(out)
}

/// Unpacks gzip, no further than allowed.
pub(super) fn gunzip(packed: &[u8], most: usize, charge: &mut Charge) -> Result<Vec<u8>, Refusal> {
    let mut reader = MultiGzDecoder::new(packed);
    let mut out = Vec::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let got = reader.read(&mut buffer).map_err(|e| {
            Refusal::new(
                StatusCode::BAD_REQUEST,
                format!("the body is not the gzip that it claims to be: {e}"),
            )
        })?;
        if got == 0 {
            return Ok(out);
        }
        if out.len() + got > most {
            return Err(Refusal::too_large(most));
        }
        charge.add(got)?;
        out.extend_from_slice(&buffer[..got]);
    }
}

/// How the rows of a body follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// A JSON object a line.
    Lines,
    /// A JSON array of objects.
    Array,
}

/// A row that is refused, and with it its body.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct BadRow {
    /// Its number, from 1: the line, or the place in the array.
    pub(super) row: u64,
    pub(super) why: String,
}

/// The text of a body, or the first row that is no UTF-8.
pub(super) fn text(body: Vec<u8>, form: Form) -> Result<String, BadRow> {
    String::from_utf8(body).map_err(|e| {
        let at = e.utf8_error().valid_up_to();
        let row = match form {
            Form::Lines => 1 + memchr::memchr_iter(b'\n', &e.as_bytes()[..at]).count() as u64,
            Form::Array => 0,
        };
        BadRow { row, why: format!("byte {at} of the body is not UTF-8") }
    })
}

/// Calls `each` with the number and the text of every row; stops at the first that is refused.
pub(super) fn each_row<'a>(
    text: &'a str,
    form: Form,
    row_max: usize,
    mut each: impl FnMut(&'a str) -> Result<(), String>,
) -> Result<u64, BadRow> {
    let mut rows = 0;
    let mut take = |number: u64, row: &'a str| {
        if row.len() > row_max {
            return Err(BadRow { row: number, why: format!("it is longer than {row_max} bytes") });
        }
        rows += 1;
        each(row).map_err(|why| BadRow { row: number, why })
    };
    match form {
        Form::Lines => lines(text, &mut take)?,
        Form::Array => elements(text, &mut take)?,
    }
    Ok(rows)
}

fn lines<'a>(text: &'a str, take: &mut impl FnMut(u64, &'a str) -> Result<(), BadRow>) -> Result<(), BadRow> {
    let (mut rest, mut number) = (text, 0);
    while !rest.is_empty() {
        number += 1;
        let end = memchr(b'\n', rest.as_bytes());
        let line = rest[..end.unwrap_or(rest.len())].trim_ascii();
        if !line.is_empty() {
            take(number, line)?;
        }
        rest = end.map_or("", |end| &rest[end + 1..]);
    }
    Ok(())
}

/// Splits an array at the commas between its elements. Whether an element is JSON is seen when it is read.
fn elements<'a>(
    text: &'a str,
    take: &mut impl FnMut(u64, &'a str) -> Result<(), BadRow>,
) -> Result<(), BadRow> {
    let text = text.trim_ascii();
    let wrong = |row: u64, why: &str| Err(BadRow { row, why: why.into() });
    let Some(inner) = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')) else {
        return wrong(0, "the body is no JSON array: it must begin with `[` and end with `]`");
    };
    if inner.trim_ascii().is_empty() {
        return Ok(());
    }
    let bytes = inner.as_bytes();
    let (mut begin, mut number, mut depth, mut at) = (0, 1, 0_usize, 0);
    while at < bytes.len() {
        match bytes[at] {
            b'"' => {
                let Some(end) = end_of_string(bytes, at + 1) else {
                    return wrong(number, "a string has no end");
                };
                at = end;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth == 0 => return wrong(number, "the array ends before the body does"),
            b'}' | b']' => depth -= 1,
            b',' if depth == 0 => {
                take(number, inner[begin..at].trim_ascii())?;
                (begin, number) = (at + 1, number + 1);
            }
            _ => {}
        }
        at += 1;
    }
    take(number, inner[begin..].trim_ascii())
}

/// Where the quotation mark stands that ends a string.
fn end_of_string(bytes: &[u8], mut at: usize) -> Option<usize> {
    loop {
        at += memchr::memchr2(b'"', b'\\', bytes.get(at..)?)?;
        match bytes[at] {
            b'"' => return Some(at),
            _ => at += 2,
        }
    }
}

/// The samples of a body, checked: what stands in the text is not copied.
pub(super) struct Samples {
    text: String,
    /// Strings that were escaped in the text.
    unescaped: String,
    rows: Vec<Sample>,
}

/// One sample; strings are places in the text, or behind it in `unescaped`.
struct Sample {
    time: Option<Micros>,
    value: f64,
    tool: Span,
    chamber: Span,
    signal: Span,
    unit: Span,
    quality: u8,
}

#[derive(Clone, Copy)]
struct Span {
    at: u32,
    bytes: u32,
}

/// A sample as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object")]
struct Given<'a> {
    #[serde(borrow)]
    time: Option<&'a RawValue>,
    #[serde(borrow)]
    tool: Cow<'a, str>,
    #[serde(borrow, default)]
    chamber: Text<'a>,
    #[serde(borrow)]
    signal: Cow<'a, str>,
    #[serde(borrow)]
    value: &'a RawValue,
    #[serde(borrow, default)]
    unit: Text<'a>,
    quality: Option<u8>,
}

/// A text that may be absent.
#[derive(Default, Deserialize)]
#[serde(transparent)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

impl Samples {
    /// Reads all rows, or says which one is refused.
    pub(super) fn read(
        text: String,
        form: Form,
        row_max: usize,
        charge: &mut Charge,
    ) -> Result<Samples, Refusal> {
        let (mut unescaped, mut rows) = (String::new(), Vec::new());
        let base = text.as_ptr() as usize;
        each_row(&text, form, row_max, |row| {
            let given: Given<'_> = serde_json::from_str(row).map_err(|e| e.to_string())?;
            let mut place = |word: &Cow<'_, str>| match word {
                Cow::Borrowed(word) => span((word.as_ptr() as usize).wrapping_sub(base), word),
                Cow::Owned(word) => {
                    let at = text.len() + unescaped.len();
                    unescaped.push_str(word);
                    span(at, word)
                }
            };
            let (value, known) = value(given.value.get())?;
            let quality = match given.quality {
                Some(quality @ 0..=2) => quality,
                Some(other) => return Err(format!("`quality` is 0 good, 1 uncertain or 2 bad, not {other}")),
                None if known => 0,
                None => 2,
            };
            rows.push(Sample {
                time: given.time.map(|raw| time(raw.get())).transpose()?,
                value,
                tool: place(&given.tool),
                chamber: place(&given.chamber.0),
                signal: place(&given.signal),
                unit: place(&given.unit.0),
                quality,
            });
            Ok(())
        })
        .map_err(Refusal::row)?;
        charge.add(unescaped.len() + rows.capacity() * size_of::<Sample>())?;
        Ok(Samples { text, unescaped, rows })
    }

    /// How many.
    pub(super) fn len(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Puts them out. One without a time has that of its reception.
    pub(super) fn put_out(&self, observed: Micros, out: &mut dyn RowSink) {
        let text = |span: Span| {
            let (at, bytes) = (span.at as usize, span.bytes as usize);
            match at.checked_sub(self.text.len()) {
                Some(at) => self.unescaped.get(at..at + bytes),
                None => self.text.get(at..at + bytes),
            }
            .unwrap_or_default()
        };
        for row in &self.rows {
            out.push(Row::Measured(&MeasuredRow {
                tool: text(row.tool),
                chamber: text(row.chamber),
                signal: text(row.signal),
                unit: text(row.unit),
                class: "",
                source: "",
                time: row.time.unwrap_or(observed),
                observed,
                value: row.value,
                quality: row.quality,
            }));
        }
    }
}

/// Bodies are shorter than 4 GiB: the settings see to it.
fn span(at: usize, word: &str) -> Span {
    match word.is_empty() {
        true => Span { at: 0, bytes: 0 },
        false => Span { at: at as u32, bytes: word.len() as u32 },
    }
}

/// A number, read to the nearest double; `null` is no number, and `false` where it is not known.
fn value(raw: &str) -> Result<(f64, bool), String> {
    match raw {
        "null" => Ok((f64::NAN, false)),
        "true" => Ok((1.0, true)),
        "false" => Ok((0.0, true)),
        _ => match raw.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok((value, true)),
            _ => Err(format!("`value` must be a number, true, false or null, not {}", start_of(raw))),
        },
    }
}

fn time(raw: &str) -> Result<Micros, String> {
    let read = match raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')) {
        Some(text) => times::rfc3339(text.as_bytes()),
        None => times::read(raw),
    };
    read.ok_or_else(|| {
        format!("`time` must be RFC 3339 with a zone, or a number since 1970, not {}", start_of(raw))
    })
}

/// Enough of a text to recognise it.
pub(super) fn start_of(text: &str) -> &str {
    &text[..text.floor_char_boundary(64)]
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::GzEncoder;
    use proptest::prelude::*;
    use std::io::Write;
    use yagura_event::rows::OwnedRow;

    use super::*;

    fn samples(text: &str, form: Form) -> Result<Vec<OwnedRow>, (u16, u64, String)> {
        let mut charge = Budget::new(64 << 20).charge();
        let read = Samples::read(text.into(), form, 1000, &mut charge);
        let samples = read.map_err(|r| (r.status.as_u16(), r.row.unwrap_or(0), r.error))?;
        let mut rows: Vec<OwnedRow> = Vec::new();
        samples.put_out(7, &mut rows);
        Ok(rows)
    }

    #[test]
    fn samples_come_as_lines_and_as_an_array() {
        let first = r#"{"time":"2026-11-02T22:00:01.5Z","tool":"ETCH-\u0031","chamber":"A","signal":"p,]}\"","value":0.1,"unit":"mTorr"}"#;
        let second = r#"{"signal":"p","tool":"E","value":null,"time":1793656801500, "quality":1}"#;
        let third = r#"{"signal":"on","tool":"E","value":true}"#;
        let lines = samples(&format!("{first}\n\r\n {second}\r\n{third}"), Form::Lines).expect("rows");
        let array = samples(&format!("[{first}\n,{second},\n{third}]\n"), Form::Array).expect("rows");
        assert_eq!(lines, array);
        assert_eq!((lines[0].text("tool"), lines[0].text("signal")), ("ETCH-1", "p,]}\""));
        assert_eq!((lines[0].number("time"), lines[0].number("value")), (Some(1.7936568015e15), Some(0.1)));
        assert_eq!((lines[1].number("time"), lines[1].number("quality")), (Some(1.7936568015e15), Some(1.0)));
        assert_eq!((lines[2].number("time"), lines[2].number("value")), (Some(7.0), Some(1.0)));
        assert_eq!(samples("[ ]", Form::Array), Ok(vec![]));
    }

    #[test]
    fn the_first_bad_row_is_told() {
        let good = r#"{"signal":"p","tool":"E","value":1}"#;
        for (bad, why) in [
            ("{", "EOF while parsing"),
            (r#"{"signal":"p","tool":"E"}"#, "missing field `value`"),
            (r#"{"signal":"p","tool":"E","value":"1"}"#, "`value` must be a number"),
            (r#"{"signal":"p","tool":"E","value":1e999}"#, "`value` must be a number"),
            (r#"{"signal":"p","tool":"E","value":1,"time":"noon"}"#, "`time` must be RFC 3339"),
            (r#"{"signal":"p","tool":"E","value":1,"colour":2}"#, "unknown field `colour`"),
            (r#"{"signal":"p","tool":"E","value":1,"quality":3}"#, "`quality` is 0 good"),
            (r#"{"signal":"p","tool":"E","value":1} x"#, "trailing characters"),
            ("7", "expected an object"),
        ] {
            for (form, text) in [
                (Form::Lines, format!("{good}\n{bad}\n{good}")),
                (Form::Array, format!("[{good},{bad},{good}]")),
            ] {
                let Err((status, row, said)) = samples(&text, form) else { panic!("{text} was taken") };
                // What ends too early in an array takes the next element with it.
                assert!(status == 400 && row == 2, "{text}: row {row}: {said}");
                assert!(said.contains(why) || form == Form::Array, "{text}: {said}");
            }
        }
        let long = format!("{good}\n{{\"signal\":\"{}\"}}", "x".repeat(1000));
        assert!(matches!(samples(&long, Form::Lines), Err((400, 2, why)) if why.contains("longer than")));
        assert!(matches!(samples("{}", Form::Array), Err((400, 0, why)) if why.contains("no JSON array")));
        assert_eq!(text(b"{}\n{\"a\":\"\xff\"}".to_vec(), Form::Lines).expect_err("no UTF-8").row, 2);
    }

    #[test]
    fn a_bomb_goes_no_further_than_a_body_may() {
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(&vec![b' '; 8 << 20]).expect("packed");
        let packed = packed.finish().expect("packed");
        assert!(packed.len() < 16 << 10);
        let budget = Budget::new(64 << 20);
        let too_large = gunzip(&packed, 1 << 20, &mut budget.charge()).expect_err("a bomb");
        assert_eq!(too_large.status, StatusCode::PAYLOAD_TOO_LARGE);
        let small = Budget::new(2 << 20);
        let full = gunzip(&packed, 16 << 20, &mut small.charge()).expect_err("no room");
        assert_eq!((full.status, small.is_spent()), (StatusCode::TOO_MANY_REQUESTS, false));
        let whole = gunzip(&packed, 16 << 20, &mut budget.charge()).expect("unpacked");
        assert_eq!(whole.len(), 8 << 20);
        assert!(gunzip(&packed[..1000], 16 << 20, &mut budget.charge()).is_err());
    }

    proptest! {
        #[test]
        fn anything_is_rows_or_a_refusal(text in r#"[\[\]{}",:\\a1 \n]{0,80}|.{0,80}"#) {
            for form in [Form::Lines, Form::Array] {
                let _ = samples(&text, form);
            }
        }

        #[test]
        fn values_are_the_nearest_doubles(value: f64) {
            prop_assume!(value.is_finite());
            let text = format!(r#"{{"signal":"p","tool":"E","value":{}}}"#, serde_json::json!(value));
            let rows = samples(&text, Form::Lines).expect("a row");
            prop_assert_eq!(rows[0].number("value").map(f64::to_bits), Some(value.to_bits()));
        }
    }
}
