//! Syslog: RFC 5424 and RFC 3164 in datagrams, over TCP (RFC 6587) and over TLS (RFC 5425).
//!
//! Whatever a message is, it becomes a `log` row. TCP is pushed back while the log does not take rows; of datagrams
//! the oldest go, and are counted with those that the kernel dropped. Syslog acknowledges nothing: what was in a
//! connection's buffers when a collector is killed is lost to it, so senders that must not lose anything send RELP
//! to a relay that keeps its queue on disk.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::FixedOffset;
use serde::Deserialize;
use tokio::net::{TcpListener, UdpSocket};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use yagura_door::{Fresh, ServerTls};
use yagura_event::amounts::{Bytes, Time};
use yagura_event::clock::{self, Micros, SECOND};
use yagura_event::vocabulary::coverage;

use self::listen::{Batch, Shared};
use self::message::Rows;
use crate::feed::{Feed, Outlet, feed};
use crate::places::{PlacedSink, Places};
use crate::reports::Reports;
use crate::source::{LiveSource, Opened, Opening, Seen, Settings, SourceError};
use crate::source::{bind, cannot_listen};

mod frames;
mod listen;
mod message;
mod parse;

/// Settings of `kind: syslog`. At least one of `udp`, `tcp` and `tls_listen` says where it listens.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SyslogSettings {
    /// Where datagrams are received: `0.0.0.0:514`.
    #[serde(default)]
    udp: Option<SocketAddr>,
    /// Where connections are taken: `0.0.0.0:601`.
    #[serde(default)]
    tcp: Option<SocketAddr>,
    /// Where encrypted connections are taken: `0.0.0.0:6514`.
    #[serde(default)]
    tls_listen: Option<SocketAddr>,
    /// Their certificates.
    #[serde(default)]
    tls: Option<ServerTls>,
    /// The zone of times that have none, as RFC 3164's: `+09:00`. UTC unless told.
    #[serde(default)]
    zone: Option<String>,
    /// Senders that pass on what others wrote. Of their messages the host's name alone says which tool it is.
    #[serde(default)]
    relays: Vec<IpAddr>,
    /// The longest message; of a longer one the beginning is kept.
    #[serde(default = "message_default")]
    message: Bytes,
    /// What may wait of datagrams, and as much of streams.
    #[serde(default = "queue_default")]
    queue: Bytes,
    /// What the kernel may keep of datagrams; it may allow less (`net.core.rmem_max`).
    #[serde(default = "receive_buffer_default")]
    receive_buffer: Bytes,
    /// How many connections at a time; further ones wait to be taken.
    #[serde(default = "connections_default")]
    connections: usize,
    /// A sender's clock that is farther away from the collector's is told.
    #[serde(default = "skew_default")]
    skew: Time,
    /// Rows are handed to the log after this time.
    #[serde(default = "batch_default")]
    batch: Time,
    /// After how long without a message the source is called silent.
    #[serde(default)]
    silence: Option<Time>,
}

fn message_default() -> Bytes {
    Bytes(64 << 10)
}

fn queue_default() -> Bytes {
    Bytes(64 << 20)
}

fn receive_buffer_default() -> Bytes {
    Bytes(8 << 20)
}

fn connections_default() -> usize {
    1024
}

fn skew_default() -> Time {
    Time(300 * SECOND)
}

fn batch_default() -> Time {
    Time(SECOND / 2)
}

/// The longest message that settings may allow, in bytes.
const MESSAGE_MAX: u64 = 16 << 20;

/// Taken from a queue in one step, in bytes.
const STEP_BYTES: usize = 4 << 20;

/// How long one queue is waited for while there is another.
const SLICE: Duration = Duration::from_millis(10);

/// Senders whose clocks are known to be far away, at a time.
const SKEWED_MAX: usize = 4096;

impl Settings for SyslogSettings {
    const KIND: &'static str = "syslog";
    const READS: &'static str = "syslog, RFC 5424 and 3164, over UDP, TCP and TLS";

    fn open(self, at: &Opening<'_>) -> Result<Opened, SourceError> {
        Ok(Opened::Live(Box::new(Syslog::open(self, at)?)))
    }

    fn probe(self, at: &Opening<'_>) -> Result<String, SourceError> {
        let source = Syslog::open(self, at)?;
        let sockets = source.sockets()?;
        drop(sockets);
        Ok(format!("can listen on {}", source.reports.subject()))
    }
}

struct Syslog {
    collector: String,
    udp: Option<SocketAddr>,
    tcp: Option<SocketAddr>,
    tls: Option<(SocketAddr, Fresh<TlsAcceptor>)>,
    receive_buffer: usize,
    skew: Micros,
    batch: Micros,
    runtime: tokio::runtime::Handle,
    shared: Arc<Shared>,
    datagrams: (Feed<Batch>, Outlet<Batch>),
    streams: (Feed<Batch>, Outlet<Batch>),
    stop: watch::Sender<bool>,
    taken: Vec<Batch>,
    rows: Rows,
    skewed: BTreeSet<IpAddr>,
    reports: Reports,
    begun: bool,
    /// What `advance` answered last.
    now: Micros,
    /// Dropped by the kernel before the start, and when that was looked at last.
    kernel: (u64, Micros),
    dropped: u64,
}

/// What is listened on.
struct Sockets {
    udp: Option<std::net::UdpSocket>,
    tcp: Option<std::net::TcpListener>,
    tls: Option<std::net::TcpListener>,
}

impl Syslog {
    fn open(settings: SyslogSettings, at: &Opening<'_>) -> Result<Self, SourceError> {
        let tls = match (settings.tls_listen, &settings.tls) {
            (Some(address), Some(tls)) => {
                Some((address, tls.acceptor(at.folder).map_err(|problem| at.unusable(problem))?))
            }
            (None, None) => None,
            _ => {
                return Err(
                    at.wrong("`tls_listen` and `tls` belong together: an address and its certificates")
                );
            }
        };
        let addresses = [("udp", settings.udp), ("tcp", settings.tcp), ("tls", settings.tls_listen)];
        let listens: Vec<String> =
            addresses.iter().filter_map(|(how, at)| at.map(|at| format!("{how} {at}"))).collect();
        if listens.is_empty() {
            return Err(
                at.wrong("give at least one of `udp`, `tcp` and `tls_listen`, such as `udp: 0.0.0.0:514`")
            );
        }
        if !(480..=MESSAGE_MAX).contains(&settings.message.0) {
            return Err(at.wrong(format!("`message` is 480 B to 16MiB, not {} bytes", settings.message.0)));
        }
        let shared = Shared {
            message_max: settings.message.len(),
            connections: settings.connections.clamp(1, 1 << 20),
            complaints: Arc::default(),
            lost: Arc::new(AtomicU64::new(0)),
        };
        let zone = settings.zone.as_deref().unwrap_or("+00:00");
        let zone: FixedOffset = zone
            .parse()
            .map_err(|_| at.wrong(format!("`zone: {zone}` is no offset from UTC, such as \"+09:00\"")))?;
        Ok(Syslog {
            collector: at.collector.into(),
            udp: settings.udp,
            tcp: settings.tcp,
            tls,
            receive_buffer: settings.receive_buffer.len(),
            skew: settings.skew.0,
            batch: settings.batch.0,
            runtime: at.plant.runtime.clone(),
            shared: Arc::new(shared),
            datagrams: feed(settings.queue.len()),
            streams: feed(settings.queue.len()),
            stop: watch::Sender::new(false),
            taken: Vec::new(),
            rows: Rows::new(&at.plant.assets, zone, settings.relays),
            skewed: BTreeSet::new(),
            reports: Reports::new(&listens.join(", "), settings.silence.map(|silence| silence.0)),
            begun: false,
            now: 0,
            kernel: (0, 0),
            dropped: 0,
        })
    }

    fn sockets(&self) -> Result<Sockets, SourceError> {
        let tcp = |address: Option<SocketAddr>| address.map(bind).transpose();
        let udp = match self.udp {
            None => None,
            Some(address) => {
                let bound = std::net::UdpSocket::bind(address)
                    .and_then(|socket| socket.set_nonblocking(true).map(|()| socket));
                let socket = bound.map_err(|e| cannot_listen(address, &e))?;
                if let Err(cause) =
                    rustix::net::sockopt::set_socket_recv_buffer_size(&socket, self.receive_buffer)
                {
                    tracing::warn!(%cause, "the kernel keeps its own size of the receive buffer");
                }
                Some(socket)
            }
        };
        Ok(Sockets { udp, tcp: tcp(self.tcp)?, tls: tcp(self.tls.as_ref().map(|(address, _)| *address))? })
    }

    /// Takes what is there, or waits for something.
    fn read(&mut self, wait: Duration, out: &mut dyn PlacedSink) -> bool {
        let (datagrams, streams) = (&self.datagrams.1, &self.streams.1);
        datagrams.take(Duration::ZERO, STEP_BYTES, &mut self.taken);
        streams.take(Duration::ZERO, STEP_BYTES, &mut self.taken);
        if self.taken.is_empty() {
            match (self.udp.is_some(), self.tcp.is_some() || self.tls.is_some()) {
                (true, true) => {
                    streams.take(wait.min(SLICE), STEP_BYTES, &mut self.taken);
                    datagrams.take(Duration::ZERO, STEP_BYTES, &mut self.taken);
                }
                (true, false) => datagrams.take(wait, STEP_BYTES, &mut self.taken),
                (false, _) => streams.take(wait, STEP_BYTES, &mut self.taken),
            }
        }
        let some = !self.taken.is_empty();
        if some {
            self.reports.heard(clock::now());
        }
        for batch in std::mem::take(&mut self.taken) {
            self.put_out(batch, out);
        }
        some
    }

    fn put_out(&mut self, batch: Batch, out: &mut dyn PlacedSink) {
        let observed = batch.received.max(self.now);
        let Syslog { rows, skewed, shared, skew, .. } = self;
        batch.consume(|message, cut, peer| {
            let read = rows.put_out(message, cut, peer, observed, out);
            if cut || read.malformed {
                let begin = || String::from_utf8_lossy(&message[..message.len().min(80)]).into_owned();
                shared.complaints.add(&peer.to_string(), || match cut {
                    true => format!(
                        "a message is longer than {} bytes, or broke off: {}",
                        shared.message_max,
                        begin()
                    ),
                    false => format!("a message has no priority: {}", begin()),
                });
            }
            let Some(by) = read.skew else { return };
            if by.abs() <= *skew {
                if !skewed.is_empty() {
                    skewed.remove(&peer);
                }
            } else if skewed.len() < SKEWED_MAX && skewed.insert(peer) {
                tell_skew(peer, by, observed, out);
            }
        });
    }

    /// What was dropped, here and by the kernel.
    fn count(&mut self, now: Micros, look: bool, out: &mut dyn PlacedSink) {
        if let Some(udp) = self.udp
            && look
        {
            let drops = listen::kernel_drops(udp.port()).unwrap_or(self.kernel.0);
            self.dropped += drops.saturating_sub(self.kernel.0);
            self.kernel = (drops, now);
        }
        self.dropped += self.shared.lost.swap(0, Ordering::Relaxed);
        self.reports.dropped(self.dropped, now, "messages that came faster than they were taken", out);
    }
}

fn tell_skew(peer: IpAddr, by: Micros, now: Micros, out: &mut dyn PlacedSink) {
    let detail = format!(
        "its times are {} s {} the collector's clock",
        by.abs() / SECOND,
        if by < 0 { "behind" } else { "ahead of" }
    );
    Reports::new(&peer.to_string(), None).say(coverage::SKEW, (now, now), now, 1, &detail, out);
}

impl LiveSource for Syslog {
    fn collector(&self) -> &str {
        &self.collector
    }

    fn batch(&self) -> Micros {
        self.batch
    }

    fn begin(&mut self, _: &Places, _notes: &Path) -> Result<(), SourceError> {
        let sockets = self.sockets()?;
        let failed = |e: std::io::Error| SourceError::Peer {
            peer: self.reports.subject().into(),
            cause: format!("cannot listen: {e}"),
            remedy: "run it where sockets can be polled".into(),
        };
        let _runtime = self.runtime.enter();
        if let Some(socket) = sockets.udp {
            let socket = UdpSocket::from_std(socket).map_err(failed)?;
            let (shared, feed) = (Arc::clone(&self.shared), self.datagrams.0.clone());
            self.runtime.spawn(listen::datagrams(shared, feed, socket, self.stop.subscribe()));
        }
        let tls = self.tls.as_ref().map(|(_, tls)| tls.clone());
        for (listener, tls) in [(sockets.tcp, None), (sockets.tls, tls)] {
            let Some(listener) = listener else { continue };
            let listener = TcpListener::from_std(listener).map_err(failed)?;
            let (shared, feed) = (Arc::clone(&self.shared), self.streams.0.clone());
            self.runtime.spawn(listen::connections(shared, feed, listener, tls, self.stop.subscribe()));
        }
        Ok(())
    }

    fn advance(&mut self, wait: Duration, out: &mut dyn PlacedSink) -> Micros {
        if !self.begun {
            self.begun = true;
            self.now = clock::now();
            self.reports.up(self.now, "listens", out);
            let drops = self.udp.and_then(|udp| listen::kernel_drops(udp.port()));
            self.kernel = (drops.unwrap_or(0), self.now);
        }
        self.read(wait, out);
        let now = clock::now().max(self.now);
        self.count(now, now - self.kernel.1 >= SECOND, out);
        self.shared.complaints.tell(self.reports.subject(), now, out);
        self.reports.look(now, out);
        self.now = now;
        now
    }

    fn finish(&mut self, out: &mut dyn PlacedSink) {
        // While the socket is there the kernel counts.
        self.count(clock::now().max(self.now), true, out);
        self.stop.send_replace(true);
        // Connections hand over what they have read.
        while self.read(SLICE, out) {}
        self.datagrams.1.close();
        self.streams.1.close();
        self.read(Duration::ZERO, out);
        let now = clock::now().max(self.now);
        self.count(now, false, out);
        self.shared.complaints.finish(self.reports.subject(), now, out);
        self.reports.stop(now, "stopped", out);
    }

    fn seen(&self) -> Seen {
        Seen { dropped: self.dropped, ..Seen::default() }
    }
}

impl Drop for Syslog {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}
