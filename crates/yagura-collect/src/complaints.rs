//! What may happen a million times a second, told without drowning in it: the first few of each second one by one,
//! then how many more of their kind there were.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::{CoverageRow, Row};
use yagura_event::vocabulary::coverage;

use crate::places::PlacedSink;

/// Told one by one within a second.
const TOLD_MAX: usize = 20;

/// The longest reason that is kept, in bytes.
const DETAIL_BYTES_MAX: usize = 512;

/// Gathers complaints, of one thread or of many connections, for the one thread that tells them between two entries
/// of a stream: what is told stands nowhere.
#[derive(Default)]
pub struct Complaints(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: Vec<Complaint>,
    /// How many of this second wait or were told one by one; it began at `since`.
    told: usize,
    since: Micros,
    /// Those beyond, by event.
    more: BTreeMap<&'static str, u64>,
    malformed: u64,
}

struct Complaint {
    event: &'static str,
    /// Whom it concerns; the source itself when empty.
    subject: String,
    /// Since when; when it is told without one.
    from: Option<Micros>,
    count: u64,
    detail: String,
}

impl Complaints {
    /// `subject` sent something that cannot be read; `detail` says where and why, and is asked only where it is told.
    pub fn add(&self, subject: &str, detail: impl FnOnce() -> String) {
        self.say(coverage::MALFORMED, subject, None, 1, detail);
    }

    /// Something happened `count` times to `subject`, or to the source itself where that is empty.
    pub fn say(
        &self,
        event: &'static str,
        subject: &str,
        from: Option<Micros>,
        count: u64,
        detail: impl FnOnce() -> String,
    ) {
        let mut state = self.state();
        if event == coverage::MALFORMED {
            state.malformed += count;
        }
        if state.told >= TOLD_MAX {
            *state.more.entry(event).or_default() += count;
            return;
        }
        let mut detail = detail();
        if detail.len() > DETAIL_BYTES_MAX {
            detail.truncate(detail.floor_char_boundary(DETAIL_BYTES_MAX));
            detail.push('…');
        }
        state.told += 1;
        state.waiting.push(Complaint { event, subject: subject.to_string(), from, count, detail });
    }

    /// Things that could not be read so far.
    pub fn malformed(&self) -> u64 {
        self.state().malformed
    }

    /// Tells what is new, and, when their second is over, how many more there were. `source` is whose they are where
    /// they are only counted.
    pub fn tell(&self, source: &str, now: Micros, out: &mut dyn PlacedSink) {
        let mut state = self.state();
        let waiting = std::mem::take(&mut state.waiting);
        let mut more = BTreeMap::new();
        if now - state.since >= SECOND {
            more = std::mem::take(&mut state.more);
            (state.told, state.since) = (0, now);
        }
        drop(state);
        for Complaint { event, subject, from, count, detail } in &waiting {
            let subject = if subject.is_empty() { source } else { subject };
            row(event, subject, (from.unwrap_or(now), now), *count, detail, out);
        }
        for (event, count) in more {
            row(event, source, (now - SECOND, now), count, "more of a second, not told one by one", out);
        }
    }

    /// Tells everything: nothing follows.
    pub fn finish(&self, source: &str, now: Micros, out: &mut dyn PlacedSink) {
        self.state().since = now - SECOND;
        self.tell(source, now, out);
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    out.nowhere();
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
    use yagura_event::rows::OwnedRow;

    use super::*;

    #[test]
    fn the_first_of_a_second_are_told_and_the_others_counted_by_event() {
        let complaints = Complaints::default();
        let mut rows: Vec<OwnedRow> = Vec::new();
        for n in 0..1000 {
            complaints.add("10.0.0.7", || format!("line {n}"));
        }
        complaints.say(coverage::GAP, "node", Some(5 * SECOND), 7, || "missing".into());
        complaints.tell("10.0.0.1:514", 10 * SECOND, &mut rows);
        complaints.say(coverage::GAP, "", Some(9 * SECOND), 3, || "x".repeat(10_000));
        complaints.finish("10.0.0.1:514", 10 * SECOND + 1, &mut rows);
        assert_eq!(complaints.malformed(), 1000);
        let counts = |event: &str| -> Vec<f64> {
            rows.iter()
                .filter(|row| row.text("event") == event)
                .filter_map(|row| row.number("count"))
                .collect()
        };
        let mut malformed = vec![1.0; TOLD_MAX];
        malformed.push(1000.0 - TOLD_MAX as f64);
        assert_eq!((counts("malformed"), counts("gap")), (malformed, vec![7.0, 3.0]));
        let last = rows.last().expect("a row");
        assert!(last.text("detail").len() < 600 && last.text("subject") == "10.0.0.1:514", "{last:?}");
        assert_eq!(rows[0].text("detail"), "line 0");
    }
}
