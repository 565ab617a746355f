//! What a certificate says (X.509, RFC 5280).

use sha2::{Digest, Sha256};
use x509_parser::asn1_rs::{Any, Oid, Tag};
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509Certificate};
use x509_parser::public_key::PublicKey;
use x509_parser::time::ASN1Time;
use x509_parser::x509::{SubjectPublicKeyInfo, X509Name};

use crate::cursor::Cut;
use crate::json;

/// Most alternative names that are kept.
const NAMES_MAX: usize = 64;
/// Most parts of a distinguished name that are kept.
const PARTS_MAX: usize = 32;
/// Longest name that is kept, in bytes.
const NAME_BYTES_MAX: usize = 512;
/// Longest serial number that is kept, in bytes; a longer one is against the standard.
const SERIAL_BYTES_MAX: usize = 64;

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
        let (_, read) = X509Certificate::from_der(der).map_err(|_| Cut { what: "certificate", at: 0 })?;
        let (subject, issuer) = (read.subject(), read.issuer());
        let mut out = Certificate {
            subject: name(subject),
            issuer: name(issuer),
            common_name: subject
                .iter_common_name()
                .last()
                .map(|cn| text(cn.attr_value()))
                .unwrap_or_default(),
            not_before: time(&read.validity().not_before),
            not_after: time(&read.validity().not_after),
            signature: algorithm(&read.signature_algorithm.algorithm),
            self_signed: subject.as_raw() == issuer.as_raw(),
            ..Certificate::default()
        };
        let serial = match read.raw_serial() {
            [0, rest @ ..] if !rest.is_empty() => rest,
            serial => serial,
        };
        json::push_hex_digits(&mut out.serial, &serial[..serial.len().min(SERIAL_BYTES_MAX)]);
        (out.key, out.key_bits) = key(read.public_key());
        for extension in read.iter_extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectAlternativeName(names) => {
                    let kept = names.general_names.iter().filter_map(alternative);
                    out.names.extend(kept.take(NAMES_MAX));
                }
                ParsedExtension::BasicConstraints(constraints) => out.authority = constraints.ca,
                _ => {}
            }
        }
        Ok(out)
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

/// Kind and size of the key.
fn key(info: &SubjectPublicKeyInfo<'_>) -> (&'static str, Option<u64>) {
    let kind = match &*info.algorithm.algorithm.to_id_string() {
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
    let bits = match info.parsed() {
        Ok(PublicKey::RSA(key)) => {
            let zeros = key.modulus.iter().take_while(|b| **b == 0).count();
            let first = key.modulus.get(zeros).map_or(0, |b| b.leading_zeros() as usize);
            Some(((key.modulus.len() - zeros) * 8 - first) as u64)
        }
        // A whole point is a format byte and two coordinates; one of P-521 has 66 bytes.
        Ok(PublicKey::EC(point)) => match point.data().len().saturating_sub(1) / 2 {
            0 => None,
            66 => Some(521),
            bytes => Some(bytes as u64 * 8),
        },
        _ if kind.starts_with("ml-dsa") => Some(info.subject_public_key.data.len() as u64 * 8),
        _ => None,
    };
    (kind, bits)
}

fn alternative(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(text) | GeneralName::RFC822Name(text) | GeneralName::URI(text) => {
            Some(cut_text(text.as_bytes()))
        }
        GeneralName::IPAddress([a, b, c, d]) => Some(format!("{a}.{b}.{c}.{d}")),
        GeneralName::IPAddress(bytes) => {
            <[u8; 16]>::try_from(*bytes).ok().map(|octets| std::net::Ipv6Addr::from(octets).to_string())
        }
        _ => None,
    }
}

fn cut_text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(&bytes[..bytes.len().min(NAME_BYTES_MAX)]).into_owned()
}

/// A distinguished name as RFC 4514 writes it: the last part first.
fn name(name: &X509Name<'_>) -> String {
    let mut parts: Vec<String> = Vec::new();
    for set in name.iter_rdn().take(PARTS_MAX) {
        let mut part = String::new();
        for pair in set.iter() {
            if !part.is_empty() {
                part.push('+');
            }
            match attribute(pair.attr_type().as_bytes()) {
                Some(name) => part.push_str(name),
                None => part.push_str(&pair.attr_type().to_id_string()),
            }
            part.push('=');
            let text = text(pair.attr_value());
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
    parts.join(",")
}

fn text(value: &Any<'_>) -> String {
    let bytes = value.as_bytes();
    let bytes = &bytes[..bytes.len().min(NAME_BYTES_MAX)];
    match value.tag() {
        Tag::BmpString => {
            let units = bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
            char::decode_utf16(units).map(|c| c.unwrap_or(char::REPLACEMENT_CHARACTER)).collect()
        }
        // A TeletexString is taken for Latin-1, as others do.
        Tag::T61String => bytes.iter().map(|b| char::from(*b)).collect(),
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

/// A signature's name; of one without, the number.
fn algorithm(oid: &Oid<'_>) -> String {
    let number = oid.to_id_string();
    let known = match &*number {
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
        _ => return number,
    };
    known.into()
}

/// `2026-11-24T03:00:00Z`.
fn time(value: &ASN1Time) -> String {
    let time = value.to_datetime();
    format!(
        "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z",
        time.year(),
        u8::from(time.month()),
        time.day(),
        time.hour(),
        time.minute(),
        time.second()
    )
}
