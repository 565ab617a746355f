//! What a collector could not see, added up from the `coverage` rows that it writes.

use std::collections::BTreeSet;

use yagura_event::rows::CoverageRow;
use yagura_event::vocabulary::coverage;

/// Subjects that are remembered as down: their names come from outside.
const DOWN_MAX: usize = 4096;

/// How long, and of what, nothing was seen.
#[derive(Default)]
pub struct Blind {
    micros: u64,
    down: BTreeSet<String>,
}

impl Blind {
    /// Takes a row in.
    pub fn note(&mut self, row: &CoverageRow<'_>) {
        match row.event {
            coverage::DOWN if self.down.len() < DOWN_MAX => {
                self.down.insert(row.subject.into());
            }
            coverage::START | coverage::STOP | coverage::GAP => {
                self.down.remove(row.subject);
            }
            _ => {}
        }
        if [coverage::GAP, coverage::DOWN, coverage::DROP].contains(&row.event) {
            self.micros += row.until.saturating_sub(row.time).max(0) as u64;
        }
    }

    /// Microseconds that were not seen, of all subjects together; told when they are over.
    pub fn micros(&self) -> u64 {
        self.micros
    }

    /// Subjects that cannot be read now.
    pub fn down(&self) -> u64 {
        self.down.len() as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn time_that_was_not_seen_is_added_up_and_what_is_down_is_known() {
        let mut blind = Blind::default();
        for (event, subject, time, until, expected) in [
            (coverage::START, "eth1", 0, 0, (0, 0)),
            (coverage::DOWN, "eth1", 10, 10, (0, 1)),
            (coverage::DOWN, "eth1", 11, 11, (0, 1)),
            (coverage::DOWN, "eth2", 12, 12, (0, 2)),
            (coverage::GAP, "eth1", 10, 25, (15, 1)),
            (coverage::START, "eth2", 30, 30, (15, 0)),
            (coverage::DROP, "eth1", 40, 45, (20, 0)),
            (coverage::SILENT, "eth1", 50, 90, (20, 0)),
            // A clock that was set back takes nothing away.
            (coverage::GAP, "eth1", 100, 90, (20, 0)),
        ] {
            blind.note(&CoverageRow { time, until, event, subject, ..Default::default() });
            assert_eq!((blind.micros(), blind.down()), expected, "{event} of {subject} at {time}");
        }
    }

    #[test]
    fn subjects_without_end_do_not_fill_the_memory() {
        let mut blind = Blind::default();
        for number in 0..DOWN_MAX + 10 {
            let subject = format!("file-{number}");
            blind.note(&CoverageRow { event: coverage::DOWN, subject: &subject, ..Default::default() });
        }
        assert_eq!(blind.down(), DOWN_MAX as u64);
    }
}
