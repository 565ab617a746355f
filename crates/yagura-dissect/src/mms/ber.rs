//! Elements of ASN.1 in BER (ITU-T X.690, 8.1) as ISO 9506 needs them: tags of several bytes and
//! lengths of the indefinite form too, which `asn1` leaves out.

use std::borrow::Cow;

use crate::cursor::{Cursor, Cut};

/// Deepest nesting of indefinite lengths.
const INDEFINITE_MAX: usize = 16;

/// One element. The bit for "constructed" is no part of its tag: encoders differ in it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tlv<'a> {
    /// Class and number, see [`universal`], [`application`] and [`context`].
    pub tag: u32,
    /// Whether it is made of elements.
    pub constructed: bool,
    /// The content.
    pub body: &'a [u8],
}

/// The tag of a type of ASN.1's own.
pub(crate) const fn universal(number: u32) -> u32 {
    number
}

/// The tag of an application.
pub(crate) const fn application(number: u32) -> u32 {
    1 << 24 | number
}

/// The tag of a context.
pub(crate) const fn context(number: u32) -> u32 {
    2 << 24 | number
}

impl<'a> Tlv<'a> {
    /// The number of a context's tag.
    pub fn choice(&self) -> Option<u32> {
        (self.tag >> 24 == 2).then_some(self.tag & 0xff_ffff)
    }

    /// The elements within, up to the first that cannot be read.
    pub fn children(&self) -> Children<'a> {
        Children { cursor: Cursor::new(self.body) }
    }

    /// The first element within of that tag.
    pub fn child(&self, tag: u32) -> Option<Tlv<'a>> {
        self.children().find(|child| child.tag == tag)
    }

    /// The first element within.
    pub fn only(&self, what: &'static str) -> Result<Tlv<'a>, Cut> {
        element(&mut Cursor::new(self.body), what)
    }

    /// The content as a number without a sign; longer ones than 8 bytes are none.
    pub fn unsigned(&self) -> Option<u64> {
        let digits = match self.body {
            [0, rest @ ..] if !rest.is_empty() => rest,
            all => all,
        };
        (!digits.is_empty() && digits.len() <= 8)
            .then(|| digits.iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
    }

    /// The content as a number with a sign.
    pub fn signed(&self) -> Option<i64> {
        let first = *self.body.first()? as i8;
        (self.body.len() <= 8)
            .then(|| self.body[1..].iter().fold(i64::from(first), |sum, byte| sum << 8 | i64::from(*byte)))
    }

    /// The content as text.
    pub fn text(&self) -> Cow<'a, str> {
        text(self.body)
    }
}

/// Bytes as text. Nearly all are, which is found out quicker than what is wrong with the others.
pub(crate) fn text(bytes: &[u8]) -> Cow<'_, str> {
    std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed)
}

/// Elements one after another.
pub(crate) struct Children<'a> {
    cursor: Cursor<'a>,
}

impl<'a> Iterator for Children<'a> {
    type Item = Tlv<'a>;

    fn next(&mut self) -> Option<Tlv<'a>> {
        if self.cursor.is_empty() { None } else { element(&mut self.cursor, "element").ok() }
    }
}

/// The next element.
pub(crate) fn element<'a>(cursor: &mut Cursor<'a>, what: &'static str) -> Result<Tlv<'a>, Cut> {
    // Nearly all have a tag and a length of one byte each.
    if let [first, length @ ..0x80, rest @ ..] = cursor.rest()
        && first & 0x1f != 0x1f
        && let Some(body) = rest.get(..usize::from(*length))
    {
        cursor.skip(2 + body.len(), what)?;
        let tag = u32::from(first >> 6) << 24 | u32::from(first & 0x1f);
        return Ok(Tlv { tag, constructed: first & 0x20 != 0, body });
    }
    let mut at = *cursor;
    let (tag, constructed, length) = head(&mut at, what)?;
    let body = match length {
        Some(length) => at.take(length, what)?,
        None => {
            at.check(constructed, what)?;
            let rest = at.rest();
            let length = contents(rest).ok_or(cursor.cut(what))?;
            at.skip(length + 2, what)?;
            &rest[..length]
        }
    };
    *cursor = at;
    Ok(Tlv { tag, constructed, body })
}

/// Tag, whether constructed, and length; none when it is indefinite.
fn head(cursor: &mut Cursor<'_>, what: &'static str) -> Result<(u32, bool, Option<usize>), Cut> {
    let first = cursor.u8(what)?;
    let mut number = u32::from(first & 0x1f);
    if number == 0x1f {
        number = 0;
        loop {
            let next = cursor.u8(what)?;
            cursor.check(number < 1 << 16, what)?;
            number = number << 7 | u32::from(next & 0x7f);
            if next & 0x80 == 0 {
                break;
            }
        }
    }
    let tag = u32::from(first >> 6) << 24 | number;
    let length = match cursor.u8(what)? {
        0x80 => None,
        short @ ..0x80 => Some(usize::from(short)),
        long => {
            let count = usize::from(long & 0x7f);
            cursor.check(count <= 4, what)?;
            let octets = cursor.take(count, what)?;
            Some(octets.iter().fold(0, |sum, octet| sum << 8 | usize::from(*octet)))
        }
    };
    Ok((tag, first & 0x20 != 0, length))
}

/// How long the content of an indefinite length is, without its end.
fn contents(bytes: &[u8]) -> Option<usize> {
    let mut cursor = Cursor::new(bytes);
    let mut depth = 1;
    loop {
        if cursor.rest().starts_with(&[0, 0]) {
            depth -= 1;
            if depth == 0 {
                return Some(cursor.at());
            }
            cursor.skip(2, "").ok()?;
            continue;
        }
        match head(&mut cursor, "").ok()?.2 {
            Some(length) => cursor.skip(length, "").ok()?,
            None if depth < INDEFINITE_MAX => depth += 1,
            None => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_and_lengths_of_all_forms() {
        let read = |bytes: &'static [u8]| element(&mut Cursor::new(bytes), "x");
        let tlv = read(&[0xbf, 0x48, 3, 1, 2, 3]).unwrap();
        assert_eq!((tlv.choice(), tlv.constructed, tlv.body), (Some(72), true, &[1, 2, 3][..]));
        let tlv = read(&[0x30, 0x80, 0xa0, 0x80, 2, 1, 5, 0, 0, 0, 0, 9]).unwrap();
        assert_eq!(tlv.body, [0xa0, 0x80, 2, 1, 5, 0, 0]);
        assert_eq!(tlv.children().next().unwrap().body, [2, 1, 5]);
        assert_eq!(read(&[0x02, 0x81, 1, 7]).unwrap().unsigned(), Some(7));
        assert_eq!(read(&[0x02, 2, 0xff, 0x38]).unwrap().signed(), Some(-200));
        assert!(read(&[0x02, 0x80, 0, 0]).is_err());
        assert!(read(&[0x30, 0x80, 2, 1, 5]).is_err());
        assert!(read(&[0x30, 0x85, 0, 0, 0, 0, 1, 1]).is_err());
        assert!(read(&[0x30, 5, 1]).is_err());
    }
}
