//! What becomes of files: retention deletes whole days, compaction makes few large files of many
//! small ones.
//!
//! Compaction writes a file that is named after the whole range of those that it joins, and deletes
//! these some time later. A reader passes over files whose range lies within another's, so it finds
//! every row once, whenever it looks.

use std::collections::BTreeMap;
use std::sync::Arc;

use yagura_event::Kind;
use yagura_event::clock::Micros;

use crate::archiver::{ArchiveError, Options};
use crate::file::{Opened, Writer};
use crate::names::{Name, Place, current, day_of};
use crate::store::{Entry, Store};

/// For how many days rows are kept; for good without a number.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Keep {
    /// Rows of all kinds but `series`, without which older samples would lose their names.
    pub all: Option<u32>,
    /// Rows of single kinds.
    pub kinds: BTreeMap<Kind, u32>,
}

impl Keep {
    /// For how many days a kind's rows are kept.
    pub fn days(&self, kind: Kind) -> Option<u32> {
        let rest = if kind == Kind::Series { None } else { self.all };
        self.kinds.get(&kind).copied().or(rest)
    }
}

/// Files smaller than this become part of larger ones…
const SMALL_BYTES: u64 = 32 << 20;
/// …of about this size at most.
const LARGE_BYTES: u64 = 128 << 20;
/// A day that still grows is left alone until it has so many small files in a row.
const MANY: usize = 8;

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tidied {
    /// Files that became part of others.
    pub compacted: u64,
    /// Files that retention deleted.
    pub expired: u64,
}

/// Deletes what is too old, joins what is small, deletes what was replaced long enough ago.
///
/// `before` has the partitions that are this process's, with the offset before which their files are
/// complete; `is_mine` says whether a kind comes from the topic that they are partitions of.
pub fn tidy(
    store: &Arc<dyn Store>,
    options: &Options,
    before: &BTreeMap<u32, u64>,
    is_mine: &dyn Fn(Kind) -> bool,
    now: Micros,
) -> Result<Tidied, ArchiveError> {
    let mut files: Vec<(Name, Entry)> = Vec::new();
    let mut newest = 0;
    for kind in Kind::ALL.into_iter().filter(|kind| is_mine(*kind)) {
        let named = |entry: Entry| Some((Name::parse(&entry.path)?, entry));
        files.extend(store.list(kind.name())?.into_iter().filter_map(named));
    }
    for (name, _) in &files {
        newest = newest.max(name.place.day);
    }
    // Days are counted back from the newest one, so that a recording of another year stays; but not
    // from one that a wrong clock has put into the future, or it would delete all there is.
    let newest = newest.min(day_of(now));
    let mut done = Tidied::default();
    let mut kept = Vec::new();
    for (name, entry) in files {
        let days = options.keep.days(name.place.kind);
        if days.is_some_and(|days| i64::from(name.place.day) < i64::from(newest) - i64::from(days)) {
            store.remove(&entry.path)?;
            done.expired += 1;
        } else {
            kept.push((name, entry));
        }
    }
    if !options.compact {
        return Ok(done);
    }
    let mine = |name: &Name| before.get(&name.partition).is_some_and(|first| name.last < *first);
    kept.retain(|(name, _)| mine(name));
    let (files, replaced) = current(kept, |(name, _)| name);
    let grace = options.grace.as_micros() as Micros;
    for (name, entry) in replaced {
        let by = files.iter().find(|(larger, _)| larger.covers(&name));
        if by.is_some_and(|(_, by)| now.saturating_sub(by.modified) >= grace) {
            store.remove(&entry.path)?;
        }
    }
    let mut folders: BTreeMap<(Place, u32), Vec<(Name, Entry)>> = BTreeMap::new();
    for (name, entry) in files {
        folders.entry((name.place.clone(), name.partition)).or_default().push((name, entry));
    }
    for ((place, _), files) in folders {
        let few = if place.day < newest { 2 } else { MANY };
        // One a pass: whoever works from an older listing begins at the same file or an earlier one,
        // so that of two results one lies within the other.
        if let Some(run) = runs(files, few).first() {
            done.compacted += join(store, run)?;
        }
    }
    Ok(done)
}

/// Neighbours that are worth joining.
fn runs(files: Vec<(Name, Entry)>, few: usize) -> Vec<Vec<(Name, Entry)>> {
    let mut runs: Vec<Vec<(Name, Entry)>> = vec![Vec::new()];
    let mut size = 0;
    for file in files {
        let small = file.1.size < SMALL_BYTES;
        if !small || size + file.1.size > LARGE_BYTES {
            runs.push(Vec::new());
            size = 0;
        }
        if let (true, Some(run)) = (small, runs.last_mut()) {
            size += file.1.size;
            run.push(file);
        }
    }
    runs.retain(|run| run.len() >= few);
    runs
}

/// Makes one file of several; those that it replaces stay for a while.
fn join(store: &Arc<dyn Store>, run: &[(Name, Entry)]) -> Result<u64, ArchiveError> {
    let (Some((first, _)), Some((last, _))) = (run.first(), run.last()) else { return Ok(0) };
    let name = Name { last: last.last, ..first.clone() };
    let mut writer = Writer::new(name.place.kind)?;
    for (_, entry) in run {
        for rows in Opened::open(store, &entry.path, entry.size)?.rows() {
            writer.write(&rows?)?;
        }
    }
    store.put(&name.path(), writer.finish()?)?;
    Ok(run.len() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::columns;
    use crate::store::Folder;
    use crate::testing;
    use yagura_event::codec;
    use yagura_event::redact::Redaction;

    const DAY: Micros = 86_400_000_000;

    fn options(all: Option<u32>) -> Options {
        Options {
            keep: Keep { all, ..Keep::default() },
            grace: std::time::Duration::ZERO,
            ..Options::default()
        }
    }

    /// A store with a file a record; record `n` has one message, about `n`.
    fn store(folder: &tempfile::TempDir, days: &[(i32, u64)]) -> Arc<dyn Store> {
        let store: Arc<dyn Store> = Arc::new(Folder::new(folder.path()));
        for &(day, offset) in days {
            put(&store, Kind::Message, day, offset);
        }
        store
    }

    fn put(store: &Arc<dyn Store>, kind: Kind, day: i32, offset: u64) {
        let place = Place { kind, day, cell: "bay".into() };
        let name = Name { place, partition: 0, first: offset, last: offset };
        let (envelope, value) = match kind {
            Kind::Series => testing::series("bay", 1, offset, &["s"]),
            _ => testing::messages("bay", 1, offset, &[&offset.to_string()]),
        };
        let mut writer = Writer::new(kind).unwrap();
        let rows = columns::rows(&envelope, &value, 0, None, &Redaction::off()).unwrap();
        writer.write(&rows).unwrap();
        store.put(&name.path(), writer.finish().unwrap()).unwrap();
    }

    fn names(store: &Arc<dyn Store>) -> Vec<(i32, u64, u64)> {
        let entries = store.list("message").unwrap();
        let names = entries.iter().filter_map(|entry| Name::parse(&entry.path));
        let mut names: Vec<_> = names.map(|name| (name.place.day, name.first, name.last)).collect();
        names.sort();
        names
    }

    fn rows(store: &Arc<dyn Store>) -> Vec<u64> {
        let files = crate::history::files(&**store, Kind::Message).unwrap();
        let read = files.iter().flat_map(|file| {
            let opened = Opened::open(store, &file.name.path(), file.size).unwrap();
            let batches: Vec<_> = opened.rows().map(Result::unwrap).collect();
            batches.iter().flat_map(codec::to_json_rows).collect::<Vec<_>>()
        });
        let mut rows: Vec<u64> = read.filter_map(|row| row["row"].as_u64()).collect();
        rows.sort();
        rows
    }

    fn tidied(store: &Arc<dyn Store>, options: &Options, end: u64, now: Micros) -> Tidied {
        tidy(store, options, &BTreeMap::from([(0, end)]), &|_| true, now).unwrap()
    }

    #[test]
    fn retention_deletes_whole_days_counted_from_the_newest_that_can_be() {
        let folder = tempfile::tempdir().unwrap();
        let days = [(100, 0), (101, 1), (109, 2), (110, 3), (99_999, 4)];
        let store = store(&folder, &days);
        put(&store, Kind::Series, 3, 5);
        let wanted = Options { compact: false, ..options(Some(10)) };
        // A recording of long ago: its own days count. The clock is on day 110, one file is far ahead.
        assert_eq!(tidied(&store, &wanted, 9, 110 * DAY), Tidied { compacted: 0, expired: 0 });
        assert_eq!(tidied(&store, &wanted, 9, 111 * DAY), Tidied { compacted: 0, expired: 1 });
        assert_eq!(names(&store), [(101, 1, 1), (109, 2, 2), (110, 3, 3), (99_999, 4, 4)]);
        assert!(!folder.path().join("message/date=1970-04-11").exists());
        // Names of series stay, unless it is said that they should not.
        assert_eq!(store.list("series").unwrap().len(), 1);
        let mut wanted = wanted;
        wanted.keep.kinds.insert(Kind::Series, 10);
        wanted.keep.kinds.insert(Kind::Message, 1_000_000);
        assert_eq!(tidied(&store, &wanted, 9, 200 * DAY).expired, 1);
        assert_eq!(store.list("series").unwrap().len(), 0);
    }

    #[test]
    fn compaction_keeps_exactly_the_rows_whenever_one_looks() {
        let folder = tempfile::tempdir().unwrap();
        let mut days: Vec<(i32, u64)> = (0..5).map(|offset| (100, offset)).collect();
        days.extend((5..12).map(|offset| (101, offset)));
        let store = store(&folder, &days);
        let all: Vec<u64> = (0..12).collect();
        let now = Micros::MAX / 2;
        // The day that still grows has too few; of the day before, what is complete.
        let slow = Options { grace: std::time::Duration::from_secs(1 << 40), ..options(None) };
        assert_eq!(tidied(&store, &slow, 4, now).compacted, 4);
        assert_eq!(rows(&store), all);
        assert_eq!(names(&store).len(), 13);
        // Those replaced go, and the rest of the day comes in.
        assert_eq!(tidied(&store, &options(None), 12, now).compacted, 2);
        assert_eq!(rows(&store), all);
        assert_eq!(tidied(&store, &options(None), 12, now).compacted, 0);
        assert_eq!(rows(&store), all);
        assert_eq!(names(&store)[0], (100, 0, 4));
        assert_eq!(names(&store).len(), 8);
        put(&store, Kind::Message, 101, 12);
        assert_eq!(tidied(&store, &options(None), 13, now).compacted, 8);
        tidied(&store, &options(None), 13, now);
        assert_eq!(names(&store), [(100, 0, 4), (101, 5, 12)]);
        assert_eq!(rows(&store), (0..13).collect::<Vec<_>>());
    }

    #[test]
    fn what_another_process_writes_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let store = store(&folder, &[(100, 0), (100, 1), (101, 2)]);
        let done = tidy(&store, &options(None), &BTreeMap::from([(1, 99)]), &|_| true, 0).unwrap();
        assert_eq!(done, Tidied::default());
    }
}
