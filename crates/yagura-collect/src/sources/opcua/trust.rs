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
    /// Nobody vouches for it, and that was permitted: its fingerprint.
    Unknown(String),
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
            return Ok(Believed::Unknown(fingerprint(leaf)));
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
fn fingerprint(der: &[u8]) -> String {
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

#[cfg(test)]
mod tests {
    use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};

    use super::*;

    const NOW: Micros = 1_790_000_000 * SECOND;
    const APPLICATION: &str = "urn:fab:etch-01";

    fn parameters(authority: bool, years: (i32, i32)) -> CertificateParams {
        let mut params = CertificateParams::new(vec!["etch-01".to_string()]).expect("parameters");
        params.subject_alt_names.push(SanType::URI(APPLICATION.try_into().expect("a URI")));
        params.subject_alt_names.push(SanType::IpAddress([10, 0, 0, 7].into()));
        params.is_ca = if authority { IsCa::Ca(BasicConstraints::Unconstrained) } else { IsCa::NoCa };
        params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
        params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
        params
    }

    fn issuer(name: &str, authority: bool) -> CertifiedIssuer<'static, KeyPair> {
        let mut params = parameters(authority, (2020, 2090));
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate")
    }

    fn signed(by: &CertifiedIssuer<'static, KeyPair>, years: (i32, i32)) -> Vec<u8> {
        let key = KeyPair::generate().expect("a key");
        parameters(false, years).signed_by(&key, by).expect("a certificate").der().to_vec()
    }

    fn trusting(trusted: &[&[u8]]) -> Trust {
        Trust { trusted: trusted.iter().map(|der| der.to_vec()).collect(), unknown: false }
    }

    fn cause(trust: &Trust, der: &[u8], host: &str, application: &str) -> String {
        trust.check(der, host, application, NOW).expect_err("it must not be believed").cause
    }

    #[test]
    fn a_certificate_or_its_authority_is_trusted() {
        let authority = issuer("authority", true);
        let leaf = signed(&authority, (2020, 2090));
        for trusted in [&leaf[..], authority.der()] {
            let trust = trusting(&[trusted]);
            assert_eq!(trust.check(&leaf, "ETCH-01", APPLICATION, NOW), Ok(Believed::Trusted));
            assert_eq!(trust.check(&leaf, "10.0.0.7", "", NOW), Ok(Believed::Trusted));
        }
        // Another authority of the same name has signed nothing here, and one that is no authority may not.
        let namesake = trusting(&[issuer("authority", true).der()]);
        assert!(cause(&namesake, &leaf, "etch-01", APPLICATION).contains("not trusted"));
        let layman = issuer("layman", false);
        assert!(
            cause(&trusting(&[layman.der()]), &signed(&layman, (2020, 2090)), "etch-01", "")
                .contains("not trusted")
        );
        let unknown = Trust { trusted: Vec::new(), unknown: true };
        assert_eq!(
            unknown.check(&leaf, "etch-01", APPLICATION, NOW),
            Ok(Believed::Unknown(fingerprint(&leaf)))
        );
    }

    #[test]
    fn time_host_and_application_must_be_right_whoever_vouches() {
        let authority = issuer("authority", true);
        let trust = Trust { trusted: vec![authority.der().to_vec()], unknown: true };
        let leaf = signed(&authority, (2020, 2090));
        assert!(
            cause(&trust, &signed(&authority, (2020, 2021)), "etch-01", "").contains("expired on 2021-01-01")
        );
        assert!(
            cause(&trust, &signed(&authority, (2080, 2090)), "etch-01", "").contains("valid from 2080-01-01")
        );
        assert!(
            cause(&trust, &leaf, "etch-02", "").contains("not that of etch-02, but of etch-01, 10.0.0.7")
        );
        assert!(cause(&trust, &leaf, "etch-01", "urn:fab:other").contains("calls itself urn:fab:other"));
        assert!(cause(&trust, b"", "etch-01", "").contains("cannot be read"));
        assert!(cause(&trust, &leaf[..100], "etch-01", "").contains("cannot be read"));
    }

    #[test]
    fn authorities_between_may_come_along() {
        let root = issuer("root", true);
        let mut params = parameters(true, (2020, 2090));
        params.distinguished_name.push(rcgen::DnType::CommonName, "between");
        let between =
            CertifiedIssuer::signed_by(params, KeyPair::generate().expect("a key"), &root).expect("one");
        let key = KeyPair::generate().expect("a key");
        let leaf = parameters(false, (2020, 2090)).signed_by(&key, &between).expect("one").der().to_vec();
        let chain = [&leaf[..], between.der()].concat();
        let trust = trusting(&[root.der()]);
        assert_eq!(trust.check(&chain, "etch-01", APPLICATION, NOW), Ok(Believed::Trusted));
        assert!(cause(&trust, &leaf, "etch-01", APPLICATION).contains("not trusted"));
    }

    #[test]
    fn files_are_pem_or_der() {
        let authority = issuer("authority", true);
        let text = format!("subject=authority\n{}{}", authority.pem(), authority.pem());
        assert_eq!(ders(text.as_bytes()), Ok(vec![authority.der().to_vec(), authority.der().to_vec()]));
        assert_eq!(ders(authority.der()), Ok(vec![authority.der().to_vec()]));
        assert!(ders(b"-----BEGIN PRIVATE KEY-----\n").is_err() && ders(b"x").is_err() && ders(b"").is_err());
    }
}
