//! What was malformed, told without drowning in it: the first few of each second with place and reason, then
//! how many more.

use std::sync::{Mutex, PoisonError};

use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::{CoverageRow, Row};
use yagura_event::vocabulary::coverage;

use crate::places::PlacedSink;

/// Told in full within a second.
const TOLD_MAX: usize = 5;

/// The longest reason that is kept, in bytes.
const DETAIL_BYTES_MAX: usize = 512;

/// Gathers complaints of many connections for the one thread that tells them.
#[derive(Default)]
pub struct Complaints(Mutex<State>);

#[derive(Default)]
struct State {
    waiting: Vec<(String, String)>,
    /// Told in full since `since`, and beyond that.
    told: usize,
    more: u64,
    since: Micros,
    total: u64,
}

impl Complaints {
    /// `peer` sent something that cannot be read; `detail` says where and why, and is asked only where it is told.
    pub fn add(&self, peer: &str, detail: impl FnOnce() -> String) {
        let mut state = self.state();
        state.total += 1;
        if state.told >= TOLD_MAX {
            state.more += 1;
            return;
        }
        let mut detail = detail();
        if detail.len() > DETAIL_BYTES_MAX {
            detail.truncate(detail.floor_char_boundary(DETAIL_BYTES_MAX));
            detail.push('…');
        }
        state.told += 1;
        state.waiting.push((peer.to_string(), detail));
    }

    /// All so far.
    pub fn total(&self) -> u64 {
        self.state().total
    }

    /// Tells what is new. `subject` is the source itself, for what is only counted.
    pub fn tell(&self, subject: &str, now: Micros, out: &mut dyn PlacedSink) {
        let mut state = self.state();
        let waiting = std::mem::take(&mut state.waiting);
        let over = now - state.since >= SECOND;
        let more = if over { std::mem::take(&mut state.more) } else { 0 };
        if over {
            (state.told, state.since) = (0, now);
        }
        drop(state);
        let mut say = |subject: &str, count: u64, detail: &str| {
            out.push(Row::Coverage(&CoverageRow {
                time: now,
                until: now,
                observed: now,
                event: coverage::MALFORMED,
                subject,
                count,
                detail,
                ..Default::default()
            }));
        };
        for (peer, detail) in &waiting {
            say(peer, 1, detail);
        }
        if more > 0 {
            say(subject, more, &format!("{more} more within a second, not told one by one"));
        }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use yagura_event::rows::OwnedRow;

    use super::*;

    #[test]
    fn the_first_of_a_second_are_told_and_the_others_counted() {
        let complaints = Complaints::default();
        let mut rows: Vec<OwnedRow> = Vec::new();
        for n in 0..1000 {
            complaints.add("10.0.0.7", || format!("line {n}"));
        }
        complaints.tell("10.0.0.1:514", 10 * SECOND, &mut rows);
        complaints.add("10.0.0.7", || "x".repeat(10_000));
        complaints.tell("10.0.0.1:514", 10 * SECOND + 1, &mut rows);
        assert_eq!(complaints.total(), 1001);
        let counts: Vec<f64> = rows.iter().filter_map(|row| row.number("count")).collect();
        assert_eq!(counts, [1.0, 1.0, 1.0, 1.0, 1.0, 995.0, 1.0]);
        assert!(rows[6].text("detail").len() < 600 && rows[0].text("detail") == "line 0");
    }
}
