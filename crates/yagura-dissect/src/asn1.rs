//! Elements of ASN.1 in BER and DER (ITU-T X.690): tag, length, content. What protocols with small
//! grammars need and no more: tags of one byte, definite lengths, no recursion.

use crate::cursor::{Cursor, Cut};

pub(crate) const INTEGER: u8 = 0x02;
pub(crate) const OCTET_STRING: u8 = 0x04;
pub(crate) const OBJECT_IDENTIFIER: u8 = 0x06;
pub(crate) const SEQUENCE: u8 = 0x30;
pub(crate) const SET: u8 = 0x31;

/// One element.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Element<'a> {
    /// The identifier octet.
    pub tag: u8,
    /// The content.
    pub body: &'a [u8],
}

impl<'a> Element<'a> {
    /// The elements within.
    pub fn inside(&self) -> Cursor<'a> {
        Cursor::new(self.body)
    }
}

/// What bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Header {
    /// An element with that tag, header length and whole length.
    Of(u8, usize, usize),
    /// Too few bytes to say.
    More,
    /// A tag of several bytes, an indefinite length or one beyond 2^32.
    Bad,
}

/// Reads an element's header.
pub(crate) fn header(bytes: &[u8]) -> Header {
    let (tag, first) = match *bytes {
        [tag, ..] if tag & 0x1f == 0x1f => return Header::Bad,
        [tag, first, ..] => (tag, first),
        _ => return Header::More,
    };
    if first < 0x80 {
        return Header::Of(tag, 2, 2 + usize::from(first));
    }
    let count = usize::from(first & 0x7f);
    if !(1..=4).contains(&count) {
        return Header::Bad;
    }
    let Some(octets) = bytes.get(2..2 + count) else { return Header::More };
    let length = octets.iter().fold(0_usize, |sum, octet| sum << 8 | usize::from(*octet));
    Header::Of(tag, 2 + count, length.saturating_add(2 + count))
}

/// The next element, whatever it is.
pub(crate) fn element<'a>(cursor: &mut Cursor<'a>, what: &'static str) -> Result<Element<'a>, Cut> {
    let Header::Of(tag, head, length) = header(cursor.rest()) else { return Err(cursor.cut(what)) };
    let whole = cursor.take(length, what)?;
    Ok(Element { tag, body: &whole[head..] })
}

/// The next element, which must have that tag.
pub(crate) fn expect<'a>(cursor: &mut Cursor<'a>, tag: u8, what: &'static str) -> Result<Element<'a>, Cut> {
    cursor.check(cursor.peek() == Some(tag), what)?;
    element(cursor, what)
}

/// The next element if it has that tag.
pub(crate) fn optional<'a>(
    cursor: &mut Cursor<'a>,
    tag: u8,
    what: &'static str,
) -> Result<Option<Element<'a>>, Cut> {
    if cursor.peek() == Some(tag) { element(cursor, what).map(Some) } else { Ok(None) }
}

/// The content of an INTEGER or ENUMERATED; `None` for an empty one or one that does not fit.
pub(crate) fn integer(body: &[u8]) -> Option<i64> {
    let negative = *body.first()? >= 0x80;
    let fill = if negative { 0xff } else { 0 };
    let kept = body.len().min(8);
    let (surplus, kept) = body.split_at(body.len() - kept);
    let extends = surplus.is_empty() || (kept[0] >= 0x80) == negative;
    let start = if negative { -1_i64 } else { 0 };
    let fits = extends && surplus.iter().all(|octet| *octet == fill);
    fits.then(|| kept.iter().fold(start, |sum, octet| sum << 8 | i64::from(*octet)))
}

/// The same of a number that has no sign, whether its highest bit has a zero octet before it, as it
/// must, or not, as some write it.
pub(crate) fn unsigned(body: &[u8]) -> Option<u64> {
    let kept = body.len().min(8);
    let (surplus, kept) = body.split_at(body.len() - kept);
    let fits = !body.is_empty() && surplus.iter().all(|octet| *octet == 0);
    fits.then(|| kept.iter().fold(0_u64, |sum, octet| sum << 8 | u64::from(*octet)))
}

/// Longest object identifier that is shown whole: 128 parts of five octets (RFC 2578, 3.5).
const OID_BYTES_MAX: usize = 640;

/// An object identifier's content in dotted decimals; long ones are cut.
pub(crate) fn push_oid(out: &mut String, body: &[u8]) {
    let (mut value, mut first) = (0_u64, true);
    for octet in body.iter().take(OID_BYTES_MAX) {
        value = value << 7 | u64::from(octet & 0x7f);
        if octet & 0x80 != 0 {
            continue;
        }
        if first {
            let top = (value / 40).min(2);
            crate::json::push_number(out, top);
            value -= top * 40;
            first = false;
        }
        out.push('.');
        crate::json::push_number(out, value);
        value = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_of_all_lengths() {
        assert_eq!(header(&[0x30]), Header::More);
        assert_eq!(header(&[0x30, 0x7f]), Header::Of(0x30, 2, 129));
        assert_eq!(header(&[0x30, 0x82, 1]), Header::More);
        assert_eq!(header(&[0x30, 0x82, 1, 0]), Header::Of(0x30, 4, 260));
        assert_eq!(header(&[0x30, 0x80]), Header::Bad);
        assert_eq!(header(&[0x30, 0x85, 0, 0, 0, 0, 1]), Header::Bad);
        assert_eq!(header(&[0x1f, 0x81]), Header::Bad);
    }

    #[test]
    fn numbers_with_and_without_a_sign() {
        assert_eq!((integer(&[]), integer(&[0]), integer(&[0xff])), (None, Some(0), Some(-1)));
        assert_eq!(integer(&[0xff, 0x34, 0xab, 0xcd]), Some(-13_325_363));
        assert_eq!(integer(&[0, 0x80]), Some(128));
        assert_eq!(integer(&[0x7f, 255, 255, 255, 255, 255, 255, 255]), Some(i64::MAX));
        assert_eq!(integer(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 5]), Some(5));
        assert_eq!(integer(&[0, 0x80, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(integer(&[1, 0, 0, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!((unsigned(&[]), unsigned(&[0xff; 4])), (None, Some(u64::from(u32::MAX))));
        assert_eq!(unsigned(&[0, 255, 255, 255, 255, 255, 255, 255, 255]), Some(u64::MAX));
        assert_eq!(unsigned(&[1; 9]), None);
    }

    #[test]
    fn identifiers_in_dotted_decimals() {
        let mut oid = String::new();
        push_oid(&mut oid, &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1]);
        assert_eq!(oid, "1.2.840.113549.1.1.1");
    }

    #[test]
    fn an_element_that_runs_past_its_parent_is_cut() {
        let mut cursor = Cursor::new(&[0x02, 3, 1, 2]);
        assert_eq!(element(&mut cursor, "serial").unwrap_err().what, "serial");
        assert!(expect(&mut cursor, SEQUENCE, "sequence").is_err());
        assert_eq!(cursor.at(), 0);
    }
}
