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
    while let Some(at) = rest.bytes().position(|b| b < 0x20 || matches!(b, b'"' | b'\\' | 0x7f)) {
        out.push_str(&rest[..at]);
        push_char(out, rest.as_bytes()[at] as char);
        rest = &rest[at + 1..];
    }
    out.push_str(rest);
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

/// Appends an unsigned number. Quicker than the formatting machinery, and on the hot path.
pub fn push_number(out: &mut String, mut n: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (n % 10) as u8;
        n /= 10;
        if n == 0 {
            break;
        }
    }
    out.push_str(std::str::from_utf8(&digits[at..]).unwrap_or_default());
}

/// Appends a floating-point number; `null` for what JSON cannot say.
pub fn push_float(out: &mut String, v: f64) {
    let whole = v as i64;
    if whole as f64 == v && whole.unsigned_abs() < 1 << 53 && !(whole == 0 && v.is_sign_negative()) {
        // Most values on the wire are whole numbers, for which digits suffice.
        if whole < 0 {
            out.push('-');
        }
        push_number(out, whole.unsigned_abs());
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
    for b in bytes {
        out.push(DIGITS[usize::from(b >> 4)] as char);
        out.push(DIGITS[usize::from(b & 15)] as char);
    }
}

/// Begins a member of the object that `out` is the inside of: `"key":`, after a comma if needed.
pub fn key(out: &mut String, key: &str) {
    out.push(if out.is_empty() { '{' } else { ',' });
    push_text(out, key);
    out.push(':');
}

/// A member with a number.
pub fn member_number(out: &mut String, name: &str, n: u64) {
    key(out, name);
    push_number(out, n);
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
    fn what_is_written_reads_back() {
        let mut out = String::new();
        member_text(&mut out, "a\"b", "x\\y\n\u{1}\u{7f}櫓");
        member_number(&mut out, "n", u64::MAX);
        member_number(&mut out, "zero", 0);
        member_bool(&mut out, "t", true);
        key(&mut out, "f");
        out.push('[');
        for (i, v) in [1e300, -2.5, 1e-9, f64::NAN, 0.0, 123456.0, -7.0, -0.0, 9e15, 1e17].into_iter().enumerate() {
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
