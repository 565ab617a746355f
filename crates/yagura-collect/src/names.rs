//! How the plant calls what sources name: from a source's own names to tool, chamber, signal and unit.
//!
//! [`NameTable`] is what the plant wrote down, [`Signals`] what one collector makes of it: a name is looked up
//! once and has a number from then on, and its values go to the writer by number alone.
//!
//! Names come from outside. A collector keeps at most [`NAMES_MAX`] of them, none longer than
//! [`NAME_BYTES_MAX`], and [`TEXT_BYTES_MAX`] bytes of text; with its lists that is some 100 bytes a name beside
//! its text. Values of whatever is more go under one series named `overflow`, marked bad, and are counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use hashbrown::HashTable;
use rustc_hash::FxHashMap;
use yagura_event::clock::{Micros, SECOND};
use yagura_event::rows::{ContextRow, CoverageRow, MeasuredRow, Row, RowSink};
use yagura_event::same_name;
use yagura_event::units::{self, Conversion};
use yagura_event::vocabulary::coverage;

use crate::places::{PlacedSink, SeriesOf};

mod pattern;
mod table;

pub use table::{Covered, LinePlace, Mapped, NameTable, Report, check};

/// Names that a collector may have.
pub const NAMES_MAX: usize = 1_000_000;
/// The longest name.
pub const NAME_BYTES_MAX: usize = 1024;
/// The most bytes of all texts of a collector's names.
pub const TEXT_BYTES_MAX: usize = 256 << 20;

/// The class of what no table names, where there is one for the collector.
pub const UNMAPPED: &str = "unmapped";

/// Names that no table has are told so often at most, and so many by name.
const TOLD_EVERY: Micros = 60 * SECOND;
const TOLD_NAMES_MAX: usize = 100;
/// How many bytes the told names may have.
const TOLD_BYTES_MAX: usize = 16 << 10;
/// Changes of units that wait to be told, and how many are told at a time.
const CHANGES_MAX: usize = 1000;
const CHANGES_TOLD_MAX: usize = 20;

/// See [`Signals::naming`].
pub struct Naming<'a> {
    signals: &'a mut Signals,
    out: &'a mut dyn PlacedSink,
}

impl RowSink for Naming<'_> {
    fn push(&mut self, row: Row<'_>) {
        let Row::Measured(row) = row else { return self.out.push(row) };
        let mut name = std::mem::take(&mut self.signals.composed);
        name.clear();
        for part in [row.tool, row.chamber, row.signal].into_iter().filter(|part| !part.is_empty()) {
            if !name.is_empty() {
                name.push('/');
            }
            name.push_str(part);
        }
        let MeasuredRow { tool, chamber, signal, unit, class, .. } = *row;
        let number = self.signals.number(&Given { name: &name, tool, chamber, signal, unit, class });
        self.signals.composed = name;
        let reading = Reading { time: row.time, observed: row.observed, quality: row.quality };
        self.signals.value(number, reading, row.value, self.out);
    }

    fn is_done(&self) -> bool {
        self.out.is_done()
    }
}

/// A signal as a source calls it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Given<'a> {
    /// What names it within the source: a node's path, a topic, a register, a column. Names of one source are
    /// distinct.
    pub name: &'a str,
    /// The tool, where the source knows it; for a name that no table has.
    pub tool: &'a str,
    /// The chamber, where the source knows it.
    pub chamber: &'a str,
    /// The signal, where that is not the whole name.
    pub signal: &'a str,
    /// The unit in which the source gives it; empty when unknown.
    pub unit: &'a str,
    /// What kind of value it is, where the source knows it.
    pub class: &'a str,
}

/// When a value was measured and received, and how good it is.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// The device's time.
    pub time: Micros,
    /// The collector's clock.
    pub observed: Micros,
    /// 0 good, 1 uncertain, 2 bad.
    pub quality: u8,
}

/// The signals of one collector: each name is looked up once and has a number from then on.
pub struct Signals {
    collector: String,
    table: Arc<NameTable>,
    /// Which of the table's sources are this collector.
    sources: Box<[bool]>,
    /// Whether a line holds for this collector.
    mapped: bool,
    /// Tells these signals from those of others at the writer.
    id: u32,
    texts: Texts,
    known: Vec<Known>,
    /// Places in `known` by the name's hash.
    positions: HashTable<u32>,
    /// Who was asked for last: sources name their signals in the same order again and again.
    last: usize,
    /// Names that no table has, in the order of their first appearance, and up to where they are told.
    unmapped: Vec<u32>,
    told: usize,
    told_at: Option<Micros>,
    changes: Vec<Change>,
    /// Changes that were not kept.
    more_changes: u64,
    /// The number of all that is too much, once there is such a thing.
    overflow: Option<u32>,
    overflowed: AtomicU64,
    /// The name of a row that brings its own: see [`Signals::naming`].
    composed: String,
}

struct Known {
    name: Span,
    signal: Span,
    /// Whose number comes after it, mostly.
    next: u32,
    cell: Word,
    tool: Word,
    chamber: Word,
    /// The plant's unit.
    unit: Word,
    /// The source's unit, as it wrote it.
    given: Word,
    class: Word,
    /// The name of the context that its texts are, if they are one: lot, recipe, step.
    context: Word,
    conversion: Conversion,
    /// No value is better.
    quality: u8,
}

/// A unit that is not the one before, or does not become the plant's.
struct Change {
    number: u32,
    from: Word,
    to: Word,
    first: bool,
}

/// What a name becomes.
#[derive(Debug)]
struct Resolved {
    cell: String,
    tool: String,
    chamber: String,
    signal: String,
    unit: String,
    /// The unit that values come in.
    from: String,
    class: String,
    context: String,
    /// `None` where values do not become values in the plant's unit.
    conversion: Option<Conversion>,
}

fn resolve(collector: &str, given: &Given<'_>, named: Option<table::Named>) -> Resolved {
    let named = named.unwrap_or_default();
    let or = |text: String, other: &str| if text.is_empty() { other.to_string() } else { text };
    let from = if given.unit.is_empty() { named.from_unit } else { given.unit.to_string() };
    let conversion = units::conversion(&from, &named.unit);
    Resolved {
        cell: named.cell,
        tool: or(or(named.tool, given.tool), collector),
        chamber: or(named.chamber, given.chamber),
        signal: or(or(named.signal, given.signal), given.name),
        unit: units::normal(if named.unit.is_empty() { &from } else { &named.unit }).into_owned(),
        from,
        class: or(named.class, given.class),
        context: named.context,
        conversion,
    }
}

impl Signals {
    /// No signals yet.
    pub fn new(collector: &str, table: &Arc<NameTable>) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let sources = table.sources_of(collector);
        let mapped = table.lines_of(&sources).next().is_some();
        Signals {
            collector: collector.into(),
            table: Arc::clone(table),
            sources,
            mapped,
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            texts: Texts::default(),
            known: Vec::new(),
            positions: HashTable::new(),
            last: 0,
            unmapped: Vec::new(),
            told: 0,
            told_at: None,
            changes: Vec::new(),
            more_changes: 0,
            overflow: None,
            overflowed: AtomicU64::new(0),
            composed: String::new(),
        }
    }

    /// The number of a signal, for as long as the collector runs. Sources keep it beside their own handle, and
    /// ask again when the unit is another one.
    pub fn number(&mut self, given: &Given<'_>) -> u32 {
        let is = |known: &Known| same_name(self.texts.span(known.name), given.name);
        let expected = self.known.get(self.last).map_or(0, |last| last.next);
        let number = match self.known.get(expected as usize) {
            Some(known) if is(known) && Some(expected) != self.overflow => expected,
            _ => {
                let hash = hash(given.name);
                let found =
                    self.positions.find(hash, |&at| self.known.get(at as usize).is_some_and(is)).copied();
                match found {
                    Some(number) => number,
                    None => self.learn(hash, given),
                }
            }
        };
        if let Some(last) = self.known.get_mut(self.last) {
            last.next = number;
        }
        self.last = number as usize;
        let Some(known) = self.known.get(number as usize) else { return number };
        if !given.unit.is_empty() && !same_name(self.texts.word(known.given), given.unit) {
            self.change(number, given.unit);
        }
        number
    }

    /// Puts out a value, in the plant's unit.
    #[inline]
    pub fn value(&self, number: u32, reading: Reading, value: f64, out: &mut dyn PlacedSink) {
        let Some(known) = self.known.get(number as usize) else { return };
        let value = known.conversion.of(value);
        let reading = Reading { quality: reading.quality.max(known.quality), ..reading };
        if !out.sample(SeriesOf { signals: self.id, number }, reading, value) {
            self.introduce(number, known, reading, value, out);
        }
        if Some(number) == self.overflow {
            self.overflowed.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Puts out values of one signal, observed together and equally good: a column of a file. As many times as
    /// values; the shorter of both counts.
    pub fn values(
        &self,
        number: u32,
        (observed, quality): (Micros, u8),
        times: &[Micros],
        values: &[f64],
        out: &mut dyn PlacedSink,
    ) {
        let count = times.len().min(values.len());
        let (Some(known), true) = (self.known.get(number as usize), count > 0) else { return };
        let of = SeriesOf { signals: self.id, number };
        let reading = Reading { time: 0, observed, quality: quality.max(known.quality) };
        let mut converted = [0.0; 512];
        let (mut times, mut values) = (&times[..count], &values[..count]);
        while !times.is_empty() {
            let now = if known.conversion == Conversion::SAME {
                times.len()
            } else {
                times.len().min(converted.len())
            };
            let of_now = match known.conversion {
                Conversion::SAME => &values[..now],
                conversion => {
                    let pairs = converted.iter_mut().zip(&values[..now]);
                    pairs.for_each(|(to, from)| *to = conversion.of(*from));
                    &converted[..now]
                }
            };
            if out.samples(of, reading, &times[..now], of_now) {
                (times, values) = (&times[now..], &values[now..]);
            } else {
                // The first one says what the others are.
                self.introduce(number, known, Reading { time: times[0], ..reading }, of_now[0], out);
                (times, values) = (&times[1..], &values[1..]);
            }
        }
        if Some(number) == self.overflow {
            self.overflowed.fetch_add(count as u64, Ordering::Relaxed);
        }
    }

    /// For sources whose rows bring names of their own: measured values that are pushed into it are looked up as
    /// `TOOL/CHAMBER/SIGNAL`, without the parts that are empty; other rows pass as they are.
    pub fn naming<'a>(&'a mut self, out: &'a mut dyn PlacedSink) -> Naming<'a> {
        Naming { signals: self, out }
    }

    /// Puts out a text: what holds from now on, where the tables say that the name is a context (lot, recipe,
    /// step); else a context under the signal's own name.
    pub fn text(&self, number: u32, reading: Reading, text: &str, out: &mut dyn PlacedSink) {
        let Some(known) = self.known.get(number as usize) else { return };
        let [cell, tool, context] = [known.cell, known.tool, known.context].map(|word| self.texts.word(word));
        if !cell.is_empty() {
            out.place_tool(tool, cell);
        }
        out.push(Row::Context(&ContextRow {
            time: reading.time,
            observed: reading.observed,
            tool,
            chamber: self.texts.word(known.chamber),
            name: if context.is_empty() { self.texts.span(known.signal) } else { context },
            value: text,
            source: &self.collector,
            ..Default::default()
        }));
    }

    /// Names that no table has, though there is one for this collector, in the order of their first appearance.
    pub fn unmapped(&self) -> impl Iterator<Item = &str> {
        self.unmapped
            .iter()
            .filter_map(|&at| self.known.get(at as usize))
            .map(|known| self.texts.span(known.name))
    }

    /// Says what is new about the names: units that changed, and, once a minute at most, those that no table has
    /// and values of those that are too many. Called now and then, between two entries of a stream: what it says
    /// stands nowhere.
    pub fn report(&mut self, now: Micros, out: &mut dyn PlacedSink) {
        let say = |event: &str, subject: &str, count: u64, detail: &str, out: &mut dyn PlacedSink| {
            out.nowhere();
            let about = CoverageRow {
                time: now,
                until: now,
                observed: now,
                event,
                subject,
                count,
                detail,
                ..Default::default()
            };
            out.push(Row::Coverage(&about));
        };
        let told = self.changes.len().min(CHANGES_TOLD_MAX);
        for change in self.changes.drain(..told) {
            let Some(known) = self.known.get(change.number as usize) else { continue };
            let detail = change.told(known, &self.texts);
            say(coverage::UNIT, self.texts.word(known.tool), 1, &detail, out);
        }
        if self.changes.is_empty() && self.more_changes > 0 {
            let detail = "more signals whose units changed, too many to name";
            say(coverage::UNIT, &self.collector, std::mem::take(&mut self.more_changes), detail, out);
        }
        if self.told_at.is_some_and(|at| now.saturating_sub(at) < TOLD_EVERY) {
            return;
        }
        let new = self.unmapped.len() - self.told;
        if new > 0 {
            let detail = self.told_names();
            say(coverage::UNKNOWN, &self.collector, new as u64, &detail, out);
            self.told = self.unmapped.len();
            self.told_at = Some(now);
        }
        let overflowed = std::mem::take(self.overflowed.get_mut());
        if overflowed > 0 {
            let detail = format!(
                "values of names beyond {NAMES_MAX}, or longer than {NAME_BYTES_MAX} bytes: they are under `overflow`; \
                 spread the source over several collectors, or subscribe to less"
            );
            say(coverage::UNKNOWN, &self.collector, overflowed, &detail, out);
            self.told_at = Some(now);
        }
    }

    /// New names as JSON: some of them, and how many more.
    fn told_names(&self) -> String {
        let new = &self.unmapped[self.told..];
        let (mut names, mut bytes) = (Vec::new(), 0);
        for known in new.iter().filter_map(|&at| self.known.get(at as usize)).take(TOLD_NAMES_MAX) {
            let name = self.texts.span(known.name);
            bytes += name.len();
            if bytes > TOLD_BYTES_MAX {
                break;
            }
            names.push(name);
        }
        serde_json::json!({ "more": new.len() - names.len(), "unmapped": names }).to_string()
    }

    #[cold]
    fn introduce(&self, number: u32, known: &Known, reading: Reading, value: f64, out: &mut dyn PlacedSink) {
        let [cell, tool, chamber, unit, class] =
            [known.cell, known.tool, known.chamber, known.unit, known.class]
                .map(|word| self.texts.word(word));
        if !cell.is_empty() {
            out.place_tool(tool, cell);
        }
        let row = MeasuredRow {
            tool,
            chamber,
            signal: self.texts.span(known.signal),
            unit,
            class,
            source: &self.collector,
            time: reading.time,
            observed: reading.observed,
            value,
            quality: reading.quality,
        };
        out.introduce(SeriesOf { signals: self.id, number }, &row);
    }

    #[cold]
    fn learn(&mut self, hash: u64, given: &Given<'_>) -> u32 {
        let too_much = self.positions.len() >= NAMES_MAX || given.name.len() > NAME_BYTES_MAX;
        if too_much || self.texts.bytes() >= TEXT_BYTES_MAX {
            return self.overflow();
        }
        let number = self.known.len() as u32;
        let named = self.table.find(&self.sources, given.name);
        let is_unmapped = named.is_none() && self.mapped;
        let mut resolved = resolve(&self.collector, given, named);
        if is_unmapped {
            resolved.class = UNMAPPED.into();
            self.unmapped.push(number);
        }
        let name = self.texts.add(given.name);
        let known = self.make(name, given.unit, &resolved);
        if resolved.conversion.is_none() {
            let from = self.texts.intern(&resolved.from);
            self.note(Change { number, from, to: known.unit, first: true });
        }
        self.known.push(known);
        let (known, texts) = (&self.known, &self.texts);
        self.positions.insert_unique(hash, number, |&at| self::hash(texts.span(known[at as usize].name)));
        number
    }

    fn overflow(&mut self) -> u32 {
        if let Some(number) = self.overflow {
            return number;
        }
        let number = self.known.len() as u32;
        let given = Given { name: "overflow", class: "overflow", ..Given::default() };
        let resolved = Resolved { conversion: None, ..resolve(&self.collector, &given, None) };
        let name = self.texts.add(given.name);
        let known = self.make(name, "", &resolved);
        self.known.push(known);
        self.overflow = Some(number);
        number
    }

    fn make(&mut self, name: Span, given_unit: &str, resolved: &Resolved) -> Known {
        let texts = &mut self.texts;
        let signal = if texts.span(name) == resolved.signal { name } else { texts.add(&resolved.signal) };
        Known {
            name,
            signal,
            // Where nothing is known of what follows, the next new one is as good as any.
            next: self.known.len() as u32 + 1,
            cell: texts.intern(&resolved.cell),
            tool: texts.intern(&resolved.tool),
            chamber: texts.intern(&resolved.chamber),
            unit: texts.intern(&resolved.unit),
            given: texts.intern(given_unit),
            class: texts.intern(&resolved.class),
            context: texts.intern(&resolved.context),
            conversion: resolved.conversion.unwrap_or(Conversion::SAME),
            quality: if resolved.conversion.is_some() { 0 } else { 2 },
        }
    }

    /// The source gives a signal in another unit than before: its values stay in the plant's, which is the first
    /// one where no table says another.
    #[cold]
    fn change(&mut self, number: u32, unit: &str) {
        if Some(number) == self.overflow
            || unit.len() > NAME_BYTES_MAX
            || self.texts.bytes() >= TEXT_BYTES_MAX
        {
            return;
        }
        let to = self.texts.intern(unit);
        let known = &mut self.known[number as usize];
        let from = std::mem::replace(&mut known.given, to);
        let is_same = units::normal(self.texts.word(from)) == units::normal(unit);
        let is_first = self.texts.word(from).is_empty();
        if is_same {
            return;
        }
        let conversion = units::conversion(unit, self.texts.word(known.unit));
        known.conversion = conversion.unwrap_or(Conversion::SAME);
        known.quality = if conversion.is_some() { 0 } else { 2 };
        // It said none before: that is news, not a change, unless it cannot be what was taken for granted.
        if !is_first || conversion.is_none() {
            self.note(Change { number, from, to, first: false });
        } else if self.texts.word(known.unit).is_empty() {
            let normal = units::normal(unit).into_owned();
            known.unit = self.texts.intern(&normal);
        }
    }

    fn note(&mut self, change: Change) {
        match self.changes.len() < CHANGES_MAX {
            true => self.changes.push(change),
            false => self.more_changes += 1,
        }
    }
}

impl Change {
    fn told(&self, known: &Known, texts: &Texts) -> String {
        let [from, to, unit, chamber] =
            [self.from, self.to, known.unit, known.chamber].map(|word| texts.word(word));
        let signal = texts.span(known.signal);
        let of = if chamber.is_empty() { String::new() } else { format!(" of {chamber}") };
        if self.first {
            return format!(
                "{signal}{of} comes in `{from}`, which does not become the `{to}` of the table: its values are marked bad"
            );
        }
        let from = if from.is_empty() { "none" } else { from };
        let then = match units::conversion(to, unit) {
            Some(_) => format!("its values stay in `{unit}`"),
            None => format!("its values do not become values in `{unit}` and are marked bad"),
        };
        format!("the unit of {signal}{of} changed from `{from}` to `{to}`: {then}")
    }
}

/// Where a text stands, and its length.
type Span = (u32, u32);
/// The number of a text that many have.
type Word = u32;

/// The texts of names: those that differ one after the other, those that repeat once.
#[derive(Default)]
struct Texts {
    all: String,
    words: Vec<Arc<str>>,
    numbers: FxHashMap<Arc<str>, Word>,
    word_bytes: usize,
}

impl Texts {
    fn bytes(&self) -> usize {
        self.all.len() + self.word_bytes
    }

    fn add(&mut self, text: &str) -> Span {
        let begin = self.all.len();
        self.all.push_str(text);
        (begin as u32, text.len() as u32)
    }

    #[inline]
    fn span(&self, (begin, length): Span) -> &str {
        &self.all[begin as usize..][..length as usize]
    }

    fn intern(&mut self, text: &str) -> Word {
        if let Some(word) = self.numbers.get(text) {
            return *word;
        }
        let (word, text) = (self.words.len() as Word, Arc::<str>::from(text));
        self.word_bytes += text.len();
        self.words.push(Arc::clone(&text));
        self.numbers.insert(text, word);
        word
    }

    #[inline]
    fn word(&self, word: Word) -> &str {
        self.words.get(word as usize).map_or("", |word| word)
    }
}

fn hash(name: &str) -> u64 {
    use std::hash::Hasher;
    let mut hasher = rustc_hash::FxHasher::default();
    hasher.write(name.as_bytes());
    hasher.finish()
}

#[cfg(test)]
mod tests;
