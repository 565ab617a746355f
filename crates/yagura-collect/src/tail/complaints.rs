//! Lines without rows: the first few of a second are told with their places, then how many more there were.

use std::path::Path;

use yagura_event::clock::{Micros, SECOND};

use crate::places::PlacedSink;
use crate::reports::Reports;

/// How many of a second are told one by one.
const TOLD_MAX: u32 = 3;

/// What is wrong with lines.
#[derive(Default)]
pub(crate) struct Complaints {
    since: Micros,
    told: u32,
    /// Those that were not told one by one, and the last of them: file, and what.
    more: u64,
    last: (String, String),
    total: u64,
}

impl Complaints {
    /// A line that has no rows: where it is and why.
    pub(crate) fn add(
        &mut self,
        file: &Path,
        (unit, at): (&str, u64),
        reason: &str,
        now: Micros,
        out: &mut dyn PlacedSink,
    ) {
        self.look(now, out);
        self.total += 1;
        if self.told < TOLD_MAX {
            self.told += 1;
            out.nowhere();
            let detail = format!("{unit} {at}: {reason}");
            Reports::new(&file.display().to_string(), None).malformed(now, 1, &detail, out);
        } else {
            if self.more == 0 {
                self.last = (file.display().to_string(), format!("{unit} {at}: {reason}"));
            }
            self.more += 1;
        }
    }

    /// Tells, once a second is over, how many there were beside those that were told.
    pub(crate) fn look(&mut self, now: Micros, out: &mut dyn PlacedSink) {
        if now - self.since >= SECOND {
            self.rest(now, out);
            (self.since, self.told) = (now, 0);
        }
    }

    /// Tells those that were not told.
    pub(crate) fn rest(&mut self, now: Micros, out: &mut dyn PlacedSink) {
        let more = std::mem::take(&mut self.more);
        if more > 0 {
            let (file, first) = std::mem::take(&mut self.last);
            out.nowhere();
            let detail = format!("{more} more lines, the first at {first}");
            Reports::new(&file, None).malformed(now, more, &detail, out);
        }
    }

    /// How many there were in all.
    pub(crate) fn total(&self) -> u64 {
        self.total
    }
}
