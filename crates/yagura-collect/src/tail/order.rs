//! Which files match, and in which order they are read.

use std::cmp::{Ordering, Reverse};
use std::fs::Metadata;
use std::path::{Path, PathBuf};

/// The regular files that match, the earlier before the later; and whether there were more than `most`.
pub(crate) fn matching(patterns: &[String], most: usize) -> (Vec<(PathBuf, Metadata)>, bool) {
    let mut found = Vec::new();
    let mut more = false;
    for pattern in patterns {
        let Ok(paths) = glob::glob(pattern) else { continue };
        for path in paths.flatten() {
            let Ok(about) = std::fs::metadata(&path) else { continue };
            if !about.is_file() {
                continue;
            }
            if found.len() >= most {
                more = true;
                break;
            }
            found.push((path, about));
        }
    }
    found.sort_by(|(a, _), (b, _)| in_time(a, b));
    found.dedup_by(|(a, _), (b, _)| a == b);
    (found, more)
}

/// Earlier files first, as far as names tell: `x.log.2` before `x.log.1`, `x.log-20261101` before
/// `x.log-20261102`, both before `x.log`; else by name.
fn in_time(a: &Path, b: &Path) -> Ordering {
    key(a).cmp(&key(b)).then_with(|| a.cmp(b))
}

fn key(path: &Path) -> (&Path, &str, Age<'_>) {
    let folder = path.parent().unwrap_or(Path::new(""));
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or("");
    let dated = |c: char| c.is_ascii_digit() || matches!(c, '-' | '_' | ':' | 'T' | 'Z');
    let stem = name.trim_end_matches(dated);
    // `T` and `Z` may end the name proper: what is cut off begins with a separator and a digit.
    let cut = stem.len() + name[stem.len()..].find(|c: char| c.is_ascii_digit()).unwrap_or(0);
    let (stem, suffix) = name.split_at(cut);
    match stem.strip_suffix(['.', '-', '_']) {
        Some(stem) if !suffix.is_empty() => match suffix.parse::<u16>() {
            Ok(number) if suffix.len() < 5 => (folder, stem, Age::Numbered(Reverse(number))),
            _ => (folder, stem, Age::Dated(suffix)),
        },
        _ => (folder, name, Age::Newest),
    }
}

#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Age<'a> {
    Dated(&'a str),
    Numbered(Reverse<u16>),
    Newest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rotated_files_come_before_what_follows_them() {
        let mut names = [
            "l/eve.json",
            "l/eve.json.1",
            "l/eve.json.10",
            "l/eve.json.2",
            "l/conn.log-20261102",
            "l/conn.log",
            "l/conn.log-20261101",
            "l/a-2026-11-01T00.csv",
            "l/a-2026-11-02T00.csv",
            "l/櫓.7",
        ];
        names.sort_by(|a, b| in_time(Path::new(a), Path::new(b)));
        assert_eq!(
            names,
            [
                "l/a-2026-11-01T00.csv",
                "l/a-2026-11-02T00.csv",
                "l/conn.log-20261101",
                "l/conn.log-20261102",
                "l/conn.log",
                "l/eve.json.10",
                "l/eve.json.2",
                "l/eve.json.1",
                "l/eve.json",
                "l/櫓.7",
            ]
        );
    }
}
