//! What protocols of text lines share: lines, words, replies with three digits, header fields,
//! and what of credentials may be told.

use std::borrow::Cow;

use crate::framing::Frame;
use crate::{json, ntlm};

/// Longest text that a row takes over from a line, in bytes.
pub(crate) const TEXT_MAX: usize = 1024;

/// The line that `bytes` begin with, its end included. `max` is the most bytes that a line has.
pub(crate) fn line(bytes: &[u8], max: usize) -> Frame {
    match bytes.iter().take(max).position(|b| *b == b'\n') {
        Some(end) => Frame::Of(end + 1),
        None if bytes.len() >= max => Frame::Bad("line_too_long"),
        None => Frame::More,
    }
}

/// A line's text without its end.
pub(crate) fn text(line: &[u8]) -> Cow<'_, str> {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line))
}

/// The first word, and what follows it.
pub(crate) fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start_matches([' ', '\t']);
    match text.split_once([' ', '\t']) {
        Some((word, rest)) => (word, rest.trim_start_matches([' ', '\t'])),
        None => (text, ""),
    }
}

/// At most `max` bytes of a text.
pub(crate) fn clip(text: &str, max: usize) -> &str {
    let mut end = text.len().min(max);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

/// At most `max` bytes.
pub(crate) fn clip_bytes(bytes: &[u8], max: usize) -> &[u8] {
    &bytes[..bytes.len().min(max)]
}

/// Whether every byte may stand in a line of text.
pub(crate) fn printable(bytes: &[u8]) -> bool {
    bytes.iter().all(|b| *b >= 0x20 && *b != 0x7f || matches!(b, b'\t' | b'\r' | b'\n'))
}

/// How `bytes` stand to a text that they must begin with, upper and lower case alike.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begins {
    /// They do.
    Yes,
    /// They do as far as they go.
    SoFar,
    /// They do not.
    No,
}

/// Whether `bytes` begin with `text`.
pub(crate) fn begins(bytes: &[u8], text: &str) -> Begins {
    let common = bytes.len().min(text.len());
    if !bytes[..common].eq_ignore_ascii_case(&text.as_bytes()[..common]) {
        Begins::No
    } else if common == text.len() {
        Begins::Yes
    } else {
        Begins::SoFar
    }
}

/// One line of a reply with a code (RFC 959, 4.2): code, whether it is the last one, text.
pub(crate) fn reply(line: &str) -> Option<(u16, bool, &str)> {
    let bytes = line.as_bytes();
    if bytes.len() < 3 || !bytes[..3].iter().all(u8::is_ascii_digit) || !(b'1'..=b'6').contains(&bytes[0]) {
        return None;
    }
    let code = bytes[..3].iter().fold(0, |code, digit| code * 10 + u16::from(digit - b'0'));
    match bytes.get(3) {
        None => Some((code, true, "")),
        Some(b' ') => Some((code, true, line[4..].trim())),
        Some(b'-') => Some((code, false, line[4..].trim())),
        Some(_) => None,
    }
}

/// Puts replies of several lines together.
#[derive(Debug, Default)]
pub(crate) struct Replies {
    /// The code and the first line of the reply that is not whole yet.
    open: Option<(u16, String)>,
}

impl Replies {
    /// Takes one line; the reply's code and its first line once it is whole.
    pub fn line(&mut self, line: &str) -> Option<(u16, String)> {
        match (reply(line), self.open.take()) {
            (Some((code, true, text)), None) => Some((code, text.to_string())),
            (Some((code, true, text)), Some((open, first))) if open == code => {
                Some((code, if first.is_empty() { text.to_string() } else { first }))
            }
            (Some((code, false, text)), None) => {
                self.open = Some((code, text.to_string()));
                None
            }
            // A line within, whatever it begins with.
            (_, open) => {
                self.open = open;
                None
            }
        }
    }

    /// Lines are missing.
    pub fn forget(&mut self) {
        self.open = None;
    }
}

/// A header field (RFC 9110, 5): name and value. A line that is none has no name.
pub(crate) fn field(line: &str) -> (&str, &str) {
    match line.split_once(':') {
        Some((name, value)) => (name.trim_end(), value.trim()),
        None => ("", line.trim()),
    }
}

/// The parameter `name` of a field's value: `attachment; filename="a.bin"`.
pub(crate) fn parameter<'a>(value: &'a str, name: &str) -> Option<&'a str> {
    value.split(';').skip(1).find_map(|part| {
        let (key, value) = part.split_once('=')?;
        key.trim().eq_ignore_ascii_case(name).then(|| value.trim().trim_matches('"'))
    })
}

/// Base 64 (RFC 4648, 4), padded or not.
pub(crate) fn base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut group, mut bits) = (0_u32, 0);
    for byte in text.trim().trim_end_matches('=').bytes() {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' => 62,
            b'/' => 63,
            _ => return None,
        };
        group = group << 6 | u32::from(digit);
        bits += 6;
        if bits >= 8 {
            bits -= 8;
            out.push((group >> bits) as u8);
            group &= (1 << bits) - 1;
        }
    }
    Some(out)
}

/// The user of `user:password` in base 64 (RFC 7617); the password is dropped.
pub(crate) fn basic_user(encoded: &str) -> Option<String> {
    let pair = base64(encoded)?;
    let user = pair.split(|b| *b == b':').next()?;
    Some(String::from_utf8_lossy(user).into_owned())
}

/// The user of SASL PLAIN (RFC 4616): `authorization NUL user NUL password`; the password is dropped.
pub(crate) fn plain_user(encoded: &str) -> Option<String> {
    let message = base64(encoded)?;
    let mut parts = message.split(|b| *b == 0);
    let (_, user, _) = (parts.next()?, parts.next()?, parts.next()?);
    Some(String::from_utf8_lossy(user).into_owned())
}

/// A member that is an object, whose `inside` is left out when it is empty.
pub(crate) fn member_object(detail: &mut String, name: &str, mut inside: String) {
    if !inside.is_empty() {
        json::end(&mut inside);
        json::key(detail, name);
        detail.push_str(&inside);
    }
}

/// The user that a SASL response names (RFC 4422), the `step`th from 0 of its mechanism; what a
/// token of NTLM or Kerberos says besides is written into `detail`. Secrets are dropped.
pub(crate) fn sasl_user(detail: &mut String, mechanism: &str, step: u32, response: &str) -> Option<String> {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    match (&*mechanism.to_ascii_uppercase(), step) {
        ("PLAIN", 0) => plain_user(response),
        ("LOGIN", 0) => base64(response).map(|user| text(&user)),
        ("CRAM-MD5", _) => base64(response)?.rsplitn(2, |b| *b == b' ').nth(1).map(text),
        ("XOAUTH2" | "OAUTHBEARER", 0) => {
            let response = text(&base64(response)?);
            let named = response
                .split(['\u{1}', ','])
                .find_map(|part| part.strip_prefix("user=").or(part.strip_prefix("a=")))?;
            Some(named.to_string())
        }
        ("NTLM" | "GSSAPI" | "GSS-SPNEGO", _) => {
            let presented = ntlm::describe(detail, &base64(response)?);
            Some(presented.account).filter(|account| !account.is_empty())
        }
        _ => None,
    }
}

/// A request's target without what it says of secrets: a password before its host, and the values
/// of query parameters that are named like one.
pub(crate) fn without_secrets(target: &str) -> Cow<'_, str> {
    let target = match target.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
            match rest[..end].rsplit_once('@') {
                Some((user, host)) if user.contains(':') => {
                    let user = user.split(':').next().unwrap_or_default();
                    Cow::Owned(format!("{scheme}://{user}@{host}{}", &rest[end..]))
                }
                _ => Cow::Borrowed(target),
            }
        }
        None => Cow::Borrowed(target),
    };
    let Some((_, query)) = target.split_once('?') else { return target };
    if !query.split(['&', ';']).any(is_secret) {
        return target;
    }
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let mut out = format!("{path}?");
    for part in query.split_inclusive(['&', ';']) {
        if is_secret(part) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            out.push_str(name);
            out.push_str("=*");
            out.extend(value.chars().last().filter(|c| matches!(c, '&' | ';')));
        } else {
            out.push_str(part);
        }
    }
    Cow::Owned(out)
}

fn is_secret(part: &str) -> bool {
    let Some((name, _)) = part.split_once('=') else { return false };
    let name = name.to_ascii_lowercase();
    matches!(&*name, "pass" | "pw" | "pin" | "token" | "apikey" | "api_key")
        || ["passw", "passwd", "pwd", "secret", "access_token"].iter().any(|like| name.contains(like))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replies_of_several_lines_are_one() {
        let mut replies = Replies::default();
        assert_eq!(replies.line("220 ready"), Some((220, "ready".into())));
        assert_eq!(replies.line("230-Welcome"), None);
        assert_eq!(replies.line("220 is not the end"), None);
        assert_eq!(replies.line(" nor this"), None);
        assert_eq!(replies.line("230 done"), Some((230, "Welcome".into())));
        assert_eq!(replies.line("nothing"), None);
        assert_eq!(reply("2200 x"), None);
        assert_eq!(reply("220"), Some((220, true, "")));
    }

    #[test]
    fn of_credentials_only_the_user_is_left() {
        assert_eq!(basic_user("QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), Some("Aladdin".into()));
        assert_eq!(plain_user("AHRpbQB0YW5zdGFhZnRhbnN0YWFm"), Some("tim".into()));
        assert_eq!(base64("!"), None);
        assert_eq!(without_secrets("http://u:p@h/x?a=1"), "http://u@h/x?a=1");
        assert_eq!(without_secrets("/l?user=a&Password=geheim&b=2"), "/l?user=a&Password=*&b=2");
        assert_eq!(without_secrets("/l?userpwd=x"), "/l?userpwd=*");
        assert_eq!(without_secrets("/plain"), "/plain");
    }

    #[test]
    fn parameters_and_words() {
        assert_eq!(parameter("attachment; FileName=\"a b.bin\"", "filename"), Some("a b.bin"));
        assert_eq!(parameter("attachment", "filename"), None);
        assert_eq!(word("  STOR  a b"), ("STOR", "a b"));
        assert_eq!(clip("aé", 2), "a");
        assert_eq!((begins(b"get", "GET "), begins(b"got", "GET ")), (Begins::SoFar, Begins::No));
    }
}
