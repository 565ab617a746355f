//! SSL 2.0 (draft-hickman-netscape-ssl-00), and its hello as older clients still begin SSL 3.0 and TLS
//! with it (RFC 5246, appendix E.2).

use crate::cursor::{Cursor, Cut};

use super::names;
use crate::framing::Frame;

/// The version number in its messages.
pub(super) const VERSION: u16 = 0x0002;
const CLIENT_HELLO: u8 = 1;
const CLIENT_MASTER_KEY: u8 = 2;
const SERVER_HELLO: u8 = 4;
/// Versions, lengths and type of a client's hello, behind the record's two bytes of length.
const HELLO: usize = 9;

/// What a message in the clear says.
#[derive(Debug, PartialEq)]
pub(super) enum Message<'a> {
    ClientHello { version: u16, ciphers: Vec<u32> },
    ServerHello { certificate: &'a [u8], resumed: bool },
    MasterKey { cipher: u32 },
    Other,
}

/// A record whose header has two bytes, as those in the clear have, of a message that can begin here.
pub(super) fn record(bytes: &[u8]) -> Frame {
    let length = match *bytes {
        [high, low, ..] => usize::from(high & 0x7f) << 8 | usize::from(low),
        _ => return Frame::More,
    };
    match bytes.get(2).copied() {
        None => Frame::More,
        Some(0 | CLIENT_HELLO | CLIENT_MASTER_KEY | SERVER_HELLO) if length > 2 => Frame::Of(2 + length),
        Some(_) => Frame::Bad("record_type"),
    }
}

/// Whether bytes begin with a client's hello: its lengths fill its record.
pub(super) fn is_client_hello(bytes: &[u8]) -> Option<bool> {
    match *bytes {
        [high @ 0x80..=0xff, low, CLIENT_HELLO, major, minor, a, b, c, d, e, f, ..] => {
            let two = |high: u8, low: u8| usize::from(high) << 8 | usize::from(low);
            let (ciphers, session, challenge) = (two(a, b), two(c, d), two(e, f));
            let version = matches!((major, minor), (0, 2) | (3, 0..=3));
            let lengths = ciphers > 0 && ciphers % 3 == 0 && matches!(session, 0 | 16);
            let whole = HELLO + ciphers + session + challenge == two(high & 0x7f, low);
            Some(version && lengths && (16..=32).contains(&challenge) && whole)
        }
        [0x80..=0xff, _, CLIENT_HELLO, ..] | [0x80..=0xff, _] | [0x80..=0xff] => None,
        _ => Some(false),
    }
}

/// Reads a record.
pub(super) fn read(record: &[u8]) -> Result<Message<'_>, Cut> {
    let mut c = Cursor::new(record);
    c.skip(2, "record")?;
    match c.u8("message_type")? {
        CLIENT_HELLO => {
            let version = c.u16_be("client_version")?;
            let length = c.u16_be("cipher_specs")?;
            c.skip(4, "client_hello")?;
            let ciphers = c.take(length.into(), "cipher_specs")?;
            Ok(Message::ClientHello { version, ciphers: ciphers.chunks_exact(3).map(kind).collect() })
        }
        SERVER_HELLO => {
            let resumed = c.u8("session_id_hit")? != 0;
            c.skip(3, "server_hello")?;
            let length = c.u16_be("certificate")?;
            c.skip(4, "server_hello")?;
            Ok(Message::ServerHello { certificate: c.take(length.into(), "certificate")?, resumed })
        }
        CLIENT_MASTER_KEY => Ok(Message::MasterKey { cipher: kind(c.take(3, "cipher_kind")?) }),
        _ => Ok(Message::Other),
    }
}

fn kind(three: &[u8]) -> u32 {
    three.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte))
}

/// The name of a cipher kind. Those of SSL 3.0 and later have a first byte of 0.
pub(super) fn cipher(kind: u32) -> String {
    let name = match kind {
        0x01_0080 => "SSL_CK_RC4_128_WITH_MD5",
        0x02_0080 => "SSL_CK_RC4_128_EXPORT40_WITH_MD5",
        0x03_0080 => "SSL_CK_RC2_128_CBC_WITH_MD5",
        0x04_0080 => "SSL_CK_RC2_128_CBC_EXPORT40_WITH_MD5",
        0x05_0080 => "SSL_CK_IDEA_128_CBC_WITH_MD5",
        0x06_0040 => "SSL_CK_DES_64_CBC_WITH_MD5",
        0x07_00c0 => "SSL_CK_DES_192_EDE3_CBC_WITH_MD5",
        0..=0xffff => names::cipher(kind as u16).unwrap_or_default(),
        _ => "",
    };
    if name.is_empty() { format!("0x{kind:06x}") } else { name.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hello_is_told_by_its_lengths() {
        let hello = [
            &[0x80, 0x2e, 1, 0, 2, 0, 0x15, 0, 0, 0, 16, 7, 0, 0xc0, 5, 0, 0x80][..],
            &[3, 0, 0x80, 1, 0, 0x80, 6, 0, 0x40, 4, 0, 0x80, 2, 0, 0x80],
            &[9; 16],
        ]
        .concat();
        assert_eq!(is_client_hello(&hello), Some(true));
        assert_eq!(is_client_hello(&hello[..8]), None);
        let Ok(Message::ClientHello { version, ciphers }) = read(&hello) else { panic!("no hello") };
        assert_eq!((version, cipher(ciphers[0]).as_str()), (VERSION, "SSL_CK_DES_192_EDE3_CBC_WITH_MD5"));
        let mut other = hello.clone();
        other[1] += 1;
        assert_eq!(is_client_hello(&other), Some(false));
        other[3] = 9;
        assert_eq!(is_client_hello(&other), Some(false));
    }
}
