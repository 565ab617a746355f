//! ClientHello and ServerHello (RFC 8446, 4.1; RFC 5246, 7.4.1), and the fingerprints of clients.
//!
//! They are read here and not with the crate tls-parser: it refuses a ServerHello of any version but
//! SSL 3.0 to TLS 1.2 and draft 18 (captures have drafts 14 and 16 and experiments), does not name
//! what is cut, and ends a list of extensions in silence at the first that it cannot read, which
//! would change the fingerprints.

use std::fmt::Write;

use md5::{Digest, Md5};
use sha2::Sha256;

use crate::cursor::{Cursor, Cut};
use crate::json;

/// Most bytes of a server name.
const NAME_BYTES_MAX: usize = 255;

/// The random of a ServerHello that is a HelloRetryRequest (RFC 8446, 4.1.3).
const RETRY: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91, 0xc2,
    0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];

/// What either hello says.
#[derive(Debug, Default)]
pub struct Hello {
    /// The version in the hello's own field.
    pub legacy_version: u16,
    /// Those of the extension `supported_versions`.
    pub versions: Vec<u16>,
    pub session_id: Vec<u8>,
    /// All that are offered, or the one that is chosen.
    pub ciphers: Vec<u16>,
    pub extensions: Vec<u16>,
    pub groups: Vec<u16>,
    point_formats: Vec<u8>,
    pub signatures: Vec<u16>,
    pub alpn: Vec<String>,
    pub server_name: String,
    /// A ServerHello's share.
    pub key_share: Option<u16>,
    pub pre_shared_key: bool,
    pub ticket: bool,
    pub encrypted_client_hello: bool,
    pub early_data: bool,
    /// The ServerHello asks for another ClientHello.
    pub retry: bool,
}

fn grease(number: u16) -> bool {
    number & 0x0f0f == 0x0a0a && number >> 8 == number & 0xff
}

fn shorts(bytes: &[u8]) -> impl Iterator<Item = u16> {
    bytes.chunks_exact(2).map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
}

impl Hello {
    /// Reads the body of a ClientHello.
    pub fn client(body: &[u8]) -> Result<Hello, Cut> {
        let mut cursor = Cursor::new(body);
        let mut out = Hello { legacy_version: cursor.u16_be("client_version")?, ..Hello::default() };
        cursor.skip(32, "random")?;
        let length = cursor.u8("session_id")?;
        out.session_id = cursor.take(usize::from(length), "session_id")?.to_vec();
        let length = cursor.u16_be("cipher_suites")?;
        out.ciphers = shorts(cursor.take(usize::from(length), "cipher_suites")?).collect();
        let length = cursor.u8("compression_methods")?;
        cursor.skip(usize::from(length), "compression_methods")?;
        out.read_extensions(&mut cursor, true)?;
        Ok(out)
    }

    /// Reads the body of a ServerHello. Drafts of TLS 1.3 before the 22nd have no session id there.
    pub fn server(body: &[u8]) -> Result<Hello, Cut> {
        let mut cursor = Cursor::new(body);
        let mut out = Hello { legacy_version: cursor.u16_be("server_version")?, ..Hello::default() };
        out.retry = cursor.take(32, "random")? == RETRY;
        let early_draft = matches!(out.legacy_version, 0x0304 | 0x7f00..=0x7f15);
        if !early_draft {
            let length = cursor.u8("session_id")?;
            out.session_id = cursor.take(usize::from(length), "session_id")?.to_vec();
        }
        out.ciphers.push(cursor.u16_be("cipher_suite")?);
        if !early_draft {
            cursor.skip(1, "compression_method")?;
        }
        out.read_extensions(&mut cursor, false)?;
        Ok(out)
    }

    fn read_extensions(&mut self, cursor: &mut Cursor<'_>, client: bool) -> Result<(), Cut> {
        if cursor.is_empty() {
            return Ok(());
        }
        let length = cursor.u16_be("extensions")?;
        let mut all = cursor.part(usize::from(length), "extensions")?;
        while !all.is_empty() {
            let number = all.u16_be("extension")?;
            let length = all.u16_be("extension")?;
            let body = all.part(usize::from(length), "extension")?;
            self.extensions.push(number);
            // What one extension gets wrong does not hide the others.
            let _ = self.read_extension(number, body, client);
        }
        Ok(())
    }

    fn read_extension(&mut self, number: u16, mut body: Cursor<'_>, client: bool) -> Result<(), Cut> {
        match number {
            0 if client => {
                body.skip(2, "server_name")?;
                if body.u8("server_name")? == 0 {
                    let length = body.u16_be("server_name")?;
                    let name = body.take(usize::from(length).min(NAME_BYTES_MAX), "server_name")?;
                    self.server_name = String::from_utf8_lossy(name).into_owned();
                }
            }
            10 => {
                body.skip(2, "supported_groups")?;
                self.groups = shorts(body.rest()).collect();
            }
            11 => {
                body.skip(1, "ec_point_formats")?;
                self.point_formats = body.rest().to_vec();
            }
            13 => {
                body.skip(2, "signature_algorithms")?;
                self.signatures = shorts(body.rest()).collect();
            }
            16 => {
                body.skip(2, "alpn")?;
                while !body.is_empty() && self.alpn.len() < 16 {
                    let length = body.u8("alpn")?;
                    let name = body.take(usize::from(length), "alpn")?;
                    self.alpn.push(String::from_utf8_lossy(name).into_owned());
                }
            }
            35 => self.ticket = !body.is_empty(),
            41 => self.pre_shared_key = true,
            42 => self.early_data = true,
            43 if client => {
                body.skip(1, "supported_versions")?;
                self.versions = shorts(body.rest()).collect();
            }
            43 => self.versions.push(body.u16_be("supported_versions")?),
            // 40 in drafts of TLS 1.3 before the 23rd.
            40 | 51 if !client => self.key_share = Some(body.u16_be("key_share")?),
            0xfe0d => self.encrypted_client_hello = true,
            _ => {}
        }
        Ok(())
    }

    /// The version that a server chose.
    pub fn version(&self) -> u16 {
        self.versions.first().copied().unwrap_or(self.legacy_version)
    }

    /// The highest version that a client offers.
    pub fn highest(&self) -> u16 {
        let offered = self.versions.iter().copied().filter(|v| !grease(*v));
        // A draft counts as what it is a draft of.
        let plain = offered.map(|v| if v >> 8 == 0x7f { 0x0304 } else { v }).max();
        plain.unwrap_or(self.legacy_version)
    }

    /// Offered ciphers without the reserved ones that only keep servers tolerant (RFC 8701).
    pub fn real_ciphers(&self) -> impl Iterator<Item = u16> + '_ {
        self.ciphers.iter().copied().filter(|c| !grease(*c))
    }

    /// JA3 of a client: MD5, hexadecimal.
    pub fn ja3(&self) -> String {
        let mut text = format!("{},", self.legacy_version);
        push_dashed(&mut text, self.ciphers.iter().copied());
        text.push(',');
        push_dashed(&mut text, self.extensions.iter().copied());
        text.push(',');
        push_dashed(&mut text, self.groups.iter().copied());
        text.push(',');
        push_dashed(&mut text, self.point_formats.iter().map(|f| u16::from(*f)));
        hex(&Md5::digest(text.as_bytes()))
    }

    /// JA3S of a server.
    pub fn ja3s(&self) -> String {
        let mut text = format!("{},", self.legacy_version);
        push_dashed(&mut text, self.ciphers.iter().copied());
        text.push(',');
        push_dashed(&mut text, self.extensions.iter().copied());
        hex(&Md5::digest(text.as_bytes()))
    }

    /// JA4 of a client over TCP.
    pub fn ja4(&self) -> String {
        let version = match self.highest() {
            0x0304 => "13",
            0x0303 => "12",
            0x0302 => "11",
            0x0301 => "10",
            0x0300 => "s3",
            0x0002 => "s2",
            _ => "00",
        };
        let name = if self.extensions.contains(&0) { 'd' } else { 'i' };
        let mut ciphers: Vec<u16> = self.real_ciphers().collect();
        let mut extensions: Vec<u16> = self.extensions.iter().copied().filter(|e| !grease(*e)).collect();
        let (many_ciphers, many_extensions) = (ciphers.len().min(99), extensions.len().min(99));
        let alpn = match self.alpn.first().map(|a| a.as_bytes()) {
            Some([first, .., last]) | Some([first @ last])
                if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() =>
            {
                format!("{}{}", char::from(*first), char::from(*last))
            }
            Some([first, .., last]) | Some([first @ last]) => {
                format!("{:x}{:x}", first >> 4, last & 15)
            }
            _ => "00".into(),
        };
        ciphers.sort_unstable();
        extensions.retain(|e| !matches!(e, 0 | 16));
        extensions.sort_unstable();
        let mut described = commas(&extensions);
        let signatures: Vec<u16> = self.signatures.iter().copied().filter(|s| !grease(*s)).collect();
        if !signatures.is_empty() {
            described.push('_');
            described.push_str(&commas(&signatures));
        }
        format!(
            "t{version}{name}{many_ciphers:02}{many_extensions:02}{alpn}_{}_{}",
            short_hash(&commas(&ciphers), ciphers.is_empty()),
            short_hash(&described, self.extensions.is_empty()),
        )
    }
}

fn push_dashed(out: &mut String, numbers: impl Iterator<Item = u16>) {
    for (at, number) in numbers.filter(|n| !grease(*n)).enumerate() {
        if at > 0 {
            out.push('-');
        }
        json::push_number(out, u64::from(number));
    }
}

fn commas(numbers: &[u16]) -> String {
    let mut out = String::new();
    for (at, number) in numbers.iter().enumerate() {
        let _ = write!(out, "{}{number:04x}", if at > 0 { "," } else { "" });
    }
    out
}

fn short_hash(text: &str, empty: bool) -> String {
    if empty { "0".repeat(12) } else { hex(&Sha256::digest(text.as_bytes())[..6]) }
}

fn hex(bytes: &[u8]) -> String {
    let mut out = String::new();
    json::push_hex_digits(&mut out, bytes);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ja4_of_the_published_example() {
        let hello = Hello {
            legacy_version: 0x0303,
            versions: vec![0x1a1a, 0x0304, 0x0303],
            ciphers: vec![
                0x2a2a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013,
                0xc014, 0x9c, 0x9d, 0x2f, 0x35,
            ],
            extensions: vec![
                0x3a3a, 0x1b, 0, 0x33, 0x10, 0x4469, 0x17, 0x2d, 0x0d, 5, 0x23, 0x12, 0x2b, 0xff01, 0x0b,
                0x0a, 0x15,
            ],
            signatures: vec![0x0403, 0x0804, 0x0401, 0x0503, 0x0805, 0x0501, 0x0806, 0x0601],
            alpn: vec!["h2".into(), "http/1.1".into()],
            ..Hello::default()
        };
        assert_eq!(hello.ja4(), "t13d1516h2_8daaf6152771_e5627efa2ab1");
    }

    #[test]
    fn a_list_that_is_cut_is_named() {
        assert_eq!(Hello::client(&[3, 3]).unwrap_err().what, "random");
        let mut body = vec![3, 3];
        body.extend([0; 32]);
        body.extend([0, 0, 9, 0x13, 1]);
        assert_eq!(Hello::client(&body).unwrap_err().what, "cipher_suites");
    }
}
