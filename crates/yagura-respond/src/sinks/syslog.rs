//! Syslog over TCP (RFC 6587) and over TLS (RFC 5425): **without guarantee**, for receivers that take
//! nothing better. Neither has acknowledgements: what the kernel had taken when a receiver died is lost, and
//! nobody knows what that was.
//!
//! An alert counts as acknowledged when the kernel has taken it. After a break the last `replay` messages are sent again,
//! which closes the hole where it is smaller than that; the ids tell the repeated ones apart.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::Deserialize;
use tokio::io::AsyncReadExt as _;

use crate::formats::Format;
use crate::message::Message;
use crate::sink::{Answer, Boxed, ConfigError, Connection, Meaning, Sink, SinkError, window_of};
use crate::syslog::Formatter;
use crate::tls::{Peer, Stream, Tls};

/// What users write for a syslog sink.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// `host:port`; 6514 is syslog over TLS.
    address: String,
    /// `{ ca, certificate, key, server_name }`, or `false` for a network that nobody else is on.
    tls: Tls,
    /// How messages are told apart; `octets` without an entry.
    #[serde(default)]
    framing: Framing,
    /// How many of the last messages are sent again after a break; 2048 without an entry, and never more than 16 MiB.
    replay: Option<usize>,
    /// `ocsf` without an entry.
    #[serde(default)]
    format: Format,
    /// How many alerts are handed over at once; 128 without an entry.
    window: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Framing {
    /// The length before each: RFC 5425, section 4.3, and RFC 6587, section 3.4.1.
    #[default]
    Octets,
    /// A line feed behind each: RFC 6587, section 3.4.2, for receivers that cannot count.
    Lines,
}

/// The most that is sent again, in messages and in bytes. The kernels of both sides hold some megabytes.
const REPLAY_MAX: usize = 4096;
const REPLAY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How many are sent again without a setting: more than the kernels hold of alerts of the usual size.
const REPLAY: usize = 2048;

impl super::Settings for Settings {
    const KIND: &'static str = "syslog";

    fn build(self, name: &str, folder: &Path) -> Result<Box<dyn Sink>, ConfigError> {
        let window = window_of(name, self.window)?;
        let replay = self.replay.unwrap_or(REPLAY);
        if replay > REPLAY_MAX {
            let problem = format!("`replay` is at most {REPLAY_MAX}, not {replay}");
            return Err(ConfigError::Setting { sink: name.into(), problem });
        }
        let peer = Peer::new(name, self.address, self.tls, folder)?;
        let last = Arc::new(Last { most: replay, frames: Mutex::default() });
        Ok(Box::new(Syslog {
            peer,
            framing: self.framing,
            last,
            formatter: Formatter::new(self.format),
            window,
        }))
    }
}

struct Syslog {
    peer: Peer,
    framing: Framing,
    last: Arc<Last>,
    formatter: Formatter,
    window: usize,
}

/// The last frames that the kernel took, over all connections.
struct Last {
    most: usize,
    frames: Mutex<Frames>,
}

#[derive(Default)]
struct Frames {
    frames: VecDeque<Vec<u8>>,
    bytes: usize,
}

impl Last {
    fn note(&self, frame: Vec<u8>) {
        let mut held = self.lock();
        held.bytes += frame.len();
        held.frames.push_back(frame);
        while held.frames.len() > self.most || held.bytes > REPLAY_BYTES_MAX {
            let Some(first) = held.frames.pop_front() else { break };
            held.bytes -= first.len();
        }
    }

    fn all(&self) -> Vec<Vec<u8>> {
        self.lock().frames.iter().cloned().collect()
    }

    /// Nothing is missing: a farewell was said in order.
    fn clear(&self) {
        *self.lock() = Frames::default();
    }

    fn lock(&self) -> MutexGuard<'_, Frames> {
        self.frames.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Sink for Syslog {
    fn describe(&self) -> String {
        format!("syslog{}://{}", if self.peer.is_tls() { "+tls" } else { "" }, self.peer.address)
    }

    fn meaning(&self) -> Meaning {
        Meaning::without_guarantee(
            "this machine's kernel has taken it; syslog has no acknowledgements, so that nobody knows whether it arrived",
        )
    }

    fn window(&self) -> usize {
        self.window
    }

    fn connect(&self) -> Boxed<'_, Result<Box<dyn Connection>, SinkError>> {
        Box::pin(async move {
            let mut session = Session {
                stream: self.peer.connect().await?,
                peer: self.peer.clone(),
                framing: self.framing,
                last: Arc::clone(&self.last),
                formatter: self.formatter.clone(),
                taken: VecDeque::new(),
            };
            for frame in self.last.all() {
                session.write(&frame).await?;
            }
            Ok(Box::new(session) as Box<dyn Connection>)
        })
    }
}

struct Session {
    stream: Box<dyn Stream>,
    peer: Peer,
    framing: Framing,
    last: Arc<Last>,
    formatter: Formatter,
    /// Tokens of what the kernel took.
    taken: VecDeque<u64>,
}

impl Session {
    async fn write(&mut self, frame: &[u8]) -> Result<(), SinkError> {
        self.peer.write(&mut *self.stream, frame, "taking a message").await
    }
}

fn frame_of(line: &str, framing: Framing) -> Vec<u8> {
    match framing {
        Framing::Octets => format!("{} {line}", line.len()).into_bytes(),
        Framing::Lines => format!("{line}\n").into_bytes(),
    }
}

impl Connection for Session {
    fn send<'a>(&'a mut self, token: u64, message: &'a Message<'a>) -> Boxed<'a, Result<(), SinkError>> {
        Box::pin(async move {
            let frame = frame_of(&self.formatter.line(message), self.framing);
            self.write(&frame).await?;
            self.last.note(frame);
            self.taken.push_back(token);
            Ok(())
        })
    }

    fn acknowledged(&mut self) -> Boxed<'_, Result<Answer, SinkError>> {
        Box::pin(async move {
            if let Some(token) = self.taken.pop_front() {
                return Ok(Answer::taken(token));
            }
            // A receiver has nothing to say, so that what comes is its end, or an alert of TLS.
            let mut bytes = [0; 256];
            loop {
                match self.stream.read(&mut bytes).await {
                    Ok(0) => return Err(self.peer.closed()),
                    Ok(_) => {}
                    Err(cause) => return Err(self.peer.broken(&cause)),
                }
            }
        })
    }

    fn close(&mut self) -> Boxed<'_, Result<(), SinkError>> {
        Box::pin(async move {
            self.peer.close(&mut *self.stream).await?;
            self.last.clear();
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_counted_in_bytes() {
        assert_eq!(frame_of("<1>櫓", Framing::Octets), "6 <1>櫓".as_bytes());
        assert_eq!(frame_of("<1>x", Framing::Lines), b"<1>x\n");
    }

    #[test]
    fn only_the_last_messages_are_kept() {
        let last = Last { most: 2, frames: Mutex::default() };
        for number in 0..5u8 {
            last.note(vec![number]);
        }
        assert_eq!(last.all(), [vec![3], vec![4]]);
        for _ in 0..3 {
            last.note(vec![0; REPLAY_BYTES_MAX / 2 + 1]);
        }
        assert_eq!(last.all().len(), 1, "bounded in bytes, too");
        let none = Last { most: 0, frames: Mutex::default() };
        none.note(vec![1]);
        assert!(none.all().is_empty());
    }
}
