//! Writes compact JSON into a string that is used again and again: no tree, no allocation.

use std::fmt::Write;

/// Appends `text` as a JSON string.
pub fn push_text(out: &mut String, text: &str) {
    out.push('"');
    push_escaped(out, text);
    out.push('"');
}

/// Appends `text` as the inside of a JSON string.
pub fn push_escaped(out: &mut String, text: &str) {
    let mut rest = text;
    // Whole stretches that need no escape at a time.
    while let Some(at) = first_escaped(rest.as_bytes()) {
        out.push_str(&rest[..at]);
        push_char(out, rest.as_bytes()[at] as char);
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
}

/// Where the first byte is that JSON cannot have as it is, found eight bytes at a time.
fn first_escaped(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::MAX / 255;
    const HIGH: u64 = ONES << 7;
    // The highest bit of a byte is set where it is zero, and perhaps above such a byte.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    let (words, rest) = bytes.as_chunks::<8>();
    for (n, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let control = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let quoted = zeros(word ^ (ONES * u64::from(b'"'))) | zeros(word ^ (ONES * u64::from(b'\\')));
        if control | quoted | zeros(word ^ (ONES * 0x7f)) != 0 {
            return bytes[8 * n..].iter().position(|&b| escaped(b)).map(|at| 8 * n + at);
        }
    }
    rest.iter().position(|&b| escaped(b)).map(|at| 8 * words.len() + at)
}

fn escaped(b: u8) -> bool {
    b < 0x20 || matches!(b, b'"' | b'\\' | 0x7f)
}

/// Appends one character of a JSON string.
pub fn push_char(out: &mut String, c: char) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        c if (c as u32) < 0x20 || c == '\u{7f}' => {
            let _ = write!(out, "\\u{:04x}", c as u32);
        }
        c => out.push(c),
    }
}

/// Appends an unsigned number: three digits at a time from a table, which is quicker than the
/// formatting machinery, and on the hot path.
pub fn push_number(out: &mut String, n: u64) {
    let digits = |n: u64| {
        let at = 3 * (n % 1000) as usize;
        &THOUSAND[at..at + 3]
    };
    match n {
        0..10 => out.push_str(&digits(n)[2..]),
        10..100 => out.push_str(&digits(n)[1..]),
        100..1000 => out.push_str(digits(n)),
        _ => {
            push_number(out, n / 1000);
            out.push_str(digits(n));
        }
    }
}

/// All numbers of three digits, one after the other.
static THOUSAND: &str = {
    const DIGITS: [u8; 3000] = {
        let mut digits = [0; 3000];
        let mut n = 0;
        while n < 1000 {
            digits[3 * n] = b'0' + (n / 100) as u8;
            digits[3 * n + 1] = b'0' + (n / 10 % 10) as u8;
            digits[3 * n + 2] = b'0' + (n % 10) as u8;
            n += 1;
        }
        digits
    };
    match std::str::from_utf8(&DIGITS) {
        Ok(digits) => digits,
        Err(_) => "",
    }
};

/// Appends a number with a sign.
pub fn push_signed(out: &mut String, n: i64) {
    if n < 0 {
        out.push('-');
    }
    push_number(out, n.unsigned_abs());
}

/// Appends a floating-point number; `null` for what JSON cannot say.
pub fn push_float(out: &mut String, v: f64) {
    let whole = v as i64;
    if whole as f64 == v && whole.unsigned_abs() < 1 << 53 && !(whole == 0 && v.is_sign_negative()) {
        // Most values on the wire are whole numbers, for which digits suffice.
        push_signed(out, whole);
    } else if !v.is_finite() {
        out.push_str("null");
    } else if v != 0.0 && !(1e-5..1e16).contains(&v.abs()) {
        let _ = write!(out, "{v:e}");
    } else {
        let _ = write!(out, "{v}");
    }
}

/// Appends bytes as `"0x…"`.
pub fn push_hex(out: &mut String, bytes: &[u8]) {
    out.push_str("\"0x");
    push_hex_digits(out, bytes);
    out.push('"');
}

/// Appends bytes as hexadecimal digits.
pub fn push_hex_digits(out: &mut String, bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for stretch in bytes.chunks(32) {
        let mut digits = [0; 64];
        for (pair, b) in digits.chunks_exact_mut(2).zip(stretch) {
            pair.copy_from_slice(&[DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]);
        }
        out.push_str(std::str::from_utf8(&digits[..2 * stretch.len()]).unwrap_or_default());
    }
}

/// Appends a number of 32 bits as `0x` and eight hexadecimal digits.
pub fn push_hex_number(out: &mut String, n: u32) {
    out.push_str("0x");
    push_hex_digits(out, &n.to_be_bytes());
}

/// Begins a member of the object that `out` is the inside of: `"key":`, after a comma if needed.
pub fn key(out: &mut String, key: &str) {
    out.push_str(if out.is_empty() { "{\"" } else { ",\"" });
    push_escaped(out, key);
    out.push_str("\":");
}

/// A member with a number.
pub fn member_number(out: &mut String, name: &str, n: u64) {
    key(out, name);
    push_number(out, n);
}

/// A member with a number as `"0x…"`, eight digits.
pub fn member_hex(out: &mut String, name: &str, n: u32) {
    key(out, name);
    out.push('"');
    push_hex_number(out, n);
    out.push('"');
}

/// A member with a text.
pub fn member_text(out: &mut String, name: &str, text: &str) {
    key(out, name);
    push_text(out, text);
}

/// A member with a truth value.
pub fn member_bool(out: &mut String, name: &str, value: bool) {
    key(out, name);
    out.push_str(if value { "true" } else { "false" });
}

/// Ends an object begun by [`key`]; an object without members stays empty text.
pub fn end(out: &mut String) {
    if !out.is_empty() {
        out.push('}');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_an_escape_is_found_at_any_place() {
        for b in 0..=255 {
            for at in 0..20 {
                let mut text = [b'~'; 20];
                text[at] = b;
                assert_eq!(first_escaped(&text), escaped(b).then_some(at), "{b}");
                text[19] = 0x7f;
                assert_eq!(first_escaped(&text), Some(if escaped(b) { at } else { 19 }), "{b}");
            }
        }
        assert_eq!(first_escaped("櫓櫓櫓櫓".as_bytes()), None);
    }

    #[test]
    fn numbers_are_as_the_formatting_machinery_writes_them() {
        let powers = (0..20).map(|digits| 10_u64.pow(digits));
        for n in (0..2000).chain(powers.flat_map(|p| [p - 1, p, p + 7, 3 * (p / 2)])).chain([u64::MAX]) {
            let mut out = String::new();
            push_number(&mut out, n);
            assert_eq!(out, n.to_string());
        }
    }

    #[test]
    fn what_is_written_reads_back() {
        let mut out = String::new();
        member_text(&mut out, "a\"b", "x\\y\n\u{1}\u{7f}櫓");
        member_number(&mut out, "n", u64::MAX);
        member_number(&mut out, "zero", 0);
        member_bool(&mut out, "t", true);
        key(&mut out, "f");
        out.push('[');
        for (i, v) in
            [1e300, -2.5, 1e-9, f64::NAN, 0.0, 123456.0, -7.0, -0.0, 9e15, 1e17].into_iter().enumerate()
        {
            if i > 0 {
                out.push(',');
            }
            push_float(&mut out, v);
        }
        out.push(']');
        end(&mut out);
        let read: serde_json::Value = serde_json::from_str(&out).unwrap();
        let f = serde_json::json!([1e300, -2.5, 1e-9, null, 0, 123456, -7, -0.0, 9e15, 1e17]);
        assert_eq!(read["a\"b"], "x\\y\n\u{1}\u{7f}櫓");
        assert_eq!(read["n"], u64::MAX);
        assert_eq!(read["zero"], 0);
        for (a, b) in read["f"].as_array().unwrap().iter().zip(f.as_array().unwrap()) {
            assert_eq!(a.as_f64(), b.as_f64());
        }
    }
}
