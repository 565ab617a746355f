//! What happens too often for a row each: counted, and reported together.

use yagura_event::clock::Micros;
use yagura_event::rows::{CoverageRow, Row, RowSink};
use yagura_event::vocabulary::coverage;

use crate::headers::Malformed;

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Notice {
    /// A packet's headers contradict themselves.
    Malformed(Malformed),
    /// A flow had to go before its time.
    Flows,
    /// A hole had to be given up for want of memory.
    Held,
    /// Bytes of unfinished messages were dropped for want of memory.
    Unread,
    /// An incomplete IP datagram had to go before its time.
    Fragments,
    /// An IP datagram never became whole.
    Incomplete,
    /// A tunnel was not opened.
    Tunnels,
    /// A segment or fragment repeats bytes with another content.
    Overlap,
}

const MALFORMED: usize = Malformed::ALL.len();
const OTHERS: usize = 7;

/// All notices since they were last reported.
#[derive(Default)]
pub(crate) struct Notices([Seen; MALFORMED + OTHERS]);

#[derive(Default, Clone, Copy)]
struct Seen {
    count: u64,
    first: Micros,
    last: Micros,
    /// The first one's packet.
    number: u64,
}

impl Notices {
    /// It happened `count` times at packet `number`.
    pub(crate) fn add(&mut self, notice: Notice, count: u64, time: Micros, number: u64) {
        let seen = &mut self.0[place(notice)];
        if seen.count == 0 {
            *seen = Seen { count: 0, first: time, last: time, number };
        }
        seen.count += count;
        seen.last = seen.last.max(time);
    }

    /// One row for each kind that happened since the last time.
    pub(crate) fn report(&mut self, observed: Micros, out: &mut dyn RowSink) {
        for notice in all() {
            let Seen { count, first, last, number } = std::mem::take(&mut self.0[place(notice)]);
            if count == 0 {
                continue;
            }
            let (event, subject, words) = words(notice);
            let detail = format!("{words}; the first is packet {number}");
            out.push(Row::Coverage(&CoverageRow {
                time: first,
                until: last,
                observed,
                event,
                subject,
                count,
                detail: &detail,
                ..CoverageRow::default()
            }));
        }
    }
}

fn all() -> impl Iterator<Item = Notice> {
    let others = [
        Notice::Flows,
        Notice::Held,
        Notice::Unread,
        Notice::Fragments,
        Notice::Incomplete,
        Notice::Tunnels,
        Notice::Overlap,
    ];
    Malformed::ALL.into_iter().map(Notice::Malformed).chain(others)
}

fn place(notice: Notice) -> usize {
    match notice {
        Notice::Malformed(how) => how as usize,
        Notice::Flows => MALFORMED,
        Notice::Held => MALFORMED + 1,
        Notice::Unread => MALFORMED + 2,
        Notice::Fragments => MALFORMED + 3,
        Notice::Incomplete => MALFORMED + 4,
        Notice::Tunnels => MALFORMED + 5,
        Notice::Overlap => MALFORMED + 6,
    }
}

/// Event, subject and detail of the row.
fn words(notice: Notice) -> (&'static str, &'static str, &'static str) {
    match notice {
        Notice::Malformed(how) => (coverage::MALFORMED, "packets", how.words()),
        Notice::Flows => (
            coverage::DROP,
            "flows_max",
            "flows ended before their time, since the table is full; raise the limit `flows_max`",
        ),
        Notice::Held => (
            coverage::DROP,
            "held_bytes_max",
            "holes in streams were given up, since what waits behind them is too much; raise the limits \
             `held_bytes_flow_max`, `held_segments_flow_max` or `held_bytes_max`",
        ),
        Notice::Unread => (
            coverage::DROP,
            "unread_bytes_max",
            "bytes of unfinished messages were dropped; raise the limit `unread_bytes_max`",
        ),
        Notice::Fragments => (
            coverage::DROP,
            "fragments_max",
            "incomplete IP datagrams were dropped before their time; raise the limits `fragments_max` or \
             `fragment_bytes_max`",
        ),
        Notice::Incomplete => (coverage::GAP, "fragments", "IP datagrams never became whole"),
        Notice::Tunnels => (
            coverage::DROP,
            "tunnels_max",
            "packets lie in more tunnels than are opened; raise the limit `tunnels_max`",
        ),
        Notice::Overlap => (
            coverage::MALFORMED,
            "overlaps",
            "TCP segments repeat bytes with another content, and hosts differ in which of the two they take: \
             here the first counts",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_notice_has_a_place_of_its_own() {
        let mut places: Vec<usize> = all().map(place).collect();
        places.sort_unstable();
        assert_eq!(places, (0..MALFORMED + OTHERS).collect::<Vec<_>>());
    }
}
