//! A small HTTP server of the tests' own.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::HeaderMap;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;
use yagura_testkit::certificates::Certificates;

/// A request as the server saw it.
pub struct Seen {
    pub path: String,
    pub headers: HeaderMap,
    pub body: String,
}

impl Seen {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
    }
}

type Handler = Arc<dyn Fn(&Seen) -> (u16, String) + Send + Sync>;

/// Serves `handler`; over TLS with a client of the same authority, where there are certificates.
pub async fn serve(
    certificates: Option<&Certificates>,
    handler: impl Fn(&Seen) -> (u16, String) + Send + Sync + 'static,
) -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    let (handler, acceptor): (Handler, _) = (Arc::new(handler), certificates.map(acceptor));
    tokio::spawn(async move {
        while let Ok((tcp, _)) = listener.accept().await {
            let (handler, acceptor) = (Arc::clone(&handler), acceptor.clone());
            tokio::spawn(async move {
                let service = service_fn(move |request| answer(Arc::clone(&handler), request));
                let server = hyper::server::conn::http1::Builder::new();
                // Connections that are refused or that break are what some tests are about.
                match acceptor {
                    Some(acceptor) => {
                        let Ok(tls) = acceptor.accept(tcp).await else { return };
                        let _ = server.serve_connection(TokioIo::new(tls), service).await;
                    }
                    None => {
                        let _ = server.serve_connection(TokioIo::new(tcp), service).await;
                    }
                }
            });
        }
    });
    address
}

async fn answer(handler: Handler, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let (parts, body) = request.into_parts();
    assert_eq!(parts.method, "POST");
    let body = String::from_utf8(body.collect().await?.to_bytes().to_vec()).expect("UTF-8");
    let path = parts.uri.path_and_query().map(ToString::to_string).unwrap_or_default();
    let (status, body) = handler(&Seen { path, headers: parts.headers, body });
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status.try_into().expect("a status");
    Ok(response)
}

fn acceptor(certificates: &Certificates) -> TlsAcceptor {
    let read = |name: &str| CertificateDer::from_pem_file(certificates.file(name)).expect(name);
    let mut roots = rustls::RootCertStore::empty();
    roots.add(read("ca.pem")).expect("an authority");
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier =
        rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
    let key = PrivateKeyDer::from_pem_file(certificates.file("localhost.key")).expect("a key");
    let config = rustls::ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_client_cert_verifier(verifier.build().expect("a verifier"))
        .with_single_cert(vec![read("localhost.pem")], key)
        .expect("a certificate");
    TlsAcceptor::from(Arc::new(config))
}

/// A file with a secret.
pub fn secret(folder: &Path, text: &str) -> String {
    let file = folder.join("secret");
    std::fs::write(&file, text).expect("written");
    file.display().to_string()
}
