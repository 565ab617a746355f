//! What a certificate says (X.509, RFC 5280), read from its DER.

use sha2::{Digest, Sha256};

use crate::asn1::{self, INTEGER, OBJECT_IDENTIFIER, OCTET_STRING, SEQUENCE, SET, element, expect, optional};
use crate::cursor::{Cursor, Cut};
use crate::json;

/// Most alternative names that are kept.
const NAMES_MAX: usize = 16;
/// Longest name that is kept, in bytes.
const NAME_BYTES_MAX: usize = 512;

/// The facts of one certificate.
#[derive(Debug, Default)]
pub struct Certificate {
    pub subject: String,
    pub issuer: String,
    pub common_name: String,
    /// Hexadecimal.
    pub serial: String,
    pub not_before: String,
    pub not_after: String,
    pub key: &'static str,
    pub key_bits: Option<u64>,
    pub signature: String,
    pub names: Vec<String>,
    pub authority: bool,
    /// Whether subject and issuer are the same bytes.
    pub self_signed: bool,
}

/// SHA-256 of a certificate, hexadecimal.
pub fn fingerprint(der: &[u8]) -> String {
    let mut out = String::new();
    json::push_hex_digits(&mut out, &Sha256::digest(der));
    out
}

impl Certificate {
    /// Reads a certificate.
    pub fn read(der: &[u8]) -> Result<Certificate, Cut> {
        let mut outer = expect(&mut Cursor::new(der), SEQUENCE, "certificate")?.inside();
        let mut body = expect(&mut outer, SEQUENCE, "certificate")?.inside();
        let mut out = Certificate::default();
        optional(&mut body, 0xa0, "certificate_version")?;
        let serial = expect(&mut body, INTEGER, "certificate_serial")?.body;
        let serial = if serial.len() > 1 && serial[0] == 0 { &serial[1..] } else { serial };
        json::push_hex_digits(&mut out.serial, &serial[..serial.len().min(64)]);
        expect(&mut body, SEQUENCE, "certificate_signature")?;
        let issuer = expect(&mut body, SEQUENCE, "certificate_issuer")?;
        out.issuer = name(issuer.inside(), None)?;
        let mut validity = expect(&mut body, SEQUENCE, "certificate_validity")?.inside();
        out.not_before = time(element(&mut validity, "certificate_validity")?);
        out.not_after = time(element(&mut validity, "certificate_validity")?);
        let subject = expect(&mut body, SEQUENCE, "certificate_subject")?;
        out.subject = name(subject.inside(), Some(&mut out.common_name))?;
        out.self_signed = subject.body == issuer.body;
        out.read_key(expect(&mut body, SEQUENCE, "certificate_key")?.inside())?;
        while !body.is_empty() {
            let part = element(&mut body, "certificate_extensions")?;
            if part.tag == 0xa3 {
                let list = expect(&mut part.inside(), SEQUENCE, "certificate_extensions")?;
                out.read_extensions(list.inside())?;
            }
        }
        let mut algorithm = expect(&mut outer, SEQUENCE, "certificate_signature")?.inside();
        asn1::push_oid(
            &mut out.signature,
            expect(&mut algorithm, OBJECT_IDENTIFIER, "certificate_signature")?.body,
        );
        if let Some(known) = algorithm_name(&out.signature) {
            out.signature = known.into();
        }
        Ok(out)
    }

    fn read_key(&mut self, mut key: Cursor<'_>) -> Result<(), Cut> {
        let mut algorithm = expect(&mut key, SEQUENCE, "certificate_key")?.inside();
        let mut oid = String::new();
        asn1::push_oid(&mut oid, expect(&mut algorithm, OBJECT_IDENTIFIER, "certificate_key")?.body);
        let bits = expect(&mut key, 0x03, "certificate_key")?.body;
        self.key = match &*oid {
            "1.2.840.113549.1.1.1" => "rsa",
            "1.2.840.10040.4.1" => "dsa",
            "1.2.840.10045.2.1" => "ec",
            "1.3.101.112" => "ed25519",
            "1.3.101.113" => "ed448",
            "2.16.840.1.101.3.4.3.17" => "ml-dsa-44",
            "2.16.840.1.101.3.4.3.18" => "ml-dsa-65",
            "2.16.840.1.101.3.4.3.19" => "ml-dsa-87",
            _ => "other",
        };
        if self.key == "rsa" {
            let mut inner = Cursor::new(bits.get(1..).unwrap_or_default());
            let mut numbers = expect(&mut inner, SEQUENCE, "certificate_key")?.inside();
            let modulus = expect(&mut numbers, INTEGER, "certificate_key")?.body;
            let zeros = modulus.iter().take_while(|b| **b == 0).count();
            let first = modulus.get(zeros).map_or(0, |b| b.leading_zeros() as usize);
            self.key_bits =
                Some(((modulus.len() - zeros) * 8 - first.min(8 * (modulus.len() - zeros))) as u64);
        } else if self.key == "ec" {
            // Whole point: a format byte and two coordinates.
            self.key_bits = match bits.len().saturating_sub(2) / 2 {
                0 => None,
                66 => Some(521),
                bytes => Some(bytes as u64 * 8),
            };
        }
        Ok(())
    }

    fn read_extensions(&mut self, mut list: Cursor<'_>) -> Result<(), Cut> {
        const WHAT: &str = "certificate_extensions";
        while !list.is_empty() {
            let mut extension = expect(&mut list, SEQUENCE, WHAT)?.inside();
            let oid = expect(&mut extension, OBJECT_IDENTIFIER, WHAT)?.body;
            optional(&mut extension, 0x01, WHAT)?;
            let mut value = expect(&mut extension, OCTET_STRING, WHAT)?.inside();
            match oid {
                // subjectAltName
                [0x55, 0x1d, 0x11] => {
                    let mut names = expect(&mut value, SEQUENCE, WHAT)?.inside();
                    while !names.is_empty() && self.names.len() < NAMES_MAX {
                        let name = element(&mut names, WHAT)?;
                        match (name.tag, name.body) {
                            (0x81 | 0x82 | 0x86, text) => self.names.push(cut_text(text)),
                            (0x87, &[a, b, c, d]) => self.names.push(format!("{a}.{b}.{c}.{d}")),
                            _ => {}
                        }
                    }
                }
                // basicConstraints
                [0x55, 0x1d, 0x13] => {
                    let mut constraints = expect(&mut value, SEQUENCE, WHAT)?.inside();
                    let ca = optional(&mut constraints, 0x01, WHAT)?;
                    self.authority = ca.is_some_and(|e| e.body != [0]);
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Writes the facts as a JSON object.
    pub fn push_json(&self, out: &mut String) {
        let mut object = String::new();
        json::member_text(&mut object, "subject", &self.subject);
        json::member_text(&mut object, "issuer", &self.issuer);
        json::member_text(&mut object, "serial", &self.serial);
        json::member_text(&mut object, "not_before", &self.not_before);
        json::member_text(&mut object, "not_after", &self.not_after);
        json::member_bool(&mut object, "self_signed", self.self_signed);
        json::member_bool(&mut object, "authority", self.authority);
        json::member_text(&mut object, "key", self.key);
        if let Some(bits) = self.key_bits {
            json::member_number(&mut object, "key_bits", bits);
        }
        json::member_text(&mut object, "signature", &self.signature);
        json::key(&mut object, "names");
        super::push_list(&mut object, self.names.iter().map(String::as_str));
        json::end(&mut object);
        out.push_str(&object);
    }
}

fn cut_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(NAME_BYTES_MAX)]).into_owned()
}

/// A distinguished name as RFC 4514 writes it: the last part first.
fn name(mut list: Cursor<'_>, mut common_name: Option<&mut String>) -> Result<String, Cut> {
    let mut parts: Vec<String> = Vec::new();
    while !list.is_empty() && parts.len() < 32 {
        let mut set = expect(&mut list, SET, "certificate_name")?.inside();
        let mut part = String::new();
        while !set.is_empty() {
            let mut pair = expect(&mut set, SEQUENCE, "certificate_name")?.inside();
            let oid = expect(&mut pair, OBJECT_IDENTIFIER, "certificate_name")?.body;
            let value = element(&mut pair, "certificate_name")?;
            let text = text_of(value);
            if let (Some(place), [0x55, 4, 3]) = (common_name.as_deref_mut(), oid) {
                place.clone_from(&text);
            }
            if !part.is_empty() {
                part.push('+');
            }
            match attribute(oid) {
                Some(name) => part.push_str(name),
                None => asn1::push_oid(&mut part, oid),
            }
            part.push('=');
            let last = text.chars().count().saturating_sub(1);
            for (at, c) in text.chars().enumerate() {
                let edge = (at == 0 && (c == ' ' || c == '#')) || (at == last && c == ' ');
                if edge || matches!(c, ',' | '+' | '"' | '\\' | '<' | '>' | ';') {
                    part.push('\\');
                }
                part.push(c);
            }
        }
        parts.push(part);
    }
    parts.reverse();
    Ok(parts.join(","))
}

fn text_of(value: asn1::Element<'_>) -> String {
    let bytes = &value.body[..value.body.len().min(NAME_BYTES_MAX)];
    match value.tag {
        // BMPString
        0x1e => {
            let units = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        }
        // TeletexString is taken for Latin-1, as others do.
        0x14 => bytes.iter().map(|b| char::from(*b)).collect(),
        _ => String::from_utf8_lossy(bytes).into_owned(),
    }
}

fn attribute(oid: &[u8]) -> Option<&'static str> {
    Some(match oid {
        [0x55, 4, 3] => "CN",
        [0x55, 4, 4] => "SN",
        [0x55, 4, 5] => "serialNumber",
        [0x55, 4, 6] => "C",
        [0x55, 4, 7] => "L",
        [0x55, 4, 8] => "ST",
        [0x55, 4, 9] => "street",
        [0x55, 4, 10] => "O",
        [0x55, 4, 11] => "OU",
        [0x55, 4, 12] => "title",
        [0x55, 4, 13] => "description",
        [0x55, 4, 15] => "businessCategory",
        [0x55, 4, 17] => "postalCode",
        [0x55, 4, 42] => "GN",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 0x19] => "DC",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1] => "UID",
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1] => "emailAddress",
        _ => return None,
    })
}

fn algorithm_name(oid: &str) -> Option<&'static str> {
    Some(match oid {
        "1.2.840.113549.1.1.4" => "md5WithRSAEncryption",
        "1.2.840.113549.1.1.5" => "sha1WithRSAEncryption",
        "1.2.840.113549.1.1.10" => "rsassaPss",
        "1.2.840.113549.1.1.11" => "sha256WithRSAEncryption",
        "1.2.840.113549.1.1.12" => "sha384WithRSAEncryption",
        "1.2.840.113549.1.1.13" => "sha512WithRSAEncryption",
        "1.2.840.10045.4.1" => "ecdsa-with-SHA1",
        "1.2.840.10045.4.3.2" => "ecdsa-with-SHA256",
        "1.2.840.10045.4.3.3" => "ecdsa-with-SHA384",
        "1.2.840.10045.4.3.4" => "ecdsa-with-SHA512",
        "1.3.101.112" => "ed25519",
        "1.3.101.113" => "ed448",
        "2.16.840.1.101.3.4.3.17" => "ml-dsa-44",
        "2.16.840.1.101.3.4.3.18" => "ml-dsa-65",
        "2.16.840.1.101.3.4.3.19" => "ml-dsa-87",
        _ => return None,
    })
}

/// UTCTime and GeneralizedTime as `2026-11-24T03:00:00Z`; anything else as it is.
fn time(value: asn1::Element<'_>) -> String {
    let text = cut_text(value.body);
    let digits = text.strip_suffix('Z').unwrap_or("");
    let century = match (value.tag, digits.len()) {
        (0x17, 10 | 12) if digits.is_ascii() => {
            if digits < "50" {
                "20"
            } else {
                "19"
            }
        }
        (0x18, 12..) if digits.is_ascii() => "",
        _ => return text,
    };
    let all = format!("{century}{digits}00");
    match (all.get(..4), all.get(4..6), all.get(6..8), all.get(8..10), all.get(10..12), all.get(12..14)) {
        (Some(year), Some(month), Some(day), Some(hour), Some(minute), Some(second)) => {
            format!("{year}-{month}-{day}T{hour}:{minute}:{second}Z")
        }
        _ => text,
    }
}
