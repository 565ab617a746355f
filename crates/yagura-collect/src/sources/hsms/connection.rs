//! One equipment's connection on tokio: connects or accepts, frames, keeps the session, and hands everything over.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::time::timeout;
use yagura_dissect::hsms::{HEADER, Header, PREFIX};
use yagura_event::clock::{self, Micros};

use super::replies::Reply;
use super::session::{Note, Session, Terms};
use crate::backoff::Backoff;
use crate::feed::Feed;

/// The longest pause between two attempts to connect.
const PAUSE_MAX: Duration = Duration::from_secs(120);

/// Bytes read at once from a connection that has little to say, and from one that has much.
const READ_BYTES: usize = 4 << 10;
const READ_BYTES_MAX: usize = 64 << 10;

/// Messages that are larger than this wait for their share of [`Shared::large`] before they are read.
const LARGE_BYTES: usize = 64 << 10;

/// Pieces of replies that wait to be written on one connection.
const OUTBOX: usize = 64;

/// What comes from the connections to the collector's thread.
pub struct Piece {
    /// Which equipment.
    pub tool: usize,
    /// When it was received.
    pub time: Micros,
    /// What.
    pub what: What,
}

/// See [`Piece`].
pub enum What {
    /// A connection stands: its ends, and where replies go.
    Connected { client: SocketAddr, server: SocketAddr, outbox: mpsc::Sender<Vec<u8>> },
    /// The session stands.
    Selected,
    /// Whole frames of one side, with the replies that wait until their rows are durable.
    Frames { from_tool: bool, bytes: Bytes, replies: Vec<(Header, Reply)> },
    /// Something is told.
    Note(Note),
    /// Bytes that are no frame.
    Malformed(String),
    /// There is no connection, or none any more.
    Down(String),
}

/// What all connections of a collector share.
pub struct Shared {
    /// Where pieces go.
    pub feed: Feed<Piece>,
    /// Told when everything ends.
    pub stop: watch::Receiver<bool>,
    /// KiB of large messages that may be read at a time.
    pub large: Semaphore,
    /// The largest message that is read.
    pub message_bytes_max: usize,
    /// Connections that live.
    pub alive: AtomicUsize,
}

/// One equipment's end.
pub struct Connection {
    pub tool: usize,
    pub terms: Arc<Terms>,
    /// Where it is, unless it connects.
    pub address: String,
    pub shared: Arc<Shared>,
}

/// Why a connection does not go on.
enum End {
    /// Everything ends.
    Stop,
    /// It broke.
    Broken(String),
}

impl From<String> for End {
    fn from(cause: String) -> Self {
        End::Broken(cause)
    }
}

impl Connection {
    /// Keeps the connection until everything ends.
    pub async fn keep(self, listener: Option<TcpListener>) {
        self.shared.alive.fetch_add(1, Ordering::Relaxed);
        match listener {
            Some(listener) => self.accept(listener).await,
            None => self.connect().await,
        }
        self.shared.alive.fetch_sub(1, Ordering::Relaxed);
    }

    async fn connect(&self) {
        let t5 = self.terms.timers.t5.duration();
        // Pauses are shortened by up to half: none is shorter than T5.
        let mut pauses = Backoff::new(t5 * 2, PAUSE_MAX.max(t5 * 2));
        let mut stop = self.shared.stop.clone();
        loop {
            let tried = tokio::select! {
                tried = timeout(t5.max(Duration::from_secs(1)), TcpStream::connect(&self.address)) => tried,
                () = stopped(&mut stop) => return,
            };
            let cause = match tried {
                Ok(Ok(stream)) => match self.serve(stream, &mut pauses).await {
                    End::Stop => return,
                    End::Broken(cause) => cause,
                },
                Ok(Err(cause)) => format!("{}: {cause}", self.address),
                Err(_) => format!("{}: no answer to the attempt to connect", self.address),
            };
            if self.tell(What::Down(cause)).await.is_err() {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep(pauses.pause()) => {}
                () = stopped(&mut stop) => return,
            }
        }
    }

    async fn accept(&self, listener: TcpListener) {
        let mut stop = self.shared.stop.clone();
        let mut pauses = Backoff::new(Duration::from_millis(100), Duration::from_secs(5));
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = stopped(&mut stop) => return,
            };
            let Ok((stream, _)) = accepted else {
                // No more files may be open: others may close some.
                tokio::time::sleep(pauses.pause()).await;
                continue;
            };
            let mut session = std::pin::pin!(self.serve(stream, &mut pauses));
            let end = loop {
                tokio::select! {
                    end = &mut session => break end,
                    Ok((extra, peer)) = listener.accept() => {
                        drop(extra);
                        let text = format!("{peer} connected while the equipment has a connection; it was closed");
                        if self.tell(What::Note(Note { event: "second_connection", text })).await.is_err() {
                            return;
                        }
                    }
                }
            };
            match end {
                End::Stop => return,
                End::Broken(cause) => {
                    if self.tell(What::Down(cause)).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    /// Hands something over that is not made of bytes.
    async fn tell(&self, what: What) -> Result<(), End> {
        let piece = Piece { tool: self.tool, time: clock::now(), what };
        self.shared.feed.send(piece, 128).await.map_err(|_| End::Stop)
    }

    async fn serve(&self, stream: TcpStream, pauses: &mut Backoff) -> End {
        match self.talk(stream, pauses).await {
            Ok(()) => End::Stop,
            Err(end) => end,
        }
    }

    async fn talk(&self, mut stream: TcpStream, pauses: &mut Backoff) -> Result<(), End> {
        let lost = |e: std::io::Error| End::Broken(format!("the connection broke: {e}"));
        let (own, peer) = (stream.local_addr().map_err(lost)?, stream.peer_addr().map_err(lost)?);
        stream.set_nodelay(true).map_err(lost)?;
        let (client, server) = if self.terms.passive { (peer, own) } else { (own, peer) };
        let (outbox, mut replies) = mpsc::channel(OUTBOX);
        self.tell(What::Connected { client, server, outbox }).await?;
        let mut stop = self.shared.stop.clone();
        let mut session = Session::new(&self.terms, fastrand::u32(..), clock::steady());
        let mut buffer = BytesMut::new();
        let mut large = None;
        let mut heard = clock::steady();
        let mut read_at_once = READ_BYTES;
        let t8 = self.terms.timers.t8.0;
        loop {
            let now = clock::steady();
            if now >= session.due() {
                session.tick(now)?;
                self.notes(&mut session).await?;
            }
            self.write(&mut stream, &mut session).await?;
            let missing = self.missing(&buffer).await?;
            if missing > LARGE_BYTES && large.is_none() {
                let kib = (missing >> 10) as u32;
                large = self.shared.large.acquire_many(kib).await.ok();
            }
            buffer.reserve(missing.clamp(read_at_once, READ_BYTES_MAX));
            let due = match buffer.is_empty() {
                true => session.due(),
                false => session.due().min(heard + t8),
            };
            let wait = Duration::from_micros((due - clock::steady()).clamp(0, 3_600_000_000) as u64);
            tokio::select! {
                biased;
                bytes = replies.recv() => match bytes {
                    Some(bytes) => self.send(&mut stream, &bytes).await?,
                    None => return Err(End::Broken("replies could not be sent fast enough".into())),
                },
                () = stopped(&mut stop) => {
                    session.end();
                    // Whether it arrives changes nothing any more.
                    let _ = timeout(Duration::from_secs(1), stream.write_all(&session.out)).await;
                    let _ = stream.shutdown().await;
                    return Ok(());
                }
                read = stream.read_buf(&mut buffer) => {
                    let n = read.map_err(lost)?;
                    if n == 0 {
                        return Err(End::Broken("the equipment closed the connection".into()));
                    }
                    read_at_once = if n >= read_at_once { READ_BYTES_MAX } else { READ_BYTES };
                    let was = session.selected;
                    self.took(&mut session, &mut buffer).await?;
                    heard = clock::steady();
                    if session.selected && !was {
                        pauses.reset();
                        self.tell(What::Selected).await?;
                    }
                    if buffer.len() < LARGE_BYTES {
                        large = None;
                    }
                }
                () = tokio::time::sleep(wait) => {
                    if !buffer.is_empty() && clock::steady() >= heard + t8 {
                        return Err(End::Broken("a message stopped in its middle for longer than T8".into()));
                    }
                }
            }
        }
    }

    /// How many bytes of the message that the buffer begins with are missing.
    async fn missing(&self, buffer: &BytesMut) -> Result<usize, End> {
        let Some(prefix) = buffer.first_chunk::<PREFIX>() else { return Ok(PREFIX) };
        let length = u32::from_be_bytes(*prefix) as usize;
        if !(HEADER..=self.shared.message_bytes_max).contains(&length) {
            let max = self.shared.message_bytes_max;
            let text = format!("a message claims to have {length} bytes; it may have {HEADER} to {max}");
            self.tell(What::Malformed(text)).await?;
            return Err(End::Broken("what came is no HSMS; the connection was closed".into()));
        }
        Ok((PREFIX + length).saturating_sub(buffer.len()))
    }

    /// Takes the whole frames out of the buffer.
    async fn took(&self, session: &mut Session, buffer: &mut BytesMut) -> Result<(), End> {
        let now = clock::steady();
        let mut whole = 0;
        let mut end = Ok(());
        while end.is_ok()
            && let Some(prefix) = buffer[whole..].first_chunk::<PREFIX>()
        {
            let length = u32::from_be_bytes(*prefix) as usize;
            if !(HEADER..=self.shared.message_bytes_max).contains(&length) {
                break;
            }
            let Some(frame) = buffer[whole + PREFIX..].get(..length) else { break };
            let Some((header, text)) = frame.split_first_chunk::<HEADER>() else { break };
            end = session.take(now, Header::of(header), text);
            whole += PREFIX + length;
        }
        if whole > 0 {
            let bytes = buffer.split_to(whole).freeze();
            let replies = std::mem::take(&mut session.waiting);
            let piece = What::Frames { from_tool: true, bytes, replies };
            let size = whole + 128;
            let before = clock::steady();
            let piece = Piece { tool: self.tool, time: clock::now(), what: piece };
            self.shared.feed.send(piece, size).await.map_err(|_| End::Stop)?;
            session.held_up(clock::steady() - before);
        }
        self.notes(session).await?;
        Ok(end?)
    }

    async fn notes(&self, session: &mut Session) -> Result<(), End> {
        for note in std::mem::take(&mut session.notes) {
            self.tell(What::Note(note)).await?;
        }
        Ok(())
    }

    /// Sends what the session has to say, and hands it over as the wire would show it.
    async fn write(&self, stream: &mut TcpStream, session: &mut Session) -> Result<(), End> {
        if session.out.is_empty() {
            return Ok(());
        }
        let bytes = Bytes::from(std::mem::take(&mut session.out));
        self.send(stream, &bytes).await?;
        let size = bytes.len() + 128;
        let what = What::Frames { from_tool: false, bytes, replies: Vec::new() };
        let piece = Piece { tool: self.tool, time: clock::now(), what };
        self.shared.feed.send(piece, size).await.map_err(|_| End::Stop)
    }

    async fn send(&self, stream: &mut TcpStream, bytes: &[u8]) -> Result<(), End> {
        match timeout(self.terms.timers.t6.duration(), stream.write_all(bytes)).await {
            Ok(written) => written.map_err(|e| End::Broken(format!("the connection broke: {e}"))),
            Err(_) => Err(End::Broken("the equipment reads nothing".into())),
        }
    }
}

/// Returns when everything ends.
async fn stopped(stop: &mut watch::Receiver<bool>) {
    // An error says that the source is gone.
    let _ = stop.wait_for(|stop| *stop).await;
}
