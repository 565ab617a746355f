//! How the plant calls what sources name: from a source's own names to tool, chamber, signal and unit.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use yagura_event::clock::Micros;
use yagura_event::rows::{ContextRow, MeasuredRow, Row};

use crate::places::PlacedSink;

/// The plant's tables of names.
#[derive(Debug, Default)]
pub struct NameTable {}

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
    _table: Arc<NameTable>,
    known: Vec<Known>,
    numbers: FxHashMap<String, u32>,
}

struct Known {
    tool: String,
    chamber: String,
    signal: String,
    unit: String,
    class: String,
    /// The name of the context that its texts are, if they are one: lot, recipe, step.
    context: String,
    scale: f64,
    offset: f64,
}

impl Signals {
    /// No signals yet.
    pub fn new(collector: &str, table: &Arc<NameTable>) -> Self {
        Signals {
            collector: collector.into(),
            _table: Arc::clone(table),
            known: Vec::new(),
            numbers: FxHashMap::default(),
        }
    }

    /// The number of a signal, for as long as the collector runs. Sources keep it beside their own handle.
    pub fn number(&mut self, given: &Given<'_>) -> u32 {
        if let Some(number) = self.numbers.get(given.name) {
            return *number;
        }
        let number = self.known.len() as u32;
        let tool = if given.tool.is_empty() { &self.collector } else { given.tool };
        self.known.push(Known {
            tool: tool.into(),
            chamber: given.chamber.into(),
            signal: given.name.into(),
            unit: given.unit.into(),
            class: given.class.into(),
            context: String::new(),
            scale: 1.0,
            offset: 0.0,
        });
        self.numbers.insert(given.name.into(), number);
        number
    }

    /// Puts out a value, in the plant's unit.
    pub fn value(&self, number: u32, reading: Reading, value: f64, out: &mut dyn PlacedSink) {
        let Some(known) = self.known.get(number as usize) else { return };
        out.push(Row::Measured(&MeasuredRow {
            tool: &known.tool,
            chamber: &known.chamber,
            signal: &known.signal,
            unit: &known.unit,
            class: &known.class,
            source: &self.collector,
            time: reading.time,
            observed: reading.observed,
            value: value * known.scale + known.offset,
            quality: reading.quality,
        }));
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
        for (time, value) in times.iter().zip(values) {
            self.value(number, Reading { time: *time, observed, quality }, *value, out);
        }
    }

    /// Puts out a text: what holds from now on, where the tables say that the name is a context (lot, recipe,
    /// step); else a context under the signal's own name.
    pub fn text(&self, number: u32, reading: Reading, text: &str, out: &mut dyn PlacedSink) {
        let Some(known) = self.known.get(number as usize) else { return };
        let name = if known.context.is_empty() { &known.signal } else { &known.context };
        out.push(Row::Context(&ContextRow {
            time: reading.time,
            observed: reading.observed,
            tool: &known.tool,
            chamber: &known.chamber,
            name,
            value: text,
            source: &self.collector,
            ..Default::default()
        }));
    }

    /// Says what is new about the names: those that no table has, units that changed. Called now and then.
    pub fn report(&mut self, _now: Micros, _out: &mut dyn PlacedSink) {}
}
