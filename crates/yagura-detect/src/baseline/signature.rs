//! Ed25519 signatures (RFC 8032) by ring, and keys as text.
//!
//! A signing key is PKCS#8 in PEM (RFC 5958, RFC 8410), so that `openssl pkey` reads and makes it too. A
//! public key is `ed25519:` and its 32 bytes in Base64.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair as _, UnparsedPublicKey};
use serde::{Deserialize, Serialize};

/// What a public key's text begins with.
const PREFIX: &str = "ed25519:";
const PEM_BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const PEM_END: &str = "-----END PRIVATE KEY-----";
/// PKCS#8, version 1, of an Ed25519 key: what stands before its 32 bytes (RFC 8410, section 7).
const PKCS8_BEFORE_SEED: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];

/// A public key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PublicKey([u8; 32]);

impl PublicKey {
    /// Whether a signature (Base64) of these bytes is its own.
    pub fn verifies(&self, bytes: &[u8], signature: &str) -> bool {
        let Ok(signature) = BASE64.decode(signature) else { return false };
        UnparsedPublicKey::new(&ED25519, self.0).verify(bytes, &signature).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PREFIX}{}", BASE64.encode(self.0))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<PublicKey> for String {
    fn from(key: PublicKey) -> String {
        key.to_string()
    }
}

impl TryFrom<String> for PublicKey {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let bytes = text.trim().strip_prefix(PREFIX).and_then(|rest| BASE64.decode(rest).ok());
        let key = bytes.and_then(|bytes| bytes.try_into().ok()).map(PublicKey);
        key.ok_or_else(|| {
            format!(
                "`{text}` is no public key; `yagura baseline keygen` prints one: {PREFIX} and 44 characters"
            )
        })
    }
}

/// A signing key.
pub struct KeyPair(Ed25519KeyPair);

impl KeyPair {
    /// A new one, with its file's text.
    pub fn generate() -> Result<(KeyPair, String), String> {
        let mut seed = [0; 32];
        SystemRandom::new().fill(&mut seed).map_err(|_| "the system gives no random bytes".to_string())?;
        let der = BASE64.encode([&PKCS8_BEFORE_SEED[..], &seed].concat());
        let pem = format!("{PEM_BEGIN}\n{der}\n{PEM_END}\n");
        Ok((KeyPair::read(&pem)?, pem))
    }

    /// From a file's text.
    pub fn read(pem: &str) -> Result<KeyPair, String> {
        let inside = pem.split_once(PEM_BEGIN).and_then(|(_, rest)| rest.split_once(PEM_END));
        let (inside, _) = inside.ok_or_else(|| {
            format!("no signing key: `{PEM_BEGIN}` is missing; `yagura baseline keygen` makes one")
        })?;
        let inside: String = inside.split_whitespace().collect();
        let der = BASE64.decode(inside).map_err(|e| format!("no signing key: {e}"))?;
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(&der);
        pair.map(KeyPair).map_err(|e| format!("no Ed25519 key: {e}; `yagura baseline keygen` makes one"))
    }

    /// Its public half.
    pub fn public(&self) -> PublicKey {
        let mut bytes = [0; 32];
        bytes.copy_from_slice(self.0.public_key().as_ref());
        PublicKey(bytes)
    }

    /// A signature of these bytes, in Base64.
    pub fn sign(&self, bytes: &[u8]) -> String {
        BASE64.encode(self.0.sign(bytes))
    }
}

/// SHA-256, hexadecimal.
pub fn hash(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 8032, section 7.1, test 2.
    const SEED: &str = "4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb";
    const PUBLIC: &str = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c";
    const SIGNATURE: &str = "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00";

    fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
    }

    #[test]
    fn keys_and_signatures_are_those_of_the_standard() {
        let der = BASE64.encode([&PKCS8_BEFORE_SEED[..], &bytes(SEED)].concat());
        let pair = KeyPair::read(&format!("{PEM_BEGIN}\n{der}\n{PEM_END}\n")).unwrap();
        assert_eq!(pair.public().0.to_vec(), bytes(PUBLIC));
        assert_eq!(BASE64.decode(pair.sign(&[0x72])).unwrap(), bytes(SIGNATURE));
        assert!(pair.public().verifies(&[0x72], &BASE64.encode(bytes(SIGNATURE))));
        assert!(!pair.public().verifies(&[0x73], &BASE64.encode(bytes(SIGNATURE))));
        assert!(!pair.public().verifies(&[0x72], "no Base64"));
    }

    #[test]
    fn a_new_key_is_read_back_and_another_one_does_not_fit() {
        let (pair, pem) = KeyPair::generate().unwrap();
        let again = KeyPair::read(&pem).unwrap();
        assert_eq!(pair.public(), again.public());
        let other = KeyPair::generate().unwrap().0;
        assert!(!other.public().verifies(b"x", &pair.sign(b"x")));
        let text = pair.public().to_string();
        assert_eq!(PublicKey::try_from(text), Ok(pair.public()));
        for wrong in ["ed25519:AAAA", "rsa:x", ""] {
            assert!(PublicKey::try_from(wrong.to_string()).unwrap_err().contains("keygen"));
            assert!(KeyPair::read(wrong).is_err());
        }
    }
}
