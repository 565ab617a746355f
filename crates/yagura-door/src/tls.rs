//! TLS of who listens, with rustls and ring.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{RootCertStore, ServerConfig};
use serde::Deserialize;
use tokio_rustls::TlsAcceptor;

use crate::{Fresh, Unusable};

/// The certificates of who listens, all in PEM.
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
    /// What takes connections, in TLS 1.2 and 1.3, with the files as they are now; `folder` is where paths begin.
    pub fn acceptor(&self, folder: &Path) -> Result<Fresh<TlsAcceptor>, Unusable> {
        let own = ServerTls {
            certificate: folder.join(&self.certificate),
            key: folder.join(&self.key),
            client_ca: self.client_ca.as_ref().map(|file| folder.join(file)),
        };
        let files = [Some(&own.certificate), Some(&own.key), own.client_ca.as_ref()];
        let files = files.into_iter().flatten().cloned().collect();
        Fresh::new(files, move || own.read())
    }

    fn read(&self) -> Result<TlsAcceptor, Unusable> {
        let chain = certificates(&self.certificate)?;
        let private = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|e| Unusable::file(&self.key, format!("{e}; a private key in PEM is needed")))?;
        let builder = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(rustls::DEFAULT_VERSIONS)
            .map_err(|e| Unusable::Setting(format!("TLS cannot be used: {e}")))?;
        let builder = match &self.client_ca {
            None => builder.with_no_client_auth(),
            Some(authorities) => builder.with_client_cert_verifier(verifier(authorities)?),
        };
        let config = builder.with_single_cert(chain, private).map_err(|e| {
            let (certificate, key) = (self.certificate.display(), self.key.display());
            Unusable::Setting(format!("`tls`: {certificate} and {key} are no pair: {e}"))
        })?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}

fn verifier(file: &Path) -> Result<Arc<dyn ClientCertVerifier>, Unusable> {
    let mut roots = RootCertStore::empty();
    for authority in certificates(file)? {
        roots.add(authority).map_err(|e| Unusable::file(file, e))?;
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
    verifier.map_err(|e| Unusable::Setting(format!("`tls.client_ca`: {}: {e}", file.display())))
}

/// The certificates of a file in PEM, of which there is at least one.
pub fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, Unusable> {
    let read = CertificateDer::pem_file_iter(file).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    match read {
        Ok(all) if all.is_empty() => {
            Err(Unusable::file(file, "it holds no certificate in PEM (`-----BEGIN CERTIFICATE-----`)"))
        }
        Ok(all) => Ok(all),
        Err(cause) => Err(Unusable::file(file, cause)),
    }
}
