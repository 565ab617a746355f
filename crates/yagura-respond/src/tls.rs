//! TLS towards receivers, with rustls and ring: whom to trust is always said.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, Visitor};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::sink::{ConfigError, SinkError};

/// How long a receiver may take to accept a connection, to shake hands and to take a frame.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// What users write for `tls:`: files, or `false` for a network that nobody else is on.
#[derive(Clone, Debug)]
pub(crate) enum Tls {
    /// In clear.
    Off,
    /// With these files.
    On(TlsFiles),
}

/// Certificates of a connection, all in PEM.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct TlsFiles {
    /// Authorities that may have signed the receiver's certificate.
    ca: PathBuf,
    /// This side's certificate with its chain, when the receiver asks for one.
    certificate: Option<PathBuf>,
    /// Its key.
    key: Option<PathBuf>,
    /// The name in the receiver's certificate, when it is not the host of `address`.
    server_name: Option<String>,
}

impl TlsFiles {
    /// With paths that begin in `folder` where they are relative.
    fn within(self, folder: &Path) -> Self {
        let place = |file: PathBuf| folder.join(file);
        TlsFiles {
            ca: place(self.ca),
            certificate: self.certificate.map(place),
            key: self.key.map(place),
            server_name: self.server_name,
        }
    }

    fn client(&self) -> Result<Arc<rustls::ClientConfig>, ConfigError> {
        let bad =
            |file: &PathBuf, problem: String| ConfigError::File { file: file.display().to_string(), problem };
        let certificates = |file: &PathBuf| -> Result<Vec<CertificateDer<'static>>, ConfigError> {
            let read: Result<Vec<_>, _> = CertificateDer::pem_file_iter(file).and_then(Iterator::collect);
            match read {
                Ok(found) if found.is_empty() => Err(bad(file, "holds no PEM certificate".into())),
                Ok(found) => Ok(found),
                Err(error) => Err(bad(file, format!("cannot be read as PEM certificates: {error}"))),
            }
        };
        let mut roots = rustls::RootCertStore::empty();
        for certificate in certificates(&self.ca)? {
            roots.add(certificate).map_err(|e| bad(&self.ca, format!("holds an unusable authority: {e}")))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| bad(&self.ca, e.to_string()))?
            .with_root_certificates(roots);
        let config = match (&self.certificate, &self.key) {
            (Some(certificate), Some(key_file)) => {
                let chain = certificates(certificate)?;
                let key = PrivateKeyDer::from_pem_file(key_file)
                    .map_err(|e| bad(key_file, format!("cannot be read as a PEM private key: {e}")))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|e| bad(certificate, format!("does not go with {}: {e}", key_file.display())))?
            }
            _ => builder.with_no_client_auth(),
        };
        Ok(Arc::new(config))
    }
}

impl<'de> Deserialize<'de> for Tls {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Tls;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("`tls: { ca: FILE }`, or `tls: false` for a connection that anybody can read")
            }

            fn visit_bool<E: de::Error>(self, on: bool) -> Result<Tls, E> {
                if on {
                    return Err(E::custom(
                        "`tls: true` does not say whom to trust: write `tls: { ca: FILE }`",
                    ));
                }
                Ok(Tls::Off)
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Tls, A::Error> {
                TlsFiles::deserialize(de::value::MapAccessDeserializer::new(map)).map(Tls::On)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// Where a receiver is and how to speak to it.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// `host:port`.
    pub address: String,
    tls: Option<(TlsFiles, ServerName<'static>)>,
}

/// A connection, in clear or not.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

impl Peer {
    /// Checks the settings of the sink `name` and reads the files that they name, in `folder` where they are relative.
    pub fn new(name: &str, address: String, tls: Tls, folder: &Path) -> Result<Self, ConfigError> {
        let bad = |problem: String| ConfigError::Setting { sink: name.into(), problem };
        let host = host_of(&address).ok_or_else(|| {
            bad(format!("`address: {address}` is not host:port, such as siem.fab.example:2514"))
        })?;
        let Tls::On(files) = tls else { return Ok(Self { address, tls: None }) };
        let files = files.within(folder);
        if files.certificate.is_some() != files.key.is_some() {
            return Err(bad("`tls.certificate` and `tls.key` belong together".into()));
        }
        let text = files.server_name.clone().unwrap_or(host);
        let server_name = ServerName::try_from(text.clone()).map_err(|_| {
            bad(format!("`{text}` is neither a host name nor an address; set `tls.server_name`"))
        })?;
        // Read now, so that a missing file is found at start; and again at each connection, so
        // that renewed certificates need no restart.
        files.client()?;
        Ok(Self { address, tls: Some((files, server_name)) })
    }

    /// Whether it is spoken to over TLS.
    pub fn is_tls(&self) -> bool {
        self.tls.is_some()
    }

    /// Connects and shakes hands.
    pub async fn connect(&self) -> Result<Box<dyn Stream>, SinkError> {
        let refused = |cause| SinkError::Connect { address: self.address.clone(), cause };
        let tcp = timeout(PATIENCE, TcpStream::connect(&self.address))
            .await
            .map_err(|_| self.late("connecting"))?
            .map_err(refused)?;
        tcp.set_nodelay(true).map_err(refused)?;
        let Some((files, server_name)) = &self.tls else { return Ok(Box::new(tcp)) };
        let connector = TlsConnector::from(files.client()?);
        let stream = timeout(PATIENCE, connector.connect(server_name.clone(), tcp))
            .await
            .map_err(|_| self.late("shaking hands"))?
            .map_err(|cause| SinkError::Tls { address: self.address.clone(), cause })?;
        Ok(Box::new(stream))
    }

    /// Writes all of it, within [`PATIENCE`]; `what` the receiver did not do otherwise.
    pub async fn write(
        &self,
        stream: &mut dyn Stream,
        bytes: &[u8],
        what: &'static str,
    ) -> Result<(), SinkError> {
        let written = timeout(PATIENCE, async {
            stream.write_all(bytes).await?;
            stream.flush().await
        });
        match written.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(cause)) => Err(self.broken(&cause)),
            Err(_) => Err(self.late(what)),
        }
    }

    /// Closes this side, within [`PATIENCE`].
    pub async fn close(&self, stream: &mut dyn Stream) -> Result<(), SinkError> {
        match timeout(PATIENCE, stream.shutdown()).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(cause)) => Err(self.broken(&cause)),
            Err(_) => Err(self.late("closing the connection")),
        }
    }

    /// The receiver ended the connection.
    pub fn closed(&self) -> SinkError {
        SinkError::Closed { address: self.address.clone(), cause: "the receiver closed it".into() }
    }

    /// What an error of the connection means. With TLS 1.3 a receiver refuses a certificate after
    /// the handshake, in an alert.
    pub fn broken(&self, cause: &std::io::Error) -> SinkError {
        let refusal = cause.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
        let address = self.address.clone();
        match refusal {
            Some(refusal) if self.is_tls() => {
                SinkError::Tls { address, cause: std::io::Error::other(refusal.clone()) }
            }
            _ => SinkError::Closed { address, cause: cause.to_string() },
        }
    }

    /// The receiver did not do `what` within [`PATIENCE`].
    pub fn late(&self, what: &'static str) -> SinkError {
        SinkError::Timeout { address: self.address.clone(), seconds: PATIENCE.as_secs(), what }
    }
}

/// The host of `host:port`.
pub(crate) fn host_of(address: &str) -> Option<String> {
    let (host, port) = address.rsplit_once(':')?;
    let port: u16 = port.parse().ok()?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']')?,
        None => host,
    };
    (port > 0 && !host.is_empty()).then(|| host.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_a_host_and_a_port() {
        assert_eq!(host_of("siem:2514").as_deref(), Some("siem"));
        assert_eq!(host_of("[::1]:2514").as_deref(), Some("::1"));
        for wrong in ["siem", ":1", "siem:0", "siem:x", "[::1:2514", "siem:65536"] {
            assert_eq!(host_of(wrong), None, "{wrong}");
        }
    }
}
