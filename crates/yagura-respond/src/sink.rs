//! What a sink is: something that alerts are sent to and that acknowledges them.

use std::future::Future;
use std::pin::Pin;

use yagura_event::Domain;
use yagura_event::alert::Alert;

/// A boxed future: sinks are chosen at run time.
pub type Boxed<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// A configured receiver.
pub trait Sink: Send + Sync {
    /// Where it is, for people: `relp+tls://siem.fab.example:2514`.
    fn describe(&self) -> String;

    /// How many alerts may be on their way without an acknowledgement.
    fn window(&self) -> usize;

    /// Connects, up to the point at which alerts can be sent.
    fn connect(&self) -> Boxed<'_, Result<Box<dyn Connection>, SinkError>>;
}

/// One connection to a receiver. After an error it is dropped, and everything it has not
/// acknowledged is sent again over the next one.
pub trait Connection: Send {
    /// Hands one alert to the network. `token` grows from alert to alert.
    fn send<'a>(&'a mut self, token: u64, alert: &'a Alert) -> Boxed<'a, Result<(), SinkError>>;

    /// The token of the next alert that the receiver has acknowledged: it is now the receiver's.
    /// Must be safe to drop before it is ready, without losing an acknowledgement.
    fn acknowledged(&mut self) -> Boxed<'_, Result<u64, SinkError>>;

    /// Takes leave of the receiver. What has not been acknowledged counts as not delivered.
    fn close(&mut self) -> Boxed<'_, Result<(), SinkError>>;
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
