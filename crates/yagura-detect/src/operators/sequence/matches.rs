//! The partial matches of a cell: what has been seen of each sequence, by key.
//!
//! Nothing here knows of columns. A row says which steps select it ([`Row::steps`]), whether it
//! agrees with the first step's values and how it is packed; the rest is order and time.

use std::collections::{BTreeMap, VecDeque};

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};
use yagura_event::alert::Cause;
use yagura_event::clock::Micros;

use crate::operators::{self, Saving};

/// The most partial matches of one key: each row of a key looks at all of them.
const MATCHES_A_KEY_MAX: usize = 64;

/// What decides: the steps by number as they are written, at most 32.
#[derive(Clone, Debug)]
pub struct Rules {
    /// From the first row to the last.
    pub within: Micros,
    /// The steps that must come, in order.
    pub comes: Vec<Comes>,
    /// `guards[i]`: bits of the steps that must not come before `comes[i]` has; the last, one more
    /// than there are steps, of those that must not come after all.
    pub guards: Vec<u32>,
    /// How long after the last step those of the last guard must not come; `within` says it when
    /// there is none.
    pub quiet: Option<Micros>,
}

/// A step that must come.
#[derive(Clone, Debug)]
pub struct Comes {
    /// Its number as written.
    pub step: usize,
    /// How many rows it takes.
    pub times: usize,
    /// From the last row of the step before to its last row.
    pub within: Option<Micros>,
}

/// A row that some step selects.
pub trait Row {
    /// The collector's clock.
    fn observed(&self) -> Micros;
    /// Bits of the steps that select it, by number as written.
    fn steps(&self) -> u32;
    /// Whether it agrees with these values of the first step as this step demands.
    fn agrees(&self, step: usize, bound: &[u64]) -> bool;
    /// Appends its values that later steps compare with.
    fn bound(&self, out: &mut Vec<u64>);
    /// Hands over itself in few bytes.
    fn pack(&self, take: impl FnOnce(&[u8]));
    /// What is told of it when the time has passed.
    fn ending(&self) -> Ending;
}

/// The last row of a sequence that waits for something not to come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ending {
    /// Its place.
    pub cause: Cause,
    /// The device's time.
    pub time: Micros,
    /// The collector's.
    pub observed: Micros,
    /// Its key's values.
    pub key: Vec<String>,
    /// Whether it came late.
    pub late: bool,
}

/// What has been seen of a sequence.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Match {
    serial: u64,
    /// The place in [`Rules::comes`] that it stands before; behind the last one it waits for the
    /// time to pass.
    next: usize,
    /// Rows of that step so far.
    count: usize,
    /// Times of the first step's rows, where it takes several.
    gathered: VecDeque<Micros>,
    started: Micros,
    last: Micros,
    bound: Vec<u64>,
    /// The last row of each step that has come.
    pub rows: Rows,
    /// Of one that waits for the time to pass.
    pub ending: Option<Box<Ending>>,
}

/// Packed rows, one after the other, each behind its length.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows(Vec<u8>);

impl Rows {
    /// In order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = &self.0[..];
        std::iter::from_fn(move || {
            let (length, after) = rest.split_first_chunk()?;
            let (row, after) = after.split_at_checked(usize::from(u16::from_le_bytes(*length)))?;
            rest = after;
            Some(row)
        })
    }

    fn push(&mut self, row: &impl Row) {
        row.pack(|packed| {
            // It is kept for minutes.
            self.0.reserve_exact(2 + packed.len());
            self.0.extend_from_slice(&(packed.len() as u16).to_le_bytes());
            self.0.extend_from_slice(packed);
        });
    }
}

/// All of a cell.
pub struct Matches {
    rules: Rules,
    max: usize,
    keys: FxHashMap<u64, Vec<Match>>,
    /// By deadline and serial number, the keys of those that wait for the time to pass.
    waits: BTreeMap<(Micros, u64), u64>,
    count: usize,
    saved: Counters,
    scratch: Scratch,
}

/// Empty between two rows; what it has room for is used again.
#[derive(Default)]
struct Scratch {
    completed: Vec<Match>,
    further: Vec<Match>,
    bound: Vec<u64>,
}

#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
struct Counters {
    serial: u64,
    /// The watermark as it was last told.
    watermark: Micros,
    left: u64,
}

impl Rules {
    /// After this time a match is of no use any more. Of rows that are gathered the first may be over
    /// while the last still counts together with one that comes.
    fn ends(&self, of: &Match) -> Micros {
        if self.is_beginning(of) { of.last.saturating_add(self.within) } else { self.deadline(of) }
    }

    /// Until when a match can go one row further, or what it waits for may come.
    fn deadline(&self, of: &Match) -> Micros {
        let whole = of.started.saturating_add(self.within);
        if of.next == self.comes.len() {
            return self.quiet.map_or(whole, |quiet| of.last.saturating_add(quiet));
        }
        match self.comes[of.next].within {
            Some(within) if of.next > 0 => whole.min(of.last.saturating_add(within)),
            _ => whole,
        }
    }

    fn waits(&self, of: &Match) -> bool {
        of.next == self.comes.len()
    }

    /// Whether nothing but the first step has been seen.
    fn is_beginning(&self, of: &Match) -> bool {
        of.next <= 1 && of.count == 0 && !self.waits(of)
    }

    fn ends_with_wait(&self) -> bool {
        self.guards.last().is_some_and(|&steps| steps != 0)
    }
}

impl Matches {
    /// None yet, and never more than `max`.
    pub fn new(rules: Rules, max: usize) -> Matches {
        Matches {
            rules,
            max,
            keys: FxHashMap::default(),
            waits: BTreeMap::new(),
            count: 0,
            saved: Counters::default(),
            scratch: Scratch::default(),
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// How many left before their time.
    pub fn left(&self) -> u64 {
        self.saved.left
    }

    /// Takes a row of a key; answers the match that it completes. Of several, the one that began last.
    pub fn take(&mut self, key: u64, row: &impl Row) -> Option<Match> {
        let opens = row.steps() & (1 << self.rules.comes[0].step) != 0;
        if opens && self.count >= self.max {
            self.make_room();
        }
        let Matches { rules, keys, waits, count, saved, scratch, .. } = self;
        let list = if opens { keys.entry(key).or_default() } else { keys.get_mut(&key)? };
        let before = list.len();
        let mut of_key = OfKey { rules, list, waits, saved, scratch, key };
        let completed = of_key.take(row, opens);
        let after = of_key.list.len();
        *count = *count + after - before;
        if after == 0 {
            keys.remove(&key);
        }
        completed
    }

    /// The watermark is here now; answers those whose time has passed, in the order of their
    /// deadlines.
    pub fn advance(&mut self, watermark: Micros) -> Vec<Match> {
        self.saved.watermark = watermark;
        let mut passed = Vec::new();
        while let Some(entry) = self.waits.first_entry()
            && entry.key().0 < watermark
        {
            let ((_, serial), key) = entry.remove_entry();
            let Some(list) = self.keys.get_mut(&key) else { continue };
            if let Some(at) = list.iter().position(|m| m.serial == serial) {
                passed.push(list.remove(at));
                self.count -= 1;
            }
            if list.is_empty() {
                self.keys.remove(&key);
            }
        }
        passed
    }

    /// Makes room: those that cannot go on leave, then a quarter of the others, the oldest first.
    fn make_room(&mut self) {
        let Matches { rules, keys, waits, count, saved, max, .. } = self;
        let over = |m: &Match| !rules.waits(m) && rules.ends(m) < saved.watermark;
        for list in keys.values_mut() {
            list.retain(|m| !over(m));
        }
        let mut order: Vec<(Micros, u64)> = keys.values().flatten().map(|m| (m.started, m.serial)).collect();
        if order.len() >= *max {
            // A quarter at a time, so that a flood does not sort at every row.
            let quarter = max.div_ceil(4);
            order.sort_unstable();
            let limit = order[quarter - 1];
            for list in keys.values_mut() {
                list.retain(|m| (m.started, m.serial) > limit);
            }
            waits.retain(|&(_, serial), key| {
                keys.get(key).is_some_and(|list| list.iter().any(|m| m.serial == serial))
            });
            saved.left += quarter as u64;
        }
        keys.retain(|_, list| !list.is_empty());
        *count = keys.values().map(Vec::len).sum();
    }

    /// The state, for a snapshot.
    pub fn save(&self) -> Saving {
        let mut keys: Vec<(u64, Vec<Match>)> = self.keys.iter().map(|(key, of)| (*key, of.clone())).collect();
        let saved = self.saved;
        Box::new(move || {
            keys.sort_unstable_by_key(|(key, _)| *key);
            operators::saved(SAVED_VERSION, &(saved, keys))
        })
    }

    /// Takes a saved state back.
    pub fn restore(&mut self, saved: &[u8]) -> Result<(), String> {
        let (saved, keys): (Counters, Vec<(u64, Vec<Match>)>) =
            operators::restored(SAVED_VERSION, "a sequence", saved)?;
        self.saved = saved;
        self.keys = keys.into_iter().collect();
        self.count = self.keys.values().map(Vec::len).sum();
        self.waits = BTreeMap::new();
        for (&key, list) in &self.keys {
            for waiting in list.iter().filter(|m| self.rules.waits(m)) {
                self.waits.insert((self.rules.deadline(waiting), waiting.serial), key);
            }
        }
        Ok(())
    }
}

/// The version of the saved form.
const SAVED_VERSION: u16 = 2;

/// The matches of one key while a row is taken.
struct OfKey<'a> {
    rules: &'a Rules,
    list: &'a mut Vec<Match>,
    waits: &'a mut BTreeMap<(Micros, u64), u64>,
    saved: &'a mut Counters,
    scratch: &'a mut Scratch,
    key: u64,
}

impl OfKey<'_> {
    fn take(&mut self, row: &impl Row, opens: bool) -> Option<Match> {
        let mut completed = std::mem::take(&mut self.scratch.completed);
        self.forget(row);
        self.go_on(row, &mut completed);
        if opens && let Some(begun) = self.begin(row) {
            completed.push(begun);
        }
        for done in &completed {
            // Its rows are told: what began with them, or before, is over.
            let rules = self.rules;
            self.list.retain(|m| rules.waits(m) || m.bound != done.bound || m.started > done.started);
        }
        let mut last = None;
        if self.rules.ends_with_wait() {
            completed.drain(..).for_each(|done| self.wait(done, row));
        } else {
            last = completed.drain(..).max_by_key(|m| (m.started, m.serial));
        }
        self.scratch.completed = completed;
        last
    }

    /// Drops what cannot go on any more, and what the row ends because it must not have come.
    fn forget(&mut self, row: &impl Row) {
        let OfKey { rules, list, waits, saved, .. } = self;
        let (observed, steps) = (row.observed(), row.steps());
        let horizon = saved.watermark.min(observed);
        list.retain(|m| {
            let (waiting, deadline) = (rules.waits(m), rules.ends(m));
            if !waiting && deadline < horizon {
                return false;
            }
            let mut guards = rules.guards[m.next] & steps;
            if observed < m.last || (waiting && observed > deadline) {
                guards = 0;
            }
            while guards != 0 {
                if row.agrees(guards.trailing_zeros() as usize, &m.bound) {
                    if waiting {
                        waits.remove(&(deadline, m.serial));
                    }
                    return false;
                }
                guards &= guards - 1;
            }
            true
        });
    }

    /// Each match that the row continues goes one row further, or becomes complete with it.
    fn go_on(&mut self, row: &impl Row, completed: &mut Vec<Match>) {
        let (observed, steps) = (row.observed(), row.steps());
        let mut further = std::mem::take(&mut self.scratch.further);
        for index in 0..self.list.len() {
            let of = &self.list[index];
            if of.next == 0 || self.rules.waits(of) {
                continue;
            }
            let comes = &self.rules.comes[of.next];
            let fits = steps & (1 << comes.step) != 0
                && (of.last..=self.rules.deadline(of)).contains(&observed)
                && row.agrees(comes.step, &of.bound);
            if !fits {
                continue;
            }
            // A beginning stays: what comes later may fit it better.
            let mut of = if self.rules.is_beginning(of) {
                of.clone()
            } else {
                std::mem::replace(&mut self.list[index], Match { next: GONE, ..Match::default() })
            };
            of.last = observed;
            of.gathered = VecDeque::new();
            of.count += 1;
            if of.count == comes.times {
                (of.next, of.count) = (of.next + 1, 0);
                if of.next == self.rules.comes.len() {
                    completed.push(of);
                    continue;
                }
                of.rows.push(row);
            }
            further.push(of);
        }
        self.list.retain(|m| m.next != GONE);
        further.drain(..).for_each(|of| self.put(of));
        self.scratch.further = further;
    }

    /// The row as one of the first step; answers the match if no other step must come.
    fn begin(&mut self, row: &impl Row) -> Option<Match> {
        let (observed, times) = (row.observed(), self.rules.comes[0].times);
        let mut bound = std::mem::take(&mut self.scratch.bound);
        bound.clear();
        row.bound(&mut bound);
        let only = self.rules.comes.len() == 1;
        let rules = self.rules;
        if only && self.is_waited_for(&bound, observed) {
            self.scratch.bound = bound;
            return None;
        }
        let at = self.list.iter().position(|m| rules.is_beginning(m) && m.bound == bound);
        let mut of = match at {
            Some(at) => self.list.swap_remove(at),
            None => {
                let serial = self.serial();
                Match { last: Micros::MIN, bound: bound.clone(), serial, ..Match::default() }
            }
        };
        self.scratch.bound = bound;
        if observed >= of.last {
            of.last = observed;
            of.rows.0.clear();
            of.rows.push(row);
        }
        if times == 1 {
            of.started = of.last;
        } else {
            let begin = of.last.saturating_sub(self.rules.within);
            of.gathered.insert(of.gathered.partition_point(|&t| t <= observed), observed);
            of.gathered.retain(|&t| t >= begin);
            if of.gathered.len() > times {
                of.gathered.pop_front();
            }
            of.started = of.gathered.front().copied().unwrap_or(of.last);
        }
        of.next = usize::from(times == 1 || of.gathered.len() == times);
        if only && of.next == 1 {
            of.gathered = VecDeque::new();
            return Some(of);
        }
        self.push(of);
        None
    }

    /// A match whose steps have all come waits for the time to pass; the first of several does.
    fn wait(&mut self, mut done: Match, row: &impl Row) {
        if self.is_waited_for(&done.bound, row.observed()) {
            return;
        }
        if done.rows.iter().count() < self.rules.comes.len() {
            done.rows.push(row);
        }
        done.next = self.rules.comes.len();
        done.serial = self.serial();
        done.ending = Some(Box::new(row.ending()));
        self.waits.insert((self.rules.deadline(&done), done.serial), self.key);
        self.push(done);
    }

    /// Whether one with these values waits already, and not for a time that is over.
    fn is_waited_for(&self, bound: &[u64], observed: Micros) -> bool {
        let waits = |m: &Match| self.rules.waits(m) && self.rules.deadline(m) >= observed;
        self.list.iter().any(|m| m.bound == bound && waits(m))
    }

    /// Puts a match that went on among the others; of two at the same place with the same values
    /// the one that began later can do all that the other can.
    fn put(&mut self, mut of: Match) {
        of.serial = self.serial();
        let place = |m: &Match| (m.next, m.count);
        let same = self.list.iter_mut().find(|m| place(m) == place(&of) && m.bound == of.bound);
        match same {
            Some(same) if same.started > of.started => {}
            Some(same) => *same = of,
            None => self.push(of),
        }
    }

    fn push(&mut self, of: Match) {
        if self.list.len() >= MATCHES_A_KEY_MAX {
            let oldest = self.list.iter().enumerate().min_by_key(|(_, m)| (m.started, m.serial));
            if let Some((at, _)) = oldest {
                let oldest = self.list.swap_remove(at);
                if self.rules.waits(&oldest) {
                    self.waits.remove(&(self.rules.deadline(&oldest), oldest.serial));
                }
                self.saved.left += 1;
            }
        }
        if self.list.len() == self.list.capacity() {
            // Most keys have one or two; a vector would begin with four.
            self.list.reserve_exact(1 + self.list.len() / 2);
        }
        self.list.push(of);
    }

    fn serial(&mut self) -> u64 {
        self.saved.serial += 1;
        self.saved.serial
    }
}

/// Stands in a list for a match that was taken out of it.
const GONE: usize = usize::MAX;
