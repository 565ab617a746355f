//! What a security header shows of a certificate (X.509 in DER, RFC 5280 clause 4.1).

use sha2::{Digest, Sha256};
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::json;

/// Writes a sender's certificate and the thumbprint by which it names the receiver's.
pub(super) fn describe(detail: &mut String, who: &str, certificate: &[u8], receiver: &[u8]) {
    if !certificate.is_empty() {
        if let Some(name) = common_name(certificate) {
            json::member_text(detail, &format!("{who}_certificate_cn"), &name);
        }
        json::key(detail, &format!("{who}_certificate_sha256"));
        json::push_hex(detail, &Sha256::digest(certificate));
    }
    if !receiver.is_empty() {
        json::key(detail, &format!("{who}_expects_thumbprint"));
        json::push_hex(detail, &receiver[..receiver.len().min(32)]);
    }
}

/// The subject's common name. What follows the certificate are those that vouch for it.
fn common_name(certificate: &[u8]) -> Option<String> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let name = certificate.subject().iter_common_name().next()?;
    Some(String::from_utf8_lossy(name.as_slice()).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_subject_is_named() {
        let certificate = crate::tls::tests::certificate();
        let mut detail = String::new();
        describe(&mut detail, "server", &certificate, &[1, 0xab]);
        assert!(detail.contains("\"server_certificate_cn\":\"mes, one\""), "{detail}");
        assert!(detail.contains("\"server_expects_thumbprint\":\"0x01ab\""), "{detail}");
        for at in 0..certificate.len() {
            assert!(common_name(&certificate[..at]).is_none());
        }
    }
}
