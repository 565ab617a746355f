//! What a security header shows of a certificate (X.509 in DER, RFC 5280 clause 4.1).

use sha2::{Digest, Sha256};

use crate::cursor::{Cursor, Cut};
use crate::json;

/// The attribute type of a common name, 2.5.4.3.
const COMMON_NAME: &[u8] = &[0x55, 4, 3];

/// Writes a sender's certificate and the thumbprint by which it names the receiver's.
pub(super) fn describe(detail: &mut String, who: &str, certificate: &[u8], receiver: &[u8]) {
    if !certificate.is_empty() {
        if let Ok(name) = subject(certificate) {
            json::member_text(detail, &format!("{who}_certificate_cn"), &String::from_utf8_lossy(name));
        }
        json::key(detail, &format!("{who}_certificate_sha256"));
        json::push_hex(detail, &Sha256::digest(certificate));
    }
    if !receiver.is_empty() {
        json::key(detail, &format!("{who}_expects_thumbprint"));
        json::push_hex(detail, &receiver[..receiver.len().min(32)]);
    }
}

/// One element: its tag and its content.
fn element<'a>(c: &mut Cursor<'a>) -> Result<(u8, Cursor<'a>), Cut> {
    let tag = c.u8("der_tag")?;
    let length = match c.u8("der_length")? {
        short @ 0..=0x7f => usize::from(short),
        0x81 => usize::from(c.u8("der_length")?),
        0x82 => usize::from(c.u16_be("der_length")?),
        _ => return Err(c.cut("der_length")),
    };
    c.part(length, "der_content").map(|content| (tag, content))
}

/// The subject's common name.
fn subject(certificate: &[u8]) -> Result<&[u8], Cut> {
    let (_, mut signed) = element(&mut Cursor::new(certificate))?;
    let (_, mut fields) = element(&mut signed)?;
    if fields.peek() == Some(0xa0) {
        element(&mut fields)?;
    }
    // Serial number, algorithm, issuer, validity.
    for _ in 0..4 {
        element(&mut fields)?;
    }
    let (_, mut names) = element(&mut fields)?;
    while !names.is_empty() {
        let (_, mut set) = element(&mut names)?;
        let (_, mut pair) = element(&mut set)?;
        let (_, kind) = element(&mut pair)?;
        let (_, value) = element(&mut pair)?;
        if kind.rest() == COMMON_NAME {
            return Ok(value.rest());
        }
    }
    Err(names.cut("common_name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn der(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
        let content = parts.concat();
        let mut out = vec![tag, 0x81, content.len() as u8];
        out.extend(content);
        out
    }

    #[test]
    fn the_subject_is_named_and_not_the_issuer() {
        let name = |text: &[u8]| {
            let pair = der(0x30, &[&der(6, &[COMMON_NAME]), &der(12, &[text])]);
            der(0x30, &[&der(0x31, &[&pair])])
        };
        let fields = [
            der(0xa0, &[&[2, 1, 2]]),
            der(2, &[&[7]]),
            der(0x30, &[]),
            name(b"Plant CA"),
            der(0x30, &[]),
            name(b"Etcher 7"),
        ]
        .concat();
        let certificate = der(0x30, &[&der(0x30, &[&fields])]);
        let mut detail = String::new();
        describe(&mut detail, "server", &certificate, &[1, 0xab]);
        assert!(detail.contains("\"server_certificate_cn\":\"Etcher 7\""), "{detail}");
        assert!(detail.contains("\"server_expects_thumbprint\":\"0x01ab\""), "{detail}");
        for at in 0..certificate.len() {
            assert!(subject(&certificate[..at]).is_err());
        }
    }
}
