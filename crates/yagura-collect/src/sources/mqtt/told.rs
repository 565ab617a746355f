//! What is told of things that may happen a million times a second: the first few of a second, then how many more.

use std::collections::BTreeMap;

use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::{CoverageRow, Row};

use crate::places::PlacedSink;

/// Rows of a second.
const ROWS_MAX: u32 = 20;

/// Coverage rows of a source, bounded in number.
pub(super) struct Told {
    collector: String,
    /// When the second began, and what it told.
    began: Micros,
    rows: u32,
    more: BTreeMap<&'static str, u64>,
}

impl Told {
    pub fn new(collector: &str) -> Self {
        Told { collector: collector.into(), began: 0, rows: 0, more: BTreeMap::new() }
    }

    /// Tells that something happened to `subject`, or to the collector where that is empty, so many times; the detail is asked for only where it is told.
    pub fn say(
        &mut self,
        event: &'static str,
        subject: &str,
        (from, now): (Micros, Micros),
        count: u64,
        detail: impl FnOnce() -> String,
        out: &mut dyn PlacedSink,
    ) {
        self.look(now, out);
        if self.rows >= ROWS_MAX {
            *self.more.entry(event).or_default() += count;
            return;
        }
        self.rows += 1;
        let subject = if subject.is_empty() { &self.collector } else { subject };
        row(event, subject, (from, now), count, &detail(), out);
    }

    /// Tells how many more there were, when their second is over.
    pub fn look(&mut self, now: Micros, out: &mut dyn PlacedSink) {
        if now - self.began < SECOND {
            return;
        }
        for (event, count) in std::mem::take(&mut self.more) {
            row(event, &self.collector, (self.began, now), count, "further ones, not told one by one", out);
        }
        (self.began, self.rows) = (now, 0);
    }
}

fn row(
    event: &str,
    subject: &str,
    (from, now): (Micros, Micros),
    count: u64,
    detail: &str,
    out: &mut dyn PlacedSink,
) {
    out.push(Row::Coverage(&CoverageRow {
        time: from,
        until: now,
        observed: now,
        event,
        subject,
        count,
        detail,
        ..Default::default()
    }));
}

#[cfg(test)]
mod tests {
    use super::*;
    use yagura_event::rows::OwnedRow;

    #[test]
    fn a_flood_is_a_few_rows_and_a_count() {
        let (mut told, mut rows) = (Told::new("c"), Vec::<OwnedRow>::new());
        for n in 0..10_000 {
            told.say("malformed", "t", (n, SECOND + n), 1, || "bad".into(), &mut rows);
        }
        assert_eq!(rows.len(), ROWS_MAX as usize);
        told.look(3 * SECOND, &mut rows);
        let counts: u64 = rows.iter().map(|row| row.number("count").expect("a count") as u64).sum();
        assert_eq!((rows.len(), counts), (ROWS_MAX as usize + 1, 10_000));
    }
}
