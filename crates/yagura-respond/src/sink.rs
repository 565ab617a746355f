//! What a sink is: something that alerts are sent to and that acknowledges them.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use yagura_event::Domain;
use yagura_log::Log;

use crate::message::Message;

/// A boxed future: sinks are chosen at run time.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A configured receiver.
pub trait Sink: Send + Sync {
    /// Where it is, for people: `relp+tls://siem.fab.example:2514`.
    fn describe(&self) -> String;

    /// What an acknowledgement of this receiver is worth.
    fn meaning(&self) -> Meaning;

    /// How many alerts may be on their way without an acknowledgement.
    fn window(&self) -> usize;

    /// How long it may leave alerts without an answer before the connection is given up.
    fn patience(&self) -> Duration {
        Duration::from_secs(30)
    }

    /// Whether it writes into the log that alerts come from, so that it needs [`Sink::attach`].
    fn needs_log(&self) -> bool {
        false
    }

    /// Takes the log that alerts come from.
    fn attach(&mut self, log: &Arc<dyn Log>) {
        let _ = log;
    }

    /// Connects, up to the point at which alerts can be sent.
    fn connect(&self) -> Boxed<'_, Result<Box<dyn Connection>, SinkError>>;
}

/// One connection to a receiver. After an error it is dropped, and everything it has not
/// acknowledged is sent again over the next one.
pub trait Connection: Send {
    /// Hands one message to the network. `token` grows from message to message.
    fn send<'a>(&'a mut self, token: u64, message: &'a Message<'a>) -> Boxed<'a, Result<(), SinkError>>;

    /// The receiver's next answer.
    /// Must be safe to drop before it is ready, without losing an answer.
    fn acknowledged(&mut self) -> Boxed<'_, Result<Answer, SinkError>>;

    /// Takes leave of the receiver. What has not been acknowledged counts as not delivered.
    fn close(&mut self) -> Boxed<'_, Result<(), SinkError>>;
}

/// What the receiver said to one message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The message's token.
    pub token: u64,
    /// What became of it.
    pub verdict: Verdict,
}

impl Answer {
    /// It is the receiver's now.
    pub fn taken(token: u64) -> Self {
        Self { token, verdict: Verdict::Taken }
    }
}

/// What became of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is the receiver's now.
    Taken,
    /// The receiver refuses it for good, in these words: sent again it would be refused again.
    Refused(String),
}

/// What an acknowledgement is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meaning {
    /// Whether an acknowledged alert is with the receiver.
    pub guaranteed: bool,
    /// What the acknowledgement says, and what not.
    pub words: &'static str,
}

impl Meaning {
    /// What is acknowledged has arrived.
    pub(crate) const fn guaranteed(words: &'static str) -> Self {
        Self { guaranteed: true, words }
    }

    /// Nobody can know what has arrived.
    pub(crate) const fn without_guarantee(words: &'static str) -> Self {
        Self { guaranteed: false, words }
    }
}

/// Runs what waits for a disk or a log where it stops nobody else.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, SinkError> + Send + 'static,
) -> Result<T, SinkError> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|panic| {
        Err(SinkError::Closed { address: "a thread".into(), cause: panic.to_string() })
    })
}

/// The largest window: it bounds the alerts held in memory.
const WINDOW_MAX: usize = 4096;

/// The window of the sink `name`, 128 without a setting.
pub(crate) fn window_of(name: &str, setting: Option<usize>) -> Result<usize, ConfigError> {
    let window = setting.unwrap_or(128);
    if !(1..=WINDOW_MAX).contains(&window) {
        let problem = format!("`window` is 1 to {WINDOW_MAX}, not {window}");
        return Err(ConfigError::Setting { sink: name.into(), problem });
    }
    Ok(window)
}

/// Why a sink failed; the [`SinkError::reason`] is a metric's label.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The network refused.
    #[error(
        "cannot reach {address}: {cause}; check the address, the network policy and that the receiver runs"
    )]
    Connect {
        /// Where to.
        address: String,
        /// Why not.
        cause: std::io::Error,
    },
    /// A certificate was refused, by this side or by the other.
    #[error(
        "the TLS handshake with {address} failed: {cause}; check `tls.ca`, `tls.server_name` and, when the receiver asks for one, `tls.certificate`"
    )]
    Tls {
        /// Where to.
        address: String,
        /// Why.
        cause: std::io::Error,
    },
    /// A file of certificates or keys cannot be used.
    #[error("{0}")]
    Files(#[from] ConfigError),
    /// The connection broke.
    #[error("the connection to {address} broke: {cause}")]
    Closed {
        /// Where to.
        address: String,
        /// How.
        cause: String,
    },
    /// The receiver did not answer in time.
    #[error("{address} did not answer within {seconds} s while {what}")]
    Timeout {
        /// Where to.
        address: String,
        /// How long.
        seconds: u64,
        /// At what.
        what: &'static str,
    },
    /// The receiver took the alert and said no.
    #[error("{address} refused an alert: {answer}")]
    Refused {
        /// Where to.
        address: String,
        /// Its words.
        answer: String,
    },
    /// The receiver does not know whoever sends.
    #[error("{address} does not let this sender in: {answer}; check the file of its token, key or password")]
    Denied {
        /// Where to.
        address: String,
        /// Its words.
        answer: String,
    },
    /// The receiver has no room or no time.
    #[error("{address} cannot take alerts now: {answer}")]
    Busy {
        /// Where to.
        address: String,
        /// Its words.
        answer: String,
    },
    /// A file of alerts cannot be written.
    #[error(
        "{file}: cannot be written: {cause}; free space, or give the folder to the user that Yagura runs as"
    )]
    Write {
        /// The file.
        file: String,
        /// Why not.
        cause: std::io::Error,
    },
    /// The receiver does not speak the protocol.
    #[error("{address} does not speak {protocol}: {what}")]
    Protocol {
        /// Where to.
        address: String,
        /// What was expected.
        protocol: &'static str,
        /// What came.
        what: String,
    },
}

impl SinkError {
    /// One of a few fixed words.
    pub fn reason(&self) -> &'static str {
        match self {
            SinkError::Connect { .. } => "connect",
            SinkError::Tls { .. } => "tls",
            SinkError::Files(_) => "files",
            SinkError::Closed { .. } => "closed",
            SinkError::Timeout { .. } => "timeout",
            SinkError::Refused { .. } => "refused",
            SinkError::Denied { .. } => "denied",
            SinkError::Busy { .. } => "busy",
            SinkError::Write { .. } => "write",
            SinkError::Protocol { .. } => "protocol",
        }
    }

    /// Who can mend it. All are tried again: a receiver that is set right is found again without
    /// a restart.
    pub fn domain(&self) -> Domain {
        match self {
            SinkError::Files(_) => Domain::User,
            _ => Domain::External,
        }
    }
}

/// A sink's settings that cannot be used. Never retried at start.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A kind that does not exist.
    #[error("sink `{sink}`: there is no kind `{kind}`; the kinds are: {valid}")]
    UnknownKind {
        /// The sink's name.
        sink: String,
        /// What was written.
        kind: String,
        /// What could be.
        valid: String,
    },
    /// A setting is missing, misspelt or out of range.
    #[error("sink `{sink}`: {problem}")]
    Setting {
        /// The sink's name.
        sink: String,
        /// What, and how to mend it.
        problem: String,
    },
    /// A file cannot be used.
    #[error("{file}: {problem}")]
    File {
        /// The file.
        file: String,
        /// What is wrong, and how to mend it.
        problem: String,
    },
}
