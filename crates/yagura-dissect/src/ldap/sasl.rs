//! Buffers of a security layer (RFC 4422, 3.7): a length, then what the mechanism made of the
//! messages. Where it only signs them, they are in clear within.

use crate::asn1;
use crate::cursor::Cursor;
use crate::framing::Frame;

/// Length before each buffer.
pub const PREFIX: usize = 4;
/// The longest buffer that mechanisms agree on.
const BUFFER_MAX: usize = (1 << 24) - 1;
/// Octets of a token's header (RFC 4121, 4.2.6.2), and of an NTLM signature (MS-NLMP 2.2.2.9).
const HEADER: usize = 16;

/// What bytes that begin with no message begin with: a buffer of a mechanism that is known by its
/// tokens, or of any if `agreed`. `whole` is the longest buffer that is read whole.
pub fn frame(bytes: &[u8], agreed: bool, whole: usize) -> Frame {
    let Some((prefix, token)) = bytes.split_first_chunk::<PREFIX>() else {
        return if bytes.first() == Some(&0) { Frame::More } else { Frame::Bad("message") };
    };
    let length = u32::from_be_bytes(*prefix) as usize;
    if !(HEADER..=BUFFER_MAX).contains(&length) {
        return Frame::Bad("buffer_length");
    }
    match token {
        [0x05, 0x04, ..] | [1, 0, 0, 0, ..] => {}
        [0x60, ..] if matches!(asn1::header(token), asn1::Header::Of(..) | asn1::Header::More) => {}
        _ if agreed => {}
        [_, _, _, _, ..] => return Frame::Bad("buffer"),
        _ => return Frame::More,
    }
    if length <= whole {
        Frame::Of(PREFIX + length)
    } else {
        Frame::Head(PREFIX + HEADER, (length - HEADER) as u64)
    }
}

/// The messages within a buffer, where they are not encrypted.
pub fn inside(token: &[u8]) -> Option<&[u8]> {
    let found = match *token {
        [0x05, 0x04, flags, _, e1, e2, r1, r2, ..] if token.len() > HEADER => {
            let body = &token[HEADER..];
            let checksum = usize::from(u16::from_be_bytes([e1, e2]));
            let rotated = usize::from(u16::from_be_bytes([r1, r2]));
            let content = body.len().checked_sub(checksum)?;
            match rotated {
                _ if flags & 2 != 0 => None,
                0 => body.get(..content),
                // Windows puts the checksum first.
                _ if rotated == checksum => body.get(checksum..),
                _ => None,
            }
        }
        [1, 0, 0, 0, ..] => token.get(HEADER..),
        [0x60, ..] => old(token),
        _ => None,
    }?;
    // Encrypted octets are no messages.
    whole_messages(found).then_some(found)
}

/// The old form of Kerberos' tokens (RFC 1964, 1.2.2; RFC 4757, 7.3): algorithms, sequence number,
/// checksum and confounder before the content, which is padded.
fn old(token: &[u8]) -> Option<&[u8]> {
    // The length covers the header only, or all.
    let asn1::Header::Of(_, head, _) = asn1::header(token) else { return None };
    let mut inside = Cursor::new(token.get(head..)?);
    asn1::expect(&mut inside, asn1::OBJECT_IDENTIFIER, "mechanism").ok()?;
    let [2, 1, _, _, 0xff, 0xff, 0xff, 0xff, ..] = *inside.rest() else { return None };
    let content = inside.rest().get(32..)?;
    let padding = usize::from(*content.last()?);
    if !(1..=8).contains(&padding) {
        return None;
    }
    content.get(..content.len().checked_sub(padding)?)
}

fn whole_messages(mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match asn1::header(bytes) {
            asn1::Header::Of(asn1::SEQUENCE, head, length)
                if length <= bytes.len() && bytes.get(head) == Some(&asn1::INTEGER) =>
            {
                bytes = &bytes[length..];
            }
            _ => return false,
        }
    }
    true
}
