//! What is on its way: which alerts await an acknowledgement, and which offsets may be committed.

use std::collections::{BTreeMap, HashMap, VecDeque};

use uuid::Uuid;
use yagura_event::alert::Alert;

use crate::message::News;

/// Sequences of a cell that are remembered to recognise repeats.
const REMEMBERED: usize = 1024;

/// Cells of a partition that are remembered; over it the memory begins anew, which at worst
/// repeats an alert and never loses one.
const CELLS_MAX: usize = 4096;

/// Alerts of a partition whose newest revision is remembered, likewise: at worst a decision is told that a return
/// has overtaken.
const REVISIONS_MAX: usize = 8192;

/// Alerts between the log and the receiver, in order.
#[derive(Default)]
pub(crate) struct Window {
    /// Ascending by token. The first `sent` of them went over the present connection.
    slots: VecDeque<Slot>,
    sent: usize,
    token: u64,
    partitions: BTreeMap<u32, Partition>,
}

struct Slot {
    token: u64,
    /// None for what the program says in its own name.
    origin: Option<Origin>,
    news: News,
    acknowledged: bool,
}

/// The record that an alert came in.
#[derive(Clone, Copy)]
struct Origin {
    partition: u32,
    /// Its number in the partition's history, see [`Partition::first`].
    record: u64,
}

#[derive(Default)]
struct Partition {
    /// Records not committed yet: the offset after each, and how many of its alerts are open.
    records: VecDeque<(u64, usize)>,
    /// The number of the first of them.
    first: u64,
    /// For each cell, marks of the alerts with its last sequences, by sequence.
    seen: HashMap<String, Box<[u64; REMEMBERED]>>,
    /// The newest revision of those that came last.
    newest: HashMap<Uuid, u32>,
}

impl Window {
    /// Takes what the record before offset `next` tells; answers how much of it was repeats, or overtaken.
    pub fn admit(&mut self, partition: u32, next: u64, news: Vec<News>) -> u64 {
        let state = self.partitions.entry(partition).or_default();
        let record = state.first + state.records.len() as u64;
        let mut repeats = 0;
        let mut open = 0;
        for news in news {
            if state.is_old(&news) {
                repeats += 1;
                continue;
            }
            open += 1;
            self.token += 1;
            let origin = Some(Origin { partition, record });
            self.slots.push_back(Slot { token: self.token, origin, news, acknowledged: false });
        }
        state.records.push_back((next, open));
        repeats
    }

    /// Takes what the program says in its own name, such as a heartbeat. It holds no offset back, and is not
    /// sent again when the connection breaks.
    pub fn admit_notice(&mut self, alert: Alert) {
        self.token += 1;
        self.slots.push_back(Slot {
            token: self.token,
            origin: None,
            news: alert.into(),
            acknowledged: false,
        });
    }

    /// Whether such a notice has not been acknowledged yet.
    pub fn has_notice(&self) -> bool {
        self.slots.iter().any(|slot| slot.origin.is_none() && !slot.acknowledged)
    }

    /// The next alert to send, when fewer than `limit` are on their way. Call
    /// [`Window::mark_sent`] once it is.
    pub fn next_to_send(&self, limit: usize) -> Option<(u64, &News)> {
        if self.sent >= limit {
            return None;
        }
        self.slots.get(self.sent).map(|slot| (slot.token, &slot.news))
    }

    /// The alert of [`Window::next_to_send`] is on its way.
    pub fn mark_sent(&mut self) {
        self.sent += 1;
    }

    /// The connection is gone: all that is not acknowledged goes again. Answers how many had been sent.
    pub fn reset_sent(&mut self) -> usize {
        // Acknowledged slots behind an open one have nothing left to do.
        self.slots.retain(|slot| !slot.acknowledged && slot.origin.is_some());
        std::mem::take(&mut self.sent)
    }

    /// What of the log stands under a token; none for a notice, and for what is not open any more.
    pub fn open(&self, token: u64) -> Option<&News> {
        let at = self.slots.binary_search_by_key(&token, |slot| slot.token).ok()?;
        let slot = &self.slots[at];
        (slot.origin.is_some() && !slot.acknowledged).then_some(&slot.news)
    }

    /// Notes an acknowledgement; false when it is for nothing that is still open (a partition
    /// that went to somebody else).
    pub fn acknowledge(&mut self, token: u64) -> bool {
        let Ok(at) = self.slots.binary_search_by_key(&token, |slot| slot.token) else { return false };
        let slot = &mut self.slots[at];
        if slot.acknowledged {
            return false;
        }
        slot.acknowledged = true;
        if let Some(origin) = slot.origin
            && let Some(partition) = self.partitions.get_mut(&origin.partition)
            && let Some(index) = origin.record.checked_sub(partition.first)
            && let Some((_, open)) = partition.records.get_mut(index as usize)
        {
            *open -= 1;
        }
        while self.slots.front().is_some_and(|slot| slot.acknowledged) {
            self.slots.pop_front();
            self.sent = self.sent.saturating_sub(1);
        }
        true
    }

    /// The offsets that have become committable since the last call: all before them is acknowledged.
    pub fn take_commits(&mut self) -> Vec<(u32, u64)> {
        let mut commits = Vec::new();
        for (number, partition) in &mut self.partitions {
            let mut done = None;
            while let Some((next, 0)) = partition.records.front() {
                done = Some(*next);
                partition.records.pop_front();
                partition.first += 1;
            }
            commits.extend(done.map(|next| (*number, next)));
        }
        commits
    }

    /// Forgets a partition that goes to somebody else, and that it has seen its alerts: should it
    /// come back, it is read again from the committed offset.
    pub fn forget(&mut self, partition: u32) {
        self.partitions.remove(&partition);
        let stays = |slot: &Slot| slot.origin.is_none_or(|origin| origin.partition != partition);
        self.sent = self.slots.iter().take(self.sent).filter(|slot| stays(slot)).count();
        self.slots.retain(stays);
    }

    /// Alerts held.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Alerts sent over the present connection that await their acknowledgement or that of an
    /// earlier one.
    pub fn on_their_way(&self) -> usize {
        self.sent
    }
}

impl Partition {
    /// Whether it was told before, or decides about an alert that has counted on since somebody looked: that came
    /// back, and its receiver is not told that it is over.
    fn is_old(&mut self, news: &News) -> bool {
        let News { alert, decided, stands: _ } = news;
        if decided.is_some() {
            return self.newest.get(&alert.uid).is_some_and(|newest| *newest > alert.revision);
        }
        if self.newest.len() >= REVISIONS_MAX && !self.newest.contains_key(&alert.uid) {
            self.newest.clear();
        }
        let newest = self.newest.entry(alert.uid).or_default();
        *newest = alert.revision.max(*newest);
        self.is_repeat(alert)
    }

    /// Whether the alert is among the last [`REMEMBERED`] of its cell; remembers it.
    ///
    /// A repeat has the cell's sequence and the same revision of the same alert. Should a cell's
    /// numbering ever begin anew, its alerts are new ones: when in doubt they are sent.
    fn is_repeat(&mut self, alert: &Alert) -> bool {
        if self.seen.len() >= CELLS_MAX && !self.seen.contains_key(&alert.cell) {
            self.seen.clear();
        }
        let (high, low) = alert.uid.as_u64_pair();
        let odd = |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29);
        let mark =
            (high ^ odd(low) ^ odd(alert.sequence.wrapping_add(1)) ^ odd(odd(u64::from(alert.revision)))) | 1;
        let marks = match self.seen.get_mut(&alert.cell) {
            Some(marks) => marks,
            None => self.seen.entry(alert.cell.clone()).or_insert_with(|| Box::new([0; REMEMBERED])),
        };
        let place = &mut marks[(alert.sequence % REMEMBERED as u64) as usize];
        std::mem::replace(place, mark) == mark
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cases::Verdict;
    use crate::fixtures;
    use crate::told::tests::decided;

    fn alerts(sequences: std::ops::Range<u64>) -> Vec<News> {
        sequences.map(|number| fixtures::alert(number).into()).collect()
    }

    fn send_all(window: &mut Window) -> Vec<u64> {
        let mut tokens = Vec::new();
        while let Some((token, _)) = window.next_to_send(100) {
            tokens.push(token);
            window.mark_sent();
        }
        tokens
    }

    #[test]
    fn offsets_follow_the_acknowledged_prefix_only() {
        let mut window = Window::default();
        window.admit(0, 1, alerts(0..2));
        window.admit(0, 2, vec![]);
        window.admit(0, 3, alerts(2..3));
        let tokens = send_all(&mut window);
        assert_eq!(tokens.len(), 3);
        assert!(window.acknowledge(tokens[2]));
        assert!(window.acknowledge(tokens[1]));
        assert_eq!(window.take_commits(), []);
        assert!(window.acknowledge(tokens[0]));
        assert!(!window.acknowledge(tokens[0]), "only once");
        assert_eq!(window.take_commits(), [(0, 3)]);
        assert_eq!((window.len(), window.on_their_way()), (0, 0));
        window.admit(0, 4, vec![]);
        assert_eq!(window.take_commits(), [(0, 4)], "a record without alerts is done at once");
    }

    #[test]
    fn a_broken_connection_sends_the_open_ones_again() {
        let mut window = Window::default();
        window.admit(0, 1, alerts(0..4));
        let tokens = send_all(&mut window);
        assert!(window.acknowledge(tokens[0]));
        assert!(window.acknowledge(tokens[2]));
        assert_eq!(window.reset_sent(), 3);
        assert_eq!(send_all(&mut window), [tokens[1], tokens[3]]);
        window.acknowledge(tokens[3]);
        window.acknowledge(tokens[1]);
        assert_eq!(window.take_commits(), [(0, 1)]);
    }

    #[test]
    fn the_limit_bounds_what_is_on_its_way() {
        let mut window = Window::default();
        window.admit(0, 1, alerts(0..4));
        for _ in 0..2 {
            assert!(window.next_to_send(2).is_some());
            window.mark_sent();
        }
        assert!(window.next_to_send(2).is_none());
        assert_eq!(window.on_their_way(), 2);
    }

    #[test]
    fn a_notice_holds_nothing_back_and_is_not_sent_again() {
        let mut window = Window::default();
        window.admit(0, 1, alerts(0..1));
        window.admit_notice(fixtures::alert(9));
        let tokens = send_all(&mut window);
        assert!(window.acknowledge(tokens[0]));
        assert_eq!(window.take_commits(), [(0, 1)]);
        assert!(window.has_notice() && window.open(tokens[1]).is_none());
        window.forget(0);
        assert_eq!(window.on_their_way(), 1);
        assert_eq!(window.reset_sent(), 1);
        assert_eq!((window.has_notice(), window.len()), (false, 0));
        assert!(!window.acknowledge(tokens[1]));
        window.admit_notice(fixtures::alert(10));
        let tokens = send_all(&mut window);
        assert!(window.acknowledge(tokens[0]) && !window.has_notice());
    }

    #[test]
    fn repeats_are_dropped_and_still_hold_the_offset_back() {
        let mut window = Window::default();
        assert_eq!(window.admit(0, 1, alerts(0..2)), 0);
        assert_eq!(window.admit(0, 2, alerts(1..2)), 1);
        assert_eq!(window.take_commits(), [], "the repeated one has not arrived yet");
        let mut revised = fixtures::alert(1);
        revised.revision = 2;
        assert_eq!(window.admit(0, 3, vec![revised.into()]), 0, "another revision is no repeat");
        for token in send_all(&mut window) {
            window.acknowledge(token);
        }
        assert_eq!(window.take_commits(), [(0, 3)]);
    }

    #[test]
    fn a_partition_that_comes_back_is_not_taken_for_a_repeat() {
        let mut window = Window::default();
        window.admit(0, 1, alerts(0..1));
        window.admit(1, 1, alerts(5..6));
        let tokens = send_all(&mut window);
        window.forget(0);
        assert!(!window.acknowledge(tokens[0]), "an answer for what is somebody else's");
        assert_eq!(window.on_their_way(), 1);
        assert_eq!(window.admit(0, 1, alerts(0..1)), 0);
        assert!(window.acknowledge(tokens[1]));
        assert_eq!(window.take_commits(), [(1, 1)]);
        assert_eq!(window.len(), 1);
    }

    #[test]
    fn a_decision_is_told_unless_its_alert_has_counted_on() {
        let decision = |number, revision| {
            let alert = Alert { revision, ..fixtures::alert(number) };
            News { alert, decided: Some(Arc::new(decided(Verdict::Resolved))), stands: None }
        };
        let mut window = Window::default();
        window.admit(0, 1, alerts(0..1));
        window.admit(0, 2, vec![Alert { revision: 2, ..fixtures::alert(0) }.into()]);
        assert_eq!(window.admit(0, 3, vec![decision(0, 1), decision(0, 2), decision(7, 1)]), 1);
        let tokens = send_all(&mut window);
        assert_eq!(tokens.len(), 4);
        let told: Vec<bool> =
            tokens.iter().filter_map(|token| window.open(*token)).map(|n| n.decided.is_some()).collect();
        assert_eq!(told, [false, false, true, true], "in the log's order");
        tokens[..3].iter().for_each(|token| assert!(window.acknowledge(*token)));
        assert_eq!(window.take_commits(), [(0, 2)]);
        assert!(window.acknowledge(tokens[3]));
        assert_eq!(window.take_commits(), [(0, 3)]);
        for number in 0..REVISIONS_MAX as u64 + 9 {
            window.admit(1, number, alerts(number..number + 1));
        }
        assert!(window.partitions[&1].newest.len() <= REVISIONS_MAX);
    }

    #[test]
    fn many_cells_and_sequences_do_not_grow_the_memory() {
        let mut partition = Partition::default();
        let mut alert = fixtures::alert(0);
        for sequence in [0, 1, u64::MAX - 1, u64::MAX] {
            alert.sequence = sequence;
            assert!(!partition.is_repeat(&alert));
            assert!(partition.is_repeat(&alert));
        }
        for cell in 0..CELLS_MAX + 10 {
            alert.cell = format!("c{cell}");
            assert!(!partition.is_repeat(&alert));
            assert!(partition.seen.len() <= CELLS_MAX);
        }
    }
}
