//! TLS of sources that listen.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde::Deserialize;
use tokio_rustls::TlsAcceptor;

use crate::fresh::Fresh;
use crate::source::{Opening, SourceError};

/// The certificates of a source that listens, all in PEM.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ServerTls {
    /// This side's certificate, with its chain.
    pub certificate: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Authorities of which one must have signed a client's certificate; without them clients need none.
    #[serde(default)]
    pub client_ca: Option<PathBuf>,
}

impl ServerTls {
    /// What takes connections, in TLS 1.2 and 1.3, with the files as they are now.
    pub(crate) fn acceptor(&self, at: &Opening<'_>) -> Result<Fresh<TlsAcceptor>, SourceError> {
        let files = [Some(&self.certificate), Some(&self.key), self.client_ca.as_ref()];
        let files: Vec<&Path> = files.into_iter().flatten().map(PathBuf::as_path).collect();
        let own = self.clone();
        Fresh::new(at, &files, move |at| own.read(at))
    }

    fn read(&self, at: &Opening<'_>) -> Result<TlsAcceptor, SourceError> {
        let (certificate, key) = (at.path(&self.certificate), at.path(&self.key));
        let chain = certificates(&certificate, at)?;
        let private = PrivateKeyDer::from_pem_file(&key).map_err(|e| {
            let cause = format!("{e}; a private key in PEM is needed");
            at.unreadable(&key, cause)
        })?;
        let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(rustls::DEFAULT_VERSIONS)
            .map_err(|e| at.wrong(format!("TLS cannot be used: {e}")))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(authorities) => builder.with_client_cert_verifier(self.verifier(&at.path(authorities), at)?),
        };
        let config = builder.with_single_cert(chain, private).map_err(|e| {
            at.wrong(format!("`tls`: {} and {} are no pair: {e}", certificate.display(), key.display()))
        })?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    fn verifier(
        &self,
        file: &Path,
        at: &Opening<'_>,
    ) -> Result<Arc<dyn rustls::server::danger::ClientCertVerifier>, SourceError> {
        let mut roots = RootCertStore::empty();
        for authority in certificates(file, at)? {
            roots.add(authority).map_err(|e| at.unreadable(file, e))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
        verifier.map_err(|e| at.wrong(format!("`tls.client_ca`: {}: {e}", file.display())))
    }
}

fn certificates(file: &Path, at: &Opening<'_>) -> Result<Vec<CertificateDer<'static>>, SourceError> {
    let read = |e: &dyn std::fmt::Display| at.unreadable(file, e);
    let all = CertificateDer::pem_file_iter(file).map_err(|e| read(&e))?;
    let all: Vec<_> = all.collect::<Result<_, _>>().map_err(|e| read(&e))?;
    match all.is_empty() {
        true => Err(at.unreadable(file, "it holds no certificate in PEM (`-----BEGIN CERTIFICATE-----`)")),
        false => Ok(all),
    }
}
