//! TLS towards a server, with rustls and ring: its certificate is always checked, against authorities of the plant.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{AlertDescription, CertificateError, ClientConfig, RootCertStore};
use serde::Deserialize;
use yagura_door::Fresh;

use crate::source::{Opening, SourceError};

/// How a source speaks TLS to a server.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientTls {
    /// The authorities one of which has signed the server's certificate: a file in PEM.
    ca: PathBuf,
    /// What the source shows of itself, where the server asks: a file in PEM, its own certificate first.
    #[serde(default)]
    certificate: Option<PathBuf>,
    /// The certificate's private key: a file in PEM.
    #[serde(default)]
    key: Option<PathBuf>,
    /// The name that the server's certificate has, where it is not the one that is connected to.
    #[serde(default)]
    server_name: Option<String>,
}

impl ClientTls {
    /// What connects, with the files as they are now.
    pub(crate) fn config(&self, at: &Opening<'_>) -> Result<Fresh<ClientConfig>, SourceError> {
        let files = [Some(&self.ca), self.certificate.as_ref(), self.key.as_ref()];
        let files: Vec<&Path> = files.into_iter().flatten().map(PathBuf::as_path).collect();
        let own = self.clone();
        at.fresh(&files, move |at| own.read(at))
    }

    fn read(&self, at: &Opening<'_>) -> Result<ClientConfig, SourceError> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&self.ca, at)? {
            roots.add(certificate).map_err(|cause| at.unreadable(&at.path(&self.ca), cause))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|cause| at.wrong(cause.to_string()))?
            .with_root_certificates(roots);
        Ok(match (&self.certificate, &self.key) {
            (None, None) => builder.with_no_client_auth(),
            (Some(certificate), Some(key)) => {
                let file = at.path(key);
                let private =
                    PrivateKeyDer::from_pem_file(&file).map_err(|cause| at.unreadable(&file, cause))?;
                builder.with_client_auth_cert(certificates(certificate, at)?, private).map_err(|cause| {
                    at.wrong(format!("{} does not go with its certificate: {cause}", file.display()))
                })?
            }
            _ => return Err(at.wrong("`tls` needs both `certificate` and `key`, or neither")),
        })
    }

    /// The name that the server's certificate must have, where `host` is connected to.
    pub fn name(&self, host: &str, at: &Opening<'_>) -> Result<ServerName<'static>, SourceError> {
        let name = self.server_name.as_deref().unwrap_or(host);
        ServerName::try_from(name.to_string())
            .map_err(|_| at.wrong(format!("`{name}` is no name that a certificate can have")))
    }
}

fn certificates(file: &Path, at: &Opening<'_>) -> Result<Vec<CertificateDer<'static>>, SourceError> {
    yagura_door::certificates(&at.path(file)).map_err(|problem| at.unusable(problem))
}

/// What went wrong with TLS, and what to do; `None` where an error has nothing to do with it.
pub fn explain(error: &std::io::Error) -> Option<(String, &'static str)> {
    let error = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let remedy = match error {
        rustls::Error::InvalidCertificate(problem) => match problem {
            CertificateError::UnknownIssuer | CertificateError::BadSignature => {
                "give the authority that signed the server's certificate as `ca` of its `tls`"
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                "renew the server's certificate"
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                "compare this machine's clock with the certificate"
            }
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                "connect to a name that the certificate has, or give that as `server_name`"
            }
            _ => "look at the server's certificate",
        },
        rustls::Error::AlertReceived(alert) => match alert {
            AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
                "give `certificate` and `key` in its `tls`: the server asks for them"
            }
            AlertDescription::CertificateExpired => "renew the collector's own certificate",
            AlertDescription::UnknownCA
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            | AlertDescription::CertificateRevoked
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied => {
                "the server does not accept the collector's certificate: have one signed that it trusts"
            }
            _ => "look at the server's log",
        },
        rustls::Error::InvalidMessage(_) => "this port may not speak TLS: leave `tls` out, or name the port",
        _ => "look at the server's settings for TLS",
    };
    Some((error.to_string(), remedy))
}
