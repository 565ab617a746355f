//! Taking connections: so many at a time, in TLS where that is wanted, until everything is to stop.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::fresh::Fresh;
use crate::source::SourceError;

/// How long to wait where no connection can be taken, as for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection, with TLS or without.
pub(crate) trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Where connections come in.
pub(crate) struct Door {
    pub(crate) listener: TcpListener,
    pub(crate) tls: Option<Fresh<TlsAcceptor>>,
    /// How many connections at a time; further ones wait to be taken.
    pub(crate) connections: usize,
    /// How long a TLS handshake may take.
    pub(crate) handshake: Duration,
}

impl Door {
    /// Takes connections until `stop` is set and serves each on a task of its own; `complain` is told of handshakes
    /// that failed.
    pub(crate) async fn open<F, S>(
        self,
        mut stop: watch::Receiver<bool>,
        complain: impl Fn(SocketAddr, String) + Clone + Send + 'static,
        serve: F,
    ) where
        F: Fn(Box<dyn Stream>, SocketAddr) -> S + Clone + Send + 'static,
        S: Future<Output = ()> + Send,
    {
        let room = Arc::new(Semaphore::new(self.connections));
        loop {
            let next = async {
                let place = Arc::clone(&room).acquire_owned().await.ok()?;
                Some((self.listener.accept().await, place))
            };
            let accepted = tokio::select! {
                accepted = next => accepted,
                () = stopped(&mut stop) => return,
            };
            let (stream, peer, place) = match accepted {
                Some((Ok((stream, peer)), place)) => (stream, peer, place),
                Some((Err(cause), _)) => {
                    tracing::warn!(%cause, "a connection could not be taken");
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
                None => return,
            };
            // A peer that has vanished gives its place back; small answers do not wait. Neither is needed to serve.
            let _ = rustix::net::sockopt::set_socket_keepalive(&stream, true);
            let _ = stream.set_nodelay(true);
            let (tls, handshake) = (self.tls.as_ref().map(Fresh::get), self.handshake);
            let (complain, serve) = (complain.clone(), serve.clone());
            tokio::spawn(async move {
                let _place = place;
                match tls {
                    None => serve(Box::new(stream), peer).await,
                    Some(tls) => match timeout(handshake, tls.accept(stream)).await {
                        Ok(Ok(stream)) => serve(Box::new(stream), peer).await,
                        Ok(Err(e)) => complain(peer, format!("TLS: {e}")),
                        Err(_) => complain(peer, "TLS: the handshake took too long".into()),
                    },
                }
            });
        }
    }
}

/// Waits until everything is to stop.
pub(crate) async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}

/// Listens for connections.
pub(crate) fn bind(address: SocketAddr) -> Result<std::net::TcpListener, SourceError> {
    let bound = std::net::TcpListener::bind(address)
        .and_then(|listener| listener.set_nonblocking(true).map(|()| listener));
    bound.map_err(|e| cannot_listen(address, &e))
}

/// Why nothing can be received at an address of this machine.
pub(crate) fn cannot_listen(address: SocketAddr, cause: &io::Error) -> SourceError {
    SourceError::Peer {
        peer: address.to_string(),
        cause: format!("cannot listen: {cause}"),
        remedy: "stop what listens there, give another address of this machine, or, for a port below 1024, the capability cap_net_bind_service".into(),
    }
}
