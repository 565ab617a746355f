//! Which stretches of the log became files: the reason why no row is archived twice.
//!
//! ```text
//! _cuts/TOPIC/PARTITION/FIRST.json
//! ```
//!
//! A *cut* ends a stretch of a partition, FIRST to LAST: the rows of its records become files, one a
//! folder, all named after that range. Before the first of them is written, the cut is claimed: a
//! small file is created that says where it ends, and of those that try, one creates it. So the
//! stretches are decided once, for everybody and for good. Whoever comes after a crash, or takes the
//! partition over, finds the last claim, reads its stretch again and writes the files that are
//! missing; they are the same whoever writes them.

use serde::{Deserialize, Serialize};

use crate::store::{Store, StoreError};

/// Version of a claim's form.
const VERSION: u16 = 1;
/// Claims that are kept of a partition; the last one is what counts.
const KEPT: usize = 3;

/// A stretch that was claimed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cut {
    version: u16,
    /// Offset of its first record.
    pub first: u64,
    /// Offset of its last record.
    pub last: u64,
    /// What was archived before it, see [`Mark`].
    pub marks: Vec<Mark>,
}

/// How far one start of a collector had been archived.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mark {
    /// The cell.
    pub cell: String,
    /// The collector.
    pub collector: String,
    /// Its epoch.
    pub epoch: u64,
    /// The number of the next row; those below are repeats.
    pub next_row: u64,
    /// Offset of the record that it was heard by last.
    pub heard: u64,
}

/// How a claim went.
#[derive(Debug, PartialEq, Eq)]
pub enum Claimed {
    /// The stretch is cut there, and nobody had claimed it before.
    New,
    /// It had been cut there before: some of its files may exist.
    Again,
    /// Somebody else cut elsewhere, and may be ahead: begin again with [`last`].
    Otherwise,
}

impl Cut {
    /// A stretch.
    pub fn new(first: u64, last: u64, marks: Vec<Mark>) -> Self {
        Cut { version: VERSION, first, last, marks }
    }
}

fn folder(topic: &str, partition: u32) -> String {
    format!("_cuts/{topic}/{partition}")
}

/// The offsets at which claimed stretches begin, with the claims' paths and sizes, in order.
fn claims(store: &dyn Store, topic: &str, partition: u32) -> Result<Vec<(u64, String, u64)>, StoreError> {
    let folder = folder(topic, partition);
    let mut claims: Vec<_> = store
        .list(&folder)?
        .into_iter()
        .filter_map(|entry| {
            let name = entry.path.rsplit('/').next()?;
            Some((name.strip_suffix(".json")?.parse().ok()?, entry.path.clone(), entry.size))
        })
        .collect();
    claims.sort();
    Ok(claims)
}

/// The partition's last claim.
pub fn last(store: &dyn Store, topic: &str, partition: u32) -> Result<Option<Cut>, StoreError> {
    match claims(store, topic, partition)?.last() {
        Some((_, path, size)) => read(store, path, *size).map(Some),
        None => Ok(None),
    }
}

fn read(store: &dyn Store, path: &str, size: u64) -> Result<Cut, StoreError> {
    let bad = |cause: String| StoreError { what: format!("reading {path}"), cause, missing: false };
    let cut: Cut = serde_json::from_slice(&store.read(path, 0..size)?).map_err(|e| bad(e.to_string()))?;
    if cut.version != VERSION {
        return Err(bad(format!("version {} is not known; update Yagura on this machine", cut.version)));
    }
    Ok(cut)
}

/// Claims a stretch.
pub fn claim(store: &dyn Store, topic: &str, partition: u32, cut: &Cut) -> Result<Claimed, StoreError> {
    let path = format!("{}/{:015}.json", folder(topic, partition), cut.first);
    // Structs of texts and numbers always serialise.
    let bytes = serde_json::to_vec(cut).unwrap_or_default();
    if !store.create(&path, bytes.into())? {
        let known = last(store, topic, partition)?;
        let same = known.is_some_and(|known| (known.first, known.last) == (cut.first, cut.last));
        return Ok(if same { Claimed::Again } else { Claimed::Otherwise });
    }
    let known = claims(store, topic, partition)?;
    if known.last().is_some_and(|(first, ..)| *first > cut.first) {
        // Others went on while this process stood still, for so long that this claim of theirs is
        // deleted already.
        store.remove(&path)?;
        return Ok(Claimed::Otherwise);
    }
    for (_, path, _) in known.iter().rev().skip(KEPT) {
        store.remove(path)?;
    }
    Ok(Claimed::New)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Folder;

    #[test]
    fn a_stretch_is_claimed_once_and_the_last_one_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let store = Folder::new(folder.path());
        let mark = Mark { cell: "a".into(), collector: "c".into(), epoch: u64::MAX, next_row: 3, heard: 9 };
        let claim = |first, last| claim(&store, "t", 0, &Cut::new(first, last, vec![mark.clone()])).unwrap();
        assert_eq!(super::last(&store, "t", 0).unwrap(), None);
        assert_eq!(claim(0, 9), Claimed::New);
        assert_eq!(claim(0, 9), Claimed::Again);
        assert_eq!(claim(0, 12), Claimed::Otherwise);
        for first in 1..10 {
            assert_eq!(claim(first * 10, first * 10 + 9), Claimed::New);
        }
        let last = super::last(&store, "t", 0).unwrap().unwrap();
        assert_eq!((last.first, last.last, &last.marks[..]), (90, 99, &[mark.clone()][..]));
        assert_eq!(store.list("").unwrap().len(), KEPT);
        // A process that stood still since the beginning.
        assert_eq!(claim(0, 12), Claimed::Otherwise);
        assert_eq!(claim(10, 12), Claimed::Otherwise);
        assert_eq!(store.list("").unwrap().len(), KEPT);
        assert_eq!(super::last(&store, "t", 1).unwrap(), None);
    }
}
