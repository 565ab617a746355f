//! Rows of the log as Parquet files: partitioning, retention, compaction.
//!
//! An [`archiver`] reads a topic and writes each kind's rows into files by day and cell, in a
//! [`store`]: a folder, or a bucket of an S3-compatible store. The rows keep their kind's columns and
//! get their identity, so that a row in the history is found from an alert's cause; samples get the
//! [`columns`] that name their signal. Every row of the log is in the history once ([`cuts`]), also
//! while small files become large ones ([`keep`]). Any program that reads Parquet in folders by date
//! and cell reads it; one that reads while files are joined passes over those that [`history::files`]
//! passes over.

pub mod archiver;
pub mod columns;
pub mod cuts;
pub mod file;
pub mod history;
pub mod keep;
pub mod names;
#[cfg(feature = "s3")]
mod s3;
mod series;
pub mod store;
#[cfg(test)]
mod testing;

pub use archiver::{ArchiveError, GROUP, Options, Progress, run};
pub use keep::Keep;
pub use store::{Store, StoreError};

/// Whether a store can be written to: publishes a file and deletes it again.
pub fn check(store: &dyn Store) -> Result<(), StoreError> {
    let path = format!("_cuts/check-{}", std::process::id());
    store.put(&path, bytes::Bytes::from_static(b"{}"))?;
    store.remove(&path)
}
