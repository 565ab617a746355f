//! Datagrams and streams, on their way to the collector's thread.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use yagura_door::{Door, Fresh, Stream, stopped};
use yagura_event::clock::{self, Micros};

use super::frames::{Frame, Frames};
use crate::complaints::Complaints;
use crate::feed::Feed;

/// Read in one step, in bytes.
const READ_BYTES: usize = 64 << 10;

/// Datagrams are handed on in batches of about so many bytes.
const BATCH_BYTES: usize = 256 << 10;

/// Read of a connection after everything is to stop, in steps: what had come before.
const LAST_READS: usize = 64;

/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);

/// How long to wait after an error that may last.
const PAUSE: Duration = Duration::from_millis(100);

/// Messages that came together.
pub(super) struct Batch {
    bytes: Vec<u8>,
    messages: Vec<Part>,
    pub(super) received: Micros,
    /// Counts the messages of batches that are dropped.
    lost: Arc<AtomicU64>,
}

struct Part {
    end: u32,
    cut: bool,
    peer: IpAddr,
}

impl Batch {
    pub(super) fn new(lost: &Arc<AtomicU64>) -> Self {
        Batch { bytes: Vec::new(), messages: Vec::new(), received: clock::now(), lost: Arc::clone(lost) }
    }

    pub(super) fn add(&mut self, message: &[u8], cut: bool, peer: IpAddr) {
        self.bytes.extend_from_slice(message);
        self.messages.push(Part { end: self.bytes.len() as u32, cut, peer });
    }

    /// Calls `each` with every message; none of them is lost any more.
    pub(super) fn consume(mut self, mut each: impl FnMut(&[u8], bool, IpAddr)) {
        let mut begin = 0;
        for part in std::mem::take(&mut self.messages) {
            let end = part.end as usize;
            each(&self.bytes[begin..end], part.cut, part.peer);
            begin = end;
        }
    }

    /// What it holds of memory.
    fn cost(&self) -> usize {
        self.bytes.capacity() + self.messages.capacity() * size_of::<Part>()
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        self.lost.fetch_add(self.messages.len() as u64, Ordering::Relaxed);
    }
}

/// What all listeners share.
pub(super) struct Shared {
    pub(super) message_max: usize,
    pub(super) connections: usize,
    pub(super) complaints: Arc<Complaints>,
    pub(super) lost: Arc<AtomicU64>,
}

impl Shared {
    fn complain(&self, peer: SocketAddr, what: impl FnOnce() -> String) {
        self.complaints.add(&peer.ip().to_canonical().to_string(), what);
    }
}

/// Reads datagrams; where the collector does not keep up the oldest go.
pub(super) async fn datagrams(
    shared: Arc<Shared>,
    feed: Feed<Batch>,
    socket: UdpSocket,
    mut stop: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; READ_BYTES];
    let mut go_on = true;
    while go_on {
        tokio::select! {
            readable = socket.readable() => if readable.is_err() {
                tokio::time::sleep(PAUSE).await;
            },
            () = stopped(&mut stop) => go_on = false,
        }
        // What came before the stop is read, in bounds.
        for _ in 0..if go_on { 1 } else { LAST_READS } {
            let batch = received(&shared, &socket, &mut buffer);
            if batch.messages.is_empty() {
                break;
            }
            let cost = batch.cost();
            feed.send_or_drop(batch, cost);
        }
    }
}

/// The datagrams that are there, up to a batch.
fn received(shared: &Shared, socket: &UdpSocket, buffer: &mut [u8]) -> Batch {
    let mut batch = Batch::new(&shared.lost);
    while batch.bytes.len() < BATCH_BYTES {
        match socket.try_recv_from(buffer) {
            Ok((got, peer)) => {
                let kept = &buffer[..got.min(shared.message_max)];
                batch.add(kept, kept.len() < got, peer.ip().to_canonical());
            }
            Err(e) if e.kind() == ErrorKind::WouldBlock => break,
            Err(cause) => {
                tracing::warn!(%cause, "a datagram could not be read");
                break;
            }
        }
    }
    batch
}

/// Takes connections until it is told to stop.
pub(super) async fn connections(
    shared: Arc<Shared>,
    feed: Feed<Batch>,
    listener: TcpListener,
    tls: Option<Fresh<TlsAcceptor>>,
    stop: watch::Receiver<bool>,
) {
    let door = Door { listener, tls, connections: shared.connections, handshake: HANDSHAKE };
    let complaining = Arc::clone(&shared);
    let complain = move |peer, what| complaining.complain(peer, || what);
    let stopping = stop.clone();
    let serve =
        move |stream, peer| messages(Arc::clone(&shared), feed.clone(), stream, peer, stopping.clone());
    door.open(stop, complain, serve).await;
}

/// Reads one stream; waits while the collector has no room.
async fn messages(
    shared: Arc<Shared>,
    feed: Feed<Batch>,
    mut stream: Box<dyn Stream>,
    peer: SocketAddr,
    mut stop: watch::Receiver<bool>,
) {
    let ip = peer.ip().to_canonical();
    let mut frames = Frames::new(shared.message_max);
    let mut buffer = vec![0; READ_BYTES];
    let mut left = LAST_READS;
    loop {
        if *stop.borrow() {
            left = left.saturating_sub(1);
        }
        let got = tokio::select! {
            biased;
            () = std::future::ready(()), if left == 0 => Ok(0),
            got = stream.read(&mut buffer) => got,
            () = stopped(&mut stop) => Ok(0),
        };
        let got = match got {
            Ok(got) => got,
            Err(e) => {
                shared.complain(peer, || format!("the connection broke: {e}"));
                0
            }
        };
        frames.push(&buffer[..got]);
        let mut batch = Batch::new(&shared.lost);
        let mut add = |frame: Frame<'_>| match frame {
            Frame::Message(message) => batch.add(message, false, ip),
            Frame::Cut(message) => batch.add(message, true, ip),
        };
        while let Some(frame) = frames.next() {
            add(frame);
        }
        if got == 0
            && let Some(frame) = frames.rest()
        {
            add(frame);
        }
        let cost = batch.cost();
        if !batch.messages.is_empty() && feed.send(batch, cost).await.is_err() {
            return;
        }
        if got == 0 {
            return;
        }
    }
}

/// Datagrams that the kernel dropped at a port so far, since nobody read them in time; `None` where it does not say.
pub(super) fn kernel_drops(port: u16) -> Option<u64> {
    let port = format!(":{port:04X}");
    let mut all = None;
    for table in ["/proc/net/udp", "/proc/net/udp6"] {
        let Ok(text) = std::fs::read_to_string(table) else { continue };
        for line in text.lines().skip(1) {
            let mut fields = line.split_ascii_whitespace();
            let own = fields.nth(1).is_some_and(|address| address.ends_with(&port));
            if own && let Some(drops) = fields.next_back().and_then(|drops| drops.parse::<u64>().ok()) {
                all = Some(all.unwrap_or(0) + drops);
            }
        }
    }
    all
}
