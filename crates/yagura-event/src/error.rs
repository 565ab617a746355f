//! Errors with a domain, so that one policy decides whether to retry, to refuse or to report.

/// Who can mend it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// The user's input: configuration, pipeline or data. Never retried.
    User,
    /// Something outside: a broker, a disk, a receiver. Retried with back-off.
    External,
    /// A defect of Yagura.
    Internal,
}

/// What can be wrong with a record's bytes.
#[derive(Debug, thiserror::Error)]
pub enum EventError {
    /// The envelope is missing or is not the JSON object that [`crate::Envelope`] describes.
    #[error("the record's `yagura` header is not an envelope: {0}")]
    Envelope(String),
    /// The envelope's schema version is newer than this program.
    #[error(
        "{kind} records of schema version {found} are newer than this program's {known}; update Yagura on this machine first"
    )]
    Newer {
        /// The record's kind.
        kind: &'static str,
        /// The version found.
        found: u16,
        /// The newest version this program reads.
        known: u16,
    },
    /// The payload is not what the envelope says.
    #[error("the record's rows cannot be read: {0}")]
    Payload(String),
    /// A column is missing or has another type.
    #[error("column `{column}` of a {kind} record {problem}")]
    Column {
        /// The record's kind.
        kind: &'static str,
        /// The column's name.
        column: String,
        /// What is wrong with it.
        problem: String,
    },
}

impl EventError {
    /// Who can mend it: bytes that cannot be read came from outside and stay unreadable.
    pub fn domain(&self) -> Domain {
        match self {
            EventError::Newer { .. } => Domain::User,
            _ => Domain::External,
        }
    }
}
