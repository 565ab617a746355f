//! Taking connections: so many at a time, in TLS where that is wanted, until everything is to stop.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::fresh::Fresh;

/// How long to wait where no connection can be taken, as for want of file descriptors.
const PAUSE: Duration = Duration::from_millis(100);

/// A connection, with TLS or without.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Where connections come in.
pub struct Door {
    /// The port.
    pub listener: TcpListener,
    /// TLS; none without it.
    pub tls: Option<Fresh<TlsAcceptor>>,
    /// How many connections at a time; further ones wait to be taken.
    pub connections: usize,
    /// How long a TLS handshake may take.
    pub handshake: Duration,
}

impl Door {
    /// Takes connections until `stop` is set and serves each on a task of its own; `complain` is told of handshakes
    /// that failed.
    pub async fn open<F, S>(
        self,
        stop: watch::Receiver<bool>,
        complain: impl Fn(SocketAddr, String) + Clone + Send + 'static,
        serve: F,
    ) where
        F: Fn(Box<dyn Stream>, SocketAddr) -> S + Clone + Send + 'static,
        S: Future<Output = ()> + Send + 'static,
    {
        let (tls, handshake) = (self.tls, self.handshake);
        let greet = move |stream, peer| {
            let (tls, complain, serve) = (tls.as_ref().map(Fresh::get), complain.clone(), serve.clone());
            async move {
                match tls {
                    None => serve(Box::new(stream), peer).await,
                    Some(tls) => match timeout(handshake, tls.accept(stream)).await {
                        Ok(Ok(stream)) => serve(Box::new(stream), peer).await,
                        Ok(Err(e)) => complain(peer, format!("TLS: {e}")),
                        Err(_) => complain(peer, "TLS: the handshake took too long".into()),
                    },
                }
            }
        };
        take(self.listener, self.connections, stop, greet).await;
    }
}

/// Takes so many connections at a time until `stop` is set and serves each on a task of its own: for protocols that
/// begin TLS themselves.
pub async fn take<F, S>(listener: TcpListener, connections: usize, mut stop: watch::Receiver<bool>, serve: F)
where
    F: Fn(TcpStream, SocketAddr) -> S,
    S: Future<Output = ()> + Send + 'static,
{
    let room = Arc::new(Semaphore::new(connections));
    loop {
        let next = async {
            let place = Arc::clone(&room).acquire_owned().await.ok()?;
            Some((listener.accept().await, place))
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
        let served = serve(stream, peer);
        tokio::spawn(async move {
            let _place = place;
            served.await;
        });
    }
}

/// Waits until everything is to stop.
pub async fn stopped(stop: &mut watch::Receiver<bool>) {
    let _ = stop.wait_for(|stop| *stop).await;
}
