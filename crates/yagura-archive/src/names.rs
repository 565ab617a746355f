//! Where the rows of a record lie, and what a file's name says of them.
//!
//! ```text
//! KIND/date=YYYY-MM-DD/cell=CELL/PARTITION-FIRST-LAST.parquet
//! ```
//!
//! `date` is the day, in UTC, on which the collector observed the record's first row. A device's own
//! time may be 1970 or 2099; by it, retention would keep or delete what it should not, and one device
//! could scatter its rows over as many folders as it likes. Rows of one record stay together, so a
//! file holds whole records and its offsets say exactly which. A record spans at most a second of
//! its source, so a row may lie in the day before that of its own `observed` for so long.

use std::fmt::Write as _;

use yagura_event::Kind;
use yagura_event::clock::{self, Micros};

/// A folder: what the files in it have in common.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The kind of the rows.
    pub kind: Kind,
    /// Days since 1970-01-01.
    pub day: i32,
    /// The cell as it stands in the path, see [`cell_in_path`].
    pub cell: String,
}

/// One file: a folder, a partition of the kind's topic, and the offsets of the records whose rows
/// of that folder it holds, all of them.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Name {
    /// Its folder.
    pub place: Place,
    /// Partition of the topic.
    pub partition: u32,
    /// Offset of the first record.
    pub first: u64,
    /// Offset of the last one.
    pub last: u64,
}

impl Place {
    /// Where rows of a cell belong that were observed at a time.
    pub fn new(kind: Kind, observed: Micros, cell: &str) -> Self {
        Place { kind, day: day_of(observed), cell: cell_in_path(cell) }
    }

    /// The folder's path.
    pub fn path(&self) -> String {
        format!("{}/date={}/cell={}", self.kind.name(), date_of(self.day), self.cell)
    }
}

impl Name {
    /// The file's path.
    pub fn path(&self) -> String {
        let Name { place, partition, first, last } = self;
        // As wide as each other, so that a listing by name is one by offset.
        format!("{}/{partition}-{first:015}-{last:015}.parquet", place.path())
    }

    /// Reads a path; `None` for what is no file of the history.
    pub fn parse(path: &str) -> Option<Self> {
        let mut parts = path.split('/');
        let kind = Kind::from_name(parts.next()?)?;
        let day = day_from(parts.next()?.strip_prefix("date=")?)?;
        let cell = parts.next()?.strip_prefix("cell=")?.to_string();
        let mut numbers = parts.next()?.strip_suffix(".parquet")?.split('-');
        let partition = numbers.next()?.parse().ok()?;
        let (first, last) = (numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?);
        let ends = parts.next().is_none() && numbers.next().is_none() && first <= last;
        ends.then_some(Name { place: Place { kind, day, cell }, partition, first, last })
    }

    /// Whether all rows of the other are in this one.
    pub fn covers(&self, other: &Name) -> bool {
        self.place == other.place
            && self.partition == other.partition
            && self.first <= other.first
            && other.last <= self.last
    }
}

/// Splits files into those that hold all rows, each once, and those that a larger one has replaced.
pub fn current<T>(files: Vec<T>, name: impl Fn(&T) -> &Name) -> (Vec<T>, Vec<T>) {
    let mut files = files;
    // The larger of two that begin together comes first, so a file's replacement is before it.
    let order = |n: &Name| (n.place.clone(), n.partition, n.first, std::cmp::Reverse(n.last));
    files.sort_by_cached_key(|file| order(name(file)));
    let (mut kept, mut replaced): (Vec<T>, Vec<T>) = (Vec::new(), Vec::new());
    for file in files {
        match kept.last() {
            Some(last) if name(last).covers(name(&file)) => replaced.push(file),
            _ => kept.push(file),
        }
    }
    (kept, replaced)
}

/// The last microsecond of the year 9999: later times are taken for it.
const LATEST: Micros = 253_402_300_799_999_999;
const DAY: Micros = 86_400 * clock::SECOND;

/// The day of a time, from 1970 to 9999.
pub fn day_of(time: Micros) -> i32 {
    (time.clamp(0, LATEST) / DAY) as i32
}

/// `2026-11-23`.
pub fn date_of(day: i32) -> String {
    clock::rfc3339((Micros::from(day) * DAY).clamp(0, LATEST)).chars().take(10).collect()
}

/// The day of a date.
pub fn day_from(date: &str) -> Option<i32> {
    let time = clock::parse_rfc3339(&format!("{date}T00:00:00Z"))?;
    (date.len() == 10).then(|| day_of(time))
}

/// The longest cell that stands in a path as it is.
const CELL_BYTES: usize = 160;

/// A cell's name as a folder's: bytes that are not safe in a path or in a URL become `%XX`; of a
/// very long one the beginning and a hash.
pub fn cell_in_path(cell: &str) -> String {
    let mut out = String::with_capacity(cell.len());
    for (at, byte) in cell.bytes().enumerate() {
        match byte {
            b'.' if at == 0 => out.push_str("%2E"),
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'_' | b'-' | b'.' => out.push(byte as char),
            _ => {
                let _ = write!(out, "%{byte:02X}");
            }
        }
    }
    if out.is_empty() {
        // What Hive and those who read its folders take for none.
        return "__HIVE_DEFAULT_PARTITION__".into();
    }
    if out.len() > CELL_BYTES {
        // FNV-1a: the same on every machine and in every version.
        let hash = cell.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        out.truncate(CELL_BYTES);
        let _ = write!(out, "~{hash:016x}");
    }
    out
}

/// The cell behind a folder's name; `None` when only its files tell.
pub fn cell_from_path(text: &str) -> Option<String> {
    if text == "__HIVE_DEFAULT_PARTITION__" {
        return Some(String::new());
    }
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'~' => return None,
            b'%' => {
                let digits = [bytes.next()?, bytes.next()?];
                out.push(u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?);
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8(out).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(partition: u32, first: u64, last: u64) -> Name {
        Name { place: Place::new(Kind::Message, 20_000 * DAY, "bay"), partition, first, last }
    }

    #[test]
    fn a_name_is_read_back_and_others_are_not() {
        let place = Place::new(Kind::Sample, 1_764_072_000_000_000, "bay 2/左");
        let name = Name { place, partition: 3, first: 0, last: 1234 };
        let path = name.path();
        assert_eq!(
            path,
            "sample/date=2025-11-25/cell=bay%202%2F%E5%B7%A6/3-000000000000000-000000000001234.parquet"
        );
        assert_eq!(Name::parse(&path), Some(name));
        for other in ["", "sample", "_cuts/yagura.events/0/1.json", "sample/date=2025-11-25/cell=a/x.parquet"]
        {
            assert_eq!(Name::parse(other), None, "{other}");
        }
        for wrong in ["3-5-4", "3-4", "3-4-5-6", "-1-2-3"] {
            assert_eq!(Name::parse(&format!("flow/date=2025-11-25/cell=a/{wrong}.parquet")), None, "{wrong}");
        }
    }

    #[test]
    fn cells_of_any_name_come_back_from_their_folder() {
        for cell in ["", ".", "..", "a", "櫓", "a/b", "50%", "../../etc", "~x"] {
            let folder = cell_in_path(cell);
            assert!(!folder.contains('/') && !folder.starts_with('.') && !folder.contains('~'), "{folder}");
            assert_eq!(cell_from_path(&folder).as_deref(), Some(cell));
        }
        let (one, other) = ("x".repeat(1000), "x".repeat(1001));
        assert!(cell_in_path(&one).len() < 200);
        assert_ne!(cell_in_path(&one), cell_in_path(&other));
        assert_eq!(cell_from_path(&cell_in_path(&one)), None);
    }

    #[test]
    fn days_are_utc_and_bounded() {
        assert_eq!(date_of(0), "1970-01-01");
        assert_eq!((day_of(-1), day_of(DAY - 1), day_of(DAY)), (0, 0, 1));
        assert_eq!(date_of(day_of(Micros::MAX)), "9999-12-31");
        assert_eq!(day_from("2026-02-29"), None);
        for day in [0, 1, 59, 365, 20_782, day_of(Micros::MAX)] {
            assert_eq!(day_from(&date_of(day)), Some(day));
        }
    }

    #[test]
    fn what_a_larger_file_holds_is_replaced() {
        let files = vec![name(0, 5, 9), name(0, 0, 4), name(1, 0, 4), name(0, 0, 9), name(0, 10, 12)];
        let (kept, replaced) = current(files, |name| name);
        assert_eq!(kept, [name(0, 0, 9), name(0, 10, 12), name(1, 0, 4)]);
        assert_eq!(replaced, [name(0, 0, 4), name(0, 5, 9)]);
    }
}
