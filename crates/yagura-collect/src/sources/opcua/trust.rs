//! Whether a server's certificate is believed.
//!
//! A certificate is believed that stands among the trusted ones, or that an authority among them has signed, itself or
//! through others that came along. Lists of revoked certificates are not read.

use std::net::IpAddr;
use std::path::PathBuf;

use x509_parser::prelude::{ASN1Time, FromDer, GeneralName, Pem, X509Certificate};
use yagura_event::clock::{Micros, SECOND, rfc3339};

/// Certificates in a folder or in all folders of a list that are read.
const CERTIFICATES_MAX: usize = 1000;
/// Authorities between a certificate and a trusted one.
const DEPTH_MAX: usize = 5;

/// Something that is wrong between the collector and a server.
#[derive(Debug, PartialEq)]
pub(crate) struct Trouble {
    /// What happened.
    pub cause: String,
    /// What to do.
    pub remedy: String,
}

impl Trouble {
    pub fn new(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Trouble { cause: cause.into(), remedy: remedy.into() }
    }
}

/// How a certificate came to be believed.
#[derive(Debug, PartialEq)]
pub(super) enum Believed {
    /// It, or an authority of it, is trusted.
    Trusted,
    /// Nobody vouches for it, and that was permitted.
    Unknown,
}

/// The certificates that are trusted.
pub(super) struct Trust {
    trusted: Vec<Vec<u8>>,
    unknown: bool,
}

impl Trust {
    /// Reads files, and folders of files; what is no certificate in a folder is passed over.
    pub fn load(paths: &[PathBuf], unknown: bool) -> Result<Self, String> {
        let mut trusted = Vec::new();
        for path in paths {
            if !path.is_dir() {
                trusted.extend(super::certificate(path)?);
                continue;
            }
            let folder = std::fs::read_dir(path);
            let folder = folder.map_err(|e| format!("{}: cannot be read: {e}", path.display()))?;
            let mut files: Vec<PathBuf> = folder.flatten().map(|entry| entry.path()).collect();
            files.sort();
            for file in files.iter().take(CERTIFICATES_MAX) {
                trusted.extend(super::certificate(file).unwrap_or_default());
            }
        }
        if trusted.is_empty() && !unknown {
            return Err("`trusted` holds no certificate".into());
        }
        Ok(Trust { trusted, unknown })
    }

    /// Whether `chain`, DER of a certificate and perhaps of its authorities after it, is that of `host` and of the
    /// application of that URI, and is believed.
    pub fn check(
        &self,
        chain: &[u8],
        host: &str,
        application: &str,
        now: Micros,
    ) -> Result<Believed, Trouble> {
        let no_certificate = |_| {
            Trouble::new(
                "the server's certificate cannot be read",
                "have the server's certificate made anew; the policy needs one",
            )
        };
        let chain = ders(chain).map_err(no_certificate)?;
        let [leaf, others @ ..] = chain.as_slice() else { return Err(no_certificate(String::new())) };
        let server = parse(leaf).map_err(no_certificate)?;
        in_force(&server, "the server's certificate", now)?;
        bears(&server, host)?;
        let uris = uris(&server);
        if !application.is_empty() && !uris.iter().any(|uri| uri == application) {
            return Err(Trouble::new(
                format!(
                    "the server calls itself {application}, but its certificate is that of {}",
                    list(&uris, "no application")
                ),
                "have the server's certificate made anew for its application URI, or look who answers there",
            ));
        }
        if self.trusted.contains(leaf) || self.vouched(leaf, others, now) {
            return Ok(Believed::Trusted);
        }
        if self.unknown {
            return Ok(Believed::Unknown);
        }
        Err(Trouble::new(
            format!(
                "the server's certificate is not trusted: {}, issued by {}, SHA-256 {}",
                server.subject(),
                server.issuer(),
                fingerprint(leaf)
            ),
            "compare the fingerprint at the server and put its certificate, or its authority's, among `trusted`",
        ))
    }

    fn vouched(&self, leaf: &[u8], others: &[Vec<u8>], now: Micros) -> bool {
        let mut current = leaf.to_vec();
        for _ in 0..DEPTH_MAX {
            let Ok(below) = parse(&current) else { return false };
            let signed_by = |der: &Vec<u8>| {
                parse(der).is_ok_and(|above| {
                    above.subject() == below.issuer()
                        && above.is_ca()
                        && in_force(&above, "", now).is_ok()
                        && below.verify_signature(Some(above.public_key())).is_ok()
                })
            };
            if self.trusted.iter().any(signed_by) {
                return true;
            }
            match others.iter().find(|der| **der != current && signed_by(der)) {
                Some(above) => current = above.clone(),
                None => return false,
            }
        }
        false
    }
}

/// What is wrong with the collector's own certificate, if anything is; otherwise its application URI.
pub(super) fn own(chain: &[Vec<u8>], now: Micros) -> Result<String, Trouble> {
    let renew = "have the collector's `certificate` made anew";
    let Some(leaf) = chain.first() else { return Err(Trouble::new("`certificate` holds none", renew)) };
    let own = parse(leaf).map_err(|problem| Trouble::new(format!("`certificate`: {problem}"), renew))?;
    in_force(&own, "the collector's own certificate", now)?;
    uris(&own).into_iter().next().ok_or_else(|| {
        Trouble::new(
            "the collector's own certificate bears no application URI",
            "have it made with a URI among its subject's alternative names, as `urn:fab:yagura`",
        )
    })
}

/// The certificates of a DER or PEM file or field.
pub(super) fn ders(bytes: &[u8]) -> Result<Vec<Vec<u8>>, String> {
    let mut out = Vec::new();
    if std::str::from_utf8(bytes).is_ok_and(|text| text.contains("-----BEGIN ")) {
        for pem in Pem::iter_from_buffer(bytes) {
            let pem = pem.map_err(|e| format!("no PEM: {e}"))?;
            if pem.label == "CERTIFICATE" {
                parse(&pem.contents)?;
                out.push(pem.contents);
            }
        }
    } else {
        let mut rest = bytes;
        while !rest.is_empty() && out.len() <= DEPTH_MAX {
            let (after, _) = X509Certificate::from_der(rest).map_err(|e| format!("no certificate: {e}"))?;
            out.push(rest[..rest.len() - after.len()].to_vec());
            rest = after;
        }
    }
    match out.is_empty() {
        true => Err("no certificate in it".into()),
        false => Ok(out),
    }
}

/// SHA-256 of a certificate, as people compare it.
pub(super) fn fingerprint(der: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, der);
    digest.as_ref().iter().map(|byte| format!("{byte:02X}")).collect::<Vec<_>>().join(":")
}

fn parse(der: &[u8]) -> Result<X509Certificate<'_>, String> {
    X509Certificate::from_der(der)
        .map(|(_, certificate)| certificate)
        .map_err(|e| format!("no certificate: {e}"))
}

fn in_force(certificate: &X509Certificate<'_>, whose: &str, now: Micros) -> Result<(), Trouble> {
    let validity = certificate.validity();
    let seconds = |time: ASN1Time| time.timestamp().saturating_mul(SECOND);
    if seconds(validity.not_after) < now {
        return Err(Trouble::new(
            format!("{whose} has expired on {}", rfc3339(seconds(validity.not_after))),
            "have it renewed",
        ));
    }
    if seconds(validity.not_before) > now {
        return Err(Trouble::new(
            format!("{whose} is valid from {} on only", rfc3339(seconds(validity.not_before))),
            "look at the clocks here and there, or wait",
        ));
    }
    Ok(())
}

fn bears(certificate: &X509Certificate<'_>, host: &str) -> Result<(), Trouble> {
    let mut names = Vec::new();
    if let Ok(Some(alternatives)) = certificate.subject_alternative_name() {
        for name in &alternatives.value.general_names {
            match name {
                GeneralName::DNSName(dns) => names.push((*dns).to_string()),
                GeneralName::IPAddress(bytes) => names.extend(address(bytes)),
                _ => {}
            }
        }
    }
    let plain = |name: &str| name.trim_end_matches('.').to_ascii_lowercase();
    if names.iter().any(|name| plain(name) == plain(host)) {
        return Ok(());
    }
    Err(Trouble::new(
        format!("the server's certificate is not that of {host}, but of {}", list(&names, "no host")),
        "write the endpoint with a name of the certificate, or say that name as `server_name`",
    ))
}

fn address(bytes: &[u8]) -> Option<String> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(|four| IpAddr::from(four).to_string()),
        16 => <[u8; 16]>::try_from(bytes).ok().map(|all| IpAddr::from(all).to_string()),
        _ => None,
    }
}

fn uris(certificate: &X509Certificate<'_>) -> Vec<String> {
    let Ok(Some(alternatives)) = certificate.subject_alternative_name() else { return Vec::new() };
    let uri = |name: &GeneralName<'_>| match name {
        GeneralName::URI(uri) => Some((*uri).to_string()),
        _ => None,
    };
    alternatives.value.general_names.iter().filter_map(uri).collect()
}

fn list(names: &[String], none: &str) -> String {
    match names {
        [] => none.to_string(),
        names => names.join(", "),
    }
}
