//! What a reader finds: every row once, whenever it looks.

use yagura_event::Kind;

use crate::names::{Name, current};
use crate::store::{Store, StoreError};

/// A file with rows that are in no other one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryFile {
    /// Its folder and offsets.
    pub name: Name,
    /// Bytes.
    pub size: u64,
}

/// The files that hold a kind's rows, by day, cell, partition and offset.
pub fn files(store: &dyn Store, kind: Kind) -> Result<Vec<HistoryFile>, StoreError> {
    let named = store.list(kind.name())?.into_iter().filter_map(|entry| {
        let name = Name::parse(&entry.path)?;
        Some(HistoryFile { name, size: entry.size })
    });
    Ok(current(named.collect(), |file| &file.name).0)
}
