//! Ports that listen, whatever is spoken there: so many connections at a time, in TLS where that is wanted, with
//! certificates, tokens and passwords that are read again when their files change.
//!
//! Deliberately absent: protocols, and who may do what.

mod door;
mod fresh;
mod secrets;
mod tls;

use std::path::{Path, PathBuf};

pub use door::{Door, Stream, stopped, take};
pub use fresh::Fresh;
pub use secrets::{bearer, lines, same, secret};
pub use tls::{ServerTls, certificates};
pub use tokio_rustls::TlsAcceptor;

/// A file or a setting that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum Unusable {
    /// A file.
    #[error("{}: cannot be read: {cause}", file.display())]
    File {
        /// Its path.
        file: PathBuf,
        /// Why not.
        cause: String,
    },
    /// What the settings say of it.
    #[error("{0}")]
    Setting(String),
}

impl Unusable {
    /// A file that cannot be used.
    pub fn file(file: &Path, cause: impl std::fmt::Display) -> Self {
        Unusable::File { file: file.to_owned(), cause: cause.to_string() }
    }
}
